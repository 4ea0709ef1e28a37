"""The downlink rate by channel, from the ground's octet counters."""

# The ground writes its first entry with the first frame or after it, so that entry already has octets. They came since
# the first contact began. Without that instant they would count into the time of the second entry, and the rate would
# be above what the link can do.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from flight.core.nanoseconds import NS
from sim_hw.report.charts import Series

Counts = Mapping[int, int]


def downlink_rates(
    channels: Mapping[str, Counts], entries_ns: Sequence[int], begun_ns: int, start_ns: int
) -> list[Series]:
    """Return kbit/s over the time of the run, by the name of each channel; none if nothing came.

    `channels` are octets by the time of the entry; a channel not yet heard counts as 0. `begun_ns` is when the first
    octet can have come at the earliest. All times are TAI.
    """
    if not any(octets for counts in channels.values() for octets in counts.values()):
        return []
    times = [begun_ns, *(t_ns for t_ns in sorted(set(entries_ns)) if t_ns > begun_ns)]
    return [Series(name, _rate(counts, times, start_ns)) for name, counts in channels.items()]


def _rate(counts: Counts, times: Sequence[int], start_ns: int) -> list[tuple[float, float]]:
    points = [((times[0] - start_ns) / NS, 0.0)]
    octets = 0
    for before_ns, t_ns in pairwise(times):
        now = counts.get(t_ns, 0)
        points.append(((t_ns - start_ns) / NS, 8e6 * (now - octets) / (t_ns - before_ns)))
        octets = now
    return points
