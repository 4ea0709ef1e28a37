"""The CommandMetaData of an XTCE document: one abstract telecommand, and a MetaCommand per command."""

# All commands are derived from `PusTelecommand`, which has the packet's headers as arguments and assigns none; each
# command assigns all of them, so an operator is never asked for one. That the sending system fills in sequence count,
# length and packet error control is for its configuration.
#
# Verifiers stand at the abstract telecommand and hold for all. XTCE has no words for "a report of service 1 that names
# this request", so they are an algorithm, and the only one that there is comes with Yamcs: its inputs are in the order
# that it wants. Another system finds in them which parameters to compare.
#
# The count of rows and the length of a text stand in the packet. With `arrays` and `leading_size` the sending system
# knows them. Otherwise a command with rows is offered with one row, and the length of a text is an argument of its own,
# which ancillary data say how to work out.

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass, replace

from flight.contract.dictionary import Command, Dictionary
from flight.contract.fields import ROWS_MAX, Field, Refers
from flight.link.pus import ACK_ACCEPTANCE, ACK_COMPLETION, ACK_START, PUS_VERSION
from flight.link.space_packet import PACKET_OCTETS_MIN
from ground.xtce.dialect import Dialect
from ground.xtce.elements import add, add_ancillary
from ground.xtce.names import BASE_ARGUMENTS, BASE_COMMAND, FAILURE_DETAIL
from ground.xtce.telemetry import FAILURE_CODE
from ground.xtce.types import add_array_types, add_type

VERIFICATION_S = 30.0  # if nobody says how long the reports of a command are waited for
_ACK = ACK_ACCEPTANCE | ACK_START | ACK_COMPLETION
_TELECOMMAND = "00011"  # version 0, a telecommand, with a secondary header
_STAGES = {"Accepted": 1, "Execution": 3, "Complete": 7}  # subtype of the report of success; the next one is failure
_VERIFIER_INPUTS = (
    "/yamcs/cmd/arg/apid", "/yamcs/cmdHist/ccsds-seqcount", "REQUEST_APID", "REQUEST_SEQ_COUNT",
    "VERIFICATION_SUBTYPE", FAILURE_CODE, FAILURE_DETAIL,
)  # fmt: skip
_REASON = f"{{{FAILURE_CODE}}} ({{{FAILURE_DETAIL}}})"


@dataclass(frozen=True, slots=True)
class _Argument:
    """One thing that a command carries. `field` is None for the count of rows if that is always 1.

    An argument that is not `sent` only says how long the next one is. `computed` says from what it follows.
    """

    name: str
    field: Field | None
    sent: bool = True
    computed: str = ""


def write_commands(parent: ET.Element, dictionary: Dictionary, dialect: Dialect, timeout_s: float) -> None:
    """Write the abstract telecommand and a MetaCommand per command.

    timeout_s: how long the reports of a command are waited for.
    """
    types = add(parent, "ArgumentTypeSet")
    commands = add(parent, "MetaCommandSet")
    _base_command(types, commands, timeout_s)
    settings = "; ".join(f"{s.name} {s.minimum:g} .. {s.maximum:g}" for s in dictionary.settings)
    for command in dictionary.commands:
        arguments = _arguments(command.arguments, "", dialect)
        counted = any(field.type == "rows" for field in command.arguments)
        one_row = any(argument.field is None for argument in arguments)
        text = f"{command.text}; with one row" if one_row else command.text
        meta_command = add(commands, "MetaCommand", name=command.name, shortDescription=text)
        add_ancillary(meta_command, rows=f"0 .. {ROWS_MAX}" if counted else "")
        base = add(meta_command, "BaseMetaCommand", metaCommandRef=BASE_COMMAND)
        assigned = add(base, "ArgumentAssignmentList")
        values = (command.apid, _ACK, command.service, command.subtype, 0)
        for name, value in zip(BASE_ARGUMENTS, values, strict=True):
            add(assigned, "ArgumentAssignment", argumentName=name, argumentValue=value)
        if any(argument.field is not None for argument in arguments):
            listed = add(meta_command, "ArgumentList")
        for argument in arguments:
            if argument.field is not None:
                name = f"{command.name}__{argument.name}"
                _argument_type(types, _of_settings(argument.field, dictionary), name, argument.name, dialect)
                element = add(listed, "Argument", name=argument.name, argumentTypeRef=f"{name}_t")
                _say_what(element, argument, argument.field, settings)
        _command_container(meta_command, command, arguments)


