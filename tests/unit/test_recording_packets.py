"""Packets without any definition: counts per APID, times that a look can tell, and the packets as a file."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from pathlib import Path
from random import Random

import numpy as np
import pytest

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.core.utc.leap_seconds import BUILT_IN, LeapRow, LeapSeconds
from flight.core.utc.utc_time import mjd_of
from flight.kernels import split_packets
from flight.link.space_packet import SpacePacket
from flight.link.time.cds import Cds, Finer
from ground.recording.apid_counts import ApidCount, ApidCounts
from ground.recording.definition import DecodedBatch
from ground.recording.definition_set import DefinitionSet, NamedDefinition
from ground.recording.packet_batch import NO_CHANNEL, PacketBatch
from ground.recording.packet_file import write_packets
from ground.recording.table import Column, Table, TimeScale
from ground.whole_file import whole_file

UNIX_S = 1_774_000_000
DAY_S = 86_400
DAYS_1958_TO_1970 = BUILT_IN.tai_from_unix(0) // NS // DAY_S


def batch_of(octets: bytes, vcid: int = NO_CHANNEL) -> PacketBatch:
    found = split_packets(octets)
    columns = (np.asarray(one) for one in (found.offset, found.length, found.apid, found.seq, found.flags))
    offset, length, apid, seq, flags = columns
    return PacketBatch(octets, offset, length, apid, seq, flags, np.full(len(flags), vcid, np.uint8))


def cds(second: float, *, p_field: bool = False, micro: bool = True) -> bytes:
    ms, us = divmod(round((UNIX_S + second) % DAY_S * 1_000_000), 1000)
    day = (UNIX_S + int(second)) // DAY_S + DAYS_1958_TO_1970
    head = bytes([0x41 if micro else 0x40]) if p_field else b""
    return head + day.to_bytes(2, "big") + ms.to_bytes(4, "big") + (us.to_bytes(2, "big") if micro else b"")


def cuc(second: float, fraction_octets: int) -> bytes:
    tai_ns = BUILT_IN.tai_from_unix(round((UNIX_S + second) * NS))
    ticks = (tai_ns << 8 * fraction_octets) // NS
    return bytes([0x1C | fraction_octets]) + ticks.to_bytes(4 + fraction_octets, "big")


def packet(apid: int, seq: int, data: bytes, *, secondary: bool = True) -> bytes:
    raw = bytearray(SpacePacket(apid, seq % (1 << 14), data).encode())
    raw[0] = raw[0] & 0xF7 | (8 if secondary else 0)
    return bytes(raw)


def counts_of(*batches: PacketBatch) -> list[ApidCount]:
    counts = ApidCounts()
    for one in batches:
        counts.take(one, None, [])
    counts.finish()
    return list(counts)


def test_packets_are_counted_per_channel_and_apid() -> None:
    first = batch_of(packet(7, 0, b"abc") + packet(3, 0, b"0123456789") + packet(7, 1, b"abcd"), vcid=2)
    second = batch_of(packet(7, 2, b"a"), vcid=1)
    found = counts_of(first, second, batch_of(b""))
    assert [(one.vcid, one.apid, one.packets, one.octets) for one in found] == [
        (1, 7, 1, 7), (2, 3, 1, 16), (2, 7, 2, 9 + 10),
    ]  # fmt: skip
    assert [one.unknown for one in found] == [None] * 3
    assert [one.vcid for one in counts_of(batch_of(packet(7, 2, b"a")))] == [None]


def test_segments_and_telecommands_are_told() -> None:
    raw = bytearray(packet(5, 0, b"part"))
    raw[2] &= 0x3F
    command = bytearray(packet(5, 0, b"do it"))
    command[0] |= 0x10
    (one,) = counts_of(batch_of(bytes(raw + command) + packet(5, 1, b"all of it")))
    assert (one.packets, one.segments, one.telecommands) == (3, 1, 1)


@pytest.mark.parametrize(
    ("code", "source", "step_ns"),
    [
        (cds, "CDS, us", 1000),
        (lambda s: cds(s, micro=False), "CDS", 1_000_000),
        (lambda s: cds(s, p_field=True), "CDS with P-field, us", 1000),
        (lambda s: cds(s, p_field=True, micro=False), "CDS with P-field", 1_000_000),
        (lambda s: cuc(s, 2), "CUC with P-field", 15_300),
        (lambda s: cuc(s, 0), "CUC with P-field", NS),
        (lambda s: cuc(s, 3), "CUC with P-field", 100),
    ],
)
def test_times_of_secondary_headers_are_guessed(code: object, source: str, step_ns: int) -> None:
    assert callable(code)
    noise = Random(5)
    # Over midnight, and what follows the time is anything.
    seconds = [index * 977.125 for index in range(200)]
    packets = [packet(9, index, code(second) + noise.randbytes(20)) for index, second in enumerate(seconds)]
    (one,) = counts_of(batch_of(b"".join(packets[:90])), batch_of(b"".join(packets[90:])))
    assert one.time_from == f"guess: {source}"
    assert one.first_ns is not None and one.last_ns is not None
    assert 0 <= UNIX_S * NS - one.first_ns < step_ns + 1000
    assert abs((UNIX_S + seconds[-1]) * NS - one.last_ns) < step_ns + 1000


# A leap second that this software does not know: whoever sent the packets did.
LATER = BUILT_IN.extended((LeapRow(mjd_of(date(2028, 1, 1)), 38),), mjd_of(date(2028, 6, 28)))


@pytest.mark.parametrize("form", [Cds(), Cds(finer=Finer.MICROSECONDS)])
@pytest.mark.parametrize("p_field", [False, True])
@pytest.mark.parametrize(("begin_ms", "step_ms"), [(-50_000, 500), (-2_000, 999), (0, 7), (999, 1), (-50_000, 50_999)])
@pytest.mark.parametrize("table", [BUILT_IN, LATER])
def test_packets_within_a_leap_second_do_not_lose_the_time(
    form: Cds, p_field: bool, begin_ms: int, step_ms: int, table: LeapSeconds
) -> None:
    leap_ns = table.starts_tai_ns[-1] - NS
    times = [leap_ns + (begin_ms + step_ms * index) * 1_000_000 for index in range(100)]
    head = form.p_field if p_field else b""
    packets = [packet(9, i, head + form.encode_tai(tai_ns, table) + bytes(20)) for i, tai_ns in enumerate(times)]
    (one,) = counts_of(batch_of(b"".join(packets[:52])), batch_of(b"".join(packets[52:])))
    assert one.time_from.startswith("guess: CDS with P-field" if p_field else "guess: CDS")
    shown = [table.utc_at(tai_ns).unix_ns for tai_ns in times]  # a leap second has that of the second after it
    assert (one.first_ns, one.last_ns) == (min(shown), max(shown))


@pytest.mark.parametrize("ms", [86_401_000, 100_000_000])
def test_a_millisecond_that_no_day_has_is_not_a_time(ms: int) -> None:
    day = (UNIX_S // DAY_S + DAYS_1958_TO_1970).to_bytes(2, "big")
    packets = [packet(9, i, day + (1000 * i).to_bytes(4, "big") + b"\xff" * 20) for i in range(50)]
    assert counts_of(batch_of(b"".join(packets)))[0].time_from == "guess: CDS"
    packets.append(packet(9, 50, day + ms.to_bytes(4, "big") + b"\xff" * 20))
    assert counts_of(batch_of(b"".join(packets)))[0].time_from == ""


def test_no_time_is_made_up() -> None:
    noise = Random(6)
    runs = [
        [packet(9, index, noise.randbytes(30)) for index in range(500)],
        [packet(9, index, bytes(30)) for index in range(500)],
        [packet(9, index, cds(0) + bytes(20)) for index in range(500)],  # it never moves
        [packet(9, index, cds(-1000.0 * index) + bytes(20)) for index in range(500)],  # it runs back
        [packet(9, index, cds(index) + bytes(20), secondary=False) for index in range(500)],
        [packet(9, index, cds(index) + bytes(20)) for index in range(2)],  # too few to tell
        [packet(9, index, cds(index) + bytes(20)) for index in range(50)] + [packet(9, 50, b"\xff" * 28)],
        [packet(9, index, index.to_bytes(4, "big") + bytes(20)) for index in range(500)],
    ]
    for run in runs:
        (one,) = counts_of(batch_of(b"".join(run)))
        assert (one.first_ns, one.last_ns, one.time_from) == (None, None, "")


def test_a_definition_s_time_is_taken_before_any_guess() -> None:
    batch = batch_of(b"".join(packet(9, index, cds(index) + bytes(20)) for index in range(5)) + packet(9, 5, bytes(30)))
    time = Column(np.array([3, 1, 2], np.uint8), present=np.array([True, False, True]),
                  time=TimeScale(Fraction(1), 1000 * NS))  # fmt: skip
    table = Table("hk", {"mode": Column(np.arange(3)), "t": time}, np.array([0, 1, 3]))
    counts = ApidCounts()
    counts.take(batch, np.array([0, 0, 1, 0, 0, 1], bool), [table])
    counts.finish()
    (one,) = counts
    assert (one.first_ns, one.last_ns, one.time_from) == (1002 * NS, 1003 * NS, "t")
    assert (one.tables, one.unknown) == ({"hk": 3}, 2)


def test_a_packet_with_several_rows_is_one_packet() -> None:
    batch = batch_of(packet(1, 0, b"abcdef") + packet(2, 0, b"abcdef"))
    counts = ApidCounts()
    counts.take(batch, np.zeros(2, bool), [Table("inner", {"a": Column(np.arange(5))}, np.array([0, 0, 0, 1, 1]))])
    assert [one.tables for one in counts] == [{"inner": 1}, {"inner": 1}]


class ByApid:
    """Knows one APID; every packet is a row with its sequence count, and damaged if its data begin with 0xFF."""

    unsupported = ()

    def __init__(self, apid: int, name: str) -> None:
        self._apid, self._name = apid, name

    def decode(self, batch: PacketBatch) -> DecodedBatch:
        octets = np.frombuffer(batch.octets, np.uint8)
        own = batch.apid == self._apid
        bad = octets[(batch.offset + np.uint64(6)).astype(np.intp)] == 0xFF
        rows = np.flatnonzero(own & ~bad)
        if not own.any():
            return DecodedBatch([], ~own)
        damaged = int(np.count_nonzero(own & bad))
        column = Column(batch.seq[rows])
        return DecodedBatch([Table(self._name, {"seq": column}, rows, {"looks": damaged} if damaged else {})], ~own)


def test_what_one_definition_does_not_know_goes_to_the_next() -> None:
    batch = batch_of(b"".join(packet(1 + index % 3, index, b"data") for index in range(9)))
    both = DefinitionSet([NamedDefinition("a.xml", ByApid(1, "hk")), NamedDefinition("b.xml", ByApid(2, "hk"))])
    for _ in range(2):
        tables, unknown = both.decode(batch)
        assert [(one.name, one.rows.tolist(), one.columns["seq"].values.tolist()) for one in tables] == [
            ("hk", [0, 3, 6], [0, 3, 6]), ("hk of b.xml", [1, 4, 7], [1, 4, 7]),
        ]  # fmt: skip
        assert unknown is not None
        assert np.flatnonzero(unknown).tolist() == [2, 5, 8]
    assert both.rows == {"hk": 6, "hk of b.xml": 6}


def test_a_dictionary_on_trial_is_believed_for_its_checks() -> None:
    def tried(sound: int, damaged: int) -> tuple[int, bool]:
        data = [b"ok"] * sound + [b"\xff"] * damaged + [b"other"]
        apids = [1] * (sound + damaged) + [2]
        batch = batch_of(b"".join(packet(apid, 0, one) for apid, one in zip(apids, data, strict=True)))
        on_trial = DefinitionSet([], NamedDefinition("own", ByApid(1, "hk")))
        tables, unknown = on_trial.decode(batch)
        assert (unknown is None) == (not on_trial.used)
        return sum(len(one) for one in tables), bool(on_trial.used)

    assert tried(5, 0) == (5, True)
    assert tried(1, 200) == (1, True)
    assert tried(1, 300) == (0, False)  # so many come by chance
    assert tried(0, 5) == (0, False)


def test_without_any_definition_nothing_is_unknown() -> None:
    assert DefinitionSet([]).decode(batch_of(packet(1, 0, b"data"))) == ([], None)


def test_the_packets_as_a_file(tmp_path: Path) -> None:
    source = Random(3)
    packets = [packet(index % 5, index, source.randbytes(1 + source.randrange(200))) for index in range(300)]
    batch = batch_of(b"".join(packets))
    chosen = np.array([0, 1, 2, 10, 11, 250, 299])
    with whole_file(tmp_path / "all.packets") as stream:
        for one in (batch, batch.rows(np.arange(0)), batch.rows(chosen)):
            write_packets(stream, one)
        assert not (tmp_path / "all.packets").exists()
    assert (tmp_path / "all.packets").read_bytes() == b"".join(packets) + b"".join(packets[one] for one in chosen)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_packet_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    batch = batch_of(packet(1, 0, bytes(60_000)) * 3)

    def write(path: Path) -> None:
        with whole_file(path) as stream:
            write_packets(stream, batch)

    with pytest.raises(OrbitnodeError, match="/dev/full cannot be written: "):
        write(Path("/dev/full"))
    write(Path("/dev/null"))
    (tmp_path / "target").write_bytes(b"of before")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len((tmp_path / "target").read_bytes()) == 3 * 60_006
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "target"]
