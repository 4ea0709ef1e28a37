"""What on-board parameters may be, alone and as a set, and the file in which a table of them travels.

The file, big-endian:

    magic       4 octets, `OPTB`
    version     u8, format of the file
    schema      8 octets: the beginning of the SHA-256 over number, name and type of every setting
    count       u16, how many rows follow
    rows        parameter number u16, value f64
    CRC-32      u32 (IEEE 802.3), over everything before it

A table need not name every parameter: those that it does not name keep their values.
"""

# Both ends hold a table to the same rules with this file: the ground before it packs one, the node before it stores
# one. A table is taken whole or refused whole, since a half of it could contradict itself.
#
# The schema refuses a table that was made for other software before a row of it is looked at: a number may have become
# another parameter's, and its value may be within that one's bounds. Bounds and defaults are not in the schema, because
# they are checked by value.

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence

from flight.contract.dictionary import Setting
from flight.contract.fields import Field, FieldError
from flight.core.config import out_of_order
from flight.core.errors import DecodeError

MAGIC = b"OPTB"
VERSION = 1
SCHEMA_OCTETS = 8
ROWS_MAX = 0xFFFF

_HEADER = struct.Struct(f">4sB{SCHEMA_OCTETS}sH")
_ROW = struct.Struct(">Hd")
_CRC = struct.Struct(">I")


def admit(setting: Setting, value: object) -> float:
    """Return `value` as the setting may have it by its type and bounds. Raises FieldError if it may not."""
    field = Field(setting.name, setting.type, setting.unit, minimum=setting.minimum, maximum=setting.maximum)
    admitted = field.admit(value)
    if not isinstance(admitted, int | float):
        raise FieldError(f"{setting.name} is of type {setting.type}, should be a number")
    return float(admitted)


def contradiction(settings: Iterable[Setting], values: Mapping[str, float]) -> tuple[str, str] | None:
    """Return the names of the first two settings that are not in the order they must have; None if all are.

    values: by name. A setting without a value contradicts nothing.
    """
    return next(iter(out_of_order({setting.name: setting.below for setting in settings}, values)), None)


def check_together(settings: Iterable[Setting], values: Mapping[str, float]) -> None:
    """Raise FieldError if `values`, by name, contradict each other."""
    found = contradiction(settings, values)
    if found is not None:
        low, high = found
        raise FieldError(f"{low}: {values[low]:g} should stay below {high}, which is {values[high]:g}")


def schema(settings: Iterable[Setting]) -> bytes:
    """Return what a table must have been made for: equal if numbers, names and types are equal."""
    lines = sorted((s.number, f"{s.number} {s.name} {s.type}\n") for s in settings)
    return hashlib.sha256("".join(text for _, text in lines).encode()).digest()[:SCHEMA_OCTETS]


def encode_table(settings: Sequence[Setting], values: Mapping[str, float]) -> bytes:
    """Return the file with these values, by name. The caller has checked them."""
    numbers = {setting.name: setting.number for setting in settings}
    body = _HEADER.pack(MAGIC, VERSION, schema(settings), len(values))
    body += b"".join(_ROW.pack(numbers[name], value) for name, value in values.items())
    return body + _CRC.pack(zlib.crc32(body))


def decode_table(octets: bytes, settings: Sequence[Setting]) -> dict[str, float]:
    """Return the values by name. Raises DecodeError for anything but a whole table that `settings` admit."""
    if len(octets) < _HEADER.size + _CRC.size:
        raise DecodeError(f"parameter table of {len(octets)} octets, shortest is {_HEADER.size + _CRC.size}")
    magic, version, made_for, count = _HEADER.unpack_from(octets)
    if magic != MAGIC:
        raise DecodeError(f"not a parameter table: it begins with {magic.hex()}, should begin with {MAGIC.hex()}")
    if version != VERSION:
        raise DecodeError(f"parameter table of format version {version}, only version {VERSION} is known")
    size = _HEADER.size + count * _ROW.size + _CRC.size
    if len(octets) != size:
        raise DecodeError(f"parameter table of {count} rows in {len(octets)} octets, should be {size}")
    (crc,) = _CRC.unpack_from(octets, size - _CRC.size)
    if zlib.crc32(octets[: -_CRC.size]) != crc:
        raise DecodeError("parameter table: CRC-32 mismatch")
    if made_for != schema(settings):
        raise DecodeError(f"parameter table for schema {made_for.hex()}, this software has {schema(settings).hex()}")
    return _rows(octets[_HEADER.size : -_CRC.size], settings)


def _rows(octets: bytes, settings: Sequence[Setting]) -> dict[str, float]:
    known = {setting.number: setting for setting in settings}
    values: dict[str, float] = {}
    for number, value in _ROW.iter_unpack(octets):
        setting = known.get(number)
        if setting is None:
            raise DecodeError(f"parameter table: unknown parameter {number}")
        if setting.name in values:
            raise DecodeError(f"parameter table: {setting.name} is given twice")
        try:
            values[setting.name] = admit(setting, value)
        except FieldError as error:
            raise DecodeError(f"parameter table: {error}") from None
    try:
        check_together(settings, values)
    except FieldError as error:
        raise DecodeError(f"parameter table: {error}") from None
    return values
