"""Several payload apps in one node: each has what is its own, none reaches what is another's, and one that fails is
named, and leaves none of the others behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest

from flight.contract.app import AppContext, Durable
from flight.contract.dictionary import Command, Declarations, EventDefinition, Report, Structure
from flight.contract.failures import FailureCode
from flight.contract.fields import Field
from flight.core.config import key
from flight.core.errors import SetupError
from flight.core.task import Task
from flight.link.pus import PusTc
from flight.node import Node
from flight.services.board.power import Power
from flight.services.commanding.commands import Commands
from flight.store.files.file_store import FileStore
from flight.swarm.protocol import Admission
from hal.base import HalError, Image
from tests.sim.conftest import PASS_START_S, MakeRig, Rig

IN_PASS_S = PASS_START_S + 60
CLOSED: list[str] = []
_COUNT = Field("count", "u32")
ROW = "count"


@pytest.fixture(autouse=True)
def _forget() -> None:
    CLOSED.clear()


class Lack(FailureCode):
    SHEEP = 140, "no sheep"
    GOAT = 150, "no goat"
    LOUD = 160, "no loud"
    BAD = 170, "no bad"


@dataclass(frozen=True, slots=True)
class CounterConfig:
    step: int = key(1, minimum=1, maximum=100)


class Counter:
    """Counts by durable command, in three ways; the two classes below differ in their numbers and names alone."""

    CONFIG: Any = CounterConfig
    WHAT = ""
    BASE = 0

    @classmethod
    def declare(cls, apid: int, _config: CounterConfig) -> Declarations:
        what, base = cls.WHAT, cls.BASE
        ways = ("count", "wait", "slice")
        return Declarations(
            structures=(Structure(apid, base, f"{what}s", 1.0, (_COUNT,)),),
            events=(EventDefinition(apid, 1, f"{what}_counted", "info", "{count}", (_COUNT,)),),
            reports=(Report(apid, base, 1, f"{what}_report", (_COUNT,)),),
            commands=tuple(Command(f"{way}_{what}", apid, base, 2 + i, "", durable=True) for i, way in enumerate(ways)),
            failures=(next(one for one in Lack if one == base),),
        )

    def __init__(self, context: AppContext) -> None:
        self.context = context
        self.count = int(context.vault.get(ROW) or b"0")
        self.ticks = 0
        for way, handler in (("count", self._count), ("wait", self._wait), ("slice", self._slice)):
            context.commands.handle(f"{way}_{self.WHAT}", None, handler)
        context.housekeeping.provide(f"{self.WHAT}s", lambda: {"count": self.count})

    def start(self) -> None:
        self.context.scheduler.spawn(f"{self.context.name}.tick", self._tick)

    def close(self) -> None:
        CLOSED.append(self.context.name)

    async def _tick(self, task: Task) -> None:
        async for _ in task.every(1.0):
            self.ticks += 1

    def _count(self) -> Durable:
        count = self.count + self.context.config.step

        def counted() -> None:
            self.count = count
            self.context.events.emit(f"{self.WHAT}_counted", count)
            self.context.reports.send(f"{self.WHAT}_report", count)
            self.context.outbox.put("count.txt", str(count).encode())

        return Durable({ROW: str(count).encode(), "power": None}, counted)

    async def _wait(self) -> Durable:
        return self._count()

    def _slice(self) -> Generator[None, None, Durable]:
        yield
        return self._count()


class Sheep(Counter):
    WHAT, BASE = "sheep", 140


class Goats(Counter):
    WHAT, BASE = "goat", 150


def listed(*apps: tuple[str, type[Any]]) -> str:
    """`[[app]]` in one line, APIDs from 10 on."""
    rows = (f'{{name = "{name}", app = "{__name__}:{kind.__name__}", apid = {10 + i}}}' for i, (name, kind) in
            enumerate(apps))  # fmt: skip
    return f"[{', '.join(rows)}]"


BOTH = listed(("sheep", Sheep), ("goats", Goats))
NO_CAMERA = '[drivers]\nimager = ""\n'


def order(node: Node, name: str, seq: int = 0) -> None:
    """Give the node the telecommand `name` as its link would."""
    one = node.dictionary.command(name)
    node.part(Commands).on_packet(PusTc(one.apid, seq, one.service, one.subtype, b"", ack=0b1011).encode())


def app_of(node: Node, kind: type[Counter]) -> Counter:
    app = node.app(kind)
    assert app is not None
    return app


def both(rig: Rig) -> tuple[Counter, Counter]:
    return app_of(rig.node, Sheep), app_of(rig.node, Goats)


def test_each_app_has_its_own_commands_events_reports_and_housekeeping(make_rig: MakeRig) -> None:
    rig = make_rig(apps=BOTH, more=NO_CAMERA + "[goats]\nstep = 5\n")
    rig.until(IN_PASS_S)
    requests = [rig.send(name) for name in ("count_sheep", "count_goat", "wait_goat")]
    rig.until(IN_PASS_S + 10)
    assert [rig.stages(request) for request in requests] == [[1, 3, 7]] * 3
    sheep, goats = both(rig)
    assert (sheep.count, goats.count) == (1, 10)
    assert sheep.ticks > 100 and goats.ticks > 100
    said = {(p.apid, p.service, p.subtype, p.data) for p in rig.packets}
    for apid, base, counts in ((10, 140, (1,)), (11, 150, (5, 10))):
        for count in counts:
            assert (apid, 5, 1, (1).to_bytes(2, "big") + count.to_bytes(4, "big")) in said
            assert (apid, base, 1, count.to_bytes(4, "big")) in said
        assert (apid, 3, 25, base.to_bytes(2, "big") + counts[-1].to_bytes(4, "big")) in said
    assert not [p for p in rig.packets if p.service == 5 and p.apid == 1 and b"counted" in p.data]


def test_what_apps_keep_lies_under_their_names_and_outlives_the_power(make_rig: MakeRig) -> None:
    rig = make_rig(apps=BOTH, more=NO_CAMERA + "[goats]\nstep = 5\n")
    rig.until(5)
    for seq, name in enumerate(("count_sheep", "wait_sheep", "slice_sheep", "count_goat", "slice_goat")):
        order(rig.node, name, seq)
    rig.until(10)
    vault = rig.node.parts.vault
    assert (vault.get("sheep.count"), vault.get("goats.count"), vault.get("count")) == (b"3", b"10", None)
    rig.craft.cut_power()
    rig.until(40)
    assert rig.craft.boots == 2
    assert [one.count for one in both(rig)] == [3, 10]
    assert CLOSED == ["sheep", "goats"]


def test_an_app_cannot_change_a_row_of_the_node_or_of_another_app(make_rig: MakeRig) -> None:
    rig = make_rig(apps=BOTH, more=NO_CAMERA)
    rig.until(5)
    node = rig.node
    one = node.dictionary.command("payload_power")
    assert one.function is not None
    data = one.function.to_bytes(2, "big") + b"\0"
    node.part(Commands).on_packet(PusTc(1, 0, 8, 1, data, ack=0b1011).encode())
    rig.until(6)
    kept = node.parts.vault.get("power")
    assert kept is not None
    order(node, "count_sheep", 1)  # its handler would delete a row `power`
    rig.until(8)
    assert node.parts.vault.get("power") == kept
    view = both(rig)[1].context.vault
    assert view.rows() == [] and "count" not in view and not view.is_stale("count")
    view.commit({"count": b"7", "sheep.count": b"0"})
    assert node.parts.vault.get("sheep.count") == b"1"
    assert view.rows("c") == [("ount", b"7")]
    view.stage({"count": None})
    assert view.get("count") is None and node.parts.vault.get("sheep.count") == b"1"


def test_files_of_two_apps_have_two_names(make_rig: MakeRig) -> None:
    rig = make_rig(apps=BOTH, more=NO_CAMERA)
    rig.until(5)
    order(rig.node, "count_sheep")
    order(rig.node, "count_goat", 1)
    rig.until(8)
    names = [entry.name for entry in rig.node.part(FileStore).entries("products")]
    assert names == ["sheep.count.txt", "goats.count.txt"]


def test_events_of_each_app_are_switched_and_counted(make_rig: MakeRig) -> None:
    rig = make_rig(apps=BOTH, more=NO_CAMERA)
    rig.until(IN_PASS_S)
    before = rig.node.event_counts()["info"]
    rig.send("goats_disable_events", ((1,),))
    for name in ("count_sheep", "count_goat", "count_goat"):
        rig.send(name)
    rig.until(IN_PASS_S + 10)
    assert [p.apid for p in rig.packets if p.service == 5 and p.apid >= 10] == [10]
    assert [rig.node.apps[name].events.counts["info"] for name in ("sheep", "goats")] == [1, 2]
    assert rig.node.event_counts()["info"] >= before + 3
    structure = next(s for s in rig.dictionary.structures if s.name == "node")
    rig.send("report_hk", ((structure.sid,),))
    rig.until(IN_PASS_S + 12)
    newest = [p for p in rig.reports(3, 25) if p.apid == 1 and p.data[:2] == structure.sid.to_bytes(2, "big")][-1]
    shown = dict(zip((f.name for f in structure.fields), structure.layout.decode(newest.data[2:]), strict=True))
    assert shown["events_info"] == rig.node.event_counts()["info"]


def test_the_payload_has_its_full_limit_while_any_app_works(make_rig: MakeRig) -> None:
    rig = make_rig(apps=BOTH, more=NO_CAMERA)
    rig.until(5)
    sheep, goats = both(rig)
    idle_w, mode_w = 1.0, rig.node.part(Power).mode.payload_w
    drawn = []
    for app, working in ((sheep, True), (goats, True), (sheep, False), (sheep, False), (goats, False)):
        app.context.set_load(working)
        drawn.append(rig.world.power.loads_w()["payload"])
    assert drawn == [mode_w, mode_w, mode_w, mode_w, idle_w]


def test_the_camera_is_opened_once_and_given_to_each(make_rig: MakeRig) -> None:
    class Dark:
        def ready(self) -> bool:
            return False

        def capture(self) -> Image:
            raise HalError("dark")

    camera = Dark()
    sheep, goats = both(make_rig(apps=BOTH, imager=camera))
    assert sheep.context.imager is not None
    assert sheep.context.imager is goats.context.imager
    assert [one.context.imager for one in both(make_rig(apps=BOTH, more=NO_CAMERA))] == [None, None]


def test_an_app_is_found_by_its_class(make_rig: MakeRig) -> None:
    node = make_rig(apps=listed(("goats", Goats)), more=NO_CAMERA).node
    assert node.app(Sheep) is None
    assert node.app(Goats) is node.apps["goats"].app
    assert make_rig().node.apps == {}


def test_a_log_line_says_whose_event_it_is(make_rig: MakeRig, capsys: pytest.CaptureFixture[str]) -> None:
    rig = make_rig(apps=listed(("low", Loud)), more=NO_CAMERA)
    rig.until(5)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "a loud noise" in line]
    assert "app=low" in line


# Apps that do not start


class Loud(Counter):
    """Tells of itself as it starts."""

    WHAT, BASE = "loud", 160

    @classmethod
    def declare(cls, apid: int, _config: CounterConfig) -> Declarations:
        return Declarations(events=(EventDefinition(apid, 1, "noise", "high", "a loud noise"),))

    def __init__(self, context: AppContext) -> None:
        self.context = context

    def start(self) -> None:
        self.context.events.emit("noise")


class Bad(Counter):
    WHAT, BASE = "bad", 170


class FailsToBeMade(Bad):
    def __init__(self, _context: AppContext) -> None:
        raise ZeroDivisionError("no\nway")


class FailsToStart(Bad):
    def start(self) -> None:
        raise KeyError("lens")


class Withdraws(Bad):
    def start(self) -> None:
        raise asyncio.CancelledError("by a library")  # not an Exception


class Leaves(Bad):
    def start(self) -> None:
        raise SystemExit(3)


class LacksSomething(Bad):
    def start(self) -> None:
        raise SetupError("model 'x' is missing, install it")


class HasNoDevice(Bad):
    def start(self) -> None:
        raise HalError("spectrometer does not answer")


class ServesTooLittle(Bad):
    def __init__(self, context: AppContext) -> None:
        self.context, self.count = context, 0
        context.commands.handle("count_bad", None, self._count)
        context.housekeeping.provide("bads", lambda: {"count": 0})


class ServesTwice(Bad):
    def start(self) -> None:
        self.context.commands.handle("count_bad", None, self._count)


class ServesAnothers(Bad):
    def __init__(self, context: AppContext) -> None:
        context.commands.handle("count_sheep", None, self._count)


class SamplesTheNode(Bad):
    def __init__(self, context: AppContext) -> None:
        context.housekeeping.provide("power", dict)


class SamplesWrong(Bad):
    def start(self) -> None:
        self.context.housekeeping.provide("bads", lambda: {"counts": 0})


class Rival(Bad):
    def start(self) -> None:
        for _ in range(2):
            self.context.swarm.serve("count", lambda _: Admission(None, "never"))


NOT_STARTED: dict[type[Bad], list[str]] = {
    FailsToBeMade: ["app wolf: cannot be made: ZeroDivisionError: no way"],
    FailsToStart: ["app wolf: cannot be started: KeyError: 'lens'"],
    Withdraws: ["app wolf: cannot be started: CancelledError: by a library"],
    Leaves: ["app wolf: cannot be started: SystemExit: 3"],
    LacksSomething: ["app wolf: model 'x' is missing, install it"],
    HasNoDevice: ["app wolf: spectrometer does not answer"],
    ServesTooLittle: ["app wolf: nobody serves command wait_bad", "app wolf: nobody serves command slice_bad"],
    ServesTwice: ["app wolf: serves command 'count_bad' twice"],
    ServesAnothers: [
        "app wolf: serves command 'count_sheep', which it has not declared, known: count_bad, slice_bad, wait_bad"
    ],
    SamplesTheNode: ["app wolf: samples structure 'power', which it has not declared, known: bads"],
    SamplesWrong: ["app wolf: housekeeping structure bads: its sample has no field for counts"],
    Rival: ["app wolf: jobs of kind 'count' have an executor already, there can be only one"],
}


@pytest.mark.parametrize("kind", NOT_STARTED, ids=lambda kind: kind.__name__)
def test_an_app_that_does_not_start_is_named_and_no_app_stays_behind(make_rig: MakeRig, kind: type[Bad]) -> None:
    apps = listed(("sheep", Sheep), ("wolf", kind), ("goats", Goats))
    with pytest.raises(SetupError) as caught:
        make_rig(apps=apps, more=NO_CAMERA)
    assert str(caught.value).splitlines() == NOT_STARTED[kind]
    made = [] if kind in (FailsToBeMade, ServesAnothers, SamplesTheNode) else ["wolf", "goats"]
    assert ["sheep", *made] == CLOSED


class FailsToClose(Bad):
    def close(self) -> None:
        CLOSED.append("raises")
        raise asyncio.CancelledError("the lid is stuck")


class Careless(Sheep):
    """Raises a BaseException in a task and in each way of serving a command, at its first try."""

    def start(self) -> None:
        self.failing = {"task", "count", "wait", "slice"}
        super().start()

    def _fail(self, way: str) -> None:
        if way in self.failing:
            self.failing.remove(way)
            raise asyncio.CancelledError(way)

    async def _tick(self, task: Task) -> None:
        self._fail("task")
        await super()._tick(task)

    def _count(self) -> Durable:
        self._fail("count")
        return super()._count()

    async def _wait(self) -> Durable:
        self._fail("wait")
        return await super()._wait()

    def _slice(self) -> Generator[None, None, Durable]:
        self._fail("slice")
        return super()._slice()


def test_what_an_app_raises_that_is_no_exception_costs_the_node_nothing(make_rig: MakeRig) -> None:
    rig = make_rig(apps=listed(("sheep", Careless), ("goats", Goats)), more=NO_CAMERA)
    rig.until(IN_PASS_S)
    first = [rig.send(name) for name in ("count_sheep", "wait_sheep", "slice_sheep", "count_goat")]
    rig.until(IN_PASS_S + 20)
    second = [rig.send(name) for name in ("count_sheep", "wait_sheep", "slice_sheep", "count_goat")]
    rig.until(IN_PASS_S + 40)
    assert rig.craft.boots == 1
    assert [rig.stages(request)[-1] for request in first] == [8, 8, 8, 7], "the sender hears of it"
    assert [rig.stages(request) for request in second] == [[1, 3, 7]] * 4
    sheep = rig.node.app(Careless)
    assert sheep is not None and sheep.ticks > 100 and sheep.failing == set()


def test_an_app_that_fails_as_it_is_closed_keeps_no_other_open(
    make_rig: MakeRig, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = make_rig(apps=listed(("wolf", FailsToClose), ("sheep", Sheep)), more=NO_CAMERA)
    rig.until(5)
    rig.craft.shut_down()
    assert CLOSED == ["raises", "sheep"]
    said = capsys.readouterr().err
    assert "app failed as it was closed" in said and "app=wolf" in said and "the lid is stuck" in said
