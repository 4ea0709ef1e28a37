"""The TelemetryMetaData of an XTCE document: a container per packet, chosen from the packet header down."""

# Containers are derived from one another, and each adds what stands next in the packet:
#
#     CCSDSPacket
#     +-- time report (APID 0), IdlePacket, CfdpPdu
#     +-- PusTelemetry                   version to service
#         +-- VerificationReport         service 1: VERIFICATION_SUBTYPE in the place of PUS_SUBTYPE
#         |   +-- RequestReport          the request's packet id and sequence control
#         |       +-- acceptance_success, acceptance_failure with FAILURE_CODE and FAILURE_DETAIL ...
#         +-- PusReport                  any other service
#             +-- HousekeepingReport, EventReport, other reports
#
# A ground system that follows commands by their reports needs one parameter for each part of a request, whichever
# report names it. So these are shared: REQUEST_APID and its like, FAILURE_CODE, FAILURE_DETAIL. A report of service 1
# with other fields, such as one of our own subtypes, has parameters of its own.

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flight.contract.dictionary import Dictionary, Report
from flight.contract.fields import Field
from flight.link.space_packet import IDLE_APID
from ground.xtce.dialect import Dialect
from ground.xtce.elements import add, add_ancillary, add_size, text_of
from ground.xtce.names import BITS_BEFORE, FAILURE_DETAIL, ROOT_CONTAINER, parameter_name
from ground.xtce.types import TIME_BITS, add_array_types, add_time_type, add_type, add_unsigned_type, nan_text

TIME_PARAMETER = "PUS_TIME"
EVENT_PARAMETER = "EVENT_NUMBER"
FAILURE_CODE = "FAILURE_CODE"

_HEADER_BITS = {
    "PKT_VERSION": 3, "PKT_TYPE": 1, "PKT_SEC_HDR": 1, "PKT_APID": 11, "PKT_SEQ_FLAGS": 2, "PKT_SEQ_COUNT": 14,
    "PKT_LENGTH": 16,
}  # fmt: skip
_PUS_BITS = {
    "PUS_VERSION": 4, "PUS_TIME_STATUS": 4, "PUS_SERVICE": 8, "PUS_SUBTYPE": 8, "VERIFICATION_SUBTYPE": 8,
    "PUS_COUNTER": 16, "PUS_DESTINATION": 16,
}  # fmt: skip
# The first four octets of the request that a report of service 1 is about (ECSS-E-ST-70-41C, 8.1.2).
_REQUEST_BITS = {
    "REQUEST_VERSION": 3, "REQUEST_TYPE": 1, "REQUEST_SEC_HDR": 1, "REQUEST_APID": 11, "REQUEST_SEQ_FLAGS": 2,
    "REQUEST_SEQ_COUNT": 14,
}  # fmt: skip
_REQUEST_TYPES = ("u16", "u16")
_FAILURE_TYPES = (*_REQUEST_TYPES, "u16", "str")
_CRC_BITS = 16
_COMPARISON = re.compile(r"(!=|<=|)(\d+)")  # of a value by which a packet is known; "equal" if it has no operator


@dataclass(frozen=True, slots=True)
class _Packet:
    """One kind of packet: from which container it is derived, by which values it is known, and what it is."""

    name: str
    base: str
    where: Mapping[str, object]
    text: str
    end: tuple[str, ...] = ("PUS_CRC",)


