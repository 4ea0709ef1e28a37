"""Finds evidence for packets: headers whose lengths lead to one another, with counts that step or CRCs that fit."""

# Order of trials, each only if the one before explained too little:
#   1. packets side by side, or with as many octets in front of each as the hint says
#   2. so few packets that no count could step: they must fill the recording exactly
#   3. both again with 1 to 16 octets in front of each packet, as some stations write
#   4. packets of other version numbers, which are only offered, since 4.1.3.2 of CCSDS 133.0-B-2 allows none
#
# What counts as certain: _SURE_STEPS counts that step by one, over more than nine tenths of the octets. Lengths that
# lead on prove little by themselves: zeros are an endless chain of packets of seven octets.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flight.kernels import Stop, crc16, split_packets
from flight.text.plural import counted
from ground.recording.detection.finding import Finding
from ground.recording.streams.encapsulation import next_packet, packet_octets
from ground.recording.streams.link_options import Form, LinkOptions
from ground.recording.streams.packet_survey import survey

Octets = NDArray[np.uint8]

LEADS = range(17)  # octets in front of a packet that are tried
_SEARCHED_OCTETS = 1 << 16  # examined for each lead that is only tried: there are many
_COVERED, _COVERED_SURELY = 0.7, 0.9  # share of the octets that packets must explain
_SURE_STEPS = 8  # counts that step by one, more than chance gives
_FEW_PACKETS = 64  # more than so many of one recording would show counts that step
_ENCAPSULATION_MAX = 4096  # encapsulation packets examined
_PACKETS_PER_BREAK = 16  # encapsulation packets per place at which none begins, at least
_PACKET_SOUGHT = 1 << 17  # octets in which the next encapsulation packet is looked for


def find_packets(octets: Octets, hint: LinkOptions, *, is_all: bool, tries_leads: bool) -> Iterator[Finding]:
    """Yield readings of a stretch as packets.

    is_all: the stretch is the whole recording.
    tries_leads: also try octets in front of each packet, which takes longer.
    """
    leads = (LEADS if tries_leads else (0,)) if hint.skip_octets is None else (hint.skip_octets,)
    for lead in leads:
        finding = _reading(octets, lead, hint, any_version=hint.any_version)
        finding = finding or _few(octets, lead, hint, is_all=is_all)
        if finding is not None:
            yield finding
            if finding.coverage > 0.9:
                return
    if not hint.any_version:
        finding = _reading(octets, hint.skip_octets or 0, hint, any_version=True)
        if finding is not None:
            yield finding


def _reading(octets: Octets, lead: int, hint: LinkOptions, *, any_version: bool) -> Finding | None:
    """Read a stretch as packets with `lead` octets in front of each; None if they explain too little of it."""
    looked = octets if lead == (hint.skip_octets or 0) else octets[:_SEARCHED_OCTETS]
    found = survey(looked, lead, any_version=any_version)
    count, covered = len(found.word), found.octets / len(looked)
    if covered < _COVERED or not count:
        return None
    # Among so many leads that are tried, one may chain by chance, over a few large packets: so more is asked of these.
    is_tried = lead != (hint.skip_octets or 0)
    if is_tried and (2 * found.steps < count or found.steps < _SURE_STEPS or covered < _COVERED_SURELY):
        return None
    version = int(found.word[0]) >> 13
    lines = [
        (
            f"{counted(count, 'packet')} of {counted(len(np.unique(found.word)), 'APID')} lead to one another, "
            f"over {covered:.0%} of {counted(len(looked), 'octet')}"
        ),
        f"sequence counts step by one {counted(found.steps, 'time')}",
    ]
    if lead:
        lines.append(f"{counted(lead, 'octet')} in front of each packet")
    if version:
        lines.append(f"their version number is {version}; space packets have 0")
    confidence = 0.99 if found.steps >= _SURE_STEPS and covered > _COVERED_SURELY else 0.8 if found.steps >= 2 else 0.5
    options = replace(hint, form=Form.PACKETS, skip_octets=lead, any_version=any_version)
    return Finding(options, tuple(lines), confidence, coverage=covered)


def _few(octets: Octets, lead: int, hint: LinkOptions, *, is_all: bool) -> Finding | None:
    """Read a recording of so few packets that no count could step: they must fill it exactly."""
    columns = split_packets(octets.data, lead_octets=lead, any_version=hint.any_version)
    count = len(columns)
    if not 0 < count <= _FEW_PACKETS or columns.stop is not Stop.END or not is_all:
        return None
    view, pairs = octets.data, zip(columns.offset, columns.length, strict=True)
    sound = sum(crc16(view[start : start + length]) == 0 for start, length in pairs)
    if sound < 0.5 * count and (lead or len(set(columns.apid)) > max(4, count // 2)):
        return None
    if not octets.any():  # zeros, whatever their checksum says
        return None
    lines = [f"{counted(count, 'packet')} fill{'s' * (count == 1)} the {counted(len(octets), 'octet')} exactly"]
    if sound:
        lines.append(f"packet error control (CRC-16) matches in {sound} of them")
    confidence = 0.9 if 2 * sound >= count else 0.5
    options = replace(hint, form=Form.PACKETS, skip_octets=lead)
    return Finding(options, tuple(lines), confidence, coverage=1.0)


def find_encapsulation(octets: Octets, hint: LinkOptions, *, is_all: bool) -> Iterator[Finding]:
    """Yield a reading of a stretch as encapsulation packets, if it is one.

    One octet in eight begins like an encapsulation packet, whatever it is. So nearly all must lead to another; the
    exceptions are damage, or the end of a packet that began before the stretch.
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
        count += size > 1  # idle packets of one octet prove nothing: 0xE0 repeated is fill
    ended = at == len(octets) if is_all else at + 65_536 > len(octets) or count == _ENCAPSULATION_MAX
    if count >= (3 if ended and not breaks else _PACKETS_PER_BREAK):
        line = f"{counted(count, 'encapsulation packet')} lead to one another, over {counted(at, 'octet')}"
        if breaks:
            line += f", with {counted(breaks, 'place')} between them at which none begins"
        yield Finding(replace(hint, form=Form.ENCAPSULATION), (line,), 0.7 if breaks else 0.9, coverage=1.0)
