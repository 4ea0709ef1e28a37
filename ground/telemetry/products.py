"""Products: CFDP PDUs into files; what stayed incomplete is kept as .part with what is missing.

Beside a product that decodes lies its answer in a form that everybody reads (ground/telemetry/answers.py).

The names of files are the node's choice and come again, after a boot that lost its job numbers say. No file is written
over another: the second of a name gets a number, and when those are used up a name made of its content.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flight.core.errors import DecodeError, OrbitnodeError
from flight.link.cfdp.transfers import CfdpConfig, CfdpReceiver, FileAction, FileIncomplete
from ground.telemetry.answers import facts_of, readable
from ground.telemetry.archive_rows import ProductRow
from payloads.product.decode import Product, decode_product, is_product

_NAME_MAX = 100
_COPIES_MAX = 100
_DIGEST_DIGITS = 32
_ROUGH = ".tmp"  # ends the name of a file that is being written, and of no other


@dataclass(slots=True)
class ProductCounters:
    """Files by what became of them. `refused_full` were not written because the folder holds its most, `unwritten`
    because writing failed; `octets` are those that came, of files that were written; `octets_beside` those of the
    answers beside them."""

    complete: int = 0
    incomplete: int = 0
    undecodable: int = 0
    octets: int = 0
    octets_missing: int = 0
    octets_beside: int = 0
    refused_full: int = 0
    unwritten: int = 0


class ProductStore:
    """Receives files of one CFDP entity into `folder`. Bounded by `octets_max` in files of this run."""

    def __init__(
        self, folder: Path, config: CfdpConfig | None = None, *, octets_max: int = 1 << 32,
        on_product: Callable[[str, Product], None] | None = None,
    ) -> None:  # fmt: skip
        """`on_product(name, product)` sees every product that decoded. Raises OrbitnodeError for a bad folder."""
        self.folder = folder
        self.counters = ProductCounters()
        self.receiver = CfdpReceiver(config or CfdpConfig())
        self._octets_max = octets_max
        self._on_product = on_product
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise OrbitnodeError(f"products folder {folder} cannot be written: {error.strerror}") from None

    @property
    def next_time_ns(self) -> int | None:
        return self.receiver.next_time_ns

    def on_pdu(self, pdu: bytes, now_ns: int, received_ns: int) -> list[ProductRow | OrbitnodeError]:
        """Take one PDU; a row for each file it ended, or the fault where the file cannot be written."""
        return self._store(self.receiver.on_pdu(pdu, now_ns), received_ns)

    def on_time(self, now_ns: int, received_ns: int) -> list[ProductRow | OrbitnodeError]:
        """End transfers for which nothing came for too long."""
        return self._store(self.receiver.on_time(now_ns), received_ns)

    def end_all(self, received_ns: int) -> list[ProductRow | OrbitnodeError]:
        """End every open transfer: the ground closes down."""
        return self._store(self.receiver.end_all(), received_ns)

    def _store(self, actions: list[FileAction], received_ns: int) -> list[ProductRow | OrbitnodeError]:
        rows: list[ProductRow | OrbitnodeError] = []
        for one in actions:
            missing = sum(end - start for start, end in one.missing) if isinstance(one, FileIncomplete) else 0
            if self.counters.octets + self.counters.octets_beside + len(one.data) - missing > self._octets_max:
                self.counters.refused_full += 1
                continue
            try:
                if isinstance(one, FileIncomplete):
                    row = self._incomplete(one, len(one.data) - missing, received_ns)
                else:
                    row = self._complete(one.name, one.data, received_ns)
            except OrbitnodeError as error:
                self.counters.unwritten += 1
                rows.append(error)
                continue
            self.counters.octets += row.octets
            self.counters.octets_missing += missing
            rows.append(row)
        return rows

    def _complete(self, sent_name: str, data: bytes, received_ns: int) -> ProductRow:
        path = self._free_path(_stored_name(sent_name), data)
        self._write(path, data)
        self.counters.complete += 1
        return ProductRow(
            received_ns, path.name, len(data), True, hashlib.sha256(data).hexdigest(), (), self._facts(path, data)
        )

    def _incomplete(self, one: FileIncomplete, octets: int, received_ns: int) -> ProductRow:
        """The `octets` that came, zeros elsewhere, with a list beside them of those that did not."""
        path = self._free_path(safe_name(one.name) + ".part", one.data)
        self._write(path, one.data)
        self.counters.incomplete += 1
        facts = {"reason": one.reason}
        lines = [f"# {one.reason}; octets [start, end) that never came", *(f"{a} {b}" for a, b in one.missing)]
        try:
            listed = ("\n".join(lines) + "\n").encode()
            self._write(self._free_path(path.name + ".missing", listed), listed)
        except OrbitnodeError as error:
            facts["fault"] = str(error)  # the row has the list as well
        return ProductRow(received_ns, path.name, octets, False, "", one.missing, facts)

    def _facts(self, path: Path, data: bytes) -> dict[str, Any]:
        """What the product says of itself; its answer beside it. A file that is not a product is kept as it is."""
        if not is_product(data):
            return {}
        try:
            product = decode_product(data)
        except DecodeError as error:
            self.counters.undecodable += 1
            return {"fault": str(error)}
        if self._on_product is not None:
            self._on_product(path.name, product)
        facts = facts_of(product)
        try:
            shown = readable(product)
            if shown is None:
                return facts
            beside = self._free_path(_stored_name(f"{path.stem}-{shown.suffix}"), shown.octets)
            self._write(beside, shown.octets)
            self.counters.octets_beside += len(shown.octets)
        except OrbitnodeError as error:
            return facts | {"fault": str(error)}
        return facts | {shown.key: beside.name}

    def _free_path(self, name: str, data: bytes) -> Path:
        """`name` in the folder, with a number if another file already has it; see the head of the file."""
        path = self.folder / name
        stem, suffix = path.stem, path.suffix
        for number in range(2, _COPIES_MAX + 2):
            try:
                if not path.exists() or path.read_bytes() == data:
                    return path
            except OSError as error:
                raise OrbitnodeError(
                    f"{path} cannot be written: what is there cannot be read: {error.strerror}"
                ) from None
            path = self.folder / f"{stem}-{number}{suffix}"
        return self.folder / f"{stem}-{hashlib.sha256(data).hexdigest()[:_DIGEST_DIGITS]}{suffix}"

    def _write(self, path: Path, data: bytes) -> None:
        """Whole or not at all, also when the process is killed."""
        rough = path.with_name(path.name + _ROUGH)
        try:
            rough.write_bytes(data)
            rough.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                rough.unlink(missing_ok=True)
            raise OrbitnodeError(f"{path} cannot be written: {error.strerror}") from None


def _stored_name(sent: str) -> str:
    name = safe_name(sent)
    return f"{name}_" if name.endswith(_ROUGH) else name


def safe_name(sent: str) -> str:
    """A file name out of what the downlink says: no folders, nothing hidden, bounded."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", sent.replace("\\", "/").rsplit("/", 1)[-1]).lstrip(".")
    return name[:_NAME_MAX] or "unnamed"
