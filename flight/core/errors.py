"""Errors that cross a boundary: to the ground, to the operator, to the person at the terminal."""

# Three families, and who catches them:
#
# - OrbitnodeError and what derives from it has a message for a person. The command line prints it as one line and
#   exits with 1, or with 2 for UsageError. Code that can go on without what failed catches the kind it expects.
#   HalError (hal/base.py) is the same for drivers.
# - Anything else is a mistake of a program. It ends the task or the call that made it, and the scheduler, the guard of
#   drivers or the guard of apps reports it.
# - PASSES_THROUGH goes through every guard on board: a person has asked for the end, or the machine is gone. The first
#   ends at the command line (exit code 130), the second in the simulated machine.

from __future__ import annotations

import traceback


class OrbitnodeError(Exception):
    """A failure whose message is meant for a person: what was wrong, where, what would be right."""


class UsageError(OrbitnodeError):
    """The command line is wrong by itself, whatever files, node and ground say: exit code 2."""


class DecodeError(OrbitnodeError, ValueError):
    """Octets from outside that do not form what was asked for. Never raised for our own mistakes."""


class StorageError(OrbitnodeError):
    """Stored data could not be read or written."""


class SetupError(OrbitnodeError):
    """Something the program needs (model, scene, device, port, extra) is missing or not what it should be."""


class MisuseError(SetupError):
    """Code that the node runs for others, such as an app's, has asked for something impossible.

    The message says what it asked for, and what would be right.
    """


class PowerLost(BaseException):
    """The machine lost its power in the middle of a call, as a simulated one may. Nothing on board catches it."""


PASSES_THROUGH = (KeyboardInterrupt, PowerLost)
"""Whoever calls other people's code lets these through and catches everything else: that code did not cause them."""


def missing_import(error: BaseException, module: str) -> str:
    """Say which file imports what is not installed, if `module` was found and one of its imports was not; else ""."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None or f"{module}.".startswith(f"{error.name}."):
        return ""
    # Importlib's own frames are on the traceback as well, and the last frame of a file made the import.
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    importers = [file for file in files if not file.startswith("<") and not file.endswith("importlib/__init__.py")]
    importer = importers[-1].rpartition("/")[2] if importers else ""
    return f"{importer} imports {error.name!r}, which is not installed" if importer else ""


def reason_of(error: Exception) -> str:
    """Return the system's own words for a failed call (`No space left on device`), or else the text of the error."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
