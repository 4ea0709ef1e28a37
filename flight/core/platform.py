"""The Platform Protocol: the only door through which flight code reaches the machine."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Protocol, TypeVar

from flight.core.future import Future
from flight.core.storage import StorageCounters
from hal.base import Host

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Storage(Protocol):
    """Named octet strings that survive power loss, once synced.

    Names are `[a-z0-9_.-]+`, one flat namespace. Reads see every earlier write of this process; after a
    power cut only what a completed `sync` covered is sure, and an unsynced append may be torn.
    Faults (read-only, unreadable, failed) raise StorageError, a full medium StorageFull; an append or replacement
    that raises has changed nothing, and goes on working once the reason is gone. Only a failed commit is final.
    """

    @property
    def counters(self) -> StorageCounters: ...

    def free_octets(self) -> int:
        """Octets the medium still takes, what the next commit frees included. May cost a system call: not for
        every append.
        """

    def names(self) -> list[str]:
        """Every stored name, sorted."""

    def size(self, name: str) -> int | None:
        """Octets stored under `name`, None where there is no such name."""

    def read(self, name: str, at: int = 0, octets: int | None = None) -> bytes | None:
        """The content from octet `at` on, at most `octets` of it (None: to the end), b"" past the end; None where
        there is no such name.
        """

    def append(self, name: str, octets: bytes) -> None:
        """Add to the end of `name`, all of it or nothing; makes the name where it is unknown."""

    def replace(self, name: str, octets: bytes) -> None:
        """Set the whole content; after a power cut it is the old or the new one, never a mixture."""

    def delete(self, name: str) -> None:
        """Forget the name; nothing happens where it is unknown."""

    def sync(self, prefix: str = "") -> Future[None]:
        """A future that is done when everything written before this call under names that begin so is durable; of
        other names as much as the storage likes.
        """


class External(Protocol[T_co]):
    """Work done outside the loop, by a process of its own, that ends in exactly one reply."""

    def filenos(self) -> Sequence[int]:
        """Descriptors that become readable when the reply is there or the process has died."""

    def poll(self) -> T_co | None:
        """The reply, if it is there; does not block."""

    def wait(self) -> T_co:
        """Block for the reply. Only virtual time does this: the clock stands still meanwhile."""

    def kill(self) -> None:
        """End the process that does the work, as a fault would."""


class Platform(Host, Protocol):
    """One computer: its time, its disk, its randomness, the processes beside it."""

    @property
    def storage(self) -> Storage: ...

    @property
    def random(self) -> Random: ...

    def tai_ns(self) -> int:
        """Nanoseconds of International Atomic Time since 1958-01-01, the packet time scale."""

    def cpu_ns(self) -> int:
        """A clock for measuring how long a step ran. Only differences mean something: it is not `now_ns`."""

    def step_cost_ns(self, task: str) -> int:
        """What one step of the task costs the processor beside what `cpu_ns` sees: nothing in real time. In virtual
        time, where computing takes none, what the run's CPU profile says.
        """

    def complete(self, work: External[T], duration_s: float) -> Future[T]:
        """A future for the reply of `work`.

        Real time resolves it when the reply arrives; virtual time exactly `duration_s` after this call,
        however long the machine took, so that wall time reaches no decision.
        """

    def note(self, channel: str, octets: bytes) -> None:
        """Enter a decision into the run's record (the simulator's digest); real platforms ignore it."""

    def stroke(self) -> None:
        """The node is well: what watches over it may wait for its limit once more."""

    def take_last_words(self) -> str:
        """Why the process before this one ended, if the platform itself saw it; empty if it did not. Told once."""

    def stop(self) -> None:
        """End this node: the real loop returns, and a supervisor starts the process anew; the simulated computer
        boots again.
        """
