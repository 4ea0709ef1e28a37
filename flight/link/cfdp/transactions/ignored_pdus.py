"""PDUs that are ignored: counted by reason, and reported at a bounded rate."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from flight.core.nanoseconds import NS
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.transactions.indications import MEANINGS, PdusIgnored

_REPORT_S = 60


@dataclass(slots=True)
class _Unreported:
    """PDUs ignored for one reason. `count` of them wait to be reported, from `due_ns` on (None: at once)."""

    due_ns: int | None = None
    count: int = 0
    transaction: TransactionId | None = None
    name: str = ""


class IgnoredPdus:
    """Counts in `counts`. Each reason is reported at once, and then, as long as there is more, once per _REPORT_S."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._unreported: dict[str, _Unreported] = {}

    def add(self, reason: str, transaction: TransactionId | None = None, name: str = "") -> None:
        """Count one PDU."""
        assert reason in MEANINGS, reason
        self._counts[reason] += 1
        pending = self._unreported.setdefault(reason, _Unreported())
        pending.count += 1
        pending.transaction, pending.name = transaction, name

    def reports(self, now_ns: int) -> list[PdusIgnored]:
        """Return the reports that are due."""
        reports: list[PdusIgnored] = []
        for reason, pending in self._unreported.items():
            if pending.count and (pending.due_ns is None or now_ns >= pending.due_ns):
                reports.append(PdusIgnored(reason, pending.count, pending.transaction, pending.name))
                pending.count, pending.due_ns = 0, now_ns + _REPORT_S * NS
        return reports
