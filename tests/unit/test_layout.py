"""The walls of the design, by syntax tree over every file: which room may import which, no circles, one timeline.

HOUSE is the map. The lists of edge files and of banned modules are ruff's, in pyproject.toml (TID251); this test also
sees what ruff cannot: files opened without a module, randomness without a seed, imports made by name.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flight.core.nanoseconds import NS
from hal import nanoseconds as of_the_drivers
from tests.waiting import GIVE_UP_S

pytestmark = pytest.mark.source

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("flight", "hal", "payloads", "ground", "sim_hw")

# What any service may import; which other services it sees stands in its row.
_BASE = ("flight.contract", "flight.core", "flight.link", "flight.store", "hal.base")
_TOLD = ("flight.services.commanding", "flight.services.reporting")  # what is told to a service, and what it tells
# What all of the ground shares with the flight code: errors, and what packets and their fields look like.
_SHARED = (
    "flight.contract.dictionary",
    "flight.contract.fields",
    "flight.core.errors",
    "flight.core.nanoseconds",
    "flight.core.utc",  # leap seconds
    "flight.link",
    "flight.text",
)

# The map of the house, roof first. A row is a room, that is a folder, or one file of it that stands on a floor of its
# own; then what it may import besides its own folder: rooms, parts of rooms, or whole top-level folders. Imports go
# down only: of its own folder, and of whatever its row names, a file may import what stands in the rows below.
HOUSE: dict[str, tuple[str, ...]] = {
    # The simulator sees everything, and nothing sees the simulator.
    "sim_hw.run": FOLDERS,
    "sim_hw.report.run_report": FOLDERS,
    "sim_hw.report.summary": FOLDERS,
    "sim_hw.bench": FOLDERS,
    # Both ends of a link, and the air between them: no node, no station.
    "sim_hw.soak": (
        "flight.core", "flight.kernels", "flight.link", "flight.linux.ending_signals", "flight.mission",
        "flight.store",  # both ends keep their records of link security in it
        "flight.text", "ground.cli.terminal.console", "ground.link", "sim_hw.config", "sim_hw.machine", "sim_hw.world",
    ),
    "sim_hw": FOLDERS,  # the run itself: node, ground and world in one process
    "sim_hw.report": FOLDERS,
    "sim_hw.machine": ("flight.core", "hal", "sim_hw.world"),
    "sim_hw.world": ("flight.core", "hal"),
    # The ground.
    "ground.cli": (
        *_SHARED, "flight.core.config", "flight.core.log", "flight.core.toml_lines", "flight.linux.log_sink",
        "flight.linux.ending_signals",  # which signals end a procedure in order
        "flight.catalogue", "flight.contract.sections",  # what a mission says to both ends
        "flight.keys",
        "flight.contract.parameter_table",  # what parameters may be, and the file that both ends know
        "flight.mission", "ground",
    ),
    # The configuration of a Yamcs that is the ground of a mission.
    "ground.yamcs": (
        *_SHARED, "flight.catalogue", "flight.contract.sections", "flight.mission", "ground.config",
        "ground.link.mission_link", "ground.whole_file", "ground.xtce",
    ),
    "ground.server": (
        *_SHARED, "flight.core.log",
        "flight.linux.ending_signals",  # which signals end a loop in order
        "flight.linux.log_sink",  # a loop's output, which must not stop it
        "ground",
    ),
    "ground.station": (*_SHARED, "ground"),
    "ground.procedures": (
        "flight.contract.dictionary", "flight.contract.fields",
        "flight.contract.parameter_table",  # what a parameter may be set to
        "flight.core.errors", "ground.operator",
    ),
    # Parts of the station, each over the room that it stands in.
    "ground.telemetry.intake": (
        *_SHARED, "ground.changes", "ground.commands", "ground.counters", "ground.files", "ground.link",
    ),
    "ground.telemetry.late_decoding": ("flight.core.errors",),
    # Files under way: an entity of CFDP over two folders.
    "ground.files": (
        *_SHARED, "flight.linux.disk", "ground.link", "ground.operator", "ground.products", "ground.telemetry",
    ),
    "ground.commands.desk": (*_SHARED, "ground.changes", "ground.link", "ground.operator", "ground.telemetry"),
    "ground.telemetry.archive_writer": ("flight.core.errors", "ground.changes", "ground.counters", "ground.link"),
    "ground.counters": ("ground.link",),
    "ground.commands": (
        *_SHARED,
        "flight.contract.parameter_table", "ground.link", "ground.operator", "ground.telemetry",
    ),
    # Recorded data of any mission, put together, and read by a mission's file if need be.
    "ground.recording": (
        *_SHARED, "flight.catalogue", "flight.kernels", "flight.mission", "ground.link.mission_link",
        "ground.recording",
    ),
    "ground.link.mission_link": (*_SHARED, "flight.contract.sections", "flight.mission"),
    "ground.link.kinds": ("flight.link", "ground.link"),
    "ground.link.tm_tc_session": ("flight.link", "ground.link"),
    "ground.link.ad_service": ("flight.core.nanoseconds", "flight.link", "ground.link"),
    "ground.link.cop1": ("flight.core.errors", "flight.core.nanoseconds", "flight.link", "ground.link"),
    "ground.link": (*_SHARED, "ground.operator", "ground.products.names", "ground.telemetry"),
    # Recorded data of any mission: four rooms, and what they hand to one another; what puts it together stands above.
    "ground.recording.detection": (*_SHARED, "flight.kernels", "ground.recording"),
    "ground.recording.streams": (*_SHARED, "flight.kernels", "ground.recording"),
    "ground.recording.definitions": (*_SHARED, "flight.kernels", "ground.recording", "ground.telemetry.columns"),
    "ground.recording.tables": (
        "flight.core.errors", "flight.core.nanoseconds", "flight.text", "ground.recording", "ground.spreadsheet",
    ),
    "ground.recording.definition": ("ground.recording",),
    "ground.recording.tai_instants": ("flight.core.nanoseconds", "flight.core.utc"),
    "ground.recording.table": (),
    "ground.recording.packet_batch": ("flight.kernels",),
    # The dictionary as a document for other ground systems.
    "ground.xtce": (*_SHARED, "ground.telemetry"),
    "ground.changes": ("flight.core.nanoseconds", "ground.telemetry"),
    "ground.products": (*_SHARED, "ground.spreadsheet", "ground.telemetry", "payloads.product"),
    "ground.telemetry": (*_SHARED, "flight.kernels", "ground.operator", "payloads.product"),
    "ground": (  # what all rooms of the ground stand on
        "flight.contract.dictionary", "flight.contract.fields", "flight.contract.sections",
        "flight.core.config",  # how a section of mission.toml is declared
        "flight.core.errors", "flight.core.utc", "flight.linux.disk", "flight.mission",
    ),
    # The payload.
    "payloads": (
        "flight.contract", "flight.core", "flight.store", "flight.swarm", "hal.base", "payloads.assets.models",
        "payloads.product.answers", "payloads.product.parts", "payloads.worker",
    ),
    "payloads.assets": ("flight.core.errors", "flight.linux.disk", "flight.text"),
    "payloads.worker": ("flight.contract.fields", "flight.core", "hal.base", "payloads.apps.base", "payloads.product"),
    "payloads.apps": ("flight.contract.fields", "flight.core.errors", "payloads.product"),
    "payloads.product": ("flight.contract.fields", "flight.contract.names", "flight.core.errors"),
    # What flies: four doors, the services, and what they stand on.
    "flight.linux.flight_command": (
        "flight.apps", "flight.core", "flight.keys", "flight.mission", "flight.node", "flight.services", "flight.text",
    ),
    "flight.cli": ("flight.core", "flight.linux.log_sink", "flight.linux.surroundings", "flight.text", "hal.base"),
    "flight.node": (*_BASE, "flight.services", "flight.swarm", "hal.registry"),
    "flight.app_host": (*_BASE, "flight.services", "flight.swarm", "hal.kinds", "hal.registry"),
    "flight.keys": ("flight.contract.sections", "flight.core", "flight.link.security", "flight.linux.disk"),
    "flight.mission": ("flight.contract", "flight.core", "flight.link", "flight.store", "hal.kinds", "hal.registry"),
    "flight.catalogue": (*_BASE, "flight.services"),
    "flight.roster": (*_BASE, "flight.services", "hal.kinds", "hal.registry"),
    "flight.apps": ("flight.contract", "flight.core"),
    "flight.services.health": (*_BASE, "flight.services.recorder", "flight.services.reporting"),
    "flight.services.radio": (*_BASE, "flight.services.board", "flight.services.recorder", "flight.services.reporting"),
    "flight.services.files": (*_BASE, *_TOLD),
    "flight.services.automation": (*_BASE, *_TOLD, "flight.services.settings"),
    "flight.services.time": (*_BASE, *_TOLD, "flight.services.settings"),
    "flight.services.board": (*_BASE, "flight.services.commanding", "flight.services.settings"),
    "flight.services.recorder": (*_BASE, *_TOLD, "flight.kernels"),
    "flight.services.settings": (*_BASE, *_TOLD),
    "flight.services.commanding": (*_BASE, "flight.services.reporting"),
    "flight.services.reporting": (*_BASE, "flight.services.commanding.verification"),
    "flight.services.commanding.verification": (*_BASE, "flight.services.reporting.telemetry"),
    "flight.services.reporting.telemetry": _BASE,
    "flight.services": (),  # nothing stands here outside a room
    "flight.contract": ("flight.core", "flight.link", "flight.store", "flight.swarm", "hal.base", "hal.kinds"),
    "flight.swarm": ("flight.core.errors", "hal.base"),
    "flight.store.files": ("flight.core", "flight.store"),
    "flight.store": ("flight.core",),
    "flight.link.kinds": ("flight.link",),
    "flight.link.tm_tc_stack": ("flight.core", "flight.kernels", "flight.link"),
    "flight.link.aos_stack": ("flight.core", "flight.link"),
    "flight.link.role_downlink": ("flight.link",),
    "flight.link.downlink_config": ("flight.core", "flight.link"),
    "flight.link.cfdp": ("flight.core", "flight.kernels", "flight.link.space_packet", "flight.link.tm", "flight.text"),
    "flight.link.coding": ("flight.core", "flight.kernels", "flight.link.tc"),
    "flight.link.tm": ("flight.core", "flight.kernels", "flight.link.sealing", "flight.link.space_packet"),
    "flight.link.tc": ("flight.core", "flight.kernels", "flight.link.sealing"),
    "flight.link.security": ("flight.core", "flight.link.actions", "flight.text"),
    "flight.link": ("flight.core", "flight.kernels", "flight.link.time"),  # packets
    "flight.link.time": ("flight.core",),
    "flight.kernels": (),
    "flight.linux": ("flight.core", "flight.linux.disk", "hal.base"),
    "flight.linux.disk": (),  # files that are written whole or not at all
    "flight.core": ("flight.text", "hal.base"),
    "flight.text": (),
    "flight": (),  # the version
    # The drivers.
    "hal.registry": (),
    "hal": (),
    "hal.base": (),
}  # fmt: skip
_FLOOR = {room: len(HOUSE) - row for row, room in enumerate(HOUSE)}

# Groups of modules that import one another, each with its reason. There should be none.
CIRCLES: dict[frozenset[str], str] = {}
FUNCTION_LINES_MAX, CLASS_LINES_MAX = 55, 270  # of code; see lengths_in
FILES_MAX = 15  # in one folder, __init__.py aside

# Parts that do no I/O at all, wherever they stand: protocol machines and codecs.
SANS_IO = (
    "flight/contract/dictionary.py",
    "flight/contract/fields.py",
    "flight/link/",
    "payloads/product/",
    "ground/link/",
)
# Where no file may be reached either; the ground writes products and the simulator reads scenes.
FILE_FREE = ("flight/", "payloads/", *SANS_IO)
# These would let a protocol machine log, or reach a machine that it must not know.
SANS_IO_BANNED = (
    "logging",
    "structlog",
    "pathlib",
    "io",
    "flight.core.log",
    "flight.core.platform",
    "flight.core.scheduler",
    "flight.core.task",
)

# Where the nanoseconds in a second may stand as a number; everybody else takes NS or ns() from the first of them.
_SECONDS = {
    "flight/core/nanoseconds.py": "the one place",
    "hal/nanoseconds.py": "hal imports nothing of ours",
    "sim_hw/machine/faults.py": "the seconds that a fault's time stays below",
    "tests/bench/bench_packets.py": "a bound in octets",
    "tests/contract/test_bad_drivers.py": "a power in watts that no board draws",
    "tests/sim/test_held_refusals.py": "seconds that are too many to shift a schedule by",
    "tests/unit/test_services_recorder.py": "a bound in octets",
    "tests/unit/test_storage_quota.py": "a bound in octets",
    "tests/unit/test_world_channel.py": "a rate in bit/s",
}

# Calls that reach the machine without one of the banned modules.
BANNED_CALLS = {"input", "exec", "eval", "__import__", "breakpoint"}
SEEDED = {"Random", "default_rng", "Generator", "PCG64"}
FILE_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir", "iterdir", "rglob", "glob"}

CONFIG: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
EDGE = tuple(
    pattern
    for pattern, rules in CONFIG["per-file-ignores"].items()
    if "TID251" in rules and not pattern.startswith("tests")
)
BANNED = frozenset(CONFIG["flake8-tidy-imports"]["banned-api"])

FILES = sorted(path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
# With the kernels, which are C and have a stub.
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py*")
    if path.suffix in {".py", ".pyi"}
}
PACKAGES = {file.removesuffix("/__init__.py").replace("/", ".") for file in FILES if file.endswith("/__init__.py")}


@dataclass(frozen=True)
class Facts:
    """What is asked of a file, all in one pass: trees are large, and to walk one takes longer than to make it."""

    imported: frozenset[str]  # modules of ours
    layer_faults: list[str]
    timeline_faults: list[str]
    sans_io_faults: list[str]
    seconds: list[int]
    epochs: list[int]
    has_broad_except: bool
    lengths: list[Length]


class Length(NamedTuple):
    """Of a function or class."""

    lines: int
    most: int
    place: str
    name: str


@cache
def facts_of(file: str) -> Facts:
    text, tree = tree_of(file)
    return Facts(
        imported=frozenset(graph_of({file: tree})[module_of(file)]),
        layer_faults=layer_faults(file, tree),
        timeline_faults=timeline_faults(file, tree),
        sans_io_faults=sans_io_faults(file, tree),
        seconds=seconds_in(tree),
        epochs=epochs_in(tree),
        has_broad_except=any(map(is_broad, nodes_of(tree))),
        lengths=list(lengths_in(file, text, tree)),
    )


def tree_of(file: str) -> tuple[str, ast.Module]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return text, ast.parse(text, file)


@lru_cache(maxsize=1)
def nodes_of(tree: ast.AST) -> list[ast.AST]:
    """All nodes of a tree; of the last one they are kept, for whoever asks next."""
    return list(ast.walk(tree))


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported; `from a import b` is a.b."""
    for node in nodes_of(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def within(name: str, prefixes: tuple[str, ...] | frozenset[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def is_edge(file: str) -> bool:
    return any(fnmatch(file, pattern) for pattern in EDGE)


def module_of(file: str) -> str:
    return file.rpartition(".")[0].replace("/", ".").removesuffix(".__init__")


def module_in(name: str) -> str:
    """The module that an import of `name` loads, empty if it is none of ours; `a.b.C` is in a.b."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def room_of(module: str) -> str:
    """The row of HOUSE that a module belongs to: the narrowest; empty if it stands in no room."""
    while module and module not in HOUSE:
        module = module.rpartition(".")[0]
    return module


def folder_of(module: str) -> str:
    return module if module in PACKAGES else module.rpartition(".")[0]


def layer_faults(file: str, tree: ast.Module) -> list[str]:
    module = module_of(file)
    room = room_of(module)
    faults = []
    for line, name in imports(tree):
        other = module_in(name)
        if not other or other in FOLDERS or room_of(other) == room:  # a package itself is its version, for anyone
            continue
        if folder_of(other) != folder_of(module) and not within(name, HOUSE[room]):
            faults.append(f"{file}:{line}: imports {name}, {room} may import only {', '.join(HOUSE[room])}")
        elif _FLOOR[room_of(other)] > _FLOOR[room]:
            faults.append(f"{file}:{line}: imports {name}, which goes up: {room_of(other)} stands above {room}")
    return faults


def graph_of(trees: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Module -> modules that it imports, anywhere in its file, for types alone as well."""
    return {
        module_of(file): {module_in(name) for _, name in imports(tree)} - {"", module_of(file)}
        for file, tree in trees.items()
    }


def circles_in(graph: Mapping[str, Iterable[str]]) -> set[frozenset[str]]:
    """The groups of modules that import one another, by whatever way round."""
    reached = {module: reached_from(module, graph) for module in graph}
    return {
        frozenset(other for other in reached[module] if module in reached.get(other, ()))
        for module in graph
        if module in reached[module]
    }


def reached_from(module: str, graph: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [module]
    while waiting:
        new = set(graph.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
    return found


def full_rooms(files: Iterable[str]) -> list[str]:
    counts = Counter(file.rpartition("/")[0] for file in files if not file.endswith("/__init__.py"))
    return [f"{folder}/ has {n} files, {FILES_MAX} at most" for folder, n in counts.items() if n > FILES_MAX]


def timeline_faults(file: str, tree: ast.Module) -> list[str]:
    faults = [f"{file}:{line}: imports {name}" for line, name in imports(tree) if within(name, BANNED)]
    # `import random` alone would open the way to the module's hidden generator; the class Random takes a seed.
    faults += [f"{file}:{line}: imports {name}" for line, name in imports(tree) if name in ("random", "numpy.random")]
    for node in nodes_of(tree):
        if isinstance(node, ast.Call):
            fault = call_fault(node)
            if fault and (file.startswith(FILE_FREE) or "reaches a file" not in fault):
                faults.append(f"{file}:{node.lineno}: {fault}")
    return faults


def call_fault(call: ast.Call) -> str | None:
    name = dotted(call.func)
    last = name.rpartition(".")[2]
    if name in BANNED_CALLS:
        return f"calls {name}"
    if name == "open" or ("." in name and last in FILE_METHODS):
        return f"calls {name}, which reaches a file"
    if last in SEEDED and not (call.args or call.keywords):
        return f"{name} without a seed"
    clock = last in ("now", "utcnow", "today") and name.startswith(("datetime.", "date."))
    hidden_generator = name.startswith(("np.random.", "numpy.random.")) and last not in SEEDED
    return f"calls {name}" if clock or hidden_generator else None


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or attribute; the parts that are neither are left out."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def sans_io_faults(file: str, tree: ast.Module) -> list[str]:
    return [f"{file}:{line}: imports {name}" for line, name in imports(tree) if within(name, SANS_IO_BANNED)]


def seconds_in(tree: ast.Module) -> list[int]:
    """The lines in which the nanoseconds in a second are written as a number, as 1e9 or as 10**9."""
    return [
        node.lineno
        for node in nodes_of(tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value == NS)
        or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and ast.unparse(node) == "10 ** 9")
    ]


def epochs_in(tree: ast.Module) -> list[int]:
    """The lines in which the epoch of TAI is written: as a date, as its day, or as the days from it to 1970."""
    dates = ("datetime(1958,", "date(1958,")
    return [
        node.lineno
        for node in nodes_of(tree)
        if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and ast.unparse(node).startswith(dates))
        or (isinstance(node, ast.Constant) and node.value in (4383, 36_204))
    ]


def test_there_is_something_to_look_at() -> None:
    assert {file.split("/")[0] for file in FILES} == set(FOLDERS)
    assert {"time", "threading", "socket", "subprocess", "asyncio", "os"} <= BANNED


def test_the_map_names_what_is_there() -> None:
    for room, entries in HOUSE.items():
        assert room in MODULES, room
        for entry in entries:
            named = [module for module in MODULES if within(module, (entry,))]
            below = any(_FLOOR[room_of(module)] < _FLOOR[room] for module in named)
            assert below, f"{room}: nothing of {entry} stands below it"


def test_nothing_stands_outside_a_room() -> None:
    loose = [file for file in FILES if room_of(module_of(file)) in {"flight", "flight.services"}]
    assert loose == ["flight/__init__.py", "flight/services/__init__.py"]


def test_the_nanoseconds_in_a_second_stand_in_one_place() -> None:
    tests = (path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py"))
    files = {file for file in FILES if facts_of(file).seconds}
    files |= {file for file in tests if seconds_in(tree_of(file)[1])}
    assert files == set(_SECONDS)
    assert of_the_drivers.NS == NS


def test_tai_is_told_from_utc_in_one_place() -> None:
    assert [file for file in FILES if facts_of(file).epochs] == ["flight/core/utc/utc_time.py"]


def test_no_room_is_full() -> None:
    assert full_rooms(FILES) == []


def test_no_modules_import_one_another() -> None:
    assert circles_in({module_of(file): facts_of(file).imported for file in FILES}) == set(CIRCLES)


def test_edge_files_are_the_few() -> None:
    """Edge code in flight/, payloads/ and ground/ is a closed list: a new one is a decision, made here as well."""
    edge = {pattern for pattern in EDGE if pattern.split("/")[0] in ("flight", "payloads", "ground")}
    assert edge <= {
        "flight/cli.py",
        "flight/keys.py",
        "flight/kernels/build.py",
        "flight/linux/call_limit.py",
        "flight/linux/commit_thread.py",
        "flight/linux/descriptors.py",
        "flight/linux/disk/durable_file.py",
        "flight/linux/ending_signals.py",
        "flight/linux/flight_command.py",
        "flight/linux/log_sink.py",
        "flight/linux/open_files.py",
        "flight/linux/pending_changes.py",
        "flight/linux/platform.py",
        "flight/linux/realtime.py",
        "flight/linux/storage.py",
        "flight/linux/storage_folder.py",
        "flight/linux/surroundings.py",
        "flight/linux/timerfd.py",
        "flight/linux/watchdog.py",
        "flight/mission.py",
        "payloads/assets/cache.py",
        "payloads/assets/fetch.py",
        "payloads/assets/models.py",
        "payloads/worker/__main__.py",
        "payloads/worker/control_group.py",
        "payloads/worker/isolation.py",
        "payloads/worker/loop.py",
        "payloads/worker/pool.py",
        "payloads/worker/process.py",
        "payloads/worker/settings.py",
        "payloads/worker/system_calls.py",
        "ground/cli/api/api_operator.py",
        "ground/cli/api/client.py",
        "ground/cli/ground.py",
        "ground/cli/keys.py",
        "ground/files/transfer_folder.py",
        "ground/files/working_file.py",
        "ground/security_file.py",
        "ground/whole_file.py",
        "ground/recording/input_files.py",
        "ground/server/api.py",
        "ground/server/api_token.py",
        "ground/server/command_answers.py",
        "ground/server/connection.py",
        "ground/server/file_answers.py",
        "ground/server/ground_server.py",
        "ground/server/operating.py",
        "ground/server/telemetry_port.py",
        "ground/telemetry/archive_file.py",
        "ground/yamcs/plain_folder.py",
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_who_may_import_whom(folder: str) -> None:
    files = [file for file in FILES if file.startswith(folder + "/")]
    assert [fault for file in files for fault in facts_of(file).layer_faults] == []


# What a client needs is not a node: a command that asks the ground process, and what is only asked for help.
CLIENT_BANNED = ("flight.node", "flight.catalogue", "flight.mission", "flight.services", "flight.store",
                 "flight.linux.platform", "flight.kernels", "payloads", "sim_hw", "structlog", "rich",
                 "numpy")  # fmt: skip
CLIENT_LINES = ("cmd --help", "cmd ping --port 1", "tm --help", "tm power --port 1", "tm tasks --port 1",
                "events --help", "events --port 1", "parameters --help", "parameters list --port 1", "schedule --help",
                "schedule list --port 1", "procedure --help",
                "procedure run ground/procedures/first_orbit.py --port 1", "dictionary --help",
                "decode --help")  # fmt: skip


def imported_by(line: str) -> set[str]:
    """The modules that a command has brought into its process by its end."""
    tell = "atexit.register(lambda: print('modules:', *sys.modules))"
    command = [sys.executable, "-c", f"import atexit, sys; {tell}; import flight.cli; flight.cli.main()", *line.split()]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=GIVE_UP_S, check=False)
    assert "usage: " in made.stdout or " octets, " in made.stdout or "no ground process on" in made.stderr, made.stderr
    return set(made.stdout.rpartition("modules:")[2].split())


@pytest.mark.parametrize("line", CLIENT_LINES)
def test_a_client_imports_no_node(line: str) -> None:
    modules = imported_by(line)
    assert "ground.cli" in modules
    assert [module for module in sorted(modules) if within(module, CLIENT_BANNED)] == []


def test_the_ground_imports_no_node() -> None:
    modules = imported_by("ground --help")
    assert "flight.catalogue" in modules
    assert not modules & {"flight.node", "flight.linux.platform", "sim_hw"}


def test_definitions_of_others_bring_no_node(tmp_path: Path) -> None:
    """All that a default mission needs takes longer than a short recording."""
    fields = tmp_path / "fields.csv"
    fields.write_text("name,data_type,bit_length\nnumber,uint,8\n")
    modules = imported_by(f"decode /dev/null --definition 1={fields}")
    assert "ground.recording.recording" in modules
    banned = ("flight.catalogue", "flight.mission", "flight.node", "flight.services", "payloads", "sim_hw", "structlog")
    assert [module for module in sorted(modules) if within(module, banned)] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_one_timeline(folder: str) -> None:
    files = [file for file in FILES if file.startswith(folder + "/") and not is_edge(file)]
    assert [fault for file in files for fault in facts_of(file).timeline_faults] == []


def test_protocol_machines_do_no_io() -> None:
    files = [file for file in FILES if file.startswith(SANS_IO)]
    assert not [file for file in files if is_edge(file)]
    assert [fault for file in files for fault in facts_of(file).sans_io_faults] == []


def lengths_in(file: str, text: str, tree: ast.Module) -> Iterator[Length]:
    """Yield the length of every function and class, without docstrings and lines that are a comment alone.

    What explains the code is not counted: nobody should save at it to stay below a limit.
    """
    words = {number for number, line in enumerate(text.splitlines(), 1) if line.lstrip().startswith("#")}
    parts = [node for node in nodes_of(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    for node in parts:
        if ast.get_docstring(node, clean=False) is not None:
            words.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    for node in parts:
        assert node.end_lineno is not None
        most = CLASS_LINES_MAX if isinstance(node, ast.ClassDef) else FUNCTION_LINES_MAX
        lines = sum(number not in words for number in range(node.lineno, node.end_lineno + 1))
        yield Length(lines, most, f"{file}:{node.lineno}", node.name)


def test_no_function_is_over_55_lines_and_no_class_over_270() -> None:
    assert (FUNCTION_LINES_MAX, CLASS_LINES_MAX) == (55, 270)
    every = [one for file in FILES for one in facts_of(file).lengths]
    assert len(every) > len(FILES)
    assert [f"{one.place}: {one.name} has {one.lines} lines, {one.most} at most" for one in every
            if one.lines > one.most] == []  # fmt: skip


def test_broad_excepts_stand_in_few_places() -> None:
    """The scheduler's task wrapper, the worker's call into an app, the node's call into one of its own, the guard's
    call into a driver, the command line's main, the look at every sample at boot (what an app's sampler raises must not
    keep the node from booting), and the loading and running of an operator's procedure.
    """
    found = {file for file in FILES if facts_of(file).has_broad_except}
    assert found <= {
        "flight/apps.py",
        "flight/core/task.py",
        "flight/services/reporting/structures.py",
        "payloads/worker/settings.py",
        "hal/guard.py",
        "flight/cli.py",
        "ground/procedures/procedure.py",
    }


def is_broad(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler):
        return False
    if node.type is None:
        return True
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException") for kind in kinds)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import time", "imports time"),
        ("from time import monotonic", "imports time.monotonic"),
        ("import os.path", "imports os.path"),
        ("import random", "imports random"),
        ("from random import randint", "imports random.randint"),
        ("from random import Random\nr = Random()", "without a seed"),
        ("import numpy as np\nr = np.random.default_rng()", "without a seed"),
        ("import numpy as np\nr = np.random.normal(0, 1)", "calls np.random.normal"),
        ("f = open('x')", "calls open"),
        ("from pathlib import Path\nPath('x').read_text()", "reaches a file"),
        ("import datetime\nn = datetime.datetime.now()", "calls datetime.datetime.now"),
        ("def f():\n    import subprocess", "imports subprocess"),
    ],
)
def test_the_timeline_check_bites(source: str, text: str) -> None:
    faults = timeline_faults("flight/x.py", ast.parse(source))
    assert len(faults) == 1
    assert text in faults[0]


@pytest.mark.parametrize(
    ("file", "source", "text"),
    [
        ("flight/services/board/x.py", "from payloads.manager import InferenceManager", "may import only"),
        ("flight/services/board/x.py", "from flight.services.radio.radio import RadioLink", "may import only"),
        ("flight/services/board/x.py", "from flight.linux import storage", "may import only"),
        ("flight/services/reporting/telemetry.py", "import flight.services.reporting.events", "goes up"),
        ("flight/link/tm/x.py", "from flight.link.tc import clcw", "may import only"),
        ("flight/link/pus.py", "from flight.link.tm_tc_stack import FlightLink", "goes up"),
        ("flight/store/x.py", "def f():\n    import flight.contract.fields", "may import only"),
        ("flight/core/x.py", "from flight.node import Node", "may import only"),
        ("flight/mission.py", "from flight import node", "goes up"),
        ("ground/link/x.py", "import flight.services.board.power", "may import only"),
        ("ground/telemetry/x.py", "from ground.link import tm_tc_session", "may import only"),
        ("ground/station.py", "import ground.server", "goes up"),
        ("sim_hw/world/x.py", "from sim_hw.machine import loop", "may import only"),
        ("sim_hw/mission_run.py", "from sim_hw.report import report, summary", "goes up"),
        ("hal/x.py", "from flight.contract import fields", "may import only"),
        ("hal/base.py", "import hal.registry", "goes up"),
    ],
)
def test_the_layer_check_bites(file: str, source: str, text: str) -> None:
    faults = layer_faults(file, ast.parse(source))
    assert len(faults) == 1
    assert text in faults[0]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("ground/link/x.py", "from flight.link.tc.clcw import Clcw"),
        ("flight/link/tc/x.py", "from flight.link.tc import farm, fop"),
        ("flight/node.py", "from flight import __version__, mission\nimport os, flight"),
        ("flight/services/commanding/x.py", "from flight.services.commanding import verification as st01"),
        ("sim_hw/machine/x.py", "from sim_hw.world.world import World"),
    ],
)
def test_the_layer_check_lets_pass(file: str, source: str) -> None:
    assert layer_faults(file, ast.parse(source)) == []


def test_the_circle_check_bites() -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from flight.core.future import Future"
    sources = {
        "flight/core/future.py": "import flight.core.log",
        "flight/core/log.py": "def f():\n    from flight.core import storage, errors",
        "flight/core/storage.py": typed,
        "flight/core/errors.py": "import sys",
        "flight/core/config.py": "from flight.core.log import node_log",
    }
    graph = graph_of({file: ast.parse(source) for file, source in sources.items()})
    assert circles_in(graph) == {frozenset({"flight.core.future", "flight.core.log", "flight.core.storage"})}
    assert circles_in({"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"c"}, "e": {"a"}}) == {
        frozenset({"a", "b"}),
        frozenset({"c", "d"}),
    }
    assert circles_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == set()


def test_the_room_check_bites() -> None:
    files = [f"flight/store/{number}.py" for number in range(FILES_MAX)]
    assert full_rooms([*files, "flight/store/__init__.py", "flight/core/x.py"]) == []
    assert full_rooms([*files, "flight/store/x.py"]) == ["flight/store/ has 16 files, 15 at most"]


def test_the_check_of_nanoseconds_bites() -> None:
    tree = ast.parse("a = 1_000_000_000\nb = x / 1e9\nc = 10**9\nd = 10**8 + 1e-9 + True\nf('1e9')")
    assert sorted(seconds_in(tree)) == [1, 2, 3]


def test_the_check_of_tai_bites() -> None:
    tree = ast.parse("a = datetime(1958, 1, 1, tzinfo=UTC)\nb = 4_383 * 86_400\nc = datetime(1970, 1, 1)")
    assert sorted(epochs_in(tree)) == [1, 2]


def test_the_other_checks_tell_apart() -> None:
    assert not timeline_faults("flight/x.py", ast.parse("from random import Random\nr = Random(7)"))
    (attempt,) = ast.parse("try:\n    pass\nexcept (ValueError, Exception):\n    pass").body
    assert isinstance(attempt, ast.Try) and is_broad(attempt.handlers[0])
