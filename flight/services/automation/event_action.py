"""ST[19] event-action: a command, or a sequence of the mission, that an event causes (ECSS-E-ST-70-41C, 6.19).

A definition of one event:

    (none)    --add-----> disabled     as the standard has it: nothing happens before it is enabled
    disabled  --add-----> disabled     with the new command
    disabled  --enable--> enabled      only now can its event cause the command; `add` is refused
    enabled   --disable-> disabled
    any       --delete--> (none)

All definitions can also be put to rest at once, by the function switch.
"""

# Definitions with their status, and the function switch, are rows of the vault and survive a reboot. What waits in the
# queue does not: an event just before a loss of power causes nothing after the boot. An action that was taken from the
# queue is stored as open before it is executed, as every held command: at most once, with its reports.
#
# Nothing here may become a loop or a storm. After an action another occurrence of its event within `hold_s` is
# suppressed and counted, so the events of the action itself do not cause it again. The queue is bounded, and what finds
# it full is suppressed as well. At most _AT_WORK_MAX commands of actions may be unfinished: if the disk hangs, more are
# suppressed instead of being piled up. The events of this service go the same way as all others.
#
# Sequences of the mission are bound at boot (`bind`) and cannot be changed by ground, but the function switch holds for
# them too. An event acts whether or not it is reported: disabling its report (ST[05]) disables no protection.

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flight.contract.app import CommandRefused, Durable, Sample, Slices
from flight.contract.dictionary import Command, Declarations, EventDefinition, Report
from flight.contract.failures import Failure
from flight.contract.fields import Field, Refers
from flight.contract.service import CommandHandler, Sampler, Service, ServiceTask
from flight.core.config import key
from flight.core.errors import DecodeError
from flight.core.future import Queue
from flight.core.nanoseconds import ns
from flight.core.scheduler import SchedulerFull
from flight.core.task import Task
from flight.link.pus import PusTc
from flight.services.automation.held_commands import HolderParts, check_held, once, stored
from flight.services.reporting.row_report import RowReport
from flight.services.settings.foreign_rows import ForeignRows

_PREFIX, _FUNCTION = "event_action.event.", "event_action.function"
_QUEUE = 16  # events whose action waits for its turn
_AT_WORK_MAX = 8  # commands of actions that have begun and not ended
_PATIENCE_S = 5.0  # until a command that takes long goes on beside the next ones
_ENABLED, _DISABLED = b"\1", b"\0"
_KEY = re.compile(r"([0-7][0-9a-f]{2})\.([0-9a-f]{4})")
_EVENT = (Field("apid", "u16", refers=Refers.APPLICATION),
          Field("event", "u16", text="its number", refers=Refers.EVENT))  # fmt: skip
_STATUS = Field("status", "u8", labels=("disabled", "enabled"))
_ADD = Field("actions", "rows", fields=(*_EVENT, Field("request", "packet", text="the telecommand")))
_EVENTS = Field("events", "rows", text="none for all", fields=_EVENT)

Key = tuple[int, int]  # APID and number of an event


@dataclass(frozen=True, slots=True)
class EventActionConfig:
    """Mission section [event_action]."""

    actions: int = key(32, minimum=0, maximum=255, text="events with an action from ground at most")
    hold_s: float = key(10.0, minimum=0.1, maximum=86400, text="an event causes its action at most once in this time")


def declare(apid: int) -> Declarations:
    """Return commands, the report and the events of ST[19]."""

    def change(name: str, subtype: int, text: str, *arguments: Field) -> Command:
        return Command(name, apid, 19, subtype, text, arguments, durable=True)

    return Declarations(
        commands=(
            change("add_event_actions", 1, "tie commands to events, disabled at first", _ADD),
            change("delete_event_actions", 2, "untie them", Field("events", "rows", fields=_EVENT)),
            change("delete_all_event_actions", 3, "untie all"),
            change("enable_event_actions", 4, "let events bring about their commands", _EVENTS),
            change("disable_event_actions", 5, "keep the definitions, do nothing", _EVENTS),
            Command("report_event_actions", apid, 19, 6, "report which events have an action", idempotent=True),
            change("enable_event_action_function", 8, "let actions happen at all, those of the mission too"),
            change("disable_event_action_function", 9, "let no action happen"),
        ),
        reports=(Report(apid, 19, 7, "event_actions", (Field("actions", "rows", fields=(*_EVENT, _STATUS)),)),),
        events=(
            EventDefinition(
                apid, 96, "action_fired", "info", "event {event} of APID {apid} brought about {what}",
                (*_EVENT, Field("what", "str")),
            ),
            EventDefinition(
                apid, 97, "action_not_stored", "medium",
                "action of event {event} of APID {apid} not executed: {reason}",
                (*_EVENT, Field("reason", "str")),
            ),
        ),
    )  # fmt: skip


