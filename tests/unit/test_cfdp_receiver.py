"""The receiving end of a CFDP transaction: every event of its table in every state in which it can come."""

from __future__ import annotations

import dataclasses
import zlib

import pytest

from flight.core.nanoseconds import NS
from flight.link.cfdp.conditions import AckStatus, ConditionCode, DeliveryCode, FaultHandler, FileStatus
from flight.link.cfdp.directives import Ack, Directive, EndOfFile, Finished, KeepAlive, Metadata, Nak, Prompt
from flight.link.cfdp.file_data import FileData
from flight.link.cfdp.header import Header, Mode, TransactionId
from flight.link.cfdp.pdu import Pdu, decode_pdu
from flight.link.cfdp.tlv import (
    FaultHandlerOverride,
    FilestoreAction,
    FilestoreRequest,
    FilestoreResponse,
    MessageToUser,
    Tlv,
)
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.link.cfdp.transactions.filestore import FilestoreRefusal
from flight.link.cfdp.transactions.indications import FileComplete, StoreRecord, TransactionFinished
from flight.link.cfdp.transactions.requests import Refused, Retained, TransactionStatus
from tests.cfdp_ends import CfdpEnd, Content

DATA = bytes(range(250)) * 2
CRC = zlib.crc32(DATA)
SETTINGS = {
    "entity": 2, "pdu_octets": 120, "ack_s": 10, "ack_limit": 3, "nak_s": 7, "nak_limit": 3, "check_s": 5,
    "check_limit": 2, "inactivity_s": 100, "rest_s": 50, "rests_max": 2, "ranges": 4, "file_octets": 10_000,
}  # fmt: skip


def config(**changes: object) -> EntityConfig:
    return EntityConfig(**{**SETTINGS, **changes})  # type: ignore[arg-type]


class Receiving:
    """One receiver, and a test in place of its sender."""

    def __init__(self, mode: Mode = Mode.ACKNOWLEDGED, **changes: object) -> None:
        self.end = CfdpEnd(config(**changes))
        self.end.set_contact(True)
        self.id = TransactionId(1, 5)
        self.header = Header(self.id, 2, mode)

    def out(self) -> list[Pdu]:
        pdus = []
        while (raw := self.end.next_pdu()) is not None:
            pdus.append(decode_pdu(raw))
        return pdus

    def hear(self, *pdus: Pdu) -> list[Pdu]:
        for pdu in pdus:
            self.end.on_pdu(pdu.encode())
        return self.out()

    def advance(self, seconds: float) -> list[Pdu]:
        self.end.now_ns += int(seconds * NS)
        self.end.on_time()
        return self.out()

    def metadata(
        self, octets: int = len(DATA), name: str = "f", *, kind: int = 3, closure: bool = False,
        options: tuple[Tlv, ...] = (),
    ) -> Metadata:  # fmt: skip
        return Metadata(self.header, octets, kind, name, name, closure, options)

    def data(self, start: int = 0, end: int = len(DATA)) -> FileData:
        return FileData(self.header, start, DATA[start:end])

    def eof(self, octets: int = len(DATA), checksum: int = CRC) -> EndOfFile:
        return EndOfFile(self.header, ConditionCode.NO_ERROR, checksum, octets)

    def cancelled(self) -> EndOfFile:
        return EndOfFile(self.header, ConditionCode.CANCEL_REQUEST_RECEIVED, 0, 100, 1)

    def ack(self) -> Ack:
        return Ack(self.header, Directive.FINISHED, ConditionCode.NO_ERROR, AckStatus.ACTIVE)

    @property
    def status(self) -> TransactionStatus:
        status = self.end.entity.report(self.id)
        assert status is not None
        return status

    @property
    def state(self) -> str:
        status = self.end.entity.report(self.id)
        return "ended" if status is None else status.state

    @property
    def outcome(self) -> TransactionFinished:
        assert len(self.end.finished) == 1, self.end.finished
        return self.end.finished[0]

    @property
    def ignored(self) -> dict[str, int]:
        return dict(self.end.entity.counters.ignored)


def in_state(state: str) -> Receiving:
    receiving = Receiving()
    receiving.hear(receiving.metadata(), receiving.data(0, 100))
    if state != "open":
        receiving.hear(receiving.eof())
        receiving.end.checkpoint()
        receiving.out()
    if state not in ("open", "missing"):
        receiving.hear(receiving.data(100, 500))
    if state in ("decided", "finished"):
        receiving.end.settle()
    if state == "finished":
        receiving.end.checkpoint()
        receiving.out()
    assert receiving.state == state
    return receiving


