"""Commands by name, and their verification."""

from __future__ import annotations

import json
import struct
from datetime import date
from typing import Any

import pytest

from flight.catalogue import dictionary_of
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.core.utc.leap_seconds import BUILT_IN, LeapRow
from flight.core.utc.utc_time import UtcTime, mjd_of
from flight.link.pus import PusTc, PusTm, RequestId
from flight.link.sequence_count_ranges import GROUND_SEQ_COUNTS
from flight.mission import MISSIONS, load
from ground.commands.commanding import CommandEncoder, describe_field, find_command, parse_arguments
from ground.commands.release_time import utc_tai_ns
from ground.commands.verification import CommandTracker
from ground.link.duplicates import Duplicates
from ground.operator import CommandRecord
from ground.telemetry.decoder import DecodedPacket, Decoder
from tests.ground_dictionary import make

NODE_DICTIONARY = dictionary_of(load(MISSIONS / "orbit.toml"))


def encode(name: str, raw: bool = False, **arguments: Any) -> PusTc:
    return PusTc.decode(CommandEncoder(make()).encode(name, arguments, raw=raw).packet)


@pytest.mark.parametrize(
    ("name", "arguments", "apid", "type_", "data"),
    [
        ("ping", {}, 1, (17, 1), ""),
        ("set_power_mode", {"mode": "idle"}, 1, (8, 1), "000101"),
        ("payload_power", {"state": 1}, 1, (8, 1), "000201"),
        ("report_parameters", {"parameters": ["soc_min", 8]}, 1, (20, 1), "0200070008"),
        ("report_parameters", {"parameters": []}, 1, (20, 1), "00"),
        ("set_parameters", {"parameters": {"soc_min": 0.5}}, 1, (20, 3), "0100073fe0000000000000"),
        ("set_parameters", {"parameters": [["soc_min", 0.5]]}, 1, (20, 3), "0100073fe0000000000000"),
        (
            "set_parameters",
            {"parameters": [{"value": 0.5, "parameter": "soc_min"}]},
            1,
            (20, 3),
            "0100073fe0000000000000",
        ),
        ("set_hk_period", {"structures": {"health": 2}}, 1, (3, 31), "01000240000000"),
        ("submit_job", {"tiles": 4}, 2, (128, 1), "00040344160000"),
        ("say", {"text": "µ"}, 1, (8, 1), "000302c2b501"),
    ],
)
def test_commands_from_the_dictionary(name: str, arguments: Any, apid: int, type_: tuple[int, int], data: str) -> None:
    tc = encode(name, **arguments)
    assert (tc.apid, (tc.service, tc.subtype), tc.data.hex()) == (apid, type_, data)


