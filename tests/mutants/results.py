"""What became of each mutant, kept as it comes: a line of JSON each, known again while its file stays as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.mutants import trees
from tests.mutants.operators import Mutant


@cache
def _version(file: str) -> str:
    return hashlib.sha256((trees.ROOT / file).read_bytes()).hexdigest()[:16]


class Results:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._rows: dict[tuple[str, str, str], dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    continue  # cut short as the run was broken off
                self._rows[row["file"], row["version"], row["mutant"]] = row

    def outcome(self, mutant: Mutant) -> str | None:
        """killed, hung, survived, untested; None if it was not tried on this state of the file."""
        row = self._rows.get((mutant.file, _version(mutant.file), mutant.key))
        return None if row is None else row["outcome"]

    def enter(self, mutant: Mutant, outcome: str, by: str) -> None:
        version = _version(mutant.file)
        row = {
            "file": mutant.file, "version": version, "mutant": mutant.key, "line": mutant.first_line,
            "kind": mutant.kind, "old": mutant.old, "new": mutant.new, "outcome": outcome, "by": by,
        }  # fmt: skip
        self._rows[mutant.file, version, mutant.key] = row
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    @staticmethod
    def write_summary(path: Path, sums: Mapping[str, int], table: Mapping[str, Mapping[str, int]]) -> None:
        path.write_text(json.dumps({"all": dict(sums), "files": table}, indent=2), encoding="utf-8")
