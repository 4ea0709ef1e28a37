"""Set-up that cannot succeed ends in one line that says what to do, and a later try goes on from there."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import GIVE_UP_S

ROOT = Path(__file__).resolve().parents[2]
# A port of this machine on which nothing listens.
NOWHERE = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "1"}

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What set-up looks at, without sources: it never gets as far as to need them."""
    for name in ("Makefile", "pyproject.toml", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    kernels = tmp_path / "flight" / "kernels"
    kernels.mkdir(parents=True)
    (kernels / "build.py").touch()
    (kernels / "tables.py").touch()
    return tmp_path


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def unmade() -> dict[str, str]:
    """Return the surroundings without what a make that runs these tests, or a user's pip, would have a make do."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "MAKE", "MFLAGS"))}


def make(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> tuple[int, list[str]]:
    """Exit code of make, and what it said on stderr without its own closing line."""
    done = subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=unmade() | (environment or {}),
        capture_output=True,
        text=True,
        timeout=GIVE_UP_S,
        check=False,
    )
    return done.returncode, [line for line in done.stderr.splitlines() if not line.startswith("make")]


def test_an_unreachable_registry(checkout: Path) -> None:
    created = checkout / ".venv" / ".created"
    script(checkout / ".venv" / "bin" / "python", f'exec {sys.executable} "$@"')
    created.touch()
    code, lines = make(checkout, "setup", environment=NOWHERE)
    assert code != 0
    assert len(lines) == 1
    for word in ("registry cannot be reached", "run the same command again", "is kept", "PIP_INDEX_URL", "HTTPS_PROXY"):
        assert word in lines[0]
    assert created.exists(), "what was done before is kept"
    assert not (checkout / ".venv" / ".installed").exists()


def test_another_fault_of_pip_is_quoted(checkout: Path) -> None:
    said = "echo 'ERROR: something else is wrong' >&2; exit 1"
    script(checkout / ".venv" / "bin" / "python", said)
    (checkout / ".venv" / ".created").touch()
    code, lines = make(checkout, "setup")
    assert code != 0
    assert lines == ["set-up: pip failed: ERROR: something else is wrong; details: .venv/setup.log"]


@pytest.mark.parametrize(
    ("refuses", "text"),
    [
        ("version_info", "3.11 or newer is needed"),
        ("ensurepip", "no venv module; install it"),
        ("Python.h", "no headers (Python.h); install them"),
        ("venv .venv", "-m venv .venv failed"),
    ],
)
def test_a_python_that_will_not_do(checkout: Path, refuses: str, text: str) -> None:
    python = script(checkout / "python", f'case "$*" in *"{refuses}"*) exit 1;; esac; exec {sys.executable} "$@"')
    code, lines = make(checkout, "setup", f"PYTHON={python}")
    assert code != 0
    assert len(lines) == 1
    assert text in lines[0]


@pytest.mark.parametrize(
    ("variable", "text"),
    [("PYTHON=no-such-python", "no no-such-python on this machine"), ("CC=no-such-cc", "no C compiler")],
)
def test_a_missing_program(checkout: Path, variable: str, text: str) -> None:
    code, lines = make(checkout, "setup", f"PYTHON={sys.executable}", variable)
    assert code != 0
    assert len(lines) == 1
    assert text in lines[0]


def test_help_lists_the_targets(checkout: Path) -> None:
    done = subprocess.run(["make", "help"], cwd=checkout, capture_output=True, text=True, timeout=GIVE_UP_S, check=True)
    for target in ("setup", "run", "test", "check", "bench", "wheel", "clean"):
        assert f"make {target} " in done.stdout


def test_run_flies_one_orbit_and_passes_on_what_is_asked_for(checkout: Path) -> None:
    """As README and tutorial have it. That all of it works from nothing is seen by CI, which begins with it."""
    script(checkout / ".venv" / "bin" / "orbitnode", 'echo "$@"')
    for stamp in (".created", ".installed", ".assets"):
        (checkout / ".venv" / stamp).touch()
    command = ["make", "run", "ARGS=--seed 12"]
    done = subprocess.run(
        command, cwd=checkout, env=unmade(), capture_output=True, text=True, timeout=GIVE_UP_S, check=True
    )
    assert done.stdout == "run --orbits 1 --seed 12\n"


def test_installation_by_hand_is_what_set_up_does() -> None:
    """The README has the commands; those of the Makefile are run by whoever runs these tests."""
    readme, makefile = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Makefile"))
    commands = re.findall(r"^\$ (?:\S*/)?(?:pip|python3?)( .*)", readme, re.MULTILINE)
    assert len(commands) == 3
    for command in (command.replace(".venv", "$(VENV)") for command in commands):
        assert command in makefile, command


def test_clean_leaves_the_sources(checkout: Path) -> None:
    kernels = ("flight/kernels/_kernels.abi3.so", "flight/kernels/tables.h")
    for made in (".venv/bin/x", "build/x", "dist/x.whl", "out/summary.json", *kernels):
        path = checkout / made
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for folder in ("hal", "payloads", "ground", "sim_hw", "tests/__pycache__", "docs"):
        (checkout / folder).mkdir(parents=True)
    code, lines = make(checkout, "clean")
    assert (code, lines) == (0, [])
    left = {path.relative_to(checkout).as_posix() for path in checkout.rglob("*") if path.is_file()}
    sources = {"flight/kernels/build.py", "flight/kernels/tables.py"}
    assert left == {"Makefile", "pyproject.toml", "setup.py", "constraints.txt"} | sources
