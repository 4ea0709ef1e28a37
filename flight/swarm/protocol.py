"""How jobs reach a node: the Swarm Protocol, and the local default that keeps them here.

A job is a request, not data: what to compute, how urgent, until when. An app registers as executor; whoever
has work (imager task, telecommand, another node) submits. A swarm adapter may hand a job to another node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from flight.core.errors import SetupError
from hal.base import Image


@dataclass(frozen=True, slots=True)
class JobRequest:
    """`kind` names the computation, `priority` 0 is the most urgent, `deadline_ns` is on the node's timeline.

    `image` is None where the executor is to take the picture itself.
    """

    kind: str
    priority: int
    deadline_ns: int
    image: Image | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to a submission: the job's number, or None and the reason it was refused."""

    job: int | None
    reason: str = ""


Executor = Callable[[JobRequest], Admission]


class Swarm(Protocol):
    """Where jobs go in. `submit` answers at once."""

    def submit(self, request: JobRequest) -> Admission: ...

    def serve(self, kind: str, executor: Executor) -> None:
        """Execute jobs of `kind` on this node; raises SetupError if somebody does so already."""


class LocalSwarm:
    """A swarm of one: every job is executed here, by the executor registered for its kind."""

    def __init__(self) -> None:
        self._executors: dict[str, Executor] = {}

    def serve(self, kind: str, executor: Executor) -> None:
        if kind in self._executors:
            raise SetupError(f"jobs of kind {kind!r} have an executor already, there can be one alone")
        self._executors[kind] = executor

    def submit(self, request: JobRequest) -> Admission:
        executor = self._executors.get(request.kind)
        if executor is None:
            return Admission(None, f"no executor for {request.kind!r}")
        return executor(request)
