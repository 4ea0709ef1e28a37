"""`orbitnode parameters`: list the on-board parameters, pack a table of them into a file, load one into the node."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flight.contract.dictionary import Dictionary, Setting
from flight.contract.fields import ROWS_MAX as TC_ROWS_MAX
from flight.contract.fields import FieldError
from flight.contract.parameter_table import ROWS_MAX, admit, encode_table
from flight.core.config import out_of_order, suggestion
from flight.core.errors import OrbitnodeError, reason_of
from flight.core.toml_lines import TomlLines, read_toml
from flight.text.plain_text import json_text, plain
from flight.text.plural import counted, plural
from ground.cli.api.client import GroundClient, add_connection_arguments, age, output
from ground.cli.cmd import command
from ground.cli.dictionary import read_dictionary
from ground.config import API_PORT
from ground.operator import COMPLETED
from ground.whole_file import whole_file

HELP = "list on-board parameters, pack a table of them, load it into the node"

# A table is checked as a whole before anything is sent, and every fault is reported with its line. The node checks it
# again and takes all of it or nothing; finding faults here saves a pass, not the check on board. `load` is three steps,
# each only if the one before it completed: the file goes up, a command makes it take effect, and a report shows what is
# in force now. `pack` needs no ground process, so it reads the parameters from a mission or a dictionary file.

_SILENCE_S = 30.0  # a table is a few octets: if none of them arrives for so long, there is no contact

_ACTIONS = {
    "list": "every parameter with its newest value, bounds and default",
    "pack": "turn a file of lines name = value into the file that the node takes",
    "load": "pack a table, send it up and put it into effect, all of it or nothing",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode parameters`."""
    actions = "; ".join(f"{name}: {text}" for name, text in _ACTIONS.items())
    parser.add_argument("action", choices=tuple(_ACTIONS), metavar="|".join(_ACTIONS), help=actions)
    parser.add_argument("table", nargs="?", type=Path, metavar="TABLE.toml", help="what to pack or load")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="pack: the file to write")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--mission", type=Path, metavar="FILE",
                        help="pack: with the parameters of this mission (default: the bench mission)")  # fmt: skip
    source.add_argument("--dictionary", type=Path, metavar="FILE",
                        help="pack: with those of this dictionary (from `orbitnode dictionary --json`)")  # fmt: skip
    add_connection_arguments(parser)
    parser.set_defaults(parser=parser)


def execute(args: argparse.Namespace) -> int:
    """List, pack or load. Return 0, or 1 if a command of `load` did not complete.

    Raises OrbitnodeError for a table with faults, a file that cannot be read or written, and if no ground answers.
    """
    if (args.table is None) != (args.action == "list"):
        args.parser.error(f"{args.action} takes {'no table' if args.action == 'list' else 'a TABLE.toml'}")
    if (args.out is None) == (args.action == "pack"):
        args.parser.error("pack takes -o FILE, no other action does")
    if args.action == "pack":
        if args.port != API_PORT:
            args.parser.error("--port belongs to list and load; pack asks no ground")
        return _pack(args)
    for name in ("mission", "dictionary"):
        if getattr(args, name) is not None:
            # What is listed or loaded is of the node whose ground is asked, and not of a file here.
            args.parser.error(f"--{name} belongs to pack; {args.action} asks the ground on --port")
    with GroundClient(args.port, faithful=args.json) as client:
        rows: list[dict[str, Any]] = client.ask(do="parameters")["parameters"]
        return _list(rows, args.json) if args.action == "list" else _load(client, rows, args)


