"""The watchdog of the flight loop: real processes that stand still, and what is known of them afterwards.

Most of the time of these tests is a limit that passes, so processes that have nothing to do with each other wait for
theirs at the same time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flight.core.nanoseconds import ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.linux.platform import LinuxPlatform
from flight.linux.watchdog import CAUSE_OCTETS_MAX, STALLED, take_report
from flight.services.health.watchdog import STROKES, WatchdogDuty
from sim_hw.machine.loop import VirtualLoop
from tests.waiting import GIVE_UP_S, wait_until

ROOT = Path(__file__).resolve().parents[2]

NODE = """
import ctypes, os, sys, time
from flight.core.scheduler import Scheduler
from flight.linux.platform import LinuxPlatform
from flight.services.health.watchdog import WatchdogDuty

folder, limit_s = sys.argv[1], float(sys.argv[2])
platform = LinuxPlatform(folder, "node")
watchdog = platform.start_watchdog(limit_s, lambda line: print(line, file=sys.stderr))
scheduler = Scheduler(platform, platform.cpu_ns, lambda task, error: print(repr(error), file=sys.stderr))
watchdog.where = lambda: "task " + scheduler.running.name if scheduler.running else "no task"
scheduler.spawn("watchdog", WatchdogDuty(scheduler, platform.stroke, limit_s).run)

def stand():
    {stand}

async def victim(task):
    await task.sleep(limit_s)
    print("well", flush=True)
    stand()

scheduler.spawn("victim", victim)
platform.run()
scheduler.close()
platform.close()
"""


def node(folder: Path, stand: str, limit_s: float = 0.8) -> subprocess.Popen[str]:
    code = NODE.format(stand=textwrap.indent(stand, "    ").strip())
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(limit_s)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def boot(folder: Path) -> str:
    """The last words that the next process finds."""
    platform = LinuxPlatform(folder, "node")
    try:
        words = platform.take_last_words()
        assert platform.take_last_words() == "", "told twice"
        return words
    finally:
        platform.close()


STANDS = {
    "sleep": "time.sleep(1000)",
    "pipe": "os.read(os.pipe()[0], 1)",
    "spin": "while True: pass",
    "fifo": "os.mkfifo(folder + '.fifo'); open(folder + '.fifo')",
}


def test_a_loop_that_stands_is_ended_and_the_next_boot_says_where(tmp_path: Path) -> None:
    processes = {name: node(tmp_path / name, stand) for name, stand in STANDS.items()}
    for name, process in processes.items():
        _, log = process.communicate(timeout=GIVE_UP_S)
        assert process.returncode == STALLED, name
        assert "watchdog: no turn for 0.8 s in task victim, at <string>:" in log, name
        assert "Thread 0x" in log and '"<string>", line' in log and " in stand" in log, f"{name}: its stacks"
        assert "in stand" in boot(tmp_path / name), name
        kept = (tmp_path / name / "STALL.last").read_text()
        assert kept.startswith("watchdog: no turn for") and "flight/core/scheduler.py" in kept, name
        assert boot(tmp_path / name) == "", f"{name}: an old report is not the cause of a later boot"


WITHOUT_DESCRIPTORS = """
try:
    while True:
        os.dup(0)
except OSError:
    time.sleep(1000)
"""


@pytest.mark.campaign
def test_a_process_that_stands_is_ended_whatever_it_lacks_and_wherever_it_is(tmp_path: Path) -> None:
    """Without descriptors, in its boot, with a log that nobody reads, with native code that holds the interpreter, and
    with native code that crashes.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    code = NODE.format(stand="time.sleep(1000)")
    unread = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "unread"), "0.8"], cwd=ROOT, stderr=writer,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    code = NODE.format(stand="pass").replace("scheduler = Scheduler(", "time.sleep(1000)\nscheduler = Scheduler(", 1)
    booting = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "booting"), "0.1"], cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    poor = node(tmp_path / "poor", WITHOUT_DESCRIPTORS.strip())
    native = node(tmp_path / "native", "ctypes.PyDLL(None).sleep(1000)")
    crash = node(tmp_path / "crash", "ctypes.string_at(1)")

    poor.communicate(timeout=GIVE_UP_S)
    assert poor.returncode == STALLED
    assert "in stand" in boot(tmp_path / "poor")
    assert "Thread 0x" in (tmp_path / "poor" / "STALL.last").read_text()

    assert booting.wait(timeout=GIVE_UP_S) == STALLED
    assert "in the boot, at <string>:" in boot(tmp_path / "booting")

    crash.communicate(timeout=GIVE_UP_S)
    assert crash.returncode == -signal.SIGSEGV
    words = boot(tmp_path / "crash")
    assert words.startswith("segmentation fault, at ") and " in " in words

    assert unread.wait(timeout=GIVE_UP_S) == STALLED
    os.close(reader)
    os.close(writer)
    assert "in stand" in boot(tmp_path / "unread")

    native.communicate(timeout=GIVE_UP_S)
    assert native.returncode == 1
    assert boot(tmp_path / "native").startswith("watchdog: the interpreter stood still, at <string>:")


