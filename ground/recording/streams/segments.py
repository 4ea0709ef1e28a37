"""Joins segments to the packets that they are parts of (CCSDS 133.0-B-2, 4.1.3.4.2).

    first (1) -> continuation (0) ... -> last (2), of one APID and virtual channel, counts one after the other

The joined packet has the header of its first segment and the data of all segments in order. The data are not looked at.
"""

# A group is dropped, and its segments counted as `unassembled`, if anything breaks the row: a count that does not
# follow, a first segment before the last one, a continuation or last segment without a first one, or the end of the
# recording. The octets of such segments stay in the class of packets: they were given by the stream, in good order.
#
# Bounds: GROUP_OCTETS_MAX per group, and GROUPS_MAX incomplete groups, beyond which the oldest is dropped. Without
# them, a recording of first segments alone would fill the memory.

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
_CONTINUATION, _FIRST, _LAST, _WHOLE = 0, 1, 2, 3  # sequence flags

Number = TypeVar("Number", bound=np.generic)


@dataclass(slots=True)
class _Group:
    """The segments of one packet so far. due: the sequence count that the next one must have."""

    due: int
    apid: int
    seq: int
    flags: int
    vcid: int
    parts: list[bytes] = field(default_factory=list)
    octets: int = 0
    taken: int = 0  # octets with the headers of all segments


class SegmentJoiner:
    """Joins segments across batches: call `join` with every batch in order, then `finish`."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._groups: dict[int, _Group] = {}
        self._lost_octets = 0

    def join(self, batch: PacketBatch) -> PacketBatch:
        """Return the batch without segments, with each joined packet in the place of its last segment."""
        kinds = batch.flags & 3
        segments = np.flatnonzero(kinds != _WHOLE)
        if not len(segments):
            return batch
        self._account.segments += len(segments)
        view = memoryview(batch.octets)
        whole: list[tuple[int, _Group]] = []
        for row in segments.tolist():
            group = self._add_segment(batch, row, view)
            if group is not None:
                whole.append((row, group))
        return _with_groups(batch, np.flatnonzero(kinds == _WHOLE), whole)

    def finish(self) -> None:
        """Give up all incomplete groups: nothing follows."""
        for key in list(self._groups):
            self._drop(key)

    def _add_segment(self, batch: PacketBatch, row: int, view: memoryview) -> _Group | None:
        """Add the segment of a row to its group. Returns the group if this completes it."""
        flags, seq, apid, vcid = (int(column[row]) for column in (batch.flags, batch.seq, batch.apid, batch.vcid))
        start, length = int(batch.offset[row]), int(batch.length[row])
        # Telecommands and telemetry of one APID are different packets, and count apart.
        key, kind = vcid << 16 | (flags >> 3 & 1) << 11 | apid, flags & 3
        group = self._groups.get(key)
        if group is not None and (kind == _FIRST or group.due != seq or group.octets > GROUP_OCTETS_MAX):
            self._drop(key)
            group = None
        if kind == _FIRST:
            if len(self._groups) >= GROUPS_MAX:
                self._drop(next(iter(self._groups)))  # the oldest: dicts keep the order of entry
            group = self._groups[key] = _Group(seq, apid, seq, flags, vcid)
        elif group is None:
            self._lose(1, length)
            return None
        skipped = 0 if kind == _FIRST else HEADER_OCTETS  # only the first header stays
        # Copied: the group may outlive its batch by far.
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
    """Return the packets `others` of a batch, and between them the groups that were completed at the given rows."""
    if not whole:
        return batch.rows(others)
    # The joined packets are laid behind the octets of the batch, so that nothing else has to move.
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
        column(batch.apid, [group.apid for group in groups]),
        column(batch.seq, [group.seq for group in groups]),
        column(batch.flags, [group.flags | _WHOLE for group in groups]),
        column(batch.vcid, [group.vcid for group in groups]),
    )
