"""The XTCE document: valid by the schema, and read by other people's code to the same values."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree as ET

import pytest

from flight.catalogue import dictionary_of
from flight.contract.dictionary import Command, Dictionary, EventDefinition, Report, Structure
from flight.contract.fields import Field, FieldError, Layout, Limits, Refers, Scalar, Value
from flight.core.nanoseconds import NS
from flight.link.pus import PusTc, PusTm
from flight.link.space_packet import SpacePacket, idle_packet
from flight.link.time_code import decode_cuc
from flight.mission import MISSIONS, load
from ground.telemetry.decoder import Decoder
from ground.telemetry.limits import RED, YELLOW, LimitChecker
from ground.telemetry.xtce import (
    NAMESPACE,
    ROOT_CONTAINER,
    TIME_PARAMETER,
    named_for_xtce,
    parameter_name,
    xtce_document,
)
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


@pytest.fixture(scope="module")
def schema() -> Any:
    """Read once: it takes longer than what it validates."""
    if not SCHEMA.exists():
        pytest.skip("the XTCE schema is not on this machine (../shared/vectors)")
    return pytest.importorskip("xmlschema").XMLSchema(str(SCHEMA), allow="local")


def test_validates_against_the_schema(schema: Any) -> None:
    schema.validate(xtce_document(make()))
    schema.validate(xtce_document(ORBIT))


def test_validates_whatever_others_call_things(schema: Any) -> None:
    schema.validate(xtce_document(odd_dictionary()))


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


# Ranges, what is not a number, and names


ORBIT = dictionary_of(load(MISSIONS / "orbit.toml", opens_devices=False))


def tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def plain_arguments(fields: Sequence[Field], prefix: str = "") -> Iterator[tuple[str, Field]]:
    for one in fields:
        if one.type == "rows":
            yield from plain_arguments(one.fields, f"{prefix}{one.name}__")
        else:
            yield prefix + one.name, one


def ranges(dictionary: Dictionary) -> Iterator[tuple[Field, dict[str, str]]]:
    """Each number that a command takes, and the range that stands in XTCE."""
    root = ET.fromstring(xtce_document(dictionary))
    types = {one.get("name"): one for one in root.iter() if one.tag.endswith("ArgumentType")}
    given = {one.get("name"): one for one in root.iter(tag("MetaCommand"))}
    for command in dictionary.commands:
        arguments = {one.get("name"): one for one in given[command.name].iter(tag("Argument"))}
        for name, one in plain_arguments(command.arguments):
            if not one.is_number:
                continue
            kind = types[arguments[name].get("argumentTypeRef")]
            if one.labels:
                assert kind.tag == tag("EnumeratedArgumentType")
                assert [e.get("label") for e in kind.iter(tag("Enumeration"))] == list(one.labels)
                continue
            (found,) = kind.iter(tag("ValidRange"))
            yield one, dict(found.attrib)


@pytest.mark.parametrize("dictionary", [ORBIT, make()], ids=["orbit", "test"])
def test_every_number_that_a_command_takes_has_the_range_that_we_admit(dictionary: Dictionary) -> None:
    seen = 0
    for one, found in ranges(dictionary):
        seen += 1
        is_float = one.type[0] == "f"
        low, high = ((float if is_float else int)(found[key]) for key in ("minInclusive", "maxInclusive"))
        if one.refers == Refers.SETTING_VALUE:
            assert low == min(s.minimum for s in dictionary.settings)
            assert high == max(s.maximum for s in dictionary.settings)
            continue
        assert one.admit(low) == low and one.admit(high) == high
        if one.type == "u64":
            continue  # the schema's own integers end before
        below, above = (
            (math.nextafter(low, -math.inf), math.nextafter(high, math.inf)) if is_float else (low - 1, high + 1)
        )
        for beyond in (below, above):
            with pytest.raises(FieldError):
                one.admit(beyond)
    assert seen > 8


def ancillary(parent: ET.Element) -> dict[str, str]:
    return {str(one.get("name")): one.text or "" for one in parent.iter(tag("AncillaryData"))}


def test_what_is_no_number_is_said_as_the_limit_checker_takes_it() -> None:
    limits = {
        "both": Limits((0.0, 1.0), (-1.0, 2.0)), "yellow": Limits(yellow=(0.0, 1.0)), "red": Limits(red=(0.0, 1.0)),
        "neither": Limits(),
    }  # fmt: skip
    bounded = tuple(Field(name, "f32", limits=one) for name, one in limits.items())
    fields = (*bounded, Field("free", "f32"), Field("whole", "u8", limits=Limits(red=(0, 1))))
    made = replace(make(), structures=(Structure(1, 1, "s", 1.0, fields),))
    root = ET.fromstring(xtce_document(made))
    said = {str(one.get("name")): ancillary(one) for one in root.iter(tag("Parameter"))}
    octets = PusTm(1, 0, 3, 25, b"\x00\x01" + Layout(fields).encode([math.nan] * 5 + [0]), T0_NS).encode()
    checker = LimitChecker()
    checker.check(Decoder(made).decode(octets))
    for one in bounded:
        assert said[f"s__{one.name}"]["nan"].partition(":")[0] == checker.state(f"s.{one.name}"), one.name
    assert checker.state("s.both") == RED and checker.state("s.yellow") == YELLOW
    assert "nan" not in said["s__free"] and "nan" not in said["s__whole"]


def test_a_command_says_how_many_rows_it_takes_and_what_its_parameters_may_be() -> None:
    root = ET.fromstring(xtce_document(ORBIT))
    command = next(one for one in root.iter(tag("MetaCommand")) if one.get("name") == "set_parameters")
    (data,) = command.findall(tag("AncillaryDataSet"))
    assert ancillary(data) == {"rows": "0 .. 255"}
    value = next(one for one in command.iter(tag("Argument")) if one.get("name") == "parameters__value")
    said = ancillary(value)
    assert said["refers"] == "setting value" and said["nan"] == "not admitted"
    assert said["parameters"].split("; ")[:2] == ["soc_safe_frac 0 .. 0.95", "soc_resume_frac 0 .. 1"]


ODD = ("a.b", "a_b", "a/b", "a:b", "[x]", "a b", "a\tb", "a\nb", "a\x07b", "\ud800", "", "../../x", "<&>", "PusReport")


def odd_dictionary() -> Dictionary:
    """One of others: read from a document, in which any name and text may stand."""
    odd = tuple(Field(name, "u8", unit="\x1b", text="\x00", labels=("\x07", "ok")) for name in ODD)
    return replace(
        make(),
        mission="a b/\x01",
        version="\x02",
        structures=tuple(Structure(1, i, name, 1.0, odd) for i, name in enumerate(ODD)),
        events=tuple(EventDefinition(1, i, name, "low", "\x03", odd) for i, name in enumerate(ODD)),
        reports=tuple(Report(1, 130, i, name, odd) for i, name in enumerate(ODD)),
        commands=tuple(Command(name, 1, 130, i, "\x04", odd) for i, name in enumerate(ODD)),
    )


def test_names_that_others_give_are_such_as_xtce_allows_and_each_is_there_once() -> None:
    root = ET.fromstring(xtce_document(odd_dictionary()))
    containers = [str(one.get("name")) for one in root.iter(tag("SequenceContainer"))]
    commands = [str(one.get("name")) for one in root.iter(tag("MetaCommand"))]
    assert len(set(containers)) == len(containers) and len(set(commands)) == len(commands) == len(ODD)
    for one in root.iter():
        for key in ("name", "parameterRef", "containerRef", "parameterTypeRef", "argumentRef"):
            named = one.get(key)
            assert named is None or one.tag == tag("AncillaryData") or re.fullmatch(r"[^./:\[\]\s]+", named), named


def test_names_of_our_own_are_as_they_are() -> None:
    assert named_for_xtce(ORBIT) == ORBIT
