"""The ground against a small node on the real link code, in virtual time: contacts, script, products, archive."""

from __future__ import annotations

import gc
import struct
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from flight.contract.fields import Field
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.link.link import Role
from flight.link.pus import PusTc, PusTm
from flight.link.tm_tc_stack import FlightLink
from ground.changes import Change
from ground.files.transfer_folder import TransferFolder
from ground.link.ground_link import Service
from ground.link.tm_tc_session import GroundSession
from ground.operator import ACKNOWLEDGED, COMPLETED, LOST, REJECTED, Operator
from ground.procedures.first_orbit import ScriptLog, first_orbit
from ground.products.product_store import ProductStore
from ground.station import GroundStation
from ground.telemetry.archive import Archive
from ground.telemetry.intake import ANSWERS_MAX
from ground.telemetry.limits import RED
from payloads.product.answers import Scalars
from payloads.product.mask import decode_mask_product, encode_mask_product
from payloads.product.records import encode_record_product
from sim_hw.ground_segment import GroundSegment
from sim_hw.machine.air import Air
from sim_hw.machine.loop import VirtualLoop
from tests.archives import entered, reading
from tests.ground_dictionary import make
from tests.ground_node import EPOCH_NS, LittleNode
from tests.link_ends import BARE, packets_of, unit_of


class Rig:
    def __init__(self, tmp_path: Path, passes: list[tuple[float, float]], timeout_s: float = 30.0) -> None:
        self.loop = VirtualLoop()
        self.node = LittleNode(self.loop, passes)
        self.file = Archive(tmp_path / "archive.db")
        self.archive = self.file.enter(make())
        self.products = ProductStore(tmp_path / "products")
        self.transfers = TransferFolder(tmp_path / "transfers", durable=False)
        self.station = GroundStation(
            make(), GroundSession(BARE), epoch_tai_ns=EPOCH_NS, archive=self.archive, products=self.products,
            transfers=self.transfers, cfdp=EntityConfig(entity=1, inactivity_s=100.0),
            command_timeout_s=timeout_s,
        )  # fmt: skip
        self.air = LittleAir(self.node)
        self.node.operator = self.air
        self.ground = GroundSegment(self.station, cast("Air", self.air), self.loop)

    def run(self, script: Callable[[Operator], Awaitable[Any]], until_s: float) -> list[Any]:
        results: list[Any] = []

        async def body(operator: Operator) -> None:
            results.append(await script(operator))

        self.ground.run_script(body)
        self.loop.run_until(round(until_s * NS))
        assert self.ground.script_failures == []
        return results

    def close(self) -> None:
        self.ground.close()
        self.file.close()


def test_whole_script_over_two_contacts(tmp_path: Path) -> None:
    rig = Rig(tmp_path, [(60.0, 400.0), (1000.0, 1300.0)])
    # The dictionary of this test has a parameter and modes of its own names.
    log = ScriptLog()
    assert rig.run(lambda operator: first_orbit(operator, log), 2000.0) == []
    assert (log.contacts, log.surprises, log.lost, log.given_up) == (2, [], 0, 0)
    assert rig.node.jobs == [1]
    outcomes = [(r.name, r.outcome) for r in rig.station.tracker.records()]
    assert [o for o in outcomes if o[1] != COMPLETED] == [("set_parameters", REJECTED)]
    assert set(rig.node.done) == {c.name for c in make().commands} - {
        "say", "load_parameter_table", "insert", "enable_hk", "create_hk",
    }  # fmt: skip
    refused = next(r for r in rig.station.tracker.records() if r.outcome == REJECTED)
    assert refused.reason == "acceptance failed: argument out of range" and refused.code == 2
    assert [s.name for s in rig.station.tracker.records()[0].stages] == [
        "sent", "acknowledged", "accepted", "started", "completed",
    ]  # fmt: skip
    rig.close()
    with reading(tmp_path / "archive.db") as archive:
        assert [(c.name, c.outcome) for c in archive.commands()] == outcomes
        assert archive.latest()["parameter.soc_min"].value == 0.55
        assert archive.counters("station.contacts")[-1][1] == 2


class LittleAir:
    """What GroundSegment needs of the air: the uplink, and where downlink and contacts go."""

    def __init__(self, node: LittleNode) -> None:
        self._node = node
        self.on_downlink: Callable[[bytes], None] = lambda _octets: None
        self.on_contact: Callable[[str | None], None] = lambda _station: None

    def uplink(self, cltu: bytes) -> bool:
        self._node.transmit(cltu)
        return True

    def receive(self, octets: bytes) -> None:
        self.on_downlink(octets)


