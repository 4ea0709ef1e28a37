"""Writes the packets of a recording one after the other, without the frames or units that they came in."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from ground.recording.packet_batch import PacketBatch


def write_packets(stream: BinaryIO, batch: PacketBatch) -> None:
    """Write the packets of a batch as they came. Raises OSError.

    None may be joined from segments: its header would not say its length, and the file could not be read back.
    """
    if not len(batch):
        return
    octets = memoryview(batch.octets)
    starts = batch.offset.astype(np.int64)
    ends = starts + batch.length
    # Packets that lie side by side are written as one piece: in a file of packets nearly all of them do.
    breaks = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    firsts, lasts = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(batch)]]) - 1
    stream.writelines(
        octets[start:end] for start, end in zip(starts[firsts].tolist(), ends[lasts].tolist(), strict=True)
    )
