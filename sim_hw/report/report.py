"""report.html: one run on one page, self-contained (inline SVG, CSS and pictures; nothing is loaded)."""

# The page is for a person who asks what happened and when. Every time is shown as time since the start of the run and
# as UTC, and every plot has the same axis, shading and marks, so that a fall of the charge can be held against an
# eclipse or a boot by eye. Nothing in it grows with the length of the run: charts are thinned, tables and marks have a
# limit, and say how much more there is.

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from math import nan
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from flight.core.errors import OrbitnodeError, reason_of
from flight.core.nanoseconds import NS
from ground.products.answers import mask_picture
from ground.telemetry.archive_rows import CommandRow, EventRow
from sim_hw.report.app_telemetry import AppTelemetry, StructureTelemetry
from sim_hw.report.charts import Gate, Guide, Series, area_chart, line_chart, timeline
from sim_hw.report.style import STYLE
from sim_hw.report.tables import (
    Occurrence,
    PassRow,
    boxes,
    command_table,
    event_table,
    facts,
    grid,
    occurrence_table,
    pass_table,
)
from sim_hw.report.time_axis import BOOT, FAULT, MARKS_MAX, Clock, Interval, Mark, TimeAxis

__all__ = ["Figure", "Interval", "ReportData", "Series", "Tile", "quicklook_png", "write_report"]

THUMB_PX = 176
TILES_MAX = 24


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

    `accuracy` is against the truth mask, None without one. `number` is its place among all tiles.
    """

    title: str
    mask: NDArray[np.uint8]
    cloud_frac: float
    accuracy: float | None = None
    quicklook: bytes | None = None
    note: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything the page shows. Times are seconds since the start of the run, `start_tai_ns` is TAI then.

    power in W, charge as fractions 0..1, temperatures in degC, rates in kbit/s, outbox in `outbox_unit`, drops as
    counts; what has no value is left out. `charge_guides` and `temperature_guides` are limits to draw. `mask_guides`
    are the lowest elevations with contact, in degrees. `marks` are what every plot marks, `occurrences` the table of
    the same with what never happened. `tables` are further facts by heading, `grids` whole tables: a row of column
    heads, then rows. `events` and `commands` come from the archive. `footer` says where things come from: seed,
    digest, versions.
    """

    title: str
    subtitle: str
    start_tai_ns: int
    duration_s: float
    figures: Sequence[Figure]
    eclipses: Sequence[Interval] = ()
    passes: Sequence[PassRow] = ()
    mask_guides: Sequence[Guide] = ()
    marks: Sequence[Mark] = ()
    occurrences: Sequence[Occurrence] = ()
    power: Sequence[Series] = ()
    charge: Sequence[Series] = ()
    temperatures: Sequence[Series] = ()
    rates: Sequence[Series] = ()
    outbox: Sequence[Series] = ()
    outbox_unit: str = "MB"
    drops: Sequence[Series] = ()
    charge_guides: Sequence[Guide] = ()
    temperature_guides: Sequence[Guide] = ()
    link: Mapping[str, str] = field(default_factory=dict)
    tiles: Sequence[Tile] = ()
    tiles_note: str = ""
    commands: Sequence[CommandRow] = ()
    events: Sequence[EventRow] = ()
    event_counts: Mapping[str, int] = field(default_factory=dict)  # on board
    events_archived: int = 0
    apps: Sequence[AppTelemetry] = ()
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    grids: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    footer: Sequence[str] = ()


def quicklook_png(samples: NDArray[np.uint16]) -> bytes:
    """Draw true colour, `THUMB_PX` wide, as PNG.

    `samples` is uint16 [band, row, column]: blue, green, red, ..., reflectance x 10,000.
    """
    rgb = samples[2::-1].astype(np.float32) / 10_000.0
    # Full scale at 0.35 with a gamma: land keeps its contrast, only thick cloud is white.
    shown = np.clip(rgb / 0.35, 0.0, 1.0) ** (1 / 1.8)
    picture = Picture.fromarray((shown.transpose(1, 2, 0) * 255.0).round().astype(np.uint8))
    return _png(picture.resize((THUMB_PX, THUMB_PX), Picture.Resampling.LANCZOS))


def write_report(path: Path, data: ReportData) -> None:
    """Write the page; raises OrbitnodeError if `path` cannot be written."""
    try:
        path.write_text(page(data), encoding="utf-8")
    except OSError as error:
        raise OrbitnodeError(f"{path} cannot be written: {reason_of(error)}; the run is not whole") from None


