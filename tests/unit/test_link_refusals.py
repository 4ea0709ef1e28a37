"""What the frame codecs refuse, one fault at a time with everything else right, and the last that they take.

Each refusal is told by its own words: a decoder that lets one fault pass is often stopped by the next check, and a
test that only asks whether something was refused would not see it.
"""

from __future__ import annotations

import pytest

from flight.core.errors import DecodeError
from flight.kernels import crc16
from flight.link.sequence_count_ranges import GROUND_SEQ_COUNTS, ON_BOARD_SOURCE, ON_BOARD_STEPS_MAX
from flight.link.tc.clcw import Clcw
from flight.link.tc.tc_frame import DATA_OCTETS_MAX, TcFrame
from flight.link.tm.aos_frame import AosFormat, AosFrame
from flight.link.tm.tm_frame import FRAME_OCTETS_MAX, IDLE_DATA, NO_PACKET_START, FrameError, TmFormat, TmFrame

TC = TcFrame(0x2AB, 0x21, 0xC7, b"command")
TM = TmFrame(0x2AB, 5, 0x81, 0x42, 3, bytes(range(20)), b"\xa1\xb2\xc3\xd4")
TM_OCTETS = 32
AOS = AosFrame(0x2AB, 0x21, 0x81_42_C3, 3, bytes(range(20)), b"\xa1\xb2\xc3\xd4")
AOS_FORMAT = AosFormat(0x2AB, 34)


def sealed(body: bytes) -> bytes:
    return body + crc16(body).to_bytes(2, "big")


def with_header(good: bytes, at: int, *octets: int) -> bytes:
    """The frame with other octets at this place, and error control that fits them."""
    return sealed(good[:at] + bytes(octets) + good[at + len(octets) : -2])


GOOD = TC.encode()
TC_FAULTS = {
    "no room for data": (sealed(bytes.fromhex("02 ab 84 06 c7")), "of 7 octets, shortest is 8"),
    "length field below the least": (with_header(GOOD, 3, 6), "length field says 7 octets, least is 8"),
    "length field beyond the octets": (with_header(GOOD, 3, 14), "says 15 octets, got 14"),
    "version 1": (with_header(GOOD, 0, 0x42), "version 1, only 0"),
    "version 2": (with_header(GOOD, 0, 0x82), "version 2, only 0"),
    "control command in sequence": (with_header(GOOD, 0, 0x12), "control command without bypass flag"),
    "first spare bit": (with_header(GOOD, 0, 0x0A), "spare bits set"),
    "second spare bit": (with_header(GOOD, 0, 0x06), "spare bits set"),
    "error control": (GOOD[:-1] + bytes((GOOD[-1] ^ 1,)), r"frame error control \(CRC-16\) mismatch"),
}  # fmt: skip


@pytest.mark.parametrize("fault", TC_FAULTS)
def test_a_telecommand_frame_with_one_fault(fault: str) -> None:
    raw, text = TC_FAULTS[fault]
    with pytest.raises(DecodeError, match=text):
        TcFrame.decode(raw)


def test_telecommand_frames_have_their_octets_where_the_standard_has_them() -> None:
    """232.0-B-4, 4.1.2: version, bypass, control, spare, spacecraft; channel and length less one; sequence number."""
    assert sealed(bytes.fromhex("02ab 840d c7") + b"command") == GOOD
    assert TcFrame(0x3FF, 0x3F, 0, b"\0", bypass=True).encode()[:5] == bytes.fromhex("23ff fc07 00")
    assert TcFrame(0, 0, 0, b"\0", bypass=True, control=True).encode()[:5] == bytes.fromhex("3000 0007 00")
    assert (TC.octets, TcFrame.decode(GOOD)) == (14, TC)


