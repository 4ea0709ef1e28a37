"""The folder of a run: what a run before left there is replaced, whatever else lies in it is left alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from flight.core.errors import OrbitnodeError
from flight.core.guarded_stream import GuardedStream

FILES = (
    "summary.json",
    "report.html",
    "downlink.tm",
    "packets.bin",
    "uplink.cltu",
    "dictionary.xml",
    "dictionary.json",
    "archive.db",
    "archive.db-wal",
    "archive.db-shm",
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
    """`folder` with the streams of a run open for writing. Raises OrbitnodeError in one line if it cannot be.

    `log` raises nothing: the simulated node writes it, and a full disk of this machine is no fault of that one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder / PRODUCTS, ignore_errors=True)
            self.frames = OutputFile(folder / "downlink.tm")
            self.packets = OutputFile(folder / "packets.bin")
            self.cltus = OutputFile(folder / "uplink.cltu")
            self.log = GuardedStream((folder / "node.log").open("w", encoding="utf-8"))
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OrbitnodeError(
                f"output folder {folder} cannot be written: {reason}; name another with --out"
            ) from None

    def path(self, name: str) -> Path:
        return self.folder / name

    def write_text(self, name: str, text: str) -> None:
        """One file, whole; raises OrbitnodeError where it cannot be written."""
        path = self.folder / name
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OrbitnodeError(f"{path} cannot be written: {error.strerror}") from None

    def write_json(self, name: str, document: Mapping[str, Any]) -> None:
        self.write_text(name, json.dumps(document, indent=2) + "\n")

    def close(self) -> None:
        with ExitStack() as closing:  # each of them, also after one that raises
            for stream in (self.frames, self.packets, self.cltus, self.log):
                closing.callback(stream.close)
