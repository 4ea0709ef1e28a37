"""The time axis of the report: what lies along it, the pixels of an instant, and how an instant is written.

Every time in the report is seconds since the start of the run, in virtual time, and is shown in two ways: as time since
the start, and as UTC.
"""

# A run begins at whole TAI nanoseconds (`start_tai_ns`), so UTC of any instant follows from that alone, by
# flight/core/utc; no clock of this machine is asked. What comes from packets (events, telemetry) bears the
# node's clock, which may be ahead of virtual time by `sim.clock_offset_s` or by what ground has corrected; it is shown
# as the node said it.
#
# An axis has few labels: the step is the smallest round one at which two labels do not touch. UTC stands below the time
# since the start at the same ticks, so it is round only if the run begins at a round time. The date is written when it
# is another one than at the tick before.
#
# Marks (boots and injected faults) are lines over the whole height of a plot. A boot follows a power cut by ten
# seconds, a fraction of a pixel in a run of days: marks that stand close together share one label, which names the
# first ones and counts the others; it stands in a second row if the first has no room, and is left out if neither has.
# The table of boots and faults has every one of them.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from flight.core.nanoseconds import ns
from flight.core.utc.leap_seconds import BUILT_IN
from flight.core.utc.utc_time import UtcTime

BOOT, FAULT = "boot", "fault"
LABEL_CHAR = 6.2  # mean width of a character at 11 px
MARKS_MAX = 200  # drawn in a plot; a node that boots again and again would otherwise fill the page with lines

