"""The digest of a run: SHA-256 over ordered (t_ns, channel, octets) of link, storage and decisions."""

from __future__ import annotations

import hashlib
import struct

_HEAD = struct.Struct(">QHI")


class Digest:
    """Equal for one seed on one machine and dependency set, whatever the wall clock did."""

    def __init__(self) -> None:
        self.entries = 0
        self._hash = hashlib.sha256()

    def enter(self, t_ns: int, channel: str, octets: bytes) -> None:
        name = channel.encode()
        self.entries += 1
        self._hash.update(_HEAD.pack(t_ns, len(name), len(octets)) + name)
        self._hash.update(octets)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
