"""Fields out of packets: columns equal numbers cut from the packet's bits one by one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from flight.kernels import FieldSpec, PacketLayout, extract_fields
from flight.kernels._kernels import ffi, lib


def field_model(spec: FieldSpec, packet: bytes) -> int | float:
    """From the packet as a string of bits; 0 if they end before the field does."""
    bits = f"{int.from_bytes(packet, 'big'):0{8 * len(packet)}b}" if packet else ""
    text = bits[spec.bit_offset : spec.bit_offset + spec.bits]
    if len(text) < spec.bits:
        return 0.0 if spec.kind == "float" else 0
    if spec.bits % 8 == 0:
        octets = [text[i : i + 8] for i in range(0, spec.bits, 8)]
        ranked = sorted(zip(spec.significance, octets, strict=True), reverse=True)
        text = "".join(octet for _, octet in ranked)
    value = int(text, 2)
    if spec.kind == "signed" and text[0] == "1":
        value -= 1 << spec.bits
    if spec.kind == "float":
        code = {32: ">f", 64: ">d"}[spec.bits]
        return float(struct.unpack(code, value.to_bytes(spec.bits // 8, "big"))[0])
    return value


@st.composite
def specs(draw: st.DrawFn, index: int = 0) -> FieldSpec:
    kind: Literal["unsigned", "signed", "float"] = draw(st.sampled_from(("unsigned", "signed", "float")))
    bits = draw(st.sampled_from((32, 64)) if kind == "float" else st.integers(1, 64) | st.sampled_from((8, 16, 32, 64)))
    offset = draw(st.integers(0, 150) | st.integers(0, 18).map(lambda octet: 8 * octet))
    order: Literal["big", "little"] | tuple[int, ...] = "big"
    if bits % 8 == 0:
        named: st.SearchStrategy[Literal["big", "little"]] = st.sampled_from(("big", "little"))
        order = draw(named | st.permutations(range(bits // 8)).map(tuple))
    return FieldSpec(f"field{index}", offset, bits, kind, order)


layouts = st.integers(0, 8).flatmap(lambda count: st.tuples(*map(specs, range(count))))


def rows(layout: tuple[FieldSpec, ...], packets: list[bytes]) -> Iterator[tuple[str, list[int | float]]]:
    for spec in layout:
        yield spec.name, [field_model(spec, packet) for packet in packets]


def complete_model(layout: tuple[FieldSpec, ...], packets: list[bytes]) -> list[int]:
    needed = max(((spec.bit_offset + spec.bits + 7) // 8 for spec in layout), default=1)
    return [int(len(packet) >= max(needed, 1)) for packet in packets]


def same(got: list[int | float], want: list[int | float]) -> bool:
    """NaN is NaN here, and 0 may not become -0."""
    return len(got) == len(want) and list(map(repr, got)) == list(map(repr, want))


def check(layout: tuple[FieldSpec, ...], packets: list[bytes], columns: Any) -> None:
    for name, want in rows(layout, packets):
        got = columns[name].tolist()
        assert same(got, want), (name, got, want)
    complete = complete_model(layout, packets)
    assert columns.complete.tolist() == complete
    assert columns.incomplete == complete.count(0)


@given(layouts, st.lists(st.binary(max_size=40), max_size=8), st.integers(0, 9))
def test_columns_are_the_bits(layout: tuple[FieldSpec, ...], packets: list[bytes], gap: int) -> None:
    data, offsets = b"", []
    for packet in packets:
        data += bytes(gap)
        offsets.append(len(data))
        data += packet
    check(layout, packets, extract_fields(PacketLayout(layout), data, offsets, [len(packet) for packet in packets]))


@given(layouts, st.integers(1, 40), st.binary(max_size=400))
def test_packets_of_one_length_need_no_offsets(layout: tuple[FieldSpec, ...], octets: int, data: bytes) -> None:
    count = len(data) // octets
    packets = [data[octets * i : octets * (i + 1)] for i in range(count)]
    check(layout, packets, extract_fields(PacketLayout(layout), data, lengths=octets))
    offsets = [octets * i for i in range(count)]
    check(layout, packets, extract_fields(PacketLayout(layout), data, offsets, octets))


@given(layouts, st.binary(min_size=27, max_size=40), st.integers(0, 300), st.integers(1, 5))
def test_long_columns_with_a_short_packet_somewhere(
    layout: tuple[FieldSpec, ...], packet: bytes, short: int, octets: int
) -> None:
    """Blocks whose packets are all whole go another way than a block with a short one."""
    packets = [packet[i % 3 :] + packet[: i % 3] for i in range(300)]
    packets[short:short] = [packet[:octets]]
    data = b"".join(packets)
    offsets = [sum(map(len, packets[:i])) for i in range(len(packets))]
    check(layout, packets, extract_fields(PacketLayout(layout), data, offsets, list(map(len, packets))))


@given(st.integers(7, 20), st.integers(0, 12), st.integers(0, 40), st.booleans(), layouts, st.data())
def test_words_in_a_row(
    words: int, first: int, packets: int, is_cut: bool, others: tuple[FieldSpec, ...], data: st.DataObject
) -> None:
    """Many packets of words one behind the other: what vector instructions take eight by eight."""
    run = [FieldSpec(f"word{i}", 8 * (first + 4 * i), 32, "signed" if i % 3 else "unsigned") for i in range(words)]
    place = data.draw(st.integers(0, len(others)))
    fields = (*others[:place], *run, *others[place:])
    octets = max(first + 4 * words, 30)
    stream = data.draw(st.binary(min_size=64, max_size=64)) * (packets * octets // 64 + 1)
    stream = stream[: packets * octets - is_cut] if packets else b""
    extents = [stream[octets * i : octets * (i + 1)] for i in range(packets)]
    layout = PacketLayout(fields)
    offsets = [octets * i for i in range(packets)]
    columns = extract_fields(layout, stream, offsets, octets)
    check(fields, extents, columns)
    block = bytearray(packets * layout.row_octets)
    kind = ffi.typeof("uint8_t[]")
    lib.ob_extract_fields_portable(
        stream, len(stream), ffi.NULL, ffi.NULL, octets, packets, layout.table, len(fields),
        ffi.from_buffer(kind, block), len(block), ffi.NULL,
    )  # fmt: skip
    for name, start, width, _ in layout.column_places:
        assert columns[name].tobytes() == block[start * packets : (start + width) * packets]


@given(
    layouts,
    st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0, 70) | st.integers(0, 2**64 - 1), st.integers(0, 70) | st.integers(0, 2**32 - 1))),
)
def test_what_reaches_beyond_the_data_ends_with_it(
    layout: tuple[FieldSpec, ...], data: bytes, extents: list[tuple[int, int]]
) -> None:
    packets = [data[offset : offset + length] for offset, length in extents]
    offsets, lengths = [offset for offset, _ in extents], [length for _, length in extents]
    check(layout, packets, extract_fields(PacketLayout(layout), data, offsets, lengths))
