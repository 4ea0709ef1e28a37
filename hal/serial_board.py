"""Driver of the power and temperature board on a serial line; the protocol is in hal/board_wire.py.

One SerialBoard serves all devices on a port. It asks for a status every 0.2 s on its own and keeps the newest, so that
reads return at once. States of the line:

    OPEN    Requests go out, one at a time. One that is not answered in 0.5 s is counted and given up.
    CLOSED  The device is gone. Once per second the driver tries to open it again.

A device that is missing at boot is an error of the configuration and raises HalError. A board that is silent, garbled
or unplugged later is a fault that can end: `read` raises HalError while the newest sample is older than 3 s, and no
longer once the board is back.
"""

# Orders (switches, heaters, the payload's limit) go out before the next status. For each target only the newest order
# is kept, and it is repeated until the board confirms it, three times at most: a newer order overrules an older one.
# Orders return at once, so a refusal or a missing confirmation is kept as a fault, by target, and the next call for
# that kind of device raises it, once.
#
# A board may become another one at any time: it restarts, or is exchanged, with other lists, and the line may not even
# notice. What must never happen is that an order switches another target than the one it was given for. So:
#   - an order is kept by the name of its target, and encoded only as it goes out, for the board that is there then;
#   - a board of version 2 is sent the name itself, and switches that target or none;
#   - a board of version 1 is sent an index, looked up in a description that was asked for directly before. Only a board
#     that restarts with other lists within that round trip can take the order for another target;
#   - a status that belongs to another description is dropped, and the board is asked for its lists again. Version 2
#     names the description in each status. Version 1 does not: it is asked for its lists every 10 s as well.
# `description` is None while the lists have to be asked for; `_described` remembers the last ones, to count a change.
#
# What survives: the object outlives the port. When a board comes back, kept orders go out after its description; the
# newest sample is not thrown away, but is too old after 3 s. A restart of a board of version 2 is a fault that is
# reported once, because its switches may have fallen back.

from __future__ import annotations

import errno
import os
import select
import termios
from dataclasses import dataclass, field
from urllib.parse import parse_qs
from weakref import WeakValueDictionary

import serial

from hal.base import Eps, Governor, HalError, Heater, Host, PowerReading, Thermometer
from hal.board_wire import (
    ASK,
    BoardDescription,
    BoardFrame,
    BoardIdentity,
    BoardReceiver,
    BoardStatus,
    Kind,
    Outcome,
    WireError,
    encode_limit,
    encode_order,
)
from hal.guard import behind
from hal.link_owner import check_link_owner
from hal.nanoseconds import NS

BAUD = 115_200
POLL_NS = 200_000_000
ANSWER_NS = 500_000_000
REOPEN_NS = NS
LOOK_NS = 10_000_000_000  # how often a board of version 1 is asked for its lists
STALE_NS = 3_000_000_000  # several answers may be lost before a reading is a fault
TRIES_MAX = 3
GREETING_S = 1.0
_READ_OCTETS = 4_096  # what the kernel's terminal buffer holds

Target = tuple[Kind, str]


@dataclass(slots=True)
class BoardCounters:
    """What went right on the line, and what went wrong.

    unexpected: frames that answered no request, or could not be read. lost, reopened: of the port. overruns: requests
    that the kernel's buffer did not take. changed: descriptions that differed from the one before. foreign: statuses
    that belonged to another description. restarts: boots of the board, as far as it reports them.
    """

    answers: int = 0
    timeouts: int = 0
    unexpected: int = 0
    refused: int = 0
    lost: int = 0
    reopened: int = 0
    overruns: int = 0
    changed: int = 0
    foreign: int = 0
    restarts: int = 0


@dataclass(slots=True)
class _Order:
    value: bytes  # 0 or 1, or the limit
    tries: int = 0


@dataclass(slots=True)
class _Request:
    """The one request that waits for its answer. `target` and `order` are set if it is an order."""

    kind: Kind
    seq: int
    sent_ns: int
    target: Target | None = None
    order: _Order | None = None


@dataclass(slots=True)
class _Line:
    port: serial.Serial | None = None
    fileno: int = -1
    receiver: BoardReceiver = field(default_factory=BoardReceiver)


