"""The configuration of a Yamcs: what of the mission stands in it, what is refused, and whose files are replaced."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from flight.catalogue import dictionary_of
from flight.contract.dictionary import EventDefinition
from flight.contract.fields import Field
from flight.core.errors import OrbitnodeError, SetupError
from flight.mission import MISSIONS, Mission, load
from ground.config import GroundConfig
from ground.yamcs.configuration import instance_files
from ground.yamcs.event_templates import event_templates
from ground.yamcs.folder import LIST, write_instance
from ground.yamcs.instance import yamcs_instance
from ground.yamcs.plain_folder import PlainFolder
from tests.command_line import command_line
from tests.ground_dictionary import make
from tests.yamcs.file_cases import PAGE, ROWS, page

LINK = """
[[link]]
name = "lab"
driver = "udp:10.0.0.7:21015:21018"
coding = "frame"
uplink_security = "clear"
"""


def mission(folder: Path, more: str, extends: str = "bench.toml") -> Mission:
    path = folder / "mission.toml"
    path.write_text(f'extends = "{(MISSIONS / extends).as_posix()}"\n{more}', encoding="utf-8")
    return load(path, {"ground": GroundConfig}, opens_devices=False)


def files_of(folder: Path, more: str) -> dict[str, str]:
    return dict(instance_files(yamcs_instance(mission(folder, more))))


def test_numbers_are_those_of_the_mission(tmp_path: Path) -> None:
    more = f"""{LINK}
