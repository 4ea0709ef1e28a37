"""Recorded downlink, all at once: megabytes of stream, frames or packets to columns (the batch path).

Where `ground.link.session` takes octets as they arrive, this takes a pass or a day in a few calls of the kernels. What
is wrong is counted by reason and never passed on: codewords that cannot be corrected, frames by verdict, reports whose
length or error control does not fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from flight.contract.dictionary import Structure
from flight.kernels import (
    AosLink,
    BatchExtractor,
    ExtractedPackets,
    FieldSpec,
    PacketColumns,
    PacketLayout,
    ReadBuffer,
    Stop,
    TmLink,
    crc16_units,
    extract_fields,
    split_packets,
)
from flight.link.aos_stack import AosConfig
from flight.link.coding.tm_coding import CodeblockBatch, TmDecoder
from flight.link.downlink_config import DownlinkConfig
from flight.link.pus import CRC_OCTETS, TM_DATA_OFFSET
from flight.link.stack import LinkConfig
from flight.link.tm.aos_frame import AosFrame
from flight.link.tm.tm_frame import FrameError, TmFrame
from ground.telemetry.columns import PACKET_TIME, structure_layout

UNITS, FRAMES, PACKETS = "units", "frames", "packets"

_LOOK_OCTETS = 1 << 18
_SECONDARY = 0b0100  # of a packet's flags
_SERVICE, _SUBTYPE, _SID = 7, 8, TM_DATA_OFFSET  # where they stand in a telemetry packet, octets
_HOUSEKEEPING = (3, 25)
_HEAD = PacketLayout(
    (FieldSpec("service", 8 * _SERVICE, 8), FieldSpec("subtype", 8 * _SUBTYPE, 8), FieldSpec("sid", 8 * _SID, 16))
)

Column = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class PacketBatch:
    """n packets as they lie in `octets`, and their headers, arrays of n numbers (see flight.kernels.PacketColumns)."""

    octets: ReadBuffer
    offset: NDArray[np.uint64]
    length: NDArray[np.uint32]
    apid: NDArray[np.uint16]
    flags: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.flags)


@dataclass(frozen=True, slots=True)
class HousekeepingTable:
    """All reports of one structure in a batch, in their order.

    columns: by parameter, arrays of n numbers of the parameter's own type, first `packet.time`: units of 2^-16 s of TAI
        since 1958-01-01. Parameters from the first of varying length on are left out.
    damaged: reports left out because their length or their error control does not fit.
    """

    structure: Structure
    columns: dict[str, Column]
    damaged: int

    def __len__(self) -> int:
        return len(self.columns[PACKET_TIME])


class Recording:
    """One link's downlink as it was recorded: `feed` it in stretches of any size, in order.

    form: UNITS for the stream of a link with coding, FRAMES for bare frames and PACKETS for space packets, one after
    the other. `left_octets` of frames or packets are behind the last whole one; of units, `decoder.synchronizer` counts
    what was skipped. `stop` says why a stream of packets went no further.
    """

    def __init__(self, config: DownlinkConfig, form: str) -> None:
        """Raises ValueError for units of a link whose frames go bare."""
        if form == UNITS and config.tm_coding is None:
            raise ValueError('this link has coding = "frame", and no units')
        self.form = form
        self.decoder = TmDecoder(config.tm_coding) if form == UNITS and config.tm_coding is not None else None
        self.extractor = BatchExtractor(_kernel_link(config))
        self.packets = 0
        self.stop = Stop.END
        self._frame_octets = config.frame_octets
        self._rest = b""
        self._lost_octets = 0

    @property
    def left_octets(self) -> int:
        """Octets that have not become part of anything."""
        return len(self._rest) + self._lost_octets

    def feed(self, octets: ReadBuffer) -> PacketBatch:
        """The packets that these octets completed."""
        batch = self._split(octets) if self.form == PACKETS else self._extract(octets)
        self.packets += len(batch)
        return batch

    def batches(self, stretches: Iterable[ReadBuffer]) -> Iterator[PacketBatch]:
        """The packets of a whole recording: behind its last stretch nothing follows."""
        for octets in stretches:
            yield self.feed(octets)
        if self.decoder is not None:
            batch = self._unpack(self.decoder.finish())
            self.packets += len(batch)
            yield batch

    def _extract(self, octets: ReadBuffer) -> PacketBatch:
        if self.decoder is not None:
            return self._unpack(self.decoder.feed(octets))
        stretch = self._rest + octets if self._rest else octets
        whole = len(stretch) // self._frame_octets * self._frame_octets
        self._rest = bytes(stretch[whole:])
        _, packets = self.extractor.extract(memoryview(stretch)[:whole])
        return self._batch(packets.octets, packets)

    def _unpack(self, blocks: CodeblockBatch) -> PacketBatch:
        _, packets = self.extractor.extract(blocks.octets, stride=blocks.stride, marks=blocks.unsound)
        return self._batch(packets.octets, packets)

    def _split(self, octets: ReadBuffer) -> PacketBatch:
        if self.stop is Stop.VERSION:  # nothing that follows can be found any more, so none of it is kept
            self._lost_octets += len(octets)
            return self._batch(b"", split_packets(b""))
        stretch = self._rest + octets if self._rest else octets
        packets = split_packets(stretch)
        self._rest = bytes(stretch[packets.consumed :])
        self.stop = packets.stop
        if self.stop is Stop.VERSION:
            self._lost_octets, self._rest = len(self._rest), b""
        return self._batch(stretch, packets)

    @staticmethod
    def _batch(octets: ReadBuffer, packets: ExtractedPackets | PacketColumns) -> PacketBatch:
        return PacketBatch(
            octets,
            np.asarray(packets.offset),
            np.asarray(packets.length),
            np.asarray(packets.apid),
            np.asarray(packets.flags),
        )


def _kernel_link(config: DownlinkConfig) -> TmLink | AosLink:
    """What the kernel must know of the frames."""
    vcids = tuple(config.channels.values())
    if isinstance(config, AosConfig):
        return AosLink(config.frame_octets, config.spacecraft_id, vcids, has_fecf=True)
    idle = (config.vc_idle,) if isinstance(config, LinkConfig) else ()
    return TmLink(config.frame_octets, config.spacecraft_id, (*vcids, *idle))


def form_of(octets: bytes, config: DownlinkConfig) -> str:
    """What a recording most likely is, by its beginning: bare frames, units of this link, or packets.

    Each is tried, so that wrong bits, noise in front or a slip do not deceive; where nothing fits, what the link sends.
    """
    look = octets[:_LOOK_OCTETS]
    size = config.frame_octets
    if any(_is_frame(look[at : at + size], config) for at in range(0, len(look) - size + 1, size)):
        return FRAMES
    if config.tm_coding is not None:
        frames = TmDecoder(config.tm_coding).feed(look)
        if any(sound and _is_frame(raw, config) for raw, sound in frames):
            return UNITS
    if 2 * split_packets(look).consumed > len(look):
        return PACKETS
    return FRAMES if config.tm_coding is None else UNITS


def _is_frame(raw: bytes, config: DownlinkConfig) -> bool:
    try:
        if isinstance(config, AosConfig):
            return AosFrame.decode(raw, config.frame_format).spacecraft_id == config.spacecraft_id
        return TmFrame.decode(raw, config.frame_octets).spacecraft_id == config.spacecraft_id
    except FrameError:
        return False


def housekeeping_tables(batch: PacketBatch, structures: Iterable[Structure]) -> Iterator[HousekeepingTable]:
    """A table for each of `structures` that the batch has reports of (ECSS-E-ST-70-41C, 8.3, TM[3,25])."""
    head = extract_fields(_HEAD, batch.octets, batch.offset, batch.length)
    service, subtype, sid = (np.asarray(head[name]) for name in ("service", "subtype", "sid"))
    is_report = (
        (np.asarray(head.complete) == 1)
        & (batch.flags & _SECONDARY != 0)
        & (service == _HOUSEKEEPING[0])
        & (subtype == _HOUSEKEEPING[1])
    )
    octets = np.frombuffer(batch.octets, np.uint8)
    for structure in structures:
        rows = np.flatnonzero(is_report & (batch.apid == structure.apid) & (sid == structure.sid))
        if len(rows):
            yield _table(structure, octets, batch.offset[rows], batch.length[rows])


def all_tables(batches: Iterable[PacketBatch], structures: Sequence[Structure]) -> list[HousekeepingTable]:
    """The tables of many batches, each structure's reports in one."""
    parts: dict[tuple[int, int], list[HousekeepingTable]] = {}
    for batch in batches:
        for one in housekeeping_tables(batch, structures):
            parts.setdefault((one.structure.apid, one.structure.sid), []).append(one)
    return [_joined(tables) for tables in parts.values()]


