"""Reference pages of what a node says and understands, from the dictionary of the orbit mission."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from docs.tools.markdown import LINE_BREAK, code, plain, table
from flight.catalogue import dictionary_of
from flight.contract.dictionary import FIELDS_MAX, Command, Dictionary, Report, Structure
from flight.contract.fields import Field, Limits, Refers
from flight.mission import MISSIONS, load

MISSION = "orbit.toml"
_WHOSE = f"""\
This is what the mission
`flight/missions/{MISSION}` has; a payload app adds its own."""
_COMMANDS = f"""\
# Commands

Every telecommand, service by service. {_WHOSE} `orbitnode cmd --list NAME` shows one command
of the node that the ground hears, and [The node in real time](../guides/bench.md) how arguments are written.
[Packets on the wire](../guides/dictionary.md) has the octets.

*Durable* commands are in the node's store before they are reported accepted, and have exactly one report of their end
over any loss of power; others are lost with the power. *Urgent* ones find room where others are refused. The code in a
report of failure is one of the [failure codes](failure-codes.md)."""
_TELEMETRY = f"""\
# Telemetry

Housekeeping structures and reports, field by field. {_WHOSE} `orbitnode tm power` shows the
newest values of a structure, `orbitnode tm power.soc_frac` one of them. [Packets on the wire](../guides/dictionary.md)
has the octets; the events are on a [page of their own](events.md).

## Housekeeping structures

In TM[3,25]. The number of a field is its parameter's in ST[3]. Outside of the yellow limits the ground warns, outside
of the red ones it raises an alarm."""
_REPORTS = """\
## Reports

What the node says of its own accord besides, and in answer to commands. Fields of rows are named after their list."""
_EVENTS = f"""\
# Events

Every event that the node reports. {_WHOSE} `orbitnode events` shows those that came down,
`orbitnode events --follow` those that come. The packet is TM[5,1] for `info`, TM[5,2] for `low`, TM[5,3] for `medium`
and TM[5,4] for `high`: the number, then the fields ([octets](../guides/dictionary.md))."""
_PARAMETERS = f"""\
# On-board parameters

What `set_parameters` sets, all of its rows or none, and keeps over reboots. {_WHOSE}
[The node in real time](../guides/bench.md) shows how they are set, [Packets on the wire](../guides/dictionary.md) the
file of a parameter table."""
_FAILURE_CODES = f"""\
# Failure codes

