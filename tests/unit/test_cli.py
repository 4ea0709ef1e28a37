"""The command line: what it lists, what it says when something is missing or wrong, and its exit codes."""

from __future__ import annotations

import io
import re
import socket
import subprocess
import sys
import tempfile
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from flight import __version__, cli
from flight.core.errors import SetupError
from ground.cli import tm
from ground.cli.terminal.console import PlainConsole
from sim_hw.report import closing_table
from tests.waiting import GIVE_UP_S

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that are commands, found in place of the installed ones. The file's name is the command's."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def installed() -> dict[str, cli.Command]:
        names = sorted(path.stem for path in tmp_path.glob("*.py"))
        return {n.removeprefix("x_"): cli.Command(EntryPoint(n.removeprefix("x_"), n, cli.GROUP)) for n in names}

    monkeypatch.setattr(cli, "installed_commands", installed)
    return tmp_path


def write(folder: Path, name: str, body: str, head: str = "") -> None:
    source = f"""{head}
HELP = "does {name}"

def add_arguments(parser):
    parser.add_argument("--level", type=int, default=0)

def execute(args):
{textwrap.indent(textwrap.dedent(body), "    ")}
"""
    (folder / f"x_{name}.py").write_text(source, encoding="utf-8")
    sys.modules.pop(f"x_{name}", None)


def test_runs_the_command_and_returns_its_code(commands: Path) -> None:
    write(commands, "one", "return args.level")
    assert cli.main(["one", "--level", "7"]) == 7