@pytest.mark.parametrize(
    ("name", "arguments", "match"),
    [
        ("pong", {}, "unknown command 'pong', did you mean 'ping'"),
        ("ping", {"x": 1}, "ping: unknown argument 'x', there is none"),
        ("submit_job", {"tile": 1}, "did you mean 'tiles'"),
        ("submit_job", {}, r"argument 'tiles' is missing, u16 1 .. 50"),
        ("submit_job", {"tiles": 51}, r"tiles: 51 is outside 1 .. 50"),
        ("submit_job", {"tiles": 1.5}, "not a whole number"),
        ("set_power_mode", {"mode": "fast"}, "not one of safe, idle, nominal"),
        ("set_power_mode", {"mode": 7}, "outside 0 .. 2"),
        ("set_parameters", {"parameters": {"soc_min": 2}}, r"soc_min: 2 is outside 0.1 .. 0.9 frac"),
        ("set_parameters", {"parameters": {"soc_mim": 0.5}}, "did you mean 'soc_min'"),
        ("set_parameters", {"parameters": {"tiles_max": 1.5}}, "tiles_max: 1.5 is not a whole number"),
        (
            "set_parameters",
            {"parameters": {"soc_min": 0.5, "soc_full": 0.4}},
            "soc_min: 0.5 should stay below soc_full, which is 0.4",
        ),
        ("set_parameters", {"parameters": [["soc_min", 0.5], [7, 0.4]]}, "soc_min is given twice"),
        ("set_parameters", {"parameters": [["soc_min"]]}, r"parameters\[0\]: .* is not a row of parameter, value"),
        ("set_parameters", {"parameters": [{"parameter": "soc_min"}]}, r"parameters\[0\]: has parameter, should have"),
        ("set_parameters", {"parameters": "soc_min"}, "is not a list of at most 255 rows"),
        ("set_parameters", {}, "argument 'parameters' is missing"),
        ("report_parameters", {"parameters": ["soc_mim"]}, "did you mean 'soc_min'"),
        ("set_hk_period", {"structures": {"powr": 1}}, "did you mean 'power'"),
        ("set_hk_period", {"structures": [[1, "x"]]}, "'x' is not a number"),
        ("say", {"text": "x" * 300}, "at most 255 octets"),
        ("set_parameters", {"parameters": [[float("nan"), 1]]}, "nan is not a whole number"),
        ("set_parameters", {"parameters": [[float("inf"), 1]]}, "inf is not a whole number"),
        ("set_parameters", {"parameters": [[[1], 1]]}, r"parameter: \[1\] is not a number"),
        ("set_parameters", {"parameters": [[{}, 1]]}, "is not a number"),
        ("set_parameters", {"parameters": [[None, 1]]}, "None is not a number"),
        ("set_parameters", {"parameters": [[True, 1]]}, "True is not a number"),
        ("set_parameters", {"parameters": {"9" * 5000: 1}}, "unknown parameter"),
        ("submit_job", {"tiles": "9" * 5000}, "is not a number"),
    ],
)
def test_what_the_dictionary_does_not_admit(name: str, arguments: Any, match: str) -> None:
    with pytest.raises(OrbitnodeError, match=match):
        encode(name, **arguments)


def test_raw_skips_ranges_but_not_the_size_of_the_field() -> None:
    assert encode("submit_job", raw=True, tiles=60000).data[:2].hex() == "ea60"
    assert encode("set_power_mode", raw=True, mode=9).data.hex() == "000109"
    assert encode("set_parameters", raw=True, parameters={"soc_min": -5.0, 8: 1.5}).data[:3].hex() == "020007"
    with pytest.raises(OrbitnodeError, match="outside"):
        encode("submit_job", raw=True, tiles=70000)


def test_sequence_counts_by_apid_wrap() -> None:
    encoder = CommandEncoder(make(), first_seq={1: GROUND_SEQ_COUNTS - 1})
    seqs = [encoder.encode(n, {}).request for n in ("ping", "list_jobs", "ping", "list_jobs")]
    assert seqs == [RequestId(1, GROUND_SEQ_COUNTS - 1), RequestId(2, 0), RequestId(1, 0), RequestId(2, 1)]


def test_texts_from_a_terminal() -> None:
    dictionary = make()
    submit = dictionary.command("submit_job")
    assert parse_arguments(submit, ["tiles=0x10", "deadline_s=1e2"]) == {"tiles": 16, "deadline_s": 100.0}
    assert parse_arguments(dictionary.command("payload_power"), ["state=on"]) == {"state": "on"}
    assert parse_arguments(dictionary.command("say"), ["text=12"]) == {"text": "12"}
    for bad, match in ((["tiles"], "not key=value"), (["tiles=1", "tiles=2"], "given twice")):
        with pytest.raises(OrbitnodeError, match=match):
            parse_arguments(submit, bad)


def test_parameters_are_written_as_pairs_and_shown_by_name() -> None:
    dictionary = make()
    write, read = dictionary.command("set_parameters"), dictionary.command("report_parameters")
    pairs = parse_arguments(write, ["soc_min=0.4", "tiles_max=7"])
    assert pairs == {"parameters": [["soc_min", 0.4], ["tiles_max", 7]]}
    shown = CommandEncoder(dictionary).encode("set_parameters", pairs).arguments["parameters"]
    assert json.loads(str(shown)) == [{"parameter": "soc_min", "value": 0.4}, {"parameter": "tiles_max", "value": 7.0}]
    assert parse_arguments(read, ["soc_min"]) == {"parameters": ["soc_min"]}
    assert parse_arguments(read, []) == {"parameters": []}
    assert parse_arguments(read, ["parameters=[[7]]"]) == {"parameters": [[7]]}
    for texts in (["soc_min"], ["=1"]):
        with pytest.raises(OrbitnodeError, match="is not name=value"):
            parse_arguments(write, texts)


