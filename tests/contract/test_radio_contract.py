"""Every Radio: units whole and in order, a bounded buffer, what it hears, and a carrier that comes and goes."""

from __future__ import annotations

from typing import Any

from flight.core.nanoseconds import NS


def test_units_arrive_whole_and_in_order(radio: Any) -> None:
    units = [bytes((i,)) * (500 + i) for i in range(20)]
    waiting = list(units)

    def fill() -> None:
        while waiting and radio.radio.send(waiting[0]):
            del waiting[0]

    radio.radio.on_event(fill)
    fill()
    assert waiting, "the buffer takes everything: it is not bounded"
    assert radio.bench.until(lambda: sum(map(len, radio.far.received)) >= sum(map(len, units)))
    assert b"".join(radio.far.received) == b"".join(units)


def test_sending_is_no_faster_than_the_rate_says(radio: Any) -> None:
    unit, count = bytes(1000), 40
    platform, sent = radio.bench.platform, 0

    def fill() -> None:
        nonlocal sent
        while sent < count and radio.radio.send(unit):
            sent += 1

    radio.radio.on_event(fill)
    start_ns = platform.now_ns()
    fill()
    assert radio.bench.until(lambda: sum(map(len, radio.far.received)) >= 1000 * count)
    took_s = (platform.now_ns() - start_ns) / NS
    due_s = 8000 * (count - 1) / radio.rate_bps
    assert took_s > due_s - 0.06


def test_it_hears_what_is_sent_to_it(radio: Any) -> None:
    events: list[int] = []
    radio.radio.on_event(lambda: events.append(1))
    assert radio.radio.receive() is None
    for octets in (b"first cltu", b"second"):
        radio.far.send(octets)
    heard: list[bytes] = []

    def all_heard() -> bool:
        while (octets := radio.radio.receive()) is not None:
            heard.append(octets)
        # Idle sequence may stand between units.
        return b"".join(heard).replace(b"\x55", b"") == b"first cltusecond"

    assert radio.bench.until(lambda: bool(events))
    assert radio.bench.until(all_heard)


def test_the_carrier_goes_and_comes_back(radio: Any) -> None:
    events: list[int] = []
    radio.radio.on_event(lambda: events.append(1))
    assert radio.radio.carrier()
    radio.far.leave()

    def lost() -> bool:
        radio.radio.send(b"is there anybody")
        return not radio.radio.carrier()

    assert radio.bench.until(lost)
    assert events
    count = len(events)
    radio.far.come_back()
    assert radio.bench.until(radio.radio.carrier)
    assert len(events) > count
