"""Commands that the node holds for later: scheduled (ST[11]), in a sequence (ST[21]), tied to an event (ST[19]).

Here stands what the three have in common: what may be held, and how one is started when its turn comes.
"""

# A held command is checked twice: when it comes, so that ground hears at once of a wrong one, and when its turn comes,
# since the mode, the parameters or the software may be others by then. It keeps the request id that ground gave it, and
# its reports bear that id whenever it is executed.
#
# A command that itself brings commands to hold is not held. What one packet may contain is bounded by its length; what
# is in a packet in a packet would have to be checked to any depth.
#
# A command leaves the place where it is held in the transaction that stores it as open (commanding/commands.py). If
# that transaction fails the command is still held, and is tried again a few times. After that its holder decides: the
# schedule leaves it to the next boot, a sequence is aborted, an event's action is given up.

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
_RETRIES_S = (0.5, 1.0, 2.0, 4.0, 8.0)  # between two attempts: 15.5 s in all, for a disk that is full for a moment


@dataclass(frozen=True, slots=True)
class HolderParts:
    """What schedule, sequences and event-actions alike are built from.

    The vault keeps their commands, `commands` executes them, telemetry and events tell of it, the scheduler runs their
    tasks.
    """

    vault: Vault
    commands: Commands
    telemetry: Telemetry
    events: Events
    scheduler: Scheduler


def check_held(commands: Commands, raw: bytes, what: str) -> None:
    """Check whether `raw` may be held. Raises CommandRefused with a detail that begins with `what`."""
    # Octets 7 and 8 are service and subtype. They are looked at before anything inside is decoded, so that a packet in
    # a packet costs nothing.
    if len(raw) >= TC_DATA_OFFSET and (raw[7], raw[8]) in HOLDERS:
        raise CommandRefused(
            Failure.BAD_VALUE, f"{what}: TC[{raw[7]},{raw[8]}] holds commands itself and cannot be held"
        )
    try:
        commands.check(raw)
    # The code stays, the text gains the place in the list: ground sent many commands at once.
    except CommandRefused as refusal:
        raise CommandRefused(refusal.code, f"{what}: {refusal}") from None


def request_key(raw: bytes) -> tuple[int, int, int]:
    """Return source, APID and sequence count of a checked telecommand: its request id (ECSS-E-ST-70-41C, 6.11)."""
    return raw[9] << 8 | raw[10], packet_apid(raw), (raw[2] << 8 | raw[3]) & 0x3FFF


def once(work: Callable[[Task], Awaitable[None]]) -> Body:
    """Return the body of a task that does `work` once.

    If a fault in a command's handler ended the task, the scheduler starts it again, but the command has been reported.
    """
    begun = False

    async def body(task: Task) -> None:
        nonlocal begun
        if not begun:
            begun = True
            await work(task)

    return body


async def stored(task: Task, attempt: Callable[[], Awaitable[None]], on_fault: Callable[[str], None]) -> bool:
    """Make `attempt` until its transaction is stored, a bounded number of times. Return False if it never was.

    `on_fault` is given the reason of the first failure, once.
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
