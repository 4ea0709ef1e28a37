"""The sending end of a CFDP transaction: every event of its table in every state in which it can come."""

from __future__ import annotations

import pytest

from flight.core.nanoseconds import NS
from flight.link.cfdp.conditions import AckStatus, ConditionCode, DeliveryCode, FaultHandler, FileStatus
from flight.link.cfdp.directives import Ack, Directive, EndOfFile, Finished, KeepAlive, Metadata, Nak, Prompt
from flight.link.cfdp.file_data import FileData
from flight.link.cfdp.header import Header, Mode, TransactionId
from flight.link.cfdp.pdu import Pdu, decode_pdu
from flight.link.cfdp.tlv import FaultHandlerOverride, MessageToUser, Tlv
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.link.cfdp.transactions.indications import EofSent, Faulted, TransactionFinished
from flight.link.cfdp.transactions.requests import PutRefused, PutRequest
from tests.cfdp_ends import CfdpEnd

DATA = bytes(range(250)) * 2
SEGMENT = 100
CONFIG = EntityConfig(
    entity=1, pdu_octets=16 + 4 + SEGMENT, ack_s=10, ack_limit=3, check_s=5, check_limit=2, inactivity_s=100, rest_s=50,
    rests_max=2, rewind_octets=150, resend_factor=2,
)  # fmt: skip


class Sending:
    """One sender, and a test in place of its receiver."""

    def __init__(
        self, mode: Mode = Mode.ACKNOWLEDGED, *, data: bytes = DATA, closure: bool = False,
        config: EntityConfig = CONFIG, options: tuple[Tlv, ...] = (), name: str = "f",
    ) -> None:  # fmt: skip
        self.end = CfdpEnd(config)
        self.end.set_contact(True)
        self.id = self.end.put(name, data, PutRequest(2, name, name, mode, closure, options=options))
        self.header = Header(self.id, 2, mode)

    def out(self) -> list[Pdu]:
        pdus = []
        while (raw := self.end.next_pdu()) is not None:
            pdus.append(decode_pdu(raw))
        return pdus

    def hear(self, pdu: Pdu) -> list[Pdu]:
        self.end.on_pdu(pdu.encode())
        return self.out()

    def advance(self, seconds: float) -> list[Pdu]:
        self.end.now_ns += int(seconds * NS)
        self.end.on_time()
        return self.out()

    def ack(self, condition: ConditionCode = ConditionCode.NO_ERROR, status: AckStatus = AckStatus.ACTIVE) -> Ack:
        return Ack(self.header, Directive.EOF, condition, status)

    def finished(self, condition: ConditionCode = ConditionCode.NO_ERROR) -> Finished:
        if condition is ConditionCode.NO_ERROR:
            return Finished(self.header, condition, DeliveryCode.COMPLETE, FileStatus.RETAINED)
        return Finished(self.header, condition, DeliveryCode.INCOMPLETE, FileStatus.DISCARDED, (), 2)

    @property
    def state(self) -> str:
        status = self.end.entity.report(self.id)
        return "ended" if status is None else status.state

    @property
    def outcome(self) -> TransactionFinished:
        assert len(self.end.finished) == 1, self.end.finished
        return self.end.finished[0]


def in_state(state: str) -> Sending:
    sending = Sending()
    if state == "sending":
        for _ in range(3):
            sending.end.next_pdu()
    else:
        sending.out()
    if state == "finished_awaited":
        sending.hear(sending.ack())
    if state == "cancelling":
        sending.end.take(sending.end.entity.cancel(sending.id, 0))
        sending.out()
    assert sending.state == state
    return sending


STATES = ("sending", "ack_awaited", "finished_awaited", "cancelling")


def test_a_file_goes_out_as_metadata_data_and_eof() -> None:
    sending = Sending()
    metadata, *data, eof = sending.out()
    assert isinstance(metadata, Metadata) and (metadata.octets, metadata.name) == (500, "f")
    assert b"".join(bytes(pdu.data) for pdu in data if isinstance(pdu, FileData)) == DATA and len(data) == 5
    assert isinstance(eof, EndOfFile) and eof.octets == 500
    assert sending.state == "ack_awaited" and EofSent(sending.id) in sending.end.told


