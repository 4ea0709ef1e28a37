"""The report page: self-contained, well-formed, and nothing from outside gets in unescaped."""

from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.core.utc.leap_seconds import BUILT_IN
from ground.products.answers import MASK_COLOURS, mask_picture
from ground.products.names import safe_name
from ground.telemetry.archive_rows import CommandRow, EventRow
from sim_hw.report.app_telemetry import AppTelemetry, Plot, StructureTelemetry
from sim_hw.report.charts import Gate, area_chart, line_chart, nice_ticks, thin
from sim_hw.report.rates import downlink_rates
from sim_hw.report.report import Figure, Interval, ReportData, Series, Tile, page, quicklook_png, write_report
from sim_hw.report.tables import Occurrence, PassRow, grid
from sim_hw.report.time_axis import BOOT, FAULT, Clock, Mark, TimeAxis


def data() -> ReportData:
    evil = "<script>alert(1)</script>"
    mask = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64) % 3
    stages = (("sent", 0, ""), ("acknowledged", NS, ""), ("rejected", 2 * NS, evil))
    return ReportData(
        title=f"Run {evil}", subtitle=evil, start_tai_ns=0, duration_s=5700.0,
        figures=[Figure("Tiles", "300", evil, "note", "good")],
        eclipses=[Interval(1000, 3000)],
        passes=[PassRow(evil, 100, 600, 350, 42.0, [(100, 5), (600, 5)]), PassRow("Troll", 650, 700, 660, 9.0)],
        mask_guides=[(5.0, evil)], marks=[Mark(0, BOOT, evil), Mark(50, FAULT, evil)],
        occurrences=[Occurrence(evil, None, evil)],
        power=[Series("array", [(0, 40), (50, math.nan), (100, 41), (200, 42)])], charge=[Series("soc", [(0, 0.5)])],
        temperatures=[Series("board", [])], rates=[Series("VC0", [(0, 1.0), (10, 2.0)]), Series("VC1", [(5, 1.0)])],
        outbox=[Series("products", [(0, 1.0), (10, 2.0)])], charge_guides=[(0.4, "safe")], link={evil: evil},
        tiles=[Tile(evil, mask, 0.3, 0.97), Tile("b", mask, 0.3, note=evil)] * 15, tiles_note="simulated",
        commands=[CommandRow(1, 0, evil, {"a": evil}, "rejected", evil, 2, 2 * NS, stages)],
        events=[EventRow(i * NS, 0, 1, evil, s, evil) for i, s in enumerate(("info", "high") * 100)],
        apps=[AppTelemetry(evil, [StructureTelemetry(
            evil, evil, [Plot(Series(evil, [(0, 1), (5, 2)]), evil, evil)], [(evil, evil, evil)], 7)])],
        event_counts={"info": 100, "high": 100}, tables={evil: {evil: evil}}, footer=[evil],
    )  # fmt: skip


def test_page_is_self_contained_and_escaped() -> None:
    text = page(data())
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"?(?!data:)[a-z]*:?//", text)
    assert "url(" not in text
    assert "6 more are in products/." in text
    assert "1:35:00" not in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(svg)
        assert "nan" not in svg


def test_empty_run_still_makes_a_page() -> None:
    assert "<h2>Orbit</h2>" in page(ReportData("t", "s", 0, 0.0, []))


def test_without_telemetry_the_page_says_so_once_and_has_no_empty_plots() -> None:
    nothing = [Series("a", []), Series("b", [(3.0, math.nan)])]
    silent = ReportData(
        "t", "s", 0, 60.0, [], power=nothing, charge=nothing, temperatures=nothing, rates=nothing, outbox=nothing,
        drops=nothing, charge_guides=[(0.4, "safe")],
    )  # fmt: skip
    text = page(silent)
    assert text.count("No contact in this run, so no telemetry came down") == 1
    assert "<figure>" not in text
    heard = page(replace(silent, power=[Series("a", [(0, 1.0)])]))
    assert "no telemetry" not in heard and heard.count("<figure>") == 1


def test_of_what_was_dropped_only_counters_that_rose_are_drawn_on_whole_numbers() -> None:
    still = [Series("tiles", [(0, 0.0), (9, 0.0)], is_whole=True), Series("units", [(0, 0.0)], is_whole=True)]
    text = page(replace(data(), drops=still))
    assert "Nothing was dropped. Counted are tiles, units." in text and "Dropped over time" not in text
    text = page(replace(data(), drops=[*still, Series("files", [(0, 0.0), (9, 1.0)], is_whole=True)]))
    assert "Nothing else was dropped: tiles, units." in text
    (picture, *_) = re.findall(r'<svg[^>]*aria-label="Dropped over time".*?</svg>', text)
    assert re.findall(r'text-anchor="end">([\d.]+)<', picture) == ["0", "1"]
    assert "<title>files</title>" in picture and "<title>tiles</title>" not in picture


