"""The keys of a mission's links. keys_text.py has the text of a keys file.

No octet of a key is in any `repr`, `str`, message or log: what is said of a key is its id, its state, and a fingerprint
that does not lead back to it.
"""

# A key is 32 octets for AES-256. Id 0 is the master key: it wraps other keys on their way up and protects no frame.
# Ids 1 to 65535 are session keys, each of one security association, that is, of one link and one direction.
#
# States are those of 355.1-B-1, and a key goes through them in this order only:
#
#   pre-activation   known, and not used until an activation
#   active           protects and verifies frames
#   deactivated      not used any more; its octets are still there
#   destroyed        its octets are overwritten
#
# Where a key belongs follows from the number of its association (SPI), which follows from the place of its link in the
# mission, counted from 0:
#
#   16 * link + 1, + 2   up, A and B
#   16 * link + 3, + 4   down, A and B
#   16 * link + 5        down, for a node that cannot store numbers
#
# A key is for one association for ever: two that shared a key would use the same numbers with it. At delivery every
# association has one, whose id is the SPI. Those of B wait for the first change of keys.
#
# Python copies octets as it likes: a text that was read, and what a cipher keeps, cannot be overwritten. `wipe` clears
# the one copy that stays for as long as the node runs.

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Protocol

from flight.link.security.suites import KEY_OCTETS
from flight.text.plural import plural

MASTER_KEY_ID = 0
KEY_ID_MAX = 65535  # 16 bits in every procedure of 355.1
KEYS_MAX = 96  # of one ring, master key included: bounds the file and the record
FINGERPRINT_OCTETS = 8
SPIS_PER_LINK = 16
CREATED_FORMAT = "%Y-%m-%dT%H:%M:%SZ"  # of a key's `created`, UTC; its order is that of time
LINKS_MAX = 16

_SIMULATED_SALT = b"orbitnode keys of a simulation"


class KeyState(Enum):
    """The states at the head of this file; numbers as in a key inventory of 355.1-B-1."""

    PRE_ACTIVATION = 0
    ACTIVE = 1
    DEACTIVATED = 2
    DESTROYED = 3

    @property
    def text(self) -> str:
        """The state as people and keys files have it."""
        return self.name.lower().replace("_", "-")


class KeyUse(Enum):
    """What a key is for."""

    MASTER = "master"  # wraps keys on their way up
    UP = "up"  # telecommand frames
    DOWN = "down"  # telemetry frames
    VOLATILE = "volatile"  # telemetry frames of a node that cannot store numbers


USES = {1: KeyUse.UP, 2: KeyUse.UP, 3: KeyUse.DOWN, 4: KeyUse.DOWN, 5: KeyUse.VOLATILE}
PLACES_OF_B = (2, 4)
"""Of B, up and down, among the associations of a link: their keys wait for the first change."""


def use_of(spi: int) -> KeyUse | None:
    """Return what the association with that SPI is for; None if no link has such an association."""
    return USES.get(spi % SPIS_PER_LINK) if 0 <= spi < LINKS_MAX * SPIS_PER_LINK else None


class Key:
    """One key: its octets, of which it has a copy, its state, and the SPI of the association that it was given to.

    bound: that SPI, 0 if it was given to none yet. spi: the one that the keys file says it is for, 0 if it came over
    the air. created: UTC as `2026-03-20T10:00:00Z`, empty if not known. fingerprint: octets by which keys are compared,
    which do not lead back to the key. Two keys are equal only if they are the same object.
    """

    __slots__ = ("bound", "created", "fingerprint", "key_id", "octets", "spi", "state")

    def __init__(
        self, key_id: int, state: KeyState, octets: bytes | bytearray, bound: int = 0, *, spi: int = 0,
        created: str = "",
    ) -> None:  # fmt: skip
        assert 0 <= key_id <= KEY_ID_MAX, key_id
        assert len(octets) == KEY_OCTETS, len(octets)
        self.key_id = key_id
        self.state = state
        self.octets = bytearray(octets)
        self.bound = bound
        self.spi = spi
        self.created = created
        self.fingerprint = self.derived(b"fingerprint")[:FINGERPRINT_OCTETS]

    @property
    def use(self) -> KeyUse | None:
        """What it is for; None for a session key that has no association, and whose id is not that of one."""
        return KeyUse.MASTER if self.key_id == MASTER_KEY_ID else use_of(self.spi or self.key_id)

    def derived(self, purpose: bytes) -> bytes:
        """Return 32 octets that only this key gives, and that do not lead back to it."""
        return hmac.digest(self.octets, b"orbitnode " + purpose, "sha256")

    def changed(self, state: KeyState | None = None, bound: int | None = None) -> Key:
        """Return this key in another state or bound; both have the same octets, so that to wipe one wipes both."""
        key = object.__new__(Key)
        key.key_id, key.octets, key.fingerprint = self.key_id, self.octets, self.fingerprint
        key.spi, key.created = self.spi, self.created
        key.state = self.state if state is None else state
        key.bound = self.bound if bound is None else bound
        return key

    @classmethod
    def destroyed(cls, key_id: int, fingerprint: bytes, bound: int) -> Key:
        """Return what is left of a key that was destroyed: id, fingerprint, and octets that are all zero."""
        key = cls(key_id, KeyState.DESTROYED, bytes(KEY_OCTETS), bound)
        key.fingerprint = fingerprint
        return key

    def wipe(self) -> None:
        """Overwrite the octets."""
        self.octets[:] = bytes(len(self.octets))

    def __repr__(self) -> str:
        return f"Key({self.key_id}, {self.state.name})"


