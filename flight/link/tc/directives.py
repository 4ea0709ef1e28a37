"""What the owner of FOP-1 can tell it to do (CCSDS 232.1-B-2, 4.2): the directives, their values, and the refusal."""

# A directive is refused in three cases, and then nothing has changed: the state does not allow it, the value is outside
# its bounds (E40), or the frame before it has not left yet (E26, E28). So a directive is asked for by a method that
# either does it or raises: there is no half of one.

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS


class FopRefusal(OrbitnodeError):
    """FOP-1 refuses what it was asked for: the reject response of the standard. Nothing has changed."""


class DirectiveKind(Enum):
    """The directives, by the names that an operator types, in the order of their events E23 to E39."""

    INITIATE = "initiate"  # without a CLCW check
    INITIATE_CLCW = "initiate-clcw"
    INITIATE_UNLOCK = "initiate-unlock"
    INITIATE_SET_VR = "initiate-set-vr"
    TERMINATE = "terminate"
    RESUME = "resume"
    SET_VS = "set-vs"
    SET_WINDOW = "set-window"
    SET_T1 = "set-t1"
    SET_LIMIT = "set-limit"
    SET_TIMEOUT_TYPE = "set-timeout-type"


T1_MAX_NS = 7200 * NS
# Least and most of the values; T1 is in nanoseconds. The window has a smaller bound of its own, which the link knows.
BOUNDS = {
    DirectiveKind.INITIATE_SET_VR: (0, 255),
    DirectiveKind.SET_VS: (0, 255),
    DirectiveKind.SET_WINDOW: (1, 127),
    DirectiveKind.SET_T1: (NS // 100, T1_MAX_NS),
    DirectiveKind.SET_LIMIT: (1, 255),
    DirectiveKind.SET_TIMEOUT_TYPE: (0, 1),
}
# What sets a number and nothing else. All others start the AD service, end it, or move V(S).
SETTINGS = frozenset(
    (DirectiveKind.SET_WINDOW, DirectiveKind.SET_T1, DirectiveKind.SET_LIMIT, DirectiveKind.SET_TIMEOUT_TYPE)
)


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive; `value` is V(R), V(S), K, T1 in ns, the limit or the timeout type, and 0 for the others."""

    kind: DirectiveKind
    value: int = 0
