"""`orbitnode decode`: a recorded downlink into tables of housekeeping, all of it at once."""

from __future__ import annotations

import argparse
import csv
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flight.catalogue import dictionary_of
from flight.core.errors import OrbitnodeError, reason_of
from flight.core.nanoseconds import NS, utc_text
from flight.mission import MISSIONS, load
from flight.text.plain_text import json_text, plain
from ground.cli.client import output
from ground.cli.dictionary import read_dictionary
from ground.cli.whole_file import whole_file
from ground.link.mission_link import chosen_link
from ground.products.names import safe_name

if TYPE_CHECKING:
    from ground.telemetry.recording import HousekeepingTable, Recording

HELP = "decode a recorded downlink into tables of housekeeping"

_STRETCH_OCTETS = 16 << 20
_CUC_TICKS_S = 1 << 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="what was recorded, such as out/downlink.tm")
    parser.add_argument(
        "--as", dest="form", choices=("auto", "units", "frames", "packets"), default="auto",
        help="what the file holds: a stream of coded units, bare frames, or packets (default: seen from its beginning)",
    )  # fmt: skip
    parser.add_argument("--out", "-o", type=Path, metavar="FOLDER", help="write each structure's table there, as .npz")
    parser.add_argument("--csv", action="store_true", help="write .csv instead of .npz")
    parser.add_argument("--mission", type=Path, default=MISSIONS / "orbit.toml", metavar="FILE", help="mission file")
    parser.add_argument("--link", default="", metavar="NAME", help="which [[link]] of the mission (default: the first)")
    parser.add_argument("--dictionary", type=Path, metavar="FILE",
                        help="dictionary of the node that sent it, JSON (default: the mission's)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="the account as one JSON object")
    parser.set_defaults(parser=parser)


def execute(args: argparse.Namespace) -> int:
    """0; 1 where there was no packet in the file, or most of it was of no use."""
    from ground.telemetry.recording import Recording, all_tables, form_of

    if args.csv and args.out is None:
        args.parser.error("--csv says how tables are written; name their folder with --out")
    mission = load(args.mission, opens_devices=False)
    config = chosen_link(mission, args.link).config
    dictionary = dictionary_of(mission) if args.dictionary is None else read_dictionary(args.dictionary)
    stretches = _stretches(args.file)
    first = next(stretches, b"")
    try:
        recording = Recording(config, form_of(first, config) if args.form == "auto" else args.form)
    except ValueError as error:
        raise OrbitnodeError(f"{args.file}: {error}; say --as frames or --as packets") from None
    tables = all_tables(recording.batches(chain((first,), stretches)), dictionary.structures)
    account = _account(args.file, recording, tables)
    if args.out is not None:
        account["written"] = [str(path) for path in _write(args.out, tables, as_csv=args.csv)]
    if args.json:
        print(json_text(account))
    else:
        _show(account)
    # More left over than used: most likely this is not what the file holds.
    return 0 if recording.packets and 2 * account["left_octets"] <= account["octets"] else 1


def _stretches(path: Path) -> Iterator[bytes]:
    """The file in pieces: what was recorded may be larger than memory."""
    try:
        with path.open("rb") as file:
            while octets := file.read(_STRETCH_OCTETS):
                yield octets
    except OSError as error:
        raise OrbitnodeError(f"{path} cannot be read: {reason_of(error)}") from None


def _account(path: Path, recording: Recording, tables: Sequence[HousekeepingTable]) -> dict[str, Any]:
    account: dict[str, Any] = {
        "file": str(path),
        "octets": path.stat().st_size,
        "form": recording.form,
        "packets": recording.packets,
        "left_octets": recording.left_octets,
    }
    if recording.decoder is not None:
        counters, sync = recording.decoder.counters, recording.decoder.synchronizer.counters
        account["coding"] = {
            "units": sync.units,
            "codewords": counters.codewords,
            "codewords_uncorrectable": counters.codewords_uncorrectable,
            "symbols_corrected": counters.symbols_corrected,
            "marker_bit_errors": sync.marker_bit_errors,
            "skipped_bits": sync.skipped_bits,
        }
    if recording.form == "packets":
        account["stop"] = recording.stop.name.lower()
    else:
        verdicts = {verdict.name.lower(): n for verdict, n in recording.extractor.verdicts.items()}
        account["frames"] = {"uncorrectable" if name == "marked" else name: n for name, n in verdicts.items()}
        account["channels"] = {
            str(vcid): {"frames": one.frames, "missed": one.missed, "packets": one.packets, "broken": one.broken}
            for vcid, one in recording.extractor.channels.items()
        }
    account["structures"] = [
        {"name": one.structure.name, "reports": len(one), "damaged": one.damaged, **_span(one)} for one in tables
    ]
    return account


def _span(table: HousekeepingTable) -> dict[str, str]:
    if not len(table):
        return {}
    times = table.columns["packet.time"]
    return {"first": _utc(int(times.min())), "last": _utc(int(times.max()))}


def _utc(cuc_ticks: int) -> str:
    return utc_text(cuc_ticks * NS // _CUC_TICKS_S)


def _write(folder: Path, tables: Sequence[HousekeepingTable], *, as_csv: bool) -> Iterator[Path]:
    import numpy as np

    taken: set[str] = set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OrbitnodeError(f"{folder} cannot be written: {reason_of(error)}") from None
    for one in tables:
        path = folder / f"{_file_name(one.structure.name, taken)}{'.csv' if as_csv else '.npz'}"
        yield path
        with whole_file(path) as stream:
            if as_csv:
                stream.write(_csv(one).encode())
                continue
            with zipfile.ZipFile(stream, "w") as archive:  # np.savez keeps some names of columns for itself
                for name, column in one.columns.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, np.asanyarray(column), allow_pickle=False)


def _file_name(structure: str, taken: set[str]) -> str:
    """A file of its own for each structure, in the folder and nowhere else: the document may be anybody's."""
    name = safe_name(structure)
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _csv(table: HousekeepingTable) -> str:
    """The time as UTC for people and spreadsheets, numbers as Python writes them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    (_, ticks), *others = table.columns.items()
    writer.writerow(("utc", *(plain(name) for name, _ in others)))
    times = (_utc(int(tick)) for tick in ticks.tolist())
    writer.writerows(zip(times, *(map(repr, column.tolist()) for _, column in others), strict=True))
    return text.getvalue()


def _show(account: Mapping[str, Any]) -> None:
    from rich.table import Table

    console = output()
    console.print(
        f"{account['file']}: {account['octets']:,} octets of {account['form']}, {account['packets']:,} packets"
        + (f", {account['left_octets']:,} octets left over" if account["left_octets"] else "")
    )
    if "coding" in account:
        console.print("  ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in account["coding"].items()))
    if "frames" in account:
        console.print("frames: " + (", ".join(f"{name} {n:,}" for name, n in account["frames"].items() if n) or "none"))
        channels = Table("channel", "frames", "missed", "packets", "broken", box=None)
        for vcid, one in account["channels"].items():
            channels.add_row(vcid, *(f"{n:,}" for n in one.values()))
        console.print(channels)
    if not account["packets"]:
        console.print("nothing of it could be decoded: --as says what the file holds, --mission whose link it was")
        return
    if account.get("stop") == "version":
        console.print("what follows is no space packet")
    if not account["structures"]:
        console.print("no housekeeping report of this dictionary")
        return
    reports = Table("structure", "reports", "damaged", "first", "last", box=None)
    for one in account["structures"]:
        counts = (f"{one['reports']:,}", f"{one['damaged']:,}")
        reports.add_row(plain(one["name"]), *counts, one.get("first", ""), one.get("last", ""))
    console.print(reports)
    for path in account.get("written", ()):
        console.print(f"written: {path}")
