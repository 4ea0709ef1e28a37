"""How transfers and files are shown: tables with bars on a terminal, plain lines anywhere else, JSON for machines."""

# Import this module only when something is shown: rich takes longer to load than a request to be answered.

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flight.link.cfdp.conditions import ConditionCode
from flight.text.plain_text import json_text
from flight.text.plural import counted
from ground.operator import COMPLETED, FAILED

if TYPE_CHECKING:
    from rich.console import Console

_BAR_COLUMNS = 24
_REFUSED = ConditionCode.FILESTORE_REJECTION.text
_COLOURS = {COMPLETED: "green", FAILED: "red", "suspended": "yellow", "resting": "yellow"}
_RANGES_MAX = 64  # of one transfer, on a screen; --json has all that the ground names
_FILE_COLUMNS = ("directory", "name", "octets", "made_time", "priority", "value", "locked", "damaged")
_NUMBERS = ("class", "octets there", "rate [octet/s]")


def octets_text(octets: float) -> str:
    """Return a number of octets as people read it: `512`, `12.3 kB`, `4.29 GB`."""
    if octets < 1000:
        return f"{octets:.0f}"
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        octets /= 1000
        if octets < 999.5:
            return f"{octets:.3g} {unit}"
    return f"{octets:,.0f} PB"


def outcome_text(last: dict[str, Any]) -> Text:
    """Return how a transfer ended, in a line; or that it goes on, if nobody waits for it."""
    name, outcome, reason = last["name"], last["outcome"], last["reason"]
    if not outcome:
        return Text(f"{name}: transfer {last['transaction']} has begun; `orbitnode files progress` shows it")
    octets = "" if not last.get("octets") else f", {counted(last['octets'], 'octet')}"
    where = f", {last['path']}" if last.get("path") else ""
    tail = f": {reason}" if reason else octets + where
    if reason.endswith(_REFUSED):  # all that a Finished has room for
        tail += "; `orbitnode events` has the node's reason"
    return Text.assemble((f"{name} {outcome}", _COLOURS.get(outcome, "yellow")), tail)


def left_text(name: str, transaction: str | None) -> str:
    """Return what becomes of a transfer for which nobody waits any more."""
    if transaction is None:
        return f"{name}: interrupted before it was told that it began; `orbitnode files progress` shows whether it did"
    return f"{name}: transfer {transaction} goes on; `orbitnode files progress` shows it, `files cancel` ends it"


class TransferLine:
    """One transfer on one line of a terminal while a command waits for it; nowhere else anything is shown."""

    def __init__(self, console: Console, *, shows: bool) -> None:
        shows = shows and console.is_terminal
        self._live = Live(console=console, transient=True, auto_refresh=False) if shows else None
        self._name = ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, line: dict[str, Any]) -> None:
        """Show what a line of the answer says."""
        self._name = line.get("name", self._name)
        if self._live is None or "done" in line:
            return
        there, of = line.get("there", 0), line.get("of", line.get("octets"))
        row = Table.grid(padding=(0, 2))
        row.add_row(self._name, _bar(there, of), _share(there, of), _rate(line.get("octets_per_s", 0.0)))
        self._live.update(row, refresh=True)


