"""Turns aligned frames into packets, and keeps the account of both: what units and bare frames have in common."""

# Octets of good frames are classed by the kernel, which takes them apart; octets of refused frames are classed here, by
# the verdict. A unit is longer than its frame by marker and check symbols: that difference is overhead of a good frame,
# and refused with a bad one. The kernel's counters are running totals, so `settle` assigns the account's fields from
# them and adds nothing up.
#
# Encrypted frames are judged and counted as all others, and their octets are refused: what stands where packets would
# is ciphertext, and would be taken for anything.
#
# Missed frames follow from the counts of the frames that came. If a frame's count is damaged, the counts show a gap
# before it and one back behind it, and both together are a whole turn of the counter. If error control or a code
# guards frames, a damaged count cannot get through, and two such gaps are real. If nothing guards them, the pair means
# one frame whose count contradicts its neighbours (`inconsistent`), and no frame is missing.

from __future__ import annotations

from collections import Counter

import numpy as np

from flight.kernels import AosLink, BatchExtractor, FrameColumns, ReadBuffer, TmLink, Verdict, crc16_units
from ground.recording.packet_batch import PacketBatch
from ground.recording.streams.account import Account, ChannelAccount
from ground.recording.streams.link_options import LinkOptions, Service

_MODULI = (1 << 8, 1 << 24, 1 << 28)  # of virtual channel counts: TM, AOS, AOS with its frame count cycle
# A frame that the decoder marked is one whose codewords could not be corrected.
_NAMES = {verdict: verdict.name.lower() for verdict in Verdict} | {Verdict.MARKED: "uncorrectable"}


def kernel_link(options: LinkOptions) -> TmLink | AosLink:
    """Return what the frame kernel must know of a link. One that makes no sense is refused by BatchExtractor."""
    assert options.frame_octets is not None
    security = (options.security_header_octets, options.security_trailer_octets)
    if options.service is Service.AOS:
        return AosLink(
            options.frame_octets,
            options.spacecraft_id,
            options.vcids,
            has_fecf=bool(options.has_fecf),
            has_ocf=bool(options.has_ocf),
            has_header_control=bool(options.has_header_control),
            insert_octets=options.insert_octets or 0,
            security_header_octets=security[0],
            security_trailer_octets=security[1],
            has_encapsulation=True,
        )
    return TmLink(
        options.frame_octets,
        options.spacecraft_id,
        options.vcids,
        bool(options.has_fecf),
        security_header_octets=security[0],
        security_trailer_octets=security[1],
        has_encapsulation=True,
    )


