"""A node in real time, its emulated board, a relay as the air, and a real Yamcs as the ground."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from flight.catalogue import dictionary_of
from flight.link.actions import PacketReceived
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.link.cfdp.transactions.indications import FileComplete
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import MISSIONS, load
from ground.link.tm_tc_session import GroundSession
from ground.telemetry.decoder import DecodedPacket, Decoder
from tests.cfdp_ends import CfdpEnd
from tests.ports import HOST, free_port
from tests.waiting import GIVE_UP_S, wait_until
from tests.yamcs.client import YamcsClient
from tests.yamcs.relay import Relay

ROOT = Path(__file__).resolve().parents[2]
INSTANCE = "orbitnode-yamcs"
# The mission of the guide, with an app that needs neither model nor camera, and with telemetry that does not keep a
# test waiting.
_MORE = """
[[app]]
name = "postcard"
app = "tests.yamcs.postcard:Postcard"
apid = 2

[housekeeping.period_s]
node = 2.0
power = 0.5
thermal = 2.0
link = 2.0
executive = 5.0
commands = 2.0
storage = 5.0
recorder = 2.0
schedule = 5.0
parameters = 5.0
time = 5.0
"""
_HEAP = "-Xmx512m"
_FRAME_NS = 1_000_000  # between two frames that our ground is given: any time will do


class Program:
    """A process of the rig. What it says goes into a file: a pipe that nobody reads would fill up and stop it."""

    def __init__(self, name: str, command: list[str], folder: Path, cwd: Path = ROOT) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def text(self) -> str:
        """Return what it has said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def check(self) -> None:
        """Raise AssertionError if it has ended."""
        assert self._process.poll() is None, f"{self.name} ended with {self._process.returncode}:\n{self.text()}"

    def says(self, text: str) -> None:
        """Wait until it has said so; its end before that is a failure."""
        wait_until(lambda: text in self.text() or self._process.poll() is not None, lambda: f"{text!r}: {self.text()}")
        assert text in self.text(), self.text()

    def end(self) -> int:
        """End it in order, or by force if that takes too long; return its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(GIVE_UP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class Rig:
    """Everything, started. `yamcs` is the API of the Yamcs, `relay` the air."""

    def __init__(self, folder: Path, jars: Path, java: str) -> None:
        self.folder, self._jars, self._java = folder, jars, java
        self.programs: list[Program] = []
        yamcs_tm, node_tc = free_port(), free_port()
        self.http = free_port(socket.SOCK_STREAM)
        self.relay = Relay(yamcs_tm, node_tc)
        self.mission = self._write("node.toml", self.relay.tm_port, node_tc)
        seen = self._write("seen-by-yamcs.toml", yamcs_tm, self.relay.tc_port)
        self.loaded = load(self.mission)
        self.dictionary = dictionary_of(self.loaded)
        self.instance = folder / "yamcs"
        self._orbitnode("dictionary", "--yamcs", self.instance, "--mission", seen)
        # The one thing that the mission does not say: where this machine has a free port for the API.
        server = self.instance / "etc" / "yamcs.yaml"
        server.write_text(server.read_text().replace("port: 8090", f"port: {self.http}"))
        self.yamcs = YamcsClient(self.http, INSTANCE)

    def _write(self, name: str, tm: int, tc: int) -> Path:
        """Write the mission with ports and a board of this rig."""
        text = (MISSIONS / "yamcs.toml").read_text(encoding="utf-8")
        text = text.replace("127.0.0.1:10015:10018", f"{HOST}:{tm}:{tc}")
        text = text.replace('extends = "bench.toml"', f'extends = "{(MISSIONS / "bench.toml").as_posix()}"')
        bench = (MISSIONS / "bench.toml").read_text(encoding="utf-8")
        drivers = bench[bench.index("[drivers]") : bench.index("[ground]")]
        drivers = re.sub(r"/tmp/orbitnode/board", (self.folder / "board").as_posix(), drivers)
        path = self.folder / name
        path.write_text(text + _MORE + drivers, encoding="utf-8")
        return path

    def _orbitnode(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "flight.cli", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=GIVE_UP_S, check=False)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start all of it and wait until Yamcs has telemetry and FOP-1 is ready."""
        self.relay.start()
        classpath = str(self._jars / "*")
        command = [self._java, _HEAP, "-cp", classpath, "org.yamcs.YamcsServer", "--no-color", "--etc-dir", "etc"]
        server = self._add("yamcs", command, cwd=self.instance)
        self._add("sim", self._python("sim", "--link", self.folder / "board"))
        wait_until((self.folder / "board").exists, "the board's line is there")
        wait_until(lambda: self._looked_at(server) and self.yamcs.is_up(), lambda: f"Yamcs is up: {server.text()}")
        self.start_node()

    def start_node(self) -> None:
        """Start the node and wait until Yamcs has heard it."""
        before = self.yamcs.link("TM")["dataInCount"]
        self.node = node = self._add(
            "flight", self._python("flight", "--mission", self.mission, "--storage", self.folder / "store")
        )
        node.says("storage")
        wait_until(lambda: self._looked_at(node) and self.yamcs.link("TM")["dataInCount"] != before, "Yamcs has frames")

    def _looked_at(self, program: Program) -> bool:
        program.check()
        return True

    def _python(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "flight.cli", *map(str, arguments)]

    def _add(self, name: str, command: list[str], cwd: Path = ROOT) -> Program:
        self.programs.append(Program(name, command, self.folder, cwd))
        return self.programs[-1]

    def end(self) -> None:
        """End all of it: the node before its board."""
        codes = {program.name: program.end() for program in reversed(self.programs)}
        self.relay.end()
        assert codes.pop("yamcs") in {0, 130}, codes
        assert set(codes.values()) == {0}, {program.name: program.text()[-2000:] for program in self.programs}

    def stored(self) -> int:
        """Return how many octets the node's storage takes."""
        return sum(path.stat().st_size for path in (self.folder / "store").rglob("*") if path.is_file())

    # What our ground makes of the frames that Yamcs was given.

    def ours(self) -> OurGround:
        """Return our ground after all frames so far."""
        return OurGround(self)


