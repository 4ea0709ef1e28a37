"""The serial board driver against a line that is missing, silent, garbled, unplugged, taken, or says no."""

from __future__ import annotations

import dataclasses
import os
import struct
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flight.linux.platform import LinuxPlatform
from hal.base import Eps, HalError
from hal.board_wire import BoardFrame, BoardReceiver, Kind
from hal.serial_board import (
    STALE_NS,
    SerialBoard,
    SerialEps,
    SerialGovernor,
    SerialHeater,
    SerialThermometer,
    open_eps,
    open_governor,
    open_heater,
    open_thermometer,
)
from sim_hw.bench.board_server import BoardServer, WorldBoard
from sim_hw.world.world import World, WorldConfig
from tests.linux_loop import run_until

MS = 1_000_000
NEVER_NS = 3_600_000 * MS


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LinuxPlatform]:
    platform = LinuxPlatform(tmp_path / "store", "unit")
    yield platform
    platform.close()


class Line:
    """The far end of a pseudo-terminal, served from the node's own loop so that no thread is needed."""

    def __init__(self, host: LinuxPlatform, link: Path) -> None:
        self._host, self.link = host, link
        self.server = BoardServer(WorldBoard(World(WorldConfig())))
        self.answer: Callable[[bytes], bytes] = self.server.feed
        self.seen: list[bytes] = []
        self.plug()

    def plug(self) -> None:
        self.fileno, self._far = os.openpty()
        tty.setraw(self._far)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(self._far))
        self._host.watch(self.fileno, self._on_octets)

    def _on_octets(self) -> None:
        octets = os.read(self.fileno, 4096)
        self.seen.append(octets)
        answer = self.answer(octets)
        if answer:
            os.write(self.fileno, answer)

    def unplug(self) -> None:
        # First, as a device file goes with its device: the number may be another program's terminal at once.
        self.link.unlink(missing_ok=True)
        self._host.unwatch(self.fileno)
        os.close(self.fileno)
        os.close(self._far)


@pytest.fixture
def line(host: LinuxPlatform, tmp_path: Path) -> Iterator[Line]:
    made = Line(host, tmp_path / "board")
    yield made
    made.unplug()


def serial_eps(address: str, host: LinuxPlatform) -> SerialEps:
    eps = open_eps(address, host)
    assert isinstance(eps, SerialEps)
    return eps


