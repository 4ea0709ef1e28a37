"""The documentation against the code: keys of mission.toml and summary.json, links, decisions, commands."""

from __future__ import annotations

import ast
import dataclasses
import re
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flight.catalogue import dictionary_of
from flight.contract.dictionary import SEVERITIES
from flight.contract.fields import TYPES, Field
from flight.contract.sections import NODE_KEYS, AppSection, DriverConfig, LinkSection, NodeConfig
from flight.core.config import Fault, read_table
from flight.core.executive_section import ExecutiveConfig
from flight.link.cfdp.transfers import CfdpConfig
from flight.link.kinds import LINK_KINDS
from flight.link.stack import LinkConfig
from flight.mission import _SECTIONS, MISSIONS, load
from flight.services.automation.event_action import EventActionConfig
from flight.services.automation.schedule_declarations import ScheduleConfig
from flight.services.automation.sequence_declarations import SequenceConfig, SequencingConfig, StepConfig
from flight.services.board.power import ModeConfig
from flight.services.board.power import PowerConfig as NodePowerConfig
from flight.services.board.thermal import ThermalConfig as NodeThermalConfig
from flight.services.commanding.commands import CommandsConfig
from flight.services.files.outbox import OutboxConfig
from flight.services.files.uploads import UploadsConfig
from flight.services.recorder.packet_store import StoreConfig
from flight.services.recorder.recorder import RecorderConfig
from flight.services.reporting.event_gate import EventsConfig
from flight.services.reporting.housekeeping import HousekeepingConfig
from flight.services.time.clock import TimeConfig
from flight.store.quota import StorageConfig
from ground.config import GroundConfig
from hal.kinds import KINDS as DEVICE_KINDS
from payloads.config import EnergyRule, PayloadConfig, TrafficClass, WorkerAppConfig
from payloads.jobs import DELAYS, DROPS
from sim_hw.config import SimConfig
from sim_hw.machine.faults import KINDS
from sim_hw.report.summary import machine
from sim_hw.world.orbit import OrbitConfig, StationConfig
from sim_hw.world.power import PowerConfig
from sim_hw.world.thermal import ThermalConfig
from sim_hw.world.world import WorldConfig

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
ADRS = sorted((DOCS / "adr").glob("[0-9]*.md"))

# Heading in docs/guides/mission.md -> the dataclass that reads the table.
SECTIONS: dict[str, type[Any]] = {
    "[node]": NodeConfig,
    "[[app]]": AppSection,
    "[drivers]": DriverConfig,
    "[commands]": CommandsConfig,
    "[executive]": ExecutiveConfig,
    "[time]": TimeConfig,
    "[power]": NodePowerConfig,
    "[[power.mode]]": ModeConfig,
    "[thermal]": NodeThermalConfig,
    "[recorder]": RecorderConfig,
    "[[recorder.store]]": StoreConfig,
    "[storage]": StorageConfig,
    "[housekeeping]": HousekeepingConfig,
    "[events]": EventsConfig,
    "[schedule]": ScheduleConfig,
    "[sequencing]": SequencingConfig,
    "[[sequence]]": SequenceConfig,
    "[[sequence.steps]]": StepConfig,
    "[event_action]": EventActionConfig,
    "[outbox]": OutboxConfig,
    "[uploads]": UploadsConfig,
    "[payload]": PayloadConfig,
    "[[payload.worker_app]]": WorkerAppConfig,
    "[[payload.traffic]]": TrafficClass,
    "[[payload.energy]]": EnergyRule,
    "[ground]": GroundConfig,
    "[sim]": SimConfig,
    "[sim.world]": WorldConfig,
    "[sim.world.orbit]": OrbitConfig,
    "[[sim.world.stations]]": StationConfig,
    "[sim.world.power]": PowerConfig,
    "[sim.world.thermal]": ThermalConfig,
}
_TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false",
          object: "value"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Row:
    """One key as the guide's table shows it. `text` is empty where the code says nothing about the key."""

    key: str
    type: str
    default: str
    bounds: str
    text: str

    @property
    def line(self) -> str:
        return f"| `{self.key}` | {self.type} | {self.default} | {self.bounds} | {self.text} |"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def rows_of(kind: type[Any]) -> list[Row]:
    """The rows that the dataclass `kind` asks for."""
    hints = typing.get_type_hints(kind)
    return [
        Row(
            one.name,
            type_text(hints[one.name]),
            default_text(one, hints[one.name]),
            bounds_text(one.metadata),
            one.metadata.get("text", ""),
        )
        for one in dataclasses.fields(kind)
        if one.init
    ]


