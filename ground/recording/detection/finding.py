"""What detection says of a recording: how to read it, on what grounds, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ground.recording.streams.link_options import Form, LinkOptions


@dataclass(frozen=True, slots=True)
class Finding:
    """One reading of a recording.

    options: how to read it; `form` None if it is nothing that we know. What was given as a hint is as it was given.
    evidence: the grounds, a line each, for people.
    confidence: 0..1; from CERTAIN on error control or counts say so, below LIKELY it is a guess.
    coverage: the share of the octets looked at that this reading explains, 0..1.
    alternatives: other readings that have something for them, the best first.
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
        """What a reading is worth beside others: how sure it is, and how much it explains. If that is much the same,
        the outer form counts: units have frames in them, and frames have packets.
        """
        return self.confidence * self.coverage + _OUTER[self.options.form]

    def beside(self, others: list[Finding]) -> Finding:
        """This one, with the others as alternatives."""
        return replace(self, alternatives=tuple(others))


CERTAIN, LIKELY = 0.9, 0.5
_OUTER = {Form.UNITS: 0.2, Form.FRAMES: 0.15, Form.PACKETS: 0.0, Form.ENCAPSULATION: 0.0, None: -1.0}
