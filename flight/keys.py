"""The file with the keys of a mission's links: its place, and how it is read and written safely. Edge code.

    ~/.orbitnode/NODE.keys      a folder of mode 0700, a file of mode 0600; `--keys FILE` names another file, and the
                                environment variable ORBITNODE_KEYS another folder

The node, the ground and `orbitnode keys` find the file by the same rule. Its text:
flight/link/security/keys_text.py.
"""

# No key of a mission file names the place. One mission file serves board and ground, which keep their keys in different
# places, and what a mission file says gets into repositories and messages.
#
# A reader trusts only what nobody else can have read or written: a regular file, not by a symbolic link, that belongs
# to this user or to root and is closed to all others. All of it is asked of the open file, not of its name, so that
# nobody can put another file in its place between the look and the reading. The folder need not be checked: whoever can
# write into it can take the file away, but cannot put one there that belongs to this user.
#
# A file is written whole (flight/linux/disk/durable_file.py), since a key may be used only once it is sure to be found
# again after a power cut. The rough file's name is always the same one. That needs the lock, which is flock(2) on an
# empty file beside it: the kernel releases it however the process ends. The empty file stays, because taking it away
# would let two writers hold a lock each.

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flight.contract.sections import link_plans
from flight.core.errors import SetupError, reason_of
from flight.link.security.keyring import (
    SPIS_PER_LINK,
    Keyring,
    KeyUse,
    ProtectedLink,
    delivered_spis,
    use_of,
)
from flight.link.security.keys_text import TEXT_MAX, format_keys, parse_keys
from flight.linux.disk.durable_file import sync_folder, write_rough

if TYPE_CHECKING:
    from flight.mission import Mission

_MODE = 0o600
_FOLDER_MODE = 0o700
_SIDES = {1: " A", 2: " B", 3: " A", 4: " B"}  # by the place of the association among those of its link


class NoKeys(SetupError):
    """There is no keys file."""


def keys_path(node: str, named: Path | None = None) -> Path:
    """Return the path of the keys file of that node: `named`, as by `--keys`, or else the usual place.

    Raises SetupError if this user has no home folder.
    """
    if named is not None:
        return named
    if folder := os.environ.get("ORBITNODE_KEYS"):
        return Path(folder) / f"{node}.keys"
    try:
        return Path.home() / ".orbitnode" / f"{node}.keys"
    except RuntimeError:
        raise SetupError("this user has no home folder to look for keys in; name the keys file with --keys") from None


def mission_keys(mission: Mission, named: Path | None = None) -> Keyring | None:
    """Return the keys of a mission's links from the file `named`, or the usual place; None if every link is clear.

    Raises what `keys_path` and `read_keys` raise.
    """
    plans, node = link_plans(mission.links), mission.node
    if not any(plan.up or plan.down for plan in plans):
        return None
    return read_keys(keys_path(node.name, named), node.name, node.spacecraft_id, plans)


def read_keys(
    path: Path, node: str, spacecraft_id: int, links: Sequence[ProtectedLink], *, allow_simulated: bool = False
) -> Keyring:
    """Return the keys in a file that can be trusted, if they are those of this mission.

    links: all links of the mission, in its order. allow_simulated: take keys that anyone can work out as well.
    Raises SetupError for a file that is not there, cannot be trusted or is of another mission, and DecodeError for one
    that cannot be understood.
    """
    ring = open_keys_of(path, node, spacecraft_id)
    if ring.simulated and not allow_simulated:
        raise SetupError(
            f"keys {path} are those of a simulation, which anyone can work out; `orbitnode keys new` makes real ones"
        )
    if lacking := lacking_spis(ring, links):
        names = ", ".join(f"{key_text(spi, links)} (key {spi})" for spi in lacking)
        raise SetupError(
            f"keys {path} have none for {names}; was a link protected, added or moved since they were made? "
            "`orbitnode keys add` makes those, `orbitnode keys new --replace` makes all of them again"
        )
    return ring


def lacking_spis(ring: Keyring, links: Sequence[ProtectedLink]) -> list[int]:
    """Return the associations of these links for which the file has no key of delivery."""
    return [spi for spi in delivered_spis(links) if spi not in ring or use_of(spi) is not _use(ring, spi)]


def _use(ring: Keyring, id: int) -> KeyUse | None:
    key = ring.get(id)
    return None if key is None else key.use


def key_text(spi: int, links: Sequence[ProtectedLink]) -> str:
    """Say what a key of that association is for: `radio up A`; the association 0 is none, that of the master key."""
    use = use_of(spi)
    if use is None:
        return KeyUse.MASTER.value
    index, offset = divmod(spi, SPIS_PER_LINK)
    name = links[index].name if index < len(links) else f"link {index}"
    return f"{name} {use.value}{_SIDES.get(offset, '')}"


