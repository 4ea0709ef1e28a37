"""Channel access data units: marker, randomized frame, and the search for them (CCSDS 131.0-B-5, 8 to 10).

Receiver:

    SEARCH --marker, bit for bit--> LOCK, one frame follows
    LOCK   --marker with at most 3 wrong bits right after the frame--> LOCK
    LOCK   --anything else--> SEARCH from that octet
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flight.kernels import randomize_tm

MARKER = bytes.fromhex("1acffc1d")
_MARKER_WORD = int.from_bytes(MARKER, "big")
_WRONG_BITS_MAX = 3


def encode_cadu(frame: bytes) -> bytes:
    """Marker and frame, randomized by the 255-bit sequence, which does not touch the marker (131.0-B-5, 10)."""
    return MARKER + randomize_tm(frame)


@dataclass(slots=True)
class CaduReceiver:
    """Octets in any split in, derandomized frames of `frame_octets` out. Holds less than one unit between calls.

    `skipped` counts octets outside units, `locks` how often the marker had to be searched for and was found.
    """

    frame_octets: int
    locks: int = 0
    skipped: int = 0
    _buffer: bytearray = field(default_factory=bytearray)
    _locked: bool = False

    def reset(self) -> None:
        """Forget a unit that has begun: the signal is lost."""
        self._buffer.clear()
        self._locked = False

    def feed(self, octets: bytes) -> list[bytes]:
        """The frames that `octets` completed, in order. Their error control is not looked at."""
        unit = len(MARKER) + self.frame_octets
        frames: list[bytes] = []
        buffer = self._buffer
        buffer += octets
        at = 0
        while len(buffer) - at >= len(MARKER):
            if not self._at_marker(at):
                self._locked = False
                found = buffer.find(MARKER, at)
                # Without a marker the last three octets stay: one may begin there.
                end = found if found >= 0 else len(buffer) - len(MARKER) + 1
                self.skipped += end - at
                at = end
                if found < 0:
                    break
            if len(buffer) - at < unit:
                break
            if not self._locked:
                self._locked = True
                self.locks += 1
            frames.append(randomize_tm(bytes(buffer[at + len(MARKER) : at + unit])))
            at += unit
        del buffer[:at]
        return frames

    def _at_marker(self, at: int) -> bool:
        found = self._buffer[at : at + len(MARKER)]
        if found == MARKER:
            return True
        wrong = (int.from_bytes(found, "big") ^ _MARKER_WORD).bit_count()
        return self._locked and wrong <= _WRONG_BITS_MAX
