"""What the two peers do wrong beyond the matrix, and what it means for us: pinned, so that a new version is noticed.

The page docs/reference/cfdp-interoperability.md tells of each of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("cfdppy")
pytest.importorskip("cfdp")

import cfdppy.handler.dest as dest_module

from flight.link.cfdp.directives import Nak
from flight.link.cfdp.pdu import decode_pdu
from flight.link.cfdp.transactions.entity_config import EntityConfig
from tests.peers.cfdp_py_end import CfdpPyEnd, virtual_clock
from tests.peers.librecube_end import LibreCubeEnd
from tests.peers.line import Line, Losses, pdu_kind
from tests.peers.matrix import Case
from tests.peers.our_end import OurEnd
from tests.peers.transfers import OURS, THEIRS, config_of
from tests.waiting import GIVE_UP_S

DATA = Random(9).randbytes(100_000)
PLAIN = Case("plain")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sent").write_bytes(DATA)
    return tmp_path / "ours", tmp_path / "theirs"


@pytest.fixture
def librecube(folders: tuple[Path, Path]) -> Iterator[LibreCubeEnd]:
    end = LibreCubeEnd(folders[1], THEIRS, OURS)
    yield end
    end.close()


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What ended threads of the peer."""
    found: list[str] = []
    monkeypatch.setattr(
        threading, "excepthook", lambda args: found.append(f"{args.exc_type.__name__}: {args.exc_value}")
    )
    return found


# cfdp-py


@pytest.mark.parametrize("kind", ["metadata", "ack-eof", "ack-finished"])
def test_cfdp_py_does_not_end_a_transfer_with_itself_if_this_is_lost_once(
    kind: str, folders: tuple[Path, Path]
) -> None:
    """With us at either end it does: the cases 2-metadata, 2-ack-eof and 2-ack-finished of the matrix (4.6.4, 4.7)."""
    with virtual_clock():
        source, destination = CfdpPyEnd(folders[0], OURS, THEIRS), CfdpPyEnd(folders[1], THEIRS, OURS)
        source.put("sent", "came")
        line = Line((source, destination), Losses({kind: (0,)}))
        assert not line.run(lambda: source.idle and destination.idle and destination.endings, 120.0)


def test_all_receivers_of_cfdp_py_share_one_list_of_lost_segments() -> None:
    """A dataclass default, made once: what one transaction left in it, the next one asks for."""
    first, second = dest_module._AckedModeParams(), dest_module._AckedModeParams()
    assert first.lost_seg_tracker is second.lost_seg_tracker


def test_cfdp_py_answers_no_prompt(folders: tuple[Path, Path]) -> None:
    """4.6.4.4, 4.6.5.3. Nothing depends on it: our sender goes on."""
    with virtual_clock():
        ours, theirs = OurEnd(folders[0], config_of(PLAIN, virtual=True)), CfdpPyEnd(folders[1], THEIRS, OURS)
        transaction = ours.put("sent", "came", THEIRS)
        losses = Losses()
        line = Line((ours, theirs), losses)
        line.run(lambda: losses.seen["data"] >= 3, 10.0)
        ours.entity.prompt(transaction, True)
        ours.entity.prompt(transaction, False)
        assert line.run(lambda: ours.idle and theirs.idle, 60.0)
    assert losses.seen["prompt"] == 2
    assert losses.seen["keep-alive"] == losses.seen["nak"] == 0
    assert ours.finished[0].whole


def test_large_files_of_ours_and_of_cfdp_py_have_offsets_of_64_bits_on_both_sides(tmp_path: Path) -> None:
    """A file of more than 4 GiB begins, is asked for again, and is cancelled: all of it would take too long here."""
    octets = (1 << 32) + 1
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "sent").open("wb") as file:
            file.truncate(octets)
    with virtual_clock():
        ours = OurEnd(tmp_path / "ours", config_of(PLAIN, virtual=True))
        theirs = CfdpPyEnd(tmp_path / "theirs", THEIRS, OURS, immediate_nak=True)
        ours.put("sent", "came", THEIRS)
        losses = Losses({"data": (1,)})
        line = Line((ours, theirs), losses)
        assert line.run(lambda: losses.seen["nak"] and losses.seen["data"] >= 40, 10.0)
        (nak,) = [decode_pdu(raw) for raw in losses.directives if pdu_kind(raw) == "nak"]
        assert isinstance(nak, Nak) and nak.header.large
        assert nak.requests == ((1020, 2040),)  # four octets of each PDU more go into the offset
        assert theirs.receiving.metadata[0].file_size == octets
        assert (tmp_path / "theirs" / "came").stat().st_size >= 30_000
        assert ours.entity.counters.resent_octets == 1020
        ours = OurEnd(tmp_path / "ours", config_of(PLAIN, virtual=True))
        theirs.put("sent", "came")
        losses = Losses()
        line = Line((theirs, ours), losses)
        assert line.run(lambda: losses.seen["data"] >= 40, 10.0)
        (status,) = ours.entity.transactions()
        assert status.octets == octets
        assert status.octets_done >= 30_000


# LibreCube's cfdp


def test_a_prompt_ends_a_thread_of_librecube(
    folders: tuple[Path, Path], librecube: LibreCubeEnd, raised: list[str]
) -> None:
    """4.6.4.4: nothing is received any more. So no prompt is sent to it."""
    ours = OurEnd(folders[0], config_of(PLAIN, virtual=False))
    transaction = ours.put("sent", "came", THEIRS)
    losses = Losses()
    line = Line((ours, librecube), losses, virtual=False)
    line.run(lambda: losses.seen["data"] >= 3, GIVE_UP_S)
    ours.entity.prompt(transaction, True)
    assert line.run(lambda: raised, GIVE_UP_S)
    assert raised[0].startswith("RuntimeError")
    assert "socket" in librecube.dead


def test_librecube_answers_a_transaction_number_of_more_than_an_octet_under_another_number(
    folders: tuple[Path, Path], librecube: LibreCubeEnd
) -> None:
    """5.1. So a sender with our usual numbers hears nothing of its own transaction, although the file is there."""
    ours = OurEnd(folders[0], config_of(PLAIN, virtual=False), first_number=0x1234)
    ours.put("sent", "came", THEIRS)
    line = Line((ours, librecube), Losses(), virtual=False)
    assert line.run(lambda: ours.entity.counters.ignored["unknown"], GIVE_UP_S)
    assert not ours.idle


def test_librecube_asks_for_octets_beyond_the_scope_of_its_nak(
    folders: tuple[Path, Path], librecube: LibreCubeEnd
) -> None:
    """5.2.6: requests are within the scope. We send what is asked for, whatever the scope says."""
    ours = OurEnd(folders[0], config_of(PLAIN, virtual=False))
    ours.put("sent", "came", THEIRS)
    losses = Losses({"data": (97,)})
    line = Line((ours, librecube), losses, virtual=False)
    assert line.run(lambda: ours.idle and librecube.idle and librecube.endings, GIVE_UP_S)
    nak = next(decode_pdu(raw) for raw in losses.directives if pdu_kind(raw) == "nak")
    assert isinstance(nak, Nak)
    assert nak.requests[-1][1] > nak.end
    assert (folders[1] / "came").read_bytes() == DATA


def test_our_settings_say_numbers_of_one_octet_only_for_the_sake_of_librecube() -> None:
    assert EntityConfig().number_octets == 8
    assert config_of(PLAIN, virtual=True).number_octets == 1
