"""mission.toml: the missions we ship load; a bad one gives all its faults at once, each with file, line and remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight.core.config import key
from flight.core.errors import OrbitnodeError
from flight.link.aos_stack import AosConfig
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import MISSIONS, MissionError, load
from flight.services.board.power import PowerConfig
from ground.config import GroundConfig
from payloads.manager import InferenceManager
from sim_hw.config import SimConfig
from sim_hw.spacecraft_run import run_faults

GOOD = """\
[node]
name = "n"
[[link]]
name = "l"
driver = "sim:l"
[drivers]
eps = "sim:eps"
board_thermometer = "sim:board"
radiator_thermometer = "sim:radiator"
[power]
start_mode = "safe"
mode = [{name = "safe", payload_w = 1, tile_s = 60}]
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def one(text: str | bytes, name: str = "mission.toml") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return one


def faults_of(path: Path, extra: dict[str, type[Any]] | None = None) -> list[str]:
    """The faults, the folder of the file cut off."""
    with pytest.raises(MissionError) as caught:
        load(path, extra)
    head, *lines = str(caught.value).split("\n  ")
    assert head == f"mission {path}: {len(lines)} fault{'s' * (len(lines) != 1)}"
    assert tuple(lines) == caught.value.faults
    return [line.replace(f"{path.parent}/", "") for line in lines]


def test_the_missions_we_ship() -> None:
    sections = {"sim": SimConfig, "ground": GroundConfig}
    orbit, bench = (load(MISSIONS / name, sections) for name in ("orbit.toml", "bench.toml"))
    assert [(app.name, app.apid, app.kind) for app in orbit.apps] == [("payload", 2, InferenceManager)]
    assert orbit.apps[0].config.worker_app[0].threads == 2
    assert [mode.name for mode in orbit.section(PowerConfig).mode] == ["safe", "eco", "nominal", "boost"]
    assert orbit.sections["sim"].world.power.array_peak_w == 30.0
    assert bench.node.name == "orbitnode-bench"
    assert bench.node.spacecraft_id == orbit.node.spacecraft_id == 0x1AB
    assert [link.driver for link in bench.links] == ["udp:127.0.0.1:10015:10018"]
    assert bench.drivers.imager == ""
    assert bench.section(PowerConfig) == orbit.section(PowerConfig)
    assert bench.sections["ground"].folder == "out/ground"


def test_a_small_mission_has_defaults_for_the_rest(write: Write) -> None:
    mission = load(write(GOOD))
    assert (mission.apps, dict(mission.sections)) == ((), {})
    assert mission.node.frame_octets == 1115
    assert mission.links[0].rate_bps == 256_000


def test_each_link_has_the_config_of_its_kind(write: Write) -> None:
    more = '[[link]]\nname = "x"\ndriver = "sim:x"\nkind = "aos"\ncoding = "rs(255,239)"\n[drivers]'
    text = GOOD.replace("[drivers]", "uplink_rate_bps = 4_000\nfop_window = 4\n" + more).replace(
        'name = "n"', 'name = "n"\nspacecraft_id = 5\nframe_octets = 1000'
    )
    radio, aos = load(write(text)).links
    assert radio.config == LinkConfig(spacecraft_id=5, frame_octets=1000, uplink_rate_bps=4_000, fop_window=4)
    assert aos.config == AosConfig(spacecraft_id=5, frame_octets=1000, coding="rs(255,239)")
    assert (radio.kind, aos.kind) == ("tm-tc", "aos")


