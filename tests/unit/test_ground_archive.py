"""The archive: what goes in comes out, it survives a kill, and its faults are one line."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from flight.contract.dictionary import Dictionary
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.pus import PusTm
from ground.changes import Listeners
from ground.cli.ground import held
from ground.counters import StationCounters
from ground.operator import CommandRecord, Stage
from ground.telemetry.archive import Archive
from ground.telemetry.archive_rows import ProductRow
from ground.telemetry.archive_writer import ArchiveWriter
from ground.telemetry.decoder import Decoder
from ground.telemetry.limits import Alarm
from ground.telemetry.node_archive import NodeArchive
from tests.archives import entered, reading
from tests.full_disk import limited_files
from tests.ground_dictionary import make
from tests.waiting import GIVE_UP_S

ROOT = Path(__file__).parents[2]
T_NS = 2_152_000_000 * NS


def power(soc: float, time_ns: int) -> bytes:
    layout = make().structures[0].layout
    return PusTm(1, 7, 3, 25, b"\x00\x01" + layout.encode([soc, 8.1, 1, -250]), time_ns).encode()


def add(archive: NodeArchive, octets: bytes, received_ns: int = T_NS) -> None:
    archive.add_packet(Decoder(make()).decode(octets), octets, 0, received_ns)


def test_everything_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "archive.db"
    with entered(path, make()) as archive:
        add(archive, power(0.5, T_NS + NS))
        add(archive, power(float("nan"), T_NS))
        add(archive, PusTm(1, 0, 5, 4, b"\x00\x03\x3e\x80\x00\x00", T_NS).encode())
        archive.add_alarm(Alarm(T_NS, "power.soc", "normal", "red", 0.2, "frac", "text"))
        archive.add_counters({"frames": 3}, T_NS)
        archive.add_product(ProductRow(T_NS, "tile-1.bin", 10, False, "", ((2, 5),), {"tile": 1}))
        record = CommandRecord(4, "ping", {"a": 1}, 1, 9, [Stage("sent", 0)])
        archive.put_command(record, T_NS)
        record.stages.append(Stage("completed", 5, "d"))
        record.outcome = "completed"
        archive.put_command(record, T_NS)
    with reading(path) as archive:
        assert archive.dictionary() == make()
        assert archive.series("power.soc") == [(T_NS, "nan"), (T_NS + NS, 0.5)]
        latest = archive.latest()
        assert (latest["power.mode"].value, latest["power.soc"].value, latest["power.soc"].unit) == (
            "idle",
            0.5,
            "frac",
        )
        assert [(e.severity, e.text) for e in archive.events()] == [("high", "charge 25%")]
        assert archive.event_counts() == {"high": 1} and archive.events(severity="low") == []
        assert archive.alarms()[0].state == "red" and archive.counters("frames") == [(T_NS, 3)]
        assert archive.products()[0].missing == ((2, 5),)
        command = archive.commands()[0]
        assert (command.outcome, command.round_trip_ns) == ("completed", 5)
        assert command.stages == (("sent", T_NS, ""), ("completed", T_NS + 5, "d"))
        assert [p[3] for p in archive.packets("power")] == [power(0.5, T_NS + NS), power(float("nan"), T_NS)]


def test_an_old_archive_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    for seq in (16383, 4):
        with entered(path, make()) as archive:
            number = archive.last_command() + 1
            archive.put_command(CommandRecord(number, "ping", {}, 1, seq, [Stage("sent", 0)]), T_NS)
            assert archive.next_seqs() == {1: (seq + 1) % 16384}
    assert number == 2


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, ".")
from tests.unit.test_ground_archive import Archive, add, make, power, T_NS
archive = Archive(Path(sys.argv[1])).enter(make())
for index in range(50):
    add(archive, power(0.5, T_NS + index))
archive.commit()
add(archive, power(0.1, T_NS + 99))
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    with child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        os.kill(child.pid, signal.SIGKILL)
    with entered(path, make()) as archive:
        assert len(archive.series("power.soc")) == 50


FULL = """
import os, sys
from pathlib import Path
sys.path.insert(0, ".")
from tests.unit.test_ground_archive import Archive, make
from flight.core.errors import OrbitnodeError
from tests.full_disk import limited_files
path = Path(sys.argv[1])
archive = Archive(path).enter(make())
archive.add_counters({"x": 1}, 1)
archive.commit()
size = os.path.getsize(f"{path}-wal")
with limited_files(size + 100):
    archive.add_counters({f"c{n}": n for n in range(50)}, 2)
    archive.add_samples({"unheard_of": 3}, 2)
    try:
        archive.commit()
    except OrbitnodeError as error:
        print(error)
