"""The air between a node and a Yamcs: a UDP relay that loses, adds and hears what a test wants."""

# Telemetry: node -> `tm_port` -> Yamcs. Telecommands: Yamcs -> `tc_port` -> node. A node takes an open port for a
# ground that hears it, so `shut` is the end of a pass, and `open` the next one. Every frame that went on to Yamcs is
# kept, so that our ground can be given the very same ones.

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from flight.core.errors import DecodeError
from flight.link.coding.cltu import decode_cltu
from tests.ports import HOST, free_port
from tests.waiting import GIVE_UP_S

_LOOK_S = 0.02
_DATAGRAM_OCTETS = 65_536


@dataclass(frozen=True)
class Uplinked:
    """A telecommand frame by its primary header (232.0-B-4, 4.1.2)."""

    bypass: bool
    control: bool
    seq: int
    lost: bool

    @property
    def kind(self) -> str:
        """Return AD, BD or BC."""
        return "BC" if self.control else "BD" if self.bypass else "AD"


class Relay(threading.Thread):
    """Both ways in one thread. `frames` went to Yamcs, `uplinked` came from it.

    `loses_down` is asked about each telemetry frame; `lost` are those that it took.
    """

    def __init__(self, yamcs_tm: int, node_tc: int) -> None:
        super().__init__(daemon=True)
        self.tm_port, self.tc_port = free_port(), free_port()
        self.frames: list[bytes] = []
        self.uplinked: list[Uplinked] = []
        self.lost: list[bytes] = []
        self.loses_down: Callable[[bytes], bool] = lambda _frame: False
        self._to_yamcs, self._to_node = (HOST, yamcs_tm), (HOST, node_tc)
        self._lose: list[str] = []
        self._halt = threading.Event()
        self._lock = threading.Lock()
        self._tc = _bound(self.tc_port)
        self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tm: socket.socket | None = None
        self.open()

    def open(self) -> None:
        """Begin a pass: hear the node."""
        with self._lock:
            if self._tm is None:
                self._tm = _bound(self.tm_port)

    def shut(self) -> None:
        """End the pass: nobody hears the node."""
        with self._lock:
            if self._tm is not None:
                self._tm.close()
                self._tm = None

    def lose(self, *kinds: str) -> None:
        """Lose the next frames of these kinds (AD, BD, BC), one each, on their way to the node."""
        with self._lock:
            self._lose += kinds

    def send_up(self, cltu: bytes) -> None:
        """Send to the node what Yamcs did not send."""
        self._out.sendto(cltu, self._to_node)

    def run(self) -> None:
        """Relay until `end`."""
        while not self._halt.is_set():
            with self._lock:
                sockets = [self._tc] + ([self._tm] if self._tm is not None else [])
            for ready in select.select(sockets, [], [], _LOOK_S)[0]:
                with self._lock:
                    self._take(ready)

    def _take(self, ready: socket.socket) -> None:
        if ready.fileno() < 0:  # shut since
            return
        try:
            octets = ready.recv(_DATAGRAM_OCTETS, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if ready is self._tm:
            if self.loses_down(octets):
                self.lost.append(octets)
                return
            self.frames.append(octets)
            self._out.sendto(octets, self._to_yamcs)
            return
        frame = _uplinked(octets, self._lose)
        self.uplinked.append(frame)
        if frame.lost:
            self._lose.remove(frame.kind)
        else:
            self._out.sendto(octets, self._to_node)

    def end(self) -> None:
        """Stop relaying."""
        self._halt.set()
        self.join(GIVE_UP_S)
        self.shut()
        self._tc.close()
        self._out.close()


def _uplinked(cltu: bytes, lose: list[str]) -> Uplinked:
    try:
        frame = decode_cltu(cltu)
    except DecodeError as error:
        raise AssertionError(f"Yamcs sent what is not a CLTU: {error}") from None
    made = Uplinked(bool(frame[0] >> 5 & 1), bool(frame[0] >> 4 & 1), frame[4], lost=False)
    return Uplinked(made.bypass, made.control, made.seq, made.kind in lose)


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_194_304)
    made.bind((HOST, port))
    return made
