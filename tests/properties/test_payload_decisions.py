"""Admission, queue, ledger and wire: pure parts of the payload manager, for any input."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.contract.app import NodeState, PowerMode
from flight.core.config import Fault, read_table
from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.store.vault import Vault
from flight.store.vault_view import VaultView
from payloads.accounting import Counters, quantile, summarise
from payloads.admission import Admit, Delay, Gates, Refuse, Verdict, admit, update_gates
from payloads.config import EnergyRule, PayloadConfig, TrafficClass, WorkerAppConfig
from payloads.jobs import Job, JobQueue, Reason
from payloads.ledger import Ledger, Request
from payloads.worker.wire import Answer, SlotShape, Status
from payloads.worker.wire import Request as WireRequest
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop

CONFIG = PayloadConfig(
    energy=(EnergyRule(0, 0.5, 0.6), EnergyRule(2, 0.7, 0.8)),
    heat_stop_c=50.0,
    heat_resume_c=45.0,
    worker_app=(WorkerAppConfig("screen", "payloads.apps.screen:Screen", reserve_octets=100),),
)
FULL = PowerMode("full", 10.0, 2.0, admits=True)
GOOD = NodeState(0.9, 20.0, 0.0, FULL, payload_on=True, in_contact=False)


def verdict(state: NodeState = GOOD, priority: int = 1, deadline_s: int = 100, room_octets: int = 100) -> Verdict:
    gates = update_gates(Gates.open(CONFIG), CONFIG, state)
    return admit(Job(1, priority, deadline_s * NS, "screen"), 0, gates, CONFIG, state, room_octets)


@pytest.mark.parametrize(
    ("got", "wanted"),
    [
        (verdict(), Admit()),
        (verdict(deadline_s=2), Admit()),
        (verdict(deadline_s=1), Refuse(Reason.DEADLINE)),
        (verdict(replace(GOOD, payload_on=False)), Delay(Reason.POWER_OFF)),
        (verdict(replace(GOOD, mode=replace(FULL, admits=False))), Delay(Reason.MODE)),
        (verdict(replace(GOOD, board_c=50.1)), Delay(Reason.HEAT)),
        (verdict(replace(GOOD, soc_frac=0.69)), Delay(Reason.ENERGY)),
        (verdict(replace(GOOD, soc_frac=0.69), priority=0), Admit()),
        (verdict(replace(GOOD, soc_frac=0.49), priority=0), Delay(Reason.ENERGY)),
        (verdict(replace(GOOD, soc_frac=0.01), priority=3), Admit()),  # beyond every rule
        (verdict(room_octets=99), Delay(Reason.DOWNLINK)),
    ],
)
def test_verdicts(got: Verdict, wanted: Verdict) -> None:
    assert got == wanted


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-50, 100)), min_size=1, max_size=30))
def test_gates_have_hysteresis(samples: list[tuple[float, float]]) -> None:
    gates = Gates.open(CONFIG)
    for soc_frac, board_c in samples:
        old, gates = gates, update_gates(gates, CONFIG, replace(GOOD, soc_frac=soc_frac, board_c=board_c))
        for rule, was, shut in zip(CONFIG.energy, old.energy, gates.energy, strict=True):
            if rule.stop_soc_frac <= soc_frac < rule.resume_soc_frac:
                assert shut == was
            else:
                assert shut == (soc_frac < rule.stop_soc_frac)
        if CONFIG.heat_resume_c < board_c <= CONFIG.heat_stop_c:
            assert gates.heat == old.heat
        else:
            assert gates.heat == (board_c > CONFIG.heat_stop_c)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=40), st.integers(1, 8), st.integers(0, 3))
def test_queue_keeps_the_best(jobs: list[tuple[int, int]], capacity: int, taken: int) -> None:
    queue = JobQueue(capacity)
    given_up = []
    for number, (priority, deadline_ns) in enumerate(jobs):
        evicted = queue.put(Job(number, priority, deadline_ns, "screen"), taken)
        if evicted is not None:
            given_up.append(evicted)
    kept = list(queue)
    assert len(kept) == min(len(jobs), max(0, capacity - taken))
    assert len(kept) + len(given_up) == len(jobs)
    assert [job.rank for job in kept] == sorted(job.rank for job in kept)
    if kept and given_up:
        assert max(job.rank for job in kept) < min(job.rank for job in given_up)


requests = st.builds(Request, st.integers(0, 2**31), st.integers(0, 255), st.integers(0, 2**64 - 1))


@given(st.lists(requests, max_size=10, unique_by=lambda r: r.job), st.integers(1, 3000))
def test_requests_and_numbers_outlive_a_boot(found: list[Request], numbers: int) -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = Vault(disk.boot(loop))
    rows = VaultView(vault, "payload")
    ledger = Ledger(rows)
    given = [ledger.next_number() for _ in range(numbers)]
    rows.commit(Ledger.keep(found))
    loop.run_until(NS)
    again = Ledger(VaultView(Vault(disk.boot(loop)), "payload"))
    assert sorted(again.load(), key=lambda r: r.job) == sorted(found, key=lambda r: r.job)
    assert given == list(range(1, numbers + 1))
    assert again.next_number() > max([given[-1], *(r.job for r in found)])


def test_no_number_is_given_again_after_those_who_set_it_aside_are_gone() -> None:
    """The newest segment of the vault's journal is lost, and with it what it said of job numbers."""
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = Vault(disk.boot(loop))
    rows = VaultView(vault, "payload")
    ledger = Ledger(rows)
    given = [ledger.next_number() for _ in range(3)]
    for _ in range(80):
        vault.commit({"fill": bytes(1000)})
    given += [ledger.next_number() for _ in range(5000)]
    vault.commit({})
    loop.run_until(NS)
    disk.cut()
    segments = sorted(name for name in disk.durable if name.startswith("vault.journal.0"))
    assert len(segments) == 2
    del disk.durable[segments[-1]]
    assert Ledger(VaultView(Vault(disk.boot(loop)), "payload")).next_number() > max(given)


