"""Files that come up: CFDP class 1 in telecommand packets of the file APID (CCSDS 727.0-B-5), through COP-1.

    PDUs --> in transfer --whole, checksum fits--> held, event `upload_received`; the one held before is forgotten
                         --otherwise-------------> forgotten, event `upload_failed`
    PDUs of a transfer that has ended, or that cannot be taken --> ignored, event `upload_ignored`

Each event names the transaction, so that the ground knows which of its files is meant.
"""

# A file that is held does nothing. A command names it and says what it is for, and is checked and stored like any
# other: so a file cannot bypass admission, and what a command made of it is as durable as that command. The file itself
# is in memory, the newest alone, until the next boot. If the power goes between the upload and the command, the command
# is refused and the ground sends the file again.
#
# Memory is bounded whatever comes up: _TRANSFERS_MAX files in transfer and one held, each of `capacity_octets` at most,
# and _RANGES_MAX separate stretches per file. A transfer that nobody continues ends after `silence_s`, which is longer
# than the time from pass to pass: COP-1 loses no frame within a contact, and after one the rest may come in the next.

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flight.contract.app import CommandRefused, EventSink, Sample
from flight.contract.dictionary import Declarations, EventDefinition
from flight.contract.failures import Failure
from flight.contract.fields import Field
from flight.contract.service import Sampler, Service, ServiceTask
from flight.core.config import key
from flight.core.task import Task
from flight.link.cfdp.transfers import CfdpConfig, CfdpReceiver, FileAction, FileReceived
from flight.link.space_packet import HEADER_OCTETS

# One more than is needed: a new file need not end one that a lost EOF has left open.
_TRANSFERS_MAX = 2
_RANGES_MAX = 64  # stretches of a file in transfer that do not touch
# How late the end of a silent transfer may be noticed.
_LOOK_S = 10.0
_NUMBER = Field("number", "u64", text="of the CFDP transaction")
_TELECOMMAND = 0x1000  # type bit of the first header word (133.0-B-2, 4.1.3.3.2)


@dataclass(frozen=True, slots=True)
class UploadsConfig:
    """Mission section [uploads]."""

    capacity_octets: int = key(
        65536, minimum=1024, maximum=16_000_000,
        text="octets of one file at most; memory holds three: two in transfer, one whole",
    )  # fmt: skip
    silence_s: float = key(
        12000.0, minimum=10.0, maximum=1e6, text="silence that ends a transfer; longer than from pass to pass"
    )


def declare(apid: int) -> Declarations:
    """Return the events of uploads."""
    return Declarations(
        events=(
            EventDefinition(
                apid, 51, "upload_received", "info", "file {name} of {octets} octets came up",
                (Field("name", "str"), Field("octets", "u32", "octet"), _NUMBER),
            ),
            EventDefinition(
                apid, 52, "upload_failed", "low", "file {name} did not come up whole: {reason}",
                (Field("name", "str"), Field("reason", "str"), _NUMBER),
            ),
            EventDefinition(
                apid, 53, "upload_ignored", "low", "{pdus} PDUs of files ignored, the last of {name}: {reason}",
                (Field("pdus", "u32"), Field("name", "str"), Field("reason", "str"), _NUMBER),
            ),
        )
    )  # fmt: skip


class Uploads(Service):
    """Takes PDUs and holds the newest file.

    apid: that of files. entity: the node's own CFDP entity. `refused` counts PDUs of which nothing was kept, for
    whatever reason.
    """

    def __init__(
        self, config: UploadsConfig, apid: int, entity: int, events: EventSink, now_ns: Callable[[], int]
    ) -> None:
        self.received = 0
        self.failed = 0
        self._first_octets = (_TELECOMMAND | apid).to_bytes(2, "big")
        self._events = events
        self._now_ns = now_ns
        self._held: FileReceived | None = None
        self._receiver = CfdpReceiver(
            CfdpConfig(
                entity=entity,
                transactions=_TRANSFERS_MAX,
                file_octets=config.capacity_octets,
                total_octets=_TRANSFERS_MAX * config.capacity_octets,
                ranges=_RANGES_MAX,
                inactivity_s=config.silence_s,
            )
        )

    @property
    def refused(self) -> int:
        """PDUs of which nothing was kept, for whatever reason."""
        counters = self._receiver.counters
        return counters.late + sum(counters.refused.values())

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the uploads' fields of the structure "link"."""
        return (Sampler("link", self.sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that ends transfers for which nothing comes any more."""
        return (ServiceTask("uploads", self.run, deadline_s=5.0),)

    def sample(self) -> Sample:
        """Return what the structure "link" says of files on their way up."""
        return {
            "files_received": self.received,
            "files_failed": self.failed,
            "file_pdus_refused": self.refused,
        }

    def on_packet(self, raw: bytes) -> bool:
        """Take a whole packet from the uplink. Return False if it carries no PDU.

        A PDU travels in a telecommand packet of the file APID without a PUS header.
        """
        # Packet type, no secondary header, and the APID: two octets of the header say all of it.
        if raw[:2] != self._first_octets:
            return False
        self._settle(self._receiver.on_pdu(raw[HEADER_OCTETS:], self._now_ns()))
        return True

    async def run(self, task: Task) -> None:
        """Give up transfers for which nothing comes any more."""
        async for _ in task.every(_LOOK_S):
            self._settle(self._receiver.on_time(self._now_ns()))

    def octets(self, name: str) -> bytes:
        """Return the file called `name`. Raises CommandRefused if it is not the one that is held."""
        if self._held is None:
            raise CommandRefused(Failure.BAD_VALUE, f"no file {name}: nothing was uploaded since boot")
        if name != self._held.name:
            raise CommandRefused(Failure.BAD_VALUE, f"no file {name}: the newest upload is {self._held.name}")
        return self._held.data

    def _settle(self, actions: list[FileAction]) -> None:
        for action in actions:
            if isinstance(action, FileReceived):
                self.received += 1
                self._held = action
                self._events.emit("upload_received", action.name, len(action.data), action.transaction.number)
            else:
                self.failed += 1
                missing = sum(end - start for start, end in action.missing)
                reason = f"{action.reason}, {missing} of {action.octets} octets missing" if missing else action.reason
                self._events.emit("upload_failed", action.name, reason, action.transaction.number)
        for ignored in self._receiver.ignored(self._now_ns()):
            number = ignored.transaction.number if ignored.transaction is not None else 0
            name = ignored.name or (f"transaction {number}" if ignored.transaction is not None else "no transaction")
            self._events.emit("upload_ignored", ignored.count, name, ignored.meaning, number)
