"""Commands of a node, from the packet to the last report of its stages (ECSS-E-ST-70-41C, 6.1).

Two lanes, each in order: urgent commands wait neither for others nor for the disk, and have a queue and a rate of their
own. Some commands come from the link, others are held by the node until their time: scheduled ones, steps of sequences,
actions of events. Three kinds differ in what is stored before it is said:

- A volatile command is reported as it goes.
- A durable command is reported when its outcome and what it changed are stored, in one transaction of the vault. If its
  handler takes its time (a coroutine), the command is stored as open before the handler goes on.
- A held command is stored as open in the transaction that takes it out of where it was held: it is never executed
  twice. From then on it ends as a durable one does.

States of a telecommand. A, S and C report the success of its acceptance, start and completion. a and c report the
failure of its acceptance and of its completion, with a code. ! is an event. "row" writes its row of the command log
(command_log.py):

    state     event                           volatile        durable                     held
    (new)     admission refuses it            a ->REFUSED     a ->REFUSED                 row done, then a ->REFUSED
              admission takes it              A ->QUEUED      ->QUEUED                    row open ->OPENING
    QUEUED    its turn comes                  S ->RUNNING     ->RUNNING
    RUNNING   the handler takes its time      -               row open ->OPENING
              the handler is through          C or c ->DONE   row done ->STORING
    OPENING   row is durable                                  A S ->OPEN                  A S ->OPEN
              the disk refuses it                             a ->REFUSED                 held still (*)
              the disk fails later                            ! ->REFUSED                 held still (*)
              not durable in store_limit_s                    row done with a ->REFUSED   ! waits on
    OPEN      the handler is through                          row done ->STORING          row done ->STORING
    STORING   row is durable                                  A S if unsaid, C or c ->DONE   C or c ->DONE
              the disk refuses it, was OPEN                   undo ! ->DONE (+)           undo ! ->DONE (+)
              the disk refuses it, urgent                     undo A S c ->DONE
              the disk refuses it, else                       undo a ->REFUSED
              the disk fails later                            undo ! ->DONE (+)           undo ! ->DONE (+)

(*) The holder gets StorageError, and keeps the command. The same happens if the disk does not store the done row of a
    held command that is refused.
(+) Nobody knows whether the row will be there after a boot: the report comes after that boot (command_log.py) or never.

While the handler runs it may also fail, by itself or by the limit of time: then c is reported, and everything else is
as if it were through.
"""

# Why it is done this way (ADR 0012, ADR 0024):
#
# - What may never happen: a report that a loss of power makes untrue, a command that is executed twice, an accepted
#   durable command without a terminal report. So the outcome and the report itself are stored in one transaction with
#   what the command changed, and only then is anything said.
# - What survives a reboot: rows of the command log. What is QUEUED when the power goes is gone. That contradicts
#   nothing: no word was said of a durable command yet, and a volatile one promises nothing over a reboot.
# - An urgent command acts first and is stored afterwards: safe mode must not wait for a disk that hangs.
#
# Each part changes for one reason: handler_table (who serves what), admission (checks), command_lane (queues and
# rates), execution (runs handlers and waits, reports nothing), outcomes (all transactions and reports, no handlers),
# command_log (rows), verification (reports of ST[01]), refusals (those of a burst), command_counts.

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flight.contract.app import CommandRefused, Handler, Sample
from flight.contract.dictionary import Command, Declarations, EventDefinition, Structure
from flight.contract.failures import Failure, FailureCode
from flight.contract.fields import Field
from flight.contract.service import Sampler, Service, ServiceTask
from flight.core.config import key
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.link.pus import PusTc
from flight.services.commanding.admission import Admission, ModeGate
from flight.services.commanding.command_counts import CommandCounts
from flight.services.commanding.command_lane import Lane
from flight.services.commanding.command_log import CommandLog
from flight.services.commanding.execution import Execution
from flight.services.commanding.handler_table import HandlerTable, Own
from flight.services.commanding.outcomes import Outcomes
from flight.services.commanding.refusals import Refusals
from flight.services.commanding.verification import Verification
from flight.services.reporting.events import Events
from flight.store.vault import Changes, Vault

