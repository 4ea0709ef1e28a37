"""The computing of the cloud screening app, in the worker only: a session of onnxruntime over numpy arrays.

Normalisation and class order are those of ukis-csmask 1.0.0: (reflectance - mean) / std per band, then the arg max over
the logits.
"""

# The same tile must give the same mask, in any worker of one machine: the run's digest covers the products. So threads,
# execution mode, level of optimisation and provider are fixed, and the deterministic kernels chosen. On another machine
# the logits may differ in their last bits.

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from payloads.apps.base import BadInput, BadOutput
from payloads.product.answers import SCREENING
from payloads.product.mask import Classes, Samples

REFLECTANCE_SCALE = 10_000.0


class ScreenModel:
    """One session with a fixed number of threads on the CPU: bit-identical results on one machine.

    mean, std: of the reflectance, one per band.
    """

    def __init__(self, model: Path, mean: Sequence[float], std: Sequence[float], threads: int) -> None:
        self._mean = np.array(mean, dtype=np.float32)[:, None, None]
        self._std = np.array(std, dtype=np.float32)[:, None, None]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # Another level gives other logits.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.use_deterministic_compute = True
        options.log_severity_level = 3  # errors only
        # Threads that spin between operators would take the flight loop's core.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]

    def run(self, samples: Samples) -> Classes:
        """Return the class mask of one tile, uint8 [row, column]. Raises BadInput, BadOutput."""
        self._admit(samples)
        reflectance = samples.astype(np.float32) / np.float32(REFLECTANCE_SCALE)
        normalised = (reflectance - self._mean) / self._std
        outputs: list[Any] = self._session.run(None, {self._input.name: normalised[None]})
        return _classes(np.asarray(outputs[0]), samples.shape[1:])

    def _admit(self, samples: Samples) -> None:
        if samples.dtype != np.uint16:
            raise BadInput(f"tile of {samples.dtype}, should be uint16 reflectance x {REFLECTANCE_SCALE:.0f}")
        bands = len(self._mean)
        # A side of the model's input that is not a number is a symbol: any size fits.
        wanted = (1, bands, *(side if isinstance(side, int) else None for side in self._input.shape[2:]))
        given = (1, *samples.shape)
        if len(given) != len(wanted) or any(w not in (None, g) for w, g in zip(wanted, given, strict=True)):
            raise BadInput(f"tile of {_show(given[1:])} samples, the model takes {_show(wanted[1:])}")


def _classes(logits: NDArray[Any], shape: tuple[int, ...]) -> Classes:
    """Return the arg max over the classes of [1, class, row, column]. Raises BadOutput."""
    if logits.shape != (1, len(SCREENING.classes), *shape):
        raise BadOutput(f"model gave {_show(logits.shape)}, should be 1 x {len(SCREENING.classes)} x {_show(shape)}")
    # A NaN would win or lose any comparison and give a mask that looks sound.
    bad = logits.size - int(np.count_nonzero(np.isfinite(logits)))
    if bad:
        raise BadOutput(f"{bad} of {logits.size} logits are not finite")
    mask: Classes = np.argmax(logits[0], axis=0).astype(np.uint8)
    return mask


def _show(shape: tuple[int | None, ...]) -> str:
    return " x ".join("any" if side is None else str(side) for side in shape)
