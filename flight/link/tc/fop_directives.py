"""Directives as an operator gives them, checked and done on a FOP-1 (CCSDS 232.1-B-2, 4.2 and events E23 to E40)."""

# The values are checked here, before FOP-1 hears of them: what its own methods are asked for comes from our code, and
# is right. A value too many is refused like one that is out of bounds, because it was meant for something.

from __future__ import annotations

from flight.link.tc.directives import BOUNDS, SETTINGS, Directive, DirectiveKind, FopRefusal
from flight.link.tc.fop import Fop
from flight.link.tc.fop_actions import FopAction


def do_directive(fop: Fop, directive: Directive, now_ns: int) -> list[FopAction]:
    """Do a directive (E23 to E39); raises FopRefusal if the state does not allow it, or the value cannot be (E40)."""
    kind, value = directive.kind, directive.value
    least, most = BOUNDS.get(kind, (0, 0))
    if kind is DirectiveKind.SET_WINDOW:
        most = fop.window_max
    if not least <= value <= most:
        raise FopRefusal(f"{kind.value}: {value} is outside {least}..{most}")
    if kind in SETTINGS:
        _set(fop, kind, value)
        return []
    match kind:
        case DirectiveKind.INITIATE:
            return fop.initiate()
        case DirectiveKind.INITIATE_CLCW:
            return fop.initiate_with_clcw(now_ns)
        case DirectiveKind.INITIATE_UNLOCK:
            return fop.initiate_with_unlock(now_ns)
        case DirectiveKind.INITIATE_SET_VR:
            return fop.initiate_with_set_vr(value, now_ns)
        case DirectiveKind.TERMINATE:
            return fop.terminate()
        case DirectiveKind.RESUME:
            return fop.resume(now_ns)
        case _:
            fop.set_vs(value)
            return []


def _set(fop: Fop, kind: DirectiveKind, value: int) -> None:
    match kind:
        case DirectiveKind.SET_WINDOW:
            fop.window = value
        case DirectiveKind.SET_T1:
            fop.t1_ns = value  # from the next start of the timer on
        case DirectiveKind.SET_LIMIT:
            fop.transmission_limit = value
        case _:
            fop.timeout_type = value
