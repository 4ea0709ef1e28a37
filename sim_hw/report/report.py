"""report.html: one run on one page, self-contained (inline SVG, CSS and pictures; nothing is loaded)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from flight.core.errors import OrbitnodeError, reason_of
from flight.core.nanoseconds import NS
from ground.operator import ACCEPTED, ACKNOWLEDGED, COMPLETED, SENT, STARTED
from ground.products.answers import mask_picture
from ground.telemetry.archive_rows import CommandRow, EventRow
from sim_hw.report.charts import Interval, Series, TimeAxis, area_chart, line_chart, timeline
from sim_hw.report.style import STYLE

__all__ = ["Figure", "Interval", "ReportData", "Series", "Tile", "quicklook_png", "write_report"]

THUMB_PX = 176
TILES_MAX = 24
EVENTS_MAX = 80
_SEVERITIES = ("high", "medium", "low", "info")
_STAGES = ((SENT, "sent"), (ACKNOWLEDGED, "link"), (ACCEPTED, "accepted"), (STARTED, "started"), (COMPLETED, "done"))


@dataclass(frozen=True, slots=True)
class Figure:
    """One summary figure. `state` colours it: "" plain, "good", "warn" or "bad"."""

    label: str
    value: str
    unit: str = ""
    note: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """One screened tile. `quicklook` is PNG (see `quicklook_png`), `mask` uint8 [row, column] with classes 0..2.

    `accuracy` is against the truth mask, None where there is none.
    """

    title: str
    mask: NDArray[np.uint8]
    cloud_frac: float
    accuracy: float | None = None
    quicklook: bytes | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything the page shows. Times are seconds since the start of the run, `start_tai_ns` is TAI then.

    power in W, charge as fractions 0..1, temperatures in degC, rates in kbit/s, backlog in MB.
    `charge_guides` and `temperature_guides` are limits to draw: (value, text). `tables` are further facts by heading,
    `grids` whole tables: a row of column heads, then rows that begin with a name.
    `events` and `commands` come from the archive. `footer` says where things come from: seed, digest, versions.
    """

    title: str
    subtitle: str
    start_tai_ns: int
    duration_s: float
    figures: Sequence[Figure]
    eclipses: Sequence[Interval] = ()
    passes: Sequence[Interval] = ()
    power: Sequence[Series] = ()
    charge: Sequence[Series] = ()
    temperatures: Sequence[Series] = ()
    rates: Sequence[Series] = ()
    backlog: Sequence[Series] = ()
    charge_guides: Sequence[tuple[float, str]] = ()
    temperature_guides: Sequence[tuple[float, str]] = ()
    link: Mapping[str, str] = field(default_factory=dict)
    tiles: Sequence[Tile] = ()
    tiles_note: str = ""
    commands: Sequence[CommandRow] = ()
    events: Sequence[EventRow] = ()
    event_counts: Mapping[str, int] = field(default_factory=dict)  # on board
    events_archived: int = 0
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    grids: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    footer: Sequence[str] = ()


def quicklook_png(samples: NDArray[np.uint16]) -> bytes:
    """True colour from uint16 [band, row, column] (blue, green, red, ..., reflectance x 10,000), `THUMB_PX` wide."""
    rgb = samples[2::-1].astype(np.float32) / 10_000.0
    # Full scale at 0.35 with a gamma: land keeps its contrast, only thick cloud is white.
    shown = np.clip(rgb / 0.35, 0.0, 1.0) ** (1 / 1.8)
    picture = Picture.fromarray((shown.transpose(1, 2, 0) * 255.0).round().astype(np.uint8))
    return _png(picture.resize((THUMB_PX, THUMB_PX), Picture.Resampling.LANCZOS))


def write_report(path: Path, data: ReportData) -> None:
    """Write the page; raises OrbitnodeError where `path` cannot be written."""
    try:
        path.write_text(page(data), encoding="utf-8")
    except OSError as error:
        raise OrbitnodeError(f"{path} cannot be written: {reason_of(error)}; the run is not whole") from None


