"""A ground that is killed, or had the wrong dictionary, and the one after it on the same archive: real processes."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flight.contract.dictionary import Dictionary
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.link import Role
from flight.link.pus import PusTm, RequestId
from flight.link.tm_tc_stack import FlightLink
from flight.mission import MISSIONS
from ground.cli.api.client import GroundClient
from ground.operator import COMPLETED, LOST
from ground.telemetry.archive_rows import CommandRow
from ground.telemetry.decoder import undecoded
from ground.telemetry.node_archive import NodeArchive
from tests.archives import entered, reading
from tests.ground_dictionary import make
from tests.link_ends import BARE, unit_of
from tests.live_ground import UdpNode, hello
from tests.ports import free_port
from tests.waiting import GIVE_UP_S, wait_until

ROOT = Path(__file__).parents[2]
T_NS = 2_152_000_000 * NS
# `orbitnode`, whose ground writes its status line more often: tests wait for it.
GROUND = """
import sys
from flight import cli
from ground.server import ground_server
ground_server.QUIET_STATUS_S = 0.5
sys.exit(cli.main())
"""


class RealGround:
    """`orbitnode ground`, started as often as is asked for, with its mission and archive in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tm, self.tc, self.api = free_port(), free_port(), free_port(socket.SOCK_STREAM)
        self.mission = folder / "mission.toml"
        self.mission.write_text(
            f'extends = "{(MISSIONS / "bench.toml").as_posix()}"\napp = []\n'
            f'[[link]]\nname = "udp"\ndriver = "udp:127.0.0.1:{self.tm}:{self.tc}"\ncoding = "frame"\n'
            'uplink_security = "clear"\n'  # as the little node flies
            f"[ground]\napi_port = {self.api}\ncommand_timeout_s = 1000.0\n"
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.said = folder / "said"

    def start(self, dictionary: Dictionary | None = None) -> None:
        document = self.folder / "dictionary.json"
        document.write_text(json.dumps((dictionary or make()).document()))
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", GROUND, "ground", "--mission", self.mission, "--dictionary", document,
                 "--folder", self.folder / "ground"],
                stdout=said, stderr=said, cwd=ROOT,
            )  # fmt: skip
        wait_until(self.answers, lambda: f"an answer of the ground: {self.said.read_text()}")

    def answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.said.read_text()
        try:
            self.status()
        except OrbitnodeError:
            return False
        return True

    def status(self) -> dict[str, Any]:
        with GroundClient(self.api) as client:
            return client.ask(do="status")

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(GIVE_UP_S)

    @property
    def archive(self) -> Path:
        return self.folder / "ground" / "archive.db"


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[RealGround]:
    made = RealGround(tmp_path)
    yield made
    made.end()


@pytest.fixture
def node(ground: RealGround) -> Iterator[UdpNode]:
    made = UdpNode(ground)  # type: ignore[arg-type] # it asks for the two ports alone
    made.start()
    yield made
    made.end()


POWER = make().structures[0].layout  # made once: a dictionary takes longer than the packet


def power(number: int) -> bytes:
    """A report of its own for each number, its charge says which."""
    data = POWER.encode([number / 1024, 8.1, 1, -250])
    return PusTm(1, number % 16384, 3, 25, b"\x00\x01" + data, T_NS + number * NS).encode()


class Playback(threading.Thread):
    """Plays the same packets back again and again, whoever listens."""

    def __init__(self, ground: RealGround, packets: list[bytes]) -> None:
        super().__init__(daemon=True)
        self.halt = threading.Event()
        self.rounds = 0
        self._packets = packets
        self._to = ("127.0.0.1", ground.tm)

    def run(self) -> None:
        link = FlightLink(BARE)
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as out:
            while not self.halt.is_set():
                for packet in self._packets:
                    while not link.queue(Role.PLAYBACK, packet) and not self.halt.is_set():
                        out.sendto(unit_of(link), self._to)
                        time.sleep(0.001)
                self.rounds += 1


def charges(archive: NodeArchive) -> Counter[float]:
    """How often each number of `power` is among the samples."""
    return Counter(round(value * 1024) for _, value in archive.series("power.soc") if isinstance(value, float))


