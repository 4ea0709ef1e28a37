"""What an operator asks of a commanding link, in the words of the API and the command line, as a directive."""

# T1 is in seconds here, and in nanoseconds inside. The bounds of the values are FOP-1's own business
# (flight/link/tc/fop_directives.py); here a value is only missing, too many, or not a number that it could take.

from __future__ import annotations

import math

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.tc.directives import BOUNDS, T1_MAX_NS, Directive, DirectiveKind
from ground.link.actions import Action
from ground.link.ground_link import GroundLink

STATUS, AUTO = "status", "auto"
ACTIONS = (STATUS, AUTO, *(kind.value for kind in DirectiveKind))


def directive_of(action: str, value: float | None) -> Directive:
    """Return the directive that an operator means; raises OrbitnodeError for words that are none."""
    if action not in ACTIONS[2:]:
        raise OrbitnodeError(f"link: unknown action {action!r}, should be one of {', '.join(ACTIONS)}")
    kind = DirectiveKind(action)
    if kind not in BOUNDS:
        if value is not None:
            raise OrbitnodeError(f"link: {action} takes no value")
        return Directive(kind)
    if value is None or not math.isfinite(value):
        raise OrbitnodeError(f"link: {action} takes a number")
    if kind is DirectiveKind.SET_T1:
        # Bounded before it is scaled: what is far beyond stays beyond, and is told as such.
        return Directive(kind, round(min(max(value, -1.0), 2 * T1_MAX_NS / NS) * NS))
    if value != int(value):
        raise OrbitnodeError(f"link: {action} takes a whole number, not {value:g}")
    return Directive(kind, int(value))


def lead(session: GroundLink, action: str, value: float | None, now_ns: int) -> list[Action]:
    """Return what an operator's action asks of the link; raises OrbitnodeError for what cannot be, or is refused."""
    return session.auto(now_ns) if action == AUTO else session.direct(directive_of(action, value), now_ns)