def page(data: ReportData) -> str:
    """The page as text."""
    axis = TimeAxis(data.duration_s, data.eclipses, data.passes)
    sections = [
        _figures(data.figures),
        _section("Orbit", _orbit(data, axis)),
        _section("Link", _link(data, axis)),
        _section("Tiles", _tiles(data)) if data.tiles else "",
        _section("Commands", _commands(data)) if data.commands else "",
        _section("Events", _events(data)),
        *(_section(title, _grid(rows)) for title, rows in data.grids.items()),
        _tables(data.tables),
    ]
    footer = "".join(f"<p>{escape(line)}</p>" for line in data.footer)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(data.title)}</title><style>{STYLE}</style></head><body><main>"
        f"<header><h1>{escape(data.title)}</h1><p>{escape(data.subtitle)}</p></header>"
        f"{''.join(sections)}<footer>{footer}</footer></main></body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _figures(figures: Sequence[Figure]) -> str:
    cards = []
    for one in figures:
        unit = f'<span class="unit">{escape(one.unit)}</span>' if one.unit else ""
        note = f'<div class="note">{escape(one.note)}</div>' if one.note else ""
        cards.append(
            f'<div class="card {escape(one.state)}"><div class="label">{escape(one.label)}</div>'
            f'<div class="value">{escape(one.value)}{unit}</div>{note}</div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _orbit(data: ReportData, axis: TimeAxis) -> str:
    marks = [
        ((e.time_ns - data.start_tai_ns) / NS, e.severity) for e in data.events if e.severity in ("high", "medium")
    ]
    key = (
        '<div class="keys shade"><span class="key"><i class="eclipse"></i>eclipse</span>'
        '<span class="key"><i class="pass"></i>contact</span>'
        + ('<span class="key"><i class="mark"></i>event of high or medium severity</span>' if marks else "")
        + "</div>"
    )
    charge = [Series(s.name, [(t, 100.0 * v) for t, v in s.points]) for s in data.charge]
    guides = [(100.0 * v, text) for v, text in data.charge_guides]
    lows = [v for s in charge for _, v in s.points] + [v for v, _ in guides]
    charts = [
        line_chart(axis, data.power, "Power", "W"),
        line_chart(axis, charge, "Charge", "%", high=100.0, low=min(lows, default=0.0), height=140, guides=guides),
        line_chart(axis, data.temperatures, "Temperature", "°C", guides=data.temperature_guides, last=True),
    ]
    return key + f'<div class="scroll">{timeline(axis, marks)}</div>' + "".join(charts)


def _link(data: ReportData, axis: TimeAxis) -> str:
    charts = area_chart(axis, data.rates, "Downlink by virtual channel", "kbit/s", last=not data.backlog)
    if data.backlog:
        charts += line_chart(axis, data.backlog, "Waiting on board", "MB", low=0.0, height=130, last=True)
    return _facts(data.link) + charts


def _facts(facts: Mapping[str, str]) -> str:
    """Pairs of label and value in columns."""
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items())
    return f'<dl class="facts">{rows}</dl>' if rows else ""


def _tiles(data: ReportData) -> str:
    cards = []
    for one in data.tiles[:TILES_MAX]:
        accuracy = "no truth mask" if one.accuracy is None else f"{one.accuracy:.1%} accurate"
        look = '<div class="none">not sent</div>'
        if one.quicklook:
            look = _image(one.quicklook, f"{one.title} in true colour")
        cards.append(
            f'<div class="tile"><div class="pair">{look}{_image(_png(_thumb(one.mask)), f"{one.title}: mask")}</div>'
            f'<div class="row"><b>{escape(one.title)}</b><span>{accuracy}</span></div>'
            f'<div class="bar"><i style="width:{100 * one.cloud_frac:.1f}%"></i></div>'
            f'<div class="row small"><span>cloud {one.cloud_frac:.0%}</span><span>{escape(one.note)}</span></div></div>'
        )
    key = (
        '<div class="keys"><span class="key"><i class="m0"></i>clear</span><span class="key"><i class="m1"></i>cloud'
        '</span><span class="key"><i class="m2"></i>cloud shadow</span></div>'
    )
    more = len(data.tiles) - TILES_MAX
    rest = f" {more} more are in products/." if more > 0 else ""
    note = f'<p class="note">{escape(data.tiles_note)}{rest}</p>' if data.tiles_note or rest else ""
    return f'{key}<div class="tiles">{"".join(cards)}</div>{note}'


def _thumb(mask: NDArray[np.uint8]) -> Picture.Image:
    return mask_picture(mask).resize((THUMB_PX, THUMB_PX), Picture.Resampling.NEAREST)


def _image(png: bytes, alt: str) -> str:
    encoded = base64.b64encode(png).decode()
    return f'<img width="{THUMB_PX}" height="{THUMB_PX}" alt="{escape(alt)}" src="data:image/png;base64,{encoded}">'


