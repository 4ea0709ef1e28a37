"""A node in real time for an hour on a busy machine: `python -m tests.soak.node` (`make soak`).

There are three processes, as on a bench: `orbitnode sim`, `orbitnode flight` and `orbitnode ground`, and beside them
processes that only compute. Once per minute the node is asked for its tasks, and every tick must be accounted for.
Meanwhile the board is replaced, the ground stops listening for a while, and the node gets no processor for a while.

The exit code is 0 if everything held, otherwise 1, with one line per fault.
"""

# The rule. On a busy machine ticks may be late and may be skipped, so neither is a fault. But none may be lost without
# a count: between two looks, a periodic task has delivered, or counted as skipped, as many ticks as there were periods.
# The looks are not instants: a report is made at some time between question and answer. So the number of periods is
# bounded from both sides by the times before and after each look, and UNDER_WAY allows for ticks that are due just then
# or that a late task still replays.
#
# Every look is compared with the first one, not with the one before: the bounds stay as narrow as in one minute, while
# a tick lost per minute adds up and is found.
#
# The other faults: a process that ends by itself, a task that fails, a second boot, and an exit code other than 0 when
# the processes are told to end.

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flight.core.errors import OrbitnodeError
from flight.mission import MISSIONS
from ground.cli.api.client import GroundClient
from ground.cli.tasks import ask
from tests.busy import busy
from tests.ports import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
TILES = ROOT.parent / "shared" / "imagery"
LOOK_S = 60.0
UP_S = 120.0
# Ticks that may be on their way at a look: one due just now, and those that a late task may still replay.
UNDER_WAY = 5


@dataclass(frozen=True, slots=True)
class Look:
    """The node's tasks as it reported them between two readings of this machine's clock."""

    before_s: float
    after_s: float
    tasks: dict[str, dict[str, Any]]