def test_contact_that_ends_early_goes_on_at_the_next(tmp_path: Path) -> None:
    rig = Rig(tmp_path, [(10.0, 14.0), (300.0, 302.0), (600.0, 900.0)])
    log = ScriptLog()
    rig.run(lambda operator: first_orbit(operator, log), 1200.0)
    assert log.contacts >= 2 and log.surprises == []
    assert {"ping", "list_jobs", "payload_power", "set_power_mode"} <= set(rig.node.done)
    rig.close()


def test_the_end_of_a_run_cuts_a_script_short_without_a_failure(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    rig = Rig(tmp_path, [(0.0, 1e8)])
    stood: list[str] = []

    async def script(operator: Operator) -> None:
        for call in (operator.sleep, lambda s: operator.wait_for("booted", s), operator.wait_contact):
            try:
                await operator.sleep(1e6)
            finally:
                stood.append("clean-up")
                with pytest.raises(OrbitnodeError, match="the run has ended"):
                    await call(1.0)
                await operator.send("ping")

    assert rig.run(script, 100.0) == [] and stood == []
    rig.close()
    assert stood == ["clean-up"] and rig.ground.script_failures == [] and rig.node.done == []
    gc.collect()
    assert not recwarn.list  # nothing of the coroutine is left to complain when it is collected


def test_command_without_any_node_is_never_sent_later(tmp_path: Path) -> None:
    rig = Rig(tmp_path, [(100.0, 200.0)], timeout_s=20.0)
    (record,) = rig.run(lambda operator: operator.send("ping"), 150.0)
    assert (record.outcome, record.reason) == (REJECTED, "never sent: no node was heard in time")
    assert rig.node.done == []
    rig.close()


def test_silent_command_is_lost_with_what_is_known(tmp_path: Path) -> None:
    rig = Rig(tmp_path, [(0.0, 500.0)], timeout_s=20.0)
    rig.node.mute.add("ping")
    (record,) = rig.run(lambda operator: operator.send("ping"), 100.0)
    text = "received by the node's link, but no report in time; may still be executed"
    assert (record.outcome, record.reason) == (LOST, text)
    rig.close()


def linked() -> tuple[GroundStation, FlightLink]:
    """A station and a node's link, the AD service up."""
    station, flight = (
        GroundStation(make(), GroundSession(BARE), epoch_tai_ns=0),
        FlightLink(BARE),
    )
    for _ in range(2):
        station.on_downlink(unit_of(flight), 0)
    assert station.session.service is Service.UP
    return station, flight


def test_command_that_times_out_ends_alone() -> None:
    station = GroundStation(make(), GroundSession(BARE), epoch_tai_ns=0)
    first, _ = station.send("ping", {}, 0, timeout_s=30)
    second, _ = station.send("payload_power", {"state": "off"}, 0, timeout_s=7200)
    station.on_time(31 * NS)
    assert (first.outcome, first.reason) == (REJECTED, "never sent: no node was heard in time")
    assert second.is_open and station.session.waiting == 1


def test_lost_command_is_not_sent_in_the_next_pass() -> None:
    station, flight = linked()
    lost, cltus = station.send("payload_power", {"state": "off"}, NS, timeout_s=30)
    kept, more = station.send("ping", {}, NS, timeout_s=7200)
    assert len(cltus + more) == 2  # and neither arrives
    station.end_contact(2 * NS)
    station.on_time(40 * NS)
    assert (lost.outcome, lost.reason) == (LOST, "no answer from the node in time; may still be executed")
    station.on_downlink(unit_of(flight), 3000 * NS)
    (unlock,) = station.on_downlink(unit_of(flight), 3001 * NS)  # its number goes to the other command
    assert flight.on_uplink(unlock, 0) == []
    up = station.on_downlink(unit_of(flight), 3001 * NS)
    packets = [PusTc.decode(packet) for cltu in up for packet in packets_of(flight.on_uplink(cltu, 0))]
    assert [(packet.service, packet.seq) for packet in packets] == [(17, kept.seq)]
    assert (lost.outcome, lost.reason) == (REJECTED, "sent, but it never arrived, and was given up")
    station.on_downlink(unit_of(flight), 3002 * NS)
    assert kept.stage_ns(ACKNOWLEDGED) == 3002 * NS and lost.stage_ns(ACKNOWLEDGED) is None


def test_a_command_for_a_link_that_was_ended_by_hand_says_so() -> None:
    station, _ = linked()
    station.lead("terminate", None, NS)
    record, cltus = station.send("ping", {}, NS, timeout_s=3)
    assert cltus == []
    assert station.on_time(4 * NS) == []
    assert (record.outcome, record.reason) == (
        REJECTED, "never sent: the command link is down by hand; `orbitnode link auto` lets the ground lead it again",
    )  # fmt: skip


def test_command_behind_a_full_window_is_not_sent_after_its_time() -> None:
    station, _ = linked()
    records = [station.send("ping", {}, NS, timeout_s=30 if n == 11 else 600)[0] for n in range(13)]
    station.on_time(31 * NS)
    assert [r.number for r in records if not r.is_open] == [12]
    assert records[11].outcome == REJECTED and records[11].reason.startswith("never sent")
    assert station.session.waiting == 12


def test_bypass_command_goes_up_without_any_contact() -> None:
    station, flight = (
        GroundStation(make(), GroundSession(BARE), epoch_tai_ns=0),
        FlightLink(BARE),
    )
    record, (cltu,) = station.send("ping", {}, 0, bypass=True)
    assert len(packets_of(flight.on_uplink(cltu, 0))) == 1
    station.on_time(31 * NS)
    assert (record.outcome, record.reason) == (LOST, "no answer from the node in time; may still be executed")


def test_a_restart_of_the_node_is_told() -> None:
    station, flight = linked()
    notes: list[object] = []
    station.listen(lambda change, what: notes.append(what) if change is Change.NOTE else None)
    for count in range(60):
        station.on_downlink(unit_of(flight), count * NS)
    flight = FlightLink(BARE)
    for count in range(3):
        station.on_downlink(unit_of(flight), (90 + count) * NS)
    assert notes == ["the node was restarted: its frame counts began again"]
    assert station.counters()["link.restarts"] == 1 and station.counters()["link.frames_missed"] == 0


def test_a_full_disk_ends_neither_pass_nor_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, [(0.0, 100.0)])

    def full(*_: object) -> None:
        raise OrbitnodeError("archive: database or disk is full")

    folder = rig.products._folder  # noqa: SLF001 - stands for the disk
    for part, name in ((rig.archive, "commit"), (rig.archive, "add_counters"), (folder, "adopt")):
        monkeypatch.setattr(part, name, full)
    rig.node.file("a.txt", b"just text")
    rig.node.file("open.txt", bytes(900), drop=3)
    rig.loop.run_until(50 * NS)
    rig.station.commit()
    assert rig.products.counters.unwritten == 2  # as a whole file, and then as what came of one
    rig.ground.close()
    assert rig.products.counters.unwritten == 3
    assert rig.station.station_counters.storage_faults >= 5


