"""What the extraction of fields takes and refuses."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest

from flight.kernels import FieldSpec, KernelError, PacketLayout, encode_packets, extract_fields, split_packets
from flight.kernels._kernels import ffi, lib


def test_columns_have_the_narrowest_type_that_holds_the_field() -> None:
    widths = {1: "B", 8: "B", 9: "H", 16: "H", 17: "I", 32: "I", 33: "Q", 64: "Q"}
    fields = [FieldSpec(f"{kind}{bits}", 0, bits, kind) for bits in widths for kind in ("unsigned", "signed")]
    fields += [FieldSpec("f32", 0, 32, "float"), FieldSpec("f64", 0, 64, "float")]
    columns = extract_fields(PacketLayout(fields), b"\xff" * 16, lengths=8)
    for bits, code in widths.items():
        assert (columns[f"unsigned{bits}"].format, columns[f"signed{bits}"].format) == (code, code.lower())
        assert columns[f"unsigned{bits}"].tolist() == [2**bits - 1] * 2
        assert columns[f"signed{bits}"].tolist() == [-1] * 2
    assert (columns["f32"].format, columns["f64"].format) == ("f", "d")


def test_numpy_views_and_numpy_choices_of_packets() -> None:
    data = [i.to_bytes(4, "big") for i in range(10)]
    stream = bytes(encode_packets(data, [i % 2 for i in range(10)]))
    at = split_packets(stream)
    odd = np.asarray(at.apid) == 1
    layout = PacketLayout([FieldSpec("number", 48, 32), FieldSpec("seq", 18, 14)])
    columns = extract_fields(layout, stream, np.asarray(at.offset)[odd], np.asarray(at.length)[odd])
    number = np.asarray(columns["number"])
    assert number.dtype == np.uint32 and number.tolist() == [1, 3, 5, 7, 9]
    assert np.shares_memory(number, np.asarray(columns["number"]))
    assert columns["seq"].tolist() == number.tolist()
    assert (len(columns), columns.incomplete) == (5, 0)


def test_a_field_beyond_its_packet_is_0_and_the_packet_not_complete() -> None:
    layout = PacketLayout([FieldSpec("first", 0, 8), FieldSpec("last", 12, 9)])
    columns = extract_fields(layout, b"\xff" * 8, [0, 1, 5, 6, 8, 2**63], [3, 2, 3, 3, 1, 9])
    assert columns["first"].tolist() == [255, 255, 255, 255, 0, 0]
    assert columns["last"].tolist() == [511, 0, 511, 0, 0, 0]
    assert columns.complete.tolist() == [1, 0, 1, 0, 0, 0]
    assert columns.incomplete == 4


def test_no_packets_and_no_fields() -> None:
    layout = PacketLayout([FieldSpec("a", 0, 8)])
    assert extract_fields(layout, b"", [], [])["a"].tolist() == []
    assert extract_fields(layout, b"abc", lengths=4)["a"].tolist() == []
    nothing = extract_fields(PacketLayout([]), b"abcd", lengths=2)
    assert (nothing.columns, len(nothing), nothing.incomplete) == ({}, 2, 0)


@pytest.mark.parametrize(
    ("bit_offset", "bits", "kind", "order"),
    [
        (0, 0, "unsigned", "big"), (0, 65, "signed", "big"), (0, 16, "float", "big"), (-1, 8, "unsigned", "big"),
        (8 * 65542 - 7, 8, "unsigned", "big"), (0, 8, "text", "big"), (0, 12, "unsigned", "little"),
        (0, 16, "unsigned", (0, 0)), (0, 16, "unsigned", (0, 1, 2)), (0, 16, "unsigned", (1, 2)),
        (0, 16, "unsigned", "middle"),
    ],
)  # fmt: skip
def test_fields_without_meaning_are_refused(bit_offset: int, bits: int, kind: Any, order: Any) -> None:
    with pytest.raises(ValueError, match="field x: "):
        FieldSpec("x", bit_offset, bits, kind, order)


def test_layouts_and_columns_that_do_not_fit_are_refused() -> None:
    one = FieldSpec("x", 0, 8)
    with pytest.raises(ValueError, match="the same name"):
        PacketLayout([one, one])
    with pytest.raises(ValueError, match="at most 4096"):
        PacketLayout(FieldSpec(f"x{i}", 0, 8) for i in range(4097))
    layout = PacketLayout([one])
    with pytest.raises(ValueError, match="offsets and lengths differ in length: 2 and 1"):
        extract_fields(layout, b"abc", [0, 1], [1])
    for lengths in (0, -1, [1]):
        with pytest.raises(ValueError, match="without offsets"):
            extract_fields(layout, b"abc", None, lengths)
    with pytest.raises(ValueError, match="offsets"):
        extract_fields(layout, b"abc", [-1], [1])


def test_the_kernel_refuses_columns_that_do_not_hold_the_numbers() -> None:
    octets = ffi.typeof("uint8_t[]")
    block = bytearray(64)
    out, odd = ffi.from_buffer(octets, block), ffi.from_buffer(octets, memoryview(block)[4:])

    def extract(field: tuple[Any, ...], target: Any = out, size: int = 8, packets: int = 2) -> int:
        table = ffi.new("ob_field[]", [field])
        null = ffi.NULL
        return lib.ob_extract_fields(b"\x01" * 8, 8, null, null, 4, packets, table, 1, target, size, null)

    big = (3, 2, 1, 0)
    assert extract((0, 0, 32, 0, big)) == 2
    assert extract((0, 0, 32, 0, big), size=7) == lib.OB_E_SPACE
    assert extract((1, 0, 32, 0, big), size=9) == lib.OB_E_SPACE
    assert extract((1, 0, 32, 0, big), size=10) == lib.OB_E_ALIGNMENT
    assert extract((0, 0, 32, 0, big), target=odd) == lib.OB_E_ALIGNMENT
    assert extract((0, 0, 32, 0, big), packets=1 << 60) == lib.OB_E_SPACE
    for field in ((0, 0, 0, 0, ()), (0, 0, 65, 0, ()), (0, 0, 32, 2, big), (0, 0, 32, 0, (4, 2, 1, 0)),
                  (0, 0, 32, 0, (1, 1, 2, 3)), (0, 8 * 65542, 8, 0, (0,))):  # fmt: skip
        assert extract(field) == lib.OB_E_LAYOUT
    with pytest.raises(KernelError):
        raise KernelError("extract_fields", lib.OB_E_LAYOUT)


def test_a_column_of_another_type_is_read_by_its_values() -> None:
    layout = PacketLayout([FieldSpec("x", 0, 8)])
    for offsets in ([0, 2], (0, 2), array("Q", [0, 2]), array("H", [0, 2]), np.array([0, 2]), np.arange(4)[::2]):
        assert extract_fields(layout, b"abc", offsets, 1)["x"].tolist() == [97, 99]


def test_columns_of_octets_are_numbers_and_misaligned_ones_are_refused() -> None:
    layout = PacketLayout([FieldSpec("first", 0, 8)])
    data = bytes(range(64))
    starts = [0, 8, 16, 24]
    for offsets in (starts, bytes(starts), bytearray(starts), tuple(starts)):
        assert list(extract_fields(layout, data, offsets, 8)["first"]) == starts
    assert encode_packets(b"abcd", 1, lengths=bytes([1, 3])) == encode_packets([b"a", b"bcd"], 1)
    odd = memoryview(bytearray(33))[1:].cast("Q")
    with pytest.raises(KernelError, match="not aligned"):
        extract_fields(layout, data, odd, 8)
    with pytest.raises(KernelError, match="not aligned"):
        encode_packets(b"ab", memoryview(bytearray(5))[1:].cast("H"), lengths=1)