def link_tables() -> dict[str, list[Row]]:
    """Of `[[link]]`: the keys that are the same for every kind, and under a heading for each kind all others."""
    rows = {
        name: [row for row in rows_of(kind.config) if row.key not in NODE_KEYS] for name, kind in LINK_KINDS.items()
    }
    common = [row for row in rows[LinkConfig.kind] if all(row in others for others in rows.values())]
    section = [row for row in rows_of(LinkSection) if row.key != "config"]
    kinds = {f'[[link]] kind = "{name}"': [row for row in own if row not in common] for name, own in rows.items()}
    return {"[[link]]": section + common} | kinds


def type_text(hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return "table"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return "list of tables" if dataclasses.is_dataclass(arguments[0]) else f"list of {_TYPES[arguments[0]]}s"
    if origin is not None:
        return f"table of {_TYPES[arguments[1]]}s"
    return _TYPES[hint]


def default_text(one: dataclasses.Field[Any], hint: Any) -> str:
    if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
        return "required"
    if dataclasses.is_dataclass(hint) or isinstance(one.default, tuple) or typing.get_origin(hint) is not None:
        return "empty" if one.default is dataclasses.MISSING else "below"
    if isinstance(one.default, bool):
        return str(one.default).lower()
    if isinstance(one.default, str):
        return f'`"{one.default}"`'
    return f"{one.default:.10g}"


def bounds_text(metadata: Mapping[str, Any]) -> str:
    if metadata.get("choices"):
        return ", ".join(f"`{one}`" for one in metadata["choices"])
    low, high = metadata.get("minimum"), metadata.get("maximum")
    if low is None and high is None:
        return "-"
    return " .. ".join("" if one is None else f"{one:.16g}" for one in (low, high))


ROWS = {section: rows_of(kind) for section, kind in SECTIONS.items()} | link_tables()


def tables(page: Path) -> dict[str, list[list[str]]]:
    """The cells of the tables under each heading that names a thing in backquotes."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in read(page).splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip("`")
        elif line.startswith("| `"):
            found.setdefault(heading, []).append([cell.strip() for cell in line.strip("| ").split(" | ")])
    return found


@pytest.mark.parametrize("section", ROWS)
def test_mission_guide_has_every_key_as_it_is(section: str) -> None:
    """What to do: put the line that the message shows into docs/guides/mission.md."""
    written = {cells[0].strip("`"): cells for cells in tables(DOCS / "guides" / "mission.md").get(section, [])}
    rows = ROWS[section]
    assert set(written) == {row.key for row in rows}, f"{section}: keys differ from the code's"
    for row in rows:
        cells = written[row.key]
        assert len(cells) == 5, cells
        right = [f"`{row.key}`", row.type, row.default, row.bounds, row.text or cells[4]]
        assert cells == right, f"{section}: should be {row.line}"
        assert cells[4], f"{section}: {row.key} has no meaning in the guide"


@pytest.mark.parametrize(
    ("kind", "table", "key"),
    [(PayloadConfig, "payload", ""), (RecorderConfig, "recorder", ""), (WorldConfig, "world", "sim")],
)
def test_mission_guide_shows_the_defaults_of_lists(kind: type[Any], table: str, key: str) -> None:
    """Lists do not fit into a cell: the guide has them as TOML, which must read as the default."""
    merged: dict[str, Any] = {}
    for block in re.findall(r"```toml\n(.*?)```", read(DOCS / "guides" / "mission.md"), re.DOTALL):
        document = tomllib.loads(block)
        document = document.get(key, {}) if key else document
        if isinstance(document.get(table), dict):
            merged |= document[table]
    default = kind()
    lists = [f.name for f in dataclasses.fields(kind) if isinstance(getattr(default, f.name), tuple)]
    faults: list[Fault] = []
    shown = read_table(kind, {name: merged[name] for name in lists}, (table,), faults)
    assert faults == []
    assert all(getattr(shown, name) == getattr(default, name) for name in lists)


@pytest.mark.parametrize(
    ("heading", "figures", "read_from_files"), [("Products on the ground", CfdpConfig(), {"entity"})]
)
def test_mission_guide_has_the_figures_that_no_file_sets(
    heading: str, figures: CfdpConfig, read_from_files: set[str]
) -> None:
    """And of those that a file sets, both declarations have the same default."""
    written = {cells[0].strip("`"): cells[1] for cells in tables(DOCS / "guides" / "mission.md")[heading]}
    rest = {one.name for one in dataclasses.fields(figures)} - read_from_files
    assert written == {name: f"{getattr(figures, name):.10g}" for name in rest}
    assert OutboxConfig().ground_entity == CfdpConfig().entity


@pytest.mark.parametrize("kind", LINK_KINDS)
def test_what_the_node_says_of_a_link_has_the_same_default_in_both(kind: str) -> None:
    node, link = NodeConfig("node"), LINK_KINDS[kind].config()
    assert [getattr(node, name) for name in NODE_KEYS] == [getattr(link, name) for name in NODE_KEYS]


def test_every_section_of_the_missions_is_in_the_guide() -> None:
    named = {section.strip("[]").split(".")[0] for section in ROWS}
    assert {section.name for section in _SECTIONS} <= named
    for path in MISSIONS.glob("*.toml"):
        assert set(tomllib.loads(read(path))) - {"extends"} <= named, path


# summary.json


def summary_paths() -> set[str]:
    """Dotted paths of every key of the documents of sim_hw/report/summary.py, of one spacecraft and of several; what
    every link has an account of is in frames.py beside it.
    """
    functions = {
        node.name: node
        for name in ("frames.py", "summary.py")
        for node in ast.parse(read(ROOT / "sim_hw" / "report" / name)).body
        if isinstance(node, ast.FunctionDef) and (name == "summary.py" or node.name == "frame_counts")
    }
    return {path for name in ("summarise", "summarise_fleet") for path in _paths_of_call(name, functions, "")}


def _paths_of_call(name: str, functions: dict[str, ast.FunctionDef], prefix: str) -> Iterator[str]:
    if name == "machine":  # builds its document in steps
        yield from (f"{prefix}{key}" for key in machine())
        return
    for node in ast.walk(functions[name]):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict):
            yield from _paths_of(node.value, functions, prefix)
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.ListComp):
            if isinstance(node.value.elt, ast.Dict):
                yield from _paths_of(node.value.elt, functions, f"{prefix.removesuffix('.')}[].")
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.DictComp):
            names = node.value.generators[0].iter
            assert isinstance(names, ast.Tuple), ast.unparse(names)
            yield from (f"{prefix}{ast.literal_eval(one)}" for one in names.elts)


def _paths_of(made: ast.Dict, functions: dict[str, ast.FunctionDef], prefix: str) -> Iterator[str]:
    for key, value in zip(made.keys, made.values, strict=True):
        path = f"{prefix}{ast.literal_eval(key)}" if key is not None else prefix
        if isinstance(value, ast.Dict):
            yield from _paths_of(value, functions, f"{path}.")
        elif isinstance(value, ast.ListComp) and isinstance(value.elt, ast.Dict):
            yield from _paths_of(value.elt, functions, f"{path}[].")
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in functions:
            inner = list(_paths_of_call(value.func.id, functions, prefix if key is None else f"{path}."))
            yield from inner or [path]
        else:
            yield path


def test_summary_page_has_every_key_and_no_other() -> None:
    written = {cells[0].strip("`") for rows in tables(DOCS / "summary.md").values() for cells in rows}
    paths = summary_paths()
    assert len(paths) > 80, "the reading of sim_hw/report/summary.py has lost its way"
    assert sorted(paths - written) == [], "keys that docs/summary.md does not have"
    assert sorted(written - paths) == [], "keys of docs/summary.md that no summary has"


def test_summary_page_names_every_reason() -> None:
    text = read(DOCS / "summary.md")
    for reason in (*DELAYS, *DROPS):
        assert f"`{reason.label}`" in text, reason
    for severity in SEVERITIES:
        assert f"`{severity}`" in text, severity


# Links, decisions, commands


def slug(heading: str) -> str:
    """The anchor that code hosts make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        aim = (page.parent / name).resolve() if name else page
        assert aim.exists(), f"{page.name}: {target} is not there"
        assert aim.is_relative_to(ROOT), f"{page.name}: {target} leaves the project"
        if anchor:
            headings = {slug(line.lstrip("#")) for line in prose(aim).splitlines() if line.startswith("#")}
            assert anchor in headings, f"{page.name}: no heading for {target}"


def test_decisions_are_listed_and_complete() -> None:
    index = read(DOCS / "adr" / "README.md")
    assert [path.name[:4] for path in ADRS] == [f"{i:04d}" for i in range(1, len(ADRS) + 1)]
    for path in ADRS:
        assert f"]({path.name})" in index, f"{path.name} is not in docs/adr/README.md"
        headings = [line for line in read(path).splitlines() if line.startswith("## ")]
        assert headings == ["## Context", "## Decision", "## Consequences"], path.name


def test_guides_are_listed() -> None:
    text = read(ROOT / "README.md")
    for path in [*(DOCS / "guides").glob("*.md"), DOCS / "summary.md", DOCS / "adr" / "README.md"]:
        assert path.relative_to(ROOT).as_posix() in text, path.name


def test_readme_has_every_command_and_fault() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    text = read(ROOT / "README.md")
    for name in project["entry-points"]["orbitnode.commands"]:
        assert f"`orbitnode {name}`" in text, name
    for kind in KINDS:
        assert kind in text, kind


def test_driver_guide_has_every_scheme() -> None:
    text = read(DOCS / "guides" / "driver.md")
    for kind in DEVICE_KINDS.values():
        for scheme in kind.drivers:
            assert f"`{scheme}:" in text, (kind.name, scheme)


def fields_text(fields: Iterable[Field]) -> str:
    return ", ".join(f"{one.name} {one.type} {one.unit}".strip() for one in fields) or "-"


def test_dictionary_guide_has_every_packet_as_it_is() -> None:
    """What to do: put the start of the line that the message shows into docs/guides/dictionary.md."""
    dictionary = dictionary_of(load(MISSIONS / "orbit.toml"))
    lines = read(DOCS / "guides" / "dictionary.md").splitlines()
    rows: list[tuple[object, ...]] = []
    rows += [(s.apid, s.sid, f"{s.period_s:g} s", fields_text(s.fields), s.name) for s in dictionary.structures]
    rows += [(e.apid, e.number, e.severity, e.text, fields_text(e.fields), e.name) for e in dictionary.events]
    rows += [(r.apid, f"[{r.service},{r.subtype}]", fields_text(r.fields), r.name) for r in dictionary.reports]
    for c in dictionary.commands:
        function = "-" if c.function is None else c.function
        rows.append((c.apid, f"[{c.service},{c.subtype}]", function, fields_text(c.arguments), c.text, c.name))
    for s in dictionary.settings:
        rows.append((s.number, s.unit or "-", f"{s.default:g}", f"{s.minimum:g} .. {s.maximum:g}", s.text, s.name))
    for *cells, name in rows:
        line = " | ".join([f"| `{name}`", *map(str, cells)]) + " |"
        assert line in lines, f"should be {line}"
    shown = "\n".join(lines)
    assert [one for one in TYPES if f"`{one}`" not in shown] == []
    assert [code for code, text in dictionary.failures.items() if f"| {code} | {text} |" not in lines] == []


def test_dictionary_guide_says_which_commands_are_lost_with_the_power_and_which_are_urgent() -> None:
    commands = dictionary_of(load(MISSIONS / "orbit.toml")).commands
    text = read(DOCS / "guides" / "dictionary.md")
    for begin, names in (
        ("which are lost with the power", {c.name for c in commands if not c.durable}),
        ("These are urgent", {c.name for c in commands if c.urgent}),
    ):
        listed = re.findall("`([a-z_]+)`", text.partition(begin)[2].partition(".\n")[0])
        assert sorted(listed) == sorted(names), begin


def test_notices_name_every_pinned_package() -> None:
    text = read(ROOT / "THIRD_PARTY_NOTICES.md").lower()
    pins = [line.partition("==")[0] for line in read(ROOT / "constraints.txt").splitlines() if "==" in line]
    assert len(pins) > 40
    assert [name for name in pins if name.lower() not in text] == []
