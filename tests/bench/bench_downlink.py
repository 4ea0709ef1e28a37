"""The whole downlink at both ends, one core each, beside a limit of 100 Mbit/s; the node's also encrypted.

The node's way is the one that flies: packets into the link's queues, multiplexed frame by frame, coded one by one. The
ground's is the batch path: one stretch of stream in, columns of parameters out. Mbit/s are of frames, without marker
and check symbols; the convolutional code is apart (`viterbi`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from statistics import median

from flight.catalogue import dictionary_of
from flight.contract.dictionary import Dictionary
from flight.contract.fields import Value
from flight.link.actions import LinkAction, SendUnit, StoreSecurity
from flight.link.link import Role
from flight.link.pus import PusTm
from flight.link.security.associations import End, LinkPlan
from flight.link.security.keyring import simulated_keys
from flight.link.security.link_security import LinkSecurity
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from flight.mission import MISSIONS, load
from ground.recording.definitions.own_dictionary import dictionary_definition
from ground.recording.streams.link_options import Form, LinkOptions
from ground.recording.streams.source import PacketSource
from sim_hw.bench.bench_command import Row, Survey, at_least

LIMIT_MBIT_S = 100.0
CONFIG = LinkConfig(coding="rs(255,223)", queue_packets=65536, queue_octets=1 << 24)
ENCRYPTED = replace(CONFIG, downlink_security="encrypted")
PACKET_OCTETS, APIDS, PACKETS = 100, 8, 22_000
WRONG_SYMBOLS = 3  # in each codeword
TURNS = 7
TAI_NS = 2_152_000_000_000_000_000


def plain_packets() -> list[bytes]:
    source = Random(1)
    return [
        PusTm(10 + seq % APIDS, seq & 0x3FFF, 3, 25, source.randbytes(PACKET_OCTETS - 21), TAI_NS).encode()
        for seq in range(PACKETS)
    ]


def plain_link() -> tuple[FlightLink, None]:
    return FlightLink(CONFIG), None


def encrypted_link() -> tuple[FlightLink, LinkSecurity]:
    """Every frame with AES-256-GCM, its number, and the record of numbers stored as often as it must be."""
    plans = [LinkPlan("bench", None, ENCRYPTED.down_suite)]
    security = LinkSecurity(End.NODE, simulated_keys(1, plans), plans, random=Random(3).randbytes)
    while store := security.to_store():
        security.stored(store.generation)
    return FlightLink(ENCRYPTED, security), security


def octets_of(actions: Sequence[LinkAction], security: LinkSecurity | None) -> list[bytes]:
    for action in actions:
        if isinstance(action, StoreSecurity) and security is not None:
            security.stored(action.generation)
    return [action.octets for action in actions if isinstance(action, SendUnit)]


def units_of(
    packets: Sequence[bytes], make: Callable[[], tuple[FlightLink, LinkSecurity | None]] = plain_link
) -> list[bytes]:
    """As the node does it: the radio task tops the queues up and takes a unit whenever the modem has room."""
    link, security = make()
    units: list[bytes] = []
    roles = tuple(Role)
    for start in range(0, len(packets), 64):
        for index, packet in enumerate(packets[start : start + 64]):
            link.queue(roles[index % 3], packet)
        while sum(link.backlog_octets(role) for role in roles) >= 3 * CONFIG.frame_octets:
            units += octets_of(link.next_unit(), security)
    while link.has_packets():
        units += octets_of(link.next_unit(), security)
    return units


def housekeeping() -> tuple[list[bytes], Dictionary]:
    """Reports of the orbit mission's own structures."""
    dictionary = dictionary_of(load(MISSIONS / "orbit.toml"))
    structures = [one for one in dictionary.structures if all(field.is_number for field in one.fields)]
    packets = []
    for seq in range(PACKETS):
        structure = structures[seq % len(structures)]
        values: list[Value] = [seq % 100 for _ in structure.fields]
        data = structure.sid.to_bytes(2, "big") + structure.layout.encode(values)
        packets.append(PusTm(structure.apid, seq & 0x3FFF, 3, 25, data, TAI_NS + seq * 10**6).encode())
    return packets, dictionary


def damaged(units: Sequence[bytes]) -> bytes:
    source = Random(2)
    out = bytearray()
    for unit in units:
        wrong = bytearray(unit)
        for codeword in range(CONFIG.interleave):
            for place in source.sample(range(4 + codeword, len(wrong), CONFIG.interleave), WRONG_SYMBOLS):
                wrong[place] ^= source.randrange(1, 256)
        out += wrong
    return bytes(out)


def rate_mbit_s(call: Callable[[], object], frames: int) -> float:
    took = []
    for _ in range(TURNS):
        start_s = time.perf_counter()
        call()
        took.append(time.perf_counter() - start_s)
    return frames * CONFIG.frame_octets * 8e-6 / median(took)


def node(brief: bool) -> list[Row]:
    del brief
    packets = plain_packets()
    frames = len(units_of(packets))
    rate = rate_mbit_s(lambda: units_of(packets), frames)
    encrypted_frames = len(units_of(packets, encrypted_link))
    encrypted = rate_mbit_s(lambda: units_of(packets, encrypted_link), encrypted_frames)
    limit = "limit: 100 Mbit/s"
    return [
        at_least("downlink-node", rate, LIMIT_MBIT_S, limit, "Mbit/s", 1.0),
        at_least("downlink-node-encrypted", encrypted, LIMIT_MBIT_S, limit, "Mbit/s", 1.0, note="AES-256-GCM"),
    ]


def ground(brief: bool) -> list[Row]:
    del brief
    packets, dictionary = housekeeping()
    definition = dictionary_definition(dictionary)
    units = units_of(packets)
    stream = damaged(units)

    def decode() -> int:
        source = PacketSource(LinkOptions.from_config(CONFIG, Form.UNITS))
        batches = source.feed(stream), source.finish()
        tables = [table for batch in batches for table in definition.decode(batch).tables]
        assert source.account.coding is not None
        assert source.account.coding.symbols_corrected == len(units) * CONFIG.interleave * WRONG_SYMBOLS
        return sum(len(table) for table in tables)

    assert decode() == len(packets)
    rate = rate_mbit_s(decode, len(units))
    return [at_least("downlink-ground", rate, LIMIT_MBIT_S, "limit: 100 Mbit/s", "Mbit/s", 1.0)]


BENCHES = (Survey("downlink-node", node), Survey("downlink-ground", ground))
