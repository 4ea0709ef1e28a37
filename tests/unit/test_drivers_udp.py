"""The UDP radio: addresses, taken ports, an absent ground, floods and datagrams that are too long."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from flight.kernels import ErrorMode
from flight.link.coding.cltu import CltuReceiver, encode_cltu
from flight.linux.platform import LinuxPlatform
from hal.base import HalError
from hal.udp_radio import DRAIN_DATAGRAMS, DRAIN_OCTETS, IDLE, TRANSMIT_UNITS, UNIT_OCTETS_MAX, UdpRadio, open_radio
from tests.linux_loop import run_until
from tests.ports import free_port
from tests.waiting import GIVE_UP_S

MS = 1_000_000


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LinuxPlatform]:
    platform = LinuxPlatform(tmp_path / "store", "unit")
    yield platform
    platform.close()


Ports = tuple[socket.socket, int, int]


def udp_radio(address: str, host: LinuxPlatform, rate_bps: int) -> UdpRadio:
    radio = open_radio(address, host, rate_bps)
    assert isinstance(radio, UdpRadio)
    return radio


@pytest.fixture
def ports() -> Iterator[Ports]:
    """The ground's socket, its port, and a port that is free for the node."""
    down, up = free_port(), free_port()
    ground = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ground.bind(("127.0.0.1", down))
    yield ground, down, up
    ground.close()


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:0:2", "127.0.0.1:1:70000", ":1:2", "h:1:x", "127.0.0.1:1:2?rate_bps=0",
     "127.0.0.1:1:2?speed=3"],
)  # fmt: skip
def test_bad_addresses(host: LinuxPlatform, address: str) -> None:
    with pytest.raises(HalError, match="should be HOST:TMPORT:TCPORT"):
        open_radio(address, host, 1000)


def test_an_unknown_host(host: LinuxPlatform) -> None:
    with pytest.raises(HalError, match=r"host 'no\.such\.host\.invalid' is not known"):
        open_radio("no.such.host.invalid:1:2", host, 1000)


def test_a_taken_port_is_named_with_the_remedy(host: LinuxPlatform, ports: Ports) -> None:
    _, down, up = ports
    first = udp_radio(f"127.0.0.1:{down}:{up}", host, 1000)
    with pytest.raises(HalError, match=rf"UDP port {up} on 127.0.0.1: another program listens there; end it .*{up}"):
        open_radio(f"127.0.0.1:{down}:{up}", host, 1000)
    first.close()
    udp_radio(f"127.0.0.1:{down}:{up}", host, 1000).close()


