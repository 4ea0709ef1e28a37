"""Cloud screening: tile -> normalised reflectance -> ONNX model -> class mask (0 clear, 1 cloud, 2 shadow).

This file is what the node's process imports; what only the worker needs is in payloads/apps/screen_model.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Self

from flight.core.errors import SetupError
from payloads.apps.base import AppSettings
from payloads.product.answers import SCREENING

if TYPE_CHECKING:
    from payloads.product.mask import Classes, Samples


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the model was trained with: a mean and a standard deviation per band, in reflectance."""

    bands: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, settings: AppSettings) -> Self:
        """Read the statistics from the JSON beside the model. Raises SetupError."""
        if settings.model is None:
            raise SetupError("cloud screening needs a model, and the mission names none")
        path = settings.model.with_suffix(".json")
        try:
            statistics = json.loads(settings.statistics)["data"]["dataset_statistics"]
            mean, std = (tuple(map(float, row)) for row in statistics["img"])
            bands = tuple(map(str, statistics["band_names"]))
        except (ValueError, KeyError, TypeError) as error:
            raise SetupError(
                f"model statistics {path}: {type(error).__name__}: {error}; should be JSON with"
                " data.dataset_statistics.img = [means, deviations] and band_names"
            ) from None
        if not len(bands) == len(mean) == len(std) or not bands or min(std) <= 0.0:
            raise SetupError(
                f"model statistics {path}: {bands}, {mean}, {std}, should be one mean and deviation per band"
            )
        return cls(bands, mean, std)


class Screen:
    """The screening app."""

    ANSWER = SCREENING

    def __init__(self, settings: AppSettings) -> None:
        # Here and not above: it brings onnxruntime and numpy, which the node's process must not load.
        from payloads.apps.screen_model import ScreenModel

        statistics = Statistics.of(settings)
        assert settings.model is not None, "looked at in check"
        self._model = ScreenModel(settings.model, statistics.mean, statistics.std, settings.threads)

    @staticmethod
    def check(settings: AppSettings) -> None:
        """Raise SetupError if onnxruntime is missing or the statistics cannot be used."""
        # Looked for, not imported: it belongs in the worker alone.
        if find_spec("onnxruntime") is None:
            raise SetupError("onnxruntime is not installed; install the extra: pip install 'orbitnode[payload]'")
        Statistics.of(settings)

    def run(self, samples: Samples) -> Classes:
        """Return the class mask of one tile, uint8 [row, column]. Raises BadInput, BadOutput."""
        return self._model.run(samples)
