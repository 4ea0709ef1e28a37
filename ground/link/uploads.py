"""Files on their way up: CFDP class 1 PDUs through COP-1, a few at a time so that commands find room between them.

    WAITING --the session takes a PDU--> GOING --every PDU acknowledged--> SENT
    WAITING, GOING --a PDU rejected or lost, or nothing acknowledged for too long--> failed
    SENT    --event: the node has the file whole--> completed
    SENT    --event: the node has given it up-----> failed
    SENT    --no word for too long----------------> unconfirmed; failed if the node has said that it ignored parts

SENT means that the node's link has every PDU. The node itself says what became of the file, by an event that names the
transaction. An event that comes later, played back for example, still decides over "unconfirmed".
"""

# Why SENT is not completed: COP-1 acknowledges frames, and CFDP class 1 acknowledges nothing. Between the node's link
# and its disk a file may still fail: a checksum, a full store, a number that was used before. Only the node knows, and
# before its event nobody may call the file completed.
#
# Why few PDUs at a time: a command takes its turn in the session behind every PDU that was handed in. `_AHEAD_MAX`
# keeps the window full and the wait of a command short.
#
# Time runs only for the file whose turn it is, and again from each acknowledgement: a file of any length may take as
# long as it needs, as long as it advances. A file that failed is not gone on with: its PDUs that were never sent are
# taken back, and what went up the node forgets in its own time (CfdpConfig.inactivity_s).
#
# Uploads are in memory. If the ground ends, files that were under way are not gone on with; their transactions end on
# board, and numbers of the next process are others (flight/link/cfdp/numbers.py).

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from flight.contract.fields import Plain
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS, ns
from flight.link.cfdp.class1_pdu import HEADER_OCTETS as PDU_HEADER_OCTETS
from flight.link.cfdp.class1_pdu import OFFSET_OCTETS
from flight.link.cfdp.numbers import TransactionNumbers
from flight.link.cfdp.transfers import CfdpSender
from flight.link.space_packet import HEADER_OCTETS, SpacePacket
from ground.operator import COMPLETED, FAILED
from ground.products.names import safe_name

UNCONFIRMED = "unconfirmed"
RECEIVED, GIVEN_UP, IGNORED = "upload_received", "upload_failed", "upload_ignored"  # events of the node

_PDU_OCTETS = HEADER_OCTETS + PDU_HEADER_OCTETS + OFFSET_OCTETS  # of a packet beside the file's own
WAITING_MAX = 8
OCTETS_MAX = 16_000_000
SENT_MAX = 64  # files that are remembered after they were sent, for what the node will say of them
_AHEAD_MAX = 12  # PDUs with the session: its window and a little more
_SEQ_MODULUS = 1 << 14


@dataclass(frozen=True, slots=True)
class PduTag:
    """The tag of one PDU in the session."""

    upload: int
    index: int


@dataclass(slots=True, eq=False)
class Upload:
    """One file. `acknowledged` of `pdus` have arrived; `failure` says why no more will, "" if nothing is wrong.

    outcome: "" until it is known, then "completed", "failed" or "unconfirmed". `reason` says why it is not completed,
    `said` what the node said of the file, both empty if there is nothing to say.
    """

    number: int
    name: str
    sender: CfdpSender
    timeout_ns: int
    deadline_ns: int
    given: int = 0
    acknowledged: int = 0
    failure: str = ""
    outcome: str = ""
    reason: str = ""
    said: str = ""
    word: str = ""  # the event by which the node said it
    open_tags: set[PduTag] = field(default_factory=set)  # PDUs with the session, of which nothing is known yet

    @property
    def pdus(self) -> int:
        """How many PDUs the file has, metadata and EOF included."""
        return self.sender.pdus

    @property
    def is_open(self) -> bool:
        """Whether parts of it are still to arrive."""
        return not self.failure and self.acknowledged < self.pdus