def test_nothing_is_lost_on_an_absent_ground(
    host: LinuxPlatform, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hal.udp_radio.RETRY_NS", 50 * MS)
    monkeypatch.setattr("hal.udp_radio.PROBE_NS", 3_600_000 * MS)  # however late the loop comes to hear of a refusal
    ground, down, up = ports
    ground.close()
    radio = udp_radio(f"127.0.0.1:{down}:{up}?rate_bps=10000000", host, 1000)
    assert radio.carrier()
    sent = 0

    def fill() -> None:
        nonlocal sent
        while sent < 10 and radio.send(b"%d" % sent):
            sent += 1

    radio.on_event(fill)
    fill()
    assert run_until(host, lambda: not radio.carrier())
    assert sent <= TRANSMIT_UNITS + 1 and radio.counters.sent == 0
    states: list[bool] = []
    probes: list[int] = []
    refused = radio._refused  # noqa: SLF001 - counts refusals of the kernel

    def refuse(now_ns: int) -> None:
        probes.append(now_ns)
        refused(now_ns)

    def two_probes() -> bool:
        states.append(radio.carrier())
        return len(probes) == 2

    monkeypatch.setattr(radio, "_refused", refuse)
    assert run_until(host, two_probes)
    assert not any(states), "a probe that is refused does not make a carrier"
    monkeypatch.setattr("hal.udp_radio.PROBE_NS", 50 * MS)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(("127.0.0.1", down))
        back.setblocking(False)
        assert run_until(host, lambda: sent == 10 and radio.counters.sent == 10)
        assert [back.recv(99) for _ in range(10)] == [b"%d" % i for i in range(10)]
    assert radio.counters.carrier_lost == 1
    radio.close()


def test_a_port_that_cannot_be_watched_is_left(
    host: LinuxPlatform, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, down, up = ports
    watched: list[int] = []

    def watch_one(fileno: int, _on_ready: object) -> None:
        if watched:
            raise HalError(f"descriptor {fileno} cannot be watched: no space left")
        watched.append(fileno)

    with monkeypatch.context() as patch:
        patch.setattr(host, "watch", watch_one)
        with pytest.raises(HalError, match="cannot be watched") as error:
            open_radio(f"127.0.0.1:{down}:{up}", host, 1000)
    udp_radio(f"127.0.0.1:{down}:{up}", host, 1000).close()  # free again, though the failed call's frames live
    assert error.tb is not None


def test_being_heard_brings_the_carrier_back(
    host: LinuxPlatform, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hal.udp_radio.RETRY_NS", 3_600_000 * MS)  # no probe: only what is heard can bring it back
    ground, down, up = ports
    ground.close()
    radio = udp_radio(f"127.0.0.1:{down}:{up}", host, 10_000_000)
    radio.send(b"x")
    assert run_until(host, lambda: not radio.carrier())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(("127.0.0.1", down))
        back.sendto(b"hello", ("127.0.0.1", up))
        assert run_until(host, radio.carrier)
        back.settimeout(GIVE_UP_S)
        assert run_until(host, lambda: radio.counters.sent == 1) and back.recv(9) == b"x"
    radio.close()


def test_floods_and_long_datagrams_are_bounded_and_counted(host: LinuxPlatform, ports: Ports) -> None:
    ground, down, up = ports
    radio = udp_radio(f"127.0.0.1:{down}:{up}", host, 1000)
    for octets in (b"", bytes(UNIT_OCTETS_MAX + 1), bytes(UNIT_OCTETS_MAX)):
        ground.sendto(octets, ("127.0.0.1", up))
    assert [len(octets) for octets in iter(radio.receive, None)] == [0, 0, UNIT_OCTETS_MAX + len(IDLE)]
    assert radio.counters.unfit == 2 and radio.counters.received == 1
    for unit in (b"", bytes(UNIT_OCTETS_MAX + 1)):
        with pytest.raises(HalError, match="should be 1 to 4104"):
            radio.send(unit)
    accepted = sum(radio.send(b"x" * 100) for _ in range(50))
    assert accepted == TRANSMIT_UNITS and radio.counters.no_room == 50 - TRANSMIT_UNITS
    radio.close()


@pytest.mark.parametrize(("octets", "at_once"), [(100, -(-DRAIN_OCTETS // 100)), (10, DRAIN_DATAGRAMS)])
def test_many_small_datagrams_come_at_once_and_in_order(
    host: LinuxPlatform, ports: Ports, octets: int, at_once: int
) -> None:
    ground, down, up = ports
    radio = udp_radio(f"127.0.0.1:{down}:{up}", host, 1000)
    sent = [bytes((number,)) * octets for number in range(150)]
    for datagram in sent:
        ground.sendto(datagram, ("127.0.0.1", up))
    heard = list(iter(radio.receive, None))
    assert b"".join(heard) == b"".join(datagram + IDLE for datagram in sent)
    assert [len(stretch) // (octets + len(IDLE)) for stretch in heard] == [at_once] * (150 // at_once) + [150 % at_once]
    assert radio.counters.received == 150 and radio.counters.errors == 0
    radio.close()


@pytest.mark.parametrize("mode", ErrorMode)
@pytest.mark.parametrize("at_once", [True, False])
def test_no_datagram_swallows_the_next(host: LinuxPlatform, ports: Ports, mode: ErrorMode, at_once: bool) -> None:
    """A unit that is left open, at every place of a codeblock, with octets that are whole codeblocks on any grid."""
    ground, down, up = ports
    radio, receiver = udp_radio(f"127.0.0.1:{down}:{up}", host, 1000), CltuReceiver(mode)
    frame = bytes(range(40))
    good, random = encode_cltu(frame), Random(1)
    opened = [good[:size] for size in range(2, len(good))]
    opened += [b"\xeb\x90" + size * b"\x00\x15\x00\x00\x00\x00\xeb\x90" for size in range(1, 9)]
    opened += [b"\xeb\x90" + random.randbytes(random.randrange(20)) for _ in range(200)]
    for junk in opened:
        units: list[bytes] = []
        for datagram in (junk, good):
            ground.sendto(datagram, ("127.0.0.1", up))
            if not at_once:
                units += receiver.feed(radio.receive() or b"")
        if at_once:
            units += receiver.feed(radio.receive() or b"")
        assert units and units[-1][: len(frame)] == frame, junk
    radio.close()


def test_what_the_kernel_has_no_room_for_is_counted(host: LinuxPlatform, ports: Ports) -> None:
    ground, down, up = ports
    radio = udp_radio(f"127.0.0.1:{down}:{up}", host, 1000)
    told: list[int] = []
    radio.on_event(lambda: told.append(1))
    sent = 20_000  # more than the largest buffer takes, and nobody reads meanwhile
    for _ in range(sent):
        ground.sendto(b"x" * 100, ("127.0.0.1", up))
    assert run_until(host, lambda: bool(told))
    while radio.receive() is not None:
        pass
    assert radio.dropped() > 0 and radio.counters.received + radio.dropped() == sent, "also if nothing follows"
    told.clear()
    ground.sendto(b"last", ("127.0.0.1", up))
    assert run_until(host, lambda: bool(told)) and radio.receive() == b"last" + IDLE
    assert radio.counters.received + radio.dropped() == sent + 1
    assert radio.receive() is None
    radio.close()


def test_a_radio_that_nobody_reads_does_not_keep_the_loop_busy(host: LinuxPlatform, ports: Ports) -> None:
    ground, down, up = ports
    radio = udp_radio(f"127.0.0.1:{down}:{up}", host, 1000)
    ground.sendto(b"x", ("127.0.0.1", up))
    run_until(host, lambda: False, 0.05)
    rounds, looks = host.counters.rounds, list[int]()

    def look() -> bool:
        looks.append(1)
        return False

    run_until(host, look, 0.05)
    assert host.counters.rounds - rounds <= 2 * len(looks) + 3, "rounds in which nothing was due"
    radio.close()
