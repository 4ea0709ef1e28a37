"""Run the commands of a guide, and compare what they say with what stands under them.

```python make.py       a file of this name
```console              commands, each behind "$ ", and what they print
```console FOLDER       the same, with the files of that folder of ../shared/vectors in place; left out without it

python -m tests.guide docs/guides/recording.md      puts what they print now under them
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.waiting import GIVE_UP_RUN_S

ROOT = Path(__file__).resolve().parents[1]
VECTORS = ROOT.parent / "shared" / "vectors"
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block of code: its language, what follows it on the line, and its text."""

    language: str
    word: str
    text: str


def blocks_of(page: str) -> Iterator[Block]:
    for found in _BLOCK.finditer(page):
        yield Block(found[1], found[2].strip(), found[3])


def is_run(block: Block) -> bool:
    return block.language == "console" and (not block.word or (VECTORS / block.word).is_dir())


def ran(block: Block, folder: Path) -> str:
    """The block as it would be printed now."""
    if block.word:
        for path in (VECTORS / block.word).iterdir():
            if not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    out = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            out += [line, *said(line[2:], folder)]
    return "\n".join(out) + "\n"


def said(command: str, folder: Path) -> list[str]:
    """What a command prints, without blanks at the ends of lines."""
    binaries = str(Path(sys.executable).parent)
    env = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    made = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=GIVE_UP_RUN_S, check=False,
    )  # fmt: skip
    return [line.rstrip() for line in made.stdout.splitlines()]


def put_down(page: str, folder: Path) -> str:
    """The page with what its commands print now."""

    def renewed(found: re.Match[str]) -> str:
        block = Block(found[1], found[2].strip(), found[3])
        if block.language != "console" and block.word:
            (folder / block.word).write_text(block.text, encoding="utf-8")
        if not is_run(block):
            return found[0]
        return f"```{found[1]}{found[2]}\n{ran(block, folder)}```"

    return _BLOCK.sub(renewed, page)


if __name__ == "__main__":
    with TemporaryDirectory() as made:
        path = Path(sys.argv[1])
        path.write_text(put_down(path.read_text(encoding="utf-8"), Path(made)), encoding="utf-8")