def test_a_file_is_whole_only_after_the_owner_says_so_and_told_only_after_it_is_stored() -> None:
    receiving = Receiving()
    assert receiving.hear(receiving.metadata(), receiving.data(), receiving.eof()) == []
    complete = receiving.end.told[-1]
    assert complete == FileComplete(receiving.id, "f", 500, 3, CRC)
    receiving.end.settle()
    assert receiving.out() == [] and receiving.state == "decided"
    receiving.end.checkpoint()
    ack, finished = receiving.out()
    assert isinstance(ack, Ack) and ack.directive is Directive.EOF
    assert isinstance(finished, Finished) and finished.status is FileStatus.RETAINED
    receiving.hear(receiving.ack())
    assert receiving.outcome.whole and receiving.end.kept[receiving.id] == DATA


def test_an_older_record_confirms_nothing() -> None:
    receiving = Receiving()
    receiving.hear(receiving.metadata(), receiving.data(0, 100))
    entity = receiving.end.entity
    entity.records()
    receiving.hear(receiving.eof())
    assert StoreRecord(receiving.id) in receiving.end.told
    entity.stored(receiving.id, 0)  # of the record before the EOF
    assert [type(pdu) for pdu in receiving.out()] == []
    receiving.end.checkpoint()
    assert [type(pdu) for pdu in receiving.out()] == [Ack]


def test_the_order_does_not_matter() -> None:
    receiving = Receiving()
    receiving.hear(receiving.eof(), receiving.data(300, 500), receiving.data(0, 350), receiving.metadata())
    assert receiving.state == "complete"


def test_what_is_missing_is_asked_for_after_the_eof_metadata_first() -> None:
    receiving = Receiving()
    (nak,) = receiving.hear(receiving.data(100, 200), receiving.eof())
    assert isinstance(nak, Nak) and nak.requests == ((0, 0), (0, 100), (200, 500))
    assert receiving.advance(6.9) == []
    assert receiving.advance(0.1) == [nak]


def test_a_round_that_is_over_begins_the_next_at_once_and_a_slow_one_is_waited_for() -> None:
    receiving = Receiving()
    receiving.hear(receiving.metadata(), receiving.eof())
    assert receiving.hear(receiving.data(0, 100)) == []
    assert receiving.advance(6) == [] and receiving.hear(receiving.data(200, 300)) == []
    assert receiving.advance(6) == []  # the timer began again with the last new octet
    (nak,) = receiving.hear(receiving.data(400, 500))
    assert isinstance(nak, Nak) and nak.requests == ((100, 200), (300, 400))


def test_naks_are_split_to_the_size_of_a_pdu_and_bounded() -> None:
    receiving = Receiving(ranges=1000, nak_pdus=3)
    receiving.hear(receiving.metadata())
    for at in range(0, 500, 5):
        receiving.end.on_pdu(receiving.data(at, at + 1).encode())
    naks = receiving.hear(receiving.eof())
    assert len(naks) == 3 and all(len(nak.encode()) <= 120 for nak in naks)
    assert all(isinstance(nak, Nak) for nak in naks)


def test_a_gap_is_asked_for_at_once_if_the_mode_is_immediate() -> None:
    receiving = Receiving(nak="immediate")
    receiving.hear(receiving.metadata(), receiving.data(0, 100))
    (nak,) = receiving.hear(receiving.data(200, 300))
    assert isinstance(nak, Nak) and nak.requests == ((100, 200),)
    assert receiving.hear(receiving.data(300, 400)) == []


def test_prompts_are_answered() -> None:
    receiving = in_state("open")
    (nak,) = receiving.hear(Prompt(receiving.header, keep_alive=False))
    assert isinstance(nak, Nak) and nak.requests == () and nak.end == 100
    (keep_alive,) = receiving.hear(Prompt(receiving.header, keep_alive=True))
    assert keep_alive == KeepAlive(receiving.header, 100)
    finished = in_state("finished")
    assert [type(pdu) for pdu in finished.hear(Prompt(finished.header, keep_alive=True))] == [Finished]


def test_progress_is_told_by_itself_only_if_configured() -> None:
    receiving = Receiving(keep_alive_s=20.0)
    receiving.hear(receiving.metadata(), receiving.data(0, 100))
    assert receiving.advance(20) == [KeepAlive(receiving.header, 100)]
    assert receiving.advance(20) == [KeepAlive(receiving.header, 100)]


