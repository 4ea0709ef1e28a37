"""One packet store against a list of segments, each a list of packets: what it tells, finds, hides and gives up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flight.core.nanoseconds import NS, ns
from flight.core.step_budget import Budget
from flight.link.time.time_code import decode_cuc
from flight.services.recorder import segment_index
from flight.services.recorder.packet_store import PacketStore
from flight.services.recorder.stored_packet import Place, Stored
from flight.store.segments import HEAD_OCTETS
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from tests.recorder_bench import T0_NS, finish, packet, small

CAPACITY, SEGMENT, SEGMENTS = 65_536, 4096, 16
RECORD = 17  # what a packet takes beside its own octets, as docs/guides/mission.md says
LONGEST = SEGMENT - HEAD_OCTETS - RECORD
ROWS_LOOKED_AT = 3  # of the index at once, in place of more than there are segments here
INDICES = st.floats(0, 1)
NUMBERS = st.tuples(INDICES, st.sampled_from([None, None, -1, 0, 1]))  # anywhere, or about where a segment begins
BATCHES = st.tuples(  # how many packets, of how many octets, heard or not, so many seconds apart
    st.integers(1, 60), st.one_of(st.integers(25, 700), st.integers(LONGEST - 2, LONGEST + 2)), st.booleans(),
    st.one_of(st.just(0.1), st.floats(0, 3)),
)  # fmt: skip


@dataclass
class Segment:
    first: int
    octets: int = HEAD_OCTETS
    rows: list[Stored] = field(default_factory=list)
    known: bool = True  # its packets' times are: it was begun or read since boot

    @property
    def end(self) -> int:
        return self.first + len(self.rows)


def time_of(raw: bytes) -> int:
    return decode_cuc(raw[13:19])


class PacketStoreMachine(RuleBasedStateMachine):
    """`segments` are those that stand on the disk, `deleted` the number below which everything is hidden."""

    @initialize(
        circular=st.booleans(),
        back_s=st.sampled_from([0.0, 0.0, 0.3, 7.0]),
        batches=st.lists(BATCHES, min_size=3, max_size=12),
    )
    def begin(self, circular: bool, back_s: float, batches: list[tuple[int, int, bool, float]]) -> None:
        """With something in it: most rules do nothing to an empty store."""
        self.rows_looked_at, segment_index.INDEX_ROWS = segment_index.INDEX_ROWS, ROWS_LOOKED_AT
        self.loop, self.disk = VirtualLoop(), Disk(Random(1))
        self.circular, self.back_s = circular, back_s
        self.segments: list[Segment] = []
        self.end, self.deleted = Place(0, 0), 0
        self.recorded = self.refused = 0
        self.newest_ns, self.time_ns = 0, T0_NS
        self.open = False
        self.emptied_at = 0  # the number that came next as the last segment was given up
        self.boot()
        self.counts_are_right()
        for batch in batches:
            self.record(batch)

    def boot(self) -> None:
        self.storage = self.disk.boot(self.loop)
        Vault(self.storage)
        config = small(kind="circular" if self.circular else "bounded", always=True)
        self.store = PacketStore(self.storage, config, self.deleted)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            segment_index.INDEX_ROWS = self.rows_looked_at

    # The model

    @property
    def first(self) -> int:
        return max(self.deleted, self.segments[0].first if self.segments else self.end.number)

    @property
    def octets(self) -> int:
        return sum(one.octets for one in self.segments)

    def rows(self, number: int = 0) -> Iterator[Stored]:
        """From `number` on, those that are hidden left out."""
        for segment in self.segments:
            yield from (one for one in segment.rows if one.place.number >= max(number, self.first))

    def at(self, number: int) -> int:
        """Which segment holds `number`, or the next one."""
        return sum(one.end <= number for one in self.segments)

    def number(self, drawn: tuple[float, int | None]) -> int:
        """One that the store has, or had, or the next one."""
        share, off = drawn
        if off is None or not self.segments:
            return round(self.end.number * share)
        bounds = [*(one.first for one in self.segments), self.segments[-1].end]
        return min(max(0, bounds[round((len(bounds) - 1) * share)] + off), self.end.number)

    def take(self, raw: bytes, heard: bool) -> bool:
        octets = len(raw) + RECORD
        if len(raw) > LONGEST:
            return False
        if not self.open or self.segments[-1].octets + octets > SEGMENT:
            if len(self.segments) >= SEGMENTS:
                if not self.circular and self.segments[0].end > self.deleted:
                    return False
                del self.segments[0]
            self.segments.append(Segment(self.end.number))
            self.open = True
        segment = self.segments[-1]
        segment.octets += octets
        segment.rows.append(Stored(self.end, heard, time_of(raw), raw))
        self.newest_ns = time_of(raw)
        self.end = Place(self.end.number + 1, self.end.unheard + (not heard))
        return True

    # What is done

    @rule(batch=BATCHES)
    def record(self, batch: tuple[int, int, bool, float]) -> None:
        """Times rise, or go to and fro."""
        count, octets, heard, step_s = batch
        for at in range(count):
            self.time_ns += ns(step_s)
            back_ns = ns(at % 3 * self.back_s)
            raw = packet(self.end.number, octets=octets, time_s=(self.time_ns - back_ns - T0_NS) / NS)
            taken = self.take(raw, heard)
            assert self.store.store(raw, heard) == taken
            self.recorded += taken
            self.refused += not taken

    @rule()
    def reboot(self) -> None:
        self.storage.sync()
        self.loop.run_until(self.loop.now_ns() + NS)
        self.boot()
        self.recorded = self.refused = 0
        for segment in self.segments[:-1]:
            segment.known = False
        last = self.segments[-1].rows[-1] if self.segments else None
        self.newest_ns = last.time_ns if last else 0
        unheard = last.place.unheard + (not last.heard) if last else 0
        number = last.place.number + 1 if last else self.emptied_at
        self.end = Place(max(number, self.deleted), unheard)
        self.open = last is not None and self.end.number == number

    @rule(drawn=NUMBERS)
    def delete(self, drawn: tuple[float, int | None]) -> None:
        number = self.number(drawn)
        self.store.delete_before(number)
        self.deleted = max(self.deleted, number)

    @rule(operations=st.integers(0, 4))
    def discard(self, operations: int) -> None:
        budget = Budget(operations)
        self.store.discard(budget)
        for _ in range(operations):
            if self.segments and self.segments[0].end <= self.deleted:
                del self.segments[0]
                self.emptied_at = self.end.number
        more = bool(self.segments) and self.segments[0].end <= self.deleted
        assert budget.spent == more
        self.open = self.open and bool(self.segments)

    @rule(drawn=NUMBERS)
    def give_up(self, drawn: tuple[float, int | None]) -> None:
        number = self.number(drawn)
        gained = 0
        if len(self.segments) > 1 and self.segments[0].end <= number:
            gained = self.segments.pop(0).octets
        assert self.store.give_up(number) == gained

    @rule(share=INDICES, unheard=st.integers(0, 100))
    def reserve(self, share: float, unheard: int) -> None:
        """Ahead of what there is, or behind it, which changes nothing. Whoever reserves does so at each boot."""
        place = Place(round(self.end.number * share * 1.5), self.end.unheard + unheard - 50)
        self.store.reserve(place)
        if place.number > self.end.number:
            self.open = False
        self.end = Place(max(place.number, self.end.number), max(place.unheard, self.end.unheard))

    # What is asked

    @rule(drawn=NUMBERS)
    def read(self, drawn: tuple[float, int | None]) -> None:
        number = self.number(drawn)
        at = self.at(max(number, self.first))
        read = self.store.read_from(number, Budget())
        assert self.store.read_from(number, Budget(0)) == (([], self.end.number) if at == len(self.segments) else None)
        if at == len(self.segments):
            assert read == ([], self.end.number)
            return
        segment = self.segments[at]
        segment.known = True
        rows = [one for one in segment.rows if one.place.number >= max(number, self.first)]
        assert read == (rows, segment.end)
        oldest = self.store.journal.segments[0].index
        for known in (self.store.index.spans, self.store.index.first_ns, self.store.index.unheard):
            assert min(known, default=oldest) >= oldest, "what is gone is forgotten"

    @rule(operations=st.integers(0, 2))
    def look_at_the_oldest(self, operations: int) -> None:
        """Where they begin is known without reading, if their segment was begun or read since boot."""
        oldest, begin = next(self.rows(), None), self.segments[0] if self.segments else None
        known = begin is None or self.first == self.end.number or (begin.known and begin.first == self.first)
        if known:
            right = self.end if oldest is None else oldest.place
            assert self.store.first_place(Budget(0)) == right
        found = self.store.oldest(Budget(operations))
        assert found == oldest or (found is None and operations == 0)
        place = self.store.first_place(Budget(operations))
        right = self.end if oldest is None else oldest.place
        assert place == right or (place is None and operations == 0)
        if operations and self.segments:
            self.segments[min(self.at(self.first), len(self.segments) - 1)].known = True

    @rule(share=INDICES, off_ns=st.sampled_from([-NS, -1, 0, 1, NS]), operations=st.integers(0, 8))
    def find_a_time(self, share: float, off_ns: int, operations: int) -> None:
        rows = list(self.rows())
        if self.back_s or not rows:
            return
        time_ns = rows[round((len(rows) - 1) * share)].time_ns + off_ns
        right = next((one.place for one in rows if one.time_ns >= time_ns), self.end)
        assert finish(self.store.place_at(time_ns, Budget(operations))) == right

    @rule(drawn=NUMBERS, ends=st.tuples(INDICES, INDICES), off_ns=st.sampled_from([-1, 0, 1]), know=st.booleans())
    def pass_over_foreign_times(
        self, drawn: tuple[float, int | None], ends: tuple[float, float], off_ns: int, know: bool
    ) -> None:
        """To the first segment that may have packets of those times, if the index is asked often enough. Both ends are
        where the times of a segment begin or end, or just beside.
        """
        if know:
            for segment in self.segments:
                if not segment.known and segment.end > self.first:
                    self.store.read_from(segment.first, Budget())
                    segment.known = True
        bounds = ((one.time_ns for one in segment.rows) for segment in self.segments)
        times = sorted(time_ns for one in map(sorted, bounds) for time_ns in (one[0], one[-1])) or [T0_NS]
        from_ns, to_ns = (times[round((len(times) - 1) * end)] + off_ns for end in sorted(ends))
        number, begin = self.number(drawn), self.number(drawn)
        right = next(
            (max(number, one.first) for one in self.segments[self.at(number) :]
             if any(from_ns <= row.time_ns for row in one.rows) and any(row.time_ns <= to_ns for row in one.rows)),
            self.end.number,
        )  # fmt: skip
        for _ in range(SEGMENTS):
            number = self.store.after_foreign_times(number, from_ns, to_ns)
            passed = (one for one in self.rows(begin) if one.place.number < number)
            assert not any(from_ns <= one.time_ns <= to_ns for one in passed)
        if all(segment.known for segment in self.segments):
            assert number == right

    @rule(drawn=NUMBERS)
    def see_how_full_it_is(self, drawn: tuple[float, int | None]) -> None:
        """From a packet on: its segment counts in proportion."""
        number = max(self.number(drawn), self.first)
        octets = 0.0
        for segment in self.segments:
            there = sum(one.place.number >= number for one in segment.rows)
            octets += segment.octets * there / len(segment.rows)
        assert abs(self.store.filled_frac(self.number(drawn)) - octets / CAPACITY) < 1e-9

    @invariant()
    def counts_are_right(self) -> None:
        if not hasattr(self, "store"):
            return
        store = self.store
        assert (store.first, store.end, store.octets) == (self.first, self.end, self.octets)
        assert (store.recorded, store.refused, store.newest_ns) == (self.recorded, self.refused, self.newest_ns)
        assert (store.missing, store.damage) == (0, [])
        on_disk = [name for name in self.storage.names() if name.removeprefix("recorder.all.").isdecimal()]
        assert sum(self.storage.size(name) or 0 for name in on_disk) == self.octets <= CAPACITY


TestPacketStore = PacketStoreMachine.TestCase
TestPacketStore.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