_MINUTE_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 14_400, 43_200)
_HOUR, _DAY = 60, 1440  # in minutes
_SMALL_PX = 600
_TICK_PX = 84  # the widest label is a date with a time: 21 Mar 09:45
_TOGETHER_PX = 40.0  # about the width of a label
_NAMED = 2  # marks in one label
_ROWS, _ROW_PX = 2, 14  # of labels above a plot


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time in seconds since the start of the run; `label` names a pass by its station."""

    start_s: float
    end_s: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """An instant of the run that every plot shows: `kind` is BOOT or FAULT, `label` says which."""

    t_s: float
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class Clock:
    """Writes an instant of the run as time since its start and as UTC.

    `start_tai_ns` is TAI at the start of the run, nanoseconds since 1958-01-01.
    """

    start_tai_ns: int
    duration_s: float

    def utc(self, t_s: float) -> UtcTime:
        """Return UTC of an instant."""
        return BUILT_IN.utc_at(self.start_tai_ns + ns(t_s))

    def utc_text(self, t_s: float) -> str:
        """Return UTC to the second: `09:45:00`, or `21 Mar 09:45:00` in a run that goes over midnight."""
        when = self.utc(round(t_s))
        spans_days = self.utc(0.0).mjd != self.utc(self.duration_s).mjd
        return f"{when.date:%d %b} {when.clock}" if spans_days else when.clock

    def since(self, t_s: float) -> str:
        """Return the time since the start of the run as h:mm:ss."""
        sign, whole = ("-", round(-t_s)) if t_s < 0 else ("", round(t_s))
        return f"{sign}{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"

    def both(self, t_s: float) -> str:
        """Return both in one text: `0:10:00, 09:45:00 UTC`."""
        return f"{self.since(t_s)}, {self.utc_text(t_s)} UTC"


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled instant: `since` the start of the run, such as `10 min`, and in `utc`, such as `09:45`."""

    t_s: float
    since: str
    utc: str


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """What every plot of a run shares: its length, what is shaded and marked, and its width in pixels."""

    clock: Clock
    eclipses: Sequence[Interval] = ()
    passes: Sequence[Interval] = ()
    marks: Sequence[Mark] = ()
    width: int = 1120
    margin_left: int = 56
    margin_right: int = 14

    def small(self) -> TimeAxis:
        """Return the same axis for a plot of a phone's width, or of which several stand beside one another."""
        return replace(self, width=372, margin_left=52, margin_right=12)

    @property
    def is_small(self) -> bool:
        """Whether it is one of `small`."""
        return self.width < _SMALL_PX

    @property
    def plot_px(self) -> int:
        """Width of the plot itself."""
        return self.width - self.margin_left - self.margin_right

    @property
    def end_px(self) -> int:
        """Where the plot ends on the right."""
        return self.width - self.margin_right

    @property
    def top_px(self) -> int:
        """Where the plot begins below the upper edge: the rows of the labels of marks stand above it."""
        rows = max((label.row + 1 for label in self._mark_labels()), default=0)
        return 6 + _ROW_PX * rows

    def x(self, t_s: float) -> float:
        """Return the place of an instant, in pixels from the left; what is outside the run lies on its edge."""
        share = t_s / max(self.clock.duration_s, 1e-9)
        return self.margin_left + self.plot_px * min(max(share, 0.0), 1.0)

    def span(self, interval: Interval) -> tuple[float, float]:
        """Return the beginning and the width of an interval, in pixels."""
        x = self.x(interval.start_s)
        return x, self.x(interval.end_s) - x

    def ticks(self) -> list[Tick]:
        """Return the labelled instants: round minutes, hours or days since the start."""
        duration_min = self.clock.duration_s / 60
        most = self.plot_px / _TICK_PX
        step = next((s for s in _MINUTE_STEPS if duration_min / s <= most), _MINUTE_STEPS[-1])
        minutes = range(0, int(duration_min) + 1, step)
        unit, size = ("min", 1) if step < _HOUR else ("h", _HOUR) if step < _DAY else ("d", _DAY)
        ticks: list[Tick] = []
        before = self.clock.utc(0.0)
        # Ticks are whole minutes apart. Seconds are shown if they are not all 0, as behind a leap second.
        length = 5 if all(self.clock.utc(minute * 60.0).clock.endswith(":00") for minute in minutes) else 8
        for minute in minutes:
            when = self.clock.utc(minute * 60.0)
            date = "" if when.mjd == before.mjd else f"{when.date:%d %b} "
            ticks.append(Tick(minute * 60.0, f"{minute // size} {unit}", f"{date}{when.clock[:length]}"))
            before = when
        return ticks

    def labels(self, bottom_px: float) -> str:
        """Return the ticks below a plot that ends at `bottom_px` as SVG: time since the start, and UTC under it."""
        rows = ((20, "T+", [tick.since for tick in self.ticks()]), (34, "UTC", [tick.utc for tick in self.ticks()]))
        parts = []
        for below_px, head, texts in rows:
            y = bottom_px + below_px
            parts.append(f'<text x="{self.margin_left - 8}" y="{y:g}" text-anchor="end">{head}</text>')
            for tick, text in zip(self.ticks(), texts, strict=True):
                half = len(text) * LABEL_CHAR / 2
                # The label of the first tick would stand on the head of its row, the last one outside the picture.
                x = min(max(self.x(tick.t_s), self.margin_left + half - 4), self.width - half)
                parts.append(f'<text x="{x:.1f}" y="{y:g}" text-anchor="middle">{text}</text>')
        for tick in self.ticks():
            x = self.x(tick.t_s)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom_px:g}" y2="{bottom_px + 5:g}"/>')
        return "".join(parts)

    def shading(self, top_px: float, height: float) -> str:
        """Return eclipses and passes as SVG, over the height of a plot."""
        paths = []
        for kind, intervals in (("eclipse", self.eclipses), ("pass", self.passes)):
            boxes = "".join(
                f"M{start:.1f} {top_px:g}H{end:.1f}v{height:g}H{start:.1f}z"
                for start, end in self._stretches(intervals)
            )
            paths.append(f'<path class="{kind}" d="{boxes}"/>' if boxes else "")
        return "".join(paths)

    def _stretches(self, intervals: Sequence[Interval]) -> list[tuple[float, float]]:
        """Return intervals in pixels. Those less than a pixel apart become one, so that their number has a bound."""
        stretches: list[tuple[float, float]] = []
        for interval in intervals:
            start, end = self.x(interval.start_s), self.x(interval.end_s)
            if stretches and start - stretches[-1][1] < 1.0:
                stretches[-1] = (stretches[-1][0], max(end, stretches[-1][1]))
            else:
                stretches.append((start, end))
        return stretches

    def mark_lines(self, top_px: float, height: float) -> str:
        """Return marks as SVG: a line each over the height of a plot, and labels above it."""
        parts = []
        for mark in self.marks[:MARKS_MAX]:
            x = self.x(mark.t_s)
            parts.append(
                f'<line class="{mark.kind}-line" x1="{x:.1f}" x2="{x:.1f}" y1="{top_px:g}" y2="{top_px + height:g}">'
                f"<title>{escape(mark.label)} at {self.clock.both(mark.t_s)}</title></line>"
            )
        for label in self._mark_labels():
            at = f'x="{label.x:.1f}" y="{top_px - 5 - _ROW_PX * label.row:g}"'
            parts.append(f'<text class="{label.kind}-text" {at} text-anchor="middle">{escape(label.text)}</text>')
        return "".join(parts)

    def _mark_labels(self) -> list[_MarkLabel]:
        """Return the labels for which there is room. The first boot has none: it is the start."""
        groups: list[tuple[float, list[Mark]]] = []
        for mark in (mark for mark in self.marks[:MARKS_MAX] if mark.t_s > 0):
            x = self.x(mark.t_s)
            if groups and x - groups[-1][0] < _TOGETHER_PX:
                groups[-1][1].append(mark)
            else:
                groups.append((x, [mark]))
        labels = []
        free_px = [0.0] * _ROWS
        for x, marks in groups:
            text = ", ".join(mark.label for mark in marks[:_NAMED]) + f" +{len(marks) - _NAMED}" * (len(marks) > _NAMED)
            half = len(text) * LABEL_CHAR / 2
            middle = min(max(x, self.margin_left + half), self.width - half)  # not over the scale on the left
            row = next((row for row, free in enumerate(free_px) if middle - half >= free), None)
            if row is not None:
                kind = FAULT if any(mark.kind == FAULT for mark in marks) else BOOT
                labels.append(_MarkLabel(middle, row, kind, text))
                free_px[row] = middle + half + 8
        return labels


@dataclass(frozen=True, slots=True)
class _MarkLabel:
    """A label of marks: its middle in pixels, and its row, counted upwards from the plot."""

    x: float
    row: int
    kind: str
    text: str
