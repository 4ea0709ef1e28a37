"""The ground process: telemetry over UDP, CLTUs back, timers and a status line around one GroundStation. Edge code."""

# Everything runs in one thread of one asyncio loop, so the station is never entered twice. The archive is written in
# that thread as well: its commits are batched, once per second, and what arrives meanwhile waits in the kernel's buffer
# (telemetry_port.py).
#
# Order of the start: receiving ports, uplink, the API's port, then the token, and only then the API answers. A token
# must not be put into its place before the port is ours, or it would replace that of a ground that runs. At the end,
# frames that the kernel has received are taken first. Then things close backwards, token before port, and last of all
# the station: open transfers end and the archive is committed.
#
# A fault of our own code in a callback costs what was being done, is counted and reported, and the ground goes on: a
# pass is short, and a ground that died would lose the rest of it.

from __future__ import annotations

import asyncio
import errno
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from flight.core.errors import SetupError, reason_of
from flight.core.nanoseconds import NS
from flight.core.utc.leap_seconds import BUILT_IN, LeapSeconds
from flight.linux.ending_signals import ending_signals
from flight.linux.log_sink import LogSink
from flight.text.plain_text import CLEAR_LINE, plain
from flight.text.plural import counted
from ground.changes import Tally
from ground.config import GroundConfig
from ground.counters import PortCounters
from ground.link.mission_link import UdpLink
from ground.server.api import Api, Services
from ground.server.api_token import ApiToken
from ground.server.requests import LINE_OCTETS_MAX
from ground.server.telemetry_port import TelemetryPort
from ground.station import GroundStation
from ground.telemetry.archive import Archive

_TIMER_S = 0.05  # how late a timer of the station may be
_WORK_S = 0.001  # between slices of work that it has: in each gap the ports and the clients have their turn
_COMMIT_S = 1.0  # what a kill may lose at most
_READING_S = 0.02  # between readings of a clock that may mean two times
_READINGS_MAX = 200  # 4 s: a clock means two times for 2.05 s at most, the leap second and what is around it
QUIET_STATUS_S = 10.0  # between status lines if nobody watches them on a terminal


def epoch_tai_ns(leap_seconds: LeapSeconds = BUILT_IN) -> int:
    """Return TAI (ns since 1958) at the zero of the monotonic clock, by the machine's clock for UTC."""
    # Read once: from here on the ground counts TAI by the monotonic clock, which no leap second moves. A second that is
    # wrong now would stay so: around a leap second the clock may mean two times, and a moment later it means one.
    for _ in range(_READINGS_MAX):
        possible = leap_seconds.possible_tai(time.time_ns())
        if len(possible) == 1:
            break
        time.sleep(_READING_S)
    return possible[0] - time.monotonic_ns()


class _Uplink(asyncio.DatagramProtocol):
    """The UDP socket by which CLTUs leave. A node that is not there may show as refusals, which are counted."""

    def __init__(self) -> None:
        self.refused = 0

    def error_received(self, _exc: Exception) -> None:
        self.refused += 1