class Uploads:
    """Files in order, one in transfer at a time. entity and node_entity: CFDP entities of the two ends.

    room_octets: of a packet, so that one PDU fills one telecommand frame.
    confirms: the node has the events that tell what became of a file. Without them a file is never more than
    unconfirmed. `sent` and `failed` count transfers, `completed` those that the node has confirmed.
    """

    def __init__(
        self, apid: int, entity: int, node_entity: int, numbers: TransactionNumbers, room_octets: int, *,
        confirms: bool = False,
    ) -> None:  # fmt: skip
        self.sent = 0
        self.failed = 0
        self.completed = 0
        self._apid = apid
        self._entity = entity
        self._node_entity = node_entity
        self._numbers = numbers
        self._segment_octets = room_octets - _PDU_OCTETS
        self._confirms = confirms
        self._queue: deque[Upload] = deque()
        self._sent: deque[Upload] = deque()  # the newest, with and without an outcome
        self._seq = 0

    def begin(self, name: str, octets: bytes, now_ns: int, timeout_s: float) -> Upload:
        """Queue a file; raises OrbitnodeError if there is no room, it is too long, or the name will not do on board."""
        if len(self._queue) >= WAITING_MAX:
            raise OrbitnodeError(f"{WAITING_MAX} files wait to go up already, which is the most")
        if len(octets) > OCTETS_MAX:
            raise OrbitnodeError(f"{name}: {len(octets)} octets, a file that goes up should have at most {OCTETS_MAX}")
        if not name or name != safe_name(name):
            raise OrbitnodeError(f"{name!r} cannot be the name of a file on board, {safe_name(name)!r} can")
        number = self._numbers.take()
        sender = CfdpSender(self._entity, self._node_entity, number, name, octets, self._segment_octets)
        timeout_ns = ns(timeout_s)
        upload = Upload(number, name, sender, timeout_ns, now_ns + timeout_ns)
        self._queue.append(upload)
        return upload

    def next_packet(self, room: int) -> tuple[PduTag, bytes] | None:
        """Return the next packet for the session, which has room for so many; None if there is nothing to give now."""
        upload = self._queue[0] if self._queue else None
        if upload is None or room <= 0 or len(upload.open_tags) >= _AHEAD_MAX:
            return None
        pdu = upload.sender.next_pdu()
        if pdu is None:
            return None
        tag = PduTag(upload.number, upload.given)
        upload.given += 1
        upload.open_tags.add(tag)
        self._seq = (self._seq + 1) % _SEQ_MODULUS
        return tag, SpacePacket(self._apid, self._seq, pdu, is_command=True).encode()

    def acknowledged(self, tag: PduTag, now_ns: int) -> Upload | None:
        """Note that the PDU arrived; return its upload, None if that has ended before."""
        upload = self._find(tag)
        if upload is not None:
            upload.open_tags.discard(tag)
            upload.acknowledged += 1
            upload.deadline_ns = now_ns + upload.timeout_ns
            if not upload.is_open:
                self.sent += 1
                self._leave(upload, now_ns)
                self._remember(upload)
        return upload

    def fail(self, tag: PduTag, reason: str, now_ns: int) -> Upload | None:
        """Fail the upload of a PDU that did not arrive, or of which nobody knows; return it, None if it has ended."""
        upload = self._find(tag)
        if upload is not None:
            self._end(upload, reason, now_ns)
        return upload

    def on_event(self, name: str, values: Mapping[str, Plain]) -> Upload | None:
        """Take an event of the node; return the upload that it changes, None if it changes none."""
        if name not in (RECEIVED, GIVEN_UP, IGNORED):
            return None
        number = values.get("number")
        upload = next((upload for upload in (*self._queue, *self._sent) if upload.number == number), None)
        if upload is None or upload.outcome in (COMPLETED, FAILED):
            return None
        if name == IGNORED and upload.word in (RECEIVED, GIVEN_UP):  # a repeated part changes nothing any more
            return None
        if name == RECEIVED:
            upload.said = f"has {values.get('name')} of {values.get('octets')} octets"
        elif name == GIVEN_UP:
            upload.said = f"has given it up: {values.get('reason')}"
        else:
            pdus = values.get("pdus")
            upload.said = f"ignored {pdus} PDU{'' if pdus == 1 else 's'} of files: {values.get('reason')}"
        upload.word = name
        if upload in self._sent and name != IGNORED:
            self._settle(upload)
        return upload

    def due(self, now_ns: int) -> list[Upload]:
        """End the uploads of which nothing was acknowledged, or said, for too long; return them.

        One that waits for its turn does not end.
        """
        ended = [upload for upload in self._sent if not upload.outcome and now_ns >= upload.deadline_ns]
        for silent in ended:
            self._settle(silent)
        upload = self._queue[0] if self._queue else None
        if upload is not None and now_ns >= upload.deadline_ns:
            self._end(upload, f"nothing of it arrived for {upload.timeout_ns / NS:g} s", now_ns)
            ended.append(upload)
        return ended

    @property
    def next_time_ns(self) -> int | None:
        """When `due` has something to end, None if nothing is under way."""
        times = [upload.deadline_ns for upload in self._sent if not upload.outcome]
        times += [self._queue[0].deadline_ns] if self._queue else []
        return min(times, default=None)

    def _find(self, tag: PduTag) -> Upload | None:
        return next((upload for upload in self._queue if upload.number == tag.upload), None)

    def _remember(self, upload: Upload) -> None:
        """Wait for what the node says of a file that was sent, if it has not said it already."""
        if len(self._sent) == SENT_MAX:
            oldest = self._sent.popleft()
            if not oldest.outcome:
                self._settle(oldest)
        self._sent.append(upload)
        if not self._confirms or upload.word in (RECEIVED, GIVEN_UP):
            self._settle(upload)

    def _settle(self, upload: Upload) -> None:
        """Set the outcome of a file that was sent, by what the node has said."""
        if upload.word == RECEIVED:
            self.completed += 1
            upload.outcome, upload.reason = COMPLETED, ""
        elif upload.word:
            upload.outcome, upload.reason = FAILED, f"sent, and the node {upload.said}"
        elif self._confirms:
            said = f"the node's link has every part, but no event said within {upload.timeout_ns / NS:g} s that it"
            upload.outcome = UNCONFIRMED
            upload.reason = f"sent, not confirmed: {said} has the file"
        else:
            upload.outcome = UNCONFIRMED
            upload.reason = "sent, not confirmed: the dictionary of this node has no event that would tell"

    def _end(self, upload: Upload, reason: str, now_ns: int) -> None:
        self.failed += 1
        upload.failure = upload.reason = reason
        upload.outcome = FAILED
        self._leave(upload, now_ns)

    def _leave(self, upload: Upload, now_ns: int) -> None:
        """Take the head off the queue: only it has parts on their way. The time of the next begins now."""
        assert upload is self._queue[0], upload.name
        self._queue.popleft()
        if self._queue:
            self._queue[0].deadline_ns = now_ns + self._queue[0].timeout_ns
