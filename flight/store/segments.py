"""What a journal's segments look like on storage, and which of those that are found make up the journal.

A segment of the journal NAME is stored as `NAME.%08d`: a head and records. The head (format 2, 44 octets, big-endian)
is sealed by a CRC-32 over itself and says:

    magic, format     what this is
    owner, epoch      whose it is: 16 bits made of the journal's name, and the number drawn when the journal was begun
    index             under which name it belongs, so that a copy under another name is known as one
    before            the index of the segment ahead of it, so that one taken out between two is noticed
    first, skipped    the number of its first record, and how many numbers just below it were never given to a record

A record is length (u32), CRC-32 over length, number and content, content.

A name that could be a segment's and is not part of the journal is one of these:

    foreign     of another journal, another life of this one, another format, or not a segment at all
    misplaced   of this journal, under a name that is not its own, or out of order
    unreadable  the head is damaged, or the medium does not give it back
    torn        begun as the power failed: shorter than a head, and beginning like one
"""

# A record's number is not stored. It is the first record's plus its place, and the CRC covers it, so that a record is
# never taken for another one: not after a stretch of damage, and not in a segment that was copied over another.
#
# Which segments make up the journal is decided over all heads at once (ADR 0007), never from one to the next: a walk
# along the chain would end at the first damaged head and lose everything behind it. First the journal's life is found:
# the epoch on which both generations of its high-water mark agree, or, without two that agree, the epoch that most
# heads and marks bear. Of the segments of that life, those count that stand under the name that they say, their numbers
# rising, as many of them as possible. What is left over costs the chain nothing and stays as it is.
#
# Format 1 (20 octets: magic, format, owner, CRC-32, first) is read and no longer written, since storage that has flown
# holds it. Such a head does not know its place, only that numbers rise from one segment to the next.
#
# Behind damage a segment is searched for the next sound record: a length and a CRC that fit one of the next _SEARCHED
# numbers. The search is bounded by the octets that it checks, since damage could otherwise make a boot take minutes.

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
_HEAD_1 = struct.Struct(">4sBxHIQ")  # magic, format, owner, CRC-32 of (magic, owner, first), first
_HEAD_2 = struct.Struct(">4sBxHIQQQII")  # magic, format, owner, CRC-32, first, skipped, epoch, index, before
_RECORD = struct.Struct(">II")  # length of the content, CRC-32
_NUMBERED = struct.Struct(">IQ")  # what the CRC covers ahead of the content: length, number
_SEARCHED = 8  # this many records in a row may be damaged, and those behind them are still found
# A search costs the octets of each checksum that it tries, and _EFFORT octets per try. When it has cost _EFFORT_MAX
# times the segment (some milliseconds for 16 KiB), it is given up, and with it the rest of the segment.
_EFFORT = 1024
_EFFORT_MAX = 512
_NOT_ZERO = re.compile(rb"[^\0]")
HEAD_OCTETS = _HEAD_2.size
RECORD_OCTETS = _RECORD.size  # what a record takes beside its content
NO_INDEX = 0xFFFFFFFF
pack_record_head, pack_numbered = _RECORD.pack, _NUMBERED.pack


def owner_of(name: str) -> int:
    """Return the 16 bits by which heads and marks name the journal called `name`."""
    return crc32(name.encode()) & 0xFFFF


def segment_name(name: str, index: int) -> str:
    """Return the name under which a segment of the journal called `name` is stored."""
    return f"{name}.{index:08d}"


def segment_indices(names: Iterable[str], name: str) -> list[int]:
    """Return the indices of those stored `names` that could be segments of the journal called `name`, in order."""
    prefix = f"{name}."
    tails = (stored.removeprefix(prefix) for stored in names if stored.startswith(prefix))
    numbers = ((tail, int(tail)) for tail in tails if tail.isdecimal())
    return sorted(index for tail, index in numbers if tail == f"{index:08d}" and index < NO_INDEX)