def test_bad_arguments_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    rig = Rig(tmp_path, [])
    with pytest.raises(OrbitnodeError, match=r"outside 1 \.\. 50"):
        rig.station.send("submit_job", {"tiles": 99}, 0)
    assert rig.station.tracker.counters.sent == 0
    rig.close()


def test_products_events_alarms_and_listeners(tmp_path: Path) -> None:
    rig = Rig(tmp_path, [(0.0, 300.0)])
    seen: list[tuple[Change, object]] = []
    rig.station.listen(lambda change, what: seen.append((change, what)))
    rng = np.random.default_rng(4)
    samples = rng.integers(0, 5000, (4, 32, 32)).astype(np.uint16)
    mask = rng.integers(0, 3, (32, 32)).astype(np.uint8)
    product = encode_mask_product(samples, mask, tile=7, job=3, time_ns=EPOCH_NS)
    rig.node.file("tile-7.bin", product)
    rig.node.file("../../evil/tile-8.bin", product, drop=2)
    rig.node.file(".hidden.txt", b"just text")
    layout = make().structures[0].layout
    rig.node.tm(1, 3, 25, b"\x00\x01" + layout.encode([0.2, 8.0, 1, -5]))
    rig.node.tm(1, 5, 4, b"\x00\x03\x3e\x4c\xcc\xcd")
    rig.node.link.queue(Role.REALTIME, b"\x08\x01\xc0\x00\x00\x0e" + bytes(15))
    rig.loop.run_until(200 * NS)
    rig.close()
    folder = tmp_path / "products"
    assert sorted(p.name for p in folder.iterdir()) == [
        "hidden.txt", "tile-7-mask.png", "tile-7.bin", "tile-8.bin.part", "tile-8.bin.part.missing",
    ]  # fmt: skip
    assert np.array_equal(decode_mask_product((folder / "tile-7.bin").read_bytes()).mask, mask)
    with reading(tmp_path / "archive.db") as archive:
        rows = {r.name: r for r in archive.products()}
        assert rows["tile-7.bin"].facts["tile"] == 7 and rows["tile-7.bin"].complete
        assert rows["tile-8.bin.part"].missing == ((500, 1000),)
        assert archive.alarms()[0].state == "red" and archive.events()[0].name == "battery_low"
    assert rig.station.latest["power.mode"].value == "idle" and rig.station.latest["power.soc"].state == "red"
    kinds = {change for change, _ in seen}
    assert {Change.FRAME, Change.PACKET, Change.ALARM, Change.PRODUCT, Change.CONTACT, Change.NOTE} <= kinds
    assert rig.station.counters()["packets.malformed"] == 1


