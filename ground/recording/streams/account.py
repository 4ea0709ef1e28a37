"""The account of a recording: what became of every octet, and what is known to be missing.

Each octet that was read is in exactly one class:

    packets        packets that were given, without what stands in front of each
    overhead       of good units and frames: marker, check symbols, headers, control fields, error control; of a file
                   of packets, what stands in front of each
    idle           idle packets, and the data of idle frames
    fill           runs of one octet outside everything: a recorder's empty blocks, a carrier without modulation
    encapsulated   encapsulation packets other than idle ones: passed over
    refused        units, frames or packets that were there and could not be used, by reason
    skipped        outside everything, and nothing that is known
    left           at the end of the recording: the beginning of something that does not end
"""

# The invariant: once a recording is at its end, `classed_octets == octets`. Whatever a reader passes over, it must put
# into one class at that moment; nothing is inferred later by subtraction, except for units (see `unit_stream`), whose
# synchronizer tells only what it found. Tests feed damaged recordings of every form and check the sum.
#
# What counts as a loss: octets that stand for something that was there (`refused`, `skipped`, `left`), and gaps in
# counts. Gaps are taken from one layer only, so that nothing is reported twice: from frame counts if there are frames,
# since a lost frame takes its packets with it, and from sequence counts of packets only if there are none. What was
# left out because the user asked for other spacecraft or channels (AS_ASKED) does not count as a loss.

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from flight.text.plural import counted

_ODD_FRAC = 0.05  # of an APID's packets: what so few have in their header is damage, not the habit of the sender
AS_ASKED = frozenset({"spacecraft", "vcid"})  # reasons for refusing what the user did not ask for


@dataclass(slots=True)
class ChannelAccount:
    """One virtual channel.

    frames: good frames. missed: frames missing by the channel's count.
    packets: packets given. idle_packets: packets left out because they are idle.
    broken: packets of which only a part arrived.
    inconsistent: frames whose pointer and packet headers contradict each other, or whose count is out of line.
    """

    frames: int = 0
    missed: int = 0
    packets: int = 0
    idle_packets: int = 0
    broken: int = 0
    inconsistent: int = 0


@dataclass(slots=True)
class ApidAccount:
    """One APID of one virtual channel.

    packets: packets given. missing: packets missing by the sequence count, which wraps at 16384. gaps: how often the
        count jumped.
    counts: False if the sequence count mostly does not step by one, so that gaps in it mean nothing.
    heads: packets by type and secondary header flag (bits 1 and 0).
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
    """Units, and what decoding them took; the channel symbols are of the inner code."""

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
    """Octets by class (see the module docstring), and what was counted on the way.

    refused: octets by reason. frames_refused: frames by reason.
    packets_refused: packets of a file of packets by reason.
    encapsulated: encapsulation packets by protocol id.
    segments, unassembled: segments given, and those whose group was incomplete; their octets stay in the class packets.
    resyncs: how often the start of the next frame or packet had to be searched for.
    channels: by virtual channel. apids: by (virtual channel, APID); the channel is NO_CHANNEL in a file of packets.
    coding: only of units.
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
        """Octets refused for any reason."""
        return sum(self.refused.values())

    @property
    def classed_octets(self) -> int:
        """Octets of all classes: equal to `octets` once the recording is at its end."""
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
        """Frames missing by the counts of all channels."""
        return sum(channel.missed for channel in self.channels.values())

    @property
    def broken(self) -> int:
        """Packets of which only a part arrived."""
        return sum(channel.broken for channel in self.channels.values())

    @property
    def inconsistent(self) -> int:
        """Frames whose pointer or packet headers contradict each other."""
        return sum(channel.inconsistent for channel in self.channels.values())

    @property
    def missing_packets(self) -> int:
        """Packets missing by the sequence counts of the APIDs that count."""
        return sum(apid.missing for apid in self.apids.values() if apid.counts)

    @property
    def is_whole(self) -> bool:
        """Whether there were packets, and nothing is known to be missing."""
        return (self.packets > 0 or bool(self.encapsulated)) and not self.losses()

    def losses(self) -> list[str]:
        """List what is known to be missing or could not be used, one line each; empty if nothing is."""
        out = [
            *_lines(
                (self.missed_frames, "frame", "missing by frame count"),
                (self.broken, "broken packet", ""),
                (self.inconsistent, "inconsistent frame", ""),
            ),
            *(self.sequence_gaps() if not self.channels else ()),
            *_lines(
                (sum(apid.odd_headers for apid in self.apids.values()), "header", "unlike the others of its APID"),
                (self.unassembled, "segment", "of an incomplete group"),
                (self.skipped_octets, "octet", "skipped"),
                (self.left_octets, "octet", "left at the end"),
            ),
        ]
        refused = [
            (n, "octet", f"refused: {reason}") for reason, n in sorted(self.refused.items()) if reason not in AS_ASKED
        ]
        return out + _lines(*refused)

    def sequence_gaps(self) -> list[str]:
        """List the losses that sequence counts tell of, one line each.

        In a file of packets nothing else tells of missing packets. If there are frames, their own counts do; packets
        that are missing while no frame is were never sent.
        """
        jumps = sum(apid.gaps for apid in self.apids.values() if apid.counts)
        return _lines(
            (self.missing_packets, "packet", "missing by sequence count"), (jumps, "jump", "of sequence counts")
        )


def _lines(*counts: tuple[int, str, str]) -> list[str]:
    """One line for each (number, noun, what of it) whose number is not 0."""
    return [f"{counted(number, noun)} {what}".rstrip() for number, noun, what in counts if number]
