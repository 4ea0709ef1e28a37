"""Our CFDP entity with two others at the other end: cfdp-py, and LibreCube's cfdp.

Every cell of the matrix in tests/peers/matrix.py is tried, and the page in docs/reference shows that matrix.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cfdppy")
pytest.importorskip("cfdp")

from tests.peers.matrix import CASES, COLUMNS, NOT_OFFERED, PAGE, expected, page
from tests.peers.transfers import transfer

CELLS = [(name, column) for column in COLUMNS for name in CASES if (name, column) not in NOT_OFFERED]


@pytest.mark.parametrize(("name", "column"), CELLS, ids=lambda part: part.replace(" ", "-"))
def test_transfer(name: str, column: str, tmp_path: Path) -> None:
    case, wanted = CASES[name], expected(name, column)
    peer = "cfdp-py" if "cfdp-py" in column else "LibreCube"
    for size in case.sizes:
        for seed in case.seeds:
            folder = tmp_path / f"{size}-{seed}"
            folder.mkdir()
            seen = transfer(peer, case, size, seed, folder, to_peer=column.startswith("ours"), wanted=wanted)
            assert seen.file == wanted.file, (size, seed, seen)
            for codes, wanted_codes in ((seen.ours, wanted.ours), (seen.theirs, wanted.theirs)):
                known = codes if codes is None or wanted_codes is None else codes[: len(wanted_codes)]
                assert known == wanted_codes, (size, seed, seen)
            assert seen.peer_fault.startswith(wanted.peer_fault), (size, seed, seen)
            assert bool(seen.peer_fault) == bool(wanted.peer_fault), (size, seed, seen)


def test_the_page_shows_the_matrix() -> None:
    """What to do: `python -m tests.peers.matrix`, and commit what it changed."""
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text)
