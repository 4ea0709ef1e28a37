"""Procedures as files: which function is meant, what is said of a file that cannot be run, and of one that fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flight.catalogue import dictionary_of
from flight.contract.dictionary import Dictionary, Setting
from flight.contract.fields import Field, Plain
from flight.core.errors import OrbitnodeError, SetupError
from flight.mission import MISSIONS, load
from ground.commands.arrivals import KEPT_MAX, NAMES_MAX, Arrivals
from ground.commands.commanding import CommandEncoder
from ground.exact_values import exact, jsonable_all, not_finite
from ground.operator import COMPLETED, CommandRecord, Operator
from ground.procedures import first_orbit, steps
from ground.procedures.procedure import fault_text, load_file, load_named, run_to_end
from ground.procedures.steps import ReportingOperator, Step
from tests.ground_dictionary import make

ONE = "async def checkout(operator): pass\n"
IMPORTS = "import asyncio, sys\nfrom ground.operator import ProcedureFailed\n"
# What raises is foreign code, and so is what says what was raised.
UNSPEAKABLE = "class Unspeakable(Exception):\n    def __str__(self):\n        raise ValueError\n"


class Clock:
    """An operator whose calls complete at once: its timeline is the count of them, every command is completed."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    @property
    def dictionary(self) -> Dictionary:
        return make()

    def now_s(self) -> float:
        return float(len(self.calls))

    async def send(self, command: str, **arguments: object) -> CommandRecord:
        self.calls.append(("send", command, arguments))
        if command == "none":
            raise OrbitnodeError("unknown command 'none'")
        return CommandRecord(1, command, {"n": 1}, 1, 2, outcome=COMPLETED)

    async def send_raw(self, command: str, **arguments: object) -> CommandRecord:
        self.calls.append(("send_raw", command, arguments))
        return CommandRecord(1, command, {}, 1, 2, outcome="rejected", reason="out of range", code=4)

    async def wait_for(self, what: str, timeout_s: float) -> Mapping[str, Plain] | None:
        self.calls.append(("wait_for", what, timeout_s))
        return {"soc": 0.5} if what == "power" else None

    async def wait_contact(self, timeout_s: float) -> bool:
        self.calls.append(("wait_contact", timeout_s))
        return timeout_s > 1

    async def sleep(self, s: float) -> None:
        self.calls.append(("sleep", s))


@pytest.fixture(autouse=True)
def paths(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder of a procedure's file joins the path of imports, for this test alone."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("orbitnode_procedure", None)


def written(folder: Path, text: str, name: str = "p.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "function", "name"),
    [
        (ONE, "", "checkout"),
        (ONE + "async def _part(operator): pass\ndef plain(operator): pass\nclass C: pass\n", "", "checkout"),
        (ONE + "async def two(a, b): pass\nasync def none(): pass\nasync def key(*, a): pass\n", "", "checkout"),
        (ONE + "async def other(operator): pass\nasync def procedure(operator): pass\n", "", "procedure"),
        (ONE + "async def other(operator): pass\n", "other", "other"),
        (ONE + "async def _part(operator): pass\n", "_part", "_part"),
        (ONE + "from ground.procedures.first_orbit import first_orbit\n", "", "checkout"),
        (ONE + "from ground.procedures.first_orbit import first_orbit\n", "first_orbit", "first_orbit"),
        ("async def checkout(operator, log=None): pass\n", "", "checkout"),
        (
            "from __future__ import annotations\nfrom dataclasses import dataclass\n"
            "@dataclass(slots=True)\nclass Log:\n    n: int = 0\n" + ONE, "", "checkout",
        ),
    ],
)  # fmt: skip
def test_which_function_is_meant(tmp_path: Path, text: str, function: str, name: str) -> None:
    path = written(tmp_path, text)
    made = load_file(f"{path}:{function}" if function else str(path))
    assert (made.name, made.file, made.body.__name__) == (name, str(path), name)


@pytest.mark.parametrize(
    ("text", "function", "said"),
    [
        ("", "", ": it has no `async def NAME(operator)`"),
        ("def checkout(operator): pass\n", "", ": it has no `async def NAME(operator)`"),
        (ONE + "async def other(operator): pass\n", "", ": it has checkout, other; name one, {path}:checkout"),
        (ONE, "chekout", " has no function 'chekout': it has checkout"),
        ("x = 1\n", "x", " cannot run 'x': it has no `async def NAME(operator)`"),
        ("async def two(a, b): pass\n", "two", " cannot run 'two': it has no `async def NAME(operator)`"),
    ],
)
def test_files_without_a_procedure(tmp_path: Path, text: str, function: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SetupError) as refused:
        load_file(f"{path}:{function}" if function else str(path))
    assert str(refused.value) == f"procedure file {path}{said.format(path=path)}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\nasync def p(operator:\n", ":2: not valid Python: '(' was never closed"),
        ("def p():\nx\n", ":2: not valid Python: expected an indented block after function definition on line 1"),
        ("\n\nimport nowhere\n", ":3: imports 'nowhere', which is not installed"),
        ("import sys\nsys.exit(3)\n", ":2: calls sys.exit: a procedure ends by return, and fails by ProcedureFailed"),
        ("x = 1 / 0\n", ":1: ZeroDivisionError: division by zero"),
        ("def f():\n    raise ValueError('a\\nb')\nf()\n", ":2: ValueError: a b"),
        ("raise GeneratorExit('x')\n", ":1: GeneratorExit: x"),
        (f"{UNSPEAKABLE}raise Unspeakable\n", ":4: Unspeakable"),
        ("open('/nowhere/x')\n", ":1: FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/x'"),
        (
            "from ground.operator import Nothing\n",
            ":1: ImportError: cannot import name 'Nothing' from 'ground.operator'",
        ),
    ],
)
def test_files_that_cannot_be_loaded_are_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SetupError) as refused:
        load_file(str(path))
    line = str(refused.value)
    assert line.startswith(f"{path}{said}") and "\n" not in line


