"""The dictionary as an XTCE 1.2 document (OMG), for other ground systems.

One parameter per field, named `<container>__<field>`; one container per packet, chosen by restriction criteria from the
space packet header down. Facts for which XTCE has no element stand as ancillary data:

    refers      what a number is the number of
    nan         how our limits judge a value that is not a number, or that an argument must not be one
    rows        how many rows the command takes, which is offered with one
    parameters  the range of each on-board parameter that the value may be of
"""

# Where the format and our wire differ, and what we do about it:
#
# - Packet time is CUC 4+2 as one 48-bit integer, TAI: XTCE has no type for CUC.
# - A text is two entries, its length in octets and the characters: XTCE's own LeadingSize counts in bits.
# - Service 1 keeps its subtype in a parameter of its own, so that no other report can be read as a verification.
# - Rows repeat, and XTCE cannot say where a field behind them begins. So everything from a report's first field of
#   varying length on is one stretch of octets, sized by the packet's length. A command with rows is offered with one
#   row; the length of a packet that it carries is an argument, which is not sent.
# - Every number that a command takes has a range, its own or what its type holds: this leaves out NaN and infinity.
# - Documents of others may have any names and texts. What a name must not contain becomes `_`, with a number if that
#   makes two names equal; what XML does not allow becomes U+FFFD.

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flight.contract.dictionary import Command, Dictionary
from flight.contract.fields import ROWS_MAX, STRING_OCTETS_MAX, Field, Refers
from flight.link.pus import ACK_ACCEPTANCE, ACK_COMPLETION, ACK_START, PUS_VERSION
from flight.link.space_packet import IDLE_APID, PACKET_OCTETS_MIN
from ground.telemetry.limits import limit_state

NAMESPACE = "http://www.omg.org/spec/XTCE/20180204"
ROOT_CONTAINER = "CCSDSPacket"
TIME_PARAMETER = "PUS_TIME"

_HEADER_BITS = {
    "PKT_VERSION": 3, "PKT_TYPE": 1, "PKT_SEC_HDR": 1, "PKT_APID": 11, "PKT_SEQ_FLAGS": 2, "PKT_SEQ_COUNT": 14,
    "PKT_LENGTH": 16,
}  # fmt: skip
_PUS_BITS = {
    "PUS_VERSION": 4, "PUS_TIME_STATUS": 4, "PUS_SERVICE": 8, "PUS_SUBTYPE": 8, "VERIFICATION_SUBTYPE": 8,
    "PUS_COUNTER": 16, "PUS_DESTINATION": 16,
}  # fmt: skip
_FRACTION_BITS = 16
_TIME_BITS = 48
_CRC_BITS = 16
_LONG_MAX = (1 << 63) - 1  # of the schema's xs:long, in which ranges of integers are written
# Bits between the end of the space packet's header and the fields.
_BITS_BEFORE = {
    ROOT_CONTAINER: 0, "PusReport": 104, "VerificationReport": 104, "HousekeepingReport": 120, "EventReport": 120,
}  # fmt: skip