def reads(eps: Eps) -> bool:
    try:
        eps.read()
    except HalError:
        return False
    return True


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's waits, shortened: the logic is the same. Those that end in a fault never end on their own: on a busy
    machine a healthy line may be as late as a broken one, so a test that is about them shortens them (`impatient`).
    """
    monkeypatch.setattr("hal.serial_board.STALE_NS", NEVER_NS)
    monkeypatch.setattr("hal.serial_board.ANSWER_NS", NEVER_NS)
    monkeypatch.setattr("hal.serial_board.REOPEN_NS", 50 * MS)
    monkeypatch.setattr("hal.serial_board.POLL_NS", 20 * MS)
    monkeypatch.setattr("hal.serial_board.GREETING_S", 0.02)


@pytest.fixture
def impatient(
    eager: None,  # noqa: ARG001 - the waits that it shortens further
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[bool], None]:
    """Has answers given up and readings grow stale soon, from now on or no more."""

    def switch(on: bool) -> None:
        monkeypatch.setattr("hal.serial_board.STALE_NS", 300 * MS if on else NEVER_NS)
        monkeypatch.setattr("hal.serial_board.ANSWER_NS", 60 * MS if on else NEVER_NS)

    return switch


def test_stale_is_three_seconds() -> None:
    assert STALE_NS == 3_000 * MS


def test_missing_and_foreign_devices(host: LinuxPlatform, tmp_path: Path) -> None:
    with pytest.raises(HalError, match=r"nowhere: no such device; is it plugged in"):
        open_eps(str(tmp_path / "nowhere"), host)
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    with pytest.raises(HalError, match=r"plain: not a serial line$"):
        open_eps(str(plain), host)


@pytest.mark.usefixtures("eager")
def test_a_link_that_another_user_has_laid_is_not_followed(host: LinuxPlatform, line: Line) -> None:
    if os.getuid():
        pytest.skip("only root can give a link away")
    os.lchown(line.link, 12345, 12345)
    with pytest.raises(HalError, match=r"board .*/board: the link belongs to another user \(uid 12345\), who chooses"):
        open_eps(str(line.link), host)
    assert not line.seen
    os.lchown(line.link, 0, 0)
    eps = serial_eps(str(line.link), host)
    assert run_until(host, lambda: reads(eps))


@pytest.mark.parametrize("address", ["", "/dev/x?speed=3", "/dev/x?baud=fast"])
def test_bad_addresses(host: LinuxPlatform, address: str) -> None:
    with pytest.raises(HalError, match="should be PATH"):
        open_eps(address, host)
    with pytest.raises(HalError, match="should be PATH"):
        open_thermometer(address, host)


@pytest.mark.usefixtures("eager")
def test_devices_of_one_path_share_a_line_and_names_are_checked(host: LinuxPlatform, line: Line) -> None:
    path = str(line.link)
    eps = serial_eps(path, host)
    assert run_until(host, lambda: reads(eps))
    thermometer, governor = open_thermometer(path + ":radiator", host), open_governor(path, host)
    assert isinstance(thermometer, SerialThermometer) and isinstance(governor, SerialGovernor)
    assert thermometer.board is eps.board is governor.board
    with pytest.raises(HalError, match="no sensor 'attic', has board, radiator"):
        open_thermometer(path + ":attic", host)
    with pytest.raises(HalError, match="no heater 'attic', has heater"):
        open_heater(path + ":attic", host)
    with pytest.raises(HalError, match="no switch 'warp', has payload, radio"):
        eps.set_switch("warp", True)
    with pytest.raises(HalError, match="opened with 115200 and with 9600 baud"):
        open_eps(path + "?baud=9600", host)


@pytest.mark.usefixtures("eager")
def test_a_port_in_use_is_refused(host: LinuxPlatform, line: Line, tmp_path: Path) -> None:
    open_eps(str(line.link), host)
    other = LinuxPlatform(tmp_path / "other", "other")
    with pytest.raises(HalError, match="another program uses it"):
        open_eps(str(line.link), other)
    other.close()


def test_a_silent_board_is_no_error_at_boot_but_at_reading(
    impatient: Callable[[bool], None], host: LinuxPlatform, line: Line
) -> None:
    impatient(True)
    line.answer = lambda _octets: b""
    eps = serial_eps(str(line.link), host)
    with pytest.raises(HalError, match=r"no answer yet \(is it powered, and is the baud rate right\?\)"):
        eps.read()
    with pytest.raises(HalError, match="no answer yet"):
        eps.set_switch("payload", True)
    assert run_until(host, lambda: eps.board.counters.timeouts > 2)
    line.answer = line.server.feed
    assert run_until(host, lambda: reads(eps))


def test_garbage_and_recovery(impatient: Callable[[bool], None], host: LinuxPlatform, line: Line) -> None:
    eps = serial_eps(str(line.link), host)
    assert run_until(host, lambda: reads(eps))
    impatient(True)
    line.answer = lambda octets: bytes(range(256)) + octets + b"\0garbled\0"  # also an echo of the request
    assert run_until(host, lambda: eps.board.garbage > 0 < eps.board.counters.unexpected and not reads(eps))
    with pytest.raises(HalError, match=r"no answer for [0-9.]+ s \(garbage on the line: \d+\)"):
        eps.read()
    line.answer = line.server.feed
    assert run_until(host, lambda: reads(eps))


def test_unplugged_and_plugged_in_again(impatient: Callable[[bool], None], host: LinuxPlatform, line: Line) -> None:
    eps = serial_eps(str(line.link), host)
    sensor = open_thermometer(f"{line.link}:board", host)
    assert run_until(host, lambda: reads(eps))
    line.unplug()
    assert run_until(host, lambda: eps.board.counters.lost == 1)
    with pytest.raises(HalError, match="the device is gone, so what it has when it comes back is not known"):
        eps.set_switch("payload", True)
    impatient(True)
    assert run_until(host, lambda: not reads(eps))
    with pytest.raises(HalError, match="the device is gone"):
        sensor.read_c()
    line.plug()
    assert run_until(host, lambda: reads(eps))
    impatient(False)
    assert sensor.read_c() > -50
    assert eps.board.counters.lost == eps.board.counters.reopened == 1


class Refuser(LinuxPlatform):
    """A platform that refuses boards as many times as it is told, as the kernel does at its limits."""

    refusals = 0

    def watch(self, fileno: int, on_ready: Callable[[], None]) -> None:
        if self.refusals and isinstance(getattr(on_ready, "__self__", None), SerialBoard):
            self.refusals -= 1
            raise HalError(f"descriptor {fileno} cannot be watched: no space left")
        super().watch(fileno, on_ready)


@pytest.mark.usefixtures("eager")
def test_a_line_that_cannot_be_watched_is_closed_and_tried_again(tmp_path: Path) -> None:
    host = Refuser(tmp_path / "store", "unit")
    line = Line(host, tmp_path / "board")
    host.refusals = 1
    with pytest.raises(HalError, match="cannot be watched") as error:
        open_eps(str(line.link), host)
    eps = serial_eps(str(line.link), host)  # free again, though it is for one alone and the failed call's frames live
    assert error.tb is not None
    assert run_until(host, lambda: reads(eps))
    line.unplug()
    assert run_until(host, lambda: eps.board.counters.lost == 1)
    line.plug()
    host.refusals = 2
    assert run_until(host, lambda: reads(eps) and eps.board.counters.reopened == 1)
    assert host.refusals == 0
    line.unplug()
    host.close()


@pytest.mark.usefixtures("eager")
def test_calls_wait_for_no_answer(host: LinuxPlatform, line: Line) -> None:
    eps, heater = serial_eps(str(line.link), host), open_heater(f"{line.link}:heater", host)
    assert run_until(host, lambda: reads(eps) and not eps.board.orders)
    answers = eps.board.counters.answers
    for i in range(100):  # the far end is served by this loop, which stands still: there is no answer to wait for
        assert eps.read().bus_v > 0
        eps.set_switch("payload", i % 2 == 0)
        heater.set_on(False)
    assert eps.board.counters.answers == answers


def lossy(line: Line, kind: Kind, lose: int) -> Callable[[bytes], bytes]:
    """Answers, but for the first `lose` requests of `kind`."""
    receiver, lost = BoardReceiver(), [0]

    def answer(octets: bytes) -> bytes:
        for frame in receiver.feed(octets):
            if frame.kind is kind and lost[0] < lose:
                lost[0] += 1
                return b""
        return line.server.feed(octets)

    return answer


def test_an_order_is_repeated_until_confirmed(
    impatient: Callable[[bool], None], host: LinuxPlatform, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hal.serial_board.TRIES_MAX", 10**6)  # on a busy machine a good answer may be late as well
    eps = serial_eps(str(line.link), host)
    assert run_until(host, lambda: reads(eps))
    line.answer = lossy(line, Kind.SWITCH, 2)
    eps.set_switch("payload", True)
    impatient(True)
    assert run_until(host, lambda: line.server.model.switched_on("payload"))
    assert run_until(host, lambda: not eps.board.orders)
    impatient(False)
    assert reads(eps)


def test_an_order_never_confirmed_is_said_once(
    impatient: Callable[[bool], None], host: LinuxPlatform, line: Line
) -> None:
    eps = serial_eps(str(line.link), host)
    assert run_until(host, lambda: reads(eps))
    line.answer = lossy(line, Kind.SWITCH, 99)
    eps.set_switch("payload", True)
    impatient(True)
    assert run_until(host, lambda: bool(eps.board.faults))
    impatient(False)
    with pytest.raises(HalError, match="switch payload: not confirmed after 3 tries"):
        eps.read()
    assert reads(eps)


@pytest.mark.usefixtures("eager")
def test_an_order_the_board_refuses(host: LinuxPlatform, line: Line) -> None:
    def answer(octets: bytes) -> bytes:
        frames = BoardReceiver().feed(octets)
        if frames and frames[0].kind in (Kind.HEATER, Kind.LIMIT):
            return BoardFrame(frames[0].kind, frames[0].seq, b"\2", is_answer=True).encode()
        return line.server.feed(octets)

    line.answer = answer
    heater, governor = open_heater(f"{line.link}:heater", host), open_governor(str(line.link), host)
    assert isinstance(heater, SerialHeater)
    board, eps = heater.board, serial_eps(str(line.link), host)
    assert run_until(host, lambda: reads(eps))
    heater.set_on(True)
    governor.set_limit_w(3.0)
    assert run_until(host, lambda: board.counters.refused == 2)
    with pytest.raises(HalError, match="heater heater: refused by the board"):
        heater.set_on(True)
    with pytest.raises(HalError, match="limit payload: refused by the board"):
        governor.set_limit_w(3.0)


@pytest.mark.usefixtures("eager")
def test_orders_for_one_target_do_not_pile_up(host: LinuxPlatform, line: Line) -> None:
    eps = serial_eps(str(line.link), host)
    assert run_until(host, lambda: reads(eps))
    for i in range(1000):
        eps.set_switch("payload", i % 2 == 0)
    assert len(eps.board.orders) == 1
    assert run_until(host, lambda: not eps.board.orders)
    assert not line.server.model.switched_on("payload")


@pytest.mark.usefixtures("eager")
def test_a_board_of_version_1_is_served(host: LinuxPlatform, line: Line) -> None:
    line.server.version = 1
    eps, heater = serial_eps(str(line.link), host), open_heater(f"{line.link}:heater", host)
    assert run_until(host, lambda: reads(eps))
    assert eps.board.version == 1
    line.seen.clear()
    eps.set_switch("payload", True)
    heater.set_on(True)
    assert run_until(host, lambda: not eps.board.orders)
    assert line.server.model.switched_on("payload") and line.server.model.switched_on("heater")
    kinds = [frame.kind for octets in line.seen for frame in BoardReceiver().feed(octets)]
    for at, kind in enumerate(kinds):
        if kind in (Kind.SWITCH, Kind.HEATER):  # each goes by a description that was asked for directly before
            assert kinds[at - 1] is Kind.DESCRIBE, kinds
    assert reads(eps) and open_thermometer(f"{line.link}:board", host).read_c() > -50


@pytest.mark.usefixtures("eager")
def test_a_board_that_restarts_is_said_once(host: LinuxPlatform, line: Line) -> None:
    eps = serial_eps(str(line.link), host)
    assert run_until(host, lambda: reads(eps))
    assert eps.board.version == 2
    line.server.boot += 1
    assert run_until(host, lambda: eps.board.counters.restarts == 1)
    with pytest.raises(HalError, match="it restarted, what was switched may have changed"):
        eps.read()
    assert reads(eps)


def test_what_was_wrong_with_the_answers_is_said(
    impatient: Callable[[bool], None], host: LinuxPlatform, line: Line
) -> None:
    eps = serial_eps(str(line.link), host)
    assert run_until(host, lambda: reads(eps))
    impatient(True)

    def answer(octets: bytes) -> bytes:
        """Good checksums, and NaN for the charge."""
        answers = BoardReceiver().feed(line.server.feed(octets))
        nan = struct.pack(">f", float("nan"))
        return b"".join(
            dataclasses.replace(one, body=one.body[:6] + nan + one.body[10:]).encode()
            if one.kind is Kind.STATUS
            else one.encode()
            for one in answers
        )

    line.answer = answer
    assert run_until(host, lambda: not reads(eps))
    assert run_until(host, lambda: "not finite" in eps.board.unfit)
    with pytest.raises(HalError, match=r"no answer for [0-9.]+ s \(status with a value that is not finite\)"):
        eps.read()


@pytest.mark.usefixtures("eager")
def test_a_target_that_is_not_there_any_more(host: LinuxPlatform, line: Line) -> None:
    eps = serial_eps(str(line.link), host)
    assert run_until(host, lambda: reads(eps))

    def answer(octets: bytes) -> bytes:
        for frame in BoardReceiver().feed(octets):
            if frame.kind is Kind.SWITCH:
                return BoardFrame(frame.kind, frame.seq, b"\1", is_answer=True).encode()
        return line.server.feed(octets)

    line.answer = answer
    eps.set_switch("payload", True)
    assert run_until(host, lambda: bool(eps.board.faults))
    with pytest.raises(HalError, match="switch payload: not there any more"):
        eps.read()


def test_the_server_ignores_what_is_no_request() -> None:
    server = BoardServer(WorldBoard(World(WorldConfig())))
    for frame in (
        BoardFrame(Kind.STATUS, 1, b"", is_answer=True),
        BoardFrame(Kind.SWITCH, 1, b""),
        BoardFrame(Kind.SWITCH, 1, b"\0\7"),
        BoardFrame(Kind.SWITCH, 1, b"\7payload\7"),
        BoardFrame(Kind.SWITCH, 1, b"\5payload\1"),
        BoardFrame(Kind.HEATER, 1, b"\1\xff\1"),
        BoardFrame(Kind.LIMIT, 1, b"\xff\xff\xff\xff"),
    ):
        assert server.feed(frame.encode()) == b""
    assert server.ignored == 7
    [unknown] = BoardReceiver().feed(server.feed(BoardFrame(Kind.SWITCH, 9, b"\x09\x01").encode()))
    assert unknown == BoardFrame(Kind.SWITCH, 9, b"\1", is_answer=True)
    [unknown] = BoardReceiver().feed(server.feed(BoardFrame(Kind.SWITCH, 9, b"\4warp\1").encode()))
    assert unknown == BoardFrame(Kind.SWITCH, 9, b"\1", is_answer=True)
