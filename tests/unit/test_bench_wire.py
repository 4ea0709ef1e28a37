"""The emulated board's line in a folder that others may write to: nothing of theirs is followed, cut or taken over."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from flight.core.errors import SetupError
from ground.cli.ground import held
from sim_hw.bench.emulate import Wire
from tests.full_disk import small_disk


def test_the_folder_is_made_for_this_user_alone(tmp_path: Path) -> None:
    with Wire(tmp_path / "own" / "board") as wire:
        assert stat.S_IMODE((tmp_path / "own").stat().st_mode) == 0o700
        assert os.readlink(wire.link) == wire.device
    assert not wire.link.is_symlink()
    Wire(tmp_path / "own" / "board").close()


@pytest.mark.parametrize(
    "put",
    [
        lambda lock, victim: lock.symlink_to(victim),
        lambda lock, victim: os.link(victim, lock),
        lambda lock, _victim: lock.symlink_to(lock.with_name("absent")),
        lambda lock, _victim: os.mkfifo(lock),
        lambda lock, _victim: lock.mkdir(),
    ],
    ids=["a link", "a hard link", "a dangling link", "a FIFO", "a folder"],
)
def test_a_lock_that_is_not_our_own_file_is_neither_followed_nor_cut(
    tmp_path: Path, put: Callable[[Path, Path], None]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    put(tmp_path / "board.lock", victim)
    with pytest.raises(SetupError, match=rf"cannot make {tmp_path}/board.lock: .*; choose another --link"):
        Wire(tmp_path / "board")
    assert victim.read_text() == "kept" and not (tmp_path / "absent").exists()


def test_a_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("only root can give a folder away")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    (tmp_path / "linked").symlink_to(tmp_path)
    os.lchown(tmp_path / "linked", 12345, 12345)
    for folder in (theirs, tmp_path / "linked"):
        with pytest.raises(SetupError, match=rf"the folder {folder} is another user's; choose another --link"):
            Wire(folder / "board")
    assert list(theirs.iterdir()) == [] and not (tmp_path / "board.lock").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing_open(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        (disk / "fill").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
        before = set(os.listdir("/proc/self/fd"))
        with suppress(SetupError):  # nothing else; whether a name has room depends on the file system
            Wire(disk / "board").close()
        assert set(os.listdir("/proc/self/fd")) == before


def test_the_lock_of_a_ground_is_not_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / ".lock").symlink_to(victim)
    says = rf"folder {tmp_path} cannot be used: {tmp_path}/.lock: .*; name another --folder"
    with pytest.raises(SetupError, match=says), held(tmp_path):
        pytest.fail("it was followed")
    assert victim.read_text() == "kept"
