"""The synchronizer kernel equals a plain model on a string of bits, however the stream is cut into calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from flight.kernels import UnitFlag
from flight.link.coding.synchronizer import FrameSynchronizer, SyncCounters

MARKER = "00011010110011111111110000011101"
FLIP = str.maketrans("01", "10")


@dataclass(frozen=True)
class Options:
    unit_octets: int
    search_errors_max: int = 1
    lock_errors_max: int = 3
    slip_bits_max: int = 2
    flywheel_units: int = 2
    bit_search: bool = True
    inverted_allowed: bool = True


class MoreNeeded(Exception):
    """The stream ends where something is still to be decided."""


@dataclass
class Model:
    """The machine of marker.c, told over a whole stream at once."""

    options: Options
    bits: str
    last: bool
    units: list[tuple[int, int, int, bytes]] = field(default_factory=list)  # offset, wrong bits, flags, octets
    locks: int = 0
    skipped: int = 0
    back: int = 0
    covered: int = 0

    def __post_init__(self) -> None:
        self.period = 32 + 8 * self.options.unit_octets
        self.credit = 8 * self.period
        self.distance = [
            sum(a != b for a, b in zip(self.bits[at : at + 32], MARKER, strict=True))
            for at in range(max(0, len(self.bits) - 31))
        ]

    def marker(self, at: int, errors_max: int) -> tuple[int, int] | None:
        """Wrong bits and flag of the marker at `at`."""
        if not 0 <= at < len(self.distance):
            return None
        for wrong, flag in ((self.distance[at], 0), (32 - self.distance[at], UnitFlag.INVERTED)):
            if wrong <= errors_max and (flag == 0 or self.options.inverted_allowed):
                return wrong, flag
        return None

    def first(self, start: int, end: int) -> tuple[int, int] | None:
        """Place and flag of the first marker that begins in `start`..`end`."""
        for at in range(start, end + 1):
            if at % 8 == 0 or self.options.bit_search:
                found = self.marker(at, self.options.search_errors_max)
                if found:
                    return at, found[1]
        return None

    def expected(self, at: int) -> tuple[int, int] | None:
        """Place and flag of the marker that belongs at `at`."""
        options = self.options
        found = self.marker(at, options.lock_errors_max)
        if found:
            return at, found[1]
        if at + 32 + options.slip_bits_max > len(self.bits) and not self.last:
            raise MoreNeeded
        places = []
        for slip in range(1, options.slip_bits_max + 1):
            for place in (at - slip, at + slip):
                found = self.marker(place, options.lock_errors_max)
                if found and options.bit_search:
                    places.append((found[0], slip, place, found[1]))
        return min(places)[2:] if places else None

    def skip_to(self, at: int) -> None:
        self.skipped += max(0, at - self.covered)
        self.covered = max(self.covered, at)

    def give(self, at: int, flags: int) -> None:
        """The unit behind the marker at `at`."""
        end = at + self.period
        self.skip_to(at)
        if end > len(self.bits):
            raise MoreNeeded
        unit = self.bits[at + 32 : end]
        wrong = self.distance[at]
        if flags & UnitFlag.INVERTED:
            unit, wrong = unit.translate(FLIP), 32 - wrong
        octets = int(unit, 2).to_bytes(self.options.unit_octets, "big")
        self.units.append((at + 32, wrong, flags, octets))
        overlap = self.covered - at
        self.credit = min(8 * self.period, self.credit + self.period - 2 * overlap)
        assert self.credit >= 0
        self.covered = end
        self.back = max(self.back, at + 1 if self.credit >= self.period else end)

    def run(self) -> Model:
        try:
            while found := self.first(self.back, len(self.bits)):
                self.locks += 1
                self.locked(*found)
            self.skip_to(max(self.back, len(self.bits) - 31))
        except MoreNeeded:
            pass
        return self

    def locked(self, at: int, flags: int) -> None:
        missed = 0
        while True:
            self.give(at, flags)
            inverted = flags & UnitFlag.INVERTED
            place = at + self.period
            if there := self.expected(place):
                missed = 0
                at, flags = there[0], there[1] | (UnitFlag.SLIPPED if there[0] != place else 0)
                continue
            if missed == self.options.flywheel_units:
                return
            behind = place + self.period
            if there := self.expected(behind):
                at, flags = there[0] - self.period, there[1] | UnitFlag.FLYWHEEL
                flags |= UnitFlag.SLIPPED if there[0] != behind else 0
            elif there := self.first(self.back, behind + self.options.slip_bits_max):
                self.locks += 1
                missed = 0
                at, flags = there
                continue
            else:
                self.back = behind + self.options.slip_bits_max + 1
                at, flags = place, UnitFlag.FLYWHEEL | inverted
            missed += 1

    def counters(self) -> SyncCounters:
        flags = [flags for _, _, flags, _ in self.units]
        return SyncCounters(
            locks=self.locks,
            units=len(flags),
            flywheel_units=sum(bool(flag & UnitFlag.FLYWHEEL) for flag in flags),
            inverted_units=sum(bool(flag & UnitFlag.INVERTED) for flag in flags),
            slips=sum(bool(flag & UnitFlag.SLIPPED) for flag in flags),
            marker_bit_errors=sum(wrong for _, wrong, flags, _ in self.units if not flags & UnitFlag.FLYWHEEL),
            skipped_bits=self.skipped,
        )


@st.composite
def all_options(draw: st.DrawFn) -> Options:
    lock_errors_max = draw(st.integers(0, 7))
    return Options(
        draw(st.integers(1, 9)),
        draw(st.integers(0, min(3, lock_errors_max)) | st.integers(0, lock_errors_max)),
        lock_errors_max,
        draw(st.integers(0, 7)),
        draw(st.integers(0, 3)),
        draw(st.booleans()),
        draw(st.booleans()),
    )


@st.composite
def streams(draw: st.DrawFn, unit_octets: int) -> bytes:
    """Bits that look like a damaged stream of units, and any others: markers in the data, spoilt, moved, inverted."""
    marker = st.just(MARKER)
    spoilt = st.sets(st.integers(0, 31), max_size=9).map(
        lambda wrong: "".join(str(int(bit) ^ (i in wrong)) for i, bit in enumerate(MARKER))
    )
    noise = st.integers(0, 90).flatmap(
        lambda count: st.integers(0, (1 << count) - 1).map(lambda v: f"{v:0{count + 1}b}")
    )
    unit = st.binary(min_size=unit_octets, max_size=unit_octets).map(lambda octets: "".join(f"{o:08b}" for o in octets))
    pieces = draw(
        st.lists(st.one_of(st.tuples(marker | spoilt, unit), st.tuples(noise), st.tuples(marker)), max_size=9)
    )
    bits = "".join(map("".join, pieces))
    for start in draw(st.lists(st.integers(0, len(bits)), max_size=2)):
        bits = bits[:start] + bits[start:].translate(FLIP)
    bits += "0" * (-len(bits) % 8)
    return int("1" + bits, 2).to_bytes(1 + len(bits) // 8, "big")[1:]


def feed_in_pieces(sync: FrameSynchronizer, stream: bytes, cuts: list[int]) -> list[tuple[int, int, int, bytes]]:
    rows: list[tuple[int, int, int, bytes]] = []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in pairwise(edges):
        units = sync.feed(stream[start:end])
        rows += zip(units.offset_bits, units.wrong_bits, units.flags, units, strict=True)
        assert sync.held_octets <= 2 * (4 + sync.unit_octets) + 6
    return rows


@settings(max_examples=300)
@given(st.data(), all_options(), st.lists(st.integers(0, 1 << 16), max_size=12))
def test_units_are_those_of_the_model_in_any_pieces(data: st.DataObject, options: Options, cuts: list[int]) -> None:
    stream = data.draw(streams(options.unit_octets) | st.binary(max_size=200))
    bits = "".join(f"{octet:08b}" for octet in stream)
    sync = FrameSynchronizer(**vars(options))
    rows = feed_in_pieces(sync, stream, cuts)
    model = Model(options, bits, last=False).run()
    assert rows == model.units
    assert sync.counters == model.counters()

    units = sync.finish()
    rows += zip(units.offset_bits, units.wrong_bits, units.flags, units, strict=True)
    model = Model(options, bits, last=True).run()
    assert rows == model.units
    assert sync.counters == model.counters()
    assert sync.held_octets == 0


@settings(max_examples=40)
@given(st.data(), all_options(), st.integers(0, 40))
def test_a_stream_begins_anew_after_reset(data: st.DataObject, options: Options, cut: int) -> None:
    stream = data.draw(streams(options.unit_octets))
    fresh = list(FrameSynchronizer(**vars(options)).feed(stream))
    sync = FrameSynchronizer(**vars(options))
    sync.feed(stream[:cut])
    sync.reset()
    units = sync.feed(stream)
    assert list(units) == fresh
    start = 8 * len(stream[:cut])
    assert all(offset >= start + 32 for offset in units.offset_bits)


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(0, 3), st.binary(max_size=7), st.booleans())
def test_markers_everywhere_give_a_bounded_number_of_units(
    unit_octets: int, flywheel_units: int, between: bytes, whole: bool
) -> None:
    stream = (bytes.fromhex("1acffc1d") + between) * 400
    sync = FrameSynchronizer(unit_octets, flywheel_units=flywheel_units)
    rows = feed_in_pieces(sync, stream, [] if whole else [*range(0, len(stream), 57)])
    assert len(rows) <= 2 * len(stream) // (4 + unit_octets) + 8
    offsets = [row[0] for row in rows]
    assert offsets == sorted(set(offsets))
