"""Commands and changes of keys over a protected link, and what must hold wherever in them the power of an end fails.

`python -m tests.sim.security_cuts` (make power-cut) goes through the scenario once for every storage operation of link
security, on either end, with the power cut inside that operation:

- no number is used twice with a key, by any frame that left;
- the node takes no frame twice, and executes no command twice; who listens plays everything again after the cut;
- the link comes up again, without anybody's help;
- a change of keys that was cut is run again, and finishes: one key carries in each direction, the same at both ends.
"""

# The node's storage is the simulated disk, which counts its operations and loses power inside the one that it is told
# (sim_hw/machine/disk.py). The ground's are files: `CutFolder` stands between the ground's code and its folder, counts
# every sync, rename and removal, and ends the process before one of them. What is on the medium then is what was
# synced, names as well as octets, and of the rest what the cut's variant says: all of it, or none.
#
# Both ends are whole as far as security goes: the node's duty with its record and its command, FLIGHT's stack, the
# ground's session with its record and the steps of `orbitnode keys rotate`. Blocks of numbers are small, so that
# storage is written often.

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, cast
from unittest import mock

from flight.contract.app import CommandRefused
from flight.contract.sections import LinkSection
from flight.core.future import Future
from flight.core.nanoseconds import NS, ns
from flight.keys import locked, open_keys, write_keys
from flight.link.actions import LinkAction, PacketReceived, SendUnit, StoreSecurity
from flight.link.coding.cltu import ERROR_MODES, CltuReceiver
from flight.link.link import Role
from flight.link.pus import PusTc, PusTm
from flight.link.security import state
from flight.link.security.associations import End, LinkPlan
from flight.link.security.keyring import Keyring, KeyState, KeyUse, delivered_keys, use_of
from flight.link.security.link_security import Checked, LinkSecurity
from flight.link.security.management import REFUSALS
from flight.link.tc.tc_frame import TcFrame
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from flight.services.radio.security import Security
from flight.services.reporting.telemetry import Telemetry
from flight.store.generations import Generations
from ground.link.actions import Acknowledged, Action, FrameReceived, Lost, Rejected, SendCltu
from ground.link.ground_link import Service
from ground.link.security.key_rotation import SILENT, Answer, KeyRotation, RotationFailed, carry_out
from ground.link.security.stored_security import StoredSecurity
from ground.link.tm_tc_session import GroundSession
from ground.security_file import SecurityFile
from sim_hw.machine.disk import Disk, PowerCut
from sim_hw.machine.loop import VirtualLoop

CONFIG = LinkConfig(coding="frame", frame_octets=256, uplink_security="encrypted", downlink_security="encrypted")
LINKS = (LinkSection(CONFIG, "radio", "sim:radio"),)
PLANS = (LinkPlan("radio", CONFIG.up_suite, CONFIG.down_suite),)
STEP_NS = ns(0.1)
PATIENCE_S = 12.0
PING, PROCEDURE = 17, 129
_REFUSED = re.compile(rf"\b({'|'.join(REFUSALS)}): ")
TAI_NS = 10 * NS
BLOCKS = {"UP_BLOCK": 8, "DOWN_SEND_BLOCK": 32, "DOWN_RECEIVE_BLOCK": 8, "DOWN_RECEIVE_BLOCK_MAX": 32}


class GroundCut(BaseException):
    """The ground lost its power. No code of the ground may hold this up."""


