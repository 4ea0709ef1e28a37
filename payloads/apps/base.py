"""What a worker process asks of the app that it runs.

An app is a class named in mission.toml as "module:Class". The node's own process imports its module to look at it, so
heavy imports (onnxruntime, numpy) belong in `__init__`, which only the worker calls, or in a module imported there.

    class Screen:
        ANSWER = SCREENING                  # what `run` returns (payloads/product/answers.py)
        @staticmethod
        def check(settings): ...            # in the node's process, before any worker is started
        def __init__(self, settings): ...   # in the worker, once: load the model
        def run(self, samples): ...         # in the worker, once per tile
"""

# Why an app is asked so little. It runs behind guards in a process of its own (ADR 0019): one process that may have
# threads but no children, no network, and files that it can read but not write, except in its own folder. It is killed
# if it hangs, and may be killed at any moment. So it must keep nothing between tiles that it cannot do without.
#
# The three ways to fail differ in what they cost. An error that `run` raises leaves the process in place: an app may
# refuse a tile. BadOutput replaces the process, which is not trusted with the next tile after such an answer.
# SetupError from `check` keeps the node from starting: better on the ground than in orbit.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from flight.core.errors import SetupError
from payloads.product.answers import AnyKind

if TYPE_CHECKING:
    from payloads.product.mask import Samples


class BadInput(ValueError):
    """The tile is not what the app takes. The message says what it is and what would be right."""


class BadModel(SetupError):
    """The model, or the file of statistics beside it, is not what the app takes. The message names file and place."""


class BadOutput(ValueError):
    """The model's output cannot be used: it is not finite, of the wrong shape, or has classes that do not exist."""


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What an app is given.

    model: an ONNX file, None if the mission names none. statistics: text of the JSON file beside it, "" without a
    model. threads: how many threads the app may compute with.
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
        """Raise SetupError if something that the app needs is missing, BadModel if it is the model. Must be quick."""

    def run(self, samples: Samples) -> Any:
        """Return the answer to one tile, uint16 [band, row, column], reflectance x 10,000.

        What it returns depends on ANSWER:

            Mask       classes, uint8 [row, column]
            Table      rows, each a sequence in the order of the fields, or a mapping by their names
            Scalars    a mapping by the fields' names
            Octets     bytes

        The samples are valid during the call only. Raises BadInput or BadOutput; whatever else it raises is reported as
        an error of the app.
        """
