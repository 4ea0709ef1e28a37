"""From a command to its report of completion: a real node over loopback, by bare sockets and through the ground.

A durable command is measured in turns with what it cannot do without: a write and an fdatasync of the same medium.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from flight.core.errors import OrbitnodeError, SetupError
from ground.cli.api.client import GroundClient
from sim_hw.bench.bench_command import Row, Survey, at_most, quantile
from tests.bench.flight_node import FlightNode

GAP_S = 0.02  # between two commands, so that their frames do not load the link
RECORD_OCTETS = 200  # about what a durable command writes
DURABLE = ("set_parameters", ((1, 0.6),))  # the value that it has
_READY_S = 30.0


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds each. `disk_s`: a write and an fdatasync, each just before one of `durable_s`."""

    volatile_s: list[float]
    durable_s: list[float]
    disk_s: list[float]
    ground_s: list[float]

    @property
    def durable_limit_s(self) -> float:
        return 1.5 * median(self.disk_s) + median(self.volatile_s)


def latencies(folder: Path, count: int) -> Latencies:
    """Send `count` commands of each kind to a node with its files in `folder`. Raises SetupError if it does not run."""
    with FlightNode(folder) as node:
        volatile_s, durable_s, disk_s = [], [], []
        with (folder / "beside").open("wb", buffering=0) as beside:
            for _ in range(count):
                volatile_s.append(node.complete("ping"))
                node.listen(GAP_S)
                disk_s.append(_write(beside.fileno()))
                durable_s.append(node.complete(*DURABLE))
                node.listen(GAP_S)
        node.start_ground()
        return Latencies(volatile_s, durable_s, disk_s, _through_ground(node.api_port, count))


def _write(fileno: int) -> float:
    start_s = time.perf_counter()
    os.write(fileno, bytes(RECORD_OCTETS))
    os.fdatasync(fileno)
    return time.perf_counter() - start_s


def _through_ground(port: int, count: int) -> list[float]:
    limit_s = time.monotonic() + _READY_S
    while True:
        try:
            with GroundClient(port) as client:
                if client.ask(do="command", name="ping").get("outcome") == "completed":
                    return [_ping(client) for _ in range(count)]
        except OrbitnodeError:
            pass  # it is not there yet
        if time.monotonic() > limit_s:
            raise SetupError(f"no ground process on port {port} that reaches the node within {_READY_S:g} s")
        time.sleep(0.1)


def _ping(client: GroundClient) -> float:
    time.sleep(GAP_S)
    start_s = time.perf_counter()
    answer = client.ask(do="command", name="ping")
    if answer.get("outcome") != "completed":
        raise SetupError(f"ping through the ground: {answer}")
    return time.perf_counter() - start_s


def command_latency(brief: bool) -> Sequence[Row]:
    with TemporaryDirectory(prefix="orbitnode-") as folder:
        made = latencies(Path(folder), 60 if brief else 300)
    limit_s = made.durable_limit_s
    return (
        at_most("command-volatile-p50", 1e3 * median(made.volatile_s), 1.0, "limit", "ms"),
        at_most("command-volatile-p99", 1e3 * quantile(made.volatile_s, 0.99), 5.0, "limit", "ms"),
        at_most("command-durable-p50", 1e3 * median(made.durable_s), 1e3 * limit_s,
                "1.5 write + fdatasync + volatile", "ms"),
        at_most("command-ground-p50", 1e3 * median(made.ground_s), 20.0, "limit", "ms"),
    )  # fmt: skip


BENCHES = (Survey("command", command_latency),)
