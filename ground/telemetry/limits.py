"""Limit checks on housekeeping: yellow and red by field, transitions as alarms."""

from __future__ import annotations

from dataclasses import dataclass

from flight.contract.fields import Field, Limits
from ground.telemetry.decoder import HOUSEKEEPING, DecodedPacket

NORMAL, YELLOW, RED = "normal", "yellow", "red"


@dataclass(frozen=True, slots=True)
class Alarm:
    """A parameter went from one state to another. `time_ns` is the packet's time (TAI)."""

    time_ns: int
    parameter: str
    previous: str
    state: str
    value: float
    unit: str
    text: str


@dataclass(slots=True)
class _State:
    state: str
    time_ns: int


def limit_state(value: float, limits: Limits | None) -> str:
    """normal, yellow or red. Intervals are closed; a value that is not a number is outside of every interval."""
    if limits is None:
        return NORMAL
    for state, interval in ((RED, limits.red), (YELLOW, limits.yellow)):
        if interval is not None and not interval[0] <= value <= interval[1]:
            return state
    return NORMAL


class LimitChecker:
    """Keeps the state of every parameter that has limits: one a field of what the decoder knows."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    def state(self, parameter: str) -> str:
        """The newest state of `structure.field`; normal before the first sample."""
        known = self._states.get(parameter)
        return NORMAL if known is None else known.state

    def check(self, packet: DecodedPacket, *, live: bool = True) -> list[Alarm]:
        """Transitions that `packet` brings. A played back packet older than the newest sample changes nothing; a live
        one is the newest whatever its time: the on-board clock may have been set back.
        """
        if packet.kind != HOUSEKEEPING or packet.time_ns is None:
            return []
        alarms = []
        for name, one in packet.fields.items():
            if one.limits is None or not one.is_number:
                continue
            parameter = f"{packet.name}.{name}"
            known = self._states.get(parameter)
            if not live and known is not None and packet.time_ns < known.time_ns:
                continue
            value = float(packet.raw[name])
            state = limit_state(value, one.limits)
            previous = NORMAL if known is None else known.state
            self._states[parameter] = _State(state, packet.time_ns)
            if state != previous:
                text = _describe(parameter, value, one, state)
                alarms.append(Alarm(packet.time_ns, parameter, previous, state, value, one.unit, text))
        return alarms


def _describe(parameter: str, value: float, one: Field, state: str) -> str:
    unit = f" {one.unit}" if one.unit else ""
    if state == NORMAL or one.limits is None:
        return f"{parameter} {value:g}{unit} is back within limits"
    interval = one.limits.red if state == RED else one.limits.yellow
    assert interval is not None
    return f"{parameter} {value:g}{unit} is {state}: outside {interval[0]:g} .. {interval[1]:g}{unit}"
