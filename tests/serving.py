"""A service without a node: its handlers and samplers given to whatever takes the place of the tables."""

from __future__ import annotations

from typing import Any

from flight.contract.service import Service


def serve(service: Service, commands: Any, structures: Any | None = None) -> None:
    """As the node does it."""
    for handler in service.handlers():
        commands.handle(handler.name, handler.check, handler.execute)
    if structures is not None:
        for sampler in service.samplers():
            structures.provide(sampler.structure, sampler.sample)