def test_an_eof_that_comes_again_is_acknowledged_again() -> None:
    for state, answers in (("missing", [Ack]), ("complete", [Ack]), ("finished", [Ack, Finished])):
        receiving = in_state(state)
        assert [type(pdu) for pdu in receiving.hear(receiving.eof())] == answers
    unstored = Receiving()
    unstored.hear(unstored.metadata(), unstored.data(0, 100), unstored.eof())
    told = len(unstored.end.told)
    assert [type(pdu) for pdu in unstored.hear(unstored.eof())] == []
    assert unstored.end.told[told:] == [StoreRecord(unstored.id)]


@pytest.mark.parametrize("state", ["missing", "complete", "decided", "finished"])
def test_another_eof_is_a_conflict(state: str) -> None:
    receiving = in_state(state)
    assert receiving.hear(receiving.eof(checksum=1)) == [] and receiving.ignored == {"conflict": 1}
    assert receiving.state == state


@pytest.mark.parametrize("state", ["open", "missing"])
def test_the_sender_cancels(state: str) -> None:
    receiving = in_state(state)
    (ack,) = receiving.hear(receiving.cancelled())
    assert isinstance(ack, Ack) and ack.condition is ConditionCode.CANCEL_REQUEST_RECEIVED
    assert receiving.outcome.condition is ConditionCode.CANCEL_REQUEST_RECEIVED and not receiving.outcome.whole
    assert receiving.hear(receiving.cancelled()) == [ack]  # late, from memory


def test_a_sender_that_cancels_a_file_that_is_there_learns_it() -> None:
    receiving = in_state("complete")
    assert receiving.hear(receiving.cancelled()) == []
    receiving.end.settle()
    receiving.end.checkpoint()
    assert [type(pdu) for pdu in receiving.out()] == [Finished]
    assert [type(pdu) for pdu in receiving.hear(receiving.cancelled())] == [Finished]
    receiving.hear(receiving.ack())
    assert receiving.outcome.whole
    assert [type(pdu) for pdu in receiving.hear(receiving.cancelled())] == [Finished]


@pytest.mark.parametrize("state", ["open", "missing"])
def test_a_user_cancels_and_the_sender_is_told_once_it_is_stored(state: str) -> None:
    receiving = in_state(state)
    receiving.end.take(receiving.end.entity.cancel(receiving.id, receiving.end.now_ns))
    assert receiving.out() == [] and receiving.state == "decided"
    receiving.end.checkpoint()
    finished = receiving.out()[-1]
    assert isinstance(finished, Finished) and finished.condition is ConditionCode.CANCEL_REQUEST_RECEIVED
    (ack,) = receiving.hear(receiving.cancelled())
    assert isinstance(ack, Ack)  # both cancelled: the sender may go
    receiving.hear(receiving.ack())
    assert not receiving.outcome.whole and receiving.outcome.missing == ((100, 500),)


def test_an_eof_after_the_cancel_is_acknowledged_once_the_outcome_is_stored() -> None:
    receiving = in_state("open")
    receiving.end.take(receiving.end.entity.cancel(receiving.id, 0))
    assert receiving.hear(receiving.eof()) == []
    receiving.end.checkpoint()
    assert [type(pdu) for pdu in receiving.out()] == [Ack, Finished]
    assert [type(pdu) for pdu in receiving.hear(receiving.eof())] == [Ack, Finished]


@pytest.mark.parametrize("state", ["complete", "decided", "finished"])
def test_it_is_too_late_to_cancel(state: str) -> None:
    receiving = in_state(state)
    receiving.end.take(receiving.end.entity.cancel(receiving.id, 0))
    assert receiving.state == state


@pytest.mark.parametrize("handler", list(FaultHandler))
def test_a_checksum_mismatch_is_a_fault_by_its_handler(handler: FaultHandler) -> None:
    receiving = Receiving()
    override = FaultHandlerOverride(ConditionCode.FILE_CHECKSUM_FAILURE, handler)
    receiving.hear(receiving.metadata(options=(override,)), receiving.data(), receiving.eof(checksum=1))
    receiving.end.settle()
    if handler is FaultHandler.SUSPEND:
        assert receiving.status.resting
        receiving.advance(50)  # it wakes, and the owner looks again
        assert receiving.state == "complete"
        return
    assert receiving.state == ("ended" if handler is FaultHandler.ABANDON else "decided")
    if handler is not FaultHandler.ABANDON:
        receiving.end.checkpoint()
        finished = receiving.out()[-1]
        assert isinstance(finished, Finished) and finished.condition is ConditionCode.FILE_CHECKSUM_FAILURE
        assert finished.delivery is DeliveryCode.INCOMPLETE and finished.fault_entity == 2


