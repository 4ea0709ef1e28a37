"""Many declarations into one dictionary: what they cannot declare twice, what it cannot hold, and the dictionary.

A clash of the node's own parts is our own mistake. Those of payload apps come from outside: a mission whose apps do not
fit together, or not with the node, is refused as it is read (flight/mission.py), by lines that say whose they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flight.contract.dictionary import (
    FIELDS_MAX,
    PERIOD_MAX_S,
    PERIOD_MIN_S,
    SEVERITIES,
    STRUCTURES_END,
    Declarations,
    Dictionary,
    EventDefinition,
    Setting,
    is_period,
    shape_faults,
)
from flight.contract.failures import APP_CODES_FROM, CODE_MAX, Failure
from flight.contract.fields import ROWS_MAX, Field, FieldError, Value
from flight.contract.names import LABEL_RULE, is_label, is_name, name_rule
from flight.core.errors import SetupError

_HOUSEKEEPING = (3, 25)  # service and subtype of a structure's report
_EXAMPLES: Mapping[str, Value] = {"f32": 0.0, "f64": 0.0, "str": "", "packet": b"", "rows": ()}  # of others, 0
_EVENTS = 5  # service of event reports, a subtype per severity


@dataclass(frozen=True, slots=True)
class Owned:
    """Declarations and whose they are: "the node", "app payload"."""

    owner: str
    part: Declarations


@dataclass(frozen=True, slots=True)
class Claim:
    """A number or name that a dictionary has once. Claims of one `key` exclude one another, unless all are `shared`."""

    key: tuple[str | int, ...]
    what: str
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Clash:
    """What `owner` cannot declare, since `other` does; the two may be one. again: what `other` declares, if that is
    another kind of thing.
    """

    owner: str
    other: str
    what: str
    again: str = ""

    def __str__(self) -> str:
        if self.again:
            return f"{self.owner} declares {self.what}, and {self.other} {self.again}"
        again = " twice" if self.owner == self.other else f", as {self.other} does"
        return f"{self.owner} declares {self.what}{again}"


def clashes(parts: Iterable[Owned]) -> list[Clash]:
    """A row for each number and name that is declared more than once, in the order of `parts`."""
    known: dict[tuple[str | int, ...], tuple[str, Claim]] = {}
    found = []
    for one in parts:
        for claim in _claims(one.part):
            if claim.key not in known:
                known[claim.key] = one.owner, claim
                continue
            other, before = known[claim.key]
            if not (claim.shared and before.shared):
                again = "" if before.what == claim.what else before.what
                found.append(Clash(one.owner, other, claim.what, again))
    return found


def _claims(part: Declarations) -> Iterator[Claim]:
    """All that a dictionary has once. Archive and XTCE find a packet by its name, whatever its kind and APID."""
    for structure in part.structures:
        yield Claim(("packet", structure.name), f"structure {structure.name}")
        # The commands of ST[03] name a structure by this alone.
        yield Claim(("sid", structure.sid), f"structure id {structure.sid}")
    for event in part.events:
        yield Claim(("packet", event.name), f"event {event.name}")
        yield Claim(("event", event.apid, event.number), f"event {event.number} of APID {event.apid}")
    for report in part.reports:
        yield Claim(("packet", report.name), f"report {report.name}")
        what = f"report TM[{report.service},{report.subtype}] of APID {report.apid}"
        yield Claim(("tm", report.apid, report.service, report.subtype), what)
    for command in part.commands:
        yield Claim(("command", command.name), f"command {command.name}")
        key = ("tc", command.apid, command.service, command.subtype)
        what = f"command TC[{command.service},{command.subtype}]"
        # Without a function it would take the number of one that has one for its first argument.
        yield Claim(key, f"{what} of APID {command.apid}", shared=command.function is not None)
        if command.function is not None:
            yield Claim((*key, command.function), f"{what} function {command.function} of APID {command.apid}")
    for setting in part.settings:
        yield Claim(("parameter", setting.name), f"parameter {setting.name}")
        yield Claim(("parameter", setting.number), f"parameter number {setting.number}")
    for code in part.failures:
        yield Claim(("failure", int(code)), f"failure code {int(code)}")


def excesses(part: Declarations) -> list[str]:
    """A line for each thing that is more than a dictionary, or a packet about it, can hold, or is not the part's."""
    found = []
    for structure in part.structures:
        if structure.sid >= STRUCTURES_END:
            found.append(
                f"structure {structure.name} with id {structure.sid}, from {STRUCTURES_END} on they are the ground's"
            )
        if len(structure.fields) >= FIELDS_MAX:
            found.append(f"structure {structure.name} with {len(structure.fields)} fields, {FIELDS_MAX - 1} at most")
        if not is_period(structure.period_s):
            bounds = f"0 for on request, or {PERIOD_MIN_S:g} .. {PERIOD_MAX_S:g} s"
            found.append(f"structure {structure.name} with period {structure.period_s:g} s, should be {bounds}")
    if len(part.events) > ROWS_MAX:
        found.append(f"{len(part.events)} events, {ROWS_MAX} at most")
    for report in part.reports:
        numbers = report.service, report.subtype
        if numbers == _HOUSEKEEPING or (report.service == _EVENTS and report.subtype <= len(SEVERITIES)):
            found.append(
                f"report {report.name} as TM[{report.service},{report.subtype}], which is of structures and events"
            )
    for code in part.failures:
        least = 1 if isinstance(code, Failure) else APP_CODES_FROM
        if not least <= code <= CODE_MAX:
            found.append(f"failure code {int(code)} ({code.text}), should be in {least} .. {CODE_MAX}")
    found += [f"event {one.name}, its text {text}" for one in part.events if (text := _text_fault(one))]
    return [*_name_faults(part), *found, *_setting_faults(part.settings)]


