"""Each kernel equals a plain Python model of its standard, and other people's code if there is some."""

from __future__ import annotations

import crcmod
from hypothesis import given
from hypothesis import strategies as st

from flight.kernels import Stop, crc16, randomize_tm, randomize_tm_long, split_packets
from flight.kernels._kernels import lib

octets = st.binary(max_size=700)
inits = st.integers(0, 0xFFFF)


def crc16_model(data: bytes, init: int = 0xFFFF) -> int:
    """Bit by bit, as the standard draws the shift register."""
    register = init
    for octet in data:
        for bit in range(7, -1, -1):
            feedback = register >> 15 ^ octet >> bit & 1
            register = register << 1 & 0xFFFF
            if feedback:
                register ^= 0x1021
    return register


def lfsr_model(octet_count: int, seed: str, taps: tuple[int, ...]) -> bytes:
    """s[n + degree] is the sum of s[n + tap]; bits fill octets from the highest."""
    bits = [int(bit) for bit in seed]
    while len(bits) < 8 * octet_count:
        start = len(bits) - len(seed)
        bits.append(sum(bits[start + tap] for tap in taps) % 2)
    text = "".join(map(str, bits[: 8 * octet_count]))
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


SHORT = lfsr_model(1024, "11111111", (0, 3, 5, 7))
LONG = lfsr_model(1024, "00011100011100011", (0, 14))


def split_model(data: bytes) -> tuple[list[tuple[int, int, int, int, int]], int, Stop]:
    rows: list[tuple[int, int, int, int, int]] = []
    at = 0
    while at < len(data):
        head = data[at : at + 6]
        if head[0] >> 5:
            return rows, at, Stop.VERSION
        if len(head) < 6:
            return rows, at, Stop.TRUNCATED
        word, control, field = (int.from_bytes(head[i : i + 2], "big") for i in (0, 2, 4))
        if at + 7 + field > len(data):
            return rows, at, Stop.TRUNCATED
        rows.append((at, 7 + field, word & 0x7FF, control & 0x3FFF, word >> 11 << 2 | control >> 14))
        at += 7 + field
    return rows, at, Stop.END


@given(octets, inits)
def test_crc16_is_the_shift_register(data: bytes, init: int) -> None:
    assert crc16(data, init) == crc16_model(data, init) == lib.ob_crc16_portable(data, len(data), init)


@given(octets, inits)
def test_crc16_is_crcmod(data: bytes, init: int) -> None:
    oracle = crcmod.mkCrcFun(0x11021, initCrc=init, rev=False, xorOut=0)
    assert crc16(data, init) == oracle(data)


@given(octets, octets)
def test_crc16_continues(head: bytes, tail: bytes) -> None:
    assert crc16(tail, crc16(head)) == crc16(head + tail)


@given(octets)
def test_data_with_its_crc_leaves_nothing(data: bytes) -> None:
    assert crc16(data + crc16(data).to_bytes(2, "big")) == 0


@given(octets, st.integers(0, 69))
def test_any_buffer_at_any_address_gives_the_same(data: bytes, skip: int) -> None:
    tail = data[skip:]
    for view in (bytearray(tail), memoryview(tail), memoryview(data)[skip:], memoryview(bytearray(data))[skip:]):
        assert crc16(view) == crc16(tail)
        assert randomize_tm(view) == randomize_tm(tail)
        assert randomize_tm_long(view) == randomize_tm_long(tail)
        assert split_packets(view).consumed == split_packets(tail).consumed


@given(st.binary(max_size=1024))
def test_randomizers_are_their_shift_registers(data: bytes) -> None:
    assert randomize_tm(data) == bytes(a ^ b for a, b in zip(data, SHORT, strict=False))
    assert randomize_tm_long(data) == bytes(a ^ b for a, b in zip(data, LONG, strict=False))


@given(octets)
def test_randomizing_twice_gives_the_data_back(data: bytes) -> None:
    assert randomize_tm(randomize_tm(data)) == data
    assert randomize_tm_long(randomize_tm_long(data)) == data


packets = st.builds(
    lambda word, control, data: (
        word.to_bytes(2, "big") + control.to_bytes(2, "big") + (len(data) - 1).to_bytes(2, "big") + data
    ),
    st.integers(0, 0x1FFF),
    st.integers(0, 0xFFFF),
    st.binary(min_size=1, max_size=90),
)
streams = st.builds(lambda parts, end: b"".join(parts) + end, st.lists(packets, max_size=12), st.binary(max_size=12))


@given(streams | octets)
def test_split_is_the_walk_of_the_standard(data: bytes) -> None:
    columns = split_packets(data)
    rows = list(zip(columns.offset, columns.length, columns.apid, columns.seq, columns.flags, strict=True))
    assert (rows, columns.consumed, columns.stop) == split_model(data)
    assert len(columns) == len(rows)
