"""What the API says of telemetry: newest values, parameters, events, packets as they come, and reports in rows."""

from __future__ import annotations

from typing import Any

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Plain
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS, utc_text
from ground.commands.names import choices
from ground.exact_values import jsonable, jsonable_all
from ground.station import GroundStation
from ground.telemetry.decoder import EVENT, DecodedPacket, parameter_rows
from ground.telemetry.intake import ANSWER, CORRELATION


def latest(station: GroundStation, name: str, now_ns: int) -> dict[str, dict[str, Plain]]:
    """Newest values of the parameters called `name`, of the structure `name`, or of all."""
    ground_ns, onboard_ns = station.tai_ns(now_ns), station.onboard_clock(now_ns).onboard_ns
    return {
        key: {"value": jsonable(one.value), "raw": jsonable(one.raw), "unit": one.unit, "state": one.state,
              "time": utc_text(one.time_ns),
              "age_s": round(((ground_ns if key.startswith(CORRELATION) else onboard_ns) - one.time_ns) / NS, 3)}
        for key, one in sorted(station.latest.items())
        if not name or key == name or key.startswith(f"{name}.")
    }  # fmt: skip


def check_known(dictionary: Dictionary, name: str) -> None:
    """Raises OrbitnodeError for a name that no telemetry will ever have; structures defined from ground, those that
    hold rows, and answers of worker apps may still bring it.
    """
    structures = {s.name: s for s in dictionary.structures}
    head, dot, _ = name.partition(".")
    if not name or head.startswith("hk-") or head in ("correlation", "parameter", ANSWER):
        return
    one = structures.get(head)
    if one is None:
        raise OrbitnodeError(f"no telemetry is called {name!r}, {choices(head, list(structures))}")
    fields = [f"{head}.{f.name}" for f in one.fields]
    if dot and name not in fields and not any(f.type == "rows" for f in one.fields):
        raise OrbitnodeError(f"no telemetry is called {name!r}, {choices(name, fields)}")


def parameters(station: GroundStation, now_ns: int) -> list[dict[str, Any]]:
    """The settings as the dictionary's document has them, and `latest`: the newest value, None before one came."""
    values = latest(station, "parameter", now_ns)
    rows: list[dict[str, Any]] = station.dictionary.document()["settings"]
    return [row | {"latest": values.get(f"parameter.{row['name']}")} for row in rows]


def events(station: GroundStation, severity: str, limit: int) -> list[dict[str, Any]]:
    """The newest events, oldest first; of one severity, or of all if it is empty."""
    rows = [
        _event(e.time_ns, e.name, e.severity, e.text)
        for e in sorted(station.events, key=lambda e: e.time_ns)
        if severity in ("", e.severity)
    ]
    return rows[-limit:]


def packet_line(station: GroundStation, packet: DecodedPacket) -> dict[str, Any]:
    """A packet for those who follow: an event as events are shown, any other with its values and their states."""
    time_ns = packet.time_ns or 0
    if packet.kind == EVENT:
        return _event(time_ns, packet.name, packet.severity, packet.text)
    newest = station.latest
    states = {n: newest[key].state for n in packet.values if (key := f"{packet.name}.{n}") in newest}
    return {"packet": packet.name, "kind": packet.kind, "time": utc_text(time_ns),
            "values": jsonable_all(packet.values), "states": states}  # fmt: skip


def report_rows(dictionary: Dictionary, packet: DecodedPacket) -> list[dict[str, Plain]]:
    """The values of a report; of parameters one row each, by name. Of a report that has nothing to tell, none."""
    report = next((r for r in dictionary.reports if r.name == packet.name), None)
    if report is None or not report.fields:
        return []
    names: dict[int, Plain] = {setting.number: setting.name for setting in dictionary.settings}
    rows = parameter_rows(packet)
    if rows:
        return [{"parameter": names.get(number, number), "value": jsonable(value)} for number, value in rows]
    every = (f for one in report.fields for f in (one, *one.fields))
    times = {one.name for one in every if one.type == "time"}
    return [{name: _shown(name.rpartition(".")[2] in times, value) for name, value in packet.values.items()}]


def _shown(is_time: bool, value: Plain) -> Plain:
    """A value for a report that answers a command: packet time as UTC, zero as none."""
    if is_time and isinstance(value, int):
        return utc_text(value) if value else ""
    return jsonable(value)


def _event(time_ns: int, name: str, severity: str, text: str) -> dict[str, Any]:
    return {"time": utc_text(time_ns), "event": name, "severity": severity, "text": text}
