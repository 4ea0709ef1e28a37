"""A small dictionary for the ground's tests: every kind of packet, command and field once."""

from __future__ import annotations

from dataclasses import replace

from flight.contract.collect import collect
from flight.contract.dictionary import (
    Command,
    Declarations,
    Dictionary,
    EventDefinition,
    Report,
    Setting,
    Structure,
)
from flight.contract.fields import Field, Limits, Refers
from flight.services.files import declarations as files

_REQUEST = (Field("request_apid_word", "u16"), Field("request_seq_word", "u16"))
_FAILURE = (*_REQUEST, Field("code", "u16"), Field("detail", "str"))
MODES = ("safe", "idle", "nominal")
_VALUE = (Field("parameter", "u16", refers=Refers.SETTING), Field("value", "f64", refers=Refers.SETTING_VALUE))
_STRUCTURE = Field("structure", "u16", refers=Refers.STRUCTURE)
_HK_PARAMETER = Field("hk_parameter", "u16", refers=Refers.HK_PARAMETER)
_VALUES = (Field("parameters", "rows", fields=_VALUE),)

NODE = Declarations(
    structures=(
        Structure(1, 1, "power", 5.0, (
            Field("soc", "f32", "frac", limits=Limits((0.4, 1.0), (0.25, 1.0))),
            Field("bus", "f64", "V"),
            Field("mode", "u8", labels=MODES),
            Field("battery", "i16", "mA"),
        )),
        Structure(1, 2, "health", 10.0, (
            Field("uptime", "u64", "s"), Field("name", "str"), Field("late", "u32"), Field("offset", "i64", "ns"),
            Field("board", "f32", "degC", limits=Limits(yellow=(-10.0, 60.0))),
        )),
        Structure(1, 3, "empty", 0.0, ()),
        Structure(1, 4, "plan", 60.0, (
            Field("entries", "u16"), Field("next", "time"),
            Field("groups", "rows", fields=(Field("group", "u8"), Field("name", "str"))), Field("left", "u8"),
        )),
    ),
    events=(
        EventDefinition(1, 1, "booted", "info", "node {name} booted", (Field("name", "str"),)),
        EventDefinition(1, 2, "mode_changed", "low", "mode {mode}", (Field("mode", "u8", labels=MODES),)),
        EventDefinition(1, 3, "battery_low", "high", "charge {soc:.0%}", (Field("soc", "f32"),)),
    ),
    reports=(
        Report(1, 1, 1, "accepted", _REQUEST),
        Report(1, 1, 2, "acceptance_failed", _FAILURE),
        Report(1, 1, 3, "started", _REQUEST),
        Report(1, 1, 4, "start_failed", _FAILURE),
        Report(1, 1, 7, "completed", _REQUEST),
        Report(1, 1, 8, "completion_failed", _FAILURE),
        Report(1, 3, 10, "hk_definition", (
            _STRUCTURE, Field("enabled", "u8", labels=("off", "on")), Field("period_s", "f32", "s"),
            Field("parameters", "rows", fields=(_HK_PARAMETER,)), Field("arrays", "u8"),
        )),
        Report(1, 11, 10, "plan_detail", (
            Field("note", "str"), Field("entries", "rows", fields=(Field("at", "time"), Field("command", "packet"))),
        )),
        Report(1, 17, 2, "pong"),
        Report(1, 20, 2, "parameter_values", _VALUES),
    ),
    commands=(
        Command("ping", 1, 17, 1, "are you there"),
        Command("insert", 1, 11, 4, "plan commands", (
            Field("entries", "rows", fields=(Field("at", "time"), Field("command", "packet"))),
        )),
        Command("enable_hk", 1, 3, 5, "report structures", (
            Field("structures", "rows", fields=(_STRUCTURE,)),
        )),
        Command("create_hk", 1, 3, 1, "define a structure", (
            replace(_STRUCTURE, minimum=256), Field("period_s", "f32", "s"),
            Field("parameters", "rows", fields=(_HK_PARAMETER,)),
            Field("arrays", "u8", maximum=0, default=0),
        )),
        Command("set_hk_period", 1, 3, 31, "how often", (
            Field("structures", "rows", fields=(
                _STRUCTURE, Field("period_s", "f32", "s", minimum=0.0, maximum=3600.0),
            )),
        )),
        Command("report_parameters", 1, 20, 1, "read parameters", (Field("parameters", "rows", fields=_VALUE[:1]),)),
        Command("set_parameters", 1, 20, 3, "write parameters", _VALUES),
        Command("set_power_mode", 1, 8, 1, "power mode", (Field("mode", "u8", labels=MODES),), function=1),
        Command("payload_power", 1, 8, 1, "on or off", (Field("state", "u8", labels=("off", "on")),), function=2),
        Command("load_parameter_table", 1, 8, 1, "a table", (Field("name", "str"),), function=10),
        Command("say", 1, 8, 1, "a text", (Field("text", "str"), Field("times", "u8", default=1)), function=3),
    ),
    settings=(
        Setting(7, "soc_min", "frac", 0.3, 0.1, 0.9, "least charge for work", below="soc_full"),
        Setting(8, "soc_full", "frac", 0.8, 0.1, 1.0, "charge that is enough"),
        Setting(9, "tiles_max", "", 5, 1, 50, "tiles at a time", type="u8"),
    ),
)  # fmt: skip
PAYLOAD = Declarations(
    reports=(
        Report(2, 1, 1, "payload_accepted", _REQUEST),
        Report(2, 1, 2, "payload_acceptance_failed", _FAILURE),
        Report(2, 1, 7, "payload_completed", _REQUEST),
        Report(2, 128, 6, "job_status", (
            Field("job", "u32"), Field("state", "u8", labels=("queued", "running")), Field("why", "str"),
        )),
    ),
    commands=(
        Command("submit_job", 2, 128, 1, "screen tiles", (
            Field("tiles", "u16", minimum=1, maximum=50), Field("priority", "u8", maximum=7, default=3),
            Field("deadline_s", "f32", "s", minimum=1, default=600.0),
        )),
        Command("cancel_job", 2, 128, 3, "forget a job", (Field("job", "u32"),)),
        Command("list_jobs", 2, 128, 5, "every job"),
    ),
)  # fmt: skip


def make() -> Dictionary:
    """Return the dictionary of the test mission."""
    dictionary = collect(
        [NODE, PAYLOAD, files.declare(1)],
        mission="test",
        spacecraft_id=0x1AB,
        version="0.1.0",
        apids={"node": 1, "app": 2, "files": 3},
    )
    # Failure codes of software that is not ours.
    return replace(dictionary, failures={1: "unknown command", 2: "argument out of range", 3: "not now"})
