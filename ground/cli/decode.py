"""`orbitnode decode`: recorded data of any mission into packets, tables and an account of every octet.

What the files hold is found from the data, unless options or a mission file say it. Packets are counted per APID; files
of definitions decode them. Without any, and without a mission, the default mission's dictionary is tried, and taken if
its own checks support it.

Exit status: 0 if every octet was used and supported; 1 if anything was lost, damaged, not used, or if nothing could be
told; 2 for wrong use.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flight.linux.ending_signals import interrupted_by_ending_signals
from flight.text.plain_text import json_text
from ground.cli.decoding.link_arguments import add_link_arguments, link_options
from ground.whole_file import whole_file

if TYPE_CHECKING:
    from ground.recording.recording import Recording

HELP = "decode recorded data of any mission: packets, tables, and what was lost"

_FORMS = ("npz", "csv", "parquet", "arrow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE",
        help='what was recorded, such as out/downlink.tm; several are read as one, "-" is the standard input',
    )  # fmt: skip
    parser.add_argument("--out", "-o", type=Path, metavar="FOLDER", help="write every table there, a file each")
    parser.add_argument("--to", choices=_FORMS, help="which files of tables (default: npz)")
    parser.add_argument("--csv", action="store_true", help="short for --to csv")
    parser.add_argument("--packets", type=Path, metavar="FILE", help="write the packets there, one after the other")
    parser.add_argument("--json", action="store_true", help="the account as one JSON object")
    group = parser.add_argument_group("what its packets mean")
    group.add_argument(
        "--definition", action="append", default=[], metavar="[APID=]FILE",
        help="XTCE, a CSV table of fields (with its APID, if it does not say it), or a dictionary; repeatable",
    )  # fmt: skip
    group.add_argument("--root-container", metavar="NAME", help="of XTCE: where to begin")
    group.add_argument(
        "--byte-order", default="big", metavar="ORDER",
        help="of fields of CSV: big, little, or the octets in digits as ccsdspy has them (default: big)",
    )  # fmt: skip
    group.add_argument(
        "--starts-at-data", action="store_true", help="definitions count from the end of the primary header"
    )
    group.add_argument("--no-definition", action="store_true", help="packets only: try no dictionary")
    group.add_argument(
        "--mission", type=Path, metavar="FILE", help="mission file: how its link is coded, and its dictionary"
    )
    group.add_argument("--link", default="", metavar="NAME", help="which [[link]] of the mission (default: the first)")
    group.add_argument("--dictionary", type=Path, metavar="FILE",
                       help="dictionary of the node that sent it, JSON (default: the mission's)")  # fmt: skip
    add_link_arguments(parser)
    parser.set_defaults(parser=parser)


def execute(args: argparse.Namespace) -> int:
    """0 if every octet was used and supported, 1 if not."""
    from ground.cli.decoding.account_shown import show
    from ground.recording.recording import open_recording

    _check(args)
    link = link_options(args)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a file is open per table
    with interrupted_by_ending_signals(), _progress(args) as told:  # what is half written goes, whoever ends it
        recording = open_recording(
            args.files,
            link=link,
            definition=() if args.no_definition else args.definition,
            root_container=args.root_container,
            byte_order=args.byte_order,
            starts_at_data=args.starts_at_data,
            mission=args.mission,
            link_name=args.link,
            dictionary=args.dictionary,
            tries_default=not args.no_definition,
        )
        recording.told = told
        written = _write(args, recording)
    account = recording.account
    account["written"] = [str(path) for path in written]
    if args.json:
        print(json_text(account))
    else:
        show(account)
    return 0 if account["complete"] else 1


def _check(args: argparse.Namespace) -> None:
    error = args.parser.error
    if args.csv and args.to not in (None, "csv"):
        error(f"--csv and --to {args.to}: one of them")
    if (args.csv or args.to) and args.out is None:
        error(f"{'--csv' if args.csv else '--to'} says how tables are written; name their folder with --out")
    if args.no_definition and (args.definition or args.dictionary is not None):
        error("--no-definition beside a definition")
    if args.root_container is not None and not args.definition:
        error("--root-container is of XTCE; name its file with --definition")
    if args.packets is not None and any(_is_same(args.packets, one) for one in args.files):
        error(f"--packets {args.packets} is what is read")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return False


def _write(args: argparse.Namespace, recording: Recording) -> list[Path]:
    """Take the recording through to its end; give the files that were written."""
    from ground.recording.packet_file import write_packets
    from ground.recording.tables.table_folder import TableFolder

    with ExitStack() as stack:
        form = args.to or ("csv" if args.csv else "npz")
        folder = None if args.out is None else stack.enter_context(TableFolder(args.out, form))
        packets = None if args.packets is None else stack.enter_context(whole_file(args.packets))
        for batch in recording:
            if folder is not None:
                folder.add(batch.tables)
            if packets is not None:
                write_packets(packets, batch.packets)
        written = [] if folder is None else [one.path for one in folder.finish()]
    return written if packets is None else [*written, args.packets]


@contextmanager
def _progress(args: argparse.Namespace) -> Iterator[Callable[[int], None] | None]:
    """Shows how far it is, on a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from ground.cli.console import PlainConsole
    from ground.recording.input_files import total_octets

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=PlainConsole(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total_octets(args.files))
        yield lambda octets: progress.update(task, completed=octets)
