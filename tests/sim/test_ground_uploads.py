"""Files on their way up through COP-1, in virtual time: order, room for commands, passes, failures."""

from __future__ import annotations

from typing import Any

import pytest

from flight.core.errors import OrbitnodeError
from flight.link.cfdp import FileReceived
from ground.operator import COMPLETED
from ground.station import Change
from ground.uploads import WAITING_MAX, Upload, Uploads
from tests.ground_node import S
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
        self.rig.loop.run_until(round(s * S))

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
    assert [(one.acknowledged, one.failure) for one in uploads] == [(414, ""), (3, "")]
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
    uploads = Uploads(3, 1, 2)
    first = uploads.begin("a", bytes(20_000), 0, S, timeout_s=30.0)
    second = uploads.begin("b", bytes(1_000), S, S, timeout_s=40.0)
    now_ns = 0
    while first.is_open:
        given = uploads.next_packet(100)
        assert given is not None
        now_ns += 29 * S
        if how == "times out" and now_ns > 100 * S:
            now_ns += 2 * S
            assert uploads.due(now_ns) == [first]
        elif how == "is rejected" and now_ns > 100 * S:
            uploads.fail(given[0], "no", now_ns)
        else:
            uploads.acknowledged(given[0], now_ns)
    assert uploads.due(now_ns) == [] and uploads.next_time_ns == now_ns + 40 * S
    assert uploads.due(now_ns + 40 * S) == [second]


def test_what_is_refused_before_anything_is_sent(tmp_path: Any) -> None:
    up = Uplink(tmp_path, [])
    for name in ("", "../x", "a b", "x" * 300):
        with pytest.raises(OrbitnodeError, match="no name for a file on board"):
            up.upload(name, b"")
    for number in range(WAITING_MAX):
        up.upload(f"f{number}", b"")
    with pytest.raises(OrbitnodeError, match="8 files wait to go up"):
        up.upload("one-more", b"")
