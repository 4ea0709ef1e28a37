"""Commands by name: encoding from the dictionary with its range checks, sequence counts, and texts into values."""

# An argument passes three stages:
#
#   text     as it is typed            parse_value: by the field's type alone; whatever it cannot read stays a text
#   value    a number, text or rows    _resolve: names of things of the dictionary become the numbers that travel
#   wire     what the field encodes    Field.admit: type, range, labels; with `raw` only whether the octets hold it
#
# Names are resolved by what the dictionary says that a field refers to (`Field.refers`), never by the field's name: a
# dictionary of another mission names its fields as it likes. A value that cannot be resolved is handed on as it is, so
# that the refusal comes from `admit`, which knows the field and says what would be right.
#
# The ground checks first so that a typing error costs no pass. The node checks everything again: it takes commands of
# other grounds, and those of this one with `raw`.
#
# Sequence counts are kept per APID, modulo GROUND_SEQ_COUNTS: the counts above belong to the steps that the mission
# file brings on board. With the APID a count is the request id by which reports find their command (ECSS-E-ST-70-41C,
# 6.1), so one that was given out is never taken back, not even if the command is refused later (ADR 0018).

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
from flight.core.utc.leap_seconds import BUILT_IN, LeapSeconds
from flight.link.pus import ACK_ACCEPTANCE, ACK_COMPLETION, ACK_START, PusTc, RequestId
from flight.link.sequence_count_ranges import GROUND_SEQ_COUNTS
from ground.commands.names import choices, event_id, event_number, hk_parameter, structure_id
from ground.commands.release_time import utc_tai_ns

_SEQ_MODULUS = GROUND_SEQ_COUNTS
_DIGITS_MAX = 20  # of the largest u64
_ACK = ACK_ACCEPTANCE | ACK_START | ACK_COMPLETION  # every stage is shown to the operator
_SETTINGS = (Refers.SETTING, Refers.SETTING_VALUE)  # rows of ST[20]
_EVENTS = (Refers.APPLICATION, Refers.EVENT)  # rows of ST[19]
_IN_ROW = re.compile(r"\w+\[(\d+)\]\.\w+: ")  # how a fault of `admit` names a value within a row
_DESCRIBED = {"time": "UTC such as 2026-03-20T10:00:00Z", "packet": "a command as it is typed, or hexadecimal",
              "str": "text"}  # fmt: skip
_NAMED: Mapping[str, str] = {Refers.STRUCTURE: "a structure", Refers.HK_PARAMETER: "a housekeeping parameter",
          Refers.SETTING: "a parameter", Refers.EVENT: "an event"}  # fmt: skip
_SWITCH_TEXTS = {"true": 1, "yes": 1, "on": 1, "false": 0, "no": 0, "off": 0}


@dataclass(frozen=True, slots=True)
class EncodedCommand:
    """A telecommand packet ready for the session; `arguments` as sent, for people: with labels and names."""

    name: str
    arguments: Mapping[str, Plain]
    request: RequestId
    packet: bytes


