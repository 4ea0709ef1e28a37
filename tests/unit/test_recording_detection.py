"""What a recording is: found from its octets, whoever made it, and not taken for anything if nothing supports it."""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Callable
from itertools import product
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flight.kernels import encode_packets, randomize_tm
from flight.link.aos_stack import AosConfig
from flight.link.tm_tc_stack import LinkConfig
from ground.cli.decoding.link_arguments import add_link_arguments, link_options
from ground.recording.detection.detect import find
from ground.recording.detection.finding import CERTAIN
from ground.recording.detection.stated_options import written
from ground.recording.streams.link_options import Form, LinkOptions, Service
from tests.recording_damage import RECORDINGS, of_units, plain_packets, pus_packets, read
from tests.recordings import aos_frame, packet_zones

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT.parent / "shared" / "vectors"

CODED = [
    config(coding=coding, randomizer=randomizer, convolutional=inner)
    for config, coding, randomizer, inner in product(
        (LinkConfig, AosConfig), ("cadu", "rs(255,223)", "rs(255,239)"), ("none", "short", "long"), (False, True)
    )
]
BARE = [LinkConfig(coding="frame"), AosConfig(coding="frame")]
BARE_FRAMES = ("frames", "AOS frames", "unguarded frames", "unguarded AOS frames")


def vector(name: str) -> bytes:
    """A file that nobody here made; lines of hexadecimal digits as octets."""
    path = VECTORS / name
    if not path.exists():
        pytest.skip(f"{path} is absent: it holds recordings of other missions")
    return bytes.fromhex(path.read_text()) if path.suffix == ".hex" else path.read_bytes()


@pytest.mark.parametrize(
    ("config", "front"),
    [*((one, 0) for one in (*BARE, *CODED)), *((one, 300_000) for one in (*BARE, *CODED[:2]))],
    ids=str,
)
def test_our_own_downlink_in_all_codings(config: LinkConfig | AosConfig, front: int) -> None:
    packets = pus_packets(60, Random(5))
    octets = bytes(front) + of_units(packets, config).octets
    finding = find(octets)
    options = finding.options
    expected = LinkOptions.from_config(config, options.form)
    assert options.form is (Form.FRAMES if config.coding == "frame" else Form.UNITS)
    assert finding.confidence >= CERTAIN
    assert (options.service, options.frame_octets, options.has_fecf) == (expected.service, config.frame_octets, True)
    if options.form is Form.UNITS:
        assert (options.coding, options.randomizer) == (expected.coding, config.randomizer)
        assert options.convolutional == config.convolutional
        assert options.interleave == (config.interleave if config.coding != "cadu" else None)
    got, account = read(octets, options)
    assert got == packets
    assert account.is_whole and account.fill_octets == front


@given(
    st.binary(max_size=40) | st.builds(lambda one, n: one * n, st.binary(min_size=1, max_size=90), st.integers(1, 60)),
    st.sampled_from([LinkOptions(), *(LinkOptions(form=form) for form in Form), LinkOptions(frame_octets=17)]),
)
@example(b"\x1a", LinkOptions())
@example(b"\x5a\xc0" + bytes(30), LinkOptions(form=Form.FRAMES, service=Service.AOS))
def test_any_octets_are_found_to_be_something_or_nothing(octets: bytes, hint: LinkOptions) -> None:
    finding = find(octets, hint)
    assert finding.options.form is not None or not finding.is_known


@pytest.mark.campaign
@pytest.mark.parametrize("name", RECORDINGS)
def test_damage_does_not_hide_what_a_recording_is(name: str) -> None:
    """In the units that are looked at: an octet removed, one inserted, and nearly all of a unit removed."""
    recording = RECORDINGS[name](Random(11))
    for number in (0, 1, 2, 4, 11, 20):
        start, end = recording.spans[number]
        middle = (start + end) // 2
        for cut, put in ((1, b""), (0, b"!"), (end - start - 2, b"")):
            octets = recording.octets[:middle] + put + recording.octets[middle + cut :]
            assert find(octets).options == recording.options, (number, cut, put)


@pytest.mark.parametrize("name", BARE_FRAMES)
def test_damage_in_every_tenth_frame_does_not_hide_it(name: str) -> None:
    recording, source = RECORDINGS[name](Random(11)), Random(3)
    octets = bytearray(recording.octets)
    for start, end in reversed(recording.spans[5::10]):
        at = source.randrange(start, end)
        octets[at : at + source.randrange(2)] = source.randbytes(source.randrange(2))
    finding = find(bytes(octets))
    assert finding.options == recording.options
    got, account = read(bytes(octets), finding.options)
    assert 9 * len(recording.packets) <= 10 * len(got) + 10 and account.missed_frames <= len(recording.spans) // 10 + 1


