"""What each contract suite runs on: one row a driver. Add a row to a table below and every suite covers it.

A row is a context manager that is given a folder and gives a bench: the device (or platform) and what the suite
needs to see its far side. Everything waits through `bench.until`, so that virtual and real time look the same.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

import numpy as np
import pytest

from flight.core.nanoseconds import ns
from flight.core.platform import Platform
from flight.linux.platform import LinuxPlatform
from hal import registry
from hal import serial_board as serial_board_driver
from hal.base import Eps, Governor, HalError, Heater, Imager, Radio, Thermometer
from hal.kinds import EPS, GOVERNOR, HEATER, IMAGER, RADIO, THERMOMETER
from sim_hw.bench.emulate import Emulator, Wire
from sim_hw.machine.air import Air
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from sim_hw.machine.platform import SimPlatform
from sim_hw.machine.simulated_devices import SimImager
from sim_hw.world.channel import ChannelConfig
from sim_hw.world.orbit import Pass
from sim_hw.world.scenes import SyntheticClouds
from sim_hw.world.world import SVALBARD, World, WorldConfig
from tests.linux_loop import run_until
from tests.ports import free_port
from tests.waiting import GIVE_UP_S

MS = 1_000_000


class Bench(Protocol):
    """A platform and the way to let time pass on it."""

    @property
    def platform(self) -> Platform: ...

    def until(self, done: Callable[[], bool], timeout_s: float = GIVE_UP_S) -> bool:
        """Run the loop until `done()`. Returns False if that took longer than `timeout_s` of the platform's time."""

    def reboot(self) -> None:
        """End the process as SIGKILL would and start again on the same storage: `platform` is a new one."""


@dataclass
class LinuxBench:
    folder: Path
    platform: LinuxPlatform

    def until(self, done: Callable[[], bool], timeout_s: float = GIVE_UP_S) -> bool:
        return run_until(self.platform, done, timeout_s)

    def reboot(self) -> None:
        self.platform.close()
        self.platform = LinuxPlatform(self.folder, "contract", seed=1)


@contextmanager
def linux(folder: Path) -> Iterator[Bench]:
    bench = LinuxBench(folder / "store", LinuxPlatform(folder / "store", "contract", seed=1))
    try:
        yield bench
    finally:
        bench.platform.close()