def scalars(names: Sequence[str], value: int, time_ns: int) -> bytes:
    """A product of scalars, all of one value."""
    declared = Scalars(tuple(Field(name, "u8") for name in names))
    return encode_record_product(declared, bytes((value,)) * len(names), app="odd", tile=1, job=2, time_ns=time_ns)


def test_scalar_answers_are_shown_as_they_come_and_their_series_are_bounded(tmp_path: Path) -> None:
    rig = Rig(tmp_path, [(0.0, 300.0)])
    names = [f"n{number}" for number in range(ANSWERS_MAX + 1)]
    for at in range(0, ANSWERS_MAX, 32):
        rig.node.file(f"{at}.obrp", scalars(names[at : at + 32], 7, EPOCH_NS))
    rig.node.file("more.obrp", scalars(["n0", names[-1]], 8, EPOCH_NS + 1))
    rig.node.file("again.obrp", scalars(["n0"], 9, EPOCH_NS + 2))
    rig.loop.run_until(200 * NS)
    shown = rig.station.latest
    assert (shown["answer.odd.n0"].value, shown["answer.odd.n0"].time_ns) == (9, EPOCH_NS + 2)
    assert sum(name.startswith("answer.") for name in shown) == ANSWERS_MAX and f"answer.odd.{names[-1]}" not in shown
    assert rig.products.counters.complete == ANSWERS_MAX // 32 + 2
    rig.close()


def test_late_comer_sees_the_latest_values(tmp_path: Path) -> None:
    rig = Rig(tmp_path, [(0.0, 30.0)])
    rig.node.tm(1, 3, 25, b"\x00\x01" + make().structures[0].layout.encode([0.5, 8.0, 1, -5]))
    rig.loop.run_until(10 * NS)
    rig.close()
    with entered(tmp_path / "archive.db", make()) as archive:
        later = GroundStation(make(), GroundSession(BARE), epoch_tai_ns=EPOCH_NS, archive=archive)
        assert later.latest["power.soc"].raw == 0.5 and later.latest["power.mode"].value == "idle"


def test_a_structure_defined_from_ground_has_values_limits_and_a_place_in_the_archive(tmp_path: Path) -> None:
    definition = next(r for r in make().reports if r.name == "hk_definition").layout.encode(
        (300, 1, 5.0, ((256,), (258,)), 0)
    )

    def packet(subtype: int, data: bytes) -> bytes:
        return PusTm(1, 0, 3, subtype, data, EPOCH_NS + life * NS).encode()

    for life in range(2):  # the second one has its definition of the archive
        packets = [packet(25, b"\x01\x2c" + struct.pack(">fB", 0.125, 1))]
        if not life:
            packets.insert(0, packet(10, definition))
        file = Archive(tmp_path / "archive.db")
        archive = file.enter(make())
        station, flight = (
            GroundStation(make(), GroundSession(BARE), epoch_tai_ns=EPOCH_NS, archive=archive),
            FlightLink(BARE),
        )
        for one in packets:
            flight.queue(Role.REALTIME, one)
        station.on_downlink(unit_of(flight), 0)
        soc, mode = station.latest["hk-300.power.soc"], station.latest["hk-300.power.mode"]
        assert (soc.value, soc.unit, soc.state, mode.value) == (0.125, "frac", RED, "idle")
        assert station.decoder.counters.unknown == 0
        assert archive.latest()["hk-300.power.mode"].value == "idle"
        assert archive.latest()["hk-300.power.soc"].unit == "frac"
        file.close()
