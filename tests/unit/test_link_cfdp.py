"""CFDP class 1: whole files, lost, repeated and reordered PDUs, and senders that lie."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest

from flight.core.nanoseconds import NS
from flight.link.cfdp.class1_pdu import (
    CHECKSUM_CRC32,
    CHECKSUM_MODULAR,
    CHECKSUMS,
    EndOfFile,
    FileData,
    Metadata,
    Pdu,
    TransactionId,
    checksum_modular,
    decode_pdu,
    encode_pdu,
)
from flight.link.cfdp.transfers import (
    CfdpConfig,
    CfdpReceiver,
    CfdpSender,
    FileAction,
    FileIncomplete,
    FileReceived,
    PdusIgnored,
)

DATA = bytes(range(256)) * 4
ID = TransactionId(0x1AB, 7)


def pdus_of(data: bytes = DATA, number: int = 7, segment: int = 100) -> list[bytes]:
    sender = CfdpSender(0x1AB, 1, number, "mask.bin", data, segment)
    states = [sender.done]
    pdus = list(itertools.islice(iter(sender.next_pdu, None), sender.pdus + 1))
    states.append(sender.done)
    assert states == [False, True] and sender.remaining_octets == 0
    assert len(pdus) == sender.pdus
    return pdus


def feed(receiver: CfdpReceiver, pdus: list[bytes], now_ns: int = 0) -> list[FileAction]:
    return [action for pdu in pdus for action in receiver.on_pdu(pdu, now_ns)]


def incomplete(action: FileAction) -> FileIncomplete:
    assert isinstance(action, FileIncomplete)
    return action


def data_of(action: FileAction) -> bytes:
    """The file with zeros for what is missing."""
    if isinstance(action, FileReceived):
        return action.data
    made = bytearray(action.octets)
    for place, piece in action.pieces:
        made[place : place + len(piece)] = piece
    return bytes(made)


WHOLE = FileReceived(ID, "mask.bin", DATA)


def test_whole_file() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    assert feed(receiver, pdus_of()) == [WHOLE]
    assert (receiver.open, receiver.next_time_ns) == (0, None)
    assert receiver.counters.files_received == 1


def test_empty_file() -> None:
    assert feed(CfdpReceiver(CfdpConfig()), pdus_of(b"")) == [FileReceived(ID, "mask.bin", b"")]


def test_every_order_of_a_short_transaction() -> None:
    for pdus in itertools.permutations(pdus_of(DATA[:250])):
        assert feed(CfdpReceiver(CfdpConfig()), list(pdus)) == [FileReceived(ID, "mask.bin", DATA[:250])]


def test_everything_twice() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    pdus = [pdu for pdu in pdus_of() for _ in range(2)]
    assert feed(receiver, pdus) == [WHOLE]
    # The second EOF finds the transaction ended.
    assert (receiver.counters.repeated, receiver.counters.late) == (12, 1)
    assert feed(receiver, pdus_of()) == []


def test_lost_segments_are_listed() -> None:
    receiver = CfdpReceiver(CfdpConfig(late_s=5.0))
    pdus = pdus_of()
    assert feed(receiver, pdus[:3] + pdus[4:6] + pdus[8:]) == []
    assert receiver.next_time_ns == 5 * NS
    assert receiver.on_time(5 * NS - 1) == []
    (file,) = receiver.on_time(5 * NS)
    assert isinstance(file, FileIncomplete)
    assert (file.missing, file.reason, file.name) == (((200, 300), (500, 700)), "octets missing", "mask.bin")
    want = bytearray(DATA)
    want[200:300], want[500:700] = bytes(100), bytes(200)
    assert data_of(file) == want and file.octets_here == 724
    assert (receiver.counters.files_incomplete, receiver.counters.octets_missing) == (1, 300)


def test_late_segment_completes_the_file() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    pdus = pdus_of()
    assert feed(receiver, pdus[:3] + pdus[4:]) == []
    assert feed(receiver, [pdus[3]], NS) == [WHOLE]


def test_lost_end_of_the_file_is_missing_too() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    pdus = pdus_of()
    feed(receiver, pdus[:5] + pdus[-1:])
    (file,) = receiver.on_time(10 * NS)
    assert incomplete(file).missing == ((400, 1024),)
    assert incomplete(file).octets == 1024 and incomplete(file).pieces == ((0, DATA[:400]),)


def test_lost_metadata_gives_the_file_under_its_number() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    assert feed(receiver, pdus_of()[1:]) == []
    assert receiver.on_time(10 * NS) == [FileReceived(ID, "transaction-427-7", DATA)]


def test_lost_eof_ends_by_inactivity() -> None:
    receiver = CfdpReceiver(CfdpConfig(inactivity_s=100.0))
    assert feed(receiver, pdus_of()[:-1]) == []
    assert receiver.on_time(99 * NS) == []
    (file,) = receiver.on_time(100 * NS)
    assert (incomplete(file).reason, incomplete(file).missing, data_of(file)) == ("no EOF", (), DATA)


def test_end_all() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    feed(receiver, pdus_of()[:2])
    assert [incomplete(file).reason for file in receiver.end_all()] == ["no EOF"]
    assert receiver.open == 0


def test_cancelled_by_the_sender() -> None:
    sender = CfdpSender(0x1AB, 1, 7, "mask.bin", DATA, 100)
    receiver = CfdpReceiver(CfdpConfig())
    pdus = [sender.next_pdu() or b"" for _ in range(3)]
    (file,) = feed(receiver, [*pdus, sender.cancel()])
    assert incomplete(file).reason == "cancelled by the sender, condition 15"
    assert data_of(file) == DATA[:200]
    assert sender.next_pdu() is None


def test_wrong_checksum_and_unknown_checksum_type() -> None:
    def transfer(kind: int, checksum: int) -> list[FileAction]:
        pdus: list[Pdu] = [
            Metadata(ID, 1, 4, kind, "a", "b"),
            FileData(ID, 1, 0, b"data"),
            EndOfFile(ID, 1, 0, checksum, 4),
        ]
        return feed(CfdpReceiver(CfdpConfig()), [encode_pdu(pdu) for pdu in pdus])

    assert incomplete(transfer(3, 1)[0]).reason == "checksum mismatch"
    assert incomplete(transfer(2, 1)[0]).reason.startswith("checksum type 2 is unknown")
    assert transfer(0, checksum_modular(b"data")) == [FileReceived(ID, "b", b"data")]
    assert transfer(15, 0) == [FileReceived(ID, "b", b"data")]


@pytest.mark.parametrize(
    ("pdu", "reason"),
    [
        (FileData(ID, 1, 0xFFFFFFFF, b"x"), "offset"),
        (FileData(ID, 1, 1000, bytes(100)), "offset"),
        (FileData(ID, 2, 0, b"x"), "entity"),
        (Metadata(ID, 1, 4, 3, "", "other"), "conflict"),
        (EndOfFile(ID, 1, 0, 0, 5), "conflict"),
    ],
)
def test_hostile_pdus_are_refused_and_the_file_still_arrives(pdu: Pdu, reason: str) -> None:
    receiver = CfdpReceiver(CfdpConfig())
    pdus = pdus_of()
    assert feed(receiver, [*pdus[:4], encode_pdu(pdu), *pdus[4:]]) == [WHOLE]
    assert receiver.counters.refused[reason] == 1


def test_sizes_beyond_the_limit_are_refused() -> None:
    receiver = CfdpReceiver(CfdpConfig(file_octets=1000))
    for pdu in (Metadata(ID, 1, 1001, 3, "", ""), EndOfFile(ID, 1, 0, 0, 1001), FileData(ID, 1, 999, b"xy")):
        assert receiver.on_pdu(encode_pdu(pdu), 0) == []
    assert receiver.counters.refused["offset"] == 3


def test_file_that_ends_before_data_already_here() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    pdus: list[Pdu] = [FileData(ID, 1, 0, b"data"), FileData(ID, 1, 100, b"stray"), EndOfFile(ID, 1, 0, 0, 50)]
    assert feed(receiver, [encode_pdu(pdu) for pdu in pdus]) == []
    (file,) = receiver.on_time(10 * NS)
    assert (incomplete(file).missing, incomplete(file).pieces) == (((4, 50),), ((0, b"data"),))


def test_an_octet_beyond_the_end_costs_no_file_that_is_whole_before_it() -> None:
    """It came before anything told the size; with a gap in front of it, it is a stretch of its own."""
    receiver = CfdpReceiver(CfdpConfig())
    pdus = pdus_of()
    assert feed(receiver, [encode_pdu(FileData(ID, 1, 2000, b"stray")), *pdus]) == [WHOLE]


def test_memory_and_ranges_are_bounded() -> None:
    receiver = CfdpReceiver(CfdpConfig(total_octets=110, ranges=3))
    for number in range(3):
        receiver.on_pdu(encode_pdu(FileData(TransactionId(1, number), 1, 900, bytes(50))), 0)
    assert receiver.counters.refused["memory"] == 1
    # 100 octets are held: just as many more as there is room for, and one more than that.
    for offset, octets, refused in ((0, 11, 2), (0, 7, 2), (5, 6, 3), (2, 3, 3)):
        receiver.on_pdu(encode_pdu(FileData(TransactionId(1, 2), 1, offset, b"x" * octets)), 0)
        assert receiver.counters.refused["memory"] == refused
    for offset in (10, 20, 30):
        receiver.on_pdu(encode_pdu(FileData(TransactionId(1, 0), 1, offset, b"x")), 0)
    assert receiver.counters.refused["ranges"] == 1
    # With as many stretches as there may be the file goes on at the end of the last of them, and nowhere else.
    for offset, refused in ((11, 2), (21, 3), (950, 3)):
        receiver.on_pdu(encode_pdu(FileData(TransactionId(1, 0), 1, offset, b"x")), 0)
        assert receiver.counters.refused["ranges"] == refused


def test_a_claimed_length_or_place_costs_no_memory() -> None:
    """What stands in 26 octets of an EOF, or in front of one octet of data, is held as those octets."""
    receiver = CfdpReceiver(CfdpConfig())
    tracemalloc.start()
    try:
        for number in range(16):
            name = TransactionId(1, number)
            receiver.on_pdu(encode_pdu(EndOfFile(name, 1, 0, 0, receiver.config.file_octets)), 0)
            receiver.on_pdu(encode_pdu(FileData(name, 1, receiver.config.file_octets - 1, b"x")), 0)
        files = receiver.end_all()
        _, peak_octets = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_octets < 1 << 20
    assert {incomplete(file).pieces for file in files} == {((receiver.config.file_octets - 1, b"x"),)}
    assert all(incomplete(file).missing == ((0, receiver.config.file_octets - 1),) for file in files)


def test_what_came_first_stays_where_a_segment_overlaps_it() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    feed(receiver, [encode_pdu(FileData(ID, 1, at, data)) for at, data in ((2, b"first"), (0, b"xxxxxxxxx"))])
    (file,) = receiver.end_all()
    assert incomplete(file).pieces == ((0, b"xxfirstxx"),)


def test_a_file_whose_segments_come_backwards_is_held_in_few_pieces() -> None:
    data = bytes(range(256)) * 16
    pdus = pdus_of(data, segment=1)
    receiver = CfdpReceiver(CfdpConfig())
    tracemalloc.start()
    try:
        assert feed(receiver, pdus[:0:-1]) == []
        held_octets, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert feed(receiver, pdus[:1]) == [FileReceived(ID, "mask.bin", data)]
    assert held_octets < 250_000


def test_a_gap_that_is_filled_makes_the_file_no_longer() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    feed(receiver, [encode_pdu(FileData(ID, 1, at, DATA[at : at + 4])) for at in (8, 0, 4)])
    (file,) = receiver.end_all()
    assert (data_of(file), incomplete(file).missing, incomplete(file).reason) == (DATA[:12], (), "no EOF")


def test_full_table_ends_the_transaction_that_is_idle_longest() -> None:
    receiver = CfdpReceiver(CfdpConfig(transactions=2))
    for number in range(2):
        assert feed(receiver, pdus_of(number=number)[:2], number) == []
    feed(receiver, pdus_of(number=0)[2:3], 5)
    (file,) = feed(receiver, pdus_of(number=2)[:1], 6)
    assert (incomplete(file).transaction.number, incomplete(file).reason) == (1, "no EOF")
    assert receiver.open == 2


def test_junk_is_counted() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    for raw in (b"", b"\x24", bytes(40), pdus_of()[0][:-1]):
        assert receiver.on_pdu(raw, 0) == []
    assert receiver.counters.refused["malformed"] == 4
    assert receiver.open == 0


def late(count: int, number: int = 7) -> PdusIgnored:
    return PdusIgnored("late", count, TransactionId(0x1AB, number), "mask.bin")


def test_what_is_ignored_is_told_at_once_and_then_once_a_minute_with_its_count() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    feed(receiver, pdus_of())
    assert receiver.ignored(0) == []
    feed(receiver, pdus_of()[:1])
    assert receiver.ignored(0) == [late(1)] and receiver.ignored(1) == []
    feed(receiver, pdus_of()[:5])
    assert receiver.ignored(60 * NS - 1) == []
    assert receiver.ignored(60 * NS) == [late(5)] and receiver.ignored(200 * NS) == []
    assert receiver.counters.late == 6


def test_every_reason_for_ignoring_is_told_with_what_is_known_of_the_file() -> None:
    receiver = CfdpReceiver(CfdpConfig(file_octets=2000))
    pdus = pdus_of()
    far, strange = FileData(ID, 1, 3000, b"x"), FileData(ID, 9, 0, b"x")
    feed(receiver, [*pdus[:3], encode_pdu(far), encode_pdu(strange), b"junk", encode_pdu(EndOfFile(ID, 1, 0, 0, 5))])
    told = receiver.ignored(0)
    assert [(one.reason, one.transaction, one.name) for one in told] == [
        ("offset", ID, "mask.bin"), ("entity", ID, "mask.bin"), ("malformed", None, ""), ("conflict", ID, "mask.bin"),
    ]  # fmt: skip
    assert all(one.meaning for one in told)


def test_a_number_is_not_late_because_others_were_higher() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    for number in (2**63 - 1, 5, 2**63 - 2, 4, 0):
        assert len(feed(receiver, pdus_of(number=number))) == 1


def test_a_number_given_out_twice_costs_no_file_whose_metadata_tells_it_apart() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    feed(receiver, pdus_of())
    assert feed(receiver, pdus_of(DATA[:500])) == [FileReceived(ID, "mask.bin", DATA[:500])]
    assert (receiver.counters.renewed, receiver.counters.late, receiver.open) == (1, 0, 0)
    # And where it does not: said, not silent.
    assert feed(receiver, pdus_of(bytes(500))) == []
    assert receiver.ignored(0) == [late(7)]


def test_ended_transactions_are_known_again_up_to_a_bound() -> None:
    receiver = CfdpReceiver(CfdpConfig())
    for number in range(1025):
        feed(receiver, pdus_of(b"", number))
    assert len(feed(receiver, pdus_of(b"", 1))) == 0
    assert len(feed(receiver, pdus_of(b"", 0))) == 1


# Checksum types


@pytest.mark.parametrize("segment", [1, 3, 5, 7, 100, 1022])
@pytest.mark.parametrize("kind", [CHECKSUM_MODULAR, CHECKSUM_CRC32])
def test_a_file_is_whole_by_either_checksum_however_it_is_cut(segment: int, kind: int) -> None:
    data = DATA[:1021]  # not a multiple of the words that the modular checksum adds
    sender = CfdpSender(0x1AB, 1, 7, "mask.bin", data, segment, checksum_type=kind)
    pdus = list(iter(sender.next_pdu, None))
    metadata, eof = decode_pdu(pdus[0]), decode_pdu(pdus[-1])
    assert isinstance(metadata, Metadata) and metadata.checksum_type == kind
    assert isinstance(eof, EndOfFile) and eof.checksum == CHECKSUMS[kind](data)
    assert feed(CfdpReceiver(CfdpConfig()), pdus) == [FileReceived(ID, "mask.bin", data)]


@pytest.mark.parametrize("kind", [CHECKSUM_MODULAR, CHECKSUM_CRC32])
def test_without_metadata_either_checksum_may_be_meant(kind: int) -> None:
    sender = CfdpSender(0x1AB, 1, 7, "mask.bin", DATA, 100, checksum_type=kind)
    pdus = list(iter(sender.next_pdu, None))[1:]
    receiver = CfdpReceiver(CfdpConfig())
    assert feed(receiver, pdus) == []
    (action,) = receiver.on_time(10 * NS)
    assert isinstance(action, FileReceived) and action.data == DATA

    receiver = CfdpReceiver(CfdpConfig())
    feed(receiver, [encode_pdu(FileData(ID, 1, 0, b"x" * 100)), *pdus[1:]])
    (action,) = receiver.on_time(10 * NS)
    assert incomplete(action).reason == "checksum mismatch"