@pytest.mark.parametrize("has_fecf", [True, False])
@pytest.mark.parametrize(("insert", "control", "ocf"), [(1, 0, 0), (5, 0, 4), (64, 2, 0), (12, 2, 4), (0, 2, 4)])
def test_how_long_an_insert_zone_is(insert: int, control: int, ocf: int, *, has_fecf: bool) -> None:
    source = Random(2)
    packets = pus_packets(60, source)
    frames = [
        aos_frame(
            count, pointer, data, control=source.randbytes(control), insert=source.randbytes(insert),
            ocf=source.randbytes(ocf), has_fecf=has_fecf,
        )
        for count, (pointer, data) in enumerate(packet_zones(packets, 300, b"\xe0"))
    ]  # fmt: skip
    finding = find(b"".join(frames))
    options = finding.options
    assert options.service is Service.AOS and options.frame_octets == len(frames[0])
    # Header control is two octets that nothing tells from an insert zone of two more.
    zones = (options.insert_octets or 0) + 2 * bool(options.has_header_control)
    assert (zones, options.has_ocf, options.has_fecf) == (insert + control, bool(ocf), has_fecf)
    assert any("insert zone" in line for line in finding.evidence) is (insert > 0)
    got, account = read(b"".join(frames), options)
    assert got == packets and account.is_whole


def test_an_insert_zone_before_encapsulation_packets_alone() -> None:
    source = Random(3)
    datagrams = [b"\xea\x00" + (4 + size).to_bytes(2, "big") + bytes(size) for size in (40, 90, 300) * 20]
    zones = packet_zones(datagrams, 300, b"\xe0")
    frames = [aos_frame(count, *zone, insert=source.randbytes(7)) for count, zone in enumerate(zones)]
    options = find(b"".join(frames)).options
    _, account = read(b"".join(frames), options)
    assert account.encapsulated == {2: 60} and account.is_whole


def test_records_that_are_all_alike_have_no_insert_zone() -> None:
    # A head as of AOS, a count, and behind octet 8 + n, for a zone of n octets, what could be a packet that fills them.
    for zone in (3, 12, 40):
        record = bytes(zone) + b"\x00\x00" + b"\x00\x01\xc0\x00\x00\x21" + bytes(34)
        octets = b"".join(b"\x5a\x41" + count.to_bytes(3, "big") + b"\x00" + record for count in range(200))
        assert not find(octets).is_known


@pytest.mark.parametrize("name", BARE_FRAMES)
def test_frames_are_found_if_the_first_is_cut_off_within_its_header(name: str) -> None:
    # Two octets into an AOS header there stands, for as long as counts are low, what could be a TM header.
    recording = RECORDINGS[name](Random(1))
    for cut in (1, 2, 3, 5):
        assert find(recording.octets[cut:]).options == recording.options, cut


@pytest.mark.parametrize(
    ("name", "service", "frame_octets", "coding", "randomizer", "frames", "packets"),
    [
        ("ccsds-rs/snpp_7cadus_2vcids.dat", Service.AOS, 892, "rs(255,223)", "short", 7, 1),
        ("dariol83-ccsds/dumpFile_tm_user_data.hex", Service.TM, 1115, "rs(255,223)", "none", 30, 0),
        ("dariol83-ccsds/dumpFile_aos_1.hex", Service.AOS, 892, "rs(255,223)", "none", 30, 36),
    ],
)
def test_units_of_other_missions(
    name: str, service: Service, frame_octets: int, coding: str, *, randomizer: str, frames: int, packets: int
) -> None:
    octets = vector(name)
    options = find(octets).options
    assert options.form is Form.UNITS
    assert (options.service, options.frame_octets) == (service, frame_octets)
    assert (options.coding, options.randomizer) == (coding, randomizer)
    _, account = read(octets, options)
    assert (account.frames, account.packets) == (frames, packets)
    assert account.coding is not None and account.coding.codewords_uncorrectable == 0
    assert account.classed_octets == len(octets)


