"""The convolutional code of the space link: encoder and soft-decision Viterbi decoder, both of an endless stream."""

# The code has no frames: it runs on from the first symbol to the last, so encoder and decoder keep their state between
# calls and cut nothing. The decoder's state is a struct in C that Python only holds. How it decides, and why it waits
# for DELAY_BITS, stands at the head of viterbi.c.

from __future__ import annotations

from typing import Final

from flight.kernels._kernels import ffi, lib
from flight.kernels.binding import OCTETS, KernelError, ReadBuffer, from_buffer

_convolve = lib.ob_convolve
_soften = lib.ob_soften
_due_octets = lib.ob_viterbi_octets
_decode = lib.ob_viterbi_decode
_FLUSH_OCTETS = lib.OB_VITERBI_FLUSH_OCTETS


class ConvolutionalEncoder:
    """Encoder of the convolutional code of CCSDS 131.0-B-5, 3.3: rate 1/2, constraint length 7, 171 and 133 octal.

    The second output is inverted. The encoder starts with zeros in its memory and carries it from call to call: how a
    stream is cut into calls changes nothing. An octet of zeros brings the memory back to zeros, which ends a block for
    `ViterbiDecoder.flush(to_zero=True)`.
    """

    __slots__ = ("_memory", "_register")

    def __init__(self) -> None:
        self._register = bytearray(1)
        self._memory = from_buffer(OCTETS, self._register)

    def encode(self, data: ReadBuffer) -> bytes:
        """Return the channel symbols of `data`, C1 C2 C1 C2 ..., highest bit first: two octets for each one."""
        source = data if type(data) is bytes else from_buffer(OCTETS, data)
        octets = len(source)
        out = bytearray(2 * octets)
        written = _convolve(source, octets, from_buffer(OCTETS, out), 2 * octets, self._memory)
        if written < 0:
            raise KernelError("convolve", written)
        return bytes(out)

    def reset(self) -> None:
        """Set the memory to zeros, as at the start."""
        self._register[0] = 0


def soften(symbols: ReadBuffer) -> bytes:
    """Turn hard symbols, eight per octet and the highest bit first, into soft symbols, one per octet: 0 or 255.

    This makes what a receiver that decides by itself, or a simulated one, delivers ready for `ViterbiDecoder`.
    """
    source = symbols if type(symbols) is bytes else from_buffer(OCTETS, symbols)
    octets = len(source)
    out = bytearray(8 * octets)
    written = _soften(source, octets, from_buffer(OCTETS, out), 8 * octets)
    if written < 0:
        raise KernelError("soften", written)
    return bytes(out)


class ViterbiDecoder:
    """Decoder of the same code (CCSDS 131.0-B-5, 3.3) by maximum likelihood: soft channel symbols in, data out.

    A symbol is one octet: 0 is surely 0, 255 surely 1, 127 or 128 an erasure (lost, or not sent). Any octets will do.
    Data come in blocks of BLOCK_BITS, each as soon as DELAY_BITS more have been received: a bit is decided when
    DELAY_BITS to DELAY_BITS + BLOCK_BITS - 1 later ones are known. How calls cut the stream changes nothing, down to
    one symbol per call.

    The decoder pairs symbols as they come. Whether they belong together shows in `symbol_errors`. With random data and
    the right pairs they are 0.08 of `symbols_compared` at an Eb/N0 of 3 dB, and 0.10 at 2 dB, below which decoding is
    of no use. With each C2 taken for a C1, they are 0.125 without noise and up to 0.16 with it. So a receiver that
    finds more than 0.11 over some thousand symbols drops one symbol and resets. Data that never change look right in
    either phase; the randomizer is there to prevent them. Inverted symbols give inverted data and no more errors: the
    code is transparent, and the frame synchronizer sees the inverted marker.
    """

    DELAY_BITS: Final = lib.OB_VITERBI_DELAY_BITS
    BLOCK_BITS: Final = lib.OB_VITERBI_BLOCK_BITS

    __slots__ = ("_state",)

    def __init__(self, *, from_zero: bool = False) -> None:
        """Begin a stream. `from_zero`: its first symbol is known to come from an encoder with zeros in its memory."""
        self._state = ffi.new("ob_viterbi *")
        self.reset(from_zero=from_zero)

    @property
    def symbols_compared(self) -> int:
        """How many channel symbols the data delivered since the last reset had, without erasures."""
        return self._state.symbols_compared

    @property
    def symbol_errors(self) -> int:
        """How many of `symbols_compared` differ, in their hard decision, from the delivered data encoded again."""
        return self._state.symbol_errors

    def decode(self, symbols: ReadBuffer) -> bytes:
        """Take any number of soft symbols; return the octets of data that are due, BLOCK_BITS / 8 at a time."""
        source = symbols if type(symbols) is bytes else from_buffer(OCTETS, symbols)
        count = len(source)
        due = _due_octets(self._state, count)
        out = bytearray(max(due, 0))  # a state that cannot be gives a negative number, and is refused below
        written = _decode(self._state, source, count, from_buffer(OCTETS, out), len(out))
        if written < 0:
            raise KernelError("viterbi_decode", written)
        return bytes(out)

    def flush(self, *, to_zero: bool = False) -> bytes:
        """End the stream: return the whole octets that are left. Bits beyond them, and half a pair, are dropped.

        to_zero: the encoder has taken at least six zero bits last. They are delivered too, if they fill an octet.
        The next symbol then begins a stream, from zeros in the encoder's memory or from any as `to_zero` says; the
        counters go on.
        """
        out = bytearray(_FLUSH_OCTETS)
        written = lib.ob_viterbi_flush(self._state, to_zero, from_buffer(OCTETS, out), _FLUSH_OCTETS)
        if written < 0:
            raise KernelError("viterbi_flush", written)
        return bytes(out[:written])

    def reset(self, *, from_zero: bool = False) -> None:
        """Forget the stream and begin another, with counters at zero."""
        lib.ob_viterbi_start(self._state, from_zero)