def _base_command(types: ET.Element, commands: ET.Element, timeout_s: float) -> None:
    text = "what every telecommand begins with; the sending system fills in sequence count, length and CRC"
    base = add(commands, "MetaCommand", name=BASE_COMMAND, abstract=True, shortDescription=text)
    listed = add(base, "ArgumentList")
    for name, bits in BASE_ARGUMENTS.items():
        kind = f"{BASE_COMMAND}__{name}_t"
        number = add(types, "IntegerArgumentType", name=kind, signed=False, sizeInBits=max(bits, 8))
        add(number, "UnitSet")
        add(number, "IntegerDataEncoding", sizeInBits=bits, encoding="unsigned")
        add(listed, "Argument", name=name, argumentTypeRef=kind)
    entries = add(add(base, "CommandContainer", name=f"{BASE_COMMAND}_packet"), "EntryList")
    _fixed(entries, "packet_id", 5, int(_TELECOMMAND, 2))
    add(entries, "ArgumentRefEntry", argumentRef="apid")
    _fixed(entries, "sequence_control", 16, 0xC000)  # unsegmented
    _fixed(entries, "length", 16, 0)
    _fixed(entries, "pus_version", 4, PUS_VERSION)
    for name in ("ack", "service", "subtype", "source"):
        add(entries, "ArgumentRefEntry", argumentRef=name)
    verifiers = add(base, "VerifierSet")
    for stage, subtype in _STAGES.items():
        verifier = add(verifiers, f"{stage}Verifier")
        algorithm = add(verifier, "CustomAlgorithm", name=f"{stage.lower()}_report")
        text = f'org.yamcs.pus.Pus1Verifier({{stage: {subtype}, template: "{_REASON}"}})'
        add(algorithm, "AlgorithmText", language="java").text = text
        inputs = add(algorithm, "InputSet")
        for name in _VERIFIER_INPUTS:
            add(inputs, "InputParameterInstanceRef", parameterRef=name, inputName=name.rpartition("/")[2])
        add(
            verifier, "CheckWindow", timeToStopChecking=f"PT{timeout_s:g}S", timeWindowIsRelativeTo="commandRelease"
        )  # fmt: skip


def _argument_type(types: ET.Element, field: Field, name: str, argument: str, dialect: Dialect) -> None:
    if field.type == "rows":
        add_array_types(types, field, name, "Argument", f"{argument}__count", dialect)
    else:
        add_type(types, field, name, "Argument", f"{argument}__octets", dialect)


def _say_what(element: ET.Element, argument: _Argument, field: Field, settings: str) -> None:
    """Add what XTCE has no element for, of the argument or of the columns of its rows."""
    columns = field.fields or (field,)
    add_ancillary(
        element,
        refers=", ".join(f"{c.name}: {c.refers}" if field.fields else c.refers for c in columns if c.refers),
        nan="not admitted" if any(c.type[0] == "f" for c in columns) else "",
        parameters=settings if any(c.refers == Refers.SETTING_VALUE for c in columns) else "",
        computed=argument.computed,
    )


def _of_settings(field: Field, dictionary: Dictionary) -> Field:
    """Return a value of an on-board parameter with the range that covers all parameters; any other field as it is."""
    if field.fields:
        return replace(field, fields=tuple(_of_settings(column, dictionary) for column in field.fields))
    if field.refers != Refers.SETTING_VALUE or not dictionary.settings:
        return field
    least = min(setting.minimum for setting in dictionary.settings)
    return replace(field, minimum=least, maximum=max(setting.maximum for setting in dictionary.settings))


def _arguments(fields: Iterable[Field], prefix: str, dialect: Dialect) -> list[_Argument]:
    """Return the arguments as entries: before a text stands the number of its octets, before rows their number."""
    arguments: list[_Argument] = []
    for field in fields:
        name = prefix + field.name
        octets = f"{name}__octets"
        if field.type == "rows":
            if dialect.arrays:
                count = Field(f"{name}__count", "u8")
                arguments += [_Argument(count.name, count, computed=f"rows of {name}"), _Argument(name, field)]
            else:
                arguments += [_Argument(f"{name}__count", None), *_arguments(field.fields, f"{name}__", dialect)]
            continue
        if field.type == "str" and not dialect.leading_size:
            arguments.append(_Argument(octets, Field(octets, "u8"), computed=f"octets of {name} in UTF-8"))
        elif field.type == "packet" and not dialect.open_binary:
            length = Field(octets, "u16", minimum=PACKET_OCTETS_MIN)
            arguments.append(_Argument(octets, length, sent=False, computed=f"octets of {name}"))
        arguments.append(_Argument(name, field))
    return arguments


def _command_container(parent: ET.Element, command: Command, arguments: list[_Argument]) -> None:
    container = add(parent, "CommandContainer", name=f"{command.name}_packet")
    entries = add(container, "EntryList")
    if command.function is not None:
        _fixed(entries, "function", 16, command.function)
    for argument in arguments:
        if argument.field is None:
            _fixed(entries, argument.name, 8, 1)
        elif argument.sent:
            add(entries, "ArgumentRefEntry", argumentRef=argument.name)
    add(container, "BaseContainer", containerRef=f"{BASE_COMMAND}_packet")


def _fixed(entries: ET.Element, name: str, bits: int, value: int) -> None:
    octets = -(-bits // 8)
    add(entries, "FixedValueEntry", name=name, binaryValue=f"{value:0{2 * octets}x}", sizeInBits=bits)
