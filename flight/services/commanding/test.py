"""ST[17] test: are you alive."""

from __future__ import annotations

from flight.contract.app import CommandTable
from flight.contract.dictionary import Command, Declarations, Report
from flight.services.reporting.telemetry import Telemetry


def declare(apid: int) -> Declarations:
    return Declarations(
        commands=(Command("ping", apid, 17, 1, "are-you-alive connection test"),),
        reports=(Report(apid, 17, 2, "pong"),),
    )


def serve(apid: int, commands: CommandTable, telemetry: Telemetry) -> None:
    commands.handle("ping", None, lambda: telemetry.send(apid, 17, 2, b""))