def test_files_that_are_none(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none.py", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(SetupError, match=f"procedure file {path}: {said}"):
            load_file(str(path))
    for text in ("", ":checkout"):
        with pytest.raises(SetupError, match=f"procedure '{text}' does not name a file, should be FILE"):
            load_file(text)
    binary = tmp_path / "b.py"
    binary.write_bytes(b"\x00\xff\xfe")
    with pytest.raises(SetupError, match=r"b\.py.*: not valid Python: "):
        load_file(str(binary))


def test_a_name_with_a_colon_and_a_file_that_changes_and_one_beside_it(tmp_path: Path) -> None:
    path = written(tmp_path, ONE, "a:b")
    assert load_file(str(path)).name == "checkout"
    assert load_file(f"{path}:checkout").name == "checkout"
    for value in (1, 2):  # of the same length, within the same second: no compiled copy is taken for it
        assert load_file(str(written(tmp_path, f"N = {value}\n{ONE}"))).body.__globals__["N"] == value
    written(tmp_path, "LIMIT = 5\n", "limits_beside_it.py")
    made = load_file(str(written(tmp_path, f"from limits_beside_it import LIMIT\n{ONE}")))
    assert made.body.__globals__["LIMIT"] == 5
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_file()) == ["a:b", "limits_beside_it.py", "p.py"]


def test_named_procedures() -> None:
    made = load_named("ground.procedures.first_orbit:first_orbit")
    assert (made.name, made.file, made.body) == ("first_orbit", first_orbit.__file__, first_orbit.first_orbit)
    for text, said in (
        ("nowhere:f", "No module named 'nowhere'"),
        ("", "should be module:function"),
        ("ground.operator:f", "module 'ground.operator' has no function 'f'"),
        ("ground.operator", "should be module:function"),
        ("nowhere", "should be module:function"),
        ("flight.core.nanoseconds:ns", "not `async def ns"),
    ):
        with pytest.raises(SetupError, match=f"operator script '{text}' cannot be loaded: .*{said}"):
            load_named(text)


