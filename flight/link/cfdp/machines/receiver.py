"""The receiving end of one transaction, class 1 and 2 (CCSDS 727.0-B-5, 4.6).

States: OPEN (before the EOF), MISSING (the EOF is here; octets or metadata are not), COMPLETE (all is here, the owner
looks at it), DECIDED (the outcome is being stored), FINISHED (the peer is told), ENDED. "c2" is class 2, "clo" class 1
with closure.

    event                     OPEN              MISSING           COMPLETE          DECIDED           FINISHED
    E1  metadata, new         admit             admit             ignored           ignored           ignored
    E2  metadata, known       repeated, and without a file Finished again in FINISHED; other metadata: conflict, ignored
    E3  file data             keep              keep              repeated          ignored           ignored
        of records            INVALID_FILE_STRUCTURE              ignored           ignored           ignored
    E4  EOF, new              ->MISSING: store, then ACK (c2); NAK   store, then ACK                  ACK and Finished
    E5  EOF, known            -                 ACK again (*)     ACK again (*)     ACK again (*)     ACK and Finished
    E6  EOF, another          FILE_SIZE_ERROR   conflict: ignored in every other state
    E7  EOF that cancels      c2: ACK; ->ENDED: cancelled         ignored (**)      ignored (***)     ACK, or (***)
                                                                                                      Finished again
    E8  nothing is missing    -                 ->COMPLETE
    E9  settle: retained      -                 -                 ->DECIDED         -                 -
    E10 settle: refused       -                 -                 the fault it names; SUSPEND ->MISSING, rest
    E11 stored                -                 ACK of the EOF    ACK of the EOF    ->FINISHED        -
    E12 cancel                ->DECIDED         ->DECIDED         ignored (**)      ignored           ignored
    E13 ACK of Finished       ignored           ignored           ignored           ignored           ->ENDED
    E14 Finished is out, clo  -                 -                 -                 -                 ->ENDED
    E15 prompt                NAK or keep alive                   keep alive        -                 Finished again
    E16 timer                 INACTIVITY        NAK, or NAK_LIMIT -                 store again       Finished again,
                                                class 1: CHECK_LIMIT                                  or ACK_LIMIT
    E17 contact begins        -                 NAK, one try      -                 -                 Finished, one try
    E18 wake, resume, reboot  inactivity        NAK, or check     -                 store again       Finished again
    E19 abandon               ->ENDED in every state, without a word

Class 1 without closure goes from COMPLETE, or from OPEN and MISSING if cancelled, to ENDED at once.

(*)   Once it is stored; before that the owner is asked again to store.
(**)  Too late: the file is whole, and only the owner knows whether it is kept already. It will say so.
(***) ACK if it ended as cancelled here as well. Otherwise it is not acknowledged, and the Finished tells the outcome.
"""

# What is missing is asked for in rounds (nak_rounds.py). The timer begins again with each new octet, so a slow answer
# is not asked for twice. Every new octet frees all tries, and there are only so many octets: a peer that talks without
# bringing any runs into the limit all the same.
#
# Metadata without a file are complete as they come, and do not wait for the EOF that follows them (4.6.1.1.9 c), since
# older peers send none. So their EOF may come in any state, also after the end (ended.py), and is acknowledged all the
# same. A peer that sends no EOF repeats the metadata until it hears the Finished.
#
# Class 1 asks for nothing. It waits `check_limit` times `check_s` after the EOF for octets that were overtaken. If only
# the metadata are missing then, the file is delivered without a name. If it has no octets either, there is nothing to
# deliver, and it may have been metadata without a file: that is the CHECK_LIMIT.

from __future__ import annotations

from flight.link.cfdp.checksums import CHECKSUMS
from flight.link.cfdp.conditions import ConditionCode, FaultHandler
from flight.link.cfdp.directives import Ack, Directive, EndOfFile, Metadata, Prompt
from flight.link.cfdp.header import Header
from flight.link.cfdp.machines.receiver_outcome import ReceiverOutcome, ReceiverState
from flight.link.cfdp.machines.transaction import Workspace
from flight.link.cfdp.ranges import RangesFull
from flight.link.cfdp.transactions.filestore import FilestoreRefusal
from flight.link.cfdp.transactions.indications import MetadataReceived

_STALLED = 10  # times the silence that is a fault: so long a sender may talk before the EOF without a new octet


