"""The content of a file on its way in, and what is known of the file: its metadata, its EOF, which octets are here."""

# What a PDU claims costs nothing. Sizes and offsets are compared with what is known; octets are held by the owner, as
# many as came; of stretches there are at most `ranges`, and at the limit only what lengthens one is taken. Nor is any
# octet taken beyond what the offsets of the transaction can name, since nobody could ask for it again. What came
# first stays: a repeated PDU says the same again, while a forged one must not replace what is here. So of data that
# overlap what is held, only the octets that are missing are written; of gaps, so many as a step has time for. The rest
# is missing as before.
#
# Until the EOF, octets beyond the size in the metadata are refused alone: noise must not cost the file. After it they
# are a fault, as are sizes that contradict each other. Metadata that state 0 octets state nothing: the file may be
# empty, or its sender did not know its size (5.2.5).

from __future__ import annotations

from flight.link.cfdp.checksums import CHECKSUMS, NULL
from flight.link.cfdp.directives import EndOfFile, Metadata
from flight.link.cfdp.header import Header
from flight.link.cfdp.machines.transaction import Workspace
from flight.link.cfdp.ranges import Ranges
from flight.link.cfdp.tlv import FilestoreRequest, MessageToUser
from flight.link.cfdp.transactions.filestore import DestinationFile, FilestoreRefusal
from flight.link.cfdp.transactions.indications import FileComplete

_GAPS_MAX = 64  # that one PDU closes


class IncomingFile:
    """A file being received. `held` are the stretches that are here, `octets_max` is how far they may go.

    Methods that reach the filestore raise FilestoreRefusal.
    """

    def __init__(self, work: Workspace, header: Header) -> None:
        self.metadata: Metadata | None = None
        self.eof: EndOfFile | None = None
        self.held = Ranges(ranges_max=work.config.ranges)
        self._longest = min(work.config.file_octets, header.octets_max)
        self.octets_max = self._longest
        self._work = work
        self._id = header.transaction
        self._file: DestinationFile | None = None

    def keep(self, offset: int, end: int, data: bytes | memoryview) -> int:
        """Write what is missing of these octets, which are within `octets_max`; return how many are new.

        Raises RangesFull if they would be a stretch too many.
        """
        held = self.held
        if offset == held.end or not held.overlaps(offset, end):
            self._write(offset, end, data)
            return end - offset
        new = 0
        for start, stop in held.gaps(offset, end, _GAPS_MAX):
            self._write(start, stop, memoryview(data)[start - offset : stop - offset])
            new += stop - start
        return new

    def _write(self, start: int, end: int, data: bytes | memoryview) -> None:
        if self._file is None:
            self._file = self._work.filestore.open_destination(self._id)
        self.held.add(start, end)
        try:
            self._file.write(start, data)
        except FilestoreRefusal:
            self.held.remove(start, end)
            raise

    def open(self) -> None:
        """Let the owner know of the file, also if not one octet of it comes."""
        if self.has_file and self._file is None:
            self._file = self._work.filestore.open_destination(self._id)

    def admit(self, metadata: Metadata) -> None:
        """Take the metadata, if the owner takes a file of this name and size."""
        if metadata.source_name or metadata.name:
            self._work.filestore.admit(self._id, metadata.name, metadata.octets)
        self.metadata = metadata
        if self.eof is None and metadata.octets:
            self.octets_max = min(self.octets_max, metadata.octets)

    def take_eof(self, eof: EndOfFile) -> None:
        """Take an EOF whose size is right."""
        self.eof = eof
        self.octets_max = eof.octets

    def is_contradicted(self, eof: EndOfFile) -> bool:
        """Return whether this EOF says something else than the one before, or that there is a file if there is none."""
        if self.eof is not None:
            return (eof.checksum, eof.octets) != (self.eof.checksum, self.eof.octets)
        return eof.octets > 0 and not self.has_file

    def complete(self) -> FileComplete:
        """Return what the owner is told once nothing is missing."""
        metadata = self.metadata
        options = metadata.options if metadata is not None else ()
        kind = metadata.checksum_type if metadata is not None else None
        return FileComplete(
            self._id,
            self.name,
            self.held.total,
            kind if kind is None or kind in CHECKSUMS else NULL,  # an unknown type that a handler ignored
            self.eof.checksum if self.eof is not None else 0,
            tuple(option for option in options if isinstance(option, FilestoreRequest)),
            tuple(option for option in options if isinstance(option, MessageToUser)),
            self.has_file,
        )

    def reopen(self) -> None:
        """Open after a reboot what is held, and ask the owner again. If the content is gone, nothing is held."""
        try:
            if self.held.total:
                self._file = self._work.filestore.open_destination(self._id)
        except FilestoreRefusal:
            self.held.clear()
        if self.metadata is not None:
            self.admit(self.metadata)

    def wrong_size(self, octets: int) -> str:
        """Return why the file cannot have so many octets, empty if it can."""
        if octets > self._longest:
            return f"a file of {octets} octets, {self._longest} at most"
        if octets < self.held.end:
            return f"a file of {octets} octets, of which octet {self.held.end} is here"
        if self.size not in (None, octets):
            return f"a file of {octets} octets, after {self.size} were announced"
        return ""

    @property
    def size(self) -> int | None:
        """How long the file is, None if nothing has told it for certain."""
        if self.eof is not None:
            return self.eof.octets
        return self.metadata.octets or None if self.metadata is not None else None

    @property
    def octets(self) -> int:
        """How long the file is as far as is known."""
        return max(self.size or 0, self.held.end)

    @property
    def has_file(self) -> bool:
        """Whether there is a file, and not only options; without metadata there is."""
        return self.metadata is None or bool(self.metadata.source_name or self.metadata.name)

    @property
    def is_whole(self) -> bool:
        """Whether no octet is missing."""
        return not self.has_file or (self.eof is not None and self.held.total == self.eof.octets)

    @property
    def name(self) -> str:
        """What the sender calls the file here, "" before the metadata."""
        return self.metadata.name if self.metadata is not None else ""

    def missing(self, gaps_max: int | None = None) -> tuple[tuple[int, int], ...]:
        """Return the stretches that are missing, as far as is known; the first `gaps_max` of them if given."""
        return tuple(self.held.gaps(0, self.octets, gaps_max))
