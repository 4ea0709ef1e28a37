"""Any damage to a tile file gives a tile or an OrbitnodeError naming the file, nothing else."""

from __future__ import annotations

import io
import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.core.errors import OrbitnodeError, SetupError
from sim_hw.world.scenes import FolderSource, SyntheticClouds, load_scene


def npz_octets() -> bytes:
    """A good compressed file, small because the image is plain."""
    out = io.BytesIO()
    np.savez_compressed(out, refl=np.full((256, 256, 6), 700, np.uint16), label=np.zeros((256, 256), np.uint8))
    return out.getvalue()


def tiff_octets() -> bytes:
    out = io.BytesIO()
    image = np.full((4, 256, 256), 700, np.uint16)
    tifffile.imwrite(out, image, photometric="minisblack", planarconfig="separate", compression="zlib")
    return out.getvalue()


GOOD = {"tile.npz": npz_octets(), "tile.tif": tiff_octets()}
damage = st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 255)), min_size=1, max_size=8)


def damaged(good: bytes, changes: list[tuple[float, int]], keep: float, head: bool) -> bytes:
    """Change some octets, only those near the layout at the head if `head`, and cut off the end."""
    made = bytearray(good)
    for where, value in changes:
        made[int(where * (min(600, len(made)) - 1 if head else len(made) - 1))] = value
    return bytes(made[: int(keep * len(made))])


def read_all(name: str, octets: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(octets)
        said = name
        try:
            source = FolderSource(Path(folder))
            for number in range(min(source.count, 3)):
                tile = source.tile(number)
                assert tile.refl.shape == (4, 256, 256)
                assert tile.refl.dtype == np.uint16
        except OrbitnodeError as error:
            said = str(error)
        assert name in said


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(GOOD)), damage, st.one_of(st.just(1.0), st.floats(0.0, 1.0)), st.booleans())
def test_damaged_tiles(name: str, changes: list[tuple[float, int]], keep: float, head: bool) -> None:
    logging.getLogger("tifffile").disabled = True
    try:
        read_all(name, damaged(GOOD[name], changes, keep, head))
    finally:
        logging.getLogger("tifffile").disabled = False


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.binary(max_size=300))
def test_any_octets_as_a_tile(name: str, octets: bytes) -> None:
    logging.getLogger("tifffile").disabled = True
    try:
        read_all(name, octets)
        read_all(name, GOOD[name][:8] + octets)
    finally:
        logging.getLogger("tifffile").disabled = False


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_octets_as_a_scene(octets: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.json"
        path.write_bytes(octets)
        with pytest.raises(SetupError, match="set up again") as caught:
            load_scene(path)
        assert str(path) in str(caught.value)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**64), st.integers(0, 2**40))
def test_any_seed_and_number_give_a_tile(seed: int, number: int) -> None:
    scene = np.full((4, 300, 300), 800)
    tile = SyntheticClouds(scene, seed).tile(number)
    assert tile.truth is not None
    assert 0.0 <= tile.truth.mean() <= 0.8
    assert tile.refl.max() <= 10_000
