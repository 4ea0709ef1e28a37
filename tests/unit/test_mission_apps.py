"""The apps of a mission: read, inherited and refused; whatever is wrong with one is a line that says which and why."""

from __future__ import annotations

import ast
import asyncio
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flight.catalogue import dictionary_of
from flight.contract.dictionary import Command, Declarations, EventDefinition, Report, Setting, Structure
from flight.contract.failures import FailureCode
from flight.contract.fields import ROWS_MAX, Field
from flight.core.config import key
from flight.mission import _TAKEN, MISSIONS, load
from flight.roster import ROSTER
from tests.unit.test_mission import GOOD, faults_of

HERE = __name__
ORBIT = (MISSIONS / "orbit.toml").as_posix()
MANAGER = "payloads.manager:InferenceManager"

Mission = Callable[..., Path]


class Sounding(FailureCode):
    NO_BOTTOM = 200, "no bottom"
    MINE = 1, "mine"  # which is the node's


@dataclass(frozen=True, slots=True)
class PlainConfig:
    lines: int = key(1, minimum=1)


class PlainApp:
    """As much of an app as a mission file looks at."""

    CONFIG: type[Any] = PlainConfig

    @staticmethod
    def declare(_apid: int, _config: Any) -> Declarations:
        return Declarations()

    def start(self) -> None: ...

    def close(self) -> None: ...


class OtherApp(PlainApp):
    """Another class, with the same section."""


class SoundApp(PlainApp):
    """Declares one of everything."""

    @staticmethod
    def declare(apid: int, _config: Any) -> Declarations:
        one = (Field("a", "u8"),)
        return Declarations(
            structures=(Structure(apid, 60, "sound", 1.0, one),),
            events=(EventDefinition(apid, 1, "sounded", "low", "{a}", one),),
            reports=(Report(apid, 130, 1, "soundings"),),
            commands=(Command("sound", apid, 130, 2, ""),),
            settings=(Setting(900, "sound_m", "m", 0.0, 0.0, 1.0, ""),),
            failures=(Sounding.NO_BOTTOM,),
        )


class EchoApp(SoundApp):
    """Another class that declares the same."""


class ClashesWithNode(PlainApp):
    @staticmethod
    def declare(apid: int, _config: Any) -> Declarations:
        return Declarations(
            structures=(Structure(apid, 2, "depth", 1.0, ()),),
            events=(EventDefinition(apid, 1, "boot", "low", ""),),
            commands=(Command("ping", apid, 130, 2, ""), Command("clash_enable_events", apid, 130, 3, "")),
        )


class NamesOddly(PlainApp):
    @staticmethod
    def declare(apid: int, _config: Any) -> Declarations:
        return Declarations(
            structures=(Structure(apid, 60, "st.a", 1.0, (Field("b c", "u8"),)),),
            events=(EventDefinition(apid, 1, "", "low", ""),),
            commands=(Command("go\nnow", apid, 130, 1, "", (Field("How", "u8"),)),),
        )


class TakesCodes(PlainApp):
    @staticmethod
    def declare(_apid: int, _config: Any) -> Declarations:
        return Declarations(failures=(Sounding.MINE,))


class NoConfig(PlainApp):
    CONFIG: Any = "a text"


class BadFaultsConfig(PlainApp):
    @dataclass(frozen=True, slots=True)
    class CONFIG:
        def faults(self) -> list[tuple[str, str]]:
            raise KeyError("never")


class Raising(type):
    def __getattr__(cls, name: str) -> Any:
        raise RuntimeError(f"{name} never")


class RaisesParts(metaclass=Raising):
    """Has none of them, and says so in its own way."""


class RaisingConfig:
    def __init__(self) -> None:
        self.asked = 0

    def __get__(self, _: object, __: type[Any]) -> Any:
        self.asked += 1
        if self.asked % 2 == 0:
            raise RuntimeError("config never")


class RaisesConfig(PlainApp):
    """Whose CONFIG is there when it is looked for, and not when it is read."""

    CONFIG: Any = RaisingConfig()


class Partial:
    CONFIG = PlainConfig

    def start(self) -> None: ...


class Raises(PlainApp):
    @staticmethod
    def declare(apid: int, _config: Any) -> Declarations:
        raise ZeroDivisionError(f"APID {apid}\nand more")


