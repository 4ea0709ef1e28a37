"""A small record that survives power loss at any instant: two generations, each with version and CRC.

What is found at boot tells what has become of the record:

    NOTHING    no name is there: nothing was ever stored, or it was deleted as a whole
    WHOLE      both generations, of versions that follow each other, or the very first one alone
    ONE_LOST   one is damaged, unreadable, gone, misplaced or put back from earlier; the other stands, and if the lost
               one was the newer, it is one write behind
    LOST       there is something, and none of it can be read: what was stored is gone
"""

# The newer sound generation is the truth. A write goes over the older one, so that whatever a power cut does to it, the
# other one stands. Versions rise by one: an odd version is stored as `name.b`, an even one as `name.a`. So each says
# which one the other must be, and a generation that is missing or was put back from a backup is noticed.
#
# After LOST the first write goes to both names, with versions above what the damaged ones seem to have. A medium may
# give back later what it could not read at boot; nothing old can then count as the newest. A version that a damaged
# head seems to have is believed only up to _SEEMING_MAX: a wild one would leave no versions above it.
#
# Format, big-endian: version u32, length u32, CRC-32 over both and the content, content (ADR 0007).

from __future__ import annotations

import struct
import zlib
from enum import Enum

from flight.core.errors import StorageError
from flight.core.future import Future
from flight.core.platform import Storage

_HEAD = struct.Struct(">III")
# A damaged head is believed up to here, which leaves more versions above it than a medium survives writes.
_SEEMING_MAX = 0x7FFFFFFF


class Presence(Enum):
    """What `load` found; see the head of this file."""

    NOTHING = "nothing was ever stored"
    WHOLE = "whole"
    ONE_LOST = "the other generation stands"
    LOST = "what was stored is gone"


class Generations:
    """One record called `name`, stored as `name.a` and `name.b`.

    After a load `found` is what has become of it, `fault` says so in words, empty if nothing is wrong, and `damaged`
    counts the generations that are there and cannot be used.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self.damaged = 0
        self.found = Presence.NOTHING
        self.fault = ""
        self._storage = storage
        self._names = (f"{name}.a", f"{name}.b")
        self._version = 0
        self._afresh = False  # nothing sound stands: the next write goes to both names

    def load(self) -> bytes | None:
        """Return the newest sound content, None if there is none."""
        return next(iter(self.load_all()), None)

    def load_all(self) -> list[bytes]:
        """Return every sound content, the newest first."""
        sound: list[tuple[int, bytes]] = []
        faults: list[str] = []
        seeming = 0
        for slot, name in enumerate(self._names):
            try:
                raw = self._storage.read(name)
            except StorageError:
                faults.append("unreadable")
                continue
            if raw is None:
                continue
            version, content = _parse(raw)
            if content is None:
                seeming = max(seeming, version)
                faults.append("damaged")
            elif version % 2 != slot:
                faults.append("not in its place")
            else:
                sound.append((version, content))
        sound.sort(reverse=True)
        self.damaged = len(faults)
        if sound:
            self._judge(faults, [version for version, _ in sound])
        elif faults:
            self.found = Presence.LOST
            what = "its only generation is" if len(faults) == 1 else "both generations are"
            self.fault = f"{what} {' and '.join(sorted(set(faults)))}: {Presence.LOST.value}"
        else:
            self.found, self.fault = Presence.NOTHING, ""
        self._version = sound[0][0] if sound else seeming
        self._afresh = self.found is Presence.LOST
        return [content for _, content in sound]

    def _judge(self, faults: list[str], versions: list[int]) -> None:
        """Say what has become of a record of which at least one generation is sound."""
        if len(versions) == 2 and versions[0] - versions[1] != 1:
            faults = ["of an earlier time"]  # two sound ones that never stood side by side
        elif len(versions) == 1 and not faults and versions[0] > 1:
            faults = ["gone"]  # only the very first version has no other beside it
        self.found = Presence.ONE_LOST if faults else Presence.WHOLE
        self.fault = f"one generation is {faults[0]}, {Presence.ONE_LOST.value}" if faults else ""

    def save(self, content: bytes) -> Future[None]:
        """Write the next generation; return a future that is done when it is durable. Raises StorageError."""
        self.stage(content)
        return self._storage.sync()

    def stage(self, content: bytes) -> None:
        """Write the next generation, durable with the next sync and never before what was written ahead of it.

        Raises StorageError; the generations are then as they were, but after LOST one of them may hold `content`.
        """
        self._write(content)
        if self._afresh:
            self._write(content)
            self._afresh = False

    def _write(self, content: bytes) -> None:
        version = self._version + 1
        self._storage.replace(self._names[version % 2], _build(version, content))
        # Only now: after a refused write the next one must still go over the older generation.
        self._version = version


def _build(version: int, content: bytes) -> bytes:
    crc = zlib.crc32(_HEAD.pack(version, len(content), 0) + content)
    return _HEAD.pack(version, len(content), crc) + content


def _parse(raw: bytes) -> tuple[int, bytes | None]:
    """Return version and content; if they are not sound, what seems to be the version, and None."""
    if len(raw) < _HEAD.size:
        return 0, None
    version, _, _ = _HEAD.unpack_from(raw)
    content = raw[_HEAD.size :]
    if version and _build(version, content) == raw:  # checks length and CRC at once
        return version, content
    return version if version <= _SEEMING_MAX else 0, None
