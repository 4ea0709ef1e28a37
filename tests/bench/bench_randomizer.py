"""Randomizers beside plain copies, which none can be much faster than: frame by frame, and many frames in one call."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from flight.kernels import Randomizer, randomize_tm, randomize_tm_long, randomize_units
from sim_hw.bench.bench_command import Bench, Race

FRAMES, FRAME_OCTETS = 1000, 1115
CODEBLOCK_OCTETS = 1275  # RS(255,223), interleave 5


def frame_by_frame(randomize: Callable[[bytes], bytes]) -> Race:
    """`bytearray(frame)` and back is the copy: a frame comes as `bytes` and leaves as such."""
    source = Random(1)
    data = [source.randbytes(FRAME_OCTETS) for _ in range(FRAMES)]
    return Race(
        lambda: [randomize(f) for f in data],
        lambda: [bytes(bytearray(f)) for f in data],
        FRAMES * FRAME_OCTETS / 1e6,
    )


def codeblocks_in_one_call(randomizer: Randomizer) -> Race:
    """In place, beside a memcpy of the same octets into a buffer that is there already."""
    octets = FRAMES * CODEBLOCK_OCTETS
    units = bytearray(Random(1).randbytes(octets))
    target = memoryview(bytearray(octets))

    def copy() -> None:
        target[:] = units

    return Race(lambda: randomize_units(units, FRAMES, CODEBLOCK_OCTETS, randomizer), copy, octets / 1e6)


BENCHES = (
    Bench("randomize-tm", "copy of the frame", "MB/s", 0.22, lambda: frame_by_frame(randomize_tm)),
    Bench("randomize-tm-long", "copy of the frame", "MB/s", 0.22, lambda: frame_by_frame(randomize_tm_long)),
    Bench("randomize-tm-batch", "memcpy", "MB/s", 0.5, lambda: codeblocks_in_one_call(Randomizer.TM)),
    Bench("randomize-tm-long-batch", "memcpy", "MB/s", 0.5, lambda: codeblocks_in_one_call(Randomizer.TM_LONG)),
)
