"""What the payload manager adds to the dictionary: commands, reports, events, housekeeping, failure codes."""

# What stands here goes over the link: numbers, names, orders of fields and texts are part of the dictionary document
# and of its checksum. Numbers of events, failures, reasons and states are never given a second meaning.
#
# With one worker app, nothing says which app is meant; with several, a field `app` comes last (in `submit_job`,
# `job_status` and two events), and there is one structure more. So a mission with one app has the dictionary that it
# had before there could be several (ADR 0030), and its recordings stay readable.

from __future__ import annotations

from dataclasses import replace
from enum import unique

from flight.contract.dictionary import Command, Declarations, EventDefinition, Report, Structure
from flight.contract.failures import FailureCode
from flight.contract.fields import Field
from payloads.config import PayloadConfig
from payloads.jobs import DELAYS, DROPS, REASON_LABELS, STATE_LABELS
from payloads.worker.guards import Guard

TILES_MAX = 32
REPORTS_MAX = 32
FAILURE_LABELS = ("died", "hung", "bad output", "app error")

_JOB = Field("job", "u32", "", "job number")
_TILE = Field("tile", "u32", "", "tile number, 0 before its picture is taken")
_REASON = Field("reason", "u8", "", "why it waits or was dropped", labels=REASON_LABELS)
_SOC = Field("soc_frac", "f32", "", "state of charge")
_FROM_PRIORITY = Field("from_priority", "u16", "", "0: all jobs")
_BOARD = Field("board_c", "f32", "deg C", "board temperature")


@unique
class JobFailure(FailureCode):
    """Why a command about jobs is refused."""

    UNKNOWN_JOB = 100, "no such open job"
    JOB_TABLE_FULL = 101, "too many open jobs"
    JOB_RUNNING = 102, "the job is running"
    JOB_REFUSED = 103, "the job was refused"


def declare(apid: int, config: PayloadConfig) -> Declarations:
    """Return everything that the manager reports and can be commanded to do.

    If the mission has several worker apps, commands and reports also say which one is meant.
    """
    app = _which_app(config)
    return Declarations(
        structures=(*_structures(apid), *_app_structure(apid, config)),
        events=_events(apid, config),
        reports=(
            Report(
                apid, 128, 6, "job_status",
                (
                    _JOB,
                    Field("state", "u8", labels=STATE_LABELS),
                    Field("priority", "u8", "", "0 is the most urgent"),
                    _REASON,
                    _TILE,
                    Field("attempts", "u8", "", "times it was given to a worker"),
                    Field("left_s", "i32", "s", "until its deadline"),
                    Field("energy_j", "f32", "J", "spent on it"),
                    Field("octets_product", "u32", "octet"),
                    *app,
                ),
            ),
        ),
        commands=(
            Command(
                "submit_job", apid, 128, 1,
                "take that many tiles and work on them, one job each, kept over reboots until its product is made",
                (
                    Field("tiles", "u8", "", "number of tiles", minimum=1, maximum=TILES_MAX),
                    Field("priority", "u8", "", "0 is the most urgent", default=1),
                    Field("deadline_s", "u32", "s", "from now to the result", minimum=1, maximum=31_536_000),
                    *(replace(field, default=0) for field in app),
                ),
                durable=True,
            ),
            Command("cancel_job", apid, 128, 3, "drop a job that has not started", (_JOB,), durable=True),
            Command("list_jobs", apid, 128, 5, f"report open jobs, then those ended last, {REPORTS_MAX} at most",
                    idempotent=True),
        ),
        failures=tuple(JobFailure),
    )  # fmt: skip


def which_app(config: PayloadConfig, number: int) -> tuple[int, ...]:
    """Return the value of the field that says which worker app is meant: none if the mission has one app."""
    return (number,) if len(config.worker_app) > 1 else ()


def _which_app(config: PayloadConfig) -> tuple[Field, ...]:
    field = Field("app", "u8", "", "worker app", labels=config.app_names)
    return (field,) if len(config.worker_app) > 1 else ()


def _app_structure(apid: int, config: PayloadConfig) -> tuple[Structure, ...]:
    """Declare what each worker app has done, if there are several."""
    fields = (
        (
            Field(f"{name}_done", "u32", "", "tiles with a product"),
            Field(f"{name}_failed", "u32", "", "attempts without a result"),
            Field(f"{name}_octets", "u64", "octet", "of its products"),
        )
        for name in config.app_names
    )
    if len(config.worker_app) < 2:
        return ()
    return (Structure(apid, 22, "payload_apps", 30.0, tuple(field for of_app in fields for field in of_app)),)


