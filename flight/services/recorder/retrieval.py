"""Retrieval of stored packets, ST[15] (ECSS-E-ST-70-41C, 6.15.3): the open one of each store, and by time range.

Open retrieval is the playback of a contact: every packet that nobody heard as it was made, in order, once. Its read
pointer stands at the first packet that has not left the node:

    (in the store) --take--> with the link --departed--> behind the pointer
                                  |
                                  +-- given back if the contact ended first, and taken again by whoever comes next

Each retrieval reads by the budget of the step that asks (flight.core.step_budget), and `take` one segment at most.
"""

# What survives a reboot, as rows of the vault, `recorder.STORE` and two more keys behind a dot:
#
#     (none)       generation, number, unheard: how far playback has come; staged by the recorder every sync period
#     .start       the same, as ground last set it
#     .suspended   there if playback rests
#
# Progress may be lost with the power. Then packets come down again, octet for octet the same, and never too few: the
# pointer moves only past what the modem has had time to send (ADR 0013).
#
# Why generations: ground sets the pointer in a transaction, and progress of the old one may be on its way to the disk
# at that moment. If it were stored behind the new start, the start would be undone. So a start has a number of its own,
# and progress of another generation counts no more, neither in memory (`departed`) nor at boot.
#
# A retrieval by time range is volatile: it ends with the power, and ground asks again. It gives all packets of its
# time, heard or not, since a request for a range is how ground repairs what the air has lost.

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass

from flight.contract.app import Durable
from flight.core.step_budget import Budget
from flight.services.recorder.packet_store import OWNER, PacketStore
from flight.services.recorder.stored_packet import Place, Stored
from flight.store.vault import Changes, Vault

_NOTHING = Budget(0, 0)  # for properties: they count what is known, and never read
_POINTER = struct.Struct(">IQQ")  # generation, and the place
NUMBERS = 1 << 48  # more packets than a store ever sees: a stored number beyond it is foreign


