"""The replay camera: folders and tiles that are not what they should be, and real tiles."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from flight.linux.platform import LinuxPlatform
from hal.base import HalError
from hal.replay_imager import open_imager, read_tile

HOST = cast("LinuxPlatform", None)  # a replay asks nothing of its host
SHARED = Path(__file__).parents[3] / "shared" / "imagery"


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("address", ["", "{0}?size=0", "{0}?loop=yes", "{0}?speed=1"])
def test_bad_addresses(tmp_path: Path, address: str) -> None:
    with pytest.raises(HalError, match="should be FOLDER"):
        open_imager(address.format(tmp_path), HOST)


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(HalError, match=r"nowhere: no such file or directory"):
        open_imager(str(tmp_path / "nowhere"), HOST)
    with pytest.raises(HalError, match=r"has 0 \.npz tiles"):
        open_imager(str(tmp_path), HOST)


def test_it_ends_or_begins_again(tmp_path: Path) -> None:
    for i in range(2):
        save(tmp_path / f"{i}.npz", refl=np.full((8, 8, 4), i, np.uint16))
    imager = open_imager(f"{tmp_path}?size=8", HOST)
    assert [imager.capture().samples[0] for _ in range(2)] == [0, 1]
    assert not imager.ready()
    with pytest.raises(HalError, match="replay is over: all 2 tiles"):
        imager.capture()
    imager = open_imager(f"{tmp_path}?size=8&loop=1", HOST)
    assert [imager.capture().number for _ in range(5)] == [0, 1, 2, 3, 4]


def test_samples_are_band_row_column(tmp_path: Path) -> None:
    refl = np.arange(8 * 8 * 6, dtype=">u2").reshape(8, 8, 6)
    image = read_tile(save(tmp_path / "t.npz", refl=refl), 7, 8)
    assert image.number == 7
    samples = np.frombuffer(image.samples, "=u2").reshape(4, 8, 8)
    assert all(samples[b, r, c] == refl[r, c, b] for b in range(4) for r in range(8) for c in range(8))


def test_bad_tiles_name_the_file(tmp_path: Path) -> None:
    good = np.zeros((256, 256, 6), np.uint16)
    nan = good.astype(np.float32)
    nan[3, 3, 3] = np.nan
    raw = io.BytesIO()
    np.savez(raw, refl=good)
    cases: dict[str, tuple[object, str]] = {
        "shape": (good[:200], "200 x 256 x 6, should be 256 x 256 x 4"),
        "bands": (good[:, :, :3], "256 x 256 x 3"),
        "flat": (good[:, :, 0], "256 x 256, should"),
        "dtype": (good.astype(np.int64), "refl is int64, should be uint16"),
        "nan": (nan, "has NaN"),
        "pickle": (np.array([{}], dtype=object), "damaged or not"),
    }
    for name, (array, text) in cases.items():
        path = save(tmp_path / f"{name}.npz", refl=np.asarray(array))
        with pytest.raises(HalError, match=rf"{name}\.npz: .*{text}"):
            read_tile(path, 0)
    flipped = bytearray(raw.getvalue())
    flipped[5000] ^= 0xFF
    octets = {
        "cut": raw.getvalue()[:5000],
        "empty": b"",
        "text": b"not a tile at all",
        "flipped": bytes(flipped),
    }
    for name, content in octets.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(HalError, match=rf"{name}\.npz: damaged or not an \.npz file"):
            read_tile(tmp_path / f"{name}.npz", 0)
    with pytest.raises(HalError, match=r"other\.npz: has no array named refl"):
        read_tile(save(tmp_path / "other.npz", label=good), 0)
    with pytest.raises(HalError, match=r"absent\.npz: No such file"):
        read_tile(tmp_path / "absent.npz", 0)


def test_a_huge_member_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hal.replay_imager.MEMBER_OCTETS_MAX", 10_000)
    with pytest.raises(HalError, match=r"huge\.npz: refl takes \d+ octets, at most 10000"):
        read_tile(save(tmp_path / "huge.npz", refl=np.zeros((256, 256, 4), np.uint16)), 0)


def test_a_bad_tile_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"bad")
    save(tmp_path / "b.npz", refl=np.zeros((8, 8, 4), np.uint16))
    imager = open_imager(f"{tmp_path}?size=8", HOST)
    with pytest.raises(HalError, match=r"a\.npz"):
        imager.capture()
    assert imager.capture().number == 1


def test_real_tiles() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here")
    imager = open_imager(str(SHARED), HOST)
    taken = 0
    while imager.ready():
        samples = np.frombuffer(imager.capture().samples, np.uint16)
        assert 0 < samples.mean() < 15_000
        taken += 1
    assert taken == 8
