"""A process that has everything imported, and forks for each mutant: tests of one take milliseconds to begin.

Two kinds, chosen by $MUTANTS_SERVER. `warm` is a plugin of pytest that has collected the whole suite; a mutant inside
a function takes the place of that function's code in the fork. `cold` knows the libraries alone; the mutant stands on
disk, and the fork imports the project with it, as a new process would: for what happens at import, and to make sure of
each mutant that survived the warm one.

Requests and answers are lines of JSON on two pipes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from tests.mutants import trees

SURVIVED, KILLED, NOT_HERE = 0, 1, 3
_ADDRESS_SPACE = 12 << 30  # a mutant that collects for ever runs out of memory before the machine does
_LIBRARIES = ("numpy", "hypothesis.stateful", "structlog", "cffi", "PIL.Image", "rich.console", "xml.etree.ElementTree",
              "spacepackets", "xmlschema", "asyncio", "sqlite3", "http.server", "msgpack", "serial", "sgp4.api", "onnx",
              "multiprocessing.connection", "tifffile")  # fmt: skip

Request = dict[str, Any]


def pytest_configure() -> None:
    trees.heed_interrupts()


def pytest_runtestloop(session: pytest.Session) -> bool:
    functions = _functions()
    items = {item.nodeid: item for item in session.items}
    _serve(lambda request: _warm(session, items, functions, request))
    return True


def main() -> None:
    trees.heed_interrupts()
    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    _serve(_cold)


def _serve(run: Callable[[Request], tuple[int, str]]) -> None:
    """Answer requests until the other end is gone."""
    gc.collect()
    gc.freeze()
    with (
        os.fdopen(int(os.environ["MUTANTS_IN"])) as requests,
        os.fdopen(int(os.environ["MUTANTS_OUT"]), "w") as answers,
    ):
        for line in requests:
            request = json.loads(line)
            outcome, by = _in_fork(partial(run, request), request["limit_s"], request["cpu_s"])
            answers.write(json.dumps({"outcome": outcome, "by": by}) + "\n")
            answers.flush()


def _in_fork(run: Callable[[], tuple[int, str]], limit_s: float, cpu_s: int) -> tuple[str, str]:
    """What became of it, and which test saw it. A limit that is passed is a loop without end, which is seen as well:
    of processor time if it turns, which does not depend on others; else by the clock, for giving up alone.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 2))
        try:
            outcome, by = run()
        except BaseException as error:  # noqa: BLE001 - whatever a mutant does, it was seen
            outcome, by = KILLED, type(error).__name__
        os.write(writing, by.encode()[:4000])
        os._exit(outcome)
    os.close(writing)
    ended = os.pidfd_open(child)
    waiting = select.poll()
    waiting.register(ended, select.POLLIN)
    in_time = waiting.poll(limit_s * 1000)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # and whatever it has started
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(ended)
    with os.fdopen(reading, "rb") as pipe:
        os.set_blocking(reading, False)
        by = (pipe.read() or b"").decode(errors="replace")
    if not in_time:
        return "hung", ""
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGXCPU:
        return "hung", ""
    return {SURVIVED: "survived", NOT_HERE: "not here"}.get(code, "killed"), by


def _functions() -> dict[tuple[str, str, int], list[FunctionType]]:
    """Every function of the project, by file, name and line. No object is asked what it is: a driver of the
    tests answers every question by an exception.
    """
    root = os.getcwd()
    found: dict[tuple[str, str, int], list[FunctionType]] = {}
    for one in gc.get_objects():
        if type(one) is FunctionType and one.__code__.co_filename.startswith(root):
            code = one.__code__
            file = Path(code.co_filename).relative_to(root).as_posix()
            found.setdefault((file, code.co_qualname, code.co_firstlineno), []).append(one)
    return found


def _warm(
    session: pytest.Session,
    items: dict[str, pytest.Item],
    functions: dict[tuple[str, str, int], list[FunctionType]],
    request: Request,
) -> tuple[int, str]:
    if request["file"]:
        path = os.path.abspath(request["file"])
        code = _code_in(compile(request["source"], path, "exec"), request["scope"], request["scope_line"])
        targets = functions.get((request["file"], request["scope"], request["scope_line"]), [])
        if code is None or not targets:
            return NOT_HERE, ""
        for one in targets:
            if len(one.__code__.co_freevars) != len(code.co_freevars):
                return NOT_HERE, ""
            one.__code__ = code
    chosen = [items[test] for test in request["tests"] if test in items]
    files = tuple(f"{test}::" for test in request["tests"] if "::" not in test)
    chosen += [item for test, item in items.items() if test.startswith(files)]
    for item, following in zip(chosen, [*chosen[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return KILLED, item.nodeid
    return SURVIVED, ""


def _code_in(code: CodeType, scope: str, line: int) -> CodeType | None:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            if (one.co_qualname, one.co_firstlineno) == (scope, line):
                return one
            if scope.startswith(f"{one.co_qualname}."):
                found = _code_in(one, scope, line)
                if found is not None:
                    return found
    return None


class _First:
    """A plugin that notes the first test that fails, or the file that cannot be imported."""

    def __init__(self) -> None:
        self.failed = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.failed:
            self.failed = f"import in {report.nodeid}"


def _cold(request: Request) -> tuple[int, str]:
    first = _First()
    sys.path.insert(0, os.getcwd())
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *request["tests"]], plugins=[first])
    if code == pytest.ExitCode.OK:
        return SURVIVED, ""
    return KILLED, first.failed or f"exit {code}"


if __name__ == "__main__":
    main()
