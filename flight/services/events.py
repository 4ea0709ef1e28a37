"""ST[05] event reporting: four severities, one bounded line of log each."""

from __future__ import annotations

from collections import Counter

from structlog.typing import FilteringBoundLogger

from flight.dictionary import SEVERITIES, Declarations, EventDefinition
from flight.fields import Field, Value
from flight.services.telemetry import Telemetry

_LOG_LEVELS = {"info": "info", "low": "warning", "medium": "error", "high": "critical"}
_NUMBER_OCTETS = 2


def declare(apid: int) -> Declarations:
    """Events of the node itself, those with no better owner."""
    return Declarations(
        events=(
            EventDefinition(
                apid, 1, "boot", "info", "boot {count} after {cause}, dictionary {dictionary}",
                (Field("count", "u32"), Field("cause", "str"),
                 Field("dictionary", "str", text="first octets of its sha256")),
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
        )
    )  # fmt: skip


class Events:
    """The event sink of one APID. An event the dictionary does not have is our own mistake."""

    def __init__(self, apid: int, declared: tuple[EventDefinition, ...], telemetry: Telemetry,
                 log: FilteringBoundLogger) -> None:  # fmt: skip
        self.counts: Counter[str] = Counter()
        self._apid = apid
        self._definitions = {e.name: (e, e.layout) for e in declared if e.apid == apid}
        self._telemetry = telemetry
        self._log = log

    def emit(self, name: str, *values: Value) -> None:
        definition, layout = self._definitions[name]
        self.counts[definition.severity] += 1
        data = definition.number.to_bytes(_NUMBER_OCTETS, "big") + layout.encode(values)
        self._telemetry.send(self._apid, 5, definition.subtype, data)
        shown = {f.name: f.label(v) for f, v in zip(definition.fields, values, strict=True)}
        log = getattr(self._log, _LOG_LEVELS[definition.severity])
        log(definition.text.format(**shown), event_name=name)

    def by_severity(self) -> dict[str, int]:
        return {severity: self.counts[severity] for severity in SEVERITIES}
