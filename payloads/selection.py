"""Which job a free worker takes next: the best one in the queue that admission lets start (payloads/admission.py)."""

# A look goes through the whole queue and not just to the first job that may start: jobs behind it may be too late, and
# are dropped, or delayed, and their reason is recorded for reports. At most DROPPED_IN_A_STEP jobs are dropped per
# look, since each costs an event and a row of the vault; the next look goes on (ADR 0022).
#
# The node's state is looked at first. Gates that shut or open are reported, once per change. If the payload was
# switched off and on, workers that were given up get another chance: a power cycle is what the operator can do about a
# board that misbehaves. `payload_cycles` counts such cycles, so that one between two looks is seen as well. Until then,
# jobs of an app without workers stay in the queue, or are dropped at their deadline; jobs of other apps go past them.

from __future__ import annotations

from flight.contract.app import AppContext, NodeState
from payloads.admission import Admit, Delay, Gates, Refuse, admit, update_gates
from payloads.config import PayloadConfig
from payloads.declarations import which_app
from payloads.job_book import DROPPED_IN_A_STEP, JobBook
from payloads.jobs import Job, Reason
from payloads.pools import AppPools


class Selection:
    """Chooses jobs, and keeps what a choice depends on: the gates, and whether the payload was on."""

    def __init__(self, context: AppContext, config: PayloadConfig, jobs: JobBook, pools: AppPools) -> None:
        self._context = context
        self._config = config
        self._jobs = jobs
        self._pools = pools
        self._gates = Gates.open(config)
        self._payload_on = True
        self._payload_cycles = 0
        self._given_up: set[str] = set()  # apps without workers, by name

    def choose(self) -> tuple[Job, NodeState] | None:
        """Take the best job that may start now out of the queue.

        Returns it with the state in which it was chosen, or None if no job may start.
        """
        state = self._context.state()
        if state is None:  # before the first sample nobody knows whether there is power
            return None
        self._update_gates(state)
        self._follow_switch(state)
        jobs, config = self._jobs, self._config
        jobs.drop_overdue()
        now_ns = self._context.platform.now_ns()
        # Running jobs have no product yet, but will need their room.
        reserved = sum(config.app(job.app).reserve_octets for job in jobs.running if job is not None)
        room_octets = self._context.outbox.room_octets - reserved
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
            elif chosen is None and not self._pools[job.app].given_up:
                chosen = job
            assert isinstance(verdict, Admit | Delay | Refuse)
        if chosen is None:
            return None
        jobs.queue.remove(chosen)
        chosen.reason = Reason.NONE
        return chosen, state

    def _update_gates(self, state: NodeState) -> None:
        """Shut and open gates by the new state, and report each change."""
        old, self._gates = self._gates, update_gates(self._gates, self._config, state)
        # A rule holds for priority numbers above that of the rule before it; 0 stands for all numbers.
        changes = [(Reason.HEAT, 0, old.heat, self._gates.heat)]
        first = 0
        for rule, was_shut, shut in zip(self._config.energy, old.energy, self._gates.energy, strict=True):
            changes.append((Reason.ENERGY, first, was_shut, shut))
            first = rule.priority + 1
        for reason, first, was_shut, shut in changes:
            if was_shut != shut:
                name = "gate_shut" if shut else "gate_open"
                self._context.events.emit(name, reason, first, state.soc_frac, state.board_c)
                self._jobs.note(f"{name} {reason.label} {first}")

    def _follow_switch(self, state: NodeState) -> None:
        """Give lost workers another chance if the payload was switched on again; report apps that have none."""
        if (state.payload_on and not self._payload_on) or state.payload_cycles != self._payload_cycles:
            self._payload_cycles = state.payload_cycles
            self._pools.reset()
            self._given_up.clear()
        self._payload_on = state.payload_on
        for number, app in enumerate(self._config.app_names):
            if app not in self._given_up and self._pools[app].given_up:
                self._given_up.add(app)
                restarts = self._pools[app].stats.restarts
                self._context.events.emit("workers_given_up", restarts, *which_app(self._config, number))
