"""FOP-1 against FARM-1, whole ends, over a bad link: loss, repetition, delay, reordering, wrong bits, restarts of both.

Commands are cut into segments, several frames share a CLTU, bypass frames go between, and an operator gives directives
by hand. Whatever happens, a command in sequence is executed once at most and in order, and what is told of it is true:
acknowledged commands were executed, rejected ones never are.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from flight.core.nanoseconds import NS
from flight.link.coding.cltu import encode_cltu
from flight.link.pus import PusTc
from flight.link.tc.directives import Directive, DirectiveKind, FopRefusal
from flight.link.tc.tc_frame import TcFrame
from flight.link.tm.tm_frame import TmFrame
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from ground.link.actions import Action, SendCltu
from ground.link.cop1.command_queue import CommandQueue
from ground.link.ground_link import Service
from ground.link.tm_tc_session import GroundSession
from tests.cop1_machine import BYPASS, DIRECTIVES, ROOM_OCTETS, CommandMachine, command
from tests.link_ends import packets_of, unit_of

CONFIG = LinkConfig(
    coding="frame", fop_window=4, farm_window=8, recoveries=2, frame_octets=64, cltu_frames=3, tc_segment_header=True,
    tc_map=7, tc_packet_octets=200, bc_rate_per_min=60_000,
)  # fmt: skip
TAKEN_OCTETS = CONFIG.tc_room_octets() - ROOM_OCTETS


def number_of(packet: bytes) -> int:
    return PusTc.decode(packet).seq


class BadLink(CommandMachine):
    """See the head of the file."""

    def __init__(self) -> None:
        super().__init__()
        self.flight = FlightLink(CONFIG)
        self.ground = self.new_ground()
        self.up: list[tuple[int, bytes]] = []
        self.down: list[tuple[int, bytes]] = []

    def new_ground(self) -> GroundSession:
        session = GroundSession(CONFIG)
        # Little room in a frame, so that most commands take several.
        session._ad._queue = CommandQueue(CONFIG, session.counters, TAKEN_OCTETS)  # noqa: SLF001
        return session

    def act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendCltu(octets):
                    self.up.append((self.now_ns, octets))
                case _:
                    self.note(action)

    def receive(self, octets: bytes) -> None:
        numbers = map(number_of, packets_of(self.flight.on_uplink(octets, self.now_ns)))
        self.executed += [number for number in numbers if number < BYPASS]

    def hop_up(self, fate: str) -> None:
        if self.hands_change:
            # To give a number away, T1 must allow for the whole way there and back.
            self.up = [one for one in self.up if self.now_ns - one[0] <= NS]
        if not self.up:
            return
        cltu = self.up.pop(0)
        if fate in ("arrives", "repeated"):
            self.receive(cltu[1])
        if fate == "damaged":
            octets = bytearray(cltu[1])
            place = self.now_ns // 7 % (len(octets) - 4) + 2
            octets[place] ^= 0x24
            self.receive(bytes(octets))
        if fate in ("repeated", "delayed"):
            self.up.insert(min(2, len(self.up)), cltu)

    def hop_down(self, fate: str) -> None:
        self.down.append((self.now_ns, unit_of(self.flight)))
        # No frame is later than this: the link is shorter than that.
        late_ns = (1 if self.hands_change else 8) * NS
        self.down = [one for one in self.down if self.now_ns - one[0] <= late_ns]
        if fate == "delayed":
            return
        if fate == "swapped":
            self.down[-2:] = self.down[:-3:-1]
        if fate == "lost":
            self.down.pop()
        arriving = self.down if fate != "repeated" else [*self.down, self.down[-1]]
        self.down = []
        for _, frame in arriving:
            self.act(self.ground.on_downlink(frame, self.now_ns))

    def quiet(self) -> None:
        """Nothing is on its way any more."""
        self.up.clear()
        self.down.clear()

    @rule()
    def lock_out(self) -> None:
        """A frame of nobody's, far outside the window: FARM-1 goes into lockout."""
        stray = TcFrame(CONFIG.spacecraft_id, 0, (self.flight.farm.vr + 100) % 256, command(999))
        self.receive(encode_cltu(stray.encode()))

    @rule()
    def end_and_begin_a_pass(self) -> None:
        self.act(self.ground.reset(self.now_ns))
        self.quiet()
        self.flight.carrier_lost()
        self.act(self.ground.resume(self.now_ns))

    @rule()
    def restart_the_node(self) -> None:
        """It takes longer than anything is on its way, and shows itself by the counts of its frames."""
        for _ in range(300):
            raw = unit_of(self.flight)
            self.act(self.ground.on_downlink(raw, self.now_ns))
            if 100 < TmFrame.decode(raw, CONFIG.frame_octets).master_count < 200:
                break
        self.quiet()
        self.now_ns += 11 * NS
        self.hands_change = True
        self.flight = FlightLink(CONFIG)
        told = self.restarts_told
        for _ in range(3):
            self.act(self.ground.on_downlink(unit_of(self.flight), self.now_ns))
        assert self.restarts_told == told + 1

    @rule()
    def restart_the_ground(self) -> None:
        self.quiet()
        self.orphan()
        self.ground = self.new_ground()
        self.act(self.ground.resume(self.now_ns))

    @rule(kind=st.sampled_from(DIRECTIVES), data=st.data())
    def direct(self, kind: DirectiveKind, data: st.DataObject) -> None:
        """Whatever an operator does. On a clear link a copy still on its way is theirs to wait for."""
        value = self.value_for(kind, data)
        self.quiet()
        self.hands_change = True
        try:
            self.act(self.ground.direct(Directive(kind, value), self.now_ns))
        except FopRefusal:
            pass

    @invariant()
    def what_is_told_is_true(self) -> None:
        executed = set(self.executed)
        assert set(self.acknowledged) <= executed
        assert not executed & self.rejected
        assert self.acknowledged == sorted(self.acknowledged)

    def teardown(self) -> None:
        """On a good link everything arrives in the end, lockout, directives and all."""
        self.flight.hold(False)
        self.quiet()
        self.act(self.ground.direct(Directive(DirectiveKind.SET_LIMIT, 3), self.now_ns))
        self.act(self.ground.auto(self.now_ns))
        for _ in range(600):
            if not self.ground.waiting:
                break
            if self.ground.service is Service.IDLE:
                self.act(self.ground.initiate(self.now_ns))
            self.now_ns += NS // 4
            self.act(self.ground.on_time(self.now_ns))
            self.act(self.ground.on_downlink(unit_of(self.flight), self.now_ns))
            while self.up:
                self.receive(self.up.pop(0)[1])
        self.what_is_told_is_true()
        self.executed_once_and_in_order()
        assert self.ended == set(range(self.sent)), "each has an end"


BadLink.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
TestBadLink = BadLink.TestCase