class EventActions(Service):
    """The actions of all events. `known` are the events of the dictionary, `on_event` is what event sinks call."""

    def __init__(
        self,
        apid: int,
        config: EventActionConfig,
        known: Iterable[EventDefinition],
        parts: HolderParts,
    ) -> None:
        self.fired = 0
        self.suppressed = 0
        self._config = config
        self._known = {(event.apid, event.number): event.name for event in known}
        self._vault = parts.vault
        self._commands = parts.commands
        self._events = parts.events
        self._scheduler = parts.scheduler
        self._report = RowReport(parts.telemetry, declare(apid).reports[0])
        self._of_mission: dict[Key, list[tuple[str, Callable[[str], None]]]] = {}
        self._fired_ns: dict[Key, int] = {}
        self._queue: Queue[Key] = Queue(_QUEUE)
        self._at_work: list[Task] = []
        self._foreign = ForeignRows("event actions", parts.events)
        self._definitions: dict[Key, tuple[bool, bytes]] = {}
        self._enabled = True
        self._refresh()

    def sample(self) -> Sample:
        """Return the actions' fields of the housekeeping structure `schedule`."""
        return {
            "actions": len(self._definitions.keys() | self._of_mission.keys()),
            "actions_fired": self.fired,
            "actions_suppressed": self.suppressed,
        }

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handlers of ST[19]."""
        return (
            CommandHandler("add_event_actions", self._check_add, self._add),
            CommandHandler("delete_event_actions", self._check_there, self._delete),
            CommandHandler("delete_all_event_actions", None, lambda: self._delete(tuple(self._rows()))),
            CommandHandler("enable_event_actions", self._check_there, lambda rows: self._switch(rows, _ENABLED)),
            CommandHandler("disable_event_actions", self._check_there, lambda rows: self._switch(rows, _DISABLED)),
            CommandHandler("report_event_actions", None, self._send),
            CommandHandler("enable_event_action_function", None, lambda: Durable({_FUNCTION: _ENABLED}, self._refresh)),
            CommandHandler(
                "disable_event_action_function", None, lambda: Durable({_FUNCTION: _DISABLED}, self._refresh)
            ),
        )

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the actions' fields of the structure `schedule`."""
        return (Sampler("schedule", self.sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that executes actions."""
        return (ServiceTask("event_action", self.run, deadline_s=0.1),)

    def bind(self, event: str, what: str, act: Callable[[str], None]) -> None:
        """Have `act(cause)` called when the event called `event` occurs. `what` names the action to people."""
        for event_id, name in self._known.items():
            if name == event:
                self._of_mission.setdefault(event_id, []).append((what, act))

    def on_event(self, definition: EventDefinition) -> None:
        """Queue the action of an event that occurred, if it has one and was not queued within `hold_s`."""
        event_id = (definition.apid, definition.number)
        wanted = event_id in self._of_mission or self._definitions.get(event_id, (False, b""))[0]
        if not (wanted and self._enabled):
            return
        now_ns, last_ns = self._scheduler.now_ns(), self._fired_ns.get(event_id)
        # The window begins as an action is queued: further occurrences must not fill the queue either.
        if (last_ns is not None and now_ns - last_ns < ns(self._config.hold_s)) or not self._queue.put(event_id):
            self.suppressed += 1
            return
        self._fired_ns[event_id] = now_ns

    async def run(self, task: Task) -> None:
        """Execute the actions that are queued, in order. One that takes long goes on beside those after it."""
        while True:
            event_id = await self._queue.get()
            for what, act in self._of_mission.get(event_id, ()):
                self._report_fired(event_id, what)
                act(f"event {self._known[event_id]}")
            enabled, request = self._definitions.get(event_id, (False, b""))
            if enabled:
                await self._perform(task, event_id, request)

    async def _perform(self, task: Task, event_id: Key, request: bytes) -> None:
        # Ended tasks are dropped when room is needed: their number is what counts, and only here.
        self._at_work = [child for child in self._at_work if not child.finished.done]
        if len(self._at_work) >= _AT_WORK_MAX:
            self.suppressed += 1
            return

        async def work(mine: Task) -> None:
            reasons: list[str] = []
            # There is nothing to take out of the vault: a definition stays, whatever becomes of its command.
            if not await stored(mine, lambda: self._commands.perform(mine, request, {}), reasons.append):
                self._events.emit("action_not_stored", *event_id, reasons[0])

        try:
            child = self._scheduler.spawn("event_action.perform", once(work))
        except SchedulerFull as error:
            self._events.emit("action_not_stored", *event_id, str(error))
            return
        self._at_work.append(child)
        self._report_fired(event_id, f"TC[{request[7]},{request[8]}]")
        await task.wait(child.finished, _PATIENCE_S)

    def _report_fired(self, event_id: Key, what: str) -> None:
        self.fired += 1
        self._events.emit("action_fired", *event_id, what)

    def _refresh(self) -> None:
        """Put in force what the vault says, after a change has become durable."""
        rows = self._rows()
        self._definitions = {event_id: (octets[:1] == _ENABLED, octets[1:]) for event_id, octets in rows.items()}
        function = self._vault.get(_FUNCTION)
        self._enabled = function != _DISABLED
        # A row of another version: actions protect the spacecraft, so in doubt they happen.
        if function not in (None, _ENABLED, _DISABLED):
            self._foreign.report(_FUNCTION, "it says neither on nor off, so actions happen")

    def _rows(self) -> dict[Key, bytes]:
        """Return the rows that the vault has, or is about to have. What does not fit this software is left out."""
        found: dict[Key, bytes] = {}
        for name, octets in self._vault.rows(_PREFIX):
            try:
                found[_read(name, octets)] = octets
            except DecodeError as error:
                self._foreign.report(_PREFIX + name, error)
        return found

    def _check_add(self, rows: tuple[tuple[int, int, bytes], ...]) -> None:
        # The rows, not what is in force: a change on its way to the disk counts for those behind it.
        held = self._rows()
        for i, (apid, number, request) in enumerate(rows):
            event_id = (apid, number)
            if event_id not in self._known:
                raise CommandRefused(Failure.BAD_VALUE, f"action {i}: no event {number} of APID {apid}")
            if held.get(event_id, _DISABLED)[:1] == _ENABLED:
                raise CommandRefused(
                    Failure.BAD_VALUE, f"action {i}: event {number} of APID {apid} already has an enabled action"
                )
            check_held(self._commands, request, f"action {i}")
            held[event_id] = _DISABLED
        if len(held) > self._config.actions:
            raise CommandRefused(Failure.NO_ROOM, f"{len(held)} actions, {self._config.actions} at most")

    def _add(self, rows: tuple[tuple[int, int, bytes], ...]) -> Durable:
        self._check_add(rows)  # again: other commands have been executed since it was accepted
        return Durable({_row((apid, n)): _DISABLED + request for apid, n, request in rows}, self._refresh)

    def _check_there(self, rows: tuple[Key, ...]) -> None:
        held = self._rows()
        for event_id in rows:
            if event_id not in held:
                raise CommandRefused(Failure.BAD_VALUE, f"event {event_id[1]} of APID {event_id[0]} has no action")

    def _delete(self, rows: tuple[Key, ...]) -> Durable:
        self._check_there(rows)
        return Durable({_row(event_id): None for event_id in rows}, self._refresh)

    def _switch(self, rows: tuple[Key, ...], status: bytes) -> Durable:
        self._check_there(rows)
        held = self._rows()
        return Durable({_row(event_id): status + held[event_id][1:] for event_id in rows or held}, self._refresh)

    def _send(self) -> Slices:
        definitions = sorted(self._definitions.items())
        return self._report.send((*event_id, int(enabled)) for event_id, (enabled, _) in definitions)


def _read(name: str, octets: bytes) -> Key:
    """Decode the event of a row. Raises DecodeError for a key or value that this software would not have written."""
    found = _KEY.fullmatch(name)
    if found is None:
        raise DecodeError("the key names no event")
    if octets[:1] not in (_ENABLED, _DISABLED):
        raise DecodeError(f"status {octets[:1].hex() or 'missing'}")
    # Raises DecodeError for a command that is not a sound packet.
    PusTc.decode(octets[1:])
    return int(found[1], 16), int(found[2], 16)


def _row(event_id: Key) -> str:
    return "{}{:03x}.{:04x}".format(_PREFIX, *event_id)