# One edit of the good mission, and the faults that must be said.
BAD: dict[str, tuple[str, str, list[str]]] = {
    "unknown section": ('"n"\n', '"n"\n[powr]\nx = 1\n', [":3: powr: unknown section, did you mean power?"]),
    "unknown key": ('"n"\n', '"n"\nspacecraftid = 1\n',
                    ["mission.toml:3: node.spacecraftid: unknown key, did you mean spacecraft_id?"]),
    "key without a section": ("[node]", "speed = 1\n[node]", ["mission.toml:1: speed: unknown section, "]),
    "wrong type": ('name = "n"', "name = 5", ["mission.toml:2: node.name: is 5, should be a text"]),
    "out of range": ('"n"\n', '"n"\nframe_octets = 99\n', [":3: node.frame_octets: is 99, should be in 128 .. 2048"]),
    "missing key": ('eps = "sim:eps"\n', "", [':6: drivers.eps: is missing: electrical power system, such as "serial']),
    "missing section": ('[node]\nname = "n"\n', "", ["mission.toml:1: node: section [node] is missing"]),
    "name that makes no file": ('name = "n"', 'name = "../n"',
                                [":2: node.name: is '../n', should be letters, digits, - and _"]),
    "section is not a table": ('[node]\nname = "n"', "node = 3", [":1: node: is 3, should be a table"]),
    "contradiction": ('start_mode = "safe"', 'start_mode = "fast"',
                      [":11: power.start_mode: is 'fast', should be one of safe"]),
    "apids alike": ('"n"\n', '"n"\nfile_apid = 1\n', [":3: node.file_apid: is 1, as node_apid is; the two should"]),
    "no power mode": ('mode = [{name = "safe", payload_w = 1, tile_s = 60}]', "mode = []",
                      [":12: power.mode: is empty, at least one [[power.mode]] is needed"]),
    "in an inline table": ("payload_w = 1", "payload_w = -1", [":12: power.mode[0].payload_w: is -1, should be in 0"]),
    "unknown scheme": ('"sim:eps"', '"can:eps"',
                       [":7: drivers.eps: unknown eps driver 'can' in 'can:eps', known: serial:..., sim:..."]),
    "scheme alone": ('"sim:eps"', '"sim"', [":7: drivers.eps: unknown eps driver 'sim' in 'sim', known: serial:..."]),
    "empty driver": ('"sim:eps"', '""', [":7: drivers.eps: is empty, should be one of serial:..., sim:..."]),
    "unknown radio": ('"sim:l"', '"lora:1"', [":5: link[0].driver: unknown radio driver 'lora' in 'lora:1', known"]),
    "link twice": ("[drivers]", '[[link]]\nname = "l"\ndriver = "sim:m"\n[drivers]',
                   [":7: link[1].name: is 'l', as link[0].name is; every link needs a name of its own"]),
    "no link": ('[[link]]\nname = "l"\ndriver = "sim:l"\n', "", [":1: link: at least one [[link]] is needed, a list"]),
    "link is a table": ("[[link]]", "[link]", [":3: link: at least one [[link]] is needed, a list of tables"]),
    "link is a number": ('[[link]]\nname = "l"\ndriver = "sim:l"\n', "",
                         [":1: link: at least one [[link]] is needed"]),
    "links of numbers": ('[node]\nname = "n"\n[[link]]\nname = "l"\ndriver = "sim:l"\n',
                         'link = [\n1,\n2]\n[node]\nname = "n"\n',
                         [":2: link[0]: is 1, should be a table", ":3: link[1]: is 2, should be a table"]),
    "bad kind": ("[drivers]", 'kind = "laser"\n[drivers]',
                 [":6: link[0].kind: is 'laser', should be one of tm-tc, aos"]),
    "kind is a number": ("[drivers]", "kind = 3\n[drivers]", [":6: link[0].kind: is 3, should be a text"]),
    "unknown key of a link": ("[drivers]", "codin = 3\n[drivers]",
                              [":6: link[0].codin: unknown key, did you mean coding?"]),
    "what the node says": ("[drivers]", "frame_octets = 256\n[drivers]",
                           [":6: link[0].frame_octets: is a key of [node], not of a link"]),
    "key of another kind": ("[drivers]", 'kind = "aos"\nfarm_window = 20\nuplink_rate_bps = 9600\n[drivers]',
                            [':7: link[0].farm_window: is a key of links of kind "tm-tc", this one is of kind "aos"',
                             ':8: link[0].uplink_rate_bps: is a key of links of kind "tm-tc", this one is of kind']),
    "bounds of a kind": ("[drivers]", 'kind = "aos"\nvc_products = 63\n[drivers]',
                         [":7: link[0].vc_products: is 63, should be in 0 .. 62"]),
    "carries nothing": ("[drivers]", "carries = []\n[drivers]",
                        [":6: link[0].carries: is [], should name each role once, and at least one"]),
    "carries what is not": ("[drivers]", 'carries = ["products", "telemetry"]\n[drivers]',
                            [":6: link[0].carries[1]: is 'telemetry', should be one of realtime, playback, products"]),
    "a share of nothing": ("[drivers]", 'carries = ["realtime"]\nproducts_min_frac = 0.3\n[drivers]',
                           [":7: link[0].products_min_frac: is 0.3, should be 0 on a link that does not carry"]),
    "one modem twice": ("[drivers]", '[[link]]\nname = "m"\nkind = "aos"\ndriver = "sim:l"\n[drivers]',
                        [":9: link[1].driver: is 'sim:l', as link[0].driver is; every link needs its own modem"]),
    "one link twice": ("[drivers]", '[[link]]\nname = "l"\ndriver = "sim:l"\nkind = "aos"\nt1_s = 1\n[drivers]',
                       [':10: link[1].t1_s: is a key of links of kind "tm-tc", this one is of kind "aos"',
                        ":7: link[1].name: is 'l', as link[0].name is; every link needs a name of its own",
                        ":8: link[1].driver: is 'sim:l', as link[0].driver is; every link needs its own modem"]),
    "housekeeping too fast": ("[power]", "[housekeeping.period_s]\npower = 1e-12\n[power]",
                              [":11: housekeeping.period_s.power: is 1e-12, should be 0 for off, or 0.1 and more"]),
    "number too large": ('"n"\n', f'"n"\nframe_octets = {"9" * 400}\n', [":3: node.frame_octets: is a number of more"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_fault_says_where_and_what_would_be_right(write: Write, name: str) -> None:
    old, new, right = BAD[name]
    assert old in GOOD
    found = faults_of(write(GOOD.replace(old, new, 1)))
    assert len(found) == len(right), found
    for says, fault in zip(right, found, strict=True):
        assert says in fault
        assert fault.startswith("mission.toml:")


def test_all_faults_of_all_sections_are_said_at_once(write: Write) -> None:
    text = """\
[node]
nam = "n"
[[app]]
app = "nothing:App"
[[link]]
driver = "lora:x"
[[link]]
name = "b"
driver = "warp:1"
[[link]]
name = "b"
driver = "sim:b"
[drivers]
epsilon = 1
heater = "gpio:4"
[thermal]
heater_on_c = 9
heater_off_c = 8
board_warm_c = 80
[recorder]
sync_period_s = 0
[cfdp]
entity = 4
ground_entity = 4
[rubbish]
"""
    found = faults_of(write(text))
    expected = [
        (25, "rubbish", "unknown section"),
        (2, "node.nam", "did you mean name"),
        (1, "node.name", "is missing"),
        (13, "drivers.eps", "is missing"),
        (14, "drivers.epsilon", "unknown key"),
        (13, "drivers.board_thermometer", "is missing"),
        (13, "drivers.radiator_thermometer", "is missing"),
        (1, "power", "section [power] is missing"),
        (18, "thermal.heater_off_c", "is 8, should be above heater_on_c, which is 9"),
        (16, "thermal.board_hot_c", "is 65, should be above board_warm_c, which is 80"),
        (21, "recorder.sync_period_s", "is 0, should be in 0.1"),
        (24, "cfdp.ground_entity", "is 4 like entity"),
        (5, "link[0].name", "is missing"),
        (11, "link[2].name", "is 'b', as link[1].name is"),
        (3, "app[0].name", "is missing"),
        (3, "app[0].apid", "is missing"),
        (4, "app[0].app", "'nothing:App' cannot be loaded"),
        (15, "drivers.heater", "unknown heater driver 'gpio'"),
        (6, "link[0].driver", "unknown radio driver 'lora'"),
        (9, "link[1].driver", "unknown radio driver 'warp'"),
    ]
    for line, name, says in expected:
        matching = [fault for fault in found if fault.startswith(f"mission.toml:{line}: {name}: ")]
        assert len(matching) == 1 and says in matching[0], (line, name, found)
    assert len(found) == len(expected), found


def test_sections_of_others_are_read_where_their_owner_asks(write: Write) -> None:
    @dataclass(frozen=True, slots=True)
    class Sim:
        speed: float = key(1.0, minimum=1)

    path = write(GOOD + "[sim]\nspeed = 0\n[ground]\nfree = true\n")
    assert load(path).sections == {}
    assert faults_of(path, {"sim": Sim}) == ["mission.toml:14: sim.speed: is 0, should be at least 1"]
    assert load(write(GOOD), {"sim": Sim}).sections == {"sim": Sim()}


def test_a_base_mission_and_what_lies_over_it(write: Write) -> None:
    write(GOOD, "base.toml")
    path = write('extends = "base.toml"\n[node]\nspacecraft_id = 7\n[[link]]\nname = "other"\ndriver = "udp:h:1:2"\n')
    mission = load(path)
    assert (mission.node.name, mission.node.spacecraft_id) == ("n", 7)
    assert [link.name for link in mission.links] == ["other"]


def test_a_mission_of_ours_needs_no_copy_and_a_copy_goes_before_it(write: Write) -> None:
    path = write('extends = "bench.toml"\n[node]\nspacecraft_id = 7\n')
    mission = load(path)
    assert (mission.node.name, mission.node.spacecraft_id) == ("orbitnode-bench", 7)
    write(GOOD, "bench.toml")
    assert load(path).node.name == "n"


def test_a_mission_of_ours_is_found_by_its_name_alone(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(GOOD).parent)
    assert load("bench.toml").node.name == "orbitnode-bench"
    write(GOOD, "bench.toml")
    assert load("bench.toml").node.name == "n"
    with pytest.raises(OrbitnodeError, match=r"mission file nowhere.toml cannot be read: No such file or directory"):
        load("nowhere.toml")


def test_a_fault_is_placed_in_the_file_that_has_it(write: Write) -> None:
    write(GOOD.replace('"sim:eps"', '"can:eps"'), "base.toml")
    path = write('extends = "base.toml"\n[node]\nnam = 1\n[power]\nstart_mode = "none"\n')
    assert faults_of(path) == [
        "mission.toml:3: node.nam: unknown key, did you mean name?",
        "mission.toml:5: power.start_mode: is 'none', should be one of safe",
        "base.toml:7: drivers.eps: unknown eps driver 'can' in 'can:eps', known: serial:..., sim:...",
    ]


def test_what_an_array_lacks_is_missing_where_the_array_stands_not_in_the_one_it_replaced(write: Write) -> None:
    write(GOOD, "base.toml")
    path = write('extends = "base.toml"\n\n[[link]]\nname = "other"\n')
    assert faults_of(path) == ['mission.toml:3: link[0].driver: is missing: modem as "scheme:address"']


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[node\n", "mission.toml:1: not valid TOML: Expected ']' at the end of a table declaration (column 6)"),
        ("a = 1\na = 2\n", "mission.toml:2: not valid TOML: Cannot overwrite a value (column 6)"),
        ("\ufeff[node]\n", "mission.toml:1: not valid TOML: Invalid statement (column 1)"),
        ("a = 1\nb =\n\n", "mission.toml:2: not valid TOML: Invalid value (column 4)"),
        ("a = 1\nb = [1,\n\n", "mission.toml:2: not valid TOML: Invalid value (at the end of the file)"),
        ("a = " + "[" * 20_000, "mission.toml: not valid TOML: "),
        ("a = " + "9" * 5000, "mission.toml: not valid TOML: "),
        ("extends = 3\n", "mission.toml:1: extends: should be a file name"),
        ('\nextends = "none.toml"\n', "mission.toml:2: extends: none.toml cannot be read: No such file or directory"),
        ('extends = ""\n', "mission.toml:1: extends: "),
        ('extends = "\\u0000"\n', "mission.toml:1: extends: "),
        ('extends = "./orbit.toml"\n', "mission.toml:1: extends: orbit.toml cannot be read: No such file or directory"),
        ('extends = "mission.toml"\n', "mission.toml:1: extends: 'mission.toml' is more than 3 files away, do they"),
    ],
)  # fmt: skip
def test_what_keeps_a_file_from_being_read_is_one_fault(write: Write, text: str, says: str) -> None:
    found = faults_of(write(text))
    assert len(found) == 1
    assert says in found[0]


def test_a_circle_of_two(write: Write) -> None:
    write('extends = "mission.toml"\n', "other.toml")
    assert "do they extend each other in a circle?" in faults_of(write('extends = "other.toml"\n'))[0]


def test_a_base_that_is_not_toml_is_named(write: Write) -> None:
    write("[", "base.toml")
    assert faults_of(write('extends = "base.toml"\n'))[0].startswith("base.toml:1: not valid TOML: ")


def test_a_file_that_cannot_be_read_at_all(write: Write, tmp_path: Path) -> None:
    for path, says in (
        (tmp_path / "none.toml", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (write(b"name = '\xff'"), "it is not UTF-8 text"),
    ):
        with pytest.raises(OrbitnodeError, match=says) as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_mission_with_any_line_gone_or_garbled_loads_or_says_why(write: Write, data: st.DataObject) -> None:
    rows = (MISSIONS / "orbit.toml").read_text(encoding="utf-8").splitlines(keepends=True)
    at = data.draw(st.integers(0, len(rows) - 1))
    head, _, _ = rows[at].partition("=")
    garbage = data.draw(st.sampled_from(["", f"{head}= -1\n", f"{head}= []\n", f"{head}= 'x'\n", f"{head}= {{}}\n",
                                         "[node.name]\n", "[[power]]\n", "= 3\n"]))  # fmt: skip
    path = write("".join([*rows[:at], garbage, *rows[at + 1 :]]))
    try:
        load(path, {"sim": SimConfig})
    except MissionError as error:
        assert all(str(path) in fault for fault in error.faults)  # noqa: PT017 - either may come


# Faults that follow from several sections, from files and from the machine


MANY = """\
extends = "base.toml"
[node]
name = "n n"
[housekeeping.period_s]
powr = 5.0
thermal = 1e-9
commands = "often"
[storage]
total_octets = 1000
reserve_octets = 2026-01-01
[storage.quota]
nobody = 5
[commands]
queue = 0
refused_in = { saef = "ping", safe = "submit_jb set_power_mode" }
[[sequence]]
name = "one"
on_event = "nothing"
steps = [
  { command = "pingg" },
  { command = "set_power_mode", arguments = { mode = "none" } },
  { command = "set_power_mode", arguments = { mod = "safe" } },
  { command = "insert_activities" },
]
[[sequence]]
name = "one"
steps = [ { command = "ping", delay_s = -1 } ]
[executive]
cpus = [0, 0]
watchdog_s = 2026-01-01T00:00:00Z
starve_s = 07:32:00
[recorder]
[[recorder.store]]
name = "X"
[sim]
script = "nothing:x"
cpu_profile = "none.json"
bit_error_rate = 2
[sim.world.orbit]
start = 2026-01-01T00:00:00Z
[drivers]
eps = "serial:/dev/none"
"""


def test_faults_of_every_kind_come_at_once_each_with_its_line(write: Write) -> None:
    write(GOOD, "base.toml")
    path = write(MANY)
    with pytest.raises(MissionError) as caught:
        load(path, {"sim": SimConfig}, check=partial(run_faults, scripted=True))
    found = [line.replace(f"{path.parent}/", "") for line in caught.value.faults]
    expected = [
        (3, "node.name", "is 'n n', should be letters"),
        (5, "housekeeping.period_s.powr", "no structure powr, did you mean power?"),
        (6, "housekeeping.period_s.thermal", "is 1e-09, should be 0 for off, or 0.1 and more"),
        (7, "housekeeping.period_s.commands", "is 'often', should be a number"),
        (9, "storage.total_octets", "unknown key, known: capacity_octets"),
        (10, "storage.reserve_octets", "is 2026-01-01, a date or time of TOML's own, should be a whole number"),
        (12, "storage.quota.nobody", "unknown storage user, known: boot, files, recorder, security, transfers, vault"),
        (14, "commands.queue", "is 0, should be in 1 .. 1024"),
        (15, "commands.refused_in.saef", "no power mode saef, known: safe"),
        (15, "commands.refused_in.safe", "no command submit_jb, "),
        (15, "commands.refused_in.safe", "set_power_mode is urgent: it is admitted in every mode"),
        (18, "sequence[0].on_event", "no event 'nothing', "),
        (20, "sequence[0].steps[0].command", "unknown command 'pingg', did you mean ping?"),
        (21, "sequence[0].steps[1].arguments.mode", "set_power_mode: mode: 'none' is not one of safe"),
        (22, "sequence[0].steps[2].arguments.mod", "set_power_mode has no argument mod, known: mode"),
        (22, "sequence[0].steps[2].arguments.mode", "set_power_mode: argument mode is missing"),
        (23, "sequence[0].steps[3].command", "insert_activities holds commands itself and cannot be a step"),
        (26, "sequence[1].name", "is 'one' again, every sequence needs a name of its own"),
        (27, "sequence[1].steps[0].delay_s", "is -1, should be in 0 .. 604800"),
        (30, "executive.watchdog_s", "is 2026-01-01T00:00:00+00:00, a date or time of TOML's own, should be a number"),
        (31, "executive.starve_s", "is 07:32:00, a date or time of TOML's own, should be a number"),
        (34, "recorder.store[0].name", "is 'X', should be a small letter"),
        (36, "sim.script", "operator script 'nothing:x' cannot be loaded"),
        (37, "sim.cpu_profile", "none.json: No such file or directory"),
        (38, "sim.bit_error_rate", "is 2, should be in 0 .. 0.5"),
        (40, "sim.world.orbit.start", "a date or time of TOML's own, should be a text in quotes"),
        (42, "drivers.eps", "is 'serial:/dev/none', a real device; `orbitnode run` flies simulated ones"),
    ]
    for line, name, says in expected:
        matching = [one for one in found if one.startswith(f"mission.toml:{line}: {name}: ") and says in one]
        assert len(matching) == 1, (line, name, says, found)
    assert len(found) == len(expected), found


def test_what_an_app_that_cannot_be_asked_would_declare_is_not_said_to_be_missing(write: Write) -> None:
    text = (
        GOOD
        + """\
[[app]]
name = "a"
app = "nothing:A"
apid = 2
[housekeeping.period_s]
its_own = 5.0
[[sequence]]
name = "one"
on_event = "its_event"
steps = [ { command = "its_command" }, { command = "set_power_mode", arguments = { mode = "none" } } ]
"""
    )
    found = faults_of(write(text))
    assert [one.split(": ")[1] for one in found] == ["app[0].app", "sequence[0].steps[1].arguments.mode"], found


def test_a_default_stands_in_for_what_cannot_be_read_for_further_faults_alone(write: Write) -> None:
    text = GOOD + '[power.more]\n[commands]\nqueue = "x"\nrefused_in = { saef = "ping" }\n'
    found = faults_of(write(text))
    assert [one.split(": ")[1] for one in found] == ["power.more", "commands.queue", "commands.refused_in.saef"], found


def test_a_key_of_a_type_that_no_table_has_is_said_in_words(write: Write) -> None:
    @dataclass(frozen=True, slots=True)
    class Sim:
        speeds: list[int] = dataclass_field(default_factory=list)

    with pytest.raises(
        OrbitnodeError, match=r"key speeds is declared as list\[int\], should be of a type that a TOML table"
    ):
        load(write(GOOD + "[sim]\nspeeds = [1]\n"), {"sim": Sim})
