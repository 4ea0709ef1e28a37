"""`orbitnode run` that is interrupted or fails: what is kept, what it says, that nothing of it lives on."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from flight.core.errors import OrbitnodeError, UsageError
from flight.linux.ending_signals import ending_asked
from flight.mission import MISSIONS
from sim_hw.machine.faults import FaultPlan, PlannedFault, fault_plans
from sim_hw.report.outputs import FILES, PARTIAL, PRODUCTS, RunFolder
from tests.command_line import command_line
from tests.sim.test_run import HELD, workers_of
from tests.unit.test_payload_pool import save_model
from tests.waiting import GIVE_UP_RUN_S, GIVE_UP_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = 100  # orbits: a quarter of an hour at the least, whose passes are found in a moment
SAID = re.compile(
    r"orbitnode run: interrupted after (\d+\.\d) of \d+\.\d min; (\S+)/partial has what came until then, "
)


def tiles(folder: Path) -> Path:
    (folder / "tiles").mkdir(exist_ok=True)
    np.savez(folder / "tiles" / "a.npz", refl=np.zeros((256, 256, 6), np.uint16))
    return folder / "tiles"


def command(folder: Path, mission: Path, orbits: float, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "flight.cli", "run", "--mission", str(mission), "--scenes", str(tiles(folder)), "--out",
        str(folder / "out"), "--orbits", str(orbits), *more,
    ]  # fmt: skip


def fly(folder: Path, mission: Path, *more: str, orbits: float = 0.01) -> subprocess.CompletedProcess[str]:
    """A run that nobody interrupts, in this process."""
    arguments = command(folder, mission, orbits, *more)[3:]
    return subprocess.CompletedProcess(arguments, *command_line(*arguments))


@contextmanager
def begun(arguments: list[str], path: Path = ROOT) -> Iterator[subprocess.Popen[str]]:
    """A run in the background, which finds modules in `path`."""
    process = subprocess.Popen(
        arguments, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(path)},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but what a run that is not whole has left, by its path in it."""
    paths = (path for path in folder.rglob("*") if path.is_file() and PARTIAL not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def mission(bare_mission: Callable[[str], Path]) -> Path:
    return bare_mission("")


@pytest.mark.campaign
def test_an_interrupted_run_says_what_is_kept_and_leaves_the_results_of_the_last_one(
    tmp_path: Path, mission: Path
) -> None:
    assert fly(tmp_path, mission).returncode == 0
    out, kept = tmp_path / "out", contents(tmp_path / "out")
    assert {"summary.json", "report.html", "archive.db", "node.log"} <= set(kept) and not (out / PARTIAL).exists()
    log = out / PARTIAL / "node.log"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with begun(command(tmp_path, mission, ENDLESS, "--seed", "12")) as process:
            wait_until(lambda: log.exists() or process.poll() is not None, "the run has begun")
            process.send_signal(number)
            stdout, stderr = process.communicate(timeout=GIVE_UP_S)
        *_, last = stderr.splitlines()
        said = SAID.match(last)
        assert process.returncode == 130 and stdout == "" and "Traceback" not in stderr, stderr
        assert said and said[2] == str(out) and last.endswith(f"{out} the results of the run before")
        assert contents(out) == kept
        assert not (out / PARTIAL / "summary.json").exists() and not (out / PARTIAL / "report.html").exists()
        with closing(sqlite3.connect(out / PARTIAL / "archive.db")) as archive:
            assert archive.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        log.unlink()  # so that the next one is seen to begin
    assert fly(tmp_path, mission).returncode == 0, "the next one clears it away"
    assert not (out / PARTIAL).exists()


def test_a_run_interrupted_in_an_empty_folder_says_that_it_has_no_results(tmp_path: Path, mission: Path) -> None:
    with begun(command(tmp_path, mission, ENDLESS, "--json")) as process:
        partial = tmp_path / "out" / PARTIAL / "node.log"
        wait_until(lambda: partial.exists() or process.poll() is not None, "the run has begun")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=GIVE_UP_S)
    assert process.returncode == 130 and stdout == ""
    assert SAID.match(stderr) and stderr.endswith(f"{tmp_path}/out no results of a whole run\n")
    assert stderr.count("\n") == 1


