"""Telemetry packets on their way: made here, sent at once in contact, recorded otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from flight.core.errors import MisuseError
from flight.link.pus import TM_DATA_OCTETS_MAX, encode_tm

SEQUENCE_MODULUS = 1 << 14
COUNTER_MODULUS = 1 << 16


class Downlink(Protocol):
    """The real-time channel of a link that may be in contact."""

    def send_realtime(self, packet: bytes) -> bool:
        """False where there is no contact, or the queue is full."""


class Store(Protocol):
    def store(self, packet: bytes, heard: bool) -> bool:
        """`heard`: it goes down now, and need not be played back."""


class Telemetry:
    """Numbers packets per APID (133.0-B-2, 4.1.3.4) and per message type (ECSS-E-ST-70-41C, 7.4.3.1), stamps them,
    and gives each to the first link in contact, and to the recorder."""

    def __init__(self, tai_ns: Callable[[], int], recorder: Store) -> None:
        self.sent = 0
        self._tai_ns = tai_ns
        self._links: Iterable[Downlink] = ()
        self._recorder = recorder
        self._sequences: dict[int, int] = {}
        self._counters: dict[tuple[int, int, int], int] = {}

    def use(self, links: Iterable[Downlink]) -> None:
        """Send on these links from now on."""
        self._links = links

    def send(self, apid: int, service: int, subtype: int, data: bytes) -> None:
        self.emit(self.make(apid, service, subtype, data))

    def make(self, apid: int, service: int, subtype: int, data: bytes) -> bytes:
        """A packet with its number and time, for `emit`. One that is emitted again, as after a reboot, is the same
        octet for octet, and the ground takes it once. Raises MisuseError for more than a packet holds."""
        if len(data) > TM_DATA_OCTETS_MAX:
            what = f"TM[{service},{subtype}] of APID {apid}"
            raise MisuseError(f"{what} with {len(data)} octets, a packet holds {TM_DATA_OCTETS_MAX}")
        kind = (apid, service, subtype)
        sequence, counter = self._sequences.get(apid, 0), self._counters.get(kind, 0)
        packet = encode_tm(apid, sequence, service, subtype, data, self._tai_ns(), counter=counter)
        self._sequences[apid] = (sequence + 1) % SEQUENCE_MODULUS
        self._counters[kind] = (counter + 1) % COUNTER_MODULUS
        return packet

    def emit(self, packet: bytes) -> bool:
        """Send or record; False where the packet is in neither, as with a store that is full or switched off."""
        self.sent += 1
        for link in self._links:
            if link.send_realtime(packet):
                self._recorder.store(packet, True)
                return True
        return self._recorder.store(packet, False)
