"""TOML tables into dataclasses: types, bounds, nesting, and every fault at once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.core.config import Fault, key, read_table


@dataclass(frozen=True, slots=True)
class Row:
    name: str = key(text="the row's name")
    weight: float = key(1.0, minimum=0, maximum=10)


@dataclass(frozen=True, slots=True)
class Inner:
    low: int = key(1, minimum=0, below="high")
    high: int = key(2, maximum=100)

    def faults(self) -> list[tuple[str, str]]:
        return [] if self.high != 13 else [("high", "is 13, should be any other")]


@dataclass(frozen=True, slots=True)
class Section:
    count: int = key(minimum=1, maximum=5, text="how many")
    share: float = key(0.5, minimum=0, maximum=1)
    name: str = key("x", choices=("x", "y"))
    on: bool = key(True)
    numbers: tuple[float, ...] = key((1.0,), minimum=0)
    words: tuple[str, ...] = key(())
    inner: Inner = key(Inner())  # noqa: RUF009 - frozen
    row: tuple[Row, ...] = key(())
    period_s: Mapping[str, float] = key({}, minimum=0)


def read(text: str) -> tuple[Section | None, dict[tuple[str | int, ...], str]]:
    faults: list[Fault] = []
    made = read_table(Section, tomllib.loads(text), ("s",), faults)
    return made, {fault.path: fault.text for fault in faults}


def test_defaults_and_every_type() -> None:
    made, faults = read("count = 3")
    assert (made, faults) == (Section(3), {})
    made, faults = read(
        'count = 1\nshare = 1\nname = "y"\non = false\nnumbers = [1, 2.5]\nwords = ["a"]\ninner = {low = 5, high = 6}\n'
        'period_s = {power = 2}\n[[row]]\nname = "r"\n[[row]]\nname = "q"\nweight = 2'
    )
    assert faults == {}
    assert made is not None
    assert (made.share, made.name, made.on, made.numbers, made.words) == (1.0, "y", False, (1.0, 2.5), ("a",))
    assert type(made.share) is float and type(made.numbers[0]) is float
    assert made.inner == Inner(5, 6)
    assert made.row == (Row("r", 1.0), Row("q", 2.0))
    assert dict(made.period_s) == {"power": 2.0}
    with pytest.raises(TypeError):
        made.period_s["power"] = 3.0  # type: ignore[index] # it is not to be changed, and refuses to be


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        ("", "count", "is missing: how many"),
        ("count = 0", "count", "is 0, should be in 1 .. 5"),
        ("count = 6", "count", "is 6, should be in 1 .. 5"),
        ("count = 1.5", "count", "is 1.5, should be a whole number"),
        ("count = true", "count", "is true, should be a whole number"),
        ('count = "1"', "count", "is '1', should be a whole number"),
        ("count = []", "count", "is an array, should be a whole number"),
        ("count = {}", "count", "is a table, should be a whole number"),
        ("count = 1979-05-27", "count", "should be a whole number"),
        ("count = 1\nshare = nan", "share", "is nan, should be in 0 .. 1"),
        ("count = 1\nshare = inf", "share", "is inf, should be in 0 .. 1"),
        ("count = 1\nshare = false", "share", "is false, should be a number"),
        ("count = 1\non = 1", "on", "is 1, should be true or false"),
        ("count = 1\nname = 'z'", "name", "is 'z', should be one of x, y"),
        ("count = 1\nwords = 'a'", "words", "is 'a', should be an array"),
        ("count = 1\nrow = {}", "row", "is a table, should be an array"),
        ("count = 1\nperiod_s = 3", "period_s", "is 3, should be a table"),
        ("count = 1\ninner = 3", "inner", "is 3, should be a table"),
        ("count = 1\nshaer = 0.2", "shaer", "unknown key, did you mean share?"),
        ("count = 1\nqqq = 0.2", "qqq", "unknown key, known: count, inner, name, "),
    ],
)
def test_one_fault_with_what_would_be_right(text: str, path: str, says: str) -> None:
    made, faults = read(text)
    assert made is None
    assert list(faults) == [("s", path)]
    assert says in faults["s", path]


def test_faults_within_arrays_and_tables_say_where() -> None:
    made, faults = read(
        "count = 9\nnumbers = [1, -2, 'x']\ninner = {low = -1, hihg = 2}\nperiod_s = {a = -1, b = 'x'}\n"
        "row = [{name = 'r'}, {weight = 11}, 7]"
    )
    assert made is None
    assert faults == {
        ("s", "count"): "is 9, should be in 1 .. 5",
        ("s", "numbers", 1): "is -2, should be at least 0",
        ("s", "numbers", 2): "is 'x', should be a number",
        ("s", "inner", "low"): "is -1, should be at least 0",
        ("s", "inner", "hihg"): "unknown key, did you mean high?",
        ("s", "period_s", "a"): "is -1, should be at least 0",
        ("s", "period_s", "b"): "is 'x', should be a number",
        ("s", "row", 1, "name"): "is missing: the row's name",
        ("s", "row", 1, "weight"): "is 11, should be in 0 .. 10",
        ("s", "row", 2): "is 7, should be a table",
    }


def test_a_contradiction_of_a_nested_table_stands_beside_other_faults() -> None:
    made, faults = read("count = 0\ninner = {low = 7, high = 7}")
    assert made is None
    assert faults == {
        ("s", "count"): "is 0, should be in 1 .. 5",
        ("s", "inner", "high"): "is 7, should be above low, which is 7",
    }
    made, faults = read("count = 0\ninner = {low = 7, high = 13}")
    assert made is None
    assert faults == {
        ("s", "count"): "is 0, should be in 1 .. 5",
        ("s", "inner", "high"): "is 13, should be any other",
    }
    assert read("count = 1\ninner = {low = 7, high = 8}")[1] == {}


@pytest.mark.parametrize("digits", [30, 400, 4000])
def test_numbers_beyond_any_machine_are_faults(digits: int) -> None:
    huge = "9" * digits
    made, faults = read(f"count = {huge}\nshare = -{huge}\nnumbers = [{huge}]")
    assert made is None
    assert set(faults) == {("s", "count"), ("s", "share"), ("s", "numbers", 0)}


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "low", "a"]), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*Section.__slots__, "foreign"]), _anything))
def test_any_table_gives_a_section_or_faults(table: dict[str, Any]) -> None:
    faults: list[Fault] = []
    made = read_table(Section, table, ("s",), faults)
    assert (made is None) == bool(faults)
    for fault in faults:
        assert fault.path[0] == "s" and fault.text
