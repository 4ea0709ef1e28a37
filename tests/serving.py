"""Use a service without a node: its handlers and samplers go to whatever takes the place of the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flight.contract.app import CommandRefused, Sample
from flight.contract.failures import Failure
from flight.contract.service import Service, hand_out


class Nowhere:
    """Stands in for the housekeeping if the test does not look at it."""

    def provide(self, structure: str, sample: Callable[[], Sample]) -> None:
        """Forget the sampler."""


def serve(service: Service, commands: Any, structures: Any | None = None) -> None:
    """Hand out the handlers and samplers of one service as the node does."""
    hand_out([service], commands, Nowhere() if structures is None else structures)


def execute(service: Service, command: str, *values: object) -> Any:
    """Execute a command that was found right, by the handler of the service."""
    return next(one for one in service.handlers() if one.name == command).execute(*values)


def no_upload(name: str) -> bytes:
    """Stand in for the uploads if no file came up."""
    raise CommandRefused(Failure.BAD_VALUE, f"no file {name!r} came up")
