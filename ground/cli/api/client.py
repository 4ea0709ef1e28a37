"""What every client of the ground process shares: a connection to it and its JSON lines. Edge code.

A connection begins by showing the ground's token (ground/server/api_token.py). The token is read from its file; the
operator is not asked for anything.
"""

# A client imports the contract, its own room, and from the server only how a request and a token look. A command such
# as `cmd` must start in a fraction of a second, and what a node needs (its services, numpy, rich) takes several times
# as long to load as a command to be answered. So rich is imported only when something is shown, and
# `tests/unit/test_layout.py` holds the list of what may not be loaded.

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from flight.core.errors import OrbitnodeError
from flight.text.plain_text import plain, plain_values
from ground.config import API_PORT
from ground.server.api_token import read_token
from ground.server.requests import LINE_OCTETS_MAX

if TYPE_CHECKING:
    from rich.console import Console

CONNECT_S = 5.0
HELLO_S = 60.0  # a ground that is silent for this long counts as lost; a busy one may take a while
_STDOUT = 1
_PIPE_COLUMNS = 400  # a file or a pipe has no right edge at which a line would have to be cut


def add_connection_arguments(parser: argparse.ArgumentParser, *, by_mission: str = "") -> None:
    """Add `--port` and `--json`, the same for every command that asks the ground process.

    by_mission: for a command that reads a mission and takes the port from that, None here; who takes `--port` at all.
    """
    default = f"API port of the ground process (default {API_PORT})"
    help = f"{by_mission}: API port of the ground process (default: the mission's ground.api_port)"
    parser.add_argument(
        "--port", type=_port, default=None if by_mission else API_PORT, metavar="N",
        help=help if by_mission else default,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object per line, for machines")


def _port(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port number in 1 .. 65535")
    return int(text)


def output() -> Console:
    """Return the console for results: as wide as the terminal; lines into a file or a pipe are not cut."""
    from ground.cli.terminal.console import PlainConsole

    return PlainConsole(file=sys.stdout, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)


def age(seconds: float) -> str:
    """Return an age in seconds as people read it, such as `3.2 s`, `15 min` or `4.0 h`."""
    if seconds < 120:
        # What has just come may be ahead of the clock that it is compared with: an age is never shown below 0.
        return f"{max(0.0, seconds):.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def pace(every_s: float) -> Iterator[None]:
    """Yield now and then every `every_s` seconds; at once if the caller took longer than that.

    Raises BrokenPipeError once nobody reads stdout any more: with nothing new to show, no write would find out.
    """
    reader = select.poll()
    reader.register(_STDOUT, 0)  # its end is told without being asked for
    next_s = time.monotonic()
    while True:
        yield
        # Not a plain sum: after a slow round the rounds that were missed are left out, not made up for in a burst.
        next_s = max(next_s + every_s, time.monotonic())
        ended = reader.poll(max(0.0, next_s - time.monotonic()) * 1000)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in ended):
            raise BrokenPipeError
        time.sleep(max(0.0, next_s - time.monotonic()))


class GroundLost(OrbitnodeError):
    """The ground process has ended, or no longer answers."""


class GroundClient:
    """One connection to a ground process.

    Raises OrbitnodeError if no ground process answers, its token cannot be read, or it refuses a request.

    Answers are meant for people: their texts are made plain (flight/text/plain_text.py), so that nothing in them can
    act on a terminal. With `faithful` they stay as they are, for programs.
    """

    def __init__(self, port: int, *, faithful: bool = False) -> None:
        if not 1 <= port <= 65535:
            raise OrbitnodeError(f"port {port} is outside 1 .. 65535")
        self._port = port
        self._faithful = faithful
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), CONNECT_S)
        except OSError:
            raise OrbitnodeError(
                f"no ground process on 127.0.0.1:{port}; start one with `orbitnode ground`, or name its --port"
            ) from None
        self._file = self._socket.makefile("rb")
        # Connect first, read the token second: "no ground process" is the better answer if both fail.
        with ExitStack() as undo:
            undo.callback(self.close)
            self.ask_within(HELLO_S, do="hello", token=read_token(port))
            undo.pop_all()  # the connection is open and stays so

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self._socket.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and return the last line of its answer. Raises OrbitnodeError."""
        return list(self.lines(**request))[-1]

    def ask_within(self, limit_s: float, **request: Any) -> dict[str, Any]:
        """Return the answer as `ask` does, with at most `limit_s` seconds for each of its lines.

        Raises GroundLost if a line takes longer. The connection cannot be used afterwards.
        """
        self._socket.settimeout(limit_s)
        try:
            return self.ask(**request)
        finally:
            self._socket.settimeout(None)

    def idle(self, duration_s: float) -> None:
        """Wait `duration_s` seconds. Raises GroundLost if the ground process ends meanwhile."""
        ready, _, _ = select.select([self._socket], [], [], max(0.0, duration_s))
        if ready:  # no request is open, so the only thing that can arrive is the end of the connection
            raise GroundLost("the ground process ended")

    def lines(self, **request: Any) -> Iterator[dict[str, Any]]:
        """Send a request and yield each line of the answer as it comes; the line with "done" is the last.

        Raises OrbitnodeError if the ground refuses the request, GroundLost if it is gone.
        """
        octets = json.dumps(request).encode() + b"\n"
        if len(octets) > LINE_OCTETS_MAX:  # the ground ends a connection on which a longer line arrives
            raise OrbitnodeError(f"the request takes {len(octets)} octets, the ground admits {LINE_OCTETS_MAX} at most")
        try:
            self._socket.sendall(octets)
            for line in self._file:
                answer = json.loads(line)
                if not isinstance(answer, dict):
                    raise ValueError
                if "error" in answer:
                    raise OrbitnodeError(plain(answer["error"]))
                yield answer if self._faithful else plain_values(answer)
                if "done" in answer:
                    return
        except TimeoutError:
            raise GroundLost("the ground process does not answer any more") from None
        except OSError:
            pass  # reset or closed: the same to the caller as the end of the stream below
        except ValueError:
            raise OrbitnodeError(f"the process on 127.0.0.1:{self._port} is not a ground process") from None
        raise GroundLost("the ground process ended")
