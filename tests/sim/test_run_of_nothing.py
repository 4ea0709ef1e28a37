"""A run in which nothing has happened yet says so: no value that is missing is shown as a number."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flight.cli import main
from flight.mission import MISSIONS
from tests.sim.test_run_kept import tiles

MISSING = re.compile(r"\b(None|nan|NaN|inf)\b(?!\.<)")


@pytest.mark.parametrize("has_app", [True, False])
def test_a_run_without_an_answer_shows_no_value_that_is_missing(
    tmp_path: Path, bare_mission: Callable[[str], Path], has_app: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    mission = MISSIONS / "orbit.toml" if has_app else bare_mission("")
    given = ["--mission", str(mission), "--scenes", str(tiles(tmp_path)), "--out", str(tmp_path / "out")]
    assert main(["run", *given, "--orbits", "0.002"]) == 0
    shown = capsys.readouterr().out
    assert ("no tile" in shown) is has_app
    report = (tmp_path / "out" / "report.html").read_text()
    assert MISSING.findall(shown) == [] and MISSING.findall(report) == []
    # What has nothing in it says that, and what was not received is in no archive.
    assert "</th></tr></table>" not in report and "<table class=pairs></table>" not in report
    assert re.search(r">\d events? (was|were) not received\.<", report) and "in the archive" not in report
