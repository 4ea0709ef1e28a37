"""The batch path over octets that others published: dariol83/ccsds, Suomi-NPP, ccsdspy, JPSS-1."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from flight.kernels import (
    AosLink,
    BatchExtractor,
    FieldSpec,
    PacketLayout,
    TmLink,
    Verdict,
    extract_fields,
    randomize_tm,
    split_packets,
)

MARKER = bytes.fromhex("1acffc1d")


@pytest.fixture
def vectors(shared: Path) -> Path:
    return shared / "vectors"


def units(vectors: Path, name: str) -> list[bytes]:
    """What stands between the sync markers."""
    lines = (vectors / f"dariol83-ccsds/dumpFile_{name}.hex").read_text().split()
    return [bytes.fromhex(line).removeprefix(MARKER) for line in lines]


def test_user_data_of_dariol83_in_one_batch(vectors: Path) -> None:
    """30 codeblocks of 5 x 255 octets, the frame first; three channels in turns, no packet in any."""
    extractor = BatchExtractor(TmLink(1115, 0x7B, has_fecf=False))
    columns, packets = extractor.extract(b"".join(units(vectors, "tm_user_data")), stride=5 * 255)
    assert columns.master_count.tolist() == list(range(30))
    assert columns.vcid.tolist() == [0, 1, 7] * 10
    assert columns.vc_count.tolist() == [index // 3 for index in range(30)]
    assert set(columns.verdict) == {Verdict.GOOD} and set(columns.missed) == {0} and len(packets) == 0
    assert extractor.master_missed == 0


def test_gaps_of_dariol83_to_the_frame(vectors: Path) -> None:
    """The frames that are not in the file: 4, 7, 9 and 10."""
    extractor = BatchExtractor(TmLink(1115, has_fecf=False))
    columns, packets = extractor.extract(b"".join(units(vectors, "tm_gap_1")))
    gaps = zip(columns.vc_count, columns.missed, strict=True)
    gone = [count - back for count, missed in gaps for back in range(missed, 0, -1)]
    assert gone == [4, 7, 9, 10]
    assert packets.length.tolist() == [1085, 605, 406, 1104, 2205]
    assert (extractor.channels[0].missed, extractor.channels[0].inconsistent, extractor.master_missed) == (4, 0, 4)


def test_aos_of_dariol83(vectors: Path) -> None:
    """30 codeblocks of 4 x 255 octets: frames of 892 with a control field, packets of 406 octets on two channels."""
    raws = units(vectors, "aos_1")
    assert {len(raw) for raw in raws} == {4 * 255}
    extractor = BatchExtractor(AosLink(892, 0x7B, (0, 1), has_ocf=True))
    columns, packets = extractor.extract(b"".join(raws), stride=4 * 255)
    assert set(columns.verdict) == {Verdict.GOOD} and set(columns.missed) == {0}
    for vcid in (0, 1):
        # The channel's packet zones, laid end to end, are its packets: the file ends inside one.
        zones = b"".join(raw[8:888] for raw in raws if raw[1] & 0x3F == vcid)
        split = split_packets(zones)
        whole = [zones[o : o + n] for o, n in zip(split.offset, split.length, strict=True)]
        assert [bytes(p) for p, v in zip(packets, packets.vcid, strict=True) if v == vcid] == whole
        counters = extractor.channels[vcid]
        assert (counters.packets, counters.idle_packets) == (len(whole), 0)
        assert (counters.broken, counters.inconsistent, counters.missed) == (0, 0, 0)
    assert set(packets.length) == {406} and set(packets.apid) == {200}
    assert sum(channel.frames for channel in extractor.channels.values()) == 30


def test_aos_of_suomi_npp(vectors: Path) -> None:
    """7 CADUs as they were received: marker, then 4 x 255 octets randomized, of which the first 892 are the frame."""
    cadus = (vectors / "ccsds-rs/snpp_7cadus_2vcids.dat").read_bytes()
    blocks = [cadus[at + 4 : at + 1024] for at in range(0, len(cadus), 1024)]
    raws = b"".join(randomize_tm(block) for block in blocks)
    extractor = BatchExtractor(AosLink(892, 157, (6, 16)))
    columns, packets = extractor.extract(raws, stride=1020)
    assert set(columns.verdict) == {Verdict.GOOD}
    assert sorted(columns.vcid) == [6] * 4 + [16] * 3
    assert set(columns.missed) == {0}
    for vcid in (6, 16):
        counts = [c for c, v in zip(columns.vc_count, columns.vcid, strict=True) if v == vcid]
        assert counts == list(range(counts[0], counts[0] + len(counts)))
        assert extractor.channels[vcid].inconsistent == 0
    assert all(split_packets(packet).consumed == len(packet) for packet in packets)
    refused, _ = BatchExtractor(AosLink(892, 158)).extract(raws, stride=1020)
    assert set(refused.verdict) == {Verdict.SPACECRAFT}
    other, _ = BatchExtractor(AosLink(892, 157, (6,))).extract(raws, stride=1020)
    assert other.verdict.tolist().count(Verdict.VCID) == 3


ORDERS = (
    "1", "12", "21", "123", "321", "1234", "2143", "3412", "4321", "123456", "1234567", "12345678", "78563412",
    "87654321",
)  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
def test_every_octet_order_of_ccsdspy(vectors: Path, order: str) -> None:
    """Its digits name the octets from the least on, and the last digit is the first octet that lies there."""
    stream = (vectors / f"ccsdspy/byte_order/byteorder_{order}.bin").read_bytes()
    truth = list(csv.reader((vectors / f"ccsdspy/byte_order/byteorder_{order}.csv").open()))
    significance = tuple(int(digit) - 1 for digit in reversed(order))
    bits = 8 * len(order)
    layout = PacketLayout(FieldSpec(f"body{i}", 48 + i * bits, bits, order=significance) for i in range(80))
    # A carry makes their packet version 1, so they are not split: each is as long as the others.
    columns = extract_fields(layout, stream, lengths=6 + 80 * len(order))
    assert (len(columns), columns.incomplete) == (10, 0)
    for i in range(80):
        assert columns[f"body{i}"].tolist() == [int(row[i]) for row in truth]


# As ccsdspy calls them, and as we do.
KINDS: dict[str, Literal["unsigned", "signed", "float"]] = {"uint": "unsigned", "int": "signed", "float": "float"}


def specs_of(fields: list[tuple[str, str, int]], at: int = 48) -> list[FieldSpec]:
    """Fields one after the other from bit `at` on: name, kind as ccsdspy calls it, bits."""
    made = []
    for name, kind, bits in fields:
        made.append(FieldSpec(name, at, bits, KINDS[kind]))
        at += bits
    return made


PRIMARY = (
    ("CCSDS_VERSION_NUMBER", 3), ("CCSDS_PACKET_TYPE", 1), ("CCSDS_SECONDARY_FLAG", 1), ("CCSDS_APID", 11),
    ("CCSDS_SEQUENCE_FLAG", 2), ("CCSDS_SEQUENCE_COUNT", 14), ("CCSDS_PACKET_LENGTH", 16),
)  # fmt: skip


def compare(stream: bytes, specs: list[FieldSpec], theirs: dict[str, Any]) -> int:
    header = specs_of([(name, "uint", bits) for name, bits in PRIMARY], 0)
    at = split_packets(stream)
    columns = extract_fields(PacketLayout([*header, *specs]), stream, at.offset, at.length)
    assert at.consumed == len(stream) and columns.incomplete == 0
    for spec in (*header, *specs):
        assert np.array_equal(np.asarray(columns[spec.name]), theirs[spec.name], equal_nan=spec.kind == "float"), spec
    return len(at)


@pytest.mark.parametrize(("apid", "packets"), [("001", 1448), ("010", 3513), ("035", 7200)])
def test_simulated_telemetry_as_ccsdspy_reads_it(vectors: Path, apid: str, packets: int) -> None:
    """The definitions give each field's place after the primary header. Entries of an array are words of 32 bit, one
    behind the other, though two of the files say 4, which is their octets.
    """
    ccsdspy = pytest.importorskip("ccsdspy")
    folder = vectors / f"ccsdspy/hs/apid{apid}"
    stream = next(folder.glob("*.tlm")).read_bytes()
    with (folder / "defs.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    specs, peer = [], []
    for row in rows:
        name, place, bits = row["name"], 48 + int(row["bit_offset"]), int(row["bit_length"])
        if "[" in name:
            bits = 32
            place += bits * int(name.partition("[")[2].rstrip("]"))
        specs.append(FieldSpec(name, place, bits, KINDS[row["data_type"]]))
        peer.append(ccsdspy.PacketField(name=name, data_type=row["data_type"], bit_length=bits, bit_offset=place))
    theirs = ccsdspy.FixedLength(peer).load(io.BytesIO(stream), include_primary_header=True)
    assert compare(stream, specs, theirs) == packets


def test_jpss_1_as_ccsdspy_and_space_packet_parser_read_it(vectors: Path) -> None:
    ccsdspy, space_packet_parser = (pytest.importorskip(name) for name in ("ccsdspy", "space_packet_parser"))
    folder = vectors / "space_packet_parser"
    path = folder / "J01_G011_LZ_2021-04-09T00-00-00Z_V01.DAT1"
    stream = path.read_bytes()
    with (folder / "ccsdspy_jpss1_geolocation.csv").open() as lines:
        rows = [(row["name"], row["data_type"], int(row["bit_length"])) for row in csv.DictReader(lines)]
    theirs = ccsdspy.FixedLength.from_file(str(folder / "ccsdspy_jpss1_geolocation.csv")).load(
        io.BytesIO(stream), include_primary_header=True
    )
    specs = specs_of(rows)
    assert compare(stream, specs, theirs) == 7200
    # The other reader goes by the XTCE file; a hundred packets of it take as long as all of the above.
    definition = space_packet_parser.load_xtce(folder / "jpss1_geolocation_xtce_v1.xml")
    columns = extract_fields(PacketLayout(specs), stream, lengths=71)
    for index, raw in zip(range(100), space_packet_parser.ccsds_generator(stream), strict=False):
        packet = definition.parse_bytes(raw)
        values = list(packet.values())[7:]
        assert len(values) == len(specs)
        for spec, value in zip(specs, values, strict=True):
            assert columns[spec.name][index] == getattr(value, "raw_value", value), spec
