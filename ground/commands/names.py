"""Names that an operator says into the numbers they stand for, and what to say to a name that is not known."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from flight.contract.dictionary import Dictionary, hk_parameters
from flight.core.errors import OrbitnodeError

_DEFINED = re.compile(r"hk-([0-9]{1,5})")
_LISTED_MAX = 20
_UNDESCRIBED = re.compile(r"hk-[0-9]+|apid-[0-9]+|tm(-[0-9]+){3,4}")


def structure_id(dictionary: Dictionary, name: str) -> int:
    """The structure called `name`; one defined from ground is `hk-` and its number. Raises OrbitnodeError."""
    defined = _DEFINED.fullmatch(name)
    if defined is not None:
        return int(defined[1])
    known = {s.name: s.sid for s in dictionary.structures}
    if name not in known:
        raise OrbitnodeError(f"unknown structure {name!r}, {choices(name, list(known))}")
    return known[name]


def hk_parameter(dictionary: Dictionary, name: str) -> int:
    """The parameter called `structure.field`; raises OrbitnodeError."""
    known = {one.name: number for number, one in hk_parameters(dictionary.structures).items()}
    if name not in known:
        raise OrbitnodeError(f"unknown housekeeping parameter {name!r}, {choices(name, list(known))}")
    return known[name]


def event_id(dictionary: Dictionary, name: str) -> tuple[int, int]:
    """APID and number of the event called `name`; raises OrbitnodeError."""
    known = {e.name: (e.apid, e.number) for e in dictionary.events}
    if name not in known:
        raise OrbitnodeError(f"unknown event {name!r}, {choices(name, list(known))}")
    return known[name]


def event_number(dictionary: Dictionary, name: str, apid: int) -> int:
    """The event called `name`, of the application `apid`; raises OrbitnodeError."""
    owner, number = event_id(dictionary, name)
    if owner != apid:
        raise OrbitnodeError(f"event {name!r} is of APID {owner}, not of {apid}")
    return number


def choices(name: str, known: Sequence[str]) -> str:
    """The nearest of the `known` names, or all of them, if that is still a line to read."""
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    if not known:
        return "there is none"
    more = f" and {len(known) - _LISTED_MAX} more" if len(known) > _LISTED_MAX else ""
    return f"have {', '.join(sorted(known)[:_LISTED_MAX])}{more}"


def check_packet_name(dictionary: Dictionary, name: str) -> None:
    """Raises OrbitnodeError if no packet will ever be called `name`. Structures defined from ground (`hk-5`), and what
    the dictionary does not describe (`tm-1-17-9`), may still come.
    """
    known = [s.name for s in dictionary.structures] + [e.name for e in dictionary.events]
    known += [r.name for r in dictionary.reports]
    if name not in known and not _UNDESCRIBED.fullmatch(name):
        raise OrbitnodeError(f"no packet is called {name!r}, {choices(name, known)}")
