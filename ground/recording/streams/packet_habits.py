"""What a recording of packets has shown so far: its APIDs, their next sequence counts, and the lengths they use."""

# Habits are the only evidence that a place in a file of packets is a header (see `packet_stream`). Everything is
# indexed by the "word": the first two octets of a header, that is version, type, secondary header flag and APID. Plain
# arrays of 65,536 entries answer for thousands of headers at once.
#
# How something becomes a habit, and when it stops:
#   known      a word that the survey of the first octets found, or that occurred _KNOWN_PACKETS times with counts
#              mostly in line, or _SILENT_PACKETS times, each time leading to a known header. Once known, always known.
#   counting   until most steps of a word's counts are odd. Its counts then prove nothing, in either direction.
#   usual      a length that was seen; a word with more than _LENGTHS_MAX lengths has no usual ones.
#   guarded    the CRC-16 at the end fitted in all of the first _GUARDED_PACKETS packets but one, which may be damaged.

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flight.kernels import crc16
from ground.recording.streams.packet_headers import WORDS_COUNT, Octets
from ground.recording.streams.packet_survey import IDLE_WORDS, survey

SEQUENCE_COUNTS = 1 << 14
SURVEY_OCTETS = 1 << 18  # as many as detection looked at: both see the same packets
_KNOWN_PACKETS = 3  # of one word, at least half of their counts in line
_SILENT_PACKETS = 4  # of one word whose counts do not step
_LENGTHS_MAX = 8  # a word with more different lengths may have any
_SAMPLE_PACKETS = 256  # per look, whose lengths are noted: enough to know them, and cheap
_GUARDED_PACKETS = 4  # checked for error control before that is taken for a habit
NEAR = 1024  # counts ahead of what is due that pass for a gap, of 16,384: chance passes once in 16


@dataclass(slots=True)
class _Guard:
    """Whether the packets of a word end with a CRC-16 that fits: how many were checked, and how many fitted."""

    seen: int = 0
    fit: int = 0


