"""Charts of the report as inline SVG: lines and stacked areas over the time of the run.

Eclipses and passes are shaded, boots and injected faults marked, and every time axis bears UTC (time_axis.py).
"""

# A chart is of bounded size however long the run is: of each of a fixed number of buckets `thin` keeps the lowest and
# the highest value, so that no peak is lost, and the break (NaN) that says where telemetry is missing. A mean would
# hide the short peak of power for which one looks at such a chart.
#
# A chart of full width is drawn twice, for a desktop and for a phone, and the style sheet shows the one that fits. One
# picture alone would be scaled down to letters that nobody reads, or would have to be moved sideways.

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from sim_hw.report.time_axis import LABEL_CHAR, TimeAxis

Point = tuple[float, float]

_POINTS_MAX = 700
_SMALL_POINTS_MAX = 240
_TEXT_PX = 12  # height of a line of text
_COLOURS = 6  # classes c0 .. c5 of the style sheet


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity over time: (seconds since the start of the run, value), in order of time. NaN breaks the line.

    `is_whole` says that values can only be integers: counts, states.
    """

    name: str
    points: Sequence[Point]
    is_whole: bool = False

    @property
    def has_values(self) -> bool:
        """Whether there is anything to draw."""
        return any(math.isfinite(value) for _, value in self.points)


@dataclass(frozen=True, slots=True)
class Gate:
    """Two limits of a switch that keeps its state between them, such as the charges at which jobs stop and resume."""

    low: float
    high: float
    text: str


Guide = tuple[float, str] | Gate  # a limit to draw: (value, text), or two of them


def nice_ticks(low: float, high: float, count: int = 4, *, whole: bool = False) -> list[float]:
    """Return round values that cover low .. high, about `count` steps apart. `whole`: they are counts."""
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = 0.0, 1.0
    if high - low < 1e-9:
        low, high = low - max(abs(low) * 0.1, 0.5), high + max(abs(high) * 0.1, 0.5)
    raw = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    # A step that is right but for rounding is taken: 0.999 keeps 4 steps over 0 .. 0.3 from becoming 2.
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= raw * 0.999)
    if whole:
        step = float(max(1, math.ceil(step)))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def thin(points: Sequence[Point], most: int = _POINTS_MAX) -> list[Point]:
    """Return at most `most` of the points: of each bucket its lowest, its highest, and a break if it has one."""
    if len(points) <= most:
        return list(points)
    kept: list[Point] = []
    buckets = most // 3
    size = len(points) / buckets
    for index in range(buckets):
        bucket = points[int(index * size) : int((index + 1) * size)]
        finite = [point for point in bucket if math.isfinite(point[1])]
        breaks = [point for point in bucket if not math.isfinite(point[1])]
        extremes = {min(finite, key=_value), max(finite, key=_value)} if finite else set()
        # A break has the time of the value behind it, and goes before it: sorting keeps the order of equal times.
        kept += sorted([*breaks[:1], *extremes], key=_time)
    return kept


def _time(point: Point) -> float:
    return point[0]


def _value(point: Point) -> float:
    return point[1]


def timeline(axis: TimeAxis, events: Sequence[tuple[float, str]] = ()) -> str:
    """Return a strip with sunlight, eclipse and passes by name; `events` are (seconds, severity)."""
    return _fitting(axis, lambda width: _strip(width, events))


def _strip(axis: TimeAxis, events: Sequence[tuple[float, str]]) -> str:
    start_px, top = axis.margin_left, axis.top_px + 16
    parts = [f'<rect class="sun" x="{start_px}" y="{top}" width="{axis.plot_px}" height="16" rx="3"/>']
    for eclipse in axis.eclipses:
        x, width = axis.span(eclipse)
        parts.append(f'<rect class="night" x="{x:.1f}" y="{top}" width="{width:.1f}" height="16"/>')
        if width > 56:
            at = f'x="{x + width / 2:.1f}" y="{top + 12}"'
            parts.append(f'<text class="on-night" {at} text-anchor="middle">eclipse</text>')
    free_px = 0.0
    for contact in axis.passes:
        x, width = axis.span(contact)
        # A pass of a run of days would be thinner than a pixel.
        parts.append(
            f'<rect class="pass-bar" x="{x:.1f}" y="{top + 20}" width="{max(width, 2):.1f}" height="9" rx="2"/>'
        )
        half = len(contact.label) * LABEL_CHAR / 2
        middle = min(max(x + width / 2, start_px + half), axis.end_px - half)
        if contact.label and middle - half >= free_px:
            parts.append(f'<text x="{middle:.1f}" y="{top + 43}" text-anchor="middle">{escape(contact.label)}</text>')
            free_px = middle + half + 8
    for t_s, severity in events:
        parts.append(f'<path class="mark {escape(severity)}" d="M{axis.x(t_s):.1f} {top - 2}l-4 -8h8z"/>')
    rows = ((top + 12, "Sun"), (top + 29, "link"))
    key = "".join(f'<text x="{start_px - 8}" y="{y}" text-anchor="end">{name}</text>' for y, name in rows)
    marks, labels = axis.mark_lines(axis.top_px, 48), axis.labels(top + 46)
    return _svg(axis, "".join(parts) + key + marks + labels, top + 84, "Sunlight, eclipse and passes over time")


def line_chart(
    axis: TimeAxis, series: Sequence[Series], title: str, unit: str, *, height: int = 190,
    covers: Sequence[float] = (), ticks: Sequence[float] = (), guides: Sequence[Guide] = (),
    notes: Sequence[tuple[float, float, str]] = (), note: str = "",
) -> str:  # fmt: skip
    """Return lines over time as a figure.

    `notes` (seconds, value, text) stand above their points, `note` below the title. The scale covers the values, the
    guides and `covers`; `ticks` takes its place.
    """
    gates = [guide for guide in guides if isinstance(guide, Gate)]
    lines = [guide for guide in guides if not isinstance(guide, Gate)]
    values = [v for curve in series for _, v in curve.points if math.isfinite(v)]
    values += [*covers, *(v for v, _ in lines), *(v for gate in gates for v in (gate.low, gate.high))]
    scale = ticks or nice_ticks(
        min(values, default=0.0), max(values, default=1.0), 4 if height > 120 else 3,
        whole=all(curve.is_whole for curve in series),
    )  # fmt: skip

    def draw(width: TimeAxis) -> str:
        frame = _Frame(width, scale, height)
        parts = [frame.background(), _limit_lines(frame, lines, gates)]
        for index, curve in enumerate(series):
            name = f"<title>{escape(curve.name)}</title>"
            paths = _paths(frame, thin(curve.points, _most(width)))
            parts += [f'<path class="line c{index % _COLOURS}" d="{d}">{name}</path>' for d in paths]
        limits = _limit_texts(frame, lines, gates, series)
        return frame.svg([*parts, limits, _notes(frame, notes), frame.marks()], title)

    return _figure(title, unit, [s.name for s in series], _fitting(axis, draw), note)


def _limit_lines(frame: _Frame, guides: Sequence[tuple[float, str]], gates: Sequence[Gate]) -> str:
    """Return lines at guides, and at gates a band between two lines."""
    start, end = frame.axis.margin_left, frame.axis.end_px
    parts = []
    for gate in gates:
        top, bottom = frame.y(gate.high), frame.y(gate.low)
        parts.append(f'<path class="gate" d="M{start} {top:.1f}H{end}V{bottom:.1f}H{start}z"/>')
    for value, _ in guides:
        y = frame.y(value)
        parts.append(f'<line class="guide" x1="{start}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}"/>')
    return "".join(parts)


def _limit_texts(
    frame: _Frame, guides: Sequence[tuple[float, str]], gates: Sequence[Gate], series: Sequence[Series]
) -> str:
    """Return the texts of guides, above them, and of gates, inside if they fit, each at a place that is free."""
    start, end = frame.axis.margin_left + 4, frame.axis.end_px - 4
    taken = [(frame.axis.x(t), frame.y(v)) for s in series for t, v in thin(s.points) if math.isfinite(v)]
    texts = [("guide-text", frame.y(value) - 4, text) for value, text in guides]
    for gate in gates:
        top, bottom = frame.y(gate.high), frame.y(gate.low)
        texts.append(("gate-text", (top + bottom) / 2 + 4 if bottom - top > _TEXT_PX else top - 4, gate.text))
    parts = []
    for kind, y, text in texts:
        width = len(text) * LABEL_CHAR
        last = max(start, end - width)
        places = [last - (last - start) * i / 12 for i in range(13)]  # from the right, where telemetry has often ended
        # The line of text is from 10 above its foot to 3 below.
        hits = [sum(x - 6 < px < x + width + 6 and y - 13 < py < y + 5 for px, py in taken) for x in places]
        x = places[hits.index(min(hits))]
        parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>')
        taken += [(x + width * i / 40, y - 4 + dy) for i in range(41) for dy in (-5, 5)]
    return "".join(parts)


def _notes(frame: _Frame, notes: Sequence[tuple[float, float, str]]) -> str:
    """Return texts above their points, those for which there is room beside the one before."""
    parts = []
    free_px = 0.0
    for t_s, value, text in notes:
        half = len(text) * LABEL_CHAR / 2
        if (x := frame.axis.x(t_s)) - half >= free_px:
            parts.append(f'<text x="{x:.1f}" y="{frame.y(value) - 5:.1f}" text-anchor="middle">{escape(text)}</text>')
            free_px = x + half + 4
    return "".join(parts)


def area_chart(axis: TimeAxis, series: Sequence[Series], title: str, unit: str, *, height: int = 170) -> str:
    """Return stacked areas as a figure. A series without a value at another one's time counts as 0 there."""
    values = [dict(curve.points) for curve in series]
    sums = [(t, sum(by_time.get(t, 0.0) for by_time in values)) for t in sorted({t for v in values for t in v})]
    scale = nice_ticks(0.0, max((value for _, value in sums), default=1.0) or 1.0)

    def draw(width: TimeAxis) -> str:
        frame = _Frame(width, scale, height)
        parts = [frame.background()]
        # The same instants for all series, else one would lack a value where another has its peak.
        times = [t for t, _ in thin(sums, _most(width))]
        tops = [0.0] * len(times)
        for index, by_time in enumerate(values if times else []):
            bottoms, tops = tops, [b + max(by_time.get(t, 0.0), 0.0) for b, t in zip(tops, times, strict=True)]
            up = [f"{width.x(t):.1f} {frame.y(v):.1f}" for t, v in zip(times, tops, strict=True)]
            down = [f"{width.x(t):.1f} {frame.y(v):.1f}" for t, v in zip(times, bottoms, strict=True)]
            d = "M" + "L".join(up + down[::-1]) + "Z"
            name = f"<title>{escape(series[index].name)}</title>"
            parts.append(f'<path class="area c{index % _COLOURS}" d="{d}">{name}</path>')
        return frame.svg([*parts, frame.marks()], title)

    return _figure(title, unit, [s.name for s in series], _fitting(axis, draw))


