"""CRC-16 and randomizers over many units: published values, views without a copy, what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from flight.kernels import KernelError, Randomizer, crc16_units, randomize_tc, randomize_units
from flight.kernels._kernels import ffi, lib

OCTETS = ffi.typeof("uint8_t[]")
# count, unit octets, stride in 30 octets
NO_LAYOUTS = [(1, 31, 31), (3, 10, 11), (2, 10, 9), (2, 10, 0), (2, 1, 1 << 63), (1 << 62, 0, 1 << 60)]


def test_crc16_of_units_check_value() -> None:
    values = crc16_units(b"123456789" * 3, 3, 9)
    assert values.tolist() == [0x29B1] * 3
    view = np.asarray(values)
    assert view.dtype == np.uint16
    assert np.shares_memory(view, np.frombuffer(cast("bytearray", values.obj), dtype=np.uint8))


def test_no_units() -> None:
    assert crc16_units(b"", 0, 1115).tolist() == []
    randomize_units(bytearray(), 0, 1115, Randomizer.TM)


@pytest.mark.parametrize(("count", "unit_octets", "stride"), NO_LAYOUTS)
def test_units_that_do_not_lie_in_the_buffer(count: int, unit_octets: int, stride: int) -> None:
    block = bytearray(30)
    source, out = ffi.from_buffer(OCTETS, block), ffi.from_buffer(OCTETS, bytearray(8))
    assert lib.ob_crc16_units(source, 30, count, stride, unit_octets, out, 8) == lib.OB_E_LAYOUT
    assert lib.ob_randomize_units(0, source, 30, count, stride, unit_octets) == lib.OB_E_LAYOUT
    assert block == bytes(30)
    if count < 4:
        with pytest.raises(KernelError, match="do not fit together"):
            crc16_units(block, count, unit_octets, stride)
        with pytest.raises(KernelError, match="do not fit together"):
            randomize_units(block, count, unit_octets, Randomizer.TM, stride)


def test_room_for_the_crcs_and_the_number_of_a_sequence() -> None:
    source, out = ffi.from_buffer(OCTETS, bytearray(30)), ffi.from_buffer(OCTETS, bytearray(5))
    assert lib.ob_crc16_units(source, 30, 3, 10, 10, out, 5) == lib.OB_E_SPACE
    assert lib.ob_crc16_units(source, 30, 2, 10, 10, out, 5) == 2
    for sequence in (-1, 3):
        assert lib.ob_randomize_units(sequence, source, 30, 3, 10, 10) == lib.OB_E_LAYOUT
    assert lib.ob_randomize_tc(source, 30, out, 5) == lib.OB_E_SPACE


def test_only_writable_octets_are_randomized_in_place() -> None:
    with pytest.raises(BufferError):
        randomize_units(memoryview(bytes(10)), 1, 10, Randomizer.TC)


def test_tc_randomizer_of_another_ground_system(shared: Path) -> None:
    heads = json.loads((shared / "vectors/yamcs/randomizer_first_octets.json").read_text())
    head = next(bytes.fromhex(value) for key, value in heads.items() if key.startswith("TC"))
    assert randomize_tc(bytes(len(head))) == head
    assert randomize_tc(bytes(6)).hex() == "ff399e5a68e9"
    assert randomize_tc(bytes(600))[255:] == randomize_tc(bytes(345))
