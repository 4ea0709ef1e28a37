"""summary.json: what a run did, in numbers that add up (docs/summary.md has the schema)."""

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
from sim_hw.lives import Life, StoreFacts
from sim_hw.mission_run import MissionRun
from sim_hw.report.frames import frame_counts, further_links
from sim_hw.report.worker_apps import worker_apps
from sim_hw.spacecraft_run import SpacecraftRun

FORMAT = "orbitnode-summary/1"
FLEET_FORMAT = "orbitnode-fleet/1"
_LOST_WITH_POWER = "power lost"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the command line and the clock on the wall say of a run; `scenes` is "synthetic" or a folder."""

    seed: int
    orbits: float
    wall_s: float
    scenes: str


def summarise(run: SpacecraftRun, facts: RunFacts) -> dict[str, Any]:
    """The document of one spacecraft, JSON-ready. Everything but `wall_s`, `inference` and `machine` is the same for
    one seed.
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
    """The document of a run of several spacecraft, with the whole summary of each by the name of its node."""
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
    """Every planned fault, and when it happened; None for one that has not."""
    plan = run.spacecraft.faults
    happened = {fault: round(t_ns / NS, 3) for fault, t_ns in plan.happened_ns.items()}
    return [{"kind": one.kind, "at_s": one.at_s, "happened_s": happened.get(one)} for one in plan.faults]


def _payloads(lives: Iterable[Life]) -> list[Statistics]:
    return [life.payload.statistics for life in lives if life.payload.statistics is not None]


def _tiles(run: SpacecraftRun, payloads: list[Statistics]) -> dict[str, Any]:
    """A tile that was pending when the node lost its power is dropped; only those of a node still up are pending."""
    dropped = Counter(_add(dict(one.dropped) for one in payloads))
    pending = sum(one.pending for one in _payloads(run.still_up))
    lost = sum(one.pending for one in payloads) - pending
    if lost:
        dropped[_LOST_WITH_POWER] = lost
    return {
        "captured": sum(one.captured for one in payloads),
        "screened": sum(one.screened for one in payloads),
        "cloudy": sum(one.cloudy for one in payloads),
        "dropped": dropped.total(),
        "pending": pending,
        "delayed_by_reason": _add(dict(one.delayed) for one in payloads),
        "dropped_by_reason": dict(dropped),
        "requested_by_command": sum(one.requested - one.restored for one in payloads),
    }


def _accuracy(run: SpacecraftRun) -> dict[str, Any]:
    """Share of pixels on which product and truth agree about cloud; of distinct tiles with a truth."""
    values = list(run.payload.screening.accuracy.values())
    if not values:
        return {"tiles": 0, "mean": None, "worst": None}
    return {"tiles": len(values), "mean": round(sum(values) / len(values), 4), "worst": round(min(values), 4)}


def _bytes(run: SpacecraftRun, payloads: list[Statistics]) -> dict[str, Any]:
    raw = sum(one.octets_raw for one in payloads)
    product = sum(one.octets_product for one in payloads)
    return {
        "captured": sum(one.octets_captured for one in payloads),
        "raw": raw,
        "product": product,
        "downlinked": sum(row.octets for row in run.archive.products()),
        "product_per_raw": round(product / raw, 4) if raw else None,
    }


