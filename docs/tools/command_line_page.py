"""The reference page of the command line, from the parsers of the commands.

The page is made of argparse's actions, not of its help texts: those are broken at the terminal's width, and written
differently by each minor version of Python.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import cast

from docs.tools.markdown import LINE_BREAK, code, plain, table
from flight.cli import CommandModule, Parser

_ROOT = Path(__file__).resolve().parents[2]
_INTRODUCTION = """\
Every subcommand of `orbitnode`, with what `--help` says of it. `orbitnode --version` says which one is installed.

Exit codes: 0 fine, 1 failed, 2 wrong use (the command line is wrong by itself), 70 ended by the watchdog, 130
interrupted."""


def command_line_page() -> str:
    """Return the page's text."""
    return "\n\n".join(["# Command line", _INTRODUCTION, *(_command(name, module) for name, module in _modules())])


def _modules() -> Iterator[tuple[str, CommandModule]]:
    """Return the commands of this project, in its own order. Those that other distributions install are not asked."""
    with (_ROOT / "pyproject.toml").open("rb") as file:
        entries = tomllib.load(file)["project"]["entry-points"]["orbitnode.commands"]
    for name, module in entries.items():
        yield name, cast("CommandModule", import_module(module))


def _command(name: str, module: CommandModule) -> str:
    parser = Parser(prog=f"orbitnode {name}", description=module.HELP)
    module.add_arguments(parser)
    parts = [f"## orbitnode {name}", f"{_sentence(module.HELP)}\n\n```text\n{_usage(parser)}\n```"]
    for title, actions in _groups(parser):
        parts += [f"{title}:"] if title else []
        parts.append(table(("argument", "what it is"), [_row(action) for action in actions]))
    if parser.epilog:
        parts.append(f"```text\n{parser.epilog}\n```")
    return "\n\n".join(parts)


def _groups(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[argparse.Action]]]:
    """Return the arguments by group: argparse's own two without a title, then each group of the command."""
    usual: list[argparse.Action] = []
    groups: list[tuple[str, list[argparse.Action]]] = [("", usual)]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if not isinstance(action, argparse._HelpAction)]
        if group.title in ("positional arguments", "options"):
            usual += actions
        else:
            groups.append((group.title or "", actions))
    yield from (group for group in groups if group[1])


def _sentence(text: str) -> str:
    return plain(f"{text[0].upper()}{text[1:]}.")


def _usage(parser: argparse.ArgumentParser) -> str:
    words = [parser.prog]
    positionals = [action for action in parser._actions if not action.option_strings]
    words += ["[OPTION ...]", *(_occurrences(action) for action in positionals)]
    return " ".join(words)


def _occurrences(action: argparse.Action) -> str:
    name = _metavar(action)
    if action.nargs in ("?", argparse.OPTIONAL):
        return f"[{name}]"
    if action.nargs == "*":
        return f"[{name} ...]"
    if action.nargs == "+":
        return f"{name} [{name} ...]"
    return name


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    return action.dest.upper() if action.option_strings else action.dest


def _row(action: argparse.Action) -> tuple[str, str]:
    """Return an argument and its help, which says its default itself."""
    if not action.option_strings:
        names = code(_metavar(action))
    elif action.nargs == 0:
        names = LINE_BREAK.join(map(code, action.option_strings))
    else:
        names = LINE_BREAK.join(code(f"{option} {_metavar(action)}") for option in action.option_strings)
    values = dict(vars(action), prog="orbitnode")
    text = plain((action.help or "") % values)
    if action.choices:
        text += f": {', '.join(code(choice) for choice in action.choices)}"
    return names, text
