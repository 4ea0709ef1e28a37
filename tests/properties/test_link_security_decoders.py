"""Any octets into any decoder of link security: a value, or its own kind of refusal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.core.errors import DecodeError
from flight.link.security.associations import End
from flight.link.security.link_security import REASONS, SecurityError
from flight.link.security.management import REFUSALS, Executed, Management, ProcedureRefused
from flight.link.security.procedures import Pdu, Procedure, ids_value
from flight.link.security.record import Record
from flight.link.security.report import FrameSecurityReport
from tests.security_ends import HEADER, SecurityEnd, keys_of, pair


def outcome(call: Callable[[], object]) -> str | None:
    """The reason of a refusal, None if there was none."""
    try:
        call()
    except (SecurityError, ProcedureRefused) as refusal:
        return refusal.reason
    return None


@given(st.binary(max_size=8))
def test_any_octets_as_a_report(raw: bytes) -> None:
    try:
        assert FrameSecurityReport.decode(raw).encode() == raw
    except DecodeError:
        pass


@given(st.integers(0, 2**32 - 1))
def test_any_word_is_a_report_that_comes_back_or_none(word: int) -> None:
    raw = word.to_bytes(4, "big")
    if word >> 28 == 0b1100:
        assert FrameSecurityReport.decode(raw).encode() == raw
    else:
        with pytest.raises(DecodeError):
            FrameSecurityReport.decode(raw)


@st.composite
def altered_records(draw: st.DrawFn) -> bytes:
    """A record with some octets put in, taken out or changed; or any octets."""
    _, node = pair()
    octets = bytearray(node.kept or b"")
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(octets)))
        octets[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return draw(st.one_of(st.just(bytes(octets)), st.binary(max_size=300)))


@given(altered_records(), st.sampled_from(End), st.sampled_from([0, 1 << 40]))
def test_any_octets_as_a_record(raw: bytes, end: End, clock_number: int) -> None:
    try:
        assert Record.decode(raw).encode() == raw
    except DecodeError:
        pass
    other = SecurityEnd(End.GROUND if end is End.NODE else End.NODE)
    one = SecurityEnd(end)
    one.kept = raw
    one.boot(clock_number=clock_number)
    one.settle()
    one.send()
    other.settle()
    body = other.send()
    assert body is not None
    assert outcome(lambda: one.take(body)) in (None, *REASONS)


@given(st.binary(max_size=80), st.binary(max_size=6), st.sampled_from([b"", b"\x00\x01", b"\x00\x03", b"\x00\x05"]))
def test_any_octets_as_a_frame(raw: bytes, header: bytes, spi: bytes) -> None:
    for end in pair():
        before = end.security.state.record()
        assert outcome(partial(end.security.check, 0, header, spi + raw)) in {*REASONS}
        assert end.security.state.record() == before


IDS = st.lists(st.integers(0, 6), max_size=4).map(ids_value)
PDUS = st.builds(
    lambda procedure, value: Pdu(procedure, value).encode(),
    st.sampled_from(Procedure),
    st.one_of(st.binary(max_size=60), IDS),
)


@given(st.lists(st.one_of(st.binary(max_size=40), PDUS), max_size=12), st.sampled_from(End))
def test_any_octets_as_procedures_never_lock_out(raws: list[bytes], end: End) -> None:
    ground, node = pair()
    body = ground.send()
    assert body is not None
    node.take(body)
    one = node if end is End.NODE else ground
    management = Management(one.security)
    done: list[Executed] = []

    def execute(raw: bytes) -> None:
        done.append(management.execute(raw))

    for raw in raws:
        try:
            assert Pdu.decode(raw).encode() == raw
        except DecodeError:
            pass
        done.clear()
        assert outcome(partial(execute, raw)) in (None, *REFUSALS)
        for executed in done:
            assert not executed.reply or Pdu.decode(executed.reply).reply
            one.settle(executed.store)
    if end is End.NODE:
        node.boot()
        node.settle()
        read = Pdu.decode(Management(node.security).execute(Pdu(Procedure.READ_ARSN, b"\x00\x01").encode()).reply)
        ground.security.advance(1, int.from_bytes(read.value[2:], "big") + 1)
        body = ground.send()
        assert body is not None and node.take(body) == b"data"
        down = node.send()
        assert down is not None and down[:2] in (b"\x00\x03", b"\x00\x04")


def test_the_header_is_part_of_what_is_checked() -> None:
    ground, node = pair()
    body = ground.send()
    assert body is not None
    for header in (HEADER + b"x", HEADER[:-1], b""):
        with pytest.raises(SecurityError):
            node.security.check(0, header, body)


def test_the_keys_of_a_seed_are_the_same_keys() -> None:
    assert keys_of(seed=4) == keys_of(seed=4) != keys_of(seed=5)
