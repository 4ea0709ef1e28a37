"""Board, node and ground as processes on one machine, with keys of their own: all that an operator has before him."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from flight.core.errors import OrbitnodeError
from flight.keys import open_keys
from flight.link.security.keyring import KeyState
from flight.mission import MISSIONS
from ground.cli.api.client import GroundClient
from tests.ports import free_port
from tests.sim.test_realtime_flight import Process
from tests.waiting import GIVE_UP_S, wait_until


class Site:
    """A folder with a mission that is protected both ways, its keys, and the processes that run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mission, self.keys = folder, folder / "mission.toml", folder / "keys" / "site.keys"
        self.api = free_port(socket.SOCK_STREAM)
        board = folder / "board"
        self.mission.write_text(
            f'extends = "{(MISSIONS / "bench.toml").as_posix()}"\napp = []\n'
            f'[[link]]\nname = "udp"\ndriver = "udp:127.0.0.1:{free_port()}:{free_port()}"\ncoding = "frame"\n'
            'rate_bps = 2_000_000\nuplink_rate_bps = 1_000_000\nidle_s = 0.05\ndownlink_security = "encrypted"\n'
            f'[drivers]\neps = "serial:{board}"\nboard_thermometer = "serial:{board}:board"\n'
            f'radiator_thermometer = "serial:{board}:radiator"\nheater = "serial:{board}:heater"\n'
            f'governor = "serial:{board}"\nimager = ""\n'
            f'[ground]\napi_port = {self.api}\nfolder = "{folder / "ground"}"\n'
        )
        self.processes: dict[str, Process] = {}

    def close(self) -> None:
        for process in reversed(self.processes.values()):  # the node before its board
            process.kill_and_forget()

    def start(self, name: str) -> None:
        own = {
            "sim": ("--link", self.folder / "board"),
            "flight": ("--mission", self.mission, "--storage", self.folder / "store", "--keys", self.keys),
            "ground": ("--mission", self.mission, "--keys", self.keys),
        }
        self.processes[name] = Process(name, *own[name])

    def kill(self, name: str) -> None:
        self.processes.pop(name).end(signal.SIGKILL)

    def run(self, *arguments: str | Path) -> str:
        process = Process(*arguments)
        code, said = process.ended()
        assert code == 0, said
        return said

    def add_link(self, name: str) -> None:
        """Give the mission a further link, before anything is started."""
        text = self.mission.read_text()
        link = (
            f'[[link]]\nname = "{name}"\ndriver = "udp:127.0.0.1:{free_port()}:{free_port()}"\n'
            'downlink_security = "encrypted"\n'
        )
        self.mission.write_text(text.replace("[drivers]\n", link + "[drivers]\n"))

    def refused(self, *words: str, mission: Path | None = None, keys: Path | None = None) -> str:
        """Return what `orbitnode keys` says that refuses what it is asked for."""
        files = ("--mission", mission or self.mission, "--keys", keys or self.keys)
        code, said = Process("keys", *words, *files).ended()
        assert code == 1, said
        return said

    def rotate(self, direction: str) -> str:
        return self.run_keys("rotate", direction, "--port", str(self.api))

    def run_keys(self, *words: str) -> str:
        return self.run("keys", *words, "--mission", self.mission, "--keys", self.keys)

    def contact(self) -> bool:
        try:
            with GroundClient(self.api) as client:
                return bool(client.ask(do="status")["contact"])
        except OrbitnodeError:
            return False

    def ping(self) -> None:
        """Ping until it is answered: after a start of either end the first one may be given up."""

        def answered() -> bool:
            with GroundClient(self.api) as client:
                answer = client.ask(do="command", name="ping", timeout_s=GIVE_UP_S / 4)
                return bool(answer["outcome"] == "completed")

        wait_until(self.contact, "contact")
        wait_until(answered, "the answer to a ping")

    def active(self) -> list[int]:
        """The ids of the session keys that are in use."""
        return [key.key_id for key in open_keys(self.keys) if key.key_id and key.state is KeyState.ACTIVE]


def begin_node(site: Site) -> None:
    site.run_keys("new")
    site.start("sim")
    wait_until((site.folder / "board").exists, "the emulator has made its link")
    site.start("flight")


def begin(site: Site) -> None:
    begin_node(site)
    site.start("ground")
    site.ping()
