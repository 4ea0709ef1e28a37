"""How often the Reed-Solomon decoder fails, and how often it is wrong: `python -m tests.curves.reed_solomon`.

Prints, and writes to docs/curves/reed_solomon.json, two things for each code, E = 16 and E = 8.

Waterfall: the share of codewords with more than E wrong symbols on a binary symmetric channel, beside theory and beside
libfec, which decodes the very same words. A row of it counts verdicts (a codeword is lost if it is uncorrectable or
wrongly corrected), and the words on which the two decoders differ in any way.

Miscorrection: the share of words that are taken for a codeword that was not sent; of random words, and of codewords
with E + 1 to E + 4 wrong symbols. In theory a random word lies within E of a codeword with the chance
256^-2E * sum over j <= E of C(255, j) 255^j, which is about 1/E!. One of E + 1 wrong symbols does so with the chance
C(254 - E, E) 255^-E: the other codeword is then one of the least weight, 2E + 1, and has the error in its symbols.

Both codes are linear and the channels do not look at the data, so random data stand for any. Seeded throughout.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.kernels import decode_reed_solomon, encode_reed_solomon
from tests import libfec_reed_solomon as libfec

OUT = Path(__file__).resolve().parents[2] / "docs" / "curves" / "reed_solomon.json"
SYMBOLS = 255
CHUNK = 20_000
SEED = 131
# Bit error rates from where nearly every codeword is lost to where theory says a few in 100,000.
BIT_ERROR_RATES = {
    32: (0.0100, 0.0085, 0.0070, 0.0060, 0.0052, 0.0045, 0.0038, 0.0032),
    16: (0.0055, 0.0045, 0.0036, 0.0029, 0.0023, 0.0018, 0.0014, 0.0011),
}

Words = NDArray[np.uint8]


def encode(generator: np.random.Generator, count: int, parity: int) -> Words:
    words = generator.integers(0, 256, (count, SYMBOLS), dtype=np.uint8)
    encode_reed_solomon(
        words.data.cast("B"), data_octets=SYMBOLS - parity, parity=parity, interleave=1, count=count,
        stride=SYMBOLS,
    )  # fmt: skip
    return words


def decode(received: Words, parity: int) -> tuple[NDArray[np.int8], Words]:
    """Symbols corrected in each word, -1 if it could not be, and the words after it."""
    words = received.copy()
    counts = decode_reed_solomon(
        words.data.cast("B"), data_octets=SYMBOLS - parity, parity=parity, interleave=1, count=len(words),
        stride=SYMBOLS,
    )  # fmt: skip
    return np.asarray(counts), words


def decode_by_libfec(received: Words, parity: int) -> tuple[NDArray[np.int8], Words]:
    results = [libfec.decode(word.tobytes(), parity) for word in received]
    counts = np.array([corrected for corrected, _ in results], dtype=np.int8)
    return counts, np.frombuffer(b"".join(word for _, word in results), dtype=np.uint8).reshape(-1, SYMBOLS)


def chunks(count: int) -> Iterator[int]:
    for start in range(0, count, CHUNK):
        yield min(CHUNK, count - start)


def lost_in_theory(ber: float, parity: int) -> float:
    p = 1 - (1 - ber) ** 8
    return sum(comb(SYMBOLS, j) * p**j * (1 - p) ** (SYMBOLS - j) for j in range(parity // 2 + 1, SYMBOLS + 1))


def random_taken_in_theory(parity: int) -> float:
    return float(sum(comb(SYMBOLS, j) * 255**j for j in range(parity // 2 + 1)) / 256**parity)


def nearest_taken_in_theory(parity: int) -> float:
    return float(comb(SYMBOLS - 1 - parity // 2, parity // 2) / 255 ** (parity // 2))


def flip_bits(generator: np.random.Generator, sent: Words, ber: float) -> Words:
    """A binary symmetric channel: a Poisson number of hits at random places, a bit hit twice being whole again.

    So the bits are independent, and one is hit an odd number of times with the chance (1 - exp(-2 mean / bits)) / 2.
    """
    bits = sent.size * 8
    mean = -bits / 2 * np.log1p(-2 * ber)
    places = generator.integers(0, bits, generator.poisson(mean))
    received = sent.copy()
    np.bitwise_xor.at(received.reshape(-1), places >> 3, (1 << (places & 7)).astype(np.uint8))
    return received


def waterfall(parity: int, count: int) -> Iterator[dict[str, Any]]:
    for ber in BIT_ERROR_RATES[parity]:
        generator = np.random.default_rng([SEED, parity, round(ber * 1e6)])
        lost = wrong = peer_lost = differ = 0
        for size in chunks(count):
            sent = encode(generator, size, parity)
            received = flip_bits(generator, sent, ber)
            counts, words = decode(received, parity)
            amiss = (words != sent).any(axis=1)
            lost += int(amiss.sum())
            wrong += int((amiss & (counts >= 0)).sum())
            peer_counts, peer_words = decode_by_libfec(received, parity)
            peer_lost += int((peer_words != sent).any(axis=1).sum())
            differ += int(((counts != peer_counts) | (words != peer_words).any(axis=1)).sum())
        theory = lost_in_theory(ber, parity)
        yield {
            "ber": ber,
            "codewords": count,
            "lost": lost,
            "rate": lost / count,
            "theory": theory,
            "sigma": (lost / count - theory) / (theory * (1 - theory) / count) ** 0.5,
            "miscorrected": wrong,
            "libfec_lost": peer_lost,
            "differ_from_libfec": differ,
        }


def add_errors(generator: np.random.Generator, sent: Words, errors: int) -> Words:
    """Exactly `errors` wrong symbols in each word, at places drawn without replacement."""
    received = sent.copy()
    places = np.argpartition(generator.random(sent.shape, dtype=np.float32), errors, axis=1)[:, :errors]
    rows = np.arange(len(sent))[:, None]
    received[rows, places] ^= generator.integers(1, 256, places.shape, dtype=np.uint8)
    return received


def miscorrection(parity: int, random_words: int, few_errors: int) -> Iterator[dict[str, Any]]:
    generator = np.random.default_rng([SEED, parity])
    taken = 0
    for size in chunks(random_words):
        words = generator.integers(0, 256, (size, SYMBOLS), dtype=np.uint8)
        taken += int((decode(words, parity)[0] >= 0).sum())
    yield row("random words", random_words, taken, random_taken_in_theory(parity))
    for errors in range(parity // 2 + 1, parity // 2 + 5):
        taken = 0
        for size in chunks(few_errors):
            sent = encode(generator, size, parity)
            counts, _ = decode(add_errors(generator, sent, errors), parity)
            taken += int((counts >= 0).sum())
        theory = nearest_taken_in_theory(parity) if errors == parity // 2 + 1 else None
        yield row(f"{errors} errors", few_errors, taken, theory)


def row(what: str, words: int, taken: int, theory: float | None) -> dict[str, Any]:
    return {"words_of": what, "words": words, "miscorrected": taken, "rate": taken / words, "theory": theory}


def measure(codewords: int, random_words: int, few_errors: int) -> dict[str, Any]:
    curves: dict[str, Any] = {}
    for parity in (32, 16):
        name = f"E={parity // 2}"
        curves[name] = {"n": SYMBOLS, "k": SYMBOLS - parity, "waterfall": [], "miscorrection": []}
        for point in waterfall(parity, codewords):
            curves[name]["waterfall"].append(point)
            print(
                f"{name:<5} ber {point['ber']:.4f}  lost {point['rate']:.3e}  theory {point['theory']:.3e} "
                f"({point['sigma']:+.1f} sigma)  libfec lost {point['libfec_lost'] / codewords:.3e}, "
                f"differs on {point['differ_from_libfec']}",
                flush=True,
            )
        for point in miscorrection(parity, random_words, few_errors):
            curves[name]["miscorrection"].append(point)
            theory = "" if point["theory"] is None else f"  theory {point['theory']:.3e}"
            print(
                f"{name:<5} {point['words_of']:<13} {point['miscorrected']} of {point['words']} miscorrected, "
                f"{point['rate']:.3e}{theory}",
                flush=True,
            )
    return curves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--codewords", type=int, default=100_000, help="a point of the waterfall (default %(default)s)")
    parser.add_argument("--random-words", type=int, default=10_000_000, help="for miscorrection (default %(default)s)")
    parser.add_argument(
        "--few-errors", type=int, default=1_000_000, help="a point of E + n errors (default %(default)s)"
    )
    parser.add_argument("-o", "--out", type=Path, default=OUT, help="file for the JSON (default %(default)s)")
    args = parser.parse_args()
    start = time.perf_counter()
    curves = measure(args.codewords, args.random_words, args.few_errors)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"seed": SEED, "curves": curves}, indent=1) + "\n", encoding="utf-8")
    print(f"{args.out}, in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
