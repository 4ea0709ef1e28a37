"""Definitions and data of other people: our columns beside what ccsdspy and space-packet-parser read, live."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flight.core.errors import OrbitnodeError
from ground.recording.definition import PacketDefinition
from ground.recording.definitions.csv_fields import csv_definition
from ground.recording.definitions.definition_files import DefinitionsByApid, read_definition
from ground.recording.packet_batch import PacketBatch
from ground.recording.table import Column, Table
from tests.recording_batches import batch_by_length, batch_of, value, values
from tests.recordings import XTCE_FILES

ccsdspy = pytest.importorskip("ccsdspy")
space_packet_parser = pytest.importorskip("space_packet_parser")


@pytest.fixture
def xtce(shared: Path) -> Path:
    return shared / "vectors/space_packet_parser"


@pytest.fixture
def fields(shared: Path) -> Path:
    return shared / "vectors/ccsdspy"


def only_table(definition: PacketDefinition, batch: PacketBatch) -> Table:
    found = definition.decode(batch)
    (table,) = found.tables
    assert not found.unknown.any() and table.damaged == {}
    assert table.rows.tolist() == list(range(len(batch)))
    return table


def equals(column: Column, other: Any) -> bool:
    """A column beside ccsdspy's: of several values per packet it has an array of more dimensions, or one of arrays."""
    if column.starts is None:
        return np.array_equal(column.values, other, equal_nan=column.values.dtype.kind == "f")
    return all(
        np.array_equal(column.values[start:end], np.ravel(one))
        for start, end, one in zip(column.starts, column.starts[1:], other, strict=False)
    ) and len(column) == len(other)


def compare(table: Table, theirs: dict[str, Any]) -> None:
    assert list(table.columns) == list(theirs)
    for name, column in table.columns.items():
        assert equals(column, theirs[name]), name


JPSS = "J01_G011_LZ_2021-04-09T00-00-00Z_V01.DAT1"


