"""The kernels of the way up against plain models: frames refused at sight, and a link that is given many at a time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.core.errors import DecodeError
from flight.kernels import (
    TC_LOOK,
    TC_VERDICTS,
    CltuMachine,
    CltuUnits,
    ErrorMode,
    FrameSecurityRules,
    FrameSieve,
    randomize_tc,
)
from flight.link.actions import LinkAction, StoreSecurity
from flight.link.coding.cltu import encode_cltu
from flight.link.security.associations import Direction, End, LinkPlan
from flight.link.security.keyring import simulated_keys
from flight.link.security.link_security import LinkSecurity
from flight.link.security.suites import SUITES
from flight.link.tc.tc_frame import UNLOCK, TcFrame
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from tests.link_ends import packets_of

SPACECRAFT, VCID = 0x1AB, 5
Known = list[tuple[int, int | None]]


def verdict_model(frame: TcFrame, rules: FrameSecurityRules | None, known: Known) -> str:
    """The rules one after the other; "" if nothing stands against the frame."""
    if frame.spacecraft_id != SPACECRAFT:
        return "spacecraft"
    if frame.vcid != VCID:
        return "vcid"
    if rules is None:
        return ""
    body = frame.data[0 if frame.control else rules.segment_octets :]
    if len(body) <= rules.overhead_octets:
        return "length"
    spi, number = int.from_bytes(body[:2], "big"), int.from_bytes(body[2 : 2 + rules.number_octets], "big")
    if spi not in dict(known):
        return "spi"
    spent = dict(known)[spi]
    return "replay" if spent is not None and number <= spent else ""


def sift_model(units: list[bytes], rules: FrameSecurityRules | None, known: Known) -> list[tuple[int, str]]:
    found, at = [], 0
    for unit in units:
        left = unit
        while len(left) >= 7:
            place = at + len(unit) - len(left)
            try:
                frame = TcFrame.decode(left)
            except DecodeError:
                found.append((place, "frame"))
                break
            found.append((place, verdict_model(frame, rules, known)))
            left = left[frame.octets :]
        at += len(unit)
    return found


def sifted(units: list[bytes], rules: FrameSecurityRules | None, known: Known) -> list[tuple[int, str]]:
    sieve = FrameSieve(SPACECRAFT, VCID, rules)
    sieve.know(known)
    names = {TC_LOOK: "", **{verdict: name for name, verdict in TC_VERDICTS.items()}}
    verdicts, places = sieve.sift(CltuUnits.of(units))
    return [(place, names[verdict]) for place, verdict in zip(places, verdicts, strict=True)]


numbers = st.sampled_from([0, 1, 255, 256, 257, 2**63, 2**64 - 1])
datas = st.binary(min_size=1, max_size=45) | st.builds(
    lambda ahead, spi, number, rest: ahead + spi.to_bytes(2, "big") + number.to_bytes(8, "big") + rest,
    st.binary(max_size=1), st.integers(0, 3), numbers, st.binary(min_size=15, max_size=30),
)  # fmt: skip
flags = st.sampled_from([(False, False), (True, False), (True, True)])
frames = st.builds(
    lambda other, vcid, seq, data, flag: TcFrame(SPACECRAFT ^ other, vcid, seq, data, *flag).encode(),
    st.sampled_from([0, 0, 0, 1]), st.sampled_from([VCID, VCID, VCID, 4]), st.integers(0, 255), datas, flags,
)  # fmt: skip


def damaged(raw: bytes, bit: int) -> bytes:
    octets = bytearray(raw)
    octets[bit // 8 % len(octets)] ^= 1 << bit % 8
    return bytes(octets)


parts = frames | frames | st.builds(damaged, frames, st.integers(0, 400)) | st.binary(max_size=12)
units = st.lists(st.lists(parts, max_size=3).map(b"".join), max_size=6)
rules = st.none() | st.builds(FrameSecurityRules, st.just(8), st.just(26), st.integers(0, 1))


@given(
    units, rules, st.lists(st.tuples(st.integers(0, 3), st.none() | numbers), max_size=4, unique_by=lambda one: one[0])
)
def test_frames_are_refused_as_the_rules_say(
    units: list[bytes], rules: FrameSecurityRules | None, known: Known
) -> None:
    assert sifted(units, rules, known) == sift_model(units, rules, known)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5), rules)
def test_any_octets_are_sifted(octets: bytes, cuts: list[int], rules: FrameSecurityRules | None) -> None:
    edges = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    pieces = [octets[a:b] for a, b in pairwise(edges)]
    assert sifted(pieces, rules, [(0, 7)]) == sift_model(pieces, rules, [(0, 7)])


def test_what_a_sieve_cannot_know_is_refused() -> None:
    sieve = FrameSieve(SPACECRAFT, VCID, FrameSecurityRules(8, 26, 0))
    with pytest.raises(ValueError, match="5 associations"):
        sieve.know([(spi, 0) for spi in range(5)])
    with pytest.raises(ValueError, match="13 octets"):
        FrameSieve(SPACECRAFT, VCID, FrameSecurityRules(13, 31, 0))
    with pytest.raises(ValueError, match="do not fit"):
        FrameSieve(SPACECRAFT, VCID, FrameSecurityRules(8, 9, 0)).sift(CltuUnits.of([b"1234567"]))


@given(units)
def test_units_lie_one_behind_the_other(units: list[bytes]) -> None:
    whole = CltuUnits.of(units)
    assert whole.apart() == units
    assert whole.followed_by(CltuUnits.of([b"x"])).apart() == [*units, b"x"]
    for place in range(len(whole.information)):
        left = whole.behind(place)
        assert left.information == whole.information[place:]
        assert b"".join(left.apart()) == left.information


@given(st.lists(st.binary(min_size=1, max_size=900), min_size=1, max_size=12))
def test_randomized_units_of_a_stretch_of_any_length(contents: list[bytes]) -> None:
    machine = CltuMachine(ErrorMode.SEC, randomized=True)
    stretch = b"".join(encode_cltu(content, randomized=True) for content in contents)
    got = machine.take(stretch).apart()
    assert [unit[: len(content)] for unit, content in zip(got, contents, strict=True)] == contents
    plain = CltuMachine(ErrorMode.SEC, randomized=False)
    assert [randomize_tc(unit) for unit in plain.take(stretch).apart()] == got


# A protected link, given frames one by one, and many at a time.


class Ends:
    """A node's link, its numbers as new."""

    def __init__(self, suite: str, segments: bool) -> None:
        self.config = LinkConfig(uplink_security=suite, tc_segment_header=segments, bc_rate_per_min=2)
        plans = [LinkPlan("up", SUITES[suite], None)]
        self.security = LinkSecurity(End.NODE, simulated_keys(1, plans), plans, random=Random(1).randbytes)
        self.link = FlightLink(self.config, self.security)

    def feed(self, octets: bytes) -> tuple[list[bytes], list[str]]:
        """Packets, and all actions as texts. What waits for a store goes on; that is told apart."""
        told: list[LinkAction] = []
        new = self.link.on_uplink(octets, 0)
        while True:
            told += [action for action in new if not isinstance(action, StoreSecurity)]
            for action in new:
                if isinstance(action, StoreSecurity):
                    self.security.stored(action.generation)
            if not self.link.waiting:
                return packets_of(told), [repr(action) for action in told]
            new = self.link.on_uplink(b"", 0)

    def state(self) -> object:
        return (
            self.link.counters, self.link.farm, self.link.clcw, self.link.security_report,
            self.security.counters.refused, self.security.counters.accepted, self.security.spent(0),
        )  # fmt: skip


