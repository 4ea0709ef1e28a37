"""Conditions and amounts, bound to the slots of their parameters and asked of all packets of a state at once."""

# Rules:
#   - A parameter that a packet does not have meets no condition, not even "!=": its entry was not included, or its
#     calibrator has no value for it.
#   - What the text of a value means is settled when definitions are read, by the parameter: the label of an
#     enumeration, a word of a boolean, a number in base 10 or with 0x, 0o or 0b, a text, or binary data in hexadecimal
#     digits. A text that means nothing is refused then, by its place in the file.
#   - `equals` tells what a condition demands of whole numbers, so that a container with hundreds of extensions can be
#     looked up instead of asked (`packet_tree`). It may leave demands out, but must never claim one.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flight.core.errors import OrbitnodeError
from ground.recording.definitions.criteria import (
    AllOf,
    AnyOf,
    Compare,
    CompareTwo,
    Criterion,
    Linear,
    Lookup,
    Operator,
    Reference,
)
from ground.recording.definitions.parameters import BlankEncoding, NumberEncoding, OctetsEncoding, Parameter
from ground.recording.definitions.ragged import Indices, Values
from ground.recording.definitions.state import Mask, Slot, State, Test
from ground.recording.table import ColumnKind

_COMPARE: Mapping[Operator, np.ufunc] = {
    Operator.EQUAL: np.equal,
    Operator.UNEQUAL: np.not_equal,
    Operator.LESS: np.less,
    Operator.LESS_OR_EQUAL: np.less_equal,
    Operator.GREATER: np.greater,
    Operator.GREATER_OR_EQUAL: np.greater_equal,
}
_AMOUNT_MAX = 1 << 40  # more than any packet has bits; clipped there, since a float beyond 2**63 has no int64
_SLOPE_MAX = 1 << 20  # times 32 bits stays within int64


@dataclass(frozen=True, slots=True)
class _SlotTest:
    """A test of one slot."""

    slot: Slot

    @property
    def slots(self) -> frozenset[int]:
        """The number of the slot."""
        return frozenset((self.slot.number,))


@dataclass(frozen=True, slots=True)
class _NumberTest(_SlotTest):
    """Compares a number with a constant."""

    is_calibrated: bool
    operator: Operator
    value: float  # or int, which may be too large for a float

    @property
    def equals(self) -> Mapping[int, int]:
        if self.operator is not Operator.EQUAL or not isinstance(self.value, int) or not _is_whole(self.slot):
            return {}
        # What a calibrator makes of a number says nothing about the raw one.
        return {} if self.is_calibrated and self.slot.parameter.is_calibrated else {self.slot.number: self.value}

    def met(self, state: State) -> Mask:
        values, present = number(state, self.slot, self.is_calibrated)
        found = np.asarray(_COMPARE[self.operator](values, self.value), np.bool_)
        return found if present is None else found & present


@dataclass(frozen=True, slots=True)
class _RangesTest(_SlotTest):
    """Whether a raw number is in one of several ranges: those that a label stands for."""

    ranges: tuple[tuple[int, int], ...]
    is_negated: bool

    @property
    def equals(self) -> Mapping[int, int]:
        is_single = len(self.ranges) == 1 and self.ranges[0][0] == self.ranges[0][1] and not self.is_negated
        return {self.slot.number: self.ranges[0][0]} if is_single and _is_whole(self.slot) else {}

    def met(self, state: State) -> Mask:
        raw = state.found(self.slot.number)
        found = np.zeros(len(raw.values), bool)
        for low, high in self.ranges:
            found |= (raw.values >= low) & (raw.values <= high)
        found ^= self.is_negated  # before absent values are left out, which do not meet a negation either
        return found if raw.present is None else found & raw.present


@dataclass(frozen=True, slots=True)
class _OctetsTest(_SlotTest):
    """Whether a text, in UTF-8, or binary data equal these octets."""

    value: bytes
    is_negated: bool

    @property
    def equals(self) -> Mapping[int, int]:
        return {}

    def met(self, state: State) -> Mask:
        raw = state.found(self.slot.number)
        assert raw.starts is not None
        # Rows of the right length first, and only those octet by octet.
        found = np.asarray(np.diff(raw.starts) == len(self.value), np.bool_)
        candidates = np.flatnonzero(found)
        if len(candidates) and self.value:
            places = raw.starts[candidates, None] + np.arange(len(self.value))
            found[candidates] = (raw.values[places] == np.frombuffer(self.value, np.uint8)).all(axis=1)
        found ^= self.is_negated
        return found if raw.present is None else found & raw.present


