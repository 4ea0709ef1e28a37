"""report.html of a run with a mission's own app and with injected faults: times, passes, marks and the app's telemetry.

An independent look at the page: its SVG is parsed, and what it says is held against the mission's epoch, the orbit
model and the archive.
"""

from __future__ import annotations

import re
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import unescape
from itertools import pairwise
from pathlib import Path

import pytest

from flight.core.nanoseconds import NS, ns
from flight.mission import MISSIONS, load
from payloads.manager import InferenceManager
from sim_hw.config import SimConfig
from sim_hw.payload_watch import charge_gates, temperature_gates
from sim_hw.world.orbit import OrbitConfig
from sim_hw.world.world import World, WorldConfig
from tests.archives import reading
from tests.sim.conftest import PASS_START_S, START
from tests.sim.test_run_kept import fly

MINUTES = 12
CUT_S, MUTE_S = 200.0, 400.0
MARKED = ("boot", "fault")
EPOCH = datetime.fromisoformat(START)
APP = """
    from dataclasses import dataclass

    from flight.contract.dictionary import Declarations, Structure
    from flight.contract.fields import Field

    @dataclass(frozen=True, slots=True)
    class Config:
        pass

    class Weather:
        CONFIG = Config

        @staticmethod
        def declare(apid, config):
            fields = (
                Field("gusts", "u32", "", "counted since <boot>"),
                Field("wind_mps", "f32", "m/s"),
                Field("sky", "u8", labels=("clear", "overcast")),
                Field("site", "str"),
                Field("calibrated", "u8", labels=("no", "yes")),
            )
            return Declarations(structures=(Structure(apid, 40, "weather", 5.0, fields),))

        def __init__(self, context):
            self._context, self._gusts = context, 0
            context.housekeeping.provide("weather", self._sample)

        def _sample(self):
            n = self._gusts
            return {"gusts": n, "wind_mps": 2.5 * (n % 3), "sky": n // 4 % 2, "site": "Kiruna", "calibrated": 1}

        def start(self):
            self._context.scheduler.spawn(f"{self._context.name}.blow", self._blow)

        def close(self):
            pass

        async def _blow(self, task):
            async for _ in task.every(5.0):
                self._gusts += 1
"""


@dataclass(frozen=True)
class Page:
    """A report, with its sections by heading and the SVG pictures of each by their label."""

    text: str
    folder: Path

    def section(self, heading: str) -> str:
        (found,) = re.findall(rf"<section><h2>{re.escape(heading)}</h2>(.*?)</section>", self.text, re.DOTALL)
        return str(found)

    def rows(self, heading: str) -> list[list[str]]:
        """Cells of the tables of a section, without markup."""
        rows = re.findall(r"<tr>(.*?)</tr>", self.section(heading), re.DOTALL)
        cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
        return [[unescape(re.sub("<[^>]+>", "", cell)) for cell in row] for row in cells]

    @property
    def pictures(self) -> list[ET.Element]:
        return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", self.text, re.DOTALL)]

    def picture(self, label: str) -> ET.Element:
        """The first of that label: that for a wide screen."""
        return next(one for one in self.pictures if one.get("aria-label") == f"{label} over time")


