"""What the node must not forget: a durable map of text to octets, changed by transactions that are all or nothing.

    commit(changes) --> one record in a journal --sync--> done: survives power loss at any instant
    every so often  --> the whole map as a checkpoint of two generations; the journal before the older one goes

The map is held in memory and is small: accepted commands, the schedule, parameters, read pointers. If transactions were
lost, rows older than they may be out of date, since what was lost may have changed or deleted them. Such rows are kept
and given all the same, being the best there is. They are known as stale until they are written again, or until a boot
that finds a checkpoint made after the loss: so whoever acts on a row as if it still held asks `is_stale` at every boot.
"""

# Why one map (ADR 0012): a command's outcome and what it changed must be stored together or not at all. With a file per
# service these would be several writes, and a power cut could part them. A transaction is one journal record, so it is
# there whole or not at all.
#
# What a power cut leaves, by the instant at which it comes:
#
#     before `commit` is done     the transaction or nothing of it, and no part of it
#     after `commit` is done      the transaction
#     as a checkpoint is written  the generation before it, and the journal from that one on: everything is still there
#     before the journal is cut   journal that the checkpoint already holds, and that the next boot passes over
#
# At boot the map is the newest sound checkpoint with the later transactions of the journal laid over it in order. The
# journal is kept from the older checkpoint on, so that one damaged checkpoint costs nothing. A damaged stretch of the
# journal costs its own transactions; later ones still count.
#
# A checkpoint holds the map as it was when it was begun. It is encoded a slice with each transaction, so that no step
# takes long (ADR 0022), and written as one replacement once it is whole. If the journal is full before that, the whole
# map is written in one step, however long that takes: no transaction is taken until the journal has room again.

from __future__ import annotations

import struct
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from itertools import islice

from flight.core.errors import DecodeError, MisuseError, StorageError
from flight.core.future import Future
from flight.core.platform import Storage
from flight.store.generations import Generations, Presence
from flight.store.journal import Journal
from flight.store.journal_state import JournalStats

_NUMBER = struct.Struct(">Q")
_LENGTH = struct.Struct(">I")
_DELETED = 0xFFFFFFFF  # in place of a length
# A megabyte for commands, schedule, parameters and pointers, and room for the catalogue of files beside it: 2,000 rows
# of at most 349 octets (flight/store/files).
OCTETS_MAX = 1_700_000
KEY_OCTETS_MAX = 255  # its length is one octet of a record
_SEGMENT_OCTETS = 65536
_SEGMENTS_MAX = 32
# How much of a checkpoint is encoded with each transaction: _SLICE_OCTETS, and _SLICE_TIMES as many octets as the
# transaction has, so that large transactions cannot fill the journal before the checkpoint is done.
_SLICE_OCTETS = 32_768
_SLICE_TIMES = 8
_SLICE_ROWS = 64

Changes = Mapping[str, bytes | None]


