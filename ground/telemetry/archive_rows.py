"""The rows of the archive as its readers see them. Times are TAI nanoseconds since 1958-01-01."""

# Two times stand side by side, and they are of two clocks: `time_ns` is the packet's, by the on-board clock, which may
# have been set meanwhile; `received_ns` and all times of commands are the ground's. Only the second kind is in order.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flight.contract.fields import Plain


@dataclass(frozen=True, slots=True)
class Sample:
    """The newest value of one parameter: `raw` as transmitted, `value` with the label in place of its number."""

    parameter: str
    time_ns: int
    raw: Plain
    value: Plain
    unit: str


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event, of the node or of the ground itself."""

    time_ns: int
    received_ns: int
    apid: int
    name: str
    severity: str
    text: str


@dataclass(frozen=True, slots=True)
class CommandRow:
    """One command as it stands now. `stages`: (name, TAI, detail) in order; `code`: the node's failure code."""

    number: int
    sent_ns: int
    name: str
    arguments: Mapping[str, Plain]
    outcome: str
    reason: str
    code: int | None
    round_trip_ns: int | None
    stages: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True, slots=True)
class ProductRow:
    """One product. `missing`: ranges [start, end) of octets that never came; `facts`: what decoding found."""

    received_ns: int
    name: str
    octets: int
    complete: bool
    sha256: str
    missing: tuple[tuple[int, int], ...]
    facts: Mapping[str, Any]
