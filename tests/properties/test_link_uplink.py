"""The node's end of the uplink against what was put into each CLTU: packets, counts by reason, the control word."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from flight.link.actions import LinkAction, UnitRejected
from flight.link.coding.cltu import START, TAIL, encode_cltu
from flight.link.space_packet import SpacePacket
from flight.link.tc.farm import Farm
from flight.link.tc.tc_frame import TcFrame
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from tests.link_ends import packets_of

CONFIG = LinkConfig(tc_vcid=9, farm_window=30)

contents = st.binary(min_size=1, max_size=20) | st.integers(255, 260).map(bytes)
packets = st.builds(SpacePacket, st.integers(0, 2039), st.integers(0, 0x3FFF), contents).map(SpacePacket.encode)
# What stands behind the last whole packet of a frame: nothing, or what no packet begins with or ends in.
rests = st.sampled_from(
    [b"", b"", b"\x18", b"\x18\x01\xc0\x00\x00\x00", b"\x18\x01\xc0\x00\x00\x01x", b"\x38" + b"\0" * 9]
)


@dataclass
class Sent:
    """One frame: `fault` is why it is refused, empty for none."""

    packets: list[bytes]
    rest: bytes
    fault: str
    bypass: bool

    def frame(self, seq: int) -> TcFrame:
        return TcFrame(
            CONFIG.spacecraft_id ^ (self.fault == "spacecraft"), CONFIG.tc_vcid ^ (self.fault == "vcid"), seq,
            b"".join(self.packets) + self.rest, self.bypass,
        )  # fmt: skip


faults = st.sampled_from(["", "", "", "", "spacecraft", "vcid", "frame"])
frames = st.builds(Sent, st.lists(packets, min_size=1, max_size=3), rests, faults, st.booleans())
# The frames of one CLTU, octets behind them that are not a frame, and whether a bit of its first codeblock is wrong.
units = st.tuples(
    st.lists(frames, min_size=1, max_size=3).filter(lambda sent: sum(one.frame(0).octets for one in sent) <= 1000),
    st.integers(0, 20),
    st.booleans(),
)
steps = st.lists(units | st.sampled_from(["empty CLTU", "hold", "release", "acquire", "lose", "nothing"]), max_size=8)


@settings(max_examples=150)
@given(steps, st.lists(st.integers(0, 2000), max_size=6))
def test_what_comes_up_is_taken_or_counted_by_reason(  # noqa: C901 - the model of the uplink, a case for each step
    steps: list[object], cuts: list[int]
) -> None:
    link, farm = FlightLink(CONFIG), Farm(CONFIG.tc_vcid, CONFIG.farm_window)
    rejected = dict.fromkeys(link.counters.uplink_rejected, 0)
    held, heard, now_ns, last_ns = False, False, 0, None
    cltus = corrected = taken = 0
    want: list[bytes] = []
    told: list[LinkAction] = []

    def receive(octets: bytes) -> None:
        nonlocal now_ns, last_ns, heard
        edges = sorted({0, len(octets), *(cut % (len(octets) + 1) for cut in cuts)})
        for start, end in pairwise(edges):
            now_ns += 1
            told.extend(link.on_uplink(octets[start:end], now_ns))
            last_ns, heard = now_ns, True

    for step in steps:
        match step:
            case "empty CLTU":
                receive(START + TAIL)
                rejected["cltu"] += 1
            case "hold" | "release":
                held = step == "hold"
                link.hold(held)
                if not held:
                    farm.release_buffer()
            case "acquire":
                link.acquired()
                heard = True
            case "lose":
                link.carrier_lost()
                heard = False
            case "nothing":
                assert link.on_uplink(b"", now_ns + 1) == []
            case (list() as sent, int() as more, bool() as wrong_bit):
                octets = b""
                for one in sent:
                    frame = one.frame(farm.vr)
                    raw = bytearray(frame.encode())
                    raw[-1] ^= one.fault == "frame"
                    octets += raw
                    if one.fault:
                        rejected[one.fault] += 1
                    if one.fault == "frame":
                        break
                    data = None if one.fault else farm.on_frame(frame, not held)
                    taken += not one.fault
                    if data is not None:
                        want += one.packets
                        rejected["packet"] += bool(one.rest)
                else:
                    octets += b"\x55" * more
                    # Less than a codeblock is fill, with what makes up the last codeblock.
                    rejected["frame"] += more + -len(octets) % 7 >= 7
                cltu = bytearray(encode_cltu(octets))
                cltu[4] ^= wrong_bit
                receive(bytes(cltu))
                cltus += 1
                corrected += wrong_bit
        assert link.clcw == farm.clcw(not heard, not heard).encode()
    assert packets_of(told) == want
    counters = link.counters
    assert counters.uplink_rejected == rejected
    refused = Counter(action.reason for action in told if isinstance(action, UnitRejected))
    assert refused == Counter({reason: count for reason, count in rejected.items() if count})
    assert len(told) == len(want) + refused.total()
    assert (counters.cltus, counters.cltu_corrected, counters.tc_frames) == (cltus, corrected, taken)
    assert (counters.tc_packets, link.farm.counters, link.last_uplink_ns) == (len(want), farm.counters, last_ns)
