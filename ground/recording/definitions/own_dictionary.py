"""Decodes packets of our own nodes by their dictionary document: housekeeping, events and all other reports as tables.

A report's table has the time of the packet, `packet.time`, and then the fields of the report. Times are whole units of
2^-16 s of TAI since 1958-01-01; an enumerated field is its number with its labels. A field of rows becomes ragged
columns `field.part`, one value per row of it; if a part is a text or a packet, it becomes a table `report.field`.

Packets that the dictionary does not describe are unknown, and so are telecommands and idle packets. Parts of files are
a table of what their headers say.
"""

# A report is recognised by its key: APID, service, subtype and, for housekeeping and events, the number that leads its
# source data. All keys become one sorted array of integers, and a batch is matched against it by one binary search, so
# hundreds of reports cost as much as one. Then each kind is decoded by the walk of its container (`walk_builder`).
#
# Damage is checked in this order, and each packet counts under the first reason that applies (`Damage`): a segment of a
# packet, error control that does not match, another version of PUS; then, in the walk, fields that do not end with the
# packet, and texts that are not UTF-8. Stricter than XTCE, which allows more octets behind the last field: our own node
# never sends any (ECSS-E-ST-70-41C, 7.4.3), so they are damage.

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from flight.contract.dictionary import SEVERITIES, Dictionary, EventDefinition, Report, Structure
from flight.contract.fields import Field
from flight.kernels import FieldSpec, PacketLayout, crc16_units, extract_fields
from flight.link.pus import CRC_OCTETS, PUS_VERSION, TM_DATA_OFFSET
from flight.link.time.time_code import CUC_OCTETS
from ground.recording.definition import DecodedBatch
from ground.recording.definitions.criteria import Fixed, Linear, Reference
from ground.recording.definitions.entries import Container, Entry, From, Group, Location
from ground.recording.definitions.file_pdus import FILE_PDU, file_pdus
from ground.recording.definitions.packet_tree import PacketTree
from ground.recording.definitions.parameters import BlankEncoding, NumberEncoding, OctetsEncoding, Parameter
from ground.recording.definitions.state import Damage, State
from ground.recording.definitions.walk_builder import Node
from ground.recording.packet_batch import PacketBatch
from ground.recording.table import ColumnKind, Table, TimeScale
from ground.telemetry.columns import PACKET_TIME

CUC = TimeScale(Fraction(1, 1 << 16), 0, is_tai=True)
"""The scale of all times of the node: CUC of level 1, 4 + 2 octets."""

_HOUSEKEEPING, _EVENT, _TIME_REPORT = (3, 25), 5, (9, 2)
_NUMBER_BITS = 16  # of the number of a structure or an event, which leads the source data
_HEADER_BITS, _CRC_BITS = 48, 8 * CRC_OCTETS
_TIME_AT = 8 * (TM_DATA_OFFSET - CUC_OCTETS)
_HEAD = PacketLayout(
    (
        FieldSpec("version", 48, 4),
        FieldSpec("service", 56, 8),
        FieldSpec("subtype", 64, 8),
        FieldSpec("number", 8 * TM_DATA_OFFSET, _NUMBER_BITS),
    )
)
_Kind = Structure | EventDefinition | Report
_KINDS = {"u": "unsigned", "i": "signed", "f": "float"}
_COMMAND, _SECONDARY, _UNSEGMENTED = 0b1000, 0b0100, 0b0011  # of a packet's flags
_SOUND_MAX = 1 << 24  # octets copied side by side at a time to check their error control


@dataclass(frozen=True, slots=True)
class _Key:
    """What tells a kind of packet.

    number: leads the source data of housekeeping and events; None for other reports.
    has_secondary: False for time packets alone, which then have no service either.
    """

    apid: int
    service: int
    subtype: int
    number: int | None
    has_secondary: bool = True

    @property
    def code(self) -> int:
        """The key as one number, for searching: APID, flag, service, subtype, number from bit 33 down."""
        if not self.has_secondary:
            return self.apid << 33
        return self.apid << 33 | 1 << 32 | self.service << 24 | self.subtype << 16 | (self.number or 0)


