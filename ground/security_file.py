"""The ground's record of link security: which numbers were used, and which keys were changed, beside the keys file.

Edge code.
"""

# The record (flight/link/security/link_security.py) must be durable before a number that it covers is used, and it must
# never go back: a number used twice under one key may give away what it protects. So it is written whole or not at all
# (flight/linux/disk/durable_file.py): a loss of power leaves the old record or the new one.
#
# It stands beside the keys file and not in the ground's folder, because it belongs to the keys: a folder is deleted to
# begin with an empty archive, and the numbers must go on all the same. A lock keeps a second ground from counting with
# the same keys. The kernel releases it when the process ends, however that happens.
#
# What is found at start: nothing (the keys were never used here, or the record was deleted), a whole record, or octets
# that are none. In the last case, and in the first one as well, LinkSecurity goes on from the clock.

from __future__ import annotations

import fcntl
import os
import time
import zlib
from contextlib import suppress
from pathlib import Path

from flight.core.errors import SetupError, StorageError, reason_of
from flight.linux.disk.durable_file import replace_file, sync_folder

SUFFIX = ".numbers"
_MAGIC = b"orbitnode numbers 1\n"
_CRC_OCTETS = 4
_OCTETS_MAX = 1 << 20
SLOW_SHARE, SLOW_S = 0.02, 1.0
"""Writes that take more of a second than this are too many: whatever else the ground does waits for them."""


class SecurityFile:
    """The record that belongs to the keys file `keys`, held for this process until `close`.

    `content` is what was found, None without a whole record; `fault` says in words what is wrong with one that is
    there.
    """

    def __init__(self, keys: Path) -> None:
        """Lock the record and read it. Raises SetupError if another ground holds it, or it cannot be read."""
        self._path = keys.with_name(keys.name + SUFFIX)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        lock = self._path.with_name(self._path.name + ".lock")
        try:
            self._lock = os.open(lock, flags, 0o600)
        except OSError as error:
            raise SetupError(f"{lock} cannot be opened: {reason_of(error)}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise SetupError(f"the keys {keys} are in use by a ground that runs: end it first") from None
        except OSError as error:
            os.close(self._lock)
            raise SetupError(f"{lock} cannot be locked: {reason_of(error)}") from None
        self.content: bytes | None = None
        self.fault = ""
        self._since_s = time.monotonic()
        self._writing_s = 0.0
        try:
            self._read()
        except OSError as error:
            self.close()
            raise SetupError(f"{self._path} cannot be read: {reason_of(error)}") from None

    def _read(self) -> None:
        try:
            with self._path.open("rb") as stream:
                raw = stream.read(_OCTETS_MAX + 1)
        except FileNotFoundError:
            return
        body, crc = raw[len(_MAGIC) : -_CRC_OCTETS], raw[-_CRC_OCTETS:]
        if raw.startswith(_MAGIC) and zlib.crc32(body).to_bytes(_CRC_OCTETS, "big") == crc:
            self.content = body
        else:
            self.fault = f"{self._path} is damaged"

    def save(self, content: bytes) -> None:
        """Make `content` the record; it is durable on return. Raises StorageError, with the former record in place."""
        rough = self._path.with_name(self._path.name + "~")
        begun_s = time.monotonic()
        raw = _MAGIC + content + zlib.crc32(content).to_bytes(_CRC_OCTETS, "big")
        try:
            replace_file(self._path, raw, rough)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {reason_of(error)}") from None
        self._writing_s += time.monotonic() - begun_s

    def is_slow(self) -> bool:
        """Return whether saves took more than SLOW_SHARE of the time, said once in SLOW_S at most."""
        now_s = time.monotonic()
        if now_s - self._since_s < SLOW_S:
            return False
        share, self._since_s, self._writing_s = self._writing_s / (now_s - self._since_s), now_s, 0.0
        return share > SLOW_SHARE

    def set_aside(self, kept: Path) -> bool:
        """Give the record the name `kept`, so that the next ground finds none. Return whether there was one.

        Raises SetupError, with the record in place, if there is something of that name, or it cannot be done.
        """
        try:
            os.link(self._path, kept, follow_symlinks=False)  # unlike a rename it overwrites nothing
            self._path.unlink()
            sync_folder(self._path.parent)
        except FileNotFoundError:
            return False
        except FileExistsError:
            raise SetupError(f"{kept} is there already, and is kept; move it away") from None
        except OSError as error:
            raise SetupError(f"{self._path} cannot be renamed to {kept}: {reason_of(error)}") from None
        return True

    def close(self) -> None:
        """Let another ground use the keys."""
        with suppress(OSError):
            os.close(self._lock)
