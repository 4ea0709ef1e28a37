"""Instants of TAI as POSIX time, whole arrays of them at once."""

# POSIX time, which NumPy, Arrow and Parquet count in, has no number for a leap second: it gets that of the second after
# it, so that second is there twice. The table is the one that this software was made with: recorded data are of the
# past, and an instant beyond the table is right until a leap second is inserted of which this software does not know.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flight.core.nanoseconds import NS
from flight.core.utc.leap_seconds import BUILT_IN

_STARTS_NS = np.array(BUILT_IN.starts_tai_ns, np.int64)
_AHEAD_NS = np.array(
    [BUILT_IN.tai_from_unix(0) + (row.tai_utc_s - BUILT_IN.rows[0].tai_utc_s) * NS for row in BUILT_IN.rows],
    np.int64,
)
SPREAD_NS = int(_AHEAD_NS[-1])
"""No instant moves by more than this."""


def posix_from_tai(tai_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Convert ns of TAI since 1958 to ns of POSIX time since 1970."""
    rows = np.searchsorted(_STARTS_NS, tai_ns, side="right") - 1
    ahead = _AHEAD_NS[np.maximum(rows, 0)]
    return tai_ns - ahead
