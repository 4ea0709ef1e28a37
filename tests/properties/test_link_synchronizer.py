"""What the frame synchronizer promises about streams that were damaged in a known way: no good unit is lost.

Units hold random octets of a fixed seed, so that no marker is in them unless a test puts one there.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flight.kernels import UnitFlag
from flight.link.coding.synchronizer import FrameSynchronizer

MARKER = "00011010110011111111110000011101"
UNIT_OCTETS = 24
UNIT_BITS = 8 * UNIT_OCTETS
PERIOD_BITS = len(MARKER) + UNIT_BITS
FLIP = str.maketrans("01", "10")

seeds = st.integers(0, 1 << 32)
cut_lists = st.lists(st.integers(0, 1 << 16), max_size=8)


def bits_of(octets: bytes) -> str:
    return "".join(f"{octet:08b}" for octet in octets)


def spoil(source: Random, wrong: int) -> str:
    at = source.sample(range(32), wrong)
    return "".join(str(int(bit) ^ (i in at)) for i, bit in enumerate(MARKER))


def insert_or_delete(source: Random, bits: str, slip: int) -> str:
    """`slip` random bits more, or -slip fewer, at one place behind the first and before the last bit."""
    at = source.randrange(1, len(bits) - max(0, -slip))
    return bits[:at] + "".join(source.choice("01") for _ in range(slip)) + bits[at + max(0, -slip) :]


def in_pairs(octets: bytes) -> memoryview:
    """Where they are even in number, as a buffer whose elements are not octets."""
    return memoryview(octets) if len(octets) % 2 else memoryview(octets).cast("H")


KINDS = (bytes, bytearray, in_pairs, memoryview)


def receive(bits: str, cuts: list[int], **options: Any) -> tuple[list[bytes], FrameSynchronizer]:
    """The stream through a synchronizer in pieces, and what it says at the end; offsets must grow."""
    bits += "0" * (-len(bits) % 8)
    stream = int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "big")[1:]
    sync = FrameSynchronizer(UNIT_OCTETS, **options)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    batches = []
    for i, (start, end) in enumerate(pairwise(edges)):
        batches.append(sync.feed(KINDS[i % 4](stream[start:end])))
        assert sync.held_octets <= 2 * (4 + UNIT_OCTETS) + 6
    batches.append(sync.finish())
    assert (sync.held_octets, sync.skipped) == (0, sync.counters.skipped_bits // 8)
    offsets = [offset for batch in batches for offset in batch.offset_bits]
    assert offsets == sorted(set(offsets))
    return [unit for batch in batches for unit in batch], sync


def good(received: list[bytes], sent: list[bytes]) -> list[bytes]:
    """Those received that were sent: what error control would leave."""
    return [unit for unit in received if unit in set(sent)]


def noise_bits(source: Random, bits_max: int) -> str:
    return "".join(source.choice("01") for _ in range(source.randrange(bits_max)))


@given(seeds, st.lists(st.integers(0, 3), min_size=1, max_size=12), st.booleans(), cut_lists)
def test_units_behind_noise_come_whole_and_nothing_else(
    seed: int, wrong_bits: list[int], inverted: bool, cuts: list[int]
) -> None:
    source = Random(seed)
    wrong_bits[0] = min(wrong_bits[0], 1)
    sent = [source.randbytes(UNIT_OCTETS) for _ in wrong_bits]
    noise = noise_bits(source, 500)
    bits = noise + "".join(spoil(source, wrong) + bits_of(unit) for wrong, unit in zip(wrong_bits, sent, strict=True))
    received, sync = receive(bits.translate(FLIP) if inverted else bits, cuts)
    assert received == sent
    counters = sync.counters
    assert (counters.locks, counters.units, counters.slips, counters.flywheel_units) == (1, len(sent), 0, 0)
    assert counters.inverted_units == (len(sent) if inverted else 0)
    assert counters.marker_bit_errors == sum(wrong_bits)
    # Behind the last unit stand fewer than eight bits that fill the octet.
    assert counters.skipped_bits == len(noise)


@given(seeds, st.lists(st.integers(-2, 2), min_size=2, max_size=14), cut_lists)
def test_a_slipped_bit_costs_the_unit_it_happened_in(seed: int, slips: list[int], cuts: list[int]) -> None:
    source = Random(seed)
    slips[-1] = max(slips[-1], 0)
    sent = [source.randbytes(UNIT_OCTETS) for _ in slips]
    bits = ""
    for i, (unit, slip) in enumerate(zip(sent, slips, strict=True)):
        body = bits_of(unit)
        bits += spoil(source, source.randrange(4 if i else 2)) + (
            insert_or_delete(source, body, slip) if slip else body
        )
    received, sync = receive(bits, cuts)
    whole = [unit for unit, slip in zip(sent, slips, strict=True) if slip == 0]
    assert good(received, whole) == whole
    assert len(received) == len(sent)
    assert sync.locks == 1
    assert sync.counters.slips == sum(slip != 0 for slip in slips[:-1])


@given(seeds, st.lists(st.booleans(), min_size=2, max_size=12), st.sampled_from((-1, 1)), cut_lists)
def test_a_slip_within_a_marker_costs_at_most_its_unit(
    seed: int, slipped: list[bool], slip: int, cuts: list[int]
) -> None:
    source = Random(seed)
    slipped[0] = False
    slipped = [here and not (i and slipped[i - 1]) for i, here in enumerate(slipped)]
    sent = [source.randbytes(UNIT_OCTETS) for _ in slipped]
    bits = "".join(
        (insert_or_delete(source, MARKER, slip) if here else MARKER) + bits_of(unit)
        for here, unit in zip(slipped, sent, strict=True)
    )
    received, _ = receive(bits + MARKER, cuts)
    whole = [unit for unit, here in zip(sent, slipped, strict=True) if not here]
    assert good(received, whole) == whole


@given(
    seeds, st.lists(st.sampled_from(("none", "none", "cut", "added", "flipped")), min_size=1, max_size=14), cut_lists
)
def test_losses_of_any_size_cost_the_units_they_happened_in(seed: int, damages: list[str], cuts: list[int]) -> None:
    """Of any size, except that none puts the markers back to the places of one of the four losses before it."""
    source = Random(seed)
    sent = [source.randbytes(UNIT_OCTETS) for _ in damages]
    bits = ""
    inverted = False
    moved = [0]
    for i, (unit, damage) in enumerate(zip(sent, damages, strict=True)):
        if damage == "cut" and damages[max(0, i - 3) : i] == ["cut"] * 3:
            damage = damages[i] = "none"
        period = spoil(source, source.randrange(2)) + bits_of(unit)
        at = source.randrange(33, PERIOD_BITS - 1)
        if damage == "cut":
            lost = source.choice([n for n in range(1, PERIOD_BITS - at) if elsewhere(moved, -n)] or [0])
            period = period[:at] + period[at + lost :]
            moved.append(moved[-1] - lost)
        elif damage == "added":
            more = source.choice([n for n in range(3 * PERIOD_BITS) if elsewhere(moved, n)])
            period = period[:at] + "".join(source.choice("01") for _ in range(more)) + period[at:]
            moved.append(moved[-1] + more)
        if inverted:
            period = period.translate(FLIP)
        if damage == "flipped":
            inverted = not inverted
            period = period[:at] + period[at:].translate(FLIP)
        bits += period
    received, _ = receive(bits, cuts)
    whole = [unit for unit, damage in zip(sent, damages, strict=True) if damage == "none"]
    assert good(received, whole) == whole


def elsewhere(moved: list[int], bits: int) -> bool:
    """Whether moving the markers by `bits` puts them beyond the slips that are looked for at their last places."""
    places = [(moved[-1] + bits - place) % PERIOD_BITS for place in moved[-5:]]
    return all(7 < place < PERIOD_BITS - 7 for place in places)


@given(seeds, st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(0, 3), cut_lists)
@example(0, [3, 1, 3], 3, [])
def test_units_come_by_flywheel_over_spoilt_markers(
    seed: int, runs: list[int], flywheel_units: int, cuts: list[int]
) -> None:
    """Runs of spoilt markers no longer than the flywheel, each between good ones."""
    source = Random(seed)
    lost = [False]
    for run in runs:
        lost += [True] * min(run, flywheel_units) + [False]
    sent = [source.randbytes(UNIT_OCTETS) for _ in lost]
    bits = "".join(
        (spoil(source, source.randrange(8, 20)) if gone else MARKER) + bits_of(unit)
        for gone, unit in zip(lost, sent, strict=True)
    )
    received, sync = receive(bits, cuts, flywheel_units=flywheel_units)
    assert received == sent
    assert (sync.locks, sync.counters.flywheel_units) == (1, sum(lost))


@given(seeds, st.integers(2, 10), st.lists(st.integers(0, UNIT_BITS - 32), max_size=4), cut_lists)
def test_markers_in_the_data_steal_no_lock_that_one_spoilt_marker_has_shaken(
    seed: int, count: int, copies: list[int], cuts: list[int]
) -> None:
    """The copies even stand at the same place of every unit: a sequence as regular as the true one."""
    source = Random(seed)
    sent = []
    for _ in range(count):
        body = bits_of(source.randbytes(UNIT_OCTETS))
        for at in copies:
            body = body[:at] + MARKER + body[at + 32 :]
        sent.append(int(body, 2).to_bytes(UNIT_OCTETS, "big"))
    spoilt = source.randrange(1, count)
    bits = "".join(
        (spoil(source, source.randrange(8, 20)) if i == spoilt else MARKER) + bits_of(unit)
        for i, unit in enumerate(sent)
    )
    received, _ = receive(bits + MARKER, cuts)
    assert received == sent


@given(seeds, st.integers(0, PERIOD_BITS - 1), st.booleans(), st.integers(1, 6), cut_lists)
def test_a_false_marker_in_the_noise_hides_no_unit(
    seed: int, before: int, inverted: bool, count: int, cuts: list[int]
) -> None:
    source = Random(seed)
    sent = [source.randbytes(UNIT_OCTETS) for _ in range(count)]
    false = MARKER.translate(FLIP) if inverted else MARKER
    noise = "".join(source.choice("01") for _ in range(before))
    received, sync = receive(false + noise + "".join(MARKER + bits_of(unit) for unit in sent), cuts)
    assert good(received, sent) == sent
    assert len(received) <= count + 1
    assert sync.counters.flywheel_units == 0


@given(seeds, cut_lists)
def test_noise_gives_a_unit_in_two_thousand_such_stretches(seed: int, cuts: list[int]) -> None:
    """A false marker is found in one of them; its unit and the flywheel's is all that comes of it."""
    source = Random(seed)
    received, sync = receive(bits_of(source.randbytes(4000)), cuts)
    assert sync.locks <= 1
    assert len(received) <= 3 * sync.locks
    if not received:
        assert sync.counters.skipped_bits == 8 * 4000 - 31