class Receiver(ReceiverOutcome):
    """One file on its way in."""

    def __init__(self, work: Workspace, header: Header) -> None:
        super().__init__(work, header)
        self.first_octet = header.first_octet(file_data=True)
        self._immediate = self._class2 and work.config.nak == "immediate"
        self._progress_ns = work.at_ns
        self._open_wait()

    # What the sender says

    def on_data(self, offset: int, data: bytes | memoryview) -> None:
        """Handle E3."""
        file, work = self.file, self.work
        end = offset + len(data)
        if self.state > ReceiverState.MISSING or offset == end:
            work.counters.repeated += 1
            return
        if end > file.octets_max:
            self._on_beyond(end)
            return
        if self._immediate and offset > file.held.end and file.eof is None:
            self._rounds.begin_gap(file.held.end, offset)
            self.has_due()
        try:
            new = file.keep(offset, end, data)
        except RangesFull:
            self.ignore("ranges")
            return
        except FilestoreRefusal as refusal:
            self.refused(refusal)
            return
        if not new:
            work.counters.repeated += 1
            return
        work.counters.octets_in += new
        self._progress_ns = work.at_ns
        self.changed = True
        self.tries = self.rests = 0
        if self.state is ReceiverState.MISSING:
            if self._rounds.is_over(offset, end):
                self._ask()
            self._look_whether_complete()

    def on_records(self) -> None:
        """Take in that the sender says that the file consists of records, as long as that matters."""
        if self.state > ReceiverState.MISSING:
            self.ignore("state")
        else:
            self.fault(ConditionCode.INVALID_FILE_STRUCTURE)

    def _on_beyond(self, end: int) -> None:
        """Take in that octets came that the file cannot have."""
        if self.file.eof is None:
            self.ignore("offset")
        else:
            text = f"octets up to {end} came, the file has {self.file.octets_max}"
            self.fault(ConditionCode.FILE_SIZE_ERROR, text)

    def on_metadata(self, metadata: Metadata) -> None:
        """Handle E1 and E2."""
        known = self.file.metadata
        if known is not None and metadata != known:
            self.ignore("conflict")
        elif known is not None:
            self.work.counters.repeated += 1
            if not self.file.has_file:
                self._say_finished()
        elif self.state > ReceiverState.MISSING:
            self.ignore("state")
        elif self._takes(metadata):
            self.work.told.append(MetadataReceived(self.id, metadata))
            self._get_on()
            self._look_whether_complete()

    def _takes(self, metadata: Metadata) -> bool:
        """Return whether the metadata are taken. If the transaction only rests, they are asked for again."""
        has_file = bool(metadata.source_name or metadata.name)
        self.take_overrides(metadata.options)
        wrong = self.file.wrong_size(metadata.octets) if metadata.octets or not has_file else ""
        handler = FaultHandler.IGNORE
        if wrong:
            handler = self.fault(ConditionCode.FILE_SIZE_ERROR, wrong)
        elif metadata.checksum_type not in CHECKSUMS:
            text = f"checksum type {metadata.checksum_type}"
            handler = self.fault(ConditionCode.UNSUPPORTED_CHECKSUM_TYPE, text)
        if handler is not FaultHandler.IGNORE:
            return False
        try:
            self.file.admit(metadata)
        except FilestoreRefusal as refusal:
            self.refused(refusal)
            return False
        return True

    def on_eof(self, eof: EndOfFile) -> None:
        """Handle E4 to E7."""
        known = self.file.eof
        if eof.condition is not ConditionCode.NO_ERROR:
            self._on_eof_cancel(eof)
        elif self.file.is_contradicted(eof):
            self.ignore("conflict")
        elif known is None and self.state is ReceiverState.COMPLETE:
            self._take_eof(eof)
        elif known is not None or self.state > ReceiverState.MISSING:
            self.work.counters.repeated += 1
            self._acknowledge_eof()
            self._say_finished()
        elif wrong := self.file.wrong_size(eof.octets):
            self.fault(ConditionCode.FILE_SIZE_ERROR, wrong)
        else:
            self.state = ReceiverState.MISSING
            self._take_eof(eof)
            self._look_whether_complete()
            self._wait_for_missing()

    def _take_eof(self, eof: EndOfFile) -> None:
        self.file.take_eof(eof)
        self._get_on()
        if self._class2:
            self._eof_unconfirmed = True
            self._store()

    def _on_eof_cancel(self, eof: EndOfFile) -> None:
        """Handle E7."""
        if self.state <= ReceiverState.MISSING:
            # Nothing to store first: a receiver that forgets it asks, and is told again.
            self._ack_due = eof.condition if self._class2 else None
            self.has_due()
            self._end(eof.condition, "cancelled by the sender")
        elif self.state is not ReceiverState.FINISHED:
            self.ignore("state")
        elif self.is_kept:
            self._say_finished()
        else:
            self._ack_due = eof.condition
            self.has_due()

    def on_ack(self, ack: Ack) -> None:
        """Handle E13."""
        if self.state is ReceiverState.FINISHED and ack.directive is Directive.FINISHED:
            self._end(self.condition, self.text)
        else:
            self.ignore("state")

    def on_prompt(self, prompt: Prompt) -> None:
        """Handle E15."""
        if self.state > ReceiverState.MISSING:
            self._say_finished()
        elif self._class2 and prompt.keep_alive:
            self._keep_alive_due = True
        elif self._class2:
            self._rounds.begin()
        self.has_due()

    def _get_on(self) -> None:
        self.progress()
        self._progress_ns = self.work.at_ns
        self.changed = True

    # What is missing

    def _look_whether_complete(self) -> None:
        """Do E8."""
        if self.file.metadata is not None and self.state <= ReceiverState.MISSING and self.file.is_whole:
            self._complete()

    def _complete(self) -> None:
        try:
            self.file.open()
        except FilestoreRefusal as refusal:
            self.refused(refusal)
            return
        self.state = ReceiverState.COMPLETE
        self.timer_ns = None
        self._rounds.stop()
        self.work.told.append(self.file.complete())

    # Time and contact

    def expired(self) -> None:
        """Handle E16."""
        work = self.work
        match self.state:
            case ReceiverState.OPEN if self._patience_ns() <= 0:
                self.fault(ConditionCode.INACTIVITY_DETECTED)
            case ReceiverState.OPEN:
                self._keep_alive_due = self._class2 and bool(work.keep_alive_ns)
                self.has_due()
                self._open_wait()
            case ReceiverState.MISSING:
                if not self.waits_longer(self._progress_ns, work.nak_ns if self._class2 else work.check_ns):
                    self._ask_again()
            case ReceiverState.DECIDED:
                self._wait_for_disk()
            case ReceiverState.FINISHED:
                self._finish_again()

    def _patience_ns(self) -> int:
        """Return how much longer to wait before the EOF: for any PDU, and much longer for a new octet."""
        silence_ns = self.work.inactivity_ns
        return min(self.heard_ns + silence_ns, self._progress_ns + _STALLED * silence_ns) - self.work.at_ns

    def _open_wait(self) -> None:
        """Wait until the sender was silent too long, or the next keep alive is due."""
        patience_ns, keep_alive_ns = self._patience_ns(), self.work.keep_alive_ns
        self.start_timer(min(patience_ns, keep_alive_ns) if self._class2 and keep_alive_ns else patience_ns)

    def _ask(self) -> None:
        """Ask for what is missing, and begin to wait for it."""
        self._rounds.begin()
        self.has_due()
        self.start_timer(self.work.nak_ns)

    def _ask_again(self) -> None:
        """Count how often octets were asked for, or in class 1 waited for, in vain (4.6.3.3, 4.6.4.7)."""
        self.tries += 1
        if self._class2 and self.tries < self.work.config.nak_limit:
            self._ask()
        elif self._class2:
            self.fault(ConditionCode.NAK_LIMIT_REACHED)
        elif self.tries < self.work.config.check_limit:
            self.start_timer(self.work.check_ns)
        elif self.file.is_whole and (self.file.octets or self.file.metadata is not None):
            self._complete()
        else:
            self.fault(ConditionCode.CHECK_LIMIT_REACHED)

    def _wait_for_missing(self) -> None:
        """Begin to wait for what is missing, if anything is."""
        if self.state is ReceiverState.MISSING and self._class2:
            self._ask()
        elif self.state is ReceiverState.MISSING:
            self.start_timer(self.work.check_ns)

    def restart(self) -> None:
        """Handle E18."""
        match self.state:
            case ReceiverState.OPEN:
                self.heard_ns = self.work.at_ns
                self._open_wait()
                self._look_whether_complete()
            case ReceiverState.MISSING:
                self._look_whether_complete()
                self._wait_for_missing()
            case ReceiverState.DECIDED:
                self._wait_for_disk()
            case ReceiverState.FINISHED:
                self._say_finished()
        self.has_due()

    def contact_began(self) -> None:
        """Handle E17."""
        if self.state is ReceiverState.MISSING and self._class2:
            self._ask_again()
        elif self.state is ReceiverState.FINISHED and not self._finished_due:
            self._finish_again()

    def go_on(self, suspended: bool) -> None:
        """Go on after a reboot (E18). What a record says was stored: EOF and Finished need not wait again."""
        self.suspended = suspended
        if self.state <= ReceiverState.MISSING:
            try:
                self.file.reopen()
            except FilestoreRefusal as refusal:
                self.file.metadata = None
                self.refused(refusal)
        if self.file.eof is not None:
            self._acknowledge_eof()
        if self.suspended:
            self.timer_ns = None
        elif not self.ended and not self.resting:
            self.restart()
