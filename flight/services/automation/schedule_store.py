"""The schedule as it stands in the vault: a row an activity, and one row of what is enabled.

The rows are the truth that commands are checked against: what an earlier command has changed is in them, durable or
on its way there in the same order. `Timetable` has in force what they say after each command that was stored.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from flight.core.errors import DecodeError
from flight.link.pus import PusTc
from flight.link.time_code import TIME_NS_MAX
from flight.services.automation.held import request_key
from flight.store.vault import Vault

ID = tuple[int, int, int]
_PREFIX = "schedule.activity."
_STATE = "schedule.state"
_ROW = struct.Struct(">IBBQ")
_SET_OCTETS = 32  # a bit for each of 256


@dataclass(frozen=True, slots=True)
class Activity:
    """A scheduled command. `number` orders equal times, `time_ns` is TAI since 1958, `id` source, APID and count."""

    number: int
    sub_schedule: int
    group: int
    time_ns: int
    request: bytes
    id: ID

    @property
    def row(self) -> str:
        """Its key in the vault."""
        return _row(self.id)

    @property
    def order(self) -> tuple[int, int]:
        return self.time_ns, self.number

    def encode(self) -> bytes:
        return _ROW.pack(self.number, self.sub_schedule, self.group, self.time_ns) + self.request

    @classmethod
    def decode(cls, octets: bytes) -> Activity:
        """Raises DecodeError, also where the command is no telecommand packet."""
        if len(octets) < _ROW.size:
            raise DecodeError(f"scheduled activity of {len(octets)} octets")
        number, sub_schedule, group, time_ns = _ROW.unpack_from(octets)
        if time_ns > TIME_NS_MAX:
            raise DecodeError("release time beyond what the time code tells")
        request = octets[_ROW.size :]
        PusTc.decode(request)
        return cls(number, sub_schedule, group, time_ns, request, request_key(request))

    def shifted(self, offset_ns: int) -> Activity:
        return replace(self, time_ns=self.time_ns + offset_ns)


@dataclass(frozen=True, slots=True)
class Gates:
    """What is enabled. A group is known while it is in `groups`; sub-schedules need no introduction."""

    enabled: bool = True
    disabled_sub_schedules: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset({0})
    disabled_groups: frozenset[int] = frozenset()

    def closed(self, activity: Activity) -> str:
        """What keeps the activity from its release, empty for nothing."""
        if not self.enabled:
            return "schedule"
        if activity.sub_schedule in self.disabled_sub_schedules:
            return f"sub-schedule {activity.sub_schedule}"
        return f"group {activity.group}" if activity.group in self.disabled_groups else ""

    def encode(self) -> bytes:
        sets = (self.disabled_sub_schedules, self.groups, self.disabled_groups)
        return bytes((self.enabled,)) + b"".join(sum(1 << i for i in s).to_bytes(_SET_OCTETS, "big") for s in sets)

    @classmethod
    def decode(cls, octets: bytes) -> Gates:
        """Raises DecodeError."""
        if len(octets) != 1 + 3 * _SET_OCTETS:
            raise DecodeError(f"state of the schedule of {len(octets)} octets")
        bits = [int.from_bytes(octets[at : at + _SET_OCTETS], "big") for at in range(1, len(octets), _SET_OCTETS)]
        sets = [frozenset(i for i in range(8 * _SET_OCTETS) if one >> i & 1) for one in bits]
        return cls(bool(octets[0]), sets[0], sets[1] | {0}, sets[2])


class ScheduleStore:
    """The rows in `vault`. `left_out` is told key and fault of each that does not fit this software, at every look."""

    def __init__(self, vault: Vault, left_out: Callable[[str, DecodeError], None]) -> None:
        self._vault = vault
        self._left_out = left_out
        self._decoded: dict[str, tuple[bytes, Activity]] = {}  # of the last look: few rows change between two

    def __contains__(self, id: ID) -> bool:
        return _row(id) in self._vault

    def holds(self, activity: Activity) -> bool:
        """Whether the activity is there still, and as it was."""
        return self._vault.get(activity.row) == activity.encode()

    def activities(self) -> dict[ID, Activity]:
        before, self._decoded = self._decoded, {}
        for name, octets in self._vault.rows(_PREFIX):
            known = before.get(name)
            try:
                one = known[1] if known is not None and known[0] == octets else _read(name, octets)
            except DecodeError as error:
                self._left_out(_PREFIX + name, error)
            else:
                self._decoded[name] = octets, one
        return {one.id: one for _, one in self._decoded.values()}

    def gates(self) -> Gates:
        octets = self._vault.get(_STATE)
        if octets is None:
            return Gates()
        try:
            return Gates.decode(octets)
        except DecodeError as error:
            self._left_out(_STATE, error)
            return Gates()

    def set_gates(self, gates: Gates) -> dict[str, bytes | None]:
        return {_STATE: gates.encode()}

    def clear(self) -> dict[str, bytes | None]:
        return {_PREFIX + name: None for name, _ in self._vault.rows(_PREFIX)}

    def used(self) -> tuple[int, int]:
        """Activities and octets held, those on their way out included."""
        rows = self._vault.rows(_PREFIX)
        return len(rows), sum(len(octets) for _, octets in rows)


def _read(name: str, octets: bytes) -> Activity:
    """The activity of a row; raises DecodeError for what this software would not have written under that key."""
    one = Activity.decode(octets)
    if one.row != _PREFIX + name:
        raise DecodeError(f"it holds the activity of {one.row}")
    return one


def _row(id: ID) -> str:
    return "{}{:04x}.{:03x}.{:04x}".format(_PREFIX, *id)