class GroundServer:
    """Runs one GroundStation until stopped."""

    def __init__(
        self,
        station: GroundStation,
        archive: Archive,
        config: GroundConfig,
        link: UdpLink,
        sink: LogSink | None = None,
        receivers: Mapping[str, UdpLink] | None = None,
    ) -> None:
        """sink: what stderr goes through, so that `status` can say what of it was lost.

        receivers: the ports of the station's further links, by name.
        """
        self._receivers = {} if receivers is None else receivers
        self.station = station
        self._token = ApiToken(config.api_port)
        self._api = Api(
            Services(station, config, self._send, self._token, sink, link=link.name, hears=tuple(self._receivers))
        )
        self._archive = archive
        self._config = config
        self._link = link
        self._uplink: asyncio.DatagramTransport | None = None
        self._stop: asyncio.Event | None = None
        self._ports: list[TelemetryPort] = []
        self._faults = Tally()
        self._told_storage = ("", False)

    async def run(self) -> None:
        """Serve until a signal or `stop`. Raises SetupError for a port that cannot be opened."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_fault)
        self._stop = asyncio.Event()
        async with AsyncExitStack() as ports:
            for name, link in {"": self._link, **self._receivers}.items():
                self._ports.append(self._listen(name, link))
                ports.callback(self._leave, self._ports[-1])
            self._uplink, _ = await _bound(
                loop.create_datagram_endpoint(_Uplink, remote_addr=(self._link.node_host, self._link.node_port)),
                "UDP", self._link.node_port, "check ground.node_host",
            )  # fmt: skip
            ports.callback(self._uplink.close)
            api = await asyncio.start_server(
                self._api.connected, sock=self._open_door(), limit=LINE_OCTETS_MAX, start_serving=False
            )
            ports.push_async_callback(self._close_api, api)
            self._token.publish()
            ports.callback(self._token.withdraw)  # runs before the port is closed, while it cannot be another's
            await api.start_serving()
            for number in ending_signals():
                loop.add_signal_handler(number, self._stop.set)
            print(plain(self._welcome()), file=sys.stderr, flush=True)
            await self._until_stopped()
            for port in self._ports:  # what the kernel has received by now must not be lost by the end
                port.on_ready(NS)
        self.station.close(time.monotonic_ns())

    async def _close_api(self, api: asyncio.Server) -> None:
        api.close()
        await self._api.close()

    def _open_door(self) -> socket.socket:
        """Open the API's port, which is ours alone from then on. Raises SetupError."""
        door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # Else a ground could not start while connections of the one before it are in TIME_WAIT.
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.setblocking(False)
            door.bind(("127.0.0.1", self._config.api_port))
            door.listen()  # with SO_REUSEADDR two may bind the port, but only one may listen: this is what claims it
        except OSError as error:
            door.close()
            remedy = "is another ground running? end it, or set ground.api_port"
            raise _no_port("TCP", self._config.api_port, error, remedy) from None
        return door

    def _listen(self, name: str, link: UdpLink) -> TelemetryPort:
        """Open the port to which frames of this link come; the station's own link has no name. Raises SetupError."""
        counters = PortCounters()
        try:
            port = TelemetryPort(
                (link.listen_host, link.listen_port),
                lambda octets: self._receive(octets, name, port),
                counters,
            )
        except OSError as error:
            remedy = "is another ground running? end it, or change the link's driver"
            raise _no_port("UDP", link.listen_port, error, remedy) from None
        self.station.count_port(counters, name)
        asyncio.get_running_loop().add_reader(port.fileno(), port.on_ready)
        return port

    def _leave(self, port: TelemetryPort) -> None:
        asyncio.get_running_loop().remove_reader(port.fileno())
        port.close()

    def _on_fault(self, _loop: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
        """Count and report a fault of something that the loop called; what was being done is lost, and no more.

        Its cause is a hole in our checks, or a lack of descriptors.
        """
        error = about.get("exception")
        self.station.station_counters.faults += 1
        self._faults.add(f"{about.get('message')}" if error is None else f"{type(error).__name__}: {error}")
        self._tell_faults()

    def _tell_faults(self) -> None:
        due = self._faults.take(time.monotonic_ns())
        if due is not None:
            count, newest = due
            faults = "1 fault of its own:" if count == 1 else f"{count} faults of its own, the last of them"
            text = f"ground: {faults} {newest}; it goes on"
            print(plain(text), file=sys.stderr, flush=True)

    def _tell_storage(self) -> None:
        """Say once that the record of link security cannot be written, once that nothing goes up, and its end."""
        security = self.station.security
        if security is None or (security.fault, security.keeps_from_sending) == self._told_storage:
            return
        self._told_storage = security.fault, security.keeps_from_sending
        if not security.fault:
            text = "the record of numbers can be written again"
        elif security.sendable is None:
            text = f"{security.fault}; until it can, a restart may take frames for new that came before"
        elif security.sendable == 0:
            text = f"{security.fault}; nothing can be sent until it can"
        else:
            text = f"{security.fault}; only {counted(security.sendable, 'more frame')} can be sent until it can"
        print(plain(f"ground: link security: {text}"), file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Have `run` end in order."""
        if self._stop is not None:
            self._stop.set()

    def _welcome(self) -> str:
        link, dictionary = self._link, self.station.dictionary
        further = "".join(f", {name} on UDP {receiver.listen_port}" for name, receiver in self._receivers.items())
        return (
            f"ground of {dictionary.mission}: TM on UDP {link.listen_port}{further}, "
            f"CLTUs to {link.node_host}:{link.node_port}, API on 127.0.0.1:{self._config.api_port} "
            f"(token {self._token.path}), archive {self._archive.path}; Ctrl-C ends it"
        )

    async def _until_stopped(self) -> None:
        """Run timers, commits and the status line until the server is to stop."""
        assert self._stop is not None
        commit_s = status_s = time.monotonic()
        live = sys.stderr.isatty()
        while not self._stop.is_set():
            for port in self._ports:
                port.look()
            self._send(self.station.on_time(time.monotonic_ns()))
            self._tell_faults()
            now_s = time.monotonic()
            if now_s >= commit_s:
                commit_s = now_s + _COMMIT_S
                self.station.commit()
                self._send(self.station.store_security(time.monotonic_ns()))
                self._tell_storage()
            if now_s >= status_s:
                status_s = now_s + (_COMMIT_S if live else QUIET_STATUS_S)
                sys.stderr.write((CLEAR_LINE if live else "") + plain(self._status_line()) + ("" if live else "\n"))
                sys.stderr.flush()
            try:
                await asyncio.wait_for(self._stop.wait(), self._pause_s)
            except TimeoutError:
                continue
        if live:
            print(file=sys.stderr)

    @property
    def _pause_s(self) -> float:
        """How long nothing need be done: not long, if files that came whole are being checked."""
        files = self.station.files
        return _WORK_S if files is not None and files.has_work else _TIMER_S

    def _status_line(self) -> str:
        station = self.station
        counters, commands = station.session.counters, station.tracker.counters
        contact = "contact" if station.in_contact else "no contact"
        rejected = sum(counters.frames_rejected.values())
        coding = station.session.decoder.counters if station.session.decoder is not None else None
        faults, twice = station.station_counters.storage_faults, station.station_counters.packets_duplicate
        own = station.station_counters.faults
        dropped = sum(port.counters.dropped for port in self._ports)
        tai_ns = station.tai_ns(time.monotonic_ns())
        return (
            f"{station.utc_text(tai_ns)[11:19]} {contact} | frames {counters.frames:,}, "
            f"missed {counters.frames_missed}, rejected {rejected}"
            + (f", {counted(dropped, 'datagram')} dropped by this machine" if dropped else "")
            + (f", symbols corrected {coding.symbols_corrected:,}" if coding is not None and coding.codewords else "")
            + f" | packets {counters.packets:,} | "
            f"commands completed {commands.completed}/{commands.sent} | alarms {station.station_counters.alarms}"
            + (f" | received twice {twice}" if twice else "")
            + (f" | undecoded {station.undecoded:,}" if station.undecoded else "")
            + (f" | storage faults {faults}" if faults else "")
            + (f" | own faults {own}" if own else "")
            + (" | leap seconds expired" if station.leap_seconds.is_old(tai_ns) else "")
        )

    def _receive(self, octets: bytes, link: str, port: TelemetryPort) -> None:
        now_ns = time.monotonic_ns()
        waited_ns, lost = now_ns - port.came_ns, port.dropped_before
        self._send(self.station.on_downlink(octets, now_ns, link, waited_ns=waited_ns, lost=lost))

    def _send(self, cltus: list[bytes]) -> None:
        for cltu in cltus:
            if self._uplink is not None:
                self._uplink.sendto(cltu)


async def _bound(opening: Any, kind: str, port: int, remedy: str) -> Any:
    """Await the opening of a port. Raises SetupError, one line with the reason and what to do."""
    try:
        return await opening
    except OSError as error:
        raise _no_port(kind, port, error, remedy) from None


def _no_port(kind: str, port: int, error: OSError, remedy: str) -> SetupError:
    reason = "is in use" if error.errno == errno.EADDRINUSE else reason_of(error)
    return SetupError(f"{kind} port {port}: {reason}; {remedy}")
