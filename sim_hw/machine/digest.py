"""The digest of a run: SHA-256 over ordered (t_ns, channel, octets) of link, storage and decisions.

Two runs with one digest did the same: they sent and heard the same octets at the same instants, stored the same, and
decided the same.
"""

# What is covered, by the last part of the channel's name:
#
#     LINK.down, LINK.up     every unit that arrived, with its bit errors (machine/air.py)
#     storage                every operation that a commit made durable, in order (machine/disk.py)
#     others                 what the node itself notes (Platform.note): its decisions
#
# What is not: wall time, how long inference took on this machine, the ground's own records, and products as files
# (their octets came down the link). What depends on a machine's floating point or on the version of a model is covered
# by way of the products, so a digest is equal on one machine with one set of dependencies, and summary.json names both.
#
# Each entry has a head of fixed length with the lengths of what follows, so no two sequences of entries have the same
# octets. The order of the entries counts as well: the loop makes calls of one instant in the order they were asked for.
#
# There is one hash over everything, which is compared, and one per channel, which tells where two runs part.

from __future__ import annotations

import hashlib
import struct

_HEAD = struct.Struct(">QHI")  # t_ns, octets of the channel's name, octets of the entry


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
        """Enter that `octets` came about at `t_ns` on `channel`, whose name begins with the node's."""
        name = channel.encode()
        head = _HEAD.pack(t_ns, len(name), len(octets)) + name
        own = self._by_channel.get(channel)
        if own is None:
            own = self._by_channel[channel] = hashlib.sha256()
        self.entries += 1
        for digest in (self._hash, own):
            digest.update(head)
            digest.update(octets)
        if self._whole is not None:
            self._whole.enter(t_ns, channel, octets)

    def hexdigest(self) -> str:
        """Return the digest over all entries so far, in hexadecimal."""
        return self._hash.hexdigest()

    @property
    def channels(self) -> dict[str, str]:
        """The same over the entries of one channel, by channel. If two runs differ, this says in what."""
        return {channel: digest.hexdigest() for channel, digest in self._by_channel.items()}
