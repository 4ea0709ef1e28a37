"""Recorded packets into columns by a definition of the mission, beside the Python packages that read the same files.

Everything is measured from the octets of a file in memory to columns, splitting included: by XTCE with a fixed layout,
with calibrators and with a text of varying length; by CSV with an array of any length. Packets are as a real mission
has them (attitude and ephemeris of JPSS-1): a primary header of seven fields, a time, counts and floats, 23 in all.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from flight.kernels import encode_packets, split_packets
from ground.recording.definition import PacketDefinition
from ground.recording.definitions.definition_files import definition_of
from ground.recording.packet_batch import NO_CHANNEL, PacketBatch
from ground.recording.table import Table
from sim_hw.bench.bench_command import Bench, Race

PACKETS = 200_000
PEER_PACKETS = 2_000  # beside a reader that takes them one at a time, and as long for each of however many
APID = 11
HEADER = (("VERSION", 3), ("TYPE", 1), ("SEC_HDR_FLG", 1), ("PKT_APID", 11), ("SEQ_FLGS", 2), ("SRC_SEQ_CTR", 14),
          ("PKT_LEN", 16))  # fmt: skip
CCSDSPY_HEADER = (
    "CCSDS_VERSION_NUMBER", "CCSDS_PACKET_TYPE", "CCSDS_SECONDARY_FLAG", "CCSDS_APID", "CCSDS_SEQUENCE_FLAG",
    "CCSDS_SEQUENCE_COUNT", "CCSDS_PACKET_LENGTH",
)  # fmt: skip
FIELDS = (
    ("DAY", "uint", 16), ("MS", "uint", 32), ("US", "uint", 16), ("SCID", "uint", 8), ("TEMPERATURE", "uint", 16),
    ("VOLTAGE", "int", 16), *((f"POSITION{axis}", "float", 32) for axis in "XYZ"),
    *((f"VELOCITY{axis}", "float", 32) for axis in "XYZ"), *((f"Q{i}", "float", 32) for i in range(1, 5)),
)  # fmt: skip
CALIBRATED = {"TEMPERATURE": (-40.0, 0.0125), "VOLTAGE": (0.0, 0.001), "SCID": (0.5, 2.0)}
CODES = {"uint": {8: "B", 16: "H", 32: "I"}, "int": {16: "h"}, "float": {32: "f"}}
FORMAT = ">" + "".join(CODES[kind][bits] for _, kind, bits in FIELDS)
TEXT_OCTETS = 48


def stream(packets: int, text: bool = False) -> bytes:
    """Packets of all fields, each with a text of any length behind them if there is to be one."""
    source = Random(5)
    data = []
    for i in range(packets):
        numbers = [
            source.randrange(1 << 8 if bits == 8 else 1 << 15) if kind != "float" else source.uniform(-8e6, 8e6)
            for _, kind, bits in FIELDS
        ]
        octets = struct.pack(FORMAT, *numbers)
        if text:
            size = i % TEXT_OCTETS
            octets += bytes((size,)) + b"x" * size + b"\x12\x34"
        data.append(octets)
    return bytes(encode_packets(data, APID, flags=0b0111))


def xtce(text: bool = False, calibrated: bool = False) -> str:
    """The definition of such packets."""
    types, parameters, entries = [], [], []

    def add(name: str, kind: str, bits: int) -> None:
        terms = CALIBRATED.get(name, ()) if calibrated else ()
        polynomial = "".join(f'<Term coefficient="{c!r}" exponent="{e}"/>' for e, c in enumerate(terms))
        inner = polynomial and (
            f"<DefaultCalibrator><PolynomialCalibrator>{polynomial}</PolynomialCalibrator></DefaultCalibrator>"
        )
        tag, how = ("Float", "IEEE754") if kind == "float" else ("Integer", "unsigned")
        how = "twosComplement" if kind == "int" else how
        types.append(
            f'<{tag}ParameterType name="{name}_t"><{tag}DataEncoding sizeInBits="{bits}" encoding="{how}">{inner}'
            f"</{tag}DataEncoding></{tag}ParameterType>"
        )
        parameters.append(f'<Parameter name="{name}" parameterTypeRef="{name}_t"/>')

    for name, bits in HEADER:
        add(name, "uint", bits)
    for name, kind, bits in FIELDS:
        add(name, kind, bits)
    names = [name for name, *_ in FIELDS]
    if text:
        add("SIZE", "uint", 8)
        add("CHECK", "uint", 16)
        types.append(
            '<StringParameterType name="TEXT_t"><StringDataEncoding encoding="UTF-8"><Variable maxSizeInBits="2040">'
            '<DynamicValue><ParameterInstanceRef parameterRef="SIZE"/><LinearAdjustment slope="8"/></DynamicValue>'
            "</Variable></StringDataEncoding></StringParameterType>"
        )
        parameters.append('<Parameter name="TEXT" parameterTypeRef="TEXT_t"/>')
        names += ["SIZE", "TEXT", "CHECK"]
    entries = [f'<ParameterRefEntry parameterRef="{name}"/>' for name in names]
    header = "".join(f'<ParameterRefEntry parameterRef="{name}"/>' for name, _ in HEADER)
    return (
        '<?xml version="1.0"?><SpaceSystem name="Bench" xmlns="http://www.omg.org/spec/XTCE/20180204">'
        f"<TelemetryMetaData><ParameterTypeSet>{''.join(types)}</ParameterTypeSet>"
        f"<ParameterSet>{''.join(parameters)}</ParameterSet><ContainerSet>"
        f'<SequenceContainer name="CCSDSPacket" abstract="true"><EntryList>{header}</EntryList></SequenceContainer>'
        f'<SequenceContainer name="EPHEMERIS"><EntryList>{"".join(entries)}</EntryList>'
        '<BaseContainer containerRef="CCSDSPacket"><RestrictionCriteria>'
        f'<Comparison parameterRef="PKT_APID" value="{APID}"/></RestrictionCriteria></BaseContainer>'
        "</SequenceContainer></ContainerSet></TelemetryMetaData></SpaceSystem>"
    )


def read(definition: PacketDefinition, data: bytes) -> Table:
    """What a reader of whole files does: packets, then their table."""
    found = split_packets(data)
    offset, length, apid, seq = map(np.asarray, (found.offset, found.length, found.apid, found.seq))
    none = np.full(len(found), NO_CHANNEL, np.uint8)
    batch = PacketBatch(data, offset, length, apid, seq, np.asarray(found.flags), none)
    (table,) = definition.decode(batch).tables
    return table


def beside_generator(text: bool, calibrated: bool) -> Race:
    """A reader that gives one packet's values at a time."""
    import space_packet_parser

    document = xtce(text, calibrated)
    definition = definition_of(document.encode(), "bench.xml", "bench")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bench.xml"
        path.write_text(document)
        peer = space_packet_parser.load_xtce(path)
    data = stream(PEER_PACKETS, text)

    def theirs() -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for raw in space_packet_parser.ccsds_generator(data):
                for name, value in peer.parse_bytes(raw).items():
                    columns.setdefault(name, []).append(value)
        return columns

    mine, other = read(definition, data), theirs()
    assert list(mine.columns) == list(other) and len(mine) == PEER_PACKETS
    for name, column in mine.columns.items():
        if column.starts is None:
            assert column.values.tolist() == other[name], name
        else:
            ends = column.starts
            texts = [column.values[a:b].tobytes().decode() for a, b in pairwise(ends.tolist())]
            assert texts == other[name], name
    return Race(lambda: read(definition, data), theirs, PEER_PACKETS / 1e6)


