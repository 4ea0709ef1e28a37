"""Files on their way up: their parts into the session's queue, and back out of it when a file fails."""

# The parts take at most half of the session's queue, so that commands find room. A part is acknowledged, rejected or
# lost like a command; the file ends with its last part, or with the first that failed.

from __future__ import annotations

from ground.changes import Change, Listeners
from ground.link.actions import Acknowledged, Action, Lost, Rejected
from ground.link.ground_link import GroundLink
from ground.link.uploads import PduTag, Upload, Uploads


class UploadSender:
    """Joins the uploads to the link that they go up over. Each method returns what is to be done for it."""

    def __init__(self, uploads: Uploads, session: GroundLink, listeners: Listeners) -> None:
        self._uploads = uploads
        self._session = session
        self._listeners = listeners

    def feed(self, now_ns: int) -> list[Action]:
        """Give the session the parts that it has room for."""
        actions: list[Action] = []
        session = self._session
        while (given := self._uploads.next_packet(session.command_queue // 2 - session.waiting)) is not None:
            tag, packet = given
            actions += session.send(packet, now_ns, tag)
        return actions

    def on_pdu_end(self, action: Acknowledged | Rejected | Lost, now_ns: int) -> list[Action]:
        """Take in what became of a part of a file."""
        assert isinstance(action.tag, PduTag)
        if isinstance(action, Acknowledged):
            upload = self._uploads.acknowledged(action.tag, now_ns)
            if upload is not None:
                self._listeners.announce(Change.UPLOAD, upload)
            return []
        upload = self._uploads.fail(action.tag, action.reason, now_ns)
        return [] if upload is None else self.end(upload)

    def on_time(self, now_ns: int) -> list[Action]:
        """Give up the files whose time has run out."""
        return [action for upload in self._uploads.due(now_ns) for action in self.end(upload)]

    def end(self, upload: Upload) -> list[Action]:
        """Take back the parts of a failed upload that were not sent yet."""
        actions: list[Action] = []
        for tag in sorted(upload.open_tags, key=lambda tag: tag.index):  # a set has no order, and runs must be alike
            actions += self._session.drop(tag, upload.failure)
        self._listeners.announce(Change.UPLOAD, upload)
        return actions
