"""Frame synchronization of streams that others recorded: Suomi-NPP, and the dumps of dariol83/ccsds."""

from __future__ import annotations

from pathlib import Path

import pytest

from flight.kernels import UnitFlag
from flight.link.coding.synchronizer import FrameSynchronizer

MARKER = bytes.fromhex("1acffc1d")


def shifted(stream: bytes, bits: int) -> bytes:
    """The stream behind so many zero bits."""
    return (int.from_bytes(stream, "big") << -bits % 8).to_bytes(len(stream) + 1, "big")


def inverted(stream: bytes) -> bytes:
    return bytes(octet ^ 0xFF for octet in stream)


@pytest.fixture
def suomi_npp(shared: Path) -> bytes:
    return (shared / "vectors/ccsds-rs/snpp_7cadus_2vcids.dat").read_bytes()


@pytest.mark.parametrize("shift", range(8))
@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("piece_octets", [1, 7, 1 << 20])
def test_suomi_npp(suomi_npp: bytes, shift: int, upright: bool, piece_octets: int) -> None:
    """Seven CADUs of 1,024 octets: VCID 6 and 16 of spacecraft 157, still randomized."""
    want = [suomi_npp[at + 4 : at + 1024] for at in range(0, 7168, 1024)]
    stream = shifted(suomi_npp, shift) if shift else suomi_npp
    if not upright:
        stream = inverted(stream)
    sync = FrameSynchronizer(1020)
    batches = [sync.feed(stream[at : at + piece_octets]) for at in range(0, len(stream), piece_octets)]
    assert [unit for units in batches for unit in units] == want
    offsets = [offset for units in batches for offset in units.offset_bits]
    assert offsets == [shift + 8 * (1024 * i + 4) for i in range(7)]
    assert {flag for units in batches for flag in units.flags} == {0 if upright else UnitFlag.INVERTED}
    assert sync.counters.marker_bit_errors == 0
    assert (sync.locks, sync.skipped) == (1, 0)


@pytest.mark.parametrize(
    ("name", "cadus", "cadu_octets"), [("tm_user_data", 30, 1279), ("tm_gap_1", 11, 1115), ("aos_1", 30, 1024)]
)
@pytest.mark.parametrize("bit_search", [True, False])
def test_dumps_end_to_end(shared: Path, name: str, cadus: int, cadu_octets: int, bit_search: bool) -> None:
    text = (shared / f"vectors/dariol83-ccsds/dumpFile_{name}.hex").read_text().split()
    lines = [bytes.fromhex(line) for line in text]
    # One dump has bare frames: they get the marker that a modem would have seen.
    stream = b"".join(line if line.startswith(MARKER) else MARKER + line for line in lines)
    want = [line.removeprefix(MARKER) for line in lines]
    assert len(want) == cadus and len(lines[0]) == cadu_octets
    sync = FrameSynchronizer(len(want[0]), bit_search=bit_search)
    assert list(sync.feed(stream)) == want
    assert (sync.locks, sync.skipped) == (1, 0)