class Vault:
    """The map called `name` on `storage`. Keys are at most 255 octets of UTF-8; None as a value deletes.

    octets_max: octets of keys and values held at most. checkpoint_octets: octets of journal written between two
    checkpoints. epoch: a random number for a new vault. `damage` says in words what was not sound at boot, empty if
    everything was. `found_nothing`: storage held nothing of this vault at all.
    """

    def __init__(
        self,
        storage: Storage,
        name: str = "vault",
        *,
        octets_max: int = OCTETS_MAX,
        checkpoint_octets: int = 131_072,
        epoch: int = 0,
    ) -> None:
        self.octets = 0
        self.commits = 0
        self.checkpoints = 0
        self.checkpoint_faults = 0
        self.damage: list[str] = []
        self._rows: dict[str, bytes] = {}
        self._stale: set[str] = set()
        self._keys: list[str] = []  # those of `_rows`, sorted, so that `rows` need not look at all of them
        self._begun: _Checkpoint | None = None
        self._octets_max = octets_max
        self._checkpoint_octets = checkpoint_octets
        self._storage = storage
        self._prefix = f"{name}."
        self._generations = Generations(storage, f"{name}.checkpoint")
        self._journal = Journal(
            storage, f"{name}.journal", segment_octets=_SEGMENT_OCTETS, segments_max=_SEGMENTS_MAX, epoch=epoch
        )
        self._covered = 0  # number of the first record that the newest stored checkpoint does not hold
        self._since_octets = 0
        self._crowded = False  # the journal refused: two checkpoints in a row empty it
        self._recover()
        self.found_nothing = self._journal.found_nothing and self._generations.found is Presence.NOTHING
        self._journal.begin()

    @property
    def epoch(self) -> int:
        """The random number drawn when this vault began."""
        return self._journal.epoch

    @property
    def stats(self) -> JournalStats:
        """What the journal has counted."""
        return self._journal.stats

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def get(self, key: str) -> bytes | None:
        """Return the value of the row, None if there is no such row."""
        return self._rows.get(key)

    def is_stale(self, key: str) -> bool:
        """Return whether a lost transaction may have changed or deleted the row, and nothing has written it since."""
        return key in self._stale

    def rows(self, prefix: str) -> list[tuple[str, bytes]]:
        """Return every key that starts with `prefix`, without the prefix, with its value; in order of keys."""
        cut, found = len(prefix), list[tuple[str, bytes]]()
        for at in range(bisect_left(self._keys, prefix), len(self._keys)):
            key = self._keys[at]
            if not key.startswith(prefix):
                break
            found.append((key[cut:], self._rows[key]))
        return found

    def stage(self, changes: Changes) -> None:
        """Make `changes`, durable together with whatever is synced next.

        Raises StorageError, with nothing changed, if the map or the storage is full or the storage does not write;
        MisuseError for a key that is too long.
        """
        grown = sum(self._grown(key, value) for key, value in changes.items())
        # A change that shrinks the map is always taken: it is the way out of a full one.
        if grown > 0 and self.octets + grown > self._octets_max:
            free = self._octets_max - self.octets
            raise StorageError(f"the vault is full, octets needed: {grown}, free: {free}")
        record = encode_changes(changes)
        if not self._journal.append(record):
            self._crowded = True
            self._checkpoint()  # the medium may take it by now, and then the next transaction finds room
            raise StorageError("the journal is full: no checkpoint could be written")
        self._since_octets += len(record)
        for key, value in changes.items():
            self._apply(key, value)
        if self._begun is None and self._since_octets >= self._checkpoint_octets:
            self._begin_checkpoint()
        if self._begun is not None and self._begun.encode(_SLICE_OCTETS + _SLICE_TIMES * len(record)):
            self._store_checkpoint(self._begun)

    def commit(self, changes: Changes) -> Future[None]:
        """Make `changes`; return a future that is done when all of them are durable. Raises as `stage` does."""
        self.stage(changes)
        self.commits += 1
        return self._storage.sync(self._prefix)  # its own names alone: a command does not wait for the recorder's data

    def _grown(self, key: str, value: bytes | None) -> int:
        before = self._rows.get(key)
        held = 0 if before is None else len(key) + len(before)
        return (0 if value is None else len(key) + len(value)) - held

    def _apply(self, key: str, value: bytes | None) -> None:
        self.octets += self._grown(key, value)
        self._stale.discard(key)
        if value is None:
            if self._rows.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]
        else:
            if key not in self._rows:
                insort(self._keys, key)
            self._rows[key] = value

    def _begin_checkpoint(self) -> None:
        self._since_octets = 0
        self._begun = _Checkpoint(self._journal.end, self._rows)  # another one that was under way is dropped

    def _checkpoint(self) -> None:
        """Store the whole map in one step: the journal takes nothing more before that is done."""
        self._begin_checkpoint()
        assert self._begun is not None
        self._begun.encode(None)
        self._store_checkpoint(self._begun)

    def _store_checkpoint(self, checkpoint: _Checkpoint) -> None:
        """Store what was encoded; once that is durable, give up the journal that the checkpoint before it holds."""
        self._begun = None
        covered, before = checkpoint.covered, self._covered

        def stored(synced: Future[None]) -> None:
            try:
                synced.result()
                # Up to the older checkpoint alone: if the new one is damaged, the older one needs what follows it.
                self._journal.drop_before(before)
            except StorageError:
                self.checkpoint_faults += 1
                return
            self.checkpoints += 1
            self._covered = covered
            # One checkpoint frees the journal up to the one before it. A second one in a row frees the rest.
            self._crowded = self._crowded and before < covered
            if self._crowded:
                self._checkpoint()

        try:
            self._generations.save(_NUMBER.pack(covered) + checkpoint.content()).add_callback(stored)
        except StorageError:
            self.checkpoint_faults += 1

    def _recover(self) -> None:
        checkpoints = self._generations.load_all()
        for content in checkpoints:
            try:
                (covered,) = _NUMBER.unpack_from(content)
                self._take(content[_NUMBER.size :])
            except (DecodeError, struct.error):
                self.damage.append("a checkpoint is of another format and was left out")
                continue
            self._covered = covered
            break
        if self._generations.fault:
            self.damage.append(f"checkpoint: {self._generations.fault}")
        self._replay()
        # If the journal has lost its end, it must not give out numbers again that the checkpoint already covers.
        self._journal.skip_to(self._covered)

    def _replay(self) -> None:
        """Lay the journal's transactions over the checkpoint, and note which of them are missing."""
        journal, expected = self._journal, self._covered
        for number, record in journal.read(expected):
            if number > expected:  # a transaction ahead of this one is gone: all rows so far may be out of date
                self._stale.update(self._rows)
            expected = number + 1
            self._since_octets += len(record)
            try:
                self._take(record)
            except DecodeError as error:
                self.damage.append(str(error))
                self._stale.update(self._rows)
        stats = journal.stats
        missing = stats.missing + (max(0, journal.first - self._covered) if journal.segments else 0)
        if missing:
            self.damage.append(f"transactions of the journal that are missing or unreadable: {missing}")
        if stats.spoilt:
            self.damage.append("the newest transactions of the journal were unreadable")
        self.damage += [f"journal: {damage}" for damage in journal.damage()]
        if expected < journal.end:
            self._stale.update(self._rows)
        # Without a loss found by this boot, an earlier boot has reported these rows.
        if self._stale and (missing or stats.spoilt or journal.cut):
            self.damage.append(
                f"rows older than the lost transactions, which may have changed or deleted them: {len(self._stale)}"
            )

    def _take(self, record: bytes) -> None:
        for key, value in list(decode_changes(record)):  # all of it first: a record is laid over whole or not at all
            self._apply(key, value)


