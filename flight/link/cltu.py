"""Communications link transmission units: BCH(63,56) codeblocks around telecommand frames (CCSDS 231.0-B-4).

Receiver (231.0-B-4, 3.5 and 6.3; single error correction mode):

    SEARCH --start sequence EB90, at most one bit wrong--> DECODE
    DECODE --codeblock with at most one error--> DECODE (its 7 octets are kept)
    DECODE --codeblock that cannot be corrected (the tail is one)--> SEARCH, what was kept is delivered
    DECODE --more codeblocks than a CLTU may have--> SEARCH, nothing is delivered

The search goes on inside the codeblock that ended the unit: where a tail was lost, the next start sequence is
not lost with it. Octet alignment is the modem's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flight.core.errors import DecodeError
from flight.link.tc_frame import FRAME_OCTETS_MAX

START = bytes.fromhex("eb90")
TAIL = bytes.fromhex("c5c5c5c5c5c5c579")
FILL = 0x55
INFORMATION_OCTETS = 7
CODEBLOCK_OCTETS = 8
# One frame of 1,024 octets takes 147 codeblocks; a CLTU may carry a few short frames.
CODEBLOCKS_MAX = -(-FRAME_OCTETS_MAX // INFORMATION_OCTETS)

_GENERATOR = 0x8A  # x^6 + x^2 + 1 (x^7 implied), left-aligned in an octet
_PARITY_MASK = 0xFE  # 7 parity bits, complemented on the wire; the last bit is the filler, 0


def _remainder_table() -> bytes:
    table = []
    for octet in range(256):
        register = octet
        for _ in range(8):
            register = (register << 1 ^ _GENERATOR if register & 0x80 else register << 1) & 0xFF
        table.append(register)
    return bytes(table)


_TABLE = _remainder_table()


def _parity(information: bytes | bytearray | memoryview) -> int:
    """The 7 parity bits of 7 octets, left-aligned, not complemented."""
    register = 0
    for octet in information:
        register = _TABLE[register ^ octet]
    return register


def _single_errors() -> dict[int, int]:
    """Syndrome -> wrong bit of the 64, counted from the first."""
    syndromes = {}
    for bit in range(8 * INFORMATION_OCTETS):
        syndromes[_parity((1 << 55 - bit).to_bytes(INFORMATION_OCTETS, "big"))] = bit
    for bit in range(7):
        syndromes[0x80 >> bit] = 56 + bit
    assert len(syndromes) == 63, len(syndromes)
    return syndromes


_SINGLE_ERRORS = _single_errors()


def _columns() -> tuple[bytes, ...]:
    """For each of a codeblock's 8 octets: octet -> what it adds to the syndrome, by exclusive or."""
    columns = [bytes((octet ^ _PARITY_MASK) & _PARITY_MASK for octet in range(256))]
    for _ in range(INFORMATION_OCTETS):
        after = columns[0] if len(columns) > 1 else bytes(range(256))
        columns.insert(0, bytes(_TABLE[octet] for octet in after))
    return tuple(columns)


_COLUMNS = _columns()


def _clean_codeblocks(blocks: bytes) -> int:
    """How many codeblocks at the start of `blocks`, which are whole ones, have no error. All are looked at together,
    an octet of each in one operation: that takes a tenth of the time of one after the other."""
    sums = 0
    for place, column in enumerate(_COLUMNS):
        sums ^= int.from_bytes(blocks[place::CODEBLOCK_OCTETS].translate(column), "little")
    if not sums:
        return len(blocks) // CODEBLOCK_OCTETS
    return ((sums & -sums).bit_length() - 1) // 8


def _near(word: int) -> bool:
    return (word ^ 0xEB90).bit_count() <= 1


# First octets that can open a start sequence with one wrong bit.
_OPENERS = frozenset([0xEB, *(0xEB ^ 1 << bit for bit in range(8))])


def decode_codeblock(block: bytes | bytearray | memoryview) -> tuple[bytes, int] | None:
    """The 7 information octets of an 8-octet codeblock and 0 or 1 corrected errors; None where it has more."""
    information = bytes(block[:INFORMATION_OCTETS])
    syndrome = (_parity(information) ^ block[INFORMATION_OCTETS] ^ _PARITY_MASK) & _PARITY_MASK
    if not syndrome:
        return information, 0
    bit = _SINGLE_ERRORS.get(syndrome)
    if bit is None:
        return None
    if bit < 56:
        information = (int.from_bytes(information, "big") ^ 1 << 55 - bit).to_bytes(INFORMATION_OCTETS, "big")
    return information, 1


