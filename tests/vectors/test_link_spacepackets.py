"""spacepackets, another implementation, reads what we write and writes what we read."""

from __future__ import annotations

import pytest

pytest.importorskip("spacepackets")

from spacepackets.ccsds.spacepacket import SpacePacketHeader
from spacepackets.ccsds.tm_frame import TmTransferFrame
from spacepackets.cfdp import ChecksumType, ConditionCode, CrcFlag, TransmissionMode
from spacepackets.cfdp.conf import PduConfig
from spacepackets.cfdp.pdu import EofPdu, FileDataPdu, MetadataPdu
from spacepackets.cfdp.pdu.file_data import FileDataParams
from spacepackets.cfdp.pdu.metadata import MetadataParams
from spacepackets.ecss.tc import PusTc as TheirTc
from spacepackets.ecss.tm import PusTm as TheirTm
from spacepackets.util import ByteFieldU8, ByteFieldU16, ByteFieldU32, UnsignedByteField

from flight.link.cfdp.class1_pdu import EndOfFile, FileData, Metadata, TransactionId, decode_pdu, encode_pdu
from flight.link.cfdp.transfers import CfdpSender
from flight.link.link import Role
from flight.link.pus import PusTc, PusTm, RequestId
from flight.link.space_packet import SpacePacket, idle_packet
from flight.link.time.time_code import encode_cuc
from flight.link.tm_tc_stack import FlightLink
from tests.link_ends import BARE, unit_of

TAI_NS = 2_152_000_000_123_456_789


SOURCE, NUMBER = ByteFieldU16(0x1AB), ByteFieldU32(77)


def their_config(
    crc: bool = False, source: UnsignedByteField = SOURCE, number: UnsignedByteField = NUMBER
) -> PduConfig:
    return PduConfig(
        source_entity_id=source,
        dest_entity_id=type(source)(1),
        transaction_seq_num=number,
        trans_mode=TransmissionMode.UNACKNOWLEDGED,
        crc_flag=CrcFlag.WITH_CRC if crc else CrcFlag.NO_CRC,
    )


def test_frames_from_the_stack() -> None:
    link = FlightLink(BARE)
    packet = PusTm(1, 5, 3, 25, b"abc", TAI_NS).encode()
    assert link.queue(Role.REALTIME, packet)
    frame = TmTransferFrame.unpack(unit_of(link), 1115, True)
    header = frame.primary_header
    assert (header.master_channel_id.spacecraft_id, header.vc_id, header.ocf_flag) == (0x1AB, 0, True)
    assert header.frame_datafield_status.first_header_pointer == 0
    assert frame.data_field.startswith(packet)
    assert frame.data_field[len(packet) :] == idle_packet(1103 - len(packet))
    idle = TmTransferFrame.unpack(unit_of(link), 1115, True).primary_header
    assert (idle.vc_id, idle.frame_datafield_status.first_header_pointer) == (7, 0x7FE)
    assert (idle.master_ch_frame_count, idle.vc_frame_count) == (1, 0)


def test_telemetry_packet() -> None:
    raw = PusTm(2, 0x1234, 5, 3, b"payload", TAI_NS, counter=513, destination=7, time_status=3).encode()
    theirs = TheirTm.unpack(raw, timestamp_len=6)
    assert (theirs.apid, theirs.seq_count, theirs.service) == (2, 0x1234, 5)
    assert theirs.pus_tm_sec_header.message_subtype == 3
    assert theirs.pus_tm_sec_header.message_counter == 513
    assert theirs.pus_tm_sec_header.dest_id == 7
    assert theirs.pus_tm_sec_header.spacecraft_time_ref == 3
    assert bytes(theirs.timestamp) == encode_cuc(TAI_NS)
    assert bytes(theirs.tm_data) == b"payload"
    assert PusTm.decode(bytes(theirs.pack())) == PusTm.decode(raw)


def test_telecommand_packet_both_ways() -> None:
    theirs = TheirTc(apid=1, service=17, message_subtype=1, seq_count=9, app_data=b"xyz", source_id=3, ack_flags=9)
    ours = PusTc(1, 9, 17, 1, b"xyz", ack=9, source=3)
    raw = bytes(theirs.pack())
    assert ours.encode() == raw
    assert PusTc.decode(raw) == ours
    assert RequestId.decode(raw) == ours.request_id
    assert ours.request_id.encode() == raw[:4]


def test_idle_packet_and_space_packet_headers() -> None:
    for raw in (idle_packet(40), SpacePacket(3, 7, b"1234").encode()):
        header = SpacePacketHeader.unpack(raw)
        assert header.apid == SpacePacket.decode(raw).apid
        assert header.packet_len == len(raw)


@pytest.mark.parametrize("crc", [False, True])
def test_cfdp_of_theirs(crc: bool) -> None:
    config = their_config(crc)
    transaction = TransactionId(0x1AB, 77)
    metadata = MetadataPdu(config, MetadataParams(False, ChecksumType.CRC_32, 300, "source.bin", "mask.bin"))
    data = FileDataPdu(config, FileDataParams(b"segment", offset=100))
    eof = EofPdu(config, 0x01020304, 300)
    assert decode_pdu(bytes(metadata.pack())) == Metadata(transaction, 1, 300, 3, "source.bin", "mask.bin")
    assert decode_pdu(bytes(data.pack())) == FileData(transaction, 1, 100, b"segment")
    assert decode_pdu(bytes(eof.pack())) == EndOfFile(transaction, 1, 0, 0x01020304, 300)


def test_cfdp_of_theirs_with_short_ids() -> None:
    config = their_config(source=ByteFieldU8(9), number=ByteFieldU8(200))
    data = FileDataPdu(config, FileDataParams(b"segment", offset=0))
    assert decode_pdu(bytes(data.pack())) == FileData(TransactionId(9, 200), 1, 0, b"segment")


def test_cfdp_of_ours() -> None:
    sender = CfdpSender(0x1AB, 1, 77, "mask.bin", bytes(range(100)), 64)
    pdus = []
    while (pdu := sender.next_pdu()) is not None:
        pdus.append(pdu)
    assert len(pdus) == sender.pdus
    metadata = MetadataPdu.unpack(pdus[0])
    assert (metadata.file_size, metadata.dest_file_name, metadata.checksum_type) == (100, "mask.bin", 3)
    assert metadata.transaction_seq_num.value == 77
    assert metadata.source_entity_id.value == 0x1AB
    assert bytes(metadata.pack()) == pdus[0]
    parts = [FileDataPdu.unpack(pdu) for pdu in pdus[1:-1]]
    assert b"".join(bytes(part.file_data) for part in parts) == bytes(range(100))
    assert [part.offset for part in parts] == [0, 64]
    eof = EofPdu.unpack(pdus[-1])
    assert eof.file_size == 100
    assert bytes(eof.pack()) == pdus[-1]


def test_cancelling_eof_of_ours() -> None:
    eof = EofPdu.unpack(encode_pdu(EndOfFile(TransactionId(5, 6), 1, 15, 9, 10)))
    # spacepackets 0.32 leaves the condition code in the upper four bits of its octet.
    assert eof.condition_code in (ConditionCode.CANCEL_REQUEST_RECEIVED, ConditionCode.CANCEL_REQUEST_RECEIVED << 4)
    assert eof.fault_location is not None
    assert bytes(eof.fault_location.value) == b"\x00\x05"
