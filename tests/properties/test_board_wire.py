"""The board's serial protocol: round trips, and any octets give a value or WireError."""

from __future__ import annotations

import struct
from contextlib import suppress

import crcmod.predefined
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hal.base import PowerReading
from hal.board_wire import (
    BODY_MAX,
    FRAME_MAX,
    BoardDescription,
    BoardFrame,
    BoardIdentity,
    BoardReceiver,
    BoardStatus,
    Kind,
    WireError,
    cobs_decode,
    cobs_encode,
    decode_limit,
    decode_order,
    encode_limit,
    encode_order,
)

f32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
names = st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=6), max_size=8,
                 unique=True).map(tuple)  # fmt: skip
frames = st.builds(BoardFrame, st.sampled_from(Kind), st.integers(0, 255), st.binary(max_size=BODY_MAX), st.booleans())
descriptions = st.builds(BoardDescription, names, names, names)
statuses = st.builds(
    BoardStatus,
    st.builds(PowerReading, f32, f32, f32, f32, f32),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.lists(f32, max_size=16).map(tuple),
)


@given(st.binary(max_size=600))
def test_cobs_round_trip(data: bytes) -> None:
    coded = cobs_encode(data)
    assert b"\0" not in coded and len(coded) <= len(data) + 1 + len(data) // 254
    assert cobs_decode(coded) == data


@pytest.mark.parametrize(
    ("data", "coded"),
    [
        ("00", "0101"),
        ("0000", "010101"),
        ("11220033", "0311220233"),
        ("11223344", "0511223344"),
        ("11000000", "0211010101"),
    ],
)
def test_cobs_examples_of_the_paper(data: str, coded: str) -> None:
    assert cobs_encode(bytes.fromhex(data)) == bytes.fromhex(coded)


@given(frames)
def test_frame_round_trip(frame: BoardFrame) -> None:
    octets = frame.encode()
    assert octets[0] == octets[-1] == 0 and len(octets) <= FRAME_MAX + 2
    assert BoardFrame.decode(octets[1:-1]) == frame


@given(frames)
def test_crc_is_ccitt_false(frame: BoardFrame) -> None:
    raw = cobs_decode(frame.encode()[1:-1])
    assert crcmod.predefined.mkCrcFun("crc-ccitt-false")(raw) == 0


@given(st.binary(max_size=300))
def test_any_octets(raw: bytes) -> None:
    for decode in (
        cobs_decode, BoardFrame.decode, BoardDescription.decode, BoardDescription.decode_any, BoardIdentity.decode,
        BoardStatus.decode, decode_order, decode_limit,
    ):  # fmt: skip
        with suppress(WireError):
            decode(raw)


@given(descriptions)
def test_description_round_trip(description: BoardDescription) -> None:
    assert BoardDescription.decode(description.encode()) == description


@given(descriptions)
def test_description_says_its_version(description: BoardDescription) -> None:
    assert BoardDescription.decode_any(description.encode()) == (description, 1)
    assert BoardDescription.decode_any(description.encode() + b"\2") == (description, 2)
    with pytest.raises(WireError):
        BoardDescription.decode(description.encode() + b"\2")


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=16), st.booleans())
def test_order_round_trip_is_no_order_by_index(name: str, on: bool) -> None:
    body = encode_order(name, on)
    assert decode_order(body) == (name, on) and len(body) > 2


@given(st.builds(BoardIdentity, st.integers(0, 2**32 - 1), st.integers(0, 0xFFFF)), statuses)
def test_a_status_of_one_version_is_none_of_the_other(identity: BoardIdentity, status: BoardStatus) -> None:
    body = identity.encode() + status.encode()
    assert BoardIdentity.decode(body) == identity
    assert BoardStatus.decode(body[BoardIdentity.OCTETS :]) == status
    with pytest.raises(WireError):
        BoardStatus.decode(body)


@given(statuses)
def test_status_round_trip(status: BoardStatus) -> None:
    assert BoardStatus.decode(status.encode()) == status


@given(st.floats(width=32, min_value=0, allow_infinity=False))
def test_limit_round_trip(power_w: float) -> None:
    assert decode_limit(encode_limit(power_w)) == power_w


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_values_that_are_none(value: float) -> None:
    with pytest.raises(WireError):
        decode_limit(struct.pack(">f", value))


@given(st.lists(st.one_of(frames, st.binary(max_size=400)), max_size=8), st.integers(1, 64))
def test_receiver_finds_every_frame_between_garbage(parts: list[BoardFrame | bytes], step: int) -> None:
    """Whatever stands between frames, and however the octets are cut: all frames come, and little is kept."""
    line = b"".join(p.encode() if isinstance(p, BoardFrame) else b"\0" + p.replace(b"\0", b"\1") for p in parts)
    receiver, got = BoardReceiver(), []
    for at in range(0, len(line), step):
        got += receiver.feed(line[at : at + step])
        assert len(receiver._buffer) <= FRAME_MAX  # noqa: SLF001 - a bound on what is kept
    wanted = [p for p in parts if isinstance(p, BoardFrame)]
    assert [f for f in got if f in wanted] == wanted or got[: len(wanted)] == wanted
    assert len(got) >= len(wanted)


@given(frames, st.data())
def test_a_flipped_bit_is_noticed(frame: BoardFrame, data: st.DataObject) -> None:
    octets = bytearray(frame.encode())
    bit = data.draw(st.integers(8, 8 * len(octets) - 9))
    octets[bit // 8] ^= 1 << bit % 8
    receiver = BoardReceiver()
    assert receiver.feed(bytes(octets)) == []
