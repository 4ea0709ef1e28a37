"""Products: files that came down, put into their folder under their names; an incomplete one as `.part`, with a list.

Beside a product that decodes lies its answer in a form that everybody reads (ground/products/answers.py). How the files
came is not known here: whoever received one has it in a working file of the same file system (ground/files).
"""

# What becomes of a file:
#
#   whole       --> its file, and its answer beside it if it is a product; a row in the archive
#   incomplete  --something came--> NAME.part and NAME.part.missing; a row with the ranges that it lacks
#   incomplete  --nothing came--> a row without a file
#   any         --does not fit--> nothing is kept; counted, and reported by `refusals`
#
# Names are the node's choice, and they repeat, for example after a boot that lost its job numbers. No file is ever
# overwritten: the second of a name gets a number, then a name made of its content (names.py).
#
# A length is only its sender's claim. It may take no disk, since what is missing is not written, but it counts in full
# against `octets_max`: somebody may copy the file to a place where holes are not kept. A file that is under way has its
# room `reserved`, so that several at once do not all fit alone and none together.
#
# The bound is on what this process kept, not on the folder: older files belong to whoever keeps them there.
#
# Only a file of up to DECODED_OCTETS_MAX is looked into: decoding needs all of it in memory, and products are small.

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flight.core.errors import DecodeError, OrbitnodeError, reason_of
from flight.core.nanoseconds import NS
from flight.text.plural import plural
from ground.products.answers import facts_of, readable
from ground.products.names import MISSING, PART, safe_name, whole_name
from ground.products.product_folder import ProductFolder, Stretch, octets_taken
from ground.telemetry.archive_rows import ProductRow
from payloads.product.decode import Product, decode_product, is_product

OCTETS_MAX = 1 << 40
DECODED_OCTETS_MAX = 1 << 26
_TELL_S = 60  # between two reports of what was refused: a whole pass may be refused file by file
_MAGIC_OCTETS = 16  # more than any product's first mark has

Keeping = Generator[None, None, ProductRow]  # yields between slices of the work; its end has the row


@dataclass(frozen=True, slots=True)
class IncompleteFile:
    """What came of a file: `octets` is its claimed length, `missing` are the stretches [start, end) that did not come.

    working: holds the octets that came, at their places; None if none did.
    """

    name: str
    octets: int
    missing: tuple[Stretch, ...]
    reason: str
    working: Path | None

    @property
    def came(self) -> int:
        """How many octets came."""
        return self.octets - sum(end - start for start, end in self.missing)

    @property
    def held(self) -> list[Stretch]:
        """The stretches that came, in order."""
        edges = [0, *(edge for stretch in self.missing for edge in stretch), self.octets]
        return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]


@dataclass(slots=True)
class ProductCounters:
    """Files by what became of them.

    refused_full: not kept for want of room. unwritten: keeping failed. empty: incomplete, and nothing came of it.
    beside_refused: answers for which there was no room. octets: those that came, of files that were written.
    octets_beside: of the answers beside them. octets_counted: what all of these count against the bound.
    """

    complete: int = 0
    incomplete: int = 0
    undecodable: int = 0
    octets: int = 0
    octets_missing: int = 0
    octets_beside: int = 0
    octets_counted: int = 0
    empty: int = 0
    refused_full: int = 0
    beside_refused: int = 0
    unwritten: int = 0


