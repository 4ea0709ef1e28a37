"""`orbitnode flight` on storage that is full, and on one with what is not a file in it: it flies, and says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.full_disk import small_disk
from tests.sim.test_realtime_flight import Bench, Process


class StoredBench(Bench):
    """Its node's storage is the folder `store` on a small file system of its own."""

    disk: Path

    def flight(self) -> Process:
        return self.start("flight", "--mission", self.mission, "--storage", self.disk / "store")

    def boot(self, hears: str = "boot") -> str:
        """The log of a boot that has told the ground of the event `hears`, ended in order."""
        flight = self.flight()
        self.packets.clear()
        self.talk(None, lambda _: hears in self.events())
        flight.says("Ctrl-C ends it")
        code, text = flight.end()
        assert code == 0 and "Traceback" not in text, text
        return text

    def events(self) -> set[str]:
        """Names of the events that came."""
        came = {(p.apid, p.data[:2]) for p in self.packets if p.service == 5}
        declared = self.dictionary.events
        return {one.name for one in declared if (one.apid, one.number.to_bytes(2, "big")) in came}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[StoredBench]:
    with small_disk(tmp_path / "disk", kib=1024) as disk:
        made = StoredBench(tmp_path)
        made.disk = disk
        made.write("[storage]\nreserve_octets = 4096\n")
        yield made
        made.close()


def test_a_node_whose_storage_is_full_flies_says_so_and_recovers(bench: StoredBench) -> None:
    bench.sim()
    assert "boot 1 after first boot" in bench.boot()
    store, fill = bench.disk / "store", bench.disk / "fill"
    (store / "LOCK").unlink()
    fill.write_bytes(bytes(os.statvfs(bench.disk).f_bavail * 4096))
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    text = bench.boot("record_not_stored")
    assert "boot 2 after SIGINT" in text and "boot: not stored, kept in memory: cannot write boot." in text
    assert "damaged" not in text
    assert {name: (store / name).read_bytes() for name in before} == before
    fill.unlink()
    text = bench.boot()
    assert "boot 2 after SIGINT" in text and "damaged" not in text and "not stored" not in text
    assert "boot 3 after SIGINT" in bench.boot()


@pytest.mark.campaign
def test_a_folder_and_a_link_under_stored_names_cost_a_node_these_names_alone(bench: StoredBench) -> None:
    bench.sim()
    bench.boot()
    bench.boot()
    store = bench.disk / "store"
    (store / "boot.a").unlink()
    (store / "boot.a").mkdir()
    victim = bench.folder / "victim"
    victim.write_bytes(b"kept")
    (store / "recorder.reports.00000099").symlink_to(victim)
    text = bench.boot("record_damaged")
    assert "boot 3 after loss of power" in text, "the other generation is one write behind"
    assert "stored boot was damaged, one generation is unreadable, the other generation stands" in text
    text = bench.boot()
    assert "boot 4 after SIGINT" in text and "stored boot was damaged" not in text
    assert victim.read_bytes() == b"kept" and (store / "boot.a~1").is_dir()
