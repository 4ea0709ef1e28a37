"""How many control commands (BC frames) a link takes: a bucket that fills at a steady rate.

States: QUIET and FLOOD.

    QUIET --a command finds the bucket empty--> FLOOD (told once)
    FLOOD --the bucket has filled up again----> QUIET
"""

# A control command moves FARM-1 whatever its state, so whoever can send one can undo what another sender is doing. On a
# protected link only the owner can. On a clear link anybody can, and a flood of them would keep the AD service down and
# the node busy: beyond the rate they are dropped before FARM-1 sees them.
#
# An honest sender sends one per T1 at most while it brings the service up, so the default of 60 per minute is never
# met. The bucket holds what a minute brings. The flood is told when it begins, and not again until a whole minute's
# worth has gathered: an event per refused frame would be a flood of its own, on the way down.

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from flight.core.nanoseconds import NS

_MINUTE_NS = 60 * NS


class ControlVerdict(Enum):
    """What becomes of a control command."""

    TAKEN = "taken"
    REFUSED = "refused"
    FLOOD_BEGINS = "refused, the first"


@dataclass(slots=True)
class ControlRate:
    """The bucket of one link. A command takes as much from it as flows in between two at the rate `per_min`."""

    per_min: int
    flood: bool = field(default=False, init=False)
    _level_ns: int = field(default=_MINUTE_NS, init=False)
    _filled_ns: int | None = field(default=None, init=False)

    def ask(self, now_ns: int) -> ControlVerdict:
        """Take one control command, if there is room for it now."""
        if self._filled_ns is not None:
            self._level_ns = min(_MINUTE_NS, self._level_ns + max(0, now_ns - self._filled_ns))
        self._filled_ns = now_ns
        if self._level_ns == _MINUTE_NS:
            self.flood = False
        cost_ns = _MINUTE_NS // self.per_min
        if self._level_ns >= cost_ns:
            self._level_ns -= cost_ns
            return ControlVerdict.TAKEN
        if self.flood:
            return ControlVerdict.REFUSED
        self.flood = True
        return ControlVerdict.FLOOD_BEGINS
