"""Which known name an unknown one is taken for."""

from __future__ import annotations

import pytest

from flight.core.config import suggestion
from flight.core.errors import OrbitnodeError
from flight.text.close_name import close_name
from ground.commands.names import choices, hk_parameter
from tests.ground_dictionary import make


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("delete_file", ["delete_hk", "ping"], None),
        ("count_sheep", ["count_bad"], None),
        ("pong", ["ping", "delete_hk"], "ping"),
        ("soc_mim", ["soc_min", "soc_max"], "soc_min"),
        ("delete_hkk", ["delete_hk", "delete_hk_all"], "delete_hk"),
        ("raan", ["raan_deg", "altitude_km"], "raan_deg"),
        ("tow", ["two", "three"], "two"),
        ("soc", ["soc_min", "soc_max"], None),
        ("x", [], None),
        ("", ["_a"], None),
    ],
)
def test_a_name_is_guessed_if_it_is_much_like_one(name: str, known: list[str], meant: str | None) -> None:
    assert close_name(name, known) == meant


def test_what_is_far_off_is_answered_with_what_there_is() -> None:
    assert choices("delete_file", ["delete_hk", "ping"]) == "known: delete_hk, ping"
    assert suggestion("delete_file", ["delete_hk", "ping"]) == "known: delete_hk, ping"


def test_a_field_alone_is_answered_with_its_structure() -> None:
    with pytest.raises(OrbitnodeError, match=r"unknown housekeeping parameter 'soc', did you mean 'power\.soc'\?$"):
        hk_parameter(make(), "soc")
