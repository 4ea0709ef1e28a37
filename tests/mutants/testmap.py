"""Which tests run which line, and how long each takes: the suite under coverage, kept until a file changes."""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage

from tests.mutants import trees

_FILE = trees.BUILD / "map.json"
_DOCUMENTED = ("tests/unit/test_docs.py::test_mission_guide", "tests/unit/test_docs.py::test_dictionary_guide")
_BUDGET_MIN_S = 0.005  # no test is quicker, for the order


@dataclass(frozen=True)
class LineMap:
    """lines: per file and line the numbers of the tests that run it; tests: their ids; seconds: of each."""

    tests: list[str]
    seconds: list[float]
    lines: dict[str, dict[int, list[int]]]

    def of_lines(self, file: str, lines: Iterable[int]) -> set[int]:
        known = self.lines.get(file, {})
        return {test for line in lines for test in known.get(line, ())}

    def in_order(self, file: str, tests: Iterable[int]) -> list[int]:
        """Those first that run much of the file in little time."""
        share = dict.fromkeys(tests, 0)
        for found in self.lines.get(file, {}).values():
            for test in found:
                if test in share:
                    share[test] += 1
        return sorted(share, key=lambda test: (max(self.seconds[test], _BUDGET_MIN_S) / max(share[test], 1), test))

    def covering(self, file: str, first: int, last: int, names: frozenset[str], *, at_import: bool) -> list[int]:
        """Return the tests for a mutant on these lines.

        What runs at import alone has `names`: the lines that use them count, or the whole file if there are none.
        Declarations are held to the documentation, which comes first then.
        """
        chosen = self.of_lines(file, range(first, last + 1))
        if names:
            for other, lines in self.lines.items():
                used = [line for line, found in names_by_line(other).items() if found & names and line in lines]
                chosen |= self.of_lines(other, used)
        if not chosen:
            chosen = self.of_lines(file, self.lines.get(file, {}))
        ordered = self.in_order(file, chosen)
        documented = [n for n, test in enumerate(self.tests) if test.startswith(_DOCUMENTED)] if at_import else []
        return [*documented, *(test for test in ordered if test not in documented)]


@dataclass(frozen=True)
class GivenTests:
    """In place of a map: test files that are given to every mutant, such as those just written for survivors."""

    tests: list[str]

    @property
    def seconds(self) -> list[float]:
        return [1.0] * len(self.tests)

    def covering(self, *_: object, **__: object) -> list[int]:
        return list(range(len(self.tests)))


_NAMES: dict[str, dict[int, set[str]]] = {}


def names_by_line(file: str) -> dict[int, set[str]]:
    """The constants of modules that each line of the file speaks of."""
    if file not in _NAMES:
        found: dict[int, set[str]] = {}
        for node in ast.walk(ast.parse((trees.ROOT / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name | ast.Attribute):
                name = node.id if isinstance(node, ast.Name) else node.attr
                if name.strip("_").isupper():
                    found.setdefault(node.lineno, set()).add(name)
        _NAMES[file] = found
    return _NAMES[file]


def load() -> LineMap:
    """As measured, or measured now: all of it takes about as long as the suite on one processor, a changed test file
    its own time.
    """
    sources, tests = trees.version_of_sources(), trees.versions_of_tests()
    kept = json.loads(_FILE.read_text(encoding="utf-8")) if _FILE.exists() else {}
    if kept.get("sources") != sources:
        kept = {"sources": sources, "versions": {}, "seconds": {}, "lines": {}}
    changed = [file for file, version in tests.items() if kept["versions"].get(file) != version]
    gone = [file for file in kept["versions"] if file not in tests]
    if changed or gone:
        _forget(kept, {*changed, *gone})
        print(f"mutants: measuring which lines the tests of {len(changed)} files run", flush=True)
        if changed:
            _measure(trees.make("map"), changed, kept)
        kept["versions"] = tests
        _FILE.write_text(json.dumps(kept), encoding="utf-8")
    names = sorted(kept["seconds"])
    numbers = {test: number for number, test in enumerate(names)}
    lines = {
        file: {int(line): sorted(numbers[test] for test in found) for line, found in by_line.items()}
        for file, by_line in kept["lines"].items()
    }
    return LineMap(names, [kept["seconds"][test] for test in names], lines)


def _forget(kept: dict[str, Any], files: set[str]) -> None:
    def is_kept(test: str) -> bool:
        return test.partition("::")[0] not in files

    kept["seconds"] = {test: seconds for test, seconds in kept["seconds"].items() if is_kept(test)}
    for by_line in kept["lines"].values():
        for line, found in by_line.items():
            by_line[line] = [test for test in found if is_kept(test)]


def _measure(tree: Path, files: list[str], kept: dict[str, Any]) -> None:
    """Enter into `kept` what the tests of these files run."""
    data_file, times_file = trees.BUILD / "map.coverage", trees.BUILD / "times.json"
    config = trees.BUILD / "coverage.ini"
    config.write_text(f"[run]\nsource = flight, payloads\ndata_file = {data_file}\n", encoding="utf-8")
    command = trees.pytest_command(
        "-p", "tests.mutants.times", "--cov", f"--cov-config={config}", "--cov-context=test", "--cov-report=", *files
    )  # fmt: skip
    environment = trees.environment(tree) | {"MUTANTS_TIMES": str(times_file)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mutants: the tests do not pass as they are:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    kept["seconds"] |= json.loads(times_file.read_text(encoding="utf-8"))
    data = coverage.CoverageData(str(data_file))
    data.read()
    for path in data.measured_files():
        by_line = kept["lines"].setdefault(Path(path).relative_to(tree).as_posix(), {})
        for line, contexts in data.contexts_by_lineno(path).items():
            tests = {test for one in contexts if (test := one.rpartition("|")[0]) in kept["seconds"]}
            if tests:
                by_line[str(line)] = sorted({*by_line.get(str(line), ()), *tests})
