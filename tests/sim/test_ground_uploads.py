"""Files on their way up through COP-1, in virtual time: order, room for commands, passes, failures."""

from __future__ import annotations

from typing import Any, cast

import pytest

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.cfdp.numbers import TransactionNumbers
from flight.link.cfdp.transfers import FileReceived
from flight.services.files import uploads as on_board
from ground.changes import Change
from ground.link.tm_tc_session import GroundSession
from ground.link.uploads import SENT_MAX, UNCONFIRMED, WAITING_MAX, Upload, Uploads
from ground.operator import COMPLETED, FAILED
from ground.station import GroundStation
from ground.telemetry.archive import Archive
from sim_hw.ground_segment import GroundSegment
from sim_hw.machine.air import Air
from tests.archives import entered
from tests.ground_dictionary import make
from tests.ground_node import EPOCH_NS
from tests.link_ends import BARE
from tests.sim.conftest import PASS_START_S, MakeRig
from tests.sim.test_ground_station import Rig


class Uplink:
    """A station over the little node, with the uploads that its listeners were told of."""

    def __init__(self, tmp_path: Any, passes: list[tuple[float, float]]) -> None:
        self.rig = Rig(tmp_path, passes)
        self.told: list[tuple[int, str]] = []
        self.rig.station.listen(self.note)

    def note(self, change: Change, what: object) -> None:
        if change is Change.UPLOAD:
            assert isinstance(what, Upload)
            self.told.append((what.acknowledged, what.failure))

    def until(self, s: float) -> None:
        self.rig.loop.run_until(round(s * NS))

    def upload(self, name: str, octets: bytes, timeout_s: float = 60.0) -> Upload:
        made, cltus = self.rig.station.upload(name, octets, self.rig.loop.now_ns(), timeout_s)
        self.rig.ground.uplink(cltus)
        return made

    @property
    def files(self) -> list[tuple[str, bytes]]:
        return [(one.name, one.data) for one in self.rig.node.files if isinstance(one, FileReceived)]


def test_files_arrive_whole_one_after_the_other_and_commands_between(tmp_path: Any) -> None:
    up = Uplink(tmp_path, [(10.0, 400.0)])
    up.until(20.0)
    first, second = bytes(range(256)) * 1600, b"short"
    uploads = [up.upload("first", first), up.upload("second", second)]
    up.until(21.0)
    record, cltus = up.rig.station.send("ping", {}, up.rig.loop.now_ns())
    up.rig.ground.uplink(cltus)
    up.until(25.0)
    assert record.outcome == COMPLETED and uploads[0].is_open  # it did not wait for the whole file
    up.until(300.0)
    assert up.files == [("first", first), ("second", second)]
    assert [(one.acknowledged, one.failure) for one in uploads] == [(416, ""), (3, "")]
    assert up.told[-1] == (3, "") and up.rig.station.uploads.sent == 2


def test_a_file_goes_on_in_the_next_pass(tmp_path: Any) -> None:
    up = Uplink(tmp_path, [(10.0, 14.0), (60.0, 400.0)])
    up.until(11.0)
    upload = up.upload("a", bytes(200_000), timeout_s=100.0)
    up.until(50.0)
    assert 0 < upload.acknowledged < upload.pdus
    up.until(300.0)
    assert up.files == [("a", bytes(200_000))]


def test_a_file_of_which_nothing_arrives_fails_and_leaves_the_queue(tmp_path: Any) -> None:
    up = Uplink(tmp_path, [(100.0, 200.0)])
    uploads = [up.upload("a", bytes(60_000), timeout_s=30.0), up.upload("b", b"b", timeout_s=90.0)]
    up.until(31.0)
    assert uploads[0].failure == "nothing of it arrived for 30 s" and uploads[1].is_open
    up.until(150.0)
    assert up.files == [("b", b"b")] and up.rig.node.receiver.open == 0
    assert up.rig.station.session.waiting == 0