@dataclass(frozen=True, slots=True)
class _TwoTest:
    """Compares two numbers; each is a slot, and whether its calibrated value is meant."""

    first: tuple[Slot, bool]
    operator: Operator
    second: tuple[Slot, bool]

    @property
    def slots(self) -> frozenset[int]:
        return frozenset((self.first[0].number, self.second[0].number))

    @property
    def equals(self) -> Mapping[int, int]:
        return {}

    def met(self, state: State) -> Mask:
        (first, has_first), (second, has_second) = number(state, *self.first), number(state, *self.second)
        found = np.asarray(_COMPARE[self.operator](first, second), np.bool_)
        for present in (has_first, has_second):
            if present is not None:
                found = found & present
        return found


@dataclass(frozen=True, slots=True)
class _ManyTest:
    """Joins tests: all of them must be met, or any."""

    parts: tuple[Test, ...]
    is_all: bool

    @property
    def slots(self) -> frozenset[int]:
        return frozenset().union(*(part.slots for part in self.parts))

    @property
    def equals(self) -> Mapping[int, int]:
        # "Any of" demands nothing for certain. Of two demands on one slot either will do: no packet meets both.
        return {slot: value for part in self.parts for slot, value in part.equals.items()} if self.is_all else {}

    def met(self, state: State) -> Mask:
        found = np.full(len(state), self.is_all)
        for part in self.parts:
            if self.is_all:
                found &= part.met(state)
            else:
                found |= part.met(state)
        return found


def _is_whole(slot: Slot) -> bool:
    """Whether the values of a slot are whole numbers as the kernel reads them."""
    how = slot.parameter.encoding
    return isinstance(how, NumberEncoding) and how.kind != "float" and how.conversion is None


def number(state: State, slot: Slot, is_calibrated: bool) -> tuple[Values, Mask | None]:
    """Return the number of each packet, raw or calibrated, and which packets have one; None if all do."""
    raw = state.found(slot.number)
    # Contexts are left aside: `_number_slot` refuses references to calibrated values that depend on one.
    calibrator = slot.parameter.calibrator
    if not is_calibrated or calibrator is None:
        return raw.values, raw.present
    values = calibrator.apply(raw.values)
    sound = ~np.isnan(values)
    return values, sound if raw.present is None else sound & raw.present


def slot_of(reference: Reference, seen: Mapping[str, Slot]) -> Slot:
    """Return the slot that a reference means. Raises OrbitnodeError if it is not before this place, or repeats."""
    slot = seen.get(reference.key)
    name = reference.key.rpartition("/")[2]
    if slot is None:
        raise OrbitnodeError(
            f"{reference.where}: {name} is referred to, but does not stand before this place in the packet"
        )
    if slot.is_repeated:
        raise OrbitnodeError(
            f"{reference.where}: {name} is referred to, but stands in a repeated entry, which has several values"
        )
    return slot


def _number_slot(reference: Reference, seen: Mapping[str, Slot]) -> Slot:
    """Return the slot of a reference that must be a number. Raises OrbitnodeError."""
    slot = slot_of(reference, seen)
    if not isinstance(slot.parameter.encoding, NumberEncoding):
        raise OrbitnodeError(f"{reference.where}: {slot.parameter.name} is not a number")
    if reference.is_calibrated and slot.parameter.left_out and slot.parameter.name:
        raise OrbitnodeError(
            f"{reference.where}: {slot.parameter.name} cannot be referred to: {slot.parameter.left_out}"
        )
    if reference.is_calibrated and slot.parameter.contexts:
        raise OrbitnodeError(
            f"{reference.where}: {slot.parameter.name} has calibrators that depend on a context; only its raw value "
            'can be referred to (useCalibratedValue="false")'
        )
    return slot


def bound(criterion: Criterion, seen: Mapping[str, Slot]) -> Test:
    """Bind a criterion to the slots `seen` before it. Raises OrbitnodeError, by the place in the file."""
    if isinstance(criterion, AllOf | AnyOf):
        return _ManyTest(tuple(bound(part, seen) for part in criterion.parts), isinstance(criterion, AllOf))
    if isinstance(criterion, CompareTwo):
        first, second = (_number_slot(reference, seen) for reference in (criterion.first, criterion.second))
        return _TwoTest(
            (first, criterion.first.is_calibrated), criterion.operator, (second, criterion.second.is_calibrated)
        )
    return _bound_compare(criterion, slot_of(criterion.reference, seen), seen)


