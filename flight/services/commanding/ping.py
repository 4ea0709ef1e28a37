"""ST[17] test: the are-you-alive connection test (ECSS-E-ST-70-41C, 6.17)."""

from __future__ import annotations

from collections.abc import Iterable

from flight.contract.dictionary import Command, Declarations, Report
from flight.contract.service import CommandHandler, Service
from flight.services.reporting.telemetry import Telemetry


def declare(apid: int) -> Declarations:
    """Return TC[17,1] and its answer TM[17,2]."""
    return Declarations(
        commands=(Command("ping", apid, 17, 1, "are-you-alive connection test", idempotent=True),),
        reports=(Report(apid, 17, 2, "pong"),),
    )


class Ping(Service):
    """Answers TC[17,1] with TM[17,2]: the whole way up, through the command service and down is in order."""

    def __init__(self, apid: int, telemetry: Telemetry) -> None:
        self._apid = apid
        self._telemetry = telemetry

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handler of `ping`."""
        return (CommandHandler("ping", None, self._answer),)

    def _answer(self) -> None:
        self._telemetry.send(self._apid, 17, 2, b"")
