"""The operator's list of a soak: every command, whether it arrived, and what the link said of it.

A command is asked for, then open while the session has it, then acknowledged, rejected or lost, as the session tells.
"""

# Two accounts are kept beside each other. What the session on the ground says of a command is its `state`. What really
# happened on board is `arrivals`, which only a simulator can know. They must agree: an acknowledged command arrived
# once, a rejected one never; only of a lost one may nobody know.
#
# The serial number in the packet is the place in the list. Commands are given in that order, so the serials that arrive
# must rise: one that comes twice, or behind a later one, is found by a single comparison.

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from random import Random

from flight.link.pus import TC_DATA_OFFSET, PusTc
from sim_hw.soak.findings import Findings

APID, SERVICE, SUBTYPE = 1, 129, 1  # a service of the mission's own; nothing executes it
_SERIAL_OCTETS = 4
_FILL_OCTETS_MAX = 200  # commands of 17 to 217 octets: CLTUs of 4 to 33 codeblocks


class State(Enum):
    """What the ground knows of a command."""

    ASKED = "not sent"
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"
    LOST = "lost"


@dataclass(slots=True)
class Command:
    """One command. `transmissions` counts its frames that were handed to the transmitter, `arrivals` those accepted.

    place: of its first frame among all that went up.
    told_by: once it arrived, the life of the node, and the number in it of the first frame that can tell the ground.
    """

    serial: int
    asked_ns: int
    packet: bytes
    state: State = State.ASKED
    reason: str = ""
    transmissions: int = 0
    arrivals: int = 0
    place: int = 0
    told_by: tuple[int, int] | None = None


def command_packet(serial: int, random: Random) -> bytes:
    """Return a telecommand packet with `serial` in it, of a random length."""
    fill = random.randbytes(random.randrange(_FILL_OCTETS_MAX + 1))
    return PusTc(APID, serial & 0x3FFF, SERVICE, SUBTYPE, serial.to_bytes(_SERIAL_OCTETS, "big") + fill).encode()


def serial_of(packet: bytes) -> int:
    """Return the serial of a command that arrived; raises DecodeError if it is not a telecommand packet."""
    PusTc.decode(packet)
    return int.from_bytes(packet[TC_DATA_OFFSET : TC_DATA_OFFSET + _SERIAL_OCTETS], "big")


class CommandList:
    """All commands of a run, in order. `newest` is the largest serial that arrived, -1 before the first."""

    def __init__(self, asked_ns: list[int], random: Random, findings: Findings) -> None:
        self.commands = [Command(i, t_ns, command_packet(i, random)) for i, t_ns in enumerate(asked_ns)]
        # Those that the session has, in order: the order in which it sends them.
        self.open: dict[int, Command] = {}
        self._findings = findings
        self.newest = -1

    def give(self, serial: int) -> Command:
        """Note that the session has this command from now on."""
        command = self.commands[serial]
        command.state = State.OPEN
        self.open[serial] = command
        return command

    def end(self, serial: object, state: State, reason: str = "") -> None:
        """Note what the session says of a command."""
        command = self.open.pop(serial, None) if isinstance(serial, int) else None
        if command is None:
            self._findings.add(f"the session says {state.value} of command {serial}, which it does not have")
            return
        command.state, command.reason = state, reason
        if state is State.ACKNOWLEDGED and command.arrivals == 0:
            self._findings.add(f"command {serial} was acknowledged and has not arrived")
        elif state is State.REJECTED and command.arrivals:
            self._findings.add(f"command {serial} was rejected ({reason}) and has arrived")

    def arrived(self, serial: int) -> None:
        """Note that the node's link gave out the packet of this command."""
        if not 0 <= serial < len(self.commands):
            self._findings.add(f"command {serial} arrived, which nobody has sent")
            return
        command = self.commands[serial]
        command.arrivals += 1
        if command.arrivals > 1:
            self._findings.add(f"command {serial} arrived {command.arrivals} times")
        elif serial < self.newest:
            self._findings.add(f"command {serial} arrived behind command {self.newest}")
        if command.state not in (State.OPEN, State.LOST):  # of a lost one the ground has said that it cannot know
            self._findings.add(f"command {serial} arrived after it was {command.state.value}")
        self.newest = max(self.newest, serial)

    @property
    def arrivals(self) -> int:
        """Commands that arrived, each as often as it did."""
        return sum(command.arrivals for command in self.commands)

    def states(self) -> dict[str, int]:
        """Return how many commands are in each state."""
        count = Counter(command.state for command in self.commands)
        return {state.value: count[state] for state in State}
