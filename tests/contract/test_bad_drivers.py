"""What a bad driver may do, for every kind of device: raise anything, block, answer nonsense, misuse the host. The node
sees HalError or a checked answer, and the loop goes on.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from flight.linux import call_limit
from flight.linux.platform import LinuxPlatform
from hal import guard, kinds, registry
from hal.base import HalError, Host, Image, PowerReading, StalledError
from tests.linux_loop import run_until

pytestmark = pytest.mark.usefixtures("cuts_fall_anywhere")

NAN, INF = float("nan"), float("inf")
READING = PowerReading(0.5, 1.0, 2.0, -1.0, 8.0)
IMAGE = Image(3, 1, 2, 2, bytes(8))


@dataclass
class Kind:
    """One kind of device: its calls with their arguments, a good answer of each and bad ones; how it is opened."""

    row: kinds.DeviceKind[Any]
    calls: dict[str, tuple[tuple[Any, ...], Any, tuple[Any, ...]]]
    settings: dict[str, int] = field(default_factory=dict)


class Lie(PowerReading):
    """A reading that answers differently each time it is looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise OSError("no such register")


READINGS = (
    None, 7, "reading", Lie(0.5, 1.0, 1.0, 1.0, 8.0), PowerReading(-5.0, 1.0, 1.0, 1.0, 8.0),
    PowerReading(1.5, 1.0, 1.0, 1.0, 8.0), PowerReading(NAN, 1.0, 1.0, 1.0, 8.0), PowerReading(0.5, INF, 1.0, 1.0, 8.0),
    PowerReading(0.5, 1.0, -1e9, 1.0, 8.0), PowerReading(0.5, 1.0, 1.0, 3e38, 8.0),
    PowerReading(0.5, 1.0, 1.0, 1.0, -NAN), PowerReading(cast("float", None), 1.0, 1.0, 1.0, 8.0),
    PowerReading(cast("float", "0.5"), 1.0, 1.0, 1.0, 8.0), PowerReading(0.5, 1.0, 1.0, 1.0, True),
)  # fmt: skip
TEMPERATURES = (None, "20", NAN, INF, -INF, 3e38, -274.0, 10**400, True, [20.0], complex(20, 0))
NOT_NONE = (True, False, 0, "done")
NOT_FLAGS = (None, 1, 0, "yes", NAN)
UNIT = (b"unit",)


def image(**changes: Any) -> Image:
    """An image with fields that its constructor would not let through."""
    made = Image(3, 1, 2, 2, bytes(8))
    for name, value in changes.items():
        object.__setattr__(made, name, value)
    return made


IMAGES = (
    None, b"", image(bands=2), image(bands=0, samples=b""), image(bands=1.0), image(height=-2, width=-2),
    image(samples=bytearray(8)), image(samples=None), image(number=-1), image(number=2**40), image(number="three"),
    image(bands=70_000, samples=bytes(560_000)),
)  # fmt: skip

KINDS: dict[str, Kind] = {
    "eps": Kind(kinds.EPS, {
        "read": ((), READING, READINGS),
        "set_switch": (("payload", True), None, NOT_NONE),
    }),
    "thermometer": Kind(kinds.THERMOMETER, {"read_c": ((), 20.5, TEMPERATURES)}),
    "heater": Kind(kinds.HEATER, {"set_on": ((True,), None, NOT_NONE)}),
    "governor": Kind(kinds.GOVERNOR, {"set_limit_w": ((5.0,), None, NOT_NONE)}),
    "radio": Kind(kinds.RADIO, {
        "carrier": ((), True, NOT_FLAGS),
        "send": (UNIT, False, NOT_FLAGS),
        "free_ns": ((), 5, (None, -1, 1.5, 2**70, "now")),
        "receive": ((), b"octets", (7, "octets", bytearray(3), bytes(65_537))),
        "dropped": ((), 4, (None, -1, 2.0, True)),
    }, {"rate_bps": 1000}),
    "imager": Kind(kinds.IMAGER, {
        "ready": ((), True, NOT_FLAGS),
        "capture": ((), IMAGE, IMAGES),
    }),
}  # fmt: skip
CALLS = [(kind, call) for kind, one in KINDS.items() for call in one.calls]


def test_every_kind_of_device_is_tried() -> None:
    assert {name: one.row for name, one in KINDS.items()} == kinds.KINDS


