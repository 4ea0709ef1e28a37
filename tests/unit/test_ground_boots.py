"""The ground over a boot of the node and a step of its clock: packets that come twice or late, commands that ended."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest

from flight.catalogue import dictionary_of
from flight.contract.dictionary import Dictionary
from flight.contract.fields import Value
from flight.core.nanoseconds import NS, ns
from flight.link.link import Role
from flight.link.pus import PusTm, RequestId
from flight.link.space_packet import SpacePacket
from flight.link.tm_tc_stack import FlightLink
from flight.mission import MISSIONS, load
from ground.changes import Change
from ground.files.transfer_folder import TransferFolder
from ground.link.tm_tc_session import GroundSession
from ground.operator import CommandRecord
from ground.products.product_store import ProductStore
from ground.station import GroundStation
from ground.telemetry.archive import Archive
from ground.telemetry.node_archive import NodeArchive
from tests.archives import entered, reading
from tests.file_ends import pdus_of
from tests.link_ends import BARE, unit_of

EPOCH_NS = 2_152_000_000 * NS
NODE: Dictionary = dictionary_of(load(MISSIONS / "orbit.toml"))


class Bench:
    """A station, and the node's end of the link with packets made by hand."""

    def __init__(self, archive: NodeArchive | None = None, files: Path | None = None, epoch: int = 0) -> None:
        self.link = FlightLink(BARE)
        self.station = GroundStation(
            NODE,
            GroundSession(BARE),
            epoch_tai_ns=EPOCH_NS,
            archive=archive,
            products=None if files is None else ProductStore(files / "products"),
            transfers=None if files is None else TransferFolder(files / "transfers"),
            epoch=epoch,
        )
        self.seen: list[object] = []
        self.station.listen(lambda change, what: self.seen.append(what) if change is Change.PACKET else None)
        self.sequence = 0

    def made(self, service: int, subtype: int, data: bytes, at_s: float) -> bytes:
        self.sequence += 1
        return PusTm(1, self.sequence, service, subtype, data, EPOCH_NS + ns(at_s)).encode()

    def down(self, packet: bytes, now_s: float, role: Role = Role.REALTIME) -> None:
        assert self.link.queue(role, packet)
        while self.link.has_packets():
            self.station.on_downlink(unit_of(self.link), ns(now_s))

    def beacon(self, boot_count: int, uptime_s: int, at_s: float, epoch: int = 0) -> bytes:
        structure = next(s for s in NODE.structures if s.name == "node")
        values: list[Value] = [0] * len(structure.fields)
        values[:2] = [boot_count, uptime_s]
        values[[f.name for f in structure.fields].index("boot_epoch")] = epoch
        return self.made(3, 25, structure.sid.to_bytes(2, "big") + structure.layout.encode(values), at_s)

    def soc(self, soc_frac: float, at_s: float) -> bytes:
        structure = next(s for s in NODE.structures if s.name == "power")
        values: list[Value] = ["" if f.type == "str" else 0 for f in structure.fields]
        values[[f.name for f in structure.fields].index("soc_frac")] = soc_frac
        return self.made(3, 25, structure.sid.to_bytes(2, "big") + structure.layout.encode(values), at_s)

    def report(self, subtype: int, record: CommandRecord, at_s: float) -> bytes:
        return self.made(1, subtype, RequestId(record.apid, record.seq).encode(), at_s)

    def boot_event(self, boot_count: int, at_s: float, epoch: int = 0) -> bytes:
        event = next(e for e in NODE.events if e.name == "boot")
        data = event.number.to_bytes(2, "big") + event.layout.encode([boot_count, "a test", "abcd", epoch])
        return self.made(5, event.subtype, data, at_s)


def test_a_packet_that_comes_again_is_taken_once() -> None:
    bench = Bench()
    packet = bench.beacon(3, 10, 5.0)
    bench.down(packet, 6.0)
    bench.down(packet, 900.0, role=Role.PLAYBACK)  # played back after a power cut
    bench.down(bench.beacon(3, 20, 15.0), 901.0)
    assert len(bench.seen) == 2
    assert bench.station.counters()["station.packets_duplicate"] == 1


