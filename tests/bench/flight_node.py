"""A real `orbitnode flight` with its emulated board, and a ground station that is nothing but two sockets."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from flight.catalogue import dictionary_of
from flight.contract.fields import Value
from flight.core.errors import DecodeError, SetupError
from flight.link.coding.cltu import encode_cltu
from flight.link.pus import PusTc, PusTm
from flight.link.space_packet import SpacePacket
from flight.link.tc.tc_frame import TcFrame
from flight.link.tm.extract import VcExtractor
from flight.link.tm.tm_frame import TmFrame
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import MISSIONS, load
from ground.config import GroundConfig
from tests.ports import HOST, free_port
from tests.waiting import GIVE_UP_S

ROOT = Path(__file__).resolve().parents[2]
_COMPLETED = 7
_QUIET_S = 0.3


class FlightNode:
    """Board and node as processes, their files in `folder`; `more` is TOML for the mission. Raises SetupError where
    one of them does not come up.

    thread_timed: the node measures its steps in processor time; what they were is in `steps_path` when it has ended
    (tests/bench/thread_timed_node.py).
    """

    def __init__(self, folder: Path, more: str = "", rate_bps: int = 10_000_000, *, thread_timed: bool = False) -> None:
        self.folder = folder
        self.steps_path = folder / "steps.json"
        timed = [str(ROOT / "tests" / "bench" / "thread_timed_node.py"), str(self.steps_path)]
        self._program = timed if thread_timed else ["-m", "flight.cli"]
        self.on_file_part: Callable[[bytes], None] = lambda _packet: None
        self.down = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.down.bind((HOST, 0))
        self.down.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_194_304)
        self.up = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.up_port = free_port(socket.SOCK_DGRAM)
        self.api_port = free_port(socket.SOCK_STREAM)
        self.packets: list[PusTm] = []
        self.sequence = 0
        self._mission_path = folder / "mission.toml"
        self._write(folder / "board", more, rate_bps)
        mission = load(self._mission_path, extra={"ground": GroundConfig})
        self.dictionary = dictionary_of(mission)
        config = mission.links[0].config
        assert isinstance(config, LinkConfig)
        self._link = config
        self._channels: dict[int, VcExtractor] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._board = folder / "board"

    def _write(self, board: Path, more: str, rate_bps: int) -> None:
        port = self.down.getsockname()[1]
        self._mission_path.write_text(
            f'extends = "{(MISSIONS / "bench.toml").as_posix()}"\napp = []\n'
            f'[[link]]\nname = "udp"\ndriver = "udp:{HOST}:{port}:{self.up_port}"\ncoding = "frame"\n'
            f"rate_bps = {rate_bps}\nuplink_rate_bps = 10_000_000\nidle_s = 0.1\n"
            f'uplink_security = "clear"\n'  # the ground here is bare sockets
            f'[drivers]\neps = "serial:{board}"\nboard_thermometer = "serial:{board}:board"\n'
            f'radiator_thermometer = "serial:{board}:radiator"\nheater = "serial:{board}:heater"\n'
            f'governor = "serial:{board}"\n'
            f"[ground]\napi_port = {self.api_port}\n{more}"
        )

    def __enter__(self) -> Self:
        try:
            self._start("sim", "--link", self._board)
            self._wait(self._board.exists, "the emulated board")
            self._start("flight", "--mission", self._mission_path, "--storage", self.folder / "store",
                        "--log-level", "error")  # fmt: skip
            self._wait(lambda: self.listen(0.1) > 0, "the node")
        except SetupError:
            self._end()
            raise
        self.listen_until_quiet()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    @property
    def mission_path(self) -> Path:
        """Where its mission file is."""
        return self._mission_path

    @property
    def alive(self) -> bool:
        return all(process.poll() is None for process in self._processes)

    def start_ground(self) -> None:
        """Hand the downlink's port over to an `orbitnode ground`."""
        self.down.close()
        self._start("ground", "--mission", self._mission_path, "--folder", self.folder / "ground")

    def _start(self, *arguments: str | Path) -> None:
        log = (self.folder / f"{arguments[0]}.log").open("wb")
        program = self._program if arguments[0] == "flight" else ["-m", "flight.cli"]
        command = [sys.executable, *program, *map(str, arguments)]
        with log:
            self._processes.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT))

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        limit_s = time.monotonic() + GIVE_UP_S
        while not ready():
            if not self.alive or time.monotonic() > limit_s:
                logs = "; ".join(path.read_text(errors="replace")[-300:] for path in self.folder.glob("*.log"))
                raise SetupError(f"{what} does not come up: {logs}")
            time.sleep(0.02)

    def _end(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(GIVE_UP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.down.close()
        self.up.close()

    # Telecommands

    def encode(self, name: str, *values: Value, ack: int = 0b1011) -> tuple[bytes, bytes]:
        """A command of the dictionary as the CLTU of a BD frame, and its request id."""
        command = next(c for c in self.dictionary.commands if c.name == name)
        data = command.layout.encode(values)
        if command.function is not None:
            data = command.function.to_bytes(2, "big") + data
        request = PusTc(command.apid, self.sequence % 8192, command.service, command.subtype, data, ack=ack)
        self.sequence += 1
        frame = TcFrame(self._link.spacecraft_id, self._link.tc_vcid, 0, request.encode(), bypass=True)
        return encode_cltu(frame.encode()), request.request_id.encode()

    def send_pdu(self, pdu: bytes) -> None:
        """Send a PDU of CFDP up, in a packet of the file APID and a BD frame."""
        packet = SpacePacket(self.dictionary.apids["files"], self.sequence % 16384, pdu, is_command=True)
        self.sequence += 1
        frame = TcFrame(self._link.spacecraft_id, self._link.tc_vcid, 0, packet.encode(), bypass=True)
        self.send(encode_cltu(frame.encode()))

    def resident_mb(self) -> float:
        """Return the resident memory of the node's process; 1 MB is 10^6 octets."""
        pid = self._processes[-1].pid
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024 / 1e6

    def send(self, cltu: bytes) -> None:
        self.up.sendto(cltu, (HOST, self.up_port))

    def complete(self, name: str, *values: Value, timeout_s: float = GIVE_UP_S) -> float:
        """Send a command. Returns the seconds until the frame with its report of completion is here.

        Raises SetupError if it does not come in time.
        """
        cltu, request = self.encode(name, *values)
        self.packets.clear()
        start_s = time.perf_counter()
        self.send(cltu)
        while time.perf_counter() - start_s < timeout_s:
            self.listen(0.05, frames_max=1)
            for packet in self.packets:
                if packet.service == 1 and packet.data[:4] == request and packet.subtype in (2, 4, 8):
                    raise SetupError(f"{name} failed: {packet.data[4:].hex()}")
                if (packet.service, packet.subtype, packet.data) == (1, _COMPLETED, request):
                    return time.perf_counter() - start_s
        raise SetupError(f"no completion report for {name} within {timeout_s} s")

    # Telemetry

    def listen(self, duration_s: float, frames_max: int = 1_000_000) -> int:
        """Take in telemetry for so long, or so many frames; the packets it brought. They are in `packets`."""
        before, limit_s = len(self.packets), time.monotonic() + duration_s
        for _ in range(frames_max):
            left_s = limit_s - time.monotonic()
            if left_s <= 0:
                break
            self.down.settimeout(left_s)
            try:
                frame = TmFrame.decode(self.down.recv(65536), self._link.frame_octets)
            except TimeoutError:
                break
            channel = self._channels.setdefault(frame.vcid, VcExtractor())
            for raw in channel.take(frame)[1]:
                try:
                    self.packets.append(PusTm.decode(raw))
                except DecodeError:
                    self.on_file_part(raw)
        return len(self.packets) - before

    def listen_until_quiet(self, timeout_s: float = 20.0) -> None:
        """What waited at boot has come down, and nothing more comes for a while."""
        limit_s = time.monotonic() + timeout_s
        while time.monotonic() < limit_s and self.listen(_QUIET_S):
            pass

    def structure(self, name: str, timeout_s: float = GIVE_UP_S) -> dict[str, Value]:
        """Return the next report of the structure `name`, its fields by name. Raises SetupError if none comes."""
        structure = next(s for s in self.dictionary.structures if s.name == name)
        limit_s = time.monotonic() + timeout_s
        self.packets.clear()
        while time.monotonic() < limit_s:
            self.listen(0.2)
            for packet in self.packets:
                if (packet.apid, packet.service, packet.subtype) == (structure.apid, 3, 25) and int.from_bytes(
                    packet.data[:2], "big"
                ) == structure.sid:
                    values: Sequence[Value] = structure.layout.decode(packet.data[2:])
                    return dict(zip([f.name for f in structure.fields], values, strict=True))
            self.packets.clear()
        raise SetupError(f"no report of {name} within {timeout_s} s")