def test_a_named_procedure_whose_import_is_missing_is_not_called_missing_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script_with_flght.py").write_text("import flght\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SetupError) as refused:
        load_named("script_with_flght:f")
    assert str(refused.value) == (
        "operator script 'script_with_flght:f' cannot be loaded: "
        "script_with_flght.py imports 'flght', which is not installed"
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return", ""),
        ("await operator.sleep(1)", ""),
        ("raise ProcedureFailed('charge 0.1 is below 0.3')", ":5: charge 0.1 is below 0.3"),
        ("raise ProcedureFailed", ":5: ProcedureFailed"),
        ("x = 1\n    assert x == 2, f'x is {x}'", ":6: AssertionError: x is 1"),
        ("x = 1\n    assert x == 2", ":6: does not hold: assert x == 2"),
        ("await operator.send('none')", ":5: unknown command 'none'"),
        ("await operator.wait('x')", ":5: AttributeError: an operator has no 'wait', it has dictionary, now_s, send, "),
        ("{}['x']", ":5: KeyError: 'x'"),
        (
            "(await operator.wait_for('power', 1))['nonsense']",
            ":5: power has no field 'nonsense', known: soc",
        ),
        ("assert (await operator.wait_for('power', 1)).get('nonsense') is None", ""),
        ("try:\n        (await operator.wait_for('power', 1))['x']\n    except KeyError:\n        pass", ""),
        ("import nowhere", ":5: imports 'nowhere', which is not installed"),
        ("list()['x']", ":5: TypeError: list indices must be integers or slices, not str"),
        ("sys.exit(0)", ":5: calls sys.exit: a procedure ends by return, and fails by ProcedureFailed"),
        ("await asyncio.sleep(1)", ":5: no running event loop: a procedure awaits only its operator's calls"),
        ("await asyncio.sleep(0)", ":5: TypeError: a procedure awaits only its operator's calls: operator.sleep"),
        (
            "try:\n        await asyncio.sleep(0)\n    except TypeError:\n        await asyncio.sleep(0)",
            ": a procedure awaits only its operator's calls",
        ),
        ("part()", ":3: ZeroDivisionError: division by zero"),
        ("raise asyncio.CancelledError('x')", ":5: CancelledError: x"),
        (f"{UNSPEAKABLE}raise Unspeakable".replace("\n", "\n    "), ":8: Unspeakable"),
    ],
)
def test_how_a_procedure_ends(tmp_path: Path, body: str, said: str) -> None:
    text = f"{IMPORTS}def part(): 1 / 0\nasync def p(operator):\n    {body}\n"
    path = written(tmp_path, text)
    line = run_to_end(load_file(str(path)), Clock())
    assert (line.startswith(f"{path}{said}") if said else line == "") and "\n" not in line


def test_ctrl_c_goes_through_a_procedure_and_its_clean_up(tmp_path: Path) -> None:
    text = "async def p(operator):\n    try:\n        raise KeyboardInterrupt\n    finally:\n"
    procedure = load_file(str(written(tmp_path, text + "        await operator.send('off')\n")))
    operator = Clock()
    with pytest.raises(KeyboardInterrupt):
        run_to_end(procedure, operator)
    assert operator.calls == [("send", "off", {})]


def test_a_fault_without_a_place() -> None:
    assert fault_text(ValueError("x"), "") == "ValueError: x"
    assert fault_text(ValueError(), "p.py") == "p.py: ValueError"


def test_each_call_is_passed_on_and_told_as_it_begins_and_ends() -> None:
    told: list[Step] = []
    below = Clock()
    operator: Operator = ReportingOperator(below, told.append)
    results: list[Any] = []

    async def body() -> None:
        results.append((await operator.send("ping", n=1)).outcome)
        results.append((await operator.send_raw("set", n=2)).outcome)
        results.append(await operator.wait_for("power", 3.0))
        results.append(await operator.wait_for("event", 3.0))
        results.append(await operator.wait_contact(9.0))
        results.append(await operator.wait_contact(1.0))
        results.append(await operator.wait_contact(0.0))
        await operator.sleep(2.0)
        await operator.send("none")

    with pytest.raises(OrbitnodeError):
        body().send(None)
    assert results == [COMPLETED, "rejected", {"soc": 0.5}, None, True, False, False]
    assert [call[0] for call in below.calls] == [
        "send", "send_raw", "wait_for", "wait_for", "wait_contact", "wait_contact", "wait_contact", "sleep", "send",
    ]  # fmt: skip
    assert below.calls[0] == ("send", "ping", {"n": 1})
    begun, ended = told[::2], told[1::2]
    assert all(step.outcome == "" and step.took_s == 0.0 for step in begun) and len(begun) == len(ended) == 8
    assert [(step.kind, step.name, step.began_s) for step in begun] == [(s.kind, s.name, s.began_s) for s in ended]
    assert all(step.took_s == 1.0 for step in ended)
    assert [(step.kind, step.name, step.outcome, step.reason, step.code) for step in ended] == [
        (steps.SEND, "ping", COMPLETED, "", None),
        (steps.SEND_RAW, "set", "rejected", "out of range", 4),
        (steps.WAIT_FOR, "power", steps.CAME, "", None),
        (steps.WAIT_FOR, "event", steps.NONE_CAME, "", None),
        (steps.WAIT_CONTACT, "", steps.CONTACT, "", None),
        (steps.WAIT_CONTACT, "", steps.NO_CONTACT, "", None),
        (steps.SLEEP, "", steps.SLEPT, "", None),
        (steps.SEND, "none", steps.NOT_DONE, "unknown command 'none'", None),
    ]
    assert [dict(step.values) for step in ended[:4]] == [{"n": 1}, {}, {"soc": 0.5}, {}]
    assert isinstance(operator, ReportingOperator) and operator.commands == 2


