"""Kernels on many units in one call equal the call on each, and leave alone what lies between the units."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flight.kernels import (
    Randomizer,
    crc16,
    crc16_units,
    randomize_tc,
    randomize_tm,
    randomize_tm_long,
    randomize_units,
)

ONE = {Randomizer.TM: randomize_tm, Randomizer.TM_LONG: randomize_tm_long, Randomizer.TC: randomize_tc}


def sequence_model(octets: int, seed: str, taps: tuple[int, ...]) -> bytes:
    """s[n + degree] is the sum of s[n + tap]; bits fill octets from the highest."""
    bits = [int(bit) for bit in seed]
    for start in range(8 * octets - len(seed)):
        bits.append(sum(bits[start + tap] for tap in taps) % 2)
    return int("".join(map(str, bits)), 2).to_bytes(octets, "big")


# Longer than two of the chunks in which the kernel makes them.
SEQUENCES = {
    Randomizer.TM: sequence_model(6500, "1" * 8, (0, 3, 5, 7)),
    Randomizer.TM_LONG: sequence_model(6500, "00011100011100011", (0, 14)),
    Randomizer.TC: sequence_model(6500, "1" * 8, (0, 1, 2, 3, 4, 6)),
}
layouts = st.tuples(st.integers(0, 6), st.integers(1, 1300), st.integers(0, 40), st.integers(0, 40), st.binary())


def buffer(layout: tuple[int, int, int, int, bytes]) -> tuple[bytes, int, int, int]:
    """Octets, count, size of a unit, stride, from a layout with gaps and something after the last unit."""
    count, unit_octets, gap, end, seed = layout
    octets = max(0, count * (unit_octets + gap) - gap) + end
    pattern = seed + bytes(range(251))
    return (pattern * (octets // len(pattern) + 1))[:octets], count, unit_octets, unit_octets + gap


@given(layouts)
def test_crc16_of_units_is_that_of_each(layout: tuple[int, int, int, int, bytes]) -> None:
    data, count, unit_octets, stride = buffer(layout)
    want = [crc16(data[i * stride : i * stride + unit_octets]) for i in range(count)]
    assert crc16_units(data, count, unit_octets, stride).tolist() == want
    assert crc16_units(memoryview(b"x" + data)[1:], count, unit_octets, stride).tolist() == want


@given(layouts, st.sampled_from(Randomizer))
def test_units_are_randomized_each_from_its_start(
    layout: tuple[int, int, int, int, bytes], randomizer: Randomizer
) -> None:
    data, count, unit_octets, stride = buffer(layout)
    want = bytearray(data)
    for i in range(count):
        part = slice(i * stride, i * stride + unit_octets)
        want[part] = ONE[randomizer](data[part])
    got = bytearray(data)
    randomize_units(got, count, unit_octets, randomizer, stride)
    assert got == want
    randomize_units(got, count, unit_octets, randomizer, stride)
    assert got == data


@given(st.sampled_from(Randomizer), st.integers(1, 6500), st.integers(0, 70))
def test_sequences_are_their_shift_registers_at_any_length(randomizer: Randomizer, octets: int, skip: int) -> None:
    block = bytearray(skip + octets)
    randomize_units(memoryview(block)[skip:], 1, octets, randomizer)
    assert block == bytes(skip) + SEQUENCES[randomizer][:octets]
    assert ONE[randomizer](bytes(octets)) == SEQUENCES[randomizer][:octets]
