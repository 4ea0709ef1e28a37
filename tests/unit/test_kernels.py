"""Kernels against published values and real mission data, and what they refuse."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from random import Random

import numpy as np
import pytest

from flight.kernels import KernelError, Stop, crc16, randomize_tm, randomize_tm_long, split_packets
from flight.kernels._kernels import ffi, lib


def packet(apid: int, seq: int, data: bytes, word: int = 0) -> bytes:
    head = (word | apid, 0xC000 | seq, len(data) - 1)
    return b"".join(value.to_bytes(2, "big") for value in head) + data


def test_crc16_check_value() -> None:
    assert crc16(b"123456789") == 0x29B1


def test_crc16_of_nothing_is_the_start_value() -> None:
    assert crc16(b"") == 0xFFFF
    assert crc16(b"", 0x1234) == 0x1234


@pytest.mark.parametrize("init", [-1, 0x10000, 1 << 40])
def test_crc16_refuses_a_start_value_that_is_no_crc(init: int) -> None:
    with pytest.raises(KernelError, match=r"crc16: start value is outside 0\.\.65535") as refused:
        crc16(b"x", init)
    assert refused.value.code == lib.OB_E_INIT
    assert lib.ob_crc16_portable(b"x", 1, init) == lib.OB_E_INIT


def test_crc16_paths_agree_at_every_length_and_address() -> None:
    data = Random(4).randbytes(1400)
    for start in range(17):
        for end in range(start, len(data), 7):
            part = data[start:end]
            assert crc16(memoryview(data)[start:end]) == lib.ob_crc16_portable(part, len(part), 0xFFFF)


def test_kernels_refuse_what_is_no_stretch_of_octets() -> None:
    every_other = memoryview(bytes(20))[::2]
    for kernel in (crc16, randomize_tm, randomize_tm_long, split_packets):
        with pytest.raises((TypeError, ValueError, BufferError)):
            kernel(every_other)
        with pytest.raises(TypeError):
            kernel("text")  # type: ignore[arg-type] # not octets


def test_randomizer_heads() -> None:
    assert randomize_tm(bytes(5)).hex() == "ff480ec09a"
    assert randomize_tm_long(bytes(10)).hex() == "1c71b91ba9ba8457b4bc"


def test_randomizer_periods() -> None:
    short, long = randomize_tm(bytes(600)), randomize_tm_long(bytes(131_071 + 200))
    assert short[255:] == short[:345]
    assert long[131_071:] == long[:200]
    # The sequence of a primitive polynomial of degree 17 has one more one than zeros in 2^17 - 1 bits.
    assert int.from_bytes(long[:131_071], "big").bit_count() == 8 * 65_536


def test_randomizers_start_anew_at_each_call() -> None:
    assert randomize_tm(bytes(9)) == randomize_tm(bytes(9))
    assert randomize_tm(b"") == randomize_tm_long(b"") == b""


def test_randomizers_refuse_a_short_output() -> None:
    out = ffi.from_buffer(ffi.typeof("uint8_t[]"), bytearray(3))
    assert lib.ob_randomize_tm(b"abcd", 4, out, 3) == lib.OB_E_SPACE
    assert lib.ob_randomize_tm_long(b"abcd", 4, out, 3) == lib.OB_E_SPACE
    assert "too small" in str(KernelError("randomize_tm", lib.OB_E_SPACE))


def test_randomizer_heads_of_another_ground_system(shared: Path) -> None:
    heads = json.loads((shared / "vectors/yamcs/randomizer_first_octets.json").read_text())
    found = {key.split(" ")[0]: bytes.fromhex(value) for key, value in heads.items()}
    assert randomize_tm(bytes(5)) == found["TM_255_legacy"]
    assert randomize_tm_long(bytes(5)) == found["TM_131071"]


def test_split_columns() -> None:
    stream = packet(11, 5, b"abc") + packet(2047, 16383, bytes(65536), word=0x1800)
    columns = split_packets(stream)
    assert columns.offset.tolist() == [0, 9]
    assert columns.length.tolist() == [9, 65542]
    assert columns.apid.tolist() == [11, 2047]
    assert columns.seq.tolist() == [5, 16383]
    assert columns.flags.tolist() == [0b0011, 0b1111]
    assert (columns.consumed, columns.stop, len(columns)) == (len(stream), Stop.END, 2)


def test_numpy_views_the_columns_without_a_copy() -> None:
    columns = split_packets(packet(1, 2, b"x") * 3)
    for name, dtype in (("offset", "u8"), ("length", "u4"), ("apid", "u2"), ("seq", "u2"), ("flags", "u1")):
        column = getattr(columns, name)
        view = np.asarray(column)
        assert view.dtype == np.dtype(dtype)
        assert np.shares_memory(view, np.frombuffer(column.obj, dtype=np.uint8))
    assert array("H", columns.apid) == array("H", [1, 1, 1])


@pytest.mark.parametrize("kept", range(1, 9))
def test_split_leaves_a_truncated_packet(kept: int) -> None:
    whole = packet(1, 0, b"abc")
    columns = split_packets(whole + whole[:kept])
    assert (columns.consumed, columns.stop, len(columns)) == (9, Stop.TRUNCATED, 1)


def test_split_stops_at_another_version() -> None:
    columns = split_packets(packet(1, 0, b"abc") + b"\x20\x01\xc0\x00\x00\x00x")
    assert (columns.consumed, columns.stop, len(columns)) == (9, Stop.VERSION, 1)
    assert split_packets(b"\xff").stop is Stop.VERSION


def test_split_of_nothing() -> None:
    columns = split_packets(b"")
    assert (columns.consumed, columns.stop, len(columns)) == (0, Stop.END, 0)


def test_split_refuses_bad_buffers() -> None:
    octet_array, result = ffi.typeof("uint8_t[]"), ffi.new("ob_split *")
    block = bytearray(64)
    out = ffi.from_buffer(octet_array, block)
    assert lib.ob_split_packets(b"", 0, out, 16, 1, result) == lib.OB_E_SPACE
    assert lib.ob_split_packets(b"", 0, out, 64, 1 << 60, result) == lib.OB_E_SPACE
    odd = ffi.from_buffer(octet_array, memoryview(block)[1:])
    assert lib.ob_split_packets(b"", 0, odd, 17, 1, result) == lib.OB_E_ALIGNMENT


def test_split_stops_where_the_columns_are_full() -> None:
    stream, result = packet(1, 0, b"a") * 3, ffi.new("ob_split *")
    out = ffi.from_buffer(ffi.typeof("uint8_t[]"), bytearray(34))
    assert lib.ob_split_packets(stream, len(stream), out, 34, 2, result) == 2
    assert (result.consumed, result.stop) == (14, lib.OB_STOP_END)


def test_split_of_a_real_mission(shared: Path) -> None:
    """JPSS-1 attitude and ephemeris: 7,200 packets of 71 octets, APID 11, one count after the other."""
    stream = (shared / "vectors/space_packet_parser/J01_G011_LZ_2021-04-09T00-00-00Z_V01.DAT1").read_bytes()
    columns = split_packets(stream)
    assert (len(columns), columns.consumed, columns.stop) == (7200, len(stream), Stop.END)
    assert set(columns.apid) == {11}
    assert set(columns.length) == {71}
    assert set(columns.flags) == {0b0111}
    steps = np.diff(np.asarray(columns.seq, dtype=np.int64))
    assert set(steps.tolist()) <= {1, -16383}
