"""Keys files that are exchanged and put back in the middle of a change of key, and records that are older than them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from flight.link.security.associations import End
from flight.link.security.keyring import KeyState, KeyUse
from flight.link.security.record import UPLOADS_MAX
from tests.key_files import VOLATILE, WAYS, Fault, KeyFiles
from tests.secured_link import SecuredLink

STEPS = range(7, 23, 2)


def changed(use: KeyUse, turns: int) -> KeyFiles:
    link = KeyFiles()
    for _ in range(turns):
        assert link.change(use) == ""
    return link


def assert_comes_together(link: KeyFiles) -> None:
    link.replay()
    link.come_together()
    link.change_all()
    link.replay()


@pytest.mark.parametrize("away", [(End.NODE,), (End.GROUND,), (End.NODE, End.GROUND)], ids=["node", "ground", "both"])
@pytest.mark.parametrize("turns", [0, 2])
@pytest.mark.parametrize("use", WAYS)
def test_ends_whose_keys_file_was_away_during_a_change_that_was_cut_come_together(
    use: KeyUse, turns: int, away: Sequence[End]
) -> None:
    for step in STEPS:
        link = changed(use, turns)
        link.change(use, Fault(step))
        for place in (1, 0):
            for end in away:
                link.bring(end, place)
        assert_comes_together(link)


@pytest.mark.parametrize("use", WAYS)
def test_keys_that_were_sent_up_are_there_again_after_changes_of_key_by_another_file(use: KeyUse) -> None:
    link = changed(use, 2)
    link.bring_both(1)
    for _ in range(2):
        link.change_all()
    link.bring_both(0)
    assert link.fault_of_recovery() == "" and link.ends[End.NODE].carrier(0) != VOLATILE
    assert_comes_together(link)


@pytest.mark.parametrize("step", STEPS)
def test_a_ground_that_lost_its_record_by_another_file_hears_the_key_that_was_about_to_carry(step: int) -> None:
    link = changed(KeyUse.DOWN, 1)
    link.change(KeyUse.DOWN, Fault(step))
    link.bring(End.GROUND, 1)
    link.forget(End.GROUND)
    link.bring(End.GROUND, 0)
    assert link.works()
    assert_comes_together(link)


@pytest.mark.parametrize("turns", [0, 1, 3])
@pytest.mark.parametrize("use", WAYS)
def test_a_ground_whose_record_is_from_before_a_change_goes_by_its_file(use: KeyUse, turns: int) -> None:
    for step in (0, *STEPS):
        for cut in (False, True):  # the file says that the key carries, or that it waits
            link = changed(use, turns)
            link.change(use, Fault(step))
            link.keep()
            if cut:
                link.change(use, Fault(13))
            else:
                while link.change(use) or len(link.active(use)) > 1:
                    pass
            link.put_back(End.GROUND)
            assert link.works(), (step, cut)
            assert_comes_together(link)


def test_a_ground_with_a_file_that_is_older_than_its_record_goes_by_the_record() -> None:
    link = changed(KeyUse.UP, 1)
    older = link.read_file()
    link.change(KeyUse.UP, Fault(16))  # the node has stopped the former key, and so has the ground
    link.write_file(older)
    link.start(End.GROUND)
    assert link.works()


def test_a_change_after_a_recovery_goes_on_from_numbers_that_this_set() -> None:
    link = KeyFiles()
    link.change(KeyUse.UP, Fault(13))
    link.forget(End.GROUND)
    assert_comes_together(link)


def test_uploads_of_another_file_give_their_place_if_there_is_no_other() -> None:
    link = SecuredLink()
    for _ in range(2):
        link.rotate(KeyUse.UP)
    node = link.ends[End.NODE].state
    (kept,) = node.uploads
    node.uploads += [type(kept)(b"%d" % number, frozenset()) for number in range(UPLOADS_MAX - 1)]
    link.rotate(KeyUse.DOWN)  # to the key that was delivered for it
    link.rotate(KeyUse.DOWN)
    node = link.ends[End.NODE].state
    assert len(node.uploads) == UPLOADS_MAX and node.uploads[0] == kept
    assert node.uploads[1].value == b"1", "the oldest one is gone"


def test_a_key_that_carried_nothing_when_its_file_went_stays_out_of_use_at_the_node() -> None:
    link = changed(KeyUse.DOWN, 1)
    link.change(KeyUse.DOWN, Fault(9))  # given to its association at the node, which is not started
    link.bring(End.NODE, 1)
    link.bring(End.NODE, 0)
    states = {key.key_id: key.state for key in link.ends[End.NODE].state.keyring}
    assert (states[4], states[256]) == (KeyState.ACTIVE, KeyState.DEACTIVATED)
    assert link.operational(End.NODE, KeyUse.DOWN) == [(4, 4)]