class CommandEncoder:
    """Builds PUS telecommands of one ground (`source`) for one node; keeps a sequence count per APID.

    first_seq: per APID the count of the first command; 0 if it is not there. leap_seconds: for arguments that are
    times, which people write in UTC.
    """

    def __init__(
        self, dictionary: Dictionary, *, source: int = 0, first_seq: Mapping[int, int] | None = None,
        leap_seconds: LeapSeconds = BUILT_IN,
    ) -> None:  # fmt: skip
        self.dictionary = dictionary
        self._leap_seconds = leap_seconds
        self._settings: dict[object, Setting] = {s.number: s for s in dictionary.settings}
        self._source = source
        self._seq: dict[int, int] = dict(first_seq or {})

    def encode(self, name: str, arguments: Mapping[str, object], *, raw: bool = False) -> EncodedCommand:
        """Encode the command `name` with `arguments`. Raises OrbitnodeError if the dictionary does not admit them.

        With `raw` ranges and labels are not checked, only that each value fits its field: this is how a deliberately
        invalid command is sent.
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
        """Return per APID the sequence count that its next command will have. Commands within others count as well."""
        return dict(self._seq)

    def _row(self, command: Command, given: Mapping[str, object], raw: bool) -> tuple[list[Value], dict[str, Plain]]:
        """Return one wire value per argument, and the same values by name with labels for people."""
        known = {f.name: f for f in command.arguments}
        for key in given:
            if key not in known:
                raise OrbitnodeError(f"{command.name}: unknown argument {key!r}, {choices(key, list(known))}")
        row: list[Value] = []
        shown: dict[str, Plain] = {}
        for name, argument in known.items():
            value = given.get(name, argument.default)
            if value is None:
                none = "; [] for none" if argument.type == "rows" else ""
                raise OrbitnodeError(f"{command.name}: argument {name!r} is missing, {describe_field(argument)}{none}")
            rows = argument.type == "rows"
            number = self._resolve_rows(argument, value, command) if rows else self._resolve(argument, value, command)
            try:
                admitted = _unbounded(argument).admit(number) if raw else argument.admit(number)
                if isinstance(admitted, tuple) and not raw:
                    self._check_settings(argument, admitted)
            except FieldError as error:
                raise OrbitnodeError(f"{command.name}: {_named(str(error), value)}") from None
            row.append(admitted)
            shown[name] = value if isinstance(value, str) else self._label(argument, admitted)
        return row, shown

    def _resolve_rows(self, field: Field, value: object, command: Command) -> object:
        """Return rows with their names resolved. Rows of one field may be given as bare values, of two as a mapping."""
        if isinstance(value, Mapping):
            value = list(value.items())
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            return value
        return [self._resolve_row(field.fields, row, command) for row in value]

    def _resolve_row(self, fields: tuple[Field, ...], row: object, command: Command) -> object:
        known = {f.name: f for f in fields}
        # An event's number is only unique within its application, so the row's own APID says whose it is.
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

    def _check_settings(self, field: Field, rows: Sequence[Row]) -> None:
        """Check the values of parameters: type and bounds of each, then against each other. Raises FieldError.

        Parameters that the dictionary does not know are for the node to judge.
        """
        if _refers(field.fields) != _SETTINGS:
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

    def _label(self, field: Field, value: Value) -> Plain:
        """Return what `Field.label` does, with parameters by name."""
        if not isinstance(value, tuple) or Refers.SETTING not in _refers(field.fields):
            return field.label(value)
        names = {number: setting.name for number, setting in self._settings.items()}
        return json.dumps(
            [
                {
                    f.name: names.get(v, v) if f.refers == Refers.SETTING else v
                    for f, v in zip(field.fields, row, strict=True)
                }
                for row in value
            ]
        )

    def _named_setting(self, name: str) -> Setting:
        for setting in self.dictionary.settings:
            if setting.name == name:
                return setting
        raise OrbitnodeError(f"unknown parameter {name!r}, {choices(name, [s.name for s in self.dictionary.settings])}")

    def _resolve(self, field: Field, value: object, command: Command, apid: object = None) -> object:
        """Return a name as the number it travels as, UTC as packet time, a typed command as its packet.

        `apid` is that of the row, if it has one. Whatever is not such a text is returned as it is.
        """
        if not isinstance(value, str) or field.type == "str" or value in field.labels:
            return value
        if field.type == "packet":
            return self._packet(value)
        # Bounded: Python refuses to make a number of thousands of digits, by an exception that nobody expects here.
        if value.isdecimal() and len(value) <= _DIGITS_MAX:
            return int(value)
        if field.type == "time":
            return utc_tai_ns(value, self._leap_seconds)
        if field.refers == Refers.SETTING:
            return self._named_setting(value).number
        if field.refers == Refers.STRUCTURE:
            return structure_id(self.dictionary, value)
        if field.refers == Refers.HK_PARAMETER:
            return hk_parameter(self.dictionary, value)
        if field.refers == Refers.EVENT:
            try:
                owner = command.apid if apid is None else int(str(apid))
            except ValueError:
                return value
            return event_number(self.dictionary, value, owner)
        return value

    def _packet(self, text: str) -> bytes:
        """Return the packet of a command within another: from hexadecimal, or as typed, `set_power_mode mode=eco`."""
        try:
            octets = bytes.fromhex(text)
        except ValueError:
            octets = b""
        if octets:
            return octets
        try:
            name, *texts = shlex.split(text)
        except ValueError:
            raise OrbitnodeError(f"{text!r} is not a command such as 'set_power_mode mode=eco'") from None
        return self.encode(name, parse_arguments(find_command(self.dictionary, name), texts)).packet


def first_counts(dictionary: Dictionary, epoch: int, known: Mapping[int, int]) -> dict[int, int]:
    """Return per APID the sequence count to begin with: that of `known`, else one chosen by the random `epoch`."""
    # A request id, an APID and a count of 14 bits, outlives the ground: reports are played back, and commands wait on
    # board. A ground without an archive that began at 0 would repeat the ids of the one before it in the same order.
    return {c.apid: epoch % GROUND_SEQ_COUNTS for c in dictionary.commands} | dict(known)


def _unbounded(field: Field) -> Field:
    """Return the field with what its octets can hold as its only bound."""
    return dataclasses.replace(
        field, minimum=None, maximum=None, labels=() if field.type != "str" else field.labels,
        fields=tuple(map(_unbounded, field.fields)),
    )  # fmt: skip


def _named(fault: str, given: object) -> str:
    """Return the fault with the name of its row instead of its index: `soc_safe_frac: 'x' is not a number`."""
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
    """Return the command called `name`. Raises OrbitnodeError, which suggests the nearest name."""
    for command in dictionary.commands:
        if command.name == name:
            return command
    raise OrbitnodeError(f"unknown command {name!r}, {choices(name, [c.name for c in dictionary.commands])}")


def describe_field(field: Field) -> str:
    """Say in a few words what an argument may be: its labels, its columns, or its type, range and unit."""
    if field.labels:
        return f"one of {', '.join(field.labels)}"
    if field.type == "rows":
        return f"rows of {', '.join(f'{f.name} ({describe_field(f)})' for f in field.fields)}"
    if field.type in _DESCRIBED:
        return _DESCRIBED[field.type]
    low = "" if field.minimum is None else f"{field.minimum:.15g}"
    high = "" if field.maximum is None else f"{field.maximum:.15g}"
    bounds = f" {low} .. {high}" if low and high else f" from {low}" if low else f" up to {high}" if high else ""
    unit = f" {field.unit}" if field.unit else ""
    named = f"name of {_NAMED[field.refers]} or " if field.refers in _NAMED else ""
    return f"{named}{field.type}{bounds}{unit}"


def parse_arguments(command: Command, texts: Sequence[str]) -> dict[str, object]:
    """Return `key=value` texts from a terminal as argument values. Raises OrbitnodeError for any other text.

    A command that takes nothing but rows of two fields has them as `first=second`, one that takes rows of one field as
    bare values: `soc_safe_frac=0.5`, `thermal`. Rows of events may be given by their names.
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
        field = fields.get(key)
        values[key] = value if field is None else parse_value(field, value)
    return values