Why a command was refused or failed: the code in TM[1,2], TM[1,4] and TM[1,8], with a detail as text. {_WHOSE}
1 to 99 are the node's, from 100 on a payload app's. `orbitnode cmd` shows meaning and detail."""
# ECSS-E-ST-70-41C, 6; from 128 on a mission's own.
_SERVICES = {
    1: "Request verification",
    3: "Housekeeping",
    5: "Event reporting",
    8: "Functions of the node",
    9: "Time",
    11: "Time-based scheduling",
    15: "Storage and retrieval",
    17: "Test",
    19: "Event-action",
    20: "Parameters",
    21: "Request sequencing",
    23: "File management",
    128: "Payload jobs",
}
# What the number in a field is the number of.
_REFERENTS: dict[str, str] = {
    Refers.STRUCTURE: "a structure",
    Refers.HK_PARAMETER: "a field of a structure",
    Refers.SETTING: "a parameter",
    Refers.APPLICATION: "an application process",
    Refers.EVENT: "an event",
}


def dictionary_pages() -> dict[str, str]:
    """Return the text of each page by its name."""
    dictionary = dictionary_of(load(MISSIONS / MISSION))
    return {
        "commands.md": _commands(dictionary),
        "telemetry.md": _telemetry(dictionary),
        "events.md": _events(dictionary),
        "parameters.md": _parameters(dictionary),
        "failure-codes.md": _failure_codes(dictionary),
    }


def _commands(dictionary: Dictionary) -> str:
    services = sorted({command.service for command in dictionary.commands})
    return "\n\n".join([_COMMANDS, *(_service(service, dictionary) for service in services)])


def _service(service: int, dictionary: Dictionary) -> str:
    rows = [
        (
            code(command.name),
            plain(command.text),
            _arguments(command.arguments),
            "yes, urgent" * command.urgent or "yes" if command.durable else "no",
            _type_of(command),
            command.apid,
        )
        for command in dictionary.commands
        if command.service == service
    ]
    heads = ("command", "what it does", "arguments", "durable", "packet", "APID")
    name = _SERVICES.get(service)  # a service type of a mission's own has no name in the standard
    return f"## {f'{name}: ' if name else ''}ST[{service}]\n\n{table(heads, rows)}"


def _type_of(command: Command) -> str:
    function = "" if command.function is None else f" {command.function}"
    return f"TC[{command.service},{command.subtype}]{function}"


def _arguments(fields: Iterable[Field]) -> str:
    return LINE_BREAK.join(_argument(field) for field in fields)


def _argument(field: Field) -> str:
    if field.fields:
        what = f"rows of {', '.join(_argument(inner) for inner in field.fields)}"
    else:
        what = ", ".join([f"{field.type} {field.unit}".rstrip(), *_admitted(field)])
    text = _text_of(field)
    return f"{code(field.name)} {what}" + (f" ({text})" if text else "")


def _admitted(field: Field) -> Iterator[str]:
    """Say what the field may be, besides what its type says."""
    if field.labels:
        yield _labels(field)
    low, high = field.minimum, field.maximum
    if low is not None and high is not None:
        yield f"{low:.10g} .. {high:.10g}" if low < high else f"{low:.10g}"
    elif low is not None:
        yield f"{low:.10g} and more"
    elif high is not None:
        yield f"at most {high:.10g}"
    if field.default is not None:
        yield "none by default" if field.default == () else f"by default {field.default!s}"


def _text_of(field: Field) -> str:
    """Its meaning. Of one that refers to something, only to what: its text may list all of them."""
    return f"number of {_REFERENTS[field.refers]}" if field.refers in _REFERENTS else plain(field.text)


def _labels(field: Field) -> str:
    """Labels stand for the numbers from 0 on."""
    return " / ".join(map(code, field.labels))


def _telemetry(dictionary: Dictionary) -> str:
    reports = sorted(dictionary.reports, key=lambda report: (report.service, report.subtype, report.apid))
    structures = [_structure(structure) for structure in dictionary.structures]
    return "\n\n".join([_TELEMETRY, *structures, _REPORTS, *(_report(report) for report in reports)])


def _structure(structure: Structure) -> str:
    period = f"every {structure.period_s:g} s" if structure.period_s else "on request"
    rows = [
        (structure.sid * FIELDS_MAX + index, code(field.name), field.type, field.unit, _limits(field.limits), meaning)
        for index, field in enumerate(structure.fields)
        for meaning in [_meaning(field)]
    ]
    heads = ("number", "field", "type", "unit", "limits", "meaning")
    return (
        f"### `{structure.name}`\n\nStructure {structure.sid} of APID {structure.apid}, {period} by default.\n\n"
        f"{table(heads, rows)}"
    )


def _limits(limits: Limits | None) -> str:
    if limits is None:
        return ""
    named = {"yellow": limits.yellow, "red": limits.red}
    return LINE_BREAK.join(f"{name} {pair[0]:g} .. {pair[1]:g}" for name, pair in named.items() if pair is not None)


def _meaning(field: Field) -> str:
    return ": ".join(part for part in (_text_of(field), _labels(field)) if part)


def _report(report: Report) -> str:
    packet = f"TM[{report.service},{report.subtype}] of APID {report.apid}"
    head = f"### `{report.name}`\n\n{packet}"
    if not report.fields:
        return f"{head}, without source data."
    return f"{head}.\n\n{table(('field', 'type', 'unit', 'meaning'), _report_rows(report.fields))}"


def _report_rows(fields: Iterable[Field], path: str = "") -> list[tuple[str, str, str, str]]:
    """Return a row per field. Fields that differ only in the number at their end share one."""
    rows = []
    for _, group in groupby(fields, lambda field: (field.name.rstrip("0123456789"), field.type, field.text)):
        first, *others = group
        names = code(path + first.name) + (f" to {code(path + others[-1].name)}" if others else "")
        rows.append((names, first.type, first.unit, _meaning(first)))
        rows += _report_rows(first.fields, f"{path}{first.name}[].")
    return rows


def _events(dictionary: Dictionary) -> str:
    rows = [
        (code(event.name), event.apid, event.number, event.severity, plain(event.text), _field_list(event.fields))
        for event in dictionary.events
    ]
    heads = ("event", "APID", "number", "severity", "text", "fields")
    return f"{_EVENTS}\n\n{table(heads, rows)}"


def _field_list(fields: Sequence[Field]) -> str:
    return LINE_BREAK.join(f"{code(field.name)} {field.type} {field.unit}".strip() for field in fields)


def _parameters(dictionary: Dictionary) -> str:
    rows = [
        (
            code(setting.name),
            setting.number,
            setting.type,
            setting.unit,
            f"{setting.default:g}",
            f"{setting.minimum:g} .. {setting.maximum:g}",
            code(setting.below) if setting.below else "",
            plain(setting.text),
        )
        for setting in dictionary.settings
    ]
    heads = ("parameter", "number", "type", "unit", "default", "bounds", "stays below", "meaning")
    return f"{_PARAMETERS}\n\n{table(heads, rows)}"


def _failure_codes(dictionary: Dictionary) -> str:
    rows = [(number, plain(text)) for number, text in sorted(dictionary.failures.items())]
    return f"{_FAILURE_CODES}\n\n{table(('code', 'meaning'), rows)}"
