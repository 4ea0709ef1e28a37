"""Copies of the project, in which a mutant may stand on disk: what breaks off leaves nothing in the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "mutants"
CODE = ("flight", "hal", "payloads", "ground", "sim_hw", "tests")
_FILES = (
    ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "THIRD_PARTY_NOTICES.md", "constraints.txt",
    "pyproject.toml", "setup.py",
)  # fmt: skip
_NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.o", ".hypothesis")

# Slow to no purpose, or of real time, which a machine at work does not keep: they would kill mutants by chance.
LEFT_OUT = (
    "tests/sim/test_payload_real_model.py",
    "tests/sim/test_payload_real_time.py",
    "tests/sim/test_realtime_flight.py",
    "tests/sim/test_realtime_loop.py",
    "tests/unit/test_bench.py",
    "tests/unit/test_layout.py",
    "tests/unit/test_linux_platform.py",
    "tests/unit/test_makefile.py",
    "tests/unit/test_mutants.py",
    "tests/unit/test_payload_assets.py",
    "tests/unit/test_payload_pool.py",
)


def lock() -> IO[str]:
    """Held while the copies are in use: two runs at once would put their mutants into the same ones."""
    BUILD.mkdir(parents=True, exist_ok=True)
    file = (BUILD / "lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"mutants: another run is at work in {BUILD}; wait for its end, or end it") from None
    return file


def make(name: str) -> Path:
    """A fresh copy called `name`, and beside it the independent test data, if there is any."""
    folder = BUILD / "trees" / name
    shutil.rmtree(folder, ignore_errors=True)
    tree = folder / "tree"
    tree.mkdir(parents=True)
    for one in (*CODE, "docs", ".ci"):
        shutil.copytree(ROOT / one, tree / one, ignore=_NOT_COPIED)
    for one in _FILES:
        shutil.copy(ROOT / one, tree / one)
    shared = ROOT.parent / "shared"
    if shared.is_dir():
        (folder / "shared").symlink_to(shared.resolve())
    return tree


def environment(tree: Path) -> dict[str, str]:
    """The copy's packages before those of the checkout, in every process that a test starts as well."""
    return os.environ | {"PYTHONPATH": str(tree), "HYPOTHESIS_PROFILE": "mutants", "PYTHONHASHSEED": "0"}


def pytest_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-q", *arguments]


def heed_interrupts() -> None:
    """Give Ctrl-C its meaning back: a shell takes it from what it starts in the background, and tests send it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def version_of_sources() -> str:
    """Of everything but the test files themselves: what was measured holds for this state alone."""
    digest = hashlib.sha256()
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.parent.name != "mutants" and not (folder == "tests" and path.name.startswith("test_")):
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def versions_of_tests() -> dict[str, str]:
    """The same of each test file that takes part."""
    files = (path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "tests").rglob("test_*.py")))
    return {file: hashlib.sha256((ROOT / file).read_bytes()).hexdigest() for file in files if file not in LEFT_OUT}
