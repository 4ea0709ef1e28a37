"""From packet octets to named values, by the dictionary document and by what the node says it was told.

A housekeeping structure that was defined from ground is learned from the report of its definition, TM[3,10]; until
then its reports are unknown. A structure may be defined anew: each report is read by the definition that was reported
last before it was made, and if none was by the first one after. A packet of which nothing is known is kept whole as
"unknown" and counted; one that is damaged, or whose data do not fit what is known of it, is a DecodeError, and kept
whole as "undecoded". Either may be decoded later, by another dictionary or a definition that came since
(late_decoding.py).
"""

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

VERIFICATION = 1  # the service whose reports say how a command fares
PARAMETER_REPORT = (20, 2)
TIME_REPORT = (9, 2)
DEFINITION = (3, 10)
LEARNED_MAX = 256  # structures defined from ground, over the life of a decoder
DEFINITIONS_MAX = 16  # of one of them, the newest
HOUSEKEEPING, EVENT, REPORT, PDU, IDLE, UNKNOWN = "housekeeping", "event", "report", "pdu", "idle", "unknown"
UNDECODED = "undecoded"

WHOLE_MAX = (1 << 32) - 1
_NUMBER = 2  # octets of the structure or event number that leads the source data of ST[03] and ST[05]
_EMPTY: Mapping[str, Plain] = MappingProxyType({})
_NO_FIELDS: Mapping[str, Field] = MappingProxyType({})
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class DecodedPacket:
    """One telemetry packet with its meaning.

    `kind` is housekeeping, event, report, pdu (CFDP), idle, unknown, or undecoded. `service`, `subtype` and `time_ns`
    (TAI since 1958-01-01) are None for packets without a PUS header. `raw` holds values as transmitted, `values` the
    same with labels in place of the numbers of enumerated fields. `fields` has the field of each value of a
    housekeeping report. `refers` says of those values that are the number of something what that is (`Field.refers`).
    `data` is the source data, or the whole PDU.
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
        """The value of that name as `whole` takes it: for whoever looks for a value by a name that he knows."""
        return whole(self.raw.get(name), most)


def whole(value: Plain | None, most: int = WHOLE_MAX) -> int | None:
    """`value` if it is a whole number of 0 .. `most`. None if there is none: a dictionary of others may have any
    values under the names that ours has, and of any type.
    """
    return value if isinstance(value, int) and 0 <= value <= most else None


@dataclass(frozen=True, slots=True)
class _Definition:
    """Of a structure, as it was reported at that time."""

    time_ns: int
    structure: Structure
    layout: Layout


@dataclass(slots=True)
class DecoderCounters:
    """Packets by kind, those of which the dictionary says nothing, and those that did not decode."""

    housekeeping: int = 0
    event: int = 0
    report: int = 0
    pdu: int = 0
    idle: int = 0
    unknown: int = 0
    malformed: int = 0
    definitions_refused: int = 0  # of parameters that the dictionary does not have, or beyond LEARNED_MAX


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
        """Names of the reports that it learns from."""
        self.learned = 0  # definitions so far: more may be decoded than before
        self._learned: dict[tuple[int, int], list[_Definition]] = {}  # in order of time
        self._cfdp_apid = dictionary.apids.get("files")
        self._time_apid = dictionary.apids.get("time")

    def decode(self, octets: bytes) -> DecodedPacket:
        """The packet in `octets`; raises DecodeError, counted as malformed."""
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
        """A packet that did not decode as it came, if it does now; only that is counted."""
        try:
            packet = self._decode(octets)
        except DecodeError:
            return None
        if packet.kind == UNKNOWN:
            return None
        setattr(self.counters, packet.kind, getattr(self.counters, packet.kind) + 1)
        return packet

    def recall(self, octets: bytes) -> None:
        """Learn from a packet of the past. It is not counted, and passed over where it does not decode any more."""
        try:
            self._decode(octets)
        except DecodeError:
            pass

    def _definition(self, tm: PusTm, packet: DecodedPacket) -> DecodedPacket:
        """The report of a structure's definition with names in place of numbers; a structure not known is learned."""
        numbers = {name: packet.raw[name] for name, what in packet.refers.items() if what == Refers.HK_PARAMETER}
        sid = next((packet.raw[name] for name, what in packet.refers.items() if what == Refers.STRUCTURE), None)
        fields = {
            name: self._parameters[n] for name, n in numbers.items() if isinstance(n, int) and n in self._parameters
        }
        if isinstance(sid, int) and (tm.apid, sid) not in self._structures:
            self._learn(tm, sid, tuple(fields.values()), len(fields) == len(numbers))
        shown = {name: one.name for name, one in fields.items()}
        return replace(packet, values=MappingProxyType({**packet.values, **shown}))

    def _learn(self, tm: PusTm, sid: int, fields: tuple[Field, ...], complete: bool) -> None:
        """Keep a definition beside those of other times, whatever order they come in."""
        key = (tm.apid, sid)
        if not complete or (key not in self._learned and len(self._learned) == LEARNED_MAX):
            self.counters.definitions_refused += 1
            return
        made = Structure(tm.apid, sid, f"hk-{sid}", 0, fields)
        known = self._learned.setdefault(key, [])
        at = bisect_right(known, tm.time_ns, key=lambda one: one.time_ns)
        if at and known[at - 1].structure == made:
            return  # as it was
        if at < len(known) and known[at].structure == made:
            known[at] = replace(known[at], time_ns=tm.time_ns)  # it was so before
            return
        known.insert(at, _Definition(tm.time_ns, made, made.layout))
        del known[:-DEFINITIONS_MAX]
        self.learned += 1

    def _structure(self, tm: PusTm) -> tuple[Structure, Layout] | None:
        """The structure that a housekeeping report is of."""
        key = (tm.apid, _number(tm))
        known = self._learned.get(key)
        if known is None:
            return self._structures.get(key)
        at = bisect_right(known, tm.time_ns, key=lambda one: one.time_ns)
        one = known[max(at - 1, 0)]
        return one.structure, one.layout

    def _time_report(self, space: SpacePacket) -> DecodedPacket:
        """A spacecraft time packet (ECSS-E-ST-70-41C, 7.4.3): its data field is all there is."""
        known = self._reports.get((space.apid, *TIME_REPORT))
        if known is None:
            return DecodedPacket(f"apid-{space.apid}", UNKNOWN, space.apid, space.seq, space.data)
        report, layout = known
        try:
            row = layout.decode(space.data)
        except DecodeError as error:
            raise DecodeError(f"{report.name}: {error}") from None
        raw, values = flattened(layout.fields, row)
        at = next((raw[one.name] for one in layout.fields if one.type == "time"), None)
        time_ns = at if isinstance(at, int) else None
        return DecodedPacket(
            report.name, REPORT, space.apid, space.seq, space.data, *TIME_REPORT, time_ns, MappingProxyType(raw),
            MappingProxyType(values),
        )  # fmt: skip

    def _numbered(
        self, tm: PusTm, known: tuple[Structure, Layout] | tuple[EventDefinition, Layout] | None
    ) -> DecodedPacket:
        """A housekeeping or event report: its number says which fields follow."""
        if known is None:
            return _unknown(tm, f"-{_number(tm)}")
        definition, layout = known
        if isinstance(definition, EventDefinition) and definition.subtype != tm.subtype:
            raise DecodeError(
                f"event {definition.name} as TM[5,{tm.subtype}], the dictionary has it as TM[5,{definition.subtype}]"
            )
        kind = EVENT if isinstance(definition, EventDefinition) else HOUSEKEEPING
        return _packet(tm, definition, kind, layout, tm.data[_NUMBER:])


