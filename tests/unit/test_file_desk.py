"""The desk of files: both ways, over losses, gaps and kills; what it refuses, and what it says of transfers."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flight.core.errors import OrbitnodeError
from flight.link.cfdp.header import Mode
from ground.files.transfer import transaction_text
from ground.files.working_file import INLINE_OCTETS
from ground.operator import COMPLETED, FAILED
from tests.desk_rig import DeskRig
from tests.file_ends import pdus_of
from tests.full_disk import limited_files, small_disk
from tests.waiting import GIVE_UP_S, wait_until

CONTENT = random.Random(1).randbytes(20_000)


class SlowDisk:
    """What a sync of many octets does: nothing until `goes_on`, and then it may fail."""

    def __init__(self) -> None:
        self.is_asked, self.goes_on, self.fails = threading.Event(), threading.Event(), False

    def sync(self, file: int) -> None:
        if os.fstat(file).st_size > INLINE_OCTETS:
            self.is_asked.set()
            assert self.goes_on.wait(GIVE_UP_S)
            if self.fails:
                raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    disk = SlowDisk()
    monkeypatch.setattr(os, "fdatasync", disk.sync)
    yield disk
    disk.goes_on.set()


def lossy(share: float, seed: int = 1) -> object:
    rng = random.Random(seed)
    return lambda _way: rng.random() < share


def test_a_file_goes_up_and_the_word_of_the_node_completes_it(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    transaction = rig.put("uploads/a", CONTENT)
    assert (rig.transfer(transaction).state, rig.transfer(transaction).reason) == ("waiting", "no contact")
    rig.run(5)
    assert rig.pdus["up"] == 0
    rig.contact(True)
    rig.run(2, pdus=1)
    going = rig.transfer(transaction)
    assert going.state == "going" and going.way == "up" and 0 < going.octets_there < 20_000 == going.octets
    rig.run(30)
    ended = rig.transfer(transaction)
    assert (ended.state, ended.octets_there, ended.missing, ended.mode) == (COMPLETED, 20_000, (), 2)
    assert rig.node.files == [("uploads/a", CONTENT)] and rig.working() == []


def test_a_file_comes_down_whole_under_its_name(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    rig.node.send("tile.bin", CONTENT, rig.now_ns)
    rig.run(2, pdus=1)
    (going,) = rig.desk.transfers(rig.now_ns)
    assert (going.way, going.name, going.state, going.octets) == ("down", "tile.bin", "going", 20_000)
    assert rig.products() == {}  # nothing of it is under its name before it is whole
    rig.run(30)
    assert rig.products() == {"tile.bin": CONTENT} and rig.working() == []
    (row,) = rig.rows
    assert (row.name, row.octets, row.complete, row.missing) == ("tile.bin", 20_000, True, ())
    assert [finished.whole for finished in rig.node.finished] == [True]


@pytest.mark.parametrize("size", [0, 1, 243, 244, 5_000_000])
def test_files_of_any_length_go_both_ways(tmp_path: Path, size: int) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    content = random.Random(size).randbytes(size)
    rig.put("a", content)
    rig.node.send("b", content, rig.now_ns)
    rig.run(40, pdus=1000)
    assert rig.node.files == [("a", content)] and rig.products() == {"b": content}


def test_what_is_missing_is_known_octet_by_octet(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    pdus = pdus_of("a", bytes(5000), 7, mode=Mode.ACKNOWLEDGED)
    for index, pdu in enumerate(pdus):
        if index not in (3, 4, 9):
            rig.desk.on_pdu(pdu, rig.now_ns)
    transfer = rig.transfer("2.7")
    assert (transfer.missing, transfer.octets_there) == (((1000, 2000), (4000, 4500)), 3500)
    assert transfer.began_ns == 0 and transfer.ended_ns is None


def test_losses_both_ways(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path, lossy(0.2))  # type: ignore[arg-type]
    rig.contact(True)
    for number in range(4):
        rig.put(f"up-{number}", CONTENT + bytes((number,)))
        rig.node.send(f"down-{number}", CONTENT + bytes((number,)), rig.now_ns)
    rig.run(200)
    assert sorted(rig.node.files) == [(f"up-{n}", CONTENT + bytes((n,))) for n in range(4)]
    assert rig.products() == {f"down-{n}": CONTENT + bytes((n,)) for n in range(4)}


def test_transfers_go_on_in_the_next_contact(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    transaction = rig.put("a", CONTENT)
    rig.node.send("b", CONTENT, rig.now_ns)
    for _ in range(12):
        rig.contact(True)
        rig.run(1, pdus=2)
        rig.contact(False)
        rig.run(4000, pdus=0)
    assert rig.transfer(transaction).state == COMPLETED
    assert rig.node.files == [("a", CONTENT)] and rig.products() == {"b": CONTENT}
    assert rig.pdus["up"] < 140 and rig.pdus["down"] < 140  # nothing was begun again


def test_a_ground_that_is_killed_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    transaction = rig.put("a", CONTENT)
    rig.node.send("b", CONTENT, rig.now_ns)
    rig.run(4, pdus=1)
    rig.desk.commit(rig.now_ns)
    before = rig.transfer(transaction)
    (down,) = [transfer for transfer in rig.desk.transfers(rig.now_ns) if transfer.way == "down"]
    assert before.octets_there > 5000 and down.octets_there > 5000
    pdus = dict(rig.pdus)
    rig.start()
    rig.run(0.1, pdus=0)
    after = rig.transfer(transaction)
    assert after.octets_there == before.octets_there and after.name == "a" and after.began_ns == before.began_ns
    assert rig.desk.counters.resumed == 2 and rig.desk.counters.dropped == 0
    rig.run(60)
    assert rig.node.files == [("a", CONTENT)] and rig.products() == {"b": CONTENT}
    assert rig.pdus["up"] - pdus["up"] < 75 and rig.pdus["down"] - pdus["down"] < 75  # of 85 in all
    assert rig.working() == []


def test_kills_at_every_turn(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path, lossy(0.1, seed=3))  # type: ignore[arg-type]
    rig.contact(True)
    rig.put("a", CONTENT)
    rig.node.send("b", CONTENT, rig.now_ns)
    for number in range(120):
        rig.turn(pdus=3)
        if number % 3:
            rig.desk.commit(rig.now_ns)
        rig.start()
    rig.run(300)
    assert rig.node.files == [("a", CONTENT)]
    assert rig.products() == {"b": CONTENT} and rig.working() == []


def test_the_node_asks_again_what_a_kill_between_keeping_and_saying_so_left_open(tmp_path: Path) -> None:
    """The file is among the products and nobody was told: the next ground finds it there, and says so."""
    rig = DeskRig(tmp_path)
    rig.contact(True)
    rig.node.send("b", CONTENT, rig.now_ns)
    rig.run(3)
    rig.desk.commit(rig.now_ns)
    (tmp_path / "products" / "b").write_bytes(CONTENT)
    rig.start()
    rig.run(60)
    assert rig.products() == {"b": CONTENT} and [finished.whole for finished in rig.node.finished] == [True]


def test_a_file_that_comes_twice_is_there_once(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    for content in (CONTENT, CONTENT, CONTENT + b"x"):
        rig.node.send("b", content, rig.now_ns)
        rig.run(30)
    assert rig.products() == {"b": CONTENT, "b-2": CONTENT + b"x"}
    assert [row.name for row in rig.rows] == ["b", "b", "b-2"]


def test_class_1_leaves_a_part_with_a_list_of_what_it_lacks(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    for index, pdu in enumerate(pdus_of("a.bin", CONTENT[:5000], 7)):
        if index != 3:
            rig.desk.on_pdu(pdu, rig.now_ns)
    rig.run(30)
    assert rig.products() == {
        "a.bin.part": CONTENT[:1000] + bytes(500) + CONTENT[1500:5000],
        "a.bin.part.missing": b"# octets still missing long after the end of the file; octets [start, end) that never "
        b"came\n1000 1500\n",
    }
    (row,) = rig.rows
    assert (row.name, row.complete, row.octets, row.missing) == ("a.bin.part", False, 4500, ((1000, 1500),))
    ended = rig.transfer("2.7")
    assert (ended.state, ended.mode, ended.missing) == (FAILED, 1, ((1000, 1500),)) and rig.working() == []


def test_a_checksum_that_does_not_agree_makes_no_product(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    for pdu in pdus_of("a.bin", CONTENT, 7, checksum=1):
        rig.results += rig.desk.on_pdu(pdu, rig.now_ns)
    rig.run(30)
    assert sorted(rig.products()) == ["a.bin.part", "a.bin.part.missing"]
    (row,) = rig.rows
    assert row.missing == () and row.facts["reason"] == "checksum mismatch"


def test_class_1_up_is_sent_and_not_confirmed(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    transaction = rig.put("a", CONTENT, Mode.UNACKNOWLEDGED)
    rig.run(30)
    ended = rig.transfer(transaction)
    assert (ended.state, ended.reason) == ("unconfirmed", "nothing tells whether it arrived")
    assert rig.node.files == [("a", CONTENT)] and rig.desk.counters.up_unconfirmed == 1


def test_what_the_node_refuses_has_failed_with_its_reason(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    rig.node.refuses.add("a")
    transaction = rig.put("a", CONTENT)
    rig.run(30)
    ended = rig.transfer(transaction)
    assert ended.state == FAILED and "the file store refused" in ended.reason and rig.working() == []


def test_a_file_is_asked_for_and_comes(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.node.has["products/tile.bin"] = CONTENT
    rig.contact(True)
    get = rig.desk.get("products/tile.bin", rig.now_ns)
    none = rig.desk.get("products/none", rig.now_ns)
    rig.run(60)
    assert (get.outcome, get.product, get.octets) == (COMPLETED, "tile.bin", 20_000)
    assert rig.products() == {"tile.bin": CONTENT}
    assert (none.outcome, none.reason) == (FAILED, "the node says: the file store refused")


def test_names_that_no_file_on_board_has_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    for name in ("", "../x", "a b", "x" * 300, ".x", "uploads/", "-rf", "a/b/c", "caf\u00e9", "a\0"):
        with pytest.raises(OrbitnodeError, match="cannot be the name of a file on board"):
            rig.put(name, b"")
        with pytest.raises(OrbitnodeError, match="cannot be the name of a file on board"):
            rig.desk.get(name, 0)
    assert rig.working() == [] and rig.desk.transfers(0) == []


@pytest.mark.parametrize("way", ["up", "down"])
def test_transfers_are_suspended_over_a_restart_resumed_and_cancelled(tmp_path: Path, way: str) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    if way == "up":
        transaction = rig.put("a", CONTENT)
    else:
        rig.node.send("a", CONTENT, rig.now_ns)
    rig.run(1, pdus=2)
    transaction = rig.desk.transfers(rig.now_ns)[0].transaction
    rig.desk.lead("suspend", transaction, rig.now_ns)
    there = rig.transfer(transaction).octets_there
    rig.start()
    rig.run(5, pdus=1)
    assert rig.transfer(transaction).state == "suspended"
    assert way == "down" or rig.transfer(transaction).octets_there == there
    rig.desk.lead("resume", transaction, rig.now_ns)
    rig.run(0.2, pdus=1)
    assert rig.transfer(transaction).state == "going"
    rig.desk.lead("cancel", transaction, rig.now_ns)
    rig.run(60)
    assert rig.transfer(transaction).state == FAILED and rig.products() == {} and rig.working() == []
    assert rig.node.files == []
    for wrong in ("1.99", "x", "", "9" * 30 + ".1"):
        with pytest.raises(OrbitnodeError, match=r"no transfer .* is open"):
            rig.desk.lead("cancel", wrong, 0)
    with pytest.raises(OrbitnodeError, match="action is 'end', should be one of cancel, suspend, resume"):
        rig.desk.lead("end", transaction, 0)


def test_a_file_for_which_there_is_no_room_is_refused_with_the_reason(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path, octets_max=10_000)
    rig.contact(True)
    rig.node.send("b", CONTENT, rig.now_ns)
    rig.run(60)
    assert rig.products() == {} and rig.working() == []
    (finished,) = rig.node.finished
    assert not finished.whole and finished.condition.text == "the file store refused"
    assert rig.desk.products.refusals(rig.now_ns).startswith("1 file not kept, the last of them b")
    assert rig.transfer("2.281474976710656").reason == "the products have no room for it"


def test_a_full_disk_refuses_files_and_the_ground_goes_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 66 << 10) as disk:
        rig = DeskRig(disk)
        rig.contact(True)
        rig.node.send("big", bytes(4 << 20), rig.now_ns)
        rig.node.send("small", CONTENT, rig.now_ns)
        rig.run(60, pdus=200)
        assert rig.products() == {"small": CONTENT} and rig.working() == []
        refused = next(transfer for transfer in rig.desk.transfers(rig.now_ns) if transfer.name == "big")
        assert "has room for" in refused.reason
        with pytest.raises(OrbitnodeError, match="no room for a copy of"):
            rig.desk.folder.copy(_file(tmp_path / "local", 4 << 20))


def _file(path: Path, octets: int) -> Path:
    path.write_bytes(bytes(octets))
    return path


def test_octets_that_the_disk_does_not_take_end_the_transfer_and_no_other(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    rig.node.send("big", CONTENT, rig.now_ns)
    rig.node.send("small", CONTENT[:5000], rig.now_ns)
    with limited_files(10_000):
        rig.run(60)
    assert rig.products() == {"small": CONTENT[:5000]} and rig.working() == []
    assert "File too large" in next(t for t in rig.desk.transfers(rig.now_ns) if t.name == "big").reason


def test_records_that_cannot_be_written_hold_the_word_to_the_node_back(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    rig.node.send("b", b"", rig.now_ns)
    with limited_files(1):
        rig.run(20)
    assert rig.node.finished == [] and any("waits for it" in fault for fault in rig.faults)
    assert len(rig.faults) <= 3  # told at once, and then once a minute
    rig.run(60)
    assert rig.products() == {"b": b""} and [finished.whole for finished in rig.node.finished] == [True]


def test_a_put_that_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    key = rig.desk.folder.keep(b"0123")
    with limited_files(8), pytest.raises(OrbitnodeError, match=r"a is not sent: .* File too large"):
        rig.desk.put(key, name="a", local="", octets=4, digest="", mode=Mode.ACKNOWLEDGED, now_ns=rig.now_ns)
    rig.run(60)
    assert rig.node.files == [] and rig.working() == []


def test_what_an_earlier_ground_left_damaged_is_dropped_and_said(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    rig.put("a", CONTENT)
    rig.node.send("b", CONTENT, rig.now_ns)
    rig.run(3, pdus=1)
    rig.desk.commit(rig.now_ns)
    (tmp_path / "transfers" / "up-1.data").unlink()
    (down,) = (tmp_path / "transfers").glob("down-*.data")
    down.write_bytes(b"less")
    rig.start()
    rig.run(60)
    assert rig.faults == [
        "transfer down-2-281474976710656 is not gone on with: octets that had come are gone",
        "transfer up-1 is not gone on with: the copy of its file is gone",
    ]
    assert rig.products() == {"b": CONTENT}  # the node began again, since nobody knew of the file any more
    assert rig.working() == []


def test_two_file_systems_are_refused(tmp_path: Path) -> None:
    with small_disk(tmp_path / "transfers", 1000), pytest.raises(OrbitnodeError, match="are on two file systems"):
        DeskRig(tmp_path)


def test_what_is_short_does_not_wait_for_what_is_long(tmp_path: Path) -> None:
    rig = DeskRig(tmp_path)
    rig.contact(True)
    long = rig.put("long", bytes(200_000))
    rig.run(1, pdus=1)
    get = rig.desk.get("uploads/wanted", rig.now_ns)
    short = rig.put("short", CONTENT)
    rig.run(15, pdus=1)
    assert rig.transfer(transaction_text(get.request)).state == COMPLETED
    assert rig.transfer(short).state == COMPLETED and rig.transfer(long).state == "going"
    rig.run(60, pdus=50)
    assert [name for name, _ in rig.node.files] == ["short", "long"]


@pytest.mark.parametrize("name", ["/x", "/", "..", "../x", "uploads/", "a b", "uploads//x", ""])
def test_a_name_that_the_node_would_refuse_does_not_go_up(tmp_path: Path, name: str) -> None:
    rig = DeskRig(tmp_path)
    with pytest.raises(OrbitnodeError, match="cannot be the name of a file on board"):
        rig.put(name, CONTENT)
    assert rig.working() == []


def test_a_slow_disk_keeps_the_record_and_not_the_ground_waiting(tmp_path: Path, slow_disk: SlowDisk) -> None:
    rig = DeskRig(tmp_path, durable=True)
    rig.contact(True)
    content = random.Random(3).randbytes(3 << 20)
    for pdu in pdus_of("a", content, 7, mode=Mode.ACKNOWLEDGED):
        rig.desk.on_pdu(pdu, rig.now_ns)
    rig.run(10, pdus=0)  # does not hang, though no sync of that much ends
    assert slow_disk.is_asked.wait(GIVE_UP_S)
    assert rig.products() == {} and not list((tmp_path / "transfers").glob("down-*.record"))
    slow_disk.goes_on.set()

    def is_kept() -> bool:
        rig.run(0.2)
        return bool(rig.products())

    wait_until(is_kept, "the file is kept")
    assert rig.products() == {"a": content}


def test_octets_whose_sync_failed_are_never_recorded(tmp_path: Path, slow_disk: SlowDisk) -> None:
    rig = DeskRig(tmp_path, durable=True)
    rig.contact(True)
    for pdu in pdus_of("a", bytes(3 << 20), 7, mode=Mode.ACKNOWLEDGED):
        rig.desk.on_pdu(pdu, rig.now_ns)
    slow_disk.fails = True
    slow_disk.goes_on.set()

    def is_told() -> bool:
        rig.run(3)
        return any("Input/output error" in str(result) for result in rig.results)

    wait_until(is_told, "the fault is told")
    assert rig.products() == {}
    assert not list((tmp_path / "transfers").glob("down-*.record"))


@pytest.mark.parametrize("mode", [Mode.UNACKNOWLEDGED, Mode.ACKNOWLEDGED])
def test_a_transfer_is_known_at_every_moment(tmp_path: Path, mode: Mode) -> None:
    """Also between its last PDU and the next call of `on_time`."""
    rig = DeskRig(tmp_path)
    transaction = rig.put("uploads/a", CONTENT, mode)
    rig.contact(True)
    while rig.desk.next_pdu(rig.now_ns) is not None:
        assert rig.desk.transfer(transaction, rig.now_ns) is not None
    assert rig.transfer(transaction).state == ("unconfirmed" if mode is Mode.UNACKNOWLEDGED else "going")
