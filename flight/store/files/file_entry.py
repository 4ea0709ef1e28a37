"""One file of the catalogue, and the row of the vault that keeps it."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from flight.core.errors import DecodeError
from flight.store.files.file_names import DIRECTORIES, NAME_MAX, checked_name
from flight.store.files.refusal import FileRefused

ROW = "file."
LABEL_OCTETS_MAX = 64
PRIORITY_MAX = 9
_VERSION = 1
_LOCKED = 1
# version, directory, flags, priority, octets, made, value, sha256, octets of the name; then the name, and the label
_HEAD = struct.Struct(">BBBBQQd32sB")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A whole file.

    number: names its content on storage, and is never given out twice. made_ns: TAI. priority: 0 is the most important.
    value: what its owner holds it worth. label: at most 64 octets, the owner's own state.
    """

    number: int
    directory: str
    name: str
    octets: int
    sha256: bytes
    made_ns: int
    priority: int = 1
    value: float = 1.0
    locked: bool = False
    label: bytes = b""

    @property
    def path(self) -> str:
        """Directory and name, as people write them."""
        return f"{self.directory}/{self.name}"

    def encode(self) -> bytes:
        """Return the row, without the number, which is its key."""
        head = _HEAD.pack(
            _VERSION, DIRECTORIES.index(self.directory), _LOCKED * self.locked, self.priority, self.octets,
            self.made_ns, self.value, self.sha256, len(self.name),
        )  # fmt: skip
        return head + self.name.encode("ascii") + self.label

    @classmethod
    def decode(cls, number: int, row: bytes) -> FileEntry:
        """Read the row of file `number`. Raises DecodeError."""
        if len(row) < _HEAD.size:
            raise DecodeError(f"row of file {number} has {len(row)} octets, should have at least {_HEAD.size}")
        version, directory, flags, priority, octets, made_ns, value, sha256, length = _HEAD.unpack_from(row)
        if version != _VERSION or flags > _LOCKED or directory >= len(DIRECTORIES):
            raise DecodeError(f"row of file {number} is of version {version}, or of another directory than is known")
        end = _HEAD.size + length
        if not end <= len(row) <= end + LABEL_OCTETS_MAX:
            raise DecodeError(f"row of file {number} has {len(row)} octets, its name ends at {end}")
        if priority > PRIORITY_MAX or not math.isfinite(value):
            raise DecodeError(f"row of file {number} has priority {priority} and value {value:g}")
        try:
            name = checked_name(row[_HEAD.size : end].decode("ascii"))
        except (UnicodeDecodeError, FileRefused):
            raise DecodeError(f"row of file {number} holds a name that no file may have") from None
        return cls(
            number, DIRECTORIES[directory], name, octets, sha256, made_ns, priority, value, flags == _LOCKED, row[end:]
        )


ROW_OCTETS_MAX = len(ROW) + 19 + _HEAD.size + NAME_MAX + LABEL_OCTETS_MAX
"""Octets of a row and its key, at most: a number has at most 19 digits."""


def row_key(number: int) -> str:
    """Return the key of the row of file `number`."""
    return f"{ROW}{number}"
