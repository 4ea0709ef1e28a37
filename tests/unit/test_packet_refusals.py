"""What the packet codecs refuse, one fault at a time with everything else right, and where each field stands.

See test_link_refusals.py: every refusal is told by its own words.
"""

from __future__ import annotations

from typing import Any

import pytest

from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.kernels import crc16
from flight.link.cfdp.class1_pdu import (
    CHECKSUM_CRC32,
    NO_ERROR,
    EndOfFile,
    FileData,
    Metadata,
    Pdu,
    TransactionId,
    checksum_modular,
    decode_pdu,
    encode_pdu,
)
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


ONE = TransactionId(0x1122, 0x33445566)
DATA = FileData(ONE, 0x7788, 0x01020304, b"data")
META = Metadata(ONE, 0x7788, 0x01020304, CHECKSUM_CRC32, "here", "there")
END = EndOfFile(ONE, 0x7788, NO_ERROR, 0xA1B2C3D4, 0x01020304)
STOP = EndOfFile(ONE, 0x7788, 15, 0xA1B2C3D4, 0x01020304)
IDS = "1122 33445566 7788"
WIDE_IDS = "1122 0000000033445566 7788"  # 64 bits of transaction number, as they are sent
PDUS: dict[str, tuple[Pdu, str]] = {
    "file data": (DATA, f"34 0008 17 {WIDE_IDS} 01020304 64617461"),
    "metadata": (META, f"24 0011 17 {WIDE_IDS} 07 03 01020304 04 68657265 05 7468657265"),
    "end of file": (END, f"24 000a 17 {WIDE_IDS} 04 00 a1b2c3d4 01020304"),
    "end by cancellation": (STOP, f"24 000e 17 {WIDE_IDS} 04 f0 a1b2c3d4 01020304 06 02 1122"),
}


@pytest.mark.parametrize("name", PDUS)
def test_pdus_have_their_octets_where_the_standard_has_them(name: str) -> None:
    """727.0-B-5, 5.1 to 5.3."""
    pdu, raw = PDUS[name]
    assert encode_pdu(pdu).hex() == raw.replace(" ", "")
    assert decode_pdu(bytes.fromhex(raw)) == pdu


def pdu(text: str) -> bytes:
    """Octets written out; `len` is the length of what follows the header."""
    head, _, body = text.partition("|")
    octets = bytes.fromhex(body)
    return bytes.fromhex(head.replace("len", f"{len(octets):04x}")) + octets


PDU_FAULTS = {
    "too short for a header": (b"\x24\0\0", "of 3 octets, its fixed header takes 4"),
    "version 0": (pdu(f"04 len 13 {IDS}|04 00 a1b2c3d4 01020304"), "version 0, only 1"),
    "version 2": (pdu(f"44 len 13 {IDS}|04 00 a1b2c3d4 01020304"), "version 2, only 1"),
    "toward the sender": (pdu(f"2c len 13 {IDS}|04 00 a1b2c3d4 01020304"), "toward the sender"),
    "acknowledged": (pdu(f"20 len 13 {IDS}|04 00 a1b2c3d4 01020304"), "acknowledged mode"),
    "a large file": (pdu(f"25 len 13 {IDS}|04 00 a1b2c3d4 01020304"), "64-bit file"),
    "one octet more": (pdu(f"24 len 13 {IDS}|04 00 a1b2c3d4 01020304") + b"\0", "header says 22 octets, got 23"),
    "one octet less": (pdu(f"24 len 13 {IDS}|04 00 a1b2c3d4 01020304")[:-1], "header says 22 octets, got 21"),
    "nothing behind the header": (pdu(f"24 len 13 {IDS}|"), "header says 12 octets, got 12"),
    "only a fixed header": (bytes.fromhex("24000013"), "header says 12 octets, got 4"),
    "a large file that is acknowledged": (pdu(f"21 len 13 {IDS}|04 00 a1b2c3d4 01020304"), "acknowledged mode"),
    "only a directive": (pdu(f"24 len 13 {IDS}|05"), "directive 5"),
    "only a CRC": (pdu(f"26 len 13 {IDS}|0000"), "PDU: CRC-16 mismatch"),
    "another directive": (pdu(f"24 len 13 {IDS}|05 00"), "directive 5"),
    "file data without its offset": (pdu(f"34 len 13 {IDS}|010203"), "file data of 3 octets, its header takes 4"),
    "an offset of a large file": (pdu(f"35 len 13 {IDS}|0102030405060708 61"), "64-bit file"),
    "CRC with nothing before it": (
        pdu(f"26 len 13 {IDS}|") + crc16(pdu(f"26 0002 13 {IDS}|")).to_bytes(2, "big"),
        "header says 12 octets, got 14",
    ),
    "segment metadata over the end": (pdu(f"34 len 1b {IDS}|02 aabb 010203"), "of 6 octets, its header takes 7"),
    "metadata cut short": (pdu(f"24 len 13 {IDS}|07 03 01020304 00"), "metadata of 7 octets, shortest is 8"),
    "a name over the end": (pdu(f"24 len 13 {IDS}|07 03 01020304 00 02 61"), "ends at octet 10 of 9"),
    "no second name": (pdu(f"24 len 13 {IDS}|07 03 01020304 01 61"), "ends at octet 9 of 8"),
    "a name that is not text": (pdu(f"24 len 13 {IDS}|07 03 01020304 00 01 ff"), "not UTF-8"),
    "an option over the end": (pdu(f"24 len 13 {IDS}|07 03 01020304 00 00 02 02 61"), "option runs over"),
    "half an option": (pdu(f"24 len 13 {IDS}|07 03 01020304 00 00 02"), "option runs over"),
    "an end cut short": (pdu(f"24 len 13 {IDS}|04 00 a1b2c3d4 010203"), "EOF of 9 octets, shortest is 10"),
    "a fault location without a fault": (pdu(f"24 len 13 {IDS}|04 00 a1b2c3d4 01020304 0600"), "not a fault location"),
    "half a fault location": (pdu(f"24 len 13 {IDS}|04 f0 a1b2c3d4 01020304 06"), "not a fault location"),
    "a fault location cut short": (pdu(f"24 len 13 {IDS}|04 f0 a1b2c3d4 01020304 0602 11"), "not a fault location"),
    "another option": (pdu(f"24 len 13 {IDS}|04 f0 a1b2c3d4 01020304 0501 11"), "not a fault location"),
}


