"""The node's log: stamped by its own clock, several in one process, refusing what it does not know."""

from __future__ import annotations

import io
import json

import pytest

from flight.core.errors import OrbitnodeError
from flight.core.log import node_log, utc_text

T_NS = 2_152_690_537 * 10**9 + 5_000_000


def test_two_nodes_have_two_clocks_and_streams() -> None:
    streams = [io.StringIO(), io.StringIO()]
    logs = [node_log(f"n{i}", lambda i=i: T_NS + i * 10**9, streams[i], form="json") for i in range(2)]
    for log in logs:
        log.info("boot", count=3)
        log.debug("not at this level")
    lines = [json.loads(s.getvalue()) for s in streams]
    assert lines[0] == {"event": "boot", "count": 3, "level": "info", "node": "n0", "time": "2026-03-20T09:35:00.005Z"}
    assert (lines[1]["node"], lines[1]["time"]) == ("n1", "2026-03-20T09:35:01.005Z")


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_error_carries_its_traceback(form: str) -> None:
    stream = io.StringIO()
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError as error:
        node_log("n", lambda: 0, stream, form=form).error("task failed", exc_info=error)
    assert "ZeroDivisionError: by nothing" in stream.getvalue() and "\x1b" not in stream.getvalue()


def test_refusals_and_time() -> None:
    with pytest.raises(OrbitnodeError, match="log form 'xml', should be one of console, json"):
        node_log("n", lambda: 0, form="xml")
    with pytest.raises(OrbitnodeError, match="log level 'loud'"):
        node_log("n", lambda: 0, level="loud")
    assert utc_text(T_NS) == "2026-03-20T09:35:00.005Z"
