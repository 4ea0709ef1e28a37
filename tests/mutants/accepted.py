"""Survivors that do not matter, each group with its reason: tests/mutants/accepted.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Self

from tests.mutants import trees
from tests.mutants.operators import Mutant

_FILE = Path(__file__).with_name("accepted.toml")


@dataclass(frozen=True)
class Accepted:
    """Rows of patterns: file, kind, source line, old text, new text; and the group's name."""

    rows: tuple[tuple[str, str, str, str, str, str], ...]

    @classmethod
    def load(cls) -> Self:
        groups = tomllib.loads(_FILE.read_text(encoding="utf-8"))["group"]
        return cls(
            tuple(
                (one["file"], *(one.get(part, "*") for part in ("kind", "line", "old", "new")), group["name"])
                for group in groups
                for one in group["mutants"]
            )
        )

    def reason(self, mutant: Mutant) -> str:
        """The name of the group that it is in, empty if it is in none."""
        line = lines_of(mutant.file)[mutant.first_line - 1]
        texts = [" ".join(text.split()) for text in (mutant.file, mutant.kind, line, mutant.old, mutant.new)]
        for *patterns, name in self.rows:
            if all(fnmatchcase(text, pattern) for text, pattern in zip(texts, patterns, strict=True)):
                return name
        return ""


@cache
def lines_of(file: str) -> list[str]:
    """The file's lines as rows have them: white space counts as one space."""
    return [" ".join(line.split()) for line in (trees.ROOT / file).read_text(encoding="utf-8").splitlines()]
