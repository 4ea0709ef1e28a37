"""Files on their way up: CFDP class 1 PDUs through COP-1, a few at a time so that commands find room between them.

    WAITING --the session takes a PDU--> GOING --every PDU acknowledged--> SENT
    any     --a PDU rejected or lost, or nothing acknowledged for too long--> FAILED

SENT says that the node has every PDU; that the file is whole it says itself, by an event. A file that failed is not
gone on with: what of it went up the node forgets in its own time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from flight.core.errors import OrbitnodeError
from flight.link.cfdp import CfdpSender
from flight.link.cfdp_pdu import HEADER_OCTETS as PDU_HEADER_OCTETS
from flight.link.cfdp_pdu import OFFSET_OCTETS
from flight.link.space_packet import HEADER_OCTETS, SpacePacket
from flight.link.tc_frame import DATA_OCTETS_MAX
from ground.products import safe_name

SEGMENT_OCTETS = DATA_OCTETS_MAX - HEADER_OCTETS - PDU_HEADER_OCTETS - OFFSET_OCTETS  # one PDU fills one TC frame
WAITING_MAX = 8
OCTETS_MAX = 16_000_000
_AHEAD_MAX = 12  # PDUs with the session: its window and a little, since a command waits behind all of them
_SEQ_MODULUS = 1 << 14
_NUMBER_MODULUS = 1 << 32


@dataclass(frozen=True, slots=True)
class PduTag:
    """Stands for one PDU with the session."""

    upload: int
    index: int


@dataclass(slots=True, eq=False)
class Upload:
    """One file. `acknowledged` of `pdus` have arrived; `failure` says why no more will, empty where none does."""

    number: int
    name: str
    sender: CfdpSender
    timeout_ns: int
    deadline_ns: int
    given: int = 0
    acknowledged: int = 0
    failure: str = ""
    open_tags: set[PduTag] = field(default_factory=set)

    @property
    def pdus(self) -> int:
        return self.sender.pdus

    @property
    def is_open(self) -> bool:
        return not self.failure and self.acknowledged < self.pdus


class Uploads:
    """Files in order, one in transfer at a time. entity and node_entity: CFDP entities of the two ends."""

    def __init__(self, apid: int, entity: int, node_entity: int) -> None:
        self.sent = 0
        self.failed = 0
        self._apid = apid
        self._entity = entity
        self._node_entity = node_entity
        self._queue: deque[Upload] = deque()
        self._number = 0
        self._seq = 0

    def begin(self, name: str, octets: bytes, now_ns: int, tai_ns: int, timeout_s: float) -> Upload:
        """Queue a file; raises OrbitnodeError where there is no room, or the name is none.

        Transaction numbers begin with the second: they must not repeat those of a ground process before this one.
        """
        if len(self._queue) >= WAITING_MAX:
            raise OrbitnodeError(f"{WAITING_MAX} files wait to go up, no more are taken")
        if len(octets) > OCTETS_MAX:
            raise OrbitnodeError(f"{name}: {len(octets)} octets, a file that goes up has {OCTETS_MAX} at most")
        if not name or name != safe_name(name):
            raise OrbitnodeError(f"{name!r} is no name for a file on board, {safe_name(name)!r} would be")
        self._number = max(self._number + 1, tai_ns // 10**9) % _NUMBER_MODULUS
        sender = CfdpSender(self._entity, self._node_entity, self._number, name, octets, SEGMENT_OCTETS)
        timeout_ns = round(timeout_s * 1e9)
        upload = Upload(self._number, name, sender, timeout_ns, now_ns + timeout_ns)
        self._queue.append(upload)
        return upload

    def next_packet(self, room: int) -> tuple[PduTag, bytes] | None:
        """The next packet for the session, which has room for so many; None where there is nothing to give it now."""
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
        """The PDU arrived; its upload, None where that has ended before."""
        upload = self._find(tag)
        if upload is not None:
            upload.open_tags.discard(tag)
            upload.acknowledged += 1
            upload.deadline_ns = now_ns + upload.timeout_ns
            if not upload.is_open:
                self.sent += 1
                self._leave(upload, now_ns)
        return upload

    def fail(self, tag: PduTag, reason: str, now_ns: int) -> Upload | None:
        """The PDU did not arrive, or nobody knows."""
        upload = self._find(tag)
        if upload is not None:
            self._end(upload, reason, now_ns)
        return upload

    def due(self, now_ns: int) -> list[Upload]:
        """The uploads that end because nothing was acknowledged for too long. One that waits for its turn does not."""
        upload = self._queue[0] if self._queue else None
        if upload is None or now_ns < upload.deadline_ns:
            return []
        self._end(upload, f"nothing of it arrived for {upload.timeout_ns / 1e9:g} s", now_ns)
        return [upload]

    @property
    def next_time_ns(self) -> int | None:
        return self._queue[0].deadline_ns if self._queue else None

    def _find(self, tag: PduTag) -> Upload | None:
        return next((one for one in self._queue if one.number == tag.upload), None)

    def _end(self, upload: Upload, reason: str, now_ns: int) -> None:
        self.failed += 1
        upload.failure = reason
        self._leave(upload, now_ns)

    def _leave(self, upload: Upload, now_ns: int) -> None:
        """Only the head of the queue has parts on their way, so only it leaves; the time of the next begins now."""
        assert upload is self._queue[0], upload.name
        self._queue.popleft()
        if self._queue:
            self._queue[0].deadline_ns = now_ns + self._queue[0].timeout_ns
