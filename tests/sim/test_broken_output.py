"""`orbitnode flight`, `ground` and `sim` whose output nobody takes: they boot, work and end all the same."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flight.core.errors import OrbitnodeError
from flight.link.pus import PusTc, PusTm
from flight.linux.log_sink import SLOW
from flight.mission import MISSIONS
from tests.field_values import integer
from tests.forked_commands import run_each
from tests.full_disk import NO_SPACE, full_device
from tests.live_ground import hello
from tests.noisy_app import FILLING
from tests.sim.test_realtime_flight import Bench, housekeeping
from tests.waiting import GIVE_UP_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
NOISY = '{name = "noisy", app = "tests.noisy_app:NoisyApp", apid = 2}'
GAP = re.compile(r"(\d+) lines? of this log (?:is|are) missing here: " + SLOW)


class Stuck:
    """A pipe that is full, with a reader that is paused until it is told to read."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.writer, b"x")
        os.set_blocking(self.writer, True)
        self._octets = bytearray()  # a copy of all per piece would make this reader slower than any writer
        self._reading = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        while octets := os.read(self.reader, 65536):
            self._octets += octets

    def read(self) -> None:
        os.close(self.writer)
        self._reading.start()

    def text(self) -> str:
        """What came until the last writer was gone."""
        self._reading.join(GIVE_UP_S)
        assert not self._reading.is_alive()
        return self._octets.decode().lstrip("x")


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    made = Stuck()
    yield made
    for fileno in (made.reader, made.writer):
        with contextlib.suppress(OSError):
            os.close(fileno)


@contextlib.contextmanager
def output(kind: str) -> Iterator[dict[str, Any]]:
    """How Popen is told to give a process stdout and stderr of that kind."""
    if kind == "full disk":
        with full_device() as full:
            yield {"stdout": full, "stderr": full}
    elif kind == "reader gone":
        reader, writer = os.pipe()
        os.close(reader)
        yield {"stdout": writer, "stderr": writer}
        os.close(writer)
    elif kind == "closed":
        yield {"preexec_fn": lambda: os.closerange(0, 3)}
    elif kind == "terminal hung up":
        master, slave = os.openpty()
        os.close(master)
        yield {"stdout": slave, "stderr": slave}
        os.close(slave)
    elif kind == "paused":
        pipe = Stuck()
        yield {"stdout": pipe.writer, "stderr": pipe.writer}
        os.close(pipe.writer)
        os.close(pipe.reader)
    else:
        raise AssertionError(kind)


# What a closed descriptor loses is nobody's loss: it stands on /dev/null.
REASONS = {
    "full disk": NO_SPACE,
    "reader gone": "Broken pipe",
    "terminal hung up": "Input/output error",
    "paused": SLOW,
    "closed": "",
}


def start(*arguments: str | Path, **streams: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "flight.cli", *map(str, arguments)], cwd=ROOT, **streams)


