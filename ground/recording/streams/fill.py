"""Finds fill: runs of one octet between units, frames or packets. Nothing is lost there.

Recorders write empty blocks, and a carrier without modulation gives symbols that do not change.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FILL_OCTETS_MIN = 8  # of a run; in random octets one of that length begins at 1 of 10^17 places


def fill_octets(octets: NDArray[np.uint8]) -> int:
    """Return how many of these octets stand in runs of one value, FILL_OCTETS_MIN or longer."""
    if len(octets) < FILL_OCTETS_MIN:
        return 0
    # Padded with False at both ends, so that every run of equal octets has an edge at its start and at its end.
    same = np.zeros(len(octets) + 1, np.bool_)
    np.equal(octets[1:], octets[:-1], out=same[1:-1])
    edges = np.flatnonzero(same[1:] != same[:-1])  # few, both in noise and in fill
    runs = edges[1::2] - edges[::2] + 1
    return int(runs[runs >= FILL_OCTETS_MIN].sum())


def leading_fill(octets: NDArray[np.uint8]) -> int:
    """Return the length of the run of one value at the start; 0 if it is shorter than FILL_OCTETS_MIN."""
    if len(octets) < FILL_OCTETS_MIN:
        return 0
    other = octets != octets[0]
    first = int(other.argmax())
    run = first if other[first] else len(octets)
    return run if run >= FILL_OCTETS_MIN else 0
