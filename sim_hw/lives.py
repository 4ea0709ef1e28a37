"""The lives of a node: what each boot of it had counted when it ended, for the account of a run."""

from __future__ import annotations

from dataclasses import dataclass

from flight.core.scheduler import Scheduler
from flight.core.task_stats import TaskStats
from flight.node import Node
from flight.services.files.outbox import Outbox
from flight.services.radio.radio import RadioLinks
from flight.services.recorder.recorder import Recorder
from flight.services.recorder.retrieval import OpenRetrieval
from sim_hw.payload_watch import PayloadAccount

ENDED = "(ended)"


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """One packet store when a life of the node ended: counts since its boot; waiting, octets and fill as of then."""

    name: str
    recorded: int
    played_back: int
    overwritten: int
    refused: int
    waiting: int
    octets: int
    fill_frac: float

    @classmethod
    def of(cls, one: OpenRetrieval) -> StoreFacts:
        store = one.store
        return cls(
            store.name, store.recorded, one.played_back, one.overwritten, store.refused, one.waiting, store.octets,
            store.filled_frac(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Life:
    """What one boot of the node had counted when it ended."""

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
    stores: tuple[StoreFacts, ...]
    files_begun: int
    files_sent: int
    files_waiting: int
    files_waiting_octets: int

    @classmethod
    def of(cls, node: Node, payload: PayloadAccount, now_ns: int) -> Life:
        """Of a node that is about to end."""
        recorder, outbox = node.part(Recorder), node.part(Outbox)
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
            cltu_corrected=sum(one.link.counters.cltu_corrected for one in node.part(RadioLinks)),
            stores=tuple(StoreFacts.of(one) for one in recorder.retrievals),
            files_begun=outbox.begun,
            files_sent=outbox.sent,
            files_waiting=outbox.waiting,
            files_waiting_octets=outbox.backlog_octets,
        )


def task_totals(scheduler: Scheduler) -> dict[str, TaskStats]:
    """What tasks counted, those of one name together, in order of first appearance; last, under `ENDED`, all those
    that ended before.
    """
    totals: dict[str, TaskStats] = {}
    for task in scheduler.tasks:
        totals.setdefault(task.name, TaskStats()).add(task.stats)
    if scheduler.ended.steps:
        totals[ENDED] = scheduler.ended
    return totals
