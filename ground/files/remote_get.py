"""A file that the ground asks a node for, by a proxy put request (CCSDS 727.0-B-5, 6.2)."""

#     asked --the request arrived--> coming --the file is among the products--> completed
#     asked, coming --the request failed, the node says no, or its file fails--> failed
#
# Why a proxy put and not a telecommand of ours: any CFDP entity that plays the part of a node knows it, and the file
# that comes names the request, so that nothing has to be guessed by its name. The answer, if there is no such file,
# comes the same way.
#
# A get is held in memory. After a restart of the ground the file still comes, among the products like any other; only
# nobody waits for it any more.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from flight.core.errors import DecodeError, OrbitnodeError
from flight.link.cfdp.conditions import ConditionCode
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.messages import decode_message
from flight.link.cfdp.tlv import MessageToUser, Tlv
from flight.link.cfdp.transactions.user_operations import (
    ProxyPutAnswer,
    RequestedFile,
    UserOperation,
    read_operations,
)
from ground.operator import COMPLETED, FAILED

GETS_MAX = 64  # open ones


@dataclass(slots=True, eq=False)
class RemoteGet:
    """One file that was asked for. `arriving` is the transaction by which it comes, None before it does.

    outcome: "" as long as it is open, then "completed" or "failed", with `reason`. product: its name among the
    products, with `octets` and `digest` (SHA-256).
    """

    request: TransactionId
    name: str
    arriving: TransactionId | None = None
    outcome: str = ""
    reason: str = ""
    product: str = ""
    octets: int = 0
    digest: str = ""

    def fail(self, reason: str) -> None:
        """End it without a file, unless it has ended."""
        if not self.outcome:
            self.outcome, self.reason = FAILED, reason

    def complete(self, product: str, octets: int, digest: str) -> None:
        """End it with its file."""
        if not self.outcome:
            self.outcome, self.product, self.octets, self.digest = COMPLETED, product, octets, digest


class RemoteGets:
    """The files that were asked for: the newest, open or not."""

    def __init__(self) -> None:
        self._gets: dict[TransactionId, RemoteGet] = {}

    def check_room(self) -> None:
        """Raise OrbitnodeError if too many were asked for and have not come."""
        if sum(not get.outcome for get in self._gets.values()) >= GETS_MAX:
            raise OrbitnodeError(f"{GETS_MAX} files were asked for already and have not come")

    def begin(self, request: TransactionId, name: str) -> RemoteGet:
        """Note that a file was asked for."""
        get = self._gets[request] = RemoteGet(request, name)
        while len(self._gets) > 2 * GETS_MAX:
            del self._gets[next(iter(self._gets))]
        return get

    def on_metadata(self, transaction: TransactionId, options: Iterable[Tlv]) -> None:
        """Take in that a file comes: it may be one that was asked for."""
        for operation in _operations(options):
            if isinstance(operation, RequestedFile | ProxyPutAnswer):
                get = self._gets.get(operation.originating)
                if get is not None and not get.outcome:
                    get.arriving = transaction

    def on_messages(self, messages: Sequence[MessageToUser]) -> TransactionId | None:
        """Take in what the node says without a file; return the request that it answers."""
        for answer in _operations(messages):
            if isinstance(answer, ProxyPutAnswer) and answer.condition is not ConditionCode.NO_ERROR:
                get = self._gets.get(answer.originating)
                if get is not None:
                    get.fail(f"the node says: {answer.condition.text}")
                    return get.request
        return None

    def on_kept(self, transaction: TransactionId, product: str, octets: int, digest: str) -> None:
        """Take in that a file is among the products."""
        for get in self._gets.values():
            if get.arriving == transaction:
                get.complete(product, octets, digest)

    def on_failed(self, transaction: TransactionId, reason: str) -> None:
        """Take in that a request, or the file that came of it, failed."""
        for get in self._gets.values():
            if transaction in (get.request, get.arriving):
                get.fail(reason)


def _operations(options: Iterable[Tlv]) -> list[UserOperation]:
    """Return what these messages ask for or answer. One that is not what its type says is left out."""
    sound: list[MessageToUser] = []
    for option in options:
        if isinstance(option, MessageToUser):
            with suppress(DecodeError):
                decode_message(option)
                sound.append(option)
    return read_operations(sound)