def _joined(tables: Sequence[HousekeepingTable]) -> HousekeepingTable:
    columns = {name: np.concatenate([one.columns[name] for one in tables]) for name in tables[0].columns}
    return HousekeepingTable(tables[0].structure, columns, sum(one.damaged for one in tables))


def _table(
    structure: Structure, octets: NDArray[np.uint8], offset: NDArray[np.uint64], length: NDArray[np.uint32]
) -> HousekeepingTable:
    """The sound ones of some reports. Side by side, so that one call checks them all; most have one length."""
    layout = structure_layout(structure)
    columns: list[dict[str, Column]] = []
    damaged = 0
    order: list[NDArray[np.intp]] = []
    least = max((one.bit_offset + one.bits + 7) // 8 for one in layout.fields) + CRC_OCTETS
    is_whole = len(layout.fields) == 1 + len(structure.fields)  # with the time: none is of varying length
    for size in np.unique(length):
        these = np.flatnonzero(length == size)
        if size < least or (is_whole and size > least):
            damaged += len(these)
            continue
        packets = sliding_window_view(octets, int(size))[offset[these]]
        sound = np.asarray(crc16_units(packets.reshape(-1).data, len(these), int(size))) == 0
        damaged += int(np.count_nonzero(~sound))
        found = extract_fields(layout, np.ascontiguousarray(packets[sound]).reshape(-1).data, None, int(size))
        columns.append({name: np.asarray(column) for name, column in found.columns.items()})
        order.append(these[sound])
    if not columns:
        empty = extract_fields(layout, b"", (), ())
        return HousekeepingTable(structure, {name: np.asarray(one) for name, one in empty.columns.items()}, damaged)
    place = np.argsort(np.concatenate(order), kind="stable")
    joined = {name: np.concatenate([part[name] for part in columns])[place] for name in columns[0]}
    return HousekeepingTable(structure, joined, damaged)