@dataclass(frozen=True, slots=True)
class _Frame:
    """The field of a plot: scales, grid, shading."""

    axis: TimeAxis
    ticks: Sequence[float]
    height: int

    @property
    def bottom(self) -> int:
        return self.axis.top_px + self.height

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return self.axis.top_px + self.height * (1 - min(max((value - low) / (high - low), 0.0), 1.0))

    def background(self) -> str:
        axis = self.axis
        parts = [axis.shading(axis.top_px, self.height)]
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0
        digits = next((d for d in range(4) if abs(round(step, d) - step) < 1e-9), 4)
        for tick in self.ticks:
            y = self.y(tick)
            parts.append(f'<line class="grid" x1="{axis.margin_left}" x2="{axis.end_px}" y1="{y:.1f}" y2="{y:.1f}"/>')
            shown = _short(tick) if max(map(abs, self.ticks)) >= 1e5 else f"{tick:,.{digits}f}"
            parts.append(f'<text x="{axis.margin_left - 8}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>')
        parts.append(axis.labels(self.bottom))
        return "".join(parts)

    def marks(self) -> str:
        """Return the marks, which lie above everything else in the plot."""
        return self.axis.mark_lines(self.axis.top_px, self.height)

    def svg(self, parts: Sequence[str], title: str) -> str:
        return _svg(self.axis, "".join(parts), self.bottom + 40, f"{title} over time")