def test_a_run_cut_short_as_it_is_put_together_speaks_of_the_results_alone(
    tmp_path: Path, mission: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier run left in `partial` is gone by then."""
    left = tmp_path / "out" / PARTIAL / "node.log"
    left.parent.mkdir(parents=True)
    left.write_text("of the run before")

    def cut_short(*_: object, **__: object) -> None:
        assert left.read_text() == ""
        raise KeyboardInterrupt

    monkeypatch.setattr("sim_hw.run.MissionRun", cut_short)
    code, _, said = command_line(*command(tmp_path, mission, 1)[3:])
    assert code == 130
    assert said == f"orbitnode run: interrupted before it began; no result in {tmp_path}/out was touched\n"


def test_a_second_signal_ends_a_run_that_stands_in_a_step_and_no_worker_lives_on(tmp_path: Path) -> None:
    """The app holds up the run in the middle of a step, for an hour."""
    (tmp_path / "held_app.py").write_text(HELD)
    model = save_model(tmp_path / "m.onnx", "good")
    mission = tmp_path / "held.toml"
    mission.write_text(
        f'extends = "{(MISSIONS / "orbit.toml").as_posix()}"\n[payload]\nwall_limit_s = {GIVE_UP_RUN_S}\n'
        f'[[payload.worker_app]]\nname = "screen"\ncode = "held_app:Held"\nmodel = "{model}"\n'
        'guards_off = ["read_only_files", "hidden_files"]\n[sim.world.power]\nsoc_start_frac = 0.95\n'
    )
    with begun(command(tmp_path, mission, 1), tmp_path) as process:
        in_call = tmp_path / "in_call"
        wait_until(lambda: in_call.exists() or process.poll() is not None, "a worker is in its app")
        assert process.poll() is None, process.communicate()
        workers = list(workers_of(process.pid))
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=GIVE_UP_S)
    assert process.returncode == 130 and SAID.search(stderr) and "Traceback" not in stderr, stderr
    assert workers
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers are gone")


def test_a_run_that_fails_as_it_boots_has_not_touched_the_results_of_the_last_one(
    tmp_path: Path, bare_mission: Callable[..., Path]
) -> None:
    assert fly(tmp_path, bare_mission("")).returncode == 0
    kept = contents(tmp_path / "out")
    misnamed = '[{name = "orbit", app = "tests.sim.test_run_bad_input:Misnamed", apid = 2}]'
    done = fly(tmp_path, bare_mission("", misnamed))
    assert done.returncode == 1 and "its sample lacks y_km" in done.stderr, done.stderr
    assert contents(tmp_path / "out") == kept


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path, mission: Path) -> None:
    with begun(command(tmp_path, mission, ENDLESS)) as process:
        log = tmp_path / "out" / PARTIAL / "node.log"
        wait_until(lambda: log.exists() or process.poll() is not None, "the run has begun")
        done = fly(tmp_path, mission)
    assert done.returncode == 1
    assert done.stderr == (
        f"orbitnode: error: output folder {tmp_path}/out is in use by another run: end that one, or name another"
        " with --out\n"
    )


@pytest.mark.parametrize("name", [*FILES, PRODUCTS, PARTIAL])
def test_a_link_in_place_of_a_result_is_replaced_or_refused_and_never_followed(tmp_path: Path, name: str) -> None:
    out, victim, inside = tmp_path / "out", tmp_path / "victim", tmp_path / "folder"
    out.mkdir()
    inside.mkdir()
    for path in (victim, inside / "summary.json"):
        path.write_text("kept")
    (out / name).symlink_to(inside if name in (PRODUCTS, PARTIAL) else victim)
    if name in (PRODUCTS, PARTIAL):
        with pytest.raises(OrbitnodeError, match=rf"{out} cannot be written: {out}/{name}: Not a directory; name an"):
            RunFolder(out, ["one"])
    else:
        with closing(RunFolder(out, ["one"])) as folder:
            one = folder.of("one")
            one.write_text(name if name not in ("node.log", "downlink.tm") else "summary.json", "new")
            one.close()
            folder.complete()
        assert not (out / name).is_symlink()
    assert victim.read_text() == "kept" and (inside / "summary.json").read_text() == "kept"


def test_a_kill_between_two_renames_leaves_a_folder_without_a_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with closing(RunFolder(out, ["a", "b"])) as folder:
        for name in "ab":
            folder.of(name).write_text("summary.json", "{}")
            folder.of(name).close()
        folder.write_summary({})
        folder.complete()
    assert all((out / name / "summary.json").exists() for name in ("a", "b", "."))
    real, renames = Path.replace, []

    def replace(path: Path, target: Path) -> Path:
        renames.append(target)
        assert not (out / "summary.json").exists(), "not whole while files are put in place"
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    with closing(RunFolder(out, ["a", "b"])) as folder:
        for name in "ab":
            folder.of(name).write_text("summary.json", '{"of": "this run"}')
            folder.of(name).close()
        folder.write_summary({"whole": 1})
        folder.complete()
    assert renames[-1] == out / "summary.json" and json.loads(renames[-1].read_text()) == {"whole": 1}
    assert not (out / PARTIAL).exists() and sorted(os.listdir(out)) == ["a", "b", "summary.json"]


# The signals


def python(code: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own: a signal is for the whole of one."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=GIVE_UP_S, check=False
    )


def test_the_first_signal_asks_the_second_raises_and_none_cuts_what_must_be_whole() -> None:
    code = (
        "import os, signal\n"
        "from flight.linux.ending_signals import ending_asked\n"
        "me, before = os.getpid(), signal.getsignal(signal.SIGTERM)\n"
        "with ending_asked() as ending:\n"
        "    os.kill(me, signal.SIGTERM); assert ending.asked\n"
        "    with ending.deaf(): os.kill(me, signal.SIGINT); os.kill(me, signal.SIGHUP)\n"
        "    try: ending.check()\n"
        "    except KeyboardInterrupt: print('checked')\n"
        "    try: os.kill(me, signal.SIGHUP)\n"
        "    except KeyboardInterrupt: print('raised')\n"
        "assert signal.getsignal(signal.SIGTERM) is before\n"
    )
    done = python(code)
    assert (done.returncode, done.stdout) == (0, "checked\nraised\n"), done.stderr
    with ending_asked() as ending:
        ending.check()


def test_what_is_told_twice_is_one_request_and_a_second_ctrl_c_is_another() -> None:
    """The shell tells once more of a terminal whose end the kernel has told: that cuts no clean-up short."""
    code = (
        "import os, signal, time\n"
        "from flight.linux import ending_signals\n"
        "me = os.getpid()\n"
        "try:\n"
        "    with ending_signals.interrupted_by_ending_signals():\n"
        "        try: os.kill(me, signal.SIGHUP)\n"
        "        finally: os.kill(me, signal.SIGHUP); time.sleep(0.01); print('cleaned')\n"
        "except KeyboardInterrupt: pass\n"
        "for numbers in ((signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGHUP)):\n"
        "    for two in (ending_signals.interrupted_by_ending_signals, ending_signals.ending_asked):\n"
        "        try:\n"
        "            with two():\n"
        "                try: os.kill(me, numbers[0])\n"
        "                finally: os.kill(me, numbers[1]); time.sleep(0.01); print('not reached')\n"
        "        except KeyboardInterrupt: pass\n"
        "with ending_signals.ending_asked() as ending:\n"
        "    os.kill(me, signal.SIGTERM); os.kill(me, signal.SIGTERM)\n"
        "    assert ending.asked\n"
        "    ending_signals.REPEAT_S = 0.0\n"
        "    try: os.kill(me, signal.SIGTERM); time.sleep(0.01)\n"
        "    except KeyboardInterrupt: print('raised')\n"
    )
    done = python(code)
    assert (done.returncode, done.stdout) == (0, "cleaned\nraised\n"), done.stderr


def test_a_signal_that_another_thread_gets_ends_a_wait_of_the_main_thread() -> None:
    """As does one that comes just before the wait begins: in both, no system call of the main thread is cut short."""
    code = (
        "import select, signal, threading, time\n"
        "from flight.linux.ending_signals import interrupted_by_ending_signals\n"
        "def send():\n"
        "    time.sleep(0.3)\n"
        "    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)\n"
        "try:\n"
        "    with interrupted_by_ending_signals():\n"
        "        threading.Thread(target=send).start()\n"
        "        select.select([], [], [])\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    done = python(code)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_signals_at_any_moment_are_not_lost_nor_late_and_leave_nothing_behind() -> None:
    """Also while the block begins or ends, and within another: each raises in there, or is what was before's."""
    code = (
        "import os, random, signal, sys, threading, time\n"
        "from flight.linux.ending_signals import interrupted_by_ending_signals\n"
        "BOTH = (signal.SIGTERM, signal.SIGHUP)\n"
        "before, sent, ended = [], [0], [0]\n"
        "def send():\n"
        "    me = threading.get_ident()\n"
        "    while ended[0] < 300:\n"
        "        while sent[0] == ended[0]: time.sleep(0)\n"
        "        for number in BOTH:\n"
        "            time.sleep(random.random() * 5e-4)\n"
        "            signal.pthread_kill(random.choice((me, threading.main_thread().ident)), number)\n"
        "        ended[0] += 1\n"
        "was = lambda number, _: before.append(number)\n"
        "for number in BOTH: signal.signal(number, was)\n"
        "def descriptors(): return sorted(os.listdir('/proc/self/fd'))\n"
        "at_first = descriptors()\n"
        "sender = threading.Thread(target=send, daemon=True)\n"
        "sender.start()\n"
        "for _ in range(300):\n"
        "    heard = False\n"
        "    try:\n"
        "        with interrupted_by_ending_signals():\n"
        "            sent[0] += 1\n"
        "            with interrupted_by_ending_signals(): time.sleep(random.random() * 1e-3)\n"
        "    except KeyboardInterrupt: heard = True\n"
        "    while ended[0] < sent[0]: time.sleep(1e-4)\n"
        "    assert heard or set(before) == set(BOTH), (heard, before)\n"
        "    before.clear()\n"
        "    assert all(signal.getsignal(number) is was for number in BOTH)\n"
        "    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL\n"
        "sender.join()\n"
        "assert threading.active_count() == 1 and descriptors() == at_first and signal.set_wakeup_fd(-1) == -1\n"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")


# The faults


def test_a_summary_has_every_planned_fault_and_what_came_of_it(tmp_path: Path, mission: Path) -> None:
    planned = ["power-cut@20", "power-cut@25", "worker-kill@5", "eps-mute@40"]
    done = fly(tmp_path, mission, "--json", *(word for one in planned for word in ("--fault", one)))
    assert done.returncode == 0, done.stderr
    found = {(one["kind"], one["at_s"]): one["happened_s"] for one in json.loads(done.stdout)["faults"]}
    assert list(found) == [("worker-kill", 5.0), ("power-cut", 20.0), ("power-cut", 25.0), ("eps-mute", 40.0)]
    assert found["power-cut", 20.0] == 20.0 and found["power-cut", 25.0] is None, "it has no power at that time"
    assert found["worker-kill", 5.0] is None, "no job has started"
    muted_s = found["eps-mute", 40.0]
    assert muted_s is not None and 40.0 <= muted_s < 57.0
    table = fly(tmp_path, mission, *(word for one in planned for word in ("--fault", one))).stdout
    assert "power-cut@20 happened at 20 s" in table and "worker-kill@5 never happened" in table


def test_a_fault_that_is_planned_twice_at_one_instant_is_refused() -> None:
    twice = [PlannedFault.parse(text) for text in ("power-cut@5", "a:power-cut@5")]
    with pytest.raises(OrbitnodeError, match="fault 'a:power-cut@5': planned twice at one instant"):
        fault_plans(twice, ["a", "b"], 10.0)
    others = [PlannedFault.parse(text) for text in ("power-cut@5", "b:power-cut@5", "eps-mute@5", "power-cut@6")]
    plans = fault_plans(others, ["a", "b"], 10.0)
    assert [len(plan.faults) for plan in plans.values()] == [3, 1]


@pytest.mark.parametrize("at", ["-1", "nan", "inf", "1e9", "", "soon"])
def test_a_fault_at_no_time_of_a_run_is_wrong_use(at: str) -> None:
    with pytest.raises(UsageError, match="should be KIND@SECONDS"):
        PlannedFault.parse(f"power-cut@{at}")


def test_a_plan_tells_what_happened() -> None:
    first, second = PlannedFault("worker-kill", 5.0), PlannedFault("worker-kill", 7.0)
    plan = FaultPlan([second, first])
    assert not plan.take("worker-kill", 4_999_999_999) and plan.take("worker-kill", 6_000_000_000)
    assert plan.happened_ns == {first: 6_000_000_000} and plan.faults == (first, second)
