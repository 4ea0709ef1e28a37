"""The radio channel: exact times, loss at the edges of contact, bounds, bit errors."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from flight.core.config import Fault, read_table
from sim_hw.world.channel import Channel, ChannelConfig, Delivery, Fate

MS = 1_000_000
SECOND = 1_000 * MS
FRAME = bytes(range(256)) * 4 + bytes(91)  # 1115 octets
FRAME_NS = 1115 * 8 * SECOND // 256_000


def delay(_t_ns: int) -> int:
    return 3 * MS


def channel(**changes: float) -> Channel:
    settings: dict[str, Any] = {"bit_error_rate": 0.0, "acquisition_s": 2.0, **changes}
    return Channel(ChannelConfig(**settings), Random(1))


def test_a_frame_takes_its_time() -> None:
    down = channel()
    down.on_rise(0, delay)
    assert down.next_event_ns() == 2 * SECOND
    assert not down.carrier(2 * SECOND - 1)
    assert down.carrier(2 * SECOND)
    assert down.offer(FRAME, 10 * SECOND)
    assert down.offer(FRAME, 10 * SECOND)
    first = 10 * SECOND + FRAME_NS
    assert FRAME_NS == 34_843_750
    assert down.next_event_ns() == first
    assert down.deliveries(first) == []
    assert down.next_event_ns() == first + 3 * MS
    assert down.deliveries(first + 3 * MS - 1) == []
    assert down.deliveries(first + 3 * MS) == [Delivery(first + 3 * MS, FRAME, 0)]
    assert down.deliveries(20 * SECOND) == [Delivery(first + FRAME_NS + 3 * MS, FRAME, 0)]
    assert down.next_event_ns() is None
    assert (down.counters.accepted, down.counters.sent, down.counters.delivered, down.counters.lost) == (2, 2, 2, 0)


def test_line_rate_holds_over_many_units() -> None:
    up = channel(rate_bps=16_000, buffer_octets=10_000_000)
    up.on_rise(0, delay)
    for _ in range(10_000):
        assert up.offer(bytes(17), 2 * SECOND)
    got = up.deliveries(200 * SECOND)
    assert got[-1].t_ns == 2 * SECOND + 10_000 * 17 * 8 * SECOND // 16_000 + 3 * MS


def test_nothing_arrives_before_lock() -> None:
    down = channel()
    down.on_rise(0, delay)
    assert down.offer(FRAME, SECOND)
    late = 2 * SECOND - 3 * MS
    assert down.offer(FRAME, late - 1)
    assert down.offer(b"in", late + FRAME_NS)
    assert [d.octets for d in down.deliveries(3 * SECOND)] == [b"in"]
    assert (down.counters.lost, down.counters.lost_octets) == (2, 2 * 1115)


def test_sending_without_contact_loses() -> None:
    down = channel()
    assert down.offer(FRAME, 0)
    assert down.pending == 1
    assert down.next_event_ns() == FRAME_NS
    assert down.deliveries(FRAME_NS) == []
    assert (down.counters.sent, down.counters.lost, down.pending) == (1, 1, 0)


def test_loss_of_signal_drops_what_is_in_flight() -> None:
    down = channel()
    down.on_rise(0, delay)
    for _ in range(3):
        assert down.offer(FRAME, 10 * SECOND)
    # One frame has arrived, the next has left but not arrived, the third is being sent.
    down.on_set(10 * SECOND + 2 * FRAME_NS + MS)
    assert not down.carrier(10 * SECOND + 2 * FRAME_NS + MS)
    assert len(down.deliveries(20 * SECOND)) == 1
    assert (down.counters.delivered, down.counters.lost, down.pending) == (1, 2, 0)


def test_a_unit_cut_by_a_short_outage_is_lost() -> None:
    down = channel(acquisition_s=0.0)
    down.on_rise(0, delay)
    assert down.offer(FRAME, SECOND)
    down.on_set(SECOND + MS)
    down.on_rise(SECOND + 2 * MS, delay)
    assert down.deliveries(2 * SECOND) == []
    assert down.counters.lost == 1


def test_an_arrival_at_the_very_end_counts() -> None:
    down = channel()
    down.on_rise(0, delay)
    assert down.offer(FRAME, 10 * SECOND)
    down.on_set(10 * SECOND + FRAME_NS + 3 * MS)
    assert len(down.deliveries(20 * SECOND)) == 1


def test_hand_over_keeps_lock_and_order() -> None:
    down = channel()
    down.on_rise(0, lambda _t: 9 * MS)
    assert down.offer(b"far", 10 * SECOND)
    assert down.deliveries(10 * SECOND + MS) == []
    down.on_rise(10 * SECOND + MS, lambda _t: 2 * MS)
    assert down.carrier(10 * SECOND + MS)
    assert down.offer(b"near", 10 * SECOND + MS)
    got = down.deliveries(11 * SECOND)
    assert [d.octets for d in got] == [b"far", b"near"]
    assert got[0].t_ns <= got[1].t_ns


def test_the_buffer_is_bounded_and_says_when_there_is_room() -> None:
    down = channel(buffer_octets=2500)
    assert down.offer(FRAME, 0)
    assert down.offer(FRAME, 0)
    assert not down.offer(FRAME, 0)
    assert (down.counters.refused, down.counters.accepted) == (1, 2)
    assert down.room_octets(0) == 2500 - 2230
    assert down.room_at_ns(270, 0) == 0
    assert down.room_at_ns(1115, 0) == FRAME_NS
    assert down.room_at_ns(2500, 0) == 2 * FRAME_NS
    assert down.room_at_ns(2501, 0) is None
    assert not down.offer(FRAME, FRAME_NS - 1)
    assert down.offer(FRAME, FRAME_NS)


def test_untaken_deliveries_are_bounded() -> None:
    down = channel(rate_bps=10**9, buffer_octets=2**20, acquisition_s=0.0)
    down.on_rise(0, delay)
    taken = sum(down.offer(b"x", n * 1000) for n in range(66_000))
    assert taken == 65_536
    assert down.next_event_ns() is not None
    assert len(down.deliveries(SECOND)) == 65_536
    assert down.offer(b"x", SECOND)


def test_bit_errors_come_at_their_rate() -> None:
    down = channel(bit_error_rate=1e-4, rate_bps=10**8, buffer_octets=2**20)
    down.on_rise(0, delay)
    now, wrong, seen = 2 * SECOND, 0, 0
    for _ in range(2_000):
        assert down.offer(FRAME, now)
        now += MS
        for one in down.deliveries(now):
            flipped = int.from_bytes(one.octets, "big") ^ int.from_bytes(FRAME, "big")
            assert flipped.bit_count() == one.bit_errors
            wrong += one.bit_errors
            seen += 1
    expected = 2_000 * 1115 * 8 * 1e-4
    assert wrong == pytest.approx(expected, abs=5 * expected**0.5)
    assert (down.counters.bit_errors, down.counters.delivered) == (wrong, seen)
    assert 0 < down.counters.with_errors < 2_000


@pytest.mark.parametrize("rate", [5e-324, 1e-310, 1e-308])
def test_a_rate_too_small_for_any_error_gives_none(rate: float) -> None:
    sent = channel(bit_error_rate=rate, acquisition_s=0.0)
    sent.on_rise(0, delay)
    for _ in range(10):
        assert sent.offer(bytes(1000), 0)
    assert [delivery.bit_errors for delivery in sent.deliveries(10**12)] == [0] * 10


def test_errors_fall_on_every_bit_alike() -> None:
    down = channel(bit_error_rate=0.25, buffer_octets=2**20, acquisition_s=0.0)
    down.on_rise(0, delay)
    counts = [0] * 16
    for _ in range(4_000):
        assert down.offer(bytes(2), 0)
    for one in down.deliveries(SECOND):
        for bit in range(16):
            counts[bit] += int.from_bytes(one.octets, "big") >> bit & 1
    assert all(abs(count - 1_000) < 150 for count in counts)


def test_time_never_steps_back() -> None:
    down = channel()
    down.deliveries(SECOND)
    with pytest.raises(AssertionError, match="time went back"):
        down.offer(b"x", 0)


def test_bad_channel_config() -> None:
    faults: list[Fault] = []
    read_table(ChannelConfig, {"rate_bps": 0, "bit_error_rate": 0.9, "acquisition_s": "2", "fifo": 3}, (), faults)
    assert {f.path[0] for f in faults} == {"rate_bps", "bit_error_rate", "acquisition_s", "fifo"}


def test_units_are_dropped_whole_at_the_rate_asked_for() -> None:
    up = channel(rate_bps=1_000_000, buffer_octets=10_000_000, drop_frac=0.05)
    up.on_rise(0, delay)
    for _ in range(10_000):
        assert up.offer(bytes(17), 2 * SECOND)
    arrived = up.deliveries(200 * SECOND)
    counters = up.counters
    assert len(arrived) == counters.delivered == 10_000 - counters.dropped
    assert counters.dropped == counters.lost and 400 < counters.dropped < 600
    assert all(delivery.octets == bytes(17) for delivery in arrived)


def test_each_unit_has_one_fate_told_in_the_order_of_the_units() -> None:
    down = channel(rate_bps=80_000, drop_frac=0.3, bit_error_rate=0.01, buffer_octets=100_000)
    fates: list[tuple[Fate, bytes]] = []
    down.on_fate = lambda fate, octets: fates.append((fate, octets))
    down.on_rise(0, delay)
    sent = [number.to_bytes(4, "big") * 25 for number in range(600)]  # 10 ms each, from 0 to 6 s; lock from 2 s on
    for octets in sent:
        assert down.offer(octets, 0)
    arrived = down.deliveries(5 * SECOND)
    down.on_set(5 * SECOND)
    assert down.deliveries(10 * SECOND) == []
    assert [octets for fate, octets in fates if fate is Fate.DELIVERED] == [delivery.octets for delivery in arrived]
    assert len(fates) == len(sent)
    for (fate, octets), was in zip(fates, sent, strict=True):
        assert octets == was if fate is not Fate.DELIVERED else len(octets) == len(was)
    kinds = [fate for fate, _ in fates]
    assert set(kinds[:199]) == set(kinds[500:]) == {Fate.CUT}
    assert set(kinds[201:498]) == {Fate.DELIVERED, Fate.DROPPED}
    counters = down.counters
    assert (kinds.count(Fate.DROPPED), kinds.count(Fate.CUT)) == (counters.dropped, counters.lost - counters.dropped)
