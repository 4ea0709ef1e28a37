"""Fields of many packets as a table of columns: what definitions make of a batch, and what writers put into files."""

# The layout of a column is Arrow's, so that every kind of file is written without touching values one by one:
#
#   fixed values            lie in one array, one per row
#   values of any length    lie one after the other in one array, and `starts` says where each row begins
#   rows without a value    are marked in `present`; what stands in `values` there means nothing
#
# Two invariants that writers rely on: a table has the same columns with the same kinds and types in every batch, and a
# raw number stays the value of an enumeration or a time. Labels and instants are derived from it by whoever needs them,
# so nothing is lost to a label that two numbers share, or to a time that int64 nanoseconds cannot hold.

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
    """How a whole number tells a time: `tick_s` seconds per tick, tick 0 at `zero_ns`.

    zero_ns: ns of POSIX time since 1970, which counts no leap seconds; or, if `is_tai`, ns of TAI since 1958, which
    counts them all. Times of TAI become POSIX time by the table of leap seconds (tai_instants.py).
    """

    # tick_s is a fraction because ticks such as 2**-16 s, times ns, are not whole numbers, and floats lose nanoseconds.

    tick_s: Fraction
    zero_ns: int
    is_tai: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """One parameter of n packets.

    values: n numbers of the parameter's own type; or, with `starts`, the values of all rows one after the other:
        numbers of an array, octets (uint8) of a text or of binary data.
    starts: n + 1 indices into `values`, int64: row i is values[starts[i] : starts[i + 1]]. None for one value per row.
    present: n booleans, whether the row has a value; None if every row has one.
    labels: of an enumeration, by number. The number stays the value.
    time: the scale of numbers that tell a time; None for all others.
    unit: as the definition writes it, for people.
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

    name: of the structure or container; the same in every batch, and unique within a batch.
    columns: by parameter; the same names, kinds and types in every batch.
    rows: the index in the batch of the packet of each row, ascending.
    damaged: how many packets were left out, by reason ("length", "error control", ...).
    longer: how many packets have octets behind their last field, which the definition says nothing of.
    """

    name: str
    columns: Mapping[str, Column]
    rows: NDArray[np.intp]
    damaged: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    longer: int = 0

    def __len__(self) -> int:
        return len(self.rows)
