"""The packet recorder: keeps telemetry while nobody listens, gives it back in order when somebody does.

Packets stand in memory, bounded in octets, and in a circular journal, synced every few seconds, from which they
come back after a power loss. The journal is cleared when the last one has left the node; power lost in the middle of
a playback means that its packets come down again, never that one is missing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from flight.config import key
from flight.core.errors import StorageError
from flight.core.future import Event
from flight.core.journal import Journal
from flight.core.scheduler import Task

_SYNC_PERIOD_S = 5.0


@dataclass(frozen=True, slots=True)
class RecorderConfig:
    capacity_octets: int = key(2_000_000, minimum=10_000, maximum=1_000_000_000, text="packets held at most")


class Recorder:
    """First in, first out; when full the oldest packet gives way, counted in `overwritten`.

    Storage that fails costs durability, not the packets: they stay in memory, the failure in `storage_faults`.
    """

    def __init__(self, config: RecorderConfig, journal: Journal) -> None:
        self.overwritten = 0
        self.storage_faults = 0
        self.recorded = 0
        self.played_back = 0
        self.octets = 0
        self._capacity_octets = config.capacity_octets
        self._journal = journal
        self._packets: deque[bytes] = deque()
        self._unsynced = False
        self._emptied = Event()
        self._playing = False
        for packet in journal.recover():
            self._hold(packet)

    def __len__(self) -> int:
        return len(self._packets)

    def store(self, packet: bytes) -> None:
        self.recorded += 1
        self._hold(packet)
        try:
            self._journal.append(packet)
            self._unsynced = True
        except StorageError:
            self.storage_faults += 1

    def take(self) -> bytes | None:
        """The oldest packet, given up for playback; None where nothing is recorded."""
        if not self._packets:
            return None
        packet = self._packets.popleft()
        self.octets -= len(packet)
        self.played_back += 1
        self._playing = True
        return packet

    def played_out(self) -> None:
        """Everything that was taken has left the node: an empty recorder may forget it for good."""
        if self._playing and not self._packets:
            self._playing = False
            self._clear()

    async def run(self, task: Task) -> None:
        """Make what was recorded durable, every few seconds, and at once that all was played back."""
        while True:
            await task.wait(self._emptied.wait(), _SYNC_PERIOD_S)
            self._emptied.clear()
            if self._unsynced:
                self._unsynced = False
                try:
                    await self._journal.sync()
                except StorageError:
                    self.storage_faults += 1

    def _clear(self) -> None:
        try:
            self._journal.clear()
            self._unsynced = True
            self._emptied.set()
        except StorageError:
            self.storage_faults += 1

    def _hold(self, packet: bytes) -> None:
        self._packets.append(packet)
        self.octets += len(packet)
        while self.octets > self._capacity_octets:
            self.octets -= len(self._packets.popleft())
            self.overwritten += 1
