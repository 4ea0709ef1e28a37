"""The guards around a worker: what each keeps an app from doing, by name and by number.

Two ends use the list. The worker puts the guards up before it imports the app, and says which ones hold. The node
compares that with what /proc shows of the process, and reports the result. The numbers are telemetry (the field
`payload.isolation`): a new guard takes the next bit, and no bit is ever given a second meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag
from typing import Self


class Guard(IntFlag):
    """One bit per guard."""

    NO_NEW_PRIVILEGES = 1 << 0  # no set-user-id program gives it rights
    NO_CAPABILITIES = 1 << 1  # none of root's rights, also if the node runs as root
    OWN_SESSION = 1 << 2  # neither the node's terminal nor its process group
    DIES_WITH_NODE = 1 << 3  # the kernel kills it when the node ends, however the node ends
    OOM_FIRST = 1 << 4  # the first to be killed if memory is short
    MEMORY_LIMIT = 1 << 5  # address space, `memory_mib`
    THREAD_LIMIT = 1 << 6
    DESCRIPTOR_LIMIT = 1 << 7
    FILE_SIZE_LIMIT = 1 << 8  # per file; no core file
    SYSTEM_CALLS = 1 << 9  # no child process, no signal, no tracing, no socket, no change of priority
    NO_NETWORK = 1 << 10  # an empty network of its own
    READ_ONLY_FILES = 1 << 11  # it can write nothing but its own folder
    HIDDEN_FILES = 1 << 12  # it can read nothing but programs, libraries, the app and the model
    PRIVATE_FOLDER = 1 << 13  # in memory, of bounded size, gone with the process
    CGROUP = 1 << 14  # a control group of its own, with limits if the controllers are there

    @classmethod
    def every(cls) -> Self:
        """Return all guards."""
        return cls((1 << len(cls)) - 1)

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """Return the guards of these labels. Raises KeyError for a label that does not exist."""
        found = cls(0)
        for name in names:
            found |= _BY_LABEL[name]
        return found

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the guards in this set, as configuration and telemetry write them."""
        return tuple(guard.name.lower() for guard in type(self) if guard in self and guard.name)


_BY_LABEL = {guard.name.lower(): guard for guard in Guard if guard.name}
