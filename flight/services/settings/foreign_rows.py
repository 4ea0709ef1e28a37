"""Rows of the vault that do not fit this software: another version wrote them.

Their owner leaves them out and has them reported here. Only a command that replaces or clears such rows touches them.
"""

# Rows are kept and not deleted: after a return to the other version they mean what they meant before. Their number is
# whatever that version has written, so only the first _TOLD_MAX have an event of their own, each once per boot. One
# more event then says that there are others.

from __future__ import annotations

from flight.contract.app import EventSink

_TOLD_MAX = 4  # rows with an event of their own


class ForeignRows:
    """Reports the foreign rows of the owner called `record`."""

    def __init__(self, record: str, events: EventSink) -> None:
        self._record = record
        self._events = events
        self._told: set[str] = set()

    def report(self, key: str, fault: object) -> None:
        """Report the row by an event: each row once per boot, and only the first few."""
        if key in self._told or len(self._told) > _TOLD_MAX:
            return
        self._told.add(key)
        more = len(self._told) > _TOLD_MAX
        self._events.emit("record_damaged", self._record, "more are left out" if more else f"{key} left out: {fault}")
