"""Decoding by the dictionary document alone, and limit checks on what was decoded."""

from __future__ import annotations

import copy
import hashlib
import json
import math

import pytest

from flight.core.errors import DecodeError
from flight.dictionary import Dictionary
from flight.fields import Limits
from flight.link.pus import PusTc, PusTm
from flight.link.space_packet import SpacePacket, idle_packet
from ground.decoder import Decoder, event_text
from ground.limits import NORMAL, RED, YELLOW, LimitChecker, limit_state
from tests.ground_dictionary import make

T_NS = 2_152_000_000 * 10**9


def power(soc: float, *, time_ns: int = T_NS, mode: int = 2) -> bytes:
    layout = make().structures[0].layout
    return PusTm(1, 7, 3, 25, b"\x00\x01" + layout.encode([soc, 8.1, mode, -250]), time_ns).encode()


def test_housekeeping_has_raw_and_labelled_values():
    packet = Decoder(make()).decode(power(0.5))
    assert (packet.name, packet.kind, packet.apid, packet.seq) == ("power", "housekeeping", 1, 7)
    assert (packet.service, packet.subtype, packet.time_ns) == (3, 25, T_NS)
    assert packet.raw["mode"] == 2 and packet.values["mode"] == "nominal" and packet.values["battery"] == -250


def test_event_has_text_and_severity():
    packet = Decoder(make()).decode(PusTm(1, 0, 5, 2, b"\x00\x02\x01", T_NS).encode())
    assert (packet.name, packet.severity, packet.text) == ("mode_changed", "low", "mode idle")


def test_event_with_another_severity_is_refused():
    with pytest.raises(DecodeError, match=r"mode_changed as TM\[5,4\]"):
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
def test_every_kind_is_known_and_counted(octets, kind, name):
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
        (PusTm(1, 0, 3, 25, b"\x00", T_NS).encode(), "number takes 2"),
        (PusTm(1, 0, 3, 25, b"\x00\x01abc", T_NS).encode(), "power: 3 octets"),
        (PusTm(1, 0, 17, 2, b"x", T_NS).encode(), "pong: 1 octets"),
        (PusTc(1, 0, 17, 1, b"").encode(), "telecommand packet"),
    ],
)
def test_what_does_not_fit_is_a_decode_error(octets, match):
    decoder = Decoder(make())
    with pytest.raises(DecodeError, match=match):
        decoder.decode(octets)
    assert decoder.counters.malformed == 1


def test_document_unlike_the_installed_code_decodes_its_own_packets():
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


def test_template_that_does_not_fit_still_shows_the_values():
    assert event_text("a {b} {c:.0f}", {"b": 1, "c": "x"}) == "a {b} {c:.0f} [b=1, c=x]"
    assert event_text("{", {}) == "{"


def test_limits_report_transitions_only():
    decoder, checker = Decoder(make()), LimitChecker(make())
    states = []
    for second, soc in enumerate((0.9, 0.35, 0.3, 0.2, math.nan, 0.8)):
        states += [
            (a.previous, a.state) for a in checker.check(decoder.decode(power(soc, time_ns=T_NS + second * 10**9)))
        ]
    assert states == [(NORMAL, YELLOW), (YELLOW, RED), (RED, NORMAL)]
    assert checker.state("power.soc") == NORMAL


def test_played_back_packets_do_not_change_the_state():
    decoder, checker = Decoder(make()), LimitChecker(make())
    checker.check(decoder.decode(power(0.9, time_ns=T_NS)))
    assert checker.check(decoder.decode(power(0.1, time_ns=T_NS - 1))) == []


def test_alarm_says_what_is_outside():
    alarm = LimitChecker(make()).check(Decoder(make()).decode(power(0.3)))[0]
    assert alarm.text == "power.soc 0.3 frac is yellow: outside 0.4 .. 1 frac"


@pytest.mark.parametrize(("value", "state"), [(0.4, NORMAL), (0.39, YELLOW), (0.25, YELLOW), (0.24, RED), (2, RED)])
def test_intervals_are_closed(value, state):
    assert limit_state(value, Limits((0.4, 1.0), (0.25, 1.0))) == state