class CutFolder:
    """A folder whose last changes may be lost: a file's octets until it is synced, its name until the folder is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.operations = 0
        self.cut_at: int | None = None
        self._synced: dict[int, bytes] = {}  # octets by inode
        self._names: dict[str, bytes] = {}  # what is durable

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Stand between the code and the folder."""
        fsync, replace, rename, link, unlink = os.fsync, Path.replace, Path.rename, os.link, Path.unlink

        def synced(file: int) -> None:
            self._count()
            fsync(file)
            found = Path(f"/proc/self/fd/{file}").readlink()
            if found == self.path:
                self._names = {each.name: self._octets(each, whole=False) for each in self._files()}
            elif found.parent == self.path:
                self._synced[os.fstat(file).st_ino] = found.read_bytes()

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def run(*arguments: Any, **named: Any) -> Any:
                self._count()
                return call(*arguments, **named)

            return run

        with (
            mock.patch.object(os, "fsync", synced),
            mock.patch.object(Path, "replace", counted(replace)),
            mock.patch.object(Path, "rename", counted(rename)),
            mock.patch.object(Path, "unlink", counted(unlink)),
            mock.patch.object(os, "link", counted(link)),
        ):
            yield

    def _count(self) -> None:
        self.operations += 1
        if self.operations == self.cut_at:
            raise GroundCut

    def _files(self) -> list[Path]:
        return [each for each in self.path.iterdir() if not each.name.endswith(".lock")]

    def _octets(self, file: Path, *, whole: bool) -> bytes:
        octets = file.read_bytes()
        return octets if whole else self._synced.get(file.stat().st_ino, octets[: len(octets) // 2])

    def lose_power(self, kept: bool) -> None:
        """Leave what is on the medium. `kept`: names that were not synced are there, or else none of them."""
        names = {each.name: self._octets(each, whole=False) for each in self._files()} if kept else self._names
        for each in self._files():
            each.unlink()
        for name, octets in names.items():
            each = self.path / name
            each.write_bytes(octets)
            each.chmod(0o600)
            self._synced[each.stat().st_ino] = octets
        self._names = dict(names)


class Board:
    """The node, as far as its protected link goes."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.loop = run.loop
        self.link: FlightLink
        self.modem: list[bytes] = []
        self.executed: list[int] = []
        self.events: list[str] = []
        self.taken: set[tuple[int, Checked]] = set()  # with the id of the key

    def boot(self) -> None:
        """Start from what is on the disk. Raises PowerCut."""
        run = self._run
        self.modem.clear()
        session = run.disk.boot(self.loop)
        self.security = Security(
            1, LINKS, run.board_keys(), Generations(session, "security"), random=run.random.randbytes, tai_ns=TAI_NS,
            telemetry=cast("Telemetry", self), events=self,
        )  # fmt: skip
        security = self.security.link_security
        assert security is not None
        self.link = FlightLink(CONFIG, security)
        self.link.acquired()
        self.security.on_stored = self.take_in
        commit = security.commit

        def committed(link: int, checked: Checked) -> None:
            frame = (security.state.associations[checked.spi].key_id, checked)
            assert frame not in self.taken, "the node took a frame twice"
            self.taken.add(frame)
            commit(link, checked)

        security.commit = committed  # type: ignore[method-assign] # a look at what is taken

    # What the duty says: reports go down, events are kept.

    def emit(self, name: str, *_values: object) -> None:
        """Keep an event."""
        self.events.append(name)

    def send(self, apid: int, service: int, subtype: int, data: bytes) -> bool:
        """A report."""
        self._run.reports += 1
        packet = PusTm(apid, self._run.reports % 16384, service, subtype, data, self.loop.now_ns()).encode()
        return self.link.queue(Role.REALTIME, packet)

    # The link.

    def receive(self, cltu: bytes) -> None:
        self.modem.append(cltu)
        self.take_in()

    def take_in(self) -> None:
        self._do(self.link.on_uplink(b"", self.loop.now_ns()))
        while self.modem and not self.link.waiting:
            self._do(self.link.on_uplink(self.modem.pop(0), self.loop.now_ns()))

    def next_unit(self) -> bytes | None:
        actions = self.link.next_unit()
        self._do(actions)
        return next((action.octets for action in actions if isinstance(action, SendUnit)), None)

    def _do(self, actions: list[LinkAction]) -> None:
        for action in actions:
            if isinstance(action, StoreSecurity):
                self.security.store(action)
            elif isinstance(action, PacketReceived):
                self._execute(PusTc.decode(action.packet))

    def _execute(self, request: PusTc) -> None:
        assert request.seq not in self.executed, "a command was executed twice"
        self.executed.append(request.seq)
        if request.service == PING:
            self.send(1, PING, 2, request.seq.to_bytes(2, "big"))
            return
        (handler,) = self.security.handlers()
        rows = tuple((octet,) for octet in request.data[2:])

        async def execute() -> None:
            text = ""
            try:
                if handler.check is not None:
                    handler.check(rows)
                await cast("Awaitable[None]", handler.execute(rows))
            except CommandRefused as refusal:
                text = str(refusal)
            self.send(1, 1, 8 if text else 7, request.seq.to_bytes(2, "big") + text.encode())

        _resume(execute())


def _resume(work: Coroutine[Future[Any], None, None]) -> None:
    """Let a coroutine run until it waits, and again when what it waits for is there."""
    try:
        work.send(None).add_callback(lambda _: _resume(work))
    except StopIteration:
        pass


class Site:
    """The ground, as far as its protected link goes; `rotate` is what `orbitnode keys rotate` does."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.loop = run.loop
        self.file = run.folder.path / "n.keys"
        self._record: SecurityFile | None = None

    def start(self) -> None:
        self.close()
        self._record = record = SecurityFile(self.file)
        security = LinkSecurity(
            End.GROUND, open_keys(self.file), PLANS, stored=record.content, lost=record.content is None,
            clock_number=1, random=self._run.random.randbytes,
        )  # fmt: skip
        self.stored = StoredSecurity(security, record.save)
        self.session = GroundSession(CONFIG, security)
        self.answers: dict[int, tuple[int, bytes]] = {}
        self.reply = b""
        self.act(self.session.resume(self.loop.now_ns()))

    def stop(self) -> None:
        """End in order, as `orbitnode ground` does."""
        assert self._record is not None
        self._record.save(self.stored.security.state.record(exact=True).encode())
        self.close()

    def close(self) -> None:
        if self._record is not None:
            self._record.close()
            self._record = None

    def act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendCltu(octets):
                    self._run.went_up(octets)
                case StoreSecurity():
                    self.stored.store(action)
                    self.act(self.session.on_stored(self.loop.now_ns()))
                case PacketReceived(_, packet) if packet[0] & 8:
                    self._on_report(packet)
                case Acknowledged() | Rejected() | Lost() | FrameReceived():
                    pass

    def _on_report(self, packet: bytes) -> None:
        report = PusTm.decode(packet)
        if (report.service, report.subtype) == (PROCEDURE, 2):
            self.reply = report.data[1:]
        elif report.service in (1, PING):
            self.answers[int.from_bytes(report.data[:2], "big")] = (report.subtype, report.data[2:])

    def tick(self) -> None:
        now_ns, due_ns = self.loop.now_ns(), self.session.next_time_ns
        if due_ns is not None and due_ns <= now_ns:
            self.act(self.session.on_time(now_ns))
        if self.session.service is Service.IDLE:
            self.act(self.session.initiate(now_ns))

    def ask(self, service: int, data: bytes) -> tuple[int, bytes] | None:
        """Send a command and wait for its end; None if nothing is heard of it."""
        seq = self._run.next_seq()
        self.reply = b""
        request = PusTc(1, seq, service, 1, data)
        self.act(self.session.send(request.encode(), self.loop.now_ns(), seq))
        end_ns = self.loop.now_ns() + ns(PATIENCE_S)
        while seq not in self.answers and self.loop.now_ns() < end_ns:
            self._run.step()
        return self.answers.get(seq)

    def ping(self) -> bool:
        return self.ask(PING, b"") is not None

    # RotationTransport

    def exchange(self, pdu: bytes) -> Answer:
        answer = self.ask(PROCEDURE, len(pdu).to_bytes(2, "big") + pdu)
        if answer is None:
            return SILENT
        subtype, text = answer
        if subtype == 8:
            found = _REFUSED.search(text.decode())
            return Answer(refused=found[1] if found else "node", text=text.decode())
        return Answer(self.reply)

    def own(self, pdu: bytes) -> Answer:
        return self.stored.execute(pdu)

    def choose(self, spi: int) -> Answer:
        return self.stored.choose(spi)

    def rotate(self, use: KeyUse) -> None:
        with locked(self.file):
            ring = open_keys(self.file)
            rotation = KeyRotation(ring, 0, use, random=self._run.random.randbytes, created="2026-03-20T10:00:00Z")
            carry_out(rotation, self, lambda: write_keys(self.file, ring), lambda _: None)

    def active(self, use: KeyUse) -> list[int]:
        return [key.key_id for key in open_keys(self.file) if key.use is use and key.state is KeyState.ACTIVE]


@dataclass
class Cut:
    """Where the power goes: the end, the operation of its storage, and whether names not synced are there after it."""

    end: End
    operation: int
    kept: bool = False


class Run:
    """One run of the scenario, with a cut or without."""

    def __init__(self, cut: Cut | None = None) -> None:
        self.cut = cut
        self.random = Random(3)
        self.loop = VirtualLoop()
        self.disk = Disk(Random(5 if cut is None else cut.operation))
        self.folder = CutFolder(Path(tempfile.mkdtemp(prefix="security-cuts-")))
        self.reports = self._seq = self.cuts = 0
        self._ring = delivered_keys(PLANS, lambda key_id: Random(key_id).randbytes(32), node="n")
        self._up: list[bytes] = []
        self._heard_up: list[bytes] = []
        self._used: set[tuple[bytes, bytes]] = set()
        self.board, self.site = Board(self), Site(self)
        if cut is not None and cut.end is End.NODE:
            self.disk.cut_at_operation = cut.operation
        self._node_back_ns = 0
        self._node_up = False

    def board_keys(self) -> Keyring:
        """The node's keys file is as it was delivered, whatever changed since."""
        return delivered_keys(PLANS, lambda key_id: Random(key_id).randbytes(32), node="n")

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    # Time.

    def step(self) -> None:
        """Let a tenth of a second pass."""
        end_ns = self.loop.now_ns() + STEP_NS
        try:
            self.loop.run_until(end_ns)
            if not self._node_up and self.loop.now_ns() >= self._node_back_ns:
                self._node_up = True
                self.board.boot()
            up, self._up = self._up, []
            for cltu in up if self._node_up else ():
                self.board.receive(cltu)
            units = [self.board.next_unit() for _ in range(2)] if self._node_up else []
        except PowerCut:
            self.cuts += 1
            self._node_up = False
            self._node_back_ns = self.loop.now_ns() + ns(2.0)
            return
        for unit in units:
            if unit is not None:
                self._note(unit[6:20], End.NODE)
                self.site.act(self.site.session.on_downlink(unit, self.loop.now_ns()))
        self.site.tick()

    def went_up(self, cltu: bytes) -> None:
        for unit in CltuReceiver(ERROR_MODES["detect"]).feed(cltu):
            self._note(TcFrame.decode(unit).data[:14], End.GROUND)
        self._up.append(cltu)
        self._heard_up.append(cltu)

    def _note(self, security_header: bytes, end: End) -> None:
        security = self.site.stored.security if end is End.GROUND else self.board.security.link_security
        assert security is not None
        association = security.state.associations[int.from_bytes(security_header[:2], "big")]
        key = security.state.keyring.get(association.key_id)
        assert key is not None
        used = (key.fingerprint, security_header)
        assert used not in self._used, f"a number was used twice by the {end.name}: {security_header.hex()}"
        self._used.add(used)

    # The scenario.

    def fly(self) -> None:
        """Go through all of it. Raises AssertionError for what does not hold."""
        with self._prepared():
            self._fly()

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Give both ends with the link up, for a scenario of one's own."""
        with self._prepared():
            self.site.start()
            assert any(self.site.ping() for _ in range(3))
            yield

    @contextmanager
    def _prepared(self) -> Iterator[None]:
        with ExitStack() as stack:
            for name, octets in BLOCKS.items():
                stack.enter_context(mock.patch.object(state, name, octets))
            stack.callback(shutil.rmtree, self.folder.path, ignore_errors=True)
            stack.callback(self.site.close)
            stack.enter_context(self.folder.watched())
            with locked(self.site.file):
                write_keys(self.site.file, self._ring, is_new=True)
            self.folder.operations = 0
            yield

    def retry(self) -> None:
        """Have the node try again to store, as its duty does every ten seconds."""
        security = self.board.security.link_security
        assert security is not None
        security.retry()
        if (content := security.to_store()) is not None:
            self.board.security.store(content)
        self.step()

    def restart_node(self) -> None:
        """Cut its power, and let it boot."""
        self.disk.cut()
        self._node_up = False
        self._node_back_ns = self.loop.now_ns() + ns(2.0)
        for _ in range(25):
            self.step()

    def _fly(self) -> None:
        if self.cut is not None and self.cut.end is End.GROUND:
            self.folder.cut_at = self.cut.operation
        todo: list[Callable[[], None]] = [
            self.pings, self.rotate_up, self.pings, self.rotate_down, self.pings, self.rotate_up, self.pings,
        ]  # fmt: skip
        started = False
        while todo or not started:
            try:
                if not started:
                    self.site.start()
                    started = True
                    self.replay()
                    assert any(self.site.ping() for _ in range(3)), "the link does not come up again"
                todo[0]()
            except GroundCut:
                assert self.cut is not None
                self.cuts += 1
                self._up.clear()
                self.folder.lose_power(self.cut.kept)
                started = False
                continue
            except RotationFailed:
                assert self.cuts, "a change of keys failed without a cut"
                assert any(self.site.ping() for _ in range(3)), "the link does not come up again"
                continue  # it is run again
            todo.pop(0)
        self.check()

    def pings(self) -> None:
        for _ in range(6):
            answered = [self.site.ping() for _ in range(3)]
            assert any(answered), "the link does not come up again"

    def rotate_up(self) -> None:
        self._rotate(KeyUse.UP)

    def rotate_down(self) -> None:
        self._rotate(KeyUse.DOWN)

    def _rotate(self, use: KeyUse) -> None:
        for _ in range(3):
            self.site.rotate(use)
            if len(self.site.active(use)) == 1:
                return
        raise AssertionError("the change of keys does not finish")

    def replay(self) -> None:
        """Whoever listened sends all of it again."""
        self._up = [*self._heard_up[-60:], *self._up]

    def check(self) -> None:
        """One key carries in each direction, the same at both ends."""
        node = self.board.security.link_security
        assert node is not None and not node.volatile
        assert self.cut is None or self.cuts == 1, "the power went once"
        for use in (KeyUse.UP, KeyUse.DOWN):
            (key_id,) = self.site.active(use)
            for security in (node, self.site.stored.security):
                carrying = [
                    each.key_id for each in security.state.associations.values()
                    if use_of(each.spi) is use and security.state.usable(each)
                ]  # fmt: skip
                assert carrying == [key_id], (use, security.end, carrying)


def operations() -> dict[End, int]:
    """Return how many storage operations the scenario has at each end."""
    run = Run()
    run.fly()
    return {End.NODE: run.disk.operations, End.GROUND: run.folder.operations}


def cuts(counts: dict[End, int]) -> list[Cut]:
    """Return all cuts: one inside each operation, on the ground in both variants."""
    node = [Cut(End.NODE, operation) for operation in range(1, counts[End.NODE] + 1)]
    ground = [Cut(End.GROUND, number, kept) for number in range(1, counts[End.GROUND] + 1) for kept in (False, True)]
    return node + ground


def wrong_with(cut: Cut) -> str:
    """Fly with this cut; return what does not hold, "" if all does."""
    try:
        Run(cut).fly()
    except AssertionError as error:
        return f"{cut}: {error}"
    return ""


def main() -> int:
    """Cut everywhere, or at every Nth operation. Return 1 if something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="cut at every Nth storage operation")
    args = parser.parse_args()
    chosen = cuts(operations())[:: args.every]
    wrong = [said for cut in chosen if (said := wrong_with(cut))]
    print(
        "\n".join(
            [*wrong, f"{len(chosen)} power cuts in the storage of link security, {len(wrong)} with something wrong"]
        )
    )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
