"""Other people's data through `orbitnode decode` alone, from file to file: what comes out is their truth, or what their
own readers make of it at the same time.
"""

from __future__ import annotations

import csv
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from flight.cli import main
from flight.kernels import randomize_tm, split_packets
from tests.recordings import XTCE_FILES

ccsdspy = pytest.importorskip("ccsdspy")
space_packet_parser = pytest.importorskip("space_packet_parser")

JPSS = "J01_G011_LZ_2021-04-09T00-00-00Z_V01.DAT1"
MARKER = bytes.fromhex("1acffc1d")
ORDERS = (
    "1", "12", "21", "123", "321", "1234", "2143", "3412", "4321", "123456", "1234567", "12345678", "78563412",
    "87654321",
)  # fmt: skip
VARYING = (
    ("var_length_packets", "data,uint(expand),16"),
    ("var_length_packets_with_footer", "data,uint(expand),16\ncheck,uint,16"),
    (
        "var_length_packets_double_varfield_with_footer",
        "n,uint,8\nfirst,uint(n),16\nm,uint,8\nsecond,uint(m),16\nfooter,uint,16",
    ),
)


class Command:
    """The command in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def account(self, status: int, *arguments: str | Path) -> dict[str, Any]:
        """What it says of a recording, with this exit status."""
        ended = main(["decode", "--json", *map(str, arguments)])
        out, err = self._capsys.readouterr()
        account: dict[str, Any] = json.loads(out)
        assert ended == status, (account["losses"], err)
        assert sum(account["classes"].values()) == account["octets"]
        return account

    def table(self, *arguments: str | Path) -> dict[str, list[Any]]:
        """The columns of the one table that it writes as Parquet, with nothing lost."""
        self.account(0, *arguments, "-o", self.folder / "tables", "--to", "parquet")
        (path,) = (self.folder / "tables").iterdir()
        columns: dict[str, list[Any]] = pq.read_table(path).to_pydict()
        path.unlink()
        return columns

    def packets(self, status: int, *arguments: str | Path) -> tuple[list[bytes], dict[str, Any]]:
        """The packets that it writes."""
        path = self.folder / "packets.bin"
        account = self.account(status, *arguments, "--packets", path)
        octets = path.read_bytes()
        packets = split(octets)
        assert b"".join(packets) == octets
        return packets, account

    def fields(self, lines: str) -> Path:
        path = self.folder / "fields.csv"
        path.write_text(lines)
        return path


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, capsys)


@pytest.fixture
def vectors(shared: Path) -> Path:
    return shared / "vectors"


def split(octets: bytes) -> list[bytes]:
    """The whole packets that follow one another."""
    found = split_packets(octets)
    places = zip(np.asarray(found.offset).tolist(), np.asarray(found.length).tolist(), strict=True)
    return [octets[at : at + size] for at, size in places]


def same(ours: list[Any], theirs: Any) -> bool:
    """A column beside ccsdspy's: of several values per packet it has an array of more dimensions, or one of arrays."""
    if isinstance(ours[0], list):
        return all(np.array_equal(one, np.ravel(other)) for one, other in zip(ours, theirs, strict=True))
    return np.array_equal(ours, theirs, equal_nan=np.asarray(theirs).dtype.kind == "f")


def compare(ours: dict[str, list[Any]], theirs: dict[str, Any]) -> None:
    assert list(ours) == list(theirs)
    for name, column in ours.items():
        assert same(column, theirs[name]), name


