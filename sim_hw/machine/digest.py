"""The digest of a run: SHA-256 over ordered (t_ns, channel, octets) of link, storage and decisions."""

from __future__ import annotations

import hashlib
import struct

_HEAD = struct.Struct(">QHI")


class Digest:
    """Equal for one seed on one machine and dependency set, whatever the wall clock did.

    whole: a digest that takes every entry as well, such as the run's beside the one of each spacecraft in it.
    """

    def __init__(self, whole: Digest | None = None) -> None:
        self.entries = 0
        self._hash = hashlib.sha256()
        self._by_channel: dict[str, hashlib._Hash] = {}
        self._whole = whole

    def enter(self, t_ns: int, channel: str, octets: bytes) -> None:
        """`octets` came about at `t_ns` on `channel`, which begins with the node's name."""
        name = channel.encode()
        head = _HEAD.pack(t_ns, len(name), len(octets)) + name
        own = self._by_channel.get(channel)
        if own is None:
            own = self._by_channel[channel] = hashlib.sha256()
        self.entries += 1
        for one in (self._hash, own):
            one.update(head)
            one.update(octets)
        if self._whole is not None:
            self._whole.enter(t_ns, channel, octets)

    def hexdigest(self) -> str:
        """Over all entries so far."""
        return self._hash.hexdigest()

    @property
    def channels(self) -> dict[str, str]:
        """The same over the entries of one channel, by channel: where two runs differ, this says what differs."""
        return {channel: one.hexdigest() for channel, one in self._by_channel.items()}