def test_a_name_that_is_not_admitted_ends_it_before_the_octets_come() -> None:
    receiving = Receiving()
    receiving.end.refuses = lambda name, octets: f"{name} of {octets} octets: no room"
    receiving.hear(receiving.metadata())
    receiving.end.checkpoint()
    (finished,) = receiving.out()
    assert isinstance(finished, Finished) and finished.status is FileStatus.REJECTED
    assert finished.condition is ConditionCode.FILESTORE_REJECTION
    receiving.hear(receiving.ack())
    assert receiving.outcome.text == "f of 500 octets: no room"


def test_a_store_that_fills_up_on_the_way_ends_it() -> None:
    receiving = Receiving()
    receiving.end.room = 150
    receiving.hear(receiving.metadata(), receiving.data(0, 100), receiving.data(100, 200))
    assert receiving.end.faults() == [ConditionCode.FILESTORE_REJECTION] and receiving.state == "decided"


def test_a_store_that_is_full_may_be_waited_for() -> None:
    receiving = Receiving()
    receiving.end.room = 150
    override = FaultHandlerOverride(ConditionCode.FILESTORE_REJECTION, FaultHandler.SUSPEND)
    receiving.hear(receiving.metadata(options=(override,)), receiving.data(0, 100), receiving.data(100, 200))
    assert receiving.status.resting and receiving.status.octets_done == 100
    receiving.end.contents[receiving.id].room = None
    receiving.hear(receiving.data(100, 500), receiving.eof())
    assert receiving.state == "complete"


SIZES: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = (
    ("smaller than what is here", (("metadata", 500), ("data", 500), ("eof", 400))),
    ("another than announced", (("metadata", 600), ("eof", 500))),
    ("more than is taken at all", (("metadata", 20_000),)),
    ("more than is taken at all, by the EOF", (("eof", 20_000),)),
    ("announced smaller than what is here", (("data", 500), ("metadata", 400))),
    ("data beyond the end", (("eof", 300), ("data", 500))),
)


@pytest.mark.parametrize(("why", "pdus"), SIZES)
def test_sizes_that_cannot_be_are_faults(why: str, pdus: tuple[tuple[str, int], ...]) -> None:
    receiving = Receiving()
    for kind, octets in pdus:
        pdu_of: dict[str, Pdu] = {
            "metadata": receiving.metadata(octets), "eof": receiving.eof(octets), "data": receiving.data(0, octets)
        }  # fmt: skip
        receiving.hear(pdu_of[kind])
    assert receiving.end.faults() == [ConditionCode.FILE_SIZE_ERROR], why
    assert receiving.state == "decided"


def test_absurd_offsets_are_refused_alone_before_the_eof() -> None:
    receiving = Receiving()
    absurd = FileData(receiving.header, 0xFFFFFF00, b"x" * 100)
    receiving.hear(absurd, receiving.metadata(), absurd, receiving.data(), receiving.eof())
    assert receiving.state == "complete" and receiving.ignored == {"offset": 2}
    assert len(receiving.end.contents[receiving.id].data) == 500


def test_stretches_are_bounded_and_what_lengthens_one_is_taken() -> None:
    receiving = Receiving()
    receiving.hear(receiving.metadata(), *(receiving.data(at, at + 10) for at in (0, 100, 200, 300)))
    receiving.hear(receiving.data(400, 410), receiving.data(310, 320), receiving.data(10, 20))
    assert receiving.ignored == {"ranges": 1} and receiving.status.octets_done == 60


def test_what_came_first_stays() -> None:
    receiving = Receiving()
    forged = FileData(receiving.header, 0, b"\0" * 200)
    receiving.hear(receiving.metadata(), receiving.data(0, 100), forged, receiving.data(200, 500))
    content = receiving.end.contents[receiving.id].data
    assert content[:100] == DATA[:100] and receiving.end.entity.counters.octets_in == 500


def test_one_segment_closes_only_so_many_gaps_and_the_next_one_the_rest() -> None:
    receiving = Receiving(ranges=200)
    data = bytes(200)
    receiving.hear(receiving.metadata(200))
    receiving.hear(*(FileData(receiving.header, at, data[:1]) for at in range(0, 200, 2)))
    all_of_it = FileData(receiving.header, 0, data)
    assert receiving.status.octets_done == 100
    receiving.hear(all_of_it)
    assert receiving.status.octets_done == 164
    receiving.hear(all_of_it)
    assert receiving.status.octets_done == 200 and bytes(receiving.end.contents[receiving.id].data) == data