def report(subtype: int, request: RequestId, tail: bytes = b"") -> DecodedPacket:
    return Decoder(make()).decode(PusTm(request.apid, 0, 1, subtype, request.encode() + tail, 1).encode())


def begin(tracker: CommandTracker, encoder: CommandEncoder, now_ns: int = 0) -> CommandRecord:
    return tracker.begin(encoder.encode("ping", {}), now_ns)


def test_stages_up_to_completion() -> None:
    tracker, encoder = CommandTracker(make().failures), CommandEncoder(make())
    record = begin(tracker, encoder)
    request = RequestId(record.apid, record.seq)
    tracker.acknowledged(record.number, 1 * NS)
    for second, subtype in ((2, 1), (3, 3), (4, 7)):
        assert tracker.on_report(report(subtype, request), second * NS) is record
    assert [s.name for s in record.stages] == ["sent", "acknowledged", "accepted", "started", "completed"]
    assert (record.outcome, record.round_trip_ns, tracker.open_count) == ("completed", 4 * NS, 0)
    assert tracker.on_time(10**12) == []


@pytest.mark.parametrize(
    ("subtype", "outcome", "step"), [(2, "rejected", "acceptance"), (4, "failed", "start"), (8, "failed", "completion")]
)
def test_failures_carry_code_meaning_and_detail(subtype: int, outcome: str, step: str) -> None:
    tracker, encoder = CommandTracker(make().failures), CommandEncoder(make())
    record = begin(tracker, encoder)
    tracker.on_report(report(subtype, RequestId(record.apid, record.seq), b"\x00\x02\x03too"), NS)
    assert (record.outcome, record.code) == (outcome, 2)
    assert record.reason == f"{step} failed: argument out of range (too)"


def test_timeout_says_how_far_it_came_and_a_late_report_overrules_it() -> None:
    tracker, encoder = CommandTracker({}, timeout_s=5), CommandEncoder(make())
    record = begin(tracker, encoder)
    tracker.acknowledged(record.number, NS)
    assert tracker.next_time_ns == 5 * NS and tracker.on_time(5 * NS - 1) == []
    assert tracker.on_time(5 * NS) == [record]
    assert (record.outcome, record.reason) == (
        "lost",
        "received by the node's link, but no report in time; may still be executed",
    )
    assert tracker.counters.lost == 1
    tracker.on_report(report(7, RequestId(record.apid, record.seq)), 9 * NS)
    assert (record.outcome, record.round_trip_ns, tracker.counters.lost) == ("completed", 9 * NS, 0)
    tracker.on_report(report(8, RequestId(record.apid, record.seq), b"\0\1\0"), 10 * NS)
    assert record.outcome == "completed"


def test_rejected_by_the_session_and_reports_of_nobody() -> None:
    tracker, encoder = CommandTracker({}), CommandEncoder(make())
    record = begin(tracker, encoder)
    tracker.rejected(record.number, "uplink queue is full", NS)
    assert (record.outcome, record.reason) == ("rejected", "uplink queue is full")
    assert tracker.on_report(report(1, RequestId(1, 77)), NS) is None
    strange = PusTm(1, 0, 1, 1, b"\0\0\0\0", 1).encode()
    assert tracker.on_report(Decoder(make()).decode(strange), NS) is None
    assert tracker.counters.unmatched_reports == 2


def test_the_session_decides_after_the_time_is_over() -> None:
    tracker, encoder = CommandTracker({}, timeout_s=5), CommandEncoder(make())
    never, unknown = begin(tracker, encoder), begin(tracker, encoder)
    tracker.on_time(5 * NS)
    assert never.reason == "no answer from the node in time; may still be executed"
    tracker.rejected(never.number, "it never arrived", 9 * NS)
    tracker.lost(unknown.number, "the node was restarted", 9 * NS)
    assert (never.outcome, never.reason) == ("rejected", "it never arrived")
    assert (unknown.outcome, unknown.reason) == ("lost", "the node was restarted")
    assert (tracker.counters.lost, tracker.counters.rejected) == (1, 1)


