"""Frames of a link as a soak's account reads them: their numbers, their control words, and why one must be refused."""

# This is a second reading of the formats (232.0-B-4, 132.0-B-3, 355.0-B-2), by offsets, and shares no code with the one
# that flies. So the account knows the number of each frame from the octets on the air, and what a receiver has to say
# to a frame that somebody tampered with:
#
#     up      frame (version, spare bits, flags, length, error control), spacecraft, vcid, length, spi, replay, mac
#     down    version, status, spacecraft, spi, replay, mac
#
# in this order, the first that applies. A tampered frame never has a right MAC, so `mac` is what is left.

from __future__ import annotations

from flight.kernels import Randomizer, crc16, randomize_units
from flight.link.coding.tm_coding import MARKER_OCTETS, TmEncoder
from flight.link.security.suites import Suite
from flight.link.tm_tc_stack import LinkConfig

# The associations of the one link, see flight/link/security/associations.py.
SPI_UP, SPI_UP_B, SPI_DOWN, SPI_DOWN_B, SPI_VOLATILE = range(1, 6)

TC_HEADER_OCTETS, TM_HEADER_OCTETS, OCF_OCTETS, FECF_OCTETS = 5, 6, 4, 2
BYPASS, CONTROL = 0x20, 0x10  # in the first octet of a TC frame
TC_LENGTH_AT, SEQ_AT = 2, 4
_SPI_OCTETS = 2
_TC_OCTETS_MIN = 8
_REPORT_BIT = 0x80  # in the first octet of a control word
_SEQUENCES = {"short": Randomizer.TM, "long": Randomizer.TM_LONG}


def with_crc(frame: bytes | bytearray) -> bytes:
    """Return the frame with its error control made right."""
    body = bytes(frame[:-FECF_OCTETS])
    return body + crc16(body).to_bytes(FECF_OCTETS, "big")


def tc_octets(frame: bytes) -> int:
    """Return the length that a TC frame says it has."""
    return (int.from_bytes(frame[TC_LENGTH_AT:SEQ_AT], "big") & 0x3FF) + 1


def tc_frames(information: bytes) -> list[bytes]:
    """Return the TC frames in the octets of a CLTU, one behind the other; what is too short for one is fill."""
    frames, at = [], 0
    while len(information) - at >= _TC_OCTETS_MIN:
        end = at + tc_octets(information[at:])
        frames.append(information[at:end])
        at = end
    return frames


def ocf_of(frame: bytes) -> bytes:
    """Return the control word of a TM frame."""
    return frame[-FECF_OCTETS - OCF_OCTETS : -FECF_OCTETS]


def is_report(ocf: bytes) -> bool:
    """Return whether a control word is a frame security report, and not a CLCW."""
    return bool(ocf[0] & _REPORT_BIT)


class ProtectedFrames:
    """Reads and codes the frames of one link."""

    def __init__(self, config: LinkConfig) -> None:
        self._config = config
        self._encoder = TmEncoder(config.tm_coding) if config.tm_coding is not None else None

    # Up

    def security_at(self, frame: bytes | bytearray) -> int:
        """Return the octet of a TC frame at which the security header stands: a segment header is ahead of it."""
        ahead = self._config.tc_segment_header and not frame[0] & CONTROL
        return TC_HEADER_OCTETS + ahead

    def up_number(self, frame: bytes) -> int:
        """Return the sequence number of a TC frame, 0 if the way up is clear."""
        return _number(self._config.up_suite, frame, self.security_at(frame))

    def up_refusal(self, frame: bytes, spent: int) -> str:
        """Return why the node must refuse a tampered TC frame if all numbers up to `spent` are spent."""
        config, suite = self._config, self._config.up_suite
        assert suite is not None, "clear"
        octets = tc_octets(frame)
        first = int.from_bytes(frame[:2], "big")
        control, bypass = frame[0] & CONTROL, frame[0] & BYPASS
        if not _TC_OCTETS_MIN <= octets <= len(frame) or crc16(frame[:octets]):
            return "frame"
        if first >> 14 or first & 0x0C00 or (control and not bypass):
            return "frame"
        if first & 0x3FF != config.spacecraft_id:
            return "spacecraft"
        if frame[TC_LENGTH_AT] >> 2 != config.tc_vcid:
            return "vcid"
        at = self.security_at(frame)
        if octets - FECF_OCTETS - at <= suite.overhead_octets:
            return "length"
        spi = int.from_bytes(frame[at : at + _SPI_OCTETS], "big")
        if spi != SPI_UP:
            return "association" if spi == SPI_UP_B else "spi"
        return "replay" if self.up_number(frame) <= spent else "mac"

    # Down

    def down_frame(self, unit: bytes) -> bytes:
        """Return the TM frame in a unit without bit errors."""
        coding = self._config.tm_coding
        if coding is None:
            return unit
        codeblock = bytearray(unit[MARKER_OCTETS:])
        sequence = _SEQUENCES.get(coding.randomizer)
        if sequence is not None:
            randomize_units(codeblock, 1, len(codeblock), sequence)
        return bytes(codeblock[: coding.frame_octets])

    def down_unit(self, frame: bytes) -> bytes:
        """Return the unit of a TM frame."""
        return frame if self._encoder is None else self._encoder.encode(frame)

    def down_number(self, frame: bytes) -> int:
        """Return the sequence number of a TM frame, 0 if the way down is clear."""
        return _number(self._config.down_suite, frame, TM_HEADER_OCTETS)

    def down_refusal(self, frame: bytes, spent: int) -> str:
        """Return why the ground must refuse a tampered TM frame if all numbers up to `spent` are spent."""
        first = int.from_bytes(frame[:2], "big")
        if first >> 14:
            return "version"
        if frame[4] & 0xC0:
            return "status"
        if first >> 4 & 0x3FF != self._config.spacecraft_id:
            return "spacecraft"
        spi = int.from_bytes(frame[TM_HEADER_OCTETS : TM_HEADER_OCTETS + _SPI_OCTETS], "big")
        if spi == SPI_VOLATILE:
            return "mac"  # no order is checked over it
        if spi != SPI_DOWN:
            return "association" if spi == SPI_DOWN_B else "spi"
        return "replay" if self.down_number(frame) <= spent else "mac"


def number_place(suite: Suite, at: int) -> slice:
    """Return the place of the sequence number, of a security header that begins at octet `at`."""
    return slice(at + _SPI_OCTETS, at + suite.header_octets)


def _number(suite: Suite | None, frame: bytes, at: int) -> int:
    return 0 if suite is None else int.from_bytes(frame[number_place(suite, at)], "big")
