"""Errors that cross a boundary: to the ground, to the operator, to the person at the terminal."""

from __future__ import annotations


class OrbitnodeError(Exception):
    """A failure whose message is meant for a person: what was wrong, where, what would be right."""


class UsageError(OrbitnodeError):
    """The command line is wrong by itself, whatever files, node and ground say: exit code 2."""


class DecodeError(OrbitnodeError, ValueError):
    """Octets from outside that do not form the thing asked for. Never raised for our own mistakes."""


class StorageError(OrbitnodeError):
    """Stored data could not be read or written."""


class SetupError(OrbitnodeError):
    """Something the program needs (model, scene, device, port, extra) is missing or not what it should be."""


class MisuseError(SetupError):
    """Code that the node runs for others, such as an app's, asks for what cannot be: what it asked, and what would be
    right.
    """


class PowerLost(BaseException):
    """The machine lost its power in the middle of a call, as a simulated one may. Nothing on board catches it."""


PASSES_THROUGH = (KeyboardInterrupt, PowerLost)
"""Whoever calls other people's code lets these through and catches everything else: they are not that code's doing."""


def reason_of(error: Exception) -> str:
    """The system's own words for a failed call (`No space left on device`), else the text of the error."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
