"""FOP-1 with lower procedures that take every frame at once, for tests that are not about them."""

from __future__ import annotations

from flight.link.tc.clcw import Clcw
from flight.link.tc.fop import Fop
from flight.link.tc.fop_actions import FopAction, Transmit


def answered(fop: Fop, actions: list[FopAction], now_ns: int) -> list[FopAction]:
    """Return these actions and those that follow if each frame is taken as it is given out."""
    out = list(actions)
    for action in out:
        if isinstance(action, Transmit):
            out += fop.accepted(action.frame.kind, now_ns)
    return out


class PromptFop(Fop):
    """A FOP-1 whose every frame is taken at once: each method returns all frames that it leads to."""

    def send(self, data: bytes, tag: object, now_ns: int) -> list[FopAction]:
        return answered(self, super().send(data, tag, now_ns), now_ns)

    def bypass(self, data: bytes, tag: object = None) -> Transmit:
        action = super().bypass(data, tag)
        assert self.accepted(action.frame.kind, 0) == []
        return action

    def initiate_with_unlock(self, now_ns: int) -> list[FopAction]:
        return answered(self, super().initiate_with_unlock(now_ns), now_ns)

    def initiate_with_set_vr(self, vr: int, now_ns: int) -> list[FopAction]:
        return answered(self, super().initiate_with_set_vr(vr, now_ns), now_ns)

    def on_clcw(self, clcw: Clcw, now_ns: int) -> list[FopAction]:
        return answered(self, super().on_clcw(clcw, now_ns), now_ns)

    def on_time(self, now_ns: int) -> list[FopAction]:
        return answered(self, super().on_time(now_ns), now_ns)
