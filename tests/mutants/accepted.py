"""Survivors that do not matter, each group with its reason: tests/mutants/accepted.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

from tests.mutants.operators import Mutant

_FILE = Path(__file__).with_name("accepted.toml")


@dataclass(frozen=True)
class Accepted:
    """Rows of file pattern, kind pattern, pattern of the old text, pattern of the new one, and the group's name."""

    rows: tuple[tuple[str, str, str, str, str], ...]

    @classmethod
    def load(cls) -> Self:
        groups = tomllib.loads(_FILE.read_text(encoding="utf-8"))["group"]
        return cls(
            tuple(
                (one["file"], one.get("kind", "*"), one.get("old", "*"), one.get("new", "*"), group["name"])
                for group in groups
                for one in group["mutants"]
            )
        )

    def reason(self, mutant: Mutant) -> str:
        """The name of the group that it is in, empty if it is in none."""
        old, new = (" ".join(text.split()) for text in (mutant.old, mutant.new))
        for file, kind, old_pattern, new_pattern, name in self.rows:
            if (
                fnmatchcase(mutant.file, file)
                and fnmatchcase(mutant.kind, kind)
                and fnmatchcase(old, old_pattern)
                and fnmatchcase(new, new_pattern)
            ):
                return name
        return ""
