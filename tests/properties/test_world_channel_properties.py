"""The channel against a plain model: whatever is offered and however contact comes and goes."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from flight.core.nanoseconds import NS
from sim_hw.world.channel import Channel, ChannelConfig

DELAY_NS = 3_000_000
LOCK_NS = 50_000_000

actions = st.lists(
    st.tuples(st.integers(0, 40_000_000), st.sampled_from(["offer", "offer", "offer", "rise", "set", "take"]),
              st.integers(1, 1200)),
    max_size=80,
)  # fmt: skip


def expected(sent: list[tuple[int, int, bytes]], contacts: list[tuple[int, int]]) -> list[tuple[int, bytes]]:
    """What a receiver that is locked in `contacts` (rise, set) gets of (start, end, octets)."""
    got = []
    for start, end, octets in sent:
        for rise, fall in contacts:
            if start >= rise and start + DELAY_NS >= rise + LOCK_NS and end + DELAY_NS <= fall:
                got.append((end + DELAY_NS, octets))
    return got


@settings(max_examples=150)
@given(actions, st.integers(1_000, 10_000_000), st.integers(1200, 6000))
def test_channel_equals_the_plain_model(history: list[tuple[int, str, int]], rate: int, buffer: int) -> None:
    config = ChannelConfig(rate_bps=rate, bit_error_rate=0.0, acquisition_s=LOCK_NS / NS, buffer_octets=buffer)
    channel = Channel(config, Random(0))
    now, free_ns = 0, 0
    sent: list[tuple[int, int, bytes]] = []
    got: list[tuple[int, bytes]] = []
    contacts: list[tuple[int, int]] = []
    risen: int | None = None
    for number, (gap, action, size) in enumerate(history):
        now += gap
        if action == "offer":
            octets = number.to_bytes(2, "big") * (size // 2 + 1)
            held = sum(len(o) for _, end, o in sent if end > now)
            fits = held + len(octets) <= buffer
            room = channel.room_at_ns(len(octets), now)
            assert (room == now) == fits
            assert channel.offer(octets, now) == fits
            if fits:
                start = max(now, free_ns)
                free_ns = start + -(-8 * len(octets) * NS // rate)
                sent.append((start, free_ns, octets))
            elif room is not None:
                assert sum(len(o) for _, end, o in sent if end > room) + len(octets) <= buffer
        elif action == "rise" and risen is None:
            channel.on_rise(now, lambda _t: DELAY_NS)
            risen = now
        elif action == "set" and risen is not None:
            channel.on_set(now)
            contacts.append((risen, now))
            risen = None
        elif action == "take":
            got += [(d.t_ns, d.octets) for d in channel.deliveries(now)]
        assert channel.carrier(now) == (risen is not None and now >= risen + LOCK_NS)
        c = channel.counters
        assert c.accepted == c.delivered + c.lost + channel.pending == len(sent)
    # Drive it to the end by its own events.
    for _ in range(3 * len(history) + 3):
        due = channel.next_event_ns()
        if due is None:
            break
        now = max(now, due)
        got += [(d.t_ns, d.octets) for d in channel.deliveries(now)]
    assert channel.next_event_ns() is None
    contacts += [(risen, 10**18)] if risen is not None else []
    assert got == expected(sent, contacts)
    assert channel.pending == 0
    assert channel.counters.delivered_octets + channel.counters.lost_octets == channel.counters.accepted_octets


@given(st.integers(0, 2**32), st.floats(1e-5, 0.5), st.lists(st.integers(1, 300), max_size=30))
def test_bit_errors_are_deterministic_and_counted(seed: int, rate: float, sizes: list[int]) -> None:
    def run() -> list[tuple[bytes, int]]:
        channel = Channel(ChannelConfig(bit_error_rate=rate, acquisition_s=0.0), Random(seed))
        channel.on_rise(0, lambda _t: 0)
        for size in sizes:
            channel.offer(bytes(size), 0)
        return [(d.octets, d.bit_errors) for d in channel.deliveries(10**12)]

    first = run()
    assert first == run()
    assert all(int.from_bytes(octets, "big").bit_count() == errors for octets, errors in first)


@given(st.floats(0.0, 1e-12), st.integers(0, 2**32))
def test_any_tiny_rate_is_a_rate(rate: float, seed: int) -> None:
    channel = Channel(ChannelConfig(bit_error_rate=rate, acquisition_s=0.0), Random(seed))
    channel.on_rise(0, lambda _t: 0)
    assert channel.offer(bytes(100), 0)
    assert [d.octets for d in channel.deliveries(10**12)] == [bytes(100)]
