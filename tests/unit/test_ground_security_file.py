"""The ground's record of link security on a real disk: held by one ground, whole or damaged, never half written."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from flight.core.errors import SetupError, StorageError
from flight.keys import locked
from ground import security_file
from ground.cli.ground import held
from ground.security_file import SUFFIX, SecurityFile
from sim_hw.bench.emulate import Wire
from tests.full_disk import small_disk


def record_of(keys: Path) -> bytes | None:
    file = SecurityFile(keys)
    file.close()
    return file.content


def test_what_was_saved_last_is_found(tmp_path: Path) -> None:
    keys = tmp_path / "n.keys"
    file = SecurityFile(keys)
    assert (file.content, file.fault) == (None, "")
    for content in (b"first", b"", b"\0" * 5000):
        file.save(content)
    file.close()
    assert record_of(keys) == b"\0" * 5000
    path = tmp_path / f"n.keys{SUFFIX}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(found.name for found in tmp_path.iterdir()) == [path.name, f"{path.name}.lock"]


def test_one_ground_has_the_keys(tmp_path: Path) -> None:
    keys = tmp_path / "n.keys"
    first = SecurityFile(keys)
    open_files = set(os.listdir("/proc/self/fd"))
    with pytest.raises(SetupError, match=f"^the keys {keys} are in use by a ground that runs: end it first$"):
        SecurityFile(keys)
    assert set(os.listdir("/proc/self/fd")) == open_files
    first.close()
    SecurityFile(keys).close()


@pytest.mark.parametrize("cut", [1, 4, 25, 30])
def test_a_record_that_is_not_whole_is_a_fault_and_not_a_content(tmp_path: Path, cut: int) -> None:
    keys, path = tmp_path / "n.keys", tmp_path / f"n.keys{SUFFIX}"
    file = SecurityFile(keys)
    file.save(b"numbers")
    file.close()
    path.write_bytes(path.read_bytes()[:-cut])
    file = SecurityFile(keys)
    assert (file.content, file.fault) == (None, f"{path} is damaged")
    file.save(b"numbers of the clock")
    file.close()
    assert record_of(keys) == b"numbers of the clock"


def test_a_full_disk_leaves_the_former_record(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        file = SecurityFile(disk / "n.keys")
        file.save(b"former")
        (disk / "fill").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
        with pytest.raises(StorageError, match=r"n\.keys\.numbers cannot be written: No space left on device"):
            file.save(b"newer" * 4000)
        (disk / "fill").unlink()
        file.close()
        assert record_of(disk / "n.keys") == b"former"
        assert not (disk / f"n.keys{SUFFIX}~").exists()


def test_a_name_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    file = SecurityFile(tmp_path / "n.keys")
    (tmp_path / f"n.keys{SUFFIX}~").symlink_to(victim)
    with pytest.raises(StorageError, match="cannot be written"):
        file.save(b"numbers")
    file.close()
    assert victim.read_text() == "kept"


def test_writes_that_take_too_much_of_the_time_are_told_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, write_s = [100.0], 0.0

    def slow_fsync(_fd: int) -> None:
        now_s[0] += write_s / 2  # of file and folder

    monkeypatch.setattr(security_file, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    monkeypatch.setattr(os, "fsync", slow_fsync)
    file = SecurityFile(tmp_path / "n.keys")
    for write_s, told in ((0.001, 0), (0.01, 10)):
        said = 0
        for _ in range(100):
            now_s[0] += 0.1 - write_s
            file.save(b"numbers")
            said += file.is_slow()
        assert said == pytest.approx(told, abs=1)
    file.close()


def lock_folder(folder: Path) -> None:
    with held(folder):
        pass


def lock_keys(folder: Path) -> None:
    with locked(folder / "n.keys"):
        pass


LOCKS: dict[str, Callable[[Path], object]] = {
    "numbers": lambda folder: SecurityFile(folder / "n.keys"),
    "keys": lock_keys,
    "ground": lock_folder,
    "board": lambda folder: Wire(folder / "board"),
}


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_a_file_system_without_locks_is_not_somebody_else(
    lock: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_fd: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    open_files = set(os.listdir("/proc/self/fd"))
    with pytest.raises(SetupError, match=r"cannot be locked: No locks available"):
        lock(tmp_path)
    assert set(os.listdir("/proc/self/fd")) == open_files
