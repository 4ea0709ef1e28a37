"""Files on a whole node: the share of a full downlink that is file data, and what a file of 500 MB costs the node."""

from __future__ import annotations

import json
import sys
import time
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from flight.core.nanoseconds import NS
from flight.link.cfdp.checksums import CRC32
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.mission import MISSIONS, load
from sim_hw.bench.bench_command import BenchError, Row, Survey, at_least, at_most, output_of, shown
from tests.bench.flight_node import FlightNode
from tests.bench.pass_share import SaturatedPass
from tests.bench.stored_file import blocks
from tests.peers.our_end import OurEnd

HERE = Path(__file__).resolve().parent
SHARE_LIMIT = 0.97
PASS_S, BRIEF_PASS_S = 300.0, 90.0

FILE_OCTETS, BRIEF_FILE_OCTETS = 500_000_000, 20_000_000
MEMORY_LIMIT_MB, STEP_LIMIT_MS = 20.0, 2.0
RATE_BPS = 200_000_000  # faster than the node: what holds it up is its own work
IDLE_S = 5.0
GIVE_UP_S = 1800.0
MORE = """
[files.products]
quota_octets = 1_073_741_824
"""


def share(brief: bool) -> list[Row]:
    """A pass on the link of the orbit mission, with more files than it can carry."""
    with TemporaryDirectory() as made:
        path = Path(made) / "mission.toml"
        path.write_text(f'extends = "{(MISSIONS / "orbit.toml").as_posix()}"\napp = []\n', encoding="utf-8")
        mission = load(path)
    seen = SaturatedPass(mission).run(BRIEF_PASS_S if brief else PASS_S)
    frac = round(seen.frac, 4)
    note = f"{sum(seen.frames.values()):,} frames, housekeeping included"
    return [at_least("files-downlink-share", frac, SHARE_LIMIT, "limit", "of frames", 1.0, note=note)]


class _Receiver:
    """The ground: an entity over plain files, and the node's frames as they come."""

    def __init__(self, node: FlightNode, folder: Path) -> None:
        self._node = node
        self.end = OurEnd(folder, EntityConfig(entity=1, checksum_type=CRC32, nak_s=2.0, ack_s=2.0))
        self._zero_ns = time.monotonic_ns()
        node.on_file_part = self._take
        self.peak_mb = 0.0

    @property
    def now_ns(self) -> int:
        return time.monotonic_ns() - self._zero_ns

    def _take(self, packet: bytes) -> None:
        self.end.give(packet[6:], self.now_ns)

    def run(self) -> None:
        """Receive until the file is there and its sender knows it."""
        while not self.end.finished:
            self._node.packets.clear()
            self._node.listen(0.5, frames_max=2000)
            self.end.on_time(self.now_ns)
            while (pdu := self.end.take(self.now_ns)) is not None:
                self._node.send_pdu(pdu)
            self.peak_mb = max(self.peak_mb, self._node.resident_mb())
            if not self._node.alive or self.now_ns > GIVE_UP_S * NS:
                raise BenchError(f"the file did not come down: {self.end.entity.transactions()}")


def node_file(brief: bool) -> list[Row]:
    """A file of 500 MB from a real node's storage to a ground of sockets, as fast as the node can."""
    octets = BRIEF_FILE_OCTETS if brief else FILE_OCTETS
    with TemporaryDirectory(prefix="orbitnode-files-") as made:
        folder, ground = Path(made), Path(made) / "received"
        ground.mkdir()
        with FlightNode(folder, MORE, RATE_BPS) as node:
            node.listen(IDLE_S)
            idle_mb = node.resident_mb()
        (folder / "2").mkdir()
        second = FlightNode(folder / "2", MORE, RATE_BPS, thread_timed=True)
        storage = folder / "2" / "store"
        output_of(
            (sys.executable, HERE / "stored_file.py", second.mission_path, storage, "big", str(octets)), GIVE_UP_S
        )
        receiver = _Receiver(second, ground)
        start_s = time.monotonic()
        with second:
            receiver.run()
            took_s = time.monotonic() - start_s
        steps = json.loads(second.steps_path.read_text(encoding="utf-8"))
        digest = sha256()
        for block in blocks(octets):
            digest.update(block)
        with (ground / "big").open("rb") as file:
            same = sha256(file.read()).digest() == digest.digest()
    if not receiver.end.finished[0].whole or not same:
        raise BenchError("the file that came down is another one")
    (longest_ms, task, after_s), *_ = steps["longest"]
    quantile_ms = steps["quantiles_ms"]["0.9999"]
    note = f"{octets / 1e6:g} MB in {took_s:.0f} s"
    return [
        at_most("files-node-memory", max(receiver.peak_mb - idle_mb, 0.0), MEMORY_LIMIT_MB, "limit", "MB", note=note),
        at_most("files-node-step", quantile_ms, STEP_LIMIT_MS, "limit", "ms",
                note=f"all but 0.01 % of {steps['steps']:,} steps"),
        shown(at_most("files-node-step-longest", longest_ms, STEP_LIMIT_MS, "limit", "ms",
                      note=f"of {task}, {after_s:.1f} s after the first step")),
    ]  # fmt: skip


BENCHES = (Survey("files-downlink-share", share, long=True), Survey("files-node", node_file, long=True))
