"""Rows of the vault that do not fit this software: another version wrote them.

Their owner leaves them out, does not touch them, and has it told here.
"""

from __future__ import annotations

from flight.contract.app import EventSink

_TOLD_MAX = 4


class ForeignRows:
    """The foreign rows of the owner called `record`."""

    def __init__(self, record: str, events: EventSink) -> None:
        self._record = record
        self._events = events
        self._told: set[str] = set()

    def report(self, key: str, fault: object) -> None:
        """Report the row by an event: each once a boot, and no more than the first few."""
        if key in self._told or len(self._told) > _TOLD_MAX:
            return
        self._told.add(key)
        more = len(self._told) > _TOLD_MAX
        self._events.emit("record_damaged", self._record, "more are left out" if more else f"{key} left out: {fault}")
