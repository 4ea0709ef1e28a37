"""Files of definitions that are cut, altered or made up: each is read, or refused with a message that names the file.

What is read decodes any packets. A mutation is of octets, or of words: an attribute's value, a name or an element takes
the place of another one of the same file, or of what such files hold elsewhere.
"""

from __future__ import annotations

import json
import re
from functools import cache

from hypothesis import example, given
from hypothesis import strategies as st

from flight.core.errors import OrbitnodeError
from flight.kernels import encode_packets
from ground.recording.definition import PacketDefinition
from ground.recording.definitions.definition_files import definition_of
from ground.xtce.document import xtce_document
from tests.ground_dictionary import make
from tests.recording_batches import batch_of
from tests.unit import test_recording_xtce as written

WORDS = (
    "", "-1", "0", "1", "64", "65", "1e400", "99999999999999999999", "0x1f", "true", "nan", "1,0", "..", "/", "A", "é",
    "APID", "leastSignificantByteFirst", "twosComplement", "containerEnd", "nextEntry", "MILSTD_1750A", "packedBCD",
    "TAI",
)  # fmt: skip
TAGS = (
    "FixedValue", "DynamicValue", "RepeatEntry", "IncludeCondition", "ParameterSegmentRefEntry", "ContainerRefEntry",
    "SplineCalibrator", "MathOperationCalibrator", "TerminationChar", "LeadingSize", "AggregateParameterType",
    "CustomAlgorithm",
)  # fmt: skip
WORD = re.compile(rb'(?<==")[^"]*(?=")|(?<=>)[^<>]+(?=<)|(?<=<)/?[A-Za-z]+|[A-Za-z_0-9.]+(?=,)|(?<=: )[^,}\]]+')


ENUMERATED = (
    '<EnumeratedParameterType name="E_t"><IntegerDataEncoding sizeInBits="8"/><EnumerationList>'
    '<Enumeration value="1" maxValue="3" label="ON"/></EnumerationList></EnumeratedParameterType>'
)
ARRAY = (
    '<ArrayParameterType name="A_t" arrayTypeRef="X_t"><DimensionList><Dimension><StartingIndex><FixedValue>0'
    "</FixedValue></StartingIndex><EndingIndex><FixedValue>3</FixedValue></EndingIndex></Dimension></DimensionList>"
    "</ArrayParameterType>"
)
AGGREGATE = (
    '<AggregateParameterType name="P_t"><MemberList><Member name="x" typeRef="X_t"/><Member name="e" typeRef="E_t"/>'
    "</MemberList></AggregateParameterType>"
)


def _everything() -> str:
    """A document with an element of each kind."""
    number, string, parameter = written.number, written.string, written.parameter
    types = [
        number("N", 8, written.POLYNOMIAL), number("X", 12, written.spline(1)), written.real("F", 32),
        string("S", written.VARIABLE.format(written.DYNAMIC.format("N", 8), "<TerminationChar>00</TerminationChar>")),
        string("L", written.FIXED.format(40, '<LeadingSize sizeInBitsOfSizeTag="8"/>')),
        written.binary("B", "<FixedValue>16</FixedValue>"), written.absolute("T", "GPS", ' scale="0.5"'),
        ENUMERATED, ARRAY, AGGREGATE,
    ]  # fmt: skip
    where = written.comparison("APID", 1)
    repeat = (
        '<ParameterRefEntry parameterRef="X"><LocationInContainerInBits referenceLocation="previousEntry"><FixedValue>4'
        "</FixedValue></LocationInContainerInBits><RepeatEntry><Count><DynamicValue>"
        '<ParameterInstanceRef parameterRef="N" useCalibratedValue="false"/></DynamicValue></Count></RepeatEntry>'
        f"<IncludeCondition>{where}</IncludeCondition></ParameterRefEntry>"
    )
    containers = [
        written.container("INNER", "X", "S", abstract=True),
        written.container("ONE", "N", "E", "P", repeat, base="CCSDSPacket", where=where),
        written.container("TWO", "A", "T", "F", '<ContainerRefEntry containerRef="INNER"/>', base="ONE",
                          where=written.comparison("E", "ON")),
        written.container("THREE", "L", "B", base="ONE", where=written.comparison("P.x", 3, ">")),
    ]  # fmt: skip
    names = "NXFSLBTEAP"
    return written.document(types, map(parameter, names), containers)


FIELDS = (
    "name, data_type, bit_length, byte_order\nA, uint, 32, little\nB, int, 5, big\nC, fill, 3, big\n"
    'D, "uint(2, 3)", 8, \nE, str, 16, \nF, float, 32, 4321\nN, uint, 8, \nG, "uint(N)", 16, \n'
    "H, uint(expand), 8, \nI, uint, 8,"
)
PLACED = "name,data_type,bit_length,bit_offset\nA,uint,32,48\nB,int,5,80\nC,uint(4),3,96\n"


@cache
def files() -> tuple[bytes, ...]:
    dictionary = make()
    texts = (_everything(), xtce_document(dictionary), FIELDS, PLACED, json.dumps(dictionary.document()))
    return tuple(text.encode() for text in texts)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    octets = bytearray(draw(st.sampled_from(files())))
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(("word", "word", "word", "octet", "cut", "copy")))
        if kind == "word":
            places = [(found.start(), found.end()) for found in WORD.finditer(octets)]
            if places:
                start, end = draw(st.sampled_from(places))
                low, high = draw(st.sampled_from(places))
                other = draw(st.sampled_from((bytes(octets[low:high]), *(one.encode() for one in (*WORDS, *TAGS)))))
                octets[start:end] = other
        elif kind == "octet" and octets:
            octets[draw(st.integers(0, len(octets) - 1))] = draw(st.integers(0, 255))
        elif kind == "cut":
            del octets[draw(st.integers(0, len(octets))) :]
        else:
            start = draw(st.integers(0, len(octets)))
            part = octets[start : start + draw(st.integers(0, 400))]
            place = draw(st.integers(0, len(octets)))
            octets[place:place] = part
    return bytes(octets)


PACKETS = encode_packets([bytes((i * 7 + k * k) % 256 for k in range(1 + 9 * i)) for i in range(12)], 1, flags=0b0111)


def read(octets: bytes) -> PacketDefinition | str:
    """The definition, or why there is none."""
    try:
        return definition_of(octets, "some/file.xml", "table")
    except OrbitnodeError as error:
        return str(error)


@given(mutated())
def test_any_file_is_read_or_refused(octets: bytes) -> None:
    definition = read(octets)
    if isinstance(definition, str):
        assert definition.startswith("some/file.xml") and "\n" not in definition
        return
    found = definition.decode(batch_of(bytes(PACKETS)))
    for table in found.tables:
        for column in table.columns.values():
            assert len(column) == len(table)
            assert column.present is None or len(column.present) == len(table)
    assert all(note.startswith("some/file.xml") for note in definition.unsupported)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@example(b"<")
@example(b"{")
@example(b"{}")
@example(b"[]")
@example(b"\xff\xfe<\x00")
@example(b'<?xml version="1.0" encoding="x"?><a/>')
@example(b'name,data_type,bit_length\n"')
def test_any_octets_are_refused(octets: bytes) -> None:
    said = read(octets)
    assert isinstance(said, str) and said.startswith("some/file.xml")