@pytest.mark.parametrize(("bypass", "control"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("octets", [1, 2, 255, 256, DATA_OCTETS_MAX - 1, DATA_OCTETS_MAX])
def test_the_shortest_and_the_longest_telecommand_frame(octets: int, bypass: bool, control: bool) -> None:
    frame = TcFrame(0x3FF, 0x3F, 0xFF, bytes(octets), bypass, control)
    raw = frame.encode()
    assert TcFrame.decode(raw) == TcFrame.decode(raw + b"\x55" * 6) == frame
    assert len(raw) == frame.octets == octets + 7


@pytest.mark.parametrize("octets", [0, DATA_OCTETS_MAX + 1])
def test_a_telecommand_frame_that_cannot_be_is_a_mistake_of_ours(octets: int) -> None:
    with pytest.raises(AssertionError):
        TcFrame(1, 0, 0, bytes(octets)).encode()


GOOD_TM = TM.encode(TM_OCTETS)
TM_FAULTS = {
    "one octet less": (GOOD_TM[:-1], "length"),
    "one octet more": (GOOD_TM + b"\0", "length"),
    "error control": (GOOD_TM[:-1] + bytes((GOOD_TM[-1] ^ 1,)), "crc"),
    "version 1": (with_header(GOOD_TM, 0, 0x6A), "version"),
    "version 2": (with_header(GOOD_TM, 0, 0xAA), "version"),
    "secondary header": (with_header(GOOD_TM, 4, 0x98), "status"),
    "no packets": (with_header(GOOD_TM, 4, 0x58), "status"),
    "pointer to the first octet that is not there": (with_header(GOOD_TM, 4, 0x18, 20), "pointer"),
    "pointer just below that of idle data": (with_header(GOOD_TM, 4, 0x1F, 0xFD), "pointer"),
}


@pytest.mark.parametrize("fault", TM_FAULTS)
def test_a_telemetry_frame_with_one_fault(fault: str) -> None:
    raw, reason = TM_FAULTS[fault]
    with pytest.raises(FrameError) as caught:
        TmFrame.decode(raw, TM_OCTETS)
    assert caught.value.reason == reason


def test_a_telemetry_frame_has_its_octets_where_the_standard_has_them() -> None:
    """132.0-B-3, 4.1.2: version, spacecraft, channel, flag of the control field; counts; data field status."""
    assert sealed(bytes.fromhex("2abb 8142 1803") + TM.data + bytes.fromhex("a1b2c3d4")) == GOOD_TM
    assert TmFrame.decode(GOOD_TM, TM_OCTETS) == TM


@pytest.mark.parametrize("pointer", [0, 19, IDLE_DATA, NO_PACKET_START])
def test_pointers_that_a_telemetry_frame_may_have(pointer: int) -> None:
    assert (
        TmFrame.decode(with_header(GOOD_TM, 4, 0x18 | pointer >> 8, pointer & 0xFF), 32).first_header_pointer == pointer
    )


def test_a_telemetry_frame_without_its_optional_fields() -> None:
    bare = TmFrame(0x2AB, 5, 1, 2, 0, bytes(24), None)
    assert TmFrame.decode(bare.encode(TM_OCTETS), TM_OCTETS) == bare
    # Where Reed-Solomon alone guards the frame the two octets of error control are data, or of the control field.
    raw = bare.encode(TM_OCTETS)
    assert TmFrame.decode(raw, TM_OCTETS, has_fecf=False).data == raw[6:]
    taken = TmFrame.decode(GOOD_TM[:-1] + b"\0", TM_OCTETS, has_fecf=False)
    assert (taken.data, taken.ocf) == (GOOD_TM[6:28], GOOD_TM[28:31] + b"\0")


def test_the_shortest_telemetry_frame() -> None:
    least = TmFrame(1, 0, 0, 0, 0, b"d", bytes(4)).encode(13)
    assert TmFrame.decode(least, 13).data == b"d"
    with pytest.raises(FrameError, match="no room for data") as caught:
        TmFrame.decode(sealed(least[:6] + bytes(4)), 12)
    assert caught.value.reason == "length"


GOOD_AOS = AOS.encode(AOS_FORMAT)
AOS_FAULTS = {
    "one octet less": (GOOD_AOS[:-1], "length"),
    "error control": (GOOD_AOS[:-1] + bytes((GOOD_AOS[-1] ^ 1,)), "crc"),
    "version 0": (with_header(GOOD_AOS, 0, 0x2A), "version"),
    "version 3": (with_header(GOOD_AOS, 0, 0xEA), "version"),
    "pointer to the first octet that is not there": (with_header(GOOD_AOS, 6, 0x00, 20), "pointer"),
    "pointer just below that of idle data": (with_header(GOOD_AOS, 6, 0x07, 0xFD), "pointer"),
}


@pytest.mark.parametrize("fault", AOS_FAULTS)
def test_an_aos_frame_with_one_fault(fault: str) -> None:
    raw, reason = AOS_FAULTS[fault]
    with pytest.raises(FrameError) as caught:
        AosFrame.decode(raw, AOS_FORMAT)
    assert caught.value.reason == reason


def test_an_aos_frame_has_its_octets_where_the_standard_has_them() -> None:
    """732.0-B-4, 4.1.2: version, the lower eight bits of the spacecraft, channel; count; replay, cycle in use, the
    upper two bits of the spacecraft, cycle.
    """
    assert sealed(bytes.fromhex("6ae1 8142c3 20 0003") + AOS.data + bytes.fromhex("a1b2c3d4")) == GOOD_AOS
    assert AosFrame.decode(GOOD_AOS, AOS_FORMAT) == AOS


@pytest.mark.parametrize("has_fecf", [True, False])
@pytest.mark.parametrize("has_ocf", [True, False])
@pytest.mark.parametrize("insert", [b"", b"insert"])
@pytest.mark.parametrize(("replay", "cycle"), [(False, None), (True, None), (False, 0), (True, 0x0B)])
def test_an_aos_frame_with_each_of_its_optional_parts(
    has_fecf: bool, has_ocf: bool, insert: bytes, replay: bool, cycle: int | None
) -> None:
    octets = 6 + len(insert) + 2 + 20 + 4 * has_ocf + 2 * has_fecf
    form = AosFormat(0x2AB, octets, len(insert), has_ocf=has_ocf, has_fecf=has_fecf)
    frame = AosFrame(0x2AB, 62, 0xFFFFFF, 19, bytes(range(20)), b"ocf." if has_ocf else None, replay, cycle, insert)
    raw = frame.encode(form)
    assert (len(raw), form.data_octets) == (octets, 20)
    assert AosFrame.decode(raw, form) == frame


def test_the_shortest_aos_frame_and_one_without_room() -> None:
    least = AosFormat(1, 15)
    assert AosFrame.decode(AosFrame(1, 1, 0, 0, b"d", bytes(4)).encode(least), least).data == b"d"
    with pytest.raises(FrameError, match="no room for data") as caught:
        AosFrame.decode(bytes(14), AosFormat(1, 14))
    assert caught.value.reason == "length"


@pytest.mark.parametrize("vcid", [62, 63])
def test_the_idle_channel_of_aos_has_no_pointer(vcid: int) -> None:
    """Channel 63 is idle data, whatever stands where the pointer would; channel 62 carries packets."""
    raw = with_header(GOOD_AOS, 1, 0xC0 | vcid)
    assert AosFrame.decode(raw, AOS_FORMAT).first_header_pointer == (IDLE_DATA if vcid == 63 else 3)


CLCW_FAULTS = {
    "one octet less": (bytes(3), "of 3 octets"),
    "one octet more": (bytes(5), "of 5 octets"),
    "type 1": (bytes.fromhex("81000000"), "control word type 1"),
    "version 1": (bytes.fromhex("21000000"), "version 1, only 0"),
    "version 2": (bytes.fromhex("41000000"), "version 2, only 0"),
    "no COP": (bytes.fromhex("00000000"), "COP in effect 0, only 1"),
    "another COP": (bytes.fromhex("02000000"), "COP in effect 2, only 1"),
    "a third COP": (bytes.fromhex("03000000"), "COP in effect 3, only 1"),
    "first spare bit": (bytes.fromhex("01020000"), "spare bits set"),
    "second spare bit": (bytes.fromhex("01010000"), "spare bits set"),
    "third spare bit": (bytes.fromhex("01000100"), "spare bits set"),
}


@pytest.mark.parametrize("fault", CLCW_FAULTS)
def test_a_control_word_with_one_fault(fault: str) -> None:
    raw, text = CLCW_FAULTS[fault]
    with pytest.raises(DecodeError, match=text):
        Clcw.decode(raw)


@pytest.mark.parametrize(
    ("word", "clcw"),
    [
        ("01000000", Clcw(0, 0)),
        ("1d000000", Clcw(0, 0, status=7)),
        ("01fc0000", Clcw(0x3F, 0)),
        ("01008000", Clcw(0, 0, no_rf=True)),
        ("01004000", Clcw(0, 0, no_bit_lock=True)),
        ("01002000", Clcw(0, 0, lockout=True)),
        ("01001000", Clcw(0, 0, wait=True)),
        ("01000800", Clcw(0, 0, retransmit=True)),
        ("01000600", Clcw(0, 0, farm_b_counter=3)),
        ("010000ff", Clcw(0, 255)),
    ],
)
def test_each_field_of_a_control_word_is_where_the_standard_has_it(word: str, clcw: Clcw) -> None:
    """232.0-B-4, 4.2.1."""
    assert clcw.encode() == bytes.fromhex(word)
    assert Clcw.decode(bytes.fromhex(word)) == clcw


def test_a_refused_frame_says_why_in_words() -> None:
    with pytest.raises(FrameError) as caught:
        TmFrame.decode(GOOD_TM[:-1], TM_OCTETS)
    assert str(caught.value) == "frame of 31 octets, frames of this link have 32"
    with pytest.raises(FrameError) as caught:
        AosFrame.decode(GOOD_AOS[:-1], AOS_FORMAT)
    assert str(caught.value) == "frame of 33 octets, frames of this link have 34"


def test_counts_of_a_channel_go_round_where_the_standards_say() -> None:
    """132.0-B-3, 4.1.2.6: 8 bits; 732.0-B-4, 4.1.2.4: 24 bits."""
    assert (TmFormat(1, 64).vc_counts, AosFormat(1, 64).vc_counts) == (256, 16_777_216)


def test_telecommands_of_the_ground_and_of_the_mission_have_counts_of_their_own() -> None:
    assert (GROUND_SEQ_COUNTS, ON_BOARD_STEPS_MAX, ON_BOARD_SOURCE) == (16_128, 256, 0xFFFF)


def test_formats_put_each_part_of_a_frame_in_its_place() -> None:
    """As a multiplexer makes them: AOS has no master count."""
    parts = (TM.vcid, TM.master_count, TM.vc_count, TM.first_header_pointer, TM.data, TM.ocf)
    assert TmFormat(TM.spacecraft_id, TM_OCTETS).encode(*parts) == GOOD_TM
    assert AOS_FORMAT.encode(AOS.vcid, 99, AOS.vc_count, AOS.first_header_pointer, AOS.data, AOS.ocf) == GOOD_AOS


@pytest.mark.parametrize("spacecraft_id", [0, 1, 0xFF, 0x100, 0x200, 0x3FF])
@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize("cycle", [None, 0, 1, 15])
def test_spacecraft_replay_and_cycle_of_an_aos_frame_do_not_touch(
    spacecraft_id: int, replay: bool, cycle: int | None
) -> None:
    frame = AosFrame(spacecraft_id, 1, 0, 0, bytes(20), bytes(4), replay, cycle)
    assert AosFrame.decode(frame.encode(AOS_FORMAT), AOS_FORMAT) == frame


def test_a_cycle_that_is_not_in_use_is_passed_over() -> None:
    """732.0-B-4, 4.1.2.5.4: it should be zeros then; what is there instead says nothing."""
    taken = AosFrame.decode(with_header(GOOD_AOS, 5, 0x2F), AOS_FORMAT)
    assert (taken.cycle, taken.replay) == (None, False) and taken == AOS


def test_the_longest_telemetry_frame_is_what_the_standard_admits() -> None:
    """132.0-B-3, 4.1.1."""
    assert FRAME_OCTETS_MAX == 2048
