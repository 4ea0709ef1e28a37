"""The folders of a run: its results take the place of the last run's when they are whole, and not before.

    out/partial/    the streams, archive, log and products of a run that is going on. If it fails or is interrupted they
                    stay there, without summary and report, until the next run begins
    out/            the results of the last run that came to its end. `summary.json` is taken away first and put there
                    last, so a folder that has one is whole

Whatever else lies in these folders is left alone. A run of one spacecraft has everything in one folder. With several,
each has a folder of its own, by the name of its node; the archive and the summary of the run lie beside these.

The folder is held by a flock(2) on itself: two runs at once would write over each other's files.
"""

# Order of `complete`, and why (docs/adr/0037). First every summary of the last run goes: from then on no folder claims
# to be whole. Then files move by rename(2), within one file system, each replacing its predecessor at once; what the
# last run had and this one does not have is removed, so no file of another run stays beside these. Each folder's
# summary is the last of its files, and a fleet's own summary the last of all. A run that is killed in between leaves
# results in two places and no summary, which says what it is; the next run clears both.
#
# Nothing is written through a link or into what a person has put in the place of a file: files are created exclusively
# ("x") after the old ones are removed, folders are checked to be folders. That is for a folder such as /tmp/out, in
# which others may put links.
#
# A lock on the folder needs no file of its own that could be left behind, and ends with the process.

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from flight.core.errors import OrbitnodeError, reason_of
from flight.core.guarded_stream import GuardedStream

ARCHIVE = "archive.db"
SUMMARY = "summary.json"
FILES = (
    SUMMARY,
    "report.html",
    "downlink.tm",
    "packets.bin",
    "uplink.cltu",
    "dictionary.xml",
    "dictionary.json",
    ARCHIVE,
    f"{ARCHIVE}-wal",
    f"{ARCHIVE}-shm",
    "node.log",
)
PRODUCTS = "products"
PARTIAL = "partial"
RUN_FILES = (*FILES, PRODUCTS, PARTIAL)  # names that a node of several cannot have: its folder lies beside these


class OutputFile:
    """A stream of a run. Raises OrbitnodeError, in one line, if it cannot be written: the run would lack a result."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb")  # it was cleared: nothing is written through a link

    def write(self, octets: bytes) -> None:
        """Write octets at the end; raises OrbitnodeError."""
        try:
            self._file.write(octets)
        except OSError as error:
            raise self._fault(error) from None

    def close(self) -> None:
        """Write what is buffered and close the file; raises OrbitnodeError."""
        try:
            self._file.close()
        except OSError as error:
            raise self._fault(error) from None

    def _fault(self, error: OSError) -> OrbitnodeError:
        return OrbitnodeError(f"{self._path} cannot be written: {reason_of(error)}; the run is not whole")


class OutputFolder:
    """`folder` with the streams of one spacecraft open for writing; at the end its files go into `home`.

    `log` raises nothing: the simulated node writes it, and must not see that a disk of this machine is full. Raises
    OSError.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.home = home
        for needed in (folder, home):
            needed.mkdir(parents=True, exist_ok=True)
        _check_replaceable(home)
        _clear(folder)
        self.frames = OutputFile(folder / "downlink.tm")
        self.packets = OutputFile(folder / "packets.bin")
        self.cltus = OutputFile(folder / "uplink.cltu")
        self.log = GuardedStream((folder / "node.log").open("x", encoding="utf-8"))

    def path(self, name: str) -> Path:
        """Return the present path of the file of that name."""
        return self.folder / name

    def write_text(self, name: str, text: str) -> None:
        """Write one file, whole; raises OrbitnodeError if it cannot be written."""
        _write_text(self.folder / name, text)

    def write_json(self, name: str, document: Mapping[str, Any]) -> None:
        """Write one document as a file, whole; raises OrbitnodeError if it cannot be written."""
        _write_text(self.folder / name, _as_json(document))

    def close(self) -> None:
        """Close the streams; raises OrbitnodeError if what is still buffered cannot be written."""
        with ExitStack() as closing:  # each of them, also after one that raises
            for stream in (self.frames, self.packets, self.cltus, self.log):
                closing.callback(stream.close)


