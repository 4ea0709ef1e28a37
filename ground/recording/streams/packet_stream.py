"""Splits a recording of packets that follow one another.

Callers may rely on this: every octet ends up in exactly one class of the account, and no octets make it raise.
"""

# Only lengths lead from one packet to the next. One wrong bit in a length leads astray, and what is read from there on
# is not packets. So each landing, the place where a length leads, is judged by habit (`packet_habits`): which words
# there are, which sequence count each has next, which lengths it uses. A header is known if its word is, and in line if
# its count is the one due. Landings are judged by the batch, a "look" at a time:
#
#   known, in line          fine: the usual case
#   known, out of line      a gap, unless the missing header is found inside a packet before it: then that one's length
#                           is wrong
#   not known               a new APID, if the packets behind it are known again, and no header that is due lies inside
#   no header               damage (version number), or the end of the data
#   the last ones           fine, unless a header that is due lies inside one: nothing behind them would miss it
#
# At damage, `packet_search` looks octet by octet for the next chain of headers. The packet before the damage is
# believed if its error control fits, or if its length is usual and leads to where a further packet had room. What lies
# between is refused.
#
# What a wrong length can hide: if it leads exactly to the start of a later packet, and the packets between belong to
# APIDs whose counts say nothing, they pass for its data. A packet with a damaged APID passes for one of a new APID.
#
# Bounds: one block, and at most the two longest packets of the block before it, are held. A search costs what it passes
# over. Damage at more than DAMAGES_MAX places and one in OCTETS_PER_DAMAGE octets is not searched but passed over in
# steps: no channel does so much damage, and searching each place would take long.

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

DAMAGES_MAX, OCTETS_PER_DAMAGE = 4096, 256  # places searched: so many, and one more for so many octets
_PASSED_OVER = 4096  # octets passed over in one step if there is more damage
_FIRST_LOOK, _LOOK_MAX = 1 << 11, 1 << 22  # octets; small behind damage, since what is read past the next is in vain
_LOOK_BACK = 64  # packets before a gap that are searched for the missing header
_AHEAD = 2  # packets behind one of a new APID that must be known
_DOUBTS_MAX = 256  # judged per look, which ends before the next
_ROOM_MIN = PACKET_OCTETS_MIN - 1  # a gap that may have been a packet with an octet missing
_FEW_PACKETS = 64  # a recording of so few may be of APIDs that never become known
_LED_ASTRAY_MAX = 4  # landings on data that happen to look like a known header
_HIDDEN_AHEAD = 4  # counts ahead of what is due that a header inside a packet may have
_IDLE_APID = 0x7FF