archive.add_samples({"unheard_of": 4}, 3)
archive.commit()
os._exit(0)
"""


def test_a_full_disk_is_a_fault_until_there_is_room_again(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    child = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, cwd=Path(__file__).parents[2],
        check=False,
    )  # fmt: skip
    assert child.stderr == "" and child.returncode == 0
    assert child.stdout == f"archive {path}: disk I/O error; the newest 52 rows are lost\n"
    with reading(path) as archive:
        assert archive.counters("x") == [(1, 1)] and archive.series("unheard_of") == [(3, 4)]


def test_foreign_files_and_places(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("something else entirely, long enough to be looked at" * 20)
    other = tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE t (x)").connection.close()
    for path, match in ((text, "not an archive"), (other, "something else"), (tmp_path, "cannot be opened")):
        with pytest.raises(OrbitnodeError, match=match) as caught:
            Archive(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(OrbitnodeError, match="cannot be opened"):
        Archive(tmp_path / "none.db", read_only=True)
    with pytest.raises(OrbitnodeError, match="archive"):
        Archive(text / "below" / "a.db")


def test_locked_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ground.telemetry.archive_file.LOCK_WAIT_S", 0.05)
    path = tmp_path / "archive.db"
    Archive(path).close()
    holder = sqlite3.connect(path)
    holder.execute("BEGIN EXCLUSIVE")
    with Archive(path) as archive, pytest.raises(OrbitnodeError, match="locked by another process"):
        archive.enter(make())
    holder.close()


def test_the_newest_value_is_the_latest_in_time_until_the_station_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    with entered(path, make()) as archive:
        add(archive, power(0.5, T_NS + NS))
        add(archive, power(0.75, T_NS))
    with entered(path, make()) as archive:
        assert archive.latest()["power.soc"].value == 0.5
        archive.put_newest({"power.soc": (T_NS, 0.75), "not.known": (T_NS, 1)})
        archive.commit_promptly()
    with reading(path) as archive:
        assert archive.latest()["power.soc"].value == 0.75 and archive.latest()["power.mode"].value == "idle"


def other_node() -> Dictionary:
    return replace(make(), mission="second")


def test_nodes_in_one_file_have_each_their_own_rows(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    command = CommandRecord(1, "ping", {}, 1, 5, [Stage("sent", 0)])
    with Archive(path) as archive:
        first, second = archive.enter(make()), archive.enter(other_node())
        for node, soc, name in ((first, 0.5, "a.bin"), (second, 0.75, "b.bin")):
            assert (node.last_command(), node.next_seqs(), node.next_start()) == (0, {}, 1)
            add(node, power(soc, T_NS))
            add(node, PusTm(1, 0, 5, 4, b"\x00\x03\x3e\x80\x00\x00", T_NS).encode())
            node.put_newest({"power.soc": (T_NS, soc)})
            node.add_samples({"unheard_of": soc}, T_NS)
            node.add_alarm(Alarm(T_NS, "power.soc", "normal", "red", soc, "frac", name))
            node.add_counters({"frames": int(100 * soc)}, T_NS)
            node.add_product(ProductRow(T_NS, name, 10, True, "", (), {}))
            node.put_command(replace(command, seq=int(100 * soc)), T_NS)
            node.put_seqs({2: int(1000 * soc)})
    with Archive(path, read_only=True) as archive:
        assert archive.nodes == (make().mission, "second")
        for name, soc, product in ((make().mission, 0.5, "a.bin"), ("second", 0.75, "b.bin")):
            node = archive.of(name)
            assert node.dictionary() == replace(make(), mission=name)
            assert node.series("power.soc") == node.series("unheard_of") == [(T_NS, soc)]
            assert node.latest()["power.soc"].value == node.latest()["unheard_of"].value == soc
            assert (len(node.events()), node.event_counts()) == (1, {"high": 1})
            assert [alarm.value for alarm in node.alarms()] == [soc]
            assert node.counters("frames") == [(T_NS, int(100 * soc))]
            assert [row.name for row in node.products()] == [product]
            assert [row.stages for row in node.commands()] == [(("sent", T_NS, ""),)]
            assert node.next_seqs() == {1: int(100 * soc) + 1, 2: int(1000 * soc)}
            assert len(node.packets("power")) == 1 and len(node.packets()) == 2


def test_every_row_has_a_node_and_every_index_begins_with_it(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    Archive(path).close()
    db = sqlite3.connect(path)
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'") if name != "nodes"]
    assert len(tables) == 11
    for table in tables:
        assert "node" in {row[1] for row in db.execute(f"PRAGMA table_info({table})")}, table
        for index in [row[1] for row in db.execute(f"PRAGMA index_list({table})")]:
            assert db.execute(f"PRAGMA index_info({index})").fetchone()[2] == "node", index
    db.close()


def test_a_reader_of_several_nodes_says_which(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    with Archive(path) as archive:
        with pytest.raises(OrbitnodeError, match=r"archive.db: which node\? name one, known: none$"):
            archive.of()
        archive.enter(make())
        assert archive.of().name == make().mission
        archive.enter(other_node())
        names = f"known: {make().mission}, second$"
        with pytest.raises(OrbitnodeError, match=r"archive.db: which node\? name one, " + names):
            archive.of()
        with pytest.raises(OrbitnodeError, match="archive.db: no node 'third', " + names):
            archive.of("third")


def test_what_one_node_loses_the_other_knows_to_be_lost(tmp_path: Path) -> None:
    with Archive(tmp_path / "archive.db") as archive:
        full, other = archive.enter(make()), archive.enter(other_node())
        writer = ArchiveWriter(other, StationCounters(), Listeners())
        kept, lost = power(0.5, T_NS), power(0.75, T_NS)
        for octets in (kept, lost):
            assert writer.is_new(octets)
            writer.write(lambda a, octets=octets: add(a, octets))  # type: ignore[misc] # mypy knows no default of a lambda
            if octets is kept:
                writer.write(lambda a: a.commit())
        writer.write(lambda a: a.add_samples({"unheard_of": 1}, T_NS))
        (pages,) = archive.query("PRAGMA page_count")[0]
        archive.query(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OrbitnodeError, match="rows are lost"):
            full.add_counters({f"c{number}": number for number in range(5000)}, T_NS)
        archive.query("PRAGMA max_page_count = 1000000")
        assert not writer.is_new(kept) and writer.is_new(lost)
        other.add_samples({"unheard_of": 2}, T_NS)
        assert other.series("unheard_of") == [(T_NS, 2)]


def test_an_archive_of_another_layout_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    db = sqlite3.connect(path)
    db.executescript("PRAGMA application_id = 0x4F524231; CREATE TABLE meta (key TEXT, value TEXT);")
    db.close()
    before = path.read_bytes()
    for read_only in (True, False):
        with pytest.raises(OrbitnodeError) as caught:
            Archive(path, read_only=read_only)
        assert str(caught.value) == (
            f"archive {path}: layout 1 is of another version of orbitnode; this one needs layout 2, name another file"
        )
    assert path.read_bytes() == before


def test_a_folder_is_kept_for_one_ground_alone(tmp_path: Path) -> None:
    folder = tmp_path / "ground"
    command = [sys.executable, "-m", "flight.cli", "ground", "--folder", str(folder)]
    with held(folder):
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=GIVE_UP_S, check=False)
        assert second.returncode == 1
        assert f"folder {folder} is held by another ground (process {os.getpid()}): end it" in second.stderr
        assert not (folder / "archive.db").exists()
    with limited_files(0), held(folder):
        pass
    with held(folder):  # whoever held it is gone
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(OrbitnodeError, match="cannot be used: Not a directory"), held(tmp_path / "file" / "ground"):
        pass


def test_two_processes_that_make_one_archive_at_once_both_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "archive.db"
    real = sqlite3.connect
    others: list[Archive] = []

    class Overtaken(sqlite3.Connection):
        def executescript(self, script: str, /) -> sqlite3.Cursor:
            monkeypatch.setattr(sqlite3, "connect", real)
            others.append(Archive(path))  # the other one is quicker
            return super().executescript(script)

    monkeypatch.setattr(sqlite3, "connect", lambda *given, **named: real(*given, factory=Overtaken, **named))
    with Archive(path) as archive, others[0] as other:
        other.enter(make())
        other.commit()
        assert archive.nodes == other.nodes != ()
