"""The node's log: stamped by its own clock, several in one process, refusing what it does not know."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import PurePosixPath

import pytest

from flight.core.errors import OrbitnodeError
from flight.core.log import FORMS, LEVELS, gap_line, node_log
from flight.core.nanoseconds import NS

T_NS = 2_152_690_537 * NS + 5_000_000


def test_two_nodes_have_two_clocks_and_streams() -> None:
    streams = [io.StringIO(), io.StringIO()]
    clocks: list[Callable[[], int]] = [lambda: T_NS, lambda: T_NS + NS]
    logs = [node_log(f"n{i}", clocks[i], streams[i], form="json") for i in range(2)]
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


def test_refusals() -> None:
    with pytest.raises(OrbitnodeError, match="log form 'xml', should be one of console, json"):
        node_log("n", lambda: 0, form="xml")
    with pytest.raises(OrbitnodeError, match="log level 'loud'"):
        node_log("n", lambda: 0, level="loud")


def test_the_least_important_level_shown_is_the_one_asked_for() -> None:
    for at, level in enumerate(LEVELS):
        stream = io.StringIO()
        log = node_log("n", lambda: T_NS, stream, form="json", level=level)
        for one in LEVELS:
            getattr(log, one)("said")
        assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == list(LEVELS[at:])


def test_a_line_of_json_has_its_keys_in_order_and_any_value_as_text() -> None:
    stream = io.StringIO()
    node_log("n", lambda: T_NS, stream, form="json").info("kept", zone=1, at=PurePosixPath("/a/b"))
    pairs = json.loads(stream.getvalue(), object_pairs_hook=list)
    assert pairs == [
        ("at", "/a/b"), ("event", "kept"), ("level", "info"), ("node", "n"), ("time", "2026-03-20T09:35:00.005Z"),
        ("zone", 1),
    ]  # fmt: skip


def test_a_line_for_people_begins_with_its_time_and_has_colours_on_a_terminal_alone() -> None:
    plain = io.StringIO()
    node_log("n", lambda: T_NS, plain).warning("low", soc_frac=0.25)
    assert re.fullmatch(r"2026-03-20T09:35:00\.005Z \[warning +\] low +node=n soc_frac=0\.25\n", plain.getvalue())
    master, slave = os.openpty()
    with open(slave, "w", encoding="utf-8") as terminal:
        node_log("n", lambda: T_NS, terminal).warning("low", soc_frac=0.25)
        terminal.flush()
        shown = ""
        while not shown.endswith("\n"):
            shown += os.read(master, 4096).decode()
    os.close(master)
    assert "\x1b[" in shown
    assert re.sub(r"\x1b\[[\d;]*m", "", shown).replace("\r\n", "\n").split() == plain.getvalue().split()


@pytest.mark.parametrize("form", FORMS)
def test_a_gap_is_one_line_that_says_how_many_why_and_since_when(form: str) -> None:
    line = gap_line("n", lambda: T_NS, form=form)(12, 2.5, "Broken pipe")
    assert line.count("\n") == 1 and line.endswith("\n")
    for text in ("12 lines of this log are missing here: Broken pipe", "warning", "2026-03-20T09:34:57.505Z"):
        assert text in line
    assert re.search(r"lines_lost\W+12\b", line)
    assert ("{" in line) == (form == "json")