@pytest.mark.parametrize("how", ["arrives", "is rejected", "times out"])
def test_the_time_of_a_file_begins_when_its_turn_comes(how: str) -> None:
    uploads = Uploads(3, 1, 2, TransactionNumbers(1, 7), 1017)
    first = uploads.begin("a", bytes(20_000), 0, timeout_s=30.0)
    second = uploads.begin("b", bytes(1_000), NS, timeout_s=40.0)
    now_ns = 0
    while first.is_open:
        given = uploads.next_packet(100)
        assert given is not None
        now_ns += 29 * NS
        if how == "times out" and now_ns > 100 * NS:
            now_ns += 2 * NS
            assert uploads.due(now_ns) == [first]
        elif how == "is rejected" and now_ns > 100 * NS:
            uploads.fail(given[0], "no", now_ns)
        else:
            uploads.acknowledged(given[0], now_ns)
    assert uploads.due(now_ns) == [] and uploads.next_time_ns == now_ns + 40 * NS
    assert uploads.due(now_ns + 40 * NS) == [second]


def test_what_is_refused_before_anything_is_sent(tmp_path: Any) -> None:
    up = Uplink(tmp_path, [])
    for name in ("", "../x", "a b", "x" * 300):
        with pytest.raises(OrbitnodeError, match="cannot be the name of a file on board"):
            up.upload(name, b"")
    for number in range(WAITING_MAX):
        up.upload(f"f{number}", b"")
    with pytest.raises(OrbitnodeError, match="8 files wait to go up"):
        up.upload("one-more", b"")


@pytest.mark.parametrize("shared_archive", [True, False])
def test_eight_files_a_restart_of_the_ground_and_one_more_all_arrive(tmp_path: Any, shared_archive: bool) -> None:
    """Five seconds after eight files the ground is restarted, with its archive or another one, and sends a ninth."""
    up = Uplink(tmp_path, [(10.0, 400.0)])
    up.until(20.0)
    for number in range(8):
        up.upload(f"f{number}", b"0123")
    up.until(25.0)
    first = up.rig.ground
    first.close()
    if first._timer is not None:  # noqa: SLF001 - ends as a process does
        first._timer.cancel()  # noqa: SLF001 - ends as a process does
    archive = up.rig.archive if shared_archive else Archive(tmp_path / "other.db").enter(make())
    station = GroundStation(
        make(),
        GroundSession(BARE),
        epoch_tai_ns=EPOCH_NS,
        archive=archive,
        epoch=0 if shared_archive else 99,
    )
    up.rig.ground, up.rig.station = GroundSegment(station, cast("Air", up.rig.air), up.rig.loop), station
    up.until(26.0)  # numbers taken from a clock of whole seconds would be at the seventh file now
    ninth = up.upload("f8", b"0123")
    up.until(60.0)
    assert [name for name, _ in up.files] == [f"f{number}" for number in range(9)]
    assert (ninth.outcome, ninth.said) == (COMPLETED, "has f8 of 4 octets")
    assert up.rig.node.receiver.counters.renewed == 0  # its number was not one of the first eight


def test_a_file_is_completed_by_the_word_of_the_node_alone(tmp_path: Any) -> None:
    up = Uplink(tmp_path, [(10.0, 400.0)])
    up.until(20.0)
    up.rig.node.mute.add("upload_received")
    silent = up.upload("a", b"0123", timeout_s=30.0)
    up.until(40.0)
    assert (silent.acknowledged, silent.outcome) == (3, "")
    up.until(60.0)
    assert silent.outcome == UNCONFIRMED and silent.reason.startswith("sent, not confirmed: the node's link has every")
    up.rig.node.event("upload_received", "a", 4, silent.number + 1)  # of another file of that name
    up.until(62.0)
    assert silent.outcome == UNCONFIRMED
    up.rig.node.event("upload_received", "a", 4, silent.number)  # late, played back say
    up.until(64.0)
    assert (silent.outcome, silent.reason) == (COMPLETED, "")


