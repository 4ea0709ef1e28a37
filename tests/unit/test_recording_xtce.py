"""XTCE files: what each element means for the columns, beside space-packet-parser if that reads the element too."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flight.core.nanoseconds import NS
from flight.kernels import encode_packets
from ground.recording.definition import DecodedBatch
from ground.recording.definitions.definition_files import definition_of
from ground.recording.definitions.packet_tree import PacketTree
from ground.recording.table import ColumnKind, Table
from tests.recording_batches import batch_of, values

LITTLE = "leastSignificantByteFirst"
HEADER = (("VERSION", 3), ("TYPE", 1), ("SEC", 1), ("APID", 11), ("FLAGS", 2), ("SEQ", 14), ("LENGTH", 16))


def number(name: str, bits: int, inner: str = "", **attributes: str) -> str:
    """An integer type."""
    written = "".join(f' {key}="{one}"' for key, one in attributes.items())
    return (
        f'<IntegerParameterType name="{name}_t"><IntegerDataEncoding sizeInBits="{bits}"{written}>{inner}'
        "</IntegerDataEncoding></IntegerParameterType>"
    )


def real(name: str, bits: int, encoding: str = "IEEE754", inner: str = "", **attributes: str) -> str:
    written = "".join(f' {key}="{one}"' for key, one in attributes.items())
    return (
        f'<FloatParameterType name="{name}_t"><FloatDataEncoding sizeInBits="{bits}" encoding="{encoding}"{written}>'
        f"{inner}</FloatDataEncoding></FloatParameterType>"
    )


def parameter(name: str, kind: str = "") -> str:
    return f'<Parameter name="{name}" parameterTypeRef="{kind or name}_t"/>'


def entries(*names: str) -> str:
    """References to parameters, and whole elements as they are."""
    return "".join(one if one.startswith("<") else f'<ParameterRefEntry parameterRef="{one}"/>' for one in names)


def container(name: str, *listed: str, base: str = "", where: str = "", abstract: bool = False) -> str:
    extends = base and (
        f'<BaseContainer containerRef="{base}">{where and f"<RestrictionCriteria>{where}</RestrictionCriteria>"}'
        "</BaseContainer>"
    )
    return (
        f'<SequenceContainer name="{name}" abstract="{str(abstract).lower()}"><EntryList>{entries(*listed)}</EntryList>'
        f"{extends}</SequenceContainer>"
    )


def document(types: Iterable[str], parameters: Iterable[str], containers: Iterable[str], more: str = "") -> str:
    """A SpaceSystem with the primary header as CCSDSPacket, and what is given."""
    listed = "".join(number(name, bits) for name, bits in HEADER) + "".join(types)
    named = "".join(parameter(name) for name, _ in HEADER) + "".join(parameters)
    packets = container("CCSDSPacket", *(name for name, _ in HEADER), abstract=True) + "".join(containers)
    return (
        '<?xml version="1.0"?>\n<SpaceSystem name="Test" xmlns="http://www.omg.org/spec/XTCE/20180204">\n'
        f"<TelemetryMetaData>\n<ParameterTypeSet>{listed}</ParameterTypeSet>\n<ParameterSet>{named}</ParameterSet>\n"
        f"<ContainerSet>{packets}</ContainerSet></TelemetryMetaData>{more}</SpaceSystem>"
    )


def one_container(types: Iterable[str], names: Iterable[str], listed: Iterable[str] = ()) -> str:
    """A document of one container A, whose parameters are called as their types."""
    every = list(names)
    return document(types, map(parameter, every), [container("A", *(listed or every), base="CCSDSPacket")])


def comparison(name: str, value: object, operator: str = "==", calibrated: bool = True) -> str:
    shown = operator.replace("<", "&lt;").replace(">", "&gt;")
    return (
        f'<Comparison parameterRef="{name}" comparisonOperator="{shown}" value="{value}" '
        f'useCalibratedValue="{str(calibrated).lower()}"/>'
    )


def read(text: str, **how: Any) -> PacketTree:
    made = definition_of(text.encode(), "test.xml", "test", **how)
    assert isinstance(made, PacketTree)
    return made


def stream(*data: bytes, apid: int = 1) -> bytes:
    return bytes(encode_packets(list(data), apid))


def decode(text: str, *data: bytes) -> DecodedBatch:
    return read(text).decode(batch_of(stream(*data)))


def table(text: str, *data: bytes) -> Table:
    """The one table, with all of the packets in it."""
    found = decode(text, *data)
    (made,) = found.tables
    assert not found.unknown.any() and made.damaged == {} and len(made) == len(data)
    return made


def columns(text: str, *data: bytes) -> dict[str, list[Any]]:
    return {name: values(one) for name, one in table(text, *data).columns.items() if name not in dict(HEADER)}


def peer(tmp_path: Path, text: str, *data: bytes) -> dict[str, list[Any]]:
    """The same by space-packet-parser."""
    space_packet_parser = pytest.importorskip("space_packet_parser")
    path = tmp_path / "test.xml"
    path.write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        definition = space_packet_parser.load_xtce(path)
        made: dict[str, list[Any]] = {}
        for raw in space_packet_parser.ccsds_generator(stream(*data)):
            for name, value in definition.parse_bytes(raw).items():
                if name not in dict(HEADER):
                    made.setdefault(name, []).append(value)
    return made


def test_numbers_of_every_size_and_order(tmp_path: Path) -> None:
    types = [
        number("A", 3), number("B", 13, encoding="twosComplement"), number("C", 16, byteOrder=LITTLE),
        number("D", 24, encoding="twosComplement", byteOrder=LITTLE), number("E", 64), real("F", 32),
        real("G", 64, byteOrder=LITTLE), real("H", 16), real("I", 32, "MILSTD_1750A"),
    ]  # fmt: skip
    text = one_container(types, "ABCDEFGHI")
    data = [bytes((seed * 37 + k * 61) % 256 for k in range(35)) for seed in range(9)]
    found, other = columns(text, *data), peer(tmp_path, text, *data)
    assert list(found) == list(other) == list("ABCDEFGHI")
    for name in found:
        assert np.array_equal(found[name], other[name], equal_nan=name in "FGH"), name
    types_of = {name: one.values.dtype.str[1:] for name, one in table(text, *data).columns.items()}
    assert [types_of[name] for name in "ABCDEFGHI"] == ["u1", "i2", "u2", "i4", "u8", "f4", "f8", "f4", "f8"]


def test_numbers_that_others_do_not_read() -> None:
    types = [
        number("A", 8, encoding="signMagnitude"), number("B", 12, encoding="onesComplement"),
        number("C", 12, encoding="packedBCD"), number("D", 5, bitOrder="leastSignificantBitFirst"), number("E", 3),
        number("F", 32, byteOrder="1,0,3,2"), real("G", 48, "MILSTD_1750A"),
        number("H", 16, '<ByteOrderList><Byte byteSignificance="0"/><Byte byteSignificance="1"/></ByteOrderList>'),
    ]  # fmt: skip
    data = [
        bytes.fromhex("85ffe12381010203044000000100000102"),
        bytes.fromhex("050019a0ff000000018000000100010200"),
    ]
    found = columns(one_container(types, "ABCDEFGH"), *data)
    assert found["A"] == [-5, 5]
    assert found["B"] == [-1, 1]
    assert found["C"] == [123, None]  # a is not a digit
    assert (found["D"], found["E"]) == ([0b00001, 0b11111], [1, 7])
    assert found["F"] == [0x03040102, 0x00010000]
    assert found["G"] == [1.0, (-(2**39) + 1) * 2.0**-38]
    assert found["H"] == [0x0201, 0x0002]


POLYNOMIAL = "<DefaultCalibrator><PolynomialCalibrator>{}</PolynomialCalibrator></DefaultCalibrator>".format(
    "".join(f'<Term coefficient="{c}" exponent="{e}"/>' for e, c in enumerate((-40.0, 0.5, 0.25)))
)


def spline(order: int, extrapolate: str = "false") -> str:
    points = "".join(f'<SplinePoint raw="{raw}" calibrated="{value}"/>' for raw, value in ((0, 10), (10, 20), (20, 0)))
    return (
        f'<DefaultCalibrator><SplineCalibrator order="{order}" extrapolate="{extrapolate}">{points}</SplineCalibrator>'
        "</DefaultCalibrator>"
    )


def test_calibrators(tmp_path: Path) -> None:
    types = [number("A", 8, POLYNOMIAL), number("B", 8, spline(0)), number("C", 8, spline(1))]
    text = one_container(types, "ABC")
    data = [bytes((one, one, one)) for one in (0, 1, 5, 9, 10, 11, 19)]
    found = columns(text, *data)
    assert found == peer(tmp_path, text, *data)
    assert found["C"] == [10.0, 11.0, 15.0, 19.0, 20.0, 18.0, 2.0]
    text = one_container([number("B", 8, spline(0, "true")), number("C", 8, spline(1, "true"))], "BC")
    assert columns(text, b"\x14\x14", b"\x1e\x1e") == {"B": [0.0, 0.0], "C": [0.0, -20.0]}


def test_outside_of_a_spline_there_is_no_value() -> None:
    text = one_container([number("B", 8, spline(1))], "B")
    assert columns(text, b"\x14", b"\x15") == {"B": [0.0, None]}


def test_a_spline_is_linear_unless_it_says_otherwise() -> None:
    """Order 1 is the default of the schema."""
    written = spline(1).replace(' order="1"', "")
    assert columns(one_container([number("B", 8, written)], "B"), b"\x05") == {"B": [15.0]}


def test_calibrators_of_a_context(tmp_path: Path) -> None:
    context = (
        "<ContextCalibratorList><ContextCalibrator><ContextMatch>{}</ContextMatch><Calibrator><PolynomialCalibrator>"
        '<Term coefficient="{}" exponent="1"/></PolynomialCalibrator></Calibrator></ContextCalibrator>'
        "</ContextCalibratorList>"
    )
    inner = POLYNOMIAL + context.format(comparison("A", 1), 2)
    text = one_container([number("A", 8), number("B", 8, inner)], "AB")
    data = [b"\x01\x05", b"\x00\x05", b"\x01\x07", b"\x02\x08"]
    found = columns(text, *data)
    assert found == peer(tmp_path, text, *data)
    assert found["B"] == [10.0, -40 + 2.5 + 6.25, 14.0, -40 + 4 + 16.0]
    # Its own raw value may be the context.
    own = POLYNOMIAL + context.format(comparison("B", 6, ">", False), 3)
    text = one_container([number("A", 8), number("B", 8, own)], "AB")
    assert columns(text, *data)["B"] == peer(tmp_path, text, *data)["B"]


def test_enumerations_and_booleans() -> None:
    enumerated = (
        '<EnumeratedParameterType name="A_t"><IntegerDataEncoding sizeInBits="8"/><EnumerationList>'
        '<Enumeration value="0" label="OFF"/><Enumeration value="1" maxValue="3" label="ON"/></EnumerationList>'
        "</EnumeratedParameterType>"
    )
    boolean = '<BooleanParameterType name="B_t"><IntegerDataEncoding sizeInBits="8"/></BooleanParameterType>'
    made = table(one_container([enumerated, boolean], "AB"), b"\x00\x00", b"\x02\x05", b"\x09\x01")
    assert values(made.columns["A"]) == [0, 2, 9]
    assert dict(made.columns["A"].labels) == {0: "OFF", 1: "ON", 2: "ON", 3: "ON"}
    assert values(made.columns["B"]) == [0, 1, 1]
    assert dict(made.columns["B"].labels) == {0: "False", 1: "True"}


def string(name: str, inner: str, encoding: str = "UTF-8") -> str:
    return (
        f'<StringParameterType name="{name}_t"><StringDataEncoding encoding="{encoding}">{inner}</StringDataEncoding>'
        "</StringParameterType>"
    )


FIXED = "<SizeInBits><Fixed><FixedValue>{}</FixedValue></Fixed>{}</SizeInBits>"
DYNAMIC = (
    '<DynamicValue><ParameterInstanceRef parameterRef="{}"/><LinearAdjustment slope="8" intercept="{}"/></DynamicValue>'
)
VARIABLE = '<Variable maxSizeInBits="800">{}{}</Variable>'


def test_texts(tmp_path: Path) -> None:
    types = [
        number("N", 8), string("A", FIXED.format(32, "")),
        string("B", FIXED.format(48, "<TerminationChar>00</TerminationChar>")),
        string("C", FIXED.format(40, '<LeadingSize sizeInBitsOfSizeTag="8"/>')),
        string("D", VARIABLE.format(DYNAMIC.format("N", 0), "")),
        string("E", VARIABLE.format(DYNAMIC.format("N", 8), "<TerminationChar>2e</TerminationChar>"), "ISO-8859-1"),
        string("F", FIXED.format(32, ""), "UTF-16BE"), number("Z", 8),
    ]  # fmt: skip
    data = [
        b"\x03" + b"abcd" + b"xy\0zzz" + b"\x10hi.." + b"DDD" + b"\xe9.ab" + "ж!".encode("utf-16-be") + b"\x01",
        b"\x00" + "žž".encode() + b"\0qqqqq" + b"\x00...." + b"" + b"." + "aa".encode("utf-16-be") + b"\x02",
        b"\x01" + b"wxyz" + b"12345\0" + b"\x20long" + b"1" + b"a." + "bb".encode("utf-16-be") + b"\x03",
    ]  # fmt: skip
    text = one_container(types, "NABCDEFZ")
    found = columns(text, *data)
    assert found == peer(tmp_path, text, *data)
    assert found["E"] == ["é", "", "a"]
    assert table(text, *data).columns["A"].kind is ColumnKind.TEXT


def test_texts_that_only_their_end_or_their_beginning_measures() -> None:
    types = [
        string("A", VARIABLE.format("", "<TerminationChar>00</TerminationChar>")),
        string("B", VARIABLE.format("", '<LeadingSize sizeInBitsOfSizeTag="8"/>')),
        string("C", VARIABLE.format("", "<TerminationChar>0000</TerminationChar>"), "UTF-16LE"), number("Z", 8),
    ]  # fmt: skip
    text = one_container(types, "ABCZ")
    data = [b"one\0" + b"\x18two" + "śa".encode("utf-16-le") + b"\0\0" + b"\x07", b"\0\0" + b"a\0\0\0" + b"\x09"]
    assert columns(text, *data) == {"A": ["one", ""], "B": ["two", ""], "C": ["śa", "a"], "Z": [7, 9]}
    found = decode(text, b"no end", *data)
    assert (len(found.tables[0]), found.tables[0].damaged) == (2, {"length": 1})


def test_a_text_that_is_none_keeps_its_packet() -> None:
    text = one_container([string("A", FIXED.format(24, "")), string("B", FIXED.format(8, ""), "US-ASCII")], "AB")
    assert columns(text, b"ab\xffc", b"\xc3\xa9b\xe9") == {"A": ["ab�", "éb"], "B": ["c", "�"]}


def binary(name: str, size: str) -> str:
    return (
        f'<BinaryParameterType name="{name}_t"><BinaryDataEncoding><SizeInBits>{size}</SizeInBits></BinaryDataEncoding>'
        "</BinaryParameterType>"
    )


SIZES = ((0, 8), (1, 16))


def test_binary_data(tmp_path: Path) -> None:
    lookup = "<DiscreteLookupList>{}</DiscreteLookupList>".format(
        "".join(
            f'<DiscreteLookup value="{size}">{comparison("N", n)}</DiscreteLookup>' for n, size in ((0, 8), (1, 16))
        )
    )
    types = [
        number("N", 8), binary("A", "<FixedValue>24</FixedValue>"), binary("B", DYNAMIC.format("N", 16)),
        number("H", 4), binary("C", lookup), number("L", 4), number("Z", 8),
    ]  # fmt: skip
    text = one_container(types, "NABHCLZ")
    data = [
        b"\x00" + b"abc" + b"de" + b"\x5a\xb7" + b"\x01", b"\x01" + b"ABC" + b"DEF" + b"\x12\x34\x56" + b"\x02",
    ]  # fmt: skip
    found = columns(text, *data)
    assert found == peer(tmp_path, text, *data)
    assert found["C"] == [b"\xab", b"\x23\x45"]
    lost = decode(text, *data, b"\x02" + bytes(20))
    assert lost.tables[0].damaged == {"length": 1}  # nobody says how long C is


TIME = (
    '<{0}TimeParameterType name="{1}_t"><Encoding{2}><IntegerDataEncoding sizeInBits="{3}"/></Encoding>{4}'
    "</{0}TimeParameterType>"
)


def absolute(name: str, epoch: str, attributes: str = "", bits: int = 32) -> str:
    since = epoch and f"<ReferenceTime><Epoch>{epoch}</Epoch></ReferenceTime>"
    return TIME.format("Absolute", name, attributes, bits, since)


def posix_ns(year: int, month: int, day: int, hour: int = 0, second: float = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp()) * NS + round(second * NS)


def test_times() -> None:
    types = [
        absolute("A", "UNIX"), absolute("B", "TAI", ' scale="1.52587890625e-05"', 48),
        absolute("C", "GPS", ' units="seconds" scale="0.001" offset="10"'), absolute("D", "J2000"),
        absolute("E", "2000-01-01"), absolute("F", "2000-01-01T12:00:00Z", ' units="days"'), absolute("G", ""),
        TIME.format("Relative", "H", ' scale="0.5"', 8, ""),
    ]  # fmt: skip
    found = table(one_container(types, "ABCDEFGH"), bytes(range(31))).columns
    assert found["A"].values.tolist() == [0x00010203]
    scale = {name: found[name].time for name in "ABCDEFG"}
    assert all(scale[name] is not None for name in "ABCDEF") and scale["G"] is None
    made = {name: (one.tick_s, one.zero_ns, one.is_tai) for name, one in scale.items() if one is not None}
    days_ns = (datetime(1970, 1, 1, tzinfo=UTC) - datetime(1958, 1, 1, tzinfo=UTC)).days * 86_400 * NS
    assert made == {
        "A": (1, 0, False), "B": (Fraction(1, 65536), 0, True),
        "C": (Fraction(1, 1000), days_ns + posix_ns(1980, 1, 6, second=10 + 19), True),
        "D": (1, days_ns + posix_ns(2000, 1, 1, 12, -32.184), True), "E": (1, posix_ns(2000, 1, 1), False),
        "F": (86_400, posix_ns(2000, 1, 1, 12), False),
    }  # fmt: skip
    assert (values(found["H"]), found["H"].unit) == ([15.0], "seconds")
    (note,) = read(one_container(types, "ABCDEFGH")).unsupported
    assert (
        "AbsoluteTimeParameterType[G_t]: time G is given as a number of seconds: the date that it counts from" in note
    )


def test_containers_extend_one_another(tmp_path: Path) -> None:
    """By values of the header, of what an extension added, calibrated and not, and by any of several."""
    enumerated = (
        '<EnumeratedParameterType name="MODE_t"><IntegerDataEncoding sizeInBits="8"/><EnumerationList>'
        '<Enumeration value="7" label="SAFE"/><Enumeration value="9" label="IDLE"/></EnumerationList>'
        "</EnumeratedParameterType>"
    )
    types = [number("KIND", 8), enumerated, number("X", 16), number("Y", 8), number("T", 8, POLYNOMIAL)]
    either = (
        "<BooleanExpression><ORedConditions><Condition>"
        '<ParameterInstanceRef parameterRef="KIND"/><ComparisonOperator>==</ComparisonOperator><Value>3</Value>'
        "</Condition><ANDedConditions><Condition>"
        '<ParameterInstanceRef parameterRef="KIND"/><ComparisonOperator>&gt;=</ComparisonOperator><Value>5</Value>'
        '</Condition><Condition><ParameterInstanceRef parameterRef="KIND"/><ComparisonOperator>!=</ComparisonOperator>'
        '<ParameterInstanceRef parameterRef="APID"/></Condition></ANDedConditions></ORedConditions></BooleanExpression>'
    )
    both = f"<ComparisonList>{comparison('KIND', 2)}{comparison('MODE', 'SAFE')}</ComparisonList>"
    packets = [
        container("BASE", "KIND", "MODE", base="CCSDSPacket", where=comparison("APID", 1)),
        container("SAFE", "X", base="BASE", where=both),
        container("OTHER", "Y", "T", base="BASE", where=either),
        container("HOT", "X", base="OTHER", where=comparison("T", "-39.5", ">")),
    ]
    text = document(types, map(parameter, ("KIND", "MODE", "X", "Y", "T")), packets)
    data = [
        b"\x02\x07\x01\x02",
        b"\x03\x07\x05\x00",
        b"\x03\x09\x06\x09\x0a\x0b",
        b"\x02\x09",
        b"\x07\x00\x01\x00",
        b"\x05\x00\x00\x00",
    ]
    found = decode(text, *data)
    assert not found.unknown.any()
    assert {one.name: one.rows.tolist() for one in found.tables} == {
        "SAFE": [0], "OTHER": [1, 4, 5], "HOT": [2], "BASE": [3],
    }  # fmt: skip
    by_name = {one.name: one for one in found.tables}
    assert values(by_name["HOT"].columns["X"]) == [0x0A0B]
    assert list(by_name["HOT"].columns)[7:] == ["KIND", "MODE", "Y", "T", "X"]
    other = peer(tmp_path, text, data[0])
    assert other["X"] == values(by_name["SAFE"].columns["X"])


def test_packets_that_nobody_knows() -> None:
    """No extension of an abstract container, several, or an end before it can be told."""
    types = [number("KIND", 8), number("X", 8)]
    packets = [
        container("A", "X", base="CCSDSPacket", where=comparison("APID", 1)),
        container("B", "KIND", base="CCSDSPacket", where=comparison("APID", 2), abstract=True),
        container("C", "X", base="B", where=comparison("KIND", 3, "<")),
        container("D", "X", base="B", where=comparison("KIND", 1)),
    ]
    text = document(types, map(parameter, ("KIND", "X")), packets)
    streams = b"".join(
        (stream(b"\x01"), stream(b"\x00\x01", b"\x01\x01", b"\x09\x01", apid=2), stream(b"\x01", apid=3))
    )
    found = read(text).decode(batch_of(streams))
    assert {one.name: one.rows.tolist() for one in found.tables} == {"A": [0], "C": [1]}
    assert found.unknown.tolist() == [False, False, True, True, True]


def test_many_extensions_are_told_apart_by_one_value() -> None:
    types = [number("SID", 16), number("KIND", 8), number("X", 8)]
    packets = [container("BASE", "KIND", "SID", base="CCSDSPacket", where=comparison("APID", 1), abstract=True)]
    for sid in range(40):
        where = f"<ComparisonList>{comparison('KIND', sid % 2)}{comparison('SID', sid * 1500)}</ComparisonList>"
        packets.append(container(f"S{sid}", "X", base="BASE", where=where))
    packets.append(container("LAST", base="BASE", where=comparison("SID", 70_000)))  # which no number of 16 bits is
    text = document(types, map(parameter, ("SID", "KIND", "X")), packets)
    data = [struct.pack(">BHB", sid % 2, sid * 1500, sid) for sid in (*range(40), 3, 3, 7)]
    data += [struct.pack(">BHB", 1, 0, 0), struct.pack(">BHB", 0, 9, 0)]
    found = decode(text, *data)
    assert found.unknown.tolist() == [False] * 43 + [True] * 2
    assert len(found.tables) == 40
    for one in found.tables:
        assert set(values(one.columns["X"])) == {int(one.name[1:])}
        assert len(one) == {"S3": 3, "S7": 2}.get(one.name, 1)


@pytest.mark.parametrize("how", ['Float|DataEncoding sizeInBits="32"', 'Integer|DataEncoding sizeInBits="8"'])
def test_extensions_by_label(how: str) -> None:
    """Of an enumeration that may even be encoded as a float, and of its raw value."""
    tag, _, rest = how.partition("|")
    listed = "".join(f'<Enumeration value="{i}" label="M{i}"/>' for i in range(6))
    enumerated = (
        f'<EnumeratedParameterType name="M_t"><{tag}{rest}/><EnumerationList>{listed}</EnumerationList>'
        "</EnumeratedParameterType>"
    )
    packets = [container("BASE", "M", base="CCSDSPacket", abstract=True)]
    packets += [container(f"L{i}", base="BASE", where=comparison("M", f"M{i}")) for i in range(4)]
    packets += [container(f"L{i}", base="BASE", where=comparison("M", i, calibrated=False)) for i in (4, 5)]
    packets.append(container("REST", base="BASE", where=comparison("M", 5, ">", False)))
    data = [struct.pack(">f", i) if tag == "Float" else bytes((i,)) for i in (3, 0, 5, 3, 7)]
    found = decode(document([enumerated], [parameter("M")], packets), *data)
    assert {one.name: one.rows.tolist() for one in found.tables} == {"L3": [0, 3], "L0": [1], "L5": [2], "REST": [4]}


def test_entries_on_a_condition_repeated_and_moved() -> None:
    types = [
        number("N", 8),
        number("X", 16),
        number("Y", 4),
        number("Z", 8),
        string("S", VARIABLE.format(DYNAMIC.format("N", 0), "")),
    ]
    include = "<IncludeCondition>{}</IncludeCondition>"
    repeat = "<RepeatEntry><Count>{}</Count>{}</RepeatEntry>"
    located = (
        '<LocationInContainerInBits referenceLocation="{}"><FixedValue>{}</FixedValue></LocationInContainerInBits>'
    )
    ref = '<ParameterRefEntry parameterRef="{}">{}</ParameterRefEntry>'
    count = '<DynamicValue><ParameterInstanceRef parameterRef="N"/></DynamicValue>'
    twice = repeat.format("<FixedValue>2</FixedValue>", "")
    listed = [
        "N",
        ref.format("X", include.format(comparison("N", 2))),
        ref.format("Y", repeat.format(count, "<Offset><FixedValue>4</FixedValue></Offset>")),
        f'<ContainerRefEntry containerRef="PAIR">{twice}</ContainerRefEntry>',
        ref.format("Z", located.format("containerStart", 48)),
        ref.format("W", located.format("containerEnd", 0)),
    ]
    types.append(number("W", 8))
    packets = [container("PAIR", "P", "S", abstract=True), container("A", *listed, base="CCSDSPacket")]
    text = document([*types, number("P", 4)], map(parameter, "NXYZSWP"), packets)
    # N; X if N is 2; N times Y with 4 bits between; twice P, S of N octets; at the end W.
    text_of = {one: "".join(f"{ord(letter):08b}" for letter in one) for one in ("hi", "yo")}
    first = "0101" + text_of["hi"] + "0110" + text_of["yo"]
    bits = "00000010" + "1010101111001101" + "00011111" + "0010" + first + "0000" + "11110000"
    none = "00000000" + "0101" + "0110" + "00001111"
    data = [int(one, 2).to_bytes(len(one) // 8, "big") for one in (bits, none)]
    found = {one.name: one for one in decode(text, *data).tables}
    assert list(found) == ["A", "A.PAIR"]
    main = {name: values(one) for name, one in found["A"].columns.items()}
    assert (main["N"], main["X"], main["Y"]) == ([2, 0], [0xABCD, None], [[1, 2], []])
    assert (main["Z"], main["W"]) == ([2, 0], [0xF0, 0x0F])
    inner = found["A.PAIR"]
    assert inner.rows.tolist() == [0, 0, 1, 1]
    assert list(inner.columns) == [*dict(HEADER), "P", "S"]  # the primary header tells packets apart that have no time
    assert values(inner.columns["SEQ"]) == [0, 0, 1, 1]
    assert (values(inner.columns["P"]), values(inner.columns["S"])) == ([5, 6, 5, 6], ["hi", "yo", "", ""])


def test_arrays() -> None:
    dimension = (
        "<Dimension><StartingIndex><FixedValue>0</FixedValue></StartingIndex><EndingIndex>{}</EndingIndex></Dimension>"
    )
    array = '<ArrayParameterType name="{}_t" arrayTypeRef="X_t"><DimensionList>{}</DimensionList></ArrayParameterType>'
    less = '<LinearAdjustment slope="1" intercept="-1"/>'
    last = f'<DynamicValue><ParameterInstanceRef parameterRef="N"/>{less}</DynamicValue>'
    two = dimension.format("<FixedValue>1</FixedValue>") + dimension.format("<FixedValue>2</FixedValue>")
    types = [
        number("N", 8), number("X", 12), array.format("A", two),
        array.format("B", dimension.format(last)), number("Z", 4),
    ]  # fmt: skip
    listed = ["N", '<ArrayParameterRefEntry parameterRef="A"/>', '<ArrayParameterRefEntry parameterRef="B"/>', "Z"]
    text = document(types, map(parameter, "NABZ"), [container("C", *listed, base="CCSDSPacket")])
    first = "00000011" + "".join(f"{i:012b}" for i in range(9)) + "1010"
    second = "00000001" + "".join(f"{i:012b}" for i in range(100, 107)) + "0101"
    data = [int(one, 2).to_bytes(len(one) // 8, "big") for one in (first, second)]
    assert columns(text, *data) == {
        "N": [3, 1], "A": [[0, 1, 2, 3, 4, 5], [100, 101, 102, 103, 104, 105]], "B": [[6, 7, 8], [106]], "Z": [10, 5],
    }  # fmt: skip


def test_aggregates_are_their_members() -> None:
    types = [
        number("X", 8), number("Y", 16),
        (
            '<AggregateParameterType name="P_t"><MemberList><Member name="x" typeRef="X_t"/>'
            '<Member name="y" typeRef="Y_t"/></MemberList></AggregateParameterType>'
        ),
    ]  # fmt: skip
    packets = [
        container("A", "P", base="CCSDSPacket"),
        container("B", "Y", base="A", where=comparison("P.x", 2)),
    ]
    found = decode(document(types, map(parameter, "PY"), packets), b"\x01\x00\x05", b"\x02\x00\x06\x00\x07")
    by_name = {one.name: {name: values(c) for name, c in list(one.columns.items())[7:]} for one in found.tables}
    assert by_name == {"A": {"P.x": [1], "P.y": [5]}, "B": {"P.x": [2], "P.y": [6], "Y": [7]}}


def test_space_systems_inside_one_another() -> None:
    """Names of the own one, of those around, by path, and of two that are called alike."""
    inner = (
        '<SpaceSystem name="{0}"><TelemetryMetaData><ParameterTypeSet>{1}</ParameterTypeSet>'
        "<ParameterSet>{2}</ParameterSet><ContainerSet>{3}</ContainerSet></TelemetryMetaData>{4}</SpaceSystem>"
    )
    deep = inner.format(
        "Deep", "", parameter("V", "/Test/Bus/V"),
        container("Hk", "V", "../V", base="../../CCSDSPacket", where=comparison("APID", 3)), "",
    )  # fmt: skip
    bus = inner.format(
        "Bus", number("V", 8), parameter("V"),
        container("Hk", "V", "/Test/Load/W", base="/CCSDSPacket", where=comparison("APID", 1)), deep,
    )  # fmt: skip
    load = inner.format(
        "Load", number("W", 16), parameter("W"),
        container("Only", "W", "Bus/V", base="CCSDSPacket", where=comparison("APID", 2)), "",
    )  # fmt: skip
    text = document([], [], [], bus + load)
    streams = stream(b"\x01\x00\x02") + stream(b"\x00\x03\x04", apid=2) + stream(b"\x05\x06", apid=3)
    found = read(text).decode(batch_of(streams))
    made = {one.name: {name: values(c) for name, c in list(one.columns.items())[7:]} for one in found.tables}
    assert made == {
        "Hk": {"V": [1], "W": [2]}, "Only": {"W": [3], "V": [4]}, "Bus.Deep.Hk": {"V": [5], "Bus.V": [6]},
    }  # fmt: skip


def test_short_packets_are_damaged_and_longer_ones_counted() -> None:
    text = one_container([number("A", 16), number("B", 12)], "AB")
    found = decode(text, b"\x00\x01\x00\x20", b"\x00\x01\x00", b"\x00\x01\x00\x30\x00\x00", b"\x00")
    (made,) = found.tables
    assert (made.rows.tolist(), made.damaged, made.longer) == ([0, 2], {"length": 2}, 1)
    assert values(made.columns["B"]) == [2, 3]


def test_what_has_no_column_says_so() -> None:
    """Its bits are passed over, and what stands behind it is where it should be."""
    sums = "<MathOperationCalibrator><ThisParameterOperand/></MathOperationCalibrator>"
    sums = f"<DefaultCalibrator>{sums}</DefaultCalibrator>"
    types = [
        number("A", 100), real("B", 32, "IBM"), number("C", 8, sums), number("D", 12, byteOrder=LITTLE),
        number("E", 4), number("F", 8, spline(2)), string("G", FIXED.format(12, "")), number("H", 4, encoding="BCD"),
        number("Z", 8),
    ]  # fmt: skip
    text = one_container(types, "ABCDEFGHZ")
    data = bytes(12) + b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01" + b"\x77" + bytes(4)
    definition = read(text)
    found = definition.decode(batch_of(stream(data[:25]))).tables[0]
    assert list(found.columns)[7:] == ["E", "Z"]
    assert len(definition.unsupported) == 7
    assert (
        "FloatDataEncoding: 'IBM' of 32 bits is not supported: parameter B has no column" in definition.unsupported[1]
    )
    assert all(note.startswith("test.xml:4: SpaceSystem[Test]/TelemetryMetaData/") for note in definition.unsupported)


def test_no_packets_make_no_tables() -> None:
    """Of any definition, also one that gathers octets."""
    text = one_container([number("N", 8), string("S", VARIABLE.format(DYNAMIC.format("N", 0), ""))], "NS")
    for definition in (read(text), definition_of(b"name,data_type,bit_length\nA,uint(expand),8", "a.csv", "a")):
        found = definition.decode(batch_of(b""))
        assert found.tables == [] and len(found.unknown) == 0


def test_a_batch_in_parts_is_the_batch() -> None:
    """Packets one by one, of any buffer, give the values, names and types of all at once."""
    types = [
        number("N", 8),
        number("X", 12, POLYNOMIAL),
        number("Y", 4),
        string("S", VARIABLE.format(DYNAMIC.format("N", 0), "")),
    ]
    text = one_container(types, "NXYS")
    data = [bytes((n, 17 * n, n)) + b"abcdefgh"[:n] for n in range(8)]
    definition = read(text)
    whole = definition.decode(batch_of(stream(*data))).tables[0]
    parts = [definition.decode(batch_of(stream(one))).tables[0] for one in data]
    for name, column in whole.columns.items():
        if name == "SEQ":
            continue  # each stream of one packet counts from 0
        assert values(column) == [value for part in parts for value in values(part.columns[name])]
        assert {part.columns[name].values.dtype for part in parts} == {column.values.dtype}
    for buffer in (bytearray, memoryview):
        batch = batch_of(stream(*data))
        made = definition.decode(replace(batch, octets=buffer(batch.octets))).tables[0]
        assert [values(one) for one in made.columns.values()] == [values(one) for one in whole.columns.values()]
