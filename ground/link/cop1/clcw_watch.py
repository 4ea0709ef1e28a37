"""The newest CLCW of one virtual channel, and when it came."""

# Nearly every frame brings the octets of the one before: they are compared, and not decoded again. What does not decode
# is counted and changes nothing (E15 of FOP-1 never comes about): the next frame brings another.

from __future__ import annotations

from flight.core.errors import DecodeError
from flight.link.tc.clcw import Clcw
from ground.link.ground_link import SessionCounters


class ClcwWatch:
    """Decodes operational control fields. `clcw` is the newest, None before the first; `heard_ns` is when it came."""

    def __init__(self, vcid: int, counters: SessionCounters) -> None:
        self.clcw: Clcw | None = None
        self.heard_ns = 0
        self._vcid = vcid
        self._counters = counters
        self._octets = b""

    def take(self, ocf: bytes, now_ns: int) -> Clcw | None:
        """Return the CLCW in these octets, None if it is another channel's or cannot be."""
        if ocf != self._octets:
            try:
                clcw = Clcw.decode(ocf)
            except DecodeError:
                self._counters.clcws_invalid += 1
                return None
            if clcw.vcid != self._vcid:
                return None
            self.clcw, self._octets = clcw, ocf
        self._counters.clcws += 1
        self.heard_ns = now_ns
        return self.clcw
