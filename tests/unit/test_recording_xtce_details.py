"""XTCE in its corners: what may be compared with what, types made of others, and what each wrong element is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ground.recording.definitions.csv_fields import csv_definition
from tests.recording_batches import batch_of, values
from tests.unit.test_recording_refusals import refused
from tests.unit.test_recording_xtce import (
    DYNAMIC,
    FIXED,
    POLYNOMIAL,
    VARIABLE,
    absolute,
    binary,
    columns,
    comparison,
    container,
    decode,
    document,
    number,
    one_container,
    parameter,
    read,
    real,
    spline,
    stream,
    string,
    table,
)

INCLUDE = '<ParameterRefEntry parameterRef="{}"><IncludeCondition>{}</IncludeCondition></ParameterRefEntry>'


def test_texts_and_binary_data_are_compared_as_they_are() -> None:
    """Of fixed and of varying length, also those that not every packet has."""
    types = [
        number("N", 8), string("S", VARIABLE.format(DYNAMIC.format("N", 0), "")),
        binary("B", "<FixedValue>16</FixedValue>"),
        number("X", 8), string("T", FIXED.format(8, "")), number("Y", 8),
    ]  # fmt: skip
    listed = [
        "N", "S", "B", INCLUDE.format("X", comparison("S", "on")), INCLUDE.format("T", comparison("B", "0x0aFF", "!=")),
        INCLUDE.format("Y", comparison("T", "t")),
    ]  # fmt: skip
    text = document(types, map(parameter, "NSBXTY"), [container("A", *listed, base="CCSDSPacket")])
    data = [
        b"\x02on\x0a\xff\x05", b"\x03one\x0a\xff", b"\x00\x0a\xfett".replace(b"tt", b"t\x09"), b"\x02on\x0b\xff\x06u",
    ]  # fmt: skip
    found = columns(text, *data)
    assert found["X"] == [5, None, None, 6]
    assert found["T"] == [None, None, "t", "u"]
    assert found["Y"] == [None, None, 9, None]


def test_two_parameters_are_compared_by_value() -> None:
    condition = (
        "<BooleanExpression><Condition>"
        '<ParameterInstanceRef parameterRef="A"/><ComparisonOperator>{}</ComparisonOperator>'
        '<ParameterInstanceRef parameterRef="B" useCalibratedValue="{}"/></Condition></BooleanExpression>'
    )
    types = [number("A", 8), number("B", 8, POLYNOMIAL), number("X", 8), number("Y", 8)]
    listed = [
        "A", "B", INCLUDE.format("X", condition.format("==", "false")),
        INCLUDE.format("Y", condition.format("geq", "true")),
    ]  # fmt: skip
    text = document(types, map(parameter, "ABXY"), [container("C", *listed, base="CCSDSPacket")])
    # B of 20 is 70.
    assert columns(text, b"\x14\x14\x01", b"\x46\x14\x02", b"\x45\x14") == {
        "A": [20, 70, 69], "B": [70.0, 70.0, 70.0], "X": [1, None, None], "Y": [None, 2, None],
    }  # fmt: skip


def test_numbers_of_every_base_and_fraction() -> None:
    types = [number("A", 8), real("F", 32), *(number(one, 8) for one in "XYZ")]
    listed = [
        "A", "F", INCLUDE.format("X", comparison("A", "0x1F")), INCLUDE.format("Y", comparison("F", "1.5", "<=")),
        INCLUDE.format("Z", comparison("A", "2.5", ">")),
    ]  # fmt: skip
    text = document(types, map(parameter, "AFXYZ"), [container("C", *listed, base="CCSDSPacket")])
    found = columns(text, b"\x1f\x3f\xc0\0\0\1\2\3", b"\x02\x40\0\0\0", b"\x03\x7f\xc0\0\0\4")
    assert (found["X"], found["Y"], found["Z"]) == ([1, None, None], [2, None, None], [3, None, 4])


def test_sizes_by_floats_and_by_what_may_be_missing() -> None:
    """A size that is not a number, negative, or of a parameter that the packet does not have, is damage."""
    size = '<DynamicValue><ParameterInstanceRef parameterRef="{}"/><LinearAdjustment slope="4"/></DynamicValue>'
    types = [
        real("F", 32),
        number("N", 8),
        number("M", 8),
        binary("B", size.format("F")),
        binary("C", size.format("M")),
    ]
    listed = ["F", "N", INCLUDE.format("M", comparison("N", 1)), "B", "C"]
    text = document(types, map(parameter, "FNMBC"), [container("A", *listed, base="CCSDSPacket")])
    two, nan, minus = b"\x40\0\0\0", b"\x7f\xc0\0\0", b"\xc0\0\0\0"
    found = decode(text, two + b"\1\2xy", nan + b"\1\2xy", minus + b"\1\2xy", two + b"\0xy", two + b"\1\1x").tables[0]
    assert (found.rows.tolist(), found.damaged) == ([0], {"length": 4})
    assert (values(found.columns["B"]), values(found.columns["C"])) == ([b"x"], [b"y"])


ENUMERATED = (
    '<EnumeratedParameterType name="ON_t"><IntegerDataEncoding sizeInBits="8"/><EnumerationList>'
    '<Enumeration value="1" label="ON"/></EnumerationList></EnumeratedParameterType>'
)


def test_types_that_are_based_on_others() -> None:
    """They inherit encoding, unit and labels."""
    units = "<UnitSet><Unit>V</Unit></UnitSet>"
    types = [
        number("BASE", 8).replace("><IntegerDataEncoding", f">{units}<IntegerDataEncoding"),
        '<IntegerParameterType name="A_t" baseType="BASE_t"/>',
        ENUMERATED,
        '<EnumeratedParameterType name="B_t" baseType="ON_t"/>',
    ]  # fmt: skip
    made = table(one_container(types, "AB"), b"\x05\x01").columns
    assert (values(made["A"]), made["A"].unit) == ([5], "V")
    assert dict(made["B"].labels) == {1: "ON"}
    circle = ['<IntegerParameterType name="A_t" baseType="B_t"/>', '<IntegerParameterType name="B_t" baseType="A_t"/>']
    refused(one_container(circle, "A"), "is based on more than 16 types, one on another")


def test_a_container_inside_of_another_brings_what_it_extends() -> None:
    packets = [
        container("INNER", "X", abstract=True),
        container("MORE", "Y", base="INNER", where=comparison("X", 7)),
        container("A", '<ContainerRefEntry containerRef="MORE"/>', base="CCSDSPacket"),
    ]
    types = [number("X", 8), number("Y", 8)]
    assert columns(document(types, map(parameter, "XY"), packets), b"\x01\x02") == {"X": [1], "Y": [2]}
    packets[2] = container("A", '<ContainerRefEntry containerRef="INNER"/>', base="CCSDSPacket")
    refused(
        document(types, map(parameter, "XY"), packets), "INNER is abstract and extended by others; nothing tells which"
    )


AGGREGATE = (
    '<AggregateParameterType name="P_t"><MemberList><Member name="x" typeRef="X_t"/>'
    '<Member name="y" typeRef="X_t"/></MemberList></AggregateParameterType>'
)


def test_arrays_of_aggregates_and_of_a_size_said_at_the_entry() -> None:
    dimensions = (
        "<DimensionList><Dimension><StartingIndex><FixedValue>1</FixedValue></StartingIndex>"
        "<EndingIndex><FixedValue>2</FixedValue></EndingIndex></Dimension></DimensionList>"
    )
    types = [
        number("X", 8),
        AGGREGATE,
        '<ArrayParameterType name="A_t" arrayTypeRef="P_t" numberOfDimensions="1"/>',
    ]  # fmt: skip
    entry = f'<ArrayParameterRefEntry parameterRef="A">{dimensions}</ArrayParameterRefEntry>'
    assert columns(one_container(types, "A", [entry]), b"\1\2\3\4") == {"A.x": [[1, 3]], "A.y": [[2, 4]]}
    refused(one_container(types, "A", ["A"]), "is an array, but neither the entry nor its type has a DimensionList")
    twice = f"<RepeatEntry><Count><FixedValue>2</FixedValue></Count></RepeatEntry>{dimensions}"
    nested = f'<ArrayParameterRefEntry parameterRef="A">{twice}</ArrayParameterRefEntry>'
    found = decode(one_container(types, "A", [nested]), bytes(range(8))).tables
    assert values(found[1].columns["A.x"]) == [[0, 2], [4, 6]]


TEXT_NUMBER = (
    '<IntegerParameterType name="C_t"><StringDataEncoding><SizeInBits><Fixed><FixedValue>8</FixedValue></Fixed>'
    "</SizeInBits></StringDataEncoding></IntegerParameterType>"
)
WIDE_LABEL = (
    '<EnumeratedParameterType name="D_t"><IntegerDataEncoding sizeInBits="32"/><EnumerationList>'
    '<Enumeration value="0" maxValue="4000000000" label="ANY"/></EnumerationList></EnumeratedParameterType>'
)
BINARY_TIME = (
    '<AbsoluteTimeParameterType name="E_t"><Encoding><BinaryDataEncoding><SizeInBits><FixedValue>16</FixedValue>'
    "</SizeInBits></BinaryDataEncoding></Encoding></AbsoluteTimeParameterType>"
)
FLOAT_TIME = (
    '<AbsoluteTimeParameterType name="H_t"><Encoding scale="2"><FloatDataEncoding sizeInBits="32"/></Encoding>'
    "<ReferenceTime><Epoch>GPS</Epoch></ReferenceTime></AbsoluteTimeParameterType>"
)
HALF = POLYNOMIAL.replace('"-40.0"', '"0"').replace('"0.25"', '"0"')


def calibrated(time: str, calibrator: str) -> str:
    how = '<IntegerDataEncoding sizeInBits="8"'
    return time.replace(f"{how}/>", f"{how}>{calibrator}</IntegerDataEncoding>")


def test_what_is_passed_over_is_said() -> None:
    """None of it changes a value that is given."""
    transformed = binary("B", "<FixedValue>8</FixedValue>").replace(
        "</SizeInBits>", "</SizeInBits><FromBinaryTransformAlgorithm/>"
    )
    types = [
        number("A", 8, "<ErrorDetectCorrect/>"), transformed, TEXT_NUMBER, WIDE_LABEL, BINARY_TIME,
        calibrated(absolute("F", "TAI", ' scale="2"', 8), POLYNOMIAL), calibrated(absolute("G", "TAI", "", 8), HALF),
        FLOAT_TIME,
    ]  # fmt: skip
    text = one_container(types, "ABCDEFGH").replace("</TelemetryMetaData>", "<AlgorithmSet/></TelemetryMetaData>")
    text = text.replace(
        '<SequenceContainer name="A" abstract="false">', '<SequenceContainer name="A"><BinaryEncoding/>'
    )
    notes = read(text).unsupported
    for said in (
        "ErrorDetectCorrect: what it protects is not checked", "FromBinaryTransformAlgorithm is not supported",
        "C is not a number in the packet", "label 'ANY' stands for 4000000001 numbers",
        "time E is not a number in the packet",
        "a calibrator that is not a line, or scale and offset too: parameter F has no column",
        "time H is given as a number of seconds", "what algorithms compute is not in any packet",
        "size and error control of a container are not looked at",
    ):  # fmt: skip
        assert sum(said in note for note in notes) == 1, said
    assert len(notes) == 9
    found = table(text, b"\1b3\0\0\0\7tt\5\6\x3f\x80\0\0").columns
    made = {name: values(one)[0] for name, one in list(found.items())[7:]}
    assert made == {"A": 1, "B": b"b", "C": "3", "D": 7, "E": b"tt", "G": 6, "H": 2.0}
    assert found["G"].time is not None and found["G"].time.tick_s == 0.5


LOOKUP = '<DiscreteLookup value="1"/>'
CONTEXTS = "<ContextCalibratorList><ContextCalibrator/></ContextCalibratorList>"
NO_LABELS = '<EnumeratedParameterType name="X_t"><IntegerDataEncoding/></EnumeratedParameterType>'
STEEP = POLYNOMIAL.replace('exponent="2"', 'exponent="99"')
BOOLEAN = "<BooleanExpression>{}</BooleanExpression>"


def on(condition: str) -> Callable[[], str]:
    """A document whose second entry is asked for by a condition."""
    listed = ["X", INCLUDE.format("Y", condition)]
    types = (number("X", 8), number("Y", 8), string("S", FIXED.format(8, "")))
    return lambda: document(types, map(parameter, "XYS"), [container("A", "S", *listed, base="CCSDSPacket")])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (on('<Comparison parameterRef="X"/>'), "Comparison: has no attribute value"),
        (on('<Comparison value="1"/>'), "Comparison: has no attribute parameterRef"),
        (on('<Comparison parameterRef="X" value="1" instance="-1"/>'), "of the parameter other than the newest"),
        (on('<Comparison parameterRef="X" value="1" instance="x"/>'), "attribute instance is 'x', should be a whole"),
        (on('<Comparison parameterRef="X" value="1" useCalibratedValue="no"/>'), "should be true or false"),
        (on(comparison("S", "a", "<")), "S is not a number; only == and != can compare it"),
        (on(BOOLEAN.format("<ANDedConditions/>")), "ANDedConditions: holds no condition"),
        (on(BOOLEAN.format("<Not/>")), "should be a Condition, ANDedConditions or ORedConditions"),
        (on(BOOLEAN.format("<Condition/>")), "compares by ''"),
        (on(BOOLEAN.format("<Condition><ComparisonOperator>==</ComparisonOperator></Condition>")), "should have a P"),
        (lambda: one_container([binary("X", "")], "X"), "should have a FixedValue, a DynamicValue or a DiscreteLookup"),
        (lambda: one_container([binary("X", "<DynamicValue/>")], "X"), "has no ParameterInstanceRef"),
        (lambda: one_container([binary("X", "<DiscreteLookupList/>")], "X"), "has no DiscreteLookup"),
        (
            lambda: one_container([binary("X", f"<DiscreteLookupList>{LOOKUP}</DiscreteLookupList>")], "X"),
            "has no condition",
        ),
        (lambda: one_container([number("X", 8, STEEP)], "X"), "exponents 0..64"),
        (lambda: one_container([number("X", 8, POLYNOMIAL.replace('"0.5"', '"inf"'))], "X"), "coefficient is 'inf'"),
        (lambda: one_container([number("X", 8, spline(1, "maybe"))], "X"), "extrapolate is 'maybe', should be true or"),
        (
            lambda: one_container([number("X", 8, CONTEXTS)], "X"),
            "should have a ContextMatch, with a condition, and a Calibrator",
        ),
        (lambda: one_container([absolute("X", "TAI", ' scale="0"')], "X"), "scale is 0"),
        (lambda: one_container([absolute("X", "TAI", ' scale="1e-310"')], "X"), "attribute scale is '1e-310'"),
        (
            lambda: one_container([string("X", FIXED.format(16, '<TerminationChar>xyz</TerminationChar>'))], "X"),
            "TerminationChar: is 'xyz', should be the character's octets",
        ),
        (
            lambda: one_container([string("X", FIXED.format(16, '<LeadingSize sizeInBitsOfSizeTag="99"/>'))], "X"),
            "sizeInBitsOfSizeTag is 99, should be 1..64",
        ),
        (lambda: one_container([NO_LABELS], "X"), "has no EnumerationList"),
        (
            lambda: document([number("X", 8)], [parameter("X")], [container("A", "X", base="CCSDSPacket")],
                             '<SpaceSystem name="S"/><SpaceSystem name="S"/>'),
            "a second SpaceSystem 'S' in Test",
        ),
    ],
)  # fmt: skip
def test_each_wrong_element_is_told(text: Callable[[], str], said: str) -> None:
    refused(text(), said)


def test_what_may_not_be_asked_for() -> None:
    """Parameters that have no column, and calibrated values that depend on a context."""
    sums = "<DefaultCalibrator><MathOperationCalibrator/></DefaultCalibrator>"
    context = (
        f"<ContextCalibratorList><ContextCalibrator><ContextMatch>{comparison('APID', 1)}</ContextMatch><Calibrator>"
        '<PolynomialCalibrator><Term coefficient="2" exponent="1"/></PolynomialCalibrator></Calibrator>'
        "</ContextCalibrator></ContextCalibratorList>"
    )
    types = [number("X", 8, sums), number("Y", 8, context), number("Z", 100), number("N", 8)]
    for name, said in (
        ("X", "X cannot be referred to: MathOperationCalibrator is not supported"),
        ("Y", "only its raw value can be referred to"),
        ("Z", "Z cannot be referred to: IntegerDataEncoding: a number of 100 bits is not supported"),
    ):
        listed = ["X", "Y", "Z", INCLUDE.format("N", comparison(name, 1))]
        refused(one_container(types, "XYZN", listed), said)
    raw = ["X", "Y", INCLUDE.format("N", comparison("X", 1, calibrated=False))]
    assert columns(one_container(types, "XYZN", raw), b"\1\2\3") == {"Y": [4.0], "N": [3]}


def test_arrays_of_fill_and_of_numbers_in_their_places() -> None:
    lines = 'F,"fill(3)",8,48\nA,"uint(2)",12,72\nB,uint,8,96\nC,"int(2)",16,56'
    definition = csv_definition(f"name,data_type,bit_length,bit_offset\n{lines}", "a.csv", "a", primary_header=False)
    found = definition.decode(batch_of(stream(bytes.fromhex("01fffe123456aa")))).tables[0].columns
    assert {name: values(one)[0] for name, one in found.items()} == {"A": [0x123, 0x456], "B": 0xAA, "C": [-2, 0x1234]}
