"""What definitions ask of parameters: conditions, and amounts that parameters give; parameters by name, as in the file.

`ground.recording.definitions.conditions` binds them to the values that stand in a packet before the asking place.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Operator(StrEnum):
    """How two values are compared; written as in XTCE."""

    EQUAL = "=="
    UNEQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


@dataclass(frozen=True, slots=True)
class Reference:
    """A parameter by its key: its raw value, or the calibrated one. where: the place in the file that refers to it."""

    key: str
    is_calibrated: bool
    where: str


@dataclass(frozen=True, slots=True)
class Compare:
    """A parameter compared with a constant. value: the text of the file; its meaning depends on the parameter."""

    reference: Reference
    operator: Operator
    value: str


@dataclass(frozen=True, slots=True)
class CompareTwo:
    """One parameter compared with another one."""

    first: Reference
    operator: Operator
    second: Reference


@dataclass(frozen=True, slots=True)
class AllOf:
    """Met if all parts are met."""

    parts: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Met if any part is met."""

    parts: tuple[Criterion, ...]


Criterion = Compare | CompareTwo | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Fixed:
    """An amount that is the same in every packet."""

    value: int


@dataclass(frozen=True, slots=True)
class Linear:
    """slope * the parameter + intercept, cut to a whole number."""

    reference: Reference
    slope: float
    intercept: float


@dataclass(frozen=True, slots=True)
class Lookup:
    """The value of the first row whose criterion is met. A packet that meets none is damaged."""

    rows: tuple[tuple[Criterion, int], ...]


@dataclass(frozen=True, slots=True)
class Rest:
    """What remains of the packet before its last `footer_bits`, in units of `unit_bits`. It must come out even."""

    footer_bits: int
    unit_bits: int = 1


Amount = Fixed | Linear | Lookup | Rest