def page(data: ReportData) -> str:
    """Return the page as text."""
    clock = Clock(data.start_tai_ns, data.duration_s)
    axis = TimeAxis(
        clock,
        data.eclipses,
        [Interval(contact.start_s, contact.end_s, contact.station) for contact in data.passes],
        data.marks,
    )
    sections = [
        _figures(data.figures),
        _section("Orbit", _orbit(data, axis)),
        _section("Passes", pass_table(data.passes, clock)),
        _section("Boots and faults", occurrence_table(data.occurrences, clock)) if data.occurrences else "",
        _section("Link", _link(data, axis)),
        _section("Tiles", _tiles(data)) if data.tiles else "",
        *(_section(f"App: {app.name}", _app(app, axis)) for app in data.apps),
        _section("Commands", command_table(data.commands, clock)) if data.commands else "",
        _section("Events", event_table(data.events, data.event_counts, data.events_archived, clock)),
        *(_section(title, grid(rows)) for title, rows in data.grids.items()),
        boxes(data.tables),
    ]
    footer = "".join(f"<p>{escape(line)}</p>" for line in data.footer)
    begin, end = clock.utc(0.0), clock.utc(data.duration_s)
    span = f"{begin.date} {begin.clock} to {end.date} {end.clock} UTC"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(data.title)}</title><style>{STYLE}</style></head><body><main>"
        f"<header><h1>{escape(data.title)}</h1><p>{span}. {escape(data.subtitle)}</p></header>"
        f"{''.join(sections)}<footer>{footer}</footer></main></body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _legend(axis: TimeAxis, *, events: bool = False) -> str:
    """Explain shading and marks, those that are there."""
    kinds = {mark.kind for mark in axis.marks}
    keys = {
        "eclipse": "eclipse" if axis.eclipses else "",
        "pass": "contact" if axis.passes else "",
        "boot": "boot of the node" if BOOT in kinds else "",
        "fault": "injected fault" if FAULT in kinds else "",
        "mark": "event of high or medium severity" if events else "",
    }
    shown = "".join(f'<span class="key"><i class="{kind}"></i>{text}</span>' for kind, text in keys.items() if text)
    more = len(axis.marks) - MARKS_MAX
    if more > 0:
        shown += f'<span class="key">{more:,} more boots and faults are not marked</span>'
    return f'<div class="keys shade">{shown}</div>' if shown else ""


