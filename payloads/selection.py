"""Which job a free worker takes next: the best one of the queue that admission lets start (payloads/admission.py).

A look at the node's state comes first: gates that shut or open are told, and a payload that was switched on again gets
its workers back.
"""

from __future__ import annotations

from flight.contract.app import AppContext, NodeState
from payloads.admission import Admit, Delay, Gates, Refuse, admit, update_gates
from payloads.config import PayloadConfig
from payloads.job_book import DROPPED_IN_A_STEP, JobBook
from payloads.jobs import Job, Reason
from payloads.worker.pool import WorkerPool


class Selection:
    """Chooses jobs, and remembers what a choice depends on: gates, and whether the payload was on."""

    def __init__(self, context: AppContext, config: PayloadConfig, jobs: JobBook, pool: WorkerPool) -> None:
        self._context = context
        self._config = config
        self._jobs = jobs
        self._pool = pool
        self._gates = Gates.open(config)
        self._payload_on = True
        self._payload_cycles = 0
        self._given_up = False

    def choose(self) -> tuple[Job, NodeState] | None:
        """Take the best job that may start now out of the queue, with the state that it was chosen in."""
        state = self._context.state()
        if state is None:
            return None
        self._update_gates(state)
        self._follow_switch(state)
        jobs, config = self._jobs, self._config
        jobs.drop_overdue()
        now_ns = self._context.platform.now_ns()
        room_octets = self._context.outbox.room_octets - jobs.busy * config.reserve_octets
        chosen: Job | None = None
        dropped = 0
        for job in jobs.queue:
            verdict = admit(job, now_ns, self._gates, config, state, room_octets)
            if isinstance(verdict, Refuse):
                jobs.remove(job, verdict.reason)
                dropped += 1
                if dropped == DROPPED_IN_A_STEP:
                    break  # the rest at the next look
            elif isinstance(verdict, Delay):
                jobs.delay(job, verdict.reason)
            elif chosen is None:
                chosen = job
            assert isinstance(verdict, Admit | Delay | Refuse)
        if chosen is None or self._pool.given_up:
            return None
        jobs.queue.remove(chosen)
        chosen.reason = Reason.NONE
        return chosen, state

    def _update_gates(self, state: NodeState) -> None:
        """Shut and open gates by the new state, and tell of each."""
        old, self._gates = self._gates, update_gates(self._gates, self._config, state)
        changes = [(Reason.HEAT, -1, old.heat, self._gates.heat)]
        above = -1
        for rule, was, shut in zip(self._config.energy, old.energy, self._gates.energy, strict=True):
            changes.append((Reason.ENERGY, above, was, shut))
            above = rule.priority
        for reason, over, was, shut in changes:
            if was != shut:
                name = "gate_shut" if shut else "gate_open"
                self._context.events.emit(name, reason, over, state.soc_frac, state.board_c)
                self._jobs.note(f"{name} {reason.label} {over}")

    def _follow_switch(self, state: NodeState) -> None:
        """Give workers that were given up another chance if the payload was switched on again; tell if they are."""
        if (state.payload_on and not self._payload_on) or state.payload_cycles != self._payload_cycles:
            self._payload_cycles = state.payload_cycles
            self._pool.reset()
            self._given_up = False
        self._payload_on = state.payload_on
        if self._pool.given_up and not self._given_up:
            self._given_up = True
            self._context.events.emit("workers_given_up", self._pool.stats.restarts)
