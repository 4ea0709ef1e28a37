"""Products on disk: what is counted, and that one file's fault is its own."""

from __future__ import annotations

import errno
import json
import math
import struct
import subprocess
import sys
import zlib
from collections.abc import Generator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from ground.products.answers import CSV_VALUES_MAX
from ground.products.product_folder import BLOCK_OCTETS, WORKING
from ground.products.product_store import IncompleteFile, ProductStore
from ground.telemetry.archive_rows import ProductRow
from payloads.product.answers import Octets
from payloads.product.envelope import sealed
from payloads.product.mask import encode_mask_product
from payloads.product.records import TIME_NS_MAX, RecordHeader, encode_record_product
from tests.full_disk import limited_files
from tests.waiting import GIVE_UP_S

ROOT = Path(__file__).parents[2]


def make_store(folder: Path, **options: Any) -> ProductStore:
    return ProductStore(folder, **options)


def drained(keeping: Generator[None, None, Any]) -> list[ProductRow | OrbitnodeError]:
    """Do all of the work on a file; what comes of it is a row, a fault, or nothing."""
    while True:
        try:
            next(keeping)
        except StopIteration as end:
            return [end.value] if end.value is not None else []
        except OrbitnodeError as error:
            return [error]


def working(store: ProductStore) -> Path:
    """A name for a file of its own beside the folder of the products."""
    folder = store.path.parent / f"{store.path.name}-working"
    folder.mkdir(exist_ok=True)
    return folder / f"{len(list(folder.iterdir()))}"


def feed(store: ProductStore, name: str, data: bytes) -> list[ProductRow | OrbitnodeError]:
    """A whole file, as its transfer would hand it over."""
    path = working(store)
    path.write_bytes(data)
    if not store.reserve(path.name, name, len(data)):
        return []
    return drained(store.keep(path.name, path, name, len(data), sha256(data).hexdigest(), 0))


