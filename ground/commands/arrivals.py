"""What came down since the operator's last command and was not asked for yet: the memory behind `Operator.wait_for`.

A command's reports arrive before it is completed, so whoever waits for one only afterwards would miss it. Every packet
is kept by its name until it is taken or the next command is given. Both operators stand on this: the one in virtual
time, and the one behind the API.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from flight.contract.fields import Plain

NAMES_MAX = 256
KEPT_MAX = 64  # of one name, the newest


class Arrivals:
    """Values of packets by name, the oldest first."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[Mapping[str, Plain]]] = {}

    def add(self, name: str, values: Mapping[str, Plain]) -> bool:
        """A packet came. False if there was no room: beyond `KEPT_MAX` of one name the oldest goes, and a name beyond
        `NAMES_MAX` is not kept.
        """
        if name not in self._kept and len(self._kept) >= NAMES_MAX:
            return False
        kept = self._kept.setdefault(name, deque(maxlen=KEPT_MAX))
        has_room = len(kept) < KEPT_MAX
        kept.append(values)
        return has_room

    def has(self, name: str) -> bool:
        """Whether `take` would give something."""
        return bool(self._kept.get(name))

    def take(self, name: str) -> Mapping[str, Plain] | None:
        """The oldest packet of that name, once; None if there is none."""
        kept = self._kept.get(name)
        return kept.popleft() if kept else None

    def clear(self) -> None:
        """A command was given: what came before it is of no interest any more."""
        self._kept.clear()
