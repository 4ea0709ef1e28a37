"""What all that ask the ground process share: a connection to it and its JSON lines. Edge code.

A connection begins with the token of the ground (ground/server/api_token.py), which is read from its file without
anybody being asked.
"""

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
HELLO_S = 60.0  # a ground that is silent for so long is lost
_PIPE_COLUMNS = 400  # what is no terminal has no right edge


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    """`--port` and `--json`, the same for every command that asks the ground process."""
    parser.add_argument(
        "--port", type=_port, default=API_PORT, metavar="N", help=f"API port of the ground process (default {API_PORT})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for machines")


def _port(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r}, should be in 1 .. 65535")
    return int(text)


def output() -> Console:
    """Where results are shown: as wide as the terminal, and uncut into a file or a pipe."""
    from ground.cli.console import PlainConsole

    return PlainConsole(file=sys.stdout, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)


def age(seconds: float) -> str:
    """How long ago, for people."""
    if seconds < 120:
        return f"{max(0.0, seconds):.1f} s"  # what has just come may be ahead of the clock it is held against
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def pace(every_s: float) -> Iterator[None]:
    """Now, and then again and again: `every_s` after the time before, or at once if that has passed."""
    next_s = time.monotonic()
    while True:
        yield
        next_s = max(next_s + every_s, time.monotonic())
        time.sleep(max(0.0, next_s - time.monotonic()))


class GroundLost(OrbitnodeError):
    """The ground process ended, or does not answer any more."""


class GroundClient:
    """One connection. Raises OrbitnodeError if no ground process answers, its token cannot be had, or it refuses a
    request.

    Answers are for people: their texts are made plain (flight/text/plain_text.py), unless they are to be `faithful`,
    for programs.
    """

    def __init__(self, port: int, *, faithful: bool = False) -> None:
        if not 1 <= port <= 65535:
            raise OrbitnodeError(f"port {port}, should be in 1 .. 65535")
        self._port = port
        self._faithful = faithful
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), CONNECT_S)
        except OSError:
            raise OrbitnodeError(
                f"no ground process on 127.0.0.1:{port}; start one with `orbitnode ground`, or name its --port"
            ) from None
        self._file = self._socket.makefile("rb")
        with ExitStack() as undo:
            undo.callback(self.close)
            self.ask_within(HELLO_S, do="hello", token=read_token(port))
            undo.pop_all()  # it is open

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self._socket.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """The one answer to a request."""
        return list(self.lines(**request))[-1]

    def ask_within(self, limit_s: float, **request: Any) -> dict[str, Any]:
        """The one answer to a request, each line of it within `limit_s`; raises GroundLost if it takes longer. The
        connection is of no use afterwards.
        """
        self._socket.settimeout(limit_s)
        try:
            return self.ask(**request)
        finally:
            self._socket.settimeout(None)

    def idle(self, duration_s: float) -> None:
        """Let that much time pass; raises GroundLost if the ground process ends meanwhile."""
        ready, _, _ = select.select([self._socket], [], [], max(0.0, duration_s))
        if ready:  # nobody asked: this is the end
            raise GroundLost("the ground process ended")

    def lines(self, **request: Any) -> Iterator[dict[str, Any]]:
        """Every line of an answer as it comes, the one with "done" last."""
        asked = json.dumps(request).encode() + b"\n"
        if len(asked) > LINE_OCTETS_MAX:  # the ground would end the connection over it
            raise OrbitnodeError(f"a request of {len(asked)} octets, should be {LINE_OCTETS_MAX} at most")
        try:
            self._socket.sendall(asked)
            for line in self._file:
                made = json.loads(line)
                if not isinstance(made, dict):
                    raise ValueError
                if "error" in made:
                    raise OrbitnodeError(plain(made["error"]))
                yield made if self._faithful else plain_values(made)
                if "done" in made:
                    return
        except TimeoutError:
            raise GroundLost("the ground process does not answer any more") from None
        except OSError:
            pass
        except ValueError:
            raise OrbitnodeError(f"what answers on 127.0.0.1:{self._port} is no ground process") from None
        raise GroundLost("the ground process ended")
