"""summary.json: what a run did, in numbers that add up (docs/summary.md has the schema)."""

# Where a number comes from decides what it can be held against. What the node counted comes from its lives
# (sim_hw/boot_accounts.py), what the ground received from its archive and session, what happened to the spacecraft
# from the world. These hold in every summary, some of them across two of those sides, so a count that is lost anywhere
# shows:
#
#     tiles.captured = screened + dropped + pending
#     link.frames_sent = frames_received + frames_lost    (those still on their way aside)
#     files.put = acknowledged + waiting + resting + evicted + refused + lost_with_power    (of class 2)
#     energy_wh.generated = consumed + curtailed + battery_loss + what more is stored than at the start
#
# All counts are over every boot. Those that end with the power are treated by what they mean: a tile that was pending
# is dropped ("power lost"), energy of a job in work is lost; only what a node still up at the end holds is pending.
# Files that are durable wait for the next life, and only those that were not yet are lost.
#
# docs/summary.md is held against this file by its syntax tree (tests/unit/test_docs.py): so each function returns one
# literal of names and values, and nothing is added to it afterwards.

from __future__ import annotations

import platform
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import flight
from flight.core.nanoseconds import NS
from flight.core.task_stats import TaskStats, quantile_us
from ground.operator import COMPLETED, FAILED, LOST, REJECTED
from payloads.accounting import Statistics, quantile
from sim_hw.boot_accounts import Life, StoreFacts
from sim_hw.mission_run import MissionRun
from sim_hw.report.frame_fates import frame_counts, further_links
from sim_hw.report.worker_apps import worker_apps
from sim_hw.spacecraft_run import SpacecraftRun

FORMAT = "orbitnode-summary/1"
FLEET_FORMAT = "orbitnode-fleet/1"
_LOST_WITH_POWER = "power lost"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What only the command line and the wall clock know of a run. `scenes` is "synthetic" or a folder."""

    seed: int
    orbits: float
    wall_s: float
    scenes: str


def summarise(run: SpacecraftRun, facts: RunFacts) -> dict[str, Any]:
    """Return the document of one spacecraft, JSON-ready.

    Everything but `wall_s`, `inference` and `machine` is the same for one seed.
    """
    payloads = _payloads(run.lives)
    return {
        "format": FORMAT,
        "version": flight.__version__,
        "mission": run.name,
        "seed": facts.seed,
        "orbits": facts.orbits,
        "mission_s": run.end_ns / NS,
        "wall_s": round(facts.wall_s, 3),
        "boots": run.spacecraft.boots,
        "faults": _faults(run),
        "tiles": _tiles(run, payloads),
        "cloud_accuracy": _accuracy(run),
        "bytes": _bytes(run, payloads),
        "energy": _energy(run, payloads),
        "inference": _inference(run.lives),
        "soc": _soc(run),
        "temperature_c": _temperature(run),
        "link": _link(run),
        "further_links": further_links(run.further_links),
        "security": _security(run),
        "commands": _commands(run),
        "files": _files(run),
        "recorder": _recorder(run.lives),
        "scheduler": _scheduler(run.lives),
        "tasks": _tasks(run.lives),
        "worker_apps": worker_apps(payloads, run.archive.products()),
        "events": _add(life.events for life in run.lives),
        "worker": _worker(payloads),
        "script_failures": list(run.ground.script_failures),
        "digest": run.digest.hexdigest(),
        "digest_entries": run.digest.entries,
        "dictionary_sha256": run.dictionary.document()["sha256"],
        "machine": machine(),
        "scenes": facts.scenes,
    }


def summarise_fleet(run: MissionRun, facts: RunFacts, summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the document of a run of several spacecraft, with the whole summary of each by the name of its node."""
    return {
        "format": FLEET_FORMAT,
        "version": flight.__version__,
        "seed": facts.seed,
        "orbits": facts.orbits,
        "mission_s": run.end_ns / NS,
        "wall_s": round(facts.wall_s, 3),
        "digest": run.digest.hexdigest(),
        "digest_entries": run.digest.entries,
        "machine": machine(),
        "scenes": facts.scenes,
        "spacecraft": dict(summaries),
    }


