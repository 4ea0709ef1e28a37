"""The ground's link security together with the place where its record is kept."""

# The record is stored in the call, before anything that depends on it: on the ground a write now and then, one for
# hundreds of commands and for a few frames that come, may take as long as the disk takes (the node must not wait like
# that: its store is a task). If writes take too much of the time, fewer are made: then more frames are refused after
# this end was killed.
#
# If a write fails, the ground sends what it has numbers for, and then nothing. An operator sees no more of that than a
# link that does not come up, so `fault` says it, and whoever owns the loop tells it and tries again (`due`).

from __future__ import annotations

from collections.abc import Callable

from flight.core.errors import StorageError
from flight.link.actions import StoreSecurity
from flight.link.security.associations import Direction
from flight.link.security.link_security import LinkSecurity
from flight.link.security.management import Management, ProcedureRefused
from flight.link.security.numbers import SendNumbers
from ground.link.security.key_rotation import DONE, Answer


class StoredSecurity:
    """Keys, associations and numbers of the ground, and `save`, which makes a record durable or raises StorageError.

    `is_slow` says after a save whether saving takes too much of the time. link: the one that is commanded over, counted
    from 0. node, spacecraft_id: whose keys they are, if that is to be told. `fault` says why the record could not be
    stored at the last attempt, "" if it was.
    """

    def __init__(
        self, security: LinkSecurity, save: Callable[[bytes], None], is_slow: Callable[[], bool] = lambda: False, *,
        link: int = 0, node: str = "", spacecraft_id: int = 0,
    ) -> None:  # fmt: skip
        self.security = security
        self.fault = ""
        self._link = link
        self.node = node
        self.spacecraft_id = spacecraft_id
        self._save = save
        self._is_slow = is_slow
        self._management = Management(security)

    def execute(self, pdu: bytes) -> Answer:
        """Have this end execute a procedure, as the node does, and store what it changes."""
        try:
            executed = self._management.execute(pdu)
        except ProcedureRefused as error:
            return Answer(refused=error.reason, text=str(error))
        fault = "" if executed.store is None else self.store(executed.store)
        return Answer(refused="storage", text=fault) if fault else Answer(executed.reply)

    def choose(self, spi: int) -> Answer:
        """Send over this association from now on, if it is one of the way up with a key in operation."""
        association = self.security.state.associations.get(spi)
        if association is None or association.direction is not Direction.UP:
            return Answer(refused="association", text=f"SPI {spi} is none of the way up")
        if not self.security.state.usable(association):
            return Answer(refused="association state", text=f"SPI {spi} is not in operation")
        self.security.choose(association.link, spi)
        content = self.security.to_store()
        fault = "" if content is None else self.store(content)
        return Answer(refused="storage", text=fault) if fault else DONE

    def store(self, record: StoreSecurity) -> str:
        """Store the record. Return why that failed, an empty text if it did not."""
        try:
            self._save(record.content)
        except StorageError as error:
            self.security.store_failed(record.generation)
            self.fault = str(error)
            return self.fault
        self.security.stored(record.generation)
        self.fault = ""
        if self._is_slow():
            self.security.widen()
        return ""

    def due(self) -> StoreSecurity | None:
        """Return what is to be stored by now: what never was, or could not be; None if nothing is."""
        self.security.retry()
        return self.security.to_store()

    @property
    def sendable(self) -> int | None:
        """How many frames can be sent before something is stored; None if the way up is clear, or nothing carries."""
        numbers = self.security.state.numbers.get(self.security.carrier(self._link) or 0)
        return max(0, numbers.limit - numbers.next) if isinstance(numbers, SendNumbers) else None

    @property
    def keeps_from_sending(self) -> bool:
        """Whether nothing can be sent because of `fault`."""
        return bool(self.fault) and self.sendable == 0
