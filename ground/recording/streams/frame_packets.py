"""Aligned frames to packets, and the account of both: what units and bare frames have in common."""

from __future__ import annotations

from collections import Counter

import numpy as np

from flight.kernels import AosLink, BatchExtractor, ReadBuffer, TmLink, Verdict
from ground.recording.packet_batch import PacketBatch
from ground.recording.streams.account import Account, ChannelAccount
from ground.recording.streams.link_options import LinkOptions, Service

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

    def extract(self, frames: ReadBuffer, *, stride: int | None = None, marks: ReadBuffer | None = None) -> PacketBatch:
        """The packets that these frames completed."""
        _, packets = self._extractor.extract(frames, stride=stride, marks=marks)
        return PacketBatch(
            packets.octets,
            np.asarray(packets.offset),
            np.asarray(packets.length),
            np.asarray(packets.apid),
            np.asarray(packets.seq),
            np.asarray(packets.flags),
            np.asarray(packets.vcid),
        )

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
            vcid: ChannelAccount(c.frames, c.missed, c.packets, c.idle_packets, c.broken, c.inconsistent)
            for vcid, c in channels.items()
        }
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
