"""Admission of telecommands: decode, check, authorise, queue.

`Admission` takes packets from the link. Each one ends as accepted and queued, as refused with a failure code, or as
unreadable with an event. The states of a telecommand stand at the head of flight/services/commanding/commands.py.
"""

# The checks run in this order, each with a failure code of its own, and the first that fails ends the command:
#
#     1. the packet is sound            otherwise nobody knows whose request it was: an event, no report
#     2. somebody serves it             says which lane it belongs to, hence before the rate
#     3. the rate of its lane is kept   before anything costly is done: a flood of bad commands is bounded as well
#     4. it is idempotent, if the node may have forgotten which commands it has taken; the power mode admits it
#     5. its arguments decode, are in range, and their owner agrees
#     6. its lane has room              a command refused from here on was right, and may be sent again as it is
#     7. the command log has room       for durable commands alone; it is kept for them while they wait in the queue
#
# A command that is refused after step 3 has used up a token of its lane, on purpose. Urgent commands have a lane of
# their own and cannot be named in `commands.refused_in`: what brings the node into safety is never refused for its
# mode, and never waits behind a flood of other commands. A volatile command is reported as accepted here. A durable one
# is not, since nothing is said of it before it is stored (ADR 0012). If the power takes it from the queue, nothing was
# promised.

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
from flight.services.commanding.command_log import LOG_FULL, CommandLog
from flight.services.commanding.handler_table import HandlerTable, Served, Telecommand
from flight.services.commanding.refusals import Refusals
from flight.services.commanding.verification import ACCEPTED, Verification
from flight.services.reporting.events import Events


def mode_faults(refused_in: Mapping[str, str], declared: Mapping[str, Command], modes: Sequence[str]) -> list[Fault]:
    """Return a fault for each mode and command of `commands.refused_in` that does not exist or cannot be refused."""
    found = []
    for mode, names in refused_in.items():
        path = ("commands", "refused_in", mode)
        if mode not in modes:
            found.append(Fault(path, f"no power mode {mode}, known: {', '.join(modes)}"))
        for name in dict.fromkeys(names.split()):
            command = declared.get(name)
            if command is None:
                found.append(Fault(path, f"no command {name}, {suggestion(name, declared)}", unknown=True))
            elif command.urgent:
                found.append(Fault(path, f"{name} is urgent: it is admitted in every mode"))
    return found


class ModeGate:
    """Which commands each power mode refuses.

    `mode()` names the present mode, one of `modes`. `refused_in` has for each mode the names of commands, separated by
    blanks. Raises SetupError if it names a mode or a command that `modes` and `declared` do not have.
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
            raise SetupError(f"commands.refused_in: {'; '.join(fault.text for fault in faults)}")

    def check(self, name: str) -> None:
        """Raise CommandRefused if the present mode refuses the command `name`."""
        mode = self._mode()
        if name in self._refused_in.get(mode, ()):
            raise CommandRefused(Failure.REFUSED_IN_MODE, f"{name} in mode {mode}")


class Admission:
    """Takes each telecommand up to its acceptance or refusal, and puts the accepted ones into `lane` or `urgent`."""

    def __init__(
        self,
        table: HandlerTable,
        gate: ModeGate,
        *,
        forgetful: Callable[[], bool],
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
        self._forgetful = forgetful
        self._lane = lane
        self._urgent = urgent
        self._log = log
        self._verification = verification
        self._refusals = refusals
        self._events = events
        self._counts = counts

    def on_packet(self, raw: bytes) -> None:
        """Take one telecommand packet from the link. Raises nothing: refusals are reported and counted."""
        self._counts.received += 1
        try:
            request = PusTc.decode(raw)
        except DecodeError as error:
            # The request id stands in octets that may be damaged: a report could name another command.
            self._counts.unreadable += 1
            self._events.emit("telecommand_unreadable", str(error))
            return
        try:
            tc = self._admit(request)
        except CommandRefused as refusal:
            self._refuse(request, refusal)
            return
        # A durable command is reported as accepted when its row is stored (outcomes.py).
        if not tc.served.command.durable:
            self._verification.success(request, ACCEPTED)

    def check(self, raw: bytes) -> None:
        """Raise CommandRefused unless `raw` is a telecommand of this node with arguments that are admitted now.

        Used for commands that are held for later. The power mode is not looked at: what counts is the mode at
        execution.
        """
        try:
            request = PusTc.decode(raw)
        except DecodeError as error:
            raise CommandRefused(Failure.BAD_VALUE, str(error)) from None
        self._table.read(request, self._table.find(request))

    def authorise(self, request: PusTc) -> Telecommand:
        """Decode a request that the present mode admits, and queue nothing. Raises CommandRefused with the reason."""
        return self._authorise(request, self._table.find(request))

    def _admit(self, request: PusTc) -> Telecommand:
        """Queue the request. Raises CommandRefused with the reason."""
        served = self._table.find(request)
        command = served.command
        lane = self._urgent if command.urgent else self._lane
        if not lane.bucket.take():
            raise CommandRefused(Failure.TOO_MANY, command.name)
        if not command.idempotent and self._forgetful():
            raise CommandRefused(Failure.REFUSED_IN_MODE, "link security is not on storage, idempotent commands only")
        tc = self._authorise(request, served)
        if len(lane.queue) >= lane.queue.capacity:
            raise CommandRefused(Failure.QUEUE_FULL, f"no more than {lane.queue.capacity} may wait")
        if command.durable:
            if not self._log.reserve(command.urgent):
                raise CommandRefused(Failure.STORAGE, LOG_FULL)
            tc.reserved = True
        lane.queue.put(tc)
        self._counts.waiting += 1
        return tc

    def _authorise(self, request: PusTc, served: Served) -> Telecommand:
        self._gate.check(served.command.name)
        return self._table.read(request, served)

    def _refuse(self, request: PusTc, refusal: CommandRefused) -> None:
        self._counts.refused[refusal.code] += 1
        # A burst of refusals must not fill the downlink: beyond a number per second they are reported as ranges.
        if self._refusals.admit(request.request_id, refusal.code):
            self._verification.failure(request, ACCEPTED, refusal.code, str(refusal))
        else:
            self._verification.count(ACCEPTED, refusal.code)
