"""What a ground's session has sent: why each frame goes up, which command it carries, and why it goes up again."""

# Service periods. The session says in its actions when the AD service ends (an alert, a restart of the node, a contact
# that begins or ends). Within one period N(S) only rises, and the frames that are sent follow the order of the open
# commands: so an N(S) that is not the next one is a retransmission, and the next one belongs to the first open command
# that has not been sent in this period. No look into the frame's data is needed, which may be encrypted.
#
# Why a frame goes out again. Its last transmission got lost on the way up, or waits in the node; or the node has
# accepted it, and no frame that says so has come down yet. A control command whose taking has to be proved goes out
# again for one more reason: those before it that nobody saw counted (ground/link/cop1/control_proof.py). A
# retransmission without a reason is a finding, and so is an alert.

from __future__ import annotations

from collections import Counter, deque

from flight.link.coding.cltu import decode_cltu
from flight.link.tm_tc_stack import LinkConfig
from sim_hw.soak.commands import CommandList
from sim_hw.soak.downlink_ledger import DownlinkLedger
from sim_hw.soak.findings import Findings
from sim_hw.soak.protected_frames import BYPASS, CONTROL, SEQ_AT, ProtectedFrames, tc_frames
from sim_hw.soak.uplink_ledger import UNDER_WAY, Kind, SentCltu, UpFrame, UplinkLedger

_CONTROLS_MAX = 16  # control commands that are remembered, far more than a proof can ask for


class Transmissions:
    """See the head of the file. `causes` counts retransmissions by cause."""

    def __init__(
        self, config: LinkConfig, commands: CommandList, up: UplinkLedger, down: DownlinkLedger, findings: Findings
    ) -> None:
        self.causes: Counter[str] = Counter()
        self._randomized = config.tc_randomizer
        self._frames = ProtectedFrames(config)
        self._commands = commands
        self._up = up
        self._down = down
        self._findings = findings
        self._number = 0  # of the last frame that went up
        self._frames_up = self._control_place = 0
        # Of the present service period: the next N(S), None before the first; what went out under each; serials sent.
        self._vs: int | None = None
        self._by_number: dict[int, UpFrame] = {}
        self._sent: set[int] = set()
        self._control: UpFrame | None = None
        self._controls: deque[UpFrame] = deque(maxlen=_CONTROLS_MAX)  # that a proof may miss
        self._period_life = 0  # of the node, as the period began

    def begin_life(self) -> None:
        """Note that a session has begun, which knows of nothing."""
        self.begin_period()
        self._controls.clear()

    def begin_period(self) -> None:
        """Note that the AD service has ended, or begins."""
        self._vs = None
        self._period_life = self._up.node_life
        self._by_number.clear()
        self._sent.clear()
        self._control = None

    def acknowledged(self, serial: object) -> None:
        """Note that a command was acknowledged: control commands before its first frame are of no account any more."""
        if isinstance(serial, int) and self._commands.commands[serial].place > self._control_place:
            self._controls.clear()

    def enter(self, octets: bytes, *, timed: bool, explained: bool) -> tuple[SentCltu, list[Kind], list[bytes], bool]:
        """Return a CLTU that goes up now, why each of its frames does, their octets, and `explained` as it is now.

        timed: a timer ran out. explained: whether a retransmission has its cause.
        """
        frames = tc_frames(decode_cltu(octets, randomized=self._randomized))
        sent: list[UpFrame] = []
        kinds: list[Kind] = []
        for frame in frames:
            up, kind, explained = self._enter_frame(frame, timed=timed, explained=explained)
            up.is_first = not sent
            sent.append(up)
            kinds.append(kind)
        return SentCltu(octets, sent), kinds, frames, explained

    def _enter_frame(self, frame: bytes, *, timed: bool, explained: bool) -> tuple[UpFrame, Kind, bool]:
        number = self._frames.up_number(frame)
        if number and number <= self._number:
            self._findings.add(f"the ground used number {number} behind {self._number}")
        self._number = number
        self._frames_up += 1
        if frame[0] & CONTROL:
            # By T1 the same control command goes out again; after a CLCW it is another one.
            kind = Kind.REPEATED if timed and self._control is not None else Kind.CONTROL
            before, up = self._control, UpFrame(-1, control=True, number=number)
            self._control = up
            self._controls.append(up)
            self._control_place = self._frames_up
        elif frame[0] & BYPASS:
            raise AssertionError("nobody sends by bypass here")
        else:
            kind, serial, before = self._numbered(frame[SEQ_AT])
            up = UpFrame(serial, number=number)
            self._by_number[frame[SEQ_AT]] = up
        if kind is Kind.REPEATED and not explained:
            explained = True
            cause = self._cause_of(before)
            self.causes[cause or "unexplained"] += 1
            if not cause:
                what = before.fate if before is not None else "nothing sent"
                self._findings.add(f"nothing explains a retransmission ({up.name}, {what})")
        return up, kind, explained

    def _numbered(self, seq: int) -> tuple[Kind, int, UpFrame | None]:
        """Return why a frame with this N(S) goes out, its command's serial, and its transmission before."""
        if self._vs is not None and seq != self._vs:
            before = self._by_number.get(seq)
            if before is None:
                self._findings.add(f"a frame went up with N(S) = {seq}, the next one is {self._vs}")
                return Kind.REPEATED, -1, None
            self._commands.commands[before.serial].transmissions += 1
            return Kind.REPEATED, before.serial, before
        serial = next((serial for serial in self._commands.open if serial not in self._sent), None)
        if serial is None:
            self._findings.add(f"a frame went up with N(S) = {seq}, and no command is waiting")
            return Kind.FIRST, -1, None
        self._vs = (seq + 1) % 256
        self._by_number.pop(seq, None)  # the dictionary is in the order of transmission
        self._sent.add(serial)
        command = self._commands.commands[serial]
        command.transmissions += 1
        command.place = command.place or self._frames_up
        return Kind.FIRST if command.transmissions == 1 else Kind.AGAIN, serial, None

    def cause_of_end(self) -> str:
        """Return why the service ended: over the oldest of what is under way; empty if nothing explains it."""
        return self._cause_of(self._oldest())

    def _oldest(self) -> UpFrame | None:
        """Return the last transmission of the oldest command that is under way, or of a control command."""
        open_numbers = (number for number, frame in self._by_number.items() if frame.serial in self._commands.open)
        number = next(open_numbers, None)
        return self._control if number is None else self._by_number[number]

    def _cause_of(self, frame: UpFrame | None) -> str:
        """Return why this needed to go out again, or why the service ended over it; empty if nothing explains it."""
        if frame is not None:
            told_by = frame.told_by if frame.control else self._commands.commands[frame.serial].told_by
            if told_by is not None and told_by[0] == self._up.node_life and self._down.words.newest_clcw < told_by:
                return "lost on the way down"
            if told_by is None and (frame.got_lost or (frame.fate == UNDER_WAY and frame.excused)):
                return "lost on the way up"
            if frame.control and any(other is not frame and self._is_loose(other) for other in self._controls):
                return "control commands before it are not counted"
            if frame.fate == UNDER_WAY and self._up.waiting:
                return "waits in the node"
        rebooted = not self._up.node_on or self._up.node_life != self._period_life
        return "the node was rebooted" if rebooted else ""

    def _is_loose(self, control: UpFrame) -> bool:
        """Return whether this control command was never counted, or by a life of the node that is over."""
        return control.got_lost or (control.told_by is not None and control.told_by[0] != self._up.node_life)
