"""The account of the way down: every frame from the node's stack to what the ground's session made of it."""

# Frames are known by their place. The master count of the n-th frame of a life of the node is n modulo 256, frames
# arrive in the order in which they were made, and the ground shows the count of each one it takes. So the oldest frame
# on its way with that count is the one, and those before it that had no result were not found.
#
# What the ground should have counted is worked out from this: frames missed per channel, packets that came whole, and
# what the decoder corrected. A packet comes whole if all frames that carry some of it came, to one and the same life of
# the ground.
#
# A frame without wrong bits must be taken, one with some must be taken if the code can correct them.
#
# On a protected way down every frame has a sequence number, read from its octets, and the numbers that the ground takes
# rise, over all its lives (`spent` is the last). An untouched frame is refused as a replay only if its number is not
# above that at which the ground's life began. While a record is being stored a frame may wait, and all behind it.
#
# The control word of a frame is a CLCW or a frame security report, in turn: no two frames that follow each other say
# the same. What the session has to count of them is known from the octets that were sent.
#
# Forged frames (attacker.py) stand in the same order as all others, with fates of their own. Each is refused, for the
# reason that an independent reading of it gives (protected_frames.py).

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from flight.core.errors import DecodeError
from flight.link.coding.tm_coding import MARKER_OCTETS, TmCoding
from flight.link.security.report import FrameSecurityReport
from ground.link.ground_link import LATE_FRAMES_MAX
from sim_hw.soak.findings import Findings
from sim_hw.soak.protected_frames import SPI_UP, ProtectedFrames, is_report, ocf_of
from sim_hw.world.channel import Fate

RECEIVED, OFF, UNFOUND = "received", "ground off", "not found"
_MASTER_COUNT_AT = 2  # octet of a TM frame
_REPLAY, _REPEATED = "replay", "repeated"


@dataclass(slots=True, eq=False)
class DownPacket:
    """A packet that was queued. `broken`: some of it got lost. ground_life: of the ground that has the first of it."""

    octets: bytes
    broken: bool = False
    ground_life: int = -1


@dataclass(slots=True, eq=False)
class SentFrame:
    """The `number`-th frame of a life of the node; pieces: packets of which it carries some, and whether the end.

    octets: as coded. frame: before that. sequence: its sequence number on a protected way down. forged: it is none of
    the node's. place: among the frames of its channel in this life.
    """

    life: int
    number: int
    vcid: int
    octets: bytes
    frame: bytes
    sequence: int = 0
    forged: bool = False
    pieces: Sequence[tuple[DownPacket, bool]] = ()
    received: bytes = b""
    excused: bool = False
    place: int = 0

    @property
    def damaged(self) -> bool:
        """Whether it was delivered with wrong bits."""
        return bool(self.received) and self.received != self.octets


@dataclass(slots=True)
class ControlWords:
    """Counts what the session took of control words: CLCWs, and reports that say something new.

    numbers_reported: those of them that say that a number was too low. newest_clcw: life and number of the newest frame
    with a CLCW. report: the newest report that this ground took.
    """

    findings: Findings
    clcws: int = 0
    reports: int = 0
    numbers_reported: int = 0
    newest_clcw: tuple[int, int] = (0, -1)
    report: FrameSecurityReport | None = None
    _octets: bytes = b""

    def forget(self) -> None:
        """Note that the ground stopped."""
        self.newest_clcw, self.report, self._octets = (0, -1), None, b""

    def take(self, frame: SentFrame) -> None:
        """Take the control word of a frame that the session has taken."""
        ocf = ocf_of(frame.frame)
        if not is_report(ocf):
            self.clcws += 1
            self.newest_clcw = (frame.life, frame.number)
            return
        try:
            self.report = FrameSecurityReport.decode(ocf)
        except DecodeError as error:
            self.findings.add(f"the node sent a control word that is none: {error}")
            return
        if ocf != self._octets:  # the session looks at those that say something new
            self.reports += 1
            self.numbers_reported += self.report.bad_number and self.report.spi == SPI_UP
        self._octets = ocf