def _name_faults(part: Declarations) -> Iterator[str]:
    """A line for each name that people could not write, or that could be taken for two: parameters are called
    PACKET.FIELD. And for each label, unit and meaning that could not be shown in a line.
    """
    named: list[tuple[str, str]] = [("parameter", one.name) for one in part.settings]
    fields: list[tuple[str, Field]] = []
    for kind, packets in (("structure", part.structures), ("event", part.events), ("report", part.reports)):
        named += [(kind, one.name) for one in packets]
        fields += [(f"field of {kind} {one.name!r}", field) for one in packets for field in _every(one.fields)]
    named += [("command", one.name) for one in part.commands]
    fields += [(f"argument of {one.name!r}", field) for one in part.commands for field in _every(one.arguments)]
    named += [(what, field.name) for what, field in fields]
    for what, name in named:
        if not is_name(name):
            yield f"{what} {name!r}, should be {name_rule()}"
    for what, field in fields:
        for key, text in (("label", one) for one in field.labels):
            if not is_label(text):
                yield f"{what} {field.name!r} with {key} {text!r}, should be {LABEL_RULE}"
        yield from _shown_faults(f"{what} {field.name!r}", unit=field.unit, text=field.text)
    for one in part.events:
        yield from _shown_faults(f"event {one.name!r}", text=one.text)
    for command in part.commands:
        yield from _shown_faults(f"command {command.name!r}", text=command.text)
    for setting in part.settings:
        yield from _shown_faults(f"parameter {setting.name!r}", unit=setting.unit, text=setting.text)
    for code in part.failures:
        yield from _shown_faults(f"failure code {int(code)}", text=code.text)


def _shown_faults(what: str, *, text: str, unit: str = "") -> Iterator[str]:
    """A text may be of any length; what cannot be printed is refused in XML, and breaks lines of tables and logs."""
    if unit and not is_label(unit):
        yield f"{what} with unit {unit!r}, should be {LABEL_RULE}"
    if not text.isprintable():
        yield f"{what} with text {text!r}, should be characters that can be printed"


def _every(fields: Iterable[Field]) -> Iterator[Field]:
    for one in fields:
        yield one
        yield from _every(one.fields)


def _text_fault(event: EventDefinition) -> str:
    """Why the event's text cannot be made of its fields, "" if it can."""
    examples = {one.name: one.label(_EXAMPLES.get(one.type, 0)) for one in event.fields}
    try:
        event.text.format(**examples)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError) as error:
        return f"cannot be made of its fields: {type(error).__name__}: {error}"
    return ""


def _setting_faults(settings: Iterable[Setting]) -> list[str]:
    """A line for each default that could not be set by command."""
    found, defaults = [], {one.name: one.default for one in settings}
    for one in settings:
        try:
            Field(one.name, one.type, one.unit, minimum=one.minimum, maximum=one.maximum).admit(one.default)
        except FieldError as error:
            found.append(f"parameter {error}")
        if one.below and not one.default < defaults.get(one.below, -math.inf):
            found.append(f"parameter {one.name}, which should be below {one.below}, a parameter of the same owner")
    return found


def collect(
    parts: Iterable[Declarations], *, mission: str, spacecraft_id: int, version: str, apids: Mapping[str, int],
    frame_octets: int = 1115,
) -> Dictionary:  # fmt: skip
    """One dictionary out of all parts, in a stable order. Raises SetupError for a number or name that is declared
    twice, and for what it cannot hold: flight/mission.py looks before, and says it by the mission's lines.
    """
    parts = list(parts)
    if strange := [line for part in parts for line in shape_faults(part)]:
        raise SetupError("; ".join(strange))
    if twice := clashes(Owned("this", part) for part in parts):
        raise SetupError(f"declared twice: {', '.join(map(str, twice))}")
    if excess := [line for part in parts for line in excesses(part)]:
        raise SetupError("; ".join(excess))
    return joined(
        parts, mission=mission, spacecraft_id=spacecraft_id, version=version, apids=apids, frame_octets=frame_octets
    )


def joined(
    parts: Sequence[Declarations], *, mission: str, spacecraft_id: int, version: str, apids: Mapping[str, int],
    frame_octets: int,
) -> Dictionary:  # fmt: skip
    """As `collect`, of whatever the parts are: for who looks for further faults in a mission that has some."""
    return Dictionary(
        mission=mission,
        spacecraft_id=spacecraft_id,
        version=version,
        apids=apids,
        structures=tuple(sorted((s for p in parts for s in p.structures), key=lambda s: (s.apid, s.sid))),
        events=tuple(sorted((e for p in parts for e in p.events), key=lambda e: (e.apid, e.number))),
        reports=tuple(sorted((r for p in parts for r in p.reports), key=lambda r: (r.apid, r.service, r.subtype))),
        commands=tuple(sorted((c for p in parts for c in p.commands), key=lambda c: c.name)),
        settings=tuple(sorted((s for p in parts for s in p.settings), key=lambda s: s.number)),
        failures={int(code): code.text for part in parts for code in part.failures},
        frame_octets=frame_octets,
    )