def test_frames_of_another_mission_with_gaps() -> None:
    octets = vector("dariol83-ccsds/dumpFile_tm_gap_1.hex")
    options = find(octets).options
    assert (options.form, options.service, options.frame_octets) == (Form.FRAMES, Service.TM, 1115)
    _, account = read(octets, options)
    assert account.missed_frames == 4 and account.broken == 2 and not account.is_whole


@pytest.mark.parametrize(
    ("name", "packets"),
    [
        ("space_packet_parser/J01_G011_LZ_2021-04-09T00-00-00Z_V01.DAT1", 7200),
        ("ccsdspy/hs/apid001/SSAT1_2015-180-00-00-00_2015-180-01-59-58_1_1_sim.tlm", 1448),
        ("ccsdspy/hs/apid010/SSAT1_2015-180-00-00-00_2015-180-00-59-59_10_1_sim.tlm", 3513),
        ("ccsdspy/hs/apid035/SSAT1_2015-180-00-00-00_2015-180-01-59-59_35_1_sim.tlm", 7200),
    ],
)
def test_packets_of_other_missions(name: str, packets: int) -> None:
    octets = vector(name)
    finding = find(octets)
    assert finding.options.form is Form.PACKETS and finding.confidence >= CERTAIN
    _, account = read(octets, finding.options)
    assert account.packets == packets and account.is_whole


def test_another_version_number_must_be_asked_for() -> None:
    octets = vector("ccsdspy/var_length/var_length_packets.bin")
    finding = find(octets)
    assert not finding.is_known
    assert "version number is 1" in finding.evidence[0]
    asked = find(octets, LinkOptions(any_version=True))
    assert asked.options.form is Form.PACKETS
    assert read(octets, asked.options)[1].packets == 10


@pytest.mark.parametrize("lead", [1, 4, 10, 16])
def test_octets_in_front_of_every_packet_are_found(lead: int) -> None:
    source = Random(7)
    packets = plain_packets(400, source, (40, 59, 100))
    octets = b"".join(source.randbytes(lead) + packet for packet in packets)
    finding = find(octets)
    assert (finding.options.form, finding.options.skip_octets) == (Form.PACKETS, lead)
    got, account = read(octets, finding.options)
    assert got == packets
    assert account.is_whole and account.overhead_octets == 400 * lead


def text() -> bytes:
    return b"no packets here, only words. " * 100