def test_arrivals_are_bounded_and_say_when_there_is_no_room() -> None:
    arrivals = Arrivals()
    assert [arrivals.add("a", {"n": number}) for number in range(KEPT_MAX + 2)] == [True] * KEPT_MAX + [False] * 2
    assert [arrivals.add(f"n{number}", {}) for number in range(NAMES_MAX)] == [True] * (NAMES_MAX - 1) + [False]
    assert arrivals.take("a") == {"n": 2}
    assert arrivals.has(f"n{NAMES_MAX - 2}") and not arrivals.has(f"n{NAMES_MAX - 1}")
    arrivals.clear()
    assert not arrivals.has("a") and arrivals.take("a") is None


def test_values_survive_json() -> None:
    values: dict[str, Plain] = {"a": 1, "b": "nan", "c": float("inf"), "d": -0.5}
    assert jsonable_all(values) == {"a": 1, "b": "nan", "c": "inf", "d": -0.5} and not_finite(values) == ["c"]
    assert exact(jsonable_all(values), ["c"]) == values


# A call that nobody awaits


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("operator.send('ping')", "line 4: operator.send('ping') was never awaited: `await operator....` carries it"),
        ("operator.sleep(5.0)", "line 4: operator.sleep was never awaited"),
        ("record = operator.send_raw('ping')", "line 4: operator.send_raw('ping') was never awaited"),
        ("operator.wait_contact(1.0)\n    operator.wait_for('power', 1.0)", "line 4: operator.wait_contact was never "),
        ("for _ in range(3): operator.send('ping')", "was never awaited, nor were 2 other calls: `await "),
        ("for _ in range(100_000): operator.send('ping')", "was never awaited, nor were 999 other calls: `await "),
        (
            "operator.send('ping').outcome",
            "no attribute 'outcome'; is an `await` missing before the call that",
        ),
    ],
)
def test_a_forgotten_await_is_a_failure_with_its_line(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, body: str, says: str
) -> None:
    clock = Clock()
    fault = run_to_end(load_file(str(written(tmp_path, f"{IMPORTS}async def p(operator):\n    {body}\n"))), clock)
    assert says in fault and fault.startswith(str(tmp_path)), fault
    assert clock.calls == []
    if "outcome" not in body:  # one that raises in between is Python's own to warn of
        assert not list(recwarn), "what is told is not warned of besides"


@pytest.mark.parametrize("wait", ["'5'", "None", "float('nan')", "float('inf')", "1e300", "10**400"])
@pytest.mark.parametrize("call", ["sleep({})", "wait_contact({})", "wait_for('pong', {})"])
def test_a_wait_that_no_clock_can_keep_is_refused_in_words(tmp_path: Path, call: str, wait: str) -> None:
    path = written(tmp_path, f"{IMPORTS}async def p(operator):\n    await operator.{call.format(wait)}\n")
    fault = run_to_end(load_file(str(path)), Clock())
    name = call.partition("(")[0]
    assert fault.startswith(f"{path}:") and f": operator.{name}: " in fault, fault
    assert fault.endswith(" should be a number of seconds, 3.2e+09 at most"), fault


