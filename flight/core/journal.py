"""An append log that survives power loss: records with sequence and CRC, in segments.

A record is: length (u16), sequence (u32), CRC-16 over length, sequence and content, content. Recovery reads a
segment up to its first bad record (a torn tail, a flipped bit) and goes on with the next segment, so damage costs
at most the rest of one segment. After recovery writing starts in a new segment: nothing is ever appended to a
tail that may be torn.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from flight.core.future import Future
from flight.kernels import crc16
from flight.platform import Storage

_HEAD = struct.Struct(">HIH")
_COVERED = struct.Struct(">HI")
CONTENT_OCTETS_MAX = 0xFFFF


@dataclass(slots=True)
class JournalStats:
    """`refused`: appends to a full bounded journal. `dropped`: segments overwritten by a circular one.
    `damaged`: segments whose tail was unreadable at recovery."""

    appended: int = 0
    refused: int = 0
    dropped: int = 0
    damaged: int = 0


class Journal:
    """The log called `name`. Bounded: at most `segments_max` segments; when full, a circular journal gives up
    its oldest segment, any other refuses."""

    def __init__(
        self,
        storage: Storage,
        name: str,
        *,
        segment_octets: int = 65536,
        segments_max: int = 16,
        circular: bool = False,
    ) -> None:
        assert segments_max >= 2, segments_max
        self.stats = JournalStats()
        self._storage = storage
        self._prefix = f"{name}."
        self._segment_octets = segment_octets
        self._segments_max = segments_max
        self._circular = circular
        self._segments = self._stored_segments()
        self._next_segment = self._segments[-1] + 1 if self._segments else 0
        self._open_octets = segment_octets  # full: the first append opens a new segment
        self._sequence = 0

    def recover(self) -> list[bytes]:
        """Every readable record, oldest first. Called once, at boot, before the first append."""
        records: list[bytes] = []
        for segment in self._segments:
            raw = self._storage.read(self._segment_name(segment)) or b""
            read, last, whole = _scan(raw)
            records.extend(read)
            self._sequence = max(self._sequence, last + 1)
            self.stats.damaged += not whole
        return records

    def append(self, content: bytes) -> bool:
        """Add a record; it is durable when a later `sync` is done. False where the journal is full."""
        assert len(content) <= CONTENT_OCTETS_MAX, len(content)
        record_octets = _HEAD.size + len(content)
        if self._open_octets + record_octets > self._segment_octets and not self._open_segment():
            self.stats.refused += 1
            return False
        covered = _COVERED.pack(len(content), self._sequence & 0xFFFFFFFF)
        record = covered + crc16(covered + content).to_bytes(2, "big") + content
        self._storage.append(self._segment_name(self._segments[-1]), record)
        self._sequence += 1
        self._open_octets += record_octets
        self.stats.appended += 1
        return True

    def sync(self) -> Future[None]:
        return self._storage.sync()

    def clear(self) -> None:
        """Forget every record; durable after the next sync."""
        for segment in self._segments:
            self._storage.delete(self._segment_name(segment))
        self._segments = []
        self._open_octets = self._segment_octets

    def _open_segment(self) -> bool:
        if len(self._segments) >= self._segments_max:
            if not self._circular:
                return False
            self._storage.delete(self._segment_name(self._segments.pop(0)))
            self.stats.dropped += 1
        self._segments.append(self._next_segment)
        self._next_segment += 1
        self._open_octets = 0
        return True

    def _segment_name(self, segment: int) -> str:
        return f"{self._prefix}{segment:08d}"

    def _stored_segments(self) -> list[int]:
        tails = (n.removeprefix(self._prefix) for n in self._storage.names() if n.startswith(self._prefix))
        return sorted(int(tail) for tail in tails if len(tail) == 8 and tail.isdecimal())


def _scan(raw: bytes) -> tuple[list[bytes], int, bool]:
    """Records up to the first bad one, the last sequence read (-1: none), and whether all octets were good."""
    records: list[bytes] = []
    at, last = 0, -1
    while at + _HEAD.size <= len(raw):
        length, sequence, crc = _HEAD.unpack_from(raw, at)
        content = raw[at + _HEAD.size : at + _HEAD.size + length]
        covered = raw[at : at + _COVERED.size]
        if len(content) != length or crc16(covered + content) != crc or (last >= 0 and sequence != last + 1):
            return records, last, False
        records.append(content)
        last = sequence
        at += _HEAD.size + length
    return records, last, at == len(raw)
