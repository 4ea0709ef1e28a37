"""What a journal's segments look like on storage, and which of those that are found make up the journal.

A segment of the journal NAME is stored as `NAME.%08d`: a head and records. The head (format 2, 44 octets, big-endian)
is sealed by a CRC-32 over itself and says:

    magic, format     what this is
    owner, epoch      whose it is: a CRC-16 of the journal's name, and the number drawn when the journal began its life
    index             under which name it belongs, so that a copy under another name is known as one
    before            the index of the segment ahead of it: one that was taken out between two is noticed
    first, skipped    the number of its first record, and how many numbers just below it were never given to a record

Format 1 (20 octets: magic, format, owner, CRC-32, first) is read and no longer written: storage that has flown holds
it. Such a head knows nothing of its place, only that numbers rise from one segment to the next.

A record is length (u32), CRC-32 over length, number and content, content. Its number is not stored: it is the first
one's plus its place, and the CRC holds it, so that a record is never taken for another one.

The journal's life is the epoch on which both generations of its high-water mark agree; without two, the one that most
heads and marks bear. Its chain is then decided over all heads at once: those that stand where they say, their numbers
rising, as many as possible. What is left over costs the chain nothing:

    foreign     of another journal, another life of this one, another format, or no segment at all
    misplaced   of this journal, under a name that is not its own, or out of order
    unreadable  the head is damaged, or the medium does not give it back
    torn        begun as the power failed: shorter than a head, and beginning like one
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from zlib import crc32

from flight.core.errors import StorageError
from flight.core.platform import Storage

_MAGIC = b"ONJL"
_HEAD_1 = struct.Struct(">4sBxHIQ")  # magic, format, owner, CRC-32 of magic, owner and first, first
_HEAD_2 = struct.Struct(">4sBxHIQQQII")  # magic, format, owner, CRC-32, first, skipped, epoch, index, before
_RECORD = struct.Struct(">II")  # length of the content, CRC-32
_NUMBERED = struct.Struct(">IQ")
_SEARCHED = 8  # records in a row that damage may take, and those behind it are still found
# A search costs the octets of each checksum that it tries, and so many for trying it. When it has cost so many times
# the segment, some milliseconds for 16 KiB, it is given up, and with it the rest of the segment.
_EFFORT = 1024
_EFFORT_MAX = 512
_NOT_ZERO = re.compile(rb"[^\0]")
HEAD_OCTETS = _HEAD_2.size
RECORD_OCTETS = _RECORD.size  # what a record takes beside its content
NO_INDEX = 0xFFFFFFFF
pack_record_head, pack_numbered = _RECORD.pack, _NUMBERED.pack


def owner_of(name: str) -> int:
    """How heads and marks name the journal called `name`."""
    return crc32(name.encode()) & 0xFFFF


def segment_name(name: str, index: int) -> str:
    """Under which name a segment of the journal called `name` is stored."""
    return f"{name}.{index:08d}"


def segment_indices(names: Iterable[str], name: str) -> list[int]:
    """Indices of those among the stored `names` that could be a segment of the journal called `name`, in order."""
    prefix = f"{name}."
    tails = (stored.removeprefix(prefix) for stored in names if stored.startswith(prefix))
    numbers = ((tail, int(tail)) for tail in tails if tail.isdecimal())
    return sorted(index for tail, index in numbers if tail == f"{index:08d}" and index < NO_INDEX)


def read_octets(storage: Storage, name: str, octets_max: int | None = None) -> bytes:
    """What stands under `name`, the first `octets_max` octets of it; nothing if the medium does not give it back."""
    try:
        return storage.read(name, 0, octets_max) or b""
    except StorageError:
        return b""


class Kind(Enum):
    """Why a stored name that could be a segment's is not in the chain."""

    FOREIGN = "foreign"
    MISPLACED = "misplaced"
    UNREADABLE = "unreadable"
    TORN = "torn"


