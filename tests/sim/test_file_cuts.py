"""Power cuts in transfers of files: a sample of what `python -m tests.sim.file_cuts` goes through as a whole."""

from __future__ import annotations

import pytest

from tests.sim import file_cuts

PARTS = 4


@pytest.fixture(scope="module")
def operations() -> list[tuple[int, str, str]]:
    return file_cuts.points()


def test_the_scenario_writes_everything_that_transfers_write(operations: list[tuple[int, str, str]]) -> None:
    kinds = {(kind, name.partition(".")[0]) for _, kind, name in operations}
    assert {
        ("write", "files"), ("replace", "files"), ("delete", "files"), ("replace", "transfers"),
        ("delete", "transfers"), ("append", "vault"), ("commit", ""),
    } <= kinds  # fmt: skip


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_acknowledged_is_lost_and_nothing_half_written_is_served(
    operations: list[tuple[int, str, str]], part: int
) -> None:
    """Of each kind of operation on each user's names the first, the last and some between them."""
    by_kind: dict[tuple[str, str], list[int]] = {}
    for number, kind, name in operations:
        by_kind.setdefault((kind, name.partition(".")[0]), []).append(number)
    chosen = sorted({number for found in by_kind.values() for number in (found[0], found[-1], *found[2::7])})
    for point in chosen[part::PARTS]:
        assert file_cuts.cut(point) == [], point
        assert file_cuts.cut(point, 1 + point % 5) == [], point
