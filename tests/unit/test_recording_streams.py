"""Recordings to packets: the account adds up, cuts change nothing, segments, encapsulation, security headers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.core.errors import OrbitnodeError
from flight.kernels import AosLink, BatchExtractor, TmLink, crc16, encode_packets, split_packets
from flight.link.tm.tm_frame import TmFormat
from flight.link.tm_tc_stack import LinkConfig
from ground.recording.detection.detect import find
from ground.recording.recording import decode
from ground.recording.streams.account import Account
from ground.recording.streams.encapsulation import packet_octets
from ground.recording.streams.fill import fill_octets, leading_fill
from ground.recording.streams.link_options import Form, LinkOptions, Service
from ground.recording.streams.packet_stream import DAMAGES_MAX, OCTETS_PER_DAMAGE
from ground.recording.streams.source import PacketSource
from ground.recording.summary import stream_document
from tests.recording_damage import RECORDINGS, of_units, plain_packets, pus_packets, read
from tests.recordings import aos_frame, packet_zones

PACKETS = LinkOptions(form=Form.PACKETS)
FRAMES = LinkOptions(form=Form.FRAMES, service=Service.TM, frame_octets=64, has_fecf=True)
UNITS = LinkOptions(
    form=Form.UNITS, service=Service.TM, frame_octets=60, has_fecf=True, coding="none", randomizer="none"
)
ANY = {
    "packets": PACKETS,
    "led packets": replace(PACKETS, skip_octets=3),
    "packets of any version": replace(PACKETS, any_version=True),
    "encapsulation": LinkOptions(form=Form.ENCAPSULATION),
    "frames": FRAMES,
    "AOS frames": replace(FRAMES, service=Service.AOS, has_fecf=False),
    "units": UNITS,
    "coded units": replace(UNITS, frame_octets=223, coding="rs(255,223)", interleave=1, randomizer="short"),
    "inner code": replace(UNITS, convolutional=True),
}


def adds_up(account: Account, octets: int) -> bool:
    classes = (
        account.packet_octets, account.overhead_octets, account.idle_octets, account.fill_octets,
        account.encapsulated_octets, account.skipped_octets, account.left_octets, *account.refused.values(),
    )  # fmt: skip
    told = stream_document(account)["classes"]
    return account.octets == octets == sum(classes) == sum(told.values()) and min(classes) >= 0


def of_frames(seed: int) -> bytes:
    """A few frames of 64 octets, with two packets and an idle one in each."""
    source = Random(seed)
    out = b""
    for count in range(5):
        data = b"".join(plain_packets(2, source, (10,))) + bytes(encode_packets([bytes(14)], 2047))
        out += TmFormat(0x1AB, 64).encode(0, count, count, 0, data, b"ocf.")
    return out


pieces = st.one_of(
    st.binary(max_size=200),
    st.integers(1, 400).map(bytes),
    st.integers(0, 50).map(lambda n: bytes.fromhex("1acffc1d") * (n % 3) + bytes((n,)) * 60),
    st.integers(0, 9).map(lambda n: b"".join(plain_packets(9, Random(n), (1, 5, 60), (1, 2)))),
    st.integers(0, 9).map(of_frames),
)


@pytest.mark.parametrize("name", ANY)
@settings(max_examples=60)
@given(data=st.lists(pieces, max_size=8), cut=st.integers(1, 500))
def test_every_octet_is_in_exactly_one_class(name: str, data: list[bytes], cut: int) -> None:
    octets = b"".join(data)
    got, account = read(octets, ANY[name], piece=cut)
    assert adds_up(account, len(octets))
    assert account.packets == len(got)
    whole, same = read(octets, ANY[name])
    assert (whole, same.classed_octets) == (got, account.classed_octets)


@pytest.mark.parametrize("name", RECORDINGS)
def test_where_calls_cut_a_recording_changes_nothing(name: str) -> None:
    recording = RECORDINGS[name](Random(3))
    for piece in (997, 4096, 100_000):
        got, account = read(recording.octets, recording.options, piece)
        assert got == list(recording.packets)
        assert account.is_whole and adds_up(account, len(recording.octets))


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_channel_tells_what_was_lost(name: str) -> None:
    recording = RECORDINGS[name](Random(3))
    start, end = recording.spans[len(recording.spans) // 2]
    got, account = read(recording.octets[:start] + recording.octets[end:], recording.options)
    lost = len(recording.packets) - len(got)
    assert lost == len(recording.within[len(recording.spans) // 2])
    assert account.missing_packets == lost
    assert not account.is_whole
    if recording.options.is_framed:
        assert account.missed_frames == 1


def test_one_flipped_bit_of_a_length_costs_one_packet() -> None:
    packets = plain_packets(2000, Random(1))
    octets = bytearray(b"".join(packets))
    octets[65 * 100 + 4] ^= 0x20
    got, account = read(bytes(octets), PACKETS)
    assert got == packets[:100] + packets[101:]
    assert dict(account.refused) == {"length": 65}
    assert (account.missing_packets, account.resyncs) == (1, 1)


@pytest.mark.parametrize("behind", [2, 5, None])
@pytest.mark.parametrize("number", [40, 296])
def test_a_wrong_length_hides_no_packet_that_is_due(number: int, behind: int | None) -> None:
    """It leads exactly to a later packet, or to the end of the recording, and may be one that is usual."""
    packets = plain_packets(300, Random(4), (1, 2, 9), (5, 6, 7))
    end = len(packets) if behind is None else min(number + behind, len(packets))
    starts = [sum(map(len, packets[:index])) for index in range(len(packets) + 1)]
    octets = bytearray(b"".join(packets))
    octets[starts[number] + 4 : starts[number] + 6] = (starts[end] - starts[number] - 7).to_bytes(2, "big")
    got, account = read(bytes(octets), PACKETS)
    assert got == packets[:number] + packets[number + 1 :]
    assert dict(account.refused) == {"length": len(packets[number])} and not account.is_whole


def test_one_octet_removed_from_bare_frames_costs_one_frame() -> None:
    recording = of_units(pus_packets(900, Random(1)), LinkConfig(coding="frame"))
    octets = recording.octets[:5000] + recording.octets[5001:]
    _, account = read(octets, recording.options)
    assert account.frames == len(recording.spans) - 1
    assert dict(account.refused) == {"alignment": 1114, "broken packets": account.refused["broken packets"]}
    assert (account.missed_frames, account.resyncs) == (1, 1)


def test_what_fits_by_chance_in_front_of_all_frames_hides_none() -> None:
    """A frame of another spacecraft, whole and alone; the others do not lie a number of frames behind it."""
    recording = RECORDINGS["AOS frames"](Random(11))
    by_chance = bytearray(recording.octets[:512])
    by_chance[0] ^= 0x10
    by_chance[-2:] = crc16(bytes(by_chance[:-2])).to_bytes(2, "big")
    for lead in (b"", b"\x55\xaa" * 111):
        octets = lead + bytes(by_chance[:600]) + b"\x01\x02\x03" * 30 + recording.octets
        got, account = read(octets, recording.options)
        assert got[-len(recording.packets) :] == list(recording.packets)
        assert adds_up(account, len(octets)) and not account.is_whole


@pytest.mark.parametrize("name", ["unguarded frames", "unguarded AOS frames"])
def test_a_damaged_count_tells_of_no_frame_that_is_missing(name: str) -> None:
    recording = RECORDINGS[name](Random(11))
    for number, place, piece in ((5, 3, 1 << 24), (9, 4, 700), (9, 4, 1 << 24)):
        octets = bytearray(recording.octets)
        octets[recording.spans[number][0] + (3 if name == "unguarded frames" else place)] ^= 0x40
        got, account = read(bytes(octets), recording.options, piece)
        assert len(got) >= len(recording.packets) - len(recording.within[number])
        assert (account.missed_frames, account.inconsistent) == (0, 1) and not account.is_whole


@pytest.mark.parametrize("more", [b"!", b"!!!!!"])
@pytest.mark.parametrize("at", [10, 500, 1113])
def test_octets_too_many_in_the_last_frame_without_error_control_cost_it(more: bytes, at: int) -> None:
    recording = RECORDINGS["unguarded frames"](Random(11))
    start, _ = recording.spans[-1]
    got, account = read(recording.octets[: start + at] + more + recording.octets[start + at :], recording.options)
    assert got == [one for index, one in enumerate(recording.packets) if index not in recording.within[-1]]
    assert account.refused["alignment"] + account.fill_octets == 1113 + len(more) and not account.is_whole
    got, account = read(recording.octets + recording.octets[:1], recording.options)
    assert got == list(recording.packets) and account.left_octets == 1


def test_bare_frames_without_error_control_find_their_place_again() -> None:
    recording = of_units(pus_packets(300, Random(1)), LinkConfig(coding="frame"))
    frames = [recording.octets[start : end - 2] for start, end in recording.spans]
    options = find(b"".join(frames)).options
    assert (options.form, options.frame_octets, options.has_fecf) == (Form.FRAMES, 1113, False)
    one = frames[20]
    for damaged in (one[:500] + one[501:], one[:500] + b"!" + one[500:]):
        octets = b"".join([*frames[:20], damaged, *frames[21:]])
        got, account = read(octets, options)
        lost = {i for i, packet in enumerate(recording.packets) if packet not in got}
        assert lost == recording.within[20]
        assert (account.missed_frames, account.resyncs) == (1, 1)
        assert adds_up(account, len(octets))


def test_zeros_are_not_packets_whoever_says_so() -> None:
    got, account = read(bytes(1 << 20), PACKETS)
    assert not got
    assert account.fill_octets == 1 << 20 and not account.is_whole


def test_zeros_between_packets_are_passed_over() -> None:
    packets = plain_packets(400, Random(2))
    octets = b"".join(packets[:200]) + bytes(300_000) + b"".join(packets[200:])
    got, account = read(octets, PACKETS)
    assert got == packets
    assert account.fill_octets == 300_000 and account.is_whole


def test_zeros_between_frames_and_in_front_are_passed_over() -> None:
    recording = of_units(pus_packets(100, Random(1)), LinkConfig(coding="frame"))
    middle = recording.spans[9][0]
    zeros = bytes(2_000_000)
    octets = zeros + recording.octets[:middle] + zeros + recording.octets[middle:] + zeros
    got, account = read(octets, replace(recording.options, spacecraft_id=None))
    assert got == list(recording.packets)
    assert account.fill_octets == 6_000_000 and account.is_whole


def test_other_spacecraft_and_channels_are_left_out_and_that_is_no_loss() -> None:
    recording = of_units(pus_packets(90, Random(1)), LinkConfig(coding="frame"))
    _, account = read(recording.octets, replace(recording.options, spacecraft_id=5, vcids=(0,)))
    assert account.packets == 0
    _, account = read(recording.octets, replace(recording.options, vcids=(1, 2)))
    assert dict(account.refused) == {"vcid": len(recording.octets)}
    assert account.losses() == []


def test_noise_between_packets_and_in_front_is_skipped() -> None:
    packets = plain_packets(2000, Random(2), (40, 59, 200), (1, 2, 3))
    noise = Random(5).randbytes(150_000)
    for octets in (noise + b"".join(packets), b"".join(packets[:900]) + noise + b"".join(packets[900:])):
        got, account = read(octets, find(octets).options)
        assert got == packets
        assert account.skipped_octets == 150_000
        assert account.losses() == ["150,000 octets skipped"]


def test_idle_packets_are_left_out_and_counted() -> None:
    packets = plain_packets(300, Random(2))
    idle = bytes(encode_packets([bytes(30)], 2047))
    octets = b"".join(one for packet in packets for one in (packet, idle))
    got, account = read(octets, find(octets).options)
    assert got == packets
    assert account.idle_octets == 300 * 36 and account.is_whole


def test_a_pass_that_begins_and_ends_within_units_loses_these() -> None:
    recording = of_units(pus_packets(300, Random(1)), LinkConfig(coding="rs(255,223)"))
    octets = recording.octets[700:-300]
    got, account = read(octets, find(octets).options)
    cut = recording.within[0] | recording.within[-1]
    assert got == [packet for i, packet in enumerate(recording.packets) if i not in cut]
    assert account.frames == len(recording.spans) - 2
    assert account.skipped_octets == 1279 - 700 + 1279 - 300


def test_an_apid_that_is_new_is_given() -> None:
    packets = plain_packets(300, Random(2))
    rare = bytes(encode_packets([b"a rare event"], 1999, 7))
    octets = b"".join([*packets[:100], rare, *packets[100:]])
    got, account = read(octets, PACKETS)
    assert got == [*packets[:100], rare, *packets[100:]] and account.is_whole


def test_packets_that_were_never_sent_are_no_loss_of_a_link() -> None:
    packets = pus_packets(200, Random(1))
    recording = of_units(packets[:100] + packets[110:], LinkConfig(coding="frame"))
    _, account = read(recording.octets, recording.options)
    assert account.missing_packets == 10
    assert account.is_whole
    assert account.sequence_gaps()[0] == "10 packets missing by sequence count"


def test_gaps_of_counts_are_told_and_repeats_are_not_missing() -> None:
    packets = plain_packets(300, Random(2))
    octets = b"".join([*packets[:100], *packets[105:200], packets[199], *packets[200:]])
    got, account = read(octets, PACKETS)
    assert len(got) == 296
    assert account.missing_packets == 5
    one = account.apids[255, 11]
    assert (one.packets, one.gaps) == (296, 2)


def segments(count: int, seq: int = 100) -> list[bytes]:
    kinds = [0b01, *[0b00] * (count - 2), 0b10]
    return [bytes(encode_packets([bytes((n,)) * 50], 9, seq + n, flags=kind)) for n, kind in enumerate(kinds)]


def test_segments_are_put_together() -> None:
    group = segments(4)
    others = plain_packets(40, Random(1))
    octets = b"".join([*others[:20], group[0], others[20], *group[1:], *others[21:]])
    options = find(octets).options
    assert options.joins_segments
    got, account = read(octets, options)
    whole = group[0] + b"".join(one[6:] for one in group[1:])
    assert got == [*others[:21], whole, *others[21:]]
    assert (account.segments, account.unassembled, account.is_whole) == (4, 0, True)
    assert adds_up(account, len(octets))


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_a_group_with_a_segment_missing_is_counted_and_not_given(lost: int) -> None:
    group = segments(4)
    del group[lost]
    others = plain_packets(40, Random(1))
    octets = b"".join([*others[:20], *group, *others[20:], *segments(3, 200)])
    got, account = read(octets, replace(PACKETS, joins_segments=True))
    assert len(got) == 41 and account.packets == 41
    assert account.unassembled == 3
    assert not account.is_whole and adds_up(account, len(octets))


def test_flags_that_make_no_groups_leave_packets_as_they_are() -> None:
    packets = [bytes(encode_packets([bytes((n,)) * 40], 9, n, flags=0)) for n in range(50)]
    options = find(b"".join(packets)).options
    assert options.joins_segments is False
    assert read(b"".join(packets), options)[0] == packets


ENCAPSULATED = (
    (b"\xe0", 1),
    (b"\xe9\x08" + b"123456", 8),
    (b"\xea\x05\x00\x0a" + b"123456", 10),
    (b"\xeb\x00\x00\x00\x00\x00\x00\x0e" + b"123456", 14),
)


@pytest.mark.parametrize(("octets", "size"), ENCAPSULATED)
def test_encapsulation_packets_have_four_kinds_of_header(octets: bytes, size: int) -> None:
    import numpy as np

    assert packet_octets(np.frombuffer(octets, np.uint8), 0) == size == len(octets)


def test_a_recording_of_encapsulation_packets_is_counted() -> None:
    octets = b"".join(one for one, _ in ENCAPSULATED) * 40
    finding = find(octets)
    assert finding.options.form is Form.ENCAPSULATION
    _, account = read(octets, finding.options)
    assert account.encapsulated == {2: 120} and account.idle_octets == 40
    assert account.encapsulated_octets == 40 * 32 and account.is_whole
    for damaged in (
        octets[:50] + b"!" + octets[50:],
        octets[:50] + octets[51:],
        b"!" + octets,
        octets[3:],
        octets[:-3],
    ):
        assert find(damaged).options == finding.options
        _, account = read(damaged, finding.options)
        assert adds_up(account, len(damaged)) and not account.is_whole
        assert account.encapsulated[2] >= 115


def test_encapsulation_packets_among_packets_are_passed_over() -> None:
    packets = plain_packets(60, Random(1))
    octets = b"".join([*packets[:30], *(one for one, _ in ENCAPSULATED), *packets[30:]])
    got, account = read(octets, PACKETS)
    assert got == packets
    assert account.encapsulated == {2: 3} and account.idle_octets == 1 and account.is_whole


def tm_frame(count: int, pointer: int, data: bytes) -> bytes:
    return TmFormat(0x1AB, len(data) + 12).encode(0, count & 0xFF, count & 0xFF, pointer, data, b"ocf.")


@pytest.mark.parametrize("frame", [tm_frame, aos_frame])
def test_encapsulation_packets_in_frames_are_passed_over_whatever_frames_they_span(
    frame: Callable[[int, int, bytes], bytes], tmp_path: Path
) -> None:
    long = b"\xee\x00" + (3000).to_bytes(2, "big") + bytes(2996)
    packets = plain_packets(60, Random(1))
    stream = [*packets[:30], *(one for one, _ in ENCAPSULATED), long, *packets[30:]]
    zones = packet_zones(stream, 200, b"\xe0")
    octets = b"".join(frame(count, pointer, data) for count, (pointer, data) in enumerate(zones))
    got, account = read(octets, find(octets).options)
    assert got == packets
    assert account.encapsulated == {2: 3, 3: 1}
    assert account.encapsulated_octets == 3032 and account.is_whole and adds_up(account, len(octets))
    path = tmp_path / "pass.frames"
    path.write_bytes(octets)
    document = decode(path).account
    assert document["encapsulated"] == {"IPE": 3, "CFDP": 1} and document["complete"]
    assert sum(document["classes"].values()) == document["octets"] == len(octets)


def secured(frame: bytes, head: int, tail: int, after: int, behind: int) -> bytes:
    """A frame with a security header `after` its own header and a trailer before its last `behind` octets."""
    body = (
        frame[:after] + b"H" * head + frame[after : len(frame) - behind] + b"T" * tail + frame[len(frame) - behind : -2]
    )
    return body + crc16(body).to_bytes(2, "big")


def test_security_headers_and_trailers_are_passed_over() -> None:
    recording = of_units(pus_packets(150, Random(1)), LinkConfig(coding="frame"))
    octets = b"".join(secured(recording.octets[a:b], 18, 16, after=6, behind=6) for a, b in recording.spans)
    options = replace(recording.options, frame_octets=1149, security_header_octets=18, security_trailer_octets=16)
    got, account = read(octets, options)
    assert got == list(recording.packets)
    assert account.is_whole and adds_up(account, len(octets))


def test_security_in_aos_frames_stands_before_the_packet_zone() -> None:
    frame = (0x4000 | 0xAB << 6 | 2).to_bytes(2, "big") + bytes(4) + b"INSERT" + b"\0\0"
    frame += b"".join(plain_packets(2, Random(1), (20,)))
    link = AosLink(len(frame) + 10, 0xAB, has_fecf=False, has_ocf=True, insert_octets=6,
                   security_header_octets=3, security_trailer_octets=3)  # fmt: skip
    raw = frame[:12] + b"HHH" + frame[12:] + b"TTT" + b"ocf."
    _, packets = BatchExtractor(link).extract(raw)
    assert [len(one) for one in packets] == [26, 26]
    with pytest.raises(ValueError, match="security"):
        BatchExtractor(TmLink(64, security_header_octets=64))
    with pytest.raises(ValueError):
        BatchExtractor(TmLink(64, security_header_octets=30, security_trailer_octets=30))


@pytest.mark.parametrize("lead", [0, 1, 7])
@pytest.mark.parametrize("any_version", [False, True])
def test_packets_with_octets_in_front_are_split_like_a_walk_would(lead: int, any_version: bool) -> None:
    source = Random(lead)
    for _ in range(50):
        octets = b"".join(source.randbytes(lead) + one for one in plain_packets(source.randrange(5), source, (1, 9)))
        octets += source.randbytes(source.randrange(12))
        at, offsets = 0, []
        while len(octets) - at >= lead + 6:
            header = octets[at + lead :]
            size = 7 + int.from_bytes(header[4:6], "big")
            if (header[0] >> 5 and not any_version) or len(header) < size:
                break
            offsets.append(at + lead)
            at += lead + size
        columns = split_packets(octets, lead_octets=lead, any_version=any_version)
        assert (columns.offset.tolist(), columns.consumed) == (offsets, at)


def test_fill_is_runs_of_one_octet() -> None:
    import numpy as np

    octets = np.frombuffer(b"abc" + bytes(20) + b"d" + b"\xff" * 7 + b"e" + b"\x55" * 8, np.uint8)
    assert fill_octets(octets) == 28
    assert leading_fill(octets) == 0
    assert leading_fill(octets[3:]) == 20


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (LinkOptions(), "form is not known"),
        (LinkOptions(form=Form.FRAMES), "frame_octets is not known"),
        (replace(FRAMES, frame_octets=9), "frame_octets is 9, should be 13 or more"),
        (replace(FRAMES, vcids=(9,)), r"virtual channels are \[9\], should be 0 .. 7"),
        (replace(PACKETS, skip_octets=-1), "skip_octets is -1, should be 0 .. 64"),
        (replace(UNITS, coding="turbo"), "coding is 'turbo', should be one of none"),
        (replace(UNITS, coding="rs(255,223)", interleave=7), "interleave is 7, should be one of 1, 2"),
        (replace(UNITS, randomizer="long long"), "randomizer is 'long long'"),
        (replace(FRAMES, spacecraft_id=4000), "spacecraft_id is 4000, should be 0 .. 1023"),
        (replace(UNITS, coding="rs(255,223)", interleave=8), "interleave is 8, for which"),
    ],
)
def test_options_that_cannot_be_are_refused(options: LinkOptions, text: str) -> None:
    with pytest.raises(OrbitnodeError, match=text):
        PacketSource(options)


def test_damage_without_end_is_searched_at_so_many_places_only() -> None:
    octets = bytearray(encode_packets([bytes(1)] * 60_000, 11))
    octets[0::21] = b"\x80" * 20_000  # the version number of every third packet of seven octets
    _, account = read(bytes(octets), PACKETS)
    assert account.resyncs <= DAMAGES_MAX + len(octets) // OCTETS_PER_DAMAGE
    assert account.refused["damage"] > len(octets) // 4
    assert adds_up(account, len(octets)) and not account.is_whole


def test_memory_does_not_grow_with_what_is_nothing() -> None:
    source = PacketSource(PACKETS)
    noise = Random(1).randbytes(1 << 20)
    held: Callable[[], int] = lambda: sum(map(len, source._pending))  # noqa: SLF001, E731 - a bound on what is kept
    for _ in range(40):
        source.feed(noise)
        assert held() <= 17 << 20
    source.finish()
    assert source.account.classed_octets == 40 << 20
