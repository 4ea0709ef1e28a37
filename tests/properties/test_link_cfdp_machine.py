"""Two CFDP entities over a bad link: loss, repetition, reordering, wrong bits, cut contacts, reboots of both, cancels.

Whatever happens, every transaction ends, both ends agree how, a file that is reported whole is identical, and a file
whose sender was told that it is there is there.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from flight.core.nanoseconds import NS
from flight.link.cfdp.conditions import ConditionCode
from flight.link.cfdp.header import Mode, TransactionId
from flight.link.cfdp.transactions.entity_config import NAK_MODES, EntityConfig
from flight.link.cfdp.transactions.requests import PutRequest, Role
from tests.cfdp_ends import CfdpEnd, Pair

SIDES = st.sampled_from((0, 1))
# Who heard nothing over all its rests cannot know what the other end has.
UNHEARD = (ConditionCode.ACK_LIMIT_REACHED, ConditionCode.INACTIVITY_DETECTED, ConditionCode.NAK_LIMIT_REACHED)


class BadLink(RuleBasedStateMachine):
    """See the head of the file."""

    def __init__(self) -> None:
        super().__init__()
        near, far = (
            EntityConfig(
                entity=entity, pdu_octets=80, crc=True, nak=nak, transactions=8, ranges=6, rewind_octets=100,
                ack_s=4, nak_s=3, check_s=2, inactivity_s=30, rest_s=60, rests_max=3, keep_alive_s=keep_alive_s,
            )
            for entity, nak, keep_alive_s in ((1, NAK_MODES[0], 0.0), (2, NAK_MODES[1], 7.0))
        )  # fmt: skip
        self.pair = Pair(near, far)
        self.on_way: tuple[list[bytes], list[bytes]] = ([], [])  # toward the end of that index
        self.sent: dict[TransactionId, tuple[CfdpEnd, CfdpEnd, bytes, PutRequest]] = {}
        self.known: set[TransactionId] = set()  # whose sender never lost its memory of it

    def other(self, end: CfdpEnd) -> CfdpEnd:
        return self.pair.far if end is self.pair.near else self.pair.near

    @rule(side=SIDES, octets=st.sampled_from((0, 1, 59, 60, 200, 700, 2000)), mode=st.sampled_from(Mode),
          closure=st.booleans(), priority=st.integers(0, 2), kind=st.sampled_from((0, 3)))  # fmt: skip
    def put(self, side: int, octets: int, mode: Mode, closure: bool, priority: int, kind: int) -> None:
        end = self.pair.ends[side]
        if len(end.entity.transactions()) >= 8:
            return
        name = f"file-{side}-{len(self.sent)}"
        data = bytes((i * 7 + len(self.sent)) % 251 for i in range(octets))
        request = PutRequest(2 - side, name, name, mode, closure, priority, kind)
        transaction = end.put(name, data, request)
        self.sent[transaction] = (end, self.other(end), data, request)
        self.known.add(transaction)

    @rule(seed=st.integers(0, 2**32), steps=st.integers(1, 40), loss=st.sampled_from((0.0, 0.0, 0.1, 0.3, 1.0)),
          harm=st.sampled_from((0.0, 0.0, 0.2)), serves=st.sampled_from((0.0, 0.3, 1.0)),
          reboots=st.sampled_from((0.0, 0.0, 0.1)))  # fmt: skip
    def traffic(self, seed: int, steps: int, loss: float, harm: float, serves: float, reboots: float) -> None:
        """Let both ends talk: some PDUs each way per step, and now and then a timer, a checkpoint, a reboot."""
        chance = random.Random(seed)
        for _ in range(steps):
            for side, end in enumerate(self.pair.ends):
                for _ in range(chance.randrange(5)):
                    if (raw := end.next_pdu()) is not None:
                        self.on_way[1 - side].append(raw)
            for side in (0, 1):
                for _ in range(chance.randrange(5)):
                    self.deliver(side, chance, loss, harm)
            for end in self.pair.ends:
                if chance.random() < serves:
                    end.settle()
                if chance.random() < serves:
                    end.checkpoint()
            times = [time for end in self.pair.ends if (time := end.entity.next_time_ns) is not None]
            if chance.random() < reboots:
                self.reboot(chance.randrange(2), newer_content=chance.random() < 0.5, contact=True)
            if chance.random() < 0.3 and times:
                self.advance(max(min(times) - self.pair.near.now_ns, 0) / NS)

    def deliver(self, side: int, chance: random.Random, loss: float, harm: float) -> None:
        way = self.on_way[side]
        if not way:
            return
        at = chance.randrange(min(len(way), 4)) if chance.random() < harm else 0
        raw = way[at] if chance.random() < harm / 2 else way.pop(at)
        if chance.random() < loss:
            return
        if chance.random() < harm:
            place = chance.randrange(1, len(raw))
            raw = raw[:place] + bytes((raw[place] ^ 1 << chance.randrange(8),)) + raw[place + 1 :]
        self.pair.ends[side].on_pdu(raw)

    @rule(side=SIDES)
    def settle(self, side: int) -> None:
        self.pair.ends[side].settle()

    @rule(side=SIDES)
    def checkpoint(self, side: int) -> None:
        self.pair.ends[side].checkpoint()

    @rule(side=SIDES, newer_content=st.booleans(), contact=st.sampled_from((True, True, False)))
    def reboot(self, side: int, newer_content: bool, contact: bool) -> None:
        end = self.pair.ends[side]
        end.in_contact = contact
        self.on_way[1 - side].clear()
        end.boot(newer_content=newer_content)
        for transaction, (source, *_) in self.sent.items():
            forgotten = source is end and end.entity.report(transaction) is None
            if forgotten and not end.outcomes(Role.SENDER, transaction):
                self.known.discard(transaction)

    @rule(in_contact=st.sampled_from((True, True, False)), loses_what_is_on_its_way=st.booleans())
    def set_contact(self, in_contact: bool, loses_what_is_on_its_way: bool) -> None:
        self.pair.set_contact(in_contact)
        if loses_what_is_on_its_way:
            for way in self.on_way:
                way.clear()

    @rule(seconds=st.sampled_from((0.1, 1, 3, 10, 40)))
    def advance(self, seconds: float) -> None:
        for end in self.pair.ends:
            end.now_ns += int(seconds * NS)
            end.on_time()

    @rule(side=SIDES, which=st.integers(0, 15),
          what=st.sampled_from(("cancel", "suspend", "resume", "resume", "prompt", "prompt")))  # fmt: skip
    def operate(self, side: int, which: int, what: str) -> None:
        end = self.pair.ends[side]
        statuses = end.entity.transactions()
        if not statuses:
            return
        transaction = statuses[which % len(statuses)].transaction
        if what == "prompt":
            end.entity.prompt(transaction, which % 2 == 0)
        else:
            end.take(getattr(end.entity, what)(transaction, end.now_ns))

    def teardown(self) -> None:
        """Let the link become perfect: all ends, and both ends agree."""
        for side, way in enumerate(self.on_way):
            for raw in way:
                self.pair.ends[side].on_pdu(raw)
        self.pair.set_contact(True)
        for end in self.pair.ends:
            end.serve()
            for status in end.entity.transactions():
                end.take(end.entity.resume(status.transaction, end.now_ns))
        self.pair.run()
        for transaction, (source, sink, data, request) in self.sent.items():
            self.check(transaction, source, sink, data, request)

    def check(
        self, transaction: TransactionId, source: CfdpEnd, sink: CfdpEnd, data: bytes, request: PutRequest
    ) -> None:
        sent = source.outcomes(Role.SENDER, transaction)
        received = sink.outcomes(Role.RECEIVER, transaction)
        for done in received:
            if done.whole:
                assert sink.kept[transaction] == data, done
        if transaction in self.known:
            assert sent, request
        if any(done.whole for done in sent):
            assert any(done.whole for done in received), (sent, received)
        failed = request.mode is Mode.ACKNOWLEDGED and sent and not sent[-1].whole
        if failed and any(done.whole for done in received):
            assert sent[-1].condition in UNHEARD, (sent, received)


BadLink.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestBadLink = BadLink.TestCase


def live(seed: int) -> None:
    """Let chance choose the rules: it holds on longer to a bad course than hypothesis does."""
    chance = random.Random(seed)
    link = BadLink()
    for _ in range(chance.randrange(3, 40)):
        side, kind, yes = chance.randrange(2), chance.random(), chance.random() < 0.5
        if kind < 0.25:
            mode = chance.choice((Mode.ACKNOWLEDGED, Mode.ACKNOWLEDGED, Mode.UNACKNOWLEDGED))
            octets = chance.choice((0, 1, 59, 60, 200, 200, 700))
            link.put(side, octets, mode, yes, chance.randrange(3), chance.choice((0, 3)))
        elif kind < 0.65:
            link.traffic(
                chance.randrange(1 << 32), chance.randrange(1, 40), chance.choice((0, 0, 0.1, 0.3, 1)),
                chance.choice((0, 0, 0.2)), chance.choice((0, 0.3, 1)), chance.choice((0, 0, 0.1, 0.2)),
            )  # fmt: skip
        elif kind < 0.73:
            (link.checkpoint if yes else link.settle)(side)
        elif kind < 0.83:
            link.reboot(side, newer_content=yes, contact=chance.random() < 0.8)
        elif kind < 0.91:
            link.set_contact(chance.random() < 0.7, yes)
        elif kind < 0.96:
            link.advance(chance.choice((0.1, 1, 3, 10, 40)))
        else:
            link.operate(side, chance.randrange(16), chance.choice(("cancel", "suspend", "resume", "prompt")))
    link.teardown()


@pytest.mark.parametrize("block", range(4))
def test_lives_by_chance(block: int) -> None:
    for seed in range(60 * block, 60 * (block + 1)):
        live(seed)
