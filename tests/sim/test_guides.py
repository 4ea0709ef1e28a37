"""Every command of the documentation is run and prints what stands under it, or its page names what runs it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flight.cli import Parser, installed_commands
from tests.guide import COMMAND, PAGES, ROOT, VECTORS, alike, blocks_of, fits, is_run
from tests.guide_run import Runner, Session, put_down

TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
BLOCKS = {name: list(blocks_of(text)) for name, text in TEXTS.items()}
SESSIONS = {name: {block.words["session"] for block in blocks if "session" in block.words}
            for name, blocks in BLOCKS.items()}  # fmt: skip
TOGETHER = sorted({frozenset(sessions) for sessions in SESSIONS.values() if sessions}, key=sorted)
APART = [name for name in TEXTS if not SESSIONS[name] and any(map(is_run, BLOCKS[name]))]


@pytest.fixture
def sessions() -> Iterator[dict[str, Session]]:
    """The sessions that a test starts; they must end as Ctrl-C has them end."""
    started: dict[str, Session] = {}
    with ExitStack() as ends:
        yield started
        for session in started.values():
            ends.callback(session.end)


@pytest.mark.campaign
@pytest.mark.parametrize("name", APART)
def test_the_commands_of_a_page(name: str, tmp_path: Path, sessions: dict[str, Session]) -> None:
    """What to do: correct the page, or `python -m tests.guide_run PAGE`, and read what changed."""
    folder = tmp_path / "page"
    folder.mkdir()
    Runner(folder, sessions).page(TEXTS[name])


@pytest.mark.campaign
@pytest.mark.parametrize("names", TOGETHER, ids=lambda names: "-".join(sorted(names)))
def test_the_commands_of_the_pages_of_a_session(
    names: frozenset[str], tmp_path: Path, sessions: dict[str, Session]
) -> None:
    """Programs in real time are started once for all the pages that talk to them."""
    for name in sorted((name for name in TEXTS if SESSIONS[name] == names), key=str.lower):  # the README comes last
        folder = tmp_path / name.replace("/", "-")
        folder.mkdir()
        Runner(folder, sessions).page(TEXTS[name])


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_is_run_or_says_by_what(name: str) -> None:
    for block in BLOCKS[name]:
        place = f"{name}:{block.line}"
        if block.language == "console":
            assert block.steps, f"{place}: no line begins with '$ '"
            known = {"session", "background", "once", "varies", "after", "vectors", "made-by"}
            assert set(block.words) <= known, f"{place}: {set(block.words) - known} means nothing"
            assert is_run(block) or "made-by" in block.words or not VECTORS.is_dir(), f"{place}: has no {block.word}"
            for path in block.elsewhere:
                assert (ROOT / path).is_file(), f"{place}: made-by names {path}, which is not there"
        elif block.language in ("", "sh", "bash", "shell"):
            commands = [line for line in block.text.splitlines() if COMMAND.match(line)]
            assert not commands, f"{place}: commands stand in ```console, behind '$ ': {commands}"


@pytest.mark.parametrize("name", TEXTS)
def test_commands_that_are_not_run_here_are_ones_that_there_are(name: str) -> None:
    """Those of orbitnode and make. What their arguments mean is for the test that the page names."""
    for block in BLOCKS[name]:
        for step in block.steps if block.elsewhere else ():
            check(step.command, f"{name}:{block.line}")


def check(command: str, place: str) -> None:
    words = [word for word in shlex.split(command, comments=True) if not re.match(r"[A-Z_]+=", word)]
    if words[:1] == ["make"]:
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = [word for word in words[1:] if not word.startswith("-")]
        assert all(re.search(rf"^{word}:.* ## ", makefile, re.MULTILINE) for word in targets), f"{place}: {command}"
    elif words[:1] == ["orbitnode"]:
        module = installed_commands()[words[1]].load()
        parser = Parser(prog=f"orbitnode {words[1]}")
        module.add_arguments(parser)
        try:
            parser.parse_intermixed_args(words[2:])
        except SystemExit:
            pytest.fail(f"{place}: wrong use: {command}")


# The machinery itself.


@pytest.mark.parametrize(
    ("shown", "printed", "varies"),
    [
        (["a 1"], ["a 1"], False),
        (["a   1.5 ms  sent"], ["a 12.0 s sent"], True),
        (["at 2026-11-23T04:58:45.458Z as 1:87: ..."], ["at 2027-01-01T00:00:00.1Z as 1:3: +0.1 s ahead"], True),
        (["first", "...", "last"], ["first", "x", "y", "last"], False),
        (["known: a, ..."], ["known: a, b, c"], False),
        (["a", "", "b"], ["a", "b"], True),
    ],
)
def test_what_fits(shown: list[str], printed: list[str], varies: bool) -> None:
    assert fits(shown, printed, varies)


@pytest.mark.parametrize(
    ("shown", "printed", "varies"),
    [
        (["a 1"], ["a 2"], False),
        (["a 1.5 ms sent"], ["b 1.5 ms sent"], True),
        (["a"], ["a", "b"], False),
        (["a", "...", "b"], ["a", "c"], True),
    ],
)
def test_what_does_not_fit(shown: list[str], printed: list[str], varies: bool) -> None:
    assert not fits(shown, printed, varies)


def test_numbers_are_alike_whatever_they_are() -> None:
    assert alike("boot 4, dictionary bfc935f9,  12,345.5 ms") == alike("boot 17, dictionary 00aa11bb, 3.25 s")
    assert alike("u16 and rs(255,223)") == alike("u32 and rs(255,239)") != alike("u16 and rs")


def test_what_is_put_down_is_what_is_printed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    page = (
        "text\n```sh file=a.sh\necho one; exit 3\n```\n```console\n$ bash a.sh; echo $?\nwrong\n```\n"
        "```console vectors=nowhere\n$ x\ny\n```\n"
    )
    runner = Runner(tmp_path / "a", {})
    assert put_down(page, runner) == page.replace("wrong", "one\n3")
    with pytest.raises(AssertionError, match="is printed:\none\n3"):
        Runner(tmp_path / "b", {}).page(page)


def test_a_block_says_what_it_is() -> None:
    page = "# x\n```console session=a background\n$ one \\\n  two\nout\n$ three # why\n```\n"
    (block,) = blocks_of(page)
    assert (block.line, block.varies, block.file) == (2, True, "")
    assert [(step.command, step.output) for step in block.steps] == [("one  two", ("out",)), ("three # why", ())]
