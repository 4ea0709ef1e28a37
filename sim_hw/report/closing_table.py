"""The table that closes a run on the terminal: a row per subject, a column per spacecraft."""

# A row is a pair of a head and a function from one summary to text, so the table says nothing that summary.json does
# not. A function returns "" for what a run did not have, and a row that is empty for every spacecraft is left out: a
# run without a channel code has no row about it.

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from flight.text.plain_text import plain, plain_lines
from flight.text.plural import counted
from sim_hw.report.amounts import sized

Summary = Mapping[str, Any]


def closing_table(title: str, summaries: Mapping[str, Summary], caption: str = "") -> Table:
    """Make the table from the summary of each spacecraft by its name. A row that is empty for all is left out."""
    table = Table(title=plain(title), caption=caption or None, show_header=len(summaries) > 1)
    table.add_column(style="bold")
    for name in summaries:
        table.add_column(plain(name), overflow="fold")
    for head, cell in ROWS:
        cells = [plain_lines(cell(summary)) for summary in summaries.values()]
        if any(cells):
            table.add_row(head, *map(Text, cells))  # Text, not markup: what a procedure says may have brackets
    return table


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items() if n) or "none"


def _wall_time(summary: Summary) -> str:
    return f"{summary['wall_s']:.1f} s for {summary['mission_s'] / 60:.0f} min"


def _tiles(summary: Summary) -> str:
    tiles = summary["tiles"]
    return (
        f"{tiles['captured']:,} captured = {tiles['screened']:,} screened ({tiles['cloudy']:,} cloudy) "
        f"+ {tiles['dropped']:,} dropped + {tiles['pending']:,} pending"
    )


def _worker_apps(summary: Summary) -> str:
    """Say what each of several apps did. What a single one did is in the row of the tiles."""
    apps = summary["worker_apps"]
    if len(apps) < 2:
        return ""
    return ", ".join(
        f"{name} {counted(counts['done'], 'product')}"
        + (f" and {counted(counts['failed'], 'failed attempt')}" if counts["failed"] else "")
        for name, counts in apps.items()
    )


def _accuracy(summary: Summary) -> str:
    accuracy = summary["cloud_accuracy"]
    return (
        "no truth" if accuracy["mean"] is None else f"{accuracy['mean']:.3f} over {counted(accuracy['tiles'], 'tile')}"
    )


def _octets(summary: Summary) -> str:
    octets, files = summary["bytes"], summary["files"]
    lost = files["evicted"] + files["refused"] + files["lost_with_power"]
    return (
        f"{sized(octets['raw'])} raw, {sized(octets['product'])} product, "
        f"{sized(octets['downlinked'])} downlinked in {counted(files['received'], 'file')}; "
        f"{files['waiting'] + files['resting']:,} on board, {lost:,} lost"
    )


def _energy(summary: Summary) -> str:
    energy = summary["energy"]
    tile = "" if energy["tile_j"] is None else f", {energy['tile_j']:.1f} J per tile"
    return f"{energy['energy_wh']['consumed']:.1f} Wh in all{tile}"


def _inference(summary: Summary) -> str:
    inference = summary["inference"]
    if not inference["count"]:
        return "no tile"
    return f"{counted(inference['count'], 'tile')}, median {inference['median_ms']} ms, p99 {inference['p99_ms']} ms"


def _frames(summary: Summary) -> str:
    link = summary["link"]
    lines = [_fates(link), *(f"{name}: {_fates(further)}" for name, further in summary["further_links"].items())]
    return "\n".join(lines)


def _fates(link: Mapping[str, Any]) -> str:
    return f"{link['frames_sent']:,} sent = {link['frames_received']:,} received + {link['frames_lost']:,} lost"


def _coding(summary: Summary) -> str:
    link, coding = summary["link"], summary["link"]["coding"]
    if not coding.get("codewords"):
        return ""
    return (
        f"{coding['code'].upper()} at a bit error rate of {coding['bit_error_rate']:g}: "
        f"{counted(coding['symbols_corrected'], 'wrong symbol')} corrected"
        + (f", {coding['channel_symbol_errors']:,} by the inner code before" if coding["channel_symbols"] else "")
        + f", {counted(link['frames_lost_to_bit_errors'], 'frame')} lost to it"
    )


