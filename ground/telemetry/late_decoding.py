"""Packets that the archive has without a meaning, decoded by what is known now: another dictionary, or a definition."""

# States:
#
#   resting --the ground starts, or a definition is learned--> going through them, STEP_ROWS per step, oldest first
#   going   --the last of them--> resting, or once more if a definition was learned on the way
#
# A packet that decodes now gets its meaning in one transaction: what it is, and its samples, event and alarms, or what
# it says of a command. With that its row is no longer one without a meaning. So nothing is done twice, and a ground
# that is killed continues with what is left, without a mark to be kept. A packet that still does not decode stays.
#
# How much is kept without a meaning is bounded by OCTETS_MAX; a packet beyond it is refused, counted and remarked. Each
# row counts ROW_OCTETS beside its packet, so that a flood of small packets takes no more room than one of long ones.
#
# A read that fails ends the round: what is left waits for the next start, or for the next definition.

from __future__ import annotations

from collections.abc import Callable

from flight.core.errors import OrbitnodeError
from ground.telemetry.archive_writer import ArchiveWriter
from ground.telemetry.decoder import DecodedPacket, Decoder
from ground.telemetry.node_archive import NodeArchive
from ground.telemetry.open_rows import UndecodedRow

STEP_ROWS = 200  # takes some milliseconds, in which the ground does nothing else
OCTETS_MAX = 1 << 30
ROW_OCTETS = 128  # taken in the file by a row besides its packet, with its entries in the indices


class LateDecoding:
    """Gives packets their meaning late. `use(row, packet, now_ns)` then does what reception would have done."""

    def __init__(
        self, writer: ArchiveWriter, decoder: Decoder, use: Callable[[UndecodedRow, DecodedPacket, int], None], *,
        octets_max: int = OCTETS_MAX,
    ) -> None:  # fmt: skip
        self.waiting = 0
        """Packets without a meaning."""
        self.decoded = 0
        self._writer = writer
        self._decoder = decoder
        self._use = use
        self._octets_max = octets_max
        self._octets = 0
        self._after: int | None = 0  # the last row that was looked at in this round, None while resting
        self._learned = decoder.learned
        if writer.archive is not None:
            self.waiting, octets = writer.archive.open_rows.undecoded_size()
            self._octets = octets + self.waiting * ROW_OCTETS

    @property
    def is_due(self) -> bool:
        """Whether `step` has something to do."""
        return self.waiting > 0 and (self._after is not None or self._decoder.learned != self._learned)

    def counts(self) -> dict[str, int]:
        """Return the counters by name."""
        return {"packets.waiting_undecoded": self.waiting, "packets.decoded_late": self.decoded}

    def admit(self, octets: bytes) -> bool:
        """Return whether one more packet without a meaning may be kept; if so, it counts from now on."""
        if self._writer.archive is None:
            return True
        if self._octets + len(octets) + ROW_OCTETS > self._octets_max:
            return False
        self.waiting += 1
        self._octets += len(octets) + ROW_OCTETS
        return True

    def step(self, now_ns: int) -> int:
        """Look at the next STEP_ROWS packets; return how many of them have a meaning now."""
        archive = self._writer.archive
        if archive is None or not self.is_due:
            return 0
        if self._after is None:
            self._after, self._learned = 0, self._decoder.learned
        try:
            rows = archive.open_rows.undecoded(self._after, STEP_ROWS)
        except OrbitnodeError as error:
            self._after = None
            self._writer.fault(error)
            return 0
        before = self.decoded
        for row in rows:
            packet = self._decoder.decode_late(row.octets)
            if packet is not None:
                self._give_meaning(row, packet, now_ns)
        self._after = rows[-1].number if len(rows) == STEP_ROWS else None
        return self.decoded - before

    def _give_meaning(self, row: UndecodedRow, packet: DecodedPacket, now_ns: int) -> None:
        def write(archive: NodeArchive) -> None:
            archive.open_rows.name_packet(row.number, packet)
            archive.add_meaning(packet, row.received_ns)

        with self._writer.unit():
            if not self._writer.write(write):
                return  # the writer has reported it, and the row stays as it was
            self._use(row, packet, now_ns)
        self.decoded += 1
        self.waiting -= 1
        self._octets -= len(row.octets) + ROW_OCTETS
