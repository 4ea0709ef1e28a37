"""Packets of our own node, by its dictionary document: housekeeping, events and every other report as tables.

A report's table has the time of the packet, `packet.time`, and then the fields of the report: times are whole units of
2^-16 s of TAI since 1958-01-01, an enumerated field is its number with its labels. A field of rows becomes ragged
columns `field.part`, one value per row of it; if a part is a text or a packet, it is a table `report.field` of its own.

What is damaged is counted by reason (`Damage`): only a segment of a packet, an error control that does not fit, another
version of PUS, fields that do not end where the packet does, a text that is not UTF-8. A packet that the dictionary
says nothing of is unknown; telecommands and idle packets are. Parts of files are a table of what their headers say.
"""

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
from flight.core.nanoseconds import tai_from_unix
from flight.kernels import FieldSpec, PacketLayout, crc16_units, extract_fields
from flight.link.pus import CRC_OCTETS, PUS_VERSION, TM_DATA_OFFSET
from flight.link.time_code import CUC_OCTETS
from ground.recording.definition import DecodedBatch
from ground.recording.definitions.criteria import Fixed, Linear, Reference
from ground.recording.definitions.entries import Container, Entry, From, Group, Location
from ground.recording.definitions.file_pdus import FILE_PDU, file_pdus
from ground.recording.definitions.packet_tree import PacketTree
from ground.recording.definitions.parameters import BlankEncoding, NumberEncoding, OctetsEncoding, Parameter
from ground.recording.definitions.program import Node
from ground.recording.definitions.state import Damage, State
from ground.recording.packet_batch import PacketBatch
from ground.recording.table import ColumnKind, Table, TimeScale
from ground.telemetry.columns import PACKET_TIME

CUC = TimeScale(Fraction(1, 1 << 16), -tai_from_unix(0))
"""Of all times of the node."""

_HOUSEKEEPING, _EVENT, _TIME_REPORT = (3, 25), 5, (9, 2)
_NUMBER_BITS = 16  # of a structure or an event, which leads the source data
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
_SOUND_MAX = 1 << 24  # octets laid side by side at a time for their error control


@dataclass(frozen=True, slots=True)
class _Key:
    """What a packet must be: `number` leads the source data of housekeeping and events; a time packet has no secondary
    header.
    """

    apid: int
    service: int
    subtype: int
    number: int | None
    has_secondary: bool = True

    @property
    def code(self) -> int:
        """All of it in one number."""
        if not self.has_secondary:
            return self.apid << 33
        return self.apid << 33 | 1 << 32 | self.service << 24 | self.subtype << 16 | (self.number or 0)


