"""Driver of a radio that is a pair of UDP ports: one unit per datagram down, CLTUs up.

Units leave at the link's rate, from a transmit buffer of one. UDP has no carrier; what stands for it is whether the
ground's port accepts datagrams:

    UP    Units go out. A refusal (ICMP port unreachable, no route) puts the unit back and leads to DOWN.
    DOWN  Once per second the oldest unit is sent as a probe. The carrier is back when no refusal has come within 0.1 s,
          or as soon as anything is received.
"""

# What may be lost, and what not. On one machine a refusal is there when the sending call returns, and the next call on
# the socket reports it before another unit goes out. So no unit is lost on an absent ground: the one on its way
# (`_last`) is put back as the oldest. Over a network, units that are under way when the ground goes away are lost.
#
# The pace. `_free_ns` is when the link will have sent all units taken so far, computed from their lengths and the rate.
# It may lag behind the clock by SLACK_NS: timers are late by milliseconds, and the time lost is made up for; more than
# that is not, since it would be a burst.
#
# Up. What has arrived waits in the kernel's buffer alone, which bounds it. The node is notified once and then calls
# `receive` until it returns None; a descriptor that stays ready would keep the loop busy meanwhile, so it is not
# watched until then. The kernel counts what it has no room for. It hands over the count with the next datagram that it
# takes (SO_RXQ_OVFL), or, if it is new enough, when it is asked (SO_MEMINFO).
#
# A demodulator delivers idle sequence between two units (CCSDS 231.0-B-4, 8), a socket does not: so it is put behind
# each datagram (IDLE). What a datagram leaves open in the receiver, a unit that was cut or one that somebody never
# meant to end, would else swallow the start of the next unit, and a few such datagrams per second would keep everybody
# else out.
#
# Anybody may send datagrams, and as many as he likes. So `receive` takes many small ones at a time: what the node does
# for each call is then done once for all of them. DRAIN_OCTETS and DRAIN_DATAGRAMS bound how long that takes.

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs

from hal.base import HalError, Host, Radio, Timer
from hal.nanoseconds import NS

# One, so that a report waits behind one idle frame and not behind a row of them.
TRANSMIT_UNITS = 1
UNIT_OCTETS_MAX = 4_104  # the longest frame with its marker, in symbols of the convolutional code
RECEIVE_BUFFER_OCTETS = 4_194_304  # asked for; the kernel grants up to net.core.rmem_max
RETRY_NS = NS
PROBE_NS = 100_000_000
DRAIN_OCTETS, DRAIN_DATAGRAMS = 4_096, 64  # taken by one call, the datagram that reaches it included
# On whatever octet a codeblock begins, one of these eight octets alone is among 15: it is none, nor one bit from one.
IDLE = b"\x55" * 15
BUSY_NS = 2_000_000  # until a socket whose buffer is full is tried again
# How far the pacing may fall behind and catch up: the loop's timers are late by up to some milliseconds.
SLACK_NS = 50_000_000

_SO_RXQ_OVFL, _SO_MEMINFO = 40, 55  # Linux, asm-generic/socket.h
_DROPS = struct.Struct("=I")
_MEMINFO = struct.Struct("=9I")  # linux/sock_diag.h; the last is SK_MEMINFO_DROPS
_ANCILLARY_OCTETS = socket.CMSG_SPACE(_DROPS.size)

# What says that nobody takes datagrams there: no port, no route, no link, or a firewall here (EPERM).
_REFUSALS = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EPERM)


@dataclass(slots=True)
class RadioCounters:
    """Counts since boot.

    sent: units. no_room: units refused because the buffer was full. received: datagrams. unfit: received datagrams that
    were empty or too long. dropped: datagrams for which the kernel had no room. carrier_lost: times the carrier went.
    """

    sent: int = 0
    no_room: int = 0
    received: int = 0
    unfit: int = 0
    dropped: int = 0
    carrier_lost: int = 0
    errors: int = 0


