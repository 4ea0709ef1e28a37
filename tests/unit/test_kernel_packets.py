"""What the batch encoder of packets takes and refuses."""

from __future__ import annotations

from array import array
from typing import Any, cast

import numpy as np
import pytest

from flight.kernels import KernelError, encode_packets, split_packets
from flight.kernels._kernels import ffi, lib

PACKET = bytes.fromhex("0005c0000002") + b"abc"


def test_one_call_in_every_shape() -> None:
    assert encode_packets([b"abc"], 5) == PACKET
    assert encode_packets((bytearray(b"abc"), memoryview(b"abc")), 5, (0, 0)) == PACKET * 2
    assert encode_packets(b"abcabc", 5, [0, 0], lengths=3) == PACKET * 2
    assert encode_packets(b"abcabc", array("H", [5, 5]), [0, 0], lengths=array("I", [3, 3])) == PACKET * 2
    rows: Any = np.frombuffer(b"abcabc", dtype=np.uint8).reshape(2, 3)
    assert encode_packets(rows, np.array([5, 5]), np.zeros(2, np.uint16)) == PACKET * 2
    assert encode_packets(rows.reshape(6), 5, np.zeros(2, int), lengths=np.array([3, 3])) == PACKET * 2


def test_flags_stand_where_split_has_them() -> None:
    stream = encode_packets([b"x", b"y"], 1, flags=(0b1111, 0b0100))
    assert stream[:2] == b"\x18\x01" and stream[7:11] == b"\x08\x01\x00\x01"
    assert split_packets(stream).flags.tolist() == [0b1111, 0b0100]


def test_the_longest_packet() -> None:
    stream = encode_packets([bytes(65536)], 1)
    assert stream[4:6] == b"\xff\xff" and len(stream) == 65542


@pytest.mark.parametrize("data", [[], (), b"", np.zeros((0, 4), np.uint8)])
def test_nothing_gives_nothing(data: Any) -> None:
    assert encode_packets(data, 1, lengths=4 if isinstance(data, bytes) else None) == b""


def test_values_that_fit_no_field_are_refused() -> None:
    refused: tuple[dict[str, Any], ...] = ({"apid": 2048}, {"apid": 1, "seq": [0x4000]}, {"apid": 1, "flags": 16})
    for arguments in refused:
        with pytest.raises(KernelError, match="encode_packets: "):
            encode_packets([b"a"], **arguments)
    for data in ([b""], [bytes(65537)], [b"a", b""]):
        with pytest.raises(KernelError):
            encode_packets(data, 1)
    no_column: tuple[dict[str, Any], ...] = ({"apid": -1}, {"apid": 70_000}, {"apid": 1, "flags": [256]})
    for arguments in no_column:
        with pytest.raises(ValueError, match=r"apid: |flags: "):
            encode_packets([b"a"], **arguments)
    for seq in (-1, 0x4000):
        with pytest.raises(ValueError, match=r"outside 0\.\.16383"):
            encode_packets([b"a"], 1, seq)


def test_lengths_and_columns_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(KernelError):
        encode_packets(b"abc", 1, lengths=2)
    with pytest.raises(KernelError):
        encode_packets(b"abc", 1, lengths=[1, 1])
    with pytest.raises(KernelError):
        encode_packets(b"abc", 1, lengths=0)
    with pytest.raises(ValueError, match="apid has length 2, should be one per packet, 1"):
        encode_packets([b"a"], [1, 2])
    with pytest.raises(ValueError, match="needs lengths"):
        encode_packets(b"abc", 1)
    with pytest.raises(ValueError, match="each item has its own"):
        encode_packets([b"abc"], 1, lengths=3)
    with pytest.raises(ValueError, match="should be octets"):
        encode_packets(cast("bytes", np.zeros((2, 2), np.uint16)), 1)
    with pytest.raises((ValueError, BufferError)):
        encode_packets(cast("bytes", np.zeros((4, 4), np.uint8)[:, ::2]), 1)


def test_the_kernel_writes_nothing_where_it_refuses() -> None:
    out, octets, halves = bytearray(b"\x55" * 9), ffi.typeof("uint8_t[]"), ffi.typeof("uint16_t[]")
    one, flag = ffi.from_buffer(halves, array("H", [1])), ffi.from_buffer(octets, bytearray(1))
    target = ffi.from_buffer(octets, out)
    assert lib.ob_encode_packets(b"abc", 3, ffi.NULL, 3, one, one, flag, 1, target, 8) == lib.OB_E_SPACE
    assert lib.ob_encode_packets(b"abc", 3, ffi.NULL, 2, one, one, flag, 1, target, 9) == lib.OB_E_LAYOUT
    assert lib.ob_encode_packets(b"abc", 3, ffi.NULL, 0, one, one, flag, 1, target, 9) == lib.OB_E_LAYOUT
    assert out == b"\x55" * 9
    assert lib.ob_encode_packets(b"abc", 3, ffi.NULL, 3, one, one, flag, 1, target, 9) == 9
