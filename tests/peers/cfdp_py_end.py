"""cfdp-py (us-irs, Apache-2.0) as one end: a source handler and destination handlers over a folder, in virtual time.

The package leaves a few duties to its user, and this file does them as its documentation says: one destination handler
per transaction, the acknowledgement of an EOF whose transaction has ended, and the sending of whatever waits before a
handler is called again. What the package itself does wrong is not mended here: `raised` has what its handlers raised.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import cfdppy.handler.dest as dest_module
from cfdppy import CfdpUserBase, LocalEntityConfig, RemoteEntityConfig, RemoteEntityConfigTable
from cfdppy.defs import CfdpState
from cfdppy.exceptions import (
    NoRemoteEntityConfigFound,
    PduIgnoredForDest,
    PduIgnoredForSource,
)
from cfdppy.filestore import VirtualFilestore
from cfdppy.handler.common import PacketDestination, get_packet_destination
from cfdppy.handler.dest import DestHandler, acknowledge_inactive_eof_pdu
from cfdppy.handler.source import SourceHandler
from cfdppy.mib import CheckTimerProvider, DefaultFaultHandlerBase, IndicationConfig
from cfdppy.request import PutRequest
from cfdppy.restricted_filestore import RestrictedFilestore
from spacepackets import countdown
from spacepackets.cfdp import ChecksumType, MessageToUserTlv, TransactionId, TransmissionMode
from spacepackets.cfdp.pdu import EofPdu, PduFactory
from spacepackets.cfdp.pdu.ack import TransactionStatus
from spacepackets.countdown import Countdown
from spacepackets.seqcount import SeqCountProvider
from spacepackets.util import ByteFieldU16

from tests.peers.endings import Ending

TIMER_S = 1.0
LIMIT = 20


class _Clock:
    """Virtual milliseconds, in place of those that spacepackets reads from the machine."""

    now_ms = 1

    def __call__(self) -> int:
        return self.now_ms


@contextmanager
def virtual_clock() -> Iterator[None]:
    """Give the package's timers the time that its end is told."""
    with mock.patch.object(countdown, "time_ms", CLOCK):
        CLOCK.now_ms = 1
        yield


CLOCK = _Clock()


class _Faults(DefaultFaultHandlerBase):  # type: ignore[misc] # cfdp-py has no types
    def __init__(self, told: list[tuple[str, int]]) -> None:
        super().__init__()
        self._told = told

    def notice_of_suspension_cb(self, transaction_id: TransactionId, cond: int, progress: int) -> None:
        self._told.append(("suspend", int(cond)))

    def notice_of_cancellation_cb(self, transaction_id: TransactionId, cond: int, progress: int) -> None:
        self._told.append(("cancel", int(cond)))

    def abandoned_cb(self, transaction_id: TransactionId, cond: int, progress: int) -> None:
        self._told.append(("abandon", int(cond)))

    def ignore_cb(self, transaction_id: TransactionId, cond: int, progress: int) -> None:
        self._told.append(("ignore", int(cond)))


class _Timers(CheckTimerProvider):  # type: ignore[misc]
    def provide_check_timer(self, local_entity_id: Any, remote_entity_id: Any, entity_type: Any) -> Countdown:
        return Countdown(timedelta(seconds=TIMER_S))


def _key(transaction: TransactionId) -> tuple[int, int]:
    return transaction.source_id.value, transaction.seq_num.value


class _User(CfdpUserBase):  # type: ignore[misc]
    """Notes what it is told."""

    def __init__(self, filestore: VirtualFilestore, role: str, endings: list[Ending]) -> None:
        super().__init__(vfs=filestore)
        self._role, self._endings = role, endings
        self.metadata: list[Any] = []

    def transaction_finished_indication(self, params: Any) -> None:
        done = params.finished_params
        self._endings.append(
            Ending(self._role, _key(params.transaction_id), int(done.condition_code), int(done.delivery_code),
                   int(done.file_status))
        )  # fmt: skip

    def metadata_recv_indication(self, params: Any) -> None:
        self.metadata.append(params)

    def transaction_indication(self, transaction_indication_params: Any) -> None:
        pass

    def eof_sent_indication(self, transaction_id: Any) -> None:
        pass

    def file_segment_recv_indication(self, params: Any) -> None:
        pass

    def report_indication(self, transaction_id: Any, status_report: Any) -> None:
        pass

    def suspended_indication(self, transaction_id: Any, cond_code: Any) -> None:
        pass

    def resumed_indication(self, transaction_id: Any, progress: int) -> None:
        pass

    def fault_indication(self, transaction_id: Any, cond_code: Any, progress: int) -> None:
        pass

    def abandoned_indication(self, transaction_id: Any, cond_code: Any, progress: int) -> None:
        pass

    def eof_recv_indication(self, transaction_id: Any) -> None:
        pass


