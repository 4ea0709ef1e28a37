"""Decoding by the dictionary document alone, and limit checks on what was decoded."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import struct

import pytest

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Limits, Plain
from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.link.pus import PusTc, PusTm
from flight.link.space_packet import SpacePacket, idle_packet
from ground.telemetry.decoder import DEFINITION, DEFINITIONS_MAX, LEARNED_MAX, Decoder, DecoderCounters, event_text
from ground.telemetry.limits import NORMAL, RED, YELLOW, LimitChecker, limit_state
from tests.ground_dictionary import make

T_NS = 2_152_000_000 * NS


def power(soc: float, *, time_ns: int = T_NS, mode: int = 2) -> bytes:
    layout = make().structures[0].layout
    return PusTm(1, 7, 3, 25, b"\x00\x01" + layout.encode([soc, 8.1, mode, -250]), time_ns).encode()


def test_housekeeping_has_raw_and_labelled_values() -> None:
    packet = Decoder(make()).decode(power(0.5))
    assert (packet.name, packet.kind, packet.apid, packet.seq) == ("power", "housekeeping", 1, 7)
    assert (packet.service, packet.subtype, packet.time_ns) == (3, 25, T_NS)
    assert packet.raw["mode"] == 2 and packet.values["mode"] == "nominal" and packet.values["battery"] == -250


def test_event_has_text_and_severity() -> None:
    packet = Decoder(make()).decode(PusTm(1, 0, 5, 2, b"\x00\x02\x01", T_NS).encode())
    assert (packet.name, packet.severity, packet.text) == ("mode_changed", "low", "mode idle")


def test_event_with_another_severity_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"mode_changed came as TM\[5,4\]"):
        Decoder(make()).decode(PusTm(1, 0, 5, 4, b"\x00\x02\x01", T_NS).encode())


@pytest.mark.parametrize(
    ("octets", "kind", "name"),
    [
        (PusTm(1, 0, 17, 2, b"", T_NS).encode(), "report", "pong"),
        (PusTm(2, 0, 128, 6, b"\0\0\0\x01\x01\x02no", T_NS).encode(), "report", "job_status"),
        (PusTm(1, 0, 3, 25, b"\x00\x63abc", T_NS).encode(), "unknown", "tm-1-3-25-99"),
        (PusTm(1, 0, 5, 1, b"\x01\x00", T_NS).encode(), "unknown", "tm-1-5-1-256"),
        (PusTm(9, 0, 200, 1, b"", T_NS).encode(), "unknown", "tm-9-200-1"),
        (SpacePacket(3, 0, b"pdu").encode(), "pdu", "cfdp"),
        (SpacePacket(4, 0, b"x").encode(), "unknown", "apid-4"),
        (idle_packet(20), "idle", "idle"),
    ],
)
def test_every_kind_is_known_and_counted(octets: bytes, kind: str, name: str) -> None:
    decoder = Decoder(make())
    packet = decoder.decode(octets)
    assert (packet.kind, packet.name) == (kind, name)
    assert getattr(decoder.counters, kind) == 1


@pytest.mark.parametrize(
    ("octets", "match"),
    [
        (b"", "shortest"),
        (power(0.5)[:-1], "length field"),
        (power(0.5)[:-1] + b"\0", "error control"),
        (PusTm(1, 0, 3, 25, b"\x00", T_NS).encode(), "number alone takes 2"),
        (PusTm(1, 0, 3, 25, b"\x00\x01abc", T_NS).encode(), "power: 3 octets"),
        (PusTm(1, 0, 17, 2, b"x", T_NS).encode(), "pong: 1 octets"),
        (PusTc(1, 0, 17, 1, b"").encode(), "telecommand packet"),
    ],
)
def test_what_does_not_fit_is_a_decode_error(octets: bytes, match: str) -> None:
    decoder = Decoder(make())
    with pytest.raises(DecodeError, match=match):
        decoder.decode(octets)
    assert decoder.counters.malformed == 1


def test_document_unlike_the_installed_code_decodes_its_own_packets() -> None:
    document = copy.deepcopy(make().document())
    power_document = next(s for s in document["structures"] if s["name"] == "power")
    power_document.update(sid=77, name="power_v9")
    power_document["fields"] = [{"name": "charge", "type": "u16", "unit": "permille"}, {"name": "note", "type": "str"}]
    document["version"] = "9.0.0"
    del document["sha256"]
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    other = Dictionary.from_document(document | {"sha256": hashlib.sha256(canonical).hexdigest()})
    structure = next(s for s in other.structures if s.name == "power_v9")
    octets = PusTm(1, 0, 3, 25, b"\x00\x4d" + structure.layout.encode([870, "hi"]), T_NS).encode()
    assert dict(Decoder(other).decode(octets).values) == {"charge": 870, "note": "hi"}
    assert Decoder(make()).decode(octets).kind == "unknown"


def test_template_that_does_not_fit_still_shows_the_values() -> None:
    assert event_text("a {b} {c:.0f}", {"b": 1, "c": "x"}) == "a {b} {c:.0f} [b=1, c=x]"
    assert event_text("{", {}) == "{"


def test_limits_report_transitions_only() -> None:
    decoder, checker = Decoder(make()), LimitChecker()
    states = []
    for second, soc in enumerate((0.9, 0.35, 0.3, 0.2, math.nan, 0.8)):
        states += [(a.previous, a.state) for a in checker.check(decoder.decode(power(soc, time_ns=T_NS + second * NS)))]
    assert states == [(NORMAL, YELLOW), (YELLOW, RED), (RED, NORMAL)]
    assert checker.state("power.soc") == NORMAL


def test_played_back_packets_do_not_change_the_state() -> None:
    decoder, checker = Decoder(make()), LimitChecker()
    checker.check(decoder.decode(power(0.9, time_ns=T_NS)))
    assert checker.check(decoder.decode(power(0.1, time_ns=T_NS - 1)), live=False) == []
    (alarm,) = checker.check(decoder.decode(power(0.1, time_ns=T_NS - 1)))  # live: the on-board clock was set back
    assert (alarm.previous, alarm.state) == (NORMAL, RED)


def test_alarm_says_what_is_outside() -> None:
    alarm = LimitChecker().check(Decoder(make()).decode(power(0.3)))[0]
    assert alarm.text == "power.soc 0.3 frac is yellow: outside 0.4 .. 1 frac"


@pytest.mark.parametrize(("value", "state"), [(0.4, NORMAL), (0.39, YELLOW), (0.25, YELLOW), (0.24, RED), (2, RED)])
def test_intervals_are_closed(value: float, state: str) -> None:
    assert limit_state(value, Limits((0.4, 1.0), (0.25, 1.0))) == state


def definition(sid: int, *parameters: int, time_ns: int = T_NS) -> bytes:
    """TM[3,10] of a structure: parameters as structure id * 256 + index."""
    layout = next(r for r in make().reports if (r.service, r.subtype) == DEFINITION).layout
    return PusTm(1, 0, 3, 10, layout.encode((sid, 0, 5.0, tuple((n,) for n in parameters), 0)), time_ns).encode()


def defined(sid: int, data: bytes, *, time_ns: int = T_NS) -> bytes:
    return PusTm(1, 0, 3, 25, sid.to_bytes(2, "big") + data, time_ns).encode()


SOC, MODE, UPTIME = 256, 258, 512


def test_a_structure_defined_from_ground_is_learned_with_names_labels_and_limits() -> None:
    decoder, checker = Decoder(make()), LimitChecker()
    assert decoder.decode(defined(300, bytes(5))).kind == "unknown"
    shown = decoder.decode(definition(300, MODE, SOC))
    assert [v for k, v in shown.values.items() if k.endswith("hk_parameter")] == ["power.mode", "power.soc"]
    assert [v for k, v in shown.raw.items() if k.endswith("hk_parameter")] == [MODE, SOC]
    packet = decoder.decode(defined(300, struct.pack(">Bf", 2, 0.125)))
    assert (packet.name, packet.kind) == ("hk-300", "housekeeping")
    assert dict(packet.values) == {"power.mode": "nominal", "power.soc": 0.125}
    assert packet.fields["power.soc"].unit == "frac"
    (alarm,) = checker.check(packet)
    assert (alarm.parameter, alarm.state) == ("hk-300.power.soc", RED)


def test_a_report_is_read_by_the_definition_of_its_time_whatever_order_they_come_in() -> None:
    def read(at_s: float, data: bytes) -> dict[str, Plain]:
        packet = PusTm(1, 0, 3, 25, b"\x01\x2c" + data, T_NS + round(at_s * NS)).encode()
        return dict(decoder.decode(packet).values)

    decoder = Decoder(make())
    decoder.decode(definition(300, MODE, time_ns=T_NS + 2 * NS))
    assert read(0.5, b"\x01") == {"power.mode": "idle"}, "the first one after it, if there is none before"
    decoder.decode(definition(300, SOC, time_ns=T_NS + 1 * NS))
    decoder.decode(definition(300, UPTIME, time_ns=T_NS + 3 * NS))
    decoder.decode(definition(300, UPTIME, time_ns=T_NS + 4 * NS))
    for at_s, data, name in ((0.5, bytes(4), "power.soc"), (1.5, bytes(4), "power.soc"), (2.0, b"\0", "power.mode"),
                             (2.5, b"\0", "power.mode"), (3.5, bytes(8), "health.uptime"),
                             (9.0, bytes(8), "health.uptime")):  # fmt: skip
        assert list(read(at_s, data)) == [name]
    assert decoder.learned == 3


def test_definitions_of_one_structure_are_bounded() -> None:
    decoder = Decoder(make())
    for number in range(DEFINITIONS_MAX + 1):
        decoder.decode(definition(300, (MODE, SOC)[number % 2], time_ns=T_NS + number * NS))
    assert decoder.decode(PusTm(1, 0, 3, 25, b"\x01\x2c" + bytes(4), T_NS).encode()).raw == {"power.soc": 0.0}


def test_a_definition_changes_nothing_of_the_dictionary_and_is_bounded() -> None:
    decoder = Decoder(make())
    decoder.decode(definition(1, UPTIME))
    assert decoder.decode(power(0.5)).raw["mode"] == 2
    decoder.decode(definition(300, 9 * 256))
    assert decoder.counters.definitions_refused == 1
    for sid in range(1000, 1000 + LEARNED_MAX + 1):
        decoder.decode(definition(sid, MODE))
    assert decoder.counters.definitions_refused == 2
    assert decoder.decode(defined(1000 + LEARNED_MAX, b"\0")).kind == "unknown"
    assert decoder.decode(defined(1000, b"\0")).kind == "housekeeping"


def test_what_an_archive_has_is_learned_without_being_counted() -> None:
    decoder = Decoder(make())
    for octets in (definition(300, SOC), b"", definition(300, SOC)[:-1] + b"\0"):
        decoder.recall(octets)
    assert decoder.counters == DecoderCounters()
    assert decoder.decode(defined(300, bytes(4))).name == "hk-300"


def test_rows_are_shown_row_by_row_and_times_as_nanoseconds() -> None:
    structure = next(s for s in make().structures if s.name == "plan")
    data = structure.layout.encode((2, T_NS, ((7, "a"), (8, "b")), 3))
    packet = Decoder(make()).decode(defined(structure.sid, data))
    assert dict(packet.raw) == {
        "entries": 2, "next": T_NS, "groups[0].group": 7, "groups[0].name": "a", "groups[1].group": 8,
        "groups[1].name": "b", "left": 3,
    }  # fmt: skip
    assert packet.fields["groups[1].name"].type == "str"
    assert LimitChecker().check(packet) == []
