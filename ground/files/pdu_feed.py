"""PDUs on their way up: into the session of the link, a few at a time so that commands find room between them."""

# COP-1 carries them in order and repeats frames that are lost; CFDP above it asks again for whatever is lost all the
# same, such as what stood in the session when the node was restarted. So nobody waits for the end of a PDU here: its
# end makes room for the next one, however it ended.
#
# Why few: a command takes its turn in the session behind every PDU that was handed in. `_AHEAD_MAX` keeps the window
# full and the wait of a command short. Beyond half of the session's queue no PDU is given to it, so that commands find
# room whatever a file does.

from __future__ import annotations

from dataclasses import dataclass

from flight.link.space_packet import SpacePacket
from ground.files.file_desk import FileDesk
from ground.files.kept_files import Result
from ground.link.actions import Action
from ground.link.ground_link import GroundLink, Service

_AHEAD_MAX = 12  # PDUs with the session: its window and a little more
_SEQ_MODULUS = 1 << 14


@dataclass(frozen=True, slots=True)
class PduTag:
    """The tag of one PDU in the session."""

    number: int


class PduFeed:
    """Gives the session of a link the PDUs of a desk, in telecommand packets of `apid`."""

    def __init__(self, apid: int, session: GroundLink, desk: FileDesk) -> None:
        self._apid = apid
        self._session = session
        self._desk = desk
        self._in_contact = False
        self._ahead: set[PduTag] = set()
        self._given = 0

    def tell_contact(self, in_contact: bool, now_ns: int) -> list[Result]:
        """Tell the desk if a contact in which PDUs can go up began or ended; return what became of files by it.

        With a link that has no way up, hearing the node is enough: class 1 needs no more.
        """
        session = self._session
        in_contact = in_contact and (bool(session.refusal) or session.service in (Service.UP, Service.RECOVERING))
        if in_contact == self._in_contact:
            return []
        self._in_contact = in_contact
        return self._desk.set_contact(in_contact, now_ns)

    def feed(self, now_ns: int) -> list[Action]:
        """Give the session the PDUs that it has room for; return what it asks for."""
        actions: list[Action] = []
        session = self._session
        if session.refusal:
            return actions
        while len(self._ahead) < _AHEAD_MAX and session.waiting < session.command_queue // 2:
            pdu = self._desk.next_pdu(now_ns)
            if pdu is None:
                break
            tag = PduTag(self._given)
            self._given += 1
            self._ahead.add(tag)
            packet = SpacePacket(self._apid, self._given % _SEQ_MODULUS, pdu, is_command=True)
            actions += session.send(packet.encode(), now_ns, tag)
        return actions

    def on_end(self, tag: PduTag) -> None:
        """Take in that the session is done with a PDU."""
        self._ahead.discard(tag)
