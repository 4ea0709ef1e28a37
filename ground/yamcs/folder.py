"""The folder of a Yamcs instance: written whole, and never over what somebody else wrote or changed."""

# People edit the configuration of their Yamcs, and Yamcs keeps its data beside it. So a folder may hold anything, but a
# file of ours is replaced only as long as it is as we wrote it. How it was is in the list `written.sha256`, which
# `sha256sum -c` reads as well. A file that already says what would be written is fine without the list: so a command
# that was ended half-way can be run again.
#
#     folder absent or empty                        written
#     no list, and nothing but what would be written  written
#     no list, and something else                   refused: the folder is somebody's
#     list, and a file that is not as listed        refused: the file was changed
#     list, and a file that is not written any more removed, if it is as listed
#
# All checks come before the first write.

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from flight.core.errors import OrbitnodeError, reason_of
from ground.whole_file import whole_file

LIST = "written.sha256"


def write_instance(folder: Path, files: Mapping[str, str]) -> None:
    """Write the texts of `files`, by their paths in the folder, and the list of them.

    Raises OrbitnodeError, with nothing written, if the folder is somebody else's or a file was changed since; and if
    one cannot be written.
    """
    contents = {path: text.encode() for path, text in files.items()}
    try:
        listed = _listed(folder)
        if faults := list(_faults(folder, contents, listed)):
            raise OrbitnodeError(f"{folder} is left as it is: {'; '.join(faults)}")
        for path, content in contents.items():
            with whole_file(folder / path) as stream:
                stream.write(content)
        with whole_file(folder / LIST) as stream:
            stream.write("".join(f"{_sha256(content)}  {path}\n" for path, content in contents.items()).encode())
        for path in listed.keys() - contents.keys():
            (folder / path).unlink(missing_ok=True)
    except OSError as error:
        raise OrbitnodeError(f"{folder} cannot be written: {reason_of(error)}") from None


def _listed(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of the list; empty without a list, and without lines that are none of ours."""
    try:
        lines = (folder / LIST).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    # A path that leads out of the folder is none that we wrote.
    return {path: sha256 for sha256, path in pairs if _is_inside(path)}


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and ".." not in parts and not path.startswith("/")


def _faults(folder: Path, contents: Mapping[str, bytes], listed: Mapping[str, str]) -> Iterator[str]:
    """Yield what stands against writing."""
    if not folder.exists():
        return
    if not folder.is_dir():
        yield "it is not a folder"
        return
    if not listed:
        found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
        foreign = [path for path in found if _now(folder / path) != contents.get(path)]
        if foreign:
            yield f"it is not empty and was not written by `orbitnode dictionary --yamcs` ({foreign[0]}); name another"
        return
    for path in sorted({*contents, *listed}):
        now = _now(folder / path)
        if now is not None and now != contents.get(path) and _sha256(now) != listed.get(path):
            yield f"{path} was changed since it was written; keep it under another name, and remove it"


def _now(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
