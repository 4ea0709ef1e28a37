"""The folder of transfers under way: what came of each file so far, copies of those that go up, and their records.

Edge code. Whatever kills the process, at any instant: each transfer that was recorded is found again, with the octets
that its record names, and nothing else is left behind.

    down-SOURCE-NUMBER.data      octets of a file that comes down, at their places
    up-COUNT.data                a copy of a file that goes up
    down-... .record, up-... .record    what is needed to go on with it
    ended.record                 transactions that have ended, so that what comes late of them is known
"""

# Names here are made of numbers alone, so nothing that comes from space can name a file.
#
# Order, on which everything rests: octets first, then the record that speaks of them; and at the end of a transfer the
# record first, then its octets. So a record may be older than the octets, never newer, and octets without a record
# belong to nobody. The start deletes those, together with rough files that a killed process left.
#
# Why a file that goes up is copied: a transfer may take days of short passes, and must send what was meant when it was
# asked for. The file itself may be edited, moved or deleted meanwhile, and then a transfer that had promised to arrive
# could only fail. A copy costs disk, of which a ground has plenty. It is made in steps, so that a file of gigabytes
# does not keep its caller from anything else, and a file that changes meanwhile is refused.
#
# A record of this folder is our facts of a transfer, as JSON on one line, and what the CFDP entity wants to remember:
#
#     "orbitnode transfer 1\n" | CRC-32 of the rest 4 | facts | "\n" | the entity's record
#
# `durable` False leaves out every sync: then a kill loses nothing and a power cut may. A simulated ground needs no more
# (its folder is as lost as the run), and a test is quicker.

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flight.core.errors import OrbitnodeError, reason_of
from flight.linux.disk.durable_file import replace_file, sync_folder
from ground.files.working_file import FolderFault, WorkingFile, told

DATA, RECORD, ROUGH = ".data", ".record", ".rough"
ENDED = "ended"
PROBE = "probe.record"
RESERVE_OCTETS = 64 << 20  # of the disk, that no file may take: archive and records must go on
COPY_OCTETS = 1 << 20  # of a file that goes up, copied per step
_MAGIC = b"orbitnode transfer 1\n"
_KEY = re.compile(r"(down-\d+-\d+|up-(\d+)|ended|probe)")
_MODE = 0o644


@dataclass(frozen=True, slots=True)
class StoredTransfer:
    """A transfer that an earlier process left: our own facts of it, and the record of the CFDP entity."""

    key: str
    facts: dict[str, Any]
    record: bytes


class TransferFolder:
    """The folder `path`, created if it is not there. Raises OrbitnodeError if it cannot be used.

    One process at a time may have it: the ground holds the folder around it (ground/cli/ground.py).
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self.path = path
        self.faults: list[str] = []  # what was found here that could not be used
        self._durable = durable
        self._syncs = ThreadPoolExecutor(1, "transfers-sync") if durable else None
        self._up_count = 0
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._stored = self._sweep()
            self._replace(PROBE, b"")  # finds a folder that cannot be written before a file comes
            (path / PROBE).unlink()
        except OSError as error:
            raise OrbitnodeError(f"folder of transfers {path} cannot be used: {reason_of(error)}") from None

    def take_stored(self) -> list[StoredTransfer]:
        """Return the transfers that were found here, once: they are their taker's from then on."""
        stored, self._stored = self._stored, []
        return stored

    def is_on_disk_of(self, folder: Path) -> bool:
        """Return whether a file of this folder may get a name in the other one without being copied."""
        return self.path.stat().st_dev == folder.stat().st_dev

    @property
    def free_octets(self) -> int:
        """What files may take of the disk; the reserve is not counted."""
        try:
            state = os.statvfs(self.path)
        except OSError:
            return 0
        return max(0, state.f_bavail * state.f_frsize - RESERVE_OCTETS)

    def working(self, key: str) -> WorkingFile:
        """Return the file with the octets of that transfer; it is made when something is written."""
        return WorkingFile(self.path / (key + DATA), self._syncs)

    def has_octets(self, key: str) -> bool:
        """Return whether there is a file with octets of that transfer."""
        return (self.path / (key + DATA)).is_file()

    def save(self, key: str, facts: dict[str, Any], record: bytes) -> None:
        """Record a transfer; its octets must be synced before. Raises FolderFault."""
        self._save(key, json.dumps(facts, sort_keys=True).encode() + b"\n" + record)

    def forget(self, key: str) -> None:
        """Delete a transfer: its record, then its octets. What cannot be deleted is left to the next start."""
        for suffix in (RECORD, DATA):
            with suppress(OSError):
                (self.path / (key + suffix)).unlink(missing_ok=True)

    def forget_octets(self, key: str) -> None:
        """Delete the octets of a transfer whose record no longer speaks of them."""
        with suppress(OSError):
            (self.path / (key + DATA)).unlink(missing_ok=True)

    def save_ended(self, record: bytes) -> None:
        """Record the transactions that have ended. Raises FolderFault."""
        self._save(ENDED, b"{}\n" + record)

    def ended(self) -> bytes | None:
        """Return the record of the transactions that have ended, None if there is none that can be used."""
        try:
            return self._read(ENDED)[1]
        except (OSError, ValueError):
            return None

    def copy(self, local: Path) -> SourceCopy:
        """Begin to copy a file that is to go up. Raises OrbitnodeError if that cannot be."""
        return SourceCopy(self, self.new_key(), local)

    def new_key(self) -> str:
        """Return a key for a transfer that goes up."""
        self._up_count += 1
        return f"up-{self._up_count}"

    def keep(self, content: bytes) -> str:
        """Keep octets that are to go up; return the key of their transfer. Raises FolderFault."""
        key = self.new_key()
        working = self.working(key)
        try:
            with told(working.path, "written"):
                working.path.touch(exist_ok=False)
            working.write(0, content)
            working.sync()
        except FolderFault:
            self.forget(key)
            raise
        finally:
            working.close()
        return key

    def remove(self) -> None:
        """Delete the folder, with all transfers: nobody goes on with them."""
        with suppress(OSError):
            shutil.rmtree(self.path)

    def _save(self, key: str, rest: bytes) -> None:
        with told(self.path / (key + RECORD), "written"):
            self._replace(key + RECORD, _MAGIC + zlib.crc32(rest).to_bytes(4, "big") + rest)

    def _read(self, key: str) -> tuple[dict[str, Any], bytes]:
        """Return facts and record. Raises OSError, and ValueError for a file that is not one of ours."""
        raw = (self.path / (key + RECORD)).read_bytes()
        rest = raw[len(_MAGIC) + 4 :]
        if raw[: len(_MAGIC)] != _MAGIC or zlib.crc32(rest) != int.from_bytes(raw[len(_MAGIC) :][:4], "big"):
            raise ValueError("is damaged")
        facts, _, record = rest.partition(b"\n")
        known = json.loads(facts)
        if not isinstance(known, dict):
            raise ValueError("is damaged")
        return known, record

    def _replace(self, name: str, content: bytes) -> None:
        target, rough = self.path / name, self.path / (name.removesuffix(RECORD) + ROUGH)
        if self._durable:
            replace_file(target, content, rough, _MODE)
            return
        try:
            rough.write_bytes(content)
            rough.replace(target)
        except OSError:
            rough.unlink(missing_ok=True)
            raise

    def sync_names_of(self, folder: Path) -> None:
        """Make durable which files there are in a folder that one of ours got a name in. Raises FolderFault."""
        if self._durable:
            with told(folder, "written"):
                sync_folder(folder)

    def _sweep(self) -> list[StoredTransfer]:
        """Delete what belongs to nobody; return what was recorded, in a fixed order."""
        stored: list[StoredTransfer] = []
        names = sorted(path.name for path in self.path.iterdir())
        for name in names:
            key, dot, suffix = name.partition(".")
            known = _KEY.fullmatch(key)
            if known is None or name == ENDED + RECORD:
                continue  # not ours, and left alone; or read elsewhere
            if name == PROBE:
                (self.path / name).unlink()
                continue
            if known[2]:
                self._up_count = max(self._up_count, int(known[2]))
            if dot + suffix == RECORD:
                try:
                    stored.append(StoredTransfer(key, *self._read(key)))
                except (OSError, ValueError) as error:
                    text = reason_of(error) if isinstance(error, OSError) else "it is damaged"
                    self.faults.append(f"transfer {key} is not gone on with: its record cannot be read: {text}")
                    self.forget(key)
            elif dot + suffix == ROUGH or (dot + suffix == DATA and key + RECORD not in names):
                with suppress(OSError):
                    (self.path / name).unlink()
        return stored


