"""`orbitnode decode`: turns recorded data of any mission into packets, tables and an account of every octet.

What the files hold is detected from the data, unless options or a mission file say it. Packets are counted per APID,
and decoded if there are definitions. Without definitions and without a mission, the default mission's dictionary is
tried, and used if its own checks support it.

Exit status: 0 if every octet was used and every packet understood; 1 if anything was lost, damaged or not used, or if
the data were not recognised; 2 for wrong use.
"""

# What is on disk after an interruption. Tables grow in a working folder inside --out, packets in a temporary file
# beside --packets (`ground.whole_file`). Both take their place only after the recording was read to its end. An ending
# signal raises in the main thread, the contexts unwind and remove what is not whole, and whatever stood there before is
# untouched. Only a kill leaves unfinished files behind, under names of their own.

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

# The keys of `tables.table_folder.FORMS`, written out: importing that loads NumPy, which `--help` can do without.
_FORMS = ("npz", "csv", "parquet", "arrow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `orbitnode decode`."""
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE",
        help='recorded data, such as out/downlink.tm; several files are read as one, "-" is the standard input',
    )  # fmt: skip
    parser.add_argument("--out", "-o", type=Path, metavar="FOLDER", help="write each table to a file in this folder")
    parser.add_argument("--to", choices=_FORMS, help="file format of the tables (default: npz)")
    parser.add_argument("--csv", action="store_true", help="short for --to csv")
    parser.add_argument("--packets", type=Path, metavar="FILE", help="write the packets to it, one after the other")
    parser.add_argument("--json", action="store_true", help="print the account as one JSON object")
    group = parser.add_argument_group("what the packets mean")
    group.add_argument(
        "--definition", action="append", default=[], metavar="[APID=]FILE",
        help="XTCE, a CSV table of fields (APID=FILE if the file does not say the APID), or a dictionary; repeatable",
    )  # fmt: skip
    group.add_argument("--root-container", metavar="NAME", help="of XTCE: the container that every packet is")
    group.add_argument(
        "--byte-order", default="big", metavar="ORDER",
        help="of CSV fields: big, little, or the order of octets in digits as in ccsdspy (default: big)",
    )  # fmt: skip
    group.add_argument(
        "--starts-at-data", action="store_true", help="definitions count bits from the end of the primary header"
    )
    group.add_argument("--no-definition", action="store_true", help="packets only: do not try any dictionary")
    group.add_argument(
        "--mission", type=Path, metavar="FILE", help="mission file: how its link is coded, and what its packets mean"
    )
    group.add_argument("--link", default="", metavar="NAME", help="which [[link]] of the mission (default: the first)")
    group.add_argument("--dictionary", type=Path, metavar="FILE",
                       help="dictionary of the node that sent it, JSON (default: the mission's)")  # fmt: skip
    add_link_arguments(parser)
    parser.set_defaults(parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Decode the files and print the account. Return 0 if all was used and understood, else 1."""
    from ground.cli.decoding.account_shown import show
    from ground.recording.recording import open_recording

    _check(args)
    link = link_options(args)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # One file is open per table, and a mission may have thousands: take all that this user is allowed.
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with interrupted_by_ending_signals(), _progress(args) as on_progress:  # half-written files go, whoever ends it
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
        recording.on_progress = on_progress
        written = _write(args, recording)
    # After the contexts: the account is shown only if all files are in their places.
    account = recording.account
    account["written"] = [str(path) for path in written]
    if args.json:
        print(json_text(account))
    else:
        show(account)
    return 0 if account["complete"] else 1


def _check(args: argparse.Namespace) -> None:
    """End the command with status 2 if the options contradict one another."""
    error = args.parser.error
    if args.csv and args.to not in (None, "csv"):
        error(f"--csv and --to {args.to} contradict each other; give one of them")
    if (args.csv or args.to) and args.out is None:
        error(f"{'--csv' if args.csv else '--to'} needs --out, the folder to write tables to")
    if args.no_definition and (args.definition or args.dictionary is not None):
        error("--no-definition contradicts --definition and --dictionary")
    if args.root_container is not None and not args.definition:
        error("--root-container needs --definition, the XTCE file that has the container")
    # By the file, not by its name: a link to the recording would be overwritten as well.
    if args.packets is not None and any(_is_same(args.packets, file) for file in args.files):
        error(f"--packets {args.packets} is one of the files to read")


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # one of them does not exist
        return False


def _write(args: argparse.Namespace, recording: Recording) -> list[Path]:
    """Read the recording to its end and write what was asked for. Returns the files that were written."""
    from ground.recording.packet_file import write_packets
    from ground.recording.tables.table_folder import TableFolder

    with ExitStack() as stack:
        form = args.to or ("csv" if args.csv else "npz")
        folder = None if args.out is None else stack.enter_context(TableFolder(args.out, form))
        # Opened before the first octet is read: whatever cannot be written is refused before hours of decoding.
        packets = None if args.packets is None else stack.enter_context(whole_file(args.packets))
        for batch in recording:
            if folder is not None:
                folder.add(batch.tables)
            if packets is not None:
                write_packets(packets, batch.packets)
        # Tables first: the file of packets takes its place when the stack unwinds, right after.
        written = [] if folder is None else [table.path for table in folder.finish()]
    return written if packets is None else [*written, args.packets]


@contextmanager
def _progress(args: argparse.Namespace) -> Iterator[Callable[[int], None] | None]:
    """Show progress while inside the context; yields what to call with the octets read, or None without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from ground.cli.terminal.console import PlainConsole
    from ground.recording.input_files import total_octets

    # On the standard error and transient: what is printed stays clean for a pipe, and nothing remains of the bar.
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=PlainConsole(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total_octets(args.files))
        yield lambda octets: progress.update(task, completed=octets)