def fixed_beside_generator() -> Race:
    return beside_generator(False, False)


def calibrated_beside_generator() -> Race:
    return beside_generator(False, True)


def varying_beside_generator() -> Race:
    return beside_generator(True, False)


def fixed_beside_ccsdspy() -> Race:
    """The same packets and columns; the peer's class takes packets of one length alone."""
    from ccsdspy import FixedLength, PacketField

    logging.getLogger("ccsdspy").setLevel(logging.ERROR)  # it says of each reading that a count goes over 16383
    data = stream(PACKETS)
    definition = definition_of(xtce().encode(), "bench.xml", "bench")
    peer = FixedLength([PacketField(name=name, data_type=kind, bit_length=bits) for name, kind, bits in FIELDS])

    def theirs() -> dict[str, Any]:
        columns: dict[str, Any] = peer.load(io.BytesIO(data), include_primary_header=True)
        return columns

    names = dict(zip((name for name, _ in HEADER), CCSDSPY_HEADER, strict=True))
    other = theirs()
    for name, column in read(definition, data).columns.items():
        assert np.array_equal(column.values, other[names.get(name, name)], equal_nan=column.values.dtype.kind == "f")
    return Race(lambda: read(definition, data), theirs, PACKETS / 1e6)


def arrays_beside_ccsdspy() -> Race:
    """Packets that end with an array of any length, by CSV; the peer takes them one at a time."""
    from ccsdspy import PacketArray, PacketField, VariableLength

    logging.getLogger("ccsdspy").setLevel(logging.ERROR)
    data = bytes(encode_packets([bytes(2 * (50 + i % 100)) + b"ck" for i in range(PEER_PACKETS)], APID, flags=0b0111))
    text = "name,data_type,bit_length\nspectrum,uint(expand),16\ncheck,uint,16"
    definition = definition_of(text.encode(), "bench.csv", "bench")
    peer = VariableLength(
        [PacketArray(name="spectrum", data_type="uint", bit_length=16, array_shape="expand"),
         PacketField(name="check", data_type="uint", bit_length=16)]
    )  # fmt: skip

    def theirs() -> dict[str, Any]:
        columns: dict[str, Any] = peer.load(io.BytesIO(data), include_primary_header=True)
        return columns

    mine, other = read(definition, data).columns["spectrum"], theirs()["spectrum"]
    assert mine.starts is not None
    for (start, end), values in zip(pairwise(mine.starts.tolist()), other, strict=True):
        assert np.array_equal(mine.values[start:end], values)
    return Race(lambda: read(definition, data), theirs, PEER_PACKETS / 1e6)


BENCHES = (
    Bench("recording-xtce", "space-packet-parser", "Mpackets/s", 100.0, fixed_beside_generator),
    Bench("recording-xtce-ccsdspy", "ccsdspy", "Mpackets/s", 3.0, fixed_beside_ccsdspy),
    Bench("recording-calibrated", "space-packet-parser", "Mpackets/s", 100.0, calibrated_beside_generator),
    Bench("recording-varying", "space-packet-parser", "Mpackets/s", 20.0, varying_beside_generator),
    Bench("recording-arrays", "ccsdspy", "Mpackets/s", 20.0, arrays_beside_ccsdspy),
)