class OwnDictionary:
    """The packets of one dictionary document (ECSS-E-ST-70-41C, 7.4.3)."""

    unsupported: tuple[str, ...] = ()

    def __init__(self, dictionary: Dictionary) -> None:
        time_apid = dictionary.apids.get("time")
        kinds: dict[_Key, Container] = {}
        names: set[str] = set()
        every: list[_Kind] = [*dictionary.structures, *dictionary.events, *dictionary.reports]
        for one in every:
            key = _key(one, time_apid)
            name = _distinct(one.name if one.name not in names else f"{one.name}.{one.apid}", names)
            # As in the live decoder, the last one of a kind counts.
            kinds[key] = _container(name, one.fields, key)
        self._files_apid = dictionary.apids.get("files")
        self._files_name = _distinct(FILE_PDU, names)
        # One container that is none of them, so that names of slots and tables are in one place.
        root = Container("packet", (), True, tuple((None, one) for one in kinds.values()))
        self._tree = PacketTree(root)
        self._nodes = {key: node for key, (_, node) in zip(kinds, self._tree.root.choices, strict=True)}
        codes = np.array([key.code for key in kinds], np.int64)
        self._order = np.argsort(codes).astype(np.uint16)
        self._codes = codes[self._order]

    def decode(self, batch: PacketBatch) -> DecodedBatch:
        """A table of each kind of report that the batch has."""
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
        """Which kind of report each packet is, as many as there are for none of them; and its version of PUS."""
        head = extract_fields(_HEAD, batch.octets, batch.offset, batch.length)
        version, service, subtype, number = (np.asarray(column) for column in head.columns.values())
        has_secondary = batch.flags & _SECONDARY != 0
        is_numbered = (service == _HOUSEKEEPING[0]) & (subtype == _HOUSEKEEPING[1])
        is_numbered |= (service == _EVENT) & (subtype >= 1) & (subtype <= len(SEVERITIES))
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
    """Whether the error control of each packet fits. Those of one length lie side by side, so that one call checks
    them all.
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
    """The name, or one like it that nobody has."""
    free, again = name, 2
    while free in taken:
        free, again = f"{name}.{again}", again + 1
    taken.add(free)
    return free


def _key(one: _Kind, time_apid: int | None) -> _Key:
    if isinstance(one, Structure):
        return _Key(one.apid, *_HOUSEKEEPING, one.sid)
    if isinstance(one, EventDefinition):
        return _Key(one.apid, _EVENT, 1 + SEVERITIES.index(one.severity), one.number)
    is_time = one.apid == time_apid and (one.service, one.subtype) == _TIME_REPORT
    return _Key(one.apid, one.service, one.subtype, None, has_secondary=not is_time)


def _container(name: str, fields: Iterable[Field], key: _Key) -> Container:
    entries: list[Entry] = []
    at = _HEADER_BITS
    if key.has_secondary:
        time = Parameter(PACKET_TIME, PACKET_TIME, NumberEncoding(8 * CUC_OCTETS), time=CUC)
        entries.append(Entry(time, name, Location(From.START, _TIME_AT)))
        at = 8 * TM_DATA_OFFSET + (_NUMBER_BITS if key.number is not None else 0)
    # Where the fields begin, though there may be none.
    start = Parameter(f"{name} start", "", BlankEncoding(Fixed(0)), left_out="no bits")
    entries.append(Entry(start, name, Location(From.START, at)))
    entries += _entries(fields, "", name)
    if key.has_secondary:
        control = Parameter(f"{name} control", "", BlankEncoding(Fixed(_CRC_BITS)), left_out="checked already")
        entries.append(Entry(control, name))
    return Container(name, tuple(entries), where=name)


def _entries(fields: Iterable[Field], prefix: str, where: str) -> Iterator[Entry]:
    for one in fields:
        name = prefix + one.name
        if one.is_number:
            kind = _KINDS[one.type[0]]
            encoding = NumberEncoding(int(one.type[1:]), kind)  # type: ignore[arg-type]
            labels = MappingProxyType(dict(enumerate(one.labels)))
            yield Entry(Parameter(name, name, encoding, labels=labels, unit=one.unit), where)
        elif one.type == "time":
            yield Entry(Parameter(name, name, NumberEncoding(8 * CUC_OCTETS), time=CUC, unit=one.unit), where)
        elif one.type == "packet":
            yield from _packet(name, where)
        else:
            count = Parameter(f"{name} count", "", NumberEncoding(8), left_out="the length of what follows")
            yield Entry(count, where)
            if one.type == "str":
                size = Linear(Reference(count.key, False, where), 8.0, 0.0)
                yield Entry(
                    Parameter(name, name, OctetsEncoding(ColumnKind.TEXT, size, strict=True), unit=one.unit), where
                )
            else:
                rows = Group(name, tuple(_entries(one.fields, f"{name}.", where)))
                yield Entry(rows, where, count=Linear(Reference(count.key, False, where), 1.0, 0.0))


def _packet(name: str, where: str) -> Iterator[Entry]:
    """A whole space packet inside of this one. Its own header says how long it is: 7 octets more than its last 16 bits
    do (CCSDS 133.0-B-2, 4.1.3.5.3).
    """
    length = Parameter(f"{name} length", "", NumberEncoding(16), left_out="the length of what follows")
    yield Entry(length, where, Location(From.PREVIOUS, 32))
    size = Linear(Reference(length.key, False, where), 8.0, 56.0)
    yield Entry(Parameter(name, name, OctetsEncoding(ColumnKind.BINARY, size)), where, Location(From.PREVIOUS, -48))


def dictionary_definition(dictionary: Dictionary) -> OwnDictionary:
    """The packets of the node that `dictionary` describes."""
    return OwnDictionary(dictionary)
