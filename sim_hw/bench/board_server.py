"""The board's side of the serial protocol: requests in, answers out, over anything that behaves like a board."""

# The protocol is in hal/board_wire.py and docs/guides/bench.md; this is its other end. A request is answered at once
# and in order, so a host needs no more than one open request. What is not a request (an answer, an order of a wrong
# length, octets with a wrong checksum) gets no answer and is counted: a real board has nothing better to do with it,
# and the host's time-out does the rest.
#
# An order says what it is for by index (version 1) or by name (version 2). A host that asks with ASK in the body of
# DESCRIBE and STATUS learns from the answer whether the board knows names; STATUS then begins with the board's
# identity, by which a host notices that another board, or the same one after a reset, has come behind the wire.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from hal.base import HalError, PowerReading
from hal.board_wire import (
    ASK,
    BODY_MAX,
    BoardDescription,
    BoardFrame,
    BoardIdentity,
    BoardReceiver,
    BoardStatus,
    Kind,
    Outcome,
    WireError,
    decode_limit,
    decode_order,
)
from sim_hw.world.world import World


class BoardModel(Protocol):
    """What a board has and measures; a refused order raises HalError."""

    description: BoardDescription

    def read_power(self) -> PowerReading:
        """Return what the power sensors show."""

    def read_c(self, sensor: str) -> float:
        """Return the temperature at a sensor, degrees Celsius."""

    def switched_on(self, name: str) -> bool:
        """Return whether a switch or heater is on."""

    def set_switch(self, name: str, on: bool) -> None:
        """Turn a switch or heater on or off."""

    def set_limit_w(self, power_w: float) -> None:
        """Limit the payload's power, watts."""


class WorldBoard:
    """A board in a simulated world: its EPS, two temperature sensors, one heater, the payload's power limit."""

    description = BoardDescription(sensors=("board", "radiator"), switches=("payload", "radio"), heaters=("heater",))

    def __init__(self, world: World) -> None:
        self._world = world

    def read_power(self) -> PowerReading:
        """Return what the power sensors show."""
        return self._world.read_power()

    def read_c(self, sensor: str) -> float:
        """Return the temperature at a sensor, degrees Celsius."""
        return self._world.temperature_c(sensor)

    def switched_on(self, name: str) -> bool:
        """Return whether a switch or heater is on."""
        return self._world.power.switched_on(name)

    def set_switch(self, name: str, on: bool) -> None:
        """Turn a switch or heater on or off."""
        self._world.set_switch(name, on)

    def set_limit_w(self, power_w: float) -> None:
        """Limit the payload's power, watts."""
        self._world.set_load_w("payload", power_w)


@dataclass(slots=True)
class BoardServer:
    """Octets from the host in, octets for it out. `requests` counts what was answered, `ignored` what was not.

    boot: another number for each start of the board. version: of the protocol, 1 for a board that knows no names.
    """

    model: BoardModel
    boot: int = 0
    version: int = 2
    requests: int = 0
    ignored: int = 0
    _receiver: BoardReceiver = field(default_factory=BoardReceiver)

    @property
    def garbage(self) -> int:
        """Stretches of the line that were not a frame, however many octets each had."""
        return self._receiver.garbage

    def feed(self, octets: bytes) -> bytes:
        """Take octets from the host, as many as there are; return the answers to the requests that they complete."""
        answers: list[bytes] = []
        for frame in self._receiver.feed(octets):
            body = None if frame.is_answer else self._answer(frame)
            if body is None:
                self.ignored += 1
            else:
                self.requests += 1
                answers.append(BoardFrame(frame.kind, frame.seq, body, is_answer=True).encode())
        return b"".join(answers)

    def _answer(self, frame: BoardFrame) -> bytes | None:
        description = self.model.description
        named = self.version >= 2 and frame.body == ASK
        if frame.kind is Kind.DESCRIBE:
            lists = description.encode()
            # A description that fills the frame has no room for it: such a board is spoken to by index.
            return lists + ASK if named and len(lists) < BODY_MAX else lists
        if frame.kind is Kind.STATUS:
            identity = BoardIdentity(description.check, self.boot).encode() if named else b""
            return identity + self._status().encode()
        try:
            if frame.kind is Kind.LIMIT:
                self.model.set_limit_w(decode_limit(frame.body))
                return bytes((Outcome.DONE,))
            names = description.switches if frame.kind is Kind.SWITCH else description.heaters
            name, on = self._target(frame.body, names)
            if name not in names:
                return bytes((Outcome.UNKNOWN,))
            self.model.set_switch(name, on)
        except WireError:
            return None
        except HalError:
            return bytes((Outcome.REFUSED,))
        return bytes((Outcome.DONE,))

    def _target(self, body: bytes, names: tuple[str, ...]) -> tuple[str, bool]:
        """Return what an order is for, "" for an index past the end, and on or off; raises WireError."""
        if len(body) == 2 and body[1] <= 1:
            return (names[body[0]] if body[0] < len(names) else ""), bool(body[1])
        if self.version < 2:
            raise WireError(f"order of {len(body)} octets, should be index, 0 or 1")
        return decode_order(body)

    def _status(self) -> BoardStatus:
        description, on = self.model.description, self.model.switched_on
        return BoardStatus(
            self.model.read_power(),
            sum(on(name) << i for i, name in enumerate(description.switches)),
            sum(on(name) << i for i, name in enumerate(description.heaters)),
            tuple(self.model.read_c(name) for name in description.sensors),
        )
