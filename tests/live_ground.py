"""A ground process and the little node at the other end of its UDP ports, in real time."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from ground.server.api_token import read_token
from tests.ground_node import LittleNode
from tests.link_ends import unit_of
from tests.ports import free_port
from tests.waiting import GIVE_UP_S

ROOT = Path(__file__).parents[1]
GROUND = """
import asyncio, sys
from pathlib import Path
from ground.telemetry.archive import Archive
from ground.config import GroundConfig
from ground.files.transfer_folder import TransferFolder
from ground.link.mission_link import UdpLink
from ground.products.product_store import ProductStore
from ground.server.ground_server import GroundServer, epoch_tai_ns
from ground.link.tm_tc_session import GroundSession
from ground.station import GroundStation
from flight.core.errors import OrbitnodeError
from flight.link.tm_tc_stack import LinkConfig
from tests.ground_dictionary import make
folder, tm, tc, api, timeout_s = Path(sys.argv[1]), *map(int, sys.argv[2:5]), float(sys.argv[5])
config = GroundConfig(api_port=api, command_timeout_s=timeout_s)
try:
    with Archive(folder / "archive.db") as archive:
        session = GroundSession(LinkConfig(coding="frame", recoveries=1000))
        station = GroundStation(make(), session, epoch_tai_ns=epoch_tai_ns(),
                                archive=archive.enter(make()),
                                products=ProductStore(folder / "products"),
                                transfers=TransferFolder(folder / "transfers"), command_timeout_s=timeout_s,
                                silence_s=60.0)
        asyncio.run(GroundServer(station, archive, config, UdpLink("127.0.0.1", tm, "127.0.0.1", tc)).run())
except OrbitnodeError as error:
    sys.exit(f"orbitnode: error: {error}")
"""


def hello(port: int) -> bytes:
    """Return the first line of a connection to the ground on that port."""
    return json.dumps({"do": "hello", "token": read_token(port)}).encode() + b"\n"


class Ground:
    """A ground in a process of its own. It writes its status line every `status_s`."""

    def __init__(self, folder: Path, command_timeout_s: float = 120.0, status_s: float = 10.0) -> None:
        self.folder = folder
        self.command_timeout_s = command_timeout_s
        self.status_s = status_s
        self.tm, self.tc, self.api = free_port(), free_port(), free_port(socket.SOCK_STREAM)
        self.process = self.start()
        assert self.process.stderr is not None
        self.welcome = self.process.stderr.readline().decode()

    def start(self) -> subprocess.Popen[bytes]:
        """Start another process on the same folder and ports."""
        numbers = [str(n) for n in (self.tm, self.tc, self.api, self.command_timeout_s)]
        code = f"from ground.server import ground_server\nground_server.QUIET_STATUS_S = {self.status_s}\n{GROUND}"
        return subprocess.Popen(
            [sys.executable, "-c", code, str(self.folder), *numbers], stderr=subprocess.PIPE, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def connect(self) -> tuple[socket.socket, TextIO]:
        """Connect to its API and show the token; return the connection, and its answers as a stream."""
        connection = socket.create_connection(("127.0.0.1", self.api), GIVE_UP_S)
        connection.sendall(hello(self.api))
        answers = connection.makefile()
        assert json.loads(answers.readline()) == {"done": True}
        return connection, answers

    def stop(self) -> int:
        """End it in order and return its exit status."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=GIVE_UP_S)
        return self.process.returncode

    def kill(self) -> None:
        """Kill it if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Wall:
    """Real time for the little node. The thread below sends its frames, so there are no calls at a time."""

    def now_ns(self) -> int:
        """Return the time of the monotonic clock, ns."""
        return time.monotonic_ns()

    def call_at(self, t_ns: int, call: object) -> None:
        """Do nothing."""


class UdpNode(threading.Thread):
    """The little node at the other end of the two UDP ports: a frame every 10 ms while it is heard.

    A test that touches the node while it runs must do so through `after`, in the thread of the node.
    """

    def __init__(self, ground: Ground, *, heard: bool = True) -> None:
        super().__init__(daemon=True)
        self.node = LittleNode(Wall(), [(0.0, 1e12)] if heard else [])
        self.halt = threading.Event()
        self._calls: deque[tuple[float, Callable[[], None]]] = deque()
        self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._in.bind(("127.0.0.1", ground.tc))
        self._in.settimeout(0.01)
        self._to = ("127.0.0.1", ground.tm)

    def after(self, s: float, call: Callable[[], None]) -> None:
        """Make the call in the node's thread after `s` seconds. Calls must be given in the order of their times."""
        self._calls.append((time.monotonic() + s, call))

    def run(self) -> None:
        """Receive and send until `halt` is set."""
        while not self.halt.is_set():
            while self._calls and self._calls[0][0] <= time.monotonic():
                self._calls.popleft()[1]()
            try:
                self.node._uplink(self._in.recv(4096))  # noqa: SLF001 - what came by the socket, as by the air
            except TimeoutError:
                pass
            self.node.look()
            if self.node.heard:
                self._out.sendto(unit_of(self.node.link), self._to)
        self._in.close()
        self._out.close()

    def end(self) -> None:
        """Stop the node and wait for its thread."""
        self.halt.set()
        self.join()
