"""docs/guides/service.md as a contributor follows it: its files and rows put into a copy of the project, and flown."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

from tests.guide import blocks_of
from tests.waiting import GIVE_UP_RUN_S

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "guides" / "service.md"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what is imported, with every block of the page in its place."""
    for folder in ("flight", "hal", "payloads", "ground", "sim_hw", "tests", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.o"))
    for name in ("pyproject.toml", "Makefile", "README.md", "CHANGELOG.md", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    placed = 0
    for block in blocks_of(PAGE.read_text(encoding="utf-8")):
        if file := re.fullmatch(r"file=(\S+)", block.word):
            assert not (tmp_path / file[1]).exists(), f"{file[1]}: is there already"
            (tmp_path / file[1]).write_text(block.text, encoding="utf-8")
        elif row := re.fullmatch(r'insert=(\S+) before="(.*)"', block.word):
            text = (tmp_path / row[1]).read_text(encoding="utf-8")
            assert text.count(f"\n{row[2]}") == 1, f"{row[1]}: should have one line that begins with {row[2]!r}"
            (tmp_path / row[1]).write_text(text.replace(row[2], fitted(block.text, row[2]) + row[2]), encoding="utf-8")
        else:
            continue
        placed += 1
    assert placed == 8
    return tmp_path


def fitted(block: str, before: str) -> str:
    """Return `block` as it stands in a file in front of `before`.

    A function has two blank lines after it, an element of a tuple is indented and has its comma.
    """
    if before.startswith(" "):
        return indent(block.rstrip() + ",\n", before[: len(before) - len(before.lstrip())])
    return block + "\n\n" * block.startswith("def ")


def python(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the interpreter of the tests in the copied project, its packages before those that are installed."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        timeout=GIVE_UP_RUN_S,
        check=False,
    )


@pytest.mark.campaign
def test_the_service_of_the_guide_flies(project: Path) -> None:
    tested = python(
        project, "-m", "pytest", "-q", "-p", "no:cacheprovider",
        "tests/sim/test_sunlight.py", "tests/sim/test_roster.py", "tests/unit/test_layout.py",
        "tests/sim/test_housekeeping_names.py",
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout + tested.stderr
    written = python(project, "-m", "flight.cli", "dictionary", "--json")
    assert written.returncode == 0, written.stderr
    assert '"sunlight"' in written.stdout
    assert '"reset_sunlight"' in written.stdout
    pages = python(project, "-m", "docs.tools")
    assert pages.returncode == 0, pages.stderr
    assert "wrote docs/guides/mission.md" in pages.stdout
    assert "reset_sunlight" in (project / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")


def test_its_code_is_as_clean_as_ours(project: Path) -> None:
    files = ["flight/services/health/sunlight.py", "flight/roster.py", "tests/sim/test_sunlight.py"]
    for check in (["check"], ["format", "--check"]):
        found = python(project, "-m", "ruff", *check, *files)
        assert found.returncode == 0, found.stdout + found.stderr
