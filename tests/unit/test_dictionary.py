"""The dictionary document: it survives itself, and nothing that was altered, cut or made elsewhere passes for one."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.catalogue import dictionary_of
from flight.contract.collect import collect
from flight.contract.dictionary import (
    FORMAT,
    Command,
    Declarations,
    Dictionary,
    EventDefinition,
    Report,
    Setting,
    Structure,
)  # fmt: skip
from flight.contract.failures import Failure, FailureCode
from flight.contract.fields import Field
from flight.core.errors import OrbitnodeError, SetupError
from flight.mission import MISSIONS, load

ORBIT = dictionary_of(load(MISSIONS / "orbit.toml"))
DOCUMENT = json.dumps(ORBIT.document())


def document() -> dict[str, Any]:
    return dict(json.loads(DOCUMENT))


def signed(body: dict[str, Any]) -> dict[str, Any]:
    """With the checksum that fits, as whoever made it on purpose would give it."""
    rest = {key: value for key, value in body.items() if key != "sha256"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()
    return rest | {"sha256": hashlib.sha256(canonical).hexdigest()}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(one, (*path, key))


PLACES = sorted(places(document()), key=str)
_values: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 1.5, 10**30, float("nan"), "", "x", [], {}, [[]], {"a": 1}, ["u8"], [1, 2]]
)


def altered(path: tuple[Any, ...], value: object) -> dict[str, Any]:
    """The document with one place set; `value` DELETE takes it out."""
    made: Any = document()
    at = made
    for key in path[:-1]:
        at = at[key]
    if value is DELETE:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return dict(made)


DELETE = object()


def at(path: tuple[Any, ...]) -> Any:
    value: Any = document()
    for key in path:
        value = value[key]
    return value


def test_the_document_survives_json() -> None:
    made = Dictionary.from_document(document())
    assert made == ORBIT
    assert made.document() == ORBIT.document()


@given(st.sampled_from(PLACES), _values | st.just(DELETE))
def test_an_altered_document_is_refused(path: tuple[Any, ...], value: object) -> None:
    if value is not DELETE and json.dumps(value) == json.dumps(at(path)):
        return
    with pytest.raises(OrbitnodeError, match=r"was altered or cut|its format is not"):
        Dictionary.from_document(altered(path, value))


def test_an_added_key_is_an_alteration_too() -> None:
    with pytest.raises(OrbitnodeError, match="was altered or cut"):
        Dictionary.from_document(document() | {"more": 1})


@given(st.sampled_from(PLACES), _values | st.just(DELETE))
def test_a_wrong_document_with_a_right_checksum_is_refused_or_decodes(path: tuple[Any, ...], value: object) -> None:
    try:
        made = Dictionary.from_document(signed(altered(path, value)))
    except OrbitnodeError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either may come
        return
    one: Any
    for one in (*made.structures, *made.events, *made.reports, *made.commands):
        assert one.layout.fields is not None
        assert isinstance(one.name, str) and f"{one.apid:d}"
    for event in made.events:
        assert 1 <= event.subtype <= 4
    assert made.document()["format"] == FORMAT
    with pytest.raises(OrbitnodeError, match="unknown command"):
        made.command("no such")
    with pytest.raises(OrbitnodeError, match="unknown parameter"):
        made.setting("no such")


@pytest.mark.parametrize(
    "path",
    [("mission",), ("apids", "node"), ("structures", 0, "sid"), ("events", 0, "severity"), ("events", 0, "text"),
             ("commands", 0, "name"), ("settings", 0, "default"), ("structures", 0, "fields", 0, "type")],
)  # fmt: skip
def test_wrong_types_are_malformed(path: tuple[Any, ...]) -> None:
    with pytest.raises(OrbitnodeError, match="dictionary document is malformed"):
        Dictionary.from_document(signed(altered(path, [1])))


@pytest.mark.parametrize("foreign", [None, 3, "text", [], {}, {"format": "orbitnode-dictionary/2"}, {"format": FORMAT}])
def test_a_foreign_document_is_refused(foreign: Any) -> None:
    with pytest.raises(OrbitnodeError, match=r"its format is not|altered or cut"):
        Dictionary.from_document(foreign)


def test_a_signed_document_without_content_is_malformed() -> None:
    with pytest.raises(OrbitnodeError, match="malformed: KeyError: 'mission'"):
        Dictionary.from_document(signed({"format": FORMAT}))


def test_another_version_with_keys_of_its_own_is_understood() -> None:
    newer: Any = document()
    newer["version"] = "99.0"
    newer["made_by"] = "another build"
    newer["structures"][0]["colour"] = "blue"
    newer["structures"][0]["fields"][0]["precision"] = 3
    made = Dictionary.from_document(signed(newer))
    assert made.version == "99.0"
    assert made.structures == ORBIT.structures


def test_names_that_are_not_there_say_what_is() -> None:
    assert ORBIT.command("ping").service == 17
    assert ORBIT.setting("heater_on_c").number == 10
    with pytest.raises(OrbitnodeError, match=r"unknown command 'pong', known: .*ping"):
        ORBIT.command("pong")
    with pytest.raises(OrbitnodeError, match=r"unknown parameter 'x', known: .*heater_on_c"):
        ORBIT.setting("x")


class Strange(FailureCode):
    """Codes that no app may have, and two that it may."""

    NONE = 0, "no failure"
    LATE_TOO = 12, "the same number as one of the node's"
    NODES = 99, "of the node's range"
    FIRST = 100, "the first one"
    LAST = 65_535, "the last one that fits its field"
    WIDE = 65_536, "too large for its field"


_FIELD = (Field("a", "u8"),)
_WHOLE = Declarations(
    structures=(Structure(1, 1, "s", 1.0, _FIELD),), events=(EventDefinition(1, 1, "e", "low", "{a}", _FIELD),),
    reports=(Report(1, 9, 1, "r"),), commands=(Command("c", 1, 8, 1, "", function=1),),
    settings=(Setting(1, "p", "", 0.0, 0.0, 1.0, ""),), failures=(Failure.LATE,),
)  # fmt: skip


def gathered(*parts: Declarations) -> Dictionary:
    return collect(parts, mission="m", spacecraft_id=1, version="0", apids={"node": 1, "app": 2})


def test_the_order_of_the_parts_changes_nothing() -> None:
    other = Declarations(events=(EventDefinition(1, 2, "e2", "low", ""),), failures=(Failure.DEVICE,))
    assert gathered(_WHOLE, other).document() == gathered(other, _WHOLE).document()


def test_failure_codes_of_an_app_have_a_range_of_their_own() -> None:
    made = gathered(_WHOLE, Declarations(failures=(Strange.FIRST, Strange.LAST)))
    assert made.failures == {
        12: "its time had passed",
        100: "the first one",
        65_535: "the last one that fits its field",
    }
    assert {type(code) for code in made.failures} == {int}
    for code in (Strange.NONE, Strange.NODES, Strange.WIDE):
        with pytest.raises(SetupError, match=rf"failure code {int(code)} \({code.text}\), should be in 100 .. "):
            gathered(_WHOLE, Declarations(failures=(code,)))


@pytest.mark.parametrize(
    "again",
    [
        Declarations(structures=(Structure(2, 1, "other", 1.0, ()),)),  # commands name a structure by its number alone
        Declarations(structures=(Structure(1, 2, "s", 1.0, ()),)),
        Declarations(structures=(Structure(1, 2, "e", 1.0, ()),)),  # and a packet is named once, whatever its kind
        Declarations(structures=(Structure(2, 2, "r", 1.0, ()),)),
        Declarations(events=(EventDefinition(2, 1, "e", "low", ""),)),
        Declarations(events=(EventDefinition(2, 1, "r", "low", ""),)),
        Declarations(reports=(Report(2, 9, 1, "r"),)),
        Declarations(events=(EventDefinition(1, 1, "other", "low", ""),)),
        Declarations(reports=(Report(1, 9, 1, "other"),)),
        Declarations(commands=(Command("c", 1, 8, 1, "", function=2),)),
        Declarations(commands=(Command("other", 1, 8, 1, "", function=1),)),
        Declarations(commands=(Command("other", 1, 8, 1, ""),)),
        Declarations(commands=(Command("c2", 1, 17, 1, ""), Command("c3", 1, 17, 1, ""))),
        Declarations(settings=(Setting(1, "other", "", 0.0, 0.0, 1.0, ""),)),
        Declarations(settings=(Setting(2, "p", "", 0.0, 0.0, 1.0, ""),)),
        Declarations(failures=(Failure.LATE,)),
        Declarations(failures=(Strange.LATE_TOO,)),
    ],
)
def test_what_is_declared_twice_is_refused(again: Declarations) -> None:
    with pytest.raises(SetupError, match="declared twice"):
        gathered(_WHOLE, again)


def test_what_differs_in_one_number_or_in_its_application_is_told_apart() -> None:
    gathered(_WHOLE, Declarations(
        structures=(Structure(1, 2, "s2", 1.0, ()),),
        events=(EventDefinition(1, 2, "e2", "low", ""), EventDefinition(2, 1, "e3", "low", "")),
        reports=(Report(1, 9, 2, "r2"), Report(1, 8, 1, "r3"), Report(2, 9, 1, "r4"), Report(1, 5, 5, "r5")),
        commands=(
            Command("c2", 1, 8, 1, "", function=2), Command("c3", 2, 8, 1, "", function=1),
            Command("c4", 1, 8, 2, ""), Command("c5", 2, 8, 2, ""), Command("s", 1, 7, 1, "", function=1),
        ),
        settings=(Setting(2, "c", "", 0.0, 0.0, 1.0, ""),),
    ))  # fmt: skip


@pytest.mark.parametrize(("service", "subtype"), [(3, 25), (5, 1), (5, 2), (5, 3), (5, 4)])
def test_no_report_takes_the_numbers_of_structures_and_events(service: int, subtype: int) -> None:
    said = rf"report r2 as TM\[{service},{subtype}\], which is for structures and events"
    with pytest.raises(SetupError, match=said):
        gathered(_WHOLE, Declarations(reports=(Report(1, service, subtype, "r2"),)))


def test_every_shipped_event_text_can_be_formatted_with_its_fields() -> None:
    for event in ORBIT.events:
        values = {f.name: f.label(0) if f.type != "str" else "x" for f in event.fields}
        assert event.text.format(**values)
        event.layout.encode([0 if f.type != "str" else "x" for f in event.fields])


def test_documents_are_not_shared() -> None:
    first = ORBIT.document()
    before = copy.deepcopy(first)
    first["apids"]["node"] = 99
    assert ORBIT.document() == before
