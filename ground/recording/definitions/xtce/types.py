"""Reads the parameter types of XTCE: what the values of a parameter mean, and of which parts it consists.

A time of whole numbers keeps its numbers, with the scale on which they count. Any other number with a calibrator
becomes its engineering value. A parameter of an aggregate type becomes its members, called `parameter.member`; one of
an array type repeats.
"""

# Times. XTCE counts a time in `units` from an epoch, after a line `scale * raw + offset`, which may be given as a
# calibrator instead. If epoch, unit and line are known, the raw number stays the value and gets a TimeScale, exact to
# the nanosecond; the line is kept as fractions, since a float would lose digits of 2**-16 or 10**-9. Otherwise the time
# is given as a number in its units, and a note says so.
#
# Inheritance. A type may be based on another one (baseType), and takes from it what it does not say itself: encoding,
# units, labels. Each is looked for along the chain, and read with the names of the SpaceSystem in which it was found.

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from flight.core.nanoseconds import NS
from flight.core.utc.utc_time import MJD_OF_TAI, mjd_of
from ground.recording.definitions.calibrators import Polynomial
from ground.recording.definitions.criteria import Amount, Fixed, Linear
from ground.recording.definitions.entries import Entry, Group
from ground.recording.definitions.parameters import BlankEncoding, NumberEncoding, OctetsEncoding, Parameter
from ground.recording.definitions.xtce.encodings import ENCODINGS, coding, enumeration
from ground.recording.definitions.xtce.match_criteria import amount
from ground.recording.definitions.xtce.space_system import TYPE, Item, referred
from ground.recording.definitions.xtce.xml_tree import Element, shown
from ground.recording.table import TimeScale

_LABELS_MAX = 1 << 16  # of an enumeration: labels of a range are written out, one for each number
_DEPTH_MAX = 16  # types inside, or based on, one another


class _Zero(NamedTuple):
    """From where a time counts: ns of POSIX time since 1970, or of TAI since 1958."""

    ns: int
    is_tai: bool = False


_TIMES = ("AbsoluteTimeParameterType", "RelativeTimeParameterType")
_PLAIN = (
    "IntegerParameterType", "FloatParameterType", "EnumeratedParameterType", "BooleanParameterType",
    "StringParameterType", "BinaryParameterType", *_TIMES,
)  # fmt: skip
_DAY_S = 86_400
_UNITS_S = {"seconds": Fraction(1), "picoSeconds": Fraction(1, 10**12), "days": Fraction(_DAY_S)}

_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
# The zeros of these scales (XTCE 1.2, EpochTimeEnumsType). Three count leap seconds: GPS and TAI read the same at a
# time, but for 19 s; J2000 is noon of terrestrial time, which is 32.184 s ahead of TAI.
_EPOCHS = {
    "UNIX": _Zero(0),
    "POSIX": _Zero(0),
    "TAI": _Zero(0, is_tai=True),
    "GPS": _Zero((mjd_of(date(1980, 1, 6)) - MJD_OF_TAI) * _DAY_S * NS + 19 * NS, is_tai=True),
    "J2000": _Zero(
        (mjd_of(date(2000, 1, 1)) - MJD_OF_TAI) * _DAY_S * NS + _DAY_S * NS // 2 - 32_184_000_000, is_tai=True
    ),
}


@dataclass(frozen=True, slots=True)
class Repeated:
    """An array: its element, and how many of it."""

    item: Parameter | Group
    count: Amount


