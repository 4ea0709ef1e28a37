"""`orbitnode files`: files of the node; list them, send one up, have one sent down, delete them, follow transfers."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from flight.core.errors import OrbitnodeError, reason_of
from flight.text.plain_text import json_text, plain
from ground.cli.api.client import GroundClient, add_connection_arguments, output, pace
from ground.cli.cmd import command, report_rows
from ground.operator import COMPLETED, FAILED
from ground.products.names import safe_name
from ground.whole_file import whole_file

# `put` and `get` are CFDP of class 2 and need no telecommand: what they wait for is the word of the other end that it
# has the file. `get` asks by a proxy put request, which any CFDP entity knows, and by which the file that comes names
# the request for it. `ls` and `rm` are telecommands of ST[23], since CFDP can neither show what a file is worth nor
# delete one without sending another.
#
# A transfer belongs to the ground, not to this command: Ctrl-C ends the wait for it, and nothing else.
#
# The file to be sent is read by the ground process, and the one that came is read here: both are on one machine, as the
# API is reached from no other. LOCAL is a copy of the product, which stays where all products are.

HELP = "list, send, fetch and delete files of the node, and follow transfers"

_ACTIONS = {
    "ls": ("[DIRECTORY]", "list the files of a directory on board, or all"),
    "put": ("LOCAL [REMOTE]", "send a file up, and wait until the node has it"),
    "get": ("REMOTE [LOCAL]", "have a file sent down, and wait until it is here"),
    "rm": ("REMOTE ...", "delete files on board"),
    "progress": ("", "show transfers that are open, and those that ended lately"),
    "suspend": ("TRANSACTION", "let a transfer wait, over contacts and restarts"),
    "resume": ("TRANSACTION", "go on with a transfer that was suspended"),
    "cancel": ("TRANSACTION", "give a transfer up"),
}
_NOTES = (
    "REMOTE is DIRECTORY/NAME, or NAME for one in uploads. TRANSACTION is what `progress` calls a transfer.\n"
    "Ctrl-C ends the wait for a transfer; the transfer goes on, also after a restart of the ground."
)
_DEFAULT_DIRECTORY = "uploads"
_FOLLOW_S = 0.5
_BLOCK_OCTETS = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode files`."""
    # One flat parser: an option may stand anywhere between the words, as it may for every other command.
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    usage = [f"  {f'{name} {words}':24} {text}" for name, (words, text) in _ACTIONS.items()]
    parser.epilog = "\n".join(["actions:", *usage, "", _NOTES])
    parser.add_argument("action", choices=_ACTIONS, metavar="ACTION", help=", ".join(_ACTIONS))
    parser.add_argument("words", nargs="*", metavar="WORD", help="what the action takes, see below")
    parser.add_argument("--class", dest="mode", type=int, choices=(1, 2),
                        help="put: class of CFDP; 2 arrives whole, 1 is sent once (default 2)")  # fmt: skip
    parser.add_argument("--no-wait", action="store_true", help="put, get: begin the transfer and end")
    parser.add_argument("--timeout", type=float, metavar="S",
                        help="put, get: give up if nothing more arrives for so long (default: never)")  # fmt: skip
    parser.add_argument("--missing", action="store_true", help="progress: also the octets that lack, as ranges")
    parser.add_argument("--follow", action="store_true", help="progress: go on showing them, until Ctrl-C")
    add_connection_arguments(parser)
    parser.set_defaults(parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Do the action. Return 0, or 1 if a transfer or a command failed. Raises OrbitnodeError."""
    _check(args)
    with GroundClient(args.port, faithful=args.json) as client:
        match args.action:
            case "ls":
                return _list(client, args)
            case "rm":
                return _delete(client, args)
            case "put":
                return _put(client, args)
            case "get":
                return _get(client, args)
            case "progress":
                return _progress(client, args)
            case action:
                answer = client.ask(do="files_lead", action=action, transaction=args.words[0])
                print(json_text(answer) if args.json else plain(f"{args.words[0]}: {action} done"))
                return 0


def _check(args: argparse.Namespace) -> None:
    """End with the usage for what belongs to another action."""
    fewest, most = {
        "ls": (0, 1), "put": (1, 2), "get": (1, 2), "rm": (1, 1 << 10), "progress": (0, 0),
    }.get(args.action, (1, 1))  # fmt: skip
    if not fewest <= len(args.words) <= most:
        args.parser.error(f"{args.action} takes {_ACTIONS[args.action][0] or 'no words'}")
    for option, is_given, actions in (
        ("--class", args.mode is not None, ("put",)), ("--no-wait", args.no_wait, ("put", "get")),
        ("--timeout", args.timeout is not None, ("put", "get")), ("--missing", args.missing, ("progress",)),
        ("--follow", args.follow, ("progress",)),
    ):  # fmt: skip
        if is_given and args.action not in actions:
            args.parser.error(f"{option} belongs to {' and '.join(actions)}")
    if args.timeout is not None and not 0 < args.timeout <= 86400:
        args.parser.error(f"--timeout {args.timeout:g}: should be above 0 and at most 86400 s")


def split_remote(remote: str) -> tuple[str, str]:
    """Return directory and name of a file on board; without a directory it is in uploads."""
    directory, _, name = remote.removeprefix("/").rpartition("/")
    return directory or _DEFAULT_DIRECTORY, name


def _put(client: GroundClient, args: argparse.Namespace) -> int:
    local = Path(args.words[0])
    if not local.exists():
        raise OrbitnodeError(f"{local} cannot be sent: it is not there")
    name = args.words[1] if len(args.words) > 1 else safe_name(local.name)
    if name.endswith("/"):
        name += safe_name(local.name)
    request: dict[str, Any] = {"do": "files_put", "path": str(local.absolute()), "name": name}
    if args.mode is not None:
        request["class"] = args.mode
    last = _transferred(client, args, request)
    return int(last["outcome"] == FAILED)


def _get(client: GroundClient, args: argparse.Namespace) -> int:
    remote = "/".join(split_remote(args.words[0]))
    last = _transferred(client, args, {"do": "files_get", "name": remote})
    if last["outcome"] == COMPLETED and len(args.words) > 1:
        local = _copy(Path(last["path"]), Path(args.words[1]), remote)
        if not args.json:
            output().print(f"{local}: written", soft_wrap=True)
    return int(last["outcome"] == FAILED)


def _transferred(client: GroundClient, args: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """Begin a transfer, show it until it has ended, and return the last line of the answer."""
    from ground.cli.files.shown import TransferLine, left_text, outcome_text

    if args.no_wait:
        request["wait"] = False
    if args.timeout is not None:
        request["timeout_s"] = args.timeout
    last: dict[str, Any] = {}
    transaction: str | None = None  # the newest: what `get` asks for comes by one of its own
    try:
        with TransferLine(output(), shows=not args.json) as line:
            for last in client.lines(**request):
                transaction = last.get("transaction", transaction)
                if args.json:
                    print(json_text(last), flush=True)
                else:
                    line.update(last)
    except KeyboardInterrupt:
        print(plain(left_text(request["name"], transaction)), file=sys.stderr)
        raise
    if not args.json:
        output().print(outcome_text(last), soft_wrap=True)
    return last


def _copy(came: Path, local: Path, remote: str) -> Path:
    """Write the product that came to where it is wanted, whole or not at all; return where. Raises OrbitnodeError."""
    if local.is_dir():
        local /= safe_name(remote)
    try:
        with came.open("rb") as source, whole_file(local) as target:
            for block in iter(partial(source.read, _BLOCK_OCTETS), b""):
                target.write(block)
    except OSError as error:
        raise OrbitnodeError(f"{remote} came as {came}, which cannot be read here: {reason_of(error)}") from None
    return local


def _list(client: GroundClient, args: argparse.Namespace) -> int:
    """Ask the node what files it has. Return 1 if it does not say."""
    from ground.cli.files.shown import listing

    arguments = {"directory": args.words[0].strip("/") if args.words else ""}
    lines = list(client.lines(do="command", name="list_files", arguments=arguments))
    last = lines[-1]
    rows = report_rows([line["values"] for line in lines if line.get("report") == "directory_contents"])
    if args.json:
        print(json_text({**last, "files": rows}))
    elif last["outcome"] != COMPLETED:
        reason = f": {last['reason']}" if last["reason"] else ""
        output().print(f"list_files {last['outcome']}{reason}", style="red", soft_wrap=True)
    else:
        output().print(listing(rows))
    return int(last["outcome"] != COMPLETED)


def _delete(client: GroundClient, args: argparse.Namespace) -> int:
    """Delete files, one command each. Return 1 if one of them was not deleted."""
    done = True
    for word in args.words:
        directory, name = split_remote(word)
        request = {"name": "delete_file", "arguments": {"directory": directory, "name": name}}
        done = command(client, request, args.json) and done
    return int(not done)


def _progress(client: GroundClient, args: argparse.Namespace) -> int:
    from ground.cli.files.shown import TransferTable

    with TransferTable(output(), as_json=args.json, with_missing=args.missing, live=args.follow) as table:
        for _ in pace(_FOLLOW_S):
            table.show(client.ask(do="files_progress", missing=args.missing)["transfers"])
            if not args.follow:
                return 0
    return 0
