"""Whether octets are packets one after the other: chains of headers whose lengths land on one another, few APIDs, and
sequence counts that step by one; or error control that fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flight.kernels import Stop, crc16, split_packets
from ground.recording.detection.finding import Finding
from ground.recording.streams.encapsulation import packet_octets
from ground.recording.streams.link_options import Form, LinkOptions
from ground.recording.streams.packet_habits import PacketHabits, chains

Octets = NDArray[np.uint8]

LEADS = range(17)
_SEARCHED_OCTETS = 1 << 16
_COVERED = 0.5
_SURE_STEPS = 8
_FEW_PACKETS = 64


def find_packets(octets: Octets, hint: LinkOptions, *, is_all: bool) -> Iterator[Finding]:
    """Readings of a stretch as packets; `is_all`: it is the whole recording."""
    for lead in LEADS if hint.skip_octets is None else (hint.skip_octets,):
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
    words, counts, lengths = chains(octets if not lead else octets[:_SEARCHED_OCTETS], lead, any_version=any_version)
    if not len(words):
        return None
    habits = PacketHabits()
    looked = len(octets) if not lead else min(len(octets), _SEARCHED_OCTETS)
    habits.learn(words, counts, lengths, looked)
    known = habits.known[words]
    covered = min(float((lengths[known].sum(dtype=np.int64) + lead * known.sum()) / looked), 1.0)
    if covered < _COVERED:
        return None
    steady = np.unique(words[known & habits.counting[words]])
    steps = sum(
        int(np.count_nonzero(np.diff(counts[words == word].astype(np.int32)) & 0x3FFF == 1)) for word in steady.tolist()
    )
    if not steps and (lead != (hint.skip_octets or 0) or not _is_unbroken(octets, lead, any_version=any_version)):
        return None
    if lead and 2 * steps < known.sum():
        return None
    version = int(words[known][0]) >> 13
    lines = [
        (
            f"{int(known.sum()):,} packets of {len(np.unique(words[known]))} APIDs lead to one another, "
            f"over {covered:.0%} of {looked:,} octets"
        ),
        f"sequence counts step by one {steps:,} times",
    ]
    if lead:
        lines.append(f"{lead} octets stand in front of each")
    if version:
        lines.append(f"their version number is {version}, which is not that of space packets")
    confidence = 0.99 if steps >= _SURE_STEPS and covered > 0.9 else 0.8 if steps >= 2 else 0.5
    options = replace(hint, form=Form.PACKETS, skip_octets=lead, any_version=any_version)
    return Finding(options, tuple(lines), confidence, coverage=covered)


def _is_unbroken(octets: Octets, lead: int, *, any_version: bool) -> bool:
    """Whether packets that do not count lead from the first octet to the last without a break, and are not of data that
    happen to: few APIDs, each with its own sequence flags."""
    columns = split_packets(octets.data, lead_octets=lead, any_version=any_version)
    if len(columns) < _SURE_STEPS or columns.stop is Stop.VERSION or len(octets) - columns.consumed > 65_542:
        return False
    apid, kinds = np.asarray(columns.apid), np.asarray(columns.flags) & 3
    heads = len(np.unique(apid.astype(np.uint32) << 2 | kinds))
    return heads == len(np.unique(apid)) and 4 * heads <= len(columns)


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
    """Reading of a stretch as encapsulation packets."""
    at = count = 0
    while at < len(octets) and count < 4096:
        size = packet_octets(octets, at)
        if not size or (at + size > len(octets)):
            break
        at += size
        count += size > 1
    ended = at == len(octets) if is_all else at + 65_536 > len(octets) or count >= 4096
    if count >= 3 and ended:
        line = f"{count} encapsulation packets lead to one another, over {at:,} octets"
        yield Finding(replace(hint, form=Form.ENCAPSULATION), (line,), 0.9, coverage=1.0)
