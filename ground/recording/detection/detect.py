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
# A hint is never overruled: options that it states are taken for granted, the rest is found around them. Nor is what a
# user stated dropped: a reading must have what it is about (`stated_options`). A reading that needs what was not asked
# for (packets of other versions) is offered only as an alternative.
#
# Bounds: WINDOWS windows of WINDOW_OCTETS; markers, which may be far apart, are looked for in SEARCHED_OCTETS.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from flight.text.plural import counted
from ground.recording.detection.finding import Finding
from ground.recording.detection.frame_evidence import find_frames
from ground.recording.detection.known_files import known_file
from ground.recording.detection.packet_evidence import find_encapsulation, find_packets
from ground.recording.detection.stated_options import forms_of, written
from ground.recording.detection.unit_evidence import find_units
from ground.recording.streams.fill import leading_fill
from ground.recording.streams.link_options import Form, LinkOptions, Service
from ground.recording.streams.source import PacketSource

Octets = NDArray[np.uint8]

WINDOW_OCTETS = 1 << 18
SEARCHED_OCTETS = 1 << 22
WINDOWS = 6
_ALTERNATIVES_MAX = 3
_SAY_SO = "say so with --as, --frame-octets and the like"
_GUESS = 0.3  # least confidence times coverage of a reading that is worth naming


@dataclass(frozen=True, slots=True)
class _Asked:
    """What detection is asked: the hint, the forms that may be found, and at which octet of the recording it looks."""

    hint: LinkOptions
    forms: frozenset[Form]
    offset: int


def find(
    first_octets: bytes, hint: LinkOptions | None = None, *, stated: LinkOptions | None = None, offset: int = 0
) -> Finding:
    """Find out what a recording is that begins with these octets; 4 MiB are enough.

    hint: options that are known already. They are kept, and those that are None are found. If nothing fits them, what
        would fit without them is among the alternatives.
    stated: the part of the hint that the user stated of this recording (default: all of it). Only forms that have what
        it is about are found: frames if it says anything of frames.
    offset: of the first octet in the recording, for the evidence.

    Returns a Finding in any case; `is_known` is False if nothing was recognised.
    """
    hint = hint or LinkOptions()
    stated = hint if stated is None else stated
    octets = np.frombuffer(first_octets, np.uint8)
    found, others = _ranked(octets, _Asked(hint, forms_of(stated), offset))
    if found:
        return _completed(found[0], octets).beside((found[1:] + others)[:_ALTERNATIVES_MAX])
    free: list[Finding] = []
    if hint != LinkOptions():
        asked, unasked = _ranked(octets, _Asked(LinkOptions(), frozenset(Form), offset))
        free = asked + unasked
    # Stable, so among equals first what keeps to the hint and only needs an option more.
    readings = sorted(
        [*((reading, False) for reading in others), *((reading, True) for reading in free)],
        key=lambda ranked: -ranked[0].rank,
    )
    options = [*(["--mission"] if hint.stated().keys() - stated.stated().keys() else []), *written(stated)]
    why = _why_unknown(octets, offset, options, forms_of(stated), readings[0] if readings else None)
    alternatives = tuple(reading for reading, _ in readings[:_ALTERNATIVES_MAX])
    return Finding(replace(hint, form=None), why, 0.0, alternatives=alternatives)


def is_run(octets: bytes) -> bool:
    """Whether all octets are the same, so that nothing can be found in them."""
    return not octets.strip(octets[:1])


def _ranked(octets: Octets, asked: _Asked) -> tuple[list[Finding], list[Finding]]:
    """Return the readings worth naming, the best first, and those that need an option that was not asked for."""
    unasked: list[Finding] = []
    hint = asked.hint
    for number, (at, window, more) in enumerate(_windows(octets)):
        # Where frames begin is known only in the first window: a later one may stand in the midst of them.
        offset = asked.offset + at if number == 0 else None
        readings = _readings(window, more, asked, offset=offset, is_all=len(window) == len(octets))
        found = [
            reading
            for reading in readings
            if reading.confidence * reading.coverage >= _GUESS and _keeps(reading.options, hint)
        ]
        found.sort(key=lambda reading: -reading.rank)
        fitting = [reading for reading in found if reading.options.any_version == hint.any_version]
        unasked += [reading for reading in found if reading not in fitting]
        if fitting:
            return fitting, unasked
    return [], unasked


def _keeps(found: LinkOptions, hint: LinkOptions) -> bool:
    """Whether the frames of a reading, if it has any, are those of the hint."""
    if not found.is_framed:
        return True
    if found.service is Service.TM and (hint.insert_octets or hint.has_header_control):  # TM frames have neither
        return False
    if found.coding == "none" and hint.interleave is not None and hint.coding is None:  # nothing is interleaved
        return False
    return hint.service in (None, found.service) and hint.frame_octets in (None, found.frame_octets)


def _windows(octets: Octets) -> Iterator[tuple[int, Octets, Octets]]:
    """Yield (first octet, window, stretch in which markers are looked for), the first behind a run of one octet."""
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
            yield at, octets[at : at + WINDOW_OCTETS], octets[at : at + SEARCHED_OCTETS]
        if length <= WINDOW_OCTETS:
            return


def _readings(window: Octets, more: Octets, asked: _Asked, *, offset: int | None, is_all: bool) -> Iterator[Finding]:
    """Yield readings of a window. offset: of the window in the recording; None if it is not the first one."""
    hint, forms, is_first = asked.hint, asked.forms, offset is not None
    if Form.UNITS in forms:
        units = list(find_units(window, hint, tries_inner=is_first))
        if not units and len(more) > len(window):  # units may be so long that a window holds few markers
            units = list(find_units(more, hint, tries_inner=False))
        yield from units
    if Form.FRAMES in forms:
        yield from find_frames(window, hint, offset=offset)
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


def _why_unknown(
    octets: Octets, offset: int, options: list[str], forms: frozenset[Form], best: tuple[Finding, bool] | None
) -> tuple[str, ...]:
    """Say why nothing was recognised, and what would help.

    options, forms: what was stated, and the forms that it leaves. best: the best other reading, and whether it needs
    the options left out.
    """
    if not len(octets):
        return ("the input is empty",)
    if not (octets != octets[0]).any():
        return (f"all octets examined are {int(octets[0]):#04x}",)
    lines = []
    kind = "" if offset else known_file(octets[:512].tobytes())
    if kind:
        lines.append(f"it begins like {kind}")
        if kind.startswith("text") and not options and best is None:
            lines[0] += f"; if it is a recording all the same, {_SAY_SO}"
    nothing = "no check confirms any markers, frames or packets"
    without = "without it" if len(options) == 1 else "without them"
    fault = f"{_wanted(forms)} {' '.join(options)}" if options else nothing
    if best is not None:
        reading, is_free = best
        changes = [without] * is_free + ["with --any-version"] * (
            reading.options.any_version and "--any-version" not in options
        )
        evidence = "; ".join(reading.evidence)
        lines.append(f"{fault}; {' and '.join(changes)}: {evidence}")
    elif options:
        lines.append(f"{fault}, and {without} {nothing}")
    return tuple(lines) or (f"{nothing}; if you know what it is, {_SAY_SO}",)


def _wanted(forms: frozenset[Form]) -> str:
    """Return the beginning of a sentence that says that no octets of these forms fit something."""
    if Form.FRAMES in forms and Form.PACKETS not in forms:
        return "no frames fit"
    if len(forms) == 1:
        (form,) = forms
        return f"no {'encapsulation packets' if form is Form.ENCAPSULATION else form} fit"
    return "nothing fits"
