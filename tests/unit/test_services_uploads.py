"""Files that come up: what is kept, what fails, what is refused with which words, and what the ground can ask for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from flight.contract.app import CommandRefused
from flight.core.nanoseconds import ns
from flight.link.cfdp.conditions import ConditionCode, DeliveryCode, FileStatus
from flight.link.cfdp.file_data import FileData
from flight.link.cfdp.header import Header, Mode, TransactionId
from flight.link.cfdp.messages import (
    DirectoryListingRequest,
    DirectoryListingResponse,
    OriginatingTransactionId,
    ProxyPutRequest,
    ProxyPutResponse,
    RemoteSuspendRequest,
    RemoteSuspendResponse,
    decode_message,
)
from flight.link.cfdp.tlv import FilestoreAction, FilestoreRequest
from flight.link.cfdp.transactions.requests import PutRequest
from flight.link.space_packet import SpacePacket
from flight.services.files.transfer_records import TransferRecord
from flight.services.files.uploads import UploadsConfig
from flight.store.files.files_config import FilesConfig
from sim_hw.machine.disk import Disk
from tests.file_link import FILE_APID, GROUND, NODE, FileLink, Settings, contents

LINKS: list[FileLink] = []


@pytest.fixture(autouse=True)
def shut_down() -> Iterator[None]:
    """End the boards of a test."""
    yield
    for link in LINKS:
        link.board.shut_down()
    LINKS.clear()


def make(**more: Any) -> FileLink:
    link = FileLink(**more)
    LINKS.append(link)
    link.boot()
    link.set_contact(True)
    return link


def upload(link: FileLink, name: str, content: bytes, s: float = 120.0, **more: object) -> TransactionId:
    """Send a file up, and wait for its end."""
    transaction = link.ground.put(name, content, **more)
    assert link.run(s, lambda: link.ground.end_of(transaction) is not None)
    return transaction


@pytest.mark.parametrize("octets", [0, 1, 999, 50_000])
@pytest.mark.parametrize("mode", list(Mode))
def test_a_file_comes_up_whole_and_can_be_used(octets: int, mode: Mode) -> None:
    link = make()
    content = Random(octets).randbytes(octets)
    transaction = upload(link, "table", content, mode=mode)
    link.run(2)
    (entry,) = link.board.store.entries()
    assert (entry.path, entry.octets) == ("uploads/table", octets)
    assert entry.sha256 == hashlib.sha256(content).digest()
    assert link.board.uploads.octets("table") == link.board.uploads.octets("/uploads/table") == content
    assert link.board.sink.events == [
        ("upload_received", {"name": "table", "octets": octets, "number": transaction.number})
    ]
    end = link.ground.end_of(transaction)
    assert end is not None and end.whole == (mode is Mode.ACKNOWLEDGED)


def test_it_is_there_after_a_power_cut_and_a_new_one_replaces_it_whole() -> None:
    link = make()
    upload(link, "a", b"first")
    link.cut()
    assert link.board.uploads.octets("a") == b"first"
    upload(link, "a", b"second")
    assert link.board.uploads.octets("a") == b"second"
    assert len(link.board.store.entries()) == 1


def test_several_come_up_at_once_and_lost_pdus_are_asked_for_again() -> None:
    link = make(loss=0.2)
    contents = {f"models/m{number}": Random(number).randbytes(30_000) for number in range(6)}
    for name, content in contents.items():
        link.ground.put(name, content)
    assert link.run(600, lambda: len(link.ground.ended) == 6)
    assert all(each.whole for each in link.ground.ended)
    assert {entry.path: link.board.uploads.octets(entry.path) for entry in link.board.store.entries()} == contents


def test_an_upload_goes_on_after_a_power_cut_where_its_record_says() -> None:
    link = make(pdus_up=2)
    content = Random(5).randbytes(200_000)
    transaction = link.ground.put("a", content)
    link.run(8)
    link.cut()
    held = link.board.transfers.entity.report(transaction)
    assert held is not None and 80_000 < held.octets_done < 200_000
    assert link.board.store.entries() == []
    assert link.run(120, lambda: link.ground.end_of(transaction) is not None)
    assert link.ground.ended[0].whole and link.board.uploads.octets is not None
    (entry,) = link.board.store.entries()
    assert link.board.store.read(entry, 0, 200_000) == content


def test_a_file_that_was_kept_just_before_a_power_cut_is_not_taken_twice() -> None:
    """The power goes when the file is durable, and before the sender has heard of it."""
    link = make()
    transaction = link.ground.put("a", b"content")
    assert link.run(30, lambda: bool(link.board.store.entries()))
    (before,) = link.board.store.entries()
    link.cut()
    assert link.run(120, lambda: link.ground.end_of(transaction) is not None)
    assert link.ground.ended[0].whole
    assert [entry.number for entry in link.board.store.entries()] == [before.number]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../escape", "there is no directory '..'"),
        ("/etc/passwd", "there is no directory 'etc'"),
        ("products/x", "nothing comes up into products"),
        ("logs/x", "nothing comes up into logs"),
        ("a\0b", "has '\\x00'"),
        (".hidden", "begins with a dot"),
        ("x" * 201, "201 characters"),
        ("p\u0430rameters", "\\u0430"),
        ("models/", "the name is empty"),
    ],
)
def test_names_that_no_file_may_have_are_refused_with_the_reason(name: str, says: str) -> None:
    link = make()
    transaction = upload(link, name, b"x")
    link.run(20)
    end = link.ground.end_of(transaction)
    assert end is not None and end.condition is ConditionCode.FILESTORE_REJECTION
    (failed,) = link.board.sink.named("upload_failed")
    assert says in failed["reason"]
    assert link.board.store.entries() == [] and link.board.filestore.drafts == {}


def test_a_file_larger_than_the_quota_or_the_disk_is_refused_before_its_first_octet() -> None:
    base = FilesConfig()
    files = FilesConfig(
        uploads=type(base.uploads)(quota_octets=100_000), models=type(base.models)(quota_octets=1 << 40)
    )
    link = make(settings=Settings(files=files), disk=Disk(Random(1), capacity_octets=2_000_000))
    for name, octets in (("big", 100_001), ("models/big", 3_000_000)):
        end = link.ground.end_of(upload(link, name, bytes(octets)))
        assert end is not None and end.condition is ConditionCode.FILESTORE_REJECTION
    link.run(20)
    assert link.board.transfers.entity.counters.octets_in == 0
    assert [one["name"] for one in link.board.sink.named("upload_failed")] == ["big", "models/big"]


def test_a_file_that_is_wrong_is_not_kept() -> None:
    """What stands on the medium is another file by the time it is checked."""
    link = make()
    transaction = link.ground.put("a", b"right" * 10_000)
    assert link.run(30, lambda: bool(link.board.filestore.drafts))
    draft = next(iter(link.board.filestore.drafts.values()))
    complete = link.board.completion.complete

    def spoilt(indication: object) -> None:
        draft.write(3, b"wrong")
        complete(indication)  # type: ignore[arg-type]

    link.board.completion.complete = spoilt  # type: ignore[method-assign,assignment]
    assert link.run(60, lambda: link.ground.end_of(transaction) is not None)
    end = link.ground.end_of(transaction)
    assert end is not None and end.condition is ConditionCode.FILE_CHECKSUM_FAILURE
    assert end.status is not FileStatus.RETAINED and link.board.store.entries() == []
    link.run(20)
    assert "the sender says" in link.board.sink.named("upload_failed")[0]["reason"]


def test_a_transfer_that_ground_cancels_leaves_nothing() -> None:
    link = make(pdus_up=2)
    transaction = link.ground.put("a", bytes(100_000))
    link.run(2)
    link.ground.handle(link.ground.entity.cancel(transaction, link.loop.now_ns()))
    assert link.run(60, lambda: link.ground.end_of(transaction) is not None)
    link.run(10)
    assert link.board.store.entries() == [] and link.board.filestore.drafts == {}
    assert contents(link.disk.durable) == []
    (failed,) = link.board.sink.named("upload_failed")
    assert "octets missing" in failed["reason"] and failed["number"] == transaction.number


def test_octets_of_a_file_that_cannot_be_used_are_refused() -> None:
    link = make(settings=Settings(uploads=UploadsConfig(table_octets=1024)))
    for name, says in (("nothing", "no file uploads/nothing"), ("../x", "no directory"), ("etc/x", "no directory")):
        with pytest.raises(CommandRefused, match=says):
            link.board.uploads.octets(name)
    upload(link, "large", bytes(1025))
    with pytest.raises(CommandRefused, match=r"uploads/large has 1025 octets, uploads.table_octets is 1024"):
        link.board.uploads.octets("large")


def test_a_damaged_record_costs_its_transfer_alone_and_is_told() -> None:
    link = make(pdus_up=2)
    link.ground.put("a", bytes(80_000))
    link.run(6)
    link.board.shut_down()
    (name,) = (name for name in link.disk.durable if name.startswith("transfers.1-"))
    link.disk.flip(name)
    link.boot()
    (dropped,) = link.board.sink.named("transfer_dropped")
    assert dropped["reason"] == "its record is damaged"
    assert link.run(400, lambda: bool(link.ground.ended))
    assert link.ground.ended[0].whole and len(link.board.store.entries()) == 1
    assert len(contents(link.disk.durable)) == 1


def test_noise_is_counted_refused_and_told_and_opens_no_more_than_the_table_holds() -> None:
    link = make()
    header = TransactionId(GROUND, 0)
    for number in range(10_000):
        pdu = FileData(Header(TransactionId(GROUND, number), NODE, Mode.UNACKNOWLEDGED), 5, b"noise").encode()
        assert link.board.transfers.on_packet(SpacePacket(FILE_APID, 0, pdu, is_command=True).encode())
    assert link.board.transfers.on_packet(SpacePacket(FILE_APID, 0, b"\xff" * 30, is_command=True).encode())
    assert not link.board.transfers.on_packet(SpacePacket(FILE_APID + 1, 0, b"x", is_command=True).encode())
    assert len(link.board.transfers.entity.transactions()) <= link.board.settings.cfdp.transactions, header
    assert link.board.uploads.refused > 9_000
    assert 1 <= len(link.board.sink.named("upload_ignored")) < 20
    link.loop.run_until(link.loop.now_ns() + ns(4000))
    transaction = link.ground.put("after", b"x")
    link.run(60)
    end = link.ground.end_of(transaction)
    assert end is not None and end.whole


def test_ground_gets_a_file_that_it_asks_for() -> None:
    link = make()
    content = Random(1).randbytes(5000)
    upload(link, "models/net", content)
    request = ProxyPutRequest(GROUND, "models/net", "copy-of-net").encode()
    asked = link.ground.entity.put(PutRequest(NODE, "", "", options=(request,)), link.loop.now_ns())
    assert link.run(60, lambda: "copy-of-net" in link.ground.files)
    assert link.ground.files["copy-of-net"] == [content]
    link.run(20)
    messages = [decode_message(message) for message in link.ground.messages]
    assert messages.count(OriginatingTransactionId(asked)) == 2, "with the file, and with the answer"
    assert ProxyPutResponse(ConditionCode.NO_ERROR, DeliveryCode.COMPLETE, FileStatus.RETAINED) in messages


def test_a_file_that_is_not_there_is_answered() -> None:
    link = make()
    request = ProxyPutRequest(GROUND, "models/none", "x").encode()
    link.ground.entity.put(PutRequest(NODE, "", "", options=(request,)), link.loop.now_ns())
    link.run(30)
    messages = [decode_message(message) for message in link.ground.messages]
    assert (
        ProxyPutResponse(ConditionCode.FILESTORE_REJECTION, DeliveryCode.INCOMPLETE, FileStatus.UNREPORTED) in messages
    )
    assert link.board.sink.named("file_not_sent")[0]["reason"] == "models/none: there is no file models/none"


def test_after_a_reboot_an_answer_without_a_file_holds_no_file() -> None:
    """The product is opened by the restored transfer just before the answer begins."""
    link = make(pdus_down=1)
    link.board.outbox.put("product", Random(2).randbytes(400_000))
    link.run(8)
    link.cut()
    request = RemoteSuspendRequest(TransactionId(NODE, 99)).encode()
    link.ground.entity.put(PutRequest(NODE, "", "", options=(request,)), link.loop.now_ns())
    entity = link.board.transfers.entity
    assert link.run(30, lambda: any(not status.source_name for status in entity.transactions()))
    sources = link.board.transfers.filestore.sources
    names = [status.source_name for status in map(entity.report, sources) if status is not None]
    assert names == ["products/product"]


def test_ground_gets_a_list_of_a_directory() -> None:
    link = make()
    upload(link, "a", b"12345")
    upload(link, "models/b", b"1")
    for directory, name in (("uploads", "list"), ("/", "all"), ("etc", "none")):
        option = DirectoryListingRequest(directory, name).encode()
        link.ground.entity.put(PutRequest(NODE, "", "", options=(option,)), link.loop.now_ns())
        link.run(20)
    sha = [hashlib.sha256(content).hexdigest() for content in (b"12345", b"1")]
    assert link.ground.files["list"] == [f"uploads/a\t5\t{sha[0]}\n".encode()]
    assert link.ground.files["all"][0].count(b"\n") == 2 and "none" not in link.ground.files
    messages = [decode_message(message) for message in link.ground.messages]
    assert DirectoryListingResponse(False, "etc", "none") in messages
    assert link.board.sink.named("upload_failed") == [] and link.board.uploads.failed == 0


def test_filestore_requests_run_after_the_file_is_there() -> None:
    link = make()
    upload(link, "old", b"x")
    upload(link, "b", b"y")
    requests = (
        FilestoreRequest(FilestoreAction.RENAME_FILE, "old", "models/new"),
        FilestoreRequest(FilestoreAction.DENY_FILE, "nothing"),
        FilestoreRequest(FilestoreAction.DELETE_FILE, "b"),
        FilestoreRequest(FilestoreAction.CREATE_DIRECTORY, "d"),
        FilestoreRequest(FilestoreAction.DELETE_FILE, "c"),
    )
    transaction = upload(link, "c", b"z", options=requests)
    assert sorted(entry.path for entry in link.board.store.entries()) == ["models/new", "uploads/c"]
    end = link.ground.end_of(transaction)
    assert end is not None and [response.status for response in end.responses] == [0, 0, 0, 1, 15]


def test_a_transfer_is_suspended_by_a_message() -> None:
    link = make(pdus_down=2)
    upload(link, "big", bytes(100_000))
    option = ProxyPutRequest(GROUND, "big", "big").encode()
    link.ground.entity.put(PutRequest(NODE, "", "", options=(option,)), link.loop.now_ns())
    link.run(3)
    (status,) = [each for each in link.board.transfers.entity.transactions() if each.name == "big"]
    ask = RemoteSuspendRequest(status.transaction).encode()
    link.ground.entity.put(PutRequest(NODE, "", "", options=(ask,)), link.loop.now_ns())
    link.run(20)
    answers = [decode_message(message) for message in link.ground.messages]
    assert any(isinstance(each, RemoteSuspendResponse) and each.suspended for each in answers)
    assert "big" not in link.ground.files


def test_an_answer_in_memory_ends_with_the_power_and_holds_up_nothing() -> None:
    link = make(pdus_down=1)
    for number in range(12):
        upload(link, f"f{number}", b"x")
    option = DirectoryListingRequest("/", "all").encode()
    link.ground.entity.put(PutRequest(NODE, "", "", options=(option,)), link.loop.now_ns())
    link.pdus_down = 0
    link.run(7)
    assert any(each.name == "all" for each in link.board.transfers.entity.transactions())
    link.cut()
    link.pdus_down = 10
    link.run(60)
    assert "all" not in link.ground.files and link.board.transfers.entity.transactions() == []
    upload(link, "more", b"y")


def test_records_of_files_with_many_gaps_are_made_one_by_one() -> None:
    """64 files with 4,096 gaps each took a tenth of a second if made in one step."""
    link = make(loss=0.5, pdus_up=100)
    made: list[str] = []
    entity = link.board.transfers.entity
    each_record = entity.each_record
    assert link.board.scheduler is not None

    def watched(changed: bool = True) -> Iterator[tuple[TransactionId, bytes]]:
        for transaction, record in each_record(changed):
            made.append("made")
            yield transaction, record + bytes(40_000)

    entity.each_record = watched  # type: ignore[method-assign]
    records = link.board.transfers._records  # noqa: SLF001 - what is saved is watched
    save = records.save

    def saved(record: TransferRecord) -> int:
        made.append("saved")
        return save(record)

    records.save = saved  # type: ignore[method-assign]
    for number in range(4):
        link.ground.put(f"u{number}", bytes(60_000))
    link.run(8)
    assert len(made) >= 8 and made == ["made", "saved"] * (len(made) // 2)
