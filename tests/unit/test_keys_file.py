"""The keys file on disk: read only if nobody else can have touched it, written whole, private from its first octet."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from flight.core.errors import DecodeError, SetupError
from flight.keys import NoKeys, keys_path, locked, open_keys, read_keys, write_keys
from flight.link.security.keyring import Key, Keyring, KeyState, delivered_keys, simulated_keys
from flight.link.security.keys_text import TEXT_MAX, format_keys
from tests.full_disk import NO_SPACE, limited_files, small_disk
from tests.waiting import GIVE_UP_S

ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@dataclass(frozen=True)
class Ends:
    name: str
    up: object | None = "authenticated"
    down: object | None = None


LINKS = [Ends("radio"), Ends("optical", down="encrypted")]


def made_for(*links: Ends) -> Keyring:
    return delivered_keys(links, lambda _: os.urandom(32), node="node-1", spacecraft_id=427)


def fresh() -> Keyring:
    return made_for(*LINKS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "made" / "node-1.keys"
    with locked(path):
        write_keys(path, fresh())
    return path


def read(path: Path) -> Keyring:
    return read_keys(path, "node-1", 427, LINKS)


# Reading


def test_what_was_written_is_read(path: Path) -> None:
    assert [key.key_id for key in read(path)] == [0, 1, 2, 17, 18, 19, 20, 21]


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_alone_is_read(mode: int, path: Path) -> None:
    path.chmod(mode)
    read(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o700, 0o4600, 0o777])
def test_a_file_that_others_can_reach_is_refused(mode: int, path: Path) -> None:
    path.chmod(mode)
    says = (
        rf"^keys {path} are open to more than their owner \(mode {mode:04o}\), should have mode 0600: chmod 600 {path}$"
    )
    with pytest.raises(SetupError, match=says):
        read(path)


@as_root
def test_a_file_of_another_user_is_refused(path: Path) -> None:
    os.chown(path, 54321, -1)
    with pytest.raises(
        SetupError, match=rf"^keys {path} belong to user 54321, should belong to user 0, who runs this: c"
    ):
        read(path)


@as_root
def test_a_file_of_root_is_trusted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 54321)
    read(path)


@pytest.mark.parametrize(
    ("put", "says"),
    [
        (
            lambda _: None,
            "there are no keys at {path}; make them with `orbitnode keys new`, or name another file wi",
        ),
        (lambda path: path.symlink_to(path.with_name("node-1.keys")), "cannot be read: it is a symbolic link, should"),
        (lambda path: path.mkdir(mode=0o700), "are not a file; name one with --keys"),
        (lambda path: os.mkfifo(path, 0o600), "are not a file; name one with --keys"),
        (lambda path: path.with_name("below").touch(), "there are no keys at"),
    ],
    ids=["nothing", "a link", "a folder", "a pipe", "nothing, beside a file"],
)
def test_what_is_not_a_file_is_refused(put: Callable[[Path], None], says: str, path: Path) -> None:
    other = path.with_name("other.keys")
    put(other)
    with pytest.raises(SetupError) as caught:
        read(other)
    assert says.format(path=other) in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_is_told_from_something_wrong(path: Path) -> None:
    with pytest.raises(NoKeys):
        open_keys(path.with_name("absent"))
    path.chmod(0o644)
    with pytest.raises(SetupError) as caught:
        open_keys(path)
    assert not isinstance(caught.value, NoKeys)


def test_a_file_is_read_up_to_a_bound(path: Path) -> None:
    with path.open("ab") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(DecodeError, match=rf"^{path}: is over {TEXT_MAX:,} octets long, should be shorter"):
        open_keys(path)


def test_a_file_with_faults_names_itself_and_their_lines(path: Path) -> None:
    path.write_text(path.read_text().replace("version = 1", "version = 9"))
    with pytest.raises(DecodeError, match=rf"{path}:5: version: is 9, should be 1$"):
        open_keys(path)


# Whose keys


@pytest.mark.parametrize(
    ("ring", "says"),
    [
        (Keyring(fresh(), node="node-2", spacecraft_id=427), "are those of node node-2, spacecraft 427, should be"),
        (Keyring(fresh(), node="node-1", spacecraft_id=1), "are those of node node-1, spacecraft 1, should be"),
        (simulated_keys(11, LINKS, "node-1", 427), "are those of a simulation, which anyone can work out; `"),
        (made_for(LINKS[0]),
         "have none for optical up A (key 17), optical up B (key 18), optical down A (key 19), optical "),
        (made_for(Ends("radio", None, 1), LINKS[1]), "have none for radio up A (key 1), radio up B (key 2); was a"),
    ],
)  # fmt: skip
def test_keys_of_something_else_are_refused(ring: Keyring, says: str, path: Path) -> None:
    write_keys(path, ring)
    with pytest.raises(SetupError) as caught:
        read(path)
    assert str(caught.value).startswith(f"keys {path} {says}")


def test_keys_of_a_simulation_are_taken_by_whoever_says_so(path: Path) -> None:
    write_keys(path, simulated_keys(11, LINKS, "node-1", 427))
    assert read_keys(path, "node-1", 427, LINKS, allow_simulated=True).simulated


def test_further_keys_do_no_harm(path: Path) -> None:
    ring = fresh()
    ring.put(Key(300, KeyState.ACTIVE, bytes(range(32)), spi=33, created="2026-03-20T10:00:00Z"))
    write_keys(path, ring)
    assert 300 in read(path)


# Writing


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0, 0o077, 0o777])
def test_a_file_is_private_from_its_first_octet_and_whole_before_it_has_its_name(
    mask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.keys"
    sync = os.fsync
    seen: list[tuple[object, ...]] = []

    def look(file: int) -> None:
        found = os.fstat(file)
        if stat.S_ISREG(found.st_mode):
            seen.append((stat.S_IMODE(found.st_mode), found.st_size, path.exists()))
        else:
            seen.append(("folder", path.exists()))
        sync(file)

    monkeypatch.setattr("os.fsync", look)
    ring = fresh()
    with umask(mask):
        write_keys(path, ring)
    assert seen == [(0o600, len(format_keys(ring)), False), ("folder", True)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and os.listdir(tmp_path) == ["a.keys"]


def test_a_folder_that_is_made_is_private(tmp_path: Path) -> None:
    with umask(0), locked(tmp_path / "b" / "c" / "a.keys"):
        pass
    assert stat.S_IMODE((tmp_path / "b" / "c").stat().st_mode) == 0o700


def test_a_full_disk_leaves_the_keys_that_were_there(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        path = disk / "a.keys"
        write_keys(path, fresh())
        before = path.read_bytes()
        (disk / "fill").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
        for _ in range(2):
            with pytest.raises(SetupError, match=rf"^keys {path} cannot be written: {NO_SPACE}$"):
                write_keys(path, fresh(), keep_as=path.with_name("kept"))
        assert path.read_bytes() == before and sorted(os.listdir(disk)) == ["a.keys", "fill"]


def test_a_limit_leaves_the_keys_that_were_there(path: Path) -> None:
    before = path.read_bytes()
    with limited_files(100), pytest.raises(SetupError, match=rf"^keys {path} cannot be written: File too large$"):
        write_keys(path, fresh())
    assert path.read_bytes() == before


def test_a_read_only_folder_is_one_line(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        path = disk / "a.keys"
        says = rf"^keys {path} cannot be written: its folder is read-only; name another file with --keys$"
        with pytest.raises(SetupError, match=says), locked(path):
            pass
        with pytest.raises(SetupError, match=says):
            write_keys(path, fresh())


def test_what_a_killed_writer_left_is_overwritten(path: Path) -> None:
    left = path.with_name(f".{path.name}.new")
    left.write_text("half a ke")
    ring = fresh()
    write_keys(path, ring)
    assert format_keys(read(path)) == format_keys(ring) and not left.exists()


@pytest.mark.parametrize(
    ("put", "says"),
    [
        (lambda path: path.mkdir(), "it is a folder; name a file with --keys"),
        (lambda path: path.symlink_to("absent"), "it is a symbolic link; name a file with --keys"),
        (os.mkfifo, "it is not a file; name a file with --keys"),
    ],
    ids=["a folder", "a link", "a pipe"],
)
def test_nothing_but_a_file_is_replaced(put: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.keys"
    put(path)
    with pytest.raises(SetupError, match=rf"^keys {path} cannot be written: {says}$"):
        write_keys(path, fresh())
    assert os.listdir(tmp_path) == ["a.keys"]


def test_a_new_file_takes_nobodys_place(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(
        SetupError, match=rf"^{path} is there already, and is kept; name another file, or move it away$"
    ):
        write_keys(path, fresh(), is_new=True)
    other = path.with_name("kept")
    other.write_text("other keys")
    with pytest.raises(SetupError, match=rf"^{other} is there already, and is kept"):
        write_keys(path, fresh(), keep_as=other)
    assert path.read_bytes() == before and other.read_text() == "other keys"
    assert sorted(os.listdir(path.parent)) == [f".{path.name}.lock", "kept", path.name]


def test_former_keys_are_kept_private(path: Path) -> None:
    before = path.read_bytes()
    path.chmod(0o644)
    write_keys(path, fresh(), keep_as=path.with_name("kept"))
    kept = path.with_name("kept")
    assert kept.read_bytes() == before != path.read_bytes() and stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_one_writer_at_a_time(path: Path) -> None:
    busy = rf"^another `orbitnode keys` is changing {path}; wait until it has ended$"
    with locked(path):
        with pytest.raises(SetupError, match=busy), locked(path):
            pass
        with locked(path.with_name("of-another-node.keys")):
            pass
    with pytest.raises(BlockingIOError), locked(path):
        raise BlockingIOError  # of the writer's own, not the lock's
    with locked(path):
        pass


# The place


def test_the_usual_place_is_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ORBITNODE_KEYS", str(tmp_path / "other"))
    assert keys_path("node-1") == tmp_path / "other" / "node-1.keys"
    monkeypatch.delenv("ORBITNODE_KEYS")
    assert keys_path("node-1") == tmp_path / ".orbitnode" / "node-1.keys"
    assert keys_path("node-1", Path("there")) == Path("there")


@as_root
def test_a_user_without_a_home_folder_is_told_to_name_a_file() -> None:
    """A child that is nobody: its user number has no entry that could say where home is."""
    code = """
import os, sys
os.environ.pop("ORBITNODE_KEYS", None)
from flight.keys import keys_path
from flight.core.errors import SetupError
os.setuid(54321)
try:
    keys_path("node-1")
except SetupError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, cwd="/", capture_output=True, text=True,
        timeout=GIVE_UP_S, check=True,
    )  # fmt: skip
    assert done.stdout == "this user has no home folder to look for keys in; name the keys file with --keys\n"
