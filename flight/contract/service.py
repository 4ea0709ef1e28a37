"""What the node asks of a service: what it answers, shows and does, each as data.

A service is an object of its own file in a room of flight/services, and one row of flight/roster.py, which says what it
declares, which sections of mission.toml are its own, and how it is built. The node goes through the rows: nobody else
names a service to have it declared, served, sampled or run.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from flight.contract.app import CommandTable, Handler, HousekeepingTable, Sample
from flight.core.task import Task


@dataclass(frozen=True, slots=True)
class CommandHandler:
    """Who serves one declared command (flight.contract.app.CommandTable.handle)."""

    name: str
    check: Callable[..., None] | None
    execute: Handler


@dataclass(frozen=True, slots=True)
class Sampler:
    """Who gives values of one housekeeping structure, all of them or a part."""

    structure: str
    sample: Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class ServiceTask:
    """One task of a service, as the scheduler takes it: `deadline_s` after ready or due; a node that loses a critical
    one is ended, to be started anew.
    """

    name: str
    run: Callable[[Task], Coroutine[Any, Any, None]]
    deadline_s: float
    critical: bool = False


class Service:
    """One service of the node. What it does not override it does not have."""

    def handlers(self) -> Iterable[CommandHandler]:
        """The commands it serves."""
        return ()

    def samplers(self) -> Iterable[Sampler]:
        """The housekeeping structures of which it has values."""
        return ()

    def tasks(self) -> Iterable[ServiceTask]:
        """The tasks that run while the node does, in the order in which they start."""
        return ()


def hand_out(services: Iterable[Service], commands: CommandTable, structures: HousekeepingTable) -> None:
    """Give the handlers and samplers of `services` to the tables that they are for."""
    for service in services:
        for handler in service.handlers():
            commands.handle(handler.name, handler.check, handler.execute)
        for sampler in service.samplers():
            structures.provide(sampler.structure, sampler.sample)