def _png(picture: Picture.Image) -> bytes:
    out = BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def _commands(data: ReportData) -> str:
    rows = []
    for one in data.commands:
        reached = {name: at for name, at, _ in one.stages}
        steps = "".join(
            f'<span class="{"step on" if name in reached else "step"}" title="{_since(reached, name)}">{short}</span>'
            for name, short in _STAGES
        )
        arguments = " ".join(f"{k}={v}" for k, v in one.arguments.items())
        outcome = one.outcome or "open"
        trip = "–" if one.round_trip_ns is None else f"{one.round_trip_ns / NS:,.2f} s"
        reason = f'<div class="note">{escape(one.reason)}</div>' if one.reason else ""
        rows.append(
            f"<tr><td class=num>{_clock((one.sent_ns - data.start_tai_ns) / NS)}</td>"
            f"<td><code>{escape(one.name)}</code> <span class=args>{escape(arguments)}</span>{reason}</td>"
            f'<td class="steps">{steps}</td><td><span class="chip {escape(outcome)}">{escape(outcome)}</span></td>'
            f"<td class=num>{trip}</td></tr>"
        )
    head = "<tr><th class=num>T+</th><th>Command</th><th>Stages</th><th>Outcome</th><th class=num>Round trip</th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _since(reached: Mapping[str, int], name: str) -> str:
    """How long after sending a stage was reached."""
    if name not in reached or SENT not in reached:
        return f"{name}: not reached"
    return f"{name} after {(reached[name] - reached[SENT]) / NS:.3f} s"


def _events(data: ReportData) -> str:
    chips = "".join(
        f'<span class="chip {s}">{s} {data.event_counts.get(s, 0):,}</span>' for s in _SEVERITIES
    )  # fmt: skip
    order = {severity: index for index, severity in enumerate(_SEVERITIES)}
    # The grave ones always have a place; what is left goes to the newest of the others.
    chosen = sorted(data.events, key=lambda e: (order.get(e.severity, 9), -e.time_ns))[:EVENTS_MAX]
    rows = "".join(
        f"<tr><td class=num>{_clock((e.time_ns - data.start_tai_ns) / NS)}</td>"
        f'<td><span class="chip {escape(e.severity)}">{escape(e.severity)}</span></td>'
        f"<td><code>{escape(e.name)}</code></td><td>{escape(e.text)}</td></tr>"
        for e in sorted(chosen, key=lambda e: e.time_ns)
    )
    head = "<tr><th class=num>T+</th><th>Severity</th><th>Event</th><th>Text</th></tr>"
    left = data.events_archived - len(chosen)
    away = sum(data.event_counts.values()) - data.events_archived
    notes = [f"{left:,} more, of lower severity or older, in the archive."] if left > 0 else []
    if away > 0:
        notes.append(f"{away:,} not received.")
    note = f'<p class="note">{" ".join(notes)}</p>' if notes else ""
    table = f'<div class="scroll events"><table>{head}{rows}</table></div>' if rows else "<p>None.</p>"
    return f'<div class="chips">{chips}</div>{table}{note}'


def _grid(rows: Sequence[Sequence[str]]) -> str:
    """Names on the left, numbers on the right."""

    def line(tag: str, cells: Sequence[str]) -> str:
        first, *others = (escape(cell) for cell in cells)
        return f"<tr><{tag}>{first}</{tag}>{''.join(f'<{tag} class=num>{cell}</{tag}>' for cell in others)}</tr>"

    head, *body = rows
    if not body:
        return "<p>None.</p>"
    return f'<div class="scroll"><table>{line("th", head)}{"".join(line("td", row) for row in body)}</table></div>'


def _tables(tables: Mapping[str, Mapping[str, str]]) -> str:
    boxes = "".join(
        f"<section><h2>{escape(title)}</h2>{_pairs(rows) if rows else '<p>None.</p>'}</section>"
        for title, rows in tables.items()
    )
    return f'<div class="columns">{boxes}</div>' if boxes else ""


def _pairs(rows: Mapping[str, str]) -> str:
    lines = "".join(f"<tr><td>{escape(k)}</td><td class=num>{escape(v)}</td></tr>" for k, v in rows.items())
    return f"<table class=pairs>{lines}</table>"


def _clock(t_s: float) -> str:
    """Seconds since the start as h:mm:ss."""
    sign, whole = ("-", round(-t_s)) if t_s < 0 else ("", round(t_s))
    return f"{sign}{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
