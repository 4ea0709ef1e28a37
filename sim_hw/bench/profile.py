"""`orbitnode bench profile`: what steps of the node's tasks cost on this machine, for virtual time. Edge code.

The node flies in this process as `orbitnode flight` would: LinuxPlatform, the emulated board (`orbitnode sim`) behind a
pseudo-terminal, and UDP on the loopback, with a ground station at the other end that sends one command per second.
There is no camera.
"""

# What is measured is the scheduler's own histogram of step lengths, the same that telemetry carries. So the profile
# says what a step costs this node with this storage and these drivers, not what a function costs in a loop.
#
# The ground station is served by the node's loop between steps. It shares the processor with the node but not the
# histogram: its cost is not the node's. A second process would be cleaner and would make a run depend on how two
# processes are scheduled.
#
# A node without traffic would have nothing to do, so the ground sends one command per second, of those that change
# nothing about how the node flies. Without a camera the payload is idle: inference runs in worker processes and is not
# part of a step anyway.

from __future__ import annotations

import platform as machine
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from flight.catalogue import dictionary_of
from flight.contract.dictionary import Dictionary
from flight.core.errors import OrbitnodeError, UsageError
from flight.core.log import node_log
from flight.core.nanoseconds import NS, ns
from flight.linux.platform import LinuxPlatform
from flight.mission import MISSIONS, Mission, load
from flight.node import Node, build
from flight.text.plain_text import plain
from ground.counters import PortCounters
from ground.link.kinds import open_session
from ground.server.telemetry_port import TelemetryPort
from ground.station import GroundStation
from ground.whole_file import whole_file
from sim_hw.config import SimConfig
from sim_hw.machine.cpu_profile import CpuProfile

DEFAULT_MISSION = MISSIONS / "orbit.toml"
SECONDS_MIN, SECONDS_MAX = 1.0, 86_400.0
_TIMER_NS = 100_000_000  # between two looks of the ground at its timers: COP-1's are of seconds
_COMMAND_NS = NS
# What is sent while measuring: nothing that changes how the node flies.
_COMMANDS = ("ping", "report_tasks", "list_jobs")
_BOARD_S = 20.0  # a Python process starts; on a busy machine that takes seconds


