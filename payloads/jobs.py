"""Jobs: what a job is, why it waits or is dropped, and a bounded queue in order of priority and deadline."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from hal.base import Image


class Reason(IntEnum):
    """Why a job is delayed (first row) or dropped (second row). The numbers are telemetry: they never change."""

    NONE = 0
    ENERGY, HEAT, DOWNLINK, MODE, POWER_OFF = range(1, 6)
    DEADLINE, QUEUE, FAILED, CANCELLED, SHAPE = range(6, 11)

    @property
    def label(self) -> str:
        """The reason as telemetry and reports write it."""
        return self.name.lower()


REASON_LABELS = tuple(reason.label for reason in Reason)
DELAYS = (Reason.ENERGY, Reason.HEAT, Reason.DOWNLINK, Reason.MODE, Reason.POWER_OFF)
# DOWNLINK is in both: a job waits for room in the outbox, and a product that finds none, although room was reserved for
# it, is dropped.
DROPS = (Reason.DEADLINE, Reason.QUEUE, Reason.FAILED, Reason.CANCELLED, Reason.SHAPE, Reason.DOWNLINK)


class State(IntEnum):
    """WAITING: asked for by command, without its picture yet. QUEUED: holds a tile. DONE, DROPPED: ended."""

    WAITING = 0
    QUEUED = 1
    RUNNING = 2
    DONE = 3
    DROPPED = 4


STATE_LABELS = tuple(state.name.lower() for state in State)


@dataclass(slots=True)
class Job:
    """One tile to be worked on.

    priority: 0 is the most urgent. deadline_ns: on the node's timeline. app: the worker app, by which name the swarm
    knows the kind of job. durable: asked for by command, so that the request survives a loss of power until the job has
    ended. image: None before its picture is taken, and without pixels after its end. delays: reasons counted so far.
    """

    number: int
    priority: int
    deadline_ns: int
    app: str
    durable: bool = False
    image: Image | None = None
    captured_tai_ns: int = 0
    state: State = State.WAITING
    reason: Reason = Reason.NONE
    attempts: int = 0
    energy_j: float = 0.0
    octets_product: int = 0
    delays: set[Reason] = field(default_factory=set)

    @property
    def rank(self) -> tuple[int, int, int]:
        """The order of jobs, smallest first: priority, then deadline, then age. No two jobs are equal."""
        return self.priority, self.deadline_ns, self.number


class JobQueue:
    """Jobs in order of rank, at most `capacity` of them."""

    def __init__(self, capacity: int) -> None:
        assert capacity > 0, capacity
        self.capacity = capacity
        self._jobs: list[Job] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        """Iterate in order of rank, over a copy, so that jobs may be removed at the same time."""
        return iter(tuple(self._jobs))

    def put(self, job: Job, taken: int = 0) -> Job | None:
        """Add `job`. Returns the job that is evicted for it, perhaps `job` itself, or None if there was room.

        taken: places held by jobs that are out of the queue and will come back or end.
        """
        insort(self._jobs, job, key=lambda queued: queued.rank)
        return self._jobs.pop() if len(self._jobs) > max(0, self.capacity - taken) else None

    def remove(self, job: Job) -> None:
        """Take `job` out of the queue, which it must be in."""
        self._jobs.remove(job)