def feed_part(
    store: ProductStore, name: str, octets: int, pieces: Sequence[tuple[int, bytes]]
) -> list[ProductRow | OrbitnodeError]:
    """What came of a file of that length: pieces at their places, in order and apart."""
    path = working(store)
    with path.open("wb") as file:
        for at, piece in pieces:
            file.seek(at)
            file.write(piece)
    edges = [0, *(edge for at, piece in pieces for edge in (at, at + len(piece))), octets]
    missing = tuple((a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b)
    return drained(store.keep_part(path.name, IncompleteFile(name, octets, missing, "no EOF", path), 0))


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
    store = make_store(tmp_path / "products")
    (row,) = feed_part(store, "x.bin", 100_000, [(0, b"\7" * 2000)])
    assert (store.path / "x.bin.part").read_bytes() == b"\7" * 2000 + bytes(98_000)
    assert isinstance(row, ProductRow)
    assert (row.octets, row.missing, row.complete) == (2000, ((2000, 100_000),), False)
    assert (store.path / row.name).stat().st_size == 100_000
    assert (store.counters.octets, store.counters.octets_missing) == (2000, 98_000)
    assert (store.path / "x.bin.part.missing").read_text().splitlines()[1:] == ["2000 100000"]


def test_the_limit_counts_what_is_missing_and_whole_blocks(tmp_path: Path) -> None:
    """A sender that says of one octet that it is the last of a megabyte must not fill the disk with claims."""
    store = make_store(tmp_path / "products", octets_max=3 * BLOCK_OCTETS)
    assert len(feed_part(store, "a.bin", 2 * BLOCK_OCTETS, [(0, bytes(2000))])) == 1
    assert store.counters.octets_counted == 3 * BLOCK_OCTETS
    assert feed(store, "b.bin", b"b") == []
    assert (store.counters.octets, store.counters.refused_full) == (2000, 1)


def test_the_end_of_a_file_that_never_came_makes_none(tmp_path: Path) -> None:
    """40 frames of it once wrote 273 MB."""
    store = make_store(tmp_path / "products")
    rows = []
    for number in range(40):
        came = [((8 << 20) - 1, b"x")] if number % 2 else []
        rows += feed_part(store, f"file-{number}", 8 << 20, came)
    assert len(rows) == 40 and all(isinstance(row, ProductRow) and not row.complete for row in rows)
    assert sum(row.octets for row in rows if isinstance(row, ProductRow)) == 20
    names = {path.name for path in store.path.iterdir()}
    assert len(names) == 40 and store.counters.empty == 20
    assert on_disk(store.path) <= 40 * 2 * BLOCK_OCTETS
    assert {path.stat().st_size for path in store.path.iterdir() if path.suffix == ".part"} == {8 << 20}
    empty = next(row for row in rows if isinstance(row, ProductRow) and not row.octets)
    assert empty.missing == ((0, 8 << 20),) and empty.facts["file"] == "none, since nothing of it came"
    assert (store.path / "file-1.part.missing").read_text().splitlines()[1:] == [f"0 {(8 << 20) - 1}"]


def test_claims_do_not_pass_the_limit_and_what_is_refused_is_told(tmp_path: Path) -> None:
    store = make_store(tmp_path / "products", octets_max=20 << 20)
    rows = [row for number in range(6) for row in feed_part(store, f"file-{number}", 8 << 20, [(0, b"x")])]
    assert len(rows) == 2
    assert sum(path.stat().st_size for path in store.path.iterdir()) <= 20 << 20
    assert store.counters.refused_full == 4
    assert store.refusals(0).startswith("4 files not kept, the last of them file-5: the products of this")
    assert store.refusals(1) == ""
    feed(store, "y", bytes(8 << 20))
    assert store.refusals(NS) == "" and store.refusals(60 * NS).startswith("1 file not kept, the last of them y")


def test_files_under_way_share_the_room(tmp_path: Path) -> None:
    store = make_store(tmp_path / "products", octets_max=10 * BLOCK_OCTETS)
    assert store.reserve("a", "a", 6 * BLOCK_OCTETS) and not store.reserve("b", "b", 5 * BLOCK_OCTETS)
    assert store.reserve("b", "b", 4 * BLOCK_OCTETS)
    assert not store.reserve("a", "a", 7 * BLOCK_OCTETS)  # more than it had, and it keeps what it had
    assert not store.reserve("c", "c", 1)
    store.release("a")
    assert store.reserve("c", "c", 6 * BLOCK_OCTETS)


def test_a_file_that_cannot_be_written_is_its_own_fault(tmp_path: Path) -> None:
    store = make_store(tmp_path / "products")
    results = []
    for name, octets in (("a.bin", 3000), ("b.bin", 50_000), ("c.bin", 3000)):
        with limited_files(10_000):
            results += feed_part(store, name, octets, [(0, bytes(1000))])
    first, second, third = results
    assert isinstance(first, ProductRow) and isinstance(third, ProductRow)
    assert (first.name, third.name) == ("a.bin.part", "c.bin.part")
    assert str(second).endswith("cannot be written: File too large")
    assert (store.counters.incomplete, store.counters.unwritten, store.counters.octets) == (2, 1, 2000)
    assert sorted(path.name for path in store.path.iterdir()) == [
        "a.bin.part", "a.bin.part.missing", "c.bin.part", "c.bin.part.missing"
    ]  # fmt: skip


def test_what_stands_beside_a_file_may_fail_without_its_row(tmp_path: Path) -> None:
    store = make_store(tmp_path / "products")
    data = octets_product("bin", bytes(100_000))
    with limited_files(20_000):
        (row,) = feed(store, "answer.obrp", data)
    assert isinstance(row, ProductRow) and row.complete and "answer" not in row.facts and row.facts["tile"] == 1
    assert "answer-answer.bin cannot be written: File too large" in row.facts["fault"]
    with limited_files(5000):
        (part,) = feed_part(store, "many", 4000, [(place, b"x") for place in range(0, 4000, 2)])
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
        rows += feed(store, name, name.encode() + b"%d" % number)
    contents = [(tmp_path / "products" / row.name).read_bytes() for row in rows if isinstance(row, ProductRow)]
    assert contents == [name.encode() + b"%d" % number for number, name in enumerate(names)]
    assert {path.name for path in tmp_path.iterdir()} == {"products", "products-working"}  # and nothing beside them


@pytest.mark.parametrize("sent", ["-rf", "--", "-", ".-", "-.", "./-", "--help=\n", "-rf/", "a/-rf", "..-rf"])
def test_no_name_is_an_option_or_hidden(tmp_path: Path, sent: str) -> None:
    store = make_store(tmp_path / "products")
    (whole,), (part,) = feed(store, sent, b"content"), feed_part(store, sent, 9, [(0, b"content")])
    assert isinstance(whole, ProductRow) and isinstance(part, ProductRow)
    assert len(list(store.path.iterdir())) == 3
    assert all(path.name[0] not in "-." for path in store.path.iterdir())


def test_a_name_made_of_a_content_may_be_taken_as_well(tmp_path: Path) -> None:
    """The sender knows how the ground names what comes after a hundred of one name, and may have named a file so."""
    store = make_store(tmp_path)
    for number in range(100):
        feed(store, "x", b"%d" % number)
    taken = f"x-{sha256(b'last').hexdigest()[:32]}"
    (before,) = feed(store, taken, b"before")
    (last,) = feed(store, "x", b"last")
    assert isinstance(before, ProductRow) and isinstance(last, ProductRow)
    assert (before.name, last.name) == (taken, f"{taken}-2")
    assert [(tmp_path / name).read_bytes() for name in (before.name, last.name)] == [b"before", b"last"]


def test_a_file_that_comes_again_is_there_once_and_counted_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for _ in range(3):
        feed(store, "x", b"same")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert store.counters.octets_counted == BLOCK_OCTETS


def test_a_part_that_comes_again_is_there_once(tmp_path: Path) -> None:
    """A ground that is killed as it keeps a part keeps it once more when it is started."""
    store = make_store(tmp_path)
    for pieces in ([(2, b"ab")], [(2, b"ab")], [(2, b"ac")]):
        feed_part(store, "x", 100, pieces)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "x-2.part", "x-2.part.missing", "x.part", "x.part.missing",
    ]  # fmt: skip
    assert (tmp_path / "x.part").read_bytes()[:4] == b"\0\0ab"
    assert store.counters.octets_counted == 4 * BLOCK_OCTETS


