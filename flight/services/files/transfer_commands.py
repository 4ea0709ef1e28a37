"""ST[23], subtypes of our own: what CFDP transfers are under way, and how ground suspends, resumes and cancels one.

A transfer is named as CFDP does: by the entity that sends the file, and a number (CCSDS 727.0-B-5, 4.1.6.3.1).
"""

# The entity's word alone would be lost with the power. So each of these commands is through when the transfer's record
# is durable: a transfer that ground was told is suspended is so after a reboot as well. What cancelling needs beyond
# that, such as telling the other end, goes on by itself.

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from flight.contract.app import CommandRefused, Slices
from flight.contract.dictionary import Command, Declarations, Report
from flight.contract.failures import Failure
from flight.contract.fields import Field, Row
from flight.contract.service import CommandHandler, Service
from flight.core.future import Future
from flight.link.cfdp.conditions import ConditionCode
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.transactions.requests import Role, TransactionStatus
from flight.services.files.file_commands import SERVICE
from flight.services.reporting.row_report import RowReport
from flight.services.reporting.telemetry import Telemetry

TRANSFERS = 136
_CONDITIONS_MAX = 16  # of 4 bits
_ROLES = ("sending", "receiving")
_RUNNING, _SUSPENDED, _RESTING = range(3)
_PAUSES = ("running", "suspended", "resting")
assert [role.name for role in Role] == ["SENDER", "RECEIVER"]

_TRANSFER = (
    Field("entity", "u64", text="CFDP entity that sends the file"),
    Field("number", "u64", text="of the transaction, given out by that entity"),
)


class Transfers(Protocol):
    """What these commands have the node's transfers do."""

    def suspend(self, transaction: TransactionId) -> Future[None]:
        """Suspend one; the future is done when that is durable."""

    def resume(self, transaction: TransactionId) -> Future[None]:
        """Let one go on; the future is done when that is durable."""

    def cancel(self, transaction: TransactionId) -> Future[None]:
        """Cancel one; the future is done when that is durable."""


def declare(apid: int) -> Declarations:
    """Return the commands about transfers, and their report."""
    return Declarations(commands=_commands(apid), reports=(_report(apid),))


def _commands(apid: int) -> tuple[Command, ...]:
    return (
        Command("suspend_transfer", apid, SERVICE, 132, "let a file transfer rest, kept over reboots", _TRANSFER,
                durable=True),
        Command("resume_transfer", apid, SERVICE, 133, "let a file transfer go on, kept over reboots", _TRANSFER,
                durable=True),
        Command("cancel_transfer", apid, SERVICE, 134, "end a file transfer; what came of a file up is deleted",
                _TRANSFER, durable=True),
        Command("list_transfers", apid, SERVICE, 135, "report the file transfers under way", idempotent=True),
    )  # fmt: skip


def _report(apid: int) -> Report:
    rows = (
        *_TRANSFER,
        Field("role", "u8", "", "of the node", labels=_ROLES),
        Field("peer", "u64", "", "CFDP entity at the other end"),
        Field("cfdp_class", "u8", "", "2 if what is lost is sent again, else 1"),
        Field("pause", "u8", "", "suspended by command; resting until the next contact", labels=_PAUSES),
        Field("state", "str", "", "of the machine that does it"),
        Field("condition", "u8", "", "the newest fault, or why it is being cancelled", labels=_conditions()),
        Field("octets", "u64", "octet", "length of the file, 0 if it is not known yet"),
        Field("done_octets", "u64", "octet", "sent and not asked for again, or received"),
        Field("missing_octets", "u64", "octet", "of the stretches that are missing, or to be sent again"),
        Field("gaps", "u16", "", "how many such stretches there are, the report counts 256 at most"),
        Field("name", "str", "", "of the file at its destination, empty if it is not known yet"),
    )
    return Report(apid, SERVICE, TRANSFERS, "transfers", (Field("transfers", "rows", fields=rows),))


def _conditions() -> tuple[str, ...]:
    """Return the words for each condition code, so that a number that the standard reserves has some as well."""
    words = {int(code): code.text for code in ConditionCode}
    return tuple(words.get(number, f"reserved ({number})") for number in range(_CONDITIONS_MAX))


class TransferCommands(Service):
    """Serves the commands about transfers. `transactions` gives every open one."""

    def __init__(
        self,
        apid: int,
        transfers: Transfers,
        transactions: Callable[[], Sequence[TransactionStatus]],
        telemetry: Telemetry,
    ) -> None:
        self._transfers = transfers
        self._transactions = transactions
        self._report = RowReport(telemetry, _report(apid))

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handlers of the commands about transfers."""
        transfers = self._transfers
        return (
            CommandHandler("suspend_transfer", None, partial(self._have, transfers.suspend)),
            CommandHandler("resume_transfer", None, partial(self._have, transfers.resume)),
            CommandHandler("cancel_transfer", None, partial(self._have, transfers.cancel)),
            CommandHandler("list_transfers", None, self._list),
        )

    async def _have(self, act: Callable[[TransactionId], Future[None]], entity: int, number: int) -> None:
        """Do what the command asks for, once it is stored as open, and wait until that is durable."""
        transaction = TransactionId(entity, number)
        if not any(status.transaction == transaction for status in self._transactions()):
            raise CommandRefused(Failure.NO_TRANSFER, f"no transfer {number} of entity {entity} is open")
        await act(transaction)

    def _list(self) -> Slices:
        return self._report.send(map(_row, self._transactions()))


def _row(status: TransactionStatus) -> Row:
    pause = _SUSPENDED if status.suspended else _RESTING if status.resting else _RUNNING
    return (
        status.transaction.source, status.transaction.number, int(status.role), status.peer,
        status.mode.service_class, pause, status.state, int(status.condition), status.octets or 0,
        status.octets_done, sum(end - start for start, end in status.gaps), len(status.gaps), status.name,
    )  # fmt: skip
