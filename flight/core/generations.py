"""A small record that survives power loss at any instant: two generations, each with version and CRC.

The newer valid generation is the truth; a write goes over the older one, so whatever a power cut does to it, the
other stands.
"""

from __future__ import annotations

import struct
import zlib

from flight.core.errors import StorageError
from flight.core.future import Future
from flight.platform import Storage

_HEAD = struct.Struct(">III")  # version, length, CRC-32 of both and the content


class Generations:
    """One record called `name`, stored as `name.a` and `name.b`."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self._names = (f"{name}.a", f"{name}.b")
        self._version = 0
        self.damaged = 0

    def load(self) -> bytes | None:
        """The newest valid content, None where there is none. Damaged generations are counted."""
        return next(iter(self.load_all()), None)

    def load_all(self) -> list[bytes]:
        """Every valid content, the newest first."""
        found: list[tuple[int, bytes]] = []
        for name in self._names:
            try:
                raw = self._storage.read(name)
            except StorageError:  # the medium does not give it back: as good as damaged
                raw = b""
            if raw is None:
                continue
            read = _parse(raw)
            if read is None:
                self.damaged += 1
            else:
                found.append(read)
        found.sort(reverse=True)
        self._version = found[0][0] if found else 0
        return [content for _, content in found]

    def save(self, content: bytes) -> Future[None]:
        """Write the next generation; the future is done when it is durable."""
        version = self._version + 1
        self._storage.replace(self._names[version % 2], _build(version, content))
        self._version = version  # not before: after a refused write the next save must go over the older one still
        return self._storage.sync()


def _build(version: int, content: bytes) -> bytes:
    crc = zlib.crc32(_HEAD.pack(version, len(content), 0) + content)
    return _HEAD.pack(version, len(content), crc) + content


def _parse(raw: bytes) -> tuple[int, bytes] | None:
    if len(raw) < _HEAD.size:
        return None
    version, _, _ = _HEAD.unpack_from(raw)
    content = raw[_HEAD.size :]
    return (version, content) if _build(version, content) == raw else None
