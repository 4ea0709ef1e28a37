"""Finds evidence for coded units: markers at a constant distance, codewords that check, and frames that make sense."""

# Order of trials: the distances between attached sync markers, the most frequent first, give unit lengths. For each,
# every coding, interleave and randomizer that this length allows is tried on a few units, and the frames inside are
# judged. Only if the octets show no units at all, they are taken for symbols of the inner code, decoded, and searched
# again.
#
# Why codewords that check are not enough: for some interleaves the short randomizer sequence is itself a codeword of
# the Reed-Solomon code. The code is linear, so data that are still randomized check as well. And a codeword with 32
# check symbols is also one with 16, with other data. So the headers of the frames decide, and among equals the code
# that corrects more.

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from flight.kernels import INTERLEAVES, Randomizer, decode_reed_solomon, randomize_units
from flight.link.coding.inner_decoder import InnerDecoder
from flight.link.coding.synchronizer import FrameSynchronizer
from flight.link.coding.tm_coding import MARKER, MARKER_OCTETS
from flight.text.plural import counted
from ground.recording.detection.finding import Finding
from ground.recording.detection.frame_evidence import judge_frames
from ground.recording.streams.link_options import CODINGS, PARITY, Form, LinkOptions

Octets = NDArray[np.uint8]

_INVERTED = bytes(octet ^ 0xFF for octet in MARKER)
_SEQUENCES = {"none": None, "short": Randomizer.TM, "long": Randomizer.TM_LONG}
_UNITS_MAX = 24  # units that are decoded to judge a coding
_MARKERS_MAX = 4096  # of shorter units a window holds more, and the first tell enough
_INNER_OCTETS = 1 << 16  # of symbols that the inner decoder is tried on; it is slow
_DISTANCES = 4  # distances between markers that are tried, the most frequent first
_UNIT_OCTETS_MIN, _UNIT_OCTETS_MAX = 16, 65_536
_CODEWORD_OCTETS = 255
_SOUND_FRAC = 0.25  # of the units must decode: a bad pass may have no more, and chance gives none


@dataclass(frozen=True, slots=True)
class _Coding:
    """One way in which units may be coded; the names are those of LinkOptions."""

    name: str
    interleave: int | None
    randomizer: str


def find_units(octets: Octets, hint: LinkOptions, *, tries_inner: bool) -> Iterator[Finding]:
    """Yield readings of a stretch as units. tries_inner: also behind the inner code, which takes longer."""
    found = False
    if hint.convolutional is not True:
        for finding in _in_stream(octets.tobytes(), hint, is_inner=False):
            found = True
            yield finding
    if tries_inner and not found and hint.convolutional is not False:
        decoder = InnerDecoder()
        stream = decoder.feed(octets[:_INNER_OCTETS].tobytes()) + decoder.finish()
        yield from _in_stream(stream, hint, is_inner=True)


def _in_stream(stream: bytes, hint: LinkOptions, *, is_inner: bool) -> Iterator[Finding]:
    """Yield the reading of the likeliest unit length that gives one."""
    markers = _markers(stream)
    for size, count in _unit_lengths(markers, len(stream), hint):
        finding = _best_coding(stream, size, count, hint, is_inner=is_inner)
        if finding is not None:
            yield finding
            return


def _markers(stream: bytes) -> list[int]:
    """Return the bits at which markers stand, upright or inverted, ascending."""
    octets = np.frombuffer(stream, np.uint8)
    places: set[int] = set()
    # bytes.find is the fastest search there is, and finds octets only: so once for each of the eight shifts.
    for shift in range(8):
        shifted = stream if not shift else ((octets[:-1] << shift) | (octets[1:] >> (8 - shift))).tobytes()
        for marker in (MARKER, _INVERTED):
            at = shifted.find(marker)
            while at >= 0 and len(places) < _MARKERS_MAX:
                places.add(8 * at + shift)
                at = shifted.find(marker, at + 1)
    return sorted(places)