class UdpRadio:
    """A radio over UDP. See the head of the file. Raises HalError if a port is taken or cannot be reached."""

    def __init__(self, ground: tuple[str, int], listen: tuple[str, int], rate_bps: int, host: Host) -> None:
        self.counters = RadioCounters()
        self._host = host
        self._rate_bps = rate_bps
        self._waiting: deque[bytes] = deque()
        self._last: bytes | None = None  # the unit on its way, until it cannot be refused any more
        self._up = True
        self._probing = False
        self._free_ns = 0
        self._timer: Timer | None = None
        self._notify: Callable[[], None] = lambda: None
        self._up_socket = _bind(listen)
        self._up_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_OCTETS)
        self._up_socket.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)  # count what finds no room
        self._listening = False
        self._notified = False  # the node knows of something to receive, and has not emptied the buffer yet
        self._sender_waits = False  # a unit was refused, and the node wants to hear of room
        try:
            self._down_socket = _connect(ground)
        except HalError:
            self._up_socket.close()
            raise
        try:
            self._listen()
            host.watch(self._down_socket.fileno(), self._on_down_socket)
        except HalError:
            self.close()
            raise

    # The Radio Protocol.

    def carrier(self) -> bool:
        """Return True while the ground's port accepts datagrams."""
        return self._up

    def send(self, unit: bytes) -> bool:
        """Queue one unit; False if the buffer is full. Raises HalError if it is not of 1 to UNIT_OCTETS_MAX octets."""
        if not 0 < len(unit) <= UNIT_OCTETS_MAX:
            raise HalError(f"unit of {len(unit)} octets, should be 1 to {UNIT_OCTETS_MAX} to fit a datagram")
        if len(self._waiting) >= TRANSMIT_UNITS:
            self.counters.no_room += 1
            self._sender_waits = True
            return False
        self._waiting.append(unit)
        self._arm()
        return True

    def free_ns(self) -> int:
        """Return the time at which the units taken so far will have left, in nanoseconds."""
        return self._free_ns

    def receive(self) -> bytes | None:
        """Return the oldest datagrams, IDLE behind each; empty octets for one of no use, None if there is none."""
        try:
            # One octet more than fits, to tell a datagram that is too long from one that just fits.
            octets, ancillary, _, _ = self._up_socket.recvmsg(UNIT_OCTETS_MAX + 1, _ANCILLARY_OCTETS)
        except OSError as error:
            self.counters.errors += not isinstance(error, BlockingIOError)
            self._notified = False
            self._listen()
            return None
        for level, kind, content in ancillary:
            if (level, kind, len(content)) == (socket.SOL_SOCKET, _SO_RXQ_OVFL, _DROPS.size):
                (self.counters.dropped,) = _DROPS.unpack(content)
        if not 0 < len(octets) <= UNIT_OCTETS_MAX:
            self.counters.unfit += 1
            return b""
        if not self._up:
            self._hear()
        return self._drain(octets)

    def _drain(self, octets: bytes) -> bytes:
        """Return these octets, and behind them more datagrams that wait, IDLE behind each."""
        receive, datagrams, size = self._up_socket.recv, [octets], len(octets)
        try:
            while size < DRAIN_OCTETS and len(datagrams) < DRAIN_DATAGRAMS:
                octets = receive(UNIT_OCTETS_MAX + 1)
                if not 0 < len(octets) <= UNIT_OCTETS_MAX:
                    self.counters.unfit += 1
                    break
                datagrams.append(octets)
                size += len(octets)
        except OSError as error:
            self.counters.errors += not isinstance(error, BlockingIOError)
        self.counters.received += len(datagrams)
        datagrams.append(b"")
        return IDLE.join(datagrams)

    def dropped(self) -> int:
        """Return how many datagrams the kernel had no room for, also if nothing has come since."""
        try:
            figures = self._up_socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:  # an older kernel, or the port was left
            figures = b""
        if len(figures) == _MEMINFO.size:
            self.counters.dropped = _MEMINFO.unpack(figures)[-1]
        return self.counters.dropped

    def on_event(self, call: Callable[[], None]) -> None:
        """Have `call` called on anything new."""
        self._notify = call

    def close(self) -> None:
        """Leave the ports."""
        if self._timer is not None:
            self._timer.cancel()
        for port in (self._up_socket, self._down_socket):
            if port.fileno() >= 0:
                self._host.unwatch(port.fileno())
                port.close()

    # Down.

    def _arm(self, not_before_ns: int = 0) -> None:
        """Have `_transmit` called when the next unit may go, unless that is arranged already."""
        if self._timer is None:
            self._timer = self._host.call_at(max(self._free_ns, not_before_ns), self._transmit)

    def _transmit(self) -> None:
        self._timer = None
        now = self._host.now_ns()
        if self._probing:  # no refusal for PROBE_NS since the probe went out: the ground is there
            self._probing = False
            self._last = None
            self._set_up(True)
        self._free_ns = max(self._free_ns, now - SLACK_NS)  # after idle time no burst: see the head of the file
        while self._waiting and self._free_ns <= now:
            if not self._send_oldest(now):
                return
        if self._waiting:
            self._arm()
        if self._sender_waits and len(self._waiting) < TRANSMIT_UNITS:
            self._sender_waits = False
            self._notify()

    def _send_oldest(self, now: int) -> bool:
        """Send the oldest unit. Returns False if the sending stops here for a while."""
        unit = self._waiting[0]
        try:
            self._down_socket.send(unit)
        except OSError as error:
            if error.errno in _REFUSALS:  # the kernel reports the refusal of the unit before with this call
                self._refused(now)
            else:
                self.counters.errors += not isinstance(error, BlockingIOError)  # a full buffer is not an error
                self._arm(now + BUSY_NS)
            return False
        self.counters.sent += 1
        self._last = self._waiting.popleft()
        self._free_ns += len(unit) * 8_000_000_000 // self._rate_bps
        if not self._up:
            self._probing = True
            self._arm(now + PROBE_NS)
            return False
        return True

    def _refused(self, now: int) -> None:
        """Put back the unit that did not arrive: it is the oldest again, and goes out as the next probe."""
        if self._last is not None:
            self._waiting.appendleft(self._last)
            self.counters.sent -= 1
            self._last = None
        self._probing = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._arm(now + RETRY_NS)
        self._set_up(False)

    def _set_up(self, up: bool) -> None:
        if up != self._up:
            self._up = up
            self.counters.carrier_lost += not up
            self._notify()

    def _on_down_socket(self) -> None:
        """Take the error of an earlier datagram, or drop what came to the transmit port, to which nobody listens."""
        try:
            self._down_socket.recv(1)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _REFUSALS:
                self._refused(self._host.now_ns())
            else:
                self.counters.errors += 1

    # Up.

    def _listen(self) -> None:
        """Watch for the next datagram."""
        if not self._listening and self._up_socket.fileno() >= 0:
            self._listening = True
            self._host.watch(self._up_socket.fileno(), self._on_uplink)

    def _on_uplink(self) -> None:
        """Notify the node, once, that there is something to receive."""
        # Still ready although the node knows: it takes its time. See the head of the file.
        if self._notified:
            self._listening = False
            self._host.unwatch(self._up_socket.fileno())
            return
        self._notified = True
        if not self._up:
            self._hear()
        self._notify()

    def _hear(self) -> None:
        """Note that the ground has sent something: the carrier is there, and waiting units may go at once."""
        self._probing = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._up = True  # the caller notifies the node, or was called by it
        if self._waiting:
            self._arm()


