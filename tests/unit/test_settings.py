"""Keys of mission.toml that are on-board parameters too: one declaration and one rule, for the file and the command."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

from flight.contract.dictionary import Setting
from flight.contract.fields import FieldError
from flight.contract.parameter_table import admit, check_together
from flight.contract.settings import setting, settings_of
from flight.core.config import Fault, key, out_of_order, read_table

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Two parameters and a key that is none."""

    low_c: float = setting(7, 2.0, unit="degC", minimum=-5, maximum=40, below="high_c", text="on below it")
    high_c: float = setting(8, 6.0, unit="degC", minimum=0, maximum=50, text="off above it")
    period_s: float = key(1.0, minimum=0.1, maximum=60)


def faults_of(table: dict[str, object]) -> dict[str, str]:
    faults: list[Fault] = []
    read_table(Thresholds, table, (), faults)
    return {str(fault.path[0]): fault.text for fault in faults}


def test_a_setting_is_what_its_key_says_with_the_file_s_value_as_its_default() -> None:
    assert settings_of(Thresholds(low_c=3.0)) == (
        Setting(7, "low_c", "degC", 3.0, -5.0, 40.0, "on below it", below="high_c"),
        Setting(8, "high_c", "degC", 6.0, 0.0, 50.0, "off above it"),
    )


@pytest.mark.parametrize("low", [-6.0, -5.0, 5.9, 6.0, 40.0, 41.0, float("nan")])
def test_file_and_command_admit_the_same(low: float) -> None:
    settings = settings_of(Thresholds())
    try:
        values = {"low_c": admit(settings[0], low), "high_c": 6.0}
        check_together(settings, values)
        by_command = True
    except FieldError:
        by_command = False
    assert by_command == (faults_of({"low_c": low}) == {})


def test_what_the_file_s_reader_says() -> None:
    assert faults_of({"low_c": 7.0, "high_c": 7.0}) == {"high_c": "is 7, should be above low_c, which is 7"}
    assert faults_of({"low_c": -6.0, "high_c": 7.0}) == {"low_c": "is -6, should be in -5 .. 40"}


def test_every_pair_that_does_not_ascend_is_found_and_no_value_contradicts_nobody() -> None:
    below = {"a": "b", "b": "c", "c": "", "d": "e"}
    assert out_of_order(below, {"a": 2.0, "b": 2.0, "c": 1.0, "d": 9.0}) == [("a", "b"), ("b", "c")]
    assert out_of_order(below, {"a": 1.0, "b": 2.0, "c": float("nan")}) == [("b", "c")]


def test_no_service_declares_a_setting_by_hand() -> None:
    """A dictionary's entry is made of a key, or read from a document; a second statement could contradict the first."""
    files = [path for folder in ("flight", "payloads") for path in (ROOT / folder).rglob("*.py")]
    made = {
        path.relative_to(ROOT).as_posix()
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Setting"
    }
    assert made == {"flight/contract/dictionary.py", "flight/contract/settings.py"}
