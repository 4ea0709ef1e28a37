"""The synchronizer: what it refuses, what it holds, and what its figures rest on."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from math import comb
from random import Random
from typing import Any

import pytest

from flight.kernels import KernelError, MarkerSync, UnitFlag, UnitRoom
from flight.kernels._kernels import ffi, lib
from flight.link.coding.synchronizer import FrameSynchronizer

MARKER = bytes.fromhex("1acffc1d")
OCTET_ARRAY = ffi.typeof("uint8_t[]")


def marker_sync(**options: int) -> MarkerSync:
    chosen: dict[str, Any] = dict(
        search_errors_max=1, lock_errors_max=3, slip_bits_max=2, flywheel_units=2, bit_search=True
    )
    return MarkerSync(8, **(chosen | dict(inverted_allowed=True) | options))


@pytest.mark.parametrize(
    "options",
    [
        dict(unit_octets=0),
        dict(unit_octets=65_537),
        dict(unit_octets=-1),
        dict(unit_octets=1 << 40),
        dict(search_errors_max=4),
        dict(search_errors_max=8, lock_errors_max=8),
        dict(lock_errors_max=8),
        dict(slip_bits_max=8),
        dict(slip_bits_max=-1),
        dict(flywheel_units=-1),
    ],
)
def test_options_without_meaning_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(KernelError, match="sync_init: sizes do not fit together") as refused:
        FrameSynchronizer(**(dict(unit_octets=8) | options))
    assert refused.value.code == lib.OB_E_LAYOUT


def test_the_longest_unit() -> None:
    unit = Random(1).randbytes(65_536)
    sync = FrameSynchronizer(65_536)
    assert list(sync.feed(b"?" + MARKER + unit)) == [unit]
    assert sync.held_octets <= 2 * (4 + 65_536) + 6


def test_buffers_that_do_not_fit_are_refused_and_nothing_is_done() -> None:
    state = marker_sync().state
    units, columns = bytearray(16), bytearray(24)
    stream = (MARKER + b"unit of8") * 2

    def find(units_octets: int, columns_octets: int, units_max: int, there: int, skip: int = 0) -> int:
        out = ffi.from_buffer(OCTET_ARRAY, units)
        at = ffi.from_buffer(OCTET_ARRAY, memoryview(columns)[skip:])
        return lib.ob_find_units(state, stream, len(stream), 0, out, units_octets, at, columns_octets, units_max, there)

    assert find(15, 20, 2, 0) == lib.OB_E_SPACE
    assert find(16, 19, 2, 0) == lib.OB_E_SPACE
    assert find(16, 20, 1 << 61, 0) == lib.OB_E_SPACE
    assert find(16, 20, 2, 3) == lib.OB_E_LAYOUT
    assert find(16, 20, 2, 0, skip=1) == lib.OB_E_ALIGNMENT
    assert (bytes(units), bytes(columns), state.units) == (bytes(16), bytes(24), 0)
    assert find(16, 20, 2, 0) == 2
    assert bytes(units) == b"unit of8" * 2


def test_a_state_that_was_not_begun_is_refused() -> None:
    state = ffi.new("ob_sync *")
    out = ffi.from_buffer(OCTET_ARRAY, bytearray(8))
    assert lib.ob_find_units(state, b"", 0, 0, out, 0, out, 0, 0, 0) == lib.OB_E_LAYOUT
    assert lib.ob_sync_reset(state, 0) == lib.OB_E_LAYOUT


def test_it_stops_where_the_room_is_full_and_goes_on_behind() -> None:
    source = Random(2)
    sent = [source.randbytes(8) for _ in range(39)]
    stream = b"".join(MARKER + unit for unit in sent)
    sync, got = marker_sync(), []
    for count in (10, 10, 10, 9, 0):
        room = UnitRoom(8, 0)
        done = sync.find(stream, room)
        assert (room.count, room.units_max) == (count, 10)
        got += list(room.filled())
        stream = stream[done:]
    assert got == sent


def test_several_stretches_fill_one_room() -> None:
    sync, room = marker_sync(), UnitRoom(8, 48)
    assert sync.find(MARKER + b"unit 001" + MARKER, room) == 12
    assert sync.find(MARKER + b"unit 002", room) == 0  # until a marker ends it, a search may begin in it
    units = room.filled()
    assert (len(units), list(units), units[-1]) == (2, [b"unit 001", b"unit 002"], b"unit 002")
    assert (list(units.offset_bits), bytes(units.octets)) == ([32, 128], b"unit 001unit 002")
    with pytest.raises(IndexError):
        units[2]


def test_units_are_a_batch_to_work_in() -> None:
    units = FrameSynchronizer(8).feed((MARKER + b"unit 001") * 3)
    units.octets[8:16] = b"repaired"
    assert list(units) == [b"unit 001", b"repaired", b"unit 001"]


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda octets: array("I", octets)])
def test_any_buffer_of_octets_is_taken(kind: Callable[[bytes], Any]) -> None:
    stream = (MARKER + b"unit 001") * 3
    sync = FrameSynchronizer(8)
    assert len(sync.feed(kind(stream[:16]))) == 1
    assert len(sync.feed(kind(stream[16:]))) == 2


def test_what_is_no_stretch_of_octets_is_refused_and_changes_nothing() -> None:
    sync = FrameSynchronizer(8)
    sync.feed(MARKER + b"unit")
    with pytest.raises(TypeError):
        sync.feed("text")  # type: ignore[arg-type] # not octets
    with pytest.raises(TypeError):
        sync.feed(memoryview(bytes(20))[::2])
    assert list(sync.feed(b" 001")) == [b"unit 001"]


def test_a_unit_comes_with_its_last_octet() -> None:
    source = Random(3)
    sync = FrameSynchronizer(64)
    for frame in (source.randbytes(64) for _ in range(5)):
        cadu = MARKER + frame
        assert len(sync.feed(cadu[:-1])) == 0
        assert list(sync.feed(cadu[-1:])) == [cadu[4:]]


def test_reset_forgets_the_unit_that_has_begun_and_the_lock() -> None:
    """As the receiver of CADUs in octets: not locked, a marker with two wrong bits is none."""
    cadus = [MARKER + bytes((number,)) * 64 for number in range(3)]
    cadus[1] = bytes((cadus[1][0] ^ 0x81,)) + cadus[1][1:]
    sync = FrameSynchronizer(64)
    assert list(sync.feed(b"".join(cadus))) == [cadu[4:] for cadu in cadus]
    sync.reset()
    assert list(sync.feed(cadus[1] + cadus[2])) == [cadus[2][4:]]
    assert (sync.locks, sync.skipped) == (2, 68)


def test_the_frame_behind_lost_octets_is_found() -> None:
    cadus = [MARKER + bytes((number,)) * 64 for number in range(3)]
    units = FrameSynchronizer(64).feed(cadus[0] + cadus[1][:40] + cadus[2] + cadus[0])
    assert [unit[0] for unit in units] == [0, 1, 2, 0]


def test_a_slip_backwards_behind_a_flywheel_unit() -> None:
    """The unit that ends at the next marker begins before what the flywheel alone would have said."""
    source = Random(4)
    sent = [source.randbytes(24) for _ in range(4)]
    bits = "".join(f"{octet:08b}" for octet in MARKER + sent[0] + bytes(4) + sent[1] + bytes(4) + sent[2])
    # The first spoilt marker lost a bit of its own end; two more behind it fill the octet.
    bits = bits[: 28 * 8 + 27 + 8 * 28] + bits[28 * 8 + 28 + 8 * 28 :] + "".join(f"{o:08b}" for o in MARKER + sent[3])
    bits += "0" * (-len(bits) % 8)
    stream = int(bits, 2).to_bytes(len(bits) // 8, "big")
    whole = FrameSynchronizer(24).feed(stream)
    assert list(whole) == sent
    assert list(whole.flags) == [0, UnitFlag.FLYWHEEL, UnitFlag.FLYWHEEL | UnitFlag.SLIPPED, 0]
    sync = FrameSynchronizer(24)
    assert [unit for octet in stream for unit in sync.feed(bytes((octet,)))] == sent


def test_the_marker_is_far_from_itself_shifted() -> None:
    """Ten wrong bits within seven places and three within one of its own: what ERRORS_MAX and the slips rest on."""
    marker = f"{int.from_bytes(MARKER, 'big'):032b}"
    for shift in range(1, 8):
        wrong = sum(a != b for a, b in zip(marker[shift:], marker[:-shift], strict=True))
        assert min(wrong, 32 - shift - wrong) >= 10


def test_the_figures_in_the_docstring() -> None:
    false = [2 * sum(comb(32, k) for k in range(n + 1)) / 2**32 for n in range(4)]
    assert [f"{rate:.1e}" for rate in false] == ["4.7e-10", "1.5e-08", "2.5e-07", "2.6e-06"]

    def missed(n: int, rate: float) -> float:
        return sum(comb(32, k) * rate**k * (1 - rate) ** (32 - k) for k in range(n + 1, 33))

    table = [[f"{missed(n, rate):.1e}" for rate in (1e-2, 1e-3, 1e-4)] for n in range(4)]
    assert table == [
        ["2.8e-01", "3.2e-02", "3.2e-03"],
        ["4.1e-02", "4.9e-04", "5.0e-06"],
        ["4.0e-03", "4.9e-06", "4.9e-09"],
        ["2.9e-04", "3.5e-08", "3.6e-12"],
    ]
