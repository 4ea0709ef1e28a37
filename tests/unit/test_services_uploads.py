"""Files that come up: what is held, what fails, what is ignored, and what is told of each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.contract.app import CommandRefused
from flight.core.nanoseconds import ns
from flight.core.scheduler import Scheduler
from flight.link.cfdp.class1_pdu import FileData, TransactionId, encode_pdu
from flight.link.cfdp.transfers import CfdpSender
from flight.link.space_packet import SpacePacket
from flight.services.files.uploads import Uploads, UploadsConfig, declare
from sim_hw.machine.loop import VirtualLoop

NODE_APID, FILE_APID = 1, 4
GROUND, NODE = 1, 5  # CFDP entities
LOOK_S = 10.0  # how long a transfer that has gone silent may wait to be looked at


class Sink:
    """Events as the ground shows them: what does not fit their declaration is an error here."""

    def __init__(self) -> None:
        self._declared = {one.name: one for one in declare(NODE_APID).events}
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[str] = []

    def emit(self, name: str, *values: Any) -> None:
        layout = self._declared[name].layout
        shown = dict(zip((one.name for one in layout.fields), layout.decode(layout.encode(values)), strict=True))
        self.events.append((name, shown))
        self.texts.append(self._declared[name].text.format(**shown))


class Board:
    """Uploads with their task, in virtual time."""

    def __init__(self, **config: Any) -> None:
        self.loop, self.sink = VirtualLoop(), Sink()
        settings = {"capacity_octets": 1024} | config
        self.uploads = Uploads(UploadsConfig(**settings), FILE_APID, NODE, self.sink, self.loop.now_ns)
        self.faults: list[BaseException] = []
        scheduler = Scheduler(self.loop, self.loop.now_ns, lambda _, error: self.faults.append(error))
        scheduler.spawn("uploads", self.uploads.run)
        self.until(0)

    def take(self, packets: list[bytes]) -> None:
        assert all(self.uploads.on_packet(raw) for raw in packets)

    def until(self, s: float) -> None:
        self.loop.run_until(ns(s))
        assert self.faults == []


def packet(pdu: bytes) -> bytes:
    return SpacePacket(FILE_APID, 0, pdu, is_command=True).encode()


def packets(name: str, data: bytes, number: int = 1, segment: int = 100) -> list[bytes]:
    """Metadata, segments, end."""
    sender = CfdpSender(GROUND, NODE, number, name, data, segment)
    pdus = [sender.next_pdu() for _ in range(sender.pdus)]
    return [packet(pdu) for pdu in pdus if pdu is not None]


def test_the_newest_whole_file_is_held() -> None:
    board = Board()
    with pytest.raises(CommandRefused, match="no file a: nothing was uploaded since boot"):
        board.uploads.octets("a")
    for name, number in (("a", 1), ("b", 2)):
        board.take(packets(name, bytes(250), number))
    assert board.uploads.octets("b") == bytes(250)
    with pytest.raises(CommandRefused, match="no file a: the newest upload is b"):
        board.uploads.octets("a")
    assert board.sink.events == [
        ("upload_received", {"name": "a", "octets": 250, "number": 1}),
        ("upload_received", {"name": "b", "octets": 250, "number": 2}),
    ]
    assert (board.uploads.received, board.uploads.failed, board.uploads.refused) == (2, 0, 0)


def test_a_file_of_the_capacity_is_taken_and_a_longer_one_is_not() -> None:
    board = Board(capacity_octets=1500)
    board.take(packets("fits", bytes(1500), 1))
    assert (board.uploads.received, board.uploads.refused) == (1, 0)
    board.take(packets("big", bytes(1501), 2))
    assert board.uploads.received == 1 and board.uploads.refused > 0
    for number in (3, 4, 5):
        board.take(packets("small", bytes(900), number))
    beyond = "they go beyond the end of the file, or what one file may have"
    told = {"pdus": 1, "name": "transaction 2", "reason": beyond, "number": 2}
    assert board.sink.events[1:] == [
        ("upload_ignored", told),
        *(("upload_received", {"name": "small", "octets": 900, "number": number}) for number in (3, 4, 5)),
    ]
    assert board.uploads.octets("small") == bytes(900)


def test_two_files_of_the_capacity_come_up_side_by_side_and_a_third_ends_the_one_that_rests() -> None:
    board = Board(capacity_octets=1500)
    one, two, three = (packets(name, name.encode() * 1500, n) for n, name in enumerate("abc", 1))
    board.take([*one[:-1], *two[:-1]])
    assert board.sink.events == []
    board.until(1)
    board.take([two[1], three[0]])
    assert board.sink.events == [("upload_failed", {"name": "a", "reason": "no EOF", "number": 1})]
    board.take([two[-1], *three[1:]])
    assert [shown["name"] for _, shown in board.sink.events] == ["a", "b", "c"]
    assert (board.uploads.received, board.uploads.failed) == (2, 1)


@given(st.lists(st.integers(0, 9), max_size=9, unique=True), st.booleans(), st.floats(10, 300))
def test_what_went_silent_fails_and_says_how_much_is_missing(lost: list[int], ended: bool, silence_s: float) -> None:
    """Ten segments, the last of 50 octets, of which some are lost, and with them the end where it has not come."""
    board = Board(silence_s=silence_s)
    raw = packets("table", bytes(950))
    board.take([one for at, one in enumerate(raw[:-1]) if at - 1 not in lost] + raw[-1:] * ended)
    if ended and not lost:
        assert board.uploads.received == 1
        return
    missing = sum(50 if at == 9 else 100 for at in lost)
    board.until((5 if ended else silence_s) - 1e-3)
    assert board.sink.events == []
    board.until((5 if ended else silence_s) + LOOK_S)
    reason = "octets missing" if ended else "no EOF"
    if missing:
        reason += f", {missing} of 950 octets missing"
    assert board.sink.events == [("upload_failed", {"name": "table", "reason": reason, "number": 1})]
    assert board.sink.texts == [f"file table did not come up whole: {reason}"]
    assert (board.uploads.received, board.uploads.failed) == (0, 1)
    with pytest.raises(CommandRefused, match="nothing was uploaded"):
        board.uploads.octets("table")


def test_a_file_arrives_in_any_order_and_in_more_pieces_than_are_kept_apart_it_is_refused_by_the_piece() -> None:
    board = Board()
    data = bytes(range(200))
    head, *segments, end = packets("a", data, segment=1)
    board.take([head, *segments[::-1], end])
    assert board.uploads.octets("a") == data
    apart = [packet(encode_pdu(FileData(TransactionId(GROUND, 2), NODE, at, b"x"))) for at in range(0, 1000, 2)]
    board.take(apart[:64])  # so many, docs/guides/mission.md says
    assert board.uploads.refused == 0
    board.take(apart[64:])
    assert board.uploads.refused == len(apart) - 64
    told = {"pdus": 1, "name": "transaction 2", "reason": "the file is in too many pieces", "number": 2}
    assert board.sink.events[1:] == [("upload_ignored", told)]


def test_each_reason_to_ignore_pdus_is_told_with_the_file_they_name() -> None:
    board = Board()
    board.take(packets("a", b"a" * 300, 7))
    board.sink.events.clear()
    late = packets("a", b"a" * 300, 7)[1:3]
    foreign = CfdpSender(GROUND, NODE + 1, 8, "b", b"", 100).next_pdu()
    assert foreign is not None
    board.take([late[0], packet(b"nonsense"), packet(foreign), late[1], packet(b"nonsense")])
    expected = [
        {"pdus": 1, "name": "a", "reason": "their transaction has ended", "number": 7},
        {"pdus": 1, "name": "no transaction", "reason": "they are not PDUs of class 1", "number": 0},
        {"pdus": 1, "name": "transaction 8", "reason": "they are for another entity", "number": 8},
    ]
    assert board.sink.events == [("upload_ignored", one) for one in expected]
    assert board.uploads.refused == 5
    board.until(70)  # each reason at once, and again after a minute
    expected = [one for one in expected if one["number"] != 8]
    assert board.sink.events[3:] == [("upload_ignored", one) for one in expected]
    assert (board.uploads.received, board.uploads.failed) == (1, 0)


def test_what_is_no_part_of_a_file_is_left_to_others() -> None:
    board = Board()
    (first, *_) = packets("a", b"")
    assert not board.uploads.on_packet(bytes((first[0] | 0x08,)) + first[1:])  # with a PUS header: a telecommand
    assert not board.uploads.on_packet(bytes((first[0] & 0x0F,)) + first[1:])  # telemetry
    assert not board.uploads.on_packet(first[:1] + b"\1" + first[2:])
    assert board.sink.events == []
    assert board.uploads.on_packet(first[:6] + b"nonsense") and board.uploads.refused == 1


@given(st.binary(max_size=80))
def test_any_packet_of_the_file_apid_is_survived(data: bytes) -> None:
    board = Board()
    assert board.uploads.on_packet(b"\x10\x04\xc0\x00\x00\x00" + data)
    assert board.uploads.received == 0