def test_two_senders_with_one_id_conflict_and_the_first_counts() -> None:
    receiving = Receiving()
    other = Receiving(Mode.UNACKNOWLEDGED)
    receiving.hear(receiving.metadata(), receiving.metadata(name="g"), other.data(0, 100), receiving.data())
    assert receiving.ignored == {"conflict": 2} and receiving.status.name == "f"


def test_a_file_of_records_is_refused() -> None:
    receiving = Receiving()
    receiving.hear(receiving.metadata(), FileData(receiving.header, 0, DATA[:100], records=True))
    assert receiving.end.faults() == [ConditionCode.INVALID_FILE_STRUCTURE] and receiving.state == "decided"


@pytest.mark.parametrize("state", ["complete", "decided", "finished"])
def test_segments_of_records_are_no_fault_of_a_file_that_is_there(state: str) -> None:
    receiving = Receiving()
    abandon = FaultHandlerOverride(ConditionCode.INVALID_FILE_STRUCTURE, FaultHandler.ABANDON)
    receiving.hear(receiving.metadata(options=(abandon,)), receiving.data(), receiving.eof())
    if state != "complete":
        receiving.end.settle()
    if state == "finished":
        receiving.end.checkpoint()
    receiving.hear(dataclasses.replace(receiving.data(), records=True))
    assert receiving.state == state and receiving.ignored == {"state": 1}


def test_a_transaction_that_ends_as_its_rest_does_ends_once() -> None:
    receiving = Receiving(Mode.UNACKNOWLEDGED)

    def refuse(transaction: TransactionId) -> Content:  # noqa: ARG001 - as the port has it
        raise FilestoreRefusal("no room")

    receiving.end.open_destination = refuse  # type: ignore[method-assign]
    rest = FaultHandlerOverride(ConditionCode.FILESTORE_REJECTION, FaultHandler.SUSPEND)
    abandon = FaultHandlerOverride(ConditionCode.INVALID_FILE_STRUCTURE, FaultHandler.ABANDON)
    receiving.hear(receiving.metadata(0, options=(rest, abandon)), receiving.eof(0, 0))
    receiving.hear(receiving.data(0, 0))  # ends the rest, and begins the next
    receiving.hear(dataclasses.replace(receiving.data(), records=True))
    assert receiving.outcome.condition is ConditionCode.FILESTORE_REJECTION


def test_an_unknown_checksum_type_is_a_fault_and_ignored_it_is_none() -> None:
    receiving = Receiving()
    receiving.hear(receiving.metadata(kind=7))
    assert receiving.end.faults() == [ConditionCode.UNSUPPORTED_CHECKSUM_TYPE] and receiving.state == "decided"
    lenient = Receiving(handlers={ConditionCode.UNSUPPORTED_CHECKSUM_TYPE: FaultHandler.IGNORE})
    lenient.hear(lenient.metadata(kind=7), lenient.data(), lenient.eof())
    complete = lenient.end.told[-1]
    assert isinstance(complete, FileComplete) and complete.checksum_type == 15


def test_a_sender_that_is_silent_before_the_eof_is_a_fault_and_the_rest_ends_with_its_next_word() -> None:
    receiving = in_state("open")
    receiving.advance(99)
    assert receiving.end.faults() == []
    receiving.advance(1)
    assert receiving.end.faults() == [ConditionCode.INACTIVITY_DETECTED] and receiving.status.resting
    receiving.hear(receiving.data(100, 200))
    assert not receiving.status.resting


def test_a_sender_that_never_finishes_is_given_up() -> None:
    for state in ("open", "missing", "finished"):
        receiving = in_state(state)
        for _ in range(200):
            receiving.advance(10)
            receiving.end.serve()
            receiving.end.entity.on_pdu(b"noise", receiving.end.now_ns)
        assert receiving.state == "ended", state
        assert receiving.outcome.whole == (state == "finished")


def test_a_sender_that_talks_without_bringing_an_octet_is_given_up() -> None:
    receiving = in_state("missing")
    for _ in range(200):
        receiving.advance(10)
        receiving.end.serve()
        if receiving.state == "ended":
            break
        receiving.hear(receiving.data(0, 100), receiving.metadata(), receiving.eof())
    assert receiving.end.faults().count(ConditionCode.NAK_LIMIT_REACHED) == 3
    assert receiving.outcome.condition is ConditionCode.NAK_LIMIT_REACHED


