"""How jobs reach a node: the Swarm Protocol, and the local default that keeps them here.

A job is a request, not data: what to compute, how urgent, until when. An app registers as executor; whoever has work
(imager task, telecommand, another node) submits it.
"""

# Why submitters do not call the executor: a swarm adapter may hand the job to another node, and neither side notices.
# Both answer at once. The executor says yes or no when the job is submitted, by what it has in its queue, so that a
# full queue refuses with a reason and never keeps the submitter waiting.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from flight.core.errors import SetupError
from hal.base import Image


@dataclass(frozen=True, slots=True)
class JobRequest:
    """`kind` names the computation, `priority` 0 is the most urgent, `deadline_ns` is on the node's timeline.

    `image` is None if the executor is to take the picture itself.
    """

    kind: str
    priority: int
    deadline_ns: int
    image: Image | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to a submission: the job's number, or None and the reason why it was refused."""

    job: int | None
    reason: str = ""


Executor = Callable[[JobRequest], Admission]


class Swarm(Protocol):
    """Where jobs go in. `submit` answers at once."""

    def submit(self, request: JobRequest) -> Admission:
        """Hand in a job, and return whether somebody takes it."""

    def serve(self, kind: str, executor: Executor) -> None:
        """Execute jobs of `kind` on this node with `executor`. Raises SetupError if it has one already."""


class LocalSwarm:
    """A swarm of one node: every job is executed here, by the executor registered for its kind."""

    def __init__(self) -> None:
        self._executors: dict[str, Executor] = {}

    def serve(self, kind: str, executor: Executor) -> None:
        """Register `executor` for jobs of `kind`. Raises SetupError if the kind has one already."""
        if kind in self._executors:
            raise SetupError(f"jobs of kind {kind!r} have an executor already, there can be only one")
        self._executors[kind] = executor

    def submit(self, request: JobRequest) -> Admission:
        """Ask the executor of the job's kind; refuse the job if there is none."""
        executor = self._executors.get(request.kind)
        if executor is None:
            return Admission(None, f"no executor for {request.kind!r}")
        return executor(request)