def encode_cltu(frame: bytes) -> bytes:
    """One CLTU for one telecommand frame of 1..1024 octets, fill 0x55 to whole codeblocks."""
    assert 1 <= len(frame) <= FRAME_OCTETS_MAX, len(frame)
    data = frame + bytes((FILL,)) * (-len(frame) % INFORMATION_OCTETS)
    out = bytearray(START)
    for at in range(0, len(data), INFORMATION_OCTETS):
        information = data[at : at + INFORMATION_OCTETS]
        out += information
        out.append(_parity(information) ^ _PARITY_MASK)
    return bytes(out + TAIL)


def decode_cltu(cltu: bytes) -> bytes:
    """The frame with its fill, from exactly one CLTU; raises DecodeError where it is not whole."""
    if len(cltu) < len(START) + CODEBLOCK_OCTETS + len(TAIL):
        raise DecodeError(f"CLTU of {len(cltu)} octets, shortest is {len(START) + CODEBLOCK_OCTETS + len(TAIL)}")
    if not _near(cltu[0] << 8 | cltu[1]):
        raise DecodeError(f"CLTU starts with {cltu[:2].hex()}, not {START.hex()}")
    body = cltu[len(START) :]
    if len(body) % CODEBLOCK_OCTETS:
        raise DecodeError(f"CLTU of {len(cltu)} octets does not hold whole codeblocks")
    if len(body) // CODEBLOCK_OCTETS - 1 > CODEBLOCKS_MAX:
        raise DecodeError(f"CLTU of {len(body) // CODEBLOCK_OCTETS - 1} codeblocks, most is {CODEBLOCKS_MAX}")
    out = bytearray()
    for at in range(0, len(body) - CODEBLOCK_OCTETS, CODEBLOCK_OCTETS):
        decoded = decode_codeblock(body[at : at + CODEBLOCK_OCTETS])
        if decoded is None:
            raise DecodeError(f"CLTU: codeblock {at // CODEBLOCK_OCTETS} has more than one error")
        out += decoded[0]
    if decode_codeblock(body[-CODEBLOCK_OCTETS:]) is not None:
        raise DecodeError("CLTU without tail sequence")
    return bytes(out)


@dataclass(slots=True)
class CltuReceiver:
    """Octets in any split in, the frames' octets (with fill) out. Holds at most one CLTU.

    `corrected` counts single bit errors, `aborted` units that were empty or too long, `skipped` octets that
    belonged to no unit.
    """

    units: int = 0
    corrected: int = 0
    aborted: int = 0
    skipped: int = 0
    _buffer: bytearray = field(default_factory=bytearray)
    _frame: bytearray | None = None

    def reset(self) -> None:
        """Forget a unit that has begun: the carrier is lost."""
        self._buffer.clear()
        self._frame = None

    @property
    def open(self) -> bool:
        """True while a unit has begun and not ended."""
        return self._frame is not None

    def feed(self, octets: bytes) -> list[bytes]:
        """The units that `octets` completed, in order: frame octets and their fill."""
        units: list[bytes] = []
        buffer = self._buffer
        buffer += octets
        at = 0
        while True:
            if self._frame is None:
                at = self._search(at)
                if self._frame is None:
                    break
            at = self._take_clean(at)
            block = buffer[at : at + CODEBLOCK_OCTETS]
            if len(block) < CODEBLOCK_OCTETS:
                break
            decoded = None if block == TAIL else decode_codeblock(block)
            if decoded is not None and len(self._frame) < CODEBLOCKS_MAX * INFORMATION_OCTETS:
                at += CODEBLOCK_OCTETS
                self._frame += decoded[0]
                self.corrected += decoded[1]
                continue
            if decoded is None and self._frame:
                self.units += 1
                units.append(bytes(self._frame))
                if block == TAIL:
                    at += CODEBLOCK_OCTETS
            else:
                self.aborted += 1
            self._frame = None
        del buffer[:at]
        return units

    def _take_clean(self, at: int) -> int:
        """Keep the codeblocks from octet `at` on up to the first with an error; the octet after them."""
        assert self._frame is not None
        room = CODEBLOCKS_MAX - len(self._frame) // INFORMATION_OCTETS
        count = min(room, (len(self._buffer) - at) // CODEBLOCK_OCTETS)
        count = _clean_codeblocks(bytes(self._buffer[at : at + count * CODEBLOCK_OCTETS]))
        end = at + count * CODEBLOCK_OCTETS
        information = self._buffer[at:end]
        del information[INFORMATION_OCTETS::CODEBLOCK_OCTETS]
        self._frame += information
        return end

    def _search(self, at: int) -> int:
        """Open a unit where the next start sequence ends; else the octet from where to go on later."""
        buffer = self._buffer
        end = len(buffer) - 1
        start = at
        while at < end:
            if buffer[at] in _OPENERS and _near(buffer[at] << 8 | buffer[at + 1]):
                self.skipped += at - start
                self._frame = bytearray()
                return at + 2
            at += 1
        if at <= end and buffer[at] not in _OPENERS:
            at += 1
        self.skipped += at - start
        return at
