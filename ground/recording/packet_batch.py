"""Many packets at once: what streams hand to definitions and counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flight.kernels import ReadBuffer

# The layout is that of a table: one array per header field, and the octets in one piece. An object per packet would
# cost microseconds, thousands of times per batch; with columns, NumPy and the kernels do the work per packet.

NO_CHANNEL = 255  # `vcid` of packets that did not come in frames; virtual channels end at 63


@dataclass(frozen=True, slots=True)
class PacketBatch:
    """n space packets as they lie in `octets`, with their primary headers (CCSDS 133.0-B-2, 4.1.3) as arrays of n.

    offset: index in `octets` at which the packet starts.
    length: octets of the whole packet, primary header included, 7..65542.
    apid: 0..2047.
    seq: sequence count 0..16383.
    flags: bit 3 telecommand, bit 2 secondary header present, bits 1-0 sequence flags (3 is unsegmented).
    vcid: virtual channel, NO_CHANNEL if there were no frames.

    A packet that was joined from segments carries the header of its first segment. Its full length stands in `length`
    alone, not in its header, and may be more than 65542.
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
        """Return the batch of the chosen packets only, in this order. Their octets are not copied."""
        return PacketBatch(
            self.octets,
            self.offset[chosen],
            self.length[chosen],
            self.apid[chosen],
            self.seq[chosen],
            self.flags[chosen],
            self.vcid[chosen],
        )
