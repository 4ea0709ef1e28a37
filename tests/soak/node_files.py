"""The node's end of the file soak: its real file service on the simulated disk, booted again after each loss of power.

Files go down through the outbox, as apps put them, and come up into the directory "uploads".
"""

# An app whose product was not durable before a reboot makes it again: so a file that is neither in the store nor at the
# ground is put once more. What was acknowledged is in neither place only if something is lost, and the soak finds that.

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from random import Random

from flight.link.cfdp.transactions.requests import Role
from flight.link.space_packet import HEADER_OCTETS, SpacePacket
from flight.services.files.outbox import OutboxConfig
from flight.store.files.file_names import PRODUCTS, UPLOADS
from flight.store.files.files_config import FilesConfig
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from tests.file_link import FILE_APID, Board, Settings
from tests.soak.soak_file import Kept, SoakFile

_ROOM_OCTETS = 1 << 30  # more than all files of a soak: nothing is evicted


class NodeFiles:
    """See the head of the file. `files` are those that this end sends, each from its time on.

    at_ground: names of the files that the ground has.
    """

    def __init__(self, files: Sequence[SoakFile], seed: int, at_ground: Callable[[], Collection[str]]) -> None:
        self.reboots = 0
        self.wrong: list[str] = []  # nothing: what is wrong at this end, the events of the node say
        self.total: Counter[str] = Counter()
        self._files = {file.name: file for file in files}
        self._at_ground = at_ground
        self._loop = VirtualLoop()
        defaults = FilesConfig()
        room = {name: type(getattr(defaults, name))(quota_octets=_ROOM_OCTETS) for name in (PRODUCTS, UPLOADS)}
        settings = Settings(files=FilesConfig(**room), outbox=OutboxConfig(memory_octets=4_000_000_000))
        self._board = Board(self._loop, Disk(Random(seed), capacity_octets=2 * _ROOM_OCTETS), settings)
        self._in_contact = False
        self._given: set[str] = set()
        self._sequence = 0
        self._board.boot()

    # Lives

    def reboot(self, now_ns: int) -> None:
        """Lose the power, and with it what is not durable, and boot."""
        self._advance(now_ns)
        self._count()
        self.reboots += 1
        self._board.shut_down()
        self._board.boot()
        self._board.transfers.set_contact(self._in_contact)
        self._given = {name for name in self._given if self._is_stored(name) or name in self._at_ground()}

    def _is_stored(self, name: str) -> bool:
        return self._board.store.find(PRODUCTS, name) is not None

    def _advance(self, now_ns: int) -> None:
        self._loop.run_until(now_ns)
        if self._board.faults:
            raise self._board.faults[0]

    def _count(self) -> None:
        counters = self._board.transfers.entity.counters
        self.total.update(
            data_out=counters.data_out, octets_out=counters.octets_out, resent_octets=counters.resent_octets,
            repeated=counters.repeated, rests=counters.rests, ignored=sum(counters.ignored.values()),
        )  # fmt: skip
        self.total.update({f"ended {name}": count for name, count in counters.ended.items()})

    def close(self) -> None:
        """Count the last life, and end it."""
        self._count()
        self.total.update(f"event {name}" for name, _ in self._board.sink.events)
        self._board.shut_down()

    # The line

    def contact(self, in_contact: bool, now_ns: int) -> None:
        """Take in that a contact began or ended."""
        self._advance(now_ns)
        self._in_contact = in_contact
        self._board.transfers.set_contact(in_contact)

    def take(self, now_ns: int) -> bytes | None:
        """Return the next PDU."""
        self._advance(now_ns)
        packet = self._board.transfers.take()
        return None if packet is None else packet[HEADER_OCTETS:]

    def give(self, raw: bytes, now_ns: int) -> None:
        """Take in a PDU."""
        self._advance(now_ns)
        self._sequence = (self._sequence + 1) % 16384
        assert self._board.transfers.on_packet(SpacePacket(FILE_APID, self._sequence, raw, is_command=True).encode())

    def on_time(self, now_ns: int) -> None:
        """Do what is due, and put the files whose time has come."""
        for file in self._files.values():
            if file.due_ns <= now_ns and file.name not in self._given:
                self._given.add(file.name)
                self._board.outbox.put(file.name, file.content())
        self._advance(now_ns)

    # What came of it

    @property
    def done(self) -> Collection[str]:
        """Own files that were given, and deleted on board because the ground has them."""
        return {name for name in self._given if not self._is_stored(name)}

    @property
    def kept(self) -> dict[str, Kept]:
        """Whole files that came up."""
        return {entry.name: Kept(entry.octets, entry.sha256) for entry in self._board.store.entries(UPLOADS)}

    @property
    def is_done(self) -> bool:
        """Whether the peer has all own files, and nothing is under way."""
        return len(self.done) == len(self._files) and not self._board.transfers.entity.transactions()

    @property
    def leftovers(self) -> int:
        """Transfers that are still open."""
        return sum(status.role is Role.RECEIVER for status in self._board.transfers.entity.transactions())
