"""spacepackets, another codec for CFDP: theirs reads every PDU and TLV of ours, and ours those of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spacepackets")

from spacepackets.cfdp import (
    ChecksumType,
    CrcFlag,
    EntityIdTlv,
    FaultHandlerCode,
    FaultHandlerOverrideTlv,
    FilestoreActionCode,
    FileStoreRequestTlv,
    FilestoreResponseStatusCode,
    FileStoreResponseTlv,
    FlowLabelTlv,
    LargeFileFlag,
    MessageToUserTlv,
    TransmissionMode,
)
from spacepackets.cfdp import ConditionCode as TheirCondition
from spacepackets.cfdp.conf import PduConfig
from spacepackets.cfdp.defs import DeliveryCode as TheirDelivery
from spacepackets.cfdp.defs import FileStatus as TheirStatus
from spacepackets.cfdp.defs import SegmentationControl
from spacepackets.cfdp.defs import TransactionId as TheirTransaction
from spacepackets.cfdp.lv import CfdpLv
from spacepackets.cfdp.pdu import (
    AckPdu,
    DirectiveType,
    EofPdu,
    FileDataPdu,
    FinishedPdu,
    KeepAlivePdu,
    MetadataPdu,
    NakPdu,
    PromptPdu,
    TransactionStatus,
)
from spacepackets.cfdp.pdu.file_data import FileDataParams, RecordContinuationState, SegmentMetadata
from spacepackets.cfdp.pdu.finished import FinishedParams
from spacepackets.cfdp.pdu.helper import PduFactory
from spacepackets.cfdp.pdu.metadata import MetadataParams
from spacepackets.cfdp.pdu.prompt import ResponseRequired
from spacepackets.cfdp.tlv import msg_to_user
from spacepackets.util import UnsignedByteField

from flight.link.cfdp.conditions import AckStatus, ConditionCode, DeliveryCode, FaultHandler, FileStatus
from flight.link.cfdp.directives import Ack, Directive, EndOfFile, Finished, KeepAlive, Metadata, Nak, Prompt
from flight.link.cfdp.file_data import DataEncoder, FileData, octets_of_data
from flight.link.cfdp.header import Header, Mode, TransactionId
from flight.link.cfdp.messages import (
    DirectoryListingRequest,
    DirectoryListingResponse,
    OriginatingTransactionId,
    ProxyClosureRequest,
    ProxyPutCancel,
    ProxyPutRequest,
    ProxyPutResponse,
    ProxyTransmissionMode,
    decode_message,
)
from flight.link.cfdp.pdu import Pdu, decode_pdu
from flight.link.cfdp.tlv import (
    EntityId,
    FaultHandlerOverride,
    FieldReader,
    FilestoreAction,
    FilestoreRequest,
    FilestoreResponse,
    FlowLabel,
    MessageToUser,
    Tlv,
    decode_tlvs,
)

# spacepackets 0.32 does not know condition 9 of table 5-5.
CONDITIONS = [code for code in ConditionCode if code is not ConditionCode.INVALID_FILE_STRUCTURE]
TRANSACTION = TransactionId(0x1AB, 77)
# Widths of ids in octets, large file, CRC, mode: theirs knows only powers of two for widths.
HEADERS = [
    Header(TRANSACTION, 1),
    Header(TransactionId(9, 200), 255, entity_octets=1, number_octets=1),
    Header(TRANSACTION, 2, Mode.ACKNOWLEDGED, large=True),
    Header(TransactionId(2**32 - 1, 2**64 - 1), 2**31, Mode.ACKNOWLEDGED, crc=True, entity_octets=4),
    Header(TransactionId(2**63, 2**16 - 1), 2**64 - 1, large=True, crc=True, entity_octets=8, number_octets=2),
]
headers = pytest.mark.parametrize("header", HEADERS, ids=["plain", "short", "large", "CRC", "all"])


def config_of(header: Header, **more: Any) -> PduConfig:
    return PduConfig(
        source_entity_id=UnsignedByteField(header.transaction.source, header.entity_width),
        dest_entity_id=UnsignedByteField(header.destination, header.entity_width),
        transaction_seq_num=UnsignedByteField(header.transaction.number, header.number_width),
        trans_mode=TransmissionMode(header.mode),
        file_flag=LargeFileFlag(header.large),
        crc_flag=CrcFlag(header.crc),
        **more,
    )


def agree(ours: Pdu, theirs: Any) -> None:
    """Both write the same octets, and each reads what the other wrote."""
    raw = bytes(theirs.pack())
    assert ours.encode() == raw
    assert decode_pdu(raw) == ours
    read = PduFactory.from_raw(ours.encode())
    assert read is not None
    assert bytes(read.pack()) == raw


def size(header: Header, small: int) -> int:
    return small + 2**40 if header.large else small


@headers
def test_metadata(header: Header) -> None:
    octets = size(header, 2**32 - 1)
    for closure, kind in ((False, ChecksumType.CRC_32), (True, ChecksumType.MODULAR), (True, ChecksumType.CRC_32C)):
        params = MetadataParams(closure, kind, octets, "source.bin", "uploads/mask.bin")
        ours = Metadata(header, octets, kind, "source.bin", "uploads/mask.bin", closure)
        agree(ours, MetadataPdu(config_of(header), params))


@headers
def test_metadata_without_a_file(header: Header) -> None:
    params = MetadataParams(False, ChecksumType.NULL_CHECKSUM, 0, None, None)
    agree(Metadata(header, 0, 15, "", ""), MetadataPdu(config_of(header), params))


def test_names_of_255_octets() -> None:
    name = "a" * 253 + "é"
    params = MetadataParams(False, ChecksumType.MODULAR, 1, name, name)
    agree(Metadata(HEADERS[0], 1, 0, name, name), MetadataPdu(config_of(HEADERS[0]), params))


REQUESTS: list[tuple[FilestoreRequest, Any]] = [
    (FilestoreRequest(action, "first"), FileStoreRequestTlv(FilestoreActionCode(action), "first"))
    for action in FilestoreAction
    if not action.takes_two
] + [
    (
        FilestoreRequest(action, "first", "a" * 200),
        FileStoreRequestTlv(FilestoreActionCode(action), "first", "a" * 200),
    )
    for action in FilestoreAction
    if action.takes_two
]
RESPONSES: list[tuple[FilestoreResponse, Any]] = [
    (
        FilestoreResponse(FilestoreAction.CREATE_FILE, 1, "old", "", b"no room"),
        FileStoreResponseTlv(
            FilestoreActionCode.CREATE_FILE_SNM,
            FilestoreResponseStatusCode.CREATE_NOT_ALLOWED,
            "old",
            filestore_msg=CfdpLv(b"no room"),
        ),
    ),
    (
        FilestoreResponse(FilestoreAction.RENAME_FILE, 2, "old", "new"),
        FileStoreResponseTlv(
            FilestoreActionCode.RENAME_FILE_SNP, FilestoreResponseStatusCode.RENAME_NEW_FILE_DOES_EXIST, "old", "new"
        ),
    ),
    (
        FilestoreResponse(FilestoreAction.DELETE_FILE, 15, "x" * 200, "", b"m" * 51),
        FileStoreResponseTlv(
            FilestoreActionCode.DELETE_FILE_SNN,
            FilestoreResponseStatusCode.DELETE_NOT_ALLOWED,
            "x" * 200,
            filestore_msg=CfdpLv(b"m" * 51),
        ),
    ),
]
TLVS: list[tuple[Tlv, Any]] = [
    *REQUESTS,
    *RESPONSES,
    (MessageToUser(b"anything"), MessageToUserTlv(b"anything")),
    (MessageToUser(b"m" * 255), MessageToUserTlv(b"m" * 255)),
    (FlowLabel(b""), FlowLabelTlv(b"")),
    (FlowLabel(b"label"), FlowLabelTlv(b"label")),
    (EntityId(0x1AB, 2), EntityIdTlv(b"\x01\xab")),
    (EntityId(5, 1), EntityIdTlv(b"\x05")),
    (EntityId(2**64 - 1, 8), EntityIdTlv(b"\xff" * 8)),
    *(
        (
            FaultHandlerOverride(condition, handler),
            FaultHandlerOverrideTlv(TheirCondition(condition), FaultHandlerCode(handler)),
        )
        for condition in CONDITIONS
        for handler in FaultHandler
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), TLVS)
def test_tlvs(ours: Tlv, theirs: Any) -> None:
    raw = bytes(theirs.pack())
    assert ours.encode() == raw
    assert decode_tlvs(FieldReader(raw, "test")) == (ours,)
    assert bytes(type(theirs).unpack(ours.encode()).pack()) == raw


def test_metadata_with_every_option() -> None:
    options = [pair for pair in TLVS if not isinstance(pair[0], EntityId | FilestoreResponse)]
    for header in HEADERS:
        params = MetadataParams(True, ChecksumType.CRC_32, 300, "a", "b")
        theirs = MetadataPdu(config_of(header), params, [pair[1] for pair in options])
        agree(Metadata(header, 300, 3, "a", "b", True, tuple(pair[0] for pair in options)), theirs)


@headers
def test_eof(header: Header) -> None:
    octets = size(header, 300)
    agree(EndOfFile(header, ConditionCode.NO_ERROR, 0x01020304, octets), EofPdu(config_of(header), 0x01020304, octets))
    for condition in CONDITIONS:
        if condition is not ConditionCode.NO_ERROR:
            ours = EndOfFile(header, condition, 0xFFFFFFFF, octets, header.destination)
            location = EntityIdTlv(header.destination.to_bytes(header.entity_width, "big"))
            theirs = EofPdu(config_of(header), 0xFFFFFFFF, octets, location, TheirCondition(condition))
            raw = bytes(theirs.pack())
            assert ours.encode() == raw
            assert decode_pdu(raw) == ours
            read = EofPdu.unpack(raw)
            # spacepackets 0.32 leaves the condition code in the upper four bits of its octet.
            assert read.condition_code == condition << 4
            assert (read.file_size, read.fault_location) == (octets, location)


@headers
def test_finished(header: Header) -> None:
    for condition in CONDITIONS:
        for delivery in DeliveryCode:
            for status in FileStatus:
                params = FinishedParams(TheirCondition(condition), TheirDelivery(delivery), TheirStatus(status))
                agree(Finished(header, condition, delivery, status), FinishedPdu(config_of(header), params))


@headers
@pytest.mark.parametrize("count", [1, 3])
def test_finished_with_responses_and_a_fault_location(header: Header, count: int) -> None:
    params = FinishedParams(
        TheirCondition.FILESTORE_REJECTION,
        TheirDelivery.DATA_INCOMPLETE,
        TheirStatus.DISCARDED_FILESTORE_REJECTION,
        [pair[1] for pair in RESPONSES[:count]],
        EntityIdTlv(header.destination.to_bytes(header.entity_width, "big")),
    )
    responses = tuple(pair[0] for pair in RESPONSES[:count])
    codes = (ConditionCode.FILESTORE_REJECTION, DeliveryCode.INCOMPLETE, FileStatus.REJECTED)
    agree(Finished(header, *codes, responses, header.destination), FinishedPdu(config_of(header), params))


def test_finished_for_an_unsupported_checksum_names_no_entity() -> None:
    codes = (ConditionCode.UNSUPPORTED_CHECKSUM_TYPE, DeliveryCode.INCOMPLETE, FileStatus.DISCARDED)
    read = FinishedPdu.unpack(Finished(HEADERS[0], *codes, (), 5).encode())
    assert read.condition_code == TheirCondition.UNSUPPORTED_CHECKSUM_TYPE
    assert read.fault_location is None


@headers
def test_ack(header: Header) -> None:
    for directive in (Directive.EOF, Directive.FINISHED):
        for condition in CONDITIONS:
            for status in AckStatus:
                codes = (DirectiveType(directive), TheirCondition(condition), TransactionStatus(status))
                agree(Ack(header, directive, condition, status), AckPdu(config_of(header), *codes))


@headers
@pytest.mark.parametrize("count", [0, 1, 2, 3, 200, 4000])
def test_nak(header: Header, count: int) -> None:
    first = size(header, 0)
    requests = [(first + 20 * i, first + 20 * i + 7) for i in range(count)]
    theirs = NakPdu(config_of(header), 0, first + 10**6, requests)
    agree(Nak(header, 0, first + 10**6, tuple(requests)), theirs)


@headers
def test_nak_for_the_metadata_fills_a_packet_as_theirs(header: Header) -> None:
    theirs = NakPdu(config_of(header), 0, 0, [(0, 0)])
    agree(Nak(header, 0, 0, ((0, 0),)), theirs)
    requests = [(10 * i, 10 * i + 5) for i in range(100)]
    naks = Nak.split(header, 0, 1000, requests, 200)
    most = theirs.get_max_seg_reqs_for_max_packet_size(200)
    assert [len(nak.requests) for nak in naks[:-1]] == [most] * (len(naks) - 1)


@headers
def test_prompt_and_keep_alive(header: Header) -> None:
    agree(Prompt(header, False), PromptPdu(config_of(header), ResponseRequired.NAK))
    agree(Prompt(header, True), PromptPdu(config_of(header), ResponseRequired.KEEP_ALIVE))
    for progress in (0, size(header, 2**32 - 1)):
        agree(KeepAlive(header, progress), KeepAlivePdu(config_of(header), progress))


def agree_on_data(ours: FileData, config: PduConfig, params: FileDataParams) -> None:
    """As `agree`, but for what theirs has read, which spacepackets 0.32 does not write again with the right length."""
    raw = bytes(FileDataPdu(config, params).pack())
    assert ours.encode() == raw
    assert decode_pdu(raw) == ours
    read = FileDataPdu.unpack(ours.encode())
    assert (read.offset, read.file_data, read.segment_metadata) == (ours.offset, ours.data, params.segment_metadata)


@headers
def test_file_data(header: Header) -> None:
    offset = size(header, 100)
    for data in (b"s", b"segment", bytes(range(256)) * 200):
        ours = FileData(header, offset, data)
        agree_on_data(ours, config_of(header), FileDataParams(data, offset))
        assert DataEncoder(header).encode(offset, data) == ours.encode()
    most = FileDataPdu(config_of(header), FileDataParams(b"", 0)).get_max_file_seg_len_for_max_packet_len(1000)
    assert octets_of_data(header, 1000) == most


@headers
def test_file_data_in_records(header: Header) -> None:
    config = config_of(header, seg_ctrl=SegmentationControl.RECORD_BOUNDARIES_PRESERVATION)
    for state in RecordContinuationState:
        for metadata in (b"", b"record", b"m" * 63):
            params = FileDataParams(b"segment", 5, SegmentMetadata(state, metadata))
            agree_on_data(FileData(header, 5, b"segment", True, state, metadata), config, params)


def message_of(theirs: Any) -> MessageToUser:
    (option,) = decode_tlvs(FieldReader(bytes(theirs.pack()), "test"))
    assert isinstance(option, MessageToUser)
    return option


OURS_NUMBERED = OriginatingTransactionId(TransactionId(0x1AB, 2**40))
MESSAGES: list[tuple[Any, Any]] = [
    (
        ProxyPutRequest(0x1AB, "a", "b" * 200),
        msg_to_user.ProxyPutRequest(
            msg_to_user.ProxyPutRequestParams(
                UnsignedByteField(0x1AB, 2), CfdpLv.from_str("a"), CfdpLv.from_str("b" * 200)
            )
        ),
    ),
    (ProxyPutCancel(), msg_to_user.ProxyCancelRequest()),
    (ProxyClosureRequest(True), msg_to_user.ProxyClosureRequest(True)),
    (ProxyClosureRequest(False), msg_to_user.ProxyClosureRequest(False)),
    (
        ProxyTransmissionMode(Mode.UNACKNOWLEDGED),
        msg_to_user.ProxyTransmissionMode(TransmissionMode.UNACKNOWLEDGED),
    ),
    (ProxyTransmissionMode(Mode.ACKNOWLEDGED), msg_to_user.ProxyTransmissionMode(TransmissionMode.ACKNOWLEDGED)),
    (
        OURS_NUMBERED,
        msg_to_user.OriginatingTransactionId(
            TheirTransaction(UnsignedByteField(0x1AB, 2), UnsignedByteField(2**40, 8))
        ),
    ),
    (
        ProxyPutResponse(ConditionCode.FILESTORE_REJECTION, DeliveryCode.INCOMPLETE, FileStatus.REJECTED),
        msg_to_user.ProxyPutResponse(
            msg_to_user.ProxyPutResponseParams(
                TheirCondition.FILESTORE_REJECTION,
                TheirDelivery.DATA_INCOMPLETE,
                TheirStatus.DISCARDED_FILESTORE_REJECTION,
            )
        ),
    ),
    (
        DirectoryListingRequest("products", "list.txt"),
        msg_to_user.DirectoryListingRequest(msg_to_user.DirectoryParams.from_paths(Path("products"), Path("list.txt"))),
    ),
    *(
        (
            DirectoryListingResponse(successful, "products", "list.txt"),
            msg_to_user.DirectoryListingResponse(
                successful, msg_to_user.DirectoryParams.from_strs("products", "list.txt")
            ),
        )
        for successful in (True, False)
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), MESSAGES, ids=[type(ours).__name__ for ours, _ in MESSAGES])
def test_reserved_messages(ours: Any, theirs: Any) -> None:
    assert ours.encode().encode() == bytes(theirs.pack())
    assert decode_message(message_of(theirs)) == ours


def test_their_reading_of_our_messages() -> None:
    def read(ours: Any) -> Any:
        return MessageToUserTlv.unpack(ours.encode().encode()).to_reserved_msg_tlv()

    put = read(ProxyPutRequest(0x1AB, "a", "b")).get_proxy_put_request_params()
    assert (put.dest_entity_id.value, put.source_file_as_str, put.dest_file_as_str) == (0x1AB, "a", "b")
    transaction = read(OURS_NUMBERED).get_originating_transaction_id()
    assert (transaction.source_id.value, transaction.seq_num.value) == (0x1AB, 2**40)
    assert read(DirectoryListingResponse(False, "d", "f")).get_dir_listing_response_params()[0] is False
    assert read(ProxyClosureRequest(True)).get_proxy_closure_requested() is True


def test_their_own_extension_is_foreign() -> None:
    options = msg_to_user.DirListingOptions(recursive=True, all=False)
    assert decode_message(message_of(msg_to_user.DirectoryListingParameters(options))) is None
