"""Tiles: the scene wheel, simulated clouds, folders of real tiles, and every way they can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from flight.core.errors import OrbitnodeError, SetupError
from payloads.assets.cache import scene_path
from sim_hw.world.clouds import COVER_MAX, TAU_CLOUD, TAU_MAX, _spectral_weight, cover_ground, make_field
from sim_hw.world.scenes import FolderSource, SyntheticClouds, TileSource, load_scene

ROOT = Path(__file__).resolve().parents[2]
IMAGERY = ROOT.parent / "shared" / "imagery"


def scene() -> np.ndarray:
    """Made-up ground of the right shape and range."""
    return np.random.default_rng(5).integers(133, 4933, (4, 300, 300))


def write_scene(path: Path, document: object) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


@pytest.fixture(scope="module")
def synthetic() -> SyntheticClouds:
    return SyntheticClouds(scene(), 11)


def test_scene_is_read(tmp_path: Path) -> None:
    made = load_scene(write_scene(tmp_path / "scene.json", scene().tolist()))
    assert made.dtype == np.int64
    assert np.array_equal(made, scene())


def test_the_real_scene() -> None:
    try:
        path = scene_path()
    except SetupError as error:
        pytest.skip(str(error))
    made = load_scene(path)
    assert (made.shape, made.min(), made.max()) == ((4, 300, 300), 133, 4932)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("[[[1, 2", "cannot be read"),
        ("null", "one of object, 4 x 300 x 300"),
        ({"B02": []}, "one of object"),
        ([[[1, 2], [3]]], "is ragged"),
        ([[[1, 2], [3, 4]]], "1 x 2 x 2 of int64, 4 x 300 x 300 whole numbers is right"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_wrong_scene_says_what_to_do(tmp_path: Path, document: object, text: str) -> None:
    path = write_scene(tmp_path / "x.json", document)
    with pytest.raises(SetupError, match="set up again") as caught:
        load_scene(path)
    assert text in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_scene_of_wrong_numbers(tmp_path: Path) -> None:
    for wrong, text in ((np.full((4, 300, 300), -1), "-1 .. -1"), (np.full((4, 300, 300), 0.5), "float64")):
        with pytest.raises(SetupError, match=text):
            load_scene(write_scene(tmp_path / "x.json", wrong.tolist()))


def test_a_missing_truncated_or_damaged_scene(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="is missing; set up again"):
        load_scene(tmp_path / "none.json")
    text = json.dumps(scene().tolist())
    with pytest.raises(SetupError, match="cannot be read"):
        load_scene(write_scene(tmp_path / "short.json", text[:-1000]))
    (tmp_path / "bad.json").write_bytes(text.encode()[:5000] + b"\xff" + text.encode()[5001:])
    with pytest.raises(SetupError, match="set up again"):
        load_scene(tmp_path / "bad.json")
    with pytest.raises(SetupError, match="cannot be read"):
        load_scene(tmp_path)


def test_synthetic_tiles_depend_on_seed_and_number_alone(synthetic: SyntheticClouds) -> None:
    source: TileSource = SyntheticClouds(scene(), 11)
    backwards = [source.tile(number) for number in (5, 3, 0)]
    for one, number in zip(backwards, (5, 3, 0), strict=True):
        same = synthetic.tile(number)
        assert np.array_equal(one.refl, same.refl)
        assert same.truth is not None
        assert one.truth is not None
        assert np.array_equal(one.truth, same.truth)
        assert one.name == same.name == f"synthetic-11-{number}"
    assert not np.array_equal(synthetic.tile(0).refl, synthetic.tile(1).refl)
    assert not np.array_equal(synthetic.tile(0).refl, SyntheticClouds(scene(), 12).tile(0).refl)
    assert source.count is None


def test_a_synthetic_tile_is_an_image(synthetic: SyntheticClouds) -> None:
    tile = synthetic.tile(7)
    assert tile.refl.dtype == np.uint16 and tile.refl.shape == (4, 256, 256)
    assert tile.truth is not None
    assert tile.truth.dtype == np.uint8 and tile.truth.shape == (256, 256)
    assert set(np.unique(tile.truth)) <= {0, 1}
    image = tile.image(7)
    assert (image.number, image.bands, image.height, image.width) == (7, 4, 256, 256)
    assert np.array_equal(np.frombuffer(image.samples, np.uint16).reshape(4, 256, 256), tile.refl)


def test_cloud_is_bright_and_its_truth_is_thick(synthetic: SyntheticClouds) -> None:
    for number in range(6):
        tile = synthetic.tile(number)
        assert tile.truth is not None
        cover = tile.truth.mean()
        assert cover <= COVER_MAX
        if cover > 0.1:
            blue = tile.refl[0]
            assert blue[tile.truth == 1].mean() > blue[tile.truth == 0].mean()


def test_cloud_field_has_its_cover_and_shadow() -> None:
    for number in range(8):
        field = make_field(np.random.default_rng(number))
        assert (field.tau > 0.0).mean() == pytest.approx(field.cover_frac, abs=1e-4)
        assert 0.0 <= field.cover_frac <= COVER_MAX
        assert field.tau.min() == 0.0
        assert field.tau.max() <= TAU_MAX
        assert np.array_equal(field.tau[:-18, :-12], field.tau_sun[18:, 12:])
        assert np.array_equal(field.truth == 1, field.tau > TAU_CLOUD)


def test_cloud_spectrum_falls_as_it_should() -> None:
    """Power over the plane goes as k^-3.3, alike in all directions."""
    power = _spectral_weight().astype(np.float64) ** 2
    assert power[0, 0] == 0.0
    assert power[20, 0] / power[10, 0] == pytest.approx(2.0**-3.3, rel=1e-5)
    assert power[0, 20] / power[0, 10] == pytest.approx(2.0**-3.3, rel=1e-5)
    assert power[30, 40] == pytest.approx(power[50, 0] / 2.0, rel=1e-5)
    assert power[-7, 5] == power[7, 5]


def test_clear_sky_adds_only_air_light() -> None:
    field = make_field(np.random.default_rng(0))
    clear = type(field)(np.zeros_like(field.tau), np.zeros_like(field.tau), 0.0)
    ground = np.full((4, 256, 256), 0.1, np.float32)
    seen = cover_ground(ground, clear)
    assert seen[:, 0, 0] == pytest.approx([0.165, 0.135, 0.118, 0.106], abs=1e-6)
    thick = type(field)(np.full_like(field.tau, 25.0), np.zeros_like(field.tau), 1.0)
    r = 3.75 / 5.75
    expected = r + (1 - r) ** 2 * 0.1 / (1 - r * 0.1) + (1 - r) * 0.065
    assert cover_ground(ground, thick)[0, 9, 9] == pytest.approx(expected, abs=1e-6)
    shadow = type(field)(np.zeros_like(field.tau), np.full_like(field.tau, 25.0), 0.0)
    # No direct light is left, and 60 % of the diffuse share.
    assert cover_ground(ground, shadow)[3, 9, 9] == pytest.approx(0.1 * 0.15 * 0.6 + 0.006, abs=1e-6)


def test_the_expert_tiles() -> None:
    if not IMAGERY.is_dir():
        pytest.skip("../shared/imagery is absent")
    source = FolderSource(IMAGERY)
    assert source.count == 8
    for number in range(8):
        tile = source.tile(number)
        assert tile.refl.dtype == np.uint16 and tile.refl.shape == (4, 256, 256)
        assert tile.truth is not None
        assert set(np.unique(tile.truth)) == {0, 1, 2}
        with np.load(IMAGERY / tile.name) as file:
            assert np.array_equal(tile.refl[3], file["refl"][:, :, 3])
            assert np.array_equal(tile.truth, file["label"])


def refl(bands: int = 6) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 10_000, (256, 256, bands)).astype(np.uint16)


def test_npz_in_other_layouts(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", refl=np.asfortranarray(refl()))
    np.savez_compressed(tmp_path / "b.npz", refl=refl(4).astype(">u2"), label=np.ones((256, 256), np.uint8))
    (tmp_path / "notes.txt").write_text("left alone")
    source = FolderSource(tmp_path)
    assert source.count == 2
    first, second = source.tile(0), source.tile(1)
    assert np.array_equal(first.refl, refl().transpose(2, 0, 1)[:4])
    assert first.truth is None
    assert np.array_equal(second.refl, refl(4).transpose(2, 0, 1))
    assert second.refl.dtype == np.uint16
    assert second.truth is not None
    assert second.truth.all()
    for number in (-1, 2):
        with pytest.raises(OrbitnodeError, match=f"no tile {number}, known: 0 .. 1"):
            source.tile(number)


BAD_NPZ: list[tuple[dict[str, np.ndarray], str]] = [
    ({"refl": refl()[:200]}, "refl is uint16 200 x 256 x 6, should be uint16 256 x 256 x 6"),
    ({"refl": refl(3)}, "refl is uint16 256 x 256 x 3"),
    ({"refl": refl().transpose(2, 0, 1)}, "refl is uint16 6 x 256 x 256"),
    ({"refl": refl().astype(np.int16)}, "refl is int16"),
    ({"refl": refl().astype(np.float32)}, "refl is float32 256 x 256 x 6 with 0 NaN"),
    ({"refl": np.full((256, 256, 6), np.nan)}, "float64 256 x 256 x 6 with 393216 NaN"),
    ({"refl": np.array(1, np.uint16)}, "refl is uint16 scalar"),
    ({"refl": np.zeros((256, 256, 6), object)}, "refl is object"),
    ({"image": refl()}, "holds no array `refl`"),
    ({"refl": refl(), "label": np.zeros((256, 255), np.uint8)}, "label is uint8 256 x 255, should be uint8 256 x 256"),
    ({"refl": refl(), "label": np.zeros((256, 256), np.int64)}, "label is int64"),
]


@pytest.mark.parametrize(("arrays", "text"), BAD_NPZ)
def test_a_wrong_npz_names_itself(tmp_path: Path, arrays: dict[str, Any], text: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(OrbitnodeError, match=r"bad\.npz: .*should be") as caught:
        FolderSource(tmp_path)
    assert text in str(caught.value)


def test_labels_beyond_shadow(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", refl=refl(), label=np.full((256, 256), 3, np.uint8))
    with pytest.raises(OrbitnodeError, match=r"bad\.npz: label goes up to 3"):
        FolderSource(tmp_path).tile(0)


def test_a_damaged_npz(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", refl=refl())
    octets = bytearray((tmp_path / "a.npz").read_bytes())
    octets[len(octets) // 2] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(octets)
    source = FolderSource(tmp_path)
    with pytest.raises(OrbitnodeError, match=r"a\.npz: cannot be read"):
        source.tile(0)
    (tmp_path / "a.npz").unlink()
    with pytest.raises(OrbitnodeError, match=r"a\.npz: cannot be read .*No such file"):
        source.tile(0)


def test_every_bad_file_is_named_at_once(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number:02d}.npz").write_bytes(b"no zip file")
    np.savez(tmp_path / "good.npz", refl=refl())
    with pytest.raises(OrbitnodeError) as caught:
        FolderSource(tmp_path)
    text = str(caught.value)
    assert "12 of its files cannot be used" in text
    assert "00.npz: cannot be read" in text
    assert "09.npz" in text
    assert "and 2 more" in text


def test_no_folder_or_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(OrbitnodeError, match=r"none: No such file or directory, should be a folder"):
        FolderSource(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OrbitnodeError, match="Not a directory"):
        FolderSource(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OrbitnodeError, match=r"empty: holds no \.npz"):
        FolderSource(tmp_path / "empty")


def big(rows: int = 600, columns: int = 530) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 10_000, (5, rows, columns)).astype(np.uint16)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("bands_last", [False, True])
def test_geotiff_is_cut_into_tiles(tmp_path: Path, bands_last: bool, compression: str | None) -> None:
    image = big()
    samples, planar = (image.transpose(1, 2, 0), "contig") if bands_last else (image, "separate")
    tifffile.imwrite(
        tmp_path / "a.tif", samples, planarconfig=planar, photometric="minisblack", compression=compression
    )
    source = FolderSource(tmp_path)
    assert source.count == 4
    for number, (row, column) in enumerate([(0, 0), (0, 256), (256, 0), (256, 256)]):
        tile = source.tile(number)
        assert np.array_equal(tile.refl, image[:4, row : row + 256, column : column + 256])
        assert tile.truth is None
        assert tile.name == f"a.tif r{row} c{column}"


def test_npz_and_geotiff_in_one_folder(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "b.TIFF", big(256, 256), photometric="minisblack", planarconfig="separate")
    tifffile.imwrite(tmp_path / "c.tif", big(300, 512)[:4], photometric="minisblack", planarconfig="separate")
    np.savez(tmp_path / "a.npz", refl=refl())
    source = FolderSource(tmp_path)
    assert [source.tile(n).name for n in range(4)] == ["a.npz", "b.TIFF r0 c0", "c.tif r0 c0", "c.tif r0 c256"]


BAD_TIFF: list[tuple[Callable[[], np.ndarray], str]] = [
    (lambda: big()[:3], "uint16 3 x 600 x 530"),
    (lambda: big(255, 300), "uint16 5 x 255 x 300"),
    (lambda: big().astype(np.float32), "float32 5 x 600 x 530"),
    (lambda: big().astype(np.uint8), "uint8"),
]


@pytest.mark.parametrize(("make", "text"), BAD_TIFF)
def test_a_wrong_geotiff_names_itself(tmp_path: Path, make: Callable[[], np.ndarray], text: str) -> None:
    tifffile.imwrite(tmp_path / "bad.tif", make(), photometric="minisblack", planarconfig="separate")
    with pytest.raises(OrbitnodeError, match=r"bad\.tif: is .*should be .*4 or more bands") as caught:
        FolderSource(tmp_path)
    assert text in str(caught.value)


def test_a_stack_of_pages_is_no_geotiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "bad.tif", big(), photometric="minisblack")
    with pytest.raises(OrbitnodeError, match=r"bad\.tif: is uint16 600 x 530 \(YX\), .* in one image"):
        FolderSource(tmp_path)


def test_a_chain_of_images_that_leads_back_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "loop.tif"
    tifffile.imwrite(path, big(), photometric="minisblack", planarconfig="separate")
    octets = bytearray(path.read_bytes())
    head = int.from_bytes(octets[4:8], "little")
    after = head + 2 + 12 * int.from_bytes(octets[head : head + 2], "little")
    assert octets[after : after + 4] == bytes(4)
    octets[after : after + 4] = head.to_bytes(4, "little")
    path.write_bytes(octets)
    assert FolderSource(tmp_path).tile(3).refl.shape == (4, 256, 256)


def test_lzw_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "lzw.tif"
    tifffile.imwrite(path, big(), photometric="minisblack", planarconfig="separate")
    with tifffile.TiffFile(path) as file:
        where = file.pages.first.tags["Compression"].valueoffset
    octets = bytearray(path.read_bytes())
    octets[where : where + 2] = (5).to_bytes(2, "little")
    path.write_bytes(octets)
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        with pytest.raises(
            OrbitnodeError, match=r"lzw\.tif: is compressed with LZW, which needs imagecodecs: pip install"
        ):
            FolderSource(tmp_path)
    else:
        pytest.skip("imagecodecs is installed, LZW can be read")


def test_a_damaged_geotiff(tmp_path: Path) -> None:
    (tmp_path / "bad.tif").write_bytes(b"II*\0" + bytes(50))
    with pytest.raises(OrbitnodeError, match=r"bad\.tif: "):
        FolderSource(tmp_path)
    path = tmp_path / "bad.tif"
    tifffile.imwrite(path, big(), photometric="minisblack", planarconfig="separate", compression="zlib")
    source = FolderSource(tmp_path)
    path.write_bytes(path.read_bytes()[:-50_000])
    with pytest.raises(OrbitnodeError, match=r"bad\.tif: "):
        source.tile(0)
