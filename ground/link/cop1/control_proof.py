"""Proof that the node has taken a control command, by the FARM-B counter of its CLCWs.

none --begin--> pending --enough new counts--> done
any  --end----> none
"""

# What it is good for. On a protected link the node takes no frame that was sent before one that it has taken. So a
# control command that it took is the end of every frame sent before: a copy that somebody has held back comes too late,
# and its number can go to another command. FOP-1 cannot tell: after Unlock any CLCW without flags brings the service
# up, whether or not the Unlock has arrived, because it looks the same.
#
# The counter counts BD frames as well, and it counts whatever copy arrives. A bypass frame that was sent before the
# control command and has not been counted yet is `loose`: it may be counted now, in place of the command. So the
# command is proved by one count more than there were loose frames. A count lost in the modulus (4) only delays the
# proof, and so does one that a restart has reset: counts that are missing never prove anything. A proof that is pending
# outlives the tries of FOP-1: as long as no frame in sequence is sent, whatever is counted was sent behind all of them,
# or was loose.
#
# A frame in sequence that the node has taken ends every frame before it as well, so no bypass frame sent before it is
# loose any more.

from __future__ import annotations

from dataclasses import dataclass

_COUNTS = 4


@dataclass(slots=True)
class ControlProof:
    """See the head of the file. `place` is that of a frame among all that this ground has sent, from 1."""

    _counter: int | None = None  # as last told
    _loose: int = 0
    _last_bypass: int = 0
    _needed: int | None = None  # counts that are still missing; None if no proof is asked for

    @property
    def pending(self) -> bool:
        """Whether a control command was sent and is not proved yet."""
        return self._needed is not None and self._needed > 0

    @property
    def done(self) -> bool:
        """Whether the node has taken a control command since `begin`."""
        return self._needed is not None and self._needed <= 0

    def begin(self) -> None:
        """Ask for a proof of the control commands that are sent from now on, or still for the one asked for."""
        if self._needed is None:
            self._needed = self._loose + 1

    def end(self) -> None:
        """Ask for none any more."""
        self._needed = None

    def on_bypass_sent(self, place: int) -> None:
        """Note a BD or BC frame that leaves."""
        self._loose += 1
        self._last_bypass = place

    def on_sequence_taken(self, place: int) -> None:
        """Note that the node has taken a frame in sequence which left first at `place`."""
        if place > self._last_bypass:
            self._loose = 0

    def on_counter(self, farm_b_counter: int) -> None:
        """Take the counter of a CLCW."""
        counts = 0 if self._counter is None else (farm_b_counter - self._counter) % _COUNTS
        self._counter = farm_b_counter
        self._loose = max(0, self._loose - counts)
        if self._needed is not None:
            self._needed -= counts

    def on_restart(self) -> None:
        """Forget the counter: a node that was restarted counts from 0."""
        self._counter = None
