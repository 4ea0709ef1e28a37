"""Housekeeping as columns is what the decoder reads packet by packet."""

from __future__ import annotations

from random import Random
from typing import cast

import pytest

from flight.catalogue import dictionary_of
from flight.contract.dictionary import Dictionary, Structure
from flight.contract.fields import Field, Scalar, Value
from flight.core.nanoseconds import NS
from flight.kernels import encode_packets, extract_fields, split_packets
from flight.link.pus import PusTm
from flight.link.time.time_code import decode_cuc
from flight.mission import MISSIONS, load
from ground.telemetry.columns import PACKET_TIME, fixed_fields, structure_layout
from ground.telemetry.decoder import Decoder
from tests.field_values import integer
from tests.ground_dictionary import make

T_NS = 2_152_000_000 * NS


def value_of(source: Random, field: Field) -> Value:
    match field.type:
        case "str":
            return "text" * source.randrange(5)
        case "time":
            return decode_cuc(source.randbytes(6))
        case "packet":
            return bytes(encode_packets([b"data"], 5))
        case "rows":
            return tuple(
                tuple(cast("Scalar", value_of(source, inner)) for inner in field.fields)
                for _ in range(source.randrange(4))
            )
    if field.labels:
        return source.randrange(len(field.labels))
    bits = int(field.type[1:])
    if field.type[0] == "f":
        return source.uniform(-1e6, 1e6)
    return source.randrange(2**bits) - (2 ** (bits - 1) if field.type[0] == "i" else 0)


STRUCTURES = [(make(), one) for one in make().structures]
MISSION = dictionary_of(load(MISSIONS / "orbit.toml"))
STRUCTURES += [(MISSION, one) for one in MISSION.structures]


@pytest.mark.parametrize(("dictionary", "structure"), STRUCTURES, ids=[one.name for _, one in STRUCTURES])
def test_columns_are_what_the_decoder_says(dictionary: Dictionary, structure: Structure) -> None:
    source = Random(structure.sid)
    packets = []
    for seq in range(150):
        row = [value_of(source, field) for field in structure.fields]
        data = structure.sid.to_bytes(2, "big") + structure.layout.encode(row)
        packets.append(PusTm(structure.apid, seq, 3, 25, data, T_NS + seq * NS).encode())
    stream = b"".join(packets)
    at = split_packets(stream)
    columns = extract_fields(structure_layout(structure), stream, at.offset, at.length)
    assert (len(columns), columns.incomplete) == (150, 0)
    decoder = Decoder(dictionary)
    decoded = [decoder.decode(packet) for packet in packets]
    times = [decode_cuc(integer(count).to_bytes(6, "big")) for count in columns[PACKET_TIME]]
    assert times == [packet.time_ns for packet in decoded]
    varying = [field.type in {"str", "packet", "rows"} for field in structure.fields]
    fixed = structure.fields[: varying.index(True)] if any(varying) else structure.fields
    assert list(columns.columns) == [PACKET_TIME, *(field.name for field in fixed)]
    for field in fixed:
        wanted = [packet.raw[field.name] for packet in decoded]
        got = columns[field.name].tolist()
        if field.type == "time":
            got = [decode_cuc(count.to_bytes(6, "big")) for count in got]
        assert got == wanted, field.name


def test_a_field_behind_one_of_varying_length_has_no_place() -> None:
    fields = (Field("a", "u16"), Field("b", "i8"), Field("text", "str"), Field("c", "u32"))
    assert [(one.name, one.bit_offset, one.bits, one.kind) for one in fixed_fields(fields, 10)] == [
        ("a", 80, 16, "unsigned"), ("b", 96, 8, "signed"),
    ]  # fmt: skip


def test_a_structure_without_fields_has_its_time() -> None:
    assert [one.name for one in structure_layout(Structure(1, 2, "none", 0.0, ())).fields] == [PACKET_TIME]
