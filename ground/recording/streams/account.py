"""The account of a recording: what became of every octet, and what is known to be missing.

Each octet that was read is in exactly one class:

    packets    of packets that were given, without what stands in front of each
    overhead   of good units and frames: marker, check symbols, headers, control fields, error control; of a file of
               packets, what stands in front of each
    idle       idle packets, and the data of idle frames
    fill       runs of one octet outside everything: a recorder's empty blocks, a carrier without modulation
    refused    units, frames or packets that were there and could not be used, by reason
    skipped    outside everything, and nothing that we know
    encapsulated   of encapsulation packets other than idle ones: passed over
    left       at the end: the beginning of something that did not come to its end

`is_whole` says that nothing is known to be missing. Octets that stand for something lost make it False (`refused`,
`skipped`, `left`), and so do gaps: in the counts of frames, or of packets if there are no frames.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_ODD_FRAC = 0.05
AS_ASKED = frozenset({"spacecraft", "vcid"})  # reasons of what is left out because others were asked for


@dataclass(slots=True)
class ChannelAccount:
    """One virtual channel: good frames, frames missed by its count, packets given, idle packets left out, packets of
    which only a part arrived (`broken`), frames whose pointer or packet headers contradict each other.
    """

    frames: int = 0
    missed: int = 0
    packets: int = 0
    idle_packets: int = 0
    broken: int = 0
    inconsistent: int = 0


@dataclass(slots=True)
class ApidAccount:
    """One APID: packets given, how many are missing by the sequence count (modulo 16384), and how often it jumped.

    heads: packets by type and secondary header flag (bits 1 and 0).
    counts: False if the sequence count does not step by one on the whole, so that gaps in it mean nothing.
    """

    packets: int = 0
    missing: int = 0
    gaps: int = 0
    counts: bool = True
    heads: Counter[int] = field(default_factory=Counter)

    @property
    def odd_headers(self) -> int:
        """Packets whose type or secondary header flag is not that of nearly all others of the APID."""
        return sum(n for n in self.heads.values() if n <= _ODD_FRAC * self.packets)


@dataclass(slots=True)
class CodingAccount:
    """Units and what decoding them needed; the last two are of the inner code."""

    units: int = 0
    inverted_units: int = 0
    flywheel_units: int = 0
    slips: int = 0
    marker_bit_errors: int = 0
    codewords: int = 0
    codewords_uncorrectable: int = 0
    symbols_corrected: int = 0
    channel_symbols: int = 0
    channel_symbol_errors: int = 0


@dataclass(slots=True)
class Account:
    """Octets by class (see above), and what was counted.

    refused: octets by reason. frames_refused: frames by reason; `packets_refused`: packets of a file of packets.
    encapsulated: encapsulation packets by protocol id.
    resyncs: how often the place where the next frame or packet starts had to be searched for.
    unassembled: segments that found no whole group; their octets stay in the class of packets.
    apids: by (virtual channel, APID); the channel is NO_CHANNEL in a file of packets.
    """

    octets: int = 0
    packet_octets: int = 0
    overhead_octets: int = 0
    idle_octets: int = 0
    fill_octets: int = 0
    encapsulated_octets: int = 0
    skipped_octets: int = 0
    left_octets: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    packets: int = 0
    packets_refused: Counter[str] = field(default_factory=Counter)
    encapsulated: Counter[int] = field(default_factory=Counter)
    segments: int = 0
    unassembled: int = 0
    unassembled_octets: int = 0
    resyncs: int = 0
    frames: int = 0
    frames_refused: Counter[str] = field(default_factory=Counter)
    channels: dict[int, ChannelAccount] = field(default_factory=dict)
    apids: dict[tuple[int, int], ApidAccount] = field(default_factory=dict)
    coding: CodingAccount | None = None

    @property
    def refused_octets(self) -> int:
        """Over all reasons."""
        return sum(self.refused.values())

    @property
    def classed_octets(self) -> int:
        """Over all classes: `octets`, once the recording is at its end."""
        return (
            self.packet_octets
            + self.overhead_octets
            + self.idle_octets
            + self.fill_octets
            + self.encapsulated_octets
            + self.refused_octets
            + self.skipped_octets
            + self.left_octets
        )

    @property
    def missed_frames(self) -> int:
        """By the counts of all channels."""
        return sum(one.missed for one in self.channels.values())

    @property
    def broken(self) -> int:
        """Packets of which only a part arrived."""
        return sum(one.broken for one in self.channels.values())

    @property
    def inconsistent(self) -> int:
        """Frames whose pointer or packet headers contradict each other."""
        return sum(one.inconsistent for one in self.channels.values())

    @property
    def missing_packets(self) -> int:
        """By the sequence counts of the APIDs that count."""
        return sum(one.missing for one in self.apids.values() if one.counts)

    @property
    def is_whole(self) -> bool:
        """Whether there were packets, and nothing is known to be missing."""
        return (self.packets > 0 or bool(self.encapsulated)) and not self.losses()

    def losses(self) -> list[str]:
        """What is known to be missing or could not be used, a line each; empty if nothing is."""
        out = [
            *_lines(
                (self.missed_frames, "frames missed by count"),
                (self.broken, "packets broken"),
                (self.inconsistent, "frames inconsistent"),
            ),
            *(self.sequence_gaps() if not self.channels else ()),
            *_lines(
                (sum(one.odd_headers for one in self.apids.values()), "headers unlike the others of their APID"),
                (self.unassembled, "segments without the rest of their group"),
                (self.skipped_octets, "octets skipped"),
                (self.left_octets, "octets left at the end"),
            ),
        ]
        refused = ((n, f"octets refused: {reason}") for reason, n in sorted(self.refused.items()))
        return out + _lines(*(one for one in refused if one[1].rpartition(": ")[2] not in AS_ASKED))

    def sequence_gaps(self) -> list[str]:
        """What sequence counts say, a line each. In a file of packets nothing else tells of those that are missing. Of
        frames, their own counts do, and packets that are missing while no frame is were never sent.
        """
        jumps = sum(one.gaps for one in self.apids.values() if one.counts)
        return _lines((self.missing_packets, "packets missing by sequence count"), (jumps, "jumps of sequence counts"))


def _lines(*counts: tuple[int, str]) -> list[str]:
    return [f"{n:,} {what}" for n, what in counts if n]
