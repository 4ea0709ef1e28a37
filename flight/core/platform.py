"""The Platform Protocol: the only door through which flight code reaches the machine (ADR 0001)."""

# Whatever a node can learn or do outside itself is a method here: time, storage, randomness, timers, descriptors,
# replies of worker processes. Two classes implement it, flight.linux.platform.LinuxPlatform and the simulator's, and
# the same contract tests run on both. Nothing in flight/ knows which one it has.
#
# That is what makes a run repeatable: with one seed every answer of this Protocol is the same, in the same order. One
# call past it, to the system's clock or to an unseeded generator, would lose that without anybody noticing; so a list
# of edge files says who may, and tests/unit/test_layout.py holds everybody else to it.
#
# A new need of the machine is a new method here, implemented twice, with a row in the contract tests.

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Protocol, TypeVar

from flight.core.future import Future
from flight.core.storage import StorageCounters
from flight.core.utc.leap_seconds import LeapSeconds
from hal.base import Host

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Storage(Protocol):
    """Named octet strings that survive power loss, once synced.

    Names are 1 to 100 characters of `[a-z0-9_.-]`, in one flat namespace. Reads see every earlier write of this
    process. After a power cut only what a completed `sync` covered is certain. Of unsynced appends to a name a
    beginning is there, which may be torn. If a name was also written at places, any of these writes and appends may be
    missing or torn, each by itself; what is missing inside reads as before, or as zeros. Replacements and deletions
    become durable in the order in which they were made, and never before what was appended or written ahead of them.

    Faults (read-only, unreadable, failed) raise StorageError, a full medium raises StorageFull. An append or
    replacement that raises has changed nothing, and may be tried again once the reason is gone; so has a positional
    write, except that the octets it was to overwrite may be the former or the new ones. Only a failed commit is final:
    every later write and sync raises until the node starts again.
    """

    @property
    def counters(self) -> StorageCounters:
        """What this storage has done since the boot."""

    def free_octets(self) -> int:
        """Return how many octets the medium still takes, with what the next commit frees.

        May cost a system call, so it is not asked for every append.
        """

    def names(self) -> list[str]:
        """Return every stored name, sorted."""

    def size(self, name: str) -> int | None:
        """Return how many octets are stored under `name`, None if there is no such name."""

    def read(self, name: str, at: int = 0, octets: int | None = None) -> bytes | None:
        """Return the content from octet `at` on, at most `octets` of it (None: to the end).

        Past the end that is b"". Returns None if there is no such name.
        """

    def append(self, name: str, octets: bytes) -> None:
        """Add `octets` to the end of `name`, all of them or none. Makes the name if it is unknown."""

    def write(self, name: str, at: int, octets: bytes | memoryview) -> None:
        """Put `octets` at octet `at` of `name`, over what stands there. Makes the name if it is unknown.

        A gap between the end and `at` reads as zeros. The length never shrinks; without octets it stays as it is.
        """

    def replace(self, name: str, octets: bytes) -> None:
        """Set the whole content. After a power cut it is the old or the new one, never a mixture."""

    def delete(self, name: str) -> None:
        """Forget the name. Nothing happens if it is unknown."""

    def sync(self, prefix: str = "") -> Future[None]:
        """Return a future that is done when everything written so far under names that begin with `prefix` is durable.

        The storage may commit other names with them.
        """


class External(Protocol[T_co]):
    """Work done outside the loop, by a process of its own, that ends in exactly one reply."""

    def filenos(self) -> Sequence[int]:
        """Return the descriptors that become readable when the reply is there or the process has died."""

    def poll(self) -> T_co | None:
        """Return the reply if it is there, None if not. Does not block."""

    def wait(self) -> T_co:
        """Block until the reply is there, and return it. Only virtual time does so, and its clock stands meanwhile."""

    def kill(self) -> None:
        """End the process that does the work, as a fault would."""


class Platform(Host, Protocol):
    """One computer: its time, its disk, its randomness, the processes beside it."""

    @property
    def storage(self) -> Storage:
        """The disk."""

    @property
    def random(self) -> Random:
        """The source of randomness for all but secrets, seeded by the run or by the system."""

    def unpredictable(self, octets: int) -> bytes:
        """Return so many octets that nobody can guess, whatever the seed; only in a simulation are they by its seed."""

    leap_seconds: LeapSeconds
    """The table that this node goes by, for what is shown as UTC. The time service sets it to a newer one."""

    def tai_ns(self) -> int:
        """Return nanoseconds of International Atomic Time since 1958-01-01, the packet time scale."""

    def cpu_ns(self) -> int:
        """Return the clock that measures how long a step ran. Only differences mean something: it is not `now_ns`."""

    def step_cost_ns(self, task: str) -> int:
        """Return what one step of the task costs the processor beside what `cpu_ns` sees.

        In real time that is 0. In virtual time, where computing takes none, the run's CPU profile says it.
        """

    def complete(self, work: External[T], duration_s: float) -> Future[T]:
        """Return a future for the reply of `work`.

        Real time resolves it when the reply arrives. Virtual time resolves it exactly `duration_s` after this call,
        however long the machine took, so that wall time reaches no decision.
        """

    def note(self, channel: str, octets: bytes) -> None:
        """Enter a decision into the run's record (the simulator's digest). Real platforms ignore it."""

    def stroke(self) -> None:
        """Say that the node is well: the watchdog waits for its whole limit again."""

    def take_last_words(self) -> str:
        """Return why the process before this one ended, if the platform itself saw it, or else an empty text.

        The second call returns an empty text.
        """

    def stop(self) -> None:
        """End this node: the real loop returns, and a supervisor starts the process again.

        The simulated computer boots again.
        """
