"""The serial protocol of the power and temperature board: frames and messages. Nothing here reads or writes.

A frame is COBS (Cheshire and Baker, IEEE/ACM ToN 7(2), 1999) between 0x00 octets. Inside, big-endian, with the number
of octets in brackets:

    type (1), sequence (1), body (0..200), CRC-16/CCITT-FALSE over all before (2)

The host asks, and the board answers with type + 0x80 and the same sequence number. A board names what it has
(DESCRIBE). In version 2 an order names its target, and a status says which description it belongs to.

    0x01 DESCRIBE  2                    0x81  three lists (sensors, switches, heaters): count, then length + ASCII;
                                              then 2
    0x02 STATUS    2                    0x82  CRC-32 of the three lists (u32), boot (u16: another number after every
                                              restart, as far as the board can), then soc_frac, solar_w, load_w,
                                              battery_w, bus_v (f32 each), switches (u16 bit field), heaters (u16), one
                                              f32 in degrees C per sensor
    0x03 SWITCH    length + name,       0x83  0 done, 1 no such switch, 2 refused
                   0 or 1
    0x04 HEATER    length + name,       0x84  0 done, 1 no such heater, 2 refused
                   0 or 1
    0x05 LIMIT     W for the payload    0x85  0 done, 2 refused
                   processor (f32)

Version 1 has neither names in its orders nor a number of the board: DESCRIBE and STATUS are asked without the 2 and
answered without the 2, CRC and boot, and SWITCH and HEATER carry the place in the list (index, then 0 or 1) instead of
the name.
"""

# Why it is built this way.
#
# COBS leaves no 0x00 inside a frame, so a receiver is in step again after the next 0x00, whatever came before: a board
# that was plugged in mid-sentence, noise, or the boot messages of its firmware. The CRC then decides what is a frame.
#
# Version 2 exists because a board may be exchanged, or restart with other lists, between two frames. An order by index
# would then switch whatever stands at that place now; an order by name reaches its target or none. A check of the
# description in each order would do almost the same, and be wrong once in 2^16 or 2^32 (ADR 0021).
#
# How the versions find each other: a board of version 1 does not look at the 2 and answers without it, which tells the
# host. A board of version 2 serves hosts of both. The two forms of each message always differ in length (a status by 6
# octets, and everything else in it comes in fours), so neither can be taken for the other.

from __future__ import annotations

import math
import struct
from binascii import crc32, crc_hqx
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Self

from hal.base import PowerReading

BODY_MAX = 200
FRAME_MAX = 4 + BODY_MAX + 2  # with the COBS code octet, and one to spare; without the 0x00
NAMES_MAX = 16
NAME_OCTETS_MAX = 16
VERSION = 2
ASK = bytes((VERSION,))  # body of DESCRIBE and STATUS from a host of this version


class WireError(ValueError):
    """Octets from the line that are not a frame or message of this protocol."""


class Kind(IntEnum):
    """What is asked for: the type octet of a request."""

    DESCRIBE = 1
    STATUS = 2
    SWITCH = 3
    HEATER = 4
    LIMIT = 5


class Outcome(IntEnum):
    """What became of an order: the one octet of its answer."""

    DONE = 0
    UNKNOWN = 1
    REFUSED = 2


def cobs_encode(data: bytes) -> bytes:
    """Return `data` coded without any 0x00. It grows by one octet, and by one more per 254 octets."""
    blocks: list[bytes] = []
    for block in data.split(b"\0"):
        while len(block) >= 254:  # 0xff: 254 octets follow, and no 0x00 after them
            blocks.append(b"\xff" + block[:254])
            block = block[254:]
        blocks.append(bytes((len(block) + 1,)) + block)
    return b"".join(blocks)


