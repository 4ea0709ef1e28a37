"""Turns a recording of coded units into packets: markers, inner code, randomizer, Reed-Solomon code, frames."""

# The account of units. The synchronizer tells where units are, not what it skipped, so `skipped` is computed at the
# end: all octets less those of every other class. Fill between units is counted as they pass, unless there is an inner
# code: then the recording consists of symbols, and gaps cannot be seen in it.
#
# The sum can come out too large. If octets are missing inside a unit, the synchronizer still takes a whole unit's
# length from its marker on, and the next marker stands inside it: the two overlap, and together have more octets than
# there are. Such a unit fails its check, so the excess is taken off what was refused, and the account adds up again.

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

_SPARED_OCTETS = 2  # of a leading run are kept: its last symbols may be the first of the signal


class UnitStream:
    """Decodes units: call `feed` with stretches of any size, in order, then `finish` once."""

    def __init__(self, options: LinkOptions, account: Account) -> None:
        coding = options.tm_coding
        self._decoder = TmDecoder(coding)
        self._packets = FramePackets(options, account, coding.unit_octets)
        self._account = account
        self._unit_octets = coding.unit_octets
        self._codeblock_octets = coding.codeblock_octets
        self._sees_octets = not coding.convolutional
        self._has_begun = self._sees_octets  # False while only symbols that never change have come
        self._spared = 0
        self._recent = b""  # what may still turn out to be a gap: from the last unit on, or what the synchronizer holds
        self._recent_start = 0  # octet of the recording at which `_recent` begins
        self._explained = 0  # octets of the recording up to which units and gaps are classed

    def feed(self, octets: ReadBuffer) -> PacketBatch:
        """Take the next octets of the recording. Returns the packets that they completed."""
        self._account.octets += len(octets)
        if not self._has_begun:
            octets = self._begun(octets)
        return self._packets_of(octets, self._decoder.feed(octets), last=False)

    def _begun(self, octets: ReadBuffer) -> ReadBuffer:
        """Return the octets without a leading run of one value, which no encoder sends.

        Symbols that never change fit any phase of the inner code. The inner decoder would pair the symbols that follow
        in a random phase, until it has seen enough of them to correct itself.
        """
        run = leading_fill(np.frombuffer(octets, np.uint8)) - _SPARED_OCTETS
        self._has_begun = run < len(octets) - _SPARED_OCTETS
        if run <= 0:
            return octets
        self._account.fill_octets += run
        self._spared = _SPARED_OCTETS
        return memoryview(octets)[run:]

    def finish(self) -> PacketBatch:
        """End the recording. Returns the packets that only waited for what might have followed."""
        return self._packets_of(b"", self._decoder.finish(), last=True)

    def _packets_of(self, octets: ReadBuffer, blocks: CodeblockBatch, *, last: bool) -> PacketBatch:
        """Return the packets of decoded blocks, and bring the account up to date with the octets they came in."""
        batch = self._packets.extract(blocks.octets, stride=blocks.stride, marks=blocks.unsound)
        if self._sees_octets:
            self._look_at_gaps(octets, np.asarray(blocks.offset_bits), last=last)
        self._packets.settle(Counter(), last=last)
        self._settle(last=last)
        return batch

    def _look_at_gaps(self, octets: ReadBuffer, offset_bits: np.ndarray[tuple[int], np.dtype[np.uint64]], *,
                      last: bool) -> None:  # fmt: skip
        """Count the fill between units, as far as no unit can still begin in it."""
        begins = offset_bits.astype(np.int64) // 8 - MARKER_OCTETS
        ends = begins + MARKER_OCTETS + self._codeblock_octets
        # What the synchronizer holds back may still become a unit.
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
        """Bring the account of the coding up to date; at the end, make the classes add up to all octets."""
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
        # At the end, what is in no other class was skipped (see the head of this file).
        account.skipped_octets = 0
        skipped = account.octets - account.classed_octets
        if skipped >= 0:
            spared = min(skipped, self._spared)  # the kept end of the leading run is fill after all
            account.fill_octets += spared
            skipped -= spared
            account.skipped_octets = skipped
            return
        for reason in ("uncorrectable", "crc", "encrypted"):
            taken = min(account.refused[reason], -skipped)
            account.refused[reason] -= taken
            skipped += taken
        account.refused = +account.refused  # without reasons that have come down to 0
        account.overhead_octets += skipped
