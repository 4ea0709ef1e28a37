"""Whether octets are coded units, and how they are coded: markers at a constant distance, codewords that check, and
frames in them that make sense.

That codewords check is not enough: the short sequence of the randomizer is a codeblock itself for some interleaves, so
that data which were not freed of it check as well. The frames' headers decide.
"""

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
from ground.recording.detection.finding import Finding
from ground.recording.detection.frame_evidence import judge_frames
from ground.recording.streams.link_options import CODINGS, PARITY, Form, LinkOptions

Octets = NDArray[np.uint8]

_INVERTED = bytes(octet ^ 0xFF for octet in MARKER)
_SEQUENCES = {"none": None, "short": Randomizer.TM, "long": Randomizer.TM_LONG}
_UNITS_MAX = 24  # looked at
_MARKERS_MAX = 4096
_INNER_OCTETS = 1 << 16  # of symbols that the inner decoder is tried on
_DISTANCES = 4  # tried, the most frequent first
_UNIT_OCTETS_MIN, _UNIT_OCTETS_MAX = 16, 65_536
_CODEWORD_OCTETS = 255
_SOUND_FRAC = 0.25  # of the units: a bad pass may have no more


@dataclass(frozen=True, slots=True)
class _Coding:
    name: str
    interleave: int | None
    randomizer: str


def find_units(octets: Octets, hint: LinkOptions, *, tries_inner: bool) -> Iterator[Finding]:
    """Readings of a stretch as units."""
    found = False
    if hint.convolutional is not True:
        for one in _in_stream(octets.tobytes(), hint, is_inner=False):
            found = True
            yield one
    if tries_inner and not found and hint.convolutional is not False:
        decoder = InnerDecoder()
        stream = decoder.feed(octets[:_INNER_OCTETS].tobytes()) + decoder.finish()
        yield from _in_stream(stream, hint, is_inner=True)


def _in_stream(stream: bytes, hint: LinkOptions, *, is_inner: bool) -> Iterator[Finding]:
    markers = _markers(stream)
    for size, count in _unit_lengths(markers, len(stream), hint):
        one = _best_coding(stream, size, count, hint, is_inner=is_inner)
        if one is not None:
            yield one
            return


def _markers(stream: bytes) -> list[int]:
    """Where markers stand, bits: at any bit, upright or inverted."""
    octets = np.frombuffer(stream, np.uint8)
    places: set[int] = set()
    for shift in range(8):
        shifted = stream if not shift else ((octets[:-1] << shift) | (octets[1:] >> (8 - shift))).tobytes()
        for marker in (MARKER, _INVERTED):
            at = shifted.find(marker)
            while at >= 0 and len(places) < _MARKERS_MAX:
                places.add(8 * at + shift)
                at = shifted.find(marker, at + 1)
    return sorted(places)


def _unit_lengths(markers: list[int], octets: int, hint: LinkOptions) -> Iterator[tuple[int, int]]:
    """(octets between two markers, how many markers stand so far apart), the most frequent first."""
    distances = Counter(b - a for a, b in pairwise(markers))
    distances.update(b - a for a, b in zip(markers, markers[2:], strict=False))
    sizes = [
        (distance // 8 - MARKER_OCTETS, count) for distance, count in distances.most_common(64) if distance % 8 == 0
    ]
    if len(markers) == 1:
        sizes.append((octets - markers[0] // 8 - MARKER_OCTETS, 0))  # one unit
    if hint.frame_octets is not None and hint.coding is not None:
        interleaves = INTERLEAVES if hint.interleave is None else (hint.interleave,)
        fitting = {hint.frame_octets + PARITY[hint.coding] * one for one in interleaves}
        sizes = [one for one in sizes if one[0] in fitting]
        if markers and not sizes:
            sizes = [(one, 0) for one in sorted(fitting)]
    sizes = [one for one in sizes if _UNIT_OCTETS_MIN <= one[0] <= min(_UNIT_OCTETS_MAX, octets)]
    # Twice the distance occurs nearly as often as the distance.
    yield from sorted(sizes, key=lambda one: (-one[1], one[0]))[:_DISTANCES]


def _codings(size: int, hint: LinkOptions) -> Iterator[_Coding]:
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
    """The coding for which units check and have frames in them that make sense."""
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
        one = _reading(sample, size, coding, hint, is_inner=is_inner)
        if one is not None and (best is None or one.confidence > best.confidence + 1e-9):
            best = one
    if best is None:
        return None
    way = " behind the inner code" if is_inner else ""
    line = f"sync markers {size + MARKER_OCTETS} octets apart{way}, {count or len(units)} times"
    first = units.offset_bits[0] // 8 - MARKER_OCTETS
    coverage = min((len(units) + 1) * (size + MARKER_OCTETS) / (len(stream) - first), 1.0)
    return replace(best, evidence=(line, *best.evidence), coverage=coverage)


def _reading(sample: bytes, size: int, coding: _Coding, hint: LinkOptions, *, is_inner: bool) -> Finding | None:
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
        lines.append(f"all {interleave} codewords of RS{coding.name[2:]} check in {int(sound.sum())} of {count} units")
    frames = np.frombuffer(octets, np.uint8).reshape(count, size)[sound, :frame_octets]
    evidence = judge_frames(frames, hint)
    if evidence is None:
        return None
    if sequence is not None:
        lines.append(f"the {coding.randomizer} randomizer gives frames")
    # Codewords that check are as good as error control, but for a few units, and for what the randomizer does.
    confidence = 0.6 + 0.39 * evidence.score if parity else 0.9 * evidence.score + 0.05
    options = replace(
        evidence.options, form=Form.UNITS, coding=coding.name, interleave=coding.interleave,
        randomizer=coding.randomizer, convolutional=is_inner,
    )  # fmt: skip
    # E = 16 checks as E = 8 as well, so what corrects more is worth more.
    return Finding(options, (*lines, *evidence.lines), confidence + 1e-6 * parity)
