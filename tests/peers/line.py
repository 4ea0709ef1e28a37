"""The line between two CFDP entities: what it loses and repeats, and the loop that carries PDUs over it.

A PDU's kind is read from its octets here and not by our decoder, so that a fault of that decoder cannot hide a loss.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from flight.core.nanoseconds import NS

_DIRECTIVES = {4: "eof", 5: "finished", 6: "ack", 7: "metadata", 8: "nak", 9: "prompt", 12: "keep-alive"}
_TURN = 32  # PDUs in one direction before the other has its turn
_STEP_NS = NS // 100


def pdu_kind(raw: bytes) -> str:
    """Return what a PDU is: data, metadata, eof, finished, nak, prompt, keep-alive, ack-eof or ack-finished.

    CCSDS 727.0-B-5, 5.1 and 5.2.
    """
    if raw[0] & 0x10:
        return "data"
    header = 4 + 2 * ((raw[3] >> 4 & 7) + 1) + (raw[3] & 7) + 1
    kind = _DIRECTIVES.get(raw[header], f"directive {raw[header]}")
    return kind if kind != "ack" else f"ack-{_DIRECTIVES.get(raw[header + 1] >> 4, 'unknown')}"


@dataclass(slots=True)
class Losses:
    """What the line does. drop: by kind, which of them it loses, from 0 on; rates: of all PDUs, drawn by seed.

    directives: all that were sent, whether lost or not.
    """

    drop: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    lost_rate: float = 0.0
    repeated_rate: float = 0.0
    seed: int = 1
    seen: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    directives: list[bytes] = field(default_factory=list)
    _random: Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)

    def passed(self, raw: bytes) -> int:
        """Return how often a PDU arrives: 0, 1 or 2 times."""
        kind = pdu_kind(raw)
        place = self.seen[kind]
        self.seen[kind] += 1
        if kind != "data":
            self.directives.append(raw)
        if place in self.drop.get(kind, ()) or self._random.random() < self.lost_rate:
            self.lost[kind] += 1
            return 0
        return 2 if self._random.random() < self.repeated_rate else 1


class End(Protocol):
    """One entity: PDUs in and out, and the time."""

    def take(self, now_ns: int) -> bytes | None:
        """Return the next PDU to send, or None."""
        ...

    def give(self, raw: bytes, now_ns: int) -> None:
        """Take in a PDU."""
        ...

    def on_time(self, now_ns: int) -> None:
        """Do what is due."""
        ...


@dataclass(slots=True)
class Line:
    """Two ends and what lies between them. The time is virtual, or this machine's if an end has threads of its own."""

    ends: tuple[End, End]
    losses: Losses
    virtual: bool = True
    now_ns: int = 0
    _started_ns: int = field(default_factory=time.monotonic_ns)

    def run(self, until: Callable[[], object], limit_s: float) -> bool:
        """Carry PDUs until `until()` is true; return False if it is not within the time."""
        end_ns = self.now_ns + int(limit_s * NS)
        while not until():
            moved = sum(self._carry(self.ends[way], self.ends[1 - way]) for way in (0, 1))
            for end in self.ends:
                end.on_time(self.now_ns)
            self._let_time_pass(moved)
            if self.now_ns > end_ns:
                return bool(until())
        return True

    def _carry(self, source: End, destination: End) -> int:
        for count in range(_TURN):
            raw = source.take(self.now_ns)
            if raw is None:
                return count
            for _ in range(self.losses.passed(raw)):
                destination.give(raw, self.now_ns)
        return _TURN

    def _let_time_pass(self, moved: int) -> None:
        if self.virtual:
            self.now_ns += 0 if moved else _STEP_NS
            return
        if not moved:
            time.sleep(0.001)
        self.now_ns = time.monotonic_ns() - self._started_ns
