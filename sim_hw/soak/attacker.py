"""An attacker between the ends of a soak: he hears every frame, has no key, and sends frames of his own to both ends.

What he makes, of frames that he has heard:

    replay       the same octets again, once the receiver has looked at them or at a later frame
    sequence     another N(S), up; another count, down
    flipped bit  any one bit
    renumbered   a number that nobody has used
    control      a control command that is not protected at all, up
    invented     a frame of his own, with the right ids and association, a number that is still to come, and any MAC

The error control is made right again, and he transmits without bit errors.
"""

# He owes `per_frame` forgeries for each real frame, and pays within _LATER_NS. So some of them arrive ahead of the
# frame that they were made of, when its number is not spent yet, and others in the midst of later traffic. He also
# keeps an archive over the whole run, with frames of earlier passes and of earlier lives of both ends.
#
# What he is not let do, because nothing but the channel is between the ends: a copy of a frame that got lost, sent
# ahead of any later frame, is not a forgery. It is that frame, late, and is taken once, as it should be. The control
# word of a TM frame stands outside what the MAC covers (355.0-B-2; ADR 0039 says what that costs), so he flips it only
# in frames whose number is spent.
#
# He sends only while the receiver hears somebody. Otherwise there is nothing to see.

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from enum import Enum
from random import Random
from typing import NamedTuple, Protocol

from flight.core.nanoseconds import NS
from flight.link.coding.cltu import encode_cltu
from flight.link.security.suites import MAC_OCTETS, Suite
from flight.link.tm_tc_stack import LinkConfig
from sim_hw.machine.air import Air
from sim_hw.machine.loop import VirtualLoop
from sim_hw.soak.downlink_ledger import DownlinkLedger, SentFrame
from sim_hw.soak.protected_frames import (
    BYPASS,
    CONTROL,
    FECF_OCTETS,
    OCF_OCTETS,
    SEQ_AT,
    SPI_DOWN,
    SPI_UP,
    TC_HEADER_OCTETS,
    TM_HEADER_OCTETS,
    ProtectedFrames,
    number_place,
    with_crc,
)
from sim_hw.soak.uplink_ledger import SentCltu, UpFrame, UplinkLedger

_LATER_NS = NS // 2
_NEWEST, _ARCHIVE = 16, 512  # frames that he keeps: of now, and of all the time
_AHEAD_MAX = 2000  # how far a number is ahead that he makes up
_INVENTED_OCTETS_MAX = 200
_CONTROLS = (b"\x00", b"\x82\x00\x00", b"\x82\x00\x80")  # Unlock, Set V(R) to 0 and to 128
_COUNTS_AT, _COUNTS = 2, 2  # both counts of a TM frame


class Forgery(Enum):
    """What is done to a frame."""

    REPLAY = "replay"
    SEQUENCE = "sequence"
    FLIPPED = "flipped bit"
    RENUMBERED = "renumbered"
    CONTROL = "control"
    INVENTED = "invented"


class Heard(NamedTuple):
    """A frame that the attacker has heard, and its sequence number."""

    frame: bytes
    number: int


