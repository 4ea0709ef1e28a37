"""A small file that is written whole or not at all: its rights, what an error leaves, and what is synced when."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from flight.linux.disk.durable_file import replace_file, sync_folder, write_rough
from tests.full_disk import limited_files, small_disk


def test_a_file_is_replaced_with_the_rights_that_were_asked_for(tmp_path: Path) -> None:
    target, rough = tmp_path / "record", tmp_path / "record~"
    target.write_bytes(b"before")
    before = os.umask(0o077)
    try:
        replace_file(target, b"content", rough, 0o644)
    finally:
        os.umask(before)
    assert target.read_bytes() == b"content" and stat.S_IMODE(target.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["record"]


def test_octets_are_synced_before_the_name_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync
    seen: list[tuple[str, int, bool]] = []

    def look(file: int) -> None:
        found = os.fstat(file)
        kind = "folder" if stat.S_ISDIR(found.st_mode) else "file"
        seen.append((kind, found.st_size if kind == "file" else 0, (tmp_path / "record").exists()))
        sync(file)

    monkeypatch.setattr("os.fsync", look)
    replace_file(tmp_path / "record", b"content", tmp_path / "record~")
    assert seen == [("file", 7, False), ("folder", 0, True)]


def test_a_rough_file_that_a_killed_writer_left_is_not_written_into(tmp_path: Path) -> None:
    target, rough = tmp_path / "record", tmp_path / "record~"
    rough.write_bytes(b"left by a writer that was killed")
    rough.chmod(0o666)
    with rough.open("rb") as stream:
        replace_file(target, b"content", rough)
        assert stream.read() == b"left by a writer that was killed"
    assert target.read_bytes() == b"content" and stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_link_under_the_rough_name_is_not_followed(tmp_path: Path) -> None:
    target, rough, other = tmp_path / "record", tmp_path / "record~", tmp_path / "other"
    other.write_bytes(b"of somebody else")
    rough.symlink_to(other)
    with pytest.raises(FileExistsError):
        replace_file(target, b"content", rough)
    assert other.read_bytes() == b"of somebody else" and rough.is_symlink() and not target.exists()


def test_a_full_disk_leaves_the_former_content_and_no_rough_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        target, rough = disk / "record", disk / "record~"
        replace_file(target, b"before", rough)
        with pytest.raises(OSError, match="No space left"):
            replace_file(target, bytes(200_000), rough)
        with limited_files(100), pytest.raises(OSError, match="too large"):
            write_rough(rough, lambda stream: stream.write(bytes(200)))
        assert target.read_bytes() == b"before" and os.listdir(disk) == ["record"]


def test_a_name_that_cannot_be_given_leaves_no_rough_file(tmp_path: Path) -> None:
    (tmp_path / "record").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path / "record", b"content", tmp_path / "record~")
    assert os.listdir(tmp_path) == ["record"]


def test_only_a_folder_is_synced_as_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sync_folder(tmp_path / "file")
