"""Admission of telecommands: decode, check, authorise, queue. Their states: flight/services/commanding/commands.py.

In this order, each with a failure code of its own: the packet is sound, somebody serves it, the lane's rate is kept,
the power mode admits it, its arguments decode and their owner agrees, the lane has room, the command log has room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flight.contract.app import CommandRefused
from flight.contract.dictionary import Command
from flight.contract.failures import Failure
from flight.core.config import Fault, suggestion
from flight.core.errors import DecodeError, SetupError
from flight.link.pus import PusTc
from flight.services.commanding.command_counts import CommandCounts
from flight.services.commanding.command_lane import Lane
from flight.services.commanding.command_log import CommandLog
from flight.services.commanding.handler_table import HandlerTable, Served, Telecommand
from flight.services.commanding.refusals import Refusals
from flight.services.commanding.verification import ACCEPTED, Verification
from flight.services.reporting.events import Events


def mode_faults(refused_in: Mapping[str, str], declared: Mapping[str, Command], modes: Sequence[str]) -> list[Fault]:
    """A fault for each mode and command of `commands.refused_in` that there is not, or that cannot be refused."""
    found = []
    for mode, names in refused_in.items():
        path = ("commands", "refused_in", mode)
        if mode not in modes:
            found.append(Fault(path, f"no power mode {mode}, have {', '.join(modes)}"))
        for name in dict.fromkeys(names.split()):
            command = declared.get(name)
            if command is None:
                found.append(Fault(path, f"no command {name}, {suggestion(name, declared)}", unknown=True))
            elif command.urgent:
                found.append(Fault(path, f"{name} is urgent: it is admitted in every mode"))
    return found


class ModeGate:
    """Which commands each power mode refuses. `mode()` names the mode, one of `modes`; `refused_in` has command names
    by mode, separated by blanks. Raises SetupError if it does not fit `modes` or `declared`.
    """

    def __init__(
        self,
        refused_in: Mapping[str, str],
        declared: Mapping[str, Command],
        modes: Sequence[str],
        mode: Callable[[], str],
    ) -> None:
        self._refused_in = {name: frozenset(names.split()) for name, names in refused_in.items()}
        self._mode = mode
        if faults := mode_faults(refused_in, declared, modes):
            raise SetupError(f"commands.refused_in: {'; '.join(one.text for one in faults)}")

    def check(self, name: str) -> None:
        """Raise CommandRefused if the present mode refuses the command `name`."""
        mode = self._mode()
        if name in self._refused_in.get(mode, ()):
            raise CommandRefused(Failure.REFUSED_IN_MODE, f"{name} in mode {mode}")


class Admission:
    """Takes telecommands up to their acceptance or refusal, and puts those accepted into `lane` or `urgent`."""

    def __init__(
        self,
        table: HandlerTable,
        gate: ModeGate,
        *,
        lane: Lane,
        urgent: Lane,
        log: CommandLog,
        verification: Verification,
        refusals: Refusals,
        events: Events,
        counts: CommandCounts,
    ) -> None:
        self._table = table
        self._gate = gate
        self._lane = lane
        self._urgent = urgent
        self._log = log
        self._verification = verification
        self._refusals = refusals
        self._events = events
        self._counts = counts

    def on_packet(self, raw: bytes) -> None:
        """Take one telecommand packet from the link."""
        self._counts.received += 1
        try:
            request = PusTc.decode(raw)
        except DecodeError as error:
            # Without a sound packet error control there is no knowing whose request it was.
            self._counts.unreadable += 1
            self._events.emit("telecommand_unreadable", str(error))
            return
        try:
            tc = self._admit(request)
        except CommandRefused as refusal:
            self._refuse(request, refusal)
            return
        if not tc.served.command.durable:
            self._verification.success(request, ACCEPTED)

    def check(self, raw: bytes) -> None:
        """Raise CommandRefused if `raw` is not a telecommand of ours with arguments that are admitted now. The power
        mode is looked at when it is executed.
        """
        try:
            request = PusTc.decode(raw)
        except DecodeError as error:
            raise CommandRefused(Failure.BAD_VALUE, str(error)) from None
        self._table.read(request, self._table.find(request))

    def authorise(self, request: PusTc) -> Telecommand:
        """Decode a request that the present mode admits; raises CommandRefused with the reason. Queues nothing."""
        return self._authorise(request, self._table.find(request))

    def _admit(self, request: PusTc) -> Telecommand:
        """Queue the request; raises CommandRefused with the reason."""
        served = self._table.find(request)
        command = served.command
        lane = self._urgent if command.urgent else self._lane
        if not lane.bucket.take():
            raise CommandRefused(Failure.TOO_MANY, command.name)
        tc = self._authorise(request, served)
        if len(lane.queue) >= lane.queue.capacity:
            raise CommandRefused(Failure.QUEUE_FULL, f"{lane.queue.capacity} commands waiting")
        if command.durable and self._log.full(command.urgent):
            raise CommandRefused(Failure.STORAGE, "too many durable commands wait for the disk")
        lane.queue.put(tc)
        self._counts.waiting += 1
        return tc

    def _authorise(self, request: PusTc, served: Served) -> Telecommand:
        self._gate.check(served.command.name)
        return self._table.read(request, served)

    def _refuse(self, request: PusTc, refusal: CommandRefused) -> None:
        self._counts.refused[refusal.code] += 1
        if self._refusals.admit(request.request_id, refusal.code):
            self._verification.failure(request, ACCEPTED, refusal.code, str(refusal))
        else:
            self._verification.count(ACCEPTED, refusal.code)
