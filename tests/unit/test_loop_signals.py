"""Signals that end the Linux loop. Each test is a process of its own: one that came too early or too late would end the
whole run of tests, and on a busy machine it does.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import GIVE_UP_S

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
import os, signal, sys, threading, time
from pathlib import Path
from flight.linux.platform import LinuxPlatform
from tests.linux_loop import run_until
from tests.waiting import GIVE_UP_S, wait_until

ME, MS = os.getpid(), 1_000_000
platform = LinuxPlatform(sys.argv[1], "unit")
"""


def said(folder: Path, code: str) -> tuple[int, str]:
    """Exit status of a process that has a platform, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code, str(folder / "store")], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        timeout=2 * GIVE_UP_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


ASLEEP = """
number = signal.{number}
earlier = signal.getsignal(number)
stat = Path(f"/proc/self/task/{{threading.main_thread().native_id}}/stat")

def kill_once_asleep():
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S", "the loop sleeps")
    os.kill(ME, number)

sender = threading.Thread(target=kill_once_asleep)
platform.call_at(0, sender.start)  # from within the loop: a signal before that would not be the loop's
print(platform.run() == number)
sender.join()
print(signal.getsignal(number) is earlier)
platform.call_at(platform.now_ns() + 1 * MS, platform.stop)
print(platform.run())  # and not the signal of an earlier run
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_loop_and_the_handlers_come_back(tmp_path: Path, number: str) -> None:
    assert said(tmp_path, ASLEEP.format(number=number)) == (0, "True\nTrue\nNone\n")


HANGS_UP = """
def hang_up():
    for _ in range(3):
        os.kill(ME, signal.SIGHUP)

platform.call_at(0, hang_up)
platform.call_at(0, lambda: print("due"))
print(int(platform.run()))
hang_up()
print("an orderly end")
platform.close()
"""


def test_a_terminal_that_hangs_up_is_told_of_more_than_once(tmp_path: Path) -> None:
    assert said(tmp_path, HANGS_UP) == (0, "due\n1\nan orderly end\n")


DUE = """
platform.call_at(0, lambda: os.kill(ME, signal.SIGTERM))
platform.call_at(0, lambda: print("due"))
print(int(platform.run()))
"""


def test_what_is_due_is_done_before_a_signal_ends_the_loop(tmp_path: Path) -> None:
    assert said(tmp_path, DUE) == (0, "due\n15\n")


STUCK = """
def stuck():
    os.kill(ME, signal.SIGTERM)
    os.kill(ME, signal.{number})
    time.sleep(GIVE_UP_S)
    print("the call went on after two signals")

earlier = signal.getsignal(signal.{number})
platform.call_at(0, stuck)
try:
    platform.run()
except (KeyboardInterrupt, SystemExit) as error:
    print(type(error).__name__, getattr(error, "code", ""), signal.getsignal(signal.{number}) is earlier)
"""


@pytest.mark.parametrize(("number", "raised"), [("SIGINT", "KeyboardInterrupt "), ("SIGTERM", "SystemExit 143")])
def test_a_second_signal_cuts_a_stuck_call_short(tmp_path: Path, number: str, raised: str) -> None:
    assert said(tmp_path, STUCK.format(number=number)) == (0, f"{raised} True\n")


OTHER = """
seen = []
signal.signal(signal.SIGUSR1, lambda number, _frame: seen.append("USR1"))
platform.call_at(0, lambda: os.kill(ME, signal.SIGUSR1))

def stop():
    seen.append("stop")
    platform.stop()

platform.call_at(platform.now_ns() + 20 * MS, stop)
print(platform.run(), seen)
"""


def test_another_signal_with_a_handler_does_not_end_the_loop(tmp_path: Path) -> None:
    assert said(tmp_path, OTHER) == (0, "None ['USR1', 'stop']\n")


EARLY = """
platform.call_at(0, platform.stop)
assert not run_until(platform, lambda: False, 0.05)
platform.call_at(0, lambda: os.kill(ME, signal.SIGTERM))
try:
    run_until(platform, lambda: False, 0.05)
except KeyboardInterrupt as error:
    print(error)
made = []
platform.call_at(platform.now_ns() + 150 * MS, lambda: made.append("call"))  # later than both would have looked
print(run_until(platform, lambda: made == ["call"]))
"""


def test_a_wait_that_ended_early_leaves_nothing_behind(tmp_path: Path) -> None:
    assert said(tmp_path, EARLY) == (0, "signal 15\nTrue\n")