def test_writers_at_once_never_take_one_name(tmp_path: Path) -> None:
    """Each process has its own store here, which no lock would let happen: even then nothing is lost."""
    script = (
        "import sys; from pathlib import Path; from ground.products import product_folder\n"
        "product_folder.WORKING += sys.argv[2]; folder = product_folder.ProductFolder(Path(sys.argv[1]))\n"
        "for n in range(20):\n    data = (sys.argv[2] + str(n)).encode(); folder.put('x.bin', data)"
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
        feed(store, "x", b"%d" % number)
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert contents == {"x": b"0", "x-2": b"1", "x-3": b"2"}


def test_what_a_killed_process_left_is_gone(tmp_path: Path) -> None:
    (tmp_path / WORKING).write_bytes(b"half a file")
    feed(make_store(tmp_path), "x", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_no_file_is_written_over_another_however_often_a_name_comes(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    sent = {f"content {number}".encode() for number in range(120)}
    for data in sorted(sent):
        feed(store, "screen-0-1.bin", data)
    assert {path.read_bytes() for path in tmp_path.iterdir()} == sent
    assert (tmp_path / "screen-0-1-100.bin").exists() and not (tmp_path / "screen-0-1-101.bin").exists()


def test_what_is_made_beside_a_file_is_written_over_no_other(tmp_path: Path) -> None:
    product = encode_mask_product(
        np.zeros((4, 32, 32), np.uint16), np.zeros((32, 32), np.uint8), tile=7, job=3, time_ns=0
    )
    store = make_store(tmp_path)
    names = ("tile-mask.png", "a.bin.tmp", "x.bin.part.missing", "tile.obsp", "a.bin")
    for name in names:
        data = product if name == "tile.obsp" else name.encode()
        feed(store, name, data)
    feed_part(store, "x.bin", 5000, [(0, bytes(2000))])
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
