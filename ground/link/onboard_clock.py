"""What the on-board clock shows, to a few seconds, by housekeeping and events that come live. Sans-IO.

`read_clock` chooses between what is known of the clock, and says what it went by:

    correlation, and live telemetry that does not contradict it      the correlation
    live telemetry, without a correlation or in contradiction to it  live telemetry
    neither                                                          the ground's own clock, and that is said
"""

# A live packet was made just now, so its time is what the clock shows, less the time it waited for the link. The
# correlation of time reports is a thousand times closer. But it takes several reports before there is one, and as many
# again until it shows that the clock was set, while the next live packet shows it at once. So the correlation is used
# only as long as live telemetry agrees with it to `MARGIN_NS`.

from __future__ import annotations

from dataclasses import dataclass

from flight.core.nanoseconds import NS
from ground.link.correlation import Correlation

MARGIN_NS = 10 * NS  # what a live packet may have waited for the link, and more


class OnboardClock:
    """On-board time is TAI since 1958, ground time the caller's timeline, both in ns."""

    def __init__(self) -> None:
        self._ahead_ns: int | None = None

    def heard(self, onboard_ns: int, ground_ns: int) -> None:
        """Note that a packet made at `onboard_ns` came live at `ground_ns`."""
        self._ahead_ns = onboard_ns - ground_ns

    def onboard_ns(self, ground_ns: int) -> int | None:
        """Return what the clock shows at `ground_ns`, or did not long before; None as long as nothing came live."""
        return None if self._ahead_ns is None else ground_ns + self._ahead_ns

    def has_not_reached(self, onboard_ns: int, ground_ns: int) -> bool:
        """Return whether the clock clearly does not show `onboard_ns` yet.

        Then what bears that time is older than the last time at which the clock was set back.
        """
        shown_ns = self.onboard_ns(ground_ns)
        return shown_ns is not None and onboard_ns > shown_ns + MARGIN_NS


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What the on-board clock shows now, TAI; by how much that is ahead of the ground's, and how it is known."""

    onboard_ns: int
    ahead_ns: int
    known_by: str


def read_clock(
    clock: OnboardClock, correlation: Correlation | None, now_ns: int, tai_ns: int
) -> ClockReading:  # fmt: skip
    """Return the reading at `now_ns`, which is `tai_ns` by the ground's own clock; see the head of the file."""
    live_ns = clock.onboard_ns(now_ns)
    if correlation is not None and correlation.tells(tai_ns):
        ahead_ns = round(correlation.error_ns(tai_ns))
        if live_ns is None or abs(tai_ns + ahead_ns - live_ns) <= MARGIN_NS:
            return ClockReading(tai_ns + ahead_ns, ahead_ns, "the node's time reports")
    if live_ns is not None:
        return ClockReading(live_ns, live_ns - tai_ns, "the node's live telemetry, to a few seconds")
    return ClockReading(tai_ns, 0, "the ground's own clock, because the node was not heard yet")
