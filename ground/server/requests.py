"""A request to the ground's API: one JSON object on one line, its names and their types. Sans-IO."""

from __future__ import annotations

import json
from typing import Any

from flight.contract.dictionary import SEVERITIES
from flight.core.errors import OrbitnodeError

LINE_OCTETS_MAX = 1 << 16
TIMEOUT_S_MAX = 86400.0
WAIT_S_MAX = 366 * 86400.0
WAITS = ("wait_for", "wait_contact")  # for what may take weeks, or be there already

_KINDS: dict[str, type | tuple[type, ...]] = {
    "do": str, "name": str, "octets": str, "texts": list, "arguments": dict, "raw": bool, "bypass": bool,
    "timeout_s": (int, float), "limit": int, "severity": str, "what": str,
    "at": str, "group": int, "sub_schedule": int, "token": str,
}  # fmt: skip
_CHOICES = {"what": ("packets", "events"), "severity": ("", *SEVERITIES)}


class NotARequest(OrbitnodeError):
    """What came is not a request at all: whoever speaks does not speak to this API, and is not listened to any more."""


def read_request(line: bytes) -> dict[str, Any]:
    """One request with the types it should have; raises NotARequest, and OrbitnodeError for one that is wrong."""
    try:
        made = json.loads(line)
    except (ValueError, RecursionError):
        raise NotARequest("a request is one JSON object a line") from None
    if not isinstance(made, dict) or not isinstance(made.get("do"), str):
        raise NotARequest('a request is a JSON object that says what to "do"')
    if not made.keys() <= _KINDS.keys():
        raise OrbitnodeError(f"a request is a JSON object with some of {', '.join(sorted(_KINDS))}")
    for name, value in made.items():
        # To Python true is a number.
        if not isinstance(value, _KINDS[name]) or (isinstance(value, bool) and _KINDS[name] is not bool):
            raise OrbitnodeError(f"request: {name} is of the wrong type")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise OrbitnodeError(
                f"request: {name} is {value!r}, should be one of {', '.join(filter(None, _CHOICES[name]))}"
            )
    if not all(isinstance(text, str) for text in made.get("texts", [])):
        raise OrbitnodeError("request: texts are texts")
    if made.get("do") in WAITS:
        if not 0 <= made.get("timeout_s", 0) <= WAIT_S_MAX:
            raise OrbitnodeError(f"request: timeout_s of a wait is in 0 .. {WAIT_S_MAX:.0f}")
    elif not 0 < made.get("timeout_s", 1) <= TIMEOUT_S_MAX:
        raise OrbitnodeError(f"request: timeout_s is above 0 and at most {TIMEOUT_S_MAX:.0f}")
    if made.get("limit", 1) < 1:
        raise OrbitnodeError("request: limit is at least 1")
    return made
