"""ST[05] event reporting: four severities, one bounded line of log each, switched event by event from ground.

The event definitions of an APID are its own (ECSS-E-ST-70-41C, 6.5): each APID that has events also has the commands,
with the event numbers of that APID.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable

from structlog.typing import FilteringBoundLogger

from flight.contract.app import CommandRefused, Durable
from flight.contract.dictionary import SEVERITIES, Command, Declarations, EventDefinition, Report
from flight.contract.failures import Failure
from flight.contract.fields import ROWS_MAX, Field, Layout, Refers, Value
from flight.contract.service import CommandHandler, Service
from flight.services.reporting.event_gate import BOOT, THROTTLED, EventGate, row_of
from flight.services.reporting.telemetry import Telemetry

_LOG_LEVELS = {"info": "info", "low": "warning", "medium": "error", "high": "critical"}
_NUMBER_OCTETS = 2


def declare(apid: int) -> Declarations:
    """Return the events of the node itself, those with no better owner."""
    return Declarations(
        events=(
            EventDefinition(
                apid, 1, BOOT, "info", "boot {count} after {cause}, dictionary {dictionary}",
                (Field("count", "u32"), Field("cause", "str"),
                 Field("dictionary", "str", text="first octets of its sha256"),
                 Field("epoch", "u64", text="drawn at each boot")),
            ),
            EventDefinition(
                apid, 2, "task_failed", "high", "task {task} failed: {error}",
                (Field("task", "str"), Field("error", "str")),
            ),
            EventDefinition(
                apid, 3, "device_fault", "medium", "{device}: {fault}",
                (Field("device", "str"), Field("fault", "str")),
            ),
            EventDefinition(apid, 4, "device_recovered", "info", "{device} answers again", (Field("device", "str"),)),
            EventDefinition(
                apid, 6, "task_given_up", "high", "task {task} fails again and again, {action}",
                (Field("task", "str"), Field("action", "str")),
            ),
            EventDefinition(
                apid, 5, "record_damaged", "medium", "stored {record} was damaged, {action}",
                (Field("record", "str"), Field("action", "str")),
            ),
            EventDefinition(
                apid, 7, "record_not_stored", "medium", "{record}: not stored, {reason}",
                (Field("record", "str"), Field("reason", "str")),
            ),
            EventDefinition(
                apid, 105, THROTTLED, "low", "{count} more of event {event} were not reported",
                (Field("event_apid", "u16", refers=Refers.APPLICATION),
                 Field("event_number", "u16", refers=Refers.EVENT), Field("event", "str"),
                 Field("count", "u32")),
            ),
            EventDefinition(
                apid, 106, "event_switch_dropped", "low", "event {event} was disabled and is not of this software",
                (Field("event", "str", text="APID.number"),),
            ),
            EventDefinition(
                apid, 107, "task_returned", "low", "task {task} returned at once, it is not run again",
                (Field("task", "str"),),
            ),
        )
    )  # fmt: skip


def declare_switch(apid: int, prefix: str = "") -> Declarations:
    """Return the commands and the report of one APID. `prefix` tells their names from those of another APID."""
    rows = Field(
        "events", "rows", "", f"numbers of events of APID {apid}", fields=(Field("event", "u16", refers=Refers.EVENT),)
    )
    return Declarations(
        commands=(
            Command(f"{prefix}enable_events", apid, 5, 5, "report events again, kept over reboots", (rows,),
                    durable=True),
            Command(f"{prefix}disable_events", apid, 5, 6, "report events no more, kept over reboots", (rows,),
                    durable=True),
            Command(f"{prefix}report_disabled_events", apid, 5, 7, "report which events are disabled", idempotent=True),
        ),
        reports=(Report(apid, 5, 8, f"{prefix}disabled_events", (rows,)),),
    )  # fmt: skip


class Events(Service):
    """The event sink of one APID.

    An event that the dictionary does not have is our own mistake: `emit` raises KeyError then. Without a gate
    everything is reported. `prefix` tells the names of its commands from those of another APID.
    """

    def __init__(self, apid: int, declared: tuple[EventDefinition, ...], telemetry: Telemetry,
                 log: FilteringBoundLogger, gate: EventGate | None = None, prefix: str = "") -> None:  # fmt: skip
        self.counts: Counter[str] = Counter()
        self._apid = apid
        self._definitions = {e.name: (e, e.layout) for e in declared if e.apid == apid}
        # One report lists all disabled events, and counts its rows in an octet.
        assert len(self._definitions) <= ROWS_MAX, len(self._definitions)
        self._telemetry = telemetry
        self._log = log
        self._gate = gate
        self._prefix = prefix
        self._listeners: list[Callable[[EventDefinition], None]] = []

    def listen(self, listener: Callable[[EventDefinition], None]) -> None:
        """Call `listener` at the end of each `emit`, also for an event that is disabled or throttled.

        What the node does about an event does not depend on whether ground wants to read of it.
        """
        self._listeners.append(listener)

    def emit(self, name: str, *values: Value) -> None:
        """Take in that the event `name` has occurred: count it, and report it if the gate admits it."""
        definition, layout = self._definitions[name]
        self.counts[definition.severity] += 1
        if self._gate is None or self._gate.admit(definition):
            self._report(definition, layout, values)
        for listener in self._listeners:
            listener(definition)

    def _report(self, definition: EventDefinition, layout: Layout, values: tuple[Value, ...]) -> None:
        data = definition.number.to_bytes(_NUMBER_OCTETS, "big") + layout.encode(values)
        self._telemetry.send(self._apid, 5, definition.subtype, data)
        shown = {f.name: f.label(v) for f, v in zip(definition.fields, values, strict=True)}
        # The log has the text that ground has: one definition for both.
        log = getattr(self._log, _LOG_LEVELS[definition.severity])
        log(definition.text.format(**shown), event_name=definition.name)

    def by_severity(self) -> dict[str, int]:
        """Return how many events of each severity have occurred since boot, reported or not."""
        return {severity: self.counts[severity] for severity in SEVERITIES}

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handlers of ST[05] for this APID."""
        prefix, switch = self._prefix, self._switch
        return (
            CommandHandler(f"{prefix}enable_events", self._check, functools.partial(switch, True)),
            CommandHandler(f"{prefix}disable_events", self._check_disable, functools.partial(switch, False)),
            CommandHandler(f"{prefix}report_disabled_events", None, self._report_disabled),
        )

    def _check(self, rows: tuple[tuple[int], ...]) -> None:
        known = {definition.number for definition, _ in self._definitions.values()}
        for (number,) in rows:
            if number not in known:
                raise CommandRefused(Failure.BAD_VALUE, f"no event {number} of APID {self._apid}")

    def _check_disable(self, rows: tuple[tuple[int], ...]) -> None:
        self._check(rows)
        boot = self._definitions.get(BOOT)
        if boot is not None and (boot[0].number,) in rows:
            raise CommandRefused(Failure.BAD_VALUE, f"event {boot[0].number} tells of a boot and cannot be disabled")

    def _switch(self, enabled: bool, rows: tuple[tuple[int], ...]) -> Durable:
        assert self._gate is not None
        gate, keys = self._gate, [(self._apid, number) for (number,) in rows]
        # A row stands for a disabled event: what is enabled needs none.
        return Durable(
            {row_of(*event_key): None if enabled else b"" for event_key in keys}, lambda: gate.switch(enabled, keys)
        )

    def _report_disabled(self) -> None:
        assert self._gate is not None
        numbers = self._gate.off(self._apid)
        data = bytes((len(numbers),)) + b"".join(number.to_bytes(_NUMBER_OCTETS, "big") for number in numbers)
        self._telemetry.send(self._apid, 5, 8, data)
