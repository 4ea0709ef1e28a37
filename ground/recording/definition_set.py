"""Several files of definitions used as one, and a dictionary that is believed only if its own checks support it.

Definitions are asked in order: packets that one does not know go to the next. Tables keep the names that their
definitions give them. If two definitions use the same name, the later table is called `NAME of FILE`.
"""

# A dictionary on trial. If nobody says whose recording this is, the default mission's dictionary is tried:
#
#   on trial    each batch is decoded with it. Reports that pass length and error control are counted as sound, those
#               that fail as refused. The result is dropped, and no packet is called unknown.
#   believed    from the first batch on in which sound reports outnumber 1 in _CHANCE of the refused ones. From then on
#               it is a definition like any other, and its tables are kept.
#   given up    after _TRIES batches with packets: decoding each batch in vain costs time.
#
# Why these numbers: foreign packets pass a CRC-16 by chance once in 65,536, so 1 in 256 is far above chance, and a
# damaged recording of our own still passes easily. The result never flips back: a table that began stays.

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ground.recording.definition import DecodedBatch, PacketDefinition
from ground.recording.packet_batch import PacketBatch
from ground.recording.table import Table
from ground.recording.tables.file_names import DistinctNames

_CHANCE = 256  # one sound report in so many refused ones is more than chance
_TRIES = 64  # batches after which a dictionary on trial is given up


@dataclass(frozen=True, slots=True)
class NamedDefinition:
    """A definition, and the name that people know it by: its file."""

    name: str
    definition: PacketDefinition


class DefinitionSet:
    """Makes tables of batches with all definitions, in order, and counts the rows.

    rows: per table, the number of its rows.
    longer: per table, the rows whose packet has octets behind its last field.
    damaged: per table, the packets that were refused, by reason.
    """

    def __init__(self, given: Sequence[NamedDefinition], on_trial: NamedDefinition | None = None) -> None:
        self._given = list(given)
        self._on_trial = on_trial
        self._tries = 0
        self._names = DistinctNames()
        self._named: dict[tuple[int, str], str] = {}
        self.rows: Counter[str] = Counter()
        self.longer: Counter[str] = Counter()
        self.damaged: dict[str, Counter[str]] = {}

    @property
    def used(self) -> tuple[NamedDefinition, ...]:
        """The definitions that are believed, in the order in which they are asked."""
        return tuple(self._given)

    def decode(self, batch: PacketBatch) -> tuple[list[Table], NDArray[np.bool_] | None]:
        """Make tables of a batch of n packets.

        Returns the tables, and n booleans: whether no definition knows the packet; None if there is no definition.
        """
        if not self._given:
            decoded = self._tried(batch)
            if decoded is None:
                return [], None
            return self._named_tables(0, decoded, None), decoded.unknown
        tables: list[Table] = []
        rows: NDArray[np.intp] | None = None
        unknown = np.ones(len(batch), bool)
        for index, named in enumerate(self._given):
            part = batch if rows is None else batch.rows(rows)
            # `part` holds only what the definitions before this one did not know; `rows` leads back to the batch.
            decoded = named.definition.decode(part)
            tables += self._named_tables(index, decoded, rows)
            if rows is None:
                unknown = decoded.unknown.copy()
            else:
                unknown[rows] = decoded.unknown
            rows = np.flatnonzero(unknown)
        return tables, unknown

    def _tried(self, batch: PacketBatch) -> DecodedBatch | None:
        """Decode with the dictionary on trial; None unless this batch makes it believed."""
        if self._on_trial is None or self._tries >= _TRIES or not len(batch):
            return None
        self._tries += 1
        decoded = self._on_trial.definition.decode(batch)
        sound = sum(len(table) for table in decoded.tables)
        refused = sum(sum(table.damaged.values()) for table in decoded.tables)
        if sound * _CHANCE <= refused or not sound:
            return None
        self._given, self._on_trial = [self._on_trial], None
        return decoded

    def _named_tables(self, index: int, decoded: DecodedBatch, rows: NDArray[np.intp] | None) -> list[Table]:
        """Give tables distinct names, count their rows, and let `rows` refer to the whole batch again."""
        out = []
        for table in decoded.tables:
            name = self._named.get((index, table.name))
            if name is None:
                clashes = any(known == table.name for _, known in self._named)
                wanted = f"{table.name} of {self._given[index].name}" if clashes else table.name
                name = self._named[index, table.name] = self._names.give(wanted)
            self.rows[name] += len(table)
            self.longer[name] += table.longer
            self.damaged.setdefault(name, Counter()).update(table.damaged)
            out.append(replace(table, name=name, rows=table.rows if rows is None else rows[table.rows]))
        return out
