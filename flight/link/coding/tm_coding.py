"""Channel coding of the downlink, both ends: frames to units of a stream, and back (CCSDS 131.0-B-5).

    frame -> Reed-Solomon check symbols -> randomizer -> attached sync marker -> (convolutional code) -> modem
    modem -> (Viterbi decoder) -> marker search -> randomizer -> Reed-Solomon correction -> frame, sound or not

The marker is not randomized, and neither marker nor randomizer belong to the Reed-Solomon codeblock.
"""

# Both ends work in place on one buffer: the sender's holds the marker already, and the check symbols, the randomizer
# and the copy for the modem touch it once each. The receiver's is what the synchronizer has filled, unit behind unit,
# and one call of a kernel handles all units of a stretch (ADR 0014). A frame is therefore a view into that buffer at a
# stride, with its check symbols behind it, until somebody asks for its octets.
#
# A frame is unsound if one of its codewords could not be corrected: the other codewords are interleaved with it octet
# by octet, so that every part of the frame has octets of the bad one. It must not reach a frame decoder, whose 16 bits
# of error control let one in 65536 pass. Without a Reed-Solomon code every unit is sound as far as is known here, and
# the frame's error control decides alone.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flight.kernels import (
    INTERLEAVES,
    ConvolutionalEncoder,
    Randomizer,
    ReadBuffer,
    Units,
    decode_reed_solomon,
    encode_reed_solomon,
    randomize_units,
)
from flight.link.coding.inner_decoder import InnerDecoder
from flight.link.coding.synchronizer import FrameSynchronizer

MARKER = bytes.fromhex("1acffc1d")
MARKER_OCTETS = len(MARKER)

CODINGS = ("frame", "cadu", "rs(255,223)", "rs(255,239)")
# Check symbols per codeword.
PARITY = {"cadu": 0, "rs(255,223)": 32, "rs(255,239)": 16}
RANDOMIZERS = ("short", "long", "none")
_SEQUENCES = {"short": Randomizer.TM, "long": Randomizer.TM_LONG}
_CODEWORD_OCTETS = 255
_UNSOUND = b"\xff"  # the int8 -1 with which decode_reed_solomon marks a codeword that it could not correct


@dataclass(frozen=True, slots=True)
class TmCoding:
    """What both ends agree on. `parity` 0 (no Reed-Solomon code), 32 or 16; `randomizer` one of RANDOMIZERS."""

    frame_octets: int
    parity: int = 32
    interleave: int = 5
    randomizer: str = "short"
    convolutional: bool = False

    @property
    def codeblock_octets(self) -> int:
        """Octets between two markers: the frame and its check symbols."""
        return self.frame_octets + self.parity * self.interleave

    @property
    def cadu_octets(self) -> int:
        """Octets of marker and codeblock."""
        return MARKER_OCTETS + self.codeblock_octets

    @property
    def unit_octets(self) -> int:
        """What one frame takes of the channel, in octets of channel symbols."""
        return self.cadu_octets * (2 if self.convolutional else 1)

    def faults(self) -> list[tuple[str, str]]:
        """Return (key, what is wrong and what would be right) for the keys of a mission's link."""
        if not self.parity:
            return []
        if self.interleave not in INTERLEAVES:
            return [("interleave", f"is {self.interleave}, should be one of {', '.join(map(str, INTERLEAVES))}")]
        most = (_CODEWORD_OCTETS - self.parity) * self.interleave
        if self.frame_octets > most or self.frame_octets % self.interleave:
            fitting = f"multiples of {self.interleave} up to {most} octets fit, not frames of {self.frame_octets}"
            return [("interleave", f"is {self.interleave}, for which {fitting}")]
        return []


class TmEncoder:
    """The sending end of one link. The convolutional code runs on from unit to unit."""

    def __init__(self, coding: TmCoding) -> None:
        self._coding = coding
        self._cadu = bytearray(MARKER + bytes(coding.codeblock_octets))
        self._codeblock = memoryview(self._cadu)[MARKER_OCTETS:]
        self._sequence = _SEQUENCES.get(coding.randomizer)
        self._inner = ConvolutionalEncoder() if coding.convolutional else None

    def encode(self, frame: ReadBuffer) -> bytes:
        """Return the unit of one frame, `unit_octets` long."""
        coding, codeblock = self._coding, self._codeblock
        codeblock[: coding.frame_octets] = frame
        if coding.parity:
            encode_reed_solomon(
                codeblock, data_octets=coding.frame_octets, parity=coding.parity, interleave=coding.interleave
            )
        if self._sequence is not None:
            randomize_units(codeblock, 1, coding.codeblock_octets, self._sequence)
        if self._inner is not None:
            return self._inner.encode(self._cadu)
        return bytes(self._cadu)


