"""The field codec: round trip, any octets give values or DecodeError, `admit` lets no bad value by."""

from __future__ import annotations

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.contract.fields import ROWS_MAX, STRING_OCTETS_MAX, TYPES, Field, FieldError, Layout, Limits, Value
from flight.core.errors import DecodeError
from flight.link.space_packet import SpacePacket
from flight.link.time.time_code import TIME_NS_MAX, decode_cuc, encode_cuc

_LOW_HIGH = {f"{sign}{bits}": (0, 2**bits - 1) if sign == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
             for sign in "ui" for bits in (8, 16, 32, 64)}  # fmt: skip


_INNER = (Field("number", "u16"), Field("name", "str"), Field("at", "time"), Field("request", "packet"))
_packets = st.builds(SpacePacket, st.integers(0, 0x7FF), st.integers(0, 0x3FFF), st.binary(min_size=1, max_size=20))


def values_of(kind: str) -> st.SearchStrategy[Value]:
    """Everything a field of this type can carry."""
    if kind == "time":  # what the code can tell: the first nanosecond of each of its ticks
        return st.integers(0, TIME_NS_MAX).map(lambda t: decode_cuc(encode_cuc(t)))
    if kind == "packet":
        return _packets.map(SpacePacket.encode)
    if kind == "rows":
        return st.lists(st.tuples(*(values_of(f.type) for f in _INNER)), max_size=4).map(tuple)
    if kind == "str":
        return st.text(st.characters(codec="utf-8"), max_size=255).filter(lambda t: len(t.encode()) <= 255)
    if kind[0] == "f":
        return st.floats(width=32 if kind == "f32" else 64)
    return st.integers(*_LOW_HIGH[kind])


_row = st.lists(st.sampled_from(TYPES).flatmap(lambda kind: st.tuples(st.just(kind), values_of(kind))), max_size=12)


def field_of(kind: str, name: str = "f") -> Field:
    return Field(name, kind, fields=_INNER if kind == "rows" else ())


def layout_of(types: list[str]) -> Layout:
    return Layout(tuple(field_of(kind, f"f{i}") for i, kind in enumerate(types)))


def same(a: Value, b: Value) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


@given(_row)
def test_round_trip(row: list[tuple[str, Value]]) -> None:
    layout = layout_of([kind for kind, _ in row])
    octets = layout.encode([value for _, value in row])
    decoded = layout.decode(octets)
    assert len(decoded) == len(row)
    assert all(same(value, back) for (_, value), back in zip(row, decoded, strict=True))
    assert layout.decode(memoryview(octets)) is not None
    assert all(type(value) is type(back) for (_, value), back in zip(row, decoded, strict=True))


@given(st.sampled_from(("u8", "u16", "u32", "u64")), st.integers(0, 1 << 70))
def test_a_count_goes_round_in_its_field(kind: str, count: int) -> None:
    layout = layout_of(["i8", kind, "f64"])
    assert layout.decode(layout.encode([-1, count, 0.5])) == (-1, count % (1 << int(kind[1:])), 0.5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (Field("signed", "i8"), 128),
        (Field("negative", "u8"), -1),
        (Field("label", "u8", labels=("off", "on")), 256),
    ],
)
def test_what_does_not_go_round_is_our_own_mistake(field: Field, value: int) -> None:
    with pytest.raises(struct.error):
        Layout((field,)).encode([value])


@given(_row)
def test_octets_are_those_of_struct_field_by_field(row: list[tuple[str, Value]]) -> None:
    codes = dict(zip(("u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f32", "f64"), "BHIQbhiqfd", strict=True))

    def octets_of(kind: str, value: Value) -> bytes:
        if isinstance(value, str):
            return bytes((len(value.encode()),)) + value.encode()
        if isinstance(value, bytes):
            return value
        if isinstance(value, tuple):
            cells = (octets_of(f.type, v) for inner in value for f, v in zip(_INNER, inner, strict=True))
            return bytes((len(value),)) + b"".join(cells)
        return encode_cuc(int(value)) if kind == "time" else struct.pack(">" + codes[kind], value)

    right = b"".join(octets_of(kind, value) for kind, value in row)
    assert layout_of([kind for kind, _ in row]).encode([value for _, value in row]) == right


@given(st.lists(st.sampled_from(TYPES), max_size=8), st.binary(max_size=60))
def test_any_octets_give_values_or_decode_error(types: list[str], octets: bytes) -> None:
    layout = layout_of(types)
    try:
        values = layout.decode(octets)
    except DecodeError:
        return
    again = layout.encode(values)
    if not any(isinstance(value, float) and math.isnan(value) for value in values):
        assert again == octets
    assert len(again) == len(octets)


@given(_row.filter(bool), st.data())
def test_octets_cut_or_with_a_tail_are_refused(row: list[tuple[str, Value]], data: st.DataObject) -> None:
    layout = layout_of([kind for kind, _ in row])
    octets = layout.encode([value for _, value in row])
    with pytest.raises(DecodeError):
        layout.decode(octets[: data.draw(st.integers(0, len(octets) - 1))])
    with pytest.raises(DecodeError, match="fields end at"):
        layout.decode(octets + b"\0")


@given(st.text(st.characters(), max_size=300))
def test_any_text_is_encoded_and_a_long_one_is_cut_at_a_whole_character(text: str) -> None:
    octets = Layout((Field("t", "str"),)).encode([text])
    (back,) = Layout((Field("t", "str"),)).decode(octets)
    assert octets[0] == len(octets) - 1 <= STRING_OCTETS_MAX
    assert text.encode(errors="replace").decode().startswith(str(back))
    if len(text.encode(errors="replace")) <= STRING_OCTETS_MAX:
        assert back == text.encode(errors="replace").decode()


_anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters()), st.binary(), st.just(10**400),
    st.just(-(10**400)), st.just("\udc80"), st.integers(-(2**65), 2**65),
)  # fmt: skip


@given(st.sampled_from(TYPES), _anything)
def test_what_is_admitted_can_be_encoded_and_what_is_not_says_why(kind: str, value: object) -> None:
    field = field_of(kind)
    try:
        admitted = field.admit(value)
    except FieldError as error:
        assert str(error).startswith("f: ")  # noqa: PT017 - either may come
        return
    (back,) = Layout((field,)).decode(Layout((field,)).encode([admitted]))
    if kind == "time":
        assert isinstance(admitted, int) and back == decode_cuc(encode_cuc(admitted))
    elif kind == "f32":
        assert isinstance(admitted, float) and back == pytest.approx(admitted, rel=1e-6, abs=1e-38)
    else:
        assert back == admitted and type(back) is type(admitted)


@pytest.mark.parametrize(
    ("field", "value", "admitted"),
    [
        (Field("f", "u8"), 255, 255),
        (Field("f", "u8"), 7.0, 7),
        (Field("f", "u64"), 2**64 - 1, 2**64 - 1),
        (Field("f", "i64"), -(2**63), -(2**63)),
        (Field("f", "f32"), 3, 3.0),
        (Field("f", "f32", minimum=0.5), 0.5, 0.5),
        (Field("f", "u8", labels=("off", "on")), "on", 1),
        (Field("f", "u8", labels=("off", "on")), 0, 0),
        (Field("f", "str"), "", ""),
        (field_of("rows"), [], ()),
        (Field("f", "rows", fields=(Field("a", "u8", labels=("off", "on")),)), [["on"], {"a": 0}], ((1,), (0,))),
        (Field("f", "packet"), bytes.fromhex("1801c0000000ff"), bytes.fromhex("1801c0000000ff")),
    ],
)
def test_admitted(field: Field, value: Value, admitted: Value) -> None:
    made = field.admit(value)
    assert made == admitted and type(made) is type(admitted)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        (Field("f", "u8"), 256, "f: 256 is outside 0 .. 255"),
        (Field("f", "u8", "s"), -1, "f: -1 is outside 0 .. 255 s"),
        (Field("f", "u8"), 1.5, "f: 1.5 is not a whole number"),
        (Field("f", "u8"), math.inf, "f: inf is not a whole number"),
        (Field("f", "u8"), math.nan, "f: nan is not a whole number"),
        (Field("f", "u8"), True, "f: True is not a number"),
        (Field("f", "u8"), "x", "f: 'x' is not a number"),
        (Field("f", "u64"), 2**64, "outside 0 .. 1.84467440737096e+19"),
        (Field("f", "f64"), math.nan, "f: nan is outside"),
        (Field("f", "f64"), math.inf, "f: inf is outside"),
        (Field("f", "f32"), 1e39, "f: 1e+39 is outside -3.40282346638529e+38 .. 3.40282346638529e+38"),
        (Field("f", "f64"), 10**400, "f: a huge number is outside"),
        (Field("f", "i8", minimum=-5, maximum=5), 6, "outside -5 .. 5"),
        (Field("f", "u8", labels=("off", "on")), "of", "f: 'of' is not one of off, on"),
        (Field("f", "u8", labels=("off", "on")), 2, "outside 0 .. 1"),
        (Field("f", "str"), "é" * 128, "is not a text of at most 255 octets"),
        (Field("f", "str"), 5, "f: 5 is not a text"),
        (Field("f", "str"), "\udc80", "is not a text"),
        (Field("f", "time"), -1, "f: -1 is outside 0 .. 4.29496729599998e+18"),
        (Field("f", "packet"), b"1234567", "f: not one whole space packet"),
        (Field("f", "packet"), bytes.fromhex("1801c0000000ffff"), "f: not one whole space packet"),
        (Field("f", "rows", fields=(Field("a", "u8"),)), [[0]] * (ROWS_MAX + 1), "is not a list of at most 255 rows"),
        (Field("f", "rows", fields=(Field("a", "u8"),)), [[1], [256]], r"f\[1\].a: 256 is outside 0 .. 255"),
        (Field("f", "rows", fields=(Field("a", "u8"),)), [{"b": 1}], r"f\[0\]: has b, should have a"),
        (Field("f", "rows", fields=(Field("a", "u8"),)), [[1, 2]], "is not a row of a"),
    ],
)
def test_refused(field: Field, value: object, says: str) -> None:
    with pytest.raises(FieldError, match=says.replace("+", r"\+")):
        field.admit(value)


def test_a_label_is_shown_and_anything_else_as_it_is() -> None:
    field = Field("f", "u8", labels=("off", "on"))
    assert [field.label(v) for v in (0, 1, 2, -1, 0.0, "x")] == ["off", "on", 2, -1, 0.0, "x"]


_bound = st.none() | st.integers(-100, 100) | st.floats(-100, 100)
_interval = st.none() | st.tuples(st.floats(-9, 0), st.floats(0, 9))
_field = st.builds(
    Field, name=st.text(max_size=5), type=st.sampled_from(["u8", "i16"]), unit=st.text(max_size=3), text=st.text(),
    labels=st.lists(st.text(max_size=3), max_size=3).map(tuple), minimum=_bound, maximum=_bound,
    default=st.none() | st.integers(0, 9), limits=st.none() | st.builds(Limits, yellow=_interval, red=_interval),
)  # fmt: skip


@given(_field | st.lists(_field, min_size=1, max_size=3).map(lambda inner: Field("r", "rows", fields=tuple(inner))))
def test_a_field_survives_its_document(field: Field) -> None:
    assert Field.from_document(json.loads(json.dumps(field.document()))) == field
