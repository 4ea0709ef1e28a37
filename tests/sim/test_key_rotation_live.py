"""A change of keys as an operator makes it: real node, board, ground and `orbitnode keys`, and both ends started again.

What a change is made of, cut at every step, is in tests/properties/test_key_rotation_cuts.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim.live_site import Site, begin, begin_node
from tests.sim.test_realtime_flight import Process
from tests.waiting import wait_until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def test_keys_change_over_the_air_and_both_ends_come_back(site: Site) -> None:
    begin(site)
    assert site.active() == [1, 3, 5]
    assert "locked out" not in site.rotate("up")
    assert site.active() == [2, 3, 5]
    site.rotate("down")
    assert site.active() == [2, 4, 5]
    site.ping()
    site.kill("flight")
    site.start("flight")
    site.ping()
    site.kill("ground")
    site.start("ground")
    site.ping()
    site.rotate("up")  # back to the first association, by a key that came over the air
    assert 2 not in site.active() and len(site.active()) == 3
    site.ping()
    for name in ("flight", "ground"):
        site.kill(name)
    site.start("flight")
    site.start("ground")
    site.ping()


@pytest.mark.campaign
def test_a_node_whose_storage_was_wiped_is_commanded_again(site: Site) -> None:
    begin(site)
    site.rotate("up")
    site.rotate("down")
    for name in ("flight", "ground"):
        site.kill(name)
    shutil.rmtree(site.folder / "store")
    said = site.run_keys("revert")
    assert "  orbitnode keys recover\n  orbitnode keys rotate up\n  orbitnode keys rotate down\n" in said
    assert site.active() == [1, 3, 5]
    site.start("flight")
    site.start("ground")
    wait_until(site.contact, "contact")
    site.run_keys("recover", "--port", str(site.api))
    site.rotate("up")
    site.rotate("down")
    assert site.active() == [5, 256, 257]
    site.ping()


@pytest.mark.campaign
def test_a_record_that_cannot_be_written_is_told_and_stored_as_soon_as_it_can(site: Site) -> None:
    begin_node(site)
    rough = site.keys.with_name(f"{site.keys.name}.numbers~")
    rough.mkdir()
    site.start("ground")
    ground, fault = site.processes["ground"], f"{site.keys}.numbers cannot be written: File exists"
    ground.says(f"ground: link security: {fault}; nothing can be sent until it can\n")
    wait_until(site.contact, "contact")
    for more, why in (((), "never sent"), (("--bypass",), "error: nothing can be sent")):
        code, said = Process("cmd", "ping", "--timeout", "2", *more, "--port", str(site.api)).ended()
        assert code == 1 and f"{why}: {fault}" in " ".join(said.split()), said
    rough.rmdir()
    ground.says("ground: link security: the record of numbers can be written again\n")
    site.ping()
    assert ground.text().count("cannot be written") == 1


# What the ground on the port is not right for. No node is there: whatever is not refused at once waits in vain.


@pytest.mark.campaign
def test_the_ground_of_another_mission_is_left_alone(site: Site) -> None:
    site.run_keys("new")
    before = site.keys.read_bytes()
    site.start("ground")
    site.processes["ground"].says("Ctrl-C ends it")
    hawk, port = site.folder / "hawk.toml", str(site.api)
    keys = site.folder / "hawk.keys"
    text = site.mission.read_text()
    hawk.write_text(f'{text}[node]\nname = "hawk"\n')
    site.run("keys", "new", "--mission", hawk, "--keys", keys)
    wrong = (
        f"error: the ground on port {port} is of orbitnode-bench, the keys are of hawk; name its port with --port, "
        "or its mission with --mission\n"
    )
    # Without --port it is the port that the mission names.
    for words in (("rotate", "up"), ("rotate", "up", "--port", port), ("recover",)):
        assert site.refused(*words, mission=hawk, keys=keys).endswith(wrong)
    hawk.write_text(f"{text}[node]\nspacecraft_id = 5\n")
    assert (
        "is of orbitnode-bench, spacecraft 427, the keys are of orbitnode-bench, spacecraft 5; name its port"
        in site.refused("recover", mission=hawk)
    )
    site.run("keys", "new", "--mission", site.mission, "--keys", keys, "--replace")
    said = site.refused("rotate", "up", keys=keys)
    assert f"the ground on port {port} goes by other keys than {keys}; name its file with --keys" in said
    assert site.keys.read_bytes() == before


@pytest.mark.campaign
def test_a_link_that_the_ground_does_not_use_is_refused_before_a_key_is_made(site: Site) -> None:
    site.add_link("backup")
    site.run_keys("new")
    before = site.keys.read_bytes()
    site.start("ground")
    site.processes["ground"].says("Ctrl-C ends it")
    assert "error: this ground commands over udp; start it with --link backup\n" in site.refused(
        "rotate", "up", "--link", "backup"
    )
    assert "error: this ground does not listen to backup; start it with --link backup\n" in site.refused(
        "rotate", "down", "--link", "backup"
    )
    assert site.keys.read_bytes() == before


@pytest.mark.campaign
def test_a_command_link_that_was_ended_by_hand_is_told_at_once(site: Site) -> None:
    site.run_keys("new")
    site.start("ground")
    site.processes["ground"].says("Ctrl-C ends it")
    site.run("link", "terminate", "--port", str(site.api))
    for words in (("rotate", "up"), ("recover",)):
        assert "error: the command link is manual and down, nothing goes up: `orbitnode link auto`" in site.refused(
            *words
        )
