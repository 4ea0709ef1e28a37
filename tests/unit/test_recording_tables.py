"""Tables into files of every form: each value comes back, in bounded memory, and nothing half-written stays."""

from __future__ import annotations

import csv
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.core.utc.leap_seconds import BUILT_IN
from flight.core.utc.utc_time import UtcTime
from ground.recording.table import Column, ColumnKind, Table, TimeScale
from ground.recording.tables.column_values import NO_INSTANT, instants_of
from ground.recording.tables.file_names import NAME_OCTETS_MAX, DistinctNames, table_file_name
from ground.recording.tables.table_folder import FORMS, TableFolder, Written
from tests.full_disk import limited_files, on_small_disk
from tests.waiting import GIVE_UP_S

CUC = TimeScale(Fraction(1, 65536), 0, is_tai=True)
UNIX_NS = 1_774_000_000 * NS
TEXTS = ["=1+1", "plain", 'a "b", c', "", "Grüße", "two\nlines", "-3"]


def ragged(rows: list[bytes], kind: ColumnKind) -> Column:
    starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Column(np.frombuffer(b"".join(rows), np.uint8), starts, kind=kind)


def columns(start: int, n: int) -> dict[str, Column]:
    """Rows `start` to `start + n` of one endless table with a column of each kind."""
    rows = np.arange(start, start + n)
    lengths = rows % 4
    starts = np.concatenate([[7], 7 + np.cumsum(lengths)]).astype(np.int64)  # not from 0, and with more behind
    values = np.concatenate([np.full(7, -1), rows.repeat(lengths), [-1]]).astype(">i2")
    ticks = ((BUILT_IN.tai_from_unix(UNIX_NS) // NS + rows) << 16).astype(">u8")
    return {
        "packet.time": Column(ticks, time=CUC, unit="s"),
        "mode": Column((rows % 3).astype(np.uint8), labels={0: "=OFF", 1: "ON"}),
        "volts": Column((rows / 10).astype(np.float32), present=rows % 5 > 0, unit="V"),
        "big": Column(rows.astype(np.uint64) + np.uint64(2**63)),
        "samples": Column(values, starts),
        "text": ragged([TEXTS[row % len(TEXTS)].encode() for row in rows.tolist()], ColumnKind.TEXT),
        "blob": ragged([bytes([row % 256]) * (row % 3) for row in rows.tolist()], ColumnKind.BINARY),
    }


def table(start: int, n: int, name: str = "power") -> Table:
    return Table(name, columns(start, n), np.arange(n))


def expected(row: int) -> dict[str, object]:
    return {
        "packet.time": datetime.fromtimestamp(UNIX_NS // NS + row, UTC),
        "mode": row % 3,
        "mode.label": ("=OFF", "ON", None)[row % 3],
        "volts": float(np.float32(row / 10)) if row % 5 else None,
        "big": 2**63 + row,
        "samples": [row] * (row % 4),
        "text": TEXTS[row % len(TEXTS)],
        "blob": bytes([row % 256]) * (row % 3),
    }


def arrow_rows(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pa.ipc.open_file(str(path)).read_all().to_pylist()
    return rows


def parquet_rows(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(path).to_pylist()
    return rows


def csv_rows(path: Path) -> list[dict[str, object]]:
    """Back from text, to what the other forms hold."""
    made: list[dict[str, object]] = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            text = row["text"].removeprefix("'")
            made.append(
                {
                    "packet.time": datetime.fromisoformat(row["packet.time"]),
                    "mode": int(row["mode"]),
                    "mode.label": row["mode.label"].removeprefix("'") or None,
                    "volts": float(np.float32(row["volts"])) if row["volts"] else None,
                    "big": int(row["big"]),
                    "samples": [int(one) for one in row["samples"].split()],
                    "text": text,
                    "blob": bytes.fromhex(row["blob"]),
                }
            )
    return made


def npz_rows(path: Path) -> list[dict[str, object]]:
    found = np.load(path)

    def pieces(name: str) -> list[NDArray[Any]]:
        return np.split(found[name], found[f"{name}.starts"][1:-1])

    labels = dict(zip(found["mode.label_numbers"].tolist(), found["mode.labels"].tolist(), strict=True))
    times = found["packet.time"].astype("datetime64[us]").tolist()
    return [
        {
            "packet.time": times[row].replace(tzinfo=UTC),
            "mode": int(found["mode"][row]),
            "mode.label": labels.get(int(found["mode"][row])),
            "volts": float(found["volts"][row]) if found["volts.present"][row] else None,
            "big": int(found["big"][row]),
            "samples": pieces("samples")[row].tolist(),
            "text": pieces("text")[row].tobytes().decode(),
            "blob": pieces("blob")[row].tobytes(),
        }
        for row in range(len(times))
    ]


READERS: dict[str, Callable[[Path], list[dict[str, object]]]] = {
    "npz": npz_rows, "csv": csv_rows, "parquet": parquet_rows, "arrow": arrow_rows,
}  # fmt: skip


def written(folder: Path, form: str, *tables: Table) -> list[Written]:
    with TableFolder(folder, form) as out:
        for one in tables:
            out.add([one])
        return out.finish()


@pytest.mark.parametrize("form", FORMS)
def test_every_value_comes_back(tmp_path: Path, form: str) -> None:
    (file,) = written(tmp_path, form, table(0, 10), table(10, 0), table(10, 25))
    assert file == Written("power", tmp_path / f"power.{form}")
    assert READERS[form](file.path) == [expected(row) for row in range(35)]
    assert [one.name for one in tmp_path.iterdir()] == [f"power.{form}"]


@pytest.mark.parametrize("form", FORMS)
def test_pieces_that_do_not_fit_are_written_as_they_come(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ground.recording.tables.table_folder.PIECE_OCTETS", 300)
    monkeypatch.setattr("ground.recording.tables.table_folder.KEPT_OCTETS", 700)
    batches = [table(start, 5, name) for start in range(0, 60, 5) for name in ("a", "b", "c")]
    files = written(tmp_path, form, *batches)
    assert [one.table for one in files] == ["a", "b", "c"]
    for file in files:
        assert READERS[form](file.path) == [expected(row) for row in range(60)]


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_arrow_has_the_types_that_tell(tmp_path: Path, form: str) -> None:
    (file,) = written(tmp_path, form, table(0, 4))
    schema = pq.read_schema(file.path) if form == "parquet" else pa.ipc.open_file(str(file.path)).schema
    assert [str(kind) for kind in schema.types] == [
        "timestamp[ns, tz=UTC]", "uint8", "dictionary<values=string, indices=int32, ordered=0>", "float", "uint64",
        "list<element: int16>" if form == "parquet" else "list<item: int16>", "string", "binary",
    ]  # fmt: skip
    assert schema.field("volts").metadata[b"unit"] == b"V"


@pytest.mark.parametrize("form", FORMS)
def test_a_table_without_rows_has_its_columns(tmp_path: Path, form: str) -> None:
    (file,) = written(tmp_path, form, table(0, 0))
    assert READERS[form](file.path) == []
    if form == "csv":
        assert file.path.read_text() == "packet.time,mode,mode.label,volts,big,samples,text,blob\n"


@pytest.mark.parametrize("form", FORMS)
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ground.recording.tables.table_folder.PIECE_OCTETS", 1 << 15)
    values = {"a": Column(np.arange(1 << 12, dtype=np.uint32)), "b": Column(np.arange(1 << 12) / 7)}

    def peak(batches: int) -> int:
        tracemalloc.start()
        written(tmp_path / str(batches), form, *[Table("t", values, np.arange(1 << 12))] * batches)
        _, octets = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return octets

    peak(2)  # what is imported and kept
    few, many = peak(4), peak(40)
    assert many < 1.3 * few + (1 << 20)  # 1.8 MB more were written


def interrupted(folder: Path, form: str) -> None:
    with TableFolder(folder, form) as out:
        out.add([table(0, 2000)])
        assert list(folder.glob(".*/*")) != []  # it is being written
        raise KeyboardInterrupt


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_finished_leaves_nothing(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ground.recording.tables.table_folder.PIECE_OCTETS", 1 << 15)
    (tmp_path / "kept" / f"power.{form}").parent.mkdir()
    (tmp_path / "kept" / f"power.{form}").write_text("of before")
    for folder in ("kept", "new"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(tmp_path / folder, form)
    assert [one.name for one in tmp_path.rglob("*")] == ["kept", f"power.{form}"]
    assert (tmp_path / "kept" / f"power.{form}").read_text() == "of before"


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_may_not_grow_is_refused_in_one_line(tmp_path: Path, form: str) -> None:
    with limited_files(20_000), pytest.raises(OrbitnodeError, match="tables cannot be written there: File too large"):
        written(tmp_path / "out", form, table(0, 20_000))
    assert list(tmp_path.iterdir()) == []


def test_two_write_into_one_folder_at_once(tmp_path: Path) -> None:
    with TableFolder(tmp_path, "csv") as one, TableFolder(tmp_path, "csv") as other:
        one.add([table(0, 3, "one")])
        other.add([table(0, 4, "other")])
        other.finish()
        one.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.csv", "other.csv"]
    assert len(csv_rows(tmp_path / "other.csv")) == 4


@pytest.mark.parametrize("form", FORMS)
def test_names_are_safe_and_apart(tmp_path: Path, form: str) -> None:
    names = ["../up", ".._up", "", "..", ".orbitnode-tables-0", "a/b", "A_B", "a\0b", "x" * 4000, "naïve ☂"]
    files = written(tmp_path / "out", form, *(table(0, 2, name) for name in names))
    assert [one.table for one in files] == names
    assert len({one.path.name.casefold() for one in files}) == len(names)
    assert {one.path.parent for one in files} == {tmp_path / "out"}
    assert sorted((tmp_path / "out").iterdir()) == sorted(one.path for one in files)
    assert not [one for one in files if one.path.name.startswith(".")]
    for one in files:
        assert len(READERS[form](one.path)) == 2


def test_a_name_fits_any_file_system_and_is_not_an_option() -> None:
    assert table_file_name("HK_Power.v2-b") == "HK_Power.v2-b"
    assert len(table_file_name("ä" * 500).encode()) <= NAME_OCTETS_MAX
    assert [table_file_name(name) for name in (".x", "-rf", "../-x", "")] == ["_x", "_rf", "_._-x", "_"]
    names = DistinctNames()
    assert [names.give(name) for name in ("a", "A", "a_2", "a")] == ["a", "A_2", "a_2_2", "a_3"]


@pytest.mark.parametrize("form", FORMS)
def test_columns_that_are_called_like_derived_ones_stay_apart(tmp_path: Path, form: str) -> None:
    numbers = np.arange(3, dtype=np.uint8)
    own = {
        "m": Column(numbers, labels={0: "OFF"}),
        "m.label": Column(numbers + 10),
        "m.labels": Column(numbers + 20),
        "m.starts": Column(numbers + 30),
        "M": Column(numbers + 40),
    }
    (file,) = written(tmp_path, form, Table("t", own, np.arange(3)))
    if form == "npz":
        found = np.load(file.path)
        assert found["m.labels"].tolist() == [20, 21, 22]
        assert found["m.label"].tolist() == [10, 11, 12]
        assert len(found.files) == 7
    else:
        read = {"csv": lambda path: list(csv.DictReader(path.open()))}.get(form, READERS[form])(file.path)
        assert len(read[0]) == 6
        assert int(read[0]["m.label"]) == 10


@pytest.mark.parametrize("form", FORMS)
def test_text_that_is_not_utf_8_is_readable(tmp_path: Path, form: str) -> None:
    own = {"text": ragged([b"\xffa", b"\xc3", b"\xa9"], ColumnKind.TEXT)}
    (file,) = written(tmp_path, form, Table("t", own, np.arange(3)))
    if form == "npz":
        assert np.load(file.path)["text"].tobytes() == b"\xffa\xc3\xa9"
        return
    read = {"csv": lambda path: list(csv.DictReader(path.open()))}.get(form, READERS[form])(file.path)
    assert [row["text"] for row in read] == ["\ufffda", "\ufffd", "\ufffd"]


@pytest.mark.parametrize("form", FORMS)
def test_any_type_of_number_is_written(tmp_path: Path, form: str) -> None:
    kinds = ["?", "u1", "i1", ">u2", ">i2", "<u4", ">i4", ">u8", "<i8", ">f4", "<f8"]
    own = {kind: Column(np.array([0, 1, 1]).astype(kind)) for kind in kinds}
    own |= {f"{kind} least": Column(np.array([np.iinfo(kind).min]).repeat(3).astype(kind)) for kind in ("i1", ">i2")}
    (file,) = written(tmp_path, form, Table("t", own, np.arange(3)))
    if form == "npz":
        found = {name: array.tolist() for name, array in np.load(file.path).items()}
    else:
        read = {"csv": lambda path: list(csv.DictReader(path.open()))}.get(form, READERS[form])(file.path)
        found = {name: [float(row[name]) for row in read] for name in read[0]}
    assert found == {name: column.values.tolist() for name, column in own.items()}


def test_csv_has_numbers_as_short_as_they_may_be(tmp_path: Path) -> None:
    own = {
        "f4": Column(np.array([0.1, np.nan, -np.inf, 1e20], np.float32)),
        "f8": Column(np.array([0.1, np.nan, -np.inf, 1e300])),
        "ns": Column(np.arange(4), time=TimeScale(Fraction(1, NS), UNIX_NS)),
    }
    (file,) = written(tmp_path, "csv", Table("t", own, np.arange(4)))
    assert file.path.read_text().splitlines() == [
        "f4,f8,ns",
        "0.1,0.1,2026-03-20T09:46:40.000000000Z",
        "nan,nan,2026-03-20T09:46:40.000000001Z",
        "-inf,-inf,2026-03-20T09:46:40.000000002Z",
        "1e+20,1e+300,2026-03-20T09:46:40.000000003Z",
    ]


@pytest.mark.parametrize(
    "tick_s", [Fraction(1, 65536), Fraction(1, 1000), Fraction(1, 3), Fraction(7, 10**18), Fraction(1)]
)
@pytest.mark.parametrize("kind", ["u8", "i8", "u4", ">u8"])
def test_an_instant_is_exact(tick_s: Fraction, kind: str) -> None:
    scale = TimeScale(tick_s, -378_691_237 * NS)
    info = np.iinfo(kind)
    ticks = [info.min, 0, 1, 2, 12345, 2_152_000_000 << 16 & info.max, info.max // 3, info.max - 1, info.max]
    exact = [tick * scale.tick_s * NS // 1 + scale.zero_ns for tick in ticks]
    found = instants_of(np.array(ticks, kind), scale).tolist()
    assert found == [one if abs(one) < 2**63 - 2**12 else NO_INSTANT for one in exact]


@pytest.mark.parametrize("tick_s", [Fraction(1, 65536), Fraction(1, 1000), Fraction(1, NS)])
def test_an_instant_of_tai_has_its_own_leap_seconds(tick_s: Fraction) -> None:
    utc = ["1958-01-02T00:00:00Z", "1972-06-30T23:59:59Z", "1972-07-01T00:00:00Z", "2016-12-31T23:59:59Z",
           "2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", "2100-01-01T00:00:00Z"]  # fmt: skip
    ticks = [-(-(BUILT_IN.tai_at(UtcTime.parse(text)) - 12 * NS) // (tick_s * NS)) for text in utc]
    found = instants_of(np.array([*ticks, 2**63 - 1], np.int64), TimeScale(tick_s, 12 * NS, is_tai=True)).tolist()
    exact = [BUILT_IN.utc_at(int(tick * tick_s * NS // 1) + 12 * NS).unix_ns for tick in ticks]
    assert [one // NS for one in found[:7]] == [UtcTime.parse(text).unix_ns // NS for text in utc]
    assert found[:7] == exact
    assert instants_of(np.array([2**63 - 1], np.int64), TimeScale(Fraction(1), 0, is_tai=True)).tolist() == [NO_INSTANT]


def test_an_instant_of_a_float(tmp_path: Path) -> None:
    scale = TimeScale(Fraction(1), 0)
    found = instants_of(np.array([0.5, np.nan, np.inf, 1e300, -1.0]), scale).tolist()
    assert found == [NS // 2, NO_INSTANT, NO_INSTANT, NO_INSTANT, -NS]
    own = {"t": Column(np.array([0.5, np.nan]), time=scale)}
    for form, nothing in (("csv", ""), ("parquet", None)):
        (file,) = written(tmp_path, form, Table("t", own, np.arange(2)))
        read = list(csv.DictReader(file.path.open())) if form == "csv" else parquet_rows(file.path)
        assert read[1]["t"] == nothing


FILLING = """
import sys
from pathlib import Path
import numpy as np
from flight.core.errors import OrbitnodeError
from ground.recording.table import Column, Table
from ground.recording.tables.table_folder import TableFolder
disk = Path(sys.argv[1])
for form in sys.argv[2:]:
    try:
        with TableFolder(disk / "out", form) as out:
            out.add([Table("t", {"a": Column(np.random.default_rng(1).random(200_000))}, np.arange(200_000))])
            out.finish()
    except OrbitnodeError as error:
        print(form, error, sorted(disk.iterdir()))
"""


def test_a_full_disk_is_one_line_and_nothing_stays_on_it(tmp_path: Path) -> None:
    disk = tmp_path / "small"
    prefix = on_small_disk(disk, 256)
    command = [*prefix, sys.executable, "-c", FILLING, str(disk), *FORMS]
    made = subprocess.run(command, capture_output=True, text=True, timeout=GIVE_UP_S, check=False)
    assert made.stderr == ""
    assert made.stdout.splitlines() == [
        f"{form} {disk}/out: tables cannot be written there: No space left on device []" for form in FORMS
    ]
