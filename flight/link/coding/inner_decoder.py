"""The inner code's receiving end with node synchronization: which of two channel symbols comes first.

    PAIRED --of LOOK_SYMBOLS too many are wrong--> PAIRED, one symbol dropped, decoder begun anew

Whatever comes, the decoder finds a path from which one symbol in eight differs: so does noise, and so do the right
symbols in the wrong pairs. A link that is worth decoding has 0.104 wrong ones at most (2 dB of Eb/N0). Over one look
the limit between the two is four standard deviations from either, so that the pairing is found within two looks, at
the start as after a slip of one symbol, and a good one is hardly ever given up.
"""

from __future__ import annotations

from flight.kernels import ReadBuffer, ViterbiDecoder, soften

LOOK_SYMBOLS = 16_384  # even: a look never stands between the two symbols of a pair
WRONG_FRAC_MAX = 0.115


class InnerDecoder:
    """A stream of channel symbols in, the encoder's octets out. Where calls cut the stream changes nothing."""

    def __init__(self) -> None:
        self.node_slips = 0
        self._viterbi = ViterbiDecoder()
        self._drop = False  # the next symbol, so that the pairs become the others
        self._fed = 0  # symbols since the last look
        # Of decoders before this one, and of this one at the last look.
        self._compared = self._errors = 0
        self._look_compared = self._look_errors = 0

    @property
    def symbols_compared(self) -> int:
        """Channel symbols looked at so far."""
        return self._compared + self._viterbi.symbols_compared

    @property
    def symbol_errors(self) -> int:
        """Wrong ones among them."""
        return self._errors + self._viterbi.symbol_errors

    def feed(self, octets: ReadBuffer) -> bytes:
        """Hard symbols, eight an octet; what of the data is due."""
        return self.feed_soft(soften(octets))

    def feed_soft(self, symbols: bytes) -> bytes:
        """Soft symbols, one an octet: 0 is surely 0, 255 surely 1."""
        pieces = []
        at = 0
        while at < len(symbols):
            if self._drop:
                self._drop = False
                at += 1
            piece = symbols[at : at + LOOK_SYMBOLS - self._fed]
            pieces.append(self._viterbi.decode(piece))
            at += len(piece)
            self._fed += len(piece)
            if self._fed == LOOK_SYMBOLS:
                self._look()
        return b"".join(pieces)

    def finish(self) -> bytes:
        """The stream is at its end: the data that waited for later symbols. Then as after `reset`."""
        rest = self._viterbi.flush()
        self.reset()
        return rest

    def reset(self) -> None:
        """The signal is lost: forget the stream. Counters go on."""
        self._compared, self._errors = self.symbols_compared, self.symbol_errors
        self._look_compared = self._look_errors = self._fed = 0
        self._drop = False
        self._viterbi.reset()

    def _look(self) -> None:
        """See whether the pairs are the right ones."""
        compared = self._viterbi.symbols_compared - self._look_compared
        wrong = self._viterbi.symbol_errors - self._look_errors
        self._look_compared, self._look_errors = self._viterbi.symbols_compared, self._viterbi.symbol_errors
        self._fed = 0
        if wrong > WRONG_FRAC_MAX * compared:
            self.node_slips += 1
            self.reset()
            self._drop = True
