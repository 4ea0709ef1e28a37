"""The dictionary: telemetry, commands, events and settings of a node and its apps, as one hashed document.

Each owner declares its part beside its code, as `Declarations`; flight/contract/collect.py joins them. Ground decodes
with the document alone (`Dictionary.from_document`), also if it is of another version than the installed code.
"""

# Why a document (ADR 0005): node and ground are not updated together, and a ground that decoded with its own installed
# declarations would read another version's packets wrongly without a sign. So nothing on ground looks at declarations,
# and what the ground is to know must be in the document.
#
# The SHA-256 is over everything else in canonical form: keys sorted, no blanks. The event `boot` carries its first
# 8 digits, so that the ground notices that a node has another dictionary. Every text in here is part of it: whoever
# changes a meaning or a unit changes the checksum, the boot event, and the digest of every run.
#
# A document comes from outside. It is checked for all that decoding relies on, so that no packet can make a decoder
# fail later by anything but DecodeError. Keys that this version does not know are under the checksum and ignored,
# except in a setting and in limits: there they make the document malformed.

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from flight.contract.failures import FailureCode
from flight.contract.fields import Field, FieldError, Layout, Value
from flight.contract.shapes import EVENT_SEVERITIES, misshapen
from flight.core.errors import OrbitnodeError

FORMAT = "orbitnode-dictionary/1"
SEVERITIES = EVENT_SEVERITIES  # ST[05] subtypes 1..4
STRUCTURES_END = 256  # structure ids from here on are for structures defined from ground
FIELDS_MAX = 256  # a structure has fewer: its id and a field's index share a u16 as the number of a parameter
PERIOD_MIN_S = 0.1
PERIOD_MAX_S = 3600.0


def is_period(period_s: float) -> bool:
    """Return whether a structure may be reported so often; 0 means on request.

    The rule for declarations, mission files, commands and what is stored alike.
    """
    return period_s == 0 or PERIOD_MIN_S <= period_s <= PERIOD_MAX_S


@dataclass(frozen=True, slots=True)
class Structure:
    """A housekeeping structure, ST[03]: TM[3,25] carries `sid` and then the fields. Period 0: on request."""

    apid: int
    sid: int
    name: str
    period_s: float
    fields: tuple[Field, ...]

    @property
    def layout(self) -> Layout:
        """Codec of the fields, without `sid`."""
        return Layout(self.fields)


def hk_parameters(structures: Iterable[Structure]) -> dict[int, Field]:
    """Return every field of `structures`, named `structure.field`, by its number in ST[03]: id * 256 + index."""
    return {
        s.sid * FIELDS_MAX + index: replace(field, name=f"{s.name}.{field.name}")
        for s in structures
        if s.sid < STRUCTURES_END
        for index, field in enumerate(s.fields[:FIELDS_MAX])
    }


@dataclass(frozen=True, slots=True)
class EventDefinition:
    """An event, ST[05]: TM[5, 1 + severity] carries `number` and then the fields. `text` formats them."""

    apid: int
    number: int
    name: str
    severity: str
    text: str
    fields: tuple[Field, ...] = ()

    @property
    def layout(self) -> Layout:
        """Codec of the fields, without `number`."""
        return Layout(self.fields)

    @property
    def subtype(self) -> int:
        """The subtype of its report, by its severity."""
        return 1 + SEVERITIES.index(self.severity)


@dataclass(frozen=True, slots=True)
class Report:
    """Any other telemetry packet: the fields are its whole source data."""

    apid: int
    service: int
    subtype: int
    name: str
    fields: tuple[Field, ...] = ()

    @property
    def layout(self) -> Layout:
        """Codec of the fields."""
        return Layout(self.fields)


