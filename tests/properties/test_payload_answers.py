"""Answers of worker apps other than masks: what may be declared, what fits it, and products that come back whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.contract.fields import Field
from flight.core.errors import DecodeError, SetupError
from payloads.apps.base import BadOutput
from payloads.apps.ndvi import Ndvi
from payloads.apps.water import Water
from payloads.product.answers import AnyKind, Mask, Octets, Scalars, Table
from payloads.product.decode import decode_product, is_product
from payloads.product.mask import MaskProduct, encode_mask_product
from payloads.product.records import RecordHeader, RecordProduct, encode_record_product
from payloads.worker.packing import answer_octets

COLUMNS = (Field("row", "u16", "px"), Field("score", "f32"), Field("kind", "u8", labels=("ship", "cloud")))
WORDY = tuple(Field(f"f{i}", "u8", labels=tuple("x" * 60 + str(j) for j in range(64))) for i in range(32))
TABLE = Table(COLUMNS, rows_max=5)
SCALARS = Scalars((Field("mean", "f64"), Field("count", "u32")))
SHAPE = (4, 4)
ROWS = st.lists(
    st.tuples(st.integers(0, 65535), st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(0, 1)),
    max_size=5,
)


def product_of(declared: AnyKind, answer: bytes, app: str = "find") -> bytes:
    return encode_record_product(declared, answer, app=app, tile=7, job=9, time_ns=123)


def decoded(raw: bytes) -> RecordProduct:
    product = decode_product(raw)
    assert isinstance(product, RecordProduct)
    return product


@given(ROWS)
def test_a_table_comes_back_as_it_went(rows: list[tuple[int, float, int]]) -> None:
    answer = answer_octets(TABLE, rows, SHAPE)
    assert TABLE.fault(answer, *SHAPE) == "" and len(answer) <= TABLE.octets_max(*SHAPE)
    raw = product_of(TABLE, answer)
    product = decoded(raw)
    assert is_product(raw)
    assert product.rows() == rows
    assert (product.header.tile, product.header.job, product.header.time_ns) == (7, 9, 123)
    assert (product.declaration.app, product.declaration.kind) == ("find", "table")
    assert product.declaration.fields == tuple(COLUMNS), "names, units and labels are in the product itself"


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 2**32 - 1))
def test_scalars_come_back_as_they_went(mean: float, count: int) -> None:
    answer = answer_octets(SCALARS, {"count": count, "mean": mean}, SHAPE)
    assert decoded(product_of(SCALARS, answer)).rows() == [(mean, count)]


@given(st.binary(max_size=100))
def test_octets_come_back_as_they_went(octets: bytes) -> None:
    declared = Octets(100, "png")
    product = decoded(product_of(declared, answer_octets(declared, octets, SHAPE)))
    assert (product.answer, product.declaration.suffix, product.rows()) == (octets, "png", [])


def test_rows_may_be_named_and_numbers_numpys() -> None:
    rows = [{"kind": "cloud", "score": np.float32(0.5), "row": np.int64(3)}, (np.uint8(4), 1, 0)]
    assert decoded(product_of(TABLE, answer_octets(TABLE, rows, SHAPE))).rows() == [(3, 0.5, 1), (4, 1.0, 0)]
    assert answer_octets(TABLE, np.array([[1, 2, 0]]), SHAPE) == answer_octets(TABLE, [(1, 2.0, 0)], SHAPE)


@pytest.mark.parametrize(
    ("declared", "result", "text"),
    [
        (TABLE, 5, "app gave int, should be rows of row, score, kind"),
        (TABLE, {"row": 1}, "app gave dict, should be rows of row, score, kind"),
        (TABLE, [(1, 2.0, 0)] * 6, "app gave more rows than the 5 declared as rows_max"),
        (TABLE, [(1, 2.0, 0), (1, 2.0)], "row 1: app gave 2 values, should be row, score, kind"),
        (TABLE, [7], "row 0: app gave int, should be row, score, kind"),
        (TABLE, [(70_000, 2.0, 0)], "row 0: row: 70000 is outside 0 .. 65535 px"),
        (TABLE, [(1, float("nan"), 0)], "row 0: score: nan is outside"),
        (TABLE, [(1, 2.0, "boat")], "row 0: kind: 'boat' is not one of ship, cloud"),
        (TABLE, [{"row": 1, "score": 1.0}], "row 0: app gave row, score, should be row, score, kind"),
        (SCALARS, [1.0, 2], "app gave list, should be a mapping of mean, count"),
        (SCALARS, {"mean": 1.0}, "app gave mean, should be mean, count"),
        (SCALARS, {"mean": 1.0, "count": 1, "more": 2}, "app gave mean, count, more, should be mean, count"),
        (SCALARS, {"mean": None, "count": 1}, "mean: None is not a number"),
        (SCALARS, {"mean": 1.0, "count": 1.5}, "count: 1.5 is not a whole number"),
        (Octets(3), "abc", "app gave str, should be bytes"),
        (Octets(3), b"abcd", "app gave 4 octets, more than the 3 declared as size_max"),
        (Mask(("land", "water")), np.full(SHAPE, 2, np.uint8), "app gave class 2, highest is 1"),
        (Mask(("land", "water")), [[0]], "app gave list, should be uint8 (4, 4)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_its_declaration_is_said(declared: AnyKind, result: Any, text: str) -> None:
    with pytest.raises(BadOutput) as caught:
        answer_octets(declared, result, SHAPE)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("declared", "octets", "text"),
    [
        (TABLE, b"\0" * 8, "table of 8 octets, should be whole rows of 7"),
        (TABLE, b"\0" * 42, "table of 6 rows, at most 5 were declared"),
        (SCALARS, b"\0" * 11, "scalars of 11 octets, should be 12"),
        (Octets(3), b"abcd", "4 octets, at most 3 were declared"),
        (Mask(("land", "water")), b"\0" * 15, "mask of 15 octets, should be 16"),
        (Mask(("land", "water")), b"\0\2" * 8, "mask with class 2, highest is 1"),
    ],
)
def test_the_node_judges_an_answer_by_its_octets(declared: AnyKind, octets: bytes, text: str) -> None:
    assert declared.fault(octets, *SHAPE) == text


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (Mask(("land",)), "has 1 classes, should have 2 .. 16"),
        (Mask(("land", "land")), "class 'land' is there twice"),
        (Mask(("land", "Water")), "class 'Water' should be named by"),
        (Table((), 1), "has 0 fields, should have 1 .. 32"),
        (Table(COLUMNS, 0), "rows_max is 0, should be in 1 .. "),
        (Table(COLUMNS, 1 << 30), "rows_max is 1073741824, should be in 1 .. "),
        (Scalars((Field("text", "str"),)), "field text is of type str, should be a number"),
        (Scalars((Field("one two", "u8"),)), "field 'one two' should be named by"),
        (Scalars((Field("a", "u8"), Field("a", "u8"))), "field 'a' is there twice"),
        (Octets(0), "size_max is 0, should be in 1 .. "),
        (Octets(5.5), "size_max is 5.5, should be a whole number"),  # type: ignore[arg-type]
        (Table(COLUMNS, 3.5), "rows_max is 3.5, should be a whole number"),  # type: ignore[arg-type]
        (Table(list(COLUMNS), 3), "fields is list, should be a tuple"),  # type: ignore[arg-type]
        (Mask(["land", "water"]), "classes is list, should be a tuple"),  # type: ignore[arg-type]
        (Table(WORDY, 3), "takes 136243 octets as JSON"),
        (Octets(5, "../x"), "suffix is '../x', should be"),
    ],
)
def test_a_declaration_that_cannot_be_is_said(declared: AnyKind, text: str) -> None:
    with pytest.raises(SetupError) as caught:
        declared.check()
    assert str(caught.value).startswith(text)


@given(st.data())
def test_an_altered_product_is_refused_and_nothing_else_is_raised(data: st.DataObject) -> None:
    raw = bytearray(product_of(TABLE, answer_octets(TABLE, [(1, 2.0, 0)], SHAPE)))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DecodeError):
        decode_product(bytes(raw))
    with pytest.raises(DecodeError):
        decode_product(bytes(raw[:at]))


@given(st.binary(max_size=120))
def test_any_octets_behind_the_magic_decode_or_are_refused(octets: bytes) -> None:
    for raw in (RecordHeader.MAGIC + octets, octets):
        try:
            decode_product(raw)
        except DecodeError:
            continue
        raise AssertionError("a SHA-256 was met by chance")


@given(st.integers(2, 16), st.floats(0, 1), st.booleans())
def test_a_mask_of_other_classes_names_them(count: int, cloudy_frac: float, pixels: bool) -> None:
    declared = Mask(tuple(f"class_{number}" for number in range(count)), pixels=pixels)
    mask = (np.arange(64).reshape(8, 8) % count).astype(np.uint8)
    samples = np.arange(128, dtype=np.uint16).reshape(2, 8, 8)
    raw = encode_mask_product(
        samples, mask, tile=1, job=2, time_ns=3, cloudy_frac=cloudy_frac, declared=declared
    )  # fmt: skip
    product = decode_product(raw)
    assert isinstance(product, MaskProduct)
    assert product.header.classes == declared.classes
    assert (product.mask == mask).all()
    sent = pixels and float((mask == 1).mean()) <= cloudy_frac
    assert (product.clear is not None) == sent
    if product.clear is not None:
        assert (product.clear == samples[:, mask == 0]).all()


def test_ndvi_of_a_known_tile() -> None:
    samples = np.zeros((4, 8, 8), np.uint16)
    samples[2, :4], samples[3, :4] = 1000, 3000  # 0.5
    samples[2, 4:6], samples[3, 4:6] = 2000, 2000  # 0
    made = Ndvi(None).run(samples)  # type: ignore[arg-type] # it needs no settings
    assert made == {"ndvi_mean": pytest.approx(2 / 3 * 0.5), "green_frac": pytest.approx(2 / 3), "lit_pixels": 48}
    answer_octets(Ndvi.ANSWER, made, SHAPE)
    dark = Ndvi(None).run(np.zeros((4, 8, 8), np.uint16))  # type: ignore[arg-type] # it needs no settings
    assert decoded(product_of(Ndvi.ANSWER, answer_octets(Ndvi.ANSWER, dark, SHAPE))).rows() == [(0.0, 0.0, 0)]


def flooded(water: np.ndarray[Any, np.dtype[np.bool_]]) -> list[tuple[float, float, int]]:
    """An independent way to the same bodies: from each pixel to all that it touches."""
    left = {(int(row), int(column)) for row, column in np.argwhere(water)}
    bodies = []
    while left:
        body, edge = [], [left.pop()]
        while edge:
            row, column = edge.pop()
            body.append((row, column))
            for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if near in left:
                    left.remove(near)
                    edge.append(near)
        rows, columns = zip(*body, strict=True)
        bodies.append((sum(rows) / len(body), sum(columns) / len(body), len(body)))
    return sorted((one for one in bodies if one[2] >= 16), key=lambda one: (-one[2], one))


@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(1, 24), st.floats(0.3, 0.9))
def test_water_is_found_as_by_flooding(seed: int, height: int, width: int, share: float) -> None:
    water = np.random.default_rng(seed).random((height, width)) < share
    samples = np.zeros((4, height, width), np.uint16)
    samples[1] = np.where(water, 1000, 300)
    samples[3] = np.where(water, 100, 2000)
    found = Water(None).run(samples)  # type: ignore[arg-type] # it needs no settings
    wanted = flooded(water)[:64]
    assert [one[2] for one in found] == [one[2] for one in wanted]
    for one, other in zip(sorted(found), sorted(wanted), strict=True):
        assert one == pytest.approx(other)
    answer_octets(Water.ANSWER, found, (height, width))