def test_a_sender_that_repeats_itself_before_the_eof_is_given_up() -> None:
    receiving = in_state("open")
    for _ in range(1000):
        receiving.advance(10)
        receiving.end.serve()
        if receiving.state != "open":
            break
        receiving.hear(receiving.data(0, 100), receiving.metadata())
    assert receiving.state == "finished" and receiving.end.now_ns >= 1000 * NS
    assert set(receiving.end.faults()) == {ConditionCode.INACTIVITY_DETECTED}


def test_a_sender_that_repeats_its_eof_and_never_takes_the_finished_is_given_up() -> None:
    receiving = in_state("finished")
    for _ in range(200):
        receiving.advance(3)
        if receiving.state == "ended":
            break
        receiving.hear(receiving.eof())
    assert receiving.outcome.whole and ConditionCode.ACK_LIMIT_REACHED in receiving.end.faults()


def test_class_1_waits_for_octets_that_were_overtaken_and_reports_what_is_missing() -> None:
    receiving = Receiving(Mode.UNACKNOWLEDGED)
    assert receiving.hear(receiving.metadata(), receiving.data(0, 100), receiving.data(300, 500), receiving.eof()) == []
    receiving.advance(5)
    assert receiving.state == "missing"
    receiving.advance(5)
    assert receiving.outcome.condition is ConditionCode.CHECK_LIMIT_REACHED
    assert receiving.outcome.missing == ((100, 300),) and receiving.outcome.octets == 500


def test_a_limit_that_the_sender_wants_ignored_is_ignored_only_so_often() -> None:
    receiving = Receiving(Mode.UNACKNOWLEDGED)
    ignore = FaultHandlerOverride(ConditionCode.CHECK_LIMIT_REACHED, FaultHandler.IGNORE)
    receiving.hear(receiving.metadata(options=(ignore,)), receiving.eof())
    for _ in range(20):
        receiving.advance(5)
    assert receiving.outcome.condition is ConditionCode.CHECK_LIMIT_REACHED
    assert receiving.end.faults() == [ConditionCode.CHECK_LIMIT_REACHED] * 3


def test_class_1_without_metadata_is_delivered_without_a_name() -> None:
    receiving = Receiving(Mode.UNACKNOWLEDGED)
    receiving.hear(receiving.data(), receiving.eof())
    receiving.advance(5)
    receiving.advance(5)
    assert FileComplete(receiving.id, "", 500, None, CRC) in receiving.end.told
    receiving.end.settle()
    assert receiving.outcome.whole and receiving.outcome.name == ""


def test_class_1_with_closure_says_finished_once() -> None:
    receiving = Receiving(Mode.UNACKNOWLEDGED)
    receiving.hear(receiving.metadata(closure=True), receiving.data(), receiving.eof())
    receiving.end.settle()
    receiving.end.checkpoint()
    assert [type(pdu) for pdu in receiving.out()] == [Finished] and receiving.outcome.whole
    assert [type(pdu) for pdu in receiving.hear(receiving.eof())] == [Finished]  # the sender did not hear it


def test_an_empty_file_and_metadata_without_a_file() -> None:
    empty = Receiving()
    empty.hear(empty.metadata(0), empty.eof(0, 0))
    assert empty.state == "complete" and empty.id in empty.end.contents
    alone = Receiving()
    request = FilestoreRequest(FilestoreAction.DELETE_FILE, "old")
    alone.hear(alone.metadata(0, "", options=(request, MessageToUser(b"hello"))))
    complete = alone.end.told[-1]
    assert complete == FileComplete(alone.id, "", 0, 3, 0, (request,), (MessageToUser(b"hello"),), has_file=False)
    response = FilestoreResponse(FilestoreAction.DELETE_FILE, 0, "old")
    alone.end.take(alone.end.entity.settle(alone.id, Retained((response,)), 0))
    alone.end.checkpoint()
    (finished,) = alone.out()
    assert isinstance(finished, Finished) and finished.responses == (response,)
    assert [type(pdu) for pdu in alone.hear(alone.metadata(0, "", options=(request, MessageToUser(b"hello"))))] == [
        Finished
    ]


