"""Lanes of telecommands that wait for execution: each with a queue and a rate of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from flight.contract.app import Handler
from flight.contract.dictionary import Command
from flight.contract.fields import Layout, Value
from flight.core.future import Future, Queue
from flight.core.nanoseconds import NS
from flight.link.pus import PusTc


@dataclass(frozen=True, slots=True)
class Served:
    """A command of the dictionary and who serves it."""

    command: Command
    layout: Layout
    check: Callable[..., None] | None
    execute: Handler


@dataclass(slots=True)
class Accepted:
    """A telecommand on its way. `row` is its key in the command log once it has one, `opened`: it is stored there as
    open, `sliced`: its handler did as much as a step may. `closed` is done when nothing more is to be said."""

    request: PusTc
    served: Served
    arguments: tuple[Value, ...]
    row: str = ""
    opened: bool = False
    sliced: bool = False
    closed: Future[None] = field(default_factory=Future)


class Bucket:
    """A token bucket: `rate_hz` in the long run, `burst` at once."""

    def __init__(self, rate_hz: float, burst: int, now_ns: Callable[[], int]) -> None:
        self._token_ns = round(NS / rate_hz)
        self._depth_ns = burst * self._token_ns
        self._now_ns = now_ns
        self._empty_ns = now_ns() - self._depth_ns  # when the bucket would have been empty

    def take(self) -> bool:
        now_ns = self._now_ns()
        empty_ns = max(self._empty_ns, now_ns - self._depth_ns) + self._token_ns
        if empty_ns > now_ns:
            return False
        self._empty_ns = empty_ns
        return True


class Lane:
    """Commands executed one after the other."""

    def __init__(self, capacity: int, rate_hz: float, now_ns: Callable[[], int]) -> None:
        self.queue: Queue[Accepted] = Queue(capacity)
        self.bucket = Bucket(rate_hz, capacity, now_ns)
