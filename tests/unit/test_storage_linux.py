"""Storage on Linux with disks that hang, are full or read-only: the loop goes on, the reason is told."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flight.core.errors import StorageError
from flight.core.future import Future
from flight.core.platform import Storage
from flight.core.storage import StorageFull
from flight.linux.platform import LinuxPlatform
from flight.linux.storage import CHANGES_MAX, LinuxStorage
from flight.store.quota import Share, SharedStorage, StorageConfig
from tests.full_disk import small_disk
from tests.linux_loop import run_until
from tests.waiting import GIVE_UP_S

ROOT = Path(__file__).resolve().parents[2]


def finish(platform: LinuxPlatform, future: Future[None]) -> None:
    assert run_until(platform, lambda: future.done)
    future.result()


@pytest.fixture(name="small_disk")
def small_disk_below(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", kib=256) as folder:
        yield folder


class HangingDisk:
    """Holds every fdatasync until `let_go`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._go = threading.Event()
        self.held = threading.Event()
        real: Callable[[int], None] = os.fdatasync

        def fdatasync(fileno: int) -> None:
            self.held.set()
            assert self._go.wait(GIVE_UP_S)
            real(fileno)

        monkeypatch.setattr(os, "fdatasync", fdatasync)

    def let_go(self) -> None:
        self._go.set()


def replace_many(storage: LinuxStorage) -> None:
    for i in range(2 * CHANGES_MAX):
        storage.replace(f"many-{i}", b"")


def fill(storage: Storage, name: str) -> None:
    """Kilooctets onto `name` until they are refused, each of its own kind."""
    for i in range(1000):
        storage.append(name, bytes([i % 251]) * 1000)


def test_a_hanging_disk_does_not_hold_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = LinuxPlatform(tmp_path / "store", "unit")
    storage = platform.storage
    disk = HangingDisk(monkeypatch)
    storage.append("log", b"1")
    first = storage.sync()
    assert run_until(platform, disk.held.is_set)
    ticks: list[int] = []
    for i in range(100):
        storage.append("log", b"2")
        storage.replace("state", b"%d" % i)
        storage.append(f"new-{i % 10}", b"x")
        storage.delete(f"new-{i % 7}")
        assert storage.read("log", 0, 1) == b"1" and storage.size("log") == 2 + i and "state" in storage.names()
        second = storage.sync()
        platform.call_at(platform.now_ns(), lambda: ticks.append(1))
        assert run_until(platform, lambda: bool(ticks))
        assert ticks.pop() == 1
    assert not first.done
    with pytest.raises(StorageError, match="changes wait for the disk"):
        replace_many(storage)
    assert storage.counters.refused == 1 and storage.read("state") == b"99"
    disk.let_go()
    finish(platform, first)
    finish(platform, second)
    assert storage.read("log") == b"1" + 100 * b"2"
    assert storage.counters.commits == 2 and storage.counters.syncs == 101
    platform.close()


