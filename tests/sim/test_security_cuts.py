"""Power cuts in the storage of link security, at places all over the scenario; `make power-cut` takes every operation.

And a node whose storage does not take the record, or does not give it back: what it does, and how it is brought back.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flight.link.security.associations import End
from flight.link.security.procedures import Pdu, Procedure, ids_value
from ground.link.security.key_rotation import RotationFailed, carry_out
from ground.link.security.numbers_recovery import NumbersRecovery
from tests.sim.security_cuts import PING, PLANS, Cut, Run, cuts, operations, wrong_with

EVERY = 19
LATER = 1 << 40  # a clock's number above all that were used


def test_power_cuts_use_no_number_twice_and_the_link_comes_up_again() -> None:
    counts = operations()
    assert counts[End.NODE] > 50 and counts[End.GROUND] > 150
    chosen: list[Cut] = cuts(counts)[::EVERY]
    assert {cut.end for cut in chosen} == {*End}
    assert [said for cut in chosen if (said := wrong_with(cut))] == []


@pytest.fixture
def run() -> Iterator[Run]:
    made = Run()
    with made.ready():
        yield made


def procedure(run: Run, which: Procedure, value: bytes = b"") -> str:
    """What the node says to a procedure: "" if it did it."""
    answer = run.site.exchange(Pdu(which, value).encode())
    assert not answer.silent
    return answer.text or answer.refused


def is_volatile(run: Run) -> bool:
    return run.board.security.volatile


def recover(run: Run) -> None:
    carry_out(NumbersRecovery(PLANS, 0, LATER), run.site, lambda: None, lambda _: None)


@pytest.mark.parametrize("fault", ["read_only", "fail_commits"])
def test_a_node_whose_storage_takes_nothing_takes_what_may_be_repeated(run: Run, fault: str) -> None:
    setattr(run.disk, fault, True)
    for _ in range(60):  # more than a block of numbers in each direction
        assert run.site.ask(PING, b"") is not None
    assert is_volatile(run) and "security_volatile" in run.board.events
    assert "idempotent" in procedure(run, Procedure.STOP_SA, ids_value([2]))
    assert procedure(run, Procedure.PING) == ""
    run.disk.read_only = run.disk.fail_commits = False
    run.restart_node()
    assert run.site.ping() and not is_volatile(run)
    run.rotate_up()


def test_a_full_storage_takes_numbers_and_refuses_a_change_that_needs_room(run: Run) -> None:
    run.disk.capacity_octets = 0
    for _ in range(60):
        assert run.site.ask(PING, b"") is not None
    run.rotate_up()  # to a key that was delivered
    assert not is_volatile(run)  # the record keeps its size
    with pytest.raises(RotationFailed, match="cannot be stored, all is as before"):
        run.rotate_up()
    run.disk.capacity_octets = 64_000_000
    run.retry()
    assert run.site.ping() and not is_volatile(run)
    run.rotate_up()


@pytest.mark.parametrize("fault", ["read_only", "fail_commits"])
def test_a_node_that_boots_with_a_storage_that_takes_nothing(run: Run, fault: str) -> None:
    setattr(run.disk, fault, True)
    run.restart_node()
    run.replay()
    assert any(run.site.ping() for _ in range(3)) and is_volatile(run)
    assert "idempotent" in procedure(run, Procedure.STOP_SA, ids_value([2]))
    run.disk.read_only = run.disk.fail_commits = False
    run.restart_node()
    assert any(run.site.ping() for _ in range(3)) and not is_volatile(run)


@pytest.mark.parametrize("fault", ["unreadable", "damaged", "shorter"])
def test_a_node_that_lost_its_record_is_brought_back_from_the_ground(run: Run, fault: str) -> None:
    for name in ("security.a", "security.b"):
        if fault == "unreadable":
            run.disk.unreadable.add(name)
        elif fault == "damaged":
            run.disk.flip(name)
        else:
            run.disk.durable[name] = run.disk.durable[name][:9]
    run.restart_node()
    assert is_volatile(run) and "security_volatile" in run.board.events
    assert run.site.ask(PING, b"") is None  # its clock is ahead of the numbers of the ground
    run.disk.unreadable.clear()
    recover(run)
    assert not is_volatile(run)
    run.replay()
    assert run.site.ping()
    run.rotate_up()
    run.rotate_down()
    run.restart_node()
    assert any(run.site.ping() for _ in range(3)) and not is_volatile(run)


@pytest.mark.parametrize("name", ["security.a", "security.b"])
@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_node_that_lost_the_newest_generation_uses_and_takes_nothing_again(run: Run, name: str, how: str) -> None:
    """It is one write behind, and cannot know whether that was the newer one."""
    for _ in range(20):
        run.site.ping()
    if how == "damaged":
        run.disk.flip(name)
    else:
        del run.disk.durable[name]
    run.restart_node()
    assert is_volatile(run), "what was sent before could be taken again"
    run.replay()
    recover(run)
    assert not is_volatile(run)
    run.replay()
    assert run.site.ping()


def test_a_ground_that_ends_in_order_hears_the_next_frame(run: Run) -> None:
    run.site.stop()
    run.site.start()
    known = run.site.session.counters.frames
    for _ in range(3):
        run.step()
    assert run.site.session.counters.frames >= known + 4
    assert run.site.ping()
