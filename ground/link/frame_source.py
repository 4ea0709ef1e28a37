"""Octets from the radio to frames not yet looked into, whatever their kind: the first step of every session."""

from __future__ import annotations

from collections.abc import Iterable

from flight.link.coding.tm_coding import CodeblockBatch, TmDecoder
from flight.link.downlink_config import DownlinkConfig

# A frame's octets and "", or the reason for which there is none.
RawFrame = tuple[bytes, str]


class FrameSource:
    """Cuts what the radio gives into frames, by length if they go bare, by the channel code's decoder if coded."""

    def __init__(self, config: DownlinkConfig) -> None:
        self.decoder = TmDecoder(config.tm_coding) if config.tm_coding is not None else None
        self._frame_octets = config.frame_octets

    def feed(self, octets: bytes) -> Iterable[RawFrame]:
        """The frames that these octets hold: whole ones if they go bare, any stretch of the stream if coded."""
        if self.decoder is not None:
            return _decoded(self.decoder.feed(octets))
        size = self._frame_octets
        if len(octets) % size:
            return [(b"", "length")]
        return [(octets[at : at + size], "") for at in range(0, len(octets), size)]

    def finish(self) -> Iterable[RawFrame]:
        """The contact is over: what only waited for what might have followed. A unit half received is forgotten."""
        return [] if self.decoder is None else _decoded(self.decoder.finish())


def _decoded(batch: CodeblockBatch) -> Iterable[RawFrame]:
    return ((raw, "") if sound else (b"", "uncorrectable") for raw, sound in batch)
