"""The node's end of a soak: the real link stack between a simulated modem and a telemetry source of its own.

It is off, then up from `boot` to `go_down`, as often as it is rebooted.
"""

# What the radio service does (flight/services/radio/radio.py), without the rest of a node: it follows the carrier,
# takes in what was heard, and fills the modem while there is a carrier. A unit that the modem has no room for is kept,
# because its frame counts are spent.
#
# Each command that arrives is answered with a report of real time telemetry, and a longer packet goes down every
# HOUSEKEEPING_S. So packets end in the middle of frames, and run over their ends.
#
# A protected link may need a record stored before a frame can be made, or one that came can be taken. The store takes
# its time (ends.py). Until it is done nothing more is taken from the modem, and the modem sends what it has.
#
# Nothing of the stack survives a reboot, as on board: V(R), frame counts and queues begin again. Of link security
# survives what is on the disk.

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import fields
from random import Random

from flight.core.errors import DecodeError
from flight.core.nanoseconds import ns
from flight.link.actions import LinkAction, PacketReceived, SendUnit, StoreSecurity, UnitRejected
from flight.link.link import LinkCounters, Role
from flight.link.pus import RequestId, encode_tm
from flight.link.security.report import FrameSecurityReport
from flight.link.tc.farm import FarmCounters
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from sim_hw.machine.air import Air
from sim_hw.machine.loop import VirtualLoop
from sim_hw.soak.commands import APID, serial_of
from sim_hw.soak.downlink_ledger import DownlinkLedger, DownPacket, SentFrame
from sim_hw.soak.ends import SecurityEnd, open_node_end
from sim_hw.soak.findings import Findings
from sim_hw.soak.protected_frames import ProtectedFrames, is_report, ocf_of
from sim_hw.soak.uplink_ledger import FARM_RESULTS, UplinkLedger

HOUSEKEEPING_S = 10.0
_HOUSEKEEPING_OCTETS = 700


def counts_of(link: LinkCounters, farm: FarmCounters) -> dict[str, int]:
    """Return every counter of one end by name; those of refusals as "rejected: REASON"."""
    counts = {f"farm.{field.name}": getattr(farm, field.name) for field in fields(farm)}
    counts |= {name.name: getattr(link, name.name) for name in fields(link) if name.name != "uplink_rejected"}
    return counts | {f"rejected: {reason}": count for reason, count in link.uplink_rejected.items()}


