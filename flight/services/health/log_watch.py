"""Node duty: report to the ground when the log on board does not get out, and what it lost when it does again."""

# Two events for one trouble, however long it lasts (ADR 0020). Every event is also a line of the log, which may be lost
# as well: while the log stands still that is only counted, and `log_resumed` says the sum.

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from flight.contract.app import EventSink
from flight.contract.dictionary import Declarations, EventDefinition
from flight.contract.fields import Field
from flight.contract.service import Service, ServiceTask
from flight.core.task import Task

LOOK_S = 2.0  # between two looks: how late ground may hear of it


class LogLoss(Protocol):
    """What the stream behind a log says of itself."""

    @property
    def lost(self) -> int:
        """Lines dropped so far."""

    @property
    def fault(self) -> str:
        """Why lines do not get out just now; empty while they do."""


def declare(apid: int) -> Declarations:
    """Return the events of a log that does not get out."""
    return Declarations(
        events=(
            EventDefinition(
                apid, 130, "log_stopped", "low", "the log on board does not get out: {reason}",
                (Field("reason", "str"),),
            ),
            EventDefinition(
                apid, 131, "log_resumed", "info", "the log on board gets out again, {lines} lines of it were lost",
                (Field("lines", "u32"),),
            ),
        )
    )  # fmt: skip


class LogWatch(Service):
    """Looks at the log every LOOK_S."""

    def __init__(self, log: LogLoss, events: EventSink) -> None:
        self._log = log
        self._events = events
        self._stopped = False
        self._reported = 0  # lines lost, as of the last event about them

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that looks at the log."""
        return (ServiceTask("log", self.run, deadline_s=1.0),)

    async def run(self, task: Task) -> None:
        """Look at the log, for ever."""
        while True:
            self.look()
            await task.sleep(LOOK_S)

    def look(self) -> None:
        """Report that the log has stopped or goes on, if that is new."""
        fault, lost = self._log.fault, self._log.lost
        if fault and not self._stopped:
            self._stopped = True
            self._events.emit("log_stopped", fault)
        # Lines may be lost within one look, without a fault that is seen.
        elif not fault and (self._stopped or lost != self._reported):
            self._stopped = False
            self._events.emit("log_resumed", lost - self._reported)
            self._reported = lost
