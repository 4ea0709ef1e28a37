"""The CFDP entity as a whole: noise and floods, whose turn it is, numbers that return, records, what is remembered."""

from __future__ import annotations

import dataclasses
import random
import tracemalloc
from dataclasses import replace

import pytest

from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.link.cfdp.conditions import AckStatus, ConditionCode, DeliveryCode, FaultHandler, FileStatus
from flight.link.cfdp.directives import Ack, Directive, EndOfFile, Finished, Metadata, Nak, Prompt
from flight.link.cfdp.file_data import FileData
from flight.link.cfdp.header import Header, Mode, TransactionId
from flight.link.cfdp.pdu import Pdu, decode_pdu
from flight.link.cfdp.tlv import (
    FaultHandlerOverride,
    FilestoreAction,
    FilestoreRequest,
    FilestoreResponse,
    FlowLabel,
    MessageToUser,
)
from flight.link.cfdp.transactions.contact_clock import ContactClock
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.link.cfdp.transactions.indications import TransactionFinished
from flight.link.cfdp.transactions.requests import PutRequest, Role
from flight.link.cfdp.transactions.user_operations import (
    DirectoryListing,
    DirectoryListingAnswer,
    ProxyCancel,
    ProxyPut,
    ProxyPutAnswer,
    RemoteSuspend,
    RequestedFile,
    UserOperation,
    read_operations,
)
from tests.cfdp_ends import CfdpEnd, Content, Pair

NEAR = EntityConfig(entity=1, pdu_octets=120, transactions=8, ended=4)
FAR = EntityConfig(entity=2, pdu_octets=120, transactions=8, ended=4)


def end_of(config: EntityConfig = FAR) -> CfdpEnd:
    end = CfdpEnd(config)
    end.set_contact(True)
    return end


def header(number: int, mode: Mode = Mode.ACKNOWLEDGED, destination: int = 2) -> Header:
    return Header(TransactionId(1, number), destination, mode)


def out(end: CfdpEnd) -> list[Pdu]:
    pdus = []
    while (raw := end.next_pdu()) is not None:
        pdus.append(decode_pdu(raw))
    return pdus


def test_files_both_ways_arrive_and_both_ends_know() -> None:
    pair = Pair(NEAR, FAR)
    sent = {}
    for i, octets in enumerate((0, 1, 99, 100, 101, 5000)):
        for end, destination in ((pair.near, 2), (pair.far, 1)):
            data = random.Random(i).randbytes(octets)
            sent[end.put(f"f{i}", data, PutRequest(destination, f"f{i}", f"f{i}"))] = data
    pair.run()
    for end in pair.ends:
        assert all(done.whole for done in end.finished) and len(end.finished) == 12
        assert all(sent[transaction] == data for transaction, data in end.kept.items()) and len(end.kept) == 6
        assert end.entity.counters.ended == {"sent": 6, "received": 6}
        assert end.entity.counters.octets_in == end.entity.counters.octets_out == 5301


class Nowhere(Content):
    """A content of any length that takes no memory."""

    def write(self, at: int, data: bytes | memoryview) -> None:
        pass


def test_a_large_file_has_64_bit_offsets() -> None:
    end = end_of(NEAR)

    class Sparse:
        octets = (1 << 32) + 1

        @staticmethod
        def read(_at: int, octets: int) -> bytes:
            return bytes(octets)

    end.open_source = lambda _name: Sparse()  # type: ignore[assignment, method-assign, return-value]
    end.entity.put(PutRequest(2, "f", "f", checksum_type=15), 0)
    metadata, data = decode_pdu(end.next_pdu() or b""), decode_pdu(end.next_pdu() or b"")
    assert isinstance(metadata, Metadata) and metadata.octets == (1 << 32) + 1 and metadata.header.large
    assert isinstance(data, FileData) and len(data.encode()) == 120
    far = end_of()
    far.contents[metadata.header.transaction] = Nowhere()
    far.on_pdu(metadata.encode())
    far.on_pdu(FileData(metadata.header, 1 << 32, b"x").encode())
    assert far.entity.transactions()[0].octets_done == 1


