"""One client of the ground's API: its lines in and out. A client that does not read loses what it did not ask for."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BACKLOG_OCTETS_MAX = 1 << 20
_LOOK_S = 1.0  # how soon a client is missed while it waits
_ENDED = (7, 8)  # TCP_CLOSE and TCP_CLOSE_WAIT, the states of a connection that its other end has left (linux/tcp.h)


@dataclass(slots=True)
class ApiCounters:
    """What went wrong with clients, all together."""

    dropped_lines: int = 0  # that a client was too slow for
    forgotten_packets: int = 0  # that an operator did not ask for, and that made room for newer ones
    request_faults: int = 0  # what our own checks of a request let through by mistake


class Connection:
    """A client's two streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counters: ApiCounters) -> None:
        self._counters = counters
        self._reader = reader
        self._writer = writer

    async def read_line(self) -> bytes:
        """The next request, empty at the end. Raises ValueError for a line longer than the stream's limit."""
        return await self._reader.readline()

    def put(self, line: dict[str, Any]) -> None:
        """Answer with one line."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(line).encode() + b"\n")

    def offer(self, line: dict[str, Any]) -> None:
        """Send a line that nobody asked for at this moment; dropped and counted if too many wait to be read."""
        if self._writer.transport.get_write_buffer_size() > BACKLOG_OCTETS_MAX:
            self._counters.dropped_lines += 1
            return
        self.put(line)

    async def drain(self) -> None:
        """Wait until the client has read most of what was put."""
        await self._writer.drain()

    async def spoken(self) -> None:
        """Wait until the client says anything, or goes."""
        await self._reader.read(1)

    async def until(self, fact: Callable[[], bool], changed: asyncio.Event, timeout_s: float) -> None:
        """Wait until `fact()` is true, asked again whenever `changed` is set, but no longer than `timeout_s`.

        Raises ConnectionResetError if the client goes meanwhile: it may have asked for weeks.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while not fact() and (left_s := end_s - loop.time()) > 0:
            if self._is_gone():
                raise ConnectionResetError
            try:
                await asyncio.wait_for(changed.wait(), min(left_s, _LOOK_S))
            except TimeoutError:
                continue
            changed.clear()

    def _is_gone(self) -> bool:
        """Whether the client has ended the connection. The reader does not say so while requests lie in it unread."""
        if self._writer.is_closing():
            return True
        info: bytes = self._writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return info[0] in _ENDED

    def close(self) -> None:
        """Let the client go."""
        self._writer.close()
