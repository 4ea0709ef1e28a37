"""ST[03] housekeeping: periodic reports of structures, those of the dictionary and those defined from ground.

A structure of the dictionary has a period from the mission file or from its declaration. What ground decides
(definition, switch, period, report by change) is laid over that and kept over reboots, one row of the vault each.
"""

# One task collects everything, at absolute ticks of each structure: no error of one tick adds to the next. A tick that
# was missed is skipped and counted, and never made up for: a sample taken now says nothing about then. What falls due
# together is collected _IN_A_STEP structures per step.
#
# A command is checked before its acceptance only as far as the dictionary goes. Whether a structure from ground exists
# is looked up when the command is executed: its definition may be on its way to the disk, sent in the command before.
# Therefore `_planned` and `_stored` read the rows of the vault, which hold what was decided last, and reports read
# `_collections`, which is what is in force. A change is put in force when it is durable.
#
# A structure whose sample fails is set aside with an event, in memory alone: the others go on, and after a boot it is
# tried again. A row that does not fit this software is dropped at boot with an event; the structure then is as the
# mission has it.

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from types import MappingProxyType

from flight.contract.app import CommandRefused, Durable, Slices
from flight.contract.dictionary import (
    FIELDS_MAX,
    PERIOD_MAX_S,
    PERIOD_MIN_S,
    STRUCTURES_END,
    Command,
    Declarations,
    EventDefinition,
    Report,
    Structure,
    is_period,
)
from flight.contract.failures import Failure
from flight.contract.fields import ROWS_MAX, Field, Refers, Row
from flight.contract.service import CommandHandler, Service, ServiceTask
from flight.core.config import Fault, key, suggestion
from flight.core.errors import DecodeError, MisuseError, SetupError, StorageError
from flight.core.future import Event
from flight.core.nanoseconds import NS, ns
from flight.core.step_budget import PACKETS
from flight.core.task import Task
from flight.services.reporting.events import Events
from flight.services.reporting.structures import (
    KEEPALIVE_MAX_S,
    Collection,
    Plan,
    Sampler,
    Structures,
)
from flight.services.reporting.telemetry import Telemetry
from flight.store.vault import Vault

_FIRST_REPORT_S = 1.0  # after boot or a change: the duties have read their sensors by then
_PREFIX = "housekeeping."
_IN_A_STEP = 32  # structures collected in one step: all that the node has by itself fall due together
_SID = re.compile(r"0|[1-9][0-9]{0,4}")
_SID_MAX = 0xFFFF


@dataclass(frozen=True, slots=True)
class HousekeepingConfig:
    """Mission section [housekeeping]."""

    period_s: Mapping[str, float] = key({}, minimum=0, maximum=PERIOD_MAX_S, text="period by structure, 0 for off")
    defined_max: int = key(16, minimum=0, maximum=ROWS_MAX, text="structures defined from ground at most")
    parameters_max: int = key(64, minimum=1, maximum=ROWS_MAX, text="parameters in one of those at most")

    def faults(self) -> list[tuple[tuple[str, str], str]]:
        """Return a fault for each period that is neither 0 nor one that a structure may have.

        The names are checked with the dictionary: which structures there are depends on the apps.
        """
        return [
            (("period_s", name), f"is {period_s:g}, should be 0 for off, or {PERIOD_MIN_S:g} and more")
            for name, period_s in self.period_s.items()
            if 0 <= period_s <= PERIOD_MAX_S and not is_period(period_s)
        ]


def period_faults(config: HousekeepingConfig, structures: AbstractSet[str] | Mapping[str, object]) -> list[Fault]:
    """Return a fault for each period of `config` whose name is none of `structures`."""
    return [
        Fault(("housekeeping", "period_s", name), f"no structure {name}, {suggestion(name, structures)}", unknown=True)
        for name in config.period_s
        if name not in structures
    ]


