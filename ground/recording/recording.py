"""Decodes a recording from octets to tables: finds out what it holds, counts its packets, and applies definitions.

    octets --streams--> packets --definitions--> tables        and an account of all that was not used

    from ground.recording import decode
    result = decode("pass.cadu", definition="mission.xml")
    result.tables["power"]["voltage"]       # a NumPy array
    result.account["losses"]                # what was lost, damaged or not used, one line each

`decode` holds all tables in memory at once. Larger recordings go through `open_recording`, batch by batch:

    recording = open_recording(["monday.raw", "tuesday.raw"], definition="mission.xml")
    for batch in recording:
        for table in batch.tables: ...
    recording.account

Batches come in the order of the octets. Memory is that of a stretch of a few megabytes and its tables.
"""

# How a recording goes through (ADR 0034):
#
#   finding     each of the first _TRIES stretches is handed to detection until one tells what it is. Stretches before
#               that count as skipped: a recorder may begin with hours of fill. If detection finds nothing in what the
#               user said, the default mission's link is tried as a fallback, but only as a hint: its checks must agree.
#   reading     all later stretches go through one PacketSource. The reading is never revised: packets that were given
#               cannot be taken back, and the account must add up.
#   nothing     no stretch told what it is. Everything counts as skipped, and the losses say "no packets".
#
# If the user named the form and all that reading it needs, that is done even though no check supports it: the user may
# know better than statistics.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from flight.core.errors import OrbitnodeError
from ground.recording.apid_counts import ApidCount, ApidCounts
from ground.recording.column_arrays import Array, array_of
from ground.recording.definition import PacketDefinition
from ground.recording.definition_set import DefinitionSet, NamedDefinition
from ground.recording.definitions.definition_files import DefinitionsByApid, read_definition
from ground.recording.definitions.own_dictionary import dictionary_definition
from ground.recording.detection.detect import find, is_run
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
from ground.recording.tables.column_values import joined

File = str | Path

_TRIES = 16  # stretches, 64 MiB, after which detection is no longer tried


@dataclass(frozen=True, slots=True)
class Decoded:
    """The packets that a stretch of octets completed, and the tables of those that definitions know."""

    packets: PacketBatch
    tables: list[Table]


