"""Encapsulation packets (CCSDS 133.1-B-3): measures, counts and passes over them.

    first octet     version number 7 (3 bits), protocol id (3 bits), length of the length field (2 bits)
    header          1, 2, 4 or 8 octets, for a length field of 0, 1, 2 or 4 octets
    length field    octets of the whole packet, header included; it ends the header. Without it the packet is one octet

What they hold are not space packets, so they are counted by protocol and passed over; protocol 0 is idle.
"""

# Resynchronising. Three bits (version 7) begin an encapsulation packet, so one octet in eight of anything looks like
# one. After damage, a place counts as a packet only if its length leads to another one, or to the end of what is there:
# a single header proves nothing. What lies between is skipped, and counted as such.

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
    """Return the length of the encapsulation packet that begins at octet `at`.

    Returns 0 if none begins there, and None if the octets end within its header.
    """
    first = int(octets[at])
    if first >> 5 != VERSION:
        return 0
    header = _HEADER_OCTETS[first & 3]
    if header == 1:
        return 1 if first >> 2 & 7 == IDLE else 0  # only an idle packet may be without length
    if at + header > len(octets):
        return None
    # The length field is the second half of the header: 1 octet of 2, 2 of 4, 4 of 8.
    size = 0
    for octet in octets[at + header // 2 if header > 2 else at + 1 : at + header].tolist():
        size = size << 8 | octet
    return size if header <= size <= ENCAPSULATION_OCTETS_MAX else 0


def next_packet(octets: Octets, start: int) -> int:
    """Return the next octet from `start` on at which a packet begins that leads to another, or the end."""
    for place in (np.flatnonzero(octets[start:] >> 5 == VERSION) + start).tolist():
        size = packet_octets(octets, place)
        if size is None or (size > 1 and (place + size >= len(octets) or packet_octets(octets, place + size) != 0)):
            return place
    return len(octets)


class EncapsulationStream:
    """Counts the packets of a recording of encapsulation packets; none is given as a space packet.

    Call `take` with one block after the other; the octets that a block leaves must begin the next one.
    """

    def __init__(self, account: Account) -> None:
        self._account = account

    def take(self, block: bytes, *, last: bool) -> int:
        """Count the packets of a block. Returns how many octets are done with; `last` says that nothing follows."""
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
        """Count one packet of `size` octets that was passed over."""
        if protocol == IDLE:
            self._account.idle_octets += size
        else:
            self._account.encapsulated[protocol] += 1
            self._account.encapsulated_octets += size