def _placeholder(field: Field) -> str:
    return f"[[{', '.join(f.name for f in field.fields)}], ...]" if field.fields else "..."


def _pair(command: Command, fields: tuple[Field, ...], text: str) -> list[object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        usage = "=".join(f.name for f in fields)
        raise OrbitnodeError(f"{command.name}: {text!r} is not name=value, the command takes {usage} ...")
    return [name, parse_value(fields[1], value)]


def parse_value(field: Field, text: str) -> object:
    """Return `text` as a value of the field. A text that is not a number stays one, for the encoder to judge.

    Raises OrbitnodeError for rows of several columns that are not JSON.
    """
    if field.type == "str" or text in field.labels:
        return text
    if field.type == "rows":
        try:
            rows: object = json.loads(text)
        except (ValueError, RecursionError):
            if len(field.fields) == 1:
                return text.split(",")
            columns = ", ".join(f.name for f in field.fields)
            raise OrbitnodeError(f"{field.name}: {text!r} is not a JSON list of rows of {columns}") from None
        return [rows] if len(field.fields) == 1 and isinstance(rows, int) else rows
    if field.type == "packet":
        return text
    if text.lower() in _SWITCH_TEXTS and not field.labels and field.type[0] != "f":
        return _SWITCH_TEXTS[text.lower()]
    try:
        return int(text, 0)  # 0x1f as well
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text
