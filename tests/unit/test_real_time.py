"""How tests wait in real time: what hangs fails by name, no test signals its own process, ports are apart, no test
measures speed.

The rules stand in tests/waiting.py; here they are checked, over the source of all tests as well.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests import busy, ports
from tests.waiting import GIVE_UP_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
# Who may sleep for a duration, and why. Everyone else waits for a fact.
MAY_SLEEP = {
    "tests/busy.py": "between two times that it stops the suite",
    "tests/waiting.py": "between two looks at a fact",
    "tests/peers/line.py": "between two looks at sockets of a peer with threads of its own",
    "tests/hostile_apps.py": "apps that hang, for the pool to end",
    "tests/contract/test_bad_drivers.py": "drivers that block, and one that is slow",
    "tests/sim/test_bad_drivers_flight.py": "lets a bad driver do harm; nothing depends on how much",
    "tests/unit/test_call_limit.py": "calls that block until they are cut",
    "tests/sim/test_command_burst.py": "sends at a rate",
    "tests/sim/test_realtime_flight.py": "gives a node the time to send what nobody hears; nothing depends on it",
    "tests/sim/test_ground_restart.py": "kills a ground at any moment; nothing depends on which",
    "tests/sim/test_realtime_loop.py": "holds up the loop, which is at least that long away",
    "tests/unit/test_mutants.py": "a mutant that hangs, for the runner to end",
    "tests/unit/test_watchdog.py": "a process is stopped for longer than its limit, and goes on for a while after it",
}
# Who may signal the process of the test. One that comes when nobody waits for it any more ends the whole run.
MAY_SIGNAL = {
    "tests/conftest.py": "SIGUSR2, as a test's limit: taken for as long as the limit lasts",
    "tests/hostile_apps.py": "apps in a process of their own",
    "tests/unit/test_call_limit.py": "SIGALRM, which the fixture takes first",
}
SIGNALS_ITSELF = re.compile(
    r"os\.kill\((os\.getpid\(\)|0),|signal\.raise_signal\(|signal\.pthread_kill\(|signal\.alarm\("
)
LEAST_LIMIT_S = 120.0
# Calls whose `timeout` is a limit for giving up.
WAITS = {"run", "communicate", "wait", "join", "get", "check_output", "check_call"}
LOOKED_AT = WAITS | {"sleep", "Timer", "kill", "raise_signal", "pthread_kill", "alarm"}


def _last_name(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""


def faults_of(source: str, name: str) -> list[str]:
    """Where the source of a test depends on how fast the machine is, as far as that can be read from it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or _last_name(node.func) not in LOOKED_AT:
            continue
        place, called = f"{name}:{node.lineno}", ast.unparse(node.func)
        if called == "time.sleep" and name not in MAY_SLEEP:
            found.append(f"{place}: sleeps for a duration, should wait_until a fact")
        if called == "threading.Timer" and any("kill" in ast.unparse(argument) for argument in node.args):
            found.append(f"{place}: a signal after a duration, should follow from a fact")
        if SIGNALS_ITSELF.match(ast.unparse(node)) and name not in MAY_SIGNAL:
            found.append(f"{place}: signals the process of all tests, should be one of its own")
        limits = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
        if called.rpartition(".")[2] in {"wait", "join"}:
            limits += node.args[:1]
        for limit in limits if called.rpartition(".")[2] in WAITS else ():
            limit_s = limit.value if isinstance(limit, ast.Constant) else None
            if isinstance(limit_s, int | float) and limit_s < LEAST_LIMIT_S:
                found.append(f"{place}: gives up after {limit_s} s, should after GIVE_UP_S")
    return found


def test_no_test_depends_on_how_fast_the_machine_is() -> None:
    faults = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        # They run in real time, or beside the tests; no test depends on them.
        if not name.startswith(("tests/bench/", "tests/soak/", "tests/mutants/")):
            faults += faults_of(path.read_text(), name)
    assert faults == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("time.sleep(1)", "sleeps for a duration"),
        ("process.communicate(timeout=10)", "gives up after 10 s"),
        ("process.wait(5)", "gives up after 5 s"),
        ("os.kill(os.getpid(), 15)", "signals the process of all tests"),
        ("signal.raise_signal(2)", "signals the process of all tests"),
        ("os.kill(process.pid, 15)", ""),
        ("threading.Timer(0.02, os.kill, (os.getpid(), 2)).start()", "a signal after a duration"),
        ("process.communicate(timeout=GIVE_UP_S)", ""),
        ("station.send('ping', timeout=1)", ""),
    ],
)
def test_what_depends_on_it_is_found(line: str, says: str) -> None:
    faults = faults_of(line, "tests/unit/test_x.py")
    assert says in faults[0] if says else faults == []


SUITE = """
import time
import pytest
import tests.conftest
tests.conftest.TEST_LIMIT_S = 0.5

@pytest.fixture
def endless():
    time.sleep(3600)

def test_hangs():
    time.sleep(3600)

def test_needs_what_hangs(endless):
    pass

def test_goes_on():
    pass
"""


def test_what_hangs_fails_alone(tmp_path: Path) -> None:
    suite = tmp_path / "test_suite.py"
    suite.write_text(SUITE)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", os.devnull,
         "--rootdir", tmp_path, "-v", suite],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=GIVE_UP_S, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    for says in (
        "test_hangs FAILED", "Failed: hangs: not done within 0.5 s", "test_needs_what_hangs ERROR",
        "test_goes_on PASSED",
    ):  # fmt: skip
        assert says in run.stdout, run.stdout + run.stderr
    assert run.returncode == 1


OTHER_RUN = """
import sys
from tests import ports

class Random:
    def randint(self, low, high):
        return int(sys.argv[1])

ports.SystemRandom = Random
ports.free_port()
"""


def test_ports_are_given_once_also_beside_another_run() -> None:
    given = {ports.free_port(kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM) for _ in range(20)}
    assert len(given) == 40
    other = subprocess.run(
        [sys.executable, "-c", OTHER_RUN, str(min(given))], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False,
        timeout=GIVE_UP_S,
    )  # fmt: skip
    assert "AssertionError: no free port" in other.stderr, other.stderr


BUSY_RUN = """
import time
from tests.busy import busy
with busy(2) as processes:
    print(*(process.pid for process in processes), flush=True)
    time.sleep(3600)
"""


class Always(Random):
    def random(self) -> float:
        return 0.0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_busy_processes_end_with_the_one_that_started_them(number: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", BUSY_RUN], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(number)
        parent.wait(GIVE_UP_S)
    wait_until(lambda: not any(map(runs, pids)), "the busy processes are gone")


def runs(pid: int) -> bool:
    """Whether it has not ended; nobody may have asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_is_stopped_goes_on() -> None:
    count = "print('begun', flush=True)\nfor _ in range(200): sum(range(10_000))\nprint('done')"
    suite = subprocess.Popen([sys.executable, "-c", count], stdout=subprocess.PIPE, text=True)
    with suite:
        assert suite.stdout is not None and suite.stdout.readline() == "begun\n"
        suite.send_signal(signal.SIGSTOP)  # until the end of the first freeze
        assert busy.freeze(suite, 0.05, Always(1)) >= 1
        assert suite.stdout.read() == "done\n" and suite.returncode == 0


def test_a_busy_process_computes() -> None:
    with busy.busy(1) as processes:
        wait_until(lambda: busy.computed_s(processes) > 0.02, "it has computed")
    with pytest.raises(AssertionError, match=f"busy process {processes[0].pid} ended with status -9"):
        busy.computed_s(processes)
