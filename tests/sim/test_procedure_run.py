"""`orbitnode procedure run`, and the same file in `orbitnode run`: what is seen, how it ends, what goes wrong."""

from __future__ import annotations

import argparse
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flight.core.errors import OrbitnodeError
from flight.mission import MISSIONS
from ground.cli import procedure
from ground.cli.api import api_operator
from ground.cli.api.api_operator import ApiOperator
from ground.cli.api.client import GroundLost
from tests.command_line import command_line
from tests.live_ground import Ground, UdpNode
from tests.ports import free_port
from tests.sim.conftest import START
from tests.sim.test_realtime_flight import Bench, Process
from tests.unit.test_plain_text import is_harmless
from tests.waiting import GIVE_UP_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guides" / "procedure.md"
ORBITS = 4.0 / 95.0
IMPORTS = "from pathlib import Path\nfrom ground.operator import ProcedureFailed\n"


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    (tmp_path / "ground").mkdir()
    made = Ground(tmp_path / "ground")
    yield made
    made.kill()


@pytest.fixture
def node(ground: Ground) -> Iterator[UdpNode]:
    made = UdpNode(ground)
    made.start()
    yield made
    made.end()


def written(folder: Path, *lines: str) -> Path:
    path = folder / "p.py"
    path.write_text(IMPORTS + "async def p(operator):\n" + "".join(f"    {line}\n" for line in lines))
    return path


def run(ground: Ground, path: Path, *more: str) -> int:
    parser = argparse.ArgumentParser()
    procedure.add_arguments(parser)
    return procedure.execute(parser.parse_intermixed_args(["run", str(path), "--port", str(ground.api), *more]))


STEPS = (
    f"assert await operator.wait_contact({GIVE_UP_S})",
    "await operator.send('submit_job', tiles=2)",
    "await operator.send_raw('set_parameters', parameters={'soc_min': 7.0})",
    "await operator.send('report_parameters', parameters=['soc_min'])",
    "print('charge', (await operator.wait_for('parameter_values', 1.0))['parameters[0].value'])",
    "assert await operator.wait_for('booted', 0.01) is None",
    "await operator.sleep(0.01)",
)


