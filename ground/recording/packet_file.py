"""The packets of a recording as a file of packets: one after the other, without what they came in."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from ground.recording.packet_batch import PacketBatch


def write_packets(stream: BinaryIO, batch: PacketBatch) -> None:
    """The packets of a batch as they came: none may be put together from segments. Raises OSError."""
    if not len(batch):
        return
    octets = memoryview(batch.octets)
    starts = batch.offset.astype(np.int64)
    ends = starts + batch.length
    # Those that lie next to one another are written at once.
    breaks = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    firsts, lasts = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(batch)]]) - 1
    stream.writelines(
        octets[start:end] for start, end in zip(starts[firsts].tolist(), ends[lasts].tolist(), strict=True)
    )
