"""Every field of every housekeeping structure shows what it is named after.

A sample is a row of values by position, and a structure a row of names: two values that have changed places are as
sound as they were. So each source is driven to a value that no other field of its structure has, and the packet is
read back by name. A structure, or a field, that is not looked at here fails the test as well: add its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from flight.catalogue import dictionary_of
from flight.contract.dictionary import Structure
from flight.contract.failures import Failure
from flight.contract.fields import Value
from flight.core.nanoseconds import ns
from flight.core.utc.leap_seconds import BUILT_IN, LeapRow
from flight.link.cfdp.transactions.requests import Role
from flight.link.pus import PusTc
from flight.link.security.link_security import REASONS
from flight.link.tm_tc_stack import FlightLink
from flight.mission import MISSIONS, load
from flight.node import Node
from flight.services.automation.event_action import EventActions
from flight.services.automation.schedule import Schedule
from flight.services.automation.schedule_declarations import ScheduleConfig
from flight.services.automation.sequences import Sequences
from flight.services.board.power import Power
from flight.services.board.thermal import Thermal
from flight.services.commanding.command_log import CommandLog
from flight.services.commanding.commands import Commands
from flight.services.commanding.verification import Verification
from flight.services.files.outbox import Outbox
from flight.services.files.transfers import FileTransfers
from flight.services.files.uploads import Uploads
from flight.services.health.status import BootRecord
from flight.services.radio.radio import RadioLinks
from flight.services.radio.security import Security
from flight.services.recorder.recorder import Recorder
from flight.services.reporting.event_gate import EventGate
from flight.services.reporting.events import Events
from flight.services.reporting.housekeeping import Housekeeping
from flight.services.reporting.telemetry import Telemetry
from flight.services.settings.parameters import Parameters
from flight.services.time.clock import Clock, Correction, TimeService
from flight.store.files.file_store import FileStore
from hal.base import PowerReading
from tests.sim.conftest import MakeRig, Rig

IN_PASS_S = 120.0
REPORTED = {"payload", "payload_energy"}  # by the app: tests/sim/test_payload_manager.py
SEQUENCES = """
[[sequence]]
name = "slow"
on_event = "boot"
steps = [{command = "ping"}, {command = "ping", delay_s = 3000}]
[[sequence]]
name = "slower"
on_event = "boot"
steps = [{command = "ping"}, {command = "ping", delay_s = 4000}]
"""


def structure_of(node: Node, name: str) -> Structure:
    return next(one for one in node.dictionary.structures if one.name == name)


def shown(node: Node, name: str) -> dict[str, Value]:
    """The structure as its report would be now, by name of the field."""
    structure = structure_of(node, name)
    octets = node.part(Housekeeping)._collections[structure.sid].octets()
    return dict(zip((f.name for f in structure.fields), structure.layout.decode(octets[2:]), strict=True))


def check(node: Node, name: str, right: Mapping[str, Value]) -> None:
    values = shown(node, name)
    assert list(right) == list(values), f"{name}: this test has other fields than the structure"
    assert len(set(right.values())) == len(right), f"{name}: two fields have the same value, a swap would go unseen"
    assert values == {field: pytest.approx(value, rel=1e-6) for field, value in right.items()}


def numbers() -> Iterator[int]:
    """Counts that no run of a few minutes comes to by itself, each once."""
    return count(1_000_003, 1_009)


def settle(rig: Rig, t_s: float = IN_PASS_S) -> Node:
    rig.until(t_s)
    node: Node = rig.node
    return node


def busy_tasks(node: Node) -> Any:
    """Give two tasks counters that differ from each other in everything, so that the totals do; those totals."""
    fresh = numbers()
    first, second = node.scheduler.tasks[:2]
    for stats in (first.stats, second.stats):
        for name in ("ticks", "late", "skipped", "overruns", "starved", "failures", "restarts"):
            setattr(stats, name, next(fresh))
        stats.step[3] += next(fresh)
    first.stats.worst_ns, second.stats.worst_latency_ns = 7_000_000, 9_000_000
    first.stats.cpu_ns = node.scheduler.now_ns() // 4
    return node.scheduler.totals()


def test_every_structure_is_looked_at() -> None:
    """What to do for a new structure: a test of its own here, that sets every source to a value of its own."""
    names = {one.name for one in dictionary_of(load(MISSIONS / "orbit.toml")).structures}
    assert names == {name.removeprefix("test_fields_of_") for name in globals() if "_fields_of_" in name} | REPORTED


def test_fields_of_node(make_rig: MakeRig) -> None:
    rig = make_rig(faults="power-cut@10 power-cut@30")
    node = settle(rig, 200.0)
    totals, fresh = busy_tasks(node), numbers()
    stages = {name: next(fresh) for name in ("acceptance_success", "completion_success")}
    failed = {f"{stage}_failure": next(fresh) for stage in ("acceptance", "start", "completion")}
    node.part(Verification).counts.update(stages | failed)
    node.part(Telemetry).sent, node.part(EventGate).held_back, node.part(EventGate).disabled = (
        next(fresh) for _ in range(3)
    )
    severities = {severity: next(fresh) for severity in ("info", "low", "medium", "high")}
    node.part(Events).counts.update(severities)
    counts = node.part(Verification).counts
    node._log_loss = SimpleNamespace(lost=next(fresh), fault="")
    right = {
        "boot_count": 3, "uptime_s": 200 - 40, "steps": totals.steps, "ticks": totals.ticks,
        "skipped": totals.skipped, "late": totals.late, "overruns": totals.overruns, "task_failures": totals.failures,
        "commands_accepted": counts["acceptance_success"], "commands_completed": counts["completion_success"],
        "commands_failed": sum(counts[name] for name in failed), "telemetry_packets": node.part(Telemetry).sent,
        **{f"events_{severity}": node.part(Events).counts[severity] for severity in severities},
        "events_held_back": node.part(EventGate).held_back, "events_disabled": node.part(EventGate).disabled,
        "log_lines_lost": node._log_loss.lost, "boot_epoch": node.part(BootRecord).epoch,
    }  # fmt: skip
    check(node, "node", right)


def test_fields_of_power(make_rig: MakeRig) -> None:
    rig = make_rig()
    settle(rig)
    rig.send("set_power_mode", 3)
    node = settle(rig, IN_PASS_S + 10)
    node.part(Power).reading = PowerReading(soc_frac=0.875, solar_w=31.5, load_w=17.25, battery_w=14.5, bus_v=11.75)
    node.part(Power)._device.faults, node.part(Power)._switches.faults = 70, 7
    right = {
        "soc_frac": 0.875, "solar_w": 31.5, "load_w": 17.25, "battery_w": 14.5, "bus_v": 11.75, "mode": 3,
        "payload": 1, "eps_faults": 77,
    }  # fmt: skip
    check(node, "power", right)


def test_fields_of_thermal(make_rig: MakeRig) -> None:
    node = settle(make_rig())
    node.part(Thermal).board_c, node.part(Thermal).radiator_c, node.part(Thermal)._heater_on = 23.5, -11.25, True
    devices = node.part(Thermal)._devices.values()
    for number, device in enumerate(devices, 5):
        device.faults = number
    check(node, "thermal", {
        "board_c": 23.5, "radiator_c": -11.25, "heater": 1, "sensor_faults": sum(range(5, 5 + len(devices))),
    })  # fmt: skip


def test_fields_of_files(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    node, fresh = settle(make_rig()), numbers()
    transfers, outbox = node.part(FileTransfers), node.part(Outbox)
    entity, store = transfers.entity, node.part(FileStore)
    down = SimpleNamespace(role=Role.SENDER, octets=next(fresh), octets_done=next(fresh), suspended=True, resting=False)
    up = SimpleNamespace(role=Role.RECEIVER, octets=next(fresh), octets_done=next(fresh), suspended=False, resting=True)
    idle = SimpleNamespace(role=Role.RECEIVER, octets=None, octets_done=0, suspended=False, resting=False)
    monkeypatch.setattr(entity, "transactions", lambda: [down] * 5 + [up] * 2 + [idle])
    entity.counters.data_in, entity.counters.data_out, entity.counters.resent_octets = (next(fresh) for _ in range(3))
    transfers.completed, transfers.cancelled = next(fresh), next(fresh)
    outbox.endings.acknowledged, outbox.intake.refused, outbox.evicted = (next(fresh) for _ in range(3))
    outbox._resting.update(range(4))
    monkeypatch.setattr(Outbox, "waiting", 61)
    monkeypatch.setattr(store, "entries", lambda: [SimpleNamespace(octets=1_003)] * 9)
    right = {
        "sending": 5, "sending_octets": 5 * down.octets, "sent_octets": 5 * down.octets_done,
        "receiving": 3, "receiving_octets": 2 * up.octets, "received_octets": 2 * up.octets_done, "suspended": 7,
        "completed": transfers.completed, "cancelled": transfers.cancelled,
        "pdus_in": entity.counters.data_in, "pdus_out": entity.counters.data_out,
        "repeated_octets": entity.counters.resent_octets,
        "products": 61, "products_acknowledged": outbox.endings.acknowledged, "products_refused": outbox.intake.refused,
        "products_resting": 4, "stored": 9, "stored_octets": 9 * 1_003, "evicted": outbox.evicted,
    }  # fmt: skip
    check(node, "files", right)


def test_fields_of_link(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    node, fresh = settle(make_rig()), numbers()
    link = node.part(RadioLinks)[0].link
    assert isinstance(link, FlightLink)
    link.counters.tc_frames, link.counters.tc_packets, link._cltus.corrected = (next(fresh) for _ in range(3))
    link.farm.counters.control = next(fresh)
    link.counters.uplink_rejected.update({"frame": next(fresh), "packet": next(fresh), "control_rate": next(fresh)})
    monkeypatch.setattr(node.part(FileTransfers).entity, "next_pdu", lambda _: None)
    node.part(Outbox).put("waits", bytes(5_000))
    node.part(Outbox).sent, node.part(Uploads).received, node.part(Uploads).failed = (next(fresh) for _ in range(3))
    for _ in range(5):
        node.part(FileTransfers).on_packet((0x1000 | node.mission.node.file_apid).to_bytes(2, "big") + b"\xc0\0\0\1??")
    monkeypatch.setattr(node.part(RadioLinks)[0]._radio, "dropped", lambda: 17)
    counters = link.counters
    right = {
        "contact": 1, "frames_sent": counters.units_sent, "idle_frames": counters.idle_frames,
        "tc_frames": counters.tc_frames, "tc_packets": counters.tc_packets,
        "tc_rejected": sum(counters.uplink_rejected.values()), "outbox_octets": 5_000,
        "files_sent": node.part(Outbox).sent, "files_received": node.part(Uploads).received,
        "files_failed": node.part(Uploads).failed, "file_pdus_refused": 5,
        "rx_dropped": 17, "codeblocks_corrected": counters.cltu_corrected,
        "control_commands": counters.control_commands,
        "control_refused": counters.uplink_rejected["control_rate"],
    }  # fmt: skip
    check(node, "link", right)


def test_fields_of_security(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    node, fresh = settle(make_rig()), numbers()
    security = node.part(Security)
    assert security.link_security is not None
    counters = security.link_security.counters
    counters.refused.update((reason, next(fresh)) for reason in REASONS)
    counters.accepted, counters.protected, security._stored, security._store_failures = (next(fresh) for _ in range(4))
    security._procedures, security._procedures_refused = next(fresh), next(fresh)
    right = {
        "volatile": 0, "accepted": counters.accepted,
        **{f"refused_{reason}": count for reason, count in counters.refused.items()},
        "protected": counters.protected, "stored": security._stored, "store_failures": security._store_failures,
        "procedures": security._procedures, "procedures_refused": security._procedures_refused,
    }  # fmt: skip
    check(node, "security", right)
    monkeypatch.setattr(Security, "volatile", True)
    check(node, "security", right | {"volatile": 1})


def test_fields_of_executive(make_rig: MakeRig) -> None:
    node = settle(make_rig())
    totals = busy_tasks(node)
    node.scheduler.refused = 5
    first, second = node.scheduler.tasks[:2]
    right = {
        "tasks": len(node.scheduler.tasks), "refused": 5, "steps": totals.steps, "ticks": totals.ticks,
        "late": totals.late, "skipped": totals.skipped, "overruns": totals.overruns, "starved": totals.starved,
        "failures": totals.failures, "restarts": totals.restarts, "worst_step_us": 7_000, "worst_latency_us": 9_000,
        "cpu_permille": totals.cpu_ns * 1000 // node.scheduler.now_ns(), "worst_step_task": first.name,
        "worst_latency_task": second.name,
    }  # fmt: skip
    values = shown(node, "executive")
    assert list(values) == list(right) and len(set(right.values())) == len(right)
    assert values == right and right["cpu_permille"] >= 250


def test_the_report_of_a_task_shows_what_its_fields_are_named_after(make_rig: MakeRig) -> None:
    """Not housekeeping, but made in the same way, and of the same counters."""
    rig = make_rig()
    node = settle(rig)
    busy_tasks(node)
    stats = node.scheduler.tasks[0].stats
    stats.latency[2] += 5_000_000
    stats.worst_latency_ns = 6_000_000
    (one,) = (report for report in node.scheduler.report() if report.name == node.scheduler.tasks[0].name)
    rig.send("report_tasks")
    settle(rig, IN_PASS_S + 5)
    layout = next(r for r in rig.dictionary.reports if r.name == "task_report")
    row = dict(zip((f.name for f in layout.fields), layout.layout.decode(rig.reports(3, 130)[0].data), strict=True))
    counters = ("late", "skipped", "overruns", "starved", "failures", "restarts", "worst_step_us",
                "worst_latency_us", "period_ms",
                "deadline_ms", "budget_us", "latency_p50_us")  # fmt: skip
    right = {name: getattr(one, name) for name in counters}
    assert {name: row[name] for name in counters} == right
    assert len({right[name] for name in counters[:10]}) == 10
    assert (row["index"], row["tasks"], row["task"]) == (0, len(node.scheduler.tasks), one.name)
    assert (row["state"], row["critical"]) == (("waiting", "ready", "finished").index(one.state), 1)
    assert 0 <= int(str(row["steps"])) - one.steps < 100 and 0 <= int(str(row["ticks"])) - one.ticks < 100
    assert [0 <= int(str(row[f"latency_{i}"])) - one.latency[i] < 100 for i in range(20)] == [True] * 20


def test_fields_of_commands(make_rig: MakeRig) -> None:
    node, fresh = settle(make_rig()), numbers()
    counts, log = node.part(Commands).counts, node.part(CommandLog)
    counts.received, counts.unreadable, counts.executed, counts.waiting = (next(fresh) for _ in range(4))
    log.interrupted, log.reported_again = next(fresh), next(fresh)
    counts.refused.update({code: next(fresh) for code in sorted(Failure)})
    for number in range(7):
        log.open(PusTc(1, number, 17, 1, b"").request_id)
    refused = counts.refused
    right = {
        "received": counts.received, "unreadable": counts.unreadable, "executed": counts.executed,
        "refused": refused.total(), "waiting": counts.waiting,
        "refused_unknown": refused[Failure.UNKNOWN_APID] + refused[Failure.UNKNOWN_COMMAND],
        "refused_invalid": refused[Failure.BAD_LENGTH] + refused[Failure.BAD_VALUE],
        "refused_in_mode": refused[Failure.REFUSED_IN_MODE], "refused_rate": refused[Failure.TOO_MANY],
        "refused_queue": refused[Failure.QUEUE_FULL], "refused_storage": refused[Failure.STORAGE],
        "interrupted": log.interrupted, "reported_again": log.reported_again, "log_rows": 7,
    }  # fmt: skip
    check(node, "commands", right)


def test_fields_of_storage(make_rig: MakeRig) -> None:
    node, fresh = settle(make_rig()), numbers()
    vault, recorder, counters = (
        node.parts.storage.user("vault"),
        node.parts.storage.user("recorder"),
        node.parts.storage.user("vault").counters,
    )
    for name in ("octets", "flash_octets", "commits", "failures", "refused"):
        setattr(counters, name, next(fresh))
    counters.commit_last_ns, counters.commit_max_ns = ns(0.004), ns(0.25)
    vault.usage.refused, recorder.usage.refused = 300, 4_000
    recorder.usage.yielded_octets, vault.usage.held_octets, recorder.usage.held_octets = 555, 66_666, 7_777
    node.parts.vault.commits, node.parts.vault.checkpoints, node.parts.vault.checkpoint_faults = 21, 12, 31
    damage = {}
    journals = [node.parts.vault.stats, *(store.stats for store in node.part(Recorder).stores)]
    for name in ("missing", "damaged", "gone", "foreign", "misplaced", "unreadable"):
        of_journals = [next(fresh) for _ in journals]
        for stats, value in zip(journals, of_journals, strict=True):
            setattr(stats, name, value)
        damage["records_missing" if name == "missing" else f"segments_{name}"] = sum(of_journals)
    right = {
        "octets": counters.octets, "flash_octets": counters.flash_octets,
        "write_amplification": counters.flash_octets / counters.octets, "commits": counters.commits,
        "commit_last_ms": 4.0, "commit_max_ms": 250.0, "failures": counters.failures,
        "refused": counters.refused + 4_300, "free_octets": vault.free_octets(), "recorder_octets": 7_777,
        "recorder_yielded": 555, "vault_octets": 66_666, "vault_commits": 21, "vault_checkpoints": 12,
        "vault_checkpoint_faults": 31, **damage,
    }  # fmt: skip
    check(node, "storage", right)


def test_fields_of_recorder(make_rig: MakeRig) -> None:
    """Before the pass: each store holds packets that wait."""
    node, fresh = settle(make_rig(), 60.0), numbers()
    recorder = node.part(Recorder)
    recorder.storage_faults, recorder.lost, recorder.returned_packets = (next(fresh) for _ in range(3))
    for _ in range(4):
        recorder._hold(bytes(30))
    right: dict[str, Value] = {
        "storage_faults": recorder.storage_faults, "in_memory": 4, "lost": recorder.lost,
        "returned": recorder.returned_packets,
    }  # fmt: skip
    for store, retrieval in zip(recorder.stores, recorder.retrievals, strict=True):
        store.recorded, store.refused, store.journal.stats.missing = (next(fresh) for _ in range(3))
        retrieval.played_back, retrieval._overwritten = next(fresh), next(fresh)
        right |= {
            f"{store.name}_waiting": retrieval.waiting, f"{store.name}_recorded": store.recorded,
            f"{store.name}_played": retrieval.played_back, f"{store.name}_overwritten": retrieval.overwritten,
            f"{store.name}_refused": store.refused, f"{store.name}_missing": store.missing,
            f"{store.name}_filled_frac": store.filled_frac(),
        }  # fmt: skip
        assert retrieval.waiting and store.filled_frac()
    check(node, "recorder", right)


def test_fields_of_schedule(make_rig: MakeRig) -> None:
    rig = make_rig(more=SEQUENCES)
    node = settle(rig)
    pings = [PusTc(1, number, 17, 1, b"", ack=0b1011, source=7).encode() for number in range(20)]
    due_ns = node.part(Clock).tai_ns() + ns(5_000)
    rig.send("insert_activities", 0, tuple((0, due_ns + ns(i), ping) for i, ping in enumerate(pings[:7])))
    for number in range(3):
        rig.send("load_sequence", f"more-{number}", ((0, pings[10]),))
    events = [one for one in rig.dictionary.events if one.apid == 1][:6]
    rig.send("add_event_actions", tuple((1, one.number, pings[11]) for one in events))
    rig.send("enable_schedule")
    settle(rig, IN_PASS_S + 20)
    schedule, sequences, actions = node.part(Schedule), node.part(Sequences), node.part(EventActions)
    fresh = numbers()
    schedule.released, schedule.late, schedule.disabled, schedule._activities.refused = (next(fresh) for _ in range(4))
    sequences.started, sequences.aborted, actions.fired, actions.suppressed = (next(fresh) for _ in range(4))
    octets = 7 * (len(pings[0]) + 14)
    bound = len({one.name for one in events} | {"boot"})
    right = {
        "enabled": 1, "activities": 7, "capacity": node.mission.section(ScheduleConfig).activities, "octets": octets,
        "released": schedule.released, "late": schedule.late, "disabled": schedule.disabled,
        "refused": schedule.refused, "next_release": due_ns, "sequences": 5, "sequences_running": 2,
        "sequences_started": sequences.started, "sequences_aborted": sequences.aborted, "actions": bound,
        "actions_fired": actions.fired, "actions_suppressed": actions.suppressed,
    }  # fmt: skip
    check(node, "schedule", right)


def test_fields_of_parameters(make_rig: MakeRig) -> None:
    rig = make_rig(faults="power-cut@30")
    settle(rig, 20.0)
    settings = list(rig.dictionary.settings)
    kept = {
        f"parameter.{one.name}": rig.node.part(Parameters).set_rows(((one.number, one.default),)).changes
        for one in settings
    }
    rows = {key: next(iter(changes.values())) for key, changes in list(kept.items())[:3]}
    rig.node.parts.vault.stage(
        rows | {f"parameter.{settings[3].name}": b"short"} | {f"parameter.no-{i}": bytes(8) for i in range(2)}
    )
    node = settle(rig)
    node.part(Parameters)._changes = 9
    check(node, "parameters", {"set": 3, "unknown": 2, "refused": 1, "changes": 9})


def test_fields_of_leap_seconds(make_rig: MakeRig) -> None:
    node = settle(make_rig())
    more = (LeapRow(61_771, 38), LeapRow(61_953, 39))  # 2028-01-01 and 2028-07-01
    node._platform.leap_seconds = BUILT_IN.extended(more, 62_000)
    values = {"tai_utc_s": 37, "last_mjd": 61_953, "last_tai_utc_s": 39, "expires_mjd": 62_000, "old": 0, "added": 2}
    check(node, "leap_seconds", values)


def test_fields_of_time(make_rig: MakeRig) -> None:
    node = settle(make_rig())
    raw_ns = node._platform.tai_ns()
    node.part(Clock).correct(Correction(ns(1.5), -77, raw_ns))
    node.part(TimeService).rate, node.part(TimeService).reports, node.part(TimeService).left_out = 6, 1_003, 2_011
    check(node, "time", {"offset_us": 1_500_000, "drift_ppb": -77, "rate": 6, "reports": 1_003, "left_out": 2_011})
