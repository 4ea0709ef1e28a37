"""The node's table of leap seconds: what was built in, and what ground has added to it by command.

On-board time is TAI and knows nothing of leap seconds. The table serves what turns TAI into UTC or back: the node's
log, and a computer whose own clock goes by UTC (`Platform.leap_seconds`).
"""

# What is stored, in one row of the vault, is the whole table that a command has put in force. At a boot the built-in
# table and the stored one have to agree, and the one that is known for longer is in force. So newer software brings a
# newer table, and older software keeps what is stored; if the two contradict one another, by a row or by the lack of
# one, the stored row is foreign and stays as it is. Only the difference would not do: other software would add it to
# another table, and nobody could see that a row is missing between the two.
#
# Ground can go back to the built-in table (`reset_leap_seconds`): whoever announced a wrong leap second, or an expiry
# too far away, is not stuck with it.
#
# A command is checked by itself before it is accepted, and again when its turn comes, against what the vault has by
# then: two commands with the same leap second are queued, the second one is refused.
#
# News in time, that is before a leap second, move no clock. News that come late do: a computer that goes by UTC was a
# second behind since the leap second, and its time is set right as the table takes effect. The event says by how much.
#
# A table that is old may be right or wrong; the node cannot know. It says so by an event, once per boot, and goes on.

from __future__ import annotations

import struct
from collections.abc import Iterable

from flight.contract.app import CommandRefused, Durable, EventSink, Sample
from flight.contract.dictionary import Command, Declarations, EventDefinition, Structure
from flight.contract.failures import Failure
from flight.contract.fields import Field
from flight.contract.service import CommandHandler, Sampler, Service, ServiceTask
from flight.core.nanoseconds import NS
from flight.core.platform import Platform
from flight.core.task import Task
from flight.core.utc.leap_seconds import BUILT_IN, MJD_MAX, MJD_MIN, LeapRow, LeapSeconds
from flight.core.utc.utc_time import date_of
from flight.services.settings.foreign_rows import ForeignRows
from flight.services.time.clock import Clock
from flight.store.vault import Vault

_KEY = "time.leap_seconds"
_HEAD = struct.Struct(">I")  # the expiry
_ROW = struct.Struct(">Ih")  # a row: its day, and TAI - UTC from then on
_LOOK_S = 3600.0  # between two looks at the expiry, which is a matter of days

Rows = tuple[tuple[int, int], ...]


def declare(apid: int) -> Declarations:
    """Return commands, events and the structure of the table of leap seconds."""
    mjd = Field("mjd", "u32", "d", "Modified Julian Day that begins behind the leap second", (), MJD_MIN, MJD_MAX)
    tai_utc = Field("tai_utc_s", "i16", "s", "TAI - UTC from then on")
    return Declarations(
        structures=(
            Structure(
                apid, 12, "leap_seconds", 60.0,
                (
                    Field("tai_utc_s", "i16", "s", "TAI - UTC now"),
                    Field("last_mjd", "u32", "d", "day of the last row of the table, MJD"),
                    Field("last_tai_utc_s", "i16", "s", "TAI - UTC from that day on"),
                    Field("expires_mjd", "u32", "d", "first day for which the table says nothing, MJD"),
                    Field("old", "u8", "", "whether that day has come", labels=("no", "yes")),
                    Field("added", "u8", "", "rows that ground has added"),
                ),
            ),
        ),
        events=(
            EventDefinition(
                apid, 112, "leap_seconds_changed", "info",
                "TAI - UTC is {tai_utc_s} s from {since} on, known until {expires}; the clock moved by {moved_s:g} s",
                (Field("tai_utc_s", "i16", "s"), Field("since", "str"), Field("expires", "str"),
                 Field("moved_s", "f64", "s")),
            ),
            EventDefinition(
                apid, 113, "leap_seconds_old", "medium",
                "the table of leap seconds says nothing from {expires} on: ground should send a newer one",
                (Field("expires", "str"),),
            ),
        ),
        commands=(
            Command(
                "add_leap_seconds", apid, 8, 1,
                "add leap seconds behind those known, or let the table hold longer; kept over reboots",
                (Field("expires_mjd", "u32", "d", "first day for which nothing is known, MJD", (), MJD_MIN, MJD_MAX),
                 Field("leap_seconds", "rows", "", "none if there was none", fields=(mjd, tai_utc))),
                function=22, durable=True,
            ),
            Command(
                "reset_leap_seconds", apid, 8, 1, "forget the leap seconds that ground has added",
                function=23, durable=True,
            ),
        ),
    )  # fmt: skip