def declare(apid: int, structures: tuple[Structure, ...]) -> Declarations:
    """Return commands, reports and events of ST[03].

    `structures` are all there are: the text of the argument lists them, so that ground can name one.
    """
    known = "; ".join(f"{s.sid} {s.name}" for s in structures)
    sid = Field("structure", "u16", text=known, refers=Refers.STRUCTURE)
    period = Field("period_s", "f32", "s", minimum=PERIOD_MIN_S, maximum=PERIOD_MAX_S)
    keepalive = Field("keepalive_s", "f32", "s", "0: send every report", minimum=0, maximum=KEEPALIVE_MAX_S)
    state = Field("enabled", "u8", labels=("off", "on"))
    rows = Field("structures", "rows", fields=(sid,))
    parameters = Field(
        "parameters",
        "rows",
        "",
        "structure id * 256 + index of the field",
        fields=(Field("hk_parameter", "u16", refers=Refers.HK_PARAMETER),),
    )
    arrays = Field("arrays", "u8", "", "groups sampled several times per report: there are none", maximum=0, default=0)
    new = replace(sid, minimum=STRUCTURES_END, text=f"a free number from {STRUCTURES_END} on")

    def command(name: str, subtype: int, text: str, *arguments: Field, durable: bool = True) -> Command:
        return Command(name, apid, 3, subtype, text, arguments, durable=durable)

    return Declarations(
        commands=(
            command("create_hk", 1, "define a structure, disabled at first", new, period, parameters, arrays),
            command("delete_hk", 3, "forget disabled structures that were defined from ground", rows),
            command("enable_hk", 5, "report structures periodically, kept over reboots", rows),
            command("disable_hk", 6, "report structures no more, kept over reboots", rows),
            command("report_hk_definition", 9, "report of what parameters structures are made", rows, durable=False),
            command("report_hk", 27, "report structures once", rows, durable=False),
            command(
                "set_hk_period", 31, "set the collection interval of structures, kept over reboots",
                replace(rows, fields=(sid, period)),
            ),
            command("report_hk_period", 33, "report switch and interval of structures", rows, durable=False),
            command(
                "set_hk_on_change", 128, "report structures when a value changed, and at least so often",
                replace(rows, fields=(sid, keepalive)),
            ),
        ),
        reports=(
            Report(apid, 3, 10, "hk_definition", (sid, state, period, parameters, arrays)),
            Report(apid, 3, 35, "hk_period", (replace(rows, fields=(sid, state, period)),)),
        ),
        events=(
            EventDefinition(
                apid, 100, "hk_dropped", "low", "what ground set for structure {structure} is dropped: {reason}",
                (Field("structure", "str"), Field("reason", "str")),
            ),
            EventDefinition(
                apid, 101, "hk_failed", "medium", "structure {structure} is off until enabled: {reason}",
                (Field("structure", "str"), Field("reason", "str")),
            ),
        ),
    )  # fmt: skip


