"""Commands by name, and their verification."""

from __future__ import annotations

import pytest

from flight.core.errors import OrbitnodeError
from flight.link.pus import PusTc, PusTm, RequestId
from ground.commanding import CommandEncoder, parse_arguments
from ground.decoder import Decoder
from ground.operator import CommandRecord
from ground.verification import CommandTracker
from tests.ground_dictionary import make

S = 10**9


def encode(name, raw=False, **arguments):
    return PusTc.decode(CommandEncoder(make()).encode(name, arguments, raw=raw).packet)


@pytest.mark.parametrize(
    ("name", "arguments", "apid", "type_", "data"),
    [
        ("ping", {}, 1, (17, 1), ""),
        ("set_power_mode", {"mode": "idle"}, 1, (8, 1), "000101"),
        ("payload_power", {"state": 1}, 1, (8, 1), "000201"),
        ("report_parameter", {"parameter": "soc_min"}, 1, (20, 1), "0007"),
        ("set_parameter", {"parameter": "soc_min", "value": 0.5}, 1, (20, 3), "00073fe0000000000000"),
        ("set_hk_period", {"structure": "health", "period_s": 2}, 1, (3, 31), "000240000000"),
        ("submit_job", {"tiles": 4}, 2, (128, 1), "00040344160000"),
        ("say", {"text": "µ"}, 1, (8, 1), "000302c2b501"),
    ],
)
def test_commands_from_the_dictionary(name, arguments, apid, type_, data):
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
        ("set_power_mode", {"mode": "fast"}, "none of safe, idle, nominal"),
        ("set_power_mode", {"mode": 7}, "outside 0 .. 2"),
        ("set_parameter", {"parameter": "soc_min", "value": 2}, r"value: 2 is outside 0.1 .. 0.9 frac"),
        ("set_parameter", {"parameter": "soc_mim", "value": 0.5}, "did you mean 'soc_min'"),
        ("set_hk_period", {"structure": "powr", "period_s": 1}, "did you mean 'power'"),
        ("set_hk_period", {"structure": 1, "period_s": "x"}, "'x' is not a number"),
        ("say", {"text": "x" * 300}, "at most 255 octets"),
        ("set_parameter", {"parameter": float("nan"), "value": 1}, "nan is not a whole number"),
        ("set_parameter", {"parameter": float("inf"), "value": 1}, "inf is not a whole number"),
        ("set_parameter", {"parameter": [1], "value": 1}, r"parameter: \[1\] is not a number"),
        ("set_parameter", {"parameter": {}, "value": 1}, "is not a number"),
        ("set_parameter", {"parameter": None, "value": 1}, "'parameter' is missing"),
        ("set_parameter", {"parameter": True, "value": 1}, "True is not a number"),
        ("set_parameter", {"parameter": "9" * 5000, "value": 1}, "unknown parameter"),
        ("submit_job", {"tiles": "9" * 5000}, "is not a number"),
    ],
)
def test_what_the_dictionary_does_not_admit(name, arguments, match):
    with pytest.raises(OrbitnodeError, match=match):
        encode(name, **arguments)


def test_raw_skips_ranges_but_not_the_size_of_the_field():
    assert encode("submit_job", raw=True, tiles=60000).data[:2].hex() == "ea60"
    assert encode("set_power_mode", raw=True, mode=9).data.hex() == "000109"
    assert encode("set_parameter", raw=True, parameter="soc_min", value=-5.0).data[:2].hex() == "0007"
    with pytest.raises(OrbitnodeError, match="outside"):
        encode("submit_job", raw=True, tiles=70000)


def test_sequence_counts_by_apid_wrap():
    encoder = CommandEncoder(make(), first_seq={1: 16383})
    seqs = [encoder.encode(n, {}).request for n in ("ping", "list_jobs", "ping", "list_jobs")]
    assert seqs == [RequestId(1, 16383), RequestId(2, 0), RequestId(1, 0), RequestId(2, 1)]


def test_texts_from_a_terminal():
    dictionary = make()
    submit = dictionary.command("submit_job")
    assert parse_arguments(submit, ["tiles=0x10", "deadline_s=1e2"]) == {"tiles": 16, "deadline_s": 100.0}
    assert parse_arguments(dictionary.command("payload_power"), ["state=on"]) == {"state": "on"}
    assert parse_arguments(dictionary.command("say"), ["text=12"]) == {"text": "12"}
    for bad, match in ((["tiles"], "not key=value"), (["tiles=1", "tiles=2"], "given twice")):
        with pytest.raises(OrbitnodeError, match=match):
            parse_arguments(submit, bad)


