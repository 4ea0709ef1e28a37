"""A recording of our own node as a whole: the same packets and values as the live path, whatever the form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from flight.catalogue import dictionary_of
from flight.contract.dictionary import Dictionary
from flight.core.errors import DecodeError, OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.aos_stack import AosConfig
from flight.link.pus import PusTm
from flight.link.space_packet import SpacePacket
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import MISSIONS, load
from ground.recording import LinkOptions, WholeRecording, decode, open_recording
from ground.recording.input_files import STRETCH_OCTETS
from ground.recording.streams.link_options import Form
from ground.telemetry.decoder import HOUSEKEEPING, Decoder
from tests.recordings import TAI_NS, recorded_units, reports

CONFIG = LinkConfig(coding="rs(255,223)", downlink_security="authenticated")  # as MISSION has it
MISSION = MISSIONS / "orbit.toml"


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return dictionary_of(load(MISSION))


def live(dictionary: Dictionary, packets: list[bytes]) -> dict[str, list[dict[str, object]]]:
    """What the live decoder makes of them, by structure."""
    decoder, rows = Decoder(dictionary), dict[str, list[dict[str, object]]]()
    for packet in packets:
        try:
            one = decoder.decode(packet)
        except DecodeError:
            continue
        if one.kind == HOUSEKEEPING:
            rows.setdefault(one.name, []).append(dict(one.raw))
    return rows


def stored(folder: Path, octets: bytes) -> Path:
    path = folder / "recorded"
    path.write_bytes(octets)
    return path


def assert_like_live(found: WholeRecording, dictionary: Dictionary, packets: list[bytes]) -> None:
    want = live(dictionary, packets)
    names = {one.name for one in dictionary.structures}
    assert {name for name in found.tables if name in names} == set(want)
    for structure in dictionary.structures:
        table, rows = found.tables[structure.name], want[structure.name]
        for field in structure.fields:
            if field.type in ("rows", "packet", "time"):
                continue
            assert table[field.name].tolist() == [row[field.name] for row in rows], (structure.name, field.name)
        assert (np.diff(table["packet.time"]) > np.timedelta64(0)).all()


@pytest.mark.parametrize("form", list(Form)[:3])
def test_every_form_gives_what_the_live_decoder_gives(tmp_path: Path, dictionary: Dictionary, form: Form) -> None:
    packets = reports(dictionary, 400)
    if form is Form.PACKETS:
        octets = b"".join(packets)
    else:
        octets = b"".join(recorded_units(packets, CONFIG if form is Form.UNITS else replace(CONFIG, coding="frame")))
    path = stored(tmp_path, octets)
    for known in ({"mission": MISSION}, {"tries_default": True}):
        found = decode(path, **known)
        assert found.account["form"] == form
        assert found.account["packets"] == len(packets)
        assert sum(found.account["classes"].values()) == found.account["octets"] == len(octets)
        assert_like_live(found, dictionary, packets)


def test_aos_gives_what_the_live_decoder_gives(tmp_path: Path, dictionary: Dictionary) -> None:
    packets = reports(dictionary, 400)
    octets = b"".join(recorded_units(packets, AosConfig()))
    found = decode(stored(tmp_path, octets), tries_default=True)
    assert_like_live(found, dictionary, packets)
    assert found.account["link"]["service"] == "aos"


def test_wrong_symbols_are_corrected_and_what_is_lost_is_told(tmp_path: Path, dictionary: Dictionary) -> None:
    packets = reports(dictionary, 300)
    units = [bytearray(unit) for unit in recorded_units(packets, CONFIG)]
    source = Random(3)
    for unit in units:
        for codeword in range(5):
            for place in source.sample(range(4 + codeword, len(unit), 5), 3):
                unit[place] ^= 0x41
    for place in range(4, 4 + 40 * 5, 5):
        units[3][place] ^= 0xFF
    del units[6]
    found = decode(stored(tmp_path, b"".join(map(bytes, units))), tries_default=True)
    account = found.account
    assert account["coding"]["codewords_uncorrectable"] == 1
    assert account["frames"]["uncorrectable"] == 1
    assert account["channels"]["0"]["missed"] == 2
    assert not account["complete"]
    assert "2 frames missing by frame count" in account["losses"]
    assert len(packets) - 80 < account["packets"] < len(packets)


def power_reports(dictionary: Dictionary) -> list[bytes]:
    structure = next(one for one in dictionary.structures if one.name == "power")
    number = structure.sid.to_bytes(2, "big")
    return [one for one in reports(dictionary, 200) if (one[7], one[8], one[19:21]) == (3, 25, number)]


def test_reports_with_wrong_error_control_or_another_length_are_left_out(
    tmp_path: Path, dictionary: Dictionary
) -> None:
    power = power_reports(dictionary)
    number = power[0][19:21]
    apid = SpacePacket.decode(power[0]).apid
    broken = bytearray(power[1])
    broken[25] ^= 1
    short = PusTm(apid, 2, 3, 25, number + b"\1", TAI_NS).encode()
    long = PusTm(apid, 3, 3, 25, PusTm.decode(power[0]).data + b"more", TAI_NS).encode()
    octets = power[0] + bytes(broken) + short + long + power[2]
    found = decode(stored(tmp_path, octets), mission=MISSION, link=LinkOptions(form=Form.PACKETS))
    (table,) = (one for one in found.account["tables"] if one["name"] == "power")
    assert (table["rows"], sum(table["damaged"].values())) == (2, 3)
    assert len(found.tables["power"]["soc_frac"]) == 2
    assert len([line for line in found.account["losses"] if " of power damaged" in line]) == 2


def test_of_all_values_of_error_control_the_right_one_is_taken(tmp_path: Path, dictionary: Dictionary) -> None:
    good = power_reports(dictionary)[0]
    octets = b"".join(good[:-2] + value.to_bytes(2, "big") for value in range(1 << 16))
    found = decode(stored(tmp_path, octets), mission=MISSION, link=LinkOptions(form=Form.PACKETS))
    (table,) = found.account["tables"]
    assert (table["rows"], sum(table["damaged"].values())) == (1, (1 << 16) - 1)


def test_only_damaged_reports_give_an_empty_table(tmp_path: Path, dictionary: Dictionary) -> None:
    good = power_reports(dictionary)[0]
    bad = good[:-2] + bytes((good[-2] ^ 1, good[-1]))
    found = decode(stored(tmp_path, bad * 3), mission=MISSION, link=LinkOptions(form=Form.PACKETS))
    assert len(found.tables["power"]["soc_frac"]) == 0
    whole = decode(stored(tmp_path, bad + good), mission=MISSION, link=LinkOptions(form=Form.PACKETS))
    assert found.tables["power"]["soc_frac"].dtype == whole.tables["power"]["soc_frac"].dtype


def test_any_octets_are_a_recording(tmp_path: Path) -> None:
    source = Random(4)
    for form in Form:
        link = LinkOptions.from_config(CONFIG, form)
        found = decode(stored(tmp_path, source.randbytes(25_000)), link=link, mission=MISSION)
        assert sum(found.account["classes"].values()) == found.account["octets"] == 25_000
        assert not found.account["complete"]


def test_a_recording_comes_in_batches(tmp_path: Path, dictionary: Dictionary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ground.recording.input_files.STRETCH_OCTETS", 10_000)
    packets = reports(dictionary, 400)
    path = stored(tmp_path, b"".join(recorded_units(packets, CONFIG)))
    recording = open_recording(path, mission=MISSION)
    counts = [(len(batch.packets), sum(len(one) for one in batch.tables)) for batch in recording]
    assert sum(packets for packets, _ in counts) == len(packets)
    assert sum(1 for packets, _ in counts if packets) > 3
    whole = decode(path, mission=MISSION)
    assert recording.account == whole.account


def test_files_are_read_as_one(tmp_path: Path, dictionary: Dictionary) -> None:
    octets = b"".join(reports(dictionary, 100))
    paths = []
    for number, (start, end) in enumerate([(0, 1001), (1001, 1001), (1001, 5000), (5000, len(octets))]):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(octets[start:end])
    found = decode([str(path) for path in paths], mission=MISSION)
    assert found.account["files"] == [str(path) for path in paths]
    assert found.account["packets"] == decode(stored(tmp_path, octets), mission=MISSION).account["packets"]


def test_columns_as_a_notebook_has_them(tmp_path: Path, dictionary: Dictionary) -> None:
    packets = reports(dictionary, 400)
    found = decode(stored(tmp_path, b"".join(packets)), mission=MISSION)
    table = found.tables["power"]
    assert table["packet.time"].dtype == np.dtype("datetime64[ns]")
    enumerated = [
        (name, field) for name, one in found.tables.items() for field, column in one.columns.items() if column.labels
    ]
    name, field = enumerated[0]
    labels = found.tables[name].labels(field)
    numbers = found.tables[name][field]
    assert [found.tables[name].columns[field].labels.get(number, "") for number in numbers.tolist()] == labels.tolist()
    texts = [one[field] for one in found.tables.values() for field in one if one[field].dtype == object]
    assert texts
    assert isinstance(texts[0][0], str | bytes | np.ndarray)


def numbered(apids: list[int]) -> list[bytes]:
    """Packets of these APIDs, each counting by itself."""
    source, counts = Random(7), dict[int, int]()
    packets = []
    for apid in apids:
        counts[apid] = counts.get(apid, -1) + 1
        packets.append(SpacePacket(apid, counts[apid], source.randbytes(5 + source.randrange(60))).encode())
    return packets


@pytest.mark.parametrize("apids", [1, 7, 9, 40, 200])
def test_however_many_apids_take_turns(tmp_path: Path, apids: int) -> None:
    chosen = Random(apids).sample(range(2000), apids)
    turns = [chosen[index % apids] for index in range(2000)]
    for order in (turns, Random(1).choices(chosen, k=2000)):
        packets = numbered(order)
        found = decode(stored(tmp_path, b"".join(packets)))
        assert found.account["losses"] == []
        assert found.account["packets"] == len(packets)


@pytest.mark.parametrize("place", [0, 100, 500])
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_a_new_apid_may_come_in_a_row_and_only_once(tmp_path: Path, place: int, count: int) -> None:
    packets = numbered([100] * place + [101] * count + [100] * (500 - place))
    found = decode(stored(tmp_path, b"".join(packets)))
    assert found.account["losses"] == []
    assert {one.apid: one.packets for one in found.apids} == {100: 500, 101: count}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mission": "/nowhere.toml"}, "nowhere.toml"),
        ({"mission": MISSION, "link_name": "x-band"}, "no link 'x-band' in"),
        ({"definition": "/nowhere.xml"}, "nowhere.xml"),
        ({"link": LinkOptions(frame_octets=3)}, "frame_octets is 3"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, options: dict[str, object], text: str) -> None:
    with pytest.raises(OrbitnodeError, match=text):
        decode(stored(tmp_path, bytes(100)), **options)


@pytest.mark.parametrize(
    "said",
    [
        LinkOptions(frame_octets=892),
        LinkOptions(interleave=4),
        LinkOptions(randomizer="none"),
        LinkOptions(coding="none"),
        LinkOptions(form=Form.PACKETS),
        LinkOptions(has_fecf=False),
    ],
)
def test_what_was_said_is_never_put_right_in_silence(tmp_path: Path, dictionary: Dictionary, said: LinkOptions) -> None:
    """None of it is true of this recording: nothing fits, or it is read as it was said and shows losses."""
    path = stored(tmp_path, b"".join(recorded_units(reports(dictionary, 200), CONFIG)))
    assert decode(path).account["losses"] == []
    found = decode(path, link=said)
    assert not found.account["complete"]
    assert found.account["link"].items() >= said.stated().items()


def test_a_mission_does_not_rule_out_packets_but_an_option_does(tmp_path: Path, dictionary: Dictionary) -> None:
    path = stored(tmp_path, b"".join(reports(dictionary, 200)))
    assert decode(path, mission=MISSION).account["form"] == "packets"
    found = decode(path, mission=MISSION, link=LinkOptions(frame_octets=500))
    assert found.account["packets"] == 0
    assert found.account["found"][0].startswith("not recognised: no frames fit --mission --frame-octets 500; without")


def test_why_nothing_fits_is_told_of_the_beginning(tmp_path: Path, dictionary: Dictionary) -> None:
    """Detection looks at several stretches of 4 MiB; a later one does not begin with a frame, nor like a gzip file."""
    frames = b"".join(recorded_units(reports(dictionary, 200), LinkConfig(coding="frame")))
    path = stored(tmp_path, frames * (2 * STRETCH_OCTETS // len(frames)))
    (line,) = decode(path, link=LinkOptions(form=Form.UNITS)).account["found"]
    assert "no units fit --as units; without it: transfer frames of 1,115 octets; " in line
    noise = Random(1).randbytes(STRETCH_OCTETS)
    assert decode(stored(tmp_path, b"\x1f\x8b" + noise)).account["found"] == [
        "not recognised: it begins like a gzip file"
    ]
    (line,) = decode(stored(tmp_path, bytes(STRETCH_OCTETS) + noise[:9000])).account["found"]
    assert "no check confirms" in line


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(OrbitnodeError, match="/nowhere/file cannot be read: No such file or directory"):
        decode("/nowhere/file")


def test_time_starts_when_the_packets_do(tmp_path: Path, dictionary: Dictionary) -> None:
    found = decode(stored(tmp_path, b"".join(reports(dictionary, 50))), mission=MISSION)
    (node,) = (one for one in found.account["apids"] if one["apid"] == 1)
    assert node["first"].startswith("2026-03-")
    assert node["time_from"] == "packet.time"
    assert TAI_NS % NS == 0
