"""What a field's number is the number of is declared (`Field.refers`): the ground reads it from the document alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from flight.catalogue import dictionary_of
from flight.contract.dictionary import Dictionary
from flight.contract.fields import Field, FieldError, Refers
from flight.core.errors import OrbitnodeError
from flight.link.pus import PusTc, PusTm
from flight.mission import MISSIONS, load
from ground.commands.commanding import CommandEncoder, describe_field, parse_arguments
from ground.telemetry.decoder import Decoder, parameter_rows
from ground.xtce.document import xtce_document
from tests.field_values import rows
from tests.ground_dictionary import make

ORBIT = dictionary_of(load(MISSIONS / "orbit.toml", opens_devices=False))
STRUCTURE, SOC, EVENT = 3, 3 * 256, 30  # thermal, its first field, and an event of the node
POWER_SOC, SOC_SAFE, SOC_RESUME = 2 * 256, 1, 2


def renamed(fields: tuple[Field, ...], prefix: str) -> tuple[Field, ...]:
    return tuple(
        replace(one, name=f"{prefix}{i}", fields=renamed(one.fields, f"{prefix}{i}_")) for i, one in enumerate(fields)
    )


def meaningless(fields: tuple[Field, ...], _: str) -> tuple[Field, ...]:
    return tuple(replace(one, refers="", fields=meaningless(one.fields, "")) for one in fields)


def foreign(change: Callable[[tuple[Field, ...], str], tuple[Field, ...]]) -> Dictionary:
    """The orbit mission as other software would have it, with other arguments and other values of reports and events,
    read from its document.
    """
    made = replace(
        ORBIT,
        commands=tuple(replace(one, arguments=change(one.arguments, "a")) for one in ORBIT.commands),
        reports=tuple(replace(one, fields=change(one.fields, "v")) for one in ORBIT.reports),
        events=tuple(replace(one, fields=change(one.fields, "v")) for one in ORBIT.events),
    )
    return Dictionary.from_document(json.loads(json.dumps(made.document())))


def every_field(dictionary: Dictionary) -> Iterator[Field]:
    tops = [one.fields for one in dictionary.structures]
    tops += [one.fields for one in dictionary.events] + [one.fields for one in dictionary.reports]
    tops += [one.arguments for one in dictionary.commands]
    for fields in tops:
        for one in fields:
            yield from (one, *one.fields)


def row_of(dictionary: Dictionary, name: str, *texts: str) -> tuple[object, ...]:
    """What the arguments of a command travel as, of texts as they are typed."""
    command = dictionary.command(name)
    packet = CommandEncoder(dictionary).encode(name, parse_arguments(command, texts)).packet
    return command.layout.decode(PusTc.decode(packet).data)


@pytest.mark.parametrize(
    ("name", "texts", "row"),
    [
        ("report_hk", ("thermal",), (((STRUCTURE,),),)),
        ("report_hk", ("hk-300",), (((300,),),)),
        ("create_hk", ("a0=300", "a1=10", "a2=power.soc_frac,thermal.board_c"), (300, 10.0, ((POWER_SOC,), (SOC,)), 0)),
        ("report_parameters", ("soc_resume_frac",), (((SOC_RESUME,),),)),
        ("set_parameters", ("soc_safe_frac=0.25",), (((SOC_SAFE, 0.25),),)),
        ("disable_events", ("heater_switched",), (((EVENT,),),)),
        ("enable_event_actions", ("heater_switched",), (((1, EVENT),),)),
        ("add_event_actions", ('a0=[[1, "heater_switched", "ping"]]',), None),
    ],
)
def test_names_are_resolved_whatever_the_field_is_called(name: str, texts: tuple[str, ...], row: object) -> None:
    made = row_of(foreign(renamed), name, *texts)
    if row is None:
        ((apid, event, _),) = rows(made[0])
        assert (apid, event) == (1, EVENT)
    else:
        assert made == row


def test_settings_are_checked_together_and_shown_by_name_whatever_the_field_is_called() -> None:
    encoder = CommandEncoder(foreign(renamed))
    shown = encoder.encode("set_parameters", {"a0": [[SOC_SAFE, 0.25]]}).arguments
    assert json.loads(str(shown["a0"])) == [{"a0_0": "soc_safe_frac", "a0_1": 0.25}]
    with pytest.raises(OrbitnodeError, match=r"soc_safe_frac: 0.9 should stay below soc_resume_frac, which is 0.3"):
        encoder.encode("set_parameters", {"a0": {"soc_safe_frac": 0.9, "soc_resume_frac": 0.3}})


def report(dictionary: Dictionary, service: int, subtype: int, *values: Any) -> bytes:
    one = next(r for r in dictionary.reports if (r.apid, r.service, r.subtype) == (1, service, subtype))
    return PusTm(1, 0, service, subtype, one.layout.encode(values), 10**18).encode()


def test_what_reports_tell_is_understood_whatever_the_field_is_called() -> None:
    dictionary = foreign(renamed)
    decoder = Decoder(dictionary)
    values = decoder.decode(report(dictionary, 20, 2, ((SOC_SAFE, 0.5), (SOC_RESUME, 0.75))))
    assert parameter_rows(values) == [(SOC_SAFE, 0.5), (SOC_RESUME, 0.75)]
    shown = decoder.decode(report(dictionary, 3, 10, 300, 1, 10.0, ((POWER_SOC,), (SOC,)), 0))
    assert list(shown.values.values())[3:5] == ["power.soc_frac", "thermal.board_c"]
    sample = PusTm(1, 0, 3, 25, (300).to_bytes(2, "big") + bytes(8), 10**18).encode()
    assert dict(decoder.decode(sample).raw) == {"power.soc_frac": 0.0, "thermal.board_c": 0.0}


def test_a_document_that_says_nothing_of_it_is_read_and_takes_numbers() -> None:
    bare = foreign(meaningless)
    assert "refers" in json.dumps(ORBIT.document()) and "refers" not in json.dumps(bare.document())
    assert row_of(bare, "report_hk", str(STRUCTURE)) == (((STRUCTURE,),),)
    with pytest.raises(OrbitnodeError, match="'thermal' is not a number"):
        row_of(bare, "report_hk", "thermal")
    assert parameter_rows(Decoder(bare).decode(report(bare, 20, 2, ((SOC_SAFE, 0.5),)))) == []
    assert Decoder(bare).decode(report(bare, 3, 10, 300, 1, 10.0, ((SOC,),), 0)).raw["structure"] == 300


def test_a_meaning_that_is_not_known_here_means_nothing() -> None:
    strange = replace(make(), commands=(replace(make().command("cancel_job"), arguments=(
        Field("job", "u32", refers="phase of the moon"),)),))  # fmt: skip
    made = Dictionary.from_document(json.loads(json.dumps(strange.document())))
    assert made.document() == strange.document()
    assert row_of(made, "cancel_job", "job=7") == (7,)
    assert describe_field(made.command("cancel_job").arguments[0]) == "u32"


def test_what_the_node_declares_is_known_and_none_of_the_like_lacks_it() -> None:
    meanings = {one.name: {f.refers for f in every_field(ORBIT) if f.name == one.name and f.is_number}
                for one in every_field(ORBIT) if one.refers}  # fmt: skip
    assert meanings == {
        "structure": {Refers.STRUCTURE}, "hk_parameter": {Refers.HK_PARAMETER}, "parameter": {Refers.SETTING},
        "value": {Refers.SETTING_VALUE, ""}, "event": {Refers.EVENT}, "event_number": {Refers.EVENT},
        "event_apid": {Refers.APPLICATION}, "apid": {Refers.APPLICATION, ""},
    }  # fmt: skip


def test_a_text_or_an_enumerated_field_refers_to_nothing() -> None:
    for type, labels in (("str", ()), ("time", ()), ("packet", ()), ("u8", ("a", "b"))):
        with pytest.raises(FieldError, match="field x refers to event, which only plain numbers may"):
            Field("x", type, labels=labels, refers=Refers.EVENT)


def test_xtce_says_it_beside_parameter_and_argument() -> None:
    text = xtce_document(ORBIT)
    said = "".join(text.split())
    data = '<AncillaryDataname="refers">{}</AncillaryData>'
    assert data.format("event") in said and data.format("structure") in said
    assert said.count('<AncillaryDataname="refers">') > 10
