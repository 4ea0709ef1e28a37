"""The curve of the Viterbi decoder: how it is measured, and what the checkout's one says."""

from __future__ import annotations

import json

import pytest

from tests.curves.viterbi import BLOCK_BITS, BLOCKS, EBN0_DB, OUT, measure, spectrum, union_bound
from tests.libfec_viterbi import INSTALL, library


def test_the_spectrum_is_the_published_one() -> None:
    """Paths and their ones at each distance, as every book on the code has them from 10 on."""
    assert spectrum(17) == {10: (11, 36), 12: (38, 211), 14: (193, 1404), 16: (1331, 11633)}


@pytest.mark.skipif(library() is None, reason=INSTALL)
def test_a_point_is_measured() -> None:
    (point,) = measure(200, [2.5])
    streaming, block, libfec = (point[name] for name in ("streaming", "block", "libfec"))
    assert isinstance(streaming, dict)
    assert isinstance(block, dict)
    assert isinstance(libfec, dict)
    assert 10 < block["frame_errors"] < 80
    assert block["bit_errors"] == round(block["bit_error_rate"] * 200 * BLOCK_BITS)
    assert abs(block["frame_errors"] - libfec["frame_errors"]) <= 1
    assert abs(streaming["frame_errors"] - block["frame_errors"]) <= 4


def test_the_curve_is_whole_and_below_the_bound() -> None:
    points = json.loads(OUT.read_text(encoding="utf-8"))["points"]
    assert tuple(point["ebn0_db"] for point in points) == EBN0_DB
    for point in points:
        assert point["blocks"] == BLOCKS
        bound = union_bound(point["ebn0_db"])["bit_error_rate"]
        for name in ("streaming", "block"):
            # Errors come in bursts: one in four is what 20 frames in error leave uncertain.
            assert point[name]["bit_error_rate"] < 1.25 * bound
            assert point[name]["frame_error_rate"] <= 1.05 * point["libfec"]["frame_error_rate"]
