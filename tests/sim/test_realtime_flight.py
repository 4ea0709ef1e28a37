"""`orbitnode sim` and `orbitnode flight` as processes, over a pseudo-terminal and UDP; the test is their ground."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flight import command
from flight.core.errors import DecodeError, OrbitnodeError
from flight.core.scheduler import Task
from flight.link.pus import PusTc, PusTm
from flight.mission import MISSIONS, load
from flight.node import Node, build, dictionary_of, link_config
from ground.actions import PacketReceived, SendCltu
from ground.session import GroundSession

ROOT = Path(__file__).resolve().parents[2]


def orbitnode(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flight.cli", *map(str, arguments)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
    process.send_signal(number)
    text, _ = process.communicate(timeout=60)
    return process.returncode, text


class Bench:
    """A folder with a mission for this machine, and the ground's sockets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = folder / "board"
        self.down = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.down.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self.up_port = free.getsockname()[1]
        self.mission = folder / "mission.toml"
        self.write()
        self.packets: list[PusTm] = []  # telemetry so far, oldest first

    def write(self, more: str = "") -> None:
        ports = f"{self.down.getsockname()[1]}:{self.up_port}"
        self.mission.write_text(
            f'extends = "{(MISSIONS / "orbit.toml").as_posix()}"\n'
            f'[node]\nname = "bench-1"\napp = ""\n'
            f'[[link]]\nname = "udp"\ndriver = "udp:127.0.0.1:{ports}"\ncoding = "frame"\n'
            f'[drivers]\neps = "serial:{self.link}"\nboard_thermometer = "serial:{self.link}:board"\n'
            f'radiator_thermometer = "serial:{self.link}:radiator"\nheater = "serial:{self.link}:heater"\n'
            f'governor = "serial:{self.link}"\nimager = ""\n{more}'
        )

    def sim(self) -> subprocess.Popen[str]:
        process = orbitnode("sim", "--link", self.link)
        deadline = time.monotonic() + 60
        while not self.link.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        return process

    def flight(self) -> subprocess.Popen[str]:
        return orbitnode("flight", "--mission", self.mission, "--storage", self.folder / "store")

    def talk(self, request: PusTc | None, done: Any, timeout_s: float = 60.0) -> None:
        """Be the ground until `done(packets)`, and send `request` once the node is heard."""
        mission = load(self.mission)
        session = GroundSession(link_config(mission, mission.links[0]))
        sent = request is None

        def act(actions: list[Any]) -> None:
            for one in actions:
                if isinstance(one, SendCltu):
                    self.down.sendto(one.octets, ("127.0.0.1", self.up_port))
                elif isinstance(one, PacketReceived):
                    try:
                        self.packets.append(PusTm.decode(one.packet))
                    except DecodeError:
                        continue

        act(session.initiate(time.monotonic_ns()))
        self.down.settimeout(0.05)
        deadline = time.monotonic() + timeout_s
        while not done(self.packets):
            assert time.monotonic() < deadline, f"not within {timeout_s} s, had {self.packets[-20:]}"
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
    made.down.close()


def housekeeping(packets: list[PusTm], sid: int) -> list[PusTm]:
    return [p for p in packets if (p.service, p.subtype) == (3, 25) and int.from_bytes(p.data[:2], "big") == sid]


def test_ping_over_three_parts_and_a_board_that_restarts(bench: Bench) -> None:
    sim = bench.sim()
    flight = bench.flight()
    try:
        dictionary = dictionary_of(load(bench.mission))
        ping = dictionary.command("ping")
        request = PusTc(ping.apid, 7, ping.service, ping.subtype, b"", ack=0b1011)
        bench.talk(request, lambda got: any((p.service, p.subtype) == (1, 7) for p in got))
        assert any((p.service, p.subtype) == (17, 2) for p in bench.packets)

        period = dictionary.command("set_hk_period")
        often = PusTc(period.apid, 8, period.service, period.subtype, period.layout.encode((((2, 1.0),),)), ack=0b1011)
        bench.packets.clear()
        bench.talk(often, lambda got: len(housekeeping(got, 2)) > 1)
        power = next(s for s in dictionary.structures if s.sid == 2)
        names = [field.name for field in power.fields]
        values = dict(zip(names, power.layout.decode(housekeeping(bench.packets, 2)[-1].data[2:]), strict=True))
        assert 0.5 < values["soc_frac"] <= 1.0 and values["load_w"] > 5.0

        sim.kill()  # the board dies without a word, its link stays behind, and another takes its place
        sim.wait()
        faults = [e.number for e in dictionary.events if e.name in ("device_fault", "device_recovered")]

        def events(got: list[PusTm]) -> set[int]:
            return {int.from_bytes(p.data[:2], "big") for p in got if p.service == 5} & set(faults)

        bench.packets.clear()
        bench.talk(None, lambda got: len(events(got)) == 1)
        sim = bench.sim()
        bench.talk(None, lambda got: len(events(got)) == 2)

        code, text = end(flight)
        assert code == 0 and "stopped, storage is safe" in text and "Traceback" not in text
        code, text = end(sim, signal.SIGTERM)
        assert code == 0 and not bench.link.is_symlink()
    finally:
        for process in (sim, flight):
            process.kill()
            process.wait()


