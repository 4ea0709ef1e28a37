"""The dictionary as an XTCE 1.2 document (OMG), for other ground systems.

One parameter per field, named `<container>__<field>`; one container per packet, chosen by restriction criteria from the
space packet header down. Packet time is CUC 4+2 as one 48-bit integer, TAI. A text is two entries: its length in
octets, and the characters, sized by it: XTCE's own LeadingSize counts in bits, which the wire does not. Service 1
keeps its subtype in a parameter of its own, so that no other report can be read as a verification.

A report with rows or whole packets in it has everything from its first field of varying length on as one stretch of
octets, sized by the packet's length. A command with rows is offered with one row; the length of a packet that it
carries is an argument, which is not sent.

Every number that a command takes has the range that we admit: its own, else what its type holds, which leaves out what
is not finite. What has no element in XTCE stands as ancillary data:

    refers      what a number is the number of
    nan         what a value that is no number is taken for by our limits, or that an argument must not be one
    rows        how many rows the command takes, which is offered with one
    parameters  the range of each on-board parameter that the value may be of

Documents of others may have any names and texts. A name that XTCE does not allow is written with `_` for what it must
not have, and numbered if another one is written so; what XML does not allow is written as U+FFFD.
"""

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
_LONG_MAX = (1 << 63) - 1
# From the end of the space packet's header to the fields.
_BITS_BEFORE = {
    ROOT_CONTAINER: 0, "PusReport": 104, "VerificationReport": 104, "HousekeepingReport": 120, "EventReport": 120,
}  # fmt: skip


