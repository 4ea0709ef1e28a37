"""Limit checks on housekeeping: yellow and red by field, transitions as alarms."""

# States of a parameter: normal, yellow, red, by its newest value alone; red wins if both apply. There is no hysteresis
# and no count of repetitions: limits come from the dictionary as they are, and whoever writes them knows the noise. An
# alarm is a transition between two states, back to normal included, so that a list of alarms tells the whole story.
#
# Before its first sample a parameter is normal: a first value in red is an alarm, a first value in normal is none.
#
# A packet that was played back and is older than the newest sample changes nothing, since its state is history. A live
# one is the newest whatever its time says: the on-board clock may have been set back. States are not stored: after a
# restart of the ground a parameter that still is outside its limits gives its alarm again.

from __future__ import annotations

from dataclasses import dataclass

from flight.contract.fields import Field, Limits
from ground.telemetry.decoder import HOUSEKEEPING, DecodedPacket

NORMAL, YELLOW, RED = "normal", "yellow", "red"


@dataclass(frozen=True, slots=True)
class Alarm:
    """The transition of a parameter from one state to another. `time_ns` is the packet's time (TAI)."""

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
    """Return normal, yellow or red. Intervals are closed; a value that is not a number is outside of every one."""
    if limits is None:
        return NORMAL
    for state, interval in ((RED, limits.red), (YELLOW, limits.yellow)):
        # `not (a <= x <= b)` rather than `x < a or x > b`: every comparison with NaN is false.
        if interval is not None and not interval[0] <= value <= interval[1]:
            return state
    return NORMAL


class LimitChecker:
    """Keeps the state of every parameter with limits. Its memory is bounded by the fields that the decoder knows."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    def state(self, parameter: str) -> str:
        """Return the newest state of `structure.field`; normal before the first sample."""
        known = self._states.get(parameter)
        return NORMAL if known is None else known.state

    def check(self, packet: DecodedPacket, *, live: bool = True) -> list[Alarm]:
        """Return the transitions that `packet` brings. live: it was not played back, so it is the newest."""
        if packet.kind != HOUSEKEEPING or packet.time_ns is None:
            return []
        alarms = []
        for name, field in packet.fields.items():
            if field.limits is None or not field.is_number:
                continue
            parameter = f"{packet.name}.{name}"
            known = self._states.get(parameter)
            if not live and known is not None and packet.time_ns < known.time_ns:
                continue
            value = float(packet.raw[name])
            state = limit_state(value, field.limits)
            previous = NORMAL if known is None else known.state
            self._states[parameter] = _State(state, packet.time_ns)
            if state != previous:
                text = _describe(parameter, value, field, state)
                alarms.append(Alarm(packet.time_ns, parameter, previous, state, value, field.unit, text))
        return alarms


def _describe(parameter: str, value: float, field: Field, state: str) -> str:
    unit = f" {field.unit}" if field.unit else ""
    if state == NORMAL or field.limits is None:
        return f"{parameter} {value:g}{unit} is back within limits"
    interval = field.limits.red if state == RED else field.limits.yellow
    assert interval is not None
    return f"{parameter} {value:g}{unit} is {state}: outside {interval[0]:g} .. {interval[1]:g}{unit}"
