"""Packets that came down since the operator's last command and were not taken yet: the memory of `Operator.wait_for`.

Both operators stand on this: the one in virtual time, and the one behind the API.
"""

# A command's reports arrive before it is completed, so a procedure that waits for one after `send` has returned would
# miss it. Every packet is therefore kept by its name until it is taken, or until the next command is given: what came
# before that command cannot be its answer (ADR 0032).
#
# Both bounds lose the less useful packet. Of one name the oldest goes: whoever asks late wants what the node says now.
# Of names the first NAMES_MAX stay: a dictionary has fewer, and what goes beyond it is names the downlink made up.

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from flight.contract.fields import Plain

NAMES_MAX = 256
KEPT_MAX = 64  # packets of one name


class Arrivals:
    """The values of packets by name, the oldest first."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[Mapping[str, Plain]]] = {}

    def add(self, name: str, values: Mapping[str, Plain]) -> bool:
        """Keep a packet. Return False if that cost one: the oldest of `KEPT_MAX`, or this one beyond `NAMES_MAX`."""
        if name not in self._kept and len(self._kept) >= NAMES_MAX:
            return False
        kept = self._kept.setdefault(name, deque(maxlen=KEPT_MAX))
        has_room = len(kept) < KEPT_MAX
        kept.append(values)
        return has_room

    def has(self, name: str) -> bool:
        """Return whether `take` would give a packet."""
        return bool(self._kept.get(name))

    def take(self, name: str) -> Mapping[str, Plain] | None:
        """Return the values of the oldest packet of that name and forget it; None if there is none."""
        kept = self._kept.get(name)
        return kept.popleft() if kept else None

    def clear(self) -> None:
        """Forget everything: a command was given, and what came before it does not answer it."""
        self._kept.clear()
