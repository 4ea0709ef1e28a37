"""A service is a file and a row: with that alone it is declared, configured, served, sampled and run."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from flight import catalogue, mission, node, roster
from flight.contract.app import Sample
from flight.contract.dictionary import Command, Declarations, Structure
from flight.contract.fields import Field
from flight.contract.service import CommandHandler, Sampler, Service, ServiceTask
from flight.core.config import Section, key
from flight.core.task import Task
from flight.roster import ROSTER, MissionView, Parts, ServiceRow
from flight.services.reporting.telemetry import Telemetry
from tests.sim.conftest import MakeRig

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class TallyConfig:
    start: int = key(0, minimum=0, maximum=100)


class Tally(Service):
    """Counts seconds, and says how many when asked."""

    def __init__(self, start: int, telemetry: Telemetry) -> None:
        self.seconds = start
        self._telemetry = telemetry

    @staticmethod
    def declare(_view: MissionView) -> list[Declarations]:
        return [
            Declarations(
                structures=(Structure(1, 99, "tally", 1.0, (Field("seconds", "u16"),)),),
                commands=(Command("tell_tally", 1, 200, 1, "send the tally"),),
            )
        ]

    def handlers(self) -> Iterable[CommandHandler]:
        return (CommandHandler("tell_tally", None, lambda: self._telemetry.send(1, 200, 2, bytes((self.seconds,)))),)

    def samplers(self) -> Iterable[Sampler]:
        return (Sampler("tally", self.sample),)

    def sample(self) -> Sample:
        return {"seconds": self.seconds}

    def tasks(self) -> Iterable[ServiceTask]:
        return (ServiceTask("tally", self.run, deadline_s=1.0),)

    async def run(self, task: Task) -> None:
        async for _ in task.every(1.0):
            self.seconds += 1


def build_tally(parts: Parts) -> Iterable[object]:
    yield Tally(parts.mission.section(TallyConfig).start, parts.of(Telemetry))


ROW = ServiceRow(build_tally, gives=(Tally,), declare=Tally.declare, sections=(Section("tally", TallyConfig),))


@pytest.fixture
def with_tally(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a row in the file does, for one test."""
    for module in (roster, catalogue, node):
        monkeypatch.setattr(module, "ROSTER", (*ROSTER, ROW))
    monkeypatch.setattr(mission, "_SECTIONS", (*mission._SECTIONS, *ROW.sections))  # noqa: SLF001 - a row of the roster brings its section


@pytest.mark.usefixtures("with_tally")
def test_a_service_flies_with_its_row_alone(make_rig: MakeRig) -> None:
    rig = make_rig(more="[tally]\nstart = 30\n")
    rig.until(100)
    rig.send("tell_tally")
    rig.until(120)
    (report,) = rig.reports(200, 2)
    assert 100 <= report.data[0] <= 150
    assert rig.node.part(Tally).seconds == pytest.approx(150, abs=1)
    assert any(packet.data[:2] == (99).to_bytes(2, "big") for packet in rig.reports(3, 25))


def test_every_service_of_the_rooms_has_its_row() -> None:
    """A class that is a service, and that no row gives, would be in no node."""
    optional = {"LogWatch", "WatchdogDuty"}  # built by their rows if there is something for them to do
    given = {kind.__name__ for row in ROSTER for kind in row.gives}
    found = {
        one.name
        for path in (ROOT / "flight" / "services").rglob("*.py")
        for one in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(one, ast.ClassDef) and "Service" in {getattr(base, "id", "") for base in one.bases}
    }
    assert found
    assert found <= given | optional


def test_each_class_is_given_by_one_row() -> None:
    given = [kind for row in ROSTER for kind in row.gives]
    assert len(given) == len(set(given))
