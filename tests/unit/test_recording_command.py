"""`orbitnode decode`: exit status and what comes out; as a process: pipes, full disks, signals, names and places that
are not as usual.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from flight.catalogue import dictionary_of
from flight.cli import main
from flight.kernels import crc16
from flight.link.space_packet import SpacePacket
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import MISSIONS, load
from tests.full_disk import limited_files, on_small_disk
from tests.recordings import recorded_units, reports
from tests.waiting import GIVE_UP_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "flight.cli", "decode"]
CONFIG = LinkConfig(coding="rs(255,223)")
FORMS = ("npz", "csv", "parquet", "arrow")
FIELDS = "name,data_type,bit_length\nnumber,uint,16\nmode,uint,8\nrest,int,8\n"


@pytest.fixture(scope="module")
def octets() -> bytes:
    """A recording of our own link in which all is well, and nothing but reports."""
    packets = [one for one in reports(dictionary_of(load(MISSIONS / "orbit.toml")), 300) if one[7:9] == b"\x03\x19"]
    counts: dict[int, int] = {}
    for index, one in enumerate(packets):  # counts without those that were left out
        raw = bytearray(one)
        apid = one[1]
        raw[2:4] = (0xC000 | counts.get(apid, 0)).to_bytes(2, "big")
        counts[apid] = counts.get(apid, 0) + 1
        raw[-2:] = crc16(bytes(raw[:-2])).to_bytes(2, "big")
        packets[index] = bytes(raw)
    return b"".join(recorded_units(packets, CONFIG))


@pytest.fixture
def recorded(tmp_path: Path, octets: bytes) -> Path:
    path = tmp_path / "pass.cadu"
    path.write_bytes(octets)
    return path


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Packets of another mission, with a CSV definition beside it."""
    path = tmp_path / "foreign.bin"
    data = [index.to_bytes(2, "big") + bytes((index % 3, index % 100)) for index in range(500)]
    path.write_bytes(b"".join(SpacePacket(100, seq, one).encode() for seq, one in enumerate(data)))
    (tmp_path / "fields.csv").write_text(FIELDS)
    return path


def run(*arguments: str | Path | bytes, **options: object) -> subprocess.CompletedProcess[str]:
    made = subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=GIVE_UP_S, check=False, **options
    )  # type: ignore[call-overload]
    assert "Traceback" not in made.stderr, made.stderr
    assert isinstance(made, subprocess.CompletedProcess)
    return made