class LeapSecondTable(Service):
    """Serves the commands about the table, puts it in force, and says when it is old."""

    def __init__(self, platform: Platform, clock: Clock, vault: Vault, events: EventSink) -> None:
        self._platform = platform
        self._clock = clock
        self._vault = vault
        self._events = events
        self._told_old = False
        _, damage = stored_table(vault)
        self._foreign = vault.get(_KEY) if damage else None  # a stored row that does not fit, left as it is
        if damage:
            ForeignRows("time", events).report(_KEY, damage)

    @property
    def table(self) -> LeapSeconds:
        """The table in force."""
        return self._platform.leap_seconds

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handlers of the commands about the table."""
        return (
            CommandHandler("add_leap_seconds", self.check_add, self.add),
            CommandHandler("reset_leap_seconds", None, self.reset),
        )

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the structure "leap_seconds"."""
        return (Sampler("leap_seconds", self._sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that looks whether the table is old."""
        return (ServiceTask("leap_seconds", self._run, deadline_s=5.0),)

    async def _run(self, task: Task) -> None:
        async for _ in task.every(_LOOK_S):
            self.look()

    def look(self) -> None:
        """Report once that the table is old, if it is."""
        if self.table.is_old(self._clock.tai_ns()) and not self._told_old:
            self._told_old = True
            self._events.emit("leap_seconds_old", date_of(self.table.expires_mjd).isoformat())

    def _latest(self) -> LeapSeconds:
        """Return the table that was decided last, in force or on its way there."""
        stored = self._vault.get(_KEY)
        return BUILT_IN if stored is None or stored == self._foreign else _decode(stored)

    def _extended(self, expires_mjd: int, rows: Rows) -> LeapSeconds:
        """Return the latest table with more rows. Raises CommandRefused."""
        try:
            return self._latest().extended((LeapRow(*row) for row in rows), expires_mjd)
        except ValueError as error:
            raise CommandRefused(Failure.BAD_VALUE, str(error)) from None

    def check_add(self, expires_mjd: int, rows: Rows) -> None:
        """Raise CommandRefused for news that do not continue the table that was decided last."""
        self._extended(expires_mjd, rows)

    def add(self, expires_mjd: int, rows: Rows) -> Durable:
        """Return what a command leaves to be done to add to the table. Raises CommandRefused."""
        table = self._extended(expires_mjd, rows)  # again: other commands may have come before it
        return Durable({_KEY: _encode(table)}, lambda: self._take_effect(table))

    def reset(self) -> Durable:
        """Return what a command leaves to be done to go back to the built-in table."""
        return Durable({_KEY: None}, lambda: self._take_effect(BUILT_IN))

    def _take_effect(self, table: LeapSeconds) -> None:
        now_ns = self._platform.now_ns()
        before_ns = self._clock.tai_at(now_ns)
        self._platform.leap_seconds = table
        moved_s = round((self._clock.tai_at(now_ns) - before_ns) / NS, 3) + 0.0  # which makes -0.0 a plain zero
        self._told_old = False
        last = table.rows[-1]
        since, expires = (date_of(mjd).isoformat() for mjd in (last.mjd, table.expires_mjd))
        self._events.emit("leap_seconds_changed", last.tai_utc_s, since, expires, moved_s)
        self.look()

    def _sample(self) -> Sample:
        table, tai_ns = self.table, self._clock.tai_ns()
        last = table.rows[-1]
        return {
            "tai_utc_s": table.tai_utc_s(tai_ns),
            "last_mjd": last.mjd,
            "last_tai_utc_s": last.tai_utc_s,
            "expires_mjd": table.expires_mjd,
            "old": int(table.is_old(tai_ns)),
            "added": len(set(table.rows) - set(BUILT_IN.rows)),
        }


def stored_table(vault: Vault) -> tuple[LeapSeconds, str]:
    """Return the table to begin a boot with, and why the stored one is not in force, if so."""
    stored = vault.get(_KEY)
    try:
        return BUILT_IN if stored is None else _decode(stored), ""
    except ValueError as error:
        return BUILT_IN, str(error)


def _encode(table: LeapSeconds) -> bytes:
    return _HEAD.pack(table.expires_mjd) + b"".join(_ROW.pack(*row) for row in table.rows)


def _decode(stored: bytes) -> LeapSeconds:
    """Return the built-in table, or the stored one if it is known for longer.

    Raises ValueError for what is not a table, or contradicts the built-in one.
    """
    if len(stored) < _HEAD.size or (len(stored) - _HEAD.size) % _ROW.size:
        raise ValueError(f"{len(stored)} octets, should be {_HEAD.size} and {_ROW.size} for each leap second")
    (expires_mjd,) = _HEAD.unpack_from(stored)
    rows = tuple(LeapRow(*row) for row in _ROW.iter_unpack(stored[_HEAD.size :]))
    return BUILT_IN.longer_of(LeapSeconds(rows, expires_mjd))