def undecoded(octets: bytes) -> DecodedPacket:
    """What can be said of a packet that does not decode: its headers, as far as there are any, and no meaning."""
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
    """Number and value of each on-board parameter that a report of ST[20] gives; none from any other packet."""
    if (packet.service, packet.subtype) != PARAMETER_REPORT:
        return []
    rows: list[tuple[int, float]] = []
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
        raise DecodeError(f"TM[{tm.service},{tm.subtype}] with {len(tm.data)} octets of data, its number takes 2")
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
    """Values by name as they came, and as they are shown; the first value of the third row of `entries` is
    `entries[2].first`.
    """
    raw: dict[str, Plain] = {}
    shown: dict[str, Plain] = {}
    for one, value in zip(fields, row, strict=True):
        if isinstance(value, tuple):
            for i, inner in enumerate(value):
                for part in zip((raw, shown), flattened(one.fields, inner), strict=True):
                    part[0].update({f"{one.name}[{i}].{name}": v for name, v in part[1].items()})
        else:
            raw[one.name] = value.hex() if isinstance(value, bytes) else value
            shown[one.name] = one.label(value)
    return raw, shown


def _flat_fields(fields: tuple[Field, ...], row: Sequence[Value]) -> dict[str, Field]:
    """The field of each value, by the names of `flattened`."""
    flat: dict[str, Field] = {}
    for one, value in zip(fields, row, strict=True):
        if isinstance(value, tuple):
            flat.update({f"{one.name}[{i}].{inner.name}": inner for i in range(len(value)) for inner in one.fields})
        else:
            flat[one.name] = one
    return flat


def _flat_refers(fields: tuple[Field, ...], row: Sequence[Value]) -> Mapping[str, str]:
    """What each value refers to, by the names of `flattened`; values that stand for themselves are left out."""
    flat: dict[str, str] = {}
    for one, value in zip(fields, row, strict=True):
        if isinstance(value, tuple):
            inner = [(f.name, f.refers) for f in one.fields if f.refers]
            flat.update({f"{one.name}[{i}].{name}": what for i in range(len(value)) for name, what in inner})
        elif one.refers:
            flat[one.name] = one.refers
    return MappingProxyType(flat) if flat else _NOTHING


def event_text(template: str, values: Mapping[str, Plain]) -> str:
    """The event's text with its values in place; where the document's template does not fit them, both as they are."""
    try:
        return template.format(**values)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError):
        listed = ", ".join(f"{name}={value}" for name, value in values.items())
        return f"{template} [{listed}]" if listed else template
