"""What every form of packet definition offers: our own dictionary, XTCE 1.2, or the CSV tables of ccsdspy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ground.recording.packet_batch import PacketBatch
from ground.recording.table import Table


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """What a definition made of a batch of n packets.

    tables: one for each kind of packet in the batch.
    unknown: n booleans, whether the definition does not know the packet. A packet that is known but damaged has no row
        in any table and is not `unknown`: its table counts it as damaged.
    """

    tables: list[Table]
    unknown: NDArray[np.bool_]


class PacketDefinition(Protocol):
    """The definitions of a file, read once and then used for every batch."""

    # The split between refusing and listing is ADR 0034's: a definition that would give wrong values is refused with
    # OrbitnodeError while it is read. What merely leaves something out of the result is listed in `unsupported`.

    @property
    def unsupported(self) -> tuple[str, ...]:
        """What the file says and this reader passes over, one line each: element, name, effect on the result."""
        ...

    def decode(self, batch: PacketBatch) -> DecodedBatch:
        """Make tables of the packets of a batch. Does not raise: a damaged packet is counted in its table."""
        ...
