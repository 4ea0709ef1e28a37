"""The processes that try mutants, a warm and a cold server for each job, and in which order a mutant's tests come."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.mutants import trees
from tests.mutants.operators import Mutant
from tests.mutants.testmap import GivenTests, LineMap

# For giving up alone, on a mutant that waits for ever, and in processor time, on one that loops for ever.
_LIMIT_LEAST_S, _LIMIT_TIMES = 120.0, 50.0
_CPU_LEAST_S, _CPU_TIMES = 10.0, 5.0
_GIVEN_MAX_S = 600.0
_DEEP = 8.0  # times the budget, for what has survived it
_FIRST_FILES, _FIRST_TESTS = 3, 25
_MAKING_SURE = 0.4  # of the budget, for a survivor of the warm server
_KILLERS = 3  # the last ones that saw a mutant of the same file come first

Outcome = tuple[Mutant, str, str]


class _Server:
    def __init__(self, kind: str, tree: Path, collected: list[str]) -> None:
        to_read, to_write = os.pipe()
        answers, answering = os.pipe()
        command = [sys.executable, "-m", "tests.mutants.server"]
        if kind == "warm":
            ignored = (f"--ignore={one}" for one in trees.LEFT_OUT)
            command = trees.pytest_command("-p", "tests.mutants.server", *(collected or ignored))
        environment = trees.environment(tree) | {"MUTANTS_IN": str(to_read), "MUTANTS_OUT": str(answering)}
        self._process = subprocess.Popen(
            command, cwd=tree, env=environment, pass_fds=(to_read, answering), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(answering)
        self._requests = os.fdopen(to_write, "w")
        self._answers = os.fdopen(answers)

    def ask(self, **request: object) -> tuple[str, str]:
        self._requests.write(json.dumps(request) + "\n")
        self._requests.flush()
        line = self._answers.readline()
        if not line:
            raise RuntimeError("a server of mutants has ended; its tests do not collect")
        answer = json.loads(line)
        return answer["outcome"], answer["by"]

    def close(self) -> None:
        self._requests.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


class _Worker:
    """One job: two copies of the project and a server in each."""

    def __init__(self, number: int, tests: LineMap | GivenTests, budget_s: float) -> None:
        self._tests = tests
        self._budget_s = budget_s
        self._trees = {kind: trees.make(f"{kind}-{number}") for kind in ("warm", "cold")}
        collected = tests.tests if isinstance(tests, GivenTests) else []
        self._servers = {kind: _Server(kind, tree, collected) for kind, tree in self._trees.items()}
        self._sound: dict[tuple[str, str], bool] = {}
        self._killers: dict[str, list[int]] = {}
        self._numbers = {test: number for number, test in enumerate(tests.tests)}
        self._given_s = 0.0
        if isinstance(tests, GivenTests):
            self._given_s = max(self._measure(kind, tests.tests) for kind in self._servers)

    def _measure(self, kind: str, tests: list[str]) -> float:
        """How long given test files take, all of which must pass as things are."""
        started = time.monotonic()
        outcome, by = self._ask(kind, None, tests, _GIVEN_MAX_S)
        if outcome != "survived":
            raise SystemExit(f"mutants: {by or 'a given test'} fails without a mutant, {kind}: {outcome}")
        return time.monotonic() - started

    def close(self) -> None:
        for server in self._servers.values():
            server.close()

    def try_mutant(self, mutant: Mutant) -> tuple[str, str]:
        """killed, hung, survived or untested, and the test that saw it."""
        ordered = self._tests.covering(
            mutant.file, mutant.first_line, mutant.last_line, mutant.names, at_import=not mutant.scope
        )
        killers = [test for test in self._killers.get(mutant.file, ()) if test in ordered]
        ordered = [*killers, *(test for test in ordered if test not in killers)]
        quick = self._within(ordered, self._budget_s)
        deep = self._within(ordered, self._budget_s * _DEEP)[len(quick) :]
        if mutant.scope:
            stages = [("warm", quick), ("warm", deep), ("cold", self._within(ordered, self._budget_s * _MAKING_SURE))]
        else:
            # A new process collects what it is given: first a few tests of few files, which see most mutants.
            files = tuple(dict.fromkeys(self._tests.tests[test].partition("::")[0] for test in quick))[:_FIRST_FILES]
            first = [test for test in quick if self._tests.tests[test].startswith(files)][:_FIRST_TESTS]
            stages = [("cold", first), ("cold", [test for test in quick if test not in first]), ("cold", deep)]
        result = ("untested", "")
        for kind, tests in stages:
            if tests:
                result = self._try(kind, mutant, tests)
                if result[0] in ("killed", "hung"):
                    break
        return result

    def _within(self, tests: list[int], budget_s: float) -> list[int]:
        """The first of them, at least one, that take no longer together."""
        chosen: list[int] = []
        for test in tests:
            budget_s -= self._tests.seconds[test]
            if chosen and budget_s < 0:
                break
            chosen.append(test)
        return chosen

    def _try(self, kind: str, mutant: Mutant, chosen: list[int]) -> tuple[str, str]:
        """A test that fails without the mutant too, in this way of running it, is left out."""
        tests = [self._tests.tests[test] for test in chosen if self._sound.get((kind, self._tests.tests[test]), True)]
        measured_s = self._given_s or sum(self._tests.seconds[test] for test in chosen)
        while tests:
            outcome, by = self._ask(kind, mutant, tests, measured_s)
            if outcome != "killed" or by not in tests or self._is_sound(kind, by, measured_s):
                if by in self._numbers:
                    killer, before = self._numbers[by], self._killers.get(mutant.file, [])
                    self._killers[mutant.file] = [killer, *(one for one in before if one != killer)][:_KILLERS]
                return outcome, by
            tests.remove(by)
        return "untested", ""

    def _is_sound(self, kind: str, test: str, measured_s: float) -> bool:
        if (kind, test) not in self._sound:
            self._sound[kind, test] = self._ask(kind, None, [test], measured_s)[0] == "survived"
        return self._sound[kind, test]

    def _ask(self, kind: str, mutant: Mutant | None, tests: list[str], measured_s: float) -> tuple[str, str]:
        server = self._servers[kind]
        limits = {
            "limit_s": _LIMIT_LEAST_S + _LIMIT_TIMES * measured_s,
            "cpu_s": round(_CPU_LEAST_S + _CPU_TIMES * measured_s),
        }
        if mutant is None:
            return server.ask(file="", tests=tests, **limits)
        path = self._trees[kind] / mutant.file
        source = path.read_bytes()
        changed = mutant.applied(source)
        if kind == "warm":
            return server.ask(file=mutant.file, source=changed.decode(), scope=mutant.scope,
                              scope_line=mutant.scope_line, tests=tests, **limits)  # fmt: skip
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()  # it is known by second and size, which the mutant may share
        path.write_bytes(changed)
        try:
            return server.ask(file=mutant.file, tests=tests, **limits)
        finally:
            path.write_bytes(source)
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                compiled.unlink()


class Farm:
    def __init__(self, tests: LineMap | GivenTests, jobs: int, budget_s: float) -> None:
        self._workers = [_Worker(number, tests, budget_s) for number in range(jobs)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()

    def run(self, mutants: list[Mutant]) -> Iterator[Outcome]:
        """Every mutant with its outcome, as they come."""
        waiting: queue.SimpleQueue[Mutant | None] = queue.SimpleQueue()
        done: queue.SimpleQueue[Outcome | Exception] = queue.SimpleQueue()
        for one in (*mutants, *[None] * len(self._workers)):
            waiting.put(one)

        def work(worker: _Worker) -> None:
            try:
                while (mutant := waiting.get()) is not None:
                    done.put((mutant, *worker.try_mutant(mutant)))
            except Exception as error:  # noqa: BLE001 - the main thread raises it
                done.put(error)

        for worker in self._workers:
            threading.Thread(target=work, args=(worker,), daemon=True).start()
        for _ in mutants:
            outcome = done.get()
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome
