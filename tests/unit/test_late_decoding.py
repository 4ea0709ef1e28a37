"""Packets without a meaning: kept, bounded, and decoded when a dictionary or a definition gives them one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flight.contract.dictionary import Dictionary
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.link import Role
from flight.link.pus import PusTc, PusTm
from flight.link.space_packet import SpacePacket
from flight.link.tm_tc_stack import FlightLink
from ground.changes import Change, Listeners
from ground.counters import StationCounters
from ground.files.transfer_folder import TransferFolder
from ground.link.duplicates import Duplicates
from ground.link.tm_tc_session import GroundSession
from ground.operator import COMPLETED, LOST
from ground.products.product_store import ProductStore
from ground.station import GroundStation
from ground.telemetry.archive_file import BATCH_ROWS
from ground.telemetry.archive_writer import ArchiveWriter
from ground.telemetry.decoder import Decoder
from ground.telemetry.late_decoding import ROW_OCTETS, STEP_ROWS, LateDecoding
from ground.telemetry.node_archive import NodeArchive
from tests.archives import entered, reading
from tests.file_ends import pdus_of
from tests.ground_dictionary import make
from tests.link_ends import BARE, unit_of

T_NS = 2_152_000_000 * NS


class Life:
    """One ground on the archive, with a link to send it packets over."""

    def __init__(self, station: GroundStation) -> None:
        self.station = station
        self.link = FlightLink(BARE)
        self.notes: list[object] = []
        self.now_ns = 0
        station.listen(lambda change, what: self.notes.append(what) if change is Change.NOTE else None)

    def send(self, *packets: bytes, role: Role = Role.REALTIME) -> None:
        for packet in packets:
            assert self.link.queue(role, packet)
            self.station.on_downlink(unit_of(self.link), self.now_ns)
            self.now_ns += NS

    def rest(self) -> None:
        """Let it do what it has to do."""
        for _ in range(100):
            self.station.on_time(self.now_ns)


@contextmanager
def life(folder: Path, dictionary: Dictionary, **options: Any) -> Iterator[Life]:
    with entered(folder / "archive.db", dictionary) as archive:
        made = Life(GroundStation(dictionary, GroundSession(BARE), epoch_tai_ns=T_NS, archive=archive, **options))
        yield made
        made.station.close(made.now_ns)


def hk(sid: int, data: bytes, at_s: float = 0.0) -> bytes:
    return PusTm(1, 0, 3, 25, sid.to_bytes(2, "big") + data, T_NS + round(at_s * NS)).encode()


def definition(sid: int, numbers: tuple[int, ...], at_s: float) -> bytes:
    layout = next(r for r in make().reports if r.name == "hk_definition").layout
    data = layout.encode((sid, 1, 5.0, tuple((n,) for n in numbers), 0))
    return PusTm(1, 0, 3, 10, data, T_NS + round(at_s * NS)).encode()


def test_reports_that_came_before_their_definition_are_decoded_by_it(tmp_path: Path) -> None:
    with life(tmp_path, make()) as ground:
        ground.send(*(hk(300, struct.pack(">fB", n / 8, 1), n) for n in range(4)))
        assert ground.station.undecoded == 4 and "hk-300.power.soc" not in ground.station.latest
        ground.send(definition(300, (256, 258), 10))
        ground.rest()
        assert ground.station.undecoded == 0 and ground.station.latest["hk-300.power.soc"].value == 3 / 8
        assert ground.station.counters()["packets.decoded_late"] == 4
    with reading(tmp_path / "archive.db") as archive:
        assert [value for _, value in archive.series("hk-300.power.soc")] == [0.0, 0.125, 0.25, 0.375]


def test_definitions_that_came_with_a_wrong_dictionary_count_as_well(tmp_path: Path) -> None:
    """The report of the definition is unknown itself as it comes, and stands behind what it explains."""
    without = replace(make(), reports=tuple(r for r in make().reports if r.name != "hk_definition"))
    with life(tmp_path, without) as ground:
        ground.send(hk(300, struct.pack(">f", 0.5)), definition(300, (256,), 10), hk(301, b"\0"))
        assert ground.station.undecoded == 3
    with life(tmp_path, make()) as ground:
        ground.rest()
        assert ground.station.undecoded == 1
        assert not ground.station._intake.late.is_due  # noqa: SLF001 - it rests, with one left over
    with reading(tmp_path / "archive.db") as archive:
        assert [value for _, value in archive.series("hk-300.power.soc")] == [0.5]


def test_verification_reports_of_before_settle_their_command(tmp_path: Path) -> None:
    without = replace(make(), reports=tuple(r for r in make().reports if r.service != 1))
    with life(tmp_path, without) as ground:
        record, _ = ground.station.send("ping", {}, 0, bypass=True)
        request = PusTc(1, record.seq, 17, 1, b"").request_id.encode()
        ground.send(PusTm(1, 0, 1, 7, request, T_NS + NS).encode())
        assert record.is_open and ground.station.undecoded == 1
    with life(tmp_path, make()) as ground:
        ground.station.on_time(0)
    with reading(tmp_path / "archive.db") as archive:
        assert [row.outcome for row in archive.commands()] == [COMPLETED]


def test_parts_of_files_of_before_become_the_file(tmp_path: Path) -> None:
    strange = replace(make(), apids={**make().apids, "files": 9})
    pdus = pdus_of("dump", b"the dump" * 100, 7, segment_octets=200)
    with life(tmp_path, strange) as ground:
        ground.send(*(SpacePacket(3, n, pdu).encode() for n, pdu in enumerate(pdus)))
        assert ground.station.undecoded == len(pdus)
    products, transfers = ProductStore(tmp_path / "products"), TransferFolder(tmp_path / "transfers")
    with life(tmp_path, make(), products=products, transfers=transfers) as ground:
        ground.rest()
        assert ground.station.undecoded == 0
    assert (tmp_path / "products" / "dump").read_bytes() == b"the dump" * 100


def test_late_packets_are_not_told_to_those_who_wait_for_new_ones(tmp_path: Path) -> None:
    with life(tmp_path, replace(make(), structures=())) as ground:
        ground.send(hk(3, b""))
    with life(tmp_path, make()) as ground:
        told: list[object] = []
        ground.station.listen(lambda change, what: told.append(what) if change is Change.PACKET else None)
        ground.rest()
        assert told == [] and "1 packet decoded late, 0 still wait" in ground.notes


def test_packets_without_a_time_are_all_kept_and_those_with_one_once(tmp_path: Path) -> None:
    """What is damaged, or of another kind, may well come twice and be two."""
    damaged = bytearray(hk(1, bytes(15)))
    damaged[-1] ^= 1
    plain = SpacePacket(99, 5, b"no time in it").encode()
    too_long = hk(1, bytes(16))
    with life(tmp_path, make()) as ground:
        ground.send(*[bytes(damaged)] * 2, *[plain] * 2, *[too_long] * 2)
        assert ground.station.undecoded == 5
        assert ground.station.station_counters.packets_duplicate == 1
    with reading(tmp_path / "archive.db") as archive:
        octets = [row[3] for row in archive.packets()]
        assert octets == [bytes(damaged), bytes(damaged), plain, plain, too_long]
        assert archive.open_rows.kinds() == {"undecoded": 3, "unknown": 2}


def test_what_is_kept_without_a_meaning_is_bounded_and_what_is_refused_is_told(tmp_path: Path) -> None:
    with life(tmp_path, make()) as ground:
        late = ground.station._intake.late  # noqa: SLF001 - a smaller bound than a test can fill
        late._octets_max = 3 * (len(hk(300, bytes(100))) + ROW_OCTETS)  # noqa: SLF001
        ground.send(*(hk(300, bytes(100), n) for n in range(5)))
        ground.rest()
        assert ground.station.undecoded == 3
        (told,) = [note for note in ground.notes if "not even archived" in str(note)]
        assert str(told).startswith("2 packets without a meaning not even archived, the last of them tm-1-3-25-300 on")
    with reading(tmp_path / "archive.db") as archive:
        assert len(archive.packets()) == 3
        assert any("not even archived" in event.text for event in archive.events())


def test_small_packets_without_a_meaning_take_no_more_room_than_long_ones(tmp_path: Path) -> None:
    """A frame holds more than a hundred of the smallest, and each is a row."""
    bound, small = 1 << 18, SpacePacket(1000, 1, b"x").encode()
    with life(tmp_path, make()) as ground:
        ground.station._intake.late._octets_max = bound  # noqa: SLF001 - a smaller bound than a test can fill
        for _ in range(bound // len(small)):
            ground.station._intake.on_packet(0, small, 0, live=True)  # noqa: SLF001 - a frame each takes a while
        ground.station.commit()
        kept = ground.station.undecoded
    assert bound // 200 < kept < bound // 100
    assert (tmp_path / "archive.db").stat().st_size < 3 * bound
    with life(tmp_path, make()) as ground:
        assert ground.station._intake.late._octets == kept * (len(small) + ROW_OCTETS)  # noqa: SLF001


def test_a_step_is_bounded_and_a_row_that_cannot_be_written_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without, packets = replace(make(), structures=()), [hk(3, b"", n) for n in range(STEP_ROWS + 5)]
    with life(tmp_path, without) as ground:
        for packet in packets:
            ground.station._intake.on_packet(0, packet, 0, live=True)  # noqa: SLF001 - a frame each takes a while
    with entered(tmp_path / "archive.db", make()) as archive:
        writer = ArchiveWriter(archive, StationCounters(), Listeners())
        late = LateDecoding(writer, Decoder(make()), lambda *_: None)
        assert late.waiting == STEP_ROWS + 5
        with monkeypatch.context() as patched:
            patched.setattr(archive, "add_meaning", full)
            assert (late.step(0), late.is_due) == (0, True)
        assert (late.step(0), late.is_due, late.waiting) == (5, False, STEP_ROWS)
        assert archive.open_rows.kinds() == {"housekeeping": 5, "unknown": STEP_ROWS}


def full(*_: object) -> None:
    raise OrbitnodeError("archive: database or disk is full")


def test_what_belongs_together_is_committed_together(tmp_path: Path) -> None:
    """A batch that is full in the middle of a packet waits for its end."""
    path = tmp_path / "archive.db"
    with entered(path, make()) as archive:
        writer = ArchiveWriter(archive, StationCounters(), Listeners())
        with writer.unit():
            for number in range(BATCH_ROWS + 10):
                writer.write(lambda a, number=number: a.add_samples({"x": number}, T_NS))  # type: ignore[misc]
            writer.commit()
            with reading(path) as reader:
                assert reader.series("x") == []
        with reading(path) as reader:
            assert len(reader.series("x")) == BATCH_ROWS + 10

        def half(node: NodeArchive) -> None:
            node.add_samples({"y": 1}, T_NS)
            full()

        assert not writer.write(half)
        assert archive.series("y") == [] and writer.write(lambda a: a.add_samples({"z": 1}, T_NS))
        assert archive.series("z") == [(T_NS, 1)]


def test_packets_of_the_past_are_known_again_as_far_as_there_is_room() -> None:
    known = Duplicates(3)
    known.recall([b"d", b"c", b"b", b"a"])
    assert [known.is_new(one) for one in (b"b", b"c", b"d")] == [False] * 3
    assert known.is_new(b"a")
    assert known.is_new(b"b"), "the oldest went"
    known.forget()
    assert not known.is_new(b"d"), "what was stored stays known"


@pytest.mark.parametrize(("at_s", "outcome"), [(50.0, LOST), (150.0, COMPLETED)])
def test_a_report_of_an_earlier_command_with_the_same_request_id_settles_nothing(
    tmp_path: Path, at_s: float, outcome: str
) -> None:
    """It was played back, and made long before the command was sent: the housekeeping of then says what time it was."""
    with life(tmp_path, make()) as ground:
        ground.now_ns = 100 * NS
        ground.send(hk(3, b"", 100))
        record, _ = ground.station.send("ping", {}, ground.now_ns, bypass=True)
        request = PusTc(1, record.seq, 17, 1, b"").request_id.encode()
    with life(tmp_path, make()) as ground:
        ground.now_ns = 200 * NS
        ground.station.on_time(ground.now_ns)
        ground.send(PusTm(1, 0, 1, 7, request, T_NS + round(at_s * NS)).encode(), role=Role.PLAYBACK)
    with reading(tmp_path / "archive.db") as archive:
        assert [row.outcome for row in archive.commands()] == [outcome]


def test_of_two_commands_with_one_request_id_a_report_is_of_the_newer(tmp_path: Path) -> None:
    with life(tmp_path, make()) as ground:
        first, _ = ground.station.send("ping", {}, 0, bypass=True)
        ground.station._desk.encoder._seq.clear()  # noqa: SLF001 - the counts came round
        ground.station._desk.encoder._seq[1] = first.seq  # noqa: SLF001
        second, _ = ground.station.send("ping", {}, 0, bypass=True)
        assert first.seq == second.seq
        request = PusTc(1, second.seq, 17, 1, b"").request_id.encode()
    with life(tmp_path, make()) as ground:
        ground.station.on_time(0)
        ground.send(PusTm(1, 0, 1, 7, request, T_NS + NS).encode())
    with reading(tmp_path / "archive.db") as archive:
        assert [(row.number, row.outcome) for row in archive.commands()] == [(1, LOST), (2, COMPLETED)]


def test_what_is_sent_before_the_commands_of_before_are_settled_stays_open(tmp_path: Path) -> None:
    with life(tmp_path, make()) as ground:
        ground.station.send("ping", {}, 0, bypass=True)
    with life(tmp_path, make()) as ground:
        own, _ = ground.station.send("ping", {}, 0, bypass=True)
        ground.station.on_time(0)
        ground.station.commit()
        with reading(tmp_path / "archive.db") as archive:
            assert [row.outcome for row in archive.commands()] == [LOST, ""]
        assert own.is_open


def test_older_commands_than_are_looked_at_are_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ground.commands.recall.COMMANDS_MAX", 2)
    with life(tmp_path, make()) as ground:
        for _ in range(4):
            ground.station.send("ping", {}, 0, bypass=True)
    with life(tmp_path, make()) as ground:
        ground.station.on_time(0)
        assert len(ground.station.tracker.records()) == 2
    with reading(tmp_path / "archive.db") as archive:
        assert {(row.outcome, row.reason.partition(":")[0]) for row in archive.commands()} == {(LOST, "unknown")}