@dataclass(frozen=True, slots=True)
class Head:
    """A segment's head. In format 1 `index` and `before` are NO_INDEX and `epoch` is None: it does not know them."""

    owner: int
    first: int
    skipped: int = 0
    epoch: int | None = None
    index: int = NO_INDEX
    before: int = NO_INDEX

    @property
    def octets(self) -> int:
        """How long it is: where the first record begins."""
        return _HEAD_1.size if self.epoch is None else _HEAD_2.size

    def encode(self) -> bytes:
        if self.epoch is None:
            crc = crc32(_MAGIC + _NUMBERED.pack(self.owner, self.first))
            return _HEAD_1.pack(_MAGIC, 1, self.owner, crc, self.first)
        rest = (self.first, self.skipped, self.epoch, self.index, self.before)
        crc = crc32(_HEAD_2.pack(_MAGIC, 2, self.owner, 0, *rest))
        return _HEAD_2.pack(_MAGIC, 2, self.owner, crc, *rest)

    @classmethod
    def read(cls, raw: bytes) -> Head | Kind:
        """The head at the beginning of `raw`, or what stands there instead."""
        magic = raw[: len(_MAGIC)]
        if len(raw) < _HEAD_1.size:
            return Kind.TORN if _MAGIC.startswith(magic) else Kind.FOREIGN
        if magic != _MAGIC:
            return Kind.FOREIGN
        head: Head
        if raw[4] == 1:
            _, _, owner, _, first = _HEAD_1.unpack_from(raw)
            head = cls(owner, first)
        elif raw[4] == 2:
            if len(raw) < _HEAD_2.size:
                return Kind.TORN
            _, _, owner, _, first, skipped, epoch, index, before = _HEAD_2.unpack_from(raw)
            head = cls(owner, first, skipped, epoch, index, before)
        else:
            return Kind.FOREIGN
        return head if raw[: head.octets] == head.encode() and head.skipped <= head.first else Kind.UNREADABLE


@dataclass(frozen=True, slots=True)
class Found:
    """A stored name that could be a segment's: the index in the name, its octets, and its head."""

    index: int
    octets: int
    head: Head | Kind


@dataclass(slots=True)
class Chain:
    """The segments that make up the journal, in order, and why each of the others does not."""

    links: list[tuple[Found, Head]] = field(default_factory=list)
    others: list[tuple[Found, Kind]] = field(default_factory=list)


def life_of(found: Sequence[Found], owner: int, marked: Sequence[int], fresh: int) -> int:
    """The epoch of the journal: `marked` are those of its marks, the newest first, `fresh` that of a new journal."""
    if len(marked) > 1 and marked[0] == marked[1]:
        return marked[0]
    votes = Counter(marked)
    for one in found:
        if isinstance(one.head, Head) and one.head.owner == owner and one.head.epoch is not None:
            votes[one.head.epoch] += 1
    return max(votes, key=lambda epoch: (votes[epoch], epoch in marked, epoch), default=fresh)


def chain_of(found: Sequence[Found], owner: int, epoch: int) -> Chain:
    """The chain among what was `found`, in order of indices."""
    chain = Chain()
    placed: list[tuple[Found, Head]] = []
    unplaced: list[tuple[Found, Head]] = []  # of format 1
    for one in found:
        head = one.head
        if isinstance(head, Kind):
            chain.others.append((one, head))
        elif head.owner != owner or head.epoch not in (epoch, None):
            chain.others.append((one, Kind.FOREIGN))
        elif head.epoch is None:
            unplaced.append((one, head))
        elif head.index == one.index:
            placed.append((one, head))
        else:
            chain.others.append((one, Kind.MISPLACED))
    chain.links = _rising(placed)
    if chain.links:  # format 1 is older than all of format 2
        oldest, head = chain.links[0]
        early = [(one, h) for one, h in unplaced if one.index < oldest.index and h.first <= head.first]
    else:
        early = unplaced
    chain.links = _rising(early) + chain.links
    taken = {one.index for one, _ in chain.links}
    chain.others += [(one, Kind.MISPLACED) for one, _ in (*placed, *unplaced) if one.index not in taken]
    return chain


