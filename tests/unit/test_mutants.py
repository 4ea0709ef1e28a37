"""The runner of mutants: which faults it makes of a line, what it keeps, and what becomes of a fork."""

from __future__ import annotations

import os
import time
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.mutants import results as kept
from tests.mutants import trees
from tests.mutants.accepted import Accepted, lines_of
from tests.mutants.operators import Mutant, mutants_of
from tests.mutants.results import Results
from tests.mutants.server import KILLED, SURVIVED, _functions, _in_fork
from tests.mutants.testmap import LineMap


def made(source: str) -> set[str]:
    """The lines that mutants make of a source of one line, or of the last line of a longer one."""
    octets = source.encode()
    return {one.applied(octets).decode().splitlines()[-1].strip() for one in mutants_of("x.py", source)}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("if a < b: c()", {"if a <= b: c()", "if a >= b: c()", "if a < b: pass"}),
        ("x = a and not b", {"x = (a)", "x = (not b)", "x = a and b", "x = ((a) or (not b))"}),
        ("if a is None or (b and c < d): e()", {"if (a is None): e()", "if (b and c < d): e()"}),
        ("x = f(a, b)", {"x = f(b, a)"}),
        ("x = f(p=a, q=b)", {"x = f(p=b, q=a)"}),
        ("x = (r.solar_w, r.load_w, c)", {"x = (r.load_w, r.solar_w, c)", "x = (r.solar_w, c, r.load_w)"}),
        ("LIMIT = 8", {"LIMIT = (9)", "LIMIT = (7)"}),
        ("if crc16(raw[:octets]): e()", {"if (crc16(raw[:octets]) >> 8): e()"}),
        ("if crc32(raw) != crc: e()", {"if (crc32(raw)) >> 8 != (crc) >> 8: e()"}),
        ("if ahead_ns > 0: e()", {"if ahead_ns > (0) + 500_000_000: e()", "if ahead_ns > (0) - 500_000_000: e()"}),
        ("if late_s <= x: e()", {"if late_s <= (x) + 0.5: e()"}),
        ("def f():\n    raise ValueError(1)", {"pass"}),
        ("def f():\n    self.count += n", {"pass", "self.count -= n"}),
        ("def f():\n    self.x = y", {"pass"}),
        ("def f():\n    return a[b:c]", {"return None", "return a[(b + 1):c]", "return a[b:(c + 1)]"}),
        ("x = min(a, b)", {"x = max(a, b)"}),
        ("x = a << 3 | b", {"x = ((a << 3) & (b))", "x = ((a) >> (3)) | b"}),
    ],
)
def test_faults_of_each_kind(source: str, wanted: set[str]) -> None:
    assert wanted <= made(source), made(source)


@pytest.mark.parametrize(
    "source",
    ['"""Text."""', "x = 'text'", "assert a < b", "def f(a: int): pass", "@g(1)\ndef f(): pass", "import a", "x = a",
     "a, b = x, x", "try: f()\nexcept (A, B): pass".replace("f()", "pass")],
)  # fmt: skip
def test_what_nobody_would_test_is_left_alone(source: str) -> None:
    assert list(mutants_of("x.py", source)) == []


def test_the_order_of_what_has_none_is_left_alone() -> None:
    for source in ("x = y in (A, B)", "x = max(A, B)", "x = y not in (A, B)"):
        assert "B, A" not in "".join(made(source))


def test_a_mutant_knows_its_function_and_the_constants_it_is_about() -> None:
    source = "LEAST = 3\nclass A:\n    @p\n    def f(self, x=1):\n        def g():\n            return x + 2\n"
    found = list(mutants_of("x.py", source))
    constant = next(one for one in found if one.first_line == 1)
    assert (constant.scope, constant.names) == ("", frozenset(("LEAST",)))
    assert next(one for one in found if one.first_line == 4).scope == "", "a default is made at import"
    inner = next(one for one in found if one.first_line == 6)
    assert (inner.scope, inner.scope_line, inner.names) == ("A.f", 3, frozenset())


def mutant(new: str = "b", old: str = "a") -> Mutant:
    return Mutant("flight/node.py", "edge", 1, 1, 0, 1, old, new, "", 0, frozenset())


def test_results_are_known_again_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.jsonl"
    results = Results(path)
    results.enter(mutant("b"), "killed", "test_x")
    results.enter(mutant("c"), "survived", "")
    path.write_text(path.read_text() + '{"file": "cut sho')
    again = Results(path)
    assert [again.outcome(mutant(new)) for new in "bcd"] == ["killed", "survived", None]
    monkeypatch.setattr(kept, "_version", lambda _file: "another")
    assert Results(path).outcome(mutant("b")) is None


def test_two_runs_do_not_share_their_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "BUILD", tmp_path / "mutants")
    with trees.lock(), pytest.raises(SystemExit, match="another run is at work"):
        trees.lock()
    trees.lock().close()


def test_accepted_survivors_are_those_that_fit_in_everything() -> None:
    accepted = Accepted((("flight/*.py", "edge", "*composition root*", "a*", "b", "equal"),))
    assert accepted.reason(mutant("b", "a  <\n c")) == "equal"
    assert [accepted.reason(mutant("c", "a")), accepted.reason(mutant("b", "x"))] == ["", ""]


def test_what_is_accepted_says_why() -> None:
    for *_, name in Accepted.load().rows:
        assert name in (Path(__file__).parents[2] / "docs" / "guides" / "testing.md").read_text(encoding="utf-8"), name


def test_what_is_accepted_is_there() -> None:
    """A row that fits no line of the code says nothing any more, or has lost its line to another file."""
    for file, _, line, *_ in Accepted.load().rows:
        files = [path.relative_to(trees.ROOT).as_posix() for path in trees.ROOT.glob(file)]
        assert any(fnmatchcase(text, line) for one in files for text in lines_of(one)), (file, line)


def test_tests_are_those_of_the_lines_and_quick_ones_come_first() -> None:
    tests = LineMap(["slow", "quick", "other"], [9.0, 0.1, 0.1], {"flight/store/journal.py": {5: [0, 1], 6: [2]}})
    assert tests.covering("flight/store/journal.py", 4, 5, frozenset(), at_import=False) == [1, 0]
    whole = tests.covering("flight/store/journal.py", 1, 1, frozenset(), at_import=True)
    assert set(whole) == {0, 1, 2}, "the file's, failing others"


def test_functions_are_found_among_objects_that_answer_no_question() -> None:
    class Hostile:
        def __getattribute__(self, name: str) -> object:
            raise OSError("no such register")

    hostile = [Hostile()]
    assert _functions()
    del hostile


def test_a_fork_survives_is_killed_or_hangs() -> None:
    def fail() -> tuple[int, str]:
        raise ValueError

    def hang() -> tuple[int, str]:
        if not os.fork():
            time.sleep(600)
        while True:
            time.sleep(1)

    def turn() -> tuple[int, str]:
        while True:
            pass

    assert _in_fork(lambda: (SURVIVED, ""), 60, 60) == ("survived", "")
    assert _in_fork(lambda: (KILLED, "test_x"), 60, 60) == ("killed", "test_x")
    assert _in_fork(fail, 60, 60) == ("killed", "ValueError")
    assert _in_fork(lambda: os._exit(77), 60, 60) == ("killed", "")
    assert _in_fork(hang, 0.2, 60) == ("hung", "")
    assert _in_fork(turn, 600, 1) == ("hung", "")
