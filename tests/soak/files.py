"""Files in both directions over a day of short contacts: `python -m tests.soak.files` (`make file-soak`).

200 files of 0 octets to 5 MB become due all through 24 virtual hours, half of them at each end. The ends see each other
for ten minutes per orbit, over a line that loses 5 % of all PDUs, cuts off what is under way at the end of a contact,
and reorders none. The node has its real file service over the simulated disk; the ground is our entity with an owner of
its own. Either end reboots now and then, also in the middle of a contact, and keeps only what it has synced.

It holds that every file arrives, is identical, and that the end that sent it knows so. The run is the same for
one seed. The exit code is 0 if all holds, otherwise 1, with one line per fault.
"""

# A sender that reboots before anything of a transaction was stored sends the file again under another number. The
# receiver of the former one gives up after `rests_max` contacts: right, if the file is there.
#
# A PDU takes its time on the line, and the other end has it when the last octet is there. So the end of a contact cuts
# off a PDU in each direction, and what the entity had given out just before is lost. The rates are such that the files
# take about half of all contacts: some contacts have more to do than there is time for.

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from random import Random

from flight.core.nanoseconds import NS
from flight.link.cfdp.transactions.entity_config import EntityConfig
from tests.soak.durable_end import DurableEnd
from tests.soak.node_files import NodeFiles
from tests.soak.soak_file import SoakFile

NODE, GROUND = 2, 1
FILES, HOURS = 200, 24.0
OCTETS_MAX = 5_000_000
ORBIT_S, CONTACT_S = 5700, 600
EXTRA_ORBITS = 16  # for what became due last, and for receivers whose sender has forgotten them to give up
LOST_RATE = 0.05
RATES_BPS = {NODE: 512_000, GROUND: 512_000}
PDU_OCTETS = 1043
TURN_NS = 20_000_000  # how finely time goes on within a contact
REBOOTS = 24  # of each end


@dataclass(frozen=True, slots=True)
class Setup:
    """What one run is."""

    files: int = FILES
    hours: float = HOURS
    octets_max: int = OCTETS_MAX
    lost_rate: float = LOST_RATE
    reboots: int = REBOOTS
    seed: int = 1


def soak_files(setup: Setup, direction: str) -> list[SoakFile]:
    """Return the files of one direction, in the order in which they become due: some empty, some as long as may be."""
    random = Random(f"{setup.seed} {direction}")
    count = setup.files // 2
    last_ns = int(setup.hours * 3600 * 0.9) * NS
    sizes = [0, 1, 1024, setup.octets_max]
    sizes += [int(setup.octets_max ** random.uniform(0.3, 1.0)) for _ in range(count - len(sizes))]
    random.shuffle(sizes)
    dues = sorted(random.randrange(last_ns) for _ in sizes)
    return [
        SoakFile(f"{setup.seed}-{direction}-{place}", octets, due_ns)
        for place, (octets, due_ns) in enumerate(zip(sizes, dues, strict=True))
    ]


