"""Vegetation per tile: NDVI = (near infrared - red) / (near infrared + red), after Rouse et al., NASA SP-351, 1974."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flight.contract.fields import Field
from payloads.apps.base import AppSettings, BadInput
from payloads.product.answers import Scalars

if TYPE_CHECKING:
    from payloads.product.mask import Samples

RED, NEAR_INFRARED = 2, 3  # of the bands blue, green, red, near infrared
GREEN_NDVI = 0.4  # from here on vegetation is dense


class Ndvi:
    """The app. It needs neither model nor settings."""

    ANSWER = Scalars(
        (
            Field("ndvi_mean", "f32", "", "over all lit pixels"),
            Field("green_frac", "f32", "", f"share of them of {GREEN_NDVI} and more"),
            Field("lit_pixels", "u32", "px", "with light in either band"),
        )
    )

    def __init__(self, settings: AppSettings) -> None:
        """Load nothing."""

    @staticmethod
    def check(settings: AppSettings) -> None:
        """Accept any settings: nothing is needed."""

    def run(self, samples: Samples) -> dict[str, float]:
        """Return the three numbers of one tile. Raises BadInput for a tile without the two bands."""
        if len(samples) <= NEAR_INFRARED:
            raise BadInput(f"tile of {len(samples)} bands, should be blue, green, red and near infrared")
        red, infrared = samples[RED].astype("f4"), samples[NEAR_INFRARED].astype("f4")
        lit = red + infrared > 0  # a dark pixel has no index: it would divide by zero
        ndvi = (infrared[lit] - red[lit]) / (infrared[lit] + red[lit])
        if not ndvi.size:
            return {"ndvi_mean": 0.0, "green_frac": 0.0, "lit_pixels": 0}
        return {"ndvi_mean": ndvi.mean(), "green_frac": (ndvi >= GREEN_NDVI).mean(), "lit_pixels": ndvi.size}
