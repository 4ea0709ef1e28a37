"""The folders of a run: what a run before left there is replaced, whatever else lies in them is left alone.

A run of one spacecraft has everything in one folder. With several, each has a folder of its own in it, by the name of
its node; the archive and the summary of the run lie beside these.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from flight.core.errors import OrbitnodeError
from flight.core.guarded_stream import GuardedStream

ARCHIVE = "archive.db"
FILES = (
    "summary.json",
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


class OutputFile:
    """A stream of a run. Raises OrbitnodeError, in one line, if it cannot be written: a run without it is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")

    def write(self, octets: bytes) -> None:
        try:
            self._file.write(octets)
        except OSError as error:
            raise self._fault(error) from None

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise self._fault(error) from None

    def _fault(self, error: OSError) -> OrbitnodeError:
        return OrbitnodeError(f"{self._path} cannot be written: {error.strerror}; the run is not whole")


class OutputFolder:
    """`folder` with the streams of one spacecraft open for writing. Raises OrbitnodeError in one line if it cannot be.

    `log` raises nothing: the simulated node writes it, and a full disk of this machine is no fault of that one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _told(folder):
            _clear(folder)
            self.frames = OutputFile(folder / "downlink.tm")
            self.packets = OutputFile(folder / "packets.bin")
            self.cltus = OutputFile(folder / "uplink.cltu")
            self.log = GuardedStream((folder / "node.log").open("w", encoding="utf-8"))

    def path(self, name: str) -> Path:
        """Where the file of that name lies."""
        return self.folder / name

    def write_text(self, name: str, text: str) -> None:
        """One file, whole; raises OrbitnodeError where it cannot be written."""
        _write_text(self.folder / name, text)

    def write_json(self, name: str, document: Mapping[str, Any]) -> None:
        """One document as a file, whole; raises OrbitnodeError where it cannot be written."""
        _write_text(self.folder / name, _as_json(document))

    def close(self) -> None:
        """Close the streams; raises OrbitnodeError where the rest of one cannot be written."""
        with ExitStack() as closing:  # each of them, also after one that raises
            for stream in (self.frames, self.packets, self.cltus, self.log):
                closing.callback(stream.close)


class RunFolder:
    """The folder of a run with those of its `nodes`. Raises OrbitnodeError in one line if one cannot be written."""

    def __init__(self, folder: Path, nodes: Sequence[str]) -> None:
        self.folder = folder
        self.is_shared = len(nodes) > 1
        if self.is_shared:
            with _told(folder):
                _clear(folder)
        self._of = {node: OutputFolder(folder / node if self.is_shared else folder) for node in nodes}

    @property
    def archive(self) -> Path:
        """The file of the one archive of the run."""
        return self.folder / ARCHIVE

    def of(self, node: str) -> OutputFolder:
        """The folder of that spacecraft."""
        return self._of[node]

    def write_summary(self, document: Mapping[str, Any]) -> None:
        """The summary of a run of several; raises OrbitnodeError where it cannot be written."""
        _write_text(self.folder / "summary.json", _as_json(document))


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OrbitnodeError(f"output folder {folder} cannot be written: {reason}; name another with --out") from None


def _clear(folder: Path) -> None:
    """Make the folder, without what a run before left in it. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / PRODUCTS, ignore_errors=True)


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", errors="xmlcharrefreplace")  # JSON is ASCII in any case
    except OSError as error:
        raise OrbitnodeError(f"{path} cannot be written: {error.strerror}") from None


def _as_json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
