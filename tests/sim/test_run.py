"""`orbitnode run` as a process: reproducible, its numbers add up, its files are read by other people's code.

A short run (four minutes, a pass from 90 s on) with tiles made here and a one-layer model, real workers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ccsdspy.utils
import numpy as np
import onnx
import pytest
import space_packet_parser as spp
import xmlschema
from onnx import TensorProto, helper
from spacepackets.ccsds.tm_frame import TmTransferFrame
from spacepackets.ecss.tm import PusTm as PeerTm

from flight.contract.dictionary import Dictionary
from flight.link.pus import PusTm
from flight.link.time.time_code import decode_cuc
from flight.link.tm.tm_frame import TmFrame
from flight.mission import MISSIONS
from ground.telemetry.decoder import HOUSEKEEPING, Decoder
from ground.xtce.names import ROOT_CONTAINER, parameter_name
from payloads.worker.guards import Guard
from tests.archives import reading
from tests.sim.conftest import START
from tests.waiting import GIVE_UP_RUN_S, wait_until

ORBITS = 4.0 / 95.0
FRAME_OCTETS = 1115


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a mission, a model and tiles."""
    folder = tmp_path_factory.mktemp("stage")
    weights = np.zeros((3, 4, 1, 1), dtype=np.float32)
    weights[1, 0] = 1.0
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])], "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 256, 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 256, 256])],
        [helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.ravel())],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "m.onnx")
    statistics = {"img": [[0.25] * 4, [0.25] * 4], "band_names": ["blue", "green", "red", "nir"]}
    (folder / "m.json").write_text(json.dumps({"data": {"dataset_statistics": statistics}}))
    (folder / "tiles").mkdir()
    generator = np.random.default_rng(1)
    for i in range(3):
        refl = generator.integers(500, 2400, (256, 256, 6), dtype=np.uint16)
        label = np.zeros((256, 256), dtype=np.uint8)
        refl[: 40 * (i + 1)] = 6000
        label[: 40 * (i + 1)] = 1
        np.savez_compressed(folder / "tiles" / f"t{i}.npz", refl=refl, label=label)
    (folder / "mission.toml").write_text(
        f'extends = "{(MISSIONS / "orbit.toml").as_posix()}"\n'
        f"[payload]\ncapture_period_s = 3.0\nwall_limit_s = {GIVE_UP_RUN_S}\n"
        f'[[payload.worker_app]]\nname = "screen"\ncode = "payloads.apps.screen:Screen"\n'
        f'model = "{folder / "m.onnx"}"\n'
        f'[power]\nsoc_safe_frac = 0.5\n[sim.world.orbit]\nstart = "{START}"\n'
        "[sim.world.power]\nsoc_start_frac = 0.95\n"
    )
    return folder


def command(stage: Path, out: Path, *more: str, seed: int = 11) -> list[str]:
    """Of the mission of the stage, unless `more` names others."""
    mission = [] if "--mission" in more else ["--mission", str(stage / "mission.toml")]
    return [
        sys.executable, "-m", "flight.cli", "run", "--json", *mission, "--scenes", str(stage / "tiles"), "--orbits",
        str(ORBITS), "--seed", str(seed), "--out", str(out), *more,
    ]  # fmt: skip


