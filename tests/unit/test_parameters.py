"""Parameters one fact at a time, and the file of a table of them."""

from __future__ import annotations

import re
import struct
import zlib
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.contract.app import CommandRefused
from flight.contract.dictionary import Setting
from flight.contract.fields import FieldError
from flight.contract.parameter_table import ROWS_MAX, admit, decode_table, encode_table, schema
from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.services.settings.parameters import Parameters, declare
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from tests.serving import no_upload, serve

SETTINGS = (
    Setting(1, "low", "V", 2.0, 0.0, 9.0, "", below="high"),
    Setting(2, "high", "V", 5.0, 0.0, 9.0, ""),
    Setting(3, "count", "", 3.0, 0.0, 200.0, "", type="u8"),
)
LOOSE = (Setting(1, "low", "V", 2.0, 0.0, 9.0, ""), *SETTINGS[1:])


class Sink:
    """Events and telemetry packets as they were given."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.packets: list[bytes] = []

    def emit(self, name: str, *values: Any) -> None:
        self.events.append((name, *values))

    def send(self, _apid: int, service: int, subtype: int, data: bytes) -> None:
        assert (service, subtype) == (20, 2)
        self.packets.append(data)


class Board:
    """A vault on a disk, and parameters over it that are booted again with whatever settings."""

    def __init__(self, stored: dict[str, bytes] | None = None) -> None:
        self.disk, self.loop = Disk(Random(1)), VirtualLoop()
        self.vault = Vault(self.disk.boot(self.loop))
        if stored:
            self.vault.commit({f"parameter.{name}": octets for name, octets in stored.items()})

    def boot(self, settings: tuple[Setting, ...]) -> tuple[Parameters, Sink]:
        self.loop.run_until(self.loop.now_ns() + NS)
        self.vault = Vault(self.disk.boot(self.loop))
        sink: Any = Sink()
        return Parameters(1, settings, self.vault, sink, sink, no_upload), sink

    def change(self, durable: Any) -> None:
        self.vault.commit(durable.changes).add_callback(lambda _: durable.apply())
        self.loop.run_until(self.loop.now_ns() + NS)


def value(number: float) -> bytes:
    return struct.pack(">d", number)


def test_nothing_stored_is_nothing_to_say() -> None:
    made, sink = Board().boot(SETTINGS)
    assert [made.get(s.name) for s in SETTINGS] == [2.0, 5.0, 3.0] and sink.events == []


def test_a_boot_says_what_it_made_of_what_was_stored() -> None:
    stored = {"high": value(7.0), "gone": b"?", "count": value(2.5), "low": b"\0"}
    made, sink = Board(stored).boot(SETTINGS)
    assert [made.get(s.name) for s in SETTINGS] == [2.0, 7.0, 3.0]
    assert sink.events[0] == ("parameters_restored", 1, 1, 2)
    assert {e[1]: e[2] for e in sink.events[1:]} == {
        "count": "count: 2.5 is not a whole number",
        "low": "length 1, should be 8 octets",
    }


def test_values_of_other_software_are_there_again_when_it_is() -> None:
    board = Board({"low": value(8.0), "gone": value(1.0)})
    strict, sink = board.boot(SETTINGS)
    assert strict.get("low") == 2.0
    assert ("parameter_refused", "low", "low 8 is not below high 5") in sink.events
    loose, sink = board.boot((*LOOSE, Setting(9, "gone", "", 0.0, 0.0, 9.0, "")))
    assert (loose.get("low"), loose.get("gone")) == (8.0, 1.0)
    assert sink.events == [("parameters_restored", 2, 0, 0)]


def test_a_value_kept_aside_does_not_come_into_force_by_itself() -> None:
    board = Board({"low": value(8.0)})
    made, _ = board.boot(SETTINGS)
    board.change(made.set_rows(((2, 9.0),)))
    again, sink = board.boot(SETTINGS)
    assert (again.get("low"), again.get("high")) == (2.0, 9.0)
    assert sink.events == [("parameters_restored", 1, 0, 0)]


def test_a_value_kept_aside_may_be_set_anew() -> None:
    board = Board({"low": value(8.0)})
    made, _ = board.boot(SETTINGS)
    board.change(made.set_rows(((1, 8.0), (2, 9.0))))
    assert made.get("low") == 8.0
    with pytest.raises(CommandRefused, match="low: 8 should stay below high, which is 7"):
        made.set_rows(((2, 7.0),))


def test_a_change_is_checked_against_those_on_their_way_to_the_disk() -> None:
    board = Board()
    made, _ = board.boot(SETTINGS)
    board.vault.commit(made.set_rows(((1, 4.0),)).changes)
    with pytest.raises(CommandRefused, match="low: 4 should stay below high, which is 3"):
        made.set_rows(((2, 3.0),))
    assert made.get("low") == 2.0


def test_reports_of_many_parameters_are_several() -> None:
    many = tuple(Setting(n, f"p{n}", "", n, 0.0, 1000.0, "") for n in range(300))
    made, sink = Board().boot(many)
    made.report(())
    assert [data[0] for data in sink.packets] == [255, 45]
    made.report(((7,), (7,)))
    assert sink.packets[-1] == b"\2" + 2 * (b"\0\7" + value(7.0))


def test_no_more_than_eight_refused_values_are_told_one_by_one() -> None:
    settings = tuple(Setting(n, f"p{n:02}", "", 1.0, 0.0, 9.0, "") for n in range(12))
    _, sink = Board({f"p{n:02}": b"" for n in range(12)}).boot(settings)
    told = [("parameter_refused", f"p{n:02}", "length 0, should be 8 octets") for n in range(8)]
    assert sink.events == [("parameters_restored", 0, 0, 12), *told]


class Tables:
    """What the parameters serve: checks and handlers by command, the housekeeping of the structure."""

    def __init__(self, made: Parameters, files: dict[str, bytes]) -> None:
        self.check: dict[str, Any] = {}
        self.execute: dict[str, Any] = {}
        self.sample: Any = None
        tables: Any = self
        made._upload = files.__getitem__  # noqa: SLF001 - files that come up later
        serve(made, tables, tables)

    def handle(self, name: str, check: Any, execute: Any) -> None:
        self.check[name], self.execute[name] = check, execute

    def provide(self, structure: str, sample: Any) -> None:
        assert structure == "parameters"
        self.sample = sample


def test_a_command_is_checked_by_itself_before_and_with_all_values_when_its_turn_comes() -> None:
    board = Board()
    made, sink = board.boot(SETTINGS)
    tables = Tables(made, {"t": encode_table(SETTINGS, {"low": 6.0})})
    for name, argument in (
        ("report_parameters", ()), ("set_parameters", ((1, 6.0),)), ("reset_parameters", ()),
        ("load_parameter_table", "t"),
    ):  # fmt: skip
        assert tables.check[name](argument) is None and sink.packets == [], "a check does nothing"
    for name, argument in (("set_parameters", ((1, 6.0),)), ("load_parameter_table", "t")):
        with pytest.raises(CommandRefused, match="low: 6 should stay below high, which is 5"):
            tables.execute[name](argument)
    board.change(tables.execute["set_parameters"](((2, 8.0),)))
    board.change(tables.execute["load_parameter_table"]("t"))
    tables.execute["report_parameters"](((1,), (2,)))
    assert sink.packets == [b"\2\0\1" + value(6.0) + b"\0\2" + value(8.0)]
    with pytest.raises(CommandRefused, match="low: 6 should stay below high, which is 5"):
        tables.execute["reset_parameters"](((2,),))
    assert tables.execute["reset_parameters"](((1,), (3,))).changes == {"parameter.low": None}, "what is stored alone"
    assert tables.execute["reset_parameters"](()).changes == {"parameter.low": None, "parameter.high": None}


def test_the_structure_counts_what_is_stored_and_what_took_effect() -> None:
    """In force, unknown here, refused; and the commands since boot, in 32 bits."""
    board = Board({"high": value(7.0), "gone": value(1.0), "lost": value(1.0), "count": value(2.5), "low": value(8.0)})
    made, _ = board.boot(SETTINGS)
    tables = Tables(made, {})
    assert tuple(tables.sample().values()) == (0, 2, 3, 0), "low and high contradict each other"
    board.change(made.set_rows(((3, 4.0),)))
    assert tuple(tables.sample().values()) == (1, 2, 0, 1), "those of a contradiction are given up by the first change"
    board.change(made.set_rows(((1, 1.0), (2, 8.5))))
    assert tuple(tables.sample().values()) == (3, 2, 0, 2)
    board.change(made.reset(((1,),)))
    assert tuple(tables.sample().values()) == (2, 2, 0, 3)
    made._changes = 2**32 - 1  # noqa: SLF001 - just before it goes round
    assert tables.sample()["changes"] == 2**32 - 1
    board.change(made.reset(((1,),)))
    (structure,) = declare(1).structures
    assert structure.layout.encode(tuple(tables.sample().values()))[-4:] == bytes(4), "it goes round"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ((), "no parameter is named"),
        (((1, 1.0), (1, 1.0)), "low is given twice"),
        (((9, 1.0),), "no parameter 9"),
        (((3, 1.5),), "count: 1.5 is not a whole number"),
        (((3, float("nan")),), "count: nan is not a whole number"),
        (((1, float("inf")),), "low: inf is outside 0 .. 9 V"),
    ],
)
def test_rows_that_are_wrong_by_themselves(rows: Any, says: str) -> None:
    made, _ = Board().boot(SETTINGS)
    with pytest.raises(CommandRefused, match=says):
        made.check_rows(rows)


# The file of a table

NUMBERS = st.floats(0, 9)
TABLES = st.fixed_dictionaries({}, optional={"low": NUMBERS, "high": NUMBERS, "count": st.integers(0, 200).map(float)})


def agrees(values: dict[str, float]) -> bool:
    return not {"low", "high"} <= values.keys() or values["low"] < values["high"]


@given(TABLES.filter(agrees))
def test_a_table_is_what_it_was(values: dict[str, float]) -> None:
    assert decode_table(encode_table(SETTINGS, values), SETTINGS) == values


@given(TABLES.filter(agrees), st.data())
def test_a_table_with_any_bit_turned_is_refused(values: dict[str, float], data: st.DataObject) -> None:
    octets = bytearray(encode_table(SETTINGS, values))
    for at in data.draw(st.lists(st.integers(0, 8 * len(octets) - 1), min_size=1, max_size=3, unique=True)):
        octets[at // 8] ^= 0x80 >> at % 8
    with pytest.raises(DecodeError):
        decode_table(bytes(octets), SETTINGS)


@given(TABLES.filter(agrees), st.data())
def test_a_table_cut_short_is_refused(values: dict[str, float], data: st.DataObject) -> None:
    octets = encode_table(SETTINGS, values)
    with pytest.raises(DecodeError):
        decode_table(octets[: data.draw(st.integers(0, len(octets) - 1))], SETTINGS)


@given(st.binary(max_size=60), st.binary(max_size=60), st.booleans())
def test_any_octets_are_a_table_or_refused(head: bytes, rows: bytes, whole: bool) -> None:
    """Also those with a right head and a right checksum: rows of any content."""
    body = struct.pack(">4sB8sH", b"OPTB", 1, schema(SETTINGS), len(rows) // 10) + rows
    octets = body + zlib.crc32(body).to_bytes(4, "big") if whole else head
    try:
        values = decode_table(octets, SETTINGS)
    except DecodeError:
        return
    assert agrees(values)
    assert all(admit(s, values[s.name]) == values[s.name] for s in SETTINGS if s.name in values)


def remade(octets: bytes) -> bytes:
    return octets[:-4] + zlib.crc32(octets[:-4]).to_bytes(4, "big")


def test_a_table_for_other_software_says_so() -> None:
    octets = encode_table(SETTINGS, {"low": 1.0})
    other = (*SETTINGS[:2], Setting(3, "count", "", 3.0, 0.0, 200.0, "", type="u16"))
    with pytest.raises(DecodeError, match=r"for schema [0-9a-f]{16}, this software has"):
        decode_table(octets, other)
    assert decode_table(octets, LOOSE) == {"low": 1.0}  # bounds and rules may change
    with pytest.raises(DecodeError, match="format version 2, only version 1"):
        decode_table(remade(octets[:4] + b"\2" + octets[5:]), SETTINGS)
    with pytest.raises(DecodeError, match="low is given twice"):
        decode_table(remade(octets[:13] + b"\0\2" + octets[15:25] * 2 + bytes(4)), SETTINGS)
    with pytest.raises(DecodeError, match="low: 6 should stay below high, which is 5"):
        decode_table(encode_table(SETTINGS, {"low": 6.0, "high": 5.0}), SETTINGS)


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        (b"OPTC" + bytes(15), "not a parameter table: it begins with 4f505443, should begin with 4f505442"),
        (encode_table(SETTINGS, {"low": 5.0, "high": 5.0}), "table: low: 5 should stay below high, which is 5"),
        (encode_table(SETTINGS, {"low": 9.5}), "parameter table: low: 9.5 is outside 0 .. 9 V"),
        (encode_table(SETTINGS, {"low": 1.0})[:15] + b"\0\x09" + value(1.0) + bytes(4), "table: unknown parameter 9"),
        (encode_table(SETTINGS, {})[:-4] + b"\xff", "parameter table of 16 octets, shortest is 19"),
        (encode_table(SETTINGS, {})[:13] + b"\0\1" + bytes(4), "table of 1 rows in 19 octets, should be 29"),
    ],
)
def test_a_table_that_is_refused_says_why(octets: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=re.escape(says)):
        decode_table(remade(octets), SETTINGS)


def test_a_table_has_as_many_rows_as_its_count_can_tell() -> None:
    assert ROWS_MAX == 2**16 - 1
    settings = [Setting(n, f"p{n}", "", 0.0, 0.0, 9.0, "") for n in range(ROWS_MAX)]
    values = {one.name: 1.0 for one in settings}
    assert encode_table(settings, values)[13:15] == b"\xff\xff"


def test_a_small_type_holds_less_than_the_bounds_say() -> None:
    with pytest.raises(FieldError, match=r"outside 0 .. 255"):
        admit(Setting(1, "n", "", 0, -5, 1000, "", type="u8"), 256.0)
