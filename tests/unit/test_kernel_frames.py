"""Batches of frames: secondary headers, restarts, marks, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from flight.kernels import AosLink, BatchExtractor, KernelError, TmLink, Verdict, crc16, encode_packets
from flight.kernels._kernels import ffi, lib
from flight.link.tm.downlink import Multiplexer
from flight.link.tm.tm_frame import TmFormat, TmFrame, data_octets

OCTETS = 64
LINK = TmLink(OCTETS, 0x1AB)


def frames(count: int, packet_octets: int = 90) -> list[bytes]:
    """One channel's frames, each full of packets."""
    multiplexer = Multiplexer(TmFormat(0x1AB, OCTETS), (0,), 7, 10_000, 10**8)
    for seq in range(count * OCTETS // packet_octets + 2):
        multiplexer.channels[0].queue(bytes(encode_packets([bytes((seq & 0xFF,)) * (packet_octets - 6)], 5, seq)))
    return [multiplexer.next_frame(b"ocf.") for _ in range(count)]


def reframed(frame: bytes) -> bytes:
    return frame[:-2] + crc16(frame[:-2]).to_bytes(2, "big")


def test_columns_of_frames_and_packets() -> None:
    batch = frames(5)
    columns, packets = BatchExtractor(LINK).extract(b"".join(batch))
    assert columns.vc_count.tolist() == columns.master_count.tolist() == [0, 1, 2, 3, 4]
    assert columns.vcid.tolist() == columns.missed.tolist() == columns.verdict.tolist() == [0] * 5
    assert packets.seq.tolist() == list(range(len(packets)))
    assert packets.frame.tolist() == [(90 * (i + 1) - 1) // data_octets(OCTETS) for i in range(len(packets))]
    assert set(packets.length) == {90} and set(packets.apid) == {5} and set(packets.flags) == {3}
    assert [packet.tobytes() for packet in packets] == [packets[i].tobytes() for i in range(len(packets))]
    offset = np.asarray(packets.offset)
    assert np.shares_memory(offset, np.asarray(packets.offset)) and offset.dtype == np.uint64
    with pytest.raises(IndexError):
        packets[len(packets)]


def test_a_batch_goes_on_where_the_last_ended() -> None:
    batch = frames(40)
    _, whole = BatchExtractor(LINK).extract(b"".join(batch))
    extractor = BatchExtractor(LINK)
    parts = [extractor.extract(frame)[1].octets.tobytes() for frame in batch]
    assert b"".join(parts) == whole.octets
    assert extractor.verdicts[Verdict.GOOD] == 40


def test_a_packet_of_the_greatest_length_over_many_frames() -> None:
    packet = bytes(encode_packets([bytes(range(256)) * 256], 5))
    multiplexer = Multiplexer(TmFormat(0x1AB, OCTETS), (0,), 7, 10, 10**6)
    multiplexer.channels[0].queue(packet)
    extractor = BatchExtractor(LINK)
    got = b""
    while multiplexer.has_packets():
        got += extractor.extract(multiplexer.next_frame(b"ocf."))[1].octets
    assert got == packet


def test_secondary_headers_are_passed_over() -> None:
    room = OCTETS - 6 - 2
    packet = bytes(encode_packets([b"d" * (room - 5 - 6)], 5))
    raw = TmFrame(0x1AB, 0, 0, 0, 0, bytes((4,)) + b"head" + packet, None).encode(OCTETS)
    with_flag = reframed(raw[:4] + bytes((raw[4] | 0x80,)) + raw[5:])
    extractor = BatchExtractor(LINK)
    assert extractor.extract(with_flag)[1].octets == packet
    other_version = reframed(with_flag[:6] + bytes((0x44,)) + with_flag[7:])
    assert extractor.extract(other_version)[0].verdict.tolist() == [Verdict.STATUS]
    no_data = reframed(with_flag[:6] + bytes((0x3F,)) + with_flag[7:])
    assert extractor.extract(no_data)[0].verdict.tolist() == [Verdict.LENGTH]
    just_none = reframed(with_flag[:6] + bytes((room - 1,)) + with_flag[7:])
    assert extractor.extract(just_none)[0].verdict.tolist() == [Verdict.LENGTH]
    assert extractor.verdicts == {
        **dict.fromkeys(Verdict, 0), Verdict.GOOD: 1, Verdict.STATUS: 1, Verdict.LENGTH: 2,
    }  # fmt: skip


def test_marked_frames_change_nothing_but_their_counter() -> None:
    batch = frames(8)
    extractor = BatchExtractor(LINK)
    columns, packets = extractor.extract(b"".join(batch), marks=bytes((0, 0, 1, 255, 0, 0, 0, 0)))
    assert columns.verdict.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert columns.missed.tolist() == [0, 0, 0, 0, 2, 0, 0, 0]
    assert columns.vc_count.tolist() == list(range(8))
    assert extractor.channels[0].broken == 1 and extractor.channels[0].missed == extractor.master_missed == 2
    assert packets.seq.tolist() == [0, 3]


def test_restart_forgets_counts_and_packets_in_hand() -> None:
    batch = frames(40)
    extractor = BatchExtractor(LINK)
    extractor.extract(b"".join(batch[:21]))
    assert extractor._link.hand_octets > 0  # noqa: SLF001 - a bound on what is kept
    extractor.restart()
    assert extractor._link.hand_octets == 0  # noqa: SLF001 - a bound on what is kept
    columns, packets = extractor.extract(batch[0] + batch[1])
    assert columns.missed.tolist() == [0, 0] and packets.seq.tolist() == [0]
    assert (extractor.channels[0].broken, extractor.channels[0].frames, extractor.master_missed) == (1, 23, 0)


def test_aos_idle_channel_is_taken_and_not_watched_for_gaps() -> None:
    def frame(vcid: int, count: int, spacecraft: int = 157) -> bytes:
        return (1 << 14 | spacecraft << 6 | vcid).to_bytes(2, "big") + count.to_bytes(3, "big") + bytes(11)

    extractor = BatchExtractor(AosLink(16, 157, (6,)))
    batch = [frame(63, 5), frame(63, 900), frame(6, 1), frame(7, 1), frame(63, 0, 9)]
    columns, packets = extractor.extract(b"".join(batch))
    assert columns.verdict.tolist() == [0, 0, 0, Verdict.VCID, Verdict.SPACECRAFT]
    assert columns.missed.tolist() == [0] * 5 and len(packets) == 1
    assert sorted(extractor.channels) == [6, 63]


@pytest.mark.parametrize(
    "link",
    [
        TmLink(64, 1024), TmLink(64, -1), TmLink(64, 1, (8,)), TmLink(64, 1, (-1,)), TmLink(0), TmLink(-5), TmLink(12),
        TmLink(65537), AosLink(64, 1, (64,)), AosLink(8), AosLink(14, has_fecf=True, has_ocf=True),
        AosLink(64, insert_octets=56), AosLink(64, insert_octets=70_000), AosLink(64, insert_octets=-1),
    ],
)  # fmt: skip
def test_links_without_meaning_are_refused(link: TmLink | AosLink) -> None:
    with pytest.raises(ValueError):
        BatchExtractor(link)


def test_buffers_that_do_not_fit_are_refused() -> None:
    extractor = BatchExtractor(LINK)
    for octets, stride in ((63, None), (65, None), (64 + 100 + 1, 100), (64, 63), (64, 0), (64, -1), (1, 100)):
        with pytest.raises(KernelError):
            extractor.extract(bytes(octets), stride=stride)
    with pytest.raises(ValueError, match="marks has 2 octets, should have one per frame, 1"):
        extractor.extract(bytes(64), marks=b"\0\0")
    assert len(extractor.extract(bytes(64 + 100), stride=100)[0]) == 2
    assert len(extractor.extract(bytes(200), stride=100)[0]) == 2
    assert len(extractor.extract(b"")[0]) == 0


def test_the_kernel_refuses_room_in_which_it_could_not_go_on() -> None:
    extractor = BatchExtractor(LINK)
    array, result = ffi.typeof("uint8_t[]"), ffi.new("ob_extraction *")
    block = bytearray(1 << 17)

    def call(columns: int = 11, out: int = 65542 + 64, packets_max: int = 10, skip: int = 0, count: int = 1) -> int:
        room = ffi.from_buffer(array, memoryview(block)[skip:])
        packet_columns = ffi.from_buffer(array, bytearray(22 * 10))
        return lib.ob_extract_packets(
            extractor._link, extractor._channels, 8, bytes(64), 64, count, 64, ffi.NULL, room, columns,  # noqa: SLF001 - the kernel's own arguments
            ffi.from_buffer(array, bytearray(out)), out, packet_columns, 22 * 10, packets_max, result,
        )  # fmt: skip

    assert call() == 1
    assert call(columns=10) == call(out=65542 + 63) == call(packets_max=9) == call(packets_max=11) == lib.OB_E_SPACE
    assert call(skip=1) == lib.OB_E_ALIGNMENT
    assert call(count=2, columns=22) == lib.OB_E_LAYOUT


def test_frames_of_the_live_path_have_room_for_data() -> None:
    assert data_octets(13) == 1
    assert BatchExtractor(TmLink(13)).extract(bytes(13))[0].verdict.tolist() == [Verdict.CRC]