@pytest.mark.parametrize("most", [1, 2, 3, 7, 24, 302, 35_118])
def test_ticks_of_counts_are_whole(most: int) -> None:
    for count in (3, 4):
        ticks = nice_ticks(0, most, count, whole=True)
        assert all(tick == int(tick) for tick in ticks) and ticks[0] == 0 and ticks[-1] >= most and len(ticks) <= 8


def test_the_rate_never_exceeds_that_of_the_link_and_adds_up_to_what_came() -> None:
    """The ground's first entry comes with the first frame or after it: its octets came since the contact began."""
    rate = 32_000  # octets per second, 256 kbit/s
    begun, entries = 931 * NS, [936 * NS, 946 * NS, 956 * NS, 956 * NS]
    (series,) = downlink_rates({"products": {t: rate * (t - begun) // NS for t in entries}}, entries, begun, 0)
    assert [t for t, _ in series.points] == [931, 936, 946, 956]
    assert [kbits for _, kbits in series.points] == [0.0, 256.0, 256.0, 256.0]
    assert downlink_rates({"products": dict.fromkeys(entries, 0)}, entries, 0, 0) == []


def test_tiles_stand_in_order_of_their_numbers() -> None:
    mask = np.zeros((4, 4), dtype=np.uint8)
    tiles = [Tile(f"tile {number}", mask, 0.0, number=number) for number in (22, 0, 110, 11)]
    assert re.findall(r"<b>tile (\d+)</b>", page(replace(data(), tiles=tiles))) == ["0", "11", "22", "110"]


def test_gates_are_bands_with_a_text_beside_the_curve() -> None:
    axis = TimeAxis(Clock(0, 100.0)).small()
    curve = Series("soc", [(t, 75.0 if t < 50 else 95.0) for t in range(100)])
    svg = line_chart(axis, [curve], "t", "%", guides=[Gate(70.0, 80.0, "stop < resume"), (5.0, "mask")])
    assert svg.count('class="gate"') == 1 and svg.count('class="guide"') == 1
    (x,) = re.findall(r'class="gate-text" x="([\d.]+)"[^>]*>stop &lt; resume<', svg)
    assert float(x) > axis.x(50), "it stands where the curve is away"
    svg = line_chart(axis, [Series("soc", [(t, 170.0 - curve) for t, curve in curve.points])], "t", "%",
                     guides=[Gate(70.0, 80.0, "stop")])  # fmt: skip
    (x,) = re.findall(r'class="gate-text" x="([\d.]+)"', svg)
    assert float(x) < axis.x(50)


def test_columns_of_numbers_are_set_to_the_right_and_of_text_to_the_left() -> None:
    rows = [["app", "done", "share", "wait", "answers"], ["a", "1,204", "3.5 %", "12 us", "12 rows; t 3 .. 9"],
            ["b", "-", "0.1%", "1.5 ms", ""]]  # fmt: skip
    assert re.findall("<th([^>]*)>", grid(rows)) == ["", " class=num", " class=num", " class=num", ""]


def test_events_are_shown_in_the_archive_or_not_received() -> None:
    text = page(replace(data(), event_counts={"info": 120, "high": 100}, events_archived=200))
    assert "120 more, of lower severity or older, in the archive. 20 events were not received." in text
    text = page(replace(data(), event_counts={"info": 1}, events=(), events_archived=0))
    assert "1 event was not received." in text
    text = page(replace(data(), events=(), event_counts={}))
    assert "not received" not in text and "in the archive" not in text


def test_unwritable_place_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OrbitnodeError, match=r"report.html cannot be written: "):
        write_report(tmp_path / "none" / "report.html", data())


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-17.3, 44), (0, 0), (3, 3), (1e-6, 2e-6), (0, 256e3), (math.nan, 1)]
)
def test_ticks_cover_the_values(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))
    if not math.isnan(low):
        assert ticks[0] <= low + 1e-9
        assert high - 1e-9 <= ticks[-1]


def test_thinning_keeps_peaks() -> None:
    points = [(float(i), 100.0 if i == 4321 else 0.0) for i in range(10_000)]
    kept = thin(points)
    assert len(kept) <= 700
    assert (4321.0, 100.0) in kept
    assert kept == sorted(kept)


