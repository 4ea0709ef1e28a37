"""The two ends of the link under soak: the one place at which a run makes them, and the link security of each.

Link security is the real one, its keys from the seed, its record on a disk of its own. It is off, then up from `boot`
to `go_down`, as often as its end is rebooted. What `boot` returns is given to the end as that is made.
"""

# What an end wants done beside sending, such as a number to be stored, comes as one of its actions, to NodeEnd or
# GroundEnd; both refuse to pass over an action that they do not know.
#
# What an owner does about records (flight/services/radio/security.py, ground/link/security/stored_security.py): it
# reads the record at boot, stores what the stack asks for, and says so when it is durable. Here both ends do it in the
# background, as the node does. The disk is as unkind as the simulator's is (sim_hw/machine/disk.py): what was asked for
# and was not durable when the power went may be there at the next boot, or not.
#
# How long a commit takes is drawn each time, from a disk that has nothing else to do up to one that is busy. So frames
# really wait, on both ends. All of it is well below T1.
#
# A power cut may cost the newest record, never all of them: a record that was there and is lost is a finding, and so is
# a fault of one that was read. `floor` is the number up to which this end, since its boot, takes nothing. A reboot must
# not bring it down: what was taken before would be taken again.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from random import Random

from flight.core.future import Future
from flight.link.actions import StoreSecurity
from flight.link.kinds import open_stack
from flight.link.security.associations import End, LinkPlan
from flight.link.security.keyring import simulated_keys
from flight.link.security.link_security import LinkSecurity
from flight.link.security.numbers import ReceiveNumbers, clock_number
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from flight.store.generations import Generations, Presence
from ground.link.kinds import open_session
from ground.link.tm_tc_session import GroundSession
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from sim_hw.soak.findings import Findings
from sim_hw.soak.protected_frames import SPI_DOWN, SPI_UP

# How long a commit takes, least and most.
COMMIT_S = {End.NODE: (0.01, 1.5), End.GROUND: (0.002, 0.1)}


def open_node_end(config: LinkConfig, security: LinkSecurity | None) -> FlightLink:
    """Return the node's end as it is after a boot."""
    link = open_stack(config, security)
    assert isinstance(link, FlightLink), link
    return link


def open_ground_end(config: LinkConfig, security: LinkSecurity | None) -> GroundSession:
    """Return the ground's end as it is after a start of the ground."""
    session = open_session(config, security)
    assert isinstance(session, GroundSession), session
    return session


class SecurityEnd:
    """See the head of the file. `security` is None while it is off, and always if the link is clear both ways.

    `on_stored` is called when a record is durable.

    Of the records that the stack asked to be stored (`asked`) some became `durable`, were `cut` off by a reboot, or
    are `in_flight`.
    """

    def __init__(
        self, end: End, config: LinkConfig, loop: VirtualLoop, *, seed: int, start_tai_ns: int, random: Random,
        findings: Findings,
    ) -> None:  # fmt: skip
        self.security: LinkSecurity | None = None
        self.asked = self.durable = self.cut = self.in_flight = 0
        self.on_stored: Callable[[], None] = lambda: None
        self._end = end
        self._plans = [LinkPlan("link", config.up_suite, config.down_suite)]
        self._is_protected = config.is_protected
        self._loop = loop
        self._seed = seed
        self._start_tai_ns = start_tai_ns
        self._random = random
        self._disk = Disk(Random(random.getrandbits(64)))
        self._record: Generations | None = None
        self._findings = findings
        self._had_record = False

    def boot(self) -> LinkSecurity | None:
        """Begin a life: read the record, and have the first block of numbers stored."""
        if not self._is_protected:
            return None
        record = self._record = Generations(self._disk.boot(self._loop), "security")
        stored = record.load()
        if record.fault or (stored is None and self._had_record):
            self._findings.add(f"{self._name}: record of link security lost: {record.fault or 'nothing is there'}")
        security = self.security = LinkSecurity(
            self._end, simulated_keys(self._seed, self._plans), self._plans, stored=stored,
            lost=record.found is Presence.LOST or (self._end is End.GROUND and stored is None),
            clock_number=clock_number(self._start_tai_ns + self._loop.now_ns()), random=self._random.randbytes,
        )  # fmt: skip
        for fault in security.faults:
            self._findings.add(f"{self._name}: {fault}")
        if (content := security.to_store()) is not None:
            self.store(content)
        return security

    @property
    def _name(self) -> str:
        return self._end.name.lower()

    @property
    def floor(self) -> int:
        """The number up to which no frame is taken any more; 0 if what comes in is clear."""
        numbers = None
        if self.security is not None:
            numbers = self.security.state.numbers.get(SPI_UP if self._end is End.NODE else SPI_DOWN)
        return numbers.spent if isinstance(numbers, ReceiveNumbers) else 0

    def store(self, content: StoreSecurity) -> None:
        """Store a record; this takes a while."""
        security, record = self.security, self._record
        assert security is not None and record is not None, "off"
        self.asked += 1
        self.in_flight += 1

        def saved(future: Future[None]) -> None:
            future.result()
            if self.security is not security:
                return  # of a life before: the disk of that does nothing any more
            self.in_flight -= 1
            self.durable += 1
            self._had_record = True
            security.stored(content.generation)
            self.on_stored()

        self._disk.commit_s = self._random.uniform(*COMMIT_S[self._end])
        record.save(content.content).add_callback(saved)

    def go_down(self) -> None:
        """End a life as a loss of power does."""
        self._disk.cut()
        self.cut += self.in_flight
        self.in_flight = 0
        self.security = self._record = None

    def counts(self) -> dict[str, int]:
        """Return every counter of this life by name, of refusals as "security.refused: REASON"."""
        if self.security is None:
            return {}
        counters = self.security.counters
        counts = {f"security.{f.name}": getattr(counters, f.name) for f in fields(counters) if f.name != "refused"}
        return counts | {f"security.refused: {reason}": count for reason, count in counters.refused.items()}
