"""Encapsulation packets (CCSDS 133.1-B-3): how long each is, and what passed by in them.

    first octet     version number 7 (3 bits), protocol id (3 bits), length of the length field (2 bits)
    header          1, 2, 4 or 8 octets, for a length field of 0, 1, 2 or 4 octets
    length field    of the whole packet, header included, at the end of the header; without one the packet is one octet

What is in them is no space packet, so they are counted by protocol and passed over; protocol 0 is idle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flight.kernels import ENCAPSULATION_OCTETS_MAX
from ground.recording.streams.account import Account

VERSION = 7
IDLE = 0
PROTOCOLS = {0: "idle", 1: "LTP", 2: "IPE", 3: "CFDP", 4: "BP", 6: "extended", 7: "mission-specific"}
_HEADER_OCTETS = (1, 2, 4, 8)

Octets = NDArray[np.uint8]


def packet_octets(octets: Octets, at: int) -> int | None:
    """The length of the encapsulation packet whose header begins at an octet; 0 if none does, None if the octets end
    within its header.
    """
    first = int(octets[at])
    if first >> 5 != VERSION:
        return 0
    header = _HEADER_OCTETS[first & 3]
    if header == 1:
        return 1 if first >> 2 & 7 == IDLE else 0  # only an idle packet may be without length
    if at + header > len(octets):
        return None
    size = 0
    for octet in octets[at + header // 2 if header > 2 else at + 1 : at + header].tolist():
        size = size << 8 | octet
    return size if header <= size <= ENCAPSULATION_OCTETS_MAX else 0


def next_packet(octets: Octets, start: int) -> int:
    """The next octet from `start` on at which a packet begins that leads to another, or the end."""
    for place in (np.flatnonzero(octets[start:] >> 5 == VERSION) + start).tolist():
        size = packet_octets(octets, place)
        if size is None or (size > 1 and (place + size >= len(octets) or packet_octets(octets, place + size) != 0)):
            return place
    return len(octets)


class EncapsulationStream:
    """`take` a recording of encapsulation packets block by block; what a block leaves begins the next. They are
    counted, and none is given as a space packet.
    """

    def __init__(self, account: Account) -> None:
        self._account = account

    def take(self, block: bytes, *, last: bool) -> int:
        """How many octets are done with."""
        octets = np.frombuffer(block, np.uint8)
        at = 0
        while at < len(octets):
            size = packet_octets(octets, at)
            if size is None or (size and at + size > len(octets)):
                break
            if size == 0:
                place = next_packet(octets, at + 1)
                self._account.skipped_octets += place - at
                self._account.resyncs += 1
                at = place
                continue
            self.note(int(octets[at]) >> 2 & 7, size)
            at += size
        if last:
            self._account.left_octets += len(octets) - at
        return at

    def note(self, protocol: int, size: int) -> None:
        """One of them passed by."""
        if protocol == IDLE:
            self._account.idle_octets += size
        else:
            self._account.encapsulated[protocol] += 1
            self._account.encapsulated_octets += size
