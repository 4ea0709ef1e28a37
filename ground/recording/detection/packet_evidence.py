"""Whether octets are packets one after the other: chains of headers whose lengths land on one another, few APIDs, and
sequence counts that step by one; or error control that fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flight.kernels import Stop, crc16, split_packets
from ground.recording.detection.finding import Finding
from ground.recording.streams.encapsulation import next_packet, packet_octets
from ground.recording.streams.link_options import Form, LinkOptions
from ground.recording.streams.packet_survey import survey

Octets = NDArray[np.uint8]

LEADS = range(17)
_SEARCHED_OCTETS = 1 << 16
_COVERED, _COVERED_SURELY = 0.7, 0.9
_SURE_STEPS = 8
_FEW_PACKETS = 64
_ENCAPSULATION_MAX = 4096  # packets looked at
_PACKETS_PER_BREAK = 16
_PACKET_SOUGHT = 1 << 17  # octets in which the next one is sought


def find_packets(octets: Octets, hint: LinkOptions, *, is_all: bool, tries_leads: bool) -> Iterator[Finding]:
    """Readings of a stretch as packets; `is_all`: it is the whole recording; `tries_leads`: also with octets in front
    of each, which takes longer.
    """
    leads = (LEADS if tries_leads else (0,)) if hint.skip_octets is None else (hint.skip_octets,)
    for lead in leads:
        one = _reading(octets, lead, hint, any_version=hint.any_version)
        one = one or _few(octets, lead, hint, is_all=is_all)
        if one is not None:
            yield one
            if one.coverage > 0.9:
                return
    if not hint.any_version:
        one = _reading(octets, hint.skip_octets or 0, hint, any_version=True)
        if one is not None:
            yield one


def _reading(octets: Octets, lead: int, hint: LinkOptions, *, any_version: bool) -> Finding | None:
    looked = octets if lead == (hint.skip_octets or 0) else octets[:_SEARCHED_OCTETS]
    found = survey(looked, lead, any_version=any_version)
    count, covered = len(found.word), found.octets / len(looked)
    if covered < _COVERED or not count:
        return None
    # Of so many lengths in front that are tried, one may lead on by chance, over a few large packets.
    is_tried = lead != (hint.skip_octets or 0)
    if is_tried and (2 * found.steps < count or found.steps < _SURE_STEPS or covered < _COVERED_SURELY):
        return None
    version = int(found.word[0]) >> 13
    lines = [
        (
            f"{count:,} packets of {len(np.unique(found.word))} APIDs lead to one another, "
            f"over {covered:.0%} of {len(looked):,} octets"
        ),
        f"sequence counts step by one {found.steps:,} times",
    ]
    if lead:
        lines.append(f"{lead} octets stand in front of each")
    if version:
        lines.append(f"their version number is {version}, which is not that of space packets")
    confidence = 0.99 if found.steps >= _SURE_STEPS and covered > _COVERED_SURELY else 0.8 if found.steps >= 2 else 0.5
    options = replace(hint, form=Form.PACKETS, skip_octets=lead, any_version=any_version)
    return Finding(options, tuple(lines), confidence, coverage=covered)


def _few(octets: Octets, lead: int, hint: LinkOptions, *, is_all: bool) -> Finding | None:
    """So few packets that no count could step: they fill the recording exactly, or their error control fits."""
    columns = split_packets(octets.data, lead_octets=lead, any_version=hint.any_version)
    count = len(columns)
    if not 0 < count <= _FEW_PACKETS or columns.stop is not Stop.END or not is_all:
        return None
    view, pairs = octets.data, zip(columns.offset, columns.length, strict=True)
    sound = sum(crc16(view[start : start + length]) == 0 for start, length in pairs)
    if sound < 0.5 * count and (lead or len(set(columns.apid)) > max(4, count // 2)):
        return None
    if not octets.any():
        return None
    lines = [f"{count} packets fill the {len(octets)} octets exactly"]
    if sound:
        lines.append(f"packet error control fits in {sound} of them")
    confidence = 0.9 if 2 * sound >= count else 0.5
    options = replace(hint, form=Form.PACKETS, skip_octets=lead)
    return Finding(options, tuple(lines), confidence, coverage=1.0)


def find_encapsulation(octets: Octets, hint: LinkOptions, *, is_all: bool) -> Iterator[Finding]:
    """Reading of a stretch as encapsulation packets. One octet in eight begins like one, whatever it is. So nearly all
    must lead to another; what does not is damage, or the rest of one at the beginning.
    """
    at = count = breaks = 0
    while at < len(octets) and count < _ENCAPSULATION_MAX:
        size = packet_octets(octets, at)
        if size is None or at + size > len(octets):
            break
        if size == 0:
            breaks += 1
            if breaks > 1 + count // _PACKETS_PER_BREAK:
                return
            at = next_packet(octets[: at + _PACKET_SOUGHT], at + 1)
            continue
        at += size
        count += size > 1
    ended = at == len(octets) if is_all else at + 65_536 > len(octets) or count == _ENCAPSULATION_MAX
    if count >= (3 if ended and not breaks else _PACKETS_PER_BREAK):
        line = f"{count} encapsulation packets lead to one another, over {at:,} octets"
        if breaks:
            line += f", with {breaks} places between them at which none begins"
        yield Finding(replace(hint, form=Form.ENCAPSULATION), (line,), 0.7 if breaks else 0.9, coverage=1.0)
