"""Files in both directions, and what must hold wherever in them the power of the node fails.

`python -m tests.sim.file_cuts` (make power-cut) goes through the scenario once for every storage operation of the node,
with the power cut inside that operation, and again inside the boot that follows:

- a file that is there is whole: at every boot each one that can be found has the octets that somebody sent;
- nothing acknowledged is lost: what the ground was told is retained stands on board, and a product whose future was
  True is on board until the ground has it;
- transfers go on by themselves, and end: in the end every upload is on board and every product on the ground;
- nothing is left over: no content that nobody owns, and no record of a transfer that has ended.
"""

# The node's storage is the simulated disk, which counts its operations and loses power inside the one that it is told
# (sim_hw/machine/disk.py). The link loses PDUs and has gaps, with fixed seeds, so that runs differ by the cut alone.

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from flight.core.future import Future
from flight.link.cfdp.header import Mode, TransactionId
from flight.services.files.cfdp_section import CfdpConfig
from sim_hw.machine.disk import Disk, PowerCut
from tests.file_link import Board, FileLink, Settings, contents

UPLOADS = {"a": 4_000, "models/net": 26_000, "empty": 0, "b": 9_000}
PRODUCTS = {"first.obsp": 12_000, "second.obsp": 30_000, "third.obsp": 700, "once.obsp": 2_000}
PATIENCE_S = 1500.0


def content_of(name: str, octets: int) -> bytes:
    return Random(name).randbytes(octets)


@dataclass
class Scenario:
    """One run. `cut_at` is the operation of the storage inside which the power goes, and so is each of `later`."""

    cut_at: int | None = None
    again_after: int | None = None
    wrong: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.disk = Disk(Random(self.cut_at or 0), cut_at_operation=self.cut_at)
        if self.cut_at is None:
            self.disk.trace = []
        settings = Settings(cfdp=CfdpConfig(ack_s=3.0, nak_s=3.0, record_s=1.0))
        self.link = FileLink(settings, disk=self.disk, loss=0.1, pdus_down=6, pdus_up=4)
        self.link.board = _Watched(self)
        self.put: dict[str, Future[bool]] = {}
        self.uploads: dict[str, TransactionId] = {}

    def run(self) -> list[str]:
        """Run the scenario; return what was wrong."""
        link = self.link
        link.boot()
        self._put_products(list(PRODUCTS)[:2])
        link.run(1)
        link.set_contact(True)
        for name, octets in list(UPLOADS.items())[:2]:
            self.uploads[name] = link.ground.put(name, content_of(name, octets))
        link.run(4)
        link.set_contact(False)
        link.run(3)
        self._put_products(list(PRODUCTS)[2:])
        link.run(1)
        link.set_contact(True)
        for name, octets in list(UPLOADS.items())[2:]:
            self.uploads[name] = link.ground.put(name, content_of(name, octets), mode=Mode.ACKNOWLEDGED)
        for _ in range(4):
            if link.run(PATIENCE_S, self._is_done):
                break
            link.set_contact(False)
            link.run(10)
            link.set_contact(True)
        link.run(20)
        self.check_board()
        self._check_end()
        return self.wrong

    def _put_products(self, names: list[str]) -> None:
        for name in names:
            arrive = False if name.startswith("once") else None
            try:
                self.put[name] = self.link.board.outbox.put(name, content_of(name, PRODUCTS[name]), arrive=arrive)
            except PowerCut:  # who puts it has lost its power as well, and knows nothing of it
                self.link.cut()

    def _is_done(self) -> bool:
        link = self.link
        ended = all(link.ground.end_of(each) is not None for each in self.uploads.values())
        return ended and not link.board.transfers.entity.transactions() and not link.board.outbox.waiting

    def check_board(self) -> None:
        """What can be found on board is whole, and nothing that was acknowledged is missing."""
        board, ground = self.link.board, self.link.ground
        found = {}
        for entry in board.store.entries():
            found[entry.path] = entry
            octets = UPLOADS | {f"uploads/{name}": octets for name, octets in UPLOADS.items()}
            octets |= {f"products/{name}": octets for name, octets in PRODUCTS.items()}
            name = entry.path.removeprefix("uploads/").removeprefix("products/")
            right = content_of(name, octets.get(entry.path, -1))
            if entry.sha256 != hashlib.sha256(right).digest() or board.store.read(entry, 0, len(right) + 1) != right:
                self.wrong.append(f"{entry.path} is not what was sent")
        for name, transaction in self.uploads.items():
            end = ground.end_of(transaction)
            path = name if "/" in name else f"uploads/{name}"
            if end is not None and end.whole and path not in found:
                self.wrong.append(f"{path} was acknowledged and is not there")
        for name, future in self.put.items():
            if future.done and future.result() and f"products/{name}" not in found and name not in ground.files:
                self.wrong.append(f"product {name} was durable and is neither on board nor on the ground")

    def _check_end(self) -> None:
        board, ground = self.link.board, self.link.ground
        for name, transaction in self.uploads.items():
            end = ground.end_of(transaction)
            if end is None or not end.whole:
                self.wrong.append(f"upload {name} ended as {end}")
        for name, future in self.put.items():
            if future.done and future.result():
                once = name.startswith("once")  # by class 1, which may lose it
                if not once and content_of(name, PRODUCTS[name]) not in ground.files.get(name, []):
                    self.wrong.append(f"product {name} did not arrive")
                if not once and board.store.find("products", name) is not None:
                    self.wrong.append(f"product {name} arrived and is still on board")
        for name, held_contents in ground.files.items():
            if any(content != content_of(name, PRODUCTS[name]) for content in held_contents):
                self.wrong.append(f"{name} came down as another file")
        owned = len(board.store.entries())
        held = sum(entry.octets > 0 for entry in board.store.entries())
        # As the node sees it: a deletion is durable with whatever is synced next.
        names = contents(board.shared.user("files").names())
        if not held <= len(names) <= owned:
            self.wrong.append(f"{len(names)} contents of {owned} files")
        records = [name for name in board.shared.user("transfers").names() if name != "transfers.ended"]
        if records:
            self.wrong.append(f"records are left: {', '.join(records)}")

    def booted(self) -> None:
        """A boot has taken place."""
        if self.link.board.boots > 1:
            self.check_board()
            if self.again_after is not None:
                self.disk.cut_at_operation = self.disk.operations + self.again_after
                self.again_after = None


