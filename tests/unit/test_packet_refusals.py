"""What the packet codecs refuse, one fault at a time with everything else right, and where each field stands.

See test_link_refusals.py: every refusal is told by its own words.
"""

from __future__ import annotations

from typing import Any

import pytest

from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.kernels import crc16
from flight.link.pus import (
    ACK_ACCEPTANCE,
    ACK_COMPLETION,
    ACK_PROGRESS,
    ACK_START,
    PusTc,
    PusTm,
    RequestId,
    encode_tm,
    packet_apid,
)
from flight.link.space_packet import SpacePacket, idle_packet
from flight.link.time.time_code import P_FIELD, TIME_NS_MAX, decode_cuc, encode_cuc


def with_octets(good: bytes, at: int, *octets: int) -> bytes:
    return good[:at] + bytes(octets) + good[at + len(octets) :]


def resealed(good: bytes, at: int, *octets: int) -> bytes:
    body = with_octets(good, at, *octets)[:-2]
    return body + crc16(body).to_bytes(2, "big")


SPACE = SpacePacket(0x2AB, 0x1234, b"data", is_command=True, has_secondary=True)
GOOD = SPACE.encode()
SPACE_FAULTS = {
    "no data": (GOOD[:6], "of 6 octets, shortest is 7"),
    "version 1": (with_octets(GOOD, 0, 0x3A), "version 1, only 0"),
    "version 4": (with_octets(GOOD, 0, 0x9A), "version 4, only 0"),
    "a first segment": (with_octets(GOOD, 2, 0x52), "sequence flags 1, only 3"),
    "a last segment": (with_octets(GOOD, 2, 0x92), "sequence flags 2, only 3"),
    "one octet more": (GOOD + b"\0", "length field says 10 octets, got 11"),
    "one octet less": (GOOD[:-1], "length field says 10 octets, got 9"),
}


@pytest.mark.parametrize("fault", SPACE_FAULTS)
def test_a_space_packet_with_one_fault(fault: str) -> None:
    raw, text = SPACE_FAULTS[fault]
    with pytest.raises(DecodeError, match=text):
        SpacePacket.decode(raw)


def test_a_space_packet_has_its_octets_where_the_standard_has_them() -> None:
    """133.0-B-2, 4.1.3: version, type, secondary header flag, APID; sequence flags and count; length less one."""
    assert bytes.fromhex("1aab d234 0003") + b"data" == GOOD
    assert SpacePacket(0x7FF, 0, b"x").encode() == bytes.fromhex("07ff c000 0000 78")
    assert SpacePacket(0, 0x3FFF, b"x", has_secondary=True).encode() == bytes.fromhex("0800 ffff 0000 78")
    assert SpacePacket(0, 0, b"x", is_command=True).encode() == bytes.fromhex("1000 c000 0000 78")
    assert SpacePacket.decode(GOOD) == SPACE and packet_apid(GOOD) == 0x2AB


@pytest.mark.parametrize("octets", [1, 2, 255, 256, 0x10000])
def test_the_shortest_and_the_longest_space_packet(octets: int) -> None:
    raw = SpacePacket(1, 2, bytes(octets)).encode()
    assert (len(raw), SpacePacket.decode(raw)) == (octets + 6, SpacePacket(1, 2, bytes(octets)))
    assert idle_packet(octets + 6) == bytes.fromhex("07ff c000") + (octets - 1).to_bytes(2, "big") + b"\x55" * octets


@pytest.mark.parametrize(
    "wrong",
    [dict(apid=-1), dict(apid=0x800), dict(seq=-1), dict(seq=0x4000), dict(data=b""), dict(data=bytes(0x10001))],
)
def test_a_space_packet_that_cannot_be_is_a_mistake_of_ours(wrong: dict[str, Any]) -> None:
    values: dict[str, Any] = {"apid": 1, "seq": 2, "data": b"x"} | wrong
    with pytest.raises(AssertionError):
        SpacePacket(**values)


@pytest.mark.parametrize("octets", [6, 65543])
def test_an_idle_packet_that_cannot_be(octets: int) -> None:
    with pytest.raises(AssertionError):
        idle_packet(octets)


