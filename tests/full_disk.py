"""A full disk, in the four ways that a test can have one: simulated, a limit on files, a device, a small file system.

    full_disk(disk)          the disk of a simulated machine, which takes nothing more while the context lasts
    limited_files(octets)    no file of a process grows beyond that (EFBIG), as SQLite and a node's storage meet it
    full_device()            /dev/full, where every write is refused (ENOSPC)
    small_disk(folder, kib)  a real file system of that size, for what counts its free octets; `on_small_disk` for a
                             command, which needs no more rights than a mount namespace of its own

Each gives the room back at its end, however the test ends.
"""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import pytest

from sim_hw.machine.disk import Disk

FULL_DEVICE = Path("/dev/full")
NO_SPACE = "No space left on device"


@contextmanager
def full_disk(disk: Disk) -> Iterator[None]:
    """A simulated disk without room, whatever is deleted from it."""
    room_octets, disk.capacity_octets = disk.capacity_octets, 0
    try:
        yield
    finally:
        disk.capacity_octets = room_octets


@contextmanager
def limited_files(octets: int, pid: int = 0) -> Iterator[None]:
    """No file of process `pid` (0: this one) grows beyond so many octets. Python ignores the signal SIGXFSZ that comes
    with it, so the write itself fails.
    """
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (octets, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def full_device() -> Iterator[TextIO]:
    """A text stream into a device that is full. What is still in memory at the end is lost in silence."""
    stream = FULL_DEVICE.open("w", encoding="utf-8")
    try:
        yield stream
    finally:
        with suppress(OSError):
            stream.close()


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """A file system of its own in `folder`; the test is skipped on a machine that lets us mount none."""
    folder.mkdir()
    mounted = subprocess.run(small_disk_mount(folder, kib), check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def small_disk_mount(folder: Path, kib: int) -> list[str]:
    return ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]


def on_small_disk(folder: Path, kib: int) -> list[str]:
    """What stands before a command that runs with a file system of that size in `folder`, in a mount namespace of its
    own; the test is skipped on a machine that has none.
    """
    folder.mkdir()
    mount = " ".join(small_disk_mount(folder, kib))
    command = ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    return command
