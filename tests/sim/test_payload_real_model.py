"""The real model in a real worker over the eight expert tiles: as good as it was shipped, and the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flight.core.errors import SetupError
from hal.base import Image
from payloads.assets import models
from payloads.product.mask import CLOUD, decode_mask_product
from payloads.worker.pool import Answered, PoolConfig, WorkerPool
from tests.waiting import GIVE_UP_RUN_S

ACCURACY_MIN = 0.94


@pytest.fixture(scope="module")
def model() -> Path:
    try:
        return models.model_path()
    except SetupError as error:
        pytest.skip(f"the screening model is not here: {error}")


@pytest.fixture(scope="module")
def tiles(shared: Path) -> list[tuple[Image, np.ndarray]]:
    paths = sorted((shared / "imagery").glob("*.npz"))
    if len(paths) != 8:
        pytest.skip("the expert tiles (../shared/imagery) are not on this machine")
    found = []
    for number, path in enumerate(paths):
        with np.load(path) as arrays:
            samples = np.ascontiguousarray(arrays["refl"][:, :, :4].transpose(2, 0, 1))
            bands, height, width = samples.shape
            found.append((Image(number, bands, height, width, samples.tobytes()), arrays["label"]))
    return found


def test_expert_tiles(model: Path, tiles: list[tuple[Image, np.ndarray]]) -> None:
    pool = WorkerPool(PoolConfig(model, hang_s=GIVE_UP_RUN_S))
    pool.start()
    right, masks = [], []
    try:
        for image, label in tiles:
            work = pool.submit(image, job=image.number)
            assert work is not None
            reply = work.wait()
            assert isinstance(reply, Answered), reply
            mask = np.frombuffer(reply.answer, dtype=np.uint8).reshape(label.shape)
            right.append(float(((mask == CLOUD) == (label == CLOUD)).mean()))
            product = decode_mask_product(reply.product)
            samples = np.frombuffer(image.samples, dtype=np.uint16).reshape(4, *label.shape)
            assert product.clear is not None
            assert np.array_equal(product.clear, samples[:, mask == 0])
            masks.append(reply.answer)
    finally:
        pool.close()
    assert float(np.mean(right)) >= ACCURACY_MIN, right

    two = WorkerPool(PoolConfig(model, threads=2, hang_s=GIVE_UP_RUN_S))
    two.start()
    try:
        work = two.submit(tiles[0][0])
        assert work is not None
        reply = work.wait()
        assert isinstance(reply, Answered)
        assert reply.answer == masks[0], "another process with two threads gives the same mask"
    finally:
        two.close()