class CfdpPyEnd:
    """An entity of cfdp-py over `folder`, or over a `filestore` of the package. Call it within `virtual_clock()`.

    discard: what is not whole when its transaction is cancelled is deleted, and the Finished says so.
    """

    def __init__(
        self, folder: Path, entity: int, other: int, *, segment_octets: int = 1024, packet_octets: int = 2048,
        checksum: int = 0, crc: bool = False, immediate_nak: bool = False, discard: bool = False,
        filestore: VirtualFilestore | None = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.endings: list[Ending] = []
        self.faults: list[tuple[str, int]] = []
        self.raised: list[Exception] = []
        self.ignored: list[Exception] = []
        self._queue: deque[bytes] = deque()
        local = LocalEntityConfig(
            ByteFieldU16(entity), IndicationConfig(file_segment_recvd_indication_required=False), _Faults(self.faults)
        )
        self._remote = RemoteEntityConfig(
            entity_id=ByteFieldU16(other), max_file_segment_len=segment_octets, max_packet_len=packet_octets,
            closure_requested=False, crc_on_transmission=crc, default_transmission_mode=TransmissionMode.ACKNOWLEDGED,
            crc_type=ChecksumType(checksum), positive_ack_timer_interval_seconds=TIMER_S,
            positive_ack_timer_expiration_limit=LIMIT, check_limit=LIMIT, nak_timer_interval_seconds=TIMER_S,
            nak_timer_expiration_limit=LIMIT, immediate_nak_mode=immediate_nak, disposition_on_cancellation=discard,
        )  # fmt: skip
        self._local, self._table = local, RemoteEntityConfigTable([self._remote])
        filestore = filestore or RestrictedFilestore(folder)
        self._sending = _User(filestore, "source", self.endings)
        self.receiving = _User(filestore, "destination", self.endings)
        self.source = SourceHandler(local, self._sending, self._table, _Timers(), SeqCountProvider(bit_width=16))
        self.destinations: dict[tuple[int, int], DestHandler] = {}
        # All handlers of a process share one tracker of lost segments: a default of a dataclass, made once. What an
        # earlier transaction left in it would be asked for again.
        dest_module._AckedModeParams().lost_seg_tracker.reset()

    def put(self, source_name: str, name: str, *, acknowledged: bool = True, closure: bool = False) -> None:
        """Begin to send a file; one at a time."""
        mode = TransmissionMode.ACKNOWLEDGED if acknowledged else TransmissionMode.UNACKNOWLEDGED
        assert self.source.put_request(
            PutRequest(self._remote.entity_id, Path(source_name), Path(name), mode, closure)
        )  # fmt: skip

    def put_message(self, message: bytes) -> None:
        """Begin to send metadata without a file, in class 2."""
        options = [MessageToUserTlv(message)]
        assert self.source.put_request(
            PutRequest(self._remote.entity_id, None, None, TransmissionMode.ACKNOWLEDGED, False, msgs_to_user=options)
        )

    def cancel(self) -> None:
        """Cancel what is sent and what is received, as a user does."""
        if self.source.transaction_id is not None:
            assert self.source.cancel_request(self.source.transaction_id)
            self._drain(self.source)
        for handler in self.destinations.values():
            if handler.state is not CfdpState.IDLE:
                assert handler.cancel_request(handler.transaction_id)
                self._call(handler, None)

    @property
    def idle(self) -> bool:
        """Nothing is sent, nothing received, nothing waits to be sent."""
        handlers = (self.source, *self.destinations.values())
        return not self._queue and all(handler.state is CfdpState.IDLE for handler in handlers)

    def take(self, now_ns: int) -> bytes | None:
        """Return the next PDU; a sender makes one only if nothing waits."""
        CLOCK.now_ms = 1 + now_ns // 1_000_000
        if not self._queue and self.source.state is not CfdpState.IDLE:
            self._call(self.source, None)
        return self._queue.popleft() if self._queue else None

    def give(self, raw: bytes, now_ns: int) -> None:
        """Take in a PDU, as the package routes it (4.5)."""
        CLOCK.now_ms = 1 + now_ns // 1_000_000
        pdu = PduFactory.from_raw(raw)
        if get_packet_destination(pdu) is PacketDestination.SOURCE_HANDLER:
            self._call(self.source, pdu)
            return
        key = pdu.source_entity_id.value, pdu.transaction_seq_num.value
        handler = self.destinations.get(key)
        if handler is None:
            handler = DestHandler(self._local, self.receiving, self._table, _Timers())
            self.destinations[key] = handler
        elif handler.state is CfdpState.IDLE:  # its transaction has ended
            if isinstance(pdu, EofPdu):
                self._queue.append(bytes(acknowledge_inactive_eof_pdu(pdu, TransactionStatus.TERMINATED).pack()))
            return
        self._call(handler, pdu)

    def on_time(self, now_ns: int) -> None:
        """Let every handler look at its timers."""
        CLOCK.now_ms = 1 + now_ns // 1_000_000
        for handler in self.destinations.values():
            if handler.state is not CfdpState.IDLE:
                self._call(handler, None)

    def _call(self, handler: Any, pdu: Any) -> None:
        try:
            handler.state_machine(pdu)
            self._drain(handler)
        except (PduIgnoredForSource, PduIgnoredForDest, NoRemoteEntityConfigFound) as error:
            self.ignored.append(error)
        except Exception as error:  # noqa: BLE001  # whatever it raises is what the test wants to know
            self.raised.append(error)

    def _drain(self, handler: Any) -> None:
        while (holder := handler.get_next_packet()) is not None:
            self._queue.append(bytes(holder.pdu.pack()))