def test_class_1_ends_with_its_eof_and_claims_nothing() -> None:
    sending = Sending(Mode.UNACKNOWLEDGED)
    assert len(sending.out()) == 7
    assert sending.outcome.condition is ConditionCode.NO_ERROR and not sending.outcome.whole
    assert sending.outcome.status is FileStatus.UNREPORTED


def test_an_ack_of_the_eof_is_awaited_and_the_eof_repeated_until_it_comes() -> None:
    sending = in_state("ack_awaited")
    assert [type(pdu) for pdu in sending.advance(10)] == [EndOfFile]
    sending.hear(sending.ack())
    assert sending.state == "finished_awaited" and sending.advance(10) == []


@pytest.mark.parametrize("state", ["sending", "finished_awaited", "cancelling"])
def test_an_ack_of_the_eof_does_nothing_elsewhere(state: str) -> None:
    sending = in_state(state)
    sending.end.on_pdu(sending.ack().encode())
    assert sending.state == state and sending.end.entity.counters.ignored["state"] == 1


def test_an_ack_that_does_not_know_the_transaction_confirms_nothing() -> None:
    sending = in_state("ack_awaited")
    sending.hear(sending.ack(status=AckStatus.UNRECOGNIZED))
    assert sending.state == "ack_awaited"


@pytest.mark.parametrize("state", ["sending", "ack_awaited", "finished_awaited"])
def test_a_nak_brings_what_was_sent_again_and_only_that(state: str) -> None:
    sending = in_state(state)
    sent = 200 if state == "sending" else 500
    sending.end.on_pdu(Nak(sending.header, 0, 500, ((0, 0), (50, 250), (450, 500))).encode())
    again: list[Pdu] = []
    while (raw := sending.end.next_pdu()) is not None and len(again) < (3 if state == "sending" else 4):
        again.append(decode_pdu(raw))
    assert isinstance(again[0], Metadata)
    stretches = [(pdu.offset, pdu.offset + len(pdu.data)) for pdu in again[1:] if isinstance(pdu, FileData)]
    assert stretches == ([(50, 150), (150, 200)] if sent == 200 else [(50, 150), (150, 250), (450, 500)])


def test_requests_that_no_file_can_have_are_refused_and_the_rest_is_served() -> None:
    sending = in_state("finished_awaited")
    again = sending.hear(Nak(sending.header, 0, 1 << 31, ((100, 100), (400, 501), (1 << 30, 1 << 31), (0, 10))))
    assert [pdu.offset for pdu in again if isinstance(pdu, FileData)] == [0]
    assert sending.end.entity.counters.ignored["request"] == 1


def test_of_one_nak_only_so_many_requests_are_served() -> None:
    sending = in_state("finished_awaited")
    sending.end.on_pdu(Nak(sending.header, 0, 500, (*((0, 1),) * 1024, (300, 301))).encode())
    assert [(pdu.offset, len(pdu.data)) for pdu in sending.out() if isinstance(pdu, FileData)] == [(0, 1)]


def test_asking_twice_for_what_was_not_sent_yet_costs_nothing() -> None:
    sending = in_state("finished_awaited")
    for _ in range(5):
        sending.end.on_pdu(Nak(sending.header, 0, 500, ((0, 300),)).encode())
    assert len(sending.out()) == 3


def test_a_peer_that_asks_without_end_is_given_up() -> None:
    sending = in_state("finished_awaited")
    for _ in range(5000):
        sending.hear(Nak(sending.header, 0, 500, ((0, 500),)))
        if sending.state == "cancelling":
            break
    assert sending.state == "cancelling"
    assert ConditionCode.NAK_LIMIT_REACHED in sending.end.faults()


def test_nothing_is_sent_again_while_it_is_cancelled() -> None:
    sending = in_state("cancelling")
    assert sending.hear(Nak(sending.header, 0, 500, ((0, 500),))) == []


