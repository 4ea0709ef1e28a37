"""ST[20] on-board parameters: settings that ground reads and writes, checked as a set, kept over a loss of power.

A value that was set stands in the vault under the setting's name, `parameter.NAME`. What was not set is at its default.
Other software over the same vault takes what it knows and admits:

    name unknown here                                --> kept aside, untouched
    not of its type, out of its bounds               --> kept aside, the default is in force, an event says so
    in contradiction to another one (Setting.below)  --> the same, for all stored values of the contradiction; the first
                                                         change here deletes them: they must not come back into force by
                                                         themselves when others change
"""

# The invariant: the values in force never contradict each other, and neither do those that would be in force after a
# boot at any instant. So a change is checked against the rows of the vault, which are ahead of what is in force while
# the disk writes, and all rows of one command change in one transaction. The values are put in force when that is
# durable.
#
# A command is checked by itself before it is accepted, and with all other values when its turn comes: commands before
# it may have changed them. A command that would be right only together with a later one is refused. Two settings that
# have to pass each other are set in one command.
#
# Values go by number on the wire and by name in the vault: numbers may change with the software, names may not.

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping

from flight.contract.app import CommandRefused, Durable, EventSink, Sample
from flight.contract.dictionary import Command, Declarations, EventDefinition, Report, Setting, Structure
from flight.contract.failures import Failure
from flight.contract.fields import ROWS_MAX, Field, FieldError, Refers
from flight.contract.parameter_table import admit, check_together, contradiction, decode_table
from flight.contract.service import CommandHandler, Sampler, Service
from flight.core.errors import DecodeError
from flight.services.reporting.telemetry import Telemetry
from flight.store.vault import Vault

_VALUE = struct.Struct(">d")  # holds the value of any setting, whole numbers included
_PREFIX = "parameter."
_REFUSED_EVENTS_MAX = 8  # one event has their number, and the first few have one of their own

_NUMBER = Field("parameter", "u16", refers=Refers.SETTING)
_NUMBERS = (Field("parameters", "rows", fields=(_NUMBER,)),)
_VALUES = (Field("parameters", "rows", fields=(_NUMBER, Field("value", "f64", refers=Refers.SETTING_VALUE))),)


def declare(apid: int) -> Declarations:
    """Return commands, the report, events and the structure of ST[20]."""
    return Declarations(
        structures=(
            Structure(
                apid, 10, "parameters", 60.0,
                (
                    Field("set", "u16", "", "settings with a stored value in force"),
                    Field("unknown", "u16", "", "stored values that this software does not know, kept aside"),
                    Field("refused", "u16", "", "stored values that this software refuses, kept aside"),
                    Field("changes", "u32", "", "commands that took effect since boot"),
                ),
            ),
        ),
        events=(
            EventDefinition(
                apid, 70, "parameters_restored", "info",
                "stored parameters: {set} in force, {unknown} unknown here, {refused} refused",
                (Field("set", "u16"), Field("unknown", "u16"), Field("refused", "u16")),
            ),
            EventDefinition(
                apid, 71, "parameter_refused", "medium", "stored {parameter} kept aside, the default stands: {reason}",
                (Field("parameter", "str"), Field("reason", "str")),
            ),
        ),
        commands=(
            Command("report_parameters", apid, 20, 1, "report these parameters, all if none is named",
                    _NUMBERS, idempotent=True),
            Command("set_parameters", apid, 20, 3, "set parameters, all or none, kept over reboots", _VALUES,
                    durable=True),
            Command("reset_parameters", apid, 20, 128, "back to the defaults, all parameters if none is named",
                    _NUMBERS, durable=True),
            Command("load_parameter_table", apid, 8, 1, "set what the uploaded parameter table says, all or none",
                    (Field("name", "str", text="name of the uploaded file"),), function=10, durable=True),
        ),
        reports=(Report(apid, 20, 2, "parameter_values", _VALUES),),
    )  # fmt: skip


Numbers = tuple[tuple[int], ...]
Rows = tuple[tuple[int, float], ...]