@dataclass(frozen=True, slots=True)
class CodeblockBatch:
    """The n codeblocks that a stretch of stream completed, decoded: frames at a stride in one buffer.

    octets: frame i begins at i * stride and is `frame_octets` long; its check symbols follow.
    unsound: uint8, 1 if a codeword of the frame could not be corrected, so that it must not be taken for a frame.
    corrected: int8, n * interleave: symbols corrected in each codeword, -1 if that could not be done. Empty without a
        Reed-Solomon code.
    offset_bits: where each codeblock begins in the stream that markers are sought in, bits, uint64.
    """

    octets: memoryview[int]
    stride: int
    frame_octets: int
    unsound: bytes
    corrected: memoryview[int]
    offset_bits: memoryview[int]

    def __len__(self) -> int:
        return len(self.unsound)

    def __iter__(self) -> Iterator[tuple[bytes, bool]]:
        """Yield each frame, and whether it is sound."""
        size, octets = self.frame_octets, self.octets
        for start, unsound in zip(range(0, len(octets), self.stride), self.unsound, strict=True):
            yield bytes(octets[start : start + size]), not unsound


@dataclass(slots=True)
class CodingCounters:
    """Counted since the decoder was made.

    Codewords are those of the Reed-Solomon code, symbols are octets of them. The last three are of the inner code:
    channel symbols looked at, wrong ones among them, and how often their pairing was found to be off.
    """

    codewords: int = 0
    codewords_corrected: int = 0
    codewords_uncorrectable: int = 0
    symbols_corrected: int = 0
    channel_symbols: int = 0
    channel_symbol_errors: int = 0
    node_slips: int = 0


class TmDecoder:
    """The receiving end: any stretches of stream in, codeblocks out. `synchronizer` counts what happens to markers."""

    def __init__(self, coding: TmCoding) -> None:
        self.coding = coding
        self.synchronizer = FrameSynchronizer(coding.codeblock_octets)
        self._counters = CodingCounters()
        self._sequence = _SEQUENCES.get(coding.randomizer)
        self._inner = InnerDecoder() if coding.convolutional else None

    @property
    def counters(self) -> CodingCounters:
        """As of now; one object, brought up to date at each reading."""
        counters = self._counters
        if self._inner is not None:
            counters.channel_symbols = self._inner.symbols_compared
            counters.channel_symbol_errors = self._inner.symbol_errors
            counters.node_slips = self._inner.node_slips
        return counters

    def feed(self, octets: ReadBuffer) -> CodeblockBatch:
        """Return what `octets`, hard channel symbols next in the stream, completed. Any split gives the same."""
        return self._decode(self.synchronizer.feed(octets if self._inner is None else self._inner.feed(octets)))

    def finish(self) -> CodeblockBatch:
        """End the stream: return what waited for octets that might follow. It is then as after `reset`."""
        return self._decode(self.synchronizer.finish(b"" if self._inner is None else self._inner.finish()))

    def _decode(self, units: Units) -> CodeblockBatch:
        coding, count = self.coding, len(units)
        if self._sequence is not None and count:
            randomize_units(units.octets, count, coding.codeblock_octets, self._sequence)
        if not coding.parity or not count:
            none = memoryview(b"").cast("b")
            stride, frame_octets = coding.codeblock_octets, coding.frame_octets
            return CodeblockBatch(units.octets, stride, frame_octets, bytes(count), none, units.offset_bits)
        corrected = decode_reed_solomon(
            units.octets,
            data_octets=coding.frame_octets,
            parity=coding.parity,
            interleave=coding.interleave,
            count=count,
            stride=coding.codeblock_octets,
        )
        unsound = self._account(corrected.tobytes(), count)
        return CodeblockBatch(
            units.octets, coding.codeblock_octets, coding.frame_octets, unsound, corrected, units.offset_bits
        )

    def _account(self, corrected: bytes, count: int) -> bytes:
        """Count what the codewords needed; return 1 for each codeblock with a codeword that is not sound, else 0."""
        counters, interleave = self._counters, self.coding.interleave
        uncorrectable = corrected.count(_UNSOUND)
        counters.codewords += len(corrected)
        counters.codewords_uncorrectable += uncorrectable
        counters.codewords_corrected += len(corrected) - uncorrectable - corrected.count(0)
        counters.symbols_corrected += sum(corrected) - 255 * uncorrectable  # as uint8, a -1 adds 255
        if not uncorrectable:
            return bytes(count)
        return bytes(_UNSOUND in corrected[i : i + interleave] for i in range(0, len(corrected), interleave))

    def reset(self) -> None:
        """Forget a unit that has begun: the signal is lost. Counters go on."""
        self.synchronizer.reset()
        if self._inner is not None:
            self._inner.reset()
