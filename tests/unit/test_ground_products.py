"""Products on disk: what is counted, and that one file's fault is its own."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flight.core.errors import OrbitnodeError
from flight.link.cfdp.transfers import CfdpConfig, CfdpSender
from ground.telemetry.answers import CSV_VALUES_MAX
from ground.telemetry.archive_rows import ProductRow
from ground.telemetry.products import ProductStore
from payloads.product.answers import Octets
from payloads.product.envelope import sealed
from payloads.product.mask import encode_mask_product
from payloads.product.records import TIME_NS_MAX, RecordHeader, encode_record_product


def make_store(folder: Path, **options: Any) -> ProductStore:
    return ProductStore(folder, CfdpConfig(entity=2), **options)


def feed(store: ProductStore, name: str, data: bytes, pdus: int | None = None) -> list[ProductRow | OrbitnodeError]:
    """The first `pdus` of the transfer of one file, all of them where None."""
    sender = CfdpSender(1, 2, sum(name.encode()), name, data, 1000)
    rows: list[ProductRow | OrbitnodeError] = []
    for _ in range(sender.pdus if pdus is None else pdus):
        pdu = sender.next_pdu()
        assert pdu is not None
        rows += store.on_pdu(pdu, 0, 0)
    return rows


def record_product(fields: list[dict[str, Any]], answer: bytes, kind: str = "table", **header: int) -> bytes:
    """A product of records such as no app of ours makes: `fields` as they stand in it, JSON-ready."""
    text = json.dumps({"app": "odd", "kind": kind, "fields": fields}).encode()
    body = zlib.compress(text + answer, 9)
    head = {"tile": 1, "job": 2, "time_ns": 3} | header
    return sealed(RecordHeader(**head, declaration_octets=len(text), answer_octets=len(answer),
                               body_octets=len(body)).encode() + body)  # fmt: skip


def failing(monkeypatch: pytest.MonkeyPatch, fails: Callable[[str], bool]) -> None:
    """Files whose name `fails` cannot be written."""
    write = Path.write_bytes

    def write_bytes(path: Path, data: bytes) -> int:
        if fails(path.name.removesuffix(".tmp")):
            write(path, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


def test_octets_are_those_that_came(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    feed(store, "x.bin", b"\7" * 100_000, pdus=3)
    (row,) = store.end_all(0)
    assert isinstance(row, ProductRow)
    assert (row.octets, row.missing, row.complete) == (2000, ((2000, 100_000),), False)
    assert (tmp_path / row.name).stat().st_size == 100_000
    assert (store.counters.octets, store.counters.octets_missing) == (2000, 98_000)


def test_the_limit_counts_octets_that_came(tmp_path: Path) -> None:
    store = make_store(tmp_path, octets_max=3000)
    feed(store, "a.bin", bytes(100_000), pdus=3)
    assert len(store.end_all(0)) == 1
    assert len(feed(store, "b.bin", b"b" * 1000)) == 1
    assert feed(store, "c.bin", b"c") == []
    assert (store.counters.octets, store.counters.refused_full) == (3000, 1)


def test_a_file_that_cannot_be_written_is_its_own_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path)
    for name in ("a.bin", "b.bin", "c.bin"):
        feed(store, name, name.encode() * 1000, pdus=2)
    failing(monkeypatch, lambda name: name.startswith("b.bin"))
    first, second, third = store.end_all(0)
    assert isinstance(first, ProductRow) and isinstance(third, ProductRow)
    assert (first.name, third.name) == ("a.bin.part", "c.bin.part")
    assert str(second) == f"{tmp_path / 'b.bin.part'} cannot be written: No space left on device"
    assert (store.counters.incomplete, store.counters.unwritten, store.counters.octets) == (2, 1, 2000)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("b")] == []


def test_what_stands_beside_a_file_may_fail_without_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.zeros((4, 32, 32), np.uint16)
    product = encode_mask_product(samples, np.zeros((32, 32), np.uint8), tile=7, job=3, time_ns=0)
    store = make_store(tmp_path)
    (tmp_path / "tile-mask.png").mkdir()
    (row,) = feed(store, "tile.obsp", product)
    assert isinstance(row, ProductRow) and row.complete and "mask" not in row.facts and row.facts["tile"] == 7
    assert "tile-mask.png cannot be written" in row.facts["fault"]
    failing(monkeypatch, lambda name: name.endswith(".missing"))
    feed(store, "y.bin", bytes(5000), pdus=2)
    (part,) = store.end_all(0)
    assert isinstance(part, ProductRow) and "y.bin.part.missing cannot be written" in part.facts["fault"]
    assert (store.counters.complete, store.counters.incomplete, store.counters.unwritten) == (1, 1, 0)


def test_no_file_is_written_over_another_however_often_a_name_comes(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    sent = {f"content {number}".encode() for number in range(120)}
    for number, data in enumerate(sorted(sent)):
        for pdu in iter(CfdpSender(1, 2, number, "screen-0-1.bin", data, 1000).next_pdu, None):
            store.on_pdu(pdu, 0, 0)
    assert {path.read_bytes() for path in tmp_path.iterdir()} == sent
    assert (tmp_path / "screen-0-1-100.bin").exists() and not (tmp_path / "screen-0-1-101.bin").exists()


def test_what_is_made_beside_a_file_is_written_over_no_other(tmp_path: Path) -> None:
    product = encode_mask_product(
        np.zeros((4, 32, 32), np.uint16), np.zeros((32, 32), np.uint8), tile=7, job=3, time_ns=0
    )
    store = make_store(tmp_path)
    names = ("tile-mask.png", "a.bin.tmp", "x.bin.part.missing", "tile.obsp", "a.bin")
    for number, name in enumerate(names):
        data = product if name == "tile.obsp" else name.encode()
        for pdu in iter(CfdpSender(1, 2, number, name, data, 60_000).next_pdu, None):
            store.on_pdu(pdu, 0, 0)
    sender = CfdpSender(1, 2, 99, "x.bin", bytes(5000), 1000)
    for _ in range(3):
        store.on_pdu(sender.next_pdu() or b"", 0, 0)
    store.end_all(0)
    contents = [path.read_bytes() for path in tmp_path.iterdir()]
    assert all(name.encode() in contents for name in names if name != "tile.obsp")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.bin", "a.bin.tmp_", "tile-mask-2.png", "tile-mask.png", "tile.obsp", "x.bin.part", "x.bin.part-2.missing",
        "x.bin.part.missing",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["\ud800", "\x1b[2J", "two\nlines", "x" * 65])
@pytest.mark.parametrize("kind", ["table", "scalars"])
def test_a_unit_or_label_that_cannot_be_shown_makes_no_product(tmp_path: Path, text: str, kind: str) -> None:
    odd: tuple[dict[str, Any], ...] = ({"labels": [text]}, {"unit": text})
    for number, more in enumerate(odd):
        store = make_store(tmp_path)
        (row,) = feed(store, f"a{number}", record_product([{"name": "x", "type": "u8"} | more], b"\0", kind))
        assert isinstance(row, ProductRow) and row.complete
        assert "field x has unit or label" in row.facts["fault"] and row.facts["fault"].isprintable()
        assert store.counters.undecodable == 1


def test_no_label_is_a_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    labels = ["=1+1", "@a", "-x", "plain"]
    fields: list[dict[str, Any]] = [{"name": "x", "type": "u8", "labels": labels}, {"name": "y", "type": "i8"}]
    feed(make_store(tmp_path), "a.obrp", record_product(fields, b"\0\xff\1\0\2\0\3\0"))
    assert (tmp_path / "a-table.csv").read_text().splitlines() == ["x,y", "'=1+1,-1", "'@a,0", "'-x,0", "plain,0"]


def test_a_table_of_too_many_values_is_kept_and_not_shown(tmp_path: Path) -> None:
    fields: list[dict[str, Any]] = [{"name": name, "type": "u8", "labels": ["x" * 64]} for name in ("a", "b")]
    for rows, shown in ((CSV_VALUES_MAX // 2, True), (CSV_VALUES_MAX // 2 + 1, False)):
        (row,) = feed(make_store(tmp_path), f"{rows}.obrp", record_product(fields, bytes(2 * rows)))
        assert isinstance(row, ProductRow) and (row.facts["rows"], "table" in row.facts) == (rows, shown)
        assert (tmp_path / f"{rows}-table.csv").exists() == shown
        assert shown or f"table of {rows} rows is not shown as CSV" in row.facts["fault"]


@pytest.mark.parametrize(("time_ns", "fault"), [(TIME_NS_MAX, ""), (TIME_NS_MAX + 1, "time of capture")])
def test_a_time_of_capture_that_no_archive_holds_makes_no_product(tmp_path: Path, time_ns: int, fault: str) -> None:
    product = record_product([{"name": "x", "type": "u8"}], b"\0", "scalars", time_ns=time_ns)
    (row,) = feed(make_store(tmp_path), "a.obrp", product)
    assert isinstance(row, ProductRow) and row.complete
    assert ("fault" in row.facts) == bool(fault) and fault in row.facts.get("fault", "")


def test_scalars_that_are_not_finite_make_no_product(tmp_path: Path) -> None:
    """The worker's word for it is looked at again: a report and a JSON line can hold no NaN."""
    product = record_product([{"name": "x", "type": "f64"}], struct.pack(">d", math.nan), "scalars")
    (row,) = feed(make_store(tmp_path), "a.obrp", product)
    assert isinstance(row, ProductRow) and row.facts == {"fault": "scalars are nan, should be finite"}


def octets_product(suffix: str, answer: bytes) -> bytes:
    return encode_record_product(Octets(len(answer), suffix), answer, app="odd", tile=1, job=2, time_ns=3)


def test_the_limit_counts_what_is_made_of_files_as_well(tmp_path: Path) -> None:
    """A kilobyte that came may hold a megabyte."""
    store = make_store(tmp_path, octets_max=1_500_000)
    for number in range(4):
        feed(store, f"{number}.obrp", octets_product("bin", bytes((number,)) * 1_000_000))
    assert (store.counters.complete, store.counters.refused_full) == (2, 2)
    assert store.counters.octets_beside == 2_000_000


def test_no_answer_has_the_name_of_a_file_that_is_being_written(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    feed(store, "a.obrp", octets_product("tmp", b"picture"))
    feed(store, "a-answer", b"another file")
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".obrp"}
    assert contents == {"a-answer.tmp_": b"picture", "a-answer": b"another file"}
