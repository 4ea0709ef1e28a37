"""Figures of the house: how full its rooms are, imports that go up or round, lengths, and what an addition costs.

    python -m tests.figures          counts all packages, as they stand in this folder

The cost of an addition is counted by an example that exists: the places outside its own file that name it. A part of
the node that nothing else names can be added without an edit elsewhere.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import median

from tests.unit.test_layout import (
    CLASS_LINES_MAX,
    FILES,
    FUNCTION_LINES_MAX,
    circles_in,
    facts_of,
    module_of,
)

ROOT = Path(__file__).parent.parent
CPU_RUNS = 5
# An example of each kind of addition: its own files, and the word by which others name it.
EXAMPLES = {
    "a PUS service (ST[17], Ping)": ("flight/services/commanding/ping.py", "Ping"),
    "a kind of device (GOVERNOR)": ("", "GOVERNOR"),
    "a payload app (InferenceManager)": ("payloads/", "InferenceManager"),
}


def naming(own: str, word: str) -> list[str]:
    """Return the lines of flight and hal outside `own` that name `word`, without imports: each is a place to edit."""
    found = []
    for file in FILES:
        if (own and file.startswith(own)) or not file.startswith(("flight/", "hal/")):
            continue
        for number, line in enumerate((ROOT / file).read_text(encoding="utf-8").splitlines(), 1):
            if word in line and not line.startswith(("from ", "import ")):
                found.append(f"{file}:{number}")
    return found


def help_cpu_s() -> float:
    """Return the processor time of `orbitnode cmd --help`, user and system, as the median of some runs."""
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
    facts = [facts_of(file) for file in FILES]
    circles = circles_in({module_of(file): one.imported for file, one in zip(FILES, facts, strict=True)})
    print(f"import circles: {len(circles)}")
    print(f"arrows that run up or out of their room: {sum(len(one.layer_faults) for one in facts)}")
    for what, limit in (("functions", FUNCTION_LINES_MAX), ("classes", CLASS_LINES_MAX)):
        longest = sorted((one for every in facts for one in every.lengths if one.most == limit), reverse=True)
        over = [one for one in longest if one.lines > limit]
        lines, _, place, name = longest[0]
        print(f"{what} over {limit} lines: {len(over)}; the longest is {name} of {place}, {lines} lines")
        for lines, _, place, name in over:
            print(f"    {place}: {name}, {lines} lines")
    for what, example in EXAMPLES.items():
        places = naming(*example)
        print(f"places that name {what}: {len(places)}: {', '.join(places)}")
    print(f"orbitnode cmd --help: {help_cpu_s():.2f} s of processor time")


if __name__ == "__main__":
    main()