class ProductStore:
    """Keeps files that came down in `folder`.

    octets_max: bound on all files of this run together, each counted in whole blocks and with what it lacks.
    """

    def __init__(
        self, folder: Path, *, octets_max: int = OCTETS_MAX, on_product: Callable[[str, Product], None] | None = None
    ) -> None:
        """`on_product(name, product)` sees every product that decoded. Raises OrbitnodeError for a bad folder."""
        self.counters = ProductCounters()
        self._octets_max = octets_max
        self._on_product = on_product
        self._folder = ProductFolder(folder)
        self._reserved: dict[str, int] = {}  # for files under way, by what their receiver calls them
        self._untold = 0
        self._newest_refused = ""
        self._tell_at_ns: int | None = None

    @property
    def path(self) -> Path:
        """The folder of the products."""
        return self._folder.path

    def reserve(self, key: str, name: str, octets: int) -> bool:
        """Hold room for a file that is under way; return False, counted and reported, if there is none."""
        former = self._reserved.pop(key, None)
        if self._has_room(name, octets):
            self._reserved[key] = octets_taken(octets)
            return True
        if former is not None:
            self._reserved[key] = former
        return False

    def release(self, key: str) -> None:
        """Let the room of a file go that is no longer under way."""
        self._reserved.pop(key, None)

    def refusals(self, now_ns: int) -> str:
        """Return a text on files for which there was no room, empty if there is nothing to report now."""
        if not self._untold or (self._tell_at_ns is not None and now_ns < self._tell_at_ns):
            return ""
        count, self._untold, self._tell_at_ns = self._untold, 0, now_ns + _TELL_S * NS
        return (
            f"{count} {plural(count, 'file')} not kept, the last of them {self._newest_refused}: the products of "
            f"this run count {self.counters.octets_counted:,} octets, with what is missing in them, "
            f"of {self._octets_max:,} at most"
        )

    def keep(self, key: str, working: Path, name: str, octets: int, digest: str, received_ns: int) -> Keeping:
        """Keep the whole file `working`, for which room was reserved; see `Keeping`.

        digest: SHA-256 of its content. received_ns: TAI, for the row. Raises OrbitnodeError.
        """
        self.release(key)
        kept, _ = yield from self._adopt(working, whole_name(name), octets, digest, [(0, octets)])
        self.counters.complete += 1
        self.counters.octets += octets
        return ProductRow(received_ns, kept, octets, True, digest, (), self._facts(kept))

    def keep_part(self, key: str, file: IncompleteFile, received_ns: int) -> Generator[None, None, ProductRow | None]:
        """Keep the octets that came at their places, and beside them a list of those that did not.

        Its end has no row if there is no room. Raises OrbitnodeError.
        """
        self.release(key)
        lines = [f"# {file.reason}; octets [start, end) that never came", *(f"{a} {b}" for a, b in file.missing)]
        listed = ("\n".join(lines) + "\n").encode()
        came, name, facts = file.came, safe_name(file.name) + PART, {"reason": file.reason}
        if not came or file.working is None:
            self.counters.empty += 1
            facts["file"] = "none, since nothing of it came"
        else:
            if not self._has_room(file.name, file.octets, len(listed)):
                return None
            digest = hashlib.sha256(listed + file.working.name.encode()).hexdigest()
            name, _ = yield from self._adopt(file.working, name, file.octets, digest, file.held)
            try:
                self._put(name + MISSING, listed)
            except OrbitnodeError as error:
                facts["fault"] = str(error)  # not worth losing the file: its row has the list as well
        self.counters.incomplete += 1
        self.counters.octets += came
        self.counters.octets_missing += file.octets - came
        return ProductRow(received_ns, name, came, False, "", file.missing, facts)

    def _facts(self, name: str) -> dict[str, Any]:
        """Put the answer beside a product and return what it says of itself. A file of another kind has no facts."""
        try:
            product = _product_in(self.path / name)
        except DecodeError as error:
            self.counters.undecodable += 1
            return {"fault": str(error)}
        except OSError as error:
            return {"fault": f"it cannot be read: {reason_of(error)}"}
        if product is None:
            return {}
        if self._on_product is not None:
            self._on_product(name, product)
        facts = facts_of(product)
        try:
            shown = readable(product)
            if shown is None:
                return facts
            if not self._fits(len(shown.octets)):
                self.counters.beside_refused += 1
                return facts | {"fault": "no room for the answer beside the product"}
            beside = self._put(whole_name(f"{Path(name).stem}-{shown.suffix}"), shown.octets)
            self.counters.octets_beside += len(shown.octets)
        except OrbitnodeError as error:
            return facts | {"fault": str(error)}
        return facts | {shown.key: beside}

    def _adopt(
        self, working: Path, name: str, octets: int, digest: str, held: Sequence[Stretch]
    ) -> Generator[None, None, tuple[str, bool]]:
        """Take a working file in and count it; the end has its name, and whether it is new. Raises OrbitnodeError."""
        try:
            with _as_written(working):
                if working.stat().st_size != octets:  # of a part, whose end did not come
                    with working.open("r+b") as stream:
                        stream.truncate(octets)
            kept, is_new = yield from self._folder.adopt(working, name, digest, held)
        except OrbitnodeError:
            self.counters.unwritten += 1
            raise
        self.counters.octets_counted += octets_taken(octets) if is_new else 0
        return kept, is_new

    def _put(self, name: str, content: bytes) -> str:
        """Put a file of our own in and count it; return its name. Raises OrbitnodeError."""
        kept, is_new = self._folder.put(name, content)
        self.counters.octets_counted += octets_taken(len(content)) if is_new else 0
        return kept

    def _fits(self, *octets: int) -> bool:
        taken = self.counters.octets_counted + sum(self._reserved.values())
        return taken + sum(map(octets_taken, octets)) <= self._octets_max

    def _has_room(self, name: str, *octets: int) -> bool:
        """Return whether files of these lengths may be kept; if not, that is counted and will be reported."""
        if self._fits(*octets):
            return True
        self.counters.refused_full += 1
        self._untold += 1
        self._newest_refused = safe_name(name)
        return False


@contextmanager
def _as_written(path: Path) -> Iterator[None]:
    """Turn what the system says into an error with the path."""
    try:
        yield
    except (OSError, OverflowError) as error:
        why = reason_of(error) if isinstance(error, OSError) else "no file is that long"
        raise OrbitnodeError(f"{path} cannot be written: {why}") from None


def _product_in(path: Path) -> Product | None:
    """Return the product that the file holds, None if it is of another kind. Raises DecodeError and OSError."""
    with path.open("rb") as file:
        if not is_product(file.read(_MAGIC_OCTETS)):
            return None
        octets = path.stat().st_size
        if octets > DECODED_OCTETS_MAX:
            raise DecodeError(f"product of {octets:,} octets, up to {DECODED_OCTETS_MAX:,} are looked into")
        file.seek(0)
        return decode_product(file.read())
