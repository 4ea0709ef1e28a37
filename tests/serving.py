"""A service without a node: its handlers and samplers given to whatever takes the place of the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flight.contract.app import CommandRefused, Sample
from flight.contract.failures import Failure
from flight.contract.service import Service, hand_out


class Nowhere:
    """In place of the housekeeping, if nobody looks at it."""

    def provide(self, structure: str, sample: Callable[[], Sample]) -> None:
        """Take it, and forget it."""


def serve(service: Service, commands: Any, structures: Any | None = None) -> None:
    """Hand out one service as the node does."""
    hand_out([service], commands, Nowhere() if structures is None else structures)


def execute(service: Service, command: str, *values: object) -> Any:
    """What the service's handler makes of a command that was found right."""
    return next(one for one in service.handlers() if one.name == command).execute(*values)


def no_upload(name: str) -> bytes:
    """In place of the uploads, if none came up."""
    raise CommandRefused(Failure.BAD_VALUE, f"no file {name!r} came up")