@given(seeds, st.integers(1, 7), st.integers(1, 6), cut_lists)
def test_aligned_search_takes_octets_only(seed: int, shift: int, count: int, cuts: list[int]) -> None:
    source = Random(seed)
    sent = [source.randbytes(UNIT_OCTETS) for _ in range(count)]
    bits = "".join(MARKER + bits_of(unit) for unit in sent)
    noise = bits_of(source.randbytes(30))
    received, _ = receive(noise + bits, cuts, bit_search=False)
    assert received == sent
    received, sync = receive("0" * shift + bits, cuts, bit_search=False)
    assert (received, sync.locks) == ([], 0)


@given(seeds, st.integers(1, 6), cut_lists)
def test_known_polarity_takes_upright_markers_only(seed: int, count: int, cuts: list[int]) -> None:
    source = Random(seed)
    sent = [source.randbytes(UNIT_OCTETS) for _ in range(count)]
    bits = "".join(MARKER + bits_of(unit) for unit in sent)
    assert receive(bits, cuts, inverted_allowed=False)[0] == sent
    assert receive(bits.translate(FLIP), cuts, inverted_allowed=False)[0] == []


@pytest.mark.parametrize(
    ("markers", "locks", "flywheel_units", "slips", "units"),
    [
        # docs/guides/link.md: searched with one wrong bit at most,
        ([MARKER[:-1] + "0"], 1, 0, 0, 1),
        ([MARKER[:-3] + "000"], 0, 0, 0, 0),
        # expected with three,
        ([MARKER, MARKER[:-5] + "00000", MARKER], 1, 1, 0, 3),
        ([MARKER, MARKER[:-4] + "0000", MARKER], 1, 0, 0, 3),
        # moved by two at once and by three after a search,
        ([MARKER, "00" + MARKER, MARKER], 1, 0, 1, 3),
        ([MARKER, "000" + MARKER, MARKER], 2, 0, 0, 3),
        # and two units without a marker of their own.
        ([MARKER, "0" * 32, "0" * 32, MARKER], 1, 2, 0, 4),
        ([MARKER, "0" * 32, "0" * 32, "0" * 32, MARKER], 2, 2, 0, 4),
    ],
)
def test_the_figures_that_a_link_has(
    markers: list[str], locks: int, flywheel_units: int, slips: int, units: int
) -> None:
    source = Random(8)
    received, sync = receive("".join(marker + bits_of(source.randbytes(UNIT_OCTETS)) for marker in markers), [])
    counters = sync.counters
    assert (counters.locks, counters.flywheel_units, counters.slips, len(received)) == (
        locks, flywheel_units, slips, units,
    )  # fmt: skip


