"""Tables of the report as HTML: commands, events, passes, boots and faults, and plain grids of text.

Whatever comes from a mission, from the node or from an operator is escaped here, so that no name can become markup.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from flight.core.nanoseconds import NS
from flight.text.plural import counted
from ground.operator import ACCEPTED, ACKNOWLEDGED, COMPLETED, SENT, STARTED
from ground.telemetry.archive_rows import CommandRow, EventRow
from sim_hw.report.time_axis import Clock

ROWS_MAX = 80  # of events, passes, boots and faults: a page that is read, the archive has the rest

_SEVERITIES = ("high", "medium", "low", "info")
_STAGES = ((SENT, "sent"), (ACKNOWLEDGED, "link"), (ACCEPTED, "accepted"), (STARTED, "started"), (COMPLETED, "done"))
_TIME_HEADS = '<th class="num time">T+</th><th class="num time">UTC</th>'
_NUMBER = re.compile(r"-|[-+]?\d[\d,.]*( ?[^\W\d]{1,3}| ?%)?")  # with its unit; "-" if there is none


@dataclass(frozen=True, slots=True)
class PassRow:
    """One pass over a station, in seconds since the start of the run; `peak_deg` is its highest elevation.

    `curve` is (seconds, elevation in degrees) from rise to set.
    """

    station: str
    start_s: float
    end_s: float
    peak_s: float
    peak_deg: float
    curve: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A boot of the node or a planned fault. `at_s` is when it happened, None if it never did."""

    what: str
    at_s: float | None
    note: str = ""


def command_table(commands: Sequence[CommandRow], clock: Clock) -> str:
    """Return every command with the stages it reached."""
    rows = []
    for command in commands:
        reached = {name: at for name, at, _ in command.stages}
        steps = "".join(
            f'<span class="{"step on" if name in reached else "step"}" title="{_delay(reached, name)}">{short}</span>'
            for name, short in _STAGES
        )
        arguments = " ".join(f"{k}={v}" for k, v in command.arguments.items())
        outcome = command.outcome or "open"
        trip = "–" if command.round_trip_ns is None else f"{command.round_trip_ns / NS:,.2f} s"
        reason = f'<div class="note">{escape(command.reason)}</div>' if command.reason else ""
        rows.append(
            f"<tr>{_times(clock, (command.sent_ns - clock.start_tai_ns) / NS)}"
            f"<td class=text><code>{escape(command.name)}</code> <span class=args>{escape(arguments)}</span>{reason}"
            f'</td><td class="steps">{steps}</td><td><span class="chip {escape(outcome)}">{escape(outcome)}</span></td>'
            f"<td class=num>{trip}</td></tr>"
        )
    head = f"<tr>{_TIME_HEADS}<th>Command</th><th>Stages</th><th>Outcome</th><th class=num>Round trip</th></tr>"
    return _scrolled(head, rows)


def _delay(reached: Mapping[str, int], name: str) -> str:
    """Say how long after sending a stage was reached."""
    if name not in reached or SENT not in reached:
        return f"{name}: not reached"
    return f"{name} after {(reached[name] - reached[SENT]) / NS:.3f} s"


def event_table(events: Sequence[EventRow], on_board: Mapping[str, int], archived: int, clock: Clock) -> str:
    """Return the gravest and newest events.

    `on_board` counts by severity what the node raised, `archived` is how many of all the archive has.
    """
    chips = "".join(f'<span class="chip {s}">{s} {on_board.get(s, 0):,}</span>' for s in _SEVERITIES)
    order = {severity: index for index, severity in enumerate(_SEVERITIES)}
    # The gravest come first; what remains of the places goes to the newest of the others.
    chosen = sorted(events, key=lambda e: (order.get(e.severity, 9), -e.time_ns))[:ROWS_MAX]
    rows = [
        f"<tr>{_times(clock, (e.time_ns - clock.start_tai_ns) / NS)}"
        f'<td><span class="chip {escape(e.severity)}">{escape(e.severity)}</span></td>'
        f"<td><code>{escape(e.name)}</code></td><td class=text>{escape(e.text)}</td></tr>"
        for e in sorted(chosen, key=lambda e: e.time_ns)
    ]
    more = archived - len(chosen)
    away = sum(on_board.values()) - archived
    notes = [f"{more:,} more, of lower severity or older, in the archive."] if more > 0 else []
    if away > 0:
        notes.append(f"{counted(away, 'event')} {'was' if away == 1 else 'were'} not received.")
    note = f'<p class="note">{" ".join(notes)}</p>' if notes else ""
    head = f"<tr>{_TIME_HEADS}<th>Severity</th><th>Event</th><th>Text</th></tr>"
    table = _scrolled(head, rows, "events") if rows else "<p>None.</p>"
    return f'<div class="chips">{chips}</div>{table}{note}'


