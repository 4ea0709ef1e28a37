"""Finds the packets of a stretch of octets, whatever damage is in it, by sequence counts that step."""

# From any octet, the header that would stand there leads to another place. If the header there, or one a few headers
# on, has the same word and the next sequence count, both are headers: in random octets that happens once in 2^30
# places. So no start need be known, and damage costs only the packets that it hits.
#
# Order of trials, from the cheapest that proves the most:
#   1. pairs within _HOPS headers, at all octets at once. Enough if they explain most of the stretch.
#   2. a plain walk from the first octet, if so many APIDs take turns that few come again within 8 headers. It needs a
#      stretch without damage.
#   3. pairs within _FURTHER_HOPS headers: the same as 1 for many APIDs among damage, at several times the cost.
# If no count steps at all, packets are accepted only as an unbroken walk of few words (`_silent`), since then lengths
# alone speak for them.

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

_HOPS = 8  # headers within which the next one of the same word is looked for
_FURTHER_HOPS = 64  # the same, if _HOPS explain too little
_EXPLAINED_FRAC = 0.7  # of the octets: more is hardly there, with damage or a cut packet at both ends
_STEPS_MIN = 2  # of a word before it counts as one; 1 in a short stretch, which has no room for more
_SHORT_OCTETS = 4096
_WORDS_TRIED = 256  # missions use fewer APIDs at a time, and each costs a pass over the stretch
IDLE_WORDS = np.array((0x07FF, 0x0FFF))  # idle packets, with and without secondary header: their count means nothing
_ALONE_FRAC = 0.8  # of the octets of a word's packets must not lie under those of another word
_WALKED_STEPS = 8  # of counts by one, before a walk is believed
_SILENT_PACKETS = 8  # in an unbroken walk, if no count steps


@dataclass(frozen=True, slots=True)
class Survey:
    """The packets that a survey found.

    words: 65,536 booleans by word (the first two octets of a header), whether packets begin with it.
    counting: False if no sequence count steps.
    word, length: of the n packets, in order; lengths in octets.
    steps: how often a count stepped by one.
    octets: octets of these packets together, with what stands in front of each.
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
    # So many APIDs may take turns that few of them come again within _HOPS headers.
    walked = _walked(octets, lead, any_version=any_version)
    if walked is not None or lead:
        return walked or found
    further = _found(octets, lead, _FURTHER_HOPS, any_version=any_version)
    return further if further.octets > found.octets else found


def _walked(octets: Octets, lead: int, *, any_version: bool) -> Survey | None:
    """Survey a stretch without damage: headers lead from its first octet to its end, and most of their counts step.

    Returns None if the stretch is not like that.
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
    # Only packets that another one follows by count: one that stands alone may be data that a damaged length led to.
    in_line = np.zeros(len(word), np.bool_)
    in_line[order[:-1][stepped]] = True
    words = np.zeros(WORDS_COUNT, np.bool_)
    words[word[in_line]] = True
    return Survey(words, True, word[in_line], length[in_line].astype(np.int64), steps, columns.consumed)


def _found(octets: Octets, lead: int, hops: int, *, any_version: bool) -> Survey:
    """Survey a stretch with damage: pairs of headers whose counts step, wherever they stand."""
    headers = headers_at_all(octets[lead:])
    count = len(headers)
    behind = np.arange(count, dtype=np.int64) + lead + headers.length
    is_header = (headers.word != 0) | (headers.length > PACKET_OCTETS_MIN)  # zeros would be packets of 7 octets
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
    # Of packets that would overlap, the one that begins first stays.
    at = at[at >= np.maximum.accumulate(np.append(0, behind[at]))[:-1]]
    taken = int(headers.length[at].sum()) + lead * len(at)
    return Survey(words, counting, headers.word[at], headers.length[at], int(stepped[at].sum()), taken)


def _stepped(headers: Headers, behind: NDArray[np.int64], is_header: NDArray[np.bool_], hops: int) -> NDArray[np.bool_]:
    """Return at which octets a header stands that one of the next `hops` headers follows by word and count.

    All octets are followed together, a hop at a time. Most lead out of the stretch, or to something that is not a
    header, after a hop or two, and are dropped then.
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
    """Return at which octets idle packets stand: those that lead to a known word, idle ones included.

    Nobody keeps the count of idle packets, so steps cannot find them. Their words are added to `words`.
    """
    words[IDLE_WORDS] = True
    idle = np.isin(headers.word, IDLE_WORDS)
    at = np.flatnonzero(idle & (after + 2 <= len(octets)))
    idle[:] = False
    idle[at] = words[words_of(octets[after[at]], octets[after[at] + 1])]
    return idle


def _tiling(headers: Headers, behind: NDArray[np.int64], stepped: NDArray[np.bool_], octets: int) -> NDArray[np.bool_]:
    """Return the words whose packets lie side by side.

    Data that count, such as a table of numbers, look like headers too, but those overlap one another and the real ones.
    So words are accepted one by one, those first that cover the most octets and lead to others, and a word is left out
    if its packets would lie over what is covered already.
    """
    words = np.zeros(WORDS_COUNT, np.bool_)
    at = np.flatnonzero(stepped)
    leads = np.append(stepped, True)[np.minimum(behind[at], len(stepped))]
    numbers = np.bincount(headers.word[at], minlength=WORDS_COUNT)
    # A packet that leads to another weighs eleven times one that does not.
    weights = np.bincount(headers.word[at], weights=headers.length[at] * (0.1 + leads), minlength=WORDS_COUNT)
    weights[numbers < (_STEPS_MIN if len(headers) > _SHORT_OCTETS else 1)] = 0
    covered = np.zeros(octets + 1, np.bool_)
    for word in np.argsort(-weights, kind="stable")[:_WORDS_TRIED].tolist():
        if not weights[word]:
            break
        own = at[headers.word[at] == word]
        # Count how many of the word's packets lie over each octet: +1 at its start, -1 behind its end, summed up.
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
    """Return the words of packets whose counts do not step.

    They must lead from the first octet to the end without a break, and must not be data that happen to: they are of few
    APIDs, each of which always has the same sequence flags.
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
