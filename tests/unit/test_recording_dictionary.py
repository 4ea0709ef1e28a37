"""Our own node's packets as tables, by its dictionary: as the live decoder has each packet, and as XTCE has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from flight.contract.dictionary import Dictionary, EventDefinition, Report, Structure
from flight.contract.fields import Field, Value
from flight.core.errors import DecodeError, OrbitnodeError
from flight.core.nanoseconds import NS
from flight.kernels import crc16
from flight.link.cfdp.checksums import CRC32
from flight.link.cfdp.conditions import ConditionCode
from flight.link.cfdp.directives import EndOfFile, Metadata
from flight.link.cfdp.file_data import FileData
from flight.link.cfdp.header import Header, TransactionId
from flight.link.cfdp.pdu import Pdu, decode_pdu
from flight.link.pus import PusTm
from flight.link.space_packet import SpacePacket
from flight.link.time.time_code import decode_cuc
from ground.recording.definition import DecodedBatch
from ground.recording.definitions.definition_files import read_definition
from ground.recording.definitions.own_dictionary import dictionary_definition
from ground.recording.table import Column, ColumnKind, Table
from ground.telemetry.decoder import Decoder
from ground.xtce.document import xtce_document
from ground.xtce.names import parameter_name
from tests.ground_dictionary import make
from tests.recording_batches import batch_of, value

TAI_NS = 2_152_000_000_000_000_000
PACKETS = 40  # of each kind
Kind = Structure | EventDefinition | Report


def drawn(one: Field, source: Random) -> Value:
    """Any value of a field."""
    if one.labels:
        return source.randrange(len(one.labels))
    if one.type == "str":
        return "".join(source.choice("abcé€ž ") for _ in range(source.randrange(9)))
    if one.type == "time":
        return decode_cuc(source.randbytes(6))
    if one.type == "packet":
        return SpacePacket(
            source.randrange(2000), source.randrange(99), source.randbytes(1 + source.randrange(20))
        ).encode()
    if one.type == "rows":
        return tuple(tuple(drawn(inner, source) for inner in one.fields) for _ in range(source.randrange(4)))  # type: ignore[misc]
    if one.type[0] == "f":
        return float(np.float32(source.uniform(-9, 9)))
    bits = int(one.type[1:])
    return source.randrange(1 << bits) - (1 << bits - 1 if one.type[0] == "i" else 0)


def packets_of(dictionary: Dictionary, source: Random) -> Iterator[bytes]:
    """Some of each kind, in turns."""
    kinds: list[Structure | EventDefinition | Report] = [
        *dictionary.structures,
        *dictionary.events,
        *dictionary.reports,
    ]
    for turn in range(PACKETS):
        for one in kinds:
            data = one.layout.encode([drawn(field, source) for field in one.fields])
            service, subtype = 3, 25
            if isinstance(one, Structure):
                data = one.sid.to_bytes(2, "big") + data
            elif isinstance(one, EventDefinition):
                service, subtype, data = 5, one.subtype, one.number.to_bytes(2, "big") + data
            else:
                service, subtype = one.service, one.subtype
            if one.apid == dictionary.apids.get("time"):
                yield SpacePacket(one.apid, turn, data).encode()
            else:
                yield PusTm(one.apid, turn, service, subtype, data, TAI_NS + turn * NS).encode()


DICTIONARY = replace(
    make(),
    apids={**make().apids, "time": 0},
    reports=(*make().reports, Report(0, 9, 2, "time_report", (Field("rate", "u8"), Field("time", "time")))),
)


@pytest.fixture(scope="module")
def stream() -> list[bytes]:
    return list(packets_of(DICTIONARY, Random(8)))


def decode(packets: list[bytes]) -> DecodedBatch:
    return dictionary_definition(DICTIONARY).decode(batch_of(b"".join(packets)))


def shown(column: Column, row: int) -> Any:
    """A value as the live decoder has it: octets in hexadecimal digits, times in nanoseconds."""
    found = value(column, row)
    if column.kind is ColumnKind.BINARY:
        return found.hex()
    if column.time is not None:
        times = found if isinstance(found, list) else [found]
        made = [decode_cuc(one.to_bytes(6, "big")) for one in times]
        return made if isinstance(found, list) else made[0]
    return found


def flattened(found: DecodedBatch, fields: dict[str, tuple[Field, ...]]) -> dict[int, dict[str, Any]]:
    """By row of the batch the values of a packet, named as the live decoder names them."""
    made: dict[int, dict[str, Any]] = {}
    inner: dict[str, Table] = {table.name: table for table in found.tables if table.name not in fields}
    for table in found.tables:
        for index, row in enumerate(table.rows.tolist() if table.name in fields else ()):
            values: dict[str, Any] = {}
            for one in fields[table.name]:
                if one.type != "rows":
                    values[one.name] = shown(table.columns[one.name], index)
                    continue
                of = inner.get(f"{table.name}.{one.name}")
                mine = [] if of is None else np.flatnonzero(of.rows == row).tolist()
                for part in one.fields:
                    name = f"{one.name}.{part.name}"
                    if of is None:
                        parts = shown(table.columns[name], index)
                    else:
                        parts = [shown(of.columns[name], place) for place in mine]
                    values.update({f"{one.name}[{i}].{part.name}": value for i, value in enumerate(parts)})
            made[row] = values
    return made


def test_every_packet_is_what_the_live_decoder_says(stream: list[bytes]) -> None:
    decoder = Decoder(DICTIONARY)
    found = decode(stream)
    assert not found.unknown.any()
    kinds: list[Kind] = [*DICTIONARY.structures, *DICTIONARY.events, *DICTIONARY.reports]
    fields = {one.name: one.fields for one in kinds}
    names = {row: table.name for table in found.tables if table.name in fields for row in table.rows.tolist()}
    times = {
        row: time
        for table in found.tables
        if table.name in fields and "packet.time" in table.columns
        for row, time in zip(table.rows.tolist(), table.columns["packet.time"].values.tolist(), strict=True)
    }
    made = flattened(found, fields)
    for row, packet in enumerate(stream):
        live = decoder.decode(packet)
        assert names[row] == live.name
        assert made[row] == dict(live.raw)
        if row in times:
            assert decode_cuc(times[row].to_bytes(6, "big")) == live.time_ns
    assert all(table.damaged == {} for table in found.tables)


def test_rows_with_texts_are_tables_of_their_own(stream: list[bytes]) -> None:
    """With the packet's time, so that a row can be told from that of another packet."""
    tables = {table.name: table for table in decode(stream).tables}
    assert list(tables["plan.groups"].columns) == ["packet.time", "next", "groups.group", "groups.name"]
    assert list(tables["plan_detail.entries"].columns) == ["packet.time", "entries.at", "entries.command"]
    # Rows of numbers alone are ragged columns of the packet's table.
    assert tables["parameter_values"].columns["parameters.value"].starts is not None


