"""Guesses the times of packets without a definition, from what their secondary headers look like.

In most missions the secondary header begins with a time code (CCSDS 133.0-B-2, 4.1.4.2). Two codes of CCSDS 301.0-B-4
can be told apart from other octets:

    CDS     days since 1958 (16 bits), milliseconds of the day (32), and possibly microseconds of the millisecond (16),
            with or without its P-field
    CUC     with its P-field for the epoch 1958: 4 octets of seconds and up to 3 of fractions

A result is always labelled `guess: FORMAT`. CUC without P-field, which the missions of this framework use, looks like
any other number and is never guessed; a definition tells it.
"""

# What makes a guess safe enough to show. All of these must hold for every packet of the APID, over the whole recording:
#
#   - a secondary header is flagged, and the packet is long enough to hold any of the codes;
#   - the fields are in range: of random 32-bit words one in 50 is below 86,401,000 (ms of a day), of random 16-bit
#     words one in 65 is below 1000 (us of a ms), so a few packets leave chance no room. A leap second is in range on
#     any day: a recording may have one that was not known when this software was made;
#   - the time lies between 1990 and 2100;
#   - it never runs back by more than a minute (packets of one APID may overtake one another, days do not repeat);
#   - it moves at all: a constant is a constant, not a clock.
#
# A format that one packet does not fit is dropped for good. Formats are tried in the order of _FORMATS, the more
# specific first: CDS with microseconds also fits plain CDS, and would lose its microseconds.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flight.core.nanoseconds import NS
from flight.core.utc.utc_time import DAY_S, MJD_OF_TAI, MJD_OF_UNIX
from flight.link.time.cds import MS_OF_DAY_MAX, Cds, Finer
from flight.link.time.cuc import Cuc
from ground.recording.packet_batch import PacketBatch
from ground.recording.tai_instants import posix_from_tai

_HEADER_OCTETS = 6
_LOOK_OCTETS = 9  # the longest code: P-field, 16 + 32 + 16 bits
_PACKETS_MIN = 3  # fewer could fit by chance
_SECONDARY = 4  # bit of PacketBatch.flags
_DAYS_TO_1970 = MJD_OF_UNIX - MJD_OF_TAI  # from the epoch of level 1
_FROM_NS, _TO_NS = 631_152_000 * NS, 4_102_444_800 * NS  # 1990, 2100
_BACK_NS = 60 * NS  # how far packets of one APID may be out of order

_Octets = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """Earliest and latest time, ns of POSIX time, and the format that they were read in."""

    first_ns: int
    last_ns: int
    source: str


def _number(octets: _Octets, at: int, count: int) -> _Octets:
    """Read `count` octets from column `at` on as one big-endian number per row."""
    value = np.zeros(len(octets), np.int64)
    for place in range(at, at + count):
        value = value << 8 | octets[:, place]
    return value


def _cds(octets: _Octets, at: int, fine: bool) -> tuple[_Octets, NDArray[np.bool_]]:
    """Read CDS (CCSDS 301.0-B-4, 3.3): instants in ns of POSIX time, and which rows are in range.

    A leap second has that of the second after it, as POSIX reckons: so times run back by a second there at most.
    """
    days, ms = _number(octets, at, 2), _number(octets, at + 2, 4)
    us = _number(octets, at + 6, 2) if fine else np.zeros_like(ms)
    instants = ((days - _DAYS_TO_1970) * DAY_S * 1000 + ms) * 1_000_000 + us * 1000
    return instants, (ms <= MS_OF_DAY_MAX) & (us < 1000)


def _cds_with_p_field(octets: _Octets, fine: bool) -> tuple[_Octets, NDArray[np.bool_]]:
    instants, fits = _cds(octets, 1, fine)
    form = Cds(finer=Finer.MICROSECONDS) if fine else Cds()
    return instants, fits & (octets[:, 0] == form.p_field[0])


def _cuc(octets: _Octets) -> tuple[_Octets, NDArray[np.bool_]]:
    seconds = _number(octets, 1, 4)
    fraction = (octets[:, 0] & 3).astype(np.int64)  # octets of it
    # Three octets are always read; those that are not of the fraction are shifted out.
    ticks = _number(octets, 5, 3) >> 8 * (3 - fraction)
    # CUC of level 1 counts TAI, so leap seconds come off; CDS above counts UTC days and needs none.
    instants = posix_from_tai(seconds * NS + (ticks * NS >> 8 * fraction))
    return instants, (octets[:, 0] & 0xFC) == Cuc(fraction_octets=0).p_field[0]  # 1958, four octets of seconds


_FORMATS: dict[str, Callable[[_Octets], tuple[_Octets, NDArray[np.bool_]]]] = {
    "CDS with P-field, us": lambda octets: _cds_with_p_field(octets, True),
    "CDS with P-field": lambda octets: _cds_with_p_field(octets, False),
    "CUC with P-field": _cuc,
    "CDS, us": lambda octets: _cds(octets, 0, True),
    "CDS": lambda octets: _cds(octets, 0, False),
}


@dataclass(slots=True)
class _Candidate:
    """Times in one format so far, ns of POSIX time. newest_ns: what the next packets may be a minute older than."""

    first_ns: int
    last_ns: int
    newest_ns: int


class TimeLooks:
    """Looks at the packets of one APID, batch by batch. A format that does not fit once is not tried again."""

    def __init__(self) -> None:
        self._packets = 0
        self._candidates: dict[str, _Candidate | None] = dict.fromkeys(_FORMATS)

    def take(self, batch: PacketBatch, rows: NDArray[np.intp]) -> None:
        """Look at the packets `rows` of a batch, which are the next of the APID."""
        if not self._candidates:
            return
        fits = (batch.flags[rows] & _SECONDARY != 0) & (batch.length[rows] >= _HEADER_OCTETS + _LOOK_OCTETS)
        if not fits.all():
            self._candidates = {}
            return
        self._packets += len(rows)
        octets = np.frombuffer(batch.octets, np.uint8)
        at = batch.offset[rows].astype(np.int64)[:, None] + _HEADER_OCTETS + np.arange(_LOOK_OCTETS)
        looked = octets[at].astype(np.int64)
        for name, known in list(self._candidates.items()):
            new = _fitting(*_FORMATS[name](looked), known)
            if new is None:
                del self._candidates[name]
            else:
                self._candidates[name] = new

    def span(self) -> TimeSpan | None:
        """Return the span of times in the first format that every packet fits, or None if there is none."""
        if self._packets < _PACKETS_MIN:
            return None
        for name, candidate in self._candidates.items():
            if candidate is not None and candidate.last_ns > candidate.first_ns:
                return TimeSpan(candidate.first_ns, candidate.last_ns, f"guess: {name}")
        return None


def _fitting(instants: _Octets, fits: NDArray[np.bool_], known: _Candidate | None) -> _Candidate | None:
    """Return `known` widened by the new instants, or None if the format does not fit them."""
    if not fits.all() or instants.min() < _FROM_NS or instants.max() > _TO_NS:
        return None
    newest = int(instants[0]) if known is None else known.newest_ns
    run = np.concatenate([[newest], instants])
    if (np.maximum.accumulate(run) - run).max() > _BACK_NS:
        return None
    first, last = int(instants.min()), int(instants.max())
    if known is None:
        return _Candidate(first, last, last)
    return _Candidate(min(first, known.first_ns), max(last, known.last_ns), max(last, known.newest_ns))