# What NameType does not allow, and what XML 1.0 does not.
_UNNAMABLE = re.compile(r"[./:\[\]\s\x00-\x20\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# Containers of our own: no packet is called so.
_RESERVED = (*_BITS_BEFORE, "PusTelemetry", "IdlePacket", "CfdpPdu")


def parameter_name(container: str, field: str) -> str:
    """The XTCE parameter for one field of a structure, event or report."""
    return f"{container}__{field}"


def xtce_document(dictionary: Dictionary) -> str:
    """The whole document, UTF-8 with declaration, the same text for the same dictionary."""
    sha256 = dictionary.document()["sha256"]
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
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _add(parent: ET.Element, tag: str, /, **attributes: object) -> ET.Element:
    return ET.SubElement(parent, tag, {key: _text(value) for key, value in attributes.items()})


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _UNWRITABLE.sub("\ufffd", str(value))


def named_for_xtce(dictionary: Dictionary) -> Dictionary:
    """The dictionary with names that XTCE allows (NameType), each once: of packets together, of commands, of the fields
    of each. Names of our own are as they are.
    """
    packets, commands = _Names(_RESERVED), _Names()

    def fields(given: tuple[Field, ...]) -> tuple[Field, ...]:
        names = _Names()
        return tuple(replace(one, name=names.of(one.name), fields=fields(one.fields)) for one in given)

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
    """Names in one set, each given out once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def of(self, name: str) -> str:
        plain = made = _UNNAMABLE.sub("_", name) or "_"
        number = 1
        while made in self._taken:
            number += 1
            made = f"{plain}_{number}"
        self._taken.add(made)
        return made


class _Telemetry:
    """Types, parameters and containers as they are met."""

    def __init__(self, parent: ET.Element) -> None:
        self._types = _add(parent, "ParameterTypeSet")
        self._parameters = _add(parent, "ParameterSet")
        self._containers = _add(parent, "ContainerSet")

    def write(self, dictionary: Dictionary) -> None:
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
        """Everything that stands before the fields of a packet."""
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
        for one in plain:
            parameter = parameter_name(name, one.name)
            if one.type == "str":
                self._unsigned(f"{parameter}__octets", 8)
                entries.append(f"{parameter}__octets")
            _write_type(self._types, one, parameter, "Parameter", f"{parameter}__octets")
            made = _add(self._parameters, "Parameter", name=parameter, parameterTypeRef=f"{parameter}_t")
            if one.text:
                made.set("shortDescription", _text(one.text))
            _ancillary(made, refers=one.refers, nan=_nan_text(one))
            entries.append(parameter)
        if rest:
            bits = _BITS_BEFORE[base] + sum(map(_bits, plain)) + _CRC_BITS * len(end)
            listed = ", ".join(f"{one.name} ({one.type})" for one in rest)
            entries.append(self._binary(parameter_name(name, rest[0].name), bits, f"octets of {listed}"))
        self._container(name, [*entries, *end], base, where, text)

    def _unsigned(self, name: str, bits: int) -> None:
        made = _add(self._types, "IntegerParameterType", name=f"{name}_t", signed=False, sizeInBits=max(bits, 8))
        _add(made, "IntegerDataEncoding", sizeInBits=bits, encoding="unsigned")
        _add(self._parameters, "Parameter", name=name, parameterTypeRef=f"{name}_t")

    def _time(self) -> None:
        _time_type(self._types, f"{TIME_PARAMETER}_t", "Parameter")
        _add(self._parameters, "Parameter", name=TIME_PARAMETER, parameterTypeRef=f"{TIME_PARAMETER}_t")

    def _rest(self, parameter: str, container: str, where: Mapping[str, object], text: str) -> None:
        """A container whose content is one stretch of octets up to the end of the packet."""
        self._container(container, [self._binary(parameter, 0, "")], ROOT_CONTAINER, where, text)

    def _binary(self, parameter: str, other_bits: int, text: str) -> str:
        """A parameter of all octets of the packet's data field but for `other_bits`; its name."""
        made = _add(self._types, "BinaryParameterType", name=f"{parameter}_t")
        size = _add(_add(made, "BinaryDataEncoding"), "SizeInBits")
        _sized_by(size, "ParameterInstanceRef", "parameterRef", "PKT_LENGTH", intercept=8 - other_bits)
        entered = _add(self._parameters, "Parameter", name=parameter, parameterTypeRef=f"{parameter}_t")
        if text:
            entered.set("shortDescription", _text(text))
        return parameter

    def _container(
        self, name: str, entries: Iterable[str], base: str = "", where: Mapping[str, object] | None = None,
        text: str = "", *, abstract: bool = False,
    ) -> None:  # fmt: skip
        made = _add(self._containers, "SequenceContainer", name=name)
        if abstract:
            made.set("abstract", "true")
        if text:
            made.set("shortDescription", _text(text))
        listed = _add(made, "EntryList")
        for entry in entries:
            _add(listed, "ParameterRefEntry", parameterRef=entry)
        if base:
            criteria = _add(_add(made, "BaseContainer", containerRef=base), "RestrictionCriteria")
            comparisons = _add(criteria, "ComparisonList")
            for parameter, value in (where or {}).items():
                shown = str(value)
                one = _add(comparisons, "Comparison", parameterRef=parameter, value=shown.lstrip("!"))
                if shown.startswith("!"):
                    one.set("comparisonOperator", "!=")


def _split(fields: tuple[Field, ...]) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    """The fields that can be entries, and those from where XTCE can no longer say where one begins."""
    if not any(one.type in ("rows", "packet") for one in fields):
        return fields, ()
    first = next(i for i, one in enumerate(fields) if one.type in ("str", "rows", "packet"))
    return fields[:first], fields[first:]


def _bits(one: Field) -> int:
    """The size of a field of constant length."""
    return _TIME_BITS if one.type == "time" else int(one.type[1:])


def _sized_by(size: ET.Element, tag: str, key: str, name: str, *, intercept: int = 0) -> None:
    """A size of 8 bits an octet that `name` counts."""
    dynamic = _add(size, "DynamicValue")
    _add(dynamic, tag, **{key: name})
    _add(dynamic, "LinearAdjustment", slope=8, intercept=intercept)


def _write_type(parent: ET.Element, one: Field, name: str, kind: str, length: str) -> None:
    """The parameter or argument type `<name>_t` of a field; `length` is the entry that counts a text's octets."""
    attributes: dict[str, Any] = {"name": f"{name}_t"}
    if kind == "Argument" and one.default is not None:
        attributes["initialValue"] = _text(one.label(one.default))
    if one.type == "str":
        _text_type(parent, kind, length, attributes)
    elif one.type == "time":
        _time_type(parent, f"{name}_t", kind)
    elif one.type == "packet":
        size = _add(_add(_add(parent, f"Binary{kind}Type", **attributes), "BinaryDataEncoding"), "SizeInBits")
        _sized_by(size, f"{kind}InstanceRef", f"{kind.lower()}Ref", length)
    else:
        _number_type(parent, one, kind, attributes)


def _text_type(parent: ET.Element, kind: str, length: str, attributes: Mapping[str, Any]) -> None:
    made = _add(parent, f"String{kind}Type", **attributes)
    _add(made, "UnitSet")
    encoding = _add(made, "StringDataEncoding", encoding="UTF-8")
    variable = _add(encoding, "Variable", maxSizeInBits=8 * STRING_OCTETS_MAX)
    _sized_by(variable, f"{kind}InstanceRef", f"{kind.lower()}Ref", length)


def _number_type(parent: ET.Element, one: Field, kind: str, attributes: Mapping[str, Any]) -> None:
    """With its unit, and what its values mean or may be."""
    bits = int(one.type[1:])
    if one.labels:
        made = _add(parent, f"Enumerated{kind}Type", **attributes)
    elif one.type[0] == "f":
        made = _add(parent, f"Float{kind}Type", **attributes, sizeInBits=bits)
    else:
        made = _add(parent, f"Integer{kind}Type", **attributes, signed=one.type[0] == "i", sizeInBits=bits)
    units = _add(made, "UnitSet")
    if one.unit:
        _add(units, "Unit").text = _text(one.unit)
    _encoding(made, one, bits)
    if one.labels:
        listed = _add(made, "EnumerationList")
        for value, label in enumerate(one.labels):
            _add(listed, "Enumeration", value=value, label=label)
    elif kind == "Parameter":
        _alarms(made, one)
    else:
        low, high = one.bounds
        if one.type[0] != "f":  # the schema's integers are signed and have 64 bits
            low, high = max(math.ceil(low), -_LONG_MAX - 1), min(math.floor(high), _LONG_MAX)
        _range(_add(made, "ValidRangeSet"), "ValidRange", low, high, one.type[0] == "f")


def _ancillary(parent: ET.Element, **texts: str) -> None:
    """What XTCE has no element for, on a parameter or argument (see the head of the file)."""
    given = {name: text for name, text in texts.items() if text}
    if given:
        listed = _add(parent, "AncillaryDataSet")
        for name, text in given.items():
            _add(listed, "AncillaryData", name=name).text = _text(text)


def _nan_text(one: Field) -> str:
    """What our limits say of a value that is no number (ground/telemetry/limits.py)."""
    if one.limits is None or one.type[0] != "f":
        return ""
    return f"{limit_state(math.nan, one.limits)}: a value that is not a number is outside of every range"


def _time_type(parent: ET.Element, name: str, kind: str) -> None:
    """CUC 4+2 (301.0-B-4, 3.2) as one integer in units of 2^-16 s since 1958-01-01 TAI."""
    made = _add(parent, f"AbsoluteTime{kind}Type", name=name)
    encoding = _add(made, "Encoding", units="seconds", scale=repr(2.0**-_FRACTION_BITS))
    _add(encoding, "IntegerDataEncoding", sizeInBits=_TIME_BITS, encoding="unsigned")
    _add(_add(made, "ReferenceTime"), "Epoch").text = "TAI"


def _encoding(parent: ET.Element, one: Field, bits: int) -> None:
    if one.type[0] == "f":
        _add(parent, "FloatDataEncoding", sizeInBits=bits, encoding="IEEE754_1985")
    else:
        encoding = "unsigned" if one.type[0] == "u" else "twosComplement"
        _add(parent, "IntegerDataEncoding", sizeInBits=bits, encoding=encoding)


def _alarms(parent: ET.Element, one: Field) -> None:
    """Yellow as warning, red as critical: outside of each interval the alarm stands."""
    if one.limits is None:
        return
    ranges = _add(_add(parent, "DefaultAlarm"), "StaticAlarmRanges")
    for tag, interval in (("WarningRange", one.limits.yellow), ("CriticalRange", one.limits.red)):
        if interval is not None:
            _range(ranges, tag, interval[0], interval[1], True)


def _range(parent: ET.Element, tag: str, low: float | None, high: float | None, is_float: bool) -> None:
    made = _add(parent, tag)
    for key, value in (("minInclusive", low), ("maxInclusive", high)):
        if value is not None:
            made.set(key, repr(float(value)) if is_float else str(int(value)))


@dataclass(frozen=True, slots=True)
class _Argument:
    """What a command carries: `field` is None for the count of rows, which is always one. What is not `sent` only says
    how long the next argument is.
    """

    name: str
    field: Field | None
    sent: bool = True


def _write_commands(parent: ET.Element, dictionary: Dictionary) -> None:
    """One MetaCommand a command. Count, length and packet error control are filled in by the sending system."""
    types = _add(parent, "ArgumentTypeSet")
    commands = _add(parent, "MetaCommandSet")
    settings = "; ".join(f"{one.name} {one.minimum:g} .. {one.maximum:g}" for one in dictionary.settings)
    for command in dictionary.commands:
        rows = any(one.type == "rows" for one in command.arguments)
        text = f"{command.text}; with one row" if rows else command.text
        made = _add(commands, "MetaCommand", name=command.name, shortDescription=text)
        _ancillary(made, rows=f"0 .. {ROWS_MAX}" if rows else "")
        arguments = _arguments(command.arguments, "")
        if any(one.field is not None for one in arguments):
            listed = _add(made, "ArgumentList")
        for one in arguments:
            if one.field is not None:
                bounded = _of_settings(one.field, dictionary)
                _write_type(types, bounded, f"{command.name}__{one.name}", "Argument", f"{one.name}__octets")
                argument = _add(listed, "Argument", name=one.name, argumentTypeRef=f"{command.name}__{one.name}_t")
                _ancillary(
                    argument, refers=one.field.refers, nan="not admitted" if one.field.type[0] == "f" else "",
                    parameters=settings if one.field.refers == Refers.SETTING_VALUE else "",
                )  # fmt: skip
        _command_container(made, command, arguments)
    if not len(types):
        parent.remove(types)


def _of_settings(one: Field, dictionary: Dictionary) -> Field:
    """A value of an on-board parameter, with the range that holds those of all of them; any other as it is."""
    if one.refers != Refers.SETTING_VALUE or not dictionary.settings:
        return one
    least = min(setting.minimum for setting in dictionary.settings)
    return replace(one, minimum=least, maximum=max(setting.maximum for setting in dictionary.settings))


def _arguments(fields: Iterable[Field], prefix: str) -> list[_Argument]:
    """The arguments as entries: a text is preceded by the count of its octets, rows by theirs."""
    made: list[_Argument] = []
    for one in fields:
        name = prefix + one.name
        if one.type == "rows":
            made += [_Argument(f"{name}__count", None), *_arguments(one.fields, f"{name}__")]
            continue
        if one.type == "str":
            made.append(_Argument(f"{name}__octets", Field(f"{name}__octets", "u8")))
        elif one.type == "packet":
            octets = Field(f"{name}__octets", "u16", minimum=PACKET_OCTETS_MIN)
            made.append(_Argument(f"{name}__octets", octets, sent=False))
        made.append(_Argument(name, one))
    return made


def _command_container(parent: ET.Element, command: Command, arguments: list[_Argument]) -> None:
    ack = ACK_ACCEPTANCE | ACK_START | ACK_COMPLETION
    fixed: list[tuple[str, int, int]] = [
        ("packet_id", 16, 0x1800 | command.apid),
        ("sequence_control", 16, 0xC000),
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
    for one in arguments:
        if one.field is None:
            _fixed(entries, one.name, 8, 1)
        elif one.sent:
            _add(entries, "ArgumentRefEntry", argumentRef=one.name)


def _fixed(entries: ET.Element, name: str, bits: int, value: int) -> None:
    _add(entries, "FixedValueEntry", name=name, binaryValue=f"{value:0{bits // 4}x}", sizeInBits=bits)
