"""What the on-board clock shows, to a few seconds, by housekeeping and events that come live: made just now. Sans-IO.

The correlation of time reports is a thousand times closer, but it takes several of them to see that the clock was set.
"""

from __future__ import annotations

from flight.core.nanoseconds import NS

MARGIN_NS = 10 * NS  # what a live packet may have waited for the link, and more


class OnboardClock:
    """On-board time is TAI since 1958, ground time the caller's timeline, both in ns."""

    def __init__(self) -> None:
        self._ahead_ns: int | None = None

    def heard(self, onboard_ns: int, ground_ns: int) -> None:
        """A packet made at `onboard_ns` came live at `ground_ns`."""
        self._ahead_ns = onboard_ns - ground_ns

    def onboard_ns(self, ground_ns: int) -> int | None:
        """What the clock shows at `ground_ns`, or did not long before; None as long as nothing came live."""
        return None if self._ahead_ns is None else ground_ns + self._ahead_ns

    def has_not_reached(self, onboard_ns: int, ground_ns: int) -> bool:
        """Whether the clock clearly does not show `onboard_ns` yet: what bears that time is older than a step back."""
        shown_ns = self.onboard_ns(ground_ns)
        return shown_ns is not None and onboard_ns > shown_ns + MARGIN_NS