def test_tracker_is_bounded() -> None:
    tracker, encoder = CommandTracker({}, capacity=4, open_max=3), CommandEncoder(make())
    for _ in range(3):
        begin(tracker, encoder)
    assert not tracker.has_room
    tracker.on_time(10**15)
    for _ in range(3):
        begin(tracker, encoder, 10**15)
    assert [r.number for r in tracker.records()] == [3, 4, 5, 6]


DURABLE = frozenset({"payload_power"})


def spoken(tracker: CommandTracker, record: CommandRecord, subtype: int, board_ns: int, now_ns: int) -> None:
    """A report about `record` that the node made at `board_ns`."""
    request = RequestId(record.apid, record.seq)
    packet = PusTm(request.apid, 0, 1, subtype, request.encode(), board_ns).encode()
    tracker.on_report(Decoder(make()).decode(packet), now_ns)


def test_a_boot_ends_the_volatile_commands_that_had_arrived() -> None:
    tracker, encoder = CommandTracker({}, durable=DURABLE), CommandEncoder(make())
    accepted, confirmed, bypass, waiting = (
        tracker.begin(encoder.encode("ping", {}), NS, bypass=bypass) for bypass in (False, False, True, False)
    )
    durable = tracker.begin(encoder.encode("payload_power", {"state": 1}), NS)
    for record in (accepted, durable):
        spoken(tracker, record, 1, 102 * NS, 2 * NS)
    tracker.acknowledged(confirmed.number, 2 * NS)
    assert tracker.on_boot(7, 50 * NS, -50 * NS, 3 * NS) == []  # the count that it has all the time
    assert tracker.on_boot(7, 103 * NS, 3 * NS, 4 * NS) == []
    assert tracker.on_boot(8, 103 * NS, 3 * NS, 5 * NS) == [accepted, confirmed, bypass]
    assert {(r.outcome, r.reason) for r in (accepted, confirmed, bypass)} == {
        ("lost", "the node booted again (boot 8)")
    }
    assert waiting.is_open and durable.is_open and tracker.open_count == 2
    spoken(tracker, durable, 7, 104 * NS, 9 * NS)
    spoken(tracker, accepted, 7, 102 * NS, 10 * NS)  # it had come as far as that, played back
    assert (durable.outcome, accepted.outcome, tracker.counters.lost) == ("completed", "completed", 2)


def test_an_old_boot_that_is_played_back_ends_nothing_that_came_after_it() -> None:
    tracker, encoder = CommandTracker({}), CommandEncoder(make())
    tracker.on_boot(7, 10 * NS, -90 * NS, 0)
    fresh, spoken_of = (tracker.begin(encoder.encode("ping", {}), 200 * NS, bypass=True) for _ in range(2))
    spoken(tracker, spoken_of, 1, 310 * NS, 201 * NS)  # its clock is 10 s ahead
    assert tracker.on_boot(8, 150 * NS, 50 * NS, 202 * NS) == []
    assert tracker.on_boot(7, 10 * NS, -90 * NS, 203 * NS) == []
    assert tracker.on_boot(9, 311 * NS, 211 * NS, 203 * NS) == [fresh, spoken_of]


def test_a_durable_command_waits_its_time_over_a_boot_and_its_report_decides() -> None:
    tracker, encoder = CommandTracker({}, timeout_s=30, durable=DURABLE), CommandEncoder(make())
    record = tracker.begin(encoder.encode("payload_power", {"state": 1}), 0, bypass=True)
    tracker.on_boot(1, 0, -NS, 0)
    tracker.on_boot(2, 5 * NS, 5 * NS, 6 * NS)
    assert tracker.on_time(30 * NS) == [record] and record.outcome == "lost"
    tracker.on_report(report(8, RequestId(record.apid, record.seq), b"\0\x0b\0"), 40 * NS)
    assert (record.outcome, record.code) == ("failed", 11)


def refusals(*rows: tuple[int, ...]) -> DecodedPacket:
    data = bytes((len(rows),)) + b"".join(struct.pack(">HHHHIB", *row) for row in rows)
    return Decoder(NODE_DICTIONARY).decode(PusTm(1, 0, 1, 128, data, 1).encode())


