"""One direction of a radio link: transmit buffer, rate, light time, contact, bit errors. Pure: no clock, no loop.

Times of one unit (frame, CADU, CLTU), all in integer nanoseconds:

    start   = later of (offered, end of the unit before it)
    end     = start + 8 * octets / rate, rounded up        the unit leaves the buffer
    arrival = end + light time at start                    the last bit reaches the receiver

States of the receiver: NONE -on_rise-> ACQUIRING -(acquisition_s)-> LOCKED -on_set-> NONE. A unit is delivered if the
receiver is locked from its first bit to its last, unless the channel drops it whole (`drop_frac`). All others are lost
and counted. At any time

    accepted = delivered + lost + pending
"""

# The transmitter knows nothing of the contact: it drains its buffer at the line rate, as a real modem does, and what it
# sends into the void is lost. That is what the recorder and COP-1 exist for, so the loss must happen here and not be
# hidden by a buffer that waits for the next pass.
#
# Bit errors are independent (a binary symmetric channel). They are drawn as gaps: how many good bits come before the
# next wrong one is geometric, and a gap reaches over units. One random number per error instead of one per bit makes a
# run of 10^8 bits cheap, and a clean unit is passed on without a copy. The draws depend on the order of the units
# alone, so a run is the same for one seed.
#
# Whoever keeps an account of units is told the fate of each (`on_fate`), in the order in which they were accepted: no
# unit overtakes another, neither in the buffer nor on its way. So a queue of what was offered is enough to know which
# unit it is.
#
# Left out: fading, the elevation's effect on the bit error rate, Doppler, and bits that are lost or doubled at the edge
# of a lock. The rate of errors is one figure per run (`sim.bit_error_rate`); the curves of the codes over it are in
# docs/guides/link.md.

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from random import Random

from flight.core.config import key
from flight.core.nanoseconds import ns

# Bounds what is held: units that nobody takes, and those under way over a long light time. A pass needs far less.
_PENDING_UNITS = 65_536
# The longest stretch of good bits that is drawn, 29 years at the highest rate. At a tiny rate the formula gives more
# than a float holds.
_GAP_BITS_MAX = float(1 << 63)


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """One direction; the defaults are those of the downlink. Errors are independent of one another."""

    rate_bps: int = key(256_000, minimum=1, maximum=10**10, text="line rate")
    bit_error_rate: float = key(1e-7, minimum=0.0, maximum=0.5, text="share of bits that arrive inverted")
    acquisition_s: float = key(2.0, minimum=0.0, maximum=600.0, text="from rise above the mask to lock")
    buffer_octets: int = key(16_384, minimum=1, maximum=2**30, text="transmit buffer; a unit fits whole or not at all")
    drop_frac: float = key(0.0, minimum=0.0, maximum=1.0, text="share of units that are lost whole in spite of a lock")


class Fate(Enum):
    """What became of a unit that was accepted."""

    DELIVERED = "delivered"
    CUT = "cut"  # the receiver had no lock, or not for all of it
    DROPPED = "dropped"  # lost whole within a lock


@dataclass(frozen=True, slots=True)
class Delivery:
    """One unit at the receiver; `t_ns` is the arrival of its last bit."""

    t_ns: int
    octets: bytes
    bit_errors: int


@dataclass(slots=True)
class ChannelCounters:
    """Units and octets since the start. `lost` are all that did not arrive, `dropped` those of them within a lock."""

    accepted: int = 0
    refused: int = 0
    sent: int = 0
    delivered: int = 0
    lost: int = 0
    dropped: int = 0
    with_errors: int = 0
    bit_errors: int = 0
    accepted_octets: int = 0
    delivered_octets: int = 0
    lost_octets: int = 0


@dataclass(frozen=True, slots=True)
class _Unit:
    """A unit in the buffer."""

    start_ns: int
    end_ns: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class _Flight:
    """A unit that has left the transmitter within contact: when its first and last bit arrive."""

    first_bit_ns: int
    arrival_ns: int
    octets: bytes


