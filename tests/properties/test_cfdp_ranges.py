"""Ranges against a set of numbers: whatever is added and removed, both say the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flight.link.cfdp.ranges import Ranges, RangesFull

PLACE = st.integers(0, 60)
RANGES_MAX = 6


def stretches_of(octets: set[int]) -> list[tuple[int, int]]:
    starts = sorted(at for at in octets if at - 1 not in octets)
    ends = sorted(at + 1 for at in octets if at + 1 not in octets)
    return list(zip(starts, ends, strict=True))


class RangesMachine(RuleBasedStateMachine):
    """Ranges and a set of all its octets, beside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges = Ranges(ranges_max=RANGES_MAX)
        self.octets: set[int] = set()

    def change(self, add: bool, start: int, end: int) -> None:
        touched = set(range(start, end))
        after = self.octets | touched if add else self.octets - touched
        changed = len(after ^ self.octets)
        try:
            assert (self.ranges.add if add else self.ranges.remove)(start, end) == changed
        except RangesFull:
            assert len(stretches_of(after)) > RANGES_MAX
        else:
            self.octets = after

    @rule(start=PLACE, octets=st.integers(-2, 12))
    def add(self, start: int, octets: int) -> None:
        self.change(True, start, start + octets)

    @rule(octets=st.integers(1, 12))
    def add_in_order(self, octets: int) -> None:
        self.change(True, self.ranges.end, self.ranges.end + octets)

    @rule(start=PLACE, octets=st.integers(-2, 30))
    def remove(self, start: int, octets: int) -> None:
        self.change(False, start, start + octets)

    @rule(octets=st.integers(1, 5))
    def take_from_the_front(self, octets: int) -> None:
        if self.ranges.first is not None:
            start, end = self.ranges.first
            self.change(False, start, min(end, start + octets))

    @rule()
    def clear(self) -> None:
        self.ranges.clear()
        self.octets.clear()

    @rule(start=PLACE, end=PLACE, gaps_max=st.none() | st.integers(0, 4))
    def ask(self, start: int, end: int, gaps_max: int | None) -> None:
        asked = set(range(start, end))
        gaps = stretches_of(asked - self.octets)
        assert self.ranges.gaps(start, end, gaps_max) == gaps[:gaps_max]
        assert self.ranges.contains(start, end) == (asked <= self.octets)
        assert self.ranges.overlaps(start, end) == bool(asked & self.octets)
        assert self.ranges.first_gap(end) == next(iter(stretches_of(set(range(end)) - self.octets)), None)

    @invariant()
    def both_say_the_same(self) -> None:
        stretches = list(self.ranges)
        assert stretches == stretches_of(self.octets)
        assert self.ranges.total == len(self.octets)
        assert len(self.ranges) == len(stretches) <= RANGES_MAX
        assert self.ranges.end == max(self.octets, default=-1) + 1
        assert self.ranges.first == (stretches[0] if stretches else None)
        assert all(end < start for (_, end), (start, _) in pairwise(stretches))
        assert self.ranges == Ranges(reversed(stretches))


TestRanges = RangesMachine.TestCase


@given(st.permutations(range(20)))
def test_a_file_that_comes_in_any_order_is_one_stretch_in_the_end(order: list[int]) -> None:
    ranges = Ranges()
    assert sum(ranges.add(1000 * i, 1000 * (i + 1)) for i in order) == ranges.total == 20_000
    assert list(ranges) == [(0, 20_000)]


def test_full_ranges_take_what_makes_no_new_stretch() -> None:
    ranges = Ranges([(0, 1), (10, 11), (20, 21)], ranges_max=3)
    with pytest.raises(RangesFull, match="3 at most"):
        ranges.add(5, 6)
    with pytest.raises(RangesFull):
        ranges.add(30, 31)
    assert ranges.add(21, 25) == 4
    assert ranges.add(1, 10) == 9
    assert list(ranges) == [(0, 11), (20, 25)]
    assert ranges != [(0, 11), (20, 25)]
    assert repr(ranges) == "Ranges([(0, 11), (20, 25)])"


def test_the_middle_of_a_stretch_of_full_ranges_cannot_be_cut_out() -> None:
    ranges = Ranges([(0, 10), (20, 30)], ranges_max=2)
    with pytest.raises(RangesFull):
        ranges.remove(3, 5)
    assert list(ranges) == [(0, 10), (20, 30)]
    assert ranges.remove(5, 25) == 10
    assert list(ranges) == [(0, 5), (25, 30)]
