"""Mutants: small faults put into the code one by one, to see whether a test notices. `make mutants`.

    python -m tests.mutants flight/link flight/services/automation/schedule.py --jobs 2

First it measures which tests run which line. Then it runs, for each mutant, the tests that run its line, the quickest
first. Results are kept in build/mutants/results.jsonl as they come. Survivors that tests/mutants/accepted.toml explains
do not count. docs/guides/testing.md says how to use it.
"""

# The method, and where its parts are.
#
# 1. `operators` makes all mutants of the files; --sample chooses some of them by --seed, so that a figure can be
#    repeated.
# 2. `testmap` runs the suite once under coverage and keeps which tests run which line, until a source changes. A mutant
#    on a line that no test runs is untested, and costs nothing.
# 3. `farm` tries the mutants. The order of tests decides the cost: first the tests that saw the last mutants of the
#    same file, then those that run much of the file in little time. A mutant gets a budget of measured time, and eight
#    times as much before it counts as survived.
# 4. `server` forks for each mutant from a process that has everything imported (warm). Whatever survives there, or acts
#    at import, is tried again in a process that imports the project with the mutant on disk (cold).
# 5. `results` keeps each outcome with the hash of its file, so a run that was interrupted goes on, and a file that has
#    not changed is not tried again.
#
# What a result rests on:
#
# - A test counts only if it passes without the mutant when it is run in this way; otherwise its failure says nothing.
# - Limits are of processor time, which does not depend on other work; the clock is only for giving up.
# - Tests of real time are left out: a busy machine would fail them by chance, and each failure would count as a catch.
# - Mutants are put only into copies (`trees`), so nothing that is interrupted leaves a fault in the checkout.

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tests.mutants import testmap, trees
from tests.mutants.accepted import Accepted
from tests.mutants.farm import Farm
from tests.mutants.operators import Mutant, mutants_of
from tests.mutants.results import Results

# The code that must not be wrong: everything that a command, a frame or a record goes through.
TARGETS = (
    "flight/core", "flight/link", "flight/store", *(f"flight/services/{name}.py" for name in (
        "automation/held", "automation/schedule", "automation/schedule_activities", "automation/schedule_declarations",
        "automation/schedule_gates", "automation/schedule_store", "automation/schedule_timetable",
        "automation/sequence_declarations", "automation/sequences", "commanding/admission", "commanding/command_counts",
        "commanding/command_lane", "commanding/command_log", "commanding/commands", "commanding/execution",
        "commanding/handler_table", "commanding/outcomes", "commanding/refusals", "commanding/verification",
        "files/completion", "files/node_filestore", "files/outbox", "files/outbox_label", "files/product_intake",
        "files/transfer_records", "files/transfers", "files/uploads",
        "health/storage", "recorder/packet_store", "recorder/recorder", "recorder/retrieval",
        "recorder/retrieval_commands", "recorder/segment_index", "recorder/stored_packet", "settings/parameters",
    )), "flight/contract/parameter_table.py",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument(
        "targets", nargs="*", default=TARGETS, help="files or folders; default: core, link, store, services"
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--sample", type=int, default=2000, help="at most so many mutants, chosen by --seed; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--budget", type=float, default=5.0, help="seconds of tests for a mutant; 8 x that if it survives"
    )
    parser.add_argument("--tests", nargs="+", help="test files for every mutant, in place of those that run its line")
    parser.add_argument("--again", choices=("survived", "all"), help="try these once more, whatever is kept")
    parser.add_argument("--list", action="store_true", help="show every survivor, the accepted ones too")
    args = parser.parse_args()
    mutants = _chosen(args.targets)
    total = len(mutants)
    if args.sample and total > args.sample:
        mutants = sorted(random.Random(args.seed).sample(mutants, args.sample), key=lambda one: (one.file, one.start))
    results = Results(trees.BUILD / "results.jsonl")
    open_ones = [one for one in mutants if results.outcome(one) is None or _is_again(results, one, args.again)]
    print(f"mutants: {total} in {len({one.file for one in mutants})} files, {len(mutants)} chosen, "
          f"{len(open_ones)} to be tried", flush=True)  # fmt: skip
    started = time.monotonic()
    if open_ones:
        lock = trees.lock()
        tests = testmap.GivenTests(args.tests) if args.tests else testmap.load()
        with Farm(tests, args.jobs, args.budget) as farm:
            for done, (mutant, outcome, by) in enumerate(farm.run(open_ones), 1):
                results.enter(mutant, outcome, by)
                if done % 50 == 0 or done == len(open_ones):
                    print(f"mutants: {done} of {len(open_ones)}, {time.monotonic() - started:.0f} s", flush=True)
        lock.close()
    return _report(mutants, results, show_all=args.list)


def _is_again(results: Results, mutant: Mutant, again: str | None) -> bool:
    return again == "all" or (again == "survived" and results.outcome(mutant) in ("survived", "untested"))


def _chosen(targets: Iterable[str]) -> list[Mutant]:
    found: list[Mutant] = []
    for target in targets:
        path = trees.ROOT / target
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            name = Path(file).resolve().relative_to(trees.ROOT).as_posix()
            found += mutants_of(name, file.read_text(encoding="utf-8"))
    return found


def _report(mutants: list[Mutant], results: Results, *, show_all: bool) -> int:
    """A line per file, then every survivor that nothing explains. 1 if there is one."""
    accepted = Accepted.load()
    open_ones: list[Mutant] = []
    table: dict[str, dict[str, int]] = {}
    for one in mutants:
        outcome = results.outcome(one) or "not tried"
        if outcome in ("survived", "untested"):
            if accepted.reason(one):
                outcome = "accepted"
            else:
                open_ones.append(one)
        row = table.setdefault(one.file, {})
        row[outcome] = row.get(outcome, 0) + 1
    columns = ("killed", "hung", "accepted", "survived", "untested", "not tried")
    print(f"{'file':45}" + "".join(f"{name:>10}" for name in columns))
    for file, row in sorted(table.items()):
        print(f"{file:45}" + "".join(f"{row.get(name, 0):>10}" for name in columns))
    sums = {name: sum(row.get(name, 0) for row in table.values()) for name in columns}
    print(f"{'all':45}" + "".join(f"{sums[name]:>10}" for name in columns))
    for one in mutants if show_all else open_ones:
        if results.outcome(one) in ("survived", "untested"):
            reason = accepted.reason(one)
            print(f"{one.file}:{one.first_line}: {one.kind}: {_line(one.old)} -> {_line(one.new)}"
                  + (f"  ({reason})" if reason else ""))  # fmt: skip
    results.write_summary(trees.BUILD / "summary.json", sums, table)
    return 1 if open_ones else 0


def _line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 90 else f"{flat[:60]} ... {flat[-25:]}"


if __name__ == "__main__":
    sys.exit(main())
