"""Every Imager: images of the agreed shape, numbered in order."""

from __future__ import annotations

from typing import Any


def test_images_have_the_agreed_shape(imager: Any) -> None:
    numbers = []
    for _ in range(3):
        assert imager.ready()
        image = imager.capture()
        assert (image.bands, image.height, image.width) == (4, 256, 256)
        assert len(image.samples) == 2 * 4 * 256 * 256
        numbers.append(image.number)
    assert numbers == sorted(set(numbers))
