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
from typing import Protocol

import numpy as np
import pytest

from flight.platform import Platform
from flight.platform_linux import LinuxPlatform
from hal import registry
from hal.base import Eps, Governor, Heater, Imager, Radio, Thermometer
from sim_hw.emulate import Emulator, Wire
from sim_hw.world import World, WorldConfig

MS = 1_000_000


class Bench(Protocol):
    """A platform and the way to let time pass on it."""

    platform: Platform

    def until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Run the loop until `done()`; False where that took longer than `timeout_s` of the platform's time."""

    def reboot(self) -> None:
        """End the process as SIGKILL would and start again on the same storage: `platform` is a new one."""


@dataclass
class LinuxBench:
    folder: Path
    platform: LinuxPlatform

    def until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        end_ns = self.platform.now_ns() + round(timeout_s * 1e9)

        def look() -> None:
            if done() or self.platform.now_ns() > end_ns:
                self.platform.stop()
            else:
                self.platform.call_at(self.platform.now_ns() + 2 * MS, look)

        look()
        self.platform.run()
        return done()

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


PLATFORMS: dict[str, Callable[[Path], AbstractContextManager[Bench]]] = {"linux": linux}


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
        thread = threading.Thread(target=emulator.run)
        thread.start()
        try:
            yield emulator
        finally:
            emulator.stopping = True
            thread.join()


@contextmanager
def serial_board(folder: Path) -> Iterator[BoardBench]:
    with emulated(folder) as emulator, linux(folder) as bench:
        url, host = f"serial:{folder}/board", bench.platform
        yield BoardBench(
            bench,
            emulator.world,
            registry.open_eps(url, host),
            {name: registry.open_thermometer(f"{url}:{name}", host) for name in ("board", "radiator")},
            registry.open_heater(f"{url}:heater", host),
            registry.open_governor(url, host),
            lambda name: registry.open_thermometer(f"{url}:{name}", host),
        )


BOARDS: dict[str, Callable[[Path], AbstractContextManager[BoardBench]]] = {"serial": serial_board}


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
    """A ground station's two sockets, heard by a thread of its own."""

    def __init__(self, port: int, node_port: int) -> None:
        self.received: list[bytes] = []
        self._port, self._node_port = port, node_port
        self.come_back()

    def come_back(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", self._port))
        self._socket.settimeout(0.02)
        self._leaving = False
        self._thread = threading.Thread(target=self._hear)
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


def free_ports(count: int) -> list[int]:
    """UDP ports that nobody listens to at this moment."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def udp_radio(folder: Path) -> Iterator[RadioBench]:
    down, up = free_ports(2)
    rate_bps = 2_000_000
    far = UdpGround(down, up)
    with linux(folder) as bench:
        radio = registry.open_radio(f"udp:127.0.0.1:{down}:{up}", bench.platform, rate_bps)
        try:
            yield RadioBench(bench, radio, far, rate_bps)
        finally:
            far.leave()
            radio.close()  # type: ignore[attr-defined]


RADIOS: dict[str, Callable[[Path], AbstractContextManager[RadioBench]]] = {"udp": udp_radio}


@contextmanager
def replay_imager(folder: Path) -> Iterator[Imager]:
    tiles = folder / "tiles"
    tiles.mkdir()
    for i in range(3):
        refl = np.full((256, 256, 6), 1000 * (i + 1), np.uint16) + np.arange(6, dtype=np.uint16)
        np.savez_compressed(tiles / f"tile-{i}.npz", refl=refl)
    with linux(folder) as bench:
        yield registry.open_imager(f"replay:{tiles}", bench.platform)


IMAGERS: dict[str, Callable[[Path], AbstractContextManager[Imager]]] = {"replay": replay_imager}


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