def _figures(figures: Sequence[Figure]) -> str:
    cards = []
    for figure in figures:
        unit = f'<span class="unit">{escape(figure.unit)}</span>' if figure.unit else ""
        note = f'<div class="note">{escape(figure.note)}</div>' if figure.note else ""
        cards.append(
            f'<div class="card {escape(figure.state)}"><div class="label">{escape(figure.label)}</div>'
            f'<div class="value">{escape(figure.value)}{unit}</div>{note}</div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _orbit(data: ReportData, axis: TimeAxis) -> str:
    grave = [
        ((e.time_ns - data.start_tai_ns) / NS, e.severity) for e in data.events if e.severity in ("high", "medium")
    ][-MARKS_MAX:]
    charts = [
        _elevation(data, axis),
        *_silence(data),
        line_chart(axis, data.power, "Power", "W") if _has_values(data.power) else "",
        _charge(data, axis),
        line_chart(axis, data.temperatures, "Temperature", "°C", guides=data.temperature_guides)
        if _has_values(data.temperatures)
        else "",
    ]
    return _legend(axis, events=bool(grave)) + timeline(axis, grave) + "".join(charts)


def _charge(data: ReportData, axis: TimeAxis) -> str:
    """Draw the charge in percent."""
    if not _has_values(data.charge):
        return ""
    series = [Series(s.name, [(t, 100.0 * v) for t, v in s.points]) for s in data.charge]
    guides: list[Guide] = [
        Gate(100.0 * guide.low, 100.0 * guide.high, guide.text)
        if isinstance(guide, Gate)
        else (100.0 * guide[0], guide[1])
        for guide in data.charge_guides
    ]
    return line_chart(axis, series, "Charge", "%", height=180, covers=(100.0,), guides=guides)


def _has_values(series: Sequence[Series]) -> bool:
    return any(curve.has_values for curve in series)


def _silence(data: ReportData) -> list[str]:
    """Say why there are no curves, if none of the node's telemetry came down."""
    if any(map(_has_values, (data.power, data.charge, data.temperatures, data.outbox, data.drops))):
        return []
    why = "No telemetry came down" if data.passes else "No contact in this run, so no telemetry came down"
    return [f"<p>{why}: there are no curves of power, charge, temperature or downlink.</p>"]


def _elevation(data: ReportData, axis: TimeAxis) -> str:
    """Draw a curve per station, one arc per pass, with its highest elevation in figures."""
    if not data.passes:
        return ""
    arcs: dict[str, list[tuple[float, float]]] = {}
    for contact in data.passes:
        points = arcs.setdefault(contact.station, [])
        # A break between two passes, else a line would cross the time below the horizon.
        points += [*([(contact.start_s, nan)] if points else []), *contact.curve]
    peaks = [(contact.peak_s, contact.peak_deg, f"{contact.peak_deg:.0f}°") for contact in data.passes]
    series = [Series(station, points) for station, points in arcs.items()]
    return line_chart(
        axis, series, "Elevation", "°", ticks=(0.0, 30.0, 60.0, 90.0), height=120, guides=data.mask_guides, notes=peaks
    )  # fmt: skip


def _link(data: ReportData, axis: TimeAxis) -> str:
    charts = ""
    if _has_values(data.rates):
        charts += area_chart(axis, data.rates, "Downlink by virtual channel", "kbit/s")
    if _has_values(data.outbox):
        unit = data.outbox_unit
        charts += line_chart(axis, data.outbox, "Outbox: waiting on board", unit, covers=(0.0, 1.0), height=130)
    charts += _drops(data, axis)
    return facts([(name, value, "") for name, value in data.link.items()]) + _legend(axis) * bool(charts) + charts


def _drops(data: ReportData, axis: TimeAxis) -> str:
    """Draw what was dropped, and name the counters that stayed 0: lines on one another at 0 say nothing."""
    if not _has_values(data.drops):
        return ""
    rising = [curve for curve in data.drops if any(value > 0 for _, value in curve.points)]
    still = ", ".join(curve.name for curve in data.drops if curve not in rising)
    if not rising:
        none = f'<p class="note">Nothing was dropped. Counted are {escape(still)}.</p>'
        return f"<figure><figcaption><b>Dropped</b></figcaption>{none}</figure>"
    note = f"Nothing else was dropped: {still}." if still else ""
    return line_chart(axis, rising, "Dropped", "since boot", covers=(0.0, 1.0), height=130, note=note)


def _app(app: AppTelemetry, axis: TimeAxis) -> str:
    """Show every structure of one app: plots of what changed, a table of what did not."""
    small = axis.small()
    return _legend(axis) + "".join(_structure(structure, small) for structure in app.structures)


def _structure(structure: StructureTelemetry, axis: TimeAxis) -> str:
    plots = "".join(
        line_chart(axis, [plot.series], plot.series.name, plot.unit, height=96, note=plot.text)
        for plot in structure.plots
    )
    unchanged = f'<p class="note">Unchanged:</p>{facts(structure.steady)}' if structure.steady else ""
    more = f'<p class="note">{structure.left_out:,} more are in archive.db.</p>' if structure.left_out else ""
    return (
        f'<h3>{escape(structure.name)} <span class="unit">{escape(structure.text)}</span></h3>'
        f'<div class="small-plots">{plots}</div>{unchanged}{more}'
    )


def _tiles(data: ReportData) -> str:
    cards = []
    for tile in sorted(data.tiles, key=lambda tile: tile.number)[:TILES_MAX]:
        accuracy = "no truth mask" if tile.accuracy is None else f"{tile.accuracy:.1%} accurate"
        look = '<div class="none">not sent</div>'
        if tile.quicklook:
            look = _image(tile.quicklook, f"{tile.title} in true colour")
        cards.append(
            f'<div class="tile"><div class="pair">{look}{_image(_png(_thumb(tile.mask)), f"{tile.title}: mask")}</div>'
            f'<div class="row"><b>{escape(tile.title)}</b><span>{accuracy}</span></div>'
            f'<div class="bar"><i style="width:{100 * tile.cloud_frac:.1f}%"></i></div>'
            f'<div class="row small"><span>cloud {tile.cloud_frac:.0%}</span>'
            f"<span>{escape(tile.note)}</span></div></div>"
        )
    key = (
        '<div class="keys"><span class="key"><i class="m0"></i>clear</span><span class="key"><i class="m1"></i>cloud'
        '</span><span class="key"><i class="m2"></i>cloud shadow</span></div>'
    )
    more = len(data.tiles) - TILES_MAX
    remainder = f" {more} more are in products/." if more > 0 else ""
    note = f'<p class="note">{escape(data.tiles_note)}{remainder}</p>' if data.tiles_note or remainder else ""
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