def test_thinning_keeps_breaks_before_what_comes_behind_them() -> None:
    points = [(float(i // 2), math.nan if i % 2 == 0 and i % 500 == 0 else float(i)) for i in range(9000)]
    kept = thin(points)
    assert len(kept) <= 700 and [t for t, _ in kept] == sorted(t for t, _ in kept)
    assert sum(math.isnan(v) for _, v in kept) == 18
    assert max(v for _, v in kept if not math.isnan(v)) == 8999.0


def test_areas_of_a_long_run_are_bounded_and_of_one_set_of_instants() -> None:
    flat = [Series(name, [(float(t), 1.0) for t in range(20_000)]) for name in "ab"]
    svg, _, _ = area_chart(TimeAxis(Clock(0, 20_000.0)), flat, "t", "u").partition('<div class="narrow">')
    assert len(svg) < 60_000
    lower, _upper = re.findall(r'class="area c\d" d="M(.*?)Z"', svg)
    assert len({point.split()[1] for point in lower.split("L")}) == 2, (
        "no dent at the points at which the other has no value"
    )


@pytest.mark.parametrize("days", [0.1, 1, 12, 66])
def test_a_time_axis_has_room_for_its_labels_and_says_the_date_when_it_changes(days: float) -> None:
    clock = Clock(BUILT_IN.tai_from_utc(datetime(2026, 3, 20, 9, 35, tzinfo=UTC)), days * 86_400)
    for axis in (TimeAxis(clock), TimeAxis(clock).small()):
        ticks = axis.ticks()
        assert 2 <= len(ticks) <= 14 and len({tick.since for tick in ticks}) == len(ticks)
        for before, after in itertools.pairwise(ticks):
            assert axis.x(after.t_s) - axis.x(before.t_s) >= max(len(before.utc), len(after.utc)) * 6.2
            assert (":" in after.utc) and (
                (" " in after.utc) == (clock.utc(before.t_s).mjd != clock.utc(after.t_s).mjd)
            )
    assert (" " in clock.utc_text(0.0)) is (days >= 1)


def test_marks_that_fall_together_share_a_label_and_none_stands_on_another() -> None:
    marks = [
        Mark(0, BOOT, "boot 1"),
        Mark(600, FAULT, "power-cut"),
        Mark(610, BOOT, "boot 2"),
        Mark(640, FAULT, "late"),
    ]
    axis = TimeAxis(Clock(0, 5700.0), marks=marks).small()
    svg = line_chart(axis, [Series("a", [(0, 1.0)])], "t", "u")
    assert re.findall(r'class="(\w+)-text"[^>]*>([^<]*)<', svg) == [("fault", "power-cut, boot 2 +1")]
    assert svg.count("-line") == 4, "a mark without a label has its line all the same"
    many = [Mark(float(i), BOOT, f"boot {i}") for i in range(5000)]
    svg = line_chart(replace(axis, marks=many), [], "t", "u")
    assert svg.count("-line") == 200


@pytest.mark.campaign
def test_a_long_run_makes_no_long_page() -> None:
    """A thousand orbits with a boot, a fault and a break of telemetry in each."""
    orbits = range(1000)
    curve = [(t * 60.0, math.nan if t % 95 == 0 else float(t % 7)) for t in range(95_000)]
    whole = ReportData(
        "t", "s", 0, 5.7e6, [], eclipses=[Interval(5700 * i, 5700 * i + 2000) for i in orbits],
        passes=[PassRow("a", 5700 * i, 5700 * i + 500, 5700 * i + 250, 40.0, [(5700 * i, 5.0)] * 41) for i in orbits],
        marks=[Mark(5700.0 * i, BOOT, f"boot {i}") for i in orbits],
        occurrences=[Occurrence("boot", 5700.0 * i) for i in orbits], power=[Series("a", curve)] * 2,
        rates=[Series("a", curve)] * 4, outbox=[Series("a", curve)], drops=[Series("a", curve)],
    )  # fmt: skip
    text = page(whole)
    assert len(text) < 1_000_000
    assert "920 more; summary.json has them all." in text


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (250_000.0, "250k"), (1.5e6, "1.5M"), (-2e10, "-20G"), (3e15, "3000T")]
)
def test_a_large_scale_has_short_numbers(value: float, shown: str) -> None:
    low, high = min(value, -1e5), max(value, 0.0)
    svg = line_chart(TimeAxis(Clock(0, 10.0)).small(), [], "t", "u", ticks=sorted({low, value, high}))
    assert f">{shown}</text>" in svg


def test_areas_of_different_times_are_stacked() -> None:
    svg = area_chart(TimeAxis(Clock(0, 10.0)), [Series("a", [(0, 1), (10, 1)]), Series("b", [(5, 2)])], "t", "u")
    assert svg.count('class="area') == 4, "two for a wide screen, two for a narrow one"


def test_mask_has_the_palette() -> None:
    picture = mask_picture(np.array([[0, 1], [2, 0]], dtype=np.uint8))
    assert picture.mode == "P"
    rgb = np.asarray(picture.convert("RGB"))
    assert [tuple(map(int, rgb[i])) for i in ((0, 0), (0, 1), (1, 0))] == list(MASK_COLOURS[:3])


def test_quicklook_is_red_green_blue() -> None:
    samples = np.zeros((4, 32, 32), dtype=np.uint16)
    samples[2] = 3500
    picture = Image.open(BytesIO(quicklook_png(samples)))
    assert picture.getpixel((10, 10)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("a.bin", "a.bin"), ("../../etc/passwd", "passwd"), ("..", "unnamed"), ("", "unnamed"), ("C:\\x\\.y z", "y_z"),
     ("é" * 3, "___"), ("x" * 300, "x" * 100), ("\0", "_")],
)  # fmt: skip
def test_names_from_the_downlink_stay_in_the_folder(sent: str, kept: str) -> None:
    assert safe_name(sent) == kept
