"""One octet of a recording spoilt, a hundred times per form; `make damage` does it thousands of times."""

from __future__ import annotations

import pytest

from tests.recording_damage import RECORDINGS, campaign


@pytest.mark.parametrize("name", RECORDINGS)
def test_damage_costs_no_more_than_it_touches(name: str) -> None:
    assert list(campaign(name, 99, seed=1)) == []
