"""Commands that the node holds for later: scheduled, in a sequence, tied to an event.

They were checked when they came and are checked again when their turn comes. One that would itself bring commands to
hold is not held: what is in a packet is bounded, what is in a packet in a packet would not be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from flight.contract.app import CommandRefused
from flight.contract.failures import Failure
from flight.core.errors import StorageError
from flight.core.scheduler import Scheduler
from flight.core.task import Body, Task
from flight.link.pus import TC_DATA_OFFSET, packet_apid
from flight.services.commanding.commands import Commands
from flight.services.reporting.events import Events
from flight.services.reporting.telemetry import Telemetry
from flight.store.vault import Vault

INSERT_ACTIVITIES, LOAD_SEQUENCE, ADD_EVENT_ACTIONS = (11, 4), (21, 1), (19, 1)
HOLDERS = {INSERT_ACTIVITIES, LOAD_SEQUENCE, ADD_EVENT_ACTIONS}
_RETRIES_S = (0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class HolderParts:
    """What schedule, sequences and event-actions alike are built from: where commands are kept, who executes them, by
    what that is told, and who runs their tasks.
    """

    vault: Vault
    commands: Commands
    telemetry: Telemetry
    events: Events
    scheduler: Scheduler


def check_held(commands: Commands, raw: bytes, what: str) -> None:
    """Whether `raw` may be held; raises CommandRefused, its detail beginning with `what`."""
    # Octets 7 and 8: service and subtype. Looked at before anything inside is read.
    if len(raw) >= TC_DATA_OFFSET and (raw[7], raw[8]) in HOLDERS:
        raise CommandRefused(
            Failure.BAD_VALUE, f"{what}: TC[{raw[7]},{raw[8]}] holds commands itself and cannot be held"
        )
    try:
        commands.check(raw)
    except CommandRefused as refusal:
        raise CommandRefused(refusal.code, f"{what}: {refusal}") from None


def request_key(raw: bytes) -> tuple[int, int, int]:
    """Source, APID and sequence count of a telecommand that was checked: its request ID (ECSS-E-ST-70-41C, 6.11)."""
    return raw[9] << 8 | raw[10], packet_apid(raw), (raw[2] << 8 | raw[3]) & 0x3FFF


def once(work: Callable[[Task], Awaitable[None]]) -> Body:
    """A task's body that is not run again where a fault in a command's handler ended it: the command was reported."""
    begun = False

    async def body(task: Task) -> None:
        nonlocal begun
        if not begun:
            begun = True
            await work(task)

    return body


async def stored(task: Task, attempt: Callable[[], Awaitable[None]], on_fault: Callable[[str], None]) -> bool:
    """Make `attempt` until its transaction is stored, a bounded number of times; False where it never was.

    `on_fault` is told the reason, once.
    """
    for tries, wait_s in enumerate((*_RETRIES_S, None)):
        try:
            await attempt()
        except StorageError as error:
            if tries == 0:
                on_fault(str(error))
            if wait_s is not None:
                await task.sleep(wait_s)
        else:
            return True
    return False