class Exits(PlainApp):
    @staticmethod
    def declare(_apid: int, _config: Any) -> Declarations:
        raise SystemExit("bye")


class Withdraws(PlainApp):
    @staticmethod
    def declare(_apid: int, _config: Any) -> Declarations:
        raise asyncio.CancelledError("by a library")  # not an Exception


class GivesNone(PlainApp):
    @staticmethod
    def declare(_apid: int, _config: Any) -> Any:
        return None


class GivesRubbish(PlainApp):
    @staticmethod
    def declare(_apid: int, _config: Any) -> Declarations:
        return Declarations(structures=(1, 2))  # type: ignore[arg-type] # no structures at all


class Malformed(PlainApp):
    @staticmethod
    def declare(apid: int, _config: Any) -> Declarations:
        return Declarations(commands=(Command("x", apid, 999, 1, ""),))


class Foreign(PlainApp):
    @staticmethod
    def declare(_apid: int, _config: Any) -> Declarations:
        return Declarations(structures=(Structure(1, 60, "x", 1.0, ()),), commands=(Command("y", 9, 130, 1, ""),))


class TooMuch(PlainApp):
    @staticmethod
    def declare(apid: int, _config: Any) -> Declarations:
        fields = tuple(Field(f"f{i}", "u8") for i in range(256))
        events = tuple(EventDefinition(apid, i, f"e{i}", "low", "") for i in range(ROWS_MAX + 1))
        return Declarations(
            structures=(Structure(apid, 256, "far", 1.0, ()), Structure(apid, 60, "wide", 1.0, fields)), events=events
        )


class Careless(PlainApp):
    """Declares what no node could fly with, or no ground read."""

    @staticmethod
    def declare(apid: int, _config: Any) -> Declarations:
        one = (Field("a", "u8"),)
        return Declarations(
            structures=(Structure(apid, 60, "often", 1e-9, one), Structure(apid, 61, "never", math.inf, one)),
            events=(EventDefinition(apid, 1, "odd", "low", "{b}", one), EventDefinition(apid, 2, "cut", "low", "{")),
            settings=(
                Setting(900, "over", "m", 2.0, 0.0, 1.0, ""),
                Setting(901, "under", "m", 0.5, 0.0, 1.0, "", below="nothing"),
                Setting(902, "self", "m", 0.5, 0.0, 1.0, "", below="self"),
            ),
        )


class NotUtf8(PlainApp):
    @staticmethod
    def declare(apid: int, _config: Any) -> Declarations:
        return Declarations(events=(EventDefinition(apid, 1, "odd", "low", "\ud800"),))


class NotFinite(PlainApp):
    @staticmethod
    def declare(apid: int, _config: Any) -> Declarations:
        return Declarations(commands=(Command("x", apid, 130, 1, "", (Field("a", "u8", minimum=math.nan),)),))


def app_text(name: str, app: str, apid: int = 2) -> str:
    """One `[[app]]`, of this file unless `app` names a module."""
    return f'[[app]]\nname = "{name}"\napp = "{app if ":" in app else f"{HERE}:{app}"}"\napid = {apid}\n'


