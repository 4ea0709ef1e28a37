"""A recording from octets to tables: what it holds is found, its packets are counted, and definitions decode them.

    octets --streams--> packets --definitions--> tables        and an account of all that was not used

    from ground.recording import decode
    result = decode("pass.cadu", definition="mission.xml")
    result.tables["power"]["voltage"]       # a NumPy array
    result.account["losses"]                # what was lost, damaged or not used, a line each

`decode` holds all tables at once. What is larger than memory goes through `open_recording`, batch by batch:

    recording = open_recording(["monday.raw", "tuesday.raw"], definition="mission.xml")
    for batch in recording:
        for table in batch.tables: ...
    recording.account

Batches come in the order of the octets; memory is that of a stretch of a few megabytes and its tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from flight.core.errors import OrbitnodeError
from ground.recording.apids import ApidCount, ApidCounts
from ground.recording.arrays import Array, array_of
from ground.recording.definition import PacketDefinition
from ground.recording.definition_set import DefinitionSet, NamedDefinition
from ground.recording.definitions.own_dictionary import dictionary_definition
from ground.recording.definitions.read import DefinitionsByApid, read_definition
from ground.recording.detection.detect import find
from ground.recording.detection.finding import Finding
from ground.recording.input_files import name_of, stretches
from ground.recording.packet_batch import PacketBatch
from ground.recording.streams.account import Account
from ground.recording.streams.link_options import LinkOptions
from ground.recording.streams.source import PacketSource
from ground.recording.summary import (
    TableSpans,
    apid_documents,
    definition_documents,
    found_lines,
    losses,
    stream_document,
    table_documents,
)
from ground.recording.table import Column, Table
from ground.recording.tables.cells import joined

File = str | Path

_TRIES = 16  # stretches in which it is tried to find out what they are


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a stretch of octets completed: packets, and the tables of those that definitions know."""

    packets: PacketBatch
    tables: list[Table]


class Recording:
    """One recording on its way through; iterate over it once, to its end. Raises OrbitnodeError if a file cannot be
    read, or if nothing tells what it holds.

    finding: how the octets are read, and what says so; None until iteration begins.
    told: called with the octets read so far, if it is set.
    """

    def __init__(
        self,
        files: Sequence[Path],
        link: LinkOptions,
        definitions: DefinitionSet,
        *,
        fallback: LinkOptions | None = None,
    ) -> None:
        """fallback: how to read it if nothing is found."""
        self.finding: Finding | None = None
        self.told: Callable[[int], None] | None = None
        self._files = files
        self._link = link
        self._fallback = fallback
        self._definitions = definitions
        self._source: PacketSource | None = None
        self._passed_over = 0  # octets before it was known what they are
        self._counts = ApidCounts()
        self._spans = TableSpans()

    def __iter__(self) -> Iterator[Decoded]:
        octets = stretches(self._files, self.told)
        for tries, stretch in enumerate(octets):
            if self._source is None and tries < _TRIES:
                self._find(stretch)
            if self._source is None:
                self._passed_over += len(stretch)
            else:
                yield self._decoded(self._source.feed(stretch))
        if self.finding is None:
            self._find(b"")
        if self._source is not None:
            yield self._decoded(self._source.finish())
        self._counts.finish()

    def _find(self, stretch: bytes) -> None:
        """Begin to read, if this stretch tells how."""
        self.finding = find(stretch, self._link)
        if not self.finding.is_known and self._fallback is not None:
            other = find(stretch, self._fallback)
            self.finding = other if other.is_known else self.finding
        if self.finding.is_known:
            self._source = PacketSource(self.finding.options)
        elif stretch and self._link.form is not None and not self._link.missing():
            self._source = PacketSource(self._link)  # nothing supports what was said, but all that is needed was

    def _decoded(self, batch: PacketBatch) -> Decoded:
        tables, unknown = self._definitions.decode(batch)
        self._counts.take(batch, unknown, tables)
        self._spans.take(tables)
        return Decoded(batch, tables)

    @property
    def apids(self) -> list[ApidCount]:
        """Packets by virtual channel and APID."""
        return list(self._counts)

    @property
    def account(self) -> dict[str, Any]:
        """What became of every octet so far, JSON-ready; `ground.recording.summary` says what is in it."""
        stream = Account() if self._source is None else replace(self._source.account)
        stream.octets += self._passed_over
        stream.skipped_octets += self._passed_over
        lost = losses(stream, self._counts, self._definitions)
        options = self._link if self._source is None else self._source.options
        return {
            "files": [name_of(path) for path in self._files],
            "form": None if options.form is None else str(options.form),
            "link": options.stated(),
            "confidence": 0.0 if self.finding is None else self.finding.confidence,
            "found": [] if self.finding is None else found_lines(self.finding),
            **stream_document(stream),
            "apids": apid_documents(self._counts, stream.apids),
            "definitions": definition_documents(self._definitions),
            "tables": table_documents(self._definitions, self._spans),
            "losses": lost,
            "complete": not lost,
        }