def pass_table(passes: Sequence[PassRow], clock: Clock) -> str:
    """Return every pass: from, to, how long, and its highest elevation with the time of it."""
    if not passes:
        return "<p>None.</p>"
    rows = [
        f'<tr>{_times(clock, contact.start_s)}<td class="num time">{clock.utc_text(contact.end_s)}</td>'
        f"<td>{escape(contact.station)}</td>"
        f"<td class=num>{(contact.end_s - contact.start_s) / 60:.1f} min</td>"
        f"<td class=num>{contact.peak_deg:.1f}° at {clock.utc_text(contact.peak_s)}</td></tr>"
        for contact in passes[:ROWS_MAX]
    ]
    head = (
        f'<tr>{_TIME_HEADS}<th class="num time">to, UTC</th>'
        "<th>Station</th><th class=num>Length</th>"
        "<th class=num>Highest elevation, UTC</th></tr>"
    )
    return _scrolled(head, rows, "events") + _more(len(passes), "summary.json has them all")


def occurrence_table(occurrences: Sequence[Occurrence], clock: Clock) -> str:
    """Return boots and faults in order of time; those that never happened come last."""
    never = '<td class="num time">–</td>' * 2
    rows = [
        f"<tr>{never if occurrence.at_s is None else _times(clock, occurrence.at_s)}"
        f"<td>{escape(occurrence.what)}</td><td class=text>{escape(occurrence.note)}</td></tr>"
        for occurrence in occurrences[:ROWS_MAX]
    ]
    head = f"<tr>{_TIME_HEADS}<th>What</th><th>Remark</th></tr>"
    return _scrolled(head, rows, "events") + _more(len(occurrences), "node.log has them all")


def grid(rows: Sequence[Sequence[str]]) -> str:
    """Return a table: a row of heads, then rows. Columns of numbers are set to the right, of text to the left."""
    head, *body = rows
    if not body:
        return "<p>None.</p>"
    kinds = [
        " class=num" if all(_NUMBER.fullmatch(cell) for cell in column) else "" for column in zip(*body, strict=True)
    ]

    def line(tag: str, cells: Sequence[str]) -> str:
        marked = zip(kinds, cells, strict=True)
        return f"<tr>{''.join(f'<{tag}{kind}>{escape(cell)}</{tag}>' for kind, cell in marked)}</tr>"

    return _scrolled(line("th", head), [line("td", row) for row in body])


def boxes(tables: Mapping[str, Mapping[str, str]]) -> str:
    """Return tables of two columns beside one another, each under its heading."""
    sections = "".join(
        f"<section><h2>{escape(title)}</h2>{pairs(rows) if rows else '<p>None.</p>'}</section>"
        for title, rows in tables.items()
    )
    return f'<div class="columns">{sections}</div>' if sections else ""


def pairs(rows: Mapping[str, str]) -> str:
    """Return a table of two columns: names and values."""
    lines = "".join(f"<tr><td>{escape(k)}</td><td class=num>{escape(v)}</td></tr>" for k, v in rows.items())
    return f"<table class=pairs>{lines}</table>"


def facts(values: Sequence[tuple[str, str, str]]) -> str:
    """Return labels with their value, and a remark if there is one, in as many columns as fit."""
    rows = "".join(
        f"<div><dt>{escape(label)}{f'<small>{escape(remark)}</small>' if remark else ''}</dt>"
        f"<dd>{escape(value)}</dd></div>"
        for label, value, remark in values
    )
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def _times(clock: Clock, t_s: float) -> str:
    return f'<td class="num time">{clock.since(t_s)}</td><td class="num time">{clock.utc_text(t_s)}</td>'


def _scrolled(head: str, rows: Sequence[str], kind: str = "") -> str:
    return f'<div class="scroll{" " * bool(kind)}{kind}"><table>{head}{"".join(rows)}</table></div>'


def _more(total: int, where: str) -> str:
    return f'<p class="note">{total - ROWS_MAX:,} more; {where}.</p>' if total > ROWS_MAX else ""
