"""What definitions ask of parameters: conditions, and amounts that other parameters give. By name, as the file has it.

`ground.recording.definitions.conditions` binds them to what stands in a packet before the place where they are asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Operator(StrEnum):
    EQUAL = "=="
    UNEQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


@dataclass(frozen=True, slots=True)
class Reference:
    """A parameter by its key: its value as it is in the packet, or after calibration. `where`: place in the file."""

    key: str
    is_calibrated: bool
    where: str


@dataclass(frozen=True, slots=True)
class Compare:
    """`value` is the text of the file; what it means depends on the parameter."""

    reference: Reference
    operator: Operator
    value: str


@dataclass(frozen=True, slots=True)
class CompareTwo:
    """One parameter with another."""

    left: Reference
    operator: Operator
    right: Reference


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Criterion, ...]


Criterion = Compare | CompareTwo | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Fixed:
    """`value` of them, in every packet."""

    value: int


@dataclass(frozen=True, slots=True)
class Linear:
    """slope * the parameter + intercept; what comes out is cut to a whole number."""

    reference: Reference
    slope: float
    intercept: float


@dataclass(frozen=True, slots=True)
class Lookup:
    """The value of the first row whose criterion is met. A packet that meets none is damaged."""

    rows: tuple[tuple[Criterion, int], ...]


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of the packet before its last `footer_bits`, in units of `unit_bits`. It must come out even."""

    footer_bits: int
    unit_bits: int = 1


Amount = Fixed | Linear | Lookup | Rest
