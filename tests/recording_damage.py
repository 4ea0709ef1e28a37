"""Damage recordings, one octet at a time, and check what is lost; `python -m tests.recording_damage` (`make damage`).

A case damages one octet of a recording: it flips bits of it, removes it, or inserts one. The damage touches the unit,
frame or packet in which the octet lies, or both neighbours if an octet is inserted between them. Everything that is not
touched must come out as it went in.

    units      touched: one unit; its frame, and the packets with octets in that frame
    frames     touched: one frame, and the packets with octets in it
    packets    touched: one packet
"""

# The method. Each form of recording is made once per campaign from a seed, and must be read whole before any damage.
# Then each case damages a copy of it and checks (`faults`):
#
# - no packet is lost but those that the damage touched;
# - at most 1 packet comes out that was never sent: a damaged packet without error control cannot be told from a good
#   one;
# - the account has every octet of the file in exactly one class, and counts the packets that were given;
# - at most 1 frame counts as missed;
# - the account does not call the recording whole if a packet is lost.
#
# Every tenth case also asks whether detection still says what the recording is.
#
# Two limits of what can be asked. First, if an octet is removed from a run of equal octets, or inserted into one,
# nobody can say which of them it was, so the damage touches whatever the whole run touches (`alike`). Second, if the
# damaged length of a packet leads exactly to the start of a later packet, everything in between is hidden, unless
# sequence counts show it; so the packets here have lengths with which that does not happen.

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from flight.kernels import encode_packets
from flight.link.aos_stack import AosConfig
from flight.link.pus import PusTm
from flight.link.tm_tc_stack import LinkConfig
from ground.recording.detection.detect import find
from ground.recording.packet_batch import PacketBatch
from ground.recording.streams.account import Account
from ground.recording.streams.link_options import Form, LinkOptions
from ground.recording.streams.source import PacketSource
from tests.recordings import recorded_units

