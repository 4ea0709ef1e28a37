"""Time on board and on ground: reports against the frames they speak of, and the clock as ground steers it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from flight.contract.app import CommandRefused
from flight.contract.fields import Value
from flight.core.nanoseconds import NS, ns
from flight.link.space_packet import SpacePacket
from flight.mission import load
from flight.services.time.clock import Clock, Correction, TimeService
from ground.telemetry.decoder import DecodedPacket, Decoder
from ground.xtce.document import xtce_document
from ground.xtce.names import ROOT_CONTAINER
from sim_hw.config import SimConfig
from sim_hw.mission_run import MissionRun
from sim_hw.report.outputs import RunFolder
from sim_hw.spacecraft_run import SpacecraftRun
from sim_hw.world.scenes import FolderSource
from tests.field_values import integer, real
from tests.sim.conftest import START, MakeRig, Rig

DONE = [1, 3, 7]


def reports(rig: Rig) -> list[DecodedPacket]:
    decoder = Decoder(rig.dictionary)
    return [decoder.decode(raw) for raw in rig.raw if raw[0] & 7 == 0 and raw[1] == 0]


def error_s(rig: Rig) -> float:
    """By how much the node's clock is ahead of the world's."""
    return (rig.node.part(Clock).tai_ns() - rig.world.start_tai_ns - rig.loop.now_ns()) / NS


def test_time_packets_have_no_secondary_header_and_say_which_frame(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(130)
    found = reports(rig)
    assert len(found) >= 2
    for one in found:
        assert (one.name, one.apid, one.service, one.subtype) == ("time_report", 0, 9, 2)
        assert one.raw["frame"] % 4 == 0 and one.raw["rate"] == 2 and one.values["status"] == "free running"
        t_ns = integer(one.time_ns) - rig.world.start_tai_ns
        assert ns(90) < t_ns < ns(130)
    times = [integer(one.time_ns) for one in found]
    assert all(b - a >= ns(0.999) for a, b in pairwise(times))


def test_rate_is_set_and_kept_over_a_boot(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(100)
    request = rig.send("set_time_report_rate", 5)
    refused = rig.send("set_time_report_rate", 9)
    rig.until(110)
    assert rig.stages(request) == DONE and rig.stages(refused) == [2]
    rig.craft.cut_power()
    rig.until(130)
    assert rig.node.part(TimeService).rate == 5


def test_clock_is_set_and_corrected_and_goes_on_so_after_a_boot(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(100)
    step, drift = rig.send("adjust_time", -2_500_000), rig.send("set_drift_correction", 100_000)
    rig.until(110)
    assert rig.stages(step) == DONE and rig.stages(drift) == DONE
    assert error_s(rig) == pytest.approx(-2.5 + 0.0001 * 10, abs=0.0005)
    told = [p for p in rig.packets if (p.service, p.subtype) == (5, 2) and p.data[:2] == (110).to_bytes(2, "big")]
    assert len(told) == 1
    rig.craft.cut_power()
    rig.until(200)
    assert error_s(rig) == pytest.approx(-2.5 + 0.0001 * 100, abs=0.0005)
    assert rig.node.part(Clock).damage == ""
    assert reports(rig)[-1].values["status"] == "steered by ground"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("adjust_time", 90_000_000_000, "largest is 86400 s"),
        ("adjust_time", -(2**63), "largest is 86400 s"),
        ("set_drift_correction", 600_000, "largest is 500000 ppb"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_the_bound(make_rig: MakeRig, name: str, value: Value, text: str) -> None:
    rig = make_rig()
    rig.until(100)
    request = rig.send(name, value)
    rig.until(105)
    assert rig.stages(request) == [2]
    assert any(text.encode() in p.data for p in rig.reports(1, 2))
    assert error_s(rig) == 0


def test_steps_that_wait_for_the_disk_together_all_count(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(100)
    rig.craft.disk.commit_s = 8.0
    steps = [rig.send("adjust_time", 10_000_000), rig.send("adjust_time", 1_000_000)]
    drift = rig.send("set_drift_correction", 100_000)
    rig.until(160)
    assert [rig.stages(one) for one in (*steps, drift)] == [DONE] * 3
    assert error_s(rig) == pytest.approx(11, abs=0.01)
    rig.craft.cut_power()
    rig.until(200)
    assert error_s(rig) == pytest.approx(11, abs=0.01)


def test_a_step_is_looked_at_again_when_its_turn_comes(make_rig: MakeRig) -> None:
    rig = make_rig(more="[time]\nstep_max_s = 3.2e9\n")
    rig.until(100)
    step_us = 2_100_000_000_000_000
    rig.node.part(TimeService).check_adjust(step_us)
    rig.node.parts.vault.stage(
        rig.node.part(TimeService).adjust(step_us).changes
    )  # of another step that was accepted with this one
    with pytest.raises(CommandRefused, match="out of the time code's range"):
        rig.node.part(TimeService).adjust(step_us)


@pytest.mark.parametrize("stored", [b"\x09", b"", b"\1\1"])
def test_a_stored_rate_that_cannot_be_is_reported_and_left_out(make_rig: MakeRig, stored: bytes) -> None:
    rig = make_rig()
    rig.until(100)
    rig.node.parts.vault.commit({"time.rate": stored})
    rig.until(110)
    rig.craft.cut_power()
    rig.until(130)
    assert rig.node.part(TimeService).rate == 2 and rig.node.parts.vault.get("time.rate") == stored
    assert any(b"time.rate left out" in p.data for p in rig.reports(5, 3))


@pytest.mark.parametrize("stored", [b"", b"\xff" * 19, b"\x7f" + b"\xff" * 19])
def test_a_stored_correction_that_cannot_be_is_reported_and_left_out(make_rig: MakeRig, stored: bytes) -> None:
    rig = make_rig()
    rig.node.parts.vault.stage({"time.correction": stored})
    clock = Clock(rig.node._platform, rig.node.parts.vault)  # noqa: SLF001 - a clock on the same platform
    assert clock.damage and clock.correction == Correction()
    assert clock.tai_ns() == rig.world.start_tai_ns


def test_no_octets_of_a_time_packet_harm_the_decoder(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(130)
    decoder = Decoder(rig.dictionary)
    (good, *_) = [raw for raw in rig.raw if raw[0] & 7 == 0 and raw[1] == 0]
    short = SpacePacket(0, 1, good[6:-1]).encode()
    with pytest.raises(ValueError, match="time_report"):
        decoder.decode(short)


@pytest.fixture
def flown(tmp_path: Path, bare_mission: Callable[[str], Path]) -> Iterator[SpacecraftRun]:
    """The first twelve minutes of a run, one pass of nine in them, with a board's clock that is off."""
    path = bare_mission(
        "[sim]\nclock_offset_s = -3.25\nclock_drift_ppm = 12.5\n"
        f'[sim.world.orbit]\nstart = "{START}"\n[housekeeping]\nperiod_s = {{power = 1.0}}\n'
    )
    mission = load(path, {"sim": SimConfig})
    source, out = FolderSource(_one_tile(tmp_path)), RunFolder(tmp_path / "out", [mission.node.name])
    run = MissionRun([mission], lambda _: source, out, seed=1, duration_s=640.0)
    run.start()
    run.advance(ns(600))
    yield run.spacecraft[0]
    run.finish()
    run.archive.close()