class PacketHabits:
    """The habits of a recording, by word (the first two octets of a header).

    known: whether packets begin with the word.
    due: the sequence count that is next; -1 if none has been seen.
    counting: whether the sequence count steps by one.
    """

    def __init__(self) -> None:
        self.known: NDArray[np.bool_] = np.zeros(WORDS_COUNT, np.bool_)
        self.due: NDArray[np.int32] = np.full(WORDS_COUNT, -1, np.int32)
        self.counting: NDArray[np.bool_] = np.ones(WORDS_COUNT, np.bool_)
        self._lengths: dict[int, set[int]] = {}
        self._guards: dict[int, _Guard] = {}
        self._steps = np.zeros((2, WORDS_COUNT), np.int64)

    def __bool__(self) -> bool:
        return bool(self.known.any())

    def survey(self, octets: Octets, lead: int, *, any_version: bool) -> None:
        """Learn the words from the beginning of a recording, whatever damage is in it."""
        found = survey(octets[:SURVEY_OCTETS], lead, any_version=any_version)
        if not found.words.any():
            return
        self.known |= found.words
        self.counting[found.words] = found.counting
        self.known[IDLE_WORDS] = True
        self.counting[IDLE_WORDS] = False
        # Usual lengths lead from a known header to a known one, more than once: a single one may be a damaged length.
        pairs, seen = np.unique(_pairs(found.word, found.length), return_counts=True)
        self._note_lengths(pairs[seen > 1])

    def learn(self, words: NDArray[np.uint16], counts: NDArray[np.uint16], known: NDArray[np.bool_]) -> None:
        """Make more words known, from n headers that lie one after the other; known: whether each header's word is.

        A word becomes known if it occurs often enough with counts in line, or each time in front of a known header.
        """
        leads = np.append(known[1:], False)
        for word in np.unique(words[~known]).tolist():
            rows = words == word
            seen = int(rows.sum())
            ones = int(np.count_nonzero(np.diff(counts[rows].astype(np.int32)) % SEQUENCE_COUNTS == 1))
            is_steady = seen >= _KNOWN_PACKETS and 2 * ones >= seen - 1
            if is_steady or (seen >= _SILENT_PACKETS and leads[rows].all()):
                self.known[word] = True
                self.counting[word] = is_steady

    def in_line(self, words: NDArray[np.uint16], counts: NDArray[np.uint16]) -> NDArray[np.bool_]:
        """Return whether each header has the count that was due; always True for words that do not count or are new."""
        if not len(words):
            return np.ones(0, np.bool_)
        if not (words != words[0]).any():  # one word: the usual case, and no sorting
            return self._follows(int(words[0]), counts)
        # Grouped by word in the order of the packets; each count is due after the one before it in its group.
        order = np.argsort(words, kind="stable")
        by_word, by_count = words[order], counts[order].astype(np.int32)
        due = np.empty(len(words), np.int32)
        due[1:] = (by_count[:-1] + 1) % SEQUENCE_COUNTS
        firsts = np.flatnonzero(np.concatenate(([True], by_word[1:] != by_word[:-1])))
        due[firsts] = self.due[by_word[firsts]]
        fits = np.empty(len(words), np.bool_)
        fits[order] = (by_count == due) | (due < 0) | ~self.counting[by_word]
        return fits

    def _follows(self, word: int, counts: NDArray[np.uint16]) -> NDArray[np.bool_]:
        if not self.counting[word]:
            return np.ones(len(counts), np.bool_)
        fits = np.empty(len(counts), np.bool_)
        due = int(self.due[word])
        fits[0] = due < 0 or int(counts[0]) == due
        fits[1:] = (counts[1:] - counts[:-1]) & (SEQUENCE_COUNTS - 1) == 1
        return fits

    def note(self, octets: Octets, offsets: NDArray[np.int64], words: NDArray[np.uint16],
             counts: NDArray[np.uint16], lengths: NDArray[np.uint32], fits: NDArray[np.bool_]) -> None:  # fmt: skip
        """Learn from packets that are fine: which counts come next, and which lengths they have."""
        if not len(words):
            return
        self.due[words] = (counts.astype(np.int32) + 1) % SEQUENCE_COUNTS
        self._note_lengths(np.unique(_pairs(words[:_SAMPLE_PACKETS], lengths[:_SAMPLE_PACKETS])))
        if not fits.all():
            self._note_steps(words, fits)
        for i in range(min(len(words), 64)):  # a loop in Python: a few packets per look will do
            guard = self._guards.setdefault(int(words[i]), _Guard())
            if guard.seen < _GUARDED_PACKETS:
                start = int(offsets[i])
                guard.seen += 1
                guard.fit += crc16(octets[start : start + int(lengths[i])].data) == 0

    def _note_lengths(self, pairs: NDArray[np.uint64]) -> None:
        for pair in pairs.tolist():
            kept = self._lengths.setdefault(pair >> 32, set())
            if len(kept) <= _LENGTHS_MAX:
                kept.add(pair & 0xFFFFFFFF)

    def _note_steps(self, words: NDArray[np.uint16], fits: NDArray[np.bool_]) -> None:
        """Stop expecting counts of a word that are mostly out of line.

        Each count out of line starts a search for what is missing, which such a word would start every time.
        """
        np.add.at(self._steps[0], words, 1)
        np.add.at(self._steps[1], words[~fits], 1)
        for word in np.unique(words[~fits]).tolist():
            seen, odd = self._steps[:, word].tolist()
            if seen >= 16 and 2 * odd > seen:
                self.counting[word] = False

    @contextmanager
    def after(self, words: NDArray[np.uint16], counts: NDArray[np.uint16]) -> Iterator[None]:
        """While entered, `due` is what it will be after these packets: for judging places behind them."""
        before = self.due[words]
        self.due[words] = (counts.astype(np.int32) + 1) % SEQUENCE_COUNTS
        try:
            yield
        finally:
            self.due[words] = before

    def is_near(self, word: int, count: int, ahead: int = NEAR) -> bool:
        """Whether a count is the one due for a word, or less than `ahead` further on."""
        due = int(self.due[word])
        return due < 0 or not self.counting[word] or (count - due) % SEQUENCE_COUNTS < ahead

    def is_usual(self, word: int, length: int) -> bool | None:
        """Whether packets of this word usually have this length; None if they may have any."""
        kept = self._lengths.get(word, set())
        return None if len(kept) > _LENGTHS_MAX else length in kept

    def is_guarded(self, word: int) -> bool:
        """Whether packets of this word end with a CRC-16."""
        guard = self._guards.get(word)
        return guard is not None and guard.seen >= _GUARDED_PACKETS and guard.fit >= guard.seen - 1


def _pairs(words: NDArray[np.uint16], lengths: NDArray[np.uint32] | NDArray[np.int64]) -> NDArray[np.uint64]:
    """Join word and length to one number each, so that np.unique counts the pairs."""
    return np.asarray(words.astype(np.uint64) << 32 | lengths.astype(np.uint64), np.uint64)
