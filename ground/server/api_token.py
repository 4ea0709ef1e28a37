"""The token of the ground's API: whoever can read its file may command the node. Edge code.

    $ORBITNODE_TOKENS, else ~/.cache/orbitnode/tokens     a folder of mode 0700
        api-PORT.token                                    64 hexadecimal digits, mode 0600

A ground makes a new token at each start. To reach a ground through a tunnel, copy the file to the same place under the
number of the local port.
"""

# Why a token (ADR 0035): the API's port is open to every program of this machine, also to those of other users, and a
# web page can make a browser connect to it. A file that its owner alone may read tells the owner's programs from these.
#
# Life of the file: put there whole (written under another name, then renamed) once the port is ours; taken away before
# the port is given up. So it always belongs to the ground that has the port: of two grounds on one port neither can
# remove the other's. A ground that was killed leaves a file behind whose token nobody accepts any more.
#
# A reader trusts only what nobody else can have put there: no symbolic link, and a file and a folder that belong to
# this user and that others may not read or write. The folder is opened first and the file relative to it, so that the
# folder which was checked is the one that is read from, even if somebody renames things meanwhile.
#
# The place depends on user and port alone, not on how a shell was started: a client has to find it without being told.

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flight.core.errors import OrbitnodeError, SetupError, reason_of

FOLDER_VARIABLE = "ORBITNODE_TOKENS"
_OCTETS = 32
_TEXT = re.compile(rb"[0-9a-f]{%d}\n" % (2 * _OCTETS))
_OTHERS = 0o077  # rights of group and others, none of which may be set
_KINDS = {stat.S_IFREG: ("a file", 0o600), stat.S_IFDIR: ("a folder", 0o700)}


class ApiToken:
    """A new token for the API on `port`."""

    def __init__(self, port: int) -> None:
        self._text = os.urandom(_OCTETS).hex()
        self._port = port

    @property
    def path(self) -> Path:
        """Where clients find it. Raises SetupError if this user has no place for it."""
        return token_path(self._port)

    def is_shown(self, text: str) -> bool:
        """Return whether this is the token, in the same time for a guess that is nearly right as for any other."""
        from hmac import compare_digest  # here: clients import this module for the reading part, and do not need it

        return compare_digest(self._text.encode(), text.encode("utf-8", "backslashreplace"))

    def publish(self) -> None:
        """Put it into its place for clients; the port must be ours by now. Raises SetupError."""
        path = self.path
        try:
            with _opened(path.parent, make=True) as folder:
                new = f".{path.name}.new"
                with suppress(FileNotFoundError):  # left by a ground that was killed just here
                    os.unlink(new, dir_fd=folder)
                file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
                try:
                    os.fchmod(file, 0o600)  # whatever the umask took away
                    os.write(file, self._text.encode() + b"\n")
                finally:
                    os.close(file)
                os.rename(new, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OrbitnodeError as error:
            raise SetupError(str(error)) from None
        except OSError as error:
            raise SetupError(
                f"the API's token cannot be put into {path}: {reason_of(error)}; name another folder by"
                f" {FOLDER_VARIABLE}"
            ) from None

    def withdraw(self) -> None:
        """Take it away again; the port must still be ours."""
        with suppress(OSError, OrbitnodeError), _opened(self.path.parent) as folder:
            os.unlink(self.path.name, dir_fd=folder)


def token_path(port: int) -> Path:
    """Return the path of the token of the ground on that port of 127.0.0.1. Raises SetupError."""
    named = os.environ.get(FOLDER_VARIABLE)
    try:
        folder = Path(named) if named else Path.home() / ".cache" / "orbitnode" / "tokens"
    except RuntimeError:
        raise SetupError(f"this user has no home folder; name one for the API's token by {FOLDER_VARIABLE}") from None
    return folder / f"api-{port}.token"


def read_token(port: int) -> str:
    """Return the token to show to the ground on that port. Raises OrbitnodeError if none can be trusted."""
    path = token_path(port)
    try:
        with _opened(path.parent) as folder:
            file = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            try:
                _check_private(path, os.fstat(file), stat.S_IFREG)
                octets = os.read(file, 2 * _OCTETS + 2)  # one more than it should have, to notice a longer file
            finally:
                os.close(file)
    except FileNotFoundError:
        raise OrbitnodeError(
            f"port {port} is open, but there is no {path}: the ground on it is another user's, or on another machine; "
            "copy its token there, mode 0600"
        ) from None
    except OSError as error:
        raise OrbitnodeError(_unusable(path, error)) from None
    if not _TEXT.fullmatch(octets):
        raise OrbitnodeError(f"{path} does not hold a token, which is {2 * _OCTETS} hexadecimal digits and a line end")
    return octets.decode().strip()


@contextmanager
def _opened(folder: Path, *, make: bool = False) -> Iterator[int]:
    """Open the folder of the tokens as a descriptor. Raises OSError, and OrbitnodeError if it cannot be trusted."""
    if make:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    try:
        fileno = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise OrbitnodeError(f"{folder} is not a folder, or a symbolic link to one; remove it") from None
    try:
        _check_private(folder, os.fstat(fileno), stat.S_IFDIR)
        yield fileno
    finally:
        os.close(fileno)


def _check_private(path: Path, found: os.stat_result, kind: int) -> None:
    """Raise OrbitnodeError unless it is of this kind, this user's, and closed to others."""
    if stat.S_IFMT(found.st_mode) != kind:
        raise OrbitnodeError(f"{path} is not {_KINDS[kind][0]}; remove it")
    if found.st_uid != os.geteuid():
        raise OrbitnodeError(f"{path} belongs to user {found.st_uid}, should belong to user {os.geteuid()}; remove it")
    if found.st_mode & _OTHERS:
        mode, right = stat.S_IMODE(found.st_mode), _KINDS[kind][1]
        raise OrbitnodeError(
            f"{path} is open to others (mode {mode:04o}), should be {right:04o}: chmod it, and restart the ground"
        )


def _unusable(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return f"{path} is a symbolic link, should be a file; remove it"
    return f"{path} cannot be read: {reason_of(error)}"