def test_commands_in_an_exact_range_of_refusals_are_rejected() -> None:
    tracker, encoder = CommandTracker({10: "too many"}), CommandEncoder(make(), first_seq={1: 5})
    records = [begin(tracker, encoder) for _ in range(5)]  # 5 .. 9
    changed = tracker.on_refusals(refusals((10, 1, 16383, 7, 9, 1), (10, 2, 9, 9, 1, 1), (5, 1, 0, 9, 7, 0)), NS)
    assert changed == records[:3]
    assert {(r.outcome, r.code, r.reason) for r in changed} == {("rejected", 10, "acceptance failed: too many")}
    assert [r.is_open for r in records] == [False, False, False, True, True]
    assert tracker.counters.refused_unnamed == 7


def test_refusals_decide_what_was_lost_and_nothing_that_has_ended() -> None:
    tracker, encoder = CommandTracker({}), CommandEncoder(make())
    lost, done = begin(tracker, encoder), begin(tracker, encoder)
    tracker.on_report(report(7, RequestId(1, done.seq)), NS)
    tracker.on_time(10**12)
    assert tracker.on_refusals(refusals((10, 1, 0, 1, 2, 1)), NS) == [lost]
    assert (lost.outcome, done.outcome) == ("rejected", "completed")


def test_the_same_packet_is_new_once_and_the_memory_for_it_is_bounded() -> None:
    known = Duplicates(kept=3)
    assert [known.is_new(octets) for octets in (b"a", b"b", b"a", b"c", b"d")] == [True, True, False, True, True]
    assert known.is_new(b"a"), "the oldest is forgotten"
    assert not known.is_new(b"d")


def test_structures_and_their_parameters_are_named() -> None:
    encoder = CommandEncoder(make())
    enable = find_command(make(), "enable_hk")
    assert encoder.encode("enable_hk", parse_arguments(enable, ["health", "hk-300", "7"])).packet[11:-2].hex() == (
        "030002012c0007"
    )
    period = find_command(make(), "set_hk_period")
    assert (
        encoder.encode("set_hk_period", parse_arguments(period, ["power=0.5"])).packet[11:-2].hex() == "0100013f000000"
    )
    create = find_command(make(), "create_hk")
    texts = ["structure=300", "period_s=2", "parameters=power.mode,health.uptime"]
    assert encoder.encode("create_hk", parse_arguments(create, texts)).packet[11:-2].hex() == "012c40000000020102020000"
    for texts, says in (
        (["structure=hk-300", "period_s=2", "parameters=power.mod"], "did you mean 'power.mode'"),
        (["structure=powr", "period_s=2", "parameters=power.mode"], "did you mean 'power'"),
    ):
        with pytest.raises(OrbitnodeError, match=says):
            encoder.encode("create_hk", parse_arguments(create, texts))


def test_events_are_named_and_belong_to_an_application() -> None:
    encoder = CommandEncoder(NODE_DICTIONARY)
    disable = find_command(NODE_DICTIONARY, "disable_events")
    given = parse_arguments(disable, ["power_mode", "21"])
    assert encoder.encode("disable_events", given).packet[11:-2].hex() == "0200140015"
    tie = find_command(NODE_DICTIONARY, "enable_event_actions")
    assert parse_arguments(tie, ["gate_shut", "1=power_mode"]) == {"events": ["gate_shut", ["1", "power_mode"]]}
    sent = encoder.encode("enable_event_actions", parse_arguments(tie, ["gate_shut", "1=power_mode", "1=21"]))
    assert sent.packet[11:-2].hex() == "03" + "00020003" + "00010014" + "00010015"
    wrong: tuple[tuple[str, dict[str, object], str], ...] = (
        ("disable_events", {"events": ["gate_shut"]}, "event 'gate_shut' belongs to APID 2, not to 1"),
        ("disable_events", {"events": ["power_mod"]}, "did you mean 'power_mode'"),
        ("enable_event_actions", {"events": ["power_mod"]}, "did you mean 'power_mode'"),
        ("enable_event_actions", {"events": [{"apid": 2, "event": "power_mode"}]}, "belongs to APID 1, not to 2"),
        ("enable_event_actions", {"events": [["x", "power_mode"]]}, "x: 'x' is not a number"),
    )
    for command, refused, says in wrong:
        with pytest.raises(OrbitnodeError, match=says):
            encoder.encode(command, refused)