CUT = """
from hal.base import StalledError
for _ in range(2):
    try:
        platform.limit.run(lambda: time.sleep(1000), 3.5 * limit_s)
    except StalledError:
        pass
scheduler = Scheduler("""


@pytest.mark.campaign
def test_a_boot_that_cuts_off_blocking_drivers_and_a_process_that_was_stopped_go_on(tmp_path: Path) -> None:
    """Each of the drivers takes more than half of what a boot may; the process is stopped for longer than its limit."""
    code = NODE.format(stand="os._exit(0)").replace("scheduler = Scheduler(", CUT, 1)
    booting = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "booting"), "0.8"], cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    stopped = node(tmp_path / "stopped", "pass", 2.0)
    assert stopped.stdout is not None and stopped.stdout.readline() == "well\n"
    stopped.send_signal(signal.SIGSTOP)
    time.sleep(3.0)
    stopped.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    stopped.send_signal(signal.SIGTERM)
    _, log = stopped.communicate(timeout=GIVE_UP_S)
    assert stopped.returncode == 0, log
    assert not list((tmp_path / "stopped").glob("STALL*")), "an orderly end leaves no words"

    said, log = booting.communicate(timeout=GIVE_UP_S)
    assert (booting.returncode, said) == (0, "well\n"), log


def test_room_for_the_words_is_set_aside_at_boot(tmp_path: Path) -> None:
    process = node(tmp_path, "time.sleep(1000)", 30.0)
    report = tmp_path / "STALL"
    wait_until(lambda: report.exists() and report.stat().st_blocks * 512 >= 65_536, "the room is set aside")
    process.kill()
    process.communicate()
    assert boot(tmp_path) == "", "the power went, so there are no last words"
    assert not (tmp_path / "STALL").exists()


def test_a_folder_that_cannot_be_written_gives_no_words(tmp_path: Path) -> None:
    assert take_report(str(tmp_path / "absent")) == ""
    (tmp_path / "STALL").write_bytes("watchdog: ä".encode() * 100 + b"\0" * 50)
    words = take_report(str(tmp_path))
    assert len(words.encode()) <= CAUSE_OCTETS_MAX and words.startswith("watchdog: ä")


def test_what_is_no_file_in_place_of_the_report_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "another's").write_text("watchdog: of another")
    things: dict[str, Callable[[Path], None]] = {
        "a folder": Path.mkdir, "a FIFO": os.mkfifo, "a link": lambda path: path.symlink_to(tmp_path / "another's")
    }  # fmt: skip
    processes = {}
    for thing, make in things.items():
        (tmp_path / thing).mkdir()
        make(tmp_path / thing / "STALL")
        processes[thing] = node(tmp_path / thing, "time.sleep(1000)")
    for thing, process in processes.items():
        _, log = process.communicate(timeout=GIVE_UP_S)
        assert process.returncode == STALLED and "watchdog: no turn for" in log, thing
        assert thing == "a folder" or "in stand" in boot(tmp_path / thing), thing
    assert (tmp_path / "another's").read_text() == "watchdog: of another"


def test_a_cause_is_told_once_even_if_its_report_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "STALL").write_text("watchdog: no turn\n")
    (tmp_path / "STALL.last").mkdir()
    assert boot(tmp_path) == "watchdog: no turn"
    assert boot(tmp_path) == ""


def test_no_stroke_while_a_critical_task_gets_no_turn() -> None:
    loop, strokes = VirtualLoop(), []
    costs: dict[str, int] = {}
    scheduler = Scheduler(loop, loop.now_ns, lambda *_: None, step_cost_ns=lambda name: costs.get(name, 0),
                          starve_s=1e6, critical_starve_s=1e6)  # fmt: skip

    async def body(task: Task) -> None:
        async for _ in task.every(0.1):
            pass

    scheduler.spawn("critical", body, critical=True, deadline_s=1e5)
    scheduler.spawn("hog", body, deadline_s=0.001)
    scheduler.spawn(
        "watchdog", WatchdogDuty(scheduler, lambda: strokes.append(loop.now_ns()), 2.0).run, deadline_s=1e-6
    )
    loop.run_until(ns(20.0))
    assert len(strokes) >= 10 * STROKES
    costs["hog"] = ns(0.2)  # it is never done: nobody behind it gets a turn
    loop.run_until(ns(30.0))
    before = len(strokes)
    loop.run_until(ns(60.0))
    assert len(strokes) == before
    costs.clear()
    loop.run_until(ns(70.0))
    assert len(strokes) > before, "it strokes again once all is well"
