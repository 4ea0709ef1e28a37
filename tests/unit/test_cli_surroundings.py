"""Every subcommand in ordinary surroundings that a program may meet: the right exit code, one line, never a crash.

A subcommand that is added is in these tables by itself; only its words may have to be said in WORDS.
"""

from __future__ import annotations

import io
import json
import os
import resource
import socket
import subprocess
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from flight import cli
from flight.linux.platform import DESCRIPTORS
from flight.linux.surroundings import refusal_text
from flight.mission import MISSIONS
from tests.forked_commands import Done, run_each
from tests.full_disk import FULL_DEVICE
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(cli.installed_commands())
CRASHES = ("Traceback", "unexpected", "Exception ignored", "Error:", "never awaited")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with what the commands are given: a mission whose board is absent, a procedure, a table, a downlink."""
    (tmp_path / "procedure.py").write_text("async def procedure(operator):\n    await operator.send('ping')\n")
    (tmp_path / "table.toml").write_text("soc_safe_frac = 0.25\n")
    (tmp_path / "downlink.tm").write_bytes(bytes(3000))
    ports = f"{free_port()}:{free_port()}"
    board = f"serial:{tmp_path}/board"
    (tmp_path / "bench.toml").write_text(
        f'extends = "{(MISSIONS / "bench.toml").as_posix()}"\napp = []\n'
        f'[[link]]\nname = "udp"\ndriver = "udp:127.0.0.1:{ports}"\ncoding = "frame"\n'
        f'[drivers]\neps = "{board}"\nboard_thermometer = "{board}:board"\nradiator_thermometer = "{board}:radiator"\n'
        f'heater = "{board}:heater"\ngovernor = "{board}"\n[ground]\napi_port = {free_port(socket.SOCK_STREAM)}\n'
    )
    (tmp_path / "unlit.toml").write_text(f'extends = "{(MISSIONS / "orbit.toml").as_posix()}"\napp = []\n')
    return tmp_path


def words(name: str, place: Path) -> tuple[list[str], int]:
    """What the subcommand is given, and its exit code if nothing is in the way. Loops are given what keeps them from
    looping: how they fare with an output that nobody takes stands in tests/sim/test_broken_output.py.
    """
    port = ["--port", str(free_port(socket.SOCK_STREAM))]  # nobody listens there
    bench = ["--mission", str(place / "bench.toml")]
    (place / "taken").touch()
    found: Mapping[str, tuple[list[str], int]] = {
        "bench": (["absent-benchmark"], 2),
        "cmd": (["ping", *port], 1),
        "decode": ([str(place / "downlink.tm"), "--as", "frames", "--json"], 1),
        "dictionary": (["--json"], 0),
        "files": (["ls", *port], 1),
        "flight": ([*bench, "--storage", str(place / "store")], 1),
        "ground": ([*bench, "--folder", str(place / "taken")], 1),
        "keys": (["new", *bench, "--keys", str(place / "a.keys")], 0),
        "parameters": (["pack", str(place / "table.toml"), "-o", str(place / "a.table"), *bench], 0),
        "procedure": (["run", str(place / "procedure.py"), *port], 1),
        "run": (
            ["--mission", str(place / "unlit.toml"), "--orbits", "0.001", "--out", str(place / "out"),
             "--scenes", str(place / "absent")], 1,
        ),
        "schedule": (["list", *port], 1),
        "sim": ([*bench, "--link", str(place / "taken")], 1),
    }  # fmt: skip
    return found.get(name, (port if name in ("events", "tm") else [], 1))


@dataclass(frozen=True)
class Surroundings:
    """`inside` is called in the new process before the program, `status` gives the exit code from the usual one."""

    environment: Mapping[str, str | None] = field(default_factory=dict)
    inside: Callable[[], None] = lambda: None
    is_nowhere: bool = False
    status: Callable[[str, int], int] = lambda _name, code: code
    stdout: Callable[[], int] | None = None


def closed(*numbers: int) -> Callable[[], None]:
    def close() -> None:
        for number in numbers:
            os.close(number)

    return close


def limited(what: int, most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(what, (most, most))


def gone_reader() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


NARROW = {
    "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii", "TERM": "dumb",
    "COLUMNS": "10", "TMPDIR": "/absent", "HOME": None,
}  # fmt: skip


def if_it_prints(code: int) -> Callable[[str, int], int]:
    """Of a result that stdout does not take."""
    return lambda _name, usual: usual or code


ALL_CLOSED, READER_GONE = "all streams closed", "a reader that is gone"
# Streams that are closed one by one: tests/unit/test_cli_streams.py.
SURROUNDINGS = {
    "ASCII, a dumb and narrow terminal, no HOME, TMPDIR, stdin and current folder": Surroundings(
        NARROW, inside=closed(0), is_nowhere=True
    ),
    ALL_CLOSED: Surroundings(inside=closed(0, 1, 2), status=if_it_prints(1)),
    "a full device": Surroundings(stdout=lambda: os.open(FULL_DEVICE, os.O_WRONLY), status=if_it_prints(1)),
    READER_GONE: Surroundings(stdout=gone_reader, status=if_it_prints(1)),
    "files of 512 octets at most": Surroundings(inside=limited(resource.RLIMIT_FSIZE, 512)),
    "twenty open files": Surroundings(inside=limited(resource.RLIMIT_NOFILE, 20)),
}


def run(commands: Sequence[Sequence[str]], around: Surroundings, folder: Path) -> list[Done]:
    """These command lines, each as a process in the surroundings."""
    # Coverage would be in the process too: its data file meets the same limits, and its complaint is not the program's.
    usual = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_PROCESS")}
    environment = usual | {"PYTHONPATH": str(ROOT)} | {k: v for k, v in around.environment.items() if v}
    for key, value in around.environment.items():
        if value is None:
            environment.pop(key, None)
    cwd = folder / "cwd"
    cwd.mkdir()
    first = "import os; os.rmdir(os.getcwd())" if around.is_nowhere else ""
    out = around.stdout() if around.stdout is not None else subprocess.PIPE
    try:
        return run_each(commands, first=first, cwd=cwd, env=environment, stdout=out, preexec_fn=around.inside)
    finally:
        if out != subprocess.PIPE:
            os.close(out)


@pytest.mark.campaign
@pytest.mark.parametrize("around", list(SURROUNDINGS))
def test_ordinary_surroundings_are_no_crash(around: str, place: Path) -> None:
    lines = {name: words(name, place) for name in COMMANDS}
    ran = run([[name, *given] for name, (given, _) in lines.items()], SURROUNDINGS[around], place)
    for (name, (_, usual)), done in zip(lines.items(), ran, strict=True):
        said = done.stderr
        assert not [text for text in CRASHES if text in said], (name, said)
        expected = {SURROUNDINGS[around].status(name, usual)}
        if around.startswith(("files", "twenty")):
            expected |= {1}  # a limit may come first
        assert done.returncode in expected, (name, said)
        errors = [line for line in said.splitlines() if line.startswith("orbitnode")]
        assert len(errors) <= 1, (name, said)
        if done.returncode == 1 and around not in (ALL_CLOSED, READER_GONE):
            assert errors or name == "decode", (name, said)


def test_a_node_is_not_flown_with_too_few_open_files(place: Path) -> None:
    given, _ = words("flight", place)
    (done,) = run([["flight", *given]], SURROUNDINGS["twenty open files"], place)
    assert f"only 20 open files are allowed, {DESCRIPTORS} are needed; raise it with ulimit -n" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-2", "utf-8"])
def test_a_document_says_the_same_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose texts an app has written in its own language."""
    made = SimpleNamespace(document=lambda: {"unit": "\u00b5\u2126"})
    monkeypatch.setattr("flight.catalogue.dictionary_of", lambda _: made)
    monkeypatch.setattr("ground.xtce.document.xtce_document", lambda _: "<unit>\u00b5\u2126</unit>")
    shown = []
    for given in (["--json"], ["--xtce"]):
        octets = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(octets, encoding=encoding))
        assert cli.main(["dictionary", *given]) == 0
        shown.append(octets.getvalue().decode(encoding))
    assert json.loads(shown[0]) == {"unit": "\u00b5\u2126"} and ET.fromstring(shown[1]).text == "\u00b5\u2126"


