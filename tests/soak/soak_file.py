"""The files of a file soak."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import NamedTuple


class Kept(NamedTuple):
    """What is known of a whole file that came."""

    octets: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class SoakFile:
    """One file, to be sent from `due_ns` on. Its octets follow from its name, so none has to be held."""

    name: str
    octets: int
    due_ns: int

    def content(self) -> bytes:
        """Return its octets."""
        return Random(self.name).randbytes(self.octets)