@pytest.mark.parametrize("fault", PDU_FAULTS)
def test_a_pdu_with_one_fault(fault: str) -> None:
    raw, text = PDU_FAULTS[fault]
    with pytest.raises(DecodeError, match=text):
        decode_pdu(raw)


def test_pdus_of_others_with_what_ours_do_not_have() -> None:
    assert decode_pdu(pdu(f"34 len 1b {IDS}|02 aabb 01020304 64617461")) == DATA, "segment metadata is passed over"
    assert decode_pdu(pdu(f"24 len 13 {IDS}|07 13 01020304 04 68657265 05 7468657265 02 01 61 06 00")) == META
    assert decode_pdu(pdu(f"24 len 13 {IDS}|04 f0 a1b2c3d4 01020304")) == STOP, "the fault location may be missing"
    long = decode_pdu(pdu("24 len 31 0000 1122 0102 0000 7788|04 00 a1b2c3d4 01020304"))
    assert long == EndOfFile(TransactionId(0x1122, 0x0102), 0x7788, NO_ERROR, 0xA1B2C3D4, 0x01020304)


@pytest.mark.parametrize(
    ("octets", "right"),
    [("", 0), ("01", 0x01000000), ("0102030405", 0x06020304), ("ffffffff00000002", 1), ("00000000000000ff", 0xFF)],
)
def test_the_modular_checksum(octets: str, right: int) -> None:
    """727.0-B-5, 4.2.2: the sum of words of four octets, the last one filled up with zeros."""
    assert checksum_modular(bytes.fromhex(octets)) == right


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
    assert decode_pdu(encode_pdu(FileData(ONE, 3, 0, data))) == FileData(ONE, 3, 0, data)


def test_the_shortest_pdu_with_a_crc() -> None:
    body = pdu(f"26 0003 13 {IDS}|05")
    with pytest.raises(DecodeError, match="directive 5"):
        decode_pdu(body + crc16(body).to_bytes(2, "big"))


def test_the_time_code_is_the_one_that_the_mission_declares() -> None:
    """301.0-B-4, 3.2.2: epoch 1958 TAI, four octets of seconds, two of fraction."""
    assert P_FIELD == 0b0_001_11_10


def test_the_least_that_each_pdu_takes() -> None:
    """Where one octet less is refused."""
    assert decode_pdu(pdu(f"34 len 13 {IDS}|01020304")) == FileData(ONE, 0x7788, 0x01020304, b"")
    assert decode_pdu(pdu(f"34 len 1b {IDS}|00 01020304")) == FileData(ONE, 0x7788, 0x01020304, b"")
    for length in (1, 62, 63):  # of the segment metadata, behind two bits of record continuation
        body = f"{0xC0 | length:02x} {'aa' * length} 01020304 64617461"
        assert decode_pdu(pdu(f"34 len 1b {IDS}|{body}")) == DATA
    empty = pdu(f"26 0002 13 {IDS}|")
    with pytest.raises(DecodeError, match="PDU: CRC-16 mismatch"):
        decode_pdu(empty + crc16(empty).to_bytes(2, "big"))
    assert decode_pdu(pdu(f"24 len 13 {IDS}|04 f0 a1b2c3d4 01020304 06 00")) == STOP
    assert decode_pdu(pdu(f"24 len 13 {IDS}|07 03 01020304 00 00")) == Metadata(ONE, 0x7788, 0x01020304, 3, "", "")
