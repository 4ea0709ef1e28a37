"""Octets out of many places: as if each row were cut from a text of the data's bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.kernels import KernelError, gather_octets


def model(data: bytes, rows: list[tuple[int, int]]) -> bytes:
    bits = "".join(f"{octet:08b}" for octet in data)
    cut = "".join(bits[start : start + 8 * length] for start, length in rows)
    return bytes(int(cut[i : i + 8], 2) for i in range(0, len(cut), 8))


@given(st.binary(max_size=60), st.data())
def test_rows_equal_the_bits_of_the_data(data: bytes, draws: st.DataObject) -> None:
    starts = draws.draw(st.lists(st.integers(0, 8 * len(data)) | st.integers(0, len(data)).map(lambda at: 8 * at)))
    rows = [(start, draws.draw(st.integers(0, (8 * len(data) - start) // 8))) for start in starts]
    octets = sum(length for _, length in rows)
    bits, lengths = (np.array([row[k] for row in rows], np.uint64) for k in (0, 1))
    truth = model(data, rows)
    for source in (data, bytearray(data), memoryview(data)):
        assert gather_octets(source, bits, lengths, octets) == truth
    assert gather_octets(data, bits.tolist(), lengths.tolist(), octets) == truth


@given(st.binary(max_size=9), st.integers(0, 90), st.integers(1, 12))
def test_a_row_beyond_the_data_is_refused(data: bytes, start: int, length: int) -> None:
    if start + 8 * length <= 8 * len(data):
        assert len(gather_octets(data, [start], [length], length)) == length
        return
    with pytest.raises(KernelError, match="gather_octets: sizes do not fit together"):
        gather_octets(data, [start], [length], length)


def test_sizes_that_do_not_fit() -> None:
    with pytest.raises(KernelError, match="gather_octets: output buffer is too small"):
        gather_octets(b"abc", [0], [3], 2)
    with pytest.raises(ValueError, match="the rows have 2 octets in all, not 3"):
        gather_octets(b"abc", [0], [2], 3)
    with pytest.raises(ValueError, match="bits and lengths differ in length: 1 and 2"):
        gather_octets(b"abc", [0], [1, 2], 3)
    with pytest.raises(ValueError, match="lengths: "):
        gather_octets(b"abc", [0], [-1], 0)
    for bits, length in ((2**64 - 1, 1), (0, 2**64 - 1), (2**63, 2**61)):
        with pytest.raises(KernelError):
            gather_octets(b"abc", [bits], [length], 3)
