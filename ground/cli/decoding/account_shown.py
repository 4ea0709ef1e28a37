"""How `orbitnode decode` shows its account to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from flight.text.plain_text import plain
from ground.cli.client import output

_LOSSES = 20  # lines; --json has all of them
_NAMES = 6  # of files; more are counted
_CODING = ("units", "codewords", "codewords_uncorrectable", "symbols_corrected", "marker_bit_errors", "slips",
           "inverted_units", "channel_symbol_errors")  # fmt: skip

Account = Mapping[str, Any]


def show(account: Account) -> None:
    """On the standard output."""
    _line(f"{', '.join(account['files'])}: {account['octets']:,} octets, {account['packets']:,} packets")
    for text in account["found"]:
        _line(f"  {text}")
    _show_stream(account)
    _show_apids(account["apids"])
    _show_definitions(account)
    _show_tables(account["tables"])
    _show_written(account["written"])
    losses = account["losses"]
    if losses:
        _line("not everything was used:")
    for text in losses[:_LOSSES]:
        _line(f"  {text}")
    if len(losses) > _LOSSES:
        _line(f"  and {len(losses) - _LOSSES:,} lines more, which --json shows")


def _show_stream(account: Account) -> None:
    coding = account.get("coding", {})
    if coding:
        _line("coding: " + ", ".join(f"{_words(name)} {coding[name]:,}" for name in _CODING if coding[name]))
    if "frames" in account:
        _line("frames: " + ", ".join(f"{_words(name)} {n:,}" for name, n in account["frames"].items()))
        channels = account["channels"]
        heads = ["channel", *map(_words, next(iter(channels.values()), {}))]
        _table(heads, [(vcid, *one.values()) for vcid, one in channels.items()], texts=0)
    passed = account["encapsulated"]
    if passed:
        _line("encapsulation packets, passed over: " + ", ".join(f"{name} {n:,}" for name, n in passed.items()))
    _line("octets: " + ", ".join(f"{name} {n:,}" for name, n in account["classes"].items() if n))


def _show_apids(apids: Sequence[Account]) -> None:
    numbers = ("packets", "octets", "missing", "segments", "unknown")
    heads = ("channel", "APID", *numbers, "first", "last", "time from")
    rows = [
        # The APID is a name, not an amount.
        (one["vcid"], str(one["apid"]), *(one[key] for key in numbers), one["first"], one["last"], one["time_from"])
        for one in apids
    ]
    _table(heads, rows, texts=3)


def _show_tables(tables: Sequence[Account]) -> None:
    rows = [(one["rows"], sum(one["damaged"].values()), one["first"], one["last"], one["name"]) for one in tables]
    _table(("rows", "damaged", "first", "last", "table"), rows, texts=3)


def _show_definitions(account: Account) -> None:
    names = [one["name"] for one in account["definitions"]]
    if names:
        _line(f"definitions: {', '.join(names)}")
    elif account["packets"]:
        _line("no definition: name one with --definition")


def _show_written(paths: Sequence[str]) -> None:
    folders: dict[str, list[str]] = {}
    for path in map(Path, paths):
        folders.setdefault(str(path.parent), []).append(path.name)
    for folder, names in folders.items():
        _line(f"written to {folder}: {', '.join(names) if len(names) <= _NAMES else f'{len(names)} files'}")


def _line(text: str) -> None:
    output().print(plain(text))


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]], texts: int) -> None:
    """`texts`: how many of the last columns are text, and stand at the left."""
    if not rows:
        return
    shown = Table(box=None)
    for place, head in enumerate(heads):
        shown.add_column(head, justify="left" if place >= len(heads) - texts else "right", overflow="fold")
    for row in rows:
        shown.add_row(*(plain(_cell(one)) for one in row))
    output().print(shown)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)
