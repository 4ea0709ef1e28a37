"""Recorded downlink all at once: the same packets and values as the live path, whatever the form and the split."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from random import Random

import numpy as np
import pytest

from flight.catalogue import dictionary_of
from flight.cli import main
from flight.contract.dictionary import Dictionary, Structure
from flight.contract.fields import Field
from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.kernels import Verdict
from flight.link.link import Role
from flight.link.pus import PusTm
from flight.link.space_packet import SpacePacket
from flight.link.stack import FlightLink, LinkConfig
from flight.link.time_code import encode_cuc
from flight.mission import MISSIONS, load
from ground.telemetry.decoder import HOUSEKEEPING, Decoder
from ground.telemetry.recording import FRAMES, PACKETS, UNITS, Recording, all_tables, form_of
from tests.ground_dictionary import make
from tests.link_ends import BARE, unit_of

CONFIG = LinkConfig(coding="rs(255,223)")
TAI_NS = 2_152_000_000_000_000_000


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return dictionary_of(load(MISSIONS / "orbit.toml"))


def value_of(kind: str, source: Random) -> float | int | str:
    if kind == "str":
        return "text" * source.randrange(9)
    if kind == "time":
        return TAI_NS + source.randrange(1000) * NS
    if kind[0] == "f":
        return source.randrange(1000) / 8
    bits = int(kind[1:])
    return source.randrange(1 << bits) if kind[0] == "u" else source.randrange(-(1 << bits - 1), 1 << bits - 1)


def ticks(tai_ns: object) -> int:
    assert isinstance(tai_ns, int)
    return int.from_bytes(encode_cuc(tai_ns), "big")


def reports(dictionary: Dictionary, count: int) -> list[bytes]:
    """Housekeeping of every structure in turns, with an event-like packet and a bare one now and then."""
    source = Random(1)
    out = []
    for seq in range(count):
        structure = dictionary.structures[seq % len(dictionary.structures)]
        values = [value_of(one.type, source) for one in structure.fields]
        data = structure.sid.to_bytes(2, "big") + structure.layout.encode(values)
        out.append(PusTm(structure.apid, seq & 0x3FFF, 3, 25, data, TAI_NS + seq * 10**8).encode())
        if seq % 7 == 0:
            out.append(SpacePacket(3, seq & 0x3FFF, source.randbytes(40)).encode())
            out.append(PusTm(1, seq & 0x3FFF, 5, 1, source.randbytes(30), TAI_NS).encode())
    return out


def units_of(packets: list[bytes], config: LinkConfig) -> list[bytes]:
    link = FlightLink(config)
    units = []
    for packet in packets:
        assert link.queue(Role.REALTIME, packet)
        if link.backlog_octets(Role.REALTIME) > 4 * config.frame_octets:
            units.append(unit_of(link))
    while link.has_packets():
        units.append(unit_of(link))
    return units


def decoded(dictionary: Dictionary, packets: list[bytes]) -> dict[str, list[tuple[object, ...]]]:
    """What the live decoder makes of them, by structure."""
    decoder, rows = Decoder(dictionary), dict[str, list[tuple[object, ...]]]()
    for packet in packets:
        try:
            one = decoder.decode(packet)
        except DecodeError:
            continue
        if one.kind == HOUSEKEEPING:
            rows.setdefault(one.name, []).append(tuple(one.raw.values()))
    return rows


@pytest.mark.parametrize("form", [UNITS, FRAMES, PACKETS])
def test_every_form_gives_what_the_live_decoder_gives(dictionary: Dictionary, form: str) -> None:
    packets = reports(dictionary, 400)
    if form == PACKETS:
        stream, config = b"".join(packets), CONFIG
    else:
        config = CONFIG if form == UNITS else BARE
        stream = b"".join(units_of(packets, config))
    assert form_of(stream, CONFIG) == form
    source = Random(2)
    cuts = sorted(source.randrange(len(stream)) for _ in range(9))
    recording = Recording(config, form)
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    tables = all_tables(recording.batches(pieces), dictionary.structures)
    assert recording.packets == len(packets)
    assert recording.left_octets == 0
    want = decoded(dictionary, packets)
    assert {one.structure.name for one in tables} == set(want)
    for one in tables:
        (_, times), *columns = one.columns.items()
        rows = list(zip(*(column.tolist() for _, column in columns), strict=True))
        fixed = list(takewhile(lambda field: field.type not in ("str", "rows", "packet"), one.structure.fields))
        assert [name for name, _ in columns] == [field.name for field in fixed]
        assert rows == [
            tuple(ticks(value) if field.type == "time" else value for field, value in zip(fixed, row, strict=False))
            for row in want[one.structure.name]
        ]
        assert one.damaged == 0
        assert np.all(np.diff(times.astype(np.int64)) > 0)


def test_wrong_symbols_are_corrected_and_what_is_lost_is_told(dictionary: Dictionary) -> None:
    packets = reports(dictionary, 300)
    units = [bytearray(unit) for unit in units_of(packets, CONFIG)]
    source = Random(3)
    for unit in units:
        for codeword in range(5):
            for place in source.sample(range(4 + codeword, len(unit), 5), 3):
                unit[place] ^= 0x41
    for place in range(4, 4 + 40 * 5, 5):
        units[3][place] ^= 0xFF
    del units[6]
    recording = Recording(CONFIG, UNITS)
    batch = recording.feed(b"".join(map(bytes, units)))
    assert recording.decoder is not None
    assert recording.decoder.counters.codewords_uncorrectable == 1
    assert recording.extractor.verdicts[Verdict.MARKED] == 1
    assert recording.extractor.channels[0].missed == 2
    got = [bytes(batch.octets[a : a + n]) for a, n in zip(batch.offset.tolist(), batch.length.tolist(), strict=True)]
    rest = iter(packets)
    assert all(packet in rest for packet in got)
    assert len(packets) - 80 < len(got) < len(packets)


def test_reports_with_wrong_error_control_or_another_length_are_left_out(dictionary: Dictionary) -> None:
    structure = next(one for one in dictionary.structures if one.name == "power")
    good = [one for one in reports(dictionary, 200) if SpacePacket.decode(one).apid == structure.apid]
    power = [one for one in good if one[8] == 25 and int.from_bytes(one[19:21], "big") == structure.sid]
    assert len(power) > 3
    broken = bytearray(power[1])
    broken[25] ^= 1
    short = PusTm(structure.apid, 0, 3, 25, structure.sid.to_bytes(2, "big") + b"\1", TAI_NS).encode()
    long = PusTm(structure.apid, 0, 3, 25, PusTm.decode(power[0]).data + b"more", TAI_NS).encode()
    stream = power[0] + bytes(broken) + short + long + power[2]
    (table,) = all_tables([Recording(CONFIG, PACKETS).feed(stream)], [structure])
    assert (len(table), table.damaged) == (2, 3)


def test_of_all_values_of_error_control_the_right_one_is_taken(dictionary: Dictionary) -> None:
    structure = next(one for one in dictionary.structures if one.name == "power")
    good = next(one for one in reports(dictionary, 200) if one[8] == 25 and one[19:21] == structure.sid.to_bytes(2))
    stream = b"".join(good[:-2] + value.to_bytes(2, "big") for value in range(1 << 16))
    (table,) = all_tables([Recording(CONFIG, PACKETS).feed(stream)], [structure])
    assert (len(table), table.damaged) == (1, (1 << 16) - 1)


def test_only_damaged_reports_give_an_empty_table(dictionary: Dictionary) -> None:
    structure = next(one for one in dictionary.structures if one.name == "power")
    short = PusTm(structure.apid, 0, 3, 25, structure.sid.to_bytes(2, "big") + b"\1", TAI_NS).encode()
    (table,) = all_tables([Recording(CONFIG, PACKETS).feed(short)], [structure])
    assert (len(table), table.damaged) == (0, 1)
    # Beside sound ones of another stretch it changes no type.
    sound = next(one for one in reports(dictionary, 200) if one[8] == 25 and one[19:21] == short[19:21])
    recording = Recording(CONFIG, PACKETS)
    (table,) = all_tables(recording.batches([short, sound]), [structure])
    assert (len(table), table.damaged) == (1, 1)
    assert {name: one.dtype for name, one in table.columns.items()} == {
        name: one.dtype
        for name, one in all_tables(Recording(CONFIG, PACKETS).batches([sound]), [structure])[0].columns.items()
    }


def test_units_of_a_link_without_coding() -> None:
    with pytest.raises(ValueError, match="no units"):
        Recording(BARE, UNITS)


def test_what_follows_the_end_of_the_packets_is_counted_and_not_kept() -> None:
    recording = Recording(CONFIG, PACKETS)
    for _ in range(50):
        assert len(recording.feed(b"\xff" * 10_000)) == 0
        assert len(recording._rest) == 0  # noqa: SLF001 - a bound on what is kept
    assert recording.left_octets == 500_000


def test_the_form_is_seen_behind_wrong_bits_noise_and_slips(dictionary: Dictionary) -> None:
    packets = reports(dictionary, 200)
    frames = b"".join(units_of(packets, BARE))
    assert form_of(bytes((frames[0] ^ 1,)) + frames[1:], CONFIG) == FRAMES
    units = b"".join(units_of(packets, CONFIG))
    shifted = (int.from_bytes(units, "big") << 3).to_bytes(len(units) + 1, "big")
    inverted = bytes(octet ^ 0xFF for octet in units)
    noise = Random(6).randbytes(20_000)
    for stream in (shifted, inverted, noise + units):
        assert form_of(stream, CONFIG) == UNITS
    inner = LinkConfig(coding="rs(255,223)", convolutional=True)
    assert form_of(b"".join(packets), inner) == PACKETS
    assert form_of(b"".join(units_of(packets * 2, inner)), inner) == UNITS


def test_the_inner_code_gives_the_last_frame_too(dictionary: Dictionary) -> None:
    inner = LinkConfig(coding="rs(255,223)", convolutional=True)
    packets = reports(dictionary, 100)
    recording = Recording(inner, UNITS)
    assert sum(len(batch) for batch in recording.batches([b"".join(units_of(packets, inner))])) == len(packets)


def test_any_octets_are_a_recording(dictionary: Dictionary) -> None:
    source = Random(4)
    for form in (UNITS, FRAMES, PACKETS):
        recording = Recording(CONFIG, form)
        for _ in range(5):
            batch = recording.feed(source.randbytes(5000))
            all_tables([batch], dictionary.structures)


@pytest.fixture
def recorded(tmp_path: Path, dictionary: Dictionary) -> Path:
    path = tmp_path / "pass.cadu"
    path.write_bytes(b"\x55" * 11 + b"".join(units_of(reports(dictionary, 200), CONFIG)))
    return path


def test_the_command_writes_tables(recorded: Path, dictionary: Dictionary, capsys: pytest.CaptureFixture[str]) -> None:
    out = recorded.parent / "tables"
    assert main(["decode", str(recorded), "-o", str(out), "--json"]) == 0
    account = json.loads(capsys.readouterr().out)
    assert account["form"] == UNITS
    assert account["coding"]["codewords_uncorrectable"] == 0
    assert account["coding"]["skipped_bits"] == 88
    assert {one["name"] for one in account["structures"]} == {one.name for one in dictionary.structures}
    power = np.load(out / "power.npz")
    assert len(power["soc_frac"]) == len(power["packet.time"]) > 0
    assert main(["decode", str(recorded), "-o", str(out), "--csv"]) == 0
    assert "power" in capsys.readouterr().out
    lines = (out / "power.csv").read_text().splitlines()
    assert lines[0].startswith("utc,soc_frac,")
    assert len(lines) == 1 + len(power["soc_frac"])
    assert lines[1].startswith("2026-03-")


@pytest.mark.parametrize(
    ("arguments", "text", "code"),
    [
        (["/nowhere/file"], "cannot be read", 1),
        (["FILE", "--link", "x-band"], "no link 'x-band' in", 1),
        (["FILE", "--mission", str(MISSIONS / "bench.toml"), "--as", "units"], "--as frames or --as packets", 1),
        (["FILE", "--out", "/dev/null/x"], "cannot be written", 1),
        (["FILE", "--csv"], "name their folder with --out", 2),
    ],
)
def test_what_is_wrong_is_one_line(
    recorded: Path, arguments: list[str], text: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: object
    try:
        ended = main(["decode", *(str(recorded) if one == "FILE" else one for one in arguments)])
    except SystemExit as error:
        ended = error.code
    said = capsys.readouterr().err
    assert ended == code
    assert text in said
    assert "Traceback" not in said


def test_a_file_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no packets here, only words. " * 100)
    assert main(["decode", str(path)]) == 1
    assert "nothing of it could be decoded" in capsys.readouterr().out
    path.write_bytes(b"")
    assert main(["decode", str(path)]) == 1


@pytest.mark.parametrize(
    "names", [("../../up", "a/b"), ("x", "X/x"), ("[/red]", "[bold]"), ("\x1b[31m", "\n"), ("", ".")]
)
def test_structures_of_any_name_are_files_of_the_folder_and_nowhere_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, str]
) -> None:
    """The dictionary may be anybody's, and what it calls things is no path, no markup and no line."""
    columns = ("file", 'a,"b"', "allow_pickle")
    fields = tuple(Field(name, "u8") for name in columns)
    structures = tuple(Structure(1, sid, name, 1.0, fields) for sid, name in enumerate(names, 1))
    whole = replace(make(), structures=structures)
    document = tmp_path / "dictionary.json"
    document.write_text(json.dumps(whole.document()))
    data = [one.sid.to_bytes(2, "big") + bytes((1, 2, 3)) for one in structures]
    recorded = tmp_path / "packets.bin"
    recorded.write_bytes(b"".join(PusTm(1, i, 3, 25, one, TAI_NS).encode() for i, one in enumerate(data)))
    out = tmp_path / "deep" / "er" / "tables"
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    given = ["decode", str(recorded), "--as", "packets", "--dictionary", str(document), "-o", str(out)]
    assert main(given) == 0
    assert main([*given, "--csv"]) == 0
    assert "Traceback" not in capsys.readouterr().err
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert {path.parent for path in made} == {out} and len(made) == 4
    for path in made:
        if path.suffix == ".npz":
            table = np.load(path)
            assert [int(table[name][0]) for name in columns] == [1, 2, 3]
        else:
            head, row = csv.reader(path.read_text(encoding="utf-8").splitlines())
            assert head[1:] == list(columns) and row[1:] == ["1", "2", "3"]
