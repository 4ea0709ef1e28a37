"""Retrieval of stored packets, ST[15] (ECSS-E-ST-70-41C, 6.15.3): the open one of each store, and by time range.

Open retrieval is the playback of a contact: every packet that nobody heard as it was made, in order, once. Its read
pointer is kept in the vault, and stands at the first packet that has not left the node:

    (in the store) --take--> with the link --left--> behind the pointer
                                  |
                                  +-- given back where the contact ended first, and taken again by whoever comes next

A pointer that ground sets begins a new generation; what an older one stored of its progress counts no more.

Each reads by the budget of the step that asks (flight.core.step_budget), one segment a call at most.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass

from flight.contract.app import Durable
from flight.core.step_budget import Budget
from flight.services.recorder.packet_store import OWNER, PacketStore
from flight.services.recorder.stored_packet import Place, Stored
from flight.store.vault import Changes, Vault

_NOTHING = Budget(0, 0)  # nothing is read
_POINTER = struct.Struct(">IQQ")  # generation, and the place
NUMBERS = 1 << 48  # more packets than a store sees


@dataclass(frozen=True, slots=True)
class Taken:
    """A packet on its way down. Where `retrieval` is None nobody waits to hear that it has left."""

    packet: bytes
    retrieval: OpenRetrieval | None = None
    number: int = 0
    generation: int = 0


class OpenRetrieval:
    """The open retrieval of one store."""

    def __init__(self, store: PacketStore, vault: Vault) -> None:
        self.store = store
        self.played_back = 0
        self._overwritten = 0
        self._key = f"{OWNER}.{store.name}"
        self.suspended = self._suspended_key in vault
        started, at_start = self._decode(vault.get(self._start_key))
        self._generation, place = self._decode(vault.get(self._key))
        if self._generation != started:
            self._generation, place = started, at_start
        self._issued = self._generation
        store.reserve(place)
        self._reach = place  # the next packet to be read from the store
        self._saved: tuple[int, Place] | None = (self._generation, place)
        self._ahead: deque[Stored] = deque()
        self._on_link: dict[int, Place] = {}  # taken, in order, and not left yet
        self.follow(Budget.of_boot())
        self._overwritten = 0  # those were counted by the boot that gave them up

    def _decode(self, raw: bytes | None) -> tuple[int, Place]:
        """A pointer as it was kept; the beginning if there is none, or one of another version."""
        if raw is None:
            return 0, Place(0, 0)
        if len(raw) == _POINTER.size:
            generation, number, unheard = _POINTER.unpack(raw)
            if number < NUMBERS and unheard < NUMBERS:
                return generation, Place(number, unheard)
        self.store.damage.append(f"a read pointer of {len(raw)} octets is foreign: playback begins anew")
        return 0, Place(0, 0)

    @property
    def waiting(self) -> int:
        """Packets that wait to be taken; with those that the store gave up, until `follow` has counted them."""
        self.follow(_NOTHING)
        return len(self._ahead) + max(0, self.store.end.unheard - self._reach.unheard)

    @property
    def searching(self) -> bool:
        """Whether there is more to read where `take` found nothing."""
        return not self.suspended and self._reach.unheard < self.store.end.unheard

    @property
    def overwritten(self) -> int:
        """Packets that the store gave up before they were taken, as far as `follow` has counted them."""
        self.follow(_NOTHING)
        return self._overwritten

    @property
    def pointer(self) -> Place:
        """The first packet that has not left; where all have, the next one to be stored."""
        if self._on_link:
            return next(iter(self._on_link.values()))
        return self._ahead[0].place if self._ahead else self._reach

    def start_ns(self, budget: Budget) -> int:
        """Time of the next packet to be taken; that of the newest one if none waits, or the budget was spent: the next
        call goes on from there.
        """
        while not (self._ahead or budget.spent or self._reach == self.store.end):
            self._read_ahead(budget)
        return self._ahead[0].time_ns if self._ahead else self.store.newest_ns

    def take(self, budget: Budget) -> Taken | None:
        """The next packet; None where none waits. Reads one segment at most: there may be one at the next call."""
        if self.suspended or not (self._ahead or self._read_ahead(budget)):
            return None
        one = self._ahead.popleft()
        self._on_link[one.place.number] = one.place
        self.played_back += 1
        return Taken(one.packet, self, one.place.number, self._generation)

    def left(self, taken: Taken) -> None:
        """The packet has left the node."""
        if taken.generation == self._generation:
            self._on_link.pop(taken.number, None)

    def progress(self) -> Changes:
        """What to keep of the pointer's way since the last call; nothing where it neither moved nor was set."""
        generation, place = now = (self._generation, self.pointer)
        if now == self._saved:
            return {}
        self._saved = now
        return {self._key: _POINTER.pack(generation, *place)}

    def unsaved(self) -> None:
        """What `progress` gave last was not kept."""
        self._saved = None

    def suspend(self, suspended: bool) -> Durable:
        """Let the retrieval rest, or go on."""

        def apply() -> None:
            self.suspended = suspended

        return Durable({self._suspended_key: b"" if suspended else None}, apply)

    def start_at(self, place: Place) -> Durable:
        """Go on from `place`, whatever was taken before."""
        self._issued = generation = self._issued + 1

        def apply() -> None:
            self._generation = generation
            self._reach = place
            self._ahead.clear()
            self._on_link.clear()

        return Durable({self._start_key: _POINTER.pack(generation, *place)}, apply)

    def skip_to(self, place: Place) -> None:
        """Packets before `place` were deleted on purpose."""
        while self._ahead and self._ahead[0].place < place:
            self._ahead.popleft()
        self._reach = max(self._reach, place)

    @property
    def _start_key(self) -> str:
        return f"{self._key}.start"

    @property
    def _suspended_key(self) -> str:
        return f"{self._key}.suspended"

    def follow(self, budget: Budget) -> None:
        """Pass over what the store has given up, and count it; later, if the budget does not admit to see how many
        there were. The store knows it without reading for what was stored since boot.
        """
        if self.store.first <= self._reach.number:
            return
        place = self.store.first_place(budget)
        if place is not None:
            self._overwritten += max(0, place.unheard - self._reach.unheard)
            self._reach = Place(place.number, max(place.unheard, self._reach.unheard))

    def _read_ahead(self, budget: Budget) -> bool:
        """Read on by one segment; True where there is something to take."""
        self.follow(budget)
        end = self.store.end
        if self._reach.unheard >= end.unheard:
            self._reach = end  # all the rest was heard as it was made
            return False
        if self.store.first > self._reach.number:
            return False  # where to go on is not known yet
        read = self.store.read_from(self._reach.number, budget)
        if read is None:
            return False
        records, after = read
        self._ahead.extend(one for one in records if not one.heard)
        last = records[-1] if records else None
        unheard = self._reach.unheard if last is None else last.place.unheard + (not last.heard)
        self._reach = end if after >= end.number else Place(after, unheard)
        return bool(self._ahead)