def here(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[object, str, str]:
    """Exit status, stdout and stderr of the command within this process, which need not start again each time."""
    ended: object
    try:
        ended = main(["decode", *map(str, arguments)])
    except SystemExit as error:
        ended = error.code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return ended, said.out, said.err


def account_here(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(here(capsys, *arguments, "--json")[1])
    return found


def leftovers(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.rglob(".*"))


# Exit status


def test_0_is_only_for_a_recording_of_which_everything_was_used(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, shown, _ = here(capsys, recorded)
    assert status == 0, shown
    assert "lost or not used:" not in shown


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda raw: raw[:-50], "left at the end"),
        (lambda raw: raw[: 3 * 1279] + raw[4 * 1279 :], "missing by frame count"),
        (lambda raw: raw[:4000] + bytes(1279) + raw[5279:], "refused"),
        (lambda raw: b"what is this: " * 4 + raw, "skipped"),
        (lambda raw: raw[:1], "no packets"),
        (lambda raw: raw[:0], "no packets"),
        (lambda raw: b"only words, no packets. " * (len(raw) // 100), "no packets"),
    ],
)
def test_1_is_for_whatever_was_lost_or_not_used(
    recorded: Path, spoil: Callable[[bytes], bytes], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.write_bytes(spoil(recorded.read_bytes()))
    status, shown, _ = here(capsys, recorded)
    assert status == 1
    assert "lost or not used:" in shown
    assert said in shown
    status, shown, _ = here(capsys, recorded, "--json")
    found = json.loads(shown)
    assert status == 1
    assert sum(found["classes"].values()) == found["octets"] == recorded.stat().st_size


def test_1_is_for_packets_that_the_definition_does_not_know(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    definition = ["--definition", f"100={foreign.parent / 'fields.csv'}"]
    assert here(capsys, foreign, *definition)[0] == 0
    others = SpacePacket(101, 0, b"data").encode() + SpacePacket(101, 1, b"data").encode()
    octets = foreign.read_bytes()
    foreign.write_bytes(octets[:1000] + others + octets[1000:])
    status, shown, _ = here(capsys, foreign, *definition)
    assert status == 1
    assert "2 packets of APID 101 that no definition knows" in shown
    assert here(capsys, foreign)[0] == 0  # nobody said that they should be known


def test_1_is_for_damaged_packets(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with foreign.open("ab") as file:
        file.write(SpacePacket(100, 500, b"da").encode())
    status, shown, _ = here(capsys, foreign, "--definition", f"100={foreign.parent / 'fields.csv'}")
    assert status == 1
    assert "1 packet of" in shown
    assert "damaged: " in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--csv"], "needs --out, the folder to write tables to"),
        (["--to", "parquet"], "needs --out, the folder to write tables to"),
        (["--csv", "--to", "npz", "-o", "x"], "--csv and --to npz"),
        (["--no-definition", "--definition", "x"], "--no-definition contradicts --definition"),
        (["--root-container", "x"], "--root-container needs --definition"),
        (["--frame-octets", "3"], "frame_octets is 3, should be"),
        (["--spacecraft", "5000"], "spacecraft_id is 5000, should be"),
        (["--vcid", "64"], "virtual channels are [64], should be"),
        (["--interleave", "6"], "interleave is 6, should be"),
        (["--packets", "FILE"], "is one of the files to read"),
        (["--packets", "x", "--segments", "join"], "as they came"),
        (["--as", "words"], "invalid choice"),
        (["--as", "packets", "--spacecraft", "3"], "--as packets --spacecraft 3: no recording has all of these"),
        (["--as", "frames", "--coding", "rs223"], "--as frames --coding rs223: no recording has all of these"),
        (["--vcid", "1", "--skip", "4"], "--vcid 1 --skip 4: no recording has all of these"),
    ],
)
def test_2_is_for_wrong_use(
    recorded: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, shown, fault = here(capsys, recorded, *(str(recorded) if one == "FILE" else one for one in arguments))
    assert status == 2
    assert said in fault
    assert shown == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere/file"], "/nowhere/file cannot be read: No such file or directory"),
        (["/"], "/ cannot be read: Is a directory"),
        (["FILE", "--mission", "MISSION", "--link", "x-band"], "no link 'x-band' in"),
        (["FILE", "--mission", "/nowhere.toml"], "/nowhere.toml"),
        (["FILE", "--definition", "/nowhere.xml"], "/nowhere.xml"),
        (["FILE", "--dictionary", "FILE"], "pass.cadu"),
        (["FILE", "--out", "/dev/null/x"], "tables cannot be written there: Not a directory"),
        (["FILE", "--packets", "/dev/null/x"], "/dev/null/x cannot be written"),
        (["FILE", "--packets", "/dev/full"], "/dev/full cannot be written: No space left on device"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    recorded: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"FILE": str(recorded), "MISSION": str(MISSIONS / "orbit.toml")}
    status, _, fault = here(capsys, *(known.get(one, one) for one in arguments))
    assert status == 1
    assert said in fault
    assert fault.count("\n") == 1
    assert "unexpected" not in fault


# What comes out


def test_the_summary_says_what_it_is_and_what_became_of_it(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, shown, _ = here(capsys, recorded)
    for text in ("units, certain", "RS(255,223)", "spacecraft 0x1ab", "definitions: orbit.toml", "power", "2026-03-"):
        assert text in shown
    assert "\x1b" not in shown


def test_an_empty_input_has_no_classes_of_octets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "empty"
    path.touch()
    status, shown, _ = here(capsys, path)
    assert status == 1
    assert "not recognised: the input is empty" in shown
    assert not any(line.startswith("octets:") for line in shown.splitlines())


@pytest.mark.parametrize("form", FORMS)
def test_tables_are_written(recorded: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = recorded.parent / "tables"
    status, shown, _ = here(capsys, recorded, "-o", out, "--to", form)
    assert status == 0, shown
    assert {one.suffix for one in out.iterdir()} == {f".{form}"}
    assert (out / f"power.{form}").stat().st_size > 100
    assert leftovers(recorded.parent) == []


def test_npz_is_what_comes_if_nothing_is_said(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = recorded.parent / "tables"
    found = account_here(capsys, recorded, "-o", out)
    written = found["written"]
    assert isinstance(written, list)
    assert sorted(written) == sorted(str(one) for one in out.iterdir())
    power = np.load(out / "power.npz")
    assert len(power["soc_frac"]) == len(power["packet.time"]) > 0
    assert here(capsys, recorded, "-o", out, "--csv")[0] == 0
    lines = (out / "power.csv").read_text().splitlines()
    assert lines[0].startswith("packet.time,soc_frac,")
    assert len(lines) == 1 + len(power["soc_frac"])
    assert lines[1].startswith("2026-03-")


def test_a_definition_of_another_mission(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = foreign.parent / "tables"
    definition = f"100={foreign.parent / 'fields.csv'}"
    status, shown, _ = here(capsys, foreign, "--definition", definition, "-o", out, "--to", "parquet")
    assert status == 0, shown
    (path,) = out.iterdir()
    assert pq.read_table(path)["number"].to_pylist() == list(range(500))


def test_the_default_mission_is_not_claimed_for_another_one_s_packets(
    foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = account_here(capsys, foreign)
    assert found["definitions"] == []
    assert found["tables"] == []
    assert "orbit.toml" not in here(capsys, foreign)[1]


def test_no_definition_is_asked_if_none_is_wanted(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = account_here(capsys, recorded, "--no-definition")
    assert found["definitions"] == []
    assert found["complete"]


def test_packets_come_out_of_units_and_are_a_recording_again(
    recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recorded.parent / "packets.bin"
    found = account_here(capsys, recorded, "--packets", path)
    again = account_here(capsys, path)
    assert again["form"] == "packets"
    assert again["packets"] == found["packets"]
    assert again["tables"] == found["tables"]


def test_options_of_a_link_stand_in_for_what_is_found(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = account_here(capsys,
        recorded, "--as", "units", "--service", "tm", "--frame-octets", "1115", "--fecf", "--spacecraft", "0x1AB",
        "--coding", "rs223", "--interleave", "5", "--randomizer", "short", "--no-convolutional", "--vcid", "0",
    )  # fmt: skip
    assert found["complete"]
    other = account_here(capsys, recorded, "--spacecraft", "3")
    assert not other["complete"]
    assert other["packets"] == 0


# Where it comes from, and where it goes


def test_what_comes_in_at_a_pipe(recorded: Path) -> None:
    with subprocess.Popen(["cat", recorded], stdout=subprocess.PIPE) as feeding:
        made = run("-", "--no-definition", "--json", stdin=feeding.stdout)
    assert made.returncode == 0
    found = json.loads(made.stdout)
    assert found["files"] == ["standard input"]
    assert found["octets"] == recorded.stat().st_size


def test_what_comes_in_at_a_fifo_and_several_files(recorded: Path, octets: bytes) -> None:
    fifo, rest = recorded.parent / "fifo", recorded.parent / "rest"
    os.mkfifo(fifo)
    rest.write_bytes(octets[5000:])
    with subprocess.Popen(["sh", "-c", f"head -c 5000 '{recorded}' > '{fifo}'"]):
        found = json.loads(run(fifo, rest, "--no-definition", "--json").stdout)
    assert found["octets"] == len(octets)
    assert found["complete"]


def test_a_reader_that_goes_away_is_no_traceback(recorded: Path) -> None:
    out = recorded.parent / "tables"
    line = f"'{sys.executable}' -m flight.cli decode '{recorded}' -o '{out}' | head -n 1"
    made = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=GIVE_UP_S, check=False)
    assert made.stderr == ""
    assert made.stdout.count("\n") == 1
    assert (out / "power.npz").exists()


def test_a_full_standard_output_is_a_failure(recorded: Path) -> None:
    with Path("/dev/full").open("w") as full:
        made = subprocess.run([*COMMAND, recorded, "--no-definition"], cwd=ROOT, stdout=full, stderr=subprocess.PIPE,
                              text=True, timeout=GIVE_UP_S, check=False)  # fmt: skip
    assert made.returncode == 1
    assert made.stderr == "orbitnode: error: stdout takes no more: No space left on device\n"


def in_one_process(
    each: str, words: Sequence[str | Path], prefix: Sequence[str] = (), start: str = ""
) -> subprocess.CompletedProcess[str]:
    """A process that does `start`, and then `each`, which calls `main`, for every form of tables."""
    code = (
        f"import os, resource, sys\n{start}\nfrom flight.cli import main\nwords = sys.argv[1:]\n"
        f"for form in {FORMS}:\n    {each}"
    )
    command = [*prefix, sys.executable, "-c", code, *words]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=GIVE_UP_S, check=False)
    assert made.returncode == 0, made.stderr
    return made


def test_a_full_disk_leaves_nothing_behind(recorded: Path) -> None:
    disk = recorded.parent / "small"
    each = "print(form, main(['decode', *words[1:], '--to', form]), os.listdir(words[0]))"
    made = in_one_process(each, [disk, recorded, "-o", disk / "tables"], on_small_disk(disk, 16))
    assert made.stdout.splitlines() == [f"{form} 1 []" for form in FORMS]
    said = f"orbitnode: error: {disk}/tables: tables cannot be written there: No space left on device"
    assert made.stderr.splitlines() == [said] * len(FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_a_limit_on_files_leaves_nothing_behind(recorded: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = recorded.parent / "tables"
    with limited_files(2048):
        status, shown, fault = here(capsys, recorded, "-o", out, "--to", form)
    assert (status, shown) == (1, "")
    assert fault == f"orbitnode: error: {out}: tables cannot be written there: File too large\n"
    assert not out.exists()


def in_pipe(descriptor: int) -> int:
    """Octets that nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


@contextmanager
def waiting(recorded: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The command, in the middle of a recording that does not end."""
    fifo = recorded.parent / "fifo"
    os.mkfifo(fifo)
    command = [*COMMAND, fifo, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        feeding = os.open(fifo, os.O_WRONLY)
        try:
            os.write(feeding, recorded.read_bytes()[:4096])
            wait_until(lambda: not in_pipe(feeding), "the command reads")
            yield running
        finally:
            os.close(feeding)
            with suppress(ProcessLookupError):
                running.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_leaves_nothing_behind(recorded: Path, number: signal.Signals) -> None:
    out, packets = recorded.parent / "tables", recorded.parent / "packets"
    out.mkdir()
    (out / "power.parquet").write_text("of before")
    with waiting(recorded, "-o", out, "--to", "parquet", "--packets", packets) as running:
        assert leftovers(recorded.parent) != []
        running.send_signal(number)
        said, fault = running.communicate(timeout=GIVE_UP_S)
    assert (running.returncode, said, fault) == (130, "", "")
    assert [one.name for one in out.iterdir()] == ["power.parquet"]
    assert (out / "power.parquet").read_text() == "of before"
    assert leftovers(recorded.parent) == []
    assert not packets.exists()


def test_without_pyarrow_it_says_what_to_install(recorded: Path) -> None:
    each = (
        "ended = main(['decode', words[0], '-o', f'{words[1]}/{form}', '--to', form]); "
        "print('ended', form, ended, os.path.exists(f'{words[1]}/{form}'))"
    )
    made = in_one_process(each, [recorded, recorded.parent], start="sys.modules['pyarrow'] = None")
    said = (
        "orbitnode: error: Parquet and Arrow files need pyarrow, which is not installed; "
        "run: pip install 'orbitnode[recording]'"
    )
    assert made.stderr.splitlines() == [said] * 2
    assert [line for line in made.stdout.splitlines() if line.startswith("ended")] == [
        "ended npz 0 True", "ended csv 0 True", "ended parquet 1 False", "ended arrow 1 False"
    ]  # fmt: skip


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_names_that_are_no_text_are_read_written_and_shown(recorded: Path, locale: str) -> None:
    odd = os.fsencode(recorded.parent) + b"/p\xe4ss\x1b[1m \xff.cadu"
    os.rename(recorded, odd)
    out = os.fsencode(recorded.parent) + b"/t\xff"
    made = run(odd, "-o", out, env={**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert made.returncode == 0, made.stderr
    assert "\x1b" not in made.stdout
    assert os.path.exists(out + b"/power.npz")


def test_names_that_a_terminal_would_take_for_more(foreign: Path) -> None:
    fields = foreign.parent / "fields.csv"
    fields.write_text(FIELDS.replace("mode", '"=cmd [/bold] ünï"'))
    for locale in ("C", "C.UTF-8"):
        env = {**os.environ, "LC_ALL": locale, "PYTHONIOENCODING": "ascii" if locale == "C" else "utf-8"}
        out = foreign.parent / locale
        made = run(foreign, "--definition", f"100={fields}", "-o", out, "--csv", env=env)
        assert made.returncode == 0, made.stderr
        assert "\x1b" not in made.stdout
        (path,) = out.iterdir()
        assert "'=cmd [/bold]" in path.read_text(encoding="utf-8").splitlines()[0]


def test_progress_is_for_a_terminal_only(recorded: Path) -> None:
    assert run(recorded, "--no-definition").stderr == ""
    primary, secondary = pty.openpty()
    made = subprocess.run([*COMMAND, recorded, "--no-definition", "--json"], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=secondary, text=True, timeout=GIVE_UP_S, check=False,
                          env={**os.environ, "TERM": "xterm"})  # fmt: skip
    os.close(secondary)
    shown = os.read(primary, 1 << 16)
    os.close(primary)
    assert json.loads(made.stdout)["complete"]
    assert b"\x1b[" in shown


def test_more_tables_than_files_may_be_open(tmp_path: Path) -> None:
    """A file of one APID each, a hundred of them, with sixty descriptors."""
    path = tmp_path / "many.bin"
    path.write_bytes(b"".join(SpacePacket(apid, seq, bytes(4)).encode() for seq in range(3) for apid in range(100)))
    (tmp_path / "kind.csv").write_text(FIELDS)
    words: list[str | Path] = [path]
    for apid in range(100):
        (tmp_path / f"kind_{apid}.csv").symlink_to("kind.csv")
        words += ["--definition", f"{apid}={tmp_path}/kind_{apid}.csv"]
    each = (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (60, 4096)); "
        "ended = main(['decode', *words, '-o', form, '--to', form, '--json']); "
        "print('\\nended', form, ended, len(os.listdir(form)))"
    )
    start = (
        f"os.chdir({str(tmp_path)!r}); sys.path.insert(0, {str(ROOT)!r})\n"
        "from ground.recording.tables import table_folder\ntable_folder.PIECE_OCTETS = 1"  # a file waits for more
    )
    made = in_one_process(each, words, start=start)
    assert [line for line in made.stdout.splitlines() if line.startswith("ended")] == [
        f"ended {form} 0 100" for form in FORMS
    ]