def test_packet_times_are_written_as_utc() -> None:
    encoder = CommandEncoder(NODE_DICTIONARY)
    retrieve = find_command(NODE_DICTIONARY, "retrieve_range")
    rows = '[["reports", "1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z"]]'
    data = encoder.encode("retrieve_range", parse_arguments(retrieve, [f"ranges={rows}"])).packet[11:-2]
    assert data.hex() == "0100" + f"{378_691_210:08x}0000" + f"{378_691_211:08x}0000"
    for bad in ("yesterday", "+5", "2026-13-01", "1900-01-01"):
        with pytest.raises(OrbitnodeError, match=r"should be UTC such as 2026-03-20T10:00:00Z$"):
            encoder.encode("set_retrieval_start", {"time": bad, "stores": []})


REMOVED = BUILT_IN.extended((LeapRow(mjd_of(date(2028, 1, 1)), 36),), mjd_of(date(2028, 6, 28)))


@pytest.mark.parametrize(
    ("texts", "utc"),
    [
        (("2016-12-31T23:59:60Z", "2016-366T23:59:60Z", "2016-12-31T23:59:60", "2016-12-31 23:59:60.0Z",
          "2016-12-31T23:59:60+00:00", "2016-12-31T23:59:60-00:00", "2017-01-01T00:59:60+01:00",
          "2017-001T05:29:60+0530", "2016-366T18:59:60-05", "2016-12-31T23:59:60,000Z"), "2016-12-31T23:59:60Z"),
        (("2016-12-31T23:59:59.999999999Z", "2016-366T23:59:59.999999999999Z", "2017-01-01T00:59:59.999999999+01:00"),
         "2016-12-31T23:59:59.999999999Z"),
        (("2017-01-01", "2017-001", "2017-01-01T00:00", "2017-001 00:00Z", "2017-01-01T00:00:00.0"),
         "2017-01-01T00:00:00Z"),
        (("2016-366T23:00-01", "2017-01-01 01:00+0100"), "2017-01-01T00:00:00Z"),
        (("2028-01-01T00:59:58+01:00", "2027-365T23:59:58"), "2027-12-31T23:59:58Z"),
    ],
)  # fmt: skip
def test_utc_is_read_in_every_form_by_one_rule(texts: tuple[str, ...], utc: str) -> None:
    tai_ns = REMOVED.tai_at(UtcTime.parse(utc))
    assert {text: utc_tai_ns(text, REMOVED) for text in texts} == dict.fromkeys(texts, tai_ns)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{day}T{clock}{offset}", says)
        for days, clocks, says in (
            (("2027-12-31", "2027-365"), (("23:59:59", ("Z", "", "+00:00")), ("22:59:59.5", ("-01", "-01:00"))),
             "2027-12-31 has no second 23:59:59: it was left out, 00:00:00 comes in its place"),
            (("2026-12-31", "2026-365"), (("23:59:60", ("Z", "", "+00:00")), ("18:29:60", ("-05:30",))),
             "2026-12-31 has no second 23:59:60: no leap second is known there, the table is valid until 2028-06-28"),
            (("2016-12-31", "2016-366"), (("23:59:60", ("+01:00", "-00:01")), ("22:59:60", ("Z", "+01")),
                                          ("24:00:00", ("Z", "")), ("12:60:00", ("Z",)), ("12:00:61", ("Z",)),
                                          ("12:00:00", ("+24:00", "+01:60", "z", "+")), ("12:00:00.", ("Z",)),
                                          ("12", ("Z",)), ("12:00:00", ("Z\n", " ", "ZZ"))),
             "should be UTC such as 2026-03-20T10:00:00Z"),
        )
        for day in days for clock, offsets in clocks for offset in offsets
    ] + [(text, "should be UTC such as 2026-03-20T10:00:00Z") for text in (
        "2016-367", "2016-000", "0000-01-01", "9999-12-31", "0001-01-01T00:00+23:59", "2016-12-31Z", "20161231T235960Z",
        "\u0662016-12-31", "1957-12-31T23:59:49Z",
    )],
)  # fmt: skip
def test_utc_that_does_not_exist_is_refused_in_every_form(text: str, says: str) -> None:
    with pytest.raises(OrbitnodeError) as refused:
        utc_tai_ns(text, REMOVED)
    assert str(refused.value) == f"time {text!r}: {says}"