def test_a_call_that_is_awaited_later_is_no_failure(tmp_path: Path) -> None:
    lines = ("call = operator.send('ping')", "await operator.sleep(0)", "await call")
    text = f"{IMPORTS}async def p(operator):\n" + "".join(f"    {line}\n" for line in lines)
    clock = Clock()
    assert run_to_end(load_file(str(written(tmp_path, text))), clock) == ""
    assert [one[0] for one in clock.calls] == ["sleep", "send"]


def test_a_coroutine_of_the_file_that_is_left_alone_is_seen_before_it_runs(tmp_path: Path) -> None:
    text = (
        "async def part(operator): pass\nasync def procedure(operator):\n    await part(operator)\n    part(operator)\n"
    )
    path = written(tmp_path, text)
    with pytest.raises(SetupError) as refused:
        load_file(str(path))
    assert str(refused.value) == f"{path}:4: part(...) is never awaited, should be `await part(...)`"


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from beside_it import part", "part"),
        ("from beside_it import part as piece", "piece"),
        ("import beside_it", "beside_it.part"),
    ],
)
def test_a_coroutine_that_the_file_imports_and_leaves_alone_is_seen_before_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imports: str, call: str
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "beside_it", raising=False)
    (tmp_path / "beside_it.py").write_text("async def part(operator): pass\ndef whole(operator): pass\n")
    good = f"{imports}\nasync def procedure(operator):\n    print(operator)\n    await {call}(operator)\n"
    load_file(str(written(tmp_path, good)))
    path = written(tmp_path, good + f"    {call}(operator)\n")
    with pytest.raises(SetupError) as refused:
        load_file(str(path))
    assert str(refused.value) == f"{path}:5: {call}(...) is never awaited, should be `await {call}(...)`"
    sys.modules.pop("beside_it", None)


# The default script asks the dictionary what there is


class Answering(Clock):
    """Whose dictionary is given, and whose commands are held against it, as a ground does. In contact twice."""

    def __init__(self, dictionary: Dictionary, mode: str = "") -> None:
        super().__init__()
        self.given = dictionary
        self.mode = mode
        self.commands: list[tuple[str, Mapping[str, Any]]] = []
        self.contacts = [True, True]

    @property
    def dictionary(self) -> Dictionary:
        return self.given

    async def send(self, command: str, **arguments: object) -> CommandRecord:
        CommandEncoder(self.given).encode(command, arguments)
        self.commands.append((command, arguments))
        return CommandRecord(1, command, {}, 1, 2, outcome=COMPLETED)

    async def send_raw(self, command: str, **arguments: object) -> CommandRecord:
        encoder = CommandEncoder(self.given)
        with pytest.raises(OrbitnodeError):
            encoder.encode(command, arguments)
        encoder.encode(command, arguments, raw=True)
        self.commands.append((f"{command} (raw)", arguments))
        return CommandRecord(1, command, {}, 1, 2, outcome="rejected", code=4)

    async def wait_for(self, what: str, timeout_s: float) -> Mapping[str, Plain] | None:
        assert timeout_s > 5
        return {"mode": self.mode} if what == "power" else None

    async def wait_contact(self, timeout_s: float) -> bool:
        self.calls.append(("wait_contact", timeout_s))
        if timeout_s:
            return bool(self.contacts and self.contacts.pop())
        return len(self.calls) % 100 != 0


def scripted(dictionary: Dictionary, mode: str = "") -> tuple[list[tuple[str, Mapping[str, Any]]], list[str]]:
    """The commands that the default script gives, and what surprised it."""
    operator, log = Answering(dictionary, mode), first_orbit.ScriptLog()
    with pytest.raises(StopIteration):
        first_orbit.first_orbit(operator, log).send(None)
    return operator.commands, log.surprises