def _faults(run: SpacecraftRun) -> list[dict[str, Any]]:
    """List every planned fault and when it happened, None for one that did not."""
    plan = run.spacecraft.faults
    happened = {fault: round(t_ns / NS, 3) for fault, t_ns in plan.happened_ns.items()}
    return [
        {"kind": planned.kind, "at_s": planned.at_s, "happened_s": happened.get(planned)} for planned in plan.faults
    ]


def _payloads(lives: Iterable[Life]) -> list[Statistics]:
    return [life.payload.statistics for life in lives if life.payload.statistics is not None]


def _tiles(run: SpacecraftRun, payloads: list[Statistics]) -> dict[str, Any]:
    """Account for every tile. One that was pending when the node lost its power is dropped."""
    dropped = Counter(_add(dict(account.dropped) for account in payloads))
    pending = sum(account.pending for account in _payloads(run.still_up))
    lost = sum(account.pending for account in payloads) - pending
    if lost:
        dropped[_LOST_WITH_POWER] = lost
    return {
        "captured": sum(account.captured for account in payloads),
        "screened": sum(account.screened for account in payloads),
        "cloudy": sum(account.cloudy for account in payloads),
        "dropped": dropped.total(),
        "pending": pending,
        "delayed_by_reason": _add(dict(account.delayed) for account in payloads),
        "dropped_by_reason": dict(dropped),
        "requested_by_command": sum(account.requested - account.restored for account in payloads),
    }


def _accuracy(run: SpacecraftRun) -> dict[str, Any]:
    """Return the share of pixels on which product and truth agree about cloud, over distinct tiles with a truth."""
    values = list(run.payload.screening.accuracy.values())
    if not values:
        return {"tiles": 0, "mean": None, "worst": None}
    return {"tiles": len(values), "mean": round(sum(values) / len(values), 4), "worst": round(min(values), 4)}


def _bytes(run: SpacecraftRun, payloads: list[Statistics]) -> dict[str, Any]:
    raw = sum(account.octets_raw for account in payloads)
    product = sum(account.octets_product for account in payloads)
    return {
        "captured": sum(account.octets_captured for account in payloads),
        "raw": raw,
        "product": product,
        "downlinked": sum(row.octets for row in run.archive.products()),
        "product_per_raw": round(product / raw, 4) if raw else None,
    }


def _energy(run: SpacecraftRun, payloads: list[Statistics]) -> dict[str, Any]:
    used_j = sum(account.energy_j for account in payloads)
    # What a node without power was computing is lost; what one still up computes is neither lost nor a tile yet.
    running_j = sum(account.energy_running_j for account in _payloads(run.still_up))
    lost_j = sum(account.energy_lost_j + account.energy_running_j for account in payloads) - running_j
    screened = sum(account.screened for account in payloads)
    power = run.world.power.counters
    return {
        "energy_wh": {
            "generated": round(power.generated_wh, 4),
            "curtailed": round(power.curtailed_wh, 4),
            "consumed": round(power.total_consumed_wh, 4),
            "consumed_by_load": {name: round(value, 4) for name, value in power.consumed_wh.items()},
            "battery_loss": round(power.lost_wh, 4),
            "unserved": round(power.unserved_wh, 4),
        },
        "inference_j": round(used_j, 1),
        "inference_lost_j": round(lost_j, 1),
        "tile_j": round((used_j - lost_j - running_j) / screened, 2) if screened else None,
    }


def _inference(lives: list[Life]) -> dict[str, Any]:
    """Return wall times on this machine, over every screened tile."""
    times = deque(sorted(t for life in lives for t in life.payload.infer_s))
    return {
        "count": sum(account.screened for account in _payloads(lives)),
        "median_ms": round(1e3 * quantile(times, 0.5), 2) if times else None,
        "p99_ms": round(1e3 * quantile(times, 0.99), 2) if times else None,
    }


