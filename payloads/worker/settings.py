"""What the node settles before a worker starts: its settings, and the app that it will run. Edge code.

Both the node's process and the worker import this; nothing here brings numpy into the node's process.
"""

# The node imports the app's module to read its declaration and to let it check its settings. So some code of the app
# runs in the node's process, before it flies and never after. It may raise anything: `guarded` turns that into a text
# about the app, and `_inspected` into SetupError. `guarded` is the one place in payloads/ that catches everything; the
# worker's calls into the app go through it as well.

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast, get_args

from flight.core.errors import PASSES_THROUGH, SetupError, missing_import, reason_of
from flight.core.task import text_of
from payloads.apps.base import AppSettings, BadModel, BadOutput, WorkerApp
from payloads.product.answers import AnyKind
from payloads.worker.wire import SlotShape, Status

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What the node decides for the worker. Goes to it as JSON on its command line.

    name: of the app, in its products. code: the app, "module:Class". model: path, "" for none. answer_octets: the most
    octets of an answer. memory_mib: limit of its address space, 0 for none. scratch_mib: size of its folder, 0 for
    none. readable: files and folders that the app may read besides those of Python, app and model. guards_off: labels
    of guards that are not to be put up.
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
        """The slot's shape, the same on both sides."""
        return SlotShape(self.bands, self.height, self.width, self.answer_octets)

    def app_settings(self) -> AppSettings:
        """Return what the app is given. Raises SetupError if it has a model, and that or its statistics are missing."""
        return _app_settings(self.model, self.threads)

    def readable_paths(self) -> tuple[str, ...]:
        """Return what the worker may read: Python and its modules, the model with its folder, and `readable`."""
        interpreter = Path(sys.executable)
        # The current folder of a service may be "/", and with it on the path everything would be readable.
        modules = (path for path in sys.path if path and os.path.realpath(path) != "/")
        return (
            *modules, sys.prefix, sys.base_prefix, str(interpreter), os.path.realpath(interpreter),
            *self._model_paths(), *self.readable,
        )  # fmt: skip

    def _model_paths(self) -> tuple[str, ...]:
        if not self.model:
            return ()
        model = Path(self.model)
        # Links are allowed as well as what they lead to: a cache may link to files elsewhere.
        return str(model.parent), os.path.realpath(model), os.path.realpath(model.with_suffix(".json"))


def _app_settings(path: str, threads: int) -> AppSettings:
    if not path:
        return AppSettings(None, "", threads)
    model = Path(path)
    statistics = model.with_suffix(".json")
    try:
        if not model.is_file():
            raise BadModel(f"model {model} is missing; run `make setup`")
        return AppSettings(model, statistics.read_text(encoding="utf-8"), threads)
    except OSError as error:
        raise BadModel(f"{statistics} cannot be read: {reason_of(error)}; run `make setup`") from None
    except ValueError:
        raise BadModel(f"{statistics} cannot be read: it is not UTF-8 text") from None


@dataclass(frozen=True, slots=True)
class Failed:
    """A fault of the app, as an answer reports it."""

    status: Status
    detail: str


def guarded(code: str, call: Callable[[], T]) -> T | Failed:
    """Make a call into the app `code`. Returns its result, or Failed for whatever it raises."""
    try:
        return call()
    except BadOutput as error:
        return Failed(Status.BAD_OUTPUT, text_of(error).removeprefix(f"{type(error).__name__}: "))
    except PASSES_THROUGH:
        raise
    except BaseException as error:  # noqa: BLE001 - an app may raise anything; the node goes on
        return Failed(Status.APP_ERROR, f"{_place(code, error)}{text_of(error)}")


def _place(code: str, error: BaseException) -> str:
    """Return `FILE:LINE: ` of the last line of the app's own module on the way to the fault, "" if there is none."""
    # Its own module, not the innermost frame: an author looks for the line of theirs that called numpy, not numpy's.
    module = code.partition(":")[0]
    places = [
        f"{os.path.basename(frame.f_code.co_filename)}:{line}: "
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") == module
    ]
    return places[-1] if places else ""


def check_app(code: str, model: str, threads: int) -> None:
    """Import the app in this process and let it check its settings. Raises SetupError, whatever the app raises.

    That is BadModel if the model, whose path is `model` ("" for none), or its statistics are not what the app takes.
    """
    _inspected(code, lambda: find_app(code).check(_app_settings(model, threads)))


def settings_fault(code: str, model: str, threads: int) -> dict[str, str]:
    """Return what `check_app` raises, by the key that it concerns: the app's `model`, or its `code`; {} if nothing."""
    try:
        check_app(code, model, threads)
    except BadModel as error:
        return {"model": str(error)}
    except SetupError as error:
        return {"code": str(error)}
    return {}


def declared_answer(code: str) -> AnyKind:
    """Import the app in this process and return its ANSWER, checked. Raises SetupError, whatever the app raises."""

    def look() -> AnyKind:
        answer = find_app(code).ANSWER
        try:
            answer.check()
        except SetupError as error:
            raise SetupError(f"worker app {code!r}: its ANSWER {error}") from None
        return answer

    return _inspected(code, look)


def _inspected(code: str, look: Callable[[], T]) -> T:
    """Return what `look` finds. Raises SetupError, whatever the app raises."""

    # A SetupError already says what is wrong, so it is returned as a value, which `guarded` passes on unchanged.
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


def _why_not_found(error: Exception, module: str) -> str:
    if text := missing_import(error, module):
        return text
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        return f"{error}; is it installed, or its folder on PYTHONPATH?"
    return f"{error}; should be like 'payloads.apps.screen:Screen'"


def find_app(code: str) -> type[WorkerApp]:
    """Import the class behind "module:Class". Raises SetupError if it is not a worker app."""
    module, _, attribute = code.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SetupError(f"worker app {code!r}: {_why_not_found(error, module)}") from None
    if not all(callable(getattr(found, method, None)) for method in ("check", "run")):
        is_payload_app = all(hasattr(found, method) for method in ("declare", "start"))
        hint = "it is a payload app, which [[app]] names" if is_payload_app else "see payloads/apps/base.py, WorkerApp"
        raise SetupError(f"worker app {code!r} has no check or run: {hint}")
    answer = getattr(found, "ANSWER", None)
    if isinstance(answer, AnyKind) and type(answer) not in get_args(AnyKind):
        # Its methods would be the app's own code in the flight loop.
        name = type(answer).__name__
        raise SetupError(f"worker app {code!r}: its ANSWER is {name}, should be one of the four kinds, not a subclass")
    if not isinstance(answer, AnyKind):
        raise SetupError(
            f"worker app {code!r} has no ANSWER, which should be a Mask, Table, Scalars or Octets of"
            " payloads/product/answers.py"
        )
    return cast("type[WorkerApp]", found)
