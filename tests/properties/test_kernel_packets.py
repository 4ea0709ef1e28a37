"""Streams of packets made by the batch: the standard's layout, spacepackets, and the way back."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st
from spacepackets.ccsds.spacepacket import PacketType, SequenceFlags, SpacePacketHeader

from flight.kernels import Stop, encode_packets, split_packets

packets = st.lists(
    st.tuples(st.binary(min_size=1, max_size=60), st.integers(0, 2047), st.integers(0, 0x3FFF), st.integers(0, 15)),
    max_size=12,
)


@given(packets)
def test_encoded_as_spacepackets_does_and_back(rows: list[tuple[bytes, int, int, int]]) -> None:
    data, apid, seq, flags = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    want = b"".join(
        bytes(
            SpacePacketHeader(PacketType(f >> 3), a, s, len(octets) - 1, bool(f >> 2 & 1), SequenceFlags(f & 3)).pack()
        )
        + octets
        for octets, a, s, f in rows
    )
    stream = encode_packets(data, apid, seq, flags=flags)
    assert stream == want
    columns = split_packets(stream)
    assert (columns.apid.tolist(), columns.seq.tolist(), columns.flags.tolist()) == (apid, seq, flags)
    assert (columns.consumed, columns.stop) == (len(stream), Stop.END)
    lengths = array("I", (length - 6 for length in columns.length))
    assert encode_packets(b"".join(data), columns.apid, columns.seq, flags=columns.flags, lengths=lengths) == want


@given(st.integers(0, 0x3FFF), st.integers(0, 40_000))
def test_counts_go_on_from_the_first(seq: int, count: int) -> None:
    columns = split_packets(encode_packets(bytes(count), 5, seq, lengths=1))
    assert columns.seq.tolist() == [(seq + i) % 0x4000 for i in range(count)]
    assert set(columns.flags) <= {3}


@given(st.lists(st.integers(7, 1000), max_size=30), st.integers(1, 40), st.integers(0, 20_000))
def test_a_long_stream_is_split_whatever_its_beginning_promises(first: list[int], later: int, count: int) -> None:
    """Long packets first and short ones later, and the other way round: all of them are found."""
    lengths = [*(octets * 50 for octets in first), *([later] * count)]
    for order in (lengths, lengths[::-1]):
        stream = encode_packets(bytes(sum(order)), 1, lengths=order)
        columns = split_packets(stream)
        assert columns.length.tolist() == [octets + 6 for octets in order]
        assert columns.seq.tolist() == [i % 0x4000 for i in range(len(order))]
        assert (columns.consumed, columns.stop) == (len(stream), Stop.END)
        cut = split_packets(stream[:-1])
        assert len(cut) == max(len(order) - 1, 0)
