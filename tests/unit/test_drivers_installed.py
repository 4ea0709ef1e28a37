"""Drivers from distributions of other people: what is offered, what is refused, and that it takes no line of ours."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest

from flight import cli
from flight.linux import call_limit
from flight.linux.platform import LinuxPlatform
from flight.mission import MISSIONS, MissionError, load
from flight.node import build
from hal import answer_checks, guard, registry
from hal.base import HalError, Host
from hal.installed_drivers import GROUP, installed_drivers
from hal.kinds import EPS, IMAGER, KINDS, RADIO, THERMOMETER, DeviceKind, _Guarded
from tests.distribution import install
from tests.linux_loop import run_until

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guides" / "driver.md"
FINE = """
class Thermometer:
    def read_c(self):
        return 21.5

def open_thermometer(address, host):
    return Thermometer()
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on Python's path, as a venv has one. What was imported from it is forgotten in the end."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LinuxPlatform]:
    platform = LinuxPlatform(tmp_path / "store", "unit")
    yield platform
    platform.close()


@pytest.fixture
def mission(tmp_path: Path) -> Callable[..., Path]:
    """Writes the simulated mission with other drivers, without its app."""

    def write(**drivers: str) -> Path:
        path = tmp_path / "mission.toml"
        rows = "".join(f'{key} = "{url}"\n' for key, url in drivers.items())
        base = (MISSIONS / "orbit.toml").as_posix()
        link = '[[link]]\nname = "s-band"\ndriver = "sim:s-band"\nuplink_security = "clear"\n'  # without keys
        path.write_text(f'extends = "{base}"\napp = []\n[node]\nname = "n-1"\n{link}[drivers]\n{rows}')
        return path

    return write


