"""Packets as a batch, and columns as plain values, for the tests of recorded data."""

from __future__ import annotations

from typing import Any

import numpy as np

from flight.kernels import split_packets
from ground.recording.packet_batch import NO_CHANNEL, PacketBatch
from ground.recording.table import Column, ColumnKind


def batch_of(octets: bytes) -> PacketBatch:
    """Return the packets of a stream, split by the kernel."""
    found = split_packets(octets)
    assert found.consumed == len(octets)
    offset, length, apid, seq = map(np.asarray, (found.offset, found.length, found.apid, found.seq))
    none = np.full(len(found), NO_CHANNEL, np.uint8)
    return PacketBatch(octets, offset, length, apid, seq, np.asarray(found.flags), none)


def batch_by_length(octets: bytes) -> PacketBatch:
    """Return the packets of a stream, split only by their length fields, whatever their version number."""
    offset, at = [], 0
    while at < len(octets):
        offset.append(at)
        at += (octets[at + 4] << 8 | octets[at + 5]) + 7
    assert at == len(octets)
    places = np.array(offset, np.int64)
    raw = np.frombuffer(octets, np.uint8)
    word, control, field = (
        raw[places + k].astype(np.uint16) << 8 | raw[places + k + 1].astype(np.uint16) for k in (0, 2, 4)
    )
    flags = (word >> 11 << 2 & 0xC | control >> 14).astype(np.uint8)
    none = np.full(len(places), NO_CHANNEL, np.uint8)
    return PacketBatch(
        octets, places.astype(np.uint64), field.astype(np.uint32) + np.uint32(7), (word & 0x7FF).astype(np.uint16),
        (control & 0x3FFF).astype(np.uint16), flags, none,
    )  # fmt: skip


def value(column: Column, row: int) -> Any:
    """Return one value: None if there is none, otherwise a number, a list of numbers, a text, or octets."""
    if column.present is not None and not column.present[row]:
        return None
    if column.starts is None:
        return column.values[row].item()
    part = column.values[column.starts[row] : column.starts[row + 1]]
    if column.kind is ColumnKind.NUMBER:
        return part.tolist()
    return part.tobytes().decode() if column.kind is ColumnKind.TEXT else part.tobytes()


def values(column: Column) -> list[Any]:
    """Return all values of a column."""
    return [value(column, row) for row in range(len(column))]
