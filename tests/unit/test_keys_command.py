"""`orbitnode keys`: fresh keys that overwrite nothing, a list that shows no key, one line for a fault."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from flight import cli
from flight.contract.sections import link_plans
from flight.core.errors import SetupError
from flight.keys import locked, open_keys
from flight.link.security.associations import End, LinkPlan
from flight.link.security.keyring import KeyState, KeyUse
from flight.link.security.suites import CMAC_SUITE
from flight.mission import MISSIONS, load
from ground.cli.keys import rotate_over
from ground.security_file import SecurityFile
from tests.full_disk import NO_SPACE, small_disk
from tests.secured_link import SecuredLink
from tests.waiting import GIVE_UP_S

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ORBITNODE_KEYS")
    return tmp_path


def keys(*words: str) -> int:
    return cli.main(["keys", *words])


def digits(path: Path) -> list[str]:
    return re.findall(r'octets = "(\w{64})"', path.read_text())


def test_new_keys_are_random_private_and_in_the_usual_place(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / ".orbitnode" / "orbitnode-bench.keys"
    assert keys("new") == 0
    said = capsys.readouterr().out
    assert said == f"{path}: 3 keys of orbitnode-bench, spacecraft 427\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    ring = open_keys(path)
    assert [(key.key_id, key.state) for key in ring] == [
        (0, KeyState.ACTIVE), (1, KeyState.ACTIVE), (2, KeyState.PRE_ACTIVATION),
    ]  # fmt: skip
    assert not ring.simulated
    assert keys("new", "--keys", str(home / "b.keys")) == 0
    assert not set(digits(path)) & set(digits(home / "b.keys")), "not random"


def test_keys_that_are_there_stay(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "a.keys"
    assert keys("new", "--keys", str(path)) == 0
    before = path.read_bytes()
    assert keys("new", "--keys", str(path)) == 1
    said = capsys.readouterr().err
    assert said == (
        f"orbitnode: error: there are keys at {path} already; --replace makes new ones, and keeps these beside them\n"
    )
    assert path.read_bytes() == before
    assert keys("new", "--replace", "--json", "--keys", str(path)) == 0
    kept = Path(json.loads(capsys.readouterr().out)["kept"])
    assert kept.read_bytes() == before != path.read_bytes() and kept.parent == path.parent
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert keys("new", "--replace", "--keys", str(home / "c.keys")) == 0, "nothing is there to be replaced"


def test_whatever_has_the_name_may_be_keys_that_fly(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "a.keys"
    path.write_text("something that cannot be read as keys")
    assert keys("new", "--keys", str(path)) == 1
    assert f"there are keys at {path} already" in capsys.readouterr().err


@pytest.mark.parametrize("action", [("new",), ("new", "--replace"), ("revert",)])
def test_what_is_no_file_is_told_as_what_it_is_and_nothing_is_left_beside_it(
    action: tuple[str, ...], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "folder").mkdir()
    (home / "link").symlink_to("elsewhere")
    os.mkfifo(home / "pipe")
    before = sorted(os.listdir(home))
    for name, kind in (("folder", "a folder"), ("link", "a symbolic link"), ("pipe", "not a file")):
        assert keys(*action, "--keys", str(home / name)) == 1
        assert capsys.readouterr().err == (
            f"orbitnode: error: keys {home / name} cannot be written: it is {kind}; name a file with --keys\n"
        )
    assert sorted(os.listdir(home)) == before


def test_a_list_shows_everything_but_keys(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "a.keys"
    assert keys("new", "--json", "--keys", str(path)) == 0
    new = json.loads(capsys.readouterr().out)
    assert keys("show", "--json", "--keys", str(path)) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["keys"] == new["keys"] and listed["file"] == str(path)
    assert [(row["id"], row["use"], row["spi"], row["state"]) for row in listed["keys"]] == [
        (0, "master", None, "active"), (1, "udp up A", 1, "active"), (2, "udp up B", 2, "pre-activation"),
    ]  # fmt: skip
    assert keys("show", "--keys", str(path)) == 0
    shown = capsys.readouterr().out
    for row in listed["keys"]:
        assert re.search(rf"{row['id']} +{row['use']} +.*{row['state']} +{row['fingerprint']} +{row['created']}", shown)
    said = json.dumps([new, listed]) + shown
    assert not [key for key in digits(path) if key[:8] in said or key[-8:] in said]


def test_a_list_ends_with_what_the_mission_lacks(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "a.keys"
    assert keys("new", "--keys", str(path)) == 0
    capsys.readouterr()
    assert keys("show", "--mission", str(MISSIONS / "orbit.toml"), "--keys", str(path)) == 1
    shown = capsys.readouterr()
    assert "master" in shown.out and shown.err.startswith(
        f"orbitnode: error: keys {path} are those of node orbitnode-bench, spacecraft 427, should be those"
    )
    path.chmod(0o644)
    assert keys("show", "--keys", str(path)) == 1
    assert capsys.readouterr().err.endswith(f"should have mode 0600: chmod 600 {path}\n")


NOTHING = "none of its keys for udp {} is active, so nothing carries it"
SEVERAL = "keys 1 and 2 are active, 2 carries, which is the newest; `orbitnode keys rotate up` takes the others out"


@pytest.mark.parametrize(
    ("changes", "code", "carries", "says"),
    [
        ({1: "deactivated"}, 1, [3, 5], f"{NOTHING.format('up')}: take the copy from the safe, or go back to the keys"),
        (
            {1: "deactivated", 2: "deactivated", 3: "pre-activation", 5: "deactivated"}, 1, [],
            "; ".join(NOTHING.format(use) for use in ("up", "down", "volatile")),
        ),
        ({2: "active"}, 0, [2, 3, 5], f"orbitnode: udp up: {SEVERAL}\n"),
        ({4: "active", 3: "deactivated"}, 0, [1, 4, 5], ""),
    ],
)  # fmt: skip
def test_a_list_ends_with_what_nothing_can_carry(
    changes: dict[int, str], code: int, carries: list[int], says: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, mission = home / "a.keys", home / "m.toml"
    mission.write_text(
        f'extends = "{(MISSIONS / "bench.toml").as_posix()}"\n[[link]]\nname = "udp"\n'
        'driver = "udp:127.0.0.1:10015:10018"\ndownlink_security = "authenticated"\n'
    )
    options = ["--mission", str(mission), "--keys", str(path)]
    assert keys("new", *options) == 0
    text = path.read_text()
    for key_id, state in changes.items():
        text = re.sub(rf'(id = {key_id}\n(?:.+\n)*?state = )"[\w-]+"', rf'\1"{state}"', text)
    path.write_text(text)
    capsys.readouterr()
    assert keys("show", *options) == code
    shown = capsys.readouterr()
    assert "udp volatile" in shown.out and (says in shown.err if says else not shown.err)
    assert keys("show", "--json", *options) == code
    carrying = [row["id"] for row in json.loads(capsys.readouterr().out)["keys"] if row["carries"]]
    assert carrying == carries


def test_a_list_does_not_end_well_with_keys_of_a_simulation(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "a.keys"
    assert keys("new", "--keys", str(path)) == 0
    path.write_text(path.read_text().replace("simulated = false", "simulated = true"))
    assert keys("show", "--keys", str(path)) == 1
    assert "are those of a simulation, which anyone can work out" in capsys.readouterr().err


def test_no_message_shows_a_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "a.keys"
    assert keys("new", "--keys", str(path)) == 0
    text, secret = path.read_text(), digits(path)
    for damage in (('octets = "', "octets = "), ('octets = "', 'octets = "x'), ("octets", "octet"), ('"\n', "\n")):
        path.write_text(text.replace(*damage))
        assert keys("show", "--keys", str(path)) == 1
    shown = capsys.readouterr()
    said = shown.out + shown.err
    assert said.count("orbitnode: error: ") == 4
    assert not [key for key in secret if key[:6] in said or key[-6:] in said]


def test_two_at_once_make_keys_once(tmp_path: Path) -> None:
    path = tmp_path / "a.keys"
    command = [sys.executable, "-m", "flight.cli", "keys", "new", "--json", "--keys", str(path)]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    said = [process.communicate(timeout=GIVE_UP_S) for process in running]
    codes = [process.returncode for process in running]
    assert sorted(codes) == [0, 1, 1, 1], said
    made = next(json.loads(out) for (out, _), code in zip(said, codes, strict=True) if code == 0)
    assert [row["fingerprint"] for row in made["keys"]] == [key.fingerprint.hex() for key in open_keys(path)]
    for (_, error), code in zip(said, codes, strict=True):
        assert code == 0 or re.fullmatch(
            rf"orbitnode: error: (there are keys at {path} already|another `orbitnode keys` is changing {path}).*\n",
            error,
        )


def test_a_writer_that_is_at_work_is_waited_for_by_nobody(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "a.keys"
    with locked(path):
        assert keys("new", "--keys", str(path)) == 1
    assert "another `orbitnode keys` is changing" in capsys.readouterr().err and not path.exists()


def test_a_full_disk_costs_no_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        path = disk / "a.keys"
        assert keys("new", "--keys", str(path)) == 0
        before = path.read_bytes()
        capsys.readouterr()
        (disk / "fill").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
        assert keys("new", "--replace", "--keys", str(path)) == 1
        assert capsys.readouterr().err == f"orbitnode: error: keys {path} cannot be written: {NO_SPACE}\n"
        assert path.read_bytes() == before
        assert sorted(os.listdir(disk)) == [".a.keys.lock", "a.keys", "fill"]


@pytest.mark.parametrize("place", ["file/below.keys", "file/far/below.keys"])
def test_a_place_that_cannot_be_is_one_line(place: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "file").touch()
    assert keys("new", "--keys", str(home / place)) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(
        rf"orbitnode: error: keys {home}/{place} cannot be written: (Not a directory|File exists)\n", said
    )


def test_a_change_of_key_is_in_the_file_at_every_step(home: Path) -> None:
    """With both real ends of the link; of the ground process and the radio nothing is here."""
    path = home / "a.keys"
    assert keys("new", "--keys", str(path)) == 0
    mission = load(MISSIONS / "bench.toml", opens_devices=False)
    before = open_keys(path)
    told: list[str] = []
    link = SecuredLink(plans=[LinkPlan("udp", CMAC_SUITE, None)], file=path.read_text())

    def look(step: str) -> None:
        told.append(step)
        with pytest.raises(SetupError, match="another `orbitnode keys` is changing"), locked(path):
            pass
        # Killed here: what is in the file is whole and says which key carries.
        active = sorted(key.spi for key in open_keys(path) if key.use is KeyUse.UP and key.state is KeyState.ACTIVE)
        assert active in ([1], [2], [1, 2])

    rotate_over(link, mission, path, 0, KeyUse.UP, look)
    assert told[0] == "changes key 1 of SPI 1 for one of SPI 2" and told[-1] == "key 1 is out of use"
    rotate_over(link, mission, path, 0, KeyUse.UP, look)
    after = open_keys(path)
    carrying = [key for key in after if key.use is KeyUse.UP and key.state is KeyState.ACTIVE]
    assert [(key.key_id, key.spi) for key in carrying] == [(256, 1)]
    assert carrying[0].fingerprint not in {key.fingerprint for key in before} and re.fullmatch(
        r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", carrying[0].created
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and digits(path)
    assert keys("show", "--keys", str(path)) == 0


def test_a_change_that_cannot_be_written_sends_no_key(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as disk:
        path = disk / "a.keys"
        assert keys("new", "--keys", str(path)) == 0
        link = SecuredLink(plans=[LinkPlan("udp", CMAC_SUITE, None)], file=path.read_text())
        mission = load(MISSIONS / "bench.toml", opens_devices=False)
        rotate_over(link, mission, path, 0, KeyUse.UP, lambda _: None)
        before = path.read_bytes()
        (disk / "fill").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
        told: list[str] = []
        with pytest.raises(SetupError, match=NO_SPACE):
            rotate_over(link, mission, path, 0, KeyUse.UP, told.append)
        assert told[-1] == "key 256 is made" and path.read_bytes() == before and link.works()


PROTECTED = 'downlink_security = "authenticated"\n'


def test_add_makes_what_the_mission_lacks_and_keeps_the_rest(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, mission = home / "a.keys", home / "m.toml"
    link = f'extends = "{(MISSIONS / "bench.toml").as_posix()}"\n[[link]]\nname = "udp"\ndriver = "udp:127.0.0.1:1:2"\n'
    mission.write_text(link)
    options = ["--mission", str(mission), "--keys", str(path)]
    assert keys("add", *options) == 1 and "there are no keys at" in capsys.readouterr().err
    assert keys("new", *options) == 0
    assert keys("add", *options) == 1
    assert f"keys {path} have all that mission {mission} needs: there is none to add\n" in capsys.readouterr().err
    before, octets = digits(path), path.read_bytes()
    mission.write_text(f'{link}{PROTECTED}[[link]]\nname = "backup"\ndriver = "udp:127.0.0.1:3:4"\n')
    assert keys("show", *options) == 1 and "`orbitnode keys add` makes those" in capsys.readouterr().err
    assert keys("add", *options) == 0
    (kept,) = home.glob("a.keys.2*")
    added = "udp down A, udp down B, udp volatile, backup up A, backup up B"
    assert capsys.readouterr().out == (
        f"{path}: 5 keys added, for {added}\n{kept}: the keys that were there before\n"
        "the board needs the same file; start the node and the ground again\n"
    )
    assert kept.read_bytes() == octets and digits(path)[:3] == before and len(set(digits(path))) == 8
    assert [(key.key_id, key.state) for key in open_keys(path)][3:] == [
        (3, KeyState.ACTIVE), (4, KeyState.PRE_ACTIVATION), (5, KeyState.ACTIVE), (17, KeyState.ACTIVE),
        (18, KeyState.PRE_ACTIVATION),
    ]  # fmt: skip
    assert keys("show", *options) == 0


@pytest.mark.parametrize("turns", [1, 2])
def test_add_gives_the_board_no_key_that_the_next_change_destroys(
    turns: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, mission = home / "a.keys", home / "m.toml"
    assert keys("new", "--keys", str(path)) == 0
    bench = load(MISSIONS / "bench.toml", opens_devices=False)
    link = SecuredLink(plans=[LinkPlan("udp", CMAC_SUITE, None)], file=path.read_text())
    for _ in range(turns):
        rotate_over(link, bench, path, 0, KeyUse.UP, lambda _: None)
    mission.write_text(f'extends = "{bench.path}"\n[[link]]\nname = "udp"\ndriver = "udp:127.0.0.1:1:2"\n{PROTECTED}')
    before, options = path.read_bytes(), ["--mission", str(mission), "--keys", str(path)]
    assert keys("add", *options) == 1 and path.read_bytes() == before
    assert f"keys of {path} were changed over the air, and the board's file should be" in capsys.readouterr().err
    assert keys("revert", "--keys", str(path)) == 0
    assert keys("add", "--json", *options) == 0


def test_revert_brings_back_a_node_that_forgot_its_keys(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With both real ends of the link; the ground has ended."""
    path = home / "a.keys"
    assert keys("new", "--keys", str(path)) == 0
    mission = load(MISSIONS / "bench.toml", opens_devices=False)
    link = SecuredLink(plans=[LinkPlan("udp", CMAC_SUITE, None)], file=path.read_text())
    for _ in range(2):
        rotate_over(link, mission, path, 0, KeyUse.UP, lambda _: None)
    record, before = SecurityFile(path), path.read_bytes()
    record.save(b"numbers")
    capsys.readouterr()
    assert keys("revert", "--keys", str(path)) == 1
    assert (
        capsys.readouterr().err == f"orbitnode: error: the keys {path} are in use by a ground that runs: end it first\n"
    )
    with locked(path):
        assert keys("revert", "--keys", str(path)) == 1
    assert "another `orbitnode keys` is changing" in capsys.readouterr().err and path.read_bytes() == before
    record.close()
    assert keys("revert", "--keys", str(path)) == 0
    kept, numbers = sorted(found for found in home.iterdir() if re.search(r"\.\d{8}T\d{6}Z$", found.name))
    assert capsys.readouterr().out == (
        f"{path}: the keys of delivery carry again\n{kept}: the keys that were there before\n"
        f"{numbers}: the numbers that were used with them\n"
        "next, the last at once, since a key that was changed may be known to others:\n"
        "  orbitnode ground\n  orbitnode keys recover\n  orbitnode keys rotate up\n"
    )
    assert kept.read_bytes() == before and numbers.name.startswith("a.keys.numbers.")
    assert not path.with_name("a.keys.numbers").exists() and stat.S_IMODE(path.stat().st_mode) == 0o600
    ring = open_keys(path)
    assert [(key.key_id, key.state) for key in ring] == [
        (0, KeyState.ACTIVE), (1, KeyState.ACTIVE), (2, KeyState.DEACTIVATED),
    ]  # fmt: skip
    clock = 1 << 47
    link.lose(End.NODE, clock)
    link.file = path.read_text()
    link.lose(End.GROUND, clock + 1000)
    link.recover(clock + 1000)
    rotate_over(link, mission, path, 0, KeyUse.UP, lambda _: None)
    assert link.works() and link.operational(End.NODE, KeyUse.UP) == [(2, 256)]


