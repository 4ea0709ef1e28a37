"""ST[17] test: are you alive."""

from __future__ import annotations

from collections.abc import Iterable

from flight.contract.dictionary import Command, Declarations, Report
from flight.contract.service import CommandHandler, Service
from flight.services.reporting.telemetry import Telemetry


def declare(apid: int) -> Declarations:
    return Declarations(
        commands=(Command("ping", apid, 17, 1, "are-you-alive connection test"),),
        reports=(Report(apid, 17, 2, "pong"),),
    )


class Ping(Service):
    """Answers a ping with a ping."""

    def __init__(self, apid: int, telemetry: Telemetry) -> None:
        self._apid = apid
        self._telemetry = telemetry

    def handlers(self) -> Iterable[CommandHandler]:
        return (CommandHandler("ping", None, self._answer),)

    def _answer(self) -> None:
        self._telemetry.send(self._apid, 17, 2, b"")
