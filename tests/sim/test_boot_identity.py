"""Which boot it is, where the count comes again: the real node and a ground that must take them for two."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from flight.services.files.outbox import Outbox
from flight.services.health.status import BootRecord
from ground.files.transfer_folder import TransferFolder
from ground.products.product_store import ProductStore
from ground.station import GroundStation
from sim_hw.ground_segment import GroundSegment
from tests.archives import entered
from tests.sim.conftest import PASS_START_S, MakeRig, Rig


def make_unwritable(rig: Rig) -> None:
    rig.craft.disk.read_only = True


def damage_both_records(rig: Rig) -> None:
    for name in ("boot.a", "boot.b"):
        if name in rig.craft.disk.durable:
            rig.craft.disk.flip(name)


@pytest.mark.parametrize(
    ("harm", "counts"), [(make_unwritable, [1, 2, 2]), (damage_both_records, [1, 1, 1])], ids=["unwritable", "damaged"]
)
def test_products_of_boots_with_one_count_all_arrive_and_the_ground_says_so(
    make_rig: MakeRig, tmp_path: Any, harm: Any, counts: list[int]
) -> None:
    rig = make_rig()
    with entered(tmp_path / "archive.db", rig.dictionary) as archive:
        products, transfers = ProductStore(tmp_path / "products"), TransferFolder(tmp_path / "transfers")
        station = GroundStation(
            rig.dictionary, rig.session, epoch_tai_ns=rig.world.start_tai_ns, archive=archive, products=products,
            transfers=transfers, security=rig.stored_security,
        )  # fmt: skip
        ground = GroundSegment(station, rig.air, rig.loop)
        epochs, told = [], []
        for index in range(3):
            rig.until(PASS_START_S + 60 + 100 * index)
            told.append(rig.node.part(BootRecord).count)
            epochs.append(rig.node.part(BootRecord).epoch)
            rig.node.part(Outbox).put("screen-0-1.bin", b"boot %d" % index)
            rig.until(PASS_START_S + 90 + 100 * index)
            assert station.latest["node.boot_epoch"].raw == epochs[-1]
            harm(rig)
            rig.craft.cut_power()
        assert told == counts and len(set(epochs)) == 3
        # A storage that cannot be written keeps no product, and says so: it goes down from memory.
        kept = 1 if harm is make_unwritable else 3
        assert {path.read_bytes() for path in (tmp_path / "products").iterdir()} == {b"boot 0", b"boot 1", b"boot 2"}
        assert [event.name for event in station.events].count("product_refused") == 3 - kept
        counters = station.counters()
        assert (counters["cfdp.renewed"], counters["station.boots"]) == (0, 2)
        repeated = [event.text for event in station.events if event.name == "boot_count_repeated"]
        assert len(repeated) == sum(later <= sooner for sooner, later in itertools.pairwise(counts))
        assert "its boot record is lost or cannot be written" in repeated[0]
        boots = [event.text for event in station.events if event.name == "boot"]
        assert ("an unknown cause, its record is damaged" in boots[-1]) == (harm is damage_both_records)
        ground.close()
