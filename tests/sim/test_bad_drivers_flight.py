"""`orbitnode flight` as a process with drivers that raise, block and lie: it goes on, tells the ground, and ends on
SIGINT. The drivers are real ones, in an installed distribution of their own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hal.kinds import KINDS
from tests.distribution import install
from tests.sim.test_realtime_flight import ROOT, Bench, Process
from tests.waiting import wait_until

# Each device looks at a file of its name at every call: what stands there is what it does. `PATH` is filled in.
DRIVERS = """
import atexit, multiprocessing, os, signal, sys, threading, time
from pathlib import Path
from flight.linux import watchdog
from hal import guard, udp_radio
from hal.base import HalError, PowerReading

guard.CALL_LIMIT_S = 0.2  # these and the periods of the mission are shorter than a board's: the node waits less
guard.PAUSE_MAX_NS = 2_000_000_000  # a stall of the machine must not make them wait for a minute
watchdog.END_S = 1.0

FOLDER = Path("PATH")

def mood(name):
    try:
        what = (FOLDER / name).read_text()
    except OSError:
        return
    if what:
        (FOLDER / f"{name} began").touch()
    if what == "raise":
        raise OverflowError("cannot convert float infinity to integer")
    if what == "exit":
        sys.exit("a vendor's library ends the program")
    if what == "fork":
        child = os.fork()
        if child:
            (FOLDER / name).write_text("")
            (FOLDER / "child").write_text(str(child))
            return
        sys.exit("the child is done")
    if what == "helper":
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,), daemon=True).start()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "leave":
        (FOLDER / name).write_text("")
        threading.Thread(target=time.sleep, args=(3600,)).start()
        atexit.register(time.sleep, 3600)
    if what == "move":
        os.chdir(FOLDER)
    if what == "fifo":
        (FOLDER / "fifo").read_bytes()
    if what == "spin":
        while True:
            pass
    if what == "sleep":
        while True:
            time.sleep(600)
    return what

class Eps:
    def read(self):
        soc = -5.0 if mood("eps") == "lie" else 0.9
        return PowerReading(soc, 10.0, 5.0, 5.0, 8.0)
    def set_switch(self, name, on):
        mood("switch")

class Thermometer:
    def __init__(self, name):
        self.name = name
    def read_c(self):
        return 3e38 if mood(self.name) == "lie" else 20.0

class Heater:
    def set_on(self, on):
        mood("heater")

class Governor:
    def __init__(self, host):
        self.host = host
        self.reader, writer = os.pipe()
        os.write(writer, b"x")
        host.watch(self.reader, self.on_ready)
        host.call_at(0, self.tick)
    def on_ready(self):  # never reads: it would keep the loop busy
        mood("ready")
    def tick(self):
        mood("tick")
        self.host.call_at(0, self.tick)
    def set_limit_w(self, power_w):
        mood("governor")

class Radio:
    def __init__(self, inner):
        self.inner = inner
    def __getattr__(self, name):
        mood("radio")
        if name == "send" and mood("send") == "lie":
            return lambda unit: None
        return getattr(self.inner, name)

def open_radio(address, host, rate_bps):
    mood("radio factory")
    return Radio(udp_radio.open_radio(address, host, rate_bps))

def opener(make):
    def open_it(address, host):
        mood(address + " factory")
        return make(address, host)
    return open_it

open_eps = opener(lambda address, host: Eps())
open_thermometer = opener(lambda address, host: Thermometer(address))
open_heater = opener(lambda address, host: Heater())
open_governor = opener(lambda address, host: Governor(host))
"""


class BadBench(Bench):
    """A node whose every device is bad when the test says so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        drivers = {f"{kind}.bad": f"bad_drivers:open_{kind}" for kind in KINDS if kind != "imager"}
        install(folder, "bad-drivers", drivers, {"bad_drivers": DRIVERS.replace("PATH", str(folder))})

    def write(self, more: str = "") -> None:
        super().write("[power]\nsample_period_s = 0.5\n[thermal]\nsample_period_s = 0.5\n" + more)
        text = self.mission.read_text().replace('driver = "udp:', 'driver = "bad:')
        devices = {"eps": "eps", "board_thermometer": "board", "radiator_thermometer": "radiator",
                   "heater": "heater", "governor": "governor"}  # fmt: skip
        lines = [line for line in text.splitlines() if line.partition(" = ")[0] not in devices]
        at = lines.index("[drivers]") + 1
        lines[at:at] = [f'{key} = "bad:{name}"' for key, name in devices.items()]
        self.mission.write_text("\n".join(lines) + "\n")

    def be(self, **moods: str) -> None:
        """What each device does from now on; "" for nothing."""
        for name, what in moods.items():
            path = self.folder / name.replace("_", " ")
            fresh = path.with_suffix(".new")
            fresh.write_text(what)
            fresh.rename(path)

    def flight(self, storage: str | Path = "") -> Process:
        entry = "import sys; sys.path.insert(0, sys.argv.pop(1)); import flight.cli as c; sys.exit(c.main())"
        return self.start(
            self.folder, "flight", "--mission", self.mission, "--storage", storage or self.folder / "store",
            entry=("-c", entry),
        )  # fmt: skip

    def events(self, name: str, packets: list[Any]) -> list[str]:
        """The texts of the events of that name."""
        event = next(one for one in self.dictionary.events if one.name == name)
        found = [p for p in packets if p.service == 5 and int.from_bytes(p.data[:2], "big") == event.number]
        return [" ".join(map(str, event.layout.decode(p.data[2:]))) for p in found]

    def forget(self) -> None:
        """What the node before the next one has sent."""
        self.down.close()
        self.listen()
        self.packets.clear()

    def hear(self, name: str, *texts: str) -> None:
        """Be the ground until there was an event of that name with each of the texts."""
        self.packets.clear()
        self.talk(None, lambda got: all(any(text in one for one in self.events(name, got)) for text in texts))


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BadBench]:
    monkeypatch.syspath_prepend(tmp_path)  # the test reads the mission as well
    made = BadBench(tmp_path)
    yield made
    made.close()


