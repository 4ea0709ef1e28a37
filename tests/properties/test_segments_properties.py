"""What is found of a journal's segments, against plain models: heads, which of them make up the journal, records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise
from zlib import crc32

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flight.store.segments import (
    HEAD_OCTETS,
    NO_INDEX,
    RECORD_OCTETS,
    Found,
    Head,
    Kind,
    chain_of,
    is_write_cut_short,
    life_of,
    owner_of,
    pack_numbered,
    pack_record_head,
    records,
)

OWNER, OURS, OTHERS = owner_of("j"), 7, 8

# As stored by versions that have flown. The layouts are in the head of flight/store/segments.py.
FORMAT_1 = bytes.fromhex("4f4e4a4c01003b4a f3a41c9c 0000000000000102")
FORMAT_2 = bytes.fromhex(
    "4f4e4a4c02003b4a 7bd3371d 0000000000000102 0000000000000003 0000000000000007 00000005 00000004"
)


def test_heads_are_stored_as_they_always_were() -> None:
    owner = 0x3B4A
    for raw, head in ((FORMAT_1, Head(owner, 0x102)), (FORMAT_2, Head(owner, 0x102, 3, 7, 5, 4))):
        assert head.encode() == raw and head.octets == len(raw)
        assert Head.read(raw) == Head.read(raw + b"records") == head
    assert owner_of("recorder.events") == crc32(b"recorder.events") & 0xFFFF
    assert (len(FORMAT_1), len(FORMAT_2), HEAD_OCTETS, RECORD_OCTETS, NO_INDEX) == (20, 44, 44, 8, 0xFFFFFFFF)


@pytest.mark.parametrize("raw", [FORMAT_1, FORMAT_2], ids=["format 1", "format 2"])
def test_a_head_that_was_cut_short_is_torn_and_a_changed_one_is_no_head(raw: bytes) -> None:
    for octets in range(len(raw)):
        assert Head.read(raw[:octets]) is Kind.TORN
    for at in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[at] ^= 1 << bit
            found = Head.read(bytes(changed) + b"records" * 9)
            if at < 5 and not (at == 4 and changed[4] in (1, 2)):
                assert found is Kind.FOREIGN, at
                assert Head.read(bytes(changed[:8])) is (Kind.FOREIGN if at < 4 else Kind.TORN)
            else:
                assert found is Kind.UNREADABLE, at


@pytest.mark.parametrize(("skipped", "sound"), [(4, True), (5, True), (6, False)])
def test_no_more_numbers_are_skipped_than_there_are(skipped: int, sound: bool) -> None:
    head = Head(OWNER, 5, skipped, 7, 1, 0)
    assert Head.read(head.encode()) == (head if sound else Kind.UNREADABLE)


# Which segments make up the journal

heads = st.builds(
    Head, st.sampled_from([OWNER, OWNER, OWNER, OWNER ^ 1]), st.integers(0, 6), st.just(0),
    st.sampled_from([OURS, OURS, OURS, OURS, None, None, OTHERS]),
)  # fmt: skip
kinds = st.sampled_from([Kind.UNREADABLE, Kind.TORN, Kind.FOREIGN])


@st.composite
def founds(draw: st.DrawFn) -> list[Found]:
    out: list[Found] = []
    for index in sorted(draw(st.sets(st.integers(0, 12), max_size=8))):
        head = draw(st.one_of(heads, heads, heads, kinds))
        if isinstance(head, Head) and head.epoch is not None:
            place = index if draw(st.integers(0, 4)) else index + 1
            head = Head(head.owner, head.first, 0, head.epoch, place, place)
        out.append(Found(index, 100, head))
    return out


def first_of(one: Found) -> int:
    assert isinstance(one.head, Head)
    return one.head.first


def most_in_order(candidates: Sequence[Found]) -> int:
    """How many can be kept so that numbers never fall: every choice is tried."""
    for count in range(len(candidates), 0, -1):
        for chosen in combinations(candidates, count):
            if all(first_of(a) <= first_of(b) for a, b in pairwise(chosen)):
                return count
    return 0


@settings(max_examples=300)
@given(founds())
def test_as_many_segments_as_can_be_make_up_the_journal_and_each_other_one_is_told_by_kind(found: list[Found]) -> None:
    chain = chain_of(found, OWNER, OURS)
    links = [one for one, _ in chain.links]
    assert all(one.head == head for one, head in chain.links)
    assert all(a.index < b.index and first_of(a) <= first_of(b) for a, b in pairwise(links))
    assert Counter(one.index for one in [*links, *(one for one, _ in chain.others)]) == Counter(o.index for o in found)

    def epoch_of(one: Found) -> int | None:
        return one.head.epoch if isinstance(one.head, Head) else None

    ours = [one for one in found if isinstance(one.head, Head) and one.head.owner == OWNER]
    placed = [
        one for one in ours if isinstance(one.head, Head) and epoch_of(one) == OURS and one.head.index == one.index
    ]
    early = [one for one in ours if epoch_of(one) is None]
    new, old = [one for one in links if epoch_of(one) == OURS], [one for one in links if epoch_of(one) is None]
    assert len(new) == most_in_order(placed) and all(one in placed for one in new)
    if new:  # format 1 is older than all of format 2
        early = [one for one in early if one.index < new[0].index and first_of(one) <= first_of(new[0])]
    assert len(old) == most_in_order(early) and all(one in early for one in old)
    for one, kind in chain.others:
        if isinstance(one.head, Kind):
            assert kind is one.head
        else:
            assert kind is (Kind.MISPLACED if one in ours and epoch_of(one) in (OURS, None) else Kind.FOREIGN)


def test_the_life_of_a_journal_is_told_by_two_marks_that_agree_else_by_what_most_say() -> None:
    def of(*epochs: int | None) -> list[Found]:
        return [Found(at, 0, Head(OWNER, 0, 0, epoch, at, at)) for at, epoch in enumerate(epochs)]

    others = [Found(9, 0, Head(OWNER ^ 1, 0, 0, 5, 9, 9)), Found(10, 0, Kind.UNREADABLE)]
    assert life_of([], OWNER, [], 3) == 3, "a new one"
    assert life_of([*of(None), *others], OWNER, [], 3) == 3, "format 1 does not know it, others do not count"
    assert life_of(of(5, 5, 5), OWNER, [4, 4], 3) == 4, "two cannot be outvoted"
    assert life_of(of(5), OWNER, [4], 3) == 4, "a mark before a head"
    assert life_of(of(4), OWNER, [5], 3) == 5, "whichever is greater"
    assert life_of(of(5, 5), OWNER, [4], 3) == 5, "one mark and two heads"
    assert life_of(of(6), OWNER, [4, 6], 3) == 6
    assert life_of(of(6, 4), OWNER, [], 3) == life_of(of(4, 6), OWNER, [], 3) == 6, "however they are found"
    assert life_of(of(6, 6), OWNER, [4, 5], 3) == 6


# Records


def record(number: int, content: bytes) -> bytes:
    return pack_record_head(len(content), crc32(pack_numbered(len(content), number) + content)) + content


def test_records_are_stored_as_they_always_were() -> None:
    assert record(0x102, b"abc") == b"\0\0\0\3" + crc32(b"\0\0\0\3\0\0\0\0\0\0\1\2abc").to_bytes(4, "big") + b"abc"


contents = st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\0", b"\1")), min_size=1, max_size=24)


@settings(max_examples=400)
@given(
    contents,
    st.integers(0, 50),
    st.integers(0, 9),
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 99)), max_size=2),
    st.sampled_from([b"\xff", b"\xa5\x00\xff", b"\x00"]),
    st.integers(0, 60),
)
def test_every_record_with_less_than_nine_damaged_ones_ahead_of_it_is_read(
    stored: list[bytes], number: int, before: int, damage: list[tuple[float, int]], filling: bytes, cut: int
) -> None:
    """`before`: octets ahead of the first one. Damage is filled in at a place in proportion, so many octets long; and
    the last octets are cut off.
    """
    raw = bytes(before) + b"".join(record(number + at, one) for at, one in enumerate(stored))
    spoilt = bytearray(raw)
    for place, octets in damage:
        start = before + int(place * (len(raw) - before))
        end = min(len(raw), start + octets)
        spoilt[start:end] = (filling * octets)[: end - start]
    whole = bytes(spoilt[: max(before, len(spoilt) - cut)])
    at, missed, expected = before, 0, []
    for place, one in enumerate(stored):
        end = at + RECORD_OCTETS + len(one)
        if whole[at:end] == raw[at:end]:
            expected.append((number + place, end, one))
            missed = 0
        else:
            missed += 1
        if missed > 8:
            break
        at = end
    assert list(records(whole, before, number)) == expected


@pytest.mark.parametrize("octets", [65_000, 66_000, 70_000])
def test_behind_damage_a_record_of_any_length_is_found(octets: int) -> None:
    """Also one in a segment, and of a length, that two octets do not hold."""
    raw = bytearray(record(0, b"damaged") + record(1, b"\1" * octets) + record(2, b"last"))
    raw[RECORD_OCTETS] ^= 1
    assert [number for number, _, _ in records(bytes(raw), 0, 0)] == [1, 2]


@pytest.mark.parametrize("zeros", [0, 1, 2, 3, 4, 20])
@pytest.mark.parametrize("octets", [1, 2, 3, 9, 50])
def test_behind_damage_a_record_is_found_wherever_it_stands(octets: int, zeros: int) -> None:
    damage = b"\xff" * octets + b"\0" * zeros
    raw = record(0, b"sound") + damage + record(2, b"") + damage + record(4, b"last")
    assert [(number, one) for number, _, one in records(raw, 0, 0)] == [(0, b"sound"), (2, b""), (4, b"last")]


def test_behind_damage_a_length_counts_also_where_the_checksum_is_that_of_an_empty_record() -> None:
    looks_like = pack_record_head(5, crc32(pack_numbered(0, 2)))
    raw = record(0, b"sound") + b"\xff" * 20 + looks_like + record(2, b"real")
    assert [(number, one) for number, _, one in records(raw, 0, 0)] == [(0, b"sound"), (2, b"real")]


@given(st.integers(0, 90), st.integers(0, 200), st.integers(0, 60), st.integers(0, 200))
@example(HEAD_OCTETS, 50, 20, 0)
@example(HEAD_OCTETS + 1, 50, 20, 0)
@example(0, 20, 12, 28)
@example(60, 20, 12, 88)
@example(60, 20, 12, 87)
@example(60, 20, 28, 100)
def test_a_write_cut_short_is_less_of_a_record_than_it_says_and_no_more_than_fits(
    at: int, length: int, there: int, octets_max: int
) -> None:
    raw = b"\xff" * at + (pack_record_head(length, 0) + b"\1" * length + b"\xff" * 99)[:there]
    end = at + RECORD_OCTETS + length
    fits = end <= octets_max or at <= HEAD_OCTETS  # a longer one stands alone behind the head
    assert is_write_cut_short(raw, at, octets_max) == (there < RECORD_OCTETS or (there < end - at and fits))