@dataclass(slots=True)
class Corrections:
    """What the Reed-Solomon decoder should count: codewords and symbols corrected, codewords that it cannot."""

    coding: TmCoding | None
    symbols: int = 0
    corrected: int = 0
    uncorrectable: int = 0

    def expect(self, frame: SentFrame) -> None:
        """Work out what the decoder corrects in this frame's codewords, and whether it can."""
        coding = self.coding
        if coding is None or not coding.parity:
            return
        wrong = int.from_bytes(frame.octets, "big") ^ int.from_bytes(frame.received, "big")
        last_bit = 8 * len(frame.octets) - 1
        symbols: set[int] = set()
        while wrong:  # a handful of bits in ten thousand: looking at each octet would take longer
            low = wrong & -wrong
            wrong ^= low
            octet = (last_bit - low.bit_length() + 1) // 8
            if octet >= MARKER_OCTETS:
                symbols.add(octet - MARKER_OCTETS)
        per_codeword = Counter(symbol % coding.interleave for symbol in symbols)
        for count in per_codeword.values():
            if count <= coding.parity // 2:
                self.symbols += count
                self.corrected += 1
            else:
                self.uncorrectable += 1


@dataclass(slots=True)
class FrameCounts:
    """What the session should make of the frame counts: frames missed, and restarts of the node.

    unnoticed_restarts: reboots of the node that the counts did not show. missed_unknown: the gaps that the ground saw
    instead.
    """

    findings: Findings
    missed_expected: int = 0
    missed_unknown: int = 0
    restarts_noticed: int = 0
    unnoticed_restarts: int = 0
    newest: tuple[int, int] = (0, -1)  # life and number of the newest frame that the ground took
    _taken_of: dict[int, int] = field(default_factory=dict)  # the place of the last one that was taken, by channel
    _seen: set[int] = field(default_factory=set)  # channels of which this ground has a frame of this life of the node
    _unseen: set[int] = field(default_factory=set)  # and those of which it has one of a life before, and takes no heed
    _first_of_unseen_life: bool = False
    _restarted: bool = False
    _noticed_life: int = 0  # the life of the node that the ground believes to hear

    def on_restarted(self) -> None:
        """Take that the session saw a restart of the node."""
        self.restarts_noticed += 1
        self._restarted = True

    def on_gap(self, frames: int) -> None:
        """Take how many frames the session misses before the one that it has just taken."""
        if self._first_of_unseen_life:
            self.missed_unknown += frames

    def take(self, frame: SentFrame) -> None:
        """Take a frame that the session has taken."""
        if self.newest[1] < 0:
            self._noticed_life = frame.life  # the first frame of all: there is nothing to notice
        new_life = self.newest[1] >= 0 and frame.life != self.newest[0]
        if self._restarted and self._noticed_life == frame.life:
            self.findings.add("the session saw a restart of the node, and there was none")
        if self._restarted or new_life:
            # If the counts did not show the new life, what the session takes for a gap says nothing. Another channel
            # may show it later.
            if not self._restarted:
                self.unnoticed_restarts += 1
            elif not new_life and self._noticed_life != frame.life:
                self.unnoticed_restarts -= 1
            self._noticed_life = frame.life if self._restarted else self._noticed_life
            self._taken_of.clear()
            self._unseen = set() if self._restarted else self._seen | self._unseen
            self._seen = set()
        self._restarted = False
        self._first_of_unseen_life = frame.vcid in self._unseen
        self._unseen.discard(frame.vcid)
        if frame.vcid in self._seen:
            # By places and not by fates: one that got lost may be known before those ahead of it are looked at.
            self.missed_expected += (frame.place - self._taken_of[frame.vcid] - 1) % 256
        self._seen.add(frame.vcid)
        self._taken_of[frame.vcid] = frame.place
        self.newest = (frame.life, frame.number)

    def forget(self) -> None:
        """Note that the ground stopped: the next session knows of no frame."""
        self._seen, self._unseen = set(), set()
        self._restarted = False
        self.newest = (0, -1)


