"""The batch path, frames to packets to columns and packets from columns, beside C, NumPy and Python packages."""

from __future__ import annotations

import ctypes
import io
import logging
import struct
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from flight.kernels import (
    BatchExtractor,
    ExtractedPackets,
    FieldSpec,
    FrameColumns,
    PacketLayout,
    TmLink,
    encode_packets,
    extract_fields,
    split_packets,
)
from flight.link.tm.downlink import Multiplexer
from flight.link.tm.tm_frame import TmFormat
from sim_hw.bench.bench_command import Bench, Race, compiled

HERE = Path(__file__).resolve().parent
PACKETS, MANY_PACKETS, DATA_OCTETS = 20_000, 1_000_000, 64  # 70 octets in all: the size of one housekeeping report
FRAMES, FRAME_OCTETS = 1000, 1115
WORDS = DATA_OCTETS // 4


def stream(packets: int = PACKETS) -> bytes:
    return bytes(encode_packets(Random(2).randbytes(packets * DATA_OCTETS), 1, flags=0b0111, lengths=DATA_OCTETS))


def payloads() -> list[bytes]:
    source = Random(3)
    return [source.randbytes(DATA_OCTETS) for _ in range(PACKETS)]


def frames() -> list[bytes]:
    """Frames full of packets, two virtual channels in turns."""
    multiplexer = Multiplexer(TmFormat(0x1AB, FRAME_OCTETS), (0, 1), 7, PACKETS, 10**9)
    for index, packet in enumerate(split_of(stream())):
        multiplexer.channels[index // 100 % 2].queue(packet)
    return [multiplexer.next_frame(b"ocf.") for _ in range(FRAMES)]


def split_of(data: bytes) -> list[bytes]:
    octets = DATA_OCTETS + 6
    return [data[at : at + octets] for at in range(0, len(data), octets)]


def split_beside_c() -> Race:
    """The loop writes to columns that are there already: ours has to get them first."""
    with TemporaryDirectory() as folder:
        loop = ctypes.CDLL(str(compiled(HERE / "split_packets.c", Path(folder), "-shared", "-fPIC"))).split
    data = stream(MANY_PACKETS)
    columns = [(kind * MANY_PACKETS)() for kind in (
        ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint16, ctypes.c_uint16, ctypes.c_uint8
    )]  # fmt: skip
    loop.restype = ctypes.c_uint64
    octets = ctypes.c_uint64(len(data))
    assert loop(data, octets, *columns) == MANY_PACKETS
    ours = split_packets(data)
    for mine, theirs in zip((ours.offset, ours.length, ours.apid, ours.seq, ours.flags), columns, strict=True):
        assert mine.tobytes() == bytes(theirs)
    return Race(lambda: split_packets(data), lambda: loop(data, octets, *columns), MANY_PACKETS / 1e6)


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


def encode_beside_spacepackets() -> Race:
    from spacepackets.ccsds.spacepacket import SpacePacketHeader

    data = payloads()

    def pack() -> bytes:
        out = bytearray()
        for seq, octets in enumerate(data):
            out += SpacePacketHeader.tm(1, seq & 0x3FFF, len(octets) - 1).pack()
            out += octets
        return bytes(out)

    assert pack() == encode_packets(data, 1)
    return Race(lambda: encode_packets(data, 1), pack, PACKETS / 1e6)


def extract_beside_spacepackets() -> Race:
    from spacepackets.ccsds.tm_frame import TmTransferFrame

    units = frames()
    batch = b"".join(units)
    link = TmLink(FRAME_OCTETS, 0x1AB)

    def walk() -> list[bytes]:
        packets: list[bytes] = []
        hands: dict[int, bytearray] = {}
        for unit in units:
            frame = TmTransferFrame.unpack(unit, FRAME_OCTETS, True)
            header = frame.primary_header
            hand = hands.setdefault(header.vc_id, bytearray())
            hand += frame.data_field
            at = 0
            while at + 6 <= len(hand) and at + hand[at + 4] * 256 + hand[at + 5] + 7 <= len(hand):
                end = at + hand[at + 4] * 256 + hand[at + 5] + 7
                packets.append(bytes(hand[at:end]))
                at = end
            del hand[:at]
        return packets

    def extract() -> tuple[FrameColumns, ExtractedPackets]:
        return BatchExtractor(link).extract(batch)

    # The walk leaves the idle packets in, which costs it less than to look for them.
    assert [bytes(packet) for packet in extract()[1]] == [packet for packet in walk() if packet[:2] != b"\x07\xff"]
    return Race(extract, walk, FRAMES / 1e3)


def fields_beside_ccsdspy() -> Race:
    """Primary header and sixteen words of packets that are all of one length: the peer's class takes no others.

    The columns are 74 MB of fresh memory, which bounds both: a copy of the packets by NumPy takes two thirds of the
    time that their extraction takes.
    """
    import numpy as np
    from ccsdspy import FixedLength, PacketField

    logging.getLogger("ccsdspy").setLevel(logging.ERROR)  # it says of each reading that a count goes over 16383

    data = stream(MANY_PACKETS)
    peer = FixedLength([PacketField(name=f"word{i}", data_type="uint", bit_length=32) for i in range(WORDS)])
    header = (
        ("CCSDS_VERSION_NUMBER", 0, 3), ("CCSDS_PACKET_TYPE", 3, 1), ("CCSDS_SECONDARY_FLAG", 4, 1),
        ("CCSDS_APID", 5, 11), ("CCSDS_SEQUENCE_FLAG", 16, 2), ("CCSDS_SEQUENCE_COUNT", 18, 14),
        ("CCSDS_PACKET_LENGTH", 32, 16),
    )  # fmt: skip
    layout = PacketLayout(
        [FieldSpec(name, offset, bits) for name, offset, bits in header]
        + [FieldSpec(f"word{i}", 48 + 32 * i, 32) for i in range(WORDS)]
    )

    def theirs() -> dict[str, Any]:
        columns: dict[str, Any] = peer.load(io.BytesIO(data), include_primary_header=True)
        return columns

    columns = split_packets(data)
    ours = extract_fields(layout, data, columns.offset, columns.length)
    for name, column in theirs().items():
        assert np.array_equal(np.asarray(ours[name]), column), name
    return Race(lambda: extract_fields(layout, data, lengths=DATA_OCTETS + 6), theirs, MANY_PACKETS / 1e6)


BENCHES = (
    Bench("split-packets", "ccsdspy", "Mpackets/s", 100.0, split_beside_ccsdspy),
    Bench("split-packets-c", "C loop, room made", "Mpackets/s", 0.5, split_beside_c),
    Bench("split-packets-generator", "space-packet-parser", "Mpackets/s", 80.0, split_beside_generator),
    Bench("split-packets-numpy", "NumPy, fixed stride", "Mpackets/s", 0.5, split_beside_numpy),
    Bench("split-packets-unpack", "spacepackets", "Mpackets/s", 400.0, split_beside_spacepackets),
    Bench("split-packets-struct", "struct in Python", "Mpackets/s", 40.0, split_beside_struct),
    Bench("encode-packets", "spacepackets", "Mpackets/s", 10.0, encode_beside_spacepackets),
    Bench("extract-packets", "spacepackets", "kframes/s", 20.0, extract_beside_spacepackets),
    Bench("extract-fields", "ccsdspy", "Mpackets/s", 10.0, fields_beside_ccsdspy),
)
