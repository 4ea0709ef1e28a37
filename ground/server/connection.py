"""One client of the ground's API: its lines in and out, and whether it is still there.

A client keeps a place, of which there are few, so nothing here waits for one that is not there any more:

- one that has ended its side of the connection is gone, also while a request of it is under way (`until`, `spoken`);
- one that vanished without a word, such as the far end of a tunnel, is missed by TCP's keepalive within a minute;
- one that leaves what was put for it unread is given up after UNREAD_S without any progress, whatever it waits for.
  Before that it loses lines that it did not ask for at this moment (`offer`).
"""

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
CLOSE_S = 10.0  # for the last lines of one that is let go
LOOK_S = 1.0  # how soon a client is missed while it waits
_ENDED = (7, 8)  # TCP_CLOSE and TCP_CLOSE_WAIT, the states of a connection that its other end has left (linux/tcp.h)
KEEPALIVE = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 30,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 10,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 3,
}

_Made = TypeVar("_Made")


@dataclass(slots=True)
class ApiCounters:
    """What went wrong with clients, all together."""

    dropped_lines: int = 0  # that a client was too slow for
    forgotten_packets: int = 0  # that an operator did not ask for, and that made room for newer ones
    request_faults: int = 0  # what our own checks of a request let through by mistake
    strangers: int = 0  # connections that did not show the token


class Connection:
    """A client's two streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counters: ApiCounters) -> None:
        self._counters = counters
        self._reader = reader
        self._writer = writer
        self._put_octets = 0
        self._taken_octets = 0  # of them by the machine, and by the client as soon as that one's buffers are full
        self._taken_s = 0.0  # when that was seen to grow last
        own: socket.socket = writer.get_extra_info("socket")
        with suppress(OSError):  # it is gone already, which the first read will show
            for (level, option), value in KEEPALIVE.items():
                own.setsockopt(level, option, value)

    async def read_line(self) -> bytes:
        """The next request, empty at the end. Raises ValueError for a line longer than the stream's limit."""
        return await self._attended(self._reader.readline())

    def put(self, line: dict[str, Any]) -> None:
        """Answer with one line."""
        if not self._writer.is_closing():
            self._look()  # the time without progress begins with what is put now, if all before is taken
            octets = json.dumps(line).encode() + b"\n"
            self._put_octets += len(octets)
            self._writer.write(octets)

    def offer(self, line: dict[str, Any]) -> None:
        """Send a line that nobody asked for at this moment; dropped and counted if too many wait to be read."""
        if self._writer.transport.get_write_buffer_size() > BACKLOG_OCTETS_MAX:
            self._counters.dropped_lines += 1
            return
        self.put(line)

    async def drain(self) -> None:
        """Wait until the client has read most of what was put. Raises ConnectionError if it does not."""
        await self._attended(self._writer.drain())

    async def spoken(self) -> None:
        """Wait until the client says anything, or goes. Raises ConnectionError."""
        await self._attended(self._reader.read(1), leaving=True)

    async def until(self, fact: Callable[[], bool], changed: asyncio.Event, timeout_s: float) -> None:
        """Wait until `fact()` is true, asked again whenever `changed` is set, but no longer than `timeout_s`.

        Raises ConnectionResetError if the client goes meanwhile: it may have asked for weeks.
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
        """Let the client go; what it does not read within CLOSE_S is lost."""
        self._writer.close()
        if self._writer.transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(CLOSE_S, self._writer.transport.abort)

    async def _attended(self, work: Coroutine[Any, Any, _Made], *, leaving: bool = False) -> _Made:
        """What `work` makes, unless the client is given up meanwhile."""
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
        """Raises ConnectionResetError if the client is given up, or, with `leaving`, has ended the connection."""
        if (leaving and self._is_gone()) or self._look() > UNREAD_S:
            raise ConnectionResetError

    def _look(self) -> float:
        """For how many seconds the client has taken nothing of what there is for it, as far as we looked."""
        now_s = asyncio.get_running_loop().time()
        taken = self._put_octets - self._writer.transport.get_write_buffer_size()
        if taken > self._taken_octets or taken == self._put_octets:
            self._taken_octets, self._taken_s = taken, now_s
        return now_s - self._taken_s

    def _is_gone(self) -> bool:
        """Whether the client has ended the connection. The reader does not say so while requests lie in it unread."""
        if self._writer.is_closing():
            return True
        info: bytes = self._writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return info[0] in _ENDED
