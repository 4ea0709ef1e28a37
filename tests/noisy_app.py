"""A payload app that is a bad neighbour in one way: one of its libraries prints without end, to stderr and stdout."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from flight.contract.app import AppContext
from flight.contract.dictionary import Declarations
from flight.core.task import Task

PERIOD_S = 0.01
FILLING = "." * 2000  # a pipe and the queue are full within seconds


@dataclass(frozen=True, slots=True)
class NoisyConfig:
    """No keys."""


class NoisyApp:
    """The app."""

    CONFIG = NoisyConfig

    @staticmethod
    def declare(_apid: int, _config: NoisyConfig) -> Declarations:
        """Declare nothing."""
        return Declarations()

    def __init__(self, context: AppContext) -> None:
        self._scheduler = context.scheduler

    def start(self) -> None:
        """Start the noise."""
        self._scheduler.spawn("noisy.noise", self.run)

    async def run(self, task: Task) -> None:
        """Print, a hundred times per second."""
        number = 0
        while True:
            number += 1
            print(f"noise {number} {FILLING}", file=sys.stderr)
            print(f"stray {number}")
            await task.sleep(PERIOD_S)

    def close(self) -> None:
        """Do nothing."""