fop_window = 4
t1_s = 1.5
light_time_s = 0.9
transmission_limit = 6
tc_randomizer = true
vc_realtime = 5
[node]
name = "lab"
spacecraft_id = 0x123
frame_octets = 892
file_apid = 9
[cfdp]
entity = 77
ground_entity = 78
[ground]
command_timeout_s = 44.0
"""
    files = files_of(tmp_path, more)
    assert set(files) == {"etc/yamcs.yaml", "etc/yamcs.lab.yaml", "etc/processor.yaml", "etc/events.yaml",
                          "etc/frames.sql", "mdb/lab.xml"}  # fmt: skip
    text = files["etc/yamcs.lab.yaml"]
    for line in ("port: 21015", 'host: "10.0.0.7"', "port: 21018", "spacecraftId: 0x123", "frameLength: 892", "vcId: 5",
                 "slidingWindowWidth: 4", "cop1T1: 4", "cop1TxLimit: 6", "randomizeCltu: true", 'file: "mdb/lab.xml"',
                 "sleepBetweenPdus: 308", "eofAckLimit: 1200",
                 "{name: ground, id: 78}", "{name: node, id: 77}", 'rootContainer: "/lab/CCSDSPacket"'):  # fmt: skip
        assert line in text, line
    assert text.count("spacecraftId: 0x123") == 2
    assert '- "lab"' in files["etc/yamcs.yaml"]
    assert "unhex('1009C0000000')" in files["etc/frames.sql"]
    assert 'timeToStopChecking="PT44S"' in files["mdb/lab.xml"]


def test_a_ground_elsewhere_sends_to_the_host_of_the_node(tmp_path: Path) -> None:
    text = files_of(tmp_path, f'{LINK}\n[ground]\nnode_host = "10.0.0.9"\n')["etc/yamcs.orbitnode-bench.yaml"]
    assert 'host: "10.0.0.9"' in text


@pytest.mark.parametrize("roles", [["realtime"], ["realtime", "playback"], ["realtime", "products"]])
def test_only_channels_that_carry_something_are_there(tmp_path: Path, roles: list[str]) -> None:
    files = files_of(tmp_path, f"{LINK}carries = {roles}\n")
    text = files["etc/yamcs.orbitnode-bench.yaml"]
    assert ("stream: tm_dump" in text) == ("name: tm_dump" in text) == ("playback" in roles)
    assert ("dumpStreams: [tm_dump]" in text) == ("playback" in roles)
    assert ("stream: tm_files" in text) == ("CfdpService" in text) == ("products" in roles)
    assert ("cfdp_in" in files["etc/frames.sql"]) == ("products" in roles)


def test_recorded_packets_keep_their_times(tmp_path: Path) -> None:
    """A channel with the time correlation gives a packet the time of its reception if the two differ."""
    text = files_of(tmp_path, LINK)["etc/yamcs.orbitnode-bench.yaml"]
    channels = {re.search(r"stream: (\w+)", part)[1]: part for part in text.split("- vcId: ")[1:]}  # type: ignore[index]
    assert "tcoService" in channels["tm_realtime"] and "tcoService" not in channels["tm_dump"]


@pytest.mark.parametrize(
    ("more", "reasons"),
    [
        (LINK.replace('"frame"', '"cadu"'), ["frames are coded (cadu), should be bare"]),
        (LINK.replace("udp:10.0.0.7:21015:21018", "sim:x").replace('"frame"', '"rs(255,223)"'),
         ["driver is 'sim:x', should be UDP", "frames are coded (rs(255,223))"]),
    ],
)  # fmt: skip
def test_a_link_that_yamcs_cannot_have_is_refused_with_every_reason(
    tmp_path: Path, more: str, reasons: list[str]
) -> None:
    with pytest.raises(SetupError) as caught:
        files_of(tmp_path, more)
    assert str(caught.value).startswith("link lab of ") and "\n" not in str(caught.value)
    assert all(reason in str(caught.value) for reason in reasons), caught.value


def test_a_link_is_chosen_by_name(tmp_path: Path) -> None:
    simplex = '[[link]]\nname = "x"\ndriver = "udp:127.0.0.1:1:2"\nkind = "aos"\ncoding = "frame"\n'
    made = mission(tmp_path, LINK + simplex)
    assert yamcs_instance(made, "lab").ports.listen_port == 21015
    with pytest.raises(SetupError, match='kind is "aos", should be "tm-tc"'):
        yamcs_instance(made, "x")
    with pytest.raises(SetupError, match=r"no link 'y' in .*, known: lab, x"):
        yamcs_instance(made, "y")


def test_a_checksum_that_yamcs_lacks_is_noted(tmp_path: Path) -> None:
    assert 'cfdp.checksum = "modular"' in yamcs_instance(mission(tmp_path, LINK)).notes[0]
    assert yamcs_instance(mission(tmp_path, f'{LINK}[cfdp]\nchecksum = "modular"\n')).notes == ()


def test_the_mission_of_the_guide_needs_no_note() -> None:
    made = load(MISSIONS / "yamcs.toml", {"ground": GroundConfig}, opens_devices=False)
    assert yamcs_instance(made).notes == ()
    assert instance_files(yamcs_instance(made)) == instance_files(yamcs_instance(made))


def test_the_page_about_interoperability_has_the_table_of_what_is_tried_and_every_row_has_its_tests() -> None:
    """What to do: `python -m tests.yamcs.file_cases`."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text
    tried = PAGE.parents[2] / "tests" / "yamcs" / "test_yamcs_files.py"
    tests = set(re.findall(r"^def (test_\w+)", tried.read_text(encoding="utf-8"), re.MULTILINE))
    assert {name for row in ROWS for name in row.tests} == tests


# Events


