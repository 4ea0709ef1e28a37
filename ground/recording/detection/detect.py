"""What a recording is, by its beginning: every form is tried, and the one that explains the most is taken.

Each form brings its evidence: units their markers and codewords, frames their error control and counts, packets the
chains of their headers. Nothing is taken for known that no check supports: runs of one octet, text and noise have
markers, headers and lengths too, by chance or by being zero.

Bounds: WINDOWS stretches of WINDOW_OCTETS within what is given, the first behind whatever run of one octet it begins
with, the others spread over the rest until something is found; markers are sought in SEARCHED_OCTETS from there on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ground.recording.detection.finding import Finding
from ground.recording.detection.frame_evidence import find_frames
from ground.recording.detection.magic import known_file
from ground.recording.detection.packet_evidence import find_encapsulation, find_packets
from ground.recording.detection.unit_evidence import find_units
from ground.recording.streams.fill import leading_fill
from ground.recording.streams.link_options import Form, LinkOptions
from ground.recording.streams.source import PacketSource

Octets = NDArray[np.uint8]

WINDOW_OCTETS = 1 << 18
SEARCHED_OCTETS = 1 << 22
WINDOWS = 6
_ALTERNATIVES_MAX = 3
_GUESS = 0.3  # of confidence times coverage: what has less is not said to be anything


def find(first_octets: bytes, hint: LinkOptions | None = None) -> Finding:
    """What a recording is that begins with these octets (the more of it the better, 4 MiB are enough).

    hint: options that are known already: they are kept, and those that are None are found. If nothing fits them, what
    would fit without them is among the alternatives.
    """
    hint = hint or LinkOptions()
    octets = np.frombuffer(first_octets, np.uint8)
    found, others = _ranked(octets, hint)
    if found:
        return _completed(found[0], octets).beside((found[1:] + others)[:_ALTERNATIVES_MAX])
    if hint != LinkOptions():
        free, unasked = _ranked(octets, LinkOptions())
        others += free + unasked
    unknown = replace(hint, form=None)
    return Finding(unknown, _why_unknown(octets, others), 0.0, alternatives=tuple(others[:_ALTERNATIVES_MAX]))


def _ranked(octets: Octets, hint: LinkOptions) -> tuple[list[Finding], list[Finding]]:
    """Readings worth naming, the best first; and those that need what must be asked for."""
    unasked: list[Finding] = []
    for number, (window, more) in enumerate(_windows(octets)):
        readings = _readings(window, more, hint, is_first=number == 0, is_all=len(window) == len(octets))
        found = [one for one in readings if one.confidence * one.coverage >= _GUESS and _keeps(one.options, hint)]
        found.sort(key=lambda one: -one.rank)
        asked = [one for one in found if one.options.any_version == hint.any_version]
        unasked += [one for one in found if one not in asked]
        if asked:
            return asked, unasked
    return [], unasked


def _keeps(found: LinkOptions, hint: LinkOptions) -> bool:
    """Whether the frames of a reading are those that were said, if it has frames."""
    return not found.is_framed or all(
        said is None or said == read
        for said, read in ((hint.service, found.service), (hint.frame_octets, found.frame_octets))
    )


def _windows(octets: Octets) -> Iterator[tuple[Octets, Octets]]:
    """(a window, what markers are sought in), from behind a run of one octet on."""
    start = leading_fill(octets)
    if start >= len(octets):
        return
    length = len(octets) - start
    seen = set[int]()
    for number in range(WINDOWS):
        at = start + (length * number // WINDOWS if number else 0)
        at += leading_fill(octets[at : at + SEARCHED_OCTETS]) if number else 0
        if at not in seen and at < len(octets):
            seen.add(at)
            yield octets[at : at + WINDOW_OCTETS], octets[at : at + SEARCHED_OCTETS]
        if length <= WINDOW_OCTETS:
            return


def _readings(window: Octets, more: Octets, hint: LinkOptions, *, is_first: bool, is_all: bool) -> Iterator[Finding]:
    forms = Form if hint.form is None else (hint.form,)
    if Form.UNITS in forms:
        units = list(find_units(window, hint, tries_inner=is_first))
        if not units and len(more) > len(window):
            units = list(find_units(more, hint, tries_inner=False))
        yield from units
    if Form.FRAMES in forms:
        yield from find_frames(window, hint, anywhere=is_first)
    if Form.PACKETS in forms:
        yield from find_packets(window, hint, is_all=is_all, tries_leads=is_first)
    if Form.ENCAPSULATION in forms:
        yield from find_encapsulation(window, hint, is_all=is_all)


def _completed(one: Finding, octets: Octets) -> Finding:
    """Whether segments are put together, which packets themselves must show."""
    options = one.options
    if options.joins_segments is not None:
        return one
    source = PacketSource(replace(options, joins_segments=False))
    kinds = np.zeros(4, np.int64)
    for batch in (source.feed(octets[:SEARCHED_OCTETS].tobytes()), source.finish()):
        kinds += np.bincount(batch.flags & 3, minlength=4)
    segments = int(kinds[:3].sum())
    # Groups have a first and a last one. Flags that never say so are not meant.
    joins = not segments or bool(2 * kinds[1] >= kinds[2] > 0 and 2 * kinds[2] >= kinds[1])
    means = "put together" if joins else "given as they are, for their flags make no groups"
    lines = (f"{segments:,} packets are segments: they are {means}",) if segments else ()
    return replace(one, options=replace(options, joins_segments=joins), evidence=one.evidence + lines)


def _why_unknown(octets: Octets, others: list[Finding]) -> tuple[str, ...]:
    if not len(octets):
        return ("there are no octets",)
    if leading_fill(octets) == len(octets) or not (octets != octets[0]).any():
        return (f"all octets looked at are {int(octets[0]):#04x}",)
    lines = []
    kind = known_file(octets[:512].tobytes())
    if kind:
        lines.append(f"it begins like {kind}")
    if others:
        lines.append("nothing fits that was asked for; what does: " + "; ".join(others[0].evidence))
    return tuple(lines) or ("no markers, frames or packets that any check supports",)
