"""Files of packet definitions: which form one has, and what it defines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from flight.contract.dictionary import FORMAT, Dictionary
from flight.core.errors import OrbitnodeError, reason_of
from ground.recording.definition import DecodedBatch, PacketDefinition
from ground.recording.definitions.csv_fields import COLUMNS, csv_definition
from ground.recording.definitions.own_dictionary import dictionary_definition
from ground.recording.definitions.xtce.containers import xtce_definition
from ground.recording.definitions.xtce.xml_tree import xml_tree
from ground.recording.packet_batch import PacketBatch
from ground.recording.table import Table

OCTETS_MAX = 64 << 20
APID_MAX = 0x7FF


def read_definition(
    path: Path,
    *,
    root_container: str | None = None,
    name: str | None = None,
    byte_order: str = "big",
    starts_at_data: bool = False,
) -> PacketDefinition:
    """The packets that a file defines: XTCE, CSV as ccsdspy reads it, or our dictionary, as JSON or as XTCE.

    root_container: of XTCE, what every packet is (see `xtce_definition`). name: of the table that a CSV file makes;
    None for the file's. byte_order: of a CSV file's fields without their own (see `csv_fields`). starts_at_data: the
    root container, or the bit offsets of a CSV file, count from the end of the primary header.

    Raises OrbitnodeError, which names file, line and element, for any other file.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(OCTETS_MAX + 1)
    except (OSError, ValueError) as error:
        raise OrbitnodeError(f"{path} cannot be read: {reason_of(error)}") from None
    if len(octets) > OCTETS_MAX:
        raise OrbitnodeError(f"{path}: a file of definitions has at most {OCTETS_MAX >> 20} MiB")
    return definition_of(
        octets, str(path), path.stem if name is None else name, root_container=root_container, byte_order=byte_order,
        starts_at_data=starts_at_data,
    )  # fmt: skip


def definition_of(
    octets: bytes, source: str, name: str, *, root_container: str | None = None, byte_order: str = "big",
    starts_at_data: bool = False,
) -> PacketDefinition:  # fmt: skip
    """As `read_definition`, of a file's octets. source: of the file, for messages."""
    start = octets.lstrip(b"\xef\xbb\xbf\xfe\xff\x00 \t\r\n")[:1]
    if start == b"<":
        return xtce_definition(xml_tree(octets, source), root_container=root_container, starts_at_data=starts_at_data)
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OrbitnodeError(f"{source}: not a file of definitions: octet {error.start} is not UTF-8") from None
    if start == b"{":
        return _json(text, source)
    if "," not in text.partition("\n")[0]:
        raise OrbitnodeError(
            f"{source}: not a file of definitions: neither XTCE (<SpaceSystem ...>), nor a dictionary (JSON of format "
            f"{FORMAT}), nor CSV whose first line has {', '.join(COLUMNS)}"
        )
    return csv_definition(text, source, name, byte_order=byte_order, starts_at_data=starts_at_data)


def _json(text: str, source: str) -> PacketDefinition:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise OrbitnodeError(
            f"{source}: begins like JSON, and is not; `orbitnode dictionary --json` writes one"
        ) from None
    try:
        return dictionary_definition(Dictionary.from_document(document))
    except OrbitnodeError as error:
        raise OrbitnodeError(f"{source}: {error}") from None


class DefinitionsByApid:
    """A definition for the packets of each APID, as files of fields have it. Packets of others are unknown."""

    def __init__(self, definitions: Mapping[int, PacketDefinition]) -> None:
        """Raises OrbitnodeError for what is not an APID."""
        for apid in definitions:
            if not 0 <= apid <= APID_MAX:
                raise OrbitnodeError(f"APID {apid} is outside 0..{APID_MAX}")
        # One that several APIDs have is asked once, so that it makes one table.
        self._definitions = list({id(one): one for one in definitions.values()}.values())
        self._apids = [[apid for apid, other in definitions.items() if other is one] for one in self._definitions]
        self._owners: dict[str, int] = {}
        self.unsupported = tuple(dict.fromkeys(line for one in self._definitions for line in one.unsupported))

    def decode(self, batch: PacketBatch) -> DecodedBatch:
        """The tables of each APID's definition; if two definitions have a table of one name, the second one's is
        called `name.apid`.
        """
        unknown = np.ones(len(batch), bool)
        tables: list[Table] = []
        for index, (definition, apids) in enumerate(zip(self._definitions, self._apids, strict=True)):
            rows = np.flatnonzero(np.isin(batch.apid, apids))
            if not len(rows):
                continue
            part = definition.decode(batch if len(rows) == len(batch) else batch.rows(rows))
            unknown[rows] = part.unknown
            for table in part.tables:
                is_first = self._owners.setdefault(table.name, index) == index
                name = table.name if is_first else f"{table.name}.{apids[0]}"
                tables.append(replace(table, name=name, rows=rows[table.rows]))
        return DecodedBatch(tables, unknown)