def test_labels_units_and_times(stream: list[bytes]) -> None:
    columns = {table.name: table for table in decode(stream).tables}["power"].columns
    assert dict(columns["mode"].labels) == {0: "safe", 1: "idle", 2: "nominal"}
    assert (columns["bus"].unit, columns["bus"].values.dtype.str[1:]) == ("V", "f8")
    assert columns["packet.time"].time is not None


def test_the_same_by_json_and_by_xtce(stream: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "dictionary.json").write_text(json.dumps(DICTIONARY.document()))
    (tmp_path / "dictionary.xml").write_text(xtce_document(DICTIONARY))
    batch = batch_of(b"".join(stream))
    by_json, by_xtce = (
        {table.name: table for table in read_definition(tmp_path / f"dictionary.{form}").decode(batch).tables}
        for form in ("json", "xml")
    )
    for structure in DICTIONARY.structures:
        one, other = by_json[structure.name], by_xtce[structure.name]
        assert one.rows.tolist() == other.rows.tolist() and len(one) == PACKETS
        names = {
            "packet.time": "PUS_TIME",
            **{f.name: parameter_name(structure.name, f.name) for f in structure.fields},
        }
        # From its first field of varying length on a structure with rows is one stretch of octets in XTCE.
        plain = (
            [name for name in one.columns if name in names] if structure.name != "plan" else ["packet.time", "entries"]
        )
        for name in plain:
            mine, theirs = one.columns[name], other.columns[names[name]]
            assert [value(mine, row) for row in range(PACKETS)] == [value(theirs, row) for row in range(PACKETS)], name
            assert mine.values.dtype == theirs.values.dtype
            assert (mine.time, mine.unit, dict(mine.labels)) == (theirs.time, theirs.unit, dict(theirs.labels))


def sealed(packet: bytes) -> bytes:
    """With an error control that fits."""
    return packet[:-2] + crc16(packet[:-2]).to_bytes(2, "big")


def longer(packet: bytes, octets: bytes) -> bytes:
    body = packet[:-2] + octets + b"\0\0"
    return sealed(body[:4] + (len(body) - 7).to_bytes(2, "big") + body[6:])