class Mute(Exception):
    """An exception whose text raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text either")


class Sulk(BaseException):
    """No Exception at all."""


def block_for_ever() -> None:
    while True:
        time.sleep(600)


def nothing(*_: object) -> None:
    """What a driver does if no test tells it otherwise."""


def divide_by_zero() -> None:
    _ = 1 // 0


def is_used(device: Any) -> bool:
    return not device.guard.aside


@dataclass
class Bad:
    """A driver of any kind that does what the test tells it: `do[name]` is made in place of the answer."""

    host: Host
    kind: Kind
    do: dict[str, Callable[..., Any]]
    made: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        if name not in self.kind.calls:
            raise AttributeError(name)
        self.made.append(name)
        return self.do.get(name, lambda *_arguments: self.kind.calls[name][1])

    def on_event(self, call: Callable[[], None]) -> None:
        self.do.get("on_event", nothing)(call)
        self.notify = call


class Bench:
    """A real loop, and a scheme `bad:` for which the test is the driver's author."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.platform = LinuxPlatform(folder / "store", "bad")
        self.monkeypatch = monkeypatch
        self.do: dict[str, Callable[..., Any]] = {}
        self.drivers: list[Bad] = []
        self.ticks = 0
        module = ModuleType("a_bad_driver")
        monkeypatch.setitem(sys.modules, "a_bad_driver", module)
        vars(module)["open_it"] = self._factory
        self._tick()

    def _tick(self) -> None:
        """The node's other duties."""
        self.ticks += 1
        self.platform.call_at(self.platform.now_ns() + 1_000_000, self._tick)

    def _factory(self, _address: str, host: Host, *_more: object) -> Bad:
        self.do.get("factory", nothing)(host)
        driver = Bad(host, self._kind, self.do)
        self.drivers.append(driver)
        return driver

    def open(self, name: str) -> Any:
        self._kind = KINDS[name]
        self.monkeypatch.setitem(self._kind.row.drivers, "bad", "a_bad_driver:open_it")
        return registry.open_device(self._kind.row, "bad:1", self.platform, **self._kind.settings)

    def until(self, done: Callable[[], bool]) -> None:
        before = self.ticks
        assert run_until(self.platform, lambda: done() and self.ticks > before)

    def recovers(self, device: Any, call: str) -> None:
        """The device answers again, and the loop has not stopped."""
        arguments, good, _ = self._kind.calls[call]

        def answers() -> bool:
            try:
                return bool(getattr(device, call)(*arguments) == good)
            except HalError:
                return False

        self.until(answers)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The guard's times, shortened: the logic is the same."""
    for name, value in (("PAUSE_MIN_NS", 20_000_000), ("PAUSE_MAX_NS", 80_000_000), ("CALL_LIMIT_S", 0.02),
                        ("CAPTURE_LIMIT_S", 0.02), ("OPEN_LIMIT_S", 0.02), ("REOPEN_LIMIT_S", 0.02)):  # fmt: skip
        monkeypatch.setattr(guard, name, value)
    monkeypatch.setattr("hal.kinds.CAPTURE_LIMIT_S", 0.02)
    monkeypatch.setattr(call_limit, "BEAT_S", 0.01)
    made = Bench(tmp_path, monkeypatch)
    yield made
    made.platform.close()


RAISED = [OverflowError("cannot convert"), TypeError("x" * 100_000), RecursionError(), MemoryError(), StopIteration(1),
          SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Mute(), Sulk("enough"),
          AssertionError("\udcff\n\0")]  # fmt: skip


@pytest.mark.parametrize(("kind", "call"), CALLS)
def test_it_may_raise_anything(bench: Bench, monkeypatch: Any, kind: str, call: str) -> None:
    # In flight the loop's own handler stands there; KeyboardInterrupt under Python's is the user's Ctrl-C.
    monkeypatch.setattr(guard, "_is_ctrl_c", lambda: False)
    device, (arguments, good, _) = bench.open(kind), KINDS[kind].calls[call]
    for error in RAISED:

        def fail(*_: object, error: BaseException = error) -> None:
            raise error

        bench.do[call] = fail
        for _ in range(3):
            text = rf"{kind} bad:1: {call} raised {type(error).__name__}: .*test_bad_dr"
            with pytest.raises(HalError, match=text) as told:
                getattr(device, call)(*arguments)
            assert len(str(told.value).encode()) <= 400 and str(told.value).isprintable()
    del bench.do[call]
    assert getattr(device, call)(*arguments) == good
    assert device.guard.counters.faults == 3 * len(RAISED)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # what is cut in a destructor
