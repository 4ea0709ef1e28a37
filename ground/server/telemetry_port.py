"""A UDP port that frames come to, read in batches; whatever the kernel had no room for is counted. Edge code.

A datagram is either taken, and then the link's own counters say what became of what was in it, or dropped by the
kernel, because the receive buffer was full: there is no third way for one that reached this machine. The buffer is as
large as the kernel grants, since frames come while the archive commits or another process has the processor.

The kernel counts drops per socket, and tells the count in two ways: with each datagram, as it was when that one was
queued (SO_RXQ_OVFL), and at any time (SO_MEMINFO). The second one also knows of what was dropped after the last
datagram; a kernel that lacks it leaves the first. Both are 32 bits wide and wrap round.

What waited in the buffer was received before it is taken. The kernel stamps each datagram as it comes
(SO_TIMESTAMPNS), by the clock that can be set: a wait that is negative, or longer than `WAIT_MAX_NS`, is none.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

from flight.core.nanoseconds import NS
from ground.counters import PortCounters

RECEIVE_BUFFER_OCTETS = 4 << 20  # asked for; the kernel grants net.core.rmem_max unless we are privileged
BATCH_NS = NS // 50  # a flood must leave turns to timers, commands and clients
DATAGRAM_OCTETS_MAX = 1 << 16
WAIT_MAX_NS = 60 * NS

_SO_RXQ_OVFL, _SO_MEMINFO, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 40, 55, 33, 35  # Linux, asm-generic/socket.h
_DROPS = struct.Struct("=I")
_STAMP = struct.Struct("@ll")  # a timespec
_ANCILLARY_OCTETS = socket.CMSG_SPACE(_DROPS.size) + socket.CMSG_SPACE(_STAMP.size)
_MEMINFO = struct.Struct("=9I")  # linux/sock_diag.h; the last is SK_MEMINFO_DROPS


class TelemetryPort:
    """See the head of the file. `receive` is given each datagram that is not empty. Raises OSError if the port cannot
    be had.
    """

    def __init__(self, address: tuple[str, int], receive: Callable[[bytes], None], counters: PortCounters) -> None:
        self.counters = counters
        self.came_ns = 0  # on the monotonic clock, when the datagram came that `receive` is given
        self._receive = receive
        self._told = 0  # the kernel's count of drops, as it was told last
        self._buffer = bytearray(DATAGRAM_OCTETS_MAX)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._enlarge()
            self._socket.bind(address)
        except OSError:
            self._socket.close()
            raise

    @property
    def port(self) -> int:
        """Its number, also if the kernel chose it."""
        return int(self._socket.getsockname()[1])

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Leave the port; what the kernel dropped is counted to the end."""
        self.look()
        self._socket.close()

    def on_ready(self, limit_ns: int = BATCH_NS) -> None:
        """Take what waits, for so long at most: whoever polls calls again."""
        end_ns = time.monotonic_ns() + limit_ns
        while (octets := self._take()) is not None:
            if octets:
                self._receive(octets)
            else:
                self.counters.empty += 1
            if time.monotonic_ns() >= end_ns:
                return

    def look(self) -> None:
        """Ask the kernel how many datagrams it has dropped."""
        try:
            told = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return
        if len(told) == _MEMINFO.size:
            self._count_drops(_MEMINFO.unpack(told)[-1])

    def _take(self) -> bytes | None:
        try:
            size, ancillary, _, _ = self._socket.recvmsg_into([self._buffer], _ANCILLARY_OCTETS)
        except BlockingIOError:
            return None
        except OSError:
            self.counters.errors += 1
            return None
        self.came_ns = time.monotonic_ns()
        for level, kind, content in ancillary:
            if (level, kind, len(content)) == (socket.SOL_SOCKET, _SO_RXQ_OVFL, _DROPS.size):
                self._count_drops(_DROPS.unpack(content)[0])
            elif (level, kind, len(content)) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS, _STAMP.size):
                seconds, ns = _STAMP.unpack(content)
                waited_ns = time.time_ns() - (seconds * NS + ns)
                self.came_ns -= waited_ns if 0 <= waited_ns <= WAIT_MAX_NS else 0
        self.counters.datagrams += 1
        return bytes(self._buffer[:size])

    def _count_drops(self, told: int) -> None:
        new = (told - self._told) & 0xFFFF_FFFF
        if new < 1 << 31:  # else it was told with a datagram that had waited since before we asked
            self._told = told
            self.counters.dropped += new

    def _enlarge(self) -> None:
        """The larger of what the kernel grants everybody, and what it grants the privileged."""
        for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_OCTETS)
            except PermissionError:
                return
