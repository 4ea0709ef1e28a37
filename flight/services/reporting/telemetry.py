"""Telemetry packets on their way: made and numbered here, sent at once in contact, recorded otherwise.

They leave in the order in which they are made. Whoever makes packets that may not be said yet takes a place in line
first, and what is made after them waits behind it:

    (none) --`hold`--> held --`settle`, with what may be said now------------> gone, those behind it follow
                       held --`let_go`: the disk takes too long, or refuses--> gone, what is said later is out of order
"""

# Why a line: the reports of a durable command are made before they may be said. They are stored first, and after a boot
# they are repeated octet for octet, so their sequence counts are fixed when they are made. If others were sent
# meanwhile, the ground would see counts go back, and take the gap for lost packets.
#
# Why it cannot block: the line stands still as long as a disk does, but no longer than whoever holds a place waits for
# it (Execution lets go after HOLD_S). It never grows beyond LINE_MAX packets: then its head is let go, and counted in
# `overtaken`. With nothing held a packet leaves as it is made. At an orderly end of the node nothing is held any more.
# Order is a convenience; that every packet leaves is the rule.
#
# Numbers are held in memory and begin at 0 at each boot. They are never a key by themselves: what repeats a packet is
# told by all of its octets, the time included (ADR 0018).

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flight.core.errors import MisuseError
from flight.link.pus import TM_DATA_OCTETS_MAX, encode_tm

SEQUENCE_MODULUS = 1 << 14
COUNTER_MODULUS = 1 << 16
HOLD_S = 0.25  # many times what a disk takes as a rule, and short for a report that is urgent
LINE_MAX = 64  # packets that wait behind a held place

# Called once the packet has been sent or recorded: True. False if it is in neither, as with a store that is full.
Told = Callable[[bool], None]


class Downlink(Protocol):
    """The real-time channel of a link that may be in contact."""

    def send_realtime(self, packet: bytes) -> bool:
        """Queue the packet. Return False if there is no contact, or if the queue is full."""


class Store(Protocol):
    """What keeps packets: the recorder."""

    def store(self, packet: bytes, heard: bool) -> bool:
        """Keep the packet, or return False. `heard`: it goes down now and need not be played back."""


@dataclass(slots=True, eq=False)
class Place:
    """A place in line. `ready` are packets that may leave, each with who hears of it; None as long as it is held."""

    ready: list[tuple[bytes, Told]] | None = field(default=None)


def _nobody(_: bool) -> None:
    """Hear of a packet that is not followed any further."""


class Telemetry:
    """Numbers packets, stamps them, and gives each to the first link in contact, and to the recorder.

    Sequence counts are per APID (133.0-B-2, 4.1.3.4), message counters per message type (ECSS-E-ST-70-41C, 7.4.3.1).
    """

    def __init__(self, tai_ns: Callable[[], int], recorder: Store) -> None:
        self.sent = 0
        self.overtaken = 0
        self._tai_ns = tai_ns
        self._links: Iterable[Downlink] = ()
        self._recorder = recorder
        self._sequences: dict[int, int] = {}
        self._counters: dict[tuple[int, int, int], int] = {}
        self._line: deque[Place] = deque()  # empty unless its head is held

    def use(self, links: Iterable[Downlink]) -> None:
        """Send on these links from now on."""
        self._links = links

    def send(self, apid: int, service: int, subtype: int, data: bytes) -> None:
        """Make a packet and emit it. Raises MisuseError if `data` is more than a packet holds."""
        self.emit(self.make(apid, service, subtype, data))

    def make(self, apid: int, service: int, subtype: int, data: bytes) -> bytes:
        """Make a packet with its number and its time, for `emit`.

        One that is emitted again, as after a reboot, is the same octet for octet, and the ground takes it once. Raises
        MisuseError if `data` is more than a packet holds.
        """
        if len(data) > TM_DATA_OCTETS_MAX:
            what = f"TM[{service},{subtype}] of APID {apid}"
            raise MisuseError(f"{what} with {len(data)} octets, a packet holds {TM_DATA_OCTETS_MAX}")
        kind = (apid, service, subtype)
        sequence, counter = self._sequences.get(apid, 0), self._counters.get(kind, 0)
        packet = encode_tm(apid, sequence, service, subtype, data, self._tai_ns(), counter=counter)
        self._sequences[apid] = (sequence + 1) % SEQUENCE_MODULUS
        self._counters[kind] = (counter + 1) % COUNTER_MODULUS
        return packet

    def emit(self, packet: bytes, told: Told = _nobody) -> None:
        """Send or record a packet, behind what is held. `told` hears once whether it is in either."""
        if not self._line:
            told(self._send(packet))
            return
        self._line.append(Place([(packet, told)]))
        if len(self._line) > LINE_MAX:
            self.overtaken += 1
            self.let_go(self._line[0])

    def hold(self) -> Place:
        """Take a place in line for packets that are made next and may not be said yet."""
        place = Place()
        self._line.append(place)
        return place

    def settle(self, place: Place, packets: Sequence[tuple[bytes, Told]]) -> None:
        """Let the packets leave for which the place was held, and whatever waits behind them."""
        if place in self._line:
            place.ready = list(packets)
            self._advance()
            return
        for packet, told in packets:  # the place was let go before: out of order, but not lost
            told(self._send(packet))

    def let_go(self, place: Place) -> None:
        """Hold nothing back any more for this place. Harmless if it is not held."""
        # A place that was settled is gone, or will be once those before it are.
        if place.ready is None:
            place.ready = []
            if place in self._line:
                self._line.remove(place)
                self._advance()

    def end(self) -> None:
        """Let everything in line leave as it is: the node ends in order, and nobody waits any more."""
        for place in list(self._line):
            self.let_go(place)

    def _advance(self) -> None:
        while self._line and self._line[0].ready is not None:
            for packet, told in self._line.popleft().ready or ():
                told(self._send(packet))

    def _send(self, packet: bytes) -> bool:
        """Send and record. Return False if the packet is in neither: a store may be full or switched off."""
        self.sent += 1
        # The first link in contact alone: a packet goes down once.
        for link in self._links:
            if link.send_realtime(packet):
                # Also kept as heard: a store that keeps always has it for retrieval by time range.
                self._recorder.store(packet, True)
                return True
        return self._recorder.store(packet, False)
