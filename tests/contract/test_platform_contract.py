"""Every Platform: order of calls, cancelling, stop, clocks, replies of work done elsewhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

from flight.core.nanoseconds import NS

MS = 1_000_000


def test_calls_are_made_in_order_of_time_and_then_of_asking(bench: Any) -> None:
    platform, made = bench.platform, []
    base = platform.now_ns() + 5 * MS
    for name, t_ns in (("c", base + 2), ("a", base), ("b", base), ("d", base + 2)):
        platform.call_at(t_ns, lambda name=name: made.append((name, platform.now_ns() - base)))
    assert bench.until(lambda: len(made) == 4)
    assert [name for name, _ in made] == ["a", "b", "c", "d"]
    assert all(late >= 0 for _, late in made), "a call was made before its time"


def test_a_call_for_the_past_is_made_soon_but_not_at_once(bench: Any) -> None:
    made: list[str] = []
    bench.platform.call_at(bench.platform.now_ns() - NS, lambda: made.append("late"))
    assert made == []
    assert bench.until(lambda: made == ["late"])


def test_a_call_can_ask_for_more_and_cancel_others(bench: Any) -> None:
    platform, made = bench.platform, []
    doomed = platform.call_at(platform.now_ns() + 2 * MS, lambda: made.append("doomed"))

    def first() -> None:
        doomed.cancel()
        platform.call_at(platform.now_ns() + MS, lambda: made.append("second"))

    pending = platform.call_at(platform.now_ns() + MS, first)
    assert bench.until(lambda: bool(made))
    pending.cancel()  # harmless: it was made
    doomed.cancel()
    assert not bench.until(lambda: len(made) > 1, 0.02)
    assert made == ["second"]


def test_stop_from_within_a_call(bench: Any) -> None:
    platform, made = bench.platform, []

    def stop() -> None:
        made.append(1)
        platform.stop()

    platform.call_at(platform.now_ns(), stop)
    assert bench.until(lambda: bool(made))


def test_clocks_go_forward_together(bench: Any) -> None:
    platform = bench.platform
    cpu = platform.cpu_ns()
    before, tai, after = platform.now_ns(), platform.tai_ns(), platform.now_ns()
    assert bench.until(lambda: platform.now_ns() >= after + 20 * MS)
    later, tai_later, last = platform.now_ns(), platform.tai_ns(), platform.now_ns()
    # One clock is read between two readings of the other, however long this process was away in between.
    assert later - after - 10 * MS < tai_later - tai < last - before + 10 * MS
    assert platform.cpu_ns() >= cpu
    # After 2020 and before 2094, where 4 octets of seconds since 1958 are used up.
    assert 1_956_528_037 < tai // NS < 2**32


def test_random_numbers_come_and_note_is_taken(bench: Any) -> None:
    assert 0.0 <= bench.platform.random.random() < 1.0
    assert [len(bench.platform.unpredictable(octets)) for octets in (0, 1, 40)] == [0, 1, 40]
    bench.platform.note("contract", b"octets")


class Work:
    """Work in a thread that ends by writing to a pipe."""

    def __init__(self, delay_s: float) -> None:
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._reply: bytes | None = None

        def reply() -> None:
            os.write(writer, b"reply")
            os.close(writer)

        self._timer = threading.Timer(delay_s, reply)
        self._timer.start()

    def filenos(self) -> Sequence[int]:
        return (self._reader,)

    def poll(self) -> bytes | None:
        try:
            return os.read(self._reader, 16)
        except BlockingIOError:
            return None

    def wait(self) -> bytes:
        self._timer.join()
        return os.read(self._reader, 16)

    def kill(self) -> None:
        self._timer.cancel()


def test_complete_resolves_with_the_reply(bench: Any) -> None:
    for delay_s in (0.0, 0.02):
        future = bench.platform.complete(Work(delay_s), 0.05)
        assert not future.done
        assert bench.until(lambda future=future: future.done)
        assert future.result() == b"reply"
