"""Splitting packets beside the fastest Python packages for the same work, and beside NumPy."""

from __future__ import annotations

import io
from random import Random

from flight.kernels import split_packets
from sim_hw.bench import Bench, Race

PACKETS, DATA_OCTETS = 20_000, 64


def stream() -> bytes:
    """Packets of 70 octets: the size of one housekeeping report."""
    source = Random(2)
    head = (0x0801, DATA_OCTETS - 1)
    return b"".join(
        head[0].to_bytes(2, "big")
        + (0xC000 | seq & 0x3FFF).to_bytes(2, "big")
        + head[1].to_bytes(2, "big")
        + source.randbytes(DATA_OCTETS)
        for seq in range(PACKETS)
    )


def split_beside_ccsdspy() -> Race:
    from ccsdspy.utils import split_packet_bytes

    data = stream()
    assert len(split_packet_bytes(io.BytesIO(data))) == len(split_packets(data)) == PACKETS
    return Race(lambda: split_packets(data), lambda: split_packet_bytes(io.BytesIO(data)), PACKETS / 1e6)


def split_beside_spacepackets() -> Race:
    from spacepackets.ccsds.spacepacket import SpacePacketHeader

    data = stream()

    def walk() -> int:
        at = count = 0
        while at < len(data):
            header = SpacePacketHeader.unpack(data[at : at + 6])
            at += header.packet_len
            count += 1
        return count

    assert walk() == PACKETS
    return Race(lambda: split_packets(data), walk, PACKETS / 1e6)


def split_beside_generator() -> Race:
    from space_packet_parser import ccsds_generator

    data = stream()
    assert sum(1 for _ in ccsds_generator(data)) == PACKETS
    return Race(lambda: split_packets(data), lambda: sum(1 for _ in ccsds_generator(data)), PACKETS / 1e6)


def split_beside_numpy() -> Race:
    """NumPy at its best, a mark to aim at: it is told the one length that the kernel finds out packet by packet."""
    import numpy as np

    data = stream()

    def columns() -> tuple[object, ...]:
        words = np.frombuffer(data, dtype=">u2").reshape(PACKETS, -1)
        control = words[:, 1].astype(np.uint16)
        word = words[:, 0].astype(np.uint16)
        offset = np.arange(PACKETS, dtype=np.uint64) * (6 + DATA_OCTETS)
        length = words[:, 2].astype(np.uint32) + 7
        return offset, length, word & 0x7FF, control & 0x3FFF, word >> 11 << 2 | control >> 14

    ours = split_packets(data)
    for mine, theirs in zip((ours.offset, ours.length, ours.apid, ours.seq, ours.flags), columns(), strict=True):
        assert np.array_equal(np.asarray(mine), np.asarray(theirs))
    return Race(lambda: split_packets(data), columns, PACKETS / 1e6)


def split_beside_struct() -> Race:
    """What one would write by hand: one struct, five lists."""
    import struct

    data = stream()
    unpack = struct.Struct(">HHH").unpack_from

    def walk() -> tuple[list[int], ...]:
        columns: tuple[list[int], ...] = ([], [], [], [], [])
        offset, length, apid, seq, flags = columns
        at, end = 0, len(data)
        while at + 6 <= end:
            word, control, field = unpack(data, at)
            if word >> 13 or at + 7 + field > end:
                break
            offset.append(at)
            length.append(field + 7)
            apid.append(word & 0x7FF)
            seq.append(control & 0x3FFF)
            flags.append(word >> 11 << 2 | control >> 14)
            at += 7 + field
        return columns

    assert walk()[0] == split_packets(data).offset.tolist()
    return Race(lambda: split_packets(data), walk, PACKETS / 1e6)


BENCHES = (
    Bench("split-packets", "ccsdspy", "Mpackets/s", 100.0, split_beside_ccsdspy),
    Bench("split-packets-generator", "space-packet-parser", "Mpackets/s", 100.0, split_beside_generator),
    Bench("split-packets-numpy", "NumPy, fixed stride", "Mpackets/s", 0.45, split_beside_numpy),
    Bench("split-packets-unpack", "spacepackets", "Mpackets/s", 500.0, split_beside_spacepackets),
    Bench("split-packets-struct", "struct in Python", "Mpackets/s", 50.0, split_beside_struct),
)
