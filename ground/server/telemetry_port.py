"""A UDP port to which frames come, read in batches; what the kernel had no room for is counted. Edge code.

A datagram that reached this machine is either taken, and then the link's own counters say what became of its content,
or dropped by the kernel because the receive buffer was full. There is no third way.
"""

# Frames come while the archive commits or another process has the processor, so the receive buffer is as large as the
# kernel grants.
#
# The kernel counts drops per socket and gives the count in two ways: with each datagram, as it was when that one was
# queued (SO_RXQ_OVFL), and whenever asked (SO_MEMINFO). Only the second knows what was dropped after the last datagram;
# a kernel that lacks it leaves us the first. Both counts have 32 bits and wrap. They may arrive out of order: one that
# came with a datagram that had waited in the buffer is older than one that we asked for meanwhile.
#
# What waited in the buffer was received earlier than it is taken, and the correlation of clocks needs to know by how
# much. The kernel stamps each datagram as it comes (SO_TIMESTAMPNS), but by the clock that can be set, not by the
# monotonic one. So only the difference to now is used, and one that cannot be true, negative or longer than
# WAIT_MAX_NS, counts as no wait at all.

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

from flight.core.nanoseconds import NS
from ground.counters import PortCounters

RECEIVE_BUFFER_OCTETS = 4 << 20  # asked for; the kernel grants net.core.rmem_max unless we are privileged
BATCH_NS = NS // 50  # 20 ms: a flood must leave turns to timers, commands and clients
DATAGRAM_OCTETS_MAX = 1 << 16
WAIT_MAX_NS = 60 * NS

_SO_RXQ_OVFL, _SO_MEMINFO, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 40, 55, 33, 35  # Linux, asm-generic/socket.h
_DROPS = struct.Struct("=I")
_STAMP = struct.Struct("@ll")  # a timespec
_ANCILLARY_OCTETS = socket.CMSG_SPACE(_DROPS.size) + socket.CMSG_SPACE(_STAMP.size)
_MEMINFO = struct.Struct("=9I")  # linux/sock_diag.h; the last is SK_MEMINFO_DROPS


class TelemetryPort:
    """See the head of the file. `receive` is given each datagram that is not empty.

    Raises OSError if the port cannot be opened.
    """

    def __init__(self, address: tuple[str, int], receive: Callable[[bytes], None], counters: PortCounters) -> None:
        self.counters = counters
        self.came_ns = 0  # monotonic time at which the datagram that `receive` is given reached this machine
        self.dropped_before = 0  # datagrams that the kernel dropped between the one that `receive` had last and this
        self._receive = receive
        self._known_drops = 0  # the newest count of drops that the kernel gave
        self._drops_at = 0  # the count that came with the last datagram
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
        """Return the descriptor to be polled for `on_ready`."""
        return self._socket.fileno()

    def close(self) -> None:
        """Count what the kernel has dropped so far, and close the port."""
        self.look()
        self._socket.close()

    def on_ready(self, limit_ns: int = BATCH_NS) -> None:
        """Take the datagrams that wait, for `limit_ns` at most. Whoever polls will call again if there are more."""
        end_ns = time.monotonic_ns() + limit_ns
        while (octets := self._next_datagram()) is not None:
            if octets:
                self._receive(octets)
                self.dropped_before = 0
            else:
                self.counters.empty += 1
            if time.monotonic_ns() >= end_ns:
                return

    def look(self) -> None:
        """Ask the kernel how many datagrams it has dropped."""
        try:
            info = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return
        if len(info) == _MEMINFO.size:
            self._count_drops(_MEMINFO.unpack(info)[-1])

    def _next_datagram(self) -> bytes | None:
        try:
            size, ancillary, _, _ = self._socket.recvmsg_into([self._buffer], _ANCILLARY_OCTETS)
        except BlockingIOError:
            return None
        except OSError:
            self.counters.errors += 1  # of the machine, not of a datagram: it ends this batch, and the port goes on
            return None
        self.came_ns = time.monotonic_ns()
        for level, kind, content in ancillary:
            if (level, kind, len(content)) == (socket.SOL_SOCKET, _SO_RXQ_OVFL, _DROPS.size):
                count = _DROPS.unpack(content)[0]
                self.dropped_before += (count - self._drops_at) & 0xFFFF_FFFF
                self._drops_at = count
                self._count_drops(count)
            elif (level, kind, len(content)) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS, _STAMP.size):
                seconds, ns = _STAMP.unpack(content)
                waited_ns = time.time_ns() - (seconds * NS + ns)
                self.came_ns -= waited_ns if 0 <= waited_ns <= WAIT_MAX_NS else 0
        self.counters.datagrams += 1
        return bytes(self._buffer[:size])

    def _count_drops(self, count: int) -> None:
        new = (count - self._known_drops) & 0xFFFF_FFFF
        # A difference of more than half the range is a step back: an older count, which came with a datagram that had
        # waited since before we asked.
        if new < 1 << 31:
            self._known_drops = count
            self.counters.dropped += new

    def _enlarge(self) -> None:
        """Ask for a large buffer, first as anybody may, then by the option that only the privileged may use."""
        for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_OCTETS)
            except PermissionError:
                return
