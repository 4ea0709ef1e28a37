"""The result of detection: how to read a recording, on what evidence, and how sure that is."""

# The scale of confidence, so that all kinds of evidence can be compared:
#
#   0.9 and more (CERTAIN)   error control, codewords, counts that step, or chains without a break say so, in more
#                            places than chance could
#   0.5 and more (LIKELY)    structure alone: lengths that lead to one another, headers that persist
#   below                    a guess: shown as such, and taken only if nothing better is there

from __future__ import annotations

from dataclasses import dataclass, replace

from ground.recording.streams.link_options import Form, LinkOptions


@dataclass(frozen=True, slots=True)
class Finding:
    """One reading of a recording.

    options: how to read it; `form` is None if nothing is recognised. Options that were given as a hint are unchanged.
    evidence: what speaks for it, one line each, for people.
    confidence: 0..1, see CERTAIN and LIKELY.
    coverage: the share of the examined octets that this reading explains, 0..1.
    alternatives: other readings worth naming, the best first.
    """

    options: LinkOptions
    evidence: tuple[str, ...]
    confidence: float
    coverage: float = 0.0
    alternatives: tuple[Finding, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether there is a reading at all."""
        return self.options.form is not None

    @property
    def rank(self) -> float:
        """The worth of a reading among others: how sure it is, times how much it explains.

        If that is much the same, the outer form wins: units hold frames, and frames hold packets, so all three readings
        may be true of the same octets, but only the outer one explains all of them.
        """
        return self.confidence * self.coverage + _OUTER[self.options.form]

    def beside(self, others: list[Finding]) -> Finding:
        """Return this finding with the others as its alternatives."""
        return replace(self, alternatives=tuple(others))


CERTAIN, LIKELY = 0.9, 0.5
# Added to the rank: little enough that clear evidence for an inner form still wins.
_OUTER = {Form.UNITS: 0.2, Form.FRAMES: 0.15, Form.PACKETS: 0.0, Form.ENCAPSULATION: 0.0, None: -1.0}
