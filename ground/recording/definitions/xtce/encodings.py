"""Reads data encodings and calibrators of XTCE.

What is not supported leaves a parameter without a column, never with wrong values; the bits are passed over. If not
even the size is known, the file is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ground.recording.definitions.calibrators import Calibrator, Polynomial, Spline
from ground.recording.definitions.criteria import Amount, Criterion, Fixed
from ground.recording.definitions.parameters import (
    BITS_MAX,
    BlankEncoding,
    Conversion,
    Encoding,
    NumberEncoding,
    OctetsEncoding,
    half_float,
    mil_std_1750a,
    ones_complement,
    packed_bcd,
    reversed_bits,
    sign_magnitude,
)
from ground.recording.definitions.walk_builder import PACKET_BITS_MAX
from ground.recording.definitions.xtce.match_criteria import amount, criterion
from ground.recording.definitions.xtce.space_system import SpaceSystem
from ground.recording.definitions.xtce.xml_tree import Element, shown
from ground.recording.table import ColumnKind

ENCODINGS = ("IntegerDataEncoding", "FloatDataEncoding", "StringDataEncoding", "BinaryDataEncoding")

_SIGNED = ("twosComplement", "twosCompliment", "signed")  # all three spellings are in use
_INTEGERS: dict[str, Conversion] = {
    "signMagnitude": sign_magnitude, "onesComplement": ones_complement, "packedBCD": packed_bcd
}  # fmt: skip
_CHARSETS = {
    "US-ASCII": "ascii", "ISO-8859-1": "latin-1", "Windows-1252": "cp1252", "UTF-8": "utf-8", "UTF-16": "utf-16",
    "UTF-16LE": "utf-16-le", "UTF-16BE": "utf-16-be", "UTF-32": "utf-32", "UTF-32LE": "utf-32-le",
    "UTF-32BE": "utf-32-be",
}  # fmt: skip
_EXPONENT_MAX = 64  # of a polynomial; more is a mistake, and would be slow
_POINTS_MAX = 1 << 16  # of a spline

Order = Literal["big", "little"] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Coding:
    """How a parameter is encoded. unsupported: why it has no column, or empty. note: what is passed over, or empty."""

    encoding: Encoding
    calibrator: Calibrator | None = None
    contexts: tuple[tuple[Criterion, Calibrator], ...] = ()
    unsupported: str = ""
    note: str = ""


def coding(element: Element, system: SpaceSystem) -> Coding:
    """Read an element of ENCODINGS. Raises OrbitnodeError."""
    note = ""
    if element.find("ErrorDetectCorrect") is not None:
        note = "ErrorDetectCorrect: what it protects is not checked"
    if element.tag == "StringDataEncoding":
        return _text(element, system, note)
    if element.tag == "BinaryDataEncoding":
        return _binary(element, system, note)
    number, unsupported = _integer(element) if element.tag == "IntegerDataEncoding" else _float(element)
    if isinstance(number, BlankEncoding):
        return Coding(number, unsupported=unsupported, note=note)
    calibrator, why = _calibrator(element.find("DefaultCalibrator"))
    contexts = []
    for contexts_listed in element.all("ContextCalibratorList"):
        for context in contexts_listed.all("ContextCalibrator"):
            match, other = context.find("ContextMatch"), context.find("Calibrator")
            asked = None if match is None else criterion(match, system)
            if asked is None or other is None:
                raise context.fault("should have a ContextMatch, with a condition, and a Calibrator")
            context_calibrator, other_why = _calibrator(other)
            why = why or other_why  # one context that is not supported would leave some rows wrong: no column at all
            if context_calibrator is not None:
                contexts.append((asked, context_calibrator))
    return Coding(number, calibrator, tuple(contexts), unsupported or why, note)


def _bits(element: Element, default: int) -> int:
    """Read sizeInBits. Raises OrbitnodeError if no packet can hold so many."""
    bits = element.whole("sizeInBits", default)
    if not 1 <= bits <= PACKET_BITS_MAX:
        raise element.fault(f"sizeInBits is {bits}, should be 1..{PACKET_BITS_MAX}")
    return bits


def _blank(bits: int, element: Element, what: str) -> tuple[Encoding, str]:
    """Return bits to pass over, and why they make no column."""
    return BlankEncoding(Fixed(bits)), f"{element.tag}: {what} is not supported"


def _integer(element: Element) -> tuple[Encoding, str]:
    """Read an IntegerDataEncoding: the encoding, and why it makes no column (empty if it does)."""
    bits = _bits(element, 8)
    encoding = element.get("encoding", "unsigned")
    if bits > BITS_MAX:
        return _blank(bits, element, f"a number of {bits} bits")
    if encoding not in ("unsigned", *_SIGNED, *_INTEGERS):
        return _blank(bits, element, f"encoding {shown(encoding)}")
    order, unsupported = _order(element, bits)
    if order is None:
        return _blank(bits, element, unsupported)
    if element.get("bitOrder", "mostSignificantBitFirst") == "leastSignificantBitFirst":
        if bits > 8 or encoding != "unsigned":
            return _blank(bits, element, f"leastSignificantBitFirst of {bits} bits, {encoding}")
        # Only up to 8 bits: beyond that, the orders of bits and of octets would mix.
        return NumberEncoding(bits, "unsigned", "big", reversed_bits), ""
    if encoding == "packedBCD" and bits % 4:
        return _blank(bits, element, f"packedBCD of {bits} bits")
    if encoding in _INTEGERS:
        if bits == 1 and encoding != "packedBCD":  # a sign without a magnitude
            return _blank(bits, element, f"{encoding} of 1 bit")
        return NumberEncoding(bits, "unsigned", order, _INTEGERS[encoding]), ""
    return NumberEncoding(bits, "signed" if encoding in _SIGNED else "unsigned", order), ""


def _float(element: Element) -> tuple[Encoding, str]:
    """Read a FloatDataEncoding: the encoding, and why it makes no column (empty if it does)."""
    bits = _bits(element, 32)
    # Spellings of the standard's names that other tools write are taken as well.
    encoding = (
        element.get("encoding", "IEEE754_1985").replace("IEEE-754", "IEEE754").replace("MIL-1750A", "MILSTD_1750A")
    )
    sizes = {"IEEE754": (16, 32, 64), "IEEE754_1985": (16, 32, 64), "MILSTD_1750A": (32, 48)}.get(encoding, ())
    order, unsupported = _order(element, bits)
    if bits not in sizes:
        return _blank(bits, element, f"{shown(encoding)} of {bits} bits")
    if order is None or element.get("bitOrder", "mostSignificantBitFirst") != "mostSignificantBitFirst":
        return _blank(bits, element, unsupported or "leastSignificantBitFirst")
    if encoding == "MILSTD_1750A":
        return NumberEncoding(bits, "unsigned", order, mil_std_1750a), ""
    if bits == 16:  # the kernel reads floats of 32 and 64 bits only
        return NumberEncoding(bits, "unsigned", order, half_float), ""
    return NumberEncoding(bits, "float", order), ""


def _order(element: Element, bits: int) -> tuple[Order | None, str]:
    """Return the order of the octets; or None and its description, if it is not an order of whole octets."""
    listed = element.find("ByteOrderList")  # XTCE 1.1 lists the octets as elements
    if listed is not None:
        significance = [str(octet.whole("byteSignificance")) for octet in listed.all("Byte")]
        text = ",".join(significance)
    else:
        text = element.get("byteOrder", "mostSignificantByteFirst")
    if text == "mostSignificantByteFirst" or bits <= 8:  # one octet has no order, whatever is stated
        return "big", ""
    if text == "leastSignificantByteFirst":
        return ("little", "") if bits % 8 == 0 else (None, f"leastSignificantByteFirst of {bits} bits")
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 3 for part in parts):
        raise element.fault(
            f"byteOrder is {shown(text)}, should be mostSignificantByteFirst, leastSignificantByteFirst, "
            "or each octet's significance, as 1,0,3,2"
        )
    order = tuple(map(int, parts))
    if bits % 8 or sorted(order) != list(range(bits // 8)):
        return None, f"byteOrder {shown(text)} of {bits} bits"
    return order, ""


def _text(element: Element, system: SpaceSystem, note: str) -> Coding:
    """Read a StringDataEncoding, whose length may be fixed, given by a parameter, led by itself, or terminated."""
    charset = element.get("encoding", "UTF-8")
    if charset not in _CHARSETS:
        raise element.fault(f"encoding is {shown(charset)}, should be one of {', '.join(_CHARSETS)}")
    room, size = element.find("SizeInBits"), None
    if room is not None:
        fixed = room.find("Fixed") or room  # some files have FixedValue right inside SizeInBits
        if fixed.find("FixedValue") is not None:
            size = amount(fixed, system)
    else:
        room = element.find("Variable")
        if room is not None and (room.find("DynamicValue") or room.find("DiscreteLookupList")) is not None:
            size = amount(room, system)
    if room is None:
        raise element.fault("should have SizeInBits or Variable, which say how long the text is")
    leading, end = room.find("LeadingSize"), room.find("TerminationChar")
    leading_bits = 0 if leading is None else leading.whole("sizeInBitsOfSizeTag", 16)
    if leading is not None and not 1 <= leading_bits <= BITS_MAX:
        raise leading.fault(f"sizeInBitsOfSizeTag is {leading_bits}, should be 1..{BITS_MAX}")
    # If both are given, the leading size decides: it says the length for certain.
    terminator = b"" if end is None or leading is not None else _terminator(end)
    if size is None and not leading_bits and not terminator:
        raise room.fault("should have a size, a LeadingSize or a TerminationChar, which say how long the text is")
    if isinstance(size, Fixed) and size.value % 8:
        return Coding(BlankEncoding(size), unsupported=f"a text of {size.value} bits is not supported", note=note)
    text = OctetsEncoding(ColumnKind.TEXT, size, _CHARSETS[charset], terminator, leading_bits)
    return Coding(text, note=note)


def _terminator(element: Element) -> bytes:
    """Read a TerminationChar: one character of 1, 2 or 4 octets, in hexadecimal digits; 00 if it is empty."""
    try:
        octets = bytes.fromhex(element.text or "00")
    except ValueError:
        octets = b""
    if len(octets) not in (1, 2, 4):
        raise element.fault(f"is {shown(element.text)}, should be the character's octets as hexadecimal digits, as 00")
    return octets


def _binary(element: Element, system: SpaceSystem, note: str) -> Coding:
    """Read a BinaryDataEncoding."""
    size = element.find("SizeInBits")
    if size is None:
        raise element.fault("has no SizeInBits")
    bits: Amount = amount(size, system)
    if element.find("FromBinaryTransformAlgorithm") is not None:
        note = "FromBinaryTransformAlgorithm is not supported: the octets are given as they are"
    if isinstance(bits, Fixed) and bits.value % 8:
        return Coding(BlankEncoding(bits), unsupported=f"binary data of {bits.value} bits is not supported", note=note)
    return Coding(OctetsEncoding(ColumnKind.BINARY, bits), note=note)


def _calibrator(element: Element | None) -> tuple[Calibrator | None, str]:
    """Read a calibrator. Returns None and the reason if it is not supported, None and '' if there is none."""
    if element is None:
        return None, ""
    for child in element.children:
        if child.tag == "PolynomialCalibrator":
            return _polynomial(child), ""
        if child.tag == "SplineCalibrator":
            return _spline(child)
        if child.tag.endswith("Calibrator"):
            return None, f"{child.tag} is not supported"
    return None, ""


def _polynomial(element: Element) -> Calibrator:
    terms = tuple((term.whole("exponent"), term.real("coefficient")) for term in element.all("Term"))
    if not terms or not all(0 <= exponent <= _EXPONENT_MAX for exponent, _ in terms):
        raise element.fault(f"should have at least one Term, with exponents 0..{_EXPONENT_MAX}")
    return Polynomial(terms)


def _spline(element: Element) -> tuple[Calibrator | None, str]:
    points = list(element.all("SplinePoint"))
    order = element.whole("order", 1)
    raw = tuple(point.real("raw") for point in points)
    if not 2 <= len(points) <= _POINTS_MAX or any(a >= b for a, b in pairwise(raw)):
        raise element.fault(f"should have 2 to {_POINTS_MAX} points, their raw values ascending")
    orders = tuple(point.whole("order", order) for point in points[:-1])
    if not set(orders) <= {0, 1}:
        return None, f"SplineCalibrator of order {max(orders)} is not supported"
    calibrated = tuple(point.real("calibrated") for point in points)
    return Spline(raw, calibrated, orders, element.flag("extrapolate", False)), ""


def enumeration(element: Element) -> tuple[tuple[str, int, int], ...]:
    """Return the labels of an EnumerationList, each with the first and last number that it stands for."""
    labels = []
    for listed in element.all("Enumeration"):
        first = listed.whole("value")
        last = listed.whole("maxValue", first)
        if last < first:
            raise listed.fault(f"maxValue {last} is less than value {first}")
        labels.append((listed.get("label"), first, last))
    return tuple(labels)
