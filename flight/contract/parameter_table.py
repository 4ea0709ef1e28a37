"""What on-board parameters may be, alone and as a set, and the file in which a table of them travels.

The file, big-endian: magic `OPTB`, format version u8, schema 8 octets, count u16, so many rows of parameter u16 and
value f64, CRC-32 (IEEE 802.3) of everything before it. The schema is the beginning of the SHA-256 over number, name
and type of every setting: a table made for other software is refused before a row of it is looked at. Rows may be
few: what a table does not name it leaves alone.
"""

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
    """`value` as the setting may have it by its type and bounds; raises FieldError."""
    field = Field(setting.name, setting.type, setting.unit, minimum=setting.minimum, maximum=setting.maximum)
    admitted = field.admit(value)
    if not isinstance(admitted, int | float):
        raise FieldError(f"{setting.name} is of type {setting.type}, should be a number")
    return float(admitted)


def contradiction(settings: Iterable[Setting], values: Mapping[str, float]) -> tuple[str, str] | None:
    """The first two settings of which the one is not below the other as it must be; None where all agree.

    values: by name. A setting that has none there contradicts nobody.
    """
    return next(iter(out_of_order({one.name: one.below for one in settings}, values)), None)


def check_together(settings: Iterable[Setting], values: Mapping[str, float]) -> None:
    """Raises FieldError where `values`, by name, contradict each other."""
    found = contradiction(settings, values)
    if found is not None:
        low, high = found
        raise FieldError(f"{low}: {values[low]:g} should stay below {high}, {values[high]:g}")


def schema(settings: Iterable[Setting]) -> bytes:
    """What a table must have been made for: equal where numbers, names and types are."""
    lines = sorted((one.number, f"{one.number} {one.name} {one.type}\n") for one in settings)
    return hashlib.sha256("".join(text for _, text in lines).encode()).digest()[:SCHEMA_OCTETS]


def encode_table(settings: Sequence[Setting], values: Mapping[str, float]) -> bytes:
    """The file with these values, by name, checked before by whoever has them."""
    numbers = {one.name: one.number for one in settings}
    body = _HEADER.pack(MAGIC, VERSION, schema(settings), len(values))
    body += b"".join(_ROW.pack(numbers[name], value) for name, value in values.items())
    return body + _CRC.pack(zlib.crc32(body))


def decode_table(octets: bytes, settings: Sequence[Setting]) -> dict[str, float]:
    """The values by name; raises DecodeError for anything but a whole table that `settings` admit."""
    if len(octets) < _HEADER.size + _CRC.size:
        raise DecodeError(f"parameter table of {len(octets)} octets, shortest is {_HEADER.size + _CRC.size}")
    magic, version, made_for, count = _HEADER.unpack_from(octets)
    if magic != MAGIC:
        raise DecodeError(f"no parameter table: it begins with {magic.hex()}, should be {MAGIC.hex()}")
    if version != VERSION:
        raise DecodeError(f"parameter table of format version {version}, only {VERSION} is known")
    size = _HEADER.size + count * _ROW.size + _CRC.size
    if len(octets) != size:
        raise DecodeError(f"parameter table of {count} rows in {len(octets)} octets, should be {size}")
    (crc,) = _CRC.unpack_from(octets, size - _CRC.size)
    if zlib.crc32(octets[: -_CRC.size]) != crc:
        raise DecodeError("parameter table: its CRC-32 does not fit")
    if made_for != schema(settings):
        raise DecodeError(f"parameter table for schema {made_for.hex()}, this software has {schema(settings).hex()}")
    return _rows(octets[_HEADER.size : -_CRC.size], settings)


def _rows(octets: bytes, settings: Sequence[Setting]) -> dict[str, float]:
    known = {one.number: one for one in settings}
    values: dict[str, float] = {}
    for number, value in _ROW.iter_unpack(octets):
        setting = known.get(number)
        if setting is None:
            raise DecodeError(f"parameter table: no parameter {number}")
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
