"""The ground's table of leap seconds, from a file in the form in which IERS publishes it. Edge code."""

# Without a file in the mission the list of this machine is taken, which its distribution keeps up to date, if it knows
# more than the table that was built in. It is nobody's order, so a fault of it is nobody's error. A file that the
# operator names must be sound, and agree with what is built in: by a wrong table times are off by whole seconds.

from __future__ import annotations

from pathlib import Path

from flight.core.errors import DecodeError, SetupError, reason_of
from flight.core.utc.leap_second_list import LIST_OCTETS_MAX, read_leap_second_list
from flight.core.utc.leap_seconds import BUILT_IN, LeapSeconds

SYSTEM_LIST = Path("/usr/share/zoneinfo/leap-seconds.list")


def ground_table(named: str) -> LeapSeconds:
    """Return the table of the file `named`; if that is "", the newer one of this machine's and the built-in one.

    Raises SetupError for a file that cannot be read, is not such a list, or contradicts the built-in table.
    """
    if named:
        return read_table(Path(named))
    try:
        return BUILT_IN.longer_of(read_table(SYSTEM_LIST))
    except SetupError:
        return BUILT_IN


def read_table(path: Path) -> LeapSeconds:
    """Read a list of leap seconds. Raises SetupError with the file and what is wrong, as `ground_table`."""
    try:
        if not path.is_file() and path.exists():  # a pipe under that name would block
            raise SetupError(f"{path}: not a file")
        with path.open("rb") as file:
            octets = file.read(LIST_OCTETS_MAX + 1)
    except OSError as error:
        raise SetupError(f"{path}: {reason_of(error)}") from None
    try:
        table = read_leap_second_list(octets)
    except DecodeError as error:
        raise SetupError(f"{path}: {error}") from None
    try:
        BUILT_IN.check_agrees(table)
    except ValueError as error:
        raise SetupError(f"{path}: {error}") from None
    return table
