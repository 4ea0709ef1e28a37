"""The bench command: races, surveys, floors, exit codes, what it refuses."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from flight.core.errors import SetupError, UsageError
from sim_hw.bench import bench_command
from tests.waiting import GIVE_UP_S

MODULE = """
import sys
from sim_hw.bench.bench_command import Bench, Race

def takes(ns):
    def call():
        sys.modules["bench_clock"].now_ns += ns
    return call

def race(ours_ns, peer_ns):
    return lambda: Race(takes(ours_ns), takes(peer_ns), 1.0)

BENCHES = (
    Bench("quick", "itself", "calls/s", {quick}, race(1_000, 4_000)),
    Bench("slow", "itself", "calls/s", {slow}, race(4_000, 1_000)),
)
"""

SURVEY = """
from sim_hw.bench.bench_command import Survey, at_least, at_most, shown

def delays(brief):
    return [
        at_most("delay", 2.0 if brief else 3.0, 2.5, "limit", "ms"),
        at_least("rate", 10.0, 20.0, "C", "1/s", 0.5, note="alone"),
        shown(at_most("worst", 9.0, 3.0, "C", "ms")),
    ]

BENCHES = (Survey("delays", delays, long={long}),)
"""


class Clock:
    """Stands still but for what the racers say that they took."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        return self.now_ns


@pytest.fixture
def benches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    clock = Clock()
    monkeypatch.setattr(bench_command, "time", clock)
    monkeypatch.setitem(sys.modules, "bench_clock", clock)
    monkeypatch.setattr(bench_command, "TURN_S", 0.0005)
    monkeypatch.setattr(bench_command, "TURNS", 3)
    monkeypatch.setattr(bench_command, "FOLDER", tmp_path)
    (tmp_path / "bench_sums.py").write_text(MODULE.format(quick=2.0, slow=0.001), encoding="utf-8")
    return tmp_path


def run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    bench_command.add_arguments(parser)
    return bench_command.execute(parser.parse_args(argv))


@pytest.mark.usefixtures("benches")
def test_rows_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["quick", "slow"]
    assert set(rows[0]) == {"name", "ours", "peer", "peer_name", "unit", "ratio", "floor", "ok", "note"}
    assert [row["ratio"] for row in rows] == [4.0, 0.25]


def test_a_missed_floor_is_a_failure(benches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (benches / "bench_sums.py").write_text(MODULE.format(quick=2.0, slow=1.0), encoding="utf-8")
    assert run() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [" ok " in line for line in lines[1:]] == [True, False]
    assert " LOW " in lines[2]
    assert run("quick") == 0


def test_unknown_name_and_empty_folder(benches: Path) -> None:
    with pytest.raises(UsageError, match="no benchmark 'swift', known: quick, slow"):
        run("swift")
    (benches / "bench_sums.py").unlink()
    with pytest.raises(bench_command.BenchError, match="part of the checkout"):
        run()


def test_a_survey_gives_rows_of_its_own(benches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (benches / "bench_delays.py").write_text(SURVEY.format(long=True), encoding="utf-8")
    assert run("delays") == 1
    delay, rate, worst = capsys.readouterr().out.splitlines()[1:]
    assert " LOW " in delay and delay.endswith(" limit")
    assert " ok " in rate and rate.endswith(" C (alone)")
    assert " ok " in worst and " - " in worst  # without a floor
    assert run("delays", "--brief", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["note"] for row in rows] == ["brief", "brief, alone", "brief"]
    assert [row["ratio"] for row in rows] == [1.25, 0.5, pytest.approx(1 / 3)]


def test_what_brief_does_not_shorten_does_not_say_so(benches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (benches / "bench_delays.py").write_text(SURVEY.format(long=False), encoding="utf-8")
    assert run("delays", "--brief") == 0
    assert "brief" not in capsys.readouterr().out


def test_a_cost_of_nothing_stays_a_number() -> None:
    assert bench_command.at_most("free", 0.0, 3.0, "C", "us").ratio == bench_command.RATIO_MAX
    assert bench_command.at_least("alone", 1.0, 0.0, "C", "1/s", 2.0).ok
    assert not bench_command.at_most("dear", 4.0, 3.0, "C", "us", 0.8).ok


def test_quantiles() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [bench_command.quantile(values, q) for q in (0.0, 0.2, 0.5, 0.99, 1.0)] == [1.0, 1.0, 3.0, 5.0, 5.0]


def test_what_a_program_prints() -> None:
    assert bench_command.output_of([sys.executable, "-c", "print(7)"], GIVE_UP_S) == "7\n"
    with pytest.raises(bench_command.BenchError, match=r"exit status 3: no disk$"):
        bench_command.output_of(
            [sys.executable, "-c", "import sys; print('no disk', file=sys.stderr); sys.exit(3)"], GIVE_UP_S
        )
    with pytest.raises(bench_command.BenchError, match=r"not done within 0\.2 s"):
        bench_command.output_of([sys.executable, "-c", "import time; time.sleep(3600)"], 0.2)


def test_a_program_to_compare_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "answer.c"
    source.write_text("int main(void) { return 42; }\n", encoding="utf-8")
    assert subprocess.run([bench_command.compiled(source, tmp_path)], check=False).returncode == 42
    source.write_text("int main(void) { return forty_two; }\n", encoding="utf-8")
    with pytest.raises(SetupError, match=r"cc cannot build .*answer\.c: .*forty_two"):
        bench_command.compiled(source, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"no C compiler \(cc\)"):
        bench_command.compiled(source, tmp_path)


def test_a_peer_that_is_not_installed() -> None:
    def prepare() -> bench_command.Race:
        raise ModuleNotFoundError(name="libfast")

    with pytest.raises(SetupError, match=r"libfast is not installed; pip install 'orbitnode\[dev\]'"):
        bench_command.measure(bench_command.Bench("x", "libfast", "MB/s", 1.0, prepare))


def test_what_cannot_be_measured_fails_and_stops_nothing_else(
    benches: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = "def delays(brief):\n    import libfast\nfrom sim_hw.bench.bench_command import Survey\n"
    (benches / "bench_delays.py").write_text(f'{fault}BENCHES = (Survey("delays", delays),)\n', encoding="utf-8")
    assert run("--json") == 1
    out, err = capsys.readouterr()
    assert [row["name"] for row in json.loads(out)] == ["quick", "slow"]
    assert err == "orbitnode bench: delays not measured: libfast is not installed; pip install 'orbitnode[dev]'\n"


def test_peak_memory_is_that_of_the_program_alone() -> None:
    large = "import subprocess, sys; held = b'x' * 200_000_000; subprocess.run(sys.argv[1:], check=True)"
    peak_memory = bench_command.FOLDER / "peak_memory.py"
    words = (sys.executable, "-c", large, sys.executable, str(peak_memory), "true")
    said = bench_command.output_of(words, GIVE_UP_S)
    assert 0 < int(said) < 100_000_000


@pytest.mark.parametrize("kind", ["quiet", "link"])
def test_the_orbit_that_is_measured_is_flown(kind: str) -> None:
    words = (sys.executable, bench_command.FOLDER / "orbit.py", "5", kind)
    assert float(bench_command.output_of(words, GIVE_UP_S)) > 0


def test_the_checkout_has_benches() -> None:
    names = [each.name for each in bench_command.find_benches(bench_command.FOLDER)]
    assert len(names) == len(set(names)) >= 7
    assert {"lateness-100hz", "dispatch", "journal-append", "transaction", "node-rss", "node-orbit"} <= set(names)
