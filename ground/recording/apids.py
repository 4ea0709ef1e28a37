"""What can be told of packets whose definition nobody has: a count per APID, from their primary headers alone.

Whether packets are missing between them is not seen here, where segments are put together already, but in the account
of the stream that they came in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ground.recording.packet_batch import NO_CHANNEL, PacketBatch
from ground.recording.packet_times import TimeLooks
from ground.recording.table import Table
from ground.recording.tables.cells import NO_INSTANT, has_value, instants_of, native

_UNSEGMENTED = 3
_SEQUENCE_FLAGS = 3
_TELECOMMAND = 8


@dataclass(slots=True)
class ApidCount:
    """Packets of one APID on one virtual channel.

    segments: packets that are a part of one, by their sequence flags, or were put together from such.
    unknown: packets that no definition knows; None if there are no definitions.
    tables: packets by the table that they came into.
    first_ns, last_ns: earliest and latest time, POSIX; None if no time is known. time_from says how it was read.
    """

    apid: int
    vcid: int | None
    packets: int = 0
    octets: int = 0
    segments: int = 0
    telecommands: int = 0
    unknown: int | None = None
    tables: dict[str, int] = field(default_factory=dict)
    first_ns: int | None = None
    last_ns: int | None = None
    time_from: str = ""

    def take_time(self, first_ns: int, last_ns: int, source: str) -> None:
        """Widen the span of its times."""
        self.first_ns = first_ns if self.first_ns is None else min(first_ns, self.first_ns)
        self.last_ns = last_ns if self.last_ns is None else max(last_ns, self.last_ns)
        self.time_from = source


def times_of(table: Table) -> tuple[str, NDArray[np.int64]] | None:
    """The first column of a table that tells a time: when its packets were made, most likely."""
    for name, column in table.columns.items():
        if column.time is not None and column.starts is None:
            instants = instants_of(native(column.values), column.time)
            return name, np.where(has_value(column), instants, NO_INSTANT)
    return None


class ApidCounts:
    """Counts every packet of a recording; memory is that of its APIDs, 2,048 per virtual channel at most."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int], ApidCount] = {}
        self._looks: dict[tuple[int, int], TimeLooks] = {}

    def __iter__(self) -> Iterator[ApidCount]:
        """By channel and APID."""
        return iter([self._counts[key] for key in sorted(self._counts)])

    def take(self, batch: PacketBatch, unknown: NDArray[np.bool_] | None, tables: Iterable[Table]) -> None:
        """Count a batch, and what definitions made of it. unknown: None if there is no definition at all."""
        for key, rows in _by_channel_and_apid(batch):
            one = self._counts.get(key)
            if one is None:
                vcid, apid = key
                one = self._counts[key] = ApidCount(apid, None if vcid == NO_CHANNEL else vcid)
                self._looks[key] = TimeLooks()
            self._count(one, batch, rows)
            if unknown is not None:
                one.unknown = (one.unknown or 0) + int(np.count_nonzero(unknown[rows]))
            if not one.time_from:
                self._looks[key].take(batch, rows)
        for table in tables:
            self._take_table(batch, table)

    def finish(self) -> None:
        """Where no definition told a time, take the one that the secondary header looks to have."""
        for key, one in self._counts.items():
            if not one.time_from and (span := self._looks[key].span()) is not None:
                one.take_time(span.first_ns, span.last_ns, span.source)

    @staticmethod
    def _count(one: ApidCount, batch: PacketBatch, rows: NDArray[np.intp]) -> None:
        flags = batch.flags[rows]
        one.packets += len(rows)
        one.octets += int(batch.length[rows].sum(dtype=np.uint64))
        one.segments += int(np.count_nonzero(flags & _SEQUENCE_FLAGS != _UNSEGMENTED))
        one.telecommands += int(np.count_nonzero(flags & _TELECOMMAND))

    def _take_table(self, batch: PacketBatch, table: Table) -> None:
        told = times_of(table)
        part = batch.rows(table.rows)  # a packet as often as it has rows
        for key, rows in _by_channel_and_apid(part):
            one = self._counts[key]
            one.tables[table.name] = one.tables.get(table.name, 0) + len(np.unique(table.rows[rows]))
            if told is not None:
                name, instants = told
                known = instants[rows][instants[rows] != NO_INSTANT]
                if len(known):
                    one.take_time(int(known.min()), int(known.max()), name)


def _by_channel_and_apid(batch: PacketBatch) -> Iterator[tuple[tuple[int, int], NDArray[np.intp]]]:
    """(vcid, apid), and which packets of the batch are theirs, in order."""
    if not len(batch):
        return
    key = (batch.vcid.astype(np.uint32) << 11) | batch.apid
    order = np.argsort(key, kind="stable")
    ends = np.flatnonzero(np.diff(key[order])) + 1
    for rows in np.split(order, ends):
        first = int(key[rows[0]])
        yield (first >> 11, first & 0x7FF), rows
