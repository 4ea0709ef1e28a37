"""The API's answers about telemetry: newest values, parameters, events, packets as they come, and reports in rows."""

from __future__ import annotations

from typing import Any

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Plain
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from ground.commands.names import choices, choices_with_fields
from ground.exact_values import jsonable, jsonable_all
from ground.station import GroundStation
from ground.telemetry.decoder import EVENT, DecodedPacket, parameter_rows
from ground.telemetry.intake import ANSWER, CORRELATION


def latest(station: GroundStation, name: str, now_ns: int) -> dict[str, dict[str, Plain]]:
    """Return the newest values of the parameter `name`, of the structure `name`, or of all if it is empty.

    Raises OrbitnodeError for a name that no telemetry will ever have.
    """
    # Packet times are the on-board clock's, so ages are counted by that clock: if it is an hour behind ours, a value of
    # this moment must not look an hour old. Samples of the correlation alone bear the ground's time.
    ground_ns, onboard_ns = station.tai_ns(now_ns), station.onboard_clock(now_ns).onboard_ns
    values: dict[str, dict[str, Plain]] = {
        key: {"value": jsonable(newest.value), "raw": jsonable(newest.raw), "unit": newest.unit, "state": newest.state,
              "has_limits": newest.has_limits,
              "time": station.utc_text(newest.time_ns),
              "age_s": round(((ground_ns if key.startswith(CORRELATION) else onboard_ns) - newest.time_ns) / NS, 3)}
        for key, newest in sorted(station.latest.items())
        if not name or key == name or key.startswith(f"{name}.")
    }  # fmt: skip
    if not values:  # nothing yet, or a mistyped name? Only the second is an error
        check_known(station.dictionary, name)
    return values


def check_known(dictionary: Dictionary, name: str) -> None:
    """Raise OrbitnodeError for a name that no telemetry will ever have.

    Structures defined from ground, structures with rows, and answers of worker apps may still bring a name that the
    dictionary does not list.
    """
    structures = {s.name: s for s in dictionary.structures}
    head, dot, _ = name.partition(".")
    if not name or head.startswith("hk-") or head in ("correlation", "parameter", ANSWER):
        return
    structure = structures.get(head)
    if structure is None:
        every = [f"{s.name}.{f.name}" for s in dictionary.structures for f in s.fields]
        meant = choices_with_fields(name, every, [*structures]) if not dot else choices(head, [*structures])
        raise OrbitnodeError(f"no telemetry is called {name!r}, {meant}")
    fields = [f"{head}.{f.name}" for f in structure.fields]
    if dot and name not in fields and not any(f.type == "rows" for f in structure.fields):
        raise OrbitnodeError(f"no telemetry is called {name!r}, {choices(name, fields)}")


def parameters(station: GroundStation, now_ns: int) -> list[dict[str, Any]]:
    """Return the settings as the dictionary's document has them, each with `latest`: its newest value, or None."""
    values = latest(station, "parameter", now_ns)
    rows: list[dict[str, Any]] = station.dictionary.document()["settings"]
    return [row | {"latest": values.get(f"parameter.{row['name']}")} for row in rows]


def events(station: GroundStation, severity: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest events, oldest first: those of one severity, or of all if it is empty."""
    rows = [
        _event(station, e.time_ns, e.name, e.severity, e.text)
        for e in sorted(station.events, key=lambda e: e.time_ns)
        if severity in ("", e.severity)
    ]
    return rows[-limit:]


def packet_line(station: GroundStation, packet: DecodedPacket) -> dict[str, Any]:
    """Return a packet for those who follow: an event as `events` gives it, any other with its values and states."""
    time_ns = packet.time_ns or 0
    if packet.kind == EVENT:
        return _event(station, time_ns, packet.name, packet.severity, packet.text)
    newest = station.latest
    states = {n: newest[key].state for n in packet.values if (key := f"{packet.name}.{n}") in newest}
    return {"packet": packet.name, "kind": packet.kind, "time": station.utc_text(time_ns),
            "values": jsonable_all(packet.values), "states": states}  # fmt: skip


def report_rows(station: GroundStation, packet: DecodedPacket) -> list[dict[str, Plain]]:
    """Return the values of a report as rows: one per parameter for those of ST[20], none for a report without data."""
    dictionary = station.dictionary
    report = next((r for r in dictionary.reports if r.name == packet.name), None)
    if report is None or not report.fields:
        return []
    names: dict[int, Plain] = {setting.number: setting.name for setting in dictionary.settings}
    rows = parameter_rows(packet)
    if rows:
        return [{"parameter": names.get(number, number), "value": jsonable(value)} for number, value in rows]
    every = (f for field in report.fields for f in (field, *field.fields))
    times = {field.name for field in every if field.type == "time"}
    return [{name: _shown(station, name.rpartition(".")[2] in times, value) for name, value in packet.values.items()}]


def _shown(station: GroundStation, is_time: bool, value: Plain) -> Plain:
    """Return a value of a report as it is shown: packet time as UTC, 0 as no time."""
    if is_time and isinstance(value, int):
        return station.utc_text(value) if value else ""
    return jsonable(value)


def _event(station: GroundStation, time_ns: int, name: str, severity: str, text: str) -> dict[str, Any]:
    return {"time": station.utc_text(time_ns), "event": name, "severity": severity, "text": text}