TC = PusTc(0x2AB, 0x1234, 0x11, 0x22, b"data", ack=0b1010, source=0xBEEF)
TM_NS = decode_cuc(bytes.fromhex("11223344 5566"))
TM = PusTm(0x2AB, 0x1234, 0x11, 0x22, b"data", TM_NS, counter=0xCAFE, destination=0xBEEF, time_status=0xC)
PUS: dict[str, tuple[bytes, type[PusTc | PusTm]]] = {
    "telecommand": (TC.encode(), PusTc),
    "telemetry": (TM.encode(), PusTm),
}
PUS_FAULTS = {
    "version 1": (0, 0x20, " version 1, only 0"),
    "the other type": (0, 0x10, " expected, its type bit is"),
    "no secondary header": (0, 0x08, "of APID 683 without secondary header"),
    "a first segment": (2, 0x80, "sequence flags 1, only 3"),
    "a last segment": (2, 0x40, "sequence flags 2, only 3"),
    "one octet more": (5, 0x01, "length field says"),
    "version of the standard": (6, 0x30, "of PUS version 1, only 2"),
    "error control": (-1, 0x01, r"packet error control \(CRC-16\) mismatch"),
}


@pytest.mark.parametrize("fault", PUS_FAULTS)
@pytest.mark.parametrize("name", PUS)
def test_a_packet_of_the_utilization_standard_with_one_fault(name: str, fault: str) -> None:
    good, kind = PUS[name]
    at, mask, text = PUS_FAULTS[fault]
    raw = with_octets(good, at % len(good), good[at] ^ mask) if at < 0 else resealed(good, at, good[at] ^ mask)
    with pytest.raises(DecodeError, match=f"{name} packet.*{text}"):
        kind.decode(raw)


@pytest.mark.parametrize(("name", "least"), [("telecommand", 13), ("telemetry", 21)])
def test_the_shortest_packet_of_the_utilization_standard(name: str, least: int) -> None:
    good, kind = PUS[name]
    body = resealed(good[: least - 2] + b"..", 4, 0, least - 7)
    assert kind.decode(body).data == b""
    shorter = resealed(body[:-1], 4, 0, least - 8)
    with pytest.raises(DecodeError, match=f"{name} packet of {least - 1} octets, shortest is {least}"):
        kind.decode(shorter)


def test_packets_have_their_octets_where_the_standard_has_them() -> None:
    """ECSS-E-ST-70-41C, 7.4.3.1 and 7.4.4.1, behind the primary header."""
    telecommand = bytes.fromhex("1aab d234 000a 2a 11 22 beef") + b"data"
    telemetry = bytes.fromhex("0aab d234 0012 2c 11 22 cafe beef 112233445566") + b"data"
    for raw, one in ((telecommand, TC), (telemetry, TM)):
        assert one.encode() == raw + crc16(raw).to_bytes(2, "big")
        assert type(one).decode(one.encode()) == one


def test_packets_that_nobody_gave_more_than_they_need() -> None:
    assert PusTc(1, 2, 17, 1, b"") == PusTc(1, 2, 17, 1, b"", ack=0b1001, source=0)
    plain = PusTm(1, 2, 17, 2, b"", TM_NS)
    assert (plain.counter, plain.destination, plain.time_status) == (0, 0, 0)
    assert plain.encode() == encode_tm(1, 2, 17, 2, b"", TM_NS)


@pytest.mark.parametrize(
    "wrong", [dict(apid=-1), dict(apid=0x800), dict(seq=-1), dict(seq=0x4000), dict(ack=16), dict(data=bytes(65530))]
)
def test_a_telecommand_that_cannot_be_is_a_mistake_of_ours(wrong: dict[str, Any]) -> None:
    values: dict[str, Any] = {"apid": 1, "seq": 2, "service": 17, "subtype": 1, "data": b""} | wrong
    with pytest.raises(AssertionError):
        PusTc(**values).encode()


@pytest.mark.parametrize(
    "wrong",
    [dict(apid=-1), dict(apid=0x800), dict(seq=-1), dict(seq=0x4000), dict(time_status=16), dict(data=bytes(65522))],
)
def test_telemetry_that_cannot_be_is_a_mistake_of_ours(wrong: dict[str, Any]) -> None:
    values: dict[str, Any] = {"apid": 1, "seq": 2, "service": 17, "subtype": 1, "data": b"", "time_ns": TM_NS} | wrong
    with pytest.raises(AssertionError):
        PusTm(**values).encode()


