"""Failure codes, ST[01]: why a telecommand was not accepted or not executed, as a number that ground reads.

    1 .. 99         the node's own, `Failure`
    100 .. 65535    an app's own, an enum of its own over `FailureCode`

Each owner declares its enum to the dictionary (`Declarations.failures`), which gives ground the text of each code.
"""

# Codes are for good: they stand in recorded reports, so a number is never given another meaning and never used again.
# The texts are part of the dictionary's document and of its checksum. That two owners declare one code is found as the
# dictionary is made (flight/contract/collect.py).

from __future__ import annotations

from enum import IntEnum, unique
from typing import Self

APP_CODES_FROM = 100
CODE_MAX = 0xFFFF


class FailureCode(IntEnum):
    """A failure code and its meaning: `NO_CAMERA = 100, "the node has no camera"` in an app's own subclass."""

    text: str

    def __new__(cls, code: int, text: str) -> Self:
        """Make the member with this code and text."""
        member = int.__new__(cls, code)
        member._value_ = code  # the code alone: IntEnum would make a value of code and text
        member.text = text
        return member


@unique
class Failure(FailureCode):
    """The node's own failure codes."""

    UNKNOWN_APID = 1, "unknown application process"
    UNKNOWN_COMMAND = 2, "unknown service, subtype or function"
    BAD_LENGTH = 3, "arguments do not fit the command"
    BAD_VALUE = 4, "argument out of range"
    QUEUE_FULL = 5, "command queue full"
    REFUSED_IN_MODE = 6, "refused in this mode"
    DEVICE = 7, "device fault"
    STORAGE = 8, "storage fault"
    UNFINISHED = 9, "execution failed"
    TOO_MANY = 10, "more commands than the rate limit admits"
    INTERRUPTED = 11, "power was lost before it was completed"
    LATE = 12, "its time had passed"
    NO_ROOM = 20, "no room to hold it"
    NOT_RELEASED = 21, "schedule, sub-schedule or group disabled at its time"
    FILE_NAME = 30, "not a name that a file may have"
    NO_DIRECTORY = 31, "no such directory"
    FILE_EXISTS = 32, "there is a file of this name already"
    NO_FILE = 33, "no such file"
    FILE_QUOTA = 34, "more than the directory may hold"
    TOO_MANY_FILES = 35, "more files than the catalogue holds"
    FILE_LOCKED = 36, "the file is locked"
    FILE_BUSY = 37, "the file is in use"
    FILE_DAMAGED = 38, "the content of the file is not what it was"
    NO_TRANSFER = 39, "no such file transfer"
