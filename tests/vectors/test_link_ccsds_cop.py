"""ccsds-cop, another implementation of COP-1, on the other end of our FOP-1 and of our FARM-1, over a link that loses.

It is GPL: a test tool, never imported by the product. It speaks USLP frames; only what COP-1 looks at is carried over.

Version 0.1.2 deviates from 232.1-B-2, which the tests take into account. Its FARM-1:

- does not go to WAIT (E2 leaves OPEN), so that E10 never resets the Wait flag, and neither does Unlock: a wait does not
  end. What our FOP-1 makes of that is the last test of its part.
- puts the frame that it expects into its buffer even in LOCKOUT (E1), where the table says discard. Here a frame counts
  as delivered only if V(R) counted it.

Its FOP-1:

- confirms the whole Sent_Queue whatever N(R) says, so that a frame which was not acknowledged can be lost unnoticed. So
  it runs with a window of 1: then all of it is one frame.
- compares N(R) and the window without the modulus, so that the service ends where V(S) goes round. So V(S) is set back
  before.
- takes E8 for E9 and the other way round, which a window of 1 never reaches.
- forgets the control command that it sent, so that T1 and the answer that it was taken (E43) raise IndexError in S5. So
  the Unlock is never lost here, and BC_Out is set by hand.
- has its flags for the lower procedures not ready at first, and resets BD_Out for an Unlock: they are set by hand.
- has a timer in a thread of its own. It is taken out, and T1 runs out when the test says so.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

# In a folder of its own (Makefile), behind everything else: it brings a package `tests`, which must not hide ours.
sys.path.append(str(Path(sys.prefix) / "peers"))
pytest.importorskip("ccsds_cop")

from ccsds_cop.cop_1.common.ccsds import ControlWord, Gvcid
from ccsds_cop.cop_1.farm import Farm1, FarmState, ValidFrameArrivedIndication
from ccsds_cop.cop_1.fop import Fop1
from ccsds_cop.cop_1.fop.types import (
    AbortRequest,
    DirectiveRequest,
    DirectiveType,
    NotificationType,
    RequestToTransferFdu,
    Response,
    ResponseType,
    ServiceType,
    TransferNotification,
    TransmitRequestForFrame,
)
from ccsds_cop.cop_1.fop.types import (
    FopState as TheirState,
)
from spacepackets.uslp import (
    BypassSequenceControlFlag,
    PrimaryHeader,
    ProtocolCommandFlag,
    SourceOrDestField,
    TfdzConstructionRules,
    TransferFrame,
    TransferFrameDataField,
    UslpProtocolIdentifier,
)

from flight.core.nanoseconds import NS
from flight.link.tc.clcw import Clcw
from flight.link.tc.farm import Farm
from flight.link.tc.farm import FarmState as OurFarmState
from flight.link.tc.fop_actions import Confirmed, FopAction, FopAlert, FopState, Initiated, Transmit, Unconfirmed
from flight.link.tc.tc_frame import TcFrame
from tests.fop_ends import PromptFop

GVCID = Gvcid(0b1100, 1, 0)


def theirs(frame: TcFrame) -> TransferFrame:
    """Our frame as a USLP frame, from its octets."""
    frame = TcFrame.decode(frame.encode())
    header = PrimaryHeader(
        scid=frame.spacecraft_id, src_dest=SourceOrDestField.DEST, vcid=frame.vcid, map_id=0, frame_len=0,
        vcf_count_len=1, vcf_count=frame.seq, op_ctrl_flag=False,
        bypass_seq_ctrl_flag=BypassSequenceControlFlag(int(frame.bypass)),
        prot_ctrl_cmd_flag=ProtocolCommandFlag(int(frame.control)),
    )  # fmt: skip
    data = TransferFrameDataField(
        TfdzConstructionRules.VpNoSegmentation, UslpProtocolIdentifier.SPACE_PACKETS_ENCAPSULATION_PACKETS, frame.data
    )
    return TransferFrame(header, data, has_fecf=False)


class TheirReceiver:
    """Their FARM-1, and what it delivered."""

    def __init__(self) -> None:
        self.farm = Farm1(20)
        self.delivered: list[bytes] = []

    def take(self, frame: TcFrame) -> None:
        farm, expected = self.farm, self.farm.v_r
        farm.lower_interface.buffer.append(theirs(frame))
        farm.lower_interface.signal.append(ValidFrameArrivedIndication(GVCID))
        farm.tick()
        buffer = farm.higher_interface.buffer
        while buffer:
            data = bytes(buffer.pop().tfdf.tfdz)
            if farm.v_r != expected:
                self.delivered.append(data)
        farm.higher_interface.signal.clear()

    def clcw(self) -> Clcw:
        farm = self.farm
        word = ControlWord(
            vcid=0, lockout=farm.lockout, wait=farm.wait, retransmit=farm.retransmit, farm_b_counter=farm.b_counter,
            report_value=farm.v_r,
        )  # fmt: skip
        return Clcw.decode(word.pack())


class OurSender:
    """Our FOP-1 against their FARM-1; what it sends is lost or sent twice as the seed has it."""

    def __init__(self, seed: int, receiver: TheirReceiver, copies: tuple[int, ...] = (0, 1, 1, 1, 2)) -> None:
        self.fop = PromptFop(1, window=8)
        self.copies = copies
        self.random = random.Random(seed)
        self.receiver = receiver
        self.confirmed: list[object] = []
        self.back: list[object] = []
        self.alerts: list[str] = []
        self.now_ns = 0

    def act(self, actions: list[FopAction]) -> None:
        for action in actions:
            match action:
                case Transmit(frame):
                    for _ in range(self.random.choice(self.copies)):
                        self.receiver.take(frame)
                case Confirmed(tag):
                    self.confirmed.append(tag)
                case Unconfirmed(tag):
                    self.back.append(tag)
                case FopAlert(reason):
                    self.alerts.append(reason)

    def hear(self) -> None:
        """Time passes, T1 may run out, and a CLCW comes or does not."""
        self.now_ns += NS // 2
        self.act(self.fop.on_time(self.now_ns))
        if self.random.random() < 0.8:
            self.act(self.fop.on_clcw(self.receiver.clcw(), self.now_ns))

    def bring_up(self) -> None:
        while self.fop.state is not FopState.ACTIVE:
            if self.fop.state is FopState.INITIAL:
                self.fop.set_vs(self.receiver.farm.v_r)
                self.act(self.fop.initiate_with_unlock(self.now_ns))
            self.hear()


@pytest.mark.parametrize("seed", range(20))
def test_our_fop_against_their_farm_over_losses_repetitions_and_lockouts(seed: int) -> None:
    receiver = TheirReceiver()
    sender = OurSender(seed, receiver)
    sender.fop.transmission_limit = 50
    todo = list(range(600))  # the numbers go round twice
    while todo or sender.fop.outstanding:
        if sender.fop.state is FopState.INITIAL:
            # V(R) tells what of the frames that came back had arrived; the others go first.
            arrived = len(receiver.delivered)
            todo = list(range(arrived, 600))
            sender.confirmed = list(range(arrived))
            sender.back.clear()
            sender.bring_up()
        if sender.random.random() < 0.01:
            receiver.take(TcFrame(1, 0, (receiver.farm.v_r + 100) % 256, b"stray"))
            assert receiver.farm.state is FarmState.LOCKOUT
        while todo and sender.fop.ready and sender.fop.outstanding < sender.fop.window:
            number = todo.pop(0)
            sender.act(sender.fop.send(number.to_bytes(2, "big"), number, sender.now_ns))
        sender.hear()
        assert len(sender.confirmed) <= len(receiver.delivered), "confirmed is delivered"
    assert receiver.delivered == [number.to_bytes(2, "big") for number in range(600)]
    assert sender.confirmed == list(range(600))
    assert set(sender.alerts) <= {"LOCKOUT", "T1"} and "LOCKOUT" in sender.alerts


def test_our_directives_move_their_farm() -> None:
    receiver = TheirReceiver()
    sender = OurSender(0, receiver, copies=(1,))
    sender.act(sender.fop.initiate_with_set_vr(77, 0))
    assert (receiver.farm.v_r, receiver.farm.b_counter) == (77, 1)
    assert sender.fop.on_clcw(receiver.clcw(), 0) == [Initiated()]
    sender.act(sender.fop.send(b"first", "first", 0))
    assert sender.fop.on_clcw(receiver.clcw(), 0) == [Confirmed("first")]
    bypass = sender.fop.bypass(b"bypass")
    receiver.take(bypass.frame)
    assert receiver.clcw().farm_b_counter == 2


def test_a_wait_of_theirs_that_never_ends_is_an_alert_of_ours() -> None:
    receiver = TheirReceiver()
    sender = OurSender(0, receiver, copies=(1,))
    sender.act(sender.fop.initiate())
    receiver.farm.higher_interface.buffer.extend(bytes(10))  # full
    farm = receiver.farm
    farm.lower_interface.buffer.append(theirs(TcFrame(1, 0, 0, b"turned away")))
    farm.lower_interface.signal.append(ValidFrameArrivedIndication(GVCID))
    farm.tick()
    assert (receiver.clcw().wait, receiver.clcw().retransmit, farm.v_r) == (True, True, 0)
    farm.higher_interface.buffer.clear()
    sender.act(sender.fop.send(b"0", 0, 0))
    assert farm.v_r == 1, "the frame is taken, and Wait is still set"
    sender.act(sender.fop.on_clcw(receiver.clcw(), 0))
    assert sender.alerts == ["CLCW"]


# Their FOP-1


class TheirSender:
    """Their FOP-1 against our FARM-1, window 1."""

    def __init__(self, seed: int) -> None:
        self.fop = Fop1(GVCID, k=1)
        self.farm = Farm(window=20)
        self.random = random.Random(seed)
        self.delivered: list[bytes] = []
        self.confirmed: list[int] = []
        self.held = False
        for response in (ResponseType.AD_ACCEPTED, ResponseType.BC_ACCEPTED):
            self.fop.on_receive_response_from_lower_layer(Response(GVCID, response))
        self.direct(DirectiveType.SET_TRANSMISSION_LIMIT, 100)

    def direct(self, kind: DirectiveType, value: int = 0) -> None:
        self.fop.on_receive_directive(DirectiveRequest(GVCID, 0, kind, value))
        self.pump()

    def pump(self) -> None:
        """Send what it gives out, over a link that loses and repeats; collect what it says."""
        while self.fop.interface.to_lower:
            request = self.fop.interface.to_lower.pop()
            if isinstance(request, AbortRequest):
                continue
            assert isinstance(request, TransmitRequestForFrame)
            bypass, control = bool(request.bypass_flag), bool(request.command_flag)
            frame = TcFrame.decode(TcFrame(1, 0, request.v_s, bytes(request.tfdf), bypass, control).encode())
            for _ in range(1 if control else self.random.choice((0, 1, 1, 2))):
                data = self.farm.on_frame(frame, not self.held)
                if data is not None:
                    self.delivered.append(data)
            if control:
                self.fop.bc_out = True
            else:
                self.fop.on_receive_response_from_lower_layer(Response(GVCID, ResponseType.AD_ACCEPTED))
        while self.fop.interface.to_higher:
            notice = self.fop.interface.to_higher.pop()
            if (
                isinstance(notice, TransferNotification)
                and notice.notification_type is NotificationType.POSITIVE_CONFIRM
            ):
                self.confirmed.append(notice.request_id)

    def hear(self) -> None:
        if self.random.random() < 0.7:
            self.fop.on_clcw_arrived(ControlWord.unpack(self.farm.clcw().encode()))
        elif self.fop.state is not TheirState.INITIALIZING_WITH_BC:
            self.fop._timer_events.put_nowait(None)  # noqa: SLF001 - T1 runs out now
            self.fop.drain_timer_events()
        self.pump()

    def bring_up(self) -> None:
        self.direct(DirectiveType.SET_V_S, self.farm.vr)
        self.direct(DirectiveType.INITIATE_AD_WITH_UNLOCK)
        for _ in range(50):
            if self.fop.state is TheirState.ACTIVE:
                return
            self.hear()
        raise AssertionError(self.fop.state)


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fop1, "start_timer", lambda _: None)
    monkeypatch.setattr(Fop1, "cancel_timer", lambda _: None)


@pytest.mark.parametrize("seed", range(20))
def test_their_fop_against_our_farm_over_losses_repetitions_lockouts_and_waits(seed: int) -> None:
    sender = TheirSender(seed)
    number = lockouts = waits = 0
    while number < 500:
        if sender.farm.vr > 250:  # theirs cannot go round
            sender.direct(DirectiveType.TERMINATE_AD)
            sender.direct(DirectiveType.INITIATE_AD_WITH_SET_V_R, 0)
            assert sender.farm.vr == 0
        if sender.fop.state is TheirState.INITIAL:
            sender.bring_up()
        if sender.random.random() < 0.02:
            sender.farm.on_frame(TcFrame(1, 0, (sender.farm.vr + 100) % 256, b"stray"))
            assert sender.farm.state is OurFarmState.LOCKOUT
            lockouts += 1
        if sender.random.random() < 0.1:
            sender.held = not sender.held
            waits += sender.held
            if not sender.held:
                sender.farm.release_buffer()
        before = len(sender.delivered)
        request = RequestToTransferFdu(GVCID, number, number.to_bytes(2, "big"), ServiceType.AD)
        sender.fop.on_receive_request_to_transfer_fdu(request)
        sender.pump()
        for _ in range(200):
            if sender.fop.state is TheirState.INITIAL or sender.confirmed[-1:] == [number]:
                break
            sender.hear()
            if sender.held and sender.random.random() < 0.2:
                sender.held = False
                sender.farm.release_buffer()
        arrived = len(sender.delivered) > before
        assert arrived or sender.confirmed[-1:] != [number], "confirmed is delivered"
        number += arrived
    assert sender.delivered == [number.to_bytes(2, "big") for number in range(500)]
    assert lockouts and waits
