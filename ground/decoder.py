"""From packet octets to named values, by the dictionary document alone.

A packet of which the dictionary says nothing is kept whole as "unknown" and counted; one that is damaged, or whose
data do not fit what the dictionary says of it, is a DecodeError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from flight.core.errors import DecodeError
from flight.dictionary import SEVERITIES, Dictionary, EventDefinition, Report, Structure
from flight.fields import Field, Layout, Value
from flight.link.pus import PusTm
from flight.link.space_packet import IDLE_APID, SpacePacket

VERIFICATION = 1  # the service whose reports say how a command fares
PARAMETER_REPORT = (20, 2)
HOUSEKEEPING, EVENT, REPORT, PDU, IDLE, UNKNOWN = "housekeeping", "event", "report", "pdu", "idle", "unknown"

_NUMBER = 2  # octets of the structure or event number that leads the source data of ST[03] and ST[05]
_EMPTY: Mapping[str, Value] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class DecodedPacket:
    """One telemetry packet with its meaning.

    `kind` is housekeeping, event, report, pdu (CFDP), idle or unknown. `service`, `subtype` and `time_ns` (TAI since
    1958-01-01) are None for packets without a PUS header. `raw` holds values as transmitted, `values` the same with
    labels in place of the numbers of enumerated fields. `data` is the source data, or the whole PDU.
    """

    name: str
    kind: str
    apid: int
    seq: int
    data: bytes
    service: int | None = None
    subtype: int | None = None
    time_ns: int | None = None
    raw: Mapping[str, Value] = field(default_factory=lambda: _EMPTY)
    values: Mapping[str, Value] = field(default_factory=lambda: _EMPTY)
    severity: str = ""
    text: str = ""


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


class Decoder:
    """Decodes every packet of the node that `dictionary` describes (ECSS-E-ST-70-41C, 7.4.3)."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self.counters = DecoderCounters()
        self._structures = {(s.apid, s.sid): (s, s.layout) for s in dictionary.structures}
        self._events = {(e.apid, e.number): (e, e.layout) for e in dictionary.events}
        self._reports = {(r.apid, r.service, r.subtype): (r, r.layout) for r in dictionary.reports}
        self._cfdp_apid = dictionary.apids.get("files")

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
        if not space.has_secondary:
            return DecodedPacket(f"apid-{space.apid}", UNKNOWN, space.apid, space.seq, space.data)
        tm = PusTm.decode(octets)
        if (tm.service, tm.subtype) == (3, 25):
            return self._numbered(tm, self._structures.get((tm.apid, _number(tm))))
        if tm.service == 5 and 1 <= tm.subtype <= len(SEVERITIES):
            return self._numbered(tm, self._events.get((tm.apid, _number(tm))))
        known = self._reports.get((tm.apid, tm.service, tm.subtype))
        if known is None:
            return _unknown(tm, "")
        return _packet(tm, known[0], REPORT, known[1], tm.data)

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
    raw = {f.name: value for f, value in zip(layout.fields, row, strict=True)}
    values = labelled(layout.fields, raw)
    severity = text = ""
    if isinstance(definition, EventDefinition):
        severity, text = definition.severity, event_text(definition.text, values)
    return DecodedPacket(
        definition.name, kind, tm.apid, tm.seq, tm.data, tm.service, tm.subtype, tm.time_ns,
        MappingProxyType(raw), MappingProxyType(values), severity, text,
    )  # fmt: skip


def labelled(fields: tuple[Field, ...], raw: Mapping[str, Value]) -> dict[str, Value]:
    """`raw` with labels in place of the numbers of enumerated fields."""
    return {f.name: f.label(raw[f.name]) for f in fields}


def event_text(template: str, values: Mapping[str, Value]) -> str:
    """The event's text with its values in place; where the document's template does not fit them, both as they are."""
    try:
        return template.format(**values)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError):
        listed = ", ".join(f"{name}={value}" for name, value in values.items())
        return f"{template} [{listed}]" if listed else template