@pytest.mark.parametrize("ask", ["nak", "keep alive", "eof"])
def test_no_octet_is_taken_that_the_offsets_of_the_transaction_cannot_name(ask: str) -> None:
    end = end_of()
    end.contents[TransactionId(1, 5)] = Nowhere()
    large = dataclasses.replace(header(5), large=True)
    end.on_pdu(FileData(header(5), 0, b"x").encode())
    end.on_pdu(FileData(header(5), 0xFFFFFFF0, b"x" * 100).encode())
    end.on_pdu(FileData(large, 1 << 33, b"x").encode())
    asks = EndOfFile(large, ConditionCode.NO_ERROR, 0, 1 << 33) if ask == "eof" else Prompt(header(5), ask != "nak")
    end.on_pdu(asks.encode())
    end.serve()
    assert len(out(end)) == 1 and end.entity.transactions()[0].octets_done == 1
    assert end.entity.counters.ignored == {"offset": 2}
    assert end.faults() == ([ConditionCode.FILE_SIZE_ERROR] if ask == "eof" else [])


def test_any_octets_are_counted_and_otherwise_nothing() -> None:
    end = end_of()
    chance = random.Random(1)
    for _ in range(3000):
        end.on_pdu(chance.randbytes(chance.randrange(64)))
    valid = Metadata(header(5), 500, 3, "f", "f").encode()
    for _ in range(3000):
        raw = bytearray(valid)
        raw[chance.randrange(len(raw))] = chance.randrange(256)
        end.on_pdu(bytes(raw))
        end.serve()
    assert len(end.entity.transactions()) <= 16
    assert end.entity.counters.ignored["malformed"] > 3000


def test_pdus_for_others_are_refused() -> None:
    end = end_of()
    end.on_pdu(Metadata(header(5, destination=3), 500, 3, "f", "f").encode())
    end.on_pdu(Finished(header(5), ConditionCode.NO_ERROR, DeliveryCode.COMPLETE, FileStatus.RETAINED).encode())
    assert end.entity.counters.ignored == {"entity": 2} and out(end) == []


def test_noise_that_opens_transactions_is_bounded_and_costs_no_file_that_is_under_way() -> None:
    end = end_of()
    end.on_pdu(Metadata(header(5), 500, 3, "f", "f").encode())
    for number in range(10_000):
        end.on_pdu(FileData(header(100 + number), 0, b"noise").encode())
    assert len(end.entity.transactions()) == 8 and end.entity.counters.ignored["table"] == 10_000 - 7
    end.now_ns += 20 * NS
    end.on_pdu(Metadata(header(6), 500, 3, "g", "g").encode())  # the longest silent one makes room
    names = {status.name for status in end.entity.transactions()}
    assert {"f", "g"} <= names and len(end.entity.transactions()) == 8
    assert [done.text for done in end.finished] == ["given up for a new transaction"]
    end.on_pdu(FileData(header(100), 0, b"again").encode())  # given up, and not dead: it may begin again
    assert "late" not in end.entity.counters.ignored
    (report,) = [report for report in end.entity.ignored(end.now_ns) if report.reason == "table"]
    assert report.count == 10_000 - 7 and report.meaning == "as many transactions are open as may be"
    end.on_pdu(FileData(header(99_999), 0, b"noise").encode())
    assert [report for report in end.entity.ignored(end.now_ns) if report.reason == "table"] == []


def test_a_claimed_length_or_place_costs_no_memory() -> None:
    """What stands in an EOF, or in front of one octet of data, is held as those octets."""
    config = EntityConfig(entity=2, pdu_octets=120, transactions=16)
    end, large = end_of(config), config.file_octets
    sent = [Header(TransactionId(1, number), 2, Mode.ACKNOWLEDGED, large=True) for number in range(16)]
    for common in sent:
        end.contents[common.transaction] = Nowhere()
    tracemalloc.start()
    try:
        for common in sent:
            end.on_pdu(EndOfFile(common, ConditionCode.NO_ERROR, 0, large).encode())
            end.on_pdu(FileData(common, large - 1, b"x").encode())
            end.on_pdu(FileData(common, large, b"x").encode())
        end.checkpoint()
        out(end)
        _, peak_octets = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_octets < 1 << 20


def test_every_reason_for_ignoring_is_told_with_what_is_known_of_the_file_and_once_a_minute() -> None:
    end = end_of()
    pdus = (
        Metadata(header(5), 500, 3, "f", "mask.bin"), FileData(header(5), 600, b"x"),
        FileData(header(5, destination=9), 0, b"x"), Metadata(header(5), 400, 3, "f", "other"),
    )  # fmt: skip
    for pdu in pdus:
        end.on_pdu(pdu.encode())
    end.on_pdu(b"junk")
    known, transaction = "mask.bin", TransactionId(1, 5)
    told = {report.reason: report for report in end.entity.ignored(0)}
    assert {reason: (one.count, one.transaction, one.name) for reason, one in told.items()} == {
        "offset": (1, transaction, known), "entity": (1, transaction, ""), "conflict": (1, transaction, known),
        "malformed": (1, None, ""),
    }  # fmt: skip
    assert all(report.meaning for report in told.values())
    for _ in range(5):
        end.on_pdu(b"junk")
    assert end.entity.ignored(60 * NS - 1) == []
    (report,) = end.entity.ignored(60 * NS)
    assert (report.reason, report.count) == ("malformed", 5) and end.entity.ignored(200 * NS) == []


