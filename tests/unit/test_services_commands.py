"""Telecommand dispatch: the table, both lanes, durable commands over slow, failing and dead disks, refusals, limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.catalogue import dictionary_of
from flight.contract.app import CommandRefused, Durable
from flight.contract.dictionary import Command, Dictionary
from flight.contract.failures import Failure
from flight.contract.fields import Field
from flight.core.errors import MisuseError, SetupError, StorageError
from flight.core.future import Future
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.link.pus import PusTc, PusTm, RequestId
from flight.mission import MISSIONS, load
from flight.services.commanding import refusals as st01_128
from flight.services.commanding import verification as st01
from flight.services.commanding.command_log import ROWS_MAX, CommandLog
from flight.services.commanding.commands import Commands, CommandsConfig
from flight.services.commanding.handler_table import Served
from flight.services.commanding.refusals import Refusals
from flight.services.commanding.verification import Verification
from flight.services.reporting.events import Events
from flight.services.reporting.telemetry import HOLD_S, Telemetry
from flight.store.vault import Vault
from hal.base import HalError
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from tests.field_values import rows

ORBIT: Dictionary = dictionary_of(load(MISSIONS / "orbit.toml"))
STORED_S = 0.02  # well over what the disk takes for a commit

COMMANDS = (
    Command("one", 1, 17, 1, ""),
    Command("two", 1, 8, 1, "", (Field("n", "u8", maximum=9),), function=2),
    Command("keep", 1, 8, 1, "", (Field("n", "u8"),), function=3, durable=True),
    Command("safe", 1, 8, 1, "", (Field("n", "u8"),), function=4, durable=True, urgent=True),
    Command("long", 1, 8, 1, "", function=5, durable=True),
    Command("work", 1, 8, 1, "", function=6),
)


class Silent:
    """A log that keeps nothing."""

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Boot:
    """One life of a command service over `disk`. Its telemetry goes where nothing is lost: `packets`."""

    def __init__(self, disk: Disk | None = None, loop: VirtualLoop | None = None, **config: Any) -> None:
        self.disk = disk or Disk(Random(1))
        self.loop = loop or VirtualLoop()
        self.raw: list[bytes] = []
        self.faults: list[BaseException] = []
        self.acted: list[Any] = []
        self.gate: Future[None] = Future()
        self.drained = True
        self.keeping = True
        self.next: Boot | None = None
        self.mode = "nominal"
        self.seq = 0
        recorder: Any = self
        log: Any = Silent()
        tai_ns = lambda: 2 * 10**18 + self.loop.now_ns()  # noqa: E731
        telemetry = Telemetry(tai_ns, recorder)
        self.scheduler = Scheduler(self.loop, self.loop.now_ns, lambda _, error: self.faults.append(error))
        self.storage = self.disk.boot(self.loop)
        self.vault = Vault(self.storage)
        self.verification = Verification(1, telemetry)
        self.log = CommandLog(self.vault, telemetry, self.verification, lambda: self.drained, self.storage.sync)
        self.refusals = Refusals(1, telemetry, 20)
        self.commands = Commands(
            COMMANDS, CommandsConfig(**config), self.scheduler, self.vault, log=self.log,
            verification=self.verification, refusals=self.refusals, events=Events(1, ORBIT.events, telemetry, log),
            modes=("safe", "nominal"), mode=lambda: self.mode,
        )  # fmt: skip
        for name in ("one", "two", "keep", "safe", "long", "work"):
            self.commands.handle(name, None, lambda *values, name=name: getattr(self, name)(*values))
        for body in (self.commands.run, self.commands.run_urgent, self.log.run, self.refusals.run):
            self.scheduler.spawn(body.__qualname__, body)
        self.log.recover()

    # handlers, to be replaced by those of a test

    def one(self) -> Any:
        return None

    def two(self, n: int) -> Any:
        self.acted.append(n)

    def keep(self, n: int) -> Any:
        return Durable({"n": bytes((n,))}, lambda: self.acted.append(n))

    def safe(self, n: int) -> Any:
        self.acted.append(n)
        return Durable({"safe": bytes((n,))})

    async def long(self) -> Durable:
        await self.gate
        return Durable({"long": b"done"}, lambda: self.acted.append("long"))

    async def work(self) -> None:
        await self.gate

    # what happens

    def store(self, packet: bytes, _heard: bool) -> bool:
        if self.keeping:
            self.raw.append(packet)
        return self.keeping

    def run(self, duration_s: float) -> None:
        self.loop.run_until(self.loop.now_ns() + ns(duration_s))
        self.check_sum()

    def check_sum(self) -> None:
        one = self.commands.counts
        assert one.received == one.unreadable + one.executed + one.refused.total() + one.waiting

    def request(self, name: str, *values: Any, ack: int = 0b1011) -> PusTc:
        command = next(c for c in COMMANDS if c.name == name)
        data = command.layout.encode(values)
        if command.function is not None:
            data = command.function.to_bytes(2, "big") + data
        self.seq += 1
        return PusTc(command.apid, self.seq, command.service, command.subtype, data, ack=ack)

    def send(self, name: str, *values: Any, ack: int = 0b1011) -> PusTc:
        request = self.request(name, *values, ack=ack)
        self.commands.on_packet(request.encode())
        self.check_sum()
        return request

    def stages(self, request: PusTc) -> list[int]:
        """Subtypes of what was reported about `request`."""
        name = request.request_id.encode()
        return [p.subtype for p in self.packets() if p.service == 1 and p.data[:4] == name]

    def detail(self, request: PusTc) -> tuple[int, str]:
        """Code and text of the one failure reported about `request`."""
        name = request.request_id.encode()
        (failure,) = [p for p in self.packets() if p.service == 1 and p.subtype % 2 == 0 and p.data[:4] == name]
        return int.from_bytes(failure.data[4:6], "big"), failure.data[7:].decode()

    def packets(self) -> list[PusTm]:
        return [PusTm.decode(raw) for raw in self.raw]

    def events(self) -> list[int]:
        return [int.from_bytes(p.data[:2], "big") for p in self.packets() if p.service == 5]

    def after_power_cut(self, **config: Any) -> Boot:
        self.disk.cut()
        self.scheduler.close()
        self.next = Boot(self.disk, self.loop, **config)
        return self.next

    def settle(self) -> None:
        """What was staged is durable."""
        self.disk.commit_s = 0.0
        self.storage.sync()
        self.run(0.01)

    def close(self) -> None:
        self.scheduler.close()
        if self.next is not None:
            self.next.close()


@pytest.fixture
def boot() -> Iterator[Callable[..., Boot]]:
    made: list[Boot] = []

    def make(*arguments: Any, **config: Any) -> Boot:
        made.append(Boot(*arguments, **config))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_gap_or_a_double_in_the_command_table_is_found_at_boot(boot: Callable[..., Boot]) -> None:
    commands = boot().commands
    commands.assert_complete()
    with pytest.raises(MisuseError, match="one is served twice"):
        commands.handle("one", None, lambda: None)
    with pytest.raises(KeyError):
        commands.handle("three", None, lambda: None)
    commands.table._served.popitem()  # noqa: SLF001 - a handler that is missing
    with pytest.raises(SetupError, match="commands that nobody serves: work"):
        commands.assert_complete()


@pytest.mark.parametrize(
    ("refused_in", "says"),
    [
        ({"saef": "one"}, "commands.refused_in: no power mode saef, known: safe, nominal"),
        ({"safe": "one tow"}, "no command tow, did you mean two?"),
        ({"safe": "two safe"}, "safe is urgent: it is admitted in every mode"),
        ({"saef": "tow"}, "no power mode saef, .*; no command tow"),
    ],
)
def test_an_authorisation_that_does_not_fit_is_a_fault_at_boot(refused_in: dict[str, str], says: str) -> None:
    with pytest.raises(SetupError, match=says):
        Boot(refused_in=MappingProxyType(refused_in))


def test_what_a_mode_refuses_is_refused_in_it_alone(boot: Callable[..., Boot]) -> None:
    one = boot(refused_in={"safe": "two keep"})
    fine = one.send("two", 1)
    one.mode = "safe"
    refused, other = one.send("two", 2), one.send("one")
    one.run(0.1)
    assert [one.stages(r) for r in (fine, refused, other)] == [[1, 3, 7], [2], [1, 3, 7]]
    assert one.detail(refused) == (Failure.REFUSED_IN_MODE, "two in mode safe")


@given(st.binary(max_size=60), st.sampled_from([(17, 1), (8, 1), (8, 2), (0, 0), (255, 255)]), st.integers(0, 3))
def test_any_request_is_accepted_or_refused_once(data: bytes, kind: tuple[int, int], apid: int) -> None:
    one = Boot()
    one.commands.on_packet(PusTc(apid, 1, *kind, data, ack=0b1011).encode())
    right = apid == 1 and ((kind == (17, 1) and not data)
                           or (kind == (8, 1) and data[:2] == b"\0\2" and len(data) == 3 and data[2] <= 9)
                           or (kind == (8, 1) and data[:2] == b"\0\6" and len(data) == 2))  # fmt: skip
    later = apid == 1 and kind == (8, 1) and ((data[:2] in (b"\0\3", b"\0\4") and len(data) == 3) or data == b"\0\5")
    assert [(p.service, p.subtype) for p in one.packets()] == ([] if later else [(1, 1 if right else 2)])
    one.check_sum()
    one.scheduler.close()


@given(st.binary(max_size=40))
def test_octets_that_are_no_telecommand_are_an_event(raw: bytes) -> None:
    one = Boot()
    one.commands.on_packet(raw)
    assert one.commands.counts.unreadable == 1
    assert [(p.service, p.subtype) for p in one.packets()] == [(5, 2)]
    one.check_sum()
    one.scheduler.close()


def refuse(*_: Any) -> None:
    raise CommandRefused(Failure.DEVICE, "no")


def full(*_: Any) -> None:
    raise StorageError("disk full")


def mute(*_: Any) -> None:
    raise HalError("no answer")


def crash(*_: Any) -> None:
    raise ZeroDivisionError("our own mistake")


async def wait_and_crash(*_: Any) -> None:
    crash()


async def refuse_later(*_: Any) -> None:
    refuse()


async def fine(*_: Any) -> None:
    pass


HANDLERS = [
    (lambda *_: None, st01.NONE, 0), (fine, st01.NONE, 0), (refuse, Failure.DEVICE, 0),
    (refuse_later, Failure.DEVICE, 0), (full, Failure.STORAGE, 0), (mute, Failure.DEVICE, 0),
    (crash, Failure.UNFINISHED, 2), (wait_and_crash, Failure.UNFINISHED, 2),
]  # fmt: skip


@pytest.mark.parametrize("name", ["one", "keep", "safe"])
@pytest.mark.parametrize(("handler", "code", "faults"), HANDLERS)
def test_the_sender_hears_how_it_ended_whatever_happens(
    boot: Callable[..., Boot], handler: Any, code: int, faults: int, name: str
) -> None:
    one = boot()
    setattr(one, name, handler)
    values = () if name == "one" else (1,)
    requests = [one.send(name, *values), one.send(name, *values)]
    one.run(1)
    for request in requests:
        assert one.stages(request) == [1, 3, 7 if code == st01.NONE else 8]
        assert code == st01.NONE or one.detail(request)[0] == code
    assert len(one.faults) == faults
    assert (one.commands.counts.executed, one.commands.counts.waiting) == (2, 0)


@pytest.mark.parametrize("ack", range(16))
@pytest.mark.parametrize("name", ["keep", "two"])
def test_successes_are_reported_as_asked(boot: Callable[..., Boot], name: str, ack: int) -> None:
    one = boot()
    request = one.send(name, 1, ack=ack)
    one.run(1)
    assert one.stages(request) == [stage for stage, flag in ((1, 1), (3, 2), (7, 8)) if ack & flag]
    assert one.verification.counts.total() == 3


def test_nothing_is_said_or_in_force_before_it_is_durable(boot: Callable[..., Boot]) -> None:
    one = boot()
    one.disk.commit_s = 1.0
    request = one.send("keep", 7)
    one.run(0.99)
    assert (one.stages(request), one.acted, one.commands.counts.waiting) == ([], [], 1)
    one.run(0.02)
    assert (one.stages(request), one.acted, one.commands.counts.waiting) == ([1, 3, 7], [7], 0)
    after = one.after_power_cut()
    assert after.vault.get("n") == b"\7"
    assert after.raw == one.raw[2:], "the terminal report is repeated octet for octet"
    after.run(10)
    assert len(after.log) == 0
    after.settle()
    assert after.after_power_cut().raw == []


def test_what_was_not_durable_leaves_no_trace(boot: Callable[..., Boot]) -> None:
    one = boot()
    one.disk.commit_s = 3600.0
    request = one.send("keep", 7)
    one.run(1)
    assert one.stages(request) == []
    one.disk.durable.clear()  # nothing had landed by itself
    assert one.disk._session is not None  # noqa: SLF001 - what the disk holds and has not made durable
    one.disk._session.pending.clear()  # noqa: SLF001 - what the disk holds and has not made durable
    after = one.after_power_cut()
    assert (after.vault.get("n"), after.raw) == (None, [])


def test_a_disk_that_refuses_at_once_is_a_refusal(boot: Callable[..., Boot]) -> None:
    one = boot()
    one.disk.read_only = True
    requests = [one.send("keep", 7), one.send("long")]
    one.run(1)
    for request in requests:
        assert one.stages(request) == [2]
        assert one.detail(request)[0] == Failure.STORAGE
        assert "read-only" in one.detail(request)[1].lower()
    assert (one.acted, one.commands.counts.refused[Failure.STORAGE], len(one.log)) == ([], 2, 0)
    assert one.verification.counts == {"acceptance_failure": 2}
    one.disk.read_only = False
    again = one.send("keep", 8)
    one.run(1)
    assert one.stages(again) == [1, 3, 7]


def test_an_urgent_command_acts_on_a_disk_that_refuses(
    boot: Callable[..., Boot], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = boot()
    one.disk.read_only = True
    request = one.send("safe", 1)
    one.run(0.1)
    assert one.acted == [1]
    assert one.stages(request) == [1, 3, 8]
    code, detail = one.detail(request)
    assert code == Failure.STORAGE and detail.startswith("in force until the next boot: ")
    monkeypatch.setattr(one, "safe", refuse)
    request = one.send("safe", 2)
    one.run(0.1)
    assert one.detail(request) == (Failure.DEVICE, "no")


def test_of_a_commit_that_fails_later_nobody_knows_the_outcome(boot: Callable[..., Boot]) -> None:
    one = boot()
    one.disk.fail_commits = True
    requests = [one.send("keep", 7), one.send("safe", 1)]
    one.run(1)
    assert [one.stages(request) for request in requests] == [[], []]
    assert one.events() == [12, 12]
    assert (one.acted, one.commands.counts.waiting) == ([1], 0)
    after = one.after_power_cut()
    terminal = [after.stages(request) for request in requests]
    assert all(stages in ([], [7]) for stages in terminal)
    assert (after.vault.get("n") is not None) == (terminal[0] == [7])


def test_a_slow_disk_holds_its_lane_up_no_longer_than_the_limit(boot: Callable[..., Boot]) -> None:
    one = boot(store_limit_s=2.0)
    one.disk.commit_s = 30.0
    requests = [one.send("keep", 1), one.send("one"), one.send("keep", 2), one.send("two", 3)]
    one.run(1.9)
    assert [one.stages(r) for r in requests] == [[], [1], [], [1]]
    one.run(0.2)
    assert [one.stages(r) for r in requests] == [[], [1, 3, 7], [], [1]]
    assert one.events() == [11]
    one.run(2)
    assert one.stages(requests[3]) == [1, 3, 7]
    assert one.events() == [11], "said once"
    one.run(60)
    assert [one.stages(r) for r in requests] == [[1, 3, 7]] * 4
    assert one.acted == [3, 1, 2]


def test_urgent_commands_act_at_once_while_the_disk_hangs(boot: Callable[..., Boot]) -> None:
    one = boot()
    one.disk.commit_s = 1e6
    stuck = one.send("keep", 1)
    one.run(0.1)
    requests = [one.send("safe", n) for n in (1, 2)]
    one.run(0.001)
    assert one.acted == [1, 2]
    assert [one.stages(r) for r in (stuck, *requests)] == [[], [], []]
    assert one.commands.counts.waiting == 3


def test_a_dead_disk_does_not_pile_up_commands(boot: Callable[..., Boot]) -> None:
    one = boot(store_limit_s=0.1, rate_hz=1000.0)
    one.disk.commit_s = 1e6
    for _ in range(ROWS_MAX):
        one.send("keep", 1)
        one.run(0.101)
    refused = one.send("keep", 1)
    assert one.detail(refused) == (Failure.STORAGE, "too many durable commands wait for the disk")
    one.send("safe", 3)
    one.run(0.01)
    assert one.acted == [3], "room is kept for urgent ones"


def test_a_long_command_is_accepted_before_and_completed_after_its_work(boot: Callable[..., Boot]) -> None:
    one = boot()
    request = one.send("long")
    one.run(STORED_S)
    assert one.stages(request) == [1, 3]
    one.run(5)
    one.gate.set_result(None)
    one.run(STORED_S)
    assert (one.stages(request), one.acted) == ([1, 3, 7], ["long"])


def test_a_long_command_cut_by_power_is_interrupted_exactly_once(boot: Callable[..., Boot]) -> None:
    one = boot()
    request = one.send("long")
    one.run(1)
    second = one.after_power_cut()
    assert second.stages(request) == [], "said before it is stored that it is over"
    second.run(STORED_S)
    assert second.stages(request) == [8]
    assert second.detail(request) == (Failure.INTERRUPTED, "it is not repeated")
    assert second.log.interrupted == 1
    third = second.after_power_cut()
    third.run(1)
    assert (third.raw, third.log.interrupted, third.log.reported_again) == (second.raw, 0, 1)
    third.run(10)
    third.settle()
    assert third.after_power_cut().raw == []


def test_power_lost_while_the_interruption_is_stored(boot: Callable[..., Boot]) -> None:
    one = boot()
    request = one.send("long")
    one.run(1)
    for seed in range(10):
        one.disk._random = Random(seed)  # noqa: SLF001 - another disk's draws
        second = one.after_power_cut()
        one = second.after_power_cut()
    one.run(1)
    assert one.stages(request) == [8]


def test_rows_stay_until_reports_have_left_and_the_disk_took_it(boot: Callable[..., Boot]) -> None:
    one = boot()
    one.drained = False
    one.send("keep", 1)
    one.run(60)
    assert len(one.log) == 1
    one.drained = True
    one.disk.read_only = True
    one.run(10)
    assert len(one.log) == 1
    one.disk.read_only = False
    one.run(10)
    assert len(one.log) == 0


def test_a_long_command_on_a_disk_that_hangs_is_refused_and_never_runs(boot: Callable[..., Boot]) -> None:
    one = boot(store_limit_s=2.0)
    one.disk.commit_s = 10.0
    request, behind = one.send("long"), one.send("one")
    one.run(3)
    assert [one.stages(r) for r in (request, behind)] == [[], [1, 3, 7]]
    one.run(60)
    assert one.stages(request) == [2]
    assert one.detail(request) == (Failure.STORAGE, "the disk has not answered in time")
    one.gate.set_result(None)
    one.run(1)
    assert one.acted == []


@pytest.mark.parametrize("name", ["long", "work"])
def test_a_handler_that_never_returns_ends_at_the_limit(boot: Callable[..., Boot], name: str) -> None:
    one = boot(execution_limit_s=3.0)
    cancelled: list[str] = []

    async def never() -> None:
        try:
            await one.gate
        finally:
            cancelled.append(name)

    setattr(one, name, never)
    tasks = len(one.scheduler.tasks)
    stuck, behind = one.send(name), one.send("one")
    one.run(2.9)
    assert (one.stages(stuck), one.stages(behind)) == ([1, 3], [1])
    one.run(0.2)
    assert (one.stages(stuck), one.stages(behind)) == ([1, 3, 8], [1, 3, 7])
    assert one.detail(stuck) == (Failure.UNFINISHED, "not done within 3 s, cancelled")
    assert cancelled == [name]
    assert len(one.scheduler.tasks) == tasks


def test_handlers_that_cannot_be_cancelled_are_bounded(
    boot: Callable[..., Boot], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = boot(execution_limit_s=0.1, rate_hz=1000.0)

    async def stubborn() -> None:
        while True:
            try:
                await Future()
            except BaseException as error:
                if isinstance(error, GeneratorExit):
                    raise

    monkeypatch.setattr(one, "work", stubborn)
    details: Counter[str] = Counter()
    for _ in range(300):
        request = one.send("work")
        one.run(0.11)
        details[one.detail(request)[1].split(",")[0]] += 1
    assert len(details) == 2 and one.commands.counts.waiting == 0
    assert one.stages(one.send("one")) == [1]


def test_an_orderly_stop_leaves_a_long_command_to_the_next_boot(boot: Callable[..., Boot]) -> None:
    one = boot()
    request = one.send("long")
    one.run(1)
    one.scheduler.close()
    one.run(1)
    assert one.stages(request) == [1, 3]
    after = Boot(one.disk, one.loop)
    after.run(1)
    assert after.detail(request)[0] == Failure.INTERRUPTED
    after.scheduler.close()


def test_the_rate_is_limited_and_urgent_commands_have_their_own(boot: Callable[..., Boot]) -> None:
    one = boot(rate_hz=10.0, queue=4, urgent_rate_hz=5.0, urgent_queue=2)
    requests = [one.send("one") for _ in range(6)]
    urgent = [one.send("safe", n) for n in range(3)]
    one.run(0.05)
    assert [one.stages(r)[-1] for r in requests] == [7, 7, 7, 7, 2, 2]
    assert [one.stages(r)[-1] for r in urgent] == [7, 7, 2]
    assert one.detail(requests[4]) == (Failure.TOO_MANY, "one")
    one.run(0.1)
    assert [one.stages(one.send("one"))[-1] for _ in range(2)] == [1, 2]


def test_a_full_queue_refuses_and_leaves_room_for_urgent_ones(boot: Callable[..., Boot]) -> None:
    one = boot(queue=2, urgent_queue=1, rate_hz=1000.0, urgent_rate_hz=1000.0)
    one.disk.commit_s = 1.0
    requests = []
    for _ in range(4):
        requests.append(one.send("keep", 1))
        one.run(0.01)
    one.run(HOLD_S)  # for so long what was made later waits behind the reports of the first
    assert one.stages(requests[3]) == [2]
    assert one.detail(requests[3]) == (Failure.QUEUE_FULL, "no more than 2 may wait")
    one.send("safe", 9)
    one.run(0.01)
    assert one.acted == [9]


def test_what_is_made_while_the_disk_answers_waits_behind_the_reports_that_it_holds_up(
    boot: Callable[..., Boot],
) -> None:
    """And no longer than `HOLD_S`, however long that takes: nothing urgent hangs on a disk."""
    for commit_s, in_order in ((HOLD_S / 2, True), (10 * HOLD_S, False)):
        one = boot()
        one.disk.commit_s = commit_s
        one.send("keep", 1)
        one.run(0.01)
        one.send("safe", 9)  # urgent, and refused as the disk is closed to nobody: it acts at once
        one.commands.on_packet(b"no telecommand at all")  # an event, made after the reports of the first
        one.run(0.01)
        assert one.raw == [], "the event waits"
        one.run(HOLD_S)
        assert [PusTm.decode(raw).service for raw in one.raw][-1 if not in_order else 3] == 5
        one.run(12 * HOLD_S)
        counts = [PusTm.decode(raw).seq for raw in one.raw]
        assert (counts == sorted(counts)) == in_order


_STEPS = st.tuples(
    st.sampled_from(["next", "again", "skip"]),
    st.sampled_from([1, 2, 3]),
    st.sampled_from([Failure.TOO_MANY, Failure.BAD_VALUE]),
)


@given(st.lists(_STEPS, max_size=700), st.integers(0, 0x3FFF))
def test_every_refusal_is_named_once_or_counted(steps: list[tuple[str, int, int]], first: int) -> None:
    one = Boot()
    refused: Counter[tuple[int, int, int]] = Counter()
    named: Counter[tuple[int, int, int]] = Counter()
    seqs = dict.fromkeys((1, 2, 3), first)
    for step, apid, code in steps:
        seqs[apid] = (seqs[apid] + {"next": 1, "again": 0, "skip": 2}[step]) % 0x4000
        refused[code, apid, seqs[apid]] += 1
        if one.refusals.admit(RequestId(apid, seqs[apid]), code):
            named[code, apid, seqs[apid]] += 1
    one.refusals.flush()
    rest: Counter[int] = Counter()
    layout = st01_128.declare(1).reports[0].layout
    for packet in one.packets():
        assert (packet.service, packet.subtype) == (1, 128)
        (refusals,) = layout.decode(packet.data)
        for code, apid, low, high, count, exact in rows(refusals):
            if exact:
                assert (high - low) % 0x4000 == count - 1
                named.update((code, apid, (low + i) % 0x4000) for i in range(count))
            else:
                rest[code] += count
    assert named <= refused
    left = refused - named
    assert rest == {code: n for code in (Failure.TOO_MANY, Failure.BAD_VALUE)
                    if (n := sum(count for key, count in left.items() if key[0] == code))}  # fmt: skip
    one.scheduler.close()


def test_refusals_from_everywhere_fit_one_report(boot: Callable[..., Boot]) -> None:
    one = boot()
    for apid in range(2040):
        one.commands.on_packet(PusTc(apid, 7, 99, 99, b"").encode())
    one.run(1.1)
    reports = [p for p in one.packets() if (p.service, p.subtype) == (1, 128)]
    (refusals,) = st01_128.declare(1).reports[0].layout.decode(reports[0].data)
    assert len(reports) == 1 and len(rows(refusals)) == 241
    assert 20 + sum(row[4] for row in rows(refusals)) == 2040 == one.commands.counts.refused.total()


def perform(one: Boot, request: PusTc, changes: dict[str, bytes | None]) -> list[Exception]:
    errors: list[Exception] = []

    async def body(task: Task) -> None:
        try:
            await one.commands.perform(task, request.encode(), changes)
        except StorageError as error:
            errors.append(error)

    one.scheduler.spawn("holder", body)
    return errors


@pytest.mark.parametrize("name", ["two", "keep", "safe"])
def test_a_held_command_leaves_its_place_in_the_transaction_that_opens_it(boot: Callable[..., Boot], name: str) -> None:
    one = boot()
    one.vault.stage({"held": b"it"})
    request = one.request(name, 5)
    perform(one, request, {"held": None})
    one.run(STORED_S)
    assert one.acted == [5]
    assert (one.stages(request), one.vault.get("held")) == ([1, 3, 7], None)
    after = one.after_power_cut()
    assert after.vault.get("held") is None
    assert after.raw == one.raw[2:]
    assert after.acted == []


def test_a_held_command_that_cannot_be_opened_stays_held(boot: Callable[..., Boot]) -> None:
    one = boot()
    one.disk.read_only = True
    request = one.request("keep", 5)
    errors = perform(one, request, {"held": None})
    one.run(1)
    assert len(errors) == 1 and one.raw == [] and one.acted == []
    assert (one.commands.counts.received, len(one.log)) == (0, 0)


def test_a_held_command_waits_for_a_slow_disk(boot: Callable[..., Boot]) -> None:
    one = boot(store_limit_s=1.0)
    one.disk.commit_s = 7.0
    request = one.request("two", 5)
    perform(one, request, {})
    one.run(6)
    assert (one.acted, one.events()) == ([], [11])
    one.run(10)
    assert (one.acted, one.stages(request)) == ([5], [1, 3, 7])


def test_a_held_command_cut_by_power_never_runs_twice(boot: Callable[..., Boot]) -> None:
    one = boot()
    request = one.request("long")
    perform(one, request, {"held": None})
    one.run(1)
    assert one.stages(request) == [1, 3]
    after = one.after_power_cut()
    after.run(1)
    assert after.stages(request) == [8] and after.detail(request)[0] == Failure.INTERRUPTED


def test_a_held_command_that_is_refused_leaves_its_place_with_the_report(boot: Callable[..., Boot]) -> None:
    one = boot(refused_in={"safe": "two"})
    one.mode = "safe"
    one.vault.stage({"held": b"it", "other": b"it"})
    refused = one.request("two", 5)
    perform(one, refused, {"held": None})
    one.run(1)
    assert one.detail(refused)[0] == Failure.REFUSED_IN_MODE
    late = one.request("keep", 5)

    async def body(_: Task) -> None:
        await one.commands.refuse(late.encode(), Failure.LATE, "by 3 s", {"other": None})

    one.scheduler.spawn("holder", body)
    one.run(1)
    assert one.detail(late) == (Failure.LATE, "by 3 s")
    assert (one.vault.get("held"), one.vault.get("other"), one.acted) == (None, None, [])
    assert one.commands.counts.refused == {Failure.REFUSED_IN_MODE: 1, Failure.LATE: 1}


def test_a_fault_in_a_held_command_is_reported(boot: Callable[..., Boot], monkeypatch: pytest.MonkeyPatch) -> None:
    one = boot()
    monkeypatch.setattr(one, "two", crash)
    request = one.request("two", 5)
    perform(one, request, {})
    one.run(1)
    assert one.stages(request)[:3] == [1, 3, 8]


def test_a_check_looks_at_everything_but_the_mode(boot: Callable[..., Boot]) -> None:
    one = boot(refused_in={"safe": "two"})
    one.mode = "safe"
    one.commands.check(one.request("two", 5).encode())
    for raw, code in (
        (one.request("two", 10).encode(), Failure.BAD_VALUE),
        (PusTc(1, 0, 17, 1, b"x").encode(), Failure.BAD_LENGTH),
        (PusTc(1, 0, 17, 9, b"").encode(), Failure.UNKNOWN_COMMAND),
        (b"octets", Failure.BAD_VALUE),
    ):
        with pytest.raises(CommandRefused) as refused:
            one.commands.check(raw)
        assert refused.value.code == code
    assert one.commands.counts.received == 0


def test_the_structure_tells_where_every_command_is(boot: Callable[..., Boot]) -> None:
    one = boot(rate_hz=10.0, queue=4)
    one.disk.commit_s = 1.0
    one.commands.on_packet(b"octets")
    one.commands.on_packet(PusTc(9, 0, 17, 1, b"").encode())
    one.send("keep", 1)
    for _ in range(5):
        one.send("one")
    one.run(0.1)
    assert one.commands.sample() == {
        "received": 8, "unreadable": 1, "executed": 0, "refused": 3, "waiting": 4, "refused_unknown": 1,
        "refused_invalid": 0, "refused_in_mode": 0, "refused_rate": 2, "refused_queue": 0, "refused_storage": 0,
        "interrupted": 0, "reported_again": 0, "log_rows": 1,
    }  # fmt: skip


def test_a_row_stays_until_its_report_has_been_out_of_the_links_for_a_while(boot: Callable[..., Boot]) -> None:
    """A row that is given up takes no newer one with it."""
    one = boot()
    one.send("keep", 1)
    one.run(1.9)
    one.send("keep", 2)
    one.run(0.2)
    assert len(one.vault.rows("command.")) == 1, "the first one alone has had its time"
    one.drained = False
    one.send("keep", 3)
    one.run(30.0)
    assert len(one.vault.rows("command.")) == 2, "they have not left"
    one.drained = True
    one.run(1.9)
    assert one.vault.rows("command.") != []
    one.run(8.0)
    assert one.vault.rows("command.") == []


@pytest.mark.parametrize("how", ["at once", "later"])
def test_what_could_not_be_stored_is_undone(
    boot: Callable[..., Boot], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    one = boot()

    def keep(n: int) -> Durable:
        return Durable({"n": bytes((n,))}, lambda: one.acted.append(n), lambda: one.acted.append(-n))

    monkeypatch.setattr(one, "keep", keep)
    one.disk.read_only = how == "at once"
    one.disk.fail_commits = how == "later"
    one.send("keep", 7)
    one.run(1.0)
    assert one.acted == [-7]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("command.xyz", b"\1\x18\1\xc0\0"),
        ("command.00000001", b""),
        ("command.00000001", b"\1"),
        ("command.00000001", b"\7\x18\1\xc0\0"),
        ("command.00000001", b"\1\0\0\0\0"),
        ("command.00000001", b"\2\x18\1\xc0\0 no packet"),
    ],
)
def test_a_row_of_other_software_keeps_no_node_from_booting(boot: Callable[..., Boot], key: str, value: bytes) -> None:
    one = boot()
    one.vault.commit({key: value})
    one.run(1.0)
    two = one.after_power_cut()
    assert two.log.foreign == 1
    assert two.vault.get(key) == value
    two.send("keep", 1)
    two.run(5.0)
    assert two.acted == [1]
    assert two.vault.rows("command.") == [(key.removeprefix("command."), value)]


def test_a_command_whose_end_may_be_gone_gets_no_report_made_up(boot: Callable[..., Boot]) -> None:
    """It was open, and has ended, in transactions that are lost: a second end would contradict the first."""
    one = boot()
    ended = one.send("long")
    one.run(1.0)
    for _ in range(80):  # until the journal's next segment
        one.vault.commit({"fill": bytes(1000)})
        one.run(0.1)
    one.gate.set_result(None)
    one.run(1.0)
    terminal = [PusTm.decode(raw).subtype for raw in one.raw]
    assert terminal.count(7) == 1
    one.disk.cut()
    newest = max(name for name in one.disk.durable if name.startswith("vault.journal.0"))
    del one.disk.durable[newest]
    two = one.after_power_cut()
    assert two.log.uncertain == [ended.request_id]
    assert "1 of the commands may have ended in what is gone: no report for 1/1" in two.log.damage[0]
    two.run(5.0)
    assert two.log.interrupted == 0
    assert not two.raw
    assert two.vault.rows("command.") == []
    assert two.after_power_cut().log.uncertain == []


def test_a_report_that_nothing_keeps_is_tried_again_and_outlives_the_power(boot: Callable[..., Boot]) -> None:
    one = boot()
    one.keeping = False
    request = one.send("keep", 1)
    one.run(25.0)
    assert one.raw == []
    assert len(one.vault.rows("command.")) == 1
    one.keeping = True
    one.run(30.0)
    assert one.stages(request) == [7], "acceptance and start were said once, to nobody"
    assert one.vault.rows("command.") == []
    one.keeping = False
    again = one.send("keep", 2)
    one.run(25.0)
    two = one.after_power_cut()
    two.run(1.0)
    assert two.stages(again) == [7]


def test_refusals_that_have_no_report_of_their_own_are_counted_all_the_same(boot: Callable[..., Boot]) -> None:
    one = boot()
    for _ in range(30):
        one.send("two", 10)
    one.run(3)
    assert one.verification.counts["acceptance_failure"] == one.commands.counts.refused[Failure.BAD_VALUE] == 30
    assert sum(PusTm.decode(raw).subtype == 2 for raw in one.raw) == 20


@pytest.mark.parametrize(
    ("request_", "code", "detail"),
    [
        (PusTc(9, 1, 17, 1, b""), Failure.UNKNOWN_APID, "APID 9"),
        (PusTc(1, 1, 17, 9, b"x"), Failure.UNKNOWN_COMMAND, "TC[17,9]"),
        (PusTc(1, 1, 8, 1, b"\0"), Failure.UNKNOWN_COMMAND, "TC[8,1]"),
        (PusTc(1, 1, 8, 1, b"\1\2"), Failure.UNKNOWN_COMMAND, "TC[8,1] function 258"),
        (PusTc(1, 1, 8, 2, b"\0\2\0"), Failure.UNKNOWN_COMMAND, "TC[8,2] function 2"),
    ],
)
def test_what_is_not_known_is_told(boot: Callable[..., Boot], request_: PusTc, code: int, detail: str) -> None:
    one = boot()
    one.commands.on_packet(request_.encode())
    assert one.detail(request_) == (code, detail)
    assert one.commands.counts.refused == {code: 1}


def test_a_handlers_own_check_refuses_before_anything_is_accepted(boot: Callable[..., Boot]) -> None:
    one = boot()
    table = one.commands.table._served  # noqa: SLF001 - a handler that is missing
    seen: list[int] = []

    def check(n: int) -> None:
        seen.append(n)
        if n == 7:
            raise CommandRefused(Failure.REFUSED_IN_MODE, "not seven")

    for key, served in table.items():
        if served.command.name == "two":
            table[key] = Served(served.command, served.layout, check, served.execute)
    refused, taken = one.send("two", 7), one.send("two", 8)
    one.run(1)
    assert (one.stages(refused), one.stages(taken)) == ([2], [1, 3, 7])
    assert one.detail(refused) == (Failure.REFUSED_IN_MODE, "not seven")
    assert (seen, one.acted) == ([7, 8], [8])


def test_what_a_volatile_command_leaves_takes_effect(
    boot: Callable[..., Boot], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = boot()
    monkeypatch.setattr(one, "two", lambda n: Durable({}, lambda: one.acted.append(-n)))
    one.send("two", 5)
    one.run(1)
    assert one.acted == [-5]


@pytest.mark.parametrize("name", ["two", "long"])
def test_a_held_command_whose_commit_fails_stays_held_and_does_not_run(boot: Callable[..., Boot], name: str) -> None:
    one = boot()
    one.disk.fail_commits = True
    errors = perform(one, one.request(name, *([5] if name == "two" else [])), {"held": None})
    one.gate.set_result(None)
    one.run(1)
    assert [type(error) for error in errors] == [StorageError]
    assert (one.raw, one.acted, one.commands.counts.received, one.commands.counts.waiting, len(one.log)) == (
        [],
        [],
        0,
        0,
        0,
    )


@pytest.mark.parametrize("broken", ["read_only", "fail_commits"])
def test_a_refusal_of_a_held_command_that_is_not_stored_leaves_it_held(boot: Callable[..., Boot], broken: str) -> None:
    one = boot(refused_in={"safe": "two"})
    one.mode = "safe"
    setattr(one.disk, broken, True)
    errors = perform(one, one.request("two", 5), {"held": None})
    one.run(1)
    assert [type(error) for error in errors] == [StorageError]
    assert (one.raw, one.commands.counts.received, one.commands.counts.refused, len(one.log)) == ([], 0, {}, 0)
    assert one.verification.counts == {}


def test_a_refusal_of_a_held_command_counts_as_a_failure_of_acceptance(boot: Callable[..., Boot]) -> None:
    one = boot(refused_in={"safe": "two"})
    one.mode = "safe"
    perform(one, one.request("two", 5), {})
    one.run(1)
    assert one.verification.counts == {"acceptance_failure": 1}


@pytest.mark.parametrize(("mode", "room"), [("nominal", 256), ("safe", 224)])
def test_a_full_log_keeps_held_commands_where_they_are(boot: Callable[..., Boot], mode: str, room: int) -> None:
    """A refusal takes no room of the urgent ones."""
    one = boot(refused_in={"safe": "two"})
    one.mode = mode
    for number in range(224):
        one.log.open(RequestId(1, number))
    errors = perform(one, one.request("two", 5), {"held": None})
    one.run(1)
    assert [str(error) for error in errors] == ["too many durable commands wait for the disk"]
    assert (one.raw, one.acted, len(one.log)) == ([], [], 224)
    if room == 256:
        assert perform(one, one.request("safe", 5), {}) == []
        one.run(1)
        assert one.acted == [5], "an urgent one has room of its own"


def test_a_held_volatile_command_keeps_its_turn_until_the_disk_has_its_report(boot: Callable[..., Boot]) -> None:
    one = boot(store_limit_s=5.0)
    ended: list[float] = []

    async def body(task: Task) -> None:
        await one.commands.perform(task, one.request("two", 5).encode(), {})
        ended.append(one.loop.now_ns() / NS)

    one.disk.commit_s = 2.0
    one.scheduler.spawn("holder", body)
    one.run(20)
    assert ended == [pytest.approx(4.0, abs=0.1)], "opened after two seconds, reported after two more"


def test_a_long_command_on_a_disk_that_refuses_is_refused_and_never_runs(boot: Callable[..., Boot]) -> None:
    one = boot()
    one.disk.read_only = True
    request = one.send("long")
    one.gate.set_result(None)
    one.run(1)
    assert (one.stages(request), one.detail(request)[0], one.acted) == ([2], Failure.STORAGE, [])
    assert "read-only" in one.detail(request)[1]
    assert (one.commands.counts.refused, one.commands.counts.waiting, len(one.log)) == ({Failure.STORAGE: 1}, 0, 0)
    assert one.faults == []


def test_a_long_command_whose_opening_fails_is_not_run_and_nobody_is_told(boot: Callable[..., Boot]) -> None:
    """Whether it stands open on the disk is not known: after a boot it is interrupted, or was never there."""
    one = boot()
    one.disk.fail_commits = True
    request = one.send("long")
    one.gate.set_result(None)
    one.run(1)
    assert (one.stages(request), one.events(), one.acted) == ([], [12], [])
    assert (one.commands.counts.refused, one.commands.counts.waiting) == ({Failure.STORAGE: 1}, 0)
    (event,) = (packet for packet in one.packets() if packet.service == 5)
    assert event.data[2:].startswith(b"\x04long") and b"input/output error" in event.data


def test_a_long_command_that_waits_for_a_slow_disk_gives_its_turn_away(boot: Callable[..., Boot]) -> None:
    one = boot(store_limit_s=2.0)
    one.disk.commit_s = 10.0
    request = one.send("long")
    one.run(3)
    assert (one.events(), one.commands.counts.waiting, one.commands.counts.refused) == ([11], 0, {Failure.STORAGE: 1})
    one.disk.read_only = True
    one.disk.fail_commits = True
    one.run(60)
    assert one.stages(request) == [] and one.acted == []


def test_a_long_command_whose_refusal_cannot_be_stored_either(boot: Callable[..., Boot]) -> None:
    one = boot(store_limit_s=2.0)
    one.disk.commit_s = 10.0
    request = one.send("long")
    one.run(1)
    one.disk.read_only = True
    one.run(1.5)
    assert (one.stages(request), one.events()) == ([], [11, 12])
    assert (one.commands.counts.refused, one.commands.counts.waiting, one.faults) == ({Failure.STORAGE: 1}, 0, [])
    assert b"read-only" in one.packets()[-1].data


def test_a_long_command_whose_outcome_is_refused_by_the_disk_is_left_to_the_next_boot(
    boot: Callable[..., Boot],
) -> None:
    one = boot()
    request = one.send("long")
    one.run(1)
    assert one.stages(request) == [1, 3]
    one.disk.read_only = True
    one.gate.set_result(None)
    one.run(1)
    assert (one.stages(request), one.events(), one.commands.counts.waiting) == ([1, 3], [12], 0)
    (event,) = (packet for packet in one.packets() if packet.service == 5)
    assert event.data[2:].startswith(b"\x04long") and b"read-only" in event.data
    one.disk.read_only = False
    after = one.after_power_cut()
    after.run(1)
    assert after.stages(request) == [8] and after.detail(request)[0] == Failure.INTERRUPTED


def test_an_urgent_command_that_the_disk_does_not_take_is_done_with(boot: Callable[..., Boot]) -> None:
    one = boot()
    one.disk.read_only = True
    one.send("safe", 3)
    one.run(1)
    assert (one.acted, one.commands.counts.waiting, one.commands.counts.executed) == ([3], 0, 1)


def test_a_disk_that_is_slow_again_is_told_again(boot: Callable[..., Boot]) -> None:
    one = boot(store_limit_s=1.0)
    for commit_s, events in ((3.0, [11]), (3.0, [11]), (0.0, [11]), (3.0, [11, 11])):
        one.disk.commit_s = commit_s
        one.send("keep", 1)
        one.run(20)
        assert one.events() == events


@pytest.mark.parametrize(("rows", "name", "admitted"), [(223, "keep", 1), (200, "long", 24), (250, "safe", 6)])
def test_what_is_queued_has_its_room_in_the_log(boot: Callable[..., Boot], rows: int, name: str, admitted: int) -> None:
    """The bound holds for rows that are there and for those that queued commands will open."""
    one = boot(queue=32, urgent_queue=32, rate_hz=1000.0, urgent_rate_hz=1000.0, store_limit_s=0.1)
    one.disk.commit_s = 1e6  # no row is ever closed
    for number in range(rows):
        one.log.open(RequestId(1, number))
    values = () if name == "long" else (1,)
    requests = [one.send(name, *values) for _ in range(32)]
    assert one.commands.counts.waiting == admitted
    assert one.commands.counts.refused == {Failure.STORAGE: 32 - admitted}
    one.gate.set_result(None)
    one.run(60)
    assert len(one.log) == rows + admitted == (256 if name == "safe" else 224)
    assert one.faults == []
    assert one.detail(requests[admitted]) == (Failure.STORAGE, "too many durable commands wait for the disk")
    urgent = one.send("safe", 2)
    one.run(1)
    assert (one.stages(urgent) == [2]) is (name == "safe"), "those for urgent commands are all there"


@pytest.mark.parametrize("how", ["completed", "refused by its handler", "failed", "a disk that refuses"])
@pytest.mark.parametrize("name", ["keep", "long", "safe"])
def test_room_in_the_log_comes_back_however_a_command_ends(boot: Callable[..., Boot], name: str, how: str) -> None:
    one = boot(rate_hz=1000.0, urgent_rate_hz=1000.0)
    one.gate.set_result(None)
    one.disk.read_only = how == "a disk that refuses"
    if how == "refused by its handler":
        setattr(one, name, refuse)
    elif how == "failed":
        setattr(one, name, lambda *_: 1 // 0)
    for _ in range(2 if how == "failed" else ROWS_MAX + 1):  # a task that fails is not started again for ever
        one.send(name, *(() if name == "long" else (1,)))
        one.run(1 if one.faults else 0.1)
        one.faults.clear()
    one.run(60)
    assert len(one.log) == 0
    one.disk.read_only = False
    assert not one.log.full(urgent=False)
    assert sum(one.log.reserve(urgent=False) for _ in range(ROWS_MAX)) == 224, "no reservation is left over"


def test_a_full_log_is_nothing_to_a_volatile_command(boot: Callable[..., Boot]) -> None:
    one = boot()
    for number in range(ROWS_MAX):
        one.log.open(RequestId(1, number))
    volatile, durable, urgent = one.send("two", 5), one.send("keep", 5), one.send("safe", 5)
    one.run(1)
    assert [one.stages(request) for request in (volatile, durable, urgent)] == [[1, 3, 7], [2], [2]]
    assert one.commands.counts.refused == {Failure.STORAGE: 2}