def age(key: Key) -> tuple[str, int]:
    """Return what the keys of a file are ordered by, the newest last."""
    return key.created, key.key_id


class Keyring:
    """Keys by id, up to 96, and whose they are. Iterates over the keys in the order of their ids.

    `simulated`: derived from the seed of a simulation, so that everybody can know them.
    """

    def __init__(
        self, keys: Iterable[Key] = (), simulated: bool = False, *, node: str = "", spacecraft_id: int = 0
    ) -> None:
        self.simulated = simulated
        self.node = node
        self.spacecraft_id = spacecraft_id
        self._keys: dict[int, Key] = {}
        for key in keys:
            assert key.key_id not in self._keys, key
            self._keys[key.key_id] = key
        assert len(self._keys) <= KEYS_MAX, len(self._keys)

    def get(self, key_id: int) -> Key | None:
        """Return the key of this id, or None."""
        return self._keys.get(key_id)

    def put(self, key: Key) -> None:
        """Take `key`, in place of the one with its id if there is one. The caller has looked that there is room."""
        self._keys[key.key_id] = key
        assert len(self._keys) <= KEYS_MAX, len(self._keys)

    def drop(self, key_id: int) -> None:
        """Wipe the key of this id and forget it; nothing if there is none."""
        key = self._keys.pop(key_id, None)
        if key is not None:
            key.wipe()

    def fault_of(self, octets: bytes | bytearray) -> str:
        """Say what is wrong with these octets for a further key, "" if nothing is."""
        if not any(octets):
            return "is all zeros, should be random"
        held = [key for key in self if key.state is not KeyState.DESTROYED]
        # compare_digest: how long this takes says nothing of how many octets agree.
        equal = [key.key_id for key in held if hmac.compare_digest(key.octets, octets)]
        return f"is the same as key {equal[0]}, every key should have octets of its own" if equal else ""

    def copy(self) -> Keyring:
        """Return a ring of its own with the same keys."""
        return Keyring(self._keys.values(), self.simulated, node=self.node, spacecraft_id=self.spacecraft_id)

    def wipe(self) -> None:
        """Overwrite the octets of all keys."""
        for key in self._keys.values():
            key.wipe()

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Key]:
        return iter([self._keys[key_id] for key_id in sorted(self._keys)])

    def __repr__(self) -> str:
        simulated = ", simulated" if self.simulated else ""
        return f"Keyring({len(self._keys)} {plural(len(self._keys), 'key')} of {self.node!r}{simulated})"


class ProtectedLink(Protocol):
    """What is asked of a link here: whether a direction is protected, or clear (None)."""

    @property
    def name(self) -> str:
        """The link's name in the mission."""

    @property
    def up(self) -> object | None:
        """How frames on the way up are protected."""

    @property
    def down(self) -> object | None:
        """How frames on the way down are protected."""


def delivered_keys(
    links: Sequence[ProtectedLink], make: Callable[[int], bytes], simulated: bool = False, *, node: str = "",
    spacecraft_id: int = 0, created: str = "",
) -> Keyring:  # fmt: skip
    """Return the keys that a mission is delivered with: the master key, and one for each association, by its SPI.

    links: all links of the mission, in its order, 16 at most. make: gives the 32 octets of the key with that id. Those
    of A and volatile are active, those of B wait.
    """
    ring = Keyring((), simulated, node=node, spacecraft_id=spacecraft_id)
    ring.put(Key(MASTER_KEY_ID, KeyState.ACTIVE, make(MASTER_KEY_ID), created=created))
    for spi in delivered_spis(links):
        state = KeyState.PRE_ACTIVATION if spi % SPIS_PER_LINK in PLACES_OF_B else KeyState.ACTIVE
        ring.put(Key(spi, state, make(spi), spi=spi, created=created))
    return ring


def delivered_spis(links: Sequence[ProtectedLink]) -> tuple[int, ...]:
    """Return the SPIs of all associations of these links; the key of each has its number as id at delivery."""
    assert len(links) <= LINKS_MAX, len(links)
    return tuple(
        SPIS_PER_LINK * i + offset
        for i, link in enumerate(links)
        for offset, use in USES.items()
        if (link.up if use is KeyUse.UP else link.down) is not None
    )


def simulated_keys(seed: int, links: Sequence[ProtectedLink], node: str = "", spacecraft_id: int = 0) -> Keyring:
    """Return the keys that a simulation with this seed flies with, marked as simulated. They protect nothing.

    HKDF with SHA-256 (RFC 5869): nodes that differ in name or spacecraft id have different keys from one seed.
    """
    secret = hmac.digest(_SIMULATED_SALT, str(seed).encode(), "sha256")

    def make(key_id: int) -> bytes:
        about = f"{node}/{spacecraft_id}/{key_id}".encode("utf-8", "backslashreplace")
        return hmac.digest(secret, about + b"\x01", "sha256")  # the first block of HKDF's expansion is 32 octets

    return delivered_keys(links, make, True, node=node, spacecraft_id=spacecraft_id)
