"""The report of one spacecraft of a run, filled from what the ground received and from the world's own intervals."""

# What each curve is made of. Telemetry comes from the ground's archive alone, so the report shows what an operator
# could have known: curves end with the last contact, and a break is a packet that never came. Eclipses, passes and
# elevations come from the world, boots and faults from the run: these an operator could not know as exactly, and they
# are what the telemetry is to be compared with. Rates come from the ground's own counters.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from flight.contract.dictionary import Dictionary
from flight.core.nanoseconds import NS
from flight.link.link import Role
from flight.services.board.power import PowerConfig
from flight.services.board.thermal import ThermalConfig
from flight.text.plural import counted, plural
from ground.cli.tasks import duration
from sim_hw.machine.faults import KINDS
from sim_hw.payload_watch import charge_gates, temperature_gates
from sim_hw.report.amounts import octet_unit, sized
from sim_hw.report.app_telemetry import app_telemetry, series_of
from sim_hw.report.frame_fates import further_link_rows
from sim_hw.report.rates import downlink_rates
from sim_hw.report.report import Figure, Interval, ReportData, Series, write_report
from sim_hw.report.tables import Occurrence, PassRow
from sim_hw.report.time_axis import BOOT, FAULT, Mark
from sim_hw.report.worker_apps import app_rows
from sim_hw.spacecraft_run import SpacecraftRun
from sim_hw.world.orbit import Pass

_ARC_POINTS = 40  # of elevation per pass, from rise to set
_EVENTS = 5000  # the newest: far more than the table shows, so that the grave ones among them are found
_CHANNELS = {Role.REALTIME: "real time", Role.PLAYBACK: "playback", Role.PRODUCTS: "products", None: "idle"}


def report(run: SpacecraftRun, summary: Mapping[str, Any], path: Path) -> None:
    """Write report.html; raises OrbitnodeError if it cannot be written."""
    power: PowerConfig = run.mission.section(PowerConfig)
    outbox, outbox_unit = _outbox(run)
    data = ReportData(
        title=f"{run.name}: {summary['orbits']:g} {plural(summary['orbits'], 'orbit')}",
        subtitle=(
            f"{summary['mission_s'] / 60:.0f} minutes of virtual time, seed {summary['seed']}. Telemetry as received "
            "on ground, so its curves end with the last contact; eclipses and passes from the simulated world."
        ),
        start_tai_ns=run.world.start_tai_ns,
        duration_s=run.end_ns / NS,
        figures=_figures(summary),
        eclipses=[Interval(e.start_ns / NS, e.end_ns / NS) for e in run.eclipses],
        passes=[_pass_row(run, contact) for contact in run.passes],
        mask_guides=_mask_guides(run),
        marks=_marks(run),
        occurrences=_occurrences(run),
        power=[_series(run, "power.solar_w", "array"), _series(run, "power.load_w", "loads")],
        charge=[_series(run, "power.soc_frac", "state of charge")],
        temperatures=[_series(run, "thermal.board_c", "board"), _series(run, "thermal.radiator_c", "radiator")],
        rates=_rates(run),
        outbox=[outbox],
        outbox_unit=outbox_unit,
        drops=_drops(run),
        charge_guides=[(power.soc_safe_frac, "safe mode below"), *charge_gates(run.mission)],
        temperature_guides=[
            (run.mission.section(ThermalConfig).board_warm_c, "board warm"),
            *temperature_gates(run.mission),
        ],
        link=_link_facts(summary),
        tiles=run.payload.screening.tiles,
        tiles_note=_tiles_note(summary, run.payload.every),
        commands=run.archive.commands(),
        events=run.archive.events(limit=_EVENTS),
        event_counts=summary["events"],
        events_archived=sum(run.archive.event_counts().values()),
        apps=app_telemetry(
            run.archive, run.dictionary, {app.name: app.apid for app in run.mission.apps}, run.world.start_tai_ns
        ),
        tables=_tables(summary),
        grids=_grids(summary),
        footer=[
            f"digest {summary['digest']}",
            f"dictionary {summary['dictionary_sha256']}",
            ", ".join(f"{name} {value}" for name, value in summary["machine"].items()),
        ],
    )
    write_report(path, data)


