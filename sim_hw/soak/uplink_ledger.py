"""The account of the way up: every frame from the transmitter to what the node's receiver and FARM-1 made of it."""

# Transmitter and channel deal with CLTUs, FARM-1 with the frames in them: one each, or several (`cltu_frames`). So
# there are two counts. The channel says of a CLTU whether it was cut at the edge of a pass, dropped, or delivered, and
# with which wrong bits. Every frame has one fate: that of its CLTU or, if this was delivered, what the node's counters
# say. They are read before and after each call of the receiver, and what has moved is a result.
#
# Each frame of a CLTU that is clean, or has only wrong bits which the receiver must correct, has exactly one result,
# and FARM-1 gives it. A spoilt one may have any: the frames up to the damage come out, one is refused, and none behind
# it is looked at; nothing is found of it (its start sequence is gone), or pieces of it look like a unit of their own.
# If its tail is spoilt, its frames come out with the next CLTU, which may be drawn into it. So whatever is wrong with a
# frame must have a reason, and the only reason that counts is that its CLTU was spoilt, or drawn into one that was
# (`excused`).
#
# Which command was accepted is known from what came out, and the other results of a call have no order. Each goes to a
# frame to which it can have happened, those of the newest CLTU first.
#
# FARM-1's results have reasons of their own: a frame is out of order only if one before it got lost, and repeated only
# if it was accepted before. Lockout needs a number that no sender in step would send, so it needs a reboot.
#
# On a protected way up every frame has a sequence number, which is read from its octets. The numbers that the node
# takes rise, over all its lives. An untouched frame is refused as a replay only if its number is not above that at
# which the node's life began. `spent` is the number up to which the node has spent all. A spoilt CLTU may leave it open
# which of its frames, or of those of the next one, were taken: then `spent_surely` stays behind.
#
# A frame may have to wait in the node for a record to be stored. As long as it does its result is still to come, the
# receiver takes nothing else in, and a lost carrier does not end the wait.
#
# Forged CLTUs (attacker.py) stand in the same order as all others, with fates of their own. Each is refused, for the
# reason that an independent reading of it gives (protected_frames.py), and FARM-1 is as before.

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from flight.link.coding.cltu import CODEBLOCK_OCTETS, START, TAIL
from flight.link.security.link_security import REASONS as SECURITY_REASONS
from flight.link.security.report import FrameSecurityReport
from sim_hw.soak.commands import CommandList
from sim_hw.soak.findings import Findings
from sim_hw.soak.protected_frames import SPI_UP, ProtectedFrames
from sim_hw.world.channel import Fate

# FARM-1's counters that say what became of a frame: each frame counts in exactly one of them.
FARM_RESULTS = (
    "accepted", "bypass", "control", "control_invalid", "no_buffer", "out_of_order", "repeated", "outside_window",
    "in_lockout", "in_wait",
)  # fmt: skip
_AFTER_REBOOT = ("outside_window", "in_lockout")
_NEVER = ("bypass", "control_invalid", "no_buffer", "in_wait")  # nobody sends such, and the node never holds FARM-1
UNDER_WAY, REFUSED, OFF, UNFOUND = "under way", "refused", "node off", "not found"
REJECTED, REPLAY = "rejected: ", "rejected: replay"
_ON_THE_WAY = (Fate.CUT.value, Fate.DROPPED.value, REFUSED)
_LOST = (Fate.CUT.value, Fate.DROPPED.value, REFUSED, OFF, UNFOUND)


class Kind(Enum):
    """Why a frame was sent."""

    FIRST = "first transmissions"
    AGAIN = "again after the service came up again"
    REPEATED = "retransmissions"
    CONTROL = "control commands"


@dataclass(slots=True, eq=False)
class UpFrame:
    """One frame of a CLTU. `serial` is that of its command, -1 for a `control` command; `fate` is what became of it.

    number: its sequence number. forged: its octets, if it is the attacker's. lost_behind: frames behind it that got
    lost on the way before the node has looked at it. excused: as its CLTU is. is_first: whether it is the first of it.
    told_by: if the node took it, the life of the node, and the number in it of the first frame that can tell of it.
    """

    serial: int
    control: bool = False
    number: int = 0
    forged: bytes = b""
    lost_behind: int = 0
    fate: str = UNDER_WAY
    excused: bool = False
    is_first: bool = True
    told_by: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """What a finding calls it."""
        if self.forged:
            return "a forged frame"
        return "a control command" if self.control else f"command {self.serial}"

    @property
    def got_lost(self) -> bool:
        """Whether the channel, or what it did to the bits, kept it from FARM-1."""
        return self.fate in _LOST or self.fate.startswith("rejected")