def cobs_decode(data: bytes) -> bytes:
    """Return what `cobs_encode` was given. Raises WireError if the octets are not its output."""
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        code = data[at]
        block = data[at + 1 : at + code]
        if code == 0 or len(block) != code - 1 or b"\0" in block:
            raise WireError(f"COBS code {code} at octet {at} of {len(data)}")
        at += code
        parts.append(block)
        if code < 255 and at < len(data):  # the last block stands for no 0x00: nothing follows it
            parts.append(b"\0")
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class BoardFrame:
    """One request or answer. `kind` is the type octet without its answer bit, 0x80."""

    kind: Kind
    seq: int
    body: bytes = b""
    is_answer: bool = False

    def encode(self) -> bytes:
        """Return the frame with a 0x00 before it, which ends any garbage on the line, and one after it."""
        assert 0 <= self.seq < 256, self.seq
        assert len(self.body) <= BODY_MAX, len(self.body)
        raw = bytes((self.kind | self.is_answer << 7, self.seq)) + self.body
        return b"\0" + cobs_encode(raw + crc_hqx(raw, 0xFFFF).to_bytes(2, "big")) + b"\0"

    @classmethod
    def decode(cls, octets: bytes) -> Self:
        """Read a frame from what stood between two 0x00 octets. Raises WireError."""
        raw = cobs_decode(octets)
        if not 4 <= len(raw) <= BODY_MAX + 4:
            raise WireError(f"frame of {len(raw)} octets, should be 4 to {BODY_MAX + 4}")
        if crc_hqx(raw[:-2], 0xFFFF) != int.from_bytes(raw[-2:], "big"):
            raise WireError("frame with a CRC mismatch")
        try:
            kind = Kind(raw[0] & 0x7F)
        except ValueError:
            raise WireError(f"frame of unknown type {raw[0]:#04x}") from None
        return cls(kind, raw[1], raw[2:-2], raw[0] >= 0x80)


@dataclass(slots=True)
class BoardReceiver:
    """Puts octets, as they come, together into frames. Anything else is counted as garbage and dropped.

    The buffer never holds more than the longest frame.
    """

    # Stretches between two 0x00 octets that were not a frame.
    garbage: int = 0
    _buffer: bytearray = field(default_factory=bytearray)
    _skipping: bool = False

    def feed(self, octets: bytes) -> list[BoardFrame]:
        """Return the frames that these octets complete."""
        frames: list[BoardFrame] = []
        *complete, unfinished = octets.split(b"\0")
        for part in complete:
            self._buffer += part
            raw, skipped = bytes(self._buffer), self._skipping
            self._buffer.clear()
            self._skipping = False
            if not raw and not skipped:  # between two frames: each has a 0x00 at both ends
                continue
            try:
                if skipped or len(raw) > FRAME_MAX:
                    raise WireError("longer than any frame")
                frames.append(BoardFrame.decode(raw))
            except WireError:
                self.garbage += 1
        self._buffer += unfinished
        # Too long for a frame: drop it, and all that follows up to the next 0x00, which then counts as one.
        if len(self._buffer) > FRAME_MAX:
            self._buffer.clear()
            self._skipping = True
        return frames


