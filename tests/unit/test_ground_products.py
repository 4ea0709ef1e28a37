"""Products on disk: what is counted, and that one file's fault is its own."""

from __future__ import annotations

import errno
import json
import math
import struct
import subprocess
import sys
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.cfdp.class1_pdu import EndOfFile, FileData, TransactionId, encode_pdu
from flight.link.cfdp.transfers import CfdpConfig, CfdpSender
from ground.products.answers import CSV_VALUES_MAX
from ground.products.product_folder import BLOCK_OCTETS, WORKING
from ground.products.product_store import ProductStore
from ground.telemetry.archive_rows import ProductRow
from payloads.product.answers import Octets
from payloads.product.envelope import sealed
from payloads.product.mask import encode_mask_product
from payloads.product.records import TIME_NS_MAX, RecordHeader, encode_record_product
from tests.full_disk import limited_files
from tests.waiting import GIVE_UP_S

ROOT = Path(__file__).parents[2]


def make_store(folder: Path, **options: Any) -> ProductStore:
    return ProductStore(folder, CfdpConfig(entity=2), **options)


def feed(store: ProductStore, name: str, data: bytes, pdus: int | None = None) -> list[ProductRow | OrbitnodeError]:
    """The first `pdus` of the transfer of one file, all of them if None."""
    sender = CfdpSender(1, 2, sum(name.encode()), name, data, 1000)
    rows: list[ProductRow | OrbitnodeError] = []
    for _ in range(sender.pdus if pdus is None else pdus):
        pdu = sender.next_pdu()
        assert pdu is not None
        rows += store.on_pdu(pdu, 0, 0)
    return rows


def send(store: ProductStore, number: int, name: str, data: bytes) -> list[ProductRow | OrbitnodeError]:
    """A whole file as the transaction of that number."""
    sender = CfdpSender(1, 2, number, name, data, 1000)
    return [row for pdu in iter(sender.next_pdu, None) for row in store.on_pdu(pdu, 0, 0)]


def record_product(fields: list[dict[str, Any]], answer: bytes, kind: str = "table", **header: int) -> bytes:
    """A product of records such as no app of ours makes: `fields` as they stand in it, JSON-ready."""
    text = json.dumps({"app": "odd", "kind": kind, "fields": fields}).encode()
    body = zlib.compress(text + answer, 9)
    head = {"tile": 1, "job": 2, "time_ns": 3} | header
    return sealed(RecordHeader(**head, declaration_octets=len(text), answer_octets=len(answer),
                               body_octets=len(body)).encode() + body)  # fmt: skip


