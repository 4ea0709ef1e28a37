"""Turns a recording of any form into whole packets and the account of every octet.

    octets -> units (markers, inner code, randomizer, Reed-Solomon) -> frames -> packets -> segments joined
    octets -> frames, aligned by what fits                          -> packets -> segments joined
    octets -> packets, by their lengths and their habits                       -> segments joined

The same packets result however a recording is cut into calls. Memory does not grow with its length.
"""

# Why blocks at fixed places: readers that resynchronise judge a place by what stands behind it, as far as their octets
# reach. If blocks ended wherever a caller's stretch ends, the result would depend on the caller. So blocks of bare
# frames and packets end at multiples of BLOCK_OCTETS of the recording, and begin where the reader was done with the
# block before. Units need none of that: their synchronizer is fed bit by bit, and keeps its own state.
#
# Order behind the reader: sequence counts are checked on packets as they came, segments are joined after that. The
# other way round, every joined packet would look like a gap.

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from flight.core.errors import OrbitnodeError
from flight.kernels import ReadBuffer
from ground.recording.packet_batch import PacketBatch
from ground.recording.streams.account import Account
from ground.recording.streams.encapsulation import EncapsulationStream
from ground.recording.streams.frame_stream import FrameStream
from ground.recording.streams.link_options import Form, LinkOptions
from ground.recording.streams.packet_stream import PacketStream
from ground.recording.streams.segments import SegmentJoiner
from ground.recording.streams.sequences import SequenceCounts
from ground.recording.streams.unit_stream import UnitStream

BLOCK_OCTETS = 16 << 20  # many of the longest packets, so that few of them lie across two blocks

Number = TypeVar("Number", bound=np.generic)


class PacketSource:
    """One recording as it is read: call `feed` with stretches of any size, in order, then `finish` once.

    account: what became of the octets so far; complete after `finish`.
    """

    def __init__(self, options: LinkOptions) -> None:
        """Set up the readers. Raises OrbitnodeError if options contradict one another or are missing."""
        faults = options.faults() + [f"{name} is not known" for name in options.missing()]
        if faults:
            raise OrbitnodeError("; ".join(faults))
        self.options = options
        self.account = Account()
        self._sequences = SequenceCounts(self.account)
        self._joiner = SegmentJoiner(self.account) if options.joins_segments else None
        self._pending: list[bytes] = []  # parts of the block that is not complete
        self._units: UnitStream | None = None
        self._blocks: FrameStream | PacketStream | EncapsulationStream | None = None
        try:
            if options.form is Form.UNITS:
                self._units = UnitStream(options, self.account)
            elif options.form is Form.FRAMES:
                self._blocks = FrameStream(options, self.account)
            elif options.form is Form.PACKETS:
                self._blocks = PacketStream(options, self.account)
            else:
                self._blocks = EncapsulationStream(self.account)
        except ValueError as error:  # the kernels refuse a link that makes no sense
            raise OrbitnodeError(str(error)) from None

    def feed(self, octets: ReadBuffer) -> PacketBatch:
        """Take the next octets of the recording. Returns the packets that are certain now."""
        if self._units is not None:
            return self._delivered(self._units.feed(octets))
        self.account.octets += len(octets)
        batches: list[PacketBatch] = []
        view = memoryview(octets)
        while len(view) > 0:
            room = BLOCK_OCTETS - (self.account.octets - len(view)) % BLOCK_OCTETS
            # bytes that fit into the block are kept without a copy; anything else may change after this call.
            whole = type(octets) is bytes and len(view) == len(octets) <= room
            self._pending.append(octets if whole else bytes(view[:room]))  # type: ignore[arg-type]
            view = view[room:]
            if len(self._pending[-1]) == room:
                batches.append(self._read_block(last=False))
        return self._delivered(_joined(batches))

    def finish(self) -> PacketBatch:
        """End the recording. Returns the packets that only waited for what might have followed."""
        batch = self._units.finish() if self._units is not None else self._read_block(last=True)
        batch = self._delivered(batch)
        if self._joiner is not None:
            self._joiner.finish()
        return batch

    def _read_block(self, *, last: bool) -> PacketBatch:
        """Hand the block to its reader, and keep what that leaves."""
        block = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        assert self._blocks is not None
        if isinstance(self._blocks, EncapsulationStream):
            batch, done = _joined([]), self._blocks.take(block, last=last)
        else:
            batch, done = self._blocks.take(block, last=last)
        self._pending = [block[done:]] if done < len(block) and not last else []
        return batch

    def _delivered(self, batch: PacketBatch) -> PacketBatch:
        """Count the packets of a batch, check their sequence counts, and join segments."""
        self._sequences.note(batch)
        if self._joiner is not None:
            batch = self._joiner.join(batch)
        self.account.packets += len(batch)
        return batch


def _joined(batches: list[PacketBatch]) -> PacketBatch:
    """Return several batches as one."""
    # A single batch is passed on as it is: joining copies all octets.
    batches = [batch for batch in batches if len(batch)] or batches[:1]
    if len(batches) == 1:
        return batches[0]
    starts = np.cumsum([0] + [len(batch.octets) for batch in batches])[:-1]

    def column(name: str, kind: type[Number]) -> NDArray[Number]:
        return np.concatenate([getattr(batch, name) for batch in batches] or [np.zeros(0, kind)])

    return PacketBatch(
        b"".join(batch.octets for batch in batches),
        np.concatenate(
            [batch.offset + np.uint64(start) for batch, start in zip(batches, starts, strict=True)]
            or [np.zeros(0, np.uint64)]
        ),
        column("length", np.uint32),
        column("apid", np.uint16),
        column("seq", np.uint16),
        column("flags", np.uint8),
        column("vcid", np.uint8),
    )