NOTHING: dict[str, Callable[[], bytes]] = {
    "no octet": lambda: b"",
    "seven zeros": lambda: bytes(7),
    "a megabyte of zeros": lambda: bytes(1 << 20),
    "fill": lambda: b"\x55" * 10_000,
    "text": text,
    "this file": lambda: Path(__file__).read_bytes(),
    "a table": lambda: b"".join(f"{n},{n * n},{n % 7}\n".encode() for n in range(9000)),
    "noise": lambda: Random(1).randbytes(1 << 19),
    "gzip": lambda: gzip.compress(Random(2).randbytes(60_000)),
    "a program": lambda: Path("/bin/ls").read_bytes(),
    "counting numbers": lambda: b"".join(n.to_bytes(4, "big") for n in range(30_000)),
    "counting records": lambda: b"".join(bytes(6) + n.to_bytes(4, "big") + bytes(6) for n in range(20_000)),
    "larger counting records": lambda: b"".join(bytes(60) + n.to_bytes(4, "big") + bytes(64) for n in range(4000)),
    "the randomizer alone": lambda: randomize_tm(bytes(50_000)),
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_that_we_know_is_not_said_to_be_anything(name: str) -> None:
    octets = NOTHING[name]()
    finding = find(octets)
    assert not finding.is_known, finding.evidence
    assert finding.evidence


def test_the_kind_of_a_file_that_is_known_otherwise_is_said() -> None:
    assert find(NOTHING["gzip"]()).evidence == ("it begins like a gzip file",)
    (line,) = find(text()).evidence
    assert line.startswith(
        'it begins like text ("no packets here,"); if it is a recording all the same, say so with --as'
    )
    assert find(b"\x89PNG\r\n\x1a\n" + Random(1).randbytes(9000)).evidence == ("it begins like a PNG image",)
    assert find(bytes(99)).evidence == ("all octets examined are 0x00",)


def test_units_far_behind_noise_are_found() -> None:
    recording = of_units(pus_packets(80, Random(9)), LinkConfig(coding="rs(255,223)"))
    octets = Random(3).randbytes(700_000) + recording.octets
    options = find(octets).options
    assert options.form is Form.UNITS
    got, account = read(octets, options)
    assert got == list(recording.packets)
    assert account.skipped_octets == 700_000 and not account.is_whole


@pytest.mark.parametrize("shift", [1, 3, 7])
def test_units_at_any_bit_and_inverted(shift: int) -> None:
    recording = of_units(pus_packets(80, Random(9)), LinkConfig(coding="rs(255,223)"))
    shifted = (int.from_bytes(recording.octets, "big") << shift).to_bytes(len(recording.octets) + 1, "big")
    for octets in (shifted, bytes(octet ^ 0xFF for octet in shifted)):
        got, account = read(octets, find(octets).options)
        assert got == list(recording.packets)
        assert account.classed_octets == len(octets)


def test_frames_that_do_not_begin_the_recording_are_found() -> None:
    recording = of_units(pus_packets(150, Random(4)), LinkConfig(coding="frame"))
    octets = recording.octets[333:]
    options = find(octets).options
    assert (options.form, options.frame_octets) == (Form.FRAMES, 1115)
    _, account = read(octets, options)
    assert account.frames == len(recording.spans) - 1
    assert account.refused["alignment"] == 1115 - 333


def test_a_hint_is_kept_and_what_contradicts_it_is_an_alternative() -> None:
    recording = of_units(pus_packets(100, Random(4)), LinkConfig(coding="rs(255,223)"))
    other = find(recording.octets, LinkOptions(form=Form.UNITS, spacecraft_id=5))
    assert other.confidence < CERTAIN
    assert "0 of 19 headers are TM, spacecraft 0x5" in other.evidence
    wrong = find(recording.octets, LinkOptions(form=Form.FRAMES, frame_octets=512))
    assert not wrong.is_known
    assert wrong.alternatives[0].options.form is Form.UNITS


def file_packets() -> list[bytes]:
    """Packets of one length, which chain over frames as well, with the header of a frame in front of each."""
    source = Random(8)
    return plain_packets(400, source, (1097,), apids=(3,))


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        (LinkOptions(spacecraft_id=3), "no frames fit --spacecraft 3; without it: transfer frames of 1,115 octets; "),
        (LinkOptions(frame_octets=500), "no frames fit --frame-octets 500; without it: transfer frames of"),
        (LinkOptions(service=Service.AOS), "no frames fit --service aos; without it: transfer frames of"),
        (LinkOptions(insert_octets=4), "no frames fit --insert-octets 4; without it: transfer frames of"),
        (LinkOptions(has_header_control=True), "no frames fit --header-control; without it: transfer frames of"),
        (LinkOptions(coding="rs(255,223)"), "no units fit --coding rs223; without it: transfer frames of"),
        (LinkOptions(interleave=4), "no units fit --interleave 4; without it: transfer frames of"),
        (LinkOptions(randomizer="short"), "no units fit --randomizer short; without it: transfer frames of"),
        (LinkOptions(convolutional=True), "no units fit --convolutional; without it: transfer frames of"),
        (LinkOptions(skip_octets=4), "no packets fit --skip 4; without it: transfer frames of"),
        (
            LinkOptions(form=Form.FRAMES, frame_octets=500),
            "no frames fit --as frames --frame-octets 500; without them: transfer frames of",
        ),
    ],
    ids=lambda value: " ".join(value.stated()) if isinstance(value, LinkOptions) else "",
)
def test_no_reading_drops_what_was_stated(stated: LinkOptions, said: str) -> None:
    octets = of_units(file_packets(), LinkConfig(coding="frame")).octets
    finding = find(octets, stated)
    assert not finding.is_known
    assert finding.evidence[0].startswith(said)
    assert finding.alternatives[0].options.form is Form.FRAMES


