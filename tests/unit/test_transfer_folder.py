"""The folder of transfers: what it keeps, what it sweeps, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flight.core.errors import OrbitnodeError
from ground.files.transfer_folder import TransferFolder
from ground.files.working_file import FolderFault
from tests.full_disk import limited_files, small_disk


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir())


def test_what_is_recorded_is_found_again_and_what_is_not_is_swept(tmp_path: Path) -> None:
    folder = TransferFolder(tmp_path)
    for key, record in (("down-2-1", b"one\n\0"), ("up-7", b"two")):
        working = folder.working(key)
        working.write(5, b"abc")
        working.sync()
        folder.save(key, {"name": "x"}, record)
    folder.working("down-2-2").write(0, b"without a record")
    (tmp_path / "up-9.data").write_bytes(b"a copy that was never asked for")
    (tmp_path / "down-2-3.rough").write_bytes(b"half a record")
    (tmp_path / "README").write_bytes(b"somebody else's")
    again = TransferFolder(tmp_path)
    assert [(one.key, one.facts, one.record) for one in again.take_stored()] == [
        ("down-2-1", {"name": "x"}, b"one\n\0"), ("up-7", {"name": "x"}, b"two"),
    ]  # fmt: skip
    assert again.working("down-2-1").read(0, 100) == bytes(5) + b"abc"
    assert names(tmp_path) == ["README", "down-2-1.data", "down-2-1.record", "up-7.data", "up-7.record"]
    assert again.take_stored() == [] and again.faults == []
    assert again.new_key() == "up-10"  # no key comes again


@pytest.mark.parametrize("damage", [b"", b"orbitnode transfer 1\n", b"orbitnode transfer 1\n\0\0\0\0[]\n", b"x" * 99])
def test_a_damaged_record_costs_its_transfer_and_nothing_else(tmp_path: Path, damage: bytes) -> None:
    folder = TransferFolder(tmp_path)
    for key in ("down-2-1", "down-2-2"):
        folder.working(key).write(0, b"x")
        folder.save(key, {}, b"")
    (tmp_path / "down-2-1.record").write_bytes(damage)
    again = TransferFolder(tmp_path)
    assert [one.key for one in again.take_stored()] == ["down-2-2"]
    assert again.faults == ["transfer down-2-1 is not gone on with: its record cannot be read: it is damaged"]
    assert names(tmp_path) == ["down-2-2.data", "down-2-2.record"]


def test_a_record_is_replaced_whole(tmp_path: Path) -> None:
    folder = TransferFolder(tmp_path)
    folder.save("down-2-1", {}, b"first")
    with limited_files(4), pytest.raises(FolderFault, match="File too large"):
        folder.save("down-2-1", {}, b"second")
    (stored,) = TransferFolder(tmp_path).take_stored()
    assert stored.record == b"first"


def test_ended_transactions_are_remembered(tmp_path: Path) -> None:
    folder = TransferFolder(tmp_path)
    assert folder.ended() is None
    folder.save_ended(b"\0\1\n2")
    assert TransferFolder(tmp_path).ended() == b"\0\1\n2"
    (tmp_path / "ended.record").write_bytes(b"nonsense")
    assert TransferFolder(tmp_path).ended() is None


def test_a_copy_is_what_the_file_was(tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.write_bytes(os.urandom(3_000_000))
    folder = TransferFolder(tmp_path / "transfers")
    copy = folder.copy(local)
    while copy.step():
        pass
    assert folder.working(copy.key).read(0, 4_000_000) == local.read_bytes() and copy.octets == 3_000_000
    assert names(folder.path) == ["up-1.data"]


def test_a_file_that_changes_while_it_is_copied_is_refused(tmp_path: Path) -> None:
    local = tmp_path / "local"
    local.write_bytes(bytes(3_000_000))
    folder = TransferFolder(tmp_path / "transfers")
    copy = folder.copy(local)
    while copy.octets < 2_000_000:
        copy.step()
    local.write_bytes(bytes(2_000_000))
    with pytest.raises(OrbitnodeError, match="was changed while it was copied"):
        copy.step()
    assert names(folder.path) == []


def test_what_is_not_a_file_is_not_copied(tmp_path: Path) -> None:
    folder = TransferFolder(tmp_path / "transfers")
    os.mkfifo(tmp_path / "pipe")
    for name, why in (("pipe", "is not a file"), ("none", "No such file"), ("transfers", "is not a file")):
        with pytest.raises(OrbitnodeError, match=why):
            folder.copy(tmp_path / name)
    assert names(folder.path) == []


def test_there_must_be_room_for_a_copy_and_the_reserve_is_not_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 66 << 10) as disk:
        folder = TransferFolder(disk)
        assert 0 < folder.free_octets <= 2 << 20
        local = tmp_path / "local"
        local.write_bytes(bytes(3 << 20))
        with pytest.raises(FolderFault, match="no room for a copy of") as refused:
            folder.copy(local)
        assert refused.value.is_full and names(disk) == []


def test_a_full_disk_is_said_as_such(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 100) as disk:
        working = TransferFolder(disk).working("down-2-1")
        with pytest.raises(FolderFault, match="No space left on device") as full:
            working.write(0, bytes(200_000))
        assert full.value.is_full
        working.close()


def test_places_that_no_file_has_are_refused(tmp_path: Path) -> None:
    working = TransferFolder(tmp_path).working("down-2-1")
    with pytest.raises(FolderFault, match="no file is that long"):
        working.write(1 << 63, b"x")
    with pytest.raises(FolderFault, match="cannot be written"):
        working.write((1 << 63) - 1, b"x")
    working.close()


def test_a_folder_that_cannot_be_used_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OrbitnodeError, match=r"folder of transfers .* cannot be used: "):
        TransferFolder(tmp_path / "file")


def test_no_link_is_followed(tmp_path: Path) -> None:
    folder = TransferFolder(tmp_path / "transfers")
    (tmp_path / "transfers" / "down-2-1.data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderFault):
        folder.working("down-2-1").write(0, b"x")
    assert not (tmp_path / "elsewhere").exists()
