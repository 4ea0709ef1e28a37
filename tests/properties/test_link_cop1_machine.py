"""FOP-1 against FARM-1, whole ends, over a bad link: loss, repetition, delay, reordering, wrong bits, restarts of both.

Commands are cut into segments, several frames share a CLTU, bypass frames go between, and an operator gives directives
by hand. Whatever happens, a command in sequence is executed once at most and in order, and what is told of it is true:
acknowledged commands were executed, rejected ones never are.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flight.core.nanoseconds import NS
from flight.link.coding.cltu import encode_cltu
from flight.link.pus import PusTc
from flight.link.tc.directives import BOUNDS, Directive, DirectiveKind, FopRefusal
from flight.link.tc.tc_frame import TcFrame
from flight.link.tm.tm_frame import TmFrame
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from ground.link.actions import Acknowledged, Action, Lost, Rejected, Restarted, SendCltu
from ground.link.cop1.command_queue import CommandQueue
from ground.link.ground_link import Service
from ground.link.tm_tc_session import GroundSession
from tests.link_ends import packets_of, unit_of

# What becomes of a unit, by weight.
UP = ("arrives", "arrives", "arrives", "lost", "repeated", "delayed", "damaged")
DOWN = ("arrives", "arrives", "arrives", "lost", "repeated", "swapped", "delayed")
STEPS_NS = (NS // 100, NS // 10, NS, 4 * NS)
CONFIG = LinkConfig(
    coding="frame", fop_window=4, farm_window=8, recoveries=2, frame_octets=64, cltu_frames=3, tc_segment_header=True,
    tc_map=7, tc_packet_octets=200, bc_rate_per_min=60_000,
)  # fmt: skip
# Frames have room for 24 octets of a packet, as if the rest were taken by something else: so packets have many parts.
TAKEN_OCTETS = CONFIG.tc_room_octets() - 24
BYPASS = 10_000  # commands from here on go by bypass frames
DIRECTIVES = [kind for kind in DirectiveKind if kind is not DirectiveKind.SET_T1]


def command(number: int) -> bytes:
    return PusTc(1, number % 16_000, 17, 1, bytes(number * 37 % 90)).encode()


def number_of(packet: bytes) -> int:
    return PusTc.decode(packet).seq


class BadLink(RuleBasedStateMachine):
    """See the head of the file."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.flight = FlightLink(CONFIG)
        self.ground = self.new_ground()
        self.up: list[tuple[int, bytes]] = []
        self.down: list[tuple[int, bytes]] = []
        self.sent = 0
        self.executed: list[int] = []
        self.acknowledged: list[int] = []
        self.dropped: set[int] = set()
        self.rejected: set[int] = set()
        self.lost: set[int] = set()
        self.orphaned: set[int] = set()  # sent by a ground that was restarted
        # Whether a number may have gone to another command than before: then no copy may be older than T1 allows for.
        self.hands_change = False
        self.restarts_told = 0

    def new_ground(self) -> GroundSession:
        session = GroundSession(CONFIG)
        # Little room in a frame, so that most commands take several.
        session._ad._queue = CommandQueue(CONFIG, session.counters, TAKEN_OCTETS)  # noqa: SLF001
        return session

    @initialize()
    def begin(self) -> None:
        self.act(self.ground.initiate(self.now_ns))
        self.hop_down("arrives")
        self.send(3)

    def act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendCltu(octets):
                    self.up.append((self.now_ns, octets))
                case Acknowledged(int(tag)):
                    self.end(tag)
                    self.acknowledged.append(tag)
                case Rejected(int(tag)):
                    assert tag in self.dropped, action
                    self.end(tag)
                    self.rejected.add(tag)
                case Lost(int(tag)):
                    assert self.hands_change, action
                    self.end(tag)
                    self.lost.add(tag)
                case Restarted():
                    self.restarts_told += 1

    def end(self, tag: int) -> None:
        assert tag not in {*self.acknowledged, *self.rejected, *self.lost, *self.orphaned}, "once"

    def receive(self, octets: bytes) -> None:
        numbers = map(number_of, packets_of(self.flight.on_uplink(octets, self.now_ns)))
        self.executed += [number for number in numbers if number < BYPASS]

    @rule(count=st.integers(1, 6))
    def send(self, count: int) -> None:
        for _ in range(count):
            self.act(self.ground.send(command(self.sent), self.now_ns, self.sent))
            self.sent += 1

    @rule()
    def send_bypass(self) -> None:
        packet = PusTc(1, BYPASS, 17, 1, b"").encode()
        self.act(self.ground.send_bypass(packet, self.now_ns, "bypass"))

    @rule(fates=st.lists(st.tuples(st.sampled_from(UP), st.sampled_from(DOWN), st.sampled_from(STEPS_NS)), min_size=3))
    def exchange(self, fates: list[tuple[str, str, int]]) -> None:
        """For each of the fates: time passes, at most three CLTUs go up and one frame comes down."""
        for up, down, step_ns in fates:
            self.pass_time(step_ns)
            for _ in range(3):
                self.hop_up(up)
            self.hop_down(down)

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

    def pass_time(self, step_ns: int) -> None:
        self.now_ns += step_ns
        due_ns = self.ground.next_time_ns
        if due_ns is not None and due_ns <= self.now_ns:
            self.act(self.ground.on_time(self.now_ns))

    def quiet(self) -> None:
        """Nothing is on its way any more."""
        self.up.clear()
        self.down.clear()

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """Give up one of the commands: waiting, under way, or long executed."""
        tag = data.draw(st.integers(max(0, self.sent - 12), self.sent - 1))
        self.dropped.add(tag)
        self.hands_change = True
        self.act(self.ground.drop(tag, "given up"))

    @rule()
    def lock_out(self) -> None:
        """A frame of nobody's, far outside the window: FARM-1 goes into lockout."""
        stray = TcFrame(CONFIG.spacecraft_id, 0, (self.flight.farm.vr + 100) % 256, command(999))
        self.receive(encode_cltu(stray.encode()))

    @rule(octets=st.binary(max_size=40))
    def noise(self, octets: bytes) -> None:
        self.receive(octets)

    @rule(held=st.booleans())
    def hold_buffer(self, held: bool) -> None:
        self.flight.hold(held)

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
        ended = {*self.acknowledged, *self.rejected, *self.lost}
        self.orphaned |= set(range(self.sent)) - ended
        self.ground = self.new_ground()
        self.act(self.ground.resume(self.now_ns))

    @rule(kind=st.sampled_from(DIRECTIVES), data=st.data())
    def direct(self, kind: DirectiveKind, data: st.DataObject) -> None:
        """Whatever an operator does. On a clear link a copy still on its way is theirs to wait for."""
        near = (self.flight.farm.vr + data.draw(st.integers(-6, 6))) % 256
        least, most = BOUNDS.get(kind, (0, 0))
        value = (
            near if most == 255 and kind is not DirectiveKind.SET_LIMIT else data.draw(st.integers(least, min(most, 5)))
        )
        self.quiet()
        self.hands_change = True
        try:
            self.act(self.ground.direct(Directive(kind, value), self.now_ns))
        except FopRefusal:
            pass

    @rule()
    def lead_automatically(self) -> None:
        self.act(self.ground.auto(self.now_ns))

    @invariant()
    def executed_once_and_in_order(self) -> None:
        assert self.executed == sorted(set(self.executed))

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
        ended = {*self.acknowledged, *self.rejected, *self.lost, *self.orphaned}
        assert ended == set(range(self.sent)), "each has an end"


BadLink.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
TestBadLink = BadLink.TestCase