def test_volatile_commands_end_with_the_boot_that_the_beacon_tells() -> None:
    bench = Bench()
    bench.down(bench.beacon(3, 10, 5.0), 6.0)
    volatile, _ = bench.station.send("ping", {}, 7 * NS, bypass=True)
    durable, _ = bench.station.send("payload_power", {"state": 1}, 7 * NS, bypass=True)
    for record in (volatile, durable):
        bench.down(bench.made(1, 1, RequestId(record.apid, record.seq).encode(), 8.0), 9.0)
    bench.down(bench.beacon(4, 5, 20.0), 20.0)
    assert (volatile.outcome, volatile.reason) == ("lost", "the node booted again (boot 4)")
    assert durable.is_open
    bench.down(bench.made(1, 7, RequestId(durable.apid, durable.seq).encode(), 21.0), 21.0)
    assert durable.outcome == "completed"


def test_commands_sent_after_the_boot_are_not_ended_by_news_of_it() -> None:
    bench = Bench()
    bench.down(bench.beacon(3, 10, 5.0), 6.0)
    before, _ = bench.station.send("ping", {}, 7 * NS, bypass=True)
    after, _ = bench.station.send("ping", {}, 14 * NS, bypass=True)
    bench.down(bench.boot_event(4, 10.0), 15.0, role=Role.PLAYBACK)
    assert (before.outcome, after.outcome) == ("lost", "")
    bench.down(bench.beacon(3, 12, 7.0), 16.0, role=Role.PLAYBACK)
    assert after.is_open


@pytest.mark.parametrize("ahead_s", [-3600.0, 60.0])
def test_a_clock_that_is_off_does_not_end_commands_sent_after_the_boot(ahead_s: float) -> None:
    for role in (Role.REALTIME, Role.PLAYBACK):
        bench = Bench()
        bench.down(bench.beacon(3, 10, 5.0 + ahead_s), 5.0)
        before, _ = bench.station.send("ping", {}, 90 * NS, bypass=True)
        after, _ = bench.station.send("ping", {}, 120 * NS, bypass=True)
        bench.down(bench.beacon(4, 21, 121.0 + ahead_s), 121.0, role=role)
        assert (before.outcome, after.outcome) == ("lost", "")


def test_live_values_and_alarms_go_on_where_the_clock_is_set_back() -> None:
    bench = Bench()
    bench.down(bench.soc(0.9, 3600.0), 3600.0)
    missed = bench.soc(0.8, 3605.0)
    bench.down(bench.soc(0.01, 10.0), 3610.0)
    latest = bench.station.latest
    assert latest["power.soc_frac"].value == pytest.approx(0.01) and latest["power.soc_frac"].state == "red"
    assert bench.station.counters()["station.alarms"] == 1
    bench.down(missed, 3620.0, role=Role.PLAYBACK)  # from before the step, with a time that the clock does not show yet
    bench.down(bench.soc(0.7, 5.0), 3621.0, role=Role.PLAYBACK)  # from after it, and older than the newest
    assert latest["power.soc_frac"].state == "red" and bench.station.counters()["station.alarms"] == 1
    bench.down(bench.soc(0.75, 15.0), 3622.0, role=Role.PLAYBACK)
    assert latest["power.soc_frac"].value == 0.75 and latest["power.soc_frac"].state == "normal"


def test_a_restarted_ground_begins_with_the_newest_values_whatever_their_time(tmp_path: Path) -> None:
    last = None
    for clock_s, soc in ((3600.0, 0.5), (10.0, 0.25), (20.0, 0.75)):
        with entered(tmp_path / "archive.db", NODE) as archive:
            bench = Bench(archive)
            if last is not None:
                assert bench.station.latest["power.soc_frac"].value == last
            bench.down(bench.soc(soc, clock_s), 3600.0)
            bench.station.close(3601 * NS)
            last = soc
    with reading(tmp_path / "archive.db") as archive:
        assert archive.latest()["power.soc_frac"].value == 0.75
        assert [value for _, value in archive.series("power.soc_frac")] == [0.25, 0.75, 0.5]


def refused(bench: Bench, record: CommandRecord, at_s: float) -> bytes:
    refusals = next(r for r in NODE.reports if r.name == "refusals")
    return bench.made(1, 128, refusals.layout.encode([((5, record.apid, record.seq, 1, 1, 1),)]), at_s)