def end(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(GIVE_UP_S)


class NoisyBench(Bench):
    """Its app prints without end."""

    def write(self, more: str = "") -> None:
        super().write(more)
        text = self.mission.read_text()
        self.mission.write_text(text.replace("app = []", f"app = [{NOISY}]"))

    def start_sim(self, **streams: Any) -> subprocess.Popen[bytes]:
        process = start("sim", "--link", self.link, **streams)
        until(self.link.exists, process)
        return process

    def start_flight(self, **streams: Any) -> subprocess.Popen[bytes]:
        store = self.folder / "store"
        return start("flight", "--mission", self.mission, "--storage", store, "--log-level", "debug", **streams)

    def events(self, name: str) -> list[tuple[Any, ...]]:
        """The values of every event of that name so far."""
        one = next(e for e in self.dictionary.events if e.name == name)
        found = (p for p in self.packets if p.service == 5 and p.data[:2] == one.number.to_bytes(2, "big"))
        return [one.layout.decode(p.data[2:]) for p in found if p.apid == one.apid]

    def lines_lost(self) -> int:
        """Of the newest report of the structure "node"; 0 before there is one."""
        reports = housekeeping(self.packets, 1)
        layout = self.dictionary.structures[0].layout
        names = [field.name for field in layout.fields]
        values = layout.decode(reports[-1].data[2:]) if reports else (0,) * len(names)
        return integer(values[names.index("log_lines_lost")])


def until(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: process.poll() is not None or condition(), "what the process should have come to")
    assert process.poll() is None


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[NoisyBench]:
    made = NoisyBench(tmp_path)
    yield made
    made.down.close()


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    made: list[subprocess.Popen[bytes]] = []
    yield made
    for process in made:
        process.kill()
        process.wait()


def test_a_paused_reader_stops_no_frame_and_reads_how_much_it_missed(
    bench: NoisyBench, stuck: Stuck, processes: list[subprocess.Popen[bytes]]
) -> None:
    ask = bench.dictionary.command("report_hk")
    with output("paused") as never_read:
        processes += [bench.start_sim(**never_read)]
        flight = bench.start_flight(stderr=stuck.writer, stdout=never_read["stdout"])
        processes += [flight]
        bench.talk(None, lambda _got: bench.events("log_stopped") == [(SLOW,)])
        while not bench.lines_lost():
            seen = len(bench.packets)
            about_node = PusTc(ask.apid, seen, ask.service, ask.subtype, ask.layout.encode((((1,),),)), ack=0)
            bench.talk(about_node, lambda got, seen=seen: len(housekeeping(got[seen:], 1)) > 0)
        stuck.read()
        bench.talk(None, lambda _got: bench.events("log_resumed"))
        assert end(flight) == 0
        assert end(processes[0]) == 0
    lines = stuck.text().splitlines()
    assert lines[-1] == "bench-1: stopped, storage is safe"
    # Every line of the app is there in order, or is counted in the gap in which it is missing.
    number = lost = 0
    for line in lines:
        gap = GAP.search(line)
        if gap:
            lost += int(gap[1])
        elif line.startswith("noise "):
            _, text, filling = line.split(" ")
            assert filling == FILLING and number < int(text) <= number + 1 + lost
            number = int(text)
    assert lost > 0 and lost >= bench.events("log_resumed")[0][0] > 0


@pytest.mark.campaign
@pytest.mark.parametrize("kind", list(REASONS))
def test_a_node_whose_output_nobody_takes_boots_flies_ends_and_boots_again(
    bench: NoisyBench, processes: list[subprocess.Popen[bytes]], kind: str
) -> None:
    bench.mission.write_text(bench.mission.read_text().replace(NOISY, ""))
    with output(kind) as streams:
        processes += [bench.start_sim(**streams)]
        for boot in (1, 2):
            flight = bench.start_flight(**streams)
            processes += [flight]
            bench.packets.clear()

            def flies(_got: list[PusTm], boot: int = boot) -> bool:
                boots, reasons = bench.events("boot"), bench.events("log_stopped")
                assert all(reason == REASONS[kind] for (reason,) in reasons)
                return boots[-1:] != [] and boots[-1][0] == boot and (reasons != [] or kind in ("closed", "paused"))

            bench.talk(None, flies)
            assert end(flight) == 0
        assert bench.events("boot")[-1][1] == "SIGTERM", "the first one ended in good order"
        assert end(processes[0]) == 0


@pytest.mark.campaign
@pytest.mark.parametrize("kind", list(REASONS))
def test_what_cannot_run_says_so_by_its_exit_code(tmp_path: Path, kind: str) -> None:
    absent = str(tmp_path / "absent.toml")
    with output(kind) as streams:
        done = run_each([[name, "--mission", absent] for name in ("flight", "ground", "sim")], **streams)
    assert [one.returncode for one in done] == [1, 1, 1]


class Api:
    """Requests to a ground process that may not answer."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self._port = port
        self._process = process

    def status(self) -> dict[str, Any]:
        wait_until(lambda: self._process.poll() is not None or self._ask(), "the ground answers")
        assert self._process.poll() is None
        return self._answer

    def tells(self, log_fault: str) -> bool:
        """Whether that is the fault of its log."""
        return bool(self.status()["log_fault"] == log_fault)

    def _ask(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), GIVE_UP_S) as connection:
                connection.sendall(hello(self._port) + b'{"do": "status"}\n')
                answers = connection.makefile()
                assert json.loads(answers.readline()) == {"done": True}
                self._answer: dict[str, Any] = json.loads(answers.readline())
        except (ConnectionError, OrbitnodeError):  # it comes up: its port, then its token
            return False
        return True


@contextlib.contextmanager
def ground(folder: Path, **streams: Any) -> Iterator[tuple[subprocess.Popen[bytes], Api]]:
    with contextlib.ExitStack() as free:
        kinds = (socket.SOCK_DGRAM, socket.SOCK_DGRAM, socket.SOCK_STREAM)
        sockets = [free.enter_context(socket.socket(socket.AF_INET, kind)) for kind in kinds]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        down, up, port = (one.getsockname()[1] for one in sockets)
    mission = folder / "mission.toml"
    mission.write_text(
        f'extends = "{(MISSIONS / "bench.toml").as_posix()}"\napp = []\n'
        f'[[link]]\nname = "udp"\ndriver = "udp:127.0.0.1:{down}:{up}"\ncoding = "frame"\n'
        # Several at a time: one keys file is one ground's.
        f'uplink_security = "clear"\n[ground]\napi_port = {port}\n'
    )
    process = start("ground", "--mission", mission, "--folder", folder / "archive", **streams)
    try:
        yield process, Api(port, process)
    finally:
        process.kill()
        process.wait()


@pytest.mark.campaign
def test_a_ground_whose_output_nobody_takes_serves_and_ends(tmp_path: Path) -> None:
    """One per kind of output, all at once: it takes seconds until a reader counts as paused."""
    with contextlib.ExitStack() as up:
        grounds = {}
        for place, kind in enumerate(REASONS):
            folder = tmp_path / str(place)
            folder.mkdir()
            grounds[kind] = up.enter_context(ground(folder, **up.enter_context(output(kind))))
        for kind, (process, api) in grounds.items():
            until(partial(api.tells, REASONS[kind]), process)
        for process, _ in grounds.values():
            process.send_signal(signal.SIGTERM)
        assert {kind: process.wait(GIVE_UP_S) for kind, (process, _) in grounds.items()} == dict.fromkeys(REASONS, 0)


@pytest.mark.campaign
def test_the_status_line_of_a_ground_on_a_terminal_paused_with_ctrl_s(tmp_path: Path) -> None:
    master, slave = os.openpty()
    os.write(master, b"\x13")
    with ground(tmp_path, stdout=slave, stderr=slave) as (process, api):
        until(lambda: api.status()["log_fault"] == SLOW, process)
        os.write(master, b"\x11")
        shown = b""
        while b"no contact | frames 0" not in shown:
            shown += os.read(master, 4096)
        until(lambda: api.status()["log_fault"] == "", process)
        assert end(process) == 0
        while b"archive is safe" not in shown:
            shown += os.read(master, 4096)
    assert shown.startswith(b"ground of orbitnode-bench")
    os.close(master)
    os.close(slave)
