"""CFDP class 2 from one entity to another in one process, beside cfdp-py, with real files at both ends.

Both sides do the same: 1,024 octets of the file in each PDU, every PDU as octets on its way, CRC-32 of the whole file
at both ends, deferred NAKs, the same file on the same disk. With losses, the same file data PDUs are lost, also among
those that are sent again. Directives are not lost: a lost metadata or acknowledgement stops cfdp-py for good
(docs/reference/cfdp-interoperability.md). Time is virtual for the timers of both, so neither waits for one.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

from flight.core.nanoseconds import NS
from flight.link.cfdp.checksums import CRC32
from flight.link.cfdp.transactions.entity_config import EntityConfig
from sim_hw.bench.bench_command import BenchError, Row, Survey, at_least, at_most, output_of

SEGMENT_OCTETS = 1024
FILE_OCTETS, BRIEF_FILE_OCTETS = 8 << 20, 2 << 20
TURNS, BRIEF_TURNS = 5, 3
FLOOR = 8.0
LOST_RATE = 0.05
LARGE_OCTETS, BRIEF_LARGE_OCTETS = (4 << 30) + 1, 256 << 20
LARGE_LIMIT_MB, LARGE_GIVE_UP_S = 10.0, 600.0
HERE = Path(__file__).resolve().parent
_GIVE_UP_S = 600  # of virtual time

Way = Callable[[Path, Callable[[], bool]], None]


def losses(rate: float) -> Callable[[], bool]:
    """Return what says of each file data PDU in turn whether it is lost: the same for whoever asks."""
    draw = Random(5).random
    return lambda: draw() < rate


def ours(folder: Path, lost: Callable[[], bool]) -> None:
    """Send the file from one of our entities to another."""
    from tests.peers.our_end import OurEnd

    pdu_octets = SEGMENT_OCTETS + 19
    sender, receiver = (
        OurEnd(folder / name, EntityConfig(entity=entity, pdu_octets=pdu_octets, number_octets=2, checksum_type=CRC32))
        for name, entity in (("from", 1), ("to", 2))
    )
    transaction = sender.put("file", "ours", 2)
    now_ns = 0
    sender.on_time(now_ns)
    receiver.on_time(now_ns)
    next_pdu, on_pdu, told = sender.entity.next_pdu, receiver.entity.on_pdu, receiver.told
    while not (sender.finished and receiver.finished):
        moved = False
        while (raw := next_pdu(now_ns)) is not None:
            moved = True
            if raw[0] & 0x10 and lost():
                continue
            if indications := on_pdu(raw, now_ns):
                told(indications, now_ns)
        while (raw := receiver.take(now_ns)) is not None:
            moved = True
            sender.give(raw, now_ns)
        if not moved:
            now_ns = _later(now_ns)
            sender.on_time(now_ns)
            receiver.on_time(now_ns)
    if not sender.finished[0].whole or not receiver.finished[0].whole:
        raise BenchError(f"our transfer {transaction} failed: {sender.finished} {receiver.finished}")


def theirs(folder: Path, lost: Callable[[], bool]) -> None:
    """Send the file from one entity of cfdp-py to another, with the filestore that comes with it."""
    from cfdppy.filestore import NativeFilestore

    from tests.peers.cfdp_py_end import CfdpPyEnd, virtual_clock

    with virtual_clock():
        sender, receiver = (
            CfdpPyEnd(folder, entity, other, segment_octets=SEGMENT_OCTETS, checksum=CRC32, filestore=NativeFilestore())
            for entity, other in ((1, 2), (2, 1))
        )
        sender.put(str(folder / "from" / "file"), str(folder / "to" / "theirs"))
        now_ns = 0
        while not (sender.idle and receiver.idle and receiver.endings):
            moved = False
            while (raw := sender.take(now_ns)) is not None:
                moved = True
                if raw[0] & 0x10 and lost():
                    continue
                receiver.give(raw, now_ns)
            while (raw := receiver.take(now_ns)) is not None:
                moved = True
                sender.give(raw, now_ns)
            if not moved:
                now_ns = _later(now_ns)
                receiver.on_time(now_ns)
    if [(ending.condition, ending.delivery) for ending in (*sender.endings, *receiver.endings)] != [(0, 0)] * 2:
        raise BenchError(f"cfdp-py's transfer failed: {sender.endings} {receiver.endings} {receiver.raised}")


def _later(now_ns: int) -> int:
    if now_ns > _GIVE_UP_S * NS:
        raise BenchError(f"a transfer did not end within {_GIVE_UP_S} s of its own time")
    return now_ns + NS // 10


def transfer_s(way: Way, folder: Path, name: str, rate: float) -> float:
    """Return how long one transfer takes; raises BenchError if the file does not come through."""
    gc.collect()
    start_s = time.perf_counter()
    way(folder, losses(rate))
    took_s = time.perf_counter() - start_s
    came = folder / "to" / name
    if came.read_bytes() != (folder / "from" / "file").read_bytes():
        raise BenchError(f"{name}: the file that came is another one")
    came.unlink()
    return took_s


def loopback(brief: bool) -> list[Row]:
    """One row without losses, one with. The median of the turns' ratios is what counts."""
    octets, turns = (BRIEF_FILE_OCTETS, BRIEF_TURNS) if brief else (FILE_OCTETS, TURNS)
    rows = []
    with TemporaryDirectory(prefix="orbitnode-cfdp-") as made:
        folder = Path(made)
        for name in ("from", "to"):
            (folder / name).mkdir()
        (folder / "from" / "file").write_bytes(Random(1).randbytes(octets))
        for name, rate in (("cfdp-loopback", 0.0), ("cfdp-loopback-losses", LOST_RATE)):
            pairs = [
                (transfer_s(ours, folder, "ours", rate), transfer_s(theirs, folder, "theirs", rate))
                for _ in range(turns)
            ]
            ratio = median(theirs_s / ours_s for ours_s, theirs_s in pairs)
            ours_s, theirs_s = (median(pair[side] for pair in pairs) for side in (0, 1))
            note = f"{octets >> 20} MiB in segments of 1,024 octets" + (", 5 % of them lost" if rate else "")
            rates = octets / 1e6 / ours_s, octets / 1e6 / theirs_s
            rows.append(at_least(name, *rates, "cfdp-py", "MB/s", FLOOR, ratio=ratio, note=note))
    return rows


def large(brief: bool) -> list[Row]:
    """4 GiB and an octet more in class 2: offsets of 64 bits, and memory that does not grow with the file."""
    octets = BRIEF_LARGE_OCTETS if brief else LARGE_OCTETS
    with TemporaryDirectory(prefix="orbitnode-cfdp-") as made:
        output = output_of((sys.executable, HERE / "large_loopback.py", made, str(octets), "2"), LARGE_GIVE_UP_S)
    result = json.loads(output)
    if not result["whole"]:
        raise BenchError(f"the file of {octets:,} octets did not arrive whole")
    note = f"{octets:,} octets, sparse, in {result['took_s']:.0f} s"
    return [at_most("cfdp-large-memory", result["grown_octets"] / 1e6, LARGE_LIMIT_MB, "limit", "MB", note=note)]


BENCHES = (Survey("cfdp-loopback", loopback, long=True), Survey("cfdp-large", large, long=True))
