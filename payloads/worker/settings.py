"""What the parent settles before a worker starts: its settings, and the app that it will run. Edge code.

The parent imports this and the worker does; nothing here brings numpy into the parent.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast, get_args

from flight.core.errors import PASSES_THROUGH, SetupError
from flight.core.task import text_of
from payloads.apps.base import AppSettings, BadOutput, WorkerApp
from payloads.product.answers import AnyKind
from payloads.worker.wire import SlotShape, Status

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What the parent decides for the worker.

    name: of the app, in its products. code: the app, "module:Class". model: "" for none. answer_octets: the most of an
    answer. memory_mib: limit of its address space, 0 for none. scratch_mib: size of its folder, 0 for none. readable:
    files and folders that the app may read besides those of Python, app and model. guards_off: labels of guards not to
    put up.
    """

    name: str
    code: str
    model: str
    threads: int
    bands: int
    height: int
    width: int
    answer_octets: int
    nice: int
    memory_mib: int
    scratch_mib: int
    readable: Sequence[str] = ()
    guards_off: Sequence[str] = ()

    @property
    def shape(self) -> SlotShape:
        return SlotShape(self.bands, self.height, self.width, self.answer_octets)

    def app_settings(self) -> AppSettings:
        """What the app gets; raises SetupError if it has a model, and that or its statistics are missing."""
        if not self.model:
            return AppSettings(None, "", self.threads)
        model = Path(self.model)
        statistics = model.with_suffix(".json")
        try:
            if not model.is_file():
                raise SetupError(f"model {model} is missing; run `make setup`")
            return AppSettings(model, statistics.read_text(encoding="utf-8"), self.threads)
        except (OSError, ValueError) as error:
            raise SetupError(f"model statistics {statistics}: {error}; run `make setup`") from None

    def readable_paths(self) -> tuple[str, ...]:
        """What the worker may read: where Python finds modules, the model and what lies beside it, and `readable`."""
        interpreter = Path(sys.executable)
        modules = (path for path in sys.path if path and os.path.realpath(path) != "/")  # a service's folder may be "/"
        return (
            *modules, sys.prefix, sys.base_prefix, str(interpreter), os.path.realpath(interpreter),
            *self._model_paths(), *self.readable,
        )  # fmt: skip

    def _model_paths(self) -> tuple[str, ...]:
        if not self.model:
            return ()
        model = Path(self.model)
        return str(model.parent), os.path.realpath(model), os.path.realpath(model.with_suffix(".json"))


@dataclass(frozen=True, slots=True)
class Failed:
    """What an app's fault is in an answer."""

    status: Status
    detail: str


def guarded(code: str, call: Callable[[], T]) -> T | Failed:
    """The one place where a fault of the app `code`, of whatever kind, becomes a word about it."""
    try:
        return call()
    except BadOutput as error:
        return Failed(Status.BAD_OUTPUT, text_of(error).removeprefix(f"{type(error).__name__}: "))
    except PASSES_THROUGH:
        raise
    except BaseException as error:  # noqa: BLE001 - an app may raise anything; the node goes on
        return Failed(Status.APP_ERROR, f"{_place(code, error)}{text_of(error)}")


def _place(code: str, error: BaseException) -> str:
    """`FILE:LINE: `, by the last line of the app's own module on the way to the fault; "" if there is none."""
    module = code.partition(":")[0]
    places = [
        f"{os.path.basename(frame.f_code.co_filename)}:{line}: "
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") == module
    ]
    return places[-1] if places else ""


def check_app(settings: WorkerSettings) -> None:
    """Import the app in this process and let it look at its settings; raises SetupError, whatever the app raises."""
    _looked_at(settings.code, lambda: find_app(settings.code).check(settings.app_settings()))


def declared_answer(code: str) -> AnyKind:
    """What the app's answers are; imports it in this process. Raises SetupError, whatever the app raises."""

    def look() -> AnyKind:
        answer = find_app(code).ANSWER
        try:
            answer.check()
        except SetupError as error:
            raise SetupError(f"worker app {code!r}: its ANSWER {error}") from None
        return answer

    return _looked_at(code, look)


def _looked_at(code: str, look: Callable[[], T]) -> T:
    """What `look` finds; raises SetupError, whatever the app raises."""

    def settled() -> T | SetupError:
        try:
            return look()
        except SetupError as error:
            return error

    found = guarded(code, settled)
    if isinstance(found, Failed):
        raise SetupError(f"worker app {code!r} cannot be used: {' '.join(found.detail.split())}")
    if isinstance(found, SetupError):
        raise found
    return found


def find_app(code: str) -> type[WorkerApp]:
    """The class behind "module:Class"; raises SetupError if it is not a worker app."""
    module, _, attribute = code.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == module
        hint = (
            "is it installed, or its folder on PYTHONPATH?"
            if missing
            else "should be like 'payloads.apps.screen:Screen'"
        )
        raise SetupError(f"worker app {code!r}: {error}; {hint}") from None
    if not all(callable(getattr(found, need, None)) for need in ("check", "run")):
        is_payload_app = all(hasattr(found, need) for need in ("declare", "start"))
        hint = "it is a payload app, which [[app]] names" if is_payload_app else "see payloads/apps/base.py, WorkerApp"
        raise SetupError(f"worker app {code!r} has no check or run: {hint}")
    answer = getattr(found, "ANSWER", None)
    if isinstance(answer, AnyKind) and type(answer) not in get_args(AnyKind):
        # Its methods would be the app's own code in the flight loop.
        name = type(answer).__name__
        raise SetupError(f"worker app {code!r}: its ANSWER is {name}, should be no subclass of the four kinds")
    if not isinstance(answer, AnyKind):
        raise SetupError(
            f"worker app {code!r} has no ANSWER, which should be a Mask, Table, Scalars or Octets of"
            " payloads/product/answers.py"
        )
    return cast("type[WorkerApp]", found)
