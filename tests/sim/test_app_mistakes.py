"""What an app writer gets wrong, each as a message that names the app, the thing, and what would be right: at boot if
the node can see it then, else by the counts and events of the node, which goes on.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from flight.contract.app import AppContext, CommandRefused, Durable
from flight.contract.dictionary import Command, Declarations, EventDefinition, Report, Structure
from flight.contract.failures import Failure, FailureCode
from flight.contract.fields import Field
from flight.core.errors import SetupError
from flight.core.task import Task
from flight.link.pus import PusTc
from flight.services.commanding.commands import Commands
from flight.services.reporting.events import Events
from tests.sim.conftest import PASS_START_S, MakeRig, Rig
from tests.sim.test_apps import NO_CAMERA, CounterConfig

_FIELDS = (
    Field("count", "u8"), Field("level", "i8"), Field("mean", "f32"), Field("mode", "u8", labels=("off", "on")),
    Field("note", "str"), Field("when", "time"), Field("rows", "rows", fields=(Field("a", "u8"), Field("b", "str"))),
)  # fmt: skip
SOUND: dict[str, Any] = {
    "count": 300,
    "level": -1,
    "mean": 0.5,
    "mode": 1,
    "note": "x",
    "when": 10**18,
    "rows": ((1, "y"),),
}
VALUES = tuple(SOUND.values())


class Lack(FailureCode):
    FUEL = 130, "no fuel"


class Probe:
    """A sound app with one of everything, of which each test has one thing done wrongly."""

    CONFIG: Any = CounterConfig
    HANDLER: Any = None
    CHECK: Any = None
    SAMPLE: Any = None
    TASK: Any = None
    STARTS: Any = None

    @staticmethod
    def declare(apid: int, _config: CounterConfig) -> Declarations:
        return Declarations(
            structures=(Structure(apid, 130, "probe", 1.0, _FIELDS),),
            events=(EventDefinition(apid, 1, "probed", "info", "{note}", _FIELDS),),
            reports=(Report(apid, 130, 1, "probing", _FIELDS),),
            commands=(
                Command(
                    "probe_now", apid, 130, 2, "", (Field("depth", "u8"), Field("fast", "u8", labels=("no", "yes")))
                ),
            ),
            failures=(Lack.FUEL,),
        )

    def __init__(self, context: AppContext) -> None:
        kind = type(self)
        self.context = context
        context.commands.handle("probe_now", kind.CHECK, kind.HANDLER or (lambda _depth, _fast: None))
        context.housekeeping.provide("probe", kind.SAMPLE or (lambda: SOUND))

    def start(self) -> None:
        if self.TASK is not None:
            self.context.scheduler.spawn(f"{self.context.name}.work", type(self).TASK)
        if self.STARTS is not None:
            type(self).STARTS(self.context)

    def close(self) -> None:
        """Nothing to give back."""


@pytest.fixture
def fly(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rig]:
    def made(**wrong: Any) -> Rig:
        for name, what in wrong.items():
            monkeypatch.setattr(Probe, name, staticmethod(what) if callable(what) else what)
        app = f'[{{name = "wolf", app = "{__name__}:Probe", apid = 10}}]'
        return make_rig(apps=app, more=NO_CAMERA)

    return made


async def _async_check(_depth: int, _fast: int) -> None: ...


async def _async_sample() -> dict[str, Any]:
    return SOUND


async def _async_generator(_depth: int, _fast: int) -> AsyncIterator[None]:
    yield


def _generator() -> Iterator[dict[str, Any]]:
    yield SOUND


async def _body_with_yield(_task: Task) -> AsyncIterator[None]:
    yield


async def _body_without_task() -> None: ...


def sample(**changed: Any) -> dict[str, Any]:
    return {"SAMPLE": lambda: {**SOUND, **changed}}


OF_PROBE = "housekeeping structure probe: its sample has "
# What is done wrongly, and the line in which the boot ends.
AT_BOOT: dict[str, tuple[dict[str, Any], str]] = {
    "a handler of too few values": ({"HANDLER": lambda: None},
                                    "handler of command 'probe_now' takes (), it is called with depth, fast"),
    "a handler that is none": ({"HANDLER": 7}, "handler of command 'probe_now' is int, should be a function"),
    "a handler that waits and yields": ({"HANDLER": _async_generator},
                                        "handler of command 'probe_now' is async and has a yield, should"),
    "a check of too many values": ({"CHECK": lambda _a, _b, _c: None},
                                   "check of command 'probe_now' takes (_a, _b, _c), it is called with depth, fast"),
    "a check that waits": ({"CHECK": _async_check}, "check of command 'probe_now' is async or has a yield"),
    "a sampler that takes a value": ({"SAMPLE": lambda _: SOUND},
                                     "sampler of structure 'probe' takes (_), it is called with nothing"),
    "a sampler that waits": ({"SAMPLE": _async_sample}, "sampler of structure 'probe' is async or has a yield, should"),
    "a sampler that yields": ({"SAMPLE": _generator}, "sampler of structure 'probe' is async or has a yield"),
    "values in order": ({"SAMPLE": lambda: VALUES},
                        "housekeeping structure probe: its sample is tuple, should be values by the names of its"),
    "nothing": ({"SAMPLE": lambda: None}, "housekeeping structure probe: its sample is NoneType, should be values by"),
    "one value too few": ({"SAMPLE": lambda: {k: v for k, v in SOUND.items() if k != "mean"}},
                          "housekeeping structure probe: its sample lacks mean"),
    "one value too many": (sample(speed=1), "housekeeping structure probe: its sample has no field for speed"),
    "a count as a text": (sample(count="7"), OF_PROBE + "count: '7' is not a whole number of type int"),
    "a count with a fraction": (sample(count=7.0), OF_PROBE + "count: 7.0 is not a whole number of type int"),
    "a negative count": (sample(count=-1), OF_PROBE + "count: -1 is outside 0 .. 255"),
    "too large a level": (sample(level=128), OF_PROBE + "level: 128 is outside -128 .. 127"),
    "a mean as nothing": (sample(mean=None), OF_PROBE + "mean: None is not a number"),
    "too large a mean": (sample(mean=1e39), OF_PROBE + "mean: 1e+39 is outside -3.40282346638529e+38 .. "),
    "a label for its number": (sample(mode="on"), OF_PROBE + "mode: 'on' is a text, should be its number, 1"),
    "no such label": (sample(mode="idle"), OF_PROBE + "mode: 'idle' is a text, should be a number"),
    "no such number": (sample(mode=2), OF_PROBE + "mode: 2 is outside 0 .. 1"),
    "a note as a number": (sample(note=5), OF_PROBE + "note: 5 is not a text"),
    "a time in seconds": (sample(when=1e-3), OF_PROBE + "when: 0.001 is not a whole number"),
    "a time before the epoch": (sample(when=-1), OF_PROBE + "when: -1 is outside 0 .. "),
    "rows as a number": (sample(rows=3), OF_PROBE + "rows: 3 is not a tuple of at most 255 rows"),
    "rows of plain values": (sample(rows=(1, 2)), OF_PROBE + "rows[0]: 1 is not a row of a, b"),
    "too short a row": (sample(rows=((1,),)), OF_PROBE + "rows[0]: 1 value, should be 2: a, b"),
    "a wrong value in a row": (sample(rows=((1, "y"), ("x", "y"))), OF_PROBE + "rows[1]: a: 'x' is not a whole number"),
    "two wrong values": (sample(count="7", note=5), OF_PROBE + "count: '7' is not a whole number of type int; note: 5"),
    "a task that is a text": ({"TASK": "work"}, "app wolf: body of task wolf.work is str, should be a function"),
    "a task that yields": ({"TASK": _body_with_yield}, "body of task wolf.work has a yield, should be an `async def`"),
    "a task without its argument": ({"TASK": _body_without_task},
                                    "body of task wolf.work takes (), it is called with task"),
    "a task of another name": ({"STARTS": lambda context: context.scheduler.spawn("work", _body_without_task)},
                               "names a task 'work', should begin with 'wolf.'"),
    "an event of another name": ({"STARTS": lambda context: context.events.emit("probd")},
                                 "emits event 'probd', which it has not declared, did you mean probed?"),
    "an event of too few values": ({"STARTS": lambda context: context.events.emit("probed", 1)},
                                   "emits event 'probed' with 1 value, should be 7: count, level, mean, mode, note"),
    "an event of wrong values": ({"STARTS": lambda context: context.events.emit("probed", "7", *VALUES[1:])},
                                 "emits event 'probed' with count: '7' is not a whole number of type int"),
    "a report of another name": ({"STARTS": lambda context: context.reports.send("proving")},
                                 "sends report 'proving', which it has not declared, did you mean probing?"),
    "a report of wrong values": (
        {"STARTS": lambda context: context.reports.send("probing", *VALUES[:4], 5, *VALUES[5:])},
                                 "sends report 'probing' with note: 5 is not a text"),
    "a report that no packet holds": (
        {"STARTS": lambda context: context.reports.send("probing", *VALUES[:6], ((1, "y" * 255),) * 255)},
        "TM[130,1] of APID 10 with 65"),
    "a file as a text": ({"STARTS": lambda context: context.outbox.put("a.txt", "text")},
                         "puts file 'a.txt' as str, should be bytes"),
    "a file without a name": ({"STARTS": lambda context: context.outbox.put("", b"")},
                              "puts file '': the name is empty"),
    "too long a name": ({"STARTS": lambda context: context.outbox.put("a" * 201, b"")},
                        "its name should have at most 200 characters"),
    "a name with a slash": ({"STARTS": lambda context: context.outbox.put("../a", b"")},
                            "puts file '../a': the name '../a' has '/'"),
    "a priority out of bounds": ({"STARTS": lambda context: context.outbox.put("a", b"", priority=256)},
                                 "puts file 'a' with priority 256, should be 0 .. 255"),
    "a value that is none": ({"STARTS": lambda context: context.outbox.put("a", b"", value=float("nan"))},
                             "puts file 'a' with value nan, should be a number of 0 or more"),
    "a class by its number": ({"STARTS": lambda context: context.outbox.put("a", b"", arrive=2)},
                              "puts file 'a' with arrive 2, should be True, False or None"),
    "a name as octets": ({"STARTS": lambda context: context.outbox.put(b"a", b"")}, "puts file b'a', its name should"),
    "a row as a text": ({"STARTS": lambda context: context.vault.stage({"a": "text"})},
                        "stores 'a' as str, should be a text key, and octets or None"),
    "a key that is not text": ({"STARTS": lambda context: context.vault.stage({"\udc80": b""})},
                              "stores a row whose key '\\udc80' is not Unicode text"),
    "too long a key": ({"STARTS": lambda context: context.vault.commit({"a" * 251: b""})}, "key has 256 octets, 255"),
}  # fmt: skip


@pytest.mark.parametrize("name", AT_BOOT)
def test_a_mistake_that_the_boot_can_see_ends_it_with_a_line(fly: Callable[..., Rig], name: str) -> None:
    wrong, says = AT_BOOT[name]
    with pytest.raises(SetupError) as caught:
        fly(**wrong)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("app wolf: ") and line.count("app wolf") == 1 and says in line
    assert "Error" not in line, "words, and no kind of exception"


def test_a_sound_app_boots(fly: Callable[..., Rig]) -> None:
    """A count that goes round is not a mistake, and neither is a handler that takes whatever comes, or a partial."""
    rig = fly(HANDLER=lambda *_values: None, CHECK=functools.partial(lambda _x, _depth, _fast: None, 1))
    rig.until(5)
    rig.node.apps["wolf"].app.context.events.emit("probed", *VALUES)  # type: ignore[attr-defined] # Probe's
    rig.until(6)
    assert rig.node.event_counts()["high"] == 0


def order(rig: Rig, seq: int) -> PusTc:
    request = PusTc(10, seq, 130, 2, bytes((7, 1)), ack=0b1011)
    rig.node.part(Commands).on_packet(request.encode())
    return request


def told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The node's own events from here on."""
    heard: list[tuple[Any, ...]] = []
    emit = rig.node.part(Events).emit

    def hear(*one: Any) -> None:
        heard.append(one)
        emit(*one)

    monkeypatch.setattr(rig.node.part(Events), "emit", hear)
    return heard


