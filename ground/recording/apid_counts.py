"""Counts per APID: what the primary headers alone tell of packets, also of those that no definition describes.

Gaps in sequence counts are not found here: once segments are joined, counts no longer step by one.
`ground.recording.streams.sequences` looks for gaps before that.
"""

# A packet is counted once under its (virtual channel, APID), and once per table that it has rows in. Times come from
# the best source at hand: a time column of a table that a definition made, or else a guess at the secondary header
# (`packet_times`). The guess needs every packet of the APID, so it is collected from the first batch on, and is used at
# the end only if no definition ever told a time.

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ground.recording.packet_batch import NO_CHANNEL, PacketBatch
from ground.recording.packet_times import TimeLooks
from ground.recording.table import Table
from ground.recording.tables.column_values import NO_INSTANT, has_value, instants_of, native

_UNSEGMENTED = 3
_SEQUENCE_FLAGS = 3
_TELECOMMAND = 8


@dataclass(slots=True)
class ApidCount:
    """Packets of one APID on one virtual channel.

    octets: of whole packets, headers included.
    segments: packets whose sequence flags say that they are part of a larger one.
    unknown: packets that no definition knows; None if there are no definitions.
    tables: packets per table that they have rows in.
    first_ns, last_ns: earliest and latest time, ns of POSIX time; None if no time is known.
    time_from: the column or the guess that the times were read from; empty if no time is known.
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
        """Widen the span of times to include `first_ns` and `last_ns` (ns of POSIX time), read from `source`."""
        self.first_ns = first_ns if self.first_ns is None else min(first_ns, self.first_ns)
        self.last_ns = last_ns if self.last_ns is None else max(last_ns, self.last_ns)
        self.time_from = source


def times_of(table: Table) -> tuple[str, NDArray[np.int64]] | None:
    """Return name and instants (ns of POSIX time, NO_INSTANT for none) of a table's first time column, or None.

    The first one most likely says when the packet was made: definitions list fields in the order of the packet, and the
    time code leads the secondary header.
    """
    for name, column in table.columns.items():
        if column.time is not None and column.starts is None:
            instants = instants_of(native(column.values), column.time)
            return name, np.where(has_value(column), instants, NO_INSTANT)
    return None


class ApidCounts:
    """Counts every packet of a recording. Memory grows with the number of APIDs: at most 2,048 per virtual channel."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int], ApidCount] = {}
        self._looks: dict[tuple[int, int], TimeLooks] = {}

    def __iter__(self) -> Iterator[ApidCount]:
        """Iterate over the counts in the order of (virtual channel, APID)."""
        return iter([self._counts[key] for key in sorted(self._counts)])

    def take(self, batch: PacketBatch, unknown: NDArray[np.bool_] | None, tables: Iterable[Table]) -> None:
        """Count a batch of n packets and the tables that definitions made of it.

        unknown: n booleans, whether no definition knows the packet; None if there is no definition at all.
        """
        for key, rows in _by_channel_and_apid(batch):
            count = self._counts.get(key)
            if count is None:
                vcid, apid = key
                count = self._counts[key] = ApidCount(apid, None if vcid == NO_CHANNEL else vcid)
                self._looks[key] = TimeLooks()
            self._count(count, batch, rows)
            if unknown is not None:
                count.unknown = (count.unknown or 0) + int(np.count_nonzero(unknown[rows]))
            if not count.time_from:  # a told time makes the guess pointless
                self._looks[key].take(batch, rows)
        for table in tables:
            self._take_table(batch, table)

    def finish(self) -> None:
        """Fall back to the guessed times for every APID whose times no definition told."""
        for key, count in self._counts.items():
            if not count.time_from and (span := self._looks[key].span()) is not None:
                count.take_time(span.first_ns, span.last_ns, span.source)

    @staticmethod
    def _count(count: ApidCount, batch: PacketBatch, rows: NDArray[np.intp]) -> None:
        flags = batch.flags[rows]
        count.packets += len(rows)
        count.octets += int(batch.length[rows].sum(dtype=np.uint64))
        count.segments += int(np.count_nonzero(flags & _SEQUENCE_FLAGS != _UNSEGMENTED))
        count.telecommands += int(np.count_nonzero(flags & _TELECOMMAND))

    def _take_table(self, batch: PacketBatch, table: Table) -> None:
        times = times_of(table)
        part = batch.rows(table.rows)  # a packet appears once per row that it has in the table
        for key, rows in _by_channel_and_apid(part):
            count = self._counts[key]
            count.tables[table.name] = count.tables.get(table.name, 0) + len(np.unique(table.rows[rows]))
            if times is not None:
                name, instants = times
                known = instants[rows][instants[rows] != NO_INSTANT]
                if len(known):
                    count.take_time(int(known.min()), int(known.max()), name)


def _by_channel_and_apid(batch: PacketBatch) -> Iterator[tuple[tuple[int, int], NDArray[np.intp]]]:
    """Yield each (vcid, apid) of the batch with the indices of its packets, ascending."""
    if not len(batch):
        return
    # One stable sort groups all APIDs at once: a mask per APID would cost a pass over the batch for each.
    key = (batch.vcid.astype(np.uint32) << 11) | batch.apid
    order = np.argsort(key, kind="stable")
    ends = np.flatnonzero(np.diff(key[order])) + 1
    for rows in np.split(order, ends):
        first = int(key[rows[0]])
        yield (first >> 11, first & 0x7FF), rows
