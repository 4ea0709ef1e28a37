"""The command `orbitnode`: finds its subcommands by entry point, runs one, and turns every end into an exit code.

A command is a module named in the entry-point group `orbitnode.commands`, also of another distribution. It offers
`HELP` (one line, a plain string), `add_arguments(parser)` and `execute(args) -> int`. A module that runs a loop says
`LOOP = True`: its output goes through sinks that never wait (flight/linux/log_sink.py). If only some of its command
lines run a loop, `LOOP` is a function of the arguments that says whether this one does.

Exit codes:

    0      fine
    1      failed
    2      wrong use: the command line is wrong by itself, whatever files, node and ground say
    70     ended by the watchdog (`flight`)
    130    interrupted
"""

# Only the chosen command is imported. Help texts are read from the sources, so that the list is quick, and complete on
# a board without extras (ADR 0010). A package that the chosen command misses becomes one line that names the extra.
#
# What becomes of stderr changes no exit code, since progress and errors are not the result. A result that stdout does
# not take is a failure, also if stdout was closed from the start (`>&-`): its descriptor then stands on /dev/null, so
# that no file is opened under its number, and what is written there is lost. A loop prints no result, and goes on. If
# the reader of a pipe has left (`| head`), the command fails too, but says nothing about it.
#
# Where an error ends: OrbitnodeError and HalError have a message for people and become one line. What the system
# refused (a full disk, a limit) becomes one line with a remedy (flight/linux/surroundings.py). Anything else is a
# crash: one line for the person, and the traceback in a file for whoever mends it.

from __future__ import annotations

import argparse
import ast
import gc
import io
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points, requires
from importlib.util import find_spec
from typing import Any, NoReturn, Protocol, TextIO, cast

from flight import __version__
from flight.core.errors import OrbitnodeError, SetupError, UsageError
from flight.core.guarded_stream import GuardedStream
from flight.linux.log_sink import diverted, open_standard_descriptors
from flight.linux.surroundings import refusal_text
from flight.text.plain_text import plain, plain_lines
from hal.base import HalError

GROUP = "orbitnode.commands"
FAILED, INTERRUPTED = 1, 130

# Packages that are not installed under the name by which they are imported.
_DISTRIBUTIONS = {"PIL": "pillow", "serial": "pyserial", "yaml": "pyyaml"}


class CommandModule(Protocol):
    """What the module of a command offers."""

    HELP: str

    # and, if it runs a loop: LOOP = True, or a function of the arguments

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's options and arguments to `parser`."""

    def execute(self, args: argparse.Namespace) -> int:
        """Run the command, and return its exit code."""


@dataclass(frozen=True, slots=True)
class Command:
    """One installed subcommand, not imported yet."""

    entry: EntryPoint

    @property
    def name(self) -> str:
        """What the command is called on the command line."""
        return self.entry.name

    def help_text(self) -> str:
        """Return the module's HELP, read from its source without running it; empty if it cannot be found."""
        try:
            spec = find_spec(self.entry.module)
            if spec is None or spec.origin is None:
                return ""
            with open(spec.origin, encoding="utf-8") as source:
                tree = ast.parse(source.read())
        except (ImportError, OSError, SyntaxError, ValueError):
            return ""
        return next((text for node in tree.body if (text := _help_constant(node)) is not None), "")

    def load(self) -> CommandModule:
        """Import the module. A missing package raises SetupError that names the extra to install."""
        try:
            return cast("CommandModule", self.entry.load())
        except ModuleNotFoundError as missing:
            raise self.lacks(missing) from missing

    def lacks(self, missing: ModuleNotFoundError) -> SetupError:
        """Return the error for a package that the command needs and does not find, as it is loaded or later."""
        return SetupError(f"{self.name}: {self._remedy(missing.name or str(missing))}")

    def _remedy(self, module: str) -> str:
        distribution = self.entry.dist.name if self.entry.dist is not None else "orbitnode"
        top = module.partition(".")[0]
        needed = _DISTRIBUTIONS.get(top, top)
        extras = extras_with(needed, requires(distribution) or [])
        if not extras:
            return f"the module {module!r} is not installed"
        # Several extras may bring the package: the one that is named after the command's own folder fits best.
        own = self.entry.module.partition(".")[0].partition("_")[0].rstrip("s")
        extra = own if own in extras else extras[0]
        return f"{needed} is not installed; run: pip install '{distribution}[{extra}]'"


def _help_constant(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Assign):
        targets: Sequence[ast.expr] = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = (node.target,)
    else:
        return None
    if any(isinstance(target, ast.Name) and target.id == "HELP" for target in targets):
        value = node.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return None


def extras_with(distribution: str, requirements: Sequence[str]) -> list[str]:
    """Return the extras, sorted, whose requirements name `distribution`."""

    def normal(name: str) -> str:  # PEP 503: names of distributions are equal in this form
        return re.sub(r"[-_.]+", "-", name).lower()

    found = set()
    for requirement in requirements:
        name, _, marker = requirement.partition(";")
        project = re.match(r"\s*([A-Za-z0-9._-]+)", name)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        if project and extra and normal(project[1]) == normal(distribution):
            found.add(extra[1])
    return sorted(found)


def installed_commands() -> dict[str, Command]:
    """Return every command by name, sorted. Of two with one name the first one found counts."""
    commands: dict[str, Command] = {}
    for entry in entry_points(group=GROUP):
        commands.setdefault(entry.name, Command(entry))
    return dict(sorted(commands.items()))