class Channel:
    """One direction of a link. Every method that takes the present moves the channel there, and never back.

    The loop calls `deliveries` at `next_event_ns`, and `on_rise` and `on_set` at the edges of a pass; between
    those instants nothing changes but what `offer` adds. `on_fate` is called once per accepted unit, in their order,
    with its octets: as received if it was delivered, else as sent.
    """

    def __init__(self, config: ChannelConfig, random: Random) -> None:
        self.config = config
        self.counters = ChannelCounters()
        self.on_fate: Callable[[Fate, bytes], None] = lambda _fate, _octets: None
        self._random = random
        self._now_ns = 0
        self._buffer: deque[_Unit] = deque()
        self._buffered_octets = 0
        self._air: deque[_Flight] = deque()
        self._ready: deque[Delivery] = deque()
        self._busy_until_ns = 0
        self._last_arrival_ns = 0
        self._light_time: Callable[[int], int] | None = None
        self._rise_ns = 0
        self._lock_ns = 0
        self._good_bits = self._gap()

    @property
    def pending(self) -> int:
        """Units accepted whose fate is open: in the buffer or on their way."""
        return len(self._buffer) + len(self._air)

    @property
    def busy_until_ns(self) -> int:
        """When the last bit of all that was accepted leaves; in the past if nothing waits."""
        return self._busy_until_ns

    def unit_time_ns(self, octets: int) -> int:
        """Return how long a unit takes on the air: 8 * octets / rate, rounded up to a nanosecond."""
        # Floor division of the negative rounds up, in whole numbers: a float would drift over a long run.
        return -(-octets * 8_000_000_000 // self.config.rate_bps)

    def on_rise(self, now_ns: int, light_time: Callable[[int], int]) -> None:
        """Begin a contact: the two sides see each other, and lock follows after the acquisition time.

        `light_time` gives the one-way delay in ns of a bit that leaves at a given time. A second rise
        without a set (hand-over to another station) changes the delay and keeps the lock.
        """
        self._move(now_ns)
        if self._light_time is None:
            self._rise_ns = now_ns
            self._lock_ns = now_ns + ns(self.config.acquisition_s)
        self._light_time = light_time

    def on_set(self, now_ns: int) -> None:
        """End a contact: whatever has begun to be sent and has not wholly arrived is lost."""
        self._move(now_ns)
        self._light_time = None
        while self._air:
            self._lose(self._air.popleft().octets, Fate.CUT)

    def carrier(self, now_ns: int) -> bool:
        """Return whether the receiver is locked."""
        return self._light_time is not None and now_ns >= self._lock_ns

    def offer(self, octets: bytes, now_ns: int) -> bool:
        """Put one unit into the transmit buffer; return False, and count it, if it does not fit."""
        assert octets, "empty transmission unit"
        self._move(now_ns)
        full = self._buffered_octets + len(octets) > self.config.buffer_octets
        if full or self.pending + len(self._ready) >= _PENDING_UNITS:
            self.counters.refused += 1
            return False
        start = max(now_ns, self._busy_until_ns)
        self._busy_until_ns = start + self.unit_time_ns(len(octets))
        self._buffer.append(_Unit(start, self._busy_until_ns, bytes(octets)))
        self._buffered_octets += len(octets)
        self.counters.accepted += 1
        self.counters.accepted_octets += len(octets)
        return True

    def room_octets(self, now_ns: int) -> int:
        """Return the free space in the transmit buffer."""
        self._move(now_ns)
        return self.config.buffer_octets - self._buffered_octets

    def room_at_ns(self, octets: int, now_ns: int) -> int | None:
        """Return when a unit of `octets` will fit: `now_ns` if it does already, None if it never can."""
        self._move(now_ns)
        if octets > self.config.buffer_octets:
            return None
        missing = self._buffered_octets + octets - self.config.buffer_octets
        when = now_ns
        for unit in self._buffer:
            if missing <= 0:
                break
            missing -= len(unit.octets)
            when = unit.end_ns
        return when

    def deliveries(self, now_ns: int) -> list[Delivery]:
        """Return what has arrived up to now and was not taken yet, in order of arrival."""
        self._move(now_ns)
        taken = list(self._ready)
        self._ready.clear()
        return taken

    def next_event_ns(self) -> int | None:
        """Return when something happens next if nothing is offered, or None.

        A unit leaves the buffer or arrives, or the receiver locks. Deliveries that were not taken yet are due at once.
        """
        times = []
        if self._ready:
            times.append(self._now_ns)
        if self._buffer:
            times.append(self._buffer[0].end_ns)
        if self._air:
            times.append(self._air[0].arrival_ns)
        if self._light_time is not None and self._lock_ns > self._now_ns:
            times.append(self._lock_ns)
        return min(times, default=None)

    def _move(self, now_ns: int) -> None:
        """Let everything happen that is due up to `now_ns`."""
        assert now_ns >= self._now_ns, f"time went back from {self._now_ns} to {now_ns}"
        self._now_ns = now_ns
        while self._buffer and self._buffer[0].end_ns <= now_ns:
            self._leave(self._buffer.popleft())
        while self._air and self._air[0].arrival_ns <= now_ns:
            flight = self._air.popleft()
            if flight.first_bit_ns >= self._lock_ns:  # the end of the lock has cleared `_air` already
                self._deliver(flight)
            else:
                self._lose(flight.octets, Fate.CUT)

    def _leave(self, unit: _Unit) -> None:
        """Send a unit on its way: its last bit has left the transmitter."""
        self._buffered_octets -= len(unit.octets)
        self.counters.sent += 1
        # A unit whose first bit left before the rise is cut at the receiver, however much of it came after.
        if self._light_time is None or unit.start_ns < self._rise_ns:
            self._lose(unit.octets, Fate.CUT)
            return
        delay = self._light_time(unit.start_ns)
        # Units stay in order if a hand-over to a nearer station shortens the way.
        arrival = self._last_arrival_ns = max(self._last_arrival_ns, unit.end_ns + delay)
        self._air.append(_Flight(unit.start_ns + delay, arrival, unit.octets))

    def _lose(self, octets: bytes, fate: Fate) -> None:
        self.counters.lost += 1
        self.counters.dropped += fate is Fate.DROPPED
        self.counters.lost_octets += len(octets)
        self.on_fate(fate, octets)

    def _deliver(self, flight: _Flight) -> None:
        # Drawn only if it can happen, so that a run without drops draws what it always drew.
        drop_frac = self.config.drop_frac
        if drop_frac and self._random.random() < drop_frac:
            self._lose(flight.octets, Fate.DROPPED)
            return
        octets, errors = self._corrupt(flight.octets)
        self.counters.delivered += 1
        self.counters.delivered_octets += len(octets)
        self.counters.with_errors += errors > 0
        self.counters.bit_errors += errors
        self.on_fate(Fate.DELIVERED, octets)
        self._ready.append(Delivery(flight.arrival_ns, octets, errors))

    def _corrupt(self, octets: bytes) -> tuple[bytes, int]:
        """Invert the bits whose turn it is; return the octets and the number of errors."""
        bits = 8 * len(octets)
        if self._good_bits is None:
            return octets, 0
        if self._good_bits >= bits:
            self._good_bits -= bits
            return octets, 0
        damaged, errors, position = bytearray(octets), 0, self._good_bits
        while position < bits:
            damaged[position >> 3] ^= 0x80 >> (position & 7)  # bit 0 is the first on the air
            errors += 1
            gap = self._gap()
            assert gap is not None
            position += 1 + gap
        self._good_bits = position - bits
        return bytes(damaged), errors

    def _gap(self) -> int | None:
        """Return how many good bits come before the next error, or None if there are no errors.

        Geometric, by inversion of the distribution: floor(log(1 - u) / log(1 - p)).
        """
        rate = self.config.bit_error_rate
        if rate <= 0.0:
            return None
        # 1 - u is never 0, and log1p keeps the digits of a rate of 1e-7.
        return int(min(math.log(1.0 - self._random.random()) / math.log1p(-rate), _GAP_BITS_MAX))
