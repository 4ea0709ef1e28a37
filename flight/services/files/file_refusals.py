"""What the file store refuses, as failure codes of commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flight.contract.app import CommandRefused
from flight.contract.failures import Failure
from flight.store.files.refusal import FileRefused, Reason

_CODES: Mapping[Reason, Failure] = {
    Reason.NAME: Failure.FILE_NAME,
    Reason.DIRECTORY: Failure.NO_DIRECTORY,
    Reason.EXISTS: Failure.FILE_EXISTS,
    Reason.ABSENT: Failure.NO_FILE,
    Reason.QUOTA: Failure.FILE_QUOTA,
    Reason.ROOM: Failure.NO_ROOM,
    Reason.TABLE: Failure.TOO_MANY_FILES,
    Reason.LOCKED: Failure.FILE_LOCKED,
    Reason.BUSY: Failure.FILE_BUSY,
    Reason.DAMAGED: Failure.FILE_DAMAGED,
    Reason.STORAGE: Failure.STORAGE,
    Reason.LENGTH: Failure.UNFINISHED,  # of a content that this node makes itself: its own mistake
}
assert _CODES.keys() == set(Reason)


def refusal_of(refused: FileRefused) -> CommandRefused:
    """Return the refusal of the command that the store's refusal leads to, in the same words."""
    return CommandRefused(_CODES[refused.reason], refused.text)


@contextmanager
def as_command() -> Iterator[None]:
    """Have the command refused if the store refuses something within the block."""
    try:
        yield
    except FileRefused as refused:
        raise refusal_of(refused) from None
