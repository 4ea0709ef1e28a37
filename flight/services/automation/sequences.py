"""ST[21] request sequencing: commands one after the other, relative in time (ECSS-E-ST-70-41C, 6.21).

    inactive --activated by command or event--> running --last step ended--> inactive
                                                running --abort, reboot----> inactive, an event says so

A step begins its delay after the step before has begun, and not before that one has ended. What becomes of a step is in
its reports: the sequence goes on whatever they say. An abort lets a step that has begun come to its end.
"""

# Each running sequence is a task of its own. What survives a reboot are the sequences loaded from ground, and a row per
# running one that says how many steps have begun. That row changes in the transaction that stores the step itself as
# begun, so it never says less or more than what was started.
#
# After a reboot no sequence goes on. Its delays are relative to instants that are over, and the power may have been
# gone for hours: the row only serves to tell ground how far it came. A row goes when its sequence ends. If the disk
# does not take that, the row goes with the next one that is deleted (`_ended_rows`); at worst the next boot reports a
# sequence as aborted that had ended. Which sequences run is known from memory alone, never from these rows.
#
# A name that is `_starting` has its activation on the way to the disk: it can neither be activated again nor unloaded.
# Loaded sequences that another version has stored do not count as known, but keep their name until they are unloaded.

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from flight.contract.app import CommandRefused, Durable, Sample, Slices
from flight.contract.failures import Failure
from flight.contract.fields import Layout
from flight.contract.service import CommandHandler, Sampler, Service
from flight.core.errors import DecodeError, StorageError
from flight.core.future import Event
from flight.core.nanoseconds import NS
from flight.core.scheduler import SchedulerFull
from flight.core.task import Task
from flight.link.pus import PusTc
from flight.services.automation.held_commands import HolderParts, check_held, once, stored
from flight.services.automation.mission_sequences import Steps
from flight.services.automation.sequence_declarations import (
    DELAY_MAX_S,
    NAME_OCTETS_MAX,
    STEPS,
    SequencingConfig,
    declare,
    is_name,
)
from flight.services.reporting.row_report import RowReport
from flight.services.settings.foreign_rows import ForeignRows

_LOADED, _RUN = "sequence.load.", "sequence.run."
_LAYOUT = Layout((STEPS,))
_RUN_OCTETS = 2


class _Run:
    """A sequence that runs.

    `begun` counts its steps. `stop` ends it before the next one. `end` says why it ended before its time, empty if it
    came to its end.
    """

    def __init__(self, name: str, steps: Steps, cause: str) -> None:
        self.name = name
        self.steps = steps
        self.cause = cause
        self.begun = 0
        # What stands if the task ends without saying why.
        self.end = "a fault in a command, an event says which"
        self.stop = Event()

    @property
    def row(self) -> str:
        """Its key in the vault."""
        return _RUN + self.name

    def encode(self, begun: int) -> bytes:
        """Return the row's octets: steps begun, steps in all."""
        return bytes((begun, len(self.steps)))