@pytest.mark.parametrize(
    "stated",
    [
        LinkOptions(Form.UNITS, Service.TM, 1115, True, spacecraft_id=0x1AB, vcids=(0, 7), coding="rs(255,223)",
                    interleave=5, randomizer="short", convolutional=True),
        LinkOptions(Form.UNITS, coding="rs(255,239)", convolutional=False),
        LinkOptions(Form.FRAMES, Service.AOS, 512, False, True, 4, True, spacecraft_id=3, coding="none",
                    security_header_octets=6, security_trailer_octets=8),
        LinkOptions(Form.PACKETS, skip_octets=12, any_version=True),
        LinkOptions(Form.ENCAPSULATION),
    ],
    ids=lambda stated: stated.form.value,
)  # fmt: skip
def test_what_was_stated_is_written_as_the_command_line_has_it(stated: LinkOptions) -> None:
    """Messages write options, and the command reads them: two files that know their names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--packets")
    add_link_arguments(parser)
    given = parser.parse_args(" ".join(written(stated)).split(), argparse.Namespace(parser=parser))
    assert link_options(given) == stated


def test_frames_that_were_stated_are_not_found_in_packets() -> None:
    packets = b"".join(pus_packets(100, Random(4)))
    for stated in (LinkOptions(spacecraft_id=3), LinkOptions(vcids=(1,)), LinkOptions(security_header_octets=4)):
        finding = find(packets, stated)
        assert not finding.is_known and finding.alternatives[0].options.form is Form.PACKETS
    # A mission says all that of its link, and the file may hold packets alone.
    assert find(packets, LinkOptions.from_config(LinkConfig()), stated=LinkOptions()).options.form is Form.PACKETS


def test_an_interleave_that_was_stated_is_not_dropped_for_units_without_codewords() -> None:
    octets = of_units(pus_packets(100, Random(4)), LinkConfig(coding="cadu")).octets
    assert find(octets).options.coding == "none"
    assert not find(octets, LinkOptions(interleave=4)).is_known


def test_where_the_first_frame_begins_is_counted_from_the_start_of_the_recording() -> None:
    octets = of_units(pus_packets(150, Random(4)), LinkConfig(coding="frame")).octets
    assert find(octets).evidence[0] == "transfer frames of 1,115 octets"
    assert find(octets[333:]).evidence[0] == "transfer frames of 1,115 octets, the first found at octet 782"
    assert find(bytes(5000) + octets).evidence[0] == "transfer frames of 1,115 octets, the first found at octet 5,000"
    assert find(octets[333:], offset=4 << 20).evidence[0].endswith("the first found at octet 4,195,086")
    # Noise first: a later window begins somewhere among the frames, so nothing can be said of the first.
    later = find(Random(1).randbytes(5 * 111_500) + bytes(9) + octets * 2)
    assert not later.is_known or "the first found at" not in later.evidence[0]


def test_what_to_try_is_said_if_nothing_is_recognised() -> None:
    noise = Random(1).randbytes(1 << 16)
    nothing = "no check confirms any markers, frames or packets"
    (line,) = find(noise).evidence
    assert line == f"{nothing}; if you know what it is, say so with --as, --frame-octets and the like"
    (line,) = find(noise, LinkOptions(vcids=(1, 2))).evidence
    assert line == f"no frames fit --vcid 1 --vcid 2, and without them {nothing}"


@pytest.mark.parametrize("config", [*BARE, LinkConfig(coding="rs(255,223)"), AosConfig(coding="cadu")], ids=str)
def test_what_a_mission_says_of_its_link_fits_it(config: LinkConfig | AosConfig) -> None:
    recording = of_units(pus_packets(80, Random(4)), config)
    finding = find(recording.octets, LinkOptions.from_config(config))
    assert finding.confidence >= CERTAIN
    assert read(recording.octets, finding.options)[0] == list(recording.packets)


def test_units_with_many_wrong_bits_are_found() -> None:
    recording = of_units(pus_packets(200, Random(4)), LinkConfig(coding="rs(255,223)"))
    source, octets = Random(6), bytearray(recording.octets)
    for _ in range(8 * len(octets) // 500):
        octets[source.randrange(len(octets))] ^= 1 << source.randrange(8)
    got, account = read(bytes(octets), find(bytes(octets)).options)
    assert got == list(recording.packets)
    assert account.coding is not None and account.coding.symbols_corrected > 700 and account.is_whole


def test_a_few_packets_that_fill_the_file_are_packets() -> None:
    packets = pus_packets(3, Random(1))
    finding = find(b"".join(packets))
    assert finding.options.form is Form.PACKETS and finding.confidence >= CERTAIN
    assert read(b"".join(packets), finding.options)[0] == packets


def test_packets_that_do_not_count_are_found() -> None:
    data = [Random(n).randbytes(50 + n % 9) for n in range(100)]
    packets = [bytes(encode_packets([one], 33, 0)) for one in data]
    octets = b"".join(packets)
    finding = find(octets)
    assert finding.options.form is Form.PACKETS
    got, account = read(octets, finding.options)
    assert got == packets
    assert account.missing_packets == 0
