"""Several files of definitions as one, and a dictionary that is believed only if its own checks support it.

Definitions are asked in order: what one does not know goes to the next. Tables keep the names that their definitions
have; of two definitions with one name, the later one's table is called after its file as well.

If nobody says whose recording it is, the default mission's dictionary is on trial. It is taken from the first batch on
in which reports pass their checks (length and error control, which chance passes in one of 65,536): more of them than
in one of 256 that would be its own. Until then what it makes of packets is dropped, and no packet is called unknown.
"""

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

_CHANCE = 256
_TRIES = 64  # batches after which a dictionary on trial is not asked any more


@dataclass(frozen=True, slots=True)
class NamedDefinition:
    """A definition, and how it is called in what is said to people: its file."""

    name: str
    definition: PacketDefinition


class DefinitionSet:
    """Makes tables of batches with all of them.

    rows, longer, damaged: by table: how many rows it has, how many of them are of packets with octets behind their
        last field, and how many packets were refused, by reason.
    used: the names of the definitions that are believed.
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
        return tuple(self._given)

    def decode(self, batch: PacketBatch) -> tuple[list[Table], NDArray[np.bool_] | None]:
        """The tables, and which packets no definition knows; None for the latter if there is no definition."""
        if not self._given:
            first = self._tried(batch)
            if first is None:
                return [], None
            return self._named_tables(0, first, None), first.unknown
        tables: list[Table] = []
        rows: NDArray[np.intp] | None = None
        unknown = np.ones(len(batch), bool)
        for index, one in enumerate(self._given):
            part = batch if rows is None else batch.rows(rows)
            made = one.definition.decode(part)
            tables += self._named_tables(index, made, rows)
            if rows is None:
                unknown = made.unknown.copy()
            else:
                unknown[rows] = made.unknown
            rows = np.flatnonzero(unknown)
        return tables, unknown

    def _tried(self, batch: PacketBatch) -> DecodedBatch | None:
        if self._on_trial is None or self._tries >= _TRIES or not len(batch):
            return None
        self._tries += 1
        made = self._on_trial.definition.decode(batch)
        sound = sum(len(table) for table in made.tables)
        refused = sum(sum(table.damaged.values()) for table in made.tables)
        if sound * _CHANCE <= refused or not sound:
            return None
        self._given, self._on_trial = [self._on_trial], None
        return made

    def _named_tables(self, index: int, made: DecodedBatch, rows: NDArray[np.intp] | None) -> list[Table]:
        """Tables under names of their own, counted, and with rows of the whole batch."""
        out = []
        for table in made.tables:
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
