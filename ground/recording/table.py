"""Fields of many packets as a table of columns: what definitions make of a batch, and what writers put into files.

The layout of a column is Arrow's, so that a file of any kind is written without a value being touched one by one: fixed
values lie in one array; values of varying length lie one after the other, and `starts` says where each row begins; rows
without a value are marked in `present`, and have any value there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray


class ColumnKind(StrEnum):
    """What a column's values are. TEXT is octets of UTF-8; TEXT and BINARY always have `starts`."""

    NUMBER = "number"
    TEXT = "text"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class TimeScale:
    """How a whole number tells a time: `tick_s` seconds per tick, and where tick 0 is in POSIX time, ns.

    POSIX time is UTC without leap seconds; an epoch of TAI is written with the leap seconds of the mission's time.
    """

    tick_s: Fraction
    zero_posix_ns: int


@dataclass(frozen=True, slots=True)
class Column:
    """One parameter of n packets.

    values: n numbers of the parameter's own type; or, with `starts`, the values of all rows one after the other:
        numbers of an array, octets (uint8) of a text or of binary data.
    starts: n + 1 indices into `values`, int64: row i is values[starts[i] : starts[i + 1]]. None for one value per row.
    present: n times whether the row has a value; None if every row has.
    labels: of an enumeration, by number. The number stays the value.
    time: for numbers that tell a time.
    unit: as the definition has it, for people.
    """

    values: NDArray[np.generic]
    starts: NDArray[np.int64] | None = None
    present: NDArray[np.bool_] | None = None
    kind: ColumnKind = ColumnKind.NUMBER
    labels: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    time: TimeScale | None = None
    unit: str = ""

    def __len__(self) -> int:
        return len(self.values) if self.starts is None else len(self.starts) - 1


@dataclass(frozen=True, slots=True)
class Table:
    """The packets of one definition in a batch, in their order.

    name: of the structure or container; the same in every batch, and one table per name and batch.
    columns: by parameter. The same names, kinds and types in every batch.
    rows: which packets of the batch they are, indices that ascend.
    damaged: how many packets were left out of it, by reason ("length", "error control", ...).
    longer: how many of its packets have octets behind their last field, which nothing is said of.
    """

    name: str
    columns: Mapping[str, Column]
    rows: NDArray[np.intp]
    damaged: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    longer: int = 0

    def __len__(self) -> int:
        return len(self.rows)
