"""Commands by name: encoding from the dictionary with its range checks, sequence counts, and texts into values."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flight.contract.dictionary import Command, Dictionary, Setting
from flight.contract.fields import Field, FieldError, Plain, Refers, Row, Value
from flight.contract.parameter_table import admit, check_together
from flight.core.errors import OrbitnodeError
from flight.link.pus import ACK_ACCEPTANCE, ACK_COMPLETION, ACK_START, PusTc, RequestId
from flight.link.request_source import GROUND_SEQ_COUNTS
from ground.commands.names import choices, event_id, event_number, hk_parameter, structure_id
from ground.commands.release_time import utc_tai_ns

_SEQ_MODULUS = GROUND_SEQ_COUNTS
_DIGITS_MAX = 20  # of the largest u64
_ACK = ACK_ACCEPTANCE | ACK_START | ACK_COMPLETION  # every stage is shown to the operator
_SETTINGS = (Refers.SETTING, Refers.SETTING_VALUE)  # rows of ST[20]
_EVENTS = (Refers.APPLICATION, Refers.EVENT)  # rows of ST[19]
_IN_ROW = re.compile(r"\w+\[(\d+)\]\.\w+: ")
_DESCRIBED = {"time": "UTC such as 2026-03-20T10:00:00Z", "packet": "a command as it is typed, or hexadecimal",
              "str": "text"}  # fmt: skip
_NAMED: Mapping[str, str] = {Refers.STRUCTURE: "a structure", Refers.HK_PARAMETER: "a housekeeping parameter",
          Refers.SETTING: "a parameter", Refers.EVENT: "an event"}  # fmt: skip
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
        try:
            data = command.encode(row)
        except FieldError as error:
            raise OrbitnodeError(f"{command.name}: {error}") from None
        seq = self._seq.get(command.apid, 0) % _SEQ_MODULUS
        self._seq[command.apid] = (seq + 1) % _SEQ_MODULUS
        packet = PusTc(command.apid, seq, command.service, command.subtype, data, _ACK, self._source).encode()
        return EncodedCommand(command.name, shown, RequestId(command.apid, seq), packet)

    def next_seqs(self) -> dict[int, int]:
        """For each APID the sequence count that its next command will have. Commands within others count as well."""
        return dict(self._seq)

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
                none = "; [] for none" if one.type == "rows" else ""
                raise OrbitnodeError(f"{command.name}: argument {name!r} is missing, {describe_field(one)}{none}")
            rows = one.type == "rows"
            number = self._resolve_rows(one, value, command) if rows else self._resolve(one, value, command)
            try:
                admitted = _unbounded(one).admit(number) if raw else one.admit(number)
                if isinstance(admitted, tuple) and not raw:
                    self._check_settings(one, admitted)
            except FieldError as error:
                raise OrbitnodeError(f"{command.name}: {_named(str(error), value)}") from None
            row.append(admitted)
            shown[name] = value if isinstance(value, str) else self._label(one, admitted)
        return row, shown

    def _resolve_rows(self, one: Field, value: object, command: Command) -> object:
        """Rows with their names resolved. Rows of one field may be given as bare values, of two as a mapping."""
        if isinstance(value, Mapping):
            value = list(value.items())
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            return value
        return [self._resolve_row(one.fields, row, command) for row in value]

    def _resolve_row(self, fields: tuple[Field, ...], row: object, command: Command) -> object:
        known = {f.name: f for f in fields}
        owner = next((f.name for f in fields if f.refers == Refers.APPLICATION), "")
        if isinstance(row, Mapping):
            return {n: self._resolve(known[n], v, command, row.get(owner)) if n in known else v
                    for n, v in row.items()}  # fmt: skip
        if _refers(fields) == _EVENTS and isinstance(row, str):
            return list(event_id(self.dictionary, row))
        if len(fields) == 1 and (isinstance(row, str | bytes) or not isinstance(row, Sequence)):
            row = [row]
        if isinstance(row, Sequence) and not isinstance(row, str | bytes) and len(row) == len(fields):
            apid = dict(zip(known, row, strict=True)).get(owner)
            return [self._resolve(f, v, command, apid) for f, v in zip(fields, row, strict=True)]
        return row

    def _check_settings(self, one: Field, rows: Sequence[Row]) -> None:
        """Values of parameters by each one's type and bounds and against each other; raises FieldError. Parameters
        that the dictionary does not know are for the node to judge.
        """
        if _refers(one.fields) != _SETTINGS:
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
        if not isinstance(value, tuple) or Refers.SETTING not in _refers(one.fields):
            return one.label(value)
        names = {number: setting.name for number, setting in self._settings.items()}
        return json.dumps(
            [
                {
                    f.name: names.get(v, v) if f.refers == Refers.SETTING else v
                    for f, v in zip(one.fields, row, strict=True)
                }
                for row in value
            ]
        )

    def _named_setting(self, name: str) -> Setting:
        for one in self.dictionary.settings:
            if one.name == name:
                return one
        raise OrbitnodeError(f"unknown parameter {name!r}, {choices(name, [s.name for s in self.dictionary.settings])}")

    def _resolve(self, one: Field, value: object, command: Command, apid: object = None) -> object:
        """Names of parameters, structures and events into the numbers they travel as, UTC into packet time, a command
        as it is typed into its packet. `apid` is that of the row, if it has one.
        """
        if not isinstance(value, str) or one.type == "str" or value in one.labels:
            return value
        if one.type == "packet":
            return self._packet(value)
        if value.isdecimal() and len(value) <= _DIGITS_MAX:
            return int(value)
        if one.type == "time":
            return utc_tai_ns(value)
        if one.refers == Refers.SETTING:
            return self._named_setting(value).number
        if one.refers == Refers.STRUCTURE:
            return structure_id(self.dictionary, value)
        if one.refers == Refers.HK_PARAMETER:
            return hk_parameter(self.dictionary, value)
        if one.refers == Refers.EVENT:
            try:
                of = command.apid if apid is None else int(str(apid))
            except ValueError:
                return value
            return event_number(self.dictionary, value, of)
        return value

    def _packet(self, text: str) -> bytes:
        """A command that another one carries, in hexadecimal or as it is typed: `set_power_mode mode=eco`."""
        try:
            octets = bytes.fromhex(text)
        except ValueError:
            octets = b""
        if octets:
            return octets
        try:
            name, *texts = shlex.split(text)
        except ValueError:
            raise OrbitnodeError(f"{text!r} is no command such as 'set_power_mode mode=eco'") from None
        return self.encode(name, parse_arguments(find_command(self.dictionary, name), texts)).packet


def first_counts(dictionary: Dictionary, epoch: int, known: Mapping[int, int]) -> dict[int, int]:
    """For each APID the sequence count to begin with: that of `known`, else one that `epoch`, random, chooses.

    A request id is an APID and a count of 14 bits, and outlives the ground: reports are played back, commands wait on
    board. A ground without an archive must not go over those of the one before it in the same order.
    """
    return {c.apid: epoch % GROUND_SEQ_COUNTS for c in dictionary.commands} | dict(known)


def _unbounded(one: Field) -> Field:
    """The field with what its octets can hold as its only bound."""
    return dataclasses.replace(
        one, minimum=None, maximum=None, labels=() if one.type != "str" else one.labels,
        fields=tuple(map(_unbounded, one.fields)),
    )  # fmt: skip


def _named(fault: str, given: object) -> str:
    """The fault with a row's name, as it was given, in place of its place: `soc_safe_frac: 'x' is not a number`."""
    at = _IN_ROW.match(fault)
    if at is None or not isinstance(given, Sequence | Mapping):
        return fault
    row = list(given.items() if isinstance(given, Mapping) else given)[int(at[1])]
    if not isinstance(row, Sequence) or isinstance(row, str) or len(row) < 2 or not isinstance(row[0], str):
        return fault
    return f"{row[0]}: {fault[at.end() :]}"


