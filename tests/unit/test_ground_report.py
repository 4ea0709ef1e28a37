"""The report page: self-contained, well-formed, and nothing from outside gets in unescaped."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from ground.products.answers import MASK_COLOURS, mask_picture
from ground.products.names import safe_name
from ground.telemetry.archive_rows import CommandRow, EventRow
from sim_hw.report.charts import TimeAxis, area_chart, nice_ticks, thin
from sim_hw.report.report import Figure, Interval, ReportData, Series, Tile, page, quicklook_png, write_report


def data() -> ReportData:
    evil = "<script>alert(1)</script>"
    mask = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64) % 3
    stages = (("sent", 0, ""), ("acknowledged", NS, ""), ("rejected", 2 * NS, evil))
    return ReportData(
        title=f"Run {evil}", subtitle=evil, start_tai_ns=0, duration_s=5700.0,
        figures=[Figure("Tiles", "300", evil, "note", "good")],
        eclipses=[Interval(1000, 3000)], passes=[Interval(100, 600, evil), Interval(650, 700, "Troll")],
        power=[Series("array", [(0, 40), (50, math.nan), (100, 41), (200, 42)])], charge=[Series("soc", [(0, 0.5)])],
        temperatures=[Series("board", [])], rates=[Series("VC0", [(0, 1.0), (10, 2.0)]), Series("VC1", [(5, 1.0)])],
        backlog=[Series("products", [(0, 1.0), (10, 2.0)])], charge_guides=[(0.4, "safe")], link={evil: evil},
        tiles=[Tile(evil, mask, 0.3, 0.97), Tile("b", mask, 0.3, note=evil)] * 15, tiles_note="simulated",
        commands=[CommandRow(1, 0, evil, {"a": evil}, "rejected", evil, 2, 2 * NS, stages)],
        events=[EventRow(i * NS, 0, 1, evil, s, evil) for i, s in enumerate(("info", "high") * 100)],
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


def test_events_are_shown_in_the_archive_or_not_received() -> None:
    text = page(replace(data(), event_counts={"info": 120, "high": 100}, events_archived=200))
    assert "120 more, of lower severity or older, in the archive. 20 not received." in text
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


def test_areas_of_different_times_are_stacked() -> None:
    svg = area_chart(TimeAxis(10.0), [Series("a", [(0, 1), (10, 1)]), Series("b", [(5, 2)])], "t", "u")
    assert svg.count('class="area') == 2


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
