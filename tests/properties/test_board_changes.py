"""The serial board driver on a line that drops, repeats, delays and breaks, with a board that restarts as another one:
an order takes effect on the target that it names, or on none.
"""

from __future__ import annotations

import heapq
import select
import socket
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal import serial_board
from hal.base import HalError, PowerReading
from hal.board_wire import BoardDescription, Kind
from hal.serial_board import SerialBoard
from sim_hw.bench.board_server import BoardServer
from sim_hw.machine.loop import NoLimit

SWITCHES, HEATERS, SENSORS = ("payload", "radio", "camera"), ("line", "tank", "wheel"), ("cold", "warm", "hot")
TRUTH_C = {"cold": -40.0, "warm": 20.0, "hot": 90.0}


def some_of(names: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.permutations(names).flatmap(lambda order: st.integers(0, len(order)).map(lambda n: tuple(order[:n])))


descriptions = st.builds(BoardDescription, some_of(SENSORS), some_of(SWITCHES), some_of(HEATERS))
steps = st.one_of(
    st.tuples(st.just("order"), st.sampled_from(SWITCHES + HEATERS), st.booleans()),
    st.tuples(st.just("restart"), st.one_of(descriptions, st.just(BoardDescription(SENSORS, SWITCHES[::-1], HEATERS)))),
    st.sampled_from(
        [(name,) for name in ("to_board", "to_host", "exchange", "drop", "repeat", "unplug", "plug", "wait")]
    ),
    st.just(("exchange",)),
    st.just(("exchange",)),
)


class Host:
    """A timeline that only the test moves, and descriptors that it looks at when the test says so."""

    def __init__(self) -> None:
        self.limit = NoLimit()
        self.t_ns = 1_000_000_000_000
        self.watched: dict[int, Callable[[], None]] = {}
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0

    def now_ns(self) -> int:
        return self.t_ns

    def call_at(self, t_ns: int, call: Callable[[], None]) -> Any:
        self._order += 1
        heapq.heappush(self._heap, (t_ns, self._order, call))
        return mock.Mock()

    def watch(self, fileno: int, on_ready: Callable[[], None]) -> None:
        self.watched[fileno] = on_ready

    def unwatch(self, fileno: int) -> None:
        self.watched.pop(fileno, None)

    def advance(self, ns: int) -> None:
        end_ns = self.t_ns + ns
        while self._heap and self._heap[0][0] <= end_ns:
            self.t_ns, _, call = heapq.heappop(self._heap)
            call()
        self.t_ns = end_ns

    def look(self) -> None:
        for fileno in select.select(list(self.watched), (), (), 0)[0]:
            self.watched[fileno]()


class Model:
    """A board that notes what was done to it."""

    def __init__(self, description: BoardDescription, done: list[tuple[str, bool]]) -> None:
        self.description = description
        self._done = done

    def read_power(self) -> PowerReading:
        return PowerReading(0.5, 1.0, 2.0, 3.0, 8.0)

    def read_c(self, sensor: str) -> float:
        return TRUTH_C[sensor]

    def switched_on(self, _name: str) -> bool:
        return False

    def set_switch(self, name: str, on: bool) -> None:
        self._done.append((name, on))

    def set_limit_w(self, power_w: float) -> None:
        pass


class Rig:
    """The driver on one end of a socket pair, a board on the other, and the octets on their way."""

    def __init__(self, version: int) -> None:
        self.version, self.boots = version, 0
        self.done: list[tuple[str, bool]] = []  # effects on any board
        self.given: set[tuple[str, bool]] = set()  # orders that the driver took
        self.up, self.down = b"", b""  # to the board, to the host
        self.host = Host()
        self.far: socket.socket | None = None
        self.near: socket.socket | None = None
        self.restart(BoardDescription(SENSORS, SWITCHES, HEATERS))
        self.plug()
        with self.wire():
            self.board = SerialBoard("/dev/board", 115_200, self.host)

    def wire(self) -> Any:
        return mock.patch.multiple(
            serial_board, GREETING_S=0.0, serial=mock.Mock(Serial=self.open, SerialException=OSError)
        )

    def open(self, *_: object, **__: object) -> socket.socket:
        if self.near is None:
            raise FileNotFoundError(2, "unplugged")
        near, self.near = self.near, None
        return near

    def plug(self) -> None:
        if self.far is None:
            self.near, self.far = socket.socketpair()
            self.near.setblocking(False)
            self.far.setblocking(False)

    def unplug(self) -> None:
        self.up, self.down = b"", b""
        for one in (self.far, self.near):
            if one is not None:
                one.close()
        self.far = self.near = None
        self.host.look()

    def restart(self, description: BoardDescription) -> None:
        # A board of version 1 may not restart between its description and the order that goes by it.
        if self.version == 1 and (self.up or self.down or self.sent()):
            return
        self.boots += 1
        self.server = BoardServer(Model(description, self.done), self.boots, self.version)

    def sent(self) -> bytes:
        """Octets that the host has written, taken onto the line."""
        try:
            self.up += self.far.recv(65536) if self.far is not None else b""
        except BlockingIOError:
            pass
        return self.up

    def to_board(self) -> None:
        octets, self.up = self.sent(), b""
        self.down += self.server.feed(octets)

    def to_host(self) -> None:
        if self.far is not None and self.down:
            self.far.send(self.down)
            self.down = b""
            self.host.look()

    def exchange(self) -> None:
        for _ in range(4):
            self.to_board()
            self.to_host()

    def drop(self) -> None:
        self.sent()
        self.up, self.down = b"", b""

    def repeat(self) -> None:
        self.up, self.down = self.sent() * 2, self.down * 2

    def wait(self) -> None:
        self.host.advance(600_000_000)

    def order(self, name: str, on: bool) -> None:
        try:
            self.board.order(Kind.SWITCH if name in SWITCHES else Kind.HEATER, name, bytes((on,)))
            self.given.add((name, on))
        except HalError:
            pass

    def check(self) -> None:
        assert set(self.done) <= self.given
        for name in SENSORS:
            try:
                assert self.board.temperature_c(name) == TRUTH_C[name]
            except HalError:
                continue

    def close(self) -> None:
        self.board.close()
        self.unplug()


@pytest.mark.parametrize("version", [1, 2])
@settings(max_examples=200)
@given(script=st.lists(steps, min_size=10, max_size=40))
def test_an_order_reaches_its_target_or_none(version: int, script: list[tuple[Any, ...]]) -> None:
    rig = Rig(version)
    try:
        with rig.wire():
            rig.exchange()
            for name, *arguments in script:
                getattr(rig, name)(*arguments)
                rig.check()
    finally:
        rig.close()


@pytest.mark.parametrize("version", [1, 2])
def test_a_board_that_restarts_as_another_while_the_line_stays_up_is_asked_again(version: int) -> None:
    """Same number of everything, other order: nothing but the names differs."""
    rig = Rig(version)
    with rig.wire():
        rig.exchange()
        rig.wait()
        rig.exchange()
        rig.drop()
        rig.restart(BoardDescription(SENSORS[::-1], SWITCHES[::-1], HEATERS[::-1]))
        for _ in range(serial_board.LOOK_NS // 600_000_000 + 3):
            rig.wait()
            rig.exchange()
        assert rig.board.counters.changed == 1
        assert rig.board.temperature_c("hot") == 90.0
        rig.order("payload", True)
        rig.exchange()
        assert rig.done == [("payload", True)]
        if version == 2:
            assert rig.board.counters.restarts == 1
            with pytest.raises(HalError, match="it restarted"):
                serial_board.SerialEps(rig.board).read()
            assert serial_board.SerialEps(rig.board).read().soc_frac == 0.5
    rig.close()


@pytest.mark.parametrize("version", [1, 2])
def test_an_order_that_waits_over_a_lost_line_goes_to_its_own_target(version: int) -> None:
    rig = Rig(version)
    with rig.wire():
        rig.exchange()
        rig.order("payload", True)
        rig.unplug()
        rig.restart(BoardDescription(SENSORS, SWITCHES[::-1], HEATERS))
        rig.plug()
        for _ in range(10):
            rig.wait()
            rig.exchange()
        assert set(rig.done) == {("payload", True)}
        rig.order("wheel", True)
        rig.unplug()
        rig.restart(BoardDescription(SENSORS, SWITCHES, HEATERS[:2]))
        rig.plug()
        for _ in range(10):
            rig.wait()
            rig.exchange()
        assert set(rig.done) == {("payload", True)}
        with pytest.raises(HalError, match="no heater 'wheel', has line, tank"):
            rig.board.raise_fault(Kind.HEATER)
    rig.close()