class OurGround:
    """What our ground reads out of the same frames: packets by (APID, sequence count, time), and files.

    `transfers` are the numbers of transactions that come down and have not ended, by the names of their files.
    """

    def __init__(self, rig: Rig) -> None:
        config = rig.loaded.links[0].config
        assert isinstance(config, LinkConfig)
        session = GroundSession(config)
        decoder = Decoder(rig.dictionary)
        entity = CfdpEnd(EntityConfig(entity=1))  # hears, and says nothing: Yamcs is the other end
        self.packets: dict[bytes, DecodedPacket] = {}
        # The virtual channels over which each packet came. One that was on its way when a contact was lost goes back
        # into the recorder, and may come twice: live all the same, and played back.
        self.channels: defaultdict[bytes, set[int]] = defaultdict(set)
        self.files: dict[str, bytes] = {}
        file_apid = rig.dictionary.apids["files"]
        for number, frame in enumerate(list(rig.relay.frames)):
            for action in session.on_downlink(frame, number * _FRAME_NS):
                if not isinstance(action, PacketReceived):
                    continue
                packet = action.packet
                if int.from_bytes(packet[:2], "big") & 0x7FF == file_apid:
                    entity.on_pdu(packet[6:])
                    entity.serve()
                    continue
                self.packets[packet] = decoder.decode(packet)
                self.channels[packet].add(action.vcid)
        self.transfers = {status.name: status.transaction.number for status in entity.entity.transactions()}
        names = {told.transaction: told.name for told in entity.told if isinstance(told, FileComplete)}
        self.files.update((names[transaction], content) for transaction, content in entity.kept.items())