class Housekeeping(Service):
    """All housekeeping structures of a node."""

    def __init__(
        self, apid: int, structures: tuple[Structure, ...], config: HousekeepingConfig, vault: Vault, *,
        telemetry: Telemetry, events: Events, now_ns: Callable[[], int], apps: Mapping[int, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """Put the mission's periods in force, then what ground has stored.

        `apps`: names of payload apps by their APID. Raises SetupError for a period of a structure that does not exist.
        """
        self._apid = apid
        self._config = config
        self._structures = Structures(structures, apps)
        self._vault = vault
        self._telemetry = telemetry
        self._events = events
        self._now_ns = now_ns
        self._changed = Event()
        reports = declare(apid, ()).reports
        self._definition_layout, self._period_layout = (report.layout for report in reports)
        if unknown := period_faults(config, self._structures.by_name):
            raise SetupError(f"housekeeping.period_s: {'; '.join(fault.text for fault in unknown)}")
        self._collections: dict[int, Collection] = {}
        for structure in structures:
            period_s = config.period_s.get(structure.name, structure.period_s)
            # Off by a period of 0: the declared period stays, so that ground can switch the structure on.
            self._apply({structure.sid: Plan(period_s > 0, period_s or structure.period_s)})
        self._restore()

    def provide(self, structure: str, sample: Sampler) -> None:
        """Take values of `structure`, one of the dictionary's, from `sample` whenever a report is due."""
        self._structures.provide(structure, sample)

    def check_samples(self) -> None:
        """Sample every structure once.

        Raises SetupError with a line for each that nobody samples, or whose sample does not fit its fields.
        """
        self._structures.check_samples()

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handlers of ST[03]."""
        return (
            CommandHandler("create_hk", self._check_create, self._create),
            CommandHandler("delete_hk", self._check_delete, self._delete),
            CommandHandler("enable_hk", self._check, functools.partial(self._switch, True)),
            CommandHandler("disable_hk", self._check, functools.partial(self._switch, False)),
            CommandHandler("set_hk_period", self._check, self._set_period),
            CommandHandler("set_hk_on_change", self._check, self._set_on_change),
            CommandHandler("report_hk_definition", self._check, self._report_definitions),
            CommandHandler("report_hk_period", self._check, self._report_periods),
            CommandHandler("report_hk", self._check, self._report),
        )

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that collects all structures."""
        return (ServiceTask("housekeeping", self.run, deadline_s=0.5),)

    # Collection

    async def run(self, task: Task) -> None:
        """Report what is due, then wait for the next one or for a change. Ground hears at boot what it has defined."""
        for _ in self._report_definitions(tuple((sid,) for sid in self._collections if sid >= STRUCTURES_END)):
            await task.sleep(0)
        while True:
            self._changed.clear()
            now_ns, next_ns, sent = self._now_ns(), None, 0
            # A copy: commands change the structures while this task gives others their turn.
            for collection in list(self._collections.values()):
                if not collection.plan.enabled:
                    continue
                if collection.due_ns <= now_ns:
                    # Counted here: each structure has ticks of its own, of which the scheduler knows nothing.
                    task.stats.ticks += 1
                    task.stats.skipped += self._collect(collection, now_ns)
                    sent += 1
                    if sent % _IN_A_STEP == 0:
                        await task.sleep(0)
                next_ns = collection.due_ns if next_ns is None else min(next_ns, collection.due_ns)
            wait_s = None if next_ns is None else (next_ns - self._now_ns()) / NS
            await task.first((self._changed.wait(),), wait_s)

    def _collect(self, collection: Collection, now_ns: int) -> int:
        """Sample a structure that is due, and send it if there is something to say. Return the ticks skipped."""
        period_ns = ns(collection.plan.period_s)
        skipped = (now_ns - collection.due_ns) // period_ns
        # On from the tick that was due, not from now: ticks stay on their grid.
        collection.due_ns += (skipped + 1) * period_ns
        try:
            octets = collection.octets()
        except MisuseError as error:
            self._set_aside(collection, str(error))
            return skipped
        keepalive_ns = ns(collection.plan.keepalive_s)
        # Compared as octets: what would be sent differs, not merely the value behind it.
        if not keepalive_ns or octets != collection.sent or now_ns - collection.sent_ns >= keepalive_ns:
            self._send(collection, octets)
        return skipped

    def _send(self, collection: Collection, octets: bytes) -> None:
        collection.sent, collection.sent_ns = octets, self._now_ns()
        self._telemetry.send(collection.structure.apid, 3, 25, octets)

    def _set_aside(self, collection: Collection, reason: str) -> None:
        """Switch off a structure that cannot be sampled: the others go on without it."""
        collection.plan = replace(collection.plan, enabled=False)
        self._events.emit("hk_failed", collection.structure.name, reason)

    # Commands

    def _check(self, rows: Iterable[Row]) -> None:
        for sid, *_ in rows:
            if isinstance(sid, int) and sid < STRUCTURES_END and sid not in self._structures.by_sid:
                raise _unknown(sid)

    def _check_create(self, _sid: int, _period_s: float, parameters: tuple[tuple[int], ...], _arrays: int) -> None:
        numbers = [number for (number,) in parameters]
        if not 1 <= len(numbers) <= self._config.parameters_max:
            raise CommandRefused(
                Failure.BAD_VALUE, f"{len(numbers)} parameters, should be 1 .. {self._config.parameters_max}"
            )
        for index, number in enumerate(numbers):
            if number not in self._structures.parameters:
                raise CommandRefused(Failure.BAD_VALUE, f"no housekeeping parameter {number}")
            if number in numbers[:index]:
                raise CommandRefused(Failure.BAD_VALUE, f"{self._structures.parameters[number].name} is listed twice")

    def _check_delete(self, rows: tuple[tuple[int], ...]) -> None:
        for (sid,) in rows:
            if sid < STRUCTURES_END:
                raise CommandRefused(
                    Failure.BAD_VALUE, f"structure {sid} is not defined from ground, disable it instead"
                )

    def _create(self, sid: int, period_s: float, parameters: tuple[tuple[int], ...], _arrays: int) -> Durable:
        if self._stored(sid) is not None:
            raise CommandRefused(Failure.BAD_VALUE, f"structure {sid} already exists, delete it first")
        defined = self._count_defined()
        if defined >= self._config.defined_max:
            raise CommandRefused(
                Failure.BAD_VALUE, f"structures defined from ground: {defined}, at most {self._config.defined_max}"
            )
        plan = Plan(False, period_s, parameters=tuple(number for (number,) in parameters))

        def take_effect() -> None:
            self._apply({sid: plan})
            for _ in self._report_definitions(((sid,),)):
                pass  # one structure, so one slice

        return Durable(self._rows({sid: plan}), take_effect)

    def _delete(self, rows: tuple[tuple[int], ...]) -> Durable:
        for (sid,) in rows:
            if self._planned(sid).enabled:
                raise CommandRefused(Failure.BAD_VALUE, f"structure {sid} is enabled, disable it first")
        gone: dict[int, Plan | None] = {sid: None for (sid,) in rows}
        return Durable(self._rows(gone), lambda: self._apply(gone))

    def _switch(self, enabled: bool, rows: tuple[tuple[int], ...]) -> Durable:
        for (sid,) in rows:
            # Only a structure that was declared without a period, and never given one, has none.
            if enabled and not self._planned(sid).period_s:
                raise CommandRefused(Failure.BAD_VALUE, f"structure {sid} has no period, set one first")
        return self._change({sid: replace(self._planned(sid), enabled=enabled) for (sid,) in rows})

    def _set_period(self, rows: tuple[tuple[int, float], ...]) -> Durable:
        return self._change({sid: replace(self._planned(sid), period_s=period_s) for sid, period_s in rows})

    def _set_on_change(self, rows: tuple[tuple[int, float], ...]) -> Durable:
        return self._change({sid: replace(self._planned(sid), keepalive_s=keepalive_s) for sid, keepalive_s in rows})

    def _change(self, plans: Mapping[int, Plan]) -> Durable:
        return Durable(self._rows(plans), lambda: self._apply(plans))

    def _report(self, rows: tuple[tuple[int], ...]) -> Slices:
        for i, collection in enumerate(self._found(rows)):
            if i and i % PACKETS == 0:
                yield
            try:
                octets = collection.octets()
            except MisuseError as error:
                raise CommandRefused(Failure.UNFINISHED, str(error)) from None
            self._send(collection, octets)
        return None

    def _report_definitions(self, rows: tuple[tuple[int], ...]) -> Slices:
        for i, collection in enumerate(self._found(rows)):
            if i and i % PACKETS == 0:
                yield
            sid, plan = collection.structure.sid, collection.plan
            numbers = plan.parameters or range(sid * FIELDS_MAX, sid * FIELDS_MAX + len(collection.structure.fields))
            values = (sid, int(plan.enabled), plan.period_s, tuple((number,) for number in numbers), 0)
            self._telemetry.send(self._apid, 3, 10, self._definition_layout.encode(values))
        return None

    def _report_periods(self, rows: tuple[tuple[int], ...]) -> None:
        found = tuple(
            (collection.structure.sid, int(collection.plan.enabled), collection.plan.period_s)
            for collection in self._found(rows)
        )
        self._telemetry.send(self._apid, 3, 35, self._period_layout.encode((found,)))

    # What is in force, and what is stored

    @property
    def _defined(self) -> int:
        return len(self._collections) - len(self._structures.by_sid)

    def _found(self, rows: tuple[tuple[int], ...]) -> list[Collection]:
        """Return the structures in force that `rows` name. Raises CommandRefused before anything is done with them."""
        for (sid,) in rows:
            if sid not in self._collections:
                raise _unknown(sid)
        return [self._collections[sid] for (sid,) in rows]

    def _planned(self, sid: int) -> Plan:
        """Return the plan as last decided, in force or on its way there. Raises CommandRefused if there is none."""
        plan = self._stored(sid)
        if plan is not None:
            return plan
        if sid not in self._structures.by_sid:
            raise _unknown(sid)
        return self._collections[sid].plan

    def _stored(self, sid: int) -> Plan | None:
        """Return the plan that the vault has or is about to have, or None if there is none that fits this software."""
        octets = self._vault.get(_PREFIX + str(sid))
        try:
            return None if octets is None else self._read(str(sid), octets)[1]
        except DecodeError:
            return None

    def _count_defined(self) -> int:
        """Return how many structures ground has defined, those on their way to the disk included."""
        plans = (self._stored(int(name)) for name, _ in self._vault.rows(_PREFIX) if _SID.fullmatch(name))
        return sum(1 for plan in plans if plan is not None and plan.parameters)

    def _read(self, name: str, octets: bytes) -> tuple[int, Plan]:
        """Decode a row. Raises DecodeError for what this software would not have written."""
        if not _SID.fullmatch(name) or int(name) > _SID_MAX:
            raise DecodeError(f"the key names no structure of 0 .. {_SID_MAX}")
        return int(name), self._structures.decode(int(name), octets)

    def _rows(self, plans: Mapping[int, Plan | None]) -> dict[str, bytes | None]:
        return {
            _PREFIX + str(sid): None if plan is None else self._structures.encode(plan) for sid, plan in plans.items()
        }

    def _apply(self, plans: Mapping[int, Plan | None]) -> None:
        """Put plans in force. A new period, or a switch, begins a new row of ticks."""
        for sid, plan in plans.items():
            if plan is None:
                self._collections.pop(sid, None)
                continue
            collection = self._collections.get(sid)
            if collection is None:
                collection = self._collections[sid] = self._structures.collection(sid, self._apid, plan)
            elif (collection.plan.enabled, collection.plan.period_s) == (plan.enabled, plan.period_s):
                collection.plan = plan
                continue
            collection.plan = plan
            # A short period is kept from the first report on; a long one does not keep ground waiting for it.
            collection.due_ns = self._now_ns() + ns(min(_FIRST_REPORT_S, plan.period_s))
        self._changed.set()

    def _restore(self) -> None:
        """Lay what is stored over the dictionary's own. What does not fit this software is dropped and reported."""
        dropped: dict[str, None] = {}
        for name, octets in self._vault.rows(_PREFIX):
            try:
                sid, plan = self._read(name, octets)
                if plan.parameters and self._defined == self._config.defined_max:
                    raise DecodeError(f"at most {self._config.defined_max} may be defined from ground")
            except DecodeError as error:
                dropped[_PREFIX + name] = None
                self._events.emit("hk_dropped", name, str(error))
            else:
                self._apply({sid: plan})
        if dropped:
            try:
                self._vault.stage(dropped)
            except StorageError:
                pass  # the next boot finds them, and drops them, again


def _unknown(sid: object) -> CommandRefused:
    return CommandRefused(Failure.BAD_VALUE, f"no housekeeping structure {sid}")