def test_the_longest_packets() -> None:
    assert len(PusTc(0x7FF, 0x3FFF, 1, 1, bytes(65529), ack=15).encode()) == 65542
    assert len(PusTm(0x7FF, 0x3FFF, 1, 1, bytes(65521), TM_NS, time_status=15).encode()) == 65542


@pytest.mark.parametrize("raw", ["12ab d2", "0aab d234", "3aab d234", "12ab d234", "1aab 5234", "1aab 9234"])
def test_octets_that_name_no_telecommand(raw: str) -> None:
    with pytest.raises(DecodeError, match="request id"):
        RequestId.decode(bytes.fromhex(raw))


def test_a_request_id_is_what_the_telecommand_begins_with() -> None:
    assert TC.request_id == RequestId(0x2AB, 0x1234) == RequestId.decode(TC.encode())
    assert TC.request_id.encode() == TC.encode()[:4]


@pytest.mark.parametrize(
    ("raw", "tai_ns"),
    [
        ("000000000000", 0), ("000000000001", 15_259), ("000000010000", NS), ("00000000ffff", 999_984_742),
        ("010000000000", 16_777_216 * NS),
    ],
)  # fmt: skip
def test_the_time_code(raw: str, tai_ns: int) -> None:
    """301.0-B-4, 3.2: four octets of seconds and two of fraction, rounded down."""
    assert decode_cuc(bytes.fromhex(raw)) == tai_ns
    assert encode_cuc(tai_ns) == bytes.fromhex(raw)
    assert encode_cuc(max(tai_ns - 1, 0)) == max(int(raw, 16) - 1, 0).to_bytes(6, "big")


def test_the_ends_of_the_time_code() -> None:
    last_ns = decode_cuc(b"\xff" * 6)
    assert encode_cuc(last_ns) == b"\xff" * 6 and last_ns - TIME_NS_MAX in (0, 1)
    for tai_ns in (-1, (1 << 32) * NS):
        with pytest.raises(AssertionError):
            encode_cuc(tai_ns)
    for octets in (5, 7):
        with pytest.raises(DecodeError, match=f"time code of {octets} octets"):
            decode_cuc(bytes(octets))


def test_the_apid_of_a_packet_is_in_its_first_two_octets_alone() -> None:
    for apid in (0, 1, 0xFF, 0x100, 0x2AB, 0x400, 0x7FF):
        for first in (SpacePacket(apid, 0, b"x"), SpacePacket(apid, 0, b"x", is_command=True, has_secondary=True)):
            assert packet_apid(first.encode()) == packet_apid(memoryview(first.encode())) == apid


def test_what_a_telecommand_may_ask_to_be_told() -> None:
    """ECSS-E-ST-70-41C, 7.4.4.1: one flag for each stage."""
    assert (ACK_ACCEPTANCE, ACK_START, ACK_PROGRESS, ACK_COMPLETION) == (1, 2, 4, 8)


def test_each_bit_of_the_numbers_in_a_header_counts() -> None:
    for bit in range(14):
        one = 1 << bit
        for apid in {one & 0x7FF, one & 0x7FF ^ 0x7FF}:
            packets = (
                SpacePacket(apid, one, b"x"), SpacePacket(apid, one, b"x", is_command=True),
                SpacePacket(apid, one, b"x", has_secondary=True), PusTc(apid, one, 1, 1, b"", ack=one & 15),
                PusTm(apid, one, 1, 1, b"", TM_NS, time_status=one & 15),
            )  # fmt: skip
            assert [type(packet).decode(packet.encode()) for packet in packets] == list(packets)
            request = RequestId(apid, one)
            assert request.encode() == PusTc(apid, one, 1, 1, b"").encode()[:4]
            assert RequestId.decode(request.encode()) == request


@pytest.mark.parametrize("octets", [255, 256, 511, 1000])
def test_lengths_of_two_octets(octets: int) -> None:
    data = bytes(octets)
    for packet in (PusTc(1, 2, 3, 4, data), PusTm(1, 2, 3, 4, data, TM_NS)):
        assert type(packet).decode(packet.encode()) == packet


def test_the_time_code_is_the_one_that_the_mission_declares() -> None:
    """301.0-B-4, 3.2.2: epoch 1958 TAI, four octets of seconds, two of fraction."""
    assert P_FIELD == 0b0_001_11_10
