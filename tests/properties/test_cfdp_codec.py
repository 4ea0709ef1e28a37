"""The CFDP codec: every PDU, option and message comes back as it was, and any octets give a PDU or a DecodeError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.core.errors import DecodeError
from flight.kernels import crc16
from flight.link.cfdp.conditions import AckStatus, ConditionCode, DeliveryCode, FaultHandler, FileStatus
from flight.link.cfdp.directives import Ack, Directive, EndOfFile, Finished, KeepAlive, Metadata, Nak, Prompt
from flight.link.cfdp.file_data import DataEncoder, FileData, data_key, octets_of_data, split_file_data
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
    encode_tlvs,
)

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
SHORT_NAMES = st.text(max_size=12)
FAULTS = st.sampled_from([code for code in ConditionCode if code is not ConditionCode.NO_ERROR])
ONE_NAME = st.sampled_from([action for action in FilestoreAction if not action.takes_two])
TWO_NAMES = st.sampled_from([action for action in FilestoreAction if action.takes_two])


@st.composite
def headers(draw: st.DrawFn, large: bool | None = None) -> Header:
    entity, number = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    ids = st.integers(0, 2 ** (8 * entity) - 1)
    transaction = TransactionId(draw(ids), draw(st.integers(0, 2 ** (8 * number) - 1)))
    big = draw(st.booleans()) if large is None else large
    return Header(transaction, draw(ids), draw(st.sampled_from(Mode)), big, draw(st.booleans()), entity, number)


filestore_requests = st.one_of(
    st.builds(FilestoreRequest, ONE_NAME, SHORT_NAMES), st.builds(FilestoreRequest, TWO_NAMES, SHORT_NAMES, SHORT_NAMES)
)
NIBBLE, MESSAGE = st.integers(0, 15), st.binary(max_size=20)
filestore_responses = st.one_of(
    st.builds(FilestoreResponse, ONE_NAME, NIBBLE, SHORT_NAMES, st.just(""), MESSAGE),
    st.builds(FilestoreResponse, TWO_NAMES, NIBBLE, SHORT_NAMES, SHORT_NAMES, MESSAGE),
)
overrides = st.builds(FaultHandlerOverride, st.sampled_from(ConditionCode), st.sampled_from(FaultHandler))
TLVS: dict[str, st.SearchStrategy[Any]] = {
    "filestore request": filestore_requests,
    "filestore response": filestore_responses,
    "message to user": st.builds(MessageToUser, st.binary(max_size=255)),
    "fault handler override": overrides,
    "flow label": st.builds(FlowLabel, st.binary(max_size=255)),
    "entity id": st.integers(1, 8).flatmap(
        lambda octets: st.builds(EntityId, st.integers(0, 256**octets - 1), st.just(octets))
    ),
    "other": st.builds(OtherTlv, st.integers(7, 255) | st.just(3), st.binary(max_size=255)),
}
tlvs = st.one_of(*TLVS.values())
transactions = st.builds(TransactionId, U64, U64)
MESSAGES: dict[str, st.SearchStrategy[Any]] = {
    "put request": st.builds(ProxyPutRequest, U64, SHORT_NAMES, SHORT_NAMES),
    "message to user": st.builds(ProxyMessageToUser, st.binary(max_size=249)),
    "filestore request": st.builds(ProxyFilestoreRequest, filestore_requests),
    "fault handler override": st.builds(ProxyFaultHandlerOverride, overrides),
    "transmission mode": st.builds(ProxyTransmissionMode, st.sampled_from(Mode)),
    "flow label": st.builds(ProxyFlowLabel, st.binary(max_size=249)),
    "segmentation control": st.builds(ProxySegmentationControl, st.booleans()),
    "put response": st.builds(
        ProxyPutResponse, st.sampled_from(ConditionCode), st.sampled_from(DeliveryCode), st.sampled_from(FileStatus)
    ),
    "filestore response": st.builds(ProxyFilestoreResponse, filestore_responses),
    "put cancel": st.just(ProxyPutCancel()),
    "originating transaction": st.builds(OriginatingTransactionId, transactions),
    "closure request": st.builds(ProxyClosureRequest, st.booleans()),
    "listing request": st.builds(DirectoryListingRequest, SHORT_NAMES, SHORT_NAMES),
    "listing response": st.builds(DirectoryListingResponse, st.booleans(), SHORT_NAMES, SHORT_NAMES),
    "report request": st.builds(RemoteStatusReportRequest, transactions, SHORT_NAMES),
    "report response": st.builds(RemoteStatusReportResponse, st.sampled_from(AckStatus), st.booleans(), transactions),
    "suspend request": st.builds(RemoteSuspendRequest, transactions),
    "suspend response": st.builds(RemoteSuspendResponse, st.booleans(), st.sampled_from(AckStatus), transactions),
    "resume request": st.builds(RemoteResumeRequest, transactions),
    "resume response": st.builds(RemoteResumeResponse, st.booleans(), st.sampled_from(AckStatus), transactions),
}


def _sizes(header: Header) -> st.SearchStrategy[int]:
    return U64 if header.large else U32


def _stretches(header: Header) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(_sizes(header), _sizes(header)).map(lambda pair: (min(pair), max(pair)))


def _metadata(header: Header) -> st.SearchStrategy[Pdu]:
    options = st.lists(tlvs, max_size=4).map(tuple)
    return st.builds(
        Metadata, st.just(header), _sizes(header), st.integers(0, 15), SHORT_NAMES, SHORT_NAMES, st.booleans(), options
    )


def _eofs(header: Header) -> st.SearchStrategy[Pdu]:
    good = st.builds(EndOfFile, st.just(header), st.just(ConditionCode.NO_ERROR), U32, _sizes(header))
    return good | st.builds(EndOfFile, st.just(header), FAULTS, U32, _sizes(header), st.none() | U64)


def _finished(header: Header) -> st.SearchStrategy[Pdu]:
    located = FAULTS.filter(lambda code: code is not ConditionCode.UNSUPPORTED_CHECKSUM_TYPE)
    ends = (st.sampled_from(DeliveryCode), st.sampled_from(FileStatus))
    responses = st.lists(filestore_responses, max_size=4).map(tuple)
    return st.one_of(
        st.builds(Finished, st.just(header), st.sampled_from(ConditionCode), *ends, responses),
        st.builds(Finished, st.just(header), located, *ends, responses, st.none() | U64),
    )


def _naks(header: Header) -> st.SearchStrategy[Pdu]:
    requests = st.lists(_stretches(header), max_size=40).map(tuple)
    return st.builds(lambda scope, requests: Nak(header, scope[0], scope[1], requests), _stretches(header), requests)


def _file_data(header: Header) -> st.SearchStrategy[Pdu]:
    plain = st.builds(FileData, st.just(header), _sizes(header), st.binary(max_size=200), st.booleans())
    states = (st.integers(0, 3), st.binary(max_size=63))
    return plain | st.builds(FileData, st.just(header), _sizes(header), st.binary(max_size=9), st.booleans(), *states)


ACKED = st.sampled_from([Directive.EOF, Directive.FINISHED])
PDUS: dict[str, Callable[[Header], st.SearchStrategy[Pdu]]] = {
    "metadata": _metadata,
    "EOF": _eofs,
    "Finished": _finished,
    "ACK": lambda header: st.builds(
        Ack, st.just(header), ACKED, st.sampled_from(ConditionCode), st.sampled_from(AckStatus)
    ),
    "NAK": _naks,
    "prompt": lambda header: st.builds(Prompt, st.just(header), st.booleans()),
    "keep alive": lambda header: st.builds(KeepAlive, st.just(header), _sizes(header)),
    "file data": _file_data,
}


@pytest.mark.parametrize("kind", PDUS)
@settings(max_examples=60)
@given(data=st.data())
def test_a_pdu_comes_back_as_it_was(kind: str, data: st.DataObject) -> None:
    pdu = data.draw(headers().flatmap(PDUS[kind]))
    raw = pdu.encode()
    assert decode_pdu(raw) == pdu
    assert decode_pdu(memoryview(bytearray(raw))) == pdu
    assert len(raw) == pdu.header.octets + (raw[1] << 8 | raw[2])


@pytest.mark.parametrize("kind", PDUS)
@settings(max_examples=60)
@given(data=st.data())
def test_changed_octets_give_a_pdu_or_a_decode_error(kind: str, data: st.DataObject) -> None:
    raw = bytearray(data.draw(headers().flatmap(PDUS[kind])).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    end = data.draw(st.just(len(raw)) | st.integers(0, len(raw)))
    raw = raw[:end]
    if len(raw) > 4 and data.draw(st.booleans()):
        # The lengths and the CRC are made right again, so that what was changed gets as far as it can.
        flags = raw[3]
        start = 4 + 2 * ((flags >> 4 & 7) + 1) + (flags & 7) + 1
        raw[1:3] = max(len(raw) - start, 0).to_bytes(2, "big")
        if raw[0] & 2:
            raw[-2:] = crc16(raw[:-2]).to_bytes(2, "big")
    judge(bytes(raw))


def judge(raw: bytes) -> None:
    """Decode in every way there is: all agree, and nothing but DecodeError is raised."""
    quick = split_file_data(raw)
    try:
        pdu = decode_pdu(raw)
    except DecodeError:
        assert quick is None
        return
    assert decode_pdu(memoryview(raw)) == pdu
    if isinstance(pdu, FileData):
        plain = not pdu.records and pdu.record_continuation is None
        assert quick == ((data_key(pdu.header), pdu.offset, pdu.data) if plain else None)
    else:
        assert quick is None
    assert decode_pdu(pdu.encode()) == pdu


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_any_octets_give_a_pdu_or_a_decode_error(raw: bytes) -> None:
    judge(raw)


@pytest.mark.parametrize("code", [*Directive, 0, 255])
@settings(max_examples=60)
@given(header=headers(), body=st.binary(max_size=60))
def test_any_body_of_a_directive_gives_a_pdu_or_a_decode_error(code: int, header: Header, body: bytes) -> None:
    judge(header.frame(bytes((code,)) + body))


@settings(max_examples=60)
@given(header=headers(), body=st.binary(min_size=1, max_size=80), flags=st.sampled_from([0, 0x80, 0x08, 0x88]))
def test_any_body_of_file_data_gives_a_pdu_or_a_decode_error(header: Header, body: bytes, flags: int) -> None:
    judge(header.frame(body, file_data=True, flags=flags))


@pytest.mark.parametrize("kind", TLVS)
@settings(max_examples=60)
@given(data=st.data())
def test_a_tlv_comes_back_as_it_was(kind: str, data: st.DataObject) -> None:
    values = tuple(data.draw(st.lists(TLVS[kind], max_size=3)))
    assert decode_tlvs(FieldReader(encode_tlvs(values), "test")) == values


@settings(max_examples=300)
@given(kind=st.integers(0, 7), value=st.binary(max_size=30), end=st.binary(max_size=3))
def test_any_octets_give_tlvs_or_a_decode_error(kind: int, value: bytes, end: bytes) -> None:
    raw = bytes((kind, len(value))) + value + end
    try:
        values = decode_tlvs(FieldReader(raw, "test"))
    except DecodeError:
        return
    assert decode_tlvs(FieldReader(encode_tlvs(values), "test")) == values


@pytest.mark.parametrize("kind", MESSAGES)
@settings(max_examples=40)
@given(data=st.data())
def test_a_message_comes_back_as_it_was(kind: str, data: st.DataObject) -> None:
    message = data.draw(MESSAGES[kind])
    assert decode_message(message.encode()) == message


@settings(max_examples=300)
@given(kind=st.integers(0, 0x45), content=st.binary(max_size=40), identified=st.booleans())
def test_any_message_is_one_or_foreign_or_a_decode_error(kind: int, content: bytes, identified: bool) -> None:
    octets = (b"cfdp" if identified else b"cfd") + bytes((kind,)) + content
    try:
        message = decode_message(MessageToUser(octets))
    except DecodeError:
        assert identified
        return
    if message is not None:
        assert identified
        assert decode_message(message.encode()) == message


@settings(max_examples=100)
@given(header=headers(), data=st.binary(max_size=300), at=U64)
def test_the_quick_ways_are_the_long_way(header: Header, data: bytes, at: int) -> None:
    offset = at if header.large else at % 2**32
    raw = FileData(header, offset, data).encode()
    assert DataEncoder(header).encode(offset, data) == raw
    assert DataEncoder(header).encode(offset, memoryview(data)) == raw
    assert split_file_data(raw) == (data_key(header), offset, data)
    view = memoryview(raw)
    assert split_file_data(view) == (data_key(header), offset, data)
    key, _, octets = split_file_data(view) or (b"", 0, b"")
    assert isinstance(key, bytes)
    assert isinstance(octets, memoryview)
    assert octets_of_data(header, len(raw)) == len(data)


@settings(max_examples=100)
@given(header=headers(), data=st.data())
def test_split_naks_ask_for_the_same_and_leave_no_gap(header: Header, data: st.DataObject) -> None:
    bounds = sorted(data.draw(st.sets(st.integers(0, 10**6), min_size=2, max_size=60)))
    requests = list(zip(bounds[1:-1:2], bounds[2:-1:2], strict=False))
    if data.draw(st.booleans()):
        requests.insert(0, (0, 0))
    smallest = len(Nak(header, 0, 0, ((0, 0),)).encode())
    room = data.draw(st.integers(smallest, smallest + 200))
    naks = Nak.split(header, bounds[0], bounds[-1], requests, room)
    assert [request for nak in naks for request in nak.requests] == requests
    assert all(len(nak.encode()) <= room for nak in naks)
    assert [naks[0].start, *(nak.end for nak in naks)] == [*(nak.start for nak in naks), bounds[-1]]
    assert all(nak.start <= start and end <= nak.end for nak in naks for start, end in nak.requests if end)
    # One less would not have been enough.
    assert len(naks) == 1 or len(Nak(header, 0, 0, (*naks[0].requests, (0, 0))).encode()) > room
    with pytest.raises(ValueError, match="does not fit"):
        Nak.split(header, 0, 0, requests, smallest - 1)