def _one_tile(folder: Path) -> Path:
    (folder / "tiles").mkdir()
    np.savez(folder / "tiles" / "a.npz", refl=np.zeros((256, 256, 6), np.uint16))
    return folder / "tiles"


def test_ground_finds_offset_and_drift_of_the_boards_clock(flown: SpacecraftRun) -> None:
    made = flown.station.correlator.now
    assert made is not None and made.pairs >= 10
    now_ns = flown.world.start_tai_ns + flown.loop.now_ns()
    true_ns = -3.25e9 + 12.5e-6 * flown.loop.now_ns()
    assert abs(made.error_ns(now_ns) - true_ns) <= 4 * made.sigma_ns(now_ns)
    assert abs(made.drift_ppb - 12_500) <= 4 * made.drift_sigma_ppb
    assert made.sigma_ns(now_ns) < 50_000 and made.drift_sigma_ppb < 500
    counters = flown.station.counters()
    assert counters["correlation.jumps"] == 0 and counters["correlation.outliers"] <= 2
    kept = flown.archive.series("correlation.offset_us")
    assert len(kept) >= 10 and abs(real(kept[-1][1]) - true_ns / 1e3) < 200
    assert flown.station.latest["correlation.drift_ppb"].unit == "ppb"


def test_other_ground_systems_read_a_time_report(make_rig: MakeRig, tmp_path: Path) -> None:
    parser = pytest.importorskip("space_packet_parser")
    rig = make_rig()
    rig.until(130)
    (tmp_path / "dictionary.xml").write_text(xtce_document(rig.dictionary))
    definition = parser.load_xtce(tmp_path / "dictionary.xml")
    raw = next(raw for raw in rig.raw if raw[0] & 7 == 0 and raw[1] == 0)
    ours, theirs = Decoder(rig.dictionary).decode(raw), definition.parse_bytes(raw, root_container_name=ROOT_CONTAINER)
    assert int(theirs["time_report__frame"]) == ours.raw["frame"]
    assert int(theirs["time_report__time"].raw_value) == integer(ours.time_ns) * 65536 // NS