@given(seeds, st.integers(1, 4), st.integers(0, 1 << 16), st.booleans())
def test_what_ends_a_stream_forgets_it_and_offsets_go_on(seed: int, count: int, cut: int, resets: bool) -> None:
    """Cut anywhere, the next stream is searched for as if there had been none before it."""
    source = Random(seed)
    sent = [source.randbytes(UNIT_OCTETS) for _ in range(count)]
    marker = int(MARKER, 2).to_bytes(4, "big")
    stream = b"".join(marker + unit for unit in sent)
    first = stream[: cut % (len(stream) + 1)]
    sync = FrameSynchronizer(UNIT_OCTETS)
    got = list(sync.feed(first))
    if resets:
        sync.reset()
    else:
        got += sync.finish()
    assert got == sent[: len(first) // (4 + UNIT_OCTETS)]
    assert sync.held_octets == 0
    units = sync.feed(stream + marker)
    assert list(units) == sent
    assert list(units.offset_bits) == [8 * len(first) + 32 + i * PERIOD_BITS for i in range(count)]
    # A marker whose unit never came was found too.
    assert sync.locks == 1 + (len(first) >= 4)


def test_flags_say_how_each_unit_was_found() -> None:
    source = Random(7)
    sent = [source.randbytes(UNIT_OCTETS) for _ in range(4)]
    moved = MARKER + bits_of(sent[0]) + "0" + MARKER + bits_of(sent[1])
    bits = moved + "0" * 32 + bits_of(sent[2]) + MARKER + bits_of(sent[3])
    bits += "0" * (-len(bits) % 8)
    units = FrameSynchronizer(UNIT_OCTETS).feed(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    assert list(units) == sent
    assert list(units.flags) == [0, UnitFlag.SLIPPED, UnitFlag.FLYWHEEL, 0]
    assert list(units.wrong_bits) == [0, 0, MARKER.count("1"), 0]
    assert list(units.offset_bits) == [32, 33 + PERIOD_BITS, 33 + 2 * PERIOD_BITS, 33 + 3 * PERIOD_BITS]
