"""Real-time packets on their way down, until they have surely left."""

# Positions are counts of octets (flight/services/radio/radio.py): each packet is kept with the octets handed to its
# channel up to its end, and each unit with how far the channel had come when the modem took it. So a packet has ended
# in a unit if that unit's position has reached the packet's. The channel's queue and the modem bound both lists.

from __future__ import annotations

from collections import deque


class RealtimePackets:
    """The packets of one link's real-time channel that may not have been heard yet, oldest first."""

    def __init__(self, modem_units: int) -> None:
        """modem_units: a unit counts as gone when the modem has taken so many after it."""
        self._modem_units = modem_units
        self._octets = 0
        self._packets: deque[tuple[int, bytes]] = deque()
        self._units: deque[tuple[int, int]] = deque()

    def add(self, packet: bytes) -> None:
        """Follow a packet that its channel has taken."""
        self._octets += len(packet)
        self._packets.append((self._octets, packet))

    def unit_taken(self, units: int, waiting_octets: int) -> None:
        """Note that the modem has taken unit number `units`, and how much of the channel waited then."""
        self._units.append((units, self._octets - waiting_octets))

    def forget(self, units: int) -> None:
        """Drop packets that ended in a unit which is gone, now that the modem has taken `units`."""
        while self._units and self._units[0][0] + self._modem_units <= units:
            self._drop(self._units.popleft()[1])

    def drop_taken(self) -> None:
        """Drop packets that the modem has taken whole: it will still send them."""
        if self._units:
            self._drop(self._units[-1][1])

    def take_all(self) -> list[bytes]:
        """Return what may not have been heard, and follow it no further: the contact has ended."""
        packets = [packet for _, packet in self._packets]
        self._packets.clear()
        self._units.clear()
        return packets

    def _drop(self, octets: int) -> None:
        while self._packets and self._packets[0][0] <= octets:
            self._packets.popleft()
