"""From packet octets to named values, by the dictionary document and by definitions that the node reports.

A packet of which nothing is known becomes "unknown". One that is damaged, or whose data do not fit what is known of it,
raises DecodeError, and `undecoded` says what its headers still tell. Either may be decoded later (late_decoding.py).
"""

# The dictionary document is the only truth (ADR 0005): nothing here looks at declarations of the installed code, since
# ground and node are not updated together. Values that mean something to the ground itself are found by what a field
# refers to, or by a name and a type that are both checked (`whole`), because the dictionary may be somebody else's.
#
# Structures defined from ground are not in the document. They are learned from the report of their definition,
# TM[3,10]; until that comes their housekeeping is unknown. A structure may be redefined under the same number, and
# reports may be played back in any order. So definitions are kept in order of their time, and a report is read by the
# newest one that was reported before the report was made; if there is none, by the first one after it, which is the
# best guess for what was in force before the ground listened.
#
# Outside octets are hostile: decoding returns or raises DecodeError, nothing else. What is learned is bounded, by
# LEARNED_MAX structures and DEFINITIONS_MAX definitions of each.

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from flight.contract.dictionary import SEVERITIES, Dictionary, EventDefinition, Report, Structure, hk_parameters
from flight.contract.fields import Field, Layout, Plain, Refers, Value
from flight.core.errors import DecodeError
from flight.link.pus import PusTm
from flight.link.space_packet import IDLE_APID, SpacePacket
from flight.text.plural import plural

VERIFICATION = 1  # the service whose reports say how a command fares
PARAMETER_REPORT = (20, 2)
TIME_REPORT = (9, 2)
DEFINITION = (3, 10)
LEARNED_MAX = 256  # structures defined from ground, over the life of a decoder
DEFINITIONS_MAX = 16  # of one of them, the newest
HOUSEKEEPING, EVENT, REPORT, PDU, IDLE, UNKNOWN = "housekeeping", "event", "report", "pdu", "idle", "unknown"
UNDECODED = "undecoded"

WHOLE_MAX = (1 << 32) - 1
_NUMBER = 2  # octets of the structure or event number at the front of the source data of ST[03] and ST[05]
# Shared empty mappings, read-only: most packets have one of these fields empty, and a new one each would cost memory.
_EMPTY: Mapping[str, Plain] = MappingProxyType({})
_NO_FIELDS: Mapping[str, Field] = MappingProxyType({})
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class DecodedPacket:
    """One telemetry packet with its meaning.

    `kind` is housekeeping, event, report, pdu (CFDP), idle, unknown, or undecoded. `service`, `subtype` and `time_ns`
    (TAI since 1958-01-01) are None for packets without a PUS header, time reports apart. `raw` holds values as
    transmitted, `values` the same with labels in place of the numbers of enumerated fields. `fields` has the field of
    each value of a housekeeping report. `refers` says of those values that are the number of something what that is
    (`Field.refers`). `data` is the source data, or the whole PDU.
    """

    name: str
    kind: str
    apid: int
    seq: int
    data: bytes
    service: int | None = None
    subtype: int | None = None
    time_ns: int | None = None
    raw: Mapping[str, Plain] = field(default_factory=lambda: _EMPTY)
    values: Mapping[str, Plain] = field(default_factory=lambda: _EMPTY)
    severity: str = ""
    text: str = ""
    fields: Mapping[str, Field] = field(default_factory=lambda: _NO_FIELDS)
    refers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)

    def whole(self, name: str, most: int = WHOLE_MAX) -> int | None:
        """Return the value of that name if it is a whole number of 0 .. `most`, else None; see `whole`."""
        return whole(self.raw.get(name), most)


def whole(value: Plain | None, most: int = WHOLE_MAX) -> int | None:
    """Return `value` if it is a whole number of 0 .. `most`, else None.

    A dictionary of others may have values of any type under the names that ours has.
    """
    return value if isinstance(value, int) and 0 <= value <= most else None


@dataclass(frozen=True, slots=True)
class _Definition:
    """The definition of a structure as it was reported at that time."""

    time_ns: int
    structure: Structure
    layout: Layout


@dataclass(slots=True)
class DecoderCounters:
    """Packets by kind, and definitions that were not learned."""

    housekeeping: int = 0
    event: int = 0
    report: int = 0
    pdu: int = 0
    idle: int = 0
    unknown: int = 0
    malformed: int = 0
    definitions_refused: int = 0  # they name parameters that the dictionary does not have, or exceed LEARNED_MAX