def requesting(mode: Mode = Mode.ACKNOWLEDGED, *, closure: bool = False) -> tuple[Receiving, Metadata]:
    """Return a receiver, and metadata without a file that it may hear."""
    receiving = Receiving(mode)
    return receiving, receiving.metadata(0, "", closure=closure, options=(MessageToUser(b"hello"),))


def test_the_eof_after_metadata_without_a_file_is_stored_before_its_ack() -> None:
    receiving, metadata = requesting()
    assert receiving.hear(metadata, receiving.eof(0, 0)) == [] and receiving.state == "complete"
    receiving.end.checkpoint()
    assert [type(pdu) for pdu in receiving.out()] == [Ack]
    assert [type(pdu) for pdu in receiving.hear(receiving.eof(0, 0))] == [Ack]
    receiving.end.boot(newer_content=False)
    assert [type(pdu) for pdu in receiving.out()] == [Ack] and receiving.state == "complete"
    receiving.end.settle()
    receiving.end.checkpoint()
    assert [type(pdu) for pdu in receiving.out()] == [Finished]
    receiving.hear(receiving.ack())
    assert receiving.outcome.delivery is DeliveryCode.COMPLETE


@pytest.mark.parametrize("state", ["decided", "finished", "ended"])
def test_the_eof_after_metadata_without_a_file_is_acknowledged_in_every_state(state: str) -> None:
    receiving, metadata = requesting()
    receiving.hear(metadata)
    receiving.end.settle()
    if state != "decided":
        receiving.end.checkpoint()
        assert [type(pdu) for pdu in receiving.out()] == [Finished]
    if state == "ended":
        receiving.hear(receiving.ack())
    assert receiving.state == state
    receiving.end.on_pdu(receiving.eof(0, 0).encode())
    receiving.end.checkpoint()
    ack, finished = receiving.out()
    assert isinstance(ack, Ack) and ack.directive is Directive.EOF and isinstance(finished, Finished)
    assert ack.status is (AckStatus.TERMINATED if state == "ended" else AckStatus.ACTIVE)


def test_metadata_without_a_file_that_were_lost_are_asked_for() -> None:
    receiving, metadata = requesting()
    receiving.hear(receiving.eof(0, 0))
    receiving.end.checkpoint()
    receiving.out()
    (nak,) = receiving.advance(7)
    assert isinstance(nak, Nak) and nak.requests == ((0, 0),)
    receiving.hear(metadata)
    receiving.end.settle()
    receiving.end.checkpoint()
    assert [type(pdu) for pdu in receiving.out()] == [Finished]
    receiving.hear(receiving.ack())
    assert receiving.outcome.delivery is DeliveryCode.COMPLETE
    assert receiving.outcome.status is FileStatus.UNREPORTED


def test_class_1_delivers_nothing_for_an_eof_without_octets_or_metadata() -> None:
    receiving = Receiving(Mode.UNACKNOWLEDGED)
    receiving.hear(receiving.eof(0, 0))
    receiving.advance(5)
    receiving.advance(5)
    assert receiving.outcome.condition is ConditionCode.CHECK_LIMIT_REACHED
    assert receiving.outcome.delivery is DeliveryCode.INCOMPLETE


def test_an_eof_with_octets_contradicts_metadata_without_a_file() -> None:
    receiving, metadata = requesting()
    assert receiving.hear(metadata, receiving.eof()) == []
    assert receiving.ignored["conflict"] == 1 and receiving.state == "complete"


def test_class_1_with_closure_answers_the_eof_after_metadata_without_a_file() -> None:
    receiving, metadata = requesting(Mode.UNACKNOWLEDGED, closure=True)
    receiving.hear(metadata)
    receiving.end.settle()
    receiving.end.checkpoint()
    assert [type(pdu) for pdu in receiving.out()] == [Finished] and receiving.state == "ended"
    assert [type(pdu) for pdu in receiving.hear(receiving.eof(0, 0))] == [Finished]


def test_responses_are_cut_to_what_a_finished_has_room_for() -> None:
    receiving = in_state("complete")
    responses = tuple(FilestoreResponse(FilestoreAction.DELETE_FILE, 0, "x" * 40) for _ in range(5))
    receiving.end.take(receiving.end.entity.settle(receiving.id, Retained(responses), 0))
    receiving.end.checkpoint()
    (finished,) = receiving.out()
    assert isinstance(finished, Finished) and 1 <= len(finished.responses) < 5 and len(finished.encode()) <= 120