def ends_in_order(flight: Process, number: signal.Signals = signal.SIGINT) -> str:
    """End the node, as Ctrl-C does; what it said."""
    assert flight.poll() is None
    code, text = flight.end(number)
    assert code == 0 and "stopped, storage is safe" in text and "Traceback" not in text, text
    return text


@pytest.mark.campaign
def test_drivers_that_raise_block_and_lie(bad: BadBench) -> None:
    flight = bad.flight()
    bad.hear("boot", "")
    bad.be(eps="lie", board="raise", radiator="lie", switch="exit", heater="raise", governor="raise")
    bad.hear("device_fault", "eps soc_frac is -5", "board thermometer", "OverflowError: cannot convert",
             "radiator thermometer temperature is 3e+38")  # fmt: skip
    bad.be(eps="", board="", radiator="", switch="", heater="", governor="")
    bad.hear("device_recovered", "eps", "board thermometer", "radiator thermometer")
    os.mkfifo(bad.folder / "fifo")
    bad.be(eps="fifo", board="spin", radiator="sleep")
    bad.hear("device_fault", "eps", "board thermometer", "radiator thermometer", "did not return within 0.2 s")
    bad.be(eps="", board="", radiator="")
    bad.hear("device_recovered", "eps", "board thermometer", "radiator thermometer")
    bad.be(radio="raise")
    wait_until((bad.folder / "radio began").exists, "the radio raises")
    bad.be(radio="")
    bad.hear("device_recovered", "radio udp carrier")
    bad.be(board="sleep", eps="spin", tick="sleep", ready="raise")
    ends_in_order(flight)


@pytest.mark.campaign
def test_factories_that_raise_or_block(bad: BadBench) -> None:
    """What is told before the radio is open goes to the recorder, and to the log."""
    bad.be(board_factory="raise", governor_factory="exit", radio_factory="raise", eps_factory="sleep")
    script = bad.folder / "bad_drivers.py"
    limits = "guard.OPEN_LIMIT_S = guard.REOPEN_LIMIT_S = 0.5\nguard.PAUSE_MIN_NS = 200_000_000\n"
    script.write_text(script.read_text() + limits)
    flight = bad.flight()
    flight.says("Ctrl-C ends it")
    bad.be(radio_factory="")
    bad.talk(None, bool)
    bad.be(board_factory="", governor_factory="", eps_factory="")
    bad.hear("device_recovered", "eps", "board thermometer")
    text = ends_in_order(flight)
    assert "thermometer bad:board: opening raised OverflowError" in text
    assert "eps bad:eps: opening did not return" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_node_whose_driver_blocks(bad: BadBench, number: signal.Signals) -> None:
    flight = bad.flight()
    bad.hear("boot", "")
    bad.be(eps="sleep", board="spin", radiator="sleep", radio="sleep", tick="spin")
    wait_until((bad.folder / "eps began").exists, "the EPS blocks")
    ends_in_order(flight, number)


def test_ctrl_c_ends_a_node_that_waits_for_a_driver_to_open(bad: BadBench) -> None:
    bad.be(eps_factory="sleep")
    flight = bad.flight()
    wait_until((bad.folder / "eps factory began").exists, "the EPS blocks as it is opened")
    code, text = flight.end()
    assert code == 130 and "Traceback" not in text, text


def test_a_node_ends_whatever_a_driver_leaves_running(bad: BadBench) -> None:
    """The driver leaves a non-daemon thread and a handler of atexit. Python waits for both."""
    flight = bad.flight()
    bad.hear("boot", "")
    bad.be(eps="leave")
    wait_until((bad.folder / "eps began").exists, "the EPS has left them")
    ends_in_order(flight)


@pytest.mark.campaign
def test_a_child_that_comes_back_from_a_driver_does_not_fly(bad: BadBench) -> None:
    flight = bad.flight()
    bad.hear("boot", "")
    bad.be(eps="fork")
    child = bad.folder / "child"
    wait_until(lambda: child.exists() and child.read_text() != "", "the EPS forks")  # it is there before it is written
    stat = Path("/proc", child.read_text(), "stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", "the child ends; nobody waits for it")
    bad.packets.clear()
    bad.talk(None, bool)
    ends_in_order(flight)


@pytest.mark.campaign
def test_a_node_starts_again_after_one_that_was_killed_and_had_forked(bad: BadBench) -> None:
    bad.be(eps="helper")
    assert bad.flight().ended()[0] == -signal.SIGKILL
    bad.be(eps="")
    bad.forget()
    flight = bad.flight()
    bad.talk(None, bool)
    ends_in_order(flight)


def test_a_driver_that_changes_the_current_folder_does_not_take_the_storage_along(bad: BadBench) -> None:
    flight = bad.flight(os.path.relpath(bad.folder / "store", ROOT))
    bad.hear("boot", "")
    bad.be(eps="move")
    wait_until((bad.folder / "eps began").exists, "the EPS is in another folder")
    assert "storage" not in ends_in_order(flight).replace("storage is safe", "").partition("Ctrl-C ends it")[2]
    bad.forget()
    second = bad.flight()
    bad.talk(None, bool)
    assert "boot 2 after SIGINT" in ends_in_order(second)
