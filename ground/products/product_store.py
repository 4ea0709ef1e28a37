"""Products: CFDP PDUs (CCSDS 727.0-B-5) into files; an incomplete file is kept as `.part` with a list of what it lacks.

Beside a product that decodes lies its answer in a form that everybody reads (ground/products/answers.py).
"""

# What becomes of a transfer, which the receiver below ends in one of two ways:
#
#   whole       --fits--> its file, and its answer beside it if it is a product; a row in the archive
#   incomplete  --something came, and it fits--> NAME.part and NAME.part.missing; a row with the ranges that it lacks
#   incomplete  --nothing came--> a row without a file
#   any         --does not fit--> nothing is written; counted, and reported by `refusals`
#
# Names are the node's choice, and they repeat, for example after a boot that lost its job numbers. No file is ever
# overwritten: the second of a name gets a number, then a name made of its content (names.py).
#
# A length is only its sender's claim. It may take no disk, since what is missing is not written, but it counts in full
# against `octets_max`: somebody may copy the file to a place where holes are not kept.
#
# The bound is on what this process wrote, not on the folder: older files belong to whoever keeps them there.

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flight.core.errors import DecodeError, OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.cfdp.transfers import CfdpConfig, CfdpReceiver, FileAction, FileIncomplete, FileReceived
from flight.text.plural import plural
from ground.products.answers import facts_of, readable
from ground.products.names import MISSING, PART, safe_name, whole_name
from ground.products.product_folder import ProductFolder, octets_taken
from ground.telemetry.archive_rows import ProductRow
from payloads.product.decode import Product, decode_product, is_product

_TELL_S = 60  # between two reports of what was refused: a whole pass may be refused file by file


@dataclass(slots=True)
class ProductCounters:
    """Files by what became of them.

    refused_full: not written for want of room. unwritten: writing failed. empty: incomplete, and nothing came of it.
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
    """Receives files of one CFDP entity into `folder`.

    octets_max: bound on all files of this run together, each counted in whole blocks and with what it lacks.
    """

    def __init__(
        self, folder: Path, config: CfdpConfig | None = None, *, octets_max: int = 1 << 32,
        on_product: Callable[[str, Product], None] | None = None,
    ) -> None:  # fmt: skip
        """`on_product(name, product)` sees every product that decoded. Raises OrbitnodeError for a bad folder."""
        self.counters = ProductCounters()
        self.receiver = CfdpReceiver(config or CfdpConfig())
        self._octets_max = octets_max
        self._on_product = on_product
        self._folder = ProductFolder(folder)
        self._untold = 0
        self._newest_refused = ""
        self._tell_at_ns: int | None = None

    @property
    def next_time_ns(self) -> int | None:
        """When `on_time` has something to do next, None if nothing is under way."""
        return self.receiver.next_time_ns

    def on_pdu(self, pdu: bytes, now_ns: int, received_ns: int) -> list[ProductRow | OrbitnodeError]:
        """Take one PDU; return a row per file that it ended, or the fault if the file cannot be written.

        received_ns: TAI of the reception, for the row.
        """
        return self._store(self.receiver.on_pdu(pdu, now_ns), received_ns)

    def on_time(self, now_ns: int, received_ns: int) -> list[ProductRow | OrbitnodeError]:
        """End transfers for which nothing came for too long; return as `on_pdu` does."""
        return self._store(self.receiver.on_time(now_ns), received_ns)

    def end_all(self, received_ns: int) -> list[ProductRow | OrbitnodeError]:
        """End every open transfer, since the ground closes down; return as `on_pdu` does."""
        return self._store(self.receiver.end_all(), received_ns)

    def refusals(self, now_ns: int) -> str:
        """Return a text on files for which there was no room, empty if there is nothing to report now."""
        if not self._untold or (self._tell_at_ns is not None and now_ns < self._tell_at_ns):
            return ""
        count, self._untold, self._tell_at_ns = self._untold, 0, now_ns + _TELL_S * NS
        return (
            f"{count} {plural(count, 'file')} not written, the last of them {self._newest_refused}: the products of "
            f"this run count {self.counters.octets_counted:,} octets, with what is missing in them, "
            f"of {self._octets_max:,} at most"
        )

    def _store(self, actions: list[FileAction], received_ns: int) -> list[ProductRow | OrbitnodeError]:
        rows: list[ProductRow | OrbitnodeError] = []
        for action in actions:
            try:
                if isinstance(action, FileIncomplete):
                    row = self._incomplete(action, received_ns)
                else:
                    row = self._complete(action, received_ns)
            except OrbitnodeError as error:
                self.counters.unwritten += 1
                rows.append(error)
                continue
            if row is not None:
                rows.append(row)
        return rows

    def _complete(self, file: FileReceived, received_ns: int) -> ProductRow | None:
        data = file.data
        if not self._has_room(file.name, len(data)):
            return None
        name = self._put(whole_name(file.name), ((0, data),), len(data))
        self.counters.complete += 1
        self.counters.octets += len(data)
        return ProductRow(
            received_ns, name, len(data), True, hashlib.sha256(data).hexdigest(), (), self._facts(name, data)
        )

    def _incomplete(self, file: FileIncomplete, received_ns: int) -> ProductRow | None:
        """Keep the octets that came at their places, and beside them a list of those that did not."""
        lines = [f"# {file.reason}; octets [start, end) that never came", *(f"{a} {b}" for a, b in file.missing)]
        listed = ("\n".join(lines) + "\n").encode()
        came, name, facts = file.octets_here, safe_name(file.name) + PART, {"reason": file.reason}
        if not came:
            self.counters.empty += 1
            facts["file"] = "none, since nothing of it came"
        else:
            if not self._has_room(file.name, file.octets, len(listed)):
                return None
            name = self._put(name, file.pieces, file.octets)
            try:
                self._put(name + MISSING, ((0, listed),), len(listed))
            except OrbitnodeError as error:
                facts["fault"] = str(error)  # not worth losing the file: its row has the list as well
        self.counters.incomplete += 1
        self.counters.octets += came
        self.counters.octets_missing += file.octets - came
        return ProductRow(received_ns, name, came, False, "", file.missing, facts)

    def _facts(self, name: str, data: bytes) -> dict[str, Any]:
        """Put the answer beside a product and return what it says of itself. A file of another kind has no facts."""
        if not is_product(data):
            return {}
        try:
            product = decode_product(data)
        except DecodeError as error:
            self.counters.undecodable += 1
            return {"fault": str(error)}
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
            beside = self._put(whole_name(f"{Path(name).stem}-{shown.suffix}"), ((0, shown.octets),), len(shown.octets))
            self.counters.octets_beside += len(shown.octets)
        except OrbitnodeError as error:
            return facts | {"fault": str(error)}
        return facts | {shown.key: beside}

    def _put(self, name: str, pieces: tuple[tuple[int, bytes], ...], octets: int) -> str:
        """Put a file in and count it; return its name. Raises OrbitnodeError."""
        stored, is_new = self._folder.put(name, pieces, octets)
        self.counters.octets_counted += octets_taken(octets) if is_new else 0
        return stored

    def _fits(self, *octets: int) -> bool:
        return self.counters.octets_counted + sum(map(octets_taken, octets)) <= self._octets_max

    def _has_room(self, name: str, *octets: int) -> bool:
        """Return whether files of these lengths may be written; if not, that is counted and will be reported."""
        if self._fits(*octets):
            return True
        self.counters.refused_full += 1
        self._untold += 1
        self._newest_refused = safe_name(name)
        return False