def test_a_full_disk_refuses_whole_and_takes_again_once_there_is_room(small_disk: Path) -> None:
    platform = LinuxPlatform(small_disk / "store", "unit")
    storage = platform.storage
    storage.append("old", bytes(100_000))
    finish(platform, storage.sync())
    with pytest.raises(StorageFull, match=r"cannot append to .*/log: disk full, no space left"):
        fill(storage, "log")
    with pytest.raises(StorageFull, match=r"cannot replace .*/state: disk full"):
        storage.replace("state", bytes(20_000))
    with pytest.raises(StorageFull, match=r"cannot append to .*/new: disk full"):
        storage.append("new", bytes(20_000))
    octets = os.path.getsize(small_disk / "store" / "log")
    assert storage.size("log") == octets and octets % 1000 == 0 and 100_000 < octets < 200_000
    assert storage.names() == ["log", "old"] and storage.free_octets() < 8192
    assert storage.counters.refused == 3
    storage.delete("old")
    assert storage.free_octets() >= 100_000, "what the next commit frees is included"
    finish(platform, storage.sync())
    assert storage.free_octets() >= 100_000
    storage.append("log", b"again")
    storage.replace("state", bytes(20_000))
    finish(platform, storage.sync())
    assert storage.counters.failures == 0
    platform.close()
    platform = LinuxPlatform(small_disk / "store", "unit")
    content = platform.storage.read("log") or b""
    assert content == b"".join(bytes([i % 251]) * 1000 for i in range(octets // 1000)) + b"again"
    platform.close()


def test_a_full_disk_refuses_what_is_written_at_a_place_and_leaves_the_length(small_disk: Path) -> None:
    platform = LinuxPlatform(small_disk / "store", "unit")
    storage = platform.storage
    storage.write("file", 1_000_000, b"end")
    storage.write("file", 5, b"begin")
    for at, octets in ((100_000, 400_000), (1_000_001, 400_000), (2_000_000, 400_000)):
        with pytest.raises(StorageFull, match=r"cannot write to .*/file: disk full"):
            storage.write("file", at, b"x" * octets)
        assert storage.size("file") == os.path.getsize(small_disk / "store" / "file") == 1_000_003
    with pytest.raises(StorageFull, match=r"cannot write to .*/new: disk full"):
        storage.write("new", 7, bytes(400_000))
    assert storage.names() == ["file"] and storage.counters.refused == 4
    assert storage.read("file", 0, 12) == b"\0\0\0\0\0begin\0\0" and storage.read("file", 1_000_000, 1) == b"e"
    storage.delete("file")
    finish(platform, storage.sync())
    storage.write("file", 0, bytes(100_000))
    finish(platform, storage.sync())
    platform.close()


def test_the_recorder_gives_way_on_a_full_disk(small_disk: Path) -> None:
    platform = LinuxPlatform(small_disk / "store", "unit")
    shares = {"commands": Share(100_000, 0), "recorder": Share(1_000_000, 1)}
    shared = SharedStorage(platform.storage, shares, StorageConfig(reserve_octets=32_768))
    recorder, commands = shared.user("recorder"), shared.user("commands")
    recorder.on_pressure(lambda _octets: recorder.delete(recorder.names()[0]))
    for i in range(10):
        recorder.append(f"recorder.{i:08d}", bytes(10_000))
    with pytest.raises(StorageFull, match="storage user recorder of priority 1"):
        fill(recorder, "recorder.00000010")
    finish(platform, recorder.sync())
    for _ in range(90):
        commands.append("commands.0", bytes(1000))
        finish(platform, commands.sync())
    assert commands.usage.refused == 0 and commands.size("commands.0") == 90_000
    assert recorder.names()[0] != "recorder.00000000" and recorder.usage.yielded_octets >= 50_000
    (small_disk / "foreign").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
    with pytest.raises(StorageFull, match="disk full"):
        commands.replace("commands.a", bytes(5000))  # the room of what was deleted comes with the commit
    finish(platform, commands.sync())
    commands.replace("commands.a", bytes(5000))
    platform.close()


def test_a_read_only_disk_is_read_and_says_why_it_takes_nothing(small_disk: Path) -> None:
    platform = LinuxPlatform(small_disk / "store", "unit")
    platform.storage.append("log", b"1")
    platform.storage.replace("state", b"2")
    finish(platform, platform.storage.sync())
    platform.close()
    (small_disk / "store" / "~7").write_bytes(b"left by a power cut")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    platform = LinuxPlatform(small_disk / "store", "unit")
    storage = platform.storage
    for _ in range(2):  # with and without an open descriptor
        with pytest.raises(StorageError, match=r"cannot append to .*/log: the file system is read-only"):
            storage.append("log", b"x")
        assert storage.read("log") == b"1" and storage.read("state") == b"2"
    with pytest.raises(StorageError, match=r"cannot append to .*/new: the file system is read-only"):
        storage.append("new", b"x")
    with pytest.raises(StorageError, match=r"cannot replace .*/state: the file system is read-only"):
        storage.replace("state", b"x")
    assert storage.counters.refused == 4 and storage.names() == ["log", "state"]
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    storage.append("log", b"+")
    finish(platform, storage.sync())
    assert storage.read("log") == b"1+"
    platform.close()


def test_a_commit_that_cannot_write_back_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages are gone: a second fdatasync would report success for octets that are nowhere."""
    platform = LinuxPlatform(tmp_path / "store", "unit")
    storage = platform.storage

    def no_room(_fileno: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", no_room)
    storage.append("log", b"1")
    with pytest.raises(StorageError, match="failed, restart the node: disk full, no space left"):
        finish(platform, storage.sync())
    monkeypatch.undo()
    with pytest.raises(StorageError, match="failed, restart the node"):
        storage.append("log", b"2")
    with pytest.raises(StorageError, match="failed, restart the node"):
        storage.sync().result()
    with pytest.raises(StorageError, match="failed"):
        platform.close()
    platform = LinuxPlatform(tmp_path / "store", "unit")
    platform.storage.append("log", b"2")
    finish(platform, platform.storage.sync())
    platform.close()


def test_close_makes_all_durable_and_calls_nobody_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a commit is gone by then, and must not write any more."""
    platform = LinuxPlatform(tmp_path / "store", "unit")
    storage = platform.storage
    disk = HangingDisk(monkeypatch)
    called: list[str] = []
    storage.append("log", b"1")
    storage.sync().add_callback(lambda _: called.append("running"))
    assert run_until(platform, disk.held.is_set)
    storage.append("log", b"2")
    storage.sync().add_callback(lambda _: called.append("waiting"))
    disk.let_go()
    platform.close()
    assert called == []
    again = LinuxPlatform(tmp_path / "store", "unit")
    assert again.storage.read("log") == b"12"
    again.close()


def test_a_close_that_fails_does_not_end_the_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a content that was replaced: the commit is done all the same, and so are those after it."""
    platform = LinuxPlatform(tmp_path / "store", "unit")
    storage = platform.storage
    real, failed = os.close, []

    def close(fileno: int) -> None:
        real(fileno)
        if threading.current_thread().name == "storage-commit":
            failed.append(fileno)
            raise OSError(errno.EIO, "the file system noticed it late")

    monkeypatch.setattr(os, "close", close)
    for content in (b"1", b"2", b"3"):
        storage.replace("name", content)
        finish(platform, storage.sync())
    platform.close()
    assert failed and (tmp_path / "store" / "name").read_bytes() == b"3"


def stand_in(path: Path, kind: str) -> None:
    """Put something of that kind there that is not a file."""
    target = path.parent.parent / "target"
    target.write_bytes(b"somebody else's")
    if kind == "folder":
        path.mkdir()
        (path / "content").write_bytes(b"kept")
    elif kind == "link":
        path.symlink_to(target)
    elif kind == "dangling link":
        path.symlink_to(target.parent / "nowhere")
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        socket.socket(socket.AF_UNIX).bind(str(path))


STAND_INS = ("folder", "link", "dangling link", "FIFO", "socket")


@pytest.mark.parametrize("kind", STAND_INS)
def test_what_is_not_a_file_under_a_stored_name_costs_that_name_alone(tmp_path: Path, kind: str) -> None:
    store = tmp_path / "store"
    store.mkdir()
    for name in ("replaced", "appended", "deleted"):
        stand_in(store / name, kind)
    (store / "sound").write_bytes(b"1")
    (store / "~1").mkdir()  # what a commit would leave, were it a file
    platform = LinuxPlatform(store, "unit")
    storage = platform.storage
    assert storage.names() == ["appended", "deleted", "replaced", "sound"] and storage.read("sound") == b"1"
    for name in ("replaced", "appended", "deleted"):
        assert storage.size(name) == 0
        with pytest.raises(StorageError, match=rf"cannot read {store}/{name}: it is a \w+, not a file"):
            storage.read(name)
    storage.replace("replaced", b"2")
    storage.append("appended", b"3")
    storage.delete("deleted")
    finish(platform, storage.sync())
    platform.close()
    platform = LinuxPlatform(store, "unit")
    storage = platform.storage
    assert storage.names() == ["appended", "replaced", "sound"]
    assert storage.read("replaced") == b"2" and storage.read("appended") == b"3"
    platform.close()
    assert (tmp_path / "target").read_bytes() == b"somebody else's" and not (tmp_path / "nowhere").exists()
    asides = sorted(path.name for path in store.iterdir() if "~" in path.name[1:])
    assert asides == ["appended~1", "deleted~1", "replaced~1"], "nothing of a person's is deleted"
    assert kind != "folder" or (store / "replaced~1" / "content").read_bytes() == b"kept"


@pytest.mark.parametrize("kind", STAND_INS)
def test_a_lock_that_is_not_a_file_keeps_nobody_from_the_folder_and_is_not_followed(tmp_path: Path, kind: str) -> None:
    store = tmp_path / "store"
    store.mkdir()
    stand_in(store / "LOCK", kind)
    platform = LinuxPlatform(store, "unit")
    with pytest.raises(StorageError, match=r"held by another process \(unknown\)"):
        LinuxPlatform(store, "second")
    platform.storage.replace("state", b"1")
    platform.close()
    LinuxPlatform(store, "second").close()
    assert (tmp_path / "target").read_bytes() == b"somebody else's" and not (tmp_path / "nowhere").exists()


def test_a_full_disk_without_a_lock_is_booted_from_and_held(small_disk: Path) -> None:
    store = small_disk / "store"
    platform = LinuxPlatform(store, "unit")
    platform.storage.replace("state", b"1")
    platform.close()
    (store / "LOCK").unlink()
    (small_disk / "fill").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
    platform = LinuxPlatform(store, "unit")
    assert platform.storage.read("state") == b"1"
    with pytest.raises(StorageError, match="held by another process"):
        LinuxPlatform(store, "second")
    with pytest.raises(StorageFull, match="disk full"):
        platform.storage.replace("state", b"2")
    (small_disk / "fill").unlink()
    platform.storage.replace("state", b"2")
    finish(platform, platform.storage.sync())
    platform.close()
    assert (store / "state").read_bytes() == b"2"


def test_a_file_of_another_user_ends_the_boot_before_it_could_be_written_over(tmp_path: Path) -> None:
    """A record that cannot be read counts as lost, and the next write takes its place."""
    if os.getuid():
        pytest.skip("only root can become a user who may not read a file")
    store = tmp_path / "store"
    store.mkdir()
    (store / "boot.a").write_bytes(b"kept")
    (store / "boot.a").chmod(0o600)
    store.chmod(0o777)
    for folder in store.parents:  # those of this run of tests are its user's alone
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)
    code = (
        "import os, sys\n"
        "from flight.linux.platform import LinuxPlatform\n"
        "from flight.core.errors import StorageError\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: LinuxPlatform(sys.argv[1], 'unit')\n"
        "except StorageError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(store)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=GIVE_UP_S,
        check=True,
    )
    assert done.stdout == f"storage folder {store}: boot.a may not be read by this user\n", done.stderr
    assert (store / "boot.a").read_bytes() == b"kept"
