"""FOP-1 against FARM-1 with link security on, against somebody who keeps every frame and knows the format.

Whole ends, each with a storage that is prompt, slow or broken, over a link that loses, repeats, delays, reorders and
damages. The opponent replays whatever was ever sent, in both directions and into the other one, and alters it with the
checksum put right. Either end loses its power at any time, with the writes under way on its medium or not.

Whatever happens: what reaches FARM-1 is what the ground sent, in the order in which it was sent, each transmission once
at most. No command is executed twice, out of order, or after it was said to be rejected. Each ends once. No number is
used twice with a key. And the link comes up again.
"""

# The opponent may hold a frame back for ever, so nothing here is thrown away for being too late, other than on a clear
# link (test_link_cop1_machine.py). Two bounds. What is told of commands comes from the CLCW, which no MAC covers (CCSDS
# 355.0): once it was forged, a command may have been told as acknowledged that never arrived, or as rejected although
# it did. And a directive by hand that moves V(S) or V(R) without a proof is the operator's word that nothing is on its
# way any more (ADR 0041): then nothing is. All else holds even so.
#
# While a node is volatile it takes commands that may be repeated, and no others. All commands of this test are others.

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from flight.core.nanoseconds import NS
from flight.kernels import crc16
from flight.link.actions import LinkAction, PacketReceived, SendUnit, StoreSecurity
from flight.link.coding.cltu import ERROR_MODES, CltuReceiver, encode_cltu
from flight.link.pus import PusTc
from flight.link.security import state
from flight.link.security.associations import Direction, End, LinkPlan
from flight.link.security.keyring import simulated_keys
from flight.link.security.link_security import LinkSecurity
from flight.link.security.management import Management
from flight.link.security.numbers import UP_BLOCK
from flight.link.security.procedures import Pdu, Procedure
from flight.link.tc.clcw import Clcw
from flight.link.tc.directives import Directive, DirectiveKind, FopRefusal
from flight.link.tc.farm import Farm
from flight.link.tc.tc_frame import UNLOCK, TcFrame
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from ground.link.actions import Action, FrameReceived, SendCltu
from ground.link.cop1.command_queue import CommandQueue
from ground.link.ground_link import Service
from ground.link.tm_tc_session import GroundSession
from tests import cop1_machine
from tests.cop1_machine import BYPASS, DIRECTIVES, ROOM_OCTETS, CommandMachine, command

STORES = ("prompt", "prompt", "slow", "broken")
ENDS = st.sampled_from(End)
UNPROVED = (
    DirectiveKind.INITIATE, DirectiveKind.INITIATE_CLCW, DirectiveKind.INITIATE_SET_VR, DirectiveKind.SET_VS,
    DirectiveKind.RESUME,
)  # fmt: skip
SECURITY_HEADER = 6  # of a telemetry frame, behind the primary header
OCF = slice(-6, -2)
ALTERATIONS = ("number", "kind", "flip", "shorter", "longer", "association", "clear", "unlock", "downlink")


def config_of(up: str, down: str) -> LinkConfig:
    return LinkConfig(
        coding="frame", fop_window=4, farm_window=8, recoveries=2, frame_octets=128, cltu_frames=3,
        tc_segment_header=True, tc_map=7, tc_packet_octets=200, bc_rate_per_min=60_000,
        uplink_security=up, downlink_security=down,
    )  # fmt: skip


def checksummed(body: bytes) -> bytes:
    """A telecommand frame of these octets, its length field and its error control put right."""
    octets = len(body) + 2
    body = body[:2] + bytes((body[2] & 0xFC | (octets - 1) >> 8, (octets - 1) & 0xFF)) + body[4:]
    return body + crc16(body).to_bytes(2, "big")


class Store:
    """The storage of one end: `mode` says what becomes of a write. `kept` is on the medium."""

    def __init__(self) -> None:
        self.kept: bytes | None = None
        self.mode = "prompt"
        self.under_way: list[StoreSecurity] = []


