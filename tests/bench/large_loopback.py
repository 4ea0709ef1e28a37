"""Send a sparse file of `octets` from one of our entities to another in this process, in large segments:

    python large_loopback.py FOLDER OCTETS CLASS

and print, as JSON, how long it took, and how much more memory the process held than before the transfer, at most. The
receiver leaves a hole for each segment of zeros, so the disk has to hold next to nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from flight.core.nanoseconds import NS
from flight.link.cfdp.checksums import CRC32
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.transactions.entity_config import EntityConfig
from tests.peers.our_end import OurEnd
from tests.peers.plain_files import PlainDestination, PlainFiles

PDU_OCTETS = 60_000
MARK = b"orbitnode"  # at the beginning, in the middle and at the end, so that the file is not all zeros
_GIVE_UP_NS = 1000 * NS
_LOOK_PDUS = 256


class _SparseDestination(PlainDestination):
    def write(self, at: int, data: bytes | memoryview) -> None:
        """Write `data`, or leave a hole if there is nothing but zeros in it."""
        if any(data[:64]) or data != bytes(len(data)):
            super().write(at, data)
        else:
            os.ftruncate(self.descriptor, max(os.fstat(self.descriptor).st_size, at + len(data)))


class _SparseFiles(PlainFiles):
    def open_destination(self, transaction: TransactionId) -> PlainDestination:
        return _SparseDestination(self.working(transaction))


def resident_octets() -> int:
    """Return the memory that this process holds. The peak would not do: it begins with that of whoever starts it."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def marks_of(octets: int) -> tuple[int, ...]:
    """Return the places of the marks; the last one goes over the end of 32 bits, if the file does."""
    return 0, octets // 2, octets - len(MARK)


def make(path: Path, octets: int) -> None:
    """Make the sparse file."""
    with path.open("wb") as file:
        file.truncate(octets)
        for at in marks_of(octets):
            file.seek(at)
            file.write(MARK)


def is_same(path: Path, octets: int) -> bool:
    """Return whether size and marks are right; that nothing else stands in it, the checksum has shown."""
    if path.stat().st_size != octets:
        return False
    with path.open("rb") as file:
        return all(os.pread(file.fileno(), len(MARK), at) == MARK for at in marks_of(octets))


def main(folder: Path, octets: int, mode: int) -> None:
    """Send the file, and say how it went."""
    for name in ("from", "to"):
        (folder / name).mkdir()
    make(folder / "from" / "file", octets)
    sender, receiver = (
        OurEnd(
            folder / name, EntityConfig(entity=entity, pdu_octets=PDU_OCTETS, checksum_type=CRC32),
            files=_SparseFiles(folder / name),
        )
        for name, entity in (("from", 1), ("to", 2))
    )  # fmt: skip
    before_octets, start_s, now_ns = resident_octets(), time.perf_counter(), 0
    most_octets, pdus = before_octets, 0
    sender.put("file", "file", 2, acknowledged=mode == 2, closure=True)
    sender.on_time(0)
    receiver.on_time(0)
    while not (sender.finished and receiver.finished) and now_ns < _GIVE_UP_NS:
        moved = False
        for source, destination in ((sender, receiver), (receiver, sender)):
            while (raw := source.take(now_ns)) is not None:
                moved = True
                destination.give(raw, now_ns)
                pdus += 1
                if pdus % _LOOK_PDUS == 0:
                    most_octets = max(most_octets, resident_octets())
        if not moved:
            now_ns += NS // 10
            sender.on_time(now_ns)
            receiver.on_time(now_ns)
    whole = len(sender.finished) == len(receiver.finished) == 1 and sender.finished[0].whole
    result = {
        "whole": whole and is_same(folder / "to" / "file", octets),
        "took_s": time.perf_counter() - start_s,
        "grown_octets": max(most_octets, resident_octets()) - before_octets,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
