"""A recording of packets, one after the other, to packets. Only lengths lead from one to the next: one wrong bit of a
length leads astray, and what is read from there on is not packets. So each landing is judged by habit.

Habits are what the recording has shown so far: which APIDs there are (with their type and secondary header flag), which
sequence count each has next, which lengths it uses. A header is known if its APID is, and in line if its count is what
comes next, or not far from it. Landings are fine by the thousand, and are judged by the batch:

    known, in line          the usual case
    known, out of line      a gap, unless the missing header is found inside a packet before it: then that one's length
                            is wrong
    not known               a new APID, if the packets behind it are known again, and no header that is due lies inside
    no header               damage (version number), or the end of the data
    the last ones           fine, unless a header that is due lies inside one: nothing behind them would miss it

At damage the next place is searched for, octet by octet, at which a chain begins: a known header close to its line that
leads to another, and on to a third or to the end. The packet before the damage is believed if its error control says
so, or if its length is usual and leads to where a further packet had room; what lies between is refused.

What a wrong length can hide: if it leads exactly to the start of a later packet, and the packets between belong to
APIDs whose counts say nothing, they pass for its data. A packet whose APID alone is spoilt passes for one of a new
APID.

Bounds: a block of the recording, and the two longest packets of the one before it, are all that is held. A search costs
what it passes over; what was split beyond damage is bounded by what was fine before it. Damage beyond DAMAGES_MAX
places and one in OCTETS_PER_DAMAGE octets is not searched, but passed over in steps: no channel does so much, and it
would take long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flight.kernels import PacketColumns, Stop, crc16, split_packets
from ground.recording.packet_batch import NO_CHANNEL, PacketBatch
from ground.recording.streams.account import Account
from ground.recording.streams.encapsulation import EncapsulationStream, packet_octets
from ground.recording.streams.fill import fill_octets
from ground.recording.streams.link_options import LinkOptions
from ground.recording.streams.packet_habits import PacketHabits
from ground.recording.streams.packet_headers import (
    HEADER_OCTETS,
    PACKET_OCTETS_MAX,
    PACKET_OCTETS_MIN,
    Octets,
    header_at,
    headers_at_all,
    words_of,
)
from ground.recording.streams.packet_search import next_chain

DAMAGES_MAX, OCTETS_PER_DAMAGE = 4096, 256
_PASSED_OVER = 4096  # octets
_FIRST_LOOK, _LOOK_MAX = 1 << 11, 1 << 22
_LOOK_BACK = 64  # packets before a gap that are looked into for what is missing
_AHEAD = 2  # packets behind one of a new APID that must be known
_DOUBTS_MAX = 256  # per look
_ROOM_MIN = PACKET_OCTETS_MIN - 1  # of what may have been a packet, an octet of which is missing
_FEW_PACKETS = 64  # of which no APID need be known
_LED_ASTRAY_MAX = 4  # landings on data that look like a known header
_HIDDEN_AHEAD = 4  # counts ahead of what is due, for a header inside a packet
_IDLE_APID = 0x7FF


@dataclass(frozen=True, slots=True)
class _Look:
    """The packets of a stretch as lengths lead from one to the next: columns of n, offsets within the block."""

    offset: NDArray[np.int64]
    length: NDArray[np.uint32]
    apid: NDArray[np.uint16]
    seq: NDArray[np.uint16]
    flags: NDArray[np.uint8]
    word: NDArray[np.uint16]
    fits: NDArray[np.bool_]  # the sequence count is what was due
    consumed: int  # where the next packet begins, lead included
    stop: Stop

    def __len__(self) -> int:
        return len(self.seq)

    def first(self, count: int) -> _Look:
        """The first packets only."""
        return _Look(
            self.offset[:count], self.length[:count], self.apid[:count], self.seq[:count], self.flags[:count],
            self.word[:count], self.fits[:count], self.consumed, self.stop,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Verdict:
    """How many packets of a look are fine; whether what follows them is damage; whether more must be seen first."""

    fine: int
    is_damage: bool = False
    waits: bool = False


def _run_end(look: _Look, start: int) -> int:
    """Where packets of one new APID end that begins at `start`: as long as they count. Chance does not."""
    end = start + 1
    while end < len(look) and look.word[end] == look.word[start] and int(look.seq[end]) == int(look.seq[end - 1]) + 1:
        end += 1
    return end


class PacketStream:
    """`take` the recording block by block; what a block leaves begins the next."""

    def __init__(self, options: LinkOptions, account: Account) -> None:
        self._lead = options.skip_octets or 0
        self._any_version = options.any_version
        self._account = account
        self._habits = PacketHabits()
        self._damages = 0  # places that were searched
        self._passed = 0  # octets of blocks before this one
        self._extent = _FIRST_LOOK  # octets of the next look: doubled as long as all is well
        self._encapsulation = EncapsulationStream(account)

    def take(self, block: bytes, *, last: bool) -> tuple[PacketBatch, int]:
        """The packets that are certain now, and how many octets are done with: the next block begins there."""
        octets = np.frombuffer(block, np.uint8)
        if not self._habits:
            self._habits.survey(octets, self._lead, any_version=self._any_version)
        parts: list[_Look] = []
        at, extent = 0, self._extent
        while at < len(octets):
            end = min(at + extent, len(octets))
            look = self._look(octets, at, end)
            verdict = self._judge(octets, look, sees_all=end == len(octets), last=last)
            fine = self._before_doubt(look, verdict)
            self._give(octets, look.first(fine), parts)
            if fine:
                at = look.consumed if fine == len(look) else int(look.offset[fine]) - self._lead
            extent = min(2 * extent, _LOOK_MAX) if end < len(octets) else extent
            if verdict.is_damage:
                at, goes_on = self._pass_damage(octets, at, parts, last=last)
                extent = _FIRST_LOOK
                if not goes_on:
                    break
            elif verdict.waits or end == len(octets):
                break
        self._extent = extent
        self._passed += at
        if last:
            self._account.left_octets += len(octets) - at
        return _batch(block, parts), at

    @staticmethod
    def _before_doubt(look: _Look, verdict: _Verdict) -> int:
        """How many packets are fine. One in front of damage whose count is out of line may be no packet at all, but
        data that a wrong length led to: then the one before it is in doubt.
        """
        fine = verdict.fine
        if verdict.is_damage and fine < len(look):
            while fine > max(verdict.fine - _LED_ASTRAY_MAX, 0) and not look.fits[fine]:
                fine -= 1
        return fine

    def _look(self, octets: Octets, at: int, end: int) -> _Look:
        columns: PacketColumns = split_packets(
            octets[at:end].data, lead_octets=self._lead, any_version=self._any_version
        )
        offset = np.asarray(columns.offset).astype(np.int64) + at
        apid, flags = np.asarray(columns.apid), np.asarray(columns.flags)
        if self._any_version:
            word = words_of(octets[offset], octets[offset + 1])
        else:
            word = np.asarray((flags & 0b1100).astype(np.uint16) << 9 | apid, np.uint16)
        seq, length = np.asarray(columns.seq), np.asarray(columns.length)
        fits = self._habits.in_line(word, seq)
        return _Look(offset, length, apid, seq, flags, word, fits, at + columns.consumed, columns.stop)

    def _give(self, octets: Octets, look: _Look, parts: list[_Look]) -> None:
        """These packets are fine."""
        if not len(look):
            return
        self._habits.note(octets, look.offset, look.word, look.seq, look.length, look.fits)
        taken = int(look.length.sum(dtype=np.int64))
        is_idle = look.apid == _IDLE_APID
        if is_idle.any():
            idle = int(look.length[is_idle].sum(dtype=np.int64))
            self._account.idle_octets += idle
            taken -= idle
        self._account.packet_octets += taken
        self._account.overhead_octets += self._lead * len(look)
        parts.append(look)

    def _judge(self, octets: Octets, look: _Look, *, sees_all: bool, last: bool) -> _Verdict:
        """How far the packets of a look are what they seem. `sees_all`: the look reaches to the end of the block."""
        habits, count = self._habits, len(look)
        known = habits.known[look.word]
        if not known.all():
            habits.learn(look.word, look.seq, known)
            known = habits.known[look.word]
        is_end = last and sees_all and look.stop is Stop.END
        doubts = np.flatnonzero(~known | ~look.fits)
        settled = 0  # up to where a run of new APIDs is fine
        for doubt in doubts[:_DOUBTS_MAX].tolist() if habits else ():
            if doubt < settled:
                continue
            if known[doubt]:
                hiding = self._hiding(octets, look, doubt)
                if hiding is not None:
                    return _Verdict(hiding, is_damage=True)
                continue
            settled = _run_end(look, doubt)
            ahead = known[settled : settled + _AHEAD]
            before = max(doubt - 1, 0)
            is_short = len(ahead) < _AHEAD and ahead.all() and not is_end and look.stop is not Stop.VERSION
            if is_short and not (sees_all and last):
                return _Verdict(before, waits=sees_all)
            start = int(look.offset[before]) + 1
            end = int(look.offset[settled - 1]) + int(look.length[settled - 1])
            with habits.after(look.word[:doubt], look.seq[:doubt]):
                hidden = self._hides(octets, start, end, None)
            if hidden or not (ahead.all() and (len(ahead) == _AHEAD or is_end)):
                return _Verdict(before, is_damage=True)
        if len(doubts) > _DOUBTS_MAX and habits:
            return _Verdict(int(doubts[_DOUBTS_MAX]))
        if not habits and count > _FEW_PACKETS:
            return _Verdict(0, is_damage=True)  # so many packets, and none of it looks like any
        return self._judge_end(octets, look, count, sees_all=sees_all, last=last)

    def _judge_end(self, octets: Octets, look: _Look, count: int, *, sees_all: bool, last: bool) -> _Verdict:
        """What became of the walk behind the last packet of a look."""
        before = max(count - 1, 0)
        if look.stop is Stop.VERSION:
            return _Verdict(before, is_damage=True)
        if not sees_all:
            return _Verdict(before)  # where the last packet leads is seen by the next look
        if look.stop is Stop.END:
            if not last:
                return _Verdict(before, waits=True)
            hiding = self._hiding_at_end(octets, look)
            return _Verdict(count) if hiding is None else _Verdict(hiding, is_damage=True)
        at = look.consumed + self._lead
        if at + HEADER_OCTETS > len(octets):
            return _Verdict(count if last else before, waits=True)
        word, seq, _ = header_at(octets, at)
        is_known = bool(self._habits.known[word])
        if not last:
            return _Verdict(count if is_known or not self._habits else before, waits=True)
        with self._habits.after(look.word, look.seq):
            is_known &= self._habits.is_near(word, seq)
        # The last packet claims more than there is. It is cut off, or its length is wrong, or that of the one before.
        suspect = count if is_known else before
        start = int(look.offset[suspect]) if suspect < count else at
        with self._habits.after(look.word[:suspect], look.seq[:suspect]):
            place = next_chain(octets, start + 1, len(octets), self._habits, self._lead, last=True)
        if place is not None:
            return _Verdict(suspect, is_damage=True)
        is_doubtful = bool(self._habits) and not is_known
        return _Verdict(before if is_doubtful else count, is_damage=is_doubtful)

    def _hiding(self, octets: Octets, look: _Look, index: int) -> int | None:
        """The packet before `index` in which the header lies that is missing there, if one does."""
        word = int(look.word[index])
        head = word.to_bytes(2, "big")
        for before in range(index - 1, max(index - _LOOK_BACK, 0) - 1, -1):
            start, size = int(look.offset[before]), int(look.length[before])
            holds = octets[start + 1 : start + size].tobytes().find(head) >= 0
            if holds or self._habits.is_usual(int(look.word[before]), size) is not True:
                # Its own count may be spoilt too, so that what is due is what was before it.
                with self._habits.after(look.word[:before], look.seq[:before]):
                    if self._hides(octets, start + 1, start + size, word):
                        return before
            if look.word[before] == word:
                return None
        return None

    def _hiding_at_end(self, octets: Octets, look: _Look) -> int | None:
        """The packet in which a header lies that is due, if no packet of its APID follows that would be out of line."""
        for before in range(len(look) - 1, max(len(look) - _LOOK_BACK, 0) - 1, -1):
            start, size = int(look.offset[before]), int(look.length[before])
            with self._habits.after(look.word[:before], look.seq[:before]):
                if self._hides(octets, start + 1, start + size, None):
                    return before
        return None

    def _hides(self, octets: Octets, start: int, stop: int, word: int | None) -> bool:
        """Whether a header that is due lies here and leads to a known one: any, or that of one word."""
        headers = headers_at_all(octets[start : min(stop + HEADER_OCTETS - 1, len(octets))])
        habits = self._habits
        if word is None:
            at = np.flatnonzero(habits.known[headers.word] & habits.counting[headers.word])
        else:
            at = np.flatnonzero(headers.word == word)
        due = habits.due[headers.word[at]]
        at = at[(due >= 0) & ((headers.seq[at].astype(np.int32) - due) & 0x3FFF < _HIDDEN_AHEAD)]
        for place, size in zip((at + start).tolist(), headers.length[at].tolist(), strict=True):
            behind = place + size + self._lead
            if behind == len(octets) or (
                behind + HEADER_OCTETS <= len(octets) and habits.known[header_at(octets, behind)[0]]
            ):
                return True
        return False

    def _pass_damage(self, octets: Octets, at: int, parts: list[_Look], *, last: bool) -> tuple[int, bool]:
        """Search for where packets go on; `at` is where the packet begins that may have led astray. Returns where the
        next look begins, and whether there is to be one.
        """
        start, size = at + self._lead, len(octets)
        self._damages += 1
        if self._damages > DAMAGES_MAX + (self._passed + at) // OCTETS_PER_DAMAGE:
            end = min(at + _PASSED_OVER, size)
            self._class_gap(octets[at:end], "damage")
            return end, end < size
        ahead = self._pass_encapsulation(octets, at, parts)
        if ahead:
            return ahead, True
        if not self._habits:  # nothing is known that could be searched for
            if last:
                self._class_gap(octets[at:], "header")
                return size, False
            kept = max(at, size - PACKET_OCTETS_MAX)
            self._class_gap(octets[at:kept], "header")
            return kept, False
        place = next_chain(octets, at + 1, size, self._habits, self._lead, last=last)
        if place is None and not last:
            if size - at <= 2 * PACKET_OCTETS_MAX:
                return at, False
            kept = size - 2 * PACKET_OCTETS_MAX
            self._class_gap(octets[at:kept], "header")
            return kept, False
        end = size if place is None else place
        self._account.resyncs += place is not None
        if start + HEADER_OCTETS <= size:
            behind = start + header_at(octets, start)[2]
            if behind <= end and self._is_believed(octets, start, end):
                self._give(octets, self._look(octets, at, behind), parts)
                at = behind
        if at < end:
            is_header = start + HEADER_OCTETS <= size and bool(self._habits.known[header_at(octets, start)[0]])
            self._class_gap(octets[at:end], "length" if is_header and at == start - self._lead else "header")
        return end, place is not None

    def _pass_encapsulation(self, octets: Octets, at: int, parts: list[_Look]) -> int:
        """Where packets go on behind encapsulation packets that stand among them, 0 if that is not what stands here."""
        start = at + self._lead
        if start + HEADER_OCTETS <= len(octets) and int(octets[start]) >> 5 == 0:
            start += header_at(octets, start)[2]  # they stand behind the packet that is in doubt
        first = start
        sizes: list[tuple[int, int]] = []
        while start < len(octets) and (size := packet_octets(octets, start)) and start + size <= len(octets):
            sizes.append((int(octets[start]) >> 2 & 7, size))
            start += size
        goes_on = start == len(octets) or (
            start + 2 <= len(octets) and self._habits.known[int(octets[start]) << 8 | int(octets[start + 1])]
        )
        if not sizes or not goes_on or self._lead:
            return 0
        if self._hides(octets, at + self._lead + 1, start, None):
            return 0  # damage that happens to look like one, and that would swallow packets
        if first > at:
            self._give(octets, self._look(octets, at, first), parts)
        for protocol, size in sizes:
            self._encapsulation.note(protocol, size)
        return start

    def _is_believed(self, octets: Octets, start: int, end: int) -> bool:
        """Whether a packet in front of damage is what it seems; the next packet that is certain begins at `end`."""
        word, _, length = header_at(octets, start)
        behind = start + length
        if not self._habits.known[word]:
            return False
        is_sound = crc16(octets[start:behind].data) == 0
        if is_sound or self._habits.is_guarded(word):
            return is_sound
        room = end - behind
        if 0 < room < _ROOM_MIN:
            return False
        return self._habits.is_usual(word, length) is not False

    def _class_gap(self, octets: Octets, reason: str) -> None:
        """Octets that are in no packet: fill, something that was a packet, or nothing that we know."""
        fill = fill_octets(octets)
        rest = len(octets) - fill
        self._account.fill_octets += fill
        if rest > PACKET_OCTETS_MAX:
            self._account.skipped_octets += rest
        elif rest:
            self._account.refused[reason] += rest
            self._account.packets_refused[reason] += 1


def _batch(block: bytes, parts: list[_Look]) -> PacketBatch:
    """The packets of all looks; idle ones are left out."""
    if len(parts) == 1:
        columns = parts[0]
        offset, length, apid, seq, flags = (
            columns.offset, columns.length, columns.apid, columns.seq, columns.flags
        )  # fmt: skip
    elif parts:
        offset = np.concatenate([one.offset for one in parts])
        length = np.concatenate([one.length for one in parts])
        apid = np.concatenate([one.apid for one in parts])
        seq = np.concatenate([one.seq for one in parts])
        flags = np.concatenate([one.flags for one in parts])
    else:
        offset, length, apid = np.zeros(0, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.uint16)
        seq, flags = apid, np.zeros(0, np.uint8)
    batch = PacketBatch(
        block, offset.astype(np.uint64), length, apid, seq, flags, np.full(len(flags), NO_CHANNEL, np.uint8)
    )
    is_idle = apid == _IDLE_APID
    return batch.rows(~is_idle) if is_idle.any() else batch
