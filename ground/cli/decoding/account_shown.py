"""Prints the account of `orbitnode decode` for people.

It shows the same document that `--json` prints (`ground.recording.summary`), with long lists cut short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from flight.text.plain_text import plain
from flight.text.plural import counted
from ground.cli.api.client import output

_LOSSES = 20  # lines shown; --json has all of them
_NAMES = 6  # names of files shown; more are only counted
_CODING = ("units", "codewords", "codewords_uncorrectable", "symbols_corrected", "marker_bit_errors", "slips",
           "inverted_units", "channel_symbol_errors")  # fmt: skip

Account = Mapping[str, Any]


def show(account: Account) -> None:
    """Print the account to the standard output."""
    octets, packets = counted(account["octets"], "octet"), counted(account["packets"], "packet")
    _line(f"{', '.join(account['files'])}: {octets}, {packets}")
    for text in account["found"]:
        _line(f"  {text}")
    _show_stream(account)
    _show_apids(account["apids"])
    _show_definitions(account)
    _show_tables(account["tables"])
    _show_written(account["written"])
    losses = account["losses"]
    if losses:
        _line("lost or not used:")
    for text in losses[:_LOSSES]:
        _line(f"  {text}")
    if len(losses) > _LOSSES:
        _line(f"  and {len(losses) - _LOSSES:,} more, which --json shows")


def _show_stream(account: Account) -> None:
    coding = account.get("coding", {})
    if coding:
        # Counters that are 0 are left out: most of them are errors that a good recording does not have.
        _line("coding: " + ", ".join(f"{_words(name)} {coding[name]:,}" for name in _CODING if coding[name]))
    if "frames" in account:
        _line("frames: " + ", ".join(f"{_words(name)} {n:,}" for name, n in account["frames"].items()))
        channels = account["channels"]
        heads = ["channel", *map(_words, next(iter(channels.values()), {}))]
        _table(heads, [(vcid, *counts.values()) for vcid, counts in channels.items()], texts=0)
    passed = account["encapsulated"]
    if passed:
        _line("encapsulation packets, passed over: " + ", ".join(f"{name} {n:,}" for name, n in passed.items()))
    classes = [f"{name} {n:,}" for name, n in account["classes"].items() if n]
    if classes:  # an empty input has none
        _line("octets: " + ", ".join(classes))


def _show_apids(apids: Sequence[Account]) -> None:
    numbers = ("packets", "octets", "missing", "segments", "unknown")
    heads = ("channel", "APID", *numbers, "first", "last", "time from")
    rows = [
        # str: an APID is a name, not an amount, so it has no thousands separator.
        (row["vcid"], str(row["apid"]), *(row[key] for key in numbers), row["first"], row["last"], row["time_from"])
        for row in apids
    ]
    _table(heads, rows, texts=3)


def _show_tables(tables: Sequence[Account]) -> None:
    rows = [
        (entry["rows"], sum(entry["damaged"].values()), entry["first"], entry["last"], entry["name"])
        for entry in tables
    ]
    _table(("rows", "damaged", "first", "last", "table"), rows, texts=3)


def _show_definitions(account: Account) -> None:
    names = [definition["name"] for definition in account["definitions"]]
    if names:
        _line(f"definitions: {', '.join(names)}")
    elif account["packets"]:
        _line("no definition given: name one with --definition")


def _show_written(paths: Sequence[str]) -> None:
    folders: dict[str, list[str]] = {}
    for path in map(Path, paths):
        folders.setdefault(str(path.parent), []).append(path.name)
    for folder, names in folders.items():
        _line(f"written to {folder}: {', '.join(names) if len(names) <= _NAMES else f'{len(names)} files'}")


def _line(text: str) -> None:
    output().print(plain(text))


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]], texts: int) -> None:
    """Print a table; nothing if it has no rows. texts: how many of the last columns hold text and are left-aligned."""
    if not rows:
        return
    # fold, not cut: long names of containers and files must stay readable in a narrow terminal.
    shown = Table(box=None)
    for place, head in enumerate(heads):
        shown.add_column(head, justify="left" if place >= len(heads) - texts else "right", overflow="fold")
    for row in rows:
        # plain(): names come from files that anybody wrote, and may hold control sequences.
        shown.add_row(*(plain(_cell(value)) for value in row))
    output().print(shown)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)
