"""A hundred thousand forged telecommand frames a second at the port of a real node, and valid commands among them.

`flood-all-*` mixes frames with a wrong error control, of another spacecraft, of an unknown association, replayed, and
with everything right but the MAC; `flood-mac-*` has only the last kind, which costs most to refuse. Board, node and
ground are processes; the flood comes from a C program. Meanwhile the ground sends pings over AD, one after the other.
The node reports its own tasks before and after: ticks of the control tasks that were late or skipped count, beside
those of as long a time without a flood.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from flight.core.errors import OrbitnodeError, SetupError
from flight.mission import MISSIONS, Mission, load
from ground.cli.api.client import GroundClient
from ground.cli.tasks import ask
from ground.config import GroundConfig
from sim_hw.bench.bench_command import BenchError, Row, Survey, at_least, at_most, compiled, shown
from tests.bench.forged_frames import Forger
from tests.bench.node_keys import BenchKeys
from tests.bench.processes import process
from tests.ports import HOST, free_port

HERE = Path(__file__).resolve().parent
RATE, FLOOD_S, BRIEF_FLOOD_S = 100_000.0, 20.0, 6.0
DATAGRAMS = 5_000  # different ones, sent in turn
GAP_S = 0.1  # between two commands
READY_S = 60.0
CONTROL = ("power", "thermal", "watchdog")
STRUCTURE = "13"  # "security" of flight/services/radio/security.py
SECURED = ("spi", "replay", "mac")
MIXED = ("crc", "spacecraft", "spi", "replay", "mac")

# Power and temperature at 10 Hz. A flying node asks for real-time priority; if this machine refuses it, it goes on.
MISSION = """
extends = "{base}"
app = []
[node]
name = "flood"
[executive]
fifo_priority = 10
[power]
sample_period_s = 0.1
[thermal]
sample_period_s = 0.1
[[link]]
name = "udp"
driver = "udp:{host}:{down}:{up}"
coding = "frame"
rate_bps = 10_000_000
uplink_rate_bps = 10_000_000
uplink_security = "authenticated"
idle_s = 0.1
[drivers]
eps = "serial:{board}"
board_thermometer = "serial:{board}:board"
radiator_thermometer = "serial:{board}:radiator"
heater = "serial:{board}:heater"
governor = "serial:{board}"
[ground]
api_port = {api}
folder = "{ground}"
"""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What happened in a stretch of time: `control` are late and skipped ticks of the control tasks."""

    sent: int
    rate: float
    dropped: int
    control: int
    late: int
    commands: int
    completed: int
    command_s: float
    cpu_frac: float
    worst_step_us: int