@pytest.mark.parametrize("name", XTCE_FILES)
def test_jpss_1_by_xtce(command: Command, vectors: Path, name: str) -> None:
    folder = vectors / "space_packet_parser"
    ours = command.table(folder / JPSS, "--definition", folder / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = space_packet_parser.load_xtce(folder / name)
    packets = list(space_packet_parser.ccsds_generator((folder / JPSS).read_bytes()))
    assert {len(column) for column in ours.values()} == {len(packets)} == {7200}
    for row in (*range(50), *range(50, 7200, 211)):
        theirs = peer.parse_bytes(packets[row])
        # A label has a column of its own here, and is the value there.
        assert [name for name in ours if not name.endswith(".label")] == list(theirs)
        for parameter, value in theirs.items():
            shown = ours.get(f"{parameter}.label", ours[parameter])[row]
            assert shown == pytest.approx(value, rel=0, abs=0), parameter


def test_jpss_1_by_csv(command: Command, vectors: Path) -> None:
    folder = vectors / "space_packet_parser"
    fields = folder / "ccsdspy_jpss1_geolocation.csv"
    theirs = ccsdspy.FixedLength.from_file(str(fields)).load(str(folder / JPSS), include_primary_header=True)
    compare(command.table(folder / JPSS, "--definition", fields), theirs)
    compare(command.table(folder / JPSS, "--definition", f"11={fields}"), theirs)


def test_jpss_1_without_any_definition(command: Command, vectors: Path) -> None:
    packets, account = command.packets(0, vectors / "space_packet_parser" / JPSS)
    assert b"".join(packets) == (vectors / "space_packet_parser" / JPSS).read_bytes()
    (apid,) = account["apids"]
    assert (apid["apid"], apid["packets"], apid["missing"]) == (11, 7200, 0)
    assert (apid["first"], apid["last"]) == ("2021-04-09T00:00:00.007Z", "2021-04-09T01:59:59.005Z")
    assert account["definitions"] == []


@pytest.mark.parametrize("order", ORDERS)
def test_octet_orders_of_ccsdspy(command: Command, vectors: Path, order: str) -> None:
    path = vectors / f"ccsdspy/byte_order/byteorder_{order}.bin"
    lines = "\n".join(f"body{place},uint,{8 * len(order)}" for place in range(80))
    fields = command.fields(f"name,data_type,bit_length\n{lines}\n")
    # The packets of this set have version number 1.
    ours = command.table(path, "--any-version", "--definition", fields, "--byte-order", order)
    truth = list(csv.reader(path.with_suffix(".csv").open()))
    assert [ours[f"body{place}"] for place in range(80)] == [
        [int(row[place]) for row in truth] for place in range(80)
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "lines"), VARYING)
def test_varying_lengths_of_ccsdspy(command: Command, vectors: Path, name: str, lines: str) -> None:
    path = vectors / f"ccsdspy/var_length/{name}.bin"
    fields = command.fields(f"name,data_type,bit_length\n{lines}\n")
    theirs = ccsdspy.VariableLength.from_file(str(fields)).load(str(path), include_primary_header=True)
    compare(command.table(path, "--any-version", "--definition", fields), theirs)


@pytest.mark.parametrize("apid", [1, 10, 35])
def test_simulated_telemetry_of_ccsdspy(command: Command, vectors: Path, apid: int) -> None:
    folder = vectors / f"ccsdspy/hs/apid{apid:03}"
    path = next(folder.glob("*.tlm"))
    lines = ["name,data_type,bit_length,bit_offset"]
    for row in csv.DictReader((folder / "defs.csv").open()):
        # Elements of an array are words of 32 bits, one behind the other, though the file says their octets.
        place, bits = int(row["bit_offset"]), int(row["bit_length"])
        if "[" in row["name"]:
            place, bits = place + 32 * int(row["name"].partition("[")[2].rstrip("]")), 32
        lines.append(f"{row['name']},{row['data_type']},{bits},{place}")
    fields = command.fields("\n".join(lines))
    peer = [
        ccsdspy.PacketField(row["name"], row["data_type"], int(row["bit_length"]), 48 + int(row["bit_offset"]))
        for row in csv.DictReader(io.StringIO("\n".join(lines)))
    ]
    theirs = ccsdspy.FixedLength(peer).load(str(path), include_primary_header=True)
    compare(command.table(path, "--definition", f"{apid}={fields}", "--starts-at-data"), theirs)