class SerialBoard:
    """One board on one port. Raises HalError if the device cannot be opened."""

    def __init__(self, path: str, baud: int, host: Host) -> None:
        self.path, self.baud = path, baud
        self.counters = BoardCounters()
        self.description: BoardDescription | None = None  # None if it has to be asked for
        self.version = 1
        self._host = host
        self._line = _Line()
        self._described: BoardDescription | None = None  # the newest, also while it has to be asked for again
        self._just_described = False  # nothing was sent since the board described itself
        self._look_ns = 0
        self._boot: int | None = None
        self.unfit = ""  # what was wrong with the newest answer
        self._status: BoardStatus | None = None
        self._sensors: tuple[str, ...] = ()  # of that status: the description may be another one by now
        self._status_ns = 0
        self._seq = 0
        self._request: _Request | None = None
        self.orders: dict[Target, _Order] = {}
        self.faults: dict[Target, str] = {}
        self._reopen_ns = 0
        self.closed = False
        self._open_port()
        self._greet()
        self._next_ns = host.now_ns() + POLL_NS
        self._timer = host.call_at(self._next_ns, self._tick)

    @property
    def garbage(self) -> int:
        """How many stretches of the line were not a frame."""
        return self._line.receiver.garbage

    def status(self) -> BoardStatus:
        """Return the newest sample. Raises HalError if there was none, or it is older than 3 s."""
        age_ns = self._host.now_ns() - self._status_ns
        if self._status is not None and age_ns <= STALE_NS:
            return self._status
        if self._line.port is None:
            raise HalError(f"board {self.path}: the device is gone")
        hint = f"garbage on the line: {self.garbage}" if self.garbage else "is it powered, and is the baud rate right?"
        hint = self.unfit or hint
        if self._status is None:
            raise HalError(f"board {self.path}: no answer yet ({hint})")
        raise HalError(f"board {self.path}: no answer for {age_ns / NS:.1f} s ({hint})")

    def order(self, kind: Kind, name: str, value: bytes) -> None:
        """Have `value` set on the target. Raises HalError for an unknown target, and while the board is away."""
        self.status()  # an order to a board that is away would take effect at an unforeseen time
        if kind is not Kind.LIMIT:
            self.index_of(kind, name)
        self.orders[kind, name] = _Order(value)
        if self._request is None:
            self._send_next()

    def temperature_c(self, name: str) -> float:
        """Return the sensor's value in the newest sample. Raises HalError if that is too old or has no such sensor."""
        status = self.status()
        if name not in self._sensors:
            raise HalError(f"board {self.path}: no sensor {name!r}, has {', '.join(self._sensors) or 'none'}")
        return status.temperatures_c[self._sensors.index(name)]

    def index_of(self, kind: Kind, name: str) -> int:
        """Return the place of `name` in the board's list. Raises HalError naming what the list has."""
        description = self.description
        if description is None:
            raise HalError(f"board {self.path}: {_undescribed(self._described is not None, self._line.port is None)}")
        lists = {Kind.SWITCH: description.switches, Kind.HEATER: description.heaters, Kind.STATUS: description.sensors}
        names = lists[kind]
        if name not in names:
            what = {Kind.SWITCH: "switch", Kind.HEATER: "heater", Kind.STATUS: "sensor"}[kind]
            raise HalError(f"board {self.path}: no {what} {name!r}, has {', '.join(names) or 'none'}")
        return names.index(name)

    def raise_fault(self, kind: Kind) -> None:
        """Raise HalError, once, if an order of this kind was refused or never confirmed."""
        for target in tuple(self.faults):
            if target[0] is kind:
                raise HalError(self.faults.pop(target))

    def close(self) -> None:
        """Leave the port. Every device on this board raises HalError from now on."""
        self.closed = True
        self._timer.cancel()
        self._close_port()

    # the line

    def _open_port(self) -> None:
        check_link_owner(self.path)
        try:
            # Exclusive: two nodes on one line would take each other's answers.
            port = serial.Serial(self.path, self.baud, timeout=0, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            raise HalError(f"board {self.path}: {_reason(self.path, error)}") from None
        garbage = self._line.receiver.garbage
        try:
            self._host.watch(port.fileno(), self._on_ready)
        except HalError:
            port.close()  # a line that is open but not watched would never be read, nor opened again
            raise
        self._line = _Line(port, port.fileno(), BoardReceiver(garbage))

    def _close_port(self) -> None:
        line, self._request = self._line, None
        if line.port is not None:
            self._host.unwatch(line.fileno)
            line.port.close()
            line.port = None

    def _lose_port(self) -> None:
        self.counters.lost += 1
        self._close_port()
        self.description = None  # another board may come back
        self._reopen_ns = self._host.now_ns() + REOPEN_NS

    def _greet(self) -> None:
        """Wait at boot, for a second at most, for the first sample: a healthy board is never reported as silent."""
        for _ in range(20):  # counted, not timed: a board that babbles must not hold up the boot either
            if self._request is None:
                self._send_next()
            if self._line.port is None:
                return
            if select.select((self._line.fileno,), (), (), GREETING_S / 20)[0]:
                self._on_ready()
            if self._status is not None:
                return

    def _tick(self) -> None:
        if self.closed:
            return
        now = self._host.now_ns()
        self._next_ns = max(self._next_ns + POLL_NS, now)  # polls that were missed are not made up for
        self._timer = self._host.call_at(self._next_ns, self._tick)
        if self._line.port is None:
            if now < self._reopen_ns:
                return
            self._reopen_ns = now + REOPEN_NS
            try:
                self._open_port()
            except HalError:
                return
            self.counters.reopened += 1
        request = self._request
        if request is not None:
            if now - request.sent_ns < ANSWER_NS:
                return  # one request at a time: its answer sends the next
            self.counters.timeouts += 1
            self._request = None
            if request.order is not None and request.order.tries >= TRIES_MAX:
                self._give_up(request, f"not confirmed after {TRIES_MAX} tries")
        self._send_next()

    def _send_next(self) -> None:
        """Send the oldest order. Without one, ask for the description if it is not known, or else for a status."""
        if self._line.port is None:
            return
        self._seq = (self._seq + 1) & 0xFF
        self._request, body = self._next_request(self._host.now_ns())
        self._just_described = False
        octets = BoardFrame(self._request.kind, self._seq, body).encode()
        try:
            if os.write(self._line.fileno, octets) != len(octets):
                self.counters.overruns += 1  # no answer will come: the request times out and is repeated
        except BlockingIOError:
            self.counters.overruns += 1
        except OSError:
            self._lose_port()

    def _next_request(self, now: int) -> tuple[_Request, bytes]:
        """Return the next request, and its body."""
        # An order needs lists that are surely those of the board that is there now; version 2 needs only its name.
        looked = self.version > 1 or self._just_described
        while self.description is not None and self.orders and looked:
            target, order = next(iter(self.orders.items()))
            request = _Request(target[0], self._seq, now, target, order)
            try:
                body = self._order_body(target, order)
            except HalError as error:  # the board that is there now has no such target
                self.faults[target] = str(error)
                self._forget(request)
                continue
            order.tries += 1
            return request, body
        stale = self.version == 1 and now >= self._look_ns
        if self.description is None or self.orders or (stale and not self._just_described):
            return _Request(Kind.DESCRIBE, self._seq, now), ASK
        return _Request(Kind.STATUS, self._seq, now), ASK if self.version > 1 else b""

    def _order_body(self, target: Target, order: _Order) -> bytes:
        """Encode the order for the board that is there now. Raises HalError if it does not have the target."""
        kind, name = target
        if kind is Kind.LIMIT:
            return order.value
        index = self.index_of(kind, name)
        return encode_order(name, bool(order.value[0])) if self.version > 1 else bytes((index,)) + order.value

    def _on_ready(self) -> None:
        try:
            octets = os.read(self._line.fileno, _READ_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if not octets:  # ready without octets: the device was unplugged
            self._lose_port()
            return
        for frame in self._line.receiver.feed(octets):
            self._on_frame(frame)

    def _on_frame(self, frame: BoardFrame) -> None:
        request = self._request
        if request is None or not frame.is_answer or (frame.kind, frame.seq) != (request.kind, request.seq):
            self.counters.unexpected += 1  # late, or an echo
            return
        self._request = None
        try:
            self._accept_answer(request, frame.body)
        except WireError as error:
            self.unfit = str(error)
            self.counters.unexpected += 1
            return
        self.unfit = ""
        self.counters.answers += 1
        if self.orders or request.kind is not Kind.STATUS:
            self._send_next()

    def _accept_answer(self, request: _Request, body: bytes) -> None:
        if request.kind is Kind.DESCRIBE:
            self.description, self.version = BoardDescription.decode_any(body)
            self.counters.changed += self._described not in (None, self.description)
            self._described, self._just_described = self.description, True
            self._look_ns = self._host.now_ns() + LOOK_NS
        elif request.kind is Kind.STATUS:
            self._accept_status(body)
        elif body == bytes((Outcome.DONE,)):
            self._forget(request)
        elif len(body) == 1 and body[0] in (Outcome.UNKNOWN, Outcome.REFUSED):
            self.counters.refused += 1
            if body[0] == Outcome.UNKNOWN:
                self.description = None
            self._give_up(request, "refused by the board" if body[0] == Outcome.REFUSED else "not there any more")
        else:
            raise WireError(f"outcome {body.hex() or 'missing'}")

    def _accept_status(self, body: bytes) -> None:
        """Keep the status. Raises WireError if it does not belong to the description."""
        # Forgotten first and put back last: whatever is wrong with this status, the board is asked for its lists again.
        description, self.description = self.description, None
        if description is None:
            raise WireError("status of a board that is not described")
        at = 0
        if self.version > 1:
            identity = BoardIdentity.decode(body)
            if identity.check != description.check:
                self.counters.foreign += 1
                raise WireError("status of another description")
            at = BoardIdentity.OCTETS
        status = BoardStatus.decode(body[at:])
        if len(status.temperatures_c) != len(description.sensors):
            self.counters.foreign += 1
            raise WireError(f"status with {len(status.temperatures_c)} temperatures, not {len(description.sensors)}")
        if self.version > 1:
            self._note_boot(identity.boot)
        self.description = description
        self._status, self._status_ns, self._sensors = status, self._host.now_ns(), description.sensors

    def _note_boot(self, boot: int) -> None:
        if self._boot not in (None, boot):
            self.counters.restarts += 1
            self.faults[Kind.STATUS, ""] = f"board {self.path}: it restarted, what was switched may have changed"
        self._boot = boot

    def _give_up(self, request: _Request, reason: str) -> None:
        assert request.target is not None
        kind, name = request.target
        self.faults[request.target] = f"board {self.path}: {kind.name.lower()} {name}: {reason}"
        self._forget(request)

    def _forget(self, request: _Request) -> None:
        """Drop the order of `request`, unless a newer one has taken its place."""
        target = request.target
        if target is not None and self.orders.get(target) is request.order:
            del self.orders[target]


@dataclass(frozen=True, slots=True)
class SerialEps:
    """The power system of a board. A hal.base.Eps."""

    board: SerialBoard

    def read(self) -> PowerReading:
        """Return the newest sample. Raises HalError, also for a restart or a switch that failed since the last call."""
        self.board.raise_fault(Kind.STATUS)
        self.board.raise_fault(Kind.SWITCH)
        return self.board.status().power

    def set_switch(self, name: str, on: bool) -> None:
        """Have the load switched. Raises HalError. `read` raises later if the board refuses the order."""
        self.board.order(Kind.SWITCH, name, bytes((on,)))


@dataclass(frozen=True, slots=True)
class SerialThermometer:
    """One temperature sensor of a board, by name. A hal.base.Thermometer."""

    board: SerialBoard
    name: str

    def read_c(self) -> float:
        """Return the newest temperature in degrees C. Raises HalError."""
        return self.board.temperature_c(self.name)


@dataclass(frozen=True, slots=True)
class SerialHeater:
    """One heater of a board, by name. A hal.base.Heater."""

    board: SerialBoard
    name: str

    def set_on(self, on: bool) -> None:
        """Have the heater switched. Raises HalError, also if an earlier order failed."""
        self.board.order(Kind.HEATER, self.name, bytes((on,)))
        self.board.raise_fault(Kind.HEATER)


@dataclass(frozen=True, slots=True)
class SerialGovernor:
    """The limit of the payload processor's power that a board sets. A hal.base.Governor."""

    board: SerialBoard

    def set_limit_w(self, power_w: float) -> None:
        """Have the limit set, in watts. Raises HalError, also if an earlier order failed."""
        self.board.order(Kind.LIMIT, "payload", encode_limit(power_w))
        self.board.raise_fault(Kind.LIMIT)


def open_eps(address: str, host: Host) -> Eps:
    """Open `serial:PATH[?baud=N]`. Raises HalError."""
    return SerialEps(_board(address, host))


def open_thermometer(address: str, host: Host) -> Thermometer:
    """Open `serial:PATH:SENSOR[?baud=N]`. Raises HalError."""
    board, name = _named(address, host, Kind.STATUS)
    return SerialThermometer(board, name)


def open_heater(address: str, host: Host) -> Heater:
    """Open `serial:PATH:HEATER[?baud=N]`. Raises HalError."""
    board, name = _named(address, host, Kind.HEATER)
    return SerialHeater(board, name)


def open_governor(address: str, host: Host) -> Governor:
    """Open `serial:PATH[?baud=N]`. Raises HalError."""
    return SerialGovernor(_board(address, host))


# One board per port and platform, for as long as a device on it is in use: the devices share the line. By platform,
# because several nodes may live in one process; weakly, so that the last device takes its board with it.
_BOARDS: WeakValueDictionary[tuple[int, str], SerialBoard] = WeakValueDictionary()


def _board(address: str, host: Host) -> SerialBoard:
    path, _, query = address.partition("?")
    options = parse_qs(query, keep_blank_values=True)
    text = options.pop("baud", [str(BAUD)])[-1]
    if options or not text.isdecimal() or not path:
        raise HalError(f"serial address {address!r}, should be PATH or PATH?baud={BAUD}")
    known = _BOARDS.get((id(behind(host)), path))
    if known is None or known.closed:
        known = _BOARDS[id(behind(host)), path] = SerialBoard(path, int(text), host)
    if known.baud != int(text):
        raise HalError(f"board {path}: opened with {known.baud} and with {text} baud, but a line has one rate")
    return known


def _named(address: str, host: Host, kind: Kind) -> tuple[SerialBoard, str]:
    """Return the board and the device's name. Raises HalError for a name that the board is known not to have."""
    place, question, query = address.partition("?")
    path, _, name = place.rpartition(":")
    if not path or not name:
        raise HalError(f"serial address {address!r}, should be PATH:NAME, such as /dev/ttyS0:radiator")
    board = _board(path + question + query, host)
    if board.description is not None:
        board.index_of(kind, name)
    return board, name


def _undescribed(was_described: bool, is_gone: bool) -> str:
    """Say why it is not known what a board has, although its newest sample may still be good enough."""
    if not was_described:
        return "no answer yet, so what it has is not known"
    if is_gone:
        return "the device is gone, so what it has when it comes back is not known"
    return "it may have become another board, so what it has is asked for again"


def _reason(path: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number is None and isinstance(error.__context__, termios.error):
        number = error.__context__.args[0]  # pyserial has it in its text only, as a tuple
    if number == errno.ENOENT:
        return "no such device; is it plugged in, or `orbitnode sim` running?"
    if number == errno.EACCES:
        return f"no permission; add this user to the group that owns {path}"
    if number in (errno.EAGAIN, errno.EBUSY):
        return "another program uses it; end that one first"
    if number in (errno.ENXIO, errno.EIO, errno.ENODEV):
        return "the device file is there, but nothing is behind it"
    if number in (errno.ENOTTY, errno.EINVAL):
        return "not a serial line"
    if isinstance(error, ValueError):
        return str(error)
    return os.strerror(number) if number else f"not a serial line ({error})"