class Bench:
    """Board, node and ground as processes, their files in `folder`. Raises SetupError if they do not come up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.up = free_port(socket.SOCK_DGRAM)
        self.api_port = free_port(socket.SOCK_STREAM)
        self.mission_path = folder / "mission.toml"
        self.mission_path.write_text(
            MISSION.format(
                base=(MISSIONS / "bench.toml").as_posix(), host=HOST, down=free_port(socket.SOCK_DGRAM), up=self.up,
                board=folder / "board", api=self.api_port, ground=folder / "ground",
            ),
            encoding="utf-8",
        )  # fmt: skip
        self.mission: Mission = load(self.mission_path, extra={"ground": GroundConfig})
        self.keys = BenchKeys(self.mission, folder / "flood.keys")
        self.program = compiled(HERE / "flood.c", folder)
        self.forger = Forger(self.mission, self.keys.ring())

    def process(self, *words: str | Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return process(f"orbitnode {words[0]}", self.folder / f"{words[0]}.log", *words)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run all three, and yield the node once a command has been completed."""
        files = ("--mission", self.mission_path, "--keys", self.keys.path)
        with self.process("sim", "--link", self.folder / "board"):
            _wait((self.folder / "board").exists, "the emulated board")
            with (
                self.process("flight", *files, "--storage", self.folder / "store") as node,
                self.process("ground", *files) as ground,
            ):
                try:
                    _wait(lambda: self.ping() is not None or bool(node.poll()) or bool(ground.poll()), "the ground")
                    if node.poll() is not None or ground.poll() is not None:
                        raise SetupError("node or ground has ended")
                except SetupError as error:
                    logs = "; ".join(path.read_text(errors="replace")[-300:] for path in self.folder.glob("*.log"))
                    raise SetupError(f"{error}: {logs}") from None
                yield node

    def ping(self) -> float | None:
        """Return the seconds until a ping was completed, None if it was not."""
        begin_s = time.perf_counter()
        with suppress(OrbitnodeError), GroundClient(self.api_port) as client:
            if client.ask(do="command", name="ping", texts=[]).get("outcome") == "completed":
                return time.perf_counter() - begin_s
        return None

    def tasks(self) -> dict[str, dict[str, Any]]:
        with GroundClient(self.api_port) as client:
            return {str(task["task"]): task for task in ask(client, 10.0)}

    def refused(self) -> dict[str, int]:
        """Return how many frames the node's link security has refused since boot, by kind."""
        with GroundClient(self.api_port) as client:
            client.ask(do="command", name="report_hk", texts=[STRUCTURE])
            values = client.ask(do="latest", name="security")["values"]
        return {kind: int(values[f"security.refused_{kind}"]["value"]) for kind in SECURED}

    def dropped(self) -> int:
        """Return how many datagrams the kernel had no room for at the node's port."""
        for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]:
            words = line.split()
            if int(words[1].rpartition(":")[2], 16) == self.up:
                return int(words[-1])
        raise BenchError("the node does not listen")

    def stretch(self, seconds: float, node: subprocess.Popen[bytes], kinds: tuple[str, ...] = ()) -> Stretch:
        """Send pings for so long, under a flood of these kinds."""
        refused = self.refused()
        before, dropped, cpu_s, begin_s = self.tasks(), self.dropped(), _cpu_s(node.pid), time.monotonic()
        flood = None
        if kinds:
            path = self.folder / "datagrams"
            self.forger.write(path, kinds, DATAGRAMS)
            words = (self.program, str(self.up), str(RATE), str(seconds), path)
            begin_s = time.monotonic()
            flood = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True)
            with suppress(OSError):  # so that it gets its rate on a machine that does more; the node goes before it
                os.sched_setscheduler(flood.pid, os.SCHED_FIFO, os.sched_param(5))
        took_s: list[float | None] = []
        while time.monotonic() < begin_s + seconds:
            took_s.append(self.ping())
            time.sleep(GAP_S)
        cpu_s, length_s = _cpu_s(node.pid) - cpu_s, time.monotonic() - begin_s
        sent, flood_s = (0, seconds) if flood is None else _sent(flood)
        dropped = self.dropped() - dropped
        after = self.tasks()
        now = self.refused()
        for kind in SECURED:
            taken_in = (sent - dropped) * kinds.count(kind) / max(1, len(kinds))
            if now[kind] - refused[kind] < 0.98 * taken_in - 1:
                raise BenchError(f"not all frames of kind {kind} were refused for that")

        def ticks(names: Sequence[str], *fields: str) -> int:
            return sum(after[name][field] - before[name][field] for name in names for field in fields)

        done_s = [each_s for each_s in took_s if each_s is not None]
        return Stretch(
            sent=sent, rate=sent / flood_s, dropped=dropped, control=ticks(CONTROL, "late", "skipped"),
            late=ticks([name for name in after if name in before], "late", "skipped"), commands=len(took_s),
            completed=len(done_s), command_s=median(done_s) if done_s else float("inf"), cpu_frac=cpu_s / length_s,
            worst_step_us=after["radio.udp"]["worst_step_us"],
        )  # fmt: skip


def _wait(ready: Any, what: str) -> None:
    limit_s = time.monotonic() + READY_S
    while not ready():
        if time.monotonic() > limit_s:
            raise SetupError(f"{what} does not come up")
        time.sleep(0.1)


def _cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _sent(flood: subprocess.Popen[str]) -> tuple[int, float]:
    said, _ = flood.communicate(timeout=READY_S)
    if flood.returncode != 0:
        raise BenchError(f"the flood ended with {flood.returncode}")
    sent, seconds = said.split()
    return int(sent), float(seconds)


def rows(name: str, quiet: Stretch, flooded: Stretch) -> list[Row]:
    passed = 100.0 * (1.0 - flooded.dropped / flooded.sent)
    what = f"{passed:.1f} % taken in, node at {100.0 * flooded.cpu_frac:.0f} % of a core"
    return [
        at_least(f"flood-{name}-rate", flooded.rate, RATE, "asked for", "frames/s", 0.98, note=what),
        at_most(f"flood-{name}-control", flooded.control, quiet.control, "without flood", "ticks late", 1.0,
                ratio=1.0 if flooded.control <= quiet.control else 0.0,
                note=f"{', '.join(CONTROL)} late or skipped; all tasks {flooded.late}"),
        at_least(f"flood-{name}-commands", flooded.completed, flooded.commands, "sent", "commands", 1.0),
        shown(at_most(f"flood-{name}-latency", 1e3 * flooded.command_s, 1e3 * quiet.command_s, "without flood", "ms")),
        shown(at_most(f"flood-{name}-step", 1e-3 * flooded.worst_step_us, 1e-3 * quiet.worst_step_us,
                      "without flood", "ms",
                      note="longest step of the radio task since boot, with the time that others took from it")),
    ]  # fmt: skip


def flood(brief: bool) -> list[Row]:
    seconds = BRIEF_FLOOD_S if brief else FLOOD_S
    with TemporaryDirectory(prefix="orbitnode-") as folder:
        bench = Bench(Path(folder))
        with bench.running() as node:
            quiet = bench.stretch(seconds, node)
            out = rows("all", quiet, bench.stretch(seconds, node, MIXED))
            return out + rows("mac", quiet, bench.stretch(seconds, node, ("mac",)))


BENCHES = (Survey("flood", flood, long=True),)