class RunFolder:
    """The folder of a run with those of its `nodes`, held for this run until `close`.

    Raises OrbitnodeError in one line if one of them cannot be written, or another run holds it.
    """

    def __init__(self, folder: Path, nodes: Sequence[str]) -> None:
        self.home = folder
        self.is_shared = len(nodes) > 1
        self._at = folder / PARTIAL
        with _faults_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._held: int | None = _hold(folder)
        try:
            with _faults_named(folder):
                _make_own(self._at)
                if self.is_shared:
                    _check_replaceable(folder)
                    _clear(self._at)
                self._of = {node: self._open(node if self.is_shared else "") for node in nodes}
        except OrbitnodeError:
            self.close()
            raise

    def _open(self, name: str) -> OutputFolder:
        if name:
            _make_own(self._at / name)
        return OutputFolder(self._at / name, self.home / name)

    @property
    def archive(self) -> Path:
        """The file of the one archive of the run."""
        return self._at / ARCHIVE

    @property
    def partial(self) -> Path:
        """The folder of the results until they are whole."""
        return self.home / PARTIAL

    @property
    def has_results(self) -> bool:
        """Whether the results of a whole run are there."""
        return (self.home / SUMMARY).exists()

    def of(self, node: str) -> OutputFolder:
        """Return the folder of that spacecraft."""
        return self._of[node]

    def write_summary(self, document: Mapping[str, Any]) -> None:
        """Write the summary of a run of several; raises OrbitnodeError if it cannot be written."""
        _write_text(self._at / SUMMARY, _as_json(document))

    def complete(self) -> None:
        """Put the results, whose files are all closed, in the place of the last run's.

        Raises OrbitnodeError; what could not be moved then stays in its place.
        """
        moves = [(output.folder, output.home) for output in self._of.values()]
        if self.is_shared:
            moves.insert(0, (self._at, self.home))
        try:
            for _, home in moves:
                (home / SUMMARY).unlink(missing_ok=True)
            for folder, home in moves[::-1]:  # the one summary of a fleet is the last of all
                _move(folder, home)
                with suppress(OSError):  # it is not empty: a person has put something there
                    folder.rmdir()
        except OSError as error:
            raise OrbitnodeError(
                f"the results cannot take their place: {error.filename}: {reason_of(error)}; they are in {self.partial}"
            ) from None
        for output in self._of.values():
            output.folder = output.home
        self._at = self.home

    def close(self) -> None:
        """Let others have the folder."""
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _move(folder: Path, home: Path) -> None:
    """Move the results of a run from `folder` to `home`, the summary last; raises OSError.

    What the run did not make is removed from `home`.
    """
    if (home / PRODUCTS).exists():
        shutil.rmtree(home / PRODUCTS)
    for name in (PRODUCTS, *FILES[::-1]):
        if (folder / name).exists():
            (folder / name).replace(home / name)
        else:
            (home / name).unlink(missing_ok=True)


@contextmanager
def _faults_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = "" if error.filename in (None, str(folder)) else f"{error.filename}: "
        reason = reason_of(error)
        raise OrbitnodeError(
            f"output folder {folder} cannot be written: {where}{reason}; name another with --out"
        ) from None


def _hold(folder: Path) -> int:
    """Return a descriptor of the folder, locked if its file system has locks; raises OSError, OrbitnodeError."""
    fileno = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fileno)
        raise OrbitnodeError(
            f"output folder {folder} is in use by another run: end that one, or name another with --out"
        ) from None
    except OSError:  # a file system without locks for folders
        pass
    return fileno


def _make_own(folder: Path) -> None:
    """Make a folder in that of the run; raises OSError if something else, such as a link, is in its place."""
    with suppress(FileExistsError):
        folder.mkdir()
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def _check_replaceable(home: Path) -> None:
    """Raise OSError if something that is not a run's has the name of one of its files."""
    for name in FILES:
        if (home / name).is_dir() and not (home / name).is_symlink():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(home / name))
    products = home / PRODUCTS
    if products.is_symlink() or (products.exists() and not products.is_dir()):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(products))


def _clear(folder: Path) -> None:
    """Remove what an earlier run left in the folder; raises OSError."""
    _check_replaceable(folder)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    if (folder / PRODUCTS).exists():
        shutil.rmtree(folder / PRODUCTS)


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", errors="xmlcharrefreplace")  # JSON is ASCII in any case
    except OSError as error:
        raise OrbitnodeError(f"{path} cannot be written: {reason_of(error)}; the run is not whole") from None


def _as_json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
