"""No octet of any checksum may be left out of the comparison: every wrong value is refused, wherever one is checked.

A frame whose check looks at half of its 16 bits passes every test that spoils one bit of the frame; it lets one
spoilt frame in 256 through. So the field itself takes every value that it can, 65,535 wrong ones of 16 bits, or of 32
bits every value of each octet, and the one right value alone is taken.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from flight.contract.dictionary import Setting
from flight.contract.parameter_table import decode_table, encode_table
from flight.core.errors import DecodeError
from flight.core.nanoseconds import ns
from flight.kernels import AosLink, BatchExtractor, TmLink, Verdict, crc16, crc16_units
from flight.link.cfdp.checksums import CHECKSUMS, CRC32, CRC32C, MODULAR
from flight.link.cfdp.file_data import FileData
from flight.link.cfdp.header import Header, TransactionId
from flight.link.cfdp.pdu import decode_pdu
from flight.link.cfdp.transactions.indications import FileComplete
from flight.link.pus import PusTc, PusTm
from flight.link.tc.tc_frame import TcFrame
from flight.link.tm.aos_frame import AosFormat, AosFrame
from flight.link.tm.tm_frame import TmFrame
from flight.services.files.completion import _Check
from flight.services.recorder.packet_store import PacketStore, StoreConfig
from flight.store.files.refusal import FileRefused
from flight.store.generations import Generations
from flight.store.journal import Journal
from flight.store.segments import HEAD_OCTETS
from ground.files.file_check import check_file
from ground.files.working_file import WorkingFile
from hal.board_wire import BoardFrame, Kind, WireError, cobs_decode, cobs_encode
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop

AOS = AosFormat(0x1AB, 32)
SETTINGS = tuple(Setting(number, name, "", 0.0, 0.0, 9.0, "") for number, name in enumerate("ab", 1))


def board_decode(raw: bytes) -> object:
    return BoardFrame.decode(cobs_encode(raw))


SIXTEEN: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "TC frame": (TcFrame(0x1AB, 0, 7, b"command").encode(), TcFrame.decode),
    "TM frame": (TmFrame(0x1AB, 0, 1, 2, 0, bytes(8), bytes(4)).encode(20), lambda raw: TmFrame.decode(raw, 20)),
    "AOS frame": (
        AosFrame(0x1AB, 1, 5, 0, bytes(AOS.data_octets), bytes(4)).encode(AOS),
        lambda raw: AosFrame.decode(raw, AOS),
    ),
    "telecommand packet": (PusTc(1, 2, 17, 1, b"").encode(), PusTc.decode),
    "telemetry packet": (PusTm(1, 2, 17, 2, b"data", 10**18).encode(), PusTm.decode),
    "PDU with CRC": (FileData(Header(TransactionId(1, 2), 3, crc=True), 0, b"content").encode(), decode_pdu),
    "frame of a board": (cobs_decode(BoardFrame(Kind(1), 5, b"body").encode().strip(b"\0")), board_decode),
}


def each_octet_of(field: bytes) -> Iterator[bytes]:
    """The field with one octet changed, to every other value."""
    for at, was in enumerate(field):
        for octet in range(256):
            if octet != was:
                yield field[:at] + bytes((octet,)) + field[at + 1 :]


@pytest.mark.parametrize("name", SIXTEEN)
def test_every_wrong_value_of_sixteen_bits_is_refused(name: str) -> None:
    good, decode = SIXTEEN[name]
    decode(good)
    body, right = good[:-2], int.from_bytes(good[-2:], "big")
    taken = []
    for wrong in range(1 << 16):
        try:
            decode(body + wrong.to_bytes(2, "big"))
        except (DecodeError, WireError):
            continue
        taken.append(wrong)
    assert taken == [right]


@pytest.mark.parametrize("name", SIXTEEN)
def test_every_flipped_bit_is_noticed(name: str) -> None:
    """One of the length field or of the version is refused for that; all others for the checksum. But for the flag
    that says whether a PDU has one.
    """
    good, decode = SIXTEEN[name]
    for bit in range(8 * len(good)):
        if (name, bit) == ("PDU with CRC", 6):
            continue
        spoilt = bytearray(good)
        spoilt[bit // 8] ^= 0x80 >> bit % 8
        with pytest.raises((DecodeError, WireError)):
            decode(bytes(spoilt))


@pytest.mark.parametrize("kind", ["TM", "AOS"])
def test_batches_of_frames_take_the_one_right_value(kind: str) -> None:
    good = SIXTEEN[f"{kind} frame"][0]
    link: TmLink | AosLink = TmLink(20) if kind == "TM" else AosLink(32, has_fecf=True, has_ocf=True)
    every = b"".join(good[:-2] + wrong.to_bytes(2, "big") for wrong in range(1 << 16))
    frames, _ = BatchExtractor(link).extract(every)
    refused = [verdict == Verdict.CRC for verdict in frames.verdict]
    assert refused.index(False) == int.from_bytes(good[-2:], "big") and refused.count(False) == 1
    residues = crc16_units(every, 1 << 16, len(good))
    assert [residue == 0 for residue in residues] == [not one for one in refused]


@pytest.mark.parametrize("kind", [CRC32, CRC32C, MODULAR])
def test_a_file_is_kept_with_its_own_checksum_alone(kind: int, tmp_path: Path) -> None:
    """At either end: ours of the ground reads the file in slices, that of the node sees it go by in blocks."""
    content = bytes(range(200))
    right = CHECKSUMS[kind].of(content).to_bytes(4, "big")
    working = WorkingFile(tmp_path / "file", None)
    working.write(0, content)

    def on_ground(checksum: bytes) -> bool:
        slices = check_file(working, len(content), kind, int.from_bytes(checksum, "big"))
        with pytest.raises(StopIteration) as ended:
            next(slices)
        return not ended.value.value.fault

    def on_board(checksum: bytes) -> bool:
        complete = FileComplete(TransactionId(1, 2), "f", len(content), kind, int.from_bytes(checksum, "big"))
        check = _Check(complete, lambda: False)
        try:
            for at in range(0, len(content), 64):
                check.add(content[at : at + 64])
        except FileRefused:
            return False
        return True

    for keeps in (on_ground, on_board):
        assert keeps(right)
        assert not any(keeps(wrong) for wrong in each_octet_of(right))


@pytest.mark.parametrize("kind", [CRC32, MODULAR])
def test_without_metadata_either_checksum_may_be_meant(kind: int, tmp_path: Path) -> None:
    working = WorkingFile(tmp_path / "file", None)
    working.write(0, b"content")
    for checksum, fault in ((CHECKSUMS[kind].of(b"content"), ""), (1, "checksum mismatch")):
        with pytest.raises(StopIteration) as ended:
            next(check_file(working, 7, None, checksum))
        assert ended.value.value.fault == fault


def test_a_parameter_table_with_any_other_checksum_is_refused() -> None:
    good = encode_table(SETTINGS, {"a": 1.0, "b": 2.0})
    assert decode_table(good, SETTINGS) == {"a": 1.0, "b": 2.0}
    assert int.from_bytes(good[-4:], "big") == zlib.crc32(good[:-4])
    for wrong in each_octet_of(good[-4:]):
        with pytest.raises(DecodeError, match="CRC-32"):
            decode_table(good[:-4] + wrong, SETTINGS)


def test_every_flipped_bit_of_a_generation_gives_way_to_the_other() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    record = Generations(disk.boot(loop), "p")
    for content in (b"one", b"two"):
        record.save(content)
    loop.run_until(ns(1))
    newest = next(name for name, raw in disk.durable.items() if raw.endswith(b"two"))
    good = disk.durable[newest]
    for bit in range(8 * len(good)):
        disk.durable[newest] = flip(good, bit)
        again = Generations(disk.boot(VirtualLoop()), "p")
        assert (again.load(), again.damaged) == (b"one", 1), f"bit {bit} of the newer generation"


def test_every_flipped_bit_of_a_journal_record_costs_that_record() -> None:
    """Of its length, its checksum and its content alike."""
    loop, disk = VirtualLoop(), Disk(Random(1))
    journal = Journal(disk.boot(loop), "j")
    records = [b"first one", b"second one", b"third one"]
    ends = []
    for record in records:
        journal.append(record)
        ends.append(journal.octets)
    journal.sync()
    loop.run_until(ns(1))
    good = disk.durable["j.00000000"]
    assert len(good) == ends[-1] and ends[0] > HEAD_OCTETS
    for bit in range(8 * ends[0], 8 * ends[1]):
        disk.durable["j.00000000"] = flip(good, bit)
        again = Journal(disk.boot(VirtualLoop()), "j")
        assert [content for _, content in again.read()] == [records[0], records[2]], f"bit {bit}"
        assert (again.stats.damaged, again.stats.missing) == (1, 1)


def test_the_time_of_a_damaged_packet_is_not_taken_for_that_of_its_segment() -> None:
    """Retrieval by time looks at the first packet of a segment, which nothing but its own checksum holds there."""
    loop, disk = VirtualLoop(), Disk(Random(1))
    config = StoreConfig("s", capacity_octets=64_000, priority=0)
    store = PacketStore(disk.boot(loop), config)
    packet = PusTm(1, 2, 17, 2, b"data", 10**18).encode()
    assert store.store(packet, heard=False)
    at = store.octets  # the place of the second packet, which is sound and keeps the segment
    assert store.store(packet, heard=False)
    (segment,) = store.journal.segments
    assert store._peek(segment) == pytest.approx(10**18, abs=20_000)  # noqa: SLF001 - the time that a segment begins with
    store._storage.sync()  # noqa: SLF001 - as the recorder's task does
    loop.run_until(ns(1))
    name = f"recorder.s.{segment.index:08d}"
    good = disk.durable[name]
    assert good[:at].endswith(packet)
    tried = 0
    for wrong in range(1 << 16):
        residue = crc16(packet[:-2] + wrong.to_bytes(2, "big"))
        if residue == 0 or (residue & 0xFF and residue >> 8):
            continue  # the right one, and those that half a comparison refuses as well
        disk.durable[name] = good[: at - 2] + wrong.to_bytes(2, "big") + good[at:]
        assert PacketStore(disk.boot(VirtualLoop()), config)._peek(segment) is None  # noqa: SLF001 - the time that a segment begins with
        tried += 1
    assert tried == 2 * 255


def flip(octets: bytes, bit: int) -> bytes:
    spoilt = bytearray(octets)
    spoilt[bit // 8] ^= 0x80 >> bit % 8
    return bytes(spoilt)