def test_numbers_go_on_far_above_where_the_row_of_numbers_cannot_be_read() -> None:
    vault = Vault(Disk(Random(1)).boot(VirtualLoop()))
    vault.stage({"payload.next": b"?"})
    ledger = Ledger(VaultView(vault, "payload"))
    assert ledger.damaged == 1
    assert ledger.next_number() > 1_000_000


@given(st.binary(max_size=300) | st.binary(max_size=260).map(lambda tail: b"OBAN" + tail))
def test_answer_takes_any_octets(raw: bytes) -> None:
    try:
        answer = Answer.decode(raw)
    except DecodeError:
        return
    assert answer.status in Status


@given(st.sampled_from(Status), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.text(max_size=40))
def test_answer_round_trip(status: Status, number: int, time_ns: int, detail: str) -> None:
    answer = Answer(status, number, number, time_ns, time_ns, number, number, detail.encode(errors="replace").decode())
    assert Answer.decode(answer.encode()) == answer


@given(st.binary(max_size=60))
def test_worker_takes_any_request(raw: bytes) -> None:
    try:
        assert len(WireRequest.decode(raw).encode()) == len(raw)
    except DecodeError:
        pass
    good = WireRequest(1, 2, 3, 4, 5, 6, 7, 0.5)
    assert WireRequest.decode(good.encode()) == good


@given(st.integers(1, 16), st.integers(1, 300), st.integers(1, 300), st.integers(1, 1 << 24))
def test_slot_parts_do_not_overlap(bands: int, height: int, width: int, answer_octets: int) -> None:
    shape = SlotShape(bands, height, width, answer_octets)
    assert shape.input_octets <= shape.answer_at
    assert shape.answer_at + shape.answer_octets <= shape.product_at
    assert shape.product_at + shape.product_octets <= shape.octets


def test_defaults_are_without_fault() -> None:
    faults: list[Fault] = []
    assert read_table(PayloadConfig, {}, ("payload",), faults) == PayloadConfig()
    assert faults == []


def test_contradictions_are_all_found() -> None:
    config = PayloadConfig(
        traffic=(TrafficClass("a", 1, 1.0), TrafficClass("a", 2, 1.0)), pattern=("a", "b"), heat_resume_c=60.0,
        energy=(EnergyRule(2, 0.5, 0.4), EnergyRule(1, 0.5, 0.6)),
    )  # fmt: skip
    assert [name for name, _ in config.faults()] == ["traffic", "pattern", "heat_resume_c", "energy", "energy"]
    assert [name for name, _ in PayloadConfig(pattern=()).faults()] == ["pattern"]


def test_summary_of_nothing() -> None:
    nothing = summarise(Counters(), pending=0, waiting=0, energy_running_j=0.0, worker_restarts=0, hang_limit_fired=0)
    assert (nothing.tile_energy_j, nothing.infer_median_ms, nothing.dropped_total) == (0.0, 0.0, 0)
    assert set(nothing.dropped) == {"deadline", "queue", "failed", "cancelled", "shape", "downlink"}


def test_quantile() -> None:
    from collections import deque

    assert quantile(deque([3.0, 1.0, 2.0]), 0.5) == 2.0
    assert quantile(deque(float(i) for i in range(1, 101)), 0.99) == 99.0
