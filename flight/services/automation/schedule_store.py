"""The schedule as it is stored in the vault: a row per activity, and one row of what is enabled.

The rows are the truth that commands are checked against. They hold what earlier commands have changed, durable or on
its way to the disk in the same order. `Timetable` puts in force what they say after each command that was stored.
"""

# Rows, all numbers big-endian:
#
#     schedule.activity.SSSS.AAA.CCCC   number u32, sub-schedule u8, group u8, release time u64 in ns of TAI since 1958,
#                                       then the telecommand packet as it came
#     schedule.state                    enabled u8, then three sets of 32 octets: disabled sub-schedules, known groups,
#                                       disabled groups. Each set is one number whose bit i stands for i.
#
# S, A and C are source, APID and sequence count of the telecommand: its request id. So an id is in the schedule once at
# most, and a row that stands under a key other than its own is foreign. Both rows survive a reboot and are read by the
# software of another version: what does not fit is left out and reported. It stays until `reset_schedule` deletes all
# activities, or the next command about gates writes a state of its own.
#
# `number` orders activities of the same time as they were inserted. It wraps around after 2^32 insertions, which no
# schedule sees.

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from flight.core.errors import DecodeError
from flight.link.pus import PusTc
from flight.link.time.time_code import TIME_NS_MAX
from flight.services.automation.held_commands import request_key
from flight.store.vault import Vault

ID = tuple[int, int, int]
_PREFIX = "schedule.activity."
_STATE = "schedule.state"
_ROW = struct.Struct(">IBBQ")
_SET_OCTETS = 32  # a bit for each of 256


@dataclass(frozen=True, slots=True)
class Activity:
    """A scheduled command. `number` orders equal times, `time_ns` is TAI since 1958, `id` is source, APID and count."""

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
        """By what activities are sorted: time of release, then insertion."""
        return self.time_ns, self.number

    def encode(self) -> bytes:
        """Return the octets of the activity's row."""
        return _ROW.pack(self.number, self.sub_schedule, self.group, self.time_ns) + self.request

    @classmethod
    def decode(cls, octets: bytes) -> Activity:
        """Decode a row. Raises DecodeError, also if the command in it is not a telecommand packet."""
        if len(octets) < _ROW.size:
            raise DecodeError(f"scheduled activity of {len(octets)} octets, at least {_ROW.size} are needed")
        number, sub_schedule, group, time_ns = _ROW.unpack_from(octets)
        if time_ns > TIME_NS_MAX:
            raise DecodeError("release time is beyond the range of the time code")
        request = octets[_ROW.size :]
        PusTc.decode(request)
        return cls(number, sub_schedule, group, time_ns, request, request_key(request))

    def shifted(self, offset_ns: int) -> Activity:
        """Return the activity with its release moved by `offset_ns`. The caller checks the new time."""
        return replace(self, time_ns=self.time_ns + offset_ns)


@dataclass(frozen=True, slots=True)
class Gates:
    """What is enabled. A group is known while it is in `groups`; sub-schedules need not be created."""

    enabled: bool = True
    disabled_sub_schedules: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset({0})
    disabled_groups: frozenset[int] = frozenset()

    def closed(self, activity: Activity) -> str:
        """Name what keeps the activity from its release, empty if nothing does."""
        if not self.enabled:
            return "schedule"
        if activity.sub_schedule in self.disabled_sub_schedules:
            return f"sub-schedule {activity.sub_schedule}"
        return f"group {activity.group}" if activity.group in self.disabled_groups else ""

    def encode(self) -> bytes:
        """Return the octets of the row of what is enabled."""
        sets = (self.disabled_sub_schedules, self.groups, self.disabled_groups)
        return bytes((self.enabled,)) + b"".join(sum(1 << i for i in s).to_bytes(_SET_OCTETS, "big") for s in sets)

    @classmethod
    def decode(cls, octets: bytes) -> Gates:
        """Decode the row of what is enabled. Raises DecodeError if it is of another length."""
        if len(octets) != 1 + 3 * _SET_OCTETS:
            raise DecodeError(f"state of the schedule of {len(octets)} octets, should be {1 + 3 * _SET_OCTETS}")
        bit_sets = [int.from_bytes(octets[at : at + _SET_OCTETS], "big") for at in range(1, len(octets), _SET_OCTETS)]
        sets = [frozenset(i for i in range(8 * _SET_OCTETS) if bit_set >> i & 1) for bit_set in bit_sets]
        # Group 0 always exists, whatever another version may have stored.
        return cls(bool(octets[0]), sets[0], sets[1] | {0}, sets[2])


class ScheduleStore:
    """The rows in `vault`.

    `left_out` is called with key and fault of each row that does not fit this software, every time the rows are read.
    """

    def __init__(self, vault: Vault, left_out: Callable[[str, DecodeError], None]) -> None:
        self._vault = vault
        self._left_out = left_out
        self._decoded: dict[str, tuple[bytes, Activity]] = {}  # by the last call: few rows change between two

    def __contains__(self, id: ID) -> bool:
        return _row(id) in self._vault

    def holds(self, activity: Activity) -> bool:
        """Whether the activity is still stored, and unchanged."""
        return self._vault.get(activity.row) == activity.encode()

    def activities(self) -> dict[ID, Activity]:
        """Return all activities by their request ids, those on their way to the disk included."""
        before, self._decoded = self._decoded, {}
        for name, octets in self._vault.rows(_PREFIX):
            known = before.get(name)
            try:
                activity = known[1] if known is not None and known[0] == octets else _read(name, octets)
            except DecodeError as error:
                self._left_out(_PREFIX + name, error)
            else:
                self._decoded[name] = octets, activity
        return {activity.id: activity for _, activity in self._decoded.values()}

    def gates(self) -> Gates:
        """Return what is enabled; everything is, if nothing is stored or the row does not fit."""
        octets = self._vault.get(_STATE)
        if octets is None:
            return Gates()
        try:
            return Gates.decode(octets)
        except DecodeError as error:
            self._left_out(_STATE, error)
            return Gates()

    def set_gates(self, gates: Gates) -> dict[str, bytes | None]:
        """Return the change that stores what is enabled."""
        return {_STATE: gates.encode()}

    def clear(self) -> dict[str, bytes | None]:
        """Return the change that deletes every activity, foreign rows included."""
        return {_PREFIX + name: None for name, _ in self._vault.rows(_PREFIX)}

    def used(self) -> tuple[int, int]:
        """Return how many activities and octets are held, those that are being released included."""
        rows = self._vault.rows(_PREFIX)
        return len(rows), sum(len(octets) for _, octets in rows)


def _read(name: str, octets: bytes) -> Activity:
    """Decode the activity of a row. Raises DecodeError for what this software would not have stored under that key."""
    activity = Activity.decode(octets)
    if activity.row != _PREFIX + name:
        raise DecodeError(f"it holds the activity of {activity.row}")
    return activity


def _row(id: ID) -> str:
    return "{}{:04x}.{:03x}.{:04x}".format(_PREFIX, *id)