def open_radio(address: str, host: Host, rate_bps: int) -> Radio:
    """Open `udp:HOST:TMPORT:TCPORT[?rate_bps=N]`: TM frames go to HOST:TMPORT, CLTUs come in at TCPORT here.

    If HOST is a loopback address (127.0.0.1, localhost), only this machine is listened to. Raises HalError.
    """
    place, _, query = address.partition("?")
    options = parse_qs(query, keep_blank_values=True)
    rate = options.pop("rate_bps", [str(rate_bps)])[-1]
    parts = place.rsplit(":", 2)
    ports = [int(p) for p in parts[1:] if p.isdecimal() and 0 < int(p) < 65_536]
    if len(ports) != 2 or not parts[0] or options or not rate.isdecimal() or int(rate) < 1:
        raise HalError(f"udp address {address!r}, should be HOST:TMPORT:TCPORT, such as 127.0.0.1:10015:10018")
    try:
        ground = socket.getaddrinfo(parts[0], ports[0], socket.AF_INET, socket.SOCK_DGRAM)[0][4]
    except OSError as error:
        raise HalError(f"udp address {address!r}: host {parts[0]!r} is not known ({error.strerror})") from None
    ground_host, ground_port = str(ground[0]), int(ground[1])
    here = "127.0.0.1" if ipaddress.ip_address(ground_host).is_loopback else "0.0.0.0"
    return UdpRadio((ground_host, ground_port), (here, ports[1]), int(rate), host)


def _bind(address: tuple[str, int]) -> socket.socket:
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.setblocking(False)
    try:
        port.bind(address)
    except OSError as error:
        port.close()
        if error.errno == errno.EADDRINUSE:
            reason = f"another program listens there; end it (ss -lunp sport = :{address[1]} names it)"
        else:
            reason = (error.strerror or str(error)).lower()
        raise HalError(
            f"UDP port {address[1]} on {address[0]}: {reason}, or give the link another port in the mission file"
        ) from None
    return port


def _connect(address: tuple[str, int]) -> socket.socket:
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.setblocking(False)
    try:
        # Connected, so that the kernel reports refusals, and delivers nothing from anybody but the ground.
        port.connect(address)
    except OSError as error:
        port.close()
        raise HalError(f"UDP to {address[0]}:{address[1]}: {(error.strerror or str(error)).lower()}") from None
    return port
