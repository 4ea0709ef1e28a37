"""The command line with output that cannot be written: exit codes keep their meaning, no traceback."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.forked_commands import run_each
from tests.full_disk import full_device
from tests.waiting import GIVE_UP_S

ROOT = Path(__file__).resolve().parents[2]
BROKEN = ("full disk", "reader gone", "closed", "terminal hung up")


@contextlib.contextmanager
def broken(kind: str) -> Iterator[int | None]:
    """A descriptor of that kind, None for one that is to be closed."""
    if kind == "closed":
        yield None
        return
    if kind == "full disk":
        with full_device() as full:
            yield full.fileno()
        return
    if kind == "reader gone":
        reader, fileno = os.pipe()
        os.close(reader)
    else:
        master, fileno = os.openpty()
        os.close(master)
    yield fileno
    os.close(fileno)


def orbitnode(*words: str, out: int | None = subprocess.PIPE, err: int | None = subprocess.PIPE, code: str = "") -> (
    subprocess.CompletedProcess[str]
):  # fmt: skip
    """Run the command line, None for a closed stdout or stderr; or `code` with it in place of a command."""
    closed = [number for number, stream in ((1, out), (2, err)) if stream is None]

    def close() -> None:
        for number in closed:
            os.close(number)

    start = ["-c", code] if code else ["-m", "flight.cli"]
    return subprocess.run(
        [sys.executable, *start, *words], cwd=ROOT, stdout=out, stderr=err, preexec_fn=close, text=True,
        timeout=GIVE_UP_S, check=False,
    )  # fmt: skip


@pytest.mark.campaign
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_stderr_changes_no_exit_code(kind: str, tmp_path: Path) -> None:
    lines: dict[tuple[str, ...], int] = {
        ("dictionary", "--out", str(tmp_path / "d.xml")): 0,
        ("dictionary", "--mission", "absent.toml"): 1,
        ("flight", "--absent"): 2,
        (): 2,
    }
    with broken(kind) as err:
        streams: dict[str, Any] = {"preexec_fn": lambda: os.close(2)} if err is None else {"stderr": err}
        done = run_each(list(lines), **streams)
    assert [one.returncode for one in done] == list(lines.values())


@pytest.mark.parametrize("kind", BROKEN)
def test_a_result_that_stdout_does_not_take_is_a_failure_in_one_line(kind: str) -> None:
    with broken(kind) as out:
        done = orbitnode("dictionary", "--json", out=out)
    lines = {
        "full disk": "orbitnode: error: stdout takes no more: No space left on device\n",
        "reader gone": "",
        "terminal hung up": "orbitnode: error: stdout takes no more: Input/output error\n",
        "closed": "orbitnode: error: stdout takes no more: it is closed\n",
    }
    assert (done.returncode, done.stderr) == (1, lines[kind])


def test_only_what_prints_a_result_fails_without_stdout(tmp_path: Path) -> None:
    taken = str(tmp_path / "taken")
    Path(taken).touch()
    soak = ("sim", "link", "--hours", "0.3", "--commands", "1", "--ber", "0", "--drop", "0")
    lines: dict[tuple[str, ...], int] = {
        ("dictionary", "--xtce"): 1,
        ("dictionary", "--yamcs", str(tmp_path / "yamcs")): 1,
        ("dictionary", "--out", str(tmp_path / "d.xml")): 0,
        ("keys", "new", "--keys", str(tmp_path / "a.keys")): 1,
        ("--help",): 1,
        ("--version",): 1,
        soak: 1,
        (*soak, "--json"): 1,
    }
    done = run_each(list(lines), preexec_fn=lambda: os.close(1))
    assert {words: one.returncode for words, one in zip(lines, done, strict=True)} == lines


def test_both_gone_is_still_the_same_failure() -> None:
    with broken("full disk") as full:
        assert orbitnode("dictionary", "--json", out=full, err=full).returncode == 1


CRASHING = """
import sys, types
from importlib.metadata import EntryPoint
from flight import cli
module = types.ModuleType("crashing")
loops = {"batch": False, "loop": True, "asked, batch": lambda args: False, "asked, loop": lambda args: True}
module.HELP, module.LOOP = "crashes", loops[sys.argv[1]]
module.add_arguments = lambda parser: None
def execute(args):
    print("said before", file=sys.stderr)
    print(type(sys.stdout).__name__)
    raise ZeroDivisionError("by nothing")
module.execute = execute
sys.modules["crashing"] = module
cli.installed_commands = lambda: {"crash": cli.Command(EntryPoint("crash", "crashing", cli.GROUP))}
cli.Command.load = lambda self: module
sys.exit(cli.main(["crash"]))
"""


@pytest.mark.parametrize("kind", ["batch", "loop", "asked, batch", "asked, loop"])
def test_a_crash_is_one_line_for_a_loop_as_for_a_batch(kind: str, tmp_path: Path) -> None:
    code = f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}\n" + CRASHING
    done = orbitnode(kind, code=code)
    first, second = done.stderr.splitlines()
    assert (done.returncode, first) == (1, "said before")
    assert (done.stdout == "LogSink\n") == kind.endswith("loop")
    assert second.startswith("orbitnode: error: unexpected ZeroDivisionError: by nothing; the traceback is in ")
    with broken("full disk") as full:
        assert orbitnode(kind, code=code, err=full).returncode == 1


def test_a_file_opened_by_a_command_never_stands_under_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What is printed past Python, by a library in C, would go into that file."""
    code = f"""
import os, sys
from flight.linux.log_sink import open_standard_descriptors
assert open_standard_descriptors() and not open_standard_descriptors()
print("to nowhere")
print("to nowhere", file=sys.stderr)
with open({str(tmp_path / "journal")!r}, "w") as file:
    assert file.fileno() > 2
assert [os.readlink(f"/proc/self/fd/{{n}}") for n in (1, 2)] == ["/dev/null"] * 2
"""
    assert orbitnode(out=None, err=None, code=code).returncode == 0
    assert (tmp_path / "journal").read_bytes() == b""


def test_a_command_that_follows_ends_with_its_reader_though_there_is_nothing_new_to_write() -> None:
    code = "from ground.cli.api.client import pace\nfor _ in pace(0.01): pass"
    with broken("reader gone") as out:
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=out, stderr=subprocess.PIPE, text=True, timeout=GIVE_UP_S,
            check=False,
        )  # fmt: skip
    assert ended.stderr.splitlines()[-1] == "BrokenPipeError"
