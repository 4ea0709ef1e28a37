"""What became of the frames of each link of a run: of the one with the way up, and of the simplex ones beside it."""

# Every frame that was handed to the transmitter has one fate: it is still on its way, it was lost because no station
# had a lock, or it arrived; then it was received, or bit errors had spoilt it. The air counts units, the ground counts
# frames that passed their checks, and the difference between the two is what bit errors cost. The three counts come
# from two independent sides, so a frame that vanished anywhere would show as a sum that does not add up.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ground.link.ground_link import GroundLink
from sim_hw.machine.air import Air


@dataclass(frozen=True, slots=True)
class FrameFates:
    """What became of frames. `sent` are those whose fate is known: all but those still on their way, `in_flight`."""

    sent: int
    received: int
    lost_without_signal: int
    lost_to_bit_errors: int
    with_bit_errors: int
    in_flight: int

    @classmethod
    def of(cls, air: Air, link: GroundLink) -> Self:
        """Count those of the link whose ground end is `link`, over its `air`."""
        channel, received = air.down.channel, link.counters.frames
        counters = channel.counters
        return cls(
            sent=counters.accepted - channel.pending,
            received=received,
            lost_without_signal=counters.lost,
            lost_to_bit_errors=counters.delivered - received,
            with_bit_errors=counters.with_errors,
            in_flight=channel.pending,
        )

    @property
    def lost(self) -> int:
        """Frames lost for either reason."""
        return self.lost_without_signal + self.lost_to_bit_errors


def further_links(links: Mapping[str, tuple[Air, GroundLink]]) -> dict[str, Any]:
    """Return the account of each simplex link by its name, JSON-ready."""
    return {name: _account(air, link) for name, (air, link) in links.items()}


def further_link_rows(links: Mapping[str, Any]) -> list[list[str]]:
    """Return column heads and a row per simplex link, for the report."""
    counts = (
        "frames_sent", "frames_received", "frames_lost", "idle_frames", "packets_received", "codewords_corrected",
        "codewords_uncorrectable",
    )  # fmt: skip
    heads = ["link", *(name.replace("_", " ") for name in counts)]
    return [heads, *([name, *(f"{account[count]:,}" for count in counts)] for name, account in links.items())]


def frame_counts(air: Air, link: GroundLink) -> dict[str, Any]:
    """Return the account that every link has, JSON-ready: its frames, and the packets in them."""
    fates, counters = FrameFates.of(air, link), link.counters
    return {
        "frames_sent": fates.sent,
        "frames_received": fates.received,
        "frames_lost": fates.lost,
        "frames_lost_without_signal": fates.lost_without_signal,
        "frames_lost_to_bit_errors": fates.lost_to_bit_errors,
        "frames_with_bit_errors": fates.with_bit_errors,
        "frames_in_flight": fates.in_flight,
        "frames_missed_by_count": counters.frames_missed,
        "frames_rejected": dict(counters.frames_rejected),
        "idle_frames": counters.idle_frames,
        "packets_received": counters.packets,
    }


def _account(air: Air, link: GroundLink) -> dict[str, Any]:
    coding = None if link.decoder is None else link.decoder.counters
    return {
        **frame_counts(air, link),
        "code": link.config.coding,
        "codewords_corrected": coding.codewords_corrected if coding else 0,
        "codewords_uncorrectable": coding.codewords_uncorrectable if coding else 0,
    }