class NodeEnd:
    """The node as its link sees it. `lives` counts boots, `discarded` frames that were made and never given away.

    frame_waits, unit_waits: calls of the stack after which a frame that came, or one to be made, waited for a store.
    on_frame: is told of each frame that the modem has taken.
    """

    def __init__(
        self, config: LinkConfig, air: Air, loop: VirtualLoop, *, security: SecurityEnd, up: UplinkLedger,
        down: DownlinkLedger, findings: Findings, random: Random,
    ) -> None:  # fmt: skip
        self.lives = 0
        self.link: FlightLink | None = None
        self.totals: Counter[str] = Counter()
        self.discarded = 0
        self.packets_forgotten = 0
        self.packets_refused = 0
        self.frame_waits = self.unit_waits = 0
        self.security = security
        self.on_frame: Callable[[SentFrame], None] = lambda _: None
        self._frames = ProtectedFrames(config)
        self._config = config
        self._modem = air.modem
        self._loop = loop
        self._up = up
        self._down = down
        self._findings = findings
        self._random = random
        self._held: tuple[bytes, SentFrame] | None = None
        self._queued: deque[tuple[int, DownPacket]] = deque()  # with the octets queued up to the end of each
        self._queued_octets = 0
        self._sent_octets = 0
        self._frames_made = 0
        self._sequence = 0
        self._housekeeping_ns = 0
        self._had_carrier = False
        self._standing: dict[str, int] = {}
        self._reset_owed = False  # the carrier was lost while a frame waited
        security.on_stored = self._on_stored
        self._modem.on_event(self.serve)

    @property
    def is_on(self) -> bool:
        """Whether the node has power and has booted."""
        return self.link is not None

    def boot(self) -> None:
        """Begin a life."""
        assert self.link is None, "already up"
        self.link = open_node_end(self._config, self.security.boot())
        self.lives += 1
        self._held = None
        self._queued.clear()
        self._queued_octets = self._sent_octets = self._frames_made = 0
        self._had_carrier = self._reset_owed = False
        self._standing = self._results(self.link)
        self._up.node_came_up(self.lives, self.security.floor)
        self._modem.set_power(True)
        self.serve()

    def go_down(self) -> None:
        """Lose the power."""
        self._close_life()
        self.security.go_down()
        self._modem.set_power(False)
        self._up.node_went_down()

    def finish(self) -> None:
        """End the run: count what is left."""
        if self.link is not None:
            self._close_life()
            self._up.forget_waiting()

    def _close_life(self) -> None:
        assert self.link is not None, "already down"
        self.totals.update(counts_of(self.link.counters, self.link.farm.counters))
        self.totals.update(self.security.counts())
        self.discarded += self._held is not None
        if self._held is not None:
            self.packets_forgotten += sum(is_last for _, is_last in self._held[1].pieces)
        self.packets_forgotten += len(self._queued)
        self._held = None
        self.link = None

    def serve(self) -> None:
        """Do what the modem has for the node to do."""
        if self.link is None:
            return
        carrier = self._modem.carrier()
        if carrier != self._had_carrier:
            self._had_carrier = carrier
            if carrier:
                self.link.acquired()
            else:
                self.link.carrier_lost()
                self._reset_owed = True
                self._reset_ledger(self.link)
        while not self.link.waiting and (octets := self._modem.receive()) is not None:
            self._hear(self.link, octets)
        while self._had_carrier and self._transmit(self.link):
            pass

    def _on_stored(self) -> None:
        """Go on with what waited."""
        if self.link is not None:
            if self.link.waiting:
                self._hear(self.link, b"")
            self.serve()

    def _reset_ledger(self, link: FlightLink) -> None:
        """Tell the ledger that the receiver was reset, once what waited is through: a reset does not touch that."""
        if self._reset_owed and not link.waiting:
            self._reset_owed = False
            self._up.receiver_reset()

    def _hear(self, link: FlightLink, octets: bytes) -> None:
        farm = link.farm
        before = farm.state, farm.vr, farm.retransmit, farm.wait, farm.b_counter
        actions = link.on_uplink(octets, self._loop.now_ns())
        moved = before != (farm.state, farm.vr, farm.retransmit, farm.wait, farm.b_counter)
        self.frame_waits += link.waiting
        standing = self._results(link)
        results = {name: count - self._standing.get(name, 0) for name, count in standing.items()}
        self._standing = standing
        results = {name: count for name, count in results.items() if count}
        self._up.on_heard(
            octets, results, self._perform(actions), (self.lives, self._frames_made), waits=link.waiting, moved=moved
        )
        self._reset_ledger(link)

    def _perform(self, actions: list[LinkAction]) -> list[int]:
        """Do what the stack asks for; return the serials of the commands that came out."""
        serials: list[int] = []
        for action in actions:
            match action:
                case PacketReceived(_, packet):
                    try:
                        serials.append(serial_of(packet))
                    except DecodeError as error:
                        self._findings.add(f"the node's link gave out a packet that is not a command: {error}")
                        continue
                    self._queue(RequestId(APID, packet[3]).encode())
                case UnitRejected():
                    pass  # counted by the stack; the ledger reads its counters
                case StoreSecurity():
                    self.security.store(action)
                case _:
                    raise AssertionError(f"nothing here answers to {action}")
        return serials

    @staticmethod
    def _results(link: FlightLink) -> dict[str, int]:
        farm = link.farm.counters
        results = {name: getattr(farm, name) for name in FARM_RESULTS}
        return results | {f"rejected: {reason}": n for reason, n in link.counters.uplink_rejected.items()}

    def _queue(self, data: bytes) -> None:
        """Queue a telemetry packet of these data, counted so that no two packets are alike."""
        assert self.link is not None, "off"
        self._sequence += 1
        data += self._sequence.to_bytes(4, "big")
        packet = encode_tm(APID, self._sequence & 0x3FFF, 1, 1, data, self._loop.now_ns())
        if not self.link.queue(Role.REALTIME, packet):
            self.packets_refused += 1
            return
        self._queued_octets += len(packet)
        self._queued.append((self._queued_octets, DownPacket(packet)))

    def _transmit(self, link: FlightLink) -> bool:
        """Give the modem a unit; return False if it has no room, or there is no number for a frame yet."""
        if self._held is None:
            now_ns = self._loop.now_ns()
            if now_ns >= self._housekeeping_ns:
                self._housekeeping_ns = now_ns + ns(HOUSEKEEPING_S)
                self._queue(self._random.randbytes(_HOUSEKEEPING_OCTETS))
            self._held = self._make(link)
        if self._held is None:
            return False
        octets, frame = self._held
        if not self._modem.send(octets):
            return False
        self._down.sent(frame)
        self.on_frame(frame)
        self._held = None
        return True

    def _make(self, link: FlightLink) -> tuple[bytes, SentFrame] | None:
        """Make the next frame, and note which packets it carries some of."""
        before = link.backlog_octets(Role.REALTIME)
        octets, vcid = b"", self._config.vc_idle
        for action in link.next_unit():
            match action:
                case SendUnit():
                    octets = action.octets
                    vcid = vcid if action.realtime_count is None else self._config.vc_realtime
                case StoreSecurity():
                    self.security.store(action)
                case _:
                    raise AssertionError(f"nothing here answers to {action}")
        if not octets:
            self.unit_waits += 1
            return None
        self._sent_octets += before - link.backlog_octets(Role.REALTIME)
        pieces: list[tuple[DownPacket, bool]] = []
        while self._queued and self._queued[0][0] <= self._sent_octets:
            pieces.append((self._queued.popleft()[1], True))
        if self._queued and self._queued[0][0] - len(self._queued[0][1].octets) < self._sent_octets:
            pieces.append((self._queued[0][1], False))
        raw = self._frames.down_frame(octets)
        frame = SentFrame(
            self.lives, self._frames_made, vcid, octets, raw, self._frames.down_number(raw), pieces=pieces
        )
        self._frames_made += 1
        self._down.on_made(frame, reports=self._config.up_suite is not None)
        if is_report(ocf_of(raw)):
            self._up.check_report(FrameSecurityReport.decode(ocf_of(raw)))
        return octets, frame