def test_a_number_is_not_late_because_others_were_higher() -> None:
    end = end_of()
    for number in (2**63 - 1, 5, 2**63 - 2, 4, 0):
        received(end, number)
    assert len(end.kept) == 5 and all(done.whole for done in end.finished)


@pytest.mark.parametrize("kind", [0, 2, 3, 15])
@pytest.mark.parametrize("pdu_octets", [64, 65, 67, 120])
@pytest.mark.parametrize("mode", list(Mode))
def test_a_file_is_whole_by_every_checksum_however_it_is_cut(kind: int, pdu_octets: int, mode: Mode) -> None:
    pair = Pair(replace(NEAR, pdu_octets=pdu_octets), FAR)
    data = random.Random(kind).randbytes(1021)  # not a multiple of the words that the modular checksum adds
    pair.near.put("f", data, PutRequest(2, "f", "f", mode=mode, checksum_type=kind))
    pair.run()
    assert list(pair.far.kept.values()) == [data]


def test_what_cannot_open_a_transaction_does_not() -> None:
    end = end_of()
    end.on_pdu(Prompt(header(1), keep_alive=True).encode())
    end.on_pdu(Ack(header(1), Directive.FINISHED, ConditionCode.NO_ERROR, AckStatus.ACTIVE).encode())
    end.on_pdu(EndOfFile(header(1), ConditionCode.CANCEL_REQUEST_RECEIVED, 0, 0, 1).encode())
    assert end.entity.transactions() == [] and end.entity.counters.ignored == {"unknown": 3}
    (ack,) = out(end)
    assert isinstance(ack, Ack) and ack.status is AckStatus.UNRECOGNIZED  # so that its sender may end


def received(end: CfdpEnd, number: int, data: bytes = b"data", name: str = "f") -> list[Pdu]:
    checksum = sum(data)
    end.on_pdu(Metadata(header(number), len(data), 15, name, name).encode())
    end.on_pdu(FileData(header(number), 0, data).encode())
    end.on_pdu(EndOfFile(header(number), ConditionCode.NO_ERROR, 0 * checksum, len(data)).encode())
    end.serve()
    end.serve()
    answers = out(end)
    end.on_pdu(Ack(header(number), Directive.FINISHED, ConditionCode.NO_ERROR, AckStatus.TERMINATED).encode())
    return answers


def test_late_pdus_are_answered_also_after_a_reboot() -> None:
    end = end_of()
    answers = received(end, 5)
    assert [type(pdu) for pdu in answers] == [Ack, Finished] and end.entity.transactions() == []
    for _ in range(2):
        end.on_pdu(EndOfFile(header(5), ConditionCode.NO_ERROR, 0, 4).encode())
        assert [type(pdu) for pdu in out(end)] == [Ack, Finished]
        end.on_pdu(Metadata(header(5), 4, 15, "f", "f").encode())
        end.on_pdu(FileData(header(5), 0, b"data").encode())
        assert out(end) == [] and end.entity.transactions() == []
        assert end.entity.counters.ignored["late"] == 3
        end.checkpoint()
        end.boot(newer_content=False)


@pytest.mark.parametrize("begin", ["metadata", "eof"])
def test_a_number_that_its_sender_gave_out_twice_begins_another_transaction(begin: str) -> None:
    end = end_of()
    received(end, 5)
    if begin == "metadata":
        end.on_pdu(Metadata(header(5), 9, 15, "g", "g").encode())
    else:
        end.on_pdu(EndOfFile(header(5), ConditionCode.NO_ERROR, 0, 9).encode())
    assert len(end.entity.transactions()) == 1 and end.entity.counters.renewed == 1
    received(end, 5, b"otherwise", "g")
    assert [done.whole for done in end.finished] == [True, True] and end.kept[TransactionId(1, 5)] == b"otherwise"


def test_what_is_remembered_is_bounded() -> None:
    end = end_of()
    for number in range(10):
        received(end, number)
    end.on_pdu(FileData(header(9), 0, b"data").encode())
    assert end.entity.transactions() == []
    end.on_pdu(FileData(header(0), 0, b"data").encode())
    assert len(end.entity.transactions()) == 1
    assert len(end.entity.ended_record()) < 1000


