"""Recordings of protected links: authenticated frames are read as any others, encrypted ones known as such."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random

import pytest

from flight.kernels import crc16
from flight.link.aos_stack import AosConfig
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import MISSIONS
from ground.recording.detection.detect import find
from ground.recording.detection.finding import CERTAIN
from ground.recording.detection.security_evidence import ENCRYPTED
from ground.recording.recording import decode
from ground.recording.streams.link_options import Form, LinkOptions
from tests.command_line import command_line
from tests.recording_damage import pus_packets, read
from tests.recordings import aos_frame, packet_zones, recorded_units

CONFIGS = [
    config(coding=coding, **keys)
    for (config, keys), coding in product(
        ((LinkConfig, {}), (AosConfig, {}), (AosConfig, {"frame_octets": 512})), ("frame", "cadu", "rs(255,223)")
    )
    if "rs" not in coding or not keys
]


@pytest.fixture
def packets() -> list[bytes]:
    return pus_packets(80, Random(5))


@pytest.mark.parametrize("has_gap", [False, True])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_authenticated_frames_need_no_options(
    config: LinkConfig | AosConfig, packets: list[bytes], *, has_gap: bool
) -> None:
    config = replace(config, downlink_security="authenticated")
    units = recorded_units(packets, config)
    finding = find(b"".join(units[:5] + units[5 + 3 * has_gap :]))
    assert finding.confidence >= CERTAIN
    assert (finding.options.security_header_octets, finding.options.security_trailer_octets) == (10, 16)
    assert not finding.options.insert_octets and not finding.options.is_encrypted
    assert any("a security header of 10 octets" in line for line in finding.evidence)
    if not has_gap:
        got, account = read(b"".join(units), finding.options)
        assert got == packets and account.is_whole


@pytest.mark.parametrize("says", [False, True])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_encrypted_frames_are_counted_and_refused(
    config: LinkConfig | AosConfig, packets: list[bytes], *, says: bool
) -> None:
    """says: a mission says what the link is."""
    config = replace(config, downlink_security="encrypted")
    octets = b"".join(units := recorded_units(packets, config))
    finding = find(octets, LinkOptions.from_config(config) if says else None, stated=LinkOptions())
    assert finding.confidence >= CERTAIN and finding.options.is_encrypted and ENCRYPTED in finding.evidence
    got, account = read(octets, finding.options)
    assert not got and account.frames == len(units) and account.missed_frames == 0
    assert account.refused == {"encrypted": len(octets)} and account.classed_octets == len(octets)


@pytest.mark.parametrize("security", ["authenticated", "encrypted"])
def test_lost_and_damaged_units_of_a_protected_link_add_up(packets: list[bytes], security: str) -> None:
    units = recorded_units(packets, LinkConfig(coding="rs(255,223)", downlink_security=security))
    del units[7]
    units[12] = units[12][:100] + bytes(500) + units[12][600:]
    octets = b"noise" + b"".join(units)[:-300]
    got, account = read(octets, find(octets).options)
    assert account.classed_octets == account.octets == len(octets)
    assert account.missed_frames == 2 and bool(got) == (security == "authenticated")


@pytest.mark.parametrize("config", [LinkConfig(), AosConfig()], ids=str)
def test_what_a_mission_says_of_a_protected_link_fits_it(config: LinkConfig, packets: list[bytes]) -> None:
    for security in ("authenticated", "encrypted"):
        config = replace(config, downlink_security=security)
        octets = b"".join(recorded_units(packets[:2], config))  # too few frames to tell by
        options = LinkOptions.from_config(config, Form.UNITS)
        assert find(octets, options).options == replace(options, joins_segments=True, interleave=None)


def test_an_iv_before_data_in_clear_is_read(packets: list[bytes]) -> None:
    """As of a mission that authenticates with AES-GCM and encrypts nothing, with header control and a control field."""
    frames = [
        aos_frame(
            count, pointer, data + Random(count).randbytes(16), control=b"cc", ocf=b"ocf.",
            insert=b"\0\x03" + (500 + count).to_bytes(12, "big"),
        )
        for count, (pointer, data) in enumerate(packet_zones(packets, 300, b"\xe0"))
    ]  # fmt: skip
    options = find(b"".join(frames)).options
    assert (options.security_header_octets, options.security_trailer_octets) == (14, 16) and not options.is_encrypted
    got, account = read(b"".join(frames), options)
    assert got == packets and account.is_whole


def test_frames_that_hold_other_things_than_packets_are_not_taken_for_protected() -> None:
    for data in (lambda count: count.to_bytes(2, "big") * 30, lambda count: Random(count).randbytes(60)):
        frames = b""
        for count in range(80):
            frame = b"\x1a\xb0" + bytes([count, count]) + b"\x18\0" + data(count)
            frames += frame + crc16(frame).to_bytes(2, "big")
        found = find(frames)
        readings = [found, *found.alternatives]
        assert not any(one.options.security_header_octets or one.options.is_encrypted for one in readings)


def test_the_command_says_what_an_encrypted_recording_is(tmp_path: Path, packets: list[bytes]) -> None:
    config = LinkConfig(coding="rs(255,223)", downlink_security="encrypted")
    file = tmp_path / "a.tm"
    file.write_bytes(b"".join(recorded_units(packets, config)))
    code, out, err = command_line("decode", str(file))
    assert (code, err) == (1, "")
    for line in ("a security header of 14 octets that counts the frames", ENCRYPTED, "octets refused: encrypted"):
        assert line in out


def test_the_default_mission_is_read_from_what_it_sends(tmp_path: Path, packets: list[bytes]) -> None:
    """Its own link is authenticated, so that anybody may read what `orbitnode run` records."""
    from flight.mission import load

    (link,) = load(MISSIONS / "orbit.toml", opens_devices=False).links
    assert isinstance(link.config, LinkConfig)
    file = tmp_path / "downlink.tm"
    file.write_bytes(b"".join(recorded_units(packets, link.config)))
    for how in ({}, {"mission": MISSIONS / "orbit.toml"}):
        account = decode(file, **how).account
        assert account["packets"] == len(packets) and account["link"]["security_header_octets"] == 10