# What NameType does not allow, and what XML 1.0 does not.
_UNNAMABLE = re.compile(r"[./:\[\]\s\x00-\x20\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# Names of our own containers, which no packet may have.
_RESERVED = (*_BITS_BEFORE, "PusTelemetry", "IdlePacket", "CfdpPdu")


def parameter_name(container: str, field: str) -> str:
    """Return the name of the XTCE parameter for one field of a structure, event or report."""
    return f"{container}__{field}"


def xtce_document(dictionary: Dictionary) -> str:
    """Return the whole document, UTF-8 with declaration, the same text for the same dictionary."""
    sha256 = dictionary.document()["sha256"]  # of the names as they are, before they are changed for XTCE
    dictionary = named_for_xtce(dictionary)
    root = ET.Element("SpaceSystem", {"xmlns": NAMESPACE, "name": dictionary.mission})
    _add(root, "LongDescription").text = _text(
        f"Spacecraft {dictionary.spacecraft_id:#x}, dictionary {dictionary.version}, sha256 {sha256}"
    )
    _add(root, "Header", version=dictionary.version, validationStatus="Working")
    telemetry = _add(root, "TelemetryMetaData")
    _Telemetry(telemetry).write(dictionary)
    if dictionary.commands:
        _write_commands(_add(root, "CommandMetaData"), dictionary)
    ET.indent(root)  # for people; ElementTree writes attributes in the order given, so the text is always the same
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _add(parent: ET.Element, tag: str, /, **attributes: object) -> ET.Element:
    return ET.SubElement(parent, tag, {key: _text(value) for key, value in attributes.items()})


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _UNWRITABLE.sub("\ufffd", str(value))


def named_for_xtce(dictionary: Dictionary) -> Dictionary:
    """Return the dictionary with names that XTCE allows (NameType), and that are unique within their set.

    Packets share one set of names, commands another, the fields of each a third. Names of our own do not change.
    """
    packets, commands = _Names(_RESERVED), _Names()

    def fields(given: tuple[Field, ...]) -> tuple[Field, ...]:
        names = _Names()
        return tuple(replace(field, name=names.of(field.name), fields=fields(field.fields)) for field in given)

    return replace(
        dictionary,
        mission=_Names().of(dictionary.mission),
        structures=tuple(replace(s, name=packets.of(s.name), fields=fields(s.fields)) for s in dictionary.structures),
        events=tuple(replace(e, name=packets.of(e.name), fields=fields(e.fields)) for e in dictionary.events),
        reports=tuple(replace(r, name=packets.of(r.name), fields=fields(r.fields)) for r in dictionary.reports),
        commands=tuple(
            replace(c, name=commands.of(c.name), arguments=fields(c.arguments)) for c in dictionary.commands
        ),
    )


class _Names:
    """A set of names, each given out once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def of(self, name: str) -> str:
        """Return a name that XTCE allows and that was not given out before, as near to `name` as can be."""
        plain = free = _UNNAMABLE.sub("_", name) or "_"
        number = 1
        while free in self._taken:
            number += 1
            free = f"{plain}_{number}"
        self._taken.add(free)
        return free


class _Telemetry:
    """Writes types, parameters and containers, in the order in which they are needed."""

    def __init__(self, parent: ET.Element) -> None:
        self._types = _add(parent, "ParameterTypeSet")
        self._parameters = _add(parent, "ParameterSet")
        self._containers = _add(parent, "ContainerSet")

    def write(self, dictionary: Dictionary) -> None:
        """Write everything that the dictionary says of telemetry."""
        self._headers(dictionary)
        for structure in dictionary.structures:
            where = {"PKT_APID": structure.apid, "HK_SID": structure.sid}
            self._packet(structure.name, structure.fields, "HousekeepingReport", where, f"every {structure.period_s} s")
        for event in dictionary.events:
            where = {"PKT_APID": event.apid, "PUS_SUBTYPE": event.subtype, "EVENT_NUMBER": event.number}
            self._packet(event.name, event.fields, "EventReport", where, f"{event.severity}: {event.text}")
        for report in dictionary.reports:
            text = f"TM[{report.service},{report.subtype}]"
            if report.apid == dictionary.apids.get("time"):
                where = {"PKT_APID": report.apid, "PKT_SEC_HDR": 0}
                self._packet(report.name, report.fields, ROOT_CONTAINER, where, text, end=())
            elif report.service == 1:
                where = {"PKT_APID": report.apid, "VERIFICATION_SUBTYPE": report.subtype}
                self._packet(report.name, report.fields, "VerificationReport", where, text)
            else:
                where = {"PKT_APID": report.apid, "PUS_SERVICE": report.service, "PUS_SUBTYPE": report.subtype}
                self._packet(report.name, report.fields, "PusReport", where, text)

    def _headers(self, dictionary: Dictionary) -> None:
        """Write everything that stands before the fields of a packet."""
        for name, bits in {**_HEADER_BITS, **_PUS_BITS, "HK_SID": 16, "EVENT_NUMBER": 16, "PUS_CRC": 16}.items():
            self._unsigned(name, bits)
        self._time()
        self._container(ROOT_CONTAINER, _HEADER_BITS, abstract=True)
        self._rest("IDLE_DATA", "IdlePacket", {"PKT_APID": IDLE_APID}, "fill between packets")
        if "files" in dictionary.apids:
            where = {"PKT_APID": dictionary.apids["files"], "PKT_SEC_HDR": 0}
            self._rest("CFDP_PDU", "CfdpPdu", where, "a CFDP protocol data unit, CCSDS 727.0-B-5")
        self._container(
            "PusTelemetry", ["PUS_VERSION", "PUS_TIME_STATUS", "PUS_SERVICE"], ROOT_CONTAINER,
            {"PKT_TYPE": 0, "PKT_SEC_HDR": 1}, abstract=True,
        )  # fmt: skip
        rest = ["PUS_COUNTER", "PUS_DESTINATION", TIME_PARAMETER]
        self._container(
            "VerificationReport", ["VERIFICATION_SUBTYPE", *rest], "PusTelemetry", {"PUS_SERVICE": 1}, abstract=True
        )
        self._container("PusReport", ["PUS_SUBTYPE", *rest], "PusTelemetry", {"PUS_SERVICE": "!1"}, abstract=True)
        self._container(
            "HousekeepingReport", ["HK_SID"], "PusReport", {"PUS_SERVICE": 3, "PUS_SUBTYPE": 25}, abstract=True
        )
        self._container("EventReport", ["EVENT_NUMBER"], "PusReport", {"PUS_SERVICE": 5}, abstract=True)

    def _packet(self, name: str, fields: Iterable[Field], base: str, where: Mapping[str, object], text: str,
                end: tuple[str, ...] = ("PUS_CRC",)) -> None:  # fmt: skip
        entries: list[str] = []
        plain, rest = _split(tuple(fields))
        for field in plain:
            parameter = parameter_name(name, field.name)
            if field.type == "str":
                self._unsigned(f"{parameter}__octets", 8)
                entries.append(f"{parameter}__octets")
            _write_type(self._types, field, parameter, "Parameter", f"{parameter}__octets")
            element = _add(self._parameters, "Parameter", name=parameter, parameterTypeRef=f"{parameter}_t")
            if field.text:
                element.set("shortDescription", _text(field.text))
            _ancillary(element, refers=field.refers, nan=_nan_text(field))
            entries.append(parameter)
        if rest:
            bits = _BITS_BEFORE[base] + sum(map(_bits, plain)) + _CRC_BITS * len(end)
            listed = ", ".join(f"{field.name} ({field.type})" for field in rest)
            entries.append(self._binary(parameter_name(name, rest[0].name), bits, f"octets of {listed}"))
        self._container(name, [*entries, *end], base, where, text)

    def _unsigned(self, name: str, bits: int) -> None:
        number = _add(self._types, "IntegerParameterType", name=f"{name}_t", signed=False, sizeInBits=max(bits, 8))
        _add(number, "IntegerDataEncoding", sizeInBits=bits, encoding="unsigned")
        _add(self._parameters, "Parameter", name=name, parameterTypeRef=f"{name}_t")

    def _time(self) -> None:
        _time_type(self._types, f"{TIME_PARAMETER}_t", "Parameter")
        _add(self._parameters, "Parameter", name=TIME_PARAMETER, parameterTypeRef=f"{TIME_PARAMETER}_t")

    def _rest(self, parameter: str, container: str, where: Mapping[str, object], text: str) -> None:
        """Write a container whose content is one stretch of octets up to the end of the packet."""
        self._container(container, [self._binary(parameter, 0, "")], ROOT_CONTAINER, where, text)

    def _binary(self, parameter: str, other_bits: int, text: str) -> str:
        """Write a parameter of all octets of the packet's data field but for `other_bits`; return its name."""
        parameter_type = _add(self._types, "BinaryParameterType", name=f"{parameter}_t")
        size = _add(_add(parameter_type, "BinaryDataEncoding"), "SizeInBits")
        # The length field of a space packet is one less than the octets of its data field: 8 bits are added.
        _sized_by(size, "ParameterInstanceRef", "parameterRef", "PKT_LENGTH", intercept=8 - other_bits)
        entered = _add(self._parameters, "Parameter", name=parameter, parameterTypeRef=f"{parameter}_t")
        if text:
            entered.set("shortDescription", _text(text))
        return parameter

    def _container(
        self, name: str, entries: Iterable[str], base: str = "", where: Mapping[str, object] | None = None,
        text: str = "", *, abstract: bool = False,
    ) -> None:  # fmt: skip
        container = _add(self._containers, "SequenceContainer", name=name)
        if abstract:
            container.set("abstract", "true")
        if text:
            container.set("shortDescription", _text(text))
        listed = _add(container, "EntryList")
        for entry in entries:
            _add(listed, "ParameterRefEntry", parameterRef=entry)
        if base:
            criteria = _add(_add(container, "BaseContainer", containerRef=base), "RestrictionCriteria")
            comparisons = _add(criteria, "ComparisonList")
            for parameter, value in (where or {}).items():
                shown = str(value)
                comparison = _add(comparisons, "Comparison", parameterRef=parameter, value=shown.lstrip("!"))
                if shown.startswith("!"):
                    comparison.set("comparisonOperator", "!=")


def _split(fields: tuple[Field, ...]) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    """Split the fields into those that can be entries, and those whose place XTCE can no longer express."""
    # A text alone is fine: its own length entry says where the next field begins.
    if not any(field.type in ("rows", "packet") for field in fields):
        return fields, ()
    first = next(i for i, field in enumerate(fields) if field.type in ("str", "rows", "packet"))
    return fields[:first], fields[first:]


def _bits(field: Field) -> int:
    """Return the size in bits of a field of constant length."""
    return _TIME_BITS if field.type == "time" else int(field.type[1:])


def _sized_by(size: ET.Element, tag: str, key: str, name: str, *, intercept: int = 0) -> None:
    """Write a size of 8 bits per octet that `name` counts, and `intercept` bits more."""
    dynamic = _add(size, "DynamicValue")
    _add(dynamic, tag, **{key: name})
    _add(dynamic, "LinearAdjustment", slope=8, intercept=intercept)


def _write_type(parent: ET.Element, field: Field, name: str, kind: str, length: str) -> None:
    """Write the parameter or argument type `<name>_t` of a field; `length` is the entry that counts a text's octets."""
    attributes: dict[str, Any] = {"name": f"{name}_t"}
    if kind == "Argument" and field.default is not None:
        attributes["initialValue"] = _text(field.label(field.default))
    if field.type == "str":
        _text_type(parent, kind, length, attributes)
    elif field.type == "time":
        _time_type(parent, f"{name}_t", kind)
    elif field.type == "packet":
        size = _add(_add(_add(parent, f"Binary{kind}Type", **attributes), "BinaryDataEncoding"), "SizeInBits")
        _sized_by(size, f"{kind}InstanceRef", f"{kind.lower()}Ref", length)
    else:
        _number_type(parent, field, kind, attributes)


def _text_type(parent: ET.Element, kind: str, length: str, attributes: Mapping[str, Any]) -> None:
    text_type = _add(parent, f"String{kind}Type", **attributes)
    _add(text_type, "UnitSet")
    encoding = _add(text_type, "StringDataEncoding", encoding="UTF-8")
    variable = _add(encoding, "Variable", maxSizeInBits=8 * STRING_OCTETS_MAX)
    _sized_by(variable, f"{kind}InstanceRef", f"{kind.lower()}Ref", length)


def _number_type(parent: ET.Element, field: Field, kind: str, attributes: Mapping[str, Any]) -> None:
    """Write the type of a number, with its unit and with what its values mean or may be."""
    bits = int(field.type[1:])
    if field.labels:
        number_type = _add(parent, f"Enumerated{kind}Type", **attributes)
    elif field.type[0] == "f":
        number_type = _add(parent, f"Float{kind}Type", **attributes, sizeInBits=bits)
    else:
        number_type = _add(parent, f"Integer{kind}Type", **attributes, signed=field.type[0] == "i", sizeInBits=bits)
    units = _add(number_type, "UnitSet")
    if field.unit:
        _add(units, "Unit").text = _text(field.unit)
    _encoding(number_type, field, bits)
    if field.labels:
        listed = _add(number_type, "EnumerationList")
        for value, label in enumerate(field.labels):
            _add(listed, "Enumeration", value=value, label=label)
    elif kind == "Parameter":
        _alarms(number_type, field)
    else:
        low, high = field.bounds
        if field.type[0] != "f":  # the schema's integers are signed and have 64 bits
            low, high = max(math.ceil(low), -_LONG_MAX - 1), min(math.floor(high), _LONG_MAX)
        _range(_add(number_type, "ValidRangeSet"), "ValidRange", low, high, field.type[0] == "f")


def _ancillary(parent: ET.Element, **texts: str) -> None:
    """Write facts for which XTCE has no element, on a parameter or argument (see the head of the file)."""
    given = {name: text for name, text in texts.items() if text}
    if given:
        listed = _add(parent, "AncillaryDataSet")
        for name, text in given.items():
            _add(listed, "AncillaryData", name=name).text = _text(text)


def _nan_text(field: Field) -> str:
    """Return how our limits judge a value that is not a number (ground/telemetry/limits.py)."""
    if field.limits is None or field.type[0] != "f":
        return ""
    return f"{limit_state(math.nan, field.limits)}: a value that is not a number is outside of every range"


def _time_type(parent: ET.Element, name: str, kind: str) -> None:
    """Write CUC 4+2 (301.0-B-4, 3.2) as one integer in units of 2^-16 s since 1958-01-01 TAI."""
    time_type = _add(parent, f"AbsoluteTime{kind}Type", name=name)
    encoding = _add(time_type, "Encoding", units="seconds", scale=repr(2.0**-_FRACTION_BITS))
    _add(encoding, "IntegerDataEncoding", sizeInBits=_TIME_BITS, encoding="unsigned")
    _add(_add(time_type, "ReferenceTime"), "Epoch").text = "TAI"


def _encoding(parent: ET.Element, field: Field, bits: int) -> None:
    if field.type[0] == "f":
        _add(parent, "FloatDataEncoding", sizeInBits=bits, encoding="IEEE754_1985")
    else:
        encoding = "unsigned" if field.type[0] == "u" else "twosComplement"
        _add(parent, "IntegerDataEncoding", sizeInBits=bits, encoding=encoding)


def _alarms(parent: ET.Element, field: Field) -> None:
    """Write yellow limits as warning, red ones as critical: there is an alarm outside of each interval."""
    if field.limits is None:
        return
    ranges = _add(_add(parent, "DefaultAlarm"), "StaticAlarmRanges")
    for tag, interval in (("WarningRange", field.limits.yellow), ("CriticalRange", field.limits.red)):
        if interval is not None:
            _range(ranges, tag, interval[0], interval[1], True)


def _range(parent: ET.Element, tag: str, low: float | None, high: float | None, is_float: bool) -> None:
    range_element = _add(parent, tag)
    for key, value in (("minInclusive", low), ("maxInclusive", high)):
        if value is not None:
            range_element.set(key, repr(float(value)) if is_float else str(int(value)))


@dataclass(frozen=True, slots=True)
class _Argument:
    """One thing that a command carries. `field` is None for the count of rows, which is always 1.

    An argument that is not `sent` only says how long the next one is.
    """

    name: str
    field: Field | None
    sent: bool = True


def _write_commands(parent: ET.Element, dictionary: Dictionary) -> None:
    """Write a MetaCommand per command. The sending system fills in count, length and packet error control."""
    types = _add(parent, "ArgumentTypeSet")
    commands = _add(parent, "MetaCommandSet")
    settings = "; ".join(f"{s.name} {s.minimum:g} .. {s.maximum:g}" for s in dictionary.settings)
    for command in dictionary.commands:
        rows = any(field.type == "rows" for field in command.arguments)
        text = f"{command.text}; with one row" if rows else command.text
        meta_command = _add(commands, "MetaCommand", name=command.name, shortDescription=text)
        _ancillary(meta_command, rows=f"0 .. {ROWS_MAX}" if rows else "")
        arguments = _arguments(command.arguments, "")
        if any(argument.field is not None for argument in arguments):
            listed = _add(meta_command, "ArgumentList")
        for argument in arguments:
            if argument.field is not None:
                bounded = _of_settings(argument.field, dictionary)
                _write_type(types, bounded, f"{command.name}__{argument.name}", "Argument", f"{argument.name}__octets")
                type_name = f"{command.name}__{argument.name}_t"
                element = _add(listed, "Argument", name=argument.name, argumentTypeRef=type_name)
                _ancillary(
                    element, refers=argument.field.refers, nan="not admitted" if argument.field.type[0] == "f" else "",
                    parameters=settings if argument.field.refers == Refers.SETTING_VALUE else "",
                )  # fmt: skip
        _command_container(meta_command, command, arguments)
    if not len(types):
        parent.remove(types)  # the schema does not allow an empty set


def _of_settings(field: Field, dictionary: Dictionary) -> Field:
    """Return a value of an on-board parameter with the range that covers all parameters; any other field as it is."""
    if field.refers != Refers.SETTING_VALUE or not dictionary.settings:
        return field
    least = min(setting.minimum for setting in dictionary.settings)
    return replace(field, minimum=least, maximum=max(setting.maximum for setting in dictionary.settings))


def _arguments(fields: Iterable[Field], prefix: str) -> list[_Argument]:
    """Return the arguments as entries: before a text stands the number of its octets, before rows their number."""
    arguments: list[_Argument] = []
    for field in fields:
        name = prefix + field.name
        if field.type == "rows":
            arguments += [_Argument(f"{name}__count", None), *_arguments(field.fields, f"{name}__")]
            continue
        if field.type == "str":
            arguments.append(_Argument(f"{name}__octets", Field(f"{name}__octets", "u8")))
        elif field.type == "packet":
            octets = Field(f"{name}__octets", "u16", minimum=PACKET_OCTETS_MIN)
            arguments.append(_Argument(f"{name}__octets", octets, sent=False))
        arguments.append(_Argument(name, field))
    return arguments


def _command_container(parent: ET.Element, command: Command, arguments: list[_Argument]) -> None:
    ack = ACK_ACCEPTANCE | ACK_START | ACK_COMPLETION
    fixed: list[tuple[str, int, int]] = [
        ("packet_id", 16, 0x1800 | command.apid),  # a telecommand with a secondary header
        ("sequence_control", 16, 0xC000),  # unsegmented
        ("length", 16, 0),
        ("pus_version_ack", 8, PUS_VERSION << 4 | ack),
        ("service", 8, command.service),
        ("subtype", 8, command.subtype),
        ("source", 16, 0),
    ]
    if command.function is not None:
        fixed.append(("function", 16, command.function))
    entries = _add(_add(parent, "CommandContainer", name=f"{command.name}_packet"), "EntryList")
    for name, bits, value in fixed:
        _fixed(entries, name, bits, value)
    for argument in arguments:
        if argument.field is None:
            _fixed(entries, argument.name, 8, 1)
        elif argument.sent:
            _add(entries, "ArgumentRefEntry", argumentRef=argument.name)


def _fixed(entries: ET.Element, name: str, bits: int, value: int) -> None:
    _add(entries, "FixedValueEntry", name=name, binaryValue=f"{value:0{bits // 4}x}", sizeInBits=bits)
