"""The bench command: rows, floors, exit codes, what it refuses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from flight.core.errors import SetupError
from sim_hw import bench

MODULE = """
from sim_hw.bench import Bench, Race

def sums(ours, peer):
    return lambda: Race(lambda: sum(range(ours)), lambda: sum(range(peer)), 1.0)

BENCHES = (
    Bench("quick", "itself", "sums/s", {quick}, sums(100, 4000)),
    Bench("slow", "itself", "sums/s", {slow}, sums(4000, 100)),
)
"""


@pytest.fixture
def benches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bench, "TURN_S", 0.0005)
    monkeypatch.setattr(bench, "TURNS", 3)
    monkeypatch.setattr(bench, "FOLDER", tmp_path)
    (tmp_path / "bench_sums.py").write_text(MODULE.format(quick=2.0, slow=0.001), encoding="utf-8")
    return tmp_path


def run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return bench.execute(parser.parse_args(argv))


def test_rows_as_json(benches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["quick", "slow"]
    assert set(rows[0]) == {"name", "ours", "peer", "peer_name", "unit", "ratio", "floor", "ok"}
    assert rows[0]["ratio"] > 2
    assert rows[1]["ratio"] < 1


def test_a_missed_floor_is_a_failure(benches: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (benches / "bench_sums.py").write_text(MODULE.format(quick=2.0, slow=1.0), encoding="utf-8")
    assert run() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [" ok " in line for line in lines[1:]] == [True, False]
    assert " LOW " in lines[2]
    assert run("quick") == 0


def test_unknown_name_and_empty_folder(benches: Path, tmp_path: Path) -> None:
    with pytest.raises(bench.BenchError, match="no benchmark 'swift', there are: quick, slow"):
        run("swift")
    (benches / "bench_sums.py").unlink()
    with pytest.raises(bench.BenchError, match="part of the checkout"):
        run()


def test_a_peer_that_is_not_installed() -> None:
    def prepare() -> bench.Race:
        raise ModuleNotFoundError(name="libfast")

    with pytest.raises(SetupError, match=r"libfast is not installed; pip install 'orbitnode\[dev\]'"):
        bench.measure(bench.Bench("x", "libfast", "MB/s", 1.0, prepare))


def test_the_checkout_has_benches() -> None:
    names = [each.name for each in bench.find_benches(bench.FOLDER)]
    assert len(names) == len(set(names)) >= 7
