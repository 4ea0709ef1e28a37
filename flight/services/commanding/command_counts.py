"""Counts of what became of every telecommand since boot.

At every instant: received = unreadable + executed + refused + waiting. The ground can check that no command is lost.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class CommandCounts:
    """Counts since boot, each telecommand in exactly one of the last four.

    received: packets. unreadable: without a sound header or packet error control. executed: with whatever outcome.
    refused: not executed, by failure code. waiting: queued, executing, or waiting for the disk.
    """

    received: int = 0
    unreadable: int = 0
    executed: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    waiting: int = 0
