"""What a class 2 receiver asks for again, and when an answer to that is complete (CCSDS 727.0-B-5, 4.6.4)."""

# What is missing is asked for in one go: a round, of up to `nak_pdus` PDUs. It is computed when the first of them goes
# out and not before, so a NAK that had to wait for the link does not ask for what came meanwhile.
#
# The sender answers in order of the file. So when the last octets of the last request come, the round is over, and what
# is still missing was lost again, or had no room in the round: it is asked for at once. The receiver's timer is only
# for rounds whose end was lost. On a link that reorders, a round may be taken for over too early; then some octets
# come twice.
#
# Before the EOF only the gaps themselves are asked for, each once (immediate), or what the sender prompts for.

from __future__ import annotations

from collections import deque

from flight.link.cfdp.directives import Nak
from flight.link.cfdp.header import Header
from flight.link.cfdp.ranges import Ranges
from flight.link.cfdp.transactions.entity_config import EntityConfig


class NakRounds:
    """The NAKs of one receiver, whose octets are `held`."""

    def __init__(self, config: EntityConfig, header: Header) -> None:
        self._config = config
        self._header = header
        per_pdu = (config.pdu_octets - header.octets) // (2 * header.size_octets)
        self._requests_max = max(config.nak_pdus * per_pdu, 1)
        self._due = False
        # Found on the way, and not yet asked for.
        self._gaps: deque[tuple[int, int]] = deque(maxlen=self._requests_max)
        self._naks: deque[Nak] = deque()
        self._last = 0  # the offset at which the last request of the round ends, 0 if none is awaited

    def begin(self) -> None:
        """Ask for all that is missing."""
        self._naks.clear()
        self._last = 0
        self._due = True

    def begin_gap(self, start: int, end: int) -> None:
        """Ask for a gap that was just found."""
        self._gaps.append((start, end))
        self._due = True

    def stop(self) -> None:
        """Ask for nothing."""
        self._due = False
        self._last = 0
        self._gaps.clear()
        self._naks.clear()

    def is_over(self, start: int, end: int) -> bool:
        """Return whether these octets are the last that the round asked for."""
        return start < self._last <= end

    def next_nak(self, held: Ranges, size: int | None, has_metadata: bool) -> bytes | None:
        """Return the next NAK of the round. `size` is None before the EOF."""
        if self._due:
            self._due = False
            self._build(held, size, has_metadata)
        return self._naks.popleft().encode() if self._naks else None

    def _build(self, held: Ranges, size: int | None, has_metadata: bool) -> None:
        start, until = 0, held.end if size is None else size
        if self._gaps and size is None:
            requests = list(self._gaps)
            start, until = requests[0][0], max(end for _, end in requests)
        else:
            requests = held.gaps(0, until, self._requests_max)
            if len(requests) == self._requests_max:
                until = requests[-1][1]  # what a scope holds beyond its requests would count as received
        self._gaps.clear()
        if not has_metadata:
            start, requests = 0, [(0, 0), *requests]
        naks = Nak.split(self._header, start, until, requests, self._config.pdu_octets)
        self._naks = deque(naks[: self._config.nak_pdus])
        requested = self._naks[-1].requests
        self._last = requested[-1][1] if requested and size is not None else 0