@dataclass(frozen=True, slots=True)
class _Look:
    """The packets of a stretch as lengths lead from one to the next: n of each, offsets within the block."""

    offset: NDArray[np.int64]
    length: NDArray[np.uint32]
    apid: NDArray[np.uint16]
    seq: NDArray[np.uint16]
    flags: NDArray[np.uint8]
    word: NDArray[np.uint16]
    fits: NDArray[np.bool_]  # whether the sequence count is the one that was due
    consumed: int  # the octet at which the next packet begins, with what stands in front of it
    stop: Stop

    def __len__(self) -> int:
        return len(self.seq)

    def first(self, count: int) -> _Look:
        """Return a look that has only the first `count` packets."""
        return _Look(
            self.offset[:count], self.length[:count], self.apid[:count], self.seq[:count], self.flags[:count],
            self.word[:count], self.fits[:count], self.consumed, self.stop,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Verdict:
    """How many packets of a look are fine, and what follows them.

    is_damage: what follows must be searched. waits: what follows cannot be judged before the next block is there.
    Neither: the next look begins there.
    """

    fine: int
    is_damage: bool = False
    waits: bool = False


def _run_end(look: _Look, start: int) -> int:
    """Return the index behind a run of packets of one new word whose counts step by one. Chance does not count."""
    end = start + 1
    while end < len(look) and look.word[end] == look.word[start] and int(look.seq[end]) == int(look.seq[end - 1]) + 1:
        end += 1
    return end


class PacketStream:
    """Splits a recording into packets.

    Call `take` with one block after the other; the octets that a block leaves must begin the next one.
    """

    def __init__(self, options: LinkOptions, account: Account) -> None:
        self._lead = options.skip_octets or 0
        self._any_version = options.any_version
        self._account = account
        self._habits = PacketHabits()
        self._damages = 0  # places searched so far
        self._passed = 0  # octets of blocks before this one
        self._extent = _FIRST_LOOK  # octets of the next look, doubled while all is well
        self._encapsulation = EncapsulationStream(account)

    def take(self, block: bytes, *, last: bool) -> tuple[PacketBatch, int]:
        """Return the packets that are certain now, and how many octets of the block are done with."""
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
            self._accept(octets, look.first(fine), parts)
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
        """Return how many packets are fine in front of damage.

        The last ones may not be packets at all, but data that a wrong length led to: if the count of one is out of
        line, the one before it is in doubt.
        """
        fine = verdict.fine
        if verdict.is_damage and fine < len(look):
            while fine > max(verdict.fine - _LED_ASTRAY_MAX, 0) and not look.fits[fine]:
                fine -= 1
        return fine

    def _look(self, octets: Octets, at: int, end: int) -> _Look:
        """Split the octets from `at` to `end` by their lengths alone, and note which counts are in line."""
        columns: PacketColumns = split_packets(
            octets[at:end].data, lead_octets=self._lead, any_version=self._any_version
        )
        offset = np.asarray(columns.offset).astype(np.int64) + at
        apid, flags = np.asarray(columns.apid), np.asarray(columns.flags)
        if self._any_version:
            word = words_of(octets[offset], octets[offset + 1])
        else:  # the version is 0, so flags and APID are the whole word: cheaper than picking octets
            word = np.asarray((flags & 0b1100).astype(np.uint16) << 9 | apid, np.uint16)
        seq, length = np.asarray(columns.seq), np.asarray(columns.length)
        fits = self._habits.in_line(word, seq)
        return _Look(offset, length, apid, seq, flags, word, fits, at + columns.consumed, columns.stop)

    def _accept(self, octets: Octets, look: _Look, parts: list[_Look]) -> None:
        """Accept packets: learn from them, class their octets, and add them to `parts`."""
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
        """Judge how far a look's packets are what they seem. sees_all: the look reaches to the end of the block."""
        habits, count = self._habits, len(look)
        known = habits.known[look.word]
        if not known.all():
            habits.learn(look.word, look.seq, known)
            known = habits.known[look.word]
        is_end = last and sees_all and look.stop is Stop.END
        doubts = np.flatnonzero(~known | ~look.fits)
        settled = 0  # packets before this index are judged already, as a run of a new APID
        for doubt in doubts[:_DOUBTS_MAX].tolist() if habits else ():
            if doubt < settled:
                continue
            if known[doubt]:  # out of line: a gap, or a packet before it hides the missing header
                hiding = self._hiding(octets, look, doubt)
                if hiding is not None:
                    return _Verdict(hiding, is_damage=True)
                continue
            settled = _run_end(look, doubt)
            ahead = known[settled : settled + _AHEAD]
            before = max(doubt - 1, 0)
            # Too few packets behind it to judge, and more may come.
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
            return _Verdict(0, is_damage=True)  # so many packets, and none of a kind that repeats
        return self._judge_end(octets, look, count, sees_all=sees_all, last=last)

    def _judge_end(self, octets: Octets, look: _Look, count: int, *, sees_all: bool, last: bool) -> _Verdict:
        """Judge the end of a look. Its last packet is fine only if what it leads to has been seen."""
        before = max(count - 1, 0)
        if look.stop is Stop.VERSION:
            return _Verdict(before, is_damage=True)
        if not sees_all:
            return _Verdict(before)  # the next look will see where the last packet leads
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
        # The last packet claims more octets than there are: it is cut off, or its length or that of the one before is
        # wrong. If packets go on inside it, the length is wrong.
        suspect = count if is_known else before
        start = int(look.offset[suspect]) if suspect < count else at
        with self._habits.after(look.word[:suspect], look.seq[:suspect]):
            place = next_chain(octets, start + 1, len(octets), self._habits, self._lead, last=True)
        if place is not None:
            return _Verdict(suspect, is_damage=True)
        is_doubtful = bool(self._habits) and not is_known
        return _Verdict(before if is_doubtful else count, is_damage=is_doubtful)

    def _hiding(self, octets: Octets, look: _Look, index: int) -> int | None:
        """Return the packet before `index` that hides the header missing there, or None. Its length is wrong."""
        word = int(look.word[index])
        head = word.to_bytes(2, "big")
        for before in range(index - 1, max(index - _LOOK_BACK, 0) - 1, -1):
            start, size = int(look.offset[before]), int(look.length[before])
            holds = octets[start + 1 : start + size].tobytes().find(head) >= 0
            if holds or self._habits.is_usual(int(look.word[before]), size) is not True:
                # Its own count may be damaged too, so what is due is judged as of before it.
                with self._habits.after(look.word[:before], look.seq[:before]):
                    if self._hides(octets, start + 1, start + size, word):
                        return before
            if look.word[before] == word:  # the counts step from here, so the header is not missing further back
                return None
        return None

    def _hiding_at_end(self, octets: Octets, look: _Look) -> int | None:
        """Return the packet that hides a header that is due, or None; for the last packets of a recording.

        Elsewhere a later packet of the hidden one's APID would be out of line, but nothing follows here.
        """
        for before in range(len(look) - 1, max(len(look) - _LOOK_BACK, 0) - 1, -1):
            start, size = int(look.offset[before]), int(look.length[before])
            with self._habits.after(look.word[:before], look.seq[:before]):
                if self._hides(octets, start + 1, start + size, None):
                    return before
        return None

    def _hides(self, octets: Octets, start: int, stop: int, word: int | None) -> bool:
        """Whether a header that is due lies in start..stop and leads to a known one; word: of this word only."""
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
        """Find where packets go on behind damage, and class what lies between.

        at: where the packet begins that may have led astray. Returns the octet at which the next look begins, and
        whether this block has one.
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
        if not self._habits:  # no word is known that could be searched for
            if last:
                self._class_gap(octets[at:], "header")
                return size, False
            kept = max(at, size - PACKET_OCTETS_MAX)
            self._class_gap(octets[at:kept], "header")
            return kept, False
        place = next_chain(octets, at + 1, size, self._habits, self._lead, last=last)
        if place is None and not last:
            # A chain needs up to two of the longest packets to show. Fewer octets wait for the next block.
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
                self._accept(octets, self._look(octets, at, behind), parts)
                at = behind
        if at < end:
            is_header = start + HEADER_OCTETS <= size and bool(self._habits.known[header_at(octets, start)[0]])
            self._class_gap(octets[at:end], "length" if is_header and at == start - self._lead else "header")
        return end, place is not None

    def _pass_encapsulation(self, octets: Octets, at: int, parts: list[_Look]) -> int:
        """Pass over encapsulation packets among packets. Returns the octet behind them, 0 if there is none."""
        start = at + self._lead
        if start + HEADER_OCTETS <= len(octets) and int(octets[start]) >> 5 == 0:
            start += header_at(octets, start)[2]  # they may stand behind the packet that is in doubt
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
            return 0  # damage that happens to look like one: taking it would swallow packets
        if first > at:
            self._accept(octets, self._look(octets, at, first), parts)
        for protocol, size in sizes:
            self._encapsulation.note(protocol, size)
        return start

    def _is_believed(self, octets: Octets, start: int, end: int) -> bool:
        """Whether a packet in front of damage is what it seems; packets go on for certain at `end`."""
        word, _, length = header_at(octets, start)
        behind = start + length
        if not self._habits.known[word]:
            return False
        is_sound = crc16(octets[start:behind].data) == 0
        if is_sound or self._habits.is_guarded(word):
            return is_sound
        # A gap too short for any packet: rather this one is longer or shorter than it says.
        room = end - behind
        if 0 < room < _ROOM_MIN:
            return False
        return self._habits.is_usual(word, length) is not False

    def _class_gap(self, octets: Octets, reason: str) -> None:
        """Class octets that are in no packet: fill; refused if they may have been a packet; else skipped."""
        fill = fill_octets(octets)
        remaining = len(octets) - fill
        self._account.fill_octets += fill
        if remaining > PACKET_OCTETS_MAX:
            self._account.skipped_octets += remaining
        elif remaining:
            self._account.refused[reason] += remaining
            self._account.packets_refused[reason] += 1


def _batch(block: bytes, parts: list[_Look]) -> PacketBatch:
    """Return the packets of all looks as one batch, without idle ones, whose octets are classed already."""
    if len(parts) == 1:
        columns = parts[0]
        offset, length, apid, seq, flags = (
            columns.offset, columns.length, columns.apid, columns.seq, columns.flags
        )  # fmt: skip
    elif parts:
        offset = np.concatenate([part.offset for part in parts])
        length = np.concatenate([part.length for part in parts])
        apid = np.concatenate([part.apid for part in parts])
        seq = np.concatenate([part.seq for part in parts])
        flags = np.concatenate([part.flags for part in parts])
    else:
        offset, length, apid = np.zeros(0, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.uint16)
        seq, flags = apid, np.zeros(0, np.uint8)
    batch = PacketBatch(
        block, offset.astype(np.uint64), length, apid, seq, flags, np.full(len(flags), NO_CHANNEL, np.uint8)
    )
    is_idle = apid == _IDLE_APID
    return batch.rows(~is_idle) if is_idle.any() else batch
