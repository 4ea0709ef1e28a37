"""A file that is still being written: it has a place on storage, and no name that anybody could find."""

# The sha256 follows the octets as they come in, as far as they come in order, so that little is left to be hashed in
# the end. Octets that come again there are compared with those that stand: if they are the same nothing is to be done.
# If they differ the hash begins again, in slices, when the draft is finished.

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from flight.core.errors import MisuseError, StorageError
from flight.core.storage import StorageFull
from flight.store.files.contents import FileContents, refusal_of
from flight.store.files.file_entry import LABEL_OCTETS_MAX, PRIORITY_MAX
from flight.store.files.refusal import FileRefused, Reason


class DraftState(Enum):
    """What a draft is good for."""

    OPEN = "open"
    FINISHING = "about to be a file"
    STORED = "in a transaction that makes it a file"
    ENDED = "a file, or dropped"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a draft hands on to its file, and whether it replaces one of the same name. Raises MisuseError."""

    priority: int = 1
    value: float = 1.0
    label: bytes = b""
    replaces: bool = False

    def __post_init__(self) -> None:
        """Refuse what no row could hold."""
        if not (0 <= self.priority <= PRIORITY_MAX and math.isfinite(self.value)):
            raise MisuseError(
                f"file of priority {self.priority} and value {self.value:g}, should be 0 to {PRIORITY_MAX} and finite"
            )
        if len(self.label) > LABEL_OCTETS_MAX:
            raise MisuseError(f"label of {len(self.label)} octets, should be at most {LABEL_OCTETS_MAX}")


class Draft:
    """What `FileStore.draft` returns. `octets` is the length that was announced, None if nobody knows it yet.

    grown_octets: the end of what was written, gaps included. For the store alone: reserved_octets, hashed_octets (the
    beginning that `hash` has seen), `terms` and `state`.
    """

    __slots__ = (
        "_contents", "_relieve", "_reserve", "_written", "directory", "grown_octets", "hash", "hashed_octets", "name",
        "number", "octets", "reserved_octets", "state", "terms",
    )  # fmt: skip

    def __init__(
        self,
        contents: FileContents,
        number: int,
        directory: str,
        name: str,
        octets: int | None,
        terms: Terms,
        *,
        reserve: Callable[[Draft, int], None],
        relieve: Callable[[], None],
    ) -> None:
        self.number = number
        self.directory = directory
        self.name = name
        self.octets = octets
        self.terms = terms
        self.grown_octets = 0
        self.reserved_octets = 0
        self.hash = hashlib.sha256()
        self.hashed_octets = 0
        self.state = DraftState.OPEN
        self._written = 0
        self._contents = contents
        self._reserve = reserve
        self._relieve = relieve

    @property
    def path(self) -> str:
        """Directory and name, as people write them."""
        return f"{self.directory}/{self.name or self.number}"

    @property
    def unwritten_octets(self) -> int:
        """Reserved octets that storage has not yet got; see flight/store/files/admission.py."""
        return max(0, self.reserved_octets - min(self.grown_octets, self._written))

    def begin_again_with(self, octets: int) -> None:
        """Take over what stands of an earlier boot."""
        self.grown_octets = self._written = octets

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Write `data` at octet `at`, in any order. Raises FileRefused."""
        end = at + len(data)
        if self.state is not DraftState.OPEN:
            raise FileRefused(Reason.BUSY, f"{self.path} is {self.state.value}, nothing can be written to it")
        if at < 0 or (self.octets is not None and end > self.octets):
            raise FileRefused(Reason.LENGTH, f"{self.path} has {self.octets} octets, {at} to {end} are outside")
        if not data:
            return
        if at < self.hashed_octets:
            again = min(end, self.hashed_octets) - at
            if self._stands(at, data[:again]):
                if end <= self.hashed_octets:
                    return
                at, data = at + again, data[again:]
            else:
                self.hash, self.hashed_octets = hashlib.sha256(), 0
        if self.octets is None and end > self.reserved_octets:
            self._reserve(self, end)
        self._put(at, data)
        self._written += len(data)
        self.grown_octets = max(self.grown_octets, end)
        if at == self.hashed_octets:
            self.hash.update(data)
            self.hashed_octets = end

    def _put(self, at: int, data: bytes | memoryview) -> None:
        try:
            try:
                self._contents.write(self.number, at, data)
            except StorageFull:
                self._relieve()  # what gives way may still be there
                self._contents.write(self.number, at, data)
        except StorageError as error:
            raise refusal_of(error) from None

    def _stands(self, at: int, data: bytes | memoryview) -> bool:
        try:
            return self._contents.read(self.number, at, len(data)) == data
        except FileRefused:
            return False
