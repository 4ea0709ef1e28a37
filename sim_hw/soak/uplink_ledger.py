"""The account of the way up: every CLTU from the transmitter to what the node's receiver and FARM-1 made of it."""

# A CLTU has one fate. The channel says whether it was cut at the edge of a pass, dropped, or delivered, and with which
# wrong bits. Of one that was delivered the node's counters say what became of it: they are read before and after each
# call of the receiver, and what has moved is a result.
#
# A CLTU that is clean, or has only wrong bits which the receiver must correct, has exactly one result, and FARM-1 gives
# it. A spoilt one may have any: its frame is refused, nothing is found of it (its start sequence is gone), or pieces of
# it look like a unit of their own. If its tail is spoilt, its frame comes out with the next CLTU, which may be drawn
# into it. So whatever is wrong with a CLTU must have a reason, and the only reason that counts is that it was spoilt,
# or drawn into one that was (`excused`).
#
# FARM-1's results have reasons of their own: a frame is out of order only if one before it got lost, and repeated only
# if it was accepted before. Lockout needs a number that no sender in step would send, so it needs a reboot.
#
# On a protected way up every CLTU has a sequence number, which is read from its octets. The numbers that the node takes
# rise, over all its lives. An untouched frame is refused as a replay only if its number is not above that at which the
# node's life began. `spent` is the number up to which the node has spent all. A spoilt CLTU that is decoded together
# with another one may leave it open which of the two was taken: then `spent_surely` stays behind.
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
    """Why a CLTU was sent."""

    FIRST = "first transmissions"
    AGAIN = "again after the service came up again"
    REPEATED = "retransmissions"
    CONTROL = "control commands"


@dataclass(slots=True, eq=False)
class SentCltu:
    """One CLTU. `serial` is that of its command, -1 for a `control` command; `fate` ends as what became of it.

    told_by: if the node took it, the life of the node, and the number in it of the first frame that can tell of it.
    spoilt: it was delivered with wrong bits that the receiver need not correct.
    number: its sequence number. forged: the frame in it, if it is the attacker's. lost_behind: CLTUs behind it that got
    lost on the way before the node has looked at it.
    """

    serial: int
    octets: bytes
    control: bool = False
    number: int = 0
    forged: bytes = b""
    lost_behind: int = 0
    fate: str = UNDER_WAY
    received: bytes = b""
    spoilt: bool = False
    excused: bool = False
    told_by: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """What a finding calls it."""
        if self.forged:
            return "a forged frame"
        return "a control command" if self.control else f"command {self.serial}"

    @property
    def damaged(self) -> bool:
        """Whether it was delivered with wrong bits."""
        return bool(self.received) and self.received != self.octets

    @property
    def upset(self) -> bool:
        """Whether the receiver may still be in the middle of it, or of its pieces, as the next one comes."""
        return self.spoilt or (self.excused and (self.fate == UNDER_WAY or self.got_lost))

    @property
    def got_lost(self) -> bool:
        """Whether the channel, or what it did to the bits, kept it from FARM-1."""
        return self.fate in _LOST or self.fate.startswith("rejected")


