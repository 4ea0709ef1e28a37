"""The board's side of the serial protocol: requests in, answers out, over anything that behaves like a board."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from hal.base import HalError, PowerReading
from hal.board_wire import (
    BoardDescription,
    BoardFrame,
    BoardReceiver,
    BoardStatus,
    Kind,
    Outcome,
    WireError,
    decode_limit,
)
from sim_hw.world import World


class BoardModel(Protocol):
    """What a board has and measures; a refused order raises HalError."""

    description: BoardDescription

    def read_power(self) -> PowerReading: ...

    def read_c(self, sensor: str) -> float: ...

    def switched_on(self, name: str) -> bool: ...

    def set_switch(self, name: str, on: bool) -> None: ...

    def set_limit_w(self, power_w: float) -> None: ...


class WorldBoard:
    """A board in a simulated world: its EPS, two temperature sensors, one heater, the payload's power limit."""

    description = BoardDescription(sensors=("board", "radiator"), switches=("payload", "radio"), heaters=("heater",))

    def __init__(self, world: World) -> None:
        self._world = world

    def read_power(self) -> PowerReading:
        return self._world.read_power()

    def read_c(self, sensor: str) -> float:
        return self._world.temperature_c(sensor)

    def switched_on(self, name: str) -> bool:
        return self._world.power.switched_on(name)

    def set_switch(self, name: str, on: bool) -> None:
        self._world.set_switch(name, on)

    def set_limit_w(self, power_w: float) -> None:
        self._world.set_load_w("payload", power_w)


@dataclass(slots=True)
class BoardServer:
    """Octets from the host in, octets for it out. `requests` counts what was answered, `ignored` what was not."""

    model: BoardModel
    requests: int = 0
    ignored: int = 0
    _receiver: BoardReceiver = field(default_factory=BoardReceiver)

    @property
    def garbage(self) -> int:
        return self._receiver.garbage

    def feed(self, octets: bytes) -> bytes:
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
        if frame.kind is Kind.DESCRIBE:
            return description.encode()
        if frame.kind is Kind.STATUS:
            return self._status().encode()
        try:
            if frame.kind is Kind.LIMIT:
                self.model.set_limit_w(decode_limit(frame.body))
            else:
                names = description.switches if frame.kind is Kind.SWITCH else description.heaters
                if len(frame.body) != 2 or frame.body[1] > 1:
                    return None
                if frame.body[0] >= len(names):
                    return bytes((Outcome.UNKNOWN,))
                self.model.set_switch(names[frame.body[0]], bool(frame.body[1]))
        except WireError:
            return None
        except HalError:
            return bytes((Outcome.REFUSED,))
        return bytes((Outcome.DONE,))

    def _status(self) -> BoardStatus:
        description, on = self.model.description, self.model.switched_on
        return BoardStatus(
            self.model.read_power(),
            sum(on(name) << i for i, name in enumerate(description.switches)),
            sum(on(name) << i for i, name in enumerate(description.heaters)),
            tuple(self.model.read_c(name) for name in description.sensors),
        )