class OwnDictionary:
    """The packet definition that a dictionary document makes (ECSS-E-ST-70-41C, 7.4.3)."""

    unsupported: tuple[str, ...] = ()

    def __init__(self, dictionary: Dictionary) -> None:
        time_apid = dictionary.apids.get("time")
        kinds: dict[_Key, Container] = {}
        names: set[str] = set()
        every: list[_Kind] = [*dictionary.structures, *dictionary.events, *dictionary.reports]
        for kind in every:
            key = _key(kind, time_apid)
            name = _distinct(kind.name if kind.name not in names else f"{kind.name}.{kind.apid}", names)
            # As in the live decoder, the last one of several with the same key counts.
            kinds[key] = _container(name, kind.fields, key)
        self._files_apid = dictionary.apids.get("files")
        self._files_name = _distinct(FILE_PDU, names)
        # One abstract container above all of them, so that numbers of slots and names of tables are given once.
        root = Container("packet", (), True, tuple((None, kind) for kind in kinds.values()))
        self._tree = PacketTree(root)
        self._nodes = {key: node for key, (_, node) in zip(kinds, self._tree.root.choices, strict=True)}
        codes = np.array([key.code for key in kinds], np.int64)
        self._order = np.argsort(codes).astype(np.uint16)
        self._codes = codes[self._order]

    def decode(self, batch: PacketBatch) -> DecodedBatch:
        """Make a table of each kind of report in the batch."""
        kind, version = self._kinds(batch)
        order = np.argsort(kind, kind="stable")
        ends = np.searchsorted(kind[order], np.arange(len(self._nodes) + 1))
        tables: list[Table] = []
        for index, (key, node) in enumerate(self._nodes.items()):
            rows = order[ends[index] : ends[index + 1]]
            if len(rows):
                tables += self._tables(batch, key, node, rows, version)
        unknown = kind == len(self._nodes)
        parts = np.flatnonzero(unknown & (batch.apid == self._files_apid) & (batch.flags == _UNSEGMENTED))
        if len(parts):
            tables.append(file_pdus(batch, parts, self._files_name))
            unknown[parts] = False
        return DecodedBatch(tables, unknown)

    def _kinds(self, batch: PacketBatch) -> tuple[NDArray[np.uint16], NDArray[np.generic]]:
        """Return the index of each packet's kind of report, the number of kinds for none, and its PUS version."""
        head = extract_fields(_HEAD, batch.octets, batch.offset, batch.length)
        version, service, subtype, number = (np.asarray(column) for column in head.columns.values())
        has_secondary = batch.flags & _SECONDARY != 0
        is_numbered = (service == _HOUSEKEEPING[0]) & (subtype == _HOUSEKEEPING[1])
        is_numbered |= (service == _EVENT) & (subtype >= 1) & (subtype <= len(SEVERITIES))
        # A report too short to hold its number has no kind: what was read there means nothing.
        is_whole = ~is_numbered | (batch.length >= TM_DATA_OFFSET + _NUMBER_BITS // 8)
        code = batch.apid.astype(np.int64) << 33
        code[has_secondary] |= (
            1 << 32
            | service[has_secondary].astype(np.int64) << 24
            | subtype[has_secondary].astype(np.int64) << 16
            | np.where(is_numbered, number, 0)[has_secondary]
        )
        index = np.minimum(np.searchsorted(self._codes, code), max(len(self._codes) - 1, 0))
        is_known = (batch.flags & _COMMAND == 0) & is_whole
        kind = np.full(len(batch), len(self._nodes), np.uint16)
        if len(self._codes):
            is_known &= self._codes[index] == code
            kind[is_known] = self._order[index[is_known]]
        return kind, version

    def _tables(
        self, batch: PacketBatch, key: _Key, node: Node, rows: NDArray[np.intp], version: NDArray[np.generic]
    ) -> Iterator[Table]:
        """Check the packets `rows`, all of one kind, and yield their tables."""
        is_whole = batch.flags[rows] & _UNSEGMENTED == _UNSEGMENTED
        damaged = {str(Damage.SEGMENT): int(np.count_nonzero(~is_whole))}
        rows = rows[is_whole]
        if key.has_secondary:
            sound = _fits(batch, rows)
            damaged[str(Damage.ERROR_CONTROL)] = int(np.count_nonzero(~sound))
            rows = rows[sound]
            is_ours = version[rows] == PUS_VERSION
            damaged[str(Damage.VERSION)] = int(np.count_nonzero(~is_ours))
            rows = rows[is_ours]
        state = State(
            batch.octets, rows, batch.offset[rows], batch.length[rows], np.zeros(len(rows), bool),
            np.zeros(len(rows), bool),
        )  # fmt: skip
        for operation in node.operations:
            operation.run(state)
        yield from self._tree.leaf(node, state, damaged, exact=True)


def _fits(batch: PacketBatch, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return whether the error control of each packet matches.

    Packets of one length are copied side by side, so that one call of the kernel checks them all.
    """
    octets = np.frombuffer(batch.octets, np.uint8)
    length = batch.length[rows]
    sound = np.zeros(len(rows), bool)
    sizes = length[:1] if len(rows) and (length == length[0]).all() else np.unique(length)
    for size in sizes:
        these = np.flatnonzero(length == size)
        step = max(1, _SOUND_MAX // int(size))
        for start in range(0, len(these), step):
            some = these[start : start + step]
            packets = sliding_window_view(octets, int(size))[batch.offset[rows[some]]]
            sound[some] = np.asarray(crc16_units(packets.reshape(-1).data, len(some), int(size))) == 0
    return sound


def _distinct(name: str, taken: set[str]) -> str:
    """Return the name, or the first of name.2, name.3 ... that is free, and mark it as taken."""
    free, again = name, 2
    while free in taken:
        free, again = f"{name}.{again}", again + 1
    taken.add(free)
    return free


def _key(kind: _Kind, time_apid: int | None) -> _Key:
    """Return what tells the packets of a structure, an event or a report."""
    if isinstance(kind, Structure):
        return _Key(kind.apid, *_HOUSEKEEPING, kind.sid)
    if isinstance(kind, EventDefinition):
        return _Key(kind.apid, _EVENT, 1 + SEVERITIES.index(kind.severity), kind.number)
    is_time = kind.apid == time_apid and (kind.service, kind.subtype) == _TIME_REPORT
    return _Key(kind.apid, kind.service, kind.subtype, None, has_secondary=not is_time)


def _container(name: str, fields: Iterable[Field], key: _Key) -> Container:
    """Describe a packet: its time, its fields, and the error control that ends it."""
    entries: list[Entry] = []
    at = _HEADER_BITS
    if key.has_secondary:
        time = Parameter(PACKET_TIME, PACKET_TIME, NumberEncoding(8 * CUC_OCTETS), time=CUC)
        entries.append(Entry(time, name, Location(From.START, _TIME_AT)))
        at = 8 * TM_DATA_OFFSET + (_NUMBER_BITS if key.number is not None else 0)
    # Moves to the place at which the fields begin; there may be none.
    start = Parameter(f"{name} start", "", BlankEncoding(Fixed(0)), left_out="no bits")
    entries.append(Entry(start, name, Location(From.START, at)))
    entries += _entries(fields, "", name)
    if key.has_secondary:
        control = Parameter(f"{name} control", "", BlankEncoding(Fixed(_CRC_BITS)), left_out="checked already")
        entries.append(Entry(control, name))
    return Container(name, tuple(entries), where=name)


def _entries(fields: Iterable[Field], prefix: str, where: str) -> Iterator[Entry]:
    """Yield the entries of fields; texts and rows have a count of one octet in front."""
    for field in fields:
        name = prefix + field.name
        if field.is_number:
            kind = _KINDS[field.type[0]]
            encoding = NumberEncoding(int(field.type[1:]), kind)  # type: ignore[arg-type]
            labels = MappingProxyType(dict(enumerate(field.labels)))
            yield Entry(Parameter(name, name, encoding, labels=labels, unit=field.unit), where)
        elif field.type == "time":
            yield Entry(Parameter(name, name, NumberEncoding(8 * CUC_OCTETS), time=CUC, unit=field.unit), where)
        elif field.type == "packet":
            yield from _packet(name, where)
        else:
            count = Parameter(f"{name} count", "", NumberEncoding(8), left_out="the length of what follows")
            yield Entry(count, where)
            if field.type == "str":
                size = Linear(Reference(count.key, False, where), 8.0, 0.0)
                yield Entry(
                    Parameter(name, name, OctetsEncoding(ColumnKind.TEXT, size, strict=True), unit=field.unit), where
                )
            else:
                rows = Group(name, tuple(_entries(field.fields, f"{name}.", where)))
                yield Entry(rows, where, count=Linear(Reference(count.key, False, where), 1.0, 0.0))


def _packet(name: str, where: str) -> Iterator[Entry]:
    """Yield the entries of a whole space packet inside this one.

    Its own header says how long it is: 7 octets more than the last 16 bits of the header (CCSDS 133.0-B-2, 4.1.3.5.3).
    So its length is read first, 32 bits on, and then the packet from 48 bits back.
    """
    length = Parameter(f"{name} length", "", NumberEncoding(16), left_out="the length of what follows")
    yield Entry(length, where, Location(From.PREVIOUS, 32))
    size = Linear(Reference(length.key, False, where), 8.0, 56.0)
    yield Entry(Parameter(name, name, OctetsEncoding(ColumnKind.BINARY, size)), where, Location(From.PREVIOUS, -48))


def dictionary_definition(dictionary: Dictionary) -> OwnDictionary:
    """Return the definition of the packets of the node that `dictionary` describes."""
    return OwnDictionary(dictionary)
