"""FARM-1, the receiving end of COP-1 (CCSDS 232.1-B-2, 6).

States: S1 OPEN, S2 WAIT (no buffer for the next frame), S3 LOCKOUT.
PW = NW = W / 2. Table 6-1 of the standard:

    event                                        OPEN                       WAIT             LOCKOUT
    E1  N(S) = V(R), buffer free                 accept, V(R)+1, Rtx=0      cannot happen    discard
    E2  N(S) = V(R), no buffer                   discard, Rtx=1, Wait=1 ->WAIT  discard      discard
    E3  V(R) < N(S) < V(R)+PW                    discard, Rtx=1             discard          discard
    E4  V(R)-NW <= N(S) < V(R)                   discard                    discard          discard
    E5  outside both windows                     discard, Lockout=1 ->LOCKOUT   the same     discard
    E6  valid BD frame                           accept, B+1                accept, B+1      accept, B+1
    E7  Unlock                                   B+1, Rtx=0                 B+1, Rtx=0, Wait=0 ->OPEN
                                                                            B+1, Rtx=Wait=Lockout=0 ->OPEN
    E8  Set V(R) to V*                           B+1, Rtx=0, V(R)=V*        also Wait=0 ->OPEN   B+1 only
    E9  invalid frame                            discard                    discard          discard
    E10 buffer released                          -                          Wait=0 ->OPEN    Wait=0
    E11 time to report                           CLCW                       CLCW             CLCW
"""

# Why the windows are cut as they are: the 256 numbers around V(R) fall into three parts. Less than W / 2 ahead, a frame
# in between was lost, so ask for it (E3). Up to W / 2 behind, the frame is a repetition, so drop it in silence (E4). No
# sender in step can send the rest: `LinkConfig.faults` holds FOP-1's window K to W / 2, so every N(S) lies within K of
# V(R). Such a number is somebody else's, or a bit error that the frame's error control let pass, and the channel locks
# (E5) until a control command opens it.
#
# Bypass frames (BD and BC) are taken in every state. They are how a node is commanded whose AD channel is out of step.
#
# V(R) must never pass a frame whose data was not given out: the ground takes V(R) for the proof that a command arrived,
# and sends only the others again. So V(R) counts up in the one place that returns the data.
#
# Nothing survives a reboot: V(R) is 0 and the state OPEN. The ground sees the restart in the frame counts
# (flight/link/tm/extract.py) and gives up what was undecided (ground/link/ad_service.py), so that the 0 is not taken
# for an answer to frames of the life before.

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from flight.link.tc.clcw import Clcw
from flight.link.tc.tc_frame import UNLOCK, TcFrame


class FarmState(Enum):
    """The states of table 6-1."""

    OPEN = 1
    WAIT = 2
    LOCKOUT = 3


@dataclass(slots=True)
class FarmCounters:
    """Frames since boot, counted by what FARM-1 did with them."""

    accepted: int = 0
    bypass: int = 0
    control: int = 0
    control_invalid: int = 0
    no_buffer: int = 0
    out_of_order: int = 0
    repeated: int = 0
    outside_window: int = 0
    in_lockout: int = 0
    in_wait: int = 0
    lockouts: int = 0


@dataclass(slots=True)
class Farm:
    """One virtual channel's FARM-1. `window` is W, even, 2..254. The caller has checked the ids of a frame before."""

    vcid: int = 0
    window: int = 20
    state: FarmState = FarmState.OPEN
    vr: int = 0
    retransmit: bool = False
    wait: bool = False
    b_counter: int = 0
    counters: FarmCounters = field(default_factory=FarmCounters)

    def __post_init__(self) -> None:
        assert self.window in range(2, 255, 2), self.window

    def on_frame(self, frame: TcFrame, buffer_free: bool = True) -> bytes | None:
        """Handle E1 to E9: return the data of `frame` if it is accepted, else None (the counters tell why)."""
        if frame.bypass:
            return self._on_bypass(frame)
        ahead = (frame.seq - self.vr) % 256
        if self.state is FarmState.LOCKOUT:
            self.counters.in_lockout += 1
            return None
        half = self.window // 2
        if ahead == 0:
            return self._on_expected(frame, buffer_free)
        if ahead < half:
            if self.state is FarmState.WAIT:
                self.counters.in_wait += 1
                return None
            self.counters.out_of_order += 1
            self.retransmit = True
        elif ahead >= 256 - half:
            # Not asked for again: the sender repeats frames that it has not seen confirmed, and the next CLCW tells it.
            self.counters.repeated += 1
        else:
            self.counters.outside_window += 1
            self.counters.lockouts += 1
            self.state = FarmState.LOCKOUT
        return None

    def _on_expected(self, frame: TcFrame, buffer_free: bool) -> bytes | None:
        if self.state is FarmState.WAIT:
            self.counters.in_wait += 1
            return None
        if not buffer_free:
            self.counters.no_buffer += 1
            self.retransmit = self.wait = True
            self.state = FarmState.WAIT
            return None
        self.vr = (self.vr + 1) % 256
        self.retransmit = False
        self.counters.accepted += 1
        return frame.data

    def _on_bypass(self, frame: TcFrame) -> bytes | None:
        if not frame.control:
            self.b_counter = (self.b_counter + 1) % 4
            self.counters.bypass += 1
            return frame.data
        if frame.data == UNLOCK:
            self._open()
        elif len(frame.data) == 3 and frame.data[:2] == b"\x82\x00":
            # In LOCKOUT this is counted and does nothing (E8): the sender unlocks first, and then sets V(R).
            if self.state is not FarmState.LOCKOUT:
                self._open()
                self.vr = frame.data[2]
        else:
            self.counters.control_invalid += 1
            return None
        self.b_counter = (self.b_counter + 1) % 4
        self.counters.control += 1
        return None

    def _open(self) -> None:
        self.state = FarmState.OPEN
        self.retransmit = self.wait = False

    def release_buffer(self) -> None:
        """Handle E10: there is room for a frame again. Retransmit stays set, for the frame that was turned away."""
        self.wait = False
        if self.state is FarmState.WAIT:
            self.state = FarmState.OPEN

    def clcw(self, no_rf: bool = False, no_bit_lock: bool = False) -> Clcw:
        """Return the report on this channel (E11)."""
        return Clcw(
            vcid=self.vcid,
            report_value=self.vr,
            lockout=self.state is FarmState.LOCKOUT,
            wait=self.wait,
            retransmit=self.retransmit,
            no_rf=no_rf,
            no_bit_lock=no_bit_lock,
            farm_b_counter=self.b_counter,
        )
