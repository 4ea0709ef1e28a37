"""Node duty: who we are and how the executive fares, as one housekeeping structure; which boot this is.

A boot is named by two numbers, its count and its epoch (ADR 0018). Whatever must not be taken for that of another boot
is made of both: transaction numbers, and what the ground believes of a boot.
"""

# The count is stored, and may come again: if the record cannot be written, was lost with its storage, or went with the
# power before it was durable. The epoch is drawn at random at each boot and tells such boots apart.
#
# The record is written at once at boot, with the cause POWER_LOST. An orderly end overwrites the cause. So whatever
# ends the node without its knowing is found by the next boot as what it was, and no code has to run at that moment. The
# record is kept in two generations: a write that the power cuts leaves the one before.

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from flight.contract.app import Sample
from flight.contract.dictionary import Declarations, Structure
from flight.contract.fields import Field
from flight.contract.service import Sampler, Service
from flight.core.errors import StorageError
from flight.core.future import Future
from flight.core.nanoseconds import NS
from flight.core.scheduler import Scheduler
from flight.link.cfdp.numbers import EPOCH_BITS
from flight.store.generations import Generations

_COUNT_OCTETS = 4  # big-endian, then the cause as UTF-8
_CAUSE_OCTETS_MAX = 200
FIRST_BOOT = "first boot"
POWER_LOST = "loss of power or of the process"
UNKNOWN = "an unknown cause, its record is damaged"


def declare(apid: int) -> Declarations:
    """Return the structure "node", which several services fill."""
    return Declarations(
        structures=(
            Structure(
                apid, 1, "node", 10.0,
                (
                    Field("boot_count", "u32", "", "boots of this node's storage"),
                    Field("uptime_s", "u32", "s", "since boot"),
                    Field("steps", "u32", "", "scheduler: steps of all tasks"),
                    Field("ticks", "u32", "", "scheduler: ticks of periodic tasks"),
                    Field("skipped", "u32", "", "scheduler: ticks given up"),
                    Field("late", "u32", "", "scheduler: ticks finished after their deadline"),
                    Field("overruns", "u32", "", "scheduler: steps over their budget"),
                    Field("task_failures", "u32", "", "scheduler: exceptions that left a task"),
                    Field("commands_accepted", "u32"),
                    Field("commands_completed", "u32"),
                    Field("commands_failed", "u32", "", "refused, or failed in execution"),
                    Field("telemetry_packets", "u32", "", "made since boot"),
                    Field("events_info", "u32", "", "occurred since boot"),
                    Field("events_low", "u32"),
                    Field("events_medium", "u32"),
                    Field("events_high", "u32"),
                    Field("events_held_back", "u32", "", "of these not reported: too many of a kind in a short time"),
                    Field("events_disabled", "u32", "", "of these not reported: disabled from ground"),
                    Field("log_lines_lost", "u32", "", "lines of the log on board that nothing took"),
                    Field("boot_epoch", "u64", "", "drawn at each boot: tells boots apart whose count is the same"),
                ),
            ),
        )
    )  # fmt: skip


class BootRecord:
    """How often this node's storage was booted, and why it boots now: `cause` was written by the boot before.

    Storage that cannot be written keeps no node from flying: it goes on with the count in memory, and calls `on_fault`.
    `epoch` is drawn from `random`.
    """

    def __init__(self, record: Generations, on_fault: Callable[[str], None], random: Random) -> None:
        before = record.load()
        # Shorter than a count: not a record of ours. The count begins again, and only the epoch tells the boot apart.
        known = before is not None and len(before) >= _COUNT_OCTETS
        self.epoch = random.getrandbits(EPOCH_BITS)
        self.count = 1
        self.cause = UNKNOWN if before is not None or record.damaged else FIRST_BOOT
        if known and before is not None:
            # Goes round after 2^32 boots instead of failing to encode.
            self.count = int.from_bytes(before[:_COUNT_OCTETS], "big") + 1 & 0xFFFFFFFF
            self.cause = before[_COUNT_OCTETS:].decode(errors="replace")
        self._record = record
        self._on_fault = on_fault
        self._save(POWER_LOST, lambda: None)

    def end(self, cause: str, on_stored: Callable[[], None]) -> None:
        """Store why the node ends, for the next boot to report. Then call `on_stored`, whether that worked or not."""
        self._save(cause, on_stored)

    def _save(self, cause: str, on_stored: Callable[[], None]) -> None:
        def saved(done: Future[None]) -> None:
            try:
                done.result()
            except StorageError as error:
                self._on_fault(str(error))
            on_stored()  # the node ends in any case: a disk must not keep it from that

        # The count is in every record, so an orderly end cannot lose it.
        content = self.count.to_bytes(_COUNT_OCTETS, "big") + cause.encode()[:_CAUSE_OCTETS_MAX]
        try:
            self._record.save(content).add_callback(saved)
        except StorageError as error:
            self._on_fault(str(error))
            on_stored()


class Status(Service):
    """Samples what the structure "node" says of boot and scheduler."""

    def __init__(self, boot_count: int, scheduler: Scheduler, boot_epoch: int = 0) -> None:
        self._boot_count = boot_count
        self._boot_epoch = boot_epoch
        self._boot_ns = scheduler.now_ns()
        self._scheduler = scheduler

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the fields about boot and scheduler."""
        return (Sampler("node", self.sample),)

    def sample(self) -> Sample:
        """Return the values of boot and scheduler."""
        totals = self._scheduler.totals()
        return {
            "boot_count": self._boot_count,
            "boot_epoch": self._boot_epoch,
            "uptime_s": (self._scheduler.now_ns() - self._boot_ns) // NS,
            "steps": totals.steps,
            "ticks": totals.ticks,
            "skipped": totals.skipped,
            "late": totals.late,
            "overruns": totals.overruns,
            "task_failures": totals.failures,
        }
