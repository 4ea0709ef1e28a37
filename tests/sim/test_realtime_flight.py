"""`orbitnode sim` and `orbitnode flight` as processes, over a pseudo-terminal and UDP; the test is their ground."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from flight import cli
from flight.catalogue import dictionary_of
from flight.contract.dictionary import Dictionary
from flight.core.errors import DecodeError, OrbitnodeError
from flight.core.task import Task
from flight.link.actions import PacketReceived
from flight.link.pus import PusTc, PusTm
from flight.link.security.link_security import LinkSecurity
from flight.link.tm_tc_stack import LinkConfig
from flight.linux import flight_command as command
from flight.mission import MISSIONS, load
from flight.node import Node, build
from ground.link.actions import SendCltu
from ground.link.tm_tc_session import GroundSession
from tests.mission_security import bench_security, stored_at_once
from tests.ports import free_port
from tests.waiting import GIVE_UP_S, wait_until

ROOT = Path(__file__).resolve().parents[2]


class Process(subprocess.Popen[bytes]):
    """An `orbitnode`. What it says goes into a file: a pipe that nobody reads would fill up and stop it.

    entry: how Python is told to start it.
    """

    def __init__(self, *arguments: str | Path, entry: Sequence[str] = ("-m", "flight.cli")) -> None:
        with tempfile.TemporaryFile() as said:
            self._said = os.dup(said.fileno())
        command = [sys.executable, *entry, *map(str, arguments)]
        super().__init__(command, cwd=ROOT, stdout=self._said, stderr=subprocess.STDOUT)

    def text(self) -> str:
        """What it has said so far."""
        return os.pread(self._said, 1_000_000, 0).decode()

    def says(self, text: str) -> None:
        """Wait until it has said so; its end before that is a failure."""
        wait_until(lambda: text in self.text() or self.poll() is not None, lambda: f"{text!r} in {self.text()}")
        assert text in self.text(), self.text()

    def ended(self) -> tuple[int, str]:
        """Wait for its end: exit status and all that it said."""
        self.wait(GIVE_UP_S)
        return self.returncode, self.text()

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        self.send_signal(number)
        return self.ended()

    def kill_and_forget(self) -> None:
        self.kill()
        self.wait()
        os.close(self._said)


class Bench:
    """A folder with a mission for this machine, and the ground's sockets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = folder / "board"
        self.down_port, self.up_port = free_port(), free_port()
        self.listen()
        self.processes: list[Process] = []
        self.mission = folder / "mission.toml"
        self.write()
        self.packets: list[PusTm] = []  # telemetry so far, oldest first
        self.security: LinkSecurity | None = None  # of the ground, from the first talk on

    def listen(self) -> None:
        self.down = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.down.bind(("127.0.0.1", self.down_port))
        self.down.settimeout(0.05)

    def write(self, more: str = "") -> None:
        ports = f"{self.down_port}:{self.up_port}"
        self.mission.write_text(
            f'extends = "{(MISSIONS / "orbit.toml").as_posix()}"\n'
            f'app = []\n[node]\nname = "bench-1"\n'
            f'[[link]]\nname = "udp"\ndriver = "udp:127.0.0.1:{ports}"\ncoding = "frame"\n'
            f'[drivers]\neps = "serial:{self.link}"\nboard_thermometer = "serial:{self.link}:board"\n'
            f'radiator_thermometer = "serial:{self.link}:radiator"\nheater = "serial:{self.link}:heater"\n'
            f'governor = "serial:{self.link}"\nimager = ""\n{more}'
        )

    @cached_property
    def dictionary(self) -> Dictionary:
        """Made once: what is asked per frame must not take longer than the next frame does, or frames are dropped."""
        return dictionary_of(load(self.mission))

    def start(self, *arguments: str | Path, **options: Any) -> Process:
        self.processes.append(Process(*arguments, **options))
        return self.processes[-1]

    def sim(self) -> Process:
        process = self.start("sim", "--link", self.link)
        wait_until(lambda: self.link.exists() or process.poll() is not None, "the emulator has made its link")
        assert process.poll() is None, process.text()
        return process

    def flight(self) -> Process:
        return self.start("flight", "--mission", self.mission, "--storage", self.folder / "store")

    def close(self) -> None:
        self.down.close()
        for process in reversed(self.processes):  # the node before its board, whose terminal may be another's at once
            process.kill_and_forget()

    def talk(self, request: PusTc | None, done: Any) -> None:
        """Be the ground until `done(packets)`, and send `request` once the node is heard."""
        mission = load(self.mission)
        config = mission.links[0].config
        assert isinstance(config, LinkConfig)
        if self.security is None:
            self.security = bench_security(mission)
        security = self.security
        session = GroundSession(replace(config, recoveries=1000), security)
        sent = request is None

        def act(actions: list[Any]) -> None:
            for one in stored_at_once(session, security, actions, time.monotonic_ns()):
                if isinstance(one, SendCltu):
                    self.down.sendto(one.octets, ("127.0.0.1", self.up_port))
                elif isinstance(one, PacketReceived):
                    try:
                        self.packets.append(PusTm.decode(one.packet))
                    except DecodeError:
                        continue

        act(session.initiate(time.monotonic_ns()))
        end_s = time.monotonic() + GIVE_UP_S
        while not done(self.packets):
            assert time.monotonic() < end_s, f"not within {GIVE_UP_S} s, had {self.packets[-20:]}"
            try:
                act(session.on_downlink(self.down.recv(65536), time.monotonic_ns()))
            except TimeoutError:
                pass
            act(session.on_time(time.monotonic_ns()))
            if request is not None and not sent and len(self.packets) > 0:
                sent = True
                act(session.send(request.encode(), time.monotonic_ns(), 1))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def housekeeping(packets: list[PusTm], sid: int) -> list[PusTm]:
    return [p for p in packets if (p.service, p.subtype) == (3, 25) and int.from_bytes(p.data[:2], "big") == sid]


