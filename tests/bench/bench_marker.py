"""The frame synchronizer beside a plain copy of the stream, and its search beside a C loop over every bit."""

from __future__ import annotations

import ctypes
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from flight.link.coding.synchronizer import FrameSynchronizer
from sim_hw.bench.bench_command import Bench, Race, compiled

MARKER = bytes.fromhex("1acffc1d")
UNITS, UNIT_OCTETS = 1000, 1275
NOISE_OCTETS = 1 << 20
# All that this machine's processor has, as somebody would build the loop for a station of their own.
LIBRARY = ("-O3", "-march=native", "-shared", "-fPIC")


def units() -> list[bytes]:
    source = Random(1)
    return [source.randbytes(UNIT_OCTETS) for _ in range(UNITS)]


def shifted(stream: bytes, bits: int) -> bytes:
    return (int.from_bytes(stream, "big") << -bits % 8).to_bytes(len(stream) + 1, "big")


def beside_copy(stream: bytes, sent: list[bytes]) -> Race:
    sync = FrameSynchronizer(UNIT_OCTETS)
    assert list(sync.feed(stream)) == sent

    def ours() -> None:
        sync.reset()
        assert len(sync.feed(stream)) == UNITS

    return Race(ours, lambda: bytearray(stream), len(stream) / 1e6)


def clean_beside_copy() -> Race:
    sent = units()
    return beside_copy(b"".join(MARKER + unit for unit in sent), sent)


def shifted_beside_copy() -> Race:
    sent = units()
    return beside_copy(shifted(b"".join(MARKER + unit for unit in sent), 3), sent)


def inverted_beside_copy() -> Race:
    sent = units()
    return beside_copy(bytes(octet ^ 0xFF for octet in b"".join(MARKER + unit for unit in sent)), sent)


def clean_beside_find() -> Race:
    """What the aligned stream allows in Python: find each marker, slice its unit."""
    sent = units()
    stream = b"".join(MARKER + unit for unit in sent)
    sync = FrameSynchronizer(UNIT_OCTETS)

    def ours() -> list[bytes]:
        sync.reset()
        return list(sync.feed(stream))

    def find() -> list[bytes]:
        found, at = [], stream.find(MARKER)
        while at >= 0:
            found.append(stream[at + len(MARKER) : at + len(MARKER) + UNIT_OCTETS])
            at = stream.find(MARKER, at + len(MARKER) + UNIT_OCTETS)
        return found

    assert ours() == find() == sent
    return Race(ours, find, len(stream) / 1e6)


def noise_beside_loop() -> Race:
    noise = Random(3).randbytes(NOISE_OCTETS)
    with TemporaryDirectory() as folder:
        library = ctypes.CDLL(str(compiled(Path(__file__).with_name("marker_search.c"), Path(folder), *LIBRARY)))
    count = library.count_markers
    count.argtypes, count.restype = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint), ctypes.c_size_t
    assert count(noise[:100] + MARKER + noise, NOISE_OCTETS, 1) == 1
    sync = FrameSynchronizer(UNIT_OCTETS)

    def ours() -> None:
        sync.reset()
        assert len(sync.feed(noise)) == 0

    return Race(ours, lambda: count(noise, NOISE_OCTETS, 1), 8 * NOISE_OCTETS / 1e6)


BENCHES = (
    Bench("sync-clean", "copy of the stream", "MB/s", 0.45, clean_beside_copy),
    Bench("sync-shifted", "copy of the stream", "MB/s", 0.3, shifted_beside_copy),
    Bench("sync-inverted", "copy of the stream", "MB/s", 0.4, inverted_beside_copy),
    Bench("sync-clean-find", "bytes.find and slices", "MB/s", 0.0, clean_beside_find),
    Bench("sync-noise", "C loop over the bits", "Mbit/s", 3.0, noise_beside_loop),
)
