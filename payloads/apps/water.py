"""Open water per tile: connected pixels whose NDWI = (green - near infrared) / (green + near infrared) is high.

The index is that of McFeeters, International Journal of Remote Sensing 17(7), 1996. Pixels are connected by their
sides.
"""

# The method goes through a tile once, by runs: stretches of water within a row. Each run begins as a body of its own
# and is joined with the bodies of those runs in the row above that it touches. `of_run` maps each run to the list of
# runs of its body; joining moves the smaller list into the larger, so that a run moves at most log2(runs) times. No
# neighbour is visited by recursion: a lake over the whole tile would exceed any stack.

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from flight.contract.fields import Field
from payloads.apps.base import AppSettings, BadInput
from payloads.product.answers import Table

if TYPE_CHECKING:
    from numpy import bool_
    from numpy.typing import NDArray

    from payloads.product.mask import Samples

GREEN, NEAR_INFRARED = 1, 3  # of the bands blue, green, red, near infrared
WATER_NDWI = 0.2  # more is water
PIXELS_MIN = 16  # smaller bodies are not reported

Run = tuple[int, int, int]  # row, first column, column after the last


class Water:
    """The app. The largest bodies come first."""

    ANSWER = Table(
        (
            Field("row", "f32", "px", "of the centre"),
            Field("column", "f32", "px", "of the centre"),
            Field("area_px", "u32", "px", "pixels"),
        ),
        rows_max=64,
    )

    def __init__(self, settings: AppSettings) -> None:
        """Load nothing."""

    @staticmethod
    def check(settings: AppSettings) -> None:
        """Accept any settings: nothing is needed."""

    def run(self, samples: Samples) -> list[tuple[float, float, int]]:
        """Return centre and size of each body of water. Raises BadInput for a tile without the two bands."""
        if len(samples) <= NEAR_INFRARED:
            raise BadInput(f"tile of {len(samples)} bands, should be blue, green, red and near infrared")
        green, infrared = samples[GREEN].astype("f4"), samples[NEAR_INFRARED].astype("f4")
        # Multiplied out instead of divided: a dark pixel has no index, and is not water.
        bodies = [_measured(runs) for runs in _bodies(green - infrared > WATER_NDWI * (green + infrared))]
        bodies.sort(key=lambda body: (-body[2], body))  # of one size in a fixed order: the product must be repeatable
        return [body for body in bodies if body[2] >= PIXELS_MIN][: self.ANSWER.rows_max]


def _measured(runs: list[Run]) -> tuple[float, float, int]:
    area = sum(end - start for _, start, end in runs)
    row = sum(row * (end - start) for row, start, end in runs) / area
    column = sum((start + end - 1) / 2 * (end - start) for _, start, end in runs) / area
    return row, column, area


def _bodies(water: NDArray[bool_]) -> list[list[Run]]:
    """Return the runs of each connected body."""
    of_run: dict[Run, list[Run]] = {}  # the body that a run belongs to
    above: list[Run] = []
    for number, row in enumerate(water):
        edges = (row[1:] != row[:-1]).nonzero()[0] + 1
        bounds = [0, *edges.tolist(), len(row)]
        runs = [(number, start, end) for start, end in pairwise(bounds) if row[start]]
        for run in runs:
            of_run[run] = [run]
            for other in above:
                if other[1] < run[2] and run[1] < other[2]:  # their columns overlap
                    _join(of_run, run, other)
        above = runs
    return list({id(body): body for body in of_run.values()}.values())


def _join(of_run: dict[Run, list[Run]], run: Run, other: Run) -> None:
    """Make one body of the bodies of two runs: the smaller moves into the larger."""
    small, large = sorted((of_run[run], of_run[other]), key=len)
    if small is not large:
        large.extend(small)
        for moved in small:
            of_run[moved] = large