def _security(summary: Summary) -> str:
    security = summary["security"]
    refused = sum(security["up_refused"].values()), sum(security["down_refused"].values())
    both = f"up {security['uplink']}, down {security['downlink']}"
    if security["keys"] == "none":
        return both
    return f"{both}, by {security['keys']} keys; refused {refused[0]:,} up, {refused[1]:,} down"


def _commands(summary: Summary) -> str:
    commands = summary["commands"]
    return (
        f"{commands['sent']:,} sent, {commands['completed']:,} completed, {commands['rejected']} rejected, "
        f"{commands['failed']} failed, {commands['lost']} lost, "
        f"{counted(commands['retransmitted'], 'frame')} sent again"
    )


def _tasks(summary: Summary) -> str:
    scheduler = summary["scheduler"]
    busiest = max(summary["tasks"], key=lambda task: (task["cpu_permille"], task["steps"]), default=None)
    return (
        f"{len(summary['tasks'])}, {counted(scheduler['steps'], 'step')}, {scheduler['late']:,} late, "
        f"{scheduler['skipped']:,} skipped, {counted(scheduler['overruns'], 'overrun')}"
        + (f", {counted(scheduler['failures'], 'failure')}: see node.log" if scheduler["failures"] else "")
        + (f", busiest {busiest['name']}" if busiest else "")
    )


def _recorder(summary: Summary) -> str:
    recorder = summary["recorder"]
    fills = ", ".join(f"{store['name']} {store['fill_frac']:.0%} full" for store in recorder["stores"])
    return (
        f"{recorder['recorded']:,} recorded, {recorder['played_back']:,} played back, "
        f"{recorder['overwritten']:,} overwritten; {fills}"
    )


def _worker(summary: Summary) -> str:
    worker = summary["worker"]
    lines = []
    if sum(worker["failures"].values()):
        # The first says what the fault is in most cases: the others are the same one again.
        first = f", first: {worker['first_failure']}" if worker["first_failure"] else ""
        retried = counted(worker["retried"], "job")
        lines.append(f"{_reasons(worker['failures'])}{first}; {retried} retried; all in node.log")
    if worker["hang_limit_fired"]:
        lines.append("a wall-clock limit fired: this digest is not reproducible")
    return "\n".join(lines)


def _events(summary: Summary) -> str:
    counts = summary["events"]
    return _reasons(counts) + ("; see node.log" if counts.get("medium") or counts.get("high") else "")


def _boots(summary: Summary) -> str:
    return f"{summary['boots']}: the node lost power" if summary["boots"] > 1 else ""


def _faults(summary: Summary) -> str:
    return "\n".join(fault_text(fault) for fault in summary["faults"])


def fault_text(fault: Mapping[str, Any]) -> str:
    """Say of a planned fault of a summary what came of it."""
    came = "never happened" if fault["happened_s"] is None else f"happened at {fault['happened_s']:g} s"
    return f"{fault['kind']}@{fault['at_s']:g} {came}"


def _script(summary: Summary) -> str:
    return "\n".join(f"failed: {failure}" for failure in summary["script_failures"])


def _of_payload(cell: Callable[[Summary], str]) -> Callable[[Summary], str]:
    """Return `cell`, or "" if the mission flies no payload manager: there are no tiles to speak of."""
    return lambda summary: cell(summary) if summary["worker_apps"] else ""


ROWS: tuple[tuple[str, Callable[[Summary], str]], ...] = (
    ("wall time", _wall_time),
    ("tiles", _of_payload(_tiles)),
    ("worker apps", _worker_apps),
    ("delayed", _of_payload(lambda summary: _reasons(summary["tiles"]["delayed_by_reason"]))),
    ("dropped", _of_payload(lambda summary: _reasons(summary["tiles"]["dropped_by_reason"]))),
    ("cloud accuracy", _of_payload(_accuracy)),
    ("octets", _octets),
    ("energy", _energy),
    ("inference", _of_payload(_inference)),
    ("charge", lambda summary: f"lowest {summary['soc']['min']:.2f}, at the end {summary['soc']['end']:.2f}"),
    ("board", lambda summary: f"hottest {summary['temperature_c']['board_max']:.1f} degC"),
    ("frames", _frames),
    ("coding", _coding),
    ("security", _security),
    ("commands", _commands),
    ("tasks", _tasks),
    ("recorder", _recorder),
    ("events", _events),
    ("worker", _worker),
    ("boots", _boots),
    ("faults", _faults),
    ("script", _script),
    ("digest", lambda summary: str(summary["digest"])),
)
