"""The archive: what goes in comes out, it survives a kill, and its faults are one line."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.pus import PusTm
from ground.cli.ground import held
from ground.operator import CommandRecord, Stage
from ground.telemetry.archive import Archive, ProductRow
from ground.telemetry.decoder import Decoder
from ground.telemetry.limits import Alarm
from tests.full_disk import limited_files
from tests.ground_dictionary import make

ROOT = Path(__file__).parents[2]
T_NS = 2_152_000_000 * NS


def power(soc: float, time_ns: int) -> bytes:
    layout = make().structures[0].layout
    return PusTm(1, 7, 3, 25, b"\x00\x01" + layout.encode([soc, 8.1, 1, -250]), time_ns).encode()


def add(archive: Archive, octets: bytes, received_ns: int = T_NS) -> None:
    archive.add_packet(Decoder(make()).decode(octets), octets, 0, received_ns)


def test_everything_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "archive.db"
    with Archive(path, make()) as archive:
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
    with Archive(path, read_only=True) as archive:
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
        with Archive(path, make()) as archive:
            number = archive.last_command() + 1
            archive.put_command(CommandRecord(number, "ping", {}, 1, seq, [Stage("sent", 0)]), T_NS)
            assert archive.next_seqs() == {1: (seq + 1) % 16384}
    assert number == 2


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, ".")
from tests.unit.test_ground_archive import Archive, add, make, power, T_NS
archive = Archive(Path(sys.argv[1]), make())
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
    with Archive(path, make()) as archive:
        assert len(archive.series("power.soc")) == 50


FULL = """
import os, sys
from pathlib import Path
sys.path.insert(0, ".")
from tests.unit.test_ground_archive import Archive, make
from flight.core.errors import OrbitnodeError
from tests.full_disk import limited_files
path = Path(sys.argv[1])
archive = Archive(path, make())
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
    with Archive(path, read_only=True) as archive:
        assert archive.counters("x") == [(1, 1)] and archive.series("unheard_of") == [(3, 4)]


def test_foreign_files_and_places(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("something else entirely, long enough to be looked at" * 20)
    other = tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE t (x)").connection.close()
    for path, match in ((text, "not an archive"), (other, "something else"), (tmp_path, "cannot be opened")):
        with pytest.raises(OrbitnodeError, match=match) as caught:
            Archive(path, make())
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(OrbitnodeError, match="cannot be opened"):
        Archive(tmp_path / "none.db", read_only=True)
    with pytest.raises(OrbitnodeError, match="archive"):
        Archive(text / "below" / "a.db", make())


def test_locked_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ground.telemetry.archive.LOCK_WAIT_S", 0.05)
    path = tmp_path / "archive.db"
    Archive(path, make()).close()
    holder = sqlite3.connect(path)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OrbitnodeError, match="locked by another process"):
        Archive(path, make())
    holder.close()


def test_an_archive_without_the_table_of_newest_values_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    with Archive(path, make()) as archive:
        add(archive, power(0.5, T_NS + NS))
        add(archive, power(0.75, T_NS))
        archive._db.execute("DROP TABLE newest")  # noqa: SLF001 - an archive of an earlier version
    with Archive(path, make()) as archive:
        assert archive.latest()["power.soc"].value == 0.5
        archive.put_newest({"power.soc": (T_NS, 0.75), "not.known": (T_NS, 1)})
        archive.commit_promptly()
    with Archive(path, read_only=True) as archive:
        assert archive.latest()["power.soc"].value == 0.75 and archive.latest()["power.mode"].value == "idle"


def test_a_folder_is_kept_for_one_ground_alone(tmp_path: Path) -> None:
    folder = tmp_path / "ground"
    command = [sys.executable, "-m", "flight.cli", "ground", "--folder", str(folder)]
    with held(folder):
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
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