TAI_NS = 2_152_000_000_000_000_000
FLIP, REMOVE, INSERT = "flip", "remove", "insert"
_FINDING_CASES = 10  # only one case in ten also goes to detection, which takes longer than reading
KINDS = (FLIP, REMOVE, INSERT)


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording, the spans of its units, frames or packets, and which packets have octets in each span."""

    octets: bytes
    packets: tuple[bytes, ...]
    spans: tuple[tuple[int, int], ...]
    within: tuple[frozenset[int], ...]
    options: LinkOptions


def pus_packets(count: int, source: Random) -> list[bytes]:
    """Return reports of several APIDs and any length, with error control."""
    counts = Counter({apid: 90 * apid for apid in (1, 2, 3)})
    out = []
    for number in range(count):
        apid = source.choice((1, 1, 1, 2, 3))
        data = source.randbytes(source.choice((20, 33, 60, 61, 200, 700)))
        out.append(PusTm(apid, counts[apid] & 0x3FFF, 3, 25, data, TAI_NS + number * 10**8).encode())
        counts[apid] += 1
    return out


def plain_packets(
    count: int, source: Random, sizes: Sequence[int] = (59,), apids: Sequence[int] = (11,)
) -> list[bytes]:
    """Return packets without error control."""
    counts = Counter({apid: source.randrange(0x4000) for apid in apids})
    out = []
    for _ in range(count):
        apid = source.choice(apids)
        data = source.randbytes(source.choice(sizes))
        out.append(bytes(encode_packets([data], apid, counts[apid], flags=0b0111)))
        counts[apid] = (counts[apid] + 1) & 0x3FFF
    return out


def of_packets(packets: Sequence[bytes]) -> Recording:
    """Return the recording in which these packets follow one another."""
    spans, at = [], 0
    for packet in packets:
        spans.append((at, at + len(packet)))
        at += len(packet)
    octets = b"".join(packets)
    options = find(octets).options
    assert options.form is Form.PACKETS, options
    return Recording(
        octets, tuple(packets), tuple(spans), tuple(frozenset((number,)) for number in range(len(packets))), options
    )


def of_units(packets: Sequence[bytes], config: LinkConfig | AosConfig) -> Recording:
    """Return what a link sends of these packets over one channel."""
    units = recorded_units(list(packets), config)
    within: list[frozenset[int]] = []
    room = config.frame_octets - (10 if isinstance(config, AosConfig) else 12)  # of packets in a frame
    ends: list[int] = []
    for packet in packets:
        ends.append((ends[-1] if ends else 0) + len(packet))
    starts = [end - len(packet) for end, packet in zip(ends, packets, strict=True)]
    for number in range(len(units)):
        low, high = number * room, (number + 1) * room
        within.append(frozenset(i for i in range(len(packets)) if starts[i] < high and ends[i] > low))
    octets = b"".join(units)
    size = len(units[0])
    spans = tuple((size * number, size * (number + 1)) for number in range(len(units)))
    options = find(octets).options
    assert options.form is (Form.FRAMES if config.coding == "frame" else Form.UNITS), options
    return Recording(octets, tuple(packets), spans, tuple(within), options)


def unguarded(recording: Recording) -> Recording:
    """Return the same frames without error control."""
    octets = b"".join(recording.octets[start : end - 2] for start, end in recording.spans)
    spans = tuple((start - 2 * number, end - 2 * number - 2) for number, (start, end) in enumerate(recording.spans))
    options = find(octets).options
    assert options.form is Form.FRAMES and not options.has_fecf, options
    return Recording(octets, recording.packets, spans, recording.within, options)


RECORDINGS: dict[str, Callable[[Random], Recording]] = {
    "packets": lambda source: of_packets(pus_packets(150, source)),
    "plain packets": lambda source: of_packets(plain_packets(200, source)),
    "short packets": lambda source: of_packets(plain_packets(300, source, (1, 2, 5, 9, 14), (5, 6, 7))),
    "long packets": lambda source: of_packets(plain_packets(60, source, (4000, 1500, 777), (20, 21))),
    "frames": lambda source: of_units(pus_packets(200, source), LinkConfig(coding="frame")),
    "AOS frames": lambda source: of_units(pus_packets(200, source), AosConfig(coding="frame", frame_octets=512)),
    "unguarded frames": lambda source: unguarded(of_units(pus_packets(200, source), LinkConfig(coding="frame"))),
    "unguarded AOS frames": lambda source: unguarded(
        of_units(pus_packets(200, source), AosConfig(coding="frame", frame_octets=512))
    ),
    "cadu": lambda source: of_units(pus_packets(150, source), LinkConfig(coding="cadu")),
    "rs": lambda source: of_units(pus_packets(150, source), LinkConfig(coding="rs(255,223)")),
    "AOS rs": lambda source: of_units(
        pus_packets(150, source), AosConfig(coding="rs(255,239)", interleave=1, frame_octets=239)
    ),
}


def packets_in(batches: Iterator[PacketBatch]) -> list[bytes]:
    """Return the octets of all packets."""
    return [
        bytes(batch.octets[start : start + size])
        for batch in batches
        for start, size in zip(batch.offset.tolist(), batch.length.tolist(), strict=True)
    ]


def read(octets: bytes, options: LinkOptions, piece: int = 1 << 24) -> tuple[list[bytes], Account]:
    """Return all packets of a recording, and its account."""
    source = PacketSource(options)

    def batches() -> Iterator[PacketBatch]:
        for at in range(0, len(octets), piece):
            yield source.feed(octets[at : at + piece])
        yield source.finish()

    return packets_in(batches()), source.account


@dataclass(frozen=True, slots=True)
class Case:
    """One damaged octet: how and where, and the octets of the recording afterwards."""

    kind: str
    place: int
    octets: bytes


def spoilt(recording: Recording, kind: str, source: Random) -> Case:
    """Return a case of this kind of damage, at a random place."""
    octets = bytearray(recording.octets)
    place = source.randrange(len(octets))
    if kind == FLIP:
        octets[place] ^= source.choice((1 << source.randrange(8), source.randrange(1, 256)))
    elif kind == REMOVE:
        del octets[place]
    else:
        octets.insert(place, source.randrange(256))
    return Case(kind, place, bytes(octets))


def touched(recording: Recording, case: Case) -> set[int]:
    """Return the packets that the damage may have cost."""
    out: set[int] = set()
    for (start, end), packets in zip(recording.spans, recording.within, strict=True):
        for place in alike(recording, case):
            if start <= place < end or (case.kind == INSERT and place in (start, end)):
                out |= packets
    return out


def alike(recording: Recording, case: Case) -> set[int]:
    """Return the places at which the same damage gives the same octets.

    Among equal octets, nobody can tell which one is missing, or which one was not there before.
    """
    octets, low, high = recording.octets, case.place, case.place
    if case.kind == FLIP:
        return {case.place}
    added = case.octets[case.place] if case.kind == INSERT else octets[case.place]
    while low > 0 and octets[low - 1] == added:
        low -= 1
    after = 1 if case.kind == REMOVE else 0
    while high + after < len(octets) and octets[high + after] == added:
        high += 1
    return set(range(low, high + 1))


def faults(recording: Recording, case: Case) -> list[str]:
    """Return everything that a case did and must not do."""
    got, account = read(case.octets, recording.options)
    out = []
    lost = Counter(recording.packets) - Counter(got)
    strange = Counter(got) - Counter(recording.packets)
    may = Counter(recording.packets[number] for number in touched(recording, case))
    if lost - may:
        out.append(f"{sum((lost - may).values())} packets lost that were not touched")
    if sum(strange.values()) > 1:
        out.append(f"{sum(strange.values())} packets that were never sent")
    if account.classed_octets != account.octets or account.octets != len(case.octets):
        out.append(f"{account.classed_octets} octets classed, {account.octets} read, {len(case.octets)} given")
    if account.packets != len(got):
        out.append(f"{account.packets} packets counted, {len(got)} given")
    if account.missed_frames > 1:
        out.append(f"{account.missed_frames} frames missed by count, of which one at most was lost")
    if len(got) < len(recording.packets) and account.is_whole:
        out.append("packets lost, but the account calls the recording whole")
    if min(account.skipped_octets, account.left_octets, account.overhead_octets, account.fill_octets) < 0:
        out.append("a class with fewer than 0 octets")
    return out


def is_found(recording: Recording, case: Case) -> bool:
    """Return whether detection still says what the recording is.

    Joining of segments is not compared: damaged flags may turn a packet into a segment of no group.
    """
    found = find(case.octets).options
    return replace(found, joins_segments=recording.options.joins_segments) == recording.options


def campaign(name: str, cases: int, seed: int) -> Iterator[str]:
    """Yield one line per fault of this many cases."""
    source = Random(seed)
    recording = RECORDINGS[name](source)
    got, account = read(recording.octets, recording.options)
    if got != list(recording.packets) or not account.is_whole:
        yield f"{name}: not whole although undamaged: {account.losses()}"
    for number in range(cases):
        case = spoilt(recording, KINDS[number % 3], source)
        wrong = faults(recording, case)
        if number % _FINDING_CASES == 0 and not is_found(recording, case):
            wrong.append("detection does not say what it is")
        for fault in wrong:
            yield f"{name}, seed {seed}, case {number}: {case.kind} at {case.place}: {fault}"


def main() -> int:
    """Run the campaigns; return exit code 1 if any case did what it must not do."""
    parser = argparse.ArgumentParser(description="damage one octet of a recording at a time: what is lost?")
    parser.add_argument("--cases", type=int, default=1000, help="per form (default 1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("forms", nargs="*", help=f"of {', '.join(RECORDINGS)} (default: all)")
    args = parser.parse_args()
    found = 0
    for name in args.forms or RECORDINGS:
        wrong = list(campaign(name, args.cases, args.seed))
        found += len(wrong)
        print(f"{name}: {args.cases} cases, {len(wrong)} faults", flush=True)
        for line in wrong[:20]:
            print("  " + line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