@pytest.mark.usefixtures("node")
def test_steps_for_people(ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(ground, written(tmp_path, *STEPS)) == 0
    lines = capsys.readouterr().out.splitlines()
    time, took = r"\d\d:\d\d:\d\d\.\d{3}", r"[\d.]+ (ms|s)"
    values = r"parameters\[0\].parameter \w+, parameters\[0\].value 0.3"
    for line, expected in zip(lines, (
        rf"{time}  wait for contact  contact after {took}",
        rf"{time}  submit_job tiles=2 priority=3 deadline_s=600  completed in {took}",
        rf"{time}  set_parameters .* \(raw\)  rejected in {took}: acceptance failed: argument out of range",
        rf"{time}  report_parameters .*  completed in {took}",
        rf"{time}  wait for parameter_values  came after {took}: {values}",
        "charge 0.3",
        rf"{time}  wait for booted  none came after {took}",
        rf"p returned after {took}, 3 commands",
    ), strict=True):  # fmt: skip
        assert re.fullmatch(expected, line), (expected, line)


@pytest.mark.usefixtures("node")
def test_steps_for_machines(ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(ground, written(tmp_path, *STEPS), "--json") == 0
    said = capsys.readouterr()
    assert said.err == "charge 0.3\n"
    *lines, end = [json.loads(line) for line in said.out.splitlines()]
    kinds = ["wait_contact", "send", "send_raw", "send", "wait_for", "wait_for", "sleep"]
    assert [line["step"] for line in lines] == kinds
    outcomes = ["contact", "completed", "rejected", "completed", "came", "none came", "slept"]
    assert [line["outcome"] for line in lines] == outcomes
    assert lines[1]["command"] == "submit_job" and lines[1]["arguments"]["tiles"] == 2 and lines[2]["code"] == 2
    assert lines[4]["packet"] == "parameter_values" and lines[4]["values"]["parameters[0].value"] == 0.3
    times = [line["time"] for line in lines]
    assert times == sorted(times) and all(re.fullmatch(r"20\d\d-.*T.*\.\d{3}Z", time) for time in times)
    assert (end["done"], end["procedure"], end["outcome"], end["commands"]) == (True, "p", "returned", 3)


def test_a_procedure_that_fails(ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "await operator.sleep(0)", "raise ProcedureFailed('too hot')")
    with pytest.raises(OrbitnodeError, match=rf"procedure p failed: {path}:5: too hot$"):
        run(ground, path, "--json")
    end = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (end["outcome"], end["reason"]) == ("failed", f"{path}:5: too hot")
    with pytest.raises(OrbitnodeError, match=r":4: no packet is called 'bootd', did you mean 'booted'\?$"):
        run(ground, written(tmp_path, "await operator.wait_for('bootd', 5.0)"))


def test_no_ground(tmp_path: Path) -> None:
    with pytest.raises(OrbitnodeError, match="no ground process on"):
        ApiOperator(free_port(socket.SOCK_STREAM))
    done = subprocess.run(
        [sys.executable, "-m", "flight.cli", "procedure", "run", str(written(tmp_path, "return")), "--port", "1"],
        cwd=ROOT, capture_output=True, text=True, timeout=GIVE_UP_S, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.startswith("orbitnode: error: no ground process on")
    wrong = [sys.executable, "-m", "flight.cli", "procedure", "fly", "x.py"]
    assert subprocess.run(wrong, cwd=ROOT, capture_output=True, timeout=GIVE_UP_S, check=False).returncode == 2


@pytest.mark.parametrize(
    ("wait", "caught"),
    [
        ("await operator.wait_for('booted', 3600.0)", False),
        ("await operator.sleep(3600.0)", False),
        ("await operator.send('ping')", True),
    ],
)
def test_a_ground_that_goes_away(
    ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str], wait: str, caught: bool
) -> None:
    """Also if the procedure caught that: it is none that returned."""
    there = tmp_path / "there"
    lines = [f"Path({str(there)!r}).touch()", wait]
    if caught:
        lines = ["try:", *(f"    {line}" for line in lines), "except Exception: pass"]
    path = written(tmp_path, *lines)

    def end() -> None:
        wait_until(there.exists, "the procedure waits")
        ground.kill()

    ending = threading.Thread(target=end)
    ending.start()
    with pytest.raises(OrbitnodeError, match=r"procedure p failed: (.*p\.py:5: )?the ground process ended$"):
        run(ground, path)
    ending.join()
    assert "p failed after" in capsys.readouterr().out


def test_a_ground_that_stands_still(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(operator: ApiOperator) -> None:
        await operator.wait_contact(0.0)

    with ApiOperator(ground.api) as operator:
        ground.process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(api_operator, "ANSWER_S", 0.2)
        for _ in range(2):
            with pytest.raises(GroundLost, match="does not answer any more"):
                look(operator).send(None)
        assert operator.lost


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("wait", "number"),
    [
        ("await operator.sleep(3600.0)", signal.SIGINT),
        ("await operator.wait_for('booted', 3600.0)", signal.SIGINT),
        ("await operator.sleep(3600.0)", signal.SIGTERM),
        ("await operator.wait_for('booted', 3600.0)", signal.SIGHUP),
    ],
)
def test_whoever_ends_a_procedure_its_clean_up_runs(
    ground: Ground, node: UdpNode, tmp_path: Path, wait: str, number: signal.Signals
) -> None:
    there = tmp_path / "there"
    path = written(
        tmp_path, f"assert await operator.wait_contact({GIVE_UP_S})", "try:", f"    Path({str(there)!r}).touch()",
        f"    {wait}", "finally:", "    await operator.send('payload_power', state='off')",
        "    assert await operator.send('ping')",
    )  # fmt: skip
    process = Process("procedure", "run", path, "--port", str(ground.api))
    try:
        wait_until(there.exists, process.text)
        code, text = process.end(number)
    finally:
        process.kill_and_forget()
    assert code == 130 and "p interrupted after" in text and "Traceback" not in text
    assert node.node.done == ["payload_power", "ping"]


@pytest.mark.usefixtures("node")
def test_a_procedure_that_catches_its_interruption_has_not_returned(ground: Ground, tmp_path: Path) -> None:
    there = tmp_path / "there"
    path = written(
        tmp_path, "try:", f"    Path({str(there)!r}).touch()", "    await operator.sleep(3600.0)", "except: pass",
    )  # fmt: skip
    process = Process("procedure", "run", path, "--port", str(ground.api))
    try:
        wait_until(there.exists, process.text)
        code, text = process.end(signal.SIGTERM)
    finally:
        process.kill_and_forget()
    assert code == 130 and "p interrupted after" in text and "Traceback" not in text


@pytest.mark.campaign
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_goes_away_does_not_end_a_procedure_halfway(
    ground: Ground, node: UdpNode, tmp_path: Path, more: list[str]
) -> None:
    there = tmp_path / "there"
    lines = [f"assert await operator.wait_contact({GIVE_UP_S})", "await operator.send('ping')"]
    path = written(tmp_path, *lines * 4, f"Path({str(there)!r}).touch()")
    command = [sys.executable, "-m", "flight.cli", "procedure", "run", str(path), "--port", str(ground.api), *more]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=GIVE_UP_S)
    assert (process.returncode, said) == (1, b"") and there.exists() and node.node.done == ["ping"] * 4


def example(folder: Path) -> Path:
    """The guide's procedure, as it stands there."""
    found = re.search(r"```python[^\n]*\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert found is not None
    path = folder / "checkout.py"
    path.write_text(found[1])
    return path


def fly(folder: Path, path: Path, says: str = "") -> dict[str, Any]:
    """Four minutes of an orbit with a pass, without payload; the summary. `says`: how a run ends that fails."""
    mission, tiles = folder / "orbit.toml", folder / "tiles"
    mission.write_text(
        f'extends = "{(MISSIONS / "orbit.toml").as_posix()}"\napp = []\n[sim.world.orbit]\nstart = "{START}"\n'
    )
    tiles.mkdir(exist_ok=True)
    np.savez_compressed(tiles / "t.npz", refl=np.full((256, 256, 6), 900, dtype=np.uint16))
    code, out, err = command_line(
        "run", "--json", "--mission", str(mission), "--scenes", str(tiles), "--orbits", str(ORBITS),
        "--out", str(folder / "out"), "--procedure", str(path),
    )  # fmt: skip
    assert code == (1 if says else 0), err
    assert err.endswith(says) and is_harmless(out)
    summary: dict[str, Any] = json.loads(out[out.index("{") :])
    return summary


def test_the_example_of_the_guide_in_virtual_time(tmp_path: Path) -> None:
    summary = fly(tmp_path, example(tmp_path))
    assert summary["script_failures"] == []
    counts = {name: summary["commands"][name] for name in ("sent", "completed", "rejected", "failed", "lost")}
    assert counts == {"sent": 5, "completed": 4, "rejected": 1, "failed": 0, "lost": 0}


@pytest.mark.campaign
def test_a_procedure_that_fails_in_virtual_time_is_noted_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path, "await operator.sleep(1.0)", "print('\\x1b[2J')", "await operator.wait_for('pwer', 1.0)")
    failure = f"{path}:6: no packet is called 'pwer', did you mean 'power'?"
    says = f"orbitnode: error: the operator's procedure failed: {failure}\n"
    assert fly(tmp_path, path, says)["script_failures"] == [failure]
    path = written(tmp_path, "import asyncio", "raise asyncio.CancelledError")
    says = f"orbitnode: error: the operator's procedure failed: {path}:5: CancelledError\n"
    assert fly(tmp_path, path, says)["script_failures"] == [f"{path}:5: CancelledError"]
    code, _, said = command_line("run", "--procedure", str(tmp_path / "none.py"), "--out", "/nowhere")
    assert code == 1 and said == f"orbitnode: error: procedure file {tmp_path}/none.py: no such file\n"


@pytest.mark.campaign
def test_the_example_of_the_guide_in_real_time(tmp_path: Path) -> None:
    """Board, node, ground and procedure: four processes."""
    bench = Bench(tmp_path)
    try:
        bench.down.close()  # the ground is to listen there
        api = free_port(socket.SOCK_STREAM)
        bench.write(
            f'[ground]\napi_port = {api}\nfolder = "{tmp_path}/ground"\ncommand_timeout_s = {GIVE_UP_S}\n'
            f"silence_s = {GIVE_UP_S}\n"
        )
        bench.sim()
        ground = bench.start("ground", "--mission", bench.mission)
        ground.says("Ctrl-C ends it")
        bench.flight()
        path = example(tmp_path)
        code, text = bench.start("procedure", "run", path, "--port", str(api)).ended()
        assert code == 0, text
        assert (
            "soc_safe_frac is 0.6" in text and "checkout returned after" in text and text.count("wait for power") == 3
        )
        # Once more, for programs: not every two seconds, as the guide has it.
        path.write_text(path.read_text().replace('{"power": 2.0}', '{"power": 0.5}'))
        code, text = bench.start("procedure", "run", path, "--port", str(api), "--json").ended()
        assert code == 0 and json.loads(text.splitlines()[-1])["commands"] == 5, text
        assert ground.end()[0] == 0
    finally:
        bench.close()
