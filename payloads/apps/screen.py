"""Cloud screening: tile -> normalised reflectance -> ONNX model -> class mask (0 clear, 1 cloud, 2 shadow).

This file is what the node's process imports; what only the worker needs is in payloads/apps/screen_model.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from flight.core.errors import SetupError
from payloads.apps.base import AppSettings, BadModel
from payloads.product.answers import SCREENING

if TYPE_CHECKING:
    from payloads.product.mask import Classes, Samples


_STATISTICS = ("data", "dataset_statistics")
_IMAGE, _IMAGE_IS = (*_STATISTICS, "img"), "[means, deviations], two lists with a number per band"
_BANDS, _BANDS_ARE = (*_STATISTICS, "band_names"), "a list of band names"


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the model was trained with: a mean and a standard deviation per band, in reflectance."""

    bands: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, settings: AppSettings) -> Self:
        """Read the statistics from the JSON beside the model. Raises BadModel, SetupError if there is no model."""
        if settings.model is None:
            raise SetupError("cloud screening needs a model, and the mission names none")
        name = settings.model.with_suffix(".json").name
        table = _read_json(settings.statistics, name)
        _member(table, _STATISTICS, "an object with img and band_names", name)
        image = _member(table, _IMAGE, _IMAGE_IS, name)
        bands = _member(table, _BANDS, _BANDS_ARE, name)
        try:
            mean, std = (tuple(map(float, row)) for row in image)
        except (ValueError, TypeError, OverflowError):
            raise BadModel(f"{name}: {'.'.join(_IMAGE)} should be {_IMAGE_IS}") from None
        if not isinstance(bands, list):
            raise BadModel(f"{name}: {'.'.join(_BANDS)} should be {_BANDS_ARE}")
        if not bands or not len(bands) == len(mean) == len(std):
            counts = f"{len(bands)} band_names, {len(mean)} means and {len(std)} deviations"
            raise BadModel(f"{name}: {'.'.join(_STATISTICS)} has {counts}, should have one of each per band")
        for band, deviation in enumerate(std):
            if deviation <= 0.0:
                raise BadModel(f"{name}: {'.'.join(_IMAGE)}[1][{band}] is {deviation:g}, should be above 0")
        return cls(tuple(map(str, bands)), mean, std)


def _read_json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadModel(f"{name}:{error.lineno}: not valid JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or deep nesting
        raise BadModel(f"{name}: not valid JSON: {error}") from None


def _member(table: Any, path: tuple[str, ...], what: str, name: str) -> Any:
    """Return what stands at `path` in a JSON document. Raises BadModel if there is nothing."""
    for key in path:
        if not isinstance(table, dict) or key not in table:
            raise BadModel(f"{name} lacks {'.'.join(path)}, {what}")
        table = table[key]
    return table


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