@dataclass(slots=True)
class DownlinkLedger:
    """Counts frames by fate. What has `expected` in its name is what the ground should have counted.

    damaged_unheard: frames with wrong bits that came while the ground was off. waits: looks at a frame that had to
    wait, and how many more it may have been.
    """

    coding: TmCoding | None
    findings: Findings
    frames: ProtectedFrames
    fates: Counter[str] = field(default_factory=Counter)
    offered: int = 0
    heard: int = 0
    with_errors: int = 0
    forged_fates: Counter[str] = field(default_factory=Counter)
    fragment_results: Counter[str] = field(default_factory=Counter)
    frames_made: int = 0
    words: ControlWords = field(init=False)
    counts: FrameCounts = field(init=False)
    corrections: Corrections = field(init=False)
    waits: int = 0
    waits_slack: int = 0
    spent: int = 0
    packets_expected: int = 0
    packets_received: int = 0
    packets_broken: int = 0
    idle_received: int = 0
    damaged_unheard: int = 0
    ground_on: bool = True
    ground_life: int = 0
    _in_air: deque[SentFrame] = field(default_factory=deque)
    _arrived: deque[SentFrame] = field(default_factory=deque)
    _pending: deque[SentFrame] = field(default_factory=deque)
    _last_heard: SentFrame | None = None
    _late: SentFrame | None = None  # rejected as repeated; it may still turn out to begin a new life
    _made_of: Counter[int] = field(default_factory=Counter)  # frames of this life, by channel
    _last_made: SentFrame | None = None
    _whole: deque[bytes] = field(default_factory=deque)  # packets that should come out next

    def __post_init__(self) -> None:
        self.words = ControlWords(self.findings)
        self.counts = FrameCounts(self.findings)
        self.corrections = Corrections(self.coding)

    def on_made(self, frame: SentFrame, *, reports: bool) -> None:
        """Look at a frame that the node has made; reports: control words are CLCWs and reports in turn."""
        self.frames_made += 1
        before, self._last_made = self._last_made, frame
        if before is None or before.life != frame.life:
            self._made_of.clear()
        frame.place = self._made_of[frame.vcid]
        self._made_of[frame.vcid] += 1
        if before is None:
            return
        if frame.sequence and frame.sequence <= before.sequence:
            self.findings.add(f"the node used number {frame.sequence} behind {before.sequence}")
        if reports and before.life == frame.life and ocf_of(before.frame) == ocf_of(frame.frame):
            self.findings.add("two frames in a row have the same control word")

    def forged(self, frame: SentFrame) -> None:
        """Note a frame of the attacker's, which reaches the ground's receiver at this moment."""
        frame.received = frame.octets
        self._arrived.append(frame)

    def sent(self, frame: SentFrame) -> None:
        """Note a frame that the modem has taken."""
        self.offered += 1
        self._in_air.append(frame)

    def on_fate(self, fate: Fate, octets: bytes) -> None:
        """Take what the channel says of the oldest frame in the air."""
        frame = self._in_air.popleft()
        if fate is not Fate.DELIVERED:
            self._end(frame, fate.value)
        elif not self.ground_on:
            self.damaged_unheard += octets != frame.octets
            self._end(frame, OFF)
        else:
            frame.received = octets
            self._arrived.append(frame)

    def on_heard(self, octets: bytes) -> None:
        """Note that the ground's session is given these octets."""
        self.heard += 1
        frame = self._take(octets)
        if frame is None:
            return
        before, self._last_heard = self._last_heard, frame
        frame.excused = frame.damaged or (before is not None and before.damaged)
        if frame.damaged:
            self.with_errors += 1
            self.corrections.expect(frame)
        self._pending.append(frame)

    def _take(self, octets: bytes) -> SentFrame | None:
        for place, frame in enumerate(self._arrived):
            if frame.received == octets:
                for vanished in [self._arrived.popleft() for _ in range(place)]:
                    self.findings.add("a frame was delivered and not given to the ground")
                    self._end(vanished, "vanished")
                return self._arrived.popleft()
        self.findings.add(f"the ground heard {len(octets)} octets that the channel did not deliver")
        return None

    def on_frame(self, raw: bytes, vcid: int, *, idle: bool) -> None:
        """Take a frame that the session has taken; `idle` if it is of the channel of idle frames."""
        count = raw[_MASTER_COUNT_AT]
        taken_back = self._late
        if self._late is not None and self._late.number & 0xFF == count:
            frame, self._late = self._late, None  # the session took back that it was repeated
        else:
            self._drop_late()
            found = self._found(count)
            if found is None:
                self.findings.add(f"the ground took a frame with count {count} that was not sent")
                return
            frame = found
        if frame is not taken_back:
            self._spend(frame)
        self.words.take(frame)
        if frame.vcid != vcid:
            self.findings.add(f"the ground took a frame of channel {frame.vcid} for one of channel {vcid}")
        self.counts.take(frame)
        self.idle_received += idle
        self._end(frame, RECEIVED)

    def _spend(self, frame: SentFrame) -> None:
        """Take that the ground has looked at a frame: nothing up to its number may be taken again."""
        if frame.sequence and frame.sequence <= self.spent:
            self.findings.add(f"the ground took number {frame.sequence} behind {self.spent}")
        self.spent = max(self.spent, frame.sequence)

    def _found(self, count: int) -> SentFrame | None:
        """Return the oldest pending frame with this master count; those before it were not found."""
        for place, frame in enumerate(self._pending):
            if frame.number & 0xFF == count and not frame.forged:
                for _ in range(place):
                    self._unfound(self._pending.popleft())
                return self._pending.popleft()
        return None

    def on_rejected(self, reason: str) -> None:
        """Take that the session refused something."""
        frame = self._pending[0] if self._pending else None
        if (forged := self._refused_forgery(reason)) is not None:
            while self._pending[0] is not forged:
                self._unfound(self._pending.popleft())
            self._end(self._pending.popleft(), f"rejected: {reason}")
        elif frame is not None and not frame.forged and self._may_be_rejected(frame, reason):
            self._drop_late()
            self._pending.popleft()
            if reason == _REPEATED:
                self._late = frame
                self._spend(frame)
            else:
                self._end(frame, f"rejected: {reason}")
        elif self._last_heard is not None and self._last_heard.excused:
            self.fragment_results[f"rejected: {reason}"] += 1
        else:
            self.findings.add(f"a frame without wrong bits was rejected: {reason}")
            if frame is not None:
                self._pending.popleft()
                self._end(frame, f"rejected: {reason}")

    def _refused_forgery(self, reason: str) -> SentFrame | None:
        """Return the forged frame that this refusal is of, if nothing before it still has to be taken."""
        for frame in self._pending:
            if frame.forged and reason == self.frames.down_refusal(frame.frame, self.spent):
                return frame
            if not frame.excused:
                return None
        return None

    def _may_be_rejected(self, frame: SentFrame, reason: str) -> bool:
        """Whether this is a reason to refuse this frame: wrong bits, counts of a reboot, or a number of before."""
        is_old = reason == _REPLAY and 0 < frame.sequence <= self.spent
        return frame.excused or is_old or self._may_look_late(frame, reason)

    @staticmethod
    def _may_look_late(frame: SentFrame, reason: str) -> bool:
        """Whether this is one of the first frames of a rebooted node, whose counts may lie just behind those before."""
        return reason == _REPEATED and frame.life > 1 and frame.number < LATE_FRAMES_MAX

    def on_packet(self, octets: bytes) -> None:
        """Take a packet that came out of the session."""
        self.packets_received += 1
        if not self._whole or self._whole.popleft() != octets:
            self.findings.add(f"a packet of {len(octets)} octets came out that should not have, or out of order")

    def after_heard(self, *, storing: bool) -> None:
        """Close the books on one call of the session; storing: its frames may wait for a record to be stored."""
        if self._whole:
            self.findings.add(f"packets that came whole did not come out of the session: {len(self._whole)}")
            self._whole.clear()
        if storing:
            if self._pending:
                sure = any(not frame.excused for frame in self._pending)
                self.waits += sure
                self.waits_slack += not sure
            return
        while len(self._pending) > 2:  # the synchronizer holds two periods at most
            self._unfound(self._pending.popleft())
        if self._pending and not any(frame.excused for frame in self._pending):
            self.findings.add("a frame without wrong bits was not found by the ground")
            self._unfound(self._pending.popleft())

    def decoder_reset(self) -> None:
        """Note that the session has forgotten what it held: the contact is over, or the ground."""
        self._drop_late()
        while self._pending:
            self._unfound(self._pending.popleft())
        self._last_heard = None

    def ground_went_down(self) -> None:
        """Note that the ground stopped: the next session knows of no frame."""
        self.ground_on = False
        for frame in [frame for frame in self._pending if not frame.excused]:  # they waited
            self._pending.remove(frame)
            self._end(frame, OFF)
        self.decoder_reset()
        self.counts.forget()
        self.words.forget()

    def ground_came_up(self, floor: int) -> None:
        """Note that another session listens from now on. It takes no number up to `floor`."""
        self.ground_on = True
        self.ground_life += 1
        if floor < self.spent:
            self.findings.add(f"the ground takes numbers above {floor} since its start, and took {self.spent}")
        self.spent = max(self.spent, floor)

    def _drop_late(self) -> None:
        if self._late is not None:
            late, self._late = self._late, None
            self._end(late, "rejected: repeated")

    def _unfound(self, frame: SentFrame) -> None:
        self._end(frame, UNFOUND)

    def _end(self, frame: SentFrame, fate: str) -> None:
        if frame.forged:
            self.forged_fates[fate] += 1
            return
        self.fates[fate] += 1
        for packet, is_last in frame.pieces:
            if fate != RECEIVED or packet.ground_life not in (-1, self.ground_life):
                packet.broken = True
            packet.ground_life = self.ground_life
            if not is_last:
                continue
            if packet.broken:
                self.packets_broken += 1
            else:
                self.packets_expected += 1
                self._whole.append(packet.octets)

    @property
    def open_fates(self) -> int:
        """Frames whose fate is not known yet: in the air, half received, or waiting."""
        pending = sum(not frame.forged for frame in (*self._arrived, *self._pending))
        return len(self._in_air) + pending + (self._late is not None)

    @property
    def open_forged(self) -> int:
        """The same of forged ones."""
        return sum(frame.forged for frame in (*self._arrived, *self._pending))

    @property
    def open_late(self) -> int:
        """Frames that were refused as repeated, and may still be taken: 1 or 0."""
        return self._late is not None

    @property
    def fragments(self) -> int:
        """Results that stand for no frame, but for pieces of damaged ones."""
        return sum(self.fragment_results.values())

    def rejected(self, result: str) -> int:
        """Return how many frames, forged ones and fragments of damaged ones had this result."""
        return self.fates[result] + self.forged_fates[result] + self.fragment_results[result]

    @property
    def open_packets(self) -> int:
        """Packets whose last octet is in one of these."""
        late = () if self._late is None else (self._late,)
        return sum(is_last for f in (*self._in_air, *self._arrived, *self._pending, *late) for _, is_last in f.pieces)
