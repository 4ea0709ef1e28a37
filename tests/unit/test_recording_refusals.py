"""Files of definitions that are refused, each with its place and with what would be right; and what CSV may say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flight.core.errors import OrbitnodeError
from ground.recording.definitions.csv_fields import csv_definition
from ground.recording.definitions.definition_files import OCTETS_MAX, DefinitionsByApid, read_definition
from tests.recording_batches import batch_of, values
from tests.unit.test_recording_xtce import (
    DYNAMIC,
    FIXED,
    VARIABLE,
    absolute,
    binary,
    comparison,
    container,
    document,
    number,
    one_container,
    parameter,
    read,
    real,
    spline,
    stream,
    string,
)


def refused(text: str, said: str) -> None:
    with pytest.raises(OrbitnodeError, match=said) as caught:
        read(text)
    assert str(caught.value).startswith("test.xml") and "\n" not in str(caught.value)


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]><SpaceSystem name="&c;"/>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><SpaceSystem name="a">&b;</SpaceSystem>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, r":1: has a document type declaration or an entity, which a file of definitions does not need"),
        (OUTSIDE, r":1: has a document type declaration"),
        ('<!DOCTYPE a SYSTEM "http://a/b.dtd"><a/>', r":1: has a document type declaration"),
        ("<a>&b;</a>", ":1: not XML: undefined entity"),
        ("<a>\n<b></a>", ":2: not XML: mismatched tag"),
        ("<a>" * 300, ":1: more than 200 elements inside one another"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "not XML: "),
        ("<html/>", ":1: html: is not XTCE: its first element should be SpaceSystem"),
        ('<SpaceSystem name="A"/>', r":1: SpaceSystem\[A\]: has no SequenceContainer"),
        ('<SpaceSystem name="A&#10;B"/>', r"name 'A\\nB' has a character that cannot be printed"),
        ("<SpaceSystem/>", ":1: SpaceSystem: has no attribute name"),
        ("hello", "not a file of definitions: neither XTCE"),
        ("a,b\n1,2", ":1: not a file of fields: its first line lacks name, data_type, bit_length"),
    ],
)  # fmt: skip
def test_what_is_no_definition(text: str, said: str) -> None:
    refused(text, said)


X = (number("X", 8),)
REF = '<ParameterRefEntry parameterRef="X">{}</ParameterRefEntry>'


def a_container(*listed: str) -> Callable[[], str]:
    return lambda: one_container(X, "X", listed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (a_container("NONE"), r"ParameterRefEntry: refers to parameter 'NONE', which is not in the file"),
        (a_container('<StreamSegmentEntry streamRef="x"/>'), "an entry of this kind is not supported"),
        (a_container(REF.format("<RepeatEntry/>")), "RepeatEntry: has no Count"),
        (
            a_container(REF.format("<IncludeCondition><CustomAlgorithm/></IncludeCondition>")),
            "CustomAlgorithm is not supported, and without it nothing tells which packets are meant",
        ),
        (
            a_container(REF.format('<LocationInContainerInBits referenceLocation="nextEntry"><FixedValue>1</FixedValue>'
                                   "</LocationInContainerInBits>")),
            "referenceLocation 'nextEntry' is not supported; should be previousEntry, containerStart, containerEnd",
        ),
        (
            a_container(REF.format("<LocationInContainerInBits><FixedValue>-90</FixedValue></LocationInContainerInBits>")),
            "begins at bit -42, outside 0..524336",
        ),
        (
            a_container("X", REF.format("<RepeatEntry><Count><FixedValue>100000</FixedValue></Count></RepeatEntry>")),
            "100000 times 8 bits, should be 0..524336 in all",
        ),
        (
            a_container(REF.format(f"<IncludeCondition>{comparison('X', 1)}</IncludeCondition>")),
            "X is referred to, but does not stand before this place in the packet",
        ),
        (
            a_container("X", REF.format("<RepeatEntry><Count><FixedValue>2</FixedValue></Count></RepeatEntry>"),
                        REF.format(f"<IncludeCondition>{comparison('X', 1)}</IncludeCondition>")),
            "X is referred to, but stands in a repeated entry",
        ),
        (
            a_container("X", REF.format(f"<IncludeCondition>{comparison('X', 'ON')}</IncludeCondition>")),
            "X compared with 'ON', which is not a number",
        ),
        (
            a_container("X", REF.format(f"<IncludeCondition>{comparison('X', 1, '~')}</IncludeCondition>")),
            "compares by '~', should be one of ==, !=, <, <=, >, >=",
        ),
        (a_container('<ContainerRefEntry containerRef="A"/>'), "is inside itself"),
        (lambda: one_container((number("X", 0),), "X"), "sizeInBits is 0, should be 1..524336"),
        (lambda: one_container((number("X", 16, byteOrder="middle"),), "X"), "byteOrder is 'middle', should be most"),
        (lambda: one_container(('<IntegerParameterType name="X_t"/>',), "X"), "has no IntegerDataEncoding or "),
        (lambda: one_container((string("X", ""),), "X"), "SizeInBits or Variable"),
        (lambda: one_container((string("X", VARIABLE.format("", "")),), "X"), "which say how long the text is"),
        (lambda: one_container((string("X", FIXED.format(8, ""), "KOI8"),), "X"), "is 'KOI8', should be one of"),
        (lambda: one_container((binary("X", "<FixedValue>x</FixedValue>"),), "X"), "is 'x', should be a whole"),
        (lambda: one_container((binary("X", DYNAMIC.format("Q", 0)),), "X"), "parameter 'Q', which is not"),
        (lambda: one_container((absolute("X", "soon"),), "X"), "Epoch: is 'soon', should be UNIX, POSIX, TAI"),
        (lambda: one_container((number("X", 8, spline(1).replace('"20"', '"5"')),), "X"), "values ascending"),
        (lambda: one_container((number("X", 8), number("X", 8)), "X"), "a second parameter type 'X_t'"),
        (
            lambda: document(X, [parameter("X")], [container("CCSDSPacket", "X")]),
            "a second container 'CCSDSPacket'; the first is at line",
        ),
        (
            lambda: document(X, [parameter("X")], [container("A", "X", base="B"), container("B", base="A")]).replace(
                'name="CCSDSPacket"', 'name="OTHER"').replace('base="CCSDSPacket"', ""),
            "",
        ),
        (
            lambda: document(X, [parameter("X")], [container(one, "X") for one in "RS"]).replace("CCSDSPacket", "T"),
            "several containers may be the root; name the one that every packet is as root container: T, R, S",
        ),
    ],
)  # fmt: skip
def test_what_would_make_values_wrong(text: Callable[[], str], said: str) -> None:
    if said:
        refused(text(), said)
    else:  # two that extend one another are reached from nowhere
        assert read(text()).root.name == "OTHER"


def test_a_container_that_grows_without_end_is_refused() -> None:
    """Each holds the one before it twice."""
    packets = [container("C0", "X")]
    packets += [container(f"C{i}", *[f'<ContainerRefEntry containerRef="C{i - 1}"/>'] * 2) for i in range(1, 40)]
    packets.append(container("A", '<ContainerRefEntry containerRef="C39"/>', base="CCSDSPacket"))
    refused(document(X, [parameter("X")], packets), "more than 65536 entries in all")


def test_only_what_packets_reach_is_looked_at() -> None:
    """A type that is not supported, of a parameter that no container under the root has."""
    strange = '<StrangeParameterType name="Y_t"/>'
    text = document([*X, strange], map(parameter, "XY"), [container("A", "X", base="CCSDSPacket"), container("B", "Y")])
    assert read(text).unsupported == ()
    with pytest.raises(OrbitnodeError, match=r"StrangeParameterType.* is not a supported type of parameter"):
        read(text, root_container="B")


def test_the_root_container_by_name() -> None:
    """What it extends comes first, and what else extends that is unknown."""
    types = (*X, real("F", 32))
    packets = [
        container("A", "X", base="CCSDSPacket", where=comparison("APID", 1), abstract=True),
        container("B", "F", base="A", where=comparison("X", 1)),
        container("C", base="A", where=comparison("X", 2)),
    ]
    text = document(types, map(parameter, "XF"), packets)
    octets = stream(b"\x01\x3f\x80\0\0", b"\x02")
    found = read(text, root_container="B").decode(batch_of(octets))
    assert [(one.name, values(one.columns["F"])) for one in found.tables] == [("B", [1.0])]
    assert found.unknown.tolist() == [False, True]
    with pytest.raises(OrbitnodeError, match="no container is called 'D'; the file has CCSDSPacket, A, B, C"):
        read(text, root_container="D")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "has no fields, only a first line"),
        ("A,uint,8\nB,real,8", "fields.csv:3: field B is of data_type 'real', should be uint, int, float, str or fill"),
        ("A,uint,x", "fields.csv:2: field A: bit_length is 'x', should be a whole number"),
        ("A,uint,65", "fields.csv:2: field A: a uint of 65 bits, should be 1 to 64"),
        ("A,float,24", "a float of 24 bits, should be 16, 32 or 64"),
        ("A,str,12", "a str of 12 bits, should be whole octets"),
        ("A,uint,8\nA,uint,8", "fields.csv:3: field 'A' has an earlier field's name"),
        ("CCSDS_APID,uint,8", "has the primary header's name"),
        (",uint,8", "a field without a name"),
        ('"A\nB",uint,8', r"a field named 'A\\nB', with a character that cannot be printed"),
        ("A,uint(N),8", "field A has as many values as field 'N' says, which does not stand before it"),
        ("A,uint(expand),8\nB,uint(expand),8", "field A takes what is left of the packet, but field B behind it"),
        ("N,uint,8\nA,uint(expand),8\nB,uint(N),8", "field A takes what is left of the packet, but field B behind it"),
        ("A,uint(0),8", "an array of 0 values"),
        ('A,"uint(9999999,9999999)",8', "an array of 99999980000001 values"),
        ('A,"uint(999999)",64', "999999 times 64 bits, should be 0..524336 in all"),
        ('"A,uint,8', "no fields|of data_type|first line lacks"),
    ],
)
def test_wrong_fields(lines: str, said: str) -> None:
    with pytest.raises(OrbitnodeError, match=said) as caught:
        csv_definition(f"name,data_type,bit_length\n{lines}", "fields.csv", "fields")
    assert str(caught.value).startswith("fields.csv")


def test_wrong_orders_and_places() -> None:
    for lines, said in (
        ("byte_order\nA,uint,16,123", "its byte order does not fit 16 bits"),
        ("byte_order\nA,uint,12,little", "its byte order does not fit 12 bits"),
        ("byte_order\nA,uint,16,11", "byte order '11', should be big, little, or digits"),
        ("bit_offset\nA,uint(expand),16,48", "is of varying length, and the file has a column bit_offset"),
        ("bit_offset\nA,uint,16,", "bit_offset is '', should be a whole number"),
        ("bit_offset\nA,uint,64,524300", "ends at bit 524364, beyond the 524336 bits"),
    ):
        with pytest.raises(OrbitnodeError, match=said):
            csv_definition(f"name,data_type,bit_length,{lines}", "fields.csv", "fields")


def test_fields_of_every_kind() -> None:
    text = (
        'name, data_type, bit_length, comment\nN, uint, 8, how many\nA, "uint(N)", 12, \nF, fill, 4,\nS, str, 32,\n'
        'B, "int(2,2)", 8,\nR, float, 32,\nH, float, 16,\nE, "int(expand)", 16,\nZ, uint, 8,'
    )
    definition = csv_definition(text, "fields.csv", "mine")
    data = bytes.fromhex("01 123f 61620000 ff01fe02 3f800000 3c00 fffe 0003 7f")
    other = bytes.fromhex("03 123456789f 20202041 ff01fe02 bf800000 c000 7e")
    found = definition.decode(batch_of(stream(data, other, other[:9], data + b"\0"))).tables[0]
    assert (found.name, found.rows.tolist(), found.damaged) == ("mine", [0, 1], {"length": 2})
    assert {name: values(one) for name, one in list(found.columns.items())[7:]} == {
        "N": [1, 3], "A": [[0x123], [0x123, 0x456, 0x789]], "S": ["ab", "   A"],
        "B": [[-1, 1, -2, 2]] * 2, "R": [1.0, -1.0], "H": [1.0, -2.0], "E": [[-2, 3], []], "Z": [0x7F, 0x7E],
    }  # fmt: skip
    assert definition.unsupported == ("fields.csv: column 'comment' is passed over",)
    assert values(found.columns["CCSDS_APID"]) == [1, 1]
    without = csv_definition(text, "fields.csv", "mine", primary_header=False).decode(batch_of(stream(data))).tables[0]
    assert next(iter(without.columns)) == "N"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.xml", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(OrbitnodeError, match="cannot be read: "):
            read_definition(path)
    large = tmp_path / "large.xml"
    with large.open("wb") as file:
        file.truncate(OCTETS_MAX + 1)
    with pytest.raises(OrbitnodeError, match=r"large\.xml: larger than 64 MiB"):
        read_definition(large)


def test_definitions_by_apid() -> None:
    """One for several APIDs makes one table; two with tables of one name are told apart."""
    first, second = (csv_definition(f"name,data_type,bit_length\n{one},uint,8", "a.csv", "a") for one in "XY")
    by_apid = DefinitionsByApid({1: first, 2: second, 3: first})
    octets = stream(b"\x01") + stream(b"\x02", apid=2) + stream(b"\x03", apid=3) + stream(b"\x04", apid=4)
    for _ in range(2):
        found = by_apid.decode(batch_of(octets))
        assert {one.name: one.rows.tolist() for one in found.tables} == {"a": [0, 2], "a.2": [1]}
        assert found.unknown.tolist() == [False, False, False, True]
    only = by_apid.decode(batch_of(stream(b"\x02", apid=2)))
    assert [one.name for one in only.tables] == ["a.2"]
    with pytest.raises(OrbitnodeError, match=r"APID 2048 is outside 0\.\.2047"):
        DefinitionsByApid({2048: first})