class Recording:
    """Frames that were heard: the newest, and some of all."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._newest: deque[Heard] = deque(maxlen=_NEWEST)
        self._archive: list[Heard] = []
        self._heard = 0

    def add(self, frame: Heard) -> None:
        """Keep a frame; of those before it some are forgotten, each with the same chance."""
        self._heard += 1
        self._newest.append(frame)
        if len(self._archive) < _ARCHIVE:
            self._archive.append(frame)
        elif self._random.random() < _ARCHIVE / self._heard:
            self._archive[self._random.randrange(_ARCHIVE)] = frame

    def pick(self) -> Heard | None:
        """Return one of them, a new one half of the time; None if nothing was heard."""
        frames = self._newest if self._random.random() < 0.5 else self._archive
        return self._random.choice(frames) if frames else None


class NodeSide(Protocol):
    """Who tells of each frame that goes down."""

    on_frame: Callable[[SentFrame], None]


class GroundSide(Protocol):
    """Who tells of each frame that goes up, and of its octets."""

    on_frame: Callable[[UpFrame, bytes], None]


class Attacker:
    """See the head of the file. `sent` counts forgeries by way ("up", "down") and kind; `held` those not sent."""

    def __init__(
        self, config: LinkConfig, air: Air, loop: VirtualLoop, *, up: UplinkLedger, down: DownlinkLedger,
        random: Random,
    ) -> None:  # fmt: skip
        self.sent: Counter[tuple[str, Forgery]] = Counter()
        self.held = 0
        self._config = config
        self._frames = ProtectedFrames(config)
        self._air = air
        self._loop = loop
        self._up = up
        self._down = down
        self._random = random
        self._up_heard, self._down_heard = Recording(random), Recording(random)
        self._per_frame = self._up_owed = self._down_owed = 0.0

    def begin(self, per_frame: float, node: NodeSide, ground: GroundSide) -> None:
        """Attack every way that is protected, with so many frames per real one."""
        self._per_frame = per_frame
        if self._config.up_suite is not None:
            ground.on_frame = self._on_frame_up
        if self._config.down_suite is not None:
            node.on_frame = self._on_frame_down

    def _on_frame_up(self, up: UpFrame, frame: bytes) -> None:
        self._up_heard.add(Heard(frame, up.number))
        self._up_owed = self._pay(self._up_owed + self._per_frame, self._strike_node)

    def _on_frame_down(self, frame: SentFrame) -> None:
        self._down_heard.add(Heard(frame.frame, frame.sequence))
        self._down_owed = self._pay(self._down_owed + self._per_frame, self._strike_ground)

    def _pay(self, owed: float, strike: Callable[[], None]) -> float:
        while owed >= 1.0:
            owed -= 1.0
            self._loop.call_at(self._loop.now_ns() + self._random.randrange(_LATER_NS), strike)
        return owed

    # Up

    def _strike_node(self) -> None:
        heard = self._up_heard.pick()
        if heard is None or not self._up.node_on or not self._air.up.channel.carrier(self._loop.now_ns()):
            self.held += 1
            return
        kinds = [kind for kind in Forgery if kind is not Forgery.REPLAY or heard.number <= self._up.spent_surely]
        kind = self._random.choice(kinds)
        frame = self._forged_up(kind, heard)
        cltu = encode_cltu(frame, randomized=self._config.tc_randomizer)
        self.sent["up", kind] += 1
        self._up.forged(SentCltu(cltu, [UpFrame(-1, forged=frame)], received=cltu))
        self._air.modem.hear(cltu)

    def _forged_up(self, kind: Forgery, heard: Heard) -> bytes:
        """Return a TC frame with right error control."""
        suite, random, frame = self._config.up_suite, self._random, bytearray(heard.frame)
        assert suite is not None, "clear"
        match kind:
            case Forgery.SEQUENCE:
                frame[SEQ_AT] ^= random.randrange(1, 256)
            case Forgery.FLIPPED:
                _flip(frame, random.randrange(8 * (len(frame) - FECF_OCTETS)))
            case Forgery.RENUMBERED:
                _renumber(frame, suite, self._frames.security_at(frame), self._ahead(self._up.spent, heard))
            case Forgery.CONTROL:
                return self._tc(BYPASS | CONTROL, 0, random.choice(_CONTROLS))
            case Forgery.INVENTED:
                seq = random.randrange(256)
                ahead = bytes((0xC0 | self._config.tc_map,)) if self._config.tc_segment_header else b""
                data = random.randbytes(random.randrange(1, _INVENTED_OCTETS_MAX) + MAC_OCTETS)
                return self._tc(0, seq, ahead + _header(suite, SPI_UP, self._ahead(self._up.spent, heard)) + data)
            case Forgery.REPLAY:
                pass
        return with_crc(frame)

    def _tc(self, flags: int, seq: int, data: bytes) -> bytes:
        octets = TC_HEADER_OCTETS + len(data) + FECF_OCTETS
        first = flags << 8 | self._config.spacecraft_id
        second = self._config.tc_vcid << 10 | octets - 1
        head = first.to_bytes(2, "big") + second.to_bytes(2, "big") + bytes((seq,))
        return with_crc(head + data + bytes(FECF_OCTETS))

    # Down

    def _strike_ground(self) -> None:
        heard = self._down_heard.pick()
        if heard is None or not self._down.ground_on or not self._air.down.channel.carrier(self._loop.now_ns()):
            self.held += 1
            return
        spent = heard.number <= self._down.spent
        kinds = [kind for kind in Forgery if kind is not Forgery.CONTROL and (spent or kind is not Forgery.REPLAY)]
        kind = self._random.choice(kinds)
        frame = self._forged_down(kind, heard, spent)
        self.sent["down", kind] += 1
        unit = self._frames.down_unit(frame)
        self._down.forged(SentFrame(0, -1, -1, unit, frame, forged=True))
        self._air.on_downlink(unit)

    def _forged_down(self, kind: Forgery, heard: Heard, spent: bool) -> bytes:
        """Return a TM frame with right error control; spent: its number is, so that its control word may change."""
        suite, random, frame = self._config.down_suite, self._random, bytearray(heard.frame)
        assert suite is not None, "clear"
        tail_octets = FECF_OCTETS if spent else FECF_OCTETS + OCF_OCTETS
        match kind:
            case Forgery.SEQUENCE:
                for at in range(_COUNTS_AT, _COUNTS_AT + _COUNTS):
                    frame[at] ^= random.randrange(1, 256)
            case Forgery.FLIPPED:
                _flip(frame, random.randrange(8 * (len(frame) - tail_octets)))
            case Forgery.RENUMBERED:
                _renumber(frame, suite, TM_HEADER_OCTETS, self._ahead(self._down.spent, heard))
            case Forgery.INVENTED:
                header = _header(suite, SPI_DOWN, self._ahead(self._down.spent, heard))
                frame[TM_HEADER_OCTETS:] = header + random.randbytes(len(frame) - TM_HEADER_OCTETS - len(header))
            case Forgery.REPLAY | Forgery.CONTROL:
                pass
        return with_crc(frame)

    def _ahead(self, spent: int, heard: Heard) -> int:
        """Return a number that is not spent, and another one than the frame has: that would be the frame itself."""
        number = spent + self._random.randrange(1, _AHEAD_MAX)
        return number + (number == heard.number)


def _flip(frame: bytearray, bit: int) -> None:
    frame[bit // 8] ^= 0x80 >> bit % 8


def _header(suite: Suite, spi: int, number: int) -> bytes:
    place = number_place(suite, 0)
    return spi.to_bytes(place.start, "big") + number.to_bytes(place.stop - place.start, "big")


def _renumber(frame: bytearray, suite: Suite, at: int, number: int) -> None:
    place = number_place(suite, at)
    frame[place] = number.to_bytes(place.stop - place.start, "big")
