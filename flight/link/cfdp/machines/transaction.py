"""What both ends of a transaction share: faults and their handlers, rests, suspension, the one timer."""

# Rest and suspension. A user suspends a transaction, and only a user resumes it; that outlives contacts and reboots.
# The entity lets a transaction rest if a fault's handler is SUSPEND: by default if nothing came for too long. A rest
# ends when the next contact begins, when the peer says anything in this transaction, or `rest_s` into the contact.
# Rests without progress are counted, over reboots too, and after `rests_max` the next one is a cancel: so a
# transaction whose peer is gone ends, whatever the handlers are. A limit that is ignored, and so begins again, counts
# as a rest: handlers come from the peer as well, and none may keep a transaction for ever.
#
# A suspended transaction sends nothing but the acknowledgement of what its peer said, and no timer of it runs. What
# comes is taken all the same.
#
# One timer per transaction is enough: its state says what it is for. Times are those of the contact clock. A wait that
# begins again with each PDU is not set again each time: when the timer runs out, it looks when the last one came.

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from flight.core.nanoseconds import NS
from flight.link.cfdp.conditions import ConditionCode, FaultHandler
from flight.link.cfdp.header import Header
from flight.link.cfdp.tlv import FaultHandlerOverride, Tlv
from flight.link.cfdp.transactions.counters import EntityCounters
from flight.link.cfdp.transactions.entity_config import TIMER_FAULTS, EntityConfig
from flight.link.cfdp.transactions.filestore import Filestore, FilestoreRefusal
from flight.link.cfdp.transactions.ignored_pdus import IgnoredPdus
from flight.link.cfdp.transactions.indications import Faulted, Indication
from flight.link.cfdp.transactions.requests import Role, TransactionStatus


class Workspace:
    """What the transactions of one entity share with it.

    at_ns: what the contact clock shows. wake_ns: the earliest timer, or earlier. told: indications for the owner.
    due: transactions that have a directive to send. finished: transactions that have ended and are to be taken off.
    stale: whether the choice of the sender whose turn it is must be made again.
    """

    def __init__(self, config: EntityConfig, filestore: Filestore) -> None:
        self.config = config
        self.filestore = filestore
        self.counters = EntityCounters()
        self.ignored = IgnoredPdus(self.counters.ignored)
        self.at_ns = 0
        self.wake_ns: int | None = None
        self.told: list[Indication] = []
        self.due: dict[Transaction, None] = {}
        self.finished: list[Transaction] = []
        self.stale = True
        self.ack_ns, self.nak_ns, self.check_ns = (
            int(config.ack_s * NS),
            int(config.nak_s * NS),
            int(config.check_s * NS),
        )
        self.inactivity_ns, self.keep_alive_ns = int(config.inactivity_s * NS), int(config.keep_alive_s * NS)