def one_line(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=60)
    lines = [line for line in text.splitlines() if line.startswith("orbitnode: error:")]
    assert process.returncode == 1 and len(lines) == 1 and "Traceback" not in text, text
    return lines[0]


def test_what_keeps_a_node_from_flying_is_one_line(bench: Bench) -> None:
    assert f"board {bench.link}: no such device" in one_line(bench.flight())
    sim = bench.sim()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", bench.up_port))
            assert f"UDP port {bench.up_port} on 127.0.0.1: another program listens" in one_line(bench.flight())
        (bench.folder / "store").rename(bench.folder / "moved")
        (bench.folder / "store").write_bytes(b"")
        assert f"storage folder {bench.folder}/store: is not a folder" in one_line(bench.flight())
        (bench.folder / "store").unlink()
        bench.write('board_thermometr = "x"\n')
        text, _ = (process := bench.flight()).communicate(timeout=60)
        assert process.returncode == 1 and "unknown key, did you mean board_thermometer" in text

        assert "is served by another emulator" in one_line(orbitnode("sim", "--link", bench.link))
    finally:
        end(sim)
    assert not bench.link.is_symlink()


def test_what_the_emulator_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    assert "is there and no link of an emulator" in one_line(orbitnode("sim", "--link", tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == b"kept"
    assert "cannot make" in one_line(orbitnode("sim", "--link", tmp_path / "file" / "below"))
    assert "--speed 0, should be" in one_line(orbitnode("sim", "--speed", "0"))


def test_an_absent_ground_does_not_hurt(bench: Bench) -> None:
    port = bench.down.getsockname()[1]
    bench.down.close()
    sim = bench.sim()
    flight = bench.flight()
    try:
        time.sleep(1.5)
        assert flight.poll() is None
        bench.down = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bench.down.bind(("127.0.0.1", port))
        bench.talk(None, lambda got: any(p.service == 5 for p in got))
        code, _ = end(flight, signal.SIGTERM)
        assert code == 0
    finally:
        for process in (sim, flight):
            process.kill()
            process.wait()
    assert os.path.islink(bench.link)  # killed, not ended: the next emulator replaces it


def test_a_node_that_ends_itself_is_no_clean_stop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def build_and_lose_a_task(*arguments: Any, **options: Any) -> Node:
        node = build(*arguments, **options)
        node.scheduler.spawn("doomed", fail, critical=True)
        return node

    async def fail(task: Task) -> None:
        raise RuntimeError("again")

    monkeypatch.setattr("flight.command.build", build_and_lose_a_task)
    bench.write("[executive]\nwatchdog_s = 0.0\n")  # it would end the process of this very test
    parser = ArgumentParser()
    command.add_arguments(parser)
    sim = bench.sim()
    try:
        arguments = ["--mission", str(bench.mission), "--storage", str(bench.folder / "store"), "--log-level", "error"]
        with pytest.raises(OrbitnodeError, match="ended itself, storage is safe: task doomed kept failing"):
            command.execute(parser.parse_args(arguments))
    finally:
        end(sim)


STANDING = """
import sys, time
from flight import cli, command

plain = command.build

def build(*arguments, **options):
    node = plain(*arguments, **options)

    async def stand(task):
        await task.sleep(3.0)
        time.sleep(1000)

    node.scheduler.spawn("standing", stand)
    return node

command.build = build
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_node_that_stands_is_ended_and_the_next_boot_tells_the_ground_why(bench: Bench) -> None:
    bench.write("[executive]\nwatchdog_s = 2.0\n")
    sim = bench.sim()
    arguments = ("flight", "--mission", str(bench.mission), "--storage", str(bench.folder / "store"))
    standing = subprocess.run(
        [sys.executable, "-c", STANDING, *arguments], cwd=ROOT, text=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, timeout=120, check=False,
    )  # fmt: skip
    assert standing.returncode == 70, standing.stderr
    assert "watchdog: no turn for 2 s in task standing, at <string>:" in standing.stderr
    bench.write()
    flight = bench.flight()
    try:
        dictionary = dictionary_of(load(bench.mission))
        boot = next(e for e in dictionary.events if e.name == "boot")

        def causes(got: list[PusTm]) -> list[str]:
            events = [p.data for p in got if p.service == 5 and int.from_bytes(p.data[:2], "big") == boot.number]
            return [str(boot.layout.decode(data[2:])[1]) for data in events]

        words = "watchdog: no turn for 2 s in task standing, at <string>:"
        bench.talk(None, lambda got: any(cause.startswith(words) for cause in causes(got)))
        assert end(flight)[0] == 0
    finally:
        for process in (sim, flight):
            process.kill()
            process.wait()