class Recording:
    """One recording as it is decoded. Iterate over it once, to its end; then `account` is complete.

    finding: how the octets are read, and on what evidence; None until iteration begins.
    on_progress: if set, called with the number of octets read so far.

    Iteration raises OrbitnodeError if a file cannot be read, or if the options contradict one another.
    """

    def __init__(
        self,
        files: Sequence[Path],
        link: LinkOptions,
        definitions: DefinitionSet,
        *,
        stated: LinkOptions | None = None,
        fallback: LinkOptions | None = None,
    ) -> None:
        """Read `files` as `link` says.

        stated: the part of `link` that the user stated, if a mission file says the rest (see `detect.find`).
        fallback: a further hint for detection if it finds nothing with `link`.
        """
        self.finding: Finding | None = None
        self.on_progress: Callable[[int], None] | None = None
        self._files = files
        self._link = link
        self._stated = link if stated is None else stated
        self._fallback = fallback
        self._definitions = definitions
        self._source: PacketSource | None = None
        self._was_run = True  # so far all octets were the same
        self._passed_over = 0  # octets read before detection knew what they are
        self._counts = ApidCounts()
        self._spans = TableSpans()

    def __iter__(self) -> Iterator[Decoded]:
        octets = stretches(self._files, self.on_progress)
        for tries, stretch in enumerate(octets):
            if self._source is None and tries < _TRIES:
                self._find(stretch)
            if self._source is None:
                self._passed_over += len(stretch)
            else:
                yield self._decoded(self._source.feed(stretch))
        if self.finding is None:  # the input is empty
            self._find(b"")
        if self._source is not None:
            yield self._decoded(self._source.finish())
        self._counts.finish()

    def _find(self, stretch: bytes) -> None:
        """Set `finding`, and the source if this stretch tells how to read the recording."""
        found = self._found(stretch, self._link)
        if not found.is_known and self._fallback is not None:
            other = self._found(stretch, self._fallback)
            found = other if other.is_known else found
        # If nothing is recognised, the beginning tells more than the last stretch: what kind of file it is, and where
        # the first frame is that would fit without the options.
        before = self.finding
        if before is None or found.is_known or self._was_run or (found.alternatives and not before.alternatives):
            self.finding = found
        self._was_run = self._was_run and is_run(stretch)
        if found.is_known:
            self._source = PacketSource(found.options)
        elif stretch and self._link.form is not None and not self._link.missing():
            self._source = PacketSource(self._link)  # no evidence, but the user said all that reading needs

    def _found(self, stretch: bytes, hint: LinkOptions) -> Finding:
        return find(stretch, hint, stated=self._stated, offset=self._passed_over)

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
        """What became of every octet so far, JSON-ready; `ground.recording.summary` lists its keys."""
        # A copy: what was passed over is added to it, each time that somebody asks.
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
    """All packets of one definition, as NumPy arrays by parameter (see ground.recording.column_arrays).

    columns: what the arrays are made of, with units and labels.
    """

    columns: Mapping[str, Column]

    def __getitem__(self, name: str) -> Array:
        return array_of(self.columns[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def labels(self, name: str) -> Array:
        """Return the labels of an enumeration, one per packet; empty text for a number without a label."""
        column = self.columns[name]
        return np.array([column.labels.get(number, "") for number in column.values.tolist()], object)


@dataclass(frozen=True, slots=True)
class WholeRecording:
    """A recording in memory: tables by name, the account, and packet counts by virtual channel and APID."""

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
    """Open a recording to iterate over.

    files: read one after the other, as if they were one file.
    definition: XTCE files, CSV tables of fields ("APID=FILE" if the file does not say the APID), or dictionaries.
    root_container: of XTCE, the container that every packet is.
    byte_order: of CSV fields that do not state their own.
    starts_at_data: the root container, or the bit offsets of a CSV file, count from the end of the primary header.
    link: what is known of the recording; the rest is detected.
    mission, link_name: a mission file that says how the link is coded and what the packets mean.
    dictionary: of the node that sent the packets, instead of the mission's.
    tries_default: try the default mission's dictionary if no definition and no mission is given.

    Raises OrbitnodeError if a definition cannot be used, or contradicts another option.
    """
    stated = link or LinkOptions()
    if faults := stated.faults():
        raise OrbitnodeError("; ".join(faults))
    how = {"root_container": root_container, "byte_order": byte_order, "starts_at_data": starts_at_data}
    given = _definitions(_paths(definition), how)
    whole = stated
    fallback = on_trial = None
    if mission is not None or (tries_default and not given and dictionary is None):
        # Imported only here: loading a mission loads all flight code, which takes longer than decoding a short file.
        from flight.catalogue import dictionary_of
        from flight.mission import MISSIONS, load
        from ground.link.mission_link import chosen_link

        own = MISSIONS / "orbit.toml" if mission is None else Path(mission)
        loaded = load(own, opens_devices=False)
        of_mission = _over(LinkOptions.from_config(chosen_link(loaded, link_name).config), stated)
        if dictionary is None:
            definition_of_mission = NamedDefinition(own.name, dictionary_definition(dictionary_of(loaded)))
            if mission is None:
                on_trial = definition_of_mission
            else:
                given.append(definition_of_mission)
        if mission is None:
            fallback = of_mission
        else:
            whole = of_mission
    if dictionary is not None:
        given.append(NamedDefinition(str(dictionary), read_definition(Path(dictionary))))
    return Recording(_paths(files), whole, DefinitionSet(given, on_trial), stated=stated, fallback=fallback)


def _paths(files: File | Sequence[File]) -> list[Path]:
    return [Path(files)] if isinstance(files, File) else [Path(file) for file in files]


def _definitions(files: Sequence[File], how: Mapping[str, Any]) -> list[NamedDefinition]:
    """Read definition files: those without an APID in their order, then all "APID=FILE" together as one."""
    out: list[NamedDefinition] = []
    by_apid: dict[int, PacketDefinition] = {}
    names: list[str] = []
    read: dict[str, PacketDefinition] = {}  # by path: a file that is named for several APIDs makes one table
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


def _over(base: LinkOptions, stated: LinkOptions) -> LinkOptions:
    """Return the options of a mission's link, with every option that was set explicitly in its place."""
    default = LinkOptions()
    changed = {option.name: getattr(stated, option.name) for option in fields(stated)}
    return replace(base, **{name: value for name, value in changed.items() if value != getattr(default, name)})


def decode(files: File | Sequence[File], **options: Any) -> WholeRecording:
    """Decode a whole recording; `options` as for `open_recording`. All tables are held in memory."""
    recording = open_recording(files, **options)
    parts: dict[str, list[Table]] = {}
    for batch in recording:
        for table in batch.tables:
            parts.setdefault(table.name, []).append(table)
    tables = {
        name: DecodedTable({column: joined([part.columns[column] for part in pieces]) for column in pieces[0].columns})
        for name, pieces in parts.items()
    }
    return WholeRecording(tables, recording.account, recording.apids)