def test_every_event_has_a_template_with_parameters_that_there_are() -> None:
    dictionary = dictionary_of(load(MISSIONS / "orbit.toml", opens_devices=False))
    rows = event_templates(dictionary)
    assert [row["eventId"] for row in rows] == [f"{event.number}-{event.apid}" for event in dictionary.events]
    known = {f"{event.name}__{field.name}" for event in dictionary.events for field in event.fields}
    used = {name for row in rows for name in re.findall(r"{(\w+)[;}]", row["template"])}
    assert used and used <= known
    assert {row["subsystem"] for row in rows} == {"node", "payload"}


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("charge {soc:.3f} of {n}", "charge {e__soc; %.3f} of {e__n}"),
        ("set by {soc:+.6f} s", "set by {e__soc; %+.6f} s"),
        ("waited {soc:g} s", "waited {e__soc} s"),  # Java's %g would write 3.00000
        ("{soc:.0%}", "{e__soc}"),
        ("{n:d} {n:+d} {i:d}", "{e__n; %d} {e__n; %+d} {e__i; %d}"),
        ("{u32:d} {u64:+d}", "{e__u32} {e__u64}"),  # which Java would write as signed
        ("{n:.1f} {u64:e} {i:+.2f}", "{e__n} {e__u64} {e__i}"),  # which Java refuses
        ("{label:s} {text:s} {at:d}", "{e__label} {e__text} {e__at}"),
        ("mode {{{n}}}", "mode ({e__n})"),
        ("{{n}} is {n}", "(n) is {e__n}"),
        ("{{}}", "()"),
        ("a {missing} b", "a (missing) b"),
        ("a {odd;x} b {odd;x:d}", "a (odd;x) b (odd;x)"),
        ("no field", "no field"),
        ("half a field {soc", "half a field (soc"),
        ("half a field {{n}} soc}", "half a field ((n)) soc)"),
    ],
)
def test_a_text_becomes_a_template(text: str, template: str) -> None:
    fields = (
        Field("soc", "f32"), Field("n", "u8"), Field("i", "i64"), Field("u32", "u32"), Field("u64", "u64"),
        Field("label", "u8", labels=("off", "on")), Field("text", "str"), Field("at", "time"), Field("odd;x", "i8"),
    )  # fmt: skip
    event = EventDefinition(1, 1, "e", "low", "", fields)
    object.__setattr__(event, "text", text)  # a text that no event of ours could have, but one of others might
    (row,) = event_templates(replace(make(), events=(event,)))
    assert row == {"eventId": "1-1", "template": template, "subsystem": "node"}


@pytest.mark.parametrize(
    ("name", "written"),
    [("lab", '"lab"'), ("𐐀x", '"𐐀x"'), ("\u5149-1", '"\u5149-1"'), ("a\x7f\x85\u2028\ufeff", None)],
    ids=["plain", "beyond the BMP", "within it", "unprintable"],
)
def test_a_name_in_the_files_is_read_back_as_it_is(tmp_path: Path, name: str, written: str | None) -> None:
    yaml = pytest.importorskip("yaml")
    instance = replace(yamcs_instance(mission(tmp_path, LINK)), name=name)
    text = instance_files(instance)["etc/yamcs.yaml"]
    assert written is None or f"  - {written}\n" in text
    assert yaml.safe_load(text.encode())["instances"] == [name]


# The folder

FILES = {"etc/a.yaml": "one\n", "mdb/x.xml": "<x/>\n"}