class TransferTable:
    """Transfers in a table. Followed, it stays in its place on a terminal; elsewhere each change is a line."""

    def __init__(self, console: Console, *, as_json: bool, with_missing: bool, live: bool) -> None:
        self._console = console
        self._as_json = as_json
        self._with_missing = with_missing
        self._follows = live
        self._live = Live(console=console, auto_refresh=False) if live and console.is_terminal and not as_json else None
        self._shown: dict[str, dict[str, Any]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._stack.enter_context(self._live)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def show(self, transfers: Sequence[dict[str, Any]]) -> None:
        """Show the transfers as they are now."""
        if self._live is not None:
            self._live.update(self._table(transfers), refresh=True)
        elif not self._follows:
            self._print_all(transfers)
        else:
            for transfer in transfers:
                if transfer != self._shown.get(transfer["transaction"]):
                    self._print(transfer)
            self._shown = {transfer["transaction"]: transfer for transfer in transfers}

    def _print_all(self, transfers: Sequence[dict[str, Any]]) -> None:
        if self._as_json:
            for transfer in transfers:
                self._print(transfer)
        elif not transfers:
            self._console.print("no transfers")
        else:
            self._console.print(self._table(transfers))

    def _print(self, transfer: dict[str, Any]) -> None:
        if self._as_json:
            print(json_text(transfer), flush=True)
            return
        there, of = transfer["there"], transfer["octets"]
        reason = f": {transfer['reason']}" if transfer["reason"] else ""
        text = f"{transfer['transaction']} {transfer['way']} {transfer['name'] or '-'} {_share(there, of)} "
        self._console.print(Text(f"{text}{transfer['state']}{reason}"), soft_wrap=True)
        for line in self._ranges(transfer):
            self._console.print(line, soft_wrap=True)

    def _table(self, transfers: Sequence[dict[str, Any]]) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        for column in ("transaction", "way", "file", "class", "", "octets there", "rate [octet/s]", "state"):
            table.add_column(column, justify="right" if column in _NUMBERS else "left")
        for transfer in transfers:
            there, of, state = transfer["there"], transfer["octets"], transfer["state"]
            why = f": {transfer['reason']}" if transfer["reason"] else ""
            table.add_row(
                transfer["transaction"], transfer["way"], transfer["name"] or "-", str(transfer["class"] or "-"),
                _bar(there, of), _share(there, of),
                octets_text(transfer["octets_per_s"]) if transfer["octets_per_s"] else "",
                Text.assemble((state, _COLOURS.get(state, "cyan")), why),
            )  # fmt: skip
            for line in self._ranges(transfer):
                table.add_row("", "", line)
        return table

    def _ranges(self, transfer: dict[str, Any]) -> list[Text]:
        """Return a line per stretch that is missing, if they are to be shown."""
        if not self._with_missing:
            return []
        ranges = transfer["missing"]
        lines = [Text(f"  missing {start:,} to {end - 1:,} ({octets_text(end - start)})") for start, end in ranges]
        more = len(lines) - _RANGES_MAX
        return lines if more <= 0 else [*lines[:_RANGES_MAX], Text(f"  and {counted(more, 'stretch more')}")]


def listing(rows: Sequence[dict[str, Any]]) -> RenderableType:
    """Return the table of files on board, with what each directory holds. `rows`: those of directory_contents."""
    files = [row for row in rows if "name" in row]
    table = Table(box=None, pad_edge=False)
    shown = [name for name in _FILE_COLUMNS if not files or any(name in row for row in files)]
    for name in shown:
        table.add_column(name.replace("_", " "), justify="right" if name in ("octets", "priority", "value") else "left")
    for row in files:
        table.add_row(*(f"{row[name]:,}" if name == "octets" else str(row.get(name, "")) for name in shown))
    directories = {row["directory"]: row for row in rows if row.get("directory")}
    grid = Table.grid()
    grid.add_row(table if files else Text("no files"))
    for name, row in directories.items():
        count = counted(sum(file["directory"] == name for file in files), "file")
        used, quota = octets_text(row["used_octets"]), octets_text(row["quota_octets"])
        room = octets_text(row["room_octets"])
        grid.add_row(Text(f"{name}: {count}, {used} of {quota}, room for {room}"))
    return grid


def _bar(there: int, of: int | None) -> RenderableType:
    if not of:
        return Text("")
    return ProgressBar(total=float(of), completed=float(there), width=_BAR_COLUMNS)


def _share(there: int, of: int | None) -> str:
    if of is None:
        return f"{octets_text(there)} of ?"
    share = f", {100 * there // of} %" if of else ""
    return f"{octets_text(there)} of {octets_text(of)}{share}"


def _rate(octets_per_s: float) -> str:
    return f"{octets_text(octets_per_s)}/s" if octets_per_s else ""
