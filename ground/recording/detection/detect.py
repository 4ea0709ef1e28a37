"""Finds out what a recording is from its beginning: tries every form, and takes the one that explains the most."""

# Evidence. Each form brings its own: units their markers and codewords, frames their error control and counts, packets
# the chains of their headers. A reading that no check supports is not offered at all: runs of one octet, text and noise
# have markers, headers and lengths too, by chance or because zeros read as anything.
#
# Order of trials:
#   1. Windows of the recording, one after the other, until one gives a reading. The first begins behind a leading run
#      of one octet, the others are spread over the rest: the beginning may be noise of the acquisition.
#   2. In a window, all forms that the hint allows: units, frames, packets, encapsulation packets. They do not exclude
#      one another, so all are tried and ranked (`Finding.rank`). Costly trials (inner code, frames that begin anywhere,
#      octets in front of packets) are made in the first window only.
#   3. What is certain: error control that fits, codewords that check and hold sound frames, or counts that step. See
#      `finding` for the scale. A reading is named only if confidence times coverage reaches _GUESS.
#   4. If nothing fits the hint, everything is tried without it, only to tell the user what would fit.
#
# A hint is never overruled: options that it states are taken for granted, the rest is found around them. A reading that
# needs what was not asked for (packets of other versions) is offered only as an alternative.
#
# Bounds: WINDOWS windows of WINDOW_OCTETS; markers, which may be far apart, are looked for in SEARCHED_OCTETS.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ground.recording.detection.finding import Finding
from ground.recording.detection.frame_evidence import find_frames
from ground.recording.detection.known_files import known_file
from ground.recording.detection.packet_evidence import find_encapsulation, find_packets
from ground.recording.detection.unit_evidence import find_units
from ground.recording.streams.account import counted
from ground.recording.streams.fill import leading_fill
from ground.recording.streams.link_options import Form, LinkOptions
from ground.recording.streams.source import PacketSource

Octets = NDArray[np.uint8]

WINDOW_OCTETS = 1 << 18
SEARCHED_OCTETS = 1 << 22
WINDOWS = 6
_ALTERNATIVES_MAX = 3
_GUESS = 0.3  # least confidence times coverage of a reading that is worth naming


def find(first_octets: bytes, hint: LinkOptions | None = None) -> Finding:
    """Find out what a recording is that begins with these octets; 4 MiB are enough.

    hint: options that are known already. They are kept, and those that are None are found. If nothing fits them, what
        would fit without them is among the alternatives.

    Returns a Finding in any case; `is_known` is False if nothing was recognised.
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
    """Return the readings worth naming, the best first, and those that need an option that was not asked for."""
    unasked: list[Finding] = []
    for number, (window, more) in enumerate(_windows(octets)):
        readings = _readings(window, more, hint, is_first=number == 0, is_all=len(window) == len(octets))
        found = [
            reading
            for reading in readings
            if reading.confidence * reading.coverage >= _GUESS and _keeps(reading.options, hint)
        ]
        found.sort(key=lambda reading: -reading.rank)
        asked = [reading for reading in found if reading.options.any_version == hint.any_version]
        unasked += [reading for reading in found if reading not in asked]
        if asked:
            return asked, unasked
    return [], unasked


def _keeps(found: LinkOptions, hint: LinkOptions) -> bool:
    """Whether the frames of a reading, if it has any, are those of the hint."""
    return not found.is_framed or all(
        stated is None or stated == found_value
        for stated, found_value in ((hint.service, found.service), (hint.frame_octets, found.frame_octets))
    )


def _windows(octets: Octets) -> Iterator[tuple[Octets, Octets]]:
    """Yield pairs (window, stretch in which markers are looked for), the first behind a leading run of one octet."""
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
        if not units and len(more) > len(window):  # units may be so long that a window holds few markers
            units = list(find_units(more, hint, tries_inner=False))
        yield from units
    if Form.FRAMES in forms:
        yield from find_frames(window, hint, anywhere=is_first)
    if Form.PACKETS in forms:
        yield from find_packets(window, hint, is_all=is_all, tries_leads=is_first)
    if Form.ENCAPSULATION in forms:
        yield from find_encapsulation(window, hint, is_all=is_all)


def _completed(finding: Finding, octets: Octets) -> Finding:
    """Fill in whether segments are joined, which only the packets themselves can show."""
    options = finding.options
    if options.joins_segments is not None:
        return finding
    source = PacketSource(replace(options, joins_segments=False))
    kinds = np.zeros(4, np.int64)
    for batch in (source.feed(octets[:SEARCHED_OCTETS].tobytes()), source.finish()):
        kinds += np.bincount(batch.flags & 3, minlength=4)
    segments = int(kinds[:3].sum())
    # A group has a first and a last segment, so there are about as many of both. Some missions leave the flags at 0 or
    # fill them with anything: such packets are not segments, and joining them would lose them all.
    joins = not segments or bool(2 * kinds[1] >= kinds[2] > 0 and 2 * kinds[2] >= kinds[1])
    fate = "joined" if joins else "kept as they are, since their flags form no groups"
    lines = (f"{counted(segments, 'segment')} {fate}",) if segments else ()
    return replace(finding, options=replace(options, joins_segments=joins), evidence=finding.evidence + lines)


def _why_unknown(octets: Octets, others: list[Finding]) -> tuple[str, ...]:
    """Say why nothing was recognised, and what would fit without the hint."""
    if not len(octets):
        return ("the input is empty",)
    if leading_fill(octets) == len(octets) or not (octets != octets[0]).any():
        return (f"all octets examined are {int(octets[0]):#04x}",)
    lines = []
    kind = known_file(octets[:512].tobytes())
    if kind:
        lines.append(f"it begins like {kind}")
    if others:
        lines.append("nothing fits the options given; without them this would: " + "; ".join(others[0].evidence))
    return tuple(lines) or ("no check confirms any markers, frames or packets",)