def test_what_ended_out_of_contact_is_answered_in_the_next_but_only_so_much_of_it() -> None:
    end = end_of()
    end.set_contact(False)
    for number in range(500):
        end.on_pdu(Metadata(header(number), 500, 3, "f", "f").encode())
        end.on_pdu(EndOfFile(header(number), ConditionCode.CANCEL_REQUEST_RECEIVED, 0, 0, 1).encode())
    assert end.entity.counters.ended == {"receive_failed": 500} and end.entity.transactions() == []
    end.set_contact(True)
    acks = out(end)
    assert [ack.header.transaction.number for ack in acks] == list(range(500 - 64, 500))
    assert all(isinstance(ack, Ack) and ack.status is AckStatus.TERMINATED for ack in acks)


def test_answers_that_wait_are_bounded_and_said_once() -> None:
    end = CfdpEnd(NEAR)
    for number in range(1000):
        nak = Nak(Header(TransactionId(1, number % 500), 2, Mode.ACKNOWLEDGED), 0, 1, ((0, 1),))
        end.on_pdu(nak.encode())
    end.set_contact(True)
    assert len(out(end)) == 64


def test_new_data_go_by_priority_and_overtake_at_a_pdu() -> None:
    end = end_of(NEAR)
    for name, priority in (("a", 1), ("b", 1), ("c", 2)):
        end.put(name, bytes(300), PutRequest(2, name, name, Mode.UNACKNOWLEDGED, priority=priority))
    wants_data: list[bool] = [end.entity.wants_data]
    order = []
    for i in range(100):
        raw = end.next_pdu()
        if raw is None:
            break
        order.append(decode_pdu(raw).header.transaction.number)
        if i == 2:
            end.put("d", bytes(100), PutRequest(2, "d", "d", Mode.UNACKNOWLEDGED, priority=0))
    first = order[0]
    assert [number - first for number in order] == [0] * 3 + [3] * 3 + [0] * 2 + [1] * 5 + [2] * 5
    assert [*wants_data, end.entity.wants_data] == [False, True]


def test_what_was_asked_again_goes_first_but_does_not_stop_new_data() -> None:
    end = end_of(NEAR)
    first = end.put("a", bytes(1000), PutRequest(2, "a", "a"))
    out(end)
    second = end.put("b", bytes(1000), PutRequest(2, "b", "b"))
    end.on_pdu(Nak(Header(first, 2, Mode.ACKNOWLEDGED), 0, 1000, ((0, 1000),)).encode())
    sent = [decode_pdu(end.next_pdu() or b"").header.transaction for _ in range(8)]
    assert sent == [first, first, first, second] * 2


def test_a_peer_that_prompts_without_end_does_not_stop_new_data() -> None:
    end = end_of()
    for at in range(0, 1000, 10):
        end.on_pdu(FileData(header(5), at, b"x").encode())
    end.put("f", bytes(3000), PutRequest(1, "f", "f"))
    data = 0
    for _ in range(100):
        end.on_pdu(Prompt(header(5), keep_alive=False).encode())
        data += isinstance(decode_pdu(end.next_pdu() or b""), FileData)
    assert data == 24  # and once the metadata


def test_nothing_is_sent_out_of_contact_and_a_new_entity_has_none() -> None:
    end = CfdpEnd(NEAR)
    end.put("a", bytes(100), PutRequest(2, "a", "a"))
    assert end.next_pdu() is None
    end.set_contact(True)
    assert end.next_pdu() is not None
    end.set_contact(False)
    assert end.next_pdu() is None and end.entity.next_time_ns is None


def test_what_sending_brings_about_is_told_at_the_next_time_which_is_now() -> None:
    end = end_of(NEAR)
    end.put("a", b"", PutRequest(2, "a", "a", Mode.UNACKNOWLEDGED))
    while end.entity.next_pdu(0) is not None:
        pass
    assert end.entity.next_time_ns == 0
    assert isinstance(end.entity.on_time(0)[-1], TransactionFinished)
    assert end.entity.next_time_ns != 0


def test_an_entity_may_send_to_itself() -> None:
    end = end_of(NEAR)
    end.put("a", b"hello", PutRequest(1, "a", "a"))
    for _ in range(10):
        for pdu in out(end):
            end.on_pdu(pdu.encode())
        end.serve()
    assert {(done.role, done.whole) for done in end.finished} == {(Role.RECEIVER, True), (Role.SENDER, True)}


