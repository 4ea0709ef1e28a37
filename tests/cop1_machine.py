"""Commands over a bad link, as a state machine: what the tests of a clear and of a protected link have in common.

Here are the rules of ground and operator, and what was told of each command. What lies between the ends is theirs.
"""

from __future__ import annotations

from abc import abstractmethod

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flight.core.nanoseconds import NS
from flight.link.pus import PusTc
from flight.link.tc.directives import BOUNDS, DirectiveKind
from flight.link.tm_tc_stack import FlightLink
from ground.link.actions import Acknowledged, Action, Lost, Rejected, Restarted
from ground.link.tm_tc_session import GroundSession

# What becomes of a unit, by weight.
UP = ("arrives", "arrives", "arrives", "lost", "repeated", "delayed", "damaged")
DOWN = ("arrives", "arrives", "arrives", "lost", "repeated", "swapped", "delayed")
STEPS_NS = (NS // 100, NS // 10, NS, 4 * NS)
BYPASS = 10_000  # commands from here on go by bypass frames
DIRECTIVES = [kind for kind in DirectiveKind if kind is not DirectiveKind.SET_T1]
ROOM_OCTETS = 24  # that a frame has for a packet, as if the rest were taken by something else: packets have many parts


def command(number: int) -> bytes:
    return PusTc(1, number % 16_000, 17, 1, bytes(number * 37 % 90)).encode()


class CommandMachine(RuleBasedStateMachine):
    """See the head of the file."""

    flight: FlightLink
    ground: GroundSession

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.sent = 0
        self.executed: list[int] = []
        self.acknowledged: list[int] = []
        self.dropped: set[int] = set()
        self.rejected: set[int] = set()
        self.lost: set[int] = set()
        self.orphaned: set[int] = set()  # sent by a ground that was restarted
        # Whether a number may have gone to another command than before. If so, on a clear link no copy may be older
        # than T1 allows for.
        self.hands_change = False
        self.restarts_told = 0

    # What lies between the ends.

    @abstractmethod
    def act(self, actions: list[Action]) -> None:
        """Do what the ground asks for; what is told of commands goes to `note`."""

    @abstractmethod
    def receive(self, cltu: bytes) -> None:
        """Let octets reach the node."""

    @abstractmethod
    def hop_up(self, fate: str) -> None:
        """Let this become of the oldest unit on its way up."""

    @abstractmethod
    def hop_down(self, fate: str) -> None:
        """Have the node make a frame, and let this become of the newest on its way down."""

    @property
    def may_lose(self) -> bool:
        """Whether a command may be told as lost by now."""
        return self.hands_change

    def note(self, action: Action) -> None:
        match action:
            case Acknowledged(int(tag)):
                self.end(tag)
                self.acknowledged.append(tag)
            case Rejected(int(tag)):
                assert tag in self.dropped, action
                self.end(tag)
                self.rejected.add(tag)
            case Lost(int(tag)):
                assert self.may_lose, action
                self.end(tag)
                self.lost.add(tag)
            case Restarted():
                self.restarts_told += 1

    def end(self, tag: int) -> None:
        assert tag not in self.ended, "once"

    @property
    def ended(self) -> set[int]:
        return {*self.acknowledged, *self.rejected, *self.lost, *self.orphaned}

    def orphan(self) -> None:
        """The ground is restarted, and knows nothing of the commands before."""
        self.orphaned |= set(range(self.sent)) - self.ended

    # What ground and operator do.

    @initialize()
    def begin(self) -> None:
        self.act(self.ground.initiate(self.now_ns))
        self.hop_down("arrives")
        self.send(3)

    @rule(count=st.integers(1, 6))
    def send(self, count: int) -> None:
        for _ in range(count):
            self.act(self.ground.send(command(self.sent), self.now_ns, self.sent))
            self.sent += 1

    @rule()
    def send_bypass(self) -> None:
        packet = PusTc(1, BYPASS, 17, 1, b"").encode()
        self.act(self.ground.send_bypass(packet, self.now_ns, "bypass"))

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """Give up one of the commands: waiting, under way, or long executed."""
        self.drop_tag(data.draw(st.integers(max(0, self.sent - 12), self.sent - 1)))

    def drop_tag(self, tag: int) -> None:
        self.dropped.add(tag)
        self.hands_change = True
        self.act(self.ground.drop(tag, "given up"))

    def value_for(self, kind: DirectiveKind, data: st.DataObject) -> int:
        """A value for a directive: near V(R) if it is a number of a frame."""
        near = (self.flight.farm.vr + data.draw(st.integers(-6, 6))) % 256
        least, most = BOUNDS.get(kind, (0, 0))
        if most == 255 and kind is not DirectiveKind.SET_LIMIT:
            return near
        return data.draw(st.integers(least, min(most, 5)))

    @rule()
    def lead_automatically(self) -> None:
        self.act(self.ground.auto(self.now_ns))

    # The link.

    @rule(fates=st.lists(st.tuples(st.sampled_from(UP), st.sampled_from(DOWN), st.sampled_from(STEPS_NS)), min_size=3))
    def exchange(self, fates: list[tuple[str, str, int]]) -> None:
        """For each of the fates: time passes, at most three CLTUs go up and one frame comes down."""
        for up, down, step_ns in fates:
            self.pass_time(step_ns)
            for _ in range(3):
                self.hop_up(up)
            self.hop_down(down)

    def pass_time(self, step_ns: int) -> None:
        self.now_ns += step_ns
        due_ns = self.ground.next_time_ns
        if due_ns is not None and due_ns <= self.now_ns:
            self.act(self.ground.on_time(self.now_ns))

    @rule(octets=st.binary(max_size=40))
    def noise(self, octets: bytes) -> None:
        self.receive(octets)

    @rule(held=st.booleans())
    def hold_buffer(self, held: bool) -> None:
        self.flight.hold(held)

    # What holds.

    @invariant()
    def executed_once_and_in_order(self) -> None:
        assert self.executed == sorted(set(self.executed))
