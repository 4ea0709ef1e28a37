"""`orbitnode leap-seconds` against a real ground and a real node: both tables shown, the difference sent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from flight.core.utc.leap_seconds import BUILT_IN, LeapRow
from flight.core.utc.utc_time import mjd_of
from tests.leap_second_lists import listed
from tests.ports import free_port
from tests.sim.test_realtime_flight import Bench
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
LONGER = BUILT_IN.extended((LeapRow(mjd_of(date(2028, 1, 1)), 38),), mjd_of(date(2028, 6, 28)))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def orbitnode(*arguments: str | Path) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "flight.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_what_the_node_lacks_is_sent_once(bench: Bench) -> None:
    newer = bench.folder / "leap-seconds.list"
    newer.write_text(listed(LONGER))
    port = free_port()
    bench.write(f'[ground]\napi_port = {port}\nfolder = "{bench.folder / "ground"}"\nleap_seconds = "{newer}"\n')
    bench.down.close()  # the ground's process has that port
    bench.sim()
    bench.flight()
    ground = bench.start("ground", "--mission", bench.mission)
    ground.says("Ctrl-C ends it")
    own = ["leap-seconds", "--port", str(port)]

    def answer() -> dict[str, Any]:
        code, out, error = orbitnode(*own, "--json")
        assert code == 0, error
        read: dict[str, Any] = json.loads(out)
        return read

    wait_until(lambda: answer()["node"] is not None, "the node's table has come down")
    assert answer()["table"] == LONGER.document()
    assert answer()["node"]["last_mjd"] == BUILT_IN.rows[-1].mjd
    code, out, _ = orbitnode(*own)
    assert code == 0 and "ground: TAI - UTC is 38 s from 2028-01-01 on, known until 2028-06-28" in out
    assert "node:   TAI - UTC is 37 s from 2017-01-01 on" in out and "`orbitnode leap-seconds --send` sends it" in out
    code, out, error = orbitnode(*own, "--send")
    assert code == 0 and "completed" in out, (out, error)
    assert orbitnode("cmd", "report_hk", "leap_seconds", "--port", str(port))[0] == 0
    wait_until(lambda: answer()["node"]["last_mjd"] == LONGER.rows[-1].mjd, "the node has it")
    assert answer()["node"]["expires_mjd"] == LONGER.expires_mjd
    code, _, error = orbitnode(*own, "--send")
    assert (code, error) == (0, "orbitnode: the node knows all of it\n")
    # Announced again by hand: refused by the node, with the reason.
    again = ["cmd", "add_leap_seconds", "expires_mjd=62000", "leap_seconds=[[61771, 38]]", "--port", str(port)]
    code, out, error = orbitnode(*again)
    assert code == 1 and "2028-01-01 is announced twice, known with 38 s" in " ".join((out + error).split())


@pytest.mark.parametrize(
    ("content", "says"),
    [("nonsense", "line 1: 'nonsense', should be a time since 1900"), (None, "No such file or directory")],
)
def test_a_ground_whose_list_is_not_one_does_not_start(bench: Bench, content: str | None, says: str) -> None:
    file = bench.folder / "list"
    if content is not None:
        file.write_text(content)
    bench.write(f'[ground]\nfolder = "{bench.folder / "ground"}"\nleap_seconds = "{file}"\n')
    code, _, error = orbitnode("ground", "--mission", bench.mission)
    assert code == 1 and f"orbitnode: error: {file}: {says}" in error
    assert not (bench.folder / "ground").exists()


def test_a_ground_with_an_old_list_says_so_and_goes_on(bench: Bench) -> None:
    old = bench.folder / "leap-seconds.list"
    old.write_text(listed(type(BUILT_IN)(BUILT_IN.rows, mjd_of(date(2020, 6, 28)))))
    port = free_port()
    bench.write(f'[ground]\napi_port = {port}\nfolder = "{bench.folder / "ground"}"\nleap_seconds = "{old}"\n')
    bench.down.close()
    ground = bench.start("ground", "--mission", bench.mission)
    ground.says("the table of leap seconds says nothing from 2020-06-28 on: set ground.leap_seconds")
    ground.says("Ctrl-C ends it")
    ground.says("| leap seconds expired")
    code, out, error = orbitnode("leap-seconds", "--port", str(port))
    assert code == 0 and "known until 2020-06-28" in out and "the ground's table is old" in error
    assert "nothing has come down yet" in out
