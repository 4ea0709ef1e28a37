"""CRC-16 beside the fastest Python packages: frame by frame, many frames in one call, one large buffer."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from flight.kernels import crc16, crc16_units
from sim_hw.bench.bench_command import Bench, Race

FRAMES, FRAME_OCTETS = 1000, 1115
LARGE_OCTETS = 1 << 20
Crc = Callable[[bytes], int]


def frames() -> list[bytes]:
    source = Random(1)
    return [source.randbytes(FRAME_OCTETS) for _ in range(FRAMES)]


def anycrc() -> Crc:
    import anycrc

    calc: Crc = anycrc.Model("CRC16-IBM-3740").calc
    return calc


def crcmod() -> Crc:
    import crcmod

    return crcmod.mkCrcFun(0x11021, initCrc=0xFFFF, rev=False, xorOut=0)


def frame_by_frame(make_peer: Callable[[], Crc]) -> Race:
    data, peer = frames(), make_peer()
    assert peer(data[0]) == crc16(data[0])
    return Race(lambda: [crc16(f) for f in data], lambda: [peer(f) for f in data], FRAMES * FRAME_OCTETS / 1e6)


def frames_in_one_call(make_peer: Callable[[], Crc]) -> Race:
    data, peer = frames(), make_peer()
    units = b"".join(data)
    assert crc16_units(units, FRAMES, FRAME_OCTETS).tolist() == [peer(f) for f in data]
    return Race(
        lambda: crc16_units(units, FRAMES, FRAME_OCTETS), lambda: [peer(f) for f in data], FRAMES * FRAME_OCTETS / 1e6
    )


def large_buffer(make_peer: Callable[[], Crc]) -> Race:
    data, peer = Random(3).randbytes(LARGE_OCTETS), make_peer()
    assert peer(data) == crc16(data)
    return Race(lambda: crc16(data), lambda: peer(data), LARGE_OCTETS / 1e6)


BENCHES = (
    Bench("crc16-frames", "anycrc", "MB/s", 1.05, lambda: frame_by_frame(anycrc)),
    Bench("crc16-frames-crcmod", "crcmod-plus", "MB/s", 3.5, lambda: frame_by_frame(crcmod)),
    Bench("crc16-frames-batch", "anycrc, a call per frame", "MB/s", 1.5, lambda: frames_in_one_call(anycrc)),
    Bench("crc16-1mib", "anycrc", "MB/s", 1.0, lambda: large_buffer(anycrc)),
    Bench("crc16-1mib-crcmod", "crcmod-plus", "MB/s", 20.0, lambda: large_buffer(crcmod)),
)
