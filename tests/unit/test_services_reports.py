"""Telemetry counts, events, verification flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.catalogue import dictionary_of
from flight.contract.dictionary import SEVERITIES, Dictionary
from flight.contract.failures import APP_CODES_FROM, Failure
from flight.contract.fields import Value
from flight.core.nanoseconds import NS
from flight.link.pus import PusTc, PusTm
from flight.mission import MISSIONS, load
from flight.services.commanding import verification as st01
from flight.services.commanding.verification import ACCEPTED, COMPLETED, STARTED, Verification
from flight.services.reporting.events import Events
from flight.services.reporting.telemetry import Telemetry

ORBIT: Dictionary = dictionary_of(load(MISSIONS / "orbit.toml"))


class Log:
    """What was logged, by level."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda text, **_: self.lines.append((level, text))


class Air:
    """Both ends of telemetry: a link that may be in contact, and the store behind it."""

    def __init__(self, *contact: bool) -> None:
        self.contact = list(contact) or [False]
        self.stored: list[bytes] = []
        self.sent: list[list[bytes]] = [[] for _ in self.contact]
        self.time_ns = 2_000_000_000 * NS

    def store(self, packet: bytes, heard: bool) -> bool:
        if not heard:
            self.stored.append(packet)
        return not heard

    def link(self, i: int) -> Any:
        air = self

        class Link:
            def send_realtime(self, packet: bytes) -> bool:
                if air.contact[i]:
                    air.sent[i].append(packet)
                return air.contact[i]

        return Link()

    def telemetry(self) -> Telemetry:
        telemetry = Telemetry(lambda: self.time_ns, self)
        telemetry.use([self.link(i) for i in range(len(self.contact))])
        return telemetry

    def packets(self) -> list[PusTm]:
        return [PusTm.decode(raw) for raw in self.stored]


def test_each_packet_goes_to_the_first_link_in_contact_or_to_the_store() -> None:
    air = Air(False, True, True)
    telemetry = air.telemetry()
    telemetry.send(1, 17, 2, b"")
    assert [len(one) for one in air.sent] == [0, 1, 0]
    air.contact = [False, False, False]
    telemetry.send(1, 17, 2, b"")
    assert (len(air.stored), telemetry.sent) == (1, 2)


def test_counts_run_by_apid_and_by_kind_and_wrap() -> None:
    air = Air()
    telemetry = air.telemetry()
    for _ in range(2):
        for apid, service, subtype in ((1, 3, 25), (1, 5, 1), (2, 5, 1)):
            telemetry.send(apid, service, subtype, b"x")
    assert [(p.apid, p.seq, p.counter) for p in air.packets()] == [
        (1, 0, 0), (1, 1, 0), (2, 0, 0), (1, 2, 1), (1, 3, 1), (2, 1, 1),
    ]  # fmt: skip
    telemetry._sequences[1] = 0x3FFF  # noqa: SLF001 - just before it goes round
    telemetry._counters[1, 3, 25] = 0xFFFF  # noqa: SLF001 - just before it goes round
    air.stored.clear()
    for _ in range(2):
        telemetry.send(1, 3, 25, b"x")
    assert [(p.seq, p.counter) for p in air.packets()] == [(0x3FFF, 0xFFFF), (0, 0)]


def events(air: Air, apid: int = 1) -> tuple[Events, Log]:
    log: Any = Log()
    return Events(apid, ORBIT.events, air.telemetry(), log), log


def test_an_event_is_a_packet_of_its_severity_a_count_and_a_line() -> None:
    air = Air()
    sink, log = events(air)
    sink.emit("boot", 2**32 - 1, "first boot", "abcd", 2**48 - 1)  # as far as the boot count goes
    sink.emit("product_refused", "f", 1, "no room")
    sink.emit("board_hot", 66.25, 55.0)
    sink.emit("battery_low", 0.5)
    sink.emit("power_mode", 2, 0, 2)
    assert [(p.service, p.subtype) for p in air.packets()] == [(5, 1), (5, 2), (5, 3), (5, 4), (5, 1)]
    assert sink.by_severity() == {"info": 2, "low": 1, "medium": 1, "high": 1}
    assert log.lines[0] == ("info", "boot 4294967295 after first boot, dictionary abcd")
    assert log.lines[2] == ("error", "board at 66.2 degC, limit 55.0")
    assert log.lines[4] == ("info", "power mode nominal to safe: battery low")
    with pytest.raises(KeyError):
        sink.emit("worker_failed")  # the app's, not ours


@given(st.sampled_from(ORBIT.events), st.data())
def test_every_event_takes_every_value_of_its_fields(event: Any, data: st.DataObject) -> None:
    air = Air()
    sink, _ = events(air, event.apid)
    values: list[Value] = []
    for one in event.fields:
        if one.type == "str":
            values.append(data.draw(st.text(st.characters(), max_size=300)))
        elif one.type == "time":
            values.append(data.draw(st.integers(0, 2**32 * NS - 1)))
        elif one.type[0] == "f":
            values.append(data.draw(st.floats(width=32)))
        elif one.type == "time":
            values.append(data.draw(st.integers(0, 2**32 * NS - 1)))
        else:
            bits = int(one.type[1:])
            low = 0 if one.type[0] == "u" else -(2 ** (bits - 1))
            values.append(data.draw(st.integers(low, low + 2**bits - 1)))
    sink.emit(event.name, *values)
    (packet,) = air.packets()
    assert packet.subtype == 1 + SEVERITIES.index(event.severity)
    assert int.from_bytes(packet.data[:2], "big") == event.number
    event.layout.decode(packet.data[2:])


@pytest.mark.parametrize("ack", range(16))
def test_successes_are_reported_as_the_flags_ask_and_failures_always(ack: int) -> None:
    air = Air()
    verification = Verification(1, air.telemetry())
    request = PusTc(1, 0x2345, 17, 1, b"", ack=ack)
    for stage in (ACCEPTED, STARTED, COMPLETED):
        verification.success(request, stage)
    asked = [stage for stage, flag in ((1, 1), (3, 2), (7, 8)) if ack & flag]
    assert [p.subtype for p in air.packets()] == asked
    assert all(p.data == bytes((0x18, 0x01, 0xE3, 0x45)) for p in air.packets())
    air.stored.clear()
    for stage in (ACCEPTED, STARTED, COMPLETED):
        verification.failure(request, stage, Failure.DEVICE, "x" * 300)
    assert [p.subtype for p in air.packets()] == [2, 4, 8]
    report = next(r for r in ORBIT.reports if (r.service, r.subtype) == (1, 8))
    assert report.layout.decode(air.packets()[2].data) == (0x1801, 0xE345, Failure.DEVICE, "x" * 255)
    assert verification.counts.total() == 6


def test_every_code_of_a_failure_is_in_the_dictionary_with_its_text() -> None:
    assert {code: text for code, text in ORBIT.failures.items() if code < APP_CODES_FROM} == {
        int(code): code.text for code in Failure
    }
    assert st01.NONE not in ORBIT.failures
