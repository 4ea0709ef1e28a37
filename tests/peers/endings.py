"""How a transaction ended at one end, by the numbers of the standard."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ending:
    """One end's last word. role: source or destination; codes as in the Finished PDU (727.0-B-5, 5.2.3)."""

    role: str
    transaction: tuple[int, int]
    condition: int
    delivery: int
    status: int