def test_stores_go_by_name_or_place() -> None:
    encoder = CommandEncoder(NODE_DICTIONARY)
    report = find_command(NODE_DICTIONARY, "report_store_summary")
    for texts in (["reports"], ["0"], ["stores=0"], ["stores=reports"], ["stores=[[0]]"]):
        assert encoder.encode(report.name, parse_arguments(report, texts)).packet[11:-2].hex() == "0100", texts
    with pytest.raises(OrbitnodeError, match=r"9 is outside 0 .. 1"):
        encoder.encode(report.name, parse_arguments(report, ["9"]))


def test_a_command_that_another_one_carries_is_typed_as_usual() -> None:
    encoder = CommandEncoder(NODE_DICTIONARY)
    load_sequence = find_command(NODE_DICTIONARY, "load_sequence")
    text = 'steps=[[0, "ping"], [1000, "set_power_mode mode=eco"]]'
    packet = encoder.encode("load_sequence", parse_arguments(load_sequence, ["sequence=a", text])).packet
    inner = PusTc.decode(packet[packet.index(b"\x00\x00\x03\xe8") + 4 : -2])
    assert (inner.service, inner.data.hex()) == (8, "000101")
    assert inner.seq != PusTc.decode(packet).seq
    again = encoder.encode("load_sequence", {"sequence": "a", "steps": [[0, inner.encode().hex()]]}).packet
    assert inner.encode() in again
    for steps, says in (
        ('[[0, "pnig"]]', "did you mean 'ping'"),
        ('[[0, "set_power_mode mode=turbo"]]', "'turbo' is not one of safe"),
        ('[[0, ""]]', "'' is not a command such as"),
        ('[[0, "ping \'"]]', "is not a command such as"),
        ('[[0, "aabb"]]', "not one whole space packet"),
        ("ping", "is not a JSON list of rows of delay_ms, request"),
    ):
        with pytest.raises(OrbitnodeError, match=says):
            encoder.encode("load_sequence", parse_arguments(load_sequence, ["sequence=a", f"steps={steps}"]))


def test_faults_in_rows_name_what_was_typed() -> None:
    encoder = CommandEncoder(make())
    for name, given, says in (
        ("set_parameters", {"parameters": [["soc_min", "abc"]]}, "^set_parameters: soc_min: 'abc' is not a number"),
        ("set_parameters", {"parameters": {"soc_min": "abc"}}, "^set_parameters: soc_min: 'abc' is not a number"),
        ("set_hk_period", {"structures": [["power", -1]]}, "^set_hk_period: power: -1 is outside"),
        ("set_parameters", {"parameters": [[7, "abc"]]}, r"^set_parameters: parameters\[0\].value: 'abc' is not"),
    ):
        with pytest.raises(OrbitnodeError, match=says):
            encoder.encode(name, given)


@pytest.mark.parametrize(
    ("command", "argument", "says"),
    [
        ("create_hk", "structure", "name of a structure or u16 from 256"),
        ("create_hk", "arrays", "u8 up to 0"),
        ("submit_job", "deadline_s", "u32 1 .. 31536000 s"),
        ("set_power_mode", "mode", "one of safe, eco, nominal, boost"),
        ("delete_stored", "time", "UTC such as 2026-03-20T10:00:00Z"),
        ("enable_hk", "structures", "rows of structure (name of a structure or u16)"),
        (
            "add_event_actions",
            "actions",
            "rows of apid (u16), event (name of an event or u16), request (a command as it is typed, or hexadecimal)",
        ),
        ("load_sequence", "steps", "rows of delay_ms (u32 ms), request (a command as it is typed, or hexadecimal)"),
    ],
)
def test_arguments_are_described(command: str, argument: str, says: str) -> None:
    fields = {one.name: one for one in find_command(NODE_DICTIONARY, command).arguments}
    assert describe_field(fields[argument]) == says