def test_what_an_encoding_lacks_is_shown_as_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    octets = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(octets, encoding="ascii"))

    def execute(*_: object) -> int:
        print("18 \u00b5s")
        return 0

    monkeypatch.setattr(cli, "_execute", execute)
    assert cli.main([]) == 0 and octets.getvalue() == b"18 \\xb5s\n"


# What nobody foresaw


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device", "/a/b"), "/a/b: No space left on device; make room"),
        (OSError(27, "File too large"), "File too large; raise the limit with ulimit -f"),
        (OSError(18, "Invalid cross-device link", "a", None, "b"), None),
        (PermissionError(13, "Permission denied", b"/x"), "/x: Permission denied; let this user do that, or"),
        (MemoryError(), "out of memory; end something else on this machine, or do less at once"),
        (RuntimeError("can't start new thread"), "no further thread could be had; raise the limit with ulimit -u, or"),
        (RuntimeError("a fault of ours"), None),
        (KeyError("key"), None),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_told_from_a_crash(error: Exception, says: str | None) -> None:
    text = refusal_text(error)
    assert text is None if says is None else text is not None and text.startswith(says)


# Wrong use


def value_options(name: str) -> Iterator[tuple[str, Any]]:
    """Each option of a subcommand that takes one value, with its type."""
    parser = ArgumentParser()
    cli.installed_commands()[name].load().add_arguments(parser)
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        if action.option_strings and action.nargs is None and (action.type is not None or action.choices):
            yield action.option_strings[0], action.type


