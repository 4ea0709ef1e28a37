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
# Names, types and sizes are looked at first, and a file is read only if it may be one of ours: somebody's folder may
# hold a FIFO, or more than fits into memory. A symbolic link in the place of a file or folder of ours is refused,
# whatever it leads to (plain_folder.py).
#
# All checks come before the first write.

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from flight.core.errors import OrbitnodeError, reason_of
from ground.yamcs.plain_folder import PlainFolder

LIST = "written.sha256"
_LIST_OCTETS_MAX = 1 << 20
_FILE_OCTETS_MAX = 1 << 28  # nothing that is written here comes near to it


def write_instance(folder: Path, files: Mapping[str, str]) -> None:
    """Write the texts of `files`, by their paths in the folder, and the list of them.

    Raises OrbitnodeError, with nothing written, if the folder is somebody else's or a file was changed since; and if
    one cannot be written.
    """
    contents = {path: text.encode() for path, text in files.items()}
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    plain = PlainFolder(folder)
    try:
        listed: Mapping[str, str] = {}
        faults = []
        if folder.exists():
            faults = [*_list_faults(plain)]
            listed = {} if faults else _listed(plain)
            faults = faults or [*_faults(plain, contents, digests, listed)]
        if faults:
            raise OrbitnodeError(f"{folder} is left as it is: {'; '.join(faults)}")
        for path, content in contents.items():
            plain.write(path, content)
        plain.write(LIST, "".join(f"{digest}  {path}\n" for path, digest in digests.items()).encode())
        for path in listed.keys() - contents.keys():
            plain.remove(path)
    except OSError as error:
        raise OrbitnodeError(f"{folder} cannot be written: {reason_of(error)}") from None


def _list_faults(plain: PlainFolder) -> Iterator[str]:
    """Yield why there is no list that could be read."""
    if not plain.path.is_dir():
        yield "it is not a folder"
    elif fault := plain.fault(LIST):
        yield fault
    elif (plain.size_octets(LIST) or 0) > _LIST_OCTETS_MAX:
        yield f"{LIST} is too large to be a list of what was written"


def _listed(plain: PlainFolder) -> dict[str, str]:
    """Return the SHA-256 of each file of the list; empty without a list, and without lines that are none of ours."""
    if plain.size_octets(LIST) is None:
        return {}
    lines = plain.read(LIST, _LIST_OCTETS_MAX).decode(errors="replace").splitlines()
    pairs = (line.split("  ", 1) for line in lines if "  " in line)
    return {path: sha256 for sha256, path in pairs if _is_ours(path)}


def _is_ours(path: str) -> bool:
    """Return whether we may have written a path like this: within the folder, in one way of writing it."""
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts and str(pure) == path and (
        "\0" not in path and path != LIST
    )  # fmt: skip


def _faults(
    plain: PlainFolder, contents: Mapping[str, bytes], digests: Mapping[str, str], listed: Mapping[str, str]
) -> Iterator[str]:  # fmt: skip
    """Yield what stands against writing."""
    if not listed and (foreign := min((path for path in plain.files() if path not in contents), default="")):
        yield _not_ours(foreign)
        return
    for path in sorted({*contents, *listed}):
        size_octets = plain.size_octets(path) if not (fault := plain.fault(path)) else None
        if fault:
            yield fault
        elif size_octets is None:
            continue
        elif not listed:
            if size_octets != len(contents[path]) or plain.sha256(path) != digests[path]:
                yield _not_ours(path)
                return
        elif size_octets > _FILE_OCTETS_MAX or plain.sha256(path) not in (digests.get(path), listed.get(path)):
            yield f"{path} was changed since it was written; keep it under another name, and remove it"


def _not_ours(path: str) -> str:
    return f"it is not empty and was not written by `orbitnode dictionary --yamcs` ({path}); name another"
