"""What must add up in a soak, as equations, and what did not: a bounded list of sentences, and how many there were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flight.core.nanoseconds import NS

FINDINGS_MAX = 50


@dataclass(frozen=True, slots=True)
class Row:
    """One equation: `counted` should be `expected`, or up to `slack` more."""

    text: str
    expected: int
    counted: int
    slack: int = 0

    @property
    def right(self) -> str:
        """What `counted` should be."""
        return f"{self.expected:,} to {self.expected + self.slack:,}" if self.slack else f"{self.expected:,}"

    @property
    def holds(self) -> bool:
        """Whether the equation is true."""
        return self.expected <= self.counted <= self.expected + self.slack


class Findings:
    """The findings of one run. `total` counts all of them, `texts` holds the first FINDINGS_MAX."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self.total = 0
        self.texts: list[str] = []
        self._now_ns = now_ns

    def add(self, text: str) -> None:
        """Note that something does not add up."""
        self.total += 1
        if len(self.texts) < FINDINGS_MAX:
            self.texts.append(f"{self._now_ns() / NS:.3f} s: {text}")