@dataclass(frozen=True, slots=True)
class DecodedTable(Mapping[str, Array]):
    """All packets of one definition: NumPy arrays by parameter (see ground.recording.arrays), and the `columns` that
    they are made of, with units and labels.
    """

    columns: Mapping[str, Column]

    def __getitem__(self, name: str) -> Array:
        return array_of(self.columns[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def labels(self, name: str) -> Array:
        """The labels of an enumeration, one per packet; empty text for a number without label."""
        column = self.columns[name]
        return np.array([column.labels.get(number, "") for number in column.values.tolist()], object)


@dataclass(frozen=True, slots=True)
class WholeRecording:
    """A recording in memory: tables by name, the account, and packets by virtual channel and APID."""

    tables: dict[str, DecodedTable]
    account: dict[str, Any]
    apids: list[ApidCount]


def open_recording(
    files: File | Sequence[File],
    *,
    definition: File | Sequence[File] = (),
    root_container: str | None = None,
    byte_order: str = "big",
    starts_at_data: bool = False,
    link: LinkOptions | None = None,
    mission: File | None = None,
    link_name: str = "",
    dictionary: File | None = None,
    tries_default: bool = False,
) -> Recording:
    """A recording to iterate over.

    files: one after the other, as if they were one.
    definition: XTCE, CSV tables of fields ("APID=FILE" if the file does not say the APID), or dictionaries.
    root_container: of XTCE, where to begin. byte_order: of a CSV file's fields without their own. starts_at_data: root
        container, or bit offsets of a CSV file, count from the end of the primary header.
    link: what is known of the recording; the rest is found.
    mission, link_name: a mission file says how its link is coded, and what its packets mean.
    dictionary: of the node that sent it, instead of the mission's.
    tries_default: without any definition or mission, try the default mission's dictionary.

    Raises OrbitnodeError if a definition cannot be used, or contradicts another option.
    """
    said = link or LinkOptions()
    if faults := said.faults():
        raise OrbitnodeError("; ".join(faults))
    how = {"root_container": root_container, "byte_order": byte_order, "starts_at_data": starts_at_data}
    given = _definitions(_paths(definition), how)
    fallback = on_trial = None
    if mission is not None or (tries_default and not given and dictionary is None):
        # All that flies comes with a mission, which takes longer than a short recording; other definitions need none.
        from flight.catalogue import dictionary_of
        from flight.mission import MISSIONS, load
        from ground.link.mission_link import chosen_link

        own = MISSIONS / "orbit.toml" if mission is None else Path(mission)
        loaded = load(own, opens_devices=False)
        of_mission = _over(LinkOptions.from_config(chosen_link(loaded, link_name).config), said)
        if dictionary is None:
            one = NamedDefinition(own.name, dictionary_definition(dictionary_of(loaded)))
            if mission is None:
                on_trial = one
            else:
                given.append(one)
        if mission is None:
            fallback = of_mission
        else:
            said = of_mission
    if dictionary is not None:
        given.append(NamedDefinition(str(dictionary), read_definition(Path(dictionary))))
    return Recording(_paths(files), said, DefinitionSet(given, on_trial), fallback=fallback)


def _paths(files: File | Sequence[File]) -> list[Path]:
    return [Path(files)] if isinstance(files, File) else [Path(one) for one in files]


def _definitions(files: Sequence[File], how: Mapping[str, Any]) -> list[NamedDefinition]:
    """Those of files, in their order, and behind them those of "APID=FILE" as one."""
    out: list[NamedDefinition] = []
    by_apid: dict[int, PacketDefinition] = {}
    names: list[str] = []
    read: dict[str, PacketDefinition] = {}  # one for several APIDs makes one table
    for file in map(str, files):
        apid, equals, path = file.partition("=")
        if not equals or not apid.strip().isdecimal():
            out.append(NamedDefinition(file, read_definition(Path(file), **how)))
            continue
        if path not in read:
            read[path] = read_definition(Path(path), **how)
        by_apid[int(apid)] = read[path]
        names.append(file)
    if by_apid:
        out.append(NamedDefinition(", ".join(names), DefinitionsByApid(by_apid)))
    return out


def _over(base: LinkOptions, said: LinkOptions) -> LinkOptions:
    """What a mission's file says of its link, but for what was said beside it."""
    default = LinkOptions()
    changed = {one.name: getattr(said, one.name) for one in fields(said)}
    return replace(base, **{name: value for name, value in changed.items() if value != getattr(default, name)})


def decode(files: File | Sequence[File], **options: Any) -> WholeRecording:
    """The whole recording at once; `options` as of `open_recording`. Memory is that of all tables."""
    recording = open_recording(files, **options)
    parts: dict[str, list[Table]] = {}
    for batch in recording:
        for table in batch.tables:
            parts.setdefault(table.name, []).append(table)
    tables = {
        name: DecodedTable({column: joined([one.columns[column] for one in some]) for column in some[0].columns})
        for name, some in parts.items()
    }
    return WholeRecording(tables, recording.account, recording.apids)