class SpyFarm(Farm):
    """FARM-1 that shows somebody each frame which it is shown."""

    show: Callable[[TcFrame], None]

    def on_frame(self, frame: TcFrame, buffer_free: bool = True) -> bytes | None:
        self.show(frame)
        return super().on_frame(frame, buffer_free)


class ProtectedLink(CommandMachine):
    """See the head of the file."""

    config = config_of("authenticated", "encrypted")

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for block, octets in (("UP_BLOCK", 8), ("DOWN_SEND_BLOCK", 16), ("DOWN_RECEIVE_BLOCK", 4)):
            self.patch.setattr(state, block, octets)
        self.patch.setattr(state, "DOWN_RECEIVE_BLOCK_MAX", 32)
        self.plans = [LinkPlan("link", self.config.up_suite, self.config.down_suite)]
        self.random = Random(1)
        self.stores = {end: Store() for end in End}
        self.securities: dict[End, LinkSecurity] = {}
        # Between the ends, and what the opponent has kept.
        self.up: list[bytes] = []
        self.down: list[bytes] = []
        self.modem: list[bytes] = []  # arrived, not taken in yet
        self.heard_up: list[bytes] = []  # frames, without their CLTU
        self.heard_down: list[bytes] = []
        self.made_down: set[bytes] = set()  # without control field and error control
        # What is checked.
        self.used: set[tuple[bytes, bytes, bytes]] = set()  # key, association, number
        self.transmissions: list[tuple[bool, bool, int, bytes]] = []
        self.shown = self.surely_shown = -1  # place of the last that FARM-1 was shown; that no reboot brings back
        self.entered: set[bytes] = set()
        self.entered_unsure: set[bytes] = set()
        self.refused_on_board: set[int] = set()
        self.reports_forged = False
        self.distrusted = False
        self.boot_node()
        self.boot_ground()

    # The ends.

    def security_of(self, end: End) -> LinkSecurity:
        security = self.securities[end] = LinkSecurity(
            end, simulated_keys(7, self.plans), self.plans, stored=self.stores[end].kept, random=self.random.randbytes
        )
        self.stores[end].under_way.clear()
        return security

    def boot_node(self) -> None:
        security = self.security_of(End.NODE)
        self.flight = FlightLink(self.config, security)
        farm = SpyFarm(self.config.tc_vcid, self.config.farm_window)
        farm.show = self.on_farm
        self.flight.farm = farm
        self.modem.clear()
        self.shown = self.surely_shown
        self.collect(End.NODE)

    def boot_ground(self) -> None:
        security = self.security_of(End.GROUND)
        self.ground = GroundSession(self.config, security)
        # Little room in a frame, so that most commands take several.
        taken_octets = self.config.tc_room_octets() - ROOM_OCTETS
        queue = CommandQueue(self.config, self.ground.counters, taken_octets)
        queue._disowned = self.ground._ad._queue._disowned  # noqa: SLF001
        self.ground._ad._queue = queue  # noqa: SLF001
        self.entered -= self.entered_unsure
        self.collect(End.GROUND)

    # Storage.

    def collect(self, end: End) -> None:
        while (content := self.securities[end].to_store()) is not None:
            self.write(end, content)

    def write(self, end: End, content: StoreSecurity) -> None:
        store = self.stores[end]
        store.under_way.append(content)
        if store.mode == "prompt":
            while store.under_way:
                self.end_write(end, well=True)
        elif store.mode == "broken":
            while store.under_way:
                self.end_write(end, well=False)

    def end_write(self, end: End, *, well: bool, written: bool = False) -> None:
        store, security = self.stores[end], self.securities[end]
        content = store.under_way.pop(0)
        if well or written:
            store.kept = content.content
        if well:
            security.stored(content.generation)
        else:
            security.store_failed(content.generation)
        if end is End.NODE:
            self.on_node(self.flight.on_uplink(b"", self.now_ns))
            self.take_in()
        else:
            self.act(self.ground.on_stored(self.now_ns))

    @rule(end=ENDS, mode=st.sampled_from(STORES))
    def storage_becomes(self, end: End, mode: str) -> None:
        store = self.stores[end]
        store.mode = mode
        while store.under_way and mode != "slow":
            self.end_write(end, well=mode == "prompt")
        self.securities[end].retry()
        self.collect(end)

    @rule(end=ENDS, well=st.booleans(), written=st.booleans())
    def a_write_ends(self, end: End, well: bool, written: bool) -> None:
        if self.stores[end].under_way:
            self.end_write(end, well=well, written=written)
            self.collect(end)

    # The node.

    def on_node(self, actions: list[LinkAction]) -> None:
        for action in actions:
            match action:
                case PacketReceived(_, packet):
                    self.on_command(PusTc.decode(packet).seq)
                case StoreSecurity():
                    self.write(End.NODE, action)
                case SendUnit(octets):
                    self.keep_down(octets)

    def on_command(self, number: int) -> None:
        if number >= BYPASS:
            return
        assert number < self.sent, "nobody sent this"
        if self.securities[End.NODE].volatile:
            self.refused_on_board.add(number)
        else:
            self.executed.append(number)

    def on_farm(self, frame: TcFrame) -> None:
        """FARM-1 is shown a frame: it is one that was sent later than all it was shown before."""
        found = (frame.bypass, frame.control, frame.seq, frame.data)
        places = range(self.shown + 1, len(self.transmissions))
        place = next((place for place in places if self.transmissions[place] == found), None)
        assert place is not None, f"FARM-1 was shown what the ground has not sent since: {frame}"
        self.shown = place
        if not self.securities[End.NODE].volatile:
            self.surely_shown = place

    def receive(self, cltu: bytes) -> None:
        self.modem.append(cltu)
        self.take_in()

    def take_in(self) -> None:
        while self.modem and not self.flight.waiting:
            self.on_node(self.flight.on_uplink(self.modem.pop(0), self.now_ns))

    def keep_down(self, raw: bytes) -> None:
        self.note_number(End.NODE, raw[SECURITY_HEADER:])
        self.heard_down.append(raw)
        self.made_down.add(raw[:-6])
        self.down.append(raw)

    def note_number(self, end: End, body: bytes) -> None:
        """No number leaves twice with a key, random ones included."""
        security = self.securities[end]
        association = security.state.associations[int.from_bytes(body[:2], "big")]
        key = security.state.keyring.get(association.key_id)
        assert key is not None
        used = (key.fingerprint, body[:2], body[2 : association.suite.header_octets])
        assert used not in self.used, "a number was used twice with a key"
        self.used.add(used)

    # The ground.

    @property
    def may_lose(self) -> bool:
        return self.hands_change or self.reports_forged

    def act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SendCltu(octets):
                    self.keep_up(octets)
                case StoreSecurity():
                    self.write(End.GROUND, action)
                case FrameReceived(_, raw):
                    self.enter(raw)
                case _:
                    self.note(action)

    def keep_up(self, cltu: bytes) -> None:
        self.up.append(cltu)
        (unit,) = CltuReceiver(ERROR_MODES["detect"]).feed(cltu)
        while len(unit) >= 8:
            frame = TcFrame.decode(unit)
            raw, unit = unit[: frame.octets], unit[frame.octets :]
            ahead = 0 if frame.control else 1
            body = frame.data[ahead:]
            self.note_number(End.GROUND, body)
            security = self.securities[End.GROUND]
            association = security.state.associations[int.from_bytes(body[:2], "big")]
            key = security.state.keyring.get(association.key_id)
            assert key is not None
            data = association.suite.keyed(key.octets).verify(raw[: 5 + ahead], body)
            self.transmissions.append((frame.bypass, frame.control, frame.seq, frame.data[:ahead] + data))
            self.heard_up.append(raw)

    def enter(self, raw: bytes) -> None:
        assert raw[:-6] in self.made_down, "nobody sent this"
        if raw[SECURITY_HEADER + 1] % 16 == 5:
            return  # the volatile association has no order
        assert raw[:-6] not in self.entered, "the ground took a frame twice"
        self.entered.add(raw[:-6])
        if self.securities[End.GROUND].volatile:
            self.entered_unsure.add(raw[:-6])
        else:
            self.entered_unsure.clear()

    @rule(kind=st.sampled_from(DIRECTIVES), data=st.data())
    def direct(self, kind: DirectiveKind, data: st.DataObject) -> None:
        value = self.value_for(kind, data)
        self.hands_change = True
        if kind in UNPROVED:
            self.up.clear()
            self.down.clear()
            self.heard_up.clear()
        try:
            self.act(self.ground.direct(Directive(kind, value), self.now_ns))
        except FopRefusal:
            pass

    # The link.

    def hop_up(self, fate: str) -> None:
        if not self.up:
            return
        cltu = self.up.pop(0)
        if fate in ("arrives", "repeated"):
            self.receive(cltu)
        if fate == "damaged":
            octets = bytearray(cltu)
            octets[self.random.randrange(2, len(octets) - 2)] ^= 0x24
            self.receive(bytes(octets))
        if fate in ("repeated", "delayed"):
            self.up.insert(min(2, len(self.up)), cltu)

    def hop_down(self, fate: str) -> None:
        self.on_node(self.flight.next_unit())
        if fate == "delayed" or not self.down:
            return
        if fate == "swapped":
            self.down[-2:] = self.down[:-3:-1]
        if fate == "lost":
            self.down.pop()
        if fate == "repeated":
            self.down.append(self.down[-1])
        arriving, self.down = self.down, []
        for raw in arriving:
            self.act(self.ground.on_downlink(raw, self.now_ns))

    @rule(drops=st.integers(0, 4))
    def end_and_begin_a_pass(self, drops: int = 0) -> None:
        """Between passes the newest commands may be given up."""
        self.act(self.ground.reset(self.now_ns))
        for tag in range(max(0, self.sent - drops), self.sent):
            self.drop_tag(tag)
        self.up.clear()
        self.down.clear()
        self.flight.carrier_lost()
        self.act(self.ground.resume(self.now_ns))

    # The opponent.

    @precondition(lambda self: self.heard_up)
    @rule(back=st.integers(0, 40), count=st.integers(1, 8))
    def replay(self, back: int, count: int) -> None:
        """Frames of before, in the old order, whether or not they ever arrived."""
        start = max(0, len(self.heard_up) - back - count)
        for raw in self.heard_up[start : start + count]:
            self.receive(encode_cltu(raw))

    @precondition(lambda self: self.heard_up)
    @rule(back=st.integers(0, 12), how=st.sampled_from(ALTERATIONS), value=st.integers(0, 255), at=st.integers(0, 200))
    def alter(self, back: int, how: str, value: int, at: int) -> None:
        """A frame of before with something in it changed, and its error control put right."""
        raw = self.heard_up[max(0, len(self.heard_up) - 1 - back)]
        forged = self.altered(raw, how, value, at)
        if forged == raw:
            return  # what was changed is the length, which was put right
        self.flight.acquired()
        farm = self.flight.farm
        before, told = (farm.vr, farm.state, farm.b_counter), self.flight.clcw
        frames, waits = self.flight.counters.tc_frames, self.flight.waiting
        self.receive(encode_cltu(forged))
        if not waits:
            assert (farm.vr, farm.state, farm.b_counter) == before and self.flight.clcw == told
            assert self.flight.counters.tc_frames == frames

    def altered(self, raw: bytes, how: str, value: int, at: int) -> bytes:
        body, near = bytearray(raw[:-2]), (self.flight.farm.vr + value % 9 - 4) % 256
        match how:
            case "number":
                if near == body[4]:
                    near = (near + 1) % 256
                body[4] = near
            case "kind":
                body[0] ^= 0x20 if value % 2 else 0x30
            case "flip":
                body[at % len(body)] ^= value or 1
            case "shorter":
                del body[-(1 + value % (len(body) - 6)) :]
            case "longer":
                body += bytes((value,))
            case "association":
                body[-18 if len(body) < 30 else 6] ^= 3
            case "clear":
                body[5:] = command(value % self.sent)[:24]
                body[4] = near
            case "unlock":
                body[0] |= 0x30
                body[5:] = UNLOCK if value % 2 else bytes((0x82, 0, near))
            case _ if self.heard_down:
                body[6:] = self.heard_down[-1][SECURITY_HEADER:-6]
        return checksummed(bytes(body))

    @precondition(lambda self: self.heard_down)
    @rule(back=st.integers(0, 40))
    def replay_down(self, back: int) -> None:
        raw = self.heard_down[max(0, len(self.heard_down) - 1 - back)]
        if raw[SECURITY_HEADER + 1] % 16 == 5:
            self.reports_forged = True  # its CLCW may be old: nobody checks the order of this association
        self.act(self.ground.on_downlink(raw, self.now_ns))

    @rule(value=st.integers(0, 255), flags=st.integers(0, 31), counter=st.integers(0, 3))
    def forge_clcw(self, value: int, flags: int, counter: int) -> None:
        """A frame of the node with another CLCW, which no MAC covers."""
        self.forge_control_field(
            Clcw(
                self.config.tc_vcid, (self.flight.farm.vr + value % 9 - 4) % 256, lockout=flags & 1 == 1,
                wait=flags & 2 == 2, retransmit=flags & 4 == 4, farm_b_counter=counter,
            ).encode()
        )  # fmt: skip
        self.reports_forged = True

    @rule(word=st.binary(min_size=3, max_size=3), flags=st.integers(0, 15))
    def forge_report(self, word: bytes, flags: int) -> None:
        """A frame security report that the node did not make; of the link's association as a rule."""
        self.forge_control_field(bytes((0xC0 | flags, 0, 1, word[2])) if word[0] % 4 else bytes((0xC0 | flags,)) + word)

    def forge_control_field(self, ocf: bytes) -> None:
        known = len(self.down)
        self.on_node(self.flight.next_unit())
        if len(self.down) > known:
            raw = bytearray(self.down.pop())
            raw[OCF] = ocf
            raw[-2:] = crc16(bytes(raw[:-2])).to_bytes(2, "big")
            self.act(self.ground.on_downlink(bytes(raw), self.now_ns))

    # Power.

    @rule(written=st.integers(0, 8), burst=st.integers(0, 12), mode=st.sampled_from(STORES), damaged=st.booleans())
    def restart_the_node(self, written: int, burst: int, mode: str, damaged: bool) -> None:
        """It shows itself by the counts of its frames. `burst`: what happens while writes are under way."""
        store = self.stores[End.NODE]
        for end in End:
            if self.stores[end].mode == "slow":
                self.storage_becomes(end, "prompt")
        for _ in range(300):
            known = len(self.down)
            self.on_node(self.flight.next_unit())
            if len(self.down) > known:
                raw = self.down.pop()
                self.act(self.ground.on_downlink(raw, self.now_ns))
                if 100 < raw[2] < 200:
                    break
        if store.mode == "prompt":
            store.mode = "slow"
        for _ in range(burst):
            self.hop_up("arrives")
            self.hop_down("lost")
        for content in store.under_way[:written]:
            store.kept = content.content
        self.up.clear()
        self.down.clear()
        self.now_ns += 11 * NS
        self.hands_change = True
        store.mode = "prompt"
        self.boot_node()
        self.distrusted |= damaged
        if damaged:
            self.securities[End.NODE].distrust()
            self.collect(End.NODE)
        refused = self.securities[End.GROUND].counters.refused
        told, replays = self.restarts_told, refused["replay"]
        for _ in range(4):
            self.hop_down("arrives")
        if refused["replay"] == replays:
            assert self.restarts_told == told + 1
            sends, takes = (self.securities[end].state.numbers[1] for end in (End.GROUND, End.NODE))
            assert self.distrusted or sends.last >= takes.last, "the ground is not beyond what the node takes for seen"
        else:
            # A ground that was restarted too takes these numbers for used. What it does not hear, it cannot notice.
            self.reports_forged = True
        store.mode = mode

    @rule(written=st.integers(0, 8), mode=st.sampled_from(STORES))
    def restart_the_ground(self, written: int, mode: str) -> None:
        store = self.stores[End.GROUND]
        for content in store.under_way[:written]:
            store.kept = content.content
        self.orphan()
        store.mode = mode
        self.boot_ground()
        self.act(self.ground.resume(self.now_ns))

    # What holds.

    @invariant()
    def what_is_told_is_true(self) -> None:
        executed = set(self.executed)
        assert self.acknowledged == sorted(self.acknowledged)
        if not self.reports_forged:
            assert set(self.acknowledged) <= executed | self.refused_on_board
            assert not executed & self.rejected

    def teardown(self) -> None:
        try:
            if self.transmissions:
                self.comes_up()
        finally:
            self.patch.undo()

    def comes_up(self) -> None:
        """On a good link with storage that works, everything arrives in the end; then one command more."""
        self.flight.hold(False)
        self.up.clear()
        self.down.clear()
        for end in End:
            self.stores[end].mode = "prompt"
            while self.stores[end].under_way:
                self.end_write(end, well=True)
            self.securities[end].retry()
            self.collect(end)
        self.recover()
        self.act(self.ground.direct(Directive(DirectiveKind.SET_LIMIT, 3), self.now_ns))
        self.act(self.ground.auto(self.now_ns))
        self.settle()
        self.send(1)
        self.settle()
        self.what_is_told_is_true()
        self.executed_once_and_in_order()
        assert self.ended == set(range(self.sent)), "each has an end"
        assert self.sent - 1 in self.executed, "the link does not come up again"

    def recover(self) -> None:
        """End what a damaged record has begun: what `orbitnode keys recover` has the two ends execute."""
        node, ground = (self.securities[end] for end in (End.NODE, End.GROUND))
        for spi in [each.spi for each in node.state.associations.values() if each.lost]:
            number = max(end.state.numbers[spi].last for end in (node, ground)) + UP_BLOCK
            octets = node.state.associations[spi].suite.number_octets
            value = spi.to_bytes(2, "big") + number.to_bytes(octets, "big")
            for end, security in ((End.NODE, node), (End.GROUND, ground)):
                if end is End.NODE or node.state.associations[spi].direction is Direction.UP:
                    store = Management(security).execute(Pdu(Procedure.SET_ARSN, value).encode()).store
                    assert store is not None
                    self.write(end, store)

    def settle(self) -> None:
        for _ in range(600):
            if not self.ground.waiting:
                break
            if self.ground.service is Service.IDLE:
                self.act(self.ground.initiate(self.now_ns))
            self.now_ns += NS // 4
            self.act(self.ground.on_time(self.now_ns))
            self.hop_down("arrives")
            while self.up:
                self.receive(self.up.pop(0))


