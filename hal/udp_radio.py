"""Driver of a radio that is a pair of UDP ports: one unit a datagram down, CLTUs up.

Units leave at the link's rate, from a transmit buffer of one. UDP knows no carrier; what stands for it is
whether the ground's port takes datagrams:

    UP    units go out; a refusal (ICMP port unreachable, no route) puts the unit back and leads to DOWN
    DOWN  once a second the oldest unit is sent as a probe; the carrier is back when no refusal came within
          0.1 s, or as soon as anything is received

On one machine a refusal comes back within the sending call, so that no unit is lost on an absent ground. Over a
network units that are under way at that moment are.

What comes up waits in the kernel's buffer alone. The kernel counts what it has no room for, and tells the count with
the next datagram that it takes (SO_RXQ_OVFL), or when it is asked (SO_MEMINFO), if it can be.
"""

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
BUSY_NS = 2_000_000
# How far the pacing may fall behind and catch up: the loop's timers are late by up to some milliseconds.
SLACK_NS = 50_000_000

_SO_RXQ_OVFL, _SO_MEMINFO = 40, 55  # Linux, asm-generic/socket.h
_DROPS = struct.Struct("=I")
_MEMINFO = struct.Struct("=9I")  # linux/sock_diag.h; the last is SK_MEMINFO_DROPS
_ANCILLARY_OCTETS = socket.CMSG_SPACE(_DROPS.size)

_REFUSALS = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EPERM)


@dataclass(slots=True)
class RadioCounters:
    """Units sent and refused for want of room, received, of no use (`unfit`: empty or too long) and dropped by the
    kernel, carriers lost.
    """

    sent: int = 0
    no_room: int = 0
    received: int = 0
    unfit: int = 0
    dropped: int = 0
    carrier_lost: int = 0
    errors: int = 0


class UdpRadio:
    """See the head of the file. Raises HalError where a port is taken or the ground's name is not known."""

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
        self._up_socket.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        self._listening = False
        self._told = False
        self._refused_one = False  # whoever sends waits for room
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

    # the Radio Protocol

    def carrier(self) -> bool:
        return self._up

    def send(self, unit: bytes) -> bool:
        """Raises HalError for a unit that fits no datagram: 1 to 4096 octets."""
        if not 0 < len(unit) <= UNIT_OCTETS_MAX:
            raise HalError(f"unit of {len(unit)} octets, a datagram carries 1 to {UNIT_OCTETS_MAX}")
        if len(self._waiting) >= TRANSMIT_UNITS:
            self.counters.no_room += 1
            self._refused_one = True
            return False
        self._waiting.append(unit)
        self._arm()
        return True

    def free_ns(self) -> int:
        return self._free_ns

    def receive(self) -> bytes | None:
        try:
            octets, ancillary, _, _ = self._up_socket.recvmsg(UNIT_OCTETS_MAX + 1, _ANCILLARY_OCTETS)
        except OSError as error:
            self.counters.errors += not isinstance(error, BlockingIOError)
            self._told = False
            self._listen()
            return None
        for level, kind, content in ancillary:
            if (level, kind, len(content)) == (socket.SOL_SOCKET, _SO_RXQ_OVFL, _DROPS.size):
                (self.counters.dropped,) = _DROPS.unpack(content)
        if not 0 < len(octets) <= UNIT_OCTETS_MAX:
            self.counters.unfit += 1
            return b""
        self.counters.received += 1
        if not self._up:
            self._hear()
        return octets

    def dropped(self) -> int:
        """What the kernel had no room for, also if nothing came after it."""
        try:
            told = self._up_socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:  # an older kernel, or the port is left
            told = b""
        if len(told) == _MEMINFO.size:
            self.counters.dropped = _MEMINFO.unpack(told)[-1]
        return self.counters.dropped

    def on_event(self, call: Callable[[], None]) -> None:
        self._notify = call

    def close(self) -> None:
        """Leave the ports."""
        if self._timer is not None:
            self._timer.cancel()
        for one in (self._up_socket, self._down_socket):
            if one.fileno() >= 0:
                self._host.unwatch(one.fileno())
                one.close()

    # down

    def _arm(self, not_before_ns: int = 0) -> None:
        """Have `_transmit` called when the next unit may go, unless that is arranged already."""
        if self._timer is None:
            self._timer = self._host.call_at(max(self._free_ns, not_before_ns), self._transmit)

    def _transmit(self) -> None:
        self._timer = None
        now = self._host.now_ns()
        if self._probing:  # no refusal since the probe went out: the ground is there
            self._probing = False
            self._last = None
            self._set_up(True)
        self._free_ns = max(self._free_ns, now - SLACK_NS)
        while self._waiting and self._free_ns <= now:
            if not self._send_one(now):
                return
        if self._waiting:
            self._arm()
        if self._refused_one and len(self._waiting) < TRANSMIT_UNITS:
            self._refused_one = False
            self._notify()

    def _send_one(self, now: int) -> bool:
        """Send the oldest unit; False where the sending stops here for a while."""
        unit = self._waiting[0]
        try:
            self._down_socket.send(unit)
        except OSError as error:
            if error.errno in _REFUSALS:  # of the unit before this one
                self._refused(now)
            else:
                self.counters.errors += not isinstance(error, BlockingIOError)
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
        """The unit on its way did not arrive: it is the oldest again, and goes out as the next probe."""
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
        """An error of an earlier datagram, or something sent to the transmit port, which nobody listens to."""
        try:
            self._down_socket.recv(1)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _REFUSALS:
                self._refused(self._host.now_ns())
            else:
                self.counters.errors += 1

    # up

    def _listen(self) -> None:
        """Have the next datagram told."""
        if not self._listening and self._up_socket.fileno() >= 0:
            self._listening = True
            self._host.watch(self._up_socket.fileno(), self._on_uplink)

    def _on_uplink(self) -> None:
        """There is something to receive. The descriptor stays ready until all of it was: where that takes longer, it
        is not watched meanwhile, and the loop not kept busy.
        """
        if self._told:
            self._listening = False
            self._host.unwatch(self._up_socket.fileno())
            return
        self._told = True
        if not self._up:
            self._hear()
        self._notify()

    def _hear(self) -> None:
        """Somebody talks to us: the carrier is there, and waiting units may go at once."""
        self._probing = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._up = True
        if self._waiting:
            self._arm()


def open_radio(address: str, host: Host, rate_bps: int) -> Radio:
    """`udp:HOST:TMPORT:TCPORT[?rate_bps=N]`: TM frames to HOST:TMPORT, CLTUs from TCPORT here.

    With HOST a loopback address (127.0.0.1, localhost) only this machine is listened to. Raises HalError.
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
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    try:
        made.bind(address)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            reason = f"another program listens there; end it (ss -lunp sport = :{address[1]} names it)"
        else:
            reason = (error.strerror or str(error)).lower()
        raise HalError(
            f"UDP port {address[1]} on {address[0]}: {reason}, or give the link another port in the mission file"
        ) from None
    return made


def _connect(address: tuple[str, int]) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    try:
        # Connected, so that refusals come back, and only the ground's answers do.
        made.connect(address)
    except OSError as error:
        made.close()
        raise HalError(f"UDP to {address[0]}:{address[1]}: {(error.strerror or str(error)).lower()}") from None
    return made