def texts(svg: ET.Element) -> list[str]:
    return ["".join(one.itertext()) for one in svg.iter("text")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("report")
    (folder / "weather_app.py").write_text(textwrap.dedent(APP))
    mission = folder / "mission.toml"
    mission.write_text(
        f'extends = "{(MISSIONS / "orbit.toml").as_posix()}"\n'
        '[[app]]\nname = "weather"\napp = "weather_app:Weather"\napid = 2\n'
        f'[sim.world.orbit]\nstart = "{START}"\n[sim.world.power]\nsoc_start_frac = 0.95\n'
    )
    faults = [
        w for one in (f"power-cut@{CUT_S:g}", f"eps-mute@{MUTE_S:g}", "worker-kill@300") for w in ("--fault", one)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        done = fly(folder, mission, *faults, orbits=MINUTES / SimConfig().orbit_min)
    assert done.returncode == 0, done.stderr
    return Page((folder / "out" / "report.html").read_text(), folder / "out")


@pytest.mark.campaign
def test_every_time_axis_has_utc_below_the_time_since_the_start(page: Page) -> None:
    assert len(page.pictures) > 8
    for svg in page.pictures:
        shown = texts(svg)
        assert "T+" in shown and "UTC" in shown, svg.get("aria-label")
        minutes = [int(text.removesuffix(" min")) for text in shown if text.endswith(" min")]
        assert minutes[0] == 0 and len(minutes) > 2
        for minute in minutes:
            assert f"{EPOCH + timedelta(minutes=minute):%H:%M}" in shown, (svg.get("aria-label"), minute)
    assert "2026-03-20 09:49:00 to 2026-03-20 10:01:00 UTC" in page.text


def test_tables_and_events_have_utc_beside_the_time_since_the_start(page: Page) -> None:
    for heading in ("Passes", "Boots and faults", "Commands", "Events"):
        head, *rows = page.rows(heading)
        assert head[:2] == ["T+", "UTC"] and rows, heading
        for since, utc, *_ in rows:
            if since != "–":
                hours, minutes, seconds = map(int, since.split(":"))
                at = EPOCH + timedelta(hours=hours, minutes=minutes, seconds=seconds)
                assert utc == f"{at:%H:%M:%S}", (heading, since)


def test_a_pass_is_shown_as_the_orbit_model_has_it(page: Page) -> None:
    world = World(WorldConfig(orbit=OrbitConfig(start=START)))
    (one,) = world.passes(0, ns(60 * MINUTES))
    assert one.start_ns / NS == pytest.approx(PASS_START_S, abs=10)
    sampled = [world.orbit.elevation_deg(one.station, t) for t in range(one.start_ns, one.end_ns, NS)]
    _, (_, utc, until, station, _, highest) = page.rows("Passes")
    assert station == "svalbard"
    rise, set_ = (EPOCH + timedelta(seconds=round(t / NS)) for t in (one.start_ns, one.end_ns))
    assert (utc, until) == (f"{rise:%H:%M:%S}", f"{set_:%H:%M:%S}")
    assert highest.startswith(f"{max(sampled):.1f}° at ")
    picture = page.picture("Elevation")
    assert f"{max(sampled):.0f}°" in texts(picture)
    (curve,) = (path.get("d", "") for path in picture.iter("path") if path.get("class") == "line c0")
    assert len(curve.split("L")) > 30


def test_boots_and_injected_faults_are_marked_in_every_plot(page: Page) -> None:
    for svg in page.pictures:
        lines = {kind: [one for one in svg.iter("line") if one.get("class") == f"{kind}-line"] for kind in MARKED}
        assert {kind: len(found) for kind, found in lines.items()} == {"boot": 2, "fault": 2}, svg.get("aria-label")
        titles = [one.findtext("title") for found in lines.values() for one in found]
        assert "power-cut at 0:03:20, 09:52:20 UTC" in titles and "boot 2 at 0:03:30, 09:52:30 UTC" in titles
        labels = " ".join(texts(svg))
        assert "power-cut" in labels and "boot 2" in labels and "eps-mute" in labels
        x = {one.findtext("title"): float(one.get("x1", "nan")) for one in lines["fault"]}
        axis = [float(one.get("x1", "nan")) for one in svg.iter("line") if one.get("class") == "grid"]
        assert min(axis) < min(x.values()) < max(x.values()) < max(axis)
    for heading in ("Orbit", "Link", "App: weather"):
        assert "boot of the node" in page.section(heading) and "injected fault" in page.section(heading)


def test_the_table_of_boots_and_faults_has_also_what_never_happened(page: Page) -> None:
    rows = page.rows("Boots and faults")[1:]
    assert [(since, what) for since, _, what, _ in rows] == [
        ("0:00:00", "boot 1"), ("0:03:20", "power-cut"), ("0:03:30", "boot 2"), ("0:06:40", "eps-mute"),
        ("–", "worker-kill"),
    ]  # fmt: skip
    assert rows[-1][-1].startswith("did not happen; planned for 300 s")


def test_an_app_of_the_mission_is_shown_by_names_and_units_of_its_own(page: Page) -> None:
    section = page.section("App: weather")
    assert "every 5 s" in section and "counted since &lt;boot&gt;" in section
    assert "<b>gusts</b>" in section and '<b>wind_mps <span class="unit">m/s</span></b>' in section
    assert "0 clear, 1 overcast" in section
    unchanged = re.findall(r"<dt>(\w+)(?:<small>([^<]*)</small>)?</dt><dd>([^<]*)</dd>", section)
    assert unchanged == [("site", "", "Kiruna"), ("calibrated", "0 no, 1 yes", "yes")]
    with reading(page.folder / "archive.db") as archive:
        gusts = [int(value) for _, value in archive.series("weather.gusts")]
    assert len(gusts) > 50 and max(gusts) > 50
    (curve,) = (path for path in page.picture("gusts").iter("path") if path.get("class") == "line c0")
    heights = [float(point.split()[1]) for point in re.split("[ML]", curve.get("d", "")) if point]
    falls = [i for i, (before, after) in enumerate(pairwise(heights)) if after > before]
    assert len(heights) == len(gusts) and len(falls) == 1, "it begins at 0 again with the second boot, once"


def test_outbox_and_drops_are_shown(page: Page) -> None:
    assert page.picture("Outbox: waiting on board") is not None
    counters = page.section("Link").partition("<b>Dropped")[2]
    for name in ("packets without room in memory", "units of the uplink", "reports overwritten"):
        assert name in counters


def test_what_stops_jobs_is_a_limit_to_draw_if_the_mission_flies_the_app_that_has_it(
    bare_mission: Callable[[str], Path],
) -> None:
    mission = load(MISSIONS / "orbit.toml", {"sim": SimConfig})
    app = mission.app(InferenceManager)
    assert app is not None
    gates = charge_gates(mission)
    assert [(gate.low, gate.high) for gate in gates] == [
        (r.stop_soc_frac, r.resume_soc_frac) for r in app.config.energy
    ]
    assert [gate.text.partition(":")[0] for gate in gates] == ["priority 0", "priorities 1 to 2", "priorities 3 to 255"]
    (heat,) = temperature_gates(mission)
    assert (heat.low, heat.high) == (app.config.heat_resume_c, app.config.heat_stop_c)
    without = load(bare_mission(""), {"sim": SimConfig})
    assert charge_gates(without) == temperature_gates(without) == []


def test_no_rate_is_above_that_of_the_link(page: Page) -> None:
    picture = page.picture("Downlink by virtual channel")
    limit = 256.0  # kbit/s, the rate_bps of the mission
    heights = [float(y) for path in picture.iter("path") if "area" in path.get("class", "")
               for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path.get("d", ""))]  # fmt: skip
    ticks = {float(text.text or "nan"): float(text.get("y", "nan")) - 4 for text in picture.iter("text")
             if re.fullmatch(r"[\d.]+", text.text or "")}  # fmt: skip
    scale = max(ticks)
    peak = scale * (max(heights) - min(heights)) / (ticks[0] - ticks[scale])
    assert 0.5 * limit < peak <= limit


def test_nothing_about_an_app_is_built_in(tmp_path: Path, bare_mission: Callable[[str], Path]) -> None:
    """A mission without an app has no such section."""
    done = fly(tmp_path, bare_mission(""), orbits=0.002)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "report.html").read_text()
    assert "App: " not in text
    assert "Worker apps" not in text and "Tiles" not in text and "Cloud accuracy" not in text
    assert "No contact in this run, so no telemetry came down" in text and "Power over time" not in text
