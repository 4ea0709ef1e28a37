"""The XTCE document: valid by the schema, and read by other people's code to the same values."""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
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
from flight.link.time.time_code import decode_cuc
from flight.mission import MISSIONS, load
from ground.telemetry.decoder import Decoder
from ground.telemetry.limits import RED, YELLOW, LimitChecker
from ground.xtce.dialect import XTCE, YAMCS, Dialect
from ground.xtce.document import NAMESPACE, xtce_document
from ground.xtce.names import ROOT_CONTAINER, named_for_xtce, parameter_name
from ground.xtce.telemetry import TIME_PARAMETER
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
            if "code" in v:  # of a failure: one that the dictionary has, as all that a node sends
                v["code"] = sorted(dictionary.failures)[seed % len(dictionary.failures)]
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
        if ours.service == 1 and declared.name != "refusals":
            assert shared_by_reports(theirs) == packet.data
            continue
        for one in plain:
            got = theirs[parameter_name(declared.name, one.name)]
            if one.type == "time":
                assert decode_cuc(int(got.raw_value).to_bytes(6, "big")) == ours.raw[one.name]
                continue
            assert got == ours.values[one.name]
            assert type(ours.values[one.name])(got) == ours.values[one.name]
        assert int(theirs[TIME_PARAMETER].raw_value) == integer(ours.time_ns) * 65536 // NS
        assert ours.time_ns == T0_NS


def shared_by_reports(theirs: Any) -> bytes:
    """The source data of a report of service 1, by the parameters that all such reports share."""
    bits = 0
    for name, width in REQUEST.items():
        bits = bits << width | int(theirs[name].raw_value)
    data = bits.to_bytes(4, "big")
    if "FAILURE_CODE" in theirs:
        detail = theirs["FAILURE_DETAIL"].encode()
        data += int(theirs["FAILURE_CODE"].raw_value).to_bytes(2, "big") + bytes((len(detail),)) + detail
    return data


REQUEST = {"REQUEST_VERSION": 3, "REQUEST_TYPE": 1, "REQUEST_SEC_HDR": 1, "REQUEST_APID": 11, "REQUEST_SEQ_FLAGS": 2,
           "REQUEST_SEQ_COUNT": 14}  # fmt: skip


def test_a_failure_is_shown_by_its_meaning(definition: Any) -> None:
    failure = next(r for r in make().reports if r.service == 1 and r.subtype == 2)
    code, meaning = next(iter(make().failures.items()))
    data = failure.layout.encode((0x1801, 0xC005, code, "why"))
    read_out = read(definition, PusTm(failure.apid, 0, 1, 2, data, T0_NS).encode())
    assert read_out["FAILURE_CODE"] == meaning and read_out["FAILURE_DETAIL"] == "why"
    assert (read_out["REQUEST_APID"], read_out["REQUEST_SEQ_COUNT"]) == (1, 5)


def test_idle_and_cfdp_packets_are_read_to_their_end(definition: Any) -> None:
    assert bytes(read(definition, idle_packet(40))["IDLE_DATA"]) == idle_packet(40)[6:]
    assert bytes(read(definition, SpacePacket(3, 1, b"pdu").encode())["CFDP_PDU"]) == b"pdu"


def test_a_list_of_events_is_no_event(tmp_path: Path) -> None:
    report = Report(1, 5, 8, "disabled", (Field("events", "rows", fields=(Field("event", "u16"),)),))
    made = replace(make(), reports=(report,))
    root = ET.fromstring(xtce_document(made))
    containers = {str(one.get("name")): one for one in root.iter(tag("SequenceContainer"))}
    event = next(containers["EventReport"].iter(tag("ComparisonList")))
    found = {(one.get("parameterRef"), one.get("comparisonOperator", "=="), one.get("value")) for one in event}
    assert found == {("PUS_SERVICE", "==", "5"), ("PUS_SUBTYPE", "<=", "4")}
    path = tmp_path / "dictionary.xml"
    path.write_text(xtce_document(made))
    definition = pytest.importorskip("space_packet_parser").load_xtce(path)
    assert "EVENT_NUMBER" not in read(definition, PusTm(1, 0, 5, 8, b"\0", T0_NS).encode())
    assert read(definition, PusTm(1, 0, 5, 1, b"\0\1\0", T0_NS).encode())["EVENT_NUMBER"] == 1


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
    assert len(set(containers)) == len(containers)
    assert len(set(commands)) == len(commands) == len(ODD) + 1  # and what all of them begin with
    for one in root.iter():
        for key in ("name", "parameterRef", "containerRef", "parameterTypeRef", "argumentRef"):
            named = one.get(key)
            if named is not None and named.startswith("/yamcs/"):  # of the verifiers: the sending system's own
                continue
            assert named is None or one.tag == tag("AncillaryData") or re.fullmatch(r"[^./:\[\]\s]+", named), named


# Commands, and how they are followed


def meta_commands(dictionary: Dictionary, dialect: Dialect = XTCE) -> dict[str, ET.Element]:
    root = ET.fromstring(xtce_document(dictionary, dialect, timeout_s=7.5))
    return {str(one.get("name")): one for one in root.iter(tag("MetaCommand"))}


def test_every_command_assigns_what_all_begin_with() -> None:
    commands = meta_commands(ORBIT)
    base = commands.pop("PusTelecommand")
    assert base.get("abstract") == "true"
    names = [one.get("name") for one in base.iter(tag("Argument"))]
    assert names == ["apid", "ack", "service", "subtype", "source"]
    assert set(commands) == {command.name for command in ORBIT.commands}
    for command in ORBIT.commands:
        made = commands[command.name]
        assert [one.get("metaCommandRef") for one in made.iter(tag("BaseMetaCommand"))] == ["PusTelecommand"]
        assigned = {one.get("argumentName"): one.get("argumentValue") for one in made.iter(tag("ArgumentAssignment"))}
        given = (command.apid, 0b1011, command.service, command.subtype, 0)
        assert assigned == dict(zip(names, map(str, given), strict=True))


