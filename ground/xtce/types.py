"""The XTCE types of fields, as parameters and as arguments."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from flight.contract.fields import STRING_OCTETS_MAX, Field
from ground.telemetry.limits import limit_state
from ground.xtce.dialect import Dialect
from ground.xtce.elements import add, add_range, add_size, text_of

TIME_BITS = 48
_FRACTION_BITS = 16
_LENGTH_BITS = 8  # of a text
_LONG_MAX = (1 << 63) - 1  # of the schema's xs:long, in which ranges of integers are written


def add_type(parent: ET.Element, field: Field, name: str, kind: str, length: str, dialect: Dialect) -> None:
    """Add the type `<name>_t` of a field that is not rows.

    kind: Parameter or Argument. length: the entry that counts the octets of a text or packet, if anything does.
    """
    attributes: dict[str, Any] = {"name": f"{name}_t"}
    if kind == "Argument" and field.default is not None:
        attributes["initialValue"] = text_of(field.label(field.default))
    if field.type == "str":
        _add_text_type(parent, kind, length, attributes, dialect)
    elif field.type == "time":
        add_time_type(parent, f"{name}_t", kind)
    elif field.type == "packet":
        size = add(add(add(parent, f"Binary{kind}Type", **attributes), "BinaryDataEncoding"), "SizeInBits")
        if kind == "Argument" and dialect.open_binary:
            add(size, "FixedValue").text = "-1"
        else:
            add_size(size, kind, length)
    else:
        _add_number_type(parent, field, kind, attributes)


def add_array_types(parent: ET.Element, field: Field, name: str, kind: str, count: str, dialect: Dialect) -> None:
    """Add the type `<name>_t` of rows: an array of aggregates, of as many elements as `count` says."""
    for column in field.fields:
        add_type(parent, column, f"{name}__row__{column.name}", kind, "", dialect)
    members = add(add(parent, f"Aggregate{kind}Type", name=f"{name}__row_t"), "MemberList")
    for column in field.fields:
        member = add(members, "Member", name=column.name, typeRef=f"{name}__row__{column.name}_t")
        if column.text:
            member.set("shortDescription", text_of(column.text))
    array = add(parent, f"Array{kind}Type", name=f"{name}_t", arrayTypeRef=f"{name}__row_t")
    dimension = add(add(array, "DimensionList"), "Dimension")
    add(add(dimension, "StartingIndex"), "FixedValue").text = "0"
    dynamic = add(add(dimension, "EndingIndex"), "DynamicValue")
    add(dynamic, f"{kind}InstanceRef", **{f"{kind.lower()}Ref": count})
    add(dynamic, "LinearAdjustment", slope=1, intercept=-1)


def add_unsigned_type(parent: ET.Element, name: str, bits: int, labels: Mapping[int, str] | None = None) -> None:
    """Add the parameter type `<name>_t` of an unsigned number, with a label per value if any are given."""
    if labels:
        number = add(parent, "EnumeratedParameterType", name=f"{name}_t")
    else:
        number = add(parent, "IntegerParameterType", name=f"{name}_t", signed=False, sizeInBits=max(bits, 8))
    add(number, "IntegerDataEncoding", sizeInBits=bits, encoding="unsigned")
    if labels:
        listed = add(number, "EnumerationList")
        for value, label in labels.items():
            add(listed, "Enumeration", value=value, label=label)


def add_time_type(parent: ET.Element, name: str, kind: str) -> None:
    """Add CUC 4+2 (301.0-B-4, 3.2) as one integer in units of 2^-16 s since 1958-01-01 TAI."""
    time_type = add(parent, f"AbsoluteTime{kind}Type", name=name)
    encoding = add(time_type, "Encoding", units="seconds", scale=repr(2.0**-_FRACTION_BITS))
    add(encoding, "IntegerDataEncoding", sizeInBits=TIME_BITS, encoding="unsigned")
    add(add(time_type, "ReferenceTime"), "Epoch").text = "TAI"


def nan_text(field: Field) -> str:
    """Return how our limits judge a value that is not a number (ground/telemetry/limits.py)."""
    if field.limits is None or field.type[0] != "f":
        return ""
    return f"{limit_state(math.nan, field.limits)}: a value that is not a number is outside of every range"


def _add_text_type(
    parent: ET.Element, kind: str, length: str, attributes: Mapping[str, Any], dialect: Dialect
) -> None:  # fmt: skip
    text_type = add(parent, f"String{kind}Type", **attributes)
    add(text_type, "UnitSet")
    encoding = add(text_type, "StringDataEncoding", encoding="UTF-8")
    variable = add(encoding, "Variable", maxSizeInBits=8 * STRING_OCTETS_MAX)
    if dialect.leading_size:
        add(variable, "LeadingSize", sizeInBitsOfSizeTag=_LENGTH_BITS)
    else:
        add_size(variable, kind, length)


def _add_number_type(parent: ET.Element, field: Field, kind: str, attributes: Mapping[str, Any]) -> None:
    """Add the type of a number, with its unit and with what its values mean or may be."""
    bits = int(field.type[1:])
    if field.labels:
        number_type = add(parent, f"Enumerated{kind}Type", **attributes)
    elif field.type[0] == "f":
        number_type = add(parent, f"Float{kind}Type", **attributes, sizeInBits=bits)
    else:
        number_type = add(parent, f"Integer{kind}Type", **attributes, signed=field.type[0] == "i", sizeInBits=bits)
    units = add(number_type, "UnitSet")
    if field.unit:
        add(units, "Unit").text = text_of(field.unit)
    _add_encoding(number_type, field, bits)
    if field.labels:
        listed = add(number_type, "EnumerationList")
        for value, label in enumerate(field.labels):
            add(listed, "Enumeration", value=value, label=label)
    elif kind == "Parameter":
        _add_alarms(number_type, field)
    else:
        low, high = field.bounds
        if field.type[0] != "f":  # the schema's integers are signed and have 64 bits
            low, high = max(math.ceil(low), -_LONG_MAX - 1), min(math.floor(high), _LONG_MAX)
        add_range(add(number_type, "ValidRangeSet"), "ValidRange", low, high, field.type[0] == "f")


def _add_encoding(parent: ET.Element, field: Field, bits: int) -> None:
    if field.type[0] == "f":
        add(parent, "FloatDataEncoding", sizeInBits=bits, encoding="IEEE754_1985")
    else:
        encoding = "unsigned" if field.type[0] == "u" else "twosComplement"
        add(parent, "IntegerDataEncoding", sizeInBits=bits, encoding=encoding)


def _add_alarms(parent: ET.Element, field: Field) -> None:
    """Add yellow limits as warning, red ones as critical: there is an alarm outside of each interval."""
    if field.limits is None:
        return
    ranges = add(add(parent, "DefaultAlarm"), "StaticAlarmRanges")
    for tag, interval in (("WarningRange", field.limits.yellow), ("CriticalRange", field.limits.red)):
        if interval is not None:
            add_range(ranges, tag, interval[0], interval[1], True)