class _Checkpoint:
    """The map of one instant, on its way to the disk. `covered`: number of the first record that it does not hold."""

    def __init__(self, covered: int, rows: dict[str, bytes]) -> None:
        self.covered = covered
        self._rows = iter(tuple(rows.items()))  # a copy of references: values are octets, which nobody changes
        self._parts: list[bytes] = []

    def encode(self, octets: int | None) -> bool:
        """Encode rows of about that many octets, all rows if it is None; return True when all are encoded."""
        while octets is None or octets > 0:
            part = dict(islice(self._rows, _SLICE_ROWS))
            if not part:
                return True
            self._parts.append(encode_changes(part))
            if octets is not None:
                octets -= len(self._parts[-1])
        return False

    def content(self) -> bytes:
        """Return all that was encoded."""
        return b"".join(self._parts)


def encode_changes(changes: Changes) -> bytes:
    """Return the record of a transaction. Raises MisuseError for a key of more than KEY_OCTETS_MAX octets."""
    parts: list[bytes] = []
    for key, value in changes.items():
        name = key.encode()
        if len(name) > KEY_OCTETS_MAX:
            raise MisuseError(f"vault key of {len(name)} octets, {KEY_OCTETS_MAX} at most")
        length = _DELETED if value is None else len(value)
        parts += (bytes((len(name),)), name, _LENGTH.pack(length), value or b"")
    return b"".join(parts)


def decode_changes(record: bytes) -> Iterator[tuple[str, bytes | None]]:
    """Yield the changes of a transaction. Raises DecodeError if `record` is not one."""
    at = 0
    while at < len(record):
        end = at + 1 + record[at]
        if end + _LENGTH.size > len(record):
            raise DecodeError(f"transaction of {len(record)} octets ends in a key at octet {at}")
        (length,) = _LENGTH.unpack_from(record, end)
        start = end + _LENGTH.size
        octets = 0 if length == _DELETED else length
        if start + octets > len(record):
            raise DecodeError(f"transaction of {len(record)} octets ends in a value at octet {start}")
        try:
            key = record[at + 1 : end].decode()
        except UnicodeDecodeError:
            raise DecodeError(f"transaction with a key that is not UTF-8 at octet {at}") from None
        yield key, None if length == _DELETED else record[start : start + octets]
        at = start + octets