@dataclass(frozen=True, slots=True)
class Command:
    """A telecommand. With `function` (ST[08]) that number goes before the arguments.

    A durable command is in the node's store before it is reported accepted, and has one terminal report whatever
    happens; any other is lost with the power. An urgent command finds room when others are refused.
    An idempotent one does no harm if it is executed again: a node that may have forgotten what it has taken, takes no
    others.
    """

    name: str
    apid: int
    service: int
    subtype: int
    text: str
    arguments: tuple[Field, ...] = ()
    function: int | None = None
    durable: bool = False
    urgent: bool = False
    idempotent: bool = False

    @property
    def layout(self) -> Layout:
        """Codec of the arguments, without `function`."""
        return Layout(self.arguments)

    def encode(self, values: Sequence[Value]) -> bytes:
        """Return the data of its telecommand, behind the header, from `values` as their arguments have admitted them.

        Raises FieldError for more than a packet holds.
        """
        # Here, since it brings the checksum's kernel: whoever only reads names does without.
        from flight.link.pus import TC_DATA_OCTETS_MAX

        data = b"" if self.function is None else self.function.to_bytes(2, "big")
        data += self.layout.encode(values)
        if len(data) > TC_DATA_OCTETS_MAX:
            raise FieldError(f"arguments of {len(data)} octets, a telecommand holds {TC_DATA_OCTETS_MAX}")
        return data


@dataclass(frozen=True, slots=True)
class Setting:
    """An on-board parameter that ground reads and writes, ST[20]. Travels as f64 whatever its type.

    type: a number type of `flight.contract.fields`; one of whole numbers admits no others. below: the setting that this
    one must stay below, empty for none.
    """

    number: int
    name: str
    unit: str
    default: float
    minimum: float
    maximum: float
    text: str
    type: str = "f64"
    below: str = ""


@dataclass(frozen=True, slots=True)
class Declarations:
    """What one owner adds to the dictionary. `failures` are the members of its enum of failure codes."""

    structures: tuple[Structure, ...] = ()
    events: tuple[EventDefinition, ...] = ()
    reports: tuple[Report, ...] = ()
    commands: tuple[Command, ...] = ()
    settings: tuple[Setting, ...] = ()
    failures: tuple[FailureCode, ...] = ()


def _check_texts(*values: object) -> None:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{value!r} should be a text")


def _check_numbers(most: int, *values: object) -> None:
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise ValueError(f"{value!r} should be a number in 0 .. {most}")


# The classes of a dictionary's parts by their key in Declarations, and in Dictionary.
_PART_CLASSES: Mapping[str, type[Any]] = {
    "structures": Structure, "events": EventDefinition, "reports": Report, "commands": Command, "settings": Setting,
}  # fmt: skip


def shape_faults(part: Declarations) -> list[str]:
    """Return a line for each thing in `part` that is not well-formed. If there is one, nothing else may be asked."""
    return misshapen(part, {**_PART_CLASSES, "failures": FailureCode})


