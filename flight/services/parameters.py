"""ST[20] parameter management: settings that ground reads and writes, kept over power loss."""

from __future__ import annotations

import struct

from flight.app import CommandRefused
from flight.core.generations import Generations
from flight.dictionary import Command, Declarations, Report, Setting
from flight.fields import Field
from flight.services.events import Events
from flight.services.telemetry import Telemetry
from flight.services.verification import BAD_VALUE

_ENTRY = struct.Struct(">Hd")
_VALUE = (Field("parameter", "u16"), Field("value", "f64"))


def declare(apid: int) -> Declarations:
    return Declarations(
        commands=(
            Command("report_parameter", apid, 20, 1, "report the value of a parameter", _VALUE[:1]),
            Command("set_parameter", apid, 20, 3, "set a parameter, kept over reboots", _VALUE),
        ),
        reports=(Report(apid, 20, 2, "parameter_value", _VALUE),),
    )


class Parameters:
    """The set of settings: defaults overlaid by what ground last set. Reads are plain look-ups."""

    def __init__(self, apid: int, settings: tuple[Setting, ...], record: Generations, telemetry: Telemetry,
                 events: Events) -> None:  # fmt: skip
        self._apid = apid
        self._settings = {s.number: s for s in settings}
        self._numbers = {s.name: s.number for s in settings}
        self._values = {s.number: s.default for s in settings}
        self._record = record
        self._telemetry = telemetry
        self._events = events
        self._load()

    def get(self, name: str) -> float:
        """The value of the setting called `name`, one of the dictionary's."""
        return self._values[self._numbers[name]]

    def check_report(self, number: int) -> None:
        if number not in self._settings:
            raise CommandRefused(BAD_VALUE, f"no parameter {number}")

    def check_set(self, number: int, value: float) -> None:
        self.check_report(number)
        setting = self._settings[number]
        if not setting.minimum <= value <= setting.maximum:
            bounds = f"{setting.minimum:g} .. {setting.maximum:g} {setting.unit}".rstrip()
            raise CommandRefused(BAD_VALUE, f"{setting.name}: {value:g} is outside {bounds}")

    def report(self, number: int) -> None:
        self._telemetry.send(self._apid, 20, 2, _ENTRY.pack(number, self._values[number]))

    async def set(self, number: int, value: float) -> None:
        """Store the value, then take it: in force is only what would survive power loss. Raises StorageError."""
        values = self._values | {number: value}
        changed = ((n, v) for n, v in sorted(values.items()) if v != self._settings[n].default)
        await self._record.save(b"".join(_ENTRY.pack(n, v) for n, v in changed))
        self._values = values

    def _load(self) -> None:
        """Overlay the stored values. One this software does not know, or would refuse, keeps its default."""
        content = self._record.load()
        if self._record.damaged:
            self._events.emit("record_damaged", "parameters", "the other generation or defaults stand")
        whole, odd = divmod(len(content or b""), _ENTRY.size)
        if odd:
            self._events.emit("record_damaged", "parameters", f"{odd} octets left over were ignored")
        for number, value in _ENTRY.iter_unpack((content or b"")[: whole * _ENTRY.size]):
            try:
                self.check_set(number, value)
            except CommandRefused as refusal:
                self._events.emit("record_damaged", "parameters", f"kept the default: {refusal}")
            else:
                self._values[number] = value
