"""The file store and its commands over a simulated disk, over several boots, as the ground sees them: for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from random import Random
from typing import Any

from flight.contract.app import Durable
from flight.contract.collect import collect
from flight.contract.dictionary import Dictionary
from flight.core.future import Future
from flight.core.nanoseconds import ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.transactions.requests import TransactionStatus
from flight.link.pus import PusTc
from flight.services.commanding import commands as commanding
from flight.services.commanding import refusals, verification
from flight.services.commanding.command_log import CommandLog
from flight.services.commanding.commands import Commands, CommandsConfig
from flight.services.commanding.refusals import Refusals
from flight.services.commanding.verification import Verification
from flight.services.files import file_commands, transfer_commands
from flight.services.files.compression import Compressor
from flight.services.files.file_commands import FileCommands
from flight.services.files.transfer_commands import TransferCommands
from flight.services.reporting.events import Events
from flight.services.reporting.telemetry import Telemetry
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_store import FileStore
from flight.store.files.files_config import FilesConfig
from flight.store.quota import Share, SharedStorage
from flight.store.vault import Vault
from ground.telemetry.decoder import DecodedPacket, Decoder
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from tests.serving import serve

APID = 1
T0_NS = 2 * 10**18


def dictionary() -> Dictionary:
    """Return what the ground has: the commands of files in a document, read again."""
    parts = (file_commands, transfer_commands, verification, refusals, commanding)
    return Dictionary.from_document(
        collect(
            [part.declare(APID) for part in parts], mission="m", spacecraft_id=1, version="1", apids={"node": APID}
        ).document()
    )


class Silent:
    """A log that keeps nothing."""

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Recorder:
    """A recorder that keeps every packet, in the order in which they leave."""

    def __init__(self, raw: list[bytes]) -> None:
        self._raw = raw

    def store(self, packet: bytes, _heard: bool) -> bool:
        """Take a packet."""
        self._raw.append(packet)
        return True


class TransfersStandIn:
    """Stands in for the node's transfers, since what becomes of a transfer is the entity's business.

    `acts` has what was asked of it; each is durable when `durable` is called.
    """

    def __init__(self) -> None:
        self.open: list[TransactionStatus] = []
        self.acts: list[tuple[str, TransactionId]] = []
        self._futures: list[Future[None]] = []

    def transactions(self) -> list[TransactionStatus]:
        return self.open

    def suspend(self, transaction: TransactionId) -> Future[None]:
        return self._act("suspend", transaction)

    def resume(self, transaction: TransactionId) -> Future[None]:
        return self._act("resume", transaction)

    def cancel(self, transaction: TransactionId) -> Future[None]:
        return self._act("cancel", transaction)

    def _act(self, act: str, transaction: TransactionId) -> Future[None]:
        self.acts.append((act, transaction))
        self._futures.append(Future())
        return self._futures[-1]

    def durable(self, error: Exception | None = None) -> None:
        """What was asked for is stored, or was not for this reason."""
        for future in self._futures:
            if error is None:
                future.set_result(None)
            else:
                future.set_error(error)
        self._futures.clear()


class FileCommandBench:
    """One boot of the services, with the ground that sends commands and decodes what comes."""

    def __init__(self, disk: Disk | None = None, loop: VirtualLoop | None = None, **more: Any) -> None:
        self.disk = disk or Disk(Random(1), capacity_octets=more.pop("disk_octets", 64_000_000))
        self.loop = loop or VirtualLoop()
        self.config: FilesConfig = more.pop("files", FilesConfig())
        self.limits = more
        self.raw: list[bytes] = []
        self._packets: list[DecodedPacket] = []
        self.faults: list[BaseException] = []
        self.evicted: list[str] = []
        self.sent: list[tuple[str, bool | None, int]] = []
        self.deleted: list[str] = []
        self.used: set[str] = set()  # paths that a transfer reads
        self.transfers = TransfersStandIn()
        self.dictionary = dictionary()
        self.decoder = Decoder(self.dictionary)
        self.sequence = 0
        self.begin()

    def begin(self) -> None:
        """Boot from what is on the disk."""
        recorder: Any = Recorder(self.raw)
        log: Any = Silent()
        telemetry = Telemetry(self.tai_ns, recorder)
        self.scheduler = Scheduler(self.loop, self.loop.now_ns, lambda _, error: self.faults.append(error))
        session = self.disk.boot(self.loop)
        shared = SharedStorage(session, {"vault": Share(8_000_000, 0), "files": Share(1 << 40, 2)})
        self.vault = Vault(shared.user("vault"))
        self.store = FileStore(
            self.config, shared.user("files"), self.vault, tai_ns=self.tai_ns,
            on_evicted=lambda entry, _: self.evicted.append(entry.path),
            evictable=lambda entry: not self.compressor.reads(entry),
        )  # fmt: skip
        self.compressor = Compressor(self.store)
        self.files = FileCommands(
            APID, self.store, self.compressor, telemetry, send=self._send,
            is_used=lambda entry: entry.path in self.used, on_deleted=lambda entry: self.deleted.append(entry.path),
        )  # fmt: skip
        transfers = TransferCommands(APID, self.transfers, self.transfers.transactions, telemetry)
        reports = Verification(APID, telemetry)
        log_of_commands = CommandLog(self.vault, telemetry, reports, lambda: True, session.sync)
        refused = Refusals(APID, telemetry, 1000)
        self.commands = Commands(
            self.dictionary.commands, CommandsConfig(**self.limits), self.scheduler, self.vault, log=log_of_commands,
            verification=reports, refusals=refused,
            events=Events(APID, self.dictionary.events, telemetry, log), modes=("nominal",), mode=lambda: "nominal",
        )  # fmt: skip
        serve(self.files, self.commands)
        serve(transfers, self.commands)
        self.commands.assert_complete()
        bodies = (self.commands.run, self.commands.run_urgent, log_of_commands.run, refused.run, self._sweep)
        for body in bodies:
            self.scheduler.spawn(body.__qualname__, body)
        for task in self.files.tasks():
            self.scheduler.spawn(task.name, task.run)
        log_of_commands.recover()

    def tai_ns(self) -> int:
        """Return the on-board time."""
        return T0_NS + self.loop.now_ns()

    def _send(self, entry: FileEntry, arrive: bool | None, priority: int) -> Durable:
        return Durable({"test.sent": entry.path.encode()}, lambda: self.sent.append((entry.path, arrive, priority)))

    async def _sweep(self, task: Task) -> None:
        while True:
            await task.sleep(0.01 if self.store.sweep() else 1.0)

    # The ground

    def run(self, duration_s: float = 1.0) -> None:
        """Let the time go by."""
        self.loop.run_until(self.loop.now_ns() + ns(duration_s))

    def reboot(self) -> None:
        """Cut the power, and boot again."""
        self.disk.cut()
        self.scheduler.close()
        self.begin()

    def close(self) -> None:
        """End the boot."""
        self.scheduler.close()

    def request(self, name: str, *values: Any) -> PusTc:
        """Return the telecommand that the ground makes of these values."""
        command = self.dictionary.command(name)
        admitted = [field.admit(value) for field, value in zip(command.arguments, values, strict=True)]
        self.sequence += 1
        return PusTc(
            command.apid, self.sequence, command.service, command.subtype, command.encode(admitted), ack=0b1011
        )

    def send(self, name: str, *values: Any) -> PusTc:
        """Send a command."""
        request = self.request(name, *values)
        self.commands.on_packet(request.encode())
        return request

    def have(self, name: str, *values: Any, duration_s: float = 1.0) -> str:
        """Send a command, and return how it ended: "done", or the failure's text behind its code."""
        request = self.send(name, *values)
        self.run(duration_s)
        return self.outcome(request)

    def outcome(self, request: PusTc) -> str:
        """Return how a command ended: "done", the failure's text behind its code, "open" if it has not ended."""
        word = int.from_bytes(request.request_id.encode()[2:], "big")
        ended = [
            packet
            for packet in self.packets()
            if packet.service == 1 and packet.subtype in (2, 4, 7, 8) and packet.raw["request_seq_word"] == word
        ]
        # A node repeats the terminal reports of the boot before as they were: they may not have been heard.
        assert len({(packet.subtype, packet.data) for packet in ended}) <= 1, ended
        if not ended:
            return "open"
        return "done" if ended[0].subtype == 7 else f"{ended[0].raw['code']}: {ended[0].raw['detail']}"

    def packets(self) -> list[DecodedPacket]:
        """Return all telemetry so far, decoded as the ground does."""
        self._packets += map(self.decoder.decode, self.raw[len(self._packets) :])
        return self._packets

    def reports(self, name: str) -> list[DecodedPacket]:
        """Return the reports of that name so far."""
        return [packet for packet in self.packets() if packet.name == name]

    # The store

    def put(self, path: str, content: bytes, **more: Any) -> FileEntry:
        """Put a file into the store, as a transfer or an app does."""
        directory, _, name = path.partition("/")
        made: list[FileEntry] = []

        async def write(task: Task) -> None:
            draft = self.store.draft(directory, name, len(content), **more)
            draft.write(0, content)
            made.append(await self.store.finish(task, draft))

        self.scheduler.spawn("put", write)
        self.run(1.0 + len(content) / 1e6)
        (entry,) = made
        return entry

    def content(self, path: str) -> bytes | None:
        """Return the content of a file, None if there is no such file. Its SHA-256 is checked."""
        directory, _, name = path.partition("/")
        entry = self.store.find(directory, name)
        if entry is None:
            return None
        octets = finish(self.store.load(entry))
        assert hashlib.sha256(octets).digest() == entry.sha256
        return octets

    def paths(self) -> list[str]:
        """Return all files by directory and name."""
        return sorted(entry.path for entry in self.store.entries())


def finish(work: Generator[None, None, bytes]) -> bytes:
    """Take all steps of a generator at once and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            outcome: bytes = end.value
            return outcome
