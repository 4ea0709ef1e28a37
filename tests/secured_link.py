"""Both ends of protected links with their storage and a keys file, for tests that change keys."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flight.link.actions import StoreSecurity
from flight.link.security.associations import End, LinkPlan, SaState
from flight.link.security.keyring import SPIS_PER_LINK, KeyState, KeyUse, delivered_keys, use_of
from flight.link.security.keys_text import format_keys, parse_keys
from flight.link.security.link_security import LinkSecurity, SecurityError
from flight.link.security.management import Management, ProcedureRefused
from flight.link.security.suites import CMAC_SUITE, GCM_SUITE
from ground.link.security.key_reversion import reverted
from ground.link.security.key_rotation import DONE, SILENT, Answer, KeyRotation, carry_out
from ground.link.security.numbers_recovery import NumbersRecovery

PLANS = (LinkPlan("radio", CMAC_SUITE, GCM_SUITE), LinkPlan("optical", GCM_SUITE, CMAC_SUITE))
HEADER = b"header"


class Cut(Exception):
    """The ground's process is gone."""


@dataclass
class SecuredLink:
    """Two ends with storage, the keys file, and frames between them. Of the radio nothing is here but its failures.

    cut_after: the process that rotates ends after so many steps. lose_reply_at: at this step the node executes what is
    asked, and its answer is lost. deaf: which frames do not arrive, by direction and SPI.
    """

    index: int = 0
    plans: Sequence[LinkPlan] = PLANS
    file: str = ""
    cut_after: int = 1 << 30
    lose_reply_at: int = -1
    deaf: Callable[[str, int], bool] = lambda _way, _spi: False
    steps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.file = self.file or format_keys(delivered_keys(self.plans, lambda _: os.urandom(32), node="n"))
        self.board = self.file
        self.records: dict[End, bytes | None] = {End.NODE: None, End.GROUND: None}
        self.boot()

    def boot(self, clock_number: int = 1) -> None:
        """Start both ends from what is stored: the node's keys file is as it was delivered."""
        self.ends = {
            end: LinkSecurity(
                end,
                parse_keys(text),
                self.plans,
                stored=self.records[end],
                clock_number=clock_number,
                random=os.urandom,
            )
            for end, text in ((End.NODE, self.board), (End.GROUND, self.file))
        }
        self.managements = {end: Management(security) for end, security in self.ends.items()}
        for end in self.ends:
            self.store(end)

    def lose(self, end: End, clock_number: int) -> None:
        """Start this end again without its record, which was there and is gone."""
        text = self.board if end is End.NODE else self.file
        self.ends[end] = LinkSecurity(
            end, parse_keys(text), self.plans, lost=True, clock_number=clock_number, random=os.urandom
        )
        self.managements[end] = Management(self.ends[end])
        self.store(end)

    def revert(self, clock_number: int) -> None:
        """As `orbitnode keys revert` does it, and start the ground again, whose record is gone with it."""
        self.file = format_keys(reverted(parse_keys(self.file), "2026-03-21T10:00:00Z"))
        self.lose(End.GROUND, clock_number)

    def recover(self, clock_number: int) -> None:
        """As `orbitnode keys recover` does it."""
        recovery = NumbersRecovery(self.plans, self.index, clock_number)
        carry_out(recovery, self, lambda: None, self.steps.append)

    def store(self, end: End, given: StoreSecurity | None = None) -> None:
        security = self.ends[end]
        while given is not None or (given := security.to_store()) is not None:
            self.records[end] = given.content
            security.stored(given.generation)
            given = None

    def carry(self, way: str, data: bytes) -> bytes | None:
        """What of a frame arrives, None for nothing."""
        plan = self.plans[self.index]
        if (plan.up if way == "up" else plan.down) is None:
            return data
        sender, receiver = (End.GROUND, End.NODE) if way == "up" else (End.NODE, End.GROUND)
        body = self.ends[sender].protect(self.index, HEADER, data)
        self.store(sender)
        if body is None:  # it waited for numbers to be stored
            body = self.ends[sender].protect(self.index, HEADER, data)
            self.store(sender)
        if body is None or self.deaf(way, int.from_bytes(body[:2], "big")):
            return None
        for _ in range(2):
            try:
                checked = self.ends[receiver].check(self.index, HEADER, body)
            except SecurityError:
                return None
            if not checked.waits:
                self.ends[receiver].commit(self.index, checked)
                self.store(receiver)
                return checked.data
            self.store(receiver)
        return None

    def execute(self, end: End, pdu: bytes) -> Answer:
        try:
            done = self.managements[end].execute(pdu)
        except ProcedureRefused as refusal:
            return Answer(refused=refusal.reason, text=str(refusal))
        self.store(end, done.store)
        return Answer(reply=done.reply)

    def exchange(self, pdu: bytes) -> Answer:
        arrived = self.carry("up", pdu)
        if arrived is None:
            return SILENT
        answer = self.execute(End.NODE, arrived)
        if len(self.steps) == self.lose_reply_at or self.carry("down", b"answer") is None:
            return SILENT
        return answer

    def own(self, pdu: bytes) -> Answer:
        return self.execute(End.GROUND, pdu)

    def choose(self, spi: int) -> Answer:
        self.ends[End.GROUND].choose(self.index, spi)
        self.store(End.GROUND)
        return DONE

    def rotate(self, use: KeyUse) -> None:
        """As `orbitnode keys rotate` does it: read the file, go through the steps, write the file at each Save."""
        ring = parse_keys(self.read_file())
        rotation = KeyRotation(ring, self.index, use, random=os.urandom, created="2026-03-20T10:00:00Z")

        def count(what: str) -> None:
            if len(self.steps) == self.cut_after:
                raise Cut
            self.steps.append(what)

        carry_out(rotation, self, lambda: self.write_file(format_keys(ring)), count)

    def read_file(self) -> str:
        """The text of the ground's keys file."""
        return self.file

    def write_file(self, text: str) -> None:
        """Write the ground's keys file."""
        self.file = text

    def works(self) -> bool:
        return self.carry("up", b"up") == b"up" and self.carry("down", b"down") == b"down"

    def active(self, use: KeyUse) -> list[tuple[int, int]]:
        """Id and SPI of the active keys of this direction, by the file."""
        places = range(SPIS_PER_LINK * self.index, SPIS_PER_LINK * (self.index + 1))
        keys = [key for key in parse_keys(self.read_file()) if key.spi in places and key.use is use]
        return [(key.key_id, key.spi) for key in keys if key.state is KeyState.ACTIVE]

    def operational(self, end: End, use: KeyUse) -> list[tuple[int, int]]:
        """SPI and key id of what frames of this direction may go over at that end."""
        state = self.ends[end].state
        return [
            (spi, association.key_id)
            for spi, association in state.associations.items()
            if association.link == self.index and use_of(spi) is use and association.state is SaState.OPERATIONAL
        ]