def test_a_command_begins_as_pus_has_it() -> None:
    """The fixed parts and the arguments of the abstract telecommand, put together: our own encoder's octets."""
    base = meta_commands(ORBIT)["PusTelecommand"]
    root = ET.fromstring(xtce_document(ORBIT))
    widths = {
        str(one.get("name")): int(next(one.iter(tag("IntegerDataEncoding"))).get("sizeInBits", ""))
        for one in root.iter(tag("IntegerArgumentType"))
        if str(one.get("name")).startswith("PusTelecommand__")
    }
    values = {"apid": 2, "ack": 0b1011, "service": 128, "subtype": 5, "source": 0}
    bits = ""
    for entry in next(base.iter(tag("EntryList"))):
        if entry.tag == tag("FixedValueEntry"):
            width = int(entry.get("sizeInBits", ""))
            bits += f"{int(entry.get('binaryValue', ''), 16):0{width}b}"
        else:
            name = entry.get("argumentRef", "")
            bits += f"{values[name]:0{widths[f'PusTelecommand__{name}_t']}b}"
    ours = PusTc(2, 0, 128, 5, b"", ack=values["ack"]).encode()
    made = int(bits, 2).to_bytes(len(bits) // 8, "big")
    assert made[:4] == ours[:4] and made[6:] == ours[6:-2] and made[4:6] == bytes(2)  # length and CRC are filled in


def test_verifiers_compare_the_reports_with_what_was_sent() -> None:
    commands = meta_commands(ORBIT)
    base = commands.pop("PusTelecommand")
    algorithms = [one.text or "" for one in base.iter(tag("AlgorithmText"))]
    assert [re.findall(r"stage: (\d)", text) for text in algorithms] == [["1"], ["3"], ["7"]]
    (inputs,) = {tuple(str(i.get("parameterRef")) for i in one) for one in base.iter(tag("InputSet"))}
    assert inputs == ("/yamcs/cmd/arg/apid", "/yamcs/cmdHist/ccsds-seqcount", "REQUEST_APID", "REQUEST_SEQ_COUNT",
                      "VERIFICATION_SUBTYPE", "FAILURE_CODE", "FAILURE_DETAIL")  # fmt: skip
    assert {one.get("timeToStopChecking") for one in base.iter(tag("CheckWindow"))} == {"PT7.5S"}
    assert not [one for command in commands.values() for one in command.iter(tag("VerifierSet"))]


def test_an_argument_that_follows_from_others_says_so() -> None:
    said = {
        str(one.get("name")): ancillary(one).get("computed", "")
        for one in meta_commands(ORBIT)["load_parameter_table"].iter(tag("Argument"))
    }
    assert said == {"name__octets": "octets of name in UTF-8", "name": ""}


# For Yamcs


def test_in_the_dialect_of_yamcs_nobody_types_a_length() -> None:
    for name, command in meta_commands(ORBIT, YAMCS).items():
        arguments = [str(one.get("name")) for one in command.iter(tag("Argument"))]
        assert not [one for one in arguments if one.endswith("__octets")], name
    rows = meta_commands(ORBIT, YAMCS)["insert_activities"]
    assert [one.get("name") for one in rows.iter(tag("Argument"))] == [
        "sub_schedule", "activities__count", "activities",
    ]  # fmt: skip
    assert "one row" not in rows.get("shortDescription", "")


def test_in_the_dialect_of_yamcs_every_event_number_has_a_label() -> None:
    root = ET.fromstring(xtce_document(ORBIT, YAMCS))
    kind = next(one for one in root.iter(tag("EnumeratedParameterType")) if one.get("name") == "EVENT_NUMBER_t")
    labels = {int(one.get("value", "")): one.get("label") for one in kind.iter(tag("Enumeration"))}
    assert labels == {event.number: str(event.number) for event in ORBIT.events}


def test_in_the_dialect_of_yamcs_rows_are_entries_unless_packets_are_among_them() -> None:
    root = ET.fromstring(xtce_document(ORBIT, YAMCS))
    arrays = {str(one.get("name")) for one in root.iter(tag("ArrayParameterType"))}
    binaries = {str(one.get("name")) for one in root.iter(tag("BinaryParameterType"))}
    for report in ORBIT.reports:
        for field in report.fields:
            if field.type == "rows":
                name = f"{report.name}__{field.name}_t"
                with_packets = any(column.type == "packet" for column in field.fields)
                assert (name in arrays) != with_packets, name
                assert not with_packets or any(one.startswith(f"{report.name}__") for one in binaries), name


def test_names_in_the_dialect_of_yamcs_are_each_there_once() -> None:
    """Yamcs refuses a database in which two types have one name; the schema does not."""
    for dictionary in (ORBIT, make(), odd_dictionary()):
        root = ET.fromstring(xtce_document(dictionary, YAMCS))
        for kind in ("ParameterTypeSet", "ParameterSet", "ContainerSet", "ArgumentTypeSet", "MetaCommandSet"):
            for found in root.iter(tag(kind)):
                names = Counter(one.get("name") for one in found)
                assert [name for name, count in names.items() if count > 1] == [], kind


def test_names_of_our_own_are_as_they_are() -> None:
    assert named_for_xtce(ORBIT) == ORBIT