class Sequences(Service):
    """The sequences of one node. `of_mission` are the steps of the mission's own ones, which always exist."""

    def __init__(
        self,
        apid: int,
        config: SequencingConfig,
        of_mission: Mapping[str, Steps],
        parts: HolderParts,
    ) -> None:
        self.started = 0
        self.aborted = 0
        self._config = config
        self._of_mission = of_mission
        self._vault = parts.vault
        self._commands = parts.commands
        self._events = parts.events
        self._scheduler = parts.scheduler
        self._starting: set[str] = set()  # their activation is on its way to the disk
        self._running: dict[str, _Run] = {}
        self._ended_rows: set[str] = set()  # of sequences that ended, still in the vault
        self._foreign = self._find_foreign()
        reports = {report.subtype: report for report in declare(apid).reports}
        self._status, self._content, self._ended = (
            RowReport(parts.telemetry, reports[subtype]) for subtype in (7, 12, 14)
        )
        self._end_those_before()

    def sample(self) -> Sample:
        """Return the sequences' fields of the housekeeping structure `schedule`."""
        return {
            "sequences": len(self._known()),
            "sequences_running": len(self._running),
            "sequences_started": self.started,
            "sequences_aborted": self.aborted,
        }

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handlers of ST[21]."""
        return (
            CommandHandler("load_sequence", self._check_load, self._load),
            CommandHandler("unload_sequence", self._check_unload, self._unload),
            CommandHandler("activate_sequence", self._check_activate, self._activate),
            CommandHandler("abort_sequence", self._check_abort, self._abort),
            CommandHandler("abort_all_sequences", None, self._abort_all),
            CommandHandler("report_sequences", None, self._report_status),
            CommandHandler("report_sequence", self._check_known, self._report_content),
        )

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the sequences' fields."""
        return (Sampler("schedule", self.sample),)

    def start(self, name: str, cause: str) -> None:
        """Start a sequence because of an event. If that is not possible, another event says so."""
        try:
            run = self._new_run(name, cause)
            self._vault.stage({run.row: run.encode(0)})
        except (CommandRefused, StorageError) as error:
            self._events.emit("sequence_not_started", name, str(error))
        else:
            self._begin(run)

    def _end_those_before(self) -> None:
        """End what ran when the power went: it does not go on."""
        foreign = ForeignRows("sequences", self._events)
        for name, octets in self._vault.rows(_RUN):
            if not is_name(name) or len(octets) != _RUN_OCTETS:
                foreign.report(_RUN + name, "it names no sequence that ran")
                continue
            self._events.emit("sequence_aborted", name, *octets, "reboot")
            self.aborted += 1
            self._ended_rows.add(_RUN + name)
        if self._ended_rows:
            self._drop_ended()

    def _drop_ended(self) -> None:
        """Delete the rows of sequences that have ended.

        If the disk never takes that, the next boot reports them as ended by it.
        """
        # A sequence that is starting again has a new row on its way under the same key.
        rows = self._ended_rows - {_RUN + name for name in self._starting}
        try:
            self._vault.commit(dict.fromkeys(sorted(rows)))
        except StorageError as error:
            self._events.emit("record_not_stored", "sequences", f"their end: {error}")
        else:
            self._ended_rows -= rows

    def _find_foreign(self) -> dict[str, bytes]:
        """Return the rows of loaded sequences that do not fit this software."""
        found: dict[str, bytes] = {}
        foreign = ForeignRows("sequences", self._events)
        for name, octets in self._vault.rows(_LOADED):
            try:
                _check_row(name, octets)
            except DecodeError as error:
                foreign.report(_LOADED + name, error)
                found[name] = octets
        return found

    def _known(self) -> list[str]:
        rows = self._vault.rows(_LOADED)
        loaded = (name for name, octets in rows if octets != self._foreign.get(name))
        # A newer mission file may have a sequence whose name ground has loaded before: the mission's own one counts.
        return list(dict.fromkeys((*self._of_mission, *loaded)))

    def _steps(self, name: str) -> Steps:
        """Return the steps of a sequence. Raises CommandRefused if there is none, or if it does not fit."""
        if name in self._of_mission:
            return self._of_mission[name]
        octets = self._vault.get(_LOADED + name)
        if octets is None:
            known = ", ".join(self._known()) or "none"
            raise CommandRefused(Failure.BAD_VALUE, f"no sequence {name!r}, known: {known}")
        if octets == self._foreign.get(name):
            raise CommandRefused(
                Failure.BAD_VALUE, f"sequence {name!r} was stored by another version, it can only be unloaded"
            )
        return _decode(octets)

    def _check_known(self, name: str) -> None:
        self._steps(name)

    def _check_load(self, name: str, steps: Steps) -> None:
        if not is_name(name):
            raise CommandRefused(Failure.BAD_VALUE, f"a name has 1 .. {NAME_OCTETS_MAX} octets")
        if name in self._of_mission or _LOADED + name in self._vault:
            raise CommandRefused(Failure.BAD_VALUE, f"sequence {name!r} already exists")
        if not steps:
            raise CommandRefused(Failure.BAD_VALUE, "a sequence needs at least one step")
        for i, (delay_ms, request) in enumerate(steps):
            if delay_ms > DELAY_MAX_S * 1000:
                raise CommandRefused(Failure.BAD_VALUE, f"step {i}: delay of {delay_ms} ms, at most {DELAY_MAX_S:g} s")
            check_held(self._commands, request, f"step {i}")
        rows = self._vault.rows(_LOADED)
        free = self._config.octets - sum(len(octets) for _, octets in rows)
        if len(rows) >= self._config.loaded:
            raise CommandRefused(Failure.NO_ROOM, f"{len(rows)} loaded, at most {self._config.loaded}")
        if len(_LAYOUT.encode([steps])) > free:
            raise CommandRefused(Failure.NO_ROOM, f"{len(_LAYOUT.encode([steps]))} octets, room for {free}")

    def _load(self, name: str, steps: Steps) -> Durable:
        self._check_load(name, steps)
        return Durable({_LOADED + name: _LAYOUT.encode([steps])})

    def _check_unload(self, name: str) -> None:
        if name in self._of_mission:
            raise CommandRefused(Failure.BAD_VALUE, f"sequence {name!r} is the mission's own")
        if self._vault.get(_LOADED + name) is None:
            self._steps(name)  # raises: there is none
        if name in self._starting or name in self._running:
            raise CommandRefused(Failure.BAD_VALUE, f"sequence {name!r} is running")

    def _unload(self, name: str) -> Durable:
        self._check_unload(name)
        return Durable({_LOADED + name: None})

    def _check_activate(self, name: str) -> None:
        self._new_run(name, "")

    def _activate(self, name: str) -> Durable:
        run = self._new_run(name, "command")
        self._starting.add(name)
        return Durable({run.row: run.encode(0)}, lambda: self._begin(run), lambda: self._starting.discard(name))

    def _new_run(self, name: str, cause: str) -> _Run:
        """Return a run of the sequence, not begun. Raises CommandRefused if it may not begin."""
        steps = self._steps(name)
        if name in self._starting or name in self._running:
            raise CommandRefused(Failure.BAD_VALUE, f"sequence {name!r} is running")
        if len(self._starting) + len(self._running) >= self._config.running:
            raise CommandRefused(Failure.NO_ROOM, f"at most {self._config.running} running at a time")
        return _Run(name, steps, cause)

    def _begin(self, run: _Run) -> None:
        async def work(task: Task) -> None:
            run.end = await self._take_steps(task, run)

        self._starting.discard(run.name)
        self._ended_rows.discard(run.row)
        self._running[run.name] = run
        try:
            task = self._scheduler.spawn(f"sequence.{run.name}", once(work))
        except SchedulerFull as error:
            run.end = str(error)
            self._end(run)
            return
        self.started += 1
        self._events.emit("sequence_started", run.name, run.cause)
        task.finished.add_callback(lambda _: self._end(run))

    def _check_abort(self, name: str) -> None:
        self._steps(name)
        if name not in self._running:
            raise CommandRefused(Failure.BAD_VALUE, f"sequence {name!r} is not running")

    def _abort(self, name: str) -> None:
        self._check_abort(name)
        self._running[name].stop.set()

    def _abort_all(self) -> Slices:
        # None ends at once: a step that has begun comes to its end, and then an event says so.
        for run in self._running.values():
            run.stop.set()
        return self._ended.send([(name,) for name in self._running])

    def _report_status(self) -> Slices:
        return self._status.send([self._state(name) for name in self._known()])

    def _state(self, name: str) -> tuple[str, int, int, int]:
        run, steps = self._running.get(name), len(self._steps(name))
        return (name, 0, 0, steps) if run is None else (name, 1, run.begun, steps)

    def _report_content(self, name: str) -> Slices:
        return self._content.send(self._steps(name), (name,))

    async def _take_steps(self, task: Task, run: _Run) -> str:
        """Execute the steps. Return why the sequence did not come to its end, empty if it did."""
        now_ns: Callable[[], int] = self._scheduler.now_ns
        began_ns = now_ns()
        for delay_ms, request in run.steps:
            # From the beginning of the step before, so its own duration does not add to the delay.
            due_ns = began_ns + delay_ms * 1_000_000
            if await task.wait(run.stop.wait(), max(0, due_ns - now_ns()) / NS):
                return "aborted by command"
            began_ns, reasons = now_ns(), list[str]()
            changes = {run.row: run.encode(run.begun + 1)}

            # The defaults bind this turn's values: the next turn of the loop has others.
            async def attempt(request: bytes = request, changes: dict[str, bytes] = changes) -> None:
                run.begun += 1  # as the row says from this transaction on
                try:
                    await self._commands.perform(task, request, changes)
                except StorageError:
                    run.begun -= 1
                    raise

            if not await stored(task, attempt, reasons.append):
                return f"the disk did not store the next step: {reasons[0]}"
        return ""

    def _end(self, run: _Run) -> None:
        if self._scheduler.closed:
            return  # the node ends: the row stays, and the next boot reports the sequence
        del self._running[run.name]
        self._ended_rows.add(run.row)
        self._drop_ended()
        if run.end:
            self.aborted += 1
            self._events.emit("sequence_aborted", run.name, run.begun, len(run.steps), run.end)
        else:
            self._events.emit("sequence_ended", run.name)


def _decode(octets: bytes) -> Steps:
    """Decode the steps of a row. Raises DecodeError."""
    (rows,) = _LAYOUT.decode(octets)
    return rows  # type: ignore[return-value]


def _check_row(name: str, octets: bytes) -> None:
    """Check a row of a loaded sequence. Raises DecodeError if this software would not have stored it."""
    if not is_name(name):
        raise DecodeError(f"a name has 1 .. {NAME_OCTETS_MAX} octets")
    steps = _decode(octets)
    if not steps:
        raise DecodeError("a sequence needs at least one step")
    for delay_ms, request in steps:
        if delay_ms > DELAY_MAX_S * 1000:
            raise DecodeError(f"delay of {delay_ms} ms")
        PusTc.decode(request)