_UNKNOWN = (Failure.UNKNOWN_APID, Failure.UNKNOWN_COMMAND)
_INVALID = (Failure.BAD_LENGTH, Failure.BAD_VALUE)


@dataclass(frozen=True, slots=True)
class CommandsConfig:
    """The `[commands]` section of mission.toml: bounds of queues, rates and waits."""

    queue: int = key(32, minimum=1, maximum=1024, text="telecommands waiting for execution at most")
    urgent_queue: int = key(8, minimum=1, maximum=64, text="room for urgent ones besides")
    rate_hz: float = key(200.0, minimum=1, maximum=100_000, text="telecommands accepted per second, in the long run")
    urgent_rate_hz: float = key(10.0, minimum=1, maximum=1000, text="urgent ones besides, per second")
    refusals: int = key(20, minimum=1, maximum=1000, text="refusals reported singly per second; more as ranges")
    store_limit_s: float = key(5.0, minimum=0.1, maximum=600, text="wait for the disk before the next one has its turn")
    execution_limit_s: float = key(60.0, minimum=0.1, maximum=86_400, text="a handler that takes longer is cancelled")
    refused_in: Mapping[str, str] = key({}, text="power mode = commands refused in it, separated by blanks")


def declare(apid: int) -> Declarations:
    """Return the structure "commands" and the events of this service."""
    u32 = "u32"
    return Declarations(
        structures=(
            Structure(
                apid, 6, "commands", 10.0,
                (
                    Field("received", u32, "", "telecommand packets: unreadable + executed + refused + waiting"),
                    Field("unreadable", u32, "", "of them without a sound packet error control or header"),
                    Field("executed", u32, "", "of them executed, with whatever outcome"),
                    Field("refused", u32, "", "of them not accepted, for any reason"),
                    Field("waiting", u32, "", "of them queued, executing, or waiting for the disk"),
                    Field("refused_unknown", u32, "", "refused: no such application process, or no such command"),
                    Field("refused_invalid", u32, "", "refused: arguments of a wrong length or out of range"),
                    Field("refused_in_mode", u32, "", "refused: not in this mode"),
                    Field("refused_rate", u32, "", "refused: more than the rate limit admits"),
                    Field("refused_queue", u32, "", "refused: command queue full"),
                    Field("refused_storage", u32, "", "refused: the disk did not take them"),
                    Field("interrupted", u32, "", "commands that the power loss before this boot cut short"),
                    Field("reported_again", u32, "", "terminal reports of the boot before, repeated"),
                    Field("log_rows", u32, "", "durable commands whose report is not safe yet"),
                ),
            ),
        ),
        events=(
            EventDefinition(
                apid, 10, "telecommand_unreadable", "low", "telecommand packet refused: {reason}",
                (Field("reason", "str"),),
            ),
            EventDefinition(
                apid, 11, "storage_slow", "medium", "{command}: the disk has not answered for {waited_s:g} s",
                (Field("command", "str"), Field("waited_s", "f32", "s")),
            ),
            EventDefinition(
                apid, 12, "outcome_not_stored", "medium", "{command}: its report may come after a boot: {reason}",
                (Field("command", "str"), Field("reason", "str")),
            ),
        )
    )  # fmt: skip