class Parser(argparse.ArgumentParser):
    """A parser whose messages are plain text: an argument, such as the name of a file, may hold anything."""

    def error(self, message: str) -> NoReturn:
        """Print usage and `message`, made plain, and exit with 2."""
        super().error(plain(message))


def _front_parser(commands: dict[str, Command], with_help: bool) -> argparse.ArgumentParser:
    parser = Parser(prog="orbitnode", description="Flight software for a compute node in orbit.")
    parser.add_argument("--version", action="version", version=f"orbitnode {__version__}")
    parser.set_defaults(command="")
    names = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command in commands.values():
        names.add_parser(command.name, help=command.help_text() if with_help else None, add_help=False)
    return parser


def _execute(argv: Sequence[str], streams: ExitStack) -> int:
    commands = installed_commands()
    chosen = commands.get(argv[0]) if argv else None
    if chosen is None and argv and not argv[0].startswith("-"):
        from flight.core.config import suggestion  # a command line that is right does without

        front = Parser(prog="orbitnode", usage="orbitnode [-h] [--version] COMMAND ...")
        front.error(f"unknown command {argv[0]!r}, {suggestion(argv[0], commands)}")
    if chosen is None:
        parser = _front_parser(commands, with_help=True)
        parser.parse_args(argv)
        # Only an empty command line gets here: everything else was help, the version or wrong use, and has exited.
        parser.print_usage(sys.stderr)
        sys.stderr.write("orbitnode: error: which command? `orbitnode --help` lists them\n")
        return 2
    module = chosen.load()
    loop: bool | Callable[[argparse.Namespace], bool] = getattr(module, "LOOP", False)
    if loop is True:
        streams.enter_context(diverted())  # it lasts until main has written its last line
    parser = Parser(prog=f"orbitnode {chosen.name}", description=module.HELP)
    module.add_arguments(parser)
    # Intermixed, since an option may stand between the words of `cmd NAME --raw key=value`.
    given = parser.parse_intermixed_args(argv[1:])
    if callable(loop) and loop(given):
        streams.enter_context(diverted())
    try:
        return module.execute(given)
    except UsageError as error:
        parser.error(str(error))
    except ModuleNotFoundError as missing:
        raise chosen.lacks(missing) from missing


def _report_crash(error: Exception) -> None:
    """Print one line for the person, and write the whole traceback into a file for whoever mends it."""
    summary = f"unexpected {type(error).__name__}: {error}".splitlines()[0]
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="orbitnode-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"orbitnode {__version__}, Python {sys.version}\n{sys.argv}\n")
            traceback.print_exception(error, file=file)
        where = f"the traceback is in {file.name}"
    except OSError as refused:
        where = f"the traceback could not be written ({refused})"
    sys.stderr.write(plain(f"orbitnode: error: {summary}; {where}") + "\n")


class _Stdout:
    """Standard output, whose faults can be told from those of any other file.

    They are raised as OrbitnodeError, or as BrokenPipeError if the reader of a pipe went away.
    """

    def __init__(self, stream: TextIO, *, is_closed: bool) -> None:
        self._stream = stream
        self._is_closed = is_closed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write `text`. Raises OrbitnodeError or BrokenPipeError if stdout does not take it."""
        if self._is_closed and text:
            raise OrbitnodeError("stdout takes no more: it is closed")
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OrbitnodeError(f"stdout takes no more: {error.strerror}") from error

    def flush(self) -> None:
        """Write what is buffered. Raises as `write` does."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OrbitnodeError(f"stdout takes no more: {error.strerror}") from error


def _settle(stream: TextIO) -> None:
    """Drop what the stream does not take. Python would try once more at exit, and replace the exit code by 120."""
    try:
        stream.flush()
    except OSError:
        try:
            # What is buffered can only be written, not dropped: so it is written to where it vanishes.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
            stream.flush()
        except OSError:  # no descriptor is available, or none is behind the stream: then it is exit code 120
            pass
    except ValueError:  # the stream is closed
        pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, by default the process's own; return its exit code."""
    is_closed = open_standard_descriptors()
    stdout, stderr = sys.stdout, sys.stderr
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(errors="backslashreplace")  # a character that its encoding lacks must not fail a command
    sys.stdout, sys.stderr = cast("TextIO", _Stdout(stdout, is_closed=is_closed)), cast("TextIO", GuardedStream(stderr))
    try:
        with ExitStack() as streams:
            return _run(sys.argv[1:] if argv is None else argv, streams)
    finally:
        sys.stdout, sys.stderr = stdout, stderr
        _settle(stdout)
        _settle(stderr)
        if argv is None:
            gc.freeze()  # the process ends, and a last search for garbage in all of it would take 0.1 s


def _run(argv: Sequence[str], streams: ExitStack) -> int:
    try:
        code = _execute(argv, streams)
        sys.stdout.flush()
    except (OrbitnodeError, HalError) as error:
        sys.stderr.write(plain_lines(f"orbitnode: error: {error}") + "\n")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe (`| head`) went away, and need not be told
        return FAILED
    except Exception as error:  # noqa: BLE001 - the last line of defence of a command-line program
        refused = refusal_text(error)
        if refused is None:
            _report_crash(error)
        else:
            sys.stderr.write(plain(f"orbitnode: error: {refused}") + "\n")
        return FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