def test_help_lists_all_and_imports_none(commands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(commands, "lacking", "return 0", head="import a_package_that_is_not_there")
    write(commands, "loud", "return 0", head="raise SystemError('imported')")
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "does lacking" in shown
    assert "does loud" in shown


def test_missing_extra_says_what_to_install(
    commands: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = ["numpy>=2; extra == 'ground'", 'Zarr-Pack>=2; extra == "sim"', "cffi"]
    monkeypatch.setattr(cli, "requires", lambda _: needs)
    write(commands, "orbits", "return 0", head="import zarr_pack.core")
    assert cli.main(["orbits"]) == 1
    error = capsys.readouterr().err
    assert error == "orbitnode: error: orbits: zarr_pack is not installed; run: pip install 'orbitnode[sim]'\n"


def test_missing_extra_that_is_noticed_only_as_the_command_runs(
    commands: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "requires", lambda _: ["rich-pack>=13; extra == 'ground'"])
    write(commands, "show", "from rich_pack.table import Table")
    assert cli.main(["show"]) == 1
    error = capsys.readouterr().err
    assert error == "orbitnode: error: show: rich_pack is not installed; run: pip install 'orbitnode[ground]'\n"


def test_missing_module_that_no_extra_brings(commands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(commands, "orbits", "return 0", head="import a_package_that_is_not_there")
    assert cli.main(["orbits"]) == 1
    assert "orbits: the module 'a_package_that_is_not_there' is not installed" in capsys.readouterr().err


def test_the_extra_of_the_commands_own_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = [f"numpy>=2; extra == '{extra}'" for extra in ("ground", "payload", "sim")]
    monkeypatch.setattr(cli, "requires", lambda _: needs)
    monkeypatch.setattr(EntryPoint, "load", lambda _: (_ for _ in ()).throw(ModuleNotFoundError(name="numpy.linalg")))
    for module, extra in (
        ("sim_hw.run", "sim"),
        ("ground.cli.ground", "ground"),
        ("payloads.x", "payload"),
        ("a.b", "ground"),
    ):
        with pytest.raises(SetupError, match=rf"orbitnode\[{extra}\]"):
            cli.Command(EntryPoint("x", module, cli.GROUP)).load()


@pytest.mark.parametrize(
    ("head", "raised"),
    [
        ("from flight.core.errors import OrbitnodeError", "OrbitnodeError('the port 10015 is taken')"),
        ("from flight.core.errors import DecodeError", "DecodeError('the port 10015 is taken')"),
        ("from hal.base import HalError", "HalError('the port 10015 is taken')"),
    ],
)
def test_known_errors_are_one_line(commands: Path, capsys: pytest.CaptureFixture[str], head: str, raised: str) -> None:
    write(commands, "bad", f"raise {raised}", head=head)
    assert cli.main(["bad"]) == 1
    assert capsys.readouterr().err == "orbitnode: error: the port 10015 is taken\n"


def test_interrupt_is_quiet(commands: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(commands, "long", "raise KeyboardInterrupt")
    assert cli.main(["long"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_crash_is_one_line_and_a_file(
    commands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "crash"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    write(commands, "broken", "return {}['key']")
    assert cli.main(["broken"]) == 1
    error = capsys.readouterr().err
    said = re.fullmatch(r"orbitnode: error: unexpected KeyError: 'key'; the traceback is in (\S+)\n", error)
    assert said
    assert "return {}['key']" in Path(said[1]).read_text(encoding="utf-8")


def test_a_crash_with_nowhere_to_write(
    commands: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    write(commands, "broken", "return 1 // 0")
    assert cli.main(["broken"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "could not be written" in error


@pytest.mark.parametrize("argv", [[], ["unheard-of"], ["--unheard-of"], ["one", "--level", "high"], ["one", "extra"]])
def test_wrong_use_is_2(commands: Path, capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    write(commands, "one", "return 0")
    try:
        code: object = cli.main(argv)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert "usage: orbitnode" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"orbitnode {__version__}\n"


def test_help_of_an_unreadable_module_is_empty(commands: Path) -> None:
    (commands / "x_torn.py").write_text("HELP = ", encoding="utf-8")
    (commands / "x_computed.py").write_text("HELP: str = 'a' + str(1)", encoding="utf-8")
    (commands / "x_typed.py").write_text("OTHER = 1\nHELP: str = 'typed'", encoding="utf-8")
    shown = {name: command.help_text() for name, command in cli.installed_commands().items()}
    assert shown == {"torn": "", "computed": "", "typed": "typed"}
    assert cli.Command(EntryPoint("gone", "no.such.module", cli.GROUP)).help_text() == ""


def test_every_installed_command_offers_the_three_things() -> None:
    commands = cli.installed_commands()
    assert "bench" in commands
    for command in commands.values():
        module = command.load()
        assert command.help_text() == module.HELP
        assert callable(module.add_arguments)
        assert callable(module.execute)


def test_as_a_process() -> None:
    run = [sys.executable, "-m", "flight.cli"]
    listed = subprocess.run([*run, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=GIVE_UP_S, check=False)
    assert listed.returncode == 0
    assert "bench" in listed.stdout
    closed = subprocess.run(
        f"{sys.executable} -m flight.cli bench --help | true", shell=True, cwd=ROOT, capture_output=True, text=True,
        timeout=GIVE_UP_S, check=False,
    )  # fmt: skip
    assert closed.stderr == ""


def test_an_option_may_stand_between_the_words_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    assert cli.main(["cmd", "set_parameters", "--raw", "x=1", "--port", port, "y=1"]) == 1
    assert "no ground" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(cli.installed_commands()))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: orbitnode {name}" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["[/red]", "[bold]x", "a [0] b"])
def test_texts_of_the_downlink_are_shown_as_they_are(text: str) -> None:
    """And are not taken for markup, which may even be faulty."""
    values = {
        f"s.{text}": {"value": text, "raw": text, "unit": text, "state": "normal", "has_limits": True, "age_s": 1.0}
    }
    console = PlainConsole(file=io.StringIO(), width=200)
    console.print(tm._table(values))  # noqa: SLF001 - as `orbitnode tm` shows it
    shown = console.file.getvalue()  # type: ignore[attr-defined] # it is a StringIO
    assert shown.count(text) == 3


def test_a_value_without_limits_has_no_limit_state_and_nan_is_written_as_a_number_that_is_none() -> None:
    usual = {"unit": "", "state": "normal", "age_s": 1.0}
    values = {
        "a.limited": {"value": 0.5, "raw": 0.5, "has_limits": True, **usual},
        "a.free": {"value": 7, "raw": 7, "has_limits": False, **usual},
        "a.nan": {"value": "nan", "raw": "nan", "has_limits": True, **usual, "state": "red"},
    }
    console = PlainConsole(file=io.StringIO(), width=200)
    console.print(tm._table(values))  # noqa: SLF001 - as `orbitnode tm` shows it
    shown = [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined] # a StringIO
    assert [row[:3] for row in shown[1:]] == [
        ["a.limited", "0.5", "normal"],
        ["a.free", "7", "-"],
        ["a.nan", "NaN", "red"],
    ]


def test_failures_of_workers_say_the_first_one_and_the_file_that_has_all_when_a_run_closes() -> None:
    cell = dict(closing_table.ROWS)["worker"]
    worker = {
        "failures": {"app error": 52}, "first_failure": "brightness.py:33: IndexError: 4", "retried": 26,
        "hang_limit_fired": 0,
    }  # fmt: skip
    assert cell({"worker": worker}) == (
        "app error 52, first: brightness.py:33: IndexError: 4; 26 jobs retried; all in node.log"
    )
    assert cell({"worker": worker | {"failures": {}}}) == ""


def test_failures_of_tasks_and_grave_events_name_the_file_that_says_why_when_a_run_closes() -> None:
    cells = dict(closing_table.ROWS)
    counts = {"steps": 298, "late": 0, "skipped": 0, "overruns": 0, "failures": 4}
    assert "0 overruns, 4 failures: see node.log" in cells["tasks"]({"tasks": [], "scheduler": counts})
    assert "fail" not in cells["tasks"]({"tasks": [], "scheduler": counts | {"failures": 0}})
    for grave in ("medium", "high"):
        assert cells["events"]({"events": {"info": 2, grave: 1}}) == f"info 2, {grave} 1; see node.log"
    assert cells["events"]({"events": {"info": 2, "low": 1}}) == "info 2, low 1"


def test_what_a_procedure_says_is_shown_as_it_is_when_a_run_closes() -> None:
    failure = "checkout.py:3: KeyError: '[/b]'"
    console = PlainConsole(file=io.StringIO(), width=200)
    rows = [row for row in closing_table.ROWS if row[0] == "script"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing_table, "ROWS", rows)
        console.print(closing_table.closing_table("run", {"node": {"script_failures": [failure]}}))
    assert failure in console.file.getvalue()  # type: ignore[attr-defined] # it is a StringIO
