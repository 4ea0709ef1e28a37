"""What Yamcs reads out of a packet beside what our ground reads out of the same packet, value by value."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Field
from flight.core.utc.leap_seconds import BUILT_IN
from flight.link.time.time_code import encode_cuc
from ground.telemetry.decoder import DecodedPacket
from ground.xtce.names import parameter_name

_MS_NS = 1_000_000
Extracted = Mapping[str, tuple[Any, Any]]  # raw and engineering values by the names of parameters


def faults(dictionary: Dictionary, ours: DecodedPacket, theirs: Extracted) -> Iterator[str]:
    """Yield a line for each value in which Yamcs and our ground differ; every field of the packet is looked at."""
    assert ours.time_ns is not None
    if theirs["PUS_TIME"][0] != int.from_bytes(encode_cuc(ours.time_ns), "big"):
        yield f"{ours.name}: PUS_TIME is {theirs['PUS_TIME'][0]}, should be {ours.time_ns} ns"
    if (theirs["PKT_APID"][0], theirs["PKT_SEQ_COUNT"][0]) != (ours.apid, ours.seq):
        yield f"{ours.name}: is of APID {theirs['PKT_APID'][0]}, count {theirs['PKT_SEQ_COUNT'][0]}"
    for field in fields_of(dictionary, ours):
        name = parameter_name(ours.name, field.name)
        if name not in theirs:
            yield f"{name}: Yamcs has no value"
            continue
        raw, shown = theirs[name]
        if field.type == "rows":
            yield from _row_faults(field, name, ours, raw, shown)
        elif text := _fault(field, ours.raw[field.name], ours.values[field.name], raw, shown):
            yield f"{name}: {text}"


def fields_of(dictionary: Dictionary, packet: DecodedPacket) -> tuple[Field, ...]:
    """Return the fields that the dictionary declares for a packet."""
    declared: dict[str, tuple[Field, ...]] = {s.name: s.fields for s in dictionary.structures}
    declared |= {event.name: event.fields for event in dictionary.events}
    declared |= {report.name: report.fields for report in dictionary.reports}
    return declared[packet.name]


def _row_faults(field: Field, name: str, ours: DecodedPacket, raw: Any, shown: Any) -> Iterator[str]:
    rows = {key.partition("]")[0] for key in ours.raw if key.startswith(f"{field.name}[")}
    if len(raw) != len(rows):
        yield f"{name}: {len(raw)} rows, should be {len(rows)}"
        return
    for number, (raw_row, shown_row) in enumerate(zip(raw, shown, strict=True)):
        for column in field.fields:
            key = f"{field.name}[{number}].{column.name}"
            text = _fault(column, ours.raw[key], ours.values[key], raw_row[column.name], shown_row[column.name])
            if text:
                yield f"{name}[{number}].{column.name}: {text}"


def _fault(field: Field, our_raw: Any, our_value: Any, raw: Any, shown: Any) -> str:
    if field.type == "time":
        return _time_fault(our_raw, raw, shown)
    if field.labels:
        right = raw == our_raw and shown == our_value
    elif field.type[0] == "f":
        right = _same_float(field, our_raw, raw) and _same_float(field, our_raw, shown)
    else:
        right = raw == our_raw and shown == our_raw
    return "" if right else f"is {raw!r} ({shown!r}), should be {our_raw!r} ({our_value!r})"


def _time_fault(our_ns: int, raw: int, shown: str) -> str:
    if raw != int.from_bytes(encode_cuc(our_ns), "big"):
        return f"is {raw}, should be {our_ns} ns"
    # A time of zero stands for none. Yamcs shows 1958 by its own calendar, and nobody reads a date out of it.
    if our_ns and abs(BUILT_IN.tai_from_utc(datetime.fromisoformat(shown)) - our_ns) > 2 * _MS_NS:
        return f"is shown as {shown}, should be {our_ns} ns"
    return ""


def _same_float(field: Field, ours: float, theirs: float) -> bool:
    if math.isnan(ours) or math.isnan(theirs):
        return math.isnan(ours) and math.isnan(theirs)
    form = ">f" if field.type == "f32" else ">d"  # theirs is written with as many digits as tell floats apart
    return struct.pack(form, ours) == struct.pack(form, theirs)
