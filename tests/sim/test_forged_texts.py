"""What a node, or whoever passes for it, has written into its telemetry reaches a terminal as text alone."""

from __future__ import annotations

import csv
import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flight.core.errors import OrbitnodeError
from flight.link.pus import PusTm
from ground.cli.api.client import GroundClient
from tests.ground_dictionary import make
from tests.ground_node import EPOCH_NS, LittleNode
from tests.live_ground import ROOT, Ground, UdpNode
from tests.unit.test_plain_text import EVIL, SHOWN, is_harmless
from tests.waiting import GIVE_UP_S, wait_until

FORGED = EVIL.replace("\udc80", "") + "\n2026-11-29T00:00:00.000Z  high    forged: all is well\n"
WRITTEN = SHOWN.replace(r"\udc80", "") + r"\n2026-11-29T00:00:00.000Z  high    forged: all is well\n"
NAME, NAME_SHOWN = EVIL.replace("\udc80", ""), SHOWN.replace(r"\udc80", "")
COLOUR = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ground, LittleNode]]:
    ground = Ground(tmp_path_factory.mktemp("ground"))
    node = UdpNode(ground)
    node.start()
    health = make().structures[1].layout.encode((7, FORGED, 0, -5, 0.5))

    def forge() -> None:
        node.node.event("booted", FORGED)
        node.node.tm(1, 3, 25, b"\x00\x02" + health)

    node.after(0.0, forge)
    with GroundClient(ground.api) as client:
        wait_until(lambda: client.ask(do="events")["events"], "the event came down")
        wait_until(lambda: client.ask(do="latest", name="health")["values"], "the report came down")
    yield ground, node.node
    node.end()
    ground.kill()


def command(ground: Ground, *words: str) -> list[str]:
    return [sys.executable, "-m", "flight.cli", *words, "--port", str(ground.api)]


def on_a_pipe(ground: Ground, *words: str) -> str:
    done = subprocess.run(command(ground, *words), cwd=ROOT, capture_output=True, timeout=GIVE_UP_S, check=False)
    return (done.stdout + done.stderr).decode()


def on_a_terminal(ground: Ground, *words: str) -> str:
    """What comes out on a terminal of 400 columns, without the colours of rich."""
    master, slave = os.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "400", "LINES": "100"}
    process = subprocess.Popen(command(ground, *words), cwd=ROOT, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    seen = b""
    try:
        while select.select([master], [], [], GIVE_UP_S)[0]:
            try:
                octets = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            seen += octets
        process.wait(GIVE_UP_S)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return COLOUR.sub("", seen.decode().replace("\r\n", "\n"))


@pytest.mark.parametrize("show", [on_a_pipe, on_a_terminal])
@pytest.mark.parametrize(
    "words",
    [
        ("events",),
        ("tm", "health"),
        ("cmd", "ping"),
        ("cmd", FORGED.replace("\x00", "")),
        ("tm", FORGED.replace("\x00", "")),
        ("cmd", "set_parameters", FORGED.replace("\x00", "")),
        ("cmd", "--list", FORGED.replace("\x00", "")),
        ("parameters", "list"),
    ],
)
def test_a_forged_text_is_shown_as_text(bench: tuple[Ground, LittleNode], show: object, words: tuple[str, ...]) -> None:
    assert callable(show)
    shown = show(bench[0], *words)
    assert shown and is_harmless(shown), repr(shown)
    assert not any(line.startswith("2026-11-29T00:00:00.000Z") for line in shown.split("\n"))
    if words in (("events",), ("tm", "health")):
        assert WRITTEN in shown


def test_programs_get_it_as_it_is(bench: tuple[Ground, LittleNode]) -> None:
    ground, _ = bench
    shown = on_a_pipe(ground, "events", "--json")
    assert json.loads(shown.splitlines()[0])["text"] == f"node {FORGED} booted" and is_harmless(shown)
    shown = on_a_terminal(ground, "tm", "health", "--json")
    assert json.loads(shown)["health.name"]["value"] == FORGED and is_harmless(shown)
    with GroundClient(ground.api, faithful=True) as client:
        assert client.ask(do="latest", name="health.name")["values"]["health.name"]["value"] == FORGED
    with GroundClient(ground.api) as client:
        assert client.ask(do="latest", name="health.name")["values"]["health.name"]["value"] == WRITTEN
        with pytest.raises(OrbitnodeError) as refused:
            client.ask(do="command", name=FORGED)
    assert is_harmless(str(refused.value)) and "\n" not in str(refused.value)


def test_a_procedure_gets_it_as_it_is_and_its_steps_are_harmless(
    bench: tuple[Ground, LittleNode], tmp_path: Path
) -> None:
    path = tmp_path / "p.py"
    path.write_text(
        "async def p(operator):\n"
        "    await operator.send('say', text='\\x1b[2J\\n[bold]x')\n"
        "    print('printed\\x1b[2J\\ta\\nb\\u202e')\n"
        "    raise ValueError('\\x1b[2J\\nforged')\n"
    )
    for show in (on_a_pipe, on_a_terminal):
        shown = show(bench[0], "procedure", "run", str(path)).replace("\r\x1b[2K", "")
        assert "printed\\x1b[2J\ta\nb\\u202e\n" in shown
        assert is_harmless(shown.replace("\t", "")), repr(shown)
        assert r"say text=\x1b[2J\n[bold]x times=1  completed in" in shown
        assert r"p.py:4: ValueError: \x1b[2J forged" in shown


@pytest.mark.campaign
def test_a_dictionary_of_others_names_no_file_outside_and_no_line(tmp_path: Path) -> None:
    power = make().structures[0]
    packet = PusTm(1, 1, 3, 25, b"\x00\x01" + power.layout.encode((0.5, 8.0, 1, 3)), EPOCH_NS)
    recorded, document, out = tmp_path / "packets.bin", tmp_path / "dictionary.json", tmp_path / "out"
    recorded.write_bytes(packet.encode())

    def decode(name: str, *more: str) -> str:
        first, *others = power.fields
        made = replace(power, name=name, fields=(replace(first, name=f"{NAME},x"), *others))
        document.write_text(json.dumps(replace(make(), structures=(made,)).document()))
        words = [sys.executable, "-m", "flight.cli", "decode", str(recorded), "--as", "packets"]
        done = subprocess.run(
            [*words, "--dictionary", str(document), *more], cwd=ROOT, capture_output=True, timeout=GIVE_UP_S,
            check=False,
        )  # fmt: skip
        shown = (done.stdout + done.stderr).decode()
        assert is_harmless(shown), repr(shown)
        return shown

    assert NAME_SHOWN in decode(NAME)
    for name in ("../escaped", "/escaped", ".", NAME):
        decode(name, "--csv", "--out", str(out / "inner"))
    made = list(tmp_path.rglob("*.csv"))
    assert made and {path.parent for path in made} == {out / "inner"}
    decode("power", "--csv", "--out", str(out))
    with (out / "power.csv").open(newline="") as file:
        heads, row = csv.reader(file)
    assert heads[:3] == ["packet.time", f"{NAME_SHOWN},x", "bus"] and row[1:3] == ["0.5", "8.0"]