def _short(value: float) -> str:
    """Write a large number in the few characters that stand beside a plot: 250k, 1.5M, 20G."""
    power = min(int(math.log10(abs(value)) // 3), 4) if abs(value) >= 1000 else 0
    return f"{value / 1000**power:g}{('', 'k', 'M', 'G', 'T')[power]}"


def _paths(frame: _Frame, points: Sequence[Point]) -> list[str]:
    """Return one path for each stretch without NaN; a value that stands alone is a dot."""
    paths: list[list[str]] = [[]]
    for t_s, value in points:
        if math.isfinite(value):
            paths[-1].append(f"{frame.axis.x(t_s):.1f} {frame.y(value):.1f}")
        elif paths[-1]:
            paths.append([])
    # A line of no length is drawn by its round ends alone.
    return ["M" + "L".join(path if len(path) > 1 else path * 2) for path in paths if path]


def _most(axis: TimeAxis) -> int:
    """Return how many points a line has at most."""
    return _SMALL_POINTS_MAX if axis.is_small else _POINTS_MAX


def _fitting(axis: TimeAxis, draw: Callable[[TimeAxis], str]) -> str:
    """Return the picture that `draw` makes, at the width of a desktop and of a phone; of a small plot one alone."""
    if axis.is_small:
        return draw(axis)
    return f'<div class="wide">{draw(axis)}</div><div class="narrow">{draw(axis.small())}</div>'


def _svg(axis: TimeAxis, content: str, height: int, label: str) -> str:
    return f'<svg viewBox="0 0 {axis.width} {height}" role="img" aria-label="{escape(label)}">{content}</svg>'


def _figure(title: str, unit: str, names: Sequence[str], pictures: str, note: str = "") -> str:
    # One line needs no key: the title names it.
    keys = "".join(f'<span class="key"><i class="c{i % _COLOURS}"></i>{escape(n)}</span>' for i, n in enumerate(names))
    shown = f' <span class="unit">{escape(unit)}</span>' if unit else ""
    below = f'<div class="note">{escape(note)}</div>' if note else ""
    legend = f'<span class="keys">{keys}</span>' if len(names) > 1 or names != [title] else ""
    return f"<figure><figcaption><b>{escape(title)}{shown}</b>{legend}</figcaption>{below}{pictures}</figure>"