@dataclass(slots=True)
class UplinkLedger:
    """Counts CLTUs by kind and by fate. `fragment_results` stand for no CLTU, but for pieces of damaged ones.

    corrects: whether the receiver corrects a wrong bit per codeblock, or only detects. corrected_bits: what it should
    have corrected; corrected_slack: how much more it may have, because of codeblocks whose fate cannot be told from
    outside. rebooted: whether the node or the ground has ever been. waiting: a frame waits in the node. unread: units
    of the receiver that were forgotten with the node while they waited, and how many more it may have been.
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
    offered: int = 0
    heard: int = 0
    with_errors: int = 0
    corrected_bits: int = 0
    corrected_slack: int = 0
    rebooted: bool = False
    node_on: bool = True
    node_life: int = 0
    waiting: bool = False
    unread: int = 0
    unread_slack: int = 0
    spent: int = 0
    spent_surely: int = 0
    _refused: str | None = ""  # what the last frame of this life was refused for; None if that cannot be told
    _alarm: bool = False  # whether any was
    _in_air: deque[SentCltu] = field(default_factory=deque)
    _arrived: deque[SentCltu] = field(default_factory=deque)
    _pending: list[SentCltu] = field(default_factory=list)  # heard, and their result is still to come
    _last_heard: SentCltu | None = None
    _lost_before: int = 0  # frames with a number that got lost since the last one was accepted

    def sent(self, cltu: SentCltu, kind: Kind, *, taken: bool) -> None:
        """Note a CLTU and why it was sent; `taken` says whether the transmitter had room."""
        self.kinds[kind] += 1
        if taken:
            self.offered += 1
            self._in_air.append(cltu)
        else:
            self._settle(cltu, REFUSED)

    def on_fate(self, fate: Fate, octets: bytes) -> None:
        """Take what the channel says of the oldest CLTU in the air."""
        cltu = self._in_air.popleft()
        if fate is not Fate.DELIVERED:
            self._settle(cltu, fate.value)
        elif not self.node_on:
            self._settle(cltu, OFF)
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
        self.waiting = waits
        self._note_refusals(results)
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
        bits = self._wrong_bits(cltu)
        cltu.spoilt = bits is None
        cltu.excused = cltu.spoilt or (before is not None and before.upset)
        self.with_errors += cltu.damaged
        if cltu.excused:  # it may be decoded from another octet on, or only in part
            self.corrected_slack += len(cltu.octets) // CODEBLOCK_OCTETS
        else:
            self.corrected_bits += bits or 0
        self._pending.append(cltu)

    def _take(self, octets: bytes) -> SentCltu | None:
        """Return the CLTU that these octets are, the oldest that arrived as a rule."""
        for place, cltu in enumerate(self._arrived):
            if cltu.received == octets:
                for vanished in [self._arrived.popleft() for _ in range(place)]:
                    self.findings.add("a CLTU was delivered and not given to the node")
                    self._settle(vanished, "vanished")
                return self._arrived.popleft()
        self.findings.add(f"the node heard a unit of {len(octets)} octets that the channel did not deliver")
        return None

    def _match_accepted(self, serials: Sequence[int], told_by: tuple[int, int]) -> None:
        for serial in serials:
            self.commands.arrived(serial)
            cltu = next((cltu for cltu in self._pending if cltu.serial == serial), None)
            if cltu is None:
                self.findings.add(f"command {serial} came out of a unit that did not hold it")
                continue
            self.commands.commands[serial].told_by = told_by
            self._spend(cltu)
            self._lost_before = 0
            self._conclude(cltu, "accepted", told_by)

    def _match_farm(self, results: list[str], told_by: tuple[int, int]) -> None:
        # The newest CLTUs: an older one that has no result of its own was found together with its successor, or never.
        real = [cltu for cltu in self._pending if not cltu.forged] or self._pending
        cltus = real[max(0, len(real) - len(results)) :]
        if len(cltus) < len(results):
            self.findings.add(f"FARM-1 had {len(results)} frames from {len(cltus)} CLTUs ({', '.join(results)})")
        for cltu, result in zip(cltus, results, strict=False):
            self._check_farm(cltu, result)
            self._spend(cltu)
            self._conclude(cltu, result, told_by)

    def _check_farm(self, cltu: SentCltu, result: str) -> None:
        older_lost = self._lost_before or any(other is not cltu for other in self._pending)
        if cltu.forged:
            self.findings.add(f"FARM-1 says {result} of a forged frame")
        elif (result == "control") != cltu.control:
            self.findings.add(f"FARM-1 says {result} of {cltu.name}")
        elif result == "out_of_order" and not older_lost:
            self.findings.add(f"{cltu.name} is out of order, and no frame before it got lost")
        elif result == "repeated" and not self.commands.commands[cltu.serial].arrivals:
            self.findings.add(f"{cltu.name} is repeated for FARM-1, and never arrived")
        elif result in _NEVER or (result in _AFTER_REBOOT and not self.rebooted):
            self.findings.add(f"FARM-1 says {result} of {cltu.name}, which nothing explains")

    def _spend(self, cltu: SentCltu) -> None:
        """Take that FARM-1 has looked at a frame: nothing up to its number may be taken again."""
        if cltu.number and not cltu.excused and cltu.number <= self.spent_surely:
            self.findings.add(f"{cltu.name} was taken with number {cltu.number}, and {self.spent_surely} was before")
        if len(self._pending) == 1:
            self.spent_surely = max(self.spent_surely, cltu.number)
        self.spent = max(self.spent, cltu.number)

    def _match_rejected(self, results: list[str]) -> None:
        for result in results:
            forged = next((cltu for cltu in self._pending if result in self._refusals(cltu)), None)
            old = next((c for c in self._pending if result == REPLAY and c.number <= self.spent and not c.forged), None)
            excused = next((cltu for cltu in self._pending if cltu.excused and not cltu.forged), None)
            cltu = forged or old or excused
            if cltu is not None:
                self._conclude(cltu, result)
            elif self._last_heard is not None and self._last_heard.excused:
                self.fragment_results[result] += 1
            else:
                self.findings.add(f"{self._pending[0].name} without wrong bits was {result}" if self._pending else
                                  f"nothing that was sent was {result}")  # fmt: skip
                for clean in self._pending[:1]:
                    self._conclude(clean, result)

    def _refusals(self, cltu: SentCltu) -> set[str]:
        """Return what the node may say of a forged frame; nothing of another one."""
        if not cltu.forged:
            return set()
        return {REJECTED + self.frames.up_refusal(cltu.forged, spent) for spent in (self.spent_surely, self.spent)}

    def _note_refusals(self, results: Mapping[str, int]) -> None:
        """Note what the node's frame security report must say from now on."""
        refused = [name.removeprefix(REJECTED) for name in results if name.removeprefix(REJECTED) in SECURITY_REASONS]
        looked_at = sum(results.get(name, 0) for name in FARM_RESULTS)
        self._alarm |= bool(refused)
        if refused or looked_at:
            several = len(refused) + bool(looked_at) > 1
            self._refused = None if several else "".join(refused)

    def check_report(self, report: FrameSecurityReport) -> None:
        """Look whether a frame security report says what came of the last frame, and of those before it."""
        flags = {
            "replay": report.bad_number, "mac": report.bad_mac,
            "spi": report.bad_association, "association": report.bad_association, "key": report.bad_association,
        }  # fmt: skip
        known = self._refused is not None and not self.waiting
        wrong = known and not flags.get(self._refused or "", not any(flags.values()))
        foreign = report.spi not in (0, SPI_UP) and not self._refused
        if report.alarm != self._alarm or wrong or foreign:
            self.findings.add(f"a frame security report says {report}, last refusal {self._refused!r}")

    def _close_pending(self, newest: SentCltu | None) -> None:
        """Give up those that had no result, all but the newest, of which something may be held in the receiver."""
        for cltu in self._pending[:]:
            if cltu is not newest or not cltu.excused:
                self._conclude(cltu, UNFOUND)
            if not cltu.excused:
                self.findings.add(f"{cltu.name}: the receiver found no frame in a CLTU without wrong bits")

    def receiver_reset(self) -> None:
        """Note that the receiver has forgotten what it held: the carrier is gone, or the node."""
        for cltu in self._pending[:]:
            self._conclude(cltu, UNFOUND)
        self._last_heard = None

    def node_came_up(self, life: int, floor: int) -> None:
        """Note that the node has booted. It takes no number up to `floor` any more."""
        self.node_on, self.node_life = True, life
        if floor < self.spent_surely:
            self.findings.add(f"the node takes numbers above {floor} since its boot, and took {self.spent_surely}")
        self.spent = max(self.spent, floor)
        self.spent_surely = max(self.spent_surely, floor)
        self._refused, self._alarm = "", False

    def node_went_down(self) -> None:
        """Note that the node lost its power, and with it V(R), what waited in it, and what its modem held."""
        self.node_on = False
        self.rebooted = True
        self.forget_waiting()
        self.receiver_reset()
        while self._arrived:
            self._settle(self._arrived.popleft(), OFF)
        self._lost_before += 1  # the next frame meets a V(R) that it was not numbered for

    def forget_waiting(self) -> None:
        """Close the books on what waits in the node: nobody will look at it any more."""
        if self.waiting:
            self.waiting = False
            self.unread += 1
            self.unread_slack += len(self._pending) - 1
            for cltu in self._pending[:]:
                self._conclude(cltu, OFF)

    def _conclude(self, cltu: SentCltu, fate: str, told_by: tuple[int, int] | None = None) -> None:
        self._pending.remove(cltu)
        cltu.told_by = told_by
        self._settle(cltu, fate)

    def _settle(self, cltu: SentCltu, fate: str) -> None:
        cltu.fate = fate
        counts = self.forged_fates if cltu.forged else self.fates
        counts[fate] += 1
        self._lost_before += cltu.lost_behind
        if cltu.got_lost and not cltu.control and not cltu.forged:
            # The node may have some before it to look at.
            before = self._arrived or (self._pending if self.waiting else ())
            if before and fate in _ON_THE_WAY:
                before[-1].lost_behind += 1
            else:
                self._lost_before += 1

    def _wrong_bits(self, cltu: SentCltu) -> int | None:
        """Return how many wrong bits the receiver must correct in this CLTU; None if it cannot correct all of them."""
        if not cltu.damaged:
            return 0
        if not self.corrects:
            return None
        wrong = bytes(a ^ b for a, b in zip(cltu.octets, cltu.received, strict=True))
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

    @property
    def fragments(self) -> int:
        """Results that stand for no CLTU."""
        return sum(self.fragment_results.values())

    def rejected(self, result: str) -> int:
        """Return how many CLTUs, forged ones and fragments of damaged ones had this result."""
        return self.fates[result] + self.forged_fates[result] + self.fragment_results[result]

    @property
    def _held(self) -> list[SentCltu]:
        return [*self._arrived, *self._pending]

    @property
    def open_fates(self) -> int:
        """CLTUs whose fate is not known yet: in the air, in the modem, half received, or waiting."""
        return len(self._in_air) + sum(not cltu.forged for cltu in self._held)

    @property
    def open_forged(self) -> int:
        """The same of forged ones."""
        return sum(bool(cltu.forged) for cltu in self._held)
