"""The sending end of one transaction, class 1 and 2 (CCSDS 727.0-B-5, 4.6).

States: SENDING (metadata, new data and the first EOF are given out), ACK_AWAITED (of the EOF), FINISHED_AWAITED,
CANCELLING (the EOF says so), ENDED. "c2" is class 2, "clo" class 1 with closure.

    event                     SENDING                  ACK_AWAITED (c2)       FINISHED_AWAITED       CANCELLING
    E1  last new PDU is out   c2 ->ACK_AWAITED, clo ->FINISHED_AWAITED, else ->ENDED: all sent
    E2  ACK of the EOF        ignored                  ->FINISHED_AWAITED     -                      ignored
    E3  ACK of the cancel     ignored                  ignored                ignored                ->ENDED: cancelled
    E4  NAK                   resend what was sent     resend                 resend                 ignored
    E5  Finished, no error    ignored (*)              ->ENDED: as it says    ->ENDED: as it says    ->ENDED: as it says
    E6  Finished, a fault     ->ENDED: as it says in every state
    E7  keep alive            noted; too far behind: KEEP_ALIVE_LIMIT                                ignored
    E8  timer                 -                        EOF again              c2: INACTIVITY (**)    EOF again
                                                                              clo: wait again
    E9  timer, at the limit   -                        ACK_LIMIT              clo: CHECK_LIMIT       ACK_LIMIT (***)
    E10 cancel                nothing sent: ->ENDED; else ->CANCELLING, the EOF says so; class 1: once it is out ->ENDED
    E11 file cannot be read   FILESTORE_REJECTION in every state that reads
    E12 contact begins        -                        EOF again, one try     -                      EOF again, one try
    E13 contact ends          class 1: rewind          -                      -                      -
    E14 wake, resume, reboot  go on                    EOF again              c2: ->ACK_AWAITED,     EOF again
                                                                              EOF again (**)
    E15 abandon               ->ENDED in every state, without a word

(*)   A Finished names no file. Before the EOF is out it can only be of a file sent before under this number, or of a
      life before the reboot; in that case the EOF brings it again.
(**)  A receiver that lost its memory says nothing more. The EOF makes it begin again, and ask for everything.
(***) A rest as usual, and after `rests_max` of them ->ENDED: cancelled.
"""

# Who has the last word. The receiver decides how a class 2 transaction ended, since only it knows what it has: whatever
# the sender wanted, a Finished tells it the outcome, also while it cancels. So both ends agree, except that a sender
# which hears nothing over all its rests reports a failure of a file that may have arrived. The other way round there is
# no doubt: what a sender calls delivered is.
#
# Metadata without a file are followed by an EOF of 0 octets, as a file is (4.6.1.1.9 c): a peer may wait for it, and it
# is what a receiver that lost the metadata asks for them by.
#
# Nothing of a sender waits for the disk. Its record may be older: then it sends again what was sent, and the receiver
# takes it for a repetition. If the record is older than the end of the transaction, the receiver answers the EOF by the
# Finished that it remembers (ended.py).

from __future__ import annotations

from enum import IntEnum

from flight.link.cfdp.conditions import AckStatus, ConditionCode, DeliveryCode, FileStatus
from flight.link.cfdp.directives import Ack, EndOfFile, Finished, KeepAlive, Metadata, Nak, Prompt
from flight.link.cfdp.header import Mode
from flight.link.cfdp.machines.outgoing_file import OutgoingFile
from flight.link.cfdp.machines.transaction import Transaction, Workspace
from flight.link.cfdp.tlv import FilestoreResponse
from flight.link.cfdp.transactions.filestore import FilestoreRefusal, SourceFile
from flight.link.cfdp.transactions.indications import EofSent, TransactionFinished
from flight.link.cfdp.transactions.requests import GAPS_SHOWN, Role, TransactionStatus


class SenderState(IntEnum):
    """The states of the table."""

    SENDING = 0
    ACK_AWAITED = 1
    FINISHED_AWAITED = 2
    CANCELLING = 3
    ENDED = 4


