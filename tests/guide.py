"""The blocks of code of the documentation: what they are, how their commands are run, and what their output must be.

The words behind its fence say what a block is. Code hosts look only at the first word.

    ```toml file=a.toml          a file of this name, in the folder in which the page's commands run; with session=NAME
                                 a mission whose programs use the ports and the board of that session
    ```console                   commands, each behind "$ ", and what they print, to the letter
    ```console varies            the same, with other numbers: times, sizes, counts, ids
    ```console session=bench once         commands that a session needs before its programs, run once for all pages
    ```console session=bench background   programs that keep running, each in a terminal, and what they print first
    ```console session=bench     commands while these are running; their output varies. All pages share one session of a
                                 name; `bench` has keys, board, ground and node if no page has started them before
    ```console after=run         commands about what `orbitnode run` left in out/
    ```console vectors=FOLDER    with the files of that folder of ../shared/vectors in place; left out without it
    ```console made-by=FILE ...  not run here: the file, a test or what CI runs, does what they do

If no output stands under a command, nothing is compared, but the command must succeed. "..." stands for anything in a
line; a line "..." stands for any lines.

`python -m tests.guide_run PAGE` writes under the commands of a page what they print now.
"""

# Why it is done this way: people read the pages on code hosts, and there a block must look like a terminal and nothing
# else. So everything that only the test needs stands behind the fence, which no reader sees, and the rules are few.
# Numbers that vary all count as the same number (`alike`): a change of what a command prints is a change of words or
# columns, and that is still found.

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VECTORS = ROOT.parent / "shared" / "vectors"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A line that looks like a command, and so should stand behind "$ ".
COMMAND = re.compile(r"(\$ |((\w+=\S*|\S*/)?\s*)?(orbitnode|make|python3?|pip|pytest|git|source|cd|cp) )")
_NUMBER = re.compile(r"\b[0-9a-f]{8}\b|[-+]?\d[\d,]*(\.\d+)?([-:T]\d+[\d:.]*Z?)*")
_UNIT_OF_TIME = re.compile(r"\b0 (us|ms|s)\b")


@dataclass(frozen=True)
class Block:
    """One block of code: its language, what follows it on the line, its text, and the line on which it begins."""

    language: str
    word: str
    text: str
    line: int = 0

    @property
    def words(self) -> dict[str, str]:
        """The words behind the language, with what stands after their "="; empty if nothing does."""
        return {name: value for name, _, value in (word.partition("=") for word in self.word.split())}

    @property
    def file(self) -> str:
        """The name of the file that the block holds; empty if it is not a file."""
        return self.words.get("file", "")

    @property
    def elsewhere(self) -> list[str]:
        """The files that do what the block's commands do, if they are not run here."""
        return self.words["made-by"].split(",") if "made-by" in self.words else []

    @property
    def varies(self) -> bool:
        """Whether numbers may differ from those that are shown."""
        return bool({"varies", "session"} & set(self.words))

    @property
    def steps(self) -> list[Step]:
        """The commands of the block, in order."""
        steps: list[Step] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                steps.append(Step(line[2:], ()))
            elif steps and steps[-1].command.endswith("\\"):
                steps[-1] = Step(f"{steps[-1].command[:-1]} {line.strip()}", ())
            elif steps:
                steps[-1] = Step(steps[-1].command, (*steps[-1].output, line))
        return steps


@dataclass(frozen=True)
class Step:
    """A command, and the lines that stand under it."""

    command: str
    output: tuple[str, ...]


def blocks_of(page: str) -> Iterator[Block]:
    """Yield every fenced block of a page."""
    yield from map(block_of, BLOCK.finditer(page))


def block_of(found: re.Match[str]) -> Block:
    """Return the block of a match of BLOCK."""
    return Block(found[1], found[2].strip(), found[3], found.string.count("\n", 0, found.start()) + 1)


def is_run(block: Block) -> bool:
    """Return whether the commands of the block are run here."""
    vectors = block.words.get("vectors")
    return block.language == "console" and not block.elsewhere and (not vectors or (VECTORS / vectors).is_dir())


def alike(line: str) -> str:
    """Return the line with every number as 0 and every stretch of blanks as one blank."""
    return " ".join(_UNIT_OF_TIME.sub("0 s", _NUMBER.sub("0", line)).split())


def fits(shown: Sequence[str], printed: Sequence[str], varies: bool) -> bool:
    """Return whether the printed lines fit the shown ones."""
    lines = [(alike(line) if varies else line.rstrip()) for line in printed]
    pattern = "".join(
        _pattern(alike(line) if varies else line.rstrip()) for line in shown if line.strip() or not varies
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines if line or not varies)) is not None


def _pattern(line: str) -> str:
    if line == "...":
        return r"(?:.*\n)*?"
    return ".*".join(re.escape(part) for part in line.split("...")) + r"\n"
