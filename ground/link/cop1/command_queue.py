"""The commands of one link that have not ended: what waits, what FOP-1 has, and what became of those in between.

A command is the data of one frame, or of several if its packet is longer than one (flight/link/segments.py). Each of
these parts is a frame of its own for FOP-1, and the command has arrived when its last part has.

    waiting --every part given to FOP-1--> under way --last part confirmed--> acknowledged
    waiting, no part sent --drop--> rejected
    under way --the service ends--> undecided
    undecided --V(R) has passed the last part--> acknowledged
              --V(R) has not passed it--> waiting, from the first part that it has not passed
              --V(R) cannot be of these parts, or the node restarted--> lost; from its beginning if the last part
                                                                        never went out
"""

# What "once" rests on. A part that goes out again has the number that it had, so FARM-1 drops a copy that is still on
# its way. A number may go to another command only if no copy of the first can be taken any more: `must_prove` says when
# that is in question, and ad_service.py first has a control command taken by the node (control_proof.py).
#
# Dropping. A command of which no part was sent is rejected at once. If its last part was never sent, it gets no further
# parts: those that were sent go their way, so that the numbers stay what they are, and it is rejected when they are
# through. Without its last part the node never has a whole packet, and the next packet takes its place there. If all
# was sent, the command cannot be called back: it is left out when its neighbours go out again, so that their numbers
# close up, and only if no copy of it can be taken any more. Else it goes out once more as well.
#
# Unchecked. A service that was initiated without a check may have numbers that V(R) has passed long ago, and then N(R)
# confirms what never arrived. Until a CLCW says the number with which the service came up, nothing is acknowledged:
# what FOP-1 confirms, and what is undecided as the service ends, is lost.
#
# A packet is continued only behind the part that the node took last. If V(R) is not what this ground made of it, the
# node no longer holds its first parts, or holds another ground's, and it is sent from its beginning.

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from flight.link.segments import SegmentFlags, cut_packet, segment_header
from flight.link.tm_tc_stack import LinkConfig
from ground.link.actions import Acknowledged, Action, Lost, Rejected
from ground.link.ground_link import SessionCounters

_UNCHECKED = "the AD service was initiated without a check"
_NEVER_ARRIVED = "sent, but it never arrived, and was given up"


