"""Whether a file to come finds a place: its directory's quota, the room of the storage, a place in the catalogue."""

# What is admitted is reserved until the draft is a file or is dropped, so that several at once cannot overrun the quota
# or the room. A draft of known length reserves it whole. One of unknown length reserves as it grows.
#
# The room is what storage has free, without what is reserved and not yet written, with what hidden files still hold
# (eviction.py). A gap in a draft counts as held by the quota of the storage's user, and takes no room of the medium:
# what is not yet written is taken as the greater of the two.

from __future__ import annotations

from flight.store.files.catalogue import FileCatalogue
from flight.store.files.contents import FileContents
from flight.store.files.draft import Draft
from flight.store.files.eviction import Evictions, Shortage
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_names import checked_directory, checked_name
from flight.store.files.files_config import FilesConfig
from flight.store.files.refusal import FileRefused, Reason

DRAFTS_MAX = 128


class Admission:
    """Reserves places for drafts. `drafts` are those that hold one, by number."""

    def __init__(
        self, config: FilesConfig, catalogue: FileCatalogue, contents: FileContents, evictions: Evictions
    ) -> None:
        self.drafts: dict[int, Draft] = {}
        self._config = config
        self._catalogue = catalogue
        self._contents = contents
        self._evictions = evictions

    def reserved(self, directory: str) -> int:
        """Return the octets that drafts have reserved in a directory."""
        return sum(draft.reserved_octets for draft in self.drafts.values() if draft.directory == directory)

    def used(self, directory: str) -> int:
        """Return the octets that a directory holds, in its files and for drafts."""
        return self._catalogue.octets[directory] + self.reserved(directory)

    def room(self) -> int:
        """Return the octets of room that nobody has reserved."""
        unwritten = sum(draft.unwritten_octets for draft in self.drafts.values())
        return self._contents.free_octets() - unwritten + self._evictions.hidden_octets

    def check(self, directory: str, name: str, replaces: bool, draft: Draft | None = None) -> None:
        """Raise FileRefused if no file of that name may be begun; `draft` is the one that it is about, if any."""
        checked_directory(directory)
        if not name:
            return
        self.check_name(directory, checked_name(name), replaces)
        others = (other for other in self.drafts.values() if other is not draft)
        if not replaces and any((other.directory, other.name) == (directory, name) for other in others):
            raise FileRefused(Reason.BUSY, f"{directory}/{name} is being written by somebody else")

    def check_name(self, directory: str, name: str, replaces: bool) -> FileEntry | None:
        """Return the file that one of that name replaces, None if there is none. Raises FileRefused."""
        former = self._catalogue.find(directory, name)
        if former is not None and not replaces:
            raise FileRefused(Reason.EXISTS, f"there is a file {former.path} already")
        if former is not None and former.locked:
            raise FileRefused(Reason.LOCKED, f"{former.path} is locked and cannot be replaced")
        return former

    def check_quota(self, directory: str, octets: int) -> None:
        """Raise FileRefused if a directory may not hold so much more."""
        quota = self._config.directory(directory).quota_octets
        used = self.used(directory)
        if used + octets > quota:
            text = f"{directory} may hold {quota} octets and holds {used}, {octets} more do not fit"
            raise FileRefused(Reason.QUOTA, text)

    def enter(self, draft: Draft, octets: int) -> None:
        """Reserve `octets` for a new draft, and a place in the catalogue. Raises FileRefused, with nothing reserved."""
        if len(self.drafts) >= DRAFTS_MAX:
            raise FileRefused(Reason.TABLE, f"{DRAFTS_MAX} files are being written, no more at once")
        self._admit(draft, octets, octets - draft.grown_octets, 1)
        draft.reserved_octets = octets
        self.drafts[draft.number] = draft

    def extend(self, draft: Draft, octets: int) -> None:
        """Reserve as much as makes `octets` for a draft that has a place. Raises FileRefused."""
        grown = octets - draft.reserved_octets
        if grown > 0:
            self._admit(draft, grown, grown, 0)
        draft.reserved_octets = octets

    def put_back(self, draft: Draft, octets: int) -> None:
        """Reserve again what a draft had reserved before `leave`, in the same step."""
        draft.reserved_octets = octets
        self.drafts[draft.number] = draft

    def leave(self, draft: Draft) -> None:
        """Give back what is reserved. Nothing happens if nothing is."""
        self.drafts.pop(draft.number, None)
        draft.reserved_octets = 0

    def _admit(self, draft: Draft, quota_octets: int, room_octets: int, files: int) -> None:
        """Make room, or raise FileRefused with nothing changed."""
        directory, octets = draft.directory, draft.reserved_octets + quota_octets
        quota = self._config.directory(directory).quota_octets
        used = self.used(directory)
        shortage = Shortage(
            used + quota_octets - quota,
            room_octets - self.room(),
            len(self._catalogue) + len(self.drafts) + files - self._config.files_max if files else 0,
        )
        if octets > quota:
            raise FileRefused(
                Reason.QUOTA,
                f"{directory} may hold {quota} octets, {octets} never fit; raise files.{directory}.quota_octets",
            )
        if shortage.quota <= 0 and not shortage.shared:
            return
        below = self._catalogue.rank_of_new(directory, octets, draft.terms.priority, draft.terms.value)
        victims = self._evictions.find(directory, shortage, below)
        if shortage.quota > 0:
            raise FileRefused(
                Reason.QUOTA,
                f"{directory} may hold {quota} octets, {shortage.quota} are missing and nothing there may give way; "
                "delete something",
            )
        if shortage.files > 0:
            raise FileRefused(
                Reason.TABLE, f"there are {self._config.files_max} files and nothing may give way; delete something"
            )
        if shortage.room > 0:
            raise FileRefused(
                Reason.ROOM, f"the storage lacks {shortage.room} octets and nothing may give way; delete something"
            )
        self._evictions.hide(victims, f"room for {directory}/{draft.name or draft.number}")
        self._evictions.work_off()