@pytest.fixture
def mission(tmp_path: Path) -> Mission:
    def write(text: str, name: str = "mission.toml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_each_app_has_its_section_and_its_apid(mission: Mission) -> None:
    text = app_text("first", "PlainApp", 2) + app_text("second", "OtherApp", 7) + "[second]\nlines = 5\n"
    read = load(mission(GOOD + text))
    assert [(app.name, app.apid, app.kind, app.config) for app in read.apps] == [
        ("first", 2, PlainApp, PlainConfig(1)),
        ("second", 7, OtherApp, PlainConfig(5)),
    ]
    assert read.app(OtherApp) is read.apps[1]
    assert read.app(SoundApp) is None
    dictionary = dictionary_of(read)
    assert dictionary.apids == {"time": 0, "node": 1, "files": 3, "first": 2, "second": 7}
    switches = [command.name for command in dictionary.commands if command.apid == 7]
    assert switches == ["second_disable_events", "second_enable_events", "second_report_disabled_events"]


def test_what_apps_declare_is_in_the_dictionary(mission: Mission) -> None:
    dictionary = dictionary_of(load(mission(GOOD + app_text("sonar", "SoundApp"))))
    declared = SoundApp.declare(2, PlainConfig())
    assert set(declared.structures) <= set(dictionary.structures)
    assert set(declared.events) <= set(dictionary.events)
    assert set(declared.settings) <= set(dictionary.settings)
    assert dictionary.failures[200] == "no bottom"


# What stands behind a good mission, and the faults that must be said.
BAD: dict[str, tuple[str, list[str]]] = {
    "not a list": ("[app]\nname = 'x'\n", [":13: app: should be [[app]], a list of tables"]),
    "a number": ("", ["mission.toml:1: app: should be [[app]], a list of tables"]),
    "not a table": ("", ["mission.toml:1: app[0]: is 3, should be a table"]),
    "unknown key": (app_text("a", "PlainApp") + "kind = 1\n", [":17: app[0].kind: unknown key, known: apid, app"]),
    "keys missing": ("[[app]]\n", [
        ":13: app[0].name: is missing: the app's name, and that of its section",
        ':13: app[0].app: is missing: what it is, as "module:class"',
        ":13: app[0].apid: is missing: APID of its packets",
    ]),
    "of a wrong type": ("[[app]]\nname = 1\napp = 2\napid = 'x'\n", [
        ":14: app[0].name: is 1, should be a text", ":15: app[0].app: is 2, should be a text",
        ":16: app[0].apid: is 'x', should be a whole number",
    ]),
    "APID of the time": (app_text("a", "PlainApp", 0), [":16: app[0].apid: is 0, should be in 1 .. 2039"]),
    "APID of idle packets": (app_text("a", "PlainApp", 2047), [":16: app[0].apid: is 2047, should be in 1 .. 2039"]),
    "APID of the node": (app_text("a", "PlainApp", 1), [
        ":16: app[0].apid: is 1, as node_apid is; every app needs an APID of its own",
    ]),
    "APID of files": (app_text("a", "PlainApp", 3), [":16: app[0].apid: is 3, as file_apid is; every app needs"]),
    "one APID twice": (app_text("a", "PlainApp") + app_text("b", "OtherApp"), [
        ":20: app[1].apid: is 2, as app[0].apid is; every app needs an APID of its own",
    ]),
    "one name twice": (app_text("a", "PlainApp") + app_text("a", "OtherApp", 4) + "[a]\nlines = 0\n", [
        ":18: app[1].name: is 'a', as app[0].name is; every app needs a name of its own",
        ":22: a.lines: is 0, should be at least 1",
    ]),
    "name of a section": (app_text("power", "PlainApp"), [
        ":14: app[0].name: is 'power', which names a part of the node itself, should be another",
    ]),
    "name of a foreign section": (app_text("sim", "PlainApp"), [":14: app[0].name: is 'sim', which names a part of"]),
    "name of an APID": (app_text("files", "PlainApp"), [":14: app[0].name: is 'files', which names a part of"]),
    "name of rows": (app_text("command", "PlainApp"), [":14: app[0].name: is 'command', which names a part of the"]),
    "name of the base": (app_text("extends", "PlainApp"), [":14: app[0].name: is 'extends', which names a part of"]),
    "a name of two words": (app_text("my app", "PlainApp"), [
        ":14: app[0].name: is 'my app', should be a small letter, then small letters, digits and _, 32 in all at most",
    ]),
    "a dot in the name": (app_text("a.b", "PlainApp"), [":14: app[0].name: is 'a.b', should be a small letter, then"]),
    "a name that could be two": (app_text("a__b", "PlainApp"), [
        ":14: app[0].name: is 'a__b', should be a small letter, then small letters, digits and _, 32 in all at most",
    ]),
    "an empty name": (app_text("", "PlainApp"), [":14: app[0].name: is '', should be a small letter, then small"]),
    "a long name": (app_text("a" * 33, "PlainApp"), [":14: app[0].name: is 'aaa"]),
    "section of nobody": (app_text("a", "PlainApp") + "[aa]\nlines = 1\n", [":17: aa: unknown section, known: a, "]),
    "a section is not a table": ("", ["mission.toml:1: a: is 3, should be a table"]),
    "faults in sections": (app_text("a", "PlainApp") + app_text("b", "OtherApp", 4) + "[a]\nlines=0\n[b]\nline=1\n", [
        ":22: a.lines: is 0, should be at least 1", ":24: b.line: unknown key, did you mean lines?",
    ]),
    "a section besides a bad APID": (app_text("a", "PlainApp", 0) + "[a]\nlines = 0\n", [
        ":16: app[0].apid: is 0, should be in 1 .. 2039", ":18: a.lines: is 0, should be at least 1",
    ]),
    "unknown module": (app_text("a", "payloads.nothing:App"), [
        ":15: app[0].app: 'payloads.nothing:App' cannot be loaded: No module named 'payloads.nothing'; is it installed",
    ]),
    "unknown class": (app_text("a", "payloads.manager:Nothing"), [
        ":15: app[0].app: 'payloads.manager:Nothing' cannot be loaded: module 'payloads.manager' has no class Nothing",
    ]),
    "not a class": (app_text("a", "payloads.manager:pool_config"), [
        ":15: app[0].app: 'payloads.manager:pool_config' cannot be loaded: module 'payloads.manager' has no class pool",
    ]),
    "no class": (app_text("a", "payloads.manager:"), [":15: app[0].app: 'payloads.manager:' cannot be loaded, should"]),
    "no module": (app_text("a", ":App"), [":15: app[0].app: ':App' cannot be loaded, should be module:class"]),
    "relative module": (app_text("a", ".x:App"), [":15: app[0].app: '.x:App' cannot be loaded, should be module"]),
    "not an app": (app_text("a", "pathlib:Path"), [
        ":15: app[0].app: 'pathlib:Path' is not an app: it lacks CONFIG, declare, start, close",
    ]),
    "parts that raise": (app_text("a", "RaisesParts"), [
        "RaisesParts' is not an app: what it has raises RuntimeError: CONFIG never",
    ]),
    "a config that is not given": (app_text("a", "RaisesConfig"), [
        ":15: app[0].app: its CONFIG raises RuntimeError: config never",
    ]),
    "part of an app": (app_text("a", "Partial"), ["Partial' is not an app: it lacks declare, close"]),
    "no config": (app_text("a", "NoConfig"), [":15: app[0].app: its CONFIG is str, should be a dataclass"]),
    "a config that raises": (app_text("a", "BadFaultsConfig"), [
        ":15: app[0].app: its section [a] cannot be read with CONFIG: KeyError: 'never'",
    ]),
    "declare raises": (app_text("a", "Raises"), [":15: app[0].app: its declare raises ZeroDivisionError: APID 2 and"]),
    "declare raises what is not an Exception": (app_text("a", "Withdraws"), [
        ":15: app[0].app: its declare raises CancelledError: by a library",
    ]),
    "declare exits": (app_text("a", "Exits"), [":15: app[0].app: its declare raises SystemExit: bye"]),
    "declare gives nothing": (app_text("a", "GivesNone"), [
        ":15: app[0].app: its declare gives NoneType, should be Declarations",
    ]),
    "declare gives rubbish": (app_text("a", "GivesRubbish"), [
        ":15: app[0].app: declares structures[0] as int, should be a Structure",
        ":15: app[0].app: declares structures[1] as int, should be a Structure",
    ]),
    "declares what no packet holds": (app_text("a", "Malformed"), [
        "declares command x with service 999, should be a whole number in 0 .. 255",
    ]),
    "declares for others": (app_text("a", "Foreign"), [
        ":15: app[0].app: declares x under APID 1, should be 2, its own",
        ":15: app[0].app: declares y under APID 9, should be 2, its own",
    ]),
    "declares too much": (app_text("a", "TooMuch"), [
        ":15: app[0].app: declares structure far with id 256, ids from 256 on are the ground's",
        ":15: app[0].app: declares structure wide with 256 fields, 255 at most",
        ":15: app[0].app: declares 256 events, 255 at most",
    ]),
    "declares what cannot be flown": (app_text("a", "Careless"), [
        f":15: app[0].app: declares {what}"
        for what in ("structure often with period 1e-09 s, should be 0 for on request, or 0.1 .. 3600 s",
                     "structure never with period inf s, should be 0 for on request, or 0.1 .. 3600 s",
                     "event odd, its text cannot be made of its fields: KeyError: 'b'",
                     "event cut, its text cannot be made of its fields: ValueError: Single '{'",
                     "parameter over: 2 is outside 0 .. 1 m",
                     "parameter under, which should be below nothing, a parameter of the same owner",
                     "parameter self, which should be below self, a parameter of the same owner")
    ]),
    "declares text that is not UTF-8": (app_text("a", "NotUtf8"), [
        r"declares event odd with text '\ud800', which is not UTF-8",
    ]),
    "declares no number": (app_text("a", "NotFinite"), [
        "declares command x, field 'a' with minimum nan, should be a finite number",
    ]),
    "two that declare the same": (app_text("a", "SoundApp") + app_text("b", "EchoApp", 4), [
        f":19: app[1].app: app b declares {what}, as app a does"
        for what in ("structure sound", "structure id 60", "event sounded", "report soundings", "command sound",
                     "parameter sound_m", "parameter number 900", "failure code 200")
    ]),
    "the same, and a fault elsewhere": (app_text("a", "SoundApp") + app_text("b", "EchoApp", 4) + "[rubbish]\n", [
        ":21: rubbish: unknown section",
        *(f":19: app[1].app: app b declares {what}, as app a does"
          for what in ("structure sound", "structure id 60", "event sounded", "report soundings", "command sound",
                       "parameter sound_m", "parameter number 900", "failure code 200")),
    ]),
    "names that nobody can write": (app_text("a", "NamesOddly"), [
        f":15: app[0].app: declares {what}, should be a small letter, then"
        for what in ("structure 'st.a'", "event ''", r"command 'go\nnow'", "field of structure 'st.a' 'b c'",
                     r"argument of 'go\nnow' 'How'")
    ]),
    "a failure code of the node": (app_text("a", "TakesCodes"), [
        ":15: app[0].app: declares failure code 1 (mine), should be in 100 .. 65535",
    ]),
    "what the node declares": (app_text("clash", "ClashesWithNode"), [
        f":15: app[0].app: app clash declares {what}"
        for what in ("structure id 2, as the node does", "event boot, as the node does",
                     "command ping, as the node does",
                     "command clash_enable_events twice")
    ]),
}  # fmt: skip
INSTEAD = {
    "a number": "app = 3\n" + GOOD,
    "not a table": "app = [3]\n" + GOOD,
    "a section is not a table": "a = 3\n" + GOOD + app_text("a", "PlainApp"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_app_is_a_line_that_says_what_would_be_right(mission: Mission, name: str) -> None:
    text, right = BAD[name]
    found = faults_of(mission(INSTEAD.get(name, GOOD + text)))
    assert len(found) == len(right), found
    for says, fault in zip(right, found, strict=True):
        assert says in fault
        assert fault.startswith("mission.toml:")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("1 / 0", "its module raises ZeroDivisionError: division by zero"),
        ("raise SystemExit('bye')", "its module raises SystemExit: bye"),
        (
            "import nothing_of_this_name",
            "{name}.py imports 'nothing_of_this_name', which is not installed; is an extra such as [payload] missing?",
        ),
        ("def", "its module raises SyntaxError: "),
        ("raise RuntimeError('one\\ntwo')", "its module raises RuntimeError: one two"),
        ("raise ImportError('one\\ntwo')", "one two"),
        ("def __getattr__(name): raise ZeroDivisionError('late')", "its module raises ZeroDivisionError: late"),
        ("raise ImportError", "ImportError"),
        ("raise KeyError", "its module raises KeyError"),
    ],
)
def test_a_module_may_raise_anything(
    mission: Mission, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, says: str
) -> None:
    name = f"app_module_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(f"{body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    (fault,) = faults_of(mission(GOOD + app_text("a", f"{name}:App")))
    assert fault.startswith(f"mission.toml:15: app[0].app: '{name}:App' cannot be loaded: {says.format(name=name)}")


def test_the_keys_of_one_app_alone_are_no_keys_of_the_node(mission: Mission) -> None:
    text = GOOD.replace('name = "n"\n', 'name = "n"\napp = "x:Y"\napp_apid = 2\n', 1)
    assert faults_of(mission(text)) == [
        f"mission.toml:{line}: node.{name}: unknown key, apps are listed as [[app]], each with name, app and apid"
        for line, name in ((3, "app"), (4, "app_apid"))
    ]


def test_a_section_of_the_manager_is_read_with_its_own_dataclass(mission: Mission) -> None:
    text = app_text("payload", MANAGER) + (
        '[payload]\nworkers = 0\npattern = ["x"]\nnic = 1\n[[payload.energy]]\npriority = 0\nstop_soc_frac = 2\n'
    )
    assert [fault.partition("mission.toml:")[2] for fault in faults_of(mission(GOOD + text))] == [
        f"{line}: payload.{rest}"
        for line, rest in (
            (20, "nic: unknown key, did you mean nice?"),
            (18, "workers: is 0, should be in 1 .. 16"),
            (23, "energy[0].stop_soc_frac: is 2, should be in 0 .. 1"),
            (21, "energy[0].resume_soc_frac: is missing: state of charge from which they start again"),
        )
    ]
    text = app_text("payload", MANAGER) + '[payload]\npattern = ["x"]\nheat_resume_c = 99\n'
    assert [fault.partition(": payload.")[2] for fault in faults_of(mission(GOOD + text))] == [
        "pattern: names x, should be of the classes routine, tasked, alert",
        "heat_resume_c: is 99, should be below heat_stop_c 55",
    ]


# A mission that starts from another


def test_an_app_of_another_class_does_not_inherit_the_section_of_the_one_before(mission: Mission) -> None:
    head = f'extends = "{ORBIT}"\n'
    other = load(mission(head + app_text("payload", "PlainApp") + "[payload]\nlines = 7\n"))
    assert [app.config for app in other.apps] == [PlainConfig(7)]
    bare = load(mission(head + app_text("payload", "PlainApp")))
    assert [app.config for app in bare.apps] == [PlainConfig()]


def test_an_app_of_the_same_class_does(mission: Mission) -> None:
    (app,) = load(mission(f'extends = "{ORBIT}"\n[payload]\nworkers = 3\n')).apps
    assert (app.config.workers, app.config.queue_tiles) == (3, 24)
    again = load(mission(f'extends = "{ORBIT}"\n' + app_text("more", "PlainApp", 5) + app_text("payload", MANAGER, 9)))
    assert [(app.name, app.apid) for app in again.apps] == [("more", 5), ("payload", 9)]
    assert again.apps[1].config == load(ORBIT).apps[0].config


def test_the_section_goes_with_its_app(mission: Mission) -> None:
    assert load(mission(f'app = []\nextends = "{ORBIT}"\n')).apps == ()
    (app,) = load(mission(f'extends = "{ORBIT}"\n' + app_text("survey", "PlainApp"))).apps
    assert app.name == "survey"
    (fault,) = faults_of(mission(f'extends = "{ORBIT}"\napp = []\n[payload]\nworkers = 3\n'))
    assert "mission.toml:3: payload: unknown section, " in fault


def test_a_section_over_two_files_is_that_of_the_class_in_the_last(mission: Mission) -> None:
    mission(GOOD + app_text("a", "PlainApp") + "[a]\nlines = 2\n", "base.toml")
    mission('extends = "base.toml"\n' + app_text("a", "OtherApp") + "[a]\nlines = 3\n", "middle.toml")
    for app, lines in (("OtherApp", 3), ("PlainApp", 1)):
        (read,) = load(mission('extends = "middle.toml"\n' + app_text("a", app))).apps
        assert read.config == PlainConfig(lines)


def test_a_part_of_the_node_is_never_dropped_as_the_section_of_an_app(mission: Mission) -> None:
    mission(GOOD + app_text("power", "PlainApp"), "base.toml")
    assert load(mission('app = []\nextends = "base.toml"\n')).apps == ()


def test_no_app_can_have_the_name_of_a_services_rows() -> None:
    """Keys of the vault are constants of a service: what stands before their dot is in its row of the roster, and so it
    cannot be an app's name.
    """
    words = {word for row in ROSTER for word in row.vault_rows}
    found = {
        one.value.partition(".")[0]
        for path in sorted((MISSIONS.parent / "services").rglob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        for one in ast.walk(node.value)
        if isinstance(one, ast.Constant)
        and isinstance(one.value, str)
        and re.fullmatch(r"[a-z_]+\.[a-z_.]*", one.value)
    }
    assert {"command", "schedule", "time"} <= found <= words
    assert words <= _TAKEN