class Decoder:
    """Decodes every packet of the node that `dictionary` describes (ECSS-E-ST-70-41C, 7.4.3)."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self.counters = DecoderCounters()
        self._structures = {(s.apid, s.sid): (s, s.layout) for s in dictionary.structures}
        self._events = {(e.apid, e.number): (e, e.layout) for e in dictionary.events}
        self._reports = {(r.apid, r.service, r.subtype): (r, r.layout) for r in dictionary.reports}
        self._parameters = hk_parameters(dictionary.structures)
        self.definitions = tuple(r.name for r in dictionary.reports if (r.service, r.subtype) == DEFINITION)
        """Names of the reports from which it learns."""
        self.learned = 0  # definitions so far; when it grows, packets may decode that did not before
        self._learned: dict[tuple[int, int], list[_Definition]] = {}  # in order of time
        self._cfdp_apid = dictionary.apids.get("files")
        self._time_apid = dictionary.apids.get("time")

    def decode(self, octets: bytes) -> DecodedPacket:
        """Decode the packet in `octets`. Raises DecodeError, which is counted as malformed."""
        try:
            packet = self._decode(octets)
        except DecodeError:
            self.counters.malformed += 1
            raise
        setattr(self.counters, packet.kind, getattr(self.counters, packet.kind) + 1)
        return packet

    def _decode(self, octets: bytes) -> DecodedPacket:
        space = SpacePacket.decode(octets)
        if space.is_command:
            raise DecodeError(f"a telecommand packet (APID {space.apid}) on the downlink")
        # Packets without a PUS header have their meaning by APID alone: idle, parts of files, time.
        if space.apid == IDLE_APID:
            return DecodedPacket("idle", IDLE, space.apid, space.seq, space.data)
        if space.apid == self._cfdp_apid and not space.has_secondary:
            return DecodedPacket("cfdp", PDU, space.apid, space.seq, space.data)
        if space.apid == self._time_apid and not space.has_secondary:
            return self._time_report(space)
        if not space.has_secondary:
            return DecodedPacket(f"apid-{space.apid}", UNKNOWN, space.apid, space.seq, space.data)
        tm = PusTm.decode(octets)
        if (tm.service, tm.subtype) == (3, 25):
            return self._numbered(tm, self._structure(tm))
        if tm.service == 5 and 1 <= tm.subtype <= len(SEVERITIES):
            return self._numbered(tm, self._events.get((tm.apid, _number(tm))))
        known = self._reports.get((tm.apid, tm.service, tm.subtype))
        if known is None:
            return _unknown(tm, "")
        packet = _packet(tm, known[0], REPORT, known[1], tm.data)
        return self._definition(tm, packet) if (tm.service, tm.subtype) == DEFINITION else packet

    def decode_late(self, octets: bytes) -> DecodedPacket | None:
        """Decode a packet that did not decode when it came; None, and not counted, if it still does not."""
        try:
            packet = self._decode(octets)
        except DecodeError:
            return None
        if packet.kind == UNKNOWN:
            return None
        setattr(self.counters, packet.kind, getattr(self.counters, packet.kind) + 1)
        return packet

    def recall(self, octets: bytes) -> None:
        """Learn from a packet of the past. It is not counted, and ignored if it no longer decodes."""
        try:
            self._decode(octets)
        except DecodeError:
            pass

    def _definition(self, tm: PusTm, packet: DecodedPacket) -> DecodedPacket:
        """Return a definition report with names in place of numbers; learn a structure that the dictionary lacks."""
        # Found by what fields refer to, not by name: the report's fields may be called anything.
        numbers = {name: packet.raw[name] for name, what in packet.refers.items() if what == Refers.HK_PARAMETER}
        sid = next((packet.raw[name] for name, what in packet.refers.items() if what == Refers.STRUCTURE), None)
        fields = {
            name: self._parameters[n] for name, n in numbers.items() if isinstance(n, int) and n in self._parameters
        }
        if isinstance(sid, int) and (tm.apid, sid) not in self._structures:
            self._learn(tm, sid, tuple(fields.values()), len(fields) == len(numbers))
        shown = {name: field.name for name, field in fields.items()}
        return replace(packet, values=MappingProxyType({**packet.values, **shown}))

    def _learn(self, tm: PusTm, sid: int, fields: tuple[Field, ...], complete: bool) -> None:
        """Keep a definition beside those of other times, in whatever order they come."""
        key = (tm.apid, sid)
        if not complete or (key not in self._learned and len(self._learned) == LEARNED_MAX):
            self.counters.definitions_refused += 1
            return
        structure = Structure(tm.apid, sid, f"hk-{sid}", 0, fields)
        known = self._learned.setdefault(key, [])
        at = bisect_right(known, tm.time_ns, key=lambda definition: definition.time_ns)
        # Equal neighbours are one definition, which holds from the earlier of the two times on: a definition that is
        # reported in every pass must not push the others out.
        if at and known[at - 1].structure == structure:
            return
        if at < len(known) and known[at].structure == structure:
            known[at] = replace(known[at], time_ns=tm.time_ns)
            return
        known.insert(at, _Definition(tm.time_ns, structure, structure.layout))
        del known[:-DEFINITIONS_MAX]
        self.learned += 1

    def _structure(self, tm: PusTm) -> tuple[Structure, Layout] | None:
        """Return the structure of a housekeeping report, as it was defined when the report was made."""
        key = (tm.apid, _number(tm))
        known = self._learned.get(key)
        if known is None:
            return self._structures.get(key)
        at = bisect_right(known, tm.time_ns, key=lambda definition: definition.time_ns)
        definition = known[max(at - 1, 0)]
        return definition.structure, definition.layout

    def _time_report(self, space: SpacePacket) -> DecodedPacket:
        """Decode a spacecraft time packet (ECSS-E-ST-70-41C, 7.4.3), which has no secondary header."""
        known = self._reports.get((space.apid, *TIME_REPORT))
        if known is None:
            return DecodedPacket(f"apid-{space.apid}", UNKNOWN, space.apid, space.seq, space.data)
        report, layout = known
        try:
            row = layout.decode(space.data)
        except DecodeError as error:
            raise DecodeError(f"{report.name}: {error}") from None
        raw, values = flattened(layout.fields, row)
        # Its first field of type time takes the place of the packet time that the missing header would have.
        at = next((raw[field.name] for field in layout.fields if field.type == "time"), None)
        time_ns = at if isinstance(at, int) else None
        return DecodedPacket(
            report.name, REPORT, space.apid, space.seq, space.data, *TIME_REPORT, time_ns, MappingProxyType(raw),
            MappingProxyType(values),
        )  # fmt: skip

    def _numbered(
        self, tm: PusTm, known: tuple[Structure, Layout] | tuple[EventDefinition, Layout] | None
    ) -> DecodedPacket:
        """Decode a housekeeping or event report: its number says which fields follow."""
        if known is None:
            return _unknown(tm, f"-{_number(tm)}")
        definition, layout = known
        if isinstance(definition, EventDefinition) and definition.subtype != tm.subtype:
            raise DecodeError(
                f"event {definition.name} came as TM[5,{tm.subtype}], the dictionary has TM[5,{definition.subtype}]"
            )
        kind = EVENT if isinstance(definition, EventDefinition) else HOUSEKEEPING
        return _packet(tm, definition, kind, layout, tm.data[_NUMBER:])


def undecoded(octets: bytes) -> DecodedPacket:
    """Return what can be said of a packet that does not decode: its headers, as far as it has any, and no meaning."""
    try:
        space = SpacePacket.decode(octets)
    except DecodeError:
        return DecodedPacket("packet", UNDECODED, 0, 0, octets)
    try:
        tm = PusTm.decode(octets)
    except DecodeError:
        return DecodedPacket(f"apid-{space.apid}", UNDECODED, space.apid, space.seq, octets)
    name = f"tm-{tm.apid}-{tm.service}-{tm.subtype}"
    return DecodedPacket(name, UNDECODED, tm.apid, tm.seq, tm.data, tm.service, tm.subtype, tm.time_ns)


def parameter_rows(packet: DecodedPacket) -> list[tuple[int, float]]:
    """Return number and value of each on-board parameter that a report of ST[20] gives; [] for any other packet."""
    if (packet.service, packet.subtype) != PARAMETER_REPORT:
        return []
    rows: list[tuple[int, float]] = []
    # A report is a list of pairs: the number of a parameter, then its value, in the order of the wire.
    number: Plain | None = None
    for name, what in packet.refers.items():
        value = packet.raw[name]
        if what == Refers.SETTING:
            number = value
        elif what == Refers.SETTING_VALUE and isinstance(number, int) and isinstance(value, int | float):
            rows.append((number, value))
    return rows


def _number(tm: PusTm) -> int:
    if len(tm.data) < _NUMBER:
        octets = f"{len(tm.data)} {plural(len(tm.data), 'octet')}"
        raise DecodeError(f"TM[{tm.service},{tm.subtype}] has {octets} of data, its number alone takes {_NUMBER}")
    return int.from_bytes(tm.data[:_NUMBER], "big")


def _unknown(tm: PusTm, suffix: str) -> DecodedPacket:
    name = f"tm-{tm.apid}-{tm.service}-{tm.subtype}{suffix}"
    return DecodedPacket(name, UNKNOWN, tm.apid, tm.seq, tm.data, tm.service, tm.subtype, tm.time_ns)


def _packet(
    tm: PusTm, definition: Structure | EventDefinition | Report, kind: str, layout: Layout, data: bytes
) -> DecodedPacket:
    try:
        row = layout.decode(data)
    except DecodeError as error:
        raise DecodeError(f"{definition.name}: {error}") from None
    raw, values = flattened(layout.fields, row)
    severity = text = ""
    if isinstance(definition, EventDefinition):
        severity, text = definition.severity, event_text(definition.text, values)
    return DecodedPacket(
        definition.name, kind, tm.apid, tm.seq, tm.data, tm.service, tm.subtype, tm.time_ns,
        MappingProxyType(raw), MappingProxyType(values), severity, text,
        MappingProxyType(_flat_fields(layout.fields, row)) if kind == HOUSEKEEPING else _NO_FIELDS,
        _flat_refers(layout.fields, row),
    )  # fmt: skip


def flattened(fields: tuple[Field, ...], row: Sequence[Value]) -> tuple[dict[str, Plain], dict[str, Plain]]:
    """Return values by name as they came, and as they are shown.

    The value `first` in the third row of `entries` is called `entries[2].first`.
    """
    # Flat, since an archive's samples and a table's columns are: a row is told by its index within the name.
    raw: dict[str, Plain] = {}
    shown: dict[str, Plain] = {}
    for outer, value in zip(fields, row, strict=True):
        if isinstance(value, tuple):
            for i, inner in enumerate(value):
                for part in zip((raw, shown), flattened(outer.fields, inner), strict=True):
                    part[0].update({f"{outer.name}[{i}].{name}": v for name, v in part[1].items()})
        else:
            raw[outer.name] = value.hex() if isinstance(value, bytes) else value
            shown[outer.name] = outer.label(value)
    return raw, shown


def _flat_fields(fields: tuple[Field, ...], row: Sequence[Value]) -> dict[str, Field]:
    """Return the field of each value, by the names that `flattened` gives."""
    flat: dict[str, Field] = {}
    for outer, value in zip(fields, row, strict=True):
        if isinstance(value, tuple):
            flat.update({f"{outer.name}[{i}].{inner.name}": inner for i in range(len(value)) for inner in outer.fields})
        else:
            flat[outer.name] = outer
    return flat


def _flat_refers(fields: tuple[Field, ...], row: Sequence[Value]) -> Mapping[str, str]:
    """Return what each value refers to, by the names that `flattened` gives; most values refer to nothing."""
    flat: dict[str, str] = {}
    for outer, value in zip(fields, row, strict=True):
        if isinstance(value, tuple):
            inner = [(f.name, f.refers) for f in outer.fields if f.refers]
            flat.update({f"{outer.name}[{i}].{name}": what for i in range(len(value)) for name, what in inner})
        elif outer.refers:
            flat[outer.name] = outer.refers
    return MappingProxyType(flat) if flat else _NOTHING


def event_text(template: str, values: Mapping[str, Plain]) -> str:
    """Return the event's text with its values filled in; if the template does not fit them, template and values."""
    # The template comes from a document that may be somebody else's: it may ask for anything that `format` can do.
    try:
        return template.format(**values)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError):
        listed = ", ".join(f"{name}={value}" for name, value in values.items())
        return f"{template} [{listed}]" if listed else template
