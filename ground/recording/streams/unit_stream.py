"""A recording of coded units to packets: markers, inner code, randomizer, Reed-Solomon code, frames.

Octets outside units are what the synchronizer skipped; their content is looked at for fill, but under the inner code,
under which they are symbols and not octets. Units may overlap if octets are missing: what they overlap by counts once.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from flight.kernels import ReadBuffer
from flight.link.coding.tm_coding import MARKER_OCTETS, CodeblockBatch, TmDecoder
from ground.recording.packet_batch import PacketBatch
from ground.recording.streams.account import Account, CodingAccount
from ground.recording.streams.fill import fill_octets, leading_fill
from ground.recording.streams.frame_packets import FramePackets
from ground.recording.streams.link_options import LinkOptions

_SPARED_OCTETS = 2


class UnitStream:
    """`feed` the recording in stretches of any size, then `finish` it."""

    def __init__(self, options: LinkOptions, account: Account) -> None:
        coding = options.tm_coding
        self._decoder = TmDecoder(coding)
        self._packets = FramePackets(options, account, coding.unit_octets)
        self._account = account
        self._unit_octets = coding.unit_octets
        self._codeblock_octets = coding.codeblock_octets
        self._sees_octets = not coding.convolutional
        self._has_begun = self._sees_octets
        self._spared = 0
        self._recent = b""  # from the end of the last unit, or as far back as the synchronizer may hold
        self._recent_start = 0  # where it begins in the recording, octets
        self._explained = 0  # up to where units and gaps are classed, octets

    def feed(self, octets: ReadBuffer) -> PacketBatch:
        """The packets that these octets completed."""
        self._account.octets += len(octets)
        if not self._has_begun:
            octets = self._begun(octets)
        return self._take(octets, self._decoder.feed(octets), last=False)

    def _begun(self, octets: ReadBuffer) -> ReadBuffer:
        """Without what no encoder sends: symbols that never change would lead the inner decoder to pair those that
        follow at random, until it has seen enough of them. The last of the run may be the first of the signal.
        """
        run = leading_fill(np.frombuffer(octets, np.uint8)) - _SPARED_OCTETS
        self._has_begun = run < len(octets) - _SPARED_OCTETS
        if run <= 0:
            return octets
        self._account.fill_octets += run
        self._spared = _SPARED_OCTETS
        return memoryview(octets)[run:]

    def finish(self) -> PacketBatch:
        """The packets that only waited for what might have followed."""
        return self._take(b"", self._decoder.finish(), last=True)

    def _take(self, octets: ReadBuffer, blocks: CodeblockBatch, *, last: bool) -> PacketBatch:
        batch = self._packets.extract(blocks.octets, stride=blocks.stride, marks=blocks.unsound)
        if self._sees_octets:
            self._look_at_gaps(octets, np.asarray(blocks.offset_bits), last=last)
        self._packets.settle(Counter(), last=last)
        self._settle(last=last)
        return batch

    def _look_at_gaps(self, octets: ReadBuffer, offset_bits: np.ndarray[tuple[int], np.dtype[np.uint64]], *,
                      last: bool) -> None:  # fmt: skip
        """Count the fill between units, as far as it is certain that no unit begins in it."""
        begins = offset_bits.astype(np.int64) // 8 - MARKER_OCTETS
        ends = begins + MARKER_OCTETS + self._codeblock_octets
        done = self._account.octets - (0 if last else self._decoder.synchronizer.held_octets)
        starts = np.concatenate(([self._explained], ends))
        stops = np.concatenate((begins, [max(done, int(starts[-1]))]))
        gaps = np.flatnonzero(stops > starts)
        stretch = np.frombuffer(octets, np.uint8)
        if self._recent:
            stretch = np.concatenate((np.frombuffer(self._recent, np.uint8), stretch))
        for start, stop in zip(starts[gaps].tolist(), stops[gaps].tolist(), strict=True):
            self._account.fill_octets += fill_octets(stretch[start - self._recent_start : stop - self._recent_start])
        self._explained = int(max(done, starts[-1]))
        kept = max(min(self._explained, done) - self._recent_start, 0)
        self._recent = stretch[kept:].tobytes()
        self._recent_start += kept

    def _settle(self, *, last: bool) -> None:
        account, counters, sync = self._account, self._decoder.counters, self._decoder.synchronizer.counters
        account.coding = CodingAccount(
            units=sync.units,
            inverted_units=sync.inverted_units,
            flywheel_units=sync.flywheel_units,
            slips=sync.slips,
            marker_bit_errors=sync.marker_bit_errors,
            codewords=counters.codewords,
            codewords_uncorrectable=counters.codewords_uncorrectable,
            symbols_corrected=counters.symbols_corrected,
            channel_symbols=counters.channel_symbols,
            channel_symbol_errors=counters.channel_symbol_errors,
        )
        account.resyncs = max(sync.locks - 1, 0)
        if not last:
            return
        # What is in no unit was skipped. Units that overlap, because octets are missing, together have more octets
        # than there are: a unit that was refused has that many fewer.
        account.skipped_octets = 0
        skipped = account.octets - account.classed_octets
        if skipped >= 0:
            spared = min(skipped, self._spared)  # of the run in front
            account.fill_octets += spared
            skipped -= spared
            account.skipped_octets = skipped
            return
        for reason in ("uncorrectable", "crc"):
            taken = min(account.refused[reason], -skipped)
            account.refused[reason] -= taken
            skipped += taken
        account.refused = +account.refused
        account.overhead_octets += skipped
