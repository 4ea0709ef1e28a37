"""What a command writes: whole, or what was there before; every way in which a path may be taken, in one line."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flight import cli
from flight.core.errors import OrbitnodeError
from ground.whole_file import whole_file
from tests.full_disk import NO_SPACE, limited_files, small_disk
from tests.waiting import GIVE_UP_S

ROOT = Path(__file__).resolve().parents[2]


def write(path: Path, octets: bytes = b"new") -> None:
    with whole_file(path) as stream:
        stream.write(octets)


def test_a_write_that_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        path = disk / "made" / "table"
        write(path, b"old")
        path.chmod(0o640)
        with pytest.raises(OrbitnodeError, match=f"^{path} cannot be written: {NO_SPACE}$"):
            write(path, bytes(100_000))
        assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["table"]
        with limited_files(10), pytest.raises(OrbitnodeError, match=f"{path} cannot be written: File too large"):
            write(path, bytes(100))
        with pytest.raises(ZeroDivisionError), whole_file(path) as stream:
            stream.write(bytes([1 // 0]))
        assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["table"]
        write(path)
        assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("put", "says"),
    [
        (lambda path: path.mkdir(), "it is a folder; name a file"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to(path.with_name("file") / "below"), "(File exists|Not a directory)"),
    ],
    ids=["a folder", "a link to itself", "a link to below a file"],
)
def test_what_cannot_be_written_is_one_line(tmp_path: Path, put: Callable[[Path], None], says: str) -> None:
    (tmp_path / "file").touch()
    put(tmp_path / "path")
    with pytest.raises(OrbitnodeError, match=rf"^{tmp_path}/path cannot be written: {says}$"):
        write(tmp_path / "path")


def test_a_link_is_written_through_also_one_to_a_name_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"old")
    for name in ("there", "absent"):
        (tmp_path / f"to-{name}").symlink_to(name)
        write(tmp_path / f"to-{name}")
        assert (tmp_path / name).read_bytes() == b"new" and (tmp_path / f"to-{name}").is_symlink()


def test_a_device_is_written_to(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flight.cli", "dictionary", "--json", "--out", "/dev/stdout"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=GIVE_UP_S, check=False)
    assert done.returncode == 0 and done.stdout.startswith('{\n "format"'), done.stderr
    with pytest.raises(OrbitnodeError, match=f"/dev/full cannot be written: {NO_SPACE}"):
        write(Path("/dev/full"), bytes(100_000))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["dictionary", "parameters"])
def test_a_full_disk_costs_no_command_its_last_result(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.toml"
    table.write_text("soc_safe_frac = 0.25\n")
    with small_disk(tmp_path / "disk", 1024) as disk:
        out = disk / "out"
        words = {
            "dictionary": ["dictionary", "--out", str(out)],
            "parameters": ["parameters", "pack", str(table), "-o", str(out)],
        }[name]
        assert cli.main(words) == 0, capsys.readouterr().err
        kept = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
        assert kept
        capsys.readouterr()
        (disk / "fill").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
        assert cli.main(words) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"orbitnode: error: {out}") and said.endswith(f" cannot be written: {NO_SPACE}\n")
        assert {path: path.read_bytes() for path in kept} == kept
        assert not list(disk.rglob("*~"))
