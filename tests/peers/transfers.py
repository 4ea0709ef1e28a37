"""Carry out a case of the matrix between our entity and a peer, and say what came of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from flight.link.cfdp.transactions.entity_config import EntityConfig
from tests.peers.cfdp_py_end import CfdpPyEnd, virtual_clock
from tests.peers.endings import Ending
from tests.peers.librecube_end import LibreCubeEnd
from tests.peers.line import Line, Losses
from tests.peers.matrix import SEGMENT_OCTETS, Case, Codes, Outcome
from tests.peers.our_end import OurEnd

OURS, THEIRS = 2, 3
VIRTUAL_S = 600.0  # in virtual time: longer than all limits together
REAL_S = 20.0  # only a fault takes so long
_HEADER_OCTETS = 13  # of our PDUs in these tests, and four of an offset


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a transfer. file: whole, none, or other if octets were kept that are not those sent.

    ours, theirs: how each end says that it ended, None if it has not, as (condition, delivery, status). peer_fault:
    what the peer raised, or which of its threads died.
    """

    file: str
    ours: tuple[int, int, int] | None
    theirs: tuple[int, int, int] | None
    peer_fault: str = ""


def config_of(case: Case, *, virtual: bool) -> EntityConfig:
    """Return our settings: timers of the size of the peer's, and numbers of one octet, which LibreCube can say."""
    timer_s = 1.0 if virtual else 0.2
    settings: dict[str, Any] = {
        "entity": OURS, "pdu_octets": SEGMENT_OCTETS + _HEADER_OCTETS, "entity_octets": 2, "number_octets": 1,
        "checksum_type": case.checksum, "ack_s": timer_s, "nak_s": timer_s, "check_s": timer_s, "ack_limit": 20,
        "nak_limit": 20, "rests_max": 1, "rest_s": 2.0, "inactivity_s": 60.0 if virtual else 5.0,
    }  # fmt: skip
    return EntityConfig(**(settings | dict(case.ours)))


@contextmanager
def _peer(kind: str, case: Case, folder: Path) -> Iterator[CfdpPyEnd | LibreCubeEnd]:
    if kind == "cfdp-py":
        with virtual_clock():
            yield CfdpPyEnd(folder, THEIRS, OURS, checksum=case.checksum, discard=True, **dict(case.theirs))
        return
    end = LibreCubeEnd(folder, THEIRS, OURS)
    try:
        yield end
    finally:
        end.close()


def transfer(
    kind: str, case: Case, size: int, seed: int, folder: Path, *, to_peer: bool, wanted: Outcome | None = None
) -> Seen:
    """Send one file of `size` octets between our entity and a peer, "cfdp-py" or "LibreCube".

    wanted: what is expected, so that nobody waits for an ending that never comes.
    """
    here, there = folder / "ours", folder / "theirs"
    here.mkdir()
    there.mkdir()
    data = Random(seed).randbytes(size)
    ((here if to_peer else there) / "sent").write_bytes(data)
    virtual = kind == "cfdp-py"
    losses = Losses(case.drop, case.lost_rate, case.repeated_rate, seed)
    with _peer(kind, case, there) as peer, _quiet_threads() as raised:
        ours = OurEnd(here, config_of(case, virtual=virtual))
        _put(ours, peer, case, to_peer=to_peer)
        line = Line((ours, peer) if to_peer else (peer, ours), losses, virtual)
        if case.cancel:
            line.run(lambda: losses.seen["data"] >= 20, VIRTUAL_S if virtual else REAL_S)
            canceller: Any = ours if (case.cancel == "source") is to_peer else peer
            canceller.cancel(*((line.now_ns,) if canceller is ours else ()))
        limit_s = VIRTUAL_S if virtual else REAL_S

        def fault_of() -> str:
            if isinstance(peer, CfdpPyEnd) and peer.raised:
                return f"{type(peer.raised[0]).__name__}: {peer.raised[0]}"
            return raised[0] if raised else ""

        def is_over() -> bool:
            if wanted is not None and bool(wanted.peer_fault) != bool(fault_of()):
                return bool(fault_of())  # one that was not expected ends the test, one that is has to come
            ended = [end.endings or codes is None for end, codes in zip((ours, peer), codes_of(wanted), strict=True)]
            idle = [end.idle or codes is None for end, codes in zip((ours, peer), codes_of(wanted), strict=True)]
            return all(ended) and all(idle)

        line.run(is_over, limit_s)
        came = (there if to_peer else here) / "came"
        file = "none" if not came.exists() else "whole" if came.read_bytes() == data else "other"
        return Seen(file, _first(ours.endings), _first(peer.endings), fault_of())


def _put(ours: OurEnd, peer: CfdpPyEnd | LibreCubeEnd, case: Case, *, to_peer: bool) -> None:
    if to_peer:
        ours.put("sent", "came", THEIRS, acknowledged=case.acknowledged, closure=case.closure)
    elif isinstance(peer, CfdpPyEnd):
        peer.put("sent", "came", acknowledged=case.acknowledged, closure=case.closure)
    else:
        peer.put("sent", "came", acknowledged=case.acknowledged, checksum=case.checksum)


def codes_of(wanted: Outcome | None) -> tuple[Codes, Codes]:
    """Return what is waited for at our end and at the peer's; without anything known, an ending at both."""
    return (wanted.ours, wanted.theirs) if wanted is not None else ((), ())


def _first(endings: list[Ending]) -> tuple[int, int, int] | None:
    return (endings[0].condition, endings[0].delivery, endings[0].status) if endings else None


@contextmanager
def _quiet_threads() -> Iterator[list[str]]:
    """Note what ends a peer's thread, in place of a traceback: it is what the test is about."""
    raised: list[str] = []
    former = threading.excepthook
    threading.excepthook = lambda args: raised.append(f"{args.exc_type.__name__}: {args.exc_value}")
    try:
        yield raised
    finally:
        threading.excepthook = former