def _rising(candidates: list[tuple[Found, Head]]) -> list[tuple[Found, Head]]:
    """As many of them as can be kept in order so that their numbers never fall."""
    lowest: list[int] = []  # first number of the last one, of the best sequence of each length
    ends: list[int] = []  # and which one that is
    before: list[int] = []  # for each candidate the one ahead of it, -1: none
    for i, (_, head) in enumerate(candidates):
        at = bisect_right(lowest, head.first)
        before.append(ends[at - 1] if at else -1)
        lowest[at : at + 1] = [head.first]
        ends[at : at + 1] = [i]
    kept: list[tuple[Found, Head]] = []
    at = ends[-1] if ends else -1
    while at >= 0:
        kept.append(candidates[at])
        at = before[at]
    return kept[::-1]


def records(raw: bytes, at: int, number: int) -> Iterator[tuple[int, int, bytes]]:
    """(number, end, content) of a segment's sound records, `end` where it ends in `raw`. The first begins at octet
    `at` and is `number`.
    """
    effort = _EFFORT_MAX * len(raw)
    while at + RECORD_OCTETS <= len(raw):
        end = _end_of_sound(raw, at, number)
        if end is not None:
            yield number, end, raw[at + RECORD_OCTETS : end]
            at, number = end, number + 1
            continue
        found, effort = _next_sound(raw, at + 1, number + 1, effort)
        if found is None:
            return
        at, number = found


def _end_of_sound(raw: bytes, at: int, number: int) -> int | None:
    """Where the record at `at` ends, None if no record of that number stands there whole."""
    length, crc = _RECORD.unpack_from(raw, at)
    end: int = at + RECORD_OCTETS + length
    if end > len(raw):
        return None
    sound = crc32(raw[at + RECORD_OCTETS : end], crc32(_NUMBERED.pack(length, number))) == crc
    return end if sound else None


def _next_sound(raw: bytes, at: int, number: int, effort: int) -> tuple[tuple[int, int] | None, int]:
    """Place and number of the first sound record from `at` on: one of the next few numbers, wherever it stands; and
    what is left of `effort`, with which the search ends.
    """
    numbers = range(number, number + _SEARCHED)
    empty = {crc32(_NUMBERED.pack(0, one)): one for one in numbers}  # what a record without content begins with
    lead = b"\0\0" if len(raw) <= 0xFFFF else b"\0"  # of the length of every record that fits in
    place = raw.find(lead, at)
    while 0 <= place <= len(raw) - RECORD_OCTETS and effort > 0:
        length, crc = _RECORD.unpack_from(raw, place)
        if length == 0 and crc in empty:
            return (place, empty[crc]), effort
        if length == crc == 0:
            # A hole: nothing can begin in it but right at its end.
            end = _NOT_ZERO.search(raw, place + RECORD_OCTETS)
            if end is None:
                break
            place = end.start() - RECORD_OCTETS
        elif 0 < length <= len(raw) - RECORD_OCTETS - place:
            effort -= _SEARCHED * (_EFFORT + length)
            for candidate in numbers:
                if _end_of_sound(raw, place, candidate) is not None:
                    return (place, candidate), effort
        place = raw.find(lead, place + 1)
    return None, effort


def is_write_cut_short(raw: bytes, at: int, octets_max: int) -> bool:
    """Whether the octets from `at` on can be the beginning of a record that the power cut off: fewer than it says,
    and it says no more than fits a segment of `octets_max`. A longer one stands alone behind the head.
    """
    if at + RECORD_OCTETS > len(raw):
        return True
    end = at + RECORD_OCTETS + _RECORD.unpack_from(raw, at)[0]
    return end > len(raw) and (end <= octets_max or at <= HEAD_OCTETS)
