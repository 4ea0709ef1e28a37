"""Shared by all tests: hypothesis profiles, the limit of each test, independent test data.

No test depends on how busy the machine is, so a test that reaches its limit hangs. Then it fails, by name and with the
place at which it stood, and the run goes on. pytest's own faulthandler (pyproject.toml) comes later. It is for code
that does not even let Python see a signal, and can only end the whole run.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.mission_security import BENCHES, write_bench_keys

ROOT = Path(__file__).resolve().parents[1]

# A shell starts background processes with SIGINT ignored, and nohup ignores SIGHUP. Child processes inherit that, but
# those that the tests start must end by these signals.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(_number, _usual)

# Hundreds of processes are started here. Without bytecode, each would spend half of its time on compiling its imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Grounds that tests start put their tokens into a folder of this run, which goes with it.
if "ORBITNODE_TOKENS" not in os.environ:
    os.environ["ORBITNODE_TOKENS"] = tempfile.mkdtemp(prefix="orbitnode-tokens-")
    atexit.register(shutil.rmtree, os.environ["ORBITNODE_TOKENS"], ignore_errors=True)

# So do keys: those of the benches that tests write, by the names of their nodes. Each fits a link protected both ways.
if "ORBITNODE_KEYS" not in os.environ:
    os.environ["ORBITNODE_KEYS"] = tempfile.mkdtemp(prefix="orbitnode-keys-")
    atexit.register(shutil.rmtree, os.environ["ORBITNODE_KEYS"], ignore_errors=True)
    for _name in BENCHES:
        write_bench_keys(_name)

# `ci` (the default) tries the same examples on every run; `search` looks for new ones: HYPOTHESIS_PROFILE=search
settings.register_profile(
    "ci", derandomize=True, max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# `mutants`: as `ci`, but without the search for the smallest failing example, which nobody would see.
settings.register_profile("mutants", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate, Phase.target])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of independent test data beside the checkout. Skips the test if it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "vectors").is_dir():
        pytest.skip("independent test data (../shared/vectors) is not on this machine")
    return folder


TEST_LIMIT_S = 900.0  # for each of set-up, call and tear-down; the longest takes some seconds on an idle machine


@contextmanager
def limited(limit_s: float) -> Iterator[None]:
    """Fail what runs inside, at the line that it has reached, after `limit_s`. Works only in the main thread.

    The interval timer and its SIGALRM belong to the node (flight/linux/call_limit.py), so a thread keeps the time.
    """

    def give_up(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"hangs: not done within {limit_s:g} s")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGUSR2, give_up)
    interrupt = partial(signal.pthread_kill, threading.get_ident(), signal.SIGUSR2)
    timer = threading.Timer(limit_s, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR2, earlier)


@pytest.hookimpl(wrapper=True)
def _limited_hook() -> Iterator[Any]:
    with limited(TEST_LIMIT_S):
        return (yield)


pytest_runtest_setup = pytest_runtest_call = pytest_runtest_teardown = _limited_hook


@pytest.fixture
def cuts_fall_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python itself report exceptions that fall into finalizers, for tests that cut calls off.

    The exception that does so may fall into a finalizer, from which Python only reports it. pytest's report has many
    lines, into which the next such exception may fall, and then a test fails that has nothing to do with it. Python's
    own report has no lines.
    """
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