def test_the_default_script_of_the_orbit_mission_is_as_it_was() -> None:
    commands, surprises = scripted(dictionary_of(load(MISSIONS / "orbit.toml")))
    assert surprises == ["list_jobs: no waiting job is listed"]
    assert [name for name, _ in commands[:13]] == [
        "ping", "set_hk_period", "report_parameters", "set_parameters", "set_parameters (raw)", "submit_job",
        "submit_job", "list_jobs", "payload_power", "payload_power", "set_power_mode", "set_power_mode", "ping",
    ]  # fmt: skip
    given = dict(commands[:5])
    assert given["set_hk_period"] == {"structures": {"power": 5.0}}
    assert given["set_parameters"] == {"parameters": {"soc_safe_frac": 0.55}}
    assert given["set_parameters (raw)"] == {"parameters": {"soc_safe_frac": 7.0}}
    assert [one["mode"] for name, one in commands[:13] if name == "set_power_mode"] == ["eco", "nominal"]
    assert [name for name, _ in commands[13:]] == ["ping", "report_parameters", "list_jobs"]


def test_without_the_payload_there_are_no_jobs() -> None:
    whole = dictionary_of(load(MISSIONS / "orbit.toml"))
    bare = replace(whole, commands=tuple(c for c in whole.commands if c.apid == 1),
                   reports=tuple(r for r in whole.reports if r.apid == 1))  # fmt: skip
    commands, surprises = scripted(bare)
    assert surprises == [] and not {"submit_job", "list_jobs"} & {name for name, _ in commands}
    assert commands[-1][0] == "report_parameters"


def test_other_jobs_of_the_same_name_are_left_alone() -> None:
    whole = dictionary_of(load(MISSIONS / "orbit.toml"))
    other = replace(whole.command("submit_job"), arguments=(Field("area_km2", "f32"),))
    changed = replace(whole, commands=tuple(other if c.name == "submit_job" else c for c in whole.commands))
    assert "submit_job" not in {name for name, _ in scripted(changed)[0]}


@pytest.mark.parametrize(
    ("modes", "present", "commanded"),
    [
        (("safe", "idle", "busy"), "idle", ["busy", "idle"]),
        (("safe", "idle", "busy"), "busy", ["idle", "busy"]),
        (("low", "high"), "high", ["low", "high"]),
        (("only",), "only", ["only", "only"]),
        (("safe", "nominal", "eco"), "safe", ["eco", "nominal"]),
    ],
)
def test_other_modes_are_those_of_the_mission(modes: tuple[str, ...], present: str, commanded: list[str]) -> None:
    whole = dictionary_of(load(MISSIONS / "orbit.toml"))
    labelled = Field("mode", "u8", labels=modes)
    command = replace(whole.command("set_power_mode"), arguments=(labelled,))
    power = next(s for s in whole.structures if s.name == "power")
    fields = tuple(labelled if f.name == "mode" else f for f in power.fields)
    changed = replace(
        whole,
        commands=tuple(command if c.name == command.name else c for c in whole.commands),
        structures=tuple(replace(s, fields=fields) if s is power else s for s in whole.structures),
    )
    commands, _ = scripted(changed, present)
    assert [one["mode"] for name, one in commands if name == "set_power_mode"] == commanded


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((), []),
        ((Setting(5, "gain", "", 2.0, 1.0, 9.0, ""),), [{"gain": 2.0}, {"gain": 19.0}]),
        ((Setting(5, "gain", "", 0.5, 0.0, 1.0, ""),), [{"gain": 0.55}, {"gain": 7.0}]),
        ((Setting(5, "gain", "", 3, 0, 50, "", type="u8"),), [{"gain": 3}, {"gain": 101}]),
        ((Setting(1, "soc_safe_frac", "", 0.2, 0.0, 1.0, "", below="high"), Setting(2, "high", "", 0.4, 0.0, 1.0, "")),
         [{"soc_safe_frac": 0.2}, {"soc_safe_frac": 7.0}]),
    ],
)  # fmt: skip
def test_other_parameters_are_set_to_what_they_may_be(settings: tuple[Setting, ...], said: list[Any]) -> None:
    whole = replace(dictionary_of(load(MISSIONS / "orbit.toml")), settings=settings)
    commands, _ = scripted(whole)
    assert [one["parameters"] for name, one in commands if name.startswith("set_parameters")] == said


def test_a_dictionary_with_nothing_in_it_is_watched_all_the_same() -> None:
    whole = dictionary_of(load(MISSIONS / "orbit.toml"))
    assert scripted(replace(whole, commands=(), structures=(), settings=(), reports=())) == ([], [])