@pytest.mark.parametrize("state", ["ack_awaited", "finished_awaited", "cancelling"])
def test_the_receiver_has_the_last_word(state: str) -> None:
    sending = in_state(state)
    (answer,) = sending.hear(sending.finished())
    assert isinstance(answer, Ack) and answer.directive is Directive.FINISHED
    assert sending.outcome.whole and sending.outcome.condition is ConditionCode.NO_ERROR


def test_a_file_that_is_kept_although_something_is_wrong_with_it_is_not_delivered() -> None:
    sending = in_state("finished_awaited")
    finished = Finished(
        sending.header, ConditionCode.FILE_CHECKSUM_FAILURE, DeliveryCode.COMPLETE, FileStatus.RETAINED, (), 2
    )
    sending.hear(finished)
    assert sending.outcome.condition is ConditionCode.FILE_CHECKSUM_FAILURE and not sending.outcome.whole


def test_a_finished_before_the_eof_is_of_another_file() -> None:
    sending = in_state("sending")
    sending.end.on_pdu(sending.finished().encode())
    assert sending.state == "sending" and sending.end.entity.counters.ignored["state"] == 1


@pytest.mark.parametrize("state", STATES)
def test_a_finished_with_a_fault_ends_it_in_every_state(state: str) -> None:
    sending = in_state(state)
    sending.hear(sending.finished(ConditionCode.FILESTORE_REJECTION))
    assert sending.outcome.condition is ConditionCode.FILESTORE_REJECTION and not sending.outcome.whole


@pytest.mark.parametrize("state", ["ended"])
def test_late_pdus_are_answered_from_memory(state: str) -> None:
    sending = in_state("finished_awaited")
    sending.hear(sending.finished())
    assert sending.state == state
    (ack,) = sending.hear(sending.finished())
    assert isinstance(ack, Ack) and ack.status is AckStatus.TERMINATED
    (eof,) = sending.hear(Nak(sending.header, 0, 10, ((0, 10),)))
    assert isinstance(eof, EndOfFile) and eof.condition is not ConditionCode.NO_ERROR
    assert sending.hear(sending.ack()) == []
    assert sending.end.entity.counters.ignored["late"] == 3


def test_a_transaction_that_nobody_remembers_is_ended_at_the_other_end() -> None:
    end = CfdpEnd(CONFIG)
    end.set_contact(True)
    header = Header(TransactionId(1, 77), 2, Mode.ACKNOWLEDGED)
    end.on_pdu(Nak(header, 0, 10, ((0, 10),)).encode())
    eof = decode_pdu(end.next_pdu() or b"")
    assert isinstance(eof, EndOfFile) and eof.condition is ConditionCode.CANCEL_REQUEST_RECEIVED
    end.on_pdu(Finished(header, ConditionCode.NO_ERROR, DeliveryCode.COMPLETE, FileStatus.RETAINED).encode())
    ack = decode_pdu(end.next_pdu() or b"")
    assert isinstance(ack, Ack) and ack.status is AckStatus.UNRECOGNIZED


@pytest.mark.parametrize("state", ["ack_awaited", "cancelling"])
def test_without_an_answer_it_rests_and_in_the_end_it_is_given_up(state: str) -> None:
    sending = in_state(state)
    rested = 0
    for _ in range(100):
        if sending.state == "ended":
            break
        sending.advance(10)
        status = sending.end.entity.report(sending.id)
        rested += status is not None and status.resting
    assert rested and sending.outcome.condition in (
        ConditionCode.ACK_LIMIT_REACHED, ConditionCode.CANCEL_REQUEST_RECEIVED
    )  # fmt: skip
    handlers = [told.handler for told in sending.end.told if isinstance(told, Faulted)]
    assert handlers[:2] == [FaultHandler.SUSPEND] * 2 and FaultHandler.CANCEL in handlers


def test_a_rest_ends_with_the_next_contact() -> None:
    sending = in_state("ack_awaited")
    for _ in range(3):
        sending.advance(10)
    status = sending.end.entity.report(sending.id)
    assert status is not None and status.resting
    sending.end.set_contact(False)
    assert sending.advance(10_000) == []
    sending.end.set_contact(True)
    assert [type(pdu) for pdu in sending.out()] == [EndOfFile]


