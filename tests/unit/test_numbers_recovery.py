"""An end that lost its record: what it does by itself, and what `orbitnode keys recover` does about the rest."""

from __future__ import annotations

from contextlib import suppress

import pytest

from flight.link.security.associations import End, LinkPlan
from flight.link.security.keyring import KeyState, KeyUse
from flight.link.security.keys_text import parse_keys
from flight.link.security.suites import CMAC_SUITE
from ground.link.security.key_rotation import RotationFailed
from ground.link.security.numbers_recovery import NumbersRecovery
from tests.secured_link import PLANS, Cut, SecuredLink

CLOCK = 1 << 47


@pytest.mark.parametrize("index", [0, 1])
def test_a_node_that_lost_its_record_is_brought_back(index: int) -> None:
    link = SecuredLink(index)
    assert link.works()
    link.lose(End.NODE, CLOCK)
    assert link.ends[End.NODE].volatile and link.carry("up", b"below its clock") is None
    link.recover(CLOCK + 1000)
    states = link.ends[End.NODE].state.associations.values()
    assert not any(each.lost for each in states if each.link == index)
    assert link.works() and link.ends[End.NODE].carrier(index) == 16 * index + 3
    if index == 0:
        assert link.ends[End.NODE].volatile  # the other link's numbers are still lost
        link.index = 1
        link.recover(CLOCK + 1000)
    link.boot()
    assert not (link.ends[End.NODE].volatile and index == 0)
    assert link.works() or link.index == 0


def test_a_recovery_that_is_cut_anywhere_leaves_a_way_and_is_run_again() -> None:
    whole = SecuredLink()
    whole.lose(End.NODE, CLOCK)
    whole.recover(CLOCK + 1000)
    for at in range(len(whole.steps) + 1):
        link = SecuredLink(lose_reply_at=at)
        link.lose(End.NODE, CLOCK)
        with suppress(RotationFailed):
            link.recover(CLOCK + 1000)
        link.lose_reply_at = -1
        link.recover(CLOCK + 2000)
        assert link.works()
        assert not any(each.lost for each in link.ends[End.NODE].state.associations.values() if each.link == 0)


def test_a_clock_of_the_node_that_is_ahead_is_met() -> None:
    link = SecuredLink()
    link.lose(End.NODE, CLOCK + 500_000)
    with pytest.raises(RotationFailed, match="no answer came; run it again"):
        link.recover(CLOCK)
    link.recover(CLOCK + 1_000_000)
    assert link.works()


def test_a_link_that_is_well_is_recovered_again_and_again() -> None:
    link = SecuredLink()
    for clock in (1 << 40, (1 << 40) + 3600 * 65536, 1 << 40, 0):
        link.recover(clock)
        assert link.works()


def test_a_link_in_clear_has_no_numbers() -> None:
    with pytest.raises(RotationFailed, match="in clear"):
        NumbersRecovery([LinkPlan("radio", None, None)], 0, CLOCK)
    link = SecuredLink(plans=(LinkPlan("radio", CMAC_SUITE, None),))
    link.lose(End.NODE, CLOCK)
    link.recover(CLOCK + 1000)
    assert link.works() and not link.ends[End.NODE].volatile


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("rotated", [(KeyUse.UP,), (KeyUse.DOWN,), (KeyUse.UP, KeyUse.DOWN), (KeyUse.UP,) * 3])
def test_a_ground_that_lost_its_record_after_changes_of_key_goes_on(index: int, rotated: tuple[KeyUse, ...]) -> None:
    link = SecuredLink(index)
    for use in rotated:
        link.rotate(use)
    link.lose(End.GROUND, CLOCK)
    assert link.ends[End.GROUND].faults == ()
    assert link.works()
    for use in rotated:
        link.rotate(use)
    assert link.works()
    for use in rotated:  # of others the ground hears the key that waits as well
        assert link.operational(End.NODE, use) == link.operational(End.GROUND, use)