class Transaction(ABC):
    """One end of one transaction. `rests` are those since the last progress, `tries` those of the current wait."""

    role: Role

    def __init__(self, work: Workspace, header: Header) -> None:
        self.work = work
        self.header = header
        self.id = header.transaction
        self.condition = ConditionCode.NO_ERROR
        self.text = ""
        self.suspended = False
        self.resting = False
        self.rests = 0
        self.tries = 0
        self.timer_ns: int | None = None
        self.heard_ns = work.at_ns
        self.changed = True
        self.ended = False
        self._handlers: dict[ConditionCode, FaultHandler] = {}

    # What each end does its own way

    @property
    @abstractmethod
    def name(self) -> str:
        """What the receiver is asked to call the file, "" if it is not known."""

    @property
    @abstractmethod
    def octets_done(self) -> int:
        """How far it is, as TransactionStatus says it."""

    @abstractmethod
    def report(self) -> TransactionStatus:
        """Return how it stands."""

    @abstractmethod
    def next_directive(self) -> bytes | None:
        """Return the next directive that is due, None if none is."""

    @abstractmethod
    def cancel(self, condition: ConditionCode, text: str = "") -> None:
        """Cancel it."""

    @abstractmethod
    def abandon(self, condition: ConditionCode, text: str = "") -> None:
        """End it without a word to the peer."""

    @abstractmethod
    def expired(self) -> None:
        """Do what the timer was for."""

    @abstractmethod
    def restart(self) -> None:
        """Begin the current wait again: ask the peer for what is awaited, and start the timer."""

    @abstractmethod
    def contact_began(self) -> None:
        """Ask again for what was asked for in the contact before: the question or the answer may be lost."""

    # Faults (4.8)

    def take_overrides(self, options: Iterable[Tlv]) -> None:
        """Take the fault handlers that the metadata ask for."""
        self._handlers.update((o.condition, o.handler) for o in options if isinstance(o, FaultHandlerOverride))

    def fault(self, condition: ConditionCode, text: str = "") -> FaultHandler:
        """Do what the handler of this fault says, tell the owner, and return which handler it was."""
        config, counters = self.work.config, self.work.counters
        handler = self._handlers.get(condition) or config.handler(condition)
        begins_again = condition in TIMER_FAULTS or condition is ConditionCode.CHECK_LIMIT_REACHED
        if handler is FaultHandler.SUSPEND or begins_again:
            self.rests += 1
            self.changed = True
            if self.rests > config.rests_max and handler in (FaultHandler.SUSPEND, FaultHandler.IGNORE):
                handler = FaultHandler.CANCEL
        counters.faults[condition.name.lower()] += 1
        self.work.told.append(Faulted(self.id, self.role, condition, handler, self.octets_done, text))
        match handler:
            case FaultHandler.CANCEL:
                self.cancel(condition, text)
            case FaultHandler.SUSPEND:
                self._rest()
            case FaultHandler.ABANDON:
                self.abandon(condition, text)
            case FaultHandler.IGNORE if begins_again:
                self.tries = 0
                self.restart()
        return handler

    def refused(self, refusal: FilestoreRefusal) -> None:
        """Do what is done about a filestore that refuses. There is nothing to go on with, so to ignore is to cancel."""
        if self.fault(refusal.condition, refusal.text) is FaultHandler.IGNORE:
            self.cancel(refusal.condition, refusal.text)

    # Rest and suspension

    def _rest(self) -> None:
        self.resting = True
        self.work.counters.rests += 1
        self.work.stale = True
        self.start_timer(int(self.work.config.rest_s * NS))

    def wake(self) -> None:
        """End a rest."""
        self.resting = False
        self.tries = 0
        self.timer_ns = None
        self.work.stale = True
        self.restart()

    def heard(self) -> None:
        """Take in that the peer said something in this transaction."""
        self.heard_ns = self.work.at_ns
        if self.resting and not self.suspended:
            self.wake()

    def suspend(self) -> None:
        """Stop until `resume`."""
        self.suspended = True
        self.resting = False
        self.timer_ns = None
        self.changed = self.work.stale = True

    def resume(self) -> None:
        """Go on after a suspension or a rest."""
        if self.suspended or self.resting:
            self.suspended = False
            self.changed = True
            self.wake()

    def progress(self) -> None:
        """Take in that the peer is there and the transaction gets on: all tries and rests are free again."""
        self.tries = 0
        if self.rests:
            self.rests = 0
            self.changed = True

    # The timer

    def start_timer(self, interval_ns: int) -> None:
        """Let the timer run out after `interval_ns` of contact."""
        if self.suspended:
            return
        work = self.work
        self.timer_ns = at_ns = work.at_ns + interval_ns
        if work.wake_ns is None or at_ns < work.wake_ns:
            work.wake_ns = at_ns

    def waits_longer(self, since_ns: int, interval_ns: int) -> bool:
        """Return whether a wait that began again at `since_ns` goes on; if so, the timer runs until its end."""
        rest_ns = since_ns + interval_ns - self.work.at_ns
        if rest_ns > 0:
            self.start_timer(rest_ns)
        return rest_ns > 0

    def on_timer(self) -> None:
        """Look whether the timer has run out."""
        if self.timer_ns is None or self.work.at_ns < self.timer_ns:
            return
        self.timer_ns = None
        if self.resting:
            self.wake()
        else:
            self.expired()

    def on_contact(self) -> None:
        """Take in that a contact began."""
        if self.suspended:
            return
        if self.resting:
            self.wake()
        else:
            self.contact_began()

    def ignore(self, reason: str) -> None:
        """Count and report a PDU that is not taken."""
        self.work.ignored.add(reason, self.id, self.name)

    def has_due(self) -> None:
        """Put it among those that have a directive to send."""
        self.work.due[self] = None

    def leave(self) -> None:
        """Put it among those that have ended."""
        self.ended = True
        self.timer_ns = None
        self.work.finished.append(self)
        self.work.stale = True
