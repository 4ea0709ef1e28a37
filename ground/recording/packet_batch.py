"""Many packets at once, as what all rooms of a recording hand to one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flight.kernels import ReadBuffer

NO_CHANNEL = 255  # `vcid` of packets that did not come in frames


@dataclass(frozen=True, slots=True)
class PacketBatch:
    """n space packets as they lie in `octets`, and their primary headers (CCSDS 133.0-B-2, 4.1.3), arrays of n numbers.

    offset: where the packet starts in `octets`.
    length: of the whole packet, primary header included, octets, 7..65542.
    apid: 0..2047.
    seq: sequence count 0..16383.
    flags: bit 3 telecommand, bit 2 secondary header present, bits 1-0 sequence flags (3 is unsegmented).
    vcid: virtual channel, NO_CHANNEL if there were no frames.

    Packets that were put together from segments carry the header of their first segment, with the length of the whole
    in `length` alone, which then may be more than 65542.
    """

    octets: ReadBuffer
    offset: NDArray[np.uint64]
    length: NDArray[np.uint32]
    apid: NDArray[np.uint16]
    seq: NDArray[np.uint16]
    flags: NDArray[np.uint8]
    vcid: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.flags)

    def rows(self, chosen: NDArray[np.intp] | NDArray[np.bool_]) -> PacketBatch:
        """The batch of these packets only, in this order; their octets are not copied."""
        return PacketBatch(
            self.octets,
            self.offset[chosen],
            self.length[chosen],
            self.apid[chosen],
            self.seq[chosen],
            self.flags[chosen],
            self.vcid[chosen],
        )
