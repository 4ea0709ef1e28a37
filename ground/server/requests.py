"""A request to the ground's API: one JSON object on one line, its names and their types. Sans-IO."""

# Two kinds of error, and the difference matters: a line that is not a request at all (NotARequest) ends the connection,
# since whoever sent it does not speak this protocol (api.py says why). A request with a wrong value is somebody's
# mistake, and gets an answer that says what would be right. All types are checked here, once, so that what follows may
# rely on them.

from __future__ import annotations

import json
from typing import Any

from flight.contract.dictionary import SEVERITIES
from flight.core.errors import OrbitnodeError

LINE_OCTETS_MAX = 1 << 16  # room for a file of about 30 kB in hexadecimal
TIMEOUT_S_MAX = 86400.0
WAIT_S_MAX = 366 * 86400.0
WAITS = ("wait_for", "wait_contact")  # may take weeks, or 0 s for a mere look: their bounds are other ones

_KINDS: dict[str, type | tuple[type, ...]] = {
    "do": str, "name": str, "octets": str, "texts": list, "arguments": dict, "raw": bool, "bypass": bool,
    "timeout_s": (int, float), "limit": int, "severity": str, "what": str,
    "at": str, "spi": int, "group": int, "sub_schedule": int, "token": str,
    "action": str, "value": (int, float), "path": str, "class": int, "wait": bool, "missing": bool, "transaction": str,
}  # fmt: skip
_CHOICES: dict[str, tuple[object, ...]] = {
    "what": ("packets", "events"), "severity": ("", *SEVERITIES), "class": (1, 2),
}  # fmt: skip


class NotARequest(OrbitnodeError):
    """What came is not a request at all: its sender does not speak this protocol, and is listened to no further."""


def read_request(line: bytes) -> dict[str, Any]:
    """Return a request whose names, types and bounds are as they should be.

    Raises NotARequest for any other line, OrbitnodeError for a request that is wrong.
    """
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise NotARequest("a request is one JSON object per line") from None
    if not isinstance(request, dict) or not isinstance(request.get("do"), str):
        raise NotARequest('a request is a JSON object that says what to "do"')
    if not request.keys() <= _KINDS.keys():
        raise OrbitnodeError(f"a request is a JSON object with some of {', '.join(sorted(_KINDS))}")
    for name, value in request.items():
        # In Python a bool is an int: `true` must not pass for the number 1.
        if not isinstance(value, _KINDS[name]) or (isinstance(value, bool) and _KINDS[name] is not bool):
            raise OrbitnodeError(f"request: {name} has the wrong type")
        if name in _CHOICES and value not in _CHOICES[name]:
            choices = ", ".join(str(choice) for choice in _CHOICES[name] if choice)
            raise OrbitnodeError(f"request: {name} is {value!r}, should be one of {choices}")
    if not all(isinstance(text, str) for text in request.get("texts", [])):
        raise OrbitnodeError("request: texts should be a list of texts")
    if request.get("do") in WAITS:
        if not 0 <= request.get("timeout_s", 0) <= WAIT_S_MAX:
            raise OrbitnodeError(f"request: timeout_s of a wait should be in 0 .. {WAIT_S_MAX:.0f}")
    elif not 0 < request.get("timeout_s", 1) <= TIMEOUT_S_MAX:
        raise OrbitnodeError(f"request: timeout_s should be above 0 and at most {TIMEOUT_S_MAX:.0f}")
    if request.get("limit", 1) < 1:
        raise OrbitnodeError("request: limit should be at least 1")
    return request
