"""The CFDP codec on octets written by hand, and what it says when it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import IntEnum

import pytest

from flight.core.errors import DecodeError
from flight.kernels import crc16
from flight.link.cfdp.conditions import AckStatus, ConditionCode, DeliveryCode, FaultHandler, FileStatus
from flight.link.cfdp.directives import Ack, Directive, EndOfFile, Finished, KeepAlive, Metadata, Nak, Prompt
from flight.link.cfdp.file_data import FileData, data_key, split_file_data
from flight.link.cfdp.header import Header, Mode, TransactionId
from flight.link.cfdp.messages import (
    DirectoryListingRequest,
    DirectoryListingResponse,
    OriginatingTransactionId,
    ProxyClosureRequest,
    ProxyFaultHandlerOverride,
    ProxyFilestoreRequest,
    ProxyFilestoreResponse,
    ProxyFlowLabel,
    ProxyMessageToUser,
    ProxyPutCancel,
    ProxyPutRequest,
    ProxyPutResponse,
    ProxySegmentationControl,
    ProxyTransmissionMode,
    RemoteResumeRequest,
    RemoteResumeResponse,
    RemoteStatusReportRequest,
    RemoteStatusReportResponse,
    RemoteSuspendRequest,
    RemoteSuspendResponse,
    ReservedMessage,
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
    OtherTlv,
    decode_tlvs,
)

HEADER = Header(TransactionId(0x1AB, 7), 2, Mode.ACKNOWLEDGED, entity_octets=2, number_octets=1)
IDS = "10 01ab 07 0002"  # lengths, source, number, destination
LARGE = Header(TransactionId(0x1AB, 7), 2, Mode.ACKNOWLEDGED, large=True, entity_octets=2, number_octets=1)
CLASS_1 = Header(TransactionId(0x1122, 0x33445566), 0x7788)  # as our entities have them: numbers of 64 bits
WIDE = Header(TransactionId(0x1122, 0x0102), 0x7788, entity_octets=4, number_octets=2)
CLASS_1_IDS = "17 1122 0000000033445566 7788"

BY_HAND: list[tuple[Pdu, str]] = [
    (Metadata(HEADER, 300, 3, "ab", "c", True), f"20 000b {IDS} 07 43 0000012c 02 6162 01 63"),
    (EndOfFile(HEADER, ConditionCode.NO_ERROR, 0x01020304, 300), f"20 000a {IDS} 04 00 01020304 0000012c"),
    (
        EndOfFile(HEADER, ConditionCode.CANCEL_REQUEST_RECEIVED, 0, 9, 0x1AB),
        f"20 000e {IDS} 04 f0 00000000 00000009 06 02 01ab",
    ),
    (
        Finished(HEADER, ConditionCode.FILESTORE_REJECTION, DeliveryCode.INCOMPLETE, FileStatus.REJECTED, (), 2),
        f"28 0006 {IDS} 05 45 06 02 0002",
    ),
    (
        Finished(
            HEADER,
            ConditionCode.NO_ERROR,
            DeliveryCode.COMPLETE,
            FileStatus.RETAINED,
            (FilestoreResponse(FilestoreAction.RENAME_FILE, 0, "a", "b", b"m"),),
        ),
        f"28 000b {IDS} 05 02 01 07 20 01 61 01 62 01 6d",
    ),
    (Ack(HEADER, Directive.EOF, ConditionCode.NO_ERROR, AckStatus.ACTIVE), f"28 0003 {IDS} 06 40 01"),
    (Ack(HEADER, Directive.FINISHED, ConditionCode.FILE_SIZE_ERROR, AckStatus.TERMINATED), f"20 0003 {IDS} 06 51 62"),
    (Nak(HEADER, 0, 0x64, ((0, 0), (0x10, 0x20))), f"28 0019 {IDS} 08 00000000 00000064 {'00' * 8} 00000010 00000020"),
    (Prompt(HEADER, keep_alive=True), f"20 0002 {IDS} 09 80"),
    (Prompt(HEADER, keep_alive=False), f"20 0002 {IDS} 09 00"),
    (KeepAlive(HEADER, 0x1234), f"28 0005 {IDS} 0c 00001234"),
    (KeepAlive(LARGE, 2**40), f"29 0009 {IDS} 0c 0000010000000000"),
    (FileData(HEADER, 0x100, b"xyz"), f"30 0007 {IDS} 00000100 78797a"),
    (FileData(LARGE, 2**40, b"xyz"), f"31 000b {IDS} 0000010000000000 78797a"),
    (FileData(HEADER, 0, b"z", True, 3, b"m"), "30 0007 98 01ab 07 0002 c1 6d 00000000 7a"),
    (FileData(HEADER, 0x100, b""), f"30 0004 {IDS} 00000100"),
    (FileData(CLASS_1, 0x01020304, b"data"), f"34 0008 {CLASS_1_IDS} 01020304 64617461"),
    (
        Metadata(CLASS_1, 0x01020304, 3, "here", "there"),
        f"24 0011 {CLASS_1_IDS} 07 03 01020304 04 68657265 05 7468657265",
    ),
    (
        EndOfFile(CLASS_1, ConditionCode.CANCEL_REQUEST_RECEIVED, 0xA1B2C3D4, 9, 0x1122),
        f"24 000e {CLASS_1_IDS} 04 f0 a1b2c3d4 00000009 06 02 1122",
    ),
    (EndOfFile(HEADER, ConditionCode.FILE_SIZE_ERROR, 0, 9), f"20 000a {IDS} 04 60 00000000 00000009"),
    (
        EndOfFile(
            Header(TransactionId(0x1122, 0x0102), 0x7788, entity_octets=4, number_octets=2), ConditionCode(0), 1, 2
        ),
        "24 000a 31 00001122 0102 00007788 04 00 00000001 00000002",
    ),
]


@pytest.mark.parametrize(("pdu", "octets"), BY_HAND)
def test_pdus_written_by_hand(pdu: Pdu, octets: str) -> None:
    assert pdu.encode().hex() == bytes.fromhex(octets).hex()
    assert decode_pdu(bytes.fromhex(octets)) == pdu


def test_the_crc_is_behind_the_body_and_counts_as_data() -> None:
    header = Header(TransactionId(1, 2), 3, crc=True, entity_octets=1, number_octets=1)
    raw = FileData(header, 0, b"x").encode()
    assert raw[:-2] == bytes.fromhex("36 0007 00 01 02 03 00000000 78")
    assert decode_pdu(raw) == FileData(header, 0, b"x")
    changed = raw[:-3] + b"y" + raw[-2:]
    with pytest.raises(DecodeError, match="CRC-16 mismatch"):
        decode_pdu(changed)
    assert split_file_data(changed) is None
    for at in (-2, -1):
        broken = bytearray(raw)
        broken[at] ^= 0x01
        assert split_file_data(bytes(broken)) is None
        with pytest.raises(DecodeError, match="CRC-16 mismatch"):
            decode_pdu(bytes(broken))


@pytest.mark.parametrize(("body", "reason"), [("", "CRC-16 mismatch"), ("0b", "directive 11")])
def test_a_crc_needs_a_body_before_it(body: str, reason: str) -> None:
    octets = bytes.fromhex(body)
    raw = bytes.fromhex(f"22 {len(octets) + 2:04x} {IDS}") + octets
    with pytest.raises(DecodeError, match=reason):
        decode_pdu(raw + crc16(raw).to_bytes(2, "big"))


@pytest.mark.parametrize("octets", [0, 1, 62, 63])
def test_segment_metadata_of_any_length_stand_before_the_offset(octets: int) -> None:
    pdu = FileData(HEADER, 0x100, b"xyz", record_continuation=3, segment_metadata=b"m" * octets)
    body = bytes((0xC0 | octets,)) + b"m" * octets + bytes.fromhex("00000100 78797a")
    raw = bytes.fromhex(f"30 {len(body):04x} 18 {IDS[3:]}") + body
    assert pdu.encode() == raw and decode_pdu(raw) == pdu


@pytest.mark.parametrize("octets", [255, 256, 511, 1000])
def test_the_length_of_a_pdu_has_two_octets(octets: int) -> None:
    pdu = FileData(HEADER, 0, bytes(octets))
    assert decode_pdu(pdu.encode()) == pdu


def test_a_crc_that_is_wrong_in_its_low_octet_alone_is_wrong() -> None:
    head = bytes.fromhex("36 0007 00 01 02 03 00000000 78")
    raw = next(raw for ending in range(1 << 16) if crc16(raw := head + ending.to_bytes(2, "big")) == 1)
    assert split_file_data(raw) is None
    with pytest.raises(DecodeError, match="CRC-16 mismatch"):
        decode_pdu(raw)


QUICK = {
    f"30 0007 {IDS} 00000100 78797a": (0x100, b"xyz"),
    f"34 0007 {IDS} 00000100 78797a": (0x100, b"xyz"),
    f"38 0004 {IDS} 00000100": (0x100, b""),
    f"31 000b {IDS} 0000010000000000 78797a": (2**40, b"xyz"),
    "30 0005 77 0000000000000001 0000000000000002 0000000000000003 00000001 78": (1, b"x"),
    f"31 0004 {IDS} 00000100": None,  # not even an offset
    f"30 0007 98 {IDS[3:]} c1 6d 00000000 7a": None,  # records
    f"30 0007 90 {IDS[3:]} 00000100 78797a": None,
    f"30 0007 18 {IDS[3:]} c1 6d 00000000 7a": None,
    f"50 0007 {IDS} 00000100 78797a": None,  # of another version
    f"b0 0007 {IDS} 00000100 78797a": None,
    f"20 0002 {IDS} 09 80": None,
    f"30 0006 {IDS} 00000100 78797a": None,
    f"30 0008 {IDS} 00000100 78797a": None,
    "30 00 00": None,
    "": None,
}


@pytest.mark.parametrize("octets", QUICK)
def test_the_quick_way_takes_plain_file_data_alone(octets: str) -> None:
    raw = bytes.fromhex(octets)
    found = split_file_data(raw)
    want = QUICK[octets]
    assert (found[1:] if found is not None else None) == want
    if found is not None:
        assert found[0] == data_key(decode_pdu(raw).header) == raw[3 : 3 + len(found[0])]


def test_an_id_that_needs_more_octets_gets_them() -> None:
    header = Header(TransactionId(5, 256), 2**63, entity_octets=1, number_octets=1)
    assert header.octets == 4 + 8 + 2 + 8
    read = decode_pdu(Prompt(header, True).encode())
    assert read.header.transaction == header.transaction
    assert (read.header.destination, read.header.entity_octets, read.header.number_octets) == (2**63, 8, 2)


def test_the_direction_of_a_pdu_is_not_looked_at() -> None:
    raw = bytearray(Finished(HEADER, ConditionCode.NO_ERROR, DeliveryCode.COMPLETE, FileStatus.RETAINED).encode())
    read = decode_pdu(bytes(raw))
    raw[0] ^= 0x08
    assert decode_pdu(bytes(raw)) == read


def refused(octets: str) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_pdu(bytes.fromhex(octets))
    return str(caught.value)


REFUSALS = {
    "20 00": "CFDP PDU of 2 octets, its fixed header takes 4",
    f"00 0002 {IDS} 09 80": "CFDP version 0, only 1 is used",
    f"40 0002 {IDS} 09 80": "CFDP version 2, only 1 is used",
    f"20 0003 {IDS} 09 80": "CFDP PDU: header says 12 octets, got 11",
    f"20 0001 {IDS} 09 80": "CFDP PDU: header says 10 octets, got 11",
    "20 0000 13": "CFDP PDU: header says 12 octets, got 4",
    f"20 0000 {IDS}": "CFDP PDU without a body",
    f"22 0002 {IDS} 09 80": "CFDP PDU: CRC-16 mismatch",
    f"20 0002 {IDS} 0a 80": "CFDP directive 10, the standard has 4, 5, 6, 7, 8, 9, 12",
    f"20 0001 {IDS} 09": "CFDP prompt: octet 1 is needed, there are 0",
    f"20 0003 {IDS} 09 80 00": "CFDP prompt: 1 octet too many",
    f"30 0003 {IDS} 000000": "CFDP file data of 3 octets, its header takes 4",
    "30 0004 18 01ab 07 0002 3f 000000": "CFDP file data of 4 octets, its header takes 68",
    f"20 000a {IDS} 04 c0 01020304 0000012c": "CFDP ConditionCode 12 is reserved",
    f"20 0009 {IDS} 04 00 01020304 000001": "CFDP EOF: octet 9 is needed, there are 8",
    f"20 000d {IDS} 04 00 01020304 0000012c 06 01 02": "CFDP EOF: a fault location without a fault",
    f"20 000d {IDS} 04 10 01020304 0000012c 05 01 02": "CFDP EOF: what stands at its end is not a fault location",
    f"20 000c {IDS} 04 10 01020304 0000012c 06 00": "CFDP entity id of 0 octets, 1 to 8 are allowed",
    f"20 000b {IDS} 04 10 01020304 0000012c 06": "CFDP EOF: octet 11 is needed, there are 10",
    f"20 000c {IDS} 04 10 01020304 0000012c 06 01": "CFDP EOF: octet 12 is needed, there are 11",
    f"28 0008 {IDS} 05 45 06 01 02 06 01 02": "CFDP Finished: what stands at its end is not a fault location",
    f"28 0003 {IDS} 06 70 01": "CFDP ACK of directive 7, only EOF and Finished are acknowledged",
    f"28 0001 {IDS} 08": "CFDP NAK of 0 octets, should be a multiple of 8",
    f"28 000d {IDS} 08 {'00' * 12}": "CFDP NAK of 12 octets, should be a multiple of 8",
    f"28 0009 {IDS} 08 00000002 00000001": "CFDP NAK: a stretch from 2 ends before, at 1",
    f"20 0008 {IDS} 07 00 00000000 02 61": "CFDP metadata: octet 8 is needed, there are 7",
    f"20 0008 {IDS} 07 00 00000000 01 61": "CFDP metadata: octet 8 is needed, there are 7",
    f"20 0009 {IDS} 07 00 00000000 00 00 02": "CFDP metadata: octet 9 is needed, there are 8",
    f"20 0009 {IDS} 07 00 00000000 01 ff 00": "CFDP metadata: file name is not UTF-8 (invalid start byte)",
    f"20 000b {IDS} 07 00 00000000 00 00 04 02 0f": "CFDP metadata: octet 11 is needed, there are 10",
    f"20 000b {IDS} 07 00 00000000 00 00 04 01 f0": "CFDP FaultHandler 0 is reserved",
    f"20 000c {IDS} 07 00 00000000 00 00 00 02 90 00": "CFDP FilestoreAction 9 is reserved",
}


@pytest.mark.parametrize("octets", REFUSALS)
def test_what_is_not_a_pdu_is_refused_with_its_reason(octets: str) -> None:
    assert refused(octets) == REFUSALS[octets]


def test_options_are_bounded() -> None:
    options = tuple(OtherTlv(7, b"") for _ in range(128))
    metadata = Metadata(HEADER, 5, 0, "a", "b", options=options)
    assert decode_pdu(metadata.encode()) == metadata
    with pytest.raises(ValueError, match="129 TLVs, 128 at most"):
        dataclasses.replace(metadata, options=(*options, options[0])).encode()
    raw = bytearray(metadata.encode() + options[0].encode())
    raw[1:3] = (int.from_bytes(raw[1:3], "big") + 2).to_bytes(2, "big")
    with pytest.raises(DecodeError, match="more than 128 TLVs"):
        decode_pdu(bytes(raw))


def test_an_unknown_option_costs_no_file() -> None:
    pdu = decode_pdu(bytes.fromhex(f"20 000b {IDS} 07 0f 00000000 00 00 7f 01 55"))
    assert pdu == Metadata(HEADER, 0, 15, "", "", options=(OtherTlv(0x7F, b"\x55"),))


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        ("01 05 10 01 61 01 6d", b"m"),
        ("01 06 10 01 61 00 01 6d", b"m"),
        ("01 04 10 01 61 00", b""),
        ("01 05 10 01 61 00 00", b""),
    ],
)
def test_an_empty_second_name_in_a_filestore_response_is_skipped(octets: str, message: bytes) -> None:
    (response,) = decode_tlvs(FieldReader(bytes.fromhex(octets), "test"))
    assert response == FilestoreResponse(FilestoreAction.DELETE_FILE, 0, "a", "", message)


@pytest.mark.parametrize("octets", ["00 03 10 01 61", "00 04 10 01 61 00"])
def test_an_empty_second_name_in_a_filestore_request_is_skipped(octets: str) -> None:
    (request,) = decode_tlvs(FieldReader(bytes.fromhex(octets), "test"))
    assert request == FilestoreRequest(FilestoreAction.DELETE_FILE, "a")


LONG = "é" * 128
TOO_LONG: list[tuple[Callable[[], object], str]] = [
    (Metadata(HEADER, 0, 0, LONG, "").encode, "file name of 256 octets, 255 at most"),
    (
        Metadata(HEADER, 0, 0, "", "\ud800").encode,
        r"file name '\ud800' cannot be written as UTF-8 (surrogates not allowed)",
    ),
    (FlowLabel(bytes(256)).encode, "flow label of 256 octets, 255 at most"),
    (ProxyMessageToUser(bytes(250)).encode().encode, "message to user of 256 octets, 255 at most"),
    (
        FilestoreRequest(FilestoreAction.RENAME_FILE, "a" * 200, "b" * 60).encode,
        "filestore request of 263 octets, 255 at most",
    ),
    (FileData(HEADER, 0, bytes(65532)).encode, "CFDP PDU with 65536 octets of data, 65535 at most"),
    (FileData(HEADER, 0, b"", False, 0, bytes(64)).encode, "segment metadata of 64 octets, 63 at most"),
    (
        Metadata(HEADER, 0, 0, "", "", options=(FlowLabel(bytes(255)),) * 129).encode,
        "129 TLVs, 128 at most",
    ),
]


@pytest.mark.parametrize(("encode", "reason"), TOO_LONG, ids=[reason for _, reason in TOO_LONG])
def test_what_does_not_fit_is_refused_with_its_reason(encode: Callable[[], object], reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        encode()
    assert str(caught.value) == reason


def test_the_longest_pdus_that_fit() -> None:
    data = bytes(65531)
    assert decode_pdu(FileData(HEADER, 5, data).encode()) == FileData(HEADER, 5, data)
    (label,) = decode_tlvs(FieldReader(FlowLabel(bytes(255)).encode(), "test"))
    assert label == FlowLabel(bytes(255))


@pytest.mark.parametrize("octets", [b"", b"cfd", b"cfdp", b"CFDP\x09", b"cfdp\x40", b"cfdp\x0c"])
def test_foreign_messages_are_none_of_ours(octets: bytes) -> None:
    assert decode_message(MessageToUser(octets)) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("00 00 00 00", "CFDP entity id of 0 octets, 1 to 8 are allowed"),
        ("00 01 05 00", "CFDP proxy put request: octet 4 is needed, there are 3"),
        ("09 00", "CFDP proxy put cancel: 1 octet too many"),
        ("0a 77 00", "CFDP originating transaction id: octet 9 is needed, there are 2"),
        ("07 c0", "CFDP ConditionCode 12 is reserved"),
    ],
)
def test_malformed_messages_are_refused_with_their_reason(content: str, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_message(MessageToUser(b"cfdp" + bytes.fromhex(content)))
    assert str(caught.value) == reason


SUBJECT = TransactionId(0x1AB, 0x010203)
SUBJECT_OCTETS = "13 01ab 00010203"  # lengths, entity, number: the fewest of 1, 2, 4 or 8 octets
RENAME = FilestoreRequest(FilestoreAction.RENAME_FILE, "a", "b")
CREATED = FilestoreResponse(FilestoreAction.CREATE_FILE, 1, "a", "", b"m")
IGNORE_SIZE = FaultHandlerOverride(ConditionCode.FILE_SIZE_ERROR, FaultHandler.IGNORE)
MESSAGES_BY_HAND: list[tuple[ReservedMessage, str]] = [
    (ProxyPutRequest(0x1AB, "a", ""), "00 02 01ab 01 61 00"),
    (ProxyMessageToUser(b"xy"), "01 02 7879"),
    (ProxyFilestoreRequest(RENAME), "02 05 20 01 61 01 62"),
    (ProxyFaultHandlerOverride(IGNORE_SIZE), "03 63"),
    (ProxyTransmissionMode(Mode.ACKNOWLEDGED), "04 00"),
    (ProxyTransmissionMode(Mode.UNACKNOWLEDGED), "04 01"),
    (ProxyFlowLabel(b"l"), "05 01 6c"),
    # Record boundaries are kept if the flag is 0. In the header they are if it is 1 (tables 6-10 and 5-1).
    (ProxySegmentationControl(records=True), "06 00"),
    (ProxySegmentationControl(records=False), "06 01"),
    (ProxyPutResponse(ConditionCode.FILE_SIZE_ERROR, DeliveryCode.INCOMPLETE, FileStatus.UNREPORTED), "07 67"),
    (ProxyPutResponse(ConditionCode.NO_ERROR, DeliveryCode.COMPLETE, FileStatus.RETAINED), "07 02"),
    (ProxyFilestoreResponse(CREATED), "08 05 01 01 61 01 6d"),
    (ProxyPutCancel(), "09"),
    (OriginatingTransactionId(SUBJECT), f"0a {SUBJECT_OCTETS}"),
    (ProxyClosureRequest(closure=True), "0b 01"),
    (ProxyClosureRequest(closure=False), "0b 00"),
    (DirectoryListingRequest("d", "ff"), "10 01 64 02 6666"),
    (DirectoryListingResponse(True, "d", "f"), "11 00 01 64 01 66"),
    (DirectoryListingResponse(False, "d", "f"), "11 80 01 64 01 66"),
    (RemoteStatusReportRequest(SUBJECT, "f"), f"20 {SUBJECT_OCTETS} 01 66"),
    (RemoteStatusReportResponse(AckStatus.UNRECOGNIZED, False, SUBJECT), f"21 c0 {SUBJECT_OCTETS}"),
    (RemoteStatusReportResponse(AckStatus.ACTIVE, True, SUBJECT), f"21 41 {SUBJECT_OCTETS}"),
    (RemoteSuspendRequest(SUBJECT), f"30 {SUBJECT_OCTETS}"),
    (RemoteSuspendResponse(True, AckStatus.ACTIVE, SUBJECT), f"31 a0 {SUBJECT_OCTETS}"),
    (RemoteSuspendResponse(False, AckStatus.UNRECOGNIZED, SUBJECT), f"31 60 {SUBJECT_OCTETS}"),
    (RemoteResumeRequest(SUBJECT), f"38 {SUBJECT_OCTETS}"),
    (RemoteResumeResponse(False, AckStatus.TERMINATED, SUBJECT), f"39 40 {SUBJECT_OCTETS}"),
    (RemoteResumeResponse(True, AckStatus.UNRECOGNIZED, SUBJECT), f"39 e0 {SUBJECT_OCTETS}"),
]


@pytest.mark.parametrize(("message", "octets"), MESSAGES_BY_HAND)
def test_messages_written_by_hand(message: ReservedMessage, octets: str) -> None:
    option = MessageToUser(b"cfdp" + bytes.fromhex(octets))
    assert message.encode() == option
    assert decode_message(option) == message


@pytest.mark.parametrize(
    "message", ["04 fe", "06 fe", "0b fe", "11 7f 00 00", "21 3e 00 01 02", "31 1f 00 01 02", "39 1f 00 01 02"]
)
def test_spare_bits_of_a_message_are_not_looked_at(message: str) -> None:
    octets = bytearray(b"cfdp" + bytes.fromhex(message))
    read = decode_message(MessageToUser(bytes(octets)))
    octets[5] = 0
    assert read is not None
    assert decode_message(MessageToUser(bytes(octets))) == read


@pytest.mark.parametrize(
    ("number", "octets"), [(0, 1), (255, 1), (256, 2), (2**16, 4), (2**32 - 1, 4), (2**32, 8), (2**64 - 1, 8)]
)
def test_ids_in_messages_take_the_fewest_octets_that_others_know(number: int, octets: int) -> None:
    message = OriginatingTransactionId(TransactionId(number, 0))
    assert message.encode().octets == b"cfdp\x0a" + bytes((octets - 1 << 4,)) + number.to_bytes(octets, "big") + b"\0"
    assert decode_message(message.encode()) == message


def test_an_entity_id_is_widened() -> None:
    assert EntityId(300).encode() == bytes.fromhex("06 02 012c")


@pytest.mark.parametrize("kind", [ConditionCode, FaultHandler, DeliveryCode, FileStatus, AckStatus, FilestoreAction])
def test_every_code_has_words_of_its_own(kind: type[IntEnum]) -> None:
    texts = [str(getattr(code, "text", "")) for code in kind]
    assert all(texts)
    assert len(set(texts)) == len(texts)
    assert not any("_" in text for text in texts)


def test_a_nak_without_requests_says_that_nothing_is_missing() -> None:
    assert Nak.split(HEADER, 0, 100, [], 100) == [Nak(HEADER, 0, 100)]


def test_a_split_nak_asks_for_the_metadata_first_and_never_goes_back() -> None:
    room = len(Nak(HEADER, 0, 0, ((0, 0),)).encode())
    naks = Nak.split(HEADER, 50, 100, [(0, 0), (60, 70), (80, 90)], room)
    assert [(nak.start, nak.end, nak.requests) for nak in naks] == [
        (50, 50, ((0, 0),)),
        (50, 70, ((60, 70),)),
        (70, 100, ((80, 90),)),
    ]
