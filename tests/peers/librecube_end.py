"""LibreCube's cfdp (MIT) as one end, over real UDP sockets on loopback: it has threads and timers of its own.

The package sends to one address and receives at another; this file holds the other side of both. So time is this
machine's, and whoever waits for it waits for a fact with a limit.

Its threads end at the first exception, such as one about a PDU that they do not know. `dead` says which have.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cfdp import CfdpEntity
from cfdp.constants import TransmissionMode
from cfdp.filestore import NativeFileStore
from cfdp.transaction import Transaction
from cfdp.transport.udp import UdpTransport

from tests.peers.endings import Ending
from tests.ports import HOST, free_port
from tests.waiting import GIVE_UP_S, wait_until

NAK_S, ACK_S, INACTIVE_S = 0.1, 0.2, 60.0
LIMIT = 50
_TIMERS = ("inactivity_timer", "ack_timer", "nak_timer")
_UNREAD_MAX = 32  # PDUs in the buffer of a socket
_PDU_OCTETS_MAX = 65_507
SEGMENT_OCTETS = 1024
# The package has no way to set it: its 4,096 octets are the last default of a constructor.
Transaction.__init__.__defaults__ = (*Transaction.__init__.__defaults__[:-1], SEGMENT_OCTETS)


class _Entity(CfdpEntity):  # type: ignore[misc] # the package has no types
    """Notes how transactions end. Class 2 reports Finished to its user only after its own part is over."""

    def __init__(self, entity: int, folder: Path, transport: UdpTransport, endings: list[Ending]) -> None:
        self.noted = endings
        self.begun: set[Any] = set()  # transactions that can be cancelled
        super().__init__(
            entity, NativeFileStore(str(folder)), transport, transaction_finished_indication_required=True,
            transaction_inactivity_limit=INACTIVE_S, positive_ack_timer_interval=ACK_S,
            positive_ack_timer_expiration_limit=LIMIT, nak_timer_interval=NAK_S, nak_timer_expiration_limit=LIMIT,
        )  # fmt: skip

    def transaction_finished_indication(
        self, transaction_id: Any, condition_code: int, file_status: int, delivery_code: int, *_: Any
    ) -> None:
        role = "source" if transaction_id[0] == self.entity_id else "destination"
        self.noted.append(Ending(role, transaction_id, condition_code, delivery_code, file_status))

    def metadata_received_indication(self, transaction_id: Any, *_: Any) -> None:
        self.begun.add(transaction_id)


class _Transport(UdpTransport):  # type: ignore[misc]
    """Sends no faster than it is read: the system drops what does not fit into the buffer of a socket."""

    sent = read = 0

    def request(self, pdu: bytes) -> None:
        self.sent += 1
        super().request(pdu)

    def is_ready(self) -> bool:
        return self.sent - self.read < _UNREAD_MAX


class LibreCubeEnd:
    """An entity of LibreCube's cfdp over `folder`. Call `close` when done: it has threads."""

    def __init__(self, folder: Path, entity: int, other: int) -> None:
        self.folder = folder
        self.endings: list[Ending] = []
        self._other = other
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self._socket.setblocking(False)
        self._transport = _Transport({"*": [self._socket.getsockname()]})
        self._address = HOST, free_port()
        self._transport.bind(*self._address)
        self.entity = _Entity(entity, folder, self._transport, self.endings)
        self._given = self._handled = 0
        indication = self._transport.indication
        self._transport.indication = lambda pdu: self._handle(indication, pdu)

    def put(self, source_name: str, name: str, *, acknowledged: bool = True, checksum: int = 0) -> tuple[int, int]:
        """Begin to send a file; its checksum type is the package's to know."""
        mode = TransmissionMode.ACKNOWLEDGED if acknowledged else TransmissionMode.UNACKNOWLEDGED
        transaction: tuple[int, int] = self.entity.put(
            self._other, source_name, name, transmission_mode=mode, checksum_type=checksum
        )
        self.entity.begun.add(transaction)
        return transaction

    def cancel(self) -> None:
        """Cancel every transaction. What it was given may lie unread before its threads: so wait until it knows one."""
        wait_until(lambda: self.entity.begun, "the peer has begun")
        for transaction in list(self.entity.begun):
            self.entity.cancel(transaction)

    @property
    def idle(self) -> bool:
        """Every transaction that it knows has ended."""
        return all(self.entity.is_complete(transaction) for transaction in list(self.entity.machines))

    @property
    def dead(self) -> list[str]:
        """Which of its threads an exception has ended."""
        threads = {
            "socket": self._transport._thread,
            "events": self.entity._event_thread,
            "messages": self.entity._message_thread,
        }
        return [name for name, thread in threads.items() if not thread.is_alive()]

    def take(self, now_ns: int) -> bytes | None:
        """Return the next PDU that has come out of it, or None."""
        del now_ns
        try:
            raw = self._socket.recv(_PDU_OCTETS_MAX)
        except BlockingIOError:
            return None
        self._transport.read += 1
        return raw

    def give(self, raw: bytes, now_ns: int) -> None:
        """Send it a PDU, once it has read most of those before."""
        del now_ns
        wait_until(lambda: self._unread < _UNREAD_MAX or self.dead, "the peer reads")
        self._given += 1
        self._socket.sendto(raw, self._address)

    @property
    def _unread(self) -> int:
        """PDUs in its socket or in the queue of its events."""
        return self._given - self._handled + int(self.entity._event_queue.qsize())

    def _handle(self, indication: Callable[[bytes], None], pdu: bytes) -> None:
        self._handled += 1
        indication(pdu)

    def on_time(self, now_ns: int) -> None:
        """Nothing: it has timers of its own."""

    def close(self) -> None:
        """End its threads and timers, then close its files: a thread may still be at one."""
        machines = list(self.entity.machines.values())
        timers = [getattr(machine, name, None) for machine in machines for name in _TIMERS]
        for timer in filter(None, timers):
            timer.timeout = 0  # a last event must not start it again
            timer.cancel()
        self.entity.shutdown()
        self.entity._event_thread.join(GIVE_UP_S)
        self.entity._message_thread.join(GIVE_UP_S)
        if self._transport._thread.is_alive():
            self._transport.unbind()
        else:
            self._transport._socket.close()
        for machine in machines:
            if machine.transaction.file_handle is not None:
                machine.transaction.file_handle.close()
        self._socket.close()
