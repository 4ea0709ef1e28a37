"""Procedures: loading one from its file, running it to its end where every call of its operator completes at once, and
one line for whatever goes wrong in it.

A procedure is `async def NAME(operator: Operator) -> None`, alone in its file or named. What stands in the file is
other people's code: it may raise anything, at import as well, and the line that a person is told is theirs, not ours.
"""

from __future__ import annotations

import inspect
import linecache
import sys
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import decode_source, module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeGuard

from flight.core.errors import OrbitnodeError, SetupError, reason_of
from ground.operator import Operator, ProcedureFailed
from ground.procedures.awaited import AwaitedOperator, unawaited_call

Body = Callable[[Operator], Coroutine[Any, Any, None]]
USUAL_NAME = "procedure"  # the function that is meant if a file has several
_MODULE = "orbitnode_procedure"
_FOREIGN = "a procedure awaits only its operator's calls: operator.sleep, operator.wait_for and the like"


@dataclass(frozen=True, slots=True)
class Procedure:
    """A procedure that can be run, and the file that its faults are named by."""

    name: str
    file: str
    body: Body


class _SourceLoader(SourceFileLoader):
    """Reads the file as it is, always: no compiled copy is kept beside it or taken for it, and what it asserts is
    looked at, also if Python was told to leave out assertions.
    """

    def get_code(self, _fullname: str) -> CodeType:
        code: CodeType = compile(self.get_data(self.path), self.path, "exec", dont_inherit=True, optimize=0)
        return code