def _soc(run: SpacecraftRun) -> dict[str, Any]:
    return {"min": round(run.world.power.lowest_soc_frac, 4), "end": round(run.world.read_power().soc_frac, 4)}


def _temperature(run: SpacecraftRun) -> dict[str, Any]:
    return {
        "board_max": round(run.world.thermal.highest_c("board"), 2),
        "board_end": round(run.world.temperature_c("board"), 2),
        "radiator_end": round(run.world.temperature_c("radiator"), 2),
    }


def _link(run: SpacecraftRun) -> dict[str, Any]:
    """Account for the link that has a way up."""
    return {
        **frame_counts(run.air, run.session),
        "coding": _coding(run),
        "octets_by_vc": {str(vc): n for vc, n in sorted(run.station.station_counters.octets_by_vc.items())},
        "cltus_refused": run.ground.refused_cltus + run.air.modem.overrun,
        "passes": [
            {"station": contact.station.name, "start_s": contact.start_ns / NS, "end_s": contact.end_ns / NS}
            for contact in run.passes
        ],
    }


def _coding(run: SpacecraftRun) -> dict[str, Any]:
    """Return what the channel code had to do on the way down; only its name if frames go without one."""
    coding, decoder = run.session.config.tm_coding, run.session.decoder
    assert (coding is None) == (decoder is None)
    if coding is None or decoder is None:
        return {"code": "frame"}
    counters, sync = decoder.counters, decoder.synchronizer.counters
    return {
        "code": run.session.config.coding,
        "interleave": coding.interleave,
        "convolutional": coding.convolutional,
        "bit_error_rate": run.config.bit_error_rate,
        "codewords": counters.codewords,
        "codewords_corrected": counters.codewords_corrected,
        "codewords_uncorrectable": counters.codewords_uncorrectable,
        "symbols_corrected": counters.symbols_corrected,
        "channel_symbols": counters.channel_symbols,
        "channel_symbol_errors": counters.channel_symbol_errors,
        "node_slips": counters.node_slips,
        "marker_bit_errors": sync.marker_bit_errors,
        "flywheel_units": sync.flywheel_units,
        "locks": sync.locks,
        "cltu_bits_corrected": sum(life.cltu_corrected for life in run.lives),
    }


def _security(run: SpacecraftRun) -> dict[str, Any]:
    """Say how the link with a way up is protected, and what its two ends refused."""
    config, ground = run.mission.links[0].config, run.security
    counters = None if ground is None else ground.security.counters
    return {
        "uplink": "clear" if config.up_suite is None else config.up_suite.name,
        "downlink": "clear" if config.down_suite is None else config.down_suite.name,
        "keys": "none" if counters is None else "simulated",
        "up_accepted": sum(life.commands_checked for life in run.lives),
        "up_refused": _add(life.commands_refused for life in run.lives),
        "down_accepted": 0 if counters is None else counters.accepted,
        "down_refused": {} if counters is None else dict(counters.refused),
    }


def _commands(run: SpacecraftRun) -> dict[str, Any]:
    rows = run.archive.commands(limit=1_000_000)
    outcomes = Counter(row.outcome or "open" for row in rows)
    accepted = sum(any(stage[0] == "accepted" for stage in row.stages) for row in rows)
    return {
        "sent": len(rows),
        "accepted": accepted,
        "completed": outcomes[COMPLETED],
        "failed": outcomes[FAILED],
        "rejected": outcomes[REJECTED],
        "lost": outcomes[LOST],
        "open": outcomes["open"],
        "retransmitted": run.session.counters.retransmissions,
    }


def _files(run: SpacecraftRun) -> dict[str, Any]:
    """Account for files: each product that was put is at the ground, still on board, or lost, and why."""
    assert run.station.products is not None
    counters = run.station.products.counters
    lost = sum(life.files_storing for life in run.lives) - sum(life.files_storing for life in run.still_up)
    return {
        "put": sum(life.files_put for life in run.lives),
        "begun": sum(life.files_begun for life in run.lives),
        "sent": sum(life.files_sent for life in run.lives),
        "received": counters.complete,
        "acknowledged": sum(life.files_acknowledged for life in run.lives),
        "incomplete": counters.incomplete,
        "undecodable": counters.undecodable,
        # Of the last life, also if it has ended: they stand on storage.
        "waiting": sum(life.files_waiting for life in run.lives[-1:]),
        "waiting_octets": sum(life.files_waiting_octets for life in run.lives[-1:]),
        "resting": sum(life.files_resting for life in run.lives[-1:]),
        "evicted": sum(life.files_evicted for life in run.lives),
        "refused": sum(life.files_refused for life in run.lives),
        "lost_with_power": lost,
    }


