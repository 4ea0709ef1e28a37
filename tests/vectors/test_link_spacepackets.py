"""spacepackets, another implementation, reads what we write and writes what we read."""

from __future__ import annotations

import pytest

pytest.importorskip("spacepackets")

from spacepackets.ccsds.spacepacket import SpacePacketHeader
from spacepackets.ccsds.tm_frame import TmTransferFrame
from spacepackets.ecss.tc import PusTc as TheirTc
from spacepackets.ecss.tm import PusTm as TheirTm

from flight.link.link import Role
from flight.link.pus import PusTc, PusTm, RequestId
from flight.link.space_packet import SpacePacket, idle_packet
from flight.link.time.time_code import encode_cuc
from flight.link.tm_tc_stack import FlightLink
from tests.link_ends import BARE, unit_of

TAI_NS = 2_152_000_000_123_456_789


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
