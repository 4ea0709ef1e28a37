"""Texts of others on their way to a terminal, a log, a table: harmless at one place, and no way past it."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

import pytest
from rich.table import Table
from rich.text import Text

from flight.cli import Parser, main
from flight.core.log import node_log
from flight.text.plain_stream import PlainStream
from flight.text.plain_text import json_text, plain, plain_lines, plain_values
from ground.cli.dictionary import plain_xml
from ground.cli.terminal.console import PlainConsole
from ground.cli.terminal.step_lines import PlainLines
from ground.procedures.steps import SEND, WAIT_FOR, Step
from sim_hw.report.closing_table import ROWS, closing_table

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path for folder in ("flight", "hal", "payloads", "ground", "sim_hw") for path in (ROOT / folder).rglob("*.py")
)
EVIL = "\x1b[2J\x1b]0;owned\x07a\r\nb\x7f\x9b31m\u2028c\u202ed\u2066e\u200f\x00f\udc80 [bold red]g[/] :skull:"
SHOWN = r"\x1b[2J\x1b]0;owned\x07a\r\nb\x7f\x9b31m\u2028c\u202ed\u2066e\u200f\x00f\udc80 [bold red]g[/] :skull:"


def is_harmless(text: str) -> bool:
    """Whether it is a text of lines without anything that a terminal or a reader could take for more."""
    return all(c.isprintable() or c == "\n" or unicodedata.category(c) == "Zs" for c in text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("charge 30 %", "charge 30 %"),
        ("Überlast: 漢字 ± µm 🛰", "Überlast: 漢字 ± µm 🛰"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
        (EVIL, SHOWN),
        ("back\\slash", "back\\slash"),
    ],
)
def test_a_text_as_one_line(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert plain_values({text: [text, 1, None, {"x": text}]}) == {shown: [shown, 1, None, {"x": shown}]}


@pytest.mark.campaign
def test_every_character_there_is() -> None:
    for number in range(0x11_0000):
        character = chr(number)
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            assert re.fullmatch(r"\\([tnr]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", plain(character)), number
        assert is_harmless(plain(character)) and "\n" not in plain(character)


def test_further_lines_of_a_text_are_indented() -> None:
    assert plain_lines("table t: 2 faults\n  t:1: x\n  t:2: y") == "table t: 2 faults\n  t:1: x\n  t:2: y"
    assert plain_lines("x\norbitnode: error: forged\r\n") == "x\n  orbitnode: error: forged\\r\n  "


def test_json_is_faithful_and_visible() -> None:
    every = "".join(map(chr, range(0x3000))) + EVIL
    for indent in (None, 2):
        text = json_text({every: [every]}, indent=indent)
        assert json.loads(text) == {every: [every]} and text.isascii() and is_harmless(text)


def test_a_document_of_xml_keeps_its_lines_and_shows_the_rest_by_number() -> None:
    assert plain_xml('<a b="\x9b\u202e">\n\té\x7f</a>\n') == '<a b="&#155;&#8238;">\n\té&#127;</a>\n'
    assert plain_xml("<a>é\x7f</a>", "ascii") == "<a>&#233;&#127;</a>"


# The console


def printed(console: PlainConsole, what: object) -> str:
    with console.capture() as seen:
        console.print(what)
    return seen.get()


@pytest.mark.parametrize("terminal", [False, True])
def test_what_a_console_prints_is_text(terminal: bool) -> None:
    """Also what was not made plain before: as a text, as a cell, as a title and with a style."""
    console = PlainConsole(force_terminal=terminal, width=400)
    table = Table(title=EVIL, caption=EVIL, box=None)
    table.add_column(EVIL)
    table.add_row(EVIL)
    for what in (EVIL, table, Text(EVIL, "bold red"), Text.assemble("a ", (EVIL, "green"))):
        seen = re.sub(r"\x1b\[[\d;]*m", "", printed(console, what))
        assert is_harmless(seen) and all(part in seen for part in ("g[/]", ":skull:", r"\x1b[2J")), repr(seen)


def test_styles_of_ours_reach_a_terminal() -> None:
    console = PlainConsole(force_terminal=True, width=80, color_system="standard", legacy_windows=False, _environ={})
    assert printed(console, Text.assemble("a ", ("b", "green"))) == "a \x1b[32mb\x1b[0m\n"


def test_steps_of_a_procedure(capsys: pytest.CaptureFixture[str]) -> None:
    lines = PlainLines(lambda _: "2026-11-29T13:30:02.333Z")
    lines.step(Step(SEND, EVIL, 0.0, values={EVIL: EVIL}, outcome="completed", reason=EVIL))
    lines.step(Step(WAIT_FOR, EVIL, 0.0, values={EVIL: EVIL}, outcome="came"))
    lines.end(EVIL, "failed", EVIL, commands=1, took_s=1.0)
    shown = capsys.readouterr().out
    assert is_harmless(shown) and shown.count("\n") == 3 and shown.count("[bold red]g[/]") == 8


def test_the_table_that_closes_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim_hw.report.closing_table.ROWS", (("x", lambda _: EVIL), ("y", lambda _: "a\nb")))
    assert ROWS
    shown = printed(PlainConsole(width=400), closing_table(EVIL, {EVIL: {}, "b": {}}))
    assert is_harmless(shown) and SHOWN.partition(" ")[0] in shown


def test_what_the_code_of_others_prints_keeps_its_lines_and_tabs() -> None:
    stream = io.StringIO()
    made = cast("TextIO", PlainStream(stream))
    print(f"a\tb\n{EVIL}", file=made)
    made.writelines(["c\r\n", "d\x1b\n"])
    assert not made.isatty() and made.getvalue() == stream.getvalue()  # type: ignore[attr-defined]
    shown = SHOWN.replace(r"\n", "\n")
    assert stream.getvalue() == f"a\tb\n{shown}\nc\\r\nd\\x1b\n"


# The log


def test_a_log_for_people() -> None:
    stream = io.StringIO()
    log = node_log("n", lambda: 0, stream)
    log.warning(EVIL, reason=EVIL, values=[EVIL], plain=EVIL.replace(" ", ""))
    (line,) = stream.getvalue().split("\n")[:-1]
    assert is_harmless(line) and line.count("owned") == 4


def test_a_log_for_programs_is_faithful() -> None:
    stream = io.StringIO()
    node_log("n", lambda: 0, stream, form="json").warning(EVIL, reason=EVIL)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["reason"]) == (EVIL, EVIL) and is_harmless(stream.getvalue())


def test_no_line_of_a_traceback_begins_like_one_of_the_log() -> None:
    stream = io.StringIO()
    try:
        raise ValueError(f"x\n2026-03-20T09:35:00.005Z [info] forged\n{EVIL}")
    except ValueError as error:
        node_log("n", lambda: 0, stream).error("task failed", exc_info=error)
    first, *others = stream.getvalue().rstrip("\n").split("\n")
    assert first.startswith("1") and all(line.startswith("  ") for line in others)
    assert is_harmless(stream.getvalue()) and "ValueError: x" in stream.getvalue()


# Errors


def test_wrong_use_and_errors_are_harmless(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    name = EVIL.replace("\x00", "").replace("/", "")
    with pytest.raises(SystemExit):
        Parser(prog="x").parse_args([name])
    assert main(["procedure", "run", str(tmp_path / name)]) == 1
    assert main(["decode", str(tmp_path / name)]) == 1
    shown = capsys.readouterr().err
    errors = [line for line in shown.split("\n") if "error: " in line]
    assert is_harmless(shown) and len(errors) == 3 and all(r"\x1b[2J" in line for line in errors)


def test_a_crash_is_harmless(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_argv: object, _streams: object) -> int:
        raise ZeroDivisionError(EVIL)

    monkeypatch.setattr("flight.cli._execute", crash)
    assert main([]) == 1
    shown = capsys.readouterr().err
    assert is_harmless(shown) and shown.startswith(r"orbitnode: error: unexpected ZeroDivisionError: \x1b[2J")
    os.unlink(shown.rpartition(" ")[2].strip())


# No way past it

_PLAIN = {"plain", "plain_lines", "plain_xml", "json_text"}
# What is built, not run; and the two that hand on what others made.
_EXEMPT = {"flight/kernels/tables.py"}


def is_plain(node: ast.expr) -> bool:
    """Whether an expression is a text of ours, or one that was made plain."""
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name):
            return name in ("CLEAR_LINE", "CLEAR_SCREEN")
        case ast.IfExp(body=first, orelse=second) | ast.BinOp(left=first, op=ast.Add(), right=second):
            return is_plain(first) and is_plain(second)
        case ast.Call(func=ast.Name(id=name)):
            return name in _PLAIN
    return False


def ways_past(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The lines that print what may be anything, and those that reach rich past the console."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    typed = {id(one) for block in blocks for one in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("print", "sys.stdout.write", "sys.stderr.write") and not all(map(is_plain, node.args)):
                yield node.lineno, f"prints {', '.join(map(ast.unparse, node.args))}"
            if name == "TextColumn" and not any(one.arg == "markup" for one in node.keywords):
                yield node.lineno, "a column of progress with markup"
        elif isinstance(node, ast.ImportFrom) and id(node) not in typed:
            wrong = [one.name for one in node.names if one.name in ("Console", "print", "escape")]
            if (node.module or "").partition(".")[0] == "rich" and wrong:
                yield node.lineno, f"imports {', '.join(wrong)} of {node.module}"


def test_nothing_is_printed_past_it() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in FILES
        if path.relative_to(ROOT).as_posix() not in (*_EXEMPT, "ground/cli/terminal/console.py")
        for line, what in ways_past(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_that_check_bites() -> None:
    for text in (
        "print(name)", "print(f'{name}')", "sys.stderr.write('a' + name)", "print(json.dumps(x))",
        "from rich.console import Console", "from rich.markup import escape", "TextColumn('{task.description}')",
    ):  # fmt: skip
        assert list(ways_past(ast.parse(text))), text
    for text in (
        "print()", "print('a', end='')", "print(plain(x) if y else json_text(z), file=sys.stderr)",
        "if TYPE_CHECKING:\n    from rich.console import Console", "from rich.table import Table",
    ):  # fmt: skip
        assert not list(ways_past(ast.parse(text))), text
