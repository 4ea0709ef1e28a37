"""Reads the header that would stand at each octet of a stretch if a packet began there: for searches.

Octets are those of CCSDS 133.0-B-2, 4.1.3: identification (2), sequence control (2), data length minus one (2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HEADER_OCTETS = 6
PACKET_OCTETS_MIN, PACKET_OCTETS_MAX = 7, 65_542  # the header and 1 to 65,536 octets of data
WORDS_COUNT = 1 << 16

Octets = NDArray[np.uint8]
Words = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Headers:
    """n headers, the i-th at octet i of the stretch.

    word: the first two octets: version number, type, secondary header flag, APID. seq: sequence count. length: of the
    whole packet, octets.
    """

    word: NDArray[np.uint16]
    seq: NDArray[np.uint16]
    length: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.word)


def words_of(high: Octets, low: Octets) -> Words:
    """Return big-endian 16-bit numbers from n high and n low octets."""
    return np.asarray(high.astype(np.uint16) << 8 | low, np.uint16)


def headers_at_all(octets: Octets) -> Headers:
    """Read a header at each octet of the stretch; none begins at the last five."""
    count = max(len(octets) - HEADER_OCTETS + 1, 0)
    # Every field is a slice of the same array of overlapping pairs, so the stretch is read once.
    pairs = words_of(octets[:-1], octets[1:]) if count else np.zeros(0, np.uint16)
    length = pairs[4 : 4 + count].astype(np.int64) + PACKET_OCTETS_MIN
    return Headers(pairs[:count], pairs[2 : 2 + count] & np.uint16(0x3FFF), length)


def header_at(octets: Octets, at: int) -> tuple[int, int, int]:
    """Return (word, sequence count, length of the packet) of the header at octet `at`, which must be there whole."""
    first, second, third, fourth, fifth, sixth = octets[at : at + HEADER_OCTETS].tolist()
    return first << 8 | second, (third & 0x3F) << 8 | fourth, (fifth << 8 | sixth) + PACKET_OCTETS_MIN
