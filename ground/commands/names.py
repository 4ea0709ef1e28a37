"""The numbers that an operator's names stand for, and the answer to a name that is not known."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flight.contract.dictionary import Dictionary, hk_parameters
from flight.core.errors import OrbitnodeError
from flight.text.close_name import close_name

_DEFINED = re.compile(r"hk-([0-9]{1,5})")  # a structure defined from ground has no name on board, only its number
_LISTED_MAX = 20  # names in one answer: more is not read
_MEANT_MAX = 3  # structures that have a field of the same name, in one answer
# Names that the decoder makes for packets without a description (ground/telemetry/decoder.py).
_UNDESCRIBED = re.compile(r"hk-[0-9]+|apid-[0-9]+|tm(-[0-9]+){3,4}")


def structure_id(dictionary: Dictionary, name: str) -> int:
    """Return the number of the structure called `name`, `hk-NUMBER` if defined from ground. Raises OrbitnodeError."""
    defined = _DEFINED.fullmatch(name)
    if defined is not None:
        return int(defined[1])
    known = {s.name: s.sid for s in dictionary.structures}
    if name not in known:
        raise OrbitnodeError(f"unknown structure {name!r}, {choices(name, list(known))}")
    return known[name]


def hk_parameter(dictionary: Dictionary, name: str) -> int:
    """Return the number of the housekeeping parameter called `structure.field`. Raises OrbitnodeError."""
    known = {field.name: number for number, field in hk_parameters(dictionary.structures).items()}
    if name not in known:
        meant = choices_with_fields(name, list(known), list(known))
        raise OrbitnodeError(f"unknown housekeeping parameter {name!r}, {meant}")
    return known[name]


def event_id(dictionary: Dictionary, name: str) -> tuple[int, int]:
    """Return APID and number of the event called `name`. Raises OrbitnodeError."""
    known = {e.name: (e.apid, e.number) for e in dictionary.events}
    if name not in known:
        raise OrbitnodeError(f"unknown event {name!r}, {choices(name, list(known))}")
    return known[name]


def event_number(dictionary: Dictionary, name: str, apid: int) -> int:
    """Return the number of the event called `name`. Raises OrbitnodeError, also if it is not one of `apid`."""
    owner, number = event_id(dictionary, name)
    if owner != apid:
        raise OrbitnodeError(f"event {name!r} belongs to APID {owner}, not to {apid}")
    return number


def choices(name: str, known: Sequence[str]) -> str:
    """Suggest the nearest of the `known` names; without one, list them, `_LISTED_MAX` at most."""
    close = close_name(name, known)
    if close is not None:
        return f"did you mean {close!r}?"
    if not known:
        return "there is none"
    more = f" and {len(known) - _LISTED_MAX} more" if len(known) > _LISTED_MAX else ""
    return f"known: {', '.join(sorted(known)[:_LISTED_MAX])}{more}"


def choices_with_fields(name: str, fields: Sequence[str], known: Sequence[str]) -> str:
    """Suggest those of `fields`, each `structure.field`, whose field alone is called `name`; else as `choices`."""
    whole = [field for field in fields if field.partition(".")[2] == name][:_MEANT_MAX]
    return f"did you mean {' or '.join(map(repr, whole))}?" if whole else choices(name, known)


def check_packet_name(dictionary: Dictionary, name: str) -> None:
    """Raise OrbitnodeError if no packet will ever be called `name`.

    Structures defined from ground (`hk-5`), and what the dictionary does not describe (`tm-1-17-9`), may still come.
    """
    known = [s.name for s in dictionary.structures] + [e.name for e in dictionary.events]
    known += [r.name for r in dictionary.reports]
    if name not in known and not _UNDESCRIBED.fullmatch(name):
        raise OrbitnodeError(f"no packet is called {name!r}, {choices(name, known)}")
