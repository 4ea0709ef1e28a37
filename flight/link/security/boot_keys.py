"""The keys of one end after a boot: those of its keys file and those sent up, in the states that they are in."""

# Octets come from the keys file, or from uploads in the record. States:
#
#     node      by the record. The file on the board is as it was delivered
#     ground    the later one of what record and file say: a key goes through its states in one order only, and the file
#               is written at each step of a change. So the record may be older than the file, or the file than it
#
# A key that the record knows and that nothing has octets for is absent: its keys file was exchanged. It is remembered,
# and comes back with its file as it was. But on the node one that was active and carried nothing comes back as
# deactivated: a change of key was cut before it was started, or after it was stopped, so that the ground need not have
# it in operation, and the node must not send by it.
#
# Nothing but the record has the octets of what was sent up. So uploads under the master key of another file are kept
# while that file is away, as long as there is room (management.py), or what it comes back to would be the keys of
# delivery, which are destroyed by then.

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

from flight.core.errors import DecodeError
from flight.link.security.associations import End, SaState
from flight.link.security.keyring import KEYS_MAX, MASTER_KEY_ID, SPIS_PER_LINK, Key, Keyring, KeyState, KeyUse, age
from flight.link.security.procedures import unwrap_keys
from flight.link.security.record import ABSENT_MAX, RETIRED_MAX, Record, StoredKey


@dataclass(frozen=True, slots=True)
class Upload:
    """Keys that were sent up, as they came, and the fingerprints of those in it."""

    value: bytes
    fingerprints: frozenset[bytes]


def retire(retired: list[bytes], fingerprint: bytes, kept: Container[bytes]) -> None:
    """Remember a key that gave its place to another one, RETIRED_MAX of them. Those in `kept` are never forgotten."""
    retired.append(fingerprint)
    if len(retired) > RETIRED_MAX:
        oldest = next((each for each in retired if each not in kept), None)
        if oldest is not None:
            retired.remove(oldest)