@contextmanager
def _board(mission: Path, link: Path) -> Iterator[None]:
    """Run `orbitnode sim` as a process of its own that serves `link`; raises OrbitnodeError if it does not come up."""
    command = [sys.executable, "-m", "flight.cli", "sim", "--mission", str(mission), "--link", str(link)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            end_s = time.monotonic() + _BOARD_S
            while not link.exists():
                if process.poll() is not None or time.monotonic() > end_s:
                    process.kill()
                    said = process.communicate()[1].strip().splitlines()
                    raise OrbitnodeError(
                        f"the emulated board did not come up: {said[-1] if said else 'no reason given'}"
                    )
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


class _Places:
    """The ground's sockets and a free port for the node, in use by this process alone.

    `receive` is called with what comes down.
    """

    def __init__(self) -> None:
        self.receive: Callable[[bytes], None] = lambda _: None
        self.down = TelemetryPort(("127.0.0.1", 0), self._take, PortCounters())
        self.up = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # The node's driver opens its port itself, so a free one is found and let go of again.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.node_port: int = probe.getsockname()[1]

    def _take(self, octets: bytes) -> None:
        self.receive(octets)

    def close(self) -> None:
        """Close the sockets."""
        self.down.close()
        self.up.close()


class _Ground:
    """A ground station on the loopback, without archive."""

    def __init__(self, mission: Mission, dictionary: Dictionary, places: _Places, host: LinuxPlatform) -> None:
        self.station = GroundStation(
            dictionary, open_session(mission.links[0].config), epoch_tai_ns=0, command_timeout_s=10.0
        )
        self._places, self._host = places, host
        self._names = [name for name in _COMMANDS if name in {c.name for c in dictionary.commands}]
        self._sent = 0
        self.station.count_port(places.down.counters)
        places.receive = self._receive
        host.watch(places.down.fileno(), places.down.on_ready)
        self._on_time()
        host.call_at(host.now_ns() + _COMMAND_NS, self._command)

    def _receive(self, octets: bytes) -> None:
        self._send(self.station.on_downlink(octets, self._host.now_ns()))

    def _on_time(self) -> None:
        self._places.down.look()
        self._send(self.station.on_time(self._host.now_ns()))
        self._host.call_at(self._host.now_ns() + _TIMER_NS, self._on_time)

    def _command(self) -> None:
        if self.station.in_contact and self.station.tracker.has_room:
            _, cltus = self.station.send(self._names[self._sent % len(self._names)], {}, self._host.now_ns())
            self._sent += 1
            self._send(cltus)
        self._host.call_at(self._host.now_ns() + _COMMAND_NS, self._command)

    def _send(self, cltus: list[bytes]) -> None:
        for cltu in cltus:
            self._places.up.sendto(cltu, ("127.0.0.1", self._places.node_port))


def measure(mission: Mission, seconds: float) -> tuple[CpuProfile, GroundStation]:
    """Fly `mission` for so many seconds; return the profile, and the ground as it then was.

    Raises OrbitnodeError or HalError.
    """
    with (
        tempfile.TemporaryDirectory(prefix="orbitnode-profile-") as folder,
        closing(_Places()) as places,
        _board(mission.path, Path(folder) / "board"),
    ):
        mission = _here(mission, Path(folder) / "board", places)
        platform = LinuxPlatform(Path(folder) / "storage", mission.node.name, seed=1)
        try:
            node = build(mission, platform, log=node_log(mission.node.name, platform.tai_ns, level="error"))
            try:
                ground = _Ground(mission, dictionary_of(mission), places, platform)
                platform.call_at(platform.now_ns() + ns(seconds), platform.stop)
                if platform.run() is not None:  # the signal that ended it
                    raise OrbitnodeError("interrupted: nothing was written")
                return _profile(node), ground.station
            finally:
                node.close()
        finally:
            platform.close()


def _here(mission: Mission, wire: Path, places: _Places) -> Mission:
    """Return the mission with its board and its link at places of this process alone."""
    first = mission.links[0]
    link = replace(
        first,
        driver=f"udp:127.0.0.1:{places.down.port}:{places.node_port}",
        config=replace(first.config, coding="frame"),  # a datagram is a frame: there is no marker to search for
    )
    board = f"serial:{wire}"
    drivers = replace(
        mission.drivers, eps=board, board_thermometer=f"{board}:board", radiator_thermometer=f"{board}:radiator",
        heater=f"{board}:heater", governor=board, imager="",
    )  # fmt: skip
    return replace(mission, links=(link,), drivers=drivers)


def _profile(node: Node) -> CpuProfile:
    here = f"{machine.machine()} {machine.system()}, Python {machine.python_version()}"
    return CpuProfile.from_reports(here, node.scheduler.report())


def run(mission_path: Path, out: Path, seconds: float) -> int:
    """Measure, write `out`, and say what was seen. Raises OrbitnodeError or HalError."""
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise UsageError(f"--seconds is {seconds:g}, should be {SECONDS_MIN:g} .. {SECONDS_MAX:g}")
    mission = load(mission_path, {"sim": SimConfig})
    print(plain(f"profile: {mission.node.name} flies for {seconds:g} s"), file=sys.stderr, flush=True)
    begun_s = time.monotonic()
    profile, station = measure(mission, seconds)
    with whole_file(out) as stream:
        stream.write(profile.encode())
    commands, dropped = station.tracker.counters, station.counters()["udp.dropped"]
    said = (
        f"profile: {sum(cost.steps for name, cost in profile.tasks.items() if name != '*'):,} steps of "
        f"{len(profile.tasks) - 1} tasks in {time.monotonic() - begun_s:.1f} s, {commands.completed} of "
        f"{commands.sent} commands completed, {station.session.counters.frames:,} frames"
        + (f" and {dropped:,} datagrams dropped by this machine" if dropped else "")
        + f"; written to {out}"
    )
    print(plain(said), file=sys.stderr)
    return 0
