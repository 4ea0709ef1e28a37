"""A ground that decodes by a document whose things have other values under the names that ours has, or of other types:
what it looks for by name is not there then, and nothing else ends.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flight.catalogue import dictionary_of
from flight.contract.dictionary import Dictionary
from flight.contract.fields import Layout, Value
from flight.core.nanoseconds import NS
from flight.link.pus import encode_tm
from flight.link.space_packet import SpacePacket
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import MISSIONS, load
from ground.link.tm_tc_session import GroundSession
from ground.station import GroundStation
from ground.telemetry.archive import Archive
from tests.unit.test_dictionary import signed

EPOCH_NS = 2_152_000_000 * NS
# What the ground looks into by name or by what it refers to.
KNOWN = (
    ("reports", "acceptance_success"), ("reports", "completion_failure"), ("reports", "refusals"),
    ("reports", "time_report"), ("reports", "parameter_values"), ("reports", "hk_definition"), ("structures", "node"),
    ("events", "boot"),
)  # fmt: skip
OTHER = ("u8", "u64", "i64", "f32", "str", "time", "gone")
VALUES: dict[str, tuple[Value, ...]] = {
    "str": ("", "nan", "7"), "time": (0, EPOCH_NS), "f32": (float("nan"), float("inf"), -1.0),
    "f64": (1e300, 0.0, -1.0), "i64": (-1, -(2**63), 7), "u64": (2**64 - 1, 2**63, 7),
}  # fmt: skip


def alterations(thing: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """`thing` with one of its fields, or of those in its rows, of another type, or under another name."""
    for path in [(i,) for i, _ in enumerate(thing["fields"])] + [
        (i, k) for i, one in enumerate(thing["fields"]) for k, _ in enumerate(one.get("fields", ()))
    ]:
        for other in OTHER:
            made = copy.deepcopy(thing)
            row = made["fields"]
            for at in path[:-1]:
                row = row[at]["fields"]
            if other == "gone":
                row[path[-1]]["name"] = "another"
            elif row[path[-1]]["type"] != "rows":
                row[path[-1]] = {"name": row[path[-1]]["name"], "type": other}
            yield made


def packets(layout: Layout) -> Iterator[bytes]:
    """Source data with values at their ends."""
    for n in range(3):
        row: list[Value] = []
        for one in layout.fields:
            if one.type == "rows":
                inner = tuple(_value(part.type, n) for part in one.fields)
                row.append((inner, inner))
            else:
                row.append(_value(one.type, n))
        yield layout.encode(row)


def _value(kind: str, n: int) -> Any:
    if kind in VALUES:
        return VALUES[kind][n % len(VALUES[kind])]
    return (0, 1, 2 ** (int(kind[1:]) - 1) - 1)[n] if kind[0] in "ui" else 0.5


@pytest.mark.campaign
@pytest.mark.parametrize(("key", "name"), KNOWN)
def test_a_ground_goes_on_by_a_document_of_others(tmp_path: Path, key: str, name: str) -> None:
    ours = dictionary_of(load(MISSIONS / "bench.toml", opens_devices=False)).document()
    for kind in ("reports", "structures", "events"):  # what nobody looks into only makes each document longer
        ours[kind] = [one for one in ours[kind] if (kind, one["name"]) in KNOWN]
    (index,) = [i for i, one in enumerate(ours[key]) if one["name"] == name]
    with Archive(tmp_path / "archive.db") as archive:
        count = 0
        for made in alterations(ours[key][index]):
            document = ours | {key: [made if at == index else one for at, one in enumerate(ours[key])]}
            dictionary = Dictionary.from_document(signed(document))
            one: Any = getattr(dictionary, key)[index]
            station = GroundStation(
                dictionary, GroundSession(LinkConfig()), epoch_tai_ns=EPOCH_NS, archive=archive.enter(dictionary)
            )
            intake = station._intake  # noqa: SLF001 - what comes by the link, as by the air
            station.send("ping", {}, 0)
            for data in packets(one.layout):
                count += 1
                intake.on_packet(0, packet_of(key, one, data, count), count, live=True)
            station.on_time(count)
            station.commit()  # and what is kept, the next ground reads
        assert count


def packet_of(key: str, one: Any, data: bytes, count: int) -> bytes:
    time_ns = EPOCH_NS + count * NS
    if key == "structures":
        return encode_tm(one.apid, count, 3, 25, one.sid.to_bytes(2, "big") + data, time_ns)
    if key == "events":
        return encode_tm(one.apid, count, 5, one.subtype, one.number.to_bytes(2, "big") + data, time_ns)
    if one.service == 9:
        return SpacePacket(one.apid, count, data).encode()
    return encode_tm(one.apid, count, one.service, one.subtype, data, time_ns)
