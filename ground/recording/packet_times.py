"""Times of packets that nobody has a definition of, by what their secondary headers look like.

A secondary header begins with a time code in most missions (CCSDS 133.0-B-2, 4.1.4.2), and CCSDS 301.0-B-4 has two that
a look can tell apart from other octets:

    CDS     days since 1958 (16 bits), milliseconds of the day (32), and perhaps microseconds of the millisecond (16),
            with or without its P-field: of any words, one in fifty is below 86,400,000, one in sixty-five below 1000
    CUC     with its P-field for the epoch 1958: 4 octets of seconds and up to 3 of fractions

Every packet of an APID must fit, the time must lie between 1990 and 2100, must never run back by more than a minute,
and must move; what then fits is most likely a time, and is called a guess. CUC without P-field, which the missions of
this framework have, looks like anything; a definition tells it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flight.core.nanoseconds import NS, tai_from_unix
from ground.recording.packet_batch import PacketBatch

_HEADER_OCTETS = 6
_LOOK_OCTETS = 9
_PACKETS_MIN = 3
_SECONDARY = 4
_DAY_S = 86_400
_DAYS_TO_1970 = (tai_from_unix(0) // NS) // _DAY_S  # of the level 1 epoch, whole days
_TAI_AT_1970_NS = tai_from_unix(0)
_FROM_NS, _TO_NS = 631_152_000 * NS, 4_102_444_800 * NS  # 1990, 2100
_BACK_NS = 60 * NS

_Octets = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """Earliest and latest time, ns of POSIX time, and what they were read as."""

    first_ns: int
    last_ns: int
    source: str


def _number(octets: _Octets, at: int, count: int) -> _Octets:
    value = np.zeros(len(octets), np.int64)
    for place in range(at, at + count):
        value = value << 8 | octets[:, place]
    return value


def _cds(octets: _Octets, at: int, fine: bool) -> tuple[_Octets, NDArray[np.bool_]]:
    days, ms = _number(octets, at, 2), _number(octets, at + 2, 4)
    us = _number(octets, at + 6, 2) if fine else np.zeros_like(ms)
    instants = ((days - _DAYS_TO_1970) * _DAY_S * 1000 + ms) * 1_000_000 + us * 1000
    return instants, (ms < _DAY_S * 1000) & (us < 1000)


def _cds_with_p_field(octets: _Octets, fine: bool) -> tuple[_Octets, NDArray[np.bool_]]:
    instants, fits = _cds(octets, 1, fine)
    return instants, fits & (octets[:, 0] == (0x41 if fine else 0x40))


def _cuc(octets: _Octets) -> tuple[_Octets, NDArray[np.bool_]]:
    seconds = _number(octets, 1, 4)
    fraction = (octets[:, 0] & 3).astype(np.int64)  # octets of it
    ticks = _number(octets, 5, 3) >> 8 * (3 - fraction)
    instants = seconds * NS + (ticks * NS >> 8 * fraction) - _TAI_AT_1970_NS
    return instants, (octets[:, 0] & 0xFC) == 0x1C  # 1958, four octets of seconds


_FORMATS: dict[str, Callable[[_Octets], tuple[_Octets, NDArray[np.bool_]]]] = {
    "CDS with P-field, us": lambda octets: _cds_with_p_field(octets, True),
    "CDS with P-field": lambda octets: _cds_with_p_field(octets, False),
    "CUC with P-field": _cuc,
    "CDS, us": lambda octets: _cds(octets, 0, True),
    "CDS": lambda octets: _cds(octets, 0, False),
}


@dataclass(slots=True)
class _Candidate:
    first_ns: int
    last_ns: int
    newest_ns: int


class TimeLooks:
    """Looks at the packets of one APID, batch by batch. What does not fit once is not looked at again."""

    def __init__(self) -> None:
        self._packets = 0
        self._left: dict[str, _Candidate | None] = dict.fromkeys(_FORMATS)

    def take(self, batch: PacketBatch, rows: NDArray[np.intp]) -> None:
        if not self._left:
            return
        fits = (batch.flags[rows] & _SECONDARY != 0) & (batch.length[rows] >= _HEADER_OCTETS + _LOOK_OCTETS)
        if not fits.all():
            self._left = {}
            return
        self._packets += len(rows)
        octets = np.frombuffer(batch.octets, np.uint8)
        at = batch.offset[rows].astype(np.int64)[:, None] + _HEADER_OCTETS + np.arange(_LOOK_OCTETS)
        looked = octets[at].astype(np.int64)
        for name, known in list(self._left.items()):
            new = _fitting(*_FORMATS[name](looked), known)
            if new is None:
                del self._left[name]
            else:
                self._left[name] = new

    def span(self) -> TimeSpan | None:
        """The times, read as the first format that every packet fits."""
        if self._packets < _PACKETS_MIN:
            return None
        for name, one in self._left.items():
            if one is not None and one.last_ns > one.first_ns:
                return TimeSpan(one.first_ns, one.last_ns, f"guess: {name}")
        return None


def _fitting(instants: _Octets, fits: NDArray[np.bool_], known: _Candidate | None) -> _Candidate | None:
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