class Sender(Transaction):
    """One file on its way out. `open_name` is what the filestore calls it, `started` whether the metadata are out.

    `priority` and `place` order the senders of an entity.
    """

    role = Role.SENDER

    def __init__(
        self, work: Workspace, metadata: Metadata, source: SourceFile | None, open_name: str, priority: int
    ) -> None:
        super().__init__(work, metadata.header)
        self.metadata = metadata
        self.open_name = open_name
        self.priority = priority
        self.place = 0
        self.state = SenderState.SENDING
        self.started = False
        self.file = OutgoingFile(work, metadata, source)
        self.has_file = bool(metadata.source_name or metadata.name)
        self.metadata_raw = metadata.encode()
        self._class2 = metadata.header.mode is Mode.ACKNOWLEDGED
        self._metadata_due = False
        self._eof_due = False
        self._prompts: list[bool] = []
        self._answered_ns = work.at_ns  # when the receiver last got on: an ACK, or a NAK
        self.take_overrides(metadata.options)

    # What is sent

    @property
    def has_new(self) -> bool:
        """Whether new data, or what frames them, can be given out now."""
        return self.state is SenderState.SENDING and not self.suspended and not self.resting

    @property
    def has_resend(self) -> bool:
        """Whether data that were asked for again can be given out now."""
        return bool(self.file.resend.total) and not self.suspended and not self.resting

    def next_new(self) -> bytes | None:
        """Return the metadata, the next segment, or in the end the EOF; None if the file cannot be read (E11)."""
        file = self.file
        if self.started and file.offset < file.octets:
            self.changed = True
            try:
                return file.next_new()
            except FilestoreRefusal as refusal:
                self.refused(refusal)
                return None
        self.changed = True
        if not self.started:
            self.started = True
            return self.metadata_raw
        eof = self._eof()
        self._all_out()
        return eof

    def next_resent(self) -> bytes | None:
        """Return the first segment that was asked for again; None if the file cannot be read (E11)."""
        try:
            return self.file.next_resent()
        except FilestoreRefusal as refusal:
            self.refused(refusal)
            return None
        finally:
            if not self.file.resend.total:
                self.work.stale = True

    def next_directive(self) -> bytes | None:
        """Return the directive that is due."""
        if self.suspended or self.ended:
            return None
        if self._metadata_due:
            self._metadata_due = False
            return self.metadata_raw
        if self._prompts:
            return Prompt(self.header, self._prompts.pop(0)).encode()
        if not self._eof_due:
            return None
        self._eof_due = False
        if self.state is SenderState.CANCELLING and not self._class2:
            raw = self._eof()
            self._end_unheard()
            return raw
        self.start_timer(self.work.ack_ns)
        return self._eof()

    def _eof(self) -> bytes:
        # A sender that gives up names the octets that its checksum is of (4.11.2.2).
        file = self.file
        octets = file.octets if self.condition is ConditionCode.NO_ERROR else file.summed
        return EndOfFile(self.header, self.condition, file.checksum, octets, self.work.config.entity).encode()

    def _all_out(self) -> None:
        """Do E1."""
        self.work.stale = True
        self.work.told.append(EofSent(self.id))
        if self._class2:
            self.state = SenderState.ACK_AWAITED
            self.start_timer(self.work.ack_ns)
        elif self.metadata.closure:
            self.state = SenderState.FINISHED_AWAITED
            self.start_timer(self.work.check_ns)
        else:
            self._end(ConditionCode.NO_ERROR, DeliveryCode.COMPLETE, FileStatus.UNREPORTED)

    # What the receiver says

    def on_ack(self, ack: Ack) -> None:
        """Handle E2 and E3."""
        given_up = ack.condition is not ConditionCode.NO_ERROR
        if self.state is SenderState.CANCELLING and given_up:
            self._end_unheard()
        elif self.state is SenderState.ACK_AWAITED and not given_up and ack.status is not AckStatus.UNRECOGNIZED:
            self.state = SenderState.FINISHED_AWAITED
            self._eof_due = False
            self.tries = 0
            self.changed = True
            self._answered_ns = self.work.at_ns
            self.start_timer(self.work.inactivity_ns)
        else:
            self.ignore("state")

    def on_nak(self, nak: Nak) -> None:
        """Handle E4."""
        if self.state is SenderState.CANCELLING or not self._class2:
            self.ignore("state")
            return
        wants_metadata, refused = self.file.take_requests(nak)
        if refused:
            self.ignore(refused)
        self._metadata_due |= wants_metadata and self.started
        self.has_due()
        self._answered_ns = self.work.at_ns
        self.changed = self.work.stale = True
        if self.file.is_asked_too_often:
            self.fault(ConditionCode.NAK_LIMIT_REACHED, "the receiver asks for octets without end")
        else:
            self.progress()

    def on_finished(self, finished: Finished) -> bool:
        """Handle E5 and E6; return whether it is to be acknowledged."""
        if finished.condition is ConditionCode.NO_ERROR and self.state is SenderState.SENDING:
            self.ignore("state")
            return False
        self._end(finished.condition, finished.delivery, finished.status, finished.responses)
        return self._class2

    def on_keep_alive(self, keep_alive: KeepAlive) -> None:
        """Handle E7."""
        behind = self.work.config.keep_alive_octets
        if self.state is SenderState.CANCELLING:
            self.ignore("state")
        elif behind and self.file.offset - keep_alive.progress > behind:
            self.fault(ConditionCode.KEEP_ALIVE_LIMIT_REACHED)

    # Time and contact

    def expired(self) -> None:
        """Handle E8 and E9."""
        if self.state in (SenderState.ACK_AWAITED, SenderState.CANCELLING):
            self._ask_again()
        elif self.state is SenderState.FINISHED_AWAITED and not self._class2:
            self.tries += 1
            if self.tries >= self.work.config.check_limit:
                self.fault(ConditionCode.CHECK_LIMIT_REACHED)
            else:
                self.start_timer(self.work.check_ns)
        elif self.state is SenderState.FINISHED_AWAITED:
            since_ns = self.work.at_ns if self.file.resend.total else self._answered_ns
            if not self.waits_longer(since_ns, self.work.inactivity_ns):
                self.fault(ConditionCode.INACTIVITY_DETECTED)

    def restart(self) -> None:
        """Handle E14."""
        match self.state:
            case SenderState.FINISHED_AWAITED if self._class2:
                self.state = SenderState.ACK_AWAITED
                self._send_eof()
            case SenderState.FINISHED_AWAITED:
                self.start_timer(self.work.check_ns)
            case SenderState.ACK_AWAITED | SenderState.CANCELLING:
                self._send_eof()
        self.has_due()

    def contact_began(self) -> None:
        """Handle E12."""
        if self.state in (SenderState.ACK_AWAITED, SenderState.CANCELLING) and not self._eof_due:
            self._ask_again()

    def contact_ended(self) -> None:
        """Handle E13: nobody asks a class 1 sender for what was lost in the modem."""
        if self._class2 or self.state is not SenderState.SENDING or not self.started:
            return
        if self.file.rewind(self.work.config.rewind_octets):
            self.started = self.file.offset > 0  # at the beginning of the file the metadata may be lost as well
        self.changed = True

    def _ask_again(self) -> None:
        self.tries += 1
        if self.tries >= self.work.config.ack_limit:
            self.fault(ConditionCode.ACK_LIMIT_REACHED)
        else:
            self._send_eof()

    def _send_eof(self) -> None:
        self._eof_due = True
        self.has_due()

    # How it ends

    def prompt(self, keep_alive: bool) -> None:
        """Ask the receiver for its progress, or for what is missing."""
        if self._class2 and self.state is not SenderState.CANCELLING and keep_alive not in self._prompts:
            self._prompts.append(keep_alive)
            self.has_due()

    def cancel(self, condition: ConditionCode, text: str = "") -> None:
        """Handle E10, and E9 while it is being cancelled."""
        if self.state is SenderState.CANCELLING:
            # Asked for twice, only a suspension is to end; if the fault of an ACK limit wants it, the peer is gone.
            if condition is ConditionCode.ACK_LIMIT_REACHED:
                self._end_unheard()
            elif self.suspended:
                self.resume()
            return
        self.condition, self.text = condition, text
        if not self.started:
            self._end_unheard()
            return
        self.state = SenderState.CANCELLING
        self.suspended = self.resting = False
        self.tries = self.rests = 0
        self.file.drop_content()
        self._metadata_due = False
        self._prompts.clear()
        self.timer_ns = None
        self.changed = self.work.stale = True
        self._send_eof()

    def abandon(self, condition: ConditionCode, text: str = "") -> None:
        """Handle E15."""
        if self.state is not SenderState.CANCELLING:
            self.condition, self.text = condition, text
        self._end_unheard()

    def _end_unheard(self) -> None:
        self._end(self.condition, DeliveryCode.INCOMPLETE, FileStatus.UNREPORTED)

    def _end(
        self, condition: ConditionCode, delivery: DeliveryCode, status: FileStatus,
        responses: tuple[FilestoreResponse, ...] = (),
    ) -> None:  # fmt: skip
        self.state = SenderState.ENDED
        self.condition = condition
        self.file.drop_content()
        is_failed = condition is not ConditionCode.NO_ERROR
        unsent = ((self.file.offset, self.file.octets),) if is_failed and self.file.offset < self.file.octets else ()
        self.work.told.append(
            TransactionFinished(
                self.id, self.role, condition, delivery, status, self.name, self.file.octets, unsent, responses,
                self.text if is_failed else "",
            )
        )  # fmt: skip
        self.leave()

    # Report and record

    @property
    def name(self) -> str:
        """What the receiver is asked to call the file."""
        return self.metadata.name

    @property
    def octets_done(self) -> int:
        """Octets that were sent and not asked for again."""
        return self.file.offset - self.file.resend.total

    def report(self) -> TransactionStatus:
        """Return how it stands."""
        return TransactionStatus(
            self.id, self.role, self.header.mode, self.header.destination, self.state.name.lower(),
            self.metadata.source_name, self.name, self.file.octets, self.octets_done,
            tuple(self.file.resend)[:GAPS_SHOWN], self.condition, self.suspended, self.resting,
        )  # fmt: skip

    def go_on(self, suspended: bool) -> None:
        """Go on after a reboot (E14)."""
        if self.state is not SenderState.CANCELLING and self.has_file:
            try:
                self.file.source = self.work.filestore.open_source(self.open_name)
                if self.file.source.octets != self.file.octets:
                    text = "the file has another size than when its transfer began"
                    raise FilestoreRefusal(text, ConditionCode.FILE_SIZE_ERROR)
            except FilestoreRefusal as refusal:
                self.cancel(refusal.condition, refusal.text)
                return
        self.suspended = suspended
        if not suspended:
            self.restart()
