"""Which packets a stretch of octets holds, whatever damage is in it: found at all octets at once, by counts that step.

From any octet the header that would stand there leads to another one. If that one, or one a few headers on, is of the
same APID and has the next sequence count, both are headers: in random octets that happens once in 2^30 places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flight.kernels import Stop, split_packets
from ground.recording.streams.packet_headers import (
    PACKET_OCTETS_MAX,
    PACKET_OCTETS_MIN,
    WORDS_COUNT,
    Headers,
    Octets,
    headers_at_all,
    words_of,
)

_HOPS = 8  # headers on, within which the next of the same APID is looked for
_FURTHER_HOPS = 64  # if that explains little
_EXPLAINED_FRAC = 0.7
_STEPS_MIN = 2  # of an APID, until it is taken for one; 1 in a short stretch
_SHORT_OCTETS = 4096
_WORDS_TRIED = 256
IDLE_WORDS = np.array((0x07FF, 0x0FFF))  # idle packets: nobody keeps their count
_ALONE_FRAC = 0.8  # of a word's octets, which no other word has
_WALKED_STEPS = 8
_SILENT_PACKETS = 8  # that lead from the first octet on, if no count steps


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found.

    words: by the first two octets of a header, whether packets begin with them.
    counting: False if no sequence count steps.
    word, length: of the n packets of these that lead to one another.
    steps: how often a count stepped by one.
    octets: how many octets these packets take, with what stands in front of them.
    """

    words: NDArray[np.bool_]
    counting: bool
    word: NDArray[np.uint16]
    length: NDArray[np.int64]
    steps: int
    octets: int


def survey(octets: Octets, lead: int, *, any_version: bool) -> Survey:
    """Find the packets of a stretch, each with `lead` octets in front of it."""
    found = _found(octets, lead, _HOPS, any_version=any_version)
    if found.octets >= _EXPLAINED_FRAC * len(octets):
        return found
    # So many APIDs may take turns that few of them come again so soon.
    walked = _walked(octets, lead, any_version=any_version)
    if walked is not None or lead:
        return walked or found
    further = _found(octets, lead, _FURTHER_HOPS, any_version=any_version)
    return further if further.octets > found.octets else found


def _walked(octets: Octets, lead: int, *, any_version: bool) -> Survey | None:
    """A stretch without damage, of however many APIDs: headers lead from its first octet to its end, and most of their
    counts step. None if it is not one.
    """
    columns = split_packets(octets.data, lead_octets=lead, any_version=any_version)
    if columns.stop is Stop.VERSION or len(octets) - columns.consumed > PACKET_OCTETS_MAX or not len(columns):
        return None
    at, length, seq = np.asarray(columns.offset), np.asarray(columns.length), np.asarray(columns.seq)
    word = words_of(octets[at], octets[at + np.uint64(1)])
    order = np.argsort(word, kind="stable")
    is_same = word[order][1:] == word[order][:-1]
    stepped = is_same & ((seq[order][1:] - seq[order][:-1]) & 0x3FFF == 1)
    steps = int(np.count_nonzero(stepped))
    if steps < _WALKED_STEPS or 2 * steps < np.count_nonzero(is_same):
        return None
    # What stands alone may be what a spoilt length led to.
    in_line = np.zeros(len(word), np.bool_)
    in_line[order[:-1][stepped]] = True
    words = np.zeros(WORDS_COUNT, np.bool_)
    words[word[in_line]] = True
    return Survey(words, True, word[in_line], length[in_line].astype(np.int64), steps, columns.consumed)


def _found(octets: Octets, lead: int, hops: int, *, any_version: bool) -> Survey:
    """What lies among damage: pairs of headers whose counts step, wherever they are."""
    headers = headers_at_all(octets[lead:])
    count = len(headers)
    behind = np.arange(count, dtype=np.int64) + lead + headers.length
    is_header = (headers.word != 0) | (headers.length > PACKET_OCTETS_MIN)  # zeros are no packets
    if not any_version:
        is_header &= headers.word < 0x2000
    stepped = _stepped(headers, behind, is_header, hops)
    words = _tiling(headers, behind, stepped, len(octets))
    counting = bool(words.any())
    if not counting:
        words = _silent(octets, lead, any_version=any_version)
    if counting:
        stepped |= _idle(octets, headers, behind + lead, words)
    at = np.flatnonzero(words[headers.word] & (stepped if counting else is_header))
    at = at[behind[at] <= len(octets)]
    at = at[at >= np.maximum.accumulate(np.append(0, behind[at]))[:-1]]
    taken = int(headers.length[at].sum()) + lead * len(at)
    return Survey(words, counting, headers.word[at], headers.length[at], int(stepped[at].sum()), taken)


