"""What ground/operator.py promises, of every operator: in virtual time, and over the API of a ground process.

A row of OPERATORS is a bench: the little node with the ground's test dictionary, and an operator of its own kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.pus import RequestId
from ground.cli.api.api_operator import ApiOperator
from ground.commands.arrivals import KEPT_MAX
from ground.link.tm_tc_session import GroundSession
from ground.operator import ACCEPTED, ACKNOWLEDGED, COMPLETED, LOST, REJECTED, SENT, STARTED, CommandRecord, Operator
from ground.station import GroundStation
from sim_hw.ground_segment import GroundSegment
from sim_hw.machine.air import Air
from sim_hw.machine.loop import VirtualLoop
from tests.ground_dictionary import make
from tests.ground_node import EPOCH_NS, LittleNode
from tests.link_ends import BARE
from tests.live_ground import Ground, UdpNode
from tests.waiting import GIVE_UP_S

Body = Callable[[Operator], Coroutine[Any, Any, Any]]
ALWAYS = [(0.0, 1e12)]
SOON_S = 0.3  # for what the node does while the operator waits


class OperatorBench(Protocol):
    node: LittleNode

    def after(self, s: float, call: Callable[[], None]) -> None:
        """Have the node do something so much later, in the order of the calls."""

    def run(self, body: Body) -> Any:
        """Run a procedure to its end: what it returns."""


class VirtualBench:
    """Node, air and ground on one loop."""

    def __init__(self, timeout_s: float, heard: bool) -> None:
        self.loop = VirtualLoop()
        self.node = LittleNode(self.loop, ALWAYS if heard else [])
        self.node.operator = self
        station = GroundStation(make(), GroundSession(BARE), epoch_tai_ns=EPOCH_NS, command_timeout_s=timeout_s)
        self.on_downlink: Callable[[bytes], None] = lambda _: None
        self.ground = GroundSegment(station, cast("Air", self), self.loop)

    def uplink(self, cltu: bytes) -> bool:
        self.node.transmit(cltu)
        return True

    def receive(self, octets: bytes) -> None:
        self.on_downlink(octets)

    def after(self, s: float, call: Callable[[], None]) -> None:
        self.loop.call_at(self.loop.now_ns() + round(s * NS), call)

    def run(self, body: Body) -> Any:
        results: list[Any] = []

        async def kept(operator: Operator) -> None:
            results.append(await body(operator))

        self.ground.run_script(kept)
        end_ns = self.loop.now_ns() + 3600 * NS
        while not results and not self.ground.script_failures and self.loop.now_ns() < end_ns:
            self.loop.run_until(self.loop.now_ns() + NS)
        assert self.ground.script_failures == []
        return results[0]


class LiveBench:
    """The node in a thread, the ground in a process."""

    def __init__(self, ground: Ground, thread: UdpNode) -> None:
        self.node, self.after = thread.node, thread.after
        self._ground = ground

    def run(self, body: Body) -> Any:
        with ApiOperator(self._ground.api) as operator, pytest.raises(StopIteration) as end:
            body(operator).send(None)
        return end.value.value


@contextmanager
def virtual(_folder: Path, timeout_s: float, heard: bool) -> Iterator[OperatorBench]:
    bench = VirtualBench(timeout_s, heard)
    yield bench
    bench.ground.close()


@contextmanager
def live(folder: Path, timeout_s: float, heard: bool) -> Iterator[OperatorBench]:
    ground = Ground(folder, timeout_s)
    node = UdpNode(ground, heard=heard)
    node.start()
    try:
        yield LiveBench(ground, node)
    finally:
        node.end()
        ground.kill()


OPERATORS = {"virtual": virtual, "api": live}


@pytest.fixture
def open_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., OperatorBench]]:
    opened: list[AbstractContextManager[OperatorBench]] = []

    def opening(timeout_s: float = GIVE_UP_S, heard: bool = True) -> OperatorBench:
        opened.append(OPERATORS[request.param](tmp_path, timeout_s, heard))
        return opened[0].__enter__()

    yield opening
    for one in opened:
        one.__exit__(None, None, None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("open_bench", OPERATORS, indirect=True)


Opening = Callable[..., OperatorBench]


def test_a_command_that_is_completed(open_bench: Opening) -> None:
    async def body(operator: Operator) -> tuple[float, CommandRecord, float]:
        before_s = operator.now_s()
        record = await operator.send("submit_job", tiles=2)
        return before_s, record, operator.now_s()

    bench = open_bench()
    before_s, record, after_s = bench.run(body)
    assert (record.name, record.outcome, record.reason, record.code) == ("submit_job", COMPLETED, "", None)
    assert record.arguments["tiles"] == 2 and record.arguments["priority"] == 3
    assert record.apid == 2 and record.number == 1 and not record.is_open
    names = [stage.name for stage in record.stages]
    assert names[0] == SENT and names[-1] == COMPLETED and {ACKNOWLEDGED, ACCEPTED} <= set(names)
    times = [before_s * NS, *(stage.now_ns for stage in record.stages)]
    assert times == sorted(times), "stages are on the timeline of now_s"
    assert record.round_trip_ns is not None and record.round_trip_ns <= (after_s - before_s) * NS + NS
    assert bench.node.jobs == [1]


def test_a_command_that_the_node_starts_and_one_that_it_refuses(open_bench: Opening) -> None:
    async def body(operator: Operator) -> tuple[CommandRecord, CommandRecord]:
        return await operator.send("ping"), await operator.send_raw("set_parameters", parameters={"soc_min": 7.0})

    ping, refused = open_bench().run(body)
    assert ping.outcome == COMPLETED and ping.stage_ns(STARTED) is not None
    assert (refused.outcome, refused.code) == (REJECTED, 2)
    assert refused.reason == "acceptance failed: argument out of range"
    assert refused.number == ping.number + 1


NOT_ADMITTED: list[tuple[str, dict[str, object], str]] = [
    ("pong", {}, "unknown command 'pong', did you mean 'ping'?"),
    ("submit_job", {"tiles": 99}, "submit_job: tiles: 99 is outside 1 .. 50"),
    ("submit_job", {}, "submit_job: argument 'tiles' is missing, u16 1 .. 50"),
    ("set_parameters", {"parameters": {"soc_min": 7.0}}, "set_parameters: soc_min: 7 is outside 0.1 .. 0.9 frac"),
    ("set_parameters", {"parameters": {"soc_min": math.nan}}, "set_parameters: soc_min: nan is outside "),
    ("submit_job", {"tiles": {1, 2}}, "submit_job: "),
    ("say", {"text": b"octets"}, "say: "),
    ("say", {"text": "x" * 100_000}, ""),  # more than a request to the ground takes
]


def test_what_the_dictionary_does_not_admit_is_never_sent(open_bench: Opening) -> None:
    async def body(operator: Operator) -> list[str]:
        said = []
        for place, (command, arguments, _) in enumerate(NOT_ADMITTED, 1):
            await operator.send("ping")
            with pytest.raises(OrbitnodeError) as refused:
                await operator.send(command, **arguments)
            assert await operator.wait_for("pong", 0.0) is not None, "a command that was not given forgets nothing"
            assert (await operator.send("ping")).number == 2 * place
            said.append(str(refused.value))
        return said

    bench = open_bench()
    for said, (*_, text) in zip(bench.run(body), NOT_ADMITTED, strict=True):
        assert said.startswith(text)
    assert bench.node.done == ["ping", "ping"] * len(NOT_ADMITTED)


def test_reports_of_a_command_are_there_after_it_in_order_and_once(open_bench: Opening) -> None:
    async def body(operator: Operator) -> list[Any]:
        for _ in range(3):
            await operator.send("submit_job", tiles=1)
        assert (await operator.send("list_jobs")).outcome == COMPLETED
        return [await operator.wait_for("job_status", 0.0) for _ in range(4)]

    *rows, none = open_bench().run(body)
    assert [row["job"] for row in rows] == [1, 2, 3] and none is None


def test_what_came_before_a_command_is_not_taken_for_its_answer(open_bench: Opening) -> None:
    async def body(operator: Operator) -> list[Any]:
        await operator.send("ping")
        await operator.send("ping")
        return [await operator.wait_for("pong", 0.0) for _ in range(2)]

    first, second = open_bench().run(body)
    assert first is not None and second is None


def test_packets_count_from_the_beginning_on(open_bench: Opening) -> None:
    async def body(operator: Operator) -> Any:
        await operator.wait_contact(GIVE_UP_S)
        bench.after(0.0, lambda: bench.node.event("booted", "x"))
        bench.after(0.0, lambda: bench.node.event("mode_changed", 1))
        changed = await operator.wait_for("mode_changed", GIVE_UP_S)
        return changed, await operator.wait_for("booted", 0.0)

    bench = open_bench()
    changed, booted = bench.run(body)
    assert dict(changed) == {"mode": "idle"} and dict(booted) == {"name": "x"}


def test_a_packet_that_comes_while_it_is_waited_for(open_bench: Opening) -> None:
    async def body(operator: Operator) -> Any:
        await operator.wait_contact(GIVE_UP_S)
        begun_s = operator.now_s()
        bench.after(SOON_S, lambda: bench.node.event("booted", "later"))
        values = await operator.wait_for("booted", GIVE_UP_S)
        return values, operator.now_s() - begun_s, await operator.wait_for("booted", 0.0)

    bench = open_bench()
    values, took_s, again = bench.run(body)
    assert dict(values) == {"name": "later"} and SOON_S <= took_s < GIVE_UP_S and again is None


def test_a_packet_that_does_not_come(open_bench: Opening) -> None:
    async def body(operator: Operator) -> list[tuple[Any, float, float]]:
        waits = []
        for limit_s in (0.3, 0.0, -1.0):
            begun_s = operator.now_s()
            values = await operator.wait_for("booted", limit_s)
            waits.append((values, operator.now_s() - begun_s, limit_s))
        return waits

    for values, took_s, limit_s in open_bench().run(body):
        assert values is None and took_s >= limit_s


def test_the_dictionary_is_that_of_the_ground(open_bench: Opening) -> None:
    async def body(operator: Operator) -> Any:
        await operator.send("ping")
        return operator.dictionary.document(), operator.dictionary is operator.dictionary, await operator.send("ping")

    document, is_kept, record = open_bench().run(body)
    assert document == make().document() and is_kept and record.number == 2


def test_values_come_as_they_are_whether_finite_or_not(open_bench: Opening) -> None:
    power, health = (s.layout for s in make().structures[:2])

    async def body(operator: Operator) -> Any:
        await operator.wait_contact(GIVE_UP_S)
        row = (math.nan, -math.inf, 2, -5)
        bench.after(0.0, lambda: bench.node.tm(1, 3, 25, b"\x00\x01" + power.encode(row)))
        row2 = (2**64 - 1, "nan", 0, -(2**63), 0.5)
        bench.after(0.0, lambda: bench.node.tm(1, 3, 25, b"\x00\x02" + health.encode(row2)))
        return await operator.wait_for("power", GIVE_UP_S), await operator.wait_for("health", GIVE_UP_S)

    bench = open_bench()
    first, second = bench.run(body)
    assert math.isnan(first["soc"]) and first["bus"] == -math.inf
    assert (first["mode"], first["battery"]) == ("nominal", -5) and list(first) == ["soc", "bus", "mode", "battery"]
    assert dict(second) == {"uptime": 2**64 - 1, "name": "nan", "late": 0, "offset": -(2**63), "board": 0.5}


def test_a_name_that_no_packet_has(open_bench: Opening) -> None:
    async def body(operator: Operator) -> str:
        assert await operator.wait_for("hk-300", 0.0) is None  # a structure that may be defined from ground
        assert await operator.wait_for("tm-1-17-9", 0.0) is None
        with pytest.raises(OrbitnodeError) as refused:
            await operator.wait_for("pwer", 3600.0)
        return str(refused.value)

    assert open_bench().run(body) == "no packet is called 'pwer', did you mean 'power'?"


def test_of_one_name_the_newest_are_kept(open_bench: Opening) -> None:
    async def body(operator: Operator) -> list[Any]:
        await operator.wait_contact(GIVE_UP_S)
        for number in range(KEPT_MAX + 6):
            bench.after(0.0, partial(bench.node.event, "booted", str(number)))
        bench.after(0.0, lambda: bench.node.event("mode_changed", 1))
        await operator.wait_for("mode_changed", GIVE_UP_S)
        return [await operator.wait_for("booted", 0.0) for _ in range(KEPT_MAX + 1)]

    bench = open_bench()
    *kept, none = bench.run(body)
    assert [values["name"] for values in kept] == [str(n) for n in range(6, KEPT_MAX + 6)] and none is None


def test_contact(open_bench: Opening) -> None:
    async def body(operator: Operator) -> Any:
        begun_s = operator.now_s()
        looks = [await operator.wait_contact(limit_s) for limit_s in (0.0, -1.0, 0.3)]
        took_s = operator.now_s() - begun_s
        bench.after(SOON_S, lambda: setattr(bench.node, "passes", ALWAYS))
        heard = await operator.wait_contact(GIVE_UP_S)
        return looks, took_s, heard, await operator.wait_contact(0.0)

    bench = open_bench(heard=False)
    looks, took_s, heard, still = bench.run(body)
    assert looks == [False] * 3 and took_s >= 0.3 and heard is True and still is True


def test_time_passes(open_bench: Opening) -> None:
    async def body(operator: Operator) -> list[float]:
        times = [operator.now_s()]
        for s in (0.2, 0.0, -1.0):
            await operator.sleep(s)
            times.append(operator.now_s())
        return times

    times = open_bench().run(body)
    assert times[1] - times[0] >= 0.2 and times == sorted(times)


def test_a_command_without_an_answer_is_lost_and_stays_so_in_its_record(open_bench: Opening) -> None:
    async def body(operator: Operator) -> tuple[CommandRecord, CommandRecord]:
        await operator.wait_contact(GIVE_UP_S)
        while (lost := await operator.send("ping")).outcome != LOST:  # on a busy machine it may not go up in time
            assert lost.reason.startswith("never sent")
        before = lost.snapshot()
        request = RequestId(lost.apid, lost.seq).encode()
        bench.after(0.0, lambda: bench.node.tm(1, 1, 7, request))
        assert await operator.wait_for("completed", GIVE_UP_S) is not None
        return before, lost

    bench = open_bench(timeout_s=1.0)
    bench.node.mute.add("ping")
    before, lost = bench.run(body)
    assert lost == before and lost.reason.endswith("may still be executed")


def test_a_command_without_any_node_is_rejected_in_time(open_bench: Opening) -> None:
    async def body(operator: Operator) -> CommandRecord:
        return await operator.send("ping")

    record = open_bench(timeout_s=0.5, heard=False).run(body)
    assert (record.outcome, record.code) == (REJECTED, None)
    assert record.reason == "never sent: no node was heard in time"
