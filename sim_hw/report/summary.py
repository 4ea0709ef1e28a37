"""summary.json: what a run did, in numbers that add up (docs/summary.md has the schema)."""

from __future__ import annotations

import platform
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import flight
from flight.core.nanoseconds import NS
from flight.core.task_stats import TaskStats, quantile_us
from ground.operator import COMPLETED, FAILED, LOST, REJECTED
from payloads.accounting import Statistics, quantile
from sim_hw.mission_run import Life, MissionRun, StoreFacts
from sim_hw.report.worker_apps import worker_apps

FORMAT = "orbitnode-summary/1"
_LOST_WITH_POWER = "power lost"


def summarise(run: MissionRun, *, wall_s: float, orbits: float) -> dict[str, Any]:
    """The document, JSON-ready. Everything but `wall_s`, `inference` and `machine` is the same for one seed."""
    payloads = [life.payload for life in run.lives if life.payload is not None]
    reading = run.world.read_power()
    return {
        "format": FORMAT,
        "version": flight.__version__,
        "mission": run.mission.node.name,
        "seed": run.seed,
        "orbits": orbits,
        "mission_s": run.end_ns / NS,
        "wall_s": round(wall_s, 3),
        "boots": run.spacecraft.boots,
        "tiles": _tiles(run, payloads),
        "cloud_accuracy": _accuracy(run),
        "bytes": _bytes(run, payloads),
        "energy": _energy(run, payloads),
        "inference": _inference(run.lives),
        "soc": {"min": round(run.world.power.lowest_soc_frac, 4), "end": round(reading.soc_frac, 4)},
        "temperature_c": {
            "board_max": round(run.world.thermal.highest_c("board"), 2),
            "board_end": round(run.world.temperature_c("board"), 2),
            "radiator_end": round(run.world.temperature_c("radiator"), 2),
        },
        "link": _link(run),
        "commands": _commands(run),
        "files": _files(run),
        "recorder": {
            "recorded": sum(life.recorded for life in run.lives),
            "played_back": sum(life.played_back for life in run.lives),
            "returned": sum(life.returned for life in run.lives),
            "overwritten": sum(life.overwritten for life in run.lives),
            "storage_faults": sum(life.recorder_faults for life in run.lives),
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
                for one in _stores(run.lives)
            ],
        },
        "scheduler": _scheduler(run.lives),
        "tasks": [
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
                "cpu_permille": round(1000 * one.cpu_ns / max(1, sum(life.up_ns for life in run.lives)), 3),
            }
            for name, one in _tasks(run.lives).items()
        ],
        "worker_apps": worker_apps(payloads, run.archive.products()),
        "events": _add(life.events for life in run.lives),
        "worker": _worker(payloads),
        "script_failures": list(run.ground.script_failures),
        "digest": run.digest.hexdigest(),
        "digest_entries": run.digest.entries,
        "dictionary_sha256": run.dictionary.document()["sha256"],
        "machine": machine(),
    }


def _tiles(run: MissionRun, payloads: list[Statistics]) -> dict[str, Any]:
    """A tile that was pending when the node lost its power is dropped; only those of a node still up are pending."""
    dropped = Counter(_add(dict(one.dropped) for one in payloads))
    pending = sum(life.payload.pending for life in run.still_up if life.payload is not None)
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


def _accuracy(run: MissionRun) -> dict[str, Any]:
    """Share of pixels on which product and truth agree about cloud; of distinct tiles with a truth."""
    values = list(run.screening.accuracy.values())
    if not values:
        return {"tiles": 0, "mean": None, "worst": None}
    return {"tiles": len(values), "mean": round(sum(values) / len(values), 4), "worst": round(min(values), 4)}


def _bytes(run: MissionRun, payloads: list[Statistics]) -> dict[str, Any]:
    raw = sum(one.octets_raw for one in payloads)
    product = sum(one.octets_product for one in payloads)
    return {
        "captured": sum(one.octets_captured for one in payloads),
        "raw": raw,
        "product": product,
        "downlinked": sum(row.octets for row in run.archive.products()),
        "product_per_raw": round(product / raw, 4) if raw else None,
    }


def _energy(run: MissionRun, payloads: list[Statistics]) -> dict[str, Any]:
    used_j = sum(one.energy_j for one in payloads)
    # What a node without power was computing is lost; what one still up computes is neither lost nor a tile yet.
    running_j = sum(life.payload.energy_running_j for life in run.still_up if life.payload is not None)
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
    times = deque(sorted(t for life in lives for t in life.infer_s))
    payloads = [life.payload for life in lives if life.payload is not None]
    return {
        "count": sum(one.screened for one in payloads),
        "median_ms": round(1e3 * quantile(times, 0.5), 2) if times else None,
        "p99_ms": round(1e3 * quantile(times, 0.99), 2) if times else None,
    }


def _link(run: MissionRun) -> dict[str, Any]:
    """Frames whose fate is known: all that were handed to the transmitter but those still on their way."""
    channel, session = run.air.down.channel, run.session.counters
    counters = channel.counters
    damaged = counters.delivered - session.frames
    return {
        "frames_sent": counters.accepted - channel.pending,
        "frames_received": session.frames,
        "frames_lost": counters.lost + damaged,
        "frames_lost_without_signal": counters.lost,
        "frames_lost_to_bit_errors": damaged,
        "frames_with_bit_errors": counters.with_errors,
        "frames_in_flight": channel.pending,
        "frames_missed_by_count": session.frames_missed,
        "frames_rejected": dict(session.frames_rejected),
        "coding": _coding(run),
        "idle_frames": session.idle_frames,
        "packets_received": session.packets,
        "octets_by_vc": {str(vc): n for vc, n in sorted(run.station.station_counters.octets_by_vc.items())},
        "cltus_refused": run.ground.refused_cltus + run.air.modem.overrun,
        "passes": [
            {"station": one.station.name, "start_s": one.start_ns / NS, "end_s": one.end_ns / NS} for one in run.passes
        ],
    }


def _coding(run: MissionRun) -> dict[str, Any]:
    """What the channel code had to do on the way down; None where frames go bare."""
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


def _commands(run: MissionRun) -> dict[str, Any]:
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


def _files(run: MissionRun) -> dict[str, Any]:
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


def _tasks(lives: list[Life]) -> dict[str, TaskStats]:
    """Tasks of one name of all boots together."""
    totals: dict[str, TaskStats] = {}
    for life in lives:
        for name, stats in life.tasks.items():
            totals.setdefault(name, TaskStats()).add(stats)
    return totals


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