def read_octets(storage: Storage, name: str, octets_max: int | None = None) -> bytes:
    """Read what stands under `name`, at most `octets_max` octets; return b"" if the medium does not give it back."""
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
        """How long the head is: the octet at which the first record begins."""
        return _HEAD_1.size if self.epoch is None else _HEAD_2.size

    def encode(self) -> bytes:
        """Return the octets of the head, in format 1 if it has no epoch."""
        if self.epoch is None:
            crc = crc32(_MAGIC + _NUMBERED.pack(self.owner, self.first))
            return _HEAD_1.pack(_MAGIC, 1, self.owner, crc, self.first)
        place = (self.first, self.skipped, self.epoch, self.index, self.before)
        crc = crc32(_HEAD_2.pack(_MAGIC, 2, self.owner, 0, *place))
        return _HEAD_2.pack(_MAGIC, 2, self.owner, crc, *place)

    @classmethod
    def read(cls, raw: bytes) -> Head | Kind:
        """Read the head at the beginning of `raw`, or say what stands there in its place."""
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
        # Encoding it again checks the CRC, and that the octets that nobody reads are what they should be.
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
    """Return the epoch of the journal.

    `marked` are the epochs of its marks, the newest first; `fresh` is that of a new journal.
    """
    if len(marked) > 1 and marked[0] == marked[1]:
        return marked[0]
    votes = Counter(marked)
    for segment in found:
        if isinstance(segment.head, Head) and segment.head.owner == owner and segment.head.epoch is not None:
            votes[segment.head.epoch] += 1
    # Of equal votes an epoch that is marked wins, then the larger one, so that the choice never depends on order.
    return max(votes, key=lambda epoch: (votes[epoch], epoch in marked, epoch), default=fresh)


def chain_of(found: Sequence[Found], owner: int, epoch: int) -> Chain:
    """Return the chain among the segments `found`, which are in order of their indices."""
    chain = Chain()
    placed: list[tuple[Found, Head]] = []
    unplaced: list[tuple[Found, Head]] = []  # of format 1
    for segment in found:
        head = segment.head
        if isinstance(head, Kind):
            chain.others.append((segment, head))
        elif head.owner != owner or head.epoch not in (epoch, None):
            chain.others.append((segment, Kind.FOREIGN))
        elif head.epoch is None:
            unplaced.append((segment, head))
        elif head.index == segment.index:
            placed.append((segment, head))
        else:
            chain.others.append((segment, Kind.MISPLACED))
    chain.links = _rising(placed)
    if chain.links:  # format 1 is older than all of format 2
        oldest, head = chain.links[0]
        early = [(segment, h) for segment, h in unplaced if segment.index < oldest.index and h.first <= head.first]
    else:
        early = unplaced
    chain.links = _rising(early) + chain.links
    taken = {segment.index for segment, _ in chain.links}
    unused = (segment for segment, _ in (*placed, *unplaced) if segment.index not in taken)
    chain.others += [(segment, Kind.MISPLACED) for segment in unused]
    return chain


def _rising(candidates: list[tuple[Found, Head]]) -> list[tuple[Found, Head]]:
    """Keep as many candidates as possible, in order, so that their numbers never fall.

    That is the longest non-decreasing subsequence, found in O(n log n) by patience sorting (Fredman, 1975).
    """
    lowest: list[int] = []  # per length of a subsequence: the lowest number that one of that length can end with
    ends: list[int] = []  # per length: the candidate that it ends with
    before: list[int] = []  # per candidate: the one ahead of it, -1 for none
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
    """Yield (number, end, content) of a segment's sound records, `end` being the octet of `raw` behind the record.

    The first record begins at octet `at` and has the number `number`.
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
    """Return the octet at which the record at `at` ends, None if no sound record of that number stands there."""
    length, crc = _RECORD.unpack_from(raw, at)
    end: int = at + RECORD_OCTETS + length
    if end > len(raw):
        return None
    sound = crc32(raw[at + RECORD_OCTETS : end], crc32(_NUMBERED.pack(length, number))) == crc
    return end if sound else None


def _next_sound(raw: bytes, at: int, number: int, effort: int) -> tuple[tuple[int, int] | None, int]:
    """Search for the first sound record from `at` on, with one of the _SEARCHED numbers from `number` on.

    Returns its place and number, None if there is none, and what remains of `effort`, at 0 of which the search ends.
    """
    numbers = range(number, number + _SEARCHED)
    # A record without content is known by its CRC alone, which costs no checksum per place.
    empty = {crc32(_NUMBERED.pack(0, candidate)): candidate for candidate in numbers}
    # A length is a u32, and no record is longer than the segment: so every record begins with zeros.
    lead = b"\0\0" if len(raw) <= 0xFFFF else b"\0"
    place = raw.find(lead, at)
    while 0 <= place <= len(raw) - RECORD_OCTETS and effort > 0:
        length, crc = _RECORD.unpack_from(raw, place)
        if length == 0 and crc in empty:
            return (place, empty[crc]), effort
        if length == crc == 0:
            # A hole of zeros, as a file system leaves: a record can begin only right at its end.
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
    """Return whether the octets from `at` on can be the beginning of a record that a power cut interrupted.

    They can if the record says that it is longer than they are, but no longer than a segment of `octets_max` holds. A
    longer record stands alone behind the head.
    """
    if at + RECORD_OCTETS > len(raw):  # too few even for the length: nothing speaks against it
        return True
    end = at + RECORD_OCTETS + _RECORD.unpack_from(raw, at)[0]
    return end > len(raw) and (end <= octets_max or at <= HEAD_OCTETS)
