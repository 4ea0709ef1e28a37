"""The recorder: order, priority, pointers over power cuts, full stores, full disks, times, and how long it takes."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flight.core.config import Fault, read_table
from flight.core.nanoseconds import NS
from flight.core.step_budget import Budget
from flight.core.storage import StorageFull
from flight.link.space_packet import SpacePacket
from flight.services.recorder import segment_index
from flight.services.recorder.packet_store import PacketStore, StoreConfig
from flight.services.recorder.recorder import STORES_MAX, RecorderConfig
from flight.services.recorder.stored_packet import Place, Stored
from flight.store.journal import Journal
from flight.store.vault import OCTETS_MAX
from tests.recorder_bench import T0_NS, RecorderBench, number_of, numbers, packet, place_at, small

Make = Callable[..., RecorderBench]
REPORTS = small("reports", priority=0, services=(1, 5), always=True)
REST = small("rest", priority=1)
IN_64_KIB = 590  # packets of 100 octets and what goes with them


@pytest.fixture
def make() -> Iterator[Make]:
    benches: list[RecorderBench] = []

    def one(*stores: StoreConfig, **more: Any) -> RecorderBench:
        benches.append(RecorderBench(*stores, **more))
        return benches[-1]

    yield one
    for bench in benches:
        bench.close()


def test_packets_come_back_in_order_and_are_counted(make: Make) -> None:
    bench = make()
    bench.fill(0, 200)
    assert (bench.recorder.waiting, bench.recorder.recorded) == (200, 200)
    assert (bench.recorder.storage_faults, bench.recorder.lost, bench.recorder.fault) == (0, 0, "")
    assert bench.play() == list(range(200))
    assert (bench.recorder.waiting, bench.recorder.played_back, bench.recorder.overwritten) == (0, 200, 0)


def test_packets_recorded_during_playback_follow(make: Make) -> None:
    bench = make()
    bench.fill(0, 50)
    assert bench.play(20) == list(range(20))
    bench.fill(50, 60)
    assert bench.play() == list(range(20, 60))
    bench.fill(60, 61)
    assert bench.play() == [60]


def test_stores_take_their_services_and_play_back_by_priority(make: Make) -> None:
    bench = make(small("late", priority=2, services=(4,)), REST, REPORTS)
    for number, service in enumerate((3, 1, 4, 5, 3, 1)):
        bench.recorder.store(packet(number, service))
    assert bench.play() == [1, 3, 5, 0, 4, 2]


def test_what_was_heard_is_kept_for_time_ranges_alone_and_only_where_the_store_keeps_always(make: Make) -> None:
    bench = make(REPORTS, REST)
    for number in range(10):
        bench.recorder.store(packet(number, 5), heard=number % 2 == 0)
        bench.recorder.store(packet(100 + number), heard=number % 2 == 0)
    assert bench.recorder.waiting == 10
    assert bench.play() == [1, 3, 5, 7, 9, 101, 103, 105, 107, 109]
    for index in (0, 1):
        bench.recorder.start_range(index, T0_NS, T0_NS + 200 * NS)
    assert bench.play() == [*range(10), 101, 103, 105, 107, 109]


def test_the_oldest_of_a_circular_store_give_way_and_are_counted(make: Make) -> None:
    bench = make(small(), small("others", services=(9,)))
    bench.fill(0, 1000)
    recorder = bench.recorder
    assert recorder.stores[0].octets <= 65_536
    assert IN_64_KIB * 0.85 < recorder.waiting < IN_64_KIB
    assert recorder.overwritten == 1000 - recorder.waiting
    assert bench.play() == list(range(recorder.overwritten, 1000))
    bench.fill(1000, 3000)
    bench.run(6)
    assert ("store_overwrites", "all", recorder.overwritten) in bench.events


def test_overwriting_what_was_played_back_costs_nothing(make: Make) -> None:
    bench = make()
    got: list[int] = []
    for start in range(0, 3000, 100):
        bench.fill(start, start + 100)
        got += bench.play()
    assert got == list(range(3000))
    assert bench.recorder.overwritten == 0


def test_packets_read_ahead_are_not_lost_when_their_segment_goes(make: Make) -> None:
    bench = make()
    bench.fill(0, 500)
    assert bench.play(1) == [0]
    bench.fill(500, 1000)
    back = bench.play()
    assert back == sorted(back)
    assert 1 + len(back) + bench.recorder.overwritten == 1000


def test_a_bounded_store_refuses_until_something_is_deleted(make: Make) -> None:
    bench = make(small(kind="bounded"))
    bench.fill(0, 1000)
    store = bench.recorder.stores[0]
    kept = 1000 - store.refused
    assert IN_64_KIB * 0.85 < kept <= IN_64_KIB
    bench.run(6)
    assert ("store_refuses", "all", store.refused) in bench.events
    assert bench.play() == list(range(kept))
    bench.fill(1000, 1001)
    assert bench.play() == [], "played back packets stay"
    bench.apply(bench.recorder.delete_before(0, place_at(store, T0_NS + 300 * NS)))
    bench.fill(2000, 2100)
    assert bench.play() == list(range(2000, 2100))


def test_a_packet_too_long_for_the_store_is_refused(make: Make) -> None:
    bench = make()
    bench.recorder.store(packet(1, octets=4096))
    bench.recorder.store(packet(2, octets=4000))
    assert bench.recorder.refused == 1
    assert bench.play() == [2]


@pytest.mark.parametrize("capacity", [65_536, 100_000, 262_144, 8_000_000])
@pytest.mark.parametrize("kind", ["circular", "bounded"])
def test_the_longest_packet_is_a_sixteenth_of_the_capacity_or_16_kib_less_61_octets(
    make: Make, capacity: int, kind: str
) -> None:
    """As docs/guides/mission.md says."""
    bench = make(small(capacity_octets=capacity, kind=kind))
    longest = min(capacity // 16, 16_384) - 61
    for number in range(20):
        assert not bench.recorder.store(packet(100 + number, octets=longest + 1))
        assert bench.recorder.store(packet(number, octets=longest)) or (kind == "bounded" and number >= 16)
    assert bench.recorder.stores[0].octets <= capacity
    whole = len(bench.play())
    assert whole == 20 - bench.recorder.overwritten - (bench.recorder.refused - 20) >= 15


def test_a_store_made_smaller_is_full_and_shrinks_from_its_oldest_end(make: Make) -> None:
    bench = make(small(capacity_octets=400_000))
    bench.fill(0, 3000)
    bench.run(6)
    bench.config = RecorderConfig(store=(small(),))
    bench.reboot()
    store = bench.recorder.stores[0]
    assert store.octets > 300_000 and store.filled_frac() == 1.0
    bench.run(60)
    assert store.octets <= 65_536 and 0.8 < store.filled_frac() <= 1
    assert bench.recorder.waiting + bench.recorder.overwritten == 3000
    assert bench.play() == list(range(bench.recorder.overwritten, 3000))


def test_a_bounded_store_made_smaller_keeps_what_it_holds(make: Make) -> None:
    bench = make(small(capacity_octets=400_000, kind="bounded"))
    bench.fill(0, 3000)
    bench.run(6)
    bench.config = RecorderConfig(store=(small(kind="bounded"),))
    bench.reboot()
    bench.run(60)
    bench.fill(3000, 3001)
    assert bench.play() == list(range(3000)) and bench.recorder.refused == 1


@pytest.mark.parametrize("octets", [25, 60, 1100])
def test_what_was_synced_survives_a_power_cut(make: Make, octets: int) -> None:
    bench = make()
    bench.fill(0, 3 * 65_536 // octets, octets=octets)
    bench.run(6)
    held = bench.recorder.waiting
    bench.reboot()
    assert bench.recorder.waiting == held
    assert bench.play() == list(range(3 * 65_536 // octets - held, 3 * 65_536 // octets))


def test_what_has_left_does_not_come_again_and_what_was_only_taken_does(make: Make) -> None:
    bench = make()
    bench.fill(0, 300)
    left = bench.take(150)
    bench.take(100)
    for one in left:
        bench.recorder.departed(one)
    bench.run(6)
    bench.reboot()
    assert bench.recorder.waiting == 150
    assert bench.play() == list(range(150, 300))
    bench.run(6)
    bench.reboot()
    assert (bench.recorder.waiting, bench.play()) == (0, [])


def test_a_pointer_behind_packets_that_were_heard_survives(make: Make) -> None:
    bench = make(small(always=True))
    for number in range(30):
        bench.recorder.store(packet(number), heard=number < 20)
    bench.play(4)
    bench.run(6)
    bench.reboot()
    assert (bench.recorder.waiting, bench.play()) == (6, list(range(24, 30)))


def test_two_links_may_be_done_in_any_order(make: Make) -> None:
    bench = make()
    bench.fill(0, 10)
    taken = bench.take(6)
    for one in taken[3:]:
        bench.recorder.departed(one)
    bench.run(6)
    bench.reboot()
    assert bench.play() == list(range(10)), "the first three may have been lost"


def test_what_a_link_gives_back_comes_first_and_octet_for_octet_the_same(make: Make) -> None:
    bench = make()
    bench.fill(0, 10)
    taken = bench.take(5)
    for one in taken[:2]:
        bench.recorder.departed(one)
    bench.recorder.returned(taken[2:])
    again = bench.take()
    assert numbers(again) == list(range(2, 10))
    assert [one.packet for one in again[:3]] == [one.packet for one in taken[2:]]
    assert bench.recorder.returned_packets == 3


def test_what_is_given_back_twice_still_comes_in_order(make: Make) -> None:
    bench = make()
    bench.fill(0, 10)
    bench.recorder.returned(bench.take(6))
    bench.recorder.returned(bench.take(2))
    assert bench.play() == list(range(10))
    assert bench.recorder.returned_packets == 8


def test_what_went_down_and_may_not_have_been_heard_waits_but_for_time_reports(make: Make) -> None:
    bench = make(REPORTS, REST)
    sent = [packet(number, service) for number in range(30) for service in (1, 3, 5)]
    for raw in sent:
        bench.recorder.store(raw, heard=True)
    assert bench.recorder.waiting == 0
    time_reports = [SpacePacket(0, 0, bytes(11) + bytes((number,))).encode() for number in range(30)]
    idle = SpacePacket(2047, 0, bytes(12)).encode()  # nor is this one of ECSS-E-ST-70-41C
    bench.recorder.unheard([*sent, *time_reports, idle])
    assert bench.recorder.returned_packets == len(sent)
    bench.run(6)
    bench.reboot()
    taken = [one.packet for one in bench.take()]
    for services in ((1, 5), (3,)):
        assert [raw for raw in taken if raw[7] in services] == [raw for raw in sent if raw[7] in services]


def test_packets_played_back_before_they_were_durable_leave_no_place_to_others(make: Make) -> None:
    """The pointer may outlive packets that it has passed: new ones must not be taken for them."""
    for seed in range(20):
        bench = make(seed=seed)
        bench.fill(0, 40)
        bench.play(35)
        bench.run(6)  # pointer and packets are durable together
        bench.fill(40, 60)
        bench.play(15)
        for changes in (one.progress() for one in bench.recorder.retrievals):
            bench.vault.stage(changes)
        bench.reboot()  # what survives of the packets and of the pointer is chosen by the seed
        bench.fill(100, 110)
        back = bench.play()
        assert [n for n in back if n < 35] == []
        assert back[-10:] == list(range(100, 110))


def test_a_time_range_brings_exactly_its_packets_over_a_reboot_too(make: Make) -> None:
    bench = make(small(capacity_octets=400_000))
    bench.fill(0, 1000)
    bench.recorder.store(packet(2000, time_s=500.5))  # repeated late, with the time of before
    bench.run(6)
    bench.reboot()
    bench.fill(1000, 1100)
    bench.apply(bench.recorder.retrievals[0].suspend(True))  # it would go ahead while the range is searched for
    bench.recorder.start_range(0, T0_NS + 490 * NS, T0_NS + 510 * NS)
    assert bench.play() == [*range(490, 511), 2000]
    assert not bench.recorder.retrieves_range(0)
    assert bench.recorder.waiting == 1101, "open retrieval stands where it stood"


def test_a_time_range_goes_before_stores_of_its_priority_and_can_be_aborted(make: Make) -> None:
    bench = make(REPORTS, REST)
    for number in range(20):
        bench.recorder.store(packet(number, 5 if number < 5 else 3))
    bench.recorder.start_range(1, T0_NS + 7 * NS, T0_NS + 19 * NS)
    assert bench.play(5 + 13 + 1) == [*range(5), *range(7, 20), 5]
    bench.recorder.start_range(1, T0_NS, T0_NS + 19 * NS)
    assert bench.play(2) == [5, 6]
    assert bench.recorder.retrieves_range(1)
    bench.recorder.abort_range(1)
    assert bench.play() == list(range(6, 20))


def test_a_finished_time_range_is_told(make: Make) -> None:
    bench = make()
    bench.fill(0, 30)
    bench.recorder.start_range(0, T0_NS, T0_NS + 9 * NS)
    bench.play()
    bench.run(6)
    assert ("range_retrieved", "all", 10) in bench.events


def test_deleting_up_to_a_time_is_exact_and_survives(make: Make) -> None:
    bench = make()
    bench.fill(0, 400)
    store = bench.recorder.stores[0]
    bench.play(10)
    bench.apply(bench.recorder.delete_before(0, place_at(store, T0_NS + 200 * NS + 1)))
    assert bench.recorder.overwritten == 0
    oldest = store.oldest(Budget())
    assert oldest is not None
    assert number_of(oldest.packet) == 201
    bench.reboot()
    assert bench.recorder.waiting == 199
    assert (bench.play(), bench.recorder.overwritten) == (list(range(201, 400)), 0)
    store = bench.recorder.stores[0]
    bench.apply(bench.recorder.delete_before(0, store.end))
    bench.reboot()
    bench.fill(500, 505)
    assert bench.play() == list(range(500, 505))


def test_packets_that_were_deleted_before_they_were_durable_leave_no_place_to_others(make: Make) -> None:
    for seed in range(10):
        bench = make(seed=seed)
        bench.fill(0, 10)
        made = bench.recorder.delete_before(0, bench.recorder.stores[0].end)
        bench.vault.commit(made.changes)  # of the vault alone
        bench.run(0.1)
        bench.reboot()
        bench.fill(20, 25)
        assert bench.play() == list(range(20, 25))


def test_open_retrieval_starts_where_ground_says_and_what_was_on_the_way_counts_no_more(make: Make) -> None:
    bench = make()
    bench.fill(0, 300)
    taken = bench.take(250)
    bench.apply(bench.recorder.retrievals[0].start_at(place_at(bench.recorder.stores[0], T0_NS + 100 * NS)))
    for one in taken:
        bench.recorder.departed(one)
    bench.run(6)
    bench.reboot()
    assert bench.recorder.waiting == 200
    assert bench.play(50) == list(range(100, 150))
    bench.run(6)
    bench.reboot()
    assert bench.play() == list(range(150, 300))


def test_a_pointer_that_was_set_and_came_back_to_where_it_stood_is_stored(make: Make) -> None:
    bench = make()
    bench.fill(0, 50)
    bench.play()
    bench.run(6)
    order = bench.recorder.retrievals[0].start_at(place_at(bench.recorder.stores[0], T0_NS + 20 * NS))
    bench.apply(order)
    assert bench.play() == list(range(20, 50))
    bench.run(6)
    bench.reboot()
    assert bench.play() == []


def test_an_order_to_start_elsewhere_holds_against_progress_that_was_stored_before_and_after(make: Make) -> None:
    bench = make()
    bench.fill(0, 100)
    bench.play(80)
    bench.run(6)
    order = bench.recorder.retrievals[0].start_at(place_at(bench.recorder.stores[0], T0_NS + 10 * NS))
    done = bench.vault.commit(order.changes)
    bench.play(10)
    bench.vault.stage(bench.recorder.retrievals[0].progress())  # before the order is durable and in force
    bench.run(0.1)
    assert done.done
    bench.reboot()
    assert bench.play() == list(range(10, 100))


def test_suspended_and_disabled_stores_stay_so_until_they_are_told(make: Make) -> None:
    bench = make()
    bench.fill(0, 5)
    bench.apply(bench.recorder.retrievals[0].suspend(True))
    bench.apply(bench.recorder.enable(0, False))
    bench.run(6)
    bench.reboot()
    bench.fill(5, 10)
    assert (bench.recorder.waiting, bench.play()) == (5, [])
    bench.apply(bench.recorder.retrievals[0].suspend(False))
    bench.apply(bench.recorder.enable(0, True))
    bench.fill(10, 12)
    assert bench.play() == [0, 1, 2, 3, 4, 10, 11]


def test_a_full_disk_keeps_packets_in_memory_and_forgets_the_oldest_when_that_is_full(make: Make) -> None:
    bench = make(small(kind="bounded"), disk_octets=1000)
    bench.fill(0, 3000)
    recorder = bench.recorder
    assert recorder.in_memory == 2621, "262,144 octets, as docs/guides/mission.md says"
    assert recorder.waiting == 2621 + 6
    assert recorder.lost == 3000 - 2621 - 6
    assert recorder.storage_faults == 3000 - 6
    bench.run(6)
    assert any(one[0] == "recorder_fault" and "disk full" in one[2] for one in bench.events)
    assert bench.play() == [*range(3000 - 2621, 3000), *range(6)]
    bench.run(60)
    assert sum(one[0] == "recorder_fault" for one in bench.events) <= 2
    bench.fill(0, 4096, octets=64)
    assert (recorder.in_memory, recorder.lost) == (4096, 3000 - 2621 - 6), "full to the last octet"
    bench.recorder.take(Budget())
    bench.fill(0, 1, octets=65)
    assert (recorder.in_memory, recorder.lost) == (4095, 3000 - 2621 - 6 + 1), "one octet too many"


def test_a_full_disk_costs_a_circular_store_its_oldest_segment_once_a_sync(make: Make) -> None:
    bench = make(disk_octets=20_000)
    bench.fill(0, 300)
    recorder = bench.recorder
    assert 0 < recorder.overwritten < 60
    assert recorder.in_memory > 0
    for number in range(300, 600, 100):
        first = recorder.stores[0].first
        bench.run(6)
        bench.fill(number, number + 100)
        assert recorder.stores[0].first > first
    assert len(bench.play()) + recorder.overwritten == 600


def test_a_full_disk_costs_a_circular_store_one_segment_between_two_syncs_and_a_bounded_one_none(make: Make) -> None:
    for kind, given_up in (("circular", 1), ("bounded", 0)):
        bench = make(disk_octets=20_000)
        store = PacketStore(bench.storage, small("other", kind=kind))
        for _ in range(3):
            firsts = {store.first}
            with contextlib.suppress(StorageFull):
                while store.store(packet(store.end.number), heard=False):
                    firsts.add(store.first)
            assert len(firsts) == 1 + given_up
            store.synced()
        number, found = store.first, list[int]()
        while number < store.end.number:
            records, number = store.read_from(number, Budget()) or ([], number)
            found += [number_of(one.packet) for one in records]
        assert found == list(range(found[0], store.end.number)) and len(found) > 60


def test_giving_up_room_takes_what_was_played_back_first_and_then_the_last_in_playback(make: Make) -> None:
    bench = make(REPORTS, REST)
    for number in range(200):
        bench.recorder.store(packet(number, 5))
        bench.recorder.store(packet(number))
    bench.play(100)
    held = sum(one.octets for one in bench.recorder.stores)
    assert bench.recorder.give_up(4000) == held - sum(one.octets for one in bench.recorder.stores) >= 4000
    assert bench.recorder.overwritten == 0
    bench.recorder.give_up(8000)
    reports, rest = bench.recorder.retrievals
    assert (reports.overwritten, rest.overwritten > 0) == (0, True)
    assert bench.recorder.give_up(10**9) < 10**6
    assert len(bench.play()) + bench.recorder.overwritten == 300


@settings(max_examples=25)
@given(
    st.tuples(*[st.integers(0, 600)] * 3),
    st.integers(0, 1800),
    st.lists(st.integers(1, 90_000), min_size=1, max_size=4),
)
def test_room_is_given_up_in_that_order_at_most_eight_segments_a_step_and_no_more_than_was_asked_for(
    packets: tuple[int, int, int], played: int, asked: list[int]
) -> None:
    """Segments of each store against lists of them: first what was played back, then the rest, and in both cases the
    last in playback first; never the segment that is being written.
    """
    bench = RecorderBench(small("b", priority=2, services=(9,)), REST, REPORTS)
    recorder = bench.recorder
    for count, service in zip(packets, (9, 3, 5), strict=True):
        bench.fill(0, count, service=service)
    bench.play(played)
    bench.run(6)
    held = [list(one.journal.segments) for one in recorder.stores]
    pointers = [one.pointer.number for one in recorder.retrievals]

    def next_one() -> int | None:
        for limits in (pointers, [one.end.number for one in recorder.stores]):
            for index, segments in enumerate(held):
                if len(segments) > 1 and segments[0].end <= limits[index]:
                    return index
        return None

    for octets in asked:
        gained = deletions = 0
        expected = None
        while gained < octets and (index := next_one()) is not None:
            if deletions == 8 and expected is None:
                expected = gained
            gained += held[index].pop(0).octets
            deletions += 1
        assert recorder.give_up(octets) == (gained if expected is None else expected)
        bench.run(6)
        assert [one.journal.segments for one in recorder.stores] == held
    assert recorder.waiting + recorder.overwritten + recorder.played_back == sum(packets)
    bench.close()


def test_what_storage_does_not_delete_waits_for_the_next_period(make: Make) -> None:
    bench = make(small(capacity_octets=400_000))
    bench.fill(0, 1000)
    bench.play()
    bench.run(6)
    bench.apply(bench.recorder.delete_before(0, Place(1000, 1000)))
    store, faults = bench.recorder.stores[0], bench.recorder.storage_faults
    bench.disk.read_only = True
    bench.run(10)
    assert bench.recorder.storage_faults == faults + 2 and store.octets > 100_000
    bench.disk.read_only = False
    bench.run(5)
    assert (bench.recorder.storage_faults, store.octets) == (faults + 2, 0)


GROWING = ("store_refuses", "store_overwrites", "packets_missing", "recorder_fault")
PERIOD_S, QUIET_PERIODS = 5.0, 12  # by default: a minute


@given(st.lists(st.tuples(st.sets(st.sampled_from(GROWING)), st.integers(1, QUIET_PERIODS + 1)), max_size=8))
@example([(set(), QUIET_PERIODS - 1), ({GROWING[0]}, 1)])
@example([(set(), QUIET_PERIODS), ({GROWING[0]}, 1)])
def test_a_count_that_grows_is_told_once_and_again_after_a_quiet_minute(steps: list[tuple[set[str], int]]) -> None:
    """Each by itself, with the store's name; also beyond 32 bits, at which the event's field goes round."""
    bench = RecorderBench(REPORTS, REST)
    recorder: Any = bench.recorder
    recorder.fault = "the reason"
    bench.run(PERIOD_S / 2)  # past the task's first tick: every run from here on has as many ticks as periods
    counts, quiet, told = dict.fromkeys(GROWING, 0), dict.fromkeys(GROWING, QUIET_PERIODS), []
    for grows, periods in [(set(GROWING), 1), *steps]:
        for name in GROWING:
            if name in grows:
                counts[name] += 1 if counts[name] else 0xFFFF_FFFF
                if quiet[name] >= QUIET_PERIODS:
                    shown = counts[name]
                    told.append((name, shown, "the reason") if name == "recorder_fault" else (name, "rest", shown))
                quiet[name] = periods - 1
            else:
                quiet[name] += periods
        recorder.stores[1].refused, recorder.retrievals[1]._overwritten = (counts[name] for name in GROWING[:2])  # noqa: SLF001 - a count of its own
        recorder.stores[1].stats.missing, recorder.storage_faults = (counts[name] for name in GROWING[2:])
        bench.run(PERIOD_S * periods)
    assert bench.events == told
    bench.close()


def leave(bench: RecorderBench) -> None:
    bench.recorder.departed(bench.take(1)[0])


CHANGES: dict[str, Callable[[RecorderBench], object]] = {
    "a packet": lambda bench: bench.recorder.store(packet(900)),
    "one that was heard": lambda bench: bench.recorder.store(packet(900), heard=True),
    "one that has left": leave,
    "room given up": lambda bench: bench.recorder.give_up(4000),
    "a command": lambda bench: bench.apply(bench.recorder.delete_before(0, Place(300, 300))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_period_makes_durable_what_has_changed_and_writes_nothing_if_nothing_has(make: Make, change: str) -> None:
    bench = make(small(always=True))
    bench.fill(0, 500)
    bench.run(6)
    counters = bench.storage.counters
    idle = counters.commits, counters.syncs
    bench.run(60)
    assert (counters.commits, counters.syncs) == idle
    CHANGES[change](bench)
    commits = counters.commits
    bench.run(11)
    recorder = bench.recorder
    before = [(one.first, one.end, one.octets) for one in recorder.stores], recorder.waiting, recorder.overwritten
    follows = change in ("room given up", "a command")  # after the sync of its period: pointer, or segments deleted
    assert counters.commits == commits + 1 + follows
    bench.run(60)
    assert counters.commits == commits + 1 + follows
    bench.reboot()
    recorder = bench.recorder
    overwritten = before[2] if change == "room given up" else 0  # which the boot before has told
    assert ([(one.first, one.end, one.octets) for one in recorder.stores], recorder.waiting, overwritten) == before
    bench.run(60)
    assert bench.storage.counters.syncs == 0, "a boot by itself changes nothing"


def test_a_pointer_that_the_vault_did_not_take_is_handed_to_it_again(make: Make) -> None:
    bench = make()
    bench.fill(0, 10)
    bench.vault.commit({"filler": bytes(OCTETS_MAX - 6)})
    bench.run(6)
    bench.play(4)
    bench.run(6)
    assert bench.recorder.storage_faults > 0 and "the vault is full, octets needed: " in bench.recorder.fault
    faults = bench.recorder.storage_faults
    bench.vault.commit({"filler": None})
    bench.run(6)
    assert bench.recorder.storage_faults == faults
    bench.reboot()
    assert bench.play() == list(range(4, 10))


def test_whoever_hands_over_a_packet_is_told_whether_it_is_kept(make: Make) -> None:
    bench = make(REPORTS, REST, small("full", services=(9,), kind="bounded"), disk_octets=100_000)
    recorder = bench.recorder
    assert [recorder.store(packet(1, service), heard) for service in (5, 3) for heard in (False, True)] == [
        True, True, True, False,
    ]  # fmt: skip
    assert not recorder.store(packet(1, octets=5000))
    bench.apply(recorder.enable(1, False))
    assert not recorder.store(packet(1))
    while recorder.store(packet(1, 9)) and not recorder.storage_faults:
        pass
    assert recorder.refused == 2 and recorder.storage_faults == 0, "the store was full, not the disk"
    bench.disk.read_only = True
    bench.run(6)
    kept = [recorder.store(packet(number, 5), heard=number == 1) for number in range(2)]
    assert (kept, recorder.in_memory) == ([True, False], 1)
    assert "read-only" in recorder.fault
    (first,) = bench.take(1)
    assert number_of(first.packet) == 0 and (recorder.in_memory, recorder.played_back) == (0, 1)


@pytest.mark.parametrize("range_priority", range(4))
def test_a_time_range_comes_in_its_own_place_among_the_priorities(make: Make, range_priority: int) -> None:
    """Before a store of the same; stores of the same in their order."""
    bench = make(
        small("b", priority=1, services=(5,)), small("a", priority=1), small("first", priority=0, services=(9,)),
        range_priority=range_priority,
    )  # fmt: skip
    bench.recorder.store(packet(1, 3))
    bench.play()
    for number, service in enumerate((5, 3, 9), 2):
        bench.recorder.store(packet(number, service))
    bench.recorder.start_range(1, T0_NS + NS, T0_NS + NS)
    order = [4, 2, 3]
    order.insert({0: 0, 1: 1}.get(range_priority, 3), 1)
    assert bench.play() == order


@pytest.mark.parametrize(("segments", "more", "gone"), [(1, 0, 1), (1, 1, 2), (8, 0, 8), (8, 1, 9), (18, 0, 18)])
def test_room_is_given_up_to_the_octet(make: Make, segments: int, more: int, gone: int) -> None:
    """More than a step may do follows in the next ones."""
    bench = make(small(capacity_octets=400_000))
    bench.fill(0, 3000)
    bench.run(6)
    store = bench.recorder.stores[0]
    before = list(store.journal.segments)
    bench.recorder.give_up(sum(one.octets for one in before[:segments]) + more)
    bench.run(6)
    assert store.journal.segments == before[gone:]


def test_more_than_there_is_to_give_up_is_owed_by_nothing_that_comes_later(make: Make) -> None:
    bench = make(small(capacity_octets=400_000))
    bench.fill(0, 3000)
    bench.recorder.give_up(10**9)
    bench.run(6)
    assert bench.recorder.waiting < 150, "all but the segment that is being written"
    given_up = bench.recorder.overwritten
    bench.fill(3000, 5000)
    bench.run(6)
    assert bench.recorder.overwritten == given_up and bench.recorder.waiting == 5000 - given_up


def test_what_is_recorded_after_all_was_given_up_stays(make: Make) -> None:
    """More was asked for than there was: nothing of it is owed by what comes later."""
    bench = make(small())
    bench.fill(0, 100)
    assert 0 < bench.recorder.give_up(10**9) < 10**6
    bench.fill(100, 200)
    left = bench.recorder.waiting
    assert left >= 100
    bench.run(6)
    assert bench.play() == list(range(200 - left, 200))


def test_room_that_others_need_at_once_is_given_up_in_steps(make: Make) -> None:
    bench = make(small(capacity_octets=400_000))
    bench.fill(0, 3000)
    store = bench.recorder.stores[0]
    segments, held = len(store.journal.segments), store.octets
    assert segments > 16
    gained = bench.recorder.give_up(300_000)
    assert segments - len(store.journal.segments) == 8, "deletions in one step"
    bench.run(6)
    assert held - store.octets >= 300_000 > gained
    assert bench.recorder.waiting + bench.recorder.overwritten == 3000
    assert bench.play() == list(range(bench.recorder.overwritten, 3000))


def test_what_was_deleted_is_hidden_at_once_and_its_segments_go_in_steps(make: Make) -> None:
    bench = make(small(capacity_octets=400_000))
    bench.fill(0, 3000)
    store = bench.recorder.stores[0]
    bench.run(6)
    operations: list[int] = []
    bench.disk.trace = []

    def ended(_: str) -> None:
        assert bench.disk.trace is not None
        operations.append(sum(kind == "delete" for _, kind, _ in bench.disk.trace))
        bench.disk.trace.clear()

    bench.on_step = ended
    bench.apply(bench.recorder.delete_before(0, store.end))
    assert (store.oldest(Budget()), store.filled_frac(), bench.recorder.waiting, bench.play()) == (None, 0.0, 0, [])
    bench.run(6)
    assert store.octets == 0
    assert 0 < max(operations) <= 8 < sum(operations)
    bench.reboot()
    bench.fill(5000, 5003)
    assert bench.play() == [5000, 5001, 5002]


def test_a_disk_that_fails_is_counted_and_told_and_the_node_goes_on(make: Make) -> None:
    bench = make()
    bench.fill(0, 5)
    bench.disk.fail_commits = True
    bench.run(6)
    assert bench.recorder.storage_faults == 1 and "input/output error" in bench.recorder.fault
    bench.fill(5, 10)
    assert sorted(bench.play()) == list(range(10))
    assert bench.recorder.storage_faults > 0


def test_damage_costs_the_rest_of_one_segment(make: Make) -> None:
    bench = make()
    bench.fill(0, 200)
    bench.run(6)
    names = sorted(n for n in bench.disk.durable if n.startswith("recorder."))
    bench.disk.flip(names[2], bit=8 * 700)
    bench.reboot()
    back = bench.play()
    assert back == sorted(back)
    assert 150 < len(back) < 200
    assert bench.recorder.waiting == 0
    assert len(back) + bench.recorder.stores[0].missing == 200
    bench.run(6)
    assert ("packets_missing", "all", bench.recorder.stores[0].missing) in bench.events
    bench.fill(200, 210)
    assert bench.play() == list(range(200, 210))


def test_segments_that_are_not_the_stores_own_are_left_alone_and_told(make: Make) -> None:
    bench = make()
    bench.fill(0, 100)
    bench.run(6)
    bench.disk.durable["recorder.all.00000077"] = b"something else" * 4
    bench.reboot()
    assert bench.play() == list(range(100))
    bench.run(6)
    assert ("record_damaged", "store all", "foreign segments, left alone: 1") in bench.events
    assert bench.disk.durable["recorder.all.00000077"] == b"something else" * 4


@given(st.lists(st.integers(0, 20), min_size=24, max_size=40), st.integers(0, 30), st.booleans())
def test_a_segment_is_passed_over_if_its_packets_are_all_of_other_times(
    quarters: list[int], start: int, booted: bool
) -> None:
    """Four packets in a segment, in any order of times, as they are stored and as they are read."""
    bench = RecorderBench(small(always=True))
    store, times = bench.recorder.stores[0], [T0_NS + NS * one // 4 for one in quarters]
    for quarter in quarters:
        bench.recorder.store(packet(0, octets=900, time_s=quarter / 4), heard=True)
    if booted:
        bench.run(6)
        store = bench.reboot().stores[0]
    spans = []
    for segment in store.journal.segments:
        if booted:
            store.read_from(segment.first, Budget())
        of_segment = times[segment.first : segment.end]
        spans.append((segment, min(of_segment), max(of_segment)))
    for last, back in itertools.product(range(21), (0, 3)):
        from_ns, to_ns = T0_NS + NS * (last - back) // 4, T0_NS + NS * last // 4
        right = (
            max(start, segment.first)
            for segment, earliest, latest in spans
            if segment.end > start and earliest <= to_ns and from_ns <= latest
        )
        assert store.after_foreign_times(start, from_ns, to_ns) == next(right, len(quarters))
    bench.close()


def test_a_place_is_found_by_time_past_a_segment_that_cannot_be_read(make: Make) -> None:
    bench = make(small(capacity_octets=400_000))
    bench.fill(0, 2000)
    bench.run(6)
    names = sorted(n for n in bench.disk.durable if n.startswith("recorder."))
    bench.disk.unreadable.add(names[3])
    bench.reboot()
    store = bench.recorder.stores[0]
    for number in (0, 1, 630, 860, 1500, 1999):
        assert place_at(store, T0_NS + number * NS).number == number
    assert place_at(store, T0_NS + 2000 * NS) == store.end


def test_what_was_heard_is_passed_over_without_reading(make: Make) -> None:
    bench = make(small(always=True))
    bench.fill(0, 10)
    bench.play()
    for number in range(10, 300):
        bench.recorder.store(packet(number), heard=True)
    assert bench.recorder.take(Budget(0)) is None and not bench.recorder.searching
    assert bench.recorder.retrievals[0].pointer == bench.recorder.stores[0].end == Place(300, 10)
    for number in range(300, 1300):
        bench.recorder.store(packet(number), heard=True)
    assert (bench.recorder.waiting, bench.recorder.overwritten) == (0, 0), "none of those that made room had waited"
    bench.fill(1300, 1305)
    assert bench.play() == list(range(1300, 1305))


def test_a_range_and_the_start_are_found_by_the_index_and_one_segment(make: Make) -> None:
    bench = make(small(capacity_octets=400_000))
    bench.fill(0, 3000)
    recorder, budget = bench.recorder, Budget()
    operations = budget.operations
    assert recorder.retrievals[0].start_ns(budget) == T0_NS and budget.operations == operations - 1
    bench.apply(recorder.retrievals[0].suspend(True))
    recorder.start_range(0, T0_NS + 1000 * NS, T0_NS + 2992 * NS)
    for number, reads in ((1000, 1), (1001, 0), (1002, 0)):
        taken = recorder.take(budget := Budget())
        assert taken is not None and number_of(taken.packet) == number and budget.operations == operations - reads


def test_what_cannot_be_read_any_more_does_not_wait_for_ever(make: Make) -> None:
    bench = make()
    bench.fill(0, 100)
    bench.run(6)
    bench.disk.unreadable.update(n for n in bench.disk.durable if n.startswith("recorder."))
    assert (bench.play(), bench.recorder.waiting, bench.recorder.searching) == ([], 0, False)
    bench.fill(100, 110)
    bench.disk.unreadable.clear()
    assert bench.play() == list(range(100, 110))


def test_playback_waits_until_it_is_known_where_to_go_on(make: Make) -> None:
    """The segment ahead was given up, and the next one not read since boot: how many there were has to be read."""
    bench = make(small(capacity_octets=400_000), small("others", services=(9,)))
    bench.fill(0, 1000)
    bench.run(6)
    bench.reboot()
    assert bench.recorder.take(Budget(0)) is None and bench.recorder.searching
    assert bench.recorder.give_up(1) > 0
    first = bench.recorder.stores[0].first
    for _ in range(2):
        assert bench.recorder.take(Budget(0)) is None and bench.recorder.searching
    assert bench.recorder.waiting == 1000
    bench.run(6)  # it is looked up once a period, if nobody plays back
    assert (bench.recorder.waiting, bench.recorder.overwritten) == (1000 - first, first)
    assert bench.play() == list(range(first, 1000))


@pytest.mark.parametrize("gone", [0, 1, 5, 99])
def test_the_oldest_packet_behind_unreadable_segments_is_found_a_segment_a_step(make: Make, gone: int) -> None:
    bench = make(small(capacity_octets=400_000))
    bench.fill(0, 1000)
    bench.run(6)
    names = sorted(n for n in bench.disk.durable if n.startswith("recorder.all.0"))
    bench.reboot()
    store = bench.recorder.stores[0]
    bench.disk.unreadable.update(names[:gone])
    waits = [store.first_place(Budget(1)) for _ in names[:gone]]
    if gone > len(names):
        assert waits == [*[None] * (len(names) - 1), store.end]
        assert store.oldest(Budget(0)) is None
        return
    assert waits == [None] * gone
    oldest, place = store.oldest(Budget(1)), store.first_place(Budget(1))
    assert oldest is not None and place == oldest.place
    assert number_of(oldest.packet) == place.number == store.journal.segments[gone].first


def test_a_segment_whose_first_packet_is_damaged_begins_with_the_second(make: Make) -> None:
    bench = make(small(capacity_octets=400_000))
    bench.fill(0, 500)
    bench.run(6)
    bench.disk.flip("recorder.all.00000000", 8 * 80)
    bench.reboot()
    store = bench.recorder.stores[0]
    for _ in range(2):  # and so after it was read
        oldest = store.oldest(Budget())
        assert oldest is not None and (oldest.place, number_of(oldest.packet)) == (Place(1, 1), 1)
        assert store.first_place(Budget()) == place_at(store, T0_NS) == Place(1, 1)
        assert place_at(store, T0_NS + 3 * NS) == Place(3, 3)


def test_records_too_short_for_a_packet_are_passed_over(make: Make) -> None:
    bench = make()
    journal = Journal(bench.storage, "recorder.odd", segment_octets=4096, circular=True)
    for octets in range(28):
        journal.append(bytes(octets))
    store = PacketStore(bench.storage, small("odd"))
    store.store(packet(7), heard=False)
    assert (store.read_from(0, Budget()) or ([], 0))[0] == [Stored(Place(28, 0), False, T0_NS + 7 * NS, packet(7))]


def test_memory_does_not_grow_with_the_store(make: Make) -> None:
    bench = make()
    bench.fill(0, 5000)
    store: Any = bench.recorder.stores[0]
    segments = len(store.journal.segments)
    assert max(len(store.index.spans), len(store.index.first_ns), len(store.index.unheard)) <= segments
    bench.play()
    assert segments == 16
    assert len(store.index.spans) <= segments + 1
    bench.recorder.start_range(0, T0_NS, T0_NS + 10**13)
    bench.play()
    assert len(store.index.spans) <= segments


def test_what_is_known_of_segments_that_are_gone_is_forgotten_however_many_go(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_index, "INDEX_ROWS", 3)
    bench = make()
    for given_up in (1, 3, 4, 6):
        bench.fill(0, 400)
        store: Any = bench.recorder.stores[0]
        bench.recorder.give_up(sum(one.octets for one in store.journal.segments[:given_up]))
        bench.fill(0, 40)
        indices = {one.index for one in store.journal.segments}
        assert set(store.index.spans) == set(store.index.first_ns) == set(store.index.unheard) == indices


def test_a_segment_whose_file_is_gone_costs_its_packets_alone(make: Make) -> None:
    bench = make(small(capacity_octets=400_000))
    bench.fill(0, 2000)
    bench.run(6)
    bench.reboot()
    store = bench.recorder.stores[0]
    for at in (2, 7):
        bench.storage.delete(f"recorder.all.{store.journal.segments[at].index:08d}")
    lost = {n for at in (2, 7) for n in range(store.journal.segments[at].first, store.journal.segments[at].end)}
    for number in (0, min(lost) - 1, min(lost), 1000, max(lost), 1999):
        right = next(one for one in range(number, 2000) if one not in lost)
        assert place_at(store, T0_NS + number * NS).number == right
    assert bench.play() == [number for number in range(2000) if number not in lost]


def test_each_step_of_playback_reads_one_segment_at_most(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make(small(capacity_octets=1_000_000))
    bench.fill(0, 5000)
    bench.recorder.start_range(0, T0_NS, T0_NS + 10**15)
    read: list[int] = []
    plain = bench.storage.read

    def counted(name: str, at: int = 0, octets: int | None = None) -> bytes | None:
        content = plain(name, at, octets)
        read.append(len(content or b""))
        return content

    monkeypatch.setattr(bench.storage, "read", counted)
    most = total = 0
    for _ in range(10_000):
        assert bench.recorder.take(Budget()) is not None
        most, total = max(most, sum(read)), total + sum(read)
        read.clear()
    assert 0 < most <= 16_384
    assert total == 2 * bench.recorder.stores[0].octets, "each segment once, by the range and by open retrieval"


@pytest.mark.parametrize("octets", [100, 600, 1200], ids=["", "of two octets of length", "longer than a peek"])
def test_a_place_is_found_by_time_with_few_reads_and_fewer_the_next_time(
    make: Make, monkeypatch: pytest.MonkeyPatch, octets: int
) -> None:
    bench = make(small(capacity_octets=400_000))
    bench.fill(0, 2000, octets=octets)
    bench.run(6)
    for booted in (False, True):
        if booted:
            bench.reboot()
        store, read, plain = bench.recorder.stores[0], list[int](), bench.storage.read

        def counted(name: str, at: int = 0, octets: int | None = None) -> bytes | None:
            content = plain(name, at, octets)  # noqa: B023
            read.append(len(content or b""))  # noqa: B023
            return content

        monkeypatch.setattr(bench.storage, "read", counted)
        segments = store.journal.segments
        for again in (False, True):
            for segment in segments[1::5]:
                number = (segment.first + segment.end) // 2
                place = place_at(store, T0_NS + number * NS)
                assert place.number == number
                if again or not booted:
                    assert read == [segment.octets], "that segment alone"
                elif octets < 1000:
                    assert read.count(1024) == len(read) - 1 <= len(segments).bit_length(), "a kibibyte of others"
                read.clear()


def test_storing_and_playing_back_take_little_time(make: Make) -> None:
    bench = make(small(capacity_octets=4_000_000))
    packets = [packet(number) for number in range(10_000)]
    began = time.process_time()
    for one in packets:
        bench.recorder.store(one)
    assert bench.play() == list(range(10_000))
    assert time.process_time() - began < 2


def test_places_are_reserved_by_the_higher_of_both_counts(make: Make) -> None:
    bench = make()
    store = PacketStore(bench.storage, small("other"))
    store.reserve(Place(10, 4))
    assert store.end == Place(10, 4)
    store.store(packet(0), heard=False)
    assert (store.end, store.first) == (Place(11, 5), 10)
    store.reserve(Place(20, 5))
    store.store(packet(0), heard=False)
    assert [round(store.filled_frac(number) * 65_536) for number in (0, 10, 11, 15, 20, 21)] == [
        store.octets, store.octets, store.octets / 2, store.octets / 2, store.octets / 2, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stores", "reason"),
    [
        ([], "has 0 stores, should have 1 to 8"),
        ([{"name": f"s{i}", "services": [i + 1]} for i in range(STORES_MAX + 1)], "has 9 stores"),
        ([{"name": "a"}, {"name": "a", "services": [1]}], "needs a name of its own"),
        ([{"name": "a"}, {"name": "b", "services": [1]}, {"name": "c", "services": [2, 1]}], "each should go to one"),
        ([{"name": "a", "services": [1]}], "exactly one store without services"),
        ([{"name": "a"}, {"name": "b"}], "exactly one store without services"),
        ([{"name": "A.b"}], "then small letters, digits and _, 24 in all at most"),
        ([{"name": "a", "kind": "round"}], "should be one of circular, bounded"),
        ([{"name": "a" * 25}], "then small letters, digits and _, 24 in all at most"),
        ([{"name": "a", "capacity_octets": 100}], "should be in 65536"),
    ],
)
def test_a_set_of_stores_that_does_not_fit_is_refused_with_its_reason(stores: list[Any], reason: str) -> None:
    faults: list[Fault] = []
    read_table(RecorderConfig, {"store": stores}, ("recorder",), faults)
    assert any(reason in one.text for one in faults), faults


@pytest.mark.parametrize("stores", [1, 8])
def test_one_to_eight_stores_that_differ_are_taken(stores: int) -> None:
    faults: list[Fault] = []
    rows = [{"name": f"s{i}".ljust(24, "x"), "services": [i] if i else []} for i in range(stores)]
    read = read_table(RecorderConfig, {"store": rows}, ("recorder",), faults)
    assert faults == [] and read is not None and read.capacity_octets == stores * 1_000_000


@pytest.mark.parametrize("row", ["recorder.rest.deleted", "recorder.rest", "recorder.rest.start"])
@pytest.mark.parametrize(
    "octets",
    [b"\xff" * 20, b"\xff" * 9, b"\0\0\0\1" + b"\xff" * 8 + bytes(8), b"\0\0\0\1" + bytes(8) + b"\xff" * 8],
    ids=["all", "length", "number", "unheard"],
)
def test_a_number_of_other_software_keeps_no_node_from_booting(make: Make, row: str, octets: bytes) -> None:
    bench = make(REST)
    bench.vault.commit({row: octets})
    bench.run(6)
    bench.reboot()
    bench.run(6)
    assert bool(bench.events) == (row != "recorder.rest.deleted"), "of pointers it is told, and nothing is gone"
    bench.fill(0, 5)
    assert bench.play() == [0, 1, 2, 3, 4]


def test_a_read_pointer_of_other_software_is_told_and_playback_begins_anew(make: Make) -> None:
    bench = make()
    bench.fill(0, 10)
    assert bench.play() == list(range(10))
    bench.run(6)
    bench.vault.commit({"recorder.all": b"?"})
    bench.run(1)
    bench.reboot()
    assert bench.recorder.waiting == 10
    assert bench.play() == list(range(10))
    bench.run(6)
    told = "a foreign read pointer (length 1): playback starts again at the oldest packet"
    assert ("record_damaged", "store all", told) in bench.events
    bench.apply(bench.recorder.retrievals[0].start_at(Place(4, 4)))
    bench.vault.commit({"recorder.all": b"?"})
    bench.run(1)
    bench.reboot()
    assert (bench.recorder.waiting, bench.play()) == (6, list(range(4, 10))), "from the place that ground has set"


def test_a_store_of_which_nothing_is_left_is_told(make: Make) -> None:
    bench = make()
    bench.fill(0, 10)
    bench.play()
    bench.run(6)
    bench.apply(bench.recorder.delete_before(0, Place(5, 5)))  # this and the read pointer say that there were some
    bench.reboot()
    bench.run(6)
    assert bench.events == []
    for name in [name for name in bench.disk.durable if name.startswith("recorder.")]:
        del bench.disk.durable[name]
    bench.reboot()
    bench.run(60)
    assert bench.events == [("record_damaged", "store all", "nothing is left of it, though packets were stored")]


def test_a_segment_that_has_grown_beyond_the_capacity_keeps_its_packets(make: Make) -> None:
    bench = make()
    bench.fill(0, 10)
    bench.run(6)
    bench.disk.durable["recorder.all.00000000"] += b"\xa5" * 70_000
    bench.reboot()
    bench.run(6)
    assert bench.play() == list(range(10))
