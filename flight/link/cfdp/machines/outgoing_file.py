"""The content of a file on its way out: new data in order, what is asked for again, and the checksum of it all."""

# The checksum runs along as new data are read, in blocks, and `summed` says up to where: at or beyond `offset`, since a
# block is read ahead. A rewind or a reboot moves `offset` back, and the same octets then are not added again.
#
# A rewind never goes back behind one that was made before: what was repeated once is not repeated again. Otherwise a
# link that falls out again and again, each time before so many octets are through, would never get a file to its end.
#
# What a receiver asks for again goes into a set of stretches. To ask twice for what was not sent yet costs nothing, and
# no NAK, whatever it says, makes more work than its own octets: what lies outside of what was sent is passed over. It
# may still ask for the whole file in a few octets; a peer that asks for ever is stopped by `resend_factor`.

from __future__ import annotations

from flight.link.cfdp.checksums import CHECKSUMS
from flight.link.cfdp.conditions import ConditionCode
from flight.link.cfdp.directives import Metadata, Nak
from flight.link.cfdp.file_data import DataEncoder, octets_of_data
from flight.link.cfdp.machines.transaction import Workspace
from flight.link.cfdp.ranges import Ranges, RangesFull
from flight.link.cfdp.transactions.filestore import FilestoreRefusal, SourceFile

_BLOCK_OCTETS = 65536  # read at a time: one call of the filestore for dozens of segments
_FREE_OCTETS = 65536  # may be asked for again besides the multiple of the file, so that short files have some as well
_REQUESTS_MAX = 1024  # that one NAK is good for; what it asks for beyond is asked for again


class OutgoingFile:
    """A file being sent. `offset` is where new data go on, `resend` are the stretches that were asked for again.

    checksum: of the first `summed` octets. asked_octets: how many were asked for again in all, and a little per NAK.
    Reading raises FilestoreRefusal.
    """

    def __init__(self, work: Workspace, metadata: Metadata, source: SourceFile | None) -> None:
        self.source = source
        self.octets = metadata.octets
        self.offset = 0
        self.checksum = 0
        self.summed = 0
        self.asked_octets = 0
        self.resend = Ranges(ranges_max=work.config.ranges)
        self._config = work.config
        self._counters = work.counters
        self._encode = DataEncoder(metadata.header).encode
        self._add_checksum = CHECKSUMS[metadata.checksum_type].add
        self._segment = octets_of_data(metadata.header, work.config.pdu_octets)
        self._block_octets = max(_BLOCK_OCTETS // self._segment, 1) * self._segment
        self._block = b""
        self._block_at = 0
        self._rewound_at = -1  # the place at which the newest rewind began

    def next_new(self) -> bytes:
        """Return the PDU of the next segment."""
        at = self.offset
        place = at - self._block_at
        if not 0 <= place < len(self._block):
            self._read_block(at)
            place = 0
        data = self._block[place : place + self._segment]
        octets = len(data)
        self.offset = at + octets
        self._counters.octets_out += octets
        return self._encode(at, data)

    def next_resent(self) -> bytes:
        """Return the PDU of the first segment that was asked for again."""
        stretch = self.resend.first
        assert stretch is not None
        start, end = stretch[0], min(stretch[0] + self._segment, stretch[1])
        data = self._read(start, end - start)
        self.resend.remove(start, end)
        self._counters.resent_octets += len(data)
        return self._encode(start, data)

    def take_requests(self, nak: Nak) -> tuple[bool, str]:
        """Take what a NAK asks for; return whether it wants the metadata, and why not all of it was taken, or ""."""
        wants_metadata, refused, added = False, "", 0
        try:
            for start, end in nak.requests[:_REQUESTS_MAX]:
                if start == end == 0:
                    wants_metadata = True
                elif start >= end or end > self.octets:
                    refused = "request"
                else:
                    # Beyond `offset` is what a life before the reboot has sent; it comes again by itself.
                    added += self.resend.add(start, min(end, self.offset))
        except RangesFull:
            refused = "ranges"  # what has no room is asked for again
        self.asked_octets += added + self._config.pdu_octets
        return wants_metadata, refused

    @property
    def is_asked_too_often(self) -> bool:
        """Whether the receiver asks without end."""
        return self.asked_octets > self._config.resend_factor * (self.octets + _FREE_OCTETS)

    def rewind(self, octets: int) -> bool:
        """Go back so many octets, but not behind the beginning of the rewind before; return False if it is there.

        New data then go on from there.
        """
        if self.offset <= self._rewound_at:
            return False
        self._rewound_at, self.offset = self.offset, max(self.offset - octets, self._rewound_at, 0)
        return True

    def drop_content(self) -> None:
        """Give up what is held for sending, and what was asked for again."""
        self._block = b""
        self.resend.clear()

    def _read_block(self, at: int) -> None:
        """Read ahead from `at`, and add to the checksum what is new of it."""
        octets = min(self._block_octets, self.octets - at)
        block = self._read(at, octets)
        self._block, self._block_at = block, at
        summed = self.summed
        if at <= summed < at + octets:
            self.checksum = self._add_checksum(memoryview(block)[summed - at :], self.checksum, summed)
            self.summed = at + octets

    def _read(self, at: int, octets: int) -> bytes:
        assert self.source is not None
        data = self.source.read(at, octets)
        if len(data) != octets:
            raise FilestoreRefusal("the file became shorter while it was sent", ConditionCode.FILE_SIZE_ERROR)
        return data
