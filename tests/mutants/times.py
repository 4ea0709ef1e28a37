"""A plugin of pytest: how long each test took, its fixtures included, into the file that $MUTANTS_TIMES names."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from tests.mutants import trees

_SECONDS: dict[str, float] = defaultdict(float)


def pytest_configure() -> None:
    trees.heed_interrupts()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if not report.skipped:
        _SECONDS[report.nodeid] += report.duration


def pytest_sessionfinish() -> None:
    Path(os.environ["MUTANTS_TIMES"]).write_text(json.dumps(_SECONDS), encoding="utf-8")