def written(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_new_folder_is_written_with_its_list(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "yamcs"
    write_instance(folder, FILES)
    assert {path: text for path, text in written(folder).items() if path != LIST} == FILES
    assert subprocess.run(["sha256sum", "--quiet", "-c", LIST], cwd=folder, check=False).returncode == 0


def test_a_folder_of_ours_is_written_again_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    write_instance(tmp_path, FILES)
    (tmp_path / "yamcs-data").mkdir()
    (tmp_path / "yamcs-data" / "db").write_text("theirs")
    (tmp_path / "etc" / "security.yaml").write_text("theirs")
    new = {"etc/a.yaml": "two\n", "mdb/y.xml": "<y/>\n"}
    write_instance(tmp_path, new)
    left = written(tmp_path)
    del left[LIST]
    assert left == {**new, "yamcs-data/db": "theirs", "etc/security.yaml": "theirs"}  # and no mdb/x.xml any more


def refused(folder: Path, files: dict[str, str], match: str) -> None:
    before = written(folder) if folder.is_dir() else None
    with pytest.raises(OrbitnodeError, match=match) as caught:
        write_instance(folder, files)
    assert "\n" not in str(caught.value)
    assert before is None or written(folder) == before


def test_a_folder_of_others_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    refused(tmp_path, FILES, "is left as it is: it is not empty and was not written by .* \\(precious\\); name another")


def test_a_file_that_was_changed_is_left_as_it_is(tmp_path: Path) -> None:
    write_instance(tmp_path, FILES)
    (tmp_path / "etc" / "a.yaml").write_text("by hand\n")
    refused(tmp_path, FILES | {"mdb/x.xml": "<new/>\n"}, "etc/a.yaml was changed since it was written")
    refused(tmp_path, {"mdb/x.xml": "<new/>\n"}, "etc/a.yaml was changed")  # nor is it removed


def test_a_file_that_was_changed_to_what_would_be_written_is_fine(tmp_path: Path) -> None:
    write_instance(tmp_path, FILES)
    (tmp_path / "etc" / "a.yaml").write_text("two\n")
    write_instance(tmp_path, FILES | {"etc/a.yaml": "two\n"})


def test_a_file_of_others_in_the_place_of_ours_is_left_as_it_is(tmp_path: Path) -> None:
    write_instance(tmp_path, FILES)
    (tmp_path / "etc" / "b.yaml").write_text("theirs")
    refused(tmp_path, FILES | {"etc/b.yaml": "ours"}, "etc/b.yaml was changed")


def test_what_was_ended_half_way_can_be_done_again(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "a.yaml").write_text("one\n")
    write_instance(tmp_path, FILES)
    assert (tmp_path / LIST).exists()


def test_a_list_that_leads_elsewhere_removes_nothing(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    digest = hashlib.sha256(b"x").hexdigest()
    folder = tmp_path / "yamcs"
    write_instance(folder, FILES)
    with (folder / LIST).open("a") as stream:
        stream.write(f"{digest}  ../outside\n{digest}  {outside}\nnonsense\n")
    write_instance(folder, FILES)
    assert outside.read_text() == "x"


@pytest.mark.parametrize("path", ["etc/a.yaml", "mdb/x.xml", LIST])
@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_what_is_not_a_plain_file_in_the_place_of_ours_is_refused_unopened(
    tmp_path: Path, path: str, is_listed: bool, kind: str
) -> None:
    folder, outside = tmp_path / "yamcs", tmp_path / "outside"
    outside.write_text("theirs")
    write_instance(folder, FILES)
    if not is_listed:
        (folder / LIST).unlink()
    (folder / path).unlink(missing_ok=True)
    make_one(folder / path, kind, outside)
    refused(folder, FILES, rf"{path} is (not a plain file|a symbolic link, which is not followed)|\({path}\)")
    assert outside.read_text() == "theirs"


def make_one(path: Path, kind: str, to: Path) -> None:
    """One at which an `open` would wait, one that leads out, or one that cannot be read."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(to)
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_a_folder_of_others_is_refused_unread(tmp_path: Path, kind: str) -> None:
    make_one(tmp_path / "theirs", kind, tmp_path / "absent")
    refused(tmp_path, FILES, "is not empty and was not written by .* \\(theirs\\)")


def test_no_file_is_read_that_by_name_or_size_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "a.yaml").write_text("longer than ours\n")
    (tmp_path / "etc" / "large").touch()
    os.truncate(tmp_path / "etc" / "large", 1 << 40)
    opened: list[str] = []
    monkeypatch.setattr(PlainFolder, "sha256", lambda _, path: opened.append(path))
    refused_by_name(tmp_path, "etc/large")
    (tmp_path / "etc" / "large").unlink()
    refused_by_name(tmp_path, "etc/a.yaml")
    assert opened == []


def refused_by_name(folder: Path, path: str) -> None:
    with pytest.raises(OrbitnodeError, match=rf"was not written by .* \({path}\)"):
        write_instance(folder, FILES)


@pytest.mark.parametrize("path", ["etc/a.yaml", LIST])
def test_a_file_that_has_grown_beyond_all_bounds_is_refused_unread(tmp_path: Path, path: str) -> None:
    write_instance(tmp_path, FILES)
    os.truncate(tmp_path / path, 1 << 40)
    with pytest.raises(OrbitnodeError, match=f"{path} (was changed since it was written|is too large)"):
        write_instance(tmp_path, FILES)


@pytest.mark.parametrize("of", ["mdb", "lnk"])
def test_a_link_in_the_folder_is_not_followed(tmp_path: Path, of: str) -> None:
    folder, outside = tmp_path / "yamcs", tmp_path / "outside"
    outside.mkdir()
    for name in ("victim", "x.xml"):
        (outside / name).write_text("<x/>\n")
    write_instance(folder, FILES)
    digest = hashlib.sha256(b"<x/>\n").hexdigest()
    with (folder / LIST).open("a") as stream:
        stream.write(f"{digest}  lnk/victim\n")
    if of == "mdb":
        (folder / "mdb" / "x.xml").unlink()
        (folder / "mdb").rmdir()
    (folder / of).symlink_to(outside)
    refused(folder, {"etc/a.yaml": "two\n", "mdb/y.xml": "<y/>\n"}, f"{of} is a symbolic link, which is not followed")
    assert written(outside) == {"victim": "<x/>\n", "x.xml": "<x/>\n"}


def test_a_link_that_comes_up_behind_the_checks_is_not_followed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "yamcs", tmp_path / "outside"
    for place in (folder, outside):
        place.mkdir()
    (outside / "a").write_text("theirs")
    (folder / "etc").symlink_to(outside)
    plain = PlainFolder(folder)
    for touch in (plain.remove, plain.sha256, lambda path: plain.write(path, b"ours")):
        with pytest.raises((OSError, OrbitnodeError)):
            touch("etc/a")
    (folder / "b").symlink_to(outside / "a")
    plain.write("b", b"ours")
    assert written(outside) == {"a": "theirs"} and not (folder / "b").is_symlink()
    (folder / "c").symlink_to(outside / "a")
    with pytest.raises(OSError):
        plain.sha256("c")
    plain.remove("c")
    assert written(outside) == {"a": "theirs"}


def test_a_folder_that_is_named_by_a_link_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "named").symlink_to(tmp_path / "real")
    write_instance(tmp_path / "named", FILES)
    write_instance(tmp_path / "named", FILES)
    assert (tmp_path / "real" / LIST).is_file()


@pytest.mark.parametrize("path", ["etc//a.yaml", "./etc/a.yaml", LIST, "etc/\0", "", "/"])
def test_a_list_with_other_spellings_removes_nothing(tmp_path: Path, path: str) -> None:
    write_instance(tmp_path, FILES)
    with (tmp_path / LIST).open("a") as stream:
        stream.write(f"{hashlib.sha256(b'one' + bytes((10,))).hexdigest()}  {path}\n")
    write_instance(tmp_path, FILES | {"etc/a.yaml": "two\n"})
    left = written(tmp_path)
    assert left.pop(LIST) and left == {"etc/a.yaml": "two\n", "mdb/x.xml": "<x/>\n"}


def test_the_rights_of_a_file_stay(tmp_path: Path) -> None:
    write_instance(tmp_path, FILES)
    (tmp_path / "etc" / "a.yaml").chmod(0o640)
    write_instance(tmp_path, FILES | {"etc/a.yaml": "two\n"})
    assert (tmp_path / "etc" / "a.yaml").stat().st_mode & 0o777 == 0o640


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "yamcs").write_text("x")
    refused(tmp_path / "yamcs", FILES, "yamcs.*: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        refused(tmp_path / "yamcs", FILES, "cannot be written: permission denied")
    finally:
        tmp_path.chmod(0o700)


def test_a_disk_that_is_not_there() -> None:
    refused(Path("/proc/yamcs"), FILES, "/proc/yamcs.* cannot be written: ")


# The command


def test_the_command_says_what_to_do_next(tmp_path: Path) -> None:
    code, out, err = command_line("dictionary", "--yamcs", str(tmp_path / "y"))
    assert (code, err) == (0, "")
    assert out.splitlines()[0].endswith("Yamcs instance orbitnode-yamcs, TM on UDP 10015, TC to 127.0.0.1:10018")
    assert "yamcsd --etc-dir etc" in out


@pytest.mark.parametrize("words", [["--link", "x"], ["--yamcs", "y", "--out", "z"], ["--yamcs", "y", "--json"]])
def test_wrong_use_of_the_command(words: list[str]) -> None:
    code, out, err = command_line("dictionary", *words)
    assert (code, out) == (2, "") and "usage: " in err


def test_a_mission_that_yamcs_cannot_have_is_one_line(tmp_path: Path) -> None:
    code, out, err = command_line("dictionary", "--yamcs", str(tmp_path / "y"), "--mission", "orbit.toml")
    assert (code, out) == (1, "") and err.startswith("orbitnode: error: link s-band of ") and err.count("\n") == 1
    assert not (tmp_path / "y").exists()