class ParameterReader:
    """Reads parameters when they are first referred to. notes: what is passed over, each once, in order."""

    def __init__(self) -> None:
        self.notes: dict[str, None] = {}
        self._parameters: dict[str, Parameter | Group | Repeated] = {}

    def read(self, item: Item) -> Parameter | Group | Repeated:
        """Read a parameter. Raises OrbitnodeError, by file, line and element."""
        parameter = self._parameters.get(item.key)
        if parameter is None:
            reference = item.element.need("parameterTypeRef")
            found = referred(reference, TYPE, item.system, item.element)
            parameter = self._parameters[item.key] = self._typed(found, item.key, item.name, 0)
        return parameter

    def _typed(self, item: Item, key: str, name: str, depth: int) -> Parameter | Group | Repeated:
        """Read a parameter, or a part of one, of the type `item`. Raises OrbitnodeError."""
        element = item.element
        if depth > _DEPTH_MAX:
            raise element.fault(f"has more than {_DEPTH_MAX} types inside one another")
        if element.tag == "AggregateParameterType":
            return self._aggregate(item, key, name, depth)
        if element.tag == "ArrayParameterType":
            inner = self._typed(
                referred(element.need("arrayTypeRef"), TYPE, item.system, element), key, name, depth + 1
            )
            if isinstance(inner, Repeated):
                raise element.fault("is an array of arrays, which is not supported; an array of several dimensions is")
            dimensions = element.find("DimensionList")
            # -1: not known yet; the entry that refers to the parameter may have the dimensions.
            count = Fixed(-1) if dimensions is None else dimension_count(dimensions, item)
            return Repeated(inner, count)
        if element.tag not in _PLAIN:
            raise element.fault("is not a supported type of parameter")
        return self._plain(item, key, name)

    def _aggregate(self, item: Item, key: str, name: str, depth: int) -> Group:
        """Read the members of an aggregate. Raises OrbitnodeError."""
        entries = []
        for listed in item.element.all("MemberList"):
            for member in listed.all("Member"):
                own = member.need_name()
                found = referred(member.need("typeRef"), TYPE, item.system, member)
                part = self._typed(found, f"{key}.{own}", f"{name}.{own}", depth + 1)
                entries.append(entry_of(part, member.where))
        return Group(name, tuple(entries))

    def _plain(self, item: Item, key: str, name: str) -> Parameter:
        """Read a parameter of a type that has no parts. Raises OrbitnodeError."""
        element = item.element
        how = _encoded(item)
        if element.tag in _TIMES:
            inner = next(how.element.all(*ENCODINGS), None)
            if inner is None:
                raise how.element.fault(f"should have one of {', '.join(ENCODINGS)}")
            coded = coding(inner, how.system)
        else:
            coded = coding(how.element, how.system)
        parameter = Parameter(
            key, name, coded.encoding, calibrator=coded.calibrator, contexts=coded.contexts, unit=_unit(item),
            left_out=coded.unsupported,
        )  # fmt: skip
        if element.tag in _TIMES:
            parameter = self._time(parameter, item, how.element)
        elif element.tag == "EnumeratedParameterType":
            parameter = self._enumerated(parameter, item)
        elif element.tag == "BooleanParameterType" and isinstance(coded.encoding, NumberEncoding):
            # The number that is not 0 may be any, so the column becomes 0 and 1, each with its word.
            words = element.get("zeroStringValue", "False"), element.get("oneStringValue", "True")
            parameter = replace(parameter, truth=words, labels=MappingProxyType(dict(enumerate(words))))
        elif isinstance(coded.encoding, OctetsEncoding) and element.tag not in (
            "StringParameterType", "BinaryParameterType",
        ):  # fmt: skip
            self._note(element, f"{name} is not a number in the packet; its octets are given as they are")
        if coded.note:
            self._note(how.element, coded.note)
        if parameter.left_out:
            self._note(how.element, f"{parameter.left_out}: parameter {name} has no column")
        return parameter

    def _note(self, element: Element, text: str) -> None:
        self.notes[f"{element.where}: {text}"] = None

    def _enumerated(self, parameter: Parameter, item: Item) -> Parameter:
        """Return the parameter with its labels."""
        ranges = _enumeration(item)
        if isinstance(parameter.encoding, OctetsEncoding):
            self._note(item.element, f"labels of {parameter.name}, which is not a number in the packet")
            return parameter
        labels: dict[int, str] = {}
        for label, first, last in ranges:
            if last - first + len(labels) < _LABELS_MAX:
                for value in range(first, last + 1):
                    labels.setdefault(value, label)  # of two labels for a number, the first
            else:
                self._note(
                    item.element,
                    f"label {shown(label)} stands for {last - first + 1} numbers, too many, and is left out",
                )
        # Labels belong to raw numbers, so a calibrator does not apply (CCSDS 660.1-G-2, 4.3.2.4.3.6).
        return replace(parameter, ranges=ranges, labels=MappingProxyType(labels), calibrator=None, contexts=())

    def _time(self, parameter: Parameter, item: Item, how: Element) -> Parameter:
        """Return the parameter with its time scale, or as a number in its units if that cannot be known."""
        units = how.get("units", "seconds")
        unit_s = _UNITS_S.get(units)
        scale, offset = _fraction(how, "scale", "1"), _fraction(how, "offset", "0")
        if scale == 0:
            raise how.fault("scale is 0")
        is_one = scale == 1 and offset == 0
        is_plain = isinstance(parameter.encoding, NumberEncoding) and parameter.encoding.kind != "float"
        if not isinstance(parameter.encoding, NumberEncoding):
            if not isinstance(parameter.encoding, BlankEncoding):
                self._note(
                    how, f"time {parameter.name} is not a number in the packet; its octets are given as they are"
                )
            return parameter
        line = parameter.calibrator.line if isinstance(parameter.calibrator, Polynomial) else (1.0, 0.0)
        if parameter.contexts or (parameter.calibrator is not None and (line is None or not is_one)):
            return replace(
                parameter, left_out=f"{item.element.tag}: a calibrator that is not a line, or scale and offset too"
            )
        if parameter.calibrator is not None and line is not None:
            scale, offset = Fraction(line[0]), Fraction(line[1])
        zero = self._zero(item)
        if item.element.tag == _TIMES[0] and zero is not None and unit_s is not None and is_plain and scale != 0:
            time = TimeScale(scale * unit_s, zero.ns + round(offset * unit_s * NS), zero.is_tai)
            return replace(parameter, time=time, calibrator=None, unit="")
        if item.element.tag == _TIMES[0]:
            self._note(
                item.element,
                f"time {parameter.name} is given as a number of {units}: the date that it counts from is not known",
            )
        if scale == 1 and offset == 0:
            return replace(parameter, calibrator=None, unit=units)
        return replace(parameter, calibrator=Polynomial(((1, float(scale)), (0, float(offset)))), unit=units)

    def _zero(self, item: Item) -> _Zero | None:
        """Return what a time counts from; None if that is another parameter, or is not stated."""
        epoch = item.element.find("ReferenceTime", "Epoch")
        if epoch is None:
            return None
        known = _EPOCHS.get(epoch.text)
        if known is not None:
            return known
        try:
            when = datetime.fromisoformat(epoch.text)
            since = (when.replace(tzinfo=UTC) if when.tzinfo is None else when) - _UNIX
        except (ValueError, OverflowError):
            raise epoch.fault(
                f"is {shown(epoch.text)}, should be {', '.join(_EPOCHS)}, a date or a date with its time"
            ) from None
        # In whole numbers: timedelta.total_seconds() is a float, and loses nanoseconds.
        return _Zero((since.days * _DAY_S + since.seconds) * NS + since.microseconds * 1000)