@pytest.mark.parametrize("ahead_s", [0.0, -1e6])
def test_played_back_reports_of_an_earlier_command_with_the_same_count_decide_nothing(ahead_s: float) -> None:
    bench = Bench()
    bench.down(bench.beacon(3, 10, 995.0 + ahead_s), 995.0)
    record, _ = bench.station.send("ping", {}, 1000 * NS, bypass=True)
    for packet in (bench.report(7, record, 100.0 + ahead_s), refused(bench, record, 101.0 + ahead_s)):
        bench.down(packet, 1001.0, role=Role.PLAYBACK)
    assert [stage.name for stage in record.stages] == ["sent"]
    assert bench.station.counters()["commands.outdated_reports"] == 2
    bench.down(bench.report(7, record, 1001.0 + ahead_s), 1900.0, role=Role.PLAYBACK)
    assert record.outcome == "completed"


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_played_back_reports_count_over_a_step_of_the_clock(step_s: float) -> None:
    bench = Bench()
    bench.down(bench.beacon(3, 10, 995.0), 995.0)
    before, _ = bench.station.send("ping", {}, 1000 * NS, bypass=True)
    after, _ = bench.station.send("ping", {}, 1000 * NS, bypass=True)
    reports = bench.report(7, before, 1001.0), bench.report(7, after, 1002.0 + step_s)
    bench.down(bench.beacon(3, 30, 1015.0 + step_s), 1015.0)
    for packet in reports:
        bench.down(packet, 1020.0, role=Role.PLAYBACK)
    assert (before.outcome, after.outcome) == ("completed", "completed")


def test_reports_count_where_nobody_knows_the_clock_and_where_they_are_live() -> None:
    bench = Bench()
    record, _ = bench.station.send("ping", {}, 1000 * NS, bypass=True)
    bench.down(bench.report(7, record, -1e6), 1001.0, role=Role.PLAYBACK)
    assert record.outcome == "completed"
    bench.down(bench.beacon(3, 10, 1002.0), 1002.0)
    record, _ = bench.station.send("ping", {}, 1003 * NS, bypass=True)
    bench.down(bench.report(7, record, 3.0), 1004.0)
    assert record.outcome == "completed"


