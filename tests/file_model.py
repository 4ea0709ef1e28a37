"""Files as plain content by path, and what each command does to them: what the node's file commands must equal."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from flight.contract.failures import Failure

DIRECTORIES = ("products", "uploads", "models", "logs")
NAMES = ("a", "a.z", "b.png", "-rf", "c" * 200)
HOSTILE = ("", ".", "..", "../a", "a/b", "/etc/passwd", "products/a", "a\0", ".a", "a b", "ａ", "а", "c" * 201, "con\n")
DONE, OPEN = "done", "open"

# Few good names, so that commands meet the same files, and any text at all.
names = st.one_of(
    st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(HOSTILE), st.text(max_size=60)
)  # fmt: skip
directories = st.one_of(
    *[st.sampled_from(DIRECTORIES)] * 6, st.sampled_from(("", "etc", "/products", "products/", ".."))
)  # fmt: skip
contents = st.one_of(
    st.binary(max_size=60), st.integers(0, 40_000).map(lambda octets: (b"row of pixels " * 3_000)[:octets])
)
transfers = st.tuples(st.integers(0, 3), st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1)))


def commands() -> st.SearchStrategy[tuple[str, tuple[Any, ...]]]:
    """Any command of files, with any arguments that its packet can carry."""
    file = st.tuples(directories, names)
    ways = st.tuples(st.integers(0, 2), st.integers(0, 9))
    of_a_file = ("delete_file", "report_file", "lock_file", "unlock_file", "verify_file", "compress_file")
    return st.one_of(
        *(st.tuples(st.just(name), file) for name in of_a_file),
        st.tuples(st.just("list_files"), st.tuples(directories)),
        st.tuples(st.just("move_file"), st.tuples(directories, names, directories, names)),
        st.tuples(st.just("downlink_file"), st.tuples(file, ways).map(lambda parts: (*parts[0], *parts[1]))),
        *(st.tuples(st.just(f"{act}_transfer"), transfers) for act in ("suspend", "resume", "cancel")),
        st.tuples(st.just("list_transfers"), st.just(())),
    )


@dataclass
class FileModel:
    """The files that should be there: content by path, and which of them are locked. No transfer is open."""

    files: dict[str, bytes] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)

    def refusal(self, name: str, values: tuple[Any, ...]) -> set[Failure]:
        """Return the codes with which a command may be refused, none if it must be done."""
        if name == "list_transfers" or (name == "list_files" and values[0] in ("", *DIRECTORIES)):
            return set()
        if name == "list_files":
            return {Failure.NO_DIRECTORY}
        if name.endswith("_transfer"):
            return {Failure.NO_TRANSFER}
        pairs = [values[:2]] if name != "move_file" else [values[:2], values[2:]]
        wrong = {Failure.NO_DIRECTORY for directory, _ in pairs if directory not in DIRECTORIES}
        wrong |= {Failure.FILE_NAME for _, text in pairs if not is_file_name(text)}
        if wrong:
            return wrong
        path = "/".join(values[:2])
        if path not in self.files:
            return {Failure.NO_FILE}
        if name in ("delete_file", "move_file") and path in self.locked:
            return {Failure.FILE_LOCKED}
        if name == "move_file":
            to = "/".join(values[2:])
            return {Failure.FILE_EXISTS} if to in self.files and to != path else set()
        if name == "compress_file":
            if not is_file_name(f"{values[1]}.z"):
                return {Failure.FILE_NAME}
            return {Failure.FILE_EXISTS} if f"{path}.z" in self.files else set()
        return set()

    def apply(self, name: str, values: tuple[Any, ...]) -> None:
        """Do what a command that was completed has done."""
        path = "/".join(map(str, values[:2]))
        if name == "delete_file":
            del self.files[path]
        elif name == "lock_file":
            self.locked.add(path)
        elif name == "unlock_file":
            self.locked.discard(path)
        elif name == "move_file":
            self.files["/".join(values[2:])] = self.files.pop(path)
        elif name == "compress_file":
            self.files[f"{path}.z"] = zlib.compress(self.files[path])


def is_file_name(text: str) -> bool:
    """Return whether a file may be called that."""
    return re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,199}", text) is not None


def is_stored_name(name: str) -> bool:
    """Return whether the store of files may have that name on storage: one of numbers, never a file's own."""
    return re.fullmatch(r"files\.(\d+|mark\.[ab])", name) is not None


def unpacked(path: str, content: bytes) -> bytes:
    """Return what a content says: two compressions of one file need not be the same octets."""
    while path.endswith(".z"):
        try:
            path, content = path[:-2], zlib.decompress(content)
        except zlib.error:
            break
    return content
