"""The names in an XTCE document: each is there once in its set, for any dictionary, and refers to one thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.contract.collect import collect
from flight.contract.dictionary import Command, Declarations, Dictionary, EventDefinition, Report, Structure
from flight.contract.fields import Field
from flight.contract.names import is_name
from ground.xtce.dialect import XTCE, YAMCS
from ground.xtce.document import NAMESPACE, xtce_document
from tests.ground_dictionary import make

SETS = (
    "ParameterTypeSet", "ParameterSet", "ContainerSet", "ArgumentTypeSet", "MetaCommandSet", "ArgumentList",
    "MemberList",
)  # fmt: skip
# Few names, so that they meet: also those that the document itself puts behind others, and some that could be two.
NAMES = st.sampled_from([
    "a", "b", "a_b", "octets", "count", "row", "row_a", "t", "a_t", "a_packet", "a_2",
    "a__b", "b__a", "a__octets", "a__count", "a__row", "a__row__a", "b__octets", "a__t", "a_", "b_",
])  # fmt: skip
ODD = st.one_of(
    NAMES, st.sampled_from(["", "_", "_a", "a_", "a.b", "a/b", "FAILURE_DETAIL", "PusReport", "PusTelecommand", "apid"])
)


def fields(names: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[Field, ...]]:
    plain = st.builds(Field, names, st.sampled_from(["u8", "str", "packet", "f32", "time"]))
    columns = st.lists(plain, min_size=1, max_size=3, unique_by=lambda field: field.name).map(tuple)
    rows = st.builds(lambda name, inner: Field(name, "rows", fields=inner), names, columns)
    return st.lists(plain | rows, max_size=4, unique_by=lambda field: field.name).map(tuple)


def parts(names: st.SearchStrategy[str]) -> st.SearchStrategy[list[tuple[str, tuple[Field, ...]]]]:
    return st.lists(st.tuples(names, fields(names)), max_size=6, unique_by=lambda part: part[0])


def declared(
    packets: Sequence[tuple[str, tuple[Field, ...]]], commands: Iterable[tuple[str, tuple[Field, ...]]]
) -> Declarations:
    """Structures, events and reports in turn, and commands."""
    return Declarations(
        structures=tuple(Structure(1, 40 + i, name, 1.0, given) for i, (name, given) in enumerate(packets[::3])),
        events=tuple(EventDefinition(1, i, name, "low", "", given) for i, (name, given) in enumerate(packets[1::3])),
        reports=tuple(Report(1, 130, i, name, given) for i, (name, given) in enumerate(packets[2::3])),
        commands=tuple(Command(name, 1, 131, i, "", given) for i, (name, given) in enumerate(commands)),
    )


def check(dictionary: Dictionary) -> None:
    for dialect in (XTCE, YAMCS):
        root = ET.fromstring(xtce_document(dictionary, dialect))
        for kind in SETS:
            for found in root.iter(f"{{{NAMESPACE}}}{kind}"):
                names = Counter(element.get("name") for element in found)
                assert [name for name, count in names.items() if count > 1] == [], (dialect, kind)


@settings(max_examples=150)
@given(parts(NAMES.filter(is_name)), parts(NAMES.filter(is_name)))
def test_whatever_may_be_declared_has_names_of_its_own(
    packets: list[tuple[str, tuple[Field, ...]]], commands: list[tuple[str, tuple[Field, ...]]]
) -> None:
    part = declared(packets, commands)
    check(collect([part], mission="m", spacecraft_id=1, version="1", apids={"node": 1, "time": 0, "files": 9}))


@pytest.mark.campaign
@settings(max_examples=150)
@given(parts(ODD), parts(ODD))
def test_so_have_documents_of_others(
    packets: list[tuple[str, tuple[Field, ...]]], commands: list[tuple[str, tuple[Field, ...]]]
) -> None:
    part = declared(packets, commands)
    check(
        replace(
            make(), structures=part.structures, events=part.events, reports=part.reports, commands=part.commands
        )
    )  # fmt: skip