class Bench:
    """The three processes in a folder of their own, and what they wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api_port = free_port(socket.SOCK_STREAM)
        down, up = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
        board = folder / "board"
        imager = f'imager = "replay:{TILES}?loop=1"' if TILES.is_dir() else ""
        self.mission = folder / "mission.toml"
        self.mission.write_text(
            f'extends = "{(MISSIONS / "bench.toml").as_posix()}"\n[node]\nname = "soak"\n'
            f'[[link]]\nname = "udp"\ndriver = "udp:127.0.0.1:{down}:{up}"\ncoding = "frame"\nrate_bps = 2_000_000\n'
            f'uplink_rate_bps = 1_000_000\nidle_s = 0.1\ndownlink_security = "encrypted"\n'
            f'[drivers]\neps = "serial:{board}"\nboard_thermometer = "serial:{board}:board"\n'
            f'radiator_thermometer = "serial:{board}:radiator"\nheater = "serial:{board}:heater"\n'
            f'governor = "serial:{board}"\n{imager}\n'
            f'[ground]\napi_port = {self.api_port}\nfolder = "{folder / "ground"}"\n'
        )
        self.keys = folder / "soak.keys"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        new = ("keys", "new", "--mission", str(self.mission), "--keys", str(self.keys))
        subprocess.run([sys.executable, "-m", "flight.cli", *new], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)

    def start(self, name: str) -> None:
        arguments: dict[str, tuple[str, ...]] = {
            "sim": ("sim", "--link", str(self.folder / "board")),
            "flight": (
                "flight",
                "--mission",
                str(self.mission),
                "--storage",
                str(self.folder / "store"),
                "--keys",
                str(self.keys),
            ),
            "ground": ("ground", "--mission", str(self.mission), "--keys", str(self.keys)),
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "flight.cli", *arguments[name]], cwd=ROOT, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )  # fmt: skip

    def signal(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    def end(self, name: str) -> int:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(60.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return -signal.SIGKILL

    def look(self) -> Look:
        """Ask the node for its tasks. Raises OrbitnodeError while the node cannot be reached."""
        with GroundClient(self.api_port) as client:
            before_s = time.monotonic()
            tasks = ask(client, LOOK_S)
            return Look(before_s, time.monotonic(), {str(task["task"]): task for task in tasks})


def wait_for_look(bench: Bench) -> Look:
    give_up_s = time.monotonic() + UP_S
    while True:
        try:
            return bench.look()
        except OrbitnodeError as error:
            if time.monotonic() > give_up_s:
                raise OrbitnodeError(f"the node did not answer within {UP_S:g} s: {error}") from None
            time.sleep(0.5)


def unaccounted(first: Look, last: Look) -> Iterator[str]:
    """Yield the periodic tasks whose ticks, delivered and skipped, do not match the periods between two looks."""
    for name, task in last.tasks.items():
        before = first.tasks.get(name)
        if before is None or not task["period_ms"] or task["period_ms"] != before["period_ms"]:
            continue
        passed = sum(task[key] - before[key] for key in ("ticks", "skipped"))
        period_s = task["period_ms"] / 1000
        fewest = (last.before_s - first.after_s) / period_s - UNDER_WAY
        most = (last.after_s - first.before_s) / period_s + UNDER_WAY
        if not fewest <= passed <= most:
            yield f"{name}: {passed} ticks of {period_s:g} s, should be {fewest:.0f} to {most:.0f}"


def disturb(bench: Bench, minute: int) -> str:
    """Disturb the bench as planned for this minute; return what was done, or nothing."""
    match minute % 10:
        case 3:
            bench.processes["sim"].kill()
            bench.processes["sim"].wait()
            bench.start("sim")
            return "another board"
        case 6:
            bench.signal("ground", signal.SIGSTOP)
            time.sleep(20.0)
            bench.signal("ground", signal.SIGCONT)
            return "no ground for 20 s"
        case 8:
            bench.signal("flight", signal.SIGSTOP)
            time.sleep(4.0)
            bench.signal("flight", signal.SIGCONT)
            return "no processor for 4 s"
    return ""


def soak(bench: Bench, seconds: float) -> list[str]:
    faults: list[str] = []
    for name in ("sim", "flight", "ground"):
        bench.start(name)
        if name == "sim":
            wait_until((bench.folder / "board").exists, "the emulated board is there")
    first = wait_for_look(bench)
    end_s, minute = time.monotonic() + seconds, 0
    last = first
    while time.monotonic() < end_s and not faults:
        minute += 1
        done = disturb(bench, minute)
        time.sleep(max(0.0, min(end_s, last.after_s + LOOK_S) - time.monotonic()))
        last = wait_for_look(bench)
        faults += unaccounted(first, last)
        faults += [f"{name} ended: {p.poll()}" for name, p in bench.processes.items() if p.poll() is not None]
        faults += [
            f"task {n} failed {t['failures']} times"
            for n, t in last.tasks.items()
            if t["failures"] > first.tasks.get(n, t)["failures"]
        ]
        ticks, skipped, late = (sum(t[key] for t in last.tasks.values()) for key in ("ticks", "skipped", "late"))
        print(f"{minute:4} min: {ticks} ticks, {skipped} skipped, {late} late  {done}", flush=True)
    last_ones = sorted(last.tasks.values(), key=lambda task: -task["worst_latency_us"])[:5]
    for task in last_ones:
        print(f"  {task['task']}: longest wait {task['worst_latency_us'] / 1e6:.3f} s, "
              f"longest step {task['worst_step_us'] / 1e6:.3f} s, skipped {task['skipped']}")  # fmt: skip
    node = node_structure(bench)
    print(f"  boot {node.get('node.boot_count')}, {node.get('node.uptime_s')} s up")
    if node.get("node.boot_count") != 1:
        faults.append(f"the node booted {node.get('node.boot_count')} times")
    return faults


def node_structure(bench: Bench) -> dict[str, Any]:
    with GroundClient(bench.api_port) as client:
        values = client.ask(do="latest", name="node")["values"]
    return {name: value.get("value", value) for name, value in values.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="a node in real time on a busy machine")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--busy", type=int, default=4, help="processes that compute beside it (default %(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for logs, archive and storage (default: a temporary one)")
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="orbitnode-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        if args.keep is None:
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
        bench = Bench(folder.resolve())
        undo.enter_context(busy(args.busy))
        try:
            faults = soak(bench, args.seconds)
        except OrbitnodeError as error:
            faults = [str(error)]
        finally:
            codes = {name: bench.end(name) for name in list(bench.processes)}
        faults += [f"{name} ended with {code} when told to end" for name, code in codes.items() if code]
        tails = {name: (folder / f"{name}.log").read_text(errors="replace")[-2000:] for name in codes} if faults else {}
    for fault in faults:
        print(f"soak: {fault}", file=sys.stderr)
    for name, tail in tails.items():
        print(f"--- end of the log of {name}\n{tail}", file=sys.stderr)
    print(json.dumps({"seconds": args.seconds, "busy": args.busy, "faults": len(faults)}))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
