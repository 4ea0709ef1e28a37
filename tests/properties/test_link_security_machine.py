"""Both ends of a protected link, over a channel that loses, repeats, reorders, corrupts and forges, with power cuts.

Each end writes to a disk of its own. A write ends later or never: with the power, whatever is under way may be on the
medium or not. Whatever happens, no number is used twice with a key, nothing is accepted twice, nothing forged is
accepted, and the pair comes up again by a skip.

Blocks are small here, so that a few dozen frames come to the end of several.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flight.link.actions import StoreSecurity
from flight.link.security import state
from flight.link.security.associations import End, LinkPlan
from flight.link.security.link_security import LinkSecurity, SecurityError
from flight.link.security.management import Management, ProcedureRefused
from flight.link.security.procedures import Pdu, Procedure, ids_value, wrap_keys
from flight.link.security.suites import CMAC_SUITE, GCM_SUITE
from tests.security_ends import HEADER, SecurityEnd, keys_of

ENDS = st.sampled_from(End)
PLANS = ((LinkPlan("radio", CMAC_SUITE, GCM_SUITE),), (LinkPlan("radio", GCM_SUITE, CMAC_SUITE),))


class Disk(SecurityEnd):
    """An end whose writes are under way until somebody says how they end."""

    under_way: list[StoreSecurity]

    def boot(self, *arguments: Any, **named: Any) -> None:
        super().boot(*arguments, **named)
        self.under_way = []
        self.management = Management(self.security)

    def collect(self) -> None:
        while store := self.security.to_store():
            self.under_way.append(store)

    def finish(self) -> None:
        """The oldest write ends well."""
        store = self.under_way.pop(0)
        self.kept = store.content
        self.security.stored(store.generation)

    def fail(self, written: bool) -> None:
        """The oldest write ends with an error, whether or not it is on the medium."""
        store = self.under_way.pop(0)
        if written:
            self.kept = store.content
        self.security.store_failed(store.generation)

    def cut(self, written: int) -> None:
        """The power goes; so many of the writes under way have reached the medium."""
        for store in self.under_way[:written]:
            self.kept = store.content
        self.boot()


class SecurityMachine(RuleBasedStateMachine):
    """See the head of this file."""

    plans = PLANS[0]

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for block, octets in (("UP_BLOCK", 8), ("DOWN_SEND_BLOCK", 16), ("DOWN_RECEIVE_BLOCK", 4)):
            self.patch.setattr(state, block, octets)
        self.patch.setattr(state, "DOWN_RECEIVE_BLOCK_MAX", 32)
        text = keys_of(self.plans)
        self.ends = {end: Disk(end, text, self.plans, seed=end.value) for end in End}
        self.air: dict[End, list[bytes]] = {end: [] for end in End}  # towards this end
        self.sent: set[tuple[bytes, bytes, int]] = set()  # key, association, number
        self.frames: dict[End, set[bytes]] = {end: set() for end in End}
        self.accepted: dict[End, list[bytes]] = {end: [] for end in End}
        self.unsafe: set[End] = set()  # has taken a frame while its storage failed
        self.serial = 0

    def teardown(self) -> None:
        self.patch.undo()

    def peer(self, end: End) -> End:
        return End.NODE if end is End.GROUND else End.GROUND

    def keep(self, end: End, body: bytes) -> None:
        security: LinkSecurity = self.ends[end].security
        spi = int.from_bytes(body[:2], "big")
        association = security.state.associations[spi]
        key = security.state.keyring.get(association.key_id)
        assert key is not None
        if spi % 16 != 5:
            number = int.from_bytes(body[2 : association.suite.header_octets], "big")
            used = (key.fingerprint, body[:2], number)
            assert used not in self.sent, "a number was used twice with a key"
            self.sent.add(used)
        self.frames[end].add(body)
        self.air[self.peer(end)].append(body)

    @rule(end=ENDS, count=st.integers(1, 20))
    def send(self, end: End, count: int) -> None:
        for _ in range(count):
            self.serial += 1
            body = self.ends[end].security.protect(0, HEADER, b"frame %d" % self.serial)
            self.ends[end].collect()
            if body is None:
                return
            self.keep(end, body)

    @rule(end=ENDS, count=st.integers(1, 20), ready=st.booleans())
    def receive(self, end: End, count: int, ready: bool) -> None:
        """`ready`: storage is as fast as frames."""
        for _ in range(min(count, len(self.air[end]))):
            self.take(end, self.air[end].pop(0), ready)

    def take(self, end: End, body: bytes, ready: bool = True) -> bool:
        disk = self.ends[end]
        try:
            checked = disk.security.check(0, HEADER, body)
            disk.collect()
            while ready and disk.under_way:
                disk.finish()
                disk.collect()
            if checked.waits:
                checked = disk.security.check(0, HEADER, body)
        except SecurityError:
            return False
        assert body in self.frames[self.peer(end)], "nobody sent this"
        if checked.waits:
            return False  # whoever owns the frame gives it up
        if disk.security.volatile:
            self.unsafe.add(end)
        if body[1] % 16 != 5:
            assert end in self.unsafe or body not in self.accepted[end], "accepted twice"
            self.accepted[end].append(body)
        disk.security.commit(0, checked)
        disk.collect()
        return True

    @rule(end=ENDS, at=st.integers(0, 9), to=st.integers(0, 9))
    def reorder(self, end: End, at: int, to: int) -> None:
        if at < len(self.air[end]):
            self.air[end].insert(to, self.air[end].pop(at))

    @rule(end=ENDS, count=st.integers(1, 20))
    def lose(self, end: End, count: int) -> None:
        del self.air[end][:count]

    @rule(end=ENDS, at=st.integers(0, 1000))
    def replay(self, end: End, at: int) -> None:
        frames = sorted(self.frames[self.peer(end)])
        if frames:
            self.air[end].insert(0, frames[at % len(frames)])

    @rule(end=ENDS, at=st.integers(0, 9), octet=st.integers(0, 60), bits=st.integers(1, 255))
    def corrupt(self, end: End, at: int, octet: int, bits: int) -> None:
        if at < len(self.air[end]):
            body = bytearray(self.air[end][at])
            body[octet % len(body)] ^= bits
            self.air[end].insert(at, bytes(body))

    @rule(end=ENDS, spi=st.integers(1, 5), number=st.integers(0, 2**64 - 1), rest=st.binary(max_size=60))
    def forge(self, end: End, spi: int, number: int, rest: bytes) -> None:
        self.air[end].insert(0, spi.to_bytes(2, "big") + number.to_bytes(8, "big") + rest)

    @rule(end=ENDS, written=st.booleans())
    def write_fails(self, end: End, written: bool) -> None:
        if self.ends[end].under_way:
            self.ends[end].fail(written)

    @rule(end=ENDS)
    def write_ends(self, end: End) -> None:
        self.ends[end].security.retry()
        self.ends[end].collect()
        if self.ends[end].under_way:
            self.ends[end].finish()

    @rule(end=ENDS, written=st.integers(0, 2))
    def power_goes(self, end: End, written: int) -> None:
        """Whoever listened plays again what was accepted last, before anything else comes."""
        self.ends[end].cut(written)
        for body in self.accepted[end][-40:]:
            self.take(end, body)

    @rule()
    def heed(self) -> None:
        node, ground = self.ends[End.NODE].security, self.ends[End.GROUND].security
        ground.heed(0, node.report(0))

    @rule(end=ENDS, key_id=st.integers(20, 22), spi=st.integers(2, 4), begin=st.integers(0, 4))
    def manage(self, end: End, key_id: int, spi: int, begin: int) -> None:
        """Some steps of a change of key at one end, each written before the next: the other end hears nothing of it."""
        disk = self.ends[end]
        master = disk.security.state.keyring.get(0)
        assert master is not None
        upload = wrap_keys(0, master.octets, [(key_id, bytes((key_id,)) * 32)], bytes(12))
        steps = [
            (Procedure.STOP_SA, ids_value([spi])), (Procedure.EXPIRE_SA, ids_value([spi])),
            (Procedure.OTAR, upload), (Procedure.KEY_ACTIVATION, ids_value([key_id])),
            (Procedure.REKEY_SA, ids_value([spi, key_id])), (Procedure.START_SA, ids_value([spi])),
        ]  # fmt: skip
        for procedure, value in steps[begin:]:
            try:
                executed = disk.management.execute(Pdu(procedure, value).encode())
            except ProcedureRefused:
                continue
            if executed.store:
                disk.under_way.append(executed.store)
            while disk.under_way:
                disk.finish()
        if end is End.GROUND and spi == 2:
            disk.security.choose(0, spi)
            disk.collect()

    @rule(end=ENDS)
    def manage_and_cut(self, end: End) -> None:
        """A change whose write is still under way."""
        try:
            executed = self.ends[end].management.execute(Pdu(Procedure.STOP_SA, ids_value([4])).encode())
        except ProcedureRefused:
            return
        if executed.store:
            self.ends[end].under_way.append(executed.store)

    @rule()
    def comes_up_again(self) -> None:
        """With storage that works, one skip is enough for the uplink, whoever was rebooted and however often."""
        for disk in self.ends.values():
            disk.security.retry()
            disk.collect()
            while disk.under_way:
                disk.finish()
                disk.collect()
        ground = self.ends[End.GROUND]
        ground.security.choose(0, 1)
        ground.security.skip(0)
        ground.collect()
        while ground.under_way:
            ground.finish()
            ground.collect()
        self.serial += 1
        body = ground.security.protect(0, HEADER, b"frame %d" % self.serial)
        assert body is not None
        self.keep(End.GROUND, body)
        self.air[End.NODE].pop()
        assert self.take(End.NODE, body), "the pair does not come up again"

    @invariant()
    def few_writes_are_under_way(self) -> None:
        assert all(len(disk.under_way) <= 9 for disk in self.ends.values())


class GcmUpMachine(SecurityMachine):
    """The same with the suites changed over."""

    plans = PLANS[1]


TestSecurity = SecurityMachine.TestCase
TestSecurity.settings = settings(stateful_step_count=50, max_examples=150)
TestGcmUp = GcmUpMachine.TestCase
TestGcmUp.settings = settings(stateful_step_count=50, max_examples=150)