def _scheduler(lives: list[Life]) -> dict[str, int]:
    return {
        name: sum(getattr(life.scheduler, name) for life in lives)
        for name in ("steps", "ticks", "skipped", "late", "overruns", "failures")
    }


def _tasks(lives: list[Life]) -> list[dict[str, Any]]:
    """Add up tasks by name, over all boots."""
    totals: dict[str, TaskStats] = {}
    for life in lives:
        for name, stats in life.tasks.items():
            totals.setdefault(name, TaskStats()).add(stats)
    up_ns = max(1, sum(life.up_ns for life in lives))
    return [
        {
            "name": name,
            "steps": total.steps,
            "ticks": total.ticks,
            "late": total.late,
            "skipped": total.skipped,
            "overruns": total.overruns,
            "starved": total.starved,
            "failures": total.failures,
            "worst_us": total.worst_ns // 1000,
            "worst_latency_us": total.worst_latency_ns // 1000,
            "latency_p50_us": quantile_us(total.latency, 0.5),
            "latency_p99_us": quantile_us(total.latency, 0.99),
            "cpu_permille": round(1000 * total.cpu_ns / up_ns, 3),
        }
        for name, total in totals.items()
    ]


def _recorder(lives: list[Life]) -> dict[str, Any]:
    return {
        "recorded": sum(life.recorded for life in lives),
        "played_back": sum(life.played_back for life in lives),
        "returned": sum(life.returned for life in lives),
        "overwritten": sum(life.overwritten for life in lives),
        "storage_faults": sum(life.recorder_faults for life in lives),
        "stores": [
            {
                "name": store.name,
                "recorded": store.recorded,
                "played_back": store.played_back,
                "overwritten": store.overwritten,
                "refused": store.refused,
                "waiting": store.waiting,
                "octets": store.octets,
                "fill_frac": round(store.fill_frac, 4),
            }
            for store in _stores(lives)
        ],
    }


def _stores(lives: list[Life]) -> list[StoreFacts]:
    """Add up the counts of each packet store over all boots, with what it held at the end of the last one."""
    stores: dict[str, StoreFacts] = {}
    for store in (store for life in lives for store in life.stores):
        earlier = stores.get(store.name)
        stores[store.name] = store if earlier is None else replace(
            store,
            recorded=earlier.recorded + store.recorded,
            played_back=earlier.played_back + store.played_back,
            overwritten=earlier.overwritten + store.overwritten,
            refused=earlier.refused + store.refused,
        )  # fmt: skip
    return list(stores.values())


def _worker(payloads: list[Statistics]) -> dict[str, Any]:
    """Return what happened to workers. If `hang_limit_fired`, wall time ended a job: the digest cannot be repeated."""
    return {
        "failures": _add(dict(account.failures) for account in payloads),
        "first_failure": next((account.first_failure for account in payloads if account.first_failure), None),
        "retried": sum(account.retried for account in payloads),
        "restarts": sum(account.worker_restarts for account in payloads),
        "hang_limit_fired": sum(account.hang_limit_fired for account in payloads),
        "guards_missing": sorted({name for account in payloads for name in account.guards_missing}),
    }


def _add(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add up by key, in order of first appearance."""
    total: Counter[str] = Counter()
    for part in counts:
        for name, value in part.items():
            total[name] += value
    return dict(total)


def machine() -> dict[str, str]:
    """Return what the digest and the wall times depend on."""
    out = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    for name in ("onnxruntime", "numpy", "sgp4"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "absent"
    return out
