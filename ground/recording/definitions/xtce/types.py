"""Parameter types of XTCE: what the values of a parameter mean, and of which parts it is made.

A time of whole numbers stays that, and says on which scale it counts; any other number that has a calibrator becomes
its engineering value. A parameter of an aggregate type is its members, called `parameter.member`; one of an array type
repeats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from types import MappingProxyType

from flight.core.nanoseconds import NS, tai_from_unix
from ground.recording.definitions.calibrators import Polynomial
from ground.recording.definitions.criteria import Amount, Fixed, Linear
from ground.recording.definitions.entries import Entry, Group
from ground.recording.definitions.parameters import BlankEncoding, NumberEncoding, OctetsEncoding, Parameter
from ground.recording.definitions.xtce.encodings import ENCODINGS, coding, enumeration
from ground.recording.definitions.xtce.match_criteria import amount
from ground.recording.definitions.xtce.space_system import TYPE, Item, referred
from ground.recording.definitions.xtce.xml_tree import Element, shown
from ground.recording.table import TimeScale

_LABELS_MAX = 1 << 16  # of an enumeration; a range of more numbers is not written out
_DEPTH_MAX = 16
_TIMES = ("AbsoluteTimeParameterType", "RelativeTimeParameterType")
_PLAIN = (
    "IntegerParameterType", "FloatParameterType", "EnumeratedParameterType", "BooleanParameterType",
    "StringParameterType", "BinaryParameterType", *_TIMES,
)  # fmt: skip
_DAY_S = 86_400
_UNITS_S = {"seconds": Fraction(1), "picoSeconds": Fraction(1, 10**12), "days": Fraction(_DAY_S)}

# From TAI to UTC: between the two epochs are whole days, and these seconds.
_LEAP = timedelta(microseconds=tai_from_unix(0) % (_DAY_S * NS) // 1000)
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
# Where these scales have their zero, as UTC of today's leap seconds (XTCE 1.2, EpochTimeEnumsType): GPS is 19 s behind
# TAI; J2000 is noon of terrestrial time, which is 32.184 s ahead of it.
_EPOCHS = {
    "UNIX": _UNIX,
    "POSIX": _UNIX,
    "TAI": _UNIX - timedelta(microseconds=tai_from_unix(0) // 1000),
    "GPS": datetime(1980, 1, 6, tzinfo=UTC) + timedelta(seconds=19) - _LEAP,
    "J2000": datetime(2000, 1, 1, 12, tzinfo=UTC) - timedelta(milliseconds=32_184) - _LEAP,
}


@dataclass(frozen=True, slots=True)
class Repeated:
    """An entry of an array: its elements, and how many."""

    item: Parameter | Group
    count: Amount


class ParameterReader:
    """Reads parameters as they are met. notes: what is passed over, each once."""

    def __init__(self) -> None:
        self.notes: dict[str, None] = {}
        self._made: dict[str, Parameter | Group | Repeated] = {}

    def read(self, item: Item) -> Parameter | Group | Repeated:
        """The parameter of an item. Raises OrbitnodeError."""
        made = self._made.get(item.key)
        if made is None:
            reference = item.element.need("parameterTypeRef")
            found = referred(reference, TYPE, item.system, item.element)
            made = self._made[item.key] = self._typed(found, item.key, item.name, 0)
        return made

    def _typed(self, item: Item, key: str, name: str, depth: int) -> Parameter | Group | Repeated:
        element = item.element
        if depth > _DEPTH_MAX:
            raise element.fault(f"is made of parts, and so on, more than {_DEPTH_MAX} times")
        if element.tag == "AggregateParameterType":
            return self._aggregate(item, key, name, depth)
        if element.tag == "ArrayParameterType":
            inner = self._typed(
                referred(element.need("arrayTypeRef"), TYPE, item.system, element), key, name, depth + 1
            )
            if isinstance(inner, Repeated):
                raise element.fault("is an array of arrays; an array of several dimensions is supported")
            dimensions = element.find("DimensionList")
            count = Fixed(-1) if dimensions is None else dimension_count(dimensions, item)
            return Repeated(inner, count)
        if element.tag not in _PLAIN:
            raise element.fault("is not a type of parameters that is supported")
        return self._plain(item, key, name)

    def _aggregate(self, item: Item, key: str, name: str, depth: int) -> Group:
        entries = []
        for listed in item.element.all("MemberList"):
            for member in listed.all("Member"):
                own = member.need_name()
                found = referred(member.need("typeRef"), TYPE, item.system, member)
                made = self._typed(found, f"{key}.{own}", f"{name}.{own}", depth + 1)
                entries.append(entry_of(made, member.where))
        return Group(name, tuple(entries))

    def _plain(self, item: Item, key: str, name: str) -> Parameter:
        element = item.element
        how = _encoded(item)
        if element.tag in _TIMES:
            inner = next(how.element.all(*ENCODINGS), None)
            if inner is None:
                raise how.element.fault(f"should have one of {', '.join(ENCODINGS)}")
            coded = coding(inner, how.system)
        else:
            coded = coding(how.element, how.system)
        made = Parameter(
            key, name, coded.encoding, calibrator=coded.calibrator, contexts=coded.contexts, unit=_unit(item),
            left_out=coded.unsupported,
        )  # fmt: skip
        if element.tag in _TIMES:
            made = self._time(made, item, how.element)
        elif element.tag == "EnumeratedParameterType":
            made = self._enumerated(made, item)
        elif element.tag == "BooleanParameterType" and isinstance(coded.encoding, NumberEncoding):
            words = element.get("zeroStringValue", "False"), element.get("oneStringValue", "True")
            made = replace(made, truth=words, labels=MappingProxyType(dict(enumerate(words))))
        elif isinstance(coded.encoding, OctetsEncoding) and element.tag not in (
            "StringParameterType", "BinaryParameterType",
        ):  # fmt: skip
            self._note(element, f"{name} is not a number in the packet; its octets are given as they are")
        if coded.note:
            self._note(how.element, coded.note)
        if made.left_out:
            self._note(how.element, f"{made.left_out}: parameter {name} has no column")
        return made

    def _note(self, element: Element, text: str) -> None:
        self.notes[f"{element.where}: {text}"] = None

    def _enumerated(self, made: Parameter, item: Item) -> Parameter:
        ranges = _enumeration(item)
        if isinstance(made.encoding, OctetsEncoding):
            self._note(item.element, f"labels of {made.name}, which is not a number in the packet")
            return made
        labels: dict[int, str] = {}
        for label, first, last in ranges:
            if last - first + len(labels) < _LABELS_MAX:
                for value in range(first, last + 1):
                    labels.setdefault(value, label)
            else:
                self._note(
                    item.element, f"label {shown(label)} stands for {last - first + 1} numbers, and is not given"
                )
        # A calibrator is not for the numbers that labels are found by (CCSDS 660.1-G-2, 4.3.2.4.3.6).
        return replace(made, ranges=ranges, labels=MappingProxyType(labels), calibrator=None, contexts=())

    def _time(self, made: Parameter, item: Item, how: Element) -> Parameter:
        units = how.get("units", "seconds")
        unit_s = _UNITS_S.get(units)
        scale, offset = _fraction(how, "scale", "1"), _fraction(how, "offset", "0")
        if scale == 0:
            raise how.fault("scale is 0")
        is_one = scale == 1 and offset == 0
        is_plain = isinstance(made.encoding, NumberEncoding) and made.encoding.kind != "float"
        if not isinstance(made.encoding, NumberEncoding):
            if not isinstance(made.encoding, BlankEncoding):
                self._note(how, f"time {made.name} is not a number in the packet; its octets are given as they are")
            return made
        line = made.calibrator.line if isinstance(made.calibrator, Polynomial) else (1.0, 0.0)
        if made.contexts or (made.calibrator is not None and (line is None or not is_one)):
            return replace(
                made, left_out=f"{item.element.tag}: a calibrator that is not a line, or scale and offset too"
            )
        if made.calibrator is not None and line is not None:
            scale, offset = Fraction(line[0]), Fraction(line[1])
        zero = self._zero(item)
        if item.element.tag == _TIMES[0] and zero is not None and unit_s is not None and is_plain and scale != 0:
            since = zero - _UNIX
            start_ns = (since.days * _DAY_S + since.seconds) * NS + since.microseconds * 1000
            time = TimeScale(scale * unit_s, start_ns + round(offset * unit_s * NS))
            return replace(made, time=time, calibrator=None, unit="")
        if item.element.tag == _TIMES[0]:
            self._note(
                item.element, f"time {made.name} is given as a number of {units}, its zero is not known as a date"
            )
        if scale == 1 and offset == 0:
            return replace(made, calibrator=None, unit=units)
        return replace(made, calibrator=Polynomial(((1, float(scale)), (0, float(offset)))), unit=units)

    def _zero(self, item: Item) -> datetime | None:
        """Where a time counts from; None if that is another parameter, or is not said."""
        epoch = item.element.find("ReferenceTime", "Epoch")
        if epoch is None:
            return None
        known = _EPOCHS.get(epoch.text)
        if known is not None:
            return known
        try:
            made = datetime.fromisoformat(epoch.text)
            return made.replace(tzinfo=UTC) if made.tzinfo is None else made.astimezone(UTC)
        except (ValueError, OverflowError):
            raise epoch.fault(
                f"is {shown(epoch.text)}, should be {', '.join(_EPOCHS)}, a date or a date with its time"
            ) from None


def entry_of(made: Parameter | Group | Repeated, where: str) -> Entry:
    if isinstance(made, Repeated):
        return Entry(made.item, where, count=made.count)
    return Entry(made, where)


def dimension_count(listed: Element, item: Item) -> Amount:
    """The values of an array: of its dimensions all, of which one may depend on the packet. Raises OrbitnodeError."""
    fixed = 1
    dynamic: Linear | None = None
    for one in listed.all("Dimension"):
        start, end = one.find("StartingIndex"), one.find("EndingIndex")
        if end is None:
            raise one.fault("has no EndingIndex")
        first = Fixed(0) if start is None else amount(start, item.system)
        last = amount(end, item.system)
        if not isinstance(first, Fixed):
            raise one.fault("begins at an index that depends on the packet, which is not supported")
        if isinstance(last, Fixed):
            fixed *= last.value + 1 - first.value
        elif isinstance(last, Linear) and dynamic is None:
            dynamic = replace(last, intercept=last.intercept + 1 - first.value)
        else:
            raise one.fault("depends on the packet, as another dimension does, or by a lookup; which is not supported")
    if not 0 <= fixed <= 1 << 20:
        raise listed.fault(f"is an array of {fixed} values")
    if dynamic is None:
        return Fixed(fixed)
    return replace(dynamic, slope=dynamic.slope * fixed, intercept=dynamic.intercept * fixed)


def _inherited(item: Item, *tags: str) -> Item | None:
    """The first element of these tags that a type has, or the type that it is based on."""
    for _ in range(_DEPTH_MAX):
        found = next(item.element.all(*tags), None)
        if found is not None:
            return Item(item.system, found)
        base = item.element.get("baseType")
        if not base:
            return None
        item = referred(base, TYPE, item.system, item.element)
    raise item.element.fault(f"is based on a type, and so on, more than {_DEPTH_MAX} times")


def _encoded(item: Item) -> Item:
    """How values of a type lie in a packet."""
    tags = ("Encoding",) if item.element.tag in _TIMES else ENCODINGS
    found = _inherited(item, *tags)
    if found is None:
        raise item.element.fault(f"has no {' or '.join(tags)}, and nobody knows how long it is in a packet")
    return found


def _unit(item: Item) -> str:
    found = _inherited(item, "UnitSet")
    return "" if found is None else " ".join(one.text for one in found.element.all("Unit") if one.text)


def _enumeration(item: Item) -> tuple[tuple[str, int, int], ...]:
    found = _inherited(item, "EnumerationList")
    if found is None:
        raise item.element.fault("has no EnumerationList")
    return enumeration(found.element)


def _fraction(element: Element, name: str, default: str) -> Fraction:
    """As it is written, which is more than a float may hold."""
    value = element.real(name, float(default))
    text = element.get(name, default)
    if value == 0:
        return Fraction(0)
    if abs(value) < 1e-300 or len(text) > 64:
        raise element.fault(f"attribute {name} is {shown(text)}, should be a number")
    return Fraction(text)