def test_packets_that_the_archive_lost_are_taken_when_they_come_again(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive.db") as file:
        archive = file.enter(NODE)
        bench = Bench(archive)
        kept = bench.beacon(3, 0, 0.0)
        bench.down(kept, 1.0)
        bench.station.commit()
        (pages,) = file.query("PRAGMA page_count")[0]
        file.query(f"PRAGMA max_page_count = {pages}")  # a full disk
        packets = [bench.beacon(3, i, float(i)) for i in range(1, 200)]
        for packet in packets:
            bench.down(packet, 300.0)
        bench.station.commit()
        assert bench.station.station_counters.storage_faults and len(archive.packets("node")) < 200
        file.query("PRAGMA max_page_count = 1000000")
        for packet in (kept, *packets):
            bench.down(packet, 900.0, role=Role.PLAYBACK)
        assert sorted(row[3] or b"" for row in archive.packets("node")) == sorted([kept, *packets])


def test_a_command_on_the_air_keeps_its_number_and_count_over_a_kill(tmp_path: Path) -> None:
    with entered(tmp_path / "archive.db", NODE) as archive:
        bench = Bench(archive)
        bench.station.commit()
        first, cltus = bench.station.send("ping", {}, 7 * NS, bypass=True)
        insertion, held, _ = bench.station.schedule("ping", {}, EPOCH_NS + 90 * NS, 8 * NS)
        assert cltus
        (tmp_path / "killed").mkdir()
        for one in tmp_path.glob("archive.db*"):  # the files as a kill leaves them
            shutil.copy(one, tmp_path / "killed")
    with entered(tmp_path / "killed" / "archive.db", NODE) as archive:
        later, _ = Bench(archive).station.send("ping", {}, 9 * NS, bypass=True)
    assert later.number == max(r.number for r in (first, insertion, held)) + 1
    assert (later.apid, later.seq) not in [(r.apid, r.seq) for r in (first, insertion, held)]


def remarks(bench: Bench, name: str) -> list[str]:
    return [event.text for event in bench.station.events if event.name == name]


@pytest.mark.parametrize("count", [3, 1])
def test_a_live_boot_with_a_count_that_does_not_rise_is_a_boot_and_is_said(count: int) -> None:
    bench = Bench()
    bench.down(bench.beacon(3, 10, 5.0, epoch=111), 6.0)
    before, _ = bench.station.send("ping", {}, 7 * NS, bypass=True)
    bench.down(bench.made(1, 1, RequestId(before.apid, before.seq).encode(), 8.0), 9.0)
    bench.down(bench.boot_event(count, 20.0, epoch=222), 20.0)
    assert (before.outcome, before.reason) == ("lost", f"the node booted again (boot {count})")
    after, _ = bench.station.send("ping", {}, 21 * NS, bypass=True)
    for uptime_s in (5, 15):
        bench.down(bench.beacon(count, uptime_s, 20.0 + uptime_s, epoch=222), 22.0 + uptime_s)
    bench.down(bench.beacon(3, 14, 9.0, epoch=111), 40.0, role=Role.PLAYBACK)  # of the boot before, played back
    assert after.is_open
    counters = bench.station.counters()
    assert (counters["station.boots"], counters["station.boots_repeated"]) == (1, 1)
    (text,) = remarks(bench, "boot_count_repeated")
    assert f"counts boot {count}, after boot 3: its boot record is lost or cannot be written" in text


def test_a_boot_that_is_played_back_is_new_by_a_higher_count_alone() -> None:
    bench = Bench()
    bench.down(bench.beacon(3, 10, 5.0, epoch=111), 6.0)
    record, _ = bench.station.send("ping", {}, 7 * NS, bypass=True)
    bench.down(bench.boot_event(3, 30.0, epoch=99), 31.0, role=Role.PLAYBACK)
    assert record.is_open and bench.station.station_counters.boots == 0
    bench.down(bench.boot_event(4, 30.0, epoch=222), 31.0, role=Role.PLAYBACK)
    assert record.outcome == "lost" and bench.station.station_counters.boots == 1
    assert remarks(bench, "boot_count_repeated") == []


def test_a_restarted_ground_tells_a_repeated_count_and_keeps_what_it_said(tmp_path: Path) -> None:
    for epoch in (111, 222, 222):
        with entered(tmp_path / "archive.db", NODE) as archive:
            bench = Bench(archive)
            bench.down(bench.beacon(1, 10, 5.0, epoch=epoch), 6.0)
            bench.station.close(7 * NS)
    with reading(tmp_path / "archive.db") as archive:
        assert [event.name for event in archive.events()] == ["boot_count_repeated"]


def test_products_that_are_ignored_are_said(tmp_path: Path) -> None:
    with entered(tmp_path / "archive.db", NODE) as archive:
        bench = Bench(archive, tmp_path)
        pdus = pdus_of("screen-0-1.bin", b"content", 77)
        for _ in range(2):
            for pdu in pdus:
                bench.down(SpacePacket(3, 0, pdu).encode(), 1.0, role=Role.PRODUCTS)
            bench.station.on_time(NS)  # the transaction ends once the file's row is durable
        bench.station.on_time(61 * NS)
        assert remarks(bench, "product_ignored") == [
            f"ground: {parts} of products ignored, the last of screen-0-1.bin: their transaction has ended"
            for parts in ("1 part", "2 parts")
        ]
        bench.station.close(62 * NS)
        assert len(archive.events()) == 2 and bench.station.counters()["cfdp.ignored.late"] == 3


def test_grounds_with_archives_of_their_own_do_not_begin_with_the_same_request_ids() -> None:
    first, later = (Bench(epoch=Random(seed).getrandbits(48)) for seed in (1, 2))
    ids = [{(r.apid, r.seq) for r in (b.station.send("ping", {}, NS, bypass=True)[0],)} for b in (first, later)]
    assert not ids[0] & ids[1]


def test_a_command_within_another_keeps_its_count_over_a_restart_of_the_ground(tmp_path: Path) -> None:
    """What waits on board under that request id would take the reports of the next command for its own."""
    with entered(tmp_path / "archive.db", NODE) as archive:
        station = Bench(archive).station
        station.send("load_sequence", {"sequence": "s", "steps": [[0, "list_jobs"], [0, "list_jobs"]]}, NS, bypass=True)
        (tmp_path / "killed").mkdir()
        for one in tmp_path.glob("archive.db*"):
            shutil.copy(one, tmp_path / "killed")
    with entered(tmp_path / "killed" / "archive.db", NODE) as archive:
        later, _ = Bench(archive).station.send("list_jobs", {}, 2 * NS, bypass=True)
    assert later.seq == 2
