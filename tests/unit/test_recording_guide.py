"""The guide to recordings is run as it stands: its files are written, its commands print what is under them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guide import ROOT, VECTORS, blocks_of, is_run, put_down, ran

PAGE = ROOT / "docs" / "guides" / "recording.md"


def test_the_commands_of_the_guide_print_what_stands_under_them(tmp_path: Path) -> None:
    """What to do: python -m tests.guide docs/guides/recording.md, and read what changed."""
    compared = 0
    for block in blocks_of(PAGE.read_text(encoding="utf-8")):
        if block.language != "console" and block.word:
            (tmp_path / block.word).write_text(block.text, encoding="utf-8")
        elif is_run(block):
            assert ran(block, tmp_path).splitlines() == block.text.splitlines()
            compared += 1
    assert compared >= (8 if VECTORS.is_dir() else 6)
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"POWER.parquet", "text.parquet"}


def test_what_is_put_down_is_what_is_printed(tmp_path: Path) -> None:
    page = (
        "text\n```sh a.sh\necho one; exit 3\n```\n```console\n$ bash a.sh; echo $?\nwrong\n```\n"
        "```console nowhere\n$ x\ny\n```\n"
    )
    assert put_down(page, tmp_path) == page.replace("wrong", "one\n3")
    (block,) = [one for one in blocks_of(page) if is_run(one)]
    with pytest.raises(AssertionError):
        assert ran(block, tmp_path) == block.text