class BootKeys:
    """What the keys of an end are by its keys file and its record, if there is one.

    `fresh` has the ids of keys in the file that the record does not know, `by_file` the states that the file says, by
    fingerprint; a key is `in` this if the file has it.
    """

    def __init__(self, end: End, delivered: Keyring, record: Record | None) -> None:
        self.faults: list[str] = []
        self.keyring = delivered.copy()
        self.retired: list[bytes] = []
        self.absent: dict[bytes, StoredKey] = {}  # by fingerprint, keys that no file has any more
        self.uploads: list[Upload] = []
        self.fresh: set[int] = set()
        self.by_file = {key.fingerprint: key.state for key in delivered}
        self._end = end
        self._newest: dict[tuple[int, KeyUse | None], tuple[str, int]] = {}
        for key in delivered:
            if key.state is KeyState.ACTIVE:
                self._newest[_place(key)] = max(age(key), self._newest.get(_place(key), ("", 0)))
        if record:
            self._load(delivered, record)

    def __contains__(self, key: Key) -> bool:
        return key.fingerprint in self.by_file

    def is_active(self, key: Key) -> bool:
        """Return whether a key is active by the file."""
        return self.by_file.get(key.fingerprint) is KeyState.ACTIVE

    def waits(self, key: Key) -> bool:
        """Return whether a key is not active yet by the file."""
        return self.by_file.get(key.fingerprint) is KeyState.PRE_ACTIVATION

    def carries(self, key: Key) -> bool:
        """Return whether a key is the newest that is active by the file, for its direction of its link."""
        return self.is_active(key) and age(key) == self._newest.get(_place(key))

    def _load(self, delivered: Keyring, record: Record) -> None:
        sent_up = list(self._unwrap(delivered.get(MASTER_KEY_ID), record))
        available = {key.fingerprint: key for key in (*sent_up, *delivered)}  # the file says more of a key
        self.retired = list(record.retired)
        self.absent = {stored.fingerprint: stored for stored in record.absent}
        loaded: dict[int, Key] = {}
        in_use = {(each.key_id, each.spi) for each in record.associations if each.state is SaState.OPERATIONAL}
        for stored in record.keys:
            key = available.get(stored.fingerprint)
            if stored.state is KeyState.DESTROYED:
                loaded[stored.key_id] = Key.destroyed(stored.key_id, stored.fingerprint, stored.bound)
                for copy in (*sent_up, *delivered):
                    if copy.fingerprint == stored.fingerprint:
                        copy.wipe()
            elif key:
                key.key_id, key.state, key.bound = stored.key_id, self._state_of(stored), stored.bound
                loaded[stored.key_id] = key
            else:
                self.faults.append(f"key {stored.key_id} of the record is not in the keys file")
                is_in_use = stored.key_id == MASTER_KEY_ID or (stored.key_id, stored.bound) in in_use
                if self._end is End.NODE and stored.state is KeyState.ACTIVE and not is_in_use:
                    stored = replace(stored, state=KeyState.DEACTIVATED)
                self.absent[stored.fingerprint] = stored
        known = {stored.fingerprint for stored in record.keys} | set(record.retired)
        came_back = [key for key in sent_up if key.fingerprint in self.absent.keys() - self.by_file.keys()]
        for key in (*delivered, *came_back):
            if key.fingerprint not in known:
                self._add(key, loaded)
        if len(self.absent) > ABSENT_MAX:
            self.faults.append(f"more than {ABSENT_MAX} keys of former keys files: the oldest are forgotten")
            for fingerprint in list(self.absent)[:-ABSENT_MAX]:
                del self.absent[fingerprint]
        self.keyring = Keyring(loaded.values(), delivered.simulated)

    def _unwrap(self, master: Key | None, record: Record) -> Iterator[Key]:
        """Yield the keys that were sent up."""
        strange = 0
        for value in record.uploads:
            try:
                bare = unwrap_keys(master.octets, value) if master else []
            except DecodeError:
                bare = []
            strange += not bare
            keys = [Key(key_id, KeyState.PRE_ACTIVATION, octets) for key_id, octets in bare]
            self.uploads.append(Upload(value, frozenset(key.fingerprint for key in keys)))
            yield from keys
        if strange and strange == len(record.uploads):
            # They are kept, since the keys file of before may come back. Who sends keys up by this one means it.
            self.faults.append("keys that were sent up are not wrapped under the master key of the keys file")

    def _state_of(self, stored: StoredKey) -> KeyState:
        """Return the state of a key of the record: on the ground the later one of what record and file say."""
        by_file = self.by_file.get(stored.fingerprint, stored.state)
        later = self._end is End.GROUND and by_file.value > stored.state.value
        return by_file if later else stored.state

    def _add(self, key: Key, loaded: dict[int, Key]) -> None:
        """Take a key that the record does not have, if there is a place for it."""
        holder = loaded.get(key.key_id)
        if holder is None and len(loaded) >= KEYS_MAX:
            holder = next((each for each in loaded.values() if each.state is KeyState.DESTROYED), None)
            if holder is None:
                self.faults.append(f"no room for key {key.key_id} of the keys file, most are {KEYS_MAX}")
                return
        if holder is not None:
            gives_place = self._end is End.GROUND and key.fingerprint in self.by_file
            if holder.state is not KeyState.DESTROYED and not gives_place:
                self.faults.append(f"key {key.key_id} of the keys file has the id of a key that was sent up")
                return
            # A key that was destroyed gives its place, and is remembered all the same. On the ground one that came over
            # the air gives it too: the file has all that carry, so that the record is older.
            del loaded[holder.key_id]
            retire(self.retired, holder.fingerprint, self.by_file)
        if stored := self.absent.pop(key.fingerprint, None):  # it comes back as it was, but without its numbers
            key.state, key.bound = self._state_of(stored), stored.bound
        loaded[key.key_id] = key
        self.fresh.add(key.key_id)


def _place(key: Key) -> tuple[int, KeyUse | None]:
    """Return the link and the direction of a key of the file."""
    return (key.spi or key.key_id) // SPIS_PER_LINK, key.use