def _emits_nothing_known(context: AppContext) -> Callable[[Task], Any]:
    async def body(task: Task) -> None:
        await task.sleep(1.0)
        context.events.emit("gone")

    return body


# How a command's handler goes wrong when it is called, and what the node's event says.
HANDLERS: dict[str, tuple[Any, str]] = {
    "gives a number": (lambda _depth, _fast: 7, "handler of command 'probe_now' gives int, should give Durable"),
    "gives True": (lambda _depth, _fast: True, "gives bool, should give Durable or nothing"),
    "changes what is not kept": (lambda _depth, _fast: Durable({"a": b"1"}),
                                 "gives changes of the vault, should be declared durable"),
    "refuses by a number": (lambda _depth, _fast: (_ for _ in ()).throw(CommandRefused(130, "none")),  # type: ignore[arg-type]
                            "CommandRefused with code 130, should be a FailureCode that its owner declares"),
}  # fmt: skip


@pytest.mark.parametrize("name", HANDLERS)
def test_a_handler_that_goes_wrong_fails_its_command_and_is_told(
    fly: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    handler, says = HANDLERS[name]
    rig = fly(HANDLER=handler)
    rig.until(5)
    heard = told(rig, monkeypatch)
    order(rig, 1)
    rig.until(7)
    (failed,) = [one for one in heard if one[0] == "task_failed"]
    assert says in failed[2]
    assert rig.node.part(Commands).counts.executed == 1


class Keeper(Probe):
    """With a durable command, which changes what is kept."""

    @staticmethod
    def declare(apid: int, _config: CounterConfig) -> Declarations:
        return Declarations(commands=(Command("keep_now", apid, 130, 2, "", durable=True),))

    def __init__(self, context: AppContext) -> None:
        self.context = context
        context.commands.handle("keep_now", None, type(self).HANDLER)


def _raises() -> None:
    raise RuntimeError("of the app")


# What a durable command's handler leaves, how the command fares, and what the node's event says.
KEPT: dict[str, tuple[Any, list[int], tuple[str, str]]] = {
    "an `apply` that raises": (lambda: Durable({"a": b"1"}, apply=_raises), [1, 3, 7],
                             ("command.keep_now", "its apply raises RuntimeError: of the app")),
    "an `undo` that raises": (lambda: Durable({"a": b"1" * (1 << 24)}, undo=_raises), [2],
                              ("command.keep_now", "its undo raises RuntimeError: of the app")),
    "a key that is not text": (lambda: Durable({"\udc80": b"1"}), [1, 3, 8],
                              ("commands", "stores a row whose key '\\udc80' is not Unicode text")),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_what_a_durable_command_leaves_fails_nobody_else(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The disk's answer came with no task round it: what it called ended the node. And packets of all others stood in
    line behind the reports of a command whose task had failed.
    """
    handler, stages, told_as = KEPT[name]
    monkeypatch.setattr(Keeper, "HANDLER", staticmethod(handler))
    rig = make_rig(apps=f'[{{name = "wolf", app = "{__name__}:Keeper", apid = 10}}]', more=NO_CAMERA)
    rig.until(PASS_START_S + 5)
    heard = told(rig, monkeypatch)
    request = PusTc(10, 1, 130, 2, b"", ack=0b1011)
    rig.node.part(Commands).on_packet(request.encode())
    rig.until(PASS_START_S + 10)
    ((_, task, text),) = [one for one in heard if one[0] == "task_failed"]
    assert task == told_as[0] and told_as[1] in text
    assert rig.stages(request) == stages
    assert rig.node.part(Commands).counts.waiting == 0
    pinged = rig.send("ping")
    rig.until(PASS_START_S + 15)
    assert rig.stages(pinged)[-1:] == [7]


CHECKS: dict[str, tuple[Any, str]] = {
    "gives False": (
        lambda _depth, _fast: False,
        "its check returns bool, should return nothing or raise CommandRefused",
    ),
    "raises": (lambda _depth, _fast: 1 // 0, "its check raises ZeroDivisionError: integer division or modulo by zero"),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_that_goes_wrong_refuses_its_command_and_says_why(
    fly: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    check, says = CHECKS[name]
    rig = fly(CHECK=check)
    rig.until(5)
    with pytest.raises(CommandRefused) as refused:
        rig.node.part(Commands).check(PusTc(10, 3, 130, 2, bytes((7, 1))).encode())
    assert refused.value.code == Failure.UNFINISHED and says in str(refused.value)
    heard = told(rig, monkeypatch)
    for seq in range(6):  # more than a task may fail
        order(rig, seq)
    rig.until(7)
    assert rig.node.part(Commands).counts.refused[Failure.UNFINISHED] == 6
    assert [one for one in heard if one[0].startswith("task_")] == []


def test_what_a_task_does_wrong_is_told_with_its_reason(
    fly: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = fly(STARTS=lambda context: context.scheduler.spawn("wolf.late", _emits_nothing_known(context)))
    heard = told(rig, monkeypatch)
    rig.until(3)
    says = "MisuseError: app wolf: emits event 'gone', which it has not declared, known: probed"
    assert ("task_failed", "wolf.late", says) in heard


def test_a_task_that_returns_at_once_is_told_and_one_that_has_waited_is_not(
    fly: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgets(task: Task) -> None:
        task.every(1.0)  # and goes through none of them

    async def waits(task: Task) -> None:
        await task.sleep(0.5)

    def starts(context: AppContext) -> None:
        context.scheduler.spawn("wolf.brief", forgets)
        context.scheduler.spawn("wolf.done", waits)

    rig = fly(STARTS=starts)
    heard = told(rig, monkeypatch)
    rig.until(3)
    assert [one for one in heard if one[0].startswith("task_")] == [("task_returned", "wolf.brief")]
    assert rig.node.scheduler.totals().failures == 0


def test_a_body_that_is_not_async_is_told(fly: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    rig = fly(TASK=lambda _task: None)
    heard = told(rig, monkeypatch)
    rig.until(3)
    says = "MisuseError: body of task wolf.work returns NoneType, should be an `async def` of one argument, the task"
    assert ("task_failed", "wolf.work", says) in heard


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda task: task.every(0.0), "task wolf.work: period of 0 s, should be more than 0"),
        (lambda task: task.first(()), "task wolf.work: waits for the first of 0 futures, should be 1 at least"),
    ],
)
def test_what_a_task_asks_of_time_that_cannot_be(
    fly: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch, ask: Any, says: str
) -> None:
    async def body(task: Task) -> None:
        asked = ask(task)
        if hasattr(asked, "__await__"):
            await asked

    rig = fly(TASK=body)
    heard = told(rig, monkeypatch)
    rig.until(3)
    assert ("task_failed", "wolf.work", f"MisuseError: {says}") in heard


def test_a_sampler_that_goes_wrong_later_is_set_aside_with_its_reason(
    fly: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = dict(SOUND)
    rig = fly(SAMPLE=lambda: values)
    rig.until(5)
    heard = told(rig, monkeypatch)
    values["level"] = 1000
    rig.until(8)
    says = "app wolf: housekeeping structure probe: its sample has level: 1000 is outside -128 .. 127"
    assert [one for one in heard if one[0] in ("task_failed", "hk_failed")] == [("hk_failed", "probe", says)]


def test_a_task_started_as_the_node_goes_down_is_refused_in_words(fly: Callable[..., Rig]) -> None:
    rig = fly()
    rig.node.scheduler.close()
    with pytest.raises(SetupError, match=r"task wolf.late not started: the scheduler is closed, the node is going"):
        rig.node.apps["wolf"].app.context.scheduler.spawn("wolf.late", _emits_nothing_known)  # type: ignore[attr-defined]