@pytest.mark.campaign
def test_a_ground_that_is_killed_again_and_again_archives_nothing_twice(ground: RealGround) -> None:
    packets = [power(number) for number in range(2000)]
    playback = Playback(ground, packets)
    playback.start()
    chance = random.Random(7)
    try:
        for _ in range(5):
            ground.start()
            time.sleep(chance.uniform(0.0, 1.5))
            ground.end()
            with entered(ground.archive, make()) as archive:
                rows, samples = archive.packets(), charges(archive)
                octets = Counter(row[3] for row in rows)
                assert set(octets.values()) <= {1}, "a packet is archived twice"
                assert len(rows) == sum(samples.values()), "a packet is there without its samples, or they without it"
                newest = archive.latest().get("power.soc")
                assert newest is None or newest.time_ns == max(time_ns for _, time_ns, _, _ in rows if time_ns)
        ground.start()
        last = playback.rounds
        wait_until(lambda: playback.rounds >= last + 3, "the packets come thrice more")
    finally:
        playback.halt.set()
        playback.join()
    ground.end(signal.SIGINT)
    with reading(ground.archive) as archive:
        assert set(charges(archive).values()) == {1}
        assert set(Counter(row[3] for row in archive.packets()).values()) == {1}
    assert ground.process is not None and ground.process.returncode == 0


def give(ground: RealGround, name: str, arguments: dict[str, object]) -> None:
    """Give a command, and do not wait for its outcome."""
    request = {"do": "command", "name": name, "arguments": arguments}
    with closing(socket.create_connection(("127.0.0.1", ground.api))) as client:
        client.sendall(hello(ground.api) + json.dumps(request).encode() + b"\n")
        with client.makefile() as answers:
            assert json.loads(answers.readline()) == {"done": True}
            assert json.loads(answers.readline())["stage"] == "sent"


def rows(ground: RealGround) -> list[CommandRow]:
    with reading(ground.archive) as archive:
        return archive.commands()


@pytest.mark.campaign
def test_commands_of_a_killed_ground_are_settled_and_a_late_report_still_tells(
    ground: RealGround, node: UdpNode
) -> None:
    node.node.mute |= {"say", "ping"}
    ground.start()
    wait_until(lambda: ground.status()["contact"], "contact")
    give(ground, "say", {"text": "a"})
    give(ground, "ping", {})
    wait_until(lambda: any(s[0] == "acknowledged" for row in rows(ground) for s in row.stages), "an arrival")
    ground.end()
    before = rows(ground)
    assert [(row.name, row.outcome) for row in before] == [("say", ""), ("ping", "")]
    ground.start()
    wait_until(lambda: all(row.outcome for row in rows(ground)), "outcomes")
    settled = rows(ground)
    assert [(row.outcome, row.reason.partition(":")[0]) for row in settled] == [(LOST, "unknown")] * 2
    assert [row.stages[: len(old.stages)] for row, old in zip(settled, before, strict=True)] == [
        old.stages for old in before
    ]
    with reading(ground.archive) as archive:
        requests = [RequestId(one.apid, one.seq).encode() for one in archive.open_rows.commands(10, 0)]
    node.after(0.0, lambda: node.node.tm(1, 1, 7, requests[1]))
    wait_until(lambda: rows(ground)[1].outcome == COMPLETED, "the outcome that a late report tells")
    assert rows(ground)[0].outcome == LOST
    ground.end()
    ground.start()
    assert [row.outcome for row in rows(ground)] == [LOST, COMPLETED]
    assert next(row.stages for row in rows(ground)) == settled[0].stages, "it is settled once"


def of_another_version() -> Dictionary:
    """A dictionary in which the structure `power` is one octet shorter, and an event of ours does not exist."""
    made = make()
    shorter = tuple(replace(s, fields=s.fields[:-1]) if s.name == "power" else s for s in made.structures)
    return replace(made, structures=shorter, events=tuple(e for e in made.events if e.name != "battery_low"))


def battery_low(number: int) -> bytes:
    return PusTm(1, number, 5, 4, b"\x00\x03\x3e\x80\x00\x00", T_NS + number * NS).encode()


BAD_TEXT = PusTm(1, 9000, 5, 1, b"\x00\x01\x00\x02\xff\xfe", T_NS).encode()  # an event whose name is not UTF-8


