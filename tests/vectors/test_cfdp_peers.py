"""Our CFDP entity with two others at the other end: cfdp-py, and LibreCube's cfdp.

Every cell of the matrix in tests/peers/matrix.py is tried, and the page in docs/reference shows that matrix.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cfdppy")
pytest.importorskip("cfdp")

from flight.link.cfdp.header import Mode
from flight.link.cfdp.tlv import MessageToUser
from flight.link.cfdp.transactions.requests import PutRequest
from tests.peers.cfdp_py_end import CfdpPyEnd, virtual_clock
from tests.peers.line import Line, Losses
from tests.peers.matrix import CASES, COLUMNS, NOT_OFFERED, PAGE, Case, expected, page
from tests.peers.our_end import OurEnd
from tests.peers.transfers import OURS, THEIRS, config_of, transfer

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


@pytest.mark.parametrize("lost", ["nothing", "metadata", "eof"])
@pytest.mark.parametrize("to_peer", [True, False])
def test_cfdp_py_and_ours_understand_metadata_without_a_file(to_peer: bool, lost: str, tmp_path: Path) -> None:
    """Class 2: both send an EOF after them, and acknowledge it (4.6.1.1.9)."""
    with virtual_clock():
        ours, theirs = OurEnd(tmp_path, config_of(Case("alone"), virtual=True)), CfdpPyEnd(tmp_path, THEIRS, OURS)
        if to_peer:
            ours.entity.put(PutRequest(THEIRS, "", "", Mode.ACKNOWLEDGED, options=(MessageToUser(b"hello"),)), 0)
        else:
            theirs.put_message(b"hello")
        losses = Losses({lost: (0,)})
        line = Line((ours, theirs), losses)
        assert line.run(lambda: ours.idle and theirs.idle and ours.endings, 300.0)
    for end in (ours, theirs):
        assert [(ending.condition, ending.delivery) for ending in end.endings] == [(0, 0)]
    assert losses.seen["metadata"] == (2 if lost == "metadata" else 1)
    assert losses.seen["eof"] == (2 if lost == "eof" else 1) and losses.seen["ack-eof"] == 1