class Telemetry:
    """Writes types, parameters and containers, in the order in which they are needed."""

    def __init__(self, parent: ET.Element, dialect: Dialect) -> None:
        self._dialect = dialect
        self._types = add(parent, "ParameterTypeSet")
        self._parameters = add(parent, "ParameterSet")
        self._containers = add(parent, "ContainerSet")

    def write(self, dictionary: Dictionary) -> None:
        """Write everything that the dictionary says of telemetry."""
        self._headers(dictionary)
        for structure in dictionary.structures:
            where = {"PKT_APID": structure.apid, "HK_SID": structure.sid}
            text = f"every {structure.period_s} s"
            self._packet(_Packet(structure.name, "HousekeepingReport", where, text), structure.fields)
        for event in dictionary.events:
            where = {"PKT_APID": event.apid, "PUS_SUBTYPE": event.subtype, EVENT_PARAMETER: event.number}
            text = f"{event.severity}: {event.text}"
            self._packet(_Packet(event.name, "EventReport", where, text), event.fields)
        for report in dictionary.reports:
            self._report(report, dictionary)

    def _report(self, report: Report, dictionary: Dictionary) -> None:
        text = f"TM[{report.service},{report.subtype}]"
        types = tuple(field.type for field in report.fields)
        if report.apid == dictionary.apids.get("time"):
            packet = _Packet(report.name, ROOT_CONTAINER, {"PKT_APID": report.apid, "PKT_SEC_HDR": 0}, text, end=())
        elif report.service == 1:
            where = {"PKT_APID": report.apid, "VERIFICATION_SUBTYPE": report.subtype}
            if types in (_REQUEST_TYPES, _FAILURE_TYPES):
                failure = () if types == _REQUEST_TYPES else self._failure_entries
                self._container(report.name, [*failure, "PUS_CRC"], "RequestReport", where, text)
                return
            packet = _Packet(report.name, "VerificationReport", where, text)
        else:
            where = {"PKT_APID": report.apid, "PUS_SERVICE": report.service, "PUS_SUBTYPE": report.subtype}
            packet = _Packet(report.name, "PusReport", where, text)
        self._packet(packet, report.fields)

    def _headers(self, dictionary: Dictionary) -> None:
        """Write everything that stands before the fields of a packet, and what reports of service 1 share."""
        numbers = {event.number for event in dictionary.events}
        labels = {number: str(number) for number in sorted(numbers)} if self._dialect.event_labels else {}
        for name, bits in {**_HEADER_BITS, **_PUS_BITS, **_REQUEST_BITS, "HK_SID": 16, "PUS_CRC": 16}.items():
            self._unsigned(name, bits)
        self._unsigned(EVENT_PARAMETER, 16, labels)
        self._unsigned(FAILURE_CODE, 16, dictionary.failures)
        self._failure_entries = (FAILURE_CODE, *self._field(Field(FAILURE_DETAIL, "str"), FAILURE_DETAIL))
        add_time_type(self._types, f"{TIME_PARAMETER}_t", "Parameter")
        add(self._parameters, "Parameter", name=TIME_PARAMETER, parameterTypeRef=f"{TIME_PARAMETER}_t")
        self._container(ROOT_CONTAINER, _HEADER_BITS, abstract=True)
        self._octets("IDLE_DATA", "IdlePacket", {"PKT_APID": IDLE_APID}, "fill between packets")
        if "files" in dictionary.apids:
            where = {"PKT_APID": dictionary.apids["files"], "PKT_SEC_HDR": 0}
            self._octets("CFDP_PDU", "CfdpPdu", where, "a CFDP protocol data unit, CCSDS 727.0-B-5")
        self._container(
            "PusTelemetry", ["PUS_VERSION", "PUS_TIME_STATUS", "PUS_SERVICE"], ROOT_CONTAINER,
            {"PKT_TYPE": 0, "PKT_SEC_HDR": 1}, abstract=True,
        )  # fmt: skip
        rest = ["PUS_COUNTER", "PUS_DESTINATION", TIME_PARAMETER]
        self._container(
            "VerificationReport", ["VERIFICATION_SUBTYPE", *rest], "PusTelemetry", {"PUS_SERVICE": 1}, abstract=True
        )
        self._container("RequestReport", _REQUEST_BITS, "VerificationReport", {}, abstract=True)
        self._container("PusReport", ["PUS_SUBTYPE", *rest], "PusTelemetry", {"PUS_SERVICE": "!=1"}, abstract=True)
        self._container(
            "HousekeepingReport", ["HK_SID"], "PusReport", {"PUS_SERVICE": 3, "PUS_SUBTYPE": 25}, abstract=True
        )
        # Of service 5 only the first four subtypes are events (6.5.4). The list of disabled ones, for example, begins
        # with something else than an event's number.
        events: Mapping[str, object] = {"PUS_SERVICE": 5, "PUS_SUBTYPE": "<=4"}
        self._container("EventReport", [EVENT_PARAMETER], "PusReport", events, abstract=True)

    def _packet(self, packet: _Packet, fields: Iterable[Field]) -> None:
        entries: list[str] = []
        plain, rest = _split(tuple(fields), self._dialect)
        for field in plain:
            entries += self._field(field, parameter_name(packet.name, field.name))
        if rest:
            bits = BITS_BEFORE[packet.base] + sum(map(_bits, plain)) + _CRC_BITS * len(packet.end)
            listed = ", ".join(f"{field.name} ({field.type})" for field in rest)
            entries.append(self._binary(parameter_name(packet.name, rest[0].name), bits, f"octets of {listed}"))
        self._container(packet.name, [*entries, *packet.end], packet.base, packet.where, packet.text)

    def _field(self, field: Field, parameter: str) -> list[str]:
        """Write the parameters of one field; return their names, in the order in which they stand in the packet."""
        entries: list[str] = []
        length = f"{parameter}__octets"
        if field.type == "str" and not self._dialect.leading_size:
            self._unsigned(length, 8)
            entries.append(length)
        if field.type == "rows":
            count = f"{parameter}__count"
            self._unsigned(count, 8)
            entries.append(count)
            add_array_types(self._types, field, parameter, "Parameter", count, self._dialect)
        else:
            add_type(self._types, field, parameter, "Parameter", length, self._dialect)
        element = add(self._parameters, "Parameter", name=parameter, parameterTypeRef=f"{parameter}_t")
        if field.text:
            element.set("shortDescription", text_of(field.text))
        add_ancillary(element, refers=field.refers, nan=nan_text(field))
        return [*entries, parameter]

    def _unsigned(self, name: str, bits: int, labels: Mapping[int, str] | None = None) -> None:
        add_unsigned_type(self._types, name, bits, labels)
        add(self._parameters, "Parameter", name=name, parameterTypeRef=f"{name}_t")

    def _octets(self, parameter: str, container: str, where: Mapping[str, object], text: str) -> None:
        """Write a container whose content is one stretch of octets up to the end of the packet."""
        self._container(container, [self._binary(parameter, 0, "")], ROOT_CONTAINER, where, text)

    def _binary(self, parameter: str, other_bits: int, text: str) -> str:
        """Write a parameter of all octets of the packet's data field but for `other_bits`; return its name."""
        parameter_type = add(self._types, "BinaryParameterType", name=f"{parameter}_t")
        size = add(add(parameter_type, "BinaryDataEncoding"), "SizeInBits")
        # The length field of a space packet is one less than the octets of its data field: 8 bits are added.
        add_size(size, "Parameter", "PKT_LENGTH", intercept=8 - other_bits)
        entered = add(self._parameters, "Parameter", name=parameter, parameterTypeRef=f"{parameter}_t")
        if text:
            entered.set("shortDescription", text_of(text))
        return parameter

    def _container(
        self, name: str, entries: Iterable[str], base: str = "", where: Mapping[str, object] | None = None,
        text: str = "", *, abstract: bool = False,
    ) -> None:  # fmt: skip
        container = add(self._containers, "SequenceContainer", name=name)
        if abstract:
            container.set("abstract", "true")
        if text:
            container.set("shortDescription", text_of(text))
        listed = add(container, "EntryList")
        for entry in entries:
            add(listed, "ParameterRefEntry", parameterRef=entry)
        if not base:
            return
        derived = add(container, "BaseContainer", containerRef=base)
        if where:
            comparisons = add(add(derived, "RestrictionCriteria"), "ComparisonList")
            for parameter, value in where.items():
                operator, number = _COMPARISON.fullmatch(str(value)).groups()  # type: ignore[union-attr]
                comparison = add(comparisons, "Comparison", parameterRef=parameter, value=number)
                if operator:
                    comparison.set("comparisonOperator", operator)


def _split(fields: tuple[Field, ...], dialect: Dialect) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    """Split the fields into those that can be entries, and those whose place XTCE cannot express."""
    # A text alone is fine: its own length entry says where the next field begins. So are rows as an array, unless a
    # packet is among them, whose length is known by its own header alone.
    inner = {column.type for field in fields for column in field.fields}
    types = {field.type for field in fields}
    if "packet" not in inner | types and (dialect.arrays or "rows" not in types):
        return fields, ()
    first = next(i for i, field in enumerate(fields) if field.type in ("str", "rows", "packet"))
    return fields[:first], fields[first:]


def _bits(field: Field) -> int:
    """Return the size in bits of a field of constant length."""
    return TIME_BITS if field.type == "time" else int(field.type[1:])