@dataclass(frozen=True, slots=True)
class Dictionary:
    """All declarations of one mission, as its document has them."""

    mission: str
    spacecraft_id: int
    version: str
    apids: Mapping[str, int]
    structures: tuple[Structure, ...]
    events: tuple[EventDefinition, ...]
    reports: tuple[Report, ...]
    commands: tuple[Command, ...]
    settings: tuple[Setting, ...]
    failures: Mapping[int, str]
    frame_octets: int = 1115

    def document(self) -> dict[str, Any]:
        """Return it as data for JSON, with `sha256` over everything else in canonical form."""
        body: dict[str, Any] = {
            "format": FORMAT,
            "mission": self.mission,
            "spacecraft_id": self.spacecraft_id,
            "version": self.version,
            "frame_octets": self.frame_octets,
            "apids": dict(self.apids),
            "time": {"code": "CUC", "scale": "TAI", "epoch": "1958-01-01", "coarse_octets": 4, "fine_octets": 2},
            "structures": [
                {"apid": s.apid, "sid": s.sid, "name": s.name, "period_s": s.period_s, "fields": _fields(s.fields)}
                for s in self.structures
            ],
            "events": [
                {"apid": e.apid, "number": e.number, "name": e.name, "severity": e.severity, "text": e.text,
                 "fields": _fields(e.fields)}
                for e in self.events
            ],
            "reports": [
                {"apid": r.apid, "service": r.service, "subtype": r.subtype, "name": r.name,
                 "fields": _fields(r.fields)}
                for r in self.reports
            ],
            "commands": [
                {"name": c.name, "apid": c.apid, "service": c.service, "subtype": c.subtype, "text": c.text,
                 "function": c.function, "arguments": _fields(c.arguments), "durable": c.durable,
                 "urgent": c.urgent, "idempotent": c.idempotent}
                for c in self.commands
            ],
            "settings": [
                {"number": s.number, "name": s.name, "unit": s.unit, "default": s.default, "minimum": s.minimum,
                 "maximum": s.maximum, "text": s.text, "type": s.type, "below": s.below}
                for s in self.settings
            ],
            "failures": {str(code): text for code, text in sorted(self.failures.items())},
        }  # fmt: skip
        return body | {"sha256": _sha256(body)}

    @classmethod
    def from_document(cls, document: object) -> Self:
        """Read what `document` writes. Raises OrbitnodeError if the document is not of this format or was altered."""
        if not isinstance(document, Mapping) or document.get("format") != FORMAT:
            raise OrbitnodeError(f"not a dictionary document: its format is not {FORMAT!r}")
        try:
            # Over the document itself: another version may have keys that this one does not know.
            if _sha256({key: value for key, value in document.items() if key != "sha256"}) != document.get("sha256"):
                raise OrbitnodeError("dictionary document does not match its sha256: it was altered or cut")
            dictionary = cls(
                mission=document["mission"],
                spacecraft_id=document["spacecraft_id"],
                version=document["version"],
                apids=dict(document["apids"]),
                structures=tuple(
                    Structure(s["apid"], s["sid"], s["name"], s["period_s"], _read(s["fields"]))
                    for s in document["structures"]
                ),
                events=tuple(
                    EventDefinition(e["apid"], e["number"], e["name"], e["severity"], e["text"], _read(e["fields"]))
                    for e in document["events"]
                ),
                reports=tuple(
                    Report(r["apid"], r["service"], r["subtype"], r["name"], _read(r["fields"]))
                    for r in document["reports"]
                ),
                commands=tuple(
                    Command(c["name"], c["apid"], c["service"], c["subtype"], c["text"], _read(c["arguments"]),
                            c["function"], c.get("durable", False), c.get("urgent", False), c.get("idempotent", False))
                    for c in document["commands"]
                ),
                settings=tuple(Setting(**s) for s in document["settings"]),
                failures={int(code): text for code, text in document["failures"].items()},
                frame_octets=document["frame_octets"],
            )  # fmt: skip
            dictionary._check()
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise OrbitnodeError(f"dictionary document is malformed: {type(error).__name__}: {error}") from None
        return dictionary

    def _check(self) -> None:
        """Check what decoding relies on. Raises ValueError or TypeError."""
        _check_texts(self.mission, self.version, *self.apids, *self.failures.values())
        _check_numbers(0x3FF, self.spacecraft_id)
        _check_numbers(0x7FF, *self.apids.values())
        _check_numbers(0xFFFF, self.frame_octets, *self.failures)
        if faults := misshapen(self, _PART_CLASSES):
            raise ValueError("; ".join(faults))

    def command(self, name: str) -> Command:
        """Return the command called `name`. Raises OrbitnodeError with all names if there is none."""
        for command in self.commands:
            if command.name == name:
                return command
        raise OrbitnodeError(f"unknown command {name!r}, known: {', '.join(sorted(c.name for c in self.commands))}")

    def setting(self, name: str) -> Setting:
        """Return the setting called `name`. Raises OrbitnodeError with all names if there is none."""
        for setting in self.settings:
            if setting.name == name:
                return setting
        raise OrbitnodeError(f"unknown parameter {name!r}, known: {', '.join(sorted(s.name for s in self.settings))}")


def _sha256(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical).hexdigest()


def _fields(fields: Iterable[Field]) -> list[dict[str, Any]]:
    return [field.document() for field in fields]


def _read(fields: Iterable[Mapping[str, Any]]) -> tuple[Field, ...]:
    return tuple(Field.from_document(field) for field in fields)
