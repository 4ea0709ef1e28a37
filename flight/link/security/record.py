"""What link security keeps on storage, as octets: states, limits of numbers, and keys that were sent up, still wrapped.

Big-endian; version and checksum of the whole stand around it (`Generations`, ADR 0007):

    format 1 octet (=1)
    count 1, then per link: SPI 2 that carries up, 0 if none was chosen
    count 1, then per association: SPI 2, state 1, key id 2, procedure 1, flags 1, started 4, limit 12
    count 1, then per key: id 2, state 1, SPI 2 that it was given to, fingerprint 8
    count 2, then per fingerprint of a key that was destroyed and replaced: 8
    count 2, then per key that no keys file has any more: id 2, state 1, SPI 2 that it was given to, fingerprint 8
    count 1, then per upload: length 2, octets as they came
"""

# There is no bare key in it: keys of delivery are in the keys file, and those sent up are kept as they came, wrapped
# under the master key. So the record is worth nothing without the keys file.

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Self

from flight.core.errors import DecodeError
from flight.link.security.associations import SaState
from flight.link.security.keyring import FINGERPRINT_OCTETS, KEYS_MAX, MASTER_KEY_ID, KeyState

FORMAT = 1
LIMIT_OCTETS = 12
COUNT_MAX = 255
UPLOADS_MAX = KEYS_MAX
UPLOAD_OCTETS_MAX = 512
RETIRED_MAX = 512
ABSENT_MAX = 512
STARTED_MAX = 1 << 31
"""More starts than a mission commands; room is left above for those that come."""
_PROVEN, _LOST = 1, 2
_ASSOCIATION = struct.Struct(f">HBHBBI{LIMIT_OCTETS}s")
_KEY = struct.Struct(f">HBH{FINGERPRINT_OCTETS}s")


@dataclass(frozen=True, slots=True)
class StoredAssociation:
    """One association as stored. `limit` is that of its numbers."""

    spi: int
    state: SaState
    key_id: int
    procedure: int
    started: int
    limit: int
    proven: bool
    lost: bool


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One key as stored, without its octets."""

    key_id: int
    state: KeyState
    bound: int
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """All that is stored."""

    chosen: tuple[int, ...]
    associations: tuple[StoredAssociation, ...]
    keys: tuple[StoredKey, ...]
    retired: tuple[bytes, ...]
    absent: tuple[StoredKey, ...]
    uploads: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the octets at the head of this file."""
        parts = [bytes((FORMAT, len(self.chosen)))]
        parts += [spi.to_bytes(2, "big") for spi in self.chosen]
        parts.append(bytes((len(self.associations),)))
        parts += [
            _ASSOCIATION.pack(
                each.spi, each.state.value, each.key_id, each.procedure, each.proven * _PROVEN | each.lost * _LOST,
                each.started, each.limit.to_bytes(LIMIT_OCTETS, "big"),
            )
            for each in self.associations
        ]  # fmt: skip
        parts.append(bytes((len(self.keys),)))
        parts += map(_packed, self.keys)
        parts.append(len(self.retired).to_bytes(2, "big"))
        parts += self.retired
        parts.append(len(self.absent).to_bytes(2, "big"))
        parts += map(_packed, self.absent)
        parts.append(bytes((len(self.uploads),)))
        parts += [len(upload).to_bytes(2, "big") + upload for upload in self.uploads]
        return b"".join(parts)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Decode exactly `raw`; raises DecodeError if it is not what `encode` makes."""
        reader = _Reader(bytes(raw))
        if (form := reader.number(1)) != FORMAT:
            raise DecodeError(f"security record of format {form}, only {FORMAT} is known")
        chosen = tuple(reader.number(2) for _ in range(reader.number(1)))
        associations = tuple(_association(reader) for _ in range(reader.number(1)))
        keys = tuple(_key(reader) for _ in range(reader.count("keys", KEYS_MAX)))
        retired = tuple(reader.take(FINGERPRINT_OCTETS) for _ in range(reader.count("replaced keys", RETIRED_MAX, 2)))
        absent = tuple(_key(reader) for _ in range(reader.count("absent keys", ABSENT_MAX, 2)))
        uploads = tuple(
            reader.take(reader.count("octets of an upload", UPLOAD_OCTETS_MAX, 2))
            for _ in range(reader.count("uploads", UPLOADS_MAX))
        )
        reader.end()
        for what, given in (
            ("SPI", [each.spi for each in associations]), ("key", [each.key_id for each in keys]),
            ("fingerprint", [key.fingerprint for key in (*keys, *absent)]), ("replaced key", retired),
        ):  # fmt: skip
            if len(set(given)) < len(given):
                raise DecodeError(f"security record: the same {what} twice")
        return cls(chosen, associations, keys, retired, absent, uploads)


class _Reader:
    """Takes octets off the front."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, octets: int) -> bytes:
        end = self._at + octets
        if end > len(self._raw):
            raise DecodeError(f"security record ends at octet {len(self._raw)}, in the middle of a field")
        taken = self._raw[self._at : end]
        self._at = end
        return taken

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "big")

    def count(self, what: str, most: int, octets: int = 1) -> int:
        count = self.number(octets)
        if count > most:
            raise DecodeError(f"security record: {count} {what}, most are {most}")
        return count

    def end(self) -> None:
        if self._at != len(self._raw):
            raise DecodeError(f"security record: {len(self._raw) - self._at} octets behind its end")


def _packed(key: StoredKey) -> bytes:
    return _KEY.pack(key.key_id, key.state.value, key.bound, key.fingerprint)


def _association(reader: _Reader) -> StoredAssociation:
    spi, state, key_id, procedure, flags, started, limit = _ASSOCIATION.unpack(reader.take(_ASSOCIATION.size))
    if state > SaState.OPERATIONAL.value or flags > _PROVEN | _LOST:
        raise DecodeError(f"security record: SPI {spi} has state {state} and flags {flags}, which mean nothing")
    if key_id == MASTER_KEY_ID and state != SaState.UNKEYED.value:
        raise DecodeError(f"security record: SPI {spi} has the master key, which protects no frames")
    return StoredAssociation(
        spi, SaState(state), key_id, procedure, started, int.from_bytes(limit, "big"), bool(flags & _PROVEN),
        bool(flags & _LOST),
    )  # fmt: skip


def _key(reader: _Reader) -> StoredKey:
    key_id, state, bound, fingerprint = _KEY.unpack(reader.take(_KEY.size))
    if state > KeyState.DESTROYED.value:
        raise DecodeError(f"security record: key {key_id} has state {state}, which means nothing")
    if key_id == MASTER_KEY_ID and bound:
        raise DecodeError(f"security record: the master key is that of SPI {bound}, should be of none")
    return StoredKey(key_id, KeyState(state), bound, fingerprint)