@dataclass(slots=True, eq=False)
class SentCltu:
    """One CLTU and the frames in it, in order. spoilt: it was delivered with wrong bits that need not be corrected."""

    octets: bytes
    frames: Sequence[UpFrame]
    received: bytes = b""
    spoilt: bool = False
    excused: bool = False

    @property
    def forged(self) -> bool:
        """Whether it is the attacker's."""
        return any(frame.forged for frame in self.frames)

    @property
    def damaged(self) -> bool:
        """Whether it was delivered with wrong bits."""
        return bool(self.received) and self.received != self.octets

    @property
    def upset(self) -> bool:
        """Whether the receiver may still be in the middle of it, or of its pieces, as the next one comes."""
        open_or_lost = any(frame.fate == UNDER_WAY or frame.got_lost for frame in self.frames)
        return self.spoilt or (self.excused and open_or_lost)

    def wrong_bits(self, *, corrects: bool) -> int | None:
        """Return how many wrong bits the receiver must correct; None if it cannot correct all of them, or any."""
        if not self.damaged:
            return 0
        if not corrects:
            return None
        wrong = bytes(a ^ b for a, b in zip(self.octets, self.received, strict=True))
        start, body, tail = wrong[: len(START)], wrong[len(START) : -len(TAIL)], wrong[-len(TAIL) :]
        if int.from_bytes(start, "big").bit_count() > 1 or any(tail):
            return None
        total = 0
        for at in range(0, len(body), CODEBLOCK_OCTETS):
            block = int.from_bytes(body[at : at + CODEBLOCK_OCTETS], "big")
            bits = (block >> 1).bit_count()  # without the filler bit
            if bits > 1 or (bits and block & 1):
                return None
            total += bits
        return total


@dataclass(slots=True)
class ToldRefusals:
    """What the frame security reports of one life of the node must say."""

    _last: str | None = ""  # what the last frame was refused for, empty if it was taken; None if that cannot be told
    _alarm: bool = False  # whether any was refused

    def note(self, results: Mapping[str, int]) -> None:
        """Note by how much the node's counters have moved."""
        refused = [name.removeprefix(REJECTED) for name in results if name.removeprefix(REJECTED) in SECURITY_REASONS]
        looked_at = sum(results.get(name, 0) for name in FARM_RESULTS)
        self._alarm |= bool(refused)
        if refused or looked_at:
            several = len(refused) + bool(looked_at) > 1
            self._last = None if several else "".join(refused)

    def fault(self, report: FrameSecurityReport, *, waiting: bool) -> str:
        """Say what a report should not say; empty if it is right. waiting: a frame waits in the node."""
        flags = {
            "replay": report.bad_number, "mac": report.bad_mac,
            "spi": report.bad_association, "association": report.bad_association, "key": report.bad_association,
        }  # fmt: skip
        known = self._last is not None and not waiting
        wrong = known and not flags.get(self._last or "", not any(flags.values()))
        foreign = report.spi not in (0, SPI_UP) and not self._last
        if report.alarm != self._alarm or wrong or foreign:
            return f"a frame security report says {report}, last refusal {self._last!r}"
        return ""


class _Before(NamedTuple):
    """Numbers that were spent, and frames that had got lost, as a call of the receiver began.

    The results of a call have no order: what is said of a frame may have been said before another one was accepted.
    """

    spent: int
    spent_surely: int
    lost: int