def report(subtype: int, request: RequestId, tail: bytes = b""):
    return Decoder(make()).decode(PusTm(request.apid, 0, 1, subtype, request.encode() + tail, 1).encode())


def begin(tracker: CommandTracker, encoder: CommandEncoder, now_ns: int = 0) -> CommandRecord:
    return tracker.begin(encoder.encode("ping", {}), now_ns)


def test_stages_up_to_completion():
    tracker, encoder = CommandTracker(make().failures), CommandEncoder(make())
    record = begin(tracker, encoder)
    request = RequestId(record.apid, record.seq)
    tracker.acknowledged(record.number, 1 * S)
    for second, subtype in ((2, 1), (3, 3), (4, 7)):
        assert tracker.on_report(report(subtype, request), second * S) is record
    assert [s.name for s in record.stages] == ["sent", "acknowledged", "accepted", "started", "completed"]
    assert (record.outcome, record.round_trip_ns, tracker.open_count) == ("completed", 4 * S, 0)
    assert tracker.on_time(10**12) == []


@pytest.mark.parametrize(
    ("subtype", "outcome", "step"), [(2, "rejected", "acceptance"), (4, "failed", "start"), (8, "failed", "completion")]
)
def test_failures_carry_code_meaning_and_detail(subtype, outcome, step):
    tracker, encoder = CommandTracker(make().failures), CommandEncoder(make())
    record = begin(tracker, encoder)
    tracker.on_report(report(subtype, RequestId(record.apid, record.seq), b"\x00\x02\x03too"), S)
    assert (record.outcome, record.code) == (outcome, 2)
    assert record.reason == f"{step} failed: argument out of range (too)"


def test_timeout_says_how_far_it_came_and_a_late_report_overrules_it():
    tracker, encoder = CommandTracker({}, timeout_s=5), CommandEncoder(make())
    record = begin(tracker, encoder)
    tracker.acknowledged(record.number, S)
    assert tracker.next_time_ns == 5 * S and tracker.on_time(5 * S - 1) == []
    assert tracker.on_time(5 * S) == [record]
    assert (record.outcome, record.reason) == (
        "lost",
        "received by the node's link, but no report in time; may still be executed",
    )
    assert tracker.counters.lost == 1
    tracker.on_report(report(7, RequestId(record.apid, record.seq)), 9 * S)
    assert (record.outcome, record.round_trip_ns, tracker.counters.lost) == ("completed", 9 * S, 0)
    tracker.on_report(report(8, RequestId(record.apid, record.seq), b"\0\1\0"), 10 * S)
    assert record.outcome == "completed"


def test_rejected_by_the_session_and_reports_of_nobody():
    tracker, encoder = CommandTracker({}), CommandEncoder(make())
    record = begin(tracker, encoder)
    tracker.rejected(record.number, "uplink queue is full", S)
    assert (record.outcome, record.reason) == ("rejected", "uplink queue is full")
    assert tracker.on_report(report(1, RequestId(1, 77)), S) is None
    strange = PusTm(1, 0, 1, 1, b"\0\0\0\0", 1).encode()
    assert tracker.on_report(Decoder(make()).decode(strange), S) is None
    assert tracker.counters.unmatched_reports == 2


def test_the_session_decides_after_the_time_is_over():
    tracker, encoder = CommandTracker({}, timeout_s=5), CommandEncoder(make())
    never, unknown = begin(tracker, encoder), begin(tracker, encoder)
    tracker.on_time(5 * S)
    assert never.reason == "no answer from the node in time; may still be executed"
    tracker.rejected(never.number, "it never arrived", 9 * S)
    tracker.lost(unknown.number, "the node was restarted", 9 * S)
    assert (never.outcome, never.reason) == ("rejected", "it never arrived")
    assert (unknown.outcome, unknown.reason) == ("lost", "the node was restarted")
    assert (tracker.counters.lost, tracker.counters.rejected) == (1, 1)


def test_tracker_is_bounded():
    tracker, encoder = CommandTracker({}, capacity=4, open_max=3), CommandEncoder(make())
    for _ in range(3):
        begin(tracker, encoder)
    assert not tracker.has_room
    tracker.on_time(10**15)
    for _ in range(3):
        begin(tracker, encoder, 10**15)
    assert [r.number for r in tracker.records()] == [3, 4, 5, 6]