@dataclass(frozen=True, slots=True)
class BoardDescription:
    """What a board has, by name: at most 16 of each kind, names of at most 16 ASCII characters. Raises WireError."""

    sensors: tuple[str, ...]
    switches: tuple[str, ...]
    heaters: tuple[str, ...]

    def __post_init__(self) -> None:
        for names in (self.sensors, self.switches, self.heaters):
            if len(names) > NAMES_MAX or len(set(names)) != len(names):
                raise WireError(f"names are {names}, should be at most {NAMES_MAX}, all different")
            for name in names:
                if not (name.isascii() and name.isprintable() and 0 < len(name) <= NAME_OCTETS_MAX):
                    raise WireError(f"name {name!r}, should be 1 to {NAME_OCTETS_MAX} printable ASCII characters")
        if len(self.encode()) > BODY_MAX:
            raise WireError(f"names take {len(self.encode())} octets together, at most {BODY_MAX} fit")

    def encode(self) -> bytes:
        """Return the three lists, each as a count and its names, each name as length and ASCII characters."""
        lists = (self.sensors, self.switches, self.heaters)
        return b"".join(
            bytes((len(names),)) + b"".join(bytes((len(n),)) + n.encode("ascii") for n in names) for names in lists
        )

    @property
    def check(self) -> int:
        """The CRC-32 by which a status of version 2 names its description."""
        return crc32(self.encode())

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a description of version 1. Raises WireError."""
        description, version = cls.decode_any(body)
        if version != 1:
            raise WireError(f"description of version {version}, should be 1")
        return description

    @classmethod
    def decode_any(cls, body: bytes) -> tuple[Self, int]:
        """Read a description and its version. Raises WireError."""
        at = 0

        def take(octets: int) -> bytes:
            nonlocal at
            part = body[at : at + octets]
            if len(part) != octets:
                raise WireError(f"description ends at octet {len(body)}, inside a list")
            at += octets
            return part

        try:
            lists = [tuple(take(take(1)[0]).decode("ascii") for _ in range(take(1)[0])) for _ in range(3)]
        except UnicodeDecodeError:
            raise WireError("description with a name that is not ASCII") from None
        if body[at:] not in (b"", ASK):
            raise WireError(f"description has {len(body) - at} octets too many")
        return cls(lists[0], lists[1], lists[2]), VERSION if body[at:] else 1


@dataclass(frozen=True, slots=True)
class BoardStatus:
    """One sample of everything. Bit i of `switches` and `heaters` is the i-th name of the description."""

    power: PowerReading
    switches: int
    heaters: int
    temperatures_c: tuple[float, ...]

    _HEADER: ClassVar[struct.Struct] = struct.Struct(">5f2H")

    def encode(self) -> bytes:
        """Return the status of version 1, which is also what follows the identity in version 2."""
        p = self.power
        head = self._HEADER.pack(p.soc_frac, p.solar_w, p.load_w, p.battery_w, p.bus_v, self.switches, self.heaters)
        return head + struct.pack(f">{len(self.temperatures_c)}f", *self.temperatures_c)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a status of version 1. Raises WireError, also if a value is not finite."""
        octets = len(body) - cls._HEADER.size
        if octets < 0 or octets % 4 or octets > 4 * NAMES_MAX:
            raise WireError(f"status of {len(body)} octets, should be {cls._HEADER.size} and 4 per sensor")
        *power, switches, heaters = cls._HEADER.unpack_from(body)
        temperatures = struct.unpack_from(f">{octets // 4}f", body, cls._HEADER.size)
        if not all(map(math.isfinite, (*power, *temperatures))):
            raise WireError("status with a value that is not finite")
        return cls(PowerReading(*power), switches, heaters, temperatures)


@dataclass(frozen=True, slots=True)
class BoardIdentity:
    """The head of a status of version 2: which description it belongs to, and which boot of the board."""

    check: int
    boot: int

    _STRUCT: ClassVar[struct.Struct] = struct.Struct(">IH")
    OCTETS: ClassVar[int] = _STRUCT.size

    def encode(self) -> bytes:
        """Return its OCTETS octets, which the status follows."""
        return self._STRUCT.pack(self.check, self.boot)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read it from the beginning of a status. Raises WireError."""
        if len(body) < cls.OCTETS:
            raise WireError(f"status of {len(body)} octets, should begin with {cls.OCTETS} octets of identity")
        return cls(*cls._STRUCT.unpack_from(body))


def encode_order(name: str, on: bool) -> bytes:
    """Return the body of SWITCH or HEATER of version 2."""
    return bytes((len(name),)) + name.encode("ascii") + bytes((on,))


def decode_order(body: bytes) -> tuple[str, bool]:
    """Read the body of SWITCH or HEATER of version 2: name, and whether on. Raises WireError."""
    if len(body) < 3 or len(body) != body[0] + 2 or body[0] > NAME_OCTETS_MAX or body[-1] > 1:
        raise WireError(f"order {body.hex()}, should be length, name, 0 or 1")
    try:
        return body[1:-1].decode("ascii"), bool(body[-1])
    except UnicodeDecodeError:
        raise WireError(f"order {body.hex()} with a name that is not ASCII") from None


def encode_limit(power_w: float) -> bytes:
    """Return the body of LIMIT."""
    return struct.pack(">f", power_w)


def decode_limit(body: bytes) -> float:
    """Read the body of LIMIT, in watts. Raises WireError unless it is finite and 0 or more."""
    if len(body) != 4:
        raise WireError(f"limit of {len(body)} octets, should be 4")
    (power_w,) = struct.unpack(">f", body)
    if not 0.0 <= power_w < math.inf:
        raise WireError(f"limit of {power_w} W, should be 0 or more and finite")
    return float(power_w)
