"""A control group (cgroup v2) per worker process, if this node may make one. Edge code.

It holds every process that a worker makes, whatever such a process does to leave: one write ends them all. With the
controllers `pids` and `memory` it also bounds them.
"""

# Groups are made in the node's own unit (under systemd with `Delegate=yes`), beside the node's group and not below it,
# because the kernel gives controllers only to groups whose parent holds no process.
#
# A node that was killed leaves its groups behind. Their names carry its process id, so that the next node removes
# those whose node is gone. A group is optional, like every guard: each step here that is refused is left out.

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_PREFIX = "orbitnode-worker-"
_UNITS = (".service", ".scope")


def home(mounts: Path = Path("/proc/self/mountinfo"), own: Path = Path("/proc/self/cgroup")) -> Path | None:
    """Return the folder in which this process may make groups, None without cgroup v2 or the right to write there."""
    try:
        lines = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
        root = next((Path(line[4]) for line in lines if "-" in line and line[line.index("-") + 1] == "cgroup2"), None)
        # The line of version 2 has the number 0 and names no controller.
        mine = next((line[3:] for line in own.read_text(encoding="utf-8").splitlines() if line.startswith("0::")), None)
    except (OSError, IndexError):
        return None
    if root is None or mine is None:
        return None
    folder = root / mine.lstrip("/")
    # The node sits in a group of its own within its unit: go up to the unit, which holds no process itself.
    if folder.parent.name.endswith(_UNITS) and not folder.name.endswith(_UNITS):
        folder = folder.parent
    return folder if os.access(folder / "cgroup.procs", os.W_OK) else None


def remove_stale(folder: Path) -> None:
    """End and remove the groups of nodes that are gone, such as one that was killed."""
    for stale in sorted(folder.glob(f"{_PREFIX}*")):
        owner = stale.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            group = ControlGroup(stale)
            group.kill()
            group.remove()


class ControlGroup:
    """One group, known by its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def make(cls, folder: Path, number: int) -> ControlGroup | None:
        """Make a group in `folder`. Returns None if that is refused."""
        # Each on its own: a unit may have been given only one of the two.
        for controller in ("+pids", "+memory"):
            with contextlib.suppress(OSError):
                (folder / "cgroup.subtree_control").write_text(controller, encoding="ascii")
        group = folder / f"{_PREFIX}{os.getpid()}-{number}"
        try:
            group.mkdir(exist_ok=True)
        except OSError:
            return None
        return cls(group)

    def take(self, pid: int, *, threads: int, memory_mib: int) -> bool:
        """Put a process in, under these limits if the controllers are there. Returns False if that is refused."""
        limits = {"pids.max": str(threads), "memory.oom.group": "1"}  # short of memory, all of the group goes at once
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
        """Whether the controller that limits threads is there."""
        return (self._folder / "pids.max").exists()

    def kill(self) -> None:
        """End every process in it. Does nothing before kernel 5.14: there, the filter alone keeps out children."""
        with contextlib.suppress(OSError):
            (self._folder / "cgroup.kill").write_text("1", encoding="ascii")

    def remove(self) -> bool:
        """Remove the group. Returns False while a process is still in it."""
        try:
            self._folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True