class SourceCopy:
    """A file that is to go up, copied in steps. `octets` and `digest` (SHA-256) are those of what was copied so far.

    May be stepped in a thread of its own: nothing else uses it meanwhile. Raises OrbitnodeError.
    """

    def __init__(self, folder: TransferFolder, key: str, local: Path) -> None:
        self.key = key
        self.octets = 0
        self._folder = folder
        self._local = local
        self._digest = hashlib.sha256()
        self._working = folder.working(key)
        self._source = -1  # not open
        try:
            # A pipe must not block, and is refused below, as is all else that is not a plain file.
            self._source = os.open(local, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise OrbitnodeError(f"{local} cannot be read: {reason_of(error)}") from None
        try:
            self._state = os.fstat(self._source)
            if not stat.S_ISREG(self._state.st_mode):
                raise OrbitnodeError(f"{local} cannot be sent: it is not a file")
            if self._state.st_size > folder.free_octets:
                raise FolderFault(
                    f"no room for a copy of {local}: it has {self._state.st_size:,} octets, and {folder.path} may take "
                    f"{folder.free_octets:,} more", is_full=True,
                )  # fmt: skip
            with told(self._working.path, "written"):
                self._working.path.touch(exist_ok=False)
        except OrbitnodeError:
            self.abandon()
            raise

    @property
    def digest(self) -> str:
        """SHA-256 of what was copied, hexadecimal."""
        return self._digest.hexdigest()

    def step(self) -> bool:
        """Copy a little more; return whether there is more to copy."""
        try:
            try:
                octets = os.pread(self._source, COPY_OCTETS, self.octets)
            except OSError as error:
                raise OrbitnodeError(f"{self._local} cannot be read: {reason_of(error)}") from None
            if octets:
                self._digest.update(octets)
                self._working.write(self.octets, octets)
                self.octets += len(octets)
                return True
            state = os.fstat(self._source)
            same = ("st_size", "st_mtime_ns", "st_ino")
            if any(getattr(state, name) != getattr(self._state, name) for name in same) or self.octets != state.st_size:
                raise OrbitnodeError(f"{self._local} was changed while it was copied; send it again when it is whole")
            self._working.sync()
        except OrbitnodeError:
            self.abandon()
            raise
        self._close()
        return False

    def abandon(self) -> None:
        """Give the copy up and delete it."""
        self._close()
        self._folder.forget(self.key)

    def _close(self) -> None:
        self._working.close()
        source, self._source = self._source, -1
        if source >= 0:
            os.close(source)