@pytest.mark.parametrize("name", XTCE_FILES)
def test_jpss_1_by_every_xtce_file(xtce: Path, name: str) -> None:
    """The namespace with a prefix, as default and not at all; criteria as comparisons and as a boolean expression."""
    stream = (xtce / JPSS).read_bytes()
    definition = read_definition(xtce / name)
    assert definition.unsupported == ()
    table = only_table(definition, batch_of(stream))
    assert (table.name, len(table), table.longer) == ("JPSS_ATT_EPHEM", 7200, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = space_packet_parser.load_xtce(xtce / name)
    packets = list(space_packet_parser.ccsds_generator(stream))
    for row in (*range(100), *range(100, 7200, 97)):
        packet = peer.parse_bytes(packets[row])
        assert list(packet) == list(table.columns)
        for parameter, other in packet.items():
            assert value(table.columns[parameter], row) == other, parameter


def test_units_of_jpss_1(xtce: Path) -> None:
    columns = only_table(
        read_definition(xtce / "jpss1_geolocation_xtce_v1.xml"), batch_of((xtce / JPSS).read_bytes())
    ).columns
    assert columns["ADGPSVELX"].unit == "m/s"
    assert columns["ADGPSVELX"].values.dtype == np.float32
    assert columns["DOY"].values.dtype == np.uint16  # an integer that a float type shows as it is


def test_jpss_1_by_csv(xtce: Path) -> None:
    path = xtce / "ccsdspy_jpss1_geolocation.csv"
    stream = (xtce / JPSS).read_bytes()
    theirs = ccsdspy.FixedLength.from_file(str(path)).load(io.BytesIO(stream), include_primary_header=True)
    table = only_table(read_definition(path), batch_of(stream))
    assert table.name == "ccsdspy_jpss1_geolocation"
    compare(table, theirs)


def test_packets_without_a_primary_header_are_said_to_be_so(xtce: Path) -> None:
    """A UDP datagram is not a space packet; its definition can be read, and decodes what is inside of one."""
    definition = read_definition(xtce / "udp_packet.xml")
    (note,) = definition.unsupported
    assert "SequenceContainer[UDPPacket]" in note and "does not begin like the primary header" in note
    inside = read_definition(xtce / "udp_packet.xml", starts_at_data=True)
    assert inside.unsupported == ()
    datagram = bytes.fromhex("1f90 0035 000c beef") + b"ping"
    packets = bytes.fromhex("0001 c000") + (len(datagram) - 1).to_bytes(2, "big") + datagram
    table = only_table(inside, batch_of(packets))
    peer = space_packet_parser.load_xtce(xtce / "udp_packet.xml").parse_bytes(datagram, root_container_name="UDPPacket")
    assert {name: value(column, 0) for name, column in table.columns.items()} == dict(peer)


def test_a_container_of_four_octets(xtce: Path) -> None:
    definition = read_definition(xtce / "test_xtce_4byte.xml")
    table = only_table(definition, batch_of((xtce / JPSS).read_bytes()))
    assert (table.name, len(table), table.longer) == ("PKT_CONTAINER", 7200, 7200)
    assert value(table.columns["PKT_VALUE"], 0) == int.from_bytes((xtce / JPSS).read_bytes()[:4], "big")


ORDERS = (
    "1", "12", "21", "123", "321", "1234", "2143", "3412", "4321", "123456", "1234567", "12345678", "78563412",
    "87654321",
)  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
def test_every_octet_order(fields: Path, order: str) -> None:
    """As the peer's API has them: digits, of which ours may stand in a column of the file or be said for all of it."""
    stream = (fields / f"byte_order/byteorder_{order}.bin").read_bytes()
    truth = np.array(list(csv.reader((fields / f"byte_order/byteorder_{order}.csv").open())), dtype=object)
    bits = 8 * len(order)
    lines = [f"body{i},uint,{bits},{order}" for i in range(80)]
    by_column = csv_definition("name,data_type,bit_length,byte_order\n" + "\n".join(lines), "orders.csv", "orders")
    plain = "\n".join(line.rpartition(",")[0] for line in lines)
    by_option = csv_definition("name,data_type,bit_length\n" + plain, "orders.csv", "orders", byte_order=order)
    for definition in (by_column, by_option):
        table = only_table(definition, batch_by_length(stream))
        for i in range(80):
            assert table.columns[f"body{i}"].values.tolist() == [int(one) for one in truth[:, i]]


def test_octet_orders_as_ccsdspy_has_them(fields: Path) -> None:
    """Little and every permutation of 32 bits, by its own decoder at the same time."""
    stream = (fields / "byte_order/byteorder_1234.bin").read_bytes()
    for order in ("little", "1234", "4321", "3412", "2143", "2341", "4123"):
        peer = ccsdspy.FixedLength(
            [ccsdspy.PacketField(f"body{i}", "uint", 32, byte_order=order) for i in range(80)]
        ).load(io.BytesIO(stream), include_primary_header=True)
        lines = "\n".join(f"body{i},uint,32,{order}" for i in range(80))
        definition = csv_definition("name,data_type,bit_length,byte_order\n" + lines, "orders.csv", "orders")
        compare(only_table(definition, batch_by_length(stream)), peer)


VARYING = (
    ("var_length_packets", "data,uint(expand),16"),
    ("var_length_packets_with_footer", "data,uint(expand),16\ncheck,uint,16"),
    (
        "var_length_packets_double_varfield_with_footer",
        "n,uint,8\nfirst,uint(n),16\nm,uint,8\nsecond,uint(m),16\nfooter,uint,16",
    ),
)


@pytest.mark.parametrize(("name", "lines"), VARYING)
def test_arrays_of_varying_length(fields: Path, tmp_path: Path, name: str, lines: str) -> None:
    stream = (fields / f"var_length/{name}.bin").read_bytes()
    path = tmp_path / "fields.csv"
    path.write_text("name,data_type,bit_length\n" + lines)
    theirs = ccsdspy.VariableLength.from_file(str(path)).load(io.BytesIO(stream), include_primary_header=True)
    compare(only_table(read_definition(path), batch_by_length(stream)), theirs)


def corrected(path: Path) -> str:
    """A file of fields of the simulation, as its reader means it: offsets count from the end of the primary header, and
    elements of an array are words of 32 bits, one behind the other, though two of the files say 4, their octets.
    """
    with path.open() as lines:
        rows = list(csv.DictReader(lines))
    made = ["name,data_type,bit_length,bit_offset"]
    for row in rows:
        name, bits, offset = row["name"], int(row["bit_length"]), int(row["bit_offset"])
        if "[" in name:
            bits = 32
            offset += bits * int(name.partition("[")[2].rstrip("]"))
        made.append(f"{name},{row['data_type']},{bits},{{}}".format(offset))
    return "\n".join(made)


@pytest.mark.parametrize(("apid", "packets"), [(1, 1448), (10, 3513), (35, 7200)])
def test_simulated_telemetry(fields: Path, apid: int, packets: int) -> None:
    folder = fields / f"hs/apid{apid:03}"
    stream = next(folder.glob("*.tlm")).read_bytes()
    text = corrected(folder / "defs.csv")
    table = only_table(csv_definition(text, "defs.csv", "hs", starts_at_data=True), batch_of(stream))
    peer = [
        ccsdspy.PacketField(row["name"], row["data_type"], int(row["bit_length"]), 48 + int(row["bit_offset"]))
        for row in csv.DictReader(io.StringIO(text))
    ]
    compare(table, ccsdspy.FixedLength(peer).load(io.BytesIO(stream), include_primary_header=True))
    assert len(table) == packets


def test_a_definition_per_apid(fields: Path) -> None:
    """Files of three APIDs in one stream; the columns are those of each by itself, and what has no file is unknown."""
    single, streams = {}, []
    for apid in (1, 10, 35):
        folder = fields / f"hs/apid{apid:03}"
        streams.append(next(folder.glob("*.tlm")).read_bytes()[: 20_000 + apid])
        single[apid] = csv_definition(corrected(folder / "defs.csv"), "defs.csv", f"hs{apid}", starts_at_data=True)
    whole = [batch_of(one[: cut(one)]) for one in streams]
    stream = b"".join(one[: cut(one)] for one in streams)
    found = DefinitionsByApid({1: single[1], 35: single[35]}).decode(batch_of(stream))
    assert [table.name for table in found.tables] == ["hs1", "hs35"]
    assert found.unknown.tolist() == [False] * len(whole[0]) + [True] * len(whole[1]) + [False] * len(whole[2])
    for table, apid, batch in zip(found.tables, (1, 35), (whole[0], whole[2]), strict=True):
        alone = only_table(single[apid], batch)
        assert {name: values(one) for name, one in table.columns.items()} == {
            name: values(one) for name, one in alone.columns.items()
        }
    assert found.tables[1].rows.tolist() == list(range(len(whole[0]) + len(whole[1]), len(found.unknown)))


def cut(stream: bytes) -> int:
    """The octets of whole packets."""
    at = 0
    while at + 6 < len(stream) and at + (stream[at + 4] << 8 | stream[at + 5]) + 7 <= len(stream):
        at += (stream[at + 4] << 8 | stream[at + 5]) + 7
    return at


FORMS = (
    "basic_csv_3col", "basic_csv_3col_with_array", "basic_csv_3col_with_expand", "basic_csv_3col_with_reference",
    "extended_csv_4col", "extended_csv_4col_with_array",
)  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_files_of_fields_without_data(fields: Path, name: str) -> None:
    """Packets made up for each: what the peer reads with the same file, but for the fill that has no column of ours."""
    path = fields / f"packet_def/{name}.csv"
    varies = name.endswith(("expand", "reference"))
    peer = (ccsdspy.VariableLength if varies else ccsdspy.FixedLength).from_file(str(path))
    # In the files with three columns OPMODE, of three bits behind 52, says three.
    head = bytes((0x12, 0x34, 0x56, 0x78, 0x9A, 0xBC, 0xD6))
    size = 26 if "4col" in name else 10 if varies else 7 + 288 if name.endswith("array") else 8
    body = head + bytes(i % 251 for i in range(size - len(head)))
    packet = bytes.fromhex("0864 c007") + (len(body) - 1).to_bytes(2, "big") + body
    theirs = peer.load(io.BytesIO(packet * 3), include_primary_header=True)
    del theirs["SPACER"]
    compare(only_table(read_definition(path), batch_of(packet * 3)), theirs)


def test_a_file_of_fields_that_makes_no_sense_is_refused(fields: Path) -> None:
    """An array that takes the rest of the packet, and behind it one whose length that array should say."""
    with pytest.raises(OrbitnodeError, match=r"_with_all.csv:3: field SHFINE takes what is left .* OPMODE"):
        read_definition(fields / "packet_def/basic_csv_3col_with_all.csv")
