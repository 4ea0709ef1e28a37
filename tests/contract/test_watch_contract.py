"""Every Host that has descriptors: `watch` and `unwatch`."""

from __future__ import annotations

import os
from typing import Any

import pytest

from hal.base import HalError


def test_watch_until_unwatched(bench: Any) -> None:
    platform, seen = bench.platform, []
    reader, writer = os.pipe()
    try:
        platform.watch(reader, lambda: seen.append(os.read(reader, 16)))
    except HalError as refused:
        os.close(reader)
        os.close(writer)
        pytest.skip(f"no descriptors here: {refused}")
    os.write(writer, b"one")
    assert bench.until(lambda: seen == [b"one"])
    assert not bench.until(lambda: len(seen) > 1, 0.01)  # nothing to read, no call
    platform.unwatch(reader)
    os.write(writer, b"two")
    assert not bench.until(lambda: len(seen) > 1, 0.02)
    platform.unwatch(reader)  # harmless
    hung: list[bytes] = []
    platform.watch(reader, lambda: hung.append(os.read(reader, 16)))
    assert bench.until(lambda: hung == [b"two"])
    os.close(writer)
    assert bench.until(lambda: hung[-1] == b"")  # the other side has gone: that is readable, too
    platform.unwatch(reader)
    os.close(reader)