def _tables(summary: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return tables of two columns by heading, those of tiles only if the mission flies a payload manager."""
    tiles = summary["tiles"]
    of_tiles = {
        "Tiles delayed, by reason": {k: f"{v:,}" for k, v in tiles["delayed_by_reason"].items()},
        "Tiles dropped, by reason": {k: f"{v:,}" for k, v in tiles["dropped_by_reason"].items()},
    }
    return {
        **(of_tiles if summary["worker_apps"] else {}),
        "Energy, Wh": {k: f"{v:.2f}" for k, v in summary["energy"]["energy_wh"]["consumed_by_load"].items()},
        "Scheduler": {k: f"{v:,}" for k, v in summary["scheduler"].items()},
    }


def _grids(summary: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """Return tables by heading, without those that have no row: the mission has no such thing."""
    grids = {
        "Simplex links": further_link_rows(summary["further_links"]),
        "Worker apps": app_rows(summary["worker_apps"]),
        "Tasks": task_rows(summary["tasks"]),
        "Recorder": store_rows(summary["recorder"]["stores"]),
    }
    return {heading: rows for heading, rows in grids.items() if len(rows) > 1}


def _tile_figures(summary: Mapping[str, Any]) -> list[Figure]:
    """Return figures about tiles, none if the mission flies no payload manager."""
    if not summary["worker_apps"]:
        return []
    tiles, octets, accuracy, energy = (summary[part] for part in ("tiles", "bytes", "cloud_accuracy", "energy"))
    return [
        Figure("Tiles screened", f"{tiles['screened']}", f"of {tiles['captured']}",
               f"{tiles['dropped']} dropped, {tiles['pending']} pending"),
        Figure("Cloud accuracy", _percent(accuracy["mean"]), "%", f"{counted(accuracy['tiles'], 'tile')} with truth"),
        Figure("Product per raw octet", _percent(octets["product_per_raw"]), "%",
               f"{sized(octets['raw'])} in, {sized(octets['product'])} out"),
        Figure("Energy per tile", "-" if energy["tile_j"] is None else f"{energy['tile_j']:.1f}", "J"),
    ]  # fmt: skip


def _figures(summary: Mapping[str, Any]) -> list[Figure]:
    link, commands, soc = summary["link"], summary["commands"], summary["soc"]
    downlinked, unit = sized(summary["bytes"]["downlinked"]).split()
    figures = [
        *_tile_figures(summary),
        Figure("Downlinked", downlinked, unit, counted(summary["files"]["received"], "product")),
        Figure("Charge, lowest", f"{100 * soc['min']:.0f}", "%", f"{100 * soc['end']:.0f} % at end"),
        Figure("Board, hottest", f"{summary['temperature_c']['board_max']:.1f}", "°C"),
        Figure("Frames lost", f"{link['frames_lost']}", f"of {link['frames_sent']:,}", _loss_note(link)),
        Figure("Commands completed", f"{commands['completed']}", f"of {commands['sent']}",
               f"{commands['rejected']} rejected, {commands['failed']} failed, {commands['lost']} lost"),
        Figure("Wall time", f"{summary['wall_s']:.0f}", "s", _inference_note(summary["inference"])),
    ]  # fmt: skip
    if summary["boots"] > 1:
        figures.append(Figure("Boots", f"{summary['boots']}", "", "the node lost power", "warn"))
    failures = sum(summary["worker"]["failures"].values())
    if failures:
        figures.append(Figure("Worker failures", f"{failures}", "", f"{summary['worker']['retried']} retried", "warn"))
    return figures


def _loss_note(link: Mapping[str, Any]) -> str:
    without_signal, corrected = link["frames_lost_without_signal"], link["coding"].get("symbols_corrected")
    note = f"{without_signal} without signal"
    return note if corrected is None else f"{note}; {corrected:,} wrong symbols corrected"


def _inference_note(inference: Mapping[str, Any]) -> str:
    return f"inference p50 {inference['median_ms']} ms" if inference["count"] else ""


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _tiles_note(summary: Mapping[str, Any], every: int) -> str:
    chosen = "Screened tiles" if every == 1 else f"Screened tiles whose number is a multiple of {every}"
    return f"{chosen}, in order of number. {_truth_note(summary)}"


def _truth_note(summary: Mapping[str, Any]) -> str:
    if summary["scenes"] == "synthetic":
        return (
            "Real Sentinel-2 ground under simulated clouds: the truth masks are those of the simulation. Cover is "
            "capped at 0.8, because the model takes most wholly overcast tiles for clear ground."
        )
    return f"Real tiles from {summary['scenes']}; truth from their labels, if they have any."


def _link_facts(summary: Mapping[str, Any]) -> dict[str, str]:
    link, files, recorder = summary["link"], summary["files"], summary["recorder"]
    return {
        "frames sent": f"{link['frames_sent']:,}",
        "frames received": f"{link['frames_received']:,}",
        "lost without signal": f"{link['frames_lost_without_signal']:,}",
        "lost to bit errors": f"{link['frames_lost_to_bit_errors']:,}",
        "arrived with bit errors": f"{link['frames_with_bit_errors']:,}",
        **_coding_facts(link["coding"]),
        **_security_facts(summary["security"]),
        "idle frames": f"{link['idle_frames']:,}",
        "packets recorded": f"{recorder['recorded']:,}",
        "packets played back": f"{recorder['played_back']:,}",
        "products complete": f"{files['received']:,}",
        "products on board": f"{files['waiting'] + files['resting']:,}",
        "products lost": f"{files['evicted'] + files['refused'] + files['lost_with_power']:,}",
        "command frames sent again": f"{summary['commands']['retransmitted']:,}",
    }


def _security_facts(security: Mapping[str, Any]) -> dict[str, str]:
    facts = {"way up": security["uplink"], "way down": security["downlink"]}
    if security["keys"] == "none":
        return facts
    refused = sum(security["up_refused"].values()) + sum(security["down_refused"].values())
    return {**facts, "keys": security["keys"], "frames refused": f"{refused:,}"}


def _coding_facts(coding: Mapping[str, Any]) -> dict[str, str]:
    if coding["code"] == "frame":
        return {}
    facts = {"bit error rate": f"{coding['bit_error_rate']:g}"}
    if coding["codewords"]:
        facts |= {
            "code": f"{coding['code'].upper()}, I = {coding['interleave']}",
            "codewords": f"{coding['codewords']:,}",
            "codewords corrected": f"{coding['codewords_corrected']:,}",
            "codewords lost": f"{coding['codewords_uncorrectable']:,}",
            "wrong symbols corrected": f"{coding['symbols_corrected']:,}",
        }
    if coding["channel_symbols"]:
        facts["wrong channel symbols"] = f"{coding['channel_symbol_errors']:,} of {coding['channel_symbols']:,}"
    facts["wrong bits in markers"] = f"{coding['marker_bit_errors']:,}"
    facts["bits corrected in CLTUs"] = f"{coding['cltu_bits_corrected']:,}"
    return facts


def task_rows(tasks: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return column heads and a row per task, the busiest first."""
    counts = ("steps", "ticks", "late", "skipped", "overruns", "starved", "failures")
    times = ("worst_us", "latency_p50_us", "latency_p99_us", "worst_latency_us")
    rows = [["task", *counts, "longest step", "wait p50", "wait p99", "longest wait", "processor"]]
    for task in sorted(tasks, key=lambda t: (t["cpu_permille"], t["steps"]), reverse=True):
        numbers = [f"{task[name]:,}" for name in counts] + [duration(task[name]) for name in times]
        rows.append([task["name"], *numbers, f"{task['cpu_permille'] / 10:.2f} %"])
    return rows


def store_rows(stores: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return column heads and a row per packet store."""
    counts = ("recorded", "played_back", "overwritten", "refused", "waiting", "octets")
    rows = [["store", "recorded", "played back", "overwritten", "refused", "waiting", "octets", "full"]]
    rows += [[store["name"], *(f"{store[name]:,}" for name in counts), f"{store['fill_frac']:.1%}"] for store in stores]
    return rows


def _series(run: SpacecraftRun, parameter: str, name: str, scale: float = 1.0) -> Series:
    return series_of(run.archive, parameter, name, run.world.start_tai_ns, scale)


def _outbox(run: SpacecraftRun) -> tuple[Series, str]:
    """Return what waited in the outbox, and the unit in which it can be read."""
    series = _series(run, "link.outbox_octets", "products")
    size, unit = octet_unit(max((octets for _, octets in series.points if isfinite(octets)), default=0.0))
    return Series(series.name, [(t_s, octets / size) for t_s, octets in series.points]), unit


def _drops(run: SpacecraftRun) -> list[Series]:
    """Return what was dropped on board since each boot, by every counter of it that the node has and sent."""
    found = [_series(run, parameter, name) for parameter, name in _drop_counters(run.dictionary).items()]
    return [replace(series, is_whole=True) for series in found if series.points]


def _drop_counters(dictionary: Dictionary) -> dict[str, str]:
    """Return parameters that count drops, with the name of their curve. A packet store's counter bears its name."""
    counters = {
        "payload.dropped": "tiles",
        "recorder.lost": "packets without room in memory",
        "link.rx_dropped": "units of the uplink",
    }
    ending = "_overwritten"
    counters |= {
        f"recorder.{field.name}": f"{field.name.removesuffix(ending)} overwritten"
        for structure in dictionary.structures
        for field in structure.fields
        if structure.name == "recorder" and field.name.endswith(ending)
    }
    return counters


def _pass_row(run: SpacecraftRun, contact: Pass) -> PassRow:
    """Return one pass with its elevation from rise to set, as the orbit model has it."""
    span_ns = contact.end_ns - contact.start_ns
    times = {contact.start_ns + span_ns * i // _ARC_POINTS for i in range(_ARC_POINTS + 1)} | {contact.peak_ns}
    elevation_deg = run.world.orbit.elevation_deg
    return PassRow(
        contact.station.name,
        contact.start_ns / NS,
        contact.end_ns / NS,
        contact.peak_ns / NS,
        contact.peak_elevation_deg,
        [(t_ns / NS, elevation_deg(contact.station, t_ns)) for t_ns in sorted(times)],
    )


def _mask_guides(run: SpacecraftRun) -> list[tuple[float, str]]:
    """Return the lowest elevation with contact; stations that have the same one share a line."""
    stations: dict[float, list[str]] = {}
    for station in run.config.world.stations:
        stations.setdefault(station.mask_deg, []).append(station.name)
    if len(stations) == 1:
        return [(mask_deg, f"mask {mask_deg:g}°") for mask_deg in stations]
    return [(mask_deg, f"mask {mask_deg:g}° {', '.join(names)}") for mask_deg, names in stations.items()]


def _marks(run: SpacecraftRun) -> list[Mark]:
    """Return boots of the node and faults that happened, in order of time."""
    boots = [Mark(life.boot_ns / NS, BOOT, f"boot {number}") for number, life in enumerate(run.lives, 1)]
    happened = run.spacecraft.faults.happened_ns
    faults = [Mark(t_ns / NS, FAULT, fault.kind) for fault, t_ns in happened.items()]
    return sorted(boots + faults, key=lambda mark: mark.t_s)


def _occurrences(run: SpacecraftRun) -> list[Occurrence]:
    """Return boots and planned faults for the table, those that never happened at its end."""
    plan = run.spacecraft.faults
    rows = [
        Occurrence(f"boot {number}", life.boot_ns / NS, f"up for {life.up_ns / NS / 60:.1f} min")
        for number, life in enumerate(run.lives, 1)
    ]
    for fault in plan.faults:
        happened_ns = plan.happened_ns.get(fault)
        remark = f"planned for {fault.at_s:g} s; {KINDS[fault.kind]}"
        if happened_ns is None:
            remark = f"did not happen; {remark}"
        rows.append(Occurrence(fault.kind, None if happened_ns is None else happened_ns / NS, remark))
    return sorted(rows, key=lambda row: (row.at_s is None, row.at_s or 0.0))


def _rates(run: SpacecraftRun) -> list[Series]:
    """Return the downlink rate by channel. Nothing can come before the first pass begins."""
    channels = {_CHANNELS[run.session.role_of(vc)]: run.archive.counters(f"station.octets_by_vc.{vc}")
                for vc in run.session.vcids}  # fmt: skip
    start_ns = run.world.start_tai_ns
    begun_ns = start_ns + (run.passes[0].start_ns if run.passes else 0)
    entries_ns = [t_ns for t_ns, _ in run.archive.counters("link.frames")]
    return downlink_rates({name: dict(counts) for name, counts in channels.items()}, entries_ns, begun_ns, start_ns)