def test_no_limit_runs_out_of_contact() -> None:
    sending = in_state("ack_awaited")
    sending.end.set_contact(False)
    assert sending.end.entity.next_time_ns is None
    assert sending.advance(1e6) == [] and sending.end.faults() == []
    sending.end.set_contact(True)
    assert [type(pdu) for pdu in sending.out()] == [EndOfFile]  # what was on its way may be lost


def test_a_receiver_that_says_nothing_after_its_ack_is_asked_by_the_eof() -> None:
    sending = in_state("finished_awaited")
    assert sending.advance(99) == []
    assert sending.advance(1) == [] and sending.end.faults() == [ConditionCode.INACTIVITY_DETECTED]
    assert [type(pdu) for pdu in sending.advance(50)] == [EndOfFile] and sending.state == "ack_awaited"


def test_a_receiver_that_talks_and_never_finishes_is_given_up() -> None:
    sending = in_state("finished_awaited")
    for _ in range(1000):
        sending.advance(10)
        if sending.state not in ("ack_awaited", "finished_awaited"):
            break
        sending.hear(KeepAlive(sending.header, 500))
        sending.hear(sending.ack())
    assert sending.state == "cancelling" and ConditionCode.INACTIVITY_DETECTED in sending.end.faults()


def test_class_1_with_closure_waits_for_the_finished_up_to_the_check_limit() -> None:
    sending = Sending(Mode.UNACKNOWLEDGED, closure=True)
    sending.out()
    assert sending.state == "finished_awaited"
    assert sending.hear(sending.finished()) == []  # class 1 acknowledges nothing
    assert sending.outcome.whole
    sending = Sending(Mode.UNACKNOWLEDGED, closure=True)
    sending.out()
    assert sending.advance(5) == []
    (eof,) = sending.advance(5)
    assert isinstance(eof, EndOfFile) and eof.condition is ConditionCode.CHECK_LIMIT_REACHED
    assert sending.outcome.condition is ConditionCode.CHECK_LIMIT_REACHED


def test_what_was_never_begun_is_cancelled_without_a_word() -> None:
    sending = Sending()
    sending.end.take(sending.end.entity.cancel(sending.id, 0))
    assert sending.out() == [] and sending.outcome.condition is ConditionCode.CANCEL_REQUEST_RECEIVED


def test_a_cancel_is_said_and_acknowledged() -> None:
    sending = in_state("sending")
    sending.end.take(sending.end.entity.cancel(sending.id, 0))
    (eof,) = sending.out()
    assert isinstance(eof, EndOfFile) and eof.condition is ConditionCode.CANCEL_REQUEST_RECEIVED
    sending.hear(sending.ack(ConditionCode.CANCEL_REQUEST_RECEIVED))
    assert sending.outcome.condition is ConditionCode.CANCEL_REQUEST_RECEIVED
    once = Sending(Mode.UNACKNOWLEDGED)
    once.end.next_pdu()
    once.end.take(once.end.entity.cancel(once.id, 0))
    assert [type(pdu) for pdu in once.out()] == [EndOfFile] and once.state == "ended"


def test_class_1_repeats_what_may_be_lost_in_the_modem() -> None:
    sending = Sending(Mode.UNACKNOWLEDGED)
    for _ in range(4):
        sending.end.next_pdu()
    sending.end.set_contact(False)
    sending.end.set_contact(True)
    offsets = [pdu.offset for pdu in sending.out() if isinstance(pdu, FileData)]
    assert offsets == [150, 250, 350, 450]
    early = Sending(Mode.UNACKNOWLEDGED)
    early.end.next_pdu()
    early.end.next_pdu()
    early.end.set_contact(False)
    early.end.set_contact(True)
    whole = early.out()
    assert isinstance(whole[0], Metadata) and len(whole) == 7
    assert whole[-1] == Sending(Mode.UNACKNOWLEDGED).out()[-1]  # the checksum counts no octet twice


