"""The log of one node: structlog without global set-up, every line stamped by the node's own clock.

Logging never raises, whatever the stream does. It waits only if the stream does: a loop gives it one that never waits
(flight/linux/log_sink.py).
"""

# Several nodes live in one process, each with its own clock, so nothing here is global: each node binds its own logger.
# Lines are stamped with the time of the node's platform, since in virtual time the machine's clock says nothing. What
# ground corrects (flight/services/time/clock.py) does not show in the log.
#
# Texts may come from an app, a file or a board. In the form for people they are made plain (flight/text/plain_text.py),
# so that no text can clear a terminal or forge a line of the log. In JSON they stay as they are, escaped by the format.

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from flight.core.errors import OrbitnodeError
from flight.core.guarded_stream import GuardedStream, LineStream
from flight.core.nanoseconds import ns
from flight.core.utc.leap_seconds import BUILT_IN, LeapSeconds
from flight.text.plain_text import INDENT, json_text, plain

LEVELS = ("debug", "info", "warning", "error", "critical")
FORMS = ("console", "json")


def node_log(
    name: str,
    tai_ns: Callable[[], int],
    stream: LineStream | None = None,
    *,
    form: str = "console",
    level: str = "info",
    leap_seconds: Callable[[], LeapSeconds] = lambda: BUILT_IN,
) -> FilteringBoundLogger:
    """Make a logger bound to node `name` that writes lines to `stream` (None: stderr).

    tai_ns: the node's clock, nanoseconds of TAI since 1958 (`Platform.tai_ns`); lines show it as UTC by `leap_seconds`.
    form: "console" for people, "json" for one object per line. Raises OrbitnodeError for an unknown form or level.
    """
    if form not in FORMS:
        raise OrbitnodeError(f"log form {form!r}, should be one of {', '.join(FORMS)}")
    if level not in LEVELS:
        raise OrbitnodeError(f"log level {level!r}, should be one of {', '.join(LEVELS)}")
    guarded = GuardedStream(sys.stderr if stream is None else stream)

    def stamp(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["time"] = leap_seconds().utc_text(tai_ns())
        return event

    rendering: list[Processor]
    if form == "json":
        rendering = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(json_text, default=str, sort_keys=True),
        ]
    else:
        rendering = [
            _make_plain,
            structlog.dev.ConsoleRenderer(
                colors=guarded.isatty(), timestamp_key="time", exception_formatter=_write_traceback
            ),
        ]
    logger = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", guarded)),  # one call per line with its end: lines never interleave
        processors=[structlog.processors.add_log_level, stamp, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        context_class=dict,
    )
    return cast("FilteringBoundLogger", logger.bind(node=name))


def _make_plain(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make every text of the line plain. Whatever is not a text the renderer escapes itself."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = plain(value)
    return event


def _write_traceback(stream: TextIO, error: structlog.typing.ExcInfo) -> None:
    """Write a traceback, indented, so that no line of it can be taken for one of the log."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, error)
    stream.write("".join(f"\n{INDENT}{plain(line)}" for line in text.getvalue().strip("\n").split("\n")))


def gap_line(
    name: str,
    tai_ns: Callable[[], int],
    *,
    form: str = "console",
    leap_seconds: Callable[[], LeapSeconds] = lambda: BUILT_IN,
) -> Callable[[int, float, str], str]:
    """Return a function that writes the line for a gap in the log of node `name`.

    It is given how many lines were lost, in how many seconds until now, and why.
    """

    def describe(lines: int, over_s: float, reason: str) -> str:
        text = io.StringIO()
        since = leap_seconds().utc_text(tai_ns() - ns(over_s))
        missing = "1 line of this log is" if lines == 1 else f"{lines} lines of this log are"
        node_log(name, tai_ns, text, form=form, leap_seconds=leap_seconds).warning(
            f"{missing} missing here: {reason}", lines_lost=lines, since=since
        )
        return text.getvalue()

    return describe
