"""Bit and frame error rates of the Viterbi decoder over Eb/N0, beside libfec on the same noise and the union bound.

`python -m tests.curves.viterbi` writes docs/curves/viterbi.json in about three minutes on an idle core; needs libfec.

BPSK in white Gaussian noise, soft symbols of 8 bits. A block is 1,024 bits of information and six zero bits, which
bring the encoder back to zeros; the energy of those six is not counted in Eb. Blocks are sent one after the other, and
each symbol with its noise is decoded three times: `streaming`, as it flies, by a decoder that does not know where
blocks begin and end; `block`, by one that does; `libfec`, which does too.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flight.kernels import ConvolutionalEncoder, ViterbiDecoder, soften
from tests.libfec_viterbi import INSTALL, PREAMBLE, LibfecDecoder, library

OUT = Path(__file__).resolve().parents[2] / "docs" / "curves" / "viterbi.json"
EBN0_DB = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5)
BLOCKS = 100_000
BATCH_BLOCKS = 2_000  # blocks of one stream; a multiple of 4, so that streams fill whole octets
BLOCK_BITS = 1024
TAIL_BITS = 6
SENT_BITS = BLOCK_BITS + TAIL_BITS
AMPLITUDE = 48.0  # of 127.5, for a symbol without noise
SEED = 20260401
DISTANCE_MAX = 30  # of the union bound's terms; those beyond do not show at these points

Bits = npt.NDArray[np.uint8]


@dataclass(slots=True)
class Errors:
    """Of one decoder at one point."""

    bit_errors: int = 0
    frame_errors: int = 0

    def add(self, sent: Bits, received: Bits) -> None:
        """Blocks of bits, one a row."""
        wrong = np.count_nonzero(sent != received, axis=1)
        self.bit_errors += int(wrong.sum())
        self.frame_errors += int(np.count_nonzero(wrong))

    def rates(self, blocks: int) -> dict[str, float]:
        return asdict(self) | {
            "bit_error_rate": self.bit_errors / (blocks * BLOCK_BITS),
            "frame_error_rate": self.frame_errors / blocks,
        }


def spectrum(distance_max: int) -> dict[int, tuple[int, int]]:
    """Paths that leave the path of zeros and come back, by their distance from it: how many, and their ones in all."""
    paths, ones = Counter[int](), Counter[int]()
    live = {(1, 2): (1, 1)}  # (memory, distance): paths, ones
    while live:
        after: dict[tuple[int, int], tuple[int, int]] = {}
        for (memory, distance), (count, total) in live.items():
            for bit in (0, 1):
                register = memory << 1 | bit
                reached = distance + (register & 0o117).bit_count() % 2 + (register & 0o155).bit_count() % 2
                if reached > distance_max:
                    continue
                if register & 63 == 0:
                    paths[reached] += count
                    ones[reached] += total
                    continue
                key = register & 63, reached
                old = after.get(key, (0, 0))
                after[key] = old[0] + count, old[1] + total + bit * count
        live = after
    return {distance: (paths[distance], ones[distance]) for distance in sorted(paths)}


def union_bound(ebn0_db: float) -> dict[str, float]:
    """The sum over the distances of the spectrum: close above the truth if errors are few, else far above."""
    ebn0 = 10 ** (ebn0_db / 10)
    wrong = {d: 0.5 * math.erfc(math.sqrt(d * 0.5 * ebn0)) for d in range(10, DISTANCE_MAX + 1)}
    terms = spectrum(DISTANCE_MAX).items()
    return {
        "bit_error_rate": sum(ones * wrong[d] for d, (_, ones) in terms),
        "frame_error_rate": min(1.0, BLOCK_BITS * sum(paths * wrong[d] for d, (paths, _) in terms)),
    }


def send(blocks: int, sigma: float, generator: np.random.Generator) -> tuple[Bits, bytes]:
    """Blocks of random bits, one a row, and the soft symbols received of them."""
    bits = np.zeros((blocks, SENT_BITS), np.uint8)
    bits[:, :BLOCK_BITS] = np.unpackbits(np.frombuffer(generator.bytes(blocks * BLOCK_BITS // 8), np.uint8)).reshape(
        blocks, BLOCK_BITS
    )
    clean = soften(ConvolutionalEncoder().encode(np.packbits(bits).tobytes()))
    received = generator.standard_normal(len(clean), np.float32)
    received *= AMPLITUDE * sigma
    received += 127.5 - AMPLITUDE
    received += np.frombuffer(clean, np.uint8) * np.float32(2 * AMPLITUDE / 255)
    np.clip(np.rint(received, out=received), 0, 255, out=received)
    return bits[:, :BLOCK_BITS], received.astype(np.uint8).tobytes()


def streamed(symbols: bytes) -> Bits:
    decoder = ViterbiDecoder()
    data = decoder.decode(symbols) + decoder.flush()
    return np.unpackbits(np.frombuffer(data, np.uint8)).reshape(-1, SENT_BITS)[:, :BLOCK_BITS]


def in_blocks(symbols: bytes, decode: Callable[[memoryview], bytes]) -> Bits:
    view = memoryview(symbols)
    size = 2 * SENT_BITS
    data = b"".join(decode(view[start : start + size]) for start in range(0, len(view), size))
    return np.unpackbits(np.frombuffer(data, np.uint8)).reshape(-1, BLOCK_BITS)


def ours() -> Callable[[memoryview], bytes]:
    decoder = ViterbiDecoder(from_zero=True)
    # A flush to zeros leaves the decoder knowing that the next block begins with them.
    return lambda symbols: decoder.decode(symbols) + decoder.flush(to_zero=True)


def libfecs() -> Callable[[memoryview], bytes]:
    ahead = len(PREAMBLE) // 16
    decoder = LibfecDecoder(ahead + BLOCK_BITS // 8)
    return lambda symbols: decoder.decode(PREAMBLE + symbols)[ahead:]


def measure(blocks: int, points_db: Sequence[float] = EBN0_DB) -> Iterator[dict[str, Any]]:
    """One point after the other, each with bits and noise of its own."""
    for ebn0_db in points_db:
        generator = np.random.default_rng([SEED, round(100 * ebn0_db)])
        sigma = 10 ** (-ebn0_db / 20)  # of a symbol of +-1: sigma^2 = N0 / (2 Es), and Es is half of Eb
        found = {"streaming": Errors(), "block": Errors(), "libfec": Errors()}
        our_block, libfec_block = ours(), libfecs()
        for start in range(0, blocks, BATCH_BLOCKS):
            sent, symbols = send(min(BATCH_BLOCKS, blocks - start), sigma, generator)
            found["streaming"].add(sent, streamed(symbols))
            found["block"].add(sent, in_blocks(symbols, our_block))
            found["libfec"].add(sent, in_blocks(symbols, libfec_block))
        rates = {name: errors.rates(blocks) for name, errors in found.items()}
        yield {"ebn0_db": ebn0_db, "blocks": blocks, **rates, "union_bound": union_bound(ebn0_db)}


def document(points: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "code": "CCSDS 131.0-B-5, 3.3: convolutional, rate 1/2, K = 7",
        "channel": "BPSK, white Gaussian noise, soft symbols of 8 bits",
        "made_by": "python -m tests.curves.viterbi",
        "seed": SEED,
        "block_bits": BLOCK_BITS,
        "tail_bits": TAIL_BITS,
        "delay_bits": ViterbiDecoder.DELAY_BITS,
        "spectrum": {str(d): {"paths": paths, "bits": ones} for d, (paths, ones) in spectrum(16).items()},
        "points": points,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="a point, a multiple of 4 (default %(default)s)")
    parser.add_argument("-o", "--out", type=Path, default=OUT, help="file for the JSON (default %(default)s)")
    args = parser.parse_args()
    if library() is None:
        sys.exit(INSTALL)
    if args.blocks < 4 or args.blocks % 4:
        parser.error("--blocks must be a multiple of 4")
    points = []
    print(f"{args.blocks} blocks a point; bit and frame error rates: streaming, block, libfec, union bound")
    for point in measure(args.blocks):
        points.append(point)
        rates = [point[name] for name in ("streaming", "block", "libfec", "union_bound")]
        bits, frames = (
            " ".join(f"{rate[key]:.3e}" for rate in rates) for key in ("bit_error_rate", "frame_error_rate")
        )
        print(f"{point['ebn0_db']:.1f} dB  {bits}  {frames}", flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(document(points), indent=1) + "\n", encoding="utf-8")
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