class FramePackets:
    """Takes frames and returns packets; `settle` writes what became of the frames into the account."""

    def __init__(self, options: LinkOptions, account: Account, unit_octets: int) -> None:
        """unit_octets: octets of the recording that one frame takes, marker and check symbols included."""
        self._extractor = BatchExtractor(kernel_link(options))
        self._account = account
        self._frame_octets = options.frame_octets or 0
        self._unit_octets = unit_octets
        self._options = options
        self._guarded = bool(options.has_fecf) or options.coding not in (None, "none")
        self._gaps: dict[int, int] = {}  # by channel: frames missing right before its newest frame
        self._odd_counts = Counter[int]()  # by channel: frames with a damaged count
        self._not_missed = Counter[int]()  # by channel: frames that those made seem missing

    def extract(self, frames: ReadBuffer, *, stride: int | None = None, marks: ReadBuffer | None = None) -> PacketBatch:
        """Return the packets that these frames completed.

        stride: octets from one frame to the next if they do not lie side by side. marks: one octet per frame, not 0 if
        the frame could not be decoded.
        """
        if self._options.is_encrypted:
            frames, stride = _blinded(frames, stride, self._options), None
        columns, packets = self._extractor.extract(frames, stride=stride, marks=marks)
        if not self._guarded:
            self._note_odd_counts(columns)
        return PacketBatch(
            packets.octets,
            np.asarray(packets.offset),
            np.asarray(packets.length),
            np.asarray(packets.apid),
            np.asarray(packets.seq),
            np.asarray(packets.flags),
            np.asarray(packets.vcid),
        )

    def _note_odd_counts(self, columns: FrameColumns) -> None:
        """Find frames whose count is damaged: two gaps in a row that add up to a whole turn of the counter."""
        missed, vcid = np.asarray(columns.missed).astype(np.int64), np.asarray(columns.vcid)
        is_good = np.asarray(columns.verdict) == Verdict.GOOD
        if not missed.any() and not any(self._gaps.values()):
            return
        for channel in np.unique(vcid[is_good]).tolist():
            # The last gap of the batch before comes first: a pair may lie across the two batches.
            gaps = np.append(self._gaps.get(channel, 0), missed[is_good & (vcid == channel)])
            there_and_back = (gaps[:-1] > 0) & (gaps[1:] > 0) & np.isin(gaps[:-1] + gaps[1:], _MODULI)
            self._odd_counts[channel] += int(np.count_nonzero(there_and_back))
            self._not_missed[channel] += int((gaps[:-1] + gaps[1:])[there_and_back].sum())
            # A gap that is half of a pair must not be paired again.
            self._gaps[channel] = 0 if len(there_and_back) and there_and_back[-1] else int(gaps[-1])

    def settle(self, refused: Counter[str], *, last: bool) -> None:
        """Bring the account up to date. refused: octets by reason that the caller refused itself."""
        account, extractor = self._account, self._extractor
        channels = extractor.channels
        verdicts = extractor.verdicts
        account.frames = sum(channel.frames for channel in channels.values())
        account.frames_refused = Counter(
            {_NAMES[verdict]: n for verdict, n in verdicts.items() if n and verdict is not Verdict.GOOD}
        )
        account.channels = {
            vcid: ChannelAccount(
                c.frames, c.missed - self._not_missed[vcid], c.packets, c.idle_packets, c.broken,
                c.inconsistent + self._odd_counts[vcid],
            )
            for vcid, c in channels.items()
        }  # fmt: skip
        account.packet_octets = sum(channel.packet_octets for channel in channels.values())
        account.idle_octets = sum(channel.idle_octets for channel in channels.values())
        account.encapsulated_octets = sum(channel.encapsulated_octets for channel in channels.values())
        account.encapsulated = Counter()
        for channel in channels.values():
            account.encapsulated.update(channel.encapsulated)
        coding_octets = (self._unit_octets - self._frame_octets) * account.frames
        account.overhead_octets = coding_octets + sum(channel.overhead_octets for channel in channels.values())
        account.refused = Counter({name: n * self._unit_octets for name, n in account.frames_refused.items()})
        lost = sum(channel.lost_octets for channel in channels.values())
        if lost:
            account.refused["broken packets"] = lost
        account.refused.update(refused)
        if self._options.is_encrypted:
            self._refuse_data()
            return
        if last:  # packets that began and did not end
            account.left_octets += sum(channel.hand_octets for channel in channels.values())

    def _refuse_data(self) -> None:
        """Class all octets of good frames as refused: their data cannot be read."""
        account = self._account
        account.idle_octets = account.overhead_octets = 0
        if account.frames:
            account.refused["encrypted"] = self._unit_octets * account.frames


def _blinded(frames: ReadBuffer, stride: int | None, options: LinkOptions) -> ReadBuffer:
    """Return encrypted frames, side by side, as frames without packets: the kernel counts and judges them as they are.

    First header pointers say so. Where they stand, there is ciphertext (AOS), or they lead to it (TM).
    """
    assert options.frame_octets is not None
    size, octets = options.frame_octets, np.frombuffer(frames, np.uint8)
    step = size if stride is None else stride
    count = (len(octets) + step - size) // step
    rows = np.zeros((count, step), np.uint8)
    rows.reshape(-1)[: len(octets)] = octets[: count * step]
    whole = np.ascontiguousarray(rows[:, :size])
    sound = np.asarray(crc16_units(whole.reshape(-1).data, count, size)) == 0 if count else np.zeros(0, np.bool_)
    if options.service is Service.AOS:
        control = 2 if options.has_header_control else 0
        pointer = 6 + control + (options.insert_octets or 0) + options.security_header_octets
    else:
        pointer = 4
    whole[:, pointer] |= 0x07
    whole[:, pointer + 1] = 0xFE  # NO_DATA: only idle data (132.0-B-3, 4.1.2.7.6.5)
    if options.has_fecf and count:
        ahead = np.ascontiguousarray(whole[sound, : size - 2])
        control_fields = np.asarray(crc16_units(ahead.reshape(-1).data, len(ahead), size - 2), ">u2")
        whole[sound, size - 2 :] = control_fields.view(np.uint8).reshape(-1, 2)
    return whole.reshape(-1).data
