"""Octets that others published: Yamcs, dariol83/ccsds, spacepackets' own samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flight.core.errors import DecodeError
from flight.kernels import ErrorMode, crc16
from flight.link.cfdp.checksums import CHECKSUMS, MODULAR
from flight.link.cfdp.directives import Finished, Prompt
from flight.link.cfdp.pdu import decode_pdu
from flight.link.coding.cltu import CltuReceiver, decode_cltu, encode_cltu
from flight.link.tc.tc_frame import FECF_OCTETS, TcFrame
from flight.link.tm.extract import PacketExtractor
from flight.link.tm.tm_frame import IDLE_DATA, FrameError, TmFrame

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"
MARKER = bytes.fromhex("1acffc1d")


def path_of(name: str) -> Path:
    path = VECTORS / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return path


@pytest.fixture
def yamcs() -> dict[str, Any]:
    vectors: dict[str, Any] = json.loads(path_of("yamcs/yamcs_test_hex.json").read_text())
    return vectors


def dump(name: str) -> list[bytes]:
    lines = path_of(f"dariol83-ccsds/dumpFile_{name}.hex").read_text().split()
    return [bytes.fromhex(line).removeprefix(MARKER) for line in lines]


def test_crc_of_yamcs(yamcs: dict[str, Any]) -> None:
    data = bytes.fromhex(yamcs["CrcCciitCalculatorTest.java::test1"]["byte_arrays"][0])
    assert crc16(data) == 0x75FB


def test_cltu_of_yamcs_both_ways(yamcs: dict[str, Any]) -> None:
    frame = bytes.fromhex(yamcs["BchCltuGeneratorTest.java::TC_FRAME_01"])
    cltu = bytes.fromhex(yamcs["BchCltuGeneratorTest.java::CLTU_01"])
    assert (len(frame), len(cltu)) == (256, 306)
    assert encode_cltu(frame) == cltu
    assert decode_cltu(cltu) == decode_cltu(cltu, ErrorMode.TED) == frame + b"\x55" * 3
    receiver = CltuReceiver()
    assert [unit for octet in cltu for unit in receiver.feed(bytes((octet,)))] == [frame + b"\x55" * 3]


def test_tc_frame_of_yamcs_both_ways(yamcs: dict[str, Any]) -> None:
    raw = bytes.fromhex(yamcs["BchCltuGeneratorTest.java::TC_FRAME_01"])
    frame = TcFrame.decode(raw)
    assert (frame.spacecraft_id, frame.vcid, frame.seq, frame.bypass, frame.control) == (0x2F6, 0, 0, True, False)
    assert frame.encode() == raw


def test_aos_frame_of_yamcs_is_foreign_here(yamcs: dict[str, Any]) -> None:
    raw = bytes.fromhex(yamcs["PacketDecoderTest.java::test1"]["hex"][0])
    with pytest.raises(FrameError) as caught:
        TmFrame.decode(raw, len(raw), has_fecf=False)
    assert caught.value.reason == "version"


def test_modular_checksum_of_yamcs(yamcs: dict[str, Any]) -> None:
    data = bytes.fromhex(yamcs["ChecksumTest.java::test1"]["hex"][0])
    assert CHECKSUMS[MODULAR].of(data) == 0x181C2015


def test_eof_of_an_old_cfdp_version_is_refused(yamcs: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match="version 0"):
        decode_pdu(bytes.fromhex(yamcs["PacketParseTest.java::testEofPDU1"]["hex"][0]))


def test_class_2_pdus_of_spacepackets_are_read_and_beginnings_of_pdus_are_refused() -> None:
    samples = json.loads(path_of("us-irs/us_irs_test_hex.json").read_text())
    read, refused = set(), set()
    for name, texts in samples.items():
        if "/pdus/" in name:
            try:
                read.add(type(decode_pdu(bytes.fromhex(texts[0]))))
            except DecodeError as error:
                refused.add(str(error))
    assert read == {Finished, Prompt}
    assert len(refused) == 5 and all("header says" in text for text in refused)


def test_tm_frames_of_dariol83_keep_their_counts() -> None:
    frames = dump("tm_user_data")
    assert {len(raw) for raw in frames} == {5 * 255}
    extractor = PacketExtractor()
    for index, raw in enumerate(frames):
        frame = TmFrame.decode(raw[:1115], 1115, has_fecf=False)
        assert (frame.spacecraft_id, frame.master_count) == (0x7B, index)
        assert frame.vcid == (0, 1, 7)[index % 3]
        assert (frame.first_header_pointer == IDLE_DATA) == (frame.vcid == 7)
        assert frame.ocf == bytes.fromhex("00044479")
        assert extractor.take(frame) == (0, [])
    assert extractor.master_missed == 0


def test_gaps_of_dariol83_are_reported_to_the_frame() -> None:
    extractor = PacketExtractor()
    gaps, lengths = {}, []
    for raw in dump("tm_gap_1"):
        frame = TmFrame.decode(raw, 1115, has_fecf=False)
        missed, packets = extractor.take(frame)
        if missed:
            gaps[frame.vc_count] = missed
        lengths += [len(packet) for packet in packets]
    # The frames that are not in the file: 4, 7, 9 and 10.
    assert gaps == {5: 1, 8: 1, 11: 2}
    assert extractor.master_missed == 4
    assert lengths == [1085, 605, 406, 1104, 2205]
    assert extractor.channels[0].inconsistent == 0


def test_tc_frames_of_dariol83_but_for_their_missing_error_control() -> None:
    for seq, raw in enumerate(dump("tc_plain_1")):
        with pytest.raises(DecodeError, match="error control"):
            TcFrame.decode(raw)
        ours = TcFrame(0x7B, 0, seq, raw[5:]).encode()
        length = ((raw[2] & 3) << 8 | raw[3]) + FECF_OCTETS
        assert ours[:2] == raw[:2]
        assert ours[2:4] == (raw[2] << 8 & 0xFC00 | length).to_bytes(2, "big")
        assert ours[4:-FECF_OCTETS] == raw[4:]
        assert TcFrame.decode(ours).data == raw[5:]