def test_ping_over_three_parts_and_a_board_that_restarts(bench: Bench) -> None:
    bench.write("[power]\nsample_period_s = 0.2\n[thermal]\nsample_period_s = 0.2\n")
    sim = bench.sim()
    flight = bench.flight()
    dictionary = bench.dictionary
    ping = dictionary.command("ping")
    request = PusTc(ping.apid, 7, ping.service, ping.subtype, b"", ack=0b1011)
    bench.talk(request, lambda got: any((p.service, p.subtype) == (1, 7) for p in got))
    assert any((p.service, p.subtype) == (17, 2) for p in bench.packets)

    period = dictionary.command("set_hk_period")
    often = PusTc(period.apid, 8, period.service, period.subtype, period.layout.encode((((2, 0.2),),)), ack=0b1011)
    already = len(housekeeping(bench.packets, 2))
    bench.talk(often, lambda got: len(housekeeping(got, 2)) > already + 1)
    power = next(s for s in dictionary.structures if s.sid == 2)
    names = [field.name for field in power.fields]
    values: dict[str, Any] = dict(
        zip(names, power.layout.decode(housekeeping(bench.packets, 2)[-1].data[2:]), strict=True)
    )
    assert 0.5 < values["soc_frac"] <= 1.0 and values["load_w"] > 5.0

    bench.link.unlink()  # else it names a terminal that any other test of this machine may be given next
    sim.kill()  # the board dies without a word, and another takes its place
    sim.wait()
    numbers = {e.name: e.number for e in dictionary.events}

    def newest(got: list[PusTm]) -> int:
        """Of the two events of a device; one that was late on a busy machine may have had both before."""
        events = [int.from_bytes(p.data[:2], "big") for p in got if p.service == 5]
        of_device = [n for n in events if n in (numbers["device_fault"], numbers["device_recovered"])]
        return of_device[-1] if of_device else 0

    bench.talk(None, lambda got: newest(got) == numbers["device_fault"])
    sim = bench.sim()
    bench.talk(None, lambda got: newest(got) == numbers["device_recovered"])

    code, text = flight.end()
    assert code == 0 and "stopped, storage is safe" in text and "Traceback" not in text
    code, text = sim.end(signal.SIGTERM)
    assert code == 0 and not bench.link.is_symlink()


def one_line(process: Process) -> str:
    code, text = process.ended()
    lines = [line for line in text.splitlines() if line.startswith("orbitnode: error:")]
    assert code == 1 and len(lines) == 1 and "Traceback" not in text, text
    return lines[0]


@pytest.mark.campaign
def test_what_keeps_a_node_from_flying_is_one_line(bench: Bench) -> None:
    assert f"board {bench.link}: no such device" in one_line(bench.flight())
    sim = bench.sim()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", bench.up_port))
        assert f"UDP port {bench.up_port} on 127.0.0.1: another program listens" in one_line(bench.flight())
    (bench.folder / "store").rename(bench.folder / "moved")
    (bench.folder / "store").write_bytes(b"")
    assert f"storage folder {bench.folder}/store: is not a folder" in one_line(bench.flight())
    (bench.folder / "store").unlink()
    bench.write('board_thermometr = "x"\n')
    code, text = bench.flight().ended()
    assert code == 1 and "unknown key, did you mean board_thermometer" in text

    assert "is served by another emulator" in one_line(bench.start("sim", "--link", bench.link))
    sim.end()
    assert not bench.link.is_symlink()


