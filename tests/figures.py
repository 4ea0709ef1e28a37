"""Figures of the house: how full its rooms are, what runs up or round, how long its parts are, what an addition costs.

    python -m tests.figures          in all of the packages, as they stand in this folder

What an addition costs is counted by an example that is there: the places, besides its own file, that name it. A part of
the node that nobody else names is added without touching anybody else.
"""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.unit.test_layout import FILES, circles_in, graph_of, layer_faults, tree_of

ROOT = Path(__file__).parent.parent
FUNCTION_LINES, CLASS_LINES = 60, 300
CPU_RUNS = 5
# An example of each kind of addition: its own files, and the words by which others would name it.
EXAMPLES = {
    "a PUS service (ST[17], Ping)": (("flight/services/commanding/test.py",), ("commanding import", "Ping")),
    "a kind of device (GOVERNOR)": ((), ("GOVERNOR",)),
    "a payload app (InferenceManager)": (("payloads/",), ("InferenceManager",)),
}


def lengths() -> Iterator[tuple[str, str, int, bool]]:
    """File, name, lines and whether it is a class, of every function and class."""
    for file in FILES:
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                assert node.end_lineno is not None
                yield file, node.name, node.end_lineno - node.lineno + 1, isinstance(node, ast.ClassDef)


def naming(own: tuple[str, ...], word: str) -> list[str]:
    """The lines of code outside `own` files that name `word`, imports aside: each is a place to edit."""
    found = []
    for file in FILES:
        if file.startswith(own) or not file.startswith(("flight/", "hal/")):
            continue
        for number, line in enumerate((ROOT / file).read_text(encoding="utf-8").splitlines(), 1):
            if word in line and not line.startswith(("from ", "import ")):
                found.append(f"{file}:{number}")
    return found


def help_cpu_s() -> float:
    """Processor time of `orbitnode cmd --help`, user and system, the median of some runs."""
    took = []
    for _ in range(CPU_RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "flight.cli", "cmd", "--help"], cwd=ROOT, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return median(took)


def main() -> None:
    """Print the figures."""
    rooms = Counter(file.rpartition("/")[0] for file in FILES if not file.endswith("/__init__.py"))
    room, most = rooms.most_common(1)[0]
    print(f"files in the fullest room: {most} ({room}/), of {len(rooms)} rooms and {len(FILES)} files")
    trees = {file: tree_of(file) for file in FILES}
    print(f"import circles: {len(circles_in(graph_of(trees)))}")
    print(f"arrows that run up or out of their room: {sum(len(layer_faults(*one)) for one in trees.items())}")
    longest = sorted(lengths(), key=lambda one: -one[2])
    for what, is_class, limit in (("functions", False, FUNCTION_LINES), ("classes", True, CLASS_LINES)):
        over = [one for one in longest if one[3] == is_class and one[2] > limit]
        file, name, lines, _ = next(one for one in longest if one[3] == is_class)
        print(f"{what} over {limit} lines: {len(over)}; the longest is {name} of {file}, {lines} lines")
        for file, name, lines, _ in over:
            print(f"    {file}: {name}, {lines} lines")
    for what, (own, words) in EXAMPLES.items():
        places = naming(own, words[-1])
        print(f"places that name {what}: {len(places)}: {', '.join(places)}")
    print(f"orbitnode cmd --help: {help_cpu_s():.2f} s of processor time")


if __name__ == "__main__":
    main()
