"""What a file of definitions says of packets, whatever form it has: our dictionary, XTCE 1.2, or CSV of ccsdspy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ground.recording.packet_batch import PacketBatch
from ground.recording.table import Table


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """What a definition made of a batch of n packets: a table for each kind of packet in it, and which packets it does
    not know (n booleans). A packet that is known but damaged is in no table and is not `unknown`.
    """

    tables: list[Table]
    unknown: NDArray[np.bool_]


class PacketDefinition(Protocol):
    """A set of packets' definitions, read once and then used for every batch.

    unsupported: what the file says that is passed over, a line each, for people: element, name, what it means for the
        result. What would make values wrong is refused when the file is read (OrbitnodeError), not listed here.
    """

    @property
    def unsupported(self) -> tuple[str, ...]: ...

    def decode(self, batch: PacketBatch) -> DecodedBatch: ...