class RangeRetrieval:
    """The packets of a store that were made from `from_ns` to `to_ns`, both included, heard or not, in order of
    storing: those that it holds now. Volatile: lost with the power.
    """

    def __init__(self, store: PacketStore, from_ns: int, to_ns: int) -> None:
        self.store = store
        self.played_back = 0
        self._from_ns, self._to_ns = from_ns, to_ns
        self._next, self._end = store.first, store.end.number
        self._ahead: deque[Stored] = deque()

    @property
    def finished(self) -> bool:
        return not self._ahead and self._next >= self._end

    def take(self, budget: Budget) -> Taken | None:
        """The next packet; None where none is found in the next segment. Reads one segment at most."""
        if not self._ahead and not self.finished:
            self._read_ahead(budget)
        if not self._ahead:
            return None
        self.played_back += 1
        return Taken(self._ahead.popleft().packet)

    def _read_ahead(self, budget: Budget) -> None:
        self._next = self.store.after_foreign_times(self._next, self._from_ns, self._to_ns)
        if self._next >= self._end:
            return
        read = self.store.read_from(self._next, budget)
        if read is None:
            return
        records, self._next = read
        self._ahead.extend(
            one for one in records if one.place.number < self._end and self._from_ns <= one.time_ns <= self._to_ns
        )