def test_what_is_damaged_is_counted_by_reason(stream: list[bytes]) -> None:
    kinds = len({*DICTIONARY.structures, *DICTIONARY.events, *DICTIONARY.reports})
    power, health = stream[0], stream[1]
    assert PusTm.decode(health).data[:2] == b"\0\x02" and kinds > 10
    text = health.index(b"\x00\x02", 19) + 10  # the count of octets of its name
    assert health[text] < 40
    packets = [
        power, health,
        sealed(power[:2] + bytes((power[2] & 0x3F | 0x40,)) + power[3:]),  # the first segment of one
        power[:-1] + bytes((power[-1] ^ 1,)),
        sealed(power[:6] + bytes((0x10,)) + power[7:]),
        longer(power, b"\0"),
        longer(power[:-3] + b"\0\0", b""),
        sealed(health[:text] + b"\xff" + health[text + 1 :]),  # a text that goes on behind the packet's end
        longer(health[:text] + b"\x02\xc3\x28" + health[text + 1 + health[text] :], b""),
    ]  # fmt: skip
    found = decode(packets)
    assert not found.unknown.any()
    damaged = {table.name: (table.rows.tolist(), dict(table.damaged)) for table in found.tables}
    assert damaged == {
        "power": ([0], {"segment": 1, "error control": 1, "version": 1, "length": 2}),
        "health": ([1], {"length": 1, "text": 1}),
    }
    decoder = Decoder(DICTIONARY)
    for packet in packets[2:]:
        with pytest.raises(DecodeError):
            decoder.decode(packet)


def test_what_nobody_knows_is_unknown(stream: list[bytes]) -> None:
    """Another APID, service or structure, a telecommand, a packet without a secondary header, one that is too short."""
    power = PusTm.decode(stream[0])
    packets = [
        replace(power, apid=77).encode(), replace(power, service=99).encode(),
        replace(power, data=b"\xff\xff" + power.data[2:]).encode(),
        sealed(bytes((stream[0][0] | 0x10,)) + stream[0][1:]), SpacePacket(1, 0, stream[0][6:]).encode(),
        SpacePacket(1, 0, bytes((0x20, 3, 25)), has_secondary=True).encode(), SpacePacket(2047, 0, bytes(30)).encode(),
    ]  # fmt: skip
    found = decode([*packets, stream[0]])
    assert found.unknown.tolist() == [True] * len(packets) + [False]


def test_parts_of_files_are_told_by_their_headers() -> None:
    header = Header(TransactionId(2, 1 << 40), 1)
    pdus: tuple[Pdu, ...] = (
        Metadata(header, 3, CRC32, "a", "b"),
        FileData(header, 0, b"abc"),
        EndOfFile(header, ConditionCode.NO_ERROR, 7, 3),
    )
    raw = [one.encode() for one in pdus]
    # Another sender's identifiers: 1 octet for an entity, 2 for a number.
    other = bytes((0x34,)) + (7).to_bytes(2, "big") + bytes((0x01, 9, 0x12, 0x34, 8)) + bytes(4) + b"xyz"
    wrong = [bytes((raw[0][0] ^ 0x60,)) + raw[0][1:], raw[1] + b"?", raw[1][:-1], raw[0][:2]]
    apid = DICTIONARY.apids["files"]
    packets = [SpacePacket(apid, seq, data).encode() for seq, data in enumerate((*raw, other, *wrong))]
    assert all(decode_pdu(one) for one in (*raw, other))
    for one in wrong:
        with pytest.raises(DecodeError):
            decode_pdu(one)
    found = decode([*packets, SpacePacket(apid, 0, raw[1], is_command=True).encode()])
    (table,) = found.tables
    assert (table.name, table.rows.tolist(), dict(table.damaged)) == (
        "file_pdu",
        [0, 1, 2, 3],
        {"version": 1, "length": 3},
    )
    assert {name: column.values.tolist() for name, column in table.columns.items()} == {
        "is_file_data": [0, 1, 0, 1],
        "source": [2, 2, 2, 9],
        "transaction": [1 << 40] * 3 + [0x1234],
        "destination": [1, 1, 1, 8],
        "octets": [len(one) - 16 for one in raw] + [7],
    }
    assert found.unknown.tolist() == [False] * 8 + [True]


def test_a_wrong_document_is_refused(tmp_path: Path) -> None:
    document = DICTIONARY.document()
    path = tmp_path / "dictionary.json"
    for text, said in (
        ("{", "begins like JSON, but is not valid JSON"),
        ("{}", "not a dictionary document"),
        (json.dumps({**document, "mission": "another"}), "does not match its sha256"),
    ):
        path.write_text(text)
        with pytest.raises(OrbitnodeError, match=rf"dictionary\.json: .*{said}"):
            read_definition(path)


def test_kinds_of_one_name_are_told_apart() -> None:
    """A structure, an event and a report, and two fields that are called alike."""
    fields = (Field("a", "u8"), Field("a", "u8"))
    alike = replace(
        DICTIONARY,
        structures=(Structure(1, 1, "x", 1.0, fields),),
        events=(EventDefinition(1, 1, "x", "info", "", fields),),
        reports=(Report(1, 17, 2, "x", fields), Report(1, 17, 3, "x", fields)),
    )
    found = dictionary_definition(alike).decode(batch_of(b"".join(packets_of(alike, Random(1)))))
    assert [table.name for table in found.tables] == ["x", "x.1", "x.1.2", "x.1.3"]
    assert all(list(table.columns) == ["packet.time", "a", "a.2"] for table in found.tables)
    assert all(len(table) == PACKETS for table in found.tables)