def test_a_suspended_receiver_takes_octets_and_says_nothing() -> None:
    receiving = in_state("missing")
    receiving.end.take(receiving.end.entity.suspend(receiving.id, 0))
    assert receiving.advance(1000) == [] and receiving.end.faults() == []
    assert [type(pdu) for pdu in receiving.hear(receiving.data(100, 200), receiving.eof())] == [Ack]
    receiving.end.take(receiving.end.entity.resume(receiving.id, receiving.end.now_ns))
    (nak,) = receiving.out()
    assert isinstance(nak, Nak) and nak.requests == ((200, 500),)


@pytest.mark.parametrize("state", ["open", "missing", "complete", "decided", "finished"])
def test_it_goes_on_after_a_reboot(state: str) -> None:
    receiving = in_state(state)
    receiving.end.checkpoint()
    receiving.end.boot(newer_content=False)
    answers = [type(pdu) for pdu in receiving.out()]
    assert answers == {
        "open": [], "missing": [Ack, Nak], "complete": [Ack], "decided": [Ack, Finished], "finished": [Ack, Finished],
    }[state]  # fmt: skip
    if state in ("open", "missing"):
        assert receiving.status.octets_done == 100
        receiving.hear(receiving.data(100, 500), receiving.eof())
    if receiving.state == "complete":
        receiving.end.settle()
    receiving.end.checkpoint()
    receiving.out()
    receiving.hear(receiving.ack())
    assert receiving.outcome.whole and receiving.end.kept[receiving.id] == DATA


def test_content_that_was_lost_is_asked_for_again() -> None:
    receiving = in_state("missing")
    receiving.end.checkpoint()

    def lost(_transaction: TransactionId) -> object:
        raise FilestoreRefusal("the content is gone")

    whole = receiving.end.open_destination
    receiving.end.open_destination = lost  # type: ignore[method-assign, assignment]
    receiving.end.boot(newer_content=False)
    receiving.end.open_destination = whole  # type: ignore[method-assign]
    nak = receiving.out()[-1]
    assert isinstance(nak, Nak) and nak.requests == ((0, 500),)


def test_the_owner_is_asked_again_after_a_reboot() -> None:
    receiving = in_state("missing")
    receiving.end.checkpoint()
    receiving.end.refuses = lambda _name, _octets: "no room any more"
    receiving.end.boot(newer_content=False)
    assert receiving.end.faults() == [ConditionCode.FILESTORE_REJECTION] and receiving.state == "decided"
    receiving.end.checkpoint()
    assert [type(pdu) for pdu in receiving.out()] == [Ack, Finished]


def test_a_cancel_ends_a_suspension() -> None:
    receiving = in_state("missing")
    receiving.end.take(receiving.end.entity.suspend(receiving.id, 0))
    receiving.end.take(receiving.end.entity.cancel(receiving.id, 0))
    receiving.end.checkpoint()
    assert [type(pdu) for pdu in receiving.out()] == [Finished]


@pytest.mark.parametrize("state", ["decided", "finished"])
def test_a_cancel_that_is_too_late_still_ends_a_suspension(state: str) -> None:
    receiving = in_state(state)
    receiving.end.take(receiving.end.entity.suspend(receiving.id, receiving.end.now_ns))
    receiving.end.checkpoint()
    assert receiving.advance(1000) == []
    receiving.end.take(receiving.end.entity.cancel(receiving.id, receiving.end.now_ns))
    receiving.end.checkpoint()
    (finished,) = receiving.out()
    assert isinstance(finished, Finished) and finished.condition is ConditionCode.NO_ERROR


def test_a_whole_file_that_is_suspended_is_told_of_after_the_resume() -> None:
    receiving = in_state("complete")
    receiving.end.take(receiving.end.entity.suspend(receiving.id, 0))
    receiving.end.settle()
    receiving.end.checkpoint()
    receiving.end.checkpoint()
    assert receiving.out() == []
    receiving.end.boot(newer_content=False)
    assert [type(pdu) for pdu in receiving.out()] == [Ack]
    receiving.end.take(receiving.end.entity.resume(receiving.id, 0))
    assert [type(pdu) for pdu in receiving.out()] == [Finished]


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    receiving = in_state("missing")
    entity = receiving.end.entity
    assert entity.settle(receiving.id, Refused("late"), 0) == []
    assert entity.settle(TransactionId(9, 9), Retained(), 0) == [] and entity.stored(TransactionId(9, 9), 0) == []
    assert receiving.hear(receiving.ack()) == [] and receiving.ignored == {"state": 1}
    assert receiving.state == "missing"