@pytest.mark.parametrize("use", [KeyUse.UP, KeyUse.DOWN])
@pytest.mark.parametrize("turn", [1, 2])
def test_a_ground_that_loses_its_record_at_any_step_of_a_change_finishes_it(use: KeyUse, turn: int) -> None:
    whole = SecuredLink()
    for _ in range(turn):
        whole.steps.clear()
        whole.rotate(use)
    for at in range(len(whole.steps)):
        link = SecuredLink()
        for _ in range(turn - 1):
            link.rotate(use)
        link.steps.clear()
        link.cut_after = at
        with pytest.raises(Cut):
            link.rotate(use)
        link.lose(End.GROUND, CLOCK)
        assert link.works(), whole.steps[:at]
        link.cut_after = 1 << 30
        link.rotate(use)
        if len(link.active(use)) != 1:
            link.rotate(use)
        ((key_id, spi),) = link.active(use)
        assert link.works()
        assert link.operational(End.NODE, use) == link.operational(End.GROUND, use) == [(spi, key_id)]


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("wiped", [False, True], ids=["its record", "its whole storage"])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_node_that_forgot_changes_of_key_is_reached_by_the_keys_of_delivery(
    index: int, wiped: bool, turns: int
) -> None:
    link = SecuredLink(index)
    for _ in range(turns):
        link.rotate(KeyUse.UP)
        link.rotate(KeyUse.DOWN)
    before = set(fingerprints(link).values())
    lose_node(link, wiped)
    assert link.carry("up", b"by the key of before") is None
    link.revert(CLOCK + 1000)
    assert link.ends[End.GROUND].faults == ()
    link.recover(CLOCK + 1000)
    assert link.works()
    link.rotate(KeyUse.UP)
    link.rotate(KeyUse.DOWN)
    assert link.works()
    for use in (KeyUse.UP, KeyUse.DOWN):
        ((key_id, _),) = link.active(use)
        assert fingerprints(link)[key_id] not in before
    link.boot(CLOCK + 2000)
    assert link.works()


@pytest.mark.parametrize("wiped", [False, True], ids=["its record", "its whole storage"])
@pytest.mark.parametrize("use", [KeyUse.UP, KeyUse.DOWN])
def test_no_key_that_the_node_may_have_used_begins_again(use: KeyUse, wiped: bool) -> None:
    """A change of key is cut at any step, the node forgets it, and the next one is made with a fresh key."""
    whole = SecuredLink()
    whole.rotate(use)
    for at in range(len(whole.steps)):
        link = SecuredLink(cut_after=at)
        with pytest.raises(Cut):
            link.rotate(use)
        link.cut_after = 1 << 30
        before = set(fingerprints(link).values())
        lose_node(link, wiped)
        link.revert(CLOCK + 1000)
        assert [key.spi for key in parse_keys(link.file) if key.state is KeyState.PRE_ACTIVATION] == []
        link.recover(CLOCK + 1000)
        link.rotate(use)
        ((key_id, spi),) = link.active(use)
        assert link.works() and fingerprints(link)[key_id] not in before
        assert link.operational(End.NODE, use) == link.operational(End.GROUND, use) == [(spi, key_id)]


def fingerprints(link: SecuredLink) -> dict[int, bytes]:
    return {key.key_id: key.fingerprint for key in parse_keys(link.file)}


def lose_node(link: SecuredLink, wiped: bool) -> None:
    if wiped:
        link.records[End.NODE] = None
        link.boot(CLOCK)
    else:
        link.lose(End.NODE, CLOCK)


def test_numbers_begin_at_the_clock_whatever_the_record_says() -> None:
    """A record from a backup, a second ground with a copy of the keys, a wiped node."""
    link = SecuredLink(plans=PLANS[:1])
    backup = dict(link.records)
    for _ in range(600):
        assert link.works()
    first = {(end, spi): numbers.last for end, each in link.ends.items() for spi, numbers in each.state.numbers.items()}
    link.records = backup
    for end in End:
        link.boot(clock_number=CLOCK)
        sends = (1, 2) if end is End.GROUND else (3, 4)
        for spi in sends:
            assert link.ends[end].state.numbers[spi].last >= max(CLOCK - 1, first[end, spi])
    assert link.carry("up", b"data") == b"data"
