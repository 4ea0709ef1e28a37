"""The account of a whole recording as one JSON-ready document: for `--json`, for the printed account, and for Python.

files, octets           what was read
form, link, confidence, found
                        how it was read, how sure that is (0 to 1), and the evidence for it, one line each
packets                 how many were given
classes, refused        octets by what became of them (see ground.recording.streams.account), and the refused ones by
                        reason
encapsulated            encapsulation packets by protocol; they are passed over
segments, unassembled   packets that are parts of one, and those of an incomplete group
resyncs                 how often the next unit, frame or packet had to be searched for
coding, frames, channels, apids, definitions, tables
                        `coding` only of units, `frames` and `channels` only of units and frames
losses                  what was lost, damaged, not used or not supported, one line each
complete                whether there were packets and no losses

The keys are a file format that scripts read: they change only with an entry in the change log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from flight.text.plural import counted
from ground.recording.apid_counts import ApidCount, times_of
from ground.recording.definition_set import DefinitionSet
from ground.recording.detection.finding import CERTAIN, LIKELY, Finding
from ground.recording.packet_batch import NO_CHANNEL
from ground.recording.streams.account import Account, ApidAccount
from ground.recording.streams.encapsulation import PROTOCOLS
from ground.recording.table import Table
from ground.recording.tables.column_values import NO_INSTANT

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TableSpans:
    """Keeps the earliest and latest time of every table, ns of POSIX time."""

    def __init__(self) -> None:
        self._spans: dict[str, tuple[int, int]] = {}

    def take(self, tables: Iterable[Table]) -> None:
        """Widen the spans by the rows of a batch."""
        for table in tables:
            found = times_of(table)
            if found is None:
                continue
            known = found[1][found[1] != NO_INSTANT]
            if len(known):
                first, last = int(known.min()), int(known.max())
                before = self._spans.get(table.name, (first, last))
                self._spans[table.name] = min(first, before[0]), max(last, before[1])

    def of(self, name: str) -> dict[str, str | None]:
        """Return `first` and `last` of one table as UTC; None if it has no times."""
        first, last = self._spans.get(name, (None, None))
        return {"first": utc(first), "last": utc(last)}


def utc(posix_ns: int | None) -> str | None:
    """Format ns of POSIX time as 2026-03-20T09:35:00.000Z, rounded down; None stays None."""
    if posix_ns is None:
        return None
    # Whole microseconds as an integer: a float of seconds would be off by some hundred ns by now.
    time = _EPOCH + timedelta(microseconds=posix_ns // 1000)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


def found_lines(finding: Finding) -> list[str]:
    """Say how a recording is read, how sure that is, and on what evidence, one line each."""
    if not finding.is_known:
        return [f"not recognised: {line}" for line in finding.evidence]
    sure = "certain" if finding.confidence >= CERTAIN else "likely" if finding.confidence >= LIKELY else "a guess"
    return [f"{finding.options.form}, {sure}", *finding.evidence]


def stream_document(account: Account) -> dict[str, Any]:
    """Return what became of the octets on their way to packets."""
    document: dict[str, Any] = {
        "octets": account.octets,
        "packets": account.packets,
        "classes": {
            "packets": account.packet_octets,
            "overhead": account.overhead_octets,
            "idle": account.idle_octets,
            "fill": account.fill_octets,
            "encapsulated": account.encapsulated_octets,
            "refused": account.refused_octets,
            "skipped": account.skipped_octets,
            "left": account.left_octets,
        },
        "refused": {reason: octets for reason, octets in sorted(account.refused.items()) if octets},
        "encapsulated": {PROTOCOLS.get(number, str(number)): n for number, n in sorted(account.encapsulated.items())},
        "segments": account.segments,
        "unassembled": account.unassembled,
        "resyncs": account.resyncs,
    }
    if account.coding is not None:
        document["coding"] = asdict(account.coding)
    if account.channels or account.frames_refused:
        document["frames"] = {"good": account.frames, **dict(sorted(account.frames_refused.items()))}
        document["channels"] = {str(vcid): asdict(channel) for vcid, channel in sorted(account.channels.items())}
    return document


def apid_documents(counts: Iterable[ApidCount], streams: Mapping[tuple[int, int], ApidAccount]) -> list[dict[str, Any]]:
    """Return packets by channel and APID, with what the stream's account says of their sequence counts."""
    out = []
    for count in counts:
        stream = streams.get((NO_CHANNEL if count.vcid is None else count.vcid, count.apid), ApidAccount())
        out.append(
            {
                "vcid": count.vcid,
                "apid": count.apid,
                "packets": count.packets,
                "octets": count.octets,
                # None, not 0, if the APID does not count: nothing is known then.
                "missing": stream.missing if stream.counts else None,
                "gaps": stream.gaps if stream.counts else None,
                "segments": count.segments,
                "telecommands": count.telecommands,
                "unknown": count.unknown,
                "tables": dict(count.tables),
                "first": utc(count.first_ns),
                "last": utc(count.last_ns),
                "time_from": count.time_from,
            }
        )
    return out


def table_documents(definitions: DefinitionSet, spans: TableSpans) -> list[dict[str, Any]]:
    """Return the tables with their rows, and the packets that were refused instead of becoming rows."""
    return [
        {
            "name": name,
            "rows": rows,
            "damaged": dict(definitions.damaged[name]),
            "longer": definitions.longer[name],
            **spans.of(name),
        }
        for name, rows in definitions.rows.items()
    ]


def losses(account: Account, apids: Iterable[ApidCount], definitions: DefinitionSet) -> list[str]:
    """List what was lost, damaged, not used or not supported, one line each; empty if nothing was."""
    out = [] if account.packets or account.encapsulated else ["no packets"]
    # From the octets upward: what was lost on the way explains what is missing further on.
    out += account.losses()
    # By APID, over all virtual channels: the same definition is missing for all of them.
    unknown: dict[int, int] = {}
    for count in apids:
        if count.unknown:
            unknown[count.apid] = unknown.get(count.apid, 0) + count.unknown
    out += [f"{counted(n, 'packet')} of APID {apid} that no definition knows" for apid, n in sorted(unknown.items())]
    for name, reasons in definitions.damaged.items():
        if definitions.longer[name]:
            longer = counted(definitions.longer[name], "packet")
            out.append(f"{longer} of {name} with octets behind the last field")
        out += [f"{counted(n, 'packet')} of {name} damaged: {reason}" for reason, n in sorted(reasons.items()) if n]
    for named in definitions.used:
        out += [f"not supported, {named.name}: {line}" for line in named.definition.unsupported]
    return out


def definition_documents(definitions: DefinitionSet) -> Sequence[dict[str, Any]]:
    """Return the definitions that were used, and what of each is passed over."""
    return [{"name": named.name, "unsupported": list(named.definition.unsupported)} for named in definitions.used]