@dataclass(slots=True, eq=False)
class Command:
    """A command that has not ended. Compared by identity: two commands may have the same octets.

    Of its parts: `given` FOP-1 has or had, `sent` left at least once, `confirmed` V(R) has passed. `whole_sent`: its
    last part has left. `cut_short`: parts are missing at its end, so that it will be rejected. `place`: of its first
    frame among all that this ground has sent, 0 before.
    """

    tag: object
    parts: Sequence[bytes]
    given: int = 0
    sent: int = 0
    confirmed: int = 0
    whole_sent: bool = False
    cut_short: bool = False
    drop_reason: str = ""
    place: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One frame of a command; FOP-1 has it as the tag of the frame."""

    command: Command
    index: int

    @property
    def data(self) -> bytes:
        """What the frame carries."""
        return self.command.parts[self.index]

    @property
    def is_last(self) -> bool:
        """Whether no part comes behind it."""
        return self.index + 1 == len(self.command.parts)


class CommandQueue:
    """Keeps the commands of a link in order.

    security_octets: what link security takes of each frame. room_octets: what is left in it for a packet.
    """

    def __init__(self, config: LinkConfig, counters: SessionCounters, security_octets: int = 0) -> None:
        self.room_octets = config.tc_room_octets(security_octets)
        self._packet_max = config.tc_packet_max(security_octets)
        self._config = config
        self._counters = counters
        # Every command that is neither acknowledged nor rejected nor lost, by its tag. Of these the first are under
        # way or undecided, the others wait; of the one between them FOP-1 may have some parts.
        self._open: dict[object, Command] = {}
        self._undecided: deque[tuple[int, Part]] = deque()  # with the number that the part went out under
        self._waiting: deque[Command] = deque()
        self._next_number = 0  # V(S) when the service ended: what the next part would have gone out under
        self._disowned = False  # frames may be on their way whose commands have ended
        self._unchecked: int | None = None  # V(S) with which the service came up, if no CLCW has said the same yet

    def __len__(self) -> int:
        return len(self._open)

    @property
    def undecided(self) -> int:
        """Parts of which nobody knows yet whether they arrived."""
        return len(self._undecided)

    @property
    def waiting(self) -> int:
        """Commands that wait for FOP-1, with some of their parts at least."""
        return len(self._waiting)

    # In and out

    def add(self, packet: bytes, tag: object, actions: list[Action]) -> bool:
        """Queue a command behind all others; False if it is Rejected at once, for its length or a full queue."""
        assert tag not in self._open, tag
        if not self._fits(packet, self._packet_max, tag, actions):
            return False
        if len(self) >= self._config.command_queue:
            reason = f"{len(self)} telecommands are waiting, the queue holds no more"
            self._refuse(tag, reason, actions)
            return False
        self._counters.commands += 1
        config = self._config
        parts = cut_packet(packet, self.room_octets, config.tc_map) if config.tc_segment_header else [packet]
        command = self._open[tag] = Command(tag, parts)
        self._waiting.append(command)
        return True

    def bypass(self, packet: bytes, tag: object, is_ready: bool, actions: list[Action]) -> bytes | None:
        """Return the data of a bypass frame with this packet.

        It is None if the packet is Rejected: for its length, or because not `is_ready`, the one before has not left.
        """
        if not self._fits(packet, self.room_octets, tag, actions):
            return None
        if not is_ready:
            self._refuse(tag, "the bypass frame before it has not left yet", actions)
            return None
        self._counters.commands += 1
        self._counters.bypass += 1
        config = self._config
        return segment_header(SegmentFlags.UNSEGMENTED, config.tc_map) + packet if config.tc_segment_header else packet

    def _fits(self, packet: bytes, most: int, tag: object, actions: list[Action]) -> bool:
        if 1 <= len(packet) <= most:
            return True
        fit = " to fit a frame" if most == self.room_octets else ""
        self._refuse(tag, f"telecommand of {len(packet)} octets, should be 1..{most}{fit}", actions)
        return False

    def _refuse(self, tag: object, reason: str, actions: list[Action]) -> None:
        self._counters.rejected += 1
        actions.append(Rejected(tag, reason))

    def next_part(self) -> Part | None:
        """Take the next part to give to FOP-1, None if nothing waits."""
        if not self._waiting:
            return None
        command = self._waiting[0]
        part = Part(command, command.given)
        command.given += 1
        if part.is_last:
            self._waiting.popleft()
        return part

    def note_sent(self, part: Part, place: int) -> None:
        """Note that a part leaves, as the `place`th frame of this ground counted from 1."""
        command = part.command
        command.place = command.place or place
        command.sent = max(command.sent, part.index + 1)
        command.whole_sent |= part.is_last and not command.cut_short

    def drop(self, tag: object, reason: str, actions: list[Action]) -> None:
        """Give a command up; see the head of the file. A tag that is not open changes nothing."""
        command = self._open.get(tag)
        if command is None:
            return
        command.drop_reason = reason
        if command.whole_sent or command not in self._waiting:
            return
        kept = max(command.given, command.sent)
        command.parts, command.cut_short = command.parts[:kept], True
        if command.given == kept:
            self._waiting.remove(command)
            if command.confirmed == kept:
                self._reject(command, reason, actions)

    def confirm(self, part: Part, actions: list[Action]) -> None:
        """Take in that V(R) has passed the part."""
        command = part.command
        command.confirmed = part.index + 1
        if not part.is_last or command.tag not in self._open:
            return
        if command.cut_short:
            self._reject(command, command.drop_reason, actions)
        elif self._unchecked is not None:
            self._lose(command, _UNCHECKED, actions)
        else:
            del self._open[command.tag]
            self._counters.acknowledged += 1
            actions.append(Acknowledged(command.tag))

    def give_back(self, part: Part, number: int | None) -> None:
        """Take back a part as the service ends: sent under this number and not confirmed, or None if never sent."""
        if number is not None:
            self._undecided.append((number, part))
            return
        part.command.given = part.index
        if part.is_last:
            self._waiting.appendleft(part.command)

    # What became of those in between

    def begin_unchecked(self, vs: int, actions: list[Action]) -> None:
        """Begin with a V(S) of which nobody knows whether it is V(R): what was sent before is lost."""
        self.give_up_sent(_UNCHECKED, actions)
        self._unchecked = vs

    def compare(self, report_value: int) -> None:
        """Take what a CLCW says while the service is up."""
        if report_value == self._unchecked:
            self._unchecked = None

    def rest(self, next_number: int, actions: list[Action]) -> None:
        """Note V(S) as the service ends; call it behind `give_back`."""
        self._next_number = next_number
        if self._unchecked is not None:
            self._unchecked = None
            self.give_up_sent(_UNCHECKED, actions)

    def must_wait(self, report_value: int) -> bool:
        """Return whether numbers are free for others as soon as no frame is on its way any more, whatever V(R) says."""
        return self._disowned or self._passed(report_value) > len(self._undecided)

    def must_prove(self, report_value: int, in_flight: bool) -> bool:
        """Return whether a number would go to another command than the one that it went out with.

        report_value: V(R) as the node tells it. in_flight: a frame may still be on its way, so that a command that was
        dropped keeps its number.
        """
        if self.must_wait(report_value):
            return True
        left_out = list(self._undecided)[self._passed(report_value) :]
        return not in_flight and any(part.command.drop_reason for _, part in left_out)

    def decide(self, report_value: int, proved: bool, actions: list[Action]) -> None:
        """Settle what was sent when the service ended, by the V(R) with which it comes up.

        proved: no frame that was sent before can be taken any more, so commands that were dropped are left out.
        """
        first = self._undecided[0][0] if self._undecided else self._next_number
        last = (first + len(self._undecided)) % 256
        passed = (report_value - first) % 256
        if passed > len(self._undecided):
            # V(R) begins at 0 after a restart. Nobody on this ground has sent since, so any other is another's.
            who = "another ground commands the node"
            why = who if report_value else "the node restarted, or another ground commands it"
            self.give_up_sent(f"{why} (V(R) is {report_value}, should be {first} to {last})", actions)
            self._disowned &= not proved
            return
        again: list[Command] = []
        for index, (_, part) in enumerate(self._undecided):
            command = part.command
            if index < passed:
                self.confirm(part, actions)
            elif command.drop_reason and proved:
                self._reject(command, command.drop_reason if command.cut_short else _NEVER_ARRIVED, actions)
            elif command not in again:
                command.given = part.index
                again.append(command)
        self._undecided.clear()
        self._disowned &= not proved
        # In front of those that were never sent, in the old order.
        kept = (command for command in self._waiting if command not in again and command.tag in self._open)
        self._waiting = deque([*again, *kept])

    def give_up_sent(self, why: str, actions: list[Action]) -> None:
        """Lose every command that may have been executed, `why` nobody can know it; the others begin again."""
        sent = dict.fromkeys([*(part.command for _, part in self._undecided), *self._waiting])
        self._disowned |= bool(self._undecided)
        self._undecided.clear()
        self._waiting = deque(command for command in sent if not command.whole_sent and not command.cut_short)
        for command in sent:
            if command.cut_short:
                self._reject(command, command.drop_reason, actions)
            elif command.whole_sent:
                self._lose(command, why, actions)
        self.begin_again()

    def disown(self) -> None:
        """Note that frames may be on their way whose commands nobody here knows."""
        self._disowned = True

    def begin_again(self) -> None:
        """Send what waits from its first part: the node forgets the parts that it has, or never had them."""
        for command in self._waiting:
            command.given = command.confirmed = 0

    def _passed(self, report_value: int) -> int:
        """Return how many of the undecided parts V(R) has passed; more than there are if it is not of their making."""
        return (report_value - self._undecided[0][0]) % 256 if self._undecided else 0

    def _reject(self, command: Command, reason: str, actions: list[Action]) -> None:
        if self._open.pop(command.tag, None) is not None:
            self._counters.rejected += 1
            actions.append(Rejected(command.tag, reason))

    def _lose(self, command: Command, why: str, actions: list[Action]) -> None:
        if self._open.pop(command.tag, None) is not None:
            self._counters.lost += 1
            actions.append(Lost(command.tag, f"sent, and nobody knows whether it was executed: {why}"))