def test_packets_that_do_not_fit_the_dictionary_are_kept_told_and_decoded_later(ground: RealGround) -> None:
    playback = Playback(ground, [*map(power, range(30)), *map(battery_low, range(100, 105)), BAD_TEXT])
    ground.start(of_another_version())
    playback.start()
    try:
        wait_until(lambda: ground.status()["undecoded"] == 36, lambda: f"36 packets undecoded: {ground.status()}")
        wait_until(lambda: playback.rounds >= 3, "three rounds")
        assert ground.status()["undecoded"] == 36, "and each once"
        wait_until(lambda: "| undecoded 36" in ground.said.read_text(), ground.said.read_text)
        shown = subprocess.run(
            [sys.executable, "-m", "flight.cli", "tm", "--port", str(ground.api)], cwd=ROOT, capture_output=True,
            text=True, check=False, timeout=GIVE_UP_S,
        )  # fmt: skip
        assert "36 packets wait undecoded: start the ground with the dictionary of the" in shown.stderr
        with GroundClient(ground.api) as client:
            told = [one["text"] for one in client.ask(do="events", limit=50)["events"]]
        assert any("not decoded, the last of them" in text for text in told)
    finally:
        playback.halt.set()
        playback.join()
    wait_until(lambda: sum(1 for _ in kinds(ground).elements()) >= 36, "all of them committed")
    ground.end()
    assert kinds(ground) == Counter({"undecoded": 31, "unknown": 5})
    ground.start()
    wait_until(lambda: ground.status()["undecoded"] == 1, lambda: f"one packet undecoded: {ground.status()}")
    with GroundClient(ground.api) as client:
        assert client.ask(do="latest", name="power.soc")["values"]["power.soc"]["value"] == 29 / 1024
        texts = [one["text"] for one in client.ask(do="events", limit=50)["events"]]
    assert texts.count("charge 25%") == 5
    ground.end(signal.SIGINT)
    assert kinds(ground) == Counter({"housekeeping": 30, "event": 5, "undecoded": 1})
    with reading(ground.archive) as archive:
        assert charges(archive) == Counter(range(30))
        assert archive.latest()["power.soc"].value == 29 / 1024
        assert sum(row.name == "battery_low" for row in archive.events()) == 5


def kinds(ground: RealGround) -> Counter[str]:
    with reading(ground.archive) as archive:
        return archive.open_rows.kinds()


@pytest.mark.campaign
def test_a_large_archive_is_decoded_late_once_whenever_the_ground_is_killed(ground: RealGround) -> None:
    count = 6000
    with entered(ground.archive, of_another_version()) as archive:
        for packet in map(power, range(count)):
            archive.add_packet(undecoded(packet), packet, 0, T_NS)
    chance = random.Random(3)
    for _ in range(4):
        ground.start()
        time.sleep(chance.uniform(0.0, 0.4))
        ground.end()
        found = kinds(ground)
        with reading(ground.archive) as archive:
            assert charges(archive) == Counter(range(found["housekeeping"])), "each that is decoded has its samples"
            assert found["housekeeping"] + found["undecoded"] == count
    ground.start()
    wait_until(lambda: ground.status()["undecoded"] == 0, lambda: f"none undecoded: {ground.status()}")
    ground.end(signal.SIGINT)
    with reading(ground.archive) as archive:
        assert charges(archive) == Counter(range(count))
        assert archive.latest()["power.soc"].value == (count - 1) / 1024


def test_transfers_of_a_ground_that_is_killed_again_and_again_go_on(ground: RealGround, node: UdpNode) -> None:
    """Files both ways; SIGKILL at any instant, also while the file that goes up is copied."""
    chance = random.Random(3)
    up, down = chance.randbytes(2_000_000), chance.randbytes(400_000)
    local = ground.folder / "local"
    local.write_bytes(up)
    ground.start()
    with GroundClient(ground.api) as client:
        client.ask(do="files_put", name="up", path=str(local), wait=False)
    local.unlink()  # the ground has a copy of its own

    def send() -> None:
        node.node.end.send("down", down, time.monotonic_ns())

    node.after(0.0, send)
    for _ in range(4):
        time.sleep(chance.uniform(0.0, 1.0))
        ground.end()
        ground.start()
    product = ground.folder / "ground" / "products" / "down"
    wait_until(lambda: node.node.files and product.exists(), "both files are there")
    assert node.node.files == [("up", up)] and product.read_bytes() == down

    def is_over() -> bool:
        with GroundClient(ground.api) as client:
            return all(row["ended"] for row in client.ask(do="files_progress")["transfers"])

    wait_until(is_over, "both ends have said so")
    ground.end(signal.SIGINT)
    assert [path.name for path in (ground.folder / "ground" / "transfers").iterdir()] == ["ended.record"]
    assert sorted(path.name for path in product.parent.iterdir()) == ["down"]
    with reading(ground.archive) as archive:
        assert {row.name for row in archive.products()} == {"down"}
    assert "Traceback" not in ground.said.read_text()
