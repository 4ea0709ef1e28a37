"""The lives of a node: what each boot of it had counted when it ended, for the account of a run."""

# A node that loses its power takes its counters with it. So the account of a run is made of lives: each boot's counters
# are copied at the instant at which it ends (`Life.of`), before the node is closed, and the summary adds them up. What
# a life still held when it ended (products that were not stored yet, pending tiles) is lost with the power, or pending
# if it is the last life and the node was still up: who adds up must know which. Files on storage are not lost: the next
# life begins with them.

from __future__ import annotations

from dataclasses import dataclass

from flight.core.scheduler import Scheduler
from flight.core.task_stats import TaskStats
from flight.node import Node
from flight.services.files.outbox import Outbox
from flight.services.radio.radio import RadioLinks
from flight.services.radio.security import Security
from flight.services.recorder.recorder import Recorder
from flight.services.recorder.retrieval import OpenRetrieval
from sim_hw.payload_watch import PayloadAccount

ENDED = "(ended)"


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """One packet store at the end of a life: counts since its boot; `waiting`, `octets` and fill as they were then."""

    name: str
    recorded: int
    played_back: int
    overwritten: int
    refused: int
    waiting: int
    octets: int
    fill_frac: float

    @classmethod
    def of(cls, retrieval: OpenRetrieval) -> StoreFacts:
        """Copy what a store and its open retrieval have counted."""
        store = retrieval.store
        return cls(
            store.name, store.recorded, retrieval.played_back, retrieval.overwritten, store.refused, retrieval.waiting,
            store.octets, store.filled_frac(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Life:
    """What one boot of the node had counted when it ended. `boot_ns` is virtual time, `up_ns` how long it lasted.

    `commands_checked` and `commands_refused`, by reason, are telecommand frames that link security let pass or not.
    """

    payload: PayloadAccount
    scheduler: TaskStats
    boot_ns: int
    up_ns: int
    tasks: dict[str, TaskStats]
    events: dict[str, int]
    recorded: int
    played_back: int
    overwritten: int
    returned: int
    recorder_faults: int
    cltu_corrected: int
    commands_checked: int
    commands_refused: dict[str, int]
    stores: tuple[StoreFacts, ...]
    files_put: int
    files_begun: int
    files_sent: int
    files_waiting: int
    files_waiting_octets: int
    files_storing: int
    files_acknowledged: int
    files_resting: int
    files_evicted: int
    files_refused: int

    @classmethod
    def of(cls, node: Node, payload: PayloadAccount, now_ns: int) -> Life:
        """Copy what a node has counted that is about to end."""
        recorder, outbox, security = node.part(Recorder), node.part(Outbox), node.part(Security).link_security
        return cls(
            payload=payload,
            scheduler=node.scheduler.totals(),
            boot_ns=node.scheduler.started_ns,
            up_ns=now_ns - node.scheduler.started_ns,
            tasks=task_totals(node.scheduler),
            events=node.event_counts(),
            recorded=recorder.recorded,
            played_back=recorder.played_back,
            overwritten=recorder.overwritten,
            returned=recorder.returned_packets,
            recorder_faults=recorder.storage_faults,
            cltu_corrected=sum(radio.link.counters.cltu_corrected for radio in node.part(RadioLinks)),
            commands_checked=0 if security is None else security.counters.accepted,
            commands_refused={} if security is None else dict(security.counters.refused),
            stores=tuple(StoreFacts.of(retrieval) for retrieval in recorder.retrievals),
            files_put=outbox.intake.put_in,
            files_begun=outbox.begun,
            files_sent=outbox.sent,
            files_waiting=outbox.waiting,
            files_waiting_octets=outbox.backlog_octets,
            files_storing=len(outbox.intake),
            files_acknowledged=outbox.endings.acknowledged,
            files_resting=outbox.resting,
            files_evicted=outbox.evicted,
            files_refused=outbox.intake.refused,
        )


def task_totals(scheduler: Scheduler) -> dict[str, TaskStats]:
    """Add up what tasks counted, by name, in order of first appearance.

    Last, under `ENDED`, are all those that ended before: the scheduler keeps their sum alone.
    """
    totals: dict[str, TaskStats] = {}
    for task in scheduler.tasks:
        totals.setdefault(task.name, TaskStats()).add(task.stats)
    if scheduler.ended.steps:
        totals[ENDED] = scheduler.ended
    return totals