class Parameters(Service):
    """All settings: the defaults, and over them what ground has set last. Reads are plain look-ups.

    `upload` gives the octets of an uploaded file by its name, or raises CommandRefused.
    """

    def __init__(self, apid: int, settings: tuple[Setting, ...], vault: Vault, telemetry: Telemetry,
                 events: EventSink, upload: Callable[[str], bytes]) -> None:  # fmt: skip
        self._apid = apid
        self._settings = {setting.name: setting for setting in settings}
        self._names = {setting.number: setting.name for setting in settings}
        self._values = {setting.name: setting.default for setting in settings}
        self._vault = vault
        self._telemetry = telemetry
        self._upload = upload
        self._report = Report(apid, 20, 2, "", _VALUES).layout
        self._changes = 0
        self._unknown = 0
        self._aside: dict[str, bytes] = {}
        self._contradicting: set[str] = set()
        assert all(setting.below in self._settings for setting in settings if setting.below), "below an unknown setting"
        # Mistakes of our own declarations, not of a mission: found by the first node that boots.
        assert contradiction(settings, self._values) is None, "the defaults contradict each other"
        self._restore(events)

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handlers of ST[20], and of loading a table."""
        return (
            CommandHandler("report_parameters", self.check_numbers, self.report),
            CommandHandler("set_parameters", self.check_rows, self.set_rows),
            CommandHandler("reset_parameters", self.check_numbers, self.reset),
            CommandHandler(
                "load_parameter_table",
                lambda name: self.check_table(self._upload(name)),
                lambda name: self.load(self._upload(name)),
            ),
        )

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the structure "parameters"."""
        return (Sampler("parameters", self._sample),)

    def get(self, name: str) -> float:
        """Return the value in force of the setting called `name`, one of the dictionary's."""
        return self._values[name]

    def check_numbers(self, numbers: Numbers) -> None:
        """Raise CommandRefused for a number that no setting has."""
        for (number,) in numbers:
            if number not in self._names:
                raise CommandRefused(Failure.BAD_VALUE, f"no parameter {number}")

    def check_rows(self, rows: Rows) -> None:
        """Check each row by itself. Raises CommandRefused."""
        if not rows:
            raise CommandRefused(Failure.BAD_VALUE, "no parameter is named")
        self._named(rows)

    def check_table(self, octets: bytes) -> None:
        """Check the file by itself. Raises CommandRefused."""
        self._table(octets)

    def report(self, numbers: Numbers) -> None:
        """Send the values in force of the settings with these numbers, of all settings if there are none."""
        names = [self._names[number] for (number,) in numbers] or list(self._settings)
        # A report counts its rows in an octet: more settings than that need more reports.
        for first in range(0, len(names), ROWS_MAX):
            part = names[first : first + ROWS_MAX]
            rows = tuple((self._settings[name].number, self._values[name]) for name in part)
            self._telemetry.send(self._apid, 20, 2, self._report.encode((rows,)))

    def set_rows(self, rows: Rows) -> Durable:
        """Return what a command leaves to be done to set values. Raises CommandRefused."""
        return self._change(self._named(rows))

    def load(self, octets: bytes) -> Durable:
        """Return what a command leaves to be done to set what a table says. Raises CommandRefused."""
        return self._change(self._table(octets))

    def reset(self, numbers: Numbers) -> Durable:
        """Return what a command leaves to be done to go back to defaults. Raises CommandRefused."""
        names = [self._names[number] for (number,) in numbers] or list(self._settings)
        return self._change(dict.fromkeys(names))

    def _named(self, rows: Rows) -> dict[str, float]:
        """Return the values by name, each admitted by its own setting. Raises CommandRefused."""
        values: dict[str, float] = {}
        for number, value in rows:
            self.check_numbers(((number,),))
            setting = self._settings[self._names[number]]
            if setting.name in values:
                raise CommandRefused(Failure.BAD_VALUE, f"{setting.name} is given twice")
            try:
                values[setting.name] = admit(setting, value)
            except FieldError as error:
                raise CommandRefused(Failure.BAD_VALUE, str(error)) from None
        return values

    def _table(self, octets: bytes) -> dict[str, float]:
        try:
            return decode_table(octets, list(self._settings.values()))
        except DecodeError as error:
            raise CommandRefused(Failure.BAD_VALUE, str(error)) from None

    def _change(self, wanted: Mapping[str, float | None]) -> Durable:
        """Return one transaction to the values `wanted`, None for the default.

        Raises CommandRefused if the set of all values that would then be stored contradicts itself.
        """
        values = {name: self._settings[name].default if value is None else value for name, value in wanted.items()}
        held = {name: self._held(setting) for name, setting in self._settings.items()}
        try:
            check_together(self._settings.values(), held | values)
        except FieldError as error:
            raise CommandRefused(Failure.BAD_VALUE, str(error)) from None
        # Values that contradicted each other at boot go with the first change, whatever it is about.
        rows: dict[str, bytes | None] = {_PREFIX + name: None for name in self._contradicting if self._is_aside(name)}
        for name, value in wanted.items():
            if value is not None:
                rows[_PREFIX + name] = _VALUE.pack(value)
            # A default has no row. Deleting only what is there keeps the transaction small.
            elif _PREFIX + name in self._vault:
                rows[_PREFIX + name] = None
        return Durable(rows, lambda: self._take_effect(values))

    def _take_effect(self, values: Mapping[str, float]) -> None:
        self._values.update(values)
        self._changes += 1

    def _is_aside(self, name: str) -> bool:
        """Whether the vault still has what was kept aside at boot: that very object, not an equal one set since."""
        # `is`, not `==`: the vault gives the object that it holds, so a row written since boot is another one.
        return name in self._aside and self._vault.get(_PREFIX + name) is self._aside[name]

    def _held(self, setting: Setting) -> float:
        """Return the value by the vault, which is ahead of the one in force while the disk writes."""
        octets = self._vault.get(_PREFIX + setting.name)
        if octets is None or self._is_aside(setting.name):
            return setting.default
        value: float = _VALUE.unpack(octets)[0]
        return value

    def _restore(self, events: EventSink) -> None:
        """Lay the stored values that this software admits over the defaults."""
        refused: dict[str, str] = {}
        stored: dict[str, float] = {}
        rows = dict(self._vault.rows(_PREFIX))
        for name, octets in rows.items():
            setting = self._settings.get(name)
            if setting is None:
                # Another version's, perhaps of tomorrow: left in the vault for its return.
                self._unknown += 1
                continue
            if len(octets) != _VALUE.size:
                refused[name] = f"length {len(octets)}, should be {_VALUE.size} octets"
                continue
            try:
                stored[name] = admit(setting, _VALUE.unpack(octets)[0])
            except FieldError as error:
                refused[name] = str(error)
        self._contradicting = self._settle(stored, refused)
        self._aside = {name: rows[name] for name in refused}
        self._values.update(stored)
        if rows:
            events.emit("parameters_restored", len(stored), self._unknown, len(refused))
        for name, reason in list(refused.items())[:_REFUSED_EVENTS_MAX]:
            events.emit("parameter_refused", name, reason)

    def _settle(self, stored: dict[str, float], refused: dict[str, str]) -> set[str]:
        """Move stored values that contradict each other, or a default, to `refused`. Return their names."""
        moved: set[str] = set()
        while (pair := contradiction(self._settings.values(), self._values | stored)) is not None:
            values = self._values | stored
            reason = f"{pair[0]} {values[pair[0]]:g} is not below {pair[1]} {values[pair[1]]:g}"
            for name in pair:
                if name in stored:
                    del stored[name]
                    refused[name] = reason
                    moved.add(name)
        return moved

    def _sample(self) -> Sample:
        held = [name for name in self._settings if _PREFIX + name in self._vault]
        refused = sum(self._is_aside(name) for name in held)
        return {
            "set": len(held) - refused,
            "unknown": self._unknown,
            "refused": refused,
            "changes": self._changes,
        }
