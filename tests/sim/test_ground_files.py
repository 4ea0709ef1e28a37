"""Files through a whole station in virtual time: COP-1 on the way up, commands between, passes, restarts, the node."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any, cast

from flight.core.nanoseconds import NS
from flight.link.cfdp.header import Mode
from flight.link.cfdp.transactions.entity_config import EntityConfig
from ground.changes import Change
from ground.files.file_desk import FileDesk
from ground.files.transfer import Transfer, transaction_text
from ground.files.transfer_folder import TransferFolder
from ground.link.tm_tc_session import GroundSession
from ground.operator import COMPLETED, FAILED
from ground.products.product_store import ProductStore
from ground.station import GroundStation
from ground.telemetry.archive import Archive
from sim_hw.ground_segment import GroundSegment
from sim_hw.machine.air import Air
from tests.archives import entered
from tests.ground_dictionary import make
from tests.ground_node import EPOCH_NS
from tests.link_ends import BARE
from tests.sim.conftest import PASS_START_S, MakeRig
from tests.sim.test_ground_station import Rig

CONTENT = random.Random(1).randbytes(100_000)
LONG = random.Random(2).randbytes(400_000)  # more than goes up in a few seconds


class Uplink:
    """A station over the little node, with what its listeners were told of transfers."""

    def __init__(self, folder: Path, passes: list[tuple[float, float]]) -> None:
        self.folder = folder
        self.rig = Rig(folder, passes)
        self.told: list[object] = []
        self.rig.station.listen(self.note)

    def note(self, change: Change, what: object) -> None:
        if change is Change.TRANSFER:
            self.told.append(what)

    @property
    def desk(self) -> FileDesk:
        assert self.rig.station.files is not None
        return self.rig.station.files

    def until(self, s: float) -> None:
        self.rig.loop.run_until(round(s * NS))

    def put(self, name: str, content: bytes, mode: Mode = Mode.ACKNOWLEDGED) -> str:
        now_ns = self.rig.loop.now_ns()
        transaction = self.desk.put(
            self.desk.folder.keep(content), name=name, local="", octets=len(content),
            digest=hashlib.sha256(content).hexdigest(), mode=mode, now_ns=now_ns,
        )  # fmt: skip
        self.rig.ground.uplink(self.rig.station.feed_files(now_ns))
        return transaction_text(transaction)

    def transfer(self, transaction: str) -> Transfer:
        transfer = self.desk.transfer(transaction, self.rig.loop.now_ns())
        assert transfer is not None
        return transfer

    def restart(self, shared_archive: bool = True) -> None:
        """End the ground as a kill does, and start another on its folder."""
        former = self.rig.ground
        if former._timer is not None:  # noqa: SLF001 - ends as a process does
            former._timer.cancel()  # noqa: SLF001 - ends as a process does
        archive = self.rig.archive if shared_archive else Archive(self.folder / "other.db").enter(make())
        station = GroundStation(
            make(), GroundSession(BARE), epoch_tai_ns=EPOCH_NS, archive=archive, epoch=0 if shared_archive else 99,
            products=ProductStore(self.folder / "products"),
            transfers=TransferFolder(self.folder / "transfers", durable=False), cfdp=EntityConfig(entity=1),
        )  # fmt: skip
        self.rig.ground = GroundSegment(station, cast("Air", self.rig.air), self.rig.loop)
        self.rig.station = station
        self.rig.ground.uplink(station.on_time(self.rig.loop.now_ns()))


def test_files_arrive_whole_and_commands_between(tmp_path: Path) -> None:
    up = Uplink(tmp_path, [(10.0, 400.0)])
    up.until(20.0)
    transactions = [up.put("first", LONG), up.put("second", b"short")]
    up.until(21.0)
    record, cltus = up.rig.station.send("ping", {}, up.rig.loop.now_ns())
    up.rig.ground.uplink(cltus)
    up.until(25.0)
    assert record.outcome == COMPLETED and up.transfer(transactions[0]).state == "going"  # it did not wait
    up.until(300.0)
    assert dict(up.rig.node.files) == {"first": LONG, "second": b"short"}
    assert [up.transfer(name).state for name in transactions] == [COMPLETED, COMPLETED]
    assert set(transactions) <= set(up.told) and up.rig.station.session.waiting == 0
    counters = up.rig.station.counters()
    assert (counters["files.up_completed"], counters["cfdp.ended.sent"], counters["cfdp.resent_octets"]) == (2, 2, 0)


def test_files_go_on_in_the_next_pass(tmp_path: Path) -> None:
    up = Uplink(tmp_path, [(10.0, 14.0), (6000.0, 6400.0)])
    up.until(11.0)
    transaction = up.put("a", LONG)
    up.rig.node.end.send("b", CONTENT, up.rig.loop.now_ns())
    up.until(5000.0)
    waiting = up.transfer(transaction)
    assert (waiting.state, waiting.reason) == ("waiting", "no contact") and 0 < waiting.octets_there < len(LONG)
    up.until(6400.0)
    assert up.rig.node.files == [("a", LONG)] and (tmp_path / "products" / "b").read_bytes() == CONTENT
    assert up.transfer(transaction).state == COMPLETED


def test_the_link_led_by_hand_takes_no_time_of_a_transfer(tmp_path: Path) -> None:
    """While COP-1 is down nothing can be answered: that must not count as silence of the node."""
    up = Uplink(tmp_path, [(10.0, 1400.0)])
    up.until(20.0)
    up.rig.ground.uplink(up.rig.station.lead("terminate", None, up.rig.loop.now_ns()))
    transaction = up.put("a", CONTENT)
    up.until(1200.0)
    assert up.transfer(transaction).state == "waiting"
    up.rig.ground.uplink(up.rig.station.lead("auto", None, up.rig.loop.now_ns()))
    up.until(1390.0)
    assert up.transfer(transaction).state == COMPLETED and up.rig.node.files == [("a", CONTENT)]


def test_a_ground_that_is_killed_goes_on_in_both_directions(tmp_path: Path) -> None:
    up = Uplink(tmp_path, [(10.0, 300.0)])
    up.until(20.0)
    transaction = up.put("a", LONG)
    up.rig.node.end.send("b", CONTENT, up.rig.loop.now_ns())
    up.until(24.0)
    there = up.transfer(transaction).octets_there
    assert 0 < there < len(LONG)
    up.restart()
    assert up.transfer(transaction).octets_there > there / 2
    up.until(300.0)
    assert up.rig.node.files == [("a", LONG)] and (tmp_path / "products" / "b").read_bytes() == CONTENT
    counters = up.rig.station.counters()
    assert (counters["files.resumed"], counters["files.dropped"]) == (2, 0)
    assert [path.name for path in (tmp_path / "transfers").iterdir()] == ["ended.record"]
    up.rig.close()


def test_files_of_a_restarted_ground_have_numbers_of_their_own(tmp_path: Path) -> None:
    for shared in (True, False):
        up = Uplink(tmp_path / str(shared), [(10.0, 400.0)])
        up.until(20.0)
        for number in range(8):
            up.put(f"f{number}", b"0123")
        up.until(25.0)
        up.restart(shared_archive=shared)
        up.until(26.0)
        up.put("f8", b"0123")
        up.until(90.0)
        assert sorted(name for name, _ in up.rig.node.files) == [f"f{number}" for number in range(9)]
        assert up.rig.node.end.entity.counters.renewed == 0


def test_what_the_node_refuses_has_failed(tmp_path: Path) -> None:
    up = Uplink(tmp_path, [(10.0, 400.0)])
    up.rig.node.end.refuses.add("a")
    up.until(20.0)
    transaction = up.put("a", LONG)
    up.until(60.0)
    transfer = up.transfer(transaction)
    assert transfer.state == FAILED and up.rig.station.counters()["files.up_failed"] == 1
    assert transfer.octets_there < len(LONG) and transfer.missing == ((transfer.octets_there, len(LONG)),)


def test_a_run_ends_with_what_came_of_each_file(tmp_path: Path) -> None:
    up = Uplink(tmp_path, [(10.0, 400.0)])
    up.until(20.0)
    up.rig.node.end.send("b", CONTENT, up.rig.loop.now_ns())
    up.until(25.0)
    up.rig.close()
    part = (tmp_path / "products" / "b.part").read_bytes()
    (missing,) = (tmp_path / "products" / "b.part.missing").read_text().splitlines()[1:]
    start, end = map(int, missing.split())
    assert part[:start] == CONTENT[:start] and 0 < start < end == 100_000 == len(part)


def test_two_runs_are_the_same(tmp_path: Path) -> None:
    """What files do depends on no clock and no disk of this machine."""
    seen = []
    for number in range(2):
        up = Uplink(tmp_path / str(number), [(10.0, 14.0), (60.0, 300.0)])
        heard: list[bytes] = []
        up.rig.ground.on_cltu = heard.append
        up.until(11.0)
        up.put("a", CONTENT)
        up.rig.node.end.send("b", CONTENT * 30, up.rig.loop.now_ns())
        up.until(300.0)
        seen.append((heard, up.rig.loop.now_ns(), up.rig.station.counters()))
    assert seen[0] == seen[1]


def test_the_real_node_takes_and_gives_files(make_rig: MakeRig, tmp_path: Any) -> None:
    rig = make_rig()
    with entered(tmp_path / "archive.db", rig.dictionary) as archive:
        station = GroundStation(
            rig.dictionary, rig.session, epoch_tai_ns=rig.world.start_tai_ns, archive=archive, epoch=5,
            products=ProductStore(tmp_path / "products"),
            transfers=TransferFolder(tmp_path / "transfers", durable=False), security=rig.stored_security,
        )  # fmt: skip
        ground = GroundSegment(station, rig.air, rig.loop)
        desk = station.files
        assert desk is not None
        rig.until(PASS_START_S + 60)
        transactions = []
        for name, content in (("uploads/a", CONTENT[:3000]), ("models/b", b"0123"), ("products/c", b"not there")):
            key = desk.folder.keep(content)
            transaction = desk.put(
                key, name=name, local="", octets=len(content), digest="", mode=Mode.ACKNOWLEDGED,
                now_ns=rig.loop.now_ns(),
            )  # fmt: skip
            transactions.append(transaction_text(transaction))
        ground.uplink(station.feed_files(rig.loop.now_ns()))
        rig.until(PASS_START_S + 120)
        ended = [desk.transfer(transaction, rig.loop.now_ns()) for transaction in transactions]
        assert [transfer and transfer.state for transfer in ended] == [COMPLETED, COMPLETED, FAILED]
        gets = [desk.get(name, rig.loop.now_ns()) for name in ("uploads/a", "uploads/none")]
        ground.uplink(station.feed_files(rig.loop.now_ns()))
        rig.until(PASS_START_S + 240)
        assert [get.outcome for get in gets] == [COMPLETED, FAILED]
        assert (tmp_path / "products" / gets[0].product).read_bytes() == CONTENT[:3000]
        ground.close()