def fly(stage: Path, out: Path, *more: str, seed: int = 11, hash_seed: str = "0") -> dict[str, Any]:
    done = subprocess.run(
        command(stage, out, *more, seed=seed),
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=GIVE_UP_RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    assert summary == json.loads((out / "summary.json").read_text())
    return summary


@pytest.fixture(scope="session")
def flown(stage: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("out")
    return out, fly(stage, out)


@pytest.fixture(scope="session")
def dictionary(flown: tuple[Path, Any]) -> Dictionary:
    return Dictionary.from_document(json.loads((flown[0] / "dictionary.json").read_text()))


def assert_adds_up(summary: dict[str, Any]) -> None:
    tiles, link = summary["tiles"], summary["link"]
    assert tiles["captured"] == tiles["screened"] + tiles["dropped"] + tiles["pending"]
    assert tiles["dropped"] == sum(tiles["dropped_by_reason"].values())
    assert link["frames_sent"] == link["frames_received"] + link["frames_lost"]
    # Whatever was hit by a bit error and only that is missing from what arrived; an error in the marker may do no harm.
    assert 0 <= link["frames_lost_to_bit_errors"] <= link["frames_with_bit_errors"]
    files = summary["files"]
    assert files["received"] + files["incomplete"] <= files["begun"]
    on_board, gone = files["waiting"] + files["resting"], files["evicted"] + files["refused"] + files["lost_with_power"]
    assert files["put"] == files["acknowledged"] + on_board + gone
    assert files["acknowledged"] <= files["received"]
    assert tiles["captured"] > 60
    assert link["frames_received"] > 3000
    assert summary["script_failures"] == []


def test_the_numbers_add_up(flown: tuple[Path, dict[str, Any]]) -> None:
    _, summary = flown
    assert_adds_up(summary)
    assert summary["cloud_accuracy"] == {"tiles": 3, "mean": 1.0, "worst": 1.0}
    assert summary["commands"]["completed"] >= 10
    assert summary["commands"]["rejected"] >= 1  # the deliberately invalid one
    assert summary["files"]["received"] > 10
    assert summary["bytes"]["downlinked"] > 1_000_000
    worker = dict(summary["worker"])
    assert set(worker.pop("guards_missing")) <= set(Guard.every().labels)
    assert worker == {"failures": {}, "first_failure": None, "retried": 0, "restarts": 0, "hang_limit_fired": 0}


def test_coded_frames_lose_nothing_to_a_bit_error_rate_of_1e_4(flown: tuple[Path, dict[str, Any]]) -> None:
    link = flown[1]["link"]
    coding = link["coding"]
    assert (coding["code"], coding["interleave"], coding["bit_error_rate"]) == ("rs(255,223)", 5, 1e-4)
    assert link["frames_lost_to_bit_errors"] == sum(link["frames_rejected"].values()) == 0
    # Two of three frames of 1,279 octets are hit, and each wrong bit is a wrong symbol or one in a marker.
    assert 0.60 < link["frames_with_bit_errors"] / link["frames_received"] < 0.68
    bits = 8 * 1279 * link["frames_received"]
    assert 0.95 < (coding["symbols_corrected"] + coding["marker_bit_errors"]) / (1e-4 * bits) < 1.05
    assert coding["codewords"] == 5 * link["frames_received"]
    assert coding["codewords_uncorrectable"] == coding["flywheel_units"] == coding["channel_symbols"] == 0
    assert coding["locks"] == len(link["passes"])


@pytest.mark.campaign
def test_the_inner_code_holds_a_link_at_a_bit_error_rate_of_1e_2(stage: Path, tmp_path: Path) -> None:
    """Where Reed-Solomon alone would lose three codewords in four."""
    mission = tmp_path / "mission.toml"
    mission.write_text(
        f'extends = "{(stage / "mission.toml").as_posix()}"\n[sim]\nbit_error_rate = 1e-2\n'
        '[[link]]\nname = "s-band"\ndriver = "sim:s-band"\ncoding = "rs(255,223)"\nconvolutional = true\n'
        'cltu_errors = "correct"\ntc_randomizer = true\nproducts_min_frac = 0.2\n'
    )
    summary = fly(stage, tmp_path / "out", "--mission", str(mission))
    link, coding = summary["link"], summary["link"]["coding"]
    assert link["frames_received"] > 1500
    assert link["frames_lost_to_bit_errors"] == 0
    assert 0.0095 < coding["channel_symbol_errors"] / coding["channel_symbols"] < 0.0105
    assert coding["node_slips"] == 0


@pytest.mark.campaign
def test_every_simplex_link_is_flown_beside_the_first(stage: Path, tmp_path: Path) -> None:
    mission = tmp_path / "mission.toml"
    mission.write_text(
        f'extends = "{(stage / "mission.toml").as_posix()}"\n'
        '[[link]]\nname = "s-band"\ndriver = "sim:s-band"\ncoding = "rs(255,223)"\n'
        'carries = ["realtime", "playback"]\n'
        '[[link]]\nname = "x-band"\ndriver = "sim:x-band"\nkind = "aos"\ncoding = "rs(255,223)"\n'
    )
    out = tmp_path / "out"
    summary = fly(stage, out, "--mission", str(mission))
    assert_adds_up(summary)
    assert "2" not in summary["link"]["octets_by_vc"], "no product comes over the radio"
    assert summary["files"]["received"] > 10
    with reading(out / "archive.db") as archive:
        counted = {
            name: archive.counters(f"links.x-band.{name}")[-1][1]
            for name in ("link.frames", "link.packets", "coding.codewords_corrected", "coding.codewords_uncorrectable")
        }
    assert counted.pop("coding.codewords_uncorrectable") == 0
    assert all(number > 100 for number in counted.values()), counted
    ((name, further),) = summary["further_links"].items()
    assert (name, further["code"], further["codewords_uncorrectable"]) == ("x-band", "rs(255,223)", 0)
    assert (
        further["frames_received"] == counted["link.frames"] and further["packets_received"] == counted["link.packets"]
    )
    assert further["frames_sent"] == further["frames_received"] + further["frames_lost"]
    text = (out / "report.html").read_text()
    assert "Simplex links" in text and f"{further['frames_sent']:,}" in text


@pytest.mark.campaign
def test_another_seed_another_digest(stage: Path, flown: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    assert fly(stage, tmp_path / "other", seed=12)["digest"] != flown[1]["digest"]


def test_one_seed_one_digest_and_a_payload_beside_another_flies_as_it_does_alone(
    stage: Path, flown: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Two payload managers with a worker each, on one loop; sets are in another order than in the run alone."""
    beside = tmp_path / "beside.toml"
    beside.write_text(f'extends = "{(stage / "mission.toml").as_posix()}"\n[node]\nname = "beside"\n')
    document = fly(
        stage, tmp_path / "out", "--mission", str(stage / "mission.toml"), "--mission", str(beside), hash_seed="12345"
    )
    first, second = document["spacecraft"]["orbitnode-1"], document["spacecraft"]["beside"]
    differing = {key for key in first if first[key] != flown[1][key]}
    assert differing <= {"wall_s", "inference"}
    assert_adds_up(second)
    assert second["digest"] != first["digest"] != document["digest"]


def test_other_people_split_the_packets_without_a_leftover_octet(flown: tuple[Path, dict[str, Any]]) -> None:
    out, summary = flown
    path = out / "packets.bin"
    counted, missing = ccsdspy.utils.count_packets(str(path), return_missing_bytes=True)
    assert (counted, missing) == (summary["link"]["packets_received"], 0)
    with path.open("rb") as stream:
        packets = list(spp.ccsds_generator(stream))
    assert len(packets) == counted
    assert sum(len(packet) for packet in packets) == path.stat().st_size


def test_space_packet_parser_reads_housekeeping_through_our_xtce_to_the_values_in_our_archive(
    flown: tuple[Path, dict[str, Any]], dictionary: Dictionary
) -> None:
    out, _ = flown
    definition = spp.load_xtce(out / "dictionary.xml")
    decoder = Decoder(dictionary)
    with reading(out / "archive.db") as archive:
        stored = {
            f"{s.name}.{f.name}": dict(archive.series(f"{s.name}.{f.name}"))
            for s in dictionary.structures
            for f in s.fields
        }
    read = 0
    with (out / "packets.bin").open("rb") as stream:
        for raw in spp.ccsds_generator(stream):
            ours = decoder.decode(bytes(raw))
            theirs = definition.parse_bytes(bytes(raw), root_container_name=ROOT_CONTAINER)
            if ours.kind != HOUSEKEEPING:
                continue
            read += 1
            assert ours.time_ns is not None
            for name, value in ours.raw.items():
                seen = theirs[parameter_name(ours.name, name)].raw_value
                if ours.fields[name].type == "time":
                    seen = decode_cuc(int(seen).to_bytes(6, "big"))
                if isinstance(value, str):
                    assert seen.decode() == value, (ours.name, name)
                else:
                    assert seen == pytest.approx(value, rel=0, abs=0, nan_ok=True), (ours.name, name)
                kept = stored[f"{ours.name}.{name}"][ours.time_ns]
                shown = ours.values[name]
                assert kept in (value, shown), (ours.name, name)
    assert read > 100


def test_the_xtce_is_valid(flown: tuple[Path, Any], shared: Path) -> None:
    schema = xmlschema.XMLSchema(str(shared / "vectors/space_packet_parser/SpaceSystem.xsd"), allow="local")
    schema.validate(str(flown[0] / "dictionary.xml"))


def test_spacepackets_reads_every_frame_and_every_pus_packet(flown: tuple[Path, dict[str, Any]]) -> None:
    out, summary = flown
    octets = (out / "downlink.tm").read_bytes()
    frames = [octets[at : at + FRAME_OCTETS] for at in range(0, len(octets), FRAME_OCTETS)]
    assert len(frames) == summary["link"]["frames_received"]
    for raw in frames:
        theirs, ours = TmTransferFrame.unpack(raw, FRAME_OCTETS, True), TmFrame.decode(raw, FRAME_OCTETS)
        header = theirs.primary_header
        assert (header.master_channel_id.spacecraft_id, header.vc_id) == (0x1AB, ours.vcid)
        assert (header.master_ch_frame_count, header.vc_frame_count) == (ours.master_count, ours.vc_count)
        assert bytes(theirs.data_field) == ours.data
        assert theirs.op_ctrl_field == ours.ocf
    with (out / "packets.bin").open("rb") as stream:
        for packet in spp.ccsds_generator(stream):
            raw = bytes(packet)
            if raw[1] not in (1, 2):
                continue
            peer, mine = PeerTm.unpack(raw, timestamp_len=6), PusTm.decode(raw)
            assert (peer.service, peer.message_subtype, peer.source_data) == (mine.service, mine.subtype, mine.data)


def test_a_run_that_ends_with_an_entry_of_the_counters_has_its_report(stage: Path, tmp_path: Path) -> None:
    (tmp_path / "early.py").write_text("async def early(operator):\n    await operator.send('ping')\n")
    mission = tmp_path / "early.toml"
    text = (stage / "mission.toml").read_text()
    mission.write_text(text + '[sim]\nscript = "early:early"\n')
    done = subprocess.run(
        [sys.executable, "-m", "flight.cli", "run", "--json", "--mission", str(mission), "--scenes",
         str(stage / "tiles"), "--orbits", str(120 / 5700), "--out", str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=GIVE_UP_RUN_S,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.campaign
def test_planned_faults_of_workers_and_power_are_survived_reported_and_reproducible(
    stage: Path, tmp_path: Path
) -> None:
    faults = [word for one in ("worker-hang@30", "worker-kill@60", "power-cut@130") for word in ("--fault", one)]
    first = fly(stage, tmp_path / "a", *faults)
    again = fly(stage, tmp_path / "b", *faults, hash_seed="12345")
    assert_adds_up(first)
    assert first["boots"] == 2
    assert first["worker"]["failures"] == {"hung": 1, "died": 1}
    assert (first["worker"]["retried"], first["worker"]["restarts"]) == (2, 2)
    differing = {key for key in first if first[key] != again[key]}
    assert differing <= {"wall_s", "inference"}
    with reading(tmp_path / "a" / "archive.db") as archive:
        told = sorted((event.time_ns, event.text) for event in archive.events() if event.name == "worker_failed")
    assert len(told) == 2
    assert told[0][1].endswith(f": {first['worker']['first_failure']}")


def workers_of(pid: int) -> Iterator[int]:
    """Processes of the payload pool below `pid`."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            line = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == pid and b"payloads.worker" in line:
            yield int(stat.parent.name)


HELD = """
import time
from pathlib import Path
from payloads.apps.screen import Screen

class Held(Screen):
    def run(self, samples):
        try:
            Path(__file__).with_name("in_call").touch(exist_ok=False)
        except FileExistsError:
            return super().run(samples)
        time.sleep(3600)
"""


@pytest.mark.campaign
def test_a_worker_killed_from_outside_leaves_a_finished_orbit_an_event_and_a_summary_that_says_so(
    stage: Path, tmp_path: Path
) -> None:
    """The app says when it is in the middle of a tile, and holds up the run there."""
    out = tmp_path / "out"
    (tmp_path / "held_app.py").write_text(HELD)
    text = (stage / "mission.toml").read_text()
    (tmp_path / "mission.toml").write_text(
        text.replace(
            # The app writes a file to say where it is: no guard over files.
            'code = "payloads.apps.screen:Screen"',
            'code = "held_app:Held"\nguards_off = ["read_only_files", "hidden_files"]',
        )
    )
    process = subprocess.Popen(
        command(stage, out, "--mission", str(tmp_path / "mission.toml")), text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        in_call = tmp_path / "in_call"
        wait_until(lambda: in_call.exists() or process.poll() is not None, "a worker is in its app")
        (worker,) = workers_of(process.pid)
        os.kill(worker, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=GIVE_UP_RUN_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, stderr
    summary = json.loads(stdout)
    assert_adds_up(summary)
    assert summary["worker"]["failures"] == {"died": 1}
    assert summary["worker"]["restarts"] == 1
    with reading(out / "archive.db") as archive:
        assert any(event.name == "worker_failed" for event in archive.events())
