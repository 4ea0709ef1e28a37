"""`orbitnode run` with input that cannot be flown: an exit code, one clear line, no traceback, the last run kept."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from flight.cli import main
from flight.contract.app import AppContext
from flight.contract.dictionary import Declarations, Structure
from flight.contract.fields import Field
from flight.core.errors import SetupError
from flight.core.executive_section import ExecutiveConfig
from flight.mission import MISSIONS
from hal.base import HalError
from payloads.assets.cache import scene_path
from payloads.assets.models import model_path
from sim_hw.machine.simulated_devices import SimImager
from sim_hw.world.scenes import FolderSource, SyntheticClouds
from sim_hw.world.world import World, WorldConfig
from tests.waiting import GIVE_UP_RUN_S

ROOT = Path(__file__).resolve().parents[2]
ORBIT = (MISSIONS / "orbit.toml").as_posix()


@dataclass
class Case:
    """Arguments after `orbitnode run`, the exit code, and what the only line (or the list) must say.

    One of each kind is run as a process of its own, which takes a second; the others by the same `main` in this one.
    """

    arguments: list[str]
    says: list[str]
    code: int = 1
    lines: int = 1
    cache: Path | None = None
    process: bool = False


def in_process(case: Case) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("COLUMNS", "500")
        if case.cache is not None:
            patch.setenv("ORBITNODE_CACHE", str(case.cache))
        try:
            code = main(["run", *case.arguments])
        except SystemExit as leaving:  # argparse, on wrong use
            code = int(leaving.code or 0)
        gc.collect()  # says what was never awaited
    return code, out.getvalue(), err.getvalue()


def as_process(case: Case) -> tuple[int, str, str]:
    environment = dict(os.environ, PYTHONPATH=str(ROOT), COLUMNS="500")
    if case.cache is not None:
        environment["ORBITNODE_CACHE"] = str(case.cache)
    done = subprocess.run(
        [sys.executable, "-m", "flight.cli", "run", *case.arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=GIVE_UP_RUN_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def run(case: Case) -> list[str]:
    """Everything that is not as it should be."""
    code, out, err = as_process(case) if case.process else in_process(case)
    wrong = [f"does not say {text!r}" for text in case.says if text not in err]
    lines = err.rstrip("\n").split("\n")
    if case.code == 2:  # the usage comes before
        lines = [line for line in lines if line.startswith("orbitnode run: error:")]
    elif not lines[0].startswith("orbitnode: error: "):
        wrong.append("does not begin with `orbitnode: error:`")
    if code != case.code:
        wrong.append(f"exit code {code}, should be {case.code}")
    if len(lines) != case.lines:
        wrong.append(f"{len(lines)} lines, should be {case.lines}")
    for text in ("Traceback", "unexpected", "Warning", "never awaited", "invalid _"):
        if text in err:
            wrong.append(f"says {text!r}")
    if out:
        wrong.append(f"prints {out[:100]!r}")
    return [f"{case.arguments}: {', '.join(wrong)}\n{err}"] if wrong else []


def check(*cases: Case) -> None:
    processes = [case for case in cases if case.process]
    with ThreadPoolExecutor(2) as pool:
        wrong = [fault for faults in pool.map(run, processes) for fault in faults]
    wrong += [fault for case in cases if not case.process for fault in run(case)]
    assert not wrong, "\n\n".join(wrong)


def test_wrong_use() -> None:
    kinds = "eps-mute, power-cut, worker-hang, worker-kill"
    check(
        Case(["--orbits", "0"], ["--orbits: '0' should be a number above 0, at most 1,000"], 2),
        Case(["--orbits", "many"], ["--orbits: 'many' should be a number above 0"], 2, process=True),
        Case(["--orbits", "nan"], ["--orbits: 'nan' should be a number above 0"], 2),
        Case(["--seed", "-1"], ["--seed: '-1' is not a whole number in 0 .. 2^63 - 1"], 2),
        Case(["--seed", "1.5"], ["--seed: '1.5' is not a whole number"], 2),
        Case(["--obrits", "1"], ["unrecognized arguments: --obrits"], 2),
        Case(["--fault", "meteor@5"], ["fault 'meteor@5': unknown kind 'meteor', known: ", kinds], 2, process=True),
        Case(
            ["--fault", "worker-kil@5"],
            ["fault 'worker-kil@5': unknown kind 'worker-kil', did you mean worker-kill?"],
            2,
        ),
        Case(["--fault", "eps-mute@soon"], ["fault 'eps-mute@soon': should be KIND@SECONDS"], 2),
        Case(["--fault", "eps-mute@-1"], ["fault 'eps-mute@-1': should be KIND@SECONDS"], 2),
        Case(["--fault", "eps-mute@nan"], ["fault 'eps-mute@nan': should be KIND@SECONDS"], 2),
    )


def test_an_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "summary.json").mkdir(parents=True)
    remedy = "name another with --out"
    needs_assets()
    check(
        Case(
            ["--out", str(tmp_path / "file")],
            [f"output folder {tmp_path}/file cannot be written: ", remedy],
            process=True,
        ),
        Case(["--out", str(tmp_path / "file" / "x")], [f"{tmp_path}/file/x cannot be written: Not a dir", remedy]),
        Case(
            ["--out", str(tmp_path / "taken")],
            [f"{tmp_path}/taken cannot be written: {tmp_path}/taken/summary.json: Is a directory", remedy],
        ),
        Case(["--out", "/proc/orbitnode"], ["output folder /proc/orbitnode cannot be written: ", remedy]),
    )


def test_missions_that_cannot_be_flown(tmp_path: Path) -> None:
    needs_assets()

    def mission(name: str, text: str) -> list[str]:
        path = tmp_path / f"{name}.toml"
        path.write_text(f'extends = "{ORBIT}"\n{text}')
        return ["--mission", str(path), "--out", str(tmp_path / name)]

    screening = "[[payload.worker_app]]\nname = 'screen'\ncode = 'payloads.apps.screen:Screen'\n"
    unread = tmp_path / "bad.onnx"
    unread.write_bytes(b"")
    unread.with_suffix(".json").write_text('{"data": {"dataset_statistics": {"img": [[0.5], [0.5]]}}}')
    faulty = "[node]\nnam = 1\n[sim]\norbit_min = 0\n[drivers]\neps = 'can:0'\n[payload]\nworkers = 0\n"
    check(
        Case(["--mission", str(tmp_path / "none.toml")], [f"mission file {tmp_path}/none.toml cannot be read: No such"],
             process=True),
        Case(["--mission", str(tmp_path)], ["cannot be read: Is a directory"]),
        Case(mission("garbled", "[node"), ["garbled.toml:2: not valid TOML: Expected ']' at the end of a"], lines=2),
        Case(
            mission("faulty", faulty),
            [
                "faulty.toml: 4 faults\n",
                "faulty.toml:3: node.nam: unknown key, did you mean name?\n",
                "faulty.toml:5: sim.orbit_min: is 0, should be in 1 .. 1000\n",
                "faulty.toml:9: payload.workers: is 0, should be in 1 .. 16\n",
                "faulty.toml:7: drivers.eps: unknown eps driver 'can' in 'can:0', known: serial:..., sim:...\n",
            ],
            lines=5,
            process=True,
        ),
        Case(mission("script", "[sim]\nscript = 'nowhere:f'\n"),
             ["script.toml:3: sim.script: operator script 'nowhere:f' cannot be loaded"], lines=2),
        Case(mission("relative", "[sim]\nscript = '.x:f'\n"), ["operator script '.x:f' cannot be loaded"], lines=2),
        Case(mission("serial", "[drivers]\neps = 'serial:/dev/none'\n"),
             ["serial.toml:3: drivers.eps: is 'serial:/dev/none', a real device"], lines=2, process=True),
        Case(
            mission(
                "attic",
                "[drivers]\nboard_thermometer = 'sim:attic'\neps = 'sim:'\nheater = 'sim:nowhere'\n"
                "governor = 'sim:x'\nimager = 'sim:cam'\n[payload]\nworkers = 0\n",
            ),
            [
                "attic.toml:3: drivers.board_thermometer: is 'sim:attic', not a simulated device, known: s",
                "attic.toml:4: drivers.eps: is 'sim:', not a simulated device, known: sim:eps\n",
                "attic.toml:5: drivers.heater: is 'sim:nowhere', not a simulated device, known: sim:heater",
                "attic.toml:6: drivers.governor: is 'sim:x', not a simulated device, known: sim:payload\n",
                "attic.toml:7: drivers.imager: is 'sim:cam', not a simulated device, known: sim:camera\n",
                "attic.toml:9: payload.workers: is 0, should be in 1 .. 16\n",
            ],
            lines=7,
        ),
        Case(mission("modem", "[[link]]\nname = 'a'\ndriver = 'sim:a'\n[[link]]\nname = 'b'\ndriver = 'sim:b'\n"),
             ["sim:b: no such modem on the air, known: a"]),
        Case(mission("model", f"{screening}model = 'x.onnx'\n"),
             ["model.toml:5: payload.worker_app[0].model: model 'x.onnx': no file x.onnx; name 'ukis-"], lines=2),
        Case(mission("statistics", f"{screening}model = '{unread}'\n"),
             ["statistics.toml:5: payload.worker_app[0].model: bad.json lacks data.dataset_statistics.band_names, a "],
             lines=2),
        Case(mission("period", "[housekeeping.period_s]\npowr = 1\n"),
             ["period.toml:3: housekeeping.period_s.powr: no structure powr, did you mean power?"], lines=2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("script = 'nowhere:f'", "operator script 'nowhere:f' cannot be loaded"),
        ("cpu_profile = 'none.json'", "none.json"),
    ],
)
def test_what_a_run_names_and_has_not_leaves_the_results_of_the_last_run(tmp_path: Path, key: str, says: str) -> None:
    tiles, out = tmp_path / "tiles", tmp_path / "out"
    for folder in (tiles, out):
        folder.mkdir()
    np.savez_compressed(tiles / "t.npz", refl=np.full((256, 256, 4), 1000, np.uint16))
    kept = {out / name: f"the last run's {name}" for name in ("summary.json", "archive.db")}
    for path, text in kept.items():
        path.write_text(text)
    arguments = ["--scenes", str(tiles), "--out", str(out)]
    for number, more in enumerate(("", f"[sim]\n{key}\n")):  # the second spacecraft is the faulty one
        path = tmp_path / f"{number}.toml"
        path.write_text(f'extends = "{ORBIT}"\napp = []\n[node]\nname = "node-{number}"\n{more}')
        arguments += ["--mission", str(path)]
    check(Case(arguments, [says], lines=2))
    assert {path: path.read_text() for path in kept} == kept


class Misnamed:
    """An app two of whose samples do not fit their structures."""

    CONFIG = ExecutiveConfig

    @staticmethod
    def declare(apid: int, _config: Any) -> Declarations:
        names = (("position", ("x_km", "y_km")), ("attitude", ("roll_deg",)), ("drift", ("rate",)))
        return Declarations(
            structures=tuple(
                Structure(apid, 40 + i, name, 30.0, tuple(Field(field, "f32") for field in fields))
                for i, (name, fields) in enumerate(names)
            )
        )

    def __init__(self, context: AppContext) -> None:
        context.housekeeping.provide("position", lambda: {"x_km": 1.0})
        context.housekeeping.provide("attitude", lambda: {"roll_deg": 0.0, "pitch_deg": 0.0})

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_an_app_whose_samples_do_not_fit_their_structures(tmp_path: Path) -> None:
    mission = tmp_path / "misnamed.toml"
    mission.write_text(f'extends = "{ORBIT}"\n[[app]]\nname = "orbit"\napp = "{__name__}:Misnamed"\napid = 2\n')
    says = [
        "app orbit: housekeeping structure position: its sample lacks y_km\n",
        "app orbit: housekeeping structure attitude: its sample has no field for pitch_deg\n",
        "app orbit: housekeeping structure drift: nobody samples it\n",
    ]
    needs_assets()
    check(Case(["--mission", str(mission), "--out", str(tmp_path / "out")], says, lines=3, process=True))


def test_folders_of_tiles_that_cannot_be_used(tmp_path: Path) -> None:
    good = np.full((256, 256, 6), 1000, np.uint16)
    tiles: dict[str, Any] = {
        "small": {"refl": good[:128]},
        "bands": {"refl": good[:, :, :3]},
        "float": {"refl": good.astype(np.float32)},
        "nan": {"refl": np.where(good > 0, np.nan, 0).astype(np.float32)},
        "signed": {"refl": good.astype(np.int16)},
        "unnamed": {"image": good},
        "object": {"refl": np.array([{}, 1], dtype=object)},
    }
    for name, arrays in tiles.items():
        (tmp_path / name).mkdir()
        np.savez_compressed(tmp_path / name / "t.npz", **arrays)
    whole = (tmp_path / "small" / "t.npz").read_bytes()
    for name, octets in {"cut": whole[: len(whole) // 2], "no": b"", "noise": Random(1).randbytes(5000)}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.npz").write_bytes(octets)
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        (tmp_path / "two" / f"{name}.npz").write_bytes(b"")
    right = "should be uint16 256 x 256 x 6 (rows, columns, 4 or more bands)"

    def case(name: str, *says: str, lines: int = 1, process: bool = False) -> Case:
        arguments = ["--scenes", str(tmp_path / name), "--out", str(tmp_path / "out")]
        return Case(arguments, list(says), lines=lines, process=process)

    check(
        case("none", f"{tmp_path}/none: No such file or directory, should be a folder of .npz or .tif tiles"),
        case("small/t.npz", "Not a directory, should be a folder"),
        case("empty", "holds no .npz, .tif or .tiff file, at least one is needed"),
        case("small", "refl is uint16 128 x 256 x 6", right),
        case("bands", "refl is uint16 256 x 256 x 3", right),
        case("float", "refl is float32 256 x 256 x 6", right),
        case("nan", "refl is float32 256 x 256 x 6 with 393216 NaN", right, process=True),
        case("signed", "refl is int16", right),
        case("unnamed", "t.npz: holds no array `refl`", right),
        case("object", "refl is object", right),
        case("cut", "t.npz: cannot be read"),
        case("no", "t.npz: cannot be read"),
        case("noise", "t.npz: cannot be read"),
        case(
            "two",
            "two: 2 of its files cannot be used",
            "a.npz: cannot be read",
            "b.npz: cannot be read",
            lines=3,
            process=True,
        ),
    )


def needs_assets() -> tuple[Path, Path]:
    try:
        return model_path(), scene_path()
    except SetupError as error:
        pytest.skip(f"model and scene are not in the cache: {error}")


def test_a_model_or_scene_that_is_missing_or_damaged_and_the_results_of_the_last_run_stay(tmp_path: Path) -> None:
    model, scene = needs_assets()

    def cache(name: str, damage: Callable[[Path, Path], None]) -> Path:
        """A cache of links to the real one, one of whose files is damaged."""
        folders = []
        for real in (model.parent, scene.parent):
            folder = tmp_path / name / real.name
            folder.mkdir(parents=True)
            for file in real.iterdir():
                (folder / file.name).symlink_to(file)
            folders.append(folder)
        damage(folders[0] / model.name, folders[1] / scene.name)
        return tmp_path / name

    def replace(path: Path, octets: bytes) -> None:
        path.unlink()
        path.write_bytes(octets)

    def make_folder(path: Path) -> None:
        path.unlink()
        path.mkdir()

    def flipped(path: Path) -> bytes:
        octets = bytearray(path.read_bytes())
        octets[len(octets) // 2] ^= 1
        return bytes(octets)

    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.json").write_text("the last run")
    remedy = "run `make setup`"
    short = ["--orbits", "0.01", "--out", str(out)]
    (tmp_path / "empty").mkdir()
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    np.savez_compressed(tiles / "t.npz", refl=np.full((256, 256, 4), 1000, np.uint16))

    bare = tmp_path / "bare.toml"
    bare.write_text(f'extends = "{ORBIT}"\napp = []\n')

    def case(name: str, damage: Callable[[Path, Path], None], *says: str) -> Case:
        lines = 1 if "scene" in name else 2  # the model is a fault of the mission, with its line
        return Case(short, [*says, remedy], cache=cache(name, damage), lines=lines)

    check(
        Case(
            [*short, "--mission", str(bare)],
            ["S2_10m.json is missing", remedy],
            cache=tmp_path / "empty",
            process=True,
        ),
        Case(
            [*short, "--scenes", str(tiles)],
            ["orbit.toml:68: payload.worker_app[0].model: ", "model_4b_l1c.onnx is missing", remedy],
            lines=2,
            cache=tmp_path / "empty",
            process=True,
        ),
        case("no-model", lambda m, _: m.unlink(), "model_4b_l1c.onnx is missing"),
        case("no-numbers", lambda m, _: m.with_suffix(".json").unlink(), "model_4b_l1c.json is missing"),
        case(
            "short-model", lambda m, _: replace(m, m.read_bytes()[:1000]), "onnx has 1000 octets, should have 39601686"
        ),
        case("bad-model", lambda m, _: replace(m, flipped(m)), "onnx has sha256 ", "was altered"),
        case(
            "short-scene", lambda _, s: replace(s, s.read_bytes()[:-1]), "json has 6284145 octets, should have 6284146"
        ),
        case("bad-scene", lambda _, s: replace(s, flipped(s)), "S2_10m.json has sha256 ", "was altered"),
        case("folder", lambda m, _: make_folder(m), "model_4b_l1c.onnx"),
    )
    assert (out / "summary.json").read_text() == "the last run"


# Damage that shows only when the tile is taken


def test_a_tile_that_is_damaged_behind_its_head_is_a_fault_of_the_camera(tmp_path: Path) -> None:
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", refl=np.full((256, 256, 4), 1000, np.uint16))
    octets = bytearray((tmp_path / "a.npz").read_bytes())
    octets[300_000] ^= 1
    (tmp_path / "a.npz").write_bytes(octets)
    imager = SimImager(FolderSource(tmp_path), World(WorldConfig()))
    with pytest.raises(HalError, match=r"a\.npz: cannot be read"):
        imager.capture()
    assert imager.capture().number == 1  # the next one is taken all the same


def test_the_camera_keeps_a_bounded_number_of_truths_the_newest() -> None:
    class Same:
        """One real simulated tile under every number."""

        count = None
        one = SyntheticClouds(np.full((4, 300, 300), 1000), 1).tile(0)

        def tile(self, _number: int) -> Any:
            return self.one

    imager = SimImager(Same(), World(WorldConfig()))
    for _ in range(1000):
        imager.capture()
    assert len(imager._truths) == 512  # noqa: SLF001 - a bound on what is kept
    assert imager.tile(999) is not None
    assert imager.tile(999) is None
    assert imager.tile(0) is None
