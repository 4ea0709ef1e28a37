"""Commands by name: encoding from the dictionary with its range checks, sequence counts, and texts into values."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flight.core.errors import OrbitnodeError
from flight.dictionary import Command, Dictionary, Setting
from flight.fields import Field, FieldError, Value
from flight.link.pus import ACK_ACCEPTANCE, ACK_COMPLETION, ACK_START, PusTc, RequestId

_SEQ_MODULUS = 1 << 14
_DIGITS_MAX = 20  # of the largest u64
_ACK = ACK_ACCEPTANCE | ACK_START | ACK_COMPLETION  # every stage is shown to the operator
_SWITCH_TEXTS = {"true": 1, "yes": 1, "on": 1, "false": 0, "no": 0, "off": 0}


@dataclass(frozen=True, slots=True)
class EncodedCommand:
    """A telecommand packet ready for the session. `arguments` are as sent, with labels and names resolved."""

    name: str
    arguments: Mapping[str, Value]
    request: RequestId
    packet: bytes


class CommandEncoder:
    """Builds PUS telecommands of one ground (`source`) for one node; keeps a sequence count per APID."""

    def __init__(self, dictionary: Dictionary, *, source: int = 0, first_seq: Mapping[int, int] | None = None) -> None:
        self.dictionary = dictionary
        self._source = source
        self._seq: dict[int, int] = dict(first_seq or {})

    def encode(self, name: str, arguments: Mapping[str, Value], *, raw: bool = False) -> EncodedCommand:
        """The command `name` with `arguments`; raises OrbitnodeError where the dictionary does not admit them.

        With `raw` the ranges and labels are not checked, only that each value fits its field: this is how a
        deliberately invalid command is sent.
        """
        command = find_command(self.dictionary, name)
        row, shown = self._row(command, arguments, raw)
        data = b"" if command.function is None else command.function.to_bytes(2, "big")
        data += command.layout.encode(row)
        seq = self._seq.get(command.apid, 0)
        self._seq[command.apid] = (seq + 1) % _SEQ_MODULUS
        packet = PusTc(command.apid, seq, command.service, command.subtype, data, _ACK, self._source).encode()
        return EncodedCommand(command.name, shown, RequestId(command.apid, seq), packet)

    def _row(self, command: Command, given: Mapping[str, Value], raw: bool) -> tuple[list[Value], dict[str, Value]]:
        """One wire value an argument, and the same with labels for people."""
        known = {f.name: f for f in command.arguments}
        for key in given:
            if key not in known:
                raise OrbitnodeError(f"{command.name}: unknown argument {key!r}, {_choices(key, list(known))}")
        row: list[Value] = []
        shown: dict[str, Value] = {}
        setting = self._setting(command, given)
        for name, one in known.items():
            value = given.get(name, one.default)
            if value is None:
                raise OrbitnodeError(f"{command.name}: argument {name!r} is missing, {describe_field(one)}")
            number = self._resolve(one, value)
            try:
                admitted = _bounded(one, setting, raw).admit(number)
            except FieldError as error:
                raise OrbitnodeError(f"{command.name}: {error}") from None
            row.append(admitted)
            shown[name] = value if isinstance(value, str) else one.label(admitted)
        return row, shown

    def _setting(self, command: Command, given: Mapping[str, Value]) -> Setting | None:
        """The on-board parameter that the command is about, where there is one and the dictionary has it."""
        one = next((f for f in command.arguments if f.name == "parameter"), None)
        if one is None or "parameter" not in given:
            return None
        number = self._resolve(one, given["parameter"])
        return next((s for s in self.dictionary.settings if s.number == number), None)

    def _named_setting(self, name: str) -> Setting:
        for one in self.dictionary.settings:
            if one.name == name:
                return one
        raise OrbitnodeError(
            f"unknown parameter {name!r}, {_choices(name, [s.name for s in self.dictionary.settings])}"
        )

    def _resolve(self, one: Field, value: Value) -> Value:
        """Names of parameters and structures into the numbers they travel as."""
        if not isinstance(value, str) or one.type == "str" or one.labels:
            return value
        if value.isdecimal() and len(value) <= _DIGITS_MAX:
            return int(value)
        if one.name == "parameter":
            return self._named_setting(value).number
        if one.name in ("structure", "sid"):
            for structure in self.dictionary.structures:
                if structure.name == value:
                    return structure.sid
            names = [s.name for s in self.dictionary.structures]
            raise OrbitnodeError(f"unknown structure {value!r}, {_choices(value, names)}")
        return value


def _bounded(one: Field, setting: Setting | None, raw: bool) -> Field:
    """The field to check against: a parameter's value by that parameter's own range; `raw` by its octets alone."""
    if raw:
        return dataclasses.replace(one, minimum=None, maximum=None, labels=() if one.type != "str" else one.labels)
    if one.name == "value" and setting is not None:
        return dataclasses.replace(one, minimum=setting.minimum, maximum=setting.maximum, unit=setting.unit)
    return one


def find_command(dictionary: Dictionary, name: str) -> Command:
    """The command called `name`; raises OrbitnodeError with the nearest name."""
    for one in dictionary.commands:
        if one.name == name:
            return one
    raise OrbitnodeError(f"unknown command {name!r}, {_choices(name, [c.name for c in dictionary.commands])}")


def _choices(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"have {', '.join(sorted(known))}" if known else "there is none"


def describe_field(one: Field) -> str:
    """What an argument may be, in a few words: its labels, or its type, range and unit."""
    if one.labels:
        return f"one of {', '.join(one.labels)}"
    low = "" if one.minimum is None else f"{one.minimum:g}"
    high = "" if one.maximum is None else f"{one.maximum:g}"
    bounds = f" {low} .. {high}" if low or high else ""
    unit = f" {one.unit}" if one.unit else ""
    return f"{one.type}{bounds}{unit}"


def parse_arguments(command: Command, texts: Sequence[str]) -> dict[str, Value]:
    """`key=value` texts from a terminal as argument values; raises OrbitnodeError for what is no such pair."""
    fields = {f.name: f for f in command.arguments}
    values: dict[str, Value] = {}
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


def parse_value(one: Field, text: str) -> Value:
    """`text` as a value of the field; what is no number stays a text, for the encoder to resolve or refuse."""
    if one.type == "str" or text in one.labels:
        return text
    if text.lower() in _SWITCH_TEXTS and not one.labels and one.type[0] != "f":
        return _SWITCH_TEXTS[text.lower()]
    try:
        return int(text, 0)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text