def ground_frames(suite: str, segments: bool) -> Callable[[str, int], bytes]:
    plans = [LinkPlan("up", SUITES[suite], None)]
    ground = LinkSecurity(End.GROUND, simulated_keys(1, plans), plans, random=Random(2).randbytes)
    config = LinkConfig()
    overhead = sum(ground.overhead(0, Direction.UP))
    made: list[bytes] = []

    def frame(kind: str, seq: int) -> bytes:
        while store := ground.to_store():
            ground.stored(store.generation)
        control = kind == "unlock"
        packet = b"\x18\x01\xc0\x00\x00\x03abcd"
        data = UNLOCK if control else b"\xc0" + packet if segments else packet
        spacecraft_id = config.spacecraft_id ^ (kind == "spacecraft")
        raw = TcFrame(spacecraft_id, config.tc_vcid, 0 if control else seq, data, control, control).encode(
            lambda head, content: ground.protect(0, head, content) or b"", overhead, segments and not control
        )
        if kind == "replay" and made:
            raw = made[seq % len(made)]
        elif kind in ("spi", "mac"):
            octets = bytearray(raw[:-2])
            octets[-1 if kind == "mac" else 6 + segments] ^= 0x40
            seal = TcFrame.decode(raw)
            raw = TcFrame(
                seal.spacecraft_id, seal.vcid, seal.seq, bytes(octets[5:]), seal.bypass, seal.control
            ).encode()
        elif kind == "short":
            raw = TcFrame(config.spacecraft_id, config.tc_vcid, seq, bytes(9)).encode()
        elif kind == "crc":
            raw = damaged(raw, 8 * len(raw) - 1)
        elif kind == "skip":
            ground.skip(0)
        else:
            made.append(raw)
        return encode_cltu(raw)

    return frame


kinds = st.sampled_from(["good", "good", "unlock", "replay", "spi", "mac", "short", "crc", "spacecraft", "skip"])


@pytest.mark.parametrize("suite", ["authenticated", "encrypted"])
@given(st.lists(st.tuples(kinds, st.integers(0, 3)), max_size=12), st.booleans())
def test_many_frames_at_a_time_are_as_many_one_by_one(suite: str, what: list[tuple[str, int]], segments: bool) -> None:
    frame = ground_frames(suite, segments)
    cltus = [frame(kind, seq) for kind, seq in what]
    singly, together = Ends(suite, segments), Ends(suite, segments)
    told = [singly.feed(cltu) for cltu in cltus]
    packets, actions = together.feed(b"".join(cltus))
    assert packets == [packet for each, _ in told for packet in each]
    assert actions == [action for _, each in told for action in each]
    assert together.state() == singly.state()