def on_disk(folder: Path) -> int:
    """Octets that the files in it take."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


def test_octets_are_those_that_came(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    feed(store, "x.bin", b"\7" * 100_000, pdus=3)
    (row,) = store.end_all(0)
    assert (tmp_path / "x.bin.part").read_bytes() == b"\7" * 2000 + bytes(98_000)
    assert isinstance(row, ProductRow)
    assert (row.octets, row.missing, row.complete) == (2000, ((2000, 100_000),), False)
    assert (tmp_path / row.name).stat().st_size == 100_000
    assert (store.counters.octets, store.counters.octets_missing) == (2000, 98_000)


def test_the_limit_counts_what_is_missing_and_whole_blocks(tmp_path: Path) -> None:
    """A sender that says of one octet that it is the last of a megabyte must not fill the disk with claims."""
    store = make_store(tmp_path, octets_max=3 * BLOCK_OCTETS)
    feed(store, "a.bin", bytes(2 * BLOCK_OCTETS), pdus=3)
    assert len(store.end_all(0)) == 1 and store.counters.octets_counted == 3 * BLOCK_OCTETS
    assert feed(store, "b.bin", b"b") == []
    assert (store.counters.octets, store.counters.refused_full) == (2000, 1)


def test_the_end_of_a_file_that_never_came_makes_none(tmp_path: Path) -> None:
    """40 frames of it once wrote 273 MB."""
    store = make_store(tmp_path)
    rows = []
    for number in range(40):
        name = TransactionId(1, number)
        rows += store.on_pdu(encode_pdu(EndOfFile(name, 2, 0, 0, 8 << 20)), 0, 0)
        if number % 2:
            rows += store.on_pdu(encode_pdu(FileData(name, 2, (8 << 20) - 1, b"x")), 0, 0)
    rows += store.end_all(0)
    assert len(rows) == 40 and all(isinstance(row, ProductRow) and not row.complete for row in rows)
    assert sum(row.octets for row in rows if isinstance(row, ProductRow)) == 20
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 40 and store.counters.empty == 20
    assert on_disk(tmp_path) <= 40 * 2 * BLOCK_OCTETS
    assert {path.stat().st_size for path in tmp_path.iterdir() if path.suffix == ".part"} == {8 << 20}
    empty = next(row for row in rows if isinstance(row, ProductRow) and not row.octets)
    assert empty.missing == ((0, 8 << 20),) and empty.facts["file"] == "none, since nothing of it came"
    assert (tmp_path / "transaction-1-1.part.missing").read_text().splitlines()[1:] == [f"0 {(8 << 20) - 1}"]


def test_claims_do_not_pass_the_limit_and_what_is_refused_is_told(tmp_path: Path) -> None:
    store = make_store(tmp_path, octets_max=20 << 20)
    for number in range(6):
        name = TransactionId(1, number)
        store.on_pdu(encode_pdu(FileData(name, 2, 0, b"x")), 0, 0)
        store.on_pdu(encode_pdu(EndOfFile(name, 2, 0, 0, 8 << 20)), 0, 0)
    assert len(store.end_all(0)) == 2
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20 << 20
    assert store.counters.refused_full == 4
    assert store.refusals(0).startswith("4 files not written, the last of them transaction-1-5: the products of this")
    assert store.refusals(1) == ""
    feed(store, "y", bytes(8 << 20))
    assert store.refusals(NS) == "" and store.refusals(60 * NS).startswith("1 file not written, the last of them y")


def test_a_file_that_cannot_be_written_is_its_own_fault(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for name, octets in (("a.bin", 3000), ("b.bin", 50_000), ("c.bin", 3000)):
        feed(store, name, bytes(octets), pdus=2)
    with limited_files(10_000):
        first, second, third = store.end_all(0)
    assert isinstance(first, ProductRow) and isinstance(third, ProductRow)
    assert (first.name, third.name) == ("a.bin.part", "c.bin.part")
    assert str(second) == f"{tmp_path / 'b.bin.part'} cannot be written: File too large"
    assert (store.counters.incomplete, store.counters.unwritten, store.counters.octets) == (2, 1, 2000)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.bin.part", "a.bin.part.missing", "c.bin.part", "c.bin.part.missing"
    ]  # fmt: skip


def test_what_stands_beside_a_file_may_fail_without_its_row(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with limited_files(20_000):
        (row,) = feed(store, "answer.obrp", octets_product("bin", bytes(100_000)))
    assert isinstance(row, ProductRow) and row.complete and "answer" not in row.facts and row.facts["tile"] == 1
    assert "answer-answer.bin cannot be written: File too large" in row.facts["fault"]
    for place in range(0, 4000, 2):
        store.on_pdu(encode_pdu(FileData(TransactionId(1, 1), 2, place, b"x")), 0, 0)
    with limited_files(5000):
        (part,) = store.end_all(0)
    assert isinstance(part, ProductRow) and ".part.missing cannot be written" in part.facts["fault"]
    assert (store.counters.complete, store.counters.incomplete, store.counters.unwritten) == (1, 1, 0)


def test_a_folder_that_stands_where_an_answer_would_is_left_alone(tmp_path: Path) -> None:
    samples = np.zeros((4, 32, 32), np.uint16)
    product = encode_mask_product(samples, np.zeros((32, 32), np.uint8), tile=7, job=3, time_ns=0)
    (tmp_path / "tile-mask.png").mkdir()
    (row,) = feed(make_store(tmp_path), "tile.obsp", product)
    assert isinstance(row, ProductRow) and row.facts["mask"] == "tile-mask-2.png"


@pytest.mark.parametrize(
    "names",
    [
        ("dump.tmp", "dump"),
        ("dump", "dump.tmp"),
        (WORKING, WORKING[1:]),
        (".probe", "probe"),
        ("a/b", "c/b"),
        ("DUMP", "dump"),
        ("x" * 150, "x" * 160),
        ("caf\u00e9", "caf\u00e8"),
        ("..", "."),
        ("summary.json", "archive.db"),
    ],
)
def test_no_name_costs_another_file(tmp_path: Path, names: tuple[str, str]) -> None:
    store = make_store(tmp_path / "products")
    rows = []
    for number, name in enumerate(names):
        for pdu in iter(CfdpSender(1, 2, number, name, name.encode() + b"%d" % number, 1000).next_pdu, None):
            rows += store.on_pdu(pdu, 0, 0)
    contents = [(tmp_path / "products" / row.name).read_bytes() for row in rows if isinstance(row, ProductRow)]
    assert contents == [name.encode() + b"%d" % number for number, name in enumerate(names)]
    assert [path.name for path in tmp_path.iterdir()] == ["products"]  # and nothing beside the folder


@pytest.mark.parametrize("sent", ["-rf", "--", "-", ".-", "-.", "./-", "--help=\n", "-rf/", "a/-rf", "..-rf"])
def test_no_name_is_an_option_or_hidden(tmp_path: Path, sent: str) -> None:
    for number, part in enumerate((None, 2)):
        store = make_store(tmp_path)
        (row,) = feed(store, sent, b"content%d" % number, part) + store.end_all(0)
        assert isinstance(row, ProductRow)
    assert len(list(tmp_path.iterdir())) == 3
    assert all(path.name[0] not in "-." for path in tmp_path.iterdir())


def test_a_name_made_of_a_content_may_be_taken_as_well(tmp_path: Path) -> None:
    """The sender knows how the ground names what comes after a hundred of one name, and may have named a file so."""
    store = make_store(tmp_path)
    for number in range(100):
        send(store, number, "x", b"%d" % number)
    taken = f"x-{sha256(b'0 4 last').hexdigest()[:32]}"
    (before,) = send(store, 200, taken, b"before")
    (last,) = send(store, 201, "x", b"last")
    assert isinstance(before, ProductRow) and isinstance(last, ProductRow)
    assert (before.name, last.name) == (taken, f"{taken}-2")
    assert [(tmp_path / name).read_bytes() for name in (before.name, last.name)] == [b"before", b"last"]


def test_a_file_that_comes_again_is_there_once_and_counted_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for number in range(3):
        send(store, number, "x", b"same")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert store.counters.octets_counted == BLOCK_OCTETS


def test_writers_at_once_never_take_one_name(tmp_path: Path) -> None:
    """Each process has its own store here, which no lock would let happen: even then nothing is lost."""
    script = (
        "import sys; from pathlib import Path; from ground.products import product_folder\n"
        "product_folder.WORKING += sys.argv[2]; folder = product_folder.ProductFolder(Path(sys.argv[1]))\n"
        "for n in range(20):\n    data = (sys.argv[2] + str(n)).encode(); folder.put('x.bin', ((0, data),), len(data))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(n)], cwd=ROOT) for n in range(4)]
    assert [one.wait(timeout=GIVE_UP_S) for one in writers] == [0] * 4
    contents = sorted(path.read_bytes() for path in tmp_path.iterdir())
    assert contents == sorted(f"{writer}{n}".encode() for writer in range(4) for n in range(20))


def test_a_file_system_without_hard_links_keeps_files_apart_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hardlink_to(path: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted", str(target), None, str(path))

    monkeypatch.setattr(Path, "hardlink_to", hardlink_to)
    store = make_store(tmp_path)
    for number in range(3):
        send(store, number, "x", b"%d" % number)
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert contents == {"x": b"0", "x-2": b"1", "x-3": b"2"}


def test_what_a_killed_process_left_is_gone(tmp_path: Path) -> None:
    (tmp_path / WORKING).write_bytes(b"half a file")
    send(make_store(tmp_path), 1, "x", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


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
        "a.bin", "a.bin.tmp", "tile-mask-2.png", "tile-mask.png", "tile.obsp", "x.bin.part", "x.bin.part.missing",
        "x.bin.part.missing_",
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
    rows = [feed(store, f"{n}.obrp", octets_product("bin", bytes((n,)) * 1_000_000))[0] for n in range(4)]
    assert (store.counters.complete, store.counters.beside_refused) == (4, 3)
    assert store.counters.octets_beside == 1_000_000
    assert [isinstance(row, ProductRow) and row.facts.get("fault") for row in rows] == [
        None, *["no room for the answer beside the product"] * 3
    ]  # fmt: skip
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1_500_000


def test_an_answer_may_end_as_a_working_file_would(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    feed(store, "a.obrp", octets_product("tmp", b"picture"))
    feed(store, "a-answer", b"another file")
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".obrp"}
    assert contents == {"a-answer.tmp": b"picture", "a-answer": b"another file"}
