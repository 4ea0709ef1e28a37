"""The file checksums of CFDP (CCSDS 727.0-B-5, 4.2.2, and the SANA registry), computed piece by piece, in order.

`CHECKSUMS[number].add(data, before, offset)` returns the checksum of a file's first `offset + len(data)` octets, if
`before` is that of its first `offset` octets. So a number and an offset are all that a transfer must store to go on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from flight.kernels import ReadBuffer, crc32c, modular_checksum

MODULAR, CRC32C, CRC32, NULL = 0, 2, 3, 15  # SANA registry of checksum identifiers


@dataclass(frozen=True, slots=True)
class ChecksumType:
    """One type. `add` is given the octets, the checksum of those before them in the file, and how many those are."""

    number: int
    text: str
    add: Callable[[ReadBuffer, int, int], int]

    def of(self, data: ReadBuffer) -> int:
        """Return the checksum of a whole file."""
        return self.add(data, 0, 0)


def _crc32(data: ReadBuffer, before: int, _offset: int) -> int:
    return zlib.crc32(data, before)


def _crc32c(data: ReadBuffer, before: int, _offset: int) -> int:
    return crc32c(data, before)


def _null(_data: ReadBuffer, _before: int, _offset: int) -> int:
    return 0


CHECKSUMS = {
    kind.number: kind
    for kind in (
        ChecksumType(MODULAR, "modular sum", modular_checksum),
        ChecksumType(CRC32C, "CRC-32C", _crc32c),
        ChecksumType(CRC32, "CRC-32", _crc32),
        ChecksumType(NULL, "none", _null),
    )
}
