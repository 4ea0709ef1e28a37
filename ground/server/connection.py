"""One client of the ground's API: its lines in and out, and whether it is still there."""

# A client takes a place, of which there are few, so nothing here waits for one that is no longer there:
#
# - One that has ended its side of the connection is gone, even while a request of it is under way (`until`, `spoken`).
#   The stream reader alone would not notice before every request in it was read, so TCP's own state is asked.
# - One that vanished without a word, such as the far end of a tunnel, is missed by TCP's keepalive within a minute.
# - One that does not read is given up after UNREAD_S without any progress. Before that it loses lines that it did not
#   ask for at this moment (`offer`, beyond BACKLOG_OCTETS_MAX), and answers wait for it (`drain`).
#
# Progress is measured by what has left our buffer: with the kernel's buffers full, that is what the client has read.
# The wait for it is cut into pieces of LOOK_S, since nothing wakes us when a client does nothing.

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

BACKLOG_OCTETS_MAX = 1 << 20
UNREAD_S = 600.0
CLOSE_S = 10.0  # in which a client that is let go may still read its last lines
LOOK_S = 1.0  # between two looks whether a client that waits is still there
_ENDED = (7, 8)  # TCP_CLOSE and TCP_CLOSE_WAIT: states of a connection that its other end has left (linux/tcp.h)
# The first probe after 30 s of silence, then three that are not answered: gone within a minute.
KEEPALIVE = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 30,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 10,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 3,
}

_Made = TypeVar("_Made")


@dataclass(slots=True)
class ApiCounters:
    """What went wrong with clients, added up over all of them."""

    dropped_lines: int = 0  # for which a client was too slow
    forgotten_packets: int = 0  # that no operator's session had room for, or that made room for newer ones
    request_faults: int = 0  # requests that our own checks let through by mistake
    strangers: int = 0  # connections that did not show the token


class Connection:
    """A client's two streams, with everything that says whether it is still there."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counters: ApiCounters) -> None:
        self._counters = counters
        self._reader = reader
        self._writer = writer
        self._put_octets = 0
        self._taken_octets = 0  # of these, taken by the kernel: by the client, once the kernel's buffers are full
        self._taken_s = 0.0  # when that number was last seen to grow
        own: socket.socket = writer.get_extra_info("socket")
        with suppress(OSError):  # raised if the client is gone already, which the first read will show
            # An answer is several lines, each sent as it comes: none may wait until the client's kernel confirms the
            # one before it, which takes 40 ms.
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for (level, option), value in KEEPALIVE.items():
                own.setsockopt(level, option, value)

    async def read_line(self) -> bytes:
        """Return the next request, empty at the end. Raises ValueError for a line over the stream's limit."""
        return await self._attended(self._reader.readline())

    def put(self, line: dict[str, Any]) -> None:
        """Answer with one line. Nothing happens if the connection is closing."""
        if not self._writer.is_closing():
            self._look()  # before writing: if all earlier lines are taken, the time without progress begins now
            octets = json.dumps(line).encode() + b"\n"
            self._put_octets += len(octets)
            self._writer.write(octets)

    def offer(self, line: dict[str, Any]) -> None:
        """Send a line that the client did not ask for at this moment; it is dropped and counted if too many wait."""
        if self._writer.transport.get_write_buffer_size() > BACKLOG_OCTETS_MAX:
            self._counters.dropped_lines += 1
            return
        self.put(line)

    async def drain(self) -> None:
        """Wait until the client has read most of what was put. Raises ConnectionError if it does not."""
        await self._attended(self._writer.drain())

    async def spoken(self) -> None:
        """Wait until the client says anything. Raises ConnectionError if it goes."""
        await self._attended(self._reader.read(1), leaving=True)

    def check_there(self) -> None:
        """Raise ConnectionResetError if the client has ended the connection."""
        self._check(leaving=True)

    async def until(self, fact: Callable[[], bool], changed: asyncio.Event, timeout_s: float) -> None:
        """Wait until `fact()` is true, but no longer than `timeout_s`. It is asked whenever `changed` is set.

        Raises ConnectionResetError if the client goes meanwhile: it may have asked to wait for weeks.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while not fact() and (left_s := end_s - loop.time()) > 0:
            self._check(leaving=True)
            try:
                await asyncio.wait_for(changed.wait(), min(left_s, LOOK_S))
            except TimeoutError:
                continue
            changed.clear()

    def close(self) -> None:
        """Close the connection; what the client does not read within CLOSE_S is lost."""
        self._writer.close()
        # An orderly close waits for the client to read, without end: after a while the rest is thrown away.
        if self._writer.transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(CLOSE_S, self._writer.transport.abort)

    async def _attended(self, work: Coroutine[Any, Any, _Made], *, leaving: bool = False) -> _Made:
        """Return what `work` gives. Raises ConnectionResetError if the client is given up meanwhile."""
        working = asyncio.ensure_future(work)
        try:
            while True:
                done, _ = await asyncio.wait((working,), timeout=LOOK_S)
                if done:
                    return working.result()
                self._check(leaving=leaving)
        finally:
            working.cancel()

    def _check(self, *, leaving: bool) -> None:
        """Raise ConnectionResetError if the client is given up, or, with `leaving`, has ended the connection."""
        if (leaving and self._is_gone()) or self._look() > UNREAD_S:
            raise ConnectionResetError

    def _look(self) -> float:
        """Return for how many seconds the client has taken nothing although there was something for it."""
        now_s = asyncio.get_running_loop().time()
        taken = self._put_octets - self._writer.transport.get_write_buffer_size()
        if taken > self._taken_octets or taken == self._put_octets:
            self._taken_octets, self._taken_s = taken, now_s
        return now_s - self._taken_s

    def _is_gone(self) -> bool:
        """Return whether the client has ended the connection. The reader shows that only after all it still holds."""
        if self._writer.is_closing():
            return True
        info: bytes = self._writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return info[0] in _ENDED