def load_file(text: str) -> Procedure:
    """The procedure `FILE[:FUNCTION]`: that function, or the only one in the file, or the one called `procedure`.

    The file may import what stands beside it. Raises SetupError.
    """
    path, function = _split(text)
    if not path:
        raise SetupError(f"procedure {text!r} names no file, should be FILE[:FUNCTION]")
    if not Path(path).is_file():
        raise SetupError(f"procedure file {path}: {'is a folder' if Path(path).is_dir() else 'no such file'}")
    folder = str(Path(path).resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    loader = _SourceLoader(_MODULE, path)
    spec = spec_from_loader(_MODULE, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[_MODULE] = module  # a dataclass looks for the module that it stands in
    try:
        loader.exec_module(module)
    except OSError as error:
        if error.filename == path:
            raise SetupError(f"procedure file {path} cannot be read: {reason_of(error)}") from None
        raise SetupError(fault_text(error, path)) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - see the head of the file
        raise SetupError(fault_text(error, path)) from None
    _check_awaits(loader, path, module)
    name = function or _only(module, path)
    body = getattr(module, name, None)
    if not _is_procedure(body):
        had = "has no function" if body is None else "cannot run"
        raise SetupError(f"procedure file {path} {had} {name!r}: {_names_text(module)}")
    return Procedure(name, path, body)


def _check_awaits(loader: _SourceLoader, path: str, module: ModuleType) -> None:
    """Raise SetupError if a coroutine that the file has or imports is called and left alone: nothing of it would be
    done.
    """
    found = unawaited_call(decode_source(loader.get_data(path)), vars(module))
    if found is not None:
        line, name = found
        raise SetupError(f"{path}:{line}: {name}(...) is never awaited, should be `await {name}(...)`")


def load_named(text: str) -> Procedure:
    """The procedure `module:function` of an installed module; raises SetupError."""
    module, _, function = text.partition(":")
    if not module or not function:
        raise SetupError(f"operator script {text!r} cannot be loaded: should be module:function")
    try:
        body = getattr(import_module(module), function, None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - see the head of the file
        raise SetupError(f"operator script {text!r} cannot be loaded: {fault_text(error, '')}") from None
    if not _is_procedure(body):
        why = (
            f"module {module!r} has no function {function!r}"
            if body is None
            else f"not `async def {function}(operator)`"
        )
        raise SetupError(f"operator script {text!r} cannot be loaded: {why}")
    return Procedure(function, inspect.getfile(body), body)


def run_to_end(procedure: Procedure, operator: Operator) -> str:
    """Run a procedure whose operator completes every call before it returns: "" when it has returned, else what went
    wrong. KeyboardInterrupt goes through it, past its `finally`, to the caller.
    """
    watched = AwaitedOperator(operator)
    running = procedure.body(watched)
    try:
        running.send(None)
        running.throw(TypeError(_FOREIGN))  # it waits for what nobody here can give
        running.close()
    except StopIteration:
        return _left_alone(watched, procedure.file)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - see the head of the file
        return fault_text(error, procedure.file)
    return f"{procedure.file}: {_FOREIGN}"


def _left_alone(operator: AwaitedOperator, file: str) -> str:
    """What went wrong if the procedure has returned without having awaited a call, "" if nothing did."""
    try:
        operator.check()
    except ProcedureFailed as error:
        return fault_text(error, file)
    return ""


async def run_in_task(body: Body, operator: Operator, ends: type[BaseException]) -> None:
    """Run a procedure as a part of a task, which `ends` ends from outside. Raises as the procedure does, but
    ProcedureFailed for what a task would not take for a fault of its own, such as asyncio.CancelledError.
    """
    watched = AwaitedOperator(operator)
    try:
        await body(watched)
        watched.check()
    except (Exception, SystemExit, GeneratorExit, KeyboardInterrupt, ends):
        raise
    except BaseException as error:  # noqa: BLE001 - see the head of the file
        raise ProcedureFailed(_what(error)).with_traceback(error.__traceback__) from None


def fault_text(error: BaseException, file: str) -> str:
    """`FILE:LINE: what went wrong`, the line being the last one of `file` on the way to the fault."""
    lines = [number for frame, number in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    line = lines[-1] if lines else None
    what = _what(error)
    if isinstance(error, SyntaxError) and not lines:
        file, line = error.filename or file, error.lineno
    elif isinstance(error, AssertionError) and not _words(error) and line is not None:
        what = f"does not hold: {linecache.getline(file, line).strip()}"
    at = file if line is None else f"{file}:{line}"
    return f"{at}: {what}" if at else what


def _words(error: BaseException) -> str:
    """The text of a fault. It may be made by the procedure's own class: if that fails, there is none."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - see the head of the file
        return ""


def _what(error: BaseException) -> str:
    """The fault in one line."""
    text = " ".join(_words(error).split())
    kind = type(error).__name__
    match error:
        case ProcedureFailed() | OrbitnodeError():
            return text or kind
        case SystemExit():
            return "calls sys.exit: a procedure ends by return, and fails by ProcedureFailed"
        case SyntaxError():
            return f"not valid Python: {error.msg}"
        case AttributeError() | TypeError() if "'coroutine' object" in text:
            return f"{kind}: {text}; is an `await` missing before the call that gave it?"
        case RuntimeError() if text == "no running event loop":
            return f"{text}: {_FOREIGN}"
    return f"{kind}: {text}" if text else kind


def _split(text: str) -> tuple[str, str]:
    """Path and function of `FILE[:FUNCTION]`; a file whose name has a colon is taken as it is."""
    path, colon, function = text.rpartition(":")
    return (path, function) if colon and function.isidentifier() and not Path(text).exists() else (text, "")


def _only(module: ModuleType, path: str) -> str:
    """The one procedure that a file has, or the one with the usual name; raises SetupError."""
    names = _names(module)
    if USUAL_NAME in names:
        return USUAL_NAME
    if len(names) != 1:
        asked = f"; name one, {path}:{names[0]}" if names else ""
        raise SetupError(f"procedure file {path}: {_names_text(module)}{asked}")
    return names[0]


def _names_text(module: ModuleType) -> str:
    names = _names(module)
    return f"it has {', '.join(names)}" if names else "it has no `async def NAME(operator)`"


def _names(module: ModuleType) -> list[str]:
    """The procedures that a file defines itself and does not keep private, in the order in which they stand."""
    return [
        name for name, one in vars(module).items()
        if not name.startswith("_") and getattr(one, "__module__", "") == module.__name__ and _is_procedure(one)
    ]  # fmt: skip


def _is_procedure(one: object) -> TypeGuard[Body]:
    """Whether it is a coroutine function that can be called with an operator alone."""
    if not inspect.iscoroutinefunction(one):
        return False
    try:
        inspect.signature(one).bind(None)
    except TypeError:
        return False
    return True
