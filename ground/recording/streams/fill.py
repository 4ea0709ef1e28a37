"""Runs of one octet between things: a recorder's empty blocks, a carrier without modulation. Nothing is lost there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FILL_OCTETS_MIN = 8  # a run; random octets have one of eight in 1 of 10^17 places


def fill_octets(octets: NDArray[np.uint8]) -> int:
    """How many of these octets stand in runs of FILL_OCTETS_MIN or more of one value."""
    if len(octets) < FILL_OCTETS_MIN:
        return 0
    same = np.zeros(len(octets) + 1, np.bool_)  # as the octet before
    np.equal(octets[1:], octets[:-1], out=same[1:-1])
    edges = np.flatnonzero(same[1:] != same[:-1])  # few, in noise and in fill
    runs = edges[1::2] - edges[::2] + 1
    return int(runs[runs >= FILL_OCTETS_MIN].sum())


def leading_fill(octets: NDArray[np.uint8]) -> int:
    """The length of the run of one value that these octets begin with, 0 if it is shorter than FILL_OCTETS_MIN."""
    if len(octets) < FILL_OCTETS_MIN:
        return 0
    other = octets != octets[0]
    first = int(other.argmax())
    run = first if other[first] else len(octets)
    return run if run >= FILL_OCTETS_MIN else 0