@dataclass(frozen=True, slots=True)
class Taken:
    """A packet on its way down. If `retrieval` is None nobody waits to hear that it has left."""

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
        # Progress of a generation before the last start: it was on its way when ground set the pointer.
        if self._generation != started:
            self._generation, place = started, at_start
        self._issued = self._generation  # starts may be on their way to the disk: each gets a number of its own
        store.reserve(place)
        self._reach = place  # the next packet to be read from the store
        self._saved: tuple[int, Place] | None = (self._generation, place)
        self._ahead: deque[Stored] = deque()
        self._on_link: dict[int, Place] = {}  # taken, in order, and still with the link
        self.follow(Budget.of_boot())
        self._overwritten = 0  # what `follow` counted here, the boot that gave it up has counted before

    def _decode(self, raw: bytes | None) -> tuple[int, Place]:
        """Decode a stored pointer. The beginning of the store if there is none, or one of another version."""
        if raw is None:
            return 0, Place(0, 0)
        if len(raw) == _POINTER.size:
            generation, number, unheard = _POINTER.unpack(raw)
            if number < NUMBERS and unheard < NUMBERS:
                return generation, Place(number, unheard)
        self.store.damage.append(
            f"a foreign read pointer (length {len(raw)}): playback starts again at the oldest packet"
        )
        return 0, Place(0, 0)

    @property
    def waiting(self) -> int:
        """Packets that wait to be taken. Those that the store gave up are included until `follow` has counted them."""
        self.follow(_NOTHING)
        return len(self._ahead) + max(0, self.store.end.unheard - self._reach.unheard)

    @property
    def searching(self) -> bool:
        """Whether there is more to read although `take` found nothing."""
        return not self.suspended and self._reach.unheard < self.store.end.unheard

    @property
    def overwritten(self) -> int:
        """Packets that the store gave up before they were taken, as far as `follow` has counted them."""
        self.follow(_NOTHING)
        return self._overwritten

    @property
    def pointer(self) -> Place:
        """The first packet that has not left the node, or the next one to be stored if all have."""
        if self._on_link:
            return next(iter(self._on_link.values()))
        return self._ahead[0].place if self._ahead else self._reach

    def start_ns(self, budget: Budget) -> int:
        """Return the time of the next packet to be taken.

        That of the newest packet if none waits, or if the budget was spent: the next call goes on from there.
        """
        while not (self._ahead or budget.spent or self._reach == self.store.end):
            self._read_ahead(budget)
        return self._ahead[0].time_ns if self._ahead else self.store.newest_ns

    def take(self, budget: Budget) -> Taken | None:
        """Take the next packet, or return None if none waits.

        Reads one segment at most: there may be a packet at the next call.
        """
        if self.suspended or not (self._ahead or self._read_ahead(budget)):
            return None
        stored = self._ahead.popleft()
        self._on_link[stored.place.number] = stored.place
        self.played_back += 1
        return Taken(stored.packet, self, stored.place.number, self._generation)

    def departed(self, taken: Taken) -> None:
        """Take in that a packet has left the node."""
        # Since the pointer was set, packets of before have nothing to do with it any more.
        if taken.generation == self._generation:
            self._on_link.pop(taken.number, None)

    def progress(self) -> Changes:
        """Return what to store of the pointer's way since the last call: nothing if it did not move."""
        generation, place = now = (self._generation, self.pointer)
        if now == self._saved:
            return {}
        self._saved = now
        return {self._key: _POINTER.pack(generation, *place)}

    def unsaved(self) -> None:
        """Take in that what `progress` gave last was not stored."""
        self._saved = None

    def suspend(self, suspended: bool) -> Durable:
        """Return what a command leaves to be done to let the retrieval rest, or go on."""

        def apply() -> None:
            self.suspended = suspended

        return Durable({self._suspended_key: b"" if suspended else None}, apply)

    def start_at(self, place: Place) -> Durable:
        """Return what a command leaves to be done to go on from `place`, whatever was taken before."""
        self._issued = generation = self._issued + 1

        def apply() -> None:
            self._generation = generation
            self._reach = place
            self._ahead.clear()
            self._on_link.clear()

        return Durable({self._start_key: _POINTER.pack(generation, *place)}, apply)

    def skip_to(self, place: Place) -> None:
        """Pass over packets before `place`, which were deleted on purpose and do not count as overwritten."""
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
        """Pass over what the store has given up, and count it.

        If the budget does not admit to see how many there were, a later call counts them. Of what was stored since
        boot, the store knows it without reading.
        """
        if self.store.first <= self._reach.number:
            return
        place = self.store.first_place(budget)
        if place is not None:
            self._overwritten += max(0, place.unheard - self._reach.unheard)
            self._reach = Place(place.number, max(place.unheard, self._reach.unheard))

    def _read_ahead(self, budget: Budget) -> bool:
        """Read on by one segment. Return True if there is something to take."""
        self.follow(budget)
        end = self.store.end
        if self._reach.unheard >= end.unheard:
            self._reach = end  # everything from here on was heard as it was made
            return False
        if self.store.first > self._reach.number:
            return False  # where to go on is not known yet
        read = self.store.read_from(self._reach.number, budget)
        if read is None:
            return False
        records, after = read
        self._ahead.extend(stored for stored in records if not stored.heard)
        last = records[-1] if records else None
        # A segment of which nothing can be read moves the number on; the next readable packet brings the count.
        unheard = self._reach.unheard if last is None else last.place.unheard + (not last.heard)
        self._reach = end if after >= end.number else Place(after, unheard)
        return bool(self._ahead)


class RangeRetrieval:
    """The packets of a store that were made from `from_ns` to `to_ns`, both included, in order of storing.

    Heard or not; those that the store holds when the retrieval begins. It is volatile: lost with the power.
    """

    def __init__(self, store: PacketStore, from_ns: int, to_ns: int) -> None:
        self.store = store
        self.played_back = 0
        self._from_ns, self._to_ns = from_ns, to_ns
        # What is stored from now on does not belong to it: a retrieval that feeds on itself would never end.
        self._next, self._end = store.first, store.end.number
        self._ahead: deque[Stored] = deque()

    @property
    def finished(self) -> bool:
        """Whether everything was taken."""
        return not self._ahead and self._next >= self._end

    def take(self, budget: Budget) -> Taken | None:
        """Take the next packet, or return None if the next segment has none. Reads one segment at most."""
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
            stored
            for stored in records
            if stored.place.number < self._end and self._from_ns <= stored.time_ns <= self._to_ns
        )
