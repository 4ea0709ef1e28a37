"""Commands by name: encoding from the dictionary with its range checks, sequence counts, and texts into values."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flight.core.errors import OrbitnodeError
from flight.dictionary import Command, Dictionary, Setting
from flight.fields import Field, FieldError, Plain, Row, Value
from flight.link.pus import ACK_ACCEPTANCE, ACK_COMPLETION, ACK_START, PusTc, RequestId
from flight.link.request_source import GROUND_SEQ_COUNTS
from flight.services.parameter_table import admit, check_together
from ground.names import choices, hk_parameter, structure_id

_SEQ_MODULUS = GROUND_SEQ_COUNTS
_DIGITS_MAX = 20  # of the largest u64
_ACK = ACK_ACCEPTANCE | ACK_START | ACK_COMPLETION  # every stage is shown to the operator
_PARAMETER_VALUES = ("parameter", "value")  # rows of ST[20]
_SWITCH_TEXTS = {"true": 1, "yes": 1, "on": 1, "false": 0, "no": 0, "off": 0}


@dataclass(frozen=True, slots=True)
class EncodedCommand:
    """A telecommand packet ready for the session. `arguments` are as sent, with labels and names resolved."""

    name: str
    arguments: Mapping[str, Plain]
    request: RequestId
    packet: bytes


class CommandEncoder:
    """Builds PUS telecommands of one ground (`source`) for one node; keeps a sequence count per APID."""

    def __init__(self, dictionary: Dictionary, *, source: int = 0, first_seq: Mapping[int, int] | None = None) -> None:
        self.dictionary = dictionary
        self._settings: dict[object, Setting] = {s.number: s for s in dictionary.settings}
        self._source = source
        self._seq: dict[int, int] = dict(first_seq or {})

    def encode(self, name: str, arguments: Mapping[str, object], *, raw: bool = False) -> EncodedCommand:
        """The command `name` with `arguments`; raises OrbitnodeError where the dictionary does not admit them.

        With `raw` the ranges and labels are not checked, only that each value fits its field: this is how a
        deliberately invalid command is sent.
        """
        command = find_command(self.dictionary, name)
        row, shown = self._row(command, arguments, raw)
        data = b"" if command.function is None else command.function.to_bytes(2, "big")
        data += command.layout.encode(row)
        seq = self._seq.get(command.apid, 0) % _SEQ_MODULUS
        self._seq[command.apid] = (seq + 1) % _SEQ_MODULUS
        packet = PusTc(command.apid, seq, command.service, command.subtype, data, _ACK, self._source).encode()
        return EncodedCommand(command.name, shown, RequestId(command.apid, seq), packet)

    def _row(self, command: Command, given: Mapping[str, object], raw: bool) -> tuple[list[Value], dict[str, Plain]]:
        """One wire value an argument, and the same with labels for people."""
        known = {f.name: f for f in command.arguments}
        for key in given:
            if key not in known:
                raise OrbitnodeError(f"{command.name}: unknown argument {key!r}, {choices(key, list(known))}")
        row: list[Value] = []
        shown: dict[str, Plain] = {}
        for name, one in known.items():
            value = given.get(name, one.default)
            if value is None:
                raise OrbitnodeError(f"{command.name}: argument {name!r} is missing, {describe_field(one)}")
            number = self._resolve_rows(one, value) if one.type == "rows" else self._resolve(one, value)
            try:
                admitted = _unbounded(one).admit(number) if raw else one.admit(number)
                if isinstance(admitted, tuple) and not raw:
                    self._check_settings(one, admitted)
            except FieldError as error:
                raise OrbitnodeError(f"{command.name}: {error}") from None
            row.append(admitted)
            shown[name] = value if isinstance(value, str) else self._label(one, admitted)
        return row, shown

    def _resolve_rows(self, one: Field, value: object) -> object:
        """Rows with their names resolved. Rows of one field may be given as bare values, of two as a mapping."""
        if isinstance(value, Mapping):
            value = list(value.items())
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            return value
        return [self._resolve_row(one.fields, row) for row in value]

    def _resolve_row(self, fields: tuple[Field, ...], row: object) -> object:
        known = {f.name: f for f in fields}
        if isinstance(row, Mapping):
            return {name: self._resolve(known[name], v) if name in known else v for name, v in row.items()}
        if len(fields) == 1 and (isinstance(row, str | bytes) or not isinstance(row, Sequence)):
            row = [row]
        if isinstance(row, Sequence) and not isinstance(row, str | bytes) and len(row) == len(fields):
            return [self._resolve(f, v) for f, v in zip(fields, row, strict=True)]
        return row

    def _check_settings(self, one: Field, rows: Sequence[Row]) -> None:
        """Values of parameters by each one's type and bounds and against each other; raises FieldError. Parameters
        that the dictionary does not know are for the node to judge."""
        if _names(one) != _PARAMETER_VALUES:
            return
        values: dict[str, float] = {}
        for number, value in rows:
            setting = self._settings.get(number)
            if setting is None:
                continue
            if setting.name in values:
                raise FieldError(f"{setting.name} is given twice")
            values[setting.name] = admit(setting, value)
        check_together(self.dictionary.settings, values)

    def _label(self, one: Field, value: Value) -> Plain:
        """As `Field.label`, with parameters by name."""
        if not isinstance(value, tuple) or "parameter" not in _names(one):
            return one.label(value)
        rows: list[dict[str, object]] = [dict(zip(_names(one), row, strict=True)) for row in value]
        for row in rows:
            setting = self._settings.get(row["parameter"])
            row["parameter"] = row["parameter"] if setting is None else setting.name
        return json.dumps(rows)

    def _named_setting(self, name: str) -> Setting:
        for one in self.dictionary.settings:
            if one.name == name:
                return one
        raise OrbitnodeError(f"unknown parameter {name!r}, {choices(name, [s.name for s in self.dictionary.settings])}")

    def _resolve(self, one: Field, value: object) -> object:
        """Names of parameters and structures into the numbers they travel as."""
        if not isinstance(value, str) or one.type == "str" or one.labels:
            return value
        if value.isdecimal() and len(value) <= _DIGITS_MAX:
            return int(value)
        if one.name == "parameter":
            return self._named_setting(value).number
        if one.name in ("structure", "sid"):
            return structure_id(self.dictionary, value)
        if one.name == "hk_parameter":
            return hk_parameter(self.dictionary, value)
        return value


def _unbounded(one: Field) -> Field:
    """The field with what its octets can hold as its only bound."""
    return dataclasses.replace(
        one, minimum=None, maximum=None, labels=() if one.type != "str" else one.labels,
        fields=tuple(map(_unbounded, one.fields)),
    )  # fmt: skip


def _names(one: Field) -> tuple[str, ...]:
    return tuple(f.name for f in one.fields)


def find_command(dictionary: Dictionary, name: str) -> Command:
    """The command called `name`; raises OrbitnodeError with the nearest name."""
    for one in dictionary.commands:
        if one.name == name:
            return one
    raise OrbitnodeError(f"unknown command {name!r}, {choices(name, [c.name for c in dictionary.commands])}")


def describe_field(one: Field) -> str:
    """What an argument may be, in a few words: its labels, or its type, range and unit."""
    if one.labels:
        return f"one of {', '.join(one.labels)}"
    low = "" if one.minimum is None else f"{one.minimum:g}"
    high = "" if one.maximum is None else f"{one.maximum:g}"
    bounds = f" {low} .. {high}" if low or high else ""
    unit = f" {one.unit}" if one.unit else ""
    return f"{one.type}{bounds}{unit}"


def parse_arguments(command: Command, texts: Sequence[str]) -> dict[str, object]:
    """`key=value` texts from a terminal as argument values; raises OrbitnodeError for what is no such pair.

    A command that takes nothing but rows of two fields has them as `first=second`, one of rows of one field as bare
    values: `soc_safe_frac=0.5`, `thermal`.
    """
    fields = {f.name: f for f in command.arguments}
    if len(fields) == 1 and not any(text.partition("=")[0] in fields for text in texts):
        (only,) = command.arguments
        if len(only.fields) == 2:
            return {only.name: [_pair(command, only.fields, text) for text in texts]}
        if len(only.fields) == 1:
            return {only.name: list(texts)}
    values: dict[str, object] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            usage = " ".join(f"{f.name}=..." for f in command.arguments) or "no arguments"
            raise OrbitnodeError(f"{command.name}: {text!r} is not key=value, the command takes {usage}")
        if key in values:
            raise OrbitnodeError(f"{command.name}: argument {key!r} is given twice")
        one = fields.get(key)
        values[key] = value if one is None else parse_value(one, value)
    return values


def _pair(command: Command, fields: tuple[Field, ...], text: str) -> list[object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        usage = "=".join(f.name for f in fields)
        raise OrbitnodeError(f"{command.name}: {text!r} is not name=value, the command takes {usage} ...")
    return [name, parse_value(fields[1], value)]


def parse_value(one: Field, text: str) -> object:
    """`text` as a value of the field; what is no number stays a text, for the encoder to resolve or refuse."""
    if one.type == "str" or text in one.labels:
        return text
    if one.type == "rows":
        try:
            rows: object = json.loads(text)
        except (ValueError, RecursionError):
            if len(one.fields) == 1:
                return text.split(",")
            raise OrbitnodeError(f"{one.name}: {text!r} is not a JSON list of rows") from None
        return rows
    if one.type == "packet":
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise OrbitnodeError(f"{one.name}: {text!r} is not hexadecimal") from None
    if text.lower() in _SWITCH_TEXTS and not one.labels and one.type[0] != "f":
        return _SWITCH_TEXTS[text.lower()]
    try:
        return int(text, 0)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text
