"""Any octets give a packet or DecodeError; what the dictionary describes comes back as it was."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flight.contract.dictionary import hk_parameters
from flight.contract.fields import Field, Layout
from flight.core.errors import DecodeError, OrbitnodeError
from flight.kernels import crc16
from flight.link.pus import PusTc, PusTm
from flight.link.time.time_code import decode_cuc
from ground.commands.commanding import CommandEncoder
from ground.telemetry.decoder import DEFINITION, Decoder, flattened
from tests.ground_dictionary import make

DICTIONARY = make()
PARAMETERS = hk_parameters(DICTIONARY.structures)


def value(one: Field) -> st.SearchStrategy[Any]:
    if one.type == "str":
        return st.text(max_size=60)
    if one.type == "rows":
        return st.lists(st.tuples(*map(value, one.fields)), max_size=3).map(tuple)
    if one.type == "time":
        return st.integers(0, 2**48 - 1).map(lambda ticks: decode_cuc(ticks.to_bytes(6, "big")))
    if one.labels:
        return st.integers(0, len(one.labels) - 1)
    if one.type[0] == "f":
        return st.floats(width=32 if one.type == "f32" else 64, allow_nan=False)
    bits = int(one.type[1:])
    return st.integers(0, 2**bits - 1) if one.type[0] == "u" else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@given(st.data())
def test_housekeeping_round_trip(data: st.DataObject) -> None:
    structure = data.draw(st.sampled_from(DICTIONARY.structures))
    row = [data.draw(value(f)) for f in structure.fields]
    octets = PusTm(1, 0, 3, 25, structure.sid.to_bytes(2, "big") + structure.layout.encode(row), 10**18).encode()
    packet = Decoder(DICTIONARY).decode(octets)
    assert packet.name == structure.name
    assert dict(packet.raw) == flattened(structure.fields, row)[0]
    assert packet.fields.keys() == packet.raw.keys() == packet.values.keys()


@given(
    st.integers(0, 2**16 - 1),
    st.lists(st.integers(0, 2**16 - 1) | st.sampled_from(sorted(PARAMETERS)), max_size=20),
    st.binary(max_size=40),
)
def test_any_definition_is_learned_or_refused(sid: int, numbers: list[int], data: bytes) -> None:
    decoder = Decoder(DICTIONARY)
    definition = next(r for r in DICTIONARY.reports if (r.service, r.subtype) == DEFINITION)
    row = (sid, 1, 5.0, tuple((number,) for number in numbers), 0)
    decoder.decode(PusTm(1, 0, 3, 10, definition.layout.encode(row), 10**18).encode())
    octets = PusTm(1, 0, 3, 25, sid.to_bytes(2, "big") + data, 10**18).encode()
    declared = {s.sid for s in DICTIONARY.structures}
    refused = sid not in declared and not set(numbers) <= PARAMETERS.keys()
    assert decoder.counters.definitions_refused == refused
    try:
        packet = decoder.decode(octets)
    except DecodeError:
        return
    if sid in declared:
        return
    assert packet.kind == ("unknown" if refused else "housekeeping")
    if not refused:
        assert packet.name == f"hk-{sid}"
        fields = tuple(PARAMETERS[number] for number in numbers)
        assert dict(packet.raw) == flattened(fields, Layout(fields).decode(data))[0]


@given(st.binary(max_size=60))
def test_any_octets(octets: bytes) -> None:
    try:
        Decoder(DICTIONARY).decode(octets)
    except DecodeError:
        pass


@settings(max_examples=300)
@given(
    st.sampled_from([1, 2, 3, 9]), st.sampled_from([1, 3, 5, 17, 20, 128]), st.integers(0, 30), st.binary(max_size=40)
)
def test_any_packet_of_a_known_service(apid: int, service: int, subtype: int, data: bytes) -> None:
    body = PusTm(apid, 0, service, subtype, data, 10**18).encode()[:-2]
    try:
        packet = Decoder(DICTIONARY).decode(body + crc16(body).to_bytes(2, "big"))
    except DecodeError:
        return
    assert packet.kind in ("housekeeping", "event", "report", "unknown")


@given(
    st.sampled_from([c.name for c in DICTIONARY.commands]),
    st.dictionaries(
        st.sampled_from(
            [
                "structures",
                "parameters",
                "parameter",
                "value",
                "mode",
                "on",
                "tiles",
                "job",
                "text",
                "structure",
                "period_s",
            ]
        ),
        st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8)),
        max_size=3,
    ),
    st.booleans(),
)
def test_any_arguments_give_a_telecommand_or_one_clear_error(name: str, arguments: dict[str, Any], raw: bool) -> None:
    try:
        made = CommandEncoder(DICTIONARY).encode(name, arguments, raw=raw)
    except OrbitnodeError as error:
        text = str(error)
        made = None
    if made is None:
        assert "\n" not in text
    else:
        assert PusTc.decode(made.packet).request_id == made.request
