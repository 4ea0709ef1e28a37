"""The XTCE document: valid by the schema, and read by other people's code to the same values."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree as ET

import pytest

from flight.contract.dictionary import EventDefinition, Report, Structure
from flight.contract.fields import Field, Layout, Scalar, Value
from flight.core.nanoseconds import NS
from flight.link.pus import PusTc, PusTm
from flight.link.space_packet import SpacePacket, idle_packet
from flight.link.time_code import decode_cuc
from ground.telemetry.decoder import Decoder
from ground.telemetry.xtce import NAMESPACE, ROOT_CONTAINER, TIME_PARAMETER, parameter_name, xtce_document
from tests.field_values import integer
from tests.ground_dictionary import make

SCHEMA = Path(__file__).parents[2] / "../shared/vectors/space_packet_parser/SpaceSystem.xsd"
T0_NS = 2_152_000_000_500_000_000


@pytest.fixture(scope="module")
def definition(tmp_path_factory: pytest.TempPathFactory) -> Any:
    parser = pytest.importorskip("space_packet_parser")
    path = tmp_path_factory.mktemp("xtce") / "dictionary.xml"
    path.write_text(xtce_document(make()))
    return parser.load_xtce(path)


def read(definition: Any, octets: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return definition.parse_bytes(octets, root_container_name=ROOT_CONTAINER)


def test_validates_against_the_schema() -> None:
    if not SCHEMA.exists():
        pytest.skip("the XTCE schema is not on this machine (../shared/vectors)")
    xmlschema = pytest.importorskip("xmlschema")
    xmlschema.XMLSchema(str(SCHEMA), allow="local").validate(xtce_document(make()))


def values(fields: Sequence[Field], seed: int) -> dict[str, Value]:
    made: dict[str, Value] = {}
    for index, one in enumerate(fields):
        if one.type == "rows":
            inner = (values(one.fields, seed + i).values() for i in range(seed))
            made[one.name] = tuple(tuple(cast("Scalar", value) for value in row) for row in inner)
        elif one.type == "packet":
            made[one.name] = PusTc(1, seed, 17, 1, bytes(seed)).encode()
        elif one.type == "time":
            made[one.name] = T0_NS + seed * NS
        elif one.type == "str":
            made[one.name] = ["", "abc", "µ-Grad"][seed % 3]
        elif one.labels:
            made[one.name] = seed % len(one.labels)
        elif one.type[0] == "f":
            made[one.name] = 0.25 * seed - index
        else:
            made[one.name] = seed + index if one.type[0] == "u" else -seed - index
    return made


def packets() -> Iterator[tuple[Structure | EventDefinition | Report, dict[str, Value], PusTm]]:
    dictionary = make()
    for seq in range(4):
        seed = seq
        for s in dictionary.structures:
            v = values(s.fields, seed)
            yield s, v, PusTm(s.apid, seq, 3, 25, s.sid.to_bytes(2, "big") + s.layout.encode([*v.values()]), T0_NS)
        for e in dictionary.events:
            v = values(e.fields, seed)
            data = e.number.to_bytes(2, "big") + e.layout.encode([*v.values()])
            yield e, v, PusTm(e.apid, seq, 5, e.subtype, data, T0_NS)
        for r in dictionary.reports:
            v = values(r.fields, seed)
            yield r, v, PusTm(r.apid, seq, r.service, r.subtype, r.layout.encode([*v.values()]), T0_NS)


def test_space_packet_parser_reads_what_our_decoder_reads(definition: Any) -> None:
    decoder = Decoder(make())
    for declared, given, packet in packets():
        octets = packet.encode()
        ours, theirs = decoder.decode(octets), read(definition, octets)
        assert ours.name == declared.name
        plain = declared.fields
        if any(one.type in ("rows", "packet") for one in declared.fields):
            first = next(i for i, one in enumerate(declared.fields) if one.type in ("str", "rows", "packet"))
            plain, rest = declared.fields[:first], declared.fields[first:]
            octets_left = Layout(rest).encode([given[one.name] for one in rest])
            assert bytes(theirs[parameter_name(declared.name, rest[0].name)]) == octets_left
        for one in plain:
            got = theirs[parameter_name(declared.name, one.name)]
            if one.type == "time":
                assert decode_cuc(int(got.raw_value).to_bytes(6, "big")) == ours.raw[one.name]
                continue
            assert got == ours.values[one.name]
            assert type(ours.values[one.name])(got) == ours.values[one.name]
        assert int(theirs[TIME_PARAMETER].raw_value) == integer(ours.time_ns) * 65536 // NS
        assert ours.time_ns == T0_NS


def test_idle_and_cfdp_packets_are_read_to_their_end(definition: Any) -> None:
    assert bytes(read(definition, idle_packet(40))["IDLE_DATA"]) == idle_packet(40)[6:]
    assert bytes(read(definition, SpacePacket(3, 1, b"pdu").encode())["CFDP_PDU"]) == b"pdu"


def test_pong_is_no_verification(definition: Any) -> None:
    octets = PusTm(1, 0, 17, 2, b"", T0_NS).encode()
    assert "VERIFICATION_SUBTYPE" not in read(definition, octets)


def test_same_dictionary_same_text() -> None:
    assert xtce_document(make()) == xtce_document(make())


def test_a_command_with_rows_is_offered_with_one_row() -> None:
    root = ET.fromstring(xtce_document(make()))
    named = {one.get("name"): one for one in root.iter(f"{{{NAMESPACE}}}MetaCommand")}
    command = named["insert"]
    assert [a.get("name") for a in command.iter(f"{{{NAMESPACE}}}Argument")] == [
        "entries__at", "entries__command__octets", "entries__command",
    ]  # fmt: skip
    assert "one row" in command.get("shortDescription", "")
    sent = [e.get("name") or e.get("argumentRef") for e in command.iter() if e.tag.endswith("Entry")]
    assert sent[-3:] == ["entries__count", "entries__at", "entries__command"]
    assert "one row" not in named["ping"].get("shortDescription", "one row")
