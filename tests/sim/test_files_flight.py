"""Files on a whole simulated spacecraft, over the air: products and uploads by class 2, losses, passes and cuts."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from flight.core.nanoseconds import ns
from flight.link.actions import PacketReceived
from flight.link.space_packet import SpacePacket
from flight.services.files.outbox import Outbox
from flight.services.files.transfers import FileTransfers
from flight.services.radio.radio import RadioLinks
from flight.store.files.file_store import FileStore
from ground.link.actions import FrameReceived
from tests.file_link import FILE_APID, Ground
from tests.sim.conftest import PASS_END_S, PASS_START_S, MakeRig, Rig

_TICK_S = 0.2
_UP_PDUS = 2  # per tick: COP-1 has a window, and commands want to go up as well


class Flight:
    """A rig whose ground has a CFDP entity. `lost`: the share of file packets that the ground loses on the way down."""

    def __init__(self, rig: Rig, lost: float = 0.0) -> None:
        self.rig = rig
        self.ground = Ground(rig.loop, pdu_octets=800)  # a telecommand frame carries less than a telemetry frame
        self.file_octets = 0
        self.frames = 0
        self._lost, self._random = lost, Random(3)
        act = rig.act

        def acted(actions: list[Any]) -> None:
            act(actions)
            for action in actions:
                if isinstance(action, PacketReceived) and int.from_bytes(action.packet[:2], "big") & 0x7FF == FILE_APID:
                    self._on_pdu(action.packet[6:])
                self.frames += isinstance(action, FrameReceived)

        rig.act = acted  # type: ignore[method-assign]
        air, contact = rig.air, rig.air.on_contact

        def on_contact(station: str | None) -> None:
            contact(station)
            self.ground.handle(self.ground.entity.set_contact(station is not None, rig.loop.now_ns()))

        air.on_contact = on_contact
        self._tick()

    def _on_pdu(self, pdu: bytes) -> None:
        if self._random.random() >= self._lost:
            counters = self.ground.entity.counters
            before = counters.octets_in
            self.ground.handle(self.ground.entity.on_pdu(pdu, self.rig.loop.now_ns()))
            self.file_octets += counters.octets_in - before

    def _tick(self) -> None:
        rig, entity = self.rig, self.ground.entity
        now_ns, next_ns = rig.loop.now_ns(), entity.next_time_ns
        if next_ns is not None and next_ns <= now_ns:
            self.ground.handle(entity.on_time(now_ns))
        for _ in range(_UP_PDUS):
            pdu = entity.next_pdu(now_ns)
            if pdu is None:
                break
            rig.send_packet(SpacePacket(FILE_APID, 0, pdu, is_command=True).encode())
        rig.loop.call_at(now_ns + ns(_TICK_S), self._tick)


@pytest.fixture
def products() -> dict[str, bytes]:
    return {f"p{number}.obsp": Random(number).randbytes(20_000 + 3_001 * number) for number in range(12)}


def test_products_and_uploads_cross_in_one_pass_with_losses(make_rig: MakeRig, products: dict[str, bytes]) -> None:
    flight = Flight(make_rig(), lost=0.05)
    rig = flight.rig
    rig.until(10)
    outbox = rig.node.part(Outbox)
    futures = [outbox.put(name, octets) for name, octets in products.items()]
    rig.until(PASS_START_S + 5)
    assert all(future.result() for future in futures)
    upload = Random(99).randbytes(12_000)
    transaction = flight.ground.put("table", upload)
    rig.until(PASS_START_S + 200)
    assert {name: held for name, (held,) in flight.ground.files.items()} == products
    assert rig.node.part(FileStore).entries("products") == [] and outbox.endings.acknowledged == len(products)
    end = flight.ground.end_of(transaction)
    assert end is not None and end.whole
    (entry,) = rig.node.part(FileStore).entries()
    assert rig.node.part(FileStore).read(entry, 0, 12_000) == upload
    assert rig.node.scheduler.totals().failures == 0


def test_a_pass_that_ends_in_mid_file_and_power_cuts_lose_nothing(
    make_rig: MakeRig, products: dict[str, bytes]
) -> None:
    """More than one pass carries: what was cut off waits, whatever becomes of the power meanwhile."""
    more = "[files.products]\nquota_octets = 30_000_000\n"
    flight = Flight(make_rig(faults="power-cut@200 power-cut@640", more=more), lost=0.1)
    rig = flight.rig
    rig.until(10)
    large = Random(7).randbytes(14_000_000)
    rig.node.part(Outbox).put("large.bin", large, priority=3)
    for name, octets in products.items():
        rig.node.part(Outbox).put(name, octets)
    rig.until(PASS_END_S + 60)
    assert {name: held[0] for name, held in flight.ground.files.items()} == products
    (status,) = rig.node.part(FileTransfers).entity.transactions()
    assert status.name == "large.bin" and 0 < status.octets_done < len(large)
    assert rig.node.part(Outbox).waiting == 1


def test_a_saturated_pass_is_file_data_but_for_headers_and_live_telemetry(make_rig: MakeRig) -> None:
    flight = Flight(make_rig())
    rig = flight.rig
    rig.until(10)
    rig.node.part(Outbox).put("large.bin", Random(7).randbytes(8_000_000))
    rig.until(PASS_START_S + 60)
    link = rig.node.part(RadioLinks)[0].link
    octets, frames, idle = flight.file_octets, flight.frames, link.counters.idle_frames
    rig.until(PASS_START_S + 160)
    room = rig.mission.links[0].config.data_octets
    share = (flight.file_octets - octets) / ((flight.frames - frames) * room)
    assert link.counters.idle_frames == idle, "the link had always something to send"
    assert share >= 0.97, share


def test_files_are_the_same_for_one_seed(make_rig: MakeRig, products: dict[str, bytes]) -> None:
    digests = set()
    for _ in range(2):
        flight = Flight(make_rig(bit_error_rate=1e-5), lost=0.05)
        flight.rig.until(10)
        for name, octets in products.items():
            flight.rig.node.part(Outbox).put(name, octets)
        flight.ground.put("up", bytes(9_000))
        flight.rig.until(PASS_START_S + 60)
        assert flight.ground.files
        digests.add(flight.rig.digest.hexdigest())
    assert len(digests) == 1