def test_what_the_node_ignores_or_gives_up_is_no_completed_file(tmp_path: Any) -> None:
    up = Uplink(tmp_path, [(10.0, 400.0)])
    up.until(20.0)
    up.rig.station.uploads._numbers = TransactionNumbers(7, 7)  # noqa: SLF001 - numbers that come again
    up.upload("a", b"0123")
    up.until(30.0)
    up.rig.station.uploads._numbers = TransactionNumbers(7, 7)  # noqa: SLF001 - as a ground whose numbers come again
    repeated = up.upload("a", b"4567")
    up.rig.node.mute.add("upload_received")
    given_up = up.upload("b", b"0123")
    up.until(31.0)
    up.rig.node.event("upload_failed", "b", "checksum mismatch", given_up.number)
    up.until(100.0)
    assert up.files == [("a", b"0123"), ("b", b"0123")]
    assert repeated.outcome == given_up.outcome == FAILED
    assert repeated.reason == "sent, and the node ignored 1 PDU of files: their transaction has ended"
    assert given_up.reason == "sent, and the node has given it up: checksum mismatch"
    assert up.rig.station.counters()["uploads.completed"] == 1


@pytest.mark.parametrize("word", ["upload_received", "upload_failed"])
def test_a_part_that_comes_again_changes_no_word_of_the_node(word: str) -> None:
    """The node may have the file, and say so, before its link has told the ground that the last part arrived."""
    uploads = Uploads(3, 1, 2, TransactionNumbers(1, 7), 1017, confirms=True)
    upload = uploads.begin("a", b"", 0, timeout_s=30.0)
    tags = []
    while (given := uploads.next_packet(100)) is not None:
        tags.append(given[0])
    uploads.on_event(word, {"name": "a", "octets": 0, "reason": "checksum", "number": upload.number})
    uploads.on_event("upload_ignored", {"pdus": 1, "reason": "their transaction has ended", "number": upload.number})
    for tag in tags:
        uploads.acknowledged(tag, 0)
    assert upload.outcome == (COMPLETED if word == "upload_received" else FAILED)


def test_a_node_without_such_events_confirms_nothing() -> None:
    uploads = Uploads(3, 1, 2, TransactionNumbers(1, 7), 1017)
    upload = uploads.begin("a", b"", 0, timeout_s=30.0)
    while (given := uploads.next_packet(100)) is not None:
        uploads.acknowledged(given[0], 0)
    assert upload.outcome == UNCONFIRMED and "has no event that would tell" in upload.reason


def test_files_that_were_sent_are_remembered_up_to_a_bound() -> None:
    uploads = Uploads(3, 1, 2, TransactionNumbers(1, 7), 1017, confirms=True)
    made = []
    for number in range(SENT_MAX + 1):
        made.append(uploads.begin(f"f{number}", b"", 0, timeout_s=30.0))
        while (given := uploads.next_packet(100)) is not None:
            uploads.acknowledged(given[0], 0)
    assert [one.outcome for one in made[:2]] == [UNCONFIRMED, ""]
    assert uploads.next_time_ns == 30 * NS and len(uploads.due(30 * NS)) == SENT_MAX


def test_the_real_node_confirms_each_file_and_says_what_it_ignores(make_rig: MakeRig, tmp_path: Any) -> None:
    rig = make_rig()
    with entered(tmp_path / "archive.db", rig.dictionary) as archive:
        station = GroundStation(
            rig.dictionary,
            rig.session,
            epoch_tai_ns=rig.world.start_tai_ns,
            archive=archive,
            epoch=5,
            security=rig.stored_security,
        )
        ground = GroundSegment(station, rig.air, rig.loop)
        rig.until(PASS_START_S + 60)
        made = []
        for name in ("a", "b", "a"):
            upload, cltus = station.upload(name, b"0123", rig.loop.now_ns(), 60.0)
            ground.uplink(cltus)
            made.append(upload)
        station.uploads._numbers = TransactionNumbers(1, 5)  # noqa: SLF001 - numbers that come again
        repeated, cltus = station.upload("a", b"4567", rig.loop.now_ns(), 60.0)
        ground.uplink(cltus)
        rig.until(PASS_START_S + 200)
        assert [(one.outcome, one.said) for one in made] == [
            (COMPLETED, f"has {name} of 4 octets") for name in ("a", "b", "a")
        ]
        assert rig.node.part(on_board.Uploads).octets("a") == b"0123" and rig.node.part(on_board.Uploads).refused == 3
        assert repeated.outcome == FAILED and "their transaction has ended" in repeated.reason
        assert "upload_ignored" in [event.name for event in station.events]
        ground.close()
