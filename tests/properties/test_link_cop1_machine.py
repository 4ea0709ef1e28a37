"""FOP-1 against FARM-1, whole ends, over a link that loses, repeats, delays and reorders in both directions."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flight.core.nanoseconds import NS
from flight.link.coding.cltu import encode_cltu
from flight.link.pus import PusTc
from flight.link.tc.tc_frame import TcFrame
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from ground.link.actions import Acknowledged, Action, Lost, Rejected, Restarted, SendCltu
from ground.link.ground_link import Service
from ground.link.tm_tc_session import GroundSession
from tests.link_ends import packets_of, unit_of

# What becomes of a unit, by weight.
UP = ("arrives", "arrives", "arrives", "lost", "repeated", "delayed")
DOWN = ("arrives", "arrives", "arrives", "lost", "repeated", "swapped", "delayed")
STEPS_NS = (NS // 100, NS // 10, NS, 4 * NS)
CONFIG = LinkConfig(coding="frame", fop_window=4, farm_window=8, recoveries=2, frame_octets=64)


def command(number: int) -> bytes:
    return PusTc(1, number, 17, 1, b"").encode()


class LossyLink(RuleBasedStateMachine):
    """Commands are executed once, in order, and acknowledged only when they were; those rejected never are."""

    def __init__(self) -> None:
        super().__init__()
        self.ground = GroundSession(CONFIG)
        self.flight = FlightLink(CONFIG)
        self.now_ns = 0
        self.up: list[tuple[int, bytes]] = []
        self.down: list[tuple[int, bytes]] = []
        self.sent = 0
        self.executed: list[bytes] = []
        self.acknowledged: list[int] = []
        self.dropped: set[int] = set()
        self.rejected: set[int] = set()

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
                    self.acknowledged.append(tag)
                case Rejected(int(tag)):
                    assert tag in self.dropped and tag not in self.rejected, action
                    self.rejected.add(tag)
                case Lost() | Restarted():
                    raise AssertionError(action)

    def receive(self, octets: bytes) -> None:
        self.executed += packets_of(self.flight.on_uplink(octets, self.now_ns))

    @rule(count=st.integers(1, 6))
    def send(self, count: int) -> None:
        for _ in range(count):
            self.act(self.ground.send(command(self.sent), self.now_ns, self.sent))
            self.sent += 1

    @rule(fates=st.lists(st.tuples(st.sampled_from(UP), st.sampled_from(DOWN), st.sampled_from(STEPS_NS)), min_size=3))
    def exchange(self, fates: list[tuple[str, str, int]]) -> None:
        """For each of the fates: time passes, at most three CLTUs go up and one frame comes down."""
        for up, down, step_ns in fates:
            self.pass_time(step_ns)
            for _ in range(3):
                self.hop_up(up)
            self.hop_down(down)

    def hop_up(self, fate: str) -> None:
        if self.dropped:
            # To give the number of a dropped command away, T1 must allow for the whole way there and back.
            self.up = [one for one in self.up if self.now_ns - one[0] <= NS]
        if not self.up:
            return
        cltu = self.up.pop(0)
        if fate in ("arrives", "repeated"):
            self.receive(cltu[1])
        if fate in ("repeated", "delayed"):
            self.up.insert(min(2, len(self.up)), cltu)

    def hop_down(self, fate: str) -> None:
        self.down.append((self.now_ns, unit_of(self.flight)))
        # No frame is later than this: the link is shorter than that.
        late_ns = (1 if self.dropped else 8) * NS
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

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """Give up one of the commands: waiting, under way, or long executed."""
        tag = data.draw(st.integers(max(0, self.sent - 12), self.sent - 1))
        self.dropped.add(tag)
        self.act(self.ground.drop(tag, "given up"))

    @rule()
    def lock_out(self) -> None:
        """A frame of nobody's, far outside the window: FARM-1 goes into lockout."""
        stray = TcFrame(CONFIG.spacecraft_id, 0, (self.flight.farm.vr + 100) % 256, command(999))
        self.receive(encode_cltu(stray.encode()))

    @rule(held=st.booleans())
    def hold_buffer(self, held: bool) -> None:
        self.flight.hold(held)

    @rule()
    def end_and_begin_a_pass(self) -> None:
        self.act(self.ground.reset(self.now_ns))
        self.up.clear()
        self.down.clear()
        self.flight.carrier_lost()
        self.act(self.ground.resume(self.now_ns))

    @invariant()
    def executed_once_and_in_order(self) -> None:
        kept = [command(number) for number in range(self.sent) if number not in self.rejected]
        assert self.executed == kept[: len(self.executed)]

    @invariant()
    def acknowledged_is_executed(self) -> None:
        assert [command(number) for number in self.acknowledged] == self.executed[: len(self.acknowledged)]

    def teardown(self) -> None:
        """On a good link everything arrives in the end, lockout and all."""
        self.flight.hold(False)
        self.up.clear()
        self.down.clear()
        for _ in range(400):
            if not self.ground.waiting:
                break
            if self.ground.service is Service.IDLE:
                self.act(self.ground.initiate(self.now_ns))
            self.now_ns += NS // 4
            self.act(self.ground.on_time(self.now_ns))
            self.act(self.ground.on_downlink(unit_of(self.flight), self.now_ns))
            while self.up:
                self.receive(self.up.pop(0)[1])
        assert self.acknowledged == [number for number in range(self.sent) if number not in self.rejected]
        assert len(self.executed) == len(self.acknowledged)


LossyLink.TestCase.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
TestLossyLink = LossyLink.TestCase
