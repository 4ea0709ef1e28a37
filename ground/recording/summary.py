"""The account of a whole recording as one document, JSON-ready: for `--json`, for what is shown, and for Python.

files, octets           what was read
form, link, found       how it was read, and what said so, a line each
classes, refused        octets by what became of them (see ground.recording.streams.account), and those refused by
                        reason
encapsulated            encapsulation packets by protocol; they are passed over
coding, frames, channels, apids, definitions, tables
losses                  what was lost, damaged, not used or not supported, a line each
complete                whether there were packets and no losses
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from ground.recording.apids import ApidCount, times_of
from ground.recording.definition_set import DefinitionSet
from ground.recording.detection.finding import CERTAIN, LIKELY, Finding
from ground.recording.packet_batch import NO_CHANNEL
from ground.recording.streams.account import Account, ApidAccount
from ground.recording.streams.encapsulation import PROTOCOLS
from ground.recording.table import Table
from ground.recording.tables.cells import NO_INSTANT

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TableSpans:
    """Earliest and latest time of every table, ns of POSIX time."""

    def __init__(self) -> None:
        self._spans: dict[str, tuple[int, int]] = {}

    def take(self, tables: Iterable[Table]) -> None:
        """Widen them by the rows of a batch."""
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
        """Of one table, as UTC."""
        first, last = self._spans.get(name, (None, None))
        return {"first": utc(first), "last": utc(last)}


def utc(posix_ns: int | None) -> str | None:
    """2026-03-20T09:35:00.000Z, rounded down."""
    if posix_ns is None:
        return None
    time = _EPOCH + timedelta(microseconds=posix_ns // 1000)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


def found_lines(finding: Finding) -> list[str]:
    """How a recording is read, how sure that is, and on what grounds."""
    if not finding.is_known:
        return [f"nothing tells what it is: {line}" for line in finding.evidence]
    sure = "certain" if finding.confidence >= CERTAIN else "likely" if finding.confidence >= LIKELY else "a guess"
    return [f"{finding.options.form}, {sure}", *finding.evidence]


def stream_document(account: Account) -> dict[str, Any]:
    """What became of the octets on their way to packets."""
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
        "encapsulated": {PROTOCOLS.get(one, str(one)): n for one, n in sorted(account.encapsulated.items())},
        "segments": account.segments,
        "unassembled": account.unassembled,
        "resyncs": account.resyncs,
    }
    if account.coding is not None:
        document["coding"] = asdict(account.coding)
    if account.channels or account.frames_refused:
        document["frames"] = {"good": account.frames, **dict(sorted(account.frames_refused.items()))}
        document["channels"] = {str(vcid): asdict(one) for vcid, one in sorted(account.channels.items())}
    return document


def apid_documents(counts: Iterable[ApidCount], streams: Mapping[tuple[int, int], ApidAccount]) -> list[dict[str, Any]]:
    """Packets by channel and APID, with what the stream's account says of their sequence counts."""
    out = []
    for one in counts:
        counted = streams.get((NO_CHANNEL if one.vcid is None else one.vcid, one.apid), ApidAccount())
        out.append(
            {
                "vcid": one.vcid,
                "apid": one.apid,
                "packets": one.packets,
                "octets": one.octets,
                "missing": counted.missing if counted.counts else None,
                "gaps": counted.gaps if counted.counts else None,
                "segments": one.segments,
                "telecommands": one.telecommands,
                "unknown": one.unknown,
                "tables": dict(one.tables),
                "first": utc(one.first_ns),
                "last": utc(one.last_ns),
                "time_from": one.time_from,
            }
        )
    return out


def table_documents(definitions: DefinitionSet, spans: TableSpans) -> list[dict[str, Any]]:
    """Tables with their rows, and the packets that were refused instead of becoming rows."""
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
    """What was lost, damaged, not used or not supported, a line each; empty if nothing was."""
    out = [] if account.packets or account.encapsulated else ["no packets"]
    out += account.losses()
    unknown: dict[int, int] = {}
    for one in apids:
        if one.unknown:
            unknown[one.apid] = unknown.get(one.apid, 0) + one.unknown
    out += [f"{n:,} packets of APID {apid} that no definition knows" for apid, n in sorted(unknown.items())]
    for name, reasons in definitions.damaged.items():
        if definitions.longer[name]:
            out.append(f"{definitions.longer[name]:,} packets of {name} have octets behind their last field")
        out += [f"{n:,} packets of {name} damaged: {reason}" for reason, n in sorted(reasons.items()) if n]
    for used in definitions.used:
        out += [f"not supported, {used.name}: {line}" for line in used.definition.unsupported]
    return out


def definition_documents(definitions: DefinitionSet) -> Sequence[dict[str, Any]]:
    """The definitions that were used, and what of them is passed over."""
    return [{"name": one.name, "unsupported": list(one.definition.unsupported)} for one in definitions.used]
