"""The inner code's receiving end with node synchronization: which of two channel symbols comes first.

    PAIRED --of LOOK_SYMBOLS too many are wrong--> PAIRED, one symbol dropped, decoder started again

The pairing is found within two looks, at the start as well as after a slip of one symbol.
"""

# The rate 1/2 code (CCSDS 131.0-B-5, 3) makes two channel symbols of each bit, and nothing in the stream says which of
# two neighbours are a pair. There are two ways to pair them, and the decoder itself tells which one is wrong.
#
# It always finds some path through the code. From noise, or from right symbols in wrong pairs, that path differs in one
# symbol of eight (0.125). A link that is worth decoding has at most 0.104 wrong symbols (2 dB of Eb/N0). WRONG_FRAC_MAX
# stands between the two, and a look of LOOK_SYMBOLS is long enough for the limit to lie four standard deviations from
# either: a good pairing is hardly ever given up.
#
# A look counts symbols of the stream, not calls, so how calls cut the stream changes nothing.

from __future__ import annotations

from flight.kernels import ReadBuffer, ViterbiDecoder, soften

LOOK_SYMBOLS = 16_384  # even: a look never stands between the two symbols of a pair
WRONG_FRAC_MAX = 0.115


class InnerDecoder:
    """A stream of channel symbols in, the encoder's octets out. How calls cut the stream changes nothing."""

    def __init__(self) -> None:
        self.node_slips = 0
        self._viterbi = ViterbiDecoder()
        self._drops_next = False  # leave out the next symbol, so that the others become pairs
        self._fed = 0  # symbols since the last look
        # What the Viterbi decoder counted before its last reset: it begins at 0 again, our counters go on.
        self._compared = self._errors = 0
        # What it had counted at the last look.
        self._look_compared = self._look_errors = 0

    @property
    def symbols_compared(self) -> int:
        """How many channel symbols were looked at so far."""
        return self._compared + self._viterbi.symbols_compared

    @property
    def symbol_errors(self) -> int:
        """How many of them were wrong."""
        return self._errors + self._viterbi.symbol_errors

    def feed(self, octets: ReadBuffer) -> bytes:
        """Take hard symbols, eight per octet; return the data that they completed."""
        return self.feed_soft(soften(octets))

    def feed_soft(self, symbols: bytes) -> bytes:
        """Take soft symbols, one per octet (0 is surely 0, 255 surely 1); return the data that they completed."""
        pieces = []
        at = 0
        while at < len(symbols):
            if self._drops_next:
                self._drops_next = False
                at += 1
            piece = symbols[at : at + LOOK_SYMBOLS - self._fed]
            pieces.append(self._viterbi.decode(piece))
            at += len(piece)
            self._fed += len(piece)
            if self._fed == LOOK_SYMBOLS:
                self._look()
        return b"".join(pieces)

    def finish(self) -> bytes:
        """End the stream: return the data that waited for later symbols, and leave the decoder as after `reset`."""
        pending = self._viterbi.flush()
        self.reset()
        return pending

    def reset(self) -> None:
        """Forget the stream: the signal is lost. Counters go on."""
        self._compared, self._errors = self.symbols_compared, self.symbol_errors
        self._look_compared = self._look_errors = self._fed = 0
        self._drops_next = False
        self._viterbi.reset()

    def _look(self) -> None:
        """Drop a symbol if the pairs are the wrong ones."""
        compared = self._viterbi.symbols_compared - self._look_compared
        wrong = self._viterbi.symbol_errors - self._look_errors
        self._look_compared, self._look_errors = self._viterbi.symbols_compared, self._viterbi.symbol_errors
        self._fed = 0
        if wrong > WRONG_FRAC_MAX * compared:
            self.node_slips += 1
            self.reset()  # its path and metrics are those of wrong pairs
            self._drops_next = True
