"""Changes of key that are cut, lose answers and restart, several times over: a way to command is left."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from flight.link.security.keyring import KeyUse
from ground.link.security.key_rotation import RotationFailed
from tests.secured_link import Cut, SecuredLink


class Attempt(NamedTuple):
    """One run of `keys rotate`: after how many steps it is killed, and at which one the node's answer is lost."""

    use: KeyUse
    cut_after: int
    lose_reply_at: int
    deaf: tuple[str, int] | None  # direction and SPI over which nothing arrives
    restarts: bool


steps = st.one_of(st.integers(0, 30), st.just(1 << 30))
ways = st.sampled_from([KeyUse.UP, KeyUse.DOWN])
deafness = st.one_of(
    st.none(), st.none(), st.tuples(st.just("up"), st.integers(1, 2)), st.tuples(st.just("down"), st.integers(3, 4))
)
attempts = st.builds(Attempt, ways, steps, steps, deafness, st.booleans())


@settings(max_examples=60)
@given(st.lists(attempts, max_size=8))
def test_whatever_happens_to_changes_of_key_a_way_is_left(tried: list[Attempt]) -> None:
    link = SecuredLink()
    for attempt in tried:
        link.steps.clear()
        link.cut_after, link.lose_reply_at = attempt.cut_after, attempt.lose_reply_at
        deaf = attempt.deaf
        link.deaf = lambda way, spi, deaf=deaf: (way, spi) == deaf  # type: ignore[misc]
        with suppress(Cut, RotationFailed):
            link.rotate(attempt.use)
        link.deaf = lambda _way, _spi: False
        if attempt.restarts:
            link.boot()
        assert link.works()
    link.cut_after, link.lose_reply_at = 1 << 30, -1
    for use in (KeyUse.UP, KeyUse.DOWN):
        link.rotate(use)
        if len(link.active(use)) != 1:
            link.rotate(use)
        ((key_id, spi),) = link.active(use)
        assert link.works()
        for end in link.ends:
            assert link.operational(end, use) == [(spi, key_id)]
