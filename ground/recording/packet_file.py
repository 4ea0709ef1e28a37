"""The packets of a recording as a file of packets: one after the other, without what they came in."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ground.recording.packet_batch import PacketBatch
from ground.recording.working_file import WorkingFile


class PacketFile:
    """Use as a context. Raises OrbitnodeError if the file cannot be written."""

    def __init__(self, path: Path) -> None:
        self._file = WorkingFile(path)
        self.packets = 0

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.__exit__(kind, error, at)

    def add(self, batch: PacketBatch) -> None:
        """Write the packets of a batch as they came: none may be put together from segments."""
        if not len(batch):
            return
        octets = memoryview(batch.octets)
        starts = batch.offset.astype(np.int64)
        ends = starts + batch.length
        # Those that lie next to one another are written at once.
        breaks = np.flatnonzero(starts[1:] != ends[:-1]) + 1
        firsts, lasts = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(batch)]]) - 1
        for start, end in zip(starts[firsts].tolist(), ends[lasts].tolist(), strict=True):
            self._file.write(octets[start:end])
        self.packets += len(batch)

    def finish(self) -> None:
        """Put the file in its place."""
        self._file.finish()