def test_no_octet_of_a_record_may_be_wrong() -> None:
    pair = Pair(NEAR, FAR)
    pair.near.put("a", bytes(1000), PutRequest(2, "a", "a"))
    for _ in range(5):
        pair.far.on_pdu(pair.near.next_pdu() or b"")
    received(pair.far, 77)
    for end in pair.ends:
        ((_, record),) = end.entity.records(changed=False)
        ended = end.entity.ended_record()
        fresh = CfdpEnd(end.config)
        fresh.disk.sources = end.disk.sources
        for raw, restore in (
            (record, lambda raw, f=fresh: f.entity.restore(raw, 0)),
            (ended, fresh.entity.restore_ended),
        ):
            for damaged in (b"", raw[:-1], raw + b"x", raw[:8] + bytes((raw[8] ^ 1,)) + raw[9:]):
                with pytest.raises(DecodeError):
                    restore(damaged)
        with pytest.raises(DecodeError):
            fresh.entity.restore(ended, 0)
        with pytest.raises(DecodeError):
            fresh.entity.restore_ended(record)
        transaction = fresh.entity.restore(record, 0)
        with pytest.raises(DecodeError, match="is open"):
            fresh.entity.restore(record, 0)
        assert fresh.entity.report(transaction) is not None
        stranger = CfdpEnd(EntityConfig(entity=9))
        with pytest.raises(DecodeError, match="another entity"):
            stranger.entity.restore(record, 0)


def test_a_record_whose_deletion_was_lost_is_dropped() -> None:
    end = end_of()
    end.on_pdu(Metadata(header(5), 4, 15, "f", "f").encode())
    ((_, record),) = end.entity.records()
    received(end, 5)
    end.checkpoint()
    end.boot(newer_content=False)
    with pytest.raises(DecodeError, match="has ended"):
        end.entity.restore(record, 0)


def test_only_what_changed_is_stored_again() -> None:
    end = end_of()
    end.on_pdu(Metadata(header(5), 400, 15, "f", "f").encode())
    assert len(end.entity.records()) == 1 and end.entity.records() == []
    end.on_pdu(FileData(header(5), 0, b"x").encode())
    assert len(end.entity.records()) == 1 and len(end.entity.records(changed=False)) == 1


def test_the_contact_clock_stands_still_between_contacts() -> None:
    clock = ContactClock()
    assert clock.at(100) == 0 and clock.when(5) is None
    assert clock.set_contact(True, 100) and not clock.set_contact(True, 110)
    assert clock.at(130) == 30 and clock.when(50) == 150
    clock.set_contact(False, 140)
    assert clock.at(10_000) == 40
    clock.set_contact(True, 20_000)
    assert clock.at(20_010) == 50 and clock.when(50) == 20_010


ORIGIN = TransactionId(7, 300)
OPTIONS = (
    FilestoreRequest(FilestoreAction.DELETE_FILE, "old"),
    MessageToUser(b"hello"),
    FaultHandlerOverride(ConditionCode.INACTIVITY_DETECTED, FaultHandler.IGNORE),
    FlowLabel(b"fast"),
)


@pytest.mark.parametrize(
    "operation",
    [
        ProxyPut(1, "products/a", "a", Mode.UNACKNOWLEDGED, closure=True, options=OPTIONS),
        ProxyPut(1, "products/a", "a"),
        DirectoryListing("products", "list"),
        DirectoryListingAnswer(ORIGIN, False, "products", "list"),
        ProxyCancel(ORIGIN),
        RemoteSuspend(ORIGIN),
        RemoteSuspend(ORIGIN, resume=True),
        ProxyPutAnswer(
            ORIGIN, ConditionCode.FILESTORE_REJECTION, DeliveryCode.INCOMPLETE, FileStatus.REJECTED,
            (FilestoreResponse(FilestoreAction.DELETE_FILE, 0, "old"),),
        ),
    ],
)  # fmt: skip
def test_user_operations_come_back_as_they_were(operation: UserOperation) -> None:
    assert not isinstance(operation, RequestedFile)
    assert read_operations([MessageToUser(b"not reserved"), *operation.messages()]) == [operation]


def test_a_proxy_put_becomes_a_put_that_names_its_origin_and_asks_for_nothing() -> None:
    request = ProxyPut(1, "products/a", "a", options=OPTIONS).put_request(ORIGIN)
    assert (request.destination, request.source_name, request.name) == (1, "products/a", "a")
    messages = [option for option in request.options if isinstance(option, MessageToUser)]
    assert read_operations(messages) == [RequestedFile(ORIGIN)]
    loop = [*messages, *DirectoryListing("products", "list").messages()]
    assert read_operations(loop) == [RequestedFile(ORIGIN)]
    with pytest.raises(DecodeError):
        read_operations([MessageToUser(b"cfdp\x00")])
