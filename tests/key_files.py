"""Both ends of a link over years: keys files exchanged and put back, records lost or from a backup, power cuts.

What must hold is asserted as it goes: no number is used twice with a key, and no frame is taken twice.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flight.link.security.associations import End, LinkPlan
from flight.link.security.keyring import KeyUse, delivered_keys
from flight.link.security.keys_text import format_keys, parse_keys
from flight.link.security.link_security import LinkSecurity
from flight.link.security.management import Management, ProcedureRefused, is_idempotent
from ground.link.security.key_reversion import reverted
from ground.link.security.key_rotation import SILENT, Answer, RotationFailed
from tests.secured_link import HEADER, PLANS, Cut, SecuredLink

CLOCK_STEP = 1 << 20  # 16 s: between any two starts of an end
FILES = 3
VOLATILE = 5
WAYS = (KeyUse.UP, KeyUse.DOWN)


class Fault(NamedTuple):
    """What goes wrong at a step of a change: "cli" is killed, an "answer" is lost, an end is cut around its write."""

    step: int = 1 << 30
    kind: str = "cli"


FAULTS = ("cli", "answer", "node before", "node after", "ground before", "ground after")
WELL = Fault()


@dataclass
class KeyFiles(SecuredLink):
    """One link, and several keys files, each with a copy at either end; `place` says which one an end goes by."""

    plans: Sequence[LinkPlan] = PLANS[:1]

    def __post_init__(self) -> None:
        self.clock = 1 << 40
        self.fault = WELL
        self.files: list[dict[End, str]] = []
        for _ in range(FILES):
            text = format_keys(delivered_keys(self.plans, lambda _: os.urandom(32), node="n"))
            self.files.append(dict.fromkeys(End, text))
        self.place = dict.fromkeys(End, 0)
        self.records = dict.fromkeys(End)
        self.put_aside: dict[int, bytes | None] = {}  # records of the ground, by the keys file that they stand beside
        self.backups: dict[End, bytes] = {}
        self.sent: set[tuple[bytes, int]] = set()
        self.taken: dict[End, dict[bytes, int]] = {end: {} for end in End}  # when each frame was taken
        self.forgot = dict.fromkeys(End, 0)  # what was taken until then may be taken again
        self.time = 0
        self.ends: dict[End, LinkSecurity] = {}
        self.managements: dict[End, Management] = {}
        self.boot()

    def start(self, end: End) -> None:
        """Start an end from what is stored. The ground hears of a restart of the node, and skips."""
        self.clock += CLOCK_STEP
        record = self.records[end]
        lost = record is None and (end is End.GROUND or self.time > 0)
        security = self.ends[end] = LinkSecurity(
            end, parse_keys(self.files[self.place[end]][end]), self.plans, stored=record, lost=lost,
            clock_number=self.clock, random=os.urandom,
        )  # fmt: skip
        self.managements[end] = Management(security)
        self.store(end)
        if end is End.NODE and End.GROUND in self.ends:
            self.ends[End.GROUND].skip(0)
            self.store(End.GROUND)

    def boot(self, clock_number: int = 0) -> None:
        self.clock = max(self.clock, clock_number)
        for end in (End.NODE, End.GROUND):
            self.start(end)

    # What happens to files and records.

    def read_file(self) -> str:
        return self.files[self.place[End.GROUND]][End.GROUND]

    def write_file(self, text: str) -> None:
        self.files[self.place[End.GROUND]][End.GROUND] = text

    def bring(self, end: End, place: int, *, with_record: bool = False) -> None:
        """Let an end go by another keys file. with_record: on the ground the record stands beside its file."""
        if end is End.GROUND and place != self.place[end]:
            self.forgot[end] = self.time  # it takes all above what it hears first
            if with_record:
                self.put_aside[self.place[end]] = self.records[end]
                self.records[end] = self.put_aside.pop(place, None)
        self.place[end] = place
        self.start(end)

    def bring_both(self, place: int, first: End = End.NODE) -> None:
        for end in sorted(End, key=lambda end: end is not first):
            self.bring(end, place)

    def forget(self, end: End) -> None:
        """The record of an end is gone."""
        self.time += 1
        self.forgot[end] = self.time
        self.records[end] = None
        self.start(end)

    def keep(self) -> None:
        self.backups = {end: record for end, record in self.records.items() if record is not None}

    def put_back(self, end: End) -> None:
        self.time += 1
        self.forgot[end] = self.time
        self.records[end] = self.backups[end]
        self.start(end)

    # What goes over the air.

    def carry(self, way: str, data: bytes) -> bytes | None:
        sender, receiver = (End.GROUND, End.NODE) if way == "up" else (End.NODE, End.GROUND)
        body = self.ends[sender].protect(0, HEADER, data)
        self.store(sender)
        if body is None:
            body = self.ends[sender].protect(0, HEADER, data)
            self.store(sender)
        if body is None:
            return None
        self._note(sender, body)
        return self._take(receiver, body)

    def _note(self, sender: End, body: bytes) -> None:
        state = self.ends[sender].state
        association = state.associations[int.from_bytes(body[:2], "big")]
        key = state.key_of(association)
        assert key is not None
        used = (key.fingerprint, int.from_bytes(body[2 : association.suite.header_octets], "big"))
        assert used not in self.sent, "a number was used twice with a key"
        self.sent.add(used)

    def _take(self, receiver: End, body: bytes) -> bytes | None:
        security = self.ends[receiver]
        for _ in range(2):
            checked = security.look(0, HEADER, body)
            if isinstance(checked, str):
                return None
            if not checked.waits:
                self.time += 1
                self.taken[receiver][body] = self.time
                security.commit(0, checked)
                self.store(receiver)
                return checked.data
            self.store(receiver)
        return None

    def replay(self) -> None:
        """Somebody sends again what was taken: nothing of it is taken, but what the pages say may be."""
        for end, security in self.ends.items():
            if security.volatile:
                continue
            for body, time in self.taken[end].items():
                if body[1] != VOLATILE and time > self.forgot[end]:
                    assert isinstance(security.look(0, HEADER, body), str), f"{end}: a frame could be taken twice"
            self.store(end)

    def send_up(self, data: bytes) -> bytes | None:
        """Send a command, and again after the node's report of a bad number."""
        arrived = self.carry("up", data)
        ground = self.ends[End.GROUND]
        ground.begin_contact(0)
        if arrived is None and ground.heed(0, self.ends[End.NODE].report(0)):
            self.store(End.GROUND)
            arrived = self.carry("up", data)
        return arrived

    def send_down(self, data: bytes) -> bool:
        """Send telemetry, which goes on and on: after a start the ground refuses the first frames."""
        return any(self.carry("down", data) == data for _ in range(64))

    def works(self) -> bool:
        return self.send_up(b"up") == b"up" and self.send_down(b"down")

    def exchange(self, pdu: bytes) -> Answer:
        arrived = self.send_up(pdu)
        if arrived is None:
            return SILENT
        answer = self.execute(End.NODE, arrived)
        return SILENT if self._is_hit("answer") or not self.send_down(b"answer") else answer

    def _is_hit(self, *kinds: str) -> bool:
        return len(self.steps) == self.fault.step and self.fault.kind in kinds

    def execute(self, end: End, pdu: bytes) -> Answer:
        if end is End.NODE and self.ends[end].volatile and not is_idempotent(pdu):
            return Answer(refused="volatile", text="the node is volatile")
        try:
            done = self.managements[end].execute(pdu)
        except ProcedureRefused as refusal:
            return Answer(refused=refusal.reason, text=str(refusal))
        name = end.name.lower()
        if self._is_hit(f"{name} before", f"{name} after"):
            if done.store is not None and self._is_hit(f"{name} after"):
                self.records[end] = done.store.content
            self.start(end)
            if end is End.GROUND:
                raise Cut
            return SILENT
        self.store(end, done.store)
        return Answer(reply=done.reply)

    # What the operator does.

    def change(self, use: KeyUse, fault: Fault = WELL) -> str:
        """Change a key; return "" if that went well, else why not."""
        self.steps.clear()
        self.fault, self.cut_after = fault, fault.step if fault.kind == "cli" else WELL.step
        try:
            self.rotate(use)
        except (Cut, RotationFailed) as ended:
            return str(ended) or "cut"
        finally:
            self.steps.clear()
            self.fault, self.cut_after = WELL, WELL.step
        return ""

    def fault_of_recovery(self) -> str:
        self.clock += CLOCK_STEP
        try:
            self.recover(self.clock + CLOCK_STEP)
        except RotationFailed as failed:
            return str(failed)
        return "" if self.works() and not self.ends[End.NODE].volatile else "recovered, and not well"

    def come_together(self) -> None:
        """Do what the guide says, after which the link is well."""
        assert self.place[End.NODE] == self.place[End.GROUND]
        if self.fault_of_recovery():
            self.write_file(format_keys(reverted(parse_keys(self.read_file()), "2026-03-21T10:00:00Z")))
            self.backups.clear()
            self.forget(End.GROUND)
            fault = self.fault_of_recovery()
            assert not fault, fault

    def change_all(self) -> None:
        """Change both keys, after which one key carries each way, at both ends and by the file."""
        for use in WAYS:
            faults = []
            while (fault := self.change(use)) or len(self.active(use)) > 1:
                faults.append(fault)
                assert len(faults) < 3, faults
            ((key_id, spi),) = self.active(use)
            assert self.works()
            assert self.operational(End.NODE, use) == [(spi, key_id)]
            assert (spi, key_id) in self.operational(End.GROUND, use)
        assert self.ends[End.NODE].carrier(0) != VOLATILE
