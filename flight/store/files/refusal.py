"""Why the file store refuses: a reason that programs go by, and words that reach an operator."""

from __future__ import annotations

from enum import IntEnum

from flight.core.errors import OrbitnodeError


class Reason(IntEnum):
    """What kind of refusal it is. The numbers are part of reports to the ground, and stay as they are."""

    NAME = 1  # the name is not one that a file may have
    DIRECTORY = 2  # there is no such directory
    EXISTS = 3  # the name is taken
    ABSENT = 4  # there is no such file
    QUOTA = 5  # the directory may not hold so much
    ROOM = 6  # the storage has no room
    TABLE = 7  # the catalogue is full
    LOCKED = 8  # the file is locked
    BUSY = 9  # somebody else is at work on it
    DAMAGED = 10  # the content is not what it was
    STORAGE = 11  # the storage or the vault failed
    LENGTH = 12  # the content is longer or shorter than was announced


class FileRefused(OrbitnodeError):
    """Raised by the file store, with nothing changed. `text` is in plain words, for an operator."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
