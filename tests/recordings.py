"""What a node would send, for tests of recordings: reports of its dictionary, and the units of a link."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from flight.contract.dictionary import Dictionary
from flight.core.nanoseconds import NS
from flight.kernels import crc16
from flight.link.actions import SendUnit, StoreSecurity
from flight.link.aos_stack import AosConfig, AosFlightLink
from flight.link.link import Link, Role
from flight.link.pus import PusTm
from flight.link.security.associations import End
from flight.link.security.link_security import LinkSecurity
from flight.link.space_packet import SpacePacket
from flight.link.tm.tm_frame import NO_PACKET_START
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from tests.mission_security import security_of

# Files of the vectors that describe the same packets of JPSS-1.
XTCE_FILES = (
    "jpss1_geolocation_xtce_v1.xml",
    "contrived_inheritance_structure.xml",
    "test_xtce.xml",
    "test_xtce_default_namespace.xml",
    "test_xtce_no_namespace.xml",
)
TAI_NS = 2_152_000_000_000_000_000


def value_of(kind: str, source: Random) -> float | int | str:
    """Return a random value of a field's type."""
    if kind == "str":
        return "text" * source.randrange(9)
    if kind == "time":
        return TAI_NS + source.randrange(1000) * NS
    if kind[0] == "f":
        return source.randrange(1000) / 8
    bits = int(kind[1:])
    return source.randrange(1 << bits) if kind[0] == "u" else source.randrange(-(1 << bits - 1), 1 << bits - 1)


def reports(dictionary: Dictionary, count: int) -> list[bytes]:
    """Return housekeeping of every structure in turns, sometimes with an event-like packet and a bare one in between.

    Each APID counts its packets.
    """
    source = Random(1)
    counts: dict[int, int] = {}

    def seq(apid: int) -> int:
        counts[apid] = counts.get(apid, -1) + 1
        return counts[apid] & 0x3FFF

    out = []
    for index in range(count):
        structure = dictionary.structures[index % len(dictionary.structures)]
        values = [value_of(one.type, source) for one in structure.fields]
        data = structure.sid.to_bytes(2, "big") + structure.layout.encode(values)
        time_ns = TAI_NS + index * 10**8
        out.append(PusTm(structure.apid, seq(structure.apid), 3, 25, data, time_ns).encode())
        if index % 7 == 0:
            out.append(SpacePacket(3, seq(3), source.randbytes(40)).encode())
            out.append(PusTm(1, seq(1), 5, 1, source.randbytes(30), TAI_NS).encode())
    return out


def recorded_units(packets: list[bytes], config: LinkConfig | AosConfig) -> list[bytes]:
    """Return the units of a link that carries these packets, one after the other."""
    security = security_of(config, End.NODE) if config.down_suite is not None else None
    link = AosFlightLink(config, security) if isinstance(config, AosConfig) else FlightLink(config, security)
    role = Role.PRODUCTS if isinstance(config, AosConfig) else Role.REALTIME
    units = []
    for packet in packets:
        assert link.queue(role, packet)
        if link.backlog_octets(role) > 4 * config.frame_octets:
            units.append(_unit_of(link, security))
    while link.has_packets():
        units.append(_unit_of(link, security))
    return units


def _unit_of(link: Link, security: LinkSecurity | None) -> bytes:
    """Return the link's next unit; what its security asks for is stored at once."""
    unit = b""
    while not unit:
        for action in link.next_unit():
            if isinstance(action, StoreSecurity):
                assert security is not None
                security.stored(action.generation)
            else:
                assert isinstance(action, SendUnit), action
                unit = action.octets
    return unit


def packet_zones(packets: Sequence[bytes], room: int, fill: bytes) -> list[tuple[int, bytes]]:
    """Put packets of any kind into packet zones of `room` octets; return first header pointer and data of each zone.

    `fill`, a packet of one octet, fills the last zone.
    """
    octets = b"".join(packets)
    missing = -len(octets) % room
    starts, at = [], 0
    for one in [*packets, *[fill] * missing]:
        starts.append(at)
        at += len(one)
    octets += fill * missing
    zones = []
    for begin in range(0, len(octets), room):
        first = next((start for start in starts if start >= begin), at) - begin
        zones.append((first if first < room else NO_PACKET_START, octets[begin : begin + room]))
    return zones


def aos_frame(
    count: int, pointer: int, data: bytes, *, control: bytes = b"", insert: bytes = b"", ocf: bytes = b"",
    has_fecf: bool = True,
) -> bytes:  # fmt: skip
    """Return a frame of spacecraft 0x1AB, channel 2 (CCSDS 732.0-B-4, 4.1)."""
    head = (0x4000 | 0xAB << 6 | 2).to_bytes(2, "big") + count.to_bytes(3, "big") + b"\x10"
    frame = head + control + insert + pointer.to_bytes(2, "big") + data + ocf
    return frame + crc16(frame).to_bytes(2, "big") if has_fecf else frame
