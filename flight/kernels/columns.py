"""Fields that lie at the same place in every packet, as columns."""

# All columns share one block of memory, each with room for every packet, the widest numbers first: so each column
# begins at a multiple of its own width, whatever the number of packets, and no padding is needed. The kernel writes a
# whole column at a time. Its reads may come from anywhere, because packets lie at any octet and fields at any bit.
#
# A field beyond the end of a packet is 0 and the packet is marked, instead of an error: packets of one APID may differ
# in length, and the short ones still have the fields that they have.

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from flight.kernels._kernels import ffi, lib
from flight.kernels.binding import (
    NULL,
    OCTETS,
    OFFSETS,
    WORDS,
    Column,
    KernelError,
    ReadBuffer,
    column_of,
    from_buffer,
    new_octets,
)

_extract_fields = lib.ob_extract_fields
_LARGE_OCTETS = 4 << 20  # from here on a page at a time costs more than the system call
_PACKET_BITS_MAX = 8 * lib.OB_PACKET_OCTETS_MAX

Kind = Literal["unsigned", "signed", "float"]
Order = Literal["big", "little"] | tuple[int, ...]

# The formats of a column's numbers, by their octets.
_FORMATS: dict[Kind, dict[int, str]] = {
    "unsigned": {1: "B", 2: "H", 4: "I", 8: "Q"},
    "signed": {1: "b", 2: "h", 4: "i", 8: "q"},
    "float": {4: "f", 8: "d"},
}


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a layout.

    name: of its column.
    bit_offset: of its first bit from the first bit of the packet, primary header included, so 48 is the first bit
        after that header.
    bits: 1..64; 32 or 64 for a float.
    kind: unsigned, signed (two's complement) or float (IEEE 754).
    order: of its octets, "big" (the first is the most significant, as CCSDS has it) or "little", or a significance
        for each octet as it lies, 0 the least (byteOrderList of XTCE 1.2): (1, 0, 3, 2) is a number of 32 bits whose
        halves have changed places. All but "big" are for whole octets.

    Raises ValueError if the values contradict each other.
    """

    name: str
    bit_offset: int
    bits: int
    kind: Kind = "unsigned"
    order: Order = "big"

    def __post_init__(self) -> None:
        if self.kind not in _FORMATS or not 1 <= self.bits <= 64 or (self.kind == "float" and self.bits % 32 != 0):
            right = "should be unsigned or signed of 1..64 bits, or float of 32 or 64"
            raise ValueError(f"field {self.name}: is {self.kind} of {self.bits} bits, {right}")
        if not 0 <= self.bit_offset <= _PACKET_BITS_MAX - self.bits:
            raise ValueError(
                f"field {self.name}: bit offset {self.bit_offset} is outside 0..{_PACKET_BITS_MAX - self.bits}"
            )
        if self.order != "big" and (self.bits % 8 != 0 or sorted(self.significance) != list(range(self.bits // 8))):
            raise ValueError(f"field {self.name}: order {self.order!r} is not one of the octets of {self.bits} bits")

    @property
    def significance(self) -> tuple[int, ...]:
        """The significance of each octet as it lies, 0 the least."""
        if self.order == "big":
            return tuple(reversed(range(self.bits // 8)))
        return tuple(range(self.bits // 8)) if self.order == "little" else tuple(self.order)

    @property
    def octets(self) -> int:
        """Octets of a number in the field's column: 1, 2, 4 or 8."""
        return next(octets for octets in (1, 2, 4, 8) if self.bits <= 8 * octets)


class PacketLayout:
    """Fields of one kind of packet, ready for `extract_fields`. They may overlap and stand in any order."""

    def __init__(self, fields: Iterable[FieldSpec]) -> None:
        """Lay the columns out; raises ValueError if two fields have the same name, or there are more than 4096."""
        self.fields = tuple(fields)
        if len({spec.name for spec in self.fields}) != len(self.fields):
            raise ValueError("two fields have the same name")
        if len(self.fields) > lib.OB_FIELDS_MAX:
            raise ValueError(f"{len(self.fields)} fields, should be at most {lib.OB_FIELDS_MAX}")
        # The widest columns first: each then starts at a multiple of its own width.
        starts: dict[str, int] = {}
        end = 0
        for spec in sorted(self.fields, key=lambda spec: -spec.octets):
            starts[spec.name] = end
            end += spec.octets
        self.row_octets = end
        self.column_places = [
            (spec.name, starts[spec.name], spec.octets, _FORMATS[spec.kind][spec.octets]) for spec in self.fields
        ]
        self.table = ffi.new(
            "ob_field[]",
            [
                (
                    starts[spec.name],
                    spec.bit_offset,
                    spec.bits,
                    # A float is moved as its bits: what they mean is the format of the column.
                    lib.OB_FIELD_SIGNED if spec.kind == "signed" else lib.OB_FIELD_UNSIGNED,
                    spec.significance,
                )
                for spec in self.fields
            ],
        )


@dataclass(frozen=True, slots=True)
class FieldColumns:
    """The fields of n packets, one column per field, each of n numbers; views that `numpy.asarray` does not copy.

    columns: by name: uint8, uint16, uint32 or uint64, the narrowest that holds the field; int8 to int64 for a signed
        one; float32 or float64. 0 in a packet that ends before the field does.
    complete: 1 for a packet that has every field to its end, else 0, uint8.
    incomplete: how many packets lack a field.
    """

    columns: dict[str, memoryview[int] | memoryview[float]]
    complete: memoryview[int]
    incomplete: int

    def __len__(self) -> int:
        return len(self.complete)

    def __getitem__(self, name: str) -> memoryview[int] | memoryview[float]:
        return self.columns[name]


def extract_fields(
    layout: PacketLayout, data: ReadBuffer, offsets: Column | None = None, lengths: int | Column = 0
) -> FieldColumns:
    """Extract the fields of `layout` from many packets, in one call.

    data: the packets' octets.
    offsets: at which octet each packet starts, uint64; as `split_packets` has it, or rows chosen from that. None for
        packets of `lengths` octets each, one after the other; octets after the last whole one are left.
    lengths: octets of each packet, uint32, or one number for all of them.

    A column of the kernel's own type is read in place. A packet is never read beyond its end nor beyond that of `data`:
    a field that goes on there is 0, and the packet is not `complete`. A packet has a certain field if
    `lengths >= (bit_offset + bits + 7) // 8`. Raises ValueError if the columns do not fit together.
    """
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    octets = len(source)
    length, length_column = (lengths, None) if isinstance(lengths, int) else (0, column_of("lengths", lengths, "I"))
    offset_column = None if offsets is None else column_of("offsets", offsets, "Q")
    if offset_column is not None:
        count = len(offset_column)
        if length_column is not None and len(length_column) != count:
            raise ValueError(f"extract_fields: offsets and lengths differ in length: {count} and {len(length_column)}")
        if not 0 <= length <= octets:
            length = octets if length > 0 else 0  # beyond the data it means all of it, and fits into C's own type
    elif length_column is not None or length <= 0:
        raise ValueError("extract_fields: without offsets, lengths should be one number, at least 1")
    else:
        count = octets // length
    block_octets = count * layout.row_octets
    block, complete = new_octets(OCTETS, block_octets), bytearray(count)
    if block_octets >= _LARGE_OCTETS:
        lib.ob_prefer_large_pages(block, block_octets)
    found = _extract_fields(
        source,
        octets,
        NULL if offset_column is None else from_buffer(OFFSETS, offset_column),
        NULL if length_column is None else from_buffer(WORDS, length_column),
        length,
        count,
        layout.table,
        len(layout.fields),
        block,
        block_octets,
        from_buffer(OCTETS, complete),
    )
    if found < 0:
        raise KernelError("extract_fields", found)
    rows = memoryview(ffi.buffer(block))
    return FieldColumns(
        {
            name: rows[start * count : (start + width) * count].cast(code)  # type: ignore[call-overload]
            for name, start, width, code in layout.column_places
        },
        memoryview(complete),
        count - found,
    )