def test_what_the_emulator_refuses(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    file = bench.folder / "file"
    file.write_bytes(b"kept")
    for link, text in ((file, "exists and is not a link of an emulator"), (file / "below", "cannot make")):
        assert cli.main(["sim", "--link", str(link)]) == 1
        said = capsys.readouterr().err
        assert said.startswith("orbitnode: error: ") and said.count("\n") == 1 and text in said, said
    assert file.read_bytes() == b"kept"
    with pytest.raises(SystemExit):
        cli.main(["sim", "--speed", "0"])
    assert "--speed is 0, should be" in capsys.readouterr().err


def test_an_absent_ground_does_not_hurt(bench: Bench) -> None:
    bench.down.close()
    sim = bench.sim()
    flight = bench.flight()
    flight.says("Ctrl-C ends it")
    time.sleep(0.3)  # for some frames that nobody hears; none is needed for what follows
    assert flight.poll() is None
    bench.listen()
    bench.talk(None, lambda got: any(p.service == 5 for p in got))
    code, _ = flight.end(signal.SIGTERM)
    assert code == 0
    sim.kill()
    sim.wait()
    assert os.path.islink(bench.link)  # killed, not ended: the next emulator replaces it


@pytest.mark.campaign
def test_a_terminal_that_hangs_up_ends_the_three_in_order_and_nohup_keeps_them(bench: Bench) -> None:
    sim, flight = bench.sim(), bench.flight()
    flight.says("Ctrl-C ends it")
    code, text = flight.end(signal.SIGHUP)
    assert code == 0 and "stopped, storage is safe" in text
    assert sim.end(signal.SIGHUP)[0] == 0
    ignoring = "import signal, sys, flight.cli as c; signal.signal(signal.SIGHUP, signal.SIG_IGN); sys.exit(c.main())"
    sim = bench.start("sim", "--link", bench.link, entry=("-c", ignoring))
    wait_until(bench.link.exists, "the emulator has made its link")
    sim.send_signal(signal.SIGHUP)
    flight = bench.flight()
    flight.says("boot 2 after SIGHUP")
    flight.says("Ctrl-C ends it")
    assert sim.poll() is None and flight.end()[0] == 0 and sim.end()[0] == 0


def test_a_node_that_ends_itself_is_no_clean_stop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def build_and_lose_a_task(*arguments: Any, **options: Any) -> Node:
        node = build(*arguments, **options)
        node.scheduler.spawn("doomed", fail, critical=True)
        return node

    async def fail(_task: Task) -> None:
        raise RuntimeError("again")

    monkeypatch.setattr("flight.linux.flight_command.build", build_and_lose_a_task)
    # Both would end the process of this very test.
    bench.write("[executive]\nwatchdog_s = 0.0\n")
    monkeypatch.setattr("flight.linux.flight_command.end_within", lambda _status: None)
    parser = ArgumentParser()
    command.add_arguments(parser)
    bench.sim()
    arguments = ["--mission", str(bench.mission), "--storage", str(bench.folder / "store"), "--log-level", "error"]
    with pytest.raises(OrbitnodeError, match="ended itself, storage is safe: task doomed kept failing"):
        command.execute(parser.parse_args(arguments))


AT_ITS_WORD = """
import builtins, os, signal, sys
from flight import cli
from flight.linux import flight_command as command

def say(text, **options):
    builtins.print(text, **options)
    if "Ctrl-C ends it" in text:
        os.kill(os.getpid(), signal.SIGINT)

command.print = say
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_node_that_says_how_it_is_ended_ends_so_from_that_moment_on(bench: Bench) -> None:
    bench.sim()
    arguments = ("flight", "--mission", bench.mission, "--storage", bench.folder / "store")
    flight = bench.start(*arguments, entry=("-c", AT_ITS_WORD))
    assert flight.wait(GIVE_UP_S) == 0 and "stopped, storage is safe" in flight.text(), flight.text()


STANDING = """
import sys, time
from flight import cli
from flight.linux import flight_command as command

plain = command.build

def build(*arguments, **options):
    node = plain(*arguments, **options)

    async def stand(task):
        watchdog = next(one for one in node.scheduler.tasks if one.name == "watchdog")
        while watchdog.stats.ticks < 2:  # before its first stroke it waits longer
            await task.sleep(0.1)
        time.sleep(1000)

    node.scheduler.spawn("standing", stand)
    return node

command.build = build
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.campaign
def test_a_node_that_stands_is_ended_and_the_next_boot_tells_the_ground_why(bench: Bench) -> None:
    bench.write("[executive]\nwatchdog_s = 3.0\n")
    bench.sim()
    arguments = ("flight", "--mission", str(bench.mission), "--storage", str(bench.folder / "store"))
    standing = subprocess.run(
        [sys.executable, "-c", STANDING, *arguments], cwd=ROOT, text=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, timeout=GIVE_UP_S, check=False,
    )  # fmt: skip
    words = "watchdog: no turn for 3 s in task standing, at <string>:"
    assert standing.returncode == 70, standing.stderr
    assert words in standing.stderr
    bench.write()
    flight = bench.flight()
    boot = next(e for e in bench.dictionary.events if e.name == "boot")

    def causes(got: list[PusTm]) -> list[str]:
        events = [p.data for p in got if p.service == 5 and int.from_bytes(p.data[:2], "big") == boot.number]
        return [str(boot.layout.decode(data[2:])[1]) for data in events]

    bench.talk(None, lambda got: any(cause.startswith(words) for cause in causes(got)))
    assert flight.end()[0] == 0