def test_revert_is_run_again_if_it_was_cut(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with small_disk(home / "disk", 64) as disk:
        path = disk / "a.keys"
        assert keys("new", "--keys", str(path)) == 0
        before = path.read_bytes()
        with closing(SecurityFile(path)) as record:
            record.save(b"numbers")
        (disk / "fill").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
        capsys.readouterr()
        assert keys("revert", "--keys", str(path)) == 1
        assert capsys.readouterr().err == f"orbitnode: error: keys {path} cannot be written: {NO_SPACE}\n"
        assert path.read_bytes() == before
        (disk / "fill").unlink()
        assert keys("revert", "--json", "--keys", str(path)) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["numbers_kept"] is None and Path(said["kept"]).read_bytes() == before
        assert said["next"] == ["orbitnode ground", "orbitnode keys recover", "orbitnode keys rotate up"]
        assert len([found for found in disk.iterdir() if found.name.startswith("a.keys.numbers.2")]) == 1


def test_revert_names_the_links_of_the_mission(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    orbit = ["--mission", str(MISSIONS / "orbit.toml"), "--keys", str(home / "a.keys")]
    assert keys("new", *orbit) == 0
    capsys.readouterr()
    assert keys("revert", "--json", *orbit) == 0
    links = link_plans(load(MISSIONS / "orbit.toml", opens_devices=False).links)
    steps = json.loads(capsys.readouterr().out)["next"]
    assert [step for step in steps if "rotate down" in step] == [
        "orbitnode keys rotate down" + (f" --link {link.name}" if place else "")
        for place, link in enumerate(links) if link.down
    ]  # fmt: skip


def test_rotate_says_that_a_clear_direction_has_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert keys("rotate", "down") == 1
    said = capsys.readouterr().err
    assert "error: link udp has no key down to change: downlink_security of" in said and 'bench.toml is "clear"' in said


def test_rotate_wants_a_ground_and_changes_nothing_without_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "a.keys"
    assert keys("new", "--keys", str(path)) == 0
    before = path.read_bytes()
    assert keys("rotate", "up", "--port", "1", "--keys", str(path)) == 1
    said = capsys.readouterr().err
    assert said.startswith("orbitnode: error: no ground process on 127.0.0.1:") and path.read_bytes() == before
    assert keys("rotate", "up", "--link", "absent", "--keys", str(path)) == 1
    assert "no link 'absent' in " in capsys.readouterr().err and path.read_bytes() == before
