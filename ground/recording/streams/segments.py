"""Packets that are segments of a larger one, put together (CCSDS 133.0-B-2, 4.1.3.4.2).

    first (1) -> continuation (0) ... -> last (2), of one APID and virtual channel, counts one after the other

Whatever breaks the row (a count that does not follow, a first one before the last, a continuation or a last one without
a first) drops the group, and its segments are counted. What comes out has the header of the first segment, without its
data being looked at: each segment's data follow one another as they came.

Bounds: GROUP_OCTETS_MAX per group, GROUPS_MAX groups that are not complete; beyond that the oldest is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ground.recording.packet_batch import PacketBatch
from ground.recording.streams.account import Account

GROUP_OCTETS_MAX = 16 << 20
GROUPS_MAX = 256
HEADER_OCTETS = 6
_CONTINUATION, _FIRST, _LAST, _WHOLE = 0, 1, 2, 3

Number = TypeVar("Number", bound=np.generic)


@dataclass(slots=True)
class _Group:
    """Segments so far, and the count that the next must have."""

    due: int
    apid: int
    seq: int
    flags: int
    vcid: int
    parts: list[bytes] = field(default_factory=list)
    octets: int = 0
    taken: int = 0  # with the headers of all segments


class SegmentJoiner:
    """`join` every batch in order, then `finish`."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._groups: dict[int, _Group] = {}
        self._lost_octets = 0

    def join(self, batch: PacketBatch) -> PacketBatch:
        """The batch with whole groups in the places of their last segments, and no segments."""
        kinds = batch.flags & 3
        segments = np.flatnonzero(kinds != _WHOLE)
        if not len(segments):
            return batch
        self._account.segments += len(segments)
        view = memoryview(batch.octets)
        whole: list[tuple[int, _Group]] = []
        for row in segments.tolist():
            group = self._take(batch, row, view)
            if group is not None:
                whole.append((row, group))
        return _with_groups(batch, np.flatnonzero(kinds == _WHOLE), whole)

    def finish(self) -> None:
        """Nothing follows: groups that are not complete are lost."""
        for key in list(self._groups):
            self._drop(key)

    def _take(self, batch: PacketBatch, row: int, view: memoryview) -> _Group | None:
        flags, seq, apid, vcid = (int(one[row]) for one in (batch.flags, batch.seq, batch.apid, batch.vcid))
        start, length = int(batch.offset[row]), int(batch.length[row])
        key, kind = vcid << 16 | (flags >> 3 & 1) << 11 | apid, flags & 3
        group = self._groups.get(key)
        if group is not None and (kind == _FIRST or group.due != seq or group.octets > GROUP_OCTETS_MAX):
            self._drop(key)
            group = None
        if kind == _FIRST:
            if len(self._groups) >= GROUPS_MAX:
                self._drop(next(iter(self._groups)))
            group = self._groups[key] = _Group(seq, apid, seq, flags, vcid)
        elif group is None:
            self._lose(1, length)
            return None
        skipped = 0 if kind == _FIRST else HEADER_OCTETS
        group.parts.append(bytes(view[start + skipped : start + length]))
        group.octets += length - skipped
        group.taken += length
        group.due = (seq + 1) & 0x3FFF
        return self._groups.pop(key) if kind == _LAST else None

    def _drop(self, key: int) -> None:
        group = self._groups.pop(key)
        self._lose(len(group.parts), group.taken)

    def _lose(self, segments: int, octets: int) -> None:
        self._account.unassembled += segments
        self._account.unassembled_octets += octets


def _with_groups(batch: PacketBatch, others: NDArray[np.intp], whole: list[tuple[int, _Group]]) -> PacketBatch:
    if not whole:
        return batch.rows(others)
    size = len(batch.octets)
    offsets, lengths, pieces = [], [], [bytes(batch.octets)]
    for _, group in whole:
        offsets.append(size)
        lengths.append(group.octets)
        pieces += group.parts
        size += group.octets
    rows = np.concatenate((others, [row for row, _ in whole]))
    order = np.argsort(rows, kind="stable")
    groups = [group for _, group in whole]

    def column(kept: NDArray[Number], added: list[int]) -> NDArray[Number]:
        return np.concatenate((kept[others], np.array(added, kept.dtype)))[order]

    return PacketBatch(
        b"".join(pieces),
        column(batch.offset, offsets),
        column(batch.length, lengths),
        column(batch.apid, [one.apid for one in groups]),
        column(batch.seq, [one.seq for one in groups]),
        column(batch.flags, [one.flags | _WHOLE for one in groups]),
        column(batch.vcid, [one.vcid for one in groups]),
    )
