"""Many declarations into one dictionary: what cannot be declared twice, what is too much, and the dictionary itself."""

# Three questions, asked in this order, and each only if the one before found nothing: is every part well-formed
# (flight/contract/shapes.py), does a number or a name stand twice (`clashes`), is anything more than a dictionary or a
# packet about it can hold (`excesses`).
#
# A clash of the node's own parts is our own mistake, and `collect` raises. Parts of payload apps come from outside: a
# mission whose apps do not fit together, or do not fit the node, is refused as it is read (flight/mission.py), by lines
# that say whose parts clash. Parts are joined in a stable order, so that the document and its checksum depend on what
# is declared and not on who is asked first.

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
# A value per type, to try an event's text with; 0 for all other types.
_EXAMPLES: Mapping[str, Value] = {"f32": 0.0, "f64": 0.0, "str": "", "packet": b"", "rows": ()}
_EVENTS = 5  # service of event reports, with a subtype per severity


@dataclass(frozen=True, slots=True)
class Owned:
    """Declarations and whose they are: "the node", "app payload"."""

    owner: str
    part: Declarations


@dataclass(frozen=True, slots=True)
class Claim:
    """A number or name that a dictionary has once. Claims of one `key` exclude each other unless all are `shared`."""

    key: tuple[str | int, ...]
    what: str
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Clash:
    """What `owner` cannot declare, because `other` does; the two may be the same owner.

    again: what `other` declares, if that is another kind of part.
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
    """Return a clash for each number and name that is declared more than once, in the order of `parts`."""
    known: dict[tuple[str | int, ...], tuple[str, Claim]] = {}
    found = []
    for owned in parts:
        for claim in _claims(owned.part):
            if claim.key not in known:
                known[claim.key] = owned.owner, claim
                continue
            other, before = known[claim.key]
            if not (claim.shared and before.shared):
                again = "" if before.what == claim.what else before.what
                found.append(Clash(owned.owner, other, claim.what, again))
    return found


def _claims(part: Declarations) -> Iterator[Claim]:
    """Yield everything in `part` that a dictionary has only once."""
    # The archive and XTCE find a packet by its name, whatever its kind and APID: so all packets share one set of names.
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
        # Several functions share service and subtype (ST[08]). A command without a function may not be among them: it
        # would take another one's function number for its first argument.
        yield Claim(key, f"{what} of APID {command.apid}", shared=command.function is not None)
        if command.function is not None:
            yield Claim((*key, command.function), f"{what} function {command.function} of APID {command.apid}")
    for setting in part.settings:
        yield Claim(("parameter", setting.name), f"parameter {setting.name}")
        yield Claim(("parameter", setting.number), f"parameter number {setting.number}")
    for code in part.failures:
        yield Claim(("failure", int(code)), f"failure code {int(code)}")


def excesses(part: Declarations) -> list[str]:
    """Return a line for everything that a dictionary or packet cannot hold, or that this owner may not declare."""
    found = []
    for structure in part.structures:
        if structure.sid >= STRUCTURES_END:
            found.append(
                f"structure {structure.name} with id {structure.sid}, ids from {STRUCTURES_END} on are the ground's"
            )
        if len(structure.fields) >= FIELDS_MAX:
            found.append(f"structure {structure.name} with {len(structure.fields)} fields, {FIELDS_MAX - 1} at most")
        if not is_period(structure.period_s):
            bounds = f"0 for on request, or {PERIOD_MIN_S:g} .. {PERIOD_MAX_S:g} s"
            found.append(f"structure {structure.name} with period {structure.period_s:g} s, should be {bounds}")
    if len(part.events) > ROWS_MAX:
        found.append(f"{len(part.events)} events, {ROWS_MAX} at most")
    # Housekeeping and events have reports of their own: another one of the same numbers could not be told from them.
    for report in part.reports:
        numbers = report.service, report.subtype
        if numbers == _HOUSEKEEPING or (report.service == _EVENTS and report.subtype <= len(SEVERITIES)):
            found.append(
                f"report {report.name} as TM[{report.service},{report.subtype}], which is for structures and events"
            )
    for code in part.failures:
        least = 1 if isinstance(code, Failure) else APP_CODES_FROM  # codes below that are the node's own
        if not least <= code <= CODE_MAX:
            found.append(f"failure code {int(code)} ({code.text}), should be in {least} .. {CODE_MAX}")
    found += [f"event {event.name}, its text {text}" for event in part.events if (text := _text_fault(event))]
    return [*_name_faults(part), *found, *_setting_faults(part.settings)]


def _name_faults(part: Declarations) -> Iterator[str]:
    """Yield a line for each name against the rule (flight/contract/names.py), and each text that cannot be shown.

    A name with a dot could be taken for two: parameters are called PACKET.FIELD.
    """
    named: list[tuple[str, str]] = [("parameter", setting.name) for setting in part.settings]
    fields: list[tuple[str, Field]] = []
    for kind, packets in (("structure", part.structures), ("event", part.events), ("report", part.reports)):
        named += [(kind, packet.name) for packet in packets]
        fields += [(f"field of {kind} {packet.name!r}", field) for packet in packets for field in _every(packet.fields)]
    for command in part.commands:
        named.append(("command", command.name))
        fields += [(f"argument of {command.name!r}", field) for field in _every(command.arguments)]
    named += [(what, field.name) for what, field in fields]
    for what, name in named:
        if not is_name(name):
            yield f"{what} {name!r}, should be {name_rule()}"
    for what, field in fields:
        for label in field.labels:
            if not is_label(label):
                yield f"{what} {field.name!r} with label {label!r}, should be {LABEL_RULE}"
        yield from _shown_faults(f"{what} {field.name!r}", unit=field.unit, text=field.text)
    for event in part.events:
        yield from _shown_faults(f"event {event.name!r}", text=event.text)
    for command in part.commands:
        yield from _shown_faults(f"command {command.name!r}", text=command.text)
    for setting in part.settings:
        yield from _shown_faults(f"parameter {setting.name!r}", unit=setting.unit, text=setting.text)
    for code in part.failures:
        yield from _shown_faults(f"failure code {int(code)}", text=code.text)


def _shown_faults(what: str, *, text: str, unit: str = "") -> Iterator[str]:
    """Yield what is wrong with a unit and a meaning. A meaning may be of any length."""
    # What cannot be printed is refused in XML, and breaks lines of tables and logs.
    if unit and not is_label(unit):
        yield f"{what} with unit {unit!r}, should be {LABEL_RULE}"
    if not text.isprintable():
        yield f"{what} with text {text!r}, should be characters that can be printed"


def _every(fields: Iterable[Field]) -> Iterator[Field]:
    """Yield `fields`, and those of their rows."""
    for field in fields:
        yield field
        yield from _every(field.fields)


def _text_fault(event: EventDefinition) -> str:
    """Say why the event's text cannot be made of its fields, "" if it can."""
    examples = {field.name: field.label(_EXAMPLES.get(field.type, 0)) for field in event.fields}
    try:
        event.text.format(**examples)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError) as error:
        return f"cannot be made of its fields: {type(error).__name__}: {error}"
    return ""


def _setting_faults(settings: Iterable[Setting]) -> list[str]:
    """Return a line for each default that could not be set by command."""
    found, defaults = [], {setting.name: setting.default for setting in settings}
    for setting in settings:
        low, high = setting.minimum, setting.maximum
        try:
            Field(setting.name, setting.type, setting.unit, minimum=low, maximum=high).admit(setting.default)
        except FieldError as error:
            found.append(f"parameter {error}")
        if setting.below and not setting.default < defaults.get(setting.below, -math.inf):
            should = f"should be below {setting.below}, a parameter of the same owner"
            found.append(f"parameter {setting.name}, which {should}")
    return found


def collect(
    parts: Iterable[Declarations], *, mission: str, spacecraft_id: int, version: str, apids: Mapping[str, int],
    frame_octets: int = 1115,
) -> Dictionary:  # fmt: skip
    """Make one dictionary of all parts, in a stable order.

    Raises SetupError for a number or name that is declared twice, and for what a dictionary cannot hold. A mission's
    apps are checked before that, with the mission's own lines (flight/mission.py).
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
    """Make a dictionary as `collect` does, but check nothing. For finding further faults in a mission that has some."""
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