def read_table(path: Path, settings: Sequence[Setting]) -> dict[str, float]:
    """Return the values by name from a file of lines `name = value`.

    Raises OrbitnodeError, whose text lists every fault with its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = read_toml(text, str(path))
    except OSError as error:
        raise OrbitnodeError(f"table {path} cannot be read: {reason_of(error)}") from None
    except UnicodeDecodeError:
        raise OrbitnodeError(f"table {path} cannot be read: it is not UTF-8 text") from None
    except ValueError as error:
        raise OrbitnodeError(str(error)) from None
    known = {setting.name: setting for setting in settings}
    lines = TomlLines(text)
    values: dict[str, float] = {}
    faults: list[tuple[int, str]] = []
    for name, value in table.items():
        line = lines.find((name,)) or 1  # not found if the key is spelled in an unusual way: then the first line
        if name not in known:
            faults.append((line, f"{name}: unknown parameter, {suggestion(name, known)}"))
            continue
        try:
            values[name] = admit(known[name], value)
        except FieldError as error:
            faults.append((line, str(error)))
    faults += [(lines.find((low,)) or 1, text) for low, text in _contradictions(settings, values)]
    if not table:
        faults.append((1, "no parameter is named, expected lines such as name = value"))
    if len(values) > ROWS_MAX:
        faults.append((1, f"{len(values)} parameters, a table has {ROWS_MAX} at most"))
    if faults:
        count = f"{len(faults)} {plural(len(faults), 'fault')}"
        raise OrbitnodeError("\n  ".join([f"table {path}: {count}", *(f"{path}:{n}: {t}" for n, t in sorted(faults))]))
    return values


def _contradictions(settings: Sequence[Setting], values: dict[str, float]) -> list[tuple[str, str]]:
    """Return each parameter that is not below the one it must stay below, with the text of the fault."""
    pairs = out_of_order({setting.name: setting.below for setting in settings}, values)
    return [(low, f"{low}: is {values[low]:g}, should be below {high}, {values[high]:g}") for low, high in pairs]


def _pack(args: argparse.Namespace) -> int:
    dictionary = _mission_dictionary(args.mission) if args.dictionary is None else read_dictionary(args.dictionary)
    octets = encode_table(dictionary.settings, read_table(args.table, dictionary.settings))
    with whole_file(args.out) as stream:
        stream.write(octets)
    written = {"file": str(args.out), "octets": len(octets)}
    print(json_text(written) if args.json else plain(f"{args.out}: {len(octets)} octets"))
    return 0


def _mission_dictionary(path: Path | None) -> Dictionary:
    from flight.catalogue import dictionary_of
    from flight.mission import MISSIONS, load

    return dictionary_of(load(MISSIONS / "bench.toml" if path is None else path, opens_devices=False))


def _load(client: GroundClient, rows: list[dict[str, Any]], args: argparse.Namespace) -> int:
    """Send the table up, load it, and have the node report what is then in force. Return 1 if one of these fails."""
    from ground.products.names import safe_name

    # The ground's parameters, not those of a mission file here: they are the ones of the node that is being commanded.
    settings = [Setting(**{key: value for key, value in row.items() if key != "latest"}) for row in rows]
    values = read_table(args.table, settings)
    octets = encode_table(settings, values)
    name = safe_name(f"{args.table.stem}.table")
    console = output()
    last: dict[str, Any] = {}
    for last in client.lines(do="files_put", name=name, octets=octets.hex(), timeout_s=_SILENCE_S):
        if args.json:
            print(json_text(last), flush=True)
        elif "there" in last:
            console.print(f"{name}: {last['there']} of {counted(last['of'], 'octet')} there")
    if last["outcome"] != COMPLETED:
        if not args.json:
            console.print(f"{name}: {last['reason']}", style="red", soft_wrap=True)
        return 1
    if not args.json:
        console.print(f"{name}: the node has {counted(last['octets'], 'octet')}", soft_wrap=True)
    if not command(client, {"name": "load_parameter_table", "arguments": {"name": name}}, args.json):
        return 1
    names = list(values) if len(values) <= TC_ROWS_MAX else []  # more than one command can name: an empty list is all
    return 0 if command(client, {"name": "report_parameters", "arguments": {"parameters": names}}, args.json) else 1


def _list(rows: list[dict[str, Any]], as_json: bool) -> int:
    if as_json:
        print(json_text(rows))
        return 0
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("parameter", "value", "last reported", "unit", "default", "bounds", "must be below", "meaning"):
        table.add_column(column, justify="right" if column in ("value", "last reported", "default") else "left")
    for row in rows:
        latest = row["latest"]
        value, reported = "-", "never"
        if latest is not None:
            value, reported = f"{float(latest['value']):g}", f"{age(latest['age_s'])} ago"
        bounds = f"{row['minimum']:g} .. {row['maximum']:g}"
        table.add_row(
            row["name"], value, reported, row["unit"], f"{row['default']:g}", bounds, row["below"], row["text"]
        )
    output().print(table)
    return 0