def _structures(apid: int) -> tuple[Structure, ...]:
    return (
        Structure(
            apid, 20, "payload", 10.0,
            (
                Field("captured", "u32", "", "tiles taken: screened + dropped + pending"),
                Field("screened", "u32", "", "tiles with a product"),
                Field("dropped", "u32", "", "tiles that will have none"),
                Field("pending", "u16", "", "tiles waiting or in work"),
                Field("cloudy", "u32", "", "screened tiles of which only mask and statistics were sent"),
                Field("running", "u8", "", "jobs in work"),
                Field("waiting", "u16", "", "jobs that wait for their picture"),
                *(Field(f"delayed_{r.label}", "u32", "", "jobs that ever waited for it") for r in DELAYS),
                *(Field(f"dropped_{r.label}", "u32", "", "tiles dropped for it") for r in DROPS),
                Field("worker_restarts", "u16"),
                Field("worker_failures", "u16", "", "jobs that came back without a result"),
                Field("capture_faults", "u16", "", "imager faults"),
                Field("isolation", "u16", "", f"guards in force, from bit 0 on: {', '.join(Guard.every().labels)}"),
            ),
        ),
        Structure(
            apid, 21, "payload_energy", 30.0,
            (
                Field("energy_j", "f64", "J", "spent on inference"),
                Field("energy_lost_j", "f64", "J", "spent on attempts that gave no result"),
                Field("tile_energy_j", "f32", "J", "mean of the screened tiles"),
                Field("octets_raw", "u64", "octet", "samples of the screened tiles"),
                Field("octets_product", "u64", "octet", "their products"),
                Field("product_frac", "f32", "", "products in proportion to samples"),
            ),
        ),
    )  # fmt: skip


def _events(apid: int, config: PayloadConfig) -> tuple[EventDefinition, ...]:
    failure = Field("failure", "u8", labels=FAILURE_LABELS)
    return (
        EventDefinition(
            apid, 1, "jobs_submitted", "info", "jobs {first} .. {last} of priority {priority}",
            (Field("first", "u32"), Field("last", "u32"), Field("priority", "u8")),
        ),
        EventDefinition(
            apid, 2, "jobs_restored", "info", "{jobs} jobs restored after a loss of power", (Field("jobs", "u16"),)
        ),
        EventDefinition(
            apid, 3, "gate_shut", "info",
            "jobs with priority number {from_priority} or higher do not start: {reason}, charge {soc_frac:.3f}, "
            "board {board_c:.1f} C", (_REASON, _FROM_PRIORITY, _SOC, _BOARD),
        ),
        EventDefinition(
            apid, 4, "gate_open", "info",
            "jobs with priority number {from_priority} or higher start again: {reason}, charge {soc_frac:.3f}, "
            "board {board_c:.1f} C", (_REASON, _FROM_PRIORITY, _SOC, _BOARD),
        ),
        EventDefinition(
            apid, 10, "job_dropped", "low", "job {job}, tile {tile}: dropped, {reason}", (_JOB, _TILE, _REASON)
        ),
        EventDefinition(
            apid, 11, "worker_failed", "medium",
            f"job {{job}}: worker{' of {app}' if _which_app(config) else ''} {{failure}} in attempt {{attempt}}: "
            "{detail}",
            (_JOB, failure, Field("attempt", "u8"), Field("detail", "str"), *_which_app(config)),
        ),
        EventDefinition(
            apid, 12, "workers_given_up", "high",
            f"no worker{' of {app}' if _which_app(config) else ''} is left after {{restarts}} restarts; switch the "
            "payload off and on to try again", (Field("restarts", "u16"), *_which_app(config)),
        ),
        EventDefinition(apid, 13, "capture_failed", "medium", "imager: {detail}", (Field("detail", "str"),)),
        EventDefinition(
            apid, 14, "ledger_failed", "medium", "requests are not safe from a loss of power: {detail}",
            (Field("detail", "str"),),
        ),
        EventDefinition(
            apid, 15, "guards_missing", "low", "guards that do not hold around workers: {guards}",
            (Field("guards", "str"),),
        ),
    )  # fmt: skip
