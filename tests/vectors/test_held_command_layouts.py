"""ST[11], ST[19] and ST[21]: requests and reports against octets written by hand (ECSS-E-ST-70-41C, clause 8)."""

from __future__ import annotations

from typing import Any

import pytest

from flight.catalogue import dictionary_of
from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.link.pus import PusTc
from flight.mission import MISSIONS, load
from flight.services.reporting.row_report import RowReport

DICTIONARY = dictionary_of(load(MISSIONS / "orbit.toml"))
TIME = "7FFFFFFF 8000"  # CUC 4 + 2: 2^31 - 1 seconds and a half
TIME_NS = (2**31 - 1) * NS + 500_000_000
PING = "1801 C005 0006 20 11 01 0007"  # APID 1, count 5, PUS 2 without reports, TC[17,1], source 7
PING_OCTETS = PusTc(1, 5, 17, 1, b"", ack=0, source=7).encode()

REQUESTS: dict[str, tuple[tuple[Any, ...], str]] = {
    "enable_schedule": ((), ""),
    # sub-schedule, N, then group, release time, request
    "insert_activities": ((2, ((9, TIME_NS, PING_OCTETS),)), f"02 01 09 {TIME} {PING} crc"),
    # N, then source, APID, sequence count
    "delete_activities": ((((7, 1, 5), (7, 2, 6)),), "02 0007 0001 0005 0007 0002 0006"),
    "report_activities": ((((7, 1, 5),),), "01 0007 0001 0005"),
    "summarise_activities": ((((7, 1, 5),),), "01 0007 0001 0005"),
    # time offset, N, request ids
    "shift_activities": ((-90, ((7, 1, 5),)), "FFFFFFA6 01 0007 0001 0005"),
    "shift_schedule": ((90,), "0000005A"),
    # type of window, two time tags, N1 sub-schedules, N2 groups
    "delete_activities_by_filter": ((1, TIME_NS, TIME_NS, ((1,), (2,)), ((3,),)), f"01 {TIME} {TIME} 02 01 02 01 03"),
    "summarise_activities_by_filter": ((0, 0, 0, (), ()), "00 000000000000 000000000000 00 00"),
    "shift_activities_by_filter": ((1, 2, TIME_NS, 0, (), ()), f"00000001 02 {TIME} 000000000000 00 00"),
    "enable_sub_schedules": ((((4,),),), "01 04"),
    "disable_sub_schedules": (((),), "00"),
    "create_groups": ((((9, 1), (8, 0)),), "02 09 01 08 00"),
    "delete_groups": ((((9,),),), "01 09"),
    # sequence, N, then delay, request
    "load_sequence": (("ab", ((5000, PING_OCTETS),)), f"02 6162 01 00001388 {PING} crc"),
    "activate_sequence": (("ab",), "02 6162"),
    # N, then APID, event, request
    "add_event_actions": ((((1, 80, PING_OCTETS),),), f"01 0001 0050 {PING} crc"),
    "enable_event_actions": ((((1, 80),),), "01 0001 0050"),
}

REPORTS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...], str]] = {
    "activities": ((), ((2, 9, TIME_NS, PING_OCTETS),), f"01 02 09 {TIME} {PING} crc"),
    "activity_summary": ((), ((2, 9, TIME_NS, 7, 1, 5),), f"01 02 09 {TIME} 0007 0001 0005"),
    "sub_schedule_status": ((), ((0, 1), (4, 0)), "02 00 01 04 00"),
    "group_status": ((), ((0, 1), (9, 0)), "02 00 01 09 00"),
    "sequence_status": ((), (("ab", 1, 2, 3),), "01 02 6162 01 02 03"),
    "sequence_content": (("ab",), ((5000, PING_OCTETS),), f"02 6162 01 00001388 {PING} crc"),
    "sequences_aborted": ((), (), "00"),
    "event_actions": ((), ((1, 80, 1),), "01 0001 0050 01"),
}

NUMBERS = {
    "enable_schedule": (11, 1), "disable_schedule": (11, 2), "reset_schedule": (11, 3), "insert_activities": (11, 4),
    "delete_activities": (11, 5), "delete_activities_by_filter": (11, 6), "shift_activities": (11, 7),
    "shift_activities_by_filter": (11, 8), "report_activities": (11, 9), "report_activities_by_filter": (11, 11),
    "summarise_activities": (11, 12), "summarise_activities_by_filter": (11, 14), "shift_schedule": (11, 15),
    "report_schedule": (11, 16), "summarise_schedule": (11, 17), "report_sub_schedules": (11, 18),
    "enable_sub_schedules": (11, 20), "disable_sub_schedules": (11, 21), "create_groups": (11, 22),
    "delete_groups": (11, 23), "enable_groups": (11, 24), "disable_groups": (11, 25), "report_groups": (11, 26),
    "load_sequence": (21, 1), "unload_sequence": (21, 3), "activate_sequence": (21, 4), "abort_sequence": (21, 5),
    "report_sequences": (21, 6), "report_sequence": (21, 11), "abort_all_sequences": (21, 13),
    "add_event_actions": (19, 1), "delete_event_actions": (19, 2), "delete_all_event_actions": (19, 3),
    "enable_event_actions": (19, 4), "disable_event_actions": (19, 5), "report_event_actions": (19, 6),
    "enable_event_action_function": (19, 8), "disable_event_action_function": (19, 9),
}  # fmt: skip


def octets(text: str) -> bytes:
    return bytes.fromhex(text.replace("crc", PING_OCTETS[-2:].hex()))


def test_the_ping_is_what_it_should_be() -> None:
    assert PING_OCTETS[:-2] == octets(PING)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_laid_out_as_the_standard_says(name: str) -> None:
    values, text = REQUESTS[name]
    layout = DICTIONARY.command(name).layout
    assert layout.encode(values) == octets(text)
    assert layout.decode(octets(text)) == values
    for cut in range(len(octets(text))):
        with pytest.raises(DecodeError):
            layout.decode(octets(text)[:cut])


class Sink:
    def __init__(self) -> None:
        self.sent: list[tuple[int, int, int, bytes]] = []

    def send(self, apid: int, service: int, subtype: int, data: bytes) -> None:
        self.sent.append((apid, service, subtype, data))


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_laid_out_as_the_standard_says(name: str) -> None:
    lead, rows, text = REPORTS[name]
    report = next(r for r in DICTIONARY.reports if r.name == name)
    sink: Any = Sink()
    list(RowReport(sink, report).send(rows, lead))
    assert sink.sent == [(1, report.service, report.subtype, octets(text))]
    assert report.layout.decode(octets(text)) == (*lead, rows)


def test_services_and_subtypes_are_those_of_the_standard() -> None:
    found = {c.name: (c.service, c.subtype) for c in DICTIONARY.commands if c.service in (11, 19, 21)}
    assert found == NUMBERS
    reports = {(r.service, r.subtype) for r in DICTIONARY.reports if r.service in (11, 19, 21)}
    assert reports == {(11, 10), (11, 13), (11, 19), (11, 27), (19, 7), (21, 7), (21, 12), (21, 14)}


def test_a_long_report_is_split_between_its_rows() -> None:
    report = next(r for r in DICTIONARY.reports if r.name == "group_status")
    sink: Any = Sink()
    list(RowReport(sink, report).send((i % 256, 1) for i in range(600)))
    parts: list[Any] = [report.layout.decode(data)[0] for _, _, _, data in sink.sent]
    assert [len(part) for part in parts] == [255, 255, 90]
    assert [row[0] for part in parts for row in part] == [i % 256 for i in range(600)]
