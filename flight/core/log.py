"""The log of one node: structlog without global set-up, every line stamped by the node's own clock.

To log never raises, whatever the stream does. That it never waits either takes a stream that does not
(flight/linux/log_sink.py). For people, texts are made plain (flight/text/plain_text.py): they may be an app's.
"""

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
from flight.core.nanoseconds import ns, utc_text
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
) -> FilteringBoundLogger:
    """A logger bound to node `name`, writing lines to `stream` (None: stderr).

    tai_ns: the node's clock, nanoseconds of TAI since 1958 (`Platform.tai_ns`); lines show it as UTC.
    form: "console" for people, "json" one object a line. Raises OrbitnodeError for an unknown form or level.
    """
    if form not in FORMS:
        raise OrbitnodeError(f"log form {form!r}, should be one of {', '.join(FORMS)}")
    if level not in LEVELS:
        raise OrbitnodeError(f"log level {level!r}, should be one of {', '.join(LEVELS)}")
    guarded = GuardedStream(sys.stderr if stream is None else stream)

    def stamp(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["time"] = utc_text(tai_ns())
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
    made = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", guarded)),  # one call per line, its end included
        processors=[structlog.processors.add_log_level, stamp, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        context_class=dict,
    )
    return cast("FilteringBoundLogger", made.bind(node=name))


def _make_plain(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Texts may be those of an app, of a file or of a board. The renderer itself escapes whatever is no text."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = plain(value)
    return event


def _write_traceback(stream: TextIO, error: structlog.typing.ExcInfo) -> None:
    """A traceback, indented: no line of it can be taken for one of the log."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, error)
    stream.write("".join(f"\n{INDENT}{plain(line)}" for line in text.getvalue().strip("\n").split("\n")))


def gap_line(name: str, tai_ns: Callable[[], int], *, form: str = "console") -> Callable[[int, float, str], str]:
    """What makes the line that stands in a gap of the log of node `name`: from how many lines were lost, in how many
    seconds until now, and why.
    """

    def describe(lines: int, over_s: float, reason: str) -> str:
        text = io.StringIO()
        since = utc_text(tai_ns() - ns(over_s))
        node_log(name, tai_ns, text, form=form).warning(
            f"{lines} lines of this log are missing here: {reason}", lines_lost=lines, since=since
        )
        return text.getvalue()

    return describe
