"""Cloud screening: tile -> normalised reflectance -> ONNX model -> class mask (0 clear, 1 cloud, 2 shadow).

Normalisation and class order are those of ukis-csmask 1.0.0: (reflectance - mean) / std a band, arg max over
the logits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from flight.core.errors import SetupError
from payloads.apps.base import AppSettings, BadInput, BadOutput
from payloads.product import CLASSES, Mask, Samples

REFLECTANCE_SCALE = 10_000.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the model was trained with: a mean and a deviation for each band, in reflectance."""

    bands: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, settings: AppSettings) -> Self:
        """From the JSON beside the model; raises SetupError."""
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
            raise SetupError(f"model statistics {path}: {bands}, {mean}, {std} are not one mean and deviation a band")
        return cls(bands, mean, std)


class Screen:
    """The screening app. One session, a fixed number of threads, the CPU provider: bit-identical on one machine."""

    def __init__(self, settings: AppSettings) -> None:
        import onnxruntime

        statistics = Statistics.of(settings)
        self._mean = np.array(statistics.mean, dtype=np.float32)[:, None, None]
        self._std = np.array(statistics.std, dtype=np.float32)[:, None, None]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # Another level gives other logits: part of what makes a run repeatable.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        # Threads that spin between operators would take the flight loop's core.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(settings.model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]

    @staticmethod
    def check(settings: AppSettings) -> None:
        """Raise SetupError where onnxruntime is missing or the statistics are none."""
        if find_spec("onnxruntime") is None:
            raise SetupError("onnxruntime is not installed; install the extra: pip install 'orbitnode[payload]'")
        Statistics.of(settings)

    def run(self, samples: Samples) -> Mask:
        """Class mask of one tile. Raises BadInput, BadOutput."""
        self._admit(samples)
        reflectance = samples.astype(np.float32) / np.float32(REFLECTANCE_SCALE)
        normalised = (reflectance - self._mean) / self._std
        outputs: list[Any] = self._session.run(None, {self._input.name: normalised[None]})
        return _classes(np.asarray(outputs[0]), samples.shape[1:])

    def _admit(self, samples: Samples) -> None:
        if samples.dtype != np.uint16:
            raise BadInput(f"tile of {samples.dtype}, should be uint16 reflectance x {REFLECTANCE_SCALE:.0f}")
        bands = len(self._mean)
        wanted = (1, bands, *(side if isinstance(side, int) else None for side in self._input.shape[2:]))
        given = (1, *samples.shape)
        if len(given) != len(wanted) or any(w not in (None, g) for w, g in zip(wanted, given, strict=True)):
            raise BadInput(f"tile of {_show(given[1:])} samples, the model takes {_show(wanted[1:])}")


def _classes(logits: NDArray[Any], shape: tuple[int, ...]) -> Mask:
    """Arg max over the classes of [1, class, row, column]; raises BadOutput."""
    if logits.shape != (1, len(CLASSES), *shape):
        raise BadOutput(f"model gave {_show(logits.shape)}, should be 1 x {len(CLASSES)} x {_show(shape)}")
    bad = logits.size - int(np.count_nonzero(np.isfinite(logits)))
    if bad:
        raise BadOutput(f"{bad} of {logits.size} logits are not finite")
    mask: Mask = np.argmax(logits[0], axis=0).astype(np.uint8)
    return mask


def _show(shape: tuple[int | None, ...]) -> str:
    return " x ".join("any" if side is None else str(side) for side in shape)