def _unit_lengths(markers: list[int], octets: int, hint: LinkOptions) -> Iterator[tuple[int, int]]:
    """Yield (octets between two markers, how many markers stand so far apart), the most frequent first."""
    distances = Counter(b - a for a, b in pairwise(markers))
    # Also over one marker: data that look like a marker would otherwise hide the distance around them.
    distances.update(b - a for a, b in zip(markers, markers[2:], strict=False))
    sizes = [
        (distance // 8 - MARKER_OCTETS, count) for distance, count in distances.most_common(64) if distance % 8 == 0
    ]
    if len(markers) == 1:
        sizes.append((octets - markers[0] // 8 - MARKER_OCTETS, 0))  # a recording of one unit
    if hint.frame_octets is not None and hint.coding is not None:
        interleaves = INTERLEAVES if hint.interleave is None else (hint.interleave,)
        fitting = {hint.frame_octets + PARITY[hint.coding] * interleave for interleave in interleaves}
        sizes = [size for size in sizes if size[0] in fitting]
        if markers and not sizes:
            sizes = [(octets_between, 0) for octets_between in sorted(fitting)]
    sizes = [size for size in sizes if _UNIT_OCTETS_MIN <= size[0] <= min(_UNIT_OCTETS_MAX, octets)]
    # Twice the distance occurs nearly as often as the distance itself: among equals, the shorter one first.
    yield from sorted(sizes, key=lambda size: (-size[1], size[0]))[:_DISTANCES]


def _codings(size: int, hint: LinkOptions) -> Iterator[_Coding]:
    """Yield the codings that units of `size` octets may have, as far as the hint leaves them open."""
    for randomizer in _SEQUENCES if hint.randomizer is None else (hint.randomizer,):
        for name in CODINGS if hint.coding is None else (hint.coding,):
            if name == "none":
                yield _Coding(name, None, randomizer)
                continue
            for interleave in INTERLEAVES if hint.interleave is None else (hint.interleave,):
                data = size - PARITY[name] * interleave
                if data > 0 and size <= _CODEWORD_OCTETS * interleave and data % interleave == 0:
                    yield _Coding(name, interleave, randomizer)


def _best_coding(stream: bytes, size: int, count: int, hint: LinkOptions, *, is_inner: bool) -> Finding | None:
    """Return the best reading of units of `size` octets: their codewords check, and their frames make sense."""
    synchronizer = FrameSynchronizer(size)
    units = synchronizer.feed(stream)
    sample = bytes(units.octets[: _UNITS_MAX * size])
    if len(sample) < size:
        units = FrameSynchronizer(size).finish(stream)
        sample = bytes(units.octets[: _UNITS_MAX * size])
    if not sample:
        return None
    best: Finding | None = None
    for coding in _codings(size, hint):
        finding = _reading(sample, size, coding, hint, is_inner=is_inner)
        if finding is not None and (best is None or finding.confidence > best.confidence + 1e-9):
            best = finding
    if best is None:
        return None
    after = " after inner decoding" if is_inner else ""
    line = f"sync markers {size + MARKER_OCTETS} octets apart{after}, seen {counted(count or len(units), 'time')}"
    first = units.offset_bits[0] // 8 - MARKER_OCTETS
    coverage = min((len(units) + 1) * (size + MARKER_OCTETS) / (len(stream) - first), 1.0)
    return replace(best, evidence=(line, *best.evidence), coverage=coverage)


def _reading(sample: bytes, size: int, coding: _Coding, hint: LinkOptions, *, is_inner: bool) -> Finding | None:
    """Decode the units of a sample by one coding and judge the frames in them; None if they are not frames."""
    octets, count = bytearray(sample), len(sample) // size
    sequence = _SEQUENCES[coding.randomizer]
    if sequence is not None:
        randomize_units(octets, count, size, sequence)
    frame_octets, parity, lines = size, PARITY[coding.name], []
    sound: NDArray[np.bool_] = np.ones(count, np.bool_)
    if parity:
        interleave = coding.interleave or 1
        frame_octets = size - parity * interleave
        corrected = decode_reed_solomon(
            octets, data_octets=frame_octets, parity=parity, interleave=interleave, count=count, stride=size
        )
        sound = np.asarray((np.asarray(corrected).reshape(count, interleave) >= 0).all(axis=1))
        if sound.mean() < _SOUND_FRAC:
            return None
        codewords = (
            f"all {interleave} RS{coding.name[2:]} codewords" if interleave > 1 else f"the RS{coding.name[2:]} codeword"
        )
        lines.append(f"{codewords} decode{'s' * (interleave == 1)} in {int(sound.sum())} of {counted(count, 'unit')}")
    frames = np.frombuffer(octets, np.uint8).reshape(count, size)[sound, :frame_octets]
    evidence = judge_frames(frames, hint)
    if evidence is None:
        return None
    if sequence is not None:
        lines.append(f"removing the {coding.randomizer} randomizer yields frames")
    # Codewords that check are nearly as good as error control: units may be few, and see the head of this file.
    confidence = 0.6 + 0.39 * evidence.score if parity else 0.9 * evidence.score + 0.05
    options = replace(
        evidence.options, form=Form.UNITS, coding=coding.name, interleave=coding.interleave,
        randomizer=coding.randomizer, convolutional=is_inner,
    )  # fmt: skip
    # A codeword with 32 check symbols is one with 16 as well, so the code that corrects more is worth a trifle more.
    return Finding(options, (*lines, *evidence.lines), confidence + 1e-6 * parity)
