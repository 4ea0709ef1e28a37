"""`orbitnode files` against a ground process and the little node, in real time; and what it shows."""

from __future__ import annotations

import argparse
import io
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flight.core.errors import OrbitnodeError
from ground.cli.api.client import GroundClient
from ground.cli.files import command, shown
from ground.cli.terminal.console import PlainConsole
from tests.ground_node import LittleNode
from tests.live_ground import Ground, UdpNode
from tests.waiting import wait_until

CONTENT = random.Random(1).randbytes(50_000)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ground, LittleNode]]:
    ground = Ground(tmp_path_factory.mktemp("ground"))
    node = UdpNode(ground)
    node.start()
    yield ground, node.node
    node.end()
    ground.kill()


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Ground]:
    """A ground whose node is not heard."""
    ground = Ground(tmp_path)
    yield ground
    ground.kill()


def files(ground: Ground | None, *words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    port = () if ground is None else ("--port", str(ground.api))
    return command.execute(parser.parse_intermixed_args([*words, *port]))


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_file_goes_up_and_comes_down(
    both: tuple[Ground, LittleNode], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ground, node = both
    local = tmp_path / "night plan.bin"
    local.write_bytes(CONTENT)
    assert files(ground, "put", str(local)) == 0
    assert capsys.readouterr().out == "night_plan.bin completed, 50,000 octets\n"
    assert files(ground, "put", str(local), "models/m.bin", "--json") == 0
    answer = lines(capsys.readouterr().out)
    assert answer[0]["transaction"] == answer[-1]["transaction"] and answer[-1]["outcome"] == "completed"
    assert node.files == [("night_plan.bin", CONTENT), ("models/m.bin", CONTENT)]
    node.end.has["products/tile.bin"] = CONTENT
    wanted = tmp_path / "wanted"
    wanted.mkdir()
    assert files(ground, "get", "products/tile.bin", str(wanted)) == 0
    out = capsys.readouterr().out
    assert (wanted / "tile.bin").read_bytes() == CONTENT and f"{wanted / 'tile.bin'}: written" in out
    assert (ground.folder / "products" / "tile.bin").read_bytes() == CONTENT
    assert files(ground, "get", "products/none") == 1
    assert "products/none failed: the node says: the file store refused" in capsys.readouterr().out
    assert files(ground, "put", str(local), "a", "--class", "1") == 0
    assert "a unconfirmed: nothing tells whether it arrived" in capsys.readouterr().out
    assert files(ground, "progress", "--json", "--missing") == 0
    rows = {row["name"]: row for row in lines(capsys.readouterr().out)}
    assert rows["models/m.bin"]["state"] == "completed" and rows["models/m.bin"]["missing"] == []
    assert rows["tile.bin"]["path"] == str((ground.folder / "products" / "tile.bin").absolute())
    assert files(ground, "progress") == 0
    assert "models/m.bin" in capsys.readouterr().out


def test_transfers_are_begun_suspended_and_cancelled(
    silent: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "local").write_bytes(CONTENT)
    assert files(silent, "progress") == 0 and capsys.readouterr().out == "no transfers\n"
    assert files(silent, "put", str(tmp_path / "local"), "a", "--no-wait") == 0
    assert "has begun; `orbitnode files progress` shows it" in capsys.readouterr().out
    assert files(silent, "progress", "--json") == 0
    (row,) = lines(capsys.readouterr().out)
    assert (row["state"], row["reason"], row["there"], row["octets"]) == ("waiting", "no contact", 0, 50_000)
    assert files(silent, "suspend", row["transaction"]) == 0
    assert files(silent, "progress", "--json") == 0
    assert '"suspended"' in capsys.readouterr().out
    assert files(silent, "resume", row["transaction"]) == 0 and files(silent, "cancel", row["transaction"]) == 0
    assert files(silent, "put", str(tmp_path / "local"), "b", "--timeout", "0.3") == 1
    assert "b failed: nothing more arrived for 0.3 s" in capsys.readouterr().out
    for words, says in (
        (("cancel", "1.7"), "no transfer '1.7' is open"),
        (("put", str(tmp_path / "none")), "it is not there"),
        (("put", str(tmp_path)), "it is not a file"),
        (("put", str(tmp_path / "local"), "a b"), "cannot be the name of a file on board"),
    ):
        with pytest.raises(OrbitnodeError, match=says):
            files(silent, *words)


def test_a_client_that_goes_leaves_its_transfer_going(silent: Ground, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(CONTENT)
    with GroundClient(silent.api) as client:
        begun = next(client.lines(do="files_put", name="a", path=str(tmp_path / "local")))
    with GroundClient(silent.api) as client:
        assert [row["transaction"] for row in client.ask(do="files_progress")["transfers"]] == [begun["transaction"]]


def test_a_copy_that_nobody_waits_for_is_given_up(silent: Ground, tmp_path: Path) -> None:
    """The client goes while its file is still copied: nothing of it is left."""
    slow = tmp_path / "slow"
    with slow.open("wb") as file:
        file.truncate(2 << 30)
    connection, answers = silent.connect()
    connection.sendall(json.dumps({"do": "files_put", "name": "a", "path": str(slow)}).encode() + b"\n")
    wait_until(lambda: list((silent.folder / "transfers").glob("up-*")), "it is being copied")
    answers.close()
    connection.close()
    wait_until(lambda: not list((silent.folder / "transfers").glob("up-*")), "the copy is deleted")


@pytest.mark.parametrize(
    "words",
    [
        ("put",), ("get",), ("rm",), ("ls", "a", "b"), ("progress", "x"), ("cancel",), ("open", "x"),
        ("ls", "--follow"), ("put", "a", "--missing"), ("progress", "--class", "1"), ("put", "a", "--class", "3"),
        ("rm", "a", "--no-wait"), ("put", "a", "--timeout", "0"), ("progress", "--timeout", "3"),
    ],
)  # fmt: skip
def test_wrong_use_is_said_before_anything_is_asked(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        files(None, *words)
    assert ended.value.code == 2


class Answers:
    """A ground that gives these answers."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answers = answers

    def lines(self, **request: Any) -> Iterator[dict[str, Any]]:
        self.asked.append(request)
        yield from self._answers


DONE = {"done": True, "name": "x", "outcome": "completed", "reason": "", "round_trip_ms": 5.0}
VALUES: dict[str, Any] = {
    "directory": "products", "used_octets": 12_000, "quota_octets": 4_000_000, "room_octets": 3_988_000,
    "files[0].name": "tile.bin", "files[0].octets": 12_000, "files[0].priority": 1, "files[0].value": 1.0,
    "files[0].locked": "no", "files[0].damaged": "no", "files[0].made_time": "2026-03-20T10:00:00.000000Z",
}  # fmt: skip
CONTENTS = {"report": "directory_contents", "values": VALUES}


def test_a_listing_is_a_table_with_what_each_directory_holds(capsys: pytest.CaptureFixture[str]) -> None:
    values = {key: value for key, value in VALUES.items() if not key.startswith("files[")}
    empty = {"report": "directory_contents", "values": values | {"directory": "logs"}}
    answers: Any = Answers(CONTENTS, empty, DONE)
    args = argparse.Namespace(words=["products/"], json=False)
    assert command._list(answers, args) == 0  # noqa: SLF001 - with answers instead of a node
    out = capsys.readouterr().out
    assert answers.asked == [{"do": "command", "name": "list_files", "arguments": {"directory": "products"}}]
    assert "tile.bin" in out and "12,000" in out and "products: 1 file, 12 kB of 4 MB, room for 3.99 MB" in out
    assert "logs: 0 files" in out
    args = argparse.Namespace(words=[], json=False)
    assert command._list(Answers(DONE | {"outcome": "lost", "reason": "no answer"}), args) == 1  # type: ignore[arg-type]  # noqa: SLF001
    assert "list_files lost: no answer" in capsys.readouterr().out


def test_files_are_deleted_one_command_each(capsys: pytest.CaptureFixture[str]) -> None:
    answers: Any = Answers(DONE)
    args = argparse.Namespace(words=["a", "/products/b", "models/c"], json=False)
    assert command._delete(answers, args) == 0  # noqa: SLF001 - with answers instead of a node
    assert [request["arguments"] for request in answers.asked] == [
        {"directory": "uploads", "name": "a"}, {"directory": "products", "name": "b"},
        {"directory": "models", "name": "c"},
    ]  # fmt: skip
    capsys.readouterr()


ROW = {
    "transaction": "2.17", "way": "down", "name": "tile.bin", "octets": 4000, "there": 1000, "class": 2,
    "state": "going", "reason": "", "path": "", "octets_per_s": 512.0, "began": "", "ended": None,
    "missing": [[1000, 3000], [3500, 4000]],
}  # fmt: skip


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return PlainConsole(file=out, width=160, force_terminal=terminal, color_system=None), out


def test_what_is_missing_is_shown_as_ranges() -> None:
    screen, out = console(terminal=False)
    with shown.TransferTable(screen, as_json=False, with_missing=True, live=False) as table:
        table.show([ROW])
    text = out.getvalue()
    assert "missing 1,000 to 2,999 (2 kB)" in text and "missing 3,500 to 3,999 (500)" in text
    assert "1 kB of 4 kB, 25 %" in text


def test_how_a_transfer_ended_is_a_line_and_says_where_the_reason_is() -> None:
    last = {"name": "a", "outcome": "failed", "reason": "the file store refused"}
    text = "a failed: the file store refused; `orbitnode events` has the node's reason"
    assert shown.outcome_text(last).plain == text
    assert shown.outcome_text(last | {"reason": "cancelled"}).plain == "a failed: cancelled"
    assert "`orbitnode files progress` shows whether it did" in shown.left_text("a", None)


def test_what_is_followed_stays_in_its_place_on_a_terminal_and_is_a_line_elsewhere() -> None:
    for terminal in (True, False):
        screen, out = console(terminal=terminal)
        with shown.TransferTable(screen, as_json=False, with_missing=False, live=True) as table:
            for there in (1000, 1000, 4000):
                table.show([ROW | {"there": there, "state": "completed" if there == 4000 else "going"}])
        text = out.getvalue()
        assert ("\x1b" in text) is terminal
        if not terminal:
            assert text.splitlines() == [
                "2.17 down tile.bin 1 kB of 4 kB, 25 % going", "2.17 down tile.bin 4 kB of 4 kB, 100 % completed",
            ]  # fmt: skip


def test_one_transfer_is_a_line_with_a_bar_that_goes_with_it() -> None:
    screen, out = console(terminal=True)
    with shown.TransferLine(screen, shows=True) as line:
        line.update({"transaction": "1.1", "name": "a", "octets": 2000})
        line.update({"there": 500, "of": 2000, "octets_per_s": 100.0})
    assert "500 of 2 kB, 25 %" in out.getvalue() and "100/s" in out.getvalue()


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0"), (999, "999"), (1000, "1 kB"), (999_499, "999 kB"), (999_500, "1 MB"), (4_294_967_297, "4.29 GB"),
     (2**64, "18,447 PB")],
)  # fmt: skip
def test_octets_as_people_read_them(octets: int, text: str) -> None:
    assert shown.octets_text(octets) == text


def test_names_from_space_steer_no_terminal() -> None:
    screen, out = console(terminal=False)
    with shown.TransferTable(screen, as_json=False, with_missing=False, live=False) as table:
        table.show([ROW | {"name": "\x1b[2Jevil", "reason": "[bold]x"}])
    assert "\x1b" not in out.getvalue() and "[bold]x" in out.getvalue()


def test_a_product_that_cannot_be_read_here_is_said(tmp_path: Path) -> None:
    with pytest.raises(OrbitnodeError, match=r"products/a came as .*none, which cannot be read here: No such file"):
        command._copy(tmp_path / "none", tmp_path / "local", "products/a")  # noqa: SLF001 - a far ground
    assert os.listdir(tmp_path) == []