@dataclass
class SimBench:
    """A simulated computer in virtual time."""

    platform: SimPlatform
    disk: Disk

    def until(self, done: Callable[[], bool], timeout_s: float = GIVE_UP_S) -> bool:
        loop = self.platform.loop
        end_ns = loop.now_ns() + ns(timeout_s)
        while not done() and loop.now_ns() < end_ns:
            loop.run_until(loop.now_ns() + MS // 10)
        return done()

    def reboot(self) -> None:
        self.disk.cut()
        self.platform = SimPlatform("contract", self.platform.loop, self.platform.world, self.disk, Random(1))


@contextmanager
def simulated(_folder: Path) -> Iterator[SimBench]:
    disk = Disk(Random(1))
    yield SimBench(SimPlatform("contract", VirtualLoop(), World(WorldConfig()), disk, Random(1)), disk)


PLATFORMS: dict[str, Callable[[Path], AbstractContextManager[Bench]]] = {"linux": linux, "sim": simulated}


@dataclass
class BoardBench:
    """Devices of one board and the world behind it, which the suite only looks at."""

    bench: Bench
    world: World
    eps: Eps
    thermometers: dict[str, Thermometer]
    heater: Heater
    governor: Governor
    open_thermometer: Callable[[str], Thermometer]


@contextmanager
def emulated(folder: Path, speed: float = 1.0) -> Iterator[Emulator]:
    """The real emulator on a real pseudo-terminal, in a thread."""
    with Wire(folder / "board") as wire:
        emulator = Emulator(wire, World(WorldConfig()), speed, start_s=60.0)
        thread = threading.Thread(target=emulator.run, daemon=True)
        thread.start()
        try:
            yield emulator
        finally:
            emulator.stopping = True
            thread.join()


def answers(eps: Eps) -> bool:
    try:
        eps.read()
    except HalError:
        return False
    return True


@contextmanager
def serial_board(folder: Path) -> Iterator[BoardBench]:
    with emulated(folder) as emulator, linux(folder) as bench, pytest.MonkeyPatch.context() as patch:
        # How old a reading may be, and how late an answer, is the driver's own suite's: this thread and the emulator's
        # share a machine that may be busy.
        patch.setattr(serial_board_driver, "STALE_NS", ns(GIVE_UP_S))
        patch.setattr(serial_board_driver, "ANSWER_NS", ns(GIVE_UP_S))
        url, host = f"serial:{folder}/board", bench.platform
        eps = registry.open_device(EPS, url, host)
        assert bench.until(lambda: answers(eps)), "the emulated board does not answer"
        yield BoardBench(
            bench,
            emulator.world,
            eps,
            {name: registry.open_device(THERMOMETER, f"{url}:{name}", host) for name in ("board", "radiator")},
            registry.open_device(HEATER, f"{url}:heater", host),
            registry.open_device(GOVERNOR, url, host),
            lambda name: registry.open_device(THERMOMETER, f"{url}:{name}", host),
        )


@contextmanager
def sim_board(folder: Path) -> Iterator[BoardBench]:
    with simulated(folder) as bench:
        host = bench.platform
        host.loop.run_until(60_000 * MS)
        yield BoardBench(
            bench,
            host.world,
            registry.open_device(EPS, "sim:eps", host),
            {name: registry.open_device(THERMOMETER, f"sim:{name}", host) for name in ("board", "radiator")},
            registry.open_device(HEATER, "sim:heater", host),
            registry.open_device(GOVERNOR, "sim:payload", host),
            lambda name: registry.open_device(THERMOMETER, f"sim:{name}", host),
        )


BOARDS: dict[str, Callable[[Path], AbstractContextManager[BoardBench]]] = {"serial": serial_board, "sim": sim_board}


class FarSide(Protocol):
    """The other end of a radio."""

    received: list[bytes]

    def send(self, octets: bytes) -> None: ...

    def leave(self) -> None:
        """Be gone: the carrier is lost."""

    def come_back(self) -> None: ...


@dataclass
class RadioBench:
    bench: Bench
    radio: Radio
    far: FarSide
    rate_bps: int


class UdpGround:
    """A ground station's socket, heard by a thread of its own until `leave`. Its port stays its own meanwhile."""

    def __init__(self, node_port: int) -> None:
        self.received: list[bytes] = []
        self.port, self._node_port = free_port(), node_port
        self.come_back()

    def come_back(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(("127.0.0.1", self.port))
        except OSError:
            self._socket.close()
            raise
        self._socket.settimeout(0.02)
        self._leaving = False
        self._thread = threading.Thread(target=self._hear, name="udp-ground", daemon=True)
        self._thread.start()

    def _hear(self) -> None:
        while not self._leaving:
            try:
                self.received.append(self._socket.recv(65536))
            except TimeoutError:
                continue

    def send(self, octets: bytes) -> None:
        self._socket.sendto(octets, ("127.0.0.1", self._node_port))

    def leave(self) -> None:
        if not self._leaving:
            self._leaving = True
            self._thread.join()
            self._socket.close()


@contextmanager
def udp_radio(folder: Path) -> Iterator[RadioBench]:
    up, rate_bps = free_port(), 2_000_000
    with linux(folder) as bench:
        far = UdpGround(up)
        try:
            radio = registry.open_device(RADIO, f"udp:127.0.0.1:{far.port}:{up}", bench.platform, rate_bps=rate_bps)
            try:
                yield RadioBench(bench, radio, far, rate_bps)
            finally:
                radio.close()  # type: ignore[attr-defined] # the guard passes it on to the driver, which has one
        finally:
            far.leave()


class SimGround:
    """A station on the simulated air, overhead for as long as the suite wants."""

    def __init__(self, air: Air, loop: VirtualLoop) -> None:
        self.received: list[bytes] = []
        self._air, self._loop = air, loop
        air.on_downlink = self.received.append
        self._pass: Pass | None = None
        self.come_back()

    def come_back(self) -> None:
        now_ns = self._loop.now_ns()
        self._pass = Pass(SVALBARD, now_ns, now_ns, now_ns, 90.0)
        self._air.rise(self._pass)

    def send(self, octets: bytes) -> None:
        assert self._air.uplink(octets)

    def leave(self) -> None:
        if self._pass is not None:
            self._air.set(self._pass)
            self._pass = None


@contextmanager
def sim_radio(folder: Path) -> Iterator[RadioBench]:
    with simulated(folder) as bench:
        loop, rate_bps = bench.platform.loop, 2_000_000
        channel = ChannelConfig(rate_bps, 0.0, 0.01, 4096)
        air = Air(loop, bench.platform.world, channel, channel, Random(1))
        bench.platform.radios["s-band"] = air.modem
        far = SimGround(air, loop)
        radio = registry.open_device(RADIO, "sim:s-band", bench.platform, rate_bps=rate_bps)
        assert bench.until(radio.carrier, 1.0)
        yield RadioBench(bench, radio, far, rate_bps)


RADIOS: dict[str, Callable[[Path], AbstractContextManager[RadioBench]]] = {"udp": udp_radio, "sim": sim_radio}


@contextmanager
def replay_imager(folder: Path) -> Iterator[Imager]:
    tiles = folder / "tiles"
    tiles.mkdir()
    for i in range(3):
        refl = np.full((256, 256, 6), 1000 * (i + 1), np.uint16) + np.arange(6, dtype=np.uint16)
        np.savez_compressed(tiles / f"tile-{i}.npz", refl=refl)
    with linux(folder) as bench:
        yield registry.open_device(IMAGER, f"replay:{tiles}", bench.platform)


@contextmanager
def sim_imager(folder: Path) -> Iterator[Imager]:
    with simulated(folder) as bench:
        ground = np.random.default_rng(5).integers(133, 4933, (4, 300, 300))
        bench.platform.imager = SimImager(SyntheticClouds(ground, 1), bench.platform.world)
        yield registry.open_device(IMAGER, "sim:camera", bench.platform)


IMAGERS: dict[str, Callable[[Path], AbstractContextManager[Imager]]] = {"replay": replay_imager, "sim": sim_imager}


@pytest.fixture(params=sorted(PLATFORMS))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with PLATFORMS[request.param](tmp_path) as made:
        yield made


@pytest.fixture(params=sorted(BOARDS))
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BoardBench]:
    with BOARDS[request.param](tmp_path) as made:
        yield made


@pytest.fixture(params=sorted(RADIOS))
def radio(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RadioBench]:
    with RADIOS[request.param](tmp_path) as made:
        yield made


@pytest.fixture(params=sorted(IMAGERS))
def imager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Imager]:
    with IMAGERS[request.param](tmp_path) as made:
        yield made