class Commands(Service):
    """The command service of a node (flight.contract.app.CommandTable). Its public parts are for those who watch it.

    `mode()` names the power mode, one of `modes`, for `CommandsConfig.refused_in`. `forgetful()`: whether the node
    may have forgotten which commands it has taken, so that one which came may have been executed before. Raises
    SetupError if the config names a mode or a command that does not exist.
    """

    def __init__(  # noqa: PLR0913 - the parts that it joins, each by name
        self,
        declared: tuple[Command, ...],
        config: CommandsConfig,
        scheduler: Scheduler,
        vault: Vault,
        *,
        log: CommandLog,
        verification: Verification,
        refusals: Refusals,
        events: Events,
        modes: Sequence[str],
        mode: Callable[[], str],
        forgetful: Callable[[], bool] = lambda: False,
    ) -> None:
        self.counts = counts = CommandCounts()
        self.table = HandlerTable(declared)
        self._log = log
        self._lane = Lane(config.queue, config.rate_hz, scheduler.now_ns)
        self._urgent = Lane(config.urgent_queue, config.urgent_rate_hz, scheduler.now_ns)
        gate = ModeGate(config.refused_in, self.table.declared, modes, mode)
        self._admission = Admission(
            self.table, gate, forgetful=forgetful, lane=self._lane, urgent=self._urgent, log=log,
            verification=verification, refusals=refusals, events=events, counts=counts,
        )  # fmt: skip
        self._outcomes = Outcomes(vault, log, verification, events, counts)
        self.execution = Execution(
            scheduler, self._outcomes, events, counts, config.store_limit_s, config.execution_limit_s
        )

    def handle(self, name: str, check: Callable[..., None] | None, execute: Handler, own: Own | None = None) -> None:
        """Serve the command `name` (flight.contract.app.CommandTable).

        `own` turns what the handler leaves into what the node may store of it; without `own` it is taken as it is.
        Raises KeyError if the command is not declared, MisuseError if it is already served.
        """
        self.table.handle(name, check, execute, own)

    def assert_complete(self) -> None:
        """Raise SetupError unless every declared command has its handler."""
        self.table.assert_complete()

    def on_packet(self, raw: bytes) -> None:
        """Take one telecommand packet from the link, up to its acceptance or refusal."""
        self._admission.on_packet(raw)

    def check(self, raw: bytes) -> None:
        """Raise CommandRefused unless `raw` is a telecommand of this node with arguments that are admitted now.

        The power mode is not looked at: what counts is the mode at execution.
        """
        self._admission.check(raw)

    async def run(self, task: Task) -> None:
        """Execute the commands that are not urgent, in the order in which they were received."""
        await self.execution.serve(task, self._lane)

    async def run_urgent(self, task: Task) -> None:
        """Execute the urgent commands, in the order in which they were received."""
        await self.execution.serve(task, self._urgent)

    async def perform(self, task: Task, raw: bytes, changes: Changes) -> None:
        """Execute a command that the node itself holds: a scheduled one, a step of a sequence.

        `changes` take it out of where it is held. They are in the transaction that opens its row, or that stores its
        refusal: so it is never executed twice. This waits for the disk as long as the disk takes. Raises StorageError
        if the transaction is not stored: the command is still held then.
        """
        request = PusTc.decode(raw)  # it was checked when it was taken in
        try:
            tc = self._admission.authorise(request)
        except CommandRefused as refusal:
            await self._outcomes.refuse_held(request, refusal, changes)
            return
        await self.execution.perform(task, tc, changes)

    async def refuse(self, raw: bytes, code: FailureCode, detail: str, changes: Changes) -> None:
        """End a command that the node held and does not execute: like `perform`, with a failure of acceptance."""
        await self._outcomes.refuse_held(PusTc.decode(raw), CommandRefused(code, detail), changes)

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the structure "commands"."""
        return (Sampler("commands", self.sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        """Return one task per lane. Both are critical: a node that cannot take commands is to be started again."""
        return (
            ServiceTask("commands", self.run, deadline_s=0.04, critical=True),
            ServiceTask("commands.urgent", self.run_urgent, deadline_s=0.02, critical=True),
        )

    def sample(self) -> Sample:
        """Return the values of the structure "commands"."""
        counts, refused = self.counts, self.counts.refused
        return {
            "received": counts.received,
            "unreadable": counts.unreadable,
            "executed": counts.executed,
            "refused": refused.total(),
            "waiting": counts.waiting,
            "refused_unknown": sum(refused[code] for code in _UNKNOWN),
            "refused_invalid": sum(refused[code] for code in _INVALID),
            "refused_in_mode": refused[Failure.REFUSED_IN_MODE],
            "refused_rate": refused[Failure.TOO_MANY],
            "refused_queue": refused[Failure.QUEUE_FULL],
            "refused_storage": refused[Failure.STORAGE],
            "interrupted": self._log.interrupted,
            "reported_again": self._log.reported_again,
            "log_rows": len(self._log),
        }