def _bound_compare(criterion: Compare, slot: Slot, seen: Mapping[str, Slot]) -> Test:
    """Settle what the text of a comparison means for its parameter. Raises OrbitnodeError if it means nothing."""
    parameter, reference, value = slot.parameter, criterion.reference, criterion.value
    is_negated = criterion.operator is Operator.UNEQUAL
    if isinstance(parameter.encoding, BlankEncoding):
        raise OrbitnodeError(f"{reference.where}: {parameter.name} cannot be referred to: {parameter.left_out}")
    # Labels are values after calibration; whoever asks for the raw value means the number.
    words = _words(parameter) if reference.is_calibrated else {}
    is_equality = criterion.operator in (Operator.EQUAL, Operator.UNEQUAL)
    if isinstance(parameter.encoding, OctetsEncoding):
        if not is_equality:
            raise OrbitnodeError(f"{reference.where}: {parameter.name} is not a number; only == and != can compare it")
        return _OctetsTest(slot, _octets(parameter, value, reference.where), is_negated)
    if value in words and is_equality:
        return _RangesTest(slot, words[value], is_negated)
    _number_slot(reference, seen)
    meant = _number(value)
    if meant is None:
        raise OrbitnodeError(
            f"{reference.where}: {parameter.name} compared with {value!r}, which is "
            + ("neither one of its labels nor " if words else "not ")
            + "a number"
        )
    return _NumberTest(slot, reference.is_calibrated, criterion.operator, meant)


def _words(parameter: Parameter) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return the words that may stand in place of a number: labels, or the words of a boolean, with their ranges."""
    words: dict[str, tuple[tuple[int, int], ...]] = {}
    for label, low, high in parameter.ranges:
        words[label] = (*words.get(label, ()), (low, high))
    if parameter.truth is not None:
        no, yes = parameter.truth
        others = ((-(1 << 63), -1), (1, (1 << 64) - 1))  # any number but 0 is true
        words = {no: ((0, 0),), yes: others, "false": ((0, 0),), "true": others}
    return words


def _number(text: str) -> int | float | None:
    """Read a number; whole ones as int, however they are written."""
    text = text.strip()
    try:
        return int(text, 0 if text[:2].lower() in ("0x", "0o", "0b") else 10)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else value


def _octets(parameter: Parameter, value: str, where: str) -> bytes:
    """Return the octets that a value means. Raises OrbitnodeError."""
    how = parameter.encoding
    assert isinstance(how, OctetsEncoding)
    if how.kind is ColumnKind.TEXT:
        return value.encode("utf-8", "replace")
    try:
        return bytes.fromhex(value.lower().removeprefix("0x"))
    except ValueError:
        raise OrbitnodeError(
            f"{where}: {parameter.name} is binary and compared with {value!r}, not hexadecimal digits"
        ) from None


@dataclass(frozen=True, slots=True)
class BoundAmount:
    """An amount that depends on the packet: from a `reference` with slope and intercept, or the first of `rows` met."""

    reference: tuple[Slot, bool] | None
    slope: float = 1.0
    intercept: float = 0.0
    rows: tuple[tuple[Test, int], ...] = ()

    def of(self, state: State) -> Indices:
        """Return the amount of each packet: 0 for one that is bad, -1 if it cannot be told."""
        if self.reference is not None:
            amounts = self._linear(state, self.reference)
        else:
            amounts = np.full(len(state), -1, np.int64)
            for test, value in reversed(self.rows):  # the last assignment is the first row that is met
                amounts[test.met(state)] = value
        amounts[state.bad] = 0
        return amounts

    def _linear(self, state: State, reference: tuple[Slot, bool]) -> Indices:
        values, present = number(state, *reference)
        is_whole = self.slope.is_integer() and self.intercept.is_integer() and abs(self.slope) <= _SLOPE_MAX
        # In whole numbers if it can be: a float of 64 bits loses those beyond 2**53.
        if values.dtype.kind in "ui" and values.dtype.itemsize < 8 and is_whole:
            amounts = values.astype(np.int64) * int(self.slope) + int(self.intercept)
        else:
            with np.errstate(all="ignore"):
                real = values.astype(np.float64) * self.slope + self.intercept
            amounts = np.clip(np.nan_to_num(real, nan=-1.0), -1, _AMOUNT_MAX).astype(np.int64)
        if present is not None:
            amounts[~present] = -1
        return amounts


def bound_amount(amount: Linear | Lookup, seen: Mapping[str, Slot]) -> BoundAmount:
    """Bind an amount to the slots `seen` before it. Raises OrbitnodeError, by the place in the file."""
    if isinstance(amount, Lookup):
        return BoundAmount(None, rows=tuple((bound(criterion, seen), value) for criterion, value in amount.rows))
    slot = _number_slot(amount.reference, seen)
    return BoundAmount((slot, amount.reference.is_calibrated), amount.slope, amount.intercept)