def _stepped(headers: Headers, behind: NDArray[np.int64], is_header: NDArray[np.bool_], hops: int) -> NDArray[np.bool_]:
    """Where a header stands to which one of the next few is the next of its APID. Most octets lead out of the stretch
    or to no header after a hop or two: they are not followed any more.
    """
    count = len(headers)
    step = np.where(is_header & (behind < count), behind, count)
    stepped = np.zeros(count, np.bool_)
    at = np.flatnonzero(step < count)
    hop = step[at]
    for _ in range(hops):
        if not len(at):
            break
        fits = (headers.word[hop] == headers.word[at]) & ((headers.seq[hop] - headers.seq[at]) & 0x3FFF == 1)
        stepped[at[fits]] = True
        hop = step[hop]
        leads = ~fits & (hop < count)
        at, hop = at[leads], hop[leads]
    return stepped


def _idle(octets: Octets, headers: Headers, after: NDArray[np.int64], words: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where idle packets stand, whose count nobody keeps: they lead to one of the others, or to one more. Their words
    become known.
    """
    words[IDLE_WORDS] = True
    idle = np.isin(headers.word, IDLE_WORDS)
    at = np.flatnonzero(idle & (after + 2 <= len(octets)))
    idle[:] = False
    idle[at] = words[words_of(octets[after[at]], octets[after[at] + 1])]
    return idle


def _tiling(headers: Headers, behind: NDArray[np.int64], stepped: NDArray[np.bool_], octets: int) -> NDArray[np.bool_]:
    """The words whose packets lie side by side. Data that count have headers in them too, by chance and over one
    another: so words are taken one by one, those first that cover the most and lead to others, and those left out that
    would lie over what is covered already.
    """
    words = np.zeros(WORDS_COUNT, np.bool_)
    at = np.flatnonzero(stepped)
    leads = np.append(stepped, True)[np.minimum(behind[at], len(stepped))]
    numbers = np.bincount(headers.word[at], minlength=WORDS_COUNT)
    weights = np.bincount(headers.word[at], weights=headers.length[at] * (0.1 + leads), minlength=WORDS_COUNT)
    weights[numbers < (_STEPS_MIN if len(headers) > _SHORT_OCTETS else 1)] = 0
    covered = np.zeros(octets + 1, np.bool_)
    for word in np.argsort(-weights, kind="stable")[:_WORDS_TRIED].tolist():
        if not weights[word]:
            break
        own = at[headers.word[at] == word]
        edges = np.zeros(octets + 1, np.int32)
        np.add.at(edges, own, 1)
        np.add.at(edges, np.minimum(behind[own], octets), -1)
        inside = np.cumsum(edges)
        taken = int(inside.sum())
        alone = int(np.count_nonzero((inside > 0) & ~covered))
        if alone >= _ALONE_FRAC * taken:
            words[word] = True
            covered |= inside > 0
    return words


def _silent(octets: Octets, lead: int, *, any_version: bool) -> NDArray[np.bool_]:
    """The words of packets whose counts do not step: they lead from the first octet on without a break, and are not of
    data that happen to: few APIDs, each with its own sequence flags.
    """
    words = np.zeros(WORDS_COUNT, np.bool_)
    columns = split_packets(octets.data, lead_octets=lead, any_version=any_version)
    is_broken = columns.stop is Stop.VERSION or len(octets) - columns.consumed > PACKET_OCTETS_MAX
    if len(columns) < _SILENT_PACKETS or is_broken or set(columns.length) == {PACKET_OCTETS_MIN}:
        return words
    apid, kinds = np.asarray(columns.apid), np.asarray(columns.flags) & 3
    heads = len(np.unique(apid.astype(np.uint32) << 2 | kinds))
    if heads == len(np.unique(apid)) and 4 * heads <= len(columns):
        at = np.asarray(columns.offset)
        words[words_of(octets[at], octets[at + np.uint64(1)])] = True
    return words
