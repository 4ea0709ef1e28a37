"""Procedures: loading one from its file, running it to its end, and one line for whatever goes wrong in it.

A procedure is `async def NAME(operator: Operator) -> None`, alone in its file or named. The file is other people's
code: it may raise anything, at import as well, and the line that a person is shown is theirs, not ours.
"""

# Running (ADR 0032): every call of the operator is complete when it returns, so one `send(None)` runs the coroutine to
# its end. If it yields instead, it awaits something foreign, such as asyncio.sleep, for which there is no event loop
# here. It then gets a TypeError at that line, as it would from the scheduler in virtual time.
#
# Whatever runs the file's code catches BaseException, since it may raise anything. KeyboardInterrupt always passes: it
# is the operator's, and has gone through the procedure's `finally` by then. A procedure that calls sys.exit has failed
# like one that raises, with a line that says so: its SystemExit must not end the whole command without a word.
#
# The fault's line is the last one of the procedure's own file on the traceback. What lies below is our code, and of no
# use to whoever wrote the file.

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

from flight.core.errors import OrbitnodeError, SetupError, missing_import, reason_of
from ground.operator import Operator, ProcedureFailed
from ground.procedures.awaited import AwaitedOperator, unawaited_call
from ground.procedures.packet_values import UnknownField

Body = Callable[[Operator], Coroutine[Any, Any, None]]
USUAL_NAME = "procedure"  # the function that is meant if a file has several
_MODULE = "orbitnode_procedure"
_FOREIGN = "a procedure awaits only its operator's calls: operator.sleep, operator.wait_for and the like"


@dataclass(frozen=True, slots=True)
class Procedure:
    """A procedure that can be run. `file` is the path by which its faults are reported."""

    name: str
    file: str
    body: Body


class _SourceLoader(SourceFileLoader):
    """Compiles the file as it is now: no compiled copy is kept or used, and its `assert` counts even under `-O`."""

    def get_code(self, _fullname: str) -> CodeType:
        code: CodeType = compile(self.get_data(self.path), self.path, "exec", dont_inherit=True, optimize=0)
        return code


def load_file(text: str) -> Procedure:
    """Load `FILE[:FUNCTION]`: that function, else the one called `procedure`, else the only one in the file.

    The file may import what stands beside it. Raises SetupError.
    """
    path, function = _split(text)
    if not path:
        raise SetupError(f"procedure {text!r} does not name a file, should be FILE[:FUNCTION]")
    if not Path(path).is_file():
        raise SetupError(f"procedure file {path}: {'is a folder' if Path(path).is_dir() else 'no such file'}")
    folder = str(Path(path).resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # at the end: a file beside a procedure must not replace a module of ours
    loader = _SourceLoader(_MODULE, path)
    spec = spec_from_loader(_MODULE, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[_MODULE] = module  # before it runs: a dataclass looks up the module that it stands in
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
    """Raise SetupError if the file calls a coroutine function and throws the coroutine away: nothing would happen."""
    found = unawaited_call(decode_source(loader.get_data(path)), vars(module))
    if found is not None:
        line, name = found
        raise SetupError(f"{path}:{line}: {name}(...) is never awaited, should be `await {name}(...)`")


def load_named(text: str) -> Procedure:
    """Load the procedure `module:function` of an installed module. Raises SetupError."""
    module, _, function = text.partition(":")
    if not module or not function:
        raise SetupError(f"operator script {text!r} cannot be loaded: should be module:function")
    try:
        body = getattr(import_module(module), function, None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - see the head of the file
        why = missing_import(error, module) or fault_text(error, "")
        raise SetupError(f"operator script {text!r} cannot be loaded: {why}") from None
    if not _is_procedure(body):
        why = (
            f"module {module!r} has no function {function!r}"
            if body is None
            else f"not `async def {function}(operator)`"
        )
        raise SetupError(f"operator script {text!r} cannot be loaded: {why}")
    return Procedure(function, inspect.getfile(body), body)


def run_to_end(procedure: Procedure, operator: Operator) -> str:
    """Run a procedure whose operator completes every call before it returns. Return its fault, "" if it has none.

    KeyboardInterrupt passes through the procedure, with its `finally`, to the caller.
    """
    watched = AwaitedOperator(operator)
    running = procedure.body(watched)
    try:
        running.send(None)
        running.throw(TypeError(_FOREIGN))  # it awaits something that nobody here can give it
        running.close()  # it caught that and awaits again: no second chance
    except StopIteration:
        return _left_alone(watched, procedure.file)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - see the head of the file
        return fault_text(error, procedure.file)
    return f"{procedure.file}: {_FOREIGN}"


def _left_alone(operator: AwaitedOperator, file: str) -> str:
    """Return the fault of a procedure that has returned without having awaited a call, "" if it awaited all."""
    try:
        operator.check()
    except ProcedureFailed as error:
        return fault_text(error, file)
    return ""


async def run_in_task(body: Body, operator: Operator, ends: type[BaseException]) -> None:
    """Run a procedure as a part of a task, which an exception of the class `ends` ends from outside.

    Raises what the procedure raises. An exception that a task would not take for a fault of its own, such as
    asyncio.CancelledError, becomes ProcedureFailed.
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
    """Return `FILE:LINE: what went wrong`; the line is the last one of `file` on the way to the fault."""
    lines = [number for frame, number in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    line = lines[-1] if lines else None
    what = _what(error)
    if isinstance(error, SyntaxError) and not lines:
        file, line = error.filename or file, error.lineno
    elif isinstance(error, AssertionError) and not _words(error) and line is not None:
        what = f"does not hold: {linecache.getline(file, line).strip()}"
    elif line is not None and (missing := missing_import(error, "")):
        what = missing.removeprefix(f"{Path(file).name} ")
    at = file if line is None else f"{file}:{line}"
    return f"{at}: {what}" if at else what


def _words(error: BaseException) -> str:
    """Return the text of a fault. Its `__str__` may be the procedure's own: if that raises, the text is empty."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - see the head of the file
        return ""


def _what(error: BaseException) -> str:
    """Return the fault on one line, with a hint for mistakes that Python words badly."""
    text = " ".join(_words(error).split())
    kind = type(error).__name__
    match error:
        case ProcedureFailed() | OrbitnodeError():
            return text or kind
        case UnknownField():
            return text
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
    """Split `FILE[:FUNCTION]` into path and function; if a file of the whole name exists, that is the path."""
    path, colon, function = text.rpartition(":")
    return (path, function) if colon and function.isidentifier() and not Path(text).exists() else (text, "")


def _only(module: ModuleType, path: str) -> str:
    """Return the name of the procedure with the usual name, or of the only one. Raises SetupError."""
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
    """Return the public procedures that a file defines itself, in the order in which they stand."""
    return [
        name for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__ and _is_procedure(value)
    ]  # fmt: skip


def _is_procedure(value: object) -> TypeGuard[Body]:
    """Return whether it is a coroutine function that can be called with an operator alone."""
    if not inspect.iscoroutinefunction(value):
        return False
    try:
        inspect.signature(value).bind(None)
    except TypeError:
        return False
    return True
