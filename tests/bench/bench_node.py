"""The whole node: memory of its process on this machine, processor time of an orbit in virtual time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from flight.mission import MISSIONS, load
from sim_hw.bench.bench_command import Row, Survey, at_most, output_of, shown
from tests.bench.node_keys import BenchKeys
from tests.bench.processes import START_S, process
from tests.ports import free_port

HERE = Path(__file__).resolve().parent
RSS_LIMIT_MB = 60.0  # of it some 8 MB are the library that protects the link
FLIGHT_S, BRIEF_FLIGHT_S = 10.0, 3.0
ORBIT_S, ORBIT_LIMIT_S = 5700.0, 4.0
BRIEF_SHARE = 0.25

MISSION = """
extends = "{base}"
[node]
name = "bench"
[[link]]
name = "udp"
driver = "udp:127.0.0.1:{down}:{up}"
coding = "frame"
rate_bps = 2_000_000
uplink_rate_bps = 1_000_000
[drivers]
eps = "serial:{board}"
board_thermometer = "serial:{board}:board"
radiator_thermometer = "serial:{board}:radiator"
heater = "serial:{board}:heater"
governor = "serial:{board}"
imager = ""
"""


def wait_for(text: str, log: Path, running: subprocess.Popen[bytes]) -> None:
    give_up_s = time.monotonic() + START_S
    while text not in log.read_text(errors="replace") and running.poll() is None and time.monotonic() < give_up_s:
        time.sleep(0.05)


def resident_mb(pid: int) -> float:
    """VmRSS of one process, its children not counted; 1 MB is 10^6 octets."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024 / 1e6


def memory(brief: bool) -> list[Row]:
    """The node of the bench mission with the payload manager, on an emulated board; nobody on the ground."""
    with TemporaryDirectory() as made:
        folder = Path(made)
        board, mission = folder / "board", folder / "mission.toml"
        base = (MISSIONS / "bench.toml").as_posix()
        mission.write_text(MISSION.format(base=base, board=board, down=free_port(), up=free_port()), encoding="utf-8")
        sim_log, flight_log = folder / "sim.log", folder / "flight.log"
        with process("orbitnode sim", sim_log, "sim", "--link", board) as sim:
            wait_for("board at", sim_log, sim)
            keys = BenchKeys(load(mission), folder / "bench.keys")
            options = ("--mission", mission, "--storage", folder / "store", "--keys", keys.path)
            with process("orbitnode flight", flight_log, "flight", *options) as flight:
                wait_for("Ctrl-C ends it", flight_log, flight)
                time.sleep(BRIEF_FLIGHT_S if brief else FLIGHT_S)
                mb = resident_mb(flight.pid) if flight.poll() is None else 0.0
    return [at_most("node-rss", mb, RSS_LIMIT_MB, "limit", "MB", note="node with payload manager, worker apart")]


def orbit_s(duration_s: float, kind: str) -> float:
    return float(output_of((sys.executable, HERE / "orbit.py", str(duration_s), kind), 600.0))


def orbit(brief: bool) -> list[Row]:
    share = BRIEF_SHARE if brief else 1.0
    quiet, link = (median(orbit_s(share * ORBIT_S, kind) for _ in range(3)) for kind in ("quiet", "link"))
    what = f"{share * ORBIT_S / 60:g} min, 10 Hz control, no app, processor time"
    limit_s = share * ORBIT_LIMIT_S
    return [
        at_most("node-orbit", quiet, limit_s, "limit", "s", note=what),
        shown(at_most("node-orbit-link", link, limit_s, "limit", "s", note=f"{what}, link open in passes")),
    ]


BENCHES = (Survey("node-rss", memory, long=True), Survey("node-orbit", orbit, long=True))