def cadus(vectors: Path, name: str, folder: Path) -> tuple[Path, list[bytes]]:
    """A dump of dariol83/ccsds as the file that was recorded, with the marker in front of each unit if it has none."""
    lines = (vectors / f"dariol83-ccsds/dumpFile_{name}.hex").read_text().split()
    units = [bytes.fromhex(line) for line in lines]
    path = folder / f"{name}.cadu"
    path.write_bytes(b"".join(units))
    return path, units


def test_suomi_npp_as_it_was_received(command: Command, vectors: Path) -> None:
    path = vectors / "ccsds-rs/snpp_7cadus_2vcids.dat"
    raw = path.read_bytes()
    frames = [randomize_tm(raw[at + 4 : at + 1024])[:892] for at in range(0, len(raw), 1024)]
    channel = [frame for frame in frames if frame[1] & 0x3F == 6]
    zones = b"".join(frame[8:] for frame in channel)
    pointers = [int.from_bytes(frame[6:8], "big") & 0x7FF for frame in channel]
    begins = next(place for place, pointer in enumerate(pointers) if pointer != 0x7FF)
    want = split(zones[begins * 884 + pointers[begins] :])
    packets, account = command.packets(1, path)  # it begins and ends inside packets
    assert {vcid: one["frames"] for vcid, one in account["channels"].items()} == {"6": 4, "16": 3}
    assert packets == want != []
    assert account["link"]["service"] == "aos"
    assert account["coding"]["codewords_uncorrectable"] == 0
    only, account = command.packets(1, path, "--vcid", "6", "--spacecraft", "157")
    assert set(account["channels"]) == {"6"}
    assert only == packets


def test_a_gap_of_dariol83(command: Command, vectors: Path) -> None:
    path, frames = cadus(vectors, "tm_gap_1", command.folder)
    assert {len(frame) for frame in frames} == {1115}
    packets, account = command.packets(1, path)
    assert account["form"] == "frames"
    assert [len(packet) for packet in packets] == [1085, 605, 406, 1104, 2205]
    assert {vcid: (one["frames"], one["missed"]) for vcid, one in account["channels"].items()} == {
        "0": (len(frames), 4)
    }  # fmt: skip
    assert "4 frames missing by frame count" in account["losses"]


def test_user_data_of_dariol83(command: Command, vectors: Path) -> None:
    """Three channels in turns, and no packet in any of them."""
    path, units = cadus(vectors, "tm_user_data", command.folder)
    packets, account = command.packets(1, path)
    assert packets == []
    assert account["form"] == "units"
    assert account["link"].items() >= {
        "service": "tm", "frame_octets": 1115, "coding": "rs(255,223)", "interleave": 5, "randomizer": "none",
    }.items()  # fmt: skip
    assert {vcid: (one["frames"], one["missed"]) for vcid, one in account["channels"].items()} == {
        "0": (10, 0), "1": (10, 0), "7": (10, 0),
    }  # fmt: skip
    assert account["coding"]["units"] == len(units) == 30


def test_aos_of_dariol83(command: Command, vectors: Path) -> None:
    """Frames of 892 octets with a control field, packets of 406 octets on two channels; it ends inside packets."""
    path, units = cadus(vectors, "aos_1", command.folder)
    want = []
    for vcid in (0, 1):
        bodies = [unit.removeprefix(MARKER) for unit in units]
        zones = b"".join(body[8:888] for body in bodies if body[1] & 0x3F == vcid)
        want += split(zones)
    packets, account = command.packets(1, path)
    assert sorted(packets) == sorted(want)
    assert {len(packet) for packet in packets} == {406}
    assert {vcid: (one["frames"], one["missed"]) for vcid, one in account["channels"].items()} == {
        "0": (11, 0), "1": (6, 0), "63": (13, 0),
    }  # fmt: skip
    assert account["link"]["has_ocf"]
