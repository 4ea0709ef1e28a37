"""A control group (cgroup v2) for each worker process, if this node may make one. Edge code.

It holds every process that a worker makes, whatever that does to leave: one write ends them all. With the controllers
`pids` and `memory` it also bounds them. Groups are made in the node's own unit (under systemd: `Delegate=yes`), beside
the node, because the kernel gives controllers only to groups whose parent holds no process.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_PREFIX = "orbitnode-worker-"
_UNITS = (".service", ".scope")


def home(mounts: Path = Path("/proc/self/mountinfo"), own: Path = Path("/proc/self/cgroup")) -> Path | None:
    """The folder in which this process may make groups; None without cgroup v2 or without the right to write there."""
    try:
        lines = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
        root = next((Path(line[4]) for line in lines if "-" in line and line[line.index("-") + 1] == "cgroup2"), None)
        mine = next((one[3:] for one in own.read_text(encoding="utf-8").splitlines() if one.startswith("0::")), None)
    except (OSError, IndexError):
        return None
    if root is None or mine is None:
        return None
    folder = root / mine.lstrip("/")
    if folder.parent.name.endswith(_UNITS) and not folder.name.endswith(_UNITS):
        folder = folder.parent
    return folder if os.access(folder / "cgroup.procs", os.W_OK) else None


def remove_stale(folder: Path) -> None:
    """End and remove the groups of nodes that are gone, as after a kill of the node."""
    for stale in sorted(folder.glob(f"{_PREFIX}*")):
        owner = stale.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            group = ControlGroup(stale)
            group.kill()
            group.remove()


class ControlGroup:
    """One group; its folder is its handle."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def make(cls, folder: Path, number: int) -> ControlGroup | None:
        """A new group in `folder`; None if that is refused."""
        for controller in ("+pids", "+memory"):
            with contextlib.suppress(OSError):
                (folder / "cgroup.subtree_control").write_text(controller, encoding="ascii")
        made = folder / f"{_PREFIX}{os.getpid()}-{number}"
        try:
            made.mkdir(exist_ok=True)
        except OSError:
            return None
        return cls(made)

    def take(self, pid: int, *, threads: int, memory_mib: int) -> bool:
        """Put a process in, under these limits if the controllers are there; False if it is not in now."""
        limits = {"pids.max": str(threads), "memory.oom.group": "1"}
        if memory_mib:
            limits["memory.max"] = str(memory_mib << 20)
        for name, value in limits.items():
            if (self._folder / name).exists():
                with contextlib.suppress(OSError):
                    (self._folder / name).write_text(value, encoding="ascii")
        try:
            (self._folder / "cgroup.procs").write_text(str(pid), encoding="ascii")
        except OSError:
            return False
        return True

    @property
    def counts_threads(self) -> bool:
        return (self._folder / "pids.max").exists()

    def kill(self) -> None:
        """End every process in it (kernel 5.14 and later; before that the filter alone keeps children from being)."""
        with contextlib.suppress(OSError):
            (self._folder / "cgroup.kill").write_text("1", encoding="ascii")

    def remove(self) -> bool:
        """False while a process is still in it."""
        try:
            self._folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True