@pytest.mark.parametrize("place", ["text", "end"])
def test_what_it_raises_may_block_as_well(bench: Bench, place: str) -> None:
    """As a port does that is closed when the last frame that holds it goes."""
    heater = bench.open("heater")

    class Sticky(Exception):
        def __str__(self) -> str:
            if place == "text":
                block_for_ever()
            return "sticky"

        def __del__(self) -> None:
            if place == "end":
                block_for_ever()

    def fail(_on: bool) -> None:
        raise Sticky

    bench.do["set_on"] = fail
    with pytest.raises(HalError, match="set_on did not return within"):
        heater.set_on(True)
    del bench.do["set_on"]
    bench.recovers(heater, "set_on")


@pytest.mark.parametrize(("kind", "call"), CALLS)
def test_it_may_block_for_ever(bench: Bench, kind: str, call: str) -> None:
    device, (arguments, _, _) = bench.open(kind), KINDS[kind].calls[call]
    bench.do[call] = lambda *_: block_for_ever()
    with pytest.raises(HalError, match=rf"{kind} bad:1: {call} did not return within 0\.02 s"):
        getattr(device, call)(*arguments)
    made = len(bench.drivers[0].made)
    with pytest.raises(HalError, match=rf"set aside, .*{call} did not return"):
        getattr(device, call)(*arguments)
    assert len(bench.drivers[0].made) == made  # it was not asked
    del bench.do[call]
    bench.recovers(device, call)
    assert device.guard.counters.stalls == 1


@pytest.mark.parametrize(("kind", "call"), CALLS)
def test_it_may_answer_nonsense(bench: Bench, kind: str, call: str) -> None:
    device, (arguments, good, bad) = bench.open(kind), KINDS[kind].calls[call]
    for answer in bad:
        bench.do[call] = lambda *_, answer=answer: answer
        with pytest.raises(HalError):
            getattr(device, call)(*arguments)
    del bench.do[call]
    assert getattr(device, call)(*arguments) == good


