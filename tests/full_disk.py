"""A full disk, in the four ways in which a test can have one: simulated, file limit, device, small file system.

    full_disk(disk)          the disk of a simulated machine takes nothing more while the context lasts
    limited_files(octets)    no file of a process grows beyond that (EFBIG), as SQLite and a node's storage meet it
    full_device()            /dev/full, where every write is refused (ENOSPC)
    small_disk(folder, kib)  a real file system of that size, for what counts its free octets; `on_small_disk` for a
                             command, which needs no more rights than a mount namespace of its own

Each gives the room back when the context ends, however the test ends.
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
    """Leave the simulated disk without room, whatever is deleted from it."""
    room_octets, disk.capacity_octets = disk.capacity_octets, 0
    try:
        yield
    finally:
        disk.capacity_octets = room_octets


@contextmanager
def limited_files(octets: int, pid: int = 0) -> Iterator[None]:
    """Let no file of process `pid` (0: this one) grow beyond `octets`.

    Python ignores the signal SIGXFSZ that comes with it, so the write itself fails.
    """
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (octets, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def full_device() -> Iterator[TextIO]:
    """Open a text stream into a full device. What is still in memory at the end is lost in silence."""
    stream = FULL_DEVICE.open("w", encoding="utf-8")
    try:
        yield stream
    finally:
        with suppress(OSError):
            stream.close()


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """Mount a small file system in `folder`. Skips the test if this machine does not let us mount one."""
    folder.mkdir()
    mounted = subprocess.run(small_disk_mount(folder, kib), check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def small_disk_mount(folder: Path, kib: int) -> list[str]:
    """Return the command that mounts a file system of that size in `folder`."""
    return ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]


def on_small_disk(folder: Path, kib: int) -> list[str]:
    """Return the words before a command that runs with a file system of that size in `folder`.

    The command has a mount namespace of its own. Skips the test if this machine has none.
    """
    folder.mkdir()
    mount = " ".join(small_disk_mount(folder, kib))
    command = ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces here")
    return command