def status(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    try:
        code = cli.main(argv)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_a_value_that_no_file_could_make_right_is_wrong_use(
    name: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    given, _ = words(name, place)
    before = [] if name == "bench" else given
    wrong = []
    for option, kind in value_options(name):
        for value in ("nan", "inf", "-inf", "1e999", "9" * 5000, "not-one-of-them", "") if kind is not Path else ():
            code, said = status([name, *before, f"{option}={value}"], capsys)
            if code != 2 or f"usage: orbitnode {name}" not in said or f"orbitnode {name}: error:" not in said:
                wrong.append(f"{option}={value[:20]}: {code}, {said[-200:]}")
    for more in (["--no-such-option"], ["--out"] if name in ("run", "dictionary") else ["--=x"]):
        code, said = status([name, *before, *more], capsys)
        if code != 2:
            wrong.append(f"{more}: {code}, {said[-200:]}")
    assert wrong == []


CONTRADICTIONS = [
    ["cmd"],
    ["cmd", "ping", "--timeout", "0"],
    ["cmd", "ping", "--timeout", "-1"],
    ["decode", "x", "--csv"],
    ["dictionary", "--json", "--xtce"],
    ["events", "--limit", "0"],
    ["events", "--port", "0"],
    ["events", "--port", "65536"],
    ["keys", "new", "up"],
    ["keys", "show", "--replace"],
    ["keys", "show", "--link", "udp"],
    ["keys", "show", "--port", "3"],
    ["keys", "rotate"],
    ["keys", "rotate", "sideways"],
    *[
        ["link", *words.split()]
        for words in (
            "set-vs 2.5",
            "set-vs 300",
            "set-vs -1",
            "initiate-set-vr 256",
            "set-window 0",
            "set-window 128",
            "set-limit 0",
            "set-timeout-type 2",
            "set-t1 -1",
            "set-t1 0",
            "set-t1 7201",
            "set-t1 nan",
            "set-t1 1e300",
            "auto 1",
            "set-vs",
        )
    ],
    ["parameters", "list", "x.toml"],
    ["parameters", "list", "--mission", "x"],
    ["parameters", "load", "x.toml", "--dictionary", "x"],
    ["parameters", "pack", "x.toml", "-o", "y", "--port", "3"],
    ["parameters", "pack", "x.toml"],
    ["parameters", "load", "x.toml", "-o", "y"],
    ["parameters", "pack", "x.toml", "-o", "y", "--mission", "a", "--dictionary", "b"],
    ["procedure", "stop", "x.py"],
    ["run", "--orbits", "0"],
    ["run", "--seed", "-1"],
    ["run", "--fault", "power-cut"],
    ["run", "--fault", "power-cut@-1"],
    ["schedule", "insert", "+5"],
    ["schedule", "shift", "1.5"],
    ["schedule", "list", "--group", "1"],
    ["sim", "--speed", "-1"],
    ["sim", "--speed", "0"],
    ["sim", "--start", "-1"],
    ["sim", "--charge", "1.01"],
    ["tm", "power", "x"],
    ["tm", "tasks", "--every", "0"],
    ["bench", "absent-benchmark"],
    ["bench", "profile", "--seconds", "0"],
]


@pytest.mark.parametrize("argv", CONTRADICTIONS, ids=" ".join)
def test_wrong_use_is_2_whatever_is_there(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, said = status(argv, capsys)
    assert code == 2 and f"usage: orbitnode {argv[0]}" in said, said