class EncryptedLink(ProtectedLink):
    """The same with the suites changed over."""

    config = config_of("encrypted", "authenticated")


SETTINGS = settings(
    max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
ProtectedLink.TestCase.settings = SETTINGS
EncryptedLink.TestCase.settings = SETTINGS
TestProtectedLink = ProtectedLink.TestCase
TestEncryptedLink = EncryptedLink.TestCase


# What chance finds too seldom.


def ready() -> ProtectedLink:
    """A link that is up, with three commands executed and acknowledged; every command takes one frame."""
    link = ProtectedLink()
    link.patch.setattr(f"{cop1_machine.__name__}.command", lambda number: PusTc(1, number, 17, 1, b"").encode())
    link.begin()
    link.settle()
    assert link.executed == link.acknowledged == [0, 1, 2]
    return link


def hold_back(link: ProtectedLink) -> list[bytes]:
    """Take what is on its way up out of the air."""
    held, link.up = link.up, []
    return held


def release(link: ProtectedLink, held: list[bytes]) -> None:
    for cltu in held:
        link.receive(cltu)


def drive(link: ProtectedLink, steps: int) -> None:
    """Time passes, and the node is heard; what goes up stays on its way."""
    for _ in range(steps):
        link.pass_time(NS)
        link.hop_down("arrives")


def test_a_number_changes_hands_only_when_the_unlock_was_taken() -> None:
    link = ready()
    link.send(1)
    held = hold_back(link)
    link.act(link.ground.reset(link.now_ns))
    link.drop_tag(3)
    link.now_ns += 60 * NS
    link.act(link.ground.resume(link.now_ns))
    drive(link, 2)
    hold_back(link)  # the Unlock does not arrive, and CLCWs without a flag come
    link.send(1)
    drive(link, 1)
    mine = hold_back(link)
    release(link, held)
    release(link, mine)
    link.comes_up()
    link.patch.undo()


def test_a_frame_of_the_ground_before_takes_no_number_of_this_one() -> None:
    link = ready()
    link.send(1)
    held = hold_back(link)
    link.restart_the_ground(0, "prompt")
    drive(link, 40)  # it takes the numbers of some frames for used, and does not hear them
    for _ in range(20):
        if link.ground.service is Service.UP:
            break
        release(link, hold_back(link)[-1:])  # its Unlock, if it sends one
        drive(link, 1)
    link.send(1)
    drive(link, 1)
    mine = hold_back(link)
    release(link, held)
    release(link, mine)
    link.comes_up()
    link.patch.undo()


def test_a_frame_that_waits_for_its_number_is_not_sent_when_its_service_has_ended() -> None:
    link = ready()
    link.stores[End.GROUND].mode = "slow"
    link.securities[End.GROUND].skip(0)
    link.send(1)
    assert not link.up  # it waits
    link.act(link.ground.reset(link.now_ns))
    sent = len(link.transmissions)
    link.storage_becomes(End.GROUND, "prompt")
    assert len(link.transmissions) == sent and not link.up
    link.comes_up()
    link.patch.undo()


def test_a_control_command_that_waits_is_waited_for_when_the_service_begins_again() -> None:
    link = ready()
    link.restart_the_ground(0, "broken")  # it has no number to send with
    drive(link, 40)  # at first it takes the numbers of the node for used, and hears nothing
    assert not link.up
    for _ in range(3):
        drive(link, 8)
        link.end_and_begin_a_pass()
    link.comes_up()
    link.patch.undo()


def test_the_record_of_the_ground_is_tried_again_while_frames_wait_for_it() -> None:
    """The way down is in clear: nothing that comes down asks for a store."""
    config = config_of("authenticated", "clear")
    plans, random = [LinkPlan("link", config.up_suite, None)], Random(1)
    node, ground = (LinkSecurity(end, simulated_keys(7, plans), plans, random=random.randbytes) for end in End)
    flight, session, tries, packets, works = FlightLink(config, node), GroundSession(config, ground), 0, 0, False
    todo: list[Action] = [*session.initiate(0), *session.send(command(5), 0, 0)]
    for second in range(1, 60):
        now_ns = second * NS
        while todo:
            match todo.pop(0):
                case StoreSecurity(_, generation):
                    tries += 1
                    (ground.stored if works else ground.store_failed)(generation)
                    todo += session.on_stored(now_ns)
                case SendCltu(octets):
                    up = flight.on_uplink(octets, now_ns)
                    for store in [action for action in up if isinstance(action, StoreSecurity)]:
                        node.stored(store.generation)
                        up += flight.on_uplink(b"", now_ns)
                    packets += sum(isinstance(action, PacketReceived) for action in up)
        works = second > 30
        todo += session.on_time(now_ns)
        for action in flight.next_unit():
            if isinstance(action, SendUnit):
                todo += session.on_downlink(action.octets, now_ns)
    assert packets == 1 and session.waiting == 0
    assert 3 < tries < 20  # not with every frame that comes


def test_a_set_vr_that_is_on_its_way_moves_no_number_of_the_service_behind_it() -> None:
    link = ready()
    vr = link.flight.farm.vr
    link.act(link.ground.direct(Directive(DirectiveKind.TERMINATE), link.now_ns))
    link.act(link.ground.direct(Directive(DirectiveKind.INITIATE_SET_VR, vr + 1), link.now_ns))
    held = hold_back(link)
    link.lead_automatically()
    drive(link, 10)
    link.hands_change = True
    link.send(1)
    mine = hold_back(link)
    release(link, held)
    release(link, mine)
    link.comes_up()
    link.patch.undo()