def open_keys_of(path: Path, node: str, spacecraft_id: int) -> Keyring:
    """Return what `open_keys` does. Raises SetupError as well if they are the keys of another node."""
    ring = open_keys(path)
    if (ring.node, ring.spacecraft_id) != (node, spacecraft_id):
        raise SetupError(
            f"keys {path} are those of node {ring.node}, spacecraft {ring.spacecraft_id}, should be those of {node}, "
            f"spacecraft {spacecraft_id}; name the right file with --keys"
        )
    return ring


def open_keys(path: Path) -> Keyring:
    """Return the keys in a file that can be trusted, whatever mission they are of.

    Raises SetupError for a file that is not there or cannot be trusted, DecodeError for one that cannot be understood.
    """
    # O_NONBLOCK: a pipe of that name must not keep us waiting for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(path, flags)
        try:
            _check_trusted(path, os.fstat(file))
            octets = _read(file)
        finally:
            os.close(file)
    except FileNotFoundError:
        raise NoKeys(
            f"there are no keys at {path}; make them with `orbitnode keys new`, or name another file with --keys"
        ) from None
    except OSError as error:
        raise SetupError(f"keys {path} cannot be read: {_reason(error)}") from None
    return parse_keys(octets, str(path))


def _read(file: int) -> bytes:
    parts, octets = [], 0
    while octets <= TEXT_MAX and (part := os.read(file, TEXT_MAX + 1 - octets)):
        parts.append(part)
        octets += len(part)
    return b"".join(parts)  # one octet too many is for the parser to refuse


def _check_trusted(path: Path, found: os.stat_result) -> None:
    """Raise SetupError unless it is a file, of this user or of root, and closed to others."""
    if not stat.S_ISREG(found.st_mode):
        raise SetupError(f"keys {path} are not a file; name one with --keys")
    user = os.geteuid()
    if found.st_uid not in (user, 0):
        raise SetupError(
            f"keys {path} belong to user {found.st_uid}, should belong to user {user}, who runs this: "
            f"chown {user} {path}, if nobody else can have written them"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & ~_MODE:
        raise SetupError(
            f"keys {path} are open to more than their owner (mode {mode:04o}), should have mode {_MODE:04o}: "
            f"chmod 600 {path}"
        )


def write_keys(path: Path, ring: Keyring, *, keep_as: Path | None = None, is_new: bool = False) -> None:
    """Write a keys file of mode 0600, whole or not at all; once this returns it outlives a power cut.

    The caller holds `locked(path)`. keep_as: the former file stays, under this name. is_new: refuse if there is one.
    Raises SetupError, with the former file in place, if it cannot be written.
    """
    rough = path.with_name(f".{path.name}.new")
    try:
        _refuse_other_than_file(path)
        with suppress(FileNotFoundError):  # whatever it is: the folder is this user's alone
            rough.unlink()
        octets = format_keys(ring).encode()
        try:
            write_rough(rough, lambda stream: stream.write(octets), _MODE)
            if keep_as is not None:
                path.chmod(_MODE)  # it may have been refused for its mode, and is still full of keys
                os.link(path, keep_as, follow_symlinks=False)
            if is_new:
                os.link(rough, path, follow_symlinks=False)  # unlike a rename it fails if the name is taken
            else:
                rough.rename(path)
        finally:
            rough.unlink(missing_ok=True)
        sync_folder(path.parent)
    except FileExistsError:
        there = path if is_new else keep_as
        raise SetupError(f"{there} is there already, and is kept; name another file, or move it away") from None
    except OSError as error:
        raise SetupError(f"keys {path} cannot be written: {_reason(error)}") from None


def _refuse_other_than_file(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "not a file"
        raise SetupError(f"keys {path} cannot be written: it is {kind}; name a file with --keys")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other writers away from the keys file at `path`, whose folder is made if need be.

    Raises SetupError if another one is at work on it, or the folder cannot be used.
    """
    try:
        _refuse_other_than_file(path)  # first, so that nothing is left beside it
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.parent.mkdir(mode=_FOLDER_MODE)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        lock = os.open(path.with_name(f".{path.name}.lock"), flags, _MODE)
    except OSError as error:
        raise SetupError(f"keys {path} cannot be written: {_reason(error)}") from None
    try:
        _lock(lock, path)
        yield
    finally:
        os.close(lock)


def _lock(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SetupError(f"another `orbitnode keys` is changing {path}; wait until it has ended") from None
    except OSError as error:
        raise SetupError(f"keys {path} cannot be locked: {reason_of(error)}") from None


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "it is a symbolic link, should be a file"
    if error.errno == errno.EROFS:
        return "its folder is read-only; name another file with --keys"
    return reason_of(error)
