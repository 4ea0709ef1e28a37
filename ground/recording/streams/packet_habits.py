"""What a recording of packets has shown so far: its APIDs, where their sequence counts are, which lengths they use."""

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
SURVEY_OCTETS = 1 << 18
_KNOWN_PACKETS = 3  # of one APID, half of them in line
_SILENT_PACKETS = 4  # of one APID that does not count
_LENGTHS_MAX = 8  # an APID with more has lengths of any kind
_SAMPLE_PACKETS = 256  # whose lengths are looked at, per look
_GUARDED_PACKETS = 4  # whose error control fits, until that is taken for a habit
NEAR = 1024  # counts ahead of what is due that pass for a gap


@dataclass(slots=True)
class _Guard:
    """Whether the packets of an APID end with a CRC-16 that fits: seen so far, and how many did."""

    seen: int = 0
    fit: int = 0


class PacketHabits:
    """known: by first word of a header, whether packets begin with it. due: the sequence count that is next, -1 if none
    has been seen. counting: whether the count steps by one. Words are the first two octets of headers.
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
        """Learn which APIDs there are from the beginning of a recording, over whatever damage is in it."""
        found = survey(octets[:SURVEY_OCTETS], lead, any_version=any_version)
        if not found.words.any():
            return
        self.known |= found.words
        self.counting[found.words] = found.counting
        self.known[IDLE_WORDS] = True
        self.counting[IDLE_WORDS] = False
        # A length is usual that leads from a known header to a known one, and not just once.
        pairs, seen = np.unique(_pairs(found.word, found.length), return_counts=True)
        self._note_lengths(pairs[seen > 1])

    def learn(self, words: NDArray[np.uint16], counts: NDArray[np.uint16], known: NDArray[np.bool_]) -> None:
        """Take more words for known: of those that are not among these headers, which lie one after the other, the ones
        that occur often enough, in line, or each time in front of a known one.
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
        """Whether each header has the count that was due. Of an APID that does not count, or is new, any is."""
        if not len(words):
            return np.ones(0, np.bool_)
        if not (words != words[0]).any():
            return self._follows(int(words[0]), counts)
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
        """These packets are fine: what comes next, and what lengths they have."""
        if not len(words):
            return
        self.due[words] = (counts.astype(np.int32) + 1) % SEQUENCE_COUNTS
        self._note_lengths(np.unique(_pairs(words[:_SAMPLE_PACKETS], lengths[:_SAMPLE_PACKETS])))
        if not fits.all():
            self._note_steps(words, fits)
        for i in range(min(len(words), 64)):
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
        """An APID whose counts are mostly out of line does not count: asking why would cost as much each time."""
        np.add.at(self._steps[0], words, 1)
        np.add.at(self._steps[1], words[~fits], 1)
        for word in np.unique(words[~fits]).tolist():
            seen, odd = self._steps[:, word].tolist()
            if seen >= 16 and 2 * odd > seen:
                self.counting[word] = False

    @contextmanager
    def after(self, words: NDArray[np.uint16], counts: NDArray[np.uint16]) -> Iterator[None]:
        """For as long as it is entered, what is due is what will be after these packets."""
        before = self.due[words]
        self.due[words] = (counts.astype(np.int32) + 1) % SEQUENCE_COUNTS
        try:
            yield
        finally:
            self.due[words] = before

    def is_near(self, word: int, count: int, ahead: int = NEAR) -> bool:
        """Whether a count is what is due for a word, or not far ahead of it."""
        due = int(self.due[word])
        return due < 0 or not self.counting[word] or (count - due) % SEQUENCE_COUNTS < ahead

    def is_usual(self, word: int, length: int) -> bool | None:
        """Whether packets of this word have this length; None if they have any."""
        kept = self._lengths.get(word, set())
        return None if len(kept) > _LENGTHS_MAX else length in kept

    def is_guarded(self, word: int) -> bool:
        """Whether packets of this word end with a CRC-16 that fits."""
        guard = self._guards.get(word)
        return guard is not None and guard.seen >= _GUARDED_PACKETS and guard.fit >= guard.seen - 1


def _pairs(words: NDArray[np.uint16], lengths: NDArray[np.uint32] | NDArray[np.int64]) -> NDArray[np.uint64]:
    return np.asarray(words.astype(np.uint64) << 32 | lengths.astype(np.uint64), np.uint64)
