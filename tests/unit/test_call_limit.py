"""The time limit on calls in the main thread: what it cuts, what it leaves whole, and that nothing escapes from it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import pytest

from flight.linux import call_limit
from flight.linux.call_limit import CallLimits
from hal.base import StalledError

pytestmark = pytest.mark.usefixtures("cuts_fall_anywhere")


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[CallLimits]:
    monkeypatch.setattr(call_limit, "BEAT_S", 0.005)
    made = CallLimits()
    yield made
    made.close()
    assert not call_limit._ALARM.active and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)  # noqa: SLF001 - no alarm is left


def open_fifo(folder: Path) -> None:
    os.mkfifo(folder / "sensor")
    (folder / "sensor").read_bytes()


def spin(_folder: Path) -> None:
    while True:
        pass


def wait_for_a_lock(_folder: Path) -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def swallow_it_at_first(_folder: Path) -> None:
    for _ in range(3):
        try:
            time.sleep(600)
        except BaseException:  # noqa: BLE001 - as a bad driver does
            continue
    time.sleep(600)


def make_another_of_it(_folder: Path) -> None:
    try:
        time.sleep(600)
    except BaseException as error:
        raise RuntimeError("wrapped") from error


def swallow_it_and_return(_folder: Path) -> None:
    try:
        time.sleep(600)
    except BaseException:  # noqa: BLE001 - as a bad driver does
        return


BLOCKS: list[Callable[[Path], None]] = [
    open_fifo,
    spin,
    wait_for_a_lock,
    swallow_it_at_first,
    make_another_of_it,
    swallow_it_and_return,
    lambda _folder: time.sleep(600),
    lambda _folder: Queue().get(),
    lambda _folder: print(os.read(os.pipe()[0], 1)),
]


@pytest.mark.parametrize("block", BLOCKS)
def test_what_blocks_is_cut(limit: CallLimits, tmp_path: Path, block: Callable[[Path], None]) -> None:
    with pytest.raises(StalledError, match=r"did not return within 0\.02 s"):
        limit.run(lambda: block(tmp_path), 0.02)
    assert limit.run(lambda: 7, 0.02) == 7


def test_what_returns_in_time_is_its_answer_or_its_exception(limit: CallLimits) -> None:
    assert limit.run(lambda: "answer", 600.0) == "answer"
    with pytest.raises(KeyError):
        limit.run(lambda: dict[str, int]()["missing"], 600.0)


def test_one_inside_another_goes_by_the_outer_limit(limit: CallLimits) -> None:
    with pytest.raises(StalledError, match=r"0\.02 s"):
        limit.run(lambda: limit.run(lambda: time.sleep(600), 600.0), 0.02)


def test_what_is_shielded_is_never_left_half_done(limit: CallLimits) -> None:
    halves = [0, 0]

    def both() -> None:
        halves[0] += 1
        for _ in range(100):
            pass
        halves[1] += 1

    def call_the_node_for_ever() -> None:
        while True:
            limit.shield(both)

    for _ in range(5):
        with pytest.raises(StalledError):
            limit.run(call_the_node_for_ever, 0.002)
        assert halves[0] == halves[1] > 0


def test_nothing_escapes_however_the_signals_fall(limit: CallLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls about as long as their limit, under a signal every 50 us."""
    monkeypatch.setattr(call_limit, "BEAT_S", 0.000_05)
    ends = {"answer": 0, "stalled": 0}
    for i in range(2_000):

        def work(turns: int = 37 * i % 20_000) -> int:
            total = 0
            for one in range(turns):
                total += one
            return total

        try:
            assert limit.run(work, 0.000_01 * (1 + i % 10)) == sum(range(37 * i % 20_000))
            ends["answer"] += 1
        except StalledError:
            ends["stalled"] += 1
        assert not call_limit._ALARM.active  # noqa: SLF001 - no alarm is left
    assert min(ends.values()) > 0, ends


def test_a_late_signal_finds_nothing_to_do(limit: CallLimits) -> None:
    for _ in range(10):
        signal.raise_signal(signal.SIGALRM)
    assert limit.run(lambda: 1, 600.0) == 1


def test_in_another_thread_calls_are_simply_made(limit: CallLimits) -> None:
    answers: list[object] = []

    def elsewhere() -> None:
        answers.append(limit.run(lambda: limit.shield(threading.get_ident), 0.001))
        other = CallLimits()
        answers.append(other.run(threading.get_ident, 0.001))
        other.close()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert answers == [thread.ident, thread.ident]


def test_the_earlier_handler_comes_back_with_the_last_platform() -> None:
    earlier = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    try:
        first, second = CallLimits(), CallLimits()
        first.close()
        first.close()
        with pytest.raises(StalledError):
            second.run(lambda: time.sleep(600), 0.01)
        second.close()
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN
        assert second.run(lambda: 3, 0.01) == 3  # closed: no limit, no signal
    finally:
        signal.signal(signal.SIGALRM, earlier)
