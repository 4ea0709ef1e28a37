"""The housekeeping of a mission's apps over a run, by name and unit from the dictionary.

No app is known here: whatever structures the dictionary has under an app's APID are shown, and so are the scalar
answers of its worker apps, which the ground archives as `answer.APP.NAME`.
"""

# A number that changed becomes a plot; one that stayed what it was, and everything that is not a number (texts, times,
# rows), becomes a line of a table with its newest value. So an app with a hundred counters of which five moved is read
# at a glance. The page stays bounded: PLOTS_MAX plots for all apps together, of at most POINTS_MAX points each, and
# ROWS_MAX lines per structure; what finds no room is counted.
#
# Counters begin at 0 again with each boot of the node, as the app declares them: the fall is in the curve, and the mark
# of the boot beside it says why.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import isfinite, nan
from statistics import median

from flight.contract.dictionary import Dictionary, Structure
from flight.contract.fields import Field, Plain
from flight.core.nanoseconds import NS
from flight.core.utc.leap_seconds import BUILT_IN
from ground.telemetry.archive_rows import Sample
from ground.telemetry.intake import ANSWER
from ground.telemetry.node_archive import NodeArchive
from sim_hw.report.charts import Point, Series, thin

PLOTS_MAX = 60
POINTS_MAX = 240
ROWS_MAX = 64

_WHOLE = {"u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"}
_GAP_S = 90.0  # telemetry of the node itself comes each 60 s or more often
_GAP_PERIODS = 4  # a break is as many packets missing


@dataclass(frozen=True, slots=True)
class Plot:
    """One number over time: `series` is thinned, `text` says what it means and what its values are called."""

    series: Series
    unit: str
    text: str


@dataclass(frozen=True, slots=True)
class StructureTelemetry:
    """What came of one structure: plots of what changed, and (name, value with unit, meaning) of everything else."""

    name: str
    text: str
    plots: Sequence[Plot]
    steady: Sequence[tuple[str, str, str]]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class AppTelemetry:
    """What came of one app, structure by structure, in the order of the dictionary."""

    name: str
    structures: Sequence[StructureTelemetry]


def app_telemetry(
    archive: NodeArchive, dictionary: Dictionary, apps: Mapping[str, int], start_tai_ns: int
) -> list[AppTelemetry]:
    """Return what the ground has of each app, by the APIDs in `apps`. An app without structures is left out.

    Nothing is returned if no telemetry at all came.
    """
    newest = archive.latest()
    if not newest:
        return []
    found = []
    room = PLOTS_MAX
    for name, apid in apps.items():
        structures = []
        for structure in (declared for declared in dictionary.structures if declared.apid == apid):
            shown = _of_structure(archive, structure, newest, start_tai_ns, room)
            room -= len(shown.plots)
            structures.append(shown)
        if structures:
            found.append(AppTelemetry(name, structures))
    return found + _answers(archive, newest, start_tai_ns, room)


def series_of(archive: NodeArchive, parameter: str, name: str, start_tai_ns: int, scale: float = 1.0) -> Series:
    """Return one parameter over time, each value times `scale`, with a break for missing packets."""
    values = [((t - start_tai_ns) / NS, scale * _number(value)) for t, value in archive.series(parameter)]
    steps = [after - before for (before, _), (after, _) in pairwise(values)]
    gap_s = max(_GAP_S, _GAP_PERIODS * median(steps)) if steps else _GAP_S
    points: list[Point] = []
    for t_s, value in values:
        if points and t_s - points[-1][0] > gap_s:
            points.append((t_s, nan))
        points.append((t_s, value))
    return Series(name, points)


def _number(value: Plain) -> float:
    """NaN for what is not a number: the archive keeps NaN as a text."""
    return float(value) if isinstance(value, int | float) else nan


def _of_structure(
    archive: NodeArchive, structure: Structure, newest: Mapping[str, Sample], start_tai_ns: int, room: int
) -> StructureTelemetry:
    plots: list[Plot] = []
    steady: list[tuple[str, str, str]] = []
    left_out = 0
    for field in structure.fields:
        parameter = f"{structure.name}.{field.name}"
        samples = [sample for key, sample in newest.items() if _belongs(key, parameter)]
        series = series_of(archive, parameter, field.name, start_tai_ns) if field.is_number else Series(field.name, ())
        if _changes(series.points):
            if len(plots) < room:
                thinned = Series(field.name, thin(series.points, POINTS_MAX), field.type in _WHOLE)
                plots.append(Plot(thinned, field.unit, _meaning(field)))
            else:
                left_out += 1
            continue
        steady += [
            (sample.parameter.removeprefix(f"{structure.name}."), _shown(field, sample), _meaning(field))
            for sample in samples
        ] or [(field.name, "none came", _meaning(field))]
    text = f"every {structure.period_s:g} s" if structure.period_s else "on request"
    return StructureTelemetry(structure.name, text, plots, steady[:ROWS_MAX], left_out + max(0, len(steady) - ROWS_MAX))


def _belongs(key: str, parameter: str) -> bool:
    """Whether a sample is of this field: rows come as one sample per value, `structure.field[0].name`."""
    return key == parameter or key.startswith(f"{parameter}[")


def _changes(points: Sequence[Point]) -> bool:
    values = {value for _, value in points if isfinite(value)}
    return len(values) > 1


def _meaning(field: Field) -> str:
    labels = ", ".join(f"{number} {label}" for number, label in enumerate(field.labels))
    return "; ".join(part for part in (field.text, labels) if part)


def _shown(field: Field, sample: Sample) -> str:
    value = sample.value
    if field.type == "time" and isinstance(value, int):
        return BUILT_IN.utc_text(value) if value else "-"
    text = f"{value:,.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
    return f"{text} {sample.unit}".rstrip()


def _answers(archive: NodeArchive, newest: Mapping[str, Sample], start_tai_ns: int, room: int) -> list[AppTelemetry]:
    """Return the scalars that worker apps answered, those of one app together; labels have no curve."""
    scalars = [sample for name, sample in sorted(newest.items()) if name.startswith(f"{ANSWER}.")]
    found = []
    for prefix, samples in groupby(scalars, key=lambda sample: sample.parameter.rpartition(".")[0]):
        plots: list[Plot] = []
        steady: list[tuple[str, str, str]] = []
        for sample in samples:
            name = sample.parameter.rpartition(".")[2]
            series = series_of(archive, sample.parameter, name, start_tai_ns)
            if _changes(series.points) and room > 0:
                room -= 1
                plots.append(Plot(Series(name, thin(series.points, POINTS_MAX)), sample.unit, ""))
            else:
                steady.append((name, f"{sample.value} {sample.unit}".rstrip(), ""))
        text = "as received, by the time of the picture"
        shown = StructureTelemetry(prefix, text, plots, steady[:ROWS_MAX], max(0, len(steady) - ROWS_MAX))
        found.append(AppTelemetry(f"{prefix.removeprefix(f'{ANSWER}.')} (answers)", [shown]))
    return found
