"""Charts of the report as inline SVG: lines and stacked areas over mission time, eclipse and passes shaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 1120
LEFT, RIGHT = 56, 14
PLOT = WIDTH - LEFT - RIGHT
_POINTS_MAX = 700
_LABEL_CHAR = 6.2  # mean width of a character at 11 px


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity over time: (seconds since the start of the run, value), in order of time. NaN breaks the line."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time in seconds since the start of the run; `label` names a pass by its station."""

    start_s: float
    end_s: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """What every chart of a run shares."""

    duration_s: float
    eclipses: Sequence[Interval] = ()
    passes: Sequence[Interval] = ()

    def x(self, t_s: float) -> float:
        return LEFT + PLOT * min(max(t_s / max(self.duration_s, 1e-9), 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """(seconds, label) at round minutes or hours, about ten of them."""
        minutes = self.duration_s / 60
        step = next((s for s in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440) if minutes / s <= 12), 2880)
        in_hours = step >= 60
        return [
            (m * 60.0, f"{m // 60} h" if in_hours else f"{m} min") for m in range(0, int(minutes) + 1, step)
        ]  # fmt: skip


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values that cover low .. high, about `count` steps apart."""
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = 0.0, 1.0
    if high - low < 1e-9:
        low, high = low - max(abs(low) * 0.1, 0.5), high + max(abs(high) * 0.1, 0.5)
    raw = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def thin(points: Sequence[tuple[float, float]], buckets: int = _POINTS_MAX // 2) -> list[tuple[float, float]]:
    """At most two points a bucket, its lowest and its highest: no peak is lost."""
    if len(points) <= _POINTS_MAX:
        return list(points)
    kept: list[tuple[float, float]] = []
    size = len(points) / buckets
    for index in range(buckets):
        part = points[int(index * size) : int((index + 1) * size)]
        if part:
            low, high = min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])
            kept += sorted({low, high})
    return kept


def timeline(axis: TimeAxis, marks: Sequence[tuple[float, str]] = ()) -> str:
    """A strip with sunlight, eclipse and passes by name; `marks` are (seconds, severity) of events."""
    parts = [f'<rect class="sun" x="{LEFT}" y="22" width="{PLOT}" height="16" rx="3"/>']
    for one in axis.eclipses:
        x, width = _span(axis, one)
        parts.append(f'<rect class="night" x="{x:.1f}" y="22" width="{width:.1f}" height="16"/>')
        if width > 56:
            parts.append(f'<text class="on-night" x="{x + width / 2:.1f}" y="34" text-anchor="middle">eclipse</text>')
    free_x = 0.0
    for one in axis.passes:
        x, width = _span(axis, one)
        parts.append(f'<rect class="pass-bar" x="{x:.1f}" y="42" width="{max(width, 2):.1f}" height="9" rx="2"/>')
        half = len(one.label) * _LABEL_CHAR / 2
        middle = min(max(x + width / 2, LEFT + half), WIDTH - RIGHT - half)
        if one.label and middle - half >= free_x:
            parts.append(f'<text x="{middle:.1f}" y="65" text-anchor="middle">{escape(one.label)}</text>')
            free_x = middle + half + 8
    for t_s, severity in marks:
        parts.append(f'<path class="mark {escape(severity)}" d="M{axis.x(t_s):.1f} 20l-4 -8h8z"/>')
    rows = ((34, "Sun"), (51, "link"))
    key = "".join(f'<text x="{LEFT - 8}" y="{y}" text-anchor="end">{name}</text>' for y, name in rows)
    return _svg("".join(parts) + key, 72, "Sunlight, eclipse and passes over time")


def line_chart(
    axis: TimeAxis, series: Sequence[Series], title: str, unit: str, *, height: int = 190, low: float | None = None,
    high: float | None = None, guides: Sequence[tuple[float, str]] = (), last: bool = False,
) -> str:  # fmt: skip
    """Lines over time. `guides` are (value, text) of limits; `last` draws the labels of the time axis."""
    values = [v for one in series for _, v in one.points if math.isfinite(v)] + [v for v, _ in guides]
    lowest = min(values, default=0.0) if low is None else low
    ticks = nice_ticks(lowest, max(values, default=1.0) if high is None else high)
    frame = _Frame(axis, ticks, height, last)
    parts = [frame.background()]
    for value, text in guides:
        y = frame.y(value)
        parts.append(f'<line class="guide" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        at = f'x="{WIDTH - RIGHT - 4}" y="{y - 4:.1f}"'
        parts.append(f'<text class="guide-text" {at} text-anchor="end">{escape(text)}</text>')
    for index, one in enumerate(series):
        name = f"<title>{escape(one.name)}</title>"
        parts += [f'<path class="line c{index % 4}" d="{d}">{name}</path>' for d in _paths(frame, thin(one.points))]
    return _figure(title, unit, [s.name for s in series], _svg("".join(parts), frame.total, f"{title} over time"))


def area_chart(
    axis: TimeAxis, series: Sequence[Series], title: str, unit: str, *, height: int = 170, last: bool = False
) -> str:
    """Stacked areas. A series without a value at another one's time counts as 0 there."""
    values = [dict(one.points) for one in series]
    times = sorted({t for one in values for t in one})
    tops = [0.0] * len(times)
    stacked: list[tuple[list[float], list[float]]] = []
    for one in values:
        bottom = tops
        tops = [b + max(one.get(t, 0.0), 0.0) for b, t in zip(bottom, times, strict=True)]
        stacked.append((bottom, tops))
    frame = _Frame(axis, nice_ticks(0.0, max(tops, default=1.0) or 1.0), height, last)
    parts = [frame.background()]
    for index, (bottom, top) in enumerate(stacked):
        if times:
            up = [f"{axis.x(t):.1f} {frame.y(v):.1f}" for t, v in zip(times, top, strict=True)]
            down = [f"{axis.x(t):.1f} {frame.y(v):.1f}" for t, v in zip(times, bottom, strict=True)]
            d = "M" + "L".join(up + down[::-1]) + "Z"
            parts.append(f'<path class="area c{index % 4}" d="{d}"><title>{escape(series[index].name)}</title></path>')
    return _figure(title, unit, [s.name for s in series], _svg("".join(parts), frame.total, f"{title} over time"))


@dataclass(frozen=True, slots=True)
class _Frame:
    """The plot's field: scales, grid, shading."""

    axis: TimeAxis
    ticks: Sequence[float]
    height: int
    last: bool

    @property
    def total(self) -> int:
        return self.height + (34 if self.last else 14)

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return 6 + self.height * (1 - min(max((value - low) / (high - low), 0.0), 1.0))

    def background(self) -> str:
        parts = []
        for kind, intervals in (("eclipse", self.axis.eclipses), ("pass", self.axis.passes)):
            for one in intervals:
                x, width = _span(self.axis, one)
                parts.append(f'<rect class="{kind}" x="{x:.1f}" y="6" width="{width:.1f}" height="{self.height}"/>')
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0
        digits = next((d for d in range(4) if abs(round(step, d) - step) < 1e-9), 4)
        for tick in self.ticks:
            y = self.y(tick)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:,.{digits}f}</text>')
        bottom = 6 + self.height
        for t_s, label in self.axis.ticks():
            x = self.axis.x(t_s)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>')
            if self.last:
                parts.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{label}</text>')
        return "".join(parts)


def _span(axis: TimeAxis, one: Interval) -> tuple[float, float]:
    x = axis.x(one.start_s)
    return x, axis.x(one.end_s) - x


def _paths(frame: _Frame, points: Sequence[tuple[float, float]]) -> list[str]:
    """One path a stretch without NaN."""
    paths: list[list[str]] = [[]]
    for t_s, value in points:
        if math.isfinite(value):
            paths[-1].append(f"{frame.axis.x(t_s):.1f} {frame.y(value):.1f}")
        elif paths[-1]:
            paths.append([])
    return ["M" + "L".join(path) for path in paths if len(path) > 1]


def _svg(content: str, height: int, label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{content}</svg>'


def _figure(title: str, unit: str, names: Sequence[str], svg: str) -> str:
    keys = "".join(f'<span class="key"><i class="c{i % 4}"></i>{escape(n)}</span>' for i, n in enumerate(names))
    shown = f' <span class="unit">{escape(unit)}</span>' if unit else ""
    return (
        f'<figure><figcaption><b>{escape(title)}{shown}</b><span class="keys">{keys}</span></figcaption>'
        f'<div class="scroll">{svg}</div></figure>'
    )