@pytest.mark.parametrize("kind", KINDS)
def test_a_coroutine_is_no_answer(bench: Bench, kind: str) -> None:
    device = bench.open(kind)

    class Coroutine:
        def __await__(self) -> Any: ...

        def __repr__(self) -> str:
            return "<coroutine>"

    for call, (arguments, _, _) in KINDS[kind].calls.items():
        bench.do[call] = lambda *_: Coroutine()
        with pytest.raises(HalError, match="is <coroutine>, should be"):
            getattr(device, call)(*arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_its_factory_may_raise_or_block(bench: Bench, kind: str) -> None:
    """Anything but HalError is not a fault of the configuration: the node starts, and the driver is opened later."""
    call, (arguments, _, _) = next(iter(KINDS[kind].calls.items()))

    def fail(_host: Host) -> None:
        raise ZeroDivisionError("in the factory")

    for fault, text in (
        (fail, "opening raised ZeroDivisionError"),
        (lambda _host: block_for_ever(), "opening did not"),
    ):
        bench.do["factory"] = fault
        device = bench.open(kind)
        with pytest.raises(HalError, match=text):
            getattr(device, call)(*arguments)
        bench.until(partial(is_used, device))
        with pytest.raises(HalError, match=text):
            getattr(device, call)(*arguments)
        del bench.do["factory"]
        bench.recovers(device, call)


@pytest.mark.parametrize("kind", KINDS)
def test_what_could_not_be_opened_is_not_opened_to_be_closed(bench: Bench, kind: str) -> None:
    def fail(_host: Host) -> None:
        raise ZeroDivisionError("in the factory")

    bench.do["factory"] = fail
    device = bench.open(kind)
    bench.until(lambda: not device.guard.aside)
    del bench.do["factory"]
    device.close()
    assert not bench.drivers


@pytest.mark.parametrize("kind", KINDS)
def test_what_its_factory_says_keeps_the_node_from_starting(bench: Bench, kind: str) -> None:
    def refuse(host: Host) -> None:
        host.call_at(host.now_ns(), lambda: pytest.fail("the driver has gone"))
        raise HalError("no such device")

    bench.do["factory"] = refuse
    with pytest.raises(HalError, match=r"^no such device$"):
        bench.open(kind)
    bench.until(lambda: True)


# The guard cuts off callbacks of all kinds alike; a radio's are its notices as well.
CALLBACK_FAULTS = [*((kind, "raise") for kind in KINDS), ("eps", "block"), ("radio", "block")]


@pytest.mark.parametrize(("kind", "fault"), CALLBACK_FAULTS)
def test_its_timer_may_fail(bench: Bench, kind: str, fault: str) -> None:
    device, runs, sick = bench.open(kind), [0], [True]
    call, (arguments, _, _) = next(iter(KINDS[kind].calls.items()))
    host = bench.drivers[0].host

    def tick() -> None:
        """Sets its next timer last, as most would: one fault, and there is none."""
        runs[0] += 1
        if sick[0]:
            if fault == "block":
                block_for_ever()
            raise IndexError("in a timer")
        host.call_at(host.now_ns() + 1_000_000, tick)

    host.call_at(0, tick)
    bench.until(lambda: runs[0] > 0)
    with pytest.raises(HalError, match=r"callback (raised IndexError|did not return)"):
        getattr(device, call)(*arguments)
    bench.until(lambda: runs[0] > 2)  # tried again, after a pause
    sick[0] = False
    before = runs[0]
    bench.until(lambda: runs[0] > before + 5)  # and lives
    bench.recovers(device, call)


@pytest.mark.parametrize(("kind", "fault"), CALLBACK_FAULTS)
def test_its_descriptor_may_fail(bench: Bench, kind: str, fault: str) -> None:
    device, seen, sick = bench.open(kind), [], [True]
    call, (arguments, _, _) = next(iter(KINDS[kind].calls.items()))
    reader, writer = os.pipe()
    tries = [0]

    def on_ready() -> None:
        tries[0] += 1
        if sick[0]:
            if fault == "block":
                block_for_ever()
            raise KeyError("in a callback")
        seen.append(os.read(reader, 16))

    bench.drivers[0].host.watch(reader, on_ready)
    os.write(writer, b"octets")
    bench.until(lambda: tries[0] > 0)
    with pytest.raises(HalError, match=r"callback (raised KeyError|did not return)"):
        getattr(device, call)(*arguments)
    counters = bench.platform.counters
    bench.until(lambda: tries[0] > 2)
    # Not watched meanwhile: the loop is not kept busy. A signal that cuts a call wakes it as well.
    signals = device.guard.counters.stalls * (call_limit.GRACE_BEATS + 2)
    assert counters.ready - counters.expiries <= tries[0] + signals
    sick[0] = False
    bench.until(lambda: seen == [b"octets"])
    bench.recovers(device, call)
    bench.drivers[0].host.unwatch(reader)
    os.close(reader)
    os.close(writer)


def test_a_radio_that_fails_in_a_callback_has_the_node_ask(bench: Bench) -> None:
    radio, asked = bench.open("radio"), [0]

    def ask() -> None:
        asked[0] += 1

    radio.on_event(ask)
    bench.drivers[0].host.call_at(0, divide_by_zero)
    bench.until(lambda: asked[0] > 0)
    with pytest.raises(HalError, match="callback raised ZeroDivisionError"):
        radio.carrier()
    bench.until(lambda: asked[0] > 1)  # and when the pause is over
    bench.drivers[0].notify()
    assert asked[0] > 2


def test_a_radio_may_notify_for_ever(bench: Bench) -> None:
    radio, told = bench.open("radio"), [0]

    def hear() -> None:
        told[0] += 1

    def storm() -> None:
        while True:
            bench.drivers[0].notify()

    radio.on_event(hear)
    bench.drivers[0].host.call_at(0, storm)
    bench.until(lambda: radio.guard.counters.stalls > 0)
    assert told[0] > 0
    bench.until(lambda: radio.guard.counters.stalls > 1)


def test_it_may_use_a_thread_but_not_the_host_from_it(bench: Bench) -> None:
    radio, told, refused = bench.open("radio"), [], []
    radio.on_event(lambda: told.append(threading.get_ident()))
    driver = bench.drivers[0]

    def elsewhere() -> None:
        driver.notify()
        for use in (
            lambda: driver.host.call_at(0, lambda: None),
            lambda: driver.host.watch(0, lambda: None),
            lambda: driver.host.unwatch(0),
        ):
            try:
                use()
            except HalError as error:
                refused.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert told == [] and len(refused) == 3 and all("another thread" in text for text in refused)
    with pytest.raises(HalError, match="called back from another thread"):
        radio.carrier()
    assert radio.carrier() is True


def test_it_may_ask_nonsense_of_the_host(bench: Bench) -> None:
    bench.open("heater")
    host = bench.drivers[0].host
    for t_ns in (NAN, INF, "soon", None):
        with pytest.raises((ValueError, OverflowError, TypeError)):
            host.call_at(t_ns, lambda: None)  # type: ignore[arg-type] # no time at all
    for use in (host.call_at, host.watch):
        with pytest.raises(HalError, match="cannot be called"):
            use(0, None)  # type: ignore[arg-type] # nothing to call
    host.call_at(2**200, lambda: pytest.fail("far away")).cancel()
    for number in range(guard.TIMERS_MAX):
        host.call_at(host.now_ns() + 2**60 + number, lambda: None)
    with pytest.raises(HalError, match="more than 64 timers pending"):
        host.call_at(0, lambda: None)
    host.unwatch(bench.platform._timer.fileno)  # noqa: SLF001 - not its own: the loop's timer stays
    bench.until(lambda: True)
    fired: list[int] = []
    pipes = [os.pipe() for _ in range(guard.WATCHES_MAX)]
    for reader, _ in pipes:
        host.watch(reader, lambda: fired.append(1))
    with pytest.raises(HalError, match="more than 16 descriptors"):
        host.watch(0, lambda: None)
    for reader, writer in pipes:
        host.unwatch(reader)
        os.close(reader)
        os.close(writer)


def test_a_descriptor_that_it_closed_and_another_opened_is_left_alone(bench: Bench) -> None:
    heater = bench.open("heater")
    host = bench.drivers[0].host
    reader, writer = os.pipe()
    host.watch(reader, lambda: pytest.fail("of the driver"))
    os.close(reader)
    other, other_writer = os.pipe()
    assert other == reader  # the lowest free number
    seen: list[bytes] = []
    bench.platform.watch(other, lambda: seen.append(os.read(other, 9)))
    bench.do["set_on"] = lambda _on: block_for_ever()
    with pytest.raises(HalError, match="did not return"):
        heater.set_on(True)
    os.write(other_writer, b"one")
    bench.until(lambda: seen == [b"one"])
    bench.until(lambda: not heater.guard.aside)
    with pytest.raises(HalError, match=f"descriptor {reader} was closed while it was watched"):
        heater.set_on(True)
    host.unwatch(reader)
    os.write(other_writer, b"two")
    bench.until(lambda: seen == [b"one", b"two"])
    bench.platform.unwatch(other)
    for fileno in (writer, other, other_writer):
        os.close(fileno)


def test_a_callback_that_never_reads_does_not_keep_the_loop_busy(bench: Bench) -> None:
    heater = bench.open("heater")
    bench.monkeypatch.setattr(guard, "BURST_NS", 3_000_000)
    reader, writer = os.pipe()
    os.write(writer, b"octets")
    bench.drivers[0].host.watch(reader, lambda: None)
    bench.until(lambda: heater.guard.aside)
    with pytest.raises(HalError, match="took more than a quarter"):
        heater.set_on(True)
    bench.drivers[0].host.unwatch(reader)
    bench.recovers(heater, "set_on")
    os.close(reader)
    os.close(writer)


def test_timers_in_the_past_do_not_starve_the_loop(bench: Bench) -> None:
    bench.open("heater")
    host = bench.drivers[0].host

    def again() -> None:
        host.call_at(0, again)

    again()
    bench.until(lambda: bench.ticks > 20)


def test_it_may_be_slow_for_once_and_not_always(bench: Bench) -> None:
    heater, calls = bench.open("heater"), [0]
    bench.monkeypatch.setattr(guard, "BURST_NS", 100_000_000)
    bench.monkeypatch.setattr(guard, "CALL_LIMIT_S", 60.0)
    bench.do["set_on"] = lambda _on: time.sleep(0.02)
    with pytest.raises(HalError, match=r"set aside, .*took more than a quarter of the loop's time"):  # noqa: PT012
        for _ in range(100):
            calls[0] += 1
            heater.set_on(True)
    assert calls[0] > 3
    del bench.do["set_on"]
    bench.recovers(heater, "set_on")


def test_pauses_grow_and_a_good_stretch_brings_them_back(bench: Bench) -> None:
    heater = bench.open("heater")
    bench.do["set_on"] = lambda _on: block_for_ever()
    pauses = []
    for _ in range(5):
        with pytest.raises(HalError, match="did not return"):
            heater.set_on(True)
        pauses.append(heater.guard.pause_ns)
        bench.until(lambda: not heater.guard.aside)
    assert pauses == [20_000_000, 40_000_000, 80_000_000, 80_000_000, 80_000_000]
    bench.monkeypatch.setattr(guard, "FORGIVE_NS", 0)
    bench.until(lambda: True)
    with pytest.raises(HalError, match="did not return"):
        heater.set_on(True)
    assert heater.guard.pause_ns == 20_000_000


def test_a_stall_is_said_to_be_one() -> None:
    assert issubclass(StalledError, HalError)
