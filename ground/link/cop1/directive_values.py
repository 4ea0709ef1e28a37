"""The words of an operator for the command link as directives, with the bounds of their values."""

# For the ground, and for a client that can say at once what no ground would take: nothing is imported here but the
# names and bounds. T1 is in seconds as it is typed, and in nanoseconds inside. What depends on the link, such as the
# largest window, or on its state is FOP-1's own business (flight/link/tc/fop_directives.py).

from __future__ import annotations

import math

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.tc.directives import BOUNDS, Directive, DirectiveKind

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
    scale, unit = (NS, " s") if kind is DirectiveKind.SET_T1 else (1, "")
    if scale == 1 and value != int(value):
        raise OrbitnodeError(f"link: {action} takes a whole number, not {value:g}")
    least, most = BOUNDS[kind]
    # Compared as it was typed: what is far beyond could not be scaled.
    if not least / scale <= value <= most / scale:
        raise OrbitnodeError(f"link: {action}: {value:g}{unit} is outside {least / scale:g} .. {most / scale:g}{unit}")
    return Directive(kind, round(value * scale))