class Soak:
    """Both ends, and the line between them."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._random = Random(f"{setup.seed} line")
        self.lost = 0
        self.contacts = 0
        self.now_ns = 0
        self.files = {end: soak_files(setup, name) for end, name in ((NODE, "down"), (GROUND, "up"))}
        config = EntityConfig(entity=GROUND, pdu_octets=PDU_OCTETS, nak_s=3.0, ack_s=3.0)
        ground = DurableEnd(config, NODE, self.files[GROUND])
        node = NodeFiles(self.files[NODE], setup.seed, lambda: ground.kept)
        self.ends: dict[int, NodeFiles | DurableEnd] = {NODE: node, GROUND: ground}
        span_ns = int(setup.hours * 3600) * NS
        self._reboots = sorted((self._moment(span_ns), end) for end in self.ends for _ in range(setup.reboots))

    def _moment(self, span_ns: int) -> int:
        """Return a moment for a reboot: half of them in a contact."""
        at_ns = self._random.randrange(span_ns)
        if self._random.random() < 0.5:
            at_ns = at_ns // (ORBIT_S * NS) * ORBIT_S * NS + self._random.randrange(CONTACT_S * NS)
        return at_ns

    def run(self) -> None:
        """Fly until every file is known to have arrived, or the extra orbits are over."""
        orbits = int(self.setup.hours * 3600 / ORBIT_S) + EXTRA_ORBITS
        for orbit in range(orbits):
            begin_ns = orbit * ORBIT_S * NS
            self._reboot_until(begin_ns)
            self._contact(begin_ns, begin_ns + CONTACT_S * NS)
            if all(end.is_done for end in self.ends.values()):
                break
        for end in self.ends.values():
            end.close()

    def _reboot_until(self, at_ns: int) -> None:
        while self._reboots and self._reboots[0][0] <= at_ns:
            _, end = self._reboots.pop(0)
            self.ends[end].reboot(at_ns)

    def _contact(self, begin_ns: int, end_ns: int) -> None:
        self.contacts += 1
        for end in self.ends.values():
            end.contact(True, begin_ns)
        room = dict.fromkeys(self.ends, 0)
        under_way: dict[int, list[bytes]] = {end: [] for end in self.ends}
        for now_ns in range(begin_ns, end_ns, TURN_NS):
            self.now_ns = now_ns
            self._reboot_until(now_ns)
            for source, destination in ((NODE, GROUND), (GROUND, NODE)):
                arrived, under_way[source] = under_way[source], []
                for pdu in arrived:
                    self._deliver(pdu, self.ends[destination])
                room[source] = min(room[source], 0) + RATES_BPS[source] * TURN_NS // (8 * NS)
                while room[source] > 0 and (raw := self.ends[source].take(now_ns)) is not None:
                    room[source] -= len(raw)
                    under_way[source].append(raw)
                self.ends[source].on_time(now_ns)
        for end in self.ends.values():
            end.contact(False, end_ns)

    def _deliver(self, raw: bytes, destination: NodeFiles | DurableEnd) -> None:
        if self._random.random() < self.setup.lost_rate:
            self.lost += 1
        else:
            destination.give(raw, self.now_ns)

    def faults(self) -> list[str]:
        """Return what does not hold, empty if everything does."""
        found = [text for end in self.ends.values() for text in end.wrong]
        for source, destination in ((NODE, GROUND), (GROUND, NODE)):
            kept, done = self.ends[destination].kept, self.ends[source].done
            for file in self.files[source]:
                if file.name not in kept:
                    found.append(f"{file.name} of {file.octets} octets did not arrive")
                elif tuple(kept[file.name]) != (file.octets, hashlib.sha256(file.content()).digest()):
                    found.append(f"{file.name} arrived as {kept[file.name].octets} octets of something else")
                elif file.name not in done:
                    found.append(f"{file.name} arrived, and its sender does not know")
            if self.ends[destination].leftovers:
                found.append(f"entity {destination} still holds parts of {self.ends[destination].leftovers}")
        return found

    def account(self) -> dict[str, object]:
        """Return the figures of the run."""
        totals = {name: self.ends[end].total for end, name in ((NODE, "down"), (GROUND, "up"))}
        return {
            "seed": self.setup.seed,
            "files": sum(map(len, self.files.values())),
            "octets": sum(file.octets for files in self.files.values() for file in files),
            "contacts": self.contacts,
            "pdus_lost": self.lost,
            "reboots": sum(end.reboots for end in self.ends.values()),
            **{name: {key: total[key] for key in sorted(total) if total[key]} for name, total in totals.items()},
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=FILES, help="in all (default %(default)s)")
    parser.add_argument("--hours", type=float, default=HOURS, help="virtual hours (default %(default)s)")
    parser.add_argument("--lost", type=float, default=LOST_RATE, help="share of PDUs lost (default %(default)s)")
    parser.add_argument("--reboots", type=int, default=REBOOTS, help="of each end (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    soak = Soak(Setup(args.files, args.hours, OCTETS_MAX, args.lost, args.reboots, args.seed))
    started_s = time.monotonic()
    soak.run()
    faults = soak.faults()
    for name, value in soak.account().items():
        print(f"{name:<10} {value}")
    for fault in faults:
        print(f"file soak: {fault}", file=sys.stderr)
    print(json.dumps({"faults": len(faults), "virtual_h": round(soak.now_ns / NS / 3600, 1),
                      "took_s": round(time.monotonic() - started_s, 1)}))  # fmt: skip
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