def _refers(fields: tuple[Field, ...]) -> tuple[str, ...]:
    return tuple(f.refers for f in fields)


def find_command(dictionary: Dictionary, name: str) -> Command:
    """The command called `name`; raises OrbitnodeError with the nearest name."""
    for one in dictionary.commands:
        if one.name == name:
            return one
    raise OrbitnodeError(f"unknown command {name!r}, {choices(name, [c.name for c in dictionary.commands])}")


def describe_field(one: Field) -> str:
    """What an argument may be, in a few words: its labels, its columns, or its type, range and unit."""
    if one.labels:
        return f"one of {', '.join(one.labels)}"
    if one.type == "rows":
        return f"rows of {', '.join(f'{f.name} ({describe_field(f)})' for f in one.fields)}"
    if one.type in _DESCRIBED:
        return _DESCRIBED[one.type]
    low = "" if one.minimum is None else f"{one.minimum:.15g}"
    high = "" if one.maximum is None else f"{one.maximum:.15g}"
    bounds = f" {low} .. {high}" if low and high else f" from {low}" if low else f" up to {high}" if high else ""
    unit = f" {one.unit}" if one.unit else ""
    named = f"name of {_NAMED[one.refers]} or " if one.refers in _NAMED else ""
    return f"{named}{one.type}{bounds}{unit}"


def parse_arguments(command: Command, texts: Sequence[str]) -> dict[str, object]:
    """`key=value` texts from a terminal as argument values; raises OrbitnodeError for what is no such pair.

    A command that takes nothing but rows of two fields has them as `first=second`, one of rows of one field as bare
    values: `soc_safe_frac=0.5`, `thermal`. Rows of events may be their names.
    """
    fields = {f.name: f for f in command.arguments}
    if len(fields) == 1 and not any(text.partition("=")[0] in fields for text in texts):
        (only,) = command.arguments
        if len(only.fields) == 2:
            events = _refers(only.fields) == _EVENTS
            return {only.name: [t if events and "=" not in t else _pair(command, only.fields, t) for t in texts]}
        if len(only.fields) == 1:
            return {only.name: list(texts)}
    values: dict[str, object] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            usage = " ".join(f"{f.name}={_placeholder(f)}" for f in command.arguments) or "no arguments"
            raise OrbitnodeError(f"{command.name}: {text!r} is not key=value, the command takes {usage}")
        if key in values:
            raise OrbitnodeError(f"{command.name}: argument {key!r} is given twice")
        one = fields.get(key)
        values[key] = value if one is None else parse_value(one, value)
    return values


def _placeholder(one: Field) -> str:
    return f"[[{', '.join(f.name for f in one.fields)}], ...]" if one.fields else "..."


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
            columns = ", ".join(f.name for f in one.fields)
            raise OrbitnodeError(f"{one.name}: {text!r} is not a JSON list of rows of {columns}") from None
        return [rows] if len(one.fields) == 1 and isinstance(rows, int) else rows
    if one.type == "packet":
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
