"""The recorder against a list of packets, with power cuts at any moment."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from flight.core.nanoseconds import NS
from flight.services.recorder.retrieval import Taken
from sim_hw.machine.disk import PowerCut
from tests.recorder_bench import T0_NS, RecorderBench, number_of, numbers, packet, place_at, small

BATCHES = st.tuples(st.integers(1, 150), st.integers(30, 600), st.booleans())  # how many, of how many octets, heard


class RecorderMachine(RuleBasedStateMachine):
    """One store that is never full, so that a packet is lost by a power cut alone.

    Packets are numbered by the second of their time. `present` are those in the store, `queue` those that open
    retrieval has still to give, `link` those it gave and that have not left. A power cut may take what is not in `safe`
    and give back what is not in `settled`. What a command changes is durable when it is done; that it takes along what
    was recorded before is likely, and not promised: one that changes nothing writes nothing.
    """

    @initialize(seed=st.integers(0, 2**32), batches=st.lists(BATCHES, min_size=1, max_size=4))
    def boot(self, seed: int, batches: list[tuple[int, int, bool]]) -> None:
        """With something in it: most rules do nothing to an empty store."""
        self.bench = RecorderBench(small(capacity_octets=8_000_000, always=True), seed=seed)
        self.made: dict[int, bytes] = {}
        self.heard: set[int] = set()
        self.present: list[int] = []
        self.queue: list[int] = []
        self.link: list[Taken] = []
        self.left: set[int] = set()
        self.safe: set[int] = set()
        self.settled: set[int] = set()
        self.begin = 0  # neither deleted nor passed over by order
        self.suspended = False
        for batch in batches:
            self.record(batch)

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.bench.close()

    @rule(batch=BATCHES)
    def record(self, batch: tuple[int, int, bool]) -> None:
        count, octets, heard = batch
        for _ in range(count):
            number = len(self.made)
            self.made[number] = packet(number, octets=octets)
            self.bench.recorder.store(self.made[number], heard)
            self.present.append(number)
            if heard:
                self.heard.add(number)
            else:
                self.queue.append(number)

    @rule()
    def sync(self) -> None:
        self.bench.run(6)
        self.settled = set(self.left)
        self.safe = set(self.present)

    @rule(count=st.integers(1, 400))
    def play(self, count: int) -> None:
        taken = self.bench.take(count)
        expected = [] if self.suspended else self.queue[:count]
        assert numbers(taken) == expected
        assert all(one.packet == self.made[number_of(one.packet)] for one in taken)
        del self.queue[: len(taken)]
        self.link += taken

    @rule(share=st.floats(0, 1))
    def leave(self, share: float) -> None:
        cut = round(len(self.link) * share)
        for one in self.link[:cut]:
            self.bench.recorder.departed(one)
        self.left |= {number_of(one.packet) for one in self.link[:cut]}
        del self.link[:cut]

    @rule(share=st.floats(0, 1), part=st.floats(0, 1))
    def give_back(self, share: float, part: float) -> None:
        """All at the end of one contact, and a part of them at the end of the next."""
        given = self.link[: round(len(self.link) * share)]
        self.bench.recorder.returned(given)
        self.bench.recorder.returned(self.bench.take(round(len(given) * part)))
        assert self.bench.take(len(given)) == given

    @rule(share=st.floats(0, 1))
    def delete(self, share: float) -> None:
        number = round(len(self.made) * share)
        place = place_at(self.bench.recorder.stores[0], T0_NS + number * NS)
        self.bench.apply(self.bench.recorder.delete_before(0, place))
        self.present = [one for one in self.present if one >= number]
        self.queue = [one for one in self.queue if one >= number]
        self.begin = max(self.begin, number)
        self.safe &= set(self.present)

    @rule(share=st.floats(0, 1))
    def start_at(self, share: float) -> None:
        number = round(len(self.made) * share)
        place = place_at(self.bench.recorder.stores[0], T0_NS + number * NS)
        self.bench.apply(self.bench.recorder.retrievals[0].start_at(place))
        self.queue = [one for one in self.present if one >= number and one not in self.heard]
        self.begin = max(number, self.present[0] if self.present else number)
        self.link, self.left, self.settled = [], set(), set()

    @rule(suspended=st.booleans())
    def suspend(self, suspended: bool) -> None:
        self.bench.apply(self.bench.recorder.retrievals[0].suspend(suspended))
        self.suspended = suspended

    @rule()
    def cut_power(self) -> None:
        self.come_back()

    @rule(operations=st.integers(1, 12))
    def cut_power_while_busy(self, operations: int) -> None:
        """Inside one of the next storage operations."""
        self.bench.disk.cut_at_operation = self.bench.disk.operations + operations
        with contextlib.suppress(PowerCut):
            self.record((3, 100, False))
            self.bench.loop.run_until(self.bench.loop.now_ns() + 6 * NS)
        self.bench.disk.cut_at_operation = None
        self.come_back()

    def come_back(self) -> None:
        """What is there after the cut, and again after another boot, must be right."""
        first = self.look()
        second = self.look()
        assert first == second
        self.present, self.queue, suspended = first
        assert suspended == self.suspended
        assert self.present == sorted(self.present), "in order, each once"
        assert set(self.present) >= self.safe, "nothing synced is lost"
        waiting = set(self.queue)
        assert self.queue == sorted(self.queue)
        assert waiting <= set(self.present) - self.heard
        assert not waiting & self.settled, "what has left and was settled does not come again"
        unread = {one for one in self.safe - self.heard - self.left if one >= self.begin}
        assert waiting >= unread, "the pointer passes over nothing that was synced and has not left"
        self.settled |= self.left - waiting  # the pointer that was found has passed them for good
        self.link, self.left, self.safe = [], set(self.settled), set(self.present)
        self.bench.reboot()

    def look(self) -> tuple[list[int], list[int], bool]:
        """Boot, and see everything that is stored, and everything that would be played back."""
        recorder = self.bench.reboot()
        suspended, recorder.retrievals[0].suspended = recorder.retrievals[0].suspended, True
        recorder.start_range(0, T0_NS, T0_NS + 10**15)
        stored = self.bench.take()
        for one in stored:
            assert one.packet == self.made[number_of(one.packet)], "nothing is half-written"
        recorder.retrievals[0].suspended = False
        return numbers(stored), numbers(self.bench.take()), suspended


TestRecorder = RecorderMachine.TestCase
TestRecorder.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400), st.booleans()), max_size=12),
    st.sampled_from(["circular", "bounded"]),
)
def test_what_was_made_is_played_back_overwritten_refused_or_waiting(
    steps: list[tuple[int, int, bool]], kind: str
) -> None:
    bench = RecorderBench(small(kind=kind, always=True))
    made, got = 0, 0
    for record, play, heard in steps:
        refused = bench.recorder.refused
        bench.fill(0, record)
        made += record - (bench.recorder.refused - refused)
        for number in range(record if heard else 0):
            bench.recorder.store(packet(number), heard=True)
        got += len(bench.play(play))
        assert made == got + bench.recorder.overwritten + bench.recorder.waiting
    assert bench.recorder.stores[0].octets <= 65_536
    bench.close()