def test_a_suspended_sender_is_silent_and_goes_on() -> None:
    sending = in_state("ack_awaited")
    sending.end.take(sending.end.entity.suspend(sending.id, 0))
    assert sending.advance(1000) == [] and sending.end.faults() == []
    sending.end.set_contact(False)
    sending.end.set_contact(True)
    assert sending.out() == []
    sending.end.take(sending.end.entity.resume(sending.id, sending.end.now_ns))
    assert [type(pdu) for pdu in sending.out()] == [EndOfFile]


def test_a_receiver_that_falls_behind_is_a_fault_only_if_there_is_a_limit() -> None:
    sending = in_state("sending")
    sending.end.on_pdu(KeepAlive(sending.header, 0).encode())
    assert sending.end.faults() == []
    limited = Sending(config=EntityConfig(entity=1, pdu_octets=120, keep_alive_octets=150))
    for _ in range(3):
        limited.end.next_pdu()
    limited.end.on_pdu(KeepAlive(limited.header, 50).encode())
    assert limited.end.faults() == []
    limited.end.on_pdu(KeepAlive(limited.header, 49).encode())
    assert limited.end.faults() == [ConditionCode.KEEP_ALIVE_LIMIT_REACHED] and limited.state == "cancelling"


def test_prompts_go_out_once() -> None:
    sending = in_state("sending")
    for _ in range(3):
        sending.end.entity.prompt(sending.id, keep_alive=True)
        sending.end.entity.prompt(sending.id, keep_alive=False)
    prompts = [pdu.keep_alive for pdu in sending.out() if isinstance(pdu, Prompt)]
    assert prompts == [True, False]


@pytest.mark.parametrize("handler", list(FaultHandler))
def test_a_file_that_cannot_be_read_is_a_fault_by_its_handler(handler: FaultHandler) -> None:
    sending = Sending(options=(FaultHandlerOverride(ConditionCode.FILE_SIZE_ERROR, handler),))
    sending.end.entity._open.senders[sending.id].file.source.data = DATA[:90]  # type: ignore[union-attr]  # noqa: SLF001
    sending.out()
    assert sending.end.faults() == [ConditionCode.FILE_SIZE_ERROR]
    state = {FaultHandler.SUSPEND: "sending", FaultHandler.ABANDON: "ended"}.get(handler, "cancelling")
    assert sending.state == state


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("closure", [False, True])
def test_an_eof_follows_metadata_without_a_file(mode: Mode, closure: bool) -> None:
    """4.6.1.1.9, case (c)."""
    sending = Sending(mode, name="", closure=closure, options=(MessageToUser(b"hello"),))
    metadata, eof = sending.out()
    assert isinstance(metadata, Metadata) and metadata.octets == 0
    assert eof == EndOfFile(sending.header, ConditionCode.NO_ERROR, 0, 0)
    awaits = "finished_awaited" if closure else "ended"
    assert sending.state == ("ack_awaited" if mode is Mode.ACKNOWLEDGED else awaits)
    assert EofSent(sending.id) in sending.end.told


def test_the_eof_after_metadata_without_a_file_is_repeated_and_a_nak_brings_the_metadata() -> None:
    sending = Sending(name="", options=(MessageToUser(b"hello"),))
    metadata, eof = sending.out()
    assert sending.advance(10) == [eof]
    sending.hear(sending.ack())
    assert sending.state == "finished_awaited"
    assert sending.hear(Nak(sending.header, 0, 0, ((0, 0),))) == [metadata]
    sending.hear(sending.finished())
    assert sending.outcome.condition is ConditionCode.NO_ERROR


