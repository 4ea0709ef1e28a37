"""Aligned frames to packets, and the account of both: what units and bare frames have in common.

Missed frames are told by the counts of those that came. A count that is damaged tells of a gap there and of one back,
by all counts there are together. If neither error control nor a code guards frames, such a pair is one frame whose
count contradicts its neighbours', and no frame is missing.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from flight.kernels import AosLink, BatchExtractor, FrameColumns, ReadBuffer, TmLink, Verdict
from ground.recording.packet_batch import PacketBatch
from ground.recording.streams.account import Account, ChannelAccount
from ground.recording.streams.link_options import LinkOptions, Service

_MODULI = (1 << 8, 1 << 24, 1 << 28)  # of channel counts: TM, AOS, AOS with its cycle
_NAMES = {verdict: verdict.name.lower() for verdict in Verdict} | {Verdict.MARKED: "uncorrectable"}


def kernel_link(options: LinkOptions) -> TmLink | AosLink:
    """What the kernel must know of the frames."""
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
    """Frames in, packets out; `settle` writes what became of the frames into the account.

    unit_octets: what one frame takes of the recording. Octets of good frames are classed by the kernel; what a unit
    has beyond its frame is overhead.
    """

    def __init__(self, options: LinkOptions, account: Account, unit_octets: int) -> None:
        self._extractor = BatchExtractor(kernel_link(options))
        self._account = account
        self._frame_octets = options.frame_octets or 0
        self._unit_octets = unit_octets
        self._guarded = bool(options.has_fecf) or options.coding not in (None, "none")
        self._gaps: dict[int, int] = {}  # before the newest frame of a channel
        self._odd_counts = Counter[int]()  # frames by channel, and
        self._not_missed = Counter[int]()  # frames that they made seem missing

    def extract(self, frames: ReadBuffer, *, stride: int | None = None, marks: ReadBuffer | None = None) -> PacketBatch:
        """The packets that these frames completed."""
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
        missed, vcid = np.asarray(columns.missed).astype(np.int64), np.asarray(columns.vcid)
        is_good = np.asarray(columns.verdict) == Verdict.GOOD
        if not missed.any() and not any(self._gaps.values()):
            return
        for channel in np.unique(vcid[is_good]).tolist():
            gaps = np.append(self._gaps.get(channel, 0), missed[is_good & (vcid == channel)])
            there_and_back = (gaps[:-1] > 0) & (gaps[1:] > 0) & np.isin(gaps[:-1] + gaps[1:], _MODULI)
            self._odd_counts[channel] += int(np.count_nonzero(there_and_back))
            self._not_missed[channel] += int((gaps[:-1] + gaps[1:])[there_and_back].sum())
            self._gaps[channel] = 0 if len(there_and_back) and there_and_back[-1] else int(gaps[-1])

    def settle(self, refused: Counter[str], *, last: bool) -> None:
        """Bring the account up to date. `refused`: octets of the recording that the caller refused itself."""
        account, extractor = self._account, self._extractor
        channels = extractor.channels
        verdicts = extractor.verdicts
        account.frames = sum(one.frames for one in channels.values())
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
        account.packet_octets = sum(one.packet_octets for one in channels.values())
        account.idle_octets = sum(one.idle_octets for one in channels.values())
        account.encapsulated_octets = sum(one.encapsulated_octets for one in channels.values())
        account.encapsulated = Counter()
        for one in channels.values():
            account.encapsulated.update(one.encapsulated)
        coding_octets = (self._unit_octets - self._frame_octets) * account.frames
        account.overhead_octets = coding_octets + sum(one.overhead_octets for one in channels.values())
        account.refused = Counter({name: n * self._unit_octets for name, n in account.frames_refused.items()})
        lost = sum(one.lost_octets for one in channels.values())
        if lost:
            account.refused["broken packets"] = lost
        account.refused.update(refused)
        if last:
            account.left_octets += sum(one.hand_octets for one in channels.values())
