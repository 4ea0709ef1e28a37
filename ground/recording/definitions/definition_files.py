"""Reads files of packet definitions: finds out which form one has, and what it defines.

The form is recognised by the first character that is not space: `<` is XTCE, `{` our dictionary, anything else must be
CSV.
"""

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

OCTETS_MAX = 64 << 20  # of a file, which is read whole: somebody may name a recording by mistake
APID_MAX = 0x7FF


def read_definition(
    path: Path,
    *,
    root_container: str | None = None,
    name: str | None = None,
    byte_order: str = "big",
    starts_at_data: bool = False,
) -> PacketDefinition:
    """Read the packets that a file defines: XTCE, CSV as ccsdspy reads it, or our dictionary as JSON or XTCE.

    root_container: of XTCE, the container that every packet is (see `xtce_definition`).
    name: of the table that a CSV file makes; None for the name of the file.
    byte_order: of CSV fields that do not state their own (see `csv_fields`).
    starts_at_data: the root container, or the bit offsets of a CSV file, count from the end of the primary header.

    Raises OrbitnodeError, which names file, line and element, for any other file.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(OCTETS_MAX + 1)
    except (OSError, ValueError) as error:
        raise OrbitnodeError(f"{path} cannot be read: {reason_of(error)}") from None
    if len(octets) > OCTETS_MAX:
        raise OrbitnodeError(
            f"{path}: larger than {OCTETS_MAX >> 20} MiB, the most that a file of definitions may have"
        )
    return definition_of(
        octets, str(path), path.stem if name is None else name, root_container=root_container, byte_order=byte_order,
        starts_at_data=starts_at_data,
    )  # fmt: skip


def definition_of(
    octets: bytes, source: str, name: str, *, root_container: str | None = None, byte_order: str = "big",
    starts_at_data: bool = False,
) -> PacketDefinition:  # fmt: skip
    """Read a definition from the octets of a file, as `read_definition` does. source: its name, for messages."""
    # Byte order marks and the zeros of UTF-16 are passed over, so that XML in any encoding is told by its "<".
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
    """Read a dictionary document. Raises OrbitnodeError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise OrbitnodeError(
            f"{source}: begins like JSON, but is not valid JSON; `orbitnode dictionary --json` writes a valid file"
        ) from None
    try:
        return dictionary_definition(Dictionary.from_document(document))
    except OrbitnodeError as error:
        raise OrbitnodeError(f"{source}: {error}") from None


class DefinitionsByApid:
    """Applies a definition of its own to the packets of each APID. Packets of other APIDs are unknown."""

    def __init__(self, definitions: Mapping[int, PacketDefinition]) -> None:
        """Combine definitions, by APID. Raises OrbitnodeError for a number that is not an APID."""
        for apid in definitions:
            if not 0 <= apid <= APID_MAX:
                raise OrbitnodeError(f"APID {apid} is outside 0..{APID_MAX}")
        # A definition of several APIDs is applied once to all of their packets, so that it makes one table.
        self._definitions = list({id(definition): definition for definition in definitions.values()}.values())
        self._apids = [
            [apid for apid, other in definitions.items() if other is definition] for definition in self._definitions
        ]
        self._owners: dict[str, int] = {}
        self.unsupported = tuple(
            dict.fromkeys(line for definition in self._definitions for line in definition.unsupported)
        )

    def decode(self, batch: PacketBatch) -> DecodedBatch:
        """Make the tables of each APID's definition.

        If two definitions use one name, the table of the second is called `name.apid`, in this and all later batches.
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
