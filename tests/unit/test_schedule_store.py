"""What the schedule keeps in the vault: rows as they are stored, the gates, and rows that are not ours."""

from __future__ import annotations

from random import Random

import pytest

from flight.core.errors import DecodeError
from flight.link.pus import PusTc
from flight.link.time.time_code import TIME_NS_MAX
from flight.services.automation.held_commands import request_key
from flight.services.automation.schedule_store import Activity, Gates, ScheduleStore
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop

PING = PusTc(0x2AB, 0x1234, 17, 1, b"", source=0xBEEF).encode()


def activity(number: int = 0x01020304, sub: int = 5, group: int = 6, time_ns: int = 0x0708090A0B0C0D0E) -> Activity:
    return Activity(number, sub, group, time_ns, PING, request_key(PING))


def store() -> tuple[ScheduleStore, Vault, list[tuple[str, str]]]:
    vault, told = Vault(Disk(Random(1)).boot(VirtualLoop())), []
    return ScheduleStore(vault, lambda key, error: told.append((key, str(error)))), vault, told


def test_an_activity_is_stored_as_it_always_was() -> None:
    """Another version of the software finds it after a boot."""
    one = activity(time_ns=0x0108090A0B0C0D0E)
    assert one.encode() == bytes.fromhex("01020304 05 06 0108090a0b0c0d0e") + PING
    assert Activity.decode(one.encode()) == one
    assert one.id == (0xBEEF, 0x2AB, 0x1234)
    assert one.row == "schedule.activity.beef.2ab.1234"


def test_activities_come_in_the_order_of_their_times_and_then_of_their_insertion() -> None:
    made = [activity(number=n, time_ns=t) for n, t in ((3, 20), (1, 10), (2, 10), (0, 30))]
    assert [(one.time_ns, one.number) for one in sorted(made, key=lambda one: one.order)] == [
        (10, 1), (10, 2), (20, 3), (30, 0),
    ]  # fmt: skip
    assert activity(time_ns=10).shifted(-3).time_ns == 7


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (activity(time_ns=1).encode()[:13], "scheduled activity of 13 octets"),
        (activity(time_ns=TIME_NS_MAX + 1).encode(), "beyond the range of the time code"),
        (activity(time_ns=1).encode()[:14], "telecommand packet of 0 octets"),
        (activity(time_ns=1).encode()[:-1] + b"\0", r"packet error control \(CRC-16\) mismatch"),
    ],
)
def test_octets_that_are_no_activity(octets: bytes, text: str) -> None:
    with pytest.raises(DecodeError, match=text):
        Activity.decode(octets)
    assert Activity.decode(activity(time_ns=TIME_NS_MAX).encode()).time_ns == TIME_NS_MAX


def test_the_gates_are_stored_as_they_always_were() -> None:
    gates = Gates(False, frozenset({0, 9}), frozenset({0, 1, 255}), frozenset({1}))
    sets = [1 << 9 | 1, 1 << 255 | 0b11, 0b10]
    assert gates.encode() == b"\0" + b"".join(one.to_bytes(32, "big") for one in sets)
    assert Gates.decode(gates.encode()) == gates
    assert Gates().encode() == b"\1" + bytes(32) + bytes(31) + b"\1" + bytes(32)
    assert Gates.decode(b"\1" + bytes(96)) == Gates(), "group 0 is always there"
    for octets in (96, 98):
        with pytest.raises(DecodeError, match=f"state of the schedule of {octets} octets"):
            Gates.decode(bytes(octets))


@pytest.mark.parametrize("number", [0, 1, 7, 8, 255])
def test_each_gate_closes_for_its_own_activities(number: int) -> None:
    mine, other = activity(sub=number, group=number), activity(sub=number ^ 1, group=number ^ 1)
    for gates, text in (
        (Gates(disabled_sub_schedules=frozenset({number})), f"sub-schedule {number}"),
        (Gates(disabled_groups=frozenset({number})), f"group {number}"),
    ):
        again = Gates.decode(gates.encode())
        assert (again.closed(mine), again.closed(other)) == (text, "")
    assert Gates().closed(mine) == ""
    everything = Gates(False, frozenset({number}), frozenset({0}), frozenset({number}))
    assert everything.closed(mine) == everything.closed(other) == "schedule"


def test_the_store_shows_what_is_in_the_vault_now() -> None:
    held, vault, told = store()
    one, moved = activity(time_ns=10), activity(time_ns=20)
    assert held.activities() == {} and one.id not in held and not held.holds(one)
    vault.stage({one.row: one.encode()})
    assert held.activities() == {one.id: one} and one.id in held and held.holds(one)
    assert held.used() == (1, len(one.encode()))
    vault.stage({one.row: moved.encode()})
    assert held.activities() == {one.id: moved} and held.holds(moved) and not held.holds(one)
    vault.stage({one.row: None})
    assert held.activities() == {} and one.id not in held and held.used() == (0, 0)
    assert told == []


def test_a_row_that_is_not_ours_is_told_and_left_out() -> None:
    held, vault, told = store()
    one = activity(time_ns=10)
    other = Activity(1, 0, 0, 10, PING, (1, 2, 3))
    rows = {one.row: one.encode(), other.row: one.encode(), "schedule.activity.x": one.encode(),
            "schedule.activity.1.2.4": b"", "schedule.state": b"\1"}  # fmt: skip
    vault.stage(rows)
    assert held.activities() == {one.id: one}
    assert [key for key, _ in told] == sorted(rows.keys() - {one.row, "schedule.state"})
    assert held.gates() == Gates() and told[-1][0] == "schedule.state"
    vault.stage(held.set_gates(Gates(enabled=False)))
    assert held.gates() == Gates(enabled=False)


def test_clearing_deletes_every_activity_and_nothing_else() -> None:
    held, vault, _ = store()
    vault.stage({activity().row: activity(time_ns=1).encode(), "schedule.activity.x": b"", "other": b"stays"})
    vault.stage(held.set_gates(Gates(enabled=False)))
    assert held.clear() == {activity().row: None, "schedule.activity.x": None}
    vault.stage(held.clear())
    assert held.used() == (0, 0) and vault.get("other") == b"stays" and not held.gates().enabled
