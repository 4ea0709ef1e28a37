"""What a worker process asks of the app it runs.

An app is a class named in mission.toml as "module:Class". The parent imports its module to look at it, so heavy
imports (onnxruntime, numpy) belong into `__init__`, which only the worker calls, or into a module that it imports.

    class Screen:
        ANSWER = SCREENING                  # what `run` returns (payloads/product/answers.py)
        @staticmethod
        def check(settings): ...            # in the parent, before any process is started
        def __init__(self, settings): ...   # in the worker, once: load the model
        def run(self, samples): ...         # in the worker, once per tile
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from payloads.product.answers import AnyKind

if TYPE_CHECKING:
    from payloads.product.mask import Samples


class BadInput(ValueError):
    """The tile is not what the app takes. The message says what it is and what would be right."""


class BadOutput(ValueError):
    """The model's output cannot be used: not finite, of the wrong shape, classes that do not exist."""


@dataclass(frozen=True, slots=True)
class AppSettings:
    """model: an ONNX file, None if the mission names none. statistics: text of the JSON beside it, "" without one.
    threads: how many the app may compute with.
    """

    model: Path | None
    statistics: str
    threads: int = 1


class WorkerApp(Protocol):
    """One app in one worker. The same tile must give the same answer, in any worker of one machine."""

    ANSWER: ClassVar[AnyKind]

    def __init__(self, settings: AppSettings) -> None: ...

    @staticmethod
    def check(settings: AppSettings) -> None:
        """Raise SetupError where something the app needs is missing. Must be quick."""

    def run(self, samples: Samples) -> Any:
        """The answer to one tile, uint16 [band, row, column], reflectance x 10,000. By ANSWER it is

            Mask       classes, uint8 [row, column]
            Table      rows, each a sequence in the order of the fields, or a mapping by their names
            Scalars    a mapping by the fields' names
            Octets     bytes

        The samples are valid during the call only. Raises BadInput and BadOutput; whatever else it raises is
        reported as the app's error.
        """