def entry_of(read: Parameter | Group | Repeated, where: str) -> Entry:
    """Return the entry that a parameter, or what it consists of, makes in a container."""
    if isinstance(read, Repeated):
        return Entry(read.item, where, count=read.count)
    return Entry(read, where)


def dimension_count(listed: Element, item: Item) -> Amount:
    """Return how many values an array has in all its dimensions, of which one may depend on the packet.

    Raises OrbitnodeError if more than one does, or if there are too many.
    """
    fixed = 1
    dynamic: Linear | None = None
    for dimension in listed.all("Dimension"):
        start, end = dimension.find("StartingIndex"), dimension.find("EndingIndex")
        if end is None:
            raise dimension.fault("has no EndingIndex")
        first = Fixed(0) if start is None else amount(start, item.system)
        last = amount(end, item.system)
        if not isinstance(first, Fixed):
            raise dimension.fault("begins at an index that depends on the packet, which is not supported")
        if isinstance(last, Fixed):
            fixed *= last.value + 1 - first.value
        elif isinstance(last, Linear) and dynamic is None:
            dynamic = replace(last, intercept=last.intercept + 1 - first.value)
        else:
            raise dimension.fault("depends on the packet by a lookup, or like another dimension; neither is supported")
    if not 0 <= fixed <= 1 << 20:
        raise listed.fault(f"is an array of {fixed} values")
    if dynamic is None:
        return Fixed(fixed)
    return replace(dynamic, slope=dynamic.slope * fixed, intercept=dynamic.intercept * fixed)


def _inherited(item: Item, *tags: str) -> Item | None:
    """Return the first element of these tags that a type has, or one of the types that it is based on; None if none."""
    for _ in range(_DEPTH_MAX):
        found = next(item.element.all(*tags), None)
        if found is not None:
            return Item(item.system, found)
        base = item.element.get("baseType")
        if not base:
            return None
        item = referred(base, TYPE, item.system, item.element)
    raise item.element.fault(f"is based on more than {_DEPTH_MAX} types, one on another")


def _encoded(item: Item) -> Item:
    """Return the element that says how values of a type lie in a packet. Raises OrbitnodeError if there is none."""
    tags = ("Encoding",) if item.element.tag in _TIMES else ENCODINGS
    found = _inherited(item, *tags)
    if found is None:
        raise item.element.fault(f"has no {' or '.join(tags)}, so its length in a packet is not known")
    return found


def _unit(item: Item) -> str:
    found = _inherited(item, "UnitSet")
    return "" if found is None else " ".join(unit.text for unit in found.element.all("Unit") if unit.text)


def _enumeration(item: Item) -> tuple[tuple[str, int, int], ...]:
    found = _inherited(item, "EnumerationList")
    if found is None:
        raise item.element.fault("has no EnumerationList")
    return enumeration(found.element)


def _fraction(element: Element, name: str, default: str) -> Fraction:
    """Read a number exactly as it is written; a float might lose digits."""
    value = element.real(name, float(default))
    text = element.get(name, default)
    if value == 0:
        return Fraction(0)
    # A denominator of 10**300 would make every later computation slow.
    if abs(value) < 1e-300 or len(text) > 64:
        raise element.fault(f"attribute {name} is {shown(text)}, should be a number")
    return Fraction(text)