class _Watched(Board):
    """A board whose every boot is looked at."""

    def __init__(self, scenario: Scenario) -> None:
        link = scenario.link
        super().__init__(link.loop, link.disk, link.board.settings)
        self._scenario = scenario

    def boot(self) -> None:
        super().boot()
        self._scenario.booted()


def points() -> list[tuple[int, str, str]]:
    """Return number, kind and name of every storage operation of the scenario."""
    scenario = Scenario()
    wrong = scenario.run()
    assert not wrong, wrong
    assert scenario.disk.trace is not None
    return scenario.disk.trace


def cut(point: int, again_after: int | None = None) -> list[str]:
    """Run the scenario with the power cut inside this operation; return what was wrong."""
    return Scenario(cut_at=point, again_after=again_after).run()


def main() -> int:
    """Go through all operations, or one of so many."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--at", type=int, help="this operation alone")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th operation")
    args = parser.parse_args()
    chosen = [args.at] if args.at else [number for number, _, _ in points()][:: args.every]
    failed = 0
    for count, point in enumerate(chosen, 1):
        for again_after in (None, 1 + point % 7):
            if wrong := cut(point, again_after):
                failed += 1
                again = "" if again_after is None else f", and again {again_after} operations after the boot"
                print(f"cut at operation {point}{again}: " + "; ".join(wrong), flush=True)
        if count % 50 == 0:
            print(f"{count} of {len(chosen)} operations, {failed} with something wrong", flush=True)
    print(f"{2 * len(chosen)} runs with power cuts in transfers of files, {failed} with something wrong")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