@dataclass(slots=True)
class UplinkLedger:
    """Counts frames by kind and by fate, CLTUs by what transmitter and channel made of them (`cltu_fates`).

    `fragment_results` stand for no frame, but for pieces of damaged CLTUs. `offered`, `heard` and `with_errors` count
    CLTUs, `cltus` all that were sent. units: how many the receiver must have found at least, and how many more it may
    have (`units_slack`): frames of a damaged CLTU may come out together or apart, and fragments be units of their own.
    corrects: whether the receiver corrects a wrong bit per codeblock, or only detects. corrected_bits: what it should
    have corrected; corrected_slack: how much more it may have, because of codeblocks whose fate cannot be told from
    outside. rebooted: whether the node or the ground has ever been. waiting: a frame waits in the node.
    """

    commands: CommandList
    findings: Findings
    frames: ProtectedFrames
    corrects: bool = True
    kinds: Counter[Kind] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    forged_fates: Counter[str] = field(default_factory=Counter)
    fragment_results: Counter[str] = field(default_factory=Counter)
    cltu_fates: Counter[str] = field(default_factory=Counter)
    cltus: int = 0
    offered: int = 0
    heard: int = 0
    with_errors: int = 0
    corrected_bits: int = 0
    corrected_slack: int = 0
    rebooted: bool = False
    node_on: bool = True
    node_life: int = 0
    waiting: bool = False
    units: int = 0
    units_slack: int = 0
    spent: int = 0
    spent_surely: int = 0
    _refusals_told: ToldRefusals = field(default_factory=ToldRefusals)
    _in_air: deque[SentCltu] = field(default_factory=deque)
    _arrived: deque[SentCltu] = field(default_factory=deque)
    _pending: list[UpFrame] = field(default_factory=list)  # heard, and their result is still to come
    _last_heard: SentCltu | None = None
    _lost_before: int = 0  # frames with a number that got lost since the last one was accepted
    _before: _Before = field(default_factory=lambda: _Before(0, 0, lost=0))

    def sent(self, cltu: SentCltu, kinds: Sequence[Kind], *, taken: bool) -> None:
        """Note a CLTU and why each of its frames was sent; `taken` says whether the transmitter had room."""
        self.cltus += 1
        self.kinds.update(kinds)
        if taken:
            self.offered += 1
            self._in_air.append(cltu)
        else:
            self._stop(cltu, REFUSED)

    def _stop(self, cltu: SentCltu, fate: str) -> None:
        """Note that a CLTU does not come to the node's receiver."""
        self.cltu_fates[fate] += 1
        for frame in cltu.frames:
            self._settle(frame, fate)

    def on_fate(self, fate: Fate, octets: bytes) -> None:
        """Take what the channel says of the oldest CLTU in the air."""
        cltu = self._in_air.popleft()
        if fate is not Fate.DELIVERED:
            self._stop(cltu, fate.value)
        elif not self.node_on:
            self._stop(cltu, OFF)
        else:
            cltu.received = octets
            self._arrived.append(cltu)

    def forged(self, cltu: SentCltu) -> None:
        """Note a CLTU of the attacker's, which reaches the node's receiver at this moment."""
        self._arrived.append(cltu)

    def on_heard(
        self, octets: bytes, results: Mapping[str, int], serials: Sequence[int], told_by: tuple[int, int], *,
        waits: bool, moved: bool,
    ) -> None:  # fmt: skip
        """Take what the node's end made of one unit that its modem gave it, or of what waited, without octets.

        results: by how much each of its counters has moved. serials: the commands that came out, in order. told_by: the
        life of the node, and the number of the next frame that it makes. waits: a frame waits for a record to be
        stored. moved: FARM-1 is not as it was before.
        """
        self.results.update(results)
        cltu = self._last_heard
        if octets:
            self.heard += 1
            cltu = self._take(octets)
            if cltu is not None:
                self._begin(cltu)
        if moved and cltu is not None and cltu.forged and not cltu.excused:
            self.findings.add("FARM-1 was moved by a forged frame")
        self._before = _Before(self.spent, self.spent_surely, self._lost_before)
        self.waiting = waits
        self._refusals_told.note(results)
        self._match_accepted(serials, told_by)
        farm = [name for name in FARM_RESULTS[1:] for _ in range(results.get(name, 0))]
        rejected = [name for name, count in results.items() if name.startswith("rejected") for _ in range(count)]
        self._match_farm(farm, told_by)
        self._match_rejected(rejected)
        if not waits:
            self._close_pending(cltu)

    def _begin(self, cltu: SentCltu) -> None:
        """Judge the bits of a CLTU whose result is to come."""
        before, self._last_heard = self._last_heard, cltu
        bits = cltu.wrong_bits(corrects=self.corrects)
        cltu.spoilt = bits is None
        cltu.excused = cltu.spoilt or (before is not None and before.upset)
        self.with_errors += cltu.damaged
        if cltu.excused:  # it may be decoded from another octet on, or only in part
            self.corrected_slack += len(cltu.octets) // CODEBLOCK_OCTETS
        else:
            self.corrected_bits += bits or 0
            self.units += 1
        for frame in cltu.frames:
            frame.excused = cltu.excused
        self._pending += cltu.frames

    def _take(self, octets: bytes) -> SentCltu | None:
        """Return the CLTU that these octets are, the oldest that arrived as a rule."""
        for place, cltu in enumerate(self._arrived):
            if cltu.received == octets:
                for vanished in [self._arrived.popleft() for _ in range(place)]:
                    self.findings.add("a CLTU was delivered and not given to the node")
                    self._stop(vanished, "vanished")
                return self._arrived.popleft()
        self.findings.add(f"the node heard a unit of {len(octets)} octets that the channel did not deliver")
        return None

    def _match_accepted(self, serials: Sequence[int], told_by: tuple[int, int]) -> None:
        for serial in serials:
            self.commands.arrived(serial)
            frame = next((frame for frame in self._pending if frame.serial == serial), None)
            if frame is None:
                self.findings.add(f"command {serial} came out of a unit that did not hold it")
                continue
            self.commands.commands[serial].told_by = told_by
            self._spend(frame)
            self._lost_before = 0
            self._conclude(frame, "accepted", told_by)

    def _match_farm(self, results: list[str], told_by: tuple[int, int]) -> None:
        # The newest CLTUs: an older one that has no result of its own was found together with its successor, or never.
        real = [frame for frame in self._pending if not frame.forged] or self._pending
        if len(real) < len(results):
            self.findings.add(f"FARM-1 had {len(results)} frames from {len(real)} ({', '.join(results)})")
        for result in results:
            frame = self._frame_of(result)
            if frame is not None:
                if fault := self._farm_fault(frame, result):
                    self.findings.add(fault)
                self._spend(frame)
                self._conclude(frame, result, told_by)

    def _frame_of(self, result: str) -> UpFrame | None:
        """Return the frame of which FARM-1 said this: the first of the newest CLTU, then of older ones, that fits."""
        newest = self._last_heard.frames if self._last_heard is not None else ()
        frames = [frame for frame in self._pending if frame in newest]
        frames += [frame for frame in reversed(self._pending) if frame not in newest]
        frames = [frame for frame in frames if not frame.forged] or frames
        fitting = (frame for frame in frames if not self._farm_fault(frame, result))
        return next(fitting, frames[0] if frames else None)

    def _farm_fault(self, frame: UpFrame, result: str) -> str:
        """Say why FARM-1 cannot say this of a frame; empty if it can."""
        other_excused = any(other is not frame and other.excused for other in self._pending)
        older_lost = self._before.lost or self._lost_before or other_excused
        if frame.forged:
            return f"FARM-1 says {result} of a forged frame"
        if (result == "control") != frame.control:
            return f"FARM-1 says {result} of {frame.name}"
        if result == "out_of_order" and not older_lost:
            return f"{frame.name} is out of order, and no frame before it got lost"
        if result == "repeated" and not self.commands.commands[frame.serial].arrivals:
            return f"{frame.name} is repeated for FARM-1, and never arrived"
        if result in _NEVER or (result in _AFTER_REBOOT and not self.rebooted):
            return f"FARM-1 says {result} of {frame.name}, which nothing explains"
        return ""

    def _spend(self, frame: UpFrame) -> None:
        """Take that FARM-1 has looked at a frame: nothing up to its number may be taken again."""
        before = self._before.spent_surely
        if frame.number and not frame.excused and frame.number <= before:
            self.findings.add(f"{frame.name} was taken with number {frame.number}, and {before} was before")
        if not frame.excused or len(self._pending) == 1:
            self.spent_surely = max(self.spent_surely, frame.number)
        self.spent = max(self.spent, frame.number)

    def _match_rejected(self, results: list[str]) -> None:
        for result in results:
            forged = next((frame for frame in self._pending if result in self._refusals(frame)), None)
            replayed = (f for f in self._pending if not f.forged and f.number <= self._before.spent)
            old = next(replayed, None) if result == REPLAY else None
            excused = next((frame for frame in self._pending if frame.excused and not frame.forged), None)
            frame = forged or old or excused
            if frame is not None:
                self._conclude(frame, result)
            elif self._last_heard is not None and self._last_heard.excused:
                self.fragment_results[result] += 1
                self.units_slack += 1
            else:
                self.findings.add(f"{self._pending[0].name} without wrong bits was {result}" if self._pending else
                                  f"nothing that was sent was {result}")  # fmt: skip
                for clean in self._pending[:1]:
                    self._conclude(clean, result)

    def _refusals(self, frame: UpFrame) -> set[str]:
        """Return what the node may say of a forged frame; nothing of another one."""
        spent = (self.spent_surely, self.spent) if frame.forged else ()
        return {REJECTED + self.frames.up_refusal(frame.forged, number) for number in spent}

    def check_report(self, report: FrameSecurityReport) -> None:
        """Look whether a frame security report says what came of the last frame, and of those before it."""
        if fault := self._refusals_told.fault(report, waiting=self.waiting):
            self.findings.add(fault)

    def _close_pending(self, newest: SentCltu | None) -> None:
        """Give up those that had no result, all but the newest, of which something may be held in the receiver."""
        held = newest.frames if newest is not None and newest.excused else ()
        for frame in self._pending[:]:
            if frame not in held:
                self._conclude(frame, UNFOUND)
            if not frame.excused:
                self.findings.add(f"{frame.name}: the receiver did not find it in a CLTU without wrong bits")

    def receiver_reset(self) -> None:
        """Note that the receiver has forgotten what it held: the carrier is gone, or the node."""
        for frame in self._pending[:]:
            self._conclude(frame, UNFOUND)
        self._last_heard = None

    def node_came_up(self, life: int, floor: int) -> None:
        """Note that the node has booted. It takes no number up to `floor` any more."""
        self.node_on, self.node_life = True, life
        if floor < self.spent_surely:
            self.findings.add(f"the node takes numbers above {floor} since its boot, and took {self.spent_surely}")
        self.spent = max(self.spent, floor)
        self.spent_surely = max(self.spent_surely, floor)
        self._refusals_told = ToldRefusals()

    def node_went_down(self) -> None:
        """Note that the node lost its power, and with it V(R), what waited in it, and what its modem held."""
        self.node_on = False
        self.rebooted = True
        self.forget_waiting()
        self.receiver_reset()
        while self._arrived:
            self._stop(self._arrived.popleft(), OFF)
        self._lost_before += 1  # the next frame meets a V(R) that it was not numbered for

    def forget_waiting(self) -> None:
        """Close the books on what waits in the node: nobody will look at it any more."""
        if self.waiting:
            self.waiting = False
            self._expect_units([frame for frame in self._pending if frame.excused])
            for frame in self._pending[:]:
                self._conclude(frame, OFF)

    def _expect_units(self, excused: Sequence[UpFrame]) -> None:
        """Note that these frames, of damaged CLTUs, were found; a clean one is a unit, and is counted as it comes."""
        apart = sum(frame.is_first for frame in excused[:1])
        self.units += apart
        self.units_slack += len(excused) - apart

    def _conclude(self, frame: UpFrame, fate: str, told_by: tuple[int, int] | None = None) -> None:
        self._pending.remove(frame)
        frame.told_by = told_by
        if frame.excused and fate not in (OFF, UNFOUND):
            self._expect_units([frame])
        self._settle(frame, fate)

    def _settle(self, frame: UpFrame, fate: str) -> None:
        frame.fate = fate
        counts = self.forged_fates if frame.forged else self.fates
        counts[fate] += 1
        self._lost_before += frame.lost_behind
        if frame.got_lost and not frame.control and not frame.forged:
            # The node may have some before it to look at.
            before = self._arrived[-1].frames if self._arrived else self._pending if self.waiting else ()
            if before and fate in _ON_THE_WAY:
                before[-1].lost_behind += 1
            else:
                self._lost_before += 1

    @property
    def fragments(self) -> int:
        """Results that stand for no frame."""
        return sum(self.fragment_results.values())

    def rejected(self, result: str) -> int:
        """Return how many frames, forged ones and fragments of damaged ones had this result."""
        return self.fates[result] + self.forged_fates[result] + self.fragment_results[result]

    @property
    def _held(self) -> list[UpFrame]:
        return [*(frame for cltu in self._arrived for frame in cltu.frames), *self._pending]

    @property
    def open_fates(self) -> int:
        """Frames whose fate is not known yet: in the air, in the modem, half received, or waiting."""
        return sum(len(cltu.frames) for cltu in self._in_air) + sum(not frame.forged for frame in self._held)

    @property
    def open_forged(self) -> int:
        """The same of forged ones."""
        return sum(bool(frame.forged) for frame in self._held)