def test_metadata_without_a_file_go_on_after_a_reboot() -> None:
    sending = Sending(name="", options=(MessageToUser(b"hello"),))
    sending.end.next_pdu()
    sending.end.checkpoint()
    sending.end.boot(newer_content=True)
    assert [type(pdu) for pdu in sending.out()] == [EndOfFile]
    sending.end.checkpoint()
    sending.end.boot(newer_content=True)
    assert [type(pdu) for pdu in sending.out()] == [EndOfFile] and sending.state == "ack_awaited"


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (PutRequest(2, "none", "x"), "none: no such file"),
        (PutRequest(2, "f", "x" * 256), "file name of 256 octets"),
        (PutRequest(2, "f", "x" * 200), "a PDU has 120 at most"),
        (PutRequest(2, "f", "x", checksum_type=7), "checksum type 7 is unknown"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_reason(request_: PutRequest, text: str) -> None:
    sending = Sending()
    with pytest.raises(PutRefused, match=text):
        sending.end.entity.put(request_, 0)


def test_senders_are_bounded() -> None:
    sending = Sending(config=EntityConfig(entity=1, pdu_octets=120, transactions=2))
    sending.end.entity.put(PutRequest(2, "f", "f"), 0)
    with pytest.raises(PutRefused, match="2 files are being sent, 2 at most"):
        sending.end.entity.put(PutRequest(2, "f", "f"), 0)


@pytest.mark.parametrize("state", STATES)
def test_a_sender_goes_on_after_a_reboot(state: str) -> None:
    sending = in_state(state)
    sending.end.checkpoint()
    before = sending.out() if state == "sending" else []
    sending.end.boot(newer_content=False)
    after = sending.out()
    if state == "sending":
        assert after[-1] == before[-1] and len(after) == len(before)
    else:
        assert [type(pdu) for pdu in after] == [EndOfFile]
    assert sending.state == ("ack_awaited" if state == "sending" else "cancelling" if state == "cancelling" else
                             "ack_awaited")  # fmt: skip


def test_a_source_that_is_gone_or_another_after_a_reboot_cancels() -> None:
    for change in (None, DATA + b"x"):
        sending = in_state("ack_awaited")
        sending.end.checkpoint()
        if change is None:
            del sending.end.disk.sources["f"]
        else:
            sending.end.disk.sources["f"] = change
        sending.end.boot(newer_content=False)
        (eof,) = sending.out()
        assert isinstance(eof, EndOfFile) and eof.condition is not ConditionCode.NO_ERROR
        assert sending.state == "cancelling"


def test_numbers_that_return_are_passed_over() -> None:
    sending = Sending()
    first = sending.id
    sending.end.disk.starts -= 1  # the mark of starts was lost
    sending.end.checkpoint()
    sending.end.boot(newer_content=False)
    second = sending.end.put("f", DATA, PutRequest(2, "f", "f"))
    assert second != first


@pytest.mark.parametrize("per_contact", [1, 2, 3, 7])
def test_contacts_that_are_shorter_than_what_is_repeated_bring_the_file_to_its_end(per_contact: int) -> None:
    sending = Sending(Mode.UNACKNOWLEDGED)
    sent = 0
    for _ in range(20):
        for _ in range(per_contact):
            sent += sending.end.next_pdu() is not None
        sending.end.set_contact(False)
        sending.end.now_ns += NS
        sending.end.set_contact(True)
    assert sending.state == "ended" and sent <= 2 * 7


def test_a_cancel_ends_a_suspension_also_the_second_time() -> None:
    sending = in_state("cancelling")
    sending.end.take(sending.end.entity.suspend(sending.id, sending.end.now_ns))
    assert sending.advance(60) == []
    sending.end.take(sending.end.entity.cancel(sending.id, sending.end.now_ns))
    assert [type(pdu) for pdu in sending.out()] == [EndOfFile]


def test_the_checksum_counts_every_octet_once_over_blocks_rewinds_and_reboots() -> None:
    data = bytes(i % 251 for i in range(200_000))
    config = EntityConfig(entity=1, pdu_octets=1044, rewind_octets=90_000)
    whole = Sending(Mode.UNACKNOWLEDGED, data=data, config=config).out()
    sending = Sending(Mode.UNACKNOWLEDGED, data=data, config=config)
    for _ in range(150):
        sending.end.next_pdu()
    sending.end.set_contact(False)
    sending.end.set_contact(True)
    for _ in range(30):
        sending.end.next_pdu()
    sending.end.checkpoint()
    sending.end.boot(newer_content=False)
    assert sending.out()[-1] == whole[-1]