def _energy(run: SpacecraftRun, payloads: list[Statistics]) -> dict[str, Any]:
    used_j = sum(one.energy_j for one in payloads)
    # What a node without power was computing is lost; what one still up computes is neither lost nor a tile yet.
    running_j = sum(one.energy_running_j for one in _payloads(run.still_up))
    lost_j = sum(one.energy_lost_j + one.energy_running_j for one in payloads) - running_j
    screened = sum(one.screened for one in payloads)
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
    """Wall time on this machine, of every screened tile."""
    times = deque(sorted(t for life in lives for t in life.payload.infer_s))
    return {
        "count": sum(one.screened for one in _payloads(lives)),
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
    """Of the link with the way up."""
    return {
        **frame_counts(run.air, run.session),
        "coding": _coding(run),
        "octets_by_vc": {str(vc): n for vc, n in sorted(run.station.station_counters.octets_by_vc.items())},
        "cltus_refused": run.ground.refused_cltus + run.air.modem.overrun,
        "passes": [
            {"station": one.station.name, "start_s": one.start_ns / NS, "end_s": one.end_ns / NS} for one in run.passes
        ],
    }


def _coding(run: SpacecraftRun) -> dict[str, Any]:
    """What the channel code had to do on the way down; None if frames go bare."""
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
    """A file begun is received, incomplete, or was never heard of; those of a node that lost its power are gone."""
    assert run.station.products is not None
    counters = run.station.products.counters
    waiting = sum(life.files_waiting for life in run.still_up)
    return {
        "begun": sum(life.files_begun for life in run.lives),
        "sent": sum(life.files_sent for life in run.lives),
        "received": counters.complete,
        "incomplete": counters.incomplete,
        "undecodable": counters.undecodable,
        "waiting": waiting,
        "waiting_octets": sum(life.files_waiting_octets for life in run.still_up),
        "lost_with_power": sum(life.files_waiting for life in run.lives) - waiting,
    }


def _scheduler(lives: list[Life]) -> dict[str, int]:
    return {
        name: sum(getattr(life.scheduler, name) for life in lives)
        for name in ("steps", "ticks", "skipped", "late", "overruns", "failures")
    }


def _tasks(lives: list[Life]) -> list[dict[str, Any]]:
    """Tasks of one name of all boots together."""
    totals: dict[str, TaskStats] = {}
    for life in lives:
        for name, stats in life.tasks.items():
            totals.setdefault(name, TaskStats()).add(stats)
    up_ns = max(1, sum(life.up_ns for life in lives))
    return [
        {
            "name": name,
            "steps": one.steps,
            "ticks": one.ticks,
            "late": one.late,
            "skipped": one.skipped,
            "overruns": one.overruns,
            "starved": one.starved,
            "failures": one.failures,
            "worst_us": one.worst_ns // 1000,
            "worst_latency_us": one.worst_latency_ns // 1000,
            "latency_p50_us": quantile_us(one.latency, 0.5),
            "latency_p99_us": quantile_us(one.latency, 0.99),
            "cpu_permille": round(1000 * one.cpu_ns / up_ns, 3),
        }
        for name, one in totals.items()
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
                "name": one.name,
                "recorded": one.recorded,
                "played_back": one.played_back,
                "overwritten": one.overwritten,
                "refused": one.refused,
                "waiting": one.waiting,
                "octets": one.octets,
                "fill_frac": round(one.fill_frac, 4),
            }
            for one in _stores(lives)
        ],
    }


def _stores(lives: list[Life]) -> list[StoreFacts]:
    """Each packet store: counts over all boots, and what it held at the end of the last one."""
    made: dict[str, StoreFacts] = {}
    for one in (store for life in lives for store in life.stores):
        before = made.get(one.name)
        made[one.name] = one if before is None else replace(
            one,
            recorded=before.recorded + one.recorded,
            played_back=before.played_back + one.played_back,
            overwritten=before.overwritten + one.overwritten,
            refused=before.refused + one.refused,
        )  # fmt: skip
    return list(made.values())


def _worker(payloads: list[Statistics]) -> dict[str, Any]:
    """`hang_limit_fired`: a wall-clock limit ended a job, so the digest is not reproducible."""
    return {
        "failures": _add(dict(one.failures) for one in payloads),
        "retried": sum(one.retried for one in payloads),
        "restarts": sum(one.worker_restarts for one in payloads),
        "hang_limit_fired": sum(one.hang_limit_fired for one in payloads),
        "guards_missing": sorted({name for one in payloads for name in one.guards_missing}),
    }


def _add(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Sums by key, in order of first appearance."""
    total: Counter[str] = Counter()
    for one in counts:
        for name, value in one.items():
            total[name] += value
    return dict(total)


def machine() -> dict[str, str]:
    """What the digest and the wall times depend on."""
    out = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    for name in ("onnxruntime", "numpy", "sgp4"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = "absent"
    return out