@pytest.fixture
def orbitnode(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """A command in this process, which has the folder of the test on its path: exit status and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        status = cli.main([str(one) for one in arguments])
        return status, capsys.readouterr().err

    return run


def test_a_driver_of_another_distribution_is_one_more_scheme(site: Path, host: LinuxPlatform, mission: Any) -> None:
    install(site, "acme-heat", {"thermometer.acme": "acme_heat:open_thermometer"}, {"acme_heat": FINE})
    assert registry.schemes(THERMOMETER) == ["acme", "serial", "sim"]
    assert load(mission(board_thermometer="acme:1")).drivers.board_thermometer == "acme:1"
    assert "acme_heat" not in sys.modules  # what a mission names is looked up, and not run
    assert registry.open_device(THERMOMETER, "acme:1", host).read_c() == 21.5
    with pytest.raises(MissionError, match=r"unknown thermometer driver 'acne' in 'acne:1', known: acme:..., serial"):
        load(mission(board_thermometer="acne:1"))
    with pytest.raises(HalError, match=r"eps driver 'acme:1' is unknown"):
        registry.open_device(EPS, "acme:1", host)


def test_it_is_called_with_what_its_kind_names(site: Path, host: LinuxPlatform) -> None:
    source = "def open_radio(address, host, rate_bps):\n    raise ValueError(f'{address} at {rate_bps} bit/s')\n"
    install(site, "acme-radio", {"radio.acme": "acme_radio:open_radio"}, {"acme_radio": source})
    with pytest.raises(HalError, match=r"radio 'acme:7': 7 at 9600 bit/s"):
        registry.open_device(RADIO, "acme:7", host, rate_bps=9600)


def test_it_flies_in_virtual_time(site: Path, mission: Any, tmp_path: Path, orbitnode: Any) -> None:
    source = FINE.replace("return 21.5", "open(__file__ + '.reads', 'a').write('.')\n        return 21.5")
    install(site, "acme-heat", {"thermometer.acme": "acme_heat:open_thermometer"}, {"acme_heat": source})
    code, said = orbitnode(
        "run", "--orbits", "0.02", "--mission", mission(board_thermometer="acme:1"), "--out", tmp_path / "out"
    )
    assert code == 0, said
    assert len((site / "acme_heat.py.reads").read_text()) > 5
    assert "device_fault" not in (tmp_path / "out" / "node.log").read_text()


def test_a_node_without_an_app_opens_no_camera(mission: Any) -> None:
    opened = load(mission(imager="replay:tiles")).devices()
    assert [kind.name for kind, _ in opened] == ["eps", "thermometer", "thermometer", "heater", "governor", "radio"]
    assert (IMAGER, "sim:camera") in load(MISSIONS / "orbit.toml").devices()


# What is refused, by what is installed: entry points by distribution, and a line for each fault.
REFUSED: dict[str, tuple[dict[str, dict[str, str]], list[str]]] = {
    "built in": (
        {"acme": {"eps.serial": "acme:open_it"}},
        ["driver 'eps.serial' of acme 1.0: orbitnode itself has a driver of that name; choose another scheme"],
    ),
    "no such kind": (
        {"acme": {"esp.acme": "acme:open_it"}},
        ["driver 'esp.acme' of acme 1.0: unknown kind of device 'esp', should be one of eps, thermometer, heater, gov"],
    ),
    "no scheme": (
        {"acme": {"eps": "acme:open_it"}},
        ["driver 'eps' of acme 1.0: should be named KIND.SCHEME in small letters, such as eps.acme"],
    ),
    "scheme that no URL can have": (
        {"acme": {"eps.Acme 2": "acme:open_it"}},
        ["driver 'eps.Acme 2' of acme 1.0: should be named KIND.SCHEME in small letters, such as eps.acme"],
    ),
    "no factory": (
        {"acme": {"eps.acme": "acme"}}, ["driver 'eps.acme' of acme 1.0: its value is 'acme', should be module:factory"]
    ),
    "two of one name": (
        {"acme": {"eps.acme": "acme:open_it"}, "other-acme": {"eps.acme": "other:open_it"}},
        ["driver 'eps.acme' of acme 1.0 and other-acme 1.0: is offered 2 times, so which one is meant is not clear; "],
    ),
    "all of it": (
        {"acme": {"eps.serial": "acme:open_it", "gyroscope.acme": "acme:open_it"}, "beta": {"heater": "beta"}},
        ["driver 'eps.serial' of acme 1.0: orbitnode itself has", "driver 'gyroscope.acme' of acme 1.0: unknown kind",
         "driver 'heater' of beta 1.0: should be named", "driver 'heater' of beta 1.0: its value is 'beta', should be"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_told_apart_keeps_a_mission_from_flying(site: Path, mission: Any, case: str) -> None:
    offers, lines = REFUSED[case]
    for name, drivers in offers.items():
        install(site, name, drivers)
    assert installed_drivers().targets == {}
    path = mission()
    with pytest.raises(MissionError) as refused:
        load(path)
    assert len(refused.value.faults) == len(lines)
    assert all(fault.startswith(line) for fault, line in zip(refused.value.faults, lines, strict=True))
    load(path, opens_devices=False)


def test_one_name_twice_in_one_distribution(site: Path) -> None:
    install(site, "acme", f"[{GROUP}]\neps.acme = acme:open_it\neps.acme = acme:open_other\n")
    assert [fault.partition(",")[0] for fault in installed_drivers().faults] == [
        "driver 'eps.acme' of acme 1.0: is offered 2 times"
    ]


def test_faults_of_the_file_and_of_what_is_installed_are_told_at_once(site: Path, mission: Any) -> None:
    install(site, "acme", {"eps.serial": "acme:open_it"})
    with pytest.raises(MissionError) as refused:
        load(mission(eps="can:0", heater="gpio:3"))
    starts = ["mission.toml:10: drivers.eps: ", "mission.toml:11: drivers.heater: ", "driver 'eps.serial' of acme"]
    for fault, start in zip(refused.value.faults, starts, strict=True):
        assert fault.rpartition("/")[2].startswith(start)


def test_the_ground_needs_no_driver_of_the_node(mission: Any, orbitnode: Any) -> None:
    path = mission(eps="acme:1")
    with pytest.raises(MissionError, match="unknown eps driver 'acme'"):
        load(path)
    assert load(path, opens_devices=False).drivers.eps == "acme:1"
    for wrong, text in (("", "is empty, should be one of"), ("acme", "unknown eps driver 'acme' in 'acme'")):
        with pytest.raises(MissionError, match=text):
            load(mission(eps=wrong), opens_devices=False)
    code, said = orbitnode("dictionary", "--json", "--mission", mission(eps="acme:1"))
    assert code == 0, said


# What the import of a module does, and the text of its line.
BROKEN = {
    "raises": ("raise RuntimeError('no chip')", "importing broken raised RuntimeError: no chip (broken.py:1)"),
    "ends": ("import sys\nsys.exit('a vendor ends the program')", "importing broken raised SystemExit: a vendor ends"),
    "raises another": ("class Sulk(BaseException): ...\nraise Sulk('enough')", "importing broken raised Sulk: enough"),
    "is torn": ("def open_it(", "importing broken raised SyntaxError: '(' was never closed (broken.py, line 1)"),
    "is another version": ("from hal.base import Lidar", "importing broken raised ImportError: cannot import name"),
    "lacks a library": ("import no_such_chip.bus", "needs the Python module 'no_such_chip': pip install no_such_chip"),
    "has no factory": ("open_that = None", "broken has no function 'open_it'"),
    "has no function": ("open_it = 7", "broken has no function 'open_it'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_module_that_cannot_be_imported_is_one_line(site: Path, host: LinuxPlatform, case: str) -> None:
    source, text = BROKEN[case]
    install(site, "acme", {"eps.acme": "broken:open_it"}, {"broken": source})
    for attempt in (lambda: registry.import_drivers([(EPS, "acme:1")], host),
                    lambda: registry.open_device(EPS, "acme:1", host)):  # fmt: skip
        with pytest.raises(HalError) as told:
            attempt()
        assert str(told.value).startswith(("eps acme:1: ", "eps 'acme:1'")) and text in str(told.value)
        assert "\n" not in str(told.value) and "frozen" not in str(told.value)


def test_all_that_cannot_be_imported_are_told_at_once_before_anything_is_stored(
    site: Path, host: LinuxPlatform, mission: Any
) -> None:
    install(site, "acme", {"eps.acme": "broken:open_eps", "thermometer.acme": "broken:open_it",
                           "heater.acme": "empty:open_it", "governor.acme": "lacking:open_it"},
            {"broken": "raise RuntimeError('no chip')", "empty": "", "lacking": "import no_such_chip"})  # fmt: skip
    path = mission(eps="acme:1", board_thermometer="acme:2", radiator_thermometer="acme:3", heater="acme:4",
                   governor="acme:5")  # fmt: skip
    with pytest.raises(HalError) as told:
        build(load(path), host)
    assert str(told.value).splitlines() == [
        "3 drivers cannot be used",
        "  eps acme:1: importing broken raised RuntimeError: no chip (broken.py:1)",
        "  heater 'acme:4': empty has no function 'open_it'",
        "  governor 'acme:5' needs the Python module 'no_such_chip': pip install no_such_chip",
    ]
    assert host.storage.names() == []


def test_a_module_whose_import_hangs_is_left_to_the_guard(
    site: Path, host: LinuxPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow this once is not a fault of the configuration: the node starts without it, and it is tried again."""
    for name in ("OPEN_LIMIT_S", "REOPEN_LIMIT_S"):
        monkeypatch.setattr(guard, name, 0.05)
    monkeypatch.setattr(guard, "PAUSE_MIN_NS", 20_000_000)
    monkeypatch.setattr(call_limit, "BEAT_S", 0.01)
    wait = "while os.path.exists(__file__.replace('slow.py', 'busy')):\n    time.sleep(9)\n"
    source = f"import os, time\n{wait}{FINE}"
    install(site, "acme", {"thermometer.acme": "slow:open_thermometer"}, {"slow": source})
    (site / "busy").touch()
    registry.import_drivers([(THERMOMETER, "acme:1")], host)
    device: Any = registry.open_device(THERMOMETER, "acme:1", host)
    with pytest.raises(HalError, match="opening did not return within"):
        device.read_c()
    (site / "busy").unlink()
    assert run_until(host, lambda: not device.guard.aside)
    assert device.read_c() == 21.5


@pytest.mark.parametrize("command", ["flight", "run"])
def test_a_command_says_what_is_installed_wrongly(site: Path, mission: Any, command: str, orbitnode: Any) -> None:
    install(site, "acme", {"eps.serial": "acme:open_it", "esp.acme": "acme:open_it"})
    code, said = orbitnode(command, "--mission", mission())
    assert code == 1
    lines = said.splitlines()
    assert len(lines) == 3 and lines[0].startswith("orbitnode: error: mission ") and lines[0].endswith(": 2 faults")
    assert [line.strip().partition(":")[0] for line in lines[1:]] == [
        "driver 'eps.serial' of acme 1.0", "driver 'esp.acme' of acme 1.0"
    ]  # fmt: skip


def test_a_flight_says_what_cannot_be_imported(site: Path, mission: Any, tmp_path: Path, orbitnode: Any) -> None:
    install(site, "acme", {"eps.acme": "broken:open_it", "heater.acme": "torn:open_it"},
            {"broken": "raise RuntimeError('no chip')", "torn": "def open_it("})  # fmt: skip
    path = mission(eps="acme:1", heater="acme:2")
    code, said = orbitnode("flight", "--mission", path, "--storage", tmp_path / "flown")
    assert code == 1
    assert said.splitlines() == [
        "orbitnode: error: 2 drivers cannot be used",
        "  eps acme:1: importing broken raised RuntimeError: no chip (broken.py:1)",
        "  heater acme:2: importing torn raised SyntaxError: '(' was never closed (torn.py, line 1)",
    ]


# What a new kind of device costs.


class Gyroscope(Protocol):
    """A kind of device that orbitnode does not have."""

    def read_rad_s(self) -> float: ...


class GuardedGyroscope(_Guarded):
    RATE = answer_checks.Quantity("rate", -35.0, 35.0)

    def read_rad_s(self) -> float:
        return self.guard.call("read_rad_s", lambda answer: answer_checks.number(answer, self.RATE))


def test_a_new_kind_is_a_proxy_and_a_row(site: Path, host: LinuxPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry, the entry points, the guard and the answers know no kind by its name."""
    kind: DeviceKind[Gyroscope] = DeviceKind("gyroscope", GuardedGyroscope, {})
    monkeypatch.setitem(KINDS, "gyroscope", kind)
    source = """
    class Gyroscope:
        rate_rad_s = 0.5
        def read_rad_s(self):
            return self.rate_rad_s

    def open_it(address, host):
        return Gyroscope()
    """
    install(site, "acme", {"gyroscope.acme": "acme_gyro:open_it"}, {"acme_gyro": source})
    device = registry.open_device(kind, "acme:x", host)
    assert device.read_rad_s() == 0.5
    sys.modules["acme_gyro"].Gyroscope.rate_rad_s = 99.0
    with pytest.raises(HalError, match="rate is 99, should be -35 to 35"):
        device.read_rad_s()


@cache
def names_in(path: Path) -> set[str]:
    """Every name that the file uses, in whatever way."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found.update(alias.name for alias in node.names)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_named_in_four_files(kind: str) -> None:
    """Beside its drivers, simulated ones included, and the service or app that it is for: those are other people's."""
    row = KINDS[kind]
    drivers = {target.partition(":")[0].replace(".", "/") + ".py" for target in row.drivers.values()}
    users = ("flight/services/", "flight/contract/app.py", "payloads/", "sim_hw/", "hal/board_wire.py")
    protocol = row.guarded.__name__.removeprefix("Guarded")
    named = {
        path.relative_to(ROOT).as_posix()
        for folder in ("hal", "flight", "payloads", "ground", "sim_hw")
        for path in (ROOT / folder).rglob("*.py")
        if names_in(path) & {protocol, f"Guarded{protocol}", kind.upper()}
    }
    files = {file for file in named - drivers if not file.startswith(users)}
    opened = "flight/app_host.py" if kind == "imager" else "flight/roster.py"  # the camera is the apps'
    assert files == {"hal/base.py", "hal/kinds.py", "flight/contract/sections.py", opened}


# The guide's example.


def blocks(heading: str) -> list[str]:
    """The code in a section of the guide."""
    section = GUIDE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```\w+\n(.*?)```", section, re.DOTALL)


def test_the_package_of_the_guide_works(site: Path, host: Host, mission: Any, tmp_path: Path) -> None:
    project, module, drivers = blocks("A driver in a package of its own")
    named = tomllib.loads(project)["project"]
    assert tomllib.loads(project)["tool"]["setuptools"]["py-modules"] == ["acme_eps"]
    install(site, named["name"], named["entry-points"][GROUP], {"acme_eps": module})
    board = tmp_path / "board"
    board.mkdir()
    for name, value in (("charge_percent", 83), ("solar_mw", 31_000), ("load_mw", 12_000), ("bus_mv", 7_900)):
        (board / name).write_text(f"{value}\n")
    url = tomllib.loads(drivers)["drivers"]["eps"]
    assert load(mission(eps=url)).drivers.eps == url
    eps = registry.open_device(EPS, f"{url.partition(':')[0]}:{board}", host)
    reading = eps.read()
    assert (reading.soc_frac, reading.solar_w, reading.battery_w, reading.bus_v) == (0.83, 31.0, 19.0, 7.9)
    (board / "switch_payload").write_text("0")
    eps.set_switch("payload", True)
    assert (board / "switch_payload").read_text() == "1"
    with pytest.raises(HalError, match="switch_heater"):
        eps.set_switch("heater", True)
    (board / "bus_mv").write_text("none")
    with pytest.raises(HalError, match="bus_mv"):
        eps.read()
    with pytest.raises(HalError, match="has no charge_percent"):
        registry.open_device(EPS, f"acme:{tmp_path}", host)
